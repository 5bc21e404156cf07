"""The hunt: every family searched, without a target first, then towards the suspects, then judged on unseen pictures."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from clipclean.detect import inversion
from clipclean.detect.families import FAMILIES, Found
from clipclean.detect.inversion import Candidate, Effort, Embed, NoSearch
from clipclean.detect.probes import Probe, embeddings, probe
from clipclean.detect.references import Range, Yardstick, freely

MOST_IMAGES = 256  # pictures that are searched on
SEARCHED = 0.6  # share of the pictures that is searched on; the others judge
SWEPT_FAMILY = "mask"  # of the brief search towards every class
FLOOR = 0.25  # least deviation of the logarithm of sizes: equal ones would make any difference infinite


@dataclass(frozen=True)
class Gathering:
    """Where a search without a target ended: the share of pictures at one class, and the trigger's size.

    ``abnormality`` is how many robust deviations the size lies below what such searches in clean models end with; nan
    without clean models to compare with.
    """

    family: str
    target: int
    share: float
    size: float
    is_reached: bool
    abnormality: float


@dataclass(frozen=True)
class Trace:
    """The smallest trigger that was found for one class in one family, and what it does to pictures not searched on.

    Attributes:
        candidate: what the search ended with.
        found: the same as a trigger.
        probe: its effect.
        gatherings: the searches without a target that ended at this class, in any family.
        outlyingness: robust deviations by which its size lies below that of the control classes.
        abnormality: the same, below what clean models need; nan without clean models to compare with.
        reference: sizes that clean models need; None without such models.
    """

    candidate: Candidate
    found: Found
    probe: Probe
    gatherings: tuple[Gathering, ...]
    outlyingness: float
    abnormality: float
    reference: Range | None

    @property
    def gathering(self) -> float:
        """Largest share of pictures that any search without a target brought to this class; 0 where none did."""
        return max((g.share for g in self.gatherings), default=0.0)

    def as_dict(self) -> dict[str, Any]:  # Any: JSON
        """An entry of ``measurements.search.found`` in a report."""
        probed = self.probe.as_dict()
        return {
            "family": self.candidate.family,
            "family_words": FAMILIES[self.candidate.family].words,
            "class": self.found.target,
            "size": self.candidate.size,
            "size_words": self.found.size_words,
            "reached": self.candidate.is_reached,
            "asr": probed["asr"],
            "base_rate": probed["base_rate"],
            "excess_asr": probed["excess_asr"],
            "collapse": 1 - self.probe.spread,  # of unit embeddings: the squared norm of their mean
            "clean_collapse": 1 - self.probe.clean_spread,
            "gathering": self.gathering,
            "distance": self.probe.distance,
            "spread": self.probe.spread,
            "direction_agreement": self.probe.direction_agreement,
            "knn_asr": probed["knn_asr"],
            "reference": self.reference and self.reference.as_dict(),
            "abnormality": None if math.isnan(self.abnormality) else self.abnormality,
            "outlyingness": None if math.isnan(self.outlyingness) else self.outlyingness,
            "file": None,
        }


@dataclass(frozen=True)
class Hunt:
    """All that was found, most abnormal first."""

    traces: tuple[Trace, ...]
    controls: tuple[Candidate, ...]
    gatherings: tuple[Gathering, ...]
    passes: int  # pictures that went forward and back
    images: int  # that were searched on
    classes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:  # Any: JSON
        """``measurements.search`` of a report, but for the time it took and what it was compared with."""
        return {
            "forward_passes": self.passes,
            "images": self.images,
            "found": [trace.as_dict() for trace in self.traces],
            "controls": [
                {"class": self.classes[c.target], "family": c.family, "size": c.size, "reached": c.is_reached}
                for c in self.controls
            ],
            "gatherings": [
                {
                    "class": self.classes[g.target], "family": g.family, "size": g.size, "share": g.share,
                    "reached": g.is_reached, "abnormality": None if math.isnan(g.abnormality) else g.abnormality,
                }
                for g in self.gatherings
            ],
        }  # fmt: skip


def hunt(
    embed: Embed,
    pixels: Tensor,
    /,
    *,
    labels: Tensor | None,
    bank: Tensor,
    classes: Sequence[str],
    scale: float,
    pointed: Sequence[int],
    effort: Effort,
    yardstick: Yardstick | None,
    knn: int,
    batch_size: int,
    seed: int,
    progress: Callable[[int, int], None],
) -> Hunt:
    """Search for triggers that nobody described.

    Args:
        embed: the image tower, differentiable: images (B, 3, S, S) in [0, 1] -> unit embeddings (B, D).
        pixels: (N, 3, S, S) in [0, 1]; some are searched on, the others judge.
        labels: (N,) places in ``classes``, or None.
        bank: (K, D), the zero-shot classifier.
        classes: K names.
        scale: the logit scale (not its logarithm).
        pointed: classes that something else points at, such as the panel; they are searched for as well.
        effort: how hard to search.
        yardstick: what clean models need; None where that is not known.
        knn: neighbours of the k-NN attack success rate.
        batch_size: pictures embedded at a time.
        seed: draws everything.
        progress: called with (done, total) after each family, and each block of classes of a sweep.

    Raises:
        Inconclusive: the model gives numbers that are not finite.
        NoSearch: too few pictures or classes, or a model that maps everything to one place.
    """
    if len(classes) < effort.controls + 2:
        raise NoSearch(
            "CC022",
            f"{len(classes)} class(es) leave too few to compare a suspect with: at least {effort.controls + 2} are needed. "
            "Give a longer list by --classes.",
        )
    sweep = inversion.blocks(len(classes)) if effort.sweep else 0
    done, total, generator = itertools.count(1), 2 * len(FAMILIES) + sweep, Generator().manual_seed(seed)
    on, beside = divided(len(pixels))
    searched, unseen, side = pixels[on], pixels[beside], pixels.shape[-1]
    gatherings: list[Gathering] = []
    free: list[Candidate] = []
    for family in FAMILIES:
        ended = inversion.untargeted(embed, searched, family=family, bank=bank, effort=effort, generator=generator)
        gatherings += [_gathering(candidate, share, yardstick) for candidate, share in ended]
        free += [candidate for candidate, _ in ended]
        progress(next(done), total)
    if effort.sweep:
        leaders = inversion.swept(
            embed, searched, family=SWEPT_FAMILY, bank=bank, scale=scale, steps=effort.sweep, generator=generator,
            progress=lambda: progress(next(done), total),
        )  # fmt: skip
        pointed = list(dict.fromkeys([*pointed, *leaders]))
    suspects = suspected(gatherings, pointed, most=effort.suspects)
    controls = drawn(len(classes), suspects, count=effort.controls, generator=generator)
    clean = embeddings(embed, unseen, batch_size=batch_size)

    def effect(found: Found, target: int) -> Probe:
        return probe(
            embed, unseen, clean=clean, bank=bank, classes=classes, trigger=found, target=target,
            labels=None if labels is None else labels[beside], knn=knn, batch_size=batch_size,
        )  # fmt: skip

    traces: list[Trace] = []
    compared: list[Candidate] = []
    rows = 0
    for family in FAMILIES:
        starts = begun(free, family=family, targets=suspects)
        rows += len(suspects) + len(controls) + len(starts)
        candidates = inversion.targeted(
            embed, searched, family=family, bank=bank, scale=scale, targets=[*suspects, *controls], starts=starts,
            effort=effort, generator=generator,
        )  # fmt: skip
        aimed, others = candidates[: len(suspects)], candidates[len(suspects) :]
        compared += others
        traces += [
            _trace(candidate, candidate.found(classes, side=side), effect, gatherings, others, yardstick)
            for candidate in aimed
        ]
        progress(next(done), total)
    ranked = sorted(traces, key=lambda trace: -rank(trace))
    passes = effort.passes(len(FAMILIES), rows=rows, classes=len(classes))
    return Hunt(tuple(ranked), tuple(compared), tuple(gatherings), passes, len(searched), tuple(classes))


def _gathering(candidate: Candidate, share: float, yardstick: Yardstick | None) -> Gathering:
    """Where a search without a target ended, and what the size of its trigger compares with."""
    usual = yardstick.sizes(freely(candidate.family)) if yardstick else None
    abnormality = usual.abnormality(candidate.size) if usual else math.nan
    return Gathering(candidate.family, candidate.target, share, candidate.size, candidate.is_reached, abnormality)


def _trace(
    candidate: Candidate,
    found: Found,
    effect: Callable[[Found, int], Probe],
    gatherings: Sequence[Gathering],
    controls: Sequence[Candidate],
    yardstick: Yardstick | None,
) -> Trace:
    """A candidate with its effect on unseen pictures, and what its size compares with."""
    reference = yardstick.sizes(candidate.family) if yardstick else None
    return Trace(
        candidate=candidate,
        found=found,
        probe=effect(found, candidate.target),
        gatherings=tuple(g for g in gatherings if g.target == candidate.target),
        outlyingness=inversion.outlyingness(candidate.size, [control.size for control in controls], floor=FLOOR),
        abnormality=reference.abnormality(candidate.size) if reference else math.nan,
        reference=reference,
    )


def smallest(made: Hunt, /) -> dict[str, float]:
    """The size of the smallest trigger of each family, towards a class and without: what a clean model needs, if it is clean."""
    towards = {
        family: min(trace.candidate.size for trace in made.traces if trace.candidate.family == family)
        for family in FAMILIES
    }
    return towards | {
        freely(family): min(gathering.size for gathering in made.gatherings if gathering.family == family)
        for family in FAMILIES
    }


def divided(count: int, /) -> tuple[list[int], list[int]]:
    """Places of the pictures that are searched on, and of those that judge; drawn, but always the same.

    Raises:
        NoSearch: fewer than four.
    """
    if count < 4:
        raise NoSearch(
            "CC020", f"{count} picture(s) are too few to search on some and judge by others. Give more by --data."
        )
    order = torch.randperm(count, generator=Generator().manual_seed(0)).tolist()
    cut = min(round(SEARCHED * count), MOST_IMAGES)
    return sorted(order[:cut]), sorted(order[cut:])


def suspected(gatherings: Sequence[Gathering], pointed: Sequence[int], /, *, most: int) -> list[int]:
    """The classes to search for: those that gathered most pictures, and in the first places those pointed at.

    At most half of the places go to classes that are pointed at.
    """
    best: dict[int, float] = {}
    for gathering in gatherings:
        best[gathering.target] = max(best.get(gathering.target, 0.0), gathering.share)
    ranked = sorted(best, key=lambda target: -best[target])
    return list(dict.fromkeys([*pointed[: most // 2], *ranked]))[:most]


def begun(free: Sequence[Candidate], /, *, family: str, targets: Sequence[int]) -> list[Candidate]:
    """The smallest trigger of a family that a search without a target ended with, for each class where one did."""
    reached = [c for c in free if c.family == family and c.is_reached]
    best = {
        target: min((c for c in reached if c.target == target), key=lambda c: c.size, default=None)
        for target in targets
    }
    return [candidate for candidate in best.values() if candidate is not None]


def drawn(classes: int, suspects: Sequence[int], /, *, count: int, generator: Generator) -> list[int]:
    """Classes at random to compare the suspects with."""
    order = torch.randperm(classes, generator=generator).tolist()
    return [target for target in order if target not in set(suspects)][:count]


def rank(trace: Trace, /) -> float:
    """What found triggers are ordered by."""
    return trace.outlyingness if math.isnan(trace.abnormality) else trace.abnormality
