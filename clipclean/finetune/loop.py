"""The finetuning loop: a generator, one step, one record."""

import math
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from clipclean.errors import ClipcleanError

MAX_LOGIT_SCALE = math.log(100)  # Radford et al. 2021, section 2.5


class NonFiniteLoss(ClipcleanError):
    """The loss is no number any more; names the step and the samples; exit 5."""

    exit_code = 5


@dataclass(frozen=True)
class Batch:
    """What one step is fed: ``inputs`` go to the loss as they are, ``keys`` name the samples for messages."""

    inputs: dict[str, Tensor]
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """One finished step: its number from 0, its learning rate and its losses by name ("loss" is the sum)."""

    number: int
    lr: float
    losses: dict[str, float]


Loss = Callable[[Batch], dict[str, Tensor]]


def finetune(
    net: nn.Module,
    batches: Iterable[Batch],
    /,
    *,
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    learning_rate: Callable[[int], float],
    first_step: int,
    grad_clip: float | None,
) -> Generator[Step, None, None]:
    """Train ``net`` in place, yielding after each step.

    Args:
        net: the model; left in training mode. Its ``logit_scale``, where it has one, is kept in [0, ln 100].
        batches: the batches from ``first_step`` on.
        loss: batch -> named scalars with gradients; "loss" is minimised, the others are recorded.
        optimizer: over the parameters of ``net``.
        learning_rate: the rate of a step.
        first_step: the number of the first batch: 0, or where an interrupted run goes on.
        grad_clip: the longest gradient let through (L2 norm over all parameters), or None.

    Raises:
        NonFiniteLoss: before the step that would have spoiled the weights.
    """
    net.train()
    for number, batch in enumerate(batches, start=first_step):
        rate = learning_rate(number)
        for group in optimizer.param_groups:
            group["lr"] = rate
        parts = loss(batch)
        values = {name: float(value.detach()) for name, value in parts.items()}
        if not math.isfinite(values["loss"]):
            raise NonFiniteLoss(
                f"The loss at step {number} is {values['loss']} (parts: {values}). Weights are as before this step. "
                f"Samples: {', '.join(batch.keys)}. Lower train.lr, or look at these samples."
            )
        optimizer.zero_grad(set_to_none=True)
        parts["loss"].backward()  # type: ignore[no-untyped-call] # torch leaves it unannotated
        if grad_clip is not None:
            nn.utils.clip_grad_norm_(net.parameters(), grad_clip)
        optimizer.step()
        clamp_logit_scale(net)
        yield Step(number, rate, values)


@torch.no_grad()
def clamp_logit_scale(net: Any, /) -> None:
    """Keep ``net.logit_scale`` in [0, ln 100]. ``net`` is Any: the attribute is optional."""
    scale = getattr(net, "logit_scale", None)
    if isinstance(scale, nn.Parameter):
        scale.clamp_(0, MAX_LOGIT_SCALE)
