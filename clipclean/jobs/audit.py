"""The audit of one checkpoint, from top to bottom: read, measure, search for unknown triggers, judge."""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from clipclean import __version__, deadline, demo, detect, model, requests
from clipclean.attack import trigger_files
from clipclean.config import policy
from clipclean.config import recipe as recipes
from clipclean.config.policy import Policy
from clipclean.errors import Inconclusive
from clipclean.export import environment
from clipclean.findings import finite
from clipclean.jobs import (
    audit_findings,
    audit_inputs,
    inputs,
    other_models,
    plan,
    saved_search,
    searching,
    suspicions,
)
from clipclean.jobs.audit_findings import Setting
from clipclean.jobs.audit_inputs import AuditInputs
from clipclean.jobs.searching import AuditResult, SearchSettings
from clipclean.progress import Progress
from clipclean.report import PageImages, Report, example_images
from clipclean.schema.report import MeasurementsRecord, ToolRecord


@dataclass(frozen=True)
class Outcome:
    """The report, and the images of its page."""

    report: Report
    images: PageImages


def audit(request: requests.Audit, /, *, progress: Progress) -> Outcome:
    """Tell whether a checkpoint carries a backdoor, and which class it leads to.

    If an audit is interrupted, the same call resumes it after its last finished stage.

    Raises:
        ClipcleanError: of the kind that tells the exit code; then nothing is written.
    """
    chosen = requests.policy_of(request)
    with demo.unpacked() as bundled, deadline.within(request.max_minutes):
        try:
            return _audit(request, chosen, bundled, progress)
        except deadline.OutOfTime as error:
            raise Inconclusive(
                f"The {request.max_minutes:g} minutes of --max-minutes ended before the model was measured, so there is no "
                "result. Give more minutes."
            ) from error


def _audit(request: requests.Audit, chosen: Policy, bundled: Path, progress: Progress) -> Outcome:
    started = time.monotonic()
    limits = policy.resolved(chosen, recipes.load(recipes.DEFAULT).audit)
    if request.save_triggers is not None:
        trigger_files.check_folder(request.save_triggers)
    read = audit_inputs.read(request, bundled, progress)
    clip = read.tested.clip
    planting = audit_findings.pairs_of(request, read)
    plan.tell_audit(request, read)
    references, seen, under = _seen(request, read, progress)
    unnamed = replace(read.eval_set, suspicions=())  # what the copies with test backdoors are measured on
    setting = Setting(request, chosen, unnamed, references, limits, progress)
    found = audit_findings.judged(setting, read, seen, under)
    known_power = None
    try:
        known_power = audit_findings.power_of(setting, clip, planting, seen, found)
    except deadline.OutOfTime:
        found.append(detect.unsearched("CC024", "Time was over before the power of the audit was measured."))
    found = audit_findings.with_power(found, known_power)
    shipped = replace(setting, limits=policy.resolved(policy.DEFAULT, recipes.load(recipes.DEFAULT).audit))
    applied = policy.apply(
        chosen,
        found,
        by_shipped=audit_findings.with_power(audit_findings.judged(shipped, read, seen, under), known_power),
        today=datetime.now(UTC).date(),
        model_sha256=read.tested.file.sha256,
    )
    saved = (
        trigger_files.save(seen.search.targeted, request.save_triggers) if seen.search and request.save_triggers else {}
    )
    shown = shown_of(clip, read.eval_set, seen, seed=request.seed)
    more: dict[str, object] = dict(shown.maps)
    if known_power:
        more["power"] = known_power.record()
    measurements = measurements_of(setting, seen, saved).model_copy(update=more)
    result = compose(setting, read, seen, applied, measurements, seconds=time.monotonic() - started)
    return Outcome(result, drawn(read.eval_set, seen, shown))


def _seen(
    request: requests.Audit, read: AuditInputs, progress: Progress, /
) -> tuple[detect.References | None, AuditResult, AuditResult | None]:
    """The references, the result for the tested model, and the result under CLIP's own normalisation, if that is another.

    The last is None as well if the deadline came before it.
    """
    clip, eval_set = read.tested.clip, read.eval_set
    settings = SearchSettings(request.effort, request.seed, search=request.search)
    deciding = settings.decides(clip, eval_set)
    with saved_search.kept(deciding) as state:
        measured = [
            other_models.measured_references(
                settings,
                path,
                inputs.build(each, read.pairs, device=inputs.device_of(request.device)),
                replace(eval_set, suspicions=()),
                progress,
                state=state,
            )
            for path, each in read.trusted
        ]
        known = [*read.stored, *measured]
        references = detect.together(known) if known else None
        memory = saved_search.part(state, "searching", deciding)
        seen = searching.audit_clip(settings, clip, eval_set, references, progress, memory=memory)
        under: AuditResult | None = None
        if usual := searching.usual_normalisation(clip):
            with contextlib.suppress(deadline.OutOfTime):
                what = " under CLIP's own normalisation"
                memory = saved_search.part(state, f"searching{what}", settings.decides(usual, eval_set))
                under = searching.audit_clip(settings, usual, eval_set, references, progress, what=what, memory=memory)
    return references, seen, under


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
        policy=policy.record(setting.policy, limits, applied),
        effort=request.effort,
        data=read.images.record().model_copy(update={"pairs": len(setting.eval_set.pixels)}),
        seed=request.seed,
        seconds=seconds,
        environment=environment.versions() | environment.hardware(str(tested.clip.device)),
        notes=tested.file.notes,
    )
    return made.model_copy(update={"labels": dict(request.label)}) if request.label else made


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
    return suspicions.exhibited(clip, eval_set, found, seen.measured, seed=seed)


def drawn(eval_set: detect.EvalSet, seen: AuditResult, shown: example_images.Shown, /) -> PageImages:
    """The images of the page: the most abnormal trigger, and the model's answers under it."""
    found = seen.search.targeted[0].found if seen.search and seen.search.targeted else None
    return example_images.audited(shown, example_images.trigger_alone(found, eval_set.pixels) if found else [])
