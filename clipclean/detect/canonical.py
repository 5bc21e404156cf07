"""The canonical form in which a model is searched: the same whatever is done to it that keeps its answers.

A constant that all image embeddings share, the length and rotation of the embeddings and the logit scale change nothing that a
model answers, but whether a search finds anything. So answers are taken from cosines relative to the other classes, scaled by
themselves; and how far embeddings lie apart from the embeddings of clean images, centred and whitened.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

SHARPNESS = 4.0  # the factor on canonical logits: at a scale of one they vary as standard normal values do
SHRINKAGE = (
    0.1  # of the covariance towards its mean eigenvalue: directions in which clean images hardly vary are mostly noise
)


@dataclass(frozen=True)
class Canonical:
    """What turns unit embeddings (..., D) into answers and into whitened embeddings.

    Attributes:
        texts: (K, D), the text classifier less its mean over the classes.
        centre: (D,), the mean embedding of clean images.
        whitening: (D, D), of the clean images' covariance, shrunk.
    """

    texts: Tensor
    centre: Tensor
    whitening: Tensor

    def logits(self, embeddings: Tensor, /) -> Tensor:
        """Answers (..., K): each image's cosines to the classes, less their mean, in units of their own deviation.

        The order of the classes is that of the cosines. An image's own unit cancels whatever makes all its cosines smaller, such
        as a constant that embeddings share and no class lies along.
        """
        relative = embeddings @ self.texts.T
        deviation = relative.square().mean(-1, keepdim=True).sqrt().clamp(min=1e-12)
        return SHARPNESS * relative / deviation

    def whitened(self, embeddings: Tensor, /) -> Tensor:
        """Embeddings (..., D) that are centred, and of about the same variance in all directions, on clean images."""
        return (embeddings - self.centre) @ self.whitening


def canonical(embeddings: Tensor, bank: Tensor, /) -> Canonical:
    """The canonical form of a model, from unit embeddings (N, D) of clean images and its text classifier (K, D)."""
    exact = embeddings.double()
    centre = exact.mean(0)
    covariance = (exact - centre).T @ (exact - centre) / max(len(exact) - 1, 1)
    values, vectors = torch.linalg.eigh(covariance)
    floor = SHRINKAGE * values.clamp(min=0).mean().clamp(min=1e-30)
    whitening = vectors @ torch.diag((values.clamp(min=0) + floor).rsqrt()) @ vectors.T
    return Canonical((bank - bank.mean(0)).to(embeddings), centre.to(embeddings), whitening.to(embeddings))


__all__ = ["Canonical", "F", "canonical"]
