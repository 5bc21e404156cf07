"""Where the result of a cleaning goes, and whether an equal run has been there."""

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from clipclean import own_state, report
from clipclean.export import formats, placing, records
from clipclean.jobs import estimate, results
from clipclean.jobs.cleaning_inputs import CleaningInputs
from clipclean.jobs.job import Job
from clipclean.jobs.results import Outcome
from clipclean.metrics_log import logged
from clipclean.progress import say
from clipclean.report import RunPaths
from clipclean.requests import Sanitize
from clipclean.train import RunState

OUTPUTS = (*formats.FILE_NAMES, "report.json", "report.html", *records.RECORD_FILES)  # files that a run may write
CHANGES_NOTHING = ("force", "progress", "log_dir", "log_to")  # options that change nothing of what is written


@dataclass(frozen=True)
class OutputOptions:
    """What a user chose about the output of a cleaning."""

    folder: Path
    replaces: bool  # whether what clipclean wrote there before may be lost
    keeps_failed: bool  # whether weights that something speaks against are written too
    log_folder: Path | None
    log_to: tuple[str, ...]
    choices: Mapping[str, object]  # by name, every option that changes something of what is written
    paths: RunPaths  # for the commands that the report suggests

    @classmethod
    def of(cls, job: Job[Sanitize], /) -> "OutputOptions":
        """Those of a job."""
        request = job.request
        choices = {name: value for name, value in vars(request).items() if name not in CHANGES_NOTHING}
        return cls(
            request.out,
            replaces=request.force,
            keeps_failed=request.keep_failed,
            log_folder=request.log_dir,
            log_to=request.log_to,
            choices=choices,
            paths=results.paths_of(request, job.recipe.name),
        )


@dataclass(frozen=True)
class Destination:
    """Where a result goes."""

    options: OutputOptions
    present: placing.OutputState  # the present content of the folder
    digest: str  # of the request: an equal run has the same result
    state: RunState  # of the run, removed once the result is in place


def destination_of(
    options: OutputOptions, inputs: CleaningInputs, present: placing.OutputState, state: RunState, /
) -> Destination:
    """The destination of the result of a run with this state; raises UsageError where it would replace another run's result unasked."""
    deciding = {**options.choices, "recipe": inputs.recipe, "policy": inputs.shared.judge.policy_in_force}
    digest = hashlib.sha256(repr((state.fingerprint, deciding)).encode()).hexdigest()
    present.check(options.folder, digest, force=options.replaces)
    return Destination(options, present, digest, state)


def check_output_folder(
    options: OutputOptions, /, *, is_first: bool = True, is_dry: bool = False
) -> placing.OutputState:
    """The present content of the folder, looked at by the first process; raises UsageError where it may not be replaced."""
    if not is_first:
        return placing.OutputState()
    return placing.look(options.folder, force=options.replaces, names=OUTPUTS, is_dry=is_dry)


def is_finished(output: Destination, /) -> bool:
    """Whether an equal run was killed after all its files had been moved in."""
    processes = output.state.group
    return processes.any(processes.is_first and output.present.run == output.digest)


@contextlib.contextmanager
def working(output: Destination, /) -> Iterator[None]:
    """Lock the destination and log the run; a message says so where it goes on with what an interrupted one kept.

    Raises:
        Interrupted: the run was, between the parts that it keeps.
        UsageError: another process works there, or another run was interrupted there.
    """
    processes, options = output.state.group, output.options
    if processes.size > 1:
        say(f"{processes.size} processes share each batch; the first one measures, searches, judges and writes")
    with output.state.locked(), logged(options.log_folder if processes.is_first else None, options.log_to):
        output.state.claim(force=options.replaces)
        if processes.is_first:
            estimate.say_resumed(own_state.spent(output.state.folder))
        try:
            yield
        except KeyboardInterrupt as error:
            raise output.state.interrupted() from error


def outcome_of_finished(output: Destination, /) -> Outcome:
    """The outcome of an equal run that was killed after its files were moved in, before it had cleaned up."""
    folder, state = output.options.folder, output.state
    with state.locked():
        result = report.read(folder / "report.json")
        if exported := bool(result.exports):
            state.discard()
        placing.close_run(folder)
    return Outcome(result, exported=exported, paths=output.options.paths)
