"""One sample as a reader found it, before its picture is looked at."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from clipclean.data import text
from clipclean.data.source import ImageSource
from clipclean.untrusted import printable

IMAGES = ("jpg", "png", "jpeg", "webp")  # by precedence, as in open_clip's "jpg;png;jpeg;webp"
SIDECARS = ("txt", "json", "cls")
EXAMPLES = 3  # names kept of the files that were ignored for one reason


@dataclass(frozen=True, slots=True)
class Entry:
    """A sample; ``problem`` says why it cannot be used, and is empty where nothing is known against it."""

    key: str  # printable
    image: ImageSource | None
    caption: str  # clean, perhaps empty
    label: str | None
    problem: str = ""


@dataclass(frozen=True)
class Ignored:
    """Files that no sample needs, or none may use, and why."""

    reason: str
    count: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        more = ", …" if self.count > len(self.examples) else ""
        return f"{self.count:,} {self.reason} ({', '.join(self.examples)}{more})"


@dataclass
class Found:
    """What a reader has found so far, in the order of the set."""

    format: str
    entries: list[Entry] = field(default_factory=list)
    _ignored: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)

    def ignore(self, reason: str, name: str, /) -> None:
        """Count a file that is not read."""
        count, names = self._ignored.get(reason, (0, ()))
        self._ignored[reason] = (count + 1, (*names, printable(name)) if count < EXAMPLES else names)

    def ignored(self) -> tuple[Ignored, ...]:
        """What was ignored, by reason."""
        return tuple(Ignored(reason, count, names) for reason, (count, names) in self._ignored.items())


def ignored_kind(name: str, /) -> str:
    """The reason for ignoring a file whose name ends like this."""
    suffix = PurePosixPath(name).suffix.lower()
    return f"{printable(suffix)} files, which are never read" if suffix else "files without an extension"


def with_sidecars(
    key: str,
    image: ImageSource | None,
    sidecars: Mapping[str, bytes],
    /,
    *,
    caption_key: str | None,
    label: str | None,
    problem: str,
) -> Entry:
    """The entry of a picture and the small files of the same name, by extension (``txt``, ``json``, ``cls``).

    The caption is the ``txt``, or else ``caption`` or ``text`` of the ``json``, as img2dataset writes them; an
    explicit ``caption_key`` other than ``txt`` is looked up in the ``json`` alone. The label is the ``cls``, or else
    ``label`` of the ``json``, or else ``label``.
    """
    try:
        values = text.record(text.utf8(sidecars["json"])) if "json" in sidecars else {}
        words = _words(sidecars, values, caption_key=caption_key)
        named = text.utf8(sidecars["cls"]) if "cls" in sidecars else as_label(values.get("label"))
    except UnicodeDecodeError:
        return Entry(printable(key), image, "", label, problem or "a text beside the picture is not UTF-8")
    except ValueError as error:
        return Entry(printable(key), image, "", label, problem or f"its .json is {printable(str(error))}")
    return Entry(
        printable(key), image, text.caption(words), text.caption(named) if named is not None else label, problem
    )


def as_label(value: object, /) -> str | None:
    """A class name or number as text; None for what is neither."""
    if isinstance(value, str):
        return text.caption(value) or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _words(sidecars: Mapping[str, bytes], values: Mapping[str, Any], /, *, caption_key: str | None) -> str:
    if caption_key not in (None, "txt"):
        found: object = values.get(caption_key or "")
    elif "txt" in sidecars:
        found = text.utf8(sidecars["txt"])
    else:
        found = values.get("caption", values.get("text"))
    return found if isinstance(found, str) else ""
