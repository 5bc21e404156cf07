"""The bytes of a file in private memory."""

import contextlib
import hashlib
import mmap
import os
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

from clipclean import untrusted
from clipclean.errors import RefusedInput, ResourceError, damaged

BLOCK_BYTES = 8 * 2**20  # bytes a read, and a step of the hashing
LARGEST_BYTES = 64 * 2**30  # bytes; the largest public CLIP training checkpoints have about 30 GB
SPARSE_BYTES = 256 * 2**20  # bytes from which on holes are looked for
MOSTLY_HOLES = 20  # a file system that compresses has a few times fewer bytes on disk than the file, never this few
HEAD_BYTES = 512  # bytes that tell the format; a tar names itself at 257


@dataclass(frozen=True)
class Contents:
    """A whole file in memory that belongs to this process: nobody can change it between check and use.

    It is hashed on a thread of its own, which lags behind the reading and goes on while it is parsed.
    """

    buffer: mmap.mmap
    hashing: Future[str]

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of the file, once it is known."""
        return self.hashing.result()

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return len(self.buffer)

    def view(self) -> memoryview:
        """All bytes, not copied."""
        return memoryview(self.buffer)

    def keep_only(self, ranges: Iterable[tuple[int, int]], /) -> None:
        """Give the memory outside the byte ranges (start, stop) back to the system; those bytes then read as zero.

        A training checkpoint holds two optimizer moments beside each weight, so this frees two thirds of it.
        """
        free_from = 0
        for start, stop in sorted(ranges):
            self.drop(free_from, start)
            free_from = max(free_from, stop)
        self.drop(free_from, self.size)

    def drop(self, start: int, stop: int, /) -> None:
        """Give the whole pages between two offsets back to the system; they then read as zero."""
        first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
        length = stop // mmap.PAGESIZE * mmap.PAGESIZE - first
        self.hashing.result()  # it would hash zeros
        if sys.platform == "linux" and length > 0:
            self.buffer.madvise(mmap.MADV_DONTNEED, first, length)


class OpenFile(NamedTuple):
    """A regular file that is open, its first bytes, and its size."""

    stream: BufferedReader
    head: bytes
    size: int

    def at(self, start: int, length: int, /) -> bytes:
        """Some of its bytes."""
        self.stream.seek(start)
        return self.stream.read(length)


@contextlib.contextmanager
def open_file(path: Path, /) -> Iterator[OpenFile]:
    """Open a file, to tell its format before the rest is read: one and the same file, whatever stands at the path later.

    Raises:
        RefusedInput: the file is missing, unreadable, empty, mostly holes, larger than any CLIP or not a regular file.
    """
    try:
        stream = untrusted.open_regular(path)
    except untrusted.NoRegularFile as error:
        raise RefusedInput("it is not a regular file. Name a checkpoint file or an open_clip directory.") from error
    except (OSError, ValueError) as error:
        raise cannot_read(error) from error
    with stream:
        try:
            status, head = os.fstat(stream.fileno()), stream.read(HEAD_BYTES)
        except OSError as error:
            raise cannot_read(error) from error
        if not head:
            raise damaged("the file is empty")
        if status.st_size > LARGEST_BYTES:
            raise RefusedInput(
                f"the file has {status.st_size:,} bytes, more than any CLIP checkpoint ({LARGEST_BYTES:,})."
            )
        on_disk = 512 * getattr(status, "st_blocks", status.st_size)
        if status.st_size > SPARSE_BYTES and on_disk * MOSTLY_HOLES < status.st_size:
            raise RefusedInput(
                f"the file has {status.st_size:,} bytes, and {on_disk:,} of them are on disk: it is nearly all holes, as a "
                "download that was not finished is. Download or copy it again."
            )
        yield OpenFile(stream, head, status.st_size)


def load(file: OpenFile, /) -> Contents:
    """Read and hash an open file once.

    Not a map of the file: its owner could change the bytes after they were checked, or truncate it and crash us.

    Raises:
        RefusedInput: the file cannot be read, or shrinks meanwhile.
        ResourceError: it does not fit into memory.
    """
    digest, position = hashlib.sha256(), 0
    hasher = ThreadPoolExecutor(max_workers=1)  # one: the blocks are hashed in their order
    try:
        file.stream.seek(0)
        try:  # fresh memory costs nothing until it is written, unlike a bytearray
            if sys.platform == "win32":
                buffer = mmap.mmap(-1, file.size)
            else:
                buffer = mmap.mmap(-1, file.size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except (OSError, MemoryError, OverflowError) as error:
            raise ResourceError(
                f"There is no memory for a checkpoint of {file.size:,} bytes. Use a larger machine."
            ) from error
        view = memoryview(buffer)
        while position < len(buffer):
            count = file.stream.readinto(view[position : position + BLOCK_BYTES])
            if not count:
                raise RefusedInput("the file became shorter while it was read. Try again when it is complete.")
            hasher.submit(digest.update, view[position : position + count])
            position += count
        return Contents(buffer, hasher.submit(digest.hexdigest))
    except (OSError, ValueError) as error:
        raise cannot_read(error) from error
    finally:
        hasher.shutdown(wait=False)


def cannot_read(error: Exception, /) -> RefusedInput:
    """The user's message for a failed read."""
    if isinstance(error, FileNotFoundError):
        return RefusedInput("there is no such file. Check the path.")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return RefusedInput(f"it cannot be read: {reason}. Check the path and its permissions.")
