"""The finetuning loop: a generator that yields one record per step."""

import contextlib
import math
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from clipclean import progress
from clipclean.errors import ClipcleanError

MAX_LOGIT_SCALE = math.log(100)  # Radford et al. 2021, section 2.5


class NonFiniteLoss(ClipcleanError):
    """The loss is no number any more; names the step and the samples; exit 5."""

    exit_code = 5


@dataclass(frozen=True)
class Batch:
    """The input of one step: ``inputs`` go to the loss unchanged, ``keys`` name the samples for messages."""

    inputs: dict[str, Tensor]
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """One finished step: its number from 0, its learning rate, and its losses where the device left them."""

    number: int
    lr: float
    parts: dict[str, Tensor]


def losses_of(steps: Sequence[Step], /) -> list[dict[str, float]]:
    """The losses of each step by name ("loss" is the sum), after one wait for the device."""
    flat = [value.double() for step in steps for value in step.parts.values()]
    read = iter(torch.stack(flat).tolist() if flat else ())
    return [{name: next(read) for name in step.parts} for step in steps]


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
    shrink: Callable[[], bool] = lambda: False,
    average: Callable[[dict[str, Tensor]], dict[str, Tensor]] = lambda parts: parts,
) -> Generator[Step, None, None]:
    """Train ``net`` in place, yielding after each step; on a GPU the step may still be under way then.

    Args:
        net: the model; left in training mode. Its ``logit_scale``, where that is trained, is kept in [0, ln 100].
        batches: the batches from ``first_step`` on.
        loss: batch -> named scalars with gradients; "loss" is minimised, the others are recorded.
        optimizer: over the parameters of ``net``.
        learning_rate: the rate of a step.
        first_step: the number of the first batch: 0, or where an interrupted run goes on.
        grad_clip: the longest gradient let through (L2 norm over all parameters), or None.
        shrink: asked when memory ran out: makes ``loss`` take less and says yes, or says no. Then the step is repeated.
        average: losses of this process -> those of all; called when the gradients stand, to average these as well.

    Raises:
        NonFiniteLoss: before the step that would have spoiled the weights.
        torch.OutOfMemoryError: memory ran out, and nothing can be made smaller. Weights are as before this step.
    """
    net.train()
    watch = Watch(optimizer)
    for number, batch in enumerate(batches, start=first_step):
        rate = learning_rate(number)
        # Set by the number of the step: a resumed run needs no state of a schedule.
        for group in optimizer.param_groups:
            group["lr"] = rate
        # The losses are checked before the optimizer steps: an update by a loss that is no number spoils all weights.
        with unless_finished(net):
            parts = average(gradients(net, batch, loss=loss, shrink=shrink))
            watch.look(number, batch.keys, parts)
        # After averaging: several processes clip the gradient of the whole batch, as one process would.
        if grad_clip is not None:
            nn.utils.clip_grad_norm_(net.parameters(), grad_clip)
        optimizer.step()
        clamp_logit_scale(net, optimizer)
        progress.record(number + 1, {"lr": rate, **parts})
        yield Step(number, rate, parts)
    watch.settle()


def gradients(net: nn.Module, batch: Batch, /, *, loss: Loss, shrink: Callable[[], bool]) -> dict[str, Tensor]:
    """The losses of a batch, detached, with their gradients left in ``net``; again and smaller if memory runs out."""
    while True:
        # To None: the forward pass then has the memory of the old gradients.
        net.zero_grad(set_to_none=True)
        try:
            with unless_finished(net):
                parts = loss(batch)
                parts["loss"].backward()  # type: ignore[no-untyped-call] # torch leaves it unannotated
            return {name: value.detach() for name, value in parts.items()}
        except (RuntimeError, MemoryError) as error:
            if not (is_out_of_memory(error) and shrink()):
                raise
        if torch.cuda.is_available():  # pragma: no cover # the failed step's tensors are gone with the error
            torch.cuda.empty_cache()


def is_out_of_memory(error: Exception, /) -> bool:
    """Whether memory ran out, on whichever device."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


@contextlib.contextmanager
def unless_finished(net: nn.Module, /) -> Iterator[None]:
    """Put running statistics back, which a forward pass changes, if the with-block raises."""
    kept = [(buffer, buffer.clone()) for buffer in net.buffers()]
    try:
        yield
    except BaseException:
        for live, values in kept:
            live.copy_(values)
        raise


class Watch:
    """Stops a run whose loss is no number before the weights are spoiled, and without making a GPU wait.

    On a CPU it looks at once. On a GPU an update after such a loss is switched off there, and so are all that follow;
    the host learns of it one step later, when the numbers have long arrived.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer: Any = optimizer  # found_inf is an attribute that torch's own scaler sets
        on_gpu = any(p.is_cuda for group in optimizer.param_groups for p in group["params"])
        self.is_late = on_gpu and getattr(optimizer, "_step_supports_amp_scaling", False)
        self._spoiled: Tensor | None = None
        self._unread: Callable[[], None] = lambda: None

    def look(self, number: int, keys: Sequence[str], parts: dict[str, Tensor], /) -> None:
        """Raise NonFiniteLoss for this step, or for the one before."""
        if not self.is_late:
            refuse(number, keys, *losses_of([Step(number, 0.0, parts)]))
            return
        is_bad = ~parts["loss"].isfinite()
        self._spoiled = is_bad if self._spoiled is None else self._spoiled | is_bad
        self._optimizer.found_inf = self._spoiled.float()
        self.settle()
        values = torch.stack([value.float() for value in parts.values()]).to("cpu", non_blocking=True)
        arrived = torch.cuda.Event()  # type: ignore[no-untyped-call] # torch leaves it unannotated
        arrived.record()

        def judge() -> None:
            arrived.synchronize()
            refuse(number, keys, dict(zip(parts, values.tolist(), strict=True)))

        self._unread = judge

    def settle(self) -> None:
        """Check the step that was not checked yet."""
        judge, self._unread = self._unread, lambda: None
        judge()


def refuse(number: int, keys: Sequence[str], losses: dict[str, float], /) -> None:
    """Raise NonFiniteLoss unless the loss is a number."""
    if not math.isfinite(losses["loss"]):
        raise NonFiniteLoss(
            f"The loss at step {number} is {losses['loss']} (parts: {losses}). Weights are as before this step. "
            f"Samples: {', '.join(keys)}. Lower train.lr, or look at these samples."
        )


@torch.no_grad()
def clamp_logit_scale(net: Any, optimizer: torch.optim.Optimizer, /) -> None:
    """Keep ``net.logit_scale`` in [0, ln 100] where it is trained. ``net`` is Any: the attribute is optional."""
    # CLIP's own limit, a factor of 100 on cosines: beyond it training is unstable (Radford et al. 2021).
    scale = getattr(net, "logit_scale", None)
    if isinstance(scale, nn.Parameter) and any(scale is p for group in optimizer.param_groups for p in group["params"]):
        scale.clamp_(0, MAX_LOGIT_SCALE)
