"""Weights between a model and its cleaned self: each point costs less accuracy, and brings some of the backdoor back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

SHARES = (0.925, 0.85)  # of the way from the original to the cleaned model; 1 is the cleaned one itself

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
