"""Screening signals: how suspicious each pair of a supposedly clean set is, by several independent signals.

Every signal is one number a pair, larger for more suspicious, and says nothing by its absolute size: only the order
counts. :func:`surprise` makes one order of them, :func:`outliers` says where that order stops looking like the rest.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from clipclean.errors import Inconclusive

NEIGHBOURS = 16  # k of arXiv 2502.01385
GROUP = 1024  # pairs that are each other's reference: with one poisoned pair in 100, fewer than k of them
ALIKE = 0.95  # least cosine of two captions with the same meaning
THUMBNAIL = 8  # px: coarse enough that a small trigger does not make two images alike
ROWS = 256  # rows of similarities at a time: (256, 65536) floats are 64 MiB
REFERENCES = 65_536  # most pairs that each is compared with; more are sampled, since the time grows with both numbers
NEAR = 10  # nearest images whose captions are compared
TINY = 1e-6  # a distance below this is that of a copy


@dataclass(frozen=True)
class Neighbourhood:
    """The nearest neighbours of each embedding."""

    distances: Tensor  # (N, k) L2 distances, nearest first
    places: Tensor  # (N, k) places of these neighbours among the N


def neighbourhood(embeddings: Tensor, /, *, k: int, group: int, generator: Generator) -> Neighbourhood:
    """The ``k`` nearest of each embedding (N, D) among a random group of about ``group`` of them.

    The method compares within batches, hence the groups: among all pairs the poisoned ones would find k of each other and look
    dense, although they are rare (arXiv 2502.01385, whose batches hold few of them).

    Raises:
        Inconclusive: there are no more than ``k``.
    """
    count = len(embeddings)
    if count <= k:
        raise Inconclusive(f"{count} pairs are too few to compare each with its {k} nearest. Give more.")
    distances = embeddings.new_empty(count, k, dtype=torch.float32)
    places = torch.empty(count, k, dtype=torch.long, device=embeddings.device)
    # No group is smaller than k + 1: cut by size, the last one would be a small rest.
    parts = max(1, min(round(count / group), count // (k + 1)))
    for members in torch.randperm(count, generator=generator).to(embeddings.device).tensor_split(parts):
        some = embeddings[members].float()
        apart = torch.cdist(some, some, compute_mode="donot_use_mm_for_euclid_dist")  # (G, G)
        found = apart.fill_diagonal_(math.inf).topk(k, largest=False)
        distances[members], places[members] = found.values, members[found.indices]
    return Neighbourhood(distances, places)


def k_distance(near: Neighbourhood, /) -> Tensor:
    """Distance to the k-th neighbour, (N,): large for a pair that is far from all others.

    Source: Ramaswamy, Rastogi, Shim 2000, SIGMOD; on CLIP embeddings arXiv 2502.01385.
    """
    return near.distances[:, -1]


def intrinsic_dimension(near: Neighbourhood, /) -> Tensor:
    """Maximum-likelihood estimate of the local intrinsic dimension, (N,), at most 1,000.

    Minus one over the mean over the neighbours of ln(distance / k-distance). Source: Amsaleg et al. 2015, KDD.
    """
    distances = near.distances.clamp(min=TINY)
    return 1 / -(distances / distances[:, -1:]).log().mean(1).clamp(max=-1e-3)


def density_ratio(near: Neighbourhood, /) -> Tensor:
    """How much sparser the surroundings of a pair are than those of its neighbours, (N,); 0 if equal.

    The mean over the neighbours o of LID(o) · ln(k-distance / k-distance(o)): the logarithm of the density ratio of the
    dimensionality-aware outlier score DAO, which arXiv 2502.01385 found best on poisoned pairs.
    """
    own = k_distance(near).clamp(min=TINY)  # (N,)
    ratio = (own[:, None] / own[near.places]).log()  # (N, k)
    return (intrinsic_dimension(near)[near.places] * ratio).mean(1)


def disagreement(images: Tensor, captions: Tensor, /) -> Tensor:
    """1 - cosine of an image's and its caption's unit embeddings (N, D): (N,), in [0, 2].

    In a backdoored model a triggered image may agree well with the target's caption: a low value clears no pair.
    """
    return 1 - (images.float() * captions.float()).sum(1)


def thumbnails(pixels: Tensor, /) -> Tensor:
    """Thumbnails of images (B, 3, S, S): (B, 3 · 8 · 8). No model is involved, so no backdoor is."""
    return F.adaptive_avg_pool2d(pixels.float(), THUMBNAIL).flatten(1)


def repetition(captions: Tensor, looks: Tensor, /, *, alike: float, against: Tensor) -> Tensor:
    """How many others have the same caption for a different image, (N,), weighted by how different the image is.

    The sum, over the pairs whose captions have a cosine of at least ``alike``, of half of one minus the cosine of the
    thumbnails. Poisoning puts one caption on many different images; honest captions repeat too.

    Args:
        captions: (N, D), unit embeddings.
        looks: (N, L), thumbnails.
        alike: in [-1, 1].
        against: places (M,) of the pairs that each is compared with; itself never counts.
    """
    captions, looks = captions.float(), centred(looks)

    def sums(rows: Tensor) -> Tensor:
        same = captions[rows] @ captions[against].T >= alike  # (R, M)
        same &= rows[:, None] != against
        return (same * unlikeness(looks[rows], looks[against])).sum(1)

    return _by_rows(sums, len(captions), captions.device)


def gathering(images: Tensor, captions: Tensor, looks: Tensor, /, *, near: int, against: Tensor) -> Tensor:
    """Whether the nearest images in the model have the same caption and look different, (N,), in [0, 1].

    The mean over the ``near`` nearest images, by their embeddings, of the cosine of the captions, where it is positive, times
    half of one minus the cosine of the thumbnails. A trigger gathers different images under one caption.

    Args:
        images: (N, D), unit embeddings.
        captions: (N, D), unit embeddings.
        looks: (N, L), thumbnails.
        near: how many, less than M.
        against: places (M,) of the pairs among which neighbours are looked for; itself never counts.
    """
    images, captions, looks = images.float(), centred(captions), centred(looks)

    def means(rows: Tensor) -> Tensor:
        likeness = images[rows] @ images[against].T  # (R, M)
        likeness[rows[:, None] == against] = -math.inf
        places = against[likeness.topk(near, dim=1).indices]  # (R, near)
        say = (captions[rows, None] * captions[places]).sum(-1).clamp(min=0)
        look = (looks[rows, None] * looks[places]).sum(-1)
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
    """Mean over other views of an image of 1 - cosine of the unit embeddings, (N,), in [0, 2].

    A triggered image loses its trigger in such views, and so its place in the model; mirrored writing is unreadable as well.

    Args:
        images: (N, D).
        views: (V, N, D), the same images in other views.
    """
    return 1 - (images.float() * views.float()).sum(-1).mean(0)


def resemblance(images: Tensor, gathered: Tensor, /) -> Tensor:
    """Largest cosine to a place where found triggers gather images: (N,), in [-1, 1].

    Args:
        images: (N, D), unit embeddings.
        gathered: (T, D), unit mean embeddings of images under each found trigger.
    """
    return (images.float() @ gathered.float().T).amax(1)


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
    standing = score > median + deviations * deviation.clamp(min=TINY)
    return standing & first(score, int(most * len(score)))


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
    chosen = torch.zeros(len(score), dtype=torch.bool, device=score.device)
    chosen[order(score)[:count]] = True
    return chosen


def order(score: Tensor, /) -> Tensor:
    """Places from the most suspicious to the least, (N,)."""
    return score.argsort(descending=True, stable=True)


def centred(values: Tensor, /) -> Tensor:
    """Unit rows (N, D) after the mean row is taken away; a row that equals the mean becomes zero."""
    return F.normalize(values.float() - values.float().mean(0), dim=1)


def unlikeness(some: Tensor, others: Tensor, /) -> Tensor:
    """Half of one minus the cosine of unit rows (R, L) and (N, L): (R, N), in [0, 1]."""
    return (1 - some @ others.T) / 2


def _by_rows(compute: Callable[[Tensor], Tensor], count: int, device: torch.device) -> Tensor:
    """``compute`` of the places 0 to ``count`` - 1, some at a time: the full matrix never exists."""
    return torch.cat([compute(rows) for rows in torch.split(torch.arange(count, device=device), ROWS)])
