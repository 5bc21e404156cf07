"""Planting known backdoors: finetuning on partly triggered batches."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from clipclean import data, detect, model, train
from clipclean.config.recipe import Planting, Recipe
from clipclean.train import loader
from clipclean.train.run import Run


@dataclass(frozen=True)
class Implant:
    """One backdoor to plant: a trigger, and captions of its target."""

    trigger: detect.TriggerLike
    captions: tuple[str, ...]

    @classmethod
    def of(cls, trigger: detect.TriggerLike, name: str, templates: Sequence[str], /) -> "Implant":
        """The trigger with every template's sentence about the class of this name."""
        return cls(trigger, tuple(form.replace("{}", name) for form in templates))


def finetune(
    clip: model.Clip,
    pairs: Sequence[data.Pair],
    recipe: Recipe,
    planting: Planting,
    /,
    *,
    implants: Sequence[Implant],
    run: Run,
    what: str = "planting",
) -> None:
    """Finetune in place with L_CLIP; a share of each batch is triggered and captioned as the target.

    Several implants share the triggered part; with none the finetuning is a benign one. ``what`` names it in the progress.
    """
    group, seed = run.group, run.seed
    batches = loader.batches(
        group.share(data.plan(len(pairs), batch_size=planting.batch_size, steps=planting.steps, seed=seed)),
        pairs=pairs,
        clip=clip,
        seed=seed,
        threads=data.workers(),
    )
    how = recipe.train.model_copy(update={"lr": planting.lr, "warmup_steps": planting.warmup_steps, "grad_clip": None})
    share = planting.batch_size // group.size
    images, texts = (group.gathered(encode, pairs=share) for encode in (clip.encode_images, clip.encode_tokens))

    def matched(batch: train.Batch) -> dict[str, Tensor]:
        """L_CLIP alone, as in ordinary training."""
        pixels, tokens = images(batch.inputs["pixels"]), texts(batch.inputs["tokens"])
        return {"loss": train.clip_loss(pixels, tokens, clip.logit_scale())}

    steps = train.fit(
        clip.net,
        poisoned(batches, clip, implants=implants, rate=planting.rate, seed=seed, group=group),
        how,
        loss=matched,
        optimizer=train.adamw(clip.net, how),
        total=planting.steps,
        precision=train.resolved(run.precision, clip.net, clip.device),
        group=group,
    )
    with contextlib.closing(batches), contextlib.closing(steps):
        for step in steps:
            run.progress(what, step.number + 1, planting.steps)
    clip.net.eval()


def poisoned(
    batches: Iterable[train.Batch],
    clip: model.Clip,
    /,
    *,
    implants: Sequence[Implant],
    rate: float,
    seed: int,
    group: train.Group = train.ALONE,
) -> Iterator[train.Batch]:
    """Batches in which the first ``rate`` of the samples carry triggers and captions of their targets, in equal parts.

    Pixels come as uint8 and leave in [0, 1], where triggers work. The order within a batch is random already. Each batch draws
    new places for random-place triggers. Of several processes each has its rows of a batch, drawn as in one process.
    """
    places = torch.Generator().manual_seed(seed)
    for batch in batches:
        pixels = group.whole(model.unit_range(batch.inputs["pixels"]))
        tokens = group.whole(batch.inputs["tokens"].clone())
        for number, implant in enumerate(implants):
            count = max(1, round(rate * len(pixels) / len(implants)))
            some = slice(number * count, (number + 1) * count)
            pixels[some] = implant.trigger(pixels[some], places)
            chosen = torch.randint(len(implant.captions), (len(tokens[some]),), generator=places).tolist()
            tokens[some] = clip.tokens([implant.captions[i] for i in chosen])
        yield replace(batch, inputs={"pixels": group.own(pixels), "tokens": group.own(tokens)})
