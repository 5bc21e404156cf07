"""A cleaning in words: the candidates of ``auto`` and their frontier, and the walk back towards the original."""

import math

from clipclean.findings import trigger_words
from clipclean.report.charts import Line, Mark, Plot
from clipclean.report.wording import NOTHING, count, duration, in_points, interval_words, percent
from clipclean.schema.report import AutoRecord, BudgetRecord, CandidateRecord, TrialRecord, WalkBackRecord
from clipclean.untrusted import plural

CANDIDATE_LOOKS = 6  # shapes and colours of candidates; a seventh candidate reuses the first
FRONTIER_MARGIN = 4.0  # per cent of the drawing that stays free at its edges


def attempt_count(auto: AutoRecord, /) -> int:
    """How many candidates were run."""
    return sum(not entry.why_not for entry in auto.candidates)


def candidate_lines(auto: AutoRecord, /) -> list[str]:
    """The choice and the reasons for it, in sentences."""
    seconds, attempts = auto.seconds, attempt_count(auto)
    took = f"It all took {duration(seconds.total)}"
    lines = [
        f"Chosen: {auto.chosen}, of {count(attempts)} tried. {took}; the cleaning itself {duration(seconds.chosen)}."
        if attempts
        else f"No candidate was tried. {took}."
    ]
    if not auto.changed:
        lines.append("Nothing was changed: the weights are as they were.")
    if auto.rebound:
        worst = max((p.after for p in auto.rebound.probes if p.suspected and p.after is not None), default=None)
        rebound_words = (
            f": the trigger that acts most moves {percent(worst)} of images beyond chance" if worst is not None else ""
        )
        lines.append(f"After {count(auto.rebound.steps)} steps of benign finetuning of a copy{rebound_words}.")
    return lines


def test_backdoor_rows(auto: AutoRecord, share: float, /) -> list[tuple[str, ...]]:
    """A row per test backdoor: trigger, target, planted, left, accuracy under it; the last two after the chosen candidate, at ``share``."""
    candidate = next((entry for entry in auto.candidates if entry.chosen), None)
    trial = _trial_at(candidate, share) if candidate else None
    outcomes = {outcome.trigger: outcome for outcome in trial.outcomes} if trial else {}
    rows: list[tuple[str, ...]] = []
    for backdoor in auto.test_backdoors:
        planted_words = percent(backdoor.planted) + ("" if backdoor.took else ", not planted")
        left_words, accuracy = NOTHING, NOTHING
        if outcome := outcomes.get(backdoor.trigger):
            left_words, accuracy = percent(outcome.left), percent(outcome.accuracy)
            if outcome.returned is not None:
                left_words += f", {percent(outcome.returned)} after benign finetuning"
        rows.append((backdoor.trigger, backdoor.target, planted_words, left_words, accuracy))
    return rows


def candidate_rows(auto: AutoRecord, share: float, /) -> list[tuple[str, ...]]:
    """A row per candidate, in the order of trying, the chosen one at ``share`` of the way.

    Its name; outcome; test backdoors removed, of those that were planted; most that is left of one; accuracy lost on the copy; on the
    model itself the most that is left of a trigger, and accuracy lost; time.
    """
    rows: list[tuple[str, ...]] = []
    for entry in auto.candidates:
        trial, run = _trial_at(entry, share), entry.run
        removed_words = left_words = cost = NOTHING
        if trial:
            removals = [outcome.is_removed(auto.budget.excess) for outcome in trial.outcomes if outcome.took]
            removed_words, left_words = f"{sum(removals)} of {len(removals)}", percent(_worst(trial))
            cost = f"{in_points(trial.accuracy_lost)} ({interval_words(trial.interval)})"
        on_model = f"{percent(run.excess)}, {in_points(run.accuracy_lost)}" if run else NOTHING
        time = duration((trial.seconds if trial else 0.0) + (run.seconds if run else 0.0))
        name = f"{entry.candidate}{' (chosen)' if entry.chosen else ''}"
        seconds = NOTHING if entry.why_not else time
        rows.append((name, _outcome(entry, trial, auto.budget), removed_words, left_words, cost, on_model, seconds))
    return rows


def frontier(auto: AutoRecord, share: float, /) -> list[Plot]:
    """Attack success that each candidate leaves, against the accuracy that it costs; none if none was tried on test backdoors.

    The chosen candidate's ring lies at ``share``.
    """
    candidates = [entry for entry in auto.candidates if entry.trials]
    if not candidates:
        return []
    budget, limit = auto.budget.accuracy, auto.budget.excess
    costs = [trial.accuracy_lost for entry in candidates for trial in entry.trials]
    low, high = min(0.0, *costs), max(2 * budget, *costs, 0.01)

    def across(cost: float) -> float:
        return FRONTIER_MARGIN + (100 - 2 * FRONTIER_MARGIN) * (cost - low) / (high - low)

    def down(excess: float) -> float:
        # Small ones need room.
        return FRONTIER_MARGIN + (100 - 2 * FRONTIER_MARGIN) * (1 - math.sqrt(min(max(excess, 0.0), 1.0)))

    lines, marks = [], []
    for number, entry in enumerate(candidates):
        look = f"candidate{number % CANDIDATE_LOOKS}"
        candidate_marks = [
            Mark(
                look,
                f"{across(trial.accuracy_lost):.2f}",
                f"{down(_worst(trial)):.2f}",
                trial is _trial_at(entry, share),
                f"{entry.candidate} at {percent(trial.kept)} of the way: {percent(_worst(trial))} left, "
                f"{in_points(trial.accuracy_lost)} lost",
            )
            for trial in sorted(entry.trials, key=lambda trial: trial.kept)
        ]
        lines.append(Line(look, entry.candidate, " ".join(f"{mark.x},{mark.y}" for mark in candidate_marks)))
        marks += candidate_marks
    edge, top = across(low), down(limit)
    results = "; ".join(
        f"{entry.candidate} leaves {percent(_worst(trial))} for {in_points(trial.accuracy_lost)}"
        for entry in candidates
        if (trial := _trial_at(entry, share))
    )
    plot = Plot(
        "What a candidate leaves of the test backdoors (upwards) against the clean accuracy that it costs (to the right). A line "
        "goes from near the original to the cleaned weights; a ring is the point that was taken. The shaded corner is what the "
        "budgets allow.",
        tuple(lines),
        tuple((percent(excess), f"{down(excess):.2f}") for excess in (1.0, 0.5, 0.25, limit, 0.0)),
        tuple((f"{100 * cost:.1f} points", f"{across(cost):.2f}") for cost in (low, budget, high)),
        f"Attack success left of the test backdoors, and accuracy lost, per candidate: {results}.",
        marks=tuple(marks),
        budget_area=(f"{edge:.2f}", f"{top:.2f}", f"{across(budget) - edge:.2f}", f"{100 - FRONTIER_MARGIN - top:.2f}"),
    )
    return [plot]


def _trial_at(entry: CandidateRecord, share: float) -> TrialRecord | None:
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


def way_lines(cleaning: WalkBackRecord | None, /) -> list[str]:
    """Where the walk ended, and what showed that the triggers stay gone."""
    if cleaning is None or not cleaning.way:
        return []
    if cleaning.share == 0:
        return ["The weights are those of the original: no share of the way to the cleaned ones was worth its price."]
    if cleaning.share == 1:
        return ["These are the cleaned weights, all the way." if len(cleaning.way) > 1 else "No walk back was needed."]
    chosen_point = next((point for point in cleaning.way if point.share == cleaning.share), cleaning.way[0])
    cost_words = (
        f"The weights lie at {percent(cleaning.share)} of the way from the original to the cleaned ones. There they cost "
        f"{in_points(chosen_point.accuracy_lost)} of accuracy instead of {in_points(cleaning.way[0].accuracy_lost)}."
    )
    if cleaning.witnesses:
        stays_gone = f"{plural(cleaning.witnesses, 'trigger')} that the cleaning removed stayed gone there."
    else:
        stays_gone = "No trigger was known that could show whether a backdoor comes back there."
    return [f"{cost_words} {stays_gone} Nearer to the original a backdoor returns more readily."]


def way_rows(cleaning: WalkBackRecord | None, /) -> list[tuple[str, ...]]:
    """A row per point: share, highest excess, its trigger, accuracy lost with interval; none where nobody walked."""
    if cleaning is None or (len(cleaning.way) < 2 and cleaning.share):
        return []
    rows: list[tuple[str, ...]] = []
    for point in cleaning.way:
        worst = max(point.triggers, key=lambda trigger: trigger.excess, default=None)
        cost = in_points(point.accuracy_lost) + (f" ({interval_words(point.interval)})" if point.interval else "")
        share = percent(point.share) + (" (taken)" if point.share == cleaning.share else "")
        rows.append((share, percent(point.excess), trigger_words(worst.trigger) if worst else "", cost))
    return rows
