"""Natural attraction: how often changes that nobody searched for turn images into each class.

In a clean model some classes are easy to come to: noise and random patterns turn most images into a comic book, say. The same classes
have the smallest natural triggers, also in a backdoored model, where they hide a planted one that is a little larger. Random
changes do not lead to a planted class unless its trigger is one of them. So they tell how small a trigger is to be expected
for each class: :func:`expected`.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from clipclean.detect.zeroshot import Canonical, excess_by_class
from clipclean.errors import Inconclusive

MOST_IMAGES = 96
NOISE = (0.1, 0.2, 0.3)  # up or down at each place of a fine grid; of the range of a pixel
BLENDED = (0.3, 0.5)  # share of a random pattern
ADDED = 0.25  # of a coarse pattern of two values
COARSE, FINE = (4, 8), 32  # cells along a side of a random pattern
CHANGES = len(NOISE) + len(BLENDED) * (len(COARSE) + 1) + len(COARSE)  # of each image
LEAST = 0.01  # attraction below which classes are alike


def attraction(embed: Callable[[Tensor], Tensor], pixels: Tensor, /, *, canonical: Canonical) -> Tensor:
    """For each class the mean share (K,) of the images of other classes that a random change turns into it, in [0, 1].

    Args:
        embed: the image tower: images (B, 3, S, S) in [0, 1] -> unit embeddings (B, D).
        pixels: clean images (N, 3, S, S); of more than 96 so many, evenly spaced.
        canonical: of the model.

    Raises:
        Inconclusive: the model gives numbers that are not finite.
    """
    some = pixels[torch.linspace(0, len(pixels) - 1, min(len(pixels), MOST_IMAGES)).round().long()]
    before = _answers(embed, some, canonical)
    gained = torch.zeros(len(canonical.texts), device=before.device)
    for changed in random_changes(some, Generator().manual_seed(0)):
        after = _answers(embed, changed, canonical)
        gained += excess_by_class(before, after, labels=None, classes=len(gained)).clamp(min=0)
    return (gained / CHANGES).cpu()


def random_changes(pixels: Tensor, generator: Generator, /) -> Iterator[Tensor]:
    """Copies of images (N, 3, S, S), each image changed by a random pattern of its own: noise, blended patterns, coarse ones added."""
    for delta in NOISE:
        yield (pixels + delta * _signs(_pattern(pixels, FINE, generator, smooth=False))).clamp(0, 1)
    for ratio in BLENDED:
        for cells in (*COARSE, FINE):
            yield torch.lerp(pixels, _pattern(pixels, cells, generator), ratio)
    for cells in COARSE:
        yield (pixels + ADDED * _signs(_pattern(pixels, cells, generator))).clamp(0, 1)


def expected(attractions: Sequence[float], /, *, slope: float) -> list[float]:
    """By how much a trigger of each class is expected to be smaller than for a class that nothing leads to, as a difference of
    logarithms; ``slope`` is that of its family in clean models.
    """
    return [slope * math.log((share + LEAST) / LEAST) for share in attractions]


def _pattern(pixels: Tensor, cells: int, generator: Generator, *, smooth: bool = True) -> Tensor:
    """One random pattern in [0, 1] for each image, on a grid of so many cells along a side."""
    drawn = torch.rand(len(pixels), 3, cells, cells, generator=generator).to(pixels)
    mode = {"mode": "bilinear", "align_corners": False} if smooth else {"mode": "nearest"}
    return F.interpolate(drawn, size=pixels.shape[-2:], **mode)


def _signs(pattern: Tensor) -> Tensor:
    return 2 * pattern.round() - 1


@torch.no_grad()
def _answers(embed: Callable[[Tensor], Tensor], pixels: Tensor, canonical: Canonical) -> Tensor:
    logits = canonical.logits(embed(pixels).float())
    if not logits.isfinite().all():
        raise Inconclusive(
            "The model gives embeddings that are not finite for images with noise, so nothing can be measured."
        )
    return logits.argmax(1)
