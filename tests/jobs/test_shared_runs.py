"""What several processes, as torchrun starts them, do with audits and searches."""

import pytest
from processes import ROOT, ended, started

COMMAND = """
import sys
sys.path.insert(0, "tests")
import short
from clipclean import cli
short.run(steps=2, suspects=2, controls=4, images=2, free_images=2, sweep=2)
raise SystemExit(cli.main(sys.argv[1:]))
"""
FIRST = """
import sys
import torch
from clipclean import deadline
from clipclean.detect import Rate
from clipclean.errors import Inconclusive
from clipclean.train import distributed

def raising(error):
    raise error

def all_raise(group, error):
    try:
        group.of_first(lambda: raising(error))
    except type(error) as found:
        return str(found) == str(error)
    return False

with distributed.joined("cpu") as group:
    rate, numbers = group.of_first(lambda: (Rate(group.rank, 2), torch.full((3,), float("inf"))))
    assert (rate.hits, numbers.isinf().all()) == (0, True), rate
    assert group.any(group.rank == 1) and not group.any(False)
    assert all_raise(group, Inconclusive("too few")), "a fault stays with the first"
    assert all_raise(group, deadline.OutOfTime()), "time is over in the first alone"
"""


@pytest.mark.slow
def test_what_the_first_one_makes_or_raises_is_made_or_raised_in_all():
    for code, words in ended(started(FIRST, size=2, cwd=ROOT)):
        assert code == 0, words


@pytest.mark.slow
def test_an_audit_is_refused_by_several_processes(job):
    for code, words in ended(started(COMMAND, *job.audit(), size=2, cwd=ROOT)):
        assert code == 2
        assert "runs in one process, and here are 2" in words


@pytest.mark.slow
def test_a_search_before_a_cleaning_is_made_by_the_first_one_for_all(job, monkeypatch, tmp_path):
    monkeypatch.setenv("CLIPCLEAN_STATE", str(tmp_path / "state"))
    quick = ("unlearn.effort=quick", "unlearn.steps=2", "unlearn.max_rounds=1")
    arguments = job.sanitize(*(part for each in quick for part in ("--set", each)), recipe="unlearn@tiny", batch=8)
    (first, words), (second, silence) = ended(started(COMMAND, *arguments, size=2, cwd=ROOT))
    assert (first, second) == (4, 0), words + silence
    assert silence == ""
    assert (job.out / "report.json").exists()
