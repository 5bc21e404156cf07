"""The job of ``auto``, from top to bottom: audit, plant canaries, choose a candidate, write the best result."""

import contextlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from clipclean import deadline, detect, model
from clipclean.auto import attempts, candidates, conclude, select, trials
from clipclean.auto.conclude import Tried
from clipclean.auto.select import Considered
from clipclean.auto.workbench import Workbench
from clipclean.config import policy
from clipclean.config import recipe as recipes
from clipclean.config.methods import METHODS
from clipclean.config.recipe import Recipe
from clipclean.errors import UsageError
from clipclean.jobs import inputs, other_models, outputs, plan, suspicions
from clipclean.jobs.outputs import Destination, SanitizeOutcome
from clipclean.jobs.prepare import Prepared
from clipclean.jobs.searching import SearchSettings
from clipclean.progress import Progress
from clipclean.report import PageImages, example_images
from clipclean.schema.report import Report
from clipclean.train.resume import RunState
from clipclean.train.run import Run

WITHIN = 0.9  # share of the time after which nothing more is measured: the rest is for the report
AFTERWARDS = 2.0  # measurements of a model that the report may take; on many classes they are longer than that rest
AUDIT = 0.3  # share of the time after which the first search ends with what it has found, to leave time for candidates


def check(recipe: Recipe, /, *, panel: bool) -> None:
    """Raise UsageError for a run by which ``auto`` could not work; one of another recipe is none of its own."""
    if not METHODS[recipe.method].chooses:
        return
    if not panel:
        raise UsageError("auto decides by audits, so --no-panel leaves it nothing to go by. Leave the option out.")
    candidates.candidates(recipe, parameters=0, pairs=0, classes=0)  # a misspelt one is refused before slow work


def auto(ready: Prepared, to: Destination, /, *, started: float, progress: Progress) -> SanitizeOutcome | None:
    """Clean one model with the candidate that works on it, and write the result; None in all processes but the first.

    Raises:
        OutOfTime: the deadline came before a candidate was run.
        ClipcleanError: of the kind that tells the exit code; then nothing new stands in ``out``.
    """
    request, group = ready.request, to.state.group
    bench = workbench(ready, to.state, progress)
    offered = listed(ready)
    for each in (recipe for candidate in offered for recipe in candidate.recipes):
        bench.run.group.check(each.train.batch_size)
    bench.run.group.check(bench.planting.batch_size, name="auto.batch_size")
    with deadline.within(request.max_minutes, reserve=time.monotonic() - started):
        bench = replace(bench, references=references_of(bench, ready))
    ready = replace(ready, trusted=())  # their tensors are needed no longer
    tried = tried_all(bench, offered, Limit.of(ready, started))
    if not group.is_first:
        return None
    result, images = concluded(bench, ready, tried)
    return outputs.publish(ready, result, bench.evidence, to=to, images=images, progress=progress)


def workbench(ready: Prepared, state: RunState, progress: Progress, /) -> Workbench:
    """The workbench: the model, and the images to measure on; clean models to compare with follow."""
    clip, recipe = ready.loaded.clip, ready.recipe
    return Workbench(
        clip=clip,
        original=model.taken(clip),
        samples=ready.samples,
        evidence=suspicions.evidence_of(ready, recipe, panel=True),
        references=None,
        limits=ready.thresholds,
        settings=recipe.auto,
        control=control_of(recipe, clip),
        state=state,
        run=Run(ready.request.seed, ready.precision, progress, group=state.group),
    )


def references_of(bench: Workbench, ready: Prepared, /) -> detect.References | None:
    """The clean models to compare with: those that the user named, searched like the model itself; None without any."""
    settings = SearchSettings(bench.settings.effort, ready.request.seed)

    def measured() -> list[detect.References]:
        return other_models.measured(
            settings,
            ready.trusted,
            bench.evidence,
            ready.clean,
            device=ready.device,
            progress=bench.run.progress,
            state=bench.state,
        )

    found = bench.run.group.of_first(measured) if ready.trusted else []
    return detect.together(found) if found else None


def listed(ready: Prepared, /) -> tuple[candidates.Candidate, ...]:
    """The candidates for this model, its pairs and classes, in the order of trying; none where the recipe chooses among none."""
    recipe, parameters = ready.recipe, model.parameter_count(ready.loaded.clip.net)
    if not METHODS[recipe.method].chooses:
        return ()
    pairs, classes = len(ready.samples.pairs), len(ready.vocabulary.classes)
    return candidates.candidates(recipe, parameters=parameters, pairs=pairs, classes=classes)


def ladder(ready: Prepared, /) -> list[tuple[Recipe, ...]]:
    """The recipes of each candidate."""
    return [each.recipes for each in listed(ready)]


def control_of(recipe: Recipe, clip: model.Clip, /) -> Recipe:
    """The recipe for planting and for the refinetune test, of the model's size."""
    control, parameters = recipes.load(recipe.auto.control), model.parameter_count(clip.net)
    found = recipes.fitted(control, parameters=parameters, pairs=recipes.FEW, classes=1)  # one for few pairs too
    return found.model_copy(update={"data": recipe.data})


@dataclass(frozen=True)
class Limit:
    """The time of a run; without a limit there is no end."""

    minutes: float | None
    started: float
    end: float  # after which nothing more is tried

    @classmethod
    def of(cls, ready: Prepared, started: float, /) -> "Limit":
        """Of a request, with time for the report at the rate of this machine, but no more than half of all."""
        minutes = ready.request.max_minutes
        if minutes is None:
            return cls(None, started, math.inf)
        seconds = 60 * minutes
        after = AFTERWARDS * plan.seconds_of_measuring(ready)
        return cls(minutes, started, started + max(seconds / 2, min(WITHIN * seconds, seconds - after)))

    def within(self, share: float, /) -> contextlib.AbstractContextManager[None]:
        """Let work end after this share of the time that is left."""
        left = max(0.0, self.end - time.monotonic())
        return deadline.within(None if self.minutes is None else share * left / 60)


def tried_all(bench: Workbench, offered: Sequence[candidates.Candidate], limit: Limit, /) -> Tried:
    """Audit the original, plant canaries in a copy, and try and run the candidates that ``select`` chooses.

    Raises:
        OutOfTime: the deadline came before a candidate was run.
    """
    group, spent = bench.run.group, [0.0]

    def is_late() -> bool:
        # Another candidate may take as long as the longest so far, and what is run on the model that long and an audit.
        return limit.minutes is not None and group.any(time.monotonic() + audited + 2 * max(spent) > limit.end)

    def tried(candidate: candidates.Candidate) -> Considered:
        made = attempts.on_copy(bench, candidate, copy, before.acting)
        spent.append(made.seconds)
        return made

    with limit.within(1.0):
        began = time.monotonic()
        with limit.within(AUDIT):
            sight = bench.audit(bench.evidence.suspicions, pointed=(), what=" before")
        audited = time.monotonic() - began
        before = suspicions.suspected(sight, bench.evidence, bench.limits)
        bench = replace(bench, evidence=replace(bench.evidence, sure=before.sure))
        # What surely acts shows on the model itself whether a candidate removes it, in half the time of trying it on a copy before.
        acts = any(trigger.spec in before.sure for trigger, _ in before.acting)
        copy = None if acts else planted(bench, before)
        considered = select.choose(
            candidates.ordered(offered, acts=acts),
            budget=bench.budget,
            is_late=is_late,
            tried=tried,
            run=lambda candidate: attempts.on_model(bench, candidate, copy, before),
        )
        return Tried(before, copy, considered, bench.budget, limit.minutes, is_late(), limit.started)


def planted(bench: Workbench, before: suspicions.Suspected, /) -> trials.PlantedCopy | None:
    """A copy with canaries, none for a suspected class; None if none can be planted."""
    # With two backdoors for one class, neither removal could be told from the other.
    rows = detect.suspected_classes(before.sight.search, before.sight.measured.panel, limits=bench.limits)
    unusual = [bench.evidence.classes.index(row.class_) for row in rows]
    return bench.plant(avoid=[*suspicions.targets(before.suspicions), *unusual])


def concluded(bench: Workbench, ready: Prepared, tried: Tried, /) -> tuple[Report, PageImages]:
    """The report and its images; afterwards the model has the reported weights."""
    chosen, attempt = select.best(tried.considered)
    original = attempts.unchanged(bench, attempt, tried.before)
    best = attempt
    if stays := conclude.stays(original.findings, best):
        attempt = original
    asked = replace(bench.evidence, suspicions=attempt.suspicions, sure=tried.before.sure)
    model.put(bench.clip, bench.original)
    before = tried.before.sight.measured
    if attempt.suspicions != bench.evidence.suspicions:  # a search has named triggers that the first audit did not know
        before = inputs.measure(bench.clip, asked, what="measuring before", progress=bench.run.progress)
    shown = suspicions.exhibited(bench.clip, asked, attempt.suspicions, before, seed=ready.request.seed)
    bench.put(attempt.cleaned.weights, original=bench.original, share=attempt.point.share)
    after = before if attempt.sight is tried.before.sight else attempt.sight.measured
    shown_after = suspicions.exhibited(bench.clip, asked, attempt.suspicions, after, seed=ready.request.seed)
    if stays:
        audit = policy.verdict(ready.accepted(original.findings, original.findings).findings)
        shown_by_canaries = [conclude.as_it_was(tried.considered, best, bench.budget, audit=audit)]
    else:
        shown_by_canaries = conclude.canary_findings(
            tried.copy,
            chosen.at(attempt.point.share),
            before,
            limit=bench.limits.max_excess,
            changed=attempt.cleaned.changed,
            doubted=any(found.rule in ("CC002", "CC003") for found in attempt.findings),
        )
    shipped = replace(bench, limits=policy.resolved(policy.DEFAULT, ready.recipe.audit))
    more = [
        *shown_by_canaries,
        *outputs.side_findings(ready),
        *conclude.out_of_time(tried, listed=len(bench.settings.ladder)),
    ]
    by_shipped = [
        *(attempt.findings if shipped.limits == bench.limits else attempts.judged(shipped, attempt, tried.before)),
        *more,
    ]
    nothing = conclude.nothing_passed(tried.considered, attempt, bench.budget)
    applied = conclude.judged(lambda found: ready.accepted(found, by_shipped), [*attempt.findings, *more], nothing)
    section_before = conclude.section(bench, replace(tried.before.sight, measured=before), shown.maps)
    section_after = conclude.section(bench, replace(attempt.sight, measured=after), shown_after.maps)
    section_after = outputs.beside_original(section_after, before, after, classes=bench.evidence.classes)
    known = outputs.evidence_of(ready.standing, before, after)
    result = outputs.compose(ready, section_before, section_after, applied, attempt.cleaned.training, known)
    result = result.model_copy(update={"auto": conclude.account(tried, attempt), "cleaning": attempt.way.record()})
    return result, example_images.grids(shown, shown_after)
