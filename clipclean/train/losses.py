"""Contrastive losses on unit embeddings: across modalities, and within each."""

import torch
import torch.nn.functional as F
from torch import Tensor


def clip_loss(images: Tensor, texts: Tensor, scale: Tensor, /) -> Tensor:
    """L_CLIP: the symmetric cross-modal contrastive loss, a scalar >= 0.

    Args:
        images: unit embeddings (B, D).
        texts: unit embeddings (B, D), pair by pair.
        scale: the factor on cosines, exp(logit scale), a scalar.

    Source: Radford et al. 2021; CleanCLIP (Bansal et al. 2023, arXiv 2303.03323) equation 1.
    """
    # Each image against all captions of the batch and each caption against all images: (B, B), pairs on the diagonal.
    logits = similarities(images, texts, scale)
    return (matching(logits) + matching(logits.T)) / 2


def self_supervised_loss(
    images: Tensor, image_views: Tensor, texts: Tensor, text_views: Tensor, scale: Tensor, /
) -> Tensor:
    """L_SS: each image finds its own second view among all views, and each caption its own; a scalar >= 0.

    One-directional in each modality (from the original to the views), and halved over the two, as published.
    All four arguments are unit embeddings (B, D).

    Source: CleanCLIP (Bansal et al. 2023, arXiv 2303.03323) equation 2.
    """
    # From originals to views alone, as equation 2 has it; SimCLR (Chen et al. 2020) contrasts both ways and all 2B views.
    return (matching(similarities(images, image_views, scale)) + matching(similarities(texts, text_views, scale))) / 2


def similarities(queries: Tensor, keys: Tensor, scale: Tensor, /) -> Tensor:
    """Scaled cosines (B, B) of unit embeddings, never in lower precision.

    Under autocast the product would be rounded to bfloat16: at a scale of 100 in steps of a quarter and more.
    """
    with torch.autocast(queries.device.type, enabled=False):
        return scale.to(queries.dtype) * queries @ keys.T  # (B, D) @ (D, B) -> (B, B)


def matching(logits: Tensor, /) -> Tensor:
    """Cross-entropy of each row (B, B) with its own number as the label: a scalar."""
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def squared_distances(embeddings: Tensor, others: Tensor, /) -> Tensor:
    """Squared L2 distances of unit embeddings (B, D) to others (B, D), pair by pair: (B,), in [0, 4]."""
    return (embeddings - others).square().sum(-1)


def squared_distance(embeddings: Tensor, others: Tensor, /) -> Tensor:
    """The mean of :func:`squared_distances`: a scalar."""
    return squared_distances(embeddings, others).mean()
