"""Numbers for people, and harmless rendering of text from outside."""

import math
import unicodedata
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from rich.cells import cell_len, set_cell_size

NOTHING = "–"  # for what was not measured
_MINUS = "−"


def percent(share: float | None, /) -> str:
    """``0.9712`` as ``97.1 %``; values that would round to 0 or 100 % are shown as ``<0.1 %`` or ``>99.9 %``."""
    if share is None or math.isnan(share):
        return NOTHING
    text = f"{abs(100 * share):.1f}"
    if text == "0.0" and share != 0:
        return "<0.1 %" if share > 0 else f">{_MINUS}0.1 %"
    if text == "100.0" and abs(share) < 1:
        return ">99.9 %" if share > 0 else f"<{_MINUS}99.9 %"
    return f"{_MINUS if share < 0 else ''}{text} %"


def percent_interval(interval: Sequence[float] | None, /) -> str:
    """``[0.952, 0.983]`` as ``95.2 to 98.3 %``."""
    return NOTHING if interval is None else f"{interval_words(interval)} %"


def interval_words(interval: Sequence[float], /) -> str:
    """``[-0.002, 0.983]`` as ``−0.2 to 98.3``: of per cent, or of percentage points."""
    low, high = (f"{100 * bound + 0.0:.1f}".replace("-0.0", "0.0").replace("-", _MINUS) for bound in interval)
    return f"{low} to {high}"


def in_points(share: float, /) -> str:
    """A share as percentage points: ``2.9 points``, ``−0.3 points``."""
    return f"{100 * share:.1f} points".replace("-", _MINUS)


def decimal(number: float | None, /) -> str:
    """Two decimals, or two significant digits where these are small: ``1.62``, ``0.21``, ``0.0012``."""
    if number is None:
        return NOTHING
    return (f"{number:.2f}" if abs(number) >= 0.1 or number == 0 else f"{number:.2g}").replace("-", _MINUS)


def count(number: int | None, /) -> str:
    """``49950`` as ``49,950``."""
    return NOTHING if number is None else f"{number:,}"


def cut(words: str, width: int, /) -> str:
    """Words in at most so many columns of a terminal, with an ellipsis for the rest."""
    return words if cell_len(words) <= width else f"{set_cell_size(words, width - 1).rstrip()}…"


def memory(size: int | None, /) -> str:
    """Bytes in the largest binary unit that leaves at least one: ``1.5 GiB``."""
    if size is None:
        return NOTHING
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if size >= 1024**power:
            return f"{size / 1024**power:.1f} {unit}"
    return f"{size} bytes"


def duration(seconds: float | None, /) -> str:
    """``8.4 s``, ``3 min 20 s`` or ``2 h 5 min``."""
    if seconds is None:
        return NOTHING
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def signed(number: float, digits: int, /) -> str:
    """A change with its sign: ``−1.05``, ``±0.00``."""
    text = f"{abs(number):.{digits}f}"
    return f"±{text}" if float(text) == 0 else f"{_MINUS if number < 0 else '+'}{text}"


class Png(str):
    """A PNG image in base64, which we made: no text."""


MAX_SHOWN_TEXT = 2000  # characters of one string that a reader is shown
_JOINERS = "\u200c\u200d"  # needed by emoji and by several scripts


def inert(value: Any, /) -> Any:  # Any: JSON or a record in, the same shape out
    r"""The same value with every text in it, keys included, printable and of bounded length.

    Control characters, lone surrogates, line breaks and marks that reorder text become visible escapes, so that a name
    can neither drive a terminal nor pose as something else.

        inert({"class": "cat\x1b[2J"})  # {"class": "cat\\x1b[2J"}
    """
    if isinstance(value, Png):
        return value
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, BaseModel):
        set_ = value.model_fields_set
        return value.model_copy(update={name: inert(inner) for name, inner in value if name in set_})
    if isinstance(value, dict):
        return {printable(str(key)): inert(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        inside = map(inert, value)
        return type(value)(*inside) if hasattr(value, "_fields") else type(value)(inside)
    return value


def printable(text: str, /) -> str:
    """One text, escaped and cut to ``MAX_SHOWN_TEXT`` characters."""
    escaped = "".join(
        char if char.isprintable() or char in _JOINERS or unicodedata.category(char) == "Zs" else ascii(char)[1:-1]
        for char in text[: MAX_SHOWN_TEXT + 1]
    )
    return escaped if len(escaped) <= MAX_SHOWN_TEXT else f"{escaped[: MAX_SHOWN_TEXT - 1]}…"
