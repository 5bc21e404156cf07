"""Small faults in functions, and whether the quick tests notice them. Needs ``pip install coverage``.

    nice python benchmarks/mutants.py --revision HEAD --out build/mutants

The revision is unpacked under ``--out``. Its quick tests run there once, to learn which test runs which line. Then a process that has
collected them puts one fault after another into the code, each in a child, where the tests that run the faulty line run until one
fails: those of its own room first, as many as take ``--seconds``. Seed, place and text draw a fault, so two revisions share those of
the code that they share. ``mutants.jsonl`` has a line for each; the same command goes on behind the last. Not seen are faults of what
runs while a module is imported, and tests that start another process.
"""

import ast
import copy
import hashlib
import inspect
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import common
import coverage
import hypothesis
import pytest

WHERE = "detect/verdict* auto/attempts* checkpoint/* config/policy* train/losses* methods/losses* data/*"
CPU_SECONDS = 60  # a fault that takes longer is noticed
Mutant = dict[str, Any]
SWAPS = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
    ast.Add: (ast.Sub,), ast.Sub: (ast.Add,), ast.Mult: (ast.Div,), ast.Div: (ast.Mult,), ast.And: (ast.Or,), ast.Or: (ast.And,),
}  # fmt: skip


def faults(node: ast.AST, /) -> Iterator[ast.AST]:
    """What may stand in the place of a node."""
    match node:
        case ast.Compare():
            for number, op in enumerate(node.ops):
                for other in SWAPS[type(op)]:
                    ops = [*node.ops[:number], other(), *node.ops[number + 1 :]]
                    yield ast.Compare(node.left, ops, node.comparators)
        case ast.BoolOp():
            yield from (ast.BoolOp(other(), node.values) for other in SWAPS[type(node.op)])
        case ast.BinOp():
            yield from (ast.BinOp(node.left, other(), node.right) for other in SWAPS.get(type(node.op), ()))
        case ast.Constant(value=bool()):
            yield ast.Constant(not node.value)
        case ast.Constant(value=int() | float()):
            yield from (ast.Constant(node.value + 1), ast.Constant(node.value - 1))
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand
        case ast.If() | ast.While() | ast.IfExp():
            changed = copy.copy(node)
            changed.test = ast.UnaryOp(ast.Not(), node.test)
            yield changed
        case ast.Return(value=ast.expr()):
            yield ast.Return(ast.Constant(None))
        case ast.Expr(value=ast.Call()) | ast.Raise() | ast.AugAssign() | ast.Continue() | ast.Break():
            yield ast.Pass()


def places(node: ast.AST, names: tuple[str, ...] = (), line: int = 0, inside: bool = False) -> Iterator[tuple]:
    """Every node inside a function: with its parent, field and number there, the function's names, and its lines."""
    for field, value in ast.iter_fields(node):
        for number, child in enumerate(value if isinstance(value, list) else [value]):
            skipped = field in ("annotation", "returns", "decorator_list") or isinstance(child, ast.arguments)
            if isinstance(child, ast.AST) and not skipped:
                is_named = not inside and isinstance(child, ast.FunctionDef | ast.ClassDef)
                named = (*names, child.name) if is_named else names
                here = child.lineno if isinstance(child, ast.stmt) else line
                if inside:
                    own = range(child.lineno, child.end_lineno + 1) if isinstance(child, ast.expr) else ()
                    yield child, (node, field, number), named, {here, *own}
                yield from places(child, named, here, inside or isinstance(child, ast.FunctionDef))


def mutants(path: Path, seed: int, share: float, /) -> Iterator[Mutant]:
    """A share of the mutants of a file: the place of each in the draw, and its code."""
    seen: dict[str, int] = {}
    tree = ast.parse(path.read_text())
    for child, (parent, field, number), names, lines in places(tree):
        for fault in faults(child):
            short = [ast.unparse(ast.fix_missing_locations(each)).splitlines()[0][:120] for each in (child, fault)]
            what = f"{path}: {'.'.join(names)}: {short[0]} -> {short[1]}"
            seen[what] = seen.get(what, -1) + 1
            draw = hashlib.sha256(f"{seed} {what} {seen[what]}".encode()).hexdigest()
            if int(draw[:8], 16) < share * 16**8:
                kept = getattr(parent, field)
                put = [*kept[:number], fault, *kept[number + 1 :]] if isinstance(kept, list) else fault
                setattr(parent, field, put)
                code = compile(ast.fix_missing_locations(tree), str(path.resolve()), "exec")
                setattr(parent, field, kept)
                yield {"draw": draw, "path": path, "what": what, "names": names, "lines": lines, "code": code}


def put_in(mutant: Mutant, /) -> None:
    """Give the function of this process the code of the mutant."""
    found: Any = sys.modules[".".join(mutant["path"].with_suffix("").parts).removesuffix(".__init__")]
    code: CodeType = mutant["code"]
    for name in mutant["names"]:
        found = vars(found)[name]
        code = next(each for each in code.co_consts if isinstance(each, CodeType) and each.co_name == name)
    found = getattr(found, "fget", None) or getattr(found, "func", None) or found
    found = inspect.unwrap(getattr(found, "__func__", found))
    assert isinstance(found, FunctionType)
    found.__code__ = code
    for module in [module for name, module in sys.modules.items() if name.startswith("clipclean")]:
        for value in vars(module).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()  # of functools: what was computed while tests were collected


class Lines:
    """A pytest plugin: which test runs which line, and the seconds of each that passes."""

    def __init__(self, out: Path) -> None:
        self.out, self.seconds = out, {}
        self.coverage = coverage.Coverage(data_file=str(out / "coverage"), source=["clipclean"], config_file=False)
        self.coverage.start()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.coverage.switch_context(nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0) + (9999 if report.failed else report.duration)

    def pytest_sessionfinish(self) -> None:
        self.coverage.stop()
        self.coverage.save()
        (self.out / "seconds.json").write_text(json.dumps(self.seconds))


class Mutants:
    """A pytest plugin: in place of the tests, the mutants, each with the tests that it has."""

    def __init__(self, out: Path, chosen: list[tuple[Mutant, list[str]]]) -> None:
        self.out, self.chosen = out, chosen

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = {item.nodeid: item for item in session.items}
        for mutant, tests in self.chosen:
            result = self.out / "result.json"
            result.write_text(json.dumps({"noticed": True, "by": "the limit of time"}))
            child = os.fork()
            if not child:
                resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
                signal.alarm(6 * CPU_SECONDS)
                put_in(mutant)
                mine = [items[test] for test in tests]
                pairs = itertools.zip_longest(mine, mine[1:])  # none, where no test runs the line
                by = next((item.nodeid for item, then in pairs if fails(item, then)), "")
                result.write_text(json.dumps({"noticed": bool(by), "by": by}))
                os._exit(0)
            os.waitpid(child, 0)
            row = {"draw": mutant["draw"], "what": mutant["what"], "tests": len(tests)}
            with (self.out / "mutants.jsonl").open("a") as log:
                log.write(json.dumps(row | json.loads(result.read_text())) + "\n")
        return True


def fails(item: pytest.Item, then: pytest.Item | None, /) -> bool:
    """Run a test, and see whether it fails."""
    before = item.session.testsfailed
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=then)
    return item.session.testsfailed > before


def chosen(mutant: Mutant, known: coverage.CoverageData, seconds: dict[str, float], limit: float, /) -> list[str]:
    """The tests that run a mutant's line, those of its own room first, as many as the limit allows."""
    path = mutant["path"]
    by_line = known.contexts_by_lineno(str(path.resolve()))
    found = {test for line in mutant["lines"] for test in by_line.get(line, ())}
    tests = {test for test in found if seconds.get(test, 9999) < CPU_SECONDS}

    def nearness(test: str) -> tuple[bool, bool, float]:
        place = Path(test.split("::")[0])
        return (place.parts[1] != path.parts[1], not place.stem.startswith(f"test_{path.stem}"), seconds[test])

    ordered = sorted(tests, key=nearness)
    spent = itertools.accumulate(seconds[test] for test in ordered)
    return ordered[: max(1, sum(total < limit for total in spent))]


def main() -> None:
    """Draw mutants, test each, and say which share was noticed."""
    parser = common.parser(__doc__, "out")
    parser.add_argument("--revision", default="HEAD")
    parser.add_argument("--seed", type=int, default=36)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--seconds", type=float, default=4)
    options = parser.parse_args()
    out = options.out.resolve()
    if not (out / "tree").exists():
        (out / "tree").mkdir(parents=True)
        archive = subprocess.run(["git", "archive", options.revision], check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", out / "tree"], input=archive, check=True)
    os.chdir(out / "tree")
    sys.path.insert(0, str(out / "tree"))
    os.environ |= {"PYTHONPATH": sys.path[0], "OMP_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    hypothesis.settings.register_profile("patient", deadline=None)
    hypothesis.settings.load_profile("patient")
    usual = ["-q", "-p", "no:cacheprovider", f"--basetemp={out / 'tmp'}"]
    if not (out / "seconds.json").exists():
        child = os.fork()
        if not child:
            os._exit(pytest.main([*usual, "--ignore=tests/test_docs.py", "--ignore=tests/ci"], plugins=[Lines(out)]))
        os.waitpid(child, 0)
    seconds = json.loads((out / "seconds.json").read_text())
    known = coverage.CoverageData(str(out / "coverage"))
    known.read()
    log = out / "mutants.jsonl"
    log.touch()
    done = {json.loads(line)["draw"] for line in log.read_text().splitlines()}
    files = sorted(file for pattern in WHERE.split() for file in Path("clipclean").glob(f"{pattern}.py"))
    every = (mutant for file in files for mutant in mutants(file, options.seed, options.share))
    drawn = sorted((each for each in every if each["draw"] not in done), key=lambda mutant: mutant["draw"])
    tests = [(mutant, chosen(mutant, known, seconds, options.seconds)) for mutant in drawn]
    if tests:
        mine = sorted({test.split("::")[0] for _, some in tests for test in some})
        pytest.main([*usual, *mine], plugins=[Mutants(out, tests)])
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    from clipclean.detect import Rate  # that of the revision, which is known by now

    rate = Rate(sum(row["noticed"] for row in rows), len(rows))
    low, high = rate.interval
    print(f"{rate.hits} of {rate.n} noticed, {rate.value:.1%}, 95 % interval {low:.1%} to {high:.1%}")


if __name__ == "__main__":
    main()
