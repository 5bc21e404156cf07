"""A fresh AdamW without decay of gains, biases and the logit scale, and the learning-rate schedule."""

import math

import torch
from torch import nn

FUSED = ("cpu", "cuda")  # devices where one kernel updates weights and moments, instead of ten that each read them all


def adamw(
    net: nn.Module, /, *, lr: float, betas: tuple[float, float], eps: float, weight_decay: float
) -> torch.optim.AdamW:
    """AdamW over every trainable parameter; matrices and kernels decay, everything else does not.

    Always fresh: optimizer state in a checkpoint belongs to whoever trained it.
    """
    # Decay pulls weights to zero. For a gain or a bias of a trained model that is damage without use: they do not overfit.
    named = [(name, p) for name, p in net.named_parameters() if p.requires_grad]
    spared = [p for name, p in named if is_spared(name, p)]
    decayed = [p for name, p in named if not is_spared(name, p)]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": spared, "weight_decay": 0.0}]
    fused = all(p.device.type in FUSED and p.is_floating_point() for _, p in named)
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=lr, betas=betas, eps=eps, fused=fused)


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
