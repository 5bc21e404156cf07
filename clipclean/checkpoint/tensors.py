"""Building tensors from checked descriptions and the bytes of a file."""

import math
import zlib
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from clipclean.checkpoint.contents import Contents
from clipclean.checkpoint.values import DTYPE_CODES, Record, Storage, TensorRef
from clipclean.errors import RefusedInput, UnsafeCheckpoint, damaged
from clipclean.untrusted import first_few

DTYPES = {name: getattr(torch, name) for name in DTYPE_CODES.values()}
MAX_ELEMENTS = 5_000_000_000  # of one tensor; the largest public CLIP has 5e9 parameters in all
SIZE_SLACK = 2**20  # bytes


def build(refs: Mapping[str, TensorRef], records: Mapping[str, Record], contents: Contents, /) -> dict[str, Tensor]:
    """A contiguous tensor for every description; no two of them share memory.

    Where a tensor is its whole storage it views the file's memory, else it is a copy.

    Raises:
        UnsafeCheckpoint: a description reaches outside its storage, repeats elements, or contradicts the file.
        RefusedInput: the dtype is none of ``DTYPES``, a record is damaged, or a value is NaN or infinite.
    """
    _refuse_amplification(refs, contents.size)
    storages: dict[str, Tensor] = {}
    descriptions: dict[str, Storage] = {}
    for name, ref in refs.items():
        key = ref.storage.key
        if key not in storages:
            storages[key], descriptions[key] = _storage(name, ref.storage, records, contents), ref.storage
        if (ref.storage.dtype, ref.storage.elements) != (descriptions[key].dtype, descriptions[key].elements):
            raise UnsafeCheckpoint(f"the storage of {name!a} is described in two ways that contradict each other.")
        _refuse_outside(name, ref)
    tensors: dict[str, Tensor] = {}
    viewed_keys: set[str] = set()
    for name, ref in refs.items():
        flat = storages[ref.storage.key]
        view = flat.as_strided(ref.size, ref.stride, ref.offset)
        if view.is_contiguous() and view.numel() == flat.numel() and ref.storage.key not in viewed_keys:
            viewed_keys.add(ref.storage.key)
            tensors[name] = flat.view(ref.size)
        else:
            tensors[name] = view.clone(memory_format=torch.contiguous_format)
    refuse_non_finite(tensors)
    return tensors


def free_the_rest(tensors: Iterable[Tensor], contents: Contents, /) -> None:
    """Give back the memory of a file that none of these tensors views; they must be contiguous."""
    base = torch.frombuffer(contents.buffer, dtype=torch.uint8).data_ptr()
    starts = ((tensor.data_ptr() - base, tensor.numel() * tensor.element_size()) for tensor in tensors)
    contents.keep_only((start, start + size) for start, size in starts if size and 0 <= start < contents.size)


def _refuse_amplification(refs: Mapping[str, TensorRef], size: int, /) -> None:
    """Refuse a small file that describes large weights by using the same bytes again and again."""
    total = 0
    for name, ref in refs.items():
        if ref.storage.dtype not in DTYPES:
            raise RefusedInput(f"{name!a} has the dtype {ref.storage.dtype}; clipclean reads {', '.join(DTYPES)}.")
        if math.prod(max(length, 1) for length in ref.size) > MAX_ELEMENTS:
            raise UnsafeCheckpoint(f"{name!a} claims the shape {_shape(ref)}, larger than any layer of a CLIP.")
        total += math.prod(ref.size) * DTYPES[ref.storage.dtype].itemsize
    if total > 2 * size + SIZE_SLACK:
        raise UnsafeCheckpoint(f"its tensors claim {total:,} bytes of a file of {size:,}: it repeats the same numbers.")


def _storage(name: str, storage: Storage, records: Mapping[str, Record], contents: Contents, /) -> Tensor:
    """All elements of one storage, as a flat view of the file's memory (a copy where that is misaligned)."""
    record = records.get(storage.key)
    dtype = DTYPES[storage.dtype]
    if record is None:
        raise UnsafeCheckpoint(f"the numbers of {name!a} are missing from the file.")
    if record.size != storage.elements * dtype.itemsize:
        raise UnsafeCheckpoint(
            f"{name!a} has {record.size:,} bytes of numbers where {storage.elements:,} of {storage.dtype} need "
            f"{storage.elements * dtype.itemsize:,}."
        )
    if not record.size:
        return torch.empty(0, dtype=dtype)
    raw = contents.view()[record.start : record.start + record.size]
    if record.crc is not None and zlib.crc32(raw) != record.crc:
        raise damaged(f"the numbers of {name!a} are damaged: their checksum does not match")
    flat = torch.frombuffer(contents.buffer, dtype=torch.uint8, count=record.size, offset=record.start)
    if dtype is torch.bool and int(flat.max()) > 1:
        raise UnsafeCheckpoint(f"{name!a} is boolean, but holds other bytes than 0 and 1.")
    if record.start % dtype.itemsize:
        flat = flat.clone()
        contents.drop(record.start, record.start + record.size)
    return flat.view(dtype)


def _refuse_outside(name: str, ref: TensorRef, /) -> None:
    """Refuse a view that leaves its storage, or that shows one element in many places."""
    if len(ref.size) != len(ref.stride):
        raise UnsafeCheckpoint(f"{name!a} has {len(ref.size)} sizes but {len(ref.stride)} strides.")
    if any(length > 1 and step == 0 for length, step in zip(ref.size, ref.stride, strict=True)):
        raise UnsafeCheckpoint(f"{name!a} repeats elements (stride 0) in {_shape(ref)}. Save it with .contiguous().")
    elements = math.prod(ref.size)
    last = ref.offset + sum((length - 1) * step for length, step in zip(ref.size, ref.stride, strict=True) if length)
    if (
        (elements and last >= ref.storage.elements)
        or elements > ref.storage.elements
        or ref.offset > ref.storage.elements
    ):
        raise UnsafeCheckpoint(f"{name!a} of shape {_shape(ref)} reaches outside its {ref.storage.elements:,} numbers.")


def refuse_non_finite(tensors: Mapping[str, Tensor], /) -> None:
    """Name every tensor that holds NaN or an infinity."""
    # aminmax carries NaN and infinities through one pass without a copy; isfinite().all() takes 50 times as long.
    offenders = [
        name
        for name, tensor in tensors.items()
        if tensor.is_floating_point()
        and tensor.numel()
        and not all(torch.isfinite(end) for end in torch.aminmax(tensor))
    ]
    if offenders:
        raise RefusedInput(
            f"these tensors hold NaN or infinite values: {first_few(offenders)}. The training run "
            "diverged, or the file is damaged; use an earlier checkpoint."
        )


def _shape(ref: TensorRef, /) -> str:
    return "x".join(map(str, ref.size)) or "scalar"
