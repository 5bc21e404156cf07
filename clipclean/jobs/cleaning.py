"""What a cleaning ends with, by one recipe or by ``auto``: the report of the model before and after."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from clipclean import detect
from clipclean.config import recipe as recipes
from clipclean.config.evidence import OWN_KINDS
from clipclean.config.policy import Applied
from clipclean.detect import AuditResult, ranking
from clipclean.findings import CC, Finding, finding
from clipclean.jobs import judging, results
from clipclean.jobs.cleaning_inputs import CleaningInputs
from clipclean.jobs.workbench import Workbench
from clipclean.methods.walk_back import WalkBack
from clipclean.progress import say
from clipclean.report import PageImages, Report, example_images
from clipclean.schema.part import finite
from clipclean.schema.report import (
    AccuracyLossRecord,
    AuditRecord,
    AutoRecord,
    EvidenceRecord,
    ReachedRecord,
    RecipeRecord,
    SearchRecord,
    SuspectRecord,
    TrainingRecord,
)


@dataclass(frozen=True)
class Side:
    """The model before or after: its numbers, what they say, and the images that show it."""

    measurement: detect.Measurement
    findings: Sequence[Finding]
    suspects: tuple[SuspectRecord, ...]
    pictures: example_images.ModelImages
    search: SearchRecord | None = None  # where it was searched

    def record(self, **more: object) -> AuditRecord:
        """``before`` or ``after`` of the report, with ``more`` measurements."""
        update = {**more, **self.pictures.maps, **({"search": self.search} if self.search else {})}
        measurements = self.measurement.record().model_copy(update=update)
        return AuditRecord(measurements=measurements, findings=tuple(self.findings), suspects=self.suspects)


@dataclass(frozen=True, kw_only=True)
class CleanedModel:
    """What a cleaning came to, by one recipe or by the best of several candidates."""

    before: AuditResult  # of the original, under all triggers that are suspected by now
    after: AuditResult  # at the end of the walk back
    eval_set: detect.EvalSet  # the images and triggers of both
    weights: dict[str, Tensor]  # at the end of the training
    training: TrainingRecord
    way: WalkBack  # from these weights to those that are reported

    def put_in(self, bench: Workbench, /) -> None:
        """Give the model the weights that are reported, and written."""
        bench.put_between(bench.original, self.weights, share=self.way.point.share)


def side(inputs: CleaningInputs, bench: Workbench, audit: AuditResult, eval_set: detect.EvalSet, /) -> Side:
    """The current model as an audit saw it, for the report."""
    examples = results.example_pictures(bench.clip, eval_set, audit.measurement, seed=inputs.seed)
    suspects = audit.suspects_by(bench.limits)
    searched = audit.search_record(bench.auto_settings.effort, {})
    return Side(audit.measurement, bench.findings(audit), suspects, examples, searched)


def report_of(
    bench: Workbench,
    inputs: CleaningInputs,
    cleaned_model: CleanedModel,
    findings_by: results.FindingsBy,
    /,
    *,
    if_failed: Finding | None = None,
    auto: Callable[[], AutoRecord] | None = None,
) -> tuple[Report, PageImages]:
    """The report of a cleaning and its images.

    Args:
        bench: of the run.
        inputs: of the run.
        cleaned_model: what the cleaning came to.
        findings_by: all its findings by these limits.
        if_failed: what is said as well where the verdict is fail.
        auto: makes that of the report, where candidates were tried, once all is measured and drawn: it has the time.
    """
    before, after, eval_set = cleaned_model.before, cleaned_model.after, cleaned_model.eval_set
    bench.put(bench.original)
    first = side(inputs, bench, before, eval_set)
    cleaned_model.put_in(bench)
    last = side(inputs, bench, after, eval_set)
    applied = inputs.shared.judge.apply(inputs.loaded, findings_by, if_failed=if_failed)
    report, images = compose(
        inputs, first, last, cleaned_model.training, cleaned_model.way, applied, auto=auto() if auto else None
    )
    if bench.base:
        report = report.model_copy(update={"base": bench.base.record(before.beside_base, after.beside_base)})
    return report, images


def compose(
    inputs: CleaningInputs,
    before: Side,
    after: Side,
    training: TrainingRecord,
    way: WalkBack,
    applied: Applied,
    /,
    *,
    auto: AutoRecord | None = None,
) -> tuple[Report, PageImages]:
    """The report of a cleaning and the images of its page; the weights are not yet written."""
    agreed = detect.agreement(before.measurement, after.measurement, classes=inputs.shared.vocabulary.classes)
    lost = detect.accuracy_losses(before.measurement, after.measurement)
    agreement = {"agreement": agreed} if agreed else {}
    first = before.record()
    last = after.record(**agreement, **({"accuracy_lost": AccuracyLossRecord.of(lost[0])} if lost else {}))
    fields = results.common_fields("sanitize", inputs.loaded, inputs.labels)
    fields["notes"] = (*fields["notes"], *training.notes)
    fields |= {"auto": auto} if auto else {}
    report = Report(
        schema_version="2",
        suspects=first.suspects,
        measurements=last.measurements,
        before=first,
        after=last,
        recipe=recipe_of(inputs, before.measurement, after.measurement),
        vocabulary=inputs.shared.vocabulary.record(is_given=inputs.shared.has_own_classes),
        data=inputs.clean.record().model_copy(
            update={"screened": inputs.screening_record and inputs.screening_record.as_json()}
        ),
        seed=inputs.seed,
        training=training,
        exports=(),
        cleaning=way.record(),
        forecast=inputs.forecast,
        **fields,
        **inputs.shared.judge.record(applied),
    )
    return report, example_images.grids(before.pictures, after.pictures)


def recipe_of(inputs: CleaningInputs, before: detect.Measurement, after: detect.Measurement, /) -> RecipeRecord:
    """The report's ``recipe``, with how its evidence applies to this run, and the run's place in the measured range."""
    recipe, applicability = inputs.recipe, inputs.evidence
    left, lost = most_left(before, after), finite(detect.accuracy_loss(before, after)[0])
    if says := applicability.reached(left, lost):
        say(says)
    reached = ReachedRecord(left=left, lost=lost)
    evidence = EvidenceRecord.of(applicability, reached=reached, says=says)
    return RecipeRecord(
        name=recipe.name,
        revision=recipe.revision,
        sha256=recipes.digest(recipe),
        validated=inputs.is_as_shipped and applicability.kind in OWN_KINDS,
        evidence=evidence.as_json(),
        resolved=recipe.model_dump(mode="json", exclude={"evidence"}),
    )


def most_left(before: detect.Measurement, after: detect.Measurement, /) -> float | None:
    """The largest remaining excess attack success of the triggers that acted before; None if none did, as there is none to remove."""
    acted = {probe.trigger for probe in before.suspected if probe.excess_interval[0] > 0}
    left = [probe.excess for probe in after.suspected if probe.trigger in acted and not math.isnan(probe.excess)]
    return max(left, default=None)


def notes(inputs: CleaningInputs, /) -> Iterator[Finding]:
    """Notes on classes, data and recipe that leave the verdict as it is."""
    # What is written holds neither code nor other weights.
    yield from judging.file_findings(inputs.loaded, is_chosen=True)
    skipped, screening_record = inputs.clean.skipped, inputs.screening_record
    yield from judging.notes_on_classes(inputs.shared)
    if skipped:
        samples = f"{len(skipped)} of {len(skipped) + len(inputs.clean)} samples"
        yield judging.note_on_skipped(skipped, samples, value=float(len(skipped)))
    if screening_record and (screening_record.suspicious or screening_record.dropped):
        yield finding(
            CC.SUSPICIOUS_PAIRS,
            ranking.screening_words(screening_record),
            level="note",
            value=screening_record.suspicious_share,
        )
    # That measures its candidates in the run itself.
    if inputs.evidence.kind != "measured" and not inputs.recipe.traits.chooses:
        yield finding(CC.OUTSIDE_EVIDENCE, str(inputs.evidence), level="note")


def nothing_to_clean(*, is_changed: bool) -> Finding:
    """That nothing acted before, so that nothing shows what a cleaning removed; ``is_changed`` is whether it changed a weight."""
    what = "the weights were cleaned all the same" if is_changed else "the weights are as they were"
    words = f"No trigger acted on this model before cleaning, and the search found none; {what}."
    return finding(CC.NOTHING_TO_CLEAN, words)
