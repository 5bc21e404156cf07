"""Text from a report, made harmless: names of classes, files and triggers may come from an attacker."""

import unicodedata
from typing import Any

from clipclean.report.schema import Report

MAX_TEXT = 2000  # characters of one string that a reader is shown
_JOINERS = "\u200c\u200d"  # needed by emoji and by several scripts


def inert(value: Any, /) -> Any:  # Any: JSON in, JSON of the same shape out
    r"""The same JSON value with every text in it, keys included, printable and of bounded length.

    Control characters, lone surrogates, line breaks and marks that reorder text become visible escapes, so that a name
    can neither drive a terminal nor pose as something else.

        inert({"class": "cat\x1b[2J"})  # {"class": "cat\\x1b[2J"}
    """
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(str(key)): inert(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [inert(inner) for inner in value]
    return value


def harmless(report: Report, /) -> Report:
    """The same report, inert: the one that every form but JSON is made of."""
    return Report.model_validate(inert(report.model_dump(by_alias=True, exclude_unset=True)))


def printable(text: str, /) -> str:
    """One text, escaped and cut to ``MAX_TEXT`` characters."""
    shown = "".join(char if _is_harmless(char) else ascii(char)[1:-1] for char in text[: MAX_TEXT + 1])
    return shown if len(shown) <= MAX_TEXT else f"{shown[: MAX_TEXT - 1]}…"


def _is_harmless(char: str) -> bool:
    return char.isprintable() or char in _JOINERS or unicodedata.category(char) == "Zs"
