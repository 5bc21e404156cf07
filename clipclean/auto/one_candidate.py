"""One candidate: tried on the copy with test backdoors, then run on the model, audited again and refinetuned."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from clipclean import deadline, detect
from clipclean.auto import candidates, trials
from clipclean.auto.attempts import Attempt, CandidateResult
from clipclean.auto.candidates import Candidate, CandidateCleaning
from clipclean.auto.trials import PlantedCopy, Trial
from clipclean.detect import distinct, new_among, targets
from clipclean.errors import Inconclusive
from clipclean.findings import CC, Finding
from clipclean.jobs import judging
from clipclean.jobs.first_audit import FirstAudit
from clipclean.jobs.workbench import Workbench
from clipclean.methods import walk_back
from clipclean.methods.unlearning import ShownTriggers
from clipclean.methods.walk_back import WalkBack, WatchedTrigger
from clipclean.train import NonFiniteLoss, training_record

UNCHANGED_NAME = "nothing"  # the name of what was chosen where the original stays


def try_on_copy(
    bench: Workbench, candidate: Candidate, copy: PlantedCopy | None, first_audit: FirstAudit, /
) -> CandidateResult:
    """A candidate with its trials on the copy, if there is a test backdoor to try it on.

    The trial where the walk back ended comes first. A candidate passes only if no test backdoor returns when the copy is finetuned on clean
    pairs: one that returns was hidden, not removed.
    """
    if copy is None or not copy.took:
        return CandidateResult(candidate)
    started = time.monotonic()
    cleaned_copy = CleanedCopy(bench, candidate, copy, first_audit.shown_to(candidate.recipes))
    try:
        least = 0.0 if cleaned_copy.cleaning.is_changed else 1.0  # where nothing changed there is no way to go
        way = walk_back.walk_back(
            lambda share: cleaned_copy.at(share).measurement,
            copy.planted,
            cleaned_copy.watched,
            bench.limits,
            least=least,
        )
        share_reached = way.point.share
        cleaned_copy.refinetuned(share_reached)
    except (Inconclusive, NonFiniteLoss) as error:  # nothing can be searched, for one, or the training diverges
        return CandidateResult(candidate, str(error), seconds=time.monotonic() - started)
    return CandidateResult(candidate, trials=cleaned_copy.ordered(share_reached), seconds=time.monotonic() - started)


@dataclass
class CleanedCopy:
    """The copy as a candidate cleans it: each share of the way is measured once, and the weights are made when they are needed."""

    bench: Workbench
    candidate: Candidate
    copy: PlantedCopy
    shown_triggers: ShownTriggers  # what the audit of the model shows to it
    trials: dict[float, Trial] = field(default_factory=dict)  # by share

    @cached_property
    def cleaning(self) -> CandidateCleaning:
        """The copy after the candidate; the weights of an earlier run are read from its folder."""
        self.bench.put(self.copy.weights)
        return candidates.clean_by_candidate(
            self.bench, self.candidate, self.shown_triggers, where="copy", origin=self.copy.origin
        )

    @property
    def watched(self) -> list[WatchedTrigger]:
        """The test backdoors; one that was not planted, or that the cleaning leaves, holds no walk back."""
        limit = self.bench.limits.max_excess
        acted = (
            outcome.planted if outcome.took and outcome.is_removed(limit) else 0.0 for outcome in self.at(1.0).outcomes
        )
        return [WatchedTrigger(excess, is_doubtful=True) for excess in acted]

    def at(self, share: float, /) -> Trial:
        """The trial at a share of the way."""
        if share not in self.trials:
            cleaning, bench = self.cleaning, self.bench
            bench.put_between(self.copy.weights, cleaning.weights, share=share)
            eval_set = self.copy.measured_on(bench.eval_set)
            measurement, seconds = bench.measure(eval_set, what="walking back"), cleaning.training.seconds
            self.trials[share] = trials.trial_of(
                self.candidate.name, self.copy.planted, measurement, share=share, seconds=seconds
            )
        return self.trials[share]

    def refinetuned(self, share: float, /) -> Trial:
        """The same with what returns after a benign finetuning."""
        trial, bench = self.at(share), self.bench
        # Where a test backdoor is left, what returns decides nothing.
        is_asked = bench.auto_settings.refinetune_steps and trial.removes_all(bench.limits) and not trial.is_refinetuned
        if is_asked and self.cleaning.is_changed:
            bench.put_between(self.copy.weights, self.cleaning.weights, share=share)
            eval_set = self.copy.measured_on(bench.eval_set)
            later = trials.refinetune(bench, self.copy.planted, eval_set).after
            trial = self.trials[share] = trials.with_returned(trial, later)
        return trial

    def ordered(self, first: float, /) -> tuple[Trial, ...]:
        """The trials, that of one share first."""
        return self.trials[first], *(trial for share, trial in self.trials.items() if share != first)


def run_on_model(
    bench: Workbench, result: CandidateResult, copy: PlantedCopy | None, first_audit: FirstAudit, /
) -> CandidateResult:
    """A candidate on the model: clean it, walk back to the budget, audit it again, and refinetune it.

    On the way neither a trigger of the model may return, nor a test backdoor of the copy at the same share of its own way.

    Raises:
        Inconclusive: nothing can be searched, or where it begins costs too much already.
        NonFiniteLoss: the training diverges.
    """
    candidate = result.candidate
    # From the original, never from the copy: planting changed weights that no cleaning is to blame for.
    bench.put(bench.original)
    triggers = first_audit.shown_to(candidate.recipes)
    base = bench.base.clip if bench.base else None
    cleaning = candidates.clean_by_candidate(
        bench, candidate, triggers, where="model", origin={}, base=base, original=first_audit.audit.measurement
    )
    new_suspicions = new_among(cleaning.suspicions, first_audit.suspicions)
    suspicions = distinct([*first_audit.suspicions, *new_suspicions])
    cleaned_copy = None
    if copy is not None and result.trials:
        trials_by_share = {trial.share: trial for trial in result.trials}
        cleaned_copy = CleanedCopy(bench, candidate, copy, triggers, trials_by_share)
    way = bench.walked_back(
        bench.original_under(suspicions, first_audit),
        cleaning.weights,
        suspicions,
        walks=cleaning.is_changed,
        test_backdoors=cleaned_copy.watched if cleaned_copy else (),
        probes=(lambda share: cleaned_copy.at(share).measurement.suspected) if cleaned_copy else lambda _: (),
    )
    if cleaned_copy:
        started = time.monotonic()
        # The copy may have walked another way than the model.
        is_gone = cleaned_copy.at(1.0).removes_all(bench.limits)
        if way.point.share < 1 and is_gone and not cleaned_copy.refinetuned(way.point.share).removes_all(bench.limits):
            way = replace(way, point=way.points[0])
            cleaned_copy.refinetuned(1.0)
        seconds = result.seconds + time.monotonic() - started
        result = replace(result, trials=cleaned_copy.ordered(result.trials[0].share), seconds=seconds)
    attempt = Attempt(candidate, cleaning, way, suspicions, first_audit.audit)
    if cleaning.is_changed:
        audit = bench.audit_cleaned(suspicions, cleaning.weights, share=way.point.share)
        attempt = with_findings(bench, replace(attempt, audit=audit), first_audit)
        # What is open already calls the next candidate, whatever returns: a search and a finetuning for nothing. The one that is written is
        # tested in the end.
        if not attempt.is_open(counts_doubts=False):
            attempt = with_refinetune_test(bench, attempt, first_audit)
    else:
        attempt = with_findings(bench, attempt, first_audit)
    return replace(result, attempt=attempt)


def original_as_attempt(bench: Workbench, first_audit: FirstAudit, way: WalkBack, /) -> Attempt:
    """The original in the place of an attempt that walked this way, with the findings of its own audit."""
    return Attempt(
        Candidate((UNCHANGED_NAME,), ()),
        CandidateCleaning(bench.original, training_record((), steps=0, pairs=0, seconds=0.0), (), ()),
        way.at_original(first_audit.audit.measurement),
        first_audit.suspicions,
        first_audit.audit,
        findings=tuple(bench.findings(first_audit.audit)),
    )


def with_findings(bench: Workbench, attempt: Attempt, first_audit: FirstAudit, /) -> Attempt:
    """The attempt with its findings, by what is known of it so far."""
    return replace(attempt, findings=tuple(findings_of(bench, attempt, first_audit)))


def with_refinetune_test(bench: Workbench, attempt: Attempt, first_audit: FirstAudit, /) -> Attempt:
    """The attempt with its refinetune test, and what a search finds again; as it is where the recipe has no such test."""
    if not bench.auto_settings.refinetune_steps:
        return attempt
    bench.put_between(bench.original, attempt.cleaning.weights, share=attempt.point.share)
    return with_findings(bench, _with_refinetuning(bench, attempt, first_audit.audit.measurement), first_audit)


def _with_refinetuning(bench: Workbench, attempt: Attempt, original: detect.Measurement, /) -> Attempt:
    """The attempt with what returns when its weights are finetuned, which stand in the model."""
    pointed, audit = targets(attempt.suspicions), attempt.audit
    eval_set = bench.eval_set.suspecting(attempt.suspicions)
    try:
        natural = frozenset(
            trigger.spec
            for trigger in eval_set.plan.triggers.panel
            if detect.is_natural(bench.references, trigger.spec)
        )
        refinetuned = trials.refinetune(bench, audit.measurement, eval_set)
        refinetuned = replace(
            refinetuned,
            original=original,
            natural=natural,
            suspects=attempt.suspected_classes,
            beside_base=attempt.audit.beside_base,
        )
    except deadline.OutOfTime:
        late = detect.unproven(CC.TIME_OVER, "Time was over before the refinetune test.")
        return replace(attempt, returned=(late,))
    attempt = replace(attempt, refinetuned=refinetuned)
    # The search is repeated because the planted trigger differs a little from the one that was found and unlearned, and only the
    # latter is measured.
    if not (pointed and bench.references):  # without references every model has classes that images gather at
        return attempt
    later = bench.audit(attempt.suspicions, pointed=pointed, what="after the refinetune test")
    names = {bench.eval_set.vocabulary.classes[target] for target in pointed}
    images = len(bench.eval_set.images)
    by_audit = (judging.findings_of_searches(result, images=images, limits=bench.limits) for result in (audit, later))
    by_class = ({finding.target: finding for finding in findings} for findings in by_audit)
    return replace(
        attempt, returned=tuple(findings_of_return(*by_class, names=names, steps=bench.auto_settings.refinetune_steps))
    )


def findings_of_return(
    before: Mapping[str | None, Finding], after: Mapping[str | None, Finding], /, *, names: set[str], steps: int
) -> list[Finding]:
    """A warning for each class of ``names`` that the search points at after the refinetuning, and did not before.

    A trigger that was found and unlearned stays away; the planted one differs a little from it, and may come back.
    """
    return [
        finding.model_copy(
            update={
                "rule": CC.BACKDOOR_CAME_BACK,
                "level": "warning",
                "message": f"After {steps} steps of finetuning on the clean pairs: {finding.message}",
            }
        )
        for name, finding in after.items()
        if name in names and name not in before
    ]


def findings_of(bench: Workbench, attempt: Attempt, first_audit: FirstAudit, /) -> list[Finding]:
    """Findings of the audit of the cleaned model, its accuracy, what came back, and what an unlearning did not finish."""
    refinetuned, limits = attempt.refinetuned, bench.limits
    # Where a wave no longer leads to the target, it makes the model a little surer of another class than its base is: that was not planted.
    by_audit = (
        finding
        for finding in bench.findings(attempt.audit)
        if finding.rule != CC.NOT_ON_THE_BASE or finding.is_error or finding.target in attempt.suspected_classes
    )
    return [
        *by_audit,
        *detect.accuracy_findings(first_audit.audit.measurement, attempt.audit.measurement, limits=limits),
        *(refinetuned.findings(limits=limits) if refinetuned else ()),
        *attempt.cleaning.remaining,
        *attempt.returned,
    ]
