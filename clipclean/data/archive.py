"""A folder in one compressed file: zip, or tar with gzip, bzip2 or xz, unpacked into a new place only."""

import bz2
import gzip
import itertools
import lzma
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, NamedTuple, cast

from clipclean.data.sample import IMAGES, MOST, SIDECARS, Unusable, open_regular, reason
from clipclean.data.shards import BLOCK, Header
from clipclean.errors import RefusedInput, ResourceError
from clipclean.untrusted import printable

KINDS = {*IMAGES, *SIDECARS, "csv", "tsv", "jsonl", "parquet", "arrow", "tar"}
RATIO = 100  # bytes of the folder for a byte of the archive: images do not compress
SPARE = 100_000_000  # bytes beside that
_BLOCK = 1 << 20
_PADDING = 1000  # blocks of zeros behind the end of a tar, at most
_DAMAGE = (  # what the standard library's readers raise on damaged bytes
    OSError,
    ValueError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    TypeError,
    LookupError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
)


class Member(NamedTuple):
    """A file, folder or link of an archive."""

    name: str
    size: int  # bytes, as it claims
    is_file: bool
    stream: IO[bytes] | None
    passed: int = 0  # bytes that are unpacked to get behind it, even if nothing of it is written
    is_folder: bool = False


def unpack(path: Path, into: Path, /) -> list[tuple[str, str]]:
    """Unpack images, captions and tables of an archive below ``into``, an empty folder; what is left out, with the reason.

    Links, devices, names that lead out, and files of other kinds are never written.

    Raises:
        RefusedInput: damaged, encrypted, larger than honest ones, or of too many files.
        ResourceError: no room.
    """
    left_out: list[tuple[str, str]] = []
    try:
        size = path.stat().st_size
        room, count = RATIO * size + SPARE, 0
        for member in _members(path):
            why = "" if member.is_folder else _why_not(member)
            count, room = count + (why is None), room - (member.size if why is None else member.passed)
            if count > MOST or room < 0:
                raise RefusedInput(
                    f"{printable(path)} unpacks to more than {RATIO} times its size, or to more than {MOST:,} files: no "
                    "honest archive of images does. Unpack it yourself, look at it, and name the folder."
                )
            if why is None:
                _write(member, into / PurePosixPath(member.name))
            elif why:
                left_out.append((why, member.name))
    except _DAMAGE as error:
        told = str(error) if isinstance(error, Unusable) else reason(error)
        raise RefusedInput(
            f"{printable(path)} is damaged or encrypted: {told}. Copy it again, or unpack it and name the folder."
        ) from error
    return left_out


def root_of(folder: Path, /) -> Path:
    """The folder that was packed: the only one in it, where nothing lies beside it."""
    while True:
        inside = [item for item in folder.iterdir() if not item.name.startswith((".", "__MACOSX"))]
        if len(inside) != 1 or not inside[0].is_dir():
            return folder
        folder = inside[0]


def _members(path: Path, /) -> Iterator[Member]:
    with open_regular(path) as stream:
        if stream.read(4) == b"PK\x03\x04":
            with zipfile.ZipFile(stream) as archive:
                for info in archive.infolist():
                    mode = stat.S_IFMT(info.external_attr >> 16)
                    is_file = not info.is_dir() and mode in (0, stat.S_IFREG)
                    member = Member(info.filename, info.file_size, is_file, None)
                    if _why_not(member) is None:
                        with archive.open(info) as content:
                            yield member._replace(stream=content)
                    elif not info.is_dir():
                        yield member
            return
        stream.seek(0)
        with _unpacked(stream) as whole:
            yield from _of_tar(whole)


def _unpacked(stream: BinaryIO, /) -> BinaryIO:
    """The content of a compressed file; its reader checks that it is complete."""
    start = stream.read(4)
    stream.seek(0)
    opened = gzip.open if start.startswith(b"\x1f\x8b") else bz2.open if start.startswith(b"BZh") else lzma.open
    return cast(BinaryIO, opened(stream, "rb"))


def _of_tar(whole: BinaryIO, /) -> Iterator[Member]:
    # Stream mode cannot go backwards; blocks of one header leave nothing unread behind the end of the tar.
    with tarfile.open(
        fileobj=whole, mode="r|", bufsize=BLOCK, tarinfo=Header, encoding="utf-8", errors="surrogateescape"
    ) as tar:
        for each in tar:
            tar.members = []  # type: ignore[attr-defined] # unlisted; else every header stays in memory
            is_file = each.isreg() and each.sparse is None and each.size >= 0
            passed = tarfile.BLOCKSIZE + max(each.size, 0)
            yield Member(
                each.name,
                each.size,
                is_file,
                tar.extractfile(each) if is_file else None,
                passed,
                is_folder=each.isdir(),
            )
        for block in itertools.islice(iter(lambda: whole.read(_BLOCK), b""), _PADDING):
            if block.strip(b"\0"):  # tarfile takes any unreadable header for the end
                raise ValueError("the tar goes on after its last readable member")


def _why_not(member: Member, /) -> str | None:
    """Why a member is not written; None where it is, and empty where nobody misses it."""
    path = PurePosixPath(member.name)
    if any(part.startswith(".") and part not in (".", "..") for part in path.parts) or "__MACOSX" in path.parts:
        return ""
    if not member.is_file:
        return "members that are links, devices or sparse files"
    if path.is_absolute() or ".." in path.parts or "\\" in member.name or not member.name.isprintable():
        return "members whose names lead out of the archive, or cannot be printed"
    kind = path.suffix[1:].lower()
    return (
        None
        if kind in KINDS
        else (f"{printable(path.suffix)} files, which are never read" if kind else "files without an extension")
    )


def _write(member: Member, path: Path, /) -> None:
    """Copy one file, of no more bytes than it claims."""
    assert member.stream is not None  # noqa: S101 # of what is written
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    except OSError as error:
        raise ValueError(f"{printable(member.name)}: {reason(error)}") from error
    with os.fdopen(handle, "wb") as target:
        left = member.size
        while block := member.stream.read(min(_BLOCK, left + 1)):
            left -= len(block)
            if left < 0:
                raise ValueError(f"{printable(member.name)} is longer than it claims")
            try:
                target.write(block)
            except OSError as error:
                free = shutil.disk_usage(path.parent).free
                raise ResourceError(
                    f"The archive cannot be unpacked to {path.parent}: {reason(error)} ({free:,} bytes free). Free some "
                    "space, or name another place by TMPDIR."
                ) from error
