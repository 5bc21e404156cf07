"""The audit of one checkpoint, from top to bottom: read, measure, search for unknown triggers, judge."""

import time

from clipclean import deadline, detect
from clipclean.attack import trigger_files
from clipclean.errors import TooLittleTime
from clipclean.findings import CC
from clipclean.jobs import (
    audit_inputs,
    audit_search,
    finetune_base,
    judging,
    plan,
    results,
)
from clipclean.jobs.audit_inputs import AuditInputs
from clipclean.jobs.job import Job
from clipclean.jobs.plan import Plan
from clipclean.jobs.results import Outcome
from clipclean.report import Report
from clipclean.requests import Audit


def audit(job: Job[Audit], /) -> Outcome:
    """Tell whether a checkpoint carries a backdoor, and which class it leads to.

    If an audit is interrupted, the same call resumes it after its last finished stage.

    Raises:
        ClipcleanError: of the kind that tells the exit code; then nothing is written.
    """
    started, minutes = time.monotonic(), job.request.max_minutes
    with deadline.within(minutes):
        try:
            with audit_inputs.read_for_audit(job) as inputs:
                return _audit(inputs, started, minutes=minutes)
        except deadline.OutOfTime as error:
            raise TooLittleTime(
                f"The {minutes:g} minutes of --max-minutes ended before the model was measured, so there is no "
                "result. Give more minutes: the same command goes on from there."
            ) from error


def planned(job: Job[Audit], /) -> Plan:
    """The plan of an audit; refuses what the audit itself would refuse before it measures."""
    with audit_inputs.read_for_audit(job) as inputs:
        return plan.plan_audit(inputs, minutes=job.request.max_minutes)


def _audit(inputs: AuditInputs, started: float, *, minutes: float | None) -> Outcome:
    prospect, settings = plan.tell_audit(inputs, minutes=minutes), inputs.settings
    named_base, clip = inputs.shared.base, inputs.loaded.clip
    base = finetune_base.load(named_base, clip, inputs.eval_set, inputs.late_pairs) if named_base else None
    model_audit, judge = audit_search.search_model(inputs, base), inputs.shared.judge
    result, folder = model_audit.audit, inputs.trigger_folder
    known_power, other_findings = None, base.notes() if base else []
    try:
        known_power = judging.power_of(model_audit)
    except deadline.OutOfTime:
        other_findings.append(
            detect.unproven(CC.TIME_OVER, "Time was over before the power of the audit was measured.")
        )
    other_findings += audit_search.findings_of_references(model_audit)
    applied = judge.apply(
        inputs.loaded,
        lambda limits: judging.with_power([*judging.all_findings(model_audit, limits), *other_findings], known_power),
    )
    trigger_paths = trigger_files.save(result.search.targeted, folder) if result.search and folder else {}
    seconds = time.monotonic() - started
    maps, images = results.pictures_of_search(inputs.loaded.clip, inputs.eval_set, result, seed=settings.seed)
    measurements = results.measurements_of(result)
    searched = result.search_record(settings.effort, trigger_paths)
    further_measurements: dict[str, object] = {**maps, **({"search": searched} if searched else {})}
    further_measurements |= {"power": known_power} if known_power else {}
    report = Report(
        schema_version="2",
        suspects=result.suspects_by(judge.limits),
        measurements=measurements.model_copy(update=further_measurements),
        effort=settings.effort,
        vocabulary=inputs.shared.vocabulary.record(is_given=inputs.shared.has_own_classes),
        data=inputs.images.record().model_copy(update={"pairs": len(inputs.eval_set.images)}),
        seed=settings.seed,
        seconds=seconds,
        forecast=prospect.record(),
        **results.common_fields("audit", inputs.loaded, inputs.labels),
        **judge.record(applied),
    )
    if base:
        report = report.model_copy(update={"base": base.record(result.beside_base)})
    return Outcome(report, images, paths=inputs.paths)


__all__ = ["Job", "Outcome", "Plan", "audit", "planned"]
