"""The evidence of a recipe: was it measured on similar models and data, and with which results?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from clipclean.config import recipe as recipes
from clipclean.config.recipe import Evidence, Measured, Recipe
from clipclean.schema.report import ExpectedRecord

LIKE = 4.0  # a model, or a class list, of at most so many times, or at least that part of, the size is like the measured one
FEWER = 0.5  # of the pairs that were measured with: with less the evidence says nothing
MORE = 4.0  # of the same: with more, larger batches make enough steps, and another recipe may do better
CHANCE = 0.02  # by which a run may leave the range of few measured ones
REMOVED = 0.8  # of the excess attack success; evidence of less shows that a recipe does not work

Kind = Literal["measured", "extrapolated", "no removal", "other values", "none"]
OWN = ("measured", "extrapolated")  # the evidence is of the values that the user chose, and shows that they work


class Subject(NamedTuple):
    """The job: the kind of the architecture, its parameters, the pairs to train on, and the classes."""

    kind: str
    parameters: int
    pairs: int
    classes: int

    def is_like(self, block: Evidence, /) -> bool:
        """Whether the measured model was of the kind and of a like size, with about as many classes; of what is unknown nothing is."""
        sizes = ((self.parameters, block.parameters), (self.classes, block.classes))
        return self.kind == block.kind and all(known and 1 / LIKE <= own / known <= LIKE for own, known in sizes)

    def is_near(self, block: Evidence, /) -> bool:
        """Whether the measured model is like it, and was cleaned with about as many pairs."""
        return self.is_like(block) and FEWER * block.pairs <= self.pairs <= MORE * block.pairs


class Range(NamedTuple):
    """Lowest, mean and highest of several measured values."""

    low: float
    mean: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float], /) -> "Range":
        """The range of at least one value."""
        return cls(min(values), sum(values) / len(values), max(values))

    def holds(self, value: float, /) -> bool:
        """Whether a value is no worse than the highest, chance aside."""
        return value <= self.high + CHANCE


class Expected(NamedTuple):
    """The measurements of a recipe."""

    runs: int  # seeds, over all attacks
    attacks: int  # that were planted
    left: Range  # excess attack success after cleaning, per attack
    lost: Range  # clean accuracy lost, as a share, per attack
    parameters: tuple[int, int] | None  # of the models; None if unknown
    pairs: tuple[int, int]  # trained on

    def __str__(self) -> str:
        size = f", models of {millions(self.parameters)} parameters" if self.parameters else ""
        few, many = self.pairs
        pairs = f"{few:,}" if few == many else f"{few:,} to {many:,}"
        return f"at {pairs} pairs{size}: {self.results}"

    @property
    def results(self) -> str:
        """What is left and lost, in words."""
        left = f"{_success_left(self.left.mean)}{_span(self.left)}"
        return (
            f"{left}, {points_lost(self.lost.mean)}{_ends(self.lost)}, {self.runs} run{'' if self.runs == 1 else 's'}"
        )

    def record(self) -> ExpectedRecord:
        """For a report."""
        return ExpectedRecord(**self._asdict())


@dataclass(frozen=True)
class Standing:
    """How a recipe's evidence applies to a job: its ``kind``, the reason, and the measurements, if any."""

    kind: Kind
    why: str
    expected: Expected | None = None

    def __str__(self) -> str:
        return f"{self.why} {self.expected}." if self.expected else self.why

    def reached(self, left: float | None, lost: float | None, /) -> str:
        """Where a run lies in the measured range; empty where nothing was measured, or the run shows nothing."""
        if self.expected is None:
            return ""
        told = []
        if left is not None:
            told.append(_placed(left, self.expected.left, _success_left, "at most"))
        if lost is not None:
            most = (
                "at most" if self.expected.lost.high >= 0 else "at least"
            )  # the largest loss of gains is the smallest gain
            told.append(_placed(lost, self.expected.lost, points_lost, most))
        return f"This run: {'; '.join(told)}." if told else ""


def standing(recipe: Recipe, subject: Subject, /) -> Standing:
    """How the evidence in a recipe, at one scale, applies to a job."""
    name, blocks = recipes.called(recipe), recipe.evidence or ()
    if not blocks:
        return Standing("none", f"Nothing was measured with the recipe {name}.")
    measured = recipes.own_evidence(recipe)
    if not measured:
        words = f"The evidence of the recipe {name} belongs to other values than those of this run:"
        return Standing("other values", words, expected(blocks))
    like = [block for block in measured if subject.is_like(block)]
    near = [block for block in like if subject.is_near(block)]
    taken = near or like or measured
    if near:
        words = f"Measured with {name},"
    elif like:
        other = "fewer" if subject.pairs > max(block.pairs for block in like) else "more"
        words = f"{name} was measured with {other} pairs than the {subject.pairs:,} of this run:"
    else:
        told = "; ".join(dict.fromkeys(place(block) for block in measured))
        here = f"{subject.kind}, {subject.parameters / 1e6:.1f} M, {subject.classes:,} classes"
        words = f"{name} was measured on other models or class lists ({told}; here {here}):"
    if not all(removed(block) >= REMOVED for block in taken):
        return Standing("no removal", f"The backdoor may stay: {words}", expected(taken))
    return Standing("measured" if near else "extrapolated", words, expected(taken))


def works(recipe: Recipe, subject: Subject, /, *, budget: float) -> bool:
    """Whether a recipe, at one scale, was measured on the like of a job, and removed each attack there within the accuracy budget."""
    near = [block for block in recipes.own_evidence(recipe) if subject.is_near(block)]
    return bool(near) and all(outcome(block, budget) == "removes" for block in near)


def outcome(block: Evidence, budget: float, /) -> Literal["removes", "costs more", "leaves"]:
    """The result of one measurement: the attack removed within the budget, removed for more accuracy, or left."""
    if removed(block) < REMOVED:
        return "leaves"
    return "removes" if lost(block) <= budget else "costs more"


def removed(block: Evidence, /) -> float:
    """The share of the excess attack success that went."""
    return 1 - _excess(block.after) / _excess(block.before)


def lost(block: Evidence, /) -> float:
    """Clean accuracy lost, as a share; below zero where it was gained."""
    return block.before.clean_accuracy.value - block.after.clean_accuracy.value


def place(block: Evidence, /) -> str:
    """The model, the pairs and the classes of a measurement, in words."""
    size = f" of {block.parameters / 1e6:.1f} M" if block.parameters else ""
    classes = f", {block.classes:,} classes" if block.classes else ""
    return f"{block.kind or block.architecture}{size}, {block.pairs:,} pairs{classes}"


def expected(blocks: Sequence[Evidence], /) -> Expected:
    """The measurements of all blocks together."""
    sizes = [block.parameters for block in blocks if block.parameters]
    pairs = [block.pairs for block in blocks]
    return Expected(
        runs=sum(len(block.seeds) for block in blocks),
        attacks=len(blocks),
        left=Range.of([_excess(block.after) for block in blocks]),
        lost=Range.of([lost(block) for block in blocks]),
        parameters=(min(sizes), max(sizes)) if sizes else None,
        pairs=(min(pairs), max(pairs)),
    )


def millions(sizes: tuple[int, int], /) -> str:
    """The parameters of the smallest and the largest model, in words."""
    few, many = (size / 1e6 for size in sizes)
    return f"{few:.1f} M" if round(few, 1) == round(many, 1) else f"{few:.1f} M to {many:.1f} M"


def points_lost(share: float, /) -> str:
    """A loss of accuracy in words; one below nothing is a gain."""
    return f"{abs(100 * share):.1f} points of accuracy {'lost' if share >= 0 else 'gained'}"


def _excess(measured: Measured) -> float:
    return measured.attack_success.value - measured.base_rate.value


def _success_left(share: float) -> str:
    return f"{100 * share:.1f} points of attack success left"


def _ends(known: Range) -> str:
    """A range of losses in brackets; where losses and gains are in it, each is called by its name."""
    if known.low < 0 <= known.high:
        return f" ({points_lost(known.low)} to {points_lost(known.high)})"
    return _span(known, lambda share: f"{abs(100 * share):.1f}")


def _span(known: Range, words: Callable[[float], str] = lambda share: f"{100 * share:.1f}") -> str:
    """The range in brackets; nothing where both of its ends read alike."""
    low, high = words(known.low), words(known.high)
    return f" ({low} to {high})" if low != high else ""


def _placed(value: float, known: Range, words: Callable[[float], str], most: str) -> str:
    """A value, and whether it lies within what was measured."""
    if not known.holds(value):
        return f"{words(value)}, worse than measured ({most} {words(known.high)})"
    return f"{words(value)}, {'better than' if value < known.low - CHANCE else 'within what was'} measured"
