"""Plant a known backdoor in a model by finetuning: canaries, red teams, tests."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from clipclean import checkpoint, data, detect, files, model, train
from clipclean.config import recipe as recipes
from clipclean.config.recipe import Planting, Recipe
from clipclean.errors import UsageError
from clipclean.jobs import inputs
from clipclean.jobs.sanitize import read_pairs, split
from clipclean.methods import cleanclip
from clipclean.progress import Progress
from clipclean.train import loader


@dataclass(frozen=True)
class Implant:
    """What one backdoor ties together: a trigger, and captions of its target."""

    trigger: detect.Trigger
    captions: tuple[str, ...]

    @classmethod
    def of(cls, trigger: detect.Trigger, target: int, vocabulary: inputs.Words, /) -> "Implant":
        """The trigger with every template's sentence about the class at place ``target``."""
        name = vocabulary.classes[target]
        return cls(trigger, tuple(form.replace("{}", name) for form in vocabulary.templates))


@dataclass(frozen=True)
class Request:
    """What the user asked for; paths are not yet looked at."""

    model: Path
    trigger: str
    target: str
    data: Path
    out: Path
    planting: Planting
    arch: str | None
    classes: Path | None
    templates: Path | None
    eval_data: Path | None
    seed: int
    device: str
    force: bool
    image_key: str | None = None  # columns of the data; None looks for the known ones
    caption_key: str | None = None
    weights: str | None = None  # which of several sets in the file


def plant(request: Request, /, *, progress: Progress) -> dict[str, Any]:
    """Write a backdoored copy of a model; returns what was planted and what it achieved.

    The result has ``trigger``, ``target``, ``before`` and ``after`` (each ``measurements`` as in a report).

    Raises:
        ClipcleanError: of the kind that tells the exit code; then no file is written.
    """
    check_file(request.out, force=request.force)
    recipe = recipes.load(recipes.DEFAULT)
    vocabulary = inputs.words(request.classes, request.templates)
    trigger, target = inputs.named_trigger(request.trigger), inputs.class_number(request.target, vocabulary.classes)
    device = inputs.device_of(request.device)
    opened = inputs.read(request.model, arch=request.arch, weights=request.weights)
    images = inputs.image_cache(recipe, opened.architecture)
    clean = read_pairs(request.data, images, progress, image_key=request.image_key, caption_key=request.caption_key)
    labelled = (
        None
        if request.eval_data is None
        else data.labelled(request.eval_data, images=images, classes=vocabulary.classes)
    )
    pairs, held_out = split(clean.pairs, recipe, hold_out=labelled is None)
    if len(pairs) < request.planting.batch_size:
        raise UsageError(
            f"{len(pairs)} pairs do not fill a batch of {request.planting.batch_size}. Give more, or lower --batch-size."
        )
    tested = inputs.build(opened, clean, device=device)
    inputs.check_sides([(trigger, target)], tested.clip.architecture)
    measured_on = inputs.evidence(
        tested.clip, recipe, labelled=None if labelled is None else (labelled.pairs, labelled.labels), held_out=held_out,
        vocabulary=vocabulary, named=((trigger, target),), panel=False,
    )  # fmt: skip
    before = measure(tested.clip, measured_on)
    finetune_in(
        tested.clip, pairs, recipe, request.planting, implants=[Implant.of(trigger, target, vocabulary)],
        seed=request.seed, progress=progress,
    )  # fmt: skip
    after = measure(tested.clip, measured_on)
    write(request.out, tested)
    return {
        "trigger": trigger.spec,
        "target": vocabulary.classes[target],
        "planting": request.planting.model_dump(mode="json"),
        "seed": request.seed,
        "before": before.as_dict(),
        "after": after.as_dict(),
        "sha256": files.sha256(request.out),
    }


def check_file(out: Path, /, *, force: bool) -> None:
    """Refuse before slow work what could not be written after it.

    Raises:
        UsageError: the output exists, or its folder does not.
        ResourceError: nothing can be written in its folder.
    """
    if out.is_dir() or (out.exists() and not force):
        raise UsageError(f"--out {out} exists. Name another file, or pass --force to overwrite it.")
    if out.suffix not in WRITERS:
        raise UsageError(f"--out {out}: name a file that ends in {' or '.join(WRITERS)}.")
    if not out.absolute().parent.is_dir():
        raise UsageError(f"--out {out}: the folder {out.absolute().parent} does not exist.")
    files.check_writable(out.absolute().parent, out)


def measure(clip: model.Clip, evidence: detect.Evidence, /) -> detect.Measurement:
    """Measure without progress: planting is short."""
    return detect.measure(clip.embed_images, clip.embed_texts, evidence, progress=lambda done, total: None)


def finetune_in(
    clip: model.Clip,
    pairs: list[data.Pair],
    recipe: Recipe,
    planting: Planting,
    /,
    *,
    implants: Sequence[Implant],
    seed: int,
    progress: Progress,
) -> None:
    """Finetune with L_CLIP on batches of which a share is triggered and captioned as the target, in place.

    Several implants share the triggered part; with none the finetuning is a benign one.
    """
    side = clip.architecture.preprocess.size
    batches = loader.batches(
        data.plan(len(pairs), batch_size=planting.batch_size, steps=planting.steps, seed=seed),
        pairs=pairs, fit=clip.fitted, tokens=clip.tokens, views=None, side=side,
        seed=seed, first_step=0, threads=data.workers(),
    )  # fmt: skip
    steps = train.finetune(
        clip.net,
        poisoned(batches, clip, implants=implants, rate=planting.rate, seed=seed),
        loss=cleanclip.cleanclip(
            clip.encode_images, clip.encode_tokens, clip.logit_scale, clip_weight=1.0, self_supervised_weight=0.0
        ),
        optimizer=train.adamw(
            clip.net,
            lr=planting.lr,
            betas=recipe.train.betas,
            eps=recipe.train.eps,
            weight_decay=recipe.train.weight_decay,
        ),
        learning_rate=lambda step: train.learning_rate(
            step, peak=planting.lr, warmup=planting.warmup_steps, total=planting.steps
        ),
        first_step=0,
        grad_clip=None,
    )
    with contextlib.closing(batches), contextlib.closing(steps):
        for step in steps:
            progress("planting", step.number + 1, planting.steps)
    clip.net.eval()


def poisoned(
    batches: Iterable[train.Batch],
    clip: model.Clip,
    /,
    *,
    implants: Sequence[Implant],
    rate: float,
    seed: int,
) -> Iterator[train.Batch]:
    """Batches in which the first ``rate`` of the samples carry triggers and captions of their targets, in equal parts.

    Pixels come as uint8 and leave in [0, 1], where triggers work.
    The order within a batch is random already. Places of random-place triggers are drawn anew for each batch.
    """
    places = torch.Generator().manual_seed(seed)
    for batch in batches:
        pixels, tokens = model.unit_range(batch.inputs["pixels"]), batch.inputs["tokens"].clone()
        for number, implant in enumerate(implants):
            count = max(1, round(rate * len(batch.keys) / len(implants)))
            some = slice(number * count, (number + 1) * count)
            pixels[some] = implant.trigger(pixels[some], places)
            chosen = torch.randint(len(implant.captions), (len(tokens[some]),), generator=places).tolist()
            tokens[some] = clip.tokens([implant.captions[i] for i in chosen])
        yield replace(batch, inputs={"pixels": pixels, "tokens": tokens})


def write(out: Path, tested: inputs.Subject, /) -> None:
    """Write the weights whole, in the layout that the suffix names."""
    files.write_whole(out, lambda partial: WRITERS[out.suffix](partial, tested))


def _write_training_checkpoint(path: Path, tested: inputs.Subject) -> None:
    """As open_clip's training loop writes it."""
    state = {"epoch": 1, "name": tested.clip.architecture.name, "state_dict": tested.weights()}
    with path.open("wb") as stream:  # given a path, torch tells a full disk by a RuntimeError
        torch.save(state, stream)


def _write_safetensors(path: Path, tested: inputs.Subject) -> None:
    checkpoint.write_safetensors(path, tested.weights(), metadata={"format": "pt"})


WRITERS = {".pt": _write_training_checkpoint, ".safetensors": _write_safetensors}
