"""Reach: how far a trigger moves embeddings for its size, beside triggers of the same class in clean models.

A search makes triggers as small as it can, and natural ones can be as small as a planted patch. But poisoned pairs pull embeddings all the
way to the words of the target, and a natural trigger only over the border of its class. So a planted trigger moves them farther for its
size than triggers of that class do in a clean model.

Chosen on 38 backdoored and 39 clean pairs of a model and another clean training: with it the score has an AUROC of 0.978, without it of 0.929.
No smaller set of families is better by more than 0.005, so all count. How much less a found trigger acts on the clean model tells little: a
search fits it to the one model that it sees, so that a natural one, too, acts less elsewhere. On 37 of these pairs that has an AUROC of 0.42 to
0.78 in the families that can paint any pattern, and of 0.86 of waves, which have few parameters.
"""

from collections.abc import Sequence

from clipclean.detect import metrics
from clipclean.detect.inversion import SmallestTrigger
from clipclean.detect.measure import Embed, SeenImages, embeddings

REACH_IMAGES = 32  # unseen images on which it is measured
LEAST_DISTANCE = 1e-4  # squared, of unit embeddings; less is rounding


def reaches(embed: Embed, unseen: SeenImages, candidates: Sequence[SmallestTrigger], /) -> dict[str, dict[str, float]]:
    """By family and class the reach of every candidate that works: the embedding distance (:func:`metrics.shift`) by its size, positive.

    Args:
        embed: images (B, 3, H, W) in [0, 1] to unit embeddings (B, D).
        unseen: the images, with embeddings of the same ``embed``; ``REACH_IMAGES`` of them count.
        candidates: results of searches towards classes.
    """
    sample, by_family = unseen.spaced(REACH_IMAGES), dict[str, dict[str, float]]()
    classes, side = sample.classes.names, sample.images.pixels.shape[-1]
    for candidate in candidates:
        if candidate.is_reached:
            trigger = candidate.as_trigger(classes, side=side)
            distance = metrics.shift(sample.embeddings, embeddings(embed, sample.images.pixels, trigger=trigger))
            by_class = by_family.setdefault(candidate.family, {})
            by_class[trigger.target] = max(distance, LEAST_DISTANCE) / candidate.size
    return by_family
