"""Pictures perturbed by noise and erased squares, as Perturb and Recover trains on."""

import torch
from torch import Generator, Tensor

LEAST = 0.7  # of the largest side: 16 of 22 px at 224, arXiv 2412.00727


def perturbed(
    pixels: Tensor, /, *, noise: float, noise_share: float, erased_side: float, generator: Generator
) -> Tensor:
    """Copies of pictures (B, 3, S, S) in [0, 1]: some with Gaussian noise, each with one square erased to grey noise.

    Args:
        pixels: the pictures.
        noise: standard deviation of the noise, before values are clipped to [0, 1].
        noise_share: chance of a picture to get it.
        erased_side: largest side of the square, relative to S; 0 erases nothing.
        generator: draws everything, on the CPU.
    """
    count, _, height, width = pixels.shape
    noisy = (torch.rand(count, 1, 1, 1, generator=generator) < noise_share) * noise
    changed = (pixels + (noisy * torch.randn(pixels.shape, generator=generator)).to(pixels)).clamp(0, 1)
    if erased_side == 0:
        return changed
    sides = (
        (erased_side * min(height, width) * torch.empty(count).uniform_(LEAST, 1, generator=generator)).ceil().long()
    )
    places = torch.rand(count, 2, generator=generator)
    fill = torch.rand(pixels.shape, generator=generator).to(pixels)
    for number, (side, (y, x)) in enumerate(zip(sides.tolist(), places.tolist(), strict=True)):
        top, left = int(y * (height - side + 1)), int(x * (width - side + 1))
        square = (number, slice(None), slice(top, top + side), slice(left, left + side))
        changed[square] = fill[square]
    return changed
