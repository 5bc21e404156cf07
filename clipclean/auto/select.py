"""The choice: which candidate to try next and which to run, as a pure function of the results so far.

Candidates are tried on the canaries in their order. Of those that pass, the one that leaves least is run on the model first,
whatever it costs within the budget: a backdoor that nobody can see in the model is removed as surely as the canaries are. The
cheapest that passes is not enough: the canaries are few, and the backdoor of the model may be harder to remove than they are.

Losses of accuracy are compared by intervals, never by values: on a hundred images the interval of a loss is twelve points wide. The
order of the candidates, from gentle to harsh, decides where chance explains a difference.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from clipclean import deadline
from clipclean.auto.candidates import Candidate
from clipclean.auto.refinetune import Refinetuned
from clipclean.auto.sequence import Cleaned
from clipclean.auto.trials import Budget, Trial
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
    sight: AuditResult
    refinetuned: Refinetuned | None
    findings: tuple[Finding, ...]
    is_costly: bool = False  # over the budget; see attempts.is_costly

    @property
    def point(self) -> Point:
        """Where it ended between the original and the cleaned weights."""
        return self.way.taken

    @property
    def is_open(self) -> bool:
        """Whether another candidate may do better: there is an error, or a doubt about a trigger or the budget."""
        doubted = any(f.level == "error" or (f.level == "warning" and f.trigger) for f in self.findings)
        return self.is_costly or doubted

    def rank(self) -> tuple[int, bool, float, float]:
        """A sort key, smaller is better: errors, whether a doubt remains, the excess of the worst trigger, accuracy lost."""
        errors = sum(f.level == "error" for f in self.findings)
        return errors, self.is_open, max(self.point.excess, 0.0), self.point.accuracy_lost


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


@dataclass(frozen=True)
class NextStep:
    """The next step: ``try`` the next candidate on the canaries, ``run`` one on the model, or ``stop``."""

    do: Literal["try", "run", "stop"]
    place: int = -1  # of the one to run


def choose(
    candidates: Sequence[Candidate],
    /,
    *,
    budget: Budget,
    is_late: Callable[[], bool],
    tried: Callable[[Candidate], Considered],
    run: Callable[[Considered], Considered],
) -> list[Considered]:
    """Try candidates and run them on the model, until one leaves no error and no doubt, or none is left.

    Args:
        candidates: in the order of trying.
        budget: of the run.
        is_late: whether the time limit for starting a candidate has passed.
        tried: a candidate -> the same with its trials on the canaries.
        run: one that was tried -> the same with its attempt on the model.

    Raises:
        Inconclusive: no candidate can be run at all.
        OutOfTime: the deadline came before one was run.
    """
    done: list[Considered] = []
    while (step := next_step(done, untried=len(candidates) - len(done), budget=budget, late=is_late())).do != "stop":
        try:
            if step.do == "try":
                done.append(tried(candidates[len(done)]))
                continue
            done[step.place] = run(done[step.place])
        except deadline.OutOfTime:
            if not any(each.attempt for each in done):
                raise
            break
        except (Inconclusive, NonFiniteLoss) as error:  # nothing can be searched, for one, or the training diverges
            done[step.place] = replace(done[step.place], why_not=str(error), trials=())
    if not any(each.attempt for each in done):
        reasons = "; ".join(f"{each.candidate.name}: {each.why_not}" for each in done)
        raise Inconclusive(f"No candidate of auto.ladder can be run on this model and these data: {reasons}")
    return [*done, *needless(candidates[len(done) :], done, budget)]


def next_step(done: Sequence[Considered], /, *, untried: int, budget: Budget, late: bool) -> NextStep:
    """The next step, given the candidates that were tried and run so far.

    Args:
        done: candidates in the order of trying, with their trials and runs.
        untried: how many are left to try.
        budget: of the run.
        late: whether the time limit for starting a candidate has passed; the first is tried, and one is run, in any case.
    """
    ran = [each.attempt for each in done if each.attempt]
    if ran and not all(attempt.is_open for attempt in ran):  # this one left no error and no doubt on the model
        return NextStep("stop")
    out_of_time = late and any(each.trials for each in done)
    # If a candidate removes essentially every canary at almost no cost, another could be better by chance only. Trying all is
    # expensive: of a run of 975 s, 213 s went into a candidate that no run of any model had chosen (docs/experiments.md, "Where the
    # time of auto goes").
    enough = any(is_enough(each, budget) for each in done if not each.attempt)
    if untried and not out_of_time and not enough:
        return NextStep("try")
    waiting = [place for place, each in enumerate(done) if not (each.why_not or each.attempt)]
    able = [place for place in waiting if not done[place].trials or budget.passes(done[place].trials[0])]
    if not waiting or (ran and (late or not able)):
        return NextStep("stop")
    if able:
        return NextStep("run", preferred(able, done))
    # If no candidate passes on the canaries, the nearest one is run all the same: its report shows how much is left.
    return NextStep("run", nearest(waiting, done, budget))


def best(done: Sequence[Considered], /) -> tuple[Considered, Attempt]:
    """The run candidate whose weights are written."""
    return min(((each, each.attempt) for each in done if each.attempt), key=lambda pair: pair[1].rank())


def preferred(able: Sequence[int], done: Sequence[Considered], /) -> int:
    """The place to run of those in ``able``: what leaves least; of equal ones what costs less beyond chance, else the first."""
    least = min(leftover(done[place]) for place in able)
    first, *others = (place for place in able if leftover(done[place]) == least)
    for place in others:
        if done[place].trials and done[place].trials[0].costs_less(done[first].trials[0]):
            first = place
    return first


def nearest(waiting: Sequence[int], done: Sequence[Considered], budget: Budget, /) -> int:
    """The place to run of those in ``waiting``, none of which passes: the first by shortfall that leaves no more, beyond chance."""
    trials = {place: done[place].trials[0] for place in waiting}
    short = {place: shortfall(trial, budget) for place, trial in trials.items()}
    near = [place for place in waiting if short[place] == min(short.values())]
    most = min(trials[place].most for place in near)
    return next(place for place in near if trials[place].most_at_least <= most)


def is_enough(considered: Considered, budget: Budget, /) -> bool:
    """Whether a candidate essentially removes every canary, also after the finetuning, and costs almost no accuracy."""
    if not (considered.trials and budget.passes(considered.trials[0])):
        return False
    first = considered.trials[0]
    # The loss by value: the candidates that follow are harsher, so even where chance made it small they would hardly cost less.
    return first.kept == 1 and first.most <= budget.allowed(0.0) and first.accuracy_lost < budget.gain


def leftover(considered: Considered, /) -> int:
    """The highest excess of a canary after a candidate, in whole points: ties go by the order of candidates."""
    # In whole points: of 400 images one is a quarter of a point, so finer differences are chance, and the order decides.
    return round(100 * considered.trials[0].most) if considered.trials else 0


def shortfall(trial: Trial, budget: Budget, /) -> tuple[bool, int, int]:
    """A sort key, the distance from passing: surely over the budget, canaries left, canaries that return."""
    # Accuracy first: a candidate over the budget beyond chance fails for certain, while a canary that is left may be harder than the
    # real backdoor. What returns comes after what is left: only a candidate that leaves nothing is refinetuned.
    left = sum(outcome.left > budget.excess for outcome in trial.counted)
    returned = len(trial.counted) - trial.removed(budget.excess) - left
    return budget.exceeds(trial.interval), left, returned


def needless(untried: Sequence[Candidate], done: Sequence[Considered], budget: Budget, /) -> list[Considered]:
    """Candidates that were not tried because one was enough and left no error and no doubt on the model."""
    closed = [each for each in done if not (each.attempt and each.attempt.is_open)]
    enough = next((each for each in closed if is_enough(each, budget)), None)
    if enough is None or all(each.attempt.is_open for each in done if each.attempt):
        return []
    why = f"{enough.candidate.name} removes nearly all of the canaries at almost no cost"
    return [Considered(candidate, why) for candidate in untried]


def waiting(done: Sequence[Considered], budget: Budget, /) -> int:
    """How many candidates pass on the canaries and were not run, although the one that was run left an error or a doubt."""
    if not all(each.attempt.is_open for each in done if each.attempt):
        return 0
    return sum(bool(e.trials and not (e.why_not or e.attempt) and budget.passes(e.trials[0])) for e in done)
