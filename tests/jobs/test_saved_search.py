import gc
import random
import resource
import signal
import time
import warnings
from dataclasses import replace

import pytest
import short
import tiny
import torch

import clipclean
from clipclean import checkpoint, deadline, detect, own_state
from clipclean.attack import triggers
from clipclean.config.effort import EFFORTS, Effort
from clipclean.errors import Inconclusive, Interrupted
from clipclean.jobs import build_references, saved_search
from clipclean.progress import Listener, heard
from clipclean.requests import Audit, References

INTERRUPTED = 3  # times
QUICK = Effort(steps=1, suspects=2, controls=3, images=2, free_images=2, sweep=0)
FREE = len(QUICK.without_target)  # steps without a target
STEPS = FREE + len(detect.SEARCH_FAMILIES)


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(EFFORTS, "quick", QUICK)
        short.exact(patch)
        yield


@pytest.fixture(autouse=True)
def _own(monkeypatch, tmp_path):
    monkeypatch.setenv("CLIPCLEAN_STATE", str(tmp_path / "state"))
    own_state.COMMAND.set("clipclean audit")  # not a longer one of a test before


@pytest.fixture(scope="module")
def request_(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audit")
    made = tiny.job(folder)
    trusted = folder / "trusted.pt"
    state = tiny.state_dict(tiny.SMALL_VIT, seed=1)
    torch.save(state | {"logit_scale": state["logit_scale"] + 0.1}, trusted)  # as another training would have it
    words = {"arch": str(made.arch), "classes": made.classes, "templates": made.templates}
    shown = tiny.labelled(folder / "shown", count=24)
    return Audit(made.model, data=(shown,), reference=(trusted,), effort="quick", device="cpu", **words)


@pytest.fixture
def alone(request_):
    """The same audit without another model to compare with: half of the work."""
    return replace(request_, reference=())


@pytest.fixture(scope="module")
def whole_alone(request_):
    """The numbers of an audit without another model that nothing disturbed."""
    return numbers(audited(replace(request_, reference=())))


def audited(request, said=None, progress=None):
    with heard(Listener(words=None if said is None else said.append, steps=progress)):
        given = dict(vars(request))
        return clipclean.audit(given.pop("model"), **given)


def numbers(report):
    """A report without its times, and without the estimate, which is made where somebody listens."""
    told = report.model_dump(mode="json")
    told.pop("seconds", None)
    told.pop("forecast")
    told["measurements"]["search"].pop("seconds", None)
    return told


def states():
    folder = own_state.home() / own_state.AUDITS
    return sorted(folder.iterdir()) if folder.is_dir() else []


def interrupted_after(seconds, request):
    """Whether an audit was interrupted by a signal so long after it began."""

    inside = ["the audit"]

    def interrupt(*_):
        if inside:
            raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # a library's file that the signal left open
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds)
            audited(request)
            inside.clear()
        except (KeyboardInterrupt, Interrupted):
            return True
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
            gc.collect()  # here, not in another test
    return False


# A callback of the collector swallows a signal that lands in it: that one interrupts nothing.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_audit_interrupted_at_random_moments_ends_with_the_numbers_of_one_that_was_not(request_):
    whole, began = numbers(audited(request_)), time.monotonic()  # all that is imported late is there
    assert numbers(audited(request_)) == whole
    calibration = {"kind": "reference", "name": "trusted.pt", "models": 1}
    assert whole["measurements"]["search"]["calibration"] == calibration
    latest, rng, caught = time.monotonic() - began, random.Random(0), 0
    assert states() == []
    for _ in range(60):
        if interrupted_after(rng.uniform(0.01, 1) * latest, request_):
            caught += 1
        else:
            latest /= 2  # the more is kept, the sooner an audit ends, and what else the machine does changes
        if caught == INTERRUPTED:
            break
    assert caught == INTERRUPTED
    assert numbers(audited(request_)) == whole
    assert states() == []


def stopped(request, *, stage, after):
    """An audit that is interrupted once a stage of it has gone so far."""

    def progress(what, done, _total):
        if (what, done) == (stage, after):
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        audited(request, progress=progress)


@pytest.mark.slow
def test_an_audit_goes_on_from_the_state_of_its_own_seed_alone(alone):
    stopped(alone, stage="searching", after=2)
    (first,) = states()
    other, said = replace(alone, seed=1), []
    stopped(other, stage="searching", after=3)
    assert len(states()) == 2
    resumed = numbers(audited(other, said))
    assert any(f"step 4 of {STEPS}" in words for words in said)
    assert states() == [first]
    assert resumed["measurements"]["search"] != numbers(audited(alone))["measurements"]["search"]


@pytest.mark.slow
def test_the_removal_of_the_oldest_of_too_many_states_is_said(alone, monkeypatch):
    monkeypatch.setattr(saved_search, "MOST_KEPT_AUDITS", 1)
    said = []
    for seed in (0, 1):
        stopped(replace(alone, seed=seed), stage="searching", after=1)
    audited(replace(alone, seed=2), said)
    assert any("Removed" in words for words in said)
    assert len(states()) == 1


def test_a_stage_that_cannot_be_read_is_done_again(alone, whole_alone):
    stopped(alone, stage="searching", after=3)
    kept = sorted(states()[0].glob("*/*.safetensors"))
    assert len(kept) >= 2
    for number, path in enumerate(kept):
        path.write_bytes(path.read_bytes()[:-5] if number % 2 else b"?")
    assert numbers(audited(alone)) == whole_alone


@pytest.mark.slow
def test_a_state_of_another_version_is_left_alone(alone, monkeypatch):
    whole = numbers(audited(alone))  # slow tests try more known triggers than the others
    stopped(alone, stage="searching", after=3)
    (old,) = states()
    monkeypatch.setattr(torch, "__version__", "2.0")
    said = []
    assert numbers(audited(alone, said)) == whole
    assert not any("Resuming" in words for words in said)
    assert states() == [old]


@pytest.mark.parametrize("is_full", [True, False])
def test_without_room_for_its_state_an_audit_runs_all_the_same(alone, whole_alone, monkeypatch, tmp_path, is_full):
    said, before = [], resource.getrlimit(resource.RLIMIT_FSIZE)
    if is_full:
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1]))
    else:
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("CLIPCLEAN_STATE", str(tmp_path / "file"))
    try:
        found = audited(alone, said)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert numbers(found) == whole_alone
    assert any("starts again" in words for words in said)


def test_a_deadline_before_the_model_is_read_is_inconclusive(alone):
    with pytest.raises(Inconclusive):
        audited(replace(alone, max_minutes=1e-9))


def test_an_audit_that_ended_at_its_deadline_goes_on_with_more_time(alone, whole_alone, monkeypatch):
    with deadline.within(60):

        def progress(what, done, _total):
            if what == "searching" and done == FREE + 2:  # two families were searched for towards the classes
                short.an_hour_passes(monkeypatch)

        cut = audited(alone, progress=progress)
    assert cut.verdict in ("inconclusive", "fail")
    (late,) = [each for each in cut.findings if each.rule == "CC024"]
    assert f"{FREE + 2} of {STEPS}" in late.message
    assert {each.family for each in cut.measurements.search.found} == {"patch", "mask"}
    assert len(states()) == 1
    assert numbers(audited(alone)) == whole_alone
    assert states() == []


def test_an_audit_cut_in_the_search_of_a_reference_tells_of_known_triggers_alone(request_, monkeypatch):
    def progress(what, done, _total):
        if (what, done) == ("searching the reference trusted.pt", 1):
            short.an_hour_passes(monkeypatch)

    with deadline.within(60):
        cut = audited(request_, progress=progress)
    assert (cut.verdict != "pass", "CC024" in {each.rule for each in cut.findings}) == (True, True)
    assert len(cut.measurements.probes) == len(triggers.panel(0))
    assert len(states()) == 1
    whole = numbers(audited(request_))
    assert states() == []
    assert whole == numbers(audited(request_))


def test_a_reference_that_knows_no_class_or_is_a_finetune_of_the_model_is_told(request_, tmp_path):
    finetune = tmp_path / "finetune.pt"
    own = checkpoint.read(request_.model).tensors
    torch.save({name: value + 0.001 * torch.randn(value.shape) for name, value in own.items()}, finetune)

    def levels(reference):
        made = audited(replace(request_, reference=(reference,)))
        told = (each for each in made.findings if each.rule == "CC004" and reference.name in each.message)
        return made.verdict != "pass", sorted(each.level for each in told)

    assert levels(*request_.reference) == (True, ["warning"])
    assert levels(finetune) == (True, ["note", "warning"])


@pytest.mark.slow
def test_an_interrupted_build_of_references_goes_on_with_the_next_model(request_, tmp_path):
    (reference,) = request_.reference
    shared = {key: getattr(request_, key) for key in ("data", "effort", "arch", "classes", "templates", "device")}
    asked = References((request_.model, reference), out=tmp_path / "r.json", **shared)
    stages, said = set(), []

    def progress(what, done, _total):
        if (what, done) == ("searching the reference trusted.pt", 1):
            raise KeyboardInterrupt

    with pytest.raises(Interrupted), heard(Listener(steps=progress)):
        build_references.build_references(asked)
    with heard(Listener(words=said.append, steps=lambda what, done, _: stages.add((what, done)))):
        found = build_references.build_references(asked)
    assert any("step 2" in words for words in said)
    assert (f"measuring the reference {request_.model.name}", 1) not in stages
    assert len(found["models"]) == 2
    assert states() == []
