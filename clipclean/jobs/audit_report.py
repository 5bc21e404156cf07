"""The report of an audit, and the images of its page."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from clipclean import detect, model
from clipclean.attack.power import Power
from clipclean.config import policy
from clipclean.findings import finite
from clipclean.jobs import results, suspicions
from clipclean.jobs.audit_findings import Setting
from clipclean.jobs.searching import AuditResult
from clipclean.report import PageImages, Report, example_images
from clipclean.schema.report import MeasurementsRecord


@dataclass(frozen=True)
class Outcome:
    """The report, and the images of its page."""

    report: Report
    images: PageImages


def composed(
    setting: Setting,
    seen: AuditResult,
    applied: policy.Applied,
    saved: Mapping[str, str],
    /,
    *,
    power: Power | None,
    seconds: float,
) -> Outcome:
    """The report of an audit; ``saved`` is where triggers were saved."""
    request, read = setting.request, setting.read
    shown = shown_of(read.tested.clip, read.eval_set, seen, seed=request.seed)
    more = {**shown.maps, **({"power": power.record()} if power else {})}
    made = Report(
        schema_version="2",
        suspects=detect.suspected_classes(seen.search, seen.measured.panel, limits=read.judge.limits),
        measurements=measurements_of(setting, seen, saved).model_copy(update=more),
        effort=request.effort,
        data=read.images.record().model_copy(update={"pairs": len(read.eval_set.pixels)}),
        seed=request.seed,
        seconds=seconds,
        **results.told("audit", request.model, read.tested, request.label),
        **read.judge.record(applied),
    )
    return Outcome(made, drawn(read.eval_set, seen, shown))


def measurements_of(setting: Setting, seen: AuditResult, saved: Mapping[str, str], /) -> MeasurementsRecord:
    """The report's ``measurements``: of the model, and of the search; ``saved`` is where triggers were saved."""
    measured = seen.measured.record()
    if seen.search is None:
        return measured
    distances = {hit.found.spec: finite(hit.probe.distance) for hit in seen.search.targeted}
    searched = seen.search_record(setting.request.effort, saved)
    return measured.model_copy(update={"search": searched, "distances": measured.distances | distances})


def shown_of(clip: model.Clip, eval_set: detect.EvalSet, seen: AuditResult, /, *, seed: int) -> example_images.Shown:
    """Example images and maps under the most abnormal trigger found, or else under the first of the panel."""
    found = [(hit.found, hit.candidate.target) for hit in seen.search.targeted] if seen.search else []
    return suspicions.exhibited(clip, replace(eval_set, suspicions=tuple(found)), seen.measured, seed=seed)


def drawn(eval_set: detect.EvalSet, seen: AuditResult, shown: example_images.Shown, /) -> PageImages:
    """The images of the page: the most abnormal trigger, and the model's answers under it."""
    found = seen.search.targeted[0].found if seen.search and seen.search.targeted else None
    return example_images.audited(shown, example_images.trigger_alone(found, eval_set.pixels) if found else [])
