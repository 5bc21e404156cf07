"""The embedding map: clean and triggered images as points of a plane, ready for SVG."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from clipclean.report.figures import count, decimal, percent
from clipclean.report.schema import PointRecord, ProjectionRecord

Point = tuple[float, float]

MAX_POINTS = 600  # of all kinds together; more hide each other
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


@dataclass(frozen=True)
class Cloud:
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


@dataclass(frozen=True)
class Map:
    """The clouds, those to be drawn last on top; ``summary`` says in words what the map shows.

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
    clouds = tuple(
        Cloud(kind, NAMES[kind], len(found), _path(kind, [place(p) for p in _thinned(found, len(points))]))
        for kind, found in grouped.items()
    )
    texts = tuple(_label(place((p.x, p.y)), p.label or "") for p in points if p.kind == "text")
    method, axes = METHODS[projection.method], _axes(projection)
    return Map(clouds, _moves(points, place), texts, projection.trigger, method, axes, _summary(grouped))


def _moves(points: Sequence[PointRecord], place: Callable[[Point], Point]) -> str:
    """Lines from each clean image to its triggered copy, which follow in the same order; none where they cannot be paired."""
    clean = [point for point in points if point.kind in ("clean", "target")]
    triggered = [point for point in points if point.kind == "triggered"]
    if len(clean) != len(triggered) or len(points) > MAX_POINTS:
        return ""
    ends = ((place((a.x, a.y)), place((b.x, b.y))) for a, b in zip(clean, triggered, strict=True))
    return "".join(f"M{x1:.2f} {y1:.2f}L{x2:.2f} {y2:.2f}" for (x1, y1), (x2, y2) in ends)


def _label(at: Point, text: str) -> Label:
    x, y = at
    right = x > WIDTH * 0.7
    return Label(f"{x - 1.2 if right else x + 1.2:.2f}", f"{y + 0.7:.2f}", text[:LABEL], "end" if right else "start")


def _placing(points: Sequence[PointRecord]) -> Callable[[Point], Point]:
    """From the report's coordinates to those of the drawing, whose vertical axis points down."""
    ends = [(min(axis), max(axis)) for axis in zip(*((p.x, p.y) for p in points), strict=True)]
    rooms = (WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN)
    scale = min(room / (high - low) if high > low else math.inf for room, (low, high) in zip(rooms, ends, strict=True))
    scale = scale if math.isfinite(scale) else 1.0
    across, up = ((low + high) / 2 for low, high in ends)
    return lambda p: (WIDTH / 2 + scale * (p[0] - across), HEIGHT / 2 - scale * (p[1] - up))


def _thinned(points: Sequence[Point], total: int) -> list[Point]:
    """This kind's part of ``MAX_POINTS``, at least one, evenly taken."""
    most = max(1, len(points) * MAX_POINTS // max(total, MAX_POINTS))
    return [points[number * len(points) // most] for number in range(most)]


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


def _axes(projection: ProjectionRecord) -> str:
    shares = projection.explained
    if projection.method == "tsne":
        return "Near points are alike to the model; how far apart far groups lie means little."
    if not shares:
        return "The directions in which the embeddings differ most."
    return f"The two axes hold {percent(shares[0])} and {percent(shares[1])} of how the embeddings differ."


def _summary(grouped: dict[str, list[Point]]) -> str:
    counted = "; ".join(f"{NAMES[kind].lower()}, {count(len(found))} points" for kind, found in grouped.items())
    told = f"A map of embeddings: {counted}."
    clean, triggered = (_reach(grouped.get(kind, [])) for kind in ("clean", "triggered"))
    if clean and triggered is not None:
        told += f" Around their centre, the triggered images reach {decimal(triggered / clean)} times as far as the clean ones."
    return told


def _reach(points: Sequence[Point]) -> float | None:
    """The root mean square distance of points to their centre."""
    if not points:
        return None
    centre = [sum(axis) / len(points) for axis in zip(*points, strict=True)]
    return math.sqrt(sum(math.dist(point, centre) ** 2 for point in points) / len(points))
