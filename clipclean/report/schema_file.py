"""The report's shape, checked against the JSON Schema that ships with the package."""

import functools
import json
import math
import re
from collections.abc import Callable, Iterator
from importlib import resources
from typing import Any  # JSON throughout

from clipclean.errors import UsageError

MAX_PROBLEMS = 20  # told at once
MAX_NUMBER = 2**63  # nothing that a report counts or measures comes near
_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: _is_number(value),
    "integer": lambda value: _is_number(value) and value == math.floor(value),
}
# The schema uses these keywords and no others, which a test holds.
KEYWORDS = frozenset(
    [
        "$schema",
        "$id",
        "$defs",
        "title",
        "description",
        "$ref",
        "type",
        "const",
        "enum",
        "anyOf",
        "if",
        "then",
        "required",
        "properties",
        "items",
        "minItems",
        "maxItems",
        "minimum",
        "maximum",
        "pattern",
    ]
)


@functools.cache
def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a report."""
    text = resources.files("clipclean.report").joinpath("report.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def validate(report: Any, /) -> None:
    """Return if ``report`` is a valid report.

    Raises:
        UsageError: it is not; the message lists what is wrong and where.
    """
    found: list[str] = []
    for problem in problems(report):
        if len(found) == MAX_PROBLEMS:
            found.append("…")
            break
        found.append(problem)
    if found:
        listed = "\n".join(f"  {problem}" for problem in found)
        raise UsageError(
            f"This is no clipclean report of schema version 1:\n{listed}\n"
            "Take a report.json as clipclean wrote it, and the version of clipclean that its tool.version names."
        )


def problems(report: Any, /) -> Iterator[str]:
    """Each place where ``report`` departs from the schema, as ``place: what is wrong``."""
    yield from _check(report, schema(), "report")


def _check(value: Any, rules: dict[str, Any], where: str) -> Iterator[str]:
    if "$ref" in rules:
        yield from _check(value, schema()["$defs"][rules["$ref"].removeprefix("#/$defs/")], where)
    types = [rules["type"]] if isinstance(rules.get("type"), str) else rules.get("type", [])
    if types and not any(_TYPES[name](value) for name in types):
        yield f"{where}: {_brief(value)} is not {' or '.join(types)}"
        return
    if "const" in rules and value != rules["const"]:
        yield f"{where}: {_brief(value)} is not {rules['const']!r}"
    if "enum" in rules and value not in rules["enum"]:
        yield f"{where}: {_brief(value)} is not one of {', '.join(rules['enum'])}"
    if "anyOf" in rules:
        attempts = [list(_check(value, option, where)) for option in rules["anyOf"]]
        if all(attempts):
            inside = [problem for found in attempts for problem in found if not problem.startswith(f"{where}: ")]
            yield from inside or attempts[0][:1]
    if "if" in rules and not any(_check(value, rules["if"], where)):
        yield from _check(value, rules["then"], where)
    if isinstance(value, dict):
        yield from _check_object(value, rules, where)
    elif isinstance(value, list):
        yield from _check_array(value, rules, where)
    elif isinstance(value, str):
        if "pattern" in rules and not re.search(rules["pattern"], value):
            yield f"{where}: {_brief(value)} does not match {rules['pattern']}"
    elif _is_number(value):
        yield from _check_number(value, rules, where)


def _check_object(value: dict[str, Any], rules: dict[str, Any], where: str) -> Iterator[str]:
    missing = [key for key in rules.get("required", ()) if key not in value]
    if missing:
        yield f"{where}: {', '.join(missing)} missing"
    for key, inner in rules.get("properties", {}).items():
        if key in value:
            yield from _check(value[key], inner, f"{where}.{key}")


def _check_array(value: list[Any], rules: dict[str, Any], where: str) -> Iterator[str]:
    if not rules.get("minItems", 0) <= len(value) <= rules.get("maxItems", len(value)):
        yield f"{where}: {len(value)} entries instead of {rules['minItems']}"
    if "items" in rules:
        for place, inner in enumerate(value):
            yield from _check(inner, rules["items"], f"{where}[{place}]")


def _check_number(value: float, rules: dict[str, Any], where: str) -> Iterator[str]:
    if value < rules.get("minimum", value) or value > rules.get("maximum", value):
        bounds = f"at least {rules['minimum']}" + (f" and at most {rules['maximum']}" if "maximum" in rules else "")
        yield f"{where}: {value} is not {bounds}"


def _is_number(value: Any) -> bool:
    """Neither true nor false, and of a size that can be computed with and printed: not nan either."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -MAX_NUMBER <= value <= MAX_NUMBER


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
