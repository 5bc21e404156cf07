"""A cleaning, from top to bottom: read, audit, clean by a strategy, audit again, judge, write.

The strategy is that of one recipe (``one_recipe``), or that of ``auto``, which tries several: it cleans and audits what it cleaned, and
nothing else of the way is its own.
"""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from clipclean import deadline
from clipclean.deadline import Limit
from clipclean.errors import TooLittleTime
from clipclean.jobs import audit_original, cleaning_inputs, destination, outputs, plan
from clipclean.jobs.destination import OutputOptions
from clipclean.jobs.fingerprint import fingerprint_of
from clipclean.jobs.job import Job, precision_of
from clipclean.jobs.plan import Plan
from clipclean.jobs.results import Outcome
from clipclean.jobs.strategy import Strategy
from clipclean.jobs.workbench import Workbench
from clipclean.progress import Listener, heard
from clipclean.requests import Sanitize
from clipclean.train import Run


def sanitize(job: Job[Sanitize], strategy: Strategy, run: Run, /) -> Outcome | None:
    """Clean one checkpoint by a strategy, and write the result into the folder that was named.

    Finished parts are kept in the run's folder, so a killed run resumes from them. Several processes share batches; the first one
    of ``run`` measures, searches, judges and writes, and the others return None.

    Raises:
        ClipcleanError: of the kind that tells the exit code; then nothing new stands in ``out``.
    """
    started = time.monotonic()
    # Before slow work: an output that may not be replaced is refused at once.
    options, minutes = OutputOptions.of(job), job.request.max_minutes
    present = destination.check_output_folder(options, is_first=run.group.is_first)
    # The deadline ends the reading of one process; several would wait for the one that it ends.
    timed = Listener(steps=lambda *_: deadline.check()) if run.group.size == 1 else Listener()
    with _in_time(minutes, "the data were read"), deadline.within(minutes), heard(timed):
        inputs = cleaning_inputs.read_for_cleaning(job)
    strategy = strategy.fitted(inputs, run)
    prospect = plan.tell_cleaning(inputs, strategy.candidate_recipes, minutes=minutes)
    inputs = replace(inputs, forecast=prospect.record())
    state = run.state_of(options.folder, fingerprint_of(inputs))
    output = destination.destination_of(options, inputs, present, state)
    if destination.is_finished(output):
        return destination.outcome_of_finished(output) if run.group.is_first else None
    with destination.working(output), _in_time(minutes, strategy.least_done_words):
        time_limit = Limit.of(minutes, started, measuring=partial(plan.seconds_of_measuring, inputs))
        bench = audit_original.beside_clean_models(Workbench.of(inputs, state, run), inputs, time_limit)
        with time_limit.within(1.0):
            bench, first_audit, seconds = audit_original.audit_original(bench, time_limit)
        cleaning = strategy.clean(bench, inputs, first_audit, time_limit, audit_seconds=seconds)
        return outputs.publish(output, inputs, bench, cleaning) if cleaning else None


def run_of(job: Job[Sanitize], /) -> Run:
    """The settings of a cleaning's run, in one process."""
    return Run(job.request.seed, precision_of(job))


def planned(job: Job[Sanitize], strategy: Strategy, /) -> Plan:
    """The plan of a cleaning; refuses what the cleaning itself would refuse before it measures."""
    request = job.request
    destination.check_output_folder(OutputOptions.of(job), is_dry=True)
    inputs = cleaning_inputs.read_for_cleaning(job, screens=False)  # it embeds every pair
    fitted = strategy.fitted(inputs, run_of(job))
    return plan.plan_cleaning(inputs, fitted.candidate_recipes, minutes=request.max_minutes, folder=request.out)


@contextlib.contextmanager
def _in_time(minutes: float | None, what: str) -> Iterator[None]:
    try:
        yield
    except deadline.OutOfTime as error:
        raise TooLittleTime(
            f"The {minutes:g} minutes of --max-minutes ended before {what}, so nothing was written. Give more "
            "minutes: the same command goes on from what is done."
        ) from error


__all__ = ["Job", "planned", "run_of", "sanitize"]
