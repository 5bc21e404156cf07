"""The job of ``auto``, top to bottom: audit, canaries, the ladder, the way back, another audit, the rebound."""

import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from clipclean import detect, model
from clipclean.attack import canaries, poison
from clipclean.attack.canaries import Canary, Trial
from clipclean.auto import candidates, interpolate, select, sequence
from clipclean.auto import refinetune as rebounds
from clipclean.auto.candidates import Rung
from clipclean.auto.interpolate import SHARES, Point
from clipclean.auto.refinetune import Rebound
from clipclean.auto.select import Attempt, Budget, Entry
from clipclean.auto.sequence import DONE, Cleaned, put, taken
from clipclean.config import policy
from clipclean.config import recipe as recipes
from clipclean.config.method import METHODS
from clipclean.config.recipe import Recipe
from clipclean.errors import Inconclusive, UsageError
from clipclean.findings import Finding, Level, finding
from clipclean.jobs import audit as audit_job
from clipclean.jobs import inputs, outputs, prepare
from clipclean.jobs import suspicions as triggers
from clipclean.jobs.audit import AuditResult
from clipclean.jobs.inputs import Suspicion
from clipclean.jobs.outputs import SanitizeOutcome
from clipclean.jobs.prepare import Prepared, SanitizeRequest
from clipclean.methods.unlearning import Lead
from clipclean.progress import Progress
from clipclean.report import Images, example_images
from clipclean.train import NonFiniteLoss
from clipclean.train.resume import RunState
from clipclean.train.run import Run

CANARIES = "canaries"  # those of the copy


@dataclass(frozen=True)
class Job:
    """What does not change during a run; ``original`` are the model's own weights."""

    request: SanitizeRequest
    ready: Prepared
    state: RunState
    evidence: detect.EvalSet
    references: detect.References | None
    original: dict[str, Tensor]
    control: Recipe
    started: float
    progress: Progress

    @property
    def clip(self) -> model.Clip:
        """The one model in memory; its weights are put in and taken out."""
        return self.ready.loaded.clip

    @property
    def recipe(self) -> Recipe:
        """That of ``auto``."""
        return self.request.recipe

    @property
    def planting(self) -> recipes.Planting:
        """How canaries are planted, at the rate of the control recipe."""
        own, train = self.recipe.auto, self.control.train
        size = min(own.batch_size, len(self.ready.samples.pairs))
        warmup = min(train.warmup_steps, own.plant_steps // 4)
        return recipes.planting(
            rate=own.plant_share, steps=own.plant_steps, batch_size=size, lr=train.lr, warmup_steps=warmup
        )

    def is_late(self) -> bool:
        """Whether the time for beginning something is over."""
        most = self.recipe.auto.max_minutes
        return most is not None and time.monotonic() - self.started > 60 * most


@dataclass(frozen=True)
class Copy:
    """The backdoored copy: its canaries, its weights, and what they do in it."""

    canaries: tuple[Canary, ...]
    weights: dict[str, Tensor]
    planted: detect.Measurement
    origin: dict[str, Any]  # JSON: what decided the weights
    seconds: float


def auto(request: SanitizeRequest, /, *, progress: Progress) -> SanitizeOutcome:
    """Clean one checkpoint with whatever works on it, and write what DESIGN promises into ``request.out``.

    What was planted, tried and cleaned is kept in the run's folder, so that a run that was killed goes on from there.

    Raises:
        ClipcleanError: of the kind that tells the exit code; then nothing new stands in ``out``.
    """
    started = time.monotonic()
    if not request.audit:
        raise UsageError("auto decides by audits, so --no-audit leaves it nothing to go by. Leave the option out.")
    candidates.rungs(request.recipe, parameters=0)  # a misspelt one is told before slow work
    standing = outputs.look(request)
    ready = prepare.prepare(request, progress=progress)
    rungs = candidates.rungs(request.recipe, parameters=parameters(ready.loaded.clip))
    control = control_of(request.recipe, ready.loaded.clip)
    state = RunState.of(request.out, prepare.fingerprint(request, ready))
    to = outputs.destination(request, standing, state)
    if to.is_finished:
        return outputs.finished(request.out, state)
    with state.locked():
        job = begin(request, ready, state, control, started, progress)
        first = look(job, job.evidence.suspicions, pointed=(), what=" before")
        suspicions = suspected(job, first)
        copy = planted(job, avoid=pointed_at(job, first, suspicions))
        entries = climb(job, rungs, copy, first, suspicions)
        result, images = conclude(job, first, copy, entries)
        return outputs.publish(
            request, ready, result, job.evidence, to=to, images=images, state=state, progress=progress
        )  # fmt: skip


def parameters(clip: model.Clip, /) -> int:
    """How many numbers a model has that training moves."""
    return sum(parameter.numel() for parameter in clip.net.parameters())


def control_of(recipe: Recipe, clip: model.Clip, /) -> Recipe:
    """The recipe for planting and for the rebound, of the model's size."""
    name = candidates.twin(recipe.auto.control, is_tiny=parameters(clip) < candidates.TINY)
    return recipes.load(name).model_copy(update={"data": recipe.data})


def begin(
    request: SanitizeRequest, ready: Prepared, state: RunState, control: Recipe, started: float, progress: Progress, /
) -> Job:
    """The job, with the pictures that everything is measured on."""
    clip = ready.loaded.clip
    evidence = triggers.evidence_of(ready, request.recipe, panel=True)
    references = detect.stored(model.kind_of(clip.architecture), classes=ready.vocabulary.classes)
    return Job(request, ready, state, evidence, references, taken(clip), control, started, progress)


# The audit, and what it makes suspect.


def look(job: Job, suspicions: Sequence[Suspicion], /, *, pointed: Sequence[int], what: str) -> AuditResult:
    """Measure and search the model as it is now."""
    return audit_job.searched(
        job.clip, replace(job.evidence, suspicions=tuple(suspicions)), job.references, job.progress,
        effort=job.recipe.auto.effort, pointed=pointed, seed=job.request.seed, what=what,
    )  # fmt: skip


def suspected(job: Job, seen: AuditResult, /) -> tuple[Suspicion, ...]:
    """What was named, what of the panel is suspicious, and what the search found for a class that two signs point at."""
    limits = job.ready.thresholds
    panel = triggers.of_panel(seen.measured, job.evidence, limits)
    found: list[Suspicion] = []
    if seen.search:
        images = len(job.evidence.pixels)
        told = detect.searched(seen.search, seen.measured.panel, images=images, limits=limits)
        specs = {finding.trigger for finding in told if finding.level == "error"}
        found = [(t.found, t.candidate.target) for t in seen.search.targeted if t.found.spec in specs]
    return distinct([*job.evidence.suspicions, *panel, *found])


def pointed_at(job: Job, seen: AuditResult, suspicions: Sequence[Suspicion], /) -> list[int]:
    """Places of all classes that anything points at, be it one sign: what is there already is no canary."""
    rows = detect.suspected_classes(seen.search, seen.measured.panel, limits=job.ready.thresholds)
    named = [target for _, target in suspicions if target is not None]
    return [*named, *(job.evidence.classes.index(row["class"]) for row in rows)]


def distinct(suspicions: Sequence[Suspicion], /) -> tuple[Suspicion, ...]:
    """Each trigger once: two of one spec could not be told apart in a report."""
    first: dict[str, Suspicion] = {}
    for suspicion in suspicions:
        first.setdefault(suspicion[0].spec, suspicion)
    return tuple(first.values())


def known(job: Job, first: AuditResult, suspicions: Sequence[Suspicion], /) -> tuple[Lead, ...]:
    """The suspected triggers that act on the original, each with the class that it leads to; what its own search found acts."""
    named = {trigger.spec for trigger, _ in job.evidence.suspicions}
    found: list[Lead] = []
    others: list[Suspicion] = []
    for trigger, target in suspicions:
        if isinstance(trigger, detect.InvertedTrigger) and trigger.spec not in named and target is not None:
            found.append((trigger, target))
        else:
            others.append((trigger, target))
    return (*triggers.acting(first.measured, others, job.evidence, job.ready.thresholds), *found)


# Canaries.


def planted(job: Job, /, *, avoid: Sequence[int]) -> Copy | None:
    """A copy with canaries; None where none are wanted or no class is free."""
    classes = len(job.evidence.classes)
    drawn = canaries.draw(job.recipe.auto.canaries, classes=classes, avoid=avoid, seed=job.request.seed)
    if not drawn:
        return None
    origin = {
        "canaries": [(c.trigger.spec, c.target) for c in drawn], "control": sequence.decides(job.control),
        "planting": job.planting.model_dump(mode="json"),
    }  # fmt: skip
    part = job.state.part(CANARIES, origin)
    kept, started = part.read(DONE), time.monotonic()
    if kept is None:
        try:
            words = job.ready.vocabulary
            poison.finetune(
                job.clip, job.ready.samples.pairs, job.control, job.planting, seed=canaries.SEEDS + job.request.seed,
                implants=canaries.implants(drawn, classes=words.classes, templates=words.templates),
                progress=lambda _, done, total: job.progress("planting canaries in a copy", done, total),
            )  # fmt: skip
        except NonFiniteLoss:  # nothing to try rungs on, and the model itself is none the worse
            return None
        seconds = time.monotonic() - started
        part.write(job.clip.net.state_dict(), {"seconds": seconds}, name=DONE)
        weights = taken(job.clip)
    else:
        weights, seconds = sequence.on_device(job.clip, kept[0]), float(kept[1]["seconds"])
        put(job.clip, weights)
    measured = inputs.measure(job.clip, canaries.measured_on(job.evidence, drawn))
    return Copy(drawn, weights, measured, origin, seconds)


def took(copy: Copy, /) -> bool:
    """Whether there is any canary to go by."""
    return any(probe.excess >= canaries.TOOK for probe in copy.planted.known)


# The ladder.


def climb(
    job: Job, rungs: Sequence[Rung], copy: Copy | None, first: AuditResult, suspicions: tuple[Suspicion, ...], /
) -> list[Entry]:
    """Try the candidates on the canaries, and run on the model what ``select`` says, until one leaves nothing open.

    Raises:
        Inconclusive: no candidate can be run at all.
    """
    leads, entries = known(job, first, suspicions), list[Entry]()
    while (
        step := select.next_step(entries, untried=len(rungs) - len(entries), budget=budget_of(job), late=job.is_late())
    ).do != "stop":
        if step.entry is None:
            entries.append(tried(job, rungs[len(entries)], copy, leads))
            continue
        try:
            step.entry.attempt = run(job, step.entry, copy, leads, first, suspicions)
        except (Inconclusive, NonFiniteLoss) as error:  # nothing can be searched, for one, or the training diverges
            step.entry.why_not, step.entry.trials = str(error), ()
    if not any(entry.attempt for entry in entries):
        reasons = "; ".join(f"{entry.rung.name}: {entry.why_not}" for entry in entries)
        raise Inconclusive(
            f"Nothing of the ladder of {job.recipe.name} can be run on this model and these data: {reasons}"
        )
    return [*entries, *select.needless(rungs[len(entries) :], entries, budget_of(job))]


def budget_of(job: Job, /) -> Budget:
    """What a cleaning may leave and cost in this run."""
    limits = job.ready.thresholds
    return Budget(limits.max_excess, limits.max_accuracy_loss, job.recipe.auto.gain)


def tried(job: Job, rung: Rung, copy: Copy | None, leads: Sequence[Lead], /) -> Entry:
    """A candidate with its trials on the copy, where there is one to try it on."""
    entry = Entry(rung, why_not(job, rung))
    if copy is None or not took(copy) or entry.why_not:
        return entry
    started = time.monotonic()
    try:
        entry.trials = try_out(job, rung, copy, leads)
    except (Inconclusive, NonFiniteLoss) as error:
        entry.why_not = str(error)
    entry.seconds = time.monotonic() - started
    return entry


def why_not(job: Job, rung: Rung, /) -> str:
    """Why a rung cannot be run on these data; empty if it can."""
    faults = []
    for recipe in rung.recipes:
        if METHODS[recipe.method].needs_labels and job.ready.samples.labels is None:
            faults.append(f"{recipe.name} needs labels")
        try:
            recipes.check(recipe, pairs=len(job.ready.samples.pairs))
        except (Inconclusive, UsageError) as error:
            faults.append(str(error))
    return "; ".join(faults)


def try_out(job: Job, rung: Rung, copy: Copy, leads: Sequence[Lead], /) -> tuple[Trial, ...]:
    """A rung on the copy: the trial that counts, and those at the other shares of the way.

    It counts at the cleaned copy itself, or, if that has no canary left, as little before it as the accuracy budget asks; and
    there it passes only if no canary returns when the copy is finetuned on clean pairs for a while: one that returns was not removed.
    """
    done = cleaned_copy(job, rung, copy, leads)
    asked = canaries.measured_on(job.evidence, copy.canaries)
    trials = []
    for share in (1.0, *SHARES) if done.changed else (1.0,):
        put(job.clip, interpolate.between(copy.weights, done.weights, share=share))
        found = inputs.measure(job.clip, asked)
        trials.append(canaries.trial(rung.name, copy.planted, found, kept=share, seconds=done.training["seconds"]))
    affordable = [k for k, trial in enumerate(trials) if budget_of(job).affords(trial.accuracy_lost)]
    first = trials.pop(affordable[0] if affordable and budget_of(job).removes(trials[0]) else 0)
    if done.changed and budget_of(job).passes(first) and is_untested(job, first):
        first = tested(job, first, copy, done)
    return first, *trials


def cleaned_copy(job: Job, rung: Rung, copy: Copy, leads: Sequence[Lead], /) -> Cleaned:
    """The copy as a rung cleans it; a second time it is read from the run's folder."""
    put(job.clip, copy.weights)
    return clean(job, rung, leads, where="canaries", origin=copy.origin)


def is_untested(job: Job, trial: Trial, /) -> bool:
    """Whether no canary is left as long as nobody finetunes the copy further, which was not tried."""
    is_tested = any(outcome.returned is not None for outcome in trial.outcomes)
    return bool(job.recipe.auto.rebound_steps) and budget_of(job).removes(trial) and not is_tested


def tested(job: Job, trial: Trial, copy: Copy, done: Cleaned, /) -> Trial:
    """The trial with what the canaries do after a benign finetuning of the cleaned copy."""
    put(job.clip, interpolate.between(copy.weights, done.weights, share=trial.kept))
    return canaries.bounced(trial, bounce(job, copy.planted, canaries.measured_on(job.evidence, copy.canaries)).after)


def clean(job: Job, rung: Rung, leads: Sequence[Lead], /, *, where: str, origin: dict[str, Any]) -> Cleaned:
    """Clean the model in memory with a rung."""
    run = Run(
        job.request.seed, job.request.precision, state=job.state,
        progress=lambda what, done, total: job.progress(f"{rung.name} on the {where}: {what}", done, total),
    )  # fmt: skip
    return sequence.clean(
        job.clip,
        rung,
        where=where,
        origin=origin,
        samples=job.ready.samples,
        evidence=job.evidence,
        known=tuple(leads),
        run=run,
    )


def run(
    job: Job,
    entry: Entry,
    copy: Copy | None,
    leads: Sequence[Lead],
    first: AuditResult,
    suspicions: tuple[Suspicion, ...],
    /,
) -> Attempt:
    """A rung on the model: clean it, go back as far as the budget asks, audit it again, and test for a rebound."""
    rung = entry.rung
    put(job.clip, job.original)
    done = clean(job, rung, leads, where="model", origin={})
    own = triggers.new_leads(done.leads, suspicions)
    suspicions = distinct([*suspicions, *own])
    retest = functools.partial(retested, job, entry, copy, leads)
    if done.changed:
        points, point = way_back(job, done, entry, retest, first, suspicions)
    else:
        point = Point(1.0, worst(first.measured), 0.0)
        points = (point,)
    if trial := entry.at(point.share):  # the copy may have gone farther back than the model
        retest(trial)
    if not done.changed:
        return judged(job, rung, done, points, point, suspicions, own, first, first, None)
    put(job.clip, interpolate.between(job.original, done.weights, share=point.share))
    pointed = [target for _, target in suspicions if target is not None]
    sight = look(job, suspicions, pointed=pointed, what=" after")
    again = replace(job.evidence, suspicions=suspicions)
    rebound = bounce(job, sight.measured, again) if job.recipe.auto.rebound_steps else None
    later = look(job, suspicions, pointed=pointed, what=" after the rebound") if rebound and pointed else None
    attempt = judged(job, rung, done, points, point, suspicions, own, first, sight, rebound)
    more = found_again(job, sight, later, pointed) if later else []
    return replace(attempt, findings=(*attempt.findings, *more))


def found_again(job: Job, sight: AuditResult, later: AuditResult, pointed: Sequence[int], /) -> list[Finding]:
    """A warning for each suspected class that the search points at after the rebound's finetuning, and did not before.

    A trigger that was found and unlearned stays away; what was planted is not quite what was found, and may come back.
    """

    def told(seen: AuditResult) -> dict[str | None, Finding]:
        if seen.search is None:
            return {}
        panel, images = seen.measured.panel, len(job.evidence.pixels)
        found = detect.searched(seen.search, panel, images=images, limits=job.ready.thresholds)
        return {each.target: each for each in found}

    if job.references is None:  # nothing to compare with: every model has classes that pictures gather at
        return []
    names, before = {job.evidence.classes[target] for target in pointed}, told(sight)
    steps = job.recipe.auto.rebound_steps
    return [
        found.model_copy(
            update={
                "rule": "CC062",
                "level": "warning",
                "message": f"After {steps} steps of finetuning on the clean pairs: {found.message}",
            }
        )
        for name, found in told(later).items()
        if name in names and name not in before
    ]


def way_back(
    job: Job,
    done: Cleaned,
    entry: Entry,
    retest: Callable[[Trial], Trial],
    first: AuditResult,
    suspicions: tuple[Suspicion, ...],
    /,
) -> tuple[tuple[Point, ...], Point]:
    """The points between the original and the cleaned weights that were looked at, and the one to take.

    The cleaned weights are taken unless they cost more accuracy than the budget, and then the nearest to them that do not: on
    the way back a trigger returns more readily, and those that were found are not all there may be. Where no share is within the
    budget, going back wins nothing, and the cleaned weights are taken. Only shares are looked at at which no canary is left.

    Args:
        job: the run.
        done: the model, cleaned.
        entry: the rung with its trials; without any there is no way back.
        retest: a trial -> the same with what returns after it.
        first: of the original.
        suspicions: what is measured.
    """
    asked = replace(job.evidence, suspicions=suspicions, panel=())

    def measured(share: float) -> Point:
        put(job.clip, interpolate.between(job.original, done.weights, share=share))
        found = inputs.measure(job.clip, asked)
        return Point(share, worst(found), accuracy_lost(first.measured, found))

    whole = measured(1.0)
    if budget_of(job).affords(whole.accuracy_lost):
        return (whole,), whole
    points = [whole]
    for trial in sorted(entry.trials, key=lambda trial: -trial.kept):
        if not budget_of(job).removes(trial):
            break
        if trial.kept == 1:  # what is left there returns more readily from farther back
            continue
        points.append(measured(trial.kept))
        if points[-1].excess > budget_of(job).allowed(whole.excess):
            break
        if budget_of(job).affords(points[-1].accuracy_lost):
            return tuple(points), points[-1] if budget_of(job).removes(retest(trial)) else whole
    return tuple(points), whole


def retested(job: Job, entry: Entry, copy: Copy | None, leads: Sequence[Lead], trial: Trial, /) -> Trial:
    """A trial of a rung, with what returns after it if no canary is left without; its entry then holds it."""
    if copy is None or not is_untested(job, trial):
        return trial
    started = time.monotonic()
    sure = tested(job, trial, copy, cleaned_copy(job, entry.rung, copy, leads))
    entry.trials = tuple(sure if each is trial else each for each in entry.trials)
    entry.seconds += time.monotonic() - started
    return sure


def bounce(job: Job, before: detect.Measurement, evidence: detect.EvalSet, /) -> Rebound:
    """The rebound test on the weights as they are, which are spoiled afterwards; ``before`` is what to compare with."""
    benign = job.planting.model_copy(update={"steps": job.recipe.auto.rebound_steps})
    warmup = min(benign.warmup_steps, benign.steps // 4)
    return rebounds.rebound(
        job.clip, job.ready.samples.pairs, job.control, benign.model_copy(update={"warmup_steps": warmup}),
        before=before, evidence=evidence, seed=canaries.SEEDS + job.request.seed,
        progress=job.progress,
    )  # fmt: skip


def worst(measured: detect.Measurement, /) -> float:
    """Excess attack success of the named or found trigger that acts most; 0 without any."""
    return round(max((p.excess for p in measured.known if not math.isnan(p.excess)), default=0.0), 9)


def accuracy_lost(before: detect.Measurement, after: detect.Measurement, /) -> float:
    """Clean accuracy before minus after; 0 where it is not measured."""
    lost = detect.accuracy_lost(before, after)
    return 0.0 if math.isnan(lost) else lost


# The judgement, and the report.


def judged(
    job: Job,
    rung: Rung,
    done: Cleaned,
    points: tuple[Point, ...],
    point: Point,
    suspicions: tuple[Suspicion, ...],
    own: Sequence[Lead],
    first: AuditResult,
    sight: AuditResult,
    rebound: Rebound | None,
    /,
) -> Attempt:
    """An attempt with all that is to be said of it: the audit of the model as it came out, accuracy, what comes back.

    ``own`` are triggers that only the unlearning's search named.
    """
    limits = job.ready.thresholds
    told = [
        *audit_job.findings(sight, job.references, limits, images=len(job.evidence.pixels)),
        *detect.accuracy(first.measured, sight.measured, limits=limits),
        *(rebound.findings(limits=limits) if rebound else ()),
    ]
    findings = [*triggers.softened(told, own), *done.remaining]
    return Attempt(rung, done, points, point, suspicions, sight, rebound, tuple(findings))


def conclude(
    job: Job, first: AuditResult, copy: Copy | None, entries: Sequence[Entry], /
) -> tuple[dict[str, Any], Images]:
    """The report and its pictures; the model is left with the weights that it is about."""
    chosen, attempt = min(
        ((entry, entry.attempt) for entry in entries if entry.attempt), key=lambda found: found[1].rank()
    )
    put(job.clip, job.original)
    asked = replace(job.evidence, suspicions=attempt.suspicions)
    before = inputs.measure(job.clip, asked, what="measuring before", progress=job.progress)
    shown = triggers.exhibited(job.clip, asked, attempt.suspicions, before, seed=job.request.seed)
    put(job.clip, interpolate.between(job.original, attempt.cleaned.weights, share=attempt.point.share))
    after = before if attempt.sight is first else attempt.sight.measured
    shown_after = triggers.exhibited(job.clip, asked, attempt.suspicions, after, seed=job.request.seed)
    doubted = any(found.rule in ("CC002", "CC003") for found in attempt.findings)
    findings = [
        *attempt.findings,
        *on_canaries(
            job, copy, chosen.at(attempt.point.share), before, changed=attempt.cleaned.changed, doubted=doubted
        ),
        *outputs.side_findings(job.request, job.ready),
        *out_of_time(job, entries),
    ]
    applied = accepted(job, findings)
    if policy.verdict(applied.findings) == "fail":
        applied = accepted(job, [*findings, nothing_passed(job, entries, attempt)])
    result = outputs.compose(job.request, job.ready, before, after, applied, attempt.cleaned.training)
    for side, sight in (("before", replace(first, measured=before)), ("after", replace(attempt.sight, measured=after))):
        result[side] = section(job, sight)
        result[side]["measurements"] |= dict((shown if side == "before" else shown_after).maps)
    result["after"] = outputs.with_agreement(result["after"], before, after)
    result |= {
        "suspects": result["before"]["suspects"],
        "measurements": result["after"]["measurements"],
        "auto": account(job, copy, entries, attempt),
    }
    return result, example_images.grids(shown, shown_after)


def on_canaries(
    job: Job,
    copy: Copy | None,
    trial: Trial | None,
    before: detect.Measurement,
    /,
    *,
    changed: bool,
    doubted: bool,
) -> list[Finding]:
    """What the canaries show: that the rung works on this model, that it does not, or nothing.

    ``doubted`` says that something was found which is in the findings already.
    """
    limits = job.ready.thresholds
    acted = doubted or any(p.excess_interval[0] > limits.max_excess for p in before.known)
    if not trial:
        return [_without_canaries(copy, acted=acted)]
    counted, removed = len(trial.counted), trial.removed(limits.max_excess)
    words = (
        f"On this model and these data, {trial.rung} removes {removed} of {counted} planted backdoors for "
        f"{100 * trial.accuracy_lost:.1f} points of clean accuracy."
    )
    if uncounted := len(trial.outcomes) - counted:
        words += f" {uncounted} more did not take, and do not count."
    found = finding(
        "CC060",
        words,
        level="note" if removed == counted else "warning",
        measure="canaries removed",
        value=removed / counted,
        n=counted,
    )
    if acted or removed < counted:
        return [found]
    done = "the weights were cleaned all the same" if changed else "the weights are as they were"
    nothing = f"No trigger acted on this model before cleaning, and the search found none; {done}."
    return [found, detect.note("CC065", nothing)]


def _without_canaries(copy: Copy | None, *, acted: bool) -> Finding:
    words = (
        "No canaries were planted."
        if copy is None
        else "None of the canaries took: the copy does not act on their triggers."
    )
    if acted:
        return _told("CC061", "note", words)
    more = "No trigger acted on the model before cleaning either, so nothing shows what the cleaning removes."
    return _told("CC061", "warning", f"{words} {more}")


def accepted(job: Job, findings: Sequence[Finding], /) -> policy.Applied:
    """The findings as the policy of the run takes them."""
    return outputs.accepted(job.request, job.ready, findings)


def nothing_passed(job: Job, entries: Sequence[Entry], attempt: Attempt, /) -> Finding:
    """That an error stands after all that was tried."""
    tried = ", ".join(entry.rung.name for entry in entries if not entry.why_not)
    budget = f"{100 * job.ready.thresholds.max_accuracy_loss:.1f} points of accuracy"
    return _told(
        "CC063",
        "error",
        f"Nothing that was tried passes within {budget}: {tried}. The nearest was {attempt.rung.name}.",
    )


def out_of_time(job: Job, entries: Sequence[Entry], /) -> list[Finding]:
    """That the time was over before every rung was tried that might have done better."""
    untried = len(job.recipe.auto.ladder) - len(entries)
    ran = [entry.attempt for entry in entries if entry.attempt]
    waiting = [e for e in entries if e.trials and not (e.why_not or e.attempt) and budget_of(job).passes(e.trials[0])]
    unrun = len(waiting) if all(attempt.is_open for attempt in ran) else 0
    if not (job.is_late() and untried + unrun):
        return []
    words = f"After {job.recipe.auto.max_minutes:g} minutes {untried} rungs were not tried, and {unrun} that passed on the canaries not run."
    return [detect.note("CC064", words)]


def section(job: Job, sight: AuditResult, /) -> dict[str, Any]:
    """``before`` or ``after`` of the report, with the search."""
    limits = job.ready.thresholds
    measurements = sight.measured.as_dict()
    if sight.search:
        measurements["search"] = audit_job.search_section(job.recipe.auto.effort, sight, job.references, {})
    return {
        "measurements": measurements,
        "findings": [
            inputs.dumped(found)
            for found in audit_job.findings(sight, job.references, limits, images=len(job.evidence.pixels))
        ],
        "suspects": detect.suspected_classes(sight.search, sight.measured.panel, limits=limits),
    }


def account(job: Job, copy: Copy | None, entries: Sequence[Entry], attempt: Attempt, /) -> dict[str, Any]:
    """``auto`` of the report: canaries, ladder, the way back, the rebound, and how long it all took."""
    return {
        "chosen": attempt.rung.name,
        "changed": attempt.cleaned.changed,
        "share": attempt.point.share,
        "canaries": [
            {
                "trigger": probe.trigger,
                "target": probe.target,
                "planted": probe.excess,
                "took": probe.excess >= canaries.TOOK,
                "n": probe.asr.n,
            }
            for probe in (copy.planted.known if copy else ())
        ],
        "ladder": [_rung_told(job, entry, is_chosen=entry.attempt is attempt) for entry in entries],
        "interpolation": [point.as_dict() for point in attempt.points],
        "rebound": attempt.rebound.as_dict() if attempt.rebound else None,
        "budget": {
            "accuracy": job.ready.thresholds.max_accuracy_loss,
            "excess": job.ready.thresholds.max_excess,
            "minutes": job.recipe.auto.max_minutes,
        },
        "seconds": {
            "total": time.monotonic() - job.started,
            "planting": copy.seconds if copy else 0.0,
            "trials": sum(entry.seconds for entry in entries),
            "chosen": attempt.cleaned.training["seconds"],
            "rebound": attempt.rebound.seconds if attempt.rebound else 0.0,
        },
    }


def _rung_told(job: Job, entry: Entry, *, is_chosen: bool) -> dict[str, Any]:
    attempt = entry.attempt
    ran = attempt and {
        "excess": attempt.point.excess,
        "accuracy_lost": attempt.point.accuracy_lost,
        "triggers": len(attempt.suspicions),
        "errors": sorted({f.rule for f in attempt.findings if f.level == "error"}),
        "seconds": attempt.cleaned.training["seconds"],
    }
    return {
        "rung": entry.rung.name,
        "chosen": is_chosen,
        "why_not": entry.why_not,
        "passes": bool(entry.trials) and budget_of(job).passes(entry.trials[0]),
        "trials": [trial.as_dict() for trial in entry.trials],
        "run": ran,
    }


def _told(rule: str, level: Level, words: str) -> Finding:
    return finding(rule, words, level=level)
