"""Every kind of a CLIP file that is read, tiny, as other programs write it; wrappers and prefixes: tests/checkpoint."""

import json
import warnings

import safetensors.torch
import tiny
import torch
from open_clip.model import CLIP

from clipclean.checkpoint import layouts
from clipclean.export import open_clip_directory

CONFIG = tiny.SMALL_VIT | {"text_cfg": tiny.SMALL_VIT["text_cfg"] | {"width": 64}}  # heads of 64, as shapes tell
STATE = tiny.state_dict(CONFIG)


def theirs():
    return {name: tensor.clone() for name, tensor in layouts.from_open_clip(STATE).items()}


def prefixed(prefix):
    return {f"{prefix}{name}": tensor for name, tensor in STATE.items()}


def saved(path, value, **options):
    torch.save(value, path, **options)
    return path


def script(path):
    net = CLIP(**CONFIG, quick_gelu=True).eval()
    net.load_state_dict(STATE)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        inputs = (torch.zeros(1, 3, 16, 16), torch.zeros(1, 8, dtype=torch.long))
        torch.jit.save(torch.jit.trace(net, inputs, check_trace=False), path)
    return path


def transformers_config():
    vision = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 1, "num_attention_heads": 1}
    return {
        "model_type": "clip",
        "projection_dim": 8,
        "vision_config": vision | {"image_size": 16, "patch_size": 8},
        "text_config": vision | {"max_position_embeddings": 8},
    }


def transformers(folder, *, shards):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(transformers_config()))
    if shards == 1:
        safetensors.torch.save_file(theirs(), folder / "model.safetensors")
        return folder
    sharded(folder, theirs())
    return folder


def sharded(folder, tensors, *, write=safetensors.torch.save_file, stem="model", suffix="safetensors"):
    """Two files with every other tensor, and their index, which is named."""
    folder.mkdir(exist_ok=True)
    placed = {name: f"{stem}-0000{1 + number % 2}-of-00002.{suffix}" for number, name in enumerate(tensors)}
    for file in set(placed.values()):
        write({name: tensors[name] for name in placed if placed[name] == file}, folder / file)
    index = folder / f"{stem}.{suffix}.index.json"
    told = {"total_size": sum(tensor.nbytes for tensor in tensors.values())}
    index.write_text(json.dumps({"metadata": told, "weight_map": placed}))
    return index


BIN = {"write": torch.save, "stem": "pytorch_model", "suffix": "bin"}  # of transformers before version 5


def open_clip_folder(folder):
    folder.mkdir()
    open_clip_directory.write(folder, STATE, model_cfg=CONFIG | {"quick_gelu": True}, preprocess_cfg={"size": 16})
    return folder


def training(prefix="module."):
    return {"epoch": 1, "name": "x", "state_dict": prefixed(prefix), "optimizer": {"state": {}}, "scaler": {}}


OTHER = {"a": torch.zeros(1)}


def safe(path, tensors):
    safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})
    return path


def zipped(make, weights=None):
    """What ``torch.save`` writes today of what is made."""
    return lambda f: saved(f / "m.pt", make()), "torch-zip", weights


def legacy(make):
    return lambda f: saved(f / "m.pt", make(), _use_new_zipfile_serialization=False), "torch-legacy", None


READ = {  # what writes it into a folder, the format, and the choice of weights
    "torch.save": zipped(lambda: STATE),
    "torch.save before 1.6": legacy(lambda: STATE),
    "TorchScript": (lambda f: script(f / "m.pt"), "torchscript", None),
    "safetensors": (lambda f: safe(f / "m.safetensors", STATE), "safetensors", None),
    "safetensors in shards": (lambda f: sharded(f / "m", STATE), "safetensors", None),
    "transformers directory": (lambda f: transformers(f / "m", shards=1), "transformers-directory", None),
    "transformers directory in shards": (lambda f: transformers(f / "m", shards=2), "transformers-directory", None),
    "transformers state dict": zipped(theirs),
    "open_clip directory": (lambda f: open_clip_folder(f / "m"), "open_clip-directory", None),
    "open_clip training": zipped(training),
    "average by its short name": zipped(lambda: {"model": OTHER, "model_ema": STATE}, "ema"),
    "prefix clip.": zipped(lambda: prefixed("clip.")),
}
