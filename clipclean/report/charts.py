"""Charts: bars, sizes, curves and the embedding map, as positions in per cent, ready for SVG."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from clipclean.report.measures import MeasureRow
from clipclean.report.wording import count, decimal, percent
from clipclean.schema.report import FoundRecord, LossRecord, PointRecord, ProjectionRecord

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


class Size(NamedTuple):
    """The size of a found trigger on a scale from 0 to ``top``, beside the range that clean models need."""

    length: str
    low: str | None
    width: str | None  # of that range
    median: str | None
    top: str


class Line(NamedTuple):
    """One curve: its name and its SVG points, in per cent from the left and from the top."""

    key: str
    name: str
    points: str


class Curve(NamedTuple):
    """The training curve with its axes; ``summary`` describes it in words."""

    lines: tuple[Line, ...]
    levels: tuple[tuple[str, str], ...]  # value, per cent from the top
    first: int
    last: int
    summary: str


def bars(row: MeasureRow, limit: float | None = None, /) -> Bars:
    """A share is drawn on 0 to 100 %, a distance or spread on 0 to the whole number that holds both sides."""
    figures = [(side, figure) for side, figure in (("before", row.before), ("after", row.after)) if figure]
    known = [figure.value for _, figure in figures if figure.value is not None]
    top = 1.0 if row.measure.is_share else float(max(1, math.ceil(max(known, default=0))))
    shown = []
    for side, figure in figures:
        if figure.value is not None:
            ends = (_length(end, top) for end in figure.interval) if figure.interval else (None, None)
            shown.append(Bar(side, _length(figure.value, top), *ends))
    words = "100 %" if row.measure.is_share else f"{top:.0f}"
    return Bars(tuple(shown), words, None if limit is None else _length(limit, top))


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
    kept = samples(losses, most=MAX_POINTS)
    if len(kept) < 2 or kept[0].step == kept[-1].step:
        return None
    first, last = kept[0].step, kept[-1].step
    keys = [key for key in CURVES if any(loss_of(entry, key) is not None for entry in kept)]
    values = [value for entry in kept for key in keys if (value := loss_of(entry, key)) is not None]
    scale = Scale.of([min(0.0, *values), max(values)])

    def place(step: int, value: float) -> str:
        return f"{100 * (step - first) / (last - first):.2f},{scale.down(value)}"

    drawn = {key: [(entry.step, value) for entry in kept if (value := loss_of(entry, key)) is not None] for key in keys}
    lines = tuple(Line(key, CURVES[key], " ".join(place(*point) for point in points)) for key, points in drawn.items())
    told = "; ".join(f"{CURVES[key]} from {points[0][1]:.3g} to {points[-1][1]:.3g}" for key, points in drawn.items())
    return Curve(lines, scale.ticks, first, last, f"{told}, over steps {first:,} to {last:,}.")


def loss_of(entry: LossRecord, key: str, /) -> float | None:
    """One part of a step's loss; None where it was not logged."""
    value: float | None = getattr(entry, key)
    return value


def samples(losses: Sequence[LossRecord], /, *, most: int) -> list[LossRecord]:
    """At most so many of the logged steps, evenly spread, first and last among them."""
    entries = sorted(losses, key=lambda entry: entry.step)
    if len(entries) <= most:
        return entries
    places = dict.fromkeys(round(place * (len(entries) - 1) / (most - 1)) for place in range(most))
    return [entries[place] for place in places]


def _size(entry: FoundRecord, top: float) -> Size:
    length, words = _length(entry.size or 0.0, top), f"{100 * top:g} %"
    if not (reference := entry.reference):
        return Size(length, None, None, None, words)
    low, high = sorted((reference.low, reference.high))
    width = _length(max(high - low, 0.01 * top), top)
    return Size(length, _length(low, top), width, _length(reference.median, top), words)


def _length(value: float, top: float) -> str:
    return f"{100 * min(max(value / top, 0.0), 1.0):.2f}%"


class Scale(NamedTuple):
    """A vertical scale from its first level to its last."""

    levels: Sequence[float]  # round numbers, upwards

    @classmethod
    def of(cls, values: Sequence[float], /) -> "Scale":
        """A scale that holds all of these."""
        return cls(_levels(min(values), max(values)))

    @property
    def ticks(self) -> tuple[tuple[str, str], ...]:
        """Each level and its place."""
        return tuple((f"{level:g}", self.down(level)) for level in self.levels)

    def down(self, value: float, /) -> str:
        """The place of a value, in per cent from the top."""
        return f"{100 * (self.levels[-1] - value) / (self.levels[-1] - self.levels[0]):.2f}"


def _levels(low: float, high: float) -> list[float]:
    """Four to six round numbers that enclose both; the steps are 1, 2 or 5 times a power of ten."""
    rough = max(high - low, 1e-9) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((power * factor for factor in (1, 2, 5) if power * factor >= rough), power * 10)
    numbers = range(math.floor(low / step), math.ceil(high / step) + 1)
    levels = [round(number * step, 12) for number in numbers]
    return levels if len(levels) > 1 else [low, low + 1.0]


Point = tuple[float, float]

MAX_DOTS = 600  # of all kinds together; more hide each other
WIDTH, HEIGHT = 100.0, 60.0  # of the drawing, in its own units
MARGIN = 3.0
RADIUS = 0.6  # of a point
NAMES = {
    "clean": "Clean images",
    "triggered": "The same with the trigger",
    "target": "Images of the target class",
    "text": "Texts of classes",
}
LABEL = 24  # characters of a class text on the map
METHODS = {"pca": "principal components", "tsne": "t-SNE"}


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
    place = _placing(points)
    kinds = [kind for kind in NAMES if any(point.kind == kind for point in points)]
    grouped = {kind: [(p.x, p.y) for p in points if p.kind == kind] for kind in kinds}
    clouds = []
    for kind, found in grouped.items():
        most = max(1, len(found) * MAX_DOTS // max(len(points), MAX_DOTS))  # this kind's part, evenly taken
        kept = [place(found[number * len(found) // most]) for number in range(most)]
        clouds.append(Cloud(kind, NAMES[kind], len(found), _path(kind, kept)))
    texts = []
    for (x, y), text in ((place((p.x, p.y)), (p.label or "")[:LABEL]) for p in points if p.kind == "text"):
        is_right = x > WIDTH * 0.7  # there the words end at the point
        left = f"{x - 1.2 if is_right else x + 1.2:.2f}"
        texts.append(Label(left, f"{y + 0.7:.2f}", text, "end" if is_right else "start"))
    axes = "The directions in which the embeddings differ most."
    if projection.method == "tsne":
        axes = "Near points are alike to the model; how far apart far groups lie means little."
    elif shares := projection.explained:
        axes = f"The two axes hold {percent(shares[0])} and {percent(shares[1])} of how the embeddings differ."
    method, moves = METHODS[projection.method], _moves(points, place)
    return Map(tuple(clouds), moves, tuple(texts), projection.trigger, method, axes, _summary(grouped))


def _moves(points: Sequence[PointRecord], place: Callable[[Point], Point]) -> str:
    """Lines from each clean image to its triggered copy, which follow in the same order; none where they cannot be paired."""
    clean = [point for point in points if point.kind in ("clean", "target")]
    triggered = [point for point in points if point.kind == "triggered"]
    if len(clean) != len(triggered) or len(points) > MAX_DOTS:
        return ""
    ends = ((place((a.x, a.y)), place((b.x, b.y))) for a, b in zip(clean, triggered, strict=True))
    return "".join(f"M{x1:.2f} {y1:.2f}L{x2:.2f} {y2:.2f}" for (x1, y1), (x2, y2) in ends)


def _placing(points: Sequence[PointRecord]) -> Callable[[Point], Point]:
    """From the report's coordinates to those of the drawing, whose vertical axis points down."""
    ends = [(min(axis), max(axis)) for axis in zip(*((p.x, p.y) for p in points), strict=True)]
    rooms = (WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN)
    scale = min(room / (high - low) if high > low else math.inf for room, (low, high) in zip(rooms, ends, strict=True))
    scale = scale if math.isfinite(scale) else 1.0
    across, up = ((low + high) / 2 for low, high in ends)
    return lambda p: (WIDTH / 2 + scale * (p[0] - across), HEIGHT / 2 - scale * (p[1] - up))


def _path(kind: str, points: Sequence[Point]) -> str:
    """Kinds differ in shape, not in colour alone: circles, diamonds, squares."""
    r = RADIUS
    shape = {
        "clean": f"m-{r} 0a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0-{2 * r} 0z",
        "triggered": f"m0-{1.3 * r:.3g}l{1.3 * r:.3g} {1.3 * r:.3g}-{1.3 * r:.3g} {1.3 * r:.3g}-{1.3 * r:.3g}-{1.3 * r:.3g}z",
        "target": f"m-{r}-{r}h{2 * r}v{2 * r}h-{2 * r}z",
        "text": f"m0-{1.2 * r:.3g}l{1.2 * r:.3g} {2 * r:.3g}h-{2.4 * r:.3g}z",
    }[kind]
    return "".join(f"M{x:.2f} {y:.2f}{shape}" for x, y in points)


def _summary(grouped: dict[str, list[Point]]) -> str:
    counted = "; ".join(f"{NAMES[kind].lower()}, {count(len(found))} points" for kind, found in grouped.items())
    told = f"A map of embeddings: {counted}."
    if grouped.get("triggered") and grouped.get("clean") and (clean := _reach(grouped["clean"])):
        far = decimal(_reach(grouped["triggered"]) / clean)
        told += f" Around their centre, the triggered images reach {far} times as far as the clean ones."
    return told


def _reach(points: Sequence[Point]) -> float:
    """The root mean square distance of points to their centre."""
    centre = [sum(axis) / len(points) for axis in zip(*points, strict=True)]
    return math.sqrt(sum(math.dist(point, centre) ** 2 for point in points) / len(points))
