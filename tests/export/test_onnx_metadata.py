import contextlib

import onnx
import pytest
from cases import each
from hypothesis import given, settings
from hypothesis import strategies as st

from clipclean.errors import RefusedInput
from clipclean.export import onnx_metadata

END = onnx.helper.make_tensor_value_info("x", 1, [1])


def saved(path, **metadata):
    """A model with an identity, and these entries."""
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", [END], [END])
    model = onnx.helper.make_model(graph)
    onnx.helper.set_model_props(model, metadata)
    path.write_bytes(model.SerializeToString())
    return path


def test_the_entries_are_those_that_onnx_wrote(tmp_path):
    metadata = {"clip.tensor_sha256": "ab" * 32, "long": "x" * 300, "ü": "ß", "empty": ""}
    assert onnx_metadata.read(saved(tmp_path / "m.onnx", **metadata)) == metadata
    assert onnx_metadata.read(saved(tmp_path / "m.onnx")) == {}


@each(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"\x08\x07", "no graph"),
        (b"\x3a\x05abc", "ends behind"),
        (b"\x3a" + b"\xff" * 11, "does not end"),
        (b"\x3b", "wire type 3"),
        (b"\x3a\x00" * 20_000, "more than 10,000 fields"),
        (b"\x3a\x00" + b"\x72\x06\x0a\x01k\x12\x01v" * 2, "'k' twice"),
        (b"\x3a\x00\x72\xff\xff\x7f" + b"\x00" * 0x1FFFFF, "has 2,097,151 bytes"),
        (b"\x3a\x00\x72\x03\x0a\x01\xff", "utf-8"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path, data, words):
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    with pytest.raises(RefusedInput, match=words):
        onnx_metadata.read(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(RefusedInput, match="cannot be read"):
        onnx_metadata.read(tmp_path / "m.onnx")


@settings(deadline=None)
@given(cut=st.integers(0, 200), byte=st.integers(0, 255))
def test_a_changed_byte_is_read_or_refused_and_nothing_else(tmp_path_factory, cut, byte):
    path = saved(tmp_path_factory.getbasetemp() / "fuzzed.onnx", key="value")
    data = bytearray(path.read_bytes())
    data[cut % len(data)] = byte
    path.write_bytes(data)
    with contextlib.suppress(RefusedInput):
        assert isinstance(onnx_metadata.read(path), dict)
