"""Inert values: the only objects that the bytes of a checkpoint can become before tensors are built.

None of them can be called, imported or hashed by content, so nothing in a file can make Python do work.
"""

from dataclasses import dataclass, field

UNUSUAL = "unusual-dtype"  # kind of a tensor that is honest, of numbers that are not read


@dataclass(frozen=True, slots=True, eq=False)
class Name:
    """An importable name that a pickle mentions, as text: it is never looked up."""

    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Storage:
    """A run of numbers that a pickle points at: ``elements`` values of ``dtype`` in the record ``key``."""

    dtype: str
    key: str
    elements: int


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
