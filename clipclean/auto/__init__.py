"""Where every cleaning begins: by one recipe that was named (``named``), or by ``auto`` (``job``), which tries candidates and runs the best."""

import time
from dataclasses import replace

from clipclean import deadline, requests, train
from clipclean.auto import candidates
from clipclean.auto.candidates import Candidate
from clipclean.auto.job import auto
from clipclean.auto.named import named
from clipclean.errors import Inconclusive
from clipclean.export import placing
from clipclean.jobs import outputs, plan, prepare
from clipclean.jobs.plan import Plan
from clipclean.jobs.prepare import CleaningInputs
from clipclean.jobs.results import Outcome
from clipclean.progress import Listener, heard, logged, say
from clipclean.requests import Sanitize
from clipclean.train import Run


def clean(request: Sanitize, /, *, group: train.Group = train.ALONE) -> Outcome | None:
    """Clean one checkpoint by its recipe, or by the one that ``auto`` chooses, and write the result into ``request.out``.

    Finished parts are kept in the run's folder, so a killed run resumes from them. Several processes share batches; the first one
    measures, searches, judges and writes, and the others return None.

    Raises:
        ClipcleanError: of the kind that tells the exit code; then nothing new stands in ``request.out``.
    """
    started = time.monotonic()
    # Before slow work: an output that may not be replaced is refused at once.
    present = placing.OutputState()
    if group.is_first:
        present = placing.look(request.out, force=request.force, names=outputs.OUTPUTS)
    timed = Listener(steps=lambda *_: deadline.check()) if group.size == 1 else Listener()
    try:
        with deadline.within(request.max_minutes), heard(timed):
            cleaning_inputs, offered = _prepared(request)
    except deadline.OutOfTime as error:
        raise _too_late(request, "the data were read") from error
    chooses = cleaning_inputs.recipe.traits.chooses
    plan.tell_cleaning(cleaning_inputs, [candidate.recipes for candidate in offered], minutes=request.max_minutes)
    if not chooses:  # its candidates are checked instead
        group.check(cleaning_inputs.recipe.train.batch_size)
    to = outputs.destination(cleaning_inputs, present, group)
    if group.any(group.is_first and to.present.run == to.digest):  # it was killed after all its files had been moved in
        return outputs.finished(request, to.state) if group.is_first else None
    run = Run(request.seed, cleaning_inputs.precision, state=to.state, group=group)
    if group.size > 1:
        say(f"{group.size} processes share each batch; the first one measures, searches, judges and writes")
    with to.state.locked(), logged(request.log_dir if group.is_first else None, request.log_to):
        to.state.claim(force=request.force)
        if group.is_first:
            outputs.say_resumed(to)
        try:
            if chooses:
                return auto(cleaning_inputs, offered, to, run, started=started)
            return named(cleaning_inputs, to, run, started=started)
        except KeyboardInterrupt as error:
            raise to.state.interrupted() from error
        except deadline.OutOfTime as error:
            raise _too_late(request, "the model was audited" if chooses else "the model was cleaned") from error


def planned(request: Sanitize, /) -> Plan:
    """The plan of a cleaning; refuses what the cleaning itself would refuse before it measures."""
    placing.look(request.out, force=request.force, names=outputs.OUTPUTS, is_dry=True)
    cleaning_inputs, offered = _prepared(replace(request, screen="off"))  # screening embeds every pair
    return plan.of_sanitize(request, cleaning_inputs, [candidate.recipes for candidate in offered])


def _prepared(request: Sanitize) -> tuple[CleaningInputs, tuple[Candidate, ...]]:
    """Everything read and built, and the candidates for these pairs, in the order of trying."""
    # Before slow work: a misspelt candidate is refused at once.
    audits = {"panel": request.panel, "search": request.search}
    listed = candidates.listed(requests.recipe_of(request), **audits)
    cleaning_inputs = prepare.prepare(request)
    return cleaning_inputs, tuple(
        candidate.fitted(cleaning_inputs.recipe, pairs=len(cleaning_inputs.to_train.pairs)) for candidate in listed
    )


def _too_late(request: Sanitize, what: str) -> Inconclusive:
    return Inconclusive(
        f"The {request.max_minutes:g} minutes of --max-minutes ended before {what}, so nothing was written. Give more minutes: the same "
        "command goes on from what is done."
    )


__all__ = ["auto", "clean", "named", "planned"]
