import json

import pytest
import tiny
import torch

from clipclean import checkpoint, cli


@pytest.fixture
def job(tmp_path):
    return tiny.job(tmp_path / "job")


def listing(*folders):
    return sorted((path, path.stat().st_mtime_ns) for folder in folders for path in folder.rglob("*"))


@pytest.fixture
def untouched(job, tmp_path, monkeypatch):
    """Run a command that must leave all files as they are; returns its exit code."""
    (tmp_path / "state").mkdir()
    monkeypatch.setenv("CLIPCLEAN_STATE", str(tmp_path / "state"))

    def run(arguments):
        before = listing(tmp_path)
        code = cli.main(arguments)
        assert listing(tmp_path) == before
        return code

    return run


def audit(job, *more):
    return job.audit("--quiet", "--dry-run", *more)


def test_a_dry_run_of_sanitize_tells_steps_and_estimate_and_touches_nothing(job, untouched, capsys):
    assert untouched(job.sanitize("--dry-run", "--log-dir", job.folder / "logs")) == 0
    told = capsys.readouterr().out
    # 48 pairs, of which a tenth is kept out; three steps of 16 as the settings say
    assert "train: 3 steps of 16 pairs" in told
    assert "12 classes" in told
    assert f"{job.out}/" in told
    assert "estimate  about " in told
    assert told.endswith("nothing was measured or written\n")


def test_one_run_tells_one_estimate(job, untouched, capsys):
    assert untouched([each for each in job.sanitize("--dry-run") if each != "--quiet"]) == 0
    told = capsys.readouterr()
    assert (told.out + told.err).count("about ") == 1


def test_a_dry_run_of_sanitize_tells_that_the_folder_has_files(job, untouched, capsys):
    job.out.mkdir()
    (job.out / "mine.txt").write_text("precious")
    assert untouched(job.sanitize("--dry-run")) == 0
    assert "has files: refused without --force" in capsys.readouterr().out
    assert untouched(job.sanitize("--dry-run", "--force")) == 0
    assert "has files" not in capsys.readouterr().out


def test_a_dry_run_of_auto_and_of_unlearn_tell_what_they_do(job, untouched, capsys):
    assert untouched(job.sanitize("--dry-run", "--recipe", "auto", "--no-panel")) == 0
    assert "plant 3 test backdoors" in capsys.readouterr().out
    assert untouched(job.sanitize("--dry-run", "--recipe", "unlearn@tiny")) == 0
    assert "search and unlearn" in capsys.readouterr().out


def unnamed(job, *more):
    """The command line of a run that names no recipe."""
    files = ["--data", job.data, "--arch", job.arch, "--classes", job.classes, "--templates", job.templates]
    return [*map(str, ["sanitize", job.model, *files, "--out", job.out, "--device", "cpu", "--dry-run", *more])]


def test_a_run_without_a_recipe_that_was_measured_on_its_like_makes_the_evidence_by_auto(tmp_path, untouched, capsys):
    job = tiny.job(tmp_path / "more", count=80)
    shown = tiny.labelled(job.folder / "labelled", count=60)
    assert untouched(unnamed(job, "--eval-data", shown)) == 0
    told = capsys.readouterr()
    assert "recipe    auto: " in told.out
    assert "--recipe cleanclip" in told.err
    assert untouched(unnamed(job, "--eval-data", shown, "--max-accuracy-loss", "0.07", "--set", "auto.canaries=2")) == 0
    assert "plant 2 test backdoors" in capsys.readouterr().out


def test_where_auto_could_not_try_a_recipe_either_a_run_without_one_ends_as_inconclusive(job, untouched, capsys):
    assert untouched(unnamed(job)) == 4  # 48 pairs, of which 10 are kept to measure on
    told = capsys.readouterr().err
    assert "38 pairs to train on, and needs 64; 10 images to measure on, and needs 50" in told
    few = tiny.written(job.folder / "few.txt", "red circle\nblue circle\n")
    assert untouched(unnamed(job, "--classes", few)) == 4
    assert "2 classes, and needs 4" in capsys.readouterr().err


def test_a_text_tower_that_carries_nothing_ends_the_run_before_it_begins(job, untouched, capsys):
    weights = checkpoint.read(job.model).tensors
    nothing = {name: torch.zeros_like(weights[name]) for name in ("token_embedding.weight", "positional_embedding")}
    torch.save(weights | nothing, job.model)
    assert untouched(job.sanitize("--dry-run")) == 4
    assert "text tower" in capsys.readouterr().err


def test_a_change_of_training_needs_a_recipe_that_it_changes(job, untouched, capsys):
    assert untouched(unnamed(job, "--epochs", "2")) == 2
    assert "--recipe" in capsys.readouterr().err


def test_a_dry_run_of_audit_is_json_where_that_is_asked_for(job, untouched, capsys):
    assert untouched(audit(job, "--json", "--data", str(tiny.labelled(job.folder / "labelled", count=80)))) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["dry_run"] is True
    assert told["data"].startswith("80 images")
    assert told["estimate"]["seconds"] > 0
    assert told["estimate"]["memory_bytes"] > 0
    assert any("effort standard" in step for step in told["steps"])
    assert any("no clean model is known" in step and "never pass" in step for step in told["steps"])
    assert untouched(audit(job, "--json", "--data", str(job.folder / "labelled"), "--power")) == 0
    more = json.loads(capsys.readouterr().out)
    assert more["estimate"]["seconds"] > 2 * told["estimate"]["seconds"]  # five audits, and the planting of four
    assert not any("never pass" in step for step in more["steps"])


def test_a_dry_run_refuses_what_the_run_would(job, untouched, capsys):
    job.model.write_bytes(b"no model")
    assert untouched(audit(job)) == 3
    assert untouched(job.sanitize("--dry-run")) == 3
    assert untouched(job.sanitize("--dry-run", "--log-to", "wandb")) == 2
    assert capsys.readouterr().out == ""
