"""Files, text and JSON from outside: regular files only, bounded sizes, unique keys, printable names."""

import errno
import io
import itertools
import json
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from clipclean.errors import RefusedInput


class NoRegularFile(OSError):
    """A folder, pipe or device instead of a file, or a file whose size the system does not report."""


class TooLarge(OSError):
    """A file larger than any of its kind."""


def open_regular(path: Path, /) -> io.BufferedReader:
    """Open a regular file for reading: the one way in which any file is opened that clipclean has not just written.

    A pipe would be waited for, a device has no end: both are refused, and never waited for. What is checked is what was
    opened, whatever stands at the path a moment later. Links are followed: whoever reads a folder that may come from
    somebody else asks ``leads_out`` first.

    Raises:
        OSError: missing or unreadable; NoRegularFile for a folder, pipe or device.
        ValueError: the path has a null byte.
    """
    if path.is_dir():  # Windows opens no folder, and says "permission denied"
        raise NoRegularFile(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    flags = os.O_RDONLY
    for name in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    handle = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise NoRegularFile(errno.EINVAL, "Not a regular file", str(path))
    return os.fdopen(handle, "rb")


def read(path: Path, /, *, limit: int) -> bytes:
    """A whole regular file of at most ``limit`` bytes.

    Raises:
        OSError: as ``open_regular``; TooLarge before anything is read; NoRegularFile where it has other bytes than its size
            says, as the files of /proc have.
        ValueError: the path has a null byte.
    """
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > limit:
            raise TooLarge(errno.EFBIG, f"It has more than {limit:,} bytes, and no honest one needs so many", str(path))
        data = stream.read(size + 1)  # one more shows a file that is longer than it says
    if data is None or len(data) != size:
        raise NoRegularFile(errno.EINVAL, "It does not have the size that the system tells", str(path))
    return data


def head(path: Path, size: int, /) -> bytes:
    """The first bytes of a regular file; raises what ``open_regular`` raises."""
    with open_regular(path) as stream:
        return stream.read(size) or b""


def leads_out(path: Path, folder: Path, /) -> bool:
    """Whether a path below a folder leads out of it by a link: what is there was never part of the folder.

    A link that leads nowhere, or round in circles, leads out as well.
    """
    try:
        return not path.resolve(strict=True).is_relative_to(folder.resolve(strict=True))
    except (OSError, RuntimeError):  # RuntimeError: a loop of links, until Python 3.13
        return True


def printable(name: object, /) -> str:
    r"""A text that is safe on a terminal and in a log, on one line: what is not printable appears as its escape.

    Example:
        >>> printable("a\x1b[2J.jpg")
        'a\\x1b[2J.jpg'
        >>> printable("::error::a##[add-mask]b.jpg")
        '\\x3a:error::a#\\x23[add-mask]b.jpg'
    """
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(name))
    return without_commands(text, colon=r"\x3a", hash_=r"\x23")


def quoted(name: object, /) -> str:
    """A name from a file as messages quote it: bounded, without control characters; of another key its type."""
    return ascii(name[:80]) if isinstance(name, str) else f"a key of type {type(name).__name__}"


def first_few(names: Collection[object], /, *, most: int = 5, show: Callable[[object], str] = quoted) -> str:
    """The first of some names, and how many more there are."""
    words = ", ".join(map(show, itertools.islice(names, most)))
    return f"{words} and {len(names) - most:,} more" if len(names) > most else words


def answers_yes(question: Callable[[], bool], /) -> bool:
    """What the system says of a path, such as ``path.is_file``: no where no path can have this name."""
    try:
        return question()
    except (OSError, ValueError):  # ValueError: a NUL in it
        return False


def plural(number: int, noun: str, /) -> str:
    """``1 round``, ``2 rounds``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


# Commands of the runners of GitHub and Azure, and of TeamCity: the first behind blanks at the start of a line, the others
# wherever they stand in one.
_COLONS = re.compile(r"^(\s*):(?=:)", re.MULTILINE)
_HASHES = re.compile(r"##(?=\w*\[)")


def without_commands(text: str, /, *, colon: str, hash_: str) -> str:
    """A text in which no line is a command of a CI system: another spelling stands for a character of each.

    Args:
        text: of any number of lines.
        colon: another spelling of a colon.
        hash_: another spelling of a hash sign.
    """
    return _HASHES.sub(lambda _: f"#{hash_}", _COLONS.sub(lambda match: match[1] + colon, text))


_BEYOND_ASCII = re.compile(r"[^\n\x20-\x7e]")


def escaped_json(text: str, /) -> str:
    r"""JSON of the same values, in which what is not printable is an escape of JSON.

    Examples:
        >>> escaped_json('"\x9b2J \u202eé"')
        '"\\u009b2J \\u202eé"'
    """

    def escape(match: re.Match[str]) -> str:
        char = match[0]
        return char if char.isprintable() else json.dumps(char)[1:-1]

    return _BEYOND_ASCII.sub(escape, text)


def is_deeper(value: object, most: int, inside: Callable[[object], Iterable[object]], /) -> bool:
    """Whether containers lie in each other deeper than so many levels; ``inside`` gives those in one.

    Level by level and each once: depth costs no recursion, and what is shared is not walked again.
    """
    level, visited_ids = [value], {id(value)}
    for _ in range(most):
        below = {id(inner): inner for outer in level for inner in inside(outer) if id(inner) not in visited_ids}
        if not below:
            return False
        visited_ids |= below.keys()
        level = [*below.values()]
    return True


def message(text: str, /) -> str:
    """A text of several lines, each of them printable."""
    return "\n".join(printable(line) for line in text.split("\n"))


def loads(data: bytes, what: str, /, *, limit: int) -> dict[str, object]:
    """The object that ``data`` spells, at most ``limit`` bytes of it; ``what`` names the document in messages.

    Raises:
        RefusedInput: it is too large, no ``value``, or not an object.
    """
    if len(data) > limit:
        raise RefusedInput(f"{what} has {len(data):,} bytes; no honest one needs more than {limit:,}.")
    try:
        parsed = value(data)
    except RecursionError as error:
        raise RefusedInput(f"{what} is nested too deeply to be a description of a model.") from error
    except ValueError as error:
        raise RefusedInput(f"{what} is not valid JSON: {error}.") from error
    if not isinstance(parsed, dict):
        raise RefusedInput(f"{what} is JSON, but not an object with named fields.")
    return parsed


def value(text: bytes | str, /) -> object:
    """The JSON value that a text spells.

    Stricter than ``json.loads``: a repeated key is refused (readers differ in which value wins), and so are NaN and
    Infinity.

    Raises:
        ValueError: not UTF-8, not JSON, a number with thousands of digits, or a repeated key.
        RecursionError: nested too deeply.
    """
    string = text.decode("utf-8") if isinstance(text, bytes) else text
    parsed: object = json.loads(string, object_pairs_hook=_unique, parse_constant=_no_constant)
    return parsed


def _unique(pairs: list[tuple[str, object]], /) -> dict[str, object]:
    """A dict of pairs that has no key twice."""
    unique = dict(pairs)
    if len(unique) < len(pairs):
        key = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {key[:80]!a} appears twice")
    return unique


def _no_constant(text: str, /) -> object:
    """Refuse NaN and Infinity, which JSON does not have."""
    raise ValueError(f"{text} is not a JSON number")
