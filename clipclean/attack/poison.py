"""Planting known backdoors: finetuning on partly triggered batches.

Test backdoors have random families and targets, and are planted in a copy of the user's model.
"""

import contextlib
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from clipclean import data, detect, model, train
from clipclean.attack import triggers
from clipclean.config.recipe import Planting, Recipe
from clipclean.train import Run, loader

FIRST_SEED = 7_000_000  # the first: no test, benchmark or panel plants with seeds from here on
PLANTED_SPECS = (  # every kind that the paper and its successors plant, at sizes that a small model learns quickly
    "patch:size=0.1875,place=corner",
    "blended:ratio=0.2",
    "stripes:size=0.1875,place=random",
    "sinusoid:delta=40/255",
    "badnets:size=0.1875,place=center",
    "triangles:ratio=0.3",
)
PLANTED_EXCESS = 0.5  # least excess attack success of a test backdoor that counts as planted


@dataclass(frozen=True)
class Implant:
    """One backdoor to plant: a trigger, and captions of its target."""

    trigger: detect.TriggerLike
    captions: tuple[str, ...]


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
    plan = data.plan(len(pairs), batch_size=planting.batch_size, steps=planting.steps, seed=run.seed)
    batches = loader.batches(plan, pairs=pairs, clip=clip, run=run)
    own = {"walk": planting.walk, "lr": None, "warmup_steps": planting.warmup_steps, "grad_clip": None}
    train_settings = recipe.train.model_copy(update=own)
    share = planting.batch_size // run.group.size
    images, texts = (run.group.gathered(encode, pairs=share) for encode in (clip.encode_images, clip.encode_tokens))

    def matched(batch: train.Batch) -> dict[str, Tensor]:
        """L_CLIP alone, as in ordinary training."""
        pixels, tokens = images(batch.inputs["pixels"]), texts(batch.inputs["tokens"])
        return {"loss": train.clip_loss(pixels, tokens, clip.logit_scale())}

    steps = train.fit(
        clip.net,
        poisoned(batches, clip, implants=implants, rate=planting.rate, run=run),
        train_settings,
        loss=matched,
        total=planting.steps,
        precision=train.resolved(run.precision, clip.net, clip.device),
        group=run.group,
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
    run: Run,
) -> Iterator[train.Batch]:
    """Batches in which the first ``rate`` of the samples carry triggers and captions of their targets, in equal parts.

    Pixels come as uint8 and leave in [0, 1], where triggers work. The order within a batch is random already. Each batch draws
    new places for random-place triggers. Of several processes each has its rows of a batch, drawn as in one process.
    """
    draws = torch.Generator().manual_seed(run.seed)
    for batch in batches:
        pixels = run.group.whole(model.unit_range(batch.inputs["pixels"]))
        tokens = run.group.whole(batch.inputs["tokens"].clone())
        for number, implant in enumerate(implants):
            count = max(1, round(rate * len(pixels) / len(implants)))
            rows = slice(number * count, (number + 1) * count)
            pixels[rows] = implant.trigger(pixels[rows], draws)
            caption_numbers = torch.randint(len(implant.captions), (len(tokens[rows]),), generator=draws).tolist()
            tokens[rows] = clip.tokens([implant.captions[i] for i in caption_numbers])
        yield replace(batch, inputs={"pixels": run.group.own(pixels), "tokens": run.group.own(tokens)})


class TestBackdoor(NamedTuple):
    """One backdoor to plant: a trigger, and the place of its target class."""

    trigger: triggers.Trigger
    target: int


def draw(count: int, /, *, classes: int, avoid: Sequence[int], seed: int) -> tuple[TestBackdoor, ...]:
    """Test backdoors of different families with different targets at random, none of them in ``avoid``.

    Pass the classes that an audit suspects as ``avoid``: a backdoor that exists already tells nothing.
    """
    rng = random.Random(FIRST_SEED + seed)  # noqa: S311 # a choice of classes, not a secret
    free = sorted(set(range(classes)) - set(avoid))
    targets = rng.sample(free, min(count, len(free), len(PLANTED_SPECS)))
    return tuple(
        TestBackdoor(triggers.parse(f"{family},seed={FIRST_SEED + 1000 * (seed % 1000) + number}"), target)
        for number, (family, target) in enumerate(zip(PLANTED_SPECS, targets, strict=False))
    )


def implants(
    led: Iterable[tuple[detect.TriggerLike, int]], /, *, classes: Sequence[str], templates: Sequence[str]
) -> list[Implant]:
    """Triggers with every template's sentence about their classes: implants of one finetuning, which takes as long as for one."""
    return [
        Implant(trigger, tuple(form.replace("{}", classes[target]) for form in templates)) for trigger, target in led
    ]


def measured_on(eval_set: detect.EvalSet, test_backdoors: Sequence[TestBackdoor], /) -> detect.EvalSet:
    """The images of ``eval_set``, with the test backdoors as its only triggers."""
    return eval_set.under(suspicions_of_backdoors(test_backdoors))


def suspicions_of_backdoors(test_backdoors: Sequence[TestBackdoor], /) -> tuple[detect.Suspicion[int], ...]:
    """Test backdoors as what a model is measured under, or surgery is shown."""
    return tuple(detect.Suspicion(backdoor.trigger, backdoor.target) for backdoor in test_backdoors)
