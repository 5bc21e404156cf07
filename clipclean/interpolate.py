"""Weights between a model and its cleaned self: each point costs less accuracy, and brings some of the backdoor back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

SHARES = (0.85, 0.7)  # of the way from the original to the cleaned model; 1 is the cleaned one itself

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Point:
    """What was measured at one share of the way.

    Attributes:
        share: of the way from the original (0) to the cleaned model (1).
        excess: excess attack success of the trigger that acts most; 0 where none is looked for.
        accuracy_lost: clean accuracy of the original minus that here, on the same pictures.
    """

    share: float
    excess: float
    accuracy_lost: float

    def passes(self, *, max_excess: float, max_accuracy_loss: float) -> bool:
        """Whether both stay within their limits, by value."""
        return self.excess <= max_excess and self.accuracy_lost <= max_accuracy_loss

    def as_dict(self) -> dict[str, Any]:  # Any: JSON
        """For a report."""
        return {"share": self.share, "excess": self.excess, "accuracy_lost": self.accuracy_lost}


def between(original: Weights, cleaned: Weights, /, *, share: float) -> dict[str, Tensor]:
    """The weights at ``share`` of the way from ``original`` to ``cleaned``; whole numbers are those of ``cleaned``.

    Statistics of normalisation are on the way too. At the ends the very tensors come back.

    Source: interpolation of finetuned CLIPs is that of WiSE-FT (Wortsman et al. 2022, arXiv 2109.01903).
    """
    if share in (0.0, 1.0):
        return dict(cleaned if share else original)
    return {
        name: torch.lerp(original[name], tensor, share) if tensor.is_floating_point() else tensor
        for name, tensor in cleaned.items()
    }


def walk(
    original: Weights,
    cleaned: Weights,
    /,
    *,
    shares: Sequence[float],
    measure: Callable[[dict[str, Tensor], float], Point],
) -> tuple[Point, ...]:
    """The points at ``shares``, each measured on its weights."""
    return tuple(measure(between(original, cleaned, share=share), share) for share in shares)


def best(points: Sequence[Point], /, *, max_excess: float, max_accuracy_loss: float, gain: float) -> Point | None:
    """Of the points that pass the one with most accuracy; the cleaned model itself unless that is better by ``gain``.

    None where no point passes.
    """
    passing = [p for p in points if p.passes(max_excess=max_excess, max_accuracy_loss=max_accuracy_loss)]
    if not passing:
        return None
    top = min(passing, key=lambda point: (point.accuracy_lost, -point.share))
    whole = next((point for point in passing if point.share == 1), None)
    return whole if whole and whole.accuracy_lost - top.accuracy_lost < gain else top
