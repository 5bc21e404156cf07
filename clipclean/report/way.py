"""The walk back from cleaned weights towards the original, in every form: sentences, a table and two plots."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from clipclean.report.charts import Scale
from clipclean.report.wording import in_points, percent
from clipclean.schema.report import CleaningRecord, WayRecord
from clipclean.untrusted import plural

TRIGGERS = 4  # lines of a plot: those that act most at any point


class WayLine(NamedTuple):
    """One measure over the way, as SVG points; ``number`` is its colour."""

    number: int
    name: str
    points: str


class WayPlot(NamedTuple):
    """A measure over the share of the way: per cent from the left and from the top."""

    title: str
    lines: tuple[WayLine, ...]
    band: str  # SVG points around the 95 % interval; empty without one
    limit: str  # of the budget
    taken: str  # the share of the weights of the report
    levels: tuple[tuple[str, str], ...]
    summary: str


def lines(cleaning: CleaningRecord | None, /) -> list[str]:
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


def rows(cleaning: CleaningRecord | None, /) -> list[tuple[str, ...]]:
    """A row per point: share, highest excess, its trigger, accuracy lost with interval; none where nobody walked."""
    way = cleaning.way if cleaning else ()
    if cleaning is None or (len(way) < 2 and cleaning.share):
        return []
    return [_row(point, is_taken=point.share == cleaning.share) for point in way]


def _row(point: WayRecord, *, is_taken: bool) -> tuple[str, ...]:
    worst = max(point.triggers, key=lambda each: each.excess, default=None)
    low, high = (f"{100 * end:.1f}".replace("-", "−") for end in point.interval) if point.interval else ("", "")
    lost = in_points(point.accuracy_lost) + (f" ({low} to {high})" if point.interval else "")
    share = percent(point.share) + (" (taken)" if is_taken else "")
    return share, percent(point.excess), worst.trigger if worst else "", lost


def plots(cleaning: CleaningRecord | None, /) -> tuple[WayPlot, ...]:
    """Accuracy lost, and the excess of the triggers that act most, over the share of the way; none for a single point."""
    if cleaning is None or len(cleaning.way) < 2:
        return ()
    way = sorted(cleaning.way, key=lambda point: point.share)
    lost = [point.accuracy_lost for point in way]
    ends = [end for point in way for end in point.interval or ()]
    budget = cleaning.budget.accuracy if cleaning.budget else 0.0
    place = _scale([*lost, *ends, 0.0, budget])
    bands = [(point.share, point.interval) for point in way if point.interval]
    band = [*((share, high) for share, (_, high) in bands), *((share, low) for share, (low, _) in reversed(bands))]
    accuracy = WayPlot(
        "Accuracy lost, in points",
        (WayLine(0, "Accuracy lost", _line(place, zip((p.share for p in way), lost, strict=True))),),
        _line(place, band),
        place.down(100 * budget),
        _across(cleaning.share),
        place.ticks,
        "Accuracy lost over the share of the way: "
        + "; ".join(f"{percent(p.share)}: {in_points(p.accuracy_lost)}" for p in way),
    )
    made: dict[tuple[str, str], dict[float, float]] = {}
    for point in way:
        for each in point.triggers:
            made.setdefault((each.trigger, each.target), {})[point.share] = each.excess
    most = sorted(made.items(), key=lambda item: -max(item[1].values()))[:TRIGGERS]
    if not most:
        return (accuracy,)
    limit = cleaning.budget.excess if cleaning.budget else 0.0
    place = _scale([0.0, limit, *(value for _, values in most for value in values.values())])
    success = WayPlot(
        "Attack success beyond chance, in per cent",
        tuple(
            WayLine(number, f"{trigger} → {target}", _line(place, sorted(values.items())))
            for number, ((trigger, target), values) in enumerate(most)
        ),
        "",
        place.down(100 * limit),
        _across(cleaning.share),
        place.ticks,
        "Highest attack success over the share of the way: "
        + "; ".join(f"{percent(p.share)}: {percent(p.excess)}" for p in way),
    )
    return accuracy, success


def _scale(shares: Sequence[float]) -> Scale:
    return Scale.of([100 * share for share in shares])


def _line(scale: Scale, points: Iterable[tuple[float, float]]) -> str:
    """SVG points of shares, over the share of the way; the scale is in per cent."""
    return " ".join(f"{_across(share)},{scale.down(100 * value)}" for share, value in points)


def _across(share: float) -> str:
    return f"{100 * share:.2f}"
