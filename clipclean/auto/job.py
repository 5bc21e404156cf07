"""The job of ``auto``, from top to bottom: audit, plant canaries, choose a candidate, write the best result."""

import time
from collections.abc import Sequence
from dataclasses import replace

from clipclean import detect
from clipclean.auto import attempts, candidates, conclude, opening, select, trials
from clipclean.auto.conclude import Tried
from clipclean.auto.opening import Limit
from clipclean.auto.select import Considered
from clipclean.auto.workbench import Workbench
from clipclean.config.methods import METHODS
from clipclean.config.recipe import Recipe
from clipclean.errors import UsageError
from clipclean.jobs import outputs, suspicions
from clipclean.jobs.outputs import Destination, SanitizeOutcome
from clipclean.jobs.prepare import Prepared
from clipclean.progress import Progress

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
    group = to.state.group
    bench = opening.workbench(ready, to.state, progress)
    offered = opening.listed(ready)
    for each in (recipe for candidate in offered for recipe in candidate.recipes):
        bench.run.group.check(each.train.batch_size)
    bench.run.group.check(bench.planting.batch_size, name="auto.batch_size")
    bench = replace(bench, references=opening.references_of(bench, ready, started=started))
    ready = replace(ready, trusted=())  # their tensors are needed no longer
    tried = tried_all(bench, offered, Limit.of(ready, started))
    if not group.is_first:
        return None
    result, images = conclude.concluded(bench, ready, tried)
    return outputs.publish(ready, result, bench.evidence, to=to, images=images, progress=progress)


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
            # Towards no class in particular: before it nothing is known but what the user named.
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
