"""Files and links that come with a model, in the places where a run once kept its state."""

import multiprocessing
import os
import time

import pytest
import safetensors.torch
import tiny
import torch

from clipclean import cli, own_state
from clipclean.errors import UsageError
from clipclean.train import RunState


def everything_in(folder):
    return {path.relative_to(folder).as_posix(): path.is_file() and path.read_bytes() for path in folder.rglob("*")}


PLACES = (".out.clipclean-run", ".clipclean-out.clipclean-run")
LINKS = {  # what is a link, and where it leads
    "into a home": dict.fromkeys(PLACES, "home"),
    "to the folder above": {PLACES[0]: "."},
    "of the lock": {f"{PLACES[0]}/lock": "home/thesis.txt"},
}


@pytest.mark.parametrize("links", LINKS.values(), ids=LINKS)
def test_nothing_that_came_with_a_model_is_taken_for_a_state(job, tmp_path, unread, links):
    """The state is of this very run, weights changed, in each place where a folder that one fetched could hold it.

    Links in those places lead nowhere.
    """
    (tmp_path / "home" / ".ssh").mkdir(parents=True)
    (tmp_path / "home" / "thesis.txt").write_text("years of work")
    (tmp_path / "home" / ".ssh" / "id").write_text("key")
    for name, target in links.items():
        (job.folder / name).parent.mkdir(exist_ok=True)
        (job.folder / name).symlink_to(tmp_path / target)
    own = RunState.of(job.out, {}).folder.name
    for name in {PLACES[0], own, f"runs/{own}"} - {*links}:
        place = job.folder / name
        place.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_file({"model.visual.proj": torch.zeros(2)}, place / "state.safetensors")
    before = everything_in(tmp_path)
    assert cli.main(job.sanitize()) == 4
    assert tiny.result(job.out)["training"]["resumed_at"] == 0
    after = everything_in(tmp_path)
    assert {name: after.get(name) for name in before} == before


def test_five_processes_never_hold_one_output_at_once(tmp_path):
    """Each takes the lock thirty times; inside it, a file that only one can make."""
    place, inside = own_state.place_of(tmp_path / "out"), tmp_path / "inside"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_take_often, args=(place, inside)) for _ in range(5)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 5


def _take_often(place, inside):
    taken, until = 0, time.monotonic() + 50
    while taken < 30 and time.monotonic() < until:
        try:
            with own_state.locked(place):
                os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
                inside.unlink()
                taken += 1
        except UsageError:
            continue
    os._exit(0 if taken == 30 else 1)
