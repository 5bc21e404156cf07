"""Rounding: whether a search may compute in bfloat16, whose digits can hide what a trigger says."""

from collections.abc import Iterator

import torch
from torch import Generator, Tensor

from clipclean import model
from clipclean.detect.forward import CHANGES, TILES, random_changes, tiles
from clipclean.detect.inversion import Embed
from clipclean.detect.measure import spaced
from clipclean.detect.zeroshot import Canonical, canonical_form
from clipclean.progress import counted

# Images on which both formats are compared: as they are, changed, and under each tile.
TRIED, CHANGED, PASTED = 64, 16, 4
AGREE = 0.95  # share of images as they are that must get the same class
ERROR = 0.15  # of the canonical logits, relative to their own size: sound models show at most 0.01, hidden triggers 0.6 and more
CLASSES = 8  # most classes towards which images are moved by their gradients
PASSES = 2 * (TRIED + CHANGED * (CHANGES + CLASSES) + PASTED * TILES)  # of an image, in either format
STEP = 0.5  # of such a move, of the range of a pixel


def fastest(embed: Embed, pixels: Tensor, text_classifier: Tensor, /) -> Embed:
    """``embed`` in bfloat16 if that is faster and changes few answers, else unchanged.

    A constant that all embeddings share uses up the digits of bfloat16, so answers are compared, not embeddings. One inside of the
    model can hide what a trigger says and nothing else, so the answers to noise, to tiles and to images that follow the exact
    gradients are compared as well.
    """
    if not model.has_bfloat16(pixels.device):
        return embed

    def reduced(images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, dtype=torch.bfloat16):
            return embed(images).float()

    form = canonical_form(text_classifier)
    some, few, least = (spaced(pixels, most) for most in (TRIED, CHANGED, PASTED))
    if not _alike(embed, reduced, some, form=form, agree=AGREE):
        return embed
    changed = (
        *random_changes(few, Generator().manual_seed(0)),
        *_moved(embed, few, form=form),
        *(tile.painted(least) for tile in tiles(least.shape[-1])),
    )
    # One after the other: a trigger is one change among many.
    tried = counted("comparing bfloat16", changed, len(changed))
    return reduced if all(_alike(embed, reduced, images, form=form) for images in tried) else embed


def _moved(embed: Embed, pixels: Tensor, *, form: Canonical) -> Iterator[Tensor]:
    """Images (N, 3, S, S) moved towards each of some classes by the signs of the exact gradients."""
    classes = len(form.texts)
    for goal in range(0, classes, -(-classes // CLASSES)):
        asked = pixels.detach().clone().requires_grad_()
        (along,) = torch.autograd.grad(form.logits(embed(asked).float())[:, goal].sum(), asked)
        yield (pixels + STEP * along.sign()).clamp(0, 1)


@torch.no_grad()
def _alike(exact: Embed, rough: Embed, images: Tensor, /, *, form: Canonical, agree: float = 0.0) -> bool:
    """Whether two forms of a model give images the same classes, by nearly the same logits."""
    embedded = exact(images).float(), rough(images)
    if not all(each.isfinite().all() for each in embedded):
        return False
    wanted, found = (form.logits(each) for each in embedded)
    same = (wanted.argmax(1) == found.argmax(1)).float().mean().item()
    off = ((found - wanted).square().mean() / wanted.square().mean().clamp(min=1e-12)).sqrt().item()
    # Both: classes may agree while margins, by which triggers are compared, do not.
    return same >= agree and off <= ERROR
