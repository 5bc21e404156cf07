"""The search: two families without a target, then every one towards classes; the leaders are tested on unseen images."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar

import torch
from torch import Generator, Tensor

from clipclean import deadline
from clipclean.config.effort import MOST_JUDGING_IMAGES, MOST_SEARCHED_IMAGES, SEARCHED_SHARE, Effort
from clipclean.detect import inversion, persuasion, zeroshot
from clipclean.detect.families import (
    GENERAL_FAMILIES,
    LOCAL_FAMILIES,
    MOVING,
    SEARCH_FAMILIES,
    InvertedTrigger,
    comparable,
)
from clipclean.detect.forward import Strength, acting_tiles, glances, resisting, strengths
from clipclean.detect.inversion import Inversion, NoSearch, SmallestTrigger
from clipclean.detect.measure import (
    NO_TRIGGERS,
    ClassTexts,
    CleanImages,
    Embed,
    KnownTriggers,
    Probe,
    SeenImages,
    embeddings,
    looking,
    probe,
    spaced,
)
from clipclean.detect.persuasion import Persuasion
from clipclean.detect.reach import reaches
from clipclean.detect.references import (
    NO_REFERENCES,
    PANEL_KEY,
    PATTERN,
    PERSUASION,
    LateReferences,
    References,
    Sizes,
    evidence,
    reach_of,
)
from clipclean.detect.stages import Course, Stages
from clipclean.detect.suspicion import Suspicion, TriggerLike
from clipclean.detect.zeroshot import Canonical
from clipclean.findings import CC
from clipclean.schema.names import EffortName
from clipclean.schema.report import (
    CalibrationRecord,
    ControlRecord,
    FoundRecord,
    GatheringRecord,
    RangeRecord,
    SearchRecord,
)

Stage = TypeVar("Stage")

LEADERS = 3  # classes that come nearest in the brief search of a family, and are searched for
LEAST_SIZE_DEVIATION = 0.25  # least deviation of the logarithm of sizes: equal ones would make any difference infinite
TOGETHER_EXCESS = 0.6  # share of images that a trigger leads to several classes
MOST_BESIDE = 5  # most of these beside its own
# Begins the name of each stage that searches a family so; then the family's name stands.
TOWARDS_CLASSES = "towards classes"
LEAST_CLASSES = 5  # fewest classes for comparing a suspect with others


@dataclass(frozen=True)
class Margin:
    """How much smaller one measure of a class's trigger is than that of any other class, as a difference of logarithms."""

    value: float  # negative where another class has a smaller one, -inf where it was not measured
    usual: float = math.nan  # the margin that clean models have for this class; nan without clean models
    shrunk: float = math.nan  # how much smaller the measure is than in clean models; nan without any

    def evidence(self, measure: str, /) -> float:
        """The margin in units of a family, beyond natural ones or those of the given clean models."""
        if math.isnan(self.usual):
            return evidence(self.value, measure)
        return evidence(self.value, measure, usual=self.usual, shrunk=self.shrunk)


@dataclass(frozen=True)
class TargetedResult:
    """The smallest trigger found for one class in one family, and its effect on unseen images."""

    candidate: SmallestTrigger  # the result of the search
    trigger: InvertedTrigger  # the same as a trigger
    probe: Probe  # its effect
    gathering: float  # largest share of images that a search without a target brought to this class; 0 if none did
    gap: float  # how much smaller it is than the median of the other classes, as a difference of logarithms
    margin: Margin  # how much smaller its size is than the smallest of the other classes
    anomaly_index: float  # the gap in robust deviations of the other classes: that of Neural Cleanse, on logarithms
    reference: Mapping[str, float] | None  # sizes that clean models need; None without such models
    # Whether it acts on the model as well that this one was finetuned from; False without one.
    acts_on_base: bool = False

    @property
    def suspicion(self) -> Suspicion[int]:
        """The trigger with the class that it leads to."""
        return Suspicion(self.trigger, self.candidate.target)

    @property
    def is_general(self) -> bool:
        """Whether its family can paint any pattern: for every class, so that sizes compare."""
        return self.candidate.family in GENERAL_FAMILIES

    @property
    def evidence(self) -> float:
        """The margin in units, beyond that of given clean models; 0 if another class has a smaller trigger."""
        return self.margin.evidence(self.candidate.family)

    def record(self, *, file: str | None = None) -> FoundRecord:
        """An entry of ``measurements.search.found`` in a report; ``file`` is where the trigger was saved."""
        probe, candidate = self.probe, self.candidate
        return FoundRecord.of(
            probe.record(suspected=False),
            family=candidate.family,
            family_words=SEARCH_FAMILIES[candidate.family].facts.words,
            class_=self.trigger.target,
            size=candidate.size,
            size_words=self.trigger.size_words,
            reached=candidate.is_reached,
            collapse=1 - probe.spread,  # of unit embeddings: the squared norm of their mean
            clean_collapse=1 - probe.clean_spread,
            gathering=self.gathering,
            reference=None if self.reference is None else RangeRecord.model_validate(self.reference),
            gap=self.gap,
            margin=self.margin.value,
            evidence=self.evidence,
            outlyingness=self.anomaly_index,
            file=file,
        )


@dataclass(frozen=True)
class SearchResult:
    """The result of a search, the most unusual classes first."""

    targeted: tuple[TargetedResult, ...]  # results for the suspects, in every family
    controls: tuple[SmallestTrigger, ...]  # results for the other classes
    untargeted: tuple[SmallestTrigger, ...]  # results without a target
    strengths: tuple[Strength, ...]  # of the triggers of the panel
    references: References | None  # clean models to compare with; None without any
    passes: int  # images that went forward and back
    images: int  # that were searched on
    classes: tuple[str, ...]  # names of all
    cut: tuple[int, int] | None = None  # the steps done and their total, if the deadline came before the last
    grid: tuple[Strength, ...] = ()  # of triggers of few parameters, which count only beside clean models
    # Groups of classes that are one to the model; only the first of each was searched for.
    synonyms: tuple[tuple[str, ...], ...] = ()
    # What was found for the most suspicious class without those in the list that the same trigger leads to, and the names of these.
    alone: tuple[TargetedResult, ...] = ()
    left_out: tuple[str, ...] = ()
    twins: int = 0  # models that were given to compare with, and answer like the tested one: they do not count
    # How far triggers that work move embeddings for their size, by family and class.
    reaches: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    # Without clean models, how sure known triggers of the whole image make the model of each class, the surest first.
    persuasions: tuple[Persuasion, ...] = ()

    def one_with(self, name: str, /) -> tuple[str, ...]:
        """All names of a class, it among them: the model tells these from each other by nothing."""
        return next((group for group in self.synonyms if name in group), (name,))

    @property
    def candidates(self) -> tuple[SmallestTrigger, ...]:
        """The smallest triggers of all classes that were searched for."""
        return (*(t.candidate for t in self.targeted), *self.controls)

    @property
    def known(self) -> tuple[Strength, ...]:
        """The known triggers that were tried: of the panel and of the grid."""
        return (*self.strengths, *self.grid)

    def sizes(self) -> Sizes:
        """The sizes of all triggers by family and class, and how far they reach, as references if the model is clean."""
        by_family: dict[str, dict[str, float]] = {}
        for candidate in self.candidates:
            by_family.setdefault(candidate.family, {})[self.classes[candidate.target]] = candidate.size
        if self.strengths or self.grid:
            by_family[PANEL_KEY] = {s.trigger: s.size for s in self.known}
            by_family[PATTERN] = resisting(self.known, self.classes)
        return by_family | {reach_of(family): dict(by_class) for family, by_class in self.reaches.items()}

    def record(
        self, *, effort: EffortName, seconds: float, calibration: CalibrationRecord, saved: Mapping[str, str]
    ) -> SearchRecord:
        """``measurements.search`` of a report, with the models it was compared with, and files of saved triggers by their specs."""
        return SearchRecord(
            effort=effort,
            seconds=seconds,
            forward_passes=self.passes,
            images=self.images,
            calibration=calibration,
            found=tuple(t.record(file=saved.get(t.trigger.spec)) for t in self.targeted),
            controls=tuple(
                ControlRecord.of(c, class_=self.classes[c.target], reached=c.is_reached) for c in self.controls
            ),
            gatherings=tuple(
                GatheringRecord.of(c, class_=self.classes[c.target], reached=c.is_reached) for c in self.untargeted
            ),
            strengths=tuple(strength.record(self.classes) for strength in self.strengths),
        )


class ImageTower(NamedTuple):
    """The image tower of the model that is searched: images (B, 3, S, S) in [0, 1] to unit embeddings (B, D)."""

    embed: Embed  # differentiable; all that decides is confirmed by it
    fast: Embed | None = None  # the same, rounded, for searches by gradients and first looks; None if it is not
    kernels: Tensor | None = None  # (F, 3, K, K) of its first layer, whose tiles are tried; None without one


def search(
    tower: ImageTower,
    images: CleanImages,
    classes: ClassTexts,
    /,
    *,
    effort: Effort,
    references: References | LateReferences | None,
    course: Course,
    triggers: KnownTriggers = NO_TRIGGERS,
    pointed: Sequence[int] = (),
) -> SearchResult:
    """Search for unknown triggers.

    It searches towards every class of a short list, in every family; of a long list, towards suspects and, for comparison,
    random classes. Some images serve for the search, the others judge its results.

    Args:
        tower: of the model. What its rounded form finds is confirmed by the exact one: known triggers and tiles that act, the
            triggers of the finalists, and of what was found every eighth answer.
        images: on the model's device, with labels if there are any.
        classes: their names, and the model's texts of them.
        effort: how hard to search.
        references: sizes in clean models, which may be measured once the classes are chosen; None if unknown.
        course: seed, progress, memory, and what is enough; progress is told after each family, and each block of classes of a sweep.
        triggers: known ones. The least strengths of the panel are measured, and the classes that these lead to are searched for;
            the grid is compared with clean models alone.
        pointed: classes that another sign points at; they are searched for as well, in a reference they alone.

    Raises:
        Inconclusive: the model gives numbers that are not finite.
        NoSearch: too few images or classes, or a model that maps everything to one place.
    """
    count = len(torch.unique(classes.representatives))  # of classes that the model can tell apart
    if count < LEAST_CLASSES:
        raise NoSearch(
            CC.TOO_FEW_CLASSES,
            f"{count} class(es) that the model can tell apart leave too few to compare a suspect with: at least {LEAST_CLASSES} are "
            "needed. "
            "Give a longer list by --classes.",
        )
    is_chosen = course.is_reference and (bool(pointed) or count <= effort.full_list_limit)
    free = [] if is_chosen else _in_order(effort.without_target)
    steps = len(_in_order(effort.families_towards)) + len(free) * (1 + inversion.blocks(effort.classes_swept(count)))
    halves = halves_of(tower.embed, images, classes)
    pointed = list(dict.fromkeys(halves.canonical.representatives[list(pointed)].tolist()))
    scene = _Scene(tower, *halves, effort, Stages(course, steps))
    return scene.result(images.pixels, triggers, references, pointed)


class Halves(NamedTuple):
    """The images of a search: those that triggers are fitted to, and those that judge them, or every trigger would seem to work."""

    images: Tensor  # (N, 3, S, S) in [0, 1], to search on
    unseen: SeenImages  # to judge by
    canonical: Canonical  # turns embeddings into logits, by the images to search on


def halves_of(embed: Embed, images: CleanImages, classes: ClassTexts, /) -> Halves:
    """Clean images in halves, as a model sees them; at most ``MOST_JUDGING_IMAGES`` of them judge.

    Raises:
        Inconclusive: the model gives numbers that are not finite.
        NoSearch: too few images, or a model that maps everything to one place.
    """
    search_places, judging_places = divided(len(images))
    canonical = inversion.canonical_of(embed, images.pixels[search_places], classes.text_classifier)
    judging = images.at(spaced(judging_places, MOST_JUDGING_IMAGES))
    unseen = SeenImages(judging, embeddings(embed, judging.pixels).float(), classes)
    return Halves(images.pixels[search_places], unseen, canonical)


class Parts(NamedTuple):
    """The families in the order of searching towards classes; after each part a search may end."""

    moving: list[str]  # shows most of all: of 14 models that fail by patches of any kind 8 do by this alone
    local: list[str]
    unlike: list[str]  # all others
    whole: list[str]
    few: list[str]  # of few parameters


def parts_of_search(families: Iterable[str] = tuple(SEARCH_FAMILIES), /) -> Parts:
    """These families in parts."""
    parts = Parts([], [], [], [], [])
    for name in _in_order(families):
        facts = SEARCH_FAMILIES[name].facts
        rest = parts.whole if facts.is_general else parts.few
        part = parts.local if facts.is_local else parts.unlike if facts.is_unlike else rest
        (parts.moving if name == MOVING else part).append(name)
    return parts


def _in_order(families: Iterable[str]) -> list[str]:
    """Those of the families that there are, in their order."""
    names = frozenset(families)
    return [name for name in SEARCH_FAMILIES if name in names]


@dataclass(frozen=True)
class _Scene:
    """The inputs of every stage of one search."""

    tower: ImageTower
    images: Tensor  # to search on
    unseen: SeenImages  # to judge by
    canonical: Canonical
    effort: Effort
    stages: Stages
    # By family and class: measured once.
    targeted_by_class: dict[tuple[str, int], TargetedResult] = field(default_factory=dict)

    @property
    def classes(self) -> int:
        """How many classes there are that the model can tell apart."""
        return len(self.canonical.distinct)

    def random_controls(self, suspects: Sequence[int], count: int, drawing: Generator) -> list[int]:
        """So many random classes to compare the suspects with, none that another one stands for."""
        representatives = self.canonical.representatives.tolist()
        others = [number for number, stands in enumerate(representatives) if number != stands]
        return random_classes(len(representatives), [*suspects, *others], count=count, generator=drawing)

    @property
    def look(self) -> Embed:
        """The image tower for looks, rounded where the exact one answers the same."""
        return looking(self.tower.embed, self.tower.fast, lambda embedded: self.canonical.logits(embedded).argmax(1))

    def inversion(self, family: str, generator: Generator) -> Inversion:
        """The search in one family."""
        exact = deadline.watched(self.tower.embed) if self.tower.fast else None
        fast = deadline.watched(self.tower.fast or self.tower.embed)
        return Inversion(fast, self.images, self.canonical, family, self.effort, generator, last=exact)

    def result(
        self,
        pixels: Tensor,
        triggers: KnownTriggers,
        references: References | LateReferences | None,
        pointed: Sequence[int],
    ) -> SearchResult:
        """The stages, one after the other, and what they came to; known triggers are put on all images (N, 3, S, S)."""
        canonical, look = self.canonical, deadline.watched(self.look)
        embed = deadline.watched(self.tower.embed) if self.tower.fast else look
        # Known triggers come first: they take forward passes alone, and the classes that they lead to are searched for.
        of_panel = self.forward(
            "panel", lambda: strengths(embed, pixels, triggers.panel, canonical=canonical, look=look)
        )
        of_grid = self.forward("grid", lambda: glances(embed, pixels, triggers.grid, canonical=canonical, look=look))
        tiled = self.tiled(embed, look)
        persuasions = self.persuasions(look, triggers.of_whole_image) if references is None else ()
        led_to = [
            *persuaded_of(persuasions),
            *(c.target for c in tiled),
            *(s.target for s in sorted(of_panel, key=lambda s: s.least) if s.acts),
        ]
        untargeted: list[SmallestTrigger] = []
        if self.stages.course.is_reference and (pointed or self.classes <= self.effort.full_list_limit):
            targets = list(pointed) or self.canonical.distinct.tolist()
        else:
            untargeted = self.untargeted(_in_order(self.effort.without_target))
            suspects = shortlisted(untargeted, list(dict.fromkeys([*pointed, *led_to])), most=self.effort.suspects)
            targets = self.targets(suspects)
        # Sorted: they are searched alike for all models of a short list.
        clean = references.towards(sorted(targets)) if references else None
        others = clean and clean.apart_from({s.trigger: s.size for s in (*of_panel, *of_grid)})
        unfinished = SearchResult(
            targeted=(),
            controls=(),
            untargeted=tuple(untargeted),
            strengths=of_panel,
            references=others,
            passes=0,
            images=len(self.images),
            classes=self.unseen.classes.names,
            grid=of_grid,
            twins=(clean.models if clean else 0) - (others.models if others else 0),
            synonyms=zeroshot.synonyms(canonical.representatives, self.unseen.classes.names),
            persuasions=persuasions,
        )
        is_enough = self.stages.course.is_enough
        candidates = self.towards(targets, tiled, lambda local: is_enough(self.with_comparison(unfinished, local)))
        result = self.with_comparison(unfinished, candidates)
        result = replace(result, reaches=reaches(self.look, self.unseen, candidates))
        return self.shared(result, candidates)

    def shared(self, result: SearchResult, candidates: Sequence[SmallestTrigger], /) -> SearchResult:
        """The same with the local triggers of a class among whose images another class shares, as if that one were not in the list.

        Whoever writes a row of the token table can put a class where the images under a trigger are, so that these are divided, and
        each of the two needs a far larger trigger.
        """
        names = result.classes
        local = [t for t in result.targeted if t.candidate.family in LOCAL_FAMILIES]
        # A class with a trigger of its own, which leads nowhere else, is hidden by none.
        whole = {t.trigger.target for t in local if not t.probe.beside and t.probe.excess >= TOGETHER_EXCESS}
        sharing = [t for t in local if _is_divided(t) and not whole & t.probe.beside.keys()]
        if not sharing:
            return result
        most = max(sharing, key=lambda t: math.fsum(t.probe.beside.values()))
        target, others = most.candidate.target, [names.index(name) for name in most.probe.beside]
        stands_for = self.canonical.representatives.clone()
        stands_for[torch.isin(stands_for, torch.tensor(others, device=stands_for.device))] = target
        classes = self.unseen.classes._replace(representatives=stands_for)
        canonical = inversion.canonical_of(
            self.tower.embed, self.images, classes.text_classifier, stands_for=stands_for
        )
        scene = replace(self, canonical=canonical, unseen=self.unseen._replace(classes=classes), targeted_by_class={})
        families = [name for name in _in_order(self.effort.families_towards) if name in LOCAL_FAMILIES]
        by_family = self.stages.results_by_key(
            "of two", families, lambda name, drawing: scene.inversion(name, drawing).targeted([target]), steps=0
        )
        of_two = [candidate for ended in by_family.values() for candidate in ended]
        comparison = Comparison(
            [*(c for c in candidates if c.target not in (target, *others)), *of_two], result.references
        )
        alone = [
            comparison.targeted_result(scene.look, c, scene.unseen, result.untargeted)
            for c in of_two
            if comparison.others(c)
        ]
        return replace(result, alone=tuple(alone), left_out=tuple(names[number] for number in others))

    def with_comparison(self, unfinished: SearchResult, candidates: Sequence[SmallestTrigger], /) -> SearchResult:
        """A search with its candidates towards classes, but for how far these reach: that ends no search early."""
        targeted_by_class, comparison = self.targeted_by_class, Comparison(candidates, unfinished.references)
        leading = [*persuaded_of(unfinished.persuasions), *comparison.leading(most=self.effort.suspects)]
        close = [] if self.stages.course.is_reference else list(dict.fromkeys(leading))[: self.effort.suspects]
        for c in candidates:
            # It is compared within its family alone.
            if c.target in close and (c.family, c.target) not in targeted_by_class:
                targeted_by_class[c.family, c.target] = comparison.targeted_result(
                    self.look, c, self.unseen, unfinished.untargeted
                )
        targeted = [targeted_by_class[c.family, c.target] for c in candidates if c.target in close]
        swept = self.effort.classes_swept(self.classes) if unfinished.untargeted else 0
        passes = sum(candidate.passes for candidate in (*unfinished.untargeted, *candidates))
        return replace(
            unfinished,
            targeted=tuple(sorted(targeted, key=lambda t: (-t.evidence, -t.anomaly_index))),
            controls=tuple(candidate for candidate in candidates if candidate.target not in close),
            passes=passes + len(_in_order(self.effort.without_target)) * self.effort.brief_passes(swept),
            cut=(self.stages.done, self.stages.total) if self.stages.is_cut else None,
        )

    def forward(self, name: str, compute: Callable[[], Iterable[Stage]]) -> tuple[Stage, ...]:
        """The result of a stage of forward passes alone; nothing if the deadline came first."""
        return tuple(self.stages.once(name, lambda: list(compute())) or ())

    def tiled(self, embed: Embed, look: Embed) -> tuple[SmallestTrigger, ...]:
        """Small tiles that turn images into a class, which searches by gradients may not come to."""
        success, canonical, kernels = self.effort.success, self.canonical, self.tower.kernels
        return self.forward(
            "tiles",
            lambda: acting_tiles(embed, self.images, canonical=canonical, success=success, look=look, kernels=kernels),
        )

    def persuasions(self, look: Embed, known_triggers: Sequence[TriggerLike]) -> tuple[Persuasion, ...]:
        """How sure known triggers of the whole image make the model of each class; nothing of a model to compare with."""
        if self.stages.course.is_reference:
            return ()
        return self.forward(
            "persuasion", lambda: persuasion.persuasions(look, self.unseen, known_triggers, canonical=self.canonical)
        )

    def untargeted(self, families: Sequence[str]) -> list[SmallestTrigger]:
        """The results of the searches without a target."""
        by_family = self.stages.results_by_key(
            "no target", families, lambda name, drawing: self.inversion(name, drawing).untargeted()
        )
        return [candidate for ended in by_family.values() for candidate in ended]

    def targets(self, suspects: Sequence[int], /) -> list[int]:
        """The classes to search for: the suspects, the leaders of a brief search through a long list, and controls at random."""
        drawing = Generator().manual_seed(self.stages.course.seed)
        pointed_targets = list(suspects)
        if swept := self.effort.classes_swept(self.classes):
            swept_classes = [*suspects, *self.random_controls(suspects, swept - len(suspects), drawing)]
            pointed_targets = list(
                dict.fromkeys([*suspects, *self.leaders(_in_order(self.effort.without_target), swept_classes)])
            )
        # Random controls alone mislead: suspects are the easiest classes of a model, so even a clean one has suspects beside them (up to
        # 4.9 deviations; commit a95ae354: benchmarks/results/notebook.md, "What random control classes are worth"). They give the scale;
        # margins are to every class.
        return [
            *pointed_targets,
            *self.random_controls(
                pointed_targets, max(0, self.effort.classes_searched(self.classes) - len(pointed_targets)), drawing
            ),
        ]

    def leaders(self, families: Sequence[str], classes: Sequence[int]) -> list[int]:
        """The classes that come nearest in a brief search of each family."""
        by_family = self.stages.results_by_key(
            "sweep",
            families,
            lambda name, drawing: self.inversion(name, drawing).swept(classes, self.stages.step),
            steps=inversion.blocks(len(classes)),
        )
        return [number for order in by_family.values() for number in order[:LEADERS]]

    def towards(
        self,
        targets: Sequence[int],
        tiled: Sequence[SmallestTrigger],
        is_enough: Callable[[list[SmallestTrigger]], bool],
    ) -> list[SmallestTrigger]:
        """The smallest trigger of every family for each class; of masks from those tiles as well.

        They are searched part by part (:class:`Parts`); the rest is left out if what was found is enough.

        Raises:
            NoSearch: the deadline came before any family was done.
        """

        def search_family(family: str, generator: Generator) -> list[SmallestTrigger]:
            starts = [tile for tile in tiled if tile.family == family and tile.target in targets]
            return self.inversion(family, generator).targeted(targets, starts)

        def search_families(families: Sequence[str]) -> list[SmallestTrigger]:
            by_family = self.stages.results_by_key(TOWARDS_CLASSES, families, search_family)
            return [candidate for candidates in by_family.values() for candidate in candidates]

        candidates: list[SmallestTrigger] = []
        families_left = _in_order(self.effort.families_towards)
        for part in filter(None, parts_of_search(families_left)):
            is_telling = any(candidate.is_reached for candidate in candidates)
            if is_telling and not self.stages.is_cut and is_enough(candidates):
                self.stages.total -= len(families_left)
                break
            candidates += search_families(part)
            families_left = [name for name in families_left if name not in part]
        if not candidates:
            done, total = self.stages.done, self.stages.total
            raise NoSearch(
                CC.TIME_OVER, f"Time was over after step {done} of {total} of the search, before any trigger was found."
            )
        return candidates


@dataclass(frozen=True)
class Comparison:
    """What a candidate is compared with: all candidates towards classes, and clean models."""

    candidates: Sequence[SmallestTrigger]
    references: References | None = None

    def others(self, candidate: SmallestTrigger, /) -> list[SmallestTrigger]:
        """Those of the other classes in its family."""
        return [c for c in self.candidates if c.family == candidate.family and c.target != candidate.target]

    def gap(self, candidate: SmallestTrigger, /) -> float:
        """How much smaller a trigger is than the median of the other classes, as a difference of logarithms."""
        return statistics.median(math.log(c.fresh_size) for c in self.others(candidate)) - math.log(candidate.size)

    def margin(self, candidate: SmallestTrigger, /) -> float:
        """How much smaller a trigger is than the smallest of the other classes, as a difference of logarithms; negative if larger."""
        family = candidate.family
        least = min(comparable(family, c.fresh_size) for c in self.others(candidate))
        return math.log(least) - math.log(comparable(family, candidate.size))

    def leading(self, *, most: int) -> list[int]:
        """The classes whose triggers are smaller than those of all others, by the sum of the margins over families.

        If there are none, those that are smallest compared with the median of the others.
        """
        margins: dict[int, float] = {}
        gaps: dict[int, float] = {}
        for candidate in self.candidates:
            target = candidate.target
            margins[target] = margins.get(target, 0.0) + evidence(self.margin(candidate), candidate.family)
            gaps[target] = max(gaps.get(target, -math.inf), self.gap(candidate))
        # Margins before gaps: in a clean model, too, the easiest class is far from the median, but no class is far from the next one.
        return sorted(gaps, key=lambda target: (-margins[target], -gaps[target]))[:most]

    def margin_beside(self, candidate: SmallestTrigger, name: str, /) -> Margin:
        """The margin of a candidate for the class of this name, beside those of the clean models."""
        return margin_beside(self.references or NO_REFERENCES, candidate, name, self.margin(candidate))

    def targeted_result(
        self, embed: Embed, candidate: SmallestTrigger, unseen: SeenImages, untargeted: Sequence[SmallestTrigger]
    ) -> TargetedResult:
        """A candidate with its effect on unseen images, and the sizes to compare with."""
        trigger = candidate.as_trigger(unseen.classes.names, side=unseen.images.pixels.shape[-1])
        clean = self.references or NO_REFERENCES
        others = self.others(candidate)
        # Without classes that stopped early: all of them have one size, so their deviation would be too small.
        scale = [c.fresh_size for c in others if not c.is_stopped] or [c.fresh_size for c in others]
        return TargetedResult(
            candidate=candidate,
            trigger=trigger,
            probe=probe(lambda images: embed(images).float(), unseen, trigger=trigger, target=candidate.target),
            gathering=max((g.share for g in untargeted if g.target == candidate.target), default=0.0),
            gap=self.gap(candidate),
            margin=self.margin_beside(candidate, trigger.target),
            anomaly_index=inversion.anomaly_index(candidate.size, scale, floor=LEAST_SIZE_DEVIATION),
            reference=clean.sizes(candidate.family),
        )


def margin_beside(clean: References, candidate: SmallestTrigger, name: str, value: float, /) -> Margin:
    """A margin of this value, beside those that these clean models have for the class of this name."""
    size = comparable(candidate.family, candidate.size)
    return Margin(value, clean.margin(candidate.family, name), clean.shrunk(candidate.family, name, size))


def persuaded_of(persuasions: Sequence[Persuasion], /) -> list[int]:
    """The place of the class that known triggers make a model surer of than of all others, by more than is natural; empty if there is none."""
    is_ahead = evidence(persuasion.lead(persuasions), PERSUASION) > 0
    return [persuasions[0].target] if is_ahead else []


def _is_divided(found_trigger: TargetedResult) -> bool:
    """Whether a trigger leads to its class and to few others, together as often as one that acts does to one."""
    probe = found_trigger.probe
    most, several = max(probe.beside.values(), default=math.inf), probe.excess + math.fsum(probe.beside.values())
    return probe.excess >= most and several >= TOGETHER_EXCESS and len(probe.beside) <= MOST_BESIDE


def divided(count: int, /) -> tuple[list[int], list[int]]:
    """Places of the images to search on, and of those that judge; drawn at random, but always the same.

    Raises:
        NoSearch: fewer than four.
    """
    if count < 4:
        raise NoSearch(
            CC.TOO_LITTLE_DATA,
            f"{count} image(s) are too few to search on some and judge by others. Give more.",
        )
    # The same split whatever the seed: a trigger that is begun from one of an earlier search is judged on images that neither saw.
    order = torch.randperm(count, generator=Generator().manual_seed(0)).tolist()
    cut = min(round(SEARCHED_SHARE * count), MOST_SEARCHED_IMAGES)
    return sorted(order[:cut]), sorted(order[cut:])


def shortlisted(untargeted: Sequence[SmallestTrigger], pointed: Sequence[int], /, *, most: int) -> list[int]:
    """The suspects: first the classes that other signs point at, for at most half of the places, then those that gathered most
    images.
    """
    best: dict[int, float] = {}
    for gathering in untargeted:
        best[gathering.target] = max(best.get(gathering.target, 0.0), gathering.share)
    # Known triggers lead to natural ones, too: half of the places stay for what images gather at by themselves.
    ranked = sorted(best, key=lambda target: -best[target])
    return list(dict.fromkeys([*pointed[: most // 2], *ranked]))[:most]


def random_classes(classes: int, suspects: Sequence[int], /, *, count: int, generator: Generator) -> list[int]:
    """Random classes to compare the suspects with."""
    order = torch.randperm(classes, generator=generator).tolist()
    return [target for target in order if target not in set(suspects)][:count]
