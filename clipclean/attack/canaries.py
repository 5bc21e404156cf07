"""Canaries: test backdoors with random families and targets, planted in a copy of the user's model."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from clipclean import detect
from clipclean.attack import triggers
from clipclean.attack.poison import Implant

SEEDS = 7_000_000  # the first: no test, benchmark or panel plants with seeds from here on
FAMILIES = (  # every kind that the paper and its successors plant, at sizes that a small model learns quickly
    "patch:size=0.1875,place=corner",
    "blended:ratio=0.2",
    "stripes:size=0.1875,place=random",
    "sinusoid:delta=40/255",
    "badnets:size=0.1875,place=center",
    "triangles:ratio=0.3",
)
TOOK = 0.5  # least excess attack success of a test backdoor that counts as planted


@dataclass(frozen=True)
class Canary:
    """One backdoor to plant: a trigger, and the place of its target class."""

    trigger: triggers.Trigger
    target: int


def draw(count: int, /, *, classes: int, avoid: Sequence[int], seed: int) -> tuple[Canary, ...]:
    """Canaries of different families with different targets at random, none of them in ``avoid``.

    Pass the classes that an audit suspects as ``avoid``: a backdoor that exists already is no canary.
    """
    rng = random.Random(SEEDS + seed)  # noqa: S311 # a choice of classes, not a secret
    free = sorted(set(range(classes)) - set(avoid))
    targets = rng.sample(free, min(count, len(free), len(FAMILIES)))
    return tuple(
        Canary(triggers.parse(f"{family},seed={SEEDS + 1000 * (seed % 1000) + number}"), target)
        for number, (family, target) in enumerate(zip(FAMILIES, targets, strict=False))
    )


def implants(canaries: Sequence[Canary], /, *, classes: Sequence[str], templates: Sequence[str]) -> list[Implant]:
    """All test backdoors as implants of one finetuning, which takes as long as for one."""
    return [Implant.of(canary.trigger, classes[canary.target], templates) for canary in canaries]


def measured_on(evidence: detect.EvalSet, canaries: Sequence[Canary], /) -> detect.EvalSet:
    """The images of ``evidence``, with the test backdoors as its only triggers."""
    return replace(evidence, suspicions=tuple((c.trigger, c.target) for c in canaries), panel=())
