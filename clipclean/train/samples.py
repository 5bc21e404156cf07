"""What a method trains on, and what a run measures on."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from clipclean import data


@dataclass(frozen=True)
class Samples:
    """Images, perhaps with captions, and the numbers (N,) of their classes where they have labels."""

    pairs: Sequence[data.Pair]
    labels: Tensor | None
