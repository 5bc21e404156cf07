"""Measuring a recipe: plants backdoors in copies of a model and runs the recipe on each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from clipclean import __version__, data, detect, files, methods, model
from clipclean.attack import canaries, poison
from clipclean.attack.canaries import Canary
from clipclean.config import recipe as recipes
from clipclean.config.methods import METHODS
from clipclean.config.recipe import Evidence, Measured, Recipe, Versions
from clipclean.errors import Inconclusive, UsageError
from clipclean.export import provenance
from clipclean.jobs import inputs
from clipclean.methods import training
from clipclean.progress import Progress
from clipclean.train.loader import Samples
from clipclean.train.run import Run

BESIDE = 500_000  # added to the seed of a canary, so that a recipe is not measured on the backdoors that auto plants


@dataclass(frozen=True)
class BenchRequest:
    """The user's request; paths are not checked yet."""

    model: Path
    data: Path
    eval_data: Path
    arch: str | None
    classes: Path | None
    templates: Path | None
    attacks: int
    seeds: tuple[int, ...]
    planting: recipes.Planting
    device: str


@dataclass(frozen=True)
class Bench:
    """The inputs that all runs share."""

    clip: model.Clip
    original: dict[str, Tensor]
    samples: Samples  # to train on
    shown: Samples  # to measure on
    vocabulary: inputs.Words
    names: str  # of the data, for the block


@dataclass(frozen=True)
class Cleaning:
    """One victim before and after a recipe."""

    before: detect.Measurement
    after: detect.Measurement


def bench(recipe: Recipe, request: BenchRequest, /, *, progress: Progress) -> tuple[Evidence, ...]:
    """The evidence blocks of a recipe, one per attack: each planted and cleaned once per seed, and pooled.

    The same request gives the same blocks on the same machine.

    Raises:
        ClipcleanError: of the kind that tells the exit code.
        Inconclusive: an attack did not take with any seed.
    """
    if METHODS[recipe.method].chooses:
        raise UsageError(
            f"{recipe.name} chooses among other recipes. Measure those; benchmarks/auto.py measures the choice."
        )
    ready = prepare(recipe, request, progress)
    return tuple(block(recipe, request, ready, number, progress) for number in range(request.attacks))


def prepare(recipe: Recipe, request: BenchRequest, progress: Progress, /) -> Bench:
    """Read everything, and build the model."""
    opened = inputs.read(request.model, arch=request.arch)
    images = inputs.image_cache(recipe, opened.architecture, views=methods.views_of(recipe) is not None)
    vocabulary = inputs.words(request.classes, request.templates)
    clean = inputs.read_pairs(request.data, images, progress, image_key=None, caption_key=None)
    labelled = data.labelled(request.eval_data, images=images, classes=vocabulary.classes)
    labels = data.labels_of(clean, vocabulary.classes)
    recipes.check(recipe, pairs=len(clean.pairs))
    device = inputs.device_of(request.device)
    clip = inputs.build(opened, clean, device=device).clip
    original = {name: tensor.detach().clone() for name, tensor in clip.net.state_dict().items()}
    names = f"{request.data.name}, measured on {request.eval_data.name}; model {request.model.name}"
    return Bench(
        clip,
        original,
        Samples(clean.pairs, labels),
        Samples(labelled.pairs, labelled.labels),
        vocabulary,
        names,
    )


def block(recipe: Recipe, request: BenchRequest, ready: Bench, number: int, progress: Progress, /) -> Evidence:
    """The evidence of one attack, pooled over the seeds with which it was planted."""
    runs: dict[int, Cleaning] = {}
    attack = None
    for seed in request.seeds:
        attack = attack_of(ready, number, seed)
        made = run(recipe, request, ready, attack, seed, progress)
        if made.before.known[0].excess >= canaries.TOOK:
            runs[seed] = made
    family = canaries.FAMILIES[number]
    if not runs or attack is None:
        raise Inconclusive(
            f"{family} did not take with any of the seeds {', '.join(map(str, request.seeds))}: there was no backdoor to remove. Plant "
            "for longer by --steps, or at another --lr."
        )
    return Evidence(
        recipe_sha256=recipes.digest(recipe),
        attack=f"{family} planted in {request.planting.steps} steps, target drawn by the seed",
        architecture=ready.clip.architecture.name,
        kind=model.kind_of(ready.clip.architecture),
        parameters=model.parameter_count(ready.clip.net),
        data=ready.names,
        pairs=len(ready.samples.pairs),
        seeds=tuple(runs),
        before=pooled([made.before for made in runs.values()]),
        after=pooled([made.after for made in runs.values()]),
        versions=Versions(
            clipclean=__version__, torch=torch.__version__, open_clip=provenance.versions()["open_clip_torch"]
        ),
    )


def attack_of(ready: Bench, number: int, seed: int, /) -> Canary:
    """The canary of one family and seed."""
    drawn = canaries.draw(number + 1, classes=len(ready.vocabulary.classes), avoid=(), seed=BESIDE + seed)
    if len(drawn) <= number:
        raise UsageError(
            f"{number + 1} attacks need as many classes and families; there are {len(drawn)}. Ask for fewer."
        )
    return drawn[number]


def run(
    recipe: Recipe, request: BenchRequest, ready: Bench, attack: Canary, seed: int, progress: Progress, /
) -> Cleaning:
    """Plant one backdoor, measure, clean with the recipe, measure."""
    clip, words, samples, shown = ready.clip, ready.vocabulary, ready.samples, ready.shown
    clip.net.load_state_dict(ready.original)
    evidence = inputs.eval_set(
        clip,
        recipe,
        labelled=(shown.pairs, shown.labels) if shown.labels is not None else None,
        held_out=shown.pairs,
        vocabulary=words,
        named=((attack.trigger, attack.target),),
        panel=False,
    )
    what = f"{recipe.name}, {attack.trigger.family}, seed {seed}: "

    def report(stage: str, done: int, total: int) -> None:
        progress(f"{what}{stage}", done, total)

    poison.finetune(
        clip,
        samples.pairs,
        recipe,
        request.planting,
        seed=canaries.SEEDS + seed,
        progress=report,
        implants=canaries.implants([attack], classes=words.classes, templates=words.templates),
    )
    before, cleaning = inputs.measure(clip, evidence), Run(seed, recipe.train.precision, report)
    aims = training.search(
        clip, samples, recipe, text_classifier=before.text_classifier, classes=words.classes, known=(), run=cleaning
    )
    training.clean(clip, samples, recipe, aims=aims, run=cleaning)
    return Cleaning(before, inputs.measure(clip, evidence))


def pooled(measured: Sequence[detect.Measurement], /) -> Measured:
    """The sums of hits and cases of several measurements; each has one known trigger and labelled images."""
    probes = [each.known[0] for each in measured]
    return Measured(
        clean_accuracy=_added([each.clean_accuracy for each in measured]),
        attack_success=_added([probe.asr for probe in probes]),
        base_rate=_added([probe.base for probe in probes]),
        accuracy_under_trigger=_added(
            [probe.accuracy_under_trigger for probe in probes if probe.accuracy_under_trigger]
        ),
    )


def _added(rates: Sequence[detect.Rate]) -> recipes.MeasuredRate:
    whole = detect.Rate(sum(rate.hits for rate in rates), sum(rate.n for rate in rates))
    return recipes.MeasuredRate(value=whole.value, interval=whole.interval, n=whole.n)


def added(earlier: Sequence[Evidence], new: Sequence[Evidence], /) -> tuple[Evidence, ...]:
    """New evidence after the earlier that stays true: of the same values, with other attacks, models or data."""

    def subject(block: Evidence) -> tuple[str, str, str, str | None, int | None, str, int]:
        measured = block.attack, block.architecture, block.kind, block.parameters, block.data, block.pairs
        return block.recipe_sha256, *measured

    values, subjects = {block.recipe_sha256 for block in new}, set(map(subject, new))
    stays = [block for block in earlier if block.recipe_sha256 in values and subject(block) not in subjects]
    return (*stays, *new)


def with_evidence(text: str, evidence: Sequence[Evidence], /) -> str:
    """The YAML of a recipe with its evidence blocks replaced by these, at its end; comments stay."""
    lines = text.rstrip("\n").split("\n")
    begins = next((number for number, line in enumerate(lines) if line.startswith("evidence:")), len(lines))
    told: list[dict[str, Any]] = [each.model_dump(mode="json") for each in evidence]
    blocks = yaml.safe_dump({"evidence": told}, sort_keys=False, allow_unicode=True, width=100)
    return "\n".join(lines[:begins]).rstrip("\n") + f"\n\n{blocks}"


def write(path: Path, text: str, /) -> Recipe:
    """Check the YAML of a recipe, and write it whole; returns the recipe.

    Raises:
        UsageError: the text is no valid recipe; then the file is as it was.
        ResourceError: it cannot be written.
    """
    read: list[Recipe] = []

    def checked(partial: Path) -> None:
        partial.write_text(text, encoding="utf-8")
        read.append(recipes.load(partial))

    files.write_whole(path, checked)
    return read[0]
