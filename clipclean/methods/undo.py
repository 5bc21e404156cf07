"""Weights that only a model's base allows: a finetune without the directions that a clean finetune of the base does not take.

Source of the projection: OrthoPurify, which undoes poisoned finetunes of projectors of language models by a few clean steps; written from
its description. Here every matrix of the image tower is projected, and what the finetune had learned is learned again afterwards.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

TOWER = "visual."  # what the names of the image tower's weights begin with
DIRECTIONS = 2  # leading right singular directions of a finetune's change of each matrix that are looked at
ANGLE = 50.0  # degrees to those of a clean finetune, beyond which a direction is the finetune's own

Weights = Mapping[str, Tensor]


def with_tower(own: Weights, base: Weights, /) -> dict[str, Tensor]:
    """The weights with the image tower of others: a trigger of pixels acts there, and the text tower stays as the finetune made it."""
    return {name: base[name] if name.startswith(TOWER) else tensor for name, tensor in own.items()}


@torch.no_grad()
def without_own_directions(own: Weights, base: Weights, clean: Weights, /) -> dict[str, Tensor]:
    """The weights without what the finetune changed in directions that a ``clean`` finetune of the base did not take.

    Of each matrix of the image tower the leading right singular directions of both changes are compared. Those of the finetune whose
    principal angle to the clean ones exceeds ``ANGLE`` are projected out of its change. All else stays.
    """
    projected = dict(own)
    for name, tensor in own.items():
        if not name.startswith(TOWER) or tensor.ndim < 2 or not tensor.is_floating_point():
            continue
        change, usual = ((weights[name] - base[name]).flatten(1) for weights in (own, clean))
        leading, taken = directions(change), directions(usual)
        turned, cosines, _ = torch.linalg.svd(leading.T @ taken)
        cosines = torch.cat([cosines, cosines.new_zeros(leading.shape[1])])[: leading.shape[1]]
        apart = leading @ turned[:, cosines.clamp(0, 1).arccos().rad2deg() > ANGLE]
        projected[name] = tensor - ((change @ apart) @ apart.T).view_as(tensor)
    return projected


def directions(change: Tensor, /) -> Tensor:
    """The leading right singular directions of a matrix (O, I): (I, at most ``DIRECTIONS``), orthonormal; fewer of a lower rank."""
    is_wide = change.shape[0] < change.shape[1]
    gram = (change @ change.T if is_wide else change.T @ change).double()
    values, vectors = torch.linalg.eigh(gram)  # ascending
    count = int((values[-DIRECTIONS:] > 1e-10 * values[-1]).sum()) if values[-1] > 0 else 0
    leading: Tensor = vectors[:, len(values) - count :].flip(1).to(change)
    if not is_wide:
        return leading
    basis: Tensor = torch.linalg.qr(change.T @ leading)[0]
    return basis
