"""Regenerate the parts of the documentation that are read off the code.

    python benchmarks/reference.py            # rewrite them in place
    python benchmarks/reference.py --check    # change nothing; exit 1 where a page is not current

A part stands between ``<!-- NAME:begin -->`` and ``<!-- NAME:end -->``, where NAME is a key of ``PARTS``.
"""

import argparse
import html
import inspect
import re
import sys
import types
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal, Union, get_args, get_origin

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from clipclean import cli
from clipclean.attack import triggers
from clipclean.cli.recipes import WORDS
from clipclean.config import effort, evidence, policy, recipe
from clipclean.config.thresholds import Audit, Thresholds
from clipclean.findings import RULES
from clipclean.requests import SETS_HELP

ROOT = Path(__file__).resolve().parent.parent
PAGES = {  # page: the parts that stand in it
    "docs/methods.md": ("efforts",),
    "docs/cli.md": ("exit-codes", "commands"),
    "docs/measures.md": ("findings",),
    "docs/configuration.md": ("shipped-recipes", "policy-keys", "families", "panel", "recipe-keys"),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 where a page is not current")
    is_check = parser.parse_args().check
    stale = [name for name in PAGES if (ROOT / name).read_text(encoding="utf-8") != page(name)]
    for name in stale:
        if not is_check:
            (ROOT / name).write_text(page(name), encoding="utf-8")
        print(f"{name}: {'not current' if is_check else 'written'}")
    return int(is_check and bool(stale))


def page(name: str) -> str:
    """The page with its generated parts as they should be."""
    text = (ROOT / name).read_text(encoding="utf-8")
    for part in PAGES[name]:
        begin, end = f"<!-- {part}:begin -->", f"<!-- {part}:end -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            raise SystemExit(f"{name} needs {begin} and {end}, once each.")
        head, _, rest = text.partition(begin)
        text = f"{head}{begin}\n\n{PARTS[part]()}\n\n{end}{rest.partition(end)[2]}"
    return text


def exit_codes() -> str:
    return table(("Code", "Meaning"), [(str(code), meaning) for code, meaning in cli.EXIT_CODES.items()])


def commands() -> str:
    """A section a command; options that mean the same in several stand once, below them."""
    root = cli.cli.make_context("clipclean", [], resilient_parsing=True)
    contexts = [context for name in cli.COMMANDS for context in _contexts(name, root)]
    uses = Counter(row for context in contexts for row in _options(context))
    shared = [row for row in uses if uses[row] > 1]
    sections = [_section(context, shared) for context in contexts]
    return "\n\n".join([*sections, f"## Shared options\n\n{_listed(shared)}"])


def _listed(options: list[tuple[str, str]]) -> str:
    return "\n".join(f"- {name}: {meaning}" for name, meaning in options)


def _contexts(name: str, parent: click.Context) -> Iterator[click.Context]:
    """The command; of a group, each of its commands."""
    group = parent.command
    assert isinstance(group, click.Group)
    command = group.get_command(parent, name)
    assert command is not None
    context = click.Context(command, info_name=name, parent=parent)
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            yield from _contexts(inner, context)
    else:
        yield context


def _section(context: click.Context, shared: list[tuple[str, str]]) -> str:
    command = context.command
    parts = [f"## {context.command_path}", _paragraphs(command.help or "")]
    options = _options(context)
    if own := [row for row in options if row not in shared]:
        parts.append(_listed(own))
    if others := [re.findall("--[a-z-]+", row[0])[0] for row in options if row in shared]:
        parts.append(f"[Shared options](#shared-options): {', '.join(map(code, others))}.")
    if command.epilog:
        parts.append(_examples(command.epilog))
    return "\n\n".join(parts)


def _options(context: click.Context) -> list[tuple[str, str]]:
    options = [param for param in context.command.params if isinstance(param, click.Option) and not param.hidden]
    return [_option(option, context) for option in options]


def _paragraphs(text: str) -> str:
    """A docstring's paragraphs, each on one line."""
    cleaned = inspect.cleandoc(text).partition("\f")[0].replace("\b\n", "")
    return "\n\n".join(prose(" ".join(paragraph.split())) for paragraph in cleaned.split("\n\n"))


def _option(option: click.Option, context: click.Context) -> tuple[str, str]:
    metavar = "" if option.is_flag else f" {option.metavar or option.type.name.upper()}"
    flags = sorted(option.opts, key=len, reverse=True)
    meaning = [prose((option.help or "").replace(SETS_HELP, "Repeatable."))]
    if option.required:
        meaning.append("Required.")
    default = option.get_default(context, call=False)
    if isinstance(option.show_default, str):
        meaning.append(f"Default: {prose(option.show_default)}.")
    elif isinstance(default, str | int | float | Path) and not isinstance(default, bool):
        meaning.append(f"Default: {code(str(default))}.")
    if option.envvar:
        meaning.append(f"Variable: {code(str(option.envvar))}.")
    return ", ".join(f"`{flag}`" for flag in [*flags[:-1], flags[-1] + metavar]), " ".join(meaning)


def _examples(epilog: str) -> str:
    """The first; ``--help-all`` has more."""
    _, first, *_ = epilog.replace("\b\n", "").strip().split("\n  clipclean ")
    return f"```bash\nclipclean {first}\n```"


def findings() -> str:
    return "\n\n".join(
        f"### {number}: {rule.title}\n\n*{rule.level.capitalize()}.* {prose(rule.means)}\n\n"
        f"*Not shown:* {prose(rule.does_not_show)}\n\n*Do:* {prose(rule.action)}"
        for number, rule in RULES.items()
    )


def shipped_recipes() -> str:
    return table(("Name", "What it is for", "Measured"), [_recipe(recipe.load(name)) for name in recipe.names()])


def _recipe(loaded: recipe.Recipe) -> tuple[str, ...]:
    """What became of planted backdoors, at worst, by scale."""
    results = {}
    for scale in recipe.scales(loaded):
        blocks = recipe.own_evidence(recipe.at_scale(loaded, scale))
        found = {evidence.outcome(block, loaded.audit.max_accuracy_loss) for block in blocks}
        results[scale] = next((words for result, words in WORDS.items() if result in found), "not measured")
    told = "; ".join(f"`{scale}`: {words}" for scale, words in results.items())
    return code(loaded.name), prose(loaded.description), "each run measures" if loaded.method == "auto" else told


def recipe_keys() -> str:
    return "\n\n".join(_keys(recipe.Recipe, ""))


def _keys(model: type[BaseModel], prefix: str) -> Iterator[str]:
    """A list of the keys of a section, then the sections in it."""
    title = f"### `{prefix.removesuffix('.')}`" if prefix else "### At the top"
    fields = {name: field for name, field in model.model_fields.items() if not _is_section(field)}
    yield f"{title}\n\n{_list_of_keys(fields, prefix)}"
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and _is_section(field):
            yield from _keys(field.annotation, f"{prefix}{name}.")


def _list_of_keys(fields: Mapping[str, FieldInfo], prefix: str) -> str:
    rows = [
        f"- `{prefix}{field.alias or name}: {_default(field)}`{_allowed(field)}. {prose(field.description or '')}"
        for name, field in fields.items()
    ]
    return "\n".join(rows)


def policy_keys() -> str:
    """Thresholds that no recipe has, and the keys of a suppression."""
    own = {name: field for name, field in Thresholds.model_fields.items() if name not in Audit.model_fields}
    parts = (
        (own, "thresholds."),
        (policy.Suppression.model_fields, "suppressions."),
        (policy.Match.model_fields, "suppressions.match."),
    )
    return "\n\n".join(_list_of_keys(*part) for part in parts)


def _is_section(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def _default(field: FieldInfo) -> str:
    value = "..." if field.is_required() else field.default
    return f"[{', '.join(map(_plain, value))}]" if isinstance(value, tuple) else _plain(value)


def _plain(value: float | str | None) -> str:
    """As YAML has it."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return value if isinstance(value, str) else number(value)


def _allowed(field: FieldInfo) -> str:
    """The words, or the unit and the bounds of a value."""
    extra = field.json_schema_extra
    unit = str(extra["unit"]) if isinstance(extra, dict) else "none"
    told = ", ".join(part for part in ("" if unit == "none" else unit, _bounds(field)) if part)
    return f" ({told})" if told else ""


def _bounds(field: FieldInfo) -> str:
    annotation = field.annotation
    if get_origin(annotation) is Literal:
        return ", ".join(code(str(word)) for word in get_args(annotation))
    limits = {
        name: number(value)
        for rule in field.metadata
        for name in ("gt", "ge", "lt", "le")
        if (value := getattr(rule, name, None)) is not None
    }
    low = f">{limits['gt']}" if "gt" in limits else limits.get("ge")
    bounds = (
        f"{low}–{limits['le']}" if low and "le" in limits else f"from {low}".replace("from >", "above ") if low else ""
    )
    bounds += f", below {limits['lt']}" if "lt" in limits else ""
    pattern = next((rule.pattern for rule in field.metadata if getattr(rule, "pattern", None)), None)
    if pattern and not bounds:
        return "one line of text" if "x00" in str(pattern) else code(str(pattern))
    is_optional = get_origin(annotation) in (Union, types.UnionType) and type(None) in get_args(annotation)
    return bounds + (" or `null`" if is_optional and bounds else "")


def families() -> str:
    known: dict[tuple[str, str, str], str] = {}  # what a parameter is: the first family that has it
    return "\n\n".join(_family(name, family, known) for name, family in triggers.FAMILIES.items())


def _family(name: str, family: triggers.TriggerFamily, known: dict[tuple[str, str, str], str]) -> str:
    rows = []
    for key, each in family.parameters.items():
        first = known.setdefault((key, each.meaning, each.allowed), name)
        words = f"{prose(each.meaning)}; {prose(each.allowed)}" if first == name else f"as of {first}"
        rows.append(f"- {code(key)}: {words}; default {code(_plain(each.default))}")
    return "\n".join((f"### {name}\n\n{prose(family.description)} *Source:* {prose(family.source)}\n", *rows))


def panel() -> str:
    return "```text\n" + "\n".join(triggers.PANEL) + "\n```"


def efforts() -> str:
    heads = ("effort", "restarts a family", "steps", "suspects", "other classes", "steps of the sweep", "image passes")
    rows = [
        (name, *map(str, (e.restarts, e.steps, e.suspects, e.controls, e.sweep, e.costs)))
        for name, e in effort.EFFORTS.items()
    ]
    return table(heads, rows)


def table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)


def prose(text: str) -> str:
    """Words as Markdown: what would be markup is escaped, what is code is shown as code."""
    escaped = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"(?<![\w/.`-])(--[a-z][a-z-]*|[a-z]+\.[a-z_]+=\S+|[a-z-]+:[a-z]+=[^\s:;]+)", _coded, escaped)


def _coded(found: re.Match[str]) -> str:
    word = found[0].rstrip(".,")
    return f"`{word}`{found[0][len(word) :]}"


def code(text: str) -> str:
    """Text as code, also in a table cell with a bar in it."""
    return f"<code>{html.escape(text)}</code>" if "|" in text else f"`{text}`"


def number(value: float) -> str:
    """As a recipe would write it: 10, 0.1, 1e-5."""
    if isinstance(value, int):
        return str(value)
    short = f"{value:.3e}" if 0 < abs(value) < 1e-3 else f"{value:g}"
    return re.sub(r"\.?0*e-0*", "e-", short)


PARTS: dict[str, Callable[[], str]] = {
    "exit-codes": exit_codes,
    "commands": commands,
    "findings": findings,
    "shipped-recipes": shipped_recipes,
    "recipe-keys": recipe_keys,
    "policy-keys": policy_keys,
    "families": families,
    "panel": panel,
    "efforts": efforts,
}

if __name__ == "__main__":
    sys.exit(main())
