"""The score of a class: evidence from every family and the panel, and how often clean models score as much.

In a clean model the classes differ in how easy they are to come to, but no class stands apart from the next one by much, and not
in several families at once. So what counts is the margin by which a class's smallest trigger is smaller than that of every other
class, added up over the families, each beyond what clean models usually show in it, or beside clean models that are given. Families of
few parameters (waves) hold natural triggers of some classes and none of others: what they usually show is the largest of any clean model.

No model fails without *direct* evidence: that a trigger of a part of the image is smaller for one class than for any other, by its
plain size, and smaller than in clean models that are given. All other evidence is *indirect*, and counts up to a bound that is less than
what fails a model, for four reasons:

- What changes the whole image (patterns, waves, known triggers) sees the same natural trigger in many families at once, such as stripes
  of a pole.
- Some classes have small triggers though random changes do not lead to them.
- Some classes are told by a small part of an image.
- Trainings differ: of nine clean models of drawn classes four had more than fails a model beside another of the same images.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from clipclean.detect.forward import Strength, resisting
from clipclean.detect.references import MOST_ODDS, NEVER, PANEL, PATTERN, References, calibration, evidence
from clipclean.detect.search import Margin, SearchResult, TargetedResult

# Most units of indirect evidence: a doubt. Clean models have up to 9.1 of the whole image, 4.9 of what random changes
# let expect and 2.8 of compactness, and 1.2 of direct evidence (tag evidence-0.2: notebook.md, "Clean models of classes drawn at random").
# Both together stay below what fails a model: with 2.5 one of 52 clean models failed, with 3.61.
MOST_INDIRECT = 2.25


def combined(direct: float, indirect: float, /) -> float:
    """The score of a class: the direct evidence of local triggers, and up to a bound all other evidence."""
    return direct + min(MOST_INDIRECT, indirect)


@dataclass(frozen=True)
class Suspect:
    """A class, and how much points at it."""

    name: str  # of the class
    pieces: Mapping[str, float]  # evidence by family, and of the panel, where there is any
    targeted: tuple[TargetedResult, ...]  # found for it, the most telling first; none where only the panel points at it
    strength: Strength | None  # the trigger of the panel that acts at least strength; None where none leads there
    is_beside: bool  # whether the evidence is beside clean models that were given

    @property
    def score(self) -> float:
        """All evidence together; comparable between models."""
        whole, direct = math.fsum(self.pieces.values()), math.fsum(self.direct().values())
        return combined(direct, whole - direct)

    def direct(self) -> dict[str, float]:
        """The direct evidence by local family, where there is any."""
        local = (hit for hit in self.targeted if hit.is_local and hit.candidate.family in self.pieces)
        return {hit.candidate.family: hit.direct for hit in local if hit.direct > 0}

    @property
    def family(self) -> str:
        """Where it shows most: in direct evidence, if there is any, since no model fails without it."""
        shown = self.direct() or self.pieces
        return max(shown, key=lambda family: shown[family], default="")


def suspects(result: SearchResult, /, *, acting: Callable[[TargetedResult], bool]) -> list[Suspect]:
    """The classes that were looked at closely and those that the panel leads to, the most suspicious first.

    ``acting`` tells whether a found trigger counts: one that turns few of the images that it was not made on shows nothing.
    """
    by_class: dict[str, list[TargetedResult]] = {}
    for hit in result.targeted:
        by_class.setdefault(hit.found.target, []).append(hit)
    known = panel_evidence(result)

    def order(hit: TargetedResult) -> tuple[bool, float, float]:
        return not acting(hit), -hit.direct if hit.is_local else 0.0, -hit.evidence

    found = []
    for name in dict.fromkeys([*by_class, *known]):
        targeted = sorted(by_class.get(name, ()), key=order)
        pieces = {t.candidate.family: t.evidence for t in targeted if acting(t)}
        strength = None
        if name in known:
            pieces[PANEL], strength = known[name]
        # A family in which another class is as easy speaks neither for a class nor against it.
        pieces = {family: value for family, value in pieces.items() if value > 0}
        found.append(Suspect(name, pieces, tuple(targeted), strength, result.references is not None))
    return sorted(found, key=lambda suspect: -suspect.score)


def without_references(result: SearchResult, /) -> SearchResult:
    """The same search as if no clean models had been given."""
    targeted = [
        replace(
            hit,
            margin=Margin(hit.margin.value),
            relative=Margin(hit.relative.value),
            compact=hit.compact and Margin(hit.compact.value),
        )
        for hit in result.targeted
    ]
    return replace(result, targeted=tuple(targeted), references=None)


def undiscounted(result: SearchResult, /) -> SearchResult:
    """The same search as if random changes led to no class."""
    return replace(result, targeted=tuple(replace(hit, attraction=0.0) for hit in result.targeted))


def panel_evidence(result: SearchResult, /) -> dict[str, tuple[float, Strength]]:
    """For each class that triggers of the panel lead to, the evidence of the one that acts at least strength, and that one.

    It is compared with the triggers that lead elsewhere, and with what the same trigger needs in clean models.
    """
    best: dict[int, Strength] = {}
    for strength in result.strengths:
        # The easiest trigger of a class stands for the panel: many alike, such as stripes, do not add up.
        if strength.acts and (strength.target not in best or strength.least < best[strength.target].least):
            best[strength.target] = strength
    found = {}
    for target, own in best.items():
        elsewhere = min((s.least for s in result.strengths if s.acts and s.target != target), default=NEVER)
        margin = math.log(elsewhere) - math.log(own.least)
        # Without clean models only the margin to other classes counts, as for a found trigger.
        usual = result.references.least(own.trigger) if result.references else None
        shrunk = math.inf if usual is None else math.log(usual) - math.log(own.least)
        found[result.classes[target]] = (evidence(margin, PANEL, shrunk=shrunk), own)
    for name, (value, own) in pattern_evidence(result).items():
        if value > found.get(name, (0.0, own))[0]:
            found[name] = (value, own)
    return found


def pattern_evidence(result: SearchResult, /) -> dict[str, tuple[float, Strength]]:
    """For each class that a known trigger or a variant leads to, the evidence of the one that turns most images, and that one.

    It is by how much lower the odds against it are than in clean models, beyond what half of the images is more than a quarter;
    nothing without any.
    """
    if not result.references:
        return {}
    strongest = {result.classes[s.target]: s for s in sorted(result.known, key=lambda s: s.excess) if s.acts}
    odds, unit = resisting(strongest.values(), result.classes), calibration().unit
    lower = {name: result.references.shrunk(PATTERN, name, odds[name]) - math.log(MOST_ODDS) for name in strongest}
    return {name: (max(0.0, lower[name]) / unit, own) for name, own in strongest.items()}


def telling(
    found: Sequence[Strength], classes: Sequence[str], /, *, references: References | None, least_evidence: float
) -> frozenset[str]:
    """The triggers of a panel that lead to a class which stands out by them: so much evidence, of the panel alone.

    All others that act are natural triggers: they act no sooner than those of other classes, or than in clean models.
    """
    only = SearchResult((), (), (), tuple(found), references, 0, 0, tuple(classes))
    named = {name for name, (value, _) in panel_evidence(only).items() if value >= least_evidence}
    return frozenset(s.trigger for s in found if s.acts and classes[s.target] in named)
