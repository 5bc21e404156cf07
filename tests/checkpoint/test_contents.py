import errno
import hashlib
import mmap
import resource
import struct
import sys

import pytest
import safetensors.torch
import torch
from checkpoint.test_reader import assert_same, weights
from safetensors import safe_open
from safetensors.torch import load_file

from clipclean import checkpoint
from clipclean.checkpoint import contents, reader, write_safetensors
from clipclean.errors import RefusedInput

PAGE = mmap.PAGESIZE


def load(path):
    with contents.open_file(path) as opened:
        return contents.load(opened)


def test_a_file_of_many_blocks_is_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(contents, "BLOCK_BYTES", 7)
    data = bytes(range(100))
    (tmp_path / "file").write_bytes(data)
    file = load(tmp_path / "file")
    assert bytes(file.view()) == data
    assert (file.size, file.sha256) == (100, hashlib.sha256(data).hexdigest())


def test_what_is_written_into_a_file_later_is_not_in_its_contents(tmp_path):
    (tmp_path / "file").write_bytes(b"before")
    file = load(tmp_path / "file")
    (tmp_path / "file").write_bytes(b"after!")
    assert bytes(file.view()) == b"before"


def test_the_file_that_was_opened_is_read_whatever_stands_in_its_place(tmp_path):
    (tmp_path / "file").write_bytes(b"first")
    with contents.open_file(tmp_path / "file") as opened:
        (tmp_path / "other").write_bytes(b"second")
        (tmp_path / "other").replace(tmp_path / "file")
        file = contents.load(opened)
    assert (bytes(file.view()), file.sha256) == (b"first", hashlib.sha256(b"first").hexdigest())


LONG = 4096 * PAGE  # bytes: the hashing lags behind
gives_back = pytest.mark.skipif(sys.platform != "linux", reason="other systems keep the memory")


def mostly_given_back(folder):
    (folder / "file").write_bytes(b"x" * LONG)
    file = load(folder / "file")
    file.keep_only([(5 * PAGE, 6 * PAGE + 1), (PAGE + 1, 2 * PAGE)])
    return file


@gives_back
def test_pages_outside_the_kept_ranges_are_given_back(tmp_path):
    file = mostly_given_back(tmp_path)
    # Whole pages go, and those that hold a kept byte stay: 0 | 1 kept | 2 3 4 | 5 6 kept | 7
    alive = [file.buffer[page * PAGE] == ord("x") for page in range(8)]
    assert alive == [False, True, False, False, False, True, True, False]


@gives_back
def test_the_digest_is_of_the_whole_file_though_pages_were_given_back(tmp_path):
    assert mostly_given_back(tmp_path).sha256 == hashlib.sha256(b"x" * LONG).hexdigest()


def test_a_file_that_is_nearly_all_holes_or_beyond_the_limit_is_refused_unread(tmp_path, monkeypatch):
    with (tmp_path / "file").open("wb") as stream:
        stream.write(b"PK\x03\x04")
        stream.truncate(4 * 2**30)
    if (tmp_path / "file").stat().st_blocks > 2**20:
        pytest.skip("this file system has no holes")
    with pytest.raises(RefusedInput, match=f"{4 * 2**30:,} bytes, and "):
        load(tmp_path / "file")
    monkeypatch.setattr(contents, "LARGEST_BYTES", 5)
    (tmp_path / "file").write_bytes(b"sixsix")
    with pytest.raises(RefusedInput, match="6 bytes"):
        load(tmp_path / "file")


def test_a_safetensors_header_of_any_length_is_told_from_a_pickle(tmp_path):
    """Its length, padded to eight bytes, begins like a pickle in one file of 32."""
    made = (safetensors.torch.save({"w": torch.ones(2)}, metadata={"note": "x" * count}) for count in range(200))
    (tmp_path / "model").write_bytes(next(data for data in made if data[0] == 0x80))
    assert checkpoint.read(tmp_path / "model").tensors["w"].tolist() == [1, 1]
    assert reader.tell(struct.pack("<Q", 2**60) + b"{}") == "safetensors"


def test_the_safetensors_library_reads_back_all_that_was_written(tmp_path):
    tensors = weights() | {"strided": torch.arange(16.0).reshape(4, 4).T, "empty": torch.zeros(0, 3)}
    write_safetensors(tmp_path / "x.safetensors", tensors, metadata={"note": "ü"})
    assert_same(dict(sorted(load_file(tmp_path / "x.safetensors").items())), dict(sorted(tensors.items())))
    with safe_open(tmp_path / "x.safetensors", "pt") as opened:
        assert opened.metadata() == {"note": "ü"}


def test_views_of_one_tensor_are_written_with_their_own_values(tmp_path):
    whole = torch.arange(6.0)
    write_safetensors(tmp_path / "x", {"first": whole[:3], "last": whole[3:]}, metadata={})
    loaded = load_file(tmp_path / "x")
    assert (loaded["first"].tolist(), loaded["last"].tolist()) == ([0.0, 1.0, 2.0], [3.0, 4.0, 5.0])


def test_a_file_of_weights_has_the_mode_of_every_new_file(tmp_path):
    write_safetensors(tmp_path / "x", {"a": torch.zeros(1)}, metadata={})
    (tmp_path / "y").write_text("")
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "y").stat().st_mode


def test_equal_input_gives_equal_bytes(tmp_path):
    """Each hash map of the library has another seed."""
    for name, order in enumerate(("qwertz", "ztrewq") * 5):
        write_safetensors(tmp_path / f"{name}", {n: torch.arange(3.0) for n in order}, metadata={"format": "pt"})
        assert (tmp_path / "0").read_bytes() == (tmp_path / f"{name}").read_bytes()


def test_texts_that_would_stand_in_random_order_are_refused(tmp_path):
    with pytest.raises(ValueError, match="random order: a, b"):
        write_safetensors(tmp_path / "x", {}, metadata={"a": "1", "b": "2"})


def test_what_the_system_refuses_is_an_os_error_with_its_number(tmp_path):
    """Here a limit on the size of files, as a full disk would be."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            write_safetensors(tmp_path / "x", {"a": torch.zeros(10_000)}, metadata={})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.EFBIG
    with pytest.raises(FileNotFoundError):
        write_safetensors(tmp_path / "missing" / "x", {"a": torch.zeros(1)}, metadata={})
