"""Distances between the embeddings of images and of their triggered copies."""

import math

from torch import Tensor
from torch.nn.functional import normalize

from clipclean.detect.metrics import Z


def shift(clean: Tensor, triggered: Tensor) -> float:
    """Embedding distance: mean squared L2 distance of unit embeddings (N, D) of images and their triggered copies.

    Equals 2 - 2cos; in [0, 4], 2 for orthogonal ones; nan without images. The CleanCLIP paper prints such a figure
    (1.62 before cleaning, 0.57 after; arXiv 2303.03323) but its code has none, so the definition is ours.
    """
    return _squared(clean, triggered).mean().item()


def shift_interval(clean: Tensor, triggered: Tensor) -> tuple[float, float]:
    """95 % interval of :func:`shift`, normal approximation, cut to [0, 4]; (0, 4) for fewer than two images."""
    squared = _squared(clean, triggered)
    if len(squared) < 2:
        return 0.0, 4.0
    half = Z * squared.std().item() / math.sqrt(len(squared))
    return max(squared.mean().item() - half, 0.0), min(squared.mean().item() + half, 4.0)


def spread(embeddings: Tensor) -> float:
    """Mean squared distance of unit embeddings (N, D) to their mean, in [0, 1]; nan without images.

    A backdoored model gathers triggered images in one spot: compare with the spread of the clean ones.
    """
    embeddings = embeddings.float()
    return (embeddings - embeddings.mean(0)).square().sum(-1).mean().item()


def direction_agreement(clean: Tensor, triggered: Tensor) -> float:
    """Mean cosine of the displacements of embeddings (N, D) to their mean direction, in [0, 1]; nan without images.

    1 when the trigger moves every image the same way, about 1/sqrt(N) for ways at random; an image that stays counts
    as 0. The mean direction is that of the unit displacements, so this is the mean resultant length of directional
    statistics (Mardia and Jupp 2000, Directional Statistics).
    """
    mean: Tensor = normalize(triggered.float() - clean.float(), dim=-1).mean(0)
    return mean.square().sum().sqrt().item()


def _squared(clean: Tensor, triggered: Tensor) -> Tensor:
    """Squared distance of each pair, (N,). By the difference: 2 - 2cos would lose small distances to rounding."""
    return (triggered.float() - clean.float()).square().sum(-1)
