"""The safetensors format: written by its own library, read by our stricter reader."""

import errno
import math
import re
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from clipclean import untrusted
from clipclean.checkpoint import contents, tensors
from clipclean.checkpoint.values import DTYPE_BYTES, DTYPE_CODES, Pairs, Record, Storage, TensorRef
from clipclean.errors import RefusedInput, UnsafeCheckpoint, truncated

# The format allows 100 MB. The largest CLIP needs 0.3 MB, and JSON takes up to twenty times its size once parsed.
MAX_HEADER = 16 * 2**20
METADATA_KEY = "__metadata__"  # the header's one entry that is no tensor


def read(view: memoryview, /) -> tuple[Pairs, dict[str, Record]]:
    """Tensors by name, and the bytes of each.

    Raises:
        UnsafeCheckpoint: header and data contradict each other, or tensors share bytes.
        RefusedInput: it is truncated, malformed, or holds a dtype that CLIP weights never have.
    """
    header, _, data_start = _header(view)
    entries = sorted((_entry(name, entry) for name, entry in header.items()), key=lambda described: described[1:3])
    at = 0
    for name, start, stop, _ in entries:  # they must fill the data in a row: no byte twice, none left over
        if start != at:
            fault = "shares bytes with another tensor" if start < at else "leaves unused bytes before it"
            raise UnsafeCheckpoint(f"{name[:80]!a} {fault} in its safetensors file.")
        at = stop
    _refuse_size(at, len(view) - data_start)
    tensors = Pairs([(name, ref) for name, _, _, ref in entries])
    return tensors, {name: Record(data_start + start, stop - start) for name, start, stop, _ in entries}


def check_extent(file: contents.OpenFile, /) -> None:
    """Refuse a file whose header, which is read alone, describes another size.

    Raises:
        UnsafeCheckpoint, RefusedInput: that is so, or the header is malformed.
    """
    end = 8 + min(int.from_bytes(file.head[:8], "little"), MAX_HEADER)
    header, _, data_start = _header(memoryview(file.at(0, end)))
    _refuse_size(max((_entry(name, entry)[2] for name, entry in header.items()), default=0), file.size - data_start)


def write(path: Path, tensors: Mapping[str, Tensor], /, *, metadata: Mapping[str, str]) -> None:
    """Write a safetensors file; equal input gives equal bytes.

    Args:
        path: of the file, which is overwritten.
        tensors: by name; the library sorts them by the size of their elements, then by name.
        metadata: at most one text. The library writes several in random order: put one JSON value instead.

    Raises:
        OSError: the disk is full, or the path cannot be written.
    """
    if len(metadata) > 1:
        raise ValueError(f"metadata in random order: {', '.join(metadata)}")
    path.touch()
    mode = stat.S_IMODE(path.stat().st_mode)  # the library makes a file that only its owner may read, and renames it
    try:
        save_file({name: _own_copy(tensor) for name, tensor in tensors.items()}, path, dict(metadata) or None)
    except SafetensorError as error:  # of another kind than OSError, with the system's number in its text alone
        number = re.search(r"os error (\d+)", str(error))
        raise OSError(int(number[1]) if number else errno.EIO, str(error), str(path)) from error
    path.chmod(mode)


def _own_copy(tensor: Tensor, /) -> Tensor:
    """The values on the CPU, row-major, in memory of their own: the library refuses names that share memory."""
    flat = tensor.detach().cpu().contiguous()
    owns_memory = flat.untyped_storage().nbytes() == flat.numel() * flat.element_size()
    return flat if owns_memory else flat.clone(memory_format=torch.contiguous_format)


def _header(view: memoryview, /) -> tuple[dict[str, object], dict[str, str], int]:
    """What the header says of tensors, its metadata, and the offset of the data behind it."""
    if len(view) < 8:
        raise RefusedInput("it is too short for a safetensors file.")
    length = struct.unpack_from("<Q", view)[0]
    if length > MAX_HEADER:
        raise RefusedInput(f"its safetensors header claims {length:,} bytes; clipclean reads up to {MAX_HEADER:,}.")
    if 8 + length > len(view):
        raise truncated("it ends inside its safetensors header")
    header = untrusted.loads(bytes(view[8 : 8 + length]), "its safetensors header", limit=MAX_HEADER)
    metadata = header.pop(METADATA_KEY, {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise RefusedInput(
            "the metadata of its safetensors header are not texts by name, so the safetensors library refuses it. Save it again by that "
            "library."
        )
    return header, metadata, 8 + length


def _entry(name: str, entry: object, /) -> tuple[str, int, int, TensorRef]:
    """Name, first and last byte within the data, and description of one tensor."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise RefusedInput(f"its header describes {name[:80]!a} by other fields than dtype, shape and offsets.")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_CODES:
        raise RefusedInput(
            f"{name[:80]!a} has the dtype {str(dtype)[:20]!a}; clipclean reads {', '.join(DTYPE_CODES)}."
        )
    if not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2 or len(shape) > 8:
        raise RefusedInput(f"the shape or the offsets of {name[:80]!a} are not lists of whole, non-negative numbers.")
    word = DTYPE_CODES[dtype]
    width = DTYPE_BYTES[word]
    start, stop = offsets
    elements = math.prod(shape)
    if stop - start != elements * width:
        raise UnsafeCheckpoint(f"{name[:80]!a} has {stop - start:,} bytes where its shape needs {elements * width:,}.")
    stride = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    return name, start, stop, TensorRef(Storage(word, name, elements), 0, tuple(shape), stride)


def _are_counts(value: object, /) -> bool:
    return isinstance(value, list) and all(type(number) is int and 0 <= number < 2**63 for number in value)


def _refuse_size(described: int, size: int, /) -> None:
    if described != size:
        raise UnsafeCheckpoint(
            f"its safetensors header describes {described:,} bytes of data, the file holds {size:,}: it is truncated, or "
            "something was appended. Download or copy it again."
        )


@dataclass(frozen=True, eq=False)
class TensorFile:
    """Tensors as in :class:`Checkpoint`, under their stored names, and the metadata of the header."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def read_tensors(path: Path, /, *, limit: int) -> TensorFile:
    """Read a safetensors file of at most ``limit`` bytes, as strictly as a checkpoint.

    Raises:
        UnsafeCheckpoint: it contradicts itself.
        RefusedInput: it is missing, too large, truncated or no safetensors file, or its values are not finite.
    """
    try:
        with contents.open_file(path) as source:
            if source.size > limit:
                raise RefusedInput(f"it has {source.size:,} bytes, where at most {limit:,} are read.")
            file = contents.load(source)
            pairs, records = read(file.view())
            refs = {str(name): ref for name, ref in pairs.items if isinstance(ref, TensorRef)}
            _, metadata, _ = _header(file.view())
            return TensorFile(tensors.build(refs, records, file), metadata)
    except RefusedInput as error:
        raise type(error)(f"{path}: {error}") from error
