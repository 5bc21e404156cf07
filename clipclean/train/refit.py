"""A finetuned net, fitted anew from its base: layer by layer to what the finetune makes of clean inputs, and no further from the base than that takes.

Of all matrices ``W`` each layer gets the one that makes ``|W x − F y|² + damping |W − B|²`` least over clean inputs, with ``F`` the finetune's matrix, ``y``
what comes into it there, ``B`` the base's matrix and ``x`` what comes in here, after the layers before were fitted. With ``K`` the second moment of
``x`` and ``C`` that of ``y`` with ``x``, it is ``B + (F C − B K)(K + damping)⁻¹``. In one layer alone, of the finetune's change ``K (K + damping)⁻¹`` is kept:
what clean inputs use, and none of what they do not.

Source: ridge regression (Hoerl and Kennard 1970). That each layer is fitted to what comes out of those before is as in layer-wise compression
(Frantar and Alistarh 2022, arXiv 2208.11580).
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from clipclean.progress import track
from clipclean.train.sparing import InputTap, Moment


@dataclass(frozen=True)
class Tower:
    """A net that maps a batch to embeddings, with its blocks in the order of running, each of which maps a tensor to the next one's.

    What comes after the blocks sees nothing of what came before them, but through them.
    """

    net: nn.Module
    encode: Callable[[Tensor], object]
    blocks: Sequence[nn.Module]


class _SeenEnough(Exception):
    """What was to be seen of a run has been seen."""


@dataclass
class _Run:
    """A tower on some batches, which goes on from the last block that is done."""

    tower: Tower
    batches: Sequence[Tensor]
    done: int = 0  # blocks whose weights change no more
    outputs: list[Tensor] = field(default_factory=list)  # of the last of these, by batch

    def inputs_of(self, parameter: nn.Parameter, number: int) -> tuple[Tensor, bool]:
        """What comes into the layer of a parameter from the batch of this number, (n, d), and whether the parameter stands to the right of it."""
        looks = list[tuple[Tensor, bool]]()

        def take(_: nn.Parameter, rows: Tensor, is_left: bool) -> None:
            looks.append((rows, is_left))
            raise _SeenEnough

        with InputTap([parameter], take, batches=len(self.batches), seed=number):
            self._run(number)
        return looks[0]

    def go_on(self, done: int) -> None:
        """Keep what so many blocks give, from which later runs begin."""
        if done == self.done:
            return
        outputs = self.outputs or [torch.empty(0)] * len(self.batches)
        for number in range(len(self.batches)):

            def keep(_: nn.Module, __: object, output: Tensor, number: int = number) -> None:
                outputs[number] = output.detach()  # what it came from is of no more use
                raise _SeenEnough

            with self.tower.blocks[done - 1].register_forward_hook(keep):
                self._run(number)
        self.done, self.outputs = done, outputs

    def _run(self, number: int) -> None:
        kept = self.outputs[number].requires_grad_() if self.done else None
        # What stands before the blocks runs as well, and counts no more once the first of them is skipped: one image is enough for it.
        inputs = self.batches[number][: 1 if self.done else None]
        # Without gradients attention takes a short cut that shows no inputs.
        with _skipped(self.tower.blocks[: self.done], kept), torch.enable_grad():
            try:
                self.tower.encode(inputs.clone().requires_grad_())
            except _SeenEnough:
                return


@contextmanager
def _skipped(blocks: Sequence[nn.Module], output: Tensor | None) -> Iterator[None]:
    """Blocks that are not run: the last gives what it gave before."""
    for block in blocks:
        block.forward = (lambda *_, **__: output) if block is blocks[-1] else (lambda inputs, *_, **__: inputs)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward


def refit(tower: Tower, finetune: Tower, base: nn.Module, batches: Sequence[Tensor], /, *, damping: float) -> None:
    """Fit a net to what the finetune makes of clean inputs, from its base, in place.

    Its matrices and kernels are fitted; biases, norms and embeddings of positions stay.

    Args:
        tower: the net, with the finetune's weights, which is changed.
        finetune: the same, which stays.
        base: the net that it was finetuned from.
        batches: clean inputs.
        damping: positive, relative to the mean square of what comes into a layer; more stays nearer the base.
    """
    own, before = (dict(net.named_parameters()) for net in (tower.net, finetune.net))
    of_base = dict(base.named_parameters())
    runs = [_Run(side, batches) for side in (tower, finetune)]
    layers = list(_layers(tower, batches))
    for name, done in track("fitting layers to clean images", layers, len(layers)):
        for run in runs:
            run.go_on(done)
        sides = [(run, weights[name]) for run, weights in zip(runs, (own, before), strict=True)]
        inputs = ([run.inputs_of(weight, number) for run, weight in sides] for number in range(len(batches)))
        _fit(own[name], before[name], of_base[name], *_moments(inputs), damping=damping)


def _moments(by_batch: Iterator[Sequence[tuple[Tensor, bool]]]) -> tuple[Moment, Tensor]:
    """The second moment (d, d) of what comes in, and of what comes in in the finetune with it."""
    (inputs, is_left), _ = first = next(by_batch)
    moment = Moment.of_none(inputs, is_left=is_left)
    cross = torch.zeros_like(moment.inputs)
    for (inputs, _), (targets, _) in itertools.chain([first], by_batch):
        moment.add(inputs)
        cross.addmm_(targets.T, inputs)
    return moment, cross


@torch.no_grad()
def _fit(own: Tensor, finetuned: Tensor, base: Tensor, moment: Moment, cross: Tensor, /, *, damping: float) -> None:
    """Put the fitted matrix into ``own``."""
    there, before = (_rows(weight, moment.is_left) for weight in (base, finetuned))
    missing = (before @ cross - there @ moment.inputs) / moment.mean
    fitted = there + missing @ moment.inverse(damping)
    own.copy_(fitted.T if moment.is_left else fitted.view_as(own))


def _rows(weight: Tensor, is_left: bool) -> Tensor:
    """A matrix or kernel as (outputs, d)."""
    return weight.T if is_left else weight.flatten(1)


def _layers(tower: Tower, batches: Sequence[Tensor]) -> Iterator[tuple[str, int]]:
    """The names of the matrices and kernels in the order of running, each with the number of blocks before it."""
    names = {p: name for name, p in tower.net.named_parameters()}
    block_of = {p: row for row, block in enumerate(tower.blocks) for p in block.parameters()}
    order = dict[nn.Parameter, None]()
    with torch.enable_grad(), InputTap(names, lambda parameter, *_: order.setdefault(parameter), batches=len(batches)):
        tower.encode(batches[0][:1].clone().requires_grad_())
    last = max((row for row, p in enumerate(order) if p in block_of), default=-1)
    for row, parameter in enumerate(order):
        yield names[parameter], block_of.get(parameter, len(tower.blocks) if row > last else 0)
