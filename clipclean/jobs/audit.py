"""The audit of one checkpoint, from top to bottom: read, measure, search for unknown triggers, judge."""

import time
from collections.abc import Sequence
from dataclasses import replace

from clipclean import deadline, detect
from clipclean.attack import trigger_files
from clipclean.errors import TooLittleTime
from clipclean.findings import CC, Finding, finite
from clipclean.jobs import base as bases
from clipclean.jobs import clean_models, judging, plan, results, searching, shared_inputs
from clipclean.jobs.base import LoadedBase
from clipclean.jobs.job import Job
from clipclean.jobs.judging import Audited
from clipclean.jobs.plan import Plan
from clipclean.jobs.results import Outcome
from clipclean.jobs.shared_inputs import AuditInputs
from clipclean.report import Report
from clipclean.requests import Audit

NOT_COMPARED = (
    "Time was over before the clean models to compare with were searched, and then the tested one: known triggers were tried on it. The same "
    "command with more minutes resumes."
)


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
    base = bases.load(named_base, clip, audit_inputs.eval_set, audit_inputs.late_pairs) if named_base else None
    model_audit, judge = _searched(audit_inputs, base), audit_inputs.shared.judge
    result, folder = model_audit.audit, request.save_triggers
    known_power, other_findings = None, base.notes() if base else []
    try:
        known_power = judging.power_of(model_audit)
    except deadline.OutOfTime:
        other_findings.append(
            detect.unproven(CC.TIME_OVER, "Time was over before the power of the audit was measured.")
        )
    other_findings += _of_references(model_audit)
    applied = judge.apply(
        audit_inputs.loaded,
        lambda limits: judging.with_power([*judging.all_findings(model_audit, limits), *other_findings], known_power),
    )
    trigger_paths = trigger_files.save(result.search.targeted, folder) if result.search and folder else {}
    seconds = time.monotonic() - started
    maps, images = results.pictures_of_search(
        audit_inputs.loaded.clip, audit_inputs.eval_set, result, seed=request.seed
    )
    measurements, hits = result.measured.record(), result.search.targeted if result.search else ()
    distances = measurements.distances | {t.trigger.spec: finite(t.probe.distance) for t in hits}
    searched = result.search_record(request.effort, trigger_paths)
    further_measurements: dict[str, object] = {**maps, **({"search": searched} if searched else {})}
    further_measurements |= {"power": known_power} if known_power else {}
    report = Report(
        schema_version="2",
        suspects=result.suspects_by(judge.limits),
        measurements=measurements.model_copy(update=further_measurements | {"distances": distances}),
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


def _of_references(model_audit: Audited, /) -> list[Finding]:
    """What speaks against the clean models that the tested one was compared with, but for its base, of which other findings tell."""
    audit_inputs, search = model_audit.audit_inputs, model_audit.audit.search
    if model_audit.references is None or search is None or search.cut:  # then nothing passes, and the time may be over
        return []
    base = audit_inputs.shared.base
    trusted = [
        checkpoint for checkpoint in audit_inputs.shared.clean_models if base is None or checkpoint is not base.opened
    ]
    own, device = audit_inputs.loaded.file.tensors, str(audit_inputs.loaded.clip.device)
    return searching.reference_findings(own, trusted, audit_inputs.eval_set, audit_inputs.late_pairs, device=device)


def _searched(audit_inputs: AuditInputs, base: LoadedBase | None, /) -> Audited:
    """Measure and search the clean models, then the tested one, also under CLIP's own normalisation if that is another."""
    settings, clip, eval_set = audit_inputs.settings, audit_inputs.loaded.clip, audit_inputs.eval_set
    with searching.resumable(settings.fingerprint(clip, eval_set)) as state:
        trusted, device = audit_inputs.shared.clean_models, str(clip.device)
        known_triggers_alone = None
        if trusted and deadline.is_set():  # known triggers are an answer where time ends before others are searched
            unsearched = replace(settings, search=False)
            known_triggers_alone = searching.audit_clip(unsearched, clip, eval_set, None, state=state)

        def compared_with(classes: Sequence[int]) -> detect.References | None:
            stored = audit_inputs.shared.stored.measured
            return clean_models.all_references(
                settings,
                trusted,
                stored,
                eval_set,
                audit_inputs.late_pairs,
                device=device,
                state=state,
                towards=classes,
            )

        references = detect.LateReferences(compared_with) if trusted or audit_inputs.shared.stored.measured else None
        # By the limits in force and by the shipped ones, which the report compares them with.
        limits = (audit_inputs.shared.judge.limits, audit_inputs.shared.judge.shipped)
        # With --power nothing found may be a pass: then everything is searched.
        ends = (detect.is_far,) if audit_inputs.has_power else (detect.is_far, detect.is_quiet)

        def is_enough(result: detect.SearchResult) -> bool:
            return any(all(end(result, limits=limit) for limit in limits) for end in ends)

        ending = base.ends(is_enough, clip, eval_set) if base else is_enough
        try:
            audit_result = searching.audit_both(settings, clip, eval_set, references, state=state, is_enough=ending)
        except deadline.OutOfTime:
            if known_triggers_alone is None:
                raise
            return Audited(audit_inputs, None, replace(known_triggers_alone, why_not=(CC.TIME_OVER, NOT_COMPARED)))
        audit_result = base.with_comparison(clip, eval_set, audit_result) if base else audit_result
    return Audited(audit_inputs, references.measured if references else None, audit_result)


__all__ = ["Job", "Outcome", "Plan", "audit", "planned"]
