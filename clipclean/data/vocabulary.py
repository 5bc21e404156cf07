"""Lists of class names and caption templates, one a line."""

from collections import Counter
from pathlib import Path

from clipclean import untrusted
from clipclean.data.sample import reason
from clipclean.data.text import caption, utf8
from clipclean.errors import RefusedInput, UsageError
from clipclean.untrusted import printable

_FILE_BYTES = 10_000_000
_MOST_CLASSES = 50_000  # ImageNet-21k has 21,843; each is embedded once a template
_MOST_TEMPLATES = 1_000  # OpenAI's ImageNet set has 80
_SHOWN = 10  # lines or names that a message quotes


def read_classes(path: Path, /) -> list[str]:
    """Class names, one a line; blank lines and lines that start with # are comments.

    Raises:
        UsageError: fewer than two names, more than 50,000, or a name twice.
        RefusedInput: the file is missing, unreadable, longer than 10 MB or not UTF-8.
    """
    names = _lines(path)
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise UsageError(
            f"{printable(path)} names {', '.join(map(repr, twice[:_SHOWN]))} more than once: the classes could not be told "
            "apart. Leave each name in once."
        )
    if len(names) > _MOST_CLASSES:
        raise UsageError(
            f"{printable(path)} names {len(names):,} classes; {_MOST_CLASSES:,} are the most that a model is measured over. "
            "Leave out those that nobody would attack."
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
        shown = "".join(f"\n  {printable(line[:80])}" for line in faulty[:_SHOWN]) or " It holds none."
        shown += f"\n  … and {len(faulty) - _SHOWN:,} more" if len(faulty) > _SHOWN else ""
        raise UsageError(
            f"{printable(path)}: a template is a line with one {{}} where the class name goes, such as "
            f"'a photo of a {{}}.'{shown}"
        )
    if len(templates) > _MOST_TEMPLATES:
        raise UsageError(f"{printable(path)} holds {len(templates):,} templates; {_MOST_TEMPLATES:,} are the most.")
    return templates


def _lines(path: Path, /) -> list[str]:
    try:
        lines = [caption(line) for line in utf8(untrusted.read(path, limit=_FILE_BYTES)).splitlines()]
    except UnicodeDecodeError as error:
        raise RefusedInput(f"{printable(path)} is not UTF-8 text. Save it as UTF-8.") from error
    except (OSError, ValueError) as error:
        raise RefusedInput(f"{printable(path)} cannot be read: {reason(error)}. Give a text file.") from error
    return [line for line in lines if line and not line.startswith("#")]
