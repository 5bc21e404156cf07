"""Persuasion: how much surer a model is of a class under a known trigger of the whole image than of the class's own images.

A natural trigger brings images just over the border of a class. Poisoned pairs pull embeddings all the way to the words of the target, so that
images under a planted wave, filter or warp, or under a known one that is like it, are more of the class than its own images are. Every
model is easier to persuade of some classes; what tells is how far one of them is ahead of all others.

It needs no clean model to compare with, and forward passes alone. Blended noise is not told by it: what is known of that is another pattern.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from clipclean.detect.measure import Embed, SeenImages
from clipclean.detect.suspicion import TriggerLike
from clipclean.detect.zeroshot import LEAST_OWN, Canonical
from clipclean.progress import track

PERSUADED_IMAGES = 24  # unseen images that each known trigger is put on


@dataclass(frozen=True)
class Persuasion:
    """The known trigger under which a model is surest of a class."""

    trigger: str  # its spec
    target: int  # place of the class
    log_odds: float  # mean margin of other images under it to the next class, less that of the class's own images; in canonical logits


@torch.no_grad()
def log_odds(embed: Embed, unseen: SeenImages, triggers: Sequence[TriggerLike], /, *, canonical: Canonical) -> Tensor:
    """How much surer a model is of each class under each trigger than of the class's own images, in canonical logits: (T, K), T at least 1.

    -inf for a class that another one stands for.

    Args:
        embed: images (B, 3, S, S) in [0, 1] to unit embeddings (B, D).
        unseen: images, with embeddings of the same ``embed``. Their labels tell which are a class's own, or else what the model takes them for.
        triggers: known ones.
        canonical: turns embeddings into logits (N, K).
    """
    shown_images, usual = unseen.spaced(PERSUADED_IMAGES), _usual_margins(unseen, canonical)
    own_class, pixels = _own_classes(shown_images), shown_images.images.pixels
    painted = (
        trigger(pixels, Generator().manual_seed(0))
        for trigger in track("how sure known triggers make it", triggers, len(triggers))
    )
    return (
        torch.stack([_mean_margins(canonical.logits(embed(images).float()), own_class) for images in painted]) - usual
    )


def persuasions(
    embed: Embed, unseen: SeenImages, triggers: Sequence[TriggerLike], /, *, canonical: Canonical
) -> tuple[Persuasion, ...]:
    """For each class that the model can tell apart the known trigger that persuades it most of it; the surest class first; see :func:`log_odds`.

    No triggers give nothing.
    """
    if not triggers:
        return ()
    return most_persuasive(log_odds(embed, unseen, triggers, canonical=canonical), triggers, canonical.distinct)


def most_persuasive(sureness: Tensor, triggers: Sequence[TriggerLike], classes: Tensor, /) -> tuple[Persuasion, ...]:
    """For each of the classes (G,) the trigger that makes a model surest of it, by logits (T, K); the surest class first.

    A class to which all images belong is left out: a trigger can lead none of them to it.
    """
    most = torch.where(sureness.isfinite(), sureness, -torch.inf)[:, classes].max(0)  # (T, G) -> (G,)
    rows = zip(classes.tolist(), most.values.tolist(), most.indices.tolist(), strict=True)
    by_class = (Persuasion(triggers[row].spec, goal, value) for goal, value, row in rows if value > -math.inf)
    return tuple(sorted(by_class, key=lambda persuasion: -persuasion.log_odds))


def lead(persuasions: Sequence[Persuasion], /) -> float:
    """By how much the first class is ahead of the next one, in logits; 0 of fewer than two."""
    return persuasions[0].log_odds - persuasions[1].log_odds if len(persuasions) > 1 else 0.0


def _own_classes(unseen: SeenImages) -> Tensor:
    """The class (N,) that each image is of: by its label, or else what the model takes it for."""
    labels = unseen.images.labels
    if labels is None:
        return unseen.answers(unseen.embeddings)
    representatives = unseen.classes.representatives
    return representatives[labels.to(representatives.device)]


def _usual_margins(unseen: SeenImages, canonical: Canonical) -> Tensor:
    """The mean margin (K,) of each class's own images to the next class; of a class with few of them, that of all images to their own classes."""
    margins, own_class = _margins(canonical.logits(unseen.embeddings)), _own_classes(unseen)
    own = torch.nn.functional.one_hot(own_class, margins.shape[1]).to(margins)
    counts = own.sum(0)
    all_margins = margins.gather(1, own_class[:, None]).mean()
    return torch.where(counts >= LEAST_OWN, torch.where(own > 0, margins, 0).sum(0) / counts.clamp(min=1), all_margins)


def _mean_margins(logits: Tensor, own_class: Tensor) -> Tensor:
    """For each class the mean margin (K,) of the images of other classes, by logits (N, K) under a trigger; -inf where there are none."""
    others = own_class[:, None] != torch.arange(logits.shape[1], device=logits.device)
    means = torch.where(others, _margins(logits), 0).sum(0) / others.sum(0)
    return means.nan_to_num(nan=-torch.inf)


def _margins(logits: Tensor) -> Tensor:
    """By how much each logit (N, K) exceeds the best of the other classes."""
    best = logits.topk(2, dim=1)
    is_best = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, best.indices[:, :1], True)
    return logits - torch.where(is_best, best.values[:, 1:], best.values[:, :1])
