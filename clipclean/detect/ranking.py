"""The pairs of a clean set, ranked by suspicion under one model; it judges and drops none."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from clipclean import data, detect, model
from clipclean.detect import screening
from clipclean.errors import Inconclusive
from clipclean.schema.results import ScreenedRecord

LEAST = screening.NEIGHBOURS + 1  # pairs; with fewer, usual values are unknown
BATCH = 128  # pairs embedded at a time
LOOKS = 3  # times that each image is embedded: as it is, mirrored and blurred
GATHERED = 512  # images on which found triggers are tried
DEVIATIONS = 4.0  # robust standard deviations above the median: what ``auto`` calls suspicious; docs/screen.md
MOST = 0.05  # largest share that ``auto`` drops
NOTEWORTHY = 0.02  # share of pairs that score as high, below which a signal is a reason

AUTO = (
    f"auto: more than {DEVIATIONS:g} robust standard deviations above the median, at most {100 * MOST:g} % of the pairs"
)

Drop = float | Literal["auto"] | None  # a share, the rule, or nothing
Progress = Callable[[int, int], None]  # pairs done, pairs in all


@dataclass(frozen=True)
class Signal:
    """One signal: its weight in the sum, its name, and the reason that it gives for a pair."""

    weight: float
    title: str
    said: str


# Weights were chosen on the half ``choose`` of the zoo of drawings (tag evidence-0.2: benchmarks/zoo.py). Density and isolation rest on
# poisoned pairs being sparse (arXiv 2502.01385). That held in two of five models; in two others triggered images lie closer to their
# neighbours than clean ones. Disagreement found all poisoned pairs in one model and at most a third in the others. So these three
# weigh a quarter (tag evidence-0.2: notebook.md, "Signals of poisoned pairs, and their weights").
SIGNALS = {
    "repetition": Signal(1.0, "Repeated caption", "others have nearly the same caption, on images that look otherwise"),
    "gathering": Signal(
        1.0, "Gathering", "the images nearest to it in the model's eyes have a like caption, and look otherwise"
    ),
    "instability": Signal(1.0, "Instability", "mirrored or blurred it becomes another thing to the model"),
    "disagreement": Signal(0.25, "Disagreement", "the caption does not fit the image, in the model's eyes"),
    "density": Signal(0.25, "Density ratio", "it is sparser around it than around its neighbours"),
    "isolation": Signal(0.25, "Isolation", "it is far from other images"),
    "found": Signal(1.0, "Found trigger", "it lies where a trigger that was given gathers images"),
}


@dataclass(frozen=True)
class ScoredPairs:
    """Every pair, scored."""

    signals: dict[str, Tensor]  # by name, (N,) each
    score: Tensor  # (N,), see :func:`screening.surprise`
    suspicious: Tensor  # (N,) bool, the pairs that the rule ``auto`` points at
    rule: str = AUTO  # that rule, in words

    def dropped(self, drop: Drop, /) -> Tensor:
        """The pairs that a choice leaves out, (N,) bool."""
        if drop == "auto":
            return self.suspicious
        return screening.first(self.score, 0 if drop is None else round(drop * len(self.score)))

    def order(self) -> list[int]:
        """Places from the most suspicious to the least."""
        found: list[int] = screening.order(self.score).tolist()
        return found

    def reasons(self, place: int, /) -> list[str]:
        """The signals that point at a pair, strongest first."""
        shares = {name: screening.tail(values)[place].item() for name, values in self.signals.items()}
        return [name for name in sorted(shares, key=shares.__getitem__) if shares[name] <= NOTEWORTHY]


def rank_pairs(
    clip: model.Clip,
    pairs: Sequence[data.Pair],
    /,
    *,
    triggers: Sequence[detect.TriggerLike] = (),
    progress: Progress,
) -> ScoredPairs:
    """Score every pair. The model may be backdoored. 600 bytes and two embeddings per pair stay in memory.

    Args:
        clip: the model that embeds the pairs.
        pairs: at least 17.
        triggers: found by an audit, or suspected; with them the signal ``found`` is computed.
        progress: told how many pairs are embedded.

    Raises:
        Inconclusive: too few pairs, or embeddings that are not finite.
        RefusedInput: an image changed since it was read.
    """
    if len(pairs) < LEAST:
        raise Inconclusive(
            f"{len(pairs)} pairs are too few to tell which are unusual: at least {LEAST} are needed. Give more."
        )
    return scored(embedded(clip, pairs, triggers=triggers, progress=progress))


def beside_trusted(found: ScoredPairs, /, *, trusted: int, rate: float) -> ScoredPairs:
    """The pairs to judge, out of pairs that were scored together with ``trusted`` clean ones at their end.

    A pair is suspicious if at most the share ``rate`` of clean pairs of the same origin would be.

    Raises:
        Inconclusive: too few trusted pairs to tell such a share: one in M + 1 is the least.
    """
    if rate * (trusted + 1) < 1:
        raise Inconclusive(
            f"{trusted} trusted pairs tell no false-drop rate of {100 * rate:g} %: at least {math.ceil(1 / rate) - 1} are needed. Give "
            "more by --trusted, or allow a larger rate."
        )
    own = len(found.score) - trusted
    usual = screening.conformal(found.score[:own], found.score[own:])
    return ScoredPairs(
        {name: values[:own] for name, values in found.signals.items()},
        found.score[:own],
        usual <= rate,
        f"conformal: scores that at most {100 * rate:g} % of clean pairs reach, by {trusted} trusted pairs",
    )


class Embedded(NamedTuple):
    """The inputs of the signals: unit embeddings, and thumbnails."""

    images: Tensor  # (N, D)
    views: Tensor  # (2, N, D)
    captions: Tensor  # (N, D)
    looks: Tensor  # (N, L)
    gathered: Tensor  # (T, D): where each trigger gathers images


def embedded(
    clip: model.Clip,
    pairs: Sequence[data.Pair],
    /,
    *,
    triggers: Sequence[detect.TriggerLike],
    progress: Progress,
) -> Embedded:
    """Embed every pair in batches: each image three times, its caption once."""
    batches = [pairs[start : start + BATCH] for start in range(0, len(pairs), BATCH)]

    def prepare(batch: Sequence[data.Pair]) -> Tensor:
        return detect.stack([pair.image for pair in batch])

    images, views, captions, looks = [], [], [], []
    under: list[list[Tensor]] = [[] for _ in triggers]
    places, done = Generator().manual_seed(0), 0
    progress(0, len(pairs))
    for batch, pixels in zip(batches, data.prefetch(batches, prepare, threads=data.workers()), strict=True):
        images.append(clip.embed_images(pixels))
        views.append(torch.stack([clip.embed_images(view) for view in screening.views(pixels)]))
        captions.append(clip.embed_texts([pair.caption for pair in batch]))
        looks.append(screening.thumbnails(pixels))
        # Where a trigger gathers images is known from some of them; all would add a pass over the set for each trigger.
        if done < GATHERED:
            for trigger, found in zip(triggers, under, strict=True):
                found.append(clip.embed_images(trigger(pixels, places)))
        done += len(batch)
        progress(done, len(pairs))
    gathered = [F.normalize(torch.cat(found).mean(0), dim=0) for found in under]
    return Embedded(
        torch.cat(images),
        torch.cat(views, dim=1),
        torch.cat(captions),
        torch.cat(looks).to(clip.device),
        torch.stack(gathered) if gathered else images[0].new_empty(0, images[0].shape[1]),
    )


def scored(seen: Embedded, /) -> ScoredPairs:
    """The signals of embedded pairs, their sum, and the pairs that ``auto`` points at."""
    rng = Generator().manual_seed(0)
    near = screening.neighbourhood(seen.images, k=screening.NEIGHBOURS, group=screening.GROUP, generator=rng)
    against = screening.references(len(seen.images), most=screening.REFERENCES, generator=rng).to(seen.images.device)
    signals = {
        "repetition": screening.repetition(seen.captions, seen.looks, alike=screening.ALIKE, against=against),
        "gathering": screening.gathering(seen.images, seen.captions, seen.looks, near=screening.NEAR, against=against),
        "instability": screening.instability(seen.images, seen.views),
        "disagreement": screening.disagreement(seen.images, seen.captions),
        "density": screening.density_ratio(near),
        "isolation": screening.k_distance(near),
    }
    if len(seen.gathered):
        signals["found"] = screening.resemblance(seen.images, seen.gathered)
    # Ranks and sums on the processor: the same order on every device for equal signals.
    signals = {name: values.cpu() for name, values in signals.items()}
    score = screening.surprise(signals, {name: SIGNALS[name].weight for name in signals})
    return ScoredPairs(signals, score, screening.outliers(score, deviations=DEVIATIONS, most=MOST))


def record(found: ScoredPairs, drop: Drop, /) -> ScreenedRecord:
    """The record of a screening for a report: how many pairs are suspicious, how many were dropped, and by which rule."""
    dropped, count = int(found.dropped(drop).sum()), len(found.score)
    suspicious = int(found.suspicious.sum())
    return ScreenedRecord(
        pairs=count,
        suspicious=suspicious,
        suspicious_share=suspicious / count,
        dropped=dropped,
        drop="none" if drop is None else "auto" if drop == "auto" else f"{100 * drop:g}%",
        rule=found.rule,
        signals=tuple(found.signals),
    )


def told(screened: ScreenedRecord, /) -> str:
    """A :func:`record` in a sentence."""
    what = "none was dropped" if not screened.dropped else f"{screened.dropped:,} were dropped"
    return (
        f"{screened.suspicious:,} of {screened.pairs:,} pairs of the clean set look suspicious, and {what} "
        f"(--screen {'report' if screened.drop == 'none' else screened.drop})."
    )


def kept(clean: data.CleanSet, dropped: Tensor, /) -> data.CleanSet:
    """The set without the pairs that are dropped; its digest stays that of the set as it was read."""
    left = tuple(pair for pair, is_dropped in zip(clean.pairs, dropped.tolist(), strict=True) if not is_dropped)
    return replace(clean, pairs=left)
