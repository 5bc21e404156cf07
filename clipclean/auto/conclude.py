"""The end of an ``auto`` run: the report of the best attempt, with its findings and its record."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from clipclean import detect
from clipclean.auto import attempts, one_candidate
from clipclean.auto.attempts import Attempt, CandidateResult
from clipclean.auto.trials import PlantedCopy, Refinetuned, Trial
from clipclean.config import policy
from clipclean.config.thresholds import AuditLimits
from clipclean.detect import AuditResult
from clipclean.findings import CC, Finding, finding, trigger_words
from clipclean.jobs import cleaning
from clipclean.jobs.cleaning import CleanedModel
from clipclean.jobs.cleaning_inputs import CleaningInputs
from clipclean.jobs.first_audit import FirstAudit
from clipclean.jobs.strategy import StrategyResult
from clipclean.jobs.workbench import Workbench
from clipclean.methods.walk_back import WalkBack
from clipclean.report import PageImages
from clipclean.schema.report import (
    AccuraciesRecord,
    AutoRecord,
    CandidateRecord,
    RefinetuneRecord,
    Report,
    ReturnRecord,
    RunRecord,
    SpentRecord,
    TestBackdoorRecord,
    TrialRecord,
    Verdict,
)

SPARED_NOTE = "The audit passes beside the clean models that were given, so no candidate was tried, and the weights stay as they were."
CUT_NOTE = (
    "Time was over before a candidate was tried and run, so the weights stay as they were. The same command with more minutes and "
    "--force resumes."
)


@dataclass(frozen=True)
class Choice:
    """All candidates that were tried, and the start of the run."""

    first_audit: FirstAudit  # the original, audited
    copy: PlantedCopy | None  # with test backdoors; None where none were planted
    # The candidates in the order of trying; none where the audit passed, or time was over before.
    candidate_results: Sequence[CandidateResult]
    minutes: float | None  # after which no candidate was started; None without a limit
    is_late: bool  # whether that time was over
    started: float  # by the clock that ``time.monotonic`` reads

    @property
    def is_cut(self) -> bool:
        """Whether time was over before any candidate was run."""
        return self.is_late and not self.candidate_results

    def concluded(self, bench: Workbench, inputs: CleaningInputs, /) -> StrategyResult:
        """The cleaned model, its report and the images."""
        attempt = attempt_to_write(bench, self)
        cleaned_model = cleaned_model_of(bench, self, attempt)
        report, images = report_of(bench, inputs, self, attempt, cleaned_model)
        return StrategyResult(cleaned_model, report, images, is_whole=not self.is_cut)


def verdict_of(bench: Workbench, inputs: CleaningInputs, audit: AuditResult, /) -> Verdict:
    """The verdict on a model by its audit alone, under the policy in force."""
    return policy.verdict(inputs.shared.judge.apply(inputs.loaded, lambda _: bench.findings(audit)).findings)


def report_of(
    bench: Workbench, inputs: CleaningInputs, choice: Choice, attempt: Attempt, cleaned_model: CleanedModel, /
) -> tuple[Report, PageImages]:
    """The report of the attempt that is written, and its images."""
    of_choice = [
        *findings_of_choice(choice, attempt, cleaned_model.before.measurement, limits=bench.limits),
        *cleaning.notes(inputs),
        *out_of_time_findings(choice, candidate_count=len(bench.auto_settings.candidates)),
        *silenced_findings(choice.candidate_results, attempt),
    ]

    def findings_by(limits: AuditLimits) -> list[Finding]:
        other = replace(bench, limits=limits)
        if attempt.is_original:
            return [*other.findings(attempt.audit), *of_choice]
        own = (
            attempt.findings
            if limits == bench.limits
            else one_candidate.findings_of(other, attempt, choice.first_audit)
        )
        return [*own, *of_choice]

    if_failed = (
        nothing_passed_finding(choice.candidate_results, attempt, bench.limits) if choice.candidate_results else None
    )
    return cleaning.report_of(
        bench,
        inputs,
        cleaned_model,
        findings_by,
        if_failed=if_failed,
        auto=lambda: auto_record(choice, attempt, bench.limits),
    )


def attempt_to_write(bench: Workbench, choice: Choice, /) -> Attempt:
    """The attempt whose weights are written: the best one, or the original where nothing was run or none is worth its price."""
    if not choice.candidate_results:
        nothing = WalkBack.of_uncleaned(choice.first_audit.audit.measurement, bench.limits)
        return one_candidate.original_as_attempt(bench, choice.first_audit, nothing)
    _, best = attempts.best(choice.candidate_results)
    original = one_candidate.original_as_attempt(bench, choice.first_audit, best.way)
    stays = attempts.is_better_as_it_was(original.findings, best, patterns=choice.first_audit.acting_patterns)
    return original if stays else best


def cleaned_model_of(bench: Workbench, choice: Choice, attempt: Attempt, /) -> CleanedModel:
    """An attempt beside the original under the same triggers."""
    plan = replace(bench.eval_set.plan, suspicions=attempt.suspicions, sure=choice.first_audit.sure_specs)
    eval_set, original = replace(bench.eval_set, plan=plan), choice.first_audit.audit
    # A search has named triggers that the first audit did not know.
    if attempt.suspicions != bench.eval_set.plan.suspicions:
        bench.put(bench.original)
        original = replace(original, measurement=bench.measure(eval_set, what="measuring before", in_time=False))
    after = original if attempt.audit is choice.first_audit.audit else attempt.audit
    return CleanedModel(
        before=original,
        after=after,
        eval_set=eval_set,
        weights=attempt.cleaning.weights,
        training=attempt.cleaning.training,
        way=attempt.way,
    )


def findings_of_choice(
    choice: Choice, attempt: Attempt, before: detect.Measurement, /, *, limits: AuditLimits
) -> list[Finding]:
    """What the choice itself shows: that time was over, that nothing was to clean, that the original stays, or what the test backdoors show."""
    if choice.is_cut:
        return [detect.unproven(CC.TIME_OVER, CUT_NOTE)]
    if not choice.candidate_results:
        return [finding(CC.NOTHING_TO_CLEAN, SPARED_NOTE)]
    winner, best = attempts.best(choice.candidate_results)
    if attempt.is_original:
        return [original_stays_finding(best)]
    return test_backdoor_findings(
        choice.copy,
        winner.at(attempt.point.share),
        before,
        limits=limits,
        is_changed=attempt.cleaning.is_changed,
        is_doubted=any(finding.rule in (CC.PANEL_EXCESS, CC.TRIGGER_FOUND) for finding in attempt.findings),
    )


def test_backdoor_findings(
    copy: PlantedCopy | None,
    trial: Trial | None,
    before: detect.Measurement,
    /,
    *,
    limits: AuditLimits,
    is_changed: bool,
    is_doubted: bool,
) -> list[Finding]:
    """A finding from the test backdoors: that the candidate works on this model, that it does not, or that nothing is shown.

    Args:
        copy: with the test backdoors; None where none were planted.
        trial: the trial of the written weights; None if no test backdoor was planted.
        before: of the original.
        limits: of the run.
        is_changed: whether the weights were changed.
        is_doubted: whether the findings have an error or a doubt already.
    """
    # Where something acted on the model itself, its removal is the evidence, and test backdoors only add to it.
    acted = is_doubted or any(probe.excess_interval[0] > limits.max_excess for probe in before.suspected)
    if acted and copy is None:  # none were needed
        return []
    if not trial:
        words = "No test backdoors were planted."
        if copy is not None:
            words = "None of the test backdoors could be planted: the copy does not act on their triggers."
        if not acted:
            words += " No trigger acted on the model before cleaning either, so the effect of the cleaning is unknown."
        return [finding(CC.NO_PLANTED_BACKDOOR, words, level="note" if acted else "warning")]
    trigger_count, removed = len(trial.learned_outcomes), trial.removed(limits)
    low, high = trial.interval
    words = (
        f"On this model and these data, {trial.candidate} removes {removed} of {trigger_count} planted backdoors for "
        f"{100 * trial.accuracy_lost:.1f} points of clean accuracy ({100 * low:.1f} to {100 * high:.1f})."
    )
    if uncounted := len(trial.outcomes) - trigger_count:
        words += f" {uncounted} more could not be planted, and do not count."
    on_test_backdoors = finding(
        CC.BACKDOORS_PLANTED,
        words,
        level="note" if removed == trigger_count else "warning",
        measure="test backdoors removed",
        value=removed / trigger_count,
        n=trigger_count,
    )
    if acted or on_test_backdoors.level == "warning":
        return [on_test_backdoors]
    return [on_test_backdoors, cleaning.nothing_to_clean(is_changed=is_changed)]


def nothing_passed_finding(
    candidate_results: Sequence[CandidateResult], attempt: Attempt, limits: AuditLimits, /
) -> Finding:
    """That an error stands after all that was tried."""
    names = ", ".join(entry.candidate.name for entry in candidate_results if not entry.why_not)
    points = f"{100 * limits.max_accuracy_loss:.1f} points of accuracy"
    words = f"No candidate passes within {points}: {names}. The nearest was {attempt.candidate.name}."
    return finding(CC.NO_CANDIDATE_PASSES, words, level="error")


def original_stays_finding(attempt: Attempt, /) -> Finding:
    """That the weights stay, since the best cleaning costs more than the budget; what the test backdoors show is no verdict on the original."""
    best = f"The best candidate, {attempt.candidate.name},"
    if attempt.way.is_within:  # by accuracy, but not by recall
        words = f"{best} costs too much, so the weights stay. {attempt.over_budget[0].message}"
        return finding(CC.NO_CANDIDATE_PASSES, words, level="warning")
    return too_dear_finding(best, attempt.way)


def too_dear_finding(what: str, way: WalkBack, /) -> Finding:
    """That the weights stay as they were, since what was tried costs too much and the audit was sure of nothing."""
    # Triggers returned at every point within the budget, so those are no offer.
    budget = way.limits.max_accuracy_loss
    best = min((p for p in way.points if p.accuracy_lost > budget), key=lambda p: p.accuracy_lost)
    low, high = (f"{100 * end:.1f}" for end in best.interval)
    words = (
        f"{what} costs at least {100 * best.accuracy_lost:.1f} points of accuracy ({low} to {high}), where {100 * budget:.1f} are "
        "allowed, and the audit found no sure backdoor, so the weights stay as they were."
    )
    return finding(CC.NO_CANDIDATE_PASSES, words, level="warning", measure="accuracy lost", value=best.accuracy_lost)


def silenced_findings(candidate_results: Sequence[CandidateResult], attempt: Attempt, /) -> list[Finding]:
    """A doubt where the weights that are written did not go back to the base, or walked away from it, and those that did had an error beside it.

    Surgery silences what it is shown, and relatives of a trigger go long before it does: of a convolution in a vision transformer it left 0.52, and
    nothing that an audit comes to. On the way back to the base nothing is hidden: there the same known triggers still told.
    """
    went_back = [result.attempt for result in candidate_results if result.attempt and result.attempt.went_back]
    own = {error.target for error in attempt.errors_beside_base}
    errors = [error for other in went_back for error in other.errors_beside_base if error.target not in own]
    if attempt.is_original or attempt.went_back or not errors:
        return []
    words = (
        f"These weights show nothing more of '{errors[0].target}', and weights nearer the base did: {trigger_words(errors[0].trigger or '')} told. "
        "What a cleaning is shown it silences, and the trigger that was planted may be another: nothing here shows that it is gone."
    )
    return [errors[0].model_copy(update={"level": "warning", "message": words})]


def out_of_time_findings(choice: Choice, /, *, candidate_count: int) -> list[Finding]:
    """That the time was over before every one of the ``candidate_count`` candidates was tried that might have done better."""
    untried = candidate_count - len(choice.candidate_results)
    if choice.is_cut or not (choice.is_late and untried):
        return []
    return [finding(CC.CANDIDATES_UNTRIED, f"After {choice.minutes:g} minutes {untried} candidates were not tried.")]


def auto_record(choice: Choice, attempt: Attempt, limits: AuditLimits, /) -> AutoRecord:
    """``auto`` of the report: test backdoors, candidates, the refinetune test, and their times."""
    copy, refinetuned = choice.copy, attempt.refinetuned
    return AutoRecord(
        chosen=attempt.candidate.name,
        changed=attempt.cleaning.is_changed,
        test_backdoors=tuple(
            TestBackdoorRecord.of(
                probe, planted=0.0 if math.isnan(probe.excess) else probe.excess, took=took, n=probe.asr.n
            )
            for probe, took in (copy.with_success() if copy else ())
        ),
        patterns=len(choice.first_audit.acting_patterns),
        candidates=tuple(
            _candidate(entry, limits, is_chosen=entry.attempt is attempt) for entry in choice.candidate_results
        ),
        rebound=_refinetuned(refinetuned) if refinetuned else None,
        budget=limits.budget(choice.minutes),
        seconds=SpentRecord(
            total=time.monotonic() - choice.started,
            planting=copy.seconds if copy else 0.0,
            trials=sum(entry.seconds for entry in choice.candidate_results),
            chosen=attempt.cleaning.training.seconds,
            rebound=refinetuned.seconds if refinetuned else 0.0,
        ),
    )


def _candidate(candidate_result: CandidateResult, limits: AuditLimits, *, is_chosen: bool) -> CandidateRecord:
    attempt = candidate_result.attempt
    return CandidateRecord(
        candidate=candidate_result.candidate.name,
        chosen=is_chosen,
        why_not=candidate_result.why_not,
        passes=bool(candidate_result.trials) and candidate_result.trials[0].passes(limits),
        trials=tuple(TrialRecord.of(trial, kept=trial.share) for trial in candidate_result.trials),
        run=None
        if attempt is None
        else RunRecord.of(
            attempt.point,
            triggers=len(attempt.suspicions),
            errors=tuple(sorted({finding.rule for finding in attempt.findings if finding.is_error})),
            seconds=attempt.cleaning.training.seconds,
        ),
    )


def _refinetuned(test: Refinetuned) -> RefinetuneRecord:
    return RefinetuneRecord(
        steps=test.steps,
        seconds=test.seconds,
        accuracy=AccuraciesRecord.of(
            test, before=test.before.accuracy.rate.value, after=test.after.accuracy.rate.value
        ),
        probes=tuple(
            ReturnRecord.of(
                new,
                trigger=old.trigger,
                before=old.excess,
                after=new.excess,
                interval=new.excess_interval,
                suspected=is_suspected,
            )
            for old, new, is_suspected in test.pairs()
        ),
    )
