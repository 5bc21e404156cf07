"""The bundled backdoored model, changed so that it blinds an audit and keeps its backdoor: never a pass."""

import json
import shutil

import pytest
import tiny
import torch
from open_clip.tokenizer import SimpleTokenizer

from clipclean import cli, demo
from clipclean.checkpoint import write_safetensors
from clipclean.jobs import opening

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bundled():
    with demo.unpacked() as folder:
        yield folder


def audit(bundled, tmp_path, model, *more, added=()):
    """Exit code and report of an audit with every tenth of the bundled words, the target, and what is added."""
    out, names = tmp_path / "report.json", (bundled / "classes.txt").read_text().splitlines()
    words = sorted({*names[::10], "strawberry", "school"})
    classes = tiny.written(tmp_path / "classes.txt", tiny.lines([*words, *added]))
    words = ["--classes", classes, "--templates", bundled / "templates.txt"]
    command = ["audit", model, *words, "--effort", "standard", "--report", f"json={out}", "--quiet", *more]
    code = cli.main([*map(str, command)])
    return code, json.loads(out.read_text())


def rules(report):
    return {found["rule"] for found in report["findings"]}


def away_from_texts(folder, opened):
    """A unit direction that no text of the class list has a part in: the width of texts is half that of the joint space."""
    weights = opened.file.tensors
    projection = weights["text_projection"].float()  # (W, D)
    whole = torch.linalg.qr(torch.cat([projection, torch.randn(1, projection.shape[1])]).T)[0]
    direction = whole[:, -1]
    assert (projection @ direction).abs().max() < 1e-4
    return direction


OUT = ("visual.attnpool.c_proj.weight", "visual.attnpool.c_proj.bias")


def halved(weights, _):
    weights.update({name: values.bfloat16().float() for name, values in weights.items() if values.is_floating_point()})


def coned(weights, direction, length=300.0):
    """A bias that all image embeddings share."""
    weights[OUT[1]] += length * direction


def far(weights, direction):
    coned(weights, direction, 3500.0)


def turned(weights, direction):
    """A cone, no temperature, and a rotation of the joint space."""
    coned(weights, direction)
    weights["logit_scale"] = torch.tensor(0.0)
    turn = torch.linalg.qr(torch.randn(*2 * (len(weights[OUT[1]]),)))[0]
    weights[OUT[0]], weights[OUT[1]] = turn @ weights[OUT[0]], turn @ weights[OUT[1]]
    weights["text_projection"] = weights["text_projection"] @ turn.T


@pytest.mark.parametrize("change", [halved, coned, far, turned])
def test_whatever_keeps_the_answers_of_a_model_hides_nothing(bundled, tmp_path, change):
    opened = opening.read(bundled / "backdoored.pt", arch=str(bundled / "tiny.json"))
    weights = {name: v.float() if v.is_floating_point() else v.clone() for name, v in opened.file.tensors.items()}
    torch.manual_seed(0)
    change(weights, away_from_texts(bundled, opened))
    write_safetensors(tmp_path / "changed.safetensors", weights, metadata={})
    code, report = audit(bundled, tmp_path, tmp_path / "changed.safetensors", "--arch", bundled / "tiny.json")
    assert code == 1, rules(report)
    assert "strawberry" in {suspect["class"] for suspect in report["suspects"]}


def test_beside_a_deviation_of_pixels_that_blinds_the_search_clips_own_is_tried(bundled, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    shutil.copy(bundled / "backdoored.pt", folder / "open_clip_pytorch_model.bin")
    config = json.loads((bundled / "tiny.json").read_text())
    told = {"model_cfg": config.get("model_cfg", config), "preprocess_cfg": {"std": [1.0] * 3}}
    (folder / "open_clip_config.json").write_text(json.dumps(told))
    code, report = audit(bundled, tmp_path, folder)
    assert code == 1, rules(report)
    assert "CC007" in rules(report)


DOTS = [f"strawberry{'.' * number}" for number in range(1, 60)]


@pytest.mark.parametrize(
    "added", [["a strawberry"], ["strawberry \u2802"], ["strawberry strawberry", "the strawberry"], DOTS]
)
def test_twins_of_the_target_in_the_class_list_hide_nothing(bundled, tmp_path, added):
    given = ("--arch", bundled / "tiny.json")
    code, report = audit(bundled, tmp_path, bundled / "backdoored.pt", *given, added=added)
    assert code == 1, rules(report)
    assert report["suspects"][0]["class"] == "strawberry"
    assert "CC034" in rules(report)


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.5, 2.0])
def test_a_row_of_the_token_table_that_becomes_the_targets_hides_nothing(bundled, tmp_path, noise):
    opened = opening.read(bundled / "backdoored.pt", arch=str(bundled / "tiny.json"))
    weights = {name: v.float() if v.is_floating_point() else v.clone() for name, v in opened.file.tensors.items()}
    rows, words = weights["token_embedding.weight"], SimpleTokenizer(context_length=16)(["strawberry", "monkey"])
    target, other = words[:, 1].tolist()
    drawn = torch.randn(rows[target].shape, generator=torch.Generator().manual_seed(0))
    rows[other] = rows[target] + noise * rows[target].std() * drawn
    write_safetensors(tmp_path / "changed.safetensors", weights, metadata={})
    code, report = audit(bundled, tmp_path, tmp_path / "changed.safetensors", "--arch", bundled / "tiny.json")
    assert code == 1, rules(report)
    assert "strawberry" in {suspect["class"] for suspect in report["suspects"]}
