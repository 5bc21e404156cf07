"""The power of an audit: how many backdoors planted in copies of the model the same audit finds.

Each is planted in a copy of its own: a class counts by the margin to the next one, and several backdoors in one copy would hide
each other.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from clipclean import data, detect, model
from clipclean.attack import poison
from clipclean.attack.poison import TestBackdoor
from clipclean.config import recipe as recipes
from clipclean.config.recipe import Planting, Recipe
from clipclean.config.thresholds import LEAST_PLANTED, MOST_MISSED
from clipclean.errors import Inconclusive
from clipclean.findings import CC, Finding, Level, finding
from clipclean.schema.report import PlantedRecord, PowerRecord
from clipclean.train import Run

TEST_BACKDOORS = 4  # test backdoors that take, by which the power is measured
SPARE_BACKDOORS = 2  # further ones, for those that do not take
LEAST_PLANTING_PAIRS = 64  # to plant with
PLANTED_WALK = 0.65  # how far a planting can go, in sizes of the weights


def record(backdoors: Sequence[PlantedRecord], /) -> PowerRecord:
    """The report's ``power``: of the backdoors that were planted, how many the audit names, so that their model would not pass.

    Those that did not take do not count. Finding nothing means something if enough were planted, and nearly all of them found.
    """
    levels = [backdoor.level for backdoor in backdoors if backdoor.took]
    rate_found = detect.Rate(sum(level is not None for level in levels), len(levels))
    rate_failed = detect.Rate(levels.count("error"), len(levels))
    enough = rate_found.n >= LEAST_PLANTED and rate_found.hits >= rate_found.n - MOST_MISSED
    return PowerRecord(found=rate_found.record(), failed=rate_failed.record(), enough=enough, planted=tuple(backdoors))


def power_finding(power: PowerRecord, /) -> Finding:
    """A note if the power is enough for a pass without references, else a warning, which prevents it."""
    rate, backdoors = power.found, [backdoor for backdoor in power.planted if backdoor.took]
    misses, (low, high) = [backdoor.trigger for backdoor in backdoors if backdoor.level is None], rate.interval
    words = f"This audit finds {rate.n - len(misses)} of {rate.n} backdoors that were planted in copies of this model"
    words += f" (95 % interval {100 * low:.0f} to {100 * high:.0f} %)."
    if len(backdoors) < len(power.planted):
        words += f" {len(power.planted) - len(backdoors)} more could not be planted, and do not count."
    if misses:
        words += f" It misses {' and '.join(misses)}."
    if not power.enough:
        words += f" For a pass without clean models to compare with, all but {MOST_MISSED} of at least {LEAST_PLANTED} must be found."
    level: Level = "note" if power.enough else "warning"
    return finding(
        CC.AUDIT_POWER, words, level=level, measure="power", value=rate.value, interval=rate.interval, n=rate.n
    )


def pairs_of(images: data.CleanSet, classes: Sequence[str], templates: Sequence[str], /) -> list[data.Pair]:
    """Pairs to plant with: those of a set with captions, or of labelled images with sentences about their classes.

    Raises:
        Inconclusive: there are too few, or images have neither captions nor labels.
    """
    labels = data.labels_of(images, classes)
    if labels is not None:
        pairs = with_captions(data.Samples(list(images.pairs), labels), classes, templates)
    else:
        pairs = [pair for pair in images.pairs if pair.caption]
    if len(pairs) < LEAST_PLANTING_PAIRS:
        raise Inconclusive(
            f"--power plants backdoors with images that have captions or labels, and {len(pairs)} of {len(images.pairs)} have: at "
            f"least {LEAST_PLANTING_PAIRS} are needed. Give more by --data, or leave --power out."
        )
    return pairs


def with_captions(samples: data.Samples, classes: Sequence[str], templates: Sequence[str], /) -> list[data.Pair]:
    """The pairs of labelled samples, with sentences about their classes as captions."""
    labels = [] if samples.labels is None else samples.labels.tolist()
    sentences = [
        templates[number % len(templates)].replace("{}", classes[label]) for number, label in enumerate(labels)
    ]
    return [replace(pair, caption=words) for pair, words in zip(samples.pairs, sentences, strict=True)]


def planting_of(*, pairs: int) -> Planting:
    """The settings for planting one backdoor with so many pairs."""
    return recipes.planting(rate=0.2, steps=120, batch_size=min(128, pairs), walk=PLANTED_WALK, warmup_steps=20)


def test_backdoors_of(*, classes: int, avoid: Sequence[int], seed: int) -> tuple[TestBackdoor, ...]:
    """The test backdoors by which the power is measured, the spare ones last; none towards a class to ``avoid``."""
    return poison.draw(TEST_BACKDOORS + SPARE_BACKDOORS, classes=classes, avoid=avoid, seed=seed)


def measure(
    clip: model.Clip,
    pairs: Sequence[data.Pair],
    eval_set: detect.EvalSet,
    recipe: Recipe,
    test_backdoors: Sequence[TestBackdoor],
    /,
    *,
    seed: int,
    levels: Callable[[], Mapping[str, str]],
) -> PowerRecord:
    """Plant backdoors in the model, one after the other, until ``TEST_BACKDOORS`` took, and count those that an audit names; the weights are restored.

    Args:
        clip: the model.
        pairs: to plant with.
        eval_set: images on which a planted backdoor is measured.
        recipe: whose optimiser is used.
        test_backdoors: to plant, of different families; none of their classes may be one that the audit names in the original model.
        seed: of the planting.
        levels: audits the model in its current state; returns the level of the finding for each class that it names.
    """
    weights = model.copy_weights(clip)
    planting = planting_of(pairs=len(pairs))
    records = []
    try:
        for number, backdoor in enumerate(test_backdoors):
            start = time.monotonic()
            model.put_weights(clip, weights)
            poison.finetune(
                clip,
                pairs,
                recipe,
                planting,
                implants=poison.implants(
                    [backdoor], classes=eval_set.vocabulary.classes, templates=eval_set.vocabulary.templates
                ),
                run=Run(poison.FIRST_SEED + seed + number, recipe.train.precision),
                what=f"planting {number + 1} of {max(number + 1, min(TEST_BACKDOORS, len(test_backdoors)))}",
            )
            probe_set = poison.measured_on(eval_set, [backdoor])
            measurement = detect.measure(clip.embed_images, clip.embed_texts, probe_set).suspected[0]
            # All images may be of the class already.
            excess = 0.0 if math.isnan(measurement.excess) else measurement.excess
            took, target = excess >= poison.PLANTED_EXCESS, eval_set.vocabulary.classes[backdoor.target]
            level = levels().get(target) if took else None  # of what was not planted there is nothing to find
            values = {
                "trigger": backdoor.trigger.spec,
                "class": target,
                "excess_asr": excess,
                "took": took,
                "level": level,
            }
            records.append(PlantedRecord.model_validate(values | {"seconds": time.monotonic() - start}))
            if sum(planted.took for planted in records) == TEST_BACKDOORS:
                break
    finally:
        model.put_weights(clip, weights)
    return record(records)
