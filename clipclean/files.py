"""Atomic writes, digests of paths, and what can be written where."""

import contextlib
import errno
import hashlib
import os
import secrets
import stat
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from clipclean import untrusted
from clipclean.errors import ResourceError, UsageError

PARTIAL_SUFFIX = ".partial"  # how the name of a file ends that is being written


def sha256(path: Path, /) -> str:
    """Hex SHA-256 of a regular file's bytes, read in blocks."""
    with untrusted.open_regular(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_whole(path: Path, write: Callable[[Path], object], /) -> None:
    """Let ``write`` fill a temporary file beside ``path``, flush it to disk, then rename it into place.

    A reader sees the old file or the new one, never a part. On any failure the temporary file is removed.

    Raises:
        ResourceError: the folder is not writable, or the disk is full.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL_SUFFIX}")
    try:
        write(partial)
        with partial.open("rb+") as stream:
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str, /) -> None:
    """Write UTF-8 text, whole or not at all."""
    write_whole(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def open_to_append(path: Path, /) -> TextIO:
    """A file of UTF-8 text, open for appending while a run goes on.

    Line ends are written as they are. A link, pipe or device in its place, which may have come with what a run works on, is neither
    followed nor waited for.

    Raises:
        OSError: it cannot be made, or is no regular file.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    handle = os.open(path, flags, 0o666)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "Not a regular file", str(path))
    return os.fdopen(handle, "a", encoding="utf-8", newline="")


def remove(folder: Path, name: str, /) -> None:
    """Remove a file below a folder, if it is there, with the folders between them that are empty then."""
    path = folder / name
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        for parent in path.relative_to(folder).parents[:-1]:
            (folder / parent).rmdir()


def joined_words(paths: Sequence[Path], /) -> str:
    """Several places in one word, as an option takes them."""
    return "::".join(map(str, paths))


def nearest(path: Path, /) -> Path:
    """The path itself if it exists, else the nearest of its parents that does."""
    return next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())


def check_output(name: str, path: Path, /, *, suffixes: Sequence[str] = (), force: bool = True) -> None:
    """Refuse before slow work a file that could not be written after it; ``force`` lets it replace another file.

    ``name`` is the file in words, such as ``--out x.pt``.

    Raises:
        UsageError: it exists, its folder does not, or its name ends in none of ``suffixes``.
        ResourceError: nothing can be written in its folder.
    """
    if path.is_dir():
        raise UsageError(f"{name} is a folder. Name a file.")
    if path.exists() and not force:
        raise UsageError(f"{name} exists. Name another file, or pass --force to overwrite it.")
    if suffixes and path.suffix not in suffixes:
        raise UsageError(f"{name}: name a file that ends in {', '.join(suffixes)}.")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{name}: its folder does not exist. Make the folder first.")
    check_writable(path.absolute().parent, path)


def check_writable(folder: Path, path: Path, /) -> None:
    """Refuse before slow work what could not be written after it.

    Raises:
        ResourceError: no file can be made in ``folder``; the message names ``path``.
    """
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError, /) -> ResourceError:
    """The user's message for a failed write."""
    if error.errno == errno.ENOSPC:
        return ResourceError(f"No space left while writing {path}. Free some space and run the same command again.")
    reason = os.strerror(error.errno) if error.errno else str(error)
    return ResourceError(f"Cannot write {path}: {reason}. Choose another place, or mend its permissions.")
