"""The audit of one checkpoint, from top to bottom: read, measure, search for unknown triggers, judge."""

import contextlib
import time

from clipclean import deadline, detect, requests
from clipclean.attack import trigger_files
from clipclean.errors import Inconclusive
from clipclean.jobs import (
    audit_findings,
    audit_inputs,
    audit_report,
    inputs,
    other_models,
    plan,
    searching,
)
from clipclean.jobs.audit_findings import Setting
from clipclean.jobs.audit_inputs import AuditInputs
from clipclean.jobs.audit_report import Outcome
from clipclean.jobs.searching import AuditResult, SearchSettings


def audit(request: requests.Audit, /) -> Outcome:
    """Tell whether a checkpoint carries a backdoor, and which class it leads to.

    If an audit is interrupted, the same call resumes it after its last finished stage.

    Raises:
        ClipcleanError: of the kind that tells the exit code; then nothing is written.
    """
    started = time.monotonic()
    if request.save_triggers is not None:
        trigger_files.check_folder(request.save_triggers)
    with deadline.within(request.max_minutes):
        try:
            with audit_inputs.read(request) as read:
                return _audit(request, read, started)
        except deadline.OutOfTime as error:
            raise Inconclusive(
                f"The {request.max_minutes:g} minutes of --max-minutes ended before the model was measured, so there is no "
                "result. Give more minutes."
            ) from error


def _audit(request: requests.Audit, read: AuditInputs, started: float) -> Outcome:
    planting = audit_findings.pairs_of(request, read)
    plan.tell_audit(request, read)
    references, seen, under = _seen(request, read)
    setting, judge = Setting(request, read, references), read.judge
    found = audit_findings.judged(setting, judge.limits, seen, under)
    known_power = None
    try:
        known_power = audit_findings.power_of(setting, planting, seen, found)
    except deadline.OutOfTime:
        found.append(detect.unsearched("CC024", "Time was over before the power of the audit was measured."))
    shipped = audit_findings.judged(setting, judge.shipped, seen, under)
    applied = judge.applied(read.tested, *(audit_findings.with_power(each, known_power) for each in (found, shipped)))
    saved = (
        trigger_files.save(seen.search.targeted, request.save_triggers) if seen.search and request.save_triggers else {}
    )
    seconds = time.monotonic() - started
    return audit_report.composed(setting, seen, applied, saved, power=known_power, seconds=seconds)


def _seen(
    request: requests.Audit, read: AuditInputs, /
) -> tuple[detect.References | None, AuditResult, AuditResult | None]:
    """The references, the result for the tested model, and the result under CLIP's own normalisation, if that is another.

    The last is None as well if the deadline came before it.
    """
    clip, eval_set = read.tested.clip, read.eval_set
    settings = SearchSettings(request.effort, request.seed, search=request.search)
    with searching.kept(settings.decides(clip, eval_set)) as state:
        device = inputs.device_of(request.device)
        measured = other_models.measured(settings, read.trusted, eval_set, read.pairs, device=device, state=state)
        known = [*read.stored, *measured]
        references = detect.together(known) if known else None
        seen = searching.audit_clip(settings, clip, eval_set, references, state=state)
        under: AuditResult | None = None
        if usual := searching.usual_normalisation(clip):
            with contextlib.suppress(deadline.OutOfTime):
                what = " under CLIP's own normalisation"
                under = searching.audit_clip(settings, usual, eval_set, references, what=what, state=state)
    return references, seen, under
