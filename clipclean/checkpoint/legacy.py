"""Checkpoints of torch.save before PyTorch 1.6: five pickles, then the storages in sequence."""

import struct

from clipclean.checkpoint.opcodes import MAX_PICKLE, Pickled, interpret
from clipclean.checkpoint.values import BYTES, Pairs, Record, Storage
from clipclean.errors import RefusedInput, UnsafeCheckpoint, truncated

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001


def read(view: memoryview, /) -> tuple[Pickled, dict[str, Record]]:
    """The value of the main pickle, and where each storage lies.

    Raises:
        UnsafeCheckpoint: a pickle holds more than weights, or the storages contradict it.
        RefusedInput: torch.save did not write this, or it is truncated.
    """
    magic = _pickle(view, 0)
    if magic.value != MAGIC:
        raise RefusedInput(
            "it is a Python pickle that torch.save did not write. Save model.state_dict() by torch.save."
        )
    protocol = _pickle(view, magic.end)
    system = _pickle(view, protocol.end)
    told = system.value.items if isinstance(system.value, Pairs) else []
    if protocol.value != PROTOCOL or not any(key == "little_endian" and value is True for key, value in told):
        raise RefusedInput("it was written by an unknown version of torch.save. Re-save it with a current one.")
    main = _pickle(view, system.end)
    keys = _pickle(view, main.end)
    return main, _records(view, keys, {storage.key: storage for storage in main.storages})


def _pickle(view: memoryview, start: int, /) -> Pickled:
    """One pickle of the series; its end counts from the start of the file."""
    found = interpret(bytes(view[start : start + MAX_PICKLE]))
    return Pickled(found.value, start + found.end, found.classes, found.dropped, found.storages)


def _records(view: memoryview, keys: Pickled, storages: dict[str, Storage], /) -> dict[str, Record]:
    """Walk the storages in the order of their keys: each is a count of elements, then its bytes."""
    if not isinstance(keys.value, list) or not all(isinstance(key, str) for key in keys.value):
        raise UnsafeCheckpoint("its list of storages is malformed.")
    records: dict[str, Record] = {}
    at = keys.end
    for key in keys.value:
        storage = storages.get(key)
        if storage is None or storage.dtype not in BYTES or key in records:
            raise UnsafeCheckpoint(f"its list of storages names {key[:40]!a}, which no tensor uses, or names it twice.")
        if at + 8 > len(view):
            raise truncated("it ends before its last storage")
        elements = struct.unpack_from("<q", view, at)[0]
        size = elements * BYTES[storage.dtype]
        if elements != storage.elements:
            told = f"storage {key[:40]!a} has {elements:,} elements"
            raise UnsafeCheckpoint(f"{told}, and not {storage.elements:,} as stated.")
        if at + 8 + size > len(view):
            raise truncated("it ends inside a storage")
        records[key] = Record(at + 8, size)
        at += 8 + size
    if at != len(view):
        raise UnsafeCheckpoint(f"{len(view) - at:,} bytes follow its last storage, which torch.save never writes.")
    return records
