"""What ``auto`` tried, in the words and the order of every form: canaries, the frontier, the way back, the rebound."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from clipclean.report.figures import NOTHING, count, duration, percent

Json = dict[str, Any]  # Any: JSON

MARKS = 6  # shapes and colours of rungs; a longer ladder uses them again
MARGIN = 4.0  # per cent of the drawing that stays free at its edges


@dataclass(frozen=True)
class Row:
    """One rung of the ladder in words."""

    rung: str
    outcome: str
    canaries: str  # removed, of those that took
    left: str  # excess attack success of the canary that acts most
    cost: str  # clean accuracy lost on the copy
    on_model: str  # excess of the trigger that acts most, and accuracy lost, on the model itself
    seconds: str
    chosen: bool


@dataclass(frozen=True)
class Mark:
    """One point of the frontier: per cent from the left and from the top; ``is_taken`` is the share that was chosen."""

    x: str
    y: str
    is_taken: bool
    words: str


@dataclass(frozen=True)
class Path:
    """The points of one rung, from the share nearest to the original to the cleaned model."""

    number: int
    rung: str
    marks: tuple[Mark, ...]
    points: str


@dataclass(frozen=True)
class Frontier:
    """What each rung leaves of the canaries against what it costs; the rectangle is what the budgets allow."""

    paths: tuple[Path, ...]
    width: str  # of the rectangle
    top: str
    height: str
    left: str
    costs: tuple[tuple[str, str], ...]  # ticks: label, per cent from the left
    excesses: tuple[tuple[str, str], ...]  # label, per cent from the top
    summary: str


def ran(report: Json, /) -> bool:
    """Whether the report is of a run that chose for itself."""
    return "auto" in report


def told(report: Json, /) -> list[str]:
    """What was chosen and what that rests on, in sentences."""
    auto = report["auto"]
    seconds = auto["seconds"]
    lines = [
        f"Chosen: {auto['chosen']}, of {count(len(auto['ladder']))} tried. It all took {duration(seconds['total'])}; the cleaning "
        f"itself {duration(seconds['chosen'])}."
    ]
    if not auto["changed"]:
        lines.append("It found nothing to do, so the weights are as they were.")
    if auto["share"] < 1:
        lines.append(
            f"The weights lie at {percent(auto['share'])} of the way from the original to the cleaned ones: there accuracy is "
            "higher, and what was found, and the canaries, are still gone."
        )
    if auto["rebound"]:
        worst = max(
            (p["after"] for p in auto["rebound"]["probes"] if p["known"] and p["after"] is not None), default=None
        )
        known = (
            f": the trigger that acts most moves {percent(worst)} of pictures beyond chance"
            if worst is not None
            else ""
        )
        lines.append(f"After {count(auto['rebound']['steps'])} steps of benign finetuning of a copy{known}.")
    return lines


def canaries(report: Json, /) -> list[tuple[str, ...]]:
    """A row a canary: trigger, target, planted, left, accuracy under it; the last two after the chosen rung."""
    auto = report["auto"]
    chosen = next((entry for entry in auto["ladder"] if entry["chosen"]), None)
    outcomes = chosen["trials"][0]["outcomes"] if chosen and chosen["trials"] else []
    left = {outcome["trigger"]: outcome for outcome in outcomes}
    return [
        (
            planted["trigger"],
            planted["target"],
            percent(planted["planted"]) + ("" if planted["took"] else ", did not take"),
            _left(left[planted["trigger"]]) if planted["trigger"] in left else NOTHING,
            percent(left[planted["trigger"]]["accuracy"]) if planted["trigger"] in left else NOTHING,
        )
        for planted in auto["canaries"]
    ]


def _left(outcome: Json) -> str:
    returned = outcome.get("returned")
    return percent(outcome["left"]) + ("" if returned is None else f", {percent(returned)} after benign finetuning")


def rows(report: Json, /) -> list[Row]:
    """A row a rung, in the order in which they were tried."""
    return [_row(entry, report["auto"]["budget"]) for entry in report["auto"]["ladder"]]


def frontier(report: Json, /) -> Frontier | None:
    """The drawing; None where no rung was tried on canaries."""
    auto = report["auto"]
    tried = [entry for entry in auto["ladder"] if entry["trials"]]
    found = {entry["rung"]: [(t, _worst(t), t["accuracy_lost"]) for t in entry["trials"]] for entry in tried}
    if not found:
        return None
    budget: float = auto["budget"]["accuracy"]
    limit: float = auto["budget"]["excess"]
    costs: list[float] = [cost for points in found.values() for _, _, cost in points]
    low, high = min(0.0, *costs), max(2 * budget, *costs, 0.01)

    def across(cost: float) -> float:
        return MARGIN + (100 - 2 * MARGIN) * (cost - low) / (high - low)

    def down(excess: float) -> float:
        return MARGIN + (100 - 2 * MARGIN) * (1 - math.sqrt(min(max(excess, 0.0), 1.0)))  # small ones need room

    paths = tuple(
        _path(number % MARKS, rung, points, across=across, down=down)
        for number, (rung, points) in enumerate(found.items())
    )
    left, top = across(low), down(limit)
    return Frontier(
        paths, f"{across(budget) - left:.2f}", f"{top:.2f}", f"{100 - MARGIN - top:.2f}", f"{left:.2f}",
        tuple((f"{100 * cost:.1f}", f"{across(cost):.2f}") for cost in (low, budget, high)),
        tuple((percent(excess), f"{down(excess):.2f}") for excess in (1.0, 0.5, 0.25, limit, 0.0)),
        _summary(found),
    )  # fmt: skip


def _row(entry: Json, budget: Json) -> Row:
    trial, ran_ = (entry["trials"] or [None])[0], entry["run"]
    if entry["why_not"]:
        outcome = f"not tried: {entry['why_not']}"
    elif ran_:
        outcome = "fails on the model" if ran_["errors"] else "passes"
    else:
        outcome = "fails on the canaries"
    return Row(
        rung=entry["rung"],
        outcome=outcome,
        canaries=_removed(trial, budget["excess"]) if trial else NOTHING,
        left=percent(_worst(trial)) if trial else NOTHING,
        cost=_points(trial["accuracy_lost"]) if trial else NOTHING,
        on_model=f"{percent(ran_['excess'])}, {_points(ran_['accuracy_lost'])}" if ran_ else NOTHING,
        seconds=duration((trial["seconds"] if trial else 0.0) + (ran_["seconds"] if ran_ else 0.0)),
        chosen=entry["chosen"],
    )


def _removed(trial: Json, limit: float) -> str:
    counted = [outcome for outcome in trial["outcomes"] if outcome["took"]]
    return f"{sum(_is_removed(outcome, limit) for outcome in counted)} of {len(counted)}"


def _is_removed(outcome: Json, limit: float) -> bool:
    """Whether it acts no longer, and does not return beyond the limit by its whole interval."""
    again: list[float] | None = outcome.get("returned_interval")
    return bool(outcome["left"] <= limit and (again is None or again[0] <= limit))


def _worst(trial: Json) -> float:
    left: list[float] = [outcome["left"] for outcome in trial["outcomes"] if outcome["took"]]
    return max(left, default=0.0)


def _points(share: float) -> str:
    return f"{100 * share:.1f} points".replace("-", "−")


def _path(
    number: int,
    rung: str,
    points: Sequence[tuple[Json, float, float]],
    *,
    across: Callable[[float], float],
    down: Callable[[float], float],
) -> Path:
    """``across`` and ``down`` take a cost and an excess to per cent of the drawing."""
    marks = [
        (
            trial["kept"],
            Mark(
                f"{across(cost):.2f}", f"{down(excess):.2f}", place == 0,
                f"{rung} at {percent(trial['kept'])} of the way: {percent(excess)} left, {_points(cost)} lost",
            ),
        )
        for place, (trial, excess, cost) in enumerate(points)
    ]  # fmt: skip
    ordered = tuple(mark for _, mark in sorted(marks, key=lambda entry: entry[0]))
    return Path(number, rung, ordered, " ".join(f"{mark.x},{mark.y}" for mark in ordered))


def _summary(found: dict[str, list[tuple[Json, float, float]]]) -> str:
    taken = [f"{rung} leaves {percent(points[0][1])} for {_points(points[0][2])}" for rung, points in found.items()]
    return f"What each rung leaves of the canaries, and what it costs: {'; '.join(taken)}."
