"""Where the weights and their open_clip_config.json are: in a directory, or beside a file."""

from dataclasses import dataclass
from pathlib import Path

from clipclean.checkpoint import strict_json
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


@dataclass(frozen=True)
class Place:
    """The weights file, the parsed configuration if there is one, and whether a directory was named."""

    weights: Path
    config: dict[str, object] | None
    is_directory: bool


def locate(path: Path, /) -> Place:
    """Find the weights that ``path`` means.

    Raises:
        UnsupportedModel: the directory belongs to transformers.
        RefusedInput: it holds no open_clip weights, or its configuration is unreadable.
    """
    try:
        if not path.is_dir():
            return Place(path, _config(path.parent / CONFIG), is_directory=False)
        config = _config(path / CONFIG)
        if config is None:
            raise _no_config(path)
        found = next((path / name for name in WEIGHTS if (path / name).is_file()), None)
        if found is None:
            raise RefusedInput(f"the directory has {CONFIG} but no weights beside it: none of {', '.join(WEIGHTS)}.")
        return Place(found, config, is_directory=True)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise cannot_read(error) from error


def _config(path: Path, /) -> dict[str, object] | None:
    """The configuration, if the file exists."""
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        return strict_json.loads(stream.read(MAX_CONFIG + 1), path.name, limit=MAX_CONFIG)


def _no_config(path: Path, /) -> RefusedInput:
    """Why a directory without open_clip_config.json is refused."""
    hf = _config(path / HF_CONFIG)
    if hf is not None:
        kind = str(hf.get("model_type", "unknown"))[:40]
        way = (
            "Convert it to open_clip first, and name the directory that holds open_clip_config.json."
            if kind == "clip"
            else "clipclean cleans CLIP models with native open_clip towers."
        )
        return UnsupportedModel(f"the directory is a transformers model of type {kind!a}, without {CONFIG}. {way}")
    files = sorted(entry.name for entry in path.iterdir() if entry.suffix in {".pt", ".pth", ".bin", ".safetensors"})
    hint = f" Name one of its files instead: {', '.join(map(ascii, files[:5]))}." if files else " It holds no weights."
    return RefusedInput(f"the directory has no {CONFIG}.{hint}")
