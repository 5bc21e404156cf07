"""What clean images explain of a finetune's change since its base: a backdoor lies in directions that they do not use.

The image tower is fitted anew from the base, layer by layer, to what the finetune makes of clean images (:func:`clipclean.train.refit`). A batch
normalisation counts with its convolution as one layer, since a finetune moves the two together.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from clipclean import model, train
from clipclean.errors import Inconclusive


def explained(clip: model.Clip, base: model.Clip, batches: Sequence[Tensor], /, *, damping: float) -> model.Clip:
    """A copy of a finetune whose image tower does on clean images what the finetune does, and stays near its base elsewhere; norms are folded in it.

    Args:
        clip: the finetune.
        base: the model that it was finetuned from.
        batches: clean images, each (B, 3, S, S) in [0, 1].
        damping: positive; more stays nearer the base.

    Raises:
        Inconclusive: a layer is too wide for the moments of its inputs, or norms multiply by too much to be folded.
    """
    # Folding shares what it does not fold, so each is folded from a copy of its own.
    own, finetune = (model.fold_norms(model.frozen_copy(clip), least=0) for _ in range(2))
    there = model.fold_norms(base, least=0).net.get_submodule("visual")
    _refuse_unknown(own.net.get_submodule("visual"), there)
    train.refit(_tower(own), _tower(finetune), there, batches, damping=damping)
    return own


def _tower(clip: model.Clip) -> train.Tower:
    visual = clip.net.get_submodule("visual")
    inside = set(visual.modules())
    return train.Tower(visual, clip.encode_images, [block for block in clip.blocks() if block in inside])


def keep_explained(clip: model.Clip, base: model.Clip, batches: Sequence[Tensor], /, *, damping: float) -> None:
    """Put what clean images explain in the place of the image tower; see :func:`explained`.

    Statistics of norms are those of the images then: measured again, as in any finetuning, they bring nothing back. Where each norm stayed
    as it was, of a warp 0.01 was left, and 0.68 after a hundredth of a benign walk.
    """
    model.unfold_norms(clip, explained(clip, base, batches, damping=damping), batches)


def _refuse_unknown(tower: nn.Module, of_base: nn.Module) -> None:
    if any(isinstance(module, nn.BatchNorm2d) for side in (tower, of_base) for module in side.modules()):
        raise Inconclusive(
            "a norm of this model, or of its base, multiplies by too much to count as one with its layer"
        )
    widest = max(p[0].numel() for p in tower.parameters() if p.ndim >= 2)
    if widest > train.MOST_INPUTS:
        raise Inconclusive(
            f"a layer of {widest} inputs is too wide to tell what clean images explain of it: at most {train.MOST_INPUTS} are looked at"
        )
