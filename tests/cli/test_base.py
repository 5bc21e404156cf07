"""``--base``: what a report tells of the model that another one was finetuned from."""

import pytest
import short
import tiny
import torch
from report.page import Page

from clipclean import checkpoint, report


@pytest.fixture(scope="module", autouse=True)
def _short():
    with pytest.MonkeyPatch.context() as patch:
        short.searches(patch)
        short.exact(patch)
        yield


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A job whose model lies near ``base.pt`` and is a stranger to ``other.pt``."""
    job = tiny.job(tmp_path_factory.mktemp("job"))
    own, drawn = tiny.state_dict(tiny.SMALL_VIT), torch.Generator().manual_seed(5)
    moved = {
        name: each + 0.02 * torch.randn(each.shape, generator=drawn) * each.std()
        for name, each in own.items()
        if each.ndim > 1
    }
    torch.save(own | moved, job.folder / "base.pt")
    torch.save(tiny.state_dict(tiny.SMALL_VIT, seed=1), job.folder / "other.pt")
    tiny.labelled(job.folder / "labelled", count=60)
    return job


def audited(job, said, base):
    made = [
        "--json",
        "--effort",
        "quick",
        "--quiet",
        "-d",
        job.folder / "labelled",
        "--report",
        f"html={job.folder / 'page.html'}",
    ]
    found = said(job.audit(*made, "--base", job.folder / base), 4)
    report.parse(found)
    return found


@pytest.mark.parametrize("start", ["base", "directions"])
def test_a_cleaning_goes_towards_the_base_and_tells_what_it_left(job, said, unread, start):
    values = (
        "unlearn.steps=2",
        "train.walk=0.001",
        "train.batch_size=16",
        "data.min_pairs=16",
        "train.warmup_steps=1",
        "auto.effort=quick",
    )
    values = (*values, f"train.undo_from={start}")
    short_run = [part for value in values for part in ("--set", value)]
    asked = job.sanitize(
        "--base", job.folder / "base.pt", "--json", "--force", "--keep-failed", *short_run, recipe="undo", search=True
    )
    made = said(asked, 4)
    report.parse(made)
    assert (made["recipe"]["name"], made["base"]["is_base"]) == ("undo", True)
    assert isinstance(made["base"]["left"], list)
    written = checkpoint.read(job.out).tensors
    base, own = (checkpoint.read(job.folder / name).tensors for name in ("base.pt", "model.pt"))
    left, there = (torch.dist(each["visual.proj"], base["visual.proj"]) for each in (written, own))
    assert left < there
    assert torch.equal(written["text_projection"], own["text_projection"])


def test_without_a_base_there_is_nothing_to_begin_with(job, refused):
    refused(job.sanitize(recipe="undo", search=True), job.folder, 2, "--base")


def rules(made):
    return {finding["rule"] for finding in made["findings"]}


def test_a_true_base_is_told_with_what_moved(job, said):
    made = audited(job, said, "base.pt")
    base = made["base"]
    assert (base["name"], base["is_base"], base["weights"] > 0.99, base["images"] > 0.9) == (
        "base.pt",
        True,
        True,
        True,
    )
    assert base["change"] == pytest.approx(0.02, abs=0.01)
    assert {each["class"] for each in base["moved"]} == set(tiny.CLASSES)
    assert {"token_embedding", "visual.transformer.resblocks.0"} <= {each["name"] for each in base["layers"]}
    assert "CC035" not in rules(made)
    assert "CC004" not in rules(made)  # it serves as a reference
    page = Page((job.folder / "page.html").read_text(encoding="utf-8"))
    assert page.faults == []
    [section] = [each for each in page.all("section") if each.get("id") == "base"]
    assert section


def test_a_stranger_is_taken_as_a_reference_and_told(job, said):
    made = audited(job, said, "other.pt")
    assert (made["base"]["is_base"], made["base"]["differences"]) == (False, [])
    assert "CC035" in rules(made)
    assert not {"CC004", "CC009"} & rules(made)
