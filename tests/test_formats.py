"""Every layout of a CLIP, from the file to the terminal and to the model; and another kind, refused by name."""

import json

import pytest
import tiny
import torch
from foreign import CONFIG, READ, STATE, saved

from clipclean import checkpoint, cli
from clipclean.jobs import inputs


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
    assert any("optimizer" in note for note in found["notes"]) == ("training" in layout)
    arch = tiny.written(tmp_path / "arch.json", json.dumps(CONFIG | {"quick_gelu": True}))
    opened = inputs.read(path, arch=str(arch), weights=weights)
    assert opened.file.tensors.keys() == STATE.keys()
    assert opened.architecture.quick_gelu is True


@pytest.mark.parametrize("layout", ["transformers directory", "open_clip directory"])
def test_a_config_beside_the_weights_tells_the_activation(tmp_path, capsys, layout):
    code, found, _ = inspected(capsys, READ[layout][0](tmp_path))
    assert (code, found["activation"]["name"]) == (0, "quick_gelu")


def test_another_kind_is_refused_by_name(tmp_path, capsys):
    """All kinds: tests/checkpoint and tests/hostile."""
    code, found, err = inspected(capsys, saved(tmp_path / "m.pt", STATE | {"logit_bias": torch.zeros(1)}))
    assert (code, found.keys(), found["kind"]) == (3, {"name", "error", "kind"}, "unsupported")
    assert "SigLIP" in found["error"]
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
