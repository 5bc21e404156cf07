"""Values that the tests of ``clipclean.auto`` choose from, made by hand."""

from dataclasses import replace

import torch

from clipclean.auto.attempts import Attempt
from clipclean.auto.candidates import Candidate, CandidateCleaning
from clipclean.auto.trials import Trial
from clipclean.config import policy, recipe
from clipclean.detect import AuditResult, Measurement, Probe, Rate
from clipclean.detect.measure import Accuracy
from clipclean.findings import finding
from clipclean.jobs.workbench import Workbench, control_of
from clipclean.methods.walk_back import Point, WalkBack
from clipclean.schema.report import OutcomeRecord, TrainingRecord
from clipclean.train import Run, RunState

LIMITS = policy.resolved(
    policy.DEFAULT_POLICY, recipe.load(recipe.DEFAULT_RECIPE).audit
)  # max_excess 0.05, suspicious_excess 0.3
HALF = Rate(500, 1000)


def candidate(name):
    """``surgery``, perhaps with values of its own, or a candidate of another name that is none."""
    is_surgery, values = name.startswith("surgery"), name.partition("(")[2].rstrip(")")
    chosen = recipe.load("surgery" if is_surgery else "mmcl")
    return Candidate((name,), (recipe.override(chosen, [values] if values else []),))


def trial(left, lost=0.0, share=1.0, reach=0.0, measured=None):
    """A trial of one test backdoor that acts on this share of images; the loss of accuracy is sure to ``reach``."""
    told = {"trigger": "patch", "target": "cat", "planted": 0.9, "accuracy": 0.5, "n": 100, "took": True}
    outcome = OutcomeRecord(left=left, interval=(left, left), **told)
    interval = (lost - reach, lost + reach)
    return Trial("candidate", (outcome,), lost, interval, share, 1.0, measured or UNMEASURED)


def returning(made, *, share=0.3):
    """The same trial, but its test backdoor acts on this share of images after a benign finetuning."""
    (outcome,) = made.outcomes
    interval = (share - 0.1, share + 0.1)
    return replace(made, outcomes=(outcome.model_copy(update={"returned": share, "returned_interval": interval}),))


def probe(excess, *, trigger="patch", reach=0.02):
    told = {"asr": Rate(round(1000 * max(excess, 0)), 1000), "base_rate": Rate(0, 1000), "excess": excess}
    told |= {"excess_interval": (excess - reach, excess + reach), "accuracy_under_trigger": None, "knn_asr": None}
    moved = {"distance": 0.1, "spread": 0.5, "clean_spread": 0.6}
    return Probe(trigger=trigger, target="cat", n=1000, **told, **moved)


def measurement(*, suspected=(), panel=(), accuracy=HALF):
    nothing = torch.zeros(0)
    return Measurement(Accuracy(accuracy, nothing, ""), tuple(suspected), tuple(panel), 1, nothing)


def sight(measured=None):
    """An audit without a search."""
    return AuditResult(measured or measurement(), None, None, 0.0)


def answering(*, right, of):
    """A measurement in which these of so many images are classified correctly."""
    correct = torch.zeros(of, dtype=torch.bool)
    correct[list(right)] = True
    return replace(measurement(), accuracy=Accuracy(Rate(len(right), of), correct, ""))


UNMEASURED = measurement(accuracy=Rate(0, 0))


def attempt(name, *findings, excess=0.0, lost=0.0, doubted="cat"):
    """A run on the model that ends with findings of these rules and levels towards a class, where "cat" was suspected."""
    found = tuple(finding(rule, "words", level=level, trigger="patch", target=doubted) for rule, level in findings)
    after = measurement(suspected=[probe(excess)])
    point = Point(1.0, lost, (lost, lost), after)
    way = WalkBack((point,), point, 0, LIMITS)
    training = TrainingRecord(steps=1, pairs=16, seconds=1.0, losses=(), pairs_per_second=16.0, peak_memory_bytes=1)
    done = CandidateCleaning({}, training, (), ())
    return Attempt(candidate(name), done, way, (), sight(after), findings=found)


def workbench(clip, original, samples, evidence, folder, *, chosen=None, progress=lambda *_: None):
    """A workbench by a recipe, auto itself without one."""
    chosen, run = chosen or recipe.load("auto"), Run(0, "fp32", progress)
    limits, control = policy.resolved(policy.DEFAULT_POLICY, chosen.audit), control_of(chosen)
    state = RunState(folder, "0" * 64)
    return Workbench(clip, original, samples, evidence, None, limits, chosen.auto, control, state, run)


def are_equal(some, others):
    return all(torch.equal(some[name], others[name]) for name in some)
