import io
import pickle  # noqa: TID251 # builds the pickles that are read here
import warnings
import zipfile
from collections import OrderedDict

import pytest
import torch
from hostile import checkpoints as hostile
from hostile import seeds
from hostile.checkpoints import zipped
from hypothesis import given
from hypothesis import strategies as st

from clipclean import checkpoint
from clipclean.checkpoint import container, opcodes
from clipclean.checkpoint.values import DroppedObject, Pairs
from clipclean.errors import UnsafeCheckpoint

MEMBERS = {"m/data.pkl": b"pickle" * 9, "m/data/0": bytes(16), "m/version": b"3\n"}


@pytest.mark.parametrize(
    "archive",
    [zipped(MEMBERS), zipped(MEMBERS, method=zipfile.ZIP_DEFLATED), seeds.torch_bytes()],
    ids=["stored", "deflated", "torch.save"],
)
def test_members_are_found_where_zipfile_finds_them(archive):
    view = memoryview(archive)
    found = container.members(view)
    with zipfile.ZipFile(io.BytesIO(archive)) as other:
        assert found.keys() == {info.filename.partition("/")[2] for info in other.infolist()}
        for info in other.infolist():
            entry = found[info.filename.partition("/")[2]]
            assert (entry.size, entry.stored_size, entry.crc) == (info.file_size, info.compress_size, info.CRC)
            assert container.small_member(view, entry, limit=info.file_size) == other.read(info)
    with pytest.raises(UnsafeCheckpoint):
        container.small_member(view, found["data.pkl"], limit=found["data.pkl"].size - 1)


def test_a_deflated_pickle_beside_stored_numbers_is_read(tmp_path):
    torch.save({"w": torch.ones(3)}, tmp_path / "m.pt")
    with zipfile.ZipFile(tmp_path / "m.pt") as source, zipfile.ZipFile(tmp_path / "repacked", "w") as target:
        for info in source.infolist():
            method = zipfile.ZIP_DEFLATED if info.filename.endswith(".pkl") else zipfile.ZIP_STORED
            target.writestr(info.filename, source.read(info), method)
    assert checkpoint.read(tmp_path / "repacked").tensors["w"].tolist() == [1, 1, 1]


def test_real_zip64_sizes_are_read(monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)
    view = memoryview(zipped(MEMBERS))
    assert view.tobytes().count(b"PK\x06\x06") == 1
    members = container.members(view)
    assert container.small_member(view, members["data.pkl"], limit=100) == b"pickle" * 9
    assert (members["data/0"].size, members["data/0"].stored_size) == (16, 16)


class QuickGELU(torch.nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


class Tower(torch.nn.Module):
    def __init__(self, activation):
        super().__init__()
        self.attn = torch.nn.MultiheadAttention(8, 2)
        self.resblocks = torch.nn.Sequential(torch.nn.LayerNorm(8), activation)
        self.logit_scale = torch.nn.Parameter(torch.tensor(1.0))
        self.register_buffer("attn_mask", torch.full((2, 2), float("-inf")).triu(1))
        self.register_buffer("input_resolution", torch.tensor(224))
        self.layers = [1, 2]

    def forward(self, x):
        return self.resblocks(self.attn(x, x, x, need_weights=False)[0]) * self.logit_scale + self.attn_mask[0, 0]


def saved(path, compile_, activation):
    model = Tower(activation).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, which is why its archives need a reader
        archive = compile_(model)
        torch.jit.save(archive, path)
    return archive.state_dict()


def traced(model):
    return torch.jit.trace(model, torch.zeros(2, 1, 8))


@pytest.mark.parametrize("compile_", [traced, torch.jit.script], ids=["traced", "scripted"])
def test_an_archive_gives_its_state_dict_without_values_that_follow_from_the_architecture(tmp_path, compile_):
    expected = saved(tmp_path / "model.pt", compile_, torch.nn.GELU())
    found = checkpoint.read(tmp_path / "model.pt")
    assert found.tensors.keys() == expected.keys() - {"attn_mask", "input_resolution"}
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.tensors.items())
    assert (found.format, found.producer, found.quick_gelu) == ("torchscript", "TorchScript archive", None)
    (note,) = [note for note in found.notes if note.startswith("dropped")]
    assert "attn_mask" in note
    assert "input_resolution" in note


def test_a_quick_gelu_class_is_noticed_by_its_name_alone(tmp_path):
    for name, expected in {
        "__torch__.open_clip.transformer.___torch_mangle_5.QuickGELU": True,
        "__torch__.quick_gelu": True,
        "__torch__.quickgelu.LayerNorm": None,
        "__torch__.torch.nn.modules.activation.GELU": None,
    }.items():
        assert container.names_quick_gelu((name,)) is expected, name
    saved(tmp_path / "model.pt", traced, QuickGELU())
    assert checkpoint.read(tmp_path / "model.pt").quick_gelu is True


def test_an_archive_of_half_precision_keeps_it(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2).half()), tmp_path / "half.pt")
    assert {tensor.dtype for tensor in checkpoint.read(tmp_path / "half.pt").tensors.values()} == {torch.float16}


def plain(value):
    """Inert values as Python's own, to compare them."""
    if isinstance(value, Pairs):
        return {key: plain(child) for key, child in value.items}
    if isinstance(value, list | tuple):
        return type(value)(map(plain, value))
    return value


LONG = (
    [list(range(2500)), dict.fromkeys(range(2500))],
    [0, 255, 256, 65536, 2**70, -(2**70)],
    OrderedDict(z=1, a="x" * 300),
)
SMALL = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


def around(inner):
    return st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text() | st.integers(), inner)


@given(st.sampled_from(LONG) | st.recursive(SMALL, around), st.sampled_from([2, 3, 4, 5]))
def test_plain_values_are_read_as_python_reads_them(value, protocol):
    found = opcodes.interpret(pickle.dumps(value, protocol))
    assert plain(found.value) == value
    assert found.end == len(pickle.dumps(value, protocol))


def test_shared_values_stay_shared():
    shared = [1]
    pair = opcodes.interpret(pickle.dumps((shared, shared))).value
    assert pair[0] is pair[1]


def test_sets_are_inert():
    found = opcodes.interpret(pickle.dumps([b"bytes", {1, 2}, frozenset([3])], 4)).value
    assert found[0] == b"bytes"
    assert [value.kind for value in found[1:]] == ["set", "set"]
    assert all(isinstance(value, DroppedObject) for value in found[1:])


def test_a_second_pickle_begins_where_the_first_ended():
    data = pickle.dumps("one") + pickle.dumps("two")
    first = opcodes.interpret(data)
    assert opcodes.interpret(data[first.end :]).value == "two"


def test_foreign_names_are_listed_once():
    body = b"".join(hostile.name("evil", f"f{n}") for n in range(12)) + hostile.name("evil", "f0")
    with pytest.raises(UnsafeCheckpoint, match=r"evil\.f0, .*evil\.f9 and 2 more"):
        opcodes.interpret(hostile.pickled(body))


def test_an_escape_in_a_name_is_not_undone():
    with pytest.raises(UnsafeCheckpoint, match="x44ict"):  # as Python's unpickler has it
        opcodes.interpret(hostile.pickled(hostile.name("collections", r"Ordered\x44ict") + b")R"))


def test_classes_of_torchscript_are_taken_from_its_archives_alone():
    data = hostile.pickled(hostile.name("__torch__.clip", "QuickGELU") + hostile.EMPTY_TUPLE + b"\x81")
    assert opcodes.interpret(data, torchscript=True).classes == ("__torch__.clip.QuickGELU",)
    with pytest.raises(UnsafeCheckpoint, match="__torch__"):
        opcodes.interpret(data)


def test_values_are_nested_a_hundred_levels_deep_at_most():
    assert opcodes.interpret(hostile.pickled(hostile.EMPTY_LIST * 100 + b"a" * 99)).value
    with pytest.raises(UnsafeCheckpoint, match="nested"):
        opcodes.interpret(hostile.pickled(hostile.EMPTY_LIST * 101 + b"a" * 100))
