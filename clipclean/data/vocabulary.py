"""Lists of class names and caption templates, one a line."""

from collections import Counter
from pathlib import Path

from clipclean.data.source import Unusable, open_regular, reason
from clipclean.data.text import caption, printable, utf8
from clipclean.errors import RefusedInput, UsageError

_FILE_BYTES = 10_000_000


def read_classes(path: Path, /) -> list[str]:
    """Class names, one a line; blank lines and lines that start with # are comments.

    Raises:
        UsageError: fewer than two names, or a name twice.
        RefusedInput: the file is missing, unreadable, longer than 10 MB or not UTF-8.
    """
    names = _lines(path)
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise UsageError(
            f"{printable(path)} names {', '.join(map(repr, twice))} more than once: the classes could not be told "
            "apart. Leave each name in once."
        )
    if len(names) < 2:
        raise UsageError(
            f"{printable(path)} holds {len(names)} class names; a classifier needs two at least. One name a line."
        )
    return names


def read_templates(path: Path, /) -> list[str]:
    """Caption templates, one a line, each with one ``{}`` for the class name; ``{c}`` is read as ``{}``.

    Blank lines and lines that start with # are comments.

    Raises:
        UsageError: no templates, or lines without exactly one placeholder or with other braces; names them all.
        RefusedInput: the file is missing, unreadable, longer than 10 MB or not UTF-8.

    Example:
        >>> read_templates(path)  # a file with the line "a photo of a {c}."
        ['a photo of a {}.']
    """
    templates = [line.replace("{c}", "{}") for line in _lines(path)]
    faulty = [line for line in templates if line.count("{}") != 1 or {"{", "}"} & set(line.replace("{}", ""))]
    if faulty or not templates:
        shown = "".join(f"\n  {line}" for line in faulty) or " It holds none."
        raise UsageError(
            f"{printable(path)}: a template is a line with one {{}} where the class name goes, such as "
            f"'a photo of a {{}}.'{shown}"
        )
    return templates


def _lines(path: Path, /) -> list[str]:
    try:
        with open_regular(path) as stream:
            data = stream.read(_FILE_BYTES + 1)
        if len(data) > _FILE_BYTES:
            raise Unusable(f"more than {_FILE_BYTES:,} bytes")
        lines = [caption(line) for line in utf8(data).splitlines()]
    except UnicodeDecodeError as error:
        raise RefusedInput(f"{printable(path)} is not UTF-8 text. Save it as UTF-8.") from error
    except (OSError, Unusable) as error:
        raise RefusedInput(f"{printable(path)} cannot be read: {reason(error)}. Give a text file.") from error
    return [line for line in lines if line and not line.startswith("#")]
