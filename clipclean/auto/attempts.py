"""One candidate: tried on the copy with canaries, then run on the model, audited again and refinetuned."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from clipclean import deadline, detect
from clipclean.attack import canaries
from clipclean.auto import interpolate, sequence, trials
from clipclean.auto.candidates import Candidate
from clipclean.auto.select import Attempt, Considered
from clipclean.auto.sequence import Cleaned
from clipclean.auto.trials import Budget, Interval, PlantedCopy, Point, Trial, pooled
from clipclean.auto.workbench import Workbench
from clipclean.errors import Inconclusive
from clipclean.findings import Finding
from clipclean.jobs import suspicions
from clipclean.jobs.searching import AuditResult
from clipclean.jobs.suspicions import Suspected
from clipclean.methods.unlearning import SuspectedTrigger
from clipclean.schema.report import TrainingRecord
from clipclean.train import NonFiniteLoss

UNCHANGED = "nothing"  # the name of what was chosen where the original stays


def on_copy(
    bench: Workbench, candidate: Candidate, copy: PlantedCopy | None, known: tuple[SuspectedTrigger, ...], /
) -> Considered:
    """A candidate with its trials on the copy, if there is a canary to try it on and the data suffice."""
    why_not = candidate.unfit(bench.samples)
    if why_not or copy is None or not copy.took:
        return Considered(candidate, why_not)
    started = time.monotonic()
    try:
        tried = _trials(bench, candidate, copy, known)
    except (Inconclusive, NonFiniteLoss) as error:  # nothing can be searched, for one, or the training diverges
        return Considered(candidate, str(error), seconds=time.monotonic() - started)
    return Considered(candidate, trials=tried, seconds=time.monotonic() - started)


def _trials(
    bench: Workbench, candidate: Candidate, copy: PlantedCopy, known: tuple[SuspectedTrigger, ...]
) -> tuple[Trial, ...]:
    done = _cleaned_copy(bench, candidate, copy, known)
    asked = canaries.measured_on(bench.evidence, copy.canaries)

    def measure(share: float) -> Trial:
        bench.put(done.weights, original=copy.weights, share=share)
        left = bench.measure(asked)
        return trials.trial(candidate.name, copy.planted, left, kept=share, seconds=done.training.seconds)

    def retested(trial: Trial) -> Trial:
        return bench.retested(trial, copy, lambda: done)

    return interpolate.trials_of(measure, retested, bench.budget, changed=done.changed)


def on_model(bench: Workbench, considered: Considered, copy: PlantedCopy | None, before: Suspected, /) -> Considered:
    """A candidate on the model: clean it, interpolate to the budget, audit it again, and refinetune it.

    Raises:
        Inconclusive: nothing can be searched.
        NonFiniteLoss: the training diverges.
    """
    candidate = considered.candidate
    # From the original, never from the copy: planting changed weights that no cleaning is to blame for.
    sequence.put(bench.clip, bench.original)
    done = bench.clean(candidate, before.acting, where="model", origin={})
    own = suspicions.new_leads(done.leads, before.suspicions)
    suspected = suspicions.distinct([*before.suspicions, *own])
    made, seconds = {trial.kept: trial for trial in considered.trials}, considered.seconds
    # Without the panel: a point between is chosen by suspected triggers, and the whole audit follows at the chosen one.
    asked = replace(bench.evidence, suspicions=suspected, panel=())

    def retested(trial: Trial) -> Trial:
        nonlocal seconds
        started = time.monotonic()
        if copy is not None:
            made[trial.kept] = bench.retested(trial, copy, lambda: _cleaned_copy(bench, candidate, copy, before.acting))
        seconds += time.monotonic() - started
        return made[trial.kept]

    def measure(share: float) -> Point:
        bench.put(done.weights, original=bench.original, share=share)
        found = bench.measure(asked)
        return Point(share, worst(found), *accuracy_loss(before.sight.measured, found))

    point = Point(1.0, worst(before.sight.measured), 0.0, (0.0, 0.0))
    points: tuple[Point, ...] = (point,)
    if done.changed:
        points, point = interpolate.to_budget(considered.trials, measure, retested, bench.budget)
    trial = replace(considered, trials=tuple(made.values())).at(point.share)
    if trial:
        retested(trial)  # the copy may have been interpolated farther than the model
    is_suspected = suspicions.is_suspected(bench.findings(before.sight))
    costly = is_costly(point, trial, bench.budget, is_suspected=is_suspected)
    attempt = Attempt(candidate, done, points, point, suspected, before.sight, None, (), costly)
    if done.changed:
        bench.put(done.weights, original=bench.original, share=point.share)
        attempt, returned = _audited(bench, attempt)
    else:
        returned = []
    attempt = replace(attempt, findings=(*judged(bench, attempt, before, own), *returned))
    return replace(considered, trials=tuple(made.values()), attempt=attempt, seconds=seconds)


def unchanged(bench: Workbench, attempt: Attempt, before: Suspected, /) -> Attempt:
    """The original in the place of an attempt, with the findings of its own audit."""
    point = Point(1.0, worst(before.sight.measured), 0.0, (0.0, 0.0))
    peak = attempt.cleaned.training.peak_memory_bytes
    training = TrainingRecord(steps=0, pairs=0, seconds=0.0, losses=(), pairs_per_second=0.0, peak_memory_bytes=peak)
    return Attempt(
        Candidate((UNCHANGED,), ()),
        Cleaned(bench.original, training, (), ()),
        (point,),
        point,
        before.suspicions,
        before.sight,
        None,
        tuple(bench.findings(before.sight)),
    )


def _cleaned_copy(
    bench: Workbench, candidate: Candidate, copy: PlantedCopy, known: tuple[SuspectedTrigger, ...]
) -> Cleaned:
    """The copy, cleaned by a candidate; the second time it is read from the run's folder."""
    sequence.put(bench.clip, copy.weights)
    return bench.clean(candidate, known, where="canaries", origin=copy.origin)


def _audited(bench: Workbench, attempt: Attempt) -> tuple[Attempt, list[Finding]]:
    """The attempt with the audit of the current model, its refinetune test, and what the search finds again."""
    pointed, original = suspicions.targets(attempt.suspicions), attempt.sight.measured
    sight = bench.audit(attempt.suspicions, pointed=pointed, what=" after")
    attempt = replace(attempt, sight=sight)
    if not bench.settings.rebound_steps:
        return attempt, []
    evidence = replace(bench.evidence, suspicions=attempt.suspicions)
    try:
        refinetuned = replace(bench.refinetune(sight.measured, evidence), original=original)
    except deadline.OutOfTime:
        return attempt, [detect.unsearched("CC024", "Time was over before the refinetune test.")]
    attempt = replace(attempt, refinetuned=refinetuned)
    # The search is repeated because the planted trigger differs a little from the one that was found and unlearned, and only the
    # latter is measured.
    if not (pointed and bench.references):  # without references every model has classes that images gather at
        return attempt, []
    later = bench.audit(attempt.suspicions, pointed=pointed, what=" after the rebound")
    names = {bench.evidence.classes[target] for target in pointed}
    found = (_by_target(bench, sight), _by_target(bench, later))
    return attempt, found_again(*found, names=names, steps=bench.settings.rebound_steps)


def _by_target(bench: Workbench, sight: AuditResult) -> dict[str | None, Finding]:
    """The triggers that the search of an audit found, by their class."""
    if sight.search is None:
        return {}
    images = len(bench.evidence.pixels)
    found = detect.searched(sight.search, sight.measured.panel, images=images, limits=bench.limits)
    return {finding.target: finding for finding in found}


def found_again(
    before: Mapping[str | None, Finding], after: Mapping[str | None, Finding], /, *, names: set[str], steps: int
) -> list[Finding]:
    """A warning for each class of ``names`` that the search points at after the refinetuning, and did not before.

    A trigger that was found and unlearned stays away; the planted one differs a little from it, and may come back.
    """
    return [
        found.model_copy(
            update={
                "rule": "CC062",
                "level": "warning",
                "message": f"After {steps} steps of finetuning on the clean pairs: {found.message}",
            }
        )
        for name, found in after.items()
        if name in names and name not in before
    ]


def judged(bench: Workbench, attempt: Attempt, before: Suspected, own: Sequence[SuspectedTrigger], /) -> list[Finding]:
    """Findings of the audit of the cleaned model, its accuracy, what came back, and what an unlearning did not finish.

    ``own`` are triggers that only the unlearning's search named.
    """
    refinetuned, limits = attempt.refinetuned, bench.limits
    findings = [
        *bench.findings(attempt.sight),
        *detect.accuracy(before.sight.measured, attempt.sight.measured, limits=limits),
        *(refinetuned.findings(limits=limits) if refinetuned else ()),
    ]
    return [*suspicions.softened(findings, own), *attempt.cleaned.remaining]


def worst(measured: detect.Measurement, /) -> float:
    """Highest excess attack success of any named or found trigger; 0 without any."""
    return round(max((p.excess for p in measured.known if not math.isnan(p.excess)), default=0.0), 9)


def is_costly(point: Point, trial: Trial | None, budget: Budget, /, *, is_suspected: bool) -> bool:
    """Whether the losses on model and copy, at one share of the way, are over the budget together, beyond chance.

    Where the audit suspects nothing, the loss on the model is enough, by its value.
    """
    if budget.is_wasted(point.accuracy_lost, is_suspected=is_suspected):
        return True
    return trial is not None and trial.kept == point.share and budget.exceeds(pooled(point, trial))


def accuracy_loss(before: detect.Measurement, after: detect.Measurement, /) -> tuple[float, Interval]:
    """Clean accuracy before minus after, 0 where it is not measured, with its 95 % interval."""
    lost, interval = detect.accuracy_loss(before, after)
    return 0.0 if math.isnan(lost) else lost, interval
