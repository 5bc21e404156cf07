"""How the source is laid out, in figures, and its tail: what is hard to read has a limit in ``house.toml``, sizes have none.

    python benchmarks/house.py
    python benchmarks/house.py --vague

Each figure is counted from the syntax trees and the text alone; nothing of the package is imported. ``make check`` prints
the table and fails where a figure stands above its limit, or where a module binds more vague names than ``[vague]`` lets it: none, if
it is not there. The seconds of ``make test`` are those of its last run in this checkout; they
may be a quarter above, since machines differ. ``--vague`` lists instead, by module, how often a name is bound that does not say what it holds.
"""

import argparse
import ast
import functools
import graphlib
import math
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "clipclean"
LIMITS = ROOT / "house.toml"
TESTED = ROOT / "build" / "tests.xml"  # JUnit, by make test
MARGIN = 1.25  # of seconds
SCIENCE = ("detect", "auto", "methods", "train")  # rooms whose comments must say why
WHY = 0.08  # comment lines a line of code, there
# Names that say how a value came here, not what it is. A value of the domain has a name of its own: finding, suspicion, request.
# fmt: off
VAGUE = (
    "found", "told", "given", "asked", "seen", "made", "ready", "each", "measured", "named", "opened", "shown", "hit", "tried", "taken",
    "caught", "cleaned", "listed", "counted", "changed", "wanted", "chosen", "built", "held", "drawn", "audited", "considered", "compared",
    "place", "places", "how", "some", "one", "every", "ends",
)
# fmt: on
TEST_NAME = re.compile(r"^ *def (test_\w+)", re.M)
WITH_OPTIONS = ("clipclean.api", "clipclean.api.reports")  # whose functions have a keyword for each option
DOORS = ("clipclean.api",)  # with a function for each command, which imports its job alone
Function = ast.FunctionDef | ast.AsyncFunctionDef
RECORDS = "clipclean.schema."  # of what is written, whose fields are keys


class Module(NamedTuple):
    """One source file: its dotted name, its text and its tree."""

    name: str
    path: Path
    text: str
    tree: ast.Module


@functools.cache
def read(package: Path, /) -> list[Module]:
    """Every module of a package."""
    modules = []
    for path in sorted(package.rglob("*.py")):
        dotted = ".".join((package.name, *path.relative_to(package).with_suffix("").parts)).removesuffix(".__init__")
        text = path.read_text(encoding="utf-8")
        modules.append(Module(dotted, path, text, ast.parse(text)))
    return modules


def imports(module: Module, names: set[str], /, *, at_top: bool = False) -> set[str]:
    """The modules of the package that a module imports: while it is loaded or later, or ``at_top``, of which a cycle could be made."""
    imported = set()
    for node in module.tree.body if at_top else ast.walk(module.tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names} & names
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & names
            imported |= inner or ({node.module} & names)
    return imported - {module.name}


def cycle(graph: dict[str, set[str]], /) -> list[str]:
    """Modules that import each other while they are loaded, in their order; the first comes last once more. None without a cycle."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def functions(module: Module, /) -> Iterator[Function]:
    """Every function and method, nested ones too."""
    return (node for node in ast.walk(module.tree) if isinstance(node, Function))


def docstring(node: ast.AST, /) -> range:
    """The numbers of the lines of a docstring; none of what has none."""
    if not isinstance(node, ast.Module | ast.ClassDef | Function) or ast.get_docstring(node, clean=False) is None:
        return range(0)
    return range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)


def lines_of(function: Function, /) -> int:
    """Lines of a function from ``def`` to its end without its docstring."""
    return (function.end_lineno or 0) - function.lineno + 1 - len(docstring(function))


def parameters(function: Function, /) -> int:
    """How many parameters a function has without ``self`` and ``cls``."""
    every = function.args
    return sum(one.arg not in {"self", "cls"} for one in (*every.posonlyargs, *every.args, *every.kwonlyargs))


def vague(module: Module, /) -> Counter[str]:
    """How often each vague name is bound: by an assignment, a field, a loop, ``with``, ``except``, a pattern, a parameter or a function.

    Fields of records are not counted: they are keys of files.
    """
    in_classes = (part for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef) for part in bound(node.body))
    fields = {id(part) for part in in_classes} if module.name.startswith(RECORDS) else set()
    bindings = (node for node in ast.walk(module.tree) if id(node) not in fields)
    return Counter(name for node in bindings if (name := (name_bound(node) or "").strip("_")) in VAGUE)


def bound(statements: list[ast.stmt], /) -> Iterator[ast.AST]:
    """The targets of plain assignments among statements."""
    for statement in statements:
        if isinstance(statement, ast.AnnAssign):
            yield statement.target
        elif isinstance(statement, ast.Assign):
            yield from statement.targets


def name_bound(node: ast.AST, /) -> str | None:
    """The name that a node of a syntax tree binds; None if it binds none."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return node.id
    if isinstance(node, ast.arg):
        return node.arg
    if isinstance(node, Function):
        return node.name
    return node.name if isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) else None


def comments(modules: list[Module], /) -> tuple[int, int]:
    """Lines that hold or end in a comment, and lines of code (neither blank, nor comment alone, nor docstring)."""
    said = code = 0
    for module in modules:
        docs = {number for node in ast.walk(module.tree) for number in docstring(node)}
        for number, line in enumerate(module.text.splitlines(), 1):
            if not line.strip() or number in docs:
                continue
            alone = line.lstrip().startswith("#")
            code += not alone
            said += alone or bool(re.search(r"\s# (?!fmt:|noqa|type:)", line))
    return said, code


@functools.cache
def shape(package: Path, /) -> dict[str, dict[str, int]]:
    """The shape of the source, by name of what makes it so. Functions are measured without their docstrings."""
    modules = read(package)
    names = {module.name for module in modules}
    said = {room: comments([m for m in modules if m.name.split(".")[1:2] == [room]]) for room in SCIENCE}
    every = {f"{m.name}.{f.name}": f for m in modules for f in functions(m)}
    small = {}
    for module in modules:
        nodes = [*ast.walk(module.tree)]
        calls = [n.func for n in nodes if isinstance(n, ast.Call)]
        called, used = (Counter(getattr(n, "id", getattr(n, "attr", "")) for n in some) for some in (calls, nodes))
        for one in functions(module):
            if re.match("_(?!_)", one.name) and called[one.name] == used[one.name] == 1 and lines_of(one) < 6:
                small[f"{module.name}.{one.name}"] = 1
    return {
        "modules_in_an_import_cycle": dict.fromkeys(
            cycle({m.name: imports(m, names, at_top=True) for m in modules}), 1
        ),
        "largest_fan_out": {m.name: len(imports(m, names)) for m in modules if m.name not in DOORS},
        "functions_of_more_than_8_parameters": {
            at: 1 for at, one in every.items() if parameters(one) > 8 and at.rpartition(".")[0] not in WITH_OPTIONS
        },
        "longest_function": {at: lines_of(one) for at, one in every.items()},
        "small_private_functions_used_once": small,
        "vague_names": {module.name: vague(module).total() for module in modules},
        "missing_comments": {room: max(0, math.ceil(WHY * b) - a) for room, (a, b) in said.items()},
    }


def figures() -> dict[str, int]:
    """Sizes, and the tail of each part of the shape; seconds only where a whole run of the quick tests was recorded."""
    python = {room: list((ROOT / room).rglob("*.py")) for room in ("clipclean", "tests", "benchmarks")}
    pages = list((ROOT / "docs").glob("*.md"))
    texts = {room: [path.read_text("utf-8") for path in paths] for room, paths in python.items()}
    lines = {room: sum(text.count("\n") for text in of_room) for room, of_room in texts.items()}
    tests = [name for text in texts["tests"] for name in TEST_NAME.findall(text)]
    value_by_name = {
        "source_lines": lines["clipclean"],
        "source_modules": len(python["clipclean"]),
        "test_lines": lines["tests"],
        "test_functions": len(tests),
        "test_names_of_two_facts": sum("_and_" in name for name in tests),
        "benchmark_lines": lines["benchmarks"],
        "benchmark_modules": len(python["benchmarks"]),
        "docs_words": sum(len(path.read_text("utf-8").split()) for path in pages),
        "docs_pages": len(pages),
        "changelog_words": len((ROOT / "CHANGELOG.md").read_text("utf-8").split()),
        "makefile_lines": (ROOT / "Makefile").read_text("utf-8").count("\n"),
        **{
            name: max(values.values()) if name.startswith(("largest", "longest")) else sum(values.values())
            for name, values in shape(PACKAGE).items()
        },
    }
    if TESTED.exists() and (seconds := re.search(r'<testsuite [^>]*\btime="([\d.]+)"', TESTED.read_text("utf-8"))):
        value_by_name["make_test_seconds"] = round(float(seconds[1]))
    return value_by_name


def beyond(now: dict[str, int], limits: dict[str, int], /) -> list[str]:
    """What stands above its limit, in words."""
    slow = {"make_test_seconds": f" (on a busy machine remove {TESTED.relative_to(ROOT)})"}
    most = {name: round(limit * MARGIN) if name.endswith("seconds") else limit for name, limit in limits.items()}
    above = (name for name in limits if now.get(name, 0) > most[name])
    return [f"{name} is {now[name]}, its limit {limits[name]}{slow.get(name, '')}" for name in above]


def too_vague(modules: list[Module], allowed: dict[str, int | str], /) -> list[str]:
    """Modules that bind vague names more often than ``allowed``, in words; a text in place of a number is a reason for any number."""
    counts = {module.name: vague(module) for module in modules}
    return [
        f"{name} binds {', '.join(f'{word} {n} times' for word, n in times.items())}, and {limit} may be: say what they hold"
        for name, times in counts.items()
        if isinstance(limit := allowed.get(name, 0), int) and times.total() > limit
    ]


def print_vague(modules: list[Module], /) -> int:
    """A line a module, the worst first, and the sum; 0, since nothing is judged."""
    counts = {module.name: vague(module) for module in modules}
    for name, times in sorted(counts.items(), key=lambda item: -item[1].total()):
        if times:
            print(f"{times.total():4}  {name:42} {', '.join(f'{word} {n}' for word, n in times.most_common())}")
    total = sum(counts.values(), Counter[str]())
    print(f"{total.total():4}  {'all':42} {', '.join(f'{word} {n}' for word, n in total.most_common())}")
    return 0


def main() -> int:
    """Print the figures; 1 where one is beyond its limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vague", action="store_true", help="list vague names by module")
    if parser.parse_args().vague:
        return print_vague(read(PACKAGE))
    now, limits = figures(), tomllib.loads(LIMITS.read_text("utf-8"))
    allowed = limits.pop("vague")
    for name, value in now.items():
        print(f"{name:42} {value}{f' of at most {limits[name]}' if name in limits else ''}")
    for name, values in shape(PACKAGE).items():
        print(f"{name:42} {', '.join(sorted(values, key=values.__getitem__, reverse=True)[:5])}")
    for sentence in (broken := [*beyond(now, limits), *too_vague(read(PACKAGE), allowed)]):
        print(f"house.toml: {sentence}", file=sys.stderr)
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
