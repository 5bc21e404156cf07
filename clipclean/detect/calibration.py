"""What clean models show, as numbers that ship: made by ``benchmarks/audit.py`` of the clean models of its zoos."""

import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class Calibration:
    """What clean models show.

    Attributes:
        scales: by family, how large the largest margin of a class usually is in a clean model.
        scores: of clean models, each the largest score of any of its classes.
    """

    scales: Mapping[str, float]
    scores: Sequence[float]

    def false_alarms(self, score: float, /) -> float:
        """How often a clean model scores as much, by the conformal rule: (1 + those that do) / (1 + all), in (0, 1]."""
        return (1 + sum(each >= score for each in self.scores)) / (1 + len(self.scores))


@functools.cache
def calibration() -> Calibration:
    """That of the models of ``benchmarks/audit.py``, which ships."""
    text = resources.files("clipclean.detect").joinpath("calibration.json").read_text(encoding="utf-8")
    known = json.loads(text)
    return Calibration(known["scales"], tuple(known["scores"]))


def evidence(margin: float, family: str, /) -> float:
    """A margin in units of what clean models show in this family; 0 where another class is easier to come to."""
    return max(0.0, margin) / calibration().scales.get(family, math.inf)
