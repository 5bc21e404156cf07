"""On the way to the base that a model was finetuned from: a share of the way, or what clean images explain of the change since.

Many a backdoor lies in directions that clean images do not use. So the image tower is fitted anew from the base, layer by layer, to what the
finetune makes of clean images (:func:`clipclean.train.refit`). A batch normalisation counts with its convolution as one layer, since a finetune
moves the two together.
"""

import contextlib
from collections.abc import Sequence

import torch
from torch import Tensor

from clipclean import data, model, train
from clipclean.config.recipe import Recipe
from clipclean.data import Samples
from clipclean.errors import Inconclusive
from clipclean.methods import walk_back
from clipclean.train import Run, loader

MOMENT_BATCHES = 8  # batches of clean images, by which steps are weighed that spare them
FEW_IMAGES = 16  # of a large model at a time
FITTED_IMAGES = 256  # to which a large model is fitted: what a block gives is kept of them all, 0.8 GB of an RN50 and as much of its finetune


def put_towards_base(
    clip: model.Clip, samples: Samples, base: model.Clip | None, recipe: Recipe, /, *, run: Run
) -> None:
    """Put a model where a recipe begins on the way to its base; without a base, or where the recipe needs none, it stays.

    Whatever is measured of the model for the cleaning, such as its classifier, has to be measured after this.

    Raises:
        Inconclusive: the recipe keeps what clean images explain, and of this model that cannot be told.
    """
    if base is None or not recipe.undoes:
        return
    if damping := recipe.unlearn.base_damping:
        batches = clean_batches(clip, samples, recipe, run=run, most_of_large=FITTED_IMAGES)

        def fitted() -> dict[str, Tensor]:
            keep_explained(clip, base, batches, damping=damping)
            return {name: tensor.cpu() for name, tensor in clip.net.state_dict().items()}

        # Processes that train together begin at the same weights, to the last bit.
        model.put_weights(clip, run.group.of_first(fitted))
    if share := recipe.unlearn.base_share:
        model.put_weights(clip, walk_back.between(model.copy_weights(clip), model.copy_weights(base), share=share))


def fitted_to_clean_images(
    clip: model.Clip, base: model.Clip, batches: Sequence[Tensor], /, *, damping: float
) -> model.Clip:
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
    there = model.fold_norms(base, least=0)
    _refuse_unknown(own, there)
    train.refit(_tower(own), _tower(finetune), there.net.get_submodule("visual"), batches, damping=damping)
    return own


def _tower(clip: model.Clip) -> train.Tower:
    visual = clip.net.get_submodule("visual")
    inside = set(visual.modules())
    return train.Tower(visual, clip.encode_images, [block for block in clip.blocks() if block in inside])


def keep_explained(clip: model.Clip, base: model.Clip, batches: Sequence[Tensor], /, *, damping: float) -> None:
    """Put what clean images explain in the place of the image tower; see :func:`fitted_to_clean_images`.

    Statistics of norms are those of the images then: measured again, as in any finetuning, they bring nothing back. Where each norm stayed
    as it was, of a warp 0.01 was left, and 0.68 after a hundredth of a benign walk.
    """
    model.unfold_norms(clip, fitted_to_clean_images(clip, base, batches, damping=damping), batches)


def _refuse_unknown(own: model.Clip, base: model.Clip) -> None:
    if any(map(model.batch_norms, (own, base))):
        raise Inconclusive(
            "a norm of this model, or of its base, multiplies by too much to count as one with its layer"
        )
    widest = max(p[0].numel() for p in own.net.get_submodule("visual").parameters() if p.ndim >= 2)
    if widest > train.MOST_INPUTS:
        raise Inconclusive(
            f"a layer of {widest} inputs is too wide to tell what clean images explain of it: at most {train.MOST_INPUTS} are looked at"
        )


def clean_batches(
    clip: model.Clip, samples: Samples, recipe: Recipe, /, *, run: Run, most_of_large: int | None = None
) -> list[Tensor]:
    """Clean images (B, 3, S, S) in [0, 1] that show what comes into each layer, the same in every process; for a large model no more than so many."""
    plan = data.plan(len(samples.pairs), batch_size=recipe.train.batch_size, steps=MOMENT_BATCHES, seed=run.seed)
    with contextlib.closing(loader.batches(plan, pairs=samples.pairs, clip=clip, run=run.for_one_process())) as batches:
        pixels = [model.unit_range(batch.inputs["pixels"]) for batch in batches]
    # Activations of a whole batch, with a graph, may be more than the training itself keeps.
    if model.parameter_count(clip.net) >= train.LEAST_PARAMETERS:
        pixels = [part for batch in pixels for part in torch.split(batch, FEW_IMAGES)]
        if most_of_large is not None:
            pixels = pixels[: most_of_large // FEW_IMAGES]
    return pixels
