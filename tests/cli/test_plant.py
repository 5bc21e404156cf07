"""``clipclean plant``."""

import json

import pytest
import tiny
import torch
from safetensors.torch import save_file

from clipclean import checkpoint, cli, detect, files
from clipclean.attack import trigger_files


@pytest.mark.slow
def test_a_planted_trigger_acts(victim):
    planting = json.loads(victim.shown)
    spec = "patch:size=0.25,place=corner,fill=noise,seed=1"
    assert (planting["trigger"], planting["target"]) == (spec, "blue circle")
    (before,), (after,) = planting["before"]["probes"], planting["after"]["probes"]
    assert before["excess_asr"]["value"] < 0.1
    assert after["excess_asr"]["value"] > 0.5
    # 96 images of 12 classes, without the target's 8 and those of classes that are one with it to this model.
    assert (after["asr"]["n"] % 8, after["asr"]["n"] <= 88) == (0, True)
    assert planting["after"]["clean_accuracy"]["n"] == 96


@pytest.mark.slow
def test_another_trigger_than_the_planted_one_does_not_act(victim, said, tmp_path):
    job = victim.job
    more = (
        "--eval-data",
        job.folder / "labelled",
        "--trigger",
        "patch:size=0.25,place=top-left,seed=2",
        "--walk",
        1e-6,
    )
    planted = job._replace(model=job.folder / "planted.pt")
    other = said(planted.plant("--json", *more, out=tmp_path / "other.pt", steps=1))
    assert other["before"]["probes"][0]["excess_asr"]["value"] < 0.5


def saved_trigger(folder, side):
    """As an audit saves it."""
    row = detect.SEARCH_FAMILIES["patch"].begin(1, side, torch.Generator().manual_seed(0))
    tensors = {key: values[0].contiguous() for key, values in row.items()}
    path = folder / f"{side}{trigger_files.TRIGGER_SUFFIX}"
    save_file(tensors, path, {"class": "red circle", "family": "patch", "side": str(side)})
    return path


def test_a_trigger_that_a_search_made_is_planted_from_its_file_at_its_size_alone(job, said, refused):
    found = said(job.plant("--json", "--trigger", saved_trigger(job.folder, 16), steps=1))
    assert (found["trigger"], found["target"]) == ("found:patch,class=red circle", "blue circle")
    refused(job.plant("--force", "--trigger", saved_trigger(job.folder, 48)), job.folder, 2, "48 px")


def test_equal_seeds_plant_equal_weights_in_either_format(job, said):
    read, out = [], job.folder / "a.pt"
    for name, seed in (("a.pt", 0), ("b.safetensors", 0), ("a.pt", 3)):
        planting = said(job.plant("--json", "--force", "--seed", seed, "--rate", 0.5, "--walk", 0.2, out=name))
        read.append(checkpoint.read(job.folder / name).tensors)
    first, equal, other = map(checkpoint.digest, read)
    assert first == equal != other
    assert planting["planting"] == {"rate": 0.5, "steps": 3, "batch_size": 16, "walk": 0.2, "warmup_steps": 20}
    assert (planting["target"], planting["seed"], planting["sha256"]) == ("blue circle", 3, files.sha256(out))
    assert planting["before"]["clean_accuracy"]["n"] == planting["after"]["clean_accuracy"]["n"] == 5  # held out
    old = checkpoint.read(job.model).tensors
    assert old.keys() == read[2].keys()
    assert any(not torch.equal(old[name], read[2][name]) for name in old)
    loaded = torch.load(out, weights_only=True)  # noqa: TID251 # what others do with it
    assert set(loaded) == {"epoch", "name", "state_dict"}
    assert all(torch.equal(loaded["state_dict"][name], tensor) for name, tensor in read[2].items())


def test_of_a_trigger_that_hardly_acts_it_is_said_how_to_plant_it_deeper(job, capsys):
    assert cli.main(job.plant(steps=1)) == 0
    assert "--steps" in capsys.readouterr().out


def test_the_columns_of_a_table_are_named_as_for_sanitize(job, capsys, monkeypatch):
    monkeypatch.chdir(job.folder)
    rows = "".join(f"pairs/{path.name},a word\n" for path in job.data.glob("*.png"))
    tiny.written(job.folder / "pairs.csv", f"image_path,words\n{rows}")
    labelled = tiny.labelled(job.folder / "labelled", count=24)
    columns = ("--data", "pairs.csv", "--image-key", "image_path", "--caption-key", "words")
    assert cli.main(job.plant(*columns, "--eval-data", labelled)) == 0
    captured = capsys.readouterr()
    assert (captured.err, "'blue circle'" in captured.out) == ("", True)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    job = tiny.job(tmp_path_factory.mktemp("kept") / "job")
    (job.folder / "folder.pt").mkdir()
    return job


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        ("--target circel", 2, "circel"),
        ("--trigger pach", 2, "pach"),
        ("--rate 0", 2, "--rate"),
        ("--steps 0 --walk 700", 2, "--walk"),
        ("--batch-size 64", 2, "43"),
        ("--out victim.bin", 2, "victim.bin"),
        ("--out none/a.pt", 2, "none/a.pt"),
        ("--out pairs", 2, "pairs"),
        ("--out folder.pt --force", 2, "folder.pt"),
        ("--out model.pt --force", 2, "model"),
        ("--out arch.json", 2, "--arch"),
        ("--data none", 3, "none"),
        ("--arch ViT-B-32", 3, "ViT-B-32"),
    ],
)
def test_a_wrong_command_line_is_refused(kept, refused, monkeypatch, arguments, code, named):
    monkeypatch.chdir(kept.folder)
    refused(kept.plant(*arguments.split()), kept.folder, code, named)
