"""Where the result of a cleaning goes, and whether an equal run has been there."""

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from clipclean import own_state, report, train
from clipclean.config import recipe as recipes
from clipclean.detect import identities
from clipclean.export import formats, placing, records
from clipclean.jobs import estimate, results
from clipclean.jobs.prepare import CleaningInputs
from clipclean.jobs.results import Outcome
from clipclean.metrics_log import logged
from clipclean.progress import say
from clipclean.requests import Sanitize
from clipclean.train import RunState, resume

OUTPUTS = (*formats.FILE_NAMES, "report.json", "report.html", *records.RECORD_FILES)  # files that a run may write
CHANGES_NOTHING = ("force", "progress", "log_dir", "log_to")  # options that change nothing of what is written


@dataclass(frozen=True)
class Destination:
    """Where a result goes."""

    present: placing.OutputState  # the present content of the folder
    digest: str  # of the request: an equal run has the same result
    state: RunState  # of the run, removed once the result is in place


def fingerprint(inputs: CleaningInputs, /) -> dict[str, object]:
    """All that determines the weights of a run: runs with equal fingerprints may resume each other.

    The thresholds of the audit are not part of it: a run may be judged again without training again.
    """
    loaded, clean = inputs.loaded, inputs.clean
    decides = {
        "program": resume.program(),
        "model": loaded.file.sha256,
        "architecture": loaded.clip.architecture.config,
        "preprocess": asdict(loaded.clip.architecture.preprocess),
        "data": clean.digest,
        "order": [pair.key for pair in clean.pairs],
        "held_out": inputs.holds_out,
        "recipe": recipes.decides(inputs.recipe),
        "seed": inputs.seed,
        "precision": train.resolved(inputs.precision, loaded.clip.net, loaded.clip.device),
        "device": loaded.clip.device.type,  # not its number, which differs among processes
    }
    # auto chooses by audits beside them
    others = [checkpoint.file.sha256 for checkpoint in inputs.shared.clean_models]
    others += inputs.shared.stored.files
    references = {"references": others} if others else {}
    aims = {
        "vocabulary": asdict(inputs.shared.vocabulary),
        "named": identities(inputs.shared.named_suspicions),
        "searches": inputs.searches,  # what is found is unlearned
    }
    return decides | (aims if inputs.recipe.traits.uses_classes else {}) | references


def destination_of(
    request: Sanitize, inputs: CleaningInputs, present: placing.OutputState, state: RunState, /
) -> Destination:
    """The destination of the result of a run with this state; raises UsageError where it would replace another run's result unasked."""
    deciding = {name: value for name, value in vars(request).items() if name not in CHANGES_NOTHING}
    deciding |= {"recipe": inputs.recipe, "policy": inputs.shared.judge.policy_in_force}
    digest = hashlib.sha256(repr((state.fingerprint, deciding)).encode()).hexdigest()
    present.check(request.out, digest, force=request.force)
    return Destination(present, digest, state)


def check_output_folder(request: Sanitize, /, *, is_first: bool = True, is_dry: bool = False) -> placing.OutputState:
    """The present content of the folder, looked at by the first process; raises UsageError where it may not be replaced."""
    if not is_first:
        return placing.OutputState()
    return placing.look(request.out, force=request.force, names=OUTPUTS, is_dry=is_dry)


def is_finished(output: Destination, /) -> bool:
    """Whether an equal run was killed after all its files had been moved in."""
    processes = output.state.group
    return processes.any(processes.is_first and output.present.run == output.digest)


@contextlib.contextmanager
def working(request: Sanitize, output: Destination, /) -> Iterator[None]:
    """Lock the destination and log the run; a message says so where it goes on with what an interrupted one kept.

    Raises:
        Interrupted: the run was, between the parts that it keeps.
        UsageError: another process works there, or another run was interrupted there.
    """
    processes = output.state.group
    if processes.size > 1:
        say(f"{processes.size} processes share each batch; the first one measures, searches, judges and writes")
    with output.state.locked(), logged(request.log_dir if processes.is_first else None, request.log_to):
        output.state.claim(force=request.force)
        if processes.is_first:
            estimate.say_resumed(own_state.spent(output.state.folder))
        try:
            yield
        except KeyboardInterrupt as error:
            raise output.state.interrupted() from error


def outcome_of_finished(request: Sanitize, state: RunState, /) -> Outcome:
    """The outcome of an equal run that was killed after its files were moved in, before it had cleaned up."""
    with state.locked():
        result = report.read(request.out / "report.json")
        if exported := bool(result.exports):
            state.discard()
        placing.close_run(request.out)
    return Outcome(result, exported=exported, paths=results.paths_of(request, result))
