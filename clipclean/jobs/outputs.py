"""The outputs of a cleaning: report, weights, and their destination."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from clipclean import detect, report
from clipclean.config import policy
from clipclean.config import recipe as recipes
from clipclean.config.evidence import OWN, Standing
from clipclean.config.thresholds import AuditLimits
from clipclean.detect import ranking
from clipclean.export import formats, placing, records
from clipclean.findings import Finding, finding, finite
from clipclean.jobs import results
from clipclean.jobs.prepare import Prepared
from clipclean.progress import Progress
from clipclean.report import PageImages
from clipclean.requests import Sanitize
from clipclean.schema.report import (
    AccuracyLossRecord,
    AgreementRecord,
    AuditRecord,
    EvidenceRecord,
    ProjectionRecord,
    ReachedRecord,
    RecipeRecord,
    Report,
    SuspectRecord,
    TrainingRecord,
)
from clipclean.train.resume import RunState

NO_IMAGES = PageImages()
OUTPUTS = (*formats.NAMES, "report.json", "report.html", *records.FILES)  # files that a run may write


@dataclass(frozen=True)
class SanitizeOutcome:
    """The report, whether weights were written, and the images of the page."""

    report: report.Report
    exported: bool
    images: PageImages = NO_IMAGES


@dataclass(frozen=True)
class Destination:
    """The destination of a result."""

    out: Path  # the folder
    standing: placing.OutputState  # its present content
    run: str  # digest of the request: an equal run has the same result
    state: RunState  # of the run, removed once the result is in place

    @property
    def is_finished(self) -> bool:
        """Whether an equal run was killed after all its files were moved in."""
        return self.standing.run == self.run


def place_of(request: Sanitize, recipe: str, /) -> report.RunPaths:
    """The paths for the commands of the page."""
    return report.paths_of(request, folder=str(request.out), data=str(request.data), recipe=recipe)


def destination(ready: Prepared, standing: placing.OutputState, state: RunState, /) -> Destination:
    """The destination of the result of a request; raises UsageError if it would replace another run's result unasked."""
    request = ready.request
    told = replace(request, force=False, recipe=ready.recipe, policy=ready.policy, log_dir=None, log_to=())
    run = hashlib.sha256(repr((state.fingerprint, told)).encode()).hexdigest()
    standing.check(request.out, run, force=request.force)
    return Destination(request.out, standing, run, state)


def finished(out: Path, state: RunState, /) -> SanitizeOutcome:
    """The outcome of an equal run that was killed after its files were moved in, before it had cleaned up."""
    with state.locked():
        result = report.read(out / "report.json")
        if exported := bool(result.exports):
            state.discard()
        placing.close_run(out)
    return SanitizeOutcome(result, exported)


def publish(
    ready: Prepared,
    result: Report,
    measured_on: detect.EvalSet,
    /,
    *,
    to: Destination,
    images: report.PageImages,
    progress: Progress,
    is_whole: bool = True,
) -> SanitizeOutcome:
    """Write everything into a scratch folder first, check it, then replace an earlier result by it.

    If the verdict is fail, only the reports and their checksums are written, unless the user requests the weights. Weights and
    report of different runs are never left side by side. A run that stopped at its deadline keeps its state, to resume from.

    Raises:
        ResourceError: the disk is full or the folder not writable; then the new files are gone again.
    """
    request, loaded = ready.request, ready.loaded
    exported = result.verdict != "fail" or request.keep_failed
    with placing.written(to.out) as new:
        if exported:
            # Labelled images have no captions: the names of the classes are embedded instead.
            entries = formats.write(
                new,
                loaded.clip,
                loaded.weights(),
                wanted=ready.wanted,
                pixels=measured_on.pixels,
                captions=measured_on.captions or measured_on.classes,
                source_sha256=loaded.file.sha256,
                progress=progress,
            )
            result = result.model_copy(update={"exports": tuple(entries)})
        report.write(result, "json", new / "report.json")
        report.write(result, "html", new / "report.html", images, place_of(request, ready.recipe.name))
        if exported:
            records.write(new, result.as_json())
        else:
            records.write_checksums(new)
        placing.place(new, to.out, earlier=to.standing.earlier, run=to.run)
    if exported and is_whole:
        to.state.discard()
    placing.close_run(to.out)
    return SanitizeOutcome(result, exported, images)


def compose(
    ready: Prepared,
    before: AuditRecord,
    after: AuditRecord,
    judged: policy.Applied,
    training: TrainingRecord,
    evidence: EvidenceRecord,
    /,
) -> Report:
    """The report of a cleaning; the weights are not yet written."""
    request = ready.request
    told = results.told("sanitize", request.model, ready.loaded, request.label)
    told["notes"] = (*told["notes"], *training.notes)
    return Report(
        schema_version="2",
        suspects=before.suspects,
        measurements=after.measurements,
        before=before,
        after=after,
        recipe=recipe_of(ready, evidence),
        data=ready.clean.record().model_copy(update={"screened": ready.screened and ready.screened.as_json()}),
        seed=request.seed,
        training=training,
        exports=(),
        **told,
        **results.judged(ready.policy, ready.thresholds, judged),
    )


def recipe_of(ready: Prepared, evidence: EvidenceRecord, /) -> RecipeRecord:
    """The report's ``recipe``."""
    recipe = ready.recipe
    return RecipeRecord(
        name=recipes.called(recipe),
        revision=recipe.revision,
        sha256=recipes.digest(recipe),
        validated=not ready.request.set and evidence.standing in OWN,
        evidence=evidence.as_json(),
        resolved=recipe.model_dump(mode="json", exclude={"evidence"}),
    )


def evidence_of(stands: Standing, before: detect.Measurement, after: detect.Measurement, /) -> EvidenceRecord:
    """The recipe's evidence, how it applies to this run, and the run's place in the measured range."""
    left, lost = left_of(before, after), finite(detect.accuracy_loss(before, after)[0])
    return EvidenceRecord(
        standing=stands.kind,
        why=stands.why,
        expected=stands.expected.record() if stands.expected else None,
        reached=ReachedRecord(left=left, lost=lost),
        says=stands.reached(left, lost),
    )


def left_of(before: detect.Measurement, after: detect.Measurement, /) -> float | None:
    """The largest remaining excess attack success of the triggers that acted before; None if none did, as there is none to remove."""
    named = {probe.trigger for probe in before.known if probe.excess_interval[0] > 0}
    left = [probe.excess for probe in after.known if probe.trigger in named and not math.isnan(probe.excess)]
    return max(left, default=None)


def beside_original(
    after: AuditRecord, before: detect.Measurement, measured: detect.Measurement, /, *, classes: tuple[str, ...]
) -> AuditRecord:
    """The section of the cleaned model, with the accuracy that it lost, and how often it answers like the original."""
    agreed, lost = detect.agreement(before, measured), detect.losses(before, measured)
    told = {"agreement": agreed.record(classes)} if agreed else {}
    return with_measurements(after, told | ({"accuracy_lost": lost[0].record()} if lost else {}))


def with_measurements(
    section: AuditRecord, more: Mapping[str, AgreementRecord | AccuracyLossRecord | ProjectionRecord], /
) -> AuditRecord:
    """One audit of the report, with further measurements."""
    return section.model_copy(update={"measurements": section.measurements.model_copy(update=more)})


def suspects_of(measured: detect.Measurement, limits: AuditLimits, /) -> tuple[SuspectRecord, ...]:
    """The report's ``suspects``: classes that panel triggers lead to, most suspicious first, each once."""
    rows: dict[str, SuspectRecord] = {}
    for found in detect.suspects(measured, limits=limits):
        record = SuspectRecord(class_=found.target, score=finite(found.excess), trigger=found.trigger)
        rows.setdefault(found.target, record)
    return tuple(rows.values())


def section(measured: detect.Measurement, limits: AuditLimits, maps: Mapping[str, ProjectionRecord], /) -> AuditRecord:
    """One audit of the report: its measurements, findings and suspects."""
    found = AuditRecord(
        measurements=measured.record(),
        findings=tuple(detect.audit(measured, limits=limits)),
        suspects=suspects_of(measured, limits),
    )
    return with_measurements(found, maps)


def side_findings(ready: Prepared, /) -> list[Finding]:
    """Notes on data and recipe; they inform and never change the verdict."""
    clean, screened = ready.clean, ready.screened
    notes: list[tuple[str, float | None, str]] = []
    if clean.skipped:
        named = ", ".join(f"{s.key} ({s.reason})" for s in clean.skipped[:5])
        notes.append(
            (
                "CC030",
                float(len(clean.skipped)),
                f"{len(clean.skipped)} of {len(clean.skipped) + len(clean.pairs)} samples were unusable and skipped: {named}.",
            )
        )
    if screened and (screened.suspicious or screened.dropped):
        notes.append(("CC032", screened.suspicious_share, ranking.told(screened)))
    if ready.standing.kind != "measured":
        notes.append(("CC040", None, str(ready.standing)))
    return [finding(rule, message, level="note", value=value) for rule, value, message in notes]
