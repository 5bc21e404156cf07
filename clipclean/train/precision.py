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
    return "bf16" if is_large and computes_bf16(device) else "fp32"


def computes_bf16(device: torch.device, /) -> bool:
    """Whether the device multiplies bfloat16 natively; emulation is slower than fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    cpu = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}  # since torch 2.11
    return device.type == "cpu" and any(bool(cpu.get(name)) for name in ("avx512_bf16", "amx_bf16"))


def in_precision(loss: Loss, precision: str, device: torch.device, /) -> Loss:
    """The loss with its forward pass in ``fp32`` or, by autocast, in ``bf16``; weights and logits stay in fp32."""
    if precision == "fp32":
        return loss

    def lower(batch: Batch) -> dict[str, torch.Tensor]:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            return loss(batch)

    return lower
