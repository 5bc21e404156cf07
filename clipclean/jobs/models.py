"""Which models several arguments stand for: files, names, folders that are a model, and folders that hold models."""

import itertools
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from clipclean.errors import UsageError
from clipclean.jobs import names

CONFIGS = ("open_clip_config.json", "config.json")  # of open_clip's and transformers' folders
INDEX, SHARD = ".index.json", re.compile(r"-[0-9]+-of-[0-9]+\.")
SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".safetensors")
MOST = 1000  # models of one command


def expanded(given: Sequence[Path], /) -> list[Path]:
    """The models in the order of the arguments; those of a folder sorted, links left out.

    A folder without any stays as it is: whoever reads it says why it is no model.

    Raises:
        UsageError: there are too many.
    """
    found = [model for path in given for model in _models(path)]
    models = list(dict.fromkeys(found))
    if len(models) > MOST:
        raise UsageError(f"These are more than {MOST:,} models. Name fewer at once, or a folder with fewer.")
    return models


def _models(path: Path) -> list[Path]:
    if names.is_name(path) or not _is_folder(path) or _is_model(path):
        return [path]
    return sorted(itertools.islice(_inside(path), MOST + 1)) or [path]


def _inside(folder: Path) -> Iterator[Path]:
    """Folders that are models, and files elsewhere that look like weights; of shards their index."""
    for place, inner, files in os.walk(folder):
        here = Path(place)
        described = [name for name in inner if _is_model(here / name)]
        inner[:] = [name for name in inner if name not in described]
        yield from (here / name for name in described if not (here / name).is_symlink())
        indexed = any(name.endswith(INDEX) for name in files)
        for name in files:
            is_weights = name.endswith(INDEX) or (name.endswith(SUFFIXES) and not (indexed and SHARD.search(name)))
            if is_weights and not (here / name).is_symlink():
                yield here / name


def _is_model(folder: Path) -> bool:
    """Whether a folder describes one model, which its own reader then judges."""
    return any((folder / name).is_file() for name in CONFIGS)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
