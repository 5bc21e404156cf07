"""The outputs of a cleaning: report, weights and their records, written whole or not at all."""

from clipclean import report
from clipclean.export import formats, placing, records
from clipclean.jobs.cleaning_inputs import CleaningInputs
from clipclean.jobs.destination import Destination
from clipclean.jobs.results import Outcome
from clipclean.jobs.strategy import StrategyResult
from clipclean.jobs.workbench import Workbench
from clipclean.report import verdicts


def publish(output: Destination, inputs: CleaningInputs, bench: Workbench, cleaning: StrategyResult, /) -> Outcome:
    """Write everything into a scratch folder first, check it, then replace an earlier result by it.

    Weights that something speaks against are not written, only the reports and their checksums, unless the user asks for them. Those of one run
    never stand beside a report of another. A run that stopped at its deadline keeps its state, to resume from.

    Raises:
        ResourceError: the disk is full or the folder not writable; then the new files are gone again.
    """
    loaded, result, options = inputs.loaded, cleaning.report, output.options
    # Those of the original never as if they had been cleaned.
    exported = not verdicts.why_withheld(result) or (options.keeps_failed and result.is_changed)
    with placing.scratch_folder(options.folder) as new:
        if exported:
            cleaning.cleaned_model.put_in(bench)  # the bench's model is the loaded one
            measured_on = bench.eval_set
            # Labelled images have no captions: the names of the classes are embedded instead.
            entries = formats.write(
                new,
                loaded.clip,
                loaded.weights(),
                options=inputs.export_options,
                pixels=measured_on.images.pixels,
                captions=measured_on.images.captions or measured_on.vocabulary.classes,
                source_sha256=loaded.file.sha256,
            )
            result = result.model_copy(update={"exports": tuple(entries)})
        report.write(result, "json", new / "report.json")
        report.write(result, "html", new / "report.html", cleaning.images, options.paths)
        if exported:
            records.write(new, result.as_json())
        else:
            records.write_checksums(new)
        placing.move_in(new, options.folder, earlier=output.present.earlier, run=output.digest)
    if exported and cleaning.is_whole:
        output.state.discard()
    elif cleaning.is_whole:
        output.state.finish()
    placing.close_run(options.folder)
    return Outcome(result, cleaning.images, exported, options.paths)
