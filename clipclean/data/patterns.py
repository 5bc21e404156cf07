"""The paths that a pattern stands for: braces, wildcards, and ``::`` between several."""

import glob
import itertools
import math
import re
from pathlib import Path

from clipclean.errors import RefusedInput
from clipclean.untrusted import printable

MOST = 100_000  # paths of one pattern
_LONGEST = 4096  # characters of a pattern
_RANGE = re.compile(r"\{(-?\d{1,9})\.\.(-?\d{1,9})(\.\.-?\d+)?\}")
_WILD = re.compile(r"[*?\[]")


def expand(pattern: Path, /) -> list[Path]:
    """The paths of ``a::b``, ``shard-{000..003}.tar`` and ``*.tar``, in that order; a path that is there stands for itself.

    Braces are those of webdataset, by the same library. Its ``expand_urls`` is not used: it puts environment variables into
    paths, and makes a list of a billion as readily as of ten.

    Raises:
        RefusedInput: more than 100,000 paths, unbalanced braces, or a wildcard that nothing matches.
    """
    if _exists(pattern):
        return [pattern]
    return [path for part in str(pattern).split("::") for path in _of_one(Path(part))]


def _of_one(path: Path, /) -> list[Path]:
    if _exists(path):
        return [path]
    found = [Path(text) for text in _braces(str(path))]
    if len(found) == 1 and _WILD.search(str(path)):
        found = sorted(Path(name) for name in itertools.islice(glob.iglob(str(path)), MOST + 1))  # noqa: PTH207 # Path.glob refuses absolute patterns
        if not found:
            raise RefusedInput(f"Nothing matches {printable(path)}. Check the pattern, and where it starts from.")
        _refuse_many(path, len(found))
    return found


def _braces(pattern: str, /) -> list[str]:
    if "{" not in pattern:
        return [pattern]
    from braceexpand import braceexpand

    # Counted before anything is expanded, and rather too high for nested braces: the library makes lists of them.
    ranges = [abs(int(last) - int(first)) + 1 for first, last, _ in _RANGE.findall(pattern)]
    _refuse_many(pattern, math.prod(ranges) * 2 ** min(pattern.count(","), 64))
    if len(pattern) > _LONGEST:
        raise RefusedInput(f"The pattern {printable(pattern[:80])}… is too long. Give fewer paths.")
    try:
        return list(braceexpand(pattern, escape=False))
    except ValueError as error:
        raise RefusedInput(f"The braces of {printable(pattern)} are not balanced. Close each one.") from error


def _refuse_many(pattern: str | Path, count: int, /) -> None:
    if count > MOST:
        raise RefusedInput(
            f"{printable(pattern)} stands for {count:,} shards or more; {MOST:,} are the most. Check the range."
        )


def _exists(path: Path, /) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return False
