"""The outputs of a cleaning: report, weights and their records, written whole or not at all."""

from clipclean import detect, report
from clipclean.export import formats, placing, records
from clipclean.findings import CC
from clipclean.jobs import results
from clipclean.jobs.destination import Destination
from clipclean.jobs.prepare import CleaningInputs
from clipclean.jobs.results import Outcome
from clipclean.jobs.strategy import Cleaning
from clipclean.report import Report
from clipclean.requests import Sanitize


def still_acting(result: Report, /, *, limit: float) -> tuple[str, ...]:
    """The found or named triggers that turn more than this share of the images, beyond chance, into a class that the audit of the original
    had named.
    """
    if not (result.before and result.after):
        return ()
    suspected = {
        finding.target
        for finding in result.before.findings
        if finding.rule in (CC.KNOWN_TRIGGER_ACTS, CC.TRIGGER_FOUND)
    }
    probes = result.after.measurements.probes
    return tuple(p.trigger for p in probes if p.known and p.target in suspected and p.excess_asr.interval[0] > limit)


def publish(
    request: Sanitize, output: Destination, inputs: CleaningInputs, cleaning: Cleaning, measured_on: detect.EvalSet, /
) -> Outcome:
    """Write everything into a scratch folder first, check it, then replace an earlier result by it.

    If the verdict is fail, the loss over the budget, or a trigger still acts towards a class that the audit of the original named, only the
    reports and their checksums are written, unless the user asks for the weights. The original's own weights are written only where that is a pass. Those of one run never stand beside a report of another. A
    run that stopped at its deadline keeps its state, to resume from.

    Raises:
        ResourceError: the disk is full or the folder not writable; then the new files are gone again.
    """
    loaded, result = inputs.loaded, cleaning.report
    is_over = any(finding.rule == CC.ACCURACY_LOST and finding.level != "note" for finding in result.findings)
    stays = still_acting(result, limit=inputs.shared.judge.limits.max_excess)
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
                options=inputs.wanted,
                pixels=measured_on.pixels,
                captions=measured_on.captions or measured_on.classes,
                source_sha256=loaded.file.sha256,
            )
            result = result.model_copy(update={"exports": tuple(entries)})
        report.write(result, "json", new / "report.json")
        paths = results.paths_of(request, result)
        report.write(result, "html", new / "report.html", cleaning.images, paths)
        if exported:
            records.write(new, result.as_json())
        else:
            records.write_checksums(new)
        placing.place(new, request.out, earlier=output.present.earlier, run=output.digest)
    if exported and cleaning.is_whole:
        output.state.discard()
    elif cleaning.is_whole:
        output.state.finish()
    placing.close_run(request.out)
    return Outcome(result, cleaning.images, exported, paths)
