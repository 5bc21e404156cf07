"""``clipclean sanitize``: what a run leaves, what it refuses, and how it goes on after an interruption."""

import contextlib
import errno
import json
import os
import re
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


@pytest.fixture
def whole_report(whole_cleaning):
    return tiny.result(whole_cleaning.out)


def test_a_run_writes_what_is_promised(whole_cleaning):
    assert names(whole_cleaning.out) == PROMISED
    assert names(whole_cleaning.job.folder) == tiny.FILES | {"out"}


def test_a_run_ends_in_a_verdict_that_was_foreseen(whole_cleaning, whole_report):
    assert (whole_cleaning.code, whole_report["verdict"]) == (4, "inconclusive")
    assert whole_report["verdict"] in whole_report["forecast"]["verdicts"]


def test_a_cleaning_changes_the_values_of_weights_alone(whole_cleaning):
    old, new = (checkpoint.read(place).tensors for place in (whole_cleaning.job.model, whole_cleaning.out))
    assert {name: tensor.shape for name, tensor in old.items()} == {name: tensor.shape for name, tensor in new.items()}
    assert any(not torch.equal(old[name], new[name]) for name in old)


def test_the_digests_of_a_report_are_those_of_the_files(whole_cleaning, whole_report):
    job, out, *_ = whole_cleaning
    assert whole_report["model"]["sha256"] == files.sha256(job.model)
    assert whole_report["model"]["tensor_sha256"] == checkpoint.digest(checkpoint.read(job.model).tensors)
    (exported,) = whole_report["exports"]
    assert exported["sha256"] == files.sha256(out / WEIGHTS)
    assert exported["tensor_sha256"] == checkpoint.digest(checkpoint.read(out).tensors)


def test_a_report_tells_every_step_of_the_training(whole_report):
    training = whole_report["training"]
    assert (training["steps"], training["pairs"], training["resumed_at"]) == (3, 3 * 16, 0)
    assert [entry["step"] for entry in training["losses"]] == [0, 1, 2]
    assert training["pairs_per_second"] == pytest.approx(48 / training["seconds"])
    assert training["data_wait_share"] == pytest.approx(training["data_wait_seconds"] / training["seconds"])
    assert training["walk"] == 0.05


def test_a_report_tells_that_its_recipe_was_changed(whole_report):
    changed = whole_report["recipe"]
    assert not changed["validated"]
    assert changed["evidence"]["kind"] in ("none", "other values")  # as the recipe has evidence or not
    assert changed["resolved"]["train"]["max_steps"] == 3


def test_no_pair_is_dropped_unasked(whole_report):
    assert whole_report["data"]["pairs"] == 48
    assert whole_report["data"]["screened"]["dropped"] == 0


def test_a_tenth_of_the_pairs_is_measured_on(whole_report):
    assert whole_report["after"]["measurements"]["clean_accuracy"]["n"] == 5  # of 48, rounded
    (exported,) = whole_report["exports"]
    assert exported["parity"]["n"] == 5 + 5  # images and captions that were held out


def test_the_measurements_of_a_report_are_those_after_the_cleaning(whole_report):
    assert whole_report["measurements"] == whole_report["after"]["measurements"]


def test_the_named_trigger_is_the_first_that_is_measured(whole_report):
    first = whole_report["after"]["measurements"]["probes"][0]
    spec = "patch:size=0.25,place=corner,fill=noise,seed=1"
    assert (first["trigger"], first["target"], first["suspected"]) == (spec, "blue circle", True)
    assert first["excess_asr"]["value"] == pytest.approx(first["asr"]["value"] - first["base_rate"]["value"])


@pytest.mark.slow
def test_the_bytes_of_a_run_follow_from_its_seed(whole_cleaning, job, unread):
    def written(out):
        statement = json.loads((out / "provenance.intoto.json").read_text())
        return (out / WEIGHTS).read_bytes(), statement["predicate"]  # a report tells the time

    for seed in (0, 1):
        cli.main(worlds.cleaning(job, "--out", job.folder / str(seed), "--seed", seed))
    first, equal, other = map(written, (whole_cleaning.out, job.folder / "0", job.folder / "1"))
    assert first == equal
    assert first[0] != other[0]
    assert first[1] != other[1]


def of_known_trigger(job, out):
    """The command line of a short cleaning that is told the trigger of ``victim``."""
    return job.sanitize("--eval-data", job.folder / "labelled", *worlds.KNOWN, "--out", out, steps=2)


def errors_of(out):
    return [finding for finding in tiny.result(out)["findings"] if finding["level"] == "error"]


@pytest.mark.slow
def test_a_cleaning_that_leaves_the_backdoor_fails(victim, tmp_path, unread):
    out = tmp_path / "out"
    assert cli.main(of_known_trigger(victim.job._replace(model=victim.job.folder / "planted.pt"), out)) == 1
    assert names(out) == REPORTS
    (error,) = errors_of(out)
    assert error["rule"] == "CC001"
    assert error["value"] > 0.5


@pytest.mark.slow
def test_a_clean_model_is_not_accused(victim, tmp_path, unread):
    assert cli.main(of_known_trigger(victim.job, tmp_path / "out")) == 4
    assert errors_of(tmp_path / "out") == []


def test_a_failed_run_writes_no_weights_until_they_are_asked_for(job, unread):
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


@pytest.fixture
def unusual(tmp_path):
    """A job of 96 pairs, of which one cannot be read."""
    job = tiny.job(tmp_path / "unusual", count=96)
    (job.data / "007.png").write_bytes(b"no picture")
    return job


@pytest.mark.slow
def test_held_out_pairs_measure_where_no_labelled_images_are_given(unusual, unread):
    few = policy(unusual, "thresholds: {min_images: 8}")
    cli.main(unusual.sanitize("--policy", few, "--no-panel"))
    report = tiny.result(unusual.out)
    measurements = report["after"]["measurements"]
    counts = {measurements[key]["n"] for key in ("clean_accuracy", "recall", "agreement")}
    assert counts == {10}  # a tenth of 95, rounded
    assert measurements["probes"] == []
    assert [skipped["key"] for skipped in report["data"]["skipped"]] == ["007.png"]
    assert (report["data"]["pairs"], "CC030" in {finding["rule"] for finding in report["findings"]}) == (95, True)


@pytest.mark.slow
def test_labelled_images_measure_where_they_are_given(unusual, unread):
    job, labelled = unusual, tiny.labelled(unusual.folder / "labelled", count=24)
    cli.main(job.sanitize("--eval-data", labelled, "--no-panel"))
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
def test_a_run_that_is_interrupted_while_it_measures_says_how_it_goes_on(job, unread, capsys, stage, word):
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


def test_a_run_without_memory_takes_smaller_parts(job, unread, capsys):
    with short_of_memory(lambda number: number in (0, 1)):
        assert cli.main([word for word in worlds.cleaning(job) if word != "--quiet"]) == 4
    report, captured = tiny.result(job.out), capsys.readouterr()
    assert report["training"]["micro_batch"] == 4  # half of half of 16
    assert any("train.micro_batch=4" in note for note in report["notes"])
    # Of any run that is not quiet: the result goes to stdout, progress to stderr.
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
def test_a_run_of_other_settings_does_not_touch_the_state_that_is_there(unfinished, monkeypatch, change):
    job, state = unfinished
    monkeypatch.chdir(job.folder)
    job, more = (job, change.split()) if change.startswith("--") else (job._replace(model=change), ())
    assert cli.main(job.sanitize("--no-panel", *more)) == 2
    assert (own_state.place_of(job.out) / "state.safetensors").read_bytes() == state


def resumed_at(job, *more):
    """The step from which a run goes on that was interrupted, and is given more words then."""
    with interrupted():
        assert cli.main(job.sanitize("--no-panel")) == 130
    cli.main(job.sanitize("--no-panel", *more))
    return tiny.result(job.out)["training"]["resumed_at"]


def test_a_run_goes_on_by_other_thresholds(job, unread):
    assert resumed_at(job, "--set", "audit.max_accuracy_loss=0.05") == 2


def test_a_run_begins_anew_by_force(job, unread):
    assert resumed_at(job, "--lr", "1e-4", "--force") == 0


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
def test_a_run_that_filled_the_disk_can_go_on(job, unread, monkeypatch, what, kept):
    before = names(job.folder)

    def filling(write):
        return lambda path, *values, **more: (full if what in path.name else write)(path, *values, **more)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_safetensors", filling(checkpoint.write_safetensors))
        patch.setattr(Path, "write_text", filling(Path.write_text))
        assert cli.main(job.sanitize("--no-panel")) == 5
    assert names(job.folder) == before
    assert own_state.place_of(job.out).exists() is kept
    assert cli.main(job.sanitize("--no-panel")) == 4
    assert tiny.result(job.out)["training"]["resumed_at"] == (3 if kept else 0)
    assert names(job.folder) == before | {"out"}


def test_a_mounted_output_holds_the_result_alone(job, unread, monkeypatch):
    job.out.mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda path: path == job.out)
    with interrupted():
        assert cli.main(job.sanitize("--no-panel")) == 130
    assert names(job.out) == set()
    assert cli.main(job.sanitize("--no-panel")) == 4
    assert tiny.result(job.out)["training"]["resumed_at"] == 2
    assert names(job.out) == PROMISED


def test_a_cleaning_without_time_writes_nothing(job):
    assert cli.main(worlds.cleaning(job, "--max-minutes", 1e-6)) == 4
    assert not job.out.exists()


def test_a_cleaning_that_ends_at_its_deadline_goes_on_with_more_time(job, unread, monkeypatch):
    command = job.sanitize("--no-panel", steps=4)
    with after_step(2, lambda: short.an_hour_passes(monkeypatch)):
        cli.main([*command, "--max-minutes", "60"])
    cut = tiny.result(job.out)
    assert "CC024" in {finding["rule"] for finding in cut["findings"]}
    assert (cut["verdict"] != "pass", bool(cut["exports"]), cut["training"]["steps"]) == (True, True, 2)
    assert own_state.place_of(job.out).exists()
    cli.main([*command, "--force"])
    training = tiny.result(job.out)["training"]
    assert (training["resumed_at"], training["steps"]) == (2, 4)
    assert not own_state.place_of(job.out).exists()


# Several processes. That they compute as one does: tests/methods/test_shared_methods.py.


@pytest.mark.slow
def test_the_first_of_two_processes_searches_for_both(job):
    quick = ("unlearn.effort=quick", "unlearn.steps=2", "unlearn.max_rounds=1")
    settings = [part for each in quick for part in ("--set", each)]
    (first, message), second = processes.of_one_run(*job.sanitize(*settings, recipe="unlearn", batch=8))
    assert (first, second) == (4, (0, "")), (message, second)  # the second says nothing
    assert tiny.result(job.out)["training"]["steps"] == 0  # nothing is found, so nothing but the report is written
    assert names(job.out) == REPORTS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("event", "codes"), [("os._exit(9)", (5, 9)), ("os.kill(os.getpid(), signal.SIGTERM)", (130, 130))]
)
def test_a_run_goes_on_after_the_end_of_one_of_its_processes(job, unread, event, codes):
    exit_codes, messages = zip(*processes.of_one_run(*worlds.cleaning(job), event=event), strict=True)
    assert exit_codes == codes, messages  # what ends one ends both
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
def test_spoilt_input_is_refused(job, refused, what):
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


def heard(command):
    """The same without ``--quiet``."""
    return [word for word in command if word != "--quiet"]


def test_a_dry_run_tells_what_the_run_would_do(job, untouched, capsys):
    assert untouched(heard(job.sanitize("--dry-run", "--log-dir", job.folder / "logs"))) == 0
    plan = capsys.readouterr()
    assert re.search(r"\b3 steps of 16 pairs \(1.5 epochs\)", plan.out)  # of two batches an epoch: a tenth is kept out
    assert re.search(r"classes +\d+, yours; \d+ templates", plan.out)
    assert str(job.out) in plan.out
    assert (plan.out + plan.err).count("about ") == 1
    assert "loading" in next(line for line in plan.out.splitlines() if "about " in line)  # what the estimate leaves out


def test_a_dry_run_names_its_recipe(job, untouched, capsys):
    assert untouched(job.sanitize("--dry-run", "--no-panel", "--recipe", "unlearn")) == 0
    assert "unlearn" in capsys.readouterr().out


def test_a_dry_run_refuses_a_recipe_that_the_run_could_not_follow(job, untouched):
    assert untouched(job.sanitize("--dry-run", "--no-panel", "--recipe", "auto")) == 2


def test_a_dry_run_refuses_an_output_that_the_run_could_not_replace(job, untouched, capsys):
    job.out.mkdir()
    (job.out / "mine.txt").write_text("precious")
    assert untouched(job.sanitize("--dry-run")) == 2
    assert "--force" in capsys.readouterr().err
    assert untouched(job.sanitize("--dry-run", "--force")) == 0
    (job.out / "report.json").write_text("of another program")
    assert untouched(job.sanitize("--dry-run", "--force")) == 2


def test_a_dry_run_refuses_a_model_that_cannot_be_measured(job, untouched, capsys):
    weights = checkpoint.read(job.model).tensors
    nothing = {name: torch.zeros_like(weights[name]) for name in ("token_embedding.weight", "positional_embedding")}
    torch.save(weights | nothing, job.model)  # a text tower that carries nothing
    assert untouched(job.sanitize("--dry-run")) == 4
    assert "text" in capsys.readouterr().err


def test_a_dry_run_refuses_what_is_no_model(job, untouched):
    job.model.write_bytes(b"no model")
    assert untouched(job.sanitize("--dry-run")) == 3


def test_a_dry_run_tells_the_searches_of_the_run(job, untouched, capsys):
    plans = []
    for search in (False, True):
        assert untouched(job.sanitize("--dry-run", "--set", "auto.effort=quick", search=search)) == 0
        plans.append(capsys.readouterr().out)
    assert ["search for unknown triggers, effort quick" in plan for plan in plans] == [False, True]
    assert ["measure before" in plan for plan in plans] == [True, False]
    assert [plan.count("audit") for plan in plans] == [0, 2]


def test_a_dry_run_of_auto_lists_every_candidate(tmp_path, untouched, capsys):
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


def test_a_dry_run_that_tries_no_trigger_says_that_nothing_can_pass(job, untouched, capsys):
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


def test_a_dry_run_tells_what_will_be_too_little(job, untouched, capsys):
    assert untouched(heard(job.sanitize("--dry-run", "--max-minutes", "0.001"))) == 0
    message = capsys.readouterr().err
    assert re.search(r"5 images to measure on.*at least 50.*CC020", message)
    assert "is less than the estimate" in message


def test_a_dry_run_without_classes_tells_which_it_takes(job, untouched, capsys):
    command = heard(job.sanitize("--dry-run", "--max-minutes", "0.001"))
    place = command.index("--classes")
    assert untouched([*command[:place], *command[place + 2 :], "--no-panel"]) == 0
    message = capsys.readouterr().err
    assert "1,000" in message
    assert "tench" in message


def test_a_cleaning_that_names_no_recipe_is_by_auto(tmp_path, untouched, capsys):
    job = tiny.job(tmp_path / "more", count=80)
    shown = tiny.labelled(job.folder / "labelled", count=60)
    assert untouched(bare(job, "--dry-run", "--eval-data", shown, "--set", "auto.test_backdoors=2")) == 0
    plan = capsys.readouterr().out
    assert "auto: " in plan
    assert "2 test backdoors" in plan


def test_a_change_of_training_needs_a_recipe_that_is_named(tmp_path, untouched, capsys):
    job = tiny.job(tmp_path / "more", count=80)
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


def test_captions_that_name_no_class_are_told_of_once(job, unread, capsys):
    others = tiny.written(job.folder / "others.txt", "unicorn\nminotaur\n")
    assert cli.main([each for each in job.sanitize("--classes", others) if each != "--quiet"]) == 4
    assert capsys.readouterr().err.count("0 of their captions name one class") == 1
    # An estimate of the loss: how many answers changed, since none is known to be right.
    assert tiny.result(job.out)["after"]["measurements"]["accuracy_lost"]["by"] == "answers"
