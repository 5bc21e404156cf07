"""A rate is hits out of n, with the interval that the evidence allows."""

import math
from dataclasses import dataclass

Z = 1.959964  # two-sided 95 %


@dataclass(frozen=True)
class Rate:
    """``hits`` out of ``n``; with n = 0 nothing is known: the value is nan and the interval (0, 1).

        Rate(hits=8, n=10).interval  # (0.490, 0.943)

    Raises:
        ValueError: hits is not between 0 and n.
    """

    hits: int
    n: int

    def __post_init__(self) -> None:
        if not 0 <= self.hits <= self.n:
            raise ValueError(f"A rate needs 0 <= hits <= n, not {self.hits} of {self.n}.")

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
        p, n, z2 = self.value, self.n, Z * Z
        centre = (p + z2 / (2 * n)) / (1 + z2 / n)
        half = Z / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
        low = 0.0 if self.hits == 0 else centre - half  # exact where rounding would leave 1e-17
        high = 1.0 if self.hits == self.n else centre + half
        return low, high

    def as_dict(self) -> dict[str, float | int | list[float] | None]:
        """What JSON can hold: ``{"value", "interval", "n"}``, the value null where it is unknown."""
        return {"value": self.value if self.n else None, "interval": list(self.interval), "n": self.n}


def paired_difference(after: Rate, before: Rate, /, *, both: int) -> tuple[float, float]:
    """95 % interval of ``after.value - before.value`` for two rates over the same images, in [-1, 1].

    Args:
        after: the rate in one condition.
        before: the rate of the same images in the other.
        both: how many images are hits in both conditions.

    Raises:
        ValueError: the rates differ in n, or ``both`` contradicts them.

    Source: Newcombe 1998, Statistics in Medicine 17:2635, method 10.
    """
    neither = after.n - after.hits - before.hits + both
    if after.n != before.n or not 0 <= both <= min(after.hits, before.hits) or neither < 0:
        raise ValueError(f"{both} images cannot be hits in both {after} and {before}.")
    if not after.n:
        return -1.0, 1.0
    phi = _correlation(after, before, both, neither)
    (low_a, high_a), (low_b, high_b) = after.interval, before.interval
    a, b = after.value, before.value

    def reach(x: float, y: float) -> float:
        return math.sqrt(max(x * x - 2 * phi * x * y + y * y, 0.0))

    return a - b - reach(a - low_a, high_b - b), a - b + reach(high_a - a, b - low_b)


def _correlation(after: Rate, before: Rate, both: int, neither: int) -> float:
    """Phi of the two conditions, where positive with Newcombe's continuity correction; 0 where one never varies."""
    margins = after.hits * (after.n - after.hits) * before.hits * (before.n - before.hits)
    product: float = both * neither - (after.hits - both) * (before.hits - both)
    if product > 0:
        product = max(product - after.n / 2, 0.0)
    return product / math.sqrt(margins) if margins else 0.0
