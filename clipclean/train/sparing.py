"""Steps that spare what clean inputs show: each layer's gradient, weighed by the inverse second moment of what comes into the layer.

A layer ``y = W x`` that moves by ``D`` changes clean outputs by ``D K Dᵀ``, with ``K`` the second moment of its clean inputs. The gradient times
``(K + damping)⁻¹`` goes where triggered inputs are and clean ones are not. AdamW instead moves every weight by about the rate, whether it matters
to clean images or not.

Sources: FOOF (Benzing 2022, arXiv 2201.12250), which is one side of K-FAC (Martens and Grosse 2015, arXiv 1503.05671); edits in the null space of
other inputs are those of AlphaEdit (Fang et al. 2024, arXiv 2410.02355). Steps of equal size relative to the weights are those of LARS (You et
al. 2017, arXiv 1708.03888).
"""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from clipclean.train.loop import RATE_FACTOR_KEY, has_no_decay, root_mean_square

# Numbers that come into a layer, beyond which it is left as it is: the square is kept, and inverted once.
MOST_INPUTS = 6144
INPUTS_PER_NUMBER = 8  # inputs looked at in all, in numbers of one; more of them changed no result
CALL_ROWS = 256  # least inputs looked at in a batch, for layers of few numbers
MOST_NUMBERS = 2**26  # of what a kernel sees, at a time: 256 MiB
LEAST_SIZE = 1e-12  # of a step before it is scaled: parameters without a gradient stay

# Parameter -> (inverse moment of its inputs (d, d), whether it stands to the left).
Inverses = Mapping[str, tuple[Tensor, bool]]

aten = torch.ops.aten


@dataclass
class Moment:
    """The second moment of what comes into one layer."""

    inputs: Tensor  # (d, d), summed
    rows: int  # inputs summed
    is_left: bool  # whether the parameter is (d, outputs), and multiplied from the left

    @classmethod
    def of_none(cls, rows: Tensor, /, *, is_left: bool) -> "Moment":
        """That of no inputs yet, of as many numbers as those of ``rows``, (n, d)."""
        return cls(rows.new_zeros(rows.shape[1], rows.shape[1]), 0, is_left)

    def add(self, rows: Tensor, /) -> None:
        """Add inputs (n, d)."""
        self.inputs.addmm_(rows.T, rows)
        self.rows += len(rows)

    @property
    def mean(self) -> Tensor:
        """The mean of the diagonal."""
        return self.inputs.diagonal().mean().clamp(min=torch.finfo(self.inputs.dtype).tiny)

    def inverse(self, damping: float, /) -> Tensor:
        """(d, d), the inverse of the moment, whose mean on the diagonal is made one, plus ``damping``."""
        damped = self.inputs / self.mean
        damped.diagonal().add_(damping)
        return torch.cholesky_inverse(torch.linalg.cholesky(damped))


# A parameter, inputs of its layer (n, d), whether it stands to the right of them.
Take = Callable[[nn.Parameter, Tensor, bool], None]


class InputTap(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch leaves it unannotated
    """Looks at what comes into the matrices and kernels among some parameters, at places that the seed draws.

    Args:
        parameters: those to look at.
        take: called with each, as often as its layer runs.
        batches: of how many the run is, by which the inputs of each are counted.
        seed: two nets of one architecture are looked at in the same places with the same one.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], take: Take, /, *, batches: int, seed: int = 0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._take = take
        self._batches = batches
        self._of = {p.untyped_storage().data_ptr(): p for p in parameters if p.ndim >= 2}
        self._generator = torch.Generator().manual_seed(seed)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is aten.convolution.default:
            pixels, weight, _, stride, padding, dilation, is_transposed, _, groups = args
            if (p := self._known(weight)) is not None and groups == 1 and not is_transposed and pixels.ndim == 4:
                self._look(p, lambda: _patches(pixels, weight, stride, padding, dilation), is_left=False)
        elif func in (aten.addmm.default, aten.mm.default):
            rows, weight = args[-2:]
            if (p := self._known(weight)) is not None:  # a kernel as wide as its stride may be multiplied as a matrix
                self._look(p, lambda: rows, is_left=p.ndim == 2 and weight.stride() == p.stride())
        return func(*args, **(kwargs or {}))

    def _known(self, weight: Tensor) -> nn.Parameter | None:
        return self._of.get(weight.untyped_storage().data_ptr())

    def _look(self, parameter: nn.Parameter, rows_of: Callable[[], Tensor], *, is_left: bool) -> None:
        size = parameter.shape[0] if is_left else parameter[0].numel()
        if size > MOST_INPUTS:
            return
        rows = rows_of().detach().float()
        row_count = max(CALL_ROWS, INPUTS_PER_NUMBER * size // self._batches)
        if len(rows) > row_count:
            rows_drawn = torch.randint(len(rows), (row_count,), generator=self._generator)
            rows = rows[rows_drawn.to(rows.device)]
        self._take(parameter, rows, is_left)


def _patches(pixels: Tensor, weight: Tensor, stride: Any, padding: Any, dilation: Any) -> Tensor:
    """(N, C * k * k), what a kernel sees at each place; of the first images alone where all would take too much memory."""
    convolution = {"stride": stride, "padding": padding, "dilation": dilation}
    positions = pixels.shape[-2] * pixels.shape[-1] // math.prod(stride)
    pixels = pixels[: max(1, MOST_NUMBERS // (positions * weight[0].numel()))]
    return F.unfold(pixels.float(), tuple(weight.shape[2:]), **convolution).transpose(1, 2).flatten(0, 1)


def moments_of(net: nn.Module, encode: Callable[[Tensor], Tensor], batches: Sequence[Tensor], /) -> dict[str, Moment]:
    """The second moments of what comes into the matrices and kernels of ``net``, by name, when ``encode`` runs on these batches.

    Args:
        net: whose parameters are looked at; grouped and transposed kernels, and layers of more than ``MOST_INPUTS`` inputs, are left out.
        encode: runs ``net``, as it will be used, on a batch.
        batches: clean images, each (B, 3, S, S).
    """
    moments = dict[nn.Parameter, Moment]()

    def take(parameter: nn.Parameter, rows: Tensor, is_left: bool) -> None:
        if parameter not in moments:
            moments[parameter] = Moment.of_none(rows, is_left=is_left)
        moments[parameter].add(rows)

    # Without gradients attention takes a short cut that shows no inputs.
    with torch.enable_grad(), InputTap(net.parameters(), take, batches=len(batches)):
        for batch in batches:
            encode(batch.clone().requires_grad_())
    return {name: moments[p] for name, p in net.named_parameters() if p in moments}


def inverses_of(moments: Mapping[str, Moment], damping: float, /) -> Inverses:
    """The damped inverses of ``moments_of``, by name: made once, however many optimizers use them."""
    return {name: (moment.inverse(damping), moment.is_left) for name, moment in moments.items()}


def divided(matrix: Tensor, inverse: Tensor, is_left: bool, /) -> Tensor:
    """A parameter, its gradient or its change, times the inverse moment of the layer's inputs; shaped as it is."""
    return inverse @ matrix if is_left else (matrix.flatten(1) @ inverse).view_as(matrix)


def sparing(net: nn.Module, inverses: Inverses, /, *, momentum: float) -> "Sparing":
    """The optimizer over the trainable parameters of ``net``, by ``inverses_of`` what comes into its layers."""
    trainable = [(name, p) for name, p in net.named_parameters() if p.requires_grad]
    matrices = [p for name, p in trainable if not has_no_decay(name, p)]
    usual = statistics.median(map(root_mean_square, matrices)) if matrices else 1.0
    units = [(p, usual if has_no_decay(name, p) else root_mean_square(p)) for name, p in trainable]
    groups = [{"params": [p], RATE_FACTOR_KEY: unit} for p, unit in units]
    own = {p: inverses[name] for name, p in trainable if name in inverses}
    return Sparing(groups, lr=0.0, momentum=momentum, inverses=own)


class Sparing(torch.optim.Optimizer):
    """Momentum on spared gradients; each parameter's step is ``lr`` times the root mean square of its direction, made one.

    Args:
        groups: of parameters, each with the factor on its rate.
        lr: size of a step of each number, in the root mean square.
        momentum: share of the last direction that is kept.
        inverses: parameter -> (inverse moment of its inputs (d, d), whether it stands to the left); others keep their gradient.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        /,
        *,
        lr: float,
        momentum: float,
        inverses: Mapping[nn.Parameter, tuple[Tensor, bool]],
    ) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum})
        self._inverses = inverses

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override] # no closure is ever given
        """Move each parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["direction"] = torch.zeros_like(parameter)
                direction = state["direction"]
                direction.lerp_(self._spared(parameter), 1 - group["momentum"])
                size = direction.square().mean().sqrt().clamp(min=LEAST_SIZE)
                parameter.sub_(direction * (group["lr"] / size))

    def _spared(self, parameter: nn.Parameter) -> Tensor:
        gradient: Tensor = parameter.grad  # type: ignore[assignment] # it has one
        if parameter not in self._inverses:
            return gradient
        return divided(gradient, *self._inverses[parameter])
