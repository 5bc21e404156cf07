"""Training in less memory: micro-batches, and recomputed activations."""

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Encode = Callable[[Tensor], Tensor]


class MicroBatches:
    """How many pairs go through a tower at once; less when memory runs out.

    The loss sees the embeddings of the whole batch all the same: a tower runs once without keeping anything, and once
    more, part by part, when the gradient with respect to its embeddings is known. So gradients are those of the whole
    batch, at the price of a second forward pass. Source: Gao et al. 2021, arXiv 2101.06983 (GradCache).

    Batch normalisation is the exception: in training it normalises by what it sees at once, which is then a part.
    """

    def __init__(self, net: nn.Module, /, *, size: int | None, pairs: int) -> None:
        self._net, self._pairs = net, pairs
        self.size = size  # pairs at a time; None takes all
        self.shrunk = 0  # how often memory ran out

    def over(self, encode: Encode, /) -> Encode:
        """``encode`` for whole batches, a few pairs at a time: the first views of all pairs, then the second ones."""

        def encoded(inputs: Tensor) -> Tensor:
            if self.size is None or self.size >= self._pairs:
                return encode(inputs)
            # Both views of a pair stay together: batch normalisation then sees in a part what it sees in a batch, only fewer pairs.
            views = inputs.view(-1, self._pairs, *inputs.shape[1:])  # (V, B, ...)
            lean = recompute(encode, self._net)  # activations are computed again in the backward pass
            groups = torch.split(views, self.size, dim=1)
            parts = [lean(part.flatten(0, 1)).view(*part.shape[:2], -1) for part in groups]  # (V, b, ...) -> (V, b, D)
            return torch.cat(parts, dim=1).flatten(0, 1)  # (V * B, D)

        return encoded

    def shrink(self) -> bool:
        """Take half as many pairs at a time; False where one is too many."""
        # Halves: a size that fits is found within a few repeats of the one step.
        size = min(self.size or self._pairs, self._pairs)
        self.size, self.shrunk = max(1, size // 2), self.shrunk + (size > 1)
        return size > 1


@contextlib.contextmanager
def recomputing(net: nn.Module, blocks: Iterable[nn.Module], /, *, is_on: bool) -> Iterator[None]:
    """Let blocks keep their inputs alone, and compute the rest again when gradients are taken, within a with-block.

    Numbers stay as they are, bit by bit; a step takes a third longer. ``net`` is the model that the blocks belong to.
    """
    lean_blocks = list(blocks) if is_on else []
    for block in lean_blocks:
        # On the instance: deleting it below brings the class's own method back.
        block.forward = recompute(block.forward, net)
    try:
        yield
    finally:
        for block in lean_blocks:
            del block.forward


def recompute(compute: Callable[..., Tensor], net: nn.Module, /) -> Callable[..., Tensor]:
    """``compute``, keeping nothing but its arguments for the backward pass."""
    return functools.partial(
        checkpoint,
        compute,
        use_reentrant=False,
        preserve_rng_state=False,  # nothing here draws
        context_fn=lambda: (contextlib.nullcontext(), steady(net, [module.training for module in net.modules()])),
    )


STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@contextlib.contextmanager
def steady(net: nn.Module, modes: Sequence[bool], /) -> Iterator[None]:
    """Each module in the mode that it had in the first forward pass, which has counted this batch already in running statistics."""
    modules = list(net.modules())
    present = [module.training for module in modules]
    # Counted twice, running statistics would move by two steps for each batch, and the weights written would depend on the memory.
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    statistics = [(norm, name, getattr(norm, name)) for norm in norms for name in STATISTICS]
    for norm, name, values in statistics:
        setattr(norm, name, values.clone())
    _set_modes(modules, modes)
    try:
        yield
    finally:
        _set_modes(modules, present)
        for norm, name, values in statistics:
            setattr(norm, name, values)


def _set_modes(modules: Iterable[nn.Module], modes: Iterable[bool]) -> None:
    for module, mode in zip(modules, modes, strict=True):
        module.training = mode
