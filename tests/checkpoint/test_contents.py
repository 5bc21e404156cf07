import hashlib
import mmap
import struct
import sys

import pytest
import safetensors.torch
import torch

from clipclean import checkpoint
from clipclean.checkpoint import contents, reader
from clipclean.errors import RefusedInput

PAGE = mmap.PAGESIZE


def load(path):
    with contents.opened(path) as opened:
        return contents.load(opened)


def test_a_file_is_read_and_hashed_as_it_was_when_it_was_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(contents, "BLOCK", 7)
    data = bytes(range(100))
    (tmp_path / "file").write_bytes(data)
    found = load(tmp_path / "file")
    assert bytes(found.view()) == data
    assert (found.size, found.sha256) == (100, hashlib.sha256(data).hexdigest())
    (tmp_path / "file").write_bytes(b"before")
    found = load(tmp_path / "file")
    (tmp_path / "file").write_bytes(b"after!")
    assert bytes(found.view()) == b"before"
    (tmp_path / "file").write_bytes(b"first")
    with contents.opened(tmp_path / "file") as opened:
        (tmp_path / "other").write_bytes(b"second")
        (tmp_path / "other").replace(tmp_path / "file")
        found = contents.load(opened)
    assert (bytes(found.view()), found.sha256) == (b"first", hashlib.sha256(b"first").hexdigest())


def test_the_digest_is_that_of_the_file_even_if_its_memory_is_given_back_at_once(tmp_path):
    data = b"x" * (4096 * PAGE)  # long enough that the hashing lags behind
    (tmp_path / "file").write_bytes(data)
    found = load(tmp_path / "file")
    found.keep_only([])
    assert found.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep the memory")
def test_pages_outside_the_kept_ranges_are_given_back(tmp_path):
    (tmp_path / "file").write_bytes(b"x" * (8 * PAGE))
    found = load(tmp_path / "file")
    found.keep_only([(5 * PAGE, 6 * PAGE + 1), (PAGE + 1, 2 * PAGE)])
    # Whole pages go, and those that hold a kept byte stay: 0 | 1 kept | 2 3 4 | 5 6 kept | 7
    alive = [found.buffer[page * PAGE] == ord("x") for page in range(8)]
    assert alive == [False, True, False, False, False, True, True, False]


def test_a_file_that_is_nearly_all_holes_or_beyond_the_limit_is_refused_unread(tmp_path, monkeypatch):
    with (tmp_path / "file").open("wb") as stream:
        stream.write(b"PK\x03\x04")
        stream.truncate(4 * 2**30)
    if (tmp_path / "file").stat().st_blocks > 2**20:
        pytest.skip("this file system has no holes")
    with pytest.raises(RefusedInput, match="nearly all holes"):
        load(tmp_path / "file")
    monkeypatch.setattr(contents, "LARGEST", 5)
    (tmp_path / "file").write_bytes(b"sixsix")
    with pytest.raises(RefusedInput, match="6 bytes"):
        load(tmp_path / "file")


def test_a_safetensors_header_of_any_length_is_told_from_a_pickle(tmp_path):
    """Its length, padded to eight bytes, begins like a pickle in one file of 32."""
    made = (safetensors.torch.save({"w": torch.ones(2)}, metadata={"note": "x" * count}) for count in range(200))
    (tmp_path / "model").write_bytes(next(data for data in made if data[0] == 0x80))
    assert checkpoint.read(tmp_path / "model").tensors["w"].tolist() == [1, 1]
    assert reader.tell(struct.pack("<Q", 2**60) + b"{}") == "safetensors"
