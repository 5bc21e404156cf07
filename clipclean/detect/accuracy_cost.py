"""The accuracy that a cleaning cost: by labels, by captions, or by the answers of the model before and after."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from clipclean.detect.measure import Accuracy, Measurement
from clipclean.detect.metrics import Z_95, Rate, paired_difference
from clipclean.schema.report import AgreementRecord, ClassKeptRecord, LossBy

# Chosen on ten surgeries, docs/evidence.md, "Loss of accuracy": six of the half ``choose`` of the zoo of photographs had CLEANED_WEIGHT at 0.25 to 0.44,
# four of the second sealed test at -0.03 to 0.14.
CLEANED_WEIGHT = 0.25  # how much of what both models know of a class is usually the cleaned one's
CLEANED_WEIGHT_SPREAD = 0.2  # by how much that varies
SUM_OF_WEIGHTS = 0.9  # usual sum of the weights: by how much the answers of both are less sure than they sound
INTERVAL_FACTOR = 1.8  # factor on the interval, which covers that the weights are estimated, too
# Of Newton's method: steps, the longest of them, and the one that ends it.
NEWTON_STEPS, LONGEST_NEWTON_STEP, LEAST_NEWTON_STEP = 20, 0.5, 1e-7
IMAGES_AT_A_TIME = 256  # whose answers are compared
ORIGINAL_WEIGHT = 3 / 4  # in the original, without labels
LEAST_OF_CLASS = 5  # images of a class below which its share says nothing


@dataclass(frozen=True)
class MeasuredLoss:
    """Accuracy lost by one measure, as a share, with the 95 % interval of the paired difference."""

    name: str  # of the measure, to begin a sentence
    value: float  # before minus after
    interval: tuple[float, float]
    n: int  # images
    values_words: str  # the values before and after, as words of a sentence
    by: LossBy  # what it was measured by


def accuracy_loss(before: Measurement, after: Measurement, /) -> tuple[float, tuple[float, float]]:
    """The clean accuracy lost, with its 95 % interval; nan and (-1, 1) if nothing was measured."""
    lost = next(iter(accuracy_losses(before, after)), None)
    return (lost.value, lost.interval) if lost else (math.nan, (-1.0, 1.0))


def accuracy_losses(before: Measurement, after: Measurement, /) -> list[MeasuredLoss]:
    """The loss of accuracy, by labels or else by the answers that changed; then that of recall, which is never used for it.

    Finetuning on captions gains recall while it loses classes. Only where there is no classifier recall comes first.
    """
    own, later = before.accuracy, after.accuracy
    has_labels = own.rate.n > 0 and not own.record().is_recall
    losses = [_by_labels(before, after) if has_labels else estimated_loss(before, after)]
    old, new = (before.recall, after.recall) if has_labels else (own, later)
    return [*filter(None, losses), *([_lost(old, new, by="recall")] if old and new and old.rate.n else ())]


def worst_loss(before: Measurement, after: Measurement, /) -> float:
    """The largest loss of all measures, the bare count of right answers among them; nan if nothing was measured."""
    values = [loss.value for loss in accuracy_losses(before, after)]
    if before.accuracy.rate.n and after.accuracy.rate.n:
        values.append(before.accuracy.rate.value - after.accuracy.rate.value)
    return max(values, default=math.nan)


def _by_labels(before: Measurement, after: Measurement) -> MeasuredLoss:
    """Accuracy lost, where each changed answer counts by how likely it was right and is right, to both models and the labels.

    The share of right answers changes with few images: on 250 of them its loss is 1.6 points off, and this one half a point. It is held
    within the interval of that share, so that what is told never contradicts what was counted.
    """
    hard, both = _lost(before.accuracy, after.accuracy, by="labels"), _confidences(before, after)
    if both is None or before.accuracy.labels is None:
        return hard
    value, (low, high) = _mean(_likelihood_lost(*both, chances(*both, labels=before.accuracy.labels)))
    least, most = hard.interval
    if not least <= value <= most:  # the count contradicts it, so the interval is that of the count
        value, low, high = min(max(value, least), most), least, most
    words = f"where an answer that changed counts by how likely it was right; counted alone, {hard.values_words}"
    return replace(hard, value=value, interval=(low, high), values_words=words)


def chances(old: Tensor, new: Tensor, /, *, labels: Tensor) -> Tensor:
    """How likely each class of an image is to two models together: (N, K), with rows of sum 1, in float64.

    In proportion to p^a q^b, with the weights a and b that make the labels (N,) most likely: all images tell how sure the two may be, not
    only the few whose answer changed. Of b / (a + b) it is known what it is after other cleanings, which is worth a hundred images.

    Source: stacking of classifiers by logistic regression (Wolpert 1992), with a normal prior.

    Args:
        old: confidences p (N, K) of the original.
        new: confidences q (N, K) of the cleaned model.
        labels: places of the right classes.
    """
    parts = [torch.stack(part) for part in zip(_logs(old), _logs(new), strict=True)]  # each (2, IMAGES_AT_A_TIME, K)
    weights = SUM_OF_WEIGHTS * torch.tensor([1 - CLEANED_WEIGHT, CLEANED_WEIGHT], dtype=torch.float64)
    # How far b is from its share of the sum.
    beside = torch.tensor([-CLEANED_WEIGHT, 1 - CLEANED_WEIGHT], dtype=torch.float64)
    narrow = (CLEANED_WEIGHT_SPREAD * SUM_OF_WEIGHTS) ** -2
    for _ in range(NEWTON_STEPS):
        slope = narrow * beside * (beside @ weights) + (weights.sum() - SUM_OF_WEIGHTS)
        curve = narrow * beside.outer(beside) + 1
        for logs, own in zip(parts, torch.split(labels, IMAGES_AT_A_TIME), strict=True):
            chance = _softmax(weights, logs)
            away = logs - (chance * logs).sum(2, keepdim=True)  # (2, n, K)
            slope -= away.gather(2, own.expand(2, -1)[..., None]).sum((1, 2))
            curve += torch.einsum("nk,ink,jnk->ij", chance, away, away)
        move = torch.linalg.solve(curve, slope).clamp(-LONGEST_NEWTON_STEP, LONGEST_NEWTON_STEP)
        weights = weights - move
        if float(move.abs().max()) < LEAST_NEWTON_STEP:
            break
    return torch.cat([_softmax(weights, logs) for logs in parts])


def _softmax(weights: Tensor, logs: Tensor) -> Tensor:
    """Of logarithms (M, N, K) by their weights (M,): (N, K)."""
    return torch.einsum("m,mnk->nk", weights, logs).softmax(1)


def _logs(confidence: Tensor) -> tuple[Tensor, ...]:
    """Finite logarithms, ``IMAGES_AT_A_TIME`` images each."""
    return torch.split(confidence.double().clamp(min=torch.finfo(torch.float32).tiny).log(), IMAGES_AT_A_TIME)


def _likelihood_lost(old: Tensor, new: Tensor, chance: Tensor) -> Tensor:
    """By how much likelier (N,) the earlier answer of each image is than the later one: 0 where it stayed."""
    first, last = (confidence.argmax(1, keepdim=True) for confidence in (old, new))
    return (chance.gather(1, first) - chance.gather(1, last))[:, 0]


def _mean(losses: Tensor) -> tuple[float, tuple[float, float]]:
    """The mean of paired differences (N,) in [-1, 1], with its 95 % interval, by a normal approximation.

    A quarter of an image that changed wholly is added to the variance: where none changed, the interval still has a width.
    """
    value, n = round(float(losses.mean()), 9), len(losses)
    half = INTERVAL_FACTOR * Z_95 * math.sqrt(float((losses - losses.mean()).square().sum()) + 0.25) / n
    return value, (max(value - half, -1.0), min(value + half, 1.0))


def _lost(before: Accuracy, after: Accuracy, *, by: LossBy) -> MeasuredLoss:
    """The difference of two rates with its paired interval; rounded, since 150/400 − 142/400 is not 0.02 in binary."""
    name = "Image-to-text recall@1" if by == "recall" else "Clean accuracy"
    words = f"{100 * before.rate.value:.1f} % before, {100 * after.rate.value:.1f} % after"
    interval = paired_difference(before.rate, after.rate, both=int((before.correct & after.correct).sum()))
    return MeasuredLoss(name, round(before.rate.value - after.rate.value, 9), interval, before.rate.n, words, by)


def agreement(before: Measurement, after: Measurement, /, *, classes: Sequence[str]) -> AgreementRecord | None:
    """How far two models agree on the same images: how many both take for the same class, the mean gap between the most and the second
    most likely class, before and after, and the class that kept the smallest share; None if one has no classifier.
    """
    both = _confidences(before, after)
    if both is None:
        return None
    old, new = (confidence.argmax(1) for confidence in both)
    same, number_of = old == new, both[0].shape[1]
    counts, kept = (torch.bincount(numbers, minlength=number_of).tolist() for numbers in (old, old[same]))
    by_class = [
        (Rate(right, n), k) for k, (right, n) in enumerate(zip(kept, counts, strict=True)) if n >= LEAST_OF_CLASS
    ]
    record = AgreementRecord.of(Rate(int(same.sum()), len(same)), margins=(_margin(both[0]), _margin(both[1])))
    if not by_class:
        return record
    worst, number = min(by_class, key=lambda item: item[0].value)
    return record.model_copy(update={"worst_class": ClassKeptRecord(class_=classes[number], kept=worst.record())})


def estimated_loss(before: Measurement, after: Measurement, /) -> MeasuredLoss | None:
    """Accuracy lost, estimated without labels; None if one of the two has no classifier.

    Only images whose answer changed can gain or lose. Each counts with the confidence in the earlier answer less that in the
    later one, over both models together, since each model alone would favour its own answer. The original counts more: a
    cleaning on few pairs loses more often than it gains. The interval covers the sampling of images only; docs/evidence.md
    compares the estimate with labels.
    """
    both = _confidences(before, after)
    if both is None:
        return None
    old, new = (confidence.argmax(1) for confidence in both)
    # By the original's confidence alone, losses on ten classes came out as 2.2 to 4.0 points where labels showed 0.0 to 2.5; by the
    # later model's alone, as gains (commit a95ae354: benchmarks/results/notebook.md, "Accuracy lost, without labels").
    losses = _likelihood_lost(*both, ORIGINAL_WEIGHT * both[0] + (1 - ORIGINAL_WEIGHT) * both[1])
    value, interval = _mean(losses)
    words = f"estimated by the answers, of which {100 * float((old == new).float().mean()):.1f} % stayed the same"
    return MeasuredLoss("Clean accuracy without labels", value, interval, len(losses), words, "answers")


def _confidences(before: Measurement, after: Measurement) -> tuple[Tensor, Tensor] | None:
    """Those of the same images (N, K) twice; None where there are none to compare."""
    old, new = before.confidence, after.confidence
    if old is None or new is None or old.shape != new.shape or not len(old):
        return None
    return old, new


def _margin(confidence: Tensor) -> float:
    if confidence.shape[1] < 2:
        return 1.0
    first, second = confidence.topk(2, dim=1).values.unbind(1)
    return float((first - second).mean())
