"""The report of an audit, and the images of its page."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from clipclean import detect, model
from clipclean.attack.power import Power
from clipclean.config import policy
from clipclean.findings import finite
from clipclean.jobs import results, suspicions
from clipclean.jobs.audit_findings import Audited
from clipclean.jobs.searching import AuditResult
from clipclean.report import PageImages, Report, example_images
from clipclean.schema.report import ProjectionRecord


@dataclass(frozen=True)
class Outcome:
    """The report, and the images of its page."""

    report: Report
    images: PageImages


def composed(
    made: Audited, applied: policy.Applied, saved: Mapping[str, str], /, *, power: Power | None, seconds: float
) -> Outcome:
    """The report of an audit; ``saved`` is where triggers were saved."""
    read, seen, request = made.read, made.seen, made.read.request
    maps, images = shown(read.tested.clip, read.eval_set, seen, seed=request.seed)
    measured, hits = seen.measured.record(), seen.search.targeted if seen.search else ()
    distances = measured.distances | {hit.found.spec: finite(hit.probe.distance) for hit in hits}
    searched = seen.search_record(request.effort, saved)
    more = {**maps, **({"search": searched} if searched else {}), **({"power": power.record()} if power else {})}
    report = Report(
        schema_version="2",
        suspects=detect.suspected_classes(seen.search, seen.measured.panel, limits=read.judge.limits),
        measurements=measured.model_copy(update=more | {"distances": distances}),
        effort=request.effort,
        data=read.images.record().model_copy(update={"pairs": len(read.eval_set.pixels)}),
        seed=request.seed,
        seconds=seconds,
        **results.told("audit", request.model, read.tested, request.label),
        **read.judge.record(applied),
    )
    return Outcome(report, images)


def shown(
    clip: model.Clip, eval_set: detect.EvalSet, seen: AuditResult, /, *, seed: int
) -> tuple[Mapping[str, ProjectionRecord], PageImages]:
    """Maps and images under the most abnormal trigger found, which is shown alone too, or else under the first of the panel."""
    hits = seen.search.targeted if seen.search else ()
    found = replace(eval_set, suspicions=tuple((hit.found, hit.candidate.target) for hit in hits))
    under = suspicions.exhibited(clip, found, seen.measured, seed=seed)
    alone = example_images.trigger_alone(hits[0].found, eval_set.pixels) if hits else []
    return under.maps, example_images.audited(under, alone)
