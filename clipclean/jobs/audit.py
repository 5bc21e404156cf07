"""The audit of one checkpoint, from top to bottom: read, measure, search for unknown triggers, judge."""

import contextlib
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from clipclean import deadline, detect
from clipclean.attack import trigger_files
from clipclean.config import policy
from clipclean.config import recipe as recipes
from clipclean.errors import Inconclusive
from clipclean.jobs import (
    audit_findings,
    audit_inputs,
    audit_power,
    audit_report,
    inputs,
    other_models,
    plan,
    saved_search,
    searching,
)
from clipclean.jobs.audit_findings import Setting
from clipclean.jobs.audit_inputs import AuditInputs, AuditRequest
from clipclean.jobs.searching import AuditResult
from clipclean.progress import Progress
from clipclean.report import PageImages, Report


@dataclass(frozen=True)
class Outcome:
    """The report, and the images of its page."""

    report: Report
    images: PageImages


def audit(request: AuditRequest, /, *, progress: Progress) -> Outcome:
    """Tell whether a checkpoint carries a backdoor, and which class it leads to.

    If an audit is interrupted, the same call resumes it after its last finished stage.

    Raises:
        ClipcleanError: of the kind that tells the exit code; then nothing is written.
    """
    with deadline.within(request.max_minutes):
        try:
            return _audit(request, progress)
        except deadline.OutOfTime as error:
            raise Inconclusive(
                f"The {request.max_minutes:g} minutes of --max-minutes ended before the model was measured, so there is no "
                "result. Give more minutes."
            ) from error


def _audit(request: AuditRequest, progress: Progress) -> Outcome:
    started = time.monotonic()
    limits = policy.resolved(request.policy, recipes.load(recipes.DEFAULT).audit)
    if request.save_triggers is not None:
        trigger_files.check_folder(request.save_triggers)
    read = audit_inputs.read(request, progress)
    clip = read.tested.clip
    planting = audit_power.pairs_of(request, read)
    plan.tell_audit(request, read)
    references, seen, under = _seen(request, read, progress)
    unnamed = replace(read.eval_set, suspicions=())  # what the copies with test backdoors are measured on
    setting = Setting(request, unnamed, references, limits, progress)
    found = audit_findings.judged(setting, read, seen, under)
    known_power = None
    try:
        known_power = audit_power.measured(setting, clip, planting, seen, found)
    except deadline.OutOfTime:
        found.append(detect.unsearched("CC024", "Time was over before the power of the audit was measured."))
    found = audit_power.with_power(found, known_power)
    shipped = replace(setting, limits=policy.resolved(policy.DEFAULT, recipes.load(recipes.DEFAULT).audit))
    applied = policy.apply(
        request.policy,
        found,
        by_shipped=audit_power.with_power(audit_findings.judged(shipped, read, seen, under), known_power),
        today=datetime.now(UTC).date(),
        model_sha256=read.tested.file.sha256,
    )
    saved = (
        trigger_files.save(seen.search.targeted, request.save_triggers) if seen.search and request.save_triggers else {}
    )
    shown = audit_report.shown_of(clip, read.eval_set, seen, seed=request.seed)
    more: dict[str, object] = dict(shown.maps)
    if known_power:
        more["power"] = known_power.record()
    measurements = audit_report.measurements_of(setting, seen, saved).model_copy(update=more)
    result = audit_report.compose(setting, read, seen, applied, measurements, seconds=time.monotonic() - started)
    return Outcome(result, audit_report.drawn(read.eval_set, seen, shown))


def _seen(
    request: AuditRequest, read: AuditInputs, progress: Progress, /
) -> tuple[detect.References | None, AuditResult, AuditResult | None]:
    """The references, the result for the tested model, and the result under CLIP's own normalisation, if that is another.

    The last is None as well if the deadline came before it.
    """
    settings, clip, eval_set = request.settings, read.tested.clip, read.eval_set
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
