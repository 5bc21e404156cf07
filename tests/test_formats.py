"""Every layout of a CLIP, from the file to the terminal and to the model; and every other kind, refused by name."""

import json
import tarfile
import warnings

import numpy as np
import pytest
import safetensors.torch
import tiny
import torch
from open_clip.model import CLIP

from clipclean import checkpoint, cli
from clipclean.checkpoint import layouts
from clipclean.export import open_clip_directory
from clipclean.jobs import inputs

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


def sharded(folder, tensors):
    """Two safetensors files and their index, which is named."""
    folder.mkdir(exist_ok=True)
    placed = {}
    for number in (1, 2):
        file = f"model-{number:05}-of-00002.safetensors"
        some = dict(list(tensors.items())[number - 1 :: 2])
        safetensors.torch.save_file(some, folder / file)
        placed |= dict.fromkeys(some, file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": placed}))
    return index


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
    "training before 1.6": legacy(training),
    "TorchScript": (lambda f: script(f / "m.pt"), "torchscript", None),
    "safetensors": (lambda f: safe(f / "m.safetensors", STATE), "safetensors", None),
    "safetensors in shards": (lambda f: sharded(f / "m", STATE), "safetensors", None),
    "transformers directory": (lambda f: transformers(f / "m", shards=1), "transformers-directory", None),
    "transformers directory in shards": (lambda f: transformers(f / "m", shards=2), "transformers-directory", None),
    "transformers state dict": zipped(theirs),
    "transformers state dict as safetensors": (lambda f: safe(f / "m.safetensors", theirs()), "safetensors", None),
    "open_clip directory": (lambda f: open_clip_folder(f / "m"), "open_clip-directory", None),
    "open_clip training": zipped(training),
    "wrapper model": zipped(lambda: {"model": STATE}),
    "wrapper model_state_dict": zipped(lambda: {"model_state_dict": STATE}),
    "average by choice": zipped(lambda: {"state_dict": OTHER, "state_dict_ema": STATE}, "state_dict_ema"),
    "average by its short name": zipped(lambda: {"model": OTHER, "model_ema": STATE}, "ema"),
    "model by choice": zipped(lambda: {"state_dict": OTHER, "model": STATE}, "model"),
    **{
        f"prefix {prefix}": zipped(lambda prefix=prefix: prefixed(prefix))
        for prefix in ("module.", "_orig_mod.", "module._orig_mod.", "model.", "clip.")
    },
}


def inspected(capsys, path, *more):
    code = cli.main(["inspect", str(path), "--json", *more])
    out, err = capsys.readouterr()
    return code, json.loads(out), err


@pytest.mark.parametrize("layout", READ)
def test_every_layout_is_inspected_and_becomes_the_same_model(tmp_path, capsys, layout):
    write, kind, weights = READ[layout]
    path = write(tmp_path)
    choice = [] if weights is None else ["--weights", weights]
    code, found, err = inspected(capsys, path, *choice)
    assert (code, err) == (0, "")
    assert found["format"] == kind
    assert found["tensor_sha256"] == checkpoint.digest(STATE)
    assert found["tensors"]["tensors"] == len(STATE)
    assert found["preprocess"]["size"] == 16
    arch = tiny.written(tmp_path / "arch.json", json.dumps(CONFIG | {"quick_gelu": True}))
    opened = inputs.read(path, arch=str(arch), weights=weights)
    assert opened.file.tensors.keys() == STATE.keys()
    assert opened.architecture.quick_gelu is True


@pytest.mark.parametrize("layout", ["transformers directory", "open_clip directory"])
def test_a_config_beside_the_weights_tells_the_activation(tmp_path, capsys, layout):
    code, found, _ = inspected(capsys, READ[layout][0](tmp_path))
    assert (code, found["activation"]["name"]) == (0, "quick_gelu")


def archive(path):
    """What torch.save wrote before PyTorch 0.4."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as target:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            (path.parent / name).write_bytes(b"\x80\x02}.")
            target.add(path.parent / name, name)
    return path


def described(folder, config):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    safetensors.torch.save_file({"a": torch.zeros(1)}, folder / "model.safetensors")
    return folder


def numpy(path):
    np.savez(path, **{"params/img/embedding/kernel": np.zeros((2, 2))})
    return path


def with_tensor(folder, name):
    return saved(folder / "m.pt", STATE | {name: torch.zeros(1)})


def of_type(name):
    return lambda f: described(f / "m", {"model_type": name})


REFUSED = {  # what writes it, and how it is called
    "SigLIP": (lambda f: with_tensor(f, "logit_bias"), "SigLIP"),
    "SigLIP directory": (of_type("siglip2"), "sigmoid"),
    "timm": (lambda f: with_tensor(f, "visual.trunk.norm.weight"), "timm"),
    "timm directory": (lambda f: described(f / "m", {"architecture": "vit_base_patch16_224"}), "timm"),
    "text tower": (lambda f: with_tensor(f, "text.transformer.embeddings.word_embeddings.weight"), "Hugging Face"),
    "CoCa": (lambda f: with_tensor(f, "text_decoder.ln_final.weight"), "CoCa"),
    "big_vision": (lambda f: numpy(f / "m.npz"), "big_vision"),
    "legacy tar": (lambda f: archive(f / "m.pt"), "tar archive"),
    "image tower alone": (of_type("clip_vision_model"), "image tower"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_every_other_kind_is_refused_by_name(tmp_path, capsys, kind):
    write, named = REFUSED[kind]
    code, found, err = inspected(capsys, write(tmp_path))
    assert (code, found.keys(), found["kind"]) == (3, {"name", "error", "kind"}, "unsupported")
    assert named in found["error"]
    assert found["error"] in err


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("logit_scale", 50.0, 3),  # training never reaches it
        ("logit_scale", -0.5, 3),
        ("logit_scale", 4.6052, 0),
        ("visual.backdoor.weight", 0.0, 3),
    ],
)
def test_a_tensor_that_no_clip_has_is_named(tmp_path, capsys, name, value, code):
    path = saved(tmp_path / "m.pt", STATE | {name: torch.tensor(value)})
    found = inspected(capsys, path)
    assert found[0] == code
    assert code == 0 or name in found[1]["error"]
