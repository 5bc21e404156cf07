"""Locating weights, shards of an index, and the config file that describes them."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clipclean import untrusted
from clipclean.checkpoint import contents
from clipclean.checkpoint.contents import cannot_read
from clipclean.checkpoint.values import OddTensor, Pairs, TensorRef
from clipclean.errors import RefusedInput, UnsafeCheckpoint, UnsupportedModel, absurd, damaged

INDEX_SUFFIX = ".index.json"
MAX_INDEX = 4 * 2**20  # bytes; a CLIP of 1,000 tensors needs 0.1 MB
MAX_SHARDS = 1000


@dataclass(frozen=True)
class Index:
    """Which tensors each shard must hold, shards by their names; ``size`` and ``sha256`` are those of the index."""

    path: Path
    shards: dict[Path, frozenset[str]]
    size: int
    sha256: str


def read(path: Path, /) -> Index:
    """The index in a file, with every shard seen to be there.

    Raises:
        UnsafeCheckpoint: it points outside its own folder.
        RefusedInput: it is malformed, or shards are missing or too large together.
    """
    data = untrusted.read(path, limit=MAX_INDEX)
    weight_map = untrusted.loads(data, path.name, limit=MAX_INDEX).get("weight_map")
    if (
        not isinstance(weight_map, dict)
        or not weight_map
        or not all(isinstance(name, str) for name in weight_map.values())
    ):
        raise RefusedInput(f"{path.name} has no 'weight_map' from names of tensors to names of files.")
    names_by_file: dict[str, set[str]] = {}
    for tensor, file in weight_map.items():
        names_by_file.setdefault(file, set()).add(tensor)
    _refuse_ambiguous(path, sorted(names_by_file))
    shards = {path.parent / file: frozenset(names_by_file[file]) for file in sorted(names_by_file)}
    return Index(path, shards, len(data), hashlib.sha256(data).hexdigest())


def merge(index: Index, roots: list[object], /) -> Pairs:
    """The values of all shards as one mapping, once each shard holds what the index declares and no tensor more.

    Raises:
        UnsafeCheckpoint: a shard holds a tensor that the index does not place there.
        RefusedInput: a shard holds no plain mapping, or lacks a tensor.
    """
    values = Pairs()
    for (file, names_in_index), root in zip(index.shards.items(), roots, strict=True):
        if not isinstance(root, Pairs):
            raise RefusedInput(f"{file.name} is not a mapping of names to tensors, as the shards of a checkpoint are.")
        names_in_file = {str(name) for name, value in root.items if isinstance(value, TensorRef | OddTensor)}
        if surplus := sorted(names_in_file - names_in_index):
            problem = f"{file.name} holds {untrusted.first_few(surplus)}, which {index.path.name} does not place there"
            raise UnsafeCheckpoint(f"{problem}; readers differ in what they make of it.")
        if missing := sorted(names_in_index - names_in_file):
            problem = f"{file.name} lacks {untrusted.first_few(missing)}, which {index.path.name} places there"
            raise damaged(f"{problem}: the files do not belong together")
        values.items.extend(root.items)
    return values


def index_of(path: Path, /) -> Path | None:
    """The index in the same folder that lists this file as one of its shards, or None."""
    stem, dash, _ = path.stem.rpartition("-of-")
    if not dash:
        return None
    index = path.with_name(f"{stem.rpartition('-')[0]}{path.suffix}{INDEX_SUFFIX}")
    return index if index.is_file() else None


def _refuse_ambiguous(path: Path, files: list[str], /) -> None:
    """Refuse shards that are elsewhere, missing, or too many."""
    if len(files) > MAX_SHARDS:
        raise absurd(f"{path.name} names {len(files):,} files", MAX_SHARDS)
    # A name is plain if it is that of a file in the same folder on every system.
    if outside := [
        f for f in files if not (f.isprintable() and 0 < len(f) <= 255) or set(f) & set("/\\:") or f in (".", "..")
    ]:
        raise UnsafeCheckpoint(
            f"{path.name} points at {untrusted.first_few(outside)}; shards must be in the folder of their index, under plain names."
        )
    if missing := [file for file in files if not (path.parent / file).is_file()]:
        raise RefusedInput(
            f"{path.name} names files that are not there: {untrusted.first_few(missing)}. Download the rest."
        )
    size = sum((path.parent / file).stat().st_size for file in files)
    if size > contents.LARGEST_BYTES:
        raise RefusedInput(
            f"its shards have {size:,} bytes, more than any CLIP checkpoint ({contents.LARGEST_BYTES:,})."
        )


OPEN_CLIP_CONFIG = "open_clip_config.json"
MAX_CONFIG = 2**20  # bytes; real ones have about 1 kB
# open_clip's own order, then the suffixes that it overlooks.
_STEMS = ("open_clip_model", "open_clip_pytorch_model")
OPEN_CLIP_WEIGHTS = tuple(f"{stem}.{suffix}" for suffix in ("safetensors", "bin", "pth", "pt") for stem in _STEMS)
HF_CONFIG = "config.json"
# transformers' own order
HF_WEIGHTS = tuple(
    f"{name}{suffix}" for name in ("model.safetensors", "pytorch_model.bin") for suffix in ("", INDEX_SUFFIX)
)
# The files for images of transformers 4 and 5; in the second they are a section of this name.
HF_PREPROCESSOR, HF_PROCESSOR, HF_SECTION = "preprocessor_config.json", "processor_config.json", "image_processor"
PREPROCESSOR_KEY = "preprocessor_config"  # the key that it gets beside those of config.json
OTHER_KINDS = {
    "siglip": "It is trained with a sigmoid loss and has other towers than CLIP; clipclean does not clean it.",
    "siglip2": "It is trained with a sigmoid loss and has other towers than CLIP; clipclean does not clean it.",
    "clip_vision_model": "That is an image tower alone; name the whole CLIPModel.",
    "clip_text_model": "That is a text tower alone; name the whole CLIPModel.",
    "timm_wrapper": "That is an image tower of timm alone; name a whole CLIP model.",
}

Layout = Literal["open_clip-directory", "transformers-directory"]


@dataclass(frozen=True)
class Description:
    """A parsed configuration, and the name of the file that it stood in."""

    name: str
    config: dict[str, object]


@dataclass(frozen=True)
class WeightsLocation:
    """The weights file or the index of its shards, what describes them, and the layout if a directory was named."""

    weights: Path
    index: Index | None
    description: Description | None
    layout: Layout | None

    @property
    def files(self) -> list[Path]:
        """The files that hold tensors."""
        return list(self.index.shards) if self.index else [self.weights]

    def description_for(self, library: str, /) -> Description | None:
        """What describes weights that are called by the names of a library, also where a file was named and not its folder."""
        return self.description or (
            transformers_description(self.weights.parent) if library == "transformers" else None
        )


def locate(path: Path, /) -> WeightsLocation:
    """Find the weights that ``path`` means.

    Raises:
        UnsupportedModel: the directory holds another kind of model.
        RefusedInput: it holds no weights, or its configuration or the index of its shards is unreadable.
    """
    try:
        if path.is_dir():
            return _in_directory(path)
        is_index = path.name.endswith(INDEX_SUFFIX)  # it stands for the shards
        if not is_index and (index := index_of(path)):
            raise RefusedInput(f"it is one of several shards. Name their index, {index.name}, or the directory.")
        return WeightsLocation(path, read(path) if is_index else None, _open_clip_description(path.parent), None)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise cannot_read(error) from error


def further_weights(location: WeightsLocation, /) -> list[Path]:
    """Further files in a named directory that open_clip or transformers would take for its weights."""
    if location.layout is None:
        return []
    folder = location.weights.parent
    candidates = (folder / name for name in (*OPEN_CLIP_WEIGHTS, *HF_WEIGHTS))
    return [path for path in candidates if os.path.lexists(path) and path not in (location.weights, *location.files)]


def transformers_description(folder: Path, /) -> Description | None:
    """The config.json of a CLIPModel in a folder, with what is said of its images; None where there is none.

    Raises:
        RefusedInput: one of the files is unreadable.
    """
    try:
        config = _json(folder / HF_CONFIG)
        if config is None or config.get("model_type") != "clip":
            return None
        preprocessor = _json(folder / HF_PREPROCESSOR)
        if preprocessor is None:
            preprocessor = (_json(folder / HF_PROCESSOR) or {}).get(HF_SECTION)  # type: ignore[assignment] # checked where used
        return Description(HF_CONFIG, config | {PREPROCESSOR_KEY: preprocessor})
    except OSError as error:
        raise cannot_read(error) from error


def _in_directory(path: Path, /) -> WeightsLocation:
    """The weights of a directory, open_clip's first."""
    ours = _open_clip_description(path)
    weights = _first(path, OPEN_CLIP_WEIGHTS)
    if ours is not None and weights is not None:
        return WeightsLocation(weights, None, ours, "open_clip-directory")
    theirs, weights = transformers_description(path), _first(path, HF_WEIGHTS)
    if theirs is not None and weights is not None:
        index = read(weights) if weights.name.endswith(INDEX_SUFFIX) else None
        return WeightsLocation(weights, index, theirs, "transformers-directory")
    if ours is not None or theirs is not None:
        name, weight_names = (OPEN_CLIP_CONFIG, OPEN_CLIP_WEIGHTS) if theirs is None else (HF_CONFIG, HF_WEIGHTS)
        raise RefusedInput(f"the directory has {name} but no weights beside it: none of {', '.join(weight_names)}.")
    raise _refusal(path)


def transformers_weights(folder: Path, /) -> Path | None:
    """The file that transformers takes for a CLIPModel from a folder; None where it finds no such model there, or cannot read what describes it."""
    try:
        return _first(folder, HF_WEIGHTS) if transformers_description(folder) else None
    except RefusedInput:
        return None


def _open_clip_description(folder: Path, /) -> Description | None:
    config = _json(folder / OPEN_CLIP_CONFIG)
    return None if config is None else Description(OPEN_CLIP_CONFIG, config)


def _first(folder: Path, names: tuple[str, ...], /) -> Path | None:
    """The first of these files that is there."""
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _json(path: Path, /) -> dict[str, object] | None:
    """The object in a small JSON file, if the file exists."""
    if not path.is_file():
        return None
    return untrusted.loads(untrusted.read(path, limit=MAX_CONFIG), path.name, limit=MAX_CONFIG)


def _refusal(path: Path, /) -> RefusedInput:
    """Why a directory that describes no CLIP is refused."""
    theirs = _json(path / HF_CONFIG)
    if theirs is not None:
        kind = "timm" if "architecture" in theirs else str(theirs.get("model_type", "unknown"))[:40]
        way = OTHER_KINDS.get(kind, "clipclean cleans CLIP: open_clip's native towers, or transformers' CLIPModel.")
        return UnsupportedModel(f"the directory is a model of type {kind!a}, without {OPEN_CLIP_CONFIG}. {way}")
    files = sorted(
        entry.name
        for entry in path.iterdir()
        if entry.suffix in {".pt", ".pth", ".bin", ".safetensors"} or entry.name.endswith(INDEX_SUFFIX)
    )
    hint = f" Name one of its files instead: {untrusted.first_few(files)}." if files else " It holds no weights."
    return RefusedInput(f"the directory has no {OPEN_CLIP_CONFIG} and no {HF_CONFIG}.{hint}")
