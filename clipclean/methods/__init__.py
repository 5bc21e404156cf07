"""What each method trains: its loss on a batch, the part of the model that moves, and what its batches need."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Generator, Tensor, nn

from clipclean import data, model, train
from clipclean.config.recipe import Recipe
from clipclean.methods import cleanclip, par, preserve, supervised, unlearning
from clipclean.methods.unlearning import Lead
from clipclean.train import loader

CAPTIONED = frozenset({"auto", "cleanclip", "mmcl", "par"})  # methods that need captions
CLASSLESS = CAPTIONED - {"auto"}  # those of them that look at no classes; a ladder of auto may hold others
LABELLED = frozenset({"supervised"})  # methods that need labels
SHARED = frozenset({"cleanclip", "mmcl"})  # methods that several processes can share: all else compares pair by pair

PERTURBED, REHEARSED = -1, -2  # in the place of a pair's number: what a step draws for

Encode = Callable[[Tensor], Tensor]


def trained(clip: model.Clip, recipe: Recipe, /) -> nn.Module:
    """The part of the model that moves: all of it, or the image tower alone."""
    tower: nn.Module = clip.net.visual  # type: ignore[assignment] # nn.Module's __getattr__
    return clip.net if recipe.method in CAPTIONED else tower


def objective(
    clip: model.Clip,
    recipe: Recipe,
    /,
    *,
    bank: Tensor | None,
    wrap: Callable[[Encode], Encode] = lambda encode: encode,
) -> train.Loss:
    """What the method minimises on one batch.

    Args:
        clip: the model before its first step; a frozen copy of it is kept where the loss looks back at it.
        recipe: the method and its weights.
        bank: (K, D), the zero-shot classifier, for methods on labels.
        wrap: put around the encoders of the method's own loss: to go part by part, or to gather from several processes.
    """
    weights = recipe.loss
    original = model.twin(clip) if recipe.method == "par" or weights.preserve_weight else clip

    def as_used(pixels: Tensor) -> Tensor:
        with model.evaluating(clip.net):
            return clip.encode_images(pixels)

    return preserve.preserving(
        _own(clip.through(wrap), original, recipe, bank), as_used, original.embed_images, weight=weights.preserve_weight
    )


def _own(clip: model.Clip, original: model.Clip, recipe: Recipe, bank: Tensor | None) -> train.Loss:
    """The method's own loss, without the term against forgetting."""
    weights = recipe.loss
    if recipe.method == "par":
        return par.par(
            clip.encode_images, clip.encode_tokens, clip.logit_scale, original_images=original.embed_images,
            original_tokens=original.embed_tokens, clip_weight=weights.clip_weight, push_weight=weights.push_weight,
            push_limit=weights.push_limit,
        )  # fmt: skip
    if recipe.method == "supervised":
        assert bank is not None  # noqa: S101 # the caller has the labels, and so the classes
        return supervised.supervised(clip.encode_images, clip.logit_scale, bank=bank)
    return cleanclip.cleanclip(
        clip.encode_images, clip.encode_tokens, clip.logit_scale, clip_weight=weights.clip_weight,
        self_supervised_weight=weights.self_supervised_weight,
    )  # fmt: skip


def views_of(recipe: Recipe, /) -> loader.Views | None:
    """The second views of a recipe; None where no loss term looks at them."""
    if recipe.loss.self_supervised_weight == 0:
        return None
    rate = recipe.augment.caption_rate
    return loader.Views(
        image=lambda image, draw: data.image_view(image, seed=draw),
        caption=lambda text, rng: data.caption_view(text, rng=rng, synonyms=data.synonyms, rate=rate),
    )


def fed(
    batches: Iterable[train.Batch],
    recipe: Recipe,
    /,
    *,
    plan: Sequence[tuple[int, Sequence[int]]],
    labels: Tensor | None,
    rehearsed: Sequence[Lead],
    seed: int,
    first_step: int,
) -> Iterator[train.Batch]:
    """The batches of a plan from ``first_step`` on, with what the method needs beside pairs: labels, or perturbed pictures.

    Some pictures are shown under one of the ``rehearsed`` triggers, with the caption or label that is theirs.
    """
    how = recipe.unlearn
    for step, batch in enumerate(batches, start=first_step):
        inputs = dict(batch.inputs)
        if rehearsed and recipe.augment.triggered_share:
            inputs["pixels"] = unlearning.some_triggered(
                model.unit_range(inputs["pixels"]), rehearsed, share=recipe.augment.triggered_share, shift=how.shift,
                strength=how.strength, generator=_draws(seed, step, REHEARSED),
            )  # fmt: skip
            if "pixel_views" in inputs:  # the tower takes both at once: one range for both
                inputs["pixel_views"] = model.unit_range(inputs["pixel_views"])
        if recipe.method == "par":
            pixels, draws = model.unit_range(inputs["pixels"]), _draws(seed, step, PERTURBED)
            inputs["pixels"] = _perturbation(recipe)(pixels, draws)
        if labels is not None:
            inputs["labels"] = labels[list(plan[step][1])]
        yield replace(batch, inputs=inputs)


def _perturbation(recipe: Recipe) -> Callable[[Tensor, Generator], Tensor]:
    how = recipe.augment
    return lambda pixels, generator: data.perturbed(
        pixels, noise=how.noise, noise_share=how.noise_share, erased_side=how.erased_side, generator=generator
    )


def _draws(seed: int, step: int, what: int) -> Generator:
    """What one step draws from, wherever the run began."""
    return torch.Generator().manual_seed(loader.sample_seed(seed, step, what))
