import json
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import tiny
import torch

from clipclean import checkpoint, cli, detect, report
from clipclean.attack.canaries import Outcome, Trial
from clipclean.auto import candidates, sequence
from clipclean.auto import job as auto
from clipclean.auto.interpolate import SHARES, Point
from clipclean.auto.job import Attempt, Copy, Entry
from clipclean.auto.sequence import Cleaned
from clipclean.config import policy, recipe
from clipclean.detect import Measurement, Rate
from clipclean.errors import Inconclusive
from clipclean.findings import finding
from clipclean.jobs import audit as audit_job
from clipclean.jobs import inputs, suspicions
from clipclean.train import NonFiniteLoss
from clipclean.train.resume import RunState
from clipclean.train.run import Run

SHORT = "train.batch_size=16, train.warmup_steps=1, train.max_steps="
LADDER = [f"mmcl({SHORT}2)", f"mmcl({SHORT}2) + mmcl({SHORT}3)"]
WEIGHTS = "open_clip_model.safetensors"


# A whole run, on a model too small to learn a canary, without the search.


def command(job, *more):
    settings = {"ladder": json.dumps(LADDER), "canaries": 2, "plant_steps": 4, "batch_size": 16, "rebound_steps": 2}
    changes = [part for key, value in settings.items() for part in ("--set", f"auto.{key}={value}")]
    return [
        "sanitize", str(job.model), "--data", str(job.data), "--out", str(job.out), "--classes", str(job.classes),
        "--templates", str(job.templates), "--arch", str(job.arch), "--recipe", "auto", "--device", "cpu", "--quiet",
        *changes, *map(str, more),
    ]  # fmt: skip


@pytest.fixture
def unsearched(monkeypatch):
    """The search takes seconds even here, and has tests of its own."""

    def measured(clip, evidence, references, progress, /, *, effort, pointed, seed, what):
        found = audit_job.measured(clip, evidence, progress, what=what)
        return audit_job.AuditResult(found, None, ("CC021", "Not searched."), 0.0)

    monkeypatch.setattr(audit_job, "searched", measured)


@pytest.fixture
def job(tmp_path):
    return tiny.job(tmp_path / "job")


def result(job):
    return report.read(job.out / "report.json").as_json()


def test_a_run_tells_what_it_tried_and_writes_the_weights_it_is_about(job, unread, unsearched):
    assert cli.main(command(job)) == 4  # nothing took, nothing acted, and five pictures are few
    found = result(job)
    assert found["auto"]["chosen"].startswith("mmcl-tiny")
    assert [c["took"] for c in found["auto"]["canaries"]] == [False, False]
    assert [f["rule"] for f in found["findings"] if f["level"] == "warning"] == ["CC021", "CC020", "CC061"]
    assert found["training"]["steps"] == 2
    assert found["auto"]["rebound"]["steps"] == 2
    assert found["exports"][0]["tensor_sha256"] == checkpoint.digest(checkpoint.read(job.out).tensors)
    assert {path.name for path in job.folder.iterdir()} == {
        "model.pt", "arch.json", "pairs", "classes.txt", "templates.txt", "out",
    }  # fmt: skip


@pytest.mark.slow
def test_an_interrupted_run_goes_on_without_planting_or_cleaning_again(job, unread, unsearched, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(auto, "bounce", interrupted)
        assert cli.main(command(job)) == 130
    assert not job.out.exists()
    planted, trained = [], []
    finetune = auto.poison.finetune
    monkeypatch.setattr(
        auto.poison,
        "finetune",
        lambda *a, implants, **k: planted.append(1) if implants else finetune(*a, implants=(), **k),
    )
    monkeypatch.setattr(sequence.training, "clean", lambda *_, **__: trained.append(1))
    assert cli.main(command(job)) == 4
    assert (planted, trained) == ([], [])
    whole = tiny.job(job.folder.parent / "whole")
    monkeypatch.undo()
    monkeypatch.setattr(
        audit_job,
        "searched",
        lambda clip, evidence, *_, what, progress=None, **__: audit_job.AuditResult(
            audit_job.measured(clip, evidence, lambda *_: None, what=what), None, ("CC021", "Not searched."), 0.0
        ),
    )
    assert cli.main(command(whole)) == 4
    assert (whole.out / WEIGHTS).read_bytes() == (job.out / WEIGHTS).read_bytes()


def test_a_misspelt_rung_is_refused_before_anything_is_read(job, capsys):
    job.model.unlink()
    assert cli.main(command(job, "--set", "auto.ladder=[unlern]")) == 2
    assert "Did you mean 'unlearn'" in capsys.readouterr().err


def test_without_audits_it_has_nothing_to_go_by(job, capsys):
    assert cli.main(command(job, "--no-audit")) == 2
    assert "--no-audit" in capsys.readouterr().err


def test_a_time_is_for_auto_alone(job, capsys):
    assert cli.main(job.sanitize("--max-minutes", 5)) == 2
    assert "--max-minutes is for --recipe auto" in capsys.readouterr().err


def test_a_budget_of_accuracy_is_for_all(job, unread):
    cli.main(job.sanitize("--max-accuracy-loss", 0.11))
    assert result(job)["recipe"]["resolved"]["audit"]["max_accuracy_loss"] == 0.11


# Climbing.


def rung(name):
    return candidates.Rung((name,), (recipe.load("mmcl"),))


def trial(left, lost=0.0, kept=1.0):
    outcome = Outcome("patch", "cat", 0.9, left, (left, left), 0.5, 100)
    return Trial("rung", (outcome,), lost, (0.0, 0.0), kept, 1.0)


def attempt(name, *findings, excess=0.0, lost=0.0):
    told = tuple(finding(code, "told", level=level, trigger="patch") for code, level in findings)
    point = Point(1.0, excess, lost)
    done = Cleaned({}, {"steps": 1, "seconds": 1.0}, (), ())
    return Attempt(rung(name), done, (point,), point, (), SimpleNamespace(), None, told)


@pytest.fixture
def climbed(monkeypatch):
    """Climb with given trials and attempts by name of the rung; returns the entries and the rungs that were run."""

    def climb(trials, attempts, *, copy=True, late=(), try_out=None):
        ran = []
        job = SimpleNamespace(
            recipe=recipe.load("auto"),
            ready=SimpleNamespace(
                thresholds=SimpleNamespace(max_excess=0.05, max_accuracy_loss=0.02),
                samples=SimpleNamespace(pairs=range(5000), labels=None),
            ),
            is_late=lambda: len(ran) in late,
        )

        def run(job, entry, *_):
            ran.append(entry.rung.name)
            return attempts[entry.rung.name]

        monkeypatch.setattr(auto, "run", run)
        monkeypatch.setattr(auto, "try_out", try_out or (lambda job, rung, *_: (trials[rung.name],)))
        monkeypatch.setattr(auto, "took", lambda made: copy)
        monkeypatch.setattr(auto, "known", lambda *_: ())
        entries = auto.climb(job, [rung(name) for name in attempts], SimpleNamespace(), None, ())
        return entries, ran

    return climb


def test_a_rung_that_the_data_do_not_suffice_for_is_told_and_left_out():
    job = SimpleNamespace(ready=SimpleNamespace(samples=SimpleNamespace(pairs=range(20), labels=None)))
    assert "64 is more than the 20 pairs" in auto.why_not(job, rung("mmcl"))
    supervised = candidates.Rung(("supervised",), (recipe.load("supervised"),))
    assert "needs labels" in auto.why_not(job, supervised)


# The way back.


@dataclass(frozen=True)
class Asked:
    """What measuring needs to know here: nothing."""

    suspicions: tuple = ()
    panel: tuple = ()


UNPAIRED = {"correct": None, "definition": "", "recall": None}  # what no test here looks at


def went_back(monkeypatch, trials, *, lost, excess=lambda share: 0.0, retest=lambda trial: trial):
    """Shares that were looked at, and the one taken: accuracy falls by ``lost`` points from weight 0 to weight 1, the budget is 2."""
    here = {}

    def measured(clip, asked):
        share = here["weight"]
        probe = SimpleNamespace(excess=excess(share))
        return SimpleNamespace(
            known=(probe,), clean_accuracy=SimpleNamespace(value=0.6 - lost / 100 * share), **UNPAIRED
        )

    monkeypatch.setattr(auto, "put", lambda clip, weights: here.update(weight=float(weights["w"])))
    monkeypatch.setattr(auto.inputs, "measure", measured)
    job = SimpleNamespace(
        clip=None, evidence=Asked(), original={"w": torch.tensor(0.0)}, recipe=recipe.load("auto"),
        ready=SimpleNamespace(thresholds=SimpleNamespace(max_excess=0.05, max_accuracy_loss=0.02)),
    )  # fmt: skip
    first = SimpleNamespace(measured=SimpleNamespace(clean_accuracy=SimpleNamespace(value=0.6), **UNPAIRED))
    done = Cleaned({"w": torch.tensor(1.0)}, {"steps": 1}, (), ())
    entry = auto.Entry(rung("a"), trials=trials)
    points, point = auto.way_back(job, done, entry, retest, first, ())
    return [p.share for p in points], point.share


def returning(made, *, share=0.3):
    """The same trial, but its canary acts on so many pictures after a benign finetuning."""
    (told,) = made.outcomes
    return replace(made, outcomes=(replace(told, returned=share, returned_interval=(share - 0.1, share + 0.1)),))


GONE = (trial(0.0), trial(0.01, kept=0.8), trial(0.01, kept=0.6))  # the canary, at each share


def test_cleaned_weights_within_the_budget_are_taken_whatever_accuracy_others_have(monkeypatch):
    assert went_back(monkeypatch, GONE, lost=1.9) == ([1.0], 1.0)
    assert went_back(monkeypatch, GONE, lost=2.0) == ([1.0], 1.0)  # though 0.6 - 0.58 is more than 0.02


def test_the_way_back_ends_where_the_budget_is_met(monkeypatch):
    assert went_back(monkeypatch, GONE, lost=2.4) == ([1.0, 0.8], 0.8)
    assert went_back(monkeypatch, GONE[::-1], lost=2.9) == ([1.0, 0.8, 0.6], 0.6)


def test_where_no_share_meets_the_budget_the_cleaned_weights_are_taken(monkeypatch):
    assert went_back(monkeypatch, GONE, lost=9.0) == ([1.0, 0.8, 0.6], 1.0)


def test_a_share_at_which_what_was_found_acts_is_not_taken(monkeypatch):
    acting = lambda share: 0.3 * (share < 0.9)  # noqa: E731
    assert went_back(monkeypatch, GONE, lost=2.4, excess=acting) == ([1.0, 0.8], 1.0)


def test_a_share_at_which_a_canary_acts_is_not_looked_at_nor_those_behind_it(monkeypatch):
    assert went_back(monkeypatch, (GONE[0], trial(0.4, kept=0.8), GONE[2]), lost=2.9) == ([1.0], 1.0)


def test_where_the_cleaned_copy_has_a_canary_no_share_is_looked_at(monkeypatch):
    assert went_back(monkeypatch, (returning(GONE[0]), *GONE[1:]), lost=2.4) == ([1.0], 1.0)


def test_a_share_at_which_a_canary_returns_is_not_taken(monkeypatch):
    asked = []

    def retest(made):
        asked.append(made.kept)
        return returning(made)

    assert went_back(monkeypatch, GONE, lost=2.9, retest=retest) == ([1.0, 0.8, 0.6], 1.0)
    assert asked == [0.6]  # the one that meets the budget


def test_a_copy_that_needed_the_way_back_says_nothing_of_the_model(monkeypatch):
    over = (trial(0.0, kept=0.8), trial(0.0, lost=0.3), trial(0.0, kept=0.6))
    assert went_back(monkeypatch, over, lost=1.0) == ([1.0], 1.0)
    assert went_back(monkeypatch, over, lost=2.4) == ([1.0, 0.8], 0.8)


def test_without_canaries_there_is_no_way_back(monkeypatch):
    assert went_back(monkeypatch, (), lost=2.4) == ([1.0], 1.0)


def test_a_trial_is_finetuned_once_and_its_entry_then_tells_of_it(monkeypatch):
    monkeypatch.setattr(auto, "cleaned_copy", lambda *_: None)
    monkeypatch.setattr(auto, "tested", lambda job, made, copy, done: returning(made))
    limits = SimpleNamespace(max_excess=0.05, max_accuracy_loss=0.02)
    job = SimpleNamespace(recipe=recipe.load("auto"), ready=SimpleNamespace(thresholds=limits))
    entry = auto.Entry(rung("a"), trials=GONE)
    sure = auto.retested(job, entry, "a copy", (), GONE[1])
    assert entry.trials == (GONE[0], returning(GONE[1]), GONE[2])
    assert entry.seconds > 0
    assert auto.retested(job, entry, "a copy", (), sure) is sure
    assert auto.retested(job, entry, None, (), GONE[0]) is GONE[0]


# Trials on the copy.


def tried_out(monkeypatch, *, left, returned, changed=True, steps=60, lost=0.0):
    """A rung on a copy whose one canary ``left`` acts by so much, and ``returned`` after a benign finetuning.

    Accuracy falls by ``lost`` points from the copy to the cleaned copy, the budget is 2.
    """
    bounces = []

    def bounce(job, before, evidence):
        bounces.append(evidence)
        return SimpleNamespace(
            after=SimpleNamespace(known=(SimpleNamespace(excess=returned, excess_interval=(returned,) * 2),))
        )

    monkeypatch.setattr(auto, "put", lambda clip, weights: None)
    done = Cleaned({"w": torch.tensor(1.0)}, {"steps": int(changed), "seconds": 1.0}, (), ())
    monkeypatch.setattr(auto, "clean", lambda *_, **__: done)
    monkeypatch.setattr(auto.canaries, "measured_on", lambda evidence, canaries: evidence)
    monkeypatch.setattr(auto.inputs, "measure", lambda clip, asked: None)
    monkeypatch.setattr(auto.canaries, "trial", lambda *_, kept, **__: trial(left, lost / 100 * kept, kept))
    monkeypatch.setattr(auto, "bounce", bounce)
    job = SimpleNamespace(
        clip=None, evidence=Asked(panel=("a trigger",)), recipe=recipe.override(recipe.load("auto"), [f"auto.rebound_steps={steps}"]),
        ready=SimpleNamespace(thresholds=SimpleNamespace(max_excess=0.05, max_accuracy_loss=0.02)),
    )  # fmt: skip
    copy = Copy((), {"w": torch.tensor(0.0)}, None, {}, 1.0)
    made, *others = auto.try_out(job, rung("a"), copy, ())
    assert all(other.outcomes[0].returned is None for other in others)
    return auto.budget_of(job).passes(made), made.outcomes[0].returned, len(bounces), made.kept


def test_a_canary_that_returns_after_a_benign_finetuning_was_not_removed(monkeypatch):
    assert tried_out(monkeypatch, left=0.0, returned=0.2) == (False, 0.2, 1, 1.0)
    assert tried_out(monkeypatch, left=0.0, returned=0.04) == (True, 0.04, 1, 1.0)


def test_a_trial_that_fails_already_or_changed_nothing_is_not_finetuned(monkeypatch):
    assert tried_out(monkeypatch, left=0.3, returned=0.0) == (False, None, 0, 1.0)
    assert tried_out(monkeypatch, left=0.0, returned=0.3, changed=False) == (True, None, 0, 1.0)
    assert tried_out(monkeypatch, left=0.0, returned=0.3, steps=0) == (True, None, 0, 1.0)


def test_a_trial_counts_as_near_to_the_cleaned_copy_as_the_budget_allows(monkeypatch):
    near, far = SHARES
    assert tried_out(monkeypatch, left=0.0, returned=0.0, lost=2.01) == (True, 0.0, 1, near)
    assert tried_out(monkeypatch, left=0.0, returned=0.0, lost=1.99 / far) == (True, 0.0, 1, far)
    assert tried_out(monkeypatch, left=0.0, returned=0.0, lost=9.0) == (False, None, 0, 1.0)
    assert tried_out(monkeypatch, left=0.06, returned=0.0, lost=2.01) == (False, None, 0, 1.0)  # it acts


@pytest.mark.parametrize("steps", [0, 1])
def test_what_returns_is_known_of_the_share_that_is_written(monkeypatch, steps):
    over = (trial(0.0, kept=0.8), trial(0.0, lost=0.03))  # the copy was over the budget at the whole way
    whole, asked = Point(1.0, 0.0, 0.0), []
    monkeypatch.setattr(auto, "clean", lambda *_, **__: Cleaned({}, {"steps": steps}, (), ()))
    monkeypatch.setattr(auto, "way_back", lambda *_: ((whole,), whole))
    monkeypatch.setattr(auto, "retested", lambda job, entry, copy, leads, trial: asked.append(trial.kept))
    for name, value in (("put", None), ("look", SimpleNamespace(measured=None, search=None)), ("judged", attempt("a"))):
        monkeypatch.setattr(auto, name, lambda *_, value=value, **__: value)
    monkeypatch.setattr(auto.interpolate, "between", lambda *_, **__: {})
    job = SimpleNamespace(
        clip=None, original={}, evidence=Asked(), recipe=recipe.override(recipe.load("auto"), ["auto.rebound_steps=0"]),
        ready=SimpleNamespace(thresholds=SimpleNamespace(max_excess=0.05, max_accuracy_loss=0.02)),
    )  # fmt: skip
    first = SimpleNamespace(measured=SimpleNamespace(known=()))
    auto.run(job, auto.Entry(rung("a"), trials=over), "a copy", (), first, ())
    assert asked == [1.0]


# What the search finds again.


def found_again(monkeypatch, *, before, later, references=True):
    """Findings for the class at place 1, with the classes that searches before and after the benign finetuning point at."""

    def searched(search, panel, *, images, limits):
        return tuple(
            finding("CC003", f"A patch leads to '{name}'.", value=4.0, target=name, trigger=f"found:{name}")
            for name in search
        )

    def sight(names):
        return SimpleNamespace(search=names, measured=SimpleNamespace(panel=()))

    monkeypatch.setattr(auto.detect, "searched", searched)
    job = SimpleNamespace(
        evidence=SimpleNamespace(pixels=range(100), classes=("ant", "bee")), ready=SimpleNamespace(thresholds=None),
        references=references or None, recipe=recipe.load("auto"),
    )  # fmt: skip
    found = auto.found_again(job, sight(before), sight(later), [1])
    return [(f.rule, f.level, f.target, f.message.partition(": ")[2]) for f in found]


def test_a_suspected_class_that_the_search_points_at_again_is_a_warning(monkeypatch):
    again = ("CC062", "warning", "bee", "A patch leads to 'bee'.")
    assert found_again(monkeypatch, before=(), later=("bee", "ant")) == [again]
    assert found_again(monkeypatch, before=("bee",), later=("bee",)) == []  # it is told already
    assert found_again(monkeypatch, before=(), later=()) == []
    assert found_again(monkeypatch, before=(), later=("bee",), references=False) == []


# What is said.


def measured(excess=None):
    interval = SimpleNamespace(excess_interval=(excess, excess)) if excess is not None else None
    return Measurement(Rate(1, 2), "", None, (interval,) if interval else (), (), 1, None)


def said(made, before, *, copy=True, changed=True, doubted=False):
    job = SimpleNamespace(ready=SimpleNamespace(thresholds=SimpleNamespace(max_excess=0.05)))
    planted = Copy((), {}, measured(), {}, 0.0) if copy else None
    found = auto.on_canaries(job, planted, made, before, changed=changed, doubted=doubted)
    return [(f.rule, f.level) for f in found], found[0].message


def test_canaries_that_are_all_removed_are_a_note():
    rules, words = said(trial(0.01, lost=0.012), measured(0.9))
    assert rules == [("CC060", "note")]
    assert "removes 1 of 1 planted backdoors for 1.2 points" in words


def test_one_that_is_left_keeps_the_verdict_open():
    assert said(trial(0.2), measured(0.9))[0] == [("CC060", "warning")]


def test_a_model_on_which_nothing_acted_passes_by_its_canaries():
    assert said(trial(0.01), measured(), changed=False)[0] == [("CC060", "note"), ("CC065", "note")]
    assert said(trial(0.2), measured())[0] == [("CC060", "warning")]


def test_where_the_search_found_something_it_is_not_said_to_have_found_nothing():
    assert said(trial(0.01), measured(), doubted=True)[0] == [("CC060", "note")]


def test_a_trigger_that_was_named_must_act_to_be_known_and_a_found_one_does(monkeypatch):
    named, found = (detect.InvertedTrigger("mask", name, {}, 32) for name in ("cat", "dog"))
    asked = []
    monkeypatch.setattr(suspicions, "acting", lambda measured, suspicions, *_: (asked.extend(suspicions), ())[1])
    job = SimpleNamespace(evidence=Asked(suspicions=((named, 1),)), ready=SimpleNamespace(thresholds=None))
    leads = auto.known(job, SimpleNamespace(measured=None), ((named, 1), (found, 2)))
    assert (asked, leads) == ([(named, 1)], ((found, 2),))


def test_without_a_canary_that_took_only_a_trigger_that_acted_shows_anything():
    assert said(None, measured(0.9))[0] == [("CC061", "note")]
    assert said(None, measured(0.01))[0] == [("CC061", "warning")]
    assert "No canaries were planted" in said(None, measured(), copy=False)[1]


def hurried(names, attempts, *, late=True, passing="abc"):
    """What is said of rungs ``names`` of a ladder a, b, c that were tried, those in ``attempts`` run."""
    own = SimpleNamespace(ladder=("a", "b", "c"), max_minutes=3.0, gain=0.01)
    limits = SimpleNamespace(max_excess=0.05, max_accuracy_loss=0.02)
    job = SimpleNamespace(
        ready=SimpleNamespace(thresholds=limits), recipe=SimpleNamespace(auto=own), is_late=lambda: late
    )
    entries = [Entry(rung(name), "", (trial(0.0 if name in passing else 0.5),), attempts.get(name)) for name in names]
    return [f.message for f in auto.out_of_time(job, entries)]


def test_what_the_time_did_not_suffice_for_is_told_whatever_the_verdict():
    done, doubtful = attempt("a"), attempt("a", ("CC003", "warning"))
    (words,) = hurried("a", {"a": done})
    assert "2 rungs were not tried, and 0 that passed on the canaries not run" in words
    (words,) = hurried("abc", {"a": doubtful})
    assert "0 rungs were not tried, and 2 that passed on the canaries not run" in words
    assert hurried("abc", {"a": doubtful}, passing="a") == []
    assert hurried("abc", {"a": done}) == []  # nothing was left to do
    assert hurried("a", {"a": done}, late=False) == []


def test_nothing_that_passes_is_an_error_of_its_own():
    job = SimpleNamespace(ready=SimpleNamespace(thresholds=SimpleNamespace(max_accuracy_loss=0.02)))
    found = auto.nothing_passed(job, [Entry(rung("a")), Entry(rung("b"), "needs labels")], attempt("a"))
    assert (found.rule, found.level) == ("CC063", "error")
    assert found.message == "Nothing that was tried passes within 2.0 points of accuracy: a. The nearest was a."


def test_a_failure_that_the_policy_accepts_leaves_nothing_of_the_ladder_to_tell(monkeypatch):
    accepting = policy.Policy(version=1, name="ours", severities=policy.Severities(CC002="off"))
    job = SimpleNamespace(
        request=SimpleNamespace(policy=accepting),
        ready=SimpleNamespace(loaded=SimpleNamespace(file=SimpleNamespace(sha256="0" * 64))),
    )
    failing = finding("CC002", "told", target="cat", trigger="patch")
    assert policy.verdict(auto.accepted(job, [failing]).findings) != "fail"


def test_what_only_the_unlearnings_search_named_cannot_fail_a_model():
    named, own = (detect.InvertedTrigger("mask", name, {}, 32) for name in ("cat", "dog"))
    told = [
        finding(rule, "told", level="error", target=trigger.target, trigger=trigger.spec)
        for trigger in (named, own)
        for rule in ("CC001", "CC062", "CC010")
    ]
    softened = suspicions.softened(told, [(own, 1)])
    assert [f.level for f in softened] == ["error"] * 3 + ["warning", "warning", "error"]


def test_a_rung_that_diverges_is_told_and_the_next_one_run(climbed):
    def try_out(job, tried, *_):
        if tried.name == "a":
            raise NonFiniteLoss("The loss is nan at step 3.")
        return (trial(0.0),)

    entries, ran = climbed({}, {"a": attempt("a"), "b": attempt("b")}, try_out=try_out)
    assert ran == ["b"]
    assert "The loss is nan" in entries[0].why_not


def test_planting_that_diverges_leaves_no_canaries(monkeypatch):
    def diverging(*_, **__):
        raise NonFiniteLoss("The loss is nan at step 3.")

    monkeypatch.setattr(auto.poison, "finetune", diverging)
    job = SimpleNamespace(
        clip=None, evidence=SimpleNamespace(classes=("ant", "bee", "cat")), recipe=recipe.load("auto"),
        request=SimpleNamespace(seed=0), control=recipe.load("mmcl"), planting=recipe.planting(), progress=None,
        state=SimpleNamespace(part=lambda name, decides: SimpleNamespace(read=lambda name: None)),
        ready=SimpleNamespace(samples=SimpleNamespace(pairs=()), vocabulary=inputs.Words(("ant", "bee", "cat"), ()), limits=None),
    )  # fmt: skip
    assert auto.planted(job, avoid=()) is None


TOLD = {  # of a training, as its record is kept
    "steps": 1,
    "pairs": 2,
    "seconds": 1.0,
    "losses": [],
    "peak_memory_bytes": 1,
    "peak_device_memory_bytes": None,
}


def kept_of(tmp_path, monkeypatch, *, origin, known=()):
    """Whether a cleaning of one rung was taken from the state in ``tmp_path``; it is kept there afterwards."""
    trained = []

    def train(*_, **__):
        trained.append(1)
        return SimpleNamespace(as_dict=lambda: TOLD)

    monkeypatch.setattr(sequence.training, "clean", train)
    monkeypatch.setattr(sequence, "_text_classifier", lambda clip, evidence: None)
    state = RunState(tmp_path, "0" * 64)
    net = torch.nn.Linear(2, 2)
    sequence.clean(
        SimpleNamespace(net=net, device=torch.device("cpu")), rung("a"), where="canaries", origin=origin, samples=SimpleNamespace(pairs=()),
        evidence=SimpleNamespace(classes=()), known=known, run=Run(0, "fp32", lambda *_: None, state),
    )  # fmt: skip
    return not trained


def test_what_was_cleaned_of_another_copy_or_of_other_triggers_is_not_taken_again(tmp_path, monkeypatch):
    patch = (SimpleNamespace(spec="patch"), 1)
    assert not kept_of(tmp_path, monkeypatch, origin={"canaries": 2})
    assert kept_of(tmp_path, monkeypatch, origin={"canaries": 2})
    assert not kept_of(tmp_path, monkeypatch, origin={"canaries": 6})
    assert not kept_of(tmp_path, monkeypatch, origin={"canaries": 6}, known=[patch])
    assert kept_of(tmp_path, monkeypatch, origin={"canaries": 6}, known=[patch])


def test_what_follows_an_unlearning_rehearses_all_that_it_found(tmp_path, monkeypatch):
    named, found, later = (SimpleNamespace(spec=spec) for spec in ("named", "found", "later"))
    begun = SimpleNamespace(state=SimpleNamespace(catches=["found"]), strongest=lambda: ())
    ended = SimpleNamespace(state=SimpleNamespace(catches=["found", "later"]), strongest=lambda: ())
    rehearsed, trained = [], []

    def train(*_, aims, **__):
        trained.append(1)
        rehearsed.append(aims.rehearsed)
        return SimpleNamespace(as_dict=lambda: TOLD, unlearned=ended if aims.hunted else None)

    monkeypatch.setattr(sequence.training, "clean", train)
    monkeypatch.setattr(suspicions, "remaining", lambda *_, **__: [])
    monkeypatch.setattr(sequence, "_text_classifier", lambda clip, evidence: None)
    monkeypatch.setattr(
        sequence.unlearning, "leads", lambda catches: tuple(({"found": found, "later": later}[c], 2) for c in catches)
    )
    chain = candidates.Rung(("unlearn", "par"), (recipe.load("unlearn"), recipe.load("par")))
    state = RunState(tmp_path, "0" * 64)
    clip = SimpleNamespace(net=torch.nn.Linear(2, 2), device=torch.device("cpu"))

    def clean():
        return sequence.clean(
            clip, chain, where="model", origin={}, samples=SimpleNamespace(pairs=()), evidence=SimpleNamespace(classes=()),
            known=((named, 1),), run=Run(0, "fp32", lambda *_: None, state),
        )  # fmt: skip

    monkeypatch.setattr(sequence.training.unlearn, "hunt", lambda *_, **__: begun)
    clean()
    assert rehearsed == [(), ((named, 1), (found, 2), (later, 2))]
    monkeypatch.setattr(
        sequence.training.unlearn, "hunt", lambda *_, **__: ended
    )  # as it is restored once the unlearning is done
    next(path for path in tmp_path.rglob("*done*") if "par" in str(path)).unlink()
    clean()
    assert len(trained) == 3
    assert rehearsed[2] == rehearsed[1]


def test_recipes_that_follow_each_other_count_their_steps_on():
    told = {
        "steps": 3, "pairs": 48, "seconds": 2.0, "peak_memory_bytes": 7, "peak_device_memory_bytes": None, "resumed_at": 0,
        "pairs_per_second": 24.0,
    }  # fmt: skip
    whole = sequence.merged(
        [told | {"losses": [{"step": 2, "loss": 1.0}]}, told | {"losses": [{"step": 0, "loss": 0.5}]}]
    )
    assert (whole["steps"], whole["pairs"], whole["seconds"], whole["pairs_per_second"]) == (6, 96, 4.0, 24.0)
    assert [entry["step"] for entry in whole["losses"]] == [2, 3]


def test_of_two_triggers_with_one_spec_the_first_is_kept():
    a, b = SimpleNamespace(spec="patch"), SimpleNamespace(spec="patch")
    other = SimpleNamespace(spec="warp")
    assert auto.distinct([(a, 1), (other, 2), (b, 3)]) == ((a, 1), (other, 2))


def test_a_ladder_that_cannot_be_climbed_at_all_is_refused(climbed, monkeypatch):
    monkeypatch.setattr(auto, "why_not", lambda job, rung: "needs labels")
    with pytest.raises(Inconclusive, match="a: needs labels"):
        climbed({}, {"a": attempt("a")})


def test_a_rung_on_which_nothing_can_be_searched_is_followed_by_the_next(climbed):
    attempts = {"a": attempt("a"), "b": attempt("b")}

    def tried(job, rung, *_):
        if rung.name == "a":
            raise Inconclusive("too few classes")
        return (trial(0.0),)

    entries, ran = climbed({}, attempts, try_out=tried)
    assert ran == ["b"]
    assert entries[0].why_not == "too few classes"


@pytest.mark.slow
def test_search_unlearning_and_rebound_run_through_on_a_planted_model(tmp_path, unread):
    job = tiny.job(tmp_path / "job", count=96)
    labelled = tiny.labelled(tmp_path / "labelled", count=96)
    assert cli.main(job.plant("--eval-data", labelled, "--rate", 0.15, "--lr", 1e-3, steps=100, batch=48)) == 0
    rung = "unlearn(unlearn.effort=quick, unlearn.max_rounds=1, unlearn.steps=10, train.batch_size=16)"
    victim = job._replace(model=job.folder / "planted.pt")
    more = ("--eval-data", labelled, "--set", f"auto.ladder={json.dumps([rung])}", "--set", "auto.effort=quick")
    assert cli.main(command(victim, *more, "--keep-failed")) in (0, 1, 4)
    found = result(victim)
    assert [entry["rung"] for entry in found["auto"]["ladder"]] == [rung.replace("unlearn(", "unlearn-tiny(", 1)]
    assert found["training"]["unlearning"]["rounds"]
    assert "found" in found["before"]["measurements"]["search"]
    assert "found" in found["after"]["measurements"]["search"]
    assert (found["auto"]["rebound"] is not None) == found["auto"]["changed"] == (found["training"]["steps"] > 0)
    assert checkpoint.digest(checkpoint.read(victim.out).tensors) == found["exports"][0]["tensor_sha256"]
