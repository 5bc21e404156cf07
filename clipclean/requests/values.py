"""The values that options take: their types, and how a text becomes one."""

import math
import os
import re
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import click
from click.types import convert_type

from clipclean import untrusted
from clipclean.errors import UsageError
from clipclean.untrusted import printable

if TYPE_CHECKING:
    from torch import nn

OptionType: TypeAlias = "click.ParamType[Any]"  # Any: each has its own
StrPath: TypeAlias = str | PathLike[str]
Model: TypeAlias = "str | PathLike[str] | nn.Module"  # a checkpoint, or an open_clip model in memory
Names: TypeAlias = Path | tuple[str, ...]  # a file with one a line, or the names themselves
PrecisionName: TypeAlias = Literal["auto", "fp32", "bf16"]
# Which pairs are dropped: a share, those that stand out; none, or unscreened.
ScreenRule: TypeAlias = float | Literal["report", "auto", "off"]
DropRule: TypeAlias = float | Literal["auto"]  # the same of those that are


def switch(value: object, /) -> bool:
    """The value, if it is True or False and nothing like it."""
    if not isinstance(value, bool):
        raise click.BadParameter(f"{value!r} is neither True nor False.")
    return value


SWITCH = convert_type(switch)


def share(*words: str) -> OptionType:
    """A share above 0 and below 1, which is written as 2%; or one of some words."""

    def read(value: Any) -> float | str:  # Any: what a user gives, which is compared
        if value in words:
            return str(value)
        percent = re.fullmatch(r"([0-9]{1,2}(?:\.[0-9]{1,6})?) ?%", str(value))
        share = float(percent[1]) / 100 if percent else value
        if isinstance(share, str) or not 0 < share < 1:
            raise click.BadParameter(
                f"{value!r} is no share{' and not '.join(['', *words])}. Write a share above 0 and below 100 % such as 2%."
            )
        return share

    return convert_type(read)


class Finite(click.FloatRange):
    """A range that NaN and the infinities, which compare with nothing or pass for any bound, are not in."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The value, a number of the range."""
        number = super().convert(value, param, ctx)
        return number if math.isfinite(number) else self.fail(f"{value} is not a finite number.", param, ctx)


def label(text: object, /) -> str:
    """The text, if it is a label; bounded, since labels stand in every form of the report."""
    if not isinstance(text, str):
        raise click.BadParameter(f"{repr(text)[:80]} is not a label. Write KEY=VALUE.")
    key, equals, words = text.partition("=")
    is_key = re.fullmatch(r"[A-Za-z][A-Za-z0-9._/-]{0,62}", key)
    if not equals or not is_key or len(words) > 200 or not words.isprintable():
        raise click.BadParameter(
            f"{text[:80]!r} is not a label. Write KEY=VALUE: a key of letters, digits and ._/- that begins with a letter, and "
            "a value of at most 200 printable characters."
        )
    return text


def labels(texts: Sequence[str], /) -> dict[str, str]:
    """Labels by key.

    Raises:
        UsageError: one key twice, or too many.
    """
    by_key = dict(text.split("=", 1) for text in texts)
    if len(by_key) < len(texts):
        raise UsageError("--label: a key is given twice. Give each key once.")
    if len(by_key) > 32:
        raise UsageError(f"--label: {len(by_key)} labels; 32 are the maximum.")
    return by_key


def seeds_in(text: str, /) -> tuple[int, ...]:
    """Different whole numbers with commas between them; raises UsageError."""
    try:
        seeds = tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--seeds {text!r} are not numbers. Write them as in 0,1,2.") from error
    if len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise UsageError(f"--seeds {text!r}: seeds are different from each other, and none is negative.")
    return seeds


def device(text: str, /) -> str:
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``; whether the device is there is asked later, of torch."""
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", text):
        raise click.BadParameter(f"{text!r} is not a device. Choose auto, cpu, cuda or cuda:N, as in cuda:0.")
    return text


def data_paths(paths: Path | Sequence[Path] | None, /) -> tuple[Path, ...] | None:
    """Sets of data by their paths; one with ``::`` in it stands for several, unless something is called so."""
    several = (paths,) if isinstance(paths, Path) else paths or ()
    parts = [[path] if untrusted.answers_yes(path.exists) else str(path).split("::") for path in several]
    return tuple(Path(part) for of_path in parts for part in of_path) or None


MOST_PATH, MOST_NAME = 4096, 255  # bytes of a path, and of a name in it, that systems take


def check_text(name: str, text: str, /) -> None:
    """Refuse a text that no system takes as a word of a command: not in its encoding, or with a NUL in it.

    Raises:
        UsageError: that is so.
    """
    try:
        os.fsencode(text)
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{name}: {printable(text[:80])} has characters that no system can encode. Give another text."
        ) from error
    if "\0" in text:
        raise UsageError(
            f"{name}: {printable(text[:80])} has a NUL in it, which no text or path can have. Leave it out."
        )


def check_path(name: str, path: Path, /) -> None:
    """Refuse a path that no system takes, whatever is there.

    Raises:
        UsageError: it is no text that ``check_text`` takes, or too long.
    """
    text = str(path)
    check_text(name, text)
    size, longest = len(os.fsencode(text)), max((len(os.fsencode(part)) for part in path.parts), default=0)
    if size > MOST_PATH or longest > MOST_NAME:
        raise UsageError(f"{name}: {printable(text[:80])}… is longer than any path. Give a shorter one.")
