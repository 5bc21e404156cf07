"""The augmented view of an image: AutoAugment, as CleanCLIP uses it."""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Generator, Tensor
from torchvision.transforms import AutoAugment

# By operation. No policy for ImageNet moves images sideways, so none of those that are used depends on the size.
_MAGNITUDES: dict[str, tuple[Tensor, bool]] = AutoAugment()._augmentation_space(10, (1, 1))


def image_view(image: Tensor, /, *, seed: int) -> Tensor:
    """The image after torchvision's AutoAugment with the ImageNet policy, drawn from ``seed`` alone.

    CleanCLIP augments the raw image, before resize and crop, so hand over the decoded image at its own size.
    The pixels equal ``AutoAugment()(pil_image)`` after ``torch.manual_seed(seed)``, but no global random state is
    read or changed, so threads may call it side by side. The work is done on a PIL image, as in the reference code:
    one core takes 1.7 ms for 375 x 500 pixels, where torchvision's tensor path takes 2.9.

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
    return torch.from_numpy(np.array(_SeededAugment(seed)(pil))).permute(2, 0, 1)


class _SeededAugment(AutoAugment):  # type: ignore[misc]  # torchvision is untyped
    """Torchvision's AutoAugment with the ImageNet policy; what it draws follows from the seed, not from global state."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def get_params(self, transform_num: int) -> tuple[int, Tensor, Tensor]:
        """The policy, and the chance and sign of its two operations, in torchvision's order of drawing."""
        draw = torch.Generator().manual_seed(self.seed)
        policy = int(torch.randint(transform_num, (1,), generator=draw))
        return policy, torch.rand(2, generator=draw), torch.randint(2, (2,), generator=draw)

    def _augmentation_space(self, *_: object) -> dict[str, tuple[Tensor, bool]]:
        return _MAGNITUDES


def enlarge_parts(images: Tensor, /, *, least: float, generator: Generator) -> Tensor:
    """A batch in which every other image, the second and fourth and so on, is a random square part of it, enlarged.

    Args:
        images: (B, 3, S, S), on any device; any range of values, which is kept.
        least: shortest side of a part, relative to the image's, in (0, 1]; sides are uniform between it and 1.
        generator: draws sides and places; on the CPU.

    Returns:
        (B, 3, S, S), a new tensor; sampled bilinearly.
    """
    result, sources = images.clone(), images[1::2]
    if len(sources):
        result[1::2] = _parts(sources, least, generator, is_mirrored=torch.zeros(len(sources), dtype=torch.bool))
    return result


def mix(images: Tensor, /, *, share: float, generator: Generator) -> Tensor:
    """A batch in which half of the images are mirrored, and a share of them are a mean with the one before.

    Args:
        images: (B, 3, S, S), on any device; any range of values, which is kept.
        share: chance of an image to be mixed, in [0, 1]; its own part is uniform between 0.3 and 0.7.
        generator: draws everything, on the CPU.

    Source: mixup (Zhang et al. 2018, arXiv 1710.09412), here for distillation, which needs no labels to mix.
    """
    count = len(images)
    is_mirrored = (torch.rand(count, 1, 1, 1, generator=generator) < 0.5).to(images.device)
    flips = torch.where(is_mirrored, images.flip(-1), images)
    part = torch.empty(count, 1, 1, 1).uniform_(0.3, 0.7, generator=generator)
    is_pure = torch.rand(count, 1, 1, 1, generator=generator) >= share
    return torch.lerp(flips.roll(1, dims=0), flips, part.masked_fill(is_pure, 1.0).to(images))


def move(images: Tensor, /, *, least: float, mirror_share: float, generator: Generator) -> Tensor:
    """A batch in which each image is a random square part of it, enlarged, and some are mirrored left to right.

    Args:
        images: (B, 3, S, S), on any device; any range of values, which is kept.
        least: shortest side of a part, as for :func:`enlarged`; 1 cuts none.
        mirror_share: chance of an image to be mirrored, in [0, 1].
        generator: draws sides, places and which are mirrored; on the CPU.

    Returns:
        (B, 3, S, S), a new tensor; sampled bilinearly.
    """
    return _parts(images, least, generator, is_mirrored=torch.rand(len(images), generator=generator) < mirror_share)


def _parts(images: Tensor, least: float, generator: Generator, /, *, is_mirrored: Tensor) -> Tensor:
    """A random square part of each image (B, 3, S, S), enlarged; those of ``is_mirrored`` (B,) left to right."""
    sides = torch.empty(len(images)).uniform_(least, 1, generator=generator)
    centres = (1 - sides)[:, None] * (2 * torch.rand(len(images), 2, generator=generator) - 1)  # centres, in [-1, 1]
    theta = torch.zeros(len(images), 2, 3)
    theta[:, 0, 0] = torch.where(is_mirrored, -sides, sides)
    theta[:, 1, 1] = sides
    theta[:, :, 2] = centres
    grid = F.affine_grid(theta.to(images), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


LEAST_ERASED_SIDE = 0.7  # of the largest side: 16 of 22 px at 224, arXiv 2412.00727


def perturb(pixels: Tensor, /, *, noise: float, noise_share: float, erased_side: float, generator: Generator) -> Tensor:
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
    result = (pixels + (noisy * torch.randn(pixels.shape, generator=generator)).to(pixels)).clamp(0, 1)
    if erased_side == 0:
        return result
    sides = (
        (erased_side * min(height, width) * torch.empty(count).uniform_(LEAST_ERASED_SIDE, 1, generator=generator))
        .ceil()
        .long()
    )
    corners = torch.rand(count, 2, generator=generator)
    fill = torch.rand(pixels.shape, generator=generator).to(pixels)
    for number, (side, (y, x)) in enumerate(zip(sides.tolist(), corners.tolist(), strict=True)):
        top, left = int(y * (height - side + 1)), int(x * (width - side + 1))
        square = (number, slice(None), slice(top, top + side), slice(left, left + side))
        result[square] = fill[square]
    return result
