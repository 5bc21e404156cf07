"""The score of a class: evidence from every family and the panel, and how often clean models score as much.

In a clean model the classes differ in how easy they are to come to, but no class stands apart from the next one by much, and not
in several families at once. So what counts is the margin by which a class's smallest trigger is smaller than that of every other
class, in units of what clean models show in the family on average, added up over the families that can paint any pattern: those
that change a part of the image or those that change all of it, whichever show more, since a class with a natural trigger is easy in
both. That is *direct* evidence. A class that is the easiest in every model of its images is no suspect beside clean models.

Known triggers and waves are *indirect* evidence: families of few parameters hold natural triggers of some classes, such as stripes of a
pole, and none of others. They count beyond the largest of any clean model, and up to a bound that names a class and fails no model.

Without clean models there is one more: how much surer known triggers make the model of one class than of all others
(:mod:`clipclean.detect.persuasion`). It counts beyond the most that any clean model showed, and names a class as other indirect evidence does.

Beside clean models natural triggers show there as well, so all evidence beyond theirs adds up to a doubt, which is compared with what clean
models show beside each other; what known triggers nearly lead to there, too, speaks less. Direct evidence alone fails a model. That a class is the
easiest here and far from it there is no evidence: of two clean trainings that is usual.
How far its triggers reach (:mod:`clipclean.detect.reach`) is a doubt by itself, and adds to no other evidence: both come from the same triggers.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from clipclean.config.thresholds import Thresholds
from clipclean.detect.families import GENERAL_FAMILIES, LOCAL_FAMILIES
from clipclean.detect.forward import Strength, resisting
from clipclean.detect.inversion import SmallestTrigger
from clipclean.detect.persuasion import Persuasion, lead
from clipclean.detect.references import (
    MOST_ODDS,
    NEVER,
    NO_REFERENCES,
    PANEL_KEY,
    PATTERN,
    PERSUASION,
    REACH,
    References,
    calibration,
    evidence,
)
from clipclean.detect.search import Comparison, SearchResult, TargetedResult, margin_beside
from clipclean.untrusted import quoted

MOST_INDIRECT = 2.25  # units that indirect evidence may lift a score to: a doubt
# Differences of logarithms, added over the families, that count as one unit of reach. From 3 to 6 the AUROC on the models that it was chosen on
# is 0.968 to 0.978.
REACH_UNIT = 4.0
MOST_NAMED = 3  # classes with the highest scores that are told


def combined(pieces: Mapping[str, float], /, *, is_beside: bool = False) -> float:
    """The score of a class by its evidence in families: what is direct, or with all other evidence as much as makes a doubt.

    With ``is_beside``, of evidence beyond that of clean models that were given, the sum, or how far the triggers reach, if that is more.
    """
    direct = max(
        math.fsum(value for family, value in pieces.items() if family in kind)
        for kind in (LOCAL_FAMILIES, GENERAL_FAMILIES - LOCAL_FAMILIES)
    )
    both = direct + math.fsum(v for f, v in pieces.items() if f not in GENERAL_FAMILIES and f != REACH)
    return max(both, pieces.get(REACH, 0.0)) if is_beside else max(direct, min(MOST_INDIRECT, both))


@dataclass(frozen=True)
class Suspect:
    """A class, and how much points at it."""

    name: str  # of the class
    # Evidence by family, of the panel, and of how far its triggers reach, where there is any.
    pieces: Mapping[str, float]
    targeted: tuple[TargetedResult, ...]  # found for it, the most telling first; none where only the panel points at it
    strength: Strength | None  # the trigger of the panel that acts at least strength; None where none leads there
    is_beside: bool  # whether the evidence is beside clean models that were given
    # By family how much farther its triggers reach than in clean models that were given, as a difference of logarithms.
    farther: Mapping[str, float] = field(default_factory=dict)
    # The known trigger that makes the model surest of it; None where that speaks for another class.
    persuasion: Persuasion | None = None

    @property
    def score(self) -> float:
        """All evidence together; comparable between models."""
        return combined(self.pieces, is_beside=self.is_beside)

    @property
    def total(self) -> float:
        """The evidence of all families, whatever they can paint."""
        return math.fsum(value for family, value in self.pieces.items() if family != REACH)

    def direct(self) -> dict[str, float]:
        """The direct evidence by family, where there is any."""
        return {family: value for family, value in self.pieces.items() if family in GENERAL_FAMILIES}

    @property
    def acts_on_base(self) -> bool:
        """Whether all found triggers that its score is of act on the model's base as well."""
        telling = [t.acts_on_base for t in self.targeted if t.candidate.family in self.shown_by]
        return bool(telling) and all(telling)

    @property
    def is_local(self) -> bool:
        """Whether it shows more in triggers of a part of the image than in those of all of it, waves, warps and known triggers among them."""
        local = math.fsum(value for family, value in self.pieces.items() if family in LOCAL_FAMILIES)
        return local > math.fsum(value for family, value in self.pieces.items() if family != REACH) - local

    @property
    def shown_by(self) -> frozenset[str]:
        """The families that its score is of: those of a part of the image, or those of all of it with waves and known triggers.

        All that act where only how far they reach speaks for it.
        """
        if self.pieces.keys() == {REACH}:
            return frozenset(self.farther)
        if self.is_local:
            return LOCAL_FAMILIES & self.direct().keys()
        return frozenset(self.pieces) - LOCAL_FAMILIES - {REACH}

    @property
    def families(self) -> tuple[str, ...]:
        """Those that it shows in, and the panel; where only how far its triggers reach speaks for it, all that act."""
        return tuple(family for family in self.pieces if family != REACH) or tuple(self.farther)

    @property
    def family(self) -> str:
        """Where it shows most: in direct evidence, if there is any, since no model fails without it."""
        evidence_by_family = self.direct() or {
            family: value for family, value in self.pieces.items() if family != REACH
        }
        return max(evidence_by_family, key=lambda family: evidence_by_family[family], default="")


def suspects(result: SearchResult, /, *, acting: Callable[[TargetedResult], bool]) -> list[Suspect]:
    """The classes that were looked at closely and those that the panel leads to, the most suspicious first.

    ``acting`` tells whether a found trigger counts: one that turns few of the images that it was not made on shows nothing.
    """
    by_class: dict[str, list[TargetedResult]] = {}
    for found_trigger in result.targeted:
        by_class.setdefault(found_trigger.trigger.target, []).append(found_trigger)
    of_known_triggers, persuaded = known_evidence(result), persuasion_evidence(result)

    def order(found_trigger: TargetedResult) -> tuple[bool, bool, float]:
        return (
            not acting(found_trigger),
            not (found_trigger.is_general and found_trigger.evidence),
            -found_trigger.evidence,
        )

    judged = []
    for name in dict.fromkeys([*by_class, *of_known_triggers, *persuaded]):
        targeted = sorted(by_class.get(name, ()), key=order)
        pieces = {t.candidate.family: t.evidence for t in targeted if acting(t)}
        strength = None
        if name in of_known_triggers:
            pieces[PANEL_KEY], strength = of_known_triggers[name]
        pieces[PERSUASION], persuasion = persuaded.get(name, (0.0, None))
        pieces = _that_speak(pieces, name, result.references)
        farther = _farther(result, name, (t.candidate.family for t in targeted if acting(t)))
        if (reach := math.fsum(farther.values()) / REACH_UNIT) > 0:
            pieces[REACH] = reach
        is_beside = result.references is not None
        judged.append(Suspect(name, pieces, tuple(targeted), strength, is_beside, farther, persuasion))
    return sorted(judged, key=lambda suspect: -suspect.score)


def untried_suspects(result: SearchResult, candidates: Sequence[SmallestTrigger], /) -> list[Suspect]:
    """The classes by the candidates of a search that is not over, before any was tried on unseen images, the most suspicious first.

    ``result`` has what known triggers do, and the clean models to compare with. Each family has candidates for two classes at least.
    """
    comparison = Comparison(candidates, result.references)
    of_known_triggers, persuaded = known_evidence(result), persuasion_evidence(result)
    by_class: dict[str, dict[str, float]] = {result.classes[candidate.target]: {} for candidate in candidates}
    for candidate in candidates:
        if candidate.is_reached:
            name = result.classes[candidate.target]
            by_class[name][candidate.family] = comparison.margin_beside(candidate, name).evidence(candidate.family)
    rows = []
    for name in dict.fromkeys([*by_class, *of_known_triggers, *persuaded]):
        value, strength = of_known_triggers.get(name, (0.0, None))
        indirect = {PANEL_KEY: value, PERSUASION: persuaded.get(name, (0.0, None))[0]}
        pieces = _that_speak(by_class.get(name, {}) | indirect, name, result.references)
        rows.append(Suspect(name, pieces, (), strength, result.references is not None))
    return sorted(rows, key=lambda suspect: -suspect.score)


def strength_words(suspects: Sequence[Suspect], /, *, is_beside: bool) -> str:
    """Whether a class stands out, and the highest scores beside those of clean models; without a full stop.

    Args:
        suspects: the highest score first.
        is_beside: whether the scores are beside clean models that were given.
    """
    # Told beside the shipped rates, whatever the policy: what it makes of a score is the verdict's to say.
    calibrated, doubt_rate, fail_rate = calibration(), Thresholds().doubt_rate, Thresholds().false_alarm_rate
    often = calibrated.rank(doubt_rate) if is_beside else calibrated.score(doubt_rate)
    seldom = calibrated.score(fail_rate, is_beside=is_beside)
    clean = "clean models beside another one" if is_beside else "clean models"
    scored = [suspect for suspect in suspects if suspect.score > 0][:MOST_NAMED]
    if not scored:
        return "no class is easier to come to than all others"
    # A second digit where one would not tell the score from the limit.
    digits = 2 if f"{scored[0].score:.1f}" in (f"{often:.1f}", f"{seldom:.1f}") else 1
    highest = ", ".join(f"{quoted(suspect.name)} {suspect.score:.{digits}f}" for suspect in scored)
    rarely = f"1 in {1 / fail_rate:.0f} reach {seldom:.{digits}f}"
    if scored[0].score < often:
        return f"no class reaches the {often:.{digits}f} that 1 in {1 / doubt_rate:.0f} {clean} show (highest scores: {highest}; {rarely})"
    usual = f"1 in {1 / doubt_rate:.0f} {clean} reach {often:.{digits}f}"
    return f"{quoted(scored[0].name)} stands out (highest scores: {highest}; {usual}, {rarely})"


def _that_speak(pieces: Mapping[str, float], name: str, references: References | None) -> dict[str, float]:
    """The evidence for a class of this name that is not natural to the images."""
    # What known triggers nearly lead to in clean models, too, is natural to the images, and stronger in one training than in another.
    distance_from_known = references.distance_from_known(name) if references else 1.0
    weighed = {
        family: value if family in GENERAL_FAMILIES else distance_from_known * value for family, value in pieces.items()
    }
    # A family in which another class is as easy speaks neither for a class nor against it.
    return {family: value for family, value in weighed.items() if value > 0}


def _farther(result: SearchResult, name: str, families: Iterable[str]) -> dict[str, float]:
    """By family how much farther triggers for a class of this name reach than in the clean models that were given; nothing without any."""
    clean = result.references or NO_REFERENCES
    own = {family: result.reaches[family][name] for family in families if name in result.reaches.get(family, ())}
    exceeded = {family: clean.exceeded(family, name, reach) for family, reach in own.items()}
    return {family: difference for family, difference in exceeded.items() if not math.isnan(difference)}


def compared_with(result: SearchResult, references: References | None, /) -> SearchResult:
    """The same search compared with these clean models; with None as if none had been given."""
    clean = references or NO_REFERENCES

    def with_clean_models(found_trigger: TargetedResult) -> TargetedResult:
        margin = margin_beside(clean, found_trigger.candidate, found_trigger.trigger.target, found_trigger.margin.value)
        return replace(found_trigger, margin=margin, reference=clean.sizes(found_trigger.candidate.family))

    return replace(result, targeted=tuple(map(with_clean_models, result.targeted)), references=references)


def known_evidence(result: SearchResult, /) -> dict[str, tuple[float, Strength]]:
    """For each class that known triggers lead to, the evidence of the panel or of the strongest of them, whichever is more, and that trigger."""
    by_class = panel_evidence(result.strengths, result.classes, result.references)
    for name, (value, own) in pattern_evidence(result).items():
        if value > by_class.get(name, (0.0, own))[0]:
            by_class[name] = (value, own)
    return by_class


def panel_evidence(
    strengths: Sequence[Strength], classes: Sequence[str], references: References | None, /
) -> dict[str, tuple[float, Strength]]:
    """For each class that triggers of the panel lead to, the evidence of the one that acts at least strength, and that one.

    It is compared with the triggers that lead elsewhere, and with what the same trigger needs in clean models.
    """
    best: dict[int, Strength] = {}
    for strength in strengths:
        # The easiest trigger of a class stands for the panel: many alike, such as stripes, do not add up.
        if strength.acts and (strength.target not in best or strength.least < best[strength.target].least):
            best[strength.target] = strength
    by_class = {}
    for target, own in best.items():
        elsewhere = min((s.least for s in strengths if s.acts and s.target != target), default=NEVER)
        margin = math.log(elsewhere) - math.log(own.least)
        # Without clean models only the margin to other classes counts, as for a found trigger.
        usual = references.least(own.trigger) if references else None
        shrunk = math.inf if usual is None else math.log(usual) - math.log(own.least)
        by_class[classes[target]] = (evidence(margin, PANEL_KEY, shrunk=shrunk), own)
    return by_class


def pattern_evidence(result: SearchResult, /) -> dict[str, tuple[float, Strength]]:
    """For each class that a known trigger or a variant leads to, the evidence of the one that turns most images, and that one.

    It is by how much lower the odds against it are than in clean models, beyond what half of the images is more than a quarter. Without
    any, beyond the natural trigger that turns most images in clean models of other kinds.
    """
    strongest = {result.classes[s.target]: s for s in sorted(result.known, key=lambda s: s.excess) if s.acts}
    odds, calibrated = resisting(strongest.values(), result.classes), calibration()

    def lower(name: str) -> float:
        if result.references:
            return result.references.shrunk(PATTERN, name, odds[name]) - math.log(MOST_ODDS)
        return math.log(MOST_ODDS) - math.log(odds[name]) - calibrated.natural[PATTERN]

    return {name: (max(0.0, lower(name)) / calibrated.units[PATTERN], own) for name, own in strongest.items()}


def persuasion_evidence(result: SearchResult, /) -> dict[str, tuple[float, Persuasion]]:
    """For the class that known triggers make the model surest of, the evidence of how far it is ahead of all others, and that trigger; nothing
    beside clean models, where known triggers are compared one by one.
    """
    if result.references or not result.persuasions:
        return {}
    first = result.persuasions[0]
    return {result.classes[first.target]: (evidence(lead(result.persuasions), PERSUASION), first)}


def telling(strengths: Sequence[Strength], classes: Sequence[str], /, *, least_evidence: float) -> frozenset[str]:
    """The triggers of a panel that lead to a class which stands out by them: so much evidence, of the panel alone.

    All others that act are natural triggers: they act no sooner than those of other classes.
    """
    by_class = panel_evidence(strengths, classes, None)
    outstanding = {name for name, (value, _) in by_class.items() if value >= least_evidence}
    return frozenset(s.trigger for s in strengths if s.acts and classes[s.target] in outstanding)
