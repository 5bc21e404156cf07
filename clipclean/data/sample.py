"""One sample as read: location of its encoded image, caption and label as bounded, printable text."""

import os
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from clipclean import untrusted
from clipclean.errors import RefusedInput
from clipclean.untrusted import printable

CAPTION_BYTES = 10_000  # UTF-8; a tokenizer reads the first few hundred
MAX_TEXT_BYTES = 1_000_000  # one sidecar file, one line of a table

# Controls that are not white space, bidirectional overrides, byte-order marks, halves of surrogate pairs.
_UNWANTED_CHARACTERS = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def caption(text: str, /) -> str:
    r"""A caption on one line: control characters out, white space collapsed, cut to 10 kB of UTF-8.

    Example:
        >>> caption(" a\tdog\x1b[2J\n runs ")
        'a dog[2J runs'
    """
    line = " ".join(_UNWANTED_CHARACTERS.sub("", text).split())
    return line.encode()[:CAPTION_BYTES].decode(errors="ignore").rstrip()


UTF8 = "utf-8-sig"  # with a byte-order mark or without


def record(text: str, /) -> dict[str, object]:
    """The JSON object in a text of at most ``MAX_TEXT_BYTES`` characters.

    Returns:
        JSON values by key.

    Raises:
        ValueError: too long, not JSON, nested too deeply, or not an object.
    """
    if len(text) > MAX_TEXT_BYTES:
        raise ValueError(f"a JSON record of more than {MAX_TEXT_BYTES:,} characters")
    try:
        value = untrusted.value(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON ({error})") from error
    if not isinstance(value, dict):
        raise ValueError("JSON, but not an object")
    return value


IMAGE_KINDS = ("jpg", "png", "jpeg", "webp")  # by precedence, as in open_clip's "jpg;png;jpeg;webp"
SIDECAR_KINDS = ("txt", "json", "cls")
Scratch = Callable[[], Path]  # makes an empty folder for copies, which goes with the data
MAX_SAMPLES = 10_000_000  # samples of a set; each takes some hundred bytes of memory
LINES_SHOWN = 10  # of what cannot be used, that a message names
MAX_EXAMPLES = 3  # names kept of the files that were ignored for one reason


class Unusable(RefusedInput):
    """One sample cannot be used; the text is the bare reason, the reader adds the sample's key."""


@dataclass(frozen=True)
class ReadLimits:
    """The limits of a reader."""

    max_pixels: int  # width times height of one image
    max_bytes: int  # of one encoded image
    max_skipped_share: float  # in [0, 1]; a set with a larger share of unusable samples is refused
    max_pairs: int | None  # usable ones to take; None takes all


@dataclass(frozen=True)
class DataRequest:
    """The caller's settings for a data set."""

    image_key: str | None = None  # column, or extension in a shard, of the images; None looks for a known one
    caption_key: str | None = None  # column, or JSON key, of the captions; None looks for a known one
    captions: bool = True  # whether the set must have captions
    labels_serve: bool = False  # whether captions are made of labels where there are no others


@dataclass(frozen=True, slots=True)
class ImageSource:
    """A stretch of a local file that holds one encoded image; offset 0 is the whole file."""

    path: Path
    offset: int  # bytes
    size: int  # bytes

    def __str__(self) -> str:
        name = printable(self.path)
        return f"{name} at byte {self.offset:,}" if self.offset else name

    def load(self, *, max_bytes: int) -> bytes:
        """The encoded bytes, read anew on each call.

        Raises:
            Unusable: larger than ``max_bytes``, unreadable, no regular file, or changed since it was listed.
        """
        if self.size > max_bytes:
            raise Unusable(f"{self.size:,} bytes, and {max_bytes:,} are allowed")
        try:
            with open_regular(self.path) as stream:
                stream.seek(self.offset)
                data = stream.read(self.size if self.offset else self.size + 1)  # one more shows a file that grew
        except OSError as error:
            raise Unusable(reason(error)) from error
        if len(data) != self.size:
            raise Unusable(f"its size changed from {self.size:,} bytes while it was in use")
        return data


def whole_file(path: Path, /) -> ImageSource:
    """The source of an image that is a file of its own.

    Raises:
        Unusable: missing, unreadable, or no regular file (a folder, pipe or device).
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise Unusable(reason(error)) from error
    if not stat.S_ISREG(status.st_mode):
        raise Unusable("not a regular file")
    return ImageSource(path, 0, status.st_size)


@dataclass(frozen=True, slots=True)
class SampleEntry:
    """A sample; ``problem`` says why it cannot be used, and is empty where nothing is known against it."""

    key: str  # printable
    image: ImageSource | None = None
    caption: str = ""  # clean
    label: str | None = None
    problem: str = ""


@dataclass
class IgnoredFiles:
    """Files that no sample needs, or none may use, and why."""

    reason: str
    count: int = 0
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        ellipsis = ", …" if self.count > len(self.examples) else ""
        return f"{self.count:,} {self.reason} ({', '.join(self.examples)}{ellipsis})"


@dataclass
class Listing:
    """The samples that a reader has found so far, in the order of the set."""

    format: str
    entries: list[SampleEntry] = field(default_factory=list)
    ignored: dict[str, IgnoredFiles] = field(default_factory=dict)  # by reason

    def ignore(self, reason: str, *names: str, count: int = 1) -> None:
        """Count files that are not read, and keep some of their names."""
        files = self.ignored.setdefault(reason, IgnoredFiles(reason))
        files.count += count
        files.examples += tuple(printable(name) for name in names[: MAX_EXAMPLES - len(files.examples)])


def some_lines(lines: Sequence[str], /, *, of: str = "") -> str:
    """The first of some lines for a message, each on a line of its own, and how many more there are."""
    remainder = f"\n  … and {len(lines) - LINES_SHOWN:,} more{of}" if len(lines) > LINES_SHOWN else ""
    return "".join(f"\n  {line}" for line in lines[:LINES_SHOWN]) + remainder


def ignored_kind(name: str, /) -> str:
    """The reason for ignoring a file whose name ends like this."""
    suffix = PurePosixPath(name).suffix.lower()
    return f"{printable(suffix)} files, which are never read" if suffix else "files without an extension"


def with_sidecars(
    key: str,
    image: ImageSource | None,
    sidecars: Mapping[str, bytes],
    request: DataRequest,
    /,
    *,
    label: str | None = None,
    problem: str = "",
) -> SampleEntry:
    """The entry of an image and the small files of the same name, by extension (``txt``, ``json``, ``cls``).

    The caption is the ``txt``, or else ``caption`` or ``text`` of the ``json``, as img2dataset writes them; an
    explicit ``caption_key`` other than ``txt`` is looked up in the ``json`` alone. The label is the ``cls``, or else
    ``label`` of the ``json``, or else ``label``.
    """
    words: object = ""
    try:
        values = record(sidecars["json"].decode(UTF8)) if "json" in sidecars else {}
        label_text = sidecars["cls"].decode(UTF8) if "cls" in sidecars else as_label(values.get("label"))
        if request.caption_key not in (None, "txt"):
            words = values.get(request.caption_key or "")
        elif "txt" in sidecars:
            words = sidecars["txt"].decode(UTF8)
        else:
            words = values.get("caption", values.get("text"))
        label = label if label_text is None else caption(label_text)
    except UnicodeDecodeError:
        problem = problem or "a text beside the image is not UTF-8"
    except ValueError as error:
        problem = problem or f"its .json is {printable(str(error))}"
    return SampleEntry(printable(key), image, caption(words) if isinstance(words, str) else "", label, problem)


def as_label(value: object, /) -> str | None:
    """A class name or number as text; None for what is neither."""
    if isinstance(value, str):
        return caption(value) or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def open_regular(path: Path, /) -> BinaryIO:
    """Open a file for reading; raises Unusable where it is missing, unreadable, or a folder, pipe or device."""
    try:
        return untrusted.open_regular(path)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise Unusable(reason(error)) from error


def reason(error: Exception, /) -> str:
    """Why the system could not read, in its own words and without the path."""
    if isinstance(error, untrusted.NoRegularFile | untrusted.TooLarge):
        return str(error.strerror).lower()
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return printable(str(error)) or type(error).__name__
