"""The objective of each method on one batch, the part of the model it trains, and its batches."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from clipclean import data, model, train
from clipclean.config.methods import METHODS
from clipclean.config.recipe import Recipe
from clipclean.data import Samples
from clipclean.methods import unlearning
from clipclean.methods.losses import LOSSES, Parts, preserving
from clipclean.methods.unlearning import SuspectedTrigger
from clipclean.train import loader
from clipclean.train.memory import Encode

PERTURBED, REHEARSED, MOVED = -1, -2, -3  # replaces a pair's number in draws of a whole step


def trained(clip: model.Clip, recipe: Recipe, /) -> nn.Module:
    """The part of the model that moves: all of it, or the image tower alone."""
    tower: nn.Module = clip.net.visual  # type: ignore[assignment] # nn.Module's __getattr__
    return tower if "image tower" in (METHODS[recipe.method].moves, recipe.train.moves) else clip.net


def objective(
    clip: model.Clip,
    recipe: Recipe,
    /,
    *,
    text_classifier: Tensor | None,
    micro: train.MicroBatches,
    group: train.Group,
) -> train.Loss:
    """The loss of the method on a whole batch, of which each process encodes its share, part by part.

    Args:
        clip: the model before its first step; a frozen copy is kept if the loss compares with it.
        recipe: the method and its weights.
        text_classifier: (K, D), the zero-shot classifier, for methods on labels.
        micro: how many pairs go through a tower of the model at once.
        group: the processes; every loss is that of the whole batch.
    """
    weights, share = recipe.loss, recipe.train.batch_size // group.size
    # The copy takes the memory of a model, so it is made only where the loss looks at it.
    looks_back = METHODS[recipe.method].keeps_original or weights.preserve_weight
    original = model.frozen_copy(clip) if looks_back else clip

    # Preservation compares what users get: in training mode a ResNet normalises by the batch, and would differ from the frozen
    # original even before the first step.
    def as_used(pixels: Tensor) -> Tensor:
        with model.evaluating(clip.net):
            return clip.encode_images(pixels)

    images, tokens, used = (
        group.gathered(micro.over(encode), pairs=share) for encode in (clip.encode_images, clip.encode_tokens, as_used)
    )
    seen, read = (group.gathered(e, pairs=share) for e in (original.encode_images, original.encode_tokens))
    own = LOSSES[recipe.method](Parts(images, tokens, clip.logit_scale, weights, (seen, read), text_classifier))
    return preserving(own, used, seen, weight=weights.preserve_weight)


def views_of(recipe: Recipe, /) -> loader.Views | None:
    """The second views of a recipe; None if no loss term uses them."""
    if recipe.loss.self_supervised_weight == 0:
        return None
    rate = recipe.augment.caption_rate
    return loader.Views(
        image=lambda image, draw: data.image_view(image, seed=draw),
        caption=lambda text, rng: data.caption_view(text, rng=rng, synonyms=data.synonyms, rate=rate),
    )


def fed(
    batches: Iterable[train.Batch],
    samples: Samples,
    recipe: Recipe,
    /,
    *,
    plan: Sequence[tuple[int, Sequence[int]]],
    rehearsed: Sequence[SuspectedTrigger],
    seed: int,
    first_step: int,
    group: train.Group = train.ALONE,
) -> Iterator[train.Batch]:
    """The batches of a plan from ``first_step`` on, with the further inputs of the method: labels, or perturbed images.

    Images are moved as the recipe says. Some get one of the ``rehearsed`` triggers, and keep their own caption or label. Of several
    processes each has its rows of a batch, drawn as in one process; the labels, and the plan, are those of all.
    """
    how, method = recipe.augment, METHODS[recipe.method]
    labels = samples.labels if method.needs_labels else None
    changes: dict[int, Callable[..., Tensor]] = {}
    if how.least_part < 1 or how.mirrored:
        changes[MOVED] = partial(data.moved, least=how.least_part, mirrored=how.mirrored)
    if rehearsed and how.triggered_share:
        changes[REHEARSED] = partial(
            unlearning.some_triggered, leads=rehearsed, share=how.triggered_share, how=recipe.unlearn
        )
    if method.perturbs:
        changes[PERTURBED] = partial(
            data.perturbed, noise=how.noise, noise_share=how.noise_share, erased_side=how.erased_side
        )
    for step, batch in enumerate(batches, start=first_step):
        inputs = dict(batch.inputs)
        for what, changed in changes.items():
            # Drawn for the whole batch, then cut: several processes show the parts and triggers that one would show. By the number of
            # the step: the draws are the same wherever the run began.
            generator = torch.Generator().manual_seed(loader.sample_seed(seed, step, what))
            whole = group.whole(model.unit_range(inputs["pixels"]))
            inputs["pixels"] = group.own(changed(whole, generator=generator))
        # The tower takes both at once: one range for both.
        if "pixel_views" in inputs and inputs["pixels"].is_floating_point():
            inputs["pixel_views"] = model.unit_range(inputs["pixel_views"])
        if labels is not None:
            inputs["labels"] = labels[list(plan[step][1])]
        yield replace(batch, inputs=inputs)
