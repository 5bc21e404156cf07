"""Parts of pictures, enlarged: more to learn from than a few hundred whole ones."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


def enlarged(images: Tensor, /, *, least: float, generator: Generator) -> Tensor:
    """A batch in which every other picture, the second and fourth and so on, is a random square part of it, enlarged.

    Args:
        images: (B, 3, S, S), on any device; any range of values, which is kept.
        least: shortest side of a part, relative to the picture's, in (0, 1]; sides are uniform between it and 1.
        generator: draws sides and places; on the CPU.

    Returns:
        (B, 3, S, S), a new tensor; sampled bilinearly.
    """
    result, cut = images.clone(), images[1::2]
    if not len(cut):
        return result
    sides = torch.empty(len(cut)).uniform_(least, 1, generator=generator)
    places = (1 - sides)[:, None] * (2 * torch.rand(len(cut), 2, generator=generator) - 1)  # centres, in [-1, 1]
    theta = torch.zeros(len(cut), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = sides
    theta[:, :, 2] = places
    grid = F.affine_grid(theta.to(images), list(cut.shape), align_corners=False)
    result[1::2] = F.grid_sample(cut, grid, padding_mode="border", align_corners=False)
    return result
