"""How far embeddings stand from those of another model, as losses."""

from torch import Tensor


def squared_distance(embeddings: Tensor, others: Tensor, /) -> Tensor:
    """Mean squared L2 distance of unit embeddings (B, D) to others (B, D), pair by pair: a scalar in [0, 4]."""
    return (embeddings - others).square().sum(-1).mean()
