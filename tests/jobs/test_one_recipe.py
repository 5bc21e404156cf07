"""A recipe that the user names: audited like the candidates of ``auto``, before and after, and what it made is what is written."""

import pytest
import short
import tiny
import torch
from processes import of_one_run

from clipclean import checkpoint, cli, own_state, progress
from clipclean.data import captions

SEARCH = {"steps": 2, "restarts": 1, "suspects": 2, "controls": 4, "images": 2, "free_images": 2, "sweep": 2}
QUICK = ("--set", "auto.effort=quick")
WEIGHTS = "open_clip_model.safetensors"
DEAR = ("--set", "train.lr=1e-2", "--max-accuracy-loss", 0)  # more than it may cost, at each point of the way


@pytest.fixture(autouse=True)
def _brief(monkeypatch):
    short.searches(monkeypatch, **SEARCH)
    short.exact(monkeypatch)
    captions.names_of("dog")  # reads WordNet, in seconds that no test is charged for


@pytest.fixture
def measured(job):
    """A job that is measured by sixty labelled images, which are enough for a verdict, and about which its model is right."""
    return job, ("--eval-data", tiny.labelled_by_answer(job, job.folder / "labelled"))


def searches(out):
    """The searches before and after, empty where nothing was searched."""
    found = tiny.result(out)
    return [found[side]["measurements"].get("search") for side in ("before", "after")]


def rules(out, level="warning"):
    return {each["rule"] for each in tiny.result(out)["findings"] if each["level"] == level}


def test_without_a_clean_model_both_searches_show_nothing(job, unread):
    assert cli.main(job.sanitize(*QUICK, search=True)) == 4
    assert all(each["found"] and each["calibration"]["kind"] == "none" for each in searches(job.out))
    assert "CC004" in rules(job.out)
    assert (job.out / WEIGHTS).exists()
    assert "auto" not in {key for key, value in tiny.result(job.out).items() if value}


def test_beside_a_clean_model_both_searches_are_compared_with_it(job, unread):
    torch.save(tiny.state_dict(tiny.SMALL_VIT, seed=1), job.folder / "other.pt")
    cli.main(job.sanitize(*QUICK, "--reference", job.folder / "other.pt", "--no-panel", search=True))
    assert [each["calibration"]["kind"] for each in searches(job.out)] == ["reference", "reference"]
    assert "CC004" not in rules(job.out)


def test_a_report_without_a_search_says_that_nothing_was_searched(job, unread):
    assert cli.main(job.sanitize()) == 4
    assert not any(searches(job.out))
    assert ("CC004" in rules(job.out), "CC021" in rules(job.out)) == (False, True)


@pytest.mark.parametrize("search", [True, False])
def test_what_costs_more_than_the_budget_is_written_on_demand_alone(measured, unread, search):
    job, shown = measured
    command = job.sanitize(*shown, *DEAR, *QUICK, search=search)
    cli.main(command)
    report = tiny.result(job.out)
    assert (report["cleaning"]["share"] > 0, report["training"]["steps"]) == (True, 3)
    assert "CC010" in rules(job.out) | rules(job.out, "error")
    assert "CC063" not in rules(job.out)
    assert not (job.out / WEIGHTS).exists()
    cli.main([*command, "--keep-failed", "--force"])
    old, new = checkpoint.read(job.model).tensors, checkpoint.read(job.out).tensors
    assert any(not torch.equal(old[name], new[name]) for name in old)  # its own, never the original's


def test_a_run_that_is_killed_while_it_searches_the_result_goes_on_to_the_same_bytes(job, unread):
    command = job.sanitize(*QUICK, search=True)
    cli.main([*command, "--out", str(job.folder / "whole")])
    ended = []

    def interrupt(what, *_):
        if what == "searching after" and not ended:
            ended.append(what)
            raise KeyboardInterrupt

    with progress.heard(progress.Listener(steps=interrupt)):
        assert cli.main(command) == 130
    assert own_state.place_of(job.out).exists()
    stages = set()
    with progress.heard(progress.Listener(steps=lambda what, *_: stages.add(what))):
        assert cli.main(command) == 4
    assert "measuring before" not in stages  # kept
    assert (job.out / WEIGHTS).read_bytes() == (job.folder / "whole" / WEIGHTS).read_bytes()
    assert not own_state.place_of(job.out).exists()


def test_what_a_training_made_before_its_time_ended_is_no_pass(job, unread, monkeypatch):
    def late(done, _):
        if done == 2:
            short.an_hour_passes(monkeypatch)

    command = job.sanitize(*QUICK, "--no-panel", steps=4, search=True)
    with progress.heard(progress.Listener(late)):
        cli.main([*command, "--max-minutes", "60"])
    cut = tiny.result(job.out)
    assert (cut["verdict"] != "pass", cut["training"]["steps"], (job.out / WEIGHTS).exists()) == (True, 2, True)
    assert "CC024" in rules(job.out)
    cli.main([*command, "--force"])
    assert tiny.result(job.out)["training"]["resumed_at"] == 2


@pytest.mark.slow
def test_two_processes_make_the_same_cleaning_as_one(job):
    runs = {}
    for size in (1, 2):
        out = job.folder / f"{size}"
        (code, words), *others = of_one_run(
            *job.sanitize("--out", out, *QUICK, "--keep-failed", "--set", "train.eps=0.001", batch=8, search=True),
            size=size,
            **SEARCH,
        )
        assert (out / "report.json").exists(), words
        assert [other for other, _ in others] == [0] * (size - 1), others
        runs[size] = code, checkpoint.read(out).tensors
    assert runs[1][0] == runs[2][0]
    for name, values in runs[1][1].items():
        torch.testing.assert_close(runs[2][1][name], values, atol=1e-5, rtol=0, msg=name)
