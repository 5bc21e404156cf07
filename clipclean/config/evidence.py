"""The evidence of a recipe: was it measured on similar models and data, and with which results?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from clipclean.config import recipe as recipes
from clipclean.config.recipe import Evidence, Recipe
from clipclean.schema.report import ExpectedRecord

# For a run that names no recipe: the first that was measured on a similar model; the first of all for a tiny model of another kind.
DEFAULTS = ("cleanclip-tiny", "cleanclip-few-tiny", "cleanclip")
LIKE = 4.0  # a model of at most so many times, or at least that part of, the parameters is of a like size
FEWER = 0.5  # of the pairs that were measured with: with less the evidence says nothing
MORE = 4.0  # of the same: with more, larger batches make enough steps, and another recipe may do better
CHANCE = 0.02  # by which a run may leave the range of few measured ones

Kind = Literal["measured", "extrapolated", "other values", "none"]
OWN = ("measured", "extrapolated")  # the evidence is of the values that the user chose


class Subject(NamedTuple):
    """The job: the kind of the architecture, its parameters, and the number of pairs to train on."""

    kind: str
    parameters: int
    pairs: int


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
        return (
            f"at {pairs} pairs{size}: {self.left.mean:.3f} of the attack left{_span(self.left)}, "
            f"{points_lost(self.lost.mean)}{_ends(self.lost)}, {self.runs} run{'' if self.runs == 1 else 's'}"
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
            told.append(f"{left:.3f} of the attack left, {_place(self.expected.left, left, 'at most {:.3f}'.format)}")
        if lost is not None:
            told.append(f"{points_lost(lost)}, {_place(self.expected.lost, lost, _bound)}")
        return f"This run: {'; '.join(told)}." if told else ""


def standing(recipe: Recipe, subject: Subject, /) -> Standing:
    """How the evidence in a recipe applies to a job."""
    blocks = recipe.evidence or ()
    if not blocks:
        return Standing("none", f"Nothing was measured with the recipe {recipe.name}.")
    measured = recipes.own_evidence(recipe)
    if not measured:
        words = f"The evidence of the recipe {recipe.name} belongs to other values than those of this run:"
        return Standing("other values", words, expected(blocks))
    like = [block for block in measured if block.kind == subject.kind and _is_like(block, subject)]
    near = [block for block in like if _is_near(block, subject)]
    if near:
        return Standing("measured", f"Measured with {recipe.name},", expected(near))
    if like:
        other = "fewer" if subject.pairs > max(block.pairs for block in like) else "more"
        words = f"extrapolated: {recipe.name} was measured with {other} pairs than the {subject.pairs:,} of this run:"
        return Standing("extrapolated", words, expected(like))
    told = ", ".join(dict.fromkeys(block.kind or block.architecture for block in measured))
    words = f"extrapolated: {recipe.name} was measured on another architecture ({told}; here {subject.kind}, {subject.parameters / 1e6:.1f} M):"
    return Standing("extrapolated", words, expected(measured))


def expected(blocks: Sequence[Evidence], /) -> Expected:
    """The measurements of all blocks together."""
    sizes = [block.parameters for block in blocks if block.parameters]
    pairs = [block.pairs for block in blocks]
    return Expected(
        runs=sum(len(block.seeds) for block in blocks),
        attacks=len(blocks),
        left=Range.of([block.after.attack_success.value - block.after.base_rate.value for block in blocks]),
        lost=Range.of([block.before.clean_accuracy.value - block.after.clean_accuracy.value for block in blocks]),
        parameters=(min(sizes), max(sizes)) if sizes else None,
        pairs=(min(pairs), max(pairs)),
    )


def default(subject: Subject, /) -> Recipe:
    """The recipe of a run that names none: the first that was measured on the like, else the one for models of its size."""
    known = [recipes.load(name) for name in DEFAULTS]
    # Nobody measured the rates of the recipes for tiny models on a CLIP of the usual size.
    able = [
        recipe
        for recipe in known
        if (recipe.scale != "tiny" or subject.parameters < recipes.TINY)
        and subject.pairs >= max(recipe.data.min_pairs, recipe.train.batch_size)
    ]
    near = [recipe for recipe in able if any(_is_near(block, subject) for block in recipes.own_evidence(recipe))]
    if near:
        return near[0]
    return known[0] if known[0] in able else recipes.load(recipes.DEFAULT)


def _is_near(block: Evidence, subject: Subject) -> bool:
    """Whether the measured model was of a like size, and was cleaned with about as many pairs."""
    return _is_like(block, subject) and FEWER * block.pairs <= subject.pairs <= MORE * block.pairs


def _is_like(block: Evidence, subject: Subject) -> bool:
    """Whether the measured model was of a like size; of one whose size nobody wrote down nothing is known."""
    known = block.parameters
    return known is not None and 1 / LIKE <= subject.parameters / known <= LIKE


def millions(sizes: tuple[int, int], /) -> str:
    """The parameters of the smallest and the largest model, in words."""
    few, many = (size / 1e6 for size in sizes)
    return f"{few:.1f} M" if round(few, 1) == round(many, 1) else f"{few:.1f} M to {many:.1f} M"


def points_lost(share: float, /) -> str:
    """A loss of accuracy in words; one below nothing is a gain."""
    return f"{abs(100 * share):.1f} points of accuracy {'lost' if share >= 0 else 'gained'}"


def _bound(highest: float, /) -> str:
    """The largest of several losses of accuracy, in words; of gains alone it is the smallest."""
    return f"at {'most' if highest >= 0 else 'least'} {points_lost(highest)}"


def _ends(lost: Range, /) -> str:
    """A range of losses in brackets; where losses and gains are in it, each is called by its name."""
    if lost.low < 0 <= lost.high:
        return f" ({points_lost(lost.low)} to {points_lost(lost.high)})"
    return _span(lost, lambda share: f"{abs(100 * share):.1f}")


def _span(known: Range, words: Callable[[float], str] = "{:.3f}".format) -> str:
    """The range in brackets; nothing where both of its ends read alike."""
    low, high = words(known.low), words(known.high)
    return f" ({low} to {high})" if low != high else ""


def _place(known: Range, value: float, bound: Callable[[float], str]) -> str:
    if known.holds(value):
        return "better than measured" if value < known.low - CHANCE else "within what was measured"
    return f"worse than measured ({bound(known.high)})"
