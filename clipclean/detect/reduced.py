"""The image tower in bfloat16, where that is faster and changes few answers."""

from collections.abc import Callable

import torch
from torch import Tensor

from clipclean.detect.zeroshot import canonical_form

TRIED = 64  # images on which both formats are compared
AGREE = 0.95  # share of them that must get the same class
ERROR = 0.15  # of the canonical logits, relative to their own size

Embed = Callable[[Tensor], Tensor]  # images (B, 3, S, S) in [0, 1] -> unit embeddings (B, D)


def fastest(embed: Embed, pixels: Tensor, text_classifier: Tensor, /) -> Embed:
    """``embed`` in bfloat16 if that is faster and changes few answers, else unchanged.

    A constant that all embeddings share uses up the digits of bfloat16, so answers are compared, not embeddings.
    """
    if not has_bfloat16(text_classifier.device):  # that of the model; images may still be on the host
        return embed

    def reduced(images: Tensor) -> Tensor:
        with torch.autocast(text_classifier.device.type, dtype=torch.bfloat16):
            return embed(images).float()

    with torch.no_grad():
        # Every k-th image: folders come class by class, and the first ones would all be of one.
        some = pixels[:: max(1, len(pixels) // TRIED)][:TRIED]
        exact, rough = embed(some).float(), reduced(some)
        if not (exact.isfinite().all() and rough.isfinite().all()):
            return embed
        form = canonical_form(text_classifier)
        wanted, found = form.logits(exact), form.logits(rough)
        agree = (wanted.argmax(1) == found.argmax(1)).float().mean().item()
        error = ((found - wanted).square().mean() / wanted.square().mean().clamp(min=1e-12)).sqrt().item()
    # Both: classes may agree while margins, by which triggers are compared, do not.
    return reduced if agree >= AGREE and error <= ERROR else embed


def has_bfloat16(device: torch.device, /) -> bool:
    """Whether the device multiplies bfloat16 natively; otherwise it is slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return bool(torch.backends.mkldnn.enabled and torch.ops.mkldnn._is_mkldnn_bf16_supported())
