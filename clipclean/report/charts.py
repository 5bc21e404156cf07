"""Charts: bars, sizes, plots and the embedding map, as positions in per cent, ready for SVG."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from clipclean.report.measures import MeasureRow
from clipclean.report.wording import count, decimal, in_points, percent
from clipclean.schema.report import FoundRecord, LossRecord, PointRecord, ProjectionRecord, WalkBackRecord

Point = tuple[float, float]

MAX_POINTS = 400  # of a curve; more cannot be told apart on a page
LEAST_POINTS = 3  # of a curve; a line between two is no curve
WAY_CURVES = 4  # curves of a way back: those that act most at any point
SIZE_SCALE_ENDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # ends of a scale of sizes
LOSS_NAMES = {name: field.title for name, field in LossRecord.model_fields.items() if field.title}


class Bar(NamedTuple):
    """One side of a row, "before" or "after": its length, and where its interval begins and ends."""

    side: str
    length: str
    low: str | None
    high: str | None


class Bars(NamedTuple):
    """The bars of a row on one scale from 0 to ``top``; ``limit`` is where a threshold lies."""

    bars: tuple[Bar, ...]
    top: str
    limit: str | None = None


class SizeDrawing(NamedTuple):
    """The size of a found trigger on a scale from 0 to ``top``, beside the range that clean models need."""

    length: str
    low: str | None
    width: str | None  # of that range
    median: str | None
    top: str


class Line(NamedTuple):
    """One curve: the look of its stroke, its name, and its SVG points."""

    look: str
    name: str
    points: str


class Mark(NamedTuple):
    """One point of a plot, in the look of its curve; ``is_taken`` marks the one that a table shows."""

    look: str
    x: str
    y: str
    is_taken: bool
    words: str


class Plot(NamedTuple):
    """Curves, whose places are per cent from the left and from the top; ``summary`` describes them in words.

    One with ``marks`` keeps its shape at every width.
    """

    caption: str
    lines: tuple[Line, ...]
    levels: tuple[tuple[str, str], ...]  # value, place
    below: tuple[tuple[str, str], ...]  # words, place
    summary: str
    band: str = ""  # SVG points around a 95 % interval
    limit: str = ""  # place of a budget
    report_place: str = ""  # place of the weights of the report
    marks: tuple[Mark, ...] = ()
    budget_area: tuple[str, str, str, str] = ("", "", "", "")  # left, top, width and height of what the budgets allow


def bars(row: MeasureRow, limit: float | None = None, /) -> Bars:
    """A share is drawn on 0 to 100 %, a distance or spread on 0 to the whole number that holds both sides."""
    figures = [(side, figure) for side, figure in (("before", row.before), ("after", row.after)) if figure]
    values = [figure.value for _, figure in figures if figure.value is not None]
    top = 1.0 if row.measure.is_share else float(max(1, math.ceil(max(values, default=0))))
    drawings = []
    for side, figure in figures:
        if figure.value is not None:
            bounds = (_length(end, top) for end in figure.interval) if figure.interval else (None, None)
            drawings.append(Bar(side, _length(figure.value, top), *bounds))
    top_words = "100 %" if row.measure.is_share else f"{top:.0f}"
    return Bars(tuple(drawings), top_words, None if limit is None else _length(limit, top))


def sizes(triggers: Sequence[FoundRecord], /) -> list[SizeDrawing]:
    """One drawing an entry; those of a family share a scale, so that they can be compared by eye."""
    tops: dict[str, float] = {}
    for trigger in triggers:
        largest = max(trigger.size or 0.0, trigger.reference.high if trigger.reference else 0.0)
        tops[trigger.family] = max(tops.get(trigger.family, 0.0), largest)
    drawings = []
    for trigger in triggers:
        top = next(top for top in SIZE_SCALE_ENDS if top >= tops[trigger.family])
        length, top_words = _length(trigger.size or 0.0, top), f"{100 * top:g} %"
        low = width = median = None
        if reference := trigger.reference:
            low_size, high_size = sorted((reference.low, reference.high))
            low, width = _length(low_size, top), _length(max(high_size - low_size, 0.01 * top), top)
            median = _length(reference.median, top)
        drawings.append(SizeDrawing(length, low, width, median, top_words))
    return drawings


def curve(losses: Sequence[LossRecord], caption: str, /) -> list[Plot]:
    """The losses by step; none where fewer than three were logged, which a table shows as well."""
    steps = thinned(losses, most=MAX_POINTS)
    if len(steps) < LEAST_POINTS or steps[0].step == steps[-1].step:
        return []
    first, last, names = steps[0].step, steps[-1].step, curves(steps)
    series = {key: [(entry.step, entry.parts()[key]) for entry in steps if key in entry.parts()] for key in names}
    values = [value for points in series.values() for _, value in points]
    scale = Scale([min(0.0, *values), max(values)])
    lines = tuple(
        Line(key, names[key], scale.points(((step - first) / (last - first), value) for step, value in points))
        for key, points in series.items()
    )
    summary = "; ".join(
        f"{names[key]} from {points[0][1]:.3g} to {points[-1][1]:.3g}" for key, points in series.items()
    )
    labels = ((f"step {count(first)}", "0"), (f"step {count(last)}", "100"))
    return [Plot(caption, lines, scale.ticks, labels, f"{summary}, over steps {first:,} to {last:,}.")]


def curves(losses: Sequence[LossRecord], /) -> dict[str, str]:
    """The names of the losses that these steps have, by key."""
    present = dict.fromkeys(key for entry in losses for key in entry.parts())
    return {
        key: LOSS_NAMES.get(key) or key.replace("_", " ").capitalize() for key in LOSS_NAMES | present if key in present
    }


def way(cleaning: WalkBackRecord | None, /) -> list[Plot]:
    """Accuracy lost, and the excess of the triggers that act most, over the share of the way; none for one or two points."""
    if cleaning is None or len(cleaning.way) < LEAST_POINTS:
        return []
    points = sorted(cleaning.way, key=lambda point: point.share)
    intervals = [(point.share, point.interval) for point in points if point.interval]
    band = [
        *((share, high) for share, (_, high) in intervals),
        *((share, low) for share, (low, _) in reversed(intervals)),
    ]
    costs_drawn = {"Accuracy lost": {point.share: point.accuracy_lost for point in points}}
    excess_by_trigger: dict[str, dict[float, float]] = {}
    for point in points:
        for trigger in point.triggers:
            excess_by_trigger.setdefault(f"{trigger.trigger} → {trigger.target}", {})[point.share] = trigger.excess
    strongest = dict(sorted(excess_by_trigger.items(), key=lambda item: -max(item[1].values()))[:WAY_CURVES])
    cost_words = "; ".join(f"{percent(point.share)}: {in_points(point.accuracy_lost)}" for point in points)
    excess_words = "; ".join(f"{percent(point.share)}: {percent(point.excess)}" for point in points)
    limits, axis = cleaning.budget, "over the share of the way"
    plots = [_way("Accuracy lost, in points", costs_drawn, band, limits.accuracy if limits else 0.0, cleaning.share)]
    plots += [
        _way(
            "Attack success beyond chance, in per cent", strongest, (), limits.excess if limits else 0.0, cleaning.share
        )
    ]
    summaries = (f"Accuracy lost {axis}: {cost_words}", f"Highest attack success {axis}: {excess_words}")
    return [plot._replace(summary=words) for plot, words in zip(plots, summaries, strict=True) if plot.lines]


def _way(title: str, series: dict[str, dict[float, float]], band: Sequence[Point], limit: float, share: float) -> Plot:
    """Shares, drawn in per cent, over the share of the way."""
    values = [value for points in series.values() for value in points.values()]
    scale = Scale([100 * value for value in (0.0, limit, *values, *(end for _, end in band))])
    return Plot(
        f"{title}, from the original (left) to the cleaned weights (right). The upright line is what was taken, the "
        "dashed level the limit.",
        tuple(
            Line(f"candidate{number}", name, scale.points((share, 100 * value) for share, value in points.items()))
            for number, (name, points) in enumerate(series.items())
        ),
        scale.ticks,
        (("original", "0"), ("cleaned", "100")),
        "",
        scale.points((share, 100 * value) for share, value in band),
        scale.down(100 * limit),
        f"{100 * share:.2f}",
    )


def thinned(losses: Sequence[LossRecord], /, *, most: int) -> list[LossRecord]:
    """At most so many of the logged steps, evenly spread, first and last among them."""
    entries = sorted(losses, key=lambda entry: entry.step)
    if len(entries) <= most:
        return entries
    rows = dict.fromkeys(round(row * (len(entries) - 1) / (most - 1)) for row in range(most))
    return [entries[row] for row in rows]


def _length(value: float, top: float) -> str:
    return f"{100 * min(max(value / top, 0.0), 1.0):.2f}%"


class Scale:
    """A vertical scale of four to six round numbers that enclose all values; the steps are 1, 2 or 5 times a power of ten."""

    def __init__(self, values: Sequence[float], /) -> None:
        low, high = min(values), max(values)
        rough = max(high - low, 1e-9) / 4
        power = 10.0 ** math.floor(math.log10(rough))
        step = next((power * factor for factor in (1, 2, 5) if power * factor >= rough), power * 10)
        numbers = range(math.floor(low / step), math.ceil(high / step) + 1)
        levels = [round(number * step, 12) for number in numbers]
        self.levels = levels if len(levels) > 1 else [low, low + 1.0]  # upwards

    @property
    def ticks(self) -> tuple[tuple[str, str], ...]:
        """Each level and its place."""
        return tuple((f"{level:g}", self.down(level)) for level in self.levels)

    def down(self, value: float, /) -> str:
        """The place of a value, in per cent from the top."""
        return f"{100 * (self.levels[-1] - value) / (self.levels[-1] - self.levels[0]):.2f}"

    def points(self, points: Iterable[Point], /) -> str:
        """SVG points of values over shares of the width."""
        return " ".join(f"{100 * across:.2f},{self.down(value)}" for across, value in points)


MAX_DOTS = 600  # of all kinds together; more hide each other
MAP_WIDTH, MAP_HEIGHT = 100.0, 60.0  # of the drawing, in its own units
MAP_MARGIN = 3.0
KIND_NAMES = {
    "clean": "Clean images",
    "triggered": "The same with the trigger",
    "target": "Images of the target class",
    "text": "Texts of classes",
}
KIND_SHAPES = {  # kinds differ in shape, not in colour alone: circles, diamonds, squares, triangles
    "clean": "m-0.6 0a0.6 0.6 0 1 0 1.2 0a0.6 0.6 0 1 0-1.2 0z",
    "triggered": "m0-0.78l0.78 0.78-0.78 0.78-0.78-0.78z",
    "target": "m-0.6-0.6h1.2v1.2h-1.2z",
    "text": "m0-0.72l0.72 1.2h-1.44z",
}
LABEL_LENGTH = 24  # characters of a class text on the map
METHOD_NAMES = {"pca": "principal components", "tsne": "t-SNE"}


class Cloud(NamedTuple):
    """The points of one kind as one SVG path; ``n`` counts them before any were left out."""

    kind: str
    name: str
    n: int
    path: str


class Label(NamedTuple):
    """A class text on the map; ``anchor`` keeps the words inside the frame."""

    x: str
    y: str
    text: str
    anchor: str


class Map(NamedTuple):
    """The clouds in drawing order; ``summary`` describes the map in words.

    ``moves`` is one SVG path of lines from each image to its triggered copy; ``texts`` are class texts.
    """

    clouds: tuple[Cloud, ...]
    moves: str
    texts: tuple[Label, ...]
    trigger: str
    method: str
    axes: str
    summary: str


def embedding_map(projection: ProjectionRecord | None, /) -> Map | None:
    """The map of a report's ``projection``, on one scale in both directions; None where it has no points."""
    points = projection.points if projection else ()
    if not projection or not points:
        return None
    placed = _placing(points)
    grouped = {kind: [(p.x, p.y) for p in points if p.kind == kind] for kind in KIND_NAMES}
    grouped = {kind: members for kind, members in grouped.items() if members}
    clouds = []
    for kind, members in grouped.items():
        dots = max(1, len(members) * MAX_DOTS // max(len(points), MAX_DOTS))  # this kind's part, evenly taken
        dots_placed = (placed(members[number * len(members) // dots]) for number in range(dots))
        path = "".join(f"M{x:.2f} {y:.2f}{KIND_SHAPES[kind]}" for x, y in dots_placed)
        clouds.append(Cloud(kind, KIND_NAMES[kind], len(members), path))
    texts = []
    for (x, y), text in ((placed((p.x, p.y)), (p.label or "")[:LABEL_LENGTH]) for p in points if p.kind == "text"):
        is_right = x > MAP_WIDTH * 0.7  # there the words end at the point
        label_x = f"{x - 1.2 if is_right else x + 1.2:.2f}"
        texts.append(Label(label_x, f"{y + 0.7:.2f}", text, "end" if is_right else "start"))
    axes = "The directions in which the embeddings differ most."
    if projection.method == "tsne":
        axes = "Near points are alike to the model; how far apart far groups lie means little."
    elif shares := projection.explained:
        axes = f"The two axes hold {percent(shares[0])} and {percent(shares[1])} of how the embeddings differ."
    method, moves = METHOD_NAMES[projection.method], _moves(points, placed)
    return Map(tuple(clouds), moves, tuple(texts), projection.trigger, method, axes, _summary(grouped))


def _moves(points: Sequence[PointRecord], placed: Callable[[Point], Point]) -> str:
    """Lines from each clean image to its triggered copy, which follow in the same order; none where they cannot be paired."""
    clean = [point for point in points if point.kind in ("clean", "target")]
    triggered = [point for point in points if point.kind == "triggered"]
    if len(clean) != len(triggered) or len(points) > MAX_DOTS:
        return ""
    segments = ((placed((a.x, a.y)), placed((b.x, b.y))) for a, b in zip(clean, triggered, strict=True))
    return "".join(f"M{x1:.2f} {y1:.2f}L{x2:.2f} {y2:.2f}" for (x1, y1), (x2, y2) in segments)


def _placing(points: Sequence[PointRecord]) -> Callable[[Point], Point]:
    """From the report's coordinates to those of the drawing, whose vertical axis points down."""
    extents = [(min(axis), max(axis)) for axis in zip(*((p.x, p.y) for p in points), strict=True)]
    rooms = (MAP_WIDTH - 2 * MAP_MARGIN, MAP_HEIGHT - 2 * MAP_MARGIN)
    scale = min(
        room / (high - low) if high > low else math.inf for room, (low, high) in zip(rooms, extents, strict=True)
    )
    scale = scale if math.isfinite(scale) else 1.0
    across, up = ((low + high) / 2 for low, high in extents)
    return lambda p: (MAP_WIDTH / 2 + scale * (p[0] - across), MAP_HEIGHT / 2 - scale * (p[1] - up))


def _summary(grouped: dict[str, list[Point]]) -> str:
    counts = "; ".join(f"{KIND_NAMES[kind].lower()}, {count(len(members))} points" for kind, members in grouped.items())
    words = f"A map of embeddings: {counts}."
    if grouped.get("triggered") and grouped.get("clean") and (clean := _reach(grouped["clean"])):
        far = decimal(_reach(grouped["triggered"]) / clean)
        words += f" Around their centre, the triggered images reach {far} times as far as the clean ones."
    return words


def _reach(points: Sequence[Point]) -> float:
    """The root mean square distance of points to their centre."""
    centre = [sum(axis) / len(points) for axis in zip(*points, strict=True)]
    return math.sqrt(sum(math.dist(point, centre) ** 2 for point in points) / len(points))
