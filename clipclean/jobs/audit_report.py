"""The report of an audit, and the images of its page."""

from collections.abc import Mapping

from clipclean import __version__, detect, model
from clipclean.config import policy
from clipclean.export import environment
from clipclean.findings import finite
from clipclean.jobs import inputs
from clipclean.jobs.audit_findings import Setting
from clipclean.jobs.audit_inputs import AuditInputs
from clipclean.jobs.searching import AuditResult
from clipclean.report import PageImages, Report, example_images
from clipclean.schema.report import CalibrationRecord, Effort, MeasurementsRecord, SearchRecord, ToolRecord


def compose(
    setting: Setting,
    read: AuditInputs,
    seen: AuditResult,
    applied: policy.Applied,
    measurements: MeasurementsRecord,
    /,
    *,
    seconds: float,
) -> Report:
    """The report of an audit."""
    request, limits, tested = setting.request, setting.limits, read.tested
    made = Report(
        schema_version="2",
        tool=ToolRecord(name="clipclean", version=__version__),
        command="audit",
        model=inputs.described(request.model, tested),
        verdict=policy.verdict(applied.findings),
        suppressed=tuple(applied.suppressed),
        findings=tuple(applied.findings),
        suspects=detect.suspected_classes(seen.search, seen.measured.panel, limits=limits),
        measurements=measurements,
        policy=policy.record(request.policy, limits, applied),
        effort=request.effort,
        data=read.images.record().model_copy(update={"pairs": len(setting.eval_set.pixels)}),
        seed=request.seed,
        seconds=seconds,
        environment=environment.versions() | environment.hardware(str(tested.clip.device)),
        notes=tested.file.notes,
    )
    return made.model_copy(update={"labels": dict(request.labels)}) if request.labels else made


def measurements_of(setting: Setting, seen: AuditResult, saved: Mapping[str, str], /) -> MeasurementsRecord:
    """The report's ``measurements``: of the model, and of the search; ``saved`` is where triggers were saved."""
    measured = seen.measured.record()
    if seen.search is None:
        return measured
    distances = {hit.found.spec: finite(hit.probe.distance) for hit in seen.search.targeted}
    searched = search_section(setting.request.effort, seen, saved)
    return measured.model_copy(update={"search": searched, "distances": measured.distances | distances})


def search_section(effort: Effort, seen: AuditResult, saved: Mapping[str, str], /) -> SearchRecord:
    """``measurements.search``."""
    assert seen.search is not None  # noqa: S101 # the caller looked
    compared = CalibrationRecord(kind="none", name="", models=0)
    if references := seen.search.references:
        compared = CalibrationRecord(kind=references.kind, name=references.name, models=references.models)
    return seen.search.record(effort=effort, seconds=seen.seconds, calibration=compared, saved=saved)


def shown_of(clip: model.Clip, eval_set: detect.EvalSet, seen: AuditResult, /, *, seed: int) -> example_images.Shown:
    """Example images and maps under the most abnormal trigger found, or else under the first of the panel."""
    if seen.search and seen.search.targeted:
        hit = seen.search.targeted[0]
        return example_images.look(
            clip, eval_set, hit.found, hit.candidate.target, text_classifier=seen.measured.text_classifier, seed=seed
        )
    if not eval_set.panel:
        return example_images.Shown()
    return example_images.look(
        clip, eval_set, eval_set.panel[0], None, text_classifier=seen.measured.text_classifier, seed=seed
    )


def drawn(eval_set: detect.EvalSet, seen: AuditResult, shown: example_images.Shown, /) -> PageImages:
    """The images of the page: the most abnormal trigger, and the model's answers under it."""
    found = seen.search.targeted[0].found if seen.search and seen.search.targeted else None
    return example_images.audited(shown, example_images.trigger_alone(found, eval_set.pixels) if found else [])
