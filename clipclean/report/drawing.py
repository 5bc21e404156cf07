"""Bars, sizes and curves as positions in per cent of their frame, ready for SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from clipclean.report.comparison import Figure, Row
from clipclean.report.schema import FoundRecord, LossRecord

MAX_POINTS = 400  # of a curve; more cannot be told apart on a page
TOPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # ends of a scale of sizes
CURVES = {
    "loss": "Total loss",
    "clip": "Image to text (L_CLIP)",
    "self_supervised": "Self-supervised (L_SS)",
    "restoration": "Triggered images, from where the clean ones were",
    "preservation": "Clean images, from where they were",
    "image_push": "Images, from where they were (pushed)",
    "text_push": "Captions, from where they were (pushed)",
}


@dataclass(frozen=True)
class Bar:
    """One side of a row, "before" or "after": its length, and where its interval begins and ends."""

    side: str
    length: str
    low: str | None
    high: str | None


@dataclass(frozen=True)
class Bars:
    """The bars of a row on one scale from 0 to ``top``; ``limit`` is where a threshold lies."""

    bars: tuple[Bar, ...]
    top: str
    limit: str | None = None


@dataclass(frozen=True)
class Size:
    """The size of a found trigger on a scale from 0 to ``top``, beside the range that clean models need."""

    length: str
    low: str | None
    width: str | None  # of that range
    median: str | None
    top: str


@dataclass(frozen=True)
class Line:
    """One curve: its name and its SVG points, in per cent from the left and from the top."""

    key: str
    name: str
    points: str


@dataclass(frozen=True)
class Curve:
    """The training curve with its axes; ``summary`` says in words what it shows."""

    lines: tuple[Line, ...]
    levels: tuple[tuple[str, str], ...]  # value, per cent from the top
    first: int
    last: int
    summary: str


def bars(row: Row, limit: float | None = None, /) -> Bars:
    """A share is drawn on 0 to 100 %, a distance or spread on 0 to the whole number that holds both sides."""
    figures = [(side, figure) for side, figure in (("before", row.before), ("after", row.after)) if figure]
    known = [figure.value for _, figure in figures if figure.value is not None]
    top = 1.0 if row.measure.is_share else float(max(1, math.ceil(max(known, default=0))))
    shown = tuple(_bar(side, figure, top) for side, figure in figures if figure.value is not None)
    return Bars(
        shown, "100 %" if row.measure.is_share else f"{top:.0f}", None if limit is None else _length(limit, top)
    )


def sizes(found: Sequence[FoundRecord], /) -> list[Size]:
    """One drawing an entry; those of a family share a scale, so that they can be compared by eye."""
    tops: dict[str, float] = {}
    for entry in found:
        most = max(entry.size or 0.0, entry.reference.high if entry.reference else 0.0)
        tops[entry.family] = max(tops.get(entry.family, 0.0), most)
    scales = {family: next(top for top in TOPS if top >= most) for family, most in tops.items()}
    return [_size(entry, scales[entry.family]) for entry in found]


def curve(losses: Sequence[LossRecord], /) -> Curve | None:
    """The losses by step; None where fewer than two were logged."""
    kept = _thinned(sorted(losses, key=lambda entry: entry.step))
    if len(kept) < 2 or kept[0].step == kept[-1].step:
        return None
    first, last = kept[0].step, kept[-1].step
    keys = [key for key in CURVES if any(loss_of(entry, key) is not None for entry in kept)]
    values = [value for entry in kept for key in keys if (value := loss_of(entry, key)) is not None]
    levels = _levels(min(0.0, *values), max(values))
    bottom, top = levels[0], levels[-1]

    def place(step: int, value: float) -> str:
        across = (step - first) / (last - first)
        down = (top - value) / (top - bottom)
        return f"{100 * across:.2f},{100 * down:.2f}"

    drawn = {key: [(entry.step, value) for entry in kept if (value := loss_of(entry, key)) is not None] for key in keys}
    lines = tuple(Line(key, CURVES[key], " ".join(place(*point) for point in points)) for key, points in drawn.items())
    told = "; ".join(f"{CURVES[key]} from {points[0][1]:.3g} to {points[-1][1]:.3g}" for key, points in drawn.items())
    ticks = tuple((f"{level:g}", f"{100 * (top - level) / (top - bottom):.2f}") for level in levels)
    return Curve(lines, ticks, first, last, f"{told}, over steps {first:,} to {last:,}.")


def loss_of(entry: LossRecord, key: str, /) -> float | None:
    """One part of a step's loss; None where it was not logged."""
    value: float | None = getattr(entry, key)
    return value


def samples(losses: Sequence[LossRecord], /, *, most: int) -> list[LossRecord]:
    """At most so many of the logged steps, evenly spread, first and last among them."""
    return _spread(sorted(losses, key=lambda entry: entry.step), most)


def _bar(side: str, figure: Figure, top: float) -> Bar:
    low, high = figure.interval or (None, None)
    return Bar(side, _length(figure.value or 0.0, top), *(None if x is None else _length(x, top) for x in (low, high)))


def _size(entry: FoundRecord, top: float) -> Size:
    length = _length(entry.size or 0.0, top)
    reference = entry.reference
    if not reference:
        return Size(length, None, None, None, f"{100 * top:g} %")
    low, high = sorted((reference.low, reference.high))
    width = _length(max(high - low, 0.01 * top), top)
    return Size(length, _length(low, top), width, _length(reference.median, top), f"{100 * top:g} %")


def _length(value: float, top: float) -> str:
    return f"{100 * min(max(value / top, 0.0), 1.0):.2f}%"


def _thinned(entries: Sequence[LossRecord]) -> list[LossRecord]:
    return _spread(entries, MAX_POINTS)


def _spread(entries: Sequence[LossRecord], most: int) -> list[LossRecord]:
    if len(entries) <= most:
        return list(entries)
    places = dict.fromkeys(round(place * (len(entries) - 1) / (most - 1)) for place in range(most))
    return [entries[place] for place in places]


def _levels(low: float, high: float) -> list[float]:
    """Four to six round numbers that enclose both; the steps are 1, 2 or 5 times a power of ten."""
    reach = max(high - low, 1e-9)
    rough = reach / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((power * factor for factor in (1, 2, 5) if power * factor >= rough), power * 10)
    numbers = range(math.floor(low / step), math.ceil(high / step) + 1)
    levels = [round(number * step, 12) for number in numbers]
    return levels if any(True for _ in pairwise(levels)) else [low, low + 1.0]
