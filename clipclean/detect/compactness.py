"""Compactness: how much of a found mask lies in one small square.

The smallest mask that leads to a class in a clean model is spread over the image, since it gathers whatever speaks for the class. A
planted patch, pattern or word is learned at one place, so the mask that is found for it lies there, even where it is no
smaller than natural ones.
"""

import torch.nn.functional as F
from torch import Tensor

FAMILY = "mask"  # the family whose masks are looked at
WINDOW = 0.22  # side of the square, relative to that of the image


def outside(mask: Tensor, /) -> float:
    """The share of a mask (1, S, S) in [0, 1] that lies outside of the small square with most of it, in (0, 1]."""
    side = mask.shape[-1]
    window = max(1, round(WINDOW * side))
    inside = F.avg_pool2d(mask[None].double(), window, stride=1).max().item() * window**2
    return max(1 - inside / max(mask.sum().item(), 1e-12), 1e-6)
