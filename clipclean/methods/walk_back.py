"""The walk back from cleaned weights towards the original, as far as the triggers stay gone: less accuracy is lost.

Source: interpolation of finetuned CLIPs is that of WiSE-FT (Wortsman et al. 2022, arXiv 2109.01903). They look for the point of
highest accuracy. That was rejected: nearer to the original a trigger returns more readily.

The loss by value decides how far to walk, not its interval. On a few hundred images the interval is several points wide, so a loss that
is most likely over the budget would stay. Walking back where chance alone made the loss too large does little harm: a point is taken
only if the triggers stay as far removed as in the cleaned weights.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from clipclean import deadline, detect
from clipclean.config.thresholds import AuditLimits
from clipclean.schema.part import Interval
from clipclean.schema.report import WalkBackRecord, WayRecord, WayTriggerRecord

# Of the way from the original to the cleaned weights; each costs one measurement. Nearer to the original every backdoor that was
# measured was back (commit a95ae354: benchmarks/results/notebook.md, "Less loss at the source").
WALK_SHARES = (0.85, 0.7, 0.55, 0.4)
# Where no trigger shows that it stays gone: whole-image ones acted no more there than in the cleaned weights (a warp 0.068 and 0.061, a
# frequency pattern 0.301 and 0.279). After 100 benign steps a planted patch acted on 0.04 of the images from 0.85 of the way, on
# 0.14 from 0.7 (commit a95ae354: benchmarks/results/notebook.md, "What interpolation brings back").
UNWITNESSED_SHARE = 0.85
# Of the budget: what is told by 250 images is half a point to a point off. At a quarter the walk went on to 0.7 of the way,
# where 0.066 of a patch came back that a search had found, and 0.104 of a badnets pattern.
AIMED_BUDGET_SHARE = 0.5
MOST_LEFT_SHARE = 0.5  # share of what a trigger did to the original, up to which cleaning counts as having removed it
CHANCE_IMAGES = 2  # images that a trigger may move by chance

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class WatchedTrigger:
    """A trigger that must stay gone."""

    acted: float  # its excess attack success in the original
    # Whether it may be a natural one, which no cleaning removes: it counts only if this one removed it.
    is_doubtful: bool = False
    is_found: bool = False  # whether a search made it: half a witness, since it returns later than the planted one


@dataclass(frozen=True)
class Point:
    """What was measured at one share of the way; 0 is the original, 1 the cleaned weights."""

    share: float
    accuracy_lost: float  # clean accuracy of the original minus that here, on the same images; 0 if it is not measured
    interval: Interval  # of that, 95 %
    measurement: detect.Measurement = field(compare=False, repr=False)  # whose ``suspected`` are the watched triggers

    @property
    def excess(self) -> float:
        """Highest excess attack success of a watched trigger; 0 without any."""
        return round(max((p.excess for p in self.measurement.suspected if not math.isnan(p.excess)), default=0.0), 9)

    def record(self) -> WayRecord:
        """For a report."""
        probes = [probe for probe in self.measurement.suspected if not math.isnan(probe.excess)]
        return WayRecord.of(self, triggers=tuple(WayTriggerRecord.of(probe) for probe in probes))


@dataclass(frozen=True)
class WalkBack:
    """The points that were measured, the cleaned weights first, and the one to take.

    ``witnesses`` counts the triggers that acted on the original and that the cleaned weights ignore.
    """

    points: tuple[Point, ...]
    point: Point  # the one to take
    witnesses: int
    limits: AuditLimits

    @property
    def is_within(self) -> bool:
        """Whether the loss is within the budget, by its value."""
        return self.point.accuracy_lost <= self.limits.max_accuracy_loss

    @classmethod
    def of_uncleaned(cls, measurement: detect.Measurement, limits: AuditLimits, /) -> "WalkBack":
        """Of an original that nothing has cleaned."""
        return cls((), Point(0.0, 0.0, (0.0, 0.0), measurement), 0, limits)

    def at_original(self, measurement: detect.Measurement, /) -> "WalkBack":
        """The same, with the original taken: no point is worth its price."""
        return replace(self, point=Point(0.0, 0.0, (0.0, 0.0), measurement))

    def record(self) -> WalkBackRecord:
        """``cleaning`` of the report."""
        return WalkBackRecord(
            share=self.point.share,
            witnesses=self.witnesses,
            way=tuple(point.record() for point in self.points),
            budget=self.limits.budget(),
        )


def walk_back(
    measure: Callable[[float], detect.Measurement],
    original: detect.Measurement,
    watched: Sequence[WatchedTrigger],
    limits: AuditLimits,
    /,
    *,
    least: float = 0.0,
) -> WalkBack:
    """Walk from the cleaned weights towards the original until half of the budget is met, or a trigger returns.

    Taken is the first point within half of the budget, else the one of least loss. At each point that counts every trigger acts hardly more than in
    the cleaned weights.

    - Where a search found all witnesses, they must stay gone at the next point as well. That is not asked if every point that has a next one is over
      the budget.
    - From ``UNWITNESSED_SHARE`` on a point within the whole budget is enough, unless a witness was named. Where no trigger is a witness, the walk
      ends there.
    - At a deadline the walk ends where it is.

    Args:
        measure: a share of the way -> the measurement there, whose ``suspected`` are the watched triggers, in their order.
        original: to compare the accuracy with.
        watched: the triggers that must stay gone.
        limits: the accuracy that may be lost, and the excess attack success that counts as removed.
        least: share below which nothing is measured.
    """

    def point(share: float) -> Point:
        measurement = measure(share)
        lost, interval = detect.accuracy_loss(original, measurement)
        return Point(share, 0.0 if math.isnan(lost) else lost, interval, measurement)

    points = [point(1.0)]
    watch = _Watch.of(watched, points[0].measurement.suspected, limit=limits.max_excess)
    least = least if watch.witnesses else max(least, UNWITNESSED_SHARE)

    def is_enough(point: Point) -> bool:
        is_near = point.share <= UNWITNESSED_SHARE and (watch.ahead or not watch.witnesses)
        return point.accuracy_lost <= (1.0 if is_near else AIMED_BUDGET_SHARE) * limits.max_accuracy_loss

    for share in WALK_SHARES:
        behind = points[max(0, len(points) - 1 - watch.ahead)]
        if share < least or is_enough(behind) or not watch.stays_gone(points[-1]):
            break
        try:
            points.append(point(share))
        except deadline.OutOfTime:
            break
    gone = [points[0], *(point for point in points[1:] if watch.stays_gone(point))]
    safe = gone[: max(1, len(gone) - watch.ahead)]
    least_loss = min(safe, key=lambda point: point.accuracy_lost)
    end_point = next(filter(is_enough, safe), least_loss)
    if end_point.accuracy_lost > limits.max_accuracy_loss:
        # Triangles that cleaning had taken stayed at 0.965 in weights that were left as they were, for a tenth of a point over the budget,
        # where the next point was within it and brought nothing back.
        end_point = next((point for point in gone if point.accuracy_lost <= limits.max_accuracy_loss), end_point)
    return WalkBack(tuple(points), end_point, watch.witnesses, limits)


@dataclass(frozen=True)
class _Watch:
    """What the cleaned weights left of each watched trigger, and how much more of it a point nearer to the original may show."""

    most: tuple[float, ...]  # excess of each trigger up to which it stays gone; infinite for one that does not count
    witnesses: int  # triggers that acted on the original and that the cleaned weights ignore
    ahead: int  # points beyond the one to take, at which the triggers must stay gone too

    @classmethod
    def of(cls, watched: Sequence[WatchedTrigger], end_probes: Sequence[detect.Probe], /, *, limit: float) -> "_Watch":
        pairs = list(zip(watched, end_probes, strict=True))
        removed = [trigger.acted > limit and end.excess <= MOST_LEFT_SHARE * trigger.acted for trigger, end in pairs]
        witnesses = [trigger for trigger, gone in zip(watched, removed, strict=True) if gone]
        ahead = 1 if witnesses and all(trigger.is_found for trigger in witnesses) else 0

        def most(trigger: WatchedTrigger, end: detect.Probe, gone: bool) -> float:
            if trigger.is_doubtful and not gone:
                return math.inf
            # Where the point before is taken, a found trigger may begin to act. At 0.55 of the way a planted patch acted on 0.02 of the
            # images, the trigger that the search had found on 0.01; at 0.7 on 0.006 and 0.009.
            if ahead and trigger.is_found:
                return max(end.excess, 0.0) + limit / 2
            # A fifth of 0.05 is four of 400 images: where nothing came back, measurements differed by at most three (commit a95ae354:
            # benchmarks/results/notebook.md, "What a finetuning after unlearning brings back").
            return max(end.excess, limit / 5, CHANCE_IMAGES / max(end.asr.n, 1))

        bounds = tuple(most(*pair, gone) for pair, gone in zip(pairs, removed, strict=True))
        return cls(bounds, len(witnesses), ahead)

    def stays_gone(self, point: Point, /) -> bool:
        """Whether each trigger does."""
        return not any(probe.excess > most for probe, most in zip(point.measurement.suspected, self.most, strict=True))


def between(original: Weights, end: Weights, /, *, share: float) -> dict[str, Tensor]:
    """The weights at ``share`` of the way from ``original`` to ``end``; whole numbers are those of ``end``.

    Statistics of normalisation are interpolated too. At both ends the original tensors are returned.
    """
    if share in (0.0, 1.0):
        return dict(end if share else original)
    # Counters of normalisation layers are whole numbers and cannot be interpolated.
    return {
        name: torch.lerp(original[name], tensor, share) if tensor.is_floating_point() else tensor
        for name, tensor in end.items()
    }
