"""Canaries: known backdoors in a copy of the user's model, which show what a recipe removes from it, and at what cost."""

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from clipclean import detect
from clipclean.attack import triggers
from clipclean.attack.poison import Implant

SEEDS = 7_000_000  # the first: no test, benchmark or panel plants with seeds from here on
FAMILIES = (  # of every kind that the paper and its successors plant; sizes at which a small model learns them quickly
    "patch:size=0.1875,place=corner",
    "blended:ratio=0.2",
    "stripes:size=0.1875,place=random",
    "sinusoid:delta=40/255",
    "badnets:size=0.1875,place=center",
    "triangles:ratio=0.3",
)
TOOK = 0.5  # excess attack success from which on a canary counts


@dataclass(frozen=True)
class Canary:
    """One backdoor to plant: a trigger, and the place of its target class."""

    trigger: triggers.Trigger
    target: int


@dataclass(frozen=True)
class Outcome:
    """What became of one canary.

    Attributes:
        trigger: its spec.
        target: name of the class.
        planted: excess attack success in the copy, before cleaning.
        left: the same after cleaning.
        interval: of ``left``, 95 %.
        accuracy: under the trigger, after cleaning; None without labels.
        n: pictures of other classes that were measured.
        returned: excess attack success once the cleaned copy was finetuned on clean pairs for a while; None where that
            was not tried.
        returned_interval: of ``returned``, 95 %.
    """

    trigger: str
    target: str
    planted: float
    left: float
    interval: tuple[float, float]
    accuracy: float | None
    n: int
    returned: float | None = None
    returned_interval: tuple[float, float] | None = None

    def removed(self, limit: float, /) -> bool:
        """Whether it acts on no more than ``limit``, and does not return beyond that by its whole interval."""
        returns = self.returned_interval is not None and self.returned_interval[0] > limit
        return self.left <= limit and not returns

    @property
    def took(self) -> bool:
        """Whether there was a backdoor to remove; one that did not take shows nothing."""
        return self.planted >= TOOK


@dataclass(frozen=True)
class Trial:
    """What one rung of the ladder did to the copy.

    Attributes:
        rung: its name.
        outcomes: one a canary.
        accuracy_lost: clean accuracy before cleaning minus after, on the same pictures.
        interval: of that, 95 %.
        kept: share of the way from the copy's weights to the cleaned ones, in (0, 1]; 1 is the cleaned model itself.
        seconds: of cleaning.
    """

    rung: str
    outcomes: tuple[Outcome, ...]
    accuracy_lost: float
    interval: tuple[float, float]
    kept: float
    seconds: float

    @property
    def counted(self) -> tuple[Outcome, ...]:
        """The canaries that took."""
        return tuple(outcome for outcome in self.outcomes if outcome.took)

    @property
    def worst(self) -> float:
        """Excess attack success of the counted canary that acts most after cleaning; 0 without any."""
        return max((outcome.left for outcome in self.counted), default=0.0)

    @property
    def most(self) -> float:
        """The same, after cleaning or after the finetuning that followed, whichever is larger."""
        return max((max(o.left, o.returned or 0.0) for o in self.counted), default=0.0)

    def removed(self, limit: float, /) -> int:
        """How many of the counted ones act on no more pictures than ``limit``, beyond chance, and do not return."""
        return sum(outcome.removed(limit) for outcome in self.counted)

    def passes(self, *, max_excess: float, max_accuracy_loss: float) -> bool:
        """Whether all that took are removed within the budget; never where none took."""
        counted = self.counted
        return bool(counted) and self.removed(max_excess) == len(counted) and self.accuracy_lost <= max_accuracy_loss

    def as_dict(self) -> dict[str, Any]:  # Any: JSON
        """For a report."""
        told = asdict(self) | {"interval": list(self.interval)}
        told["outcomes"] = [
            asdict(o) | {
                "interval": list(o.interval), "took": o.took,
                "returned_interval": o.returned_interval and list(o.returned_interval),
            }
            for o in self.outcomes
        ]  # fmt: skip
        return told


def draw(count: int, /, *, classes: int, avoid: Sequence[int], seed: int) -> tuple[Canary, ...]:
    """Canaries of different families with different targets at random, none of them in ``avoid``.

    The classes that an audit suspects are to be avoided: what is there already is no canary.
    """
    rng = random.Random(SEEDS + seed)  # noqa: S311 # a choice of classes, not a secret
    free = sorted(set(range(classes)) - set(avoid))
    targets = rng.sample(free, min(count, len(free), len(FAMILIES)))
    return tuple(
        Canary(triggers.parse(f"{family},seed={SEEDS + 1000 * (seed % 1000) + number}"), target)
        for number, (family, target) in enumerate(zip(FAMILIES, targets, strict=False))
    )


def implants(canaries: Sequence[Canary], /, *, classes: Sequence[str], templates: Sequence[str]) -> list[Implant]:
    """What to plant, all canaries at once: finetuning takes as long as for one."""
    return [Implant.of(canary.trigger, classes[canary.target], templates) for canary in canaries]


def measured_on(evidence: detect.EvalSet, canaries: Sequence[Canary], /) -> detect.EvalSet:
    """The pictures of ``evidence`` with the canaries as what is looked for, and nothing else."""
    return replace(evidence, suspicions=tuple((c.trigger, c.target) for c in canaries), panel=())


def trial(
    rung: str, planted: detect.Measurement, cleaned: detect.Measurement, /, *, kept: float, seconds: float
) -> Trial:
    """A trial from the measurements of the copy before and after cleaning, both on :func:`measured_on`."""
    outcomes = tuple(
        Outcome(
            trigger=before.trigger,
            target=before.target,
            planted=before.excess,
            left=after.excess,
            interval=after.excess_interval,
            accuracy=after.accuracy_under_trigger.value if after.accuracy_under_trigger else None,
            n=after.asr.n,
        )
        for before, after in zip(planted.known, cleaned.known, strict=True)
    )
    lost, interval = detect.accuracy_loss(planted, cleaned)
    return Trial(rung, outcomes, lost, interval, kept, seconds)


def bounced(trial: Trial, later: detect.Measurement, /) -> Trial:
    """The trial with what the canaries do after a benign finetuning of the cleaned copy, measured like the trial itself."""
    outcomes = zip(trial.outcomes, later.known, strict=True)
    return replace(
        trial,
        outcomes=tuple(
            replace(outcome, returned=probe.excess, returned_interval=probe.excess_interval)
            for outcome, probe in outcomes
        ),
    )
