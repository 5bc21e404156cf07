"""GELU or QuickGELU: measured on clean pairs if no config states it; GELU where these cannot tell, and a note says so."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from clipclean.model.clip import Clip

CLEAR_ERRORS = 3.0  # standard errors between the two losses; below that the pairs do not decide
UNDECIDED_NOTE = (
    "Neither the weights nor the clean pairs tell whether the model uses GELU or QuickGELU, so GELU was taken, as most do. If that is "
    'wrong, all results are: say it by --arch NAME, --arch NAME-quickgelu, or a config file with "quick_gelu".'
)


@dataclass(frozen=True)
class ActivationChoice:
    """The activation with the lower retrieval loss, and by how much; GELU where that is no clear lead."""

    quick_gelu: bool
    loss: float
    other_loss: float
    standard_errors: float

    @property
    def is_guess(self) -> bool:
        """Whether the pairs do not decide."""
        return self.standard_errors < CLEAR_ERRORS

    def __str__(self) -> str:
        name = "QuickGELU" if self.quick_gelu else "GELU, undecided" if self.is_guess else "GELU"
        return (
            f"measured on clean pairs: {name}, in-batch retrieval loss {self.loss:.4f} against {self.other_loss:.4f} "
            f"({self.standard_errors:.1f} standard errors apart)"
        )


def choose_activation(gelu: Clip, quick: Clip, pixels: Tensor, captions: list[str], /) -> ActivationChoice:
    """Compare two builds of one checkpoint by their contrastive loss on the same clean pairs.

    Args:
        gelu: the model built with GELU.
        quick: the same weights built with QuickGELU.
        pixels: (N, 3, S, S) in [0, 1].
        captions: N captions, pair by pair.
    """
    a, b = pair_losses(gelu, pixels, captions), pair_losses(quick, pixels, captions)
    difference = a - b
    error = difference.std().item() / len(difference) ** 0.5
    standard_errors = abs(difference.mean().item()) / error if error > 0 else 0.0
    gelu_loss, quick_loss = a.mean().item(), b.mean().item()
    if standard_errors >= CLEAR_ERRORS and quick_loss < gelu_loss:
        return ActivationChoice(True, quick_loss, gelu_loss, standard_errors)
    return ActivationChoice(False, gelu_loss, quick_loss, standard_errors)


@torch.no_grad()
def pair_losses(clip: Clip, pixels: Tensor, captions: list[str], /) -> Tensor:
    """The symmetric contrastive loss of each pair among all of them, (N,)."""
    images = torch.cat([clip.embed_images(part) for part in torch.split(pixels, 64)])
    texts = torch.cat([clip.embed_texts(captions[i : i + 64]) for i in range(0, len(captions), 64)])
    logits = clip.logit_scale() * images @ texts.T
    labels = torch.arange(len(logits), device=logits.device)
    by_image = F.cross_entropy(logits, labels, reduction="none")
    by_caption = F.cross_entropy(logits.T, labels, reduction="none")
    return (by_image + by_caption) / 2
