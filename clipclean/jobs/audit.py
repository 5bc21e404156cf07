"""The audit of one checkpoint, from top to bottom: read, measure, search for unknown triggers, judge."""

import time

from clipclean import deadline, detect, requests
from clipclean.attack import trigger_files
from clipclean.config.thresholds import AuditLimits
from clipclean.errors import Inconclusive
from clipclean.findings import CC, Finding, finite
from clipclean.jobs import base as bases
from clipclean.jobs import given, judging, other_models, plan, results, searching
from clipclean.jobs.base import LoadedBase
from clipclean.jobs.given import AuditInputs
from clipclean.jobs.judging import Audited
from clipclean.jobs.results import Outcome
from clipclean.jobs.searching import SearchSettings
from clipclean.report import Report


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
            with given.to_audit(request) as ready:
                return _audit(ready, started)
        except deadline.OutOfTime as error:
            raise Inconclusive(
                f"The {request.max_minutes:g} minutes of --max-minutes ended before the model was measured, so there is no "
                "result. Give more minutes."
            ) from error


def _audit(ready: AuditInputs, started: float) -> Outcome:
    plan.tell_audit(ready)
    named, clip = ready.given.base, ready.loaded.clip
    base = bases.load(named, clip, ready.eval_set, ready.late_pairs) if named else None
    made, judge, request = _searched(ready, base), ready.given.judge, ready.request
    seen, folder = made.seen, request.save_triggers
    known_power, unproven = None, list[Finding]()
    try:
        known_power = judging.power_of(made)
    except deadline.OutOfTime:
        unproven = [detect.unproven(CC.TIME_OVER, "Time was over before the power of the audit was measured.")]

    def found(limits: AuditLimits) -> list[Finding]:
        beside = base.notes() if base else []
        return judging.with_power([*judging.all_findings(made, limits), *beside, *unproven], known_power)

    applied = judge.applied(ready.loaded, found)
    saved = trigger_files.save(seen.search.targeted, folder) if seen.search and folder else {}
    seconds = time.monotonic() - started
    maps, images = judging.shown_by_search(request, ready.loaded.clip, ready.eval_set, seen)
    measured, hits = seen.measured.record(), seen.search.targeted if seen.search else ()
    distances = measured.distances | {hit.found.spec: finite(hit.probe.distance) for hit in hits}
    searched = seen.search_record(request.effort, saved)
    more: dict[str, object] = {**maps, **({"search": searched} if searched else {})}
    more |= {"power": known_power} if known_power else {}
    report = Report(
        schema_version="2",
        suspects=detect.suspect_records(seen.search, seen.measured, limits=detect.of_looks(judge.limits, seen.looks)),
        measurements=measured.model_copy(update=more | {"distances": distances}),
        effort=request.effort,
        vocabulary=ready.given.vocabulary.record(is_given=ready.given.has_own_classes),
        data=ready.images.record().model_copy(update={"pairs": len(ready.eval_set.pixels)}),
        seed=request.seed,
        seconds=seconds,
        **results.common_fields("audit", ready.loaded, request.label),
        **judge.record(applied),
    )
    if base:
        report = report.model_copy(update={"base": base.record(seen.beside_base)})
    return Outcome(report, images, paths=results.paths_of(request, report))


def _searched(ready: AuditInputs, base: LoadedBase | None, /) -> Audited:
    """Measure and search the clean models, then the tested one, also under CLIP's own normalisation if that is another."""
    request, clip, eval_set = ready.request, ready.loaded.clip, ready.eval_set
    settings = SearchSettings(request.effort, request.seed, search=request.search)
    with searching.resumable(settings.fingerprint(clip, eval_set)) as state:
        device = str(clip.device)
        references = other_models.all_references(
            settings, ready.given.clean_models, ready.stored, eval_set, ready.late_pairs, device=device, state=state
        )
        # By the limits in force and by the shipped ones, which the report compares them with.
        limits = (ready.given.judge.limits, ready.given.judge.shipped)
        # With --power nothing found may be a pass: then everything is searched.
        ends = (detect.is_far,) if request.power else (detect.is_far, detect.is_quiet)
        seen = searching.audit_both(
            settings,
            clip,
            eval_set,
            references,
            state=state,
            is_enough=lambda result: any(all(end(result, limits=each) for each in limits) for end in ends),
        )
        seen = base.seen(clip, eval_set, seen) if base else seen
    return Audited(ready, references, seen)
