"""The one finetuning by the settings of a recipe: its loop, optimizer, schedule and number format.

Methods, unlearning, planting and the refinetune test step through :func:`fit`.
"""

import contextlib
import math
import statistics
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from clipclean import machine, model, progress
from clipclean.config.recipe import Train
from clipclean.errors import ClipcleanError
from clipclean.schema.part import plain
from clipclean.schema.report import LossRecord, TrainingRecord
from clipclean.train.distributed import ALONE, Group

MAX_LOGIT_SCALE = math.log(100)  # Radford et al. 2021, section 2.5
RATE_FACTOR_KEY = "unit"  # of a group of parameters: the factor on its rate
LEAST_UNIT = 1e-3  # a matrix of zeros can move too
LARGEST_STEP = 0.1  # of a walk, in units of the weights
# Devices where one kernel updates weights and moments, instead of ten that each read them all.
FUSED_DEVICES = ("cpu", "cuda")
# Below this a model's products are too small to gain by half the width, and weights are cast in vain (docs/running.md).
LEAST_PARAMETERS = 20_000_000


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
    """One finished step: its number from 0, its learning rate, and its losses where the device left them.

    With ``walk`` the rate is in units of each matrix's root mean square.
    """

    number: int
    lr: float
    parts: dict[str, Tensor]


def losses_of(steps: Sequence[Step], /) -> list[dict[str, float]]:
    """The losses of each step by name ("loss" is the sum), after one wait for the device."""
    flat = [value.double() for step in steps for value in step.parts.values()]
    read = iter(torch.stack(flat).tolist() if flat else ())
    return [{name: next(read) for name in step.parts} for step in steps]


LossFunction = Callable[[Batch], dict[str, Tensor]]


def fit(
    net: nn.Module,
    batches: Iterable[Batch],
    settings: Train,
    /,
    *,
    loss: LossFunction,
    total: int,
    precision: str,
    optimizer: torch.optim.Optimizer | None = None,
    group: Group = ALONE,
    first_step: int = 0,
    shrink: Callable[[], bool] = lambda: False,
    pace: Callable[[int], float] = lambda _: 1.0,
) -> Generator[Step, None, None]:
    """Train ``net`` in place, yielding after each step; on a GPU the step may still be under way then.

    Args:
        net: the model; left in training mode. Its ``logit_scale``, where that is trained, is kept in [0, ln 100].
        batches: the batches from ``first_step`` on; of several processes each has its rows of a batch.
        settings: rate, warm-up, and the longest gradient let through (L2 norm over all parameters).
        loss: batch -> named scalars with gradients; "loss" is minimised, the others are recorded.
        total: the steps that the schedule is for.
        precision: ``fp32`` or ``bf16``, of the forward pass.
        optimizer: over the parameters of ``net``; a fresh one without it.
        group: the processes that share each batch.
        first_step: the number of the first batch: 0, or where an interrupted run goes on.
        pace: the number of a step -> the factor on its rate.
        shrink: asked when memory ran out: makes ``loss`` take less and says yes, or says no. Then the step is repeated.

    Raises:
        NonFiniteLoss: before the step that would have spoiled the weights.
        torch.OutOfMemoryError: memory ran out, and nothing can be made smaller. Weights are as before this step.
    """
    net.train()
    optimizer, peak = optimizer or adamw(net, settings), peak_rate(settings, total=total)
    watch, computed = LossWatch(optimizer), in_precision(loss, precision, next(net.parameters()).device)
    for number, batch in enumerate(batches, start=first_step):
        rate = pace(number) * learning_rate(number, peak=peak, warmup=settings.warmup_steps, total=total)
        # Set by the number of the step: a resumed run needs no state of a schedule.
        for parameters in optimizer.param_groups:
            parameters["lr"] = rate * parameters.get(RATE_FACTOR_KEY, 1.0)
        # The losses are checked before the optimizer steps: an update by a loss that is no number spoils all weights.
        with unless_finished(net):
            # Several processes would all have to shrink in the same step.
            own = gradients(net, batch, loss=computed, shrink=shrink if group.size == 1 else lambda: False)
            parts = group.average(net, own)
            watch.look(number, batch.keys, parts)
        # After averaging: several processes clip the gradient of the whole batch, as one process would.
        if settings.grad_clip is not None:
            nn.utils.clip_grad_norm_(net.parameters(), settings.grad_clip)
        optimizer.step()
        clamp_logit_scale(net, optimizer)
        progress.record(number + 1, {"lr": rate, **parts})
        yield Step(number, rate, parts)
    watch.settle()


def gradients(net: nn.Module, batch: Batch, /, *, loss: LossFunction, shrink: Callable[[], bool]) -> dict[str, Tensor]:
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


class LossWatch:
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
            f"Samples: {', '.join(keys)}. Lower train.walk or train.lr, or look at these samples."
        )


@torch.no_grad()
def clamp_logit_scale(net: Any, optimizer: torch.optim.Optimizer, /) -> None:
    """Keep ``net.logit_scale`` in [0, ln 100] where it is trained. ``net`` is Any: the attribute is optional."""
    # CLIP's own limit, a factor of 100 on cosines: beyond it training is unstable (Radford et al. 2021).
    scale = getattr(net, "logit_scale", None)
    if isinstance(scale, nn.Parameter) and any(scale is p for group in optimizer.param_groups for p in group["params"]):
        scale.clamp_(0, MAX_LOGIT_SCALE)


def adamw(net: nn.Module, settings: Train, /) -> torch.optim.AdamW:
    """AdamW over every trainable parameter; matrices and kernels decay, everything else does not.

    Always fresh: the moments in a checkpoint are the attacker's, as its weights are. With ``how.walk`` each matrix has a rate of its own,
    in units of its root mean square; gains and biases have the median of the matrices.

    Source of relative steps: Adafactor (Shazeer and Stern 2018, arXiv 1804.04235).
    """
    # Decay pulls weights to zero. For a gain or a bias of a trained model that is damage without use: they do not overfit.
    trainable = [(name, p) for name, p in net.named_parameters() if p.requires_grad]
    undecayed = [p for name, p in trainable if has_no_decay(name, p)]
    decayed = [p for name, p in trainable if not has_no_decay(name, p)]
    if settings.walk is None:
        groups = [_group(decayed, settings.weight_decay), _group(undecayed, 0.0)]
    else:
        units = [root_mean_square(p) for p in decayed]
        usual = statistics.median(units) if units else 1.0
        groups = [_group([p], settings.weight_decay, unit=unit) for p, unit in zip(decayed, units, strict=True)]
        groups.append(_group(undecayed, 0.0, unit=usual))
    fused = all(p.device.type in FUSED_DEVICES and p.is_floating_point() for _, p in trainable)
    # ``fit`` sets the rate of each step.
    return torch.optim.AdamW(
        [g for g in groups if g["params"]], lr=settings.lr or 0.0, betas=settings.betas, eps=settings.eps, fused=fused
    )


def _group(parameters: list[nn.Parameter], weight_decay: float, *, unit: float = 1.0) -> dict[str, Any]:
    return {"params": parameters, "weight_decay": weight_decay, RATE_FACTOR_KEY: unit}


def root_mean_square(parameter: Tensor, /) -> float:
    """That of a matrix, at least ``LEAST_UNIT``."""
    return max(float(parameter.detach().float().square().mean().sqrt()), LEAST_UNIT)


def peak_rate(settings: Train, /, *, total: int) -> float:
    """The largest rate of a run of ``total`` steps: ``lr``, or in units of the weights the one at which all steps together make ``walk``.

    No step of a walk is larger than ``LARGEST_STEP``: a run of few steps goes less far.

    Examples:
        >>> peak_rate(Train(walk=0.05, warmup_steps=0), total=1)
        0.05
    """
    if settings.walk is not None:
        length = sum(learning_rate(step, peak=1.0, warmup=settings.warmup_steps, total=total) for step in range(total))
        return min(settings.walk / length, LARGEST_STEP)
    if settings.lr is None:
        raise ValueError("neither walk nor lr sets the rate")
    return settings.lr


def has_no_decay(name: str, parameter: nn.Parameter, /) -> bool:
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


def resolved(precision: str, net: nn.Module, device: torch.device, /) -> str:
    """``fp32`` or ``bf16``: the requested format; for ``auto`` bf16 if the device has it and the model gains by it.

    There is no third choice: every GPU with TF32 has bf16 too, which is twice as fast.
    """
    if precision != "auto":
        return precision
    is_large = model.parameter_count(net) >= LEAST_PARAMETERS
    return "bf16" if is_large and model.has_bfloat16(device) else "fp32"


def in_precision(loss: LossFunction, precision: str, device: torch.device, /) -> LossFunction:
    """The loss with its forward pass in ``fp32`` or, by autocast, in ``bf16``; weights and logits stay in fp32."""
    if precision == "fp32":
        return loss

    def lower(batch: Batch) -> dict[str, Tensor]:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            return loss(batch)

    return lower


def training_record(
    losses: Iterable[Mapping[str, float]], /, *, pairs: int, seconds: float, **more: Any
) -> TrainingRecord:
    """The report's ``training``, with rate and peak memory of the process, in bytes: on the host, and on a GPU if there is one.

    ``data_wait_share`` is the share of the time since the run was begun, or last resumed, in which the next batch was not ready.
    """
    return TrainingRecord(
        losses=tuple(LossRecord.model_validate(plain(dict(entry))) for entry in losses),
        pairs=pairs,
        seconds=seconds,
        pairs_per_second=pairs / seconds if seconds else 0.0,
        peak_memory_bytes=machine.peak_memory(),
        peak_device_memory_bytes=torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
        **more,
    )
