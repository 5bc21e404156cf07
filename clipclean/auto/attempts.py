"""The choice: candidates from gentle to harsh, each tried on the copy and run on the model, until one leaves no error and no doubt.

- A candidate is left out where its role has nothing to do (``left_out``). It is run at once where the model itself shows what it removes, or where the
  audit suspects nothing.
- Else it is tried on a copy with test backdoors first, at the point where its walk back ends. It is run if no test backdoor is left there, or returns
  in a benign finetuning, and if it costs no more than the budget.
- The next one follows if a run leaves an error, or a doubt about a trigger that the audit was sure of. The last one, or the time, ends the choice.
- Where gentle candidates cost too much, harsher ones are left out.
- If none passes on the copy, they are run until one is within the budget on the model: first those that were within it on the copy, and of these
  the one that left the fewest test backdoors.
- Written is the run with the fewest errors, and of these the one with the least loss of accuracy. A trigger in doubt counts as the whole budget, and
  one that is left as more, by how many images it moves. Where that one is in doubt, or leaves a trigger, one is written that went back to the base with
  as few errors, left no trigger, and cost no more than the budget.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from clipclean import deadline, detect, progress
from clipclean.auto.candidates import Candidate, CandidateCleaning
from clipclean.auto.trials import Refinetuned, Trial
from clipclean.config.thresholds import AuditLimits
from clipclean.detect import AuditResult, Suspicion
from clipclean.errors import Inconclusive
from clipclean.findings import CC, Finding, trigger_words
from clipclean.jobs import judging
from clipclean.methods.walk_back import Point, WalkBack
from clipclean.train import NonFiniteLoss

# Share of the way to its cleaned weights beyond which a candidate that goes back to the base has gone there.
LEAST_WAY_KEPT = 0.5


@dataclass(frozen=True)
class Attempt:
    """One candidate on the model itself, with the results of the audit and of the refinetune test."""

    candidate: Candidate
    cleaning: CandidateCleaning
    way: WalkBack  # back to the original, as far as was walked
    suspicions: tuple[Suspicion[int | None], ...]
    audit: AuditResult
    refinetuned: Refinetuned | None = None
    returned: tuple[Finding, ...] = ()  # what a search finds after the refinetune test, or that time was over
    findings: tuple[Finding, ...] = ()  # all of them, by the limits of the run

    @property
    def is_original(self) -> bool:
        """Whether it stands for the original, which nothing has cleaned."""
        return not self.candidate.recipes

    @property
    def went_back(self) -> bool:
        """Whether it began on the way to the base, and kept more than half of that in its walk back."""
        return self.candidate.goes_back and self.point.share > LEAST_WAY_KEPT

    @property
    def is_undone(self) -> bool:
        """Whether it went back to the base within the budget, and left no trigger."""
        return self.went_back and self.way.is_within and not (self.triggers_left or self.over_budget)

    @property
    def point(self) -> Point:
        """Where it ended between the original and the cleaned weights."""
        return self.way.point

    @property
    def suspected_classes(self) -> frozenset[str]:
        """Names of the classes that the suspicions lead to."""
        return frozenset(probe.target for probe in self.audit.measurement.suspected)

    @property
    def errors_beside_base(self) -> list[Finding]:
        """Errors of what acts on its weights and not on the base."""
        return [finding for finding in self.findings if finding.rule == CC.NOT_ON_THE_BASE and finding.is_error]

    @property
    def over_budget(self) -> list[Finding]:
        """Losses over the budget beyond chance, of accuracy or of recall."""
        return [finding for finding in self.findings if finding.rule == CC.ACCURACY_LOST and finding.is_error]

    @property
    def is_tested(self) -> bool:
        """Whether it had its refinetune test, or time was over before."""
        return self.refinetuned is not None or bool(self.returned)

    def is_open(self, *, counts_doubts: bool) -> bool:
        """Whether another candidate may do better: an error, a trigger that stays or returns, or a doubt where the audit was sure of one."""
        return bool(self.open_findings(counts_doubts=counts_doubts)) or bool(self.triggers_left)

    def open_findings(self, *, counts_doubts: bool) -> list[Finding]:
        """The findings that another candidate may do better in, errors first."""
        # Harsher ones cost no less accuracy. And where images are too few to tell (CC020), they are too few for each.
        by_gravity = sorted(
            (open_finding for open_finding in self.findings if open_finding.rule != CC.TOO_LITTLE_DATA),
            key=lambda finding: not finding.is_error,
        )
        # A search finds another natural trigger of a class in doubt after each candidate, and natural waves return: harsher candidates cost a
        # clean model five minutes and took none away. What acts on the model and not on its base is not natural.
        return [
            finding
            for finding in by_gravity
            if finding.is_error or (self.is_doubt(finding) and (counts_doubts or finding.rule == CC.NOT_ON_THE_BASE))
        ]

    def is_doubt(self, finding: Finding, /) -> bool:
        """Whether a finding doubts a class that was suspected before: a natural trigger of another one is no fault of the cleaning."""
        return finding.level == "warning" and bool(finding.trigger) and finding.target in self.suspected_classes

    @property
    def triggers_left(self) -> tuple[detect.Probe, ...]:
        """What suspected triggers do that still act on more images than the limit allows, beyond chance and, with a base, beyond what they
        do there; what returns is a finding.
        """
        limits, base = self.way.limits, self.audit.beside_base
        acting = (probe for probe in self.audit.measurement.suspected if probe.excess_interval[0] > limits.max_excess)
        return tuple(probe for probe in acting if base is None or base.exceeds(probe.trigger, probe.target, limits))

    @property
    def errors(self) -> int:
        """How many of its findings are errors."""
        return sum(finding.is_error for finding in self.findings)

    @property
    def doubtful_specs(self) -> set[str | None]:
        """The specs of triggers of suspected classes that are in doubt, and not left."""
        return {finding.trigger for finding in self.findings if self.is_doubt(finding)} - {
            p.trigger for p in self.triggers_left
        }

    def rank(self) -> tuple[int, float]:
        """A sort key, smaller is better: errors; then the loss of accuracy, to which each doubt adds the whole budget, and each trigger that is
        left the budget for every ``max_excess`` of images that it moves. Where each counted alike, the candidate was written that had
        cost least and left 0.31 of a warp, and not the one that had left 0.10.
        """
        limits, left = self.way.limits, {probe.trigger: probe.excess for probe in self.triggers_left}
        open_ends = len(self.doubtful_specs) + sum(max(1.0, excess / limits.max_excess) for excess in left.values())
        return self.errors, open_ends * limits.max_accuracy_loss + self.point.accuracy_lost


@dataclass(frozen=True)
class CandidateResult:
    """One candidate, with its trials and its run."""

    candidate: Candidate
    why_not: str = ""
    trials: tuple[Trial, ...] = ()  # at the share that was taken first, then at the others
    attempt: Attempt | None = None
    seconds: float = 0.0  # of the trials in this process; candidates that begin alike share the beginning

    def at(self, share: float, /) -> Trial | None:
        """The trial at a share of the way, else the first; None without any."""
        return next((trial for trial in self.trials if trial.share == share), self.trials[0] if self.trials else None)

    def in_words(self, limits: AuditLimits, /, *, counts_doubts: bool) -> str:
        """In one sentence how it went, and what is open where another has to follow."""
        if self.why_not:
            return f"not run: {self.why_not}"
        if self.attempt is None:
            trial = self.trials[0]
            return (
                f"not run on the model yet: on a copy it removes {trial.removed(limits)} of {len(trial.learned_outcomes)} test backdoors for "
                f"{100 * trial.accuracy_lost:.1f} points of accuracy, where {100 * limits.max_accuracy_loss:.1f} are allowed"
            )
        lost = f"costs {100 * self.attempt.point.accuracy_lost:.1f} points of accuracy"
        if not (left_open := self.attempt.open_findings(counts_doubts=counts_doubts)):
            if not self.attempt.triggers_left:
                return f"{lost}, and leaves nothing open"
            worst = max(self.attempt.triggers_left, key=lambda probe: probe.excess)
            return f"{lost}, and leaves {100 * worst.excess:.1f} % of {trigger_words(worst.trigger)} towards '{worst.target}'"
        return f"{lost}, and leaves open: {' '.join(f'{finding.rule} {finding.message}' for finding in left_open[:1])}"

    def shortfall(self, limits: AuditLimits, /) -> tuple[bool, int, float]:
        """A sort key, the distance from passing on the copy: whether it costs too much, test backdoors that are left or return, and the loss."""
        if not self.trials:
            return False, 0, 0.0
        first = self.trials[0]
        # One within the budget may remove what test backdoors survive, and is written even where the audit suspects nothing.
        is_over = first.accuracy_lost > limits.max_accuracy_loss
        return is_over, len(first.learned_outcomes) - first.removed(limits), first.accuracy_lost


# A protocol, so that the choice is tested on values, without a model.
class CandidateRunner(Protocol):
    """What a run can do with a candidate, and what it decides by."""

    @property
    def limits(self) -> AuditLimits:
        """The limits in force."""

    @property
    def is_sure(self) -> bool:
        """Whether the audit of the original is sure of a trigger; of a clean model in doubt each candidate leaves a natural one."""

    def is_late(self) -> bool:
        """Whether the time limit for starting a candidate has passed; the first is tried, and one is run, in any case."""

    def is_worth(self, attempt: Attempt, /) -> bool:
        """Whether an attempt is worth its price, so that its weights are written rather than the original."""

    def try_out(self, candidate: Candidate, /) -> CandidateResult:
        """A candidate with its trials on the test backdoors."""

    def run(self, result: CandidateResult, /) -> CandidateResult:
        """One that was tried, with its attempt on the model; raises Inconclusive or NonFiniteLoss where it cannot be run."""

    def test(self, attempt: Attempt, /) -> Attempt:
        """An attempt with its refinetune test."""


def choose(offered: Sequence[Candidate], runner: CandidateRunner, /) -> list[CandidateResult]:
    """Try candidates, in this order, and run those that pass, until one leaves no error and no doubt, none is left, or the time is over.

    Raises:
        Inconclusive: no candidate can be run at all.
        OutOfTime: the deadline came before one was run.
    """
    candidate_results: list[CandidateResult] = []
    try:
        for row, candidate in enumerate(offered):
            if candidate_results and runner.is_late():
                break
            if not candidate.is_gentle and _are_too_dear(candidate_results, runner):
                candidate_results.append(CandidateResult(candidate, "gentler ones cost too much already"))
                continue
            progress.say(f"{candidate.position_words}: {candidate.name}".removeprefix(": "))
            result = runner.try_out(candidate)
            candidate_results.append(result)  # its trials count, even if the time ends before its run
            # Without a test backdoor the model itself shows what a candidate leaves.
            if not result.trials or result.trials[0].passes(runner.limits):
                candidate_results[-1] = result = _run_or_refused(result, runner)
            # A doubt is what a search finds in the result. Where the audit of the original was not sure either, the answer to it is a
            # surgery that searches again, and no harsher candidate: of triangles the first surgery left 0.139.
            counts_doubts = runner.is_sure or any(follower.searches_again for follower in offered[row + 1 :])
            progress.say(f"{candidate.name}: {result.in_words(runner.limits, counts_doubts=counts_doubts)}")
            attempt = result.attempt
            if attempt and runner.is_worth(attempt) and not attempt.is_open(counts_doubts=counts_doubts):
                why = f"{candidate.name} leaves nothing open"
                return [*candidate_results, *(CandidateResult(follower, why) for follower in offered[row + 1 :])]
        waiting = [row for row, entry in enumerate(candidate_results) if not entry.why_not and not entry.attempt]
        waiting.sort(key=lambda row: candidate_results[row].shortfall(runner.limits))
        # The report of one shows how much is left. One over the budget is not written where nothing is suspected: a warp stayed that the
        # gentlest candidate takes from 0.70 to 0.07 for half a point, since the nearest on the copy cost five points on the model.
        for row in waiting:
            ran = [entry.attempt for entry in candidate_results if entry.attempt]
            if any(attempt.way.is_within for attempt in ran) or (ran and runner.is_late()):
                break
            candidate_results[row] = _run_or_refused(candidate_results[row], runner)
    except deadline.OutOfTime:
        if not any(entry.attempt for entry in candidate_results):
            raise
    if not any(entry.attempt for entry in candidate_results):
        reasons = "; ".join(f"{entry.candidate.name}: {entry.why_not}" for entry in candidate_results)
        raise Inconclusive(f"No candidate of auto.candidates can be run on this model and these data: {reasons}")
    return candidate_results


def _are_too_dear(candidate_results: Sequence[CandidateResult], runner: CandidateRunner, /) -> bool:
    """Whether gentle candidates were run, and none that was run is worth its price: harsher ones cost no less.

    Of a warp in a model of 58 million parameters three gentle candidates were too dear, and the harsher ones would have taken an hour.
    """
    ran = [(entry.candidate, entry.attempt) for entry in candidate_results if entry.attempt]
    return any(candidate.is_gentle for candidate, _ in ran) and not any(runner.is_worth(attempt) for _, attempt in ran)


def _run_or_refused(candidate_result: CandidateResult, runner: CandidateRunner, /) -> CandidateResult:
    """The candidate with its run, or why it cannot be run: nothing can be searched, for one, or the training diverges."""
    if candidate_result.why_not:
        return candidate_result
    try:
        return runner.run(candidate_result)
    except (Inconclusive, NonFiniteLoss) as error:
        return replace(candidate_result, why_not=str(error), trials=())


def is_better_as_it_was(
    original: Sequence[Finding], attempt: Attempt, /, *, patterns: Sequence[Suspicion[int]] = ()
) -> bool:
    """Whether the original is better than a cleaning of it: that costs too much, and the audit had found no backdoor to remove.

    ``original`` are the findings of the audit of the original. Where it was in doubt, a loss has to be over the budget beyond chance;
    where it suspected nothing, the value alone counts. Known ``patterns`` that acted plainly, and are gone, are a doubt as well.
    """
    if any(finding.is_error for finding in original):
        return False
    is_doubted = judging.is_suspected(original) or bool(patterns and attempt.way.witnesses)
    return bool(attempt.over_budget) or not (is_doubted or attempt.way.is_within)


def best(candidate_results: Sequence[CandidateResult], /) -> tuple[CandidateResult, Attempt]:
    """The run candidate whose weights are written.

    Where the one of the best rank is in doubt, or leaves a trigger, it is one that went back to the base with as few errors, within the budget and
    with no trigger left. A surgery moves weights nowhere but where it silences what it is shown, so fewer doubts about it say less: of a convolution
    it left 0.70 and one doubt.
    """
    ran = [(entry, entry.attempt) for entry in candidate_results if entry.attempt]
    winner = _, first = min(ran, key=lambda pair: pair[1].rank())
    if not (first.doubtful_specs or first.triggers_left):
        return winner
    undone = [pair for pair in ran if pair[1].is_undone and pair[1].errors == first.errors]
    return min(undone or [winner], key=lambda pair: pair[1].rank())


def with_best_tested(candidate_results: Sequence[CandidateResult], runner: CandidateRunner, /) -> list[CandidateResult]:
    """The same candidates, after :func:`choose`, of which the one whose weights are written has had its refinetune test."""
    results = list(candidate_results)
    for _ in candidate_results:  # each may turn out worse than the next one when it is tested
        winner, attempt = best(results)
        if attempt.is_tested or not (attempt.cleaning.is_changed and runner.is_worth(attempt)):
            break
        results = [replace(entry, attempt=runner.test(attempt)) if entry is winner else entry for entry in results]
    return results
