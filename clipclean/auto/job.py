"""The job of ``auto``, from top to bottom: audit, plant canaries, choose a candidate, write the best result.

What it shares with the job of one recipe (``named``): the time, the clean models, and the audit of the original.
"""

import contextlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from clipclean import deadline, detect
from clipclean.auto import attempts, conclude
from clipclean.auto.attempts import Considered
from clipclean.auto.candidates import Candidate
from clipclean.auto.conclude import Tried
from clipclean.auto.workbench import Workbench
from clipclean.jobs import base as bases
from clipclean.jobs import judging, other_models, outputs, plan
from clipclean.jobs.judging import FirstAudit
from clipclean.jobs.outputs import Destination
from clipclean.jobs.prepare import CleaningInputs
from clipclean.jobs.results import Outcome
from clipclean.jobs.searching import SearchSettings
from clipclean.train import Run

WITHIN = 0.9  # share of the time after which nothing more is measured: the rest is for the report
AFTERWARDS = 2.0  # measurements of a model that the report may take; on many classes they are longer than that rest
SHOWN_CLASSES = 3  # classes in a message
AUDIT = 0.3  # share of the time after which the first search ends with what it has found, to leave time for candidates


@dataclass(frozen=True)
class Limit:
    """The time of a run; without a limit there is no end."""

    minutes: float | None
    started: float
    end: float  # after which nothing more is tried

    @classmethod
    def of(cls, cleaning_inputs: CleaningInputs, started: float, /) -> "Limit":
        """Of a request, with time for the report at the rate of this machine, but no more than half of all."""
        minutes = cleaning_inputs.request.max_minutes
        if minutes is None:
            return cls(None, started, math.inf)
        # After the last attempt the report measures both models again: a run that tried on until the end would be late.
        seconds = 60 * minutes
        after = AFTERWARDS * plan.seconds_of_measuring(cleaning_inputs)
        return cls(minutes, started, started + max(seconds / 2, min(WITHIN * seconds, seconds - after)))

    def within(self, share: float, /) -> contextlib.AbstractContextManager[None]:
        """Let work end after this share of the time that is left."""
        left = max(0.0, self.end - time.monotonic())
        return deadline.within(None if self.minutes is None else share * left / 60)


def auto(
    cleaning_inputs: CleaningInputs, offered: Sequence[Candidate], to: Destination, run: Run, /, *, started: float
) -> Outcome | None:
    """Clean one model with the candidate that works on it, and write the result; None in all processes but the first.

    Raises:
        OutOfTime: the deadline came before the model was audited.
        ClipcleanError: of the kind that tells the exit code; then nothing new stands in ``out``.
    """
    group = run.group
    bench = Workbench.of(cleaning_inputs, to.state, run)
    for recipe in (recipe for candidate in offered for recipe in candidate.recipes):
        group.check(recipe.train.batch_size)
    group.check(bench.planting.batch_size, name="auto.batch_size")
    bench, limit = compared(bench, cleaning_inputs, started=started), Limit.of(cleaning_inputs, started)
    with limit.within(1.0):
        began = time.monotonic()
        bench, before = audited(bench, limit)
        if group.of_first(lambda: conclude.verdict_of(bench, cleaning_inputs, before.audit) == "pass"):
            bench.say("The audit passes: there is nothing to clean.")
            tried = Tried(before, None, (), limit.minutes, False, started)
        else:
            try:
                tried = tried_all(bench, before, offered, limit, auditing=time.monotonic() - began)
            except deadline.OutOfTime:  # what the audit shows is told all the same
                tried = Tried(before, None, (), limit.minutes, True, started)
    if not group.is_first:
        return None
    result, images = conclude.concluded(bench, cleaning_inputs, tried)
    return outputs.publish(cleaning_inputs, result, bench.eval_set, to=to, images=images, is_whole=not tried.is_cut)


def compared(bench: Workbench, cleaning_inputs: CleaningInputs, /, *, started: float) -> Workbench:
    """The workbench with the clean models that were given, searched like the model itself."""
    settings, device = SearchSettings(bench.settings.effort, cleaning_inputs.request.seed), str(bench.clip.device)

    def references() -> detect.References | None:
        return other_models.all_references(
            settings,
            cleaning_inputs.shared.clean_models,
            (),
            bench.eval_set,
            cleaning_inputs.clean,
            device=device,
            state=bench.state,
        )

    with deadline.within(cleaning_inputs.request.max_minutes, reserve=time.monotonic() - started):
        bench = replace(bench, references=bench.run.group.of_first(references))
    named = cleaning_inputs.shared.base
    return replace(bench, base=bases.load(named, bench.clip, bench.eval_set, cleaning_inputs.clean)) if named else bench


def audited(bench: Workbench, limit: Limit, /) -> tuple[Workbench, FirstAudit]:
    """The workbench that knows what the audit of the original is sure of, and that audit."""
    with limit.within(AUDIT):
        # Towards no class in particular: before it nothing is known but what the user named.
        audit = bench.audit(bench.eval_set.suspicions, pointed=(), what="before")
    before = FirstAudit.of(audit, bench.eval_set, bench.limits)
    # Later audits count the variants of known triggers beside clean models alone.
    grid = bench.eval_set.grid if bench.references else ()
    if bench.searches:
        # Whatever time is left: what was measured is told before anything is tried.
        rows = bench.suspects(audit)
        leading = "; ".join(f"{row.class_} (score {row.score or 0:.2f})" for row in rows[:SHOWN_CLASSES])
        bench.say(f"The audit of the original {f'points at: {leading}' if leading else 'points at no class'}.")
    return replace(bench, eval_set=replace(bench.eval_set, sure=before.sure, grid=grid)), before


def tried_all(
    bench: Workbench, before: FirstAudit, offered: Sequence[Candidate], limit: Limit, /, *, auditing: float
) -> Tried:
    """Plant canaries in a copy, and try and run the candidates that ``attempts.choose`` chooses; ``auditing`` seconds an audit takes.

    Raises:
        OutOfTime: the deadline came before a candidate was run.
    """
    group, spent, needless, audit = bench.run.group, [0.0], "", before.audit
    # What acts shows on the model itself whether a candidate removes it, in a third of the time of trying it on a copy before.
    # Of a clean model an unlearning takes natural triggers, which costs accuracy and most of the time.
    if not (judging.is_suspected(bench.findings(audit)) or all(candidate.searches for candidate in offered)):
        needless = "the audit suspects nothing that it could unlearn"
    # None towards a suspected class: with two backdoors for one, neither removal could be told from the other.
    rows = bench.suspects(audit)
    avoid = [*judging.targets(before.suspicions), *(bench.eval_set.classes.index(row.class_) for row in rows)]
    # Where nothing is suspected they would double the time, and no verdict hangs on them.
    copy = None if before.shows or needless else bench.plant(avoid=avoid)

    def is_late() -> bool:
        # Another candidate may take as long as the longest so far, and what is run on the model that long and an audit.
        return limit.minutes is not None and group.any(time.monotonic() + auditing + 2 * max(spent) > limit.end)

    def tried(candidate: Candidate) -> Considered:
        if unfit := candidate.unfit(bench.samples):
            return Considered(candidate, unfit)
        # The base shows on the model itself what is undone.
        if candidate.undoes:
            is_base = bench.base is not None and bench.base.kin.is_base
            return Considered(candidate, "" if is_base else "the model was not finetuned from a base that is known")
        # The model itself shows what surgery removes, in the time of a few measurements.
        if candidate.is_surgery and before.acting:
            return Considered(candidate)
        if needless and candidate.searches:
            return Considered(candidate, needless)
        considered = attempts.on_copy(bench, candidate, copy, before)
        spent.append(considered.seconds)
        return considered

    considered = attempts.choose(
        offered,
        limits=bench.limits,
        is_sure=bool(before.sure),
        is_late=is_late,
        tried=tried,
        run=lambda candidate: attempts.on_model(bench, candidate, copy, before),
        tell=bench.say,
    )
    return Tried(before, copy, considered, limit.minutes, is_late(), limit.started)
