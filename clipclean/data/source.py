"""Where the encoded bytes of one image lie: a file, or a stretch of a tar shard."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from clipclean import untrusted
from clipclean.errors import RefusedInput
from clipclean.untrusted import printable


class Unusable(RefusedInput):
    """One sample cannot be used; the text is the bare reason, the reader adds the sample's key."""


@dataclass(frozen=True)
class Limits:
    """What a reader takes at most.

    Attributes:
        max_pixels: width times height of one picture.
        max_bytes: size of one encoded picture.
        max_skipped_share: in [0, 1]; a set with a larger share of unusable samples is refused.
        max_pairs: usable pairs to take; None takes all.
    """

    max_pixels: int
    max_bytes: int
    max_skipped_share: float
    max_pairs: int | None


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


def open_regular(path: Path, /) -> BinaryIO:
    """Open a file for reading, refusing pipes and devices without ever waiting for them.

    Raises:
        Unusable: missing, unreadable, or no regular file.
    """
    try:
        return untrusted.opened(path)
    except (OSError, ValueError) as error:
        raise Unusable(reason(error)) from error


def reason(error: Exception, /) -> str:
    """Why the system could not read, in its own words and without the path."""
    if isinstance(error, untrusted.NoRegularFile | untrusted.TooLarge):
        return str(error.strerror).lower()
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return printable(str(error)) or type(error).__name__
