"""``report.json``: a report as JSON text."""

import json as jsonlib
import math
from pathlib import Path
from typing import Any

from clipclean import untrusted
from clipclean.errors import RefusedInput
from clipclean.report.schema_file import validate

MAX_BYTES = 32 * 2**20  # a report with 200 logged steps and the whole panel has about 100 KiB
MAX_DEPTH = 32  # of lists and objects in each other; the schema needs eight

Report = dict[str, Any]  # Any: JSON


def json(report: Report, /) -> str:
    """The report as JSON, keys in their order. What is no number (nan) becomes null, as JSON has none."""
    text = jsonlib.dumps(_with_nulls(report), indent=2, ensure_ascii=False, allow_nan=False)
    return text.encode(errors="backslashreplace").decode() + "\n"  # lone surrogates of undecodable file names


def read(path: Path, /) -> Report:
    """Read and validate a ``report.json``.

    Raises:
        RefusedInput: the file is missing, unreadable, too large, too deep or no JSON.
        UsageError: it is JSON, and no report.
    """
    try:
        data = untrusted.read(path, limit=MAX_BYTES)
    except untrusted.TooLarge as error:
        raise RefusedInput(
            f"{path} has more than {MAX_BYTES // 2**20} MiB; no report has. Name a report.json."
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RefusedInput(f"Cannot read {path}: {reason}. Name a report.json that clipclean wrote.") from error
    try:
        report: Any = untrusted.value(data)
    except (ValueError, RecursionError) as error:
        raise RefusedInput(f"{path} is no JSON: {error}. Name a report.json that clipclean wrote.") from error
    if _is_deeper(report, MAX_DEPTH):
        raise RefusedInput(f"{path} nests values more than {MAX_DEPTH} deep; no report does. Name a report.json.")
    validate(report)
    loaded: Report = report
    return loaded


def _with_nulls(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _with_nulls(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_with_nulls(inner) for inner in value]
    return value


def _is_deeper(value: Any, limit: int) -> bool:
    """Level by level, so that depth costs no recursion."""
    level = [value]
    for _ in range(limit):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return any(isinstance(inner, dict | list) for inner in level)
