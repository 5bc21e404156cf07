"""DECREE's statistic (Feng et al. 2023, arXiv 2303.15180), written anew from the paper, to compare with.

The smallest mask, as a share of the image, with which a pattern makes the embeddings of all images the same: mean
pairwise cosine above 0.99. An encoder counts as backdoored where that share is below 0.1.
"""

from collections.abc import Callable

import torch
from torch import Tensor

ALIKE = 0.99  # mean pairwise cosine
WEIGHTS = (1e-7, 1e-3)  # least and first weight of the mask's size
FACTOR, PATIENCE = 5.0, 5  # the weight changes by this factor after so many steps that succeed, or fail


def share(embed: Callable[[Tensor], Tensor], pixels: Tensor, /, *, steps: int, batch: int, seed: int) -> float:
    """The smallest share of the image that makes embeddings alike; 1 where no mask did within the steps.

    Args:
        embed: images (B, 3, S, S) in [0, 1] -> unit embeddings (B, D), differentiable.
        pixels: (N, 3, S, S) in [0, 1].
        steps: of Adam, at 0.5, then 0.1 after a fifth, then 0.05 after half.
        batch: images a step.
        seed: draws start and images.
    """
    generator, side = torch.Generator().manual_seed(seed), pixels.shape[-1]
    mask = torch.rand(1, side, side, generator=generator).mul(2).sub(1).requires_grad_()
    pattern = torch.rand(3, side, side, generator=generator).mul(2).sub(1).requires_grad_()
    optimizer = torch.optim.Adam([mask, pattern], lr=0.5, betas=(0.5, 0.9))
    weight, ups, downs, best = WEIGHTS[1], 0, 0, 1.0
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 0.5 if step < steps / 5 else 0.1 if step < steps / 2 else 0.05
        images = pixels[torch.randint(len(pixels), (batch,), generator=generator)]
        cover, paint = (mask.tanh() + 1) / 2, (pattern.tanh() + 1) / 2
        vectors = embed(images * (1 - cover) + paint * cover)
        similar = vectors @ vectors.T
        alike = (similar.sum() - batch) / (batch * (batch - 1))
        size = cover.sum() * 3  # as the paper counts, over the channels
        (-alike + weight * size).backward()
        if alike.item() > ALIKE:
            best, ups, downs = min(best, cover.mean().item()), ups + 1, 0
        else:
            ups, downs = 0, downs + 1
        if ups >= PATIENCE:
            weight, ups = weight * FACTOR, 0
        elif downs >= PATIENCE:
            weight, downs = max(weight / FACTOR, WEIGHTS[0]), 0
        optimizer.step()
        optimizer.zero_grad()
    return best
