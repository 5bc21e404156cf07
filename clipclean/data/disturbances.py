"""Random changes of images that leave what they show: waves, blends, colours, warps, blur and noise, and squares that cover a part."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

MOST_WAVES = 16  # periods a side; finer ones are lost where images are made smaller
WAVE_HEIGHTS = (0.05, 0.25)  # height of a wave, relative to full brightness
BLEND_WEIGHTS = (0.05, 0.4)  # weight of what is blended in
CELL_SIDES = (1, 2, 4, 8)  # sides of the cells of a blended pattern, in 32nds of the image's
WARP_SHIFT = 0.25  # most that a control point of a warp moves along each axis, in [-1, 1] coordinates
WARP_GRIDS = (3, 7)  # control points a side of a warp
TINT_SHIFT = 0.45  # most by which black and white move, in each channel
NOISE_DEVIATION = 0.15  # standard deviation of noise, at most
COVERED_SIDES = (0.08, 0.3)  # side of a square that covers a part, relative to the image's


def disturb(images: Tensor, /, *, generator: Generator) -> Tensor:
    """A batch in which each image is changed in one way, or in two, drawn for it.

    Args:
        images: (B, 3, S, S) in [0, 1], on any device.
        generator: draws everything, on the CPU.

    Returns:
        (B, 3, S, S) in [0, 1], a new tensor.
    """
    once = _one_way(images, generator)
    is_twice = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.3
    return torch.where(is_twice.to(images.device), _one_way(once, generator), once)


def _one_way(images: Tensor, generator: Generator) -> Tensor:
    way = torch.randint(len(DISTURBANCES), (len(images),), generator=generator)
    result = images.clone()
    for number, change in enumerate(DISTURBANCES):
        rows = (way == number).nonzero().flatten().to(images.device)
        if len(rows):
            result[rows] = change(images[rows], generator).clamp(0, 1)
    return result


def _uniform(count: int, low: float, high: float, generator: Generator) -> Tensor:
    """Numbers (B, 1, 1, 1) between two bounds."""
    return torch.empty(count, 1, 1, 1).uniform_(low, high, generator=generator)


def _waved(images: Tensor, generator: Generator) -> Tensor:
    """A plane wave is added, or two, of any direction, period and phase, each grey or of a colour."""
    count, _, height, width = images.shape
    down, across = torch.arange(height)[:, None] / height, torch.arange(width) / width
    added = torch.zeros(count, 3, height, width)
    for chance in (1.0, 0.5):
        turn = _uniform(count, 0, torch.pi, generator)
        waves = _uniform(count, 1, MOST_WAVES, generator)
        phase = _uniform(count, 0, 1, generator)
        colour = torch.randn(count, 3, 1, 1, generator=generator)
        colour = colour / colour.abs().amax(1, keepdim=True)
        colour = torch.where(_uniform(count, 0, 1, generator) < 0.5, torch.ones(3, 1, 1), colour)
        height_of = _uniform(count, *WAVE_HEIGHTS, generator) * (_uniform(count, 0, 1, generator) < chance)
        added += (
            height_of * colour * torch.sin(2 * torch.pi * (waves * (turn.cos() * across + turn.sin() * down) + phase))
        )
    return images + added.to(images)


def _blended(images: Tensor, generator: Generator) -> Tensor:
    """Noise in cells, of their own for each image, is blended in."""
    count, _, height, width = images.shape
    number = int(torch.randint(len(CELL_SIDES), (), generator=generator))
    cells = max(1, 32 // CELL_SIDES[number])
    noise = torch.rand(count, 3, cells, cells, generator=generator)
    pattern = F.interpolate(noise, size=(height, width), mode="nearest").to(images)
    return torch.lerp(images, pattern, _uniform(count, *BLEND_WEIGHTS, generator).to(images))


def _overlaid(images: Tensor, generator: Generator) -> Tensor:
    """The image itself is blended in, turned upside down."""
    # Of no other image: of several processes each has its own images alone.
    return torch.lerp(images, images.flip(-2, -1), _uniform(len(images), *BLEND_WEIGHTS, generator).to(images))


def _coloured(images: Tensor, generator: Generator) -> Tensor:
    """Colours become greyer or stronger, and black and white become two other colours, with all between them."""
    count = len(images)
    grey = images.mean(1, keepdim=True)
    turned = grey + _uniform(count, 0, 1.6, generator).to(images) * (images - grey)
    turned = (0.5 + _uniform(count, 0.7, 1.5, generator).to(images) * (turned - 0.5)).clamp(0, 1)
    black, white = (TINT_SHIFT * torch.rand(count, 3, 1, 1, generator=generator).to(images) for _ in range(2))
    return black + turned * (1 - white - black)


def _warped(images: Tensor, generator: Generator) -> Tensor:
    """Pixels move by a smooth field of their own for each image."""
    count, _, height, width = images.shape
    grid = int(torch.randint(WARP_GRIDS[0], WARP_GRIDS[1] + 1, (), generator=generator))
    moves = WARP_SHIFT * (2 * torch.rand(count, 2, grid, grid, generator=generator) - 1)
    flow = F.interpolate(moves, size=(height, width), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    plain = F.affine_grid(torch.eye(2, 3).expand(count, 2, 3), [count, 3, height, width], align_corners=True)
    return F.grid_sample(images, (plain + flow).to(images), padding_mode="border", align_corners=True)


def _blurred(images: Tensor, generator: Generator) -> Tensor:
    """Fewer pixels, and enlarged again."""
    size = images.shape[-2:]
    share = float(torch.empty(()).uniform_(0.3, 0.8, generator=generator))
    small = F.interpolate(images, scale_factor=share, mode="bilinear", antialias=True)
    return F.interpolate(small, size=size, mode="bilinear", align_corners=False)


def _noisy(images: Tensor, generator: Generator) -> Tensor:
    """Noise is added to each pixel."""
    noise = torch.randn(images.shape, generator=generator) * _uniform(len(images), 0, NOISE_DEVIATION, generator)
    return images + noise.to(images)


def _covered(images: Tensor, generator: Generator) -> Tensor:
    """A square of noise in cells, or of one colour, covers a part; in half of the images its values are 0 and 1 alone."""
    count, _, height, width = images.shape
    number = int(torch.randint(len(CELL_SIDES) + 1, (), generator=generator))
    cells = max(1, 32 // CELL_SIDES[number]) if number < len(CELL_SIDES) else 1  # one: a colour
    noise = torch.rand(count, 3, cells, cells, generator=generator)
    noise = torch.where(_uniform(count, 0, 1, generator) < 0.5, noise.round(), noise)
    pattern = F.interpolate(noise, size=(height, width), mode="nearest").to(images)
    side = _uniform(count, *COVERED_SIDES, generator)
    top, left = ((1 - side) * _uniform(count, 0, 1, generator) for _ in range(2))
    down, across = ((torch.arange(size) + 0.5) / size for size in (height, width))
    is_down = (down[:, None] >= top) & (down[:, None] < top + side)
    is_across = (across >= left) & (across < left + side)
    return torch.where((is_down & is_across).to(images.device), pattern, images)


# Waves and colours have few parameters, so that random ones come near to any.
DISTURBANCES: tuple[Callable[[Tensor, Generator], Tensor], ...] = (
    *(_waved,) * 4,
    *(_coloured,) * 3,
    *(_warped,) * 2,
    *(_covered,) * 2,
    _blended,
    _overlaid,
    _blurred,
    _noisy,
)
