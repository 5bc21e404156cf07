"""The state of a run between two steps: everything that the next step depends on, as named tensors."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def capture(net: nn.Module, optimizer: torch.optim.Optimizer, /) -> dict[str, Tensor]:
    """Weights, buffers and AdamW moments under flat names; views of live memory, to be written at once.

    Randomness needs no state: each sample's draws come from the seed, the epoch and its number.
    """
    state = {f"net.{name}": tensor.detach() for name, tensor in net.state_dict().items()}
    for name, parameter in _owned(net, optimizer):
        for moment in MOMENTS:
            if moment in optimizer.state.get(parameter, {}):
                state[f"optimizer.{name}.{moment}"] = optimizer.state[parameter][moment].detach()
    return state


def restore(net: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Tensor], /) -> None:
    """Put a captured state back, bit by bit, on the devices that AdamW keeps it on, and in the order of the weights' bytes.

    A fused AdamW goes through weights and moments byte by byte: moments of another memory format would be mixed up.
    """
    weights = {n.removeprefix("net."): t for n, t in state.items() if n.startswith("net.")}
    net.load_state_dict(weights, strict=True)
    for name, parameter in _owned(net, optimizer):
        moments = {m: state[f"optimizer.{name}.{m}"] for m in MOMENTS if f"optimizer.{name}.{m}" in state}
        if moments:
            counted_on = parameter.device if optimizer.defaults.get("fused") else "cpu"
            optimizer.state[parameter] = {
                m: t.to(counted_on, copy=True) if m == "step" else torch.empty_like(parameter).copy_(t)
                for m, t in moments.items()
            }


def _owned(net: nn.Module, optimizer: torch.optim.Optimizer) -> list[tuple[str, nn.Parameter]]:
    mine = {id(p) for group in optimizer.param_groups for p in group["params"]}
    return [(name, p) for name, p in net.named_parameters() if id(p) in mine]
