"""Tiles: small squares pasted on images, a coarse sweep by forward passes for triggers that no gradient leads to."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from clipclean.detect.families import FAMILIES
from clipclean.detect.inversion import SearchCandidate
from clipclean.detect.panel import ACTS, excess
from clipclean.detect.zeroshot import Canonical

FAMILY = "mask"  # the family of the search that paints a tile at its place
SIDES = (3 / 32, 0.15, 0.25)  # of a tile, relative to that of the image: 3, 5 and 8 of 32 px
PLACES = (0.0, 0.5, 1.0)  # along the diagonal, as shares of the free way
NOISES = 4  # random tiles, each pixel and colour off or on
IMAGES, JUDGED = 16, 64  # that each tile is tried on, and that those which act are judged on
TOGETHER = 16  # tiles in a batch
COUNT = len(SIDES) * len(PLACES) * (8 + 2 + NOISES)
ON, OFF = 7.0, -9.0  # of a mask before its sigmoid: 0.999 and 0.0001


class Tile(NamedTuple):
    """A tile (3, K, K) in [0, 1], and the pixel of its upper left corner, down and across."""

    content: Tensor
    corner: int

    def painted(self, images: Tensor, /) -> Tensor:
        """Copies of images (B, 3, S, S) with it."""
        images, end = images.clone(), self.corner + self.content.shape[-1]
        images[..., self.corner : end, self.corner : end] = self.content.to(images)
        return images

    def candidate(self, target: int, side: int, /) -> SearchCandidate:
        """The same as a mask and a pattern."""
        end = self.corner + self.content.shape[-1]
        mask, pattern = torch.full((1, side, side), OFF), torch.zeros(3, side, side)
        mask[:, self.corner : end, self.corner : end] = ON
        pattern[:, self.corner : end, self.corner : end] = ON * (2 * self.content - 1)
        parameters = {"mask": mask, "pattern": pattern}
        size = FAMILIES[FAMILY].size({name: values[None] for name, values in parameters.items()}).item()
        return SearchCandidate(FAMILY, target, parameters, size, is_reached=True)


def tiles(side: int, /) -> Iterator[Tile]:
    """Tiles of one colour, of checks of one pixel, and of noise, in some sizes and places; the smallest first."""
    for share in SIDES:
        width = max(2, round(share * side))
        for content in _contents(width):
            for place in PLACES:
                yield Tile(content, round(place * (side - width)))


def _contents(width: int) -> Iterator[Tensor]:
    for number in range(8):
        colour = torch.tensor([number >> channel & 1 for channel in range(3)]).float()
        yield colour[:, None, None].expand(3, width, width)
    checks = (torch.arange(width)[:, None] + torch.arange(width)) % 2
    yield from (each.float().expand(3, width, width) for each in (checks, 1 - checks))
    rng = Generator().manual_seed(0)
    yield from (torch.randint(2, (3, width, width), generator=rng).float() for _ in range(NOISES))


@torch.no_grad()
def swept(
    embed: Callable[[Tensor], Tensor], pixels: Tensor, /, *, canonical: Canonical, success: float
) -> list[SearchCandidate]:
    """The smallest tile of each class that turns the share ``success`` of images (N, 3, S, S) convincingly into it, if one does."""
    few, more = (pixels[:: max(1, len(pixels) // most)][:most] for most in (IMAGES, JUDGED))
    before, judged = (canonical.logits(embed(some).float()).argmax(1) for some in (few, more))
    found: dict[int, SearchCandidate] = {}
    every = list(tiles(pixels.shape[-1]))
    for start in range(0, len(every), TOGETHER):
        some = every[start : start + TOGETHER]
        logits = canonical.logits(embed(torch.cat([tile.painted(few) for tile in some])).float())
        for tile, rows in zip(some, logits.view(len(some), len(few), -1), strict=True):
            target = int(excess(rows, before, canonical).argmax())
            if target in found or excess(rows, before, canonical)[target] < ACTS:
                continue
            again = excess(canonical.logits(embed(tile.painted(more)).float()), judged, canonical)[target]
            if again >= success:
                found[target] = tile.candidate(target, pixels.shape[-1])
    return list(found.values())
