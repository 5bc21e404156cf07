"""Where the weights and the file that describes them are: in a directory, or beside a file."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clipclean import untrusted
from clipclean.checkpoint import shards
from clipclean.checkpoint.contents import cannot_read
from clipclean.errors import RefusedInput, UnsupportedModel

CONFIG = "open_clip_config.json"
MAX_CONFIG = 2**20  # bytes; real ones have about 1 kB
# open_clip's own order, then the suffixes that it overlooks.
WEIGHTS = tuple(
    f"{stem}.{suffix}"
    for suffix in ("safetensors", "bin", "pth", "pt")
    for stem in ("open_clip_model", "open_clip_pytorch_model")
)
HF_CONFIG = "config.json"
HF_WEIGHTS = tuple(  # transformers' own order
    f"{name}{suffix}" for name in ("model.safetensors", "pytorch_model.bin") for suffix in ("", shards.SUFFIX)
)
# What transformers 4 and 5 write about pictures; the second holds it in a section of this name.
HF_PREPROCESSOR, HF_PROCESSOR, HF_SECTION = "preprocessor_config.json", "processor_config.json", "image_processor"
PREPROCESSOR = "preprocessor_config"  # the key that it gets beside those of config.json
OTHER_KINDS = {
    "siglip": "It is trained with a sigmoid loss and has other towers than CLIP; clipclean does not clean it.",
    "siglip2": "It is trained with a sigmoid loss and has other towers than CLIP; clipclean does not clean it.",
    "clip_vision_model": "That is an image tower alone; name the whole CLIPModel.",
    "clip_text_model": "That is a text tower alone; name the whole CLIPModel.",
    "timm_wrapper": "That is an image tower of timm alone; name a whole CLIP model.",
}

Layout = Literal["open_clip", "transformers"]


@dataclass(frozen=True)
class Description:
    """A parsed configuration, and the name of the file that it stood in."""

    name: str
    config: dict[str, object]


@dataclass(frozen=True)
class Place:
    """The weights file or the index of its shards, what describes them, and the layout if a directory was named."""

    weights: Path
    index: shards.Index | None
    description: Description | None
    layout: Layout | None

    @property
    def files(self) -> list[Path]:
        """The files that hold tensors."""
        return list(self.index.declared) if self.index else [self.weights]


def locate(path: Path, /) -> Place:
    """Find the weights that ``path`` means.

    Raises:
        UnsupportedModel: the directory holds another kind of model.
        RefusedInput: it holds no weights, or its configuration or the index of its shards is unreadable.
    """
    try:
        return _in_directory(path) if path.is_dir() else _file(path)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise cannot_read(error) from error


def others(place: Place, /) -> list[Path]:
    """Further files in a named directory that open_clip or transformers would take for its weights."""
    if place.layout is None:
        return []
    folder = place.weights.parent
    known = (folder / name for name in (*WEIGHTS, *HF_WEIGHTS))
    return [path for path in known if os.path.lexists(path) and path not in (place.weights, *place.files)]


def transformers_description(folder: Path, /) -> Description | None:
    """The config.json of a CLIPModel in a folder, with what is said of its pictures; None where there is none.

    Raises:
        RefusedInput: one of the files is unreadable.
    """
    try:
        config = _json(folder / HF_CONFIG)
        if config is None or config.get("model_type") != "clip":
            return None
        pictures = _json(folder / HF_PREPROCESSOR)
        if pictures is None:
            pictures = (_json(folder / HF_PROCESSOR) or {}).get(HF_SECTION)  # type: ignore[assignment] # any JSON value; checked where it is used
        return Description(HF_CONFIG, config | {PREPROCESSOR: pictures})
    except OSError as error:
        raise cannot_read(error) from error


def _file(path: Path, /) -> Place:
    """A named file; an index of shards stands for the shards."""
    if path.name.endswith(shards.SUFFIX):
        return Place(path, shards.read(path), _open_clip_description(path.parent), None)
    if index := shards.belongs_to(path):
        raise RefusedInput(f"it is one of several shards. Name their index, {index.name}, or the directory.")
    return Place(path, None, _open_clip_description(path.parent), None)


def _in_directory(path: Path, /) -> Place:
    """The weights of a directory, open_clip's first."""
    ours = _open_clip_description(path)
    weights = _first(path, WEIGHTS)
    if ours is not None and weights is not None:
        return Place(weights, None, ours, "open_clip")
    theirs, weights = transformers_description(path), _first(path, HF_WEIGHTS)
    if theirs is not None and weights is not None:
        index = shards.read(weights) if weights.name.endswith(shards.SUFFIX) else None
        return Place(weights, index, theirs, "transformers")
    if ours is not None or theirs is not None:
        name, known = (CONFIG, WEIGHTS) if theirs is None else (HF_CONFIG, HF_WEIGHTS)
        raise RefusedInput(f"the directory has {name} but no weights beside it: none of {', '.join(known)}.")
    raise _undescribed(path)


def _open_clip_description(folder: Path, /) -> Description | None:
    config = _json(folder / CONFIG)
    return None if config is None else Description(CONFIG, config)


def _first(folder: Path, names: tuple[str, ...], /) -> Path | None:
    """The first of these files that is there."""
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _json(path: Path, /) -> dict[str, object] | None:
    """The object in a small JSON file, if the file exists."""
    if not path.is_file():
        return None
    return untrusted.loads(untrusted.read(path, limit=MAX_CONFIG), path.name, limit=MAX_CONFIG)


def _undescribed(path: Path, /) -> RefusedInput:
    """Why a directory that describes no CLIP is refused."""
    theirs = _json(path / HF_CONFIG)
    if theirs is not None:
        kind = "timm" if "architecture" in theirs else str(theirs.get("model_type", "unknown"))[:40]
        way = OTHER_KINDS.get(kind, "clipclean cleans CLIP: open_clip's native towers, or transformers' CLIPModel.")
        return UnsupportedModel(f"the directory is a model of type {kind!a}, without {CONFIG}. {way}")
    files = sorted(
        entry.name
        for entry in path.iterdir()
        if entry.suffix in {".pt", ".pth", ".bin", ".safetensors"} or entry.name.endswith(shards.SUFFIX)
    )
    hint = f" Name one of its files instead: {', '.join(map(ascii, files[:5]))}." if files else " It holds no weights."
    return RefusedInput(f"the directory has no {CONFIG} and no {HF_CONFIG}.{hint}")
