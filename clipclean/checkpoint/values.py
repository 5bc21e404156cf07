"""Inert values: the only objects that the bytes of a checkpoint can become before tensors are built.

None of them can be called, imported or hashed by content, so nothing in a file can make Python do work.
"""

from dataclasses import dataclass, field

# The dtypes of weights that are read, by their codes in safetensors files.
DTYPE_CODES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
DTYPE_CODES |= {"I64": "int64", "I32": "int32", "U8": "uint8", "BOOL": "bool"}
DTYPE_BYTES = {"float64": 8, "int64": 8, "complex64": 8, "complex128": 16, "float32": 4, "int32": 4, "qint32": 4}
DTYPE_BYTES |= {"float16": 2, "bfloat16": 2, "int16": 2, "int8": 1, "uint8": 1, "bool": 1, "qint8": 1, "quint8": 1}
UNUSUAL_DTYPE = "unusual-dtype"  # kind of a tensor that is honest, of numbers that are not read


@dataclass(frozen=True, slots=True, eq=False)
class Name:
    """An importable name that a pickle mentions, as text: it is never looked up."""

    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Storage:
    """A run of numbers that a pickle points at: ``elements`` values of ``dtype`` in the record ``key``, saved from ``device``."""

    dtype: str
    key: str
    elements: int
    device: str = "cpu"

    def is_same(self, other: "Storage", /) -> bool:
        """Whether both describe the same numbers in the same way."""
        return (self.dtype, self.key, self.elements, self.device) == (
            other.dtype,
            other.key,
            other.elements,
            other.device,
        )


@dataclass(frozen=True, slots=True, eq=False)
class TensorRef:
    """A tensor as described, not yet checked: offset, size and stride count elements of its storage."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class OddTensor:
    """A tensor of a kind that clipclean does not read, such as a sparse one; refused only where it is a weight."""

    kind: str


@dataclass(frozen=True, slots=True, eq=False)
class DroppedObject:
    """The place of an object that is not needed: its content was dropped while reading."""

    kind: str


@dataclass(slots=True, eq=False)
class Pairs:
    """A mapping as the list of its pairs.

    Not a dict: chosen keys can make a dict quadratic, and hashing a deeply nested tuple overflows the stack.
    """

    items: list[tuple[object, object]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Module:
    """One module of a TorchScript archive: its class by name, its attributes as pairs."""

    name: str
    state: Pairs | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """Where a storage lies in the file, in bytes; ``crc`` is its CRC-32, or None where the file states none."""

    start: int
    size: int
    crc: int | None = None
