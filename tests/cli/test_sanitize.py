"""``clipclean sanitize``: what a run leaves, what it refuses, and how it goes on after an interruption."""

import contextlib
import errno
import json
import os
import re
import shutil
import signal
from pathlib import Path
from unittest import mock

import processes
import pytest
import short
import tiny
import torch
import world as worlds
from tiny import names

from clipclean import checkpoint, cli, files, own_state, progress
from clipclean.config import recipe
from clipclean.export import open_clip_directory, parity
from clipclean.methods import losses
from clipclean.train import resume

WEIGHTS, STATE = "open_clip_model.safetensors", {own_state.MARK_NAME, "state.safetensors"}
REPORTS = {"report.json", "report.html", "SHA256SUMS"}
PROMISED = REPORTS | {"open_clip_config.json", WEIGHTS, "provenance.intoto.json", "README.md"}


def policy(job, text):
    return tiny.written(job.folder / "policy.yaml", f"version: 1\nname: ours\n{text}\n")


def failing(job):
    """A policy by which every run on these few images fails."""
    return "--policy", policy(job, "severities: {CC020: error}")


# End to end.


def test_a_run_writes_what_is_promised_and_its_report_agrees_with_itself_and_with_the_files(whole_cleaning):
    job, out, code, _ = whole_cleaning
    assert names(out) == PROMISED
    assert names(job.folder) == tiny.FILES | {"out"}
    found, old, new = tiny.result(out), checkpoint.read(job.model).tensors, checkpoint.read(out).tensors
    assert (code, found["verdict"]) == (4, "inconclusive")
    assert found["verdict"] in found["forecast"]["verdicts"]
    assert {name: tensor.shape for name, tensor in old.items()} == {name: tensor.shape for name, tensor in new.items()}
    assert any(not torch.equal(old[name], new[name]) for name in old)
    assert found["model"]["sha256"] == files.sha256(job.model)
    assert found["model"]["tensor_sha256"] == checkpoint.digest(old)
    (exported,) = found["exports"]
    assert exported["sha256"] == files.sha256(out / WEIGHTS)
    assert exported["tensor_sha256"] == checkpoint.digest(new)
    assert exported["parity"]["n"] == 5 + 5  # images and captions that were held out
    training, recipe = found["training"], found["recipe"]
    assert (training["steps"], training["pairs"], training["resumed_at"]) == (3, 3 * 16, 0)
    assert [entry["step"] for entry in training["losses"]] == [0, 1, 2]
    assert training["pairs_per_second"] == pytest.approx(48 / training["seconds"])
    assert training["data_wait_share"] == pytest.approx(training["data_wait_seconds"] / training["seconds"])
    assert not recipe["validated"]
    assert recipe["evidence"]["kind"] in ("none", "other values")  # as the recipe has evidence or not
    assert training["walk"] == 0.05
    assert (recipe["resolved"]["train"]["max_steps"], found["data"]["pairs"]) == (3, 48)
    assert found["data"]["screened"]["dropped"] == 0
    assert found["measurements"] == found["after"]["measurements"]
    assert found["after"]["measurements"]["clean_accuracy"]["n"] == 5  # a tenth of 48, rounded
    first = found["after"]["measurements"]["probes"][0]
    spec = "patch:size=0.25,place=corner,fill=noise,seed=1"
    assert (first["trigger"], first["target"], first["suspected"]) == (spec, "blue circle", True)
    assert first["excess_asr"]["value"] == pytest.approx(first["asr"]["value"] - first["base_rate"]["value"])


@pytest.mark.slow
def test_equal_seeds_give_equal_bytes_and_another_seed_gives_others(whole_cleaning, job, unread):
    def written(out):
        statement = json.loads((out / "provenance.intoto.json").read_text())
        return (out / WEIGHTS).read_bytes(), statement["predicate"]  # a report tells the time

    for seed in (0, 1):
        cli.main(worlds.cleaning(job, "--out", job.folder / str(seed), "--seed", seed))
    first, equal, other = map(written, (whole_cleaning.out, job.folder / "0", job.folder / "1"))
    assert first == equal
    assert first[0] != other[0]
    assert first[1] != other[1]


@pytest.mark.slow
def test_a_backdoor_that_stays_fails_and_the_clean_model_is_not_accused(victim, tmp_path, unread):
    job, out = victim.job, tmp_path / "out"
    named = ("--eval-data", job.folder / "labelled", *worlds.KNOWN)
    assert cli.main(job._replace(model=job.folder / "planted.pt").sanitize(*named, "--out", out, steps=2)) == 1
    assert names(out) == REPORTS
    (error,) = [finding for finding in tiny.result(out)["findings"] if finding["level"] == "error"]
    assert error["rule"] == "CC001"
    assert error["value"] > 0.5
    assert cli.main(job.sanitize(*named, "--out", tmp_path / "clean", steps=2)) == 4
    assert not [finding for finding in tiny.result(tmp_path / "clean")["findings"] if finding["level"] == "error"]


def test_a_failed_run_writes_reports_and_no_weights_until_they_are_asked_for(job, unread):
    assert cli.main(job.sanitize(*failing(job), "--no-panel")) == 1
    assert names(job.out) == REPORTS
    assert tiny.result(job.out)["exports"] == []
    assert cli.main(job.sanitize(*failing(job), "--no-panel", "--keep-failed", "--force")) == 1
    assert names(job.out) == PROMISED
    assert tiny.result(job.out)["training"]["resumed_at"] == 3
    assert not own_state.place_of(job.out).exists()
    # Weights of an earlier run do not stay beside a failed report; what is the user's own does.
    tiny.written(job.out / "notes.txt", "mine")
    assert cli.main(job.sanitize(*failing(job), "--no-panel", "--force", "--exit-zero", "--seed", 1)) == 0
    assert names(job.out) == REPORTS | {"notes.txt"}
    assert (tiny.result(job.out)["verdict"], tiny.result(job.out)["seed"]) == ("fail", 1)


def test_weights_that_cost_more_than_the_budget_are_not_written(job, unread):
    right = tiny.labelled_by_answer(job, job.folder / "labelled")
    shown = ("--eval-data", right, "--set", "audit.walk_back=false", "--no-panel")
    assert cli.main(job.sanitize(*shown, "--max-accuracy-loss", 0, "--set", "train.lr=1e-2")) == 1
    assert "CC010" in {each["rule"] for each in tiny.result(job.out)["findings"]}
    assert names(job.out) == REPORTS


def test_an_export_that_open_clip_reads_otherwise_is_not_published(job, monkeypatch):
    def differs(*_, **__):
        raise parity.ExportMismatch("told")

    monkeypatch.setattr(open_clip_directory, "check", differs)
    assert cli.main(job.sanitize("--no-panel")) == 5
    assert names(job.folder) == tiny.FILES


# Measures, and what is said of them.


@pytest.mark.slow
def test_labelled_images_measure_while_all_pairs_train_and_held_out_captions_serve_without_them(tmp_path, unread):
    job = tiny.job(tmp_path / "job", count=96)
    (job.data / "007.png").write_bytes(b"no picture")
    few = policy(job, "thresholds: {min_images: 8}")
    cli.main(job.sanitize("--policy", few, "--no-panel"))
    found = tiny.result(job.out)
    measured = found["after"]["measurements"]
    assert {measured[key]["n"] for key in ("clean_accuracy", "recall", "agreement")} == {10}  # a tenth of 95, rounded
    assert measured["probes"] == []
    assert [skipped["key"] for skipped in found["data"]["skipped"]] == ["007.png"]
    assert (found["data"]["pairs"], "CC030" in {finding["rule"] for finding in found["findings"]}) == (95, True)
    cli.main(job.sanitize("--eval-data", tiny.labelled(tmp_path / "labelled", count=24), "--no-panel", "--force"))
    assert tiny.result(job.out)["after"]["measurements"]["clean_accuracy"]["n"] == 24


@pytest.mark.slow
def test_what_a_cleaning_costs_is_told_of_the_point_of_the_walk_back_that_was_written(job, unread):
    right = tiny.labelled_by_answer(job, job.folder / "labelled")
    shown = ("--eval-data", right, "--max-accuracy-loss", 0, "--keep-failed")
    command = job.sanitize(*shown, "--lr", 0.0015, recipe="cleanclip")
    cli.main(command)
    report = tiny.result(job.out)
    points, share = {point["share"]: point for point in report["cleaning"]["way"]}, report["cleaning"]["share"]
    assert len(points) > 1
    told = report["after"]["measurements"]["accuracy_lost"]
    assert points[share]["accuracy_lost"] == pytest.approx(told["value"], abs=1e-6)
    statement = json.loads((job.out / "provenance.intoto.json").read_text())
    assert statement["predicate"]["runDetails"]["metadata"].get("clipclean_share", 1.0) == share
    cli.main([*command, "--set", "audit.walk_back=false", "--force"])
    assert [point["share"] for point in tiny.result(job.out)["cleaning"]["way"]] == [1.0]


# Interruptions: the same command goes on to the bytes of an undisturbed run.


@contextlib.contextmanager
def after_step(step, act):
    """Something happens once so many steps are done."""
    with progress.heard(progress.Listener(lambda done, _: act() if done == step else None)):
        yield


def interrupted(number=signal.SIGTERM):
    return after_step(2, lambda: os.kill(os.getpid(), number))


def short_of_memory(fails):
    """A loss for which memory runs out in the tries of a step that ``fails`` names, counted from 0 over the run."""
    objective, tries = losses.LOSSES["cleanclip"], []

    def short(parts):
        loss = objective(parts)

        def limited(batch):
            tries.append(batch.keys)
            if fails(len(tries) - 1):
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return loss(batch)

        return limited

    return mock.patch.dict(losses.LOSSES, cleanclip=short)


@pytest.mark.parametrize(
    ("stop", "code"),
    [
        (lambda: interrupted(signal.SIGINT), 130),
        (lambda: interrupted(signal.SIGTERM), 130),
        (lambda: short_of_memory(lambda number: number >= 2), 5),  # not even for one pair
    ],
)
def test_a_run_that_ends_in_its_middle_goes_on_to_the_same_bytes(whole_cleaning, job, unread, stop, code):
    # A shell ignores SIGINT for jobs in the background.
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    with stop():
        assert cli.main(worlds.cleaning(job)) == code
    for number, handler in before.items():
        assert signal.signal(number, handler) is signal.default_int_handler
    assert not job.out.exists()
    assert names(own_state.place_of(job.out)) == STATE
    cli.main(worlds.cleaning(job))
    training = tiny.result(job.out)["training"]
    assert training["resumed_at"] == 2
    assert [entry["step"] for entry in training["losses"]] == [0, 1, 2]
    assert (job.out / WEIGHTS).read_bytes() == (whole_cleaning.out / WEIGHTS).read_bytes()
    assert not own_state.place_of(job.out).exists()


@pytest.mark.parametrize(("stage", "word"), [("measuring before", "begins again"), ("measuring after", "go on")])
def test_a_run_that_is_interrupted_while_it_measures_says_how_it_goes_on_and_then_how_much_is_done(
    job, unread, capsys, stage, word
):
    command, ended = [word for word in worlds.cleaning(job) if word != "--quiet"], []

    def interrupt(what, *_):
        if what == stage and not ended:
            ended.append(what)
            raise KeyboardInterrupt

    with progress.heard(progress.Listener(steps=interrupt)):
        assert cli.main(command) == 130
    assert word in capsys.readouterr().err
    assert cli.main(command) == 4
    assert ("Going on" in capsys.readouterr().err) == (word == "go on")


def test_the_first_audit_of_a_cleaning_says_what_it_shows_so_far(job, unread, capsys, monkeypatch):
    short.searches(monkeypatch)
    short.exact(monkeypatch)
    cli.main([word for word in job.sanitize("--no-panel", search=True) if word != "--quiet"])
    assert capsys.readouterr().err.count("of the search (before)") == 2


def test_a_run_without_memory_takes_smaller_parts_and_says_so_its_result_goes_to_stdout_and_progress_to_stderr(
    job, unread, capsys
):
    with short_of_memory(lambda number: number in (0, 1)):
        assert cli.main([word for word in worlds.cleaning(job) if word != "--quiet"]) == 4
    found, captured = tiny.result(job.out), capsys.readouterr()
    assert found["training"]["micro_batch"] == 4  # half of half of 16
    assert any("train.micro_batch=4" in note for note in found["notes"])
    assert f"local-dir:{job.out}" in captured.out
    for stage in ("reading the model: 1/1", "reading the data: 48/48", "finetuning: 3/3", "exporting open_clip: 1/1"):
        assert stage in captured.err


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory):
    """An interrupted run, and the bytes of its state."""
    job = tiny.job(tmp_path_factory.mktemp("unfinished") / "job")
    with interrupted():
        assert cli.main(job.sanitize("--no-panel")) == 130
    torch.save(tiny.state_dict(tiny.SMALL_VIT, seed=1), job.folder / "other.pt")
    tiny.pairs(job.folder / "other", count=47)
    tiny.written(job.folder / "other.json", job.arch.read_text().replace("false", "true"))
    tiny.labelled(job.folder / "labelled", count=24)
    return job, (own_state.place_of(job.out) / "state.safetensors").read_bytes()


OTHER = "--data other", "--eval-data labelled", "--arch other.json", "other.pt"


@pytest.mark.parametrize("change", ["--seed 1", "--precision bf16", "--lr 1e-4", *OTHER])
def test_a_state_of_other_settings_is_refused_and_kept(unfinished, monkeypatch, change):
    job, state = unfinished
    monkeypatch.chdir(job.folder)
    job, more = (job, change.split()) if change.startswith("--") else (job._replace(model=change), ())
    assert cli.main(job.sanitize("--no-panel", *more)) == 2
    assert (own_state.place_of(job.out) / "state.safetensors").read_bytes() == state


@pytest.mark.parametrize(("more", "at"), [("--set audit.max_accuracy_loss=0.05", 2), ("--lr 1e-4 --force", 0)])
def test_by_other_thresholds_a_run_goes_on_and_by_force_it_begins_anew(job, unread, more, at):
    with interrupted():
        assert cli.main(job.sanitize("--no-panel")) == 130
    cli.main(job.sanitize("--no-panel", *more.split()))
    assert tiny.result(job.out)["training"]["resumed_at"] == at


def test_a_second_run_on_one_output_is_refused_while_the_first_goes_on(job):
    with resume.RunState.of(job.out, {}).locked():
        assert cli.main(job.sanitize()) == 2
        assert own_state.place_of(job.out).exists()
    assert not job.out.exists()


def full(path, *_, **__):
    """Write a part, as a disk does that fills up."""
    path.write_bytes(b"half")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


@pytest.mark.parametrize(("what", "kept"), [("state.safetensors", False), (WEIGHTS, True), ("report.json", True)])
def test_a_full_disk_loses_no_training_and_leaves_no_half_file(job, unread, monkeypatch, what, kept):
    before = names(job.folder)

    def filling(write):
        return lambda path, *given, **more: (full if what in path.name else write)(path, *given, **more)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_safetensors", filling(checkpoint.write_safetensors))
        patch.setattr(Path, "write_text", filling(Path.write_text))
        assert cli.main(job.sanitize("--no-panel")) == 5
    assert names(job.folder) == before
    assert own_state.place_of(job.out).exists() is kept
    assert cli.main(job.sanitize("--no-panel")) == 4
    assert tiny.result(job.out)["training"]["resumed_at"] == (3 if kept else 0)
    assert names(job.folder) == before | {"out"}


def test_a_mounted_output_holds_the_result_and_nothing_else_afterwards(job, unread, monkeypatch):
    job.out.mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda path: path == job.out)
    with interrupted():
        assert cli.main(job.sanitize("--no-panel")) == 130
    assert names(job.out) == set()
    assert cli.main(job.sanitize("--no-panel")) == 4
    assert tiny.result(job.out)["training"]["resumed_at"] == 2
    assert names(job.out) == PROMISED


def test_a_cleaning_that_ends_at_its_deadline_is_no_pass_and_goes_on_with_more_time(job, unread, monkeypatch):
    assert cli.main(worlds.cleaning(job, "--max-minutes", 1e-6)) == 4
    assert not job.out.exists()
    command = job.sanitize("--no-panel", steps=4)
    with after_step(2, lambda: short.an_hour_passes(monkeypatch)):
        cli.main([*command, "--max-minutes", "60"])
    cut = tiny.result(job.out)
    assert "CC024" in {found["rule"] for found in cut["findings"]}
    assert (cut["verdict"] != "pass", bool(cut["exports"]), cut["training"]["steps"]) == (True, True, 2)
    assert own_state.place_of(job.out).exists()
    cli.main([*command, "--force"])
    training = tiny.result(job.out)["training"]
    assert (training["resumed_at"], training["steps"]) == (2, 4)
    assert not own_state.place_of(job.out).exists()


# Several processes. That they compute as one does: tests/methods/test_shared_methods.py.


@pytest.mark.slow
def test_a_search_before_a_cleaning_is_made_by_the_first_process_for_both_and_it_alone_writes(job):
    quick = ("unlearn.effort=quick", "unlearn.steps=2", "unlearn.max_rounds=1")
    settings = [part for each in quick for part in ("--set", each)]
    (first, told), second = processes.of_one_run(*job.sanitize(*settings, recipe="unlearn", batch=8))
    assert (first, second) == (4, (0, "")), (told, second)
    assert tiny.result(job.out)["training"]["steps"] == 0  # nothing is found, so nothing but the report is written
    assert names(job.out) == REPORTS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("event", "codes"), [("os._exit(9)", (5, 9)), ("os.kill(os.getpid(), signal.SIGTERM)", (130, 130))]
)
def test_what_ends_one_process_ends_both_and_the_same_command_goes_on(job, unread, event, codes):
    found, told = zip(*processes.of_one_run(*worlds.cleaning(job), event=event), strict=True)
    assert found == codes, told
    assert names(own_state.place_of(job.out)) == STATE
    assert not job.out.exists()
    assert cli.main(worlds.cleaning(job)) == 4  # by one process: it may be another number
    assert tiny.result(job.out)["training"]["resumed_at"] == 2


# Refusals: one message, an exit code, and nothing is written.


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A job that no test changes, with an output of the user's, a link and a table beside it."""
    job = tiny.job(tmp_path_factory.mktemp("kept") / "job")
    (job.folder / "taken").mkdir()
    tiny.written(job.folder / "taken" / "notes.txt", "mine")
    (job.folder / "link").symlink_to(job.folder / "taken")
    rows = "".join(f"pairs/{path.name},{path.with_suffix('.txt').read_text()}\n" for path in job.data.glob("*.png"))
    tiny.written(job.folder / "pairs.csv", f"image_path,words\n{rows}")
    recipe = "version: 1\nname: mine\nrevision: 1\ndescription: x\nmethod: mmcl\ntrain:\n  batchsize: 8\n"
    tiny.written(job.folder / "my.yaml", recipe)
    tiny.written(job.folder / "one.txt", "dog\n")
    tiny.written(job.folder / "bare.txt", "a.\n")
    labelled = tiny.labelled(job.folder / "labelled", count=12)
    (labelled / "red square").rename(labelled / "red squares")
    return job


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        ("--trigger patch --target circel", 2, "circel"),
        ("--target blue", 2, "--target"),
        ("--trigger patch --target zebra", 2, "--classes"),
        ("--recipe my.yaml", 2, "my.yaml:7"),
        ("--set train.batch_size=64", 2, "43"),  # pairs: 48 without the 5 held out
        ("--set train.warmup_steps=500", 2, "train.warmup_steps"),
        ("--classes one.txt", 2, "1 class"),
        ("--templates bare.txt", 2, "bare.txt"),
        ("--arch ViT-B-32", 3, "ViT-B-32"),
        ("--seed -1", 2, "--seed"),
        ("--data none", 3, "none"),
        ("--data pairs.csv", 2, "'image_path', 'words'"),
        ("--data pairs.csv --image-key image_path --caption-key wrds", 2, "'words'"),
        ("--eval-data none", 3, "none"),
        ("--eval-data labelled", 2, "'red square'"),
        ("--report json=none/report.json", 2, "json=none/report.json"),
        ("--out taken", 2, "--force"),
        ("--out link", 2, "link"),
        ("--out arch.json", 2, "arch.json"),
        ("--out model.pt/a/out", 5, "model.pt"),
        ("--out /proc/clipclean-out", 5, "/proc"),
        ("--out a/b/c --classes one.txt", 2, "1 class"),
        ("--dry-run --log-to wandb", 2, "--log-dir"),
    ],
)
def test_a_wrong_command_line_is_refused(kept, refused, monkeypatch, arguments, code, named):
    monkeypatch.chdir(kept.folder)
    refused(kept.sanitize(*arguments.split()), kept.folder, code, named)


def not_finite(job):
    weights = tiny.state_dict(tiny.SMALL_VIT)
    weights["visual.proj"][0, 0] = float("nan")
    torch.save(weights, job.model)


def only(job, keep):
    for path in job.data.iterdir():
        if path.stem not in keep:
            path.unlink()


SPOILT = {
    "missing": (lambda job: job.model.unlink(), 3, "model.pt"),
    "folder": (lambda job: (job.model.unlink(), job.model.mkdir()), 3, "open_clip_config.json"),
    "truncated": (lambda job: job.model.write_bytes(job.model.read_bytes()[:-2000]), 3, "model.pt"),
    "hostile": (lambda job: torch.save(tiny.Command(f"touch {job.folder}/ran"), job.model), 3, "system"),
    "not finite": (not_finite, 3, "visual.proj"),
    "other model": (lambda job: torch.save({"layer.weight": torch.zeros(3)}, job.model), 3, "layer.weight"),
    "no data": (lambda job: only(job, ()), 3, "pairs"),
    "one pair": (lambda job: only(job, ("000",)), 4, "1 usable pair"),
    "no images": (lambda job: [path.write_bytes(b"x") for path in job.data.glob("*.png")], 3, "000.png"),
}


@pytest.mark.parametrize("what", SPOILT)
def test_a_bad_checkpoint_and_bad_data_are_refused(job, refused, what):
    spoil, code, named = SPOILT[what]
    spoil(job)
    refused(job.sanitize(), job.folder, code, named)


# Recipes that nobody named, and dry runs: all is said, and all files stay as they are.


def bare(job, *more):
    """A command line of short forms, without a recipe."""
    files = ["--arch", job.arch, "--classes", job.classes, "--templates", job.templates, "--device", "cpu"]
    return [*map(str, ["sanitize", job.model, "-d", job.data, "-o", job.out, *files, *more])]


@pytest.fixture
def untouched(job, tmp_path, monkeypatch):
    """Run a command that must leave all files as they are; returns its exit code."""
    (tmp_path / "state").mkdir()
    monkeypatch.setenv("CLIPCLEAN_STATE", str(tmp_path / "state"))

    def run(arguments):
        before = tiny.listing(tmp_path)
        code = cli.main(arguments)
        assert tiny.listing(tmp_path) == before
        return code

    return run


def test_a_dry_run_tells_steps_and_one_estimate_and_refuses_what_the_run_would(job, untouched, capsys):
    command = [each for each in job.sanitize("--dry-run", "--log-dir", job.folder / "logs") if each != "--quiet"]
    assert untouched(command) == 0
    told = capsys.readouterr()
    assert re.search(r"\b3 steps\b", told.out)  # of 16; of 48 pairs, of which a tenth is kept out
    assert str(job.out) in told.out
    assert (told.out + told.err).count("about ") == 1
    assert untouched(job.sanitize("--dry-run", "--no-panel", "--recipe", "unlearn")) == 0
    assert "unlearn" in capsys.readouterr().out
    assert untouched(job.sanitize("--dry-run", "--no-panel", "--recipe", "auto")) == 2
    job.out.mkdir()
    (job.out / "mine.txt").write_text("precious")
    assert untouched(job.sanitize("--dry-run")) == 2
    assert "--force" in capsys.readouterr().err
    assert untouched(job.sanitize("--dry-run", "--force")) == 0
    (job.out / "report.json").write_text("of another program")
    assert untouched(job.sanitize("--dry-run", "--force")) == 2
    shutil.rmtree(job.out)
    weights = checkpoint.read(job.model).tensors
    nothing = {name: torch.zeros_like(weights[name]) for name in ("token_embedding.weight", "positional_embedding")}
    torch.save(weights | nothing, job.model)  # a text tower that carries nothing
    assert untouched(job.sanitize("--dry-run")) == 4
    assert "text" in capsys.readouterr().err
    job.model.write_bytes(b"no model")
    assert untouched(job.sanitize("--dry-run")) == 3


def test_a_dry_run_tells_the_searches_before_and_after_and_their_effort(job, untouched, capsys):
    told = []
    for search in (False, True):
        assert untouched(job.sanitize("--dry-run", "--set", "auto.effort=quick", search=search)) == 0
        told.append(capsys.readouterr().out)
    assert ["search for unknown triggers, effort quick" in each for each in told] == [False, True]
    assert ["measure before" in each for each in told] == [True, False]
    assert [each.count("audit") for each in told] == [0, 2]


def test_a_dry_run_of_auto_lists_every_candidate_with_its_values_and_its_steps(tmp_path, untouched, capsys):
    job = tiny.job(tmp_path / "more", count=80)
    shown = tiny.labelled(job.folder / "labelled", count=60)
    assert untouched(bare(job, "--dry-run", "--eval-data", shown)) == 0
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if "candidate" in line and " of " in line]
    candidates = recipe.load("auto").auto.candidates
    for number, name in enumerate(candidates, 1):
        assert any(f"candidate {number} of {len(candidates)}" in line and name in line for line in lines), name
    assert all(re.search(r"\d+ (steps|rounds)", line) for line in lines if re.search(r"candidate \d", line))


@pytest.mark.parametrize("search", [False, True])
def test_a_dry_run_asks_for_a_clean_model_only_where_a_search_is_compared_with_it(job, untouched, capsys, search):
    """A cleaning without a search passes by the trigger that acted and is gone."""
    assert untouched(job.sanitize("--dry-run", search=search)) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("verdict")]
    assert ("clean model" in line, "no search" in line) == (search, False)


def test_a_dry_run_without_search_panel_and_trigger_says_that_nothing_can_pass(job, untouched, capsys):
    assert untouched(job.sanitize("--dry-run", "--no-panel")) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("verdict")]
    assert "no trigger named" in line


def test_a_dry_run_of_unlearning_counts_the_round_that_settles(job, untouched, capsys):
    more = (
        "--dry-run",
        "--no-panel",
        "--recipe",
        "unlearn",
        "--set",
        "unlearn.max_rounds=3",
        "--set",
        "unlearn.steps=7",
    )
    assert untouched(job.sanitize(*more)) == 0
    assert re.search(r"at most 4 rounds of 7 steps", capsys.readouterr().out)


def test_a_dry_run_tells_what_will_be_too_little_and_how_much_is_trained(job, untouched, capsys):
    command = [each for each in job.sanitize("--dry-run", "--max-minutes", "0.001") if each != "--quiet"]
    assert untouched(command) == 0
    told = capsys.readouterr()
    assert re.search(r"5 images to measure on.*at least 50.*CC020", told.err)
    assert "--max-minutes 0.001 is less than the estimate" in told.err
    assert re.search(r"3 steps of 16 pairs \(1.5 epochs\)", told.out)  # of two batches an epoch
    assert re.search(r"classes +\d+, yours; \d+ templates", told.out)
    place = command.index("--classes")
    assert untouched([*command[:place], *command[place + 2 :], "--no-panel"]) == 0
    told = capsys.readouterr()
    assert "1,000" in told.err
    assert "tench" in told.err


def test_a_cleaning_that_names_no_recipe_is_by_auto_and_a_change_of_training_needs_one(tmp_path, untouched, capsys):
    job = tiny.job(tmp_path / "more", count=80)
    shown = tiny.labelled(job.folder / "labelled", count=60)
    assert untouched(bare(job, "--dry-run", "--eval-data", shown, "--set", "auto.test_backdoors=2")) == 0
    told = capsys.readouterr()
    assert "auto: " in told.out
    assert "2 test backdoors" in told.out
    for more, code in (((), 0), (("--epochs", "2"), 2), (("--lr", "1e-4"), 2)):
        assert untouched(bare(job, "--dry-run", *more)) == code, (more, capsys.readouterr().err)


def test_a_short_run_shortens_the_warm_up_of_its_recipe_but_none_that_the_user_chose(job, unread):
    short = (
        "--recipe",
        "cleanclip",
        "--epochs",
        1,
        "--batch-size",
        16,
        "--no-search",
        "--set",
        "data.min_pairs=16",
    )  # 43 pairs: 2 steps
    assert cli.main(bare(job, *short, "--exit-zero", "--keep-failed")) == 0
    found = tiny.result(job.out)
    assert (found["recipe"]["resolved"]["train"]["warmup_steps"], found["training"]["steps"]) == (0, 2)
    assert not found["recipe"]["validated"]
    assert cli.main(bare(job, *short, "--force", "--set", "train.warmup_steps=20")) == 2


def test_captions_that_name_no_class_are_told_of_once_and_the_loss_is_an_estimate(job, unread, capsys):
    others = tiny.written(job.folder / "others.txt", "unicorn\nminotaur\n")
    assert cli.main([each for each in job.sanitize("--classes", others) if each != "--quiet"]) == 4
    assert capsys.readouterr().err.count("0 of their captions name one class") == 1
    assert tiny.result(job.out)["after"]["measurements"]["accuracy_lost"]["by"] == "answers"
