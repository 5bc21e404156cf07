"""What the pages repeat of the code: commands, options, findings, keys of recipes, trigger families. ``tables.py`` writes it into them.

A part stands between ``<!-- NAME:begin -->`` and ``<!-- NAME:end -->``, where NAME is a key of ``PARTS``.
"""

import html
import inspect
import re
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
from clipclean.cli.command import Command
from clipclean.config import effort, evidence, policy, recipe
from clipclean.config.thresholds import Audit, Thresholds
from clipclean.findings import RULES
from clipclean.requests import SETS_HELP

RECIPE_HEAD = ("Name", "What it is for", "Measured")


def _commands() -> str:
    """A section a command; options that mean the same in several stand once, below them."""
    root = cli.cli.make_context("clipclean", [], resilient_parsing=True)
    contexts = list(_contexts(root))
    uses = Counter(row for context in contexts for row in _options(context))
    shared = [row for row in uses if uses[row] > 1]
    sections = [_section(context, shared) for context in contexts]
    return "\n\n".join([*sections, f"### Shared options\n\n{_option_list(shared)}"])


def _option_list(options: list[tuple[str, str]]) -> str:
    return "\n".join(f"- {name}: {meaning}" for name, meaning in options)


def _contexts(context: click.Context) -> Iterator[click.Context]:
    """The command's own; of a group, those of its commands."""
    group = context.command
    if not isinstance(group, click.Group):
        yield context
        return
    for name in group.list_commands(context):
        if command := group.get_command(context, name):
            yield from _contexts(click.Context(command, info_name=name, parent=context))


def _section(context: click.Context, shared: list[tuple[str, str]]) -> str:
    command = context.command
    help_text = inspect.cleandoc(command.help or "").partition("\f")[0].replace("\b\n", "")
    parts = [f"### {context.command_path}", *map(_prose, help_text.split("\n\n"))]
    options = _options(context)
    if own_options := [row for row in options if row not in shared]:
        parts.append(_option_list(own_options))
    if shared_flags := [re.findall("--[a-z-]+", row[0])[0] for row in options if row in shared]:
        parts.append(f"[Shared options](#shared-options): {', '.join(map(_code, shared_flags))}.")
    if isinstance(command, Command) and command.examples:  # --help-all has more
        parts.append(f"```bash\nclipclean {command.examples[0]}\n```")
    return "\n\n".join(parts)


def _options(context: click.Context) -> list[tuple[str, str]]:
    params = context.command.params
    return [
        _option(parameter, context)
        for parameter in params
        if isinstance(parameter, click.Option) and not parameter.hidden
    ]


def _option(option: click.Option, context: click.Context) -> tuple[str, str]:
    metavar = "" if option.is_flag else f" {option.metavar or option.type.name.upper()}"
    flags = sorted(option.opts, key=len, reverse=True)
    meaning = [_prose((option.help or "").replace(SETS_HELP, "Repeatable."))]
    if option.required:
        meaning.append("Required.")
    default = option.get_default(context, call=False)
    if isinstance(option.show_default, str):
        meaning.append(f"Default: {_prose(option.show_default)}.")
    elif isinstance(default, str | int | float | Path) and not isinstance(default, bool):
        meaning.append(f"Default: {_code(str(default))}.")
    if option.envvar:
        meaning.append(f"Variable: {_code(str(option.envvar))}.")
    return ", ".join(f"`{flag}`" for flag in [*flags[:-1], flags[-1] + metavar]), " ".join(meaning)


def _findings() -> str:
    return "\n\n".join(
        f"### {number}: {rule.title}\n\n*{rule.level.capitalize()}.* {_prose(rule.means)}\n\n"
        f"*Not shown:* {_prose(rule.does_not_show)}\n\n*Do:* {_prose(rule.action)}"
        for number, rule in RULES.items()
    )


def _recipe(loaded: recipe.Recipe) -> tuple[str, ...]:
    """What became of planted backdoors, at worst."""
    worst = evidence.worst(recipe.own_evidence(loaded), loaded.audit)
    return _code(loaded.name), _prose(loaded.description), "each run measures" if loaded.method == "auto" else worst


def _keys(model: type[BaseModel], prefix: str) -> Iterator[str]:
    """A list of the keys of a section, then the sections in it."""
    title = f"### `{prefix.removesuffix('.')}`" if prefix else "### At the top"
    fields = {name: field for name, field in model.model_fields.items() if not _is_section(field)}
    yield f"{title}\n\n{_list_of_keys(fields, prefix)}"
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and _is_section(field):
            yield from _keys(field.annotation, f"{prefix}{name}.")


def _list_of_keys(fields: Mapping[str, FieldInfo], prefix: str) -> str:
    return "\n".join(_key(f"{prefix}{field.alias or name}", field) for name, field in fields.items())


def _key(name: str, field: FieldInfo) -> str:
    """A key with its default, its unit, the words or bounds that it takes, and its meaning."""
    default = _plain("..." if field.is_required() else field.default)
    extra = field.json_schema_extra
    unit = str(extra["unit"]) if isinstance(extra, dict) else "none"
    notes = ", ".join(part for part in ("" if unit == "none" else unit, _bounds(field)) if part)
    return f"- `{name}: {default}`{f' ({notes})' if notes else ''}. {_prose(field.description or '')}"


def _policy_keys() -> str:
    """Thresholds that no recipe has, the keys of a suppression, and the base."""
    threshold_fields = {
        name: field for name, field in Thresholds.model_fields.items() if name not in Audit.model_fields
    }
    suppression, match = policy.Suppression.model_fields, policy.Match.model_fields
    base = {"base_sha256": policy.Policy.model_fields["base_sha256"]}
    parts = {"thresholds.": threshold_fields, "suppressions.": suppression, "suppressions.match.": match, "": base}
    return "\n\n".join(_list_of_keys(fields, prefix) for prefix, fields in parts.items())


def _is_section(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def _plain(value: float | str | tuple[float | str, ...] | None) -> str:
    """As YAML has it."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_plain, value))}]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return value if isinstance(value, str) else _number(value)


def _bounds(field: FieldInfo) -> str:
    annotation = field.annotation
    if get_origin(annotation) is Literal:
        return ", ".join(_code(str(word)) for word in get_args(annotation))
    limits = {
        name: _number(value)
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
        return "one line of text" if "x00" in str(pattern) else _code(str(pattern))
    is_optional = get_origin(annotation) in (Union, types.UnionType) and type(None) in get_args(annotation)
    return bounds + (" or `null`" if is_optional and bounds else "")


def _families() -> str:
    sections, first_family = [], dict[tuple[str, str, str], str]()  # what a parameter is: the first family that has it
    for name, family in triggers.KNOWN_FAMILIES.items():
        rows = [f"### {name}\n\n{_prose(family.description)} *Source:* {_prose(family.source)}\n"]
        for key, parameter in family.parameters.items():
            owner = first_family.setdefault((key, parameter.meaning, parameter.allowed), name)
            words = f"{_prose(parameter.meaning)}; {_prose(parameter.allowed)}" if owner == name else f"as of {owner}"
            rows.append(f"- {_code(key)}: {words}; default {_code(_plain(parameter.default))}")
        sections.append("\n".join(rows))
    return "\n\n".join(sections)


def _panel() -> str:
    return "```text\n" + "\n".join(triggers.PANEL) + "\n```"


def _efforts() -> str:
    heads = (
        *("effort", "restarts a family", "steps", "longest list that is searched whole", "classes of a longer one"),
        *("steps of its brief search", "image passes"),
    )
    rows = [
        (
            name,
            *map(str, (e.restarts, e.steps, e.full_list_limit, e.classes_searched(effort.LONG_LIST), e.sweep, e.costs)),
        )
        for name, e in effort.EFFORTS.items()
    ]
    return _table(heads, rows)


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)


def _prose(text: str) -> str:
    """Words as Markdown: what would be markup is escaped, what is code is shown as code."""
    escaped = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"(?<![\w/.`-])(--[a-z][a-z-]*|[a-z]+\.[a-z_]+=\S+|[a-z-]+:[a-z]+=[^\s:;]+)", _coded, escaped)


def _coded(match: re.Match[str]) -> str:
    word = match[0].rstrip(".,")
    return f"`{word}`{match[0][len(word) :]}"


def _code(text: str) -> str:
    """Text as code, also in a table cell with a bar in it."""
    return f"<code>{html.escape(text)}</code>" if "|" in text else f"`{text}`"


def _number(value: float) -> str:
    """As a recipe would write it: 10, 0.1, 1e-5."""
    if isinstance(value, int):
        return str(value)
    short = f"{value:.3e}" if 0 < abs(value) < 1e-3 else f"{value:g}"
    return re.sub(r"\.?0*e-0*", "e-", short)


def _command_names() -> str:
    """A line a command, as the help of the program has it."""
    return "\n".join(f"- `{name}`: {_prose(summary)}" for name, (_, summary) in cli.COMMANDS.items())


PARTS: dict[str, Callable[[], str]] = {
    "command-names": _command_names,
    "exit-codes": lambda: _table(
        ("Code", "Meaning"), [(str(code), meaning) for code, meaning in cli.EXIT_CODES.items()]
    ),
    "commands": _commands,
    "findings": _findings,
    "shipped-recipes": lambda: _table(RECIPE_HEAD, [_recipe(recipe.load(name)) for name in recipe.names()]),
    "recipe-keys": lambda: "\n\n".join(_keys(recipe.Recipe, "")),
    "policy-keys": _policy_keys,
    "families": _families,
    "panel": _panel,
    "efforts": _efforts,
}
