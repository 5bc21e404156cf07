"""The number format of the forward pass: fp32, or bf16 where device and model benefit."""

import torch
from torch import nn

from clipclean import model
from clipclean.train.loop import Batch, Loss

# Below this a model's products are too small to gain by half the width, and weights are cast in vain (docs/speed.md).
LEAST_PARAMETERS = 20_000_000


def resolved(asked: str, net: nn.Module, device: torch.device, /) -> str:
    """``fp32`` or ``bf16``: the requested format; for ``auto`` bf16 if the device has it and the model gains by it.

    There is no third choice: every GPU with TF32 has bf16 too, which is twice as fast.
    """
    if asked != "auto":
        return asked
    is_large = model.parameter_count(net) >= LEAST_PARAMETERS
    return "bf16" if is_large and model.has_bfloat16(device) else "fp32"


def in_precision(loss: Loss, precision: str, device: torch.device, /) -> Loss:
    """The loss with its forward pass in ``fp32`` or, by autocast, in ``bf16``; weights and logits stay in fp32."""
    if precision == "fp32":
        return loss

    def lower(batch: Batch) -> dict[str, torch.Tensor]:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            return loss(batch)

    return lower
