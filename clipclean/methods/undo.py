"""Weights that only a model's base allows: the base's image tower, and a finetune without the directions that a clean one does not have."""

import torch
from torch import Tensor

from clipclean import model

TOWER = "visual."  # what the names of the image tower's weights begin with


@torch.no_grad()
def put_tower(clip: model.Clip, base: model.Clip, /) -> None:
    """Put the image tower of ``base`` into the model. A trigger of pixels acts there; the text tower stays as the finetune made it."""
    model.put(clip, with_tower(model.taken(clip), model.taken(base)))


def with_tower(own: dict[str, Tensor], base: dict[str, Tensor], /) -> dict[str, Tensor]:
    """The weights with the image tower of others."""
    return {name: base[name] if name.startswith(TOWER) else tensor for name, tensor in own.items()}
