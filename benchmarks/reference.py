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
import textwrap
import types
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, Union, get_args, get_origin

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from clipclean import cli
from clipclean.attack import triggers
from clipclean.config import recipe
from clipclean.findings import RULES

ROOT = Path(__file__).resolve().parent.parent
PAGES = {  # page: the parts that stand in it
    "docs/methods.md": ("efforts",),
    "docs/cli.md": ("exit-codes", "commands"),
    "docs/measures.md": ("findings",),
    "docs/recipes.md": ("shipped-recipes", "recipe-keys"),
    "docs/triggers.md": ("families", "panel"),
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
    return "\n\n".join([*sections, f"## Shared options\n\n{table(('Option', 'Meaning'), shared)}"])


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
    usage = " ".join((context.command_path, *command.collect_usage_pieces(context)))
    parts = [f"## {context.command_path}", _paragraphs(command.help or ""), f"```text\n{usage}\n```"]
    options = _options(context)
    if own := [row for row in options if row not in shared]:
        parts.append(table(("Option", "Meaning"), own))
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
    meaning = [prose(option.help or "")]
    if option.required:
        meaning.append("Required.")
    default = option.get_default(context, call=False)
    if isinstance(option.show_default, str):
        meaning.append(f"Default: {prose(option.show_default)}.")
    elif isinstance(default, str | int | float | Path) and not isinstance(default, bool):
        meaning.append(f"Default: {code(str(default))}.")
    if option.envvar:
        meaning.append(f"Variable: {code(str(option.envvar))}.")
    return ", ".join(code(flag) for flag in [*flags[:-1], flags[-1] + metavar]), " ".join(meaning)


def _examples(epilog: str) -> str:
    title, _, lines = epilog.replace("\b\n", "").strip().partition("\n")
    return f"{title}\n\n```bash\n{textwrap.dedent(lines).strip()}\n```"


def findings() -> str:
    return "\n\n".join(
        f"### {number}: {rule.title}\n\nUsual level: {rule.level}. {prose(rule.means)}\n\n"
        f"*Does not show:* {prose(rule.does_not_show)}\n\n*What to do:* {prose(rule.action)}"
        for number, rule in RULES.items()
    )


def shipped_recipes() -> str:
    heads = ("Name", "What it is for", "Values", "Evidence")
    known = [recipe.load(name) for name in recipe.names()]
    return table(heads, [_recipe(recipe.at_scale(each, scale)) for each in known for scale in recipe.scales(each)])


def _recipe(loaded: recipe.Recipe) -> tuple[str, ...]:
    train = loaded.train
    length = f"{number(train.epochs)} epochs"
    if loaded.method == "unlearn":
        length = f"at most {loaded.unlearn.max_rounds} rounds of {loaded.unlearn.steps} steps"
    if loaded.method == "auto":
        values = f"tries {', then '.join(code(each) for each in loaded.auto.ladder)}"
        return code(loaded.name), prose(loaded.description), values, "none yet"
    values = (
        f"{WEIGHTS[loaded.method](loaded.loss)}; {length} in batches of {train.batch_size}; peak rate {number(train.lr)} "
        f"after {train.warmup_steps} steps"
    )
    evidence = "measured" if recipe.own_evidence(loaded) else "none yet"
    return code(recipe.called(loaded)), prose(loaded.description) if loaded.scale == "usual" else "", values, evidence


def _contrastive(loss: recipe.Loss) -> str:
    return f"λ1 = {number(loss.clip_weight)}, λ2 = {number(loss.self_supervised_weight)}"


WEIGHTS: dict[str, Callable[[recipe.Loss], str]] = {  # the words for what a method weighs
    "cleanclip": _contrastive,
    "mmcl": _contrastive,
    "par": lambda loss: f"pushed by {number(loss.push_weight)} up to {number(loss.push_limit)}",
    "supervised": lambda loss: "cross-entropy over the zero-shot classifier",
    "unlearn": lambda loss: f"preserved by {number(loss.preserve_weight)}, restored by {number(loss.restore_weight)}",
}


def recipe_keys() -> str:
    return "\n\n".join(_keys(recipe.Recipe, ""))


def _keys(model: type[BaseModel], prefix: str) -> Iterator[str]:
    """A table for the keys of a section, then the sections in it."""
    heads = ("Key", "Default", "Unit", "Allowed", "Meaning")
    title = f"### `{prefix.removesuffix('.')}`" if prefix else "### At the top"
    rows = [
        (code(prefix + name), _default(field), _unit(field), _allowed(field), prose(field.description or ""))
        for name, field in model.model_fields.items()
        if not _is_section(field)
    ]
    yield f"{title}\n\n{table(heads, rows)}"
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and _is_section(field):
            yield from _keys(field.annotation, f"{prefix}{name}.")


def _is_section(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if isinstance(value, tuple):
        return code(f"[{', '.join(map(_plain, value))}]")
    return code(_plain(value))


def _plain(value: float | str | None) -> str:
    return "null" if value is None else value if isinstance(value, str) else number(value)


def _unit(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    unit = str(extra["unit"]) if isinstance(extra, dict) else "none"
    return "" if unit == "none" else unit


def _allowed(field: FieldInfo) -> str:
    """The words or the bounds of a value."""
    annotation = field.annotation
    if get_origin(annotation) is Literal:
        return ", ".join(code(str(word)) for word in get_args(annotation))
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    bounds = [
        f"{sign} {number(getattr(rule, name))}"
        for rule in field.metadata
        for name, sign in signs.items()
        if getattr(rule, name, None) is not None
    ]
    pattern = next((rule.pattern for rule in field.metadata if getattr(rule, "pattern", None)), None)
    if pattern and not bounds:
        return "one line of text" if "x00" in str(pattern) else code(str(pattern))
    is_optional = get_origin(annotation) in (Union, types.UnionType) and type(None) in get_args(annotation)
    return ", ".join(bounds) + (" or `null`" if is_optional and bounds else "")


def families() -> str:
    return "\n\n".join(_family(name, family) for name, family in triggers.catalogue().items())


def _family(name: str, family: triggers.TriggerFamily) -> str:
    rows = [
        (code(key), code(_spelt(parameter.default)), prose(parameter.allowed), prose(parameter.meaning))
        for key, parameter in family.parameters.items()
    ]
    heads = ("Parameter", "Default", "Allowed", "Meaning")
    return f"## {name}\n\n{prose(family.description)}\n\n*Source:* {prose(family.source)}\n\n{table(heads, rows)}"


def panel() -> str:
    return "\n".join(f"- `{spec}`" for spec in triggers.PANEL)


def efforts() -> str:
    heads = (
        "effort",
        "restarts per family",
        "steps",
        "suspects",
        "comparison classes",
        "steps of the sweep",
        "images forward and backward",
    )
    rows = [
        (name, *map(str, (e.restarts, e.steps, e.suspects, e.controls, e.sweep)), "{:,} to {:,}".format(*e.passes()))
        for name, e in recipe.EFFORTS.items()
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


def _spelt(value: float | int | str) -> str:
    return value if isinstance(value, str) else number(value)


PARTS: dict[str, Callable[[], str]] = {
    "exit-codes": exit_codes,
    "commands": commands,
    "findings": findings,
    "shipped-recipes": shipped_recipes,
    "recipe-keys": recipe_keys,
    "families": families,
    "panel": panel,
    "efforts": efforts,
}

if __name__ == "__main__":
    sys.exit(main())
