import json

import pytest
import tiny

from clipclean import cli


@pytest.fixture
def job(tmp_path):
    return tiny.job(tmp_path / "job")


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_the_table_says_what_was_planted_and_what_it_does(job, capsys):
    assert cli.main(job.plant()) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    lines = captured.out.splitlines()
    assert lines[0] == "Planted patch:size=0.25,place=corner,fill=noise,seed=1 for 'blue circle'."
    assert [line[:36].strip() for line in lines[2:]] == [
        "recall@1",
        "attack success rate",
        "the same without the trigger",
        "attack success by image neighbours",
        "accuracy lost, by the worst measure",
        "embedding distance",
    ]
    assert names(job.folder) >= {"planted.pt"}


def test_json_holds_the_measurements_and_the_values_in_force(job, capsys):
    assert cli.main(job.plant("--json", "--rate", 0.5, "--lr", 0.002, "--seed", 3)) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["planting"] == {"rate": 0.5, "steps": 3, "batch_size": 16, "lr": 0.002, "warmup_steps": 20}
    assert (found["target"], found["seed"]) == ("blue circle", 3)
    assert found["before"]["clean_accuracy"]["n"] == found["after"]["clean_accuracy"]["n"] == 5  # held out


def test_labels_add_the_accuracy_under_the_trigger(job, capsys, tmp_path):
    labelled = tiny.labelled(tmp_path / "labelled", count=24)
    assert cli.main(job.plant("--eval-data", labelled)) == 0
    assert "accuracy under the trigger" in capsys.readouterr().out


def test_columns_are_named_as_for_sanitize(job, capsys):
    rows = "".join(f"pairs/{path.name},a word\n" for path in job.data.glob("*.png"))
    pairs = tiny.written(job.folder / "pairs.csv", f"image_path,words\n{rows}")
    assert cli.main(job.plant("--data", pairs)) == 2
    assert "--image-key NAME and --caption-key NAME" in capsys.readouterr().err
    assert cli.main(job.plant("--data", pairs, "--image-key", "image_path", "--caption-key", "words")) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--target", "blue circel"], 2, "Did you mean 'blue circle'"),
        (["--trigger", "pach"], 2, "no trigger family 'pach'"),
        (["--rate", "0"], 2, "--rate"),
        (["--steps", "0", "--lr", "7"], 2, "--lr"),
        (["--batch-size", "64"], 2, "43 pairs do not fill a batch of 64"),
        (["--out", "victim.bin"], 2, "--out victim.bin"),
        (["--out", "model.pt"], 2, "would write over the model"),
        (["--out", "arch.json"], 2, "would write over --arch"),
        (["--data", "none"], 3, "none cannot be read"),
        (["--arch", "ViT-B-32"], 3, "do not fit ViT-B-32"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_command_line_is_refused_and_nothing_is_written(job, capsys, monkeypatch, arguments, code, told):
    monkeypatch.chdir(job.folder)
    before = names(job.folder)
    assert cli.main(job.plant(*arguments)) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert told in captured.err
    assert names(job.folder) == before


def test_a_missing_model_is_told_before_the_data_are_read(job, capsys, monkeypatch):
    from clipclean import data

    monkeypatch.setattr(data, "read", None)
    job.model.unlink()
    assert cli.main(job.plant()) == 3
    assert "there is no such file" in capsys.readouterr().err
