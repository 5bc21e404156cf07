"""The section on ``auto`` in every form: test backdoors, candidates, frontier, refinetune test."""

import math
from typing import NamedTuple

from clipclean.report.wording import NOTHING, count, duration, in_points, percent
from clipclean.schema.report import AutoRecord, BudgetRecord, CandidateRecord, TrialRecord

MARKS = 6  # shapes and colours of candidates; a seventh candidate reuses the first
MARGIN = 4.0  # per cent of the drawing that stays free at its edges


class CandidateRow(NamedTuple):
    """One candidate in words."""

    name: str
    outcome: str
    canaries: str  # removed, of those that were planted successfully
    left: str  # largest excess attack success of any test backdoor
    cost: str  # clean accuracy lost on the copy
    on_model: str  # largest excess attack success of any trigger, and accuracy lost, on the model itself
    seconds: str
    chosen: bool


class Mark(NamedTuple):
    """One point of the frontier: per cent from the left and from the top; ``is_taken`` marks the trial shown in the table."""

    x: str
    y: str
    is_taken: bool
    words: str


class Path(NamedTuple):
    """The points of one candidate, from the share nearest to the original to the cleaned model."""

    number: int
    candidate: str
    marks: tuple[Mark, ...]
    points: str


class Frontier(NamedTuple):
    """Attack success that each candidate leaves, against the accuracy it costs; the rectangle shows the budgets."""

    paths: tuple[Path, ...]
    width: str  # of the rectangle
    top: str
    height: str
    left: str
    costs: tuple[tuple[str, str], ...]  # ticks: label, per cent from the left
    excesses: tuple[tuple[str, str], ...]  # label, per cent from the top
    summary: str


def candidate_lines(auto: AutoRecord, /) -> list[str]:
    """The choice and the reasons for it, in sentences."""
    seconds, tried = auto.seconds, sum(not entry.why_not for entry in auto.ladder)
    lines = [
        f"Chosen: {auto.chosen}, of {count(tried)} tried. It all took {duration(seconds.total)}; the cleaning "
        f"itself {duration(seconds.chosen)}."
    ]
    if not auto.changed:
        lines.append("Nothing was changed: the weights are as they were.")
    if auto.rebound:
        worst = max((p.after for p in auto.rebound.probes if p.known and p.after is not None), default=None)
        known = (
            f": the trigger that acts most moves {percent(worst)} of images beyond chance" if worst is not None else ""
        )
        lines.append(f"After {count(auto.rebound.steps)} steps of benign finetuning of a copy{known}.")
    return lines


def canaries(auto: AutoRecord, share: float, /) -> list[tuple[str, ...]]:
    """A row per test backdoor: trigger, target, planted, left, accuracy under it; the last two after the chosen candidate, at ``share``."""
    chosen = next((entry for entry in auto.ladder if entry.chosen), None)
    trial = _taken(chosen, share) if chosen else None
    left = {outcome.trigger: outcome for outcome in trial.outcomes} if trial else {}
    rows: list[tuple[str, ...]] = []
    for planted in auto.canaries:
        took = percent(planted.planted) + ("" if planted.took else ", not planted")
        rest, accuracy = NOTHING, NOTHING
        if outcome := left.get(planted.trigger):
            rest, accuracy = percent(outcome.left), percent(outcome.accuracy)
            if outcome.returned is not None:
                rest += f", {percent(outcome.returned)} after benign finetuning"
        rows.append((planted.trigger, planted.target, took, rest, accuracy))
    return rows


def rows(auto: AutoRecord, share: float, /) -> list[CandidateRow]:
    """A row per candidate, in the order of trying; the chosen one at ``share`` of the way."""
    return [_row(entry, auto, share) for entry in auto.ladder]


def frontier(auto: AutoRecord, share: float, /) -> Frontier | None:
    """The drawing, with the chosen candidate's ring at ``share``; None if no candidate was tried on test backdoors."""
    tried = [entry for entry in auto.ladder if entry.trials]
    if not tried:
        return None
    budget, limit = auto.budget.accuracy, auto.budget.excess
    costs = [trial.accuracy_lost for entry in tried for trial in entry.trials]
    low, high = min(0.0, *costs), max(2 * budget, *costs, 0.01)

    def across(cost: float) -> float:
        return MARGIN + (100 - 2 * MARGIN) * (cost - low) / (high - low)

    def down(excess: float) -> float:
        return MARGIN + (100 - 2 * MARGIN) * (1 - math.sqrt(min(max(excess, 0.0), 1.0)))  # small ones need room

    def path(number: int, entry: CandidateRecord) -> Path:
        marks = tuple(
            Mark(
                f"{across(trial.accuracy_lost):.2f}",
                f"{down(_worst(trial)):.2f}",
                trial is _taken(entry, share),
                f"{entry.rung} at {percent(trial.kept)} of the way: {percent(_worst(trial))} left, "
                f"{in_points(trial.accuracy_lost)} lost",
            )
            for trial in sorted(entry.trials, key=lambda trial: trial.kept)
        )
        return Path(number % MARKS, entry.rung, marks, " ".join(f"{mark.x},{mark.y}" for mark in marks))

    left, top = across(low), down(limit)
    shown = ((entry, trial) for entry in tried if (trial := _taken(entry, share)))
    told = "; ".join(
        f"{of.rung} leaves {percent(_worst(trial))} for {in_points(trial.accuracy_lost)}" for of, trial in shown
    )
    return Frontier(
        tuple(path(*each) for each in enumerate(tried)),
        f"{across(budget) - left:.2f}",
        f"{top:.2f}",
        f"{100 - MARGIN - top:.2f}",
        f"{left:.2f}",
        tuple((f"{100 * cost:.1f}", f"{across(cost):.2f}") for cost in (low, budget, high)),
        tuple((percent(excess), f"{down(excess):.2f}") for excess in (1.0, 0.5, 0.25, limit, 0.0)),
        f"Attack success left of the test backdoors, and accuracy lost, per candidate: {told}.",
    )


def _taken(entry: CandidateRecord, share: float) -> TrialRecord | None:
    """The trial to show of a candidate: of the chosen one, the trial at the share that was written; else the first."""
    trials = entry.trials
    at_share = (trial for trial in trials if entry.chosen and trial.kept == share)
    return next(at_share, trials[0] if trials else None)


def _row(entry: CandidateRecord, auto: AutoRecord, share: float) -> CandidateRow:
    trial, ran_, budget = _taken(entry, share), entry.run, auto.budget
    removed = left = cost = NOTHING
    if trial:
        counted = [outcome.is_removed(budget.excess) for outcome in trial.outcomes if outcome.took]
        removed, left = f"{sum(counted)} of {len(counted)}", percent(_worst(trial))
        low, high = (f"{100 * end:.1f}".replace("-", "−") for end in trial.interval)
        cost = f"{in_points(trial.accuracy_lost)} ({low} to {high})"
    on_model = f"{percent(ran_.excess)}, {in_points(ran_.accuracy_lost)}" if ran_ else NOTHING
    took = duration((trial.seconds if trial else 0.0) + (ran_.seconds if ran_ else 0.0))
    seconds = NOTHING if entry.why_not else took
    return CandidateRow(
        entry.rung, _outcome(entry, trial, budget), removed, left, cost, on_model, seconds, entry.chosen
    )


def _outcome(entry: CandidateRecord, trial: TrialRecord | None, budget: BudgetRecord) -> str:
    """The result on the test backdoors, if there were any, and of the run on the model, if there was one."""
    if entry.why_not:
        return f"not tried: {entry.why_not}"
    words = "not run"
    if run := entry.run:
        words = f"run: fails ({', '.join(run.errors)})" if run.errors else "run: passes"
    if not trial:
        return words
    passes = entry.passes  # the first trial: whether it removes every planted test backdoor within the budget
    if trial is not entry.trials[0]:
        removed = [outcome.is_removed(budget.excess) for outcome in trial.outcomes if outcome.took]
        passes = bool(removed) and all(removed) and trial.accuracy_lost <= budget.accuracy
    return f"{'passes' if passes else 'fails'} on the test backdoors, {words}"


def _worst(trial: TrialRecord) -> float:
    return max((outcome.left for outcome in trial.outcomes if outcome.took), default=0.0)
