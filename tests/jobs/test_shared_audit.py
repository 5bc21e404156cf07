"""Audits that two processes share, as torchrun starts them."""

import json

import pytest
import tiny
from processes import ROOT, ended, started

# The command in one process of a run, with a search of a few steps; the second process dies in its n-th search towards classes.
PROCESS = """
import os, sys
sys.path.insert(0, "tests")
from clipclean import cli
from clipclean.config import recipe
recipe.EFFORTS["quick"] = recipe.EFFORTS["quick"].model_copy(
    update={"steps": 2, "restarts": 1, "suspects": 2, "controls": 4, "images": 2, "free_images": 2, "sweep": 2}
)
dies, arguments = int(sys.argv[1]), sys.argv[2:]
if dies and os.environ.get("RANK") == "1":
    from clipclean.detect import inversion
    real, calls = inversion.targeted, []
    def targeted(*given, **more):
        calls.append(1)
        if len(calls) == dies:
            os._exit(9)  # as if it were killed
        return real(*given, **more)
    inversion.targeted = targeted
raise SystemExit(cli.main(arguments))
"""


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    made = tiny.job(tmp_path_factory.mktemp("shared") / "job")
    tiny.labelled(made.folder / "shown", count=24)
    return made


@pytest.fixture(scope="module")
def alone(job):
    """The report of one process."""
    _, told = audited(job, size=1)
    return told


@pytest.fixture(autouse=True)
def _own(monkeypatch, tmp_path):
    monkeypatch.setenv("CLIPCLEAN_STATE", str(tmp_path / "state"))


def audited(job, *, size, dies=0):
    """The exit codes and words of the processes of one audit, and its report if there is one."""
    out = job.folder / "report.json"
    out.unlink(missing_ok=True)
    arguments = job.audit("--data", job.folder / "shown", "--effort", "quick", "--report", out)
    found = ended(started(PROCESS, dies, *arguments, size=size, cwd=ROOT))
    return found, json.loads(out.read_text()) if out.exists() else None


def near(one, other, place="report"):
    """Assert that two reports agree but for times, numbers within 1e-5."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), place
        for key in one.keys() - {"seconds", "environment", "notes"}:
            near(one[key], other[key], f"{place}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), place
        for number, pair in enumerate(zip(one, other, strict=True)):
            near(*pair, f"{place}[{number}]")
    elif isinstance(one, float):
        assert other == pytest.approx(one, abs=1e-5, rel=1e-5), place
    else:
        assert one == other, place


@pytest.mark.slow
def test_two_processes_find_what_one_finds_and_only_the_first_one_speaks(job, alone):
    ((first, words), (second, silence)), both = audited(job, size=2)
    assert both is not None, words + silence
    assert (first, second) == ({"pass": 0, "fail": 1, "inconclusive": 4}[alone["verdict"]], 0)
    assert "2 processes share the searches" in words
    assert silence == ""
    assert alone["measurements"]["search"]["found"]
    near(alone, both)


@pytest.mark.slow
def test_a_dead_process_ends_the_audit_and_leaves_a_state_that_one_process_goes_on_from(job, alone):
    ((first, words), (second, _)), nothing = audited(job, size=2, dies=2)
    assert (first, second) == (5, 9)
    assert nothing is None
    assert "Process 0 of 2 cannot reach the others" in words
    ((_, words),), after = audited(job, size=1)
    assert "Resuming at step " in words
    near(alone, after)


def test_several_models_are_refused_by_several_processes(job):
    models = [job.model, job.folder / "other.pt"]
    models[1].write_bytes(job.model.read_bytes())
    for code, words in ended(started(PROCESS, 0, *job.audit(models=models), size=2, cwd=ROOT)):
        assert code == 2
        assert "runs in one process, and here are 2" in words
