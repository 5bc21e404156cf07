"""The one finetuning by the settings of a recipe: its optimizer, schedule and number format.

Methods, unlearning, planting and the refinetune test step through :func:`fit`.
"""

import math
from collections.abc import Callable, Generator, Iterable

import torch
from torch import nn

from clipclean import model
from clipclean.config.recipe import Train
from clipclean.train.distributed import Group
from clipclean.train.loop import Batch, Loss, Step, finetune

FUSED = ("cpu", "cuda")  # devices where one kernel updates weights and moments, instead of ten that each read them all
# Below this a model's products are too small to gain by half the width, and weights are cast in vain (docs/running.md).
LEAST_PARAMETERS = 20_000_000


def fit(
    net: nn.Module,
    batches: Iterable[Batch],
    how: Train,
    /,
    *,
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    total: int,
    precision: str,
    group: Group,
    first_step: int = 0,
    shrink: Callable[[], bool] = lambda: False,
) -> Generator[Step, None, None]:
    """Train ``net`` in place, as :func:`finetune` says; of several processes each has its rows of a batch."""
    return finetune(
        net,
        batches,
        loss=in_precision(loss, precision, next(net.parameters()).device),
        optimizer=optimizer,
        learning_rate=lambda step: learning_rate(step, peak=how.lr, warmup=how.warmup_steps, total=total),
        first_step=first_step,
        grad_clip=how.grad_clip,
        average=lambda parts: group.average(net, parts),
        shrink=shrink if group.size == 1 else lambda: False,  # all would have to shrink in the same step
    )


def adamw(net: nn.Module, how: Train, /) -> torch.optim.AdamW:
    """AdamW over every trainable parameter; matrices and kernels decay, everything else does not.

    Always fresh: the moments in a checkpoint are the attacker's, as its weights are.
    """
    # Decay pulls weights to zero. For a gain or a bias of a trained model that is damage without use: they do not overfit.
    named = [(name, p) for name, p in net.named_parameters() if p.requires_grad]
    spared = [p for name, p in named if is_spared(name, p)]
    decayed = [p for name, p in named if not is_spared(name, p)]
    groups = [{"params": decayed, "weight_decay": how.weight_decay}, {"params": spared, "weight_decay": 0.0}]
    fused = all(p.device.type in FUSED and p.is_floating_point() for _, p in named)
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=how.lr, betas=how.betas, eps=how.eps, fused=fused)


def is_spared(name: str, parameter: nn.Parameter, /) -> bool:
    """Gains, biases, normalisation and the logit scale: one-dimensional, or named so (as the reference code)."""
    return parameter.ndim < 2 or any(mark in name for mark in ("bn", "ln", "bias", "logit_scale"))


def learning_rate(step: int, /, *, peak: float, warmup: int, total: int) -> float:
    """The rate at ``step`` (0 .. total - 1).

    It climbs from peak / warmup to ``peak`` in the first ``warmup`` steps, then falls as a half cosine that would
    reach zero at step ``total``: the last step is small and never rises again. (The released CleanCLIP code numbers
    its epochs from 1, so its warm-up never happens and its last epoch climbs again.)
    """
    # The first steps of a fresh AdamW have the length of the rate, however small the gradients: hence the warm-up.
    if step < warmup:
        return peak * (step + 1) / warmup
    # A half cosine: long at high rates, and small steps at the end, where the weights are kept.
    return 0.5 * peak * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


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
