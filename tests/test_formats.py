"""Every layout of a CLIP, from the file to the terminal and to the model; other kinds: tests/checkpoint, tests/hostile."""

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
    told = layout in ("TorchScript", "open_clip directory") or layout.startswith("transformers directory")
    assert found["activation"]["name"] == ("quick_gelu" if told else None)
    assert any("optimizer" in note for note in found["notes"]) == ("training" in layout)
    arch = tiny.written(tmp_path / "arch.json", json.dumps(CONFIG | {"quick_gelu": True}))
    opened = inputs.read(path, arch=str(arch), weights=weights)
    assert opened.file.tensors.keys() == STATE.keys()
    assert opened.architecture.quick_gelu is True


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
