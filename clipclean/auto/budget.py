"""The budget of a cleaning: accuracy it may cost, attack success it may leave."""

import math
from dataclasses import dataclass

from clipclean.auto.trials import Interval, Trial


@dataclass(frozen=True)
class Budget:
    """How much of a backdoor a cleaning may leave, and how much accuracy it may cost.

    Attributes:
        excess: attack success beyond the base rate that counts as removed.
        accuracy: clean accuracy that may be lost, as a share.
        gain: a loss of accuracy so small that another candidate could win too little.
    """

    excess: float
    accuracy: float
    gain: float

    def affords(self, accuracy_lost: float, /) -> bool:
        """Whether a loss of accuracy is within the budget, by value; :meth:`exceeds` goes by its interval."""
        return accuracy_lost <= self.accuracy

    def is_wasted(self, accuracy_lost: float, /, *, is_suspected: bool) -> bool:
        """Whether a loss is over the budget by its value, and the audit suspects nothing that it could remove."""
        return not (is_suspected or self.affords(accuracy_lost))

    def exceeds(self, interval: Interval, /) -> bool:
        """Whether a loss of accuracy is over the budget beyond chance: by its whole interval."""
        return interval[0] > self.accuracy

    def removes(self, trial: Trial, /) -> bool:
        """Whether no canary is left, at any cost."""
        return trial.passes(max_excess=self.excess, max_accuracy_loss=math.inf)

    def passes(self, trial: Trial, /) -> bool:
        """Whether no canary is left, and the loss of accuracy is not over the budget beyond chance."""
        return trial.passes(max_excess=self.excess, max_accuracy_loss=self.accuracy)

    def allowed(self, excess: float, /) -> float:
        """The excess that counts as essentially removed: a fifth of ``excess``."""
        # A fifth of 0.05 is four of 400 images: where nothing came back, measurements differed by at most three (docs/experiments.md,
        # "What a finetuning after unlearning brings back").
        return max(excess, self.excess / 5)


@dataclass(frozen=True)
class Point:
    """The measurement of the model at one share of the way from the original to the cleaned weights.

    Attributes:
        share: of the way; 0 is the original, 1 the cleaned model.
        excess: highest excess attack success of any trigger; 0 if none is measured.
        accuracy_lost: clean accuracy of the original minus that here, on the same images.
        interval: of that, 95 %.
    """

    share: float
    excess: float
    accuracy_lost: float
    interval: Interval


def pooled(point: Point, trial: Trial, /) -> Interval:
    """95 % interval of the mean of two losses of one candidate: on the model, and on the copy.

    Both were measured on the same images, so they share some of their chance, and the interval is somewhat too narrow. It may ask for
    another candidate, and never judges.
    """
    value = (point.accuracy_lost + trial.accuracy_lost) / 2
    below = math.hypot(point.accuracy_lost - point.interval[0], trial.accuracy_lost - trial.interval[0]) / 2
    above = math.hypot(point.interval[1] - point.accuracy_lost, trial.interval[1] - trial.accuracy_lost) / 2
    return value - below, value + above
