"""The number format of a search: bfloat16 where the processor has it and the model's answers stay what they are."""

from collections.abc import Callable

import torch
from torch import Tensor

from clipclean.detect.canonical import canonical_form

TRIED = 64  # images on which both formats are compared
AGREE = 0.95  # share of them that are taken for the same class
ERROR = 0.15  # of the canonical logits, relative to their own size

Embed = Callable[[Tensor], Tensor]


def fastest(embed: Embed, pixels: Tensor, bank: Tensor, /) -> Embed:
    """``embed`` in bfloat16 where that is faster and changes little, else as it is.

    A constant that all embeddings share takes the digits that bfloat16 has, so the answers are compared, not the embeddings.
    """
    if not has_bfloat16(pixels.device):
        return embed

    def reduced(images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, dtype=torch.bfloat16):
            return embed(images).float()

    with torch.no_grad():
        some = pixels[:: max(1, len(pixels) // TRIED)][:TRIED]
        exact, rough = embed(some).float(), reduced(some)
        if not (exact.isfinite().all() and rough.isfinite().all()):
            return embed
        form = canonical_form(bank)
        wanted, found = form.logits(exact), form.logits(rough)
        agree = (wanted.argmax(1) == found.argmax(1)).float().mean().item()
        error = ((found - wanted).square().mean() / wanted.square().mean().clamp(min=1e-12)).sqrt().item()
    return reduced if agree >= AGREE and error <= ERROR else embed


def has_bfloat16(device: torch.device, /) -> bool:
    """Whether the device multiplies in bfloat16 by itself; without that it is slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return bool(torch.backends.mkldnn.enabled and torch.ops.mkldnn._is_mkldnn_bf16_supported())
