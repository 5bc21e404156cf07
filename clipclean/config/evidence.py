"""The evidence of a recipe: was it measured on similar models and data, and with which results?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from clipclean.config import recipe as recipes
from clipclean.config.recipe import Evidence, Measured, Recipe
from clipclean.config.thresholds import Audit
from clipclean.schema.report import ExpectedRecord
from clipclean.untrusted import plural

ALIKE_FACTOR = 4.0  # a model, or a class list, of at most so many times, or at least that part of, the size is like the measured one
LEAST_PAIRS_SHARE = 0.5  # of the pairs that were measured with: with less the evidence says nothing
MOST_PAIRS_FACTOR = 4.0  # of the same: with more, larger batches make enough steps, and another recipe may do better
CHANCE_MARGIN = 0.02  # by which a run may leave the range of few measured ones
LEAST_REMOVED_SHARE = 0.8  # of the excess attack success; evidence of less shows that a recipe does not work

Range = tuple[float, ...]  # lowest, mean and highest of several measured values
ApplicabilityKind = Literal["measured", "extrapolated", "no removal", "other values", "none"]
OWN_KINDS = ("measured", "extrapolated")  # the evidence is of the values that the user chose, and shows that they work


class Subject(NamedTuple):
    """The job: the kind of the architecture, its parameters, the pairs to train on, and the classes."""

    kind: str
    parameters: int
    pairs: int
    classes: int

    def is_like(self, block: Evidence, /) -> bool:
        """Whether the measured model was of the kind and of a like size, with about as many classes; of what is unknown nothing is."""
        sizes = ((self.parameters, block.parameters), (self.classes, block.classes))
        return self.kind == block.kind and all(
            measured_size and 1 / ALIKE_FACTOR <= own / measured_size <= ALIKE_FACTOR for own, measured_size in sizes
        )

    def is_near(self, block: Evidence, /) -> bool:
        """Whether the measured model is like it, and was cleaned with about as many pairs."""
        return self.is_like(block) and LEAST_PAIRS_SHARE * block.pairs <= self.pairs <= MOST_PAIRS_FACTOR * block.pairs


@dataclass(frozen=True)
class Applicability:
    """How a recipe's evidence applies to a job: its ``kind``, the reason, and the measurements, if any."""

    kind: ApplicabilityKind
    why: str
    expected: ExpectedRecord | None = None

    def __str__(self) -> str:
        if (expected := self.expected) is None:
            return self.why
        size = f", models of {millions(expected.parameters)} parameters" if expected.parameters else ""
        pairs = " to ".join(f"{count:,}" for count in dict.fromkeys(expected.pairs))
        return f"{self.why} at {pairs} pairs{size}: {results(expected)}."

    def reached(self, left: float | None, lost: float | None, /) -> str:
        """Where a run lies in the measured range; empty where nothing was measured, or the run shows nothing."""
        if self.expected is None:
            return ""
        words = []
        if left is not None:
            words.append(_placed(left, self.expected.left, _success_left, "at most"))
        if lost is not None:
            # The largest loss of gains is the smallest gain.
            most = "at most" if self.expected.lost[-1] >= 0 else "at least"
            words.append(_placed(lost, self.expected.lost, points_lost, most))
        return f"This run: {'; '.join(words)}." if words else ""


def applicability(recipe: Recipe, subject: Subject, /) -> Applicability:
    """How the evidence in a recipe applies to a job."""
    name, blocks = recipe.name, recipe.evidence or ()
    if not blocks:
        return Applicability(
            "none", f"The recipe {name} brings no measurements: what it does to this model shows afterwards."
        )
    own_evidence = recipes.own_evidence(recipe)
    if not own_evidence:
        words = f"The evidence of the recipe {name} belongs to other values than those of this run:"
        return Applicability("other values", words, expected(blocks))
    like = [block for block in own_evidence if subject.is_like(block)]
    near = [block for block in like if subject.is_near(block)]
    nearest = near or like or own_evidence
    if near:
        words = f"Measured with {name},"
    elif like:
        other = "fewer" if subject.pairs > max(block.pairs for block in like) else "more"
        words = f"{name} was measured with {other} pairs than the {subject.pairs:,} of this run:"
    else:
        elsewhere = "; ".join(dict.fromkeys(model_words(block) for block in own_evidence))
        here = f"{subject.kind}, {subject.parameters / 1e6:.1f} M, {subject.classes:,} classes"
        words = f"{name} was measured on other models or class lists ({elsewhere}; here {here}):"
    if not all(removed(block) >= LEAST_REMOVED_SHARE for block in nearest):
        return Applicability("no removal", f"The backdoor may stay: {words}", expected(nearest))
    return Applicability("measured" if near else "extrapolated", words, expected(nearest))


def worst(blocks: Sequence[Evidence], limits: Audit, /) -> str:
    """The worst result of some measurements, in words: what leaves more of the attack than a cleaning may removes most of it alone."""
    if not blocks:
        return "not measured"
    if not all(removed(block) >= LEAST_REMOVED_SHARE for block in blocks):
        return "leaves the backdoor in"
    removes = "removes most of it" if expected(blocks).left[-1] > limits.max_excess else "removes it"
    is_cheap = all(lost(block) <= limits.max_accuracy_loss for block in blocks)
    return removes if is_cheap else f"{removes}, but costs more accuracy than the budget"


def removed(block: Evidence, /) -> float:
    """The share of the excess attack success that went."""
    return 1 - _excess(block.after) / _excess(block.before)


def lost(block: Evidence, /) -> float:
    """Clean accuracy lost, as a share; below zero where it was gained."""
    return block.before.clean_accuracy.value - block.after.clean_accuracy.value


def model_words(block: Evidence, /) -> str:
    """The model, the pairs and the classes of a measurement, in words."""
    size = f" of {block.parameters / 1e6:.1f} M" if block.parameters else ""
    classes = f", {block.classes:,} classes" if block.classes else ""
    return f"{block.kind or block.architecture}{size}, {block.pairs:,} pairs{classes}"


def expected(blocks: Sequence[Evidence], /) -> ExpectedRecord:
    """The measurements of all blocks together."""
    sizes = [block.parameters for block in blocks if block.parameters]
    pairs = [block.pairs for block in blocks]
    return ExpectedRecord(
        runs=sum(len(block.seeds) for block in blocks),
        attacks=len(blocks),
        left=_range([_excess(block.after) for block in blocks]),
        lost=_range([lost(block) for block in blocks]),
        parameters=(min(sizes), max(sizes)) if sizes else None,
        pairs=(min(pairs), max(pairs)),
    )


def results(expected: ExpectedRecord, /) -> str:
    """What is left and lost, in words."""
    left, cost = expected.left[1], expected.lost[1]
    runs = plural(expected.runs, "run")
    return f"{_success_left(left)}{_span(expected.left)}, {points_lost(cost)}{_range_words(expected.lost)}, {runs}"


def millions(sizes: Sequence[int], /) -> str:
    """The parameters of the smallest and the largest model, in words."""
    few, many = (size / 1e6 for size in sizes)
    return f"{few:.1f} M" if round(few, 1) == round(many, 1) else f"{few:.1f} M to {many:.1f} M"


def points_lost(share: float, /) -> str:
    """A loss of accuracy in words; one below nothing is a gain."""
    return f"{abs(100 * share):.1f} points of accuracy {'lost' if share >= 0 else 'gained'}"


def _range(values: Sequence[float]) -> Range:
    return min(values), sum(values) / len(values), max(values)


def _excess(measures: Measured) -> float:
    return measures.attack_success.value - measures.base_rate.value


def _success_left(share: float) -> str:
    return f"{max(0.0, 100 * share):.1f} points of attack success left"


def _range_words(expected: Range) -> str:
    """A range of losses in brackets; where losses and gains are in it, each is called by its name."""
    low, _, high = expected
    if low < 0 <= high:
        return f" ({points_lost(low)} to {points_lost(high)})"
    return _span(expected, lambda share: f"{abs(100 * share):.1f}")


def _span(expected: Range, words: Callable[[float], str] = lambda share: f"{100 * share:.1f}") -> str:
    """The range in brackets; nothing where both of its ends read alike."""
    low, _, high = map(words, expected)
    return f" ({low} to {high})" if low != high else ""


def _placed(value: float, expected: Range, words: Callable[[float], str], most: str) -> str:
    """A value, and whether it lies within what was measured."""
    low, _, high = expected
    if value > high + CHANCE_MARGIN:
        return f"{words(value)}, worse than measured ({most} {words(high)})"
    return f"{words(value)}, {'better than' if value < low - CHANCE_MARGIN else 'within what was'} measured"
