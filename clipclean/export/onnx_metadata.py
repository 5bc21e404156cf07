"""The ``metadata_props`` of an ONNX file, parsed as data: no runtime, no protobuf library."""

import mmap
from collections.abc import Iterator
from pathlib import Path

from clipclean import untrusted
from clipclean.errors import RefusedInput

GRAPH, METADATA = 7, 14  # of onnx.ModelProto
TENSOR_DIGEST = "clip.tensor_sha256"
KEY, VALUE = 1, 2  # of onnx.StringStringEntryProto
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # protobuf's wire types; groups, 3 and 4, are no longer used
MAX_ENTRY = 2**16  # bytes; a model's architecture and hashes need a hundredth
MAX_FIELDS = 10_000  # of one message; a graph is one field


def read(path: Path, /) -> dict[str, str]:
    """The metadata of an ONNX model; of its graph only that it is there, and that every length leads inside the file.

    Raises:
        RefusedInput: it is no ONNX model.
    """
    try:
        with (
            untrusted.opened(path) as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
            memoryview(mapped) as view,
        ):
            return _metadata(view)
    except ValueError as error:  # of mmap, for an empty file; of ours, for a broken one
        raise RefusedInput(f"it is no ONNX model: {error}.") from error
    except OSError as error:
        raise RefusedInput(f"it cannot be read: {error.strerror}.") from error


def tensor_digest(path: Path, /) -> str:
    """The digest of the tensors that a graph of ours was made of; in the graph they are folded and renamed.

    Raises:
        RefusedInput: it is no ONNX model, or does not say.
    """
    told = read(path).get(TENSOR_DIGEST)
    if told is None:
        raise RefusedInput(f"its metadata has no {TENSOR_DIGEST}.")
    return told


def _metadata(view: memoryview, /) -> dict[str, str]:
    found: dict[str, str] = {}
    has_graph = False
    for field, start, end in _fields(view, 0, len(view)):
        has_graph = has_graph or field == GRAPH
        if field != METADATA:
            continue
        if end - start > MAX_ENTRY:
            raise ValueError(f"an entry of its metadata has {end - start:,} bytes")
        parts = {inner: bytes(view[first:last]).decode() for inner, first, last in _fields(view, start, end)}
        key = parts.get(KEY, "")
        if key in found:
            raise ValueError(f"its metadata has {key[:80]!a} twice")
        found[key] = parts.get(VALUE, "")
    if not has_graph:
        raise ValueError("it has no graph")
    return found


def _fields(view: memoryview, start: int, end: int, /) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of each field of a message that holds bytes; numbers are passed over."""
    for _ in range(MAX_FIELDS):
        if start == end:
            return
        tag, start = _varint(view, start, end)
        field, wire = tag >> 3, tag & 7
        if wire == VARINT:
            _, start = _varint(view, start, end)
            continue
        if wire == BYTES:
            size, start = _varint(view, start, end)
        elif wire in (FIXED32, FIXED64):
            size = 4 if wire == FIXED32 else 8
        else:
            raise ValueError(f"byte {start} has wire type {wire}")
        if start + size > end:
            raise ValueError(f"a field at byte {start} ends behind its message")
        if wire == BYTES:
            yield field, start, start + size
        start += size
    raise ValueError(f"more than {MAX_FIELDS:,} fields")


def _varint(view: memoryview, start: int, end: int, /) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends."""
    value = 0
    for place in range(start, min(start + 10, end)):
        value |= (view[place] & 0x7F) << (7 * (place - start))
        if view[place] < 0x80:
            return value, place + 1
    raise ValueError(f"a number at byte {start} does not end")
