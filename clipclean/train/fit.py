"""The one finetuning by the settings of a recipe: methods, unlearning, planting and the refinetune test step through it."""

from collections.abc import Callable, Generator, Iterable

import torch
from torch import nn

from clipclean.config.recipe import Train
from clipclean.train.distributed import Group
from clipclean.train.loop import Batch, Loss, Step, finetune
from clipclean.train.optim import adamw, learning_rate
from clipclean.train.precision import in_precision


def optimizer_of(part: nn.Module, how: Train, /) -> torch.optim.AdamW:
    """AdamW over what moves. Always fresh: the moments in a checkpoint are the attacker's, as its weights are."""
    return adamw(part, lr=how.lr, betas=how.betas, eps=how.eps, weight_decay=how.weight_decay)


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
