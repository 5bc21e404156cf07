"""A checkpoint file or directory read into named tensors, executing nothing."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from clipclean.checkpoint import (
    container,
    contents,
    folders,
    kinds,
    layouts,
    legacy,
    opcodes,
    safetensors_file,
    tensors,
    torchscript,
)
from clipclean.checkpoint.values import Record
from clipclean.errors import RefusedInput, UnsafeCheckpoint

Format = Literal["torch-zip", "torchscript", "torch-legacy", "safetensors", "open_clip-directory"]
WAY_OUT = "Ask for the weights as safetensors, or re-save the state_dict alone from a source that you trust."
MAX_PICKLE = 64 * 2**20  # bytes of data.pkl; the largest CLIP with its optimizer needs 2 MB


@dataclass(frozen=True)
class Checkpoint:
    """The weights of a file, and what the file is.

    ``tensors`` are contiguous, finite, on the CPU, in their stored dtypes, and share no memory with each other; their
    names are without wrappers and prefixes. ``sha256`` and ``size`` (bytes) are those of ``weights``, the file that was
    read. ``config`` is the open_clip_config.json in the same folder. ``quick_gelu`` is True where a TorchScript archive
    names such a class, and None where the file does not tell. ``notes`` say what was left out.
    """

    path: Path
    weights: Path
    format: Format
    producer: str
    tensors: dict[str, Tensor]
    config: dict[str, object] | None
    sha256: str
    size: int
    quick_gelu: bool | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Parsed:
    """The value that a container holds, before its tensors are chosen."""

    root: object
    records: dict[str, Record]
    format: Format
    producer: str | None = None
    quick_gelu: bool | None = None
    dropped: tuple[str, ...] = ()


def read(path: Path, /) -> Checkpoint:
    """Read a CLIP checkpoint: torch.save (new and old), TorchScript, safetensors, or an open_clip directory.

    The format is told by content, never by suffix. Nothing in the file is imported, called or compiled. Peak memory is
    about the size of the file, and the time that of torch.load and one SHA-256 of the file.

    Raises:
        UnsafeCheckpoint: the file asks for more than weights, or contradicts itself.
        UnsupportedModel: it holds a model of another kind than CLIP with native towers.
        RefusedInput: it is missing, empty, truncated, unreadable, or its weights are not finite.
        ResourceError: it does not fit into memory.

    Example:
        >>> from pathlib import Path
        >>> from clipclean import checkpoint
        >>> found = checkpoint.read(Path("model.pt"))  # doctest: +SKIP
        >>> found.format, len(found.tensors)  # doctest: +SKIP
        ('torch-zip', 302)
    """
    try:
        place = folders.locate(path)
        kind = kinds.tell(contents.head(place.weights))
        file = contents.load(place.weights)
        parsed = READERS[kind](file.view())
        weights = layouts.weights(parsed.root)
        built = tensors.build(weights.tensors, parsed.records, file)
    except UnsafeCheckpoint as error:
        raise UnsafeCheckpoint(f"{path}: {error} {WAY_OUT}") from error
    except RefusedInput as error:
        raise type(error)(f"{path}: {error}") from error
    return Checkpoint(
        path=path,
        weights=place.weights,
        format="open_clip-directory" if place.is_directory else parsed.format,
        producer=_producer(place, parsed, weights),
        tensors=built,
        config=place.config,
        sha256=file.sha256,
        size=file.size,
        quick_gelu=parsed.quick_gelu,
        notes=_notes(place, parsed, weights),
    )


def digest(named: Mapping[str, Tensor], /) -> str:
    """Hex SHA-256 of tensors, the same for every container: over names, dtypes, shapes and little-endian bytes.

    Tensors count in the order of their names. Before the bytes of each comes one line of JSON,
    ``["name","float32",[2,3]]``.
    """
    found = hashlib.sha256()
    for name in sorted(named):
        tensor = named[name].detach().cpu().contiguous()
        header = [name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape)]
        found.update(json.dumps(header, separators=(",", ":")).encode() + b"\n")
        # A flat view first: a scalar has no axis to split into bytes.
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _zip(view: memoryview, /) -> _Parsed:
    """torch.save since 1.6, or a TorchScript archive."""
    found = container.members(view)
    is_script = "constants.pkl" in found or any(name.startswith("code/") for name in found)
    order = found.get("byteorder")
    if order is not None and container.small_member(view, order, limit=16) != b"little":
        raise RefusedInput("it was written on a big-endian machine. Re-save it on a common one.")
    data = container.small_member(view, found["data.pkl"], limit=MAX_PICKLE)
    pickled = opcodes.interpret(data, torchscript=is_script)
    storages = {name.removeprefix("data/"): entry for name, entry in found.items() if name.startswith("data/")}
    if any(entry.method != container.STORED for entry in storages.values()):
        raise RefusedInput(
            "its numbers are compressed, so the archive was repacked. Re-save the state_dict with torch.save."
        )
    records = {key: Record(entry.start, entry.size, container.stated_crc(entry)) for key, entry in storages.items()}
    if not is_script:
        return _Parsed(pickled.value, records, "torch-zip", dropped=pickled.dropped)
    return _Parsed(
        root=torchscript.flatten(pickled.value),
        records=records,
        format="torchscript",
        producer="TorchScript archive",
        quick_gelu=torchscript.names_quick_gelu(pickled.classes),
        dropped=pickled.dropped,
    )


def _pickle(view: memoryview, /) -> _Parsed:
    """torch.save before 1.6."""
    pickled, records = legacy.read(view)
    return _Parsed(pickled.value, records, "torch-legacy", dropped=pickled.dropped)


def _safetensors(view: memoryview, /) -> _Parsed:
    root, records = safetensors_file.read(view)
    return _Parsed(root, records, "safetensors", producer="safetensors file")


READERS = {"zip": _zip, "pickle": _pickle, "safetensors": _safetensors}


def _producer(place: folders.Place, parsed: _Parsed, weights: layouts.Weights, /) -> str:
    if place.is_directory:
        return f"open_clip directory, weights in {place.weights.name} ({parsed.format})"
    return parsed.producer or weights.producer


def _notes(place: folders.Place, parsed: _Parsed, weights: layouts.Weights, /) -> tuple[str, ...]:
    """What was skipped, dropped or added."""
    dropped = [f"contains {', '.join(parsed.dropped)}: read as inert data and dropped"] if parsed.dropped else []
    beside = place.config is not None and not place.is_directory
    config = [f"{folders.CONFIG} in the same folder describes it"] if beside else []
    return (*weights.notes, *dropped, *config)
