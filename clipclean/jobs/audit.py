"""The audit of one checkpoint, from top to bottom: read, measure, search for unknown triggers, judge."""

import time

from clipclean import deadline, detect
from clipclean.attack import trigger_files
from clipclean.errors import TooLittleTime
from clipclean.findings import CC
from clipclean.jobs import (
    audit_search,
    finetune_base,
    judging,
    plan,
    results,
    shared_inputs,
)
from clipclean.jobs.job import Job
from clipclean.jobs.plan import Plan
from clipclean.jobs.results import Outcome
from clipclean.jobs.shared_inputs import AuditInputs
from clipclean.report import Report
from clipclean.requests import Audit


def audit(job: Job[Audit], /) -> Outcome:
    """Tell whether a checkpoint carries a backdoor, and which class it leads to.

    If an audit is interrupted, the same call resumes it after its last finished stage.

    Raises:
        ClipcleanError: of the kind that tells the exit code; then nothing is written.
    """
    started, request = time.monotonic(), job.request
    with deadline.within(request.max_minutes):
        try:
            with shared_inputs.read_for_audit(job) as audit_inputs:
                return _audit(request, audit_inputs, started)
        except deadline.OutOfTime as error:
            raise TooLittleTime(
                f"The {request.max_minutes:g} minutes of --max-minutes ended before the model was measured, so there is no "
                "result. Give more minutes: the same command goes on from there."
            ) from error


def planned(job: Job[Audit], /) -> Plan:
    """The plan of an audit; refuses what the audit itself would refuse before it measures."""
    with shared_inputs.read_for_audit(job) as audit_inputs:
        return plan.plan_audit(job.request, audit_inputs)


def _audit(request: Audit, audit_inputs: AuditInputs, started: float) -> Outcome:
    prospect = plan.tell_audit(audit_inputs, minutes=request.max_minutes)
    named_base, clip = audit_inputs.shared.base, audit_inputs.loaded.clip
    base = finetune_base.load(named_base, clip, audit_inputs.eval_set, audit_inputs.late_pairs) if named_base else None
    model_audit, judge = audit_search.searched(audit_inputs, base), audit_inputs.shared.judge
    result, folder = model_audit.audit, request.save_triggers
    known_power, other_findings = None, base.notes() if base else []
    try:
        known_power = judging.power_of(model_audit)
    except deadline.OutOfTime:
        other_findings.append(
            detect.unproven(CC.TIME_OVER, "Time was over before the power of the audit was measured.")
        )
    other_findings += audit_search.findings_of_references(model_audit)
    applied = judge.apply(
        audit_inputs.loaded,
        lambda limits: judging.with_power([*judging.all_findings(model_audit, limits), *other_findings], known_power),
    )
    trigger_paths = trigger_files.save(result.search.targeted, folder) if result.search and folder else {}
    seconds = time.monotonic() - started
    maps, images = results.pictures_of_search(
        audit_inputs.loaded.clip, audit_inputs.eval_set, result, seed=request.seed
    )
    measurements = results.measurements_of(result)
    searched = result.search_record(request.effort, trigger_paths)
    further_measurements: dict[str, object] = {**maps, **({"search": searched} if searched else {})}
    further_measurements |= {"power": known_power} if known_power else {}
    report = Report(
        schema_version="2",
        suspects=result.suspects_by(judge.limits),
        measurements=measurements.model_copy(update=further_measurements),
        effort=request.effort,
        vocabulary=audit_inputs.shared.vocabulary.record(is_given=audit_inputs.shared.has_own_classes),
        data=audit_inputs.images.record().model_copy(update={"pairs": len(audit_inputs.eval_set.images)}),
        seed=request.seed,
        seconds=seconds,
        forecast=prospect.record(),
        **results.common_fields("audit", audit_inputs.loaded, request.label),
        **judge.record(applied),
    )
    if base:
        report = report.model_copy(update={"base": base.record(result.beside_base)})
    return Outcome(report, images, paths=results.paths_of(request, report))


__all__ = ["Job", "Outcome", "Plan", "audit", "planned"]
