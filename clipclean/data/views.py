"""The augmented view of an image: AutoAugment, as CleanCLIP uses it."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Generator, Tensor
from torchvision.transforms import AutoAugment
from torchvision.transforms import functional as TF


def image_view(image: Tensor, /, *, seed: int) -> Tensor:
    """The image after torchvision's AutoAugment with the ImageNet policy, drawn from ``seed`` alone.

    CleanCLIP augments the raw image, before resize and crop, so hand over the decoded image at its own size.
    The pixels equal ``AutoAugment()(pil_image)`` after ``torch.manual_seed(seed)``, but no global random state is
    read or changed, so threads may call it side by side. The work is done on a PIL image, as in the reference code:
    one core takes 1.7 ms for 375 x 500 pixels, where torchvision's tensor path takes 2.9. Where torchvision builds its
    policies for each image, they are built once here, and small images take half of its time.

    Args:
        image: uint8 (3, H, W), RGB in [0, 255], on the CPU.
        seed: any integer of 64 bits; draw a fresh one for each image and epoch.

    Returns:
        uint8 (3, H, W), a new tensor; in memory the colours of a pixel are neighbours, as a decoder leaves them.

    Source: Cubuk et al., 2019, arXiv 1805.09501; used by Bansal et al., 2023, arXiv 2303.03323.

    Example:
        >>> image_view(torch.zeros(3, 40, 40, dtype=torch.uint8), seed=7).shape
        torch.Size([3, 40, 40])
    """
    pil = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())  # (H, W, 3)
    for name, magnitude in _drawn(seed):
        pil = _OPERATIONS[name](pil, magnitude)
    return torch.from_numpy(np.array(pil)).permute(2, 0, 1)


def _drawn(seed: int, /) -> list[tuple[str, float]]:
    """The operations and magnitudes that torchvision would draw from this seed, in its order."""
    generator = torch.Generator().manual_seed(seed)
    policies, magnitudes = _policies()
    policy = policies[int(torch.randint(len(policies), (1,), generator=generator))]
    probabilities = torch.rand(2, generator=generator).tolist()
    signs = torch.randint(2, (2,), generator=generator).tolist()
    drawn = []
    for (name, probability, place), chance, sign in zip(policy, probabilities, signs, strict=True):
        values, is_signed = magnitudes[name]
        magnitude = 0.0 if place is None else values[place]
        if chance <= probability:
            drawn.append((name, -magnitude if is_signed and sign == 0 else magnitude))
    return drawn


@functools.cache
def _policies() -> tuple[list[tuple[tuple[str, float, int | None], ...]], dict[str, tuple[list[float], bool]]]:
    """Torchvision's policies for ImageNet, and its magnitudes by operation, with whether they have a sign.

    None of these policies moves images sideways, so none of the magnitudes that are used depends on the size.
    """
    known = AutoAugment()
    space = known._augmentation_space(10, (1, 1))
    return known.policies, {name: (values.flatten().tolist(), signed) for name, (values, signed) in space.items()}


def _equalized(pil: Image.Image, _: float) -> Image.Image:
    """``PIL.ImageOps.equalize``, whose loop over 768 entries in Python takes longer than the pixels of a small image."""
    histogram = np.array(pil.histogram()).reshape(3, 256)
    tables = np.tile(np.arange(256), (3, 1))
    for table, counts in zip(tables, histogram, strict=True):
        filled = counts[counts > 0]
        step = int(filled.sum() - filled[-1]) // 255
        if step:
            table[:] = (step // 2 + np.cumsum(counts) - counts) // step
    return pil.point(tables.clip(max=255).ravel().tolist())


_OPERATIONS: dict[str, Callable[[Any, float], Any]] = {  # Any: torchvision's functions take PIL images and tensors
    "ShearX": lambda pil, magnitude: TF.affine(
        pil, 0.0, [0, 0], 1.0, [math.degrees(math.atan(magnitude)), 0.0], center=[0, 0]
    ),
    "Rotate": lambda pil, magnitude: TF.rotate(pil, magnitude),
    "Color": lambda pil, magnitude: TF.adjust_saturation(pil, 1.0 + magnitude),
    "Contrast": lambda pil, magnitude: TF.adjust_contrast(pil, 1.0 + magnitude),
    "Sharpness": lambda pil, magnitude: TF.adjust_sharpness(pil, 1.0 + magnitude),
    "Posterize": lambda pil, magnitude: TF.posterize(pil, int(magnitude)),
    "Solarize": lambda pil, magnitude: TF.solarize(pil, magnitude),
    "AutoContrast": lambda pil, _: TF.autocontrast(pil),
    "Equalize": _equalized,
    "Invert": lambda pil, _: TF.invert(pil),
}  # those of the policies for ImageNet


def enlarged(images: Tensor, /, *, least: float, generator: Generator) -> Tensor:
    """A batch in which every other image, the second and fourth and so on, is a random square part of it, enlarged.

    Args:
        images: (B, 3, S, S), on any device; any range of values, which is kept.
        least: shortest side of a part, relative to the image's, in (0, 1]; sides are uniform between it and 1.
        generator: draws sides and places; on the CPU.

    Returns:
        (B, 3, S, S), a new tensor; sampled bilinearly.
    """
    result, cut = images.clone(), images[1::2]
    if len(cut):
        result[1::2] = _parts(cut, least, generator, mirrored=torch.zeros(len(cut), dtype=torch.bool))
    return result


def mixed(images: Tensor, /, *, share: float, generator: Generator) -> Tensor:
    """A batch in which half of the images are mirrored, and a share of them are a mean with the one before.

    Args:
        images: (B, 3, S, S), on any device; any range of values, which is kept.
        share: chance of an image to be mixed, in [0, 1]; its own part is uniform between 0.3 and 0.7.
        generator: draws everything, on the CPU.

    Source: mixup (Zhang et al. 2018, arXiv 1710.09412), here for distillation, which needs no labels to mix.
    """
    count = len(images)
    mirrored = (torch.rand(count, 1, 1, 1, generator=generator) < 0.5).to(images.device)
    turned = torch.where(mirrored, images.flip(-1), images)
    part = torch.empty(count, 1, 1, 1).uniform_(0.3, 0.7, generator=generator)
    whole = torch.rand(count, 1, 1, 1, generator=generator) >= share
    return torch.lerp(turned.roll(1, dims=0), turned, part.masked_fill(whole, 1.0).to(images))


def moved(images: Tensor, /, *, least: float, mirrored: float, generator: Generator) -> Tensor:
    """A batch in which each image is a random square part of it, enlarged, and some are mirrored left to right.

    Args:
        images: (B, 3, S, S), on any device; any range of values, which is kept.
        least: shortest side of a part, as for :func:`enlarged`; 1 cuts none.
        mirrored: chance of an image to be mirrored, in [0, 1].
        generator: draws sides, places and which are mirrored; on the CPU.

    Returns:
        (B, 3, S, S), a new tensor; sampled bilinearly.
    """
    return _parts(images, least, generator, mirrored=torch.rand(len(images), generator=generator) < mirrored)


def _parts(images: Tensor, least: float, generator: Generator, /, *, mirrored: Tensor) -> Tensor:
    """A random square part of each image (B, 3, S, S), enlarged; those of ``mirrored`` (B,) left to right."""
    sides = torch.empty(len(images)).uniform_(least, 1, generator=generator)
    places = (1 - sides)[:, None] * (2 * torch.rand(len(images), 2, generator=generator) - 1)  # centres, in [-1, 1]
    theta = torch.zeros(len(images), 2, 3)
    theta[:, 0, 0] = torch.where(mirrored, -sides, sides)
    theta[:, 1, 1] = sides
    theta[:, :, 2] = places
    grid = F.affine_grid(theta.to(images), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


LEAST = 0.7  # of the largest side: 16 of 22 px at 224, arXiv 2412.00727


def perturbed(
    pixels: Tensor, /, *, noise: float, noise_share: float, erased_side: float, generator: Generator
) -> Tensor:
    """Copies of images (B, 3, S, S) in [0, 1]: some with Gaussian noise, each with one square erased to grey noise.

    Args:
        pixels: the images.
        noise: standard deviation of the noise, before values are clipped to [0, 1].
        noise_share: chance of an image to get it.
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
