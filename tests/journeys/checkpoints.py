"""Checkpoints as other programs write them, tiny: each function writes one and returns what a user would name on the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import hub_cache
import tiny
import torch
from safetensors.torch import save_file

PREPROCESS = {"size": 16, "mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bicubic", "resize_mode": "shortest"}
ARCH = tiny.SMALL_VIT | {"quick_gelu": False}


def weights() -> dict[str, torch.Tensor]:
    return tiny.state_dict(tiny.SMALL_VIT, seed=5)


def plain(folder: Path) -> Path:
    """``torch.save(model.state_dict())``."""
    torch.save(weights(), folder / "model.pt")
    return folder / "model.pt"


def trained(folder: Path) -> Path:
    """As open_clip's trainer writes it, from several processes."""
    state = {f"module.{name}": tensor for name, tensor in weights().items()}
    optimizer = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-3, "params": [0]}]}
    torch.save({"epoch": 3, "name": "run", "state_dict": state, "optimizer": optimizer}, folder / "epoch_3.pt")
    return folder / "epoch_3.pt"


def half(folder: Path) -> Path:
    """Weights in half precision."""
    torch.save({name: tensor.half() for name, tensor in weights().items()}, folder / "half.pth")
    return folder / "half.pth"


def safetensors(folder: Path) -> Path:
    """One file of safetensors."""
    save_file({name: tensor.contiguous() for name, tensor in weights().items()}, folder / "model.safetensors")
    return folder / "model.safetensors"


def local_dir(folder: Path) -> Path:
    """The folder that open_clip loads as ``local-dir:``."""
    folder = folder / "local"
    folder.mkdir()
    save_file({name: tensor.contiguous() for name, tensor in weights().items()}, folder / "open_clip_model.safetensors")
    config = {"model_cfg": ARCH, "preprocess_cfg": PREPROCESS}
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def cached(folder: Path) -> str:
    """A model in the cache of the Hugging Face hub, by its name."""
    for path in local_dir(folder).iterdir():
        hub_cache.put(folder / "hub" / "models--org--tiny", path.name, path.read_bytes())
    return "hf-hub:org/tiny"


def transformers_folder(folder: Path, **settings: str) -> Path:
    """What ``CLIPModel.save_pretrained`` writes."""
    import transformers

    tower = {"num_hidden_layers": 1, "hidden_act": "quick_gelu"}
    text = {**tower, "hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "max_position_embeddings": 8}
    vision = {**tower, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "image_size": 16}
    vision["patch_size"] = 8
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        transformers.CLIPModel(config).save_pretrained(folder / "clip", **settings)
    return folder / "clip"


def sharded(folder: Path) -> Path:
    """The same in several files with an index."""
    return transformers_folder(folder, max_shard_size="50KB")


CHECKPOINTS: dict[str, Callable[[Path], Path | str]] = {
    "plain state dict": plain,
    "open_clip trainer": trained,
    "half precision": half,
    "safetensors": safetensors,
    "local-dir": local_dir,
    "hub cache": cached,
    "transformers": transformers_folder,
    "sharded transformers": sharded,
}
NEEDS_ARCH = ("plain state dict", "open_clip trainer", "half precision", "safetensors")  # nothing beside them says it
