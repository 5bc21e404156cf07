"""The canonical form in which a model answers: the same whatever is done to it that keeps its answers.

A constant that all image embeddings share and no class lies along, the length and rotation of the embeddings and the logit scale
change nothing that a model answers, but whether a search finds anything: a constant of 300 made the audit of a backdoored model
pass. So answers are taken from cosines relative to the other classes, in units of their own deviation.
"""

from dataclasses import dataclass

from torch import Tensor

SHARPNESS = 4.0  # the factor on canonical logits: at one they vary as standard normal values do


@dataclass(frozen=True)
class Canonical:
    """What turns unit embeddings into answers: the text classifier less its mean over the classes, (K, D)."""

    texts: Tensor

    def logits(self, embeddings: Tensor, /) -> Tensor:
        """Answers (..., K) of embeddings (..., D): cosines to the classes, less their mean, in units of their own deviation.

        The order of the classes is that of the cosines. Each image has its own unit, so that whatever makes all its cosines
        smaller cancels.
        """
        relative = embeddings @ self.texts.T
        deviation = relative.square().mean(-1, keepdim=True).sqrt().clamp(min=1e-12)
        return SHARPNESS * relative / deviation


def canonical_form(bank: Tensor, /) -> Canonical:
    """The canonical form of a model with this text classifier (K, D)."""
    return Canonical(bank - bank.mean(0))
