"""WebDataset shards: tar files whose members of the same name form one sample."""

import itertools
import os
import re
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from webdataset.tariterators import base_plus_ext

from clipclean.data import sample
from clipclean.data.sample import (
    IMAGE_KINDS,
    MAX_TEXT_BYTES,
    SIDECAR_KINDS,
    DataRequest,
    ImageSource,
    Listing,
    SampleEntry,
    Unusable,
)
from clipclean.errors import RefusedInput, damaged, truncated
from clipclean.untrusted import printable

_BLOCK_BYTES = 512  # bytes of a tar header, and of the mark that ends an archive
_HEADER_BYTES = 16_384  # one extended header: a path takes 4 kB at most; larger ones are slow to parse on purpose
_BUFFER_BYTES = 1 << 20
_META_NAME = re.compile(r"__[^/]*__($|/)")  # webdataset's own members, no samples
_EXTENDED_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
# Key, lower-case extension and content of a member that counts; None is a text that is too long.
_Member = tuple[str, str, ImageSource | bytes | None]


def read(_kind: str, shards: Sequence[Path], request: DataRequest, _scratch: object, /) -> Listing:
    """The samples of tar files, in order; members are read where they lie and never extracted.

    A sample is a run of members with the same name up to the first dot, which webdataset's own ``base_plus_ext`` finds. Its
    decoders are never used: some of them execute what they read. Of a sample's images the one with the extension ``image_key``
    counts, or else the first of jpg, png, jpeg, webp. With more than one shard a key starts with the shard's name. Members of
    other kinds, links, devices and names that climb out of the archive are counted and never read.

    Raises:
        RefusedInput: a shard is missing, compressed, truncated or no tar; names the shard.
    """
    listing = Listing("webdataset")
    for shard in shards:
        prefix = f"{shard.name}/" if len(shards) > 1 else ""
        for key, members in itertools.groupby(_members(shard, listing), key=lambda member: member[0]):
            listing.entries.append(_entry(prefix + key, members, listing, request))
    return listing


class _Header(tarfile.TarInfo):
    """A tar header whose claims about itself are bounded before tarfile acts on them."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Header":
        """Parse one block; raises ReadError for an extended header of absurd size."""
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0 or (header.type in _EXTENDED_HEADERS and header.size > _HEADER_BYTES):
            raise tarfile.ReadError(f"a header claims {header.size:,} bytes")
        return header


def _entry(key: str, members: Iterable[_Member], listing: Listing, request: DataRequest, /) -> SampleEntry:
    """The sample that members with one key form; sidecars are in memory, images stay where they are."""
    images: dict[str, ImageSource] = {}
    sidecars: dict[str, bytes] = {}
    problem = ""
    for _, kind, content in members:
        if kind in images or kind in sidecars:
            problem = f"two members have the extension .{kind}"
        elif isinstance(content, ImageSource):
            images[kind] = content
        elif content is None:
            problem = f"its .{kind} has more than {MAX_TEXT_BYTES:,} bytes"
        else:
            sidecars[kind] = content
    kinds = (request.image_key.lower(),) if request.image_key else IMAGE_KINDS
    chosen_kind = next((kind for kind in kinds if kind in images), "")
    for kind in images:
        if kind != chosen_kind:
            listing.ignore("further images of a sample", f"{key}.{kind}")
    problem = problem or ("" if chosen_kind else "no image")
    return sample.with_sidecars(key, images.get(chosen_kind), sidecars, request, problem=problem)


def _members(shard: Path, listing: Listing, /) -> Iterator[_Member]:
    try:
        with sample.open_regular(shard) as stream:
            _refuse_compression(stream, shard)
            # Stream mode cannot go backwards, so no header can send the reader round in circles.
            with tarfile.open(
                fileobj=stream,
                mode="r|",
                bufsize=_BUFFER_BYTES,
                tarinfo=_Header,
                encoding="utf-8",
                errors="surrogateescape",
            ) as archive:
                for member in archive:
                    # tarfile would look for the end of a member behind that of the file, 8 exabytes if so claimed.
                    if archive.offset > os.fstat(stream.fileno()).st_size:
                        raise tarfile.ReadError("unexpected end of data")
                    archive.members = []  # type: ignore[attr-defined] # unlisted; else every header of the shard stays in memory
                    if key_and_kind := _key_and_kind(member, listing):
                        yield *key_and_kind, _content(archive, member, key_and_kind[1], shard)
                end = archive.offset
            _check_end(stream, end, shard)
    except Unusable as error:
        raise RefusedInput(f"The shard {printable(shard)} cannot be read: {error}.") from error
    except (tarfile.TarError, OSError, ValueError, OverflowError, RecursionError) as error:
        raise damaged(
            f"The shard {printable(shard)} is truncated or no sound tar file: {sample.reason(error)}"
        ) from error


def _key_and_kind(member: tarfile.TarInfo, listing: Listing, /) -> tuple[str, str] | None:
    """Key and extension of a member that is to be read; others are counted."""
    name = member.name
    if member.size < 0:  # a global header can say so without moving the reader
        raise tarfile.ReadError(f"a member claims {member.size:,} bytes")
    key, kind = base_plus_ext(name)
    if member.isdir():
        return None
    if not member.isreg() or member.sparse is not None:
        listing.ignore("members that are links, devices or sparse files", name)
    elif name.startswith("/") or ".." in PurePosixPath(name).parts:
        listing.ignore("members whose names lead out of the archive", name)
    elif key is None or kind is None or _META_NAME.match(name):
        listing.ignore("hidden or unnamed members", name)
    elif (kind := kind.lower()) not in IMAGE_KINDS and kind not in SIDECAR_KINDS:
        listing.ignore(sample.ignored_kind(name), name)
    else:
        return key, kind
    return None


def _content(
    archive: tarfile.TarFile, member: tarfile.TarInfo, kind: str, shard: Path, /
) -> ImageSource | bytes | None:
    if kind in IMAGE_KINDS:
        return ImageSource(shard, member.offset_data, member.size)
    stream = archive.extractfile(member) if member.size <= MAX_TEXT_BYTES else None
    return None if stream is None else stream.read(MAX_TEXT_BYTES)


def _refuse_compression(stream: BinaryIO, shard: Path, /) -> None:
    head = stream.read(_BLOCK_BYTES)
    stream.seek(0)
    if head[257:262] == b"ustar":  # a tar begins with the name of its first member, and that may be PK or BZh
        return
    marks = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"PK": "zip"}
    for mark, name in marks.items():
        if head.startswith(mark):
            raise RefusedInput(
                f"{printable(shard)} is compressed ({name}). Samples are read from where they lie in a plain tar; "
                "unpack it to one first, or to a folder."
            )


def _check_end(stream: BinaryIO, end: int, shard: Path, /) -> None:
    """Refuse a shard that ends elsewhere than at its end mark: tarfile takes any unreadable header for the end."""
    stream.seek(end)
    mark = stream.read(_BLOCK_BYTES)
    if len(mark) < _BLOCK_BYTES:
        raise truncated(f"The shard {printable(shard)} stops at byte {end:,} without the mark that ends a tar file")
    while mark:
        if mark.strip(b"\0"):
            problem = f"The shard {printable(shard)} goes on after its last readable member (byte {end:,})"
            raise damaged(f"{problem}: it is damaged, or several tar files in one")
        mark = stream.read(_BUFFER_BYTES)
