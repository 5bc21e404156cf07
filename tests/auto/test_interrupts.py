"""``auto`` interrupted in each of its stages, and shared by two processes: the numbers of one undisturbed run."""

import itertools
import json
import random
import signal

import pytest
import short
import tiny
import torch
from attacks.kills import steady
from processes import of_one_run

import clipclean
from clipclean import checkpoint, report
from clipclean.errors import Interrupted

SEARCH = {"steps": 2, "restarts": 1, "suspects": 2, "controls": 4, "images": 2, "free_images": 2, "sweep": 2}
SHORT = "train.batch_size=16, train.warmup_steps=1, train.eps=0.001, train.max_steps="
CHANGES = [
    f"auto.candidates={json.dumps([f'mmcl({SHORT}2)', f'mmcl({SHORT}2) + par({SHORT}3)'])}",
    "auto.test_backdoors=2", "auto.plant_steps=4", "auto.batch_size=16", "auto.refinetune_steps=2", "auto.effort=quick",
]  # fmt: skip
WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture
def job(tmp_path, monkeypatch):
    short.searches(monkeypatch, **SEARCH)
    short.exact(monkeypatch)
    return tiny.job(tmp_path / "job")


def cleaned(job, out, progress=None):
    """A run of ``auto``: its report, without what time and memory decide, and its weights."""
    found = clipclean.sanitize(
        job.model, job.data, out=job.folder / out, recipe="auto", set=CHANGES, arch=str(job.arch),
        classes=job.classes, templates=job.templates, device="cpu", keep_failed=True, progress=progress,
    )  # fmt: skip
    told = json.loads(report.json(found))
    told.pop("provenance", None)
    told["auto"].pop("seconds")
    return steady(told), (job.folder / out / WEIGHTS).read_bytes()


@pytest.mark.slow
def test_a_run_that_is_interrupted_once_in_each_of_its_stages_ends_as_one_that_is_not(job, unread):
    calls = []
    whole = cleaned(job, "whole", lambda what, *_: calls.append(what))
    lengths = {}  # calls of each stage when it came first: some come again at the end
    for stage, some in itertools.groupby(calls):
        lengths.setdefault(stage, len(list(some)))
    draw, caught, after = random.Random(0), [], None
    for stage, count in lengths.items():
        drawn = draw.randint(1, count)

        def interrupting(what, *_, stage=stage, drawn=drawn, so_far=[]):  # noqa: B006 # one list a stage
            # A stage that another load made slower the first time has fewer calls now: then the call after it interrupts.
            if what == stage or 0 < len(so_far) < drawn:
                so_far.extend([what] if what == stage else [what] * drawn)
                if len(so_far) == drawn or what != stage:
                    signal.raise_signal(signal.SIGINT)

        try:
            after = cleaned(job, "disturbed", interrupting)
        except (KeyboardInterrupt, Interrupted):
            caught.append(stage)
        else:  # nothing of this stage was left to do
            break
    assert {"searching before", "planting test backdoors in a copy"} <= set(caught), (caught, lengths)
    assert any(": finetuning" in stage for stage in caught), (caught, lengths)
    assert (after or cleaned(job, "disturbed")) == whole


def near(one, other, place=""):
    """Assert that numbers agree within 1e-4 and all else is equal."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), place
        for key in one.keys() - {"tsne", "map"}:  # which turn a difference in the last bit into another map
            near(one[key], other[key], f"{place}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), place
        for number, pair in enumerate(zip(one, other, strict=True)):
            near(*pair, f"{place}[{number}]")
    elif isinstance(one, float):
        assert other == pytest.approx(one, abs=1e-4), place
    else:
        assert one == other, place


@pytest.mark.slow
def test_two_processes_make_the_same_run_as_one(job):
    runs = {}
    for size in (1, 2):
        out = job.folder / f"{size}"
        options = ["--data", job.data, "--out", out, "--arch", job.arch, *job.words(), "--recipe", "auto"]
        options += [part for change in CHANGES for part in ("--set", change)]
        arguments = ["sanitize", job.model, *options, "--keep-failed"]
        (code, words), *others = of_one_run(*arguments, size=size, **SEARCH)
        assert (out / "report.json").exists(), words
        assert [other for other, _ in others] == [0] * (size - 1), others
        if size == 2:
            assert "2 processes" in words
        record = steady(json.loads((out / "report.json").read_text()))
        record["auto"].pop("seconds", None)
        runs[size] = (code, record, checkpoint.read(out / WEIGHTS).tensors)
    (alone, record, weights), (both, shared, others) = runs[1], runs[2]
    assert alone == both
    for part in ("verdict", "auto", "before", "after"):
        near(record[part], shared[part], part)
    for name, values in weights.items():
        torch.testing.assert_close(others[name], values, atol=1e-5, rtol=0, msg=name)
