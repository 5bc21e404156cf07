"""A cleaning in words: the candidates of ``auto`` and their frontier, and the walk back towards the original."""

import math

from clipclean.findings import trigger_words
from clipclean.report.charts import Line, Mark, Plot
from clipclean.report.wording import NOTHING, count, duration, ends, in_points, percent
from clipclean.schema.report import AutoRecord, BudgetRecord, CandidateRecord, CleaningRecord, TrialRecord
from clipclean.untrusted import plural

MARKS = 6  # shapes and colours of candidates; a seventh candidate reuses the first
MARGIN = 4.0  # per cent of the drawing that stays free at its edges


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


def canary_rows(auto: AutoRecord, share: float, /) -> list[tuple[str, ...]]:
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


def candidate_rows(auto: AutoRecord, share: float, /) -> list[tuple[str, ...]]:
    """A row per candidate, in the order of trying, the chosen one at ``share`` of the way.

    Its name; outcome; test backdoors removed, of those that were planted; most that is left of one; accuracy lost on the copy; on the
    model itself the most that is left of a trigger, and accuracy lost; time.
    """
    made: list[tuple[str, ...]] = []
    for entry in auto.ladder:
        trial, ran = _taken(entry, share), entry.run
        removed = left = cost = NOTHING
        if trial:
            counted = [outcome.is_removed(auto.budget.excess) for outcome in trial.outcomes if outcome.took]
            removed, left = f"{sum(counted)} of {len(counted)}", percent(_worst(trial))
            cost = f"{in_points(trial.accuracy_lost)} ({ends(trial.interval)})"
        on_model = f"{percent(ran.excess)}, {in_points(ran.accuracy_lost)}" if ran else NOTHING
        took = duration((trial.seconds if trial else 0.0) + (ran.seconds if ran else 0.0))
        name = f"{entry.rung}{' (chosen)' if entry.chosen else ''}"
        seconds = NOTHING if entry.why_not else took
        made.append((name, _outcome(entry, trial, auto.budget), removed, left, cost, on_model, seconds))
    return made


def frontier(auto: AutoRecord, share: float, /) -> list[Plot]:
    """Attack success that each candidate leaves, against the accuracy that it costs; none if none was tried on test backdoors.

    The chosen candidate's ring lies at ``share``.
    """
    tried = [entry for entry in auto.ladder if entry.trials]
    if not tried:
        return []
    budget, limit = auto.budget.accuracy, auto.budget.excess
    costs = [trial.accuracy_lost for entry in tried for trial in entry.trials]
    low, high = min(0.0, *costs), max(2 * budget, *costs, 0.01)

    def across(cost: float) -> float:
        return MARGIN + (100 - 2 * MARGIN) * (cost - low) / (high - low)

    def down(excess: float) -> float:
        return MARGIN + (100 - 2 * MARGIN) * (1 - math.sqrt(min(max(excess, 0.0), 1.0)))  # small ones need room

    lines, marks = [], []
    for number, entry in enumerate(tried):
        look = f"candidate{number % MARKS}"
        shown = [
            Mark(
                look,
                f"{across(trial.accuracy_lost):.2f}",
                f"{down(_worst(trial)):.2f}",
                trial is _taken(entry, share),
                f"{entry.rung} at {percent(trial.kept)} of the way: {percent(_worst(trial))} left, "
                f"{in_points(trial.accuracy_lost)} lost",
            )
            for trial in sorted(entry.trials, key=lambda trial: trial.kept)
        ]
        lines.append(Line(look, entry.rung, " ".join(f"{mark.x},{mark.y}" for mark in shown)))
        marks += shown
    left, top = across(low), down(limit)
    told = "; ".join(
        f"{entry.rung} leaves {percent(_worst(trial))} for {in_points(trial.accuracy_lost)}"
        for entry in tried
        if (trial := _taken(entry, share))
    )
    drawn = Plot(
        "What a candidate leaves of the test backdoors (upwards) against the clean accuracy that it costs (to the right). A line "
        "goes from near the original to the cleaned weights; a ring is the point that was taken. The shaded corner is what the "
        "budgets allow.",
        tuple(lines),
        tuple((percent(excess), f"{down(excess):.2f}") for excess in (1.0, 0.5, 0.25, limit, 0.0)),
        tuple((f"{100 * cost:.1f} points", f"{across(cost):.2f}") for cost in (low, budget, high)),
        f"Attack success left of the test backdoors, and accuracy lost, per candidate: {told}.",
        marks=tuple(marks),
        allowed=(f"{left:.2f}", f"{top:.2f}", f"{across(budget) - left:.2f}", f"{100 - MARGIN - top:.2f}"),
    )
    return [drawn]


def _taken(entry: CandidateRecord, share: float) -> TrialRecord | None:
    """The trial to show of a candidate: of the chosen one, the trial at the share that was written; else the first."""
    trials = entry.trials
    at_share = (trial for trial in trials if entry.chosen and trial.kept == share)
    return next(at_share, trials[0] if trials else None)


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


def way_lines(cleaning: CleaningRecord | None, /) -> list[str]:
    """Where the walk ended, and what showed that the triggers stay gone."""
    if cleaning is None or not cleaning.way:
        return []
    if cleaning.share == 0:
        return ["The weights are those of the original: no share of the way to the cleaned ones was worth its price."]
    if cleaning.share == 1:
        return ["These are the cleaned weights, all the way." if len(cleaning.way) > 1 else "No walk back was needed."]
    taken = next((point for point in cleaning.way if point.share == cleaning.share), cleaning.way[0])
    told = (
        f"The weights lie at {percent(cleaning.share)} of the way from the original to the cleaned ones. There they cost "
        f"{in_points(taken.accuracy_lost)} of accuracy instead of {in_points(cleaning.way[0].accuracy_lost)}."
    )
    if cleaning.witnesses:
        shown = f"{plural(cleaning.witnesses, 'trigger')} that the cleaning removed stayed gone there."
    else:
        shown = "No trigger was known that could show whether a backdoor comes back there."
    return [f"{told} {shown} Nearer to the original a backdoor returns more readily."]


def way_rows(cleaning: CleaningRecord | None, /) -> list[tuple[str, ...]]:
    """A row per point: share, highest excess, its trigger, accuracy lost with interval; none where nobody walked."""
    if cleaning is None or (len(cleaning.way) < 2 and cleaning.share):
        return []
    made: list[tuple[str, ...]] = []
    for point in cleaning.way:
        worst = max(point.triggers, key=lambda each: each.excess, default=None)
        lost = in_points(point.accuracy_lost) + (f" ({ends(point.interval)})" if point.interval else "")
        share = percent(point.share) + (" (taken)" if point.share == cleaning.share else "")
        made.append((share, percent(point.excess), trigger_words(worst.trigger) if worst else "", lost))
    return made
