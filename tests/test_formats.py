"""Every layout of a CLIP, from the file to the terminal and to the model; and every other kind, refused by name."""

import json
import tarfile
import warnings

import numpy as np
import pytest
import safetensors.torch
import tiny
import torch
from cases import each
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


SAFE = {"metadata": {"format": "pt"}}
READ = {  # what writes it into a folder, the format, and the choice of weights
    "torch.save": (lambda f: saved(f / "m.pt", STATE), "torch-zip", None),
    "torch.save before 1.6": (
        lambda f: saved(f / "m.pt", STATE, _use_new_zipfile_serialization=False),
        "torch-legacy",
        None,
    ),
    "training before 1.6": (
        lambda f: saved(f / "m.pt", training(), _use_new_zipfile_serialization=False),
        "torch-legacy",
        None,
    ),
    "TorchScript": (lambda f: script(f / "m.pt"), "torchscript", None),
    "safetensors": (
        lambda f: safetensors.torch.save_file(STATE, f / "m.safetensors", **SAFE) or f / "m.safetensors",
        "safetensors",
        None,
    ),
    "safetensors in shards": (lambda f: sharded(f / "m", STATE), "safetensors", None),
    "transformers directory": (lambda f: transformers(f / "m", shards=1), "transformers-directory", None),
    "transformers directory in shards": (lambda f: transformers(f / "m", shards=2), "transformers-directory", None),
    "transformers state dict": (lambda f: saved(f / "m.bin", theirs()), "torch-zip", None),
    "transformers state dict as safetensors": (
        lambda f: safetensors.torch.save_file(theirs(), f / "m.safetensors") or f / "m.safetensors",
        "safetensors",
        None,
    ),
    "open_clip directory": (lambda f: open_clip_folder(f / "m"), "open_clip-directory", None),
    "open_clip training": (lambda f: saved(f / "m.pt", training()), "torch-zip", None),
    "wrapper model": (lambda f: saved(f / "m.pt", {"model": STATE}), "torch-zip", None),
    "wrapper model_state_dict": (lambda f: saved(f / "m.pt", {"model_state_dict": STATE}), "torch-zip", None),
    "wrapper state_dict_ema by choice": (
        lambda f: saved(f / "m.pt", {"state_dict": {"a": torch.zeros(1)}, "state_dict_ema": STATE}),
        "torch-zip",
        "state_dict_ema",
    ),
    "average by its short name": (
        lambda f: saved(f / "m.pt", {"model": {"a": torch.zeros(1)}, "model_ema": STATE}),
        "torch-zip",
        "ema",
    ),
    "model by choice": (
        lambda f: saved(f / "m.pt", {"state_dict": {"a": torch.zeros(1)}, "model": STATE}),
        "torch-zip",
        "model",
    ),
    **{
        f"prefix {prefix}": (lambda f, prefix=prefix: saved(f / "m.pt", prefixed(prefix)), "torch-zip", None)
        for prefix in ("module.", "_orig_mod.", "module._orig_mod.", "model.", "clip.")
    },
}


def inspected(capsys, path, *more):
    code = cli.main(["inspect", str(path), "--json", *more])
    out, err = capsys.readouterr()
    return code, json.loads(out), err


@each("layout", READ)
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


@pytest.mark.parametrize(
    ("layout", "how"),
    [
        ("transformers directory", "hidden_act in the config.json"),
        ("open_clip directory", "quick_gelu in the open_clip"),
    ],
)
def test_a_config_beside_the_weights_tells_the_activation(tmp_path, capsys, layout, how):
    code, found, _ = inspected(capsys, READ[layout][0](tmp_path))
    assert code == 0
    assert found["activation"]["name"] == "quick_gelu"
    assert found["activation"]["how"].startswith(how)


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


REFUSED = {  # what writes it, the reason, the way out
    "SigLIP": (lambda f: with_tensor(f, "logit_bias"), "a SigLIP model", "Convert it"),
    "SigLIP directory": (lambda f: described(f / "m", {"model_type": "siglip2"}), "sigmoid loss", "other towers"),
    "timm": (lambda f: with_tensor(f, "visual.trunk.norm.weight"), "a timm image tower", "Convert it"),
    "timm directory": (
        lambda f: described(f / "m", {"architecture": "vit_base_patch16_224"}),
        "type 'timm'",
        "clipclean cleans CLIP",
    ),
    "Hugging Face text tower": (
        lambda f: with_tensor(f, "text.transformer.embeddings.word_embeddings.weight"),
        "a Hugging Face text tower",
        "Convert it",
    ),
    "CoCa": (lambda f: with_tensor(f, "text_decoder.ln_final.weight"), "a CoCa model", "Convert it"),
    "big_vision": (lambda f: numpy(f / "m.npz"), "NumPy .npz, the format of big_vision", "load it in open_clip"),
    "legacy tar": (lambda f: archive(f / "m.pt"), "a tar archive", "re-save the state_dict"),
    "image tower alone": (
        lambda f: described(f / "m", {"model_type": "clip_vision_model"}),
        "an image tower alone",
        "name the whole CLIPModel",
    ),
}


@each("kind", REFUSED)
def test_every_other_kind_is_refused_with_the_reason_and_the_way_out(tmp_path, capsys, kind):
    write, reason, way_out = REFUSED[kind]
    code, found, err = inspected(capsys, write(tmp_path))
    assert code == 3
    assert found.keys() == {"name", "error", "kind"}
    assert found["kind"] == "unsupported"
    assert reason in found["error"]
    assert way_out in found["error"]
    assert err == f"clipclean: error: {found['error']}\nclipclean: more: clipclean explain inputs\n"


def test_a_scale_that_training_never_reaches_is_refused(tmp_path, capsys):
    for value in (50.0, -0.5):
        saved(tmp_path / "m.pt", STATE | {"logit_scale": torch.tensor(value)})
        code, found, _ = inspected(capsys, tmp_path / "m.pt")
        assert code == 3
        assert f"logit_scale is {value:g}" in found["error"]
    saved(tmp_path / "m.pt", STATE | {"logit_scale": torch.tensor(4.6052)})
    assert inspected(capsys, tmp_path / "m.pt")[0] == 0


def test_tensors_that_no_clip_has_are_named(tmp_path, capsys):
    code, found, _ = inspected(capsys, with_tensor(tmp_path, "visual.backdoor.weight"))
    assert code == 3
    assert "1 unknown (visual.backdoor.weight)" in found["error"]
