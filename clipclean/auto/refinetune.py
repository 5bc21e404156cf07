"""The rebound test: does a short benign finetuning of a copy bring a removed backdoor back?"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clipclean import data, detect, model
from clipclean.attack import poison
from clipclean.config.policy import Limits
from clipclean.config.recipe import Planting, Recipe
from clipclean.findings import Finding, finding
from clipclean.jobs import inputs
from clipclean.progress import Progress


@dataclass(frozen=True)
class Rebound:
    """What a benign finetuning changed; probes pair up, named triggers first.

    Attributes:
        before: the cleaned model.
        after: the same after the finetuning.
        steps: of it.
        seconds: of it.
    """

    before: detect.Measurement
    after: detect.Measurement
    steps: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:  # Any: JSON
        """``auto.rebound`` of a report."""
        return {
            "steps": self.steps,
            "seconds": self.seconds,
            "accuracy": {"before": _value(self.before), "after": _value(self.after)},
            "probes": [
                {
                    "trigger": old.trigger,
                    "target": new.target,
                    "before": _finite(old.excess),
                    "after": _finite(new.excess),
                    "interval": list(new.excess_interval),
                    "known": is_known,
                }
                for old, new, is_known in self.pairs()
            ],
        }

    def pairs(self) -> list[tuple[detect.Probe, detect.Probe, bool]]:
        """The probes of each trigger before and after, and whether it was named or found."""
        panel = {probe.trigger: probe for probe in self.after.panel}
        known = [(old, new, True) for old, new in zip(self.before.known, self.after.known, strict=True)]
        return known + [(old, panel[old.trigger], False) for old in self.before.panel]

    def returned(self, *, limits: Limits) -> list[tuple[detect.Probe, float]]:
        """What acts again, with its limit: beyond it by its whole interval, where it did not by its value before.

        The limit is that of named triggers, and for triggers of the panel, which act on clean models too, that of suspicion.
        """
        acting = []
        for old, new, is_known in self.pairs():
            limit = limits.max_excess if is_known else limits.suspicious_excess
            if new.excess_interval[0] > limit >= old.excess:
                acting.append((new, limit))
        return acting

    def findings(self, *, limits: Limits) -> list[Finding]:
        """An error for each trigger that came back."""
        return [
            finding(
                "CC062",
                f"After {self.steps} steps of finetuning on the clean pairs, {probe.trigger} turns {100 * probe.asr.value:.1f} % of "
                f"other images into '{probe.target}' again: the backdoor was hidden, not removed.",
                measure="excess ASR",
                value=probe.excess,
                interval=probe.excess_interval,
                n=probe.asr.n,
                threshold=limit,
                target=probe.target,
                trigger=probe.trigger,
            )
            for probe, limit in self.returned(limits=limits)
        ]


def rebound(
    clip: model.Clip,
    pairs: Sequence[data.Pair],
    recipe: Recipe,
    planting: Planting,
    /,
    *,
    before: detect.Measurement,
    evidence: detect.EvalSet,
    seed: int,
    progress: Progress,
) -> Rebound:
    """Finetune ``clip`` in place with L_CLIP alone on clean pairs, and measure what was measured ``before``.

    The weights are spoiled afterwards: give a copy, or put them back.
    """
    started = time.monotonic()
    poison.finetune(
        clip, pairs, recipe, planting, implants=(), seed=seed,
        progress=lambda _, done, total: progress("finetuning for the rebound", done, total),
    )  # fmt: skip
    seconds = time.monotonic() - started
    return Rebound(before, inputs.measure(clip, evidence), planting.steps, seconds)


def _value(measured: detect.Measurement) -> float | None:
    return _finite(measured.clean_accuracy.value)


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else value
