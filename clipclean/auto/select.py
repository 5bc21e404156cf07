"""What ``auto`` does next, as a function of what was tried and what was run: values in, a decision out.

Candidates are tried on the test backdoors in their order. Of those that pass, the one that leaves least is run on the model
first, whatever it costs within the budget: a backdoor that nobody can see in the model is removed as surely as those. Nothing
here touches a model or a file.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from clipclean.attack.canaries import Trial
from clipclean.auto.candidates import Rung
from clipclean.auto.interpolate import Point
from clipclean.auto.refinetune import Rebound
from clipclean.auto.sequence import Cleaned
from clipclean.findings import Finding
from clipclean.jobs.audit import AuditResult
from clipclean.jobs.inputs import Suspicion


@dataclass(frozen=True)
class Budget:
    """What a cleaning may leave, and what it may cost.

    Attributes:
        excess: attack success beyond the base rate that counts as removed.
        accuracy: clean accuracy that may be lost, as a share.
        gain: a loss of accuracy below which another candidate has too little to win.
    """

    excess: float
    accuracy: float
    gain: float

    def affords(self, accuracy_lost: float, /) -> bool:
        """Whether a loss of accuracy is within the budget, by value."""
        return accuracy_lost <= self.accuracy

    def removes(self, trial: Trial, /) -> bool:
        """Whether no test backdoor is left, whatever that costs."""
        return trial.passes(max_excess=self.excess, max_accuracy_loss=math.inf)

    def passes(self, trial: Trial, /) -> bool:
        """Whether no test backdoor is left, within the budget."""
        return trial.passes(max_excess=self.excess, max_accuracy_loss=self.accuracy)

    def allowed(self, excess: float, /) -> float:
        """What may be left where ``excess`` is left anyway: hardly more, which is a fifth of what counts as removed."""
        return max(excess, self.excess / 5)


@dataclass(frozen=True)
class Attempt:
    """One rung on the model itself, and what the audit and the rebound test said of it."""

    rung: Rung
    cleaned: Cleaned
    points: tuple[Point, ...]
    point: Point  # the one that was taken
    suspicions: tuple[Suspicion, ...]
    sight: AuditResult
    rebound: Rebound | None
    findings: tuple[Finding, ...]

    @property
    def is_open(self) -> bool:
        """Whether a stronger rung may do better: an error stands, or a doubt about a trigger."""
        return any(f.level == "error" or (f.level == "warning" and f.trigger) for f in self.findings)

    def rank(self) -> tuple[int, bool, float, float]:
        """The smaller the better: errors, whether a doubt stays, what the worst trigger still does, accuracy lost."""
        errors = sum(f.level == "error" for f in self.findings)
        return errors, self.is_open, max(self.point.excess, 0.0), self.point.accuracy_lost


@dataclass
class Entry:
    """One rung of the ladder and what became of it."""

    rung: Rung
    why_not: str = ""
    trials: tuple[Trial, ...] = ()  # at the share that was taken first, then at the others
    attempt: Attempt | None = field(default=None)
    seconds: float = 0.0  # that the trials took in this process; rungs that begin alike share the beginning

    def at(self, share: float, /) -> Trial | None:
        """The trial at a share of the way, else the first; None without any."""
        return next((trial for trial in self.trials if trial.kept == share), self.trials[0] if self.trials else None)


@dataclass(frozen=True)
class Step:
    """What is next: ``try`` the next candidate on the test backdoors, ``run`` one on the model, or ``stop``."""

    do: Literal["try", "run", "stop"]
    entry: Entry | None = None  # the one to run


def next_step(entries: Sequence[Entry], /, *, untried: int, budget: Budget, late: bool) -> Step:
    """What to do, given the candidates that were tried so far and those that were run.

    Args:
        entries: candidates in the order of trying, with their trials and runs.
        untried: how many are left to try.
        budget: of the run.
        late: whether the time for beginning something is over; the first is tried, and one is run, in any case.
    """
    ran = [entry.attempt for entry in entries if entry.attempt]
    if ran and not all(attempt.is_open for attempt in ran):  # one left nothing open on the model
        return Step("stop")
    out_of_time = late and any(entry.trials for entry in entries)
    # Once one removes all but chance at hardly any cost, no other could be better by more than chance.
    enough = any(is_enough(entry, budget) for entry in entries if not entry.attempt)
    if untried and not out_of_time and not enough:
        return Step("try")
    waiting = [entry for entry in entries if not (entry.why_not or entry.attempt)]
    able = [entry for entry in waiting if not entry.trials or budget.passes(entry.trials[0])]
    if not waiting or (ran and (late or not able)):
        return Step("stop")
    # Where none passes on the test backdoors, the nearest is run all the same: its report shows what is left.
    nearest = min(able, key=leftover) if able else min(waiting, key=lambda entry: shortfall(entry.trials[0], budget))
    return Step("run", nearest)


def is_enough(entry: Entry, budget: Budget, /) -> bool:
    """Whether a candidate leaves hardly anything of any test backdoor, now and after the finetuning, and takes no accuracy."""
    if not (entry.trials and budget.passes(entry.trials[0])):
        return False
    first = entry.trials[0]
    return first.kept == 1 and first.most <= budget.allowed(0.0) and first.accuracy_lost < budget.gain


def leftover(entry: Entry, /) -> int:
    """What a candidate leaves of the test backdoor that acts most, in points: equal ones go by their order."""
    return round(100 * entry.trials[0].most) if entry.trials else 0


def shortfall(trial: Trial, budget: Budget, /) -> tuple[bool, int, float, float]:
    """How far a trial is from passing: over the budget, backdoors left, what the worst of them does, accuracy lost."""
    left = len(trial.counted) - trial.removed(budget.excess)
    return not budget.affords(trial.accuracy_lost), left, trial.worst, trial.accuracy_lost


def needless(untried: Sequence[Rung], entries: Sequence[Entry], budget: Budget, /) -> list[Entry]:
    """What was not tried because one was enough, and the one that was run left nothing open on the model."""
    closed = [entry for entry in entries if not (entry.attempt and entry.attempt.is_open)]
    enough = next((entry for entry in closed if is_enough(entry, budget)), None)
    if enough is None or all(entry.attempt.is_open for entry in entries if entry.attempt):
        return []
    why = f"{enough.rung.name} leaves hardly anything of the canaries, at hardly any cost"
    return [Entry(rung, why) for rung in untried]
