"""Trials: what a candidate leaves of the canaries in a copy of the model, what it costs, and the budget for both."""

from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from clipclean import detect
from clipclean.attack.canaries import TOOK, Canary
from clipclean.findings import Interval, finite
from clipclean.schema.report import OutcomeRecord


@dataclass(frozen=True)
class PlantedCopy:
    """The backdoored copy of the model: its canaries, its weights, and the measured canaries.

    ``origin`` is JSON, all that determined the weights; ``seconds`` are those of planting.
    """

    canaries: tuple[Canary, ...]
    weights: dict[str, Tensor]
    planted: detect.Measurement
    origin: dict[str, Any]  # Any: JSON
    seconds: float

    @property
    def took(self) -> bool:
        """Whether any canary was planted."""
        return any(took for _, took in self.learned())

    def learned(self) -> list[tuple[detect.Probe, bool]]:
        """The effect of each canary in the copy, and whether it counts."""
        # A backdoor that the copy did not learn cannot show that a candidate removes it, so it does not count.
        return [(probe, probe.excess >= TOOK) for probe in self.planted.known]


@dataclass(frozen=True)
class Trial:
    """The effect of one candidate on the copy."""

    candidate: str  # its name
    outcomes: tuple[OutcomeRecord, ...]  # one per canary
    accuracy_lost: float  # clean accuracy before cleaning minus after, on the same images
    interval: Interval  # of that, 95 %
    kept: float  # share of the way from the copy's weights to the cleaned ones, in (0, 1]; 1 is the cleaned model
    seconds: float  # of cleaning
    # The cleaned copy, to compare with that of another candidate; tensors have no equality.
    measured: detect.Measurement = field(compare=False, repr=False)

    @property
    def counted(self) -> tuple[OutcomeRecord, ...]:
        """The canaries that were planted."""
        return tuple(outcome for outcome in self.outcomes if outcome.took)

    def removed(self, limit: float, /) -> int:
        """How many of the counted canaries do not act above ``limit``, beyond chance, and do not return."""
        return sum(outcome.is_removed(limit) for outcome in self.counted)

    @property
    def is_refinetuned(self) -> bool:
        """Whether the canaries were measured after a benign finetuning of the cleaned copy."""
        return any(outcome.returned is not None for outcome in self.outcomes)


def trial(
    candidate: str, planted: detect.Measurement, cleaned: detect.Measurement, /, *, kept: float, seconds: float
) -> Trial:
    """A trial from the measurements of the copy before and after cleaning, both on :func:`clipclean.attack.canaries.measured_on`."""
    outcomes = tuple(
        OutcomeRecord(
            trigger=before.trigger,
            target=before.target,
            planted=before.excess,
            left=after.excess,
            interval=after.excess_interval,
            accuracy=finite(after.accuracy_under_trigger.value) if after.accuracy_under_trigger else None,
            n=after.asr.n,
            took=before.excess >= TOOK,
        )
        for before, after in zip(planted.known, cleaned.known, strict=True)
    )
    # Measured from the copy, not from the model: planting four canaries alone cost three points (0.535 to 0.507; tag evidence-0.2:
    # notebook.md, "Several test backdoors in one planting"), which are not a cost of the candidate.
    lost, interval = detect.accuracy_loss(planted, cleaned)
    return Trial(candidate, outcomes, lost, interval, kept, seconds, cleaned)


def with_returned(trial: Trial, later: detect.Measurement, /) -> Trial:
    """The trial with the effect of the canaries after a benign finetuning of the cleaned copy, measured like the trial itself."""
    outcomes = zip(trial.outcomes, later.known, strict=True)
    return replace(
        trial,
        outcomes=tuple(
            outcome.model_copy(update={"returned": probe.excess, "returned_interval": probe.excess_interval})
            for outcome, probe in outcomes
        ),
    )


@dataclass(frozen=True)
class Budget:
    """How much of a backdoor a cleaning may leave, and how much accuracy it may cost."""

    excess: float  # attack success beyond the base rate that counts as removed
    accuracy: float  # clean accuracy that may be lost, as a share

    def removes(self, trial: Trial, /) -> bool:
        """Whether every planted canary is gone, at any cost; False if none was planted."""
        counted = trial.counted
        return bool(counted) and trial.removed(self.excess) == len(counted)

    def passes(self, trial: Trial, /) -> bool:
        """Whether every canary is gone, and the loss of accuracy is within the budget, by its value; an unknown loss is."""
        return self.removes(trial) and not trial.accuracy_lost > self.accuracy
