"""Zip archives in which one reader sees what another does not."""

import struct
import zipfile

import pytest
import tiny
import torch

from clipclean import checkpoint
from clipclean.errors import UnsafeCheckpoint


@pytest.fixture
def honest(tmp_path):
    torch.save(tiny.state_dict(tiny.SMALL_VIT), tmp_path / "m.pt")
    return tmp_path / "m.pt"


def members(path):
    with zipfile.ZipFile(path) as archive:
        return [(info.filename, archive.read(info)) for info in archive.infolist()]


def rewritten(path, *, comment=b"", extra=b"", before=b""):
    """The same members, with something that torch.save never writes."""
    listed = members(path)
    path.unlink()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in listed:
            info = zipfile.ZipInfo(name)
            info.comment, info.extra = comment, extra
            archive.writestr(info, content)
            if before and name.endswith("data.pkl"):
                archive.fp.write(before)
                archive.start_dir = archive.fp.tell()


def prefixed(path, entry):
    """An entry at offset 0 that the directory does not list; all offsets are moved."""
    content, moved = bytearray(path.read_bytes()), len(entry)
    at = content.rindex(b"PK\x05\x06")
    count, _, directory = struct.unpack_from("<HLL", content, at + 10)
    struct.pack_into("<L", content, at + 16, directory + moved)
    for _ in range(count):
        sizes = struct.unpack_from("<3H", content, directory + 28)
        header = struct.unpack_from("<L", content, directory + 42)[0]
        struct.pack_into("<L", content, directory + 42, header + moved)
        directory += 46 + sum(sizes)
    path.write_bytes(entry + bytes(content))


def local(name, data):
    return struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 0, 0, 0, 0, len(data), len(data), len(name), 0) + name + data


def test_an_entry_that_is_not_listed_and_a_comment_are_refused(honest):
    rewritten(honest)
    assert len(checkpoint.read(honest).tensors) > 10
    rewritten(honest)
    prefixed(honest, local(b"m/data.pkl", b"cos\nsystem\n(S'id'\ntR."))
    with pytest.raises(UnsafeCheckpoint, match="belong to no entry"):
        checkpoint.read(honest)
    rewritten(honest, comment=b"data.pkl")
    with pytest.raises(UnsafeCheckpoint, match="has a comment"):
        checkpoint.read(honest)


@pytest.mark.parametrize("gap", [b"\0", b"cos\nsystem\n(S'id'\ntR.", local(b"m/data.pkl", b"x")])
def test_bytes_between_entries_are_refused(honest, gap):
    rewritten(honest, before=gap)
    with pytest.raises(UnsafeCheckpoint, match="belong to no entry"):
        checkpoint.read(honest)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (struct.pack("<2HBL", 0x7075, 5 + 6, 1, 0) + b"m/data", "extra field 0x7075"),
        (struct.pack("<2HL", 0x5455, 4, 0), "extra field 0x5455"),
        (struct.pack("<2H2Q", 0x0001, 16, 1, 1), "zip64 sizes"),
        (struct.pack("<2H4Q", 0x0001, 32, 1, 1, 1, 1), "zip64 sizes"),  # more of them than there are fields
    ],
)
def test_extra_fields_that_readers_take_differently_are_refused(honest, extra, words):
    rewritten(honest, extra=extra)
    with pytest.raises(UnsafeCheckpoint, match=words):
        checkpoint.read(honest)
