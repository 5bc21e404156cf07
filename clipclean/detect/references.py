"""What clean models need: the sizes of the smallest triggers that the search finds in models without a backdoor.

Absolute thresholds fail: how small a natural trigger is depends on the architecture. So a found trigger is compared
with what the same search finds in clean models of the same kind.
"""

import functools
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from clipclean.detect.families import FAMILIES

FEW = 4  # sizes; from fewer their own deviation cannot be told
DEVIATION = 0.35  # of the logarithm of a size between clean models, where there are too few to tell: docs/evidence.md
NEAR = 2.5  # factor between the numbers of classes within which stored sizes serve
FLOOR = 0.2  # least deviation: a few equal sizes would make any difference infinite
UNBOUNDED = 0.5  # the same where sizes are bounds, in a family that nothing is stored of
FREELY = ", no target"


@dataclass(frozen=True)
class Range:
    """The smallest sizes that clean models have in one family, one a model.

    A size at ``cap`` says that the search found none: what that model needs is at least as large, and how much larger is
    not known. ``spread`` is the least deviation where half of the sizes or more are such bounds: how much sizes of the family
    vary between clean models of other kinds.
    """

    sizes: tuple[float, ...]
    cap: float = math.inf
    spread: float = UNBOUNDED

    @property
    def median(self) -> float:
        """Of the logarithms, as a size."""
        return math.exp(statistics.median(map(math.log, self.sizes)))

    def abnormality(self, size: float, /) -> float:
        """How many deviations the logarithm of ``size`` lies below the median of these.

        A deviation is the larger of 1.4826 times the median absolute deviation and the standard deviation, of which neither
        alone is safe with so few models, and at least a floor, or ``spread`` where half of the sizes or more are bounds; with
        fewer than four sizes it is at least a fixed one.
        """
        logs = [math.log(each) for each in self.sizes]
        centre = statistics.median(logs)
        floor = self.spread if 2 * sum(each >= self.cap for each in self.sizes) >= len(logs) else FLOOR
        if len(logs) < FEW:
            return (centre - math.log(size)) / max(DEVIATION, floor)
        return (centre - math.log(size)) / max(_deviation(logs), floor)

    def as_dict(self) -> dict[str, Any]:  # Any: JSON
        """``reference`` of a found trigger in a report."""
        return {"median": self.median, "low": min(self.sizes), "high": max(self.sizes), "n": len(self.sizes)}


@dataclass(frozen=True)
class Yardstick:
    """Sizes that clean models need, by family, and where they come from: ``stored`` or ``reference``."""

    kind: str
    name: str
    models: int
    ranges: Mapping[str, Range]

    def sizes(self, family: str, /) -> Range | None:
        """Those of one family; None where none were measured."""
        return self.ranges.get(family)


def yardstick(kind: str, name: str, smallest: Sequence[Mapping[str, float]], /) -> Yardstick:
    """A yardstick of the smallest sizes that hunts in clean models ended with, one mapping a model."""
    families = sorted({family for sizes in smallest for family in sizes})
    ranges = {
        family: Range(tuple(sizes[family] for sizes in smallest if family in sizes), cap_of(family), _spread(family))
        for family in families
    }
    return Yardstick(kind, name, len(smallest), ranges)


def freely(family: str, /) -> str:
    """How a yardstick calls the sizes that searches of a family without a target end with."""
    return f"{family}{FREELY}"


def cap_of(name: str, /) -> float:
    """The largest size that a family's triggers can have, by the family's name or by that of :func:`freely`.

    It is stored to five places, so it is rounded down to as many.
    """
    return math.floor(1e5 * FAMILIES[name.removesuffix(FREELY)].cap) / 1e5


def _spread(name: str) -> float:
    """The largest deviation of a family's sizes, or of those without a target, among the kinds of model that ship."""
    sizes = [[model[name] for model in known["models"] if name in model] for known in _shipped().values()]
    found = [_deviation([math.log(size) for size in of]) for of in sizes if len(of) >= FEW]
    return max([FLOOR, *found]) if found else UNBOUNDED


def _deviation(logs: Sequence[float]) -> float:
    """The larger of 1.4826 times the median absolute deviation and the standard deviation."""
    centre = statistics.median(logs)
    return max(1.4826 * statistics.median(abs(log - centre) for log in logs), statistics.stdev(logs))


def stored(kind: str, /, *, classes: int) -> Yardstick | None:
    """What ships for a kind of architecture; None where nothing does, or the class list is of another size altogether.

    The more classes, the smaller the smallest trigger: within a factor of two and a half the sizes serve.
    """
    known = _shipped().get(kind)
    if known is None or not known["classes"] / NEAR <= classes <= known["classes"] * NEAR:
        return None
    return yardstick("stored", known["name"], known["models"])


@functools.cache
def _shipped() -> dict[str, Any]:
    text = resources.files("clipclean.detect").joinpath("references.json").read_text(encoding="utf-8")
    shipped: dict[str, Any] = json.loads(text)
    return shipped
