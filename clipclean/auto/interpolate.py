"""Interpolation between original and cleaned weights: less accuracy lost, but part of the backdoor may return.

Source: interpolation of finetuned CLIPs is that of WiSE-FT (Wortsman et al. 2022, arXiv 2109.01903). They look for the point of
highest accuracy. That was rejected: nearer to the original a trigger returns more readily, and no available test shows it beforehand. After
100 benign steps a planted patch acts on 0.015 of the images from the cleaned end, on 0.04 from 0.85, on 0.14 from 0.7 of the way
(docs/experiments.md, "What interpolation brings back").

The loss by value decides whether to interpolate and how far, not its interval. On a few hundred images the interval is several points
wide, so a loss that is most likely over the budget would stay. Interpolating where chance alone made the loss too large does little
harm: such a point is taken only if triggers and canaries stay as far removed as in the cleaned weights.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from clipclean.auto.trials import Budget, Point, Trial

# None below 0.85: from 0.7 of the way a planted patch returned to 0.14 of the images after 100 benign steps, from 0.85 to 0.04.
SHARES = (0.925, 0.85)  # of the way from the original to the cleaned model; 1 is the cleaned one itself

Weights = Mapping[str, Tensor]


def between(original: Weights, cleaned: Weights, /, *, share: float) -> dict[str, Tensor]:
    """The weights at ``share`` of the way from ``original`` to ``cleaned``; whole numbers are those of ``cleaned``.

    Statistics of normalisation are interpolated too. At both ends the original tensors are returned.
    """
    if share in (0.0, 1.0):
        return dict(cleaned if share else original)
    # Counters of normalisation layers are whole numbers and cannot be interpolated.
    return {
        name: torch.lerp(original[name], tensor, share) if tensor.is_floating_point() else tensor
        for name, tensor in cleaned.items()
    }


def trials_of(
    measure: Callable[[float], Trial], refinetuned: Callable[[Trial], Trial], budget: Budget, /, *, changed: bool
) -> tuple[Trial, ...]:
    """The trials of a candidate on the copy, at each share that was measured; the one that counts comes first.

    That is the trial of the cleaned copy, or the one nearest to it within the accuracy budget by value, if neither has a canary left. A
    candidate passes only if no canary returns when the copy is finetuned on clean pairs: one that returns was hidden, not
    removed. If one returns nearer to the original, the trial of the cleaned copy counts after all.

    Args:
        measure: a share -> what is left of the canaries there.
        refinetuned: a trial -> the same with what returns after a benign finetuning.
        budget: of the run.
        changed: whether the candidate changed any weight; if not, there is nothing to interpolate.
    """
    if not changed:
        return (measure(1.0),)
    trials = [measure(share) for share in (1.0, *SHARES)]
    # Only if the cleaned copy has no canary left may a nearer point stand for it: nearer to the original more is left, not less.
    near = [
        place for place, trial in enumerate(trials) if budget.affords(trial.accuracy_lost) and budget.removes(trial)
    ]
    first = near[0] if near and budget.removes(trials[0]) else 0
    for place in dict.fromkeys((first, 0)):
        if budget.passes(trials[place]):
            trials[place] = refinetuned(trials[place])
        if budget.passes(trials[place]):
            first = place
            break
    return trials.pop(first), *trials


def to_budget(
    trials: Sequence[Trial],
    measure: Callable[[float], Point],
    refinetuned: Callable[[Trial], Trial],
    budget: Budget,
    /,
) -> tuple[tuple[Point, ...], Point]:
    """The points between the original and the cleaned model that were measured, and the one to take.

    The cleaned weights are taken if they are within the accuracy budget by value, else the nearest ones to them that are. If no share
    is within the budget, the cleaned weights are taken. A share is measured only if no canary was left on the copy there.

    Args:
        trials: of the candidate on the copy; without any, only the cleaned weights are measured.
        measure: a share -> what was measured of the model there.
        refinetuned: a trial -> the same with what returns after a benign finetuning.
        budget: of the run.
    """
    whole = measure(1.0)
    points = [whole]
    if budget.affords(whole.accuracy_lost):
        return (whole,), whole
    for trial in sorted(trials, key=lambda trial: -trial.kept):
        if not budget.removes(trial):
            break
        if trial.kept == 1:  # a remaining backdoor returns more easily farther from the cleaned weights
            continue
        points.append(measure(trial.kept))
        # Triggers found by a search understate the planted one: after 100 benign steps from 0.7 of the way they acted on at most
        # 0.068 of the images, the planted one on 0.125 to 0.140. So the points between may leave hardly more than the cleaned
        # weights.
        if points[-1].excess > budget.allowed(whole.excess):
            break
        if budget.affords(points[-1].accuracy_lost):
            return tuple(points), points[-1] if budget.removes(refinetuned(trial)) else whole
    return tuple(points), whole
