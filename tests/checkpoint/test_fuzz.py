"""Damaged and doctored copies of honest files: each is read, or refused with a message, and nothing else."""

import pytest
import torch
from hostile import checkpoints as hostile
from hostile import seeds
from hypothesis import given, settings
from hypothesis import strategies as st

from clipclean import checkpoint
from clipclean.errors import ClipcleanError

EDITS = st.lists(
    st.tuples(
        st.sampled_from(["set", "insert", "delete", "cut"]), st.integers(0, 10**6), st.binary(min_size=1, max_size=9)
    ),
    min_size=1,
    max_size=4,
)


HONEST = {
    "zip": seeds.torch_bytes,
    "legacy": lambda: seeds.torch_bytes(_use_new_zipfile_serialization=False),
    "safetensors": seeds.safetensors_bytes,
    "torchscript": seeds.script_bytes,
}


def edited(data, edits):
    for verb, place, content in edits:
        at = place % (len(data) + 1)
        replaced = {"set": at + len(content), "insert": at, "delete": at + len(content), "cut": len(data)}[verb]
        data = data[:at] + (b"" if verb in ("delete", "cut") else content) + data[replaced:]
    return data


def assert_read_or_refused(path):
    try:
        found = checkpoint.read(path)
    except ClipcleanError as error:
        assert str(error).isprintable()  # noqa: PT017 # either way out is right
        return
    assert found.tensors
    for name, tensor in found.tensors.items():
        assert name.isprintable()
        assert tensor.is_contiguous()
        assert not tensor.is_floating_point() or torch.isfinite(tensor).all()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "model"


@pytest.mark.parametrize("kind", HONEST)
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(edits=EDITS)
def test_an_edited_file_is_read_or_refused(place, kind, edits):
    place.write_bytes(edited(HONEST[kind](), edits))
    assert_read_or_refused(place)


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(edits=EDITS)
def test_an_edited_pickle_with_a_right_checksum_is_read_or_refused(place, edits):
    """Edits of the whole file rarely reach the interpreter: the checksum stops them."""
    body = hostile.mapping({"a": hostile.GOOD, "b": hostile.tensor((2, 2), (1, 2))})
    place.write_bytes(hostile.archive(edited(hostile.pickled(hostile.mapping({"state_dict": body})), edits)))
    assert_read_or_refused(place)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(file=st.sampled_from(["config.json", "model.safetensors.index.json", "a.safetensors"]), edits=EDITS)
def test_an_edited_directory_is_read_or_refused(sharded, file, edits):
    honest = (sharded / file).read_bytes()
    (sharded / file).write_bytes(edited(honest, edits))
    try:
        assert_read_or_refused(sharded)
    finally:
        (sharded / file).write_bytes(honest)


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards") / "model"
    hostile.sharded({"a": "a.safetensors", "b": "b.safetensors"}, "").write(folder)
    assert checkpoint.read(folder).tensors.keys() == {"a", "b"}
    return folder


ATOMS = [hostile.NONE, hostile.EMPTY_LIST, hostile.EMPTY_TUPLE, hostile.EMPTY_DICT, hostile.MARK, hostile.GOOD]
ATOMS += [hostile.text("state_dict"), hostile.whole(2), hostile.storage(4), hostile.name("torch", "Size")]
ATOMS += [hostile.name("torch._utils", "_rebuild_tensor_v2"), hostile.name("argparse", "Namespace")]
ATOMS += [bytes([code]) for code in b"tR\x81bQaesu\x85\x86\x87\x93\x90\x8f\x91\x94"] + [b"q\x00", b"h\x00"]


@settings(max_examples=600, deadline=None, derandomize=True, database=None)
@given(steps=st.lists(st.sampled_from(ATOMS), max_size=30))
def test_any_sequence_of_opcodes_is_read_or_refused(place, steps):
    place.write_bytes(hostile.archive(hostile.pickled(b"".join(steps))))
    assert_read_or_refused(place)
