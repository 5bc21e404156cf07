"""The choice: candidates from gentle to harsh, until one leaves no error and no doubt on the model.

Where a named or found trigger acts on the model, each is run at once. Else each is tried on a copy with canaries, at the point where its
walk back ends; where the audit suspects nothing, those that unlearn are left out. If a candidate leaves no canary there, after a benign
finetuning either, and costs no more than the budget, it is run on the model. If that leaves an error, or a doubt about a trigger where the
audit was sure of one, the next one follows, until none is left or the time is over. If no candidate passes on the copy, they are run on the
model until one is within the budget there: first those within it on the copy, and of these the one that leaves the fewest canaries. Written
is the run with the fewest errors; of these the one with the least loss, to which a trigger in doubt adds the whole budget.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from clipclean import deadline
from clipclean.auto.candidates import Candidate
from clipclean.auto.sequence import Cleaned
from clipclean.auto.trials import Refinetuned, Trial
from clipclean.config.thresholds import AuditLimits
from clipclean.errors import Inconclusive
from clipclean.findings import Finding
from clipclean.jobs.inputs import Suspicion
from clipclean.jobs.searching import AuditResult
from clipclean.methods.walk_back import Point, Way
from clipclean.train import NonFiniteLoss


@dataclass(frozen=True)
class Attempt:
    """One candidate on the model itself, with the results of the audit and of the refinetune test."""

    candidate: Candidate
    cleaned: Cleaned
    way: Way  # back to the original, as far as was walked
    suspicions: tuple[Suspicion, ...]
    seen: AuditResult
    refinetuned: Refinetuned | None = None
    returned: tuple[Finding, ...] = ()  # what a search finds after the refinetune test, or that time was over
    findings: tuple[Finding, ...] = ()  # all of them, by the limits of the run

    @property
    def point(self) -> Point:
        """Where it ended between the original and the cleaned weights."""
        return self.way.taken

    def is_open(self, *, is_sure: bool) -> bool:
        """Whether another candidate may do better: there is an error, or a doubt about a trigger where the audit was sure of one."""
        # Harsher ones cost no less accuracy. And where images are too few to tell (CC020), they are too few for each.
        told = (found for found in self.findings if found.rule != "CC020")
        return any(found.level == "error" or (is_sure and found.level == "warning" and found.trigger) for found in told)

    def rank(self) -> tuple[int, float]:
        """A sort key, smaller is better: errors; then triggers in doubt and accuracy lost, a doubt as bad as a loss of the whole budget."""
        levels = [(found.level, bool(found.trigger)) for found in self.findings]
        errors = sum(level == "error" for level, _ in levels)
        return errors, levels.count(("warning", True)) * self.way.limits.max_accuracy_loss + self.point.accuracy_lost


@dataclass(frozen=True)
class Considered:
    """One candidate, with its trials and its run."""

    candidate: Candidate
    why_not: str = ""
    trials: tuple[Trial, ...] = ()  # at the share that was taken first, then at the others
    attempt: Attempt | None = None
    seconds: float = 0.0  # of the trials in this process; candidates that begin alike share the beginning

    def at(self, share: float, /) -> Trial | None:
        """The trial at a share of the way, else the first; None without any."""
        return next((trial for trial in self.trials if trial.kept == share), self.trials[0] if self.trials else None)

    def shortfall(self, limits: AuditLimits, /) -> tuple[bool, int, float]:
        """A sort key, the distance from passing on the copy: whether it costs too much, canaries that are left or return, and the loss."""
        if not self.trials:
            return False, 0, 0.0
        first = self.trials[0]
        # One within the budget may remove what canaries survive, and is written even where the audit suspects nothing.
        is_over = first.accuracy_lost > limits.max_accuracy_loss
        return is_over, len(first.counted) - first.removed(limits), first.accuracy_lost


def choose(
    candidates: Sequence[Candidate],
    /,
    *,
    limits: AuditLimits,
    is_sure: bool,
    is_late: Callable[[], bool],
    tried: Callable[[Candidate], Considered],
    run: Callable[[Considered], Considered],
) -> list[Considered]:
    """Try candidates and run those that pass, until one leaves no error and no doubt, none is left, or the time is over.

    Args:
        candidates: in the order of trying.
        limits: of the run.
        is_sure: whether the audit of the original is sure of a trigger; of a clean model in doubt each candidate leaves a natural one.
        is_late: whether the time limit for starting a candidate has passed; the first is tried, and one is run, in any case.
        tried: a candidate -> the same with its trials on the canaries.
        run: one that was tried -> the same with its attempt on the model.

    Raises:
        Inconclusive: no candidate can be run at all.
        OutOfTime: the deadline came before one was run.
    """
    done: list[Considered] = []
    try:
        for place, candidate in enumerate(candidates):
            if done and is_late():
                break
            done.append(tried(candidate))
            # Without a canary the model itself shows what a candidate leaves.
            if not done[-1].trials or done[-1].trials[0].passes(limits):
                done[-1] = _ran(done[-1], run)
            if (attempt := done[-1].attempt) and not attempt.is_open(is_sure=is_sure):
                why = f"{candidate.name} leaves nothing open"
                return [*done, *(Considered(each, why) for each in candidates[place + 1 :])]
        waiting = [place for place, each in enumerate(done) if not each.why_not and not each.attempt]
        waiting.sort(key=lambda place: done[place].shortfall(limits))
        # The report of one shows how much is left. One over the budget is not written where nothing is suspected: a warp stayed that the
        # gentlest candidate takes from 0.70 to 0.07 for half a point, since the nearest on the copy cost five points on the model.
        for place in waiting:
            ran = [each.attempt for each in done if each.attempt]
            if any(attempt.way.is_within for attempt in ran) or (ran and is_late()):
                break
            done[place] = _ran(done[place], run)
    except deadline.OutOfTime:
        if not any(each.attempt for each in done):
            raise
    if not any(each.attempt for each in done):
        reasons = "; ".join(f"{each.candidate.name}: {each.why_not}" for each in done)
        raise Inconclusive(f"No candidate of auto.ladder can be run on this model and these data: {reasons}")
    return done


def _ran(considered: Considered, run: Callable[[Considered], Considered], /) -> Considered:
    """The candidate with its run, or why it cannot be run: nothing can be searched, for one, or the training diverges."""
    if considered.why_not:
        return considered
    try:
        return run(considered)
    except (Inconclusive, NonFiniteLoss) as error:
        return replace(considered, why_not=str(error), trials=())


def best(done: Sequence[Considered], /) -> tuple[Considered, Attempt]:
    """The run candidate whose weights are written."""
    return min(((each, each.attempt) for each in done if each.attempt), key=lambda pair: pair[1].rank())
