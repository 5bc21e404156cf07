"""GELU or QuickGELU: measured on clean pairs if no config states it, never chosen silently."""

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from clipclean.errors import UsageError

CLEAR = 3.0  # standard errors between the two losses; below that the pairs do not decide


class Encoder(Protocol):
    """The part of a model that the comparison needs."""

    def embed_images(self, pixels: Tensor, /) -> Tensor:
        """Unit embeddings (B, D)."""

    def embed_texts(self, captions: list[str], /) -> Tensor:
        """Unit embeddings (B, D)."""

    def logit_scale(self) -> Tensor:
        """The factor on cosines."""


@dataclass(frozen=True)
class ActivationChoice:
    """The activation with the lower retrieval loss, and by how much."""

    quick_gelu: bool
    loss: float
    other_loss: float
    standard_errors: float

    def __str__(self) -> str:
        name = "QuickGELU" if self.quick_gelu else "GELU"
        return (
            f"measured on clean pairs: {name}, in-batch retrieval loss {self.loss:.4f} against {self.other_loss:.4f} "
            f"({self.standard_errors:.1f} standard errors apart)"
        )


def measure(gelu: Encoder, quick: Encoder, pixels: Tensor, captions: list[str], /, *, name: str) -> ActivationChoice:
    """Compare two builds of one checkpoint by their contrastive loss on the same clean pairs.

    Args:
        gelu: the model built with GELU.
        quick: the same weights built with QuickGELU.
        pixels: (N, 3, S, S) in [0, 1].
        captions: N captions, pair by pair.
        name: the architecture, for the message.

    Raises:
        UsageError: the losses are too close to decide; the message says what to pass.
    """
    a, b = pair_losses(gelu, pixels, captions), pair_losses(quick, pixels, captions)
    difference = a - b
    error = difference.std().item() / len(difference) ** 0.5
    apart = abs(difference.mean().item()) / error if error > 0 else 0.0
    if apart < CLEAR:
        raise UsageError(
            f"Cannot tell whether {name} uses GELU or QuickGELU: the weights do not say, and on {len(captions)} clean "
            f"pairs the two give losses {a.mean():.4f} and {b.mean():.4f}, {apart:.1f} standard errors apart. "
            f'Say it: --arch NAME, --arch NAME-quickgelu, or a config file with "quick_gelu".'
        )
    quick_wins = difference.mean().item() > 0
    low, high = sorted((a.mean().item(), b.mean().item()))
    return ActivationChoice(quick_wins, low, high, apart)


@torch.no_grad()
def pair_losses(model: Encoder, pixels: Tensor, captions: list[str], /) -> Tensor:
    """The symmetric contrastive loss of each pair among all of them, (N,)."""
    images = torch.cat([model.embed_images(part) for part in torch.split(pixels, 64)])
    texts = torch.cat([model.embed_texts(captions[i : i + 64]) for i in range(0, len(captions), 64)])
    logits = model.logit_scale() * images @ texts.T
    labels = torch.arange(len(logits), device=logits.device)
    there = F.cross_entropy(logits, labels, reduction="none")
    back = F.cross_entropy(logits.T, labels, reduction="none")
    return (there + back) / 2
