"""Metrics: rates with confidence intervals, and distances between embeddings."""

import math
from dataclasses import dataclass

from torch import Tensor

from clipclean.schema.part import finite
from clipclean.schema.report import RateRecord

Z_95 = 1.959964  # two-sided 95 %


@dataclass(frozen=True)
class Rate:
    """``hits`` out of ``n``; with n = 0 the value is nan and the interval (0, 1).

    Rate(hits=8, n=10).interval  # (0.490, 0.943)
    """

    hits: int
    n: int

    @property
    def value(self) -> float:
        """The share, in [0, 1], or nan."""
        return self.hits / self.n if self.n else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval, without continuity correction.

        Unlike the normal one it stays in [0, 1] and has a width where no hit, or only hits, were seen.
        Source: Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953.
        """
        if not self.n:
            return 0.0, 1.0
        p, n, z2 = self.value, self.n, Z_95 * Z_95
        centre = (p + z2 / (2 * n)) / (1 + z2 / n)
        half = Z_95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
        low = 0.0 if self.hits == 0 else centre - half  # exactly 0 or 1, where rounding would give 1e-17
        high = 1.0 if self.hits == self.n else centre + half
        return low, high

    def record(self) -> RateRecord:
        """For a report; the value is None where it is unknown."""
        return RateRecord(value=finite(self.value), interval=self.interval, n=self.n)


def paired_difference(after: Rate, before: Rate, /, *, both: int) -> tuple[float, float]:
    """95 % interval of ``after.value - before.value`` for two rates over the same images, of which ``both`` are hits twice: in [-1, 1].

    Source: Newcombe 1998, Statistics in Medicine 17:2635, method 10.
    """
    if not after.n:
        return -1.0, 1.0
    # Phi of the two conditions, where positive with Newcombe's continuity correction; 0 where one never varies.
    margins = after.hits * (after.n - after.hits) * before.hits * (before.n - before.hits)
    neither = after.n - after.hits - before.hits + both
    product: float = both * neither - (after.hits - both) * (before.hits - both)
    phi = max(product - after.n / 2, 0.0) if product > 0 else product
    phi = phi / math.sqrt(margins) if margins else 0.0
    (low_a, high_a), (low_b, high_b) = after.interval, before.interval
    a, b = after.value, before.value

    def reach(x: float, y: float) -> float:
        return math.sqrt(max(x * x - 2 * phi * x * y + y * y, 0.0))

    return a - b - reach(a - low_a, high_b - b), a - b + reach(high_a - a, b - low_b)


def shift(clean: Tensor, triggered: Tensor) -> float:
    """Embedding distance: mean squared L2 distance of unit embeddings (N, D) of images and their triggered copies.

    Equals 2 - 2cos; in [0, 4], 2 for orthogonal ones; nan without images. The CleanCLIP paper prints such a figure
    (1.62 before cleaning, 0.57 after; arXiv 2303.03323) but its code has none, so the definition is ours.
    """
    # By the difference: 2 - 2cos would lose small distances to rounding.
    return (triggered.float() - clean.float()).square().sum(-1).mean().item()


def spread(embeddings: Tensor) -> float:
    """Mean squared distance of unit embeddings (N, D) to their mean, in [0, 1]; nan without images.

    A backdoored model gathers triggered images in one spot: compare with the spread of the clean ones.
    """
    embeddings = embeddings.float()
    return (embeddings - embeddings.mean(0)).square().sum(-1).mean().item()
