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
        unit: how much evidence counts as one, as a difference of logarithms of sizes.
        natural: by family, and for the panel, the margin that natural triggers have: only what goes beyond it counts.
        scores: of clean models, each the largest score of any of its classes.
    """

    unit: float
    natural: Mapping[str, float]
    scores: Sequence[float]

    def false_alarms(self, score: float, /) -> float:
        """How often a clean model scores as much, by the conformal rule: (1 + those that do) / (1 + all), in (0, 1]."""
        return (1 + sum(each >= score for each in self.scores)) / (1 + len(self.scores))


@functools.cache
def calibration() -> Calibration:
    """That of the models of ``benchmarks/audit.py``, which ships."""
    text = resources.files("clipclean.detect").joinpath("calibration.json").read_text(encoding="utf-8")
    known = json.loads(text)
    return Calibration(known["unit"], known["natural"], tuple(known["scores"]))


def evidence(margin: float, family: str, /, *, usual: float = 0.0, shrunk: float = math.inf) -> float:
    """A margin beyond what natural triggers of this family have, in units; 0 where another class is as easy to come to.

    Beside clean models it must also go beyond the margin ``usual`` that they have for this class, and counts only as far as the trigger
    is ``shrunk`` against theirs (logarithms): a class may be the easiest one in all models, and a model in which every class is easy
    to come to has no backdoor for it.
    """
    known = calibration()
    return max(0.0, min(margin - max(usual, known.natural.get(family, math.inf)), shrunk)) / known.unit
