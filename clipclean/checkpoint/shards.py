"""A checkpoint in several files, and the index that says which tensor lies in which."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from clipclean import untrusted
from clipclean.checkpoint import contents
from clipclean.checkpoint.values import OddTensor, Pairs, TensorRef
from clipclean.errors import RefusedInput, UnsafeCheckpoint

SUFFIX = ".index.json"
MAX_INDEX = 4 * 2**20  # bytes; a CLIP of 1,000 tensors needs 0.1 MB
MAX_SHARDS = 1000


@dataclass(frozen=True)
class Index:
    """Which tensors each shard must hold, shards by their names; ``size`` and ``sha256`` are those of the index."""

    path: Path
    declared: dict[Path, frozenset[str]]
    size: int
    sha256: str


def read(path: Path, /) -> Index:
    """The index in a file, with every shard seen to be there.

    Raises:
        UnsafeCheckpoint: it points outside its own folder.
        RefusedInput: it is malformed, or shards are missing or too large together.
    """
    data = untrusted.read(path, limit=MAX_INDEX)
    placed = untrusted.loads(data, path.name, limit=MAX_INDEX).get("weight_map")
    if not isinstance(placed, dict) or not placed or not all(isinstance(name, str) for name in placed.values()):
        raise RefusedInput(f"{path.name} has no 'weight_map' from names of tensors to names of files.")
    declared: dict[str, set[str]] = {}
    for tensor, file in placed.items():
        declared.setdefault(file, set()).add(tensor)
    _refuse_places(path, sorted(declared))
    found = {path.parent / file: frozenset(declared[file]) for file in sorted(declared)}
    return Index(path, found, len(data), hashlib.sha256(data).hexdigest())


def listing(index: Index, digests: list[str], /) -> str:
    """What ``sha256sum INDEX SHARD...`` prints: one line a file, shards in the order of their names."""
    files = [index.path, *index.declared]
    return "".join(f"{digest}  {file.name}\n" for digest, file in zip([index.sha256, *digests], files, strict=True))


def merge(index: Index, roots: list[object], /) -> Pairs:
    """The values of all shards as one mapping, once each shard holds what the index declares and no tensor more.

    Raises:
        UnsafeCheckpoint: a shard holds a tensor that the index does not place there.
        RefusedInput: a shard holds no plain mapping, or lacks a tensor.
    """
    merged = Pairs()
    for (file, declared), root in zip(index.declared.items(), roots, strict=True):
        if not isinstance(root, Pairs):
            raise RefusedInput(f"{file.name} is no mapping of names to tensors, as the shards of a checkpoint are.")
        held = {str(name) for name, value in root.items if isinstance(value, TensorRef | OddTensor)}
        if surplus := sorted(held - declared):
            raise UnsafeCheckpoint(
                f"{file.name} holds {_listed(surplus)}, which {index.path.name} does not place there; readers differ "
                "in what they make of it."
            )
        if missing := sorted(declared - held):
            raise RefusedInput(
                f"{file.name} lacks {_listed(missing)}, which {index.path.name} places there: the files do not belong "
                "together. Download or copy them again."
            )
        merged.items.extend(root.items)
    return merged


def belongs_to(path: Path, /) -> Path | None:
    """The index in the same folder that lists this file as one of its shards, or None."""
    stem, dash, _ = path.stem.rpartition("-of-")
    if not dash:
        return None
    index = path.with_name(f"{stem.rpartition('-')[0]}{path.suffix}{SUFFIX}")
    return index if index.is_file() else None


def _refuse_places(path: Path, files: list[str], /) -> None:
    """Refuse shards that are elsewhere, missing, or too many."""
    if len(files) > MAX_SHARDS:
        raise RefusedInput(f"{path.name} names {len(files):,} files; no CLIP needs more than {MAX_SHARDS:,}.")
    outside = [file for file in files if not _is_plain(file)]
    if outside:
        raise UnsafeCheckpoint(
            f"{path.name} points at {_listed(outside)}; shards lie beside their index, under plain names."
        )
    missing = [file for file in files if not (path.parent / file).is_file()]
    if missing:
        raise RefusedInput(f"{path.name} names files that are not there: {_listed(missing)}. Download the rest.")
    size = sum((path.parent / file).stat().st_size for file in files)
    if size > contents.LARGEST:
        raise RefusedInput(f"its shards have {size:,} bytes, more than any CLIP checkpoint ({contents.LARGEST:,}).")


def _is_plain(file: str, /) -> bool:
    """Whether a name is that of a file in the same folder, on every system."""
    return file.isprintable() and 0 < len(file) <= 255 and not set(file) & set("/\\:") and file not in (".", "..")


def _listed(names: list[str], /) -> str:
    """At most five names, printable."""
    shown = ", ".join(ascii(name[:80]) for name in names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown
