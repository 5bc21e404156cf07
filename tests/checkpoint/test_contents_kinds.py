import struct

import pytest
import safetensors.torch
import torch

from clipclean import checkpoint
from clipclean.checkpoint import contents


def test_a_safetensors_header_whose_length_begins_like_a_pickle_is_told_from_one(tmp_path):
    """Its length, padded to eight bytes, is 128 more than a multiple of 256 in one file of 32."""
    for count in range(200):
        data = safetensors.torch.save({"w": torch.ones(2)}, metadata={"note": "x" * count})
        if data[0] == 0x80:
            break
    else:
        pytest.fail("no header of such a length")
    (tmp_path / "model").write_bytes(data)
    assert checkpoint.read(tmp_path / "model").tensors["w"].tolist() == [1, 1]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_legacy_checkpoint_is_a_pickle_in_every_protocol(tmp_path, protocol):
    torch.save({"w": torch.ones(2)}, tmp_path / "m", pickle_protocol=protocol, _use_new_zipfile_serialization=False)
    assert contents.tell((tmp_path / "m").read_bytes()[:512]) == "pickle"


def test_a_header_length_beyond_all_bounds_is_still_safetensors():
    assert contents.tell(struct.pack("<Q", 2**60) + b"{}") == "safetensors"
