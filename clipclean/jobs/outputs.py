"""The outputs of a cleaning: report, weights, and their destination."""

import hashlib
from dataclasses import asdict, dataclass

from clipclean import detect, own_state, report, train
from clipclean.config import recipe as recipes
from clipclean.export import formats, placing, records
from clipclean.findings import CC
from clipclean.jobs import estimate, results
from clipclean.jobs.prepare import CleaningInputs
from clipclean.jobs.results import Outcome
from clipclean.methods import unlearning
from clipclean.report import PageImages, Report
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


def fingerprint(cleaning_inputs: CleaningInputs, /) -> dict[str, object]:
    """All that determines the weights of a run: runs with equal fingerprints may resume each other.

    The thresholds of the audit are not part of it: a run may be judged again without training again.
    """
    request, loaded, clean = cleaning_inputs.request, cleaning_inputs.loaded, cleaning_inputs.clean
    decides = {
        "program": resume.program(),
        "model": loaded.file.sha256,
        "architecture": loaded.clip.architecture.config,
        "preprocess": asdict(loaded.clip.architecture.preprocess),
        "data": clean.digest,
        "order": [pair.key for pair in clean.pairs],
        "held_out": request.eval_data is None,
        "recipe": recipes.decides(cleaning_inputs.recipe),
        "seed": request.seed,
        "precision": train.resolved(cleaning_inputs.precision, loaded.clip.net, loaded.clip.device),
        "device": loaded.clip.device.type,  # not its number, which differs among processes
    }
    # auto chooses by audits beside them
    others = [opened.file.sha256 for opened in cleaning_inputs.shared.clean_models]
    beside = {"references": others} if others else {}
    aims = {
        "vocabulary": asdict(cleaning_inputs.shared.vocabulary),
        "named": unlearning.identities(cleaning_inputs.shared.named),
        "searches": request.search,  # what is found is unlearned
    }
    return decides | (aims if cleaning_inputs.recipe.traits.uses_classes else {}) | beside


def destination(cleaning_inputs: CleaningInputs, present: placing.OutputState, group: train.Group, /) -> Destination:
    """The destination of the result of a run, and its state.

    Raises:
        UsageError: it would replace another run's result unasked, or several processes do not work on the same.
    """
    request = cleaning_inputs.request
    state = RunState.of(request.out, fingerprint(cleaning_inputs), group=group)
    group.check_same(state.fingerprint)
    deciding = {name: value for name, value in vars(request).items() if name not in CHANGES_NOTHING}
    deciding |= {"recipe": cleaning_inputs.recipe, "policy": cleaning_inputs.shared.judge.chosen}
    run = hashlib.sha256(repr((state.fingerprint, deciding)).encode()).hexdigest()
    present.check(request.out, run, force=request.force)
    return Destination(present, run, state)


def say_resumed(to: Destination, /) -> None:
    """Say that a run goes on with what an interrupted one kept, if it does."""
    estimate.say_resumed(own_state.spent(to.state.folder))


def finished(request: Sanitize, state: RunState, /) -> Outcome:
    """The outcome of an equal run that was killed after its files were moved in, before it had cleaned up."""
    with state.locked():
        result = report.read(request.out / "report.json")
        if exported := bool(result.exports):
            state.discard()
        placing.close_run(request.out)
    return Outcome(result, exported=exported, paths=results.paths_of(request, result))


def still_acting(result: Report, /, *, limit: float) -> tuple[str, ...]:
    """The found or named triggers that turn more than this share of the images, beyond chance, into a class that the audit of the original
    had named.
    """
    if not (result.before and result.after):
        return ()
    named = {
        finding.target
        for finding in result.before.findings
        if finding.rule in (CC.KNOWN_TRIGGER_ACTS, CC.TRIGGER_FOUND)
    }
    probes = result.after.measurements.probes
    return tuple(p.trigger for p in probes if p.known and p.target in named and p.excess_asr.interval[0] > limit)


def publish(
    cleaning_inputs: CleaningInputs,
    result: Report,
    measured_on: detect.EvalSet,
    /,
    *,
    to: Destination,
    images: PageImages,
    is_whole: bool = True,
) -> Outcome:
    """Write everything into a scratch folder first, check it, then replace an earlier result by it.

    If the verdict is fail, the loss over the budget, or a trigger still acts towards a class that the audit of the original named, only the
    reports and their checksums are written, unless the user asks for the weights. The original's own weights are written only where that is a pass. Those of one run never stand beside a report of another. A
    run that stopped at its deadline keeps its state, to resume from.

    Raises:
        ResourceError: the disk is full or the folder not writable; then the new files are gone again.
    """
    request, loaded = cleaning_inputs.request, cleaning_inputs.loaded
    is_over = any(finding.rule == CC.ACCURACY_LOST and finding.level != "note" for finding in result.findings)
    stays = still_acting(result, limit=cleaning_inputs.shared.judge.limits.max_excess)
    exported = request.keep_failed or not (is_over or stays or result.verdict == "fail")
    if not result.is_changed:  # never as if they had been cleaned
        exported = result.verdict == "pass"
    with placing.scratch_folder(request.out) as new:
        if exported:
            # Labelled images have no captions: the names of the classes are embedded instead.
            entries = formats.write(
                new,
                loaded.clip,
                loaded.weights(),
                options=cleaning_inputs.wanted,
                pixels=measured_on.pixels,
                captions=measured_on.captions or measured_on.classes,
                source_sha256=loaded.file.sha256,
            )
            result = result.model_copy(update={"exports": tuple(entries)})
        report.write(result, "json", new / "report.json")
        paths = results.paths_of(request, result)
        report.write(result, "html", new / "report.html", images, paths)
        if exported:
            records.write(new, result.as_json())
        else:
            records.write_checksums(new)
        placing.place(new, request.out, earlier=to.present.earlier, run=to.digest)
    if exported and is_whole:
        to.state.discard()
    elif is_whole:
        to.state.finish()
    placing.close_run(request.out)
    return Outcome(result, images, exported, paths)
