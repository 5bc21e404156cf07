"""The pairs of a clean set, ranked by suspicion under one model, by several signals; it judges and drops none.

Every signal is one number a pair, larger for more suspicious, and says nothing by its absolute size: only the order counts.
:func:`surprise` makes one order of them, :func:`outliers` says where that order stops looking like the rest.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from clipclean import data, model
from clipclean.detect.measure import stack
from clipclean.detect.suspicion import TriggerLike
from clipclean.detect.zeroshot import EMBED_BATCH
from clipclean.errors import Inconclusive
from clipclean.progress import step
from clipclean.schema.results import ScreenedRecord, SignalRecord

NEIGHBOURS = 16  # k of arXiv 2502.01385
PAIRS_A_GROUP = 1024  # pairs that are each other's reference: with one poisoned pair in 100, fewer than k of them
ALIKE_COSINE = 0.95  # least cosine of two captions with the same meaning
THUMBNAIL_SIDE = 8  # px: coarse enough that a small trigger does not make two images alike
SIMILARITY_ROWS = 256  # rows of similarities at a time: (256, 65536) floats are 64 MiB
# Most pairs that each is compared with; more are sampled, since the time grows with both numbers.
MOST_COMPARED_PAIRS = 65_536
NEAR_IMAGES = 10  # nearest images whose captions are compared
COPY_DISTANCE = 1e-6  # a distance below this is that of a copy
LEAST_RANKED_PAIRS = NEIGHBOURS + 1  # pairs; with fewer, usual values are unknown
LOOKS_AT_AN_IMAGE = 3  # times that each image is embedded: as it is, mirrored and blurred
GATHERING_IMAGES = 512  # images on which found triggers are tried
# Robust standard deviations above the median: what ``auto`` calls suspicious; docs/screen.md.
SUSPICIOUS_DEVIATIONS = 4.0
MOST_DROPPED = 0.05  # largest share that ``auto`` drops
NOTEWORTHY_SHARE = 0.02  # share of pairs that score as high, below which a signal is a reason

AUTO_RULE = f"auto: more than {SUSPICIOUS_DEVIATIONS:g} robust standard deviations above the median, at most {100 * MOST_DROPPED:g} % of the pairs"

Drop = float | Literal["auto"] | None  # a share, the rule, or nothing


# Weights were chosen on the half ``choose`` of the zoo of drawings (commit a95ae354: benchmarks/zoo.py). Density and isolation rest on
# poisoned pairs being sparse (arXiv 2502.01385). That held in two of five models; in two others triggered images lie closer to their
# neighbours than clean ones. Disagreement found all poisoned pairs in one model and at most a third in the others. So these three
# weigh a quarter (commit a95ae354: benchmarks/results/notebook.md, "Signals of poisoned pairs, and their weights").
SIGNALS = {
    name: SignalRecord(name=name, title=title, weight=weight, says=says)
    for name, title, weight, says in (
        ("repetition", "Repeated caption", 1.0, "others have nearly the same caption, on images that look otherwise"),
        (
            "gathering",
            "Gathering",
            1.0,
            "the images nearest to it in the model's eyes have a like caption, and look otherwise",
        ),
        ("instability", "Instability", 1.0, "mirrored or blurred it becomes another thing to the model"),
        ("disagreement", "Disagreement", 0.25, "the caption does not fit the image, in the model's eyes"),
        ("density", "Density ratio", 0.25, "it is sparser around it than around its neighbours"),
        ("isolation", "Isolation", 0.25, "it is far from other images"),
        ("found", "Found trigger", 1.0, "it lies where a trigger that was given gathers images"),
    )
}


@dataclass(frozen=True)
class ScoredPairs:
    """Every pair, scored."""

    signals: dict[str, Tensor]  # by name, (N,) each
    score: Tensor  # (N,), see :func:`surprise`
    suspicious: Tensor  # (N,) bool, the pairs that the rule ``auto`` points at
    rule: str = AUTO_RULE  # that rule, in words

    def dropped(self, drop: Drop, /) -> Tensor:
        """The pairs that a choice leaves out, (N,) bool."""
        if drop == "auto":
            return self.suspicious
        return first(self.score, 0 if drop is None else round(drop * len(self.score)))


def rank_pairs(
    clip: model.Clip, pairs: Sequence[data.Pair], /, *, triggers: Sequence[TriggerLike] = (), what: str
) -> ScoredPairs:
    """Score every pair, by embeddings of a model that may be backdoored. 600 bytes and two embeddings per pair stay in memory.

    With ``triggers``, found by an audit or suspected, the signal ``found`` is computed; ``what`` names the stage in the progress.

    Raises:
        Inconclusive: too few pairs, or embeddings that are not finite.
        RefusedInput: an image changed since it was read.
    """
    if len(pairs) < LEAST_RANKED_PAIRS:
        raise Inconclusive(
            f"{len(pairs)} pairs are too few to tell which are unusual: at least {LEAST_RANKED_PAIRS} are needed. Give more."
        )
    return scored(embedded(clip, pairs, triggers=triggers, what=what))


def beside_trusted(pairs: ScoredPairs, /, *, trusted: int, rate: float) -> ScoredPairs:
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
    own = len(pairs.score) - trusted
    usual = conformal(pairs.score[:own], pairs.score[own:])
    return ScoredPairs(
        {name: values[:own] for name, values in pairs.signals.items()},
        pairs.score[:own],
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
    clip: model.Clip, pairs: Sequence[data.Pair], /, *, triggers: Sequence[TriggerLike], what: str
) -> Embedded:
    """Embed every pair in batches: each image three times, its caption once."""
    batches = [pairs[start : start + EMBED_BATCH] for start in range(0, len(pairs), EMBED_BATCH)]

    def prepare(batch: Sequence[data.Pair]) -> Tensor:
        return stack([pair.image for pair in batch])

    images, changed_views, captions, looks = [], [], [], []
    under: list[list[Tensor]] = [[] for _ in triggers]
    draws, embedded_count = Generator().manual_seed(0), 0
    step(what, 0, len(pairs))
    for batch, pixels in zip(batches, data.prefetch(batches, prepare), strict=True):
        images.append(clip.embed_images(pixels))
        changed_views.append(torch.stack([clip.embed_images(view) for view in views(pixels)]))
        captions.append(clip.embed_texts([pair.caption for pair in batch]))
        looks.append(thumbnails(pixels))
        # Where a trigger gathers images is known from some of them; all would add a pass over the set for each trigger.
        if embedded_count < GATHERING_IMAGES:
            for trigger, triggered in zip(triggers, under, strict=True):
                triggered.append(clip.embed_images(trigger(pixels, draws)))
        embedded_count += len(batch)
        step(what, embedded_count, len(pairs))
    gathered = [F.normalize(torch.cat(triggered).mean(0), dim=0) for triggered in under]
    return Embedded(
        torch.cat(images),
        torch.cat(changed_views, dim=1),
        torch.cat(captions),
        torch.cat(looks).to(clip.device),
        torch.stack(gathered) if gathered else images[0].new_empty(0, images[0].shape[1]),
    )


def scored(pairs: Embedded, /) -> ScoredPairs:
    """The signals of embedded pairs, their sum, and the pairs that ``auto`` points at."""
    rng = Generator().manual_seed(0)
    near = neighbourhood(pairs.images, k=NEIGHBOURS, group=PAIRS_A_GROUP, generator=rng)
    against = references(len(pairs.images), most=MOST_COMPARED_PAIRS, generator=rng).to(pairs.images.device)
    signals = {
        "repetition": repetition(pairs.captions, pairs.looks, alike=ALIKE_COSINE, against=against),
        "gathering": gathering(pairs.images, pairs.captions, pairs.looks, near=NEAR_IMAGES, against=against),
        "instability": instability(pairs.images, pairs.views),
        "disagreement": disagreement(pairs.images, pairs.captions),
        "density": density_ratio(near),
        # The k-distance: Ramaswamy, Rastogi, Shim 2000, SIGMOD; on CLIP embeddings arXiv 2502.01385.
        "isolation": near.distances[:, -1],
    }
    if len(pairs.gathered):  # the largest cosine to where a trigger gathers images
        signals["found"] = (pairs.images.float() @ pairs.gathered.float().T).amax(1)
    # Ranks and sums on the processor: the same order on every device for equal signals.
    signals = {name: values.cpu() for name, values in signals.items()}
    score = surprise(signals, {name: SIGNALS[name].weight for name in signals})
    return ScoredPairs(signals, score, outliers(score, deviations=SUSPICIOUS_DEVIATIONS, most=MOST_DROPPED))


def record(pairs: ScoredPairs, drop: Drop, /) -> ScreenedRecord:
    """The record of a screening for a report: how many pairs are suspicious, how many were dropped, and by which rule."""
    dropped, count = int(pairs.dropped(drop).sum()), len(pairs.score)
    suspicious = int(pairs.suspicious.sum())
    return ScreenedRecord(
        pairs=count,
        suspicious=suspicious,
        suspicious_share=suspicious / count,
        dropped=dropped,
        drop="none" if drop is None else "auto" if drop == "auto" else f"{100 * drop:g}%",
        rule=pairs.rule,
        signals=tuple(pairs.signals),
    )


def screening_words(screened: ScreenedRecord, /) -> str:
    """A :func:`record` in a sentence."""
    what = "none was dropped" if not screened.dropped else f"{screened.dropped:,} were dropped"
    return (
        f"{screened.suspicious:,} of {screened.pairs:,} pairs of the clean set look suspicious, and {what} "
        f"(--screen {'report' if screened.drop == 'none' else screened.drop})."
    )


def kept(clean: data.CleanSet, dropped: Tensor, /) -> data.CleanSet:
    """The set without the pairs that are dropped; its digest stays that of the set as it was read."""
    kept_pairs = tuple(pair for pair, is_dropped in zip(clean.pairs, dropped.tolist(), strict=True) if not is_dropped)
    return replace(clean, pairs=kept_pairs)


# The signals, and one order of all.


@dataclass(frozen=True)
class Neighbourhood:
    """The nearest neighbours of each embedding."""

    distances: Tensor  # (N, k) L2 distances, nearest first
    neighbours: Tensor  # (N, k) rows of these neighbours among the N


def neighbourhood(embeddings: Tensor, /, *, k: int, group: int, generator: Generator) -> Neighbourhood:
    """The ``k`` nearest of each embedding (N, D) among a random group of about ``group`` of them.

    The method compares within batches, hence the groups: among all pairs the poisoned ones would find k of each other and look
    dense, although they are rare (arXiv 2502.01385, whose batches hold few of them). There are more than ``k``.
    """
    count = len(embeddings)
    distances = embeddings.new_empty(count, k, dtype=torch.float32)
    neighbours = torch.empty(count, k, dtype=torch.long, device=embeddings.device)
    # No group is smaller than k + 1: cut by size, the last one would be a small rest.
    parts = max(1, min(round(count / group), count // (k + 1)))
    for members in torch.randperm(count, generator=generator).to(embeddings.device).tensor_split(parts):
        group_embeddings = embeddings[members].float()
        apart = torch.cdist(group_embeddings, group_embeddings, compute_mode="donot_use_mm_for_euclid_dist")  # (G, G)
        nearest = apart.fill_diagonal_(math.inf).topk(k, largest=False)
        distances[members], neighbours[members] = nearest.values, members[nearest.indices]
    return Neighbourhood(distances, neighbours)


def intrinsic_dimension(near: Neighbourhood, /) -> Tensor:
    """Maximum-likelihood estimate of the local intrinsic dimension, (N,), at most 1,000.

    Minus one over the mean over the neighbours of ln(distance / k-distance). Source: Amsaleg et al. 2015, KDD.
    """
    distances = near.distances.clamp(min=COPY_DISTANCE)
    return 1 / -(distances / distances[:, -1:]).log().mean(1).clamp(max=-1e-3)


def density_ratio(near: Neighbourhood, /) -> Tensor:
    """How much sparser the surroundings of a pair are than those of its neighbours, (N,); 0 if equal.

    The mean over the neighbours o of LID(o) · ln(k-distance / k-distance(o)): the logarithm of the density ratio of the
    dimensionality-aware outlier score DAO, which arXiv 2502.01385 found best on poisoned pairs.
    """
    own = near.distances[:, -1].clamp(min=COPY_DISTANCE)  # (N,)
    ratio = (own[:, None] / own[near.neighbours]).log()  # (N, k)
    return (intrinsic_dimension(near)[near.neighbours] * ratio).mean(1)


def disagreement(images: Tensor, captions: Tensor, /) -> Tensor:
    """1 - cosine of an image's and its caption's unit embeddings (N, D): (N,), in [0, 2].

    In a backdoored model a triggered image may agree well with the target's caption: a low value clears no pair.
    """
    return 1 - (images.float() * captions.float()).sum(1)


def thumbnails(pixels: Tensor, /) -> Tensor:
    """Thumbnails of images (B, 3, S, S): (B, 3 · 8 · 8). No model is involved, so no backdoor is."""
    return F.adaptive_avg_pool2d(pixels.float(), THUMBNAIL_SIDE).flatten(1)


def repetition(captions: Tensor, looks: Tensor, /, *, alike: float, against: Tensor) -> Tensor:
    """How many others have the same caption for a different image, (N,), weighted by how different the image is.

    The sum, over the pairs whose captions have a cosine of at least ``alike``, of half of one minus the cosine of the
    thumbnails. Poisoning puts one caption on many different images; honest captions repeat too. Captions are unit embeddings
    (N, D), looks thumbnails (N, L), ``against`` the places (M,) of the pairs that each is compared with; itself never counts.
    """
    captions, looks = captions.float(), centred(looks)

    def sums(rows: Tensor) -> Tensor:
        same = captions[rows] @ captions[against].T >= alike  # (R, M)
        same &= rows[:, None] != against
        unlike = (1 - looks[rows] @ looks[against].T) / 2  # (R, M), in [0, 1]
        return (same * unlike).sum(1)

    return _by_rows(sums, len(captions), captions.device)


def gathering(images: Tensor, captions: Tensor, looks: Tensor, /, *, near: int, against: Tensor) -> Tensor:
    """Whether the nearest images in the model have the same caption and look different, (N,), in [0, 1].

    The mean over the ``near`` nearest images, by their embeddings, of the cosine of the captions, where it is positive, times
    half of one minus the cosine of the thumbnails. A trigger gathers different images under one caption. Images and captions are
    unit embeddings (N, D), looks thumbnails (N, L), ``against`` the places (M,) of the pairs, more than ``near``, among which
    neighbours are looked for; itself never counts.
    """
    images, captions, looks = images.float(), centred(captions), centred(looks)

    def means(rows: Tensor) -> Tensor:
        likeness = images[rows] @ images[against].T  # (R, M)
        likeness[rows[:, None] == against] = -math.inf
        neighbours = against[likeness.topk(near, dim=1).indices]  # (R, near)
        say = (captions[rows, None] * captions[neighbours]).sum(-1).clamp(min=0)
        look = (looks[rows, None] * looks[neighbours]).sum(-1)
        return (say * (1 - look) / 2).mean(1)

    return _by_rows(means, len(images), images.device)


def references(count: int, /, *, most: int, generator: Generator) -> Tensor:
    """Places (M,) of the pairs that all are compared with: all of them, or ``most`` at random."""
    return torch.randperm(count, generator=generator)[:most].sort().values


def views(pixels: Tensor, /) -> tuple[Tensor, Tensor]:
    """Images (B, 3, S, S) mirrored, and blurred over a square of about S/16, with the same content.

    A mirror moves and turns a patch, a blur removes noise and stripes; neither proves anything.
    """
    radius = max(1, round(pixels.shape[-1] / 32))
    blurred = F.avg_pool2d(pixels, 2 * radius + 1, stride=1, padding=radius, count_include_pad=False)
    return pixels.flip(-1), blurred


def instability(images: Tensor, views: Tensor, /) -> Tensor:
    """Mean over other views (V, N, D) of images (N, D) of 1 - cosine of the unit embeddings: (N,), in [0, 2].

    A triggered image loses its trigger in such views, and so its place in the model; mirrored writing is unreadable as well.
    """
    return 1 - (images.float() * views.float()).sum(-1).mean(0)


def surprise(signals: Mapping[str, Tensor], weights: Mapping[str, float], /) -> Tensor:
    """One score of all signals (N,): the weighted sum of -ln of the share of pairs that score at least as high.

    Fisher's way to combine tests, with ranks for p-values: a signal in which a pair is among the first 1 % adds 4.6, one in
    which it is in the middle adds 0.7. So one strong signal counts, several count more, and an uninformative signal costs
    little. Signals need no common scale.

    Source: Fisher 1925, Statistical Methods for Research Workers, section 21.1.
    """
    return torch.stack([-weights[name] * tail(values).log() for name, values in signals.items()]).sum(0)


def tail(values: Tensor, /) -> Tensor:
    """Share of the values (N,) that are at least as large as each: (N,), in (0, 1]; equal ones share the larger."""
    ascending = values.double().sort().values
    below = torch.searchsorted(ascending, values.double(), right=False)
    return 1 - below / len(values)


def outliers(score: Tensor, /, *, deviations: float, most: float) -> Tensor:
    """Which pairs stand out, (N,) bool: their score is that many robust standard deviations above the median.

    The deviation is 1.4826 times the median absolute deviation. Never more than the share ``most`` of the pairs: those with the
    highest score. Scores from ranks have a tail in every set: a clean set has outliers too, and no outliers do not prove a
    clean set.
    """
    median = score.median()
    deviation = 1.4826 * (score - median).abs().median()
    is_outlier = score > median + deviations * deviation.clamp(min=COPY_DISTANCE)
    return is_outlier & first(score, int(most * len(score)))


def conformal(score: Tensor, trusted: Tensor, /) -> Tensor:
    """How usual each pair is among pairs that are known to be clean, (N,): a p-value, in (0, 1].

    The share of the trusted scores (M,) that are at least as high, the pair itself counted: a clean pair of the same origin has
    a value of at most a with a probability of at most a, whatever the scores are (split conformal prediction: Vovk, Gammerman,
    Shafer 2005). That holds where both were scored together, by a score that does not know which is which.

    Examples:
        >>> conformal(torch.tensor([0.5, 9.0]), torch.tensor([1.0, 2.0, 0.0])).tolist()  # two of three, and none
        [0.75, 0.25]
    """
    ordered = trusted.sort().values
    as_high = len(trusted) - torch.searchsorted(ordered, score)  # right of the first that is no smaller
    return (as_high + 1) / (len(trusted) + 1)


def first(score: Tensor, count: int, /) -> Tensor:
    """The ``count`` pairs with the highest score, (N,) bool; of equal ones those that come first."""
    is_first = torch.zeros(len(score), dtype=torch.bool, device=score.device)
    is_first[order(score)[:count]] = True
    return is_first


def order(score: Tensor, /) -> Tensor:
    """Places from the most suspicious to the least, (N,)."""
    return score.argsort(descending=True, stable=True)


def centred(values: Tensor, /) -> Tensor:
    """Unit rows (N, D) after the mean row is taken away; a row that equals the mean becomes zero."""
    return F.normalize(values.float() - values.float().mean(0), dim=1)


def _by_rows(compute: Callable[[Tensor], Tensor], count: int, device: torch.device) -> Tensor:
    """``compute`` of the places 0 to ``count`` - 1, some at a time: the full matrix never exists."""
    return torch.cat([compute(rows) for rows in torch.split(torch.arange(count, device=device), SIMILARITY_ROWS)])
