"""A model beside the one that it was finetuned from: whether it was, what the finetune moved, and what acts on one of the two alone.

A model and its base share what is natural: the triggers of the data, the classes that are easy to come to. A finetune that plants a
backdoor makes a trigger act which the base ignores.

How many images a trigger turns says little: a clean finetune moves borders between classes, and a natural trigger of its base turns up to .87
more of them. What tells is how much surer than the base the model is of a class under known triggers (:mod:`clipclean.detect.persuasion`):
planting lifts one class far above all others, whatever was planted, and a clean finetune lifts several a little.
"""

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from clipclean.config.thresholds import (
    ACTING_SHARE_ON_BASE,
    BASE_COSINE,
    BASE_EMBEDDING_COSINE,
    DOUBTED_EXCESS_OVER_BASE,
    DOUBTED_LIFT,
    FAILING_EXCESS_OVER_BASE,
    FAILING_LIFT,
    KNOWN_EXCESS_OVER_BASE,
    LEAST_AGREEMENT_TO_KNOW,
    LEAST_BASE_AGREEMENT,
    MOST_NATURAL_LIFT,
    AuditLimits,
)
from clipclean.detect.families import InvertedTrigger
from clipclean.detect.inversion import NoSearch, canonical_of
from clipclean.detect.measure import ClassTexts, CleanImages, Embed, SeenImages, embeddings, spaced
from clipclean.detect.metrics import Rate, paired_difference
from clipclean.detect.persuasion import PERSUADED_IMAGES, lead, log_odds, most_persuasive
from clipclean.detect.search import SearchResult
from clipclean.detect.suspicion import TriggerLike
from clipclean.detect.zeroshot import predict, representatives
from clipclean.findings import CC, Finding, finding, trigger_words
from clipclean.progress import track

EXCESS_OVER_BASE = "excess over the base"  # what is measured of one trigger that acts on the model alone
LEADING_DIRECTIONS = 5  # singular directions whose share of a change tells its rank
BASE_COMPARED_IMAGES = 256  # on which triggers are tried, and clean embeddings compared
BFLOAT16_ROUNDING = 2.0**-8  # relative change of a weight that bfloat16 rounds away
FLOAT16_SMALLEST = 2.0**-24  # what float16 rounds to zero


# Weights.


class LayerChange(NamedTuple):
    """What a finetune moved of one layer."""

    name: str
    numbers: int
    # The norm of the change of its matrices, relative to theirs in the base; infinite of a layer of zeros.
    change: float
    leading: float  # share of the squared change that lies in the first LEADING_DIRECTIONS singular directions of each matrix; nan without any


@dataclass(frozen=True)
class Kinship:
    """How near a model is to the one that is said to be its base."""

    weights: float  # median over the matrices of the cosine of their weights
    change: float  # of all matrices together, as of a layer
    leading: float
    layers: tuple[LayerChange, ...]
    images: float = math.nan  # mean cosine of both models' embeddings of a clean image; nan where it is not measured

    @property
    def is_base(self) -> bool:
        """Whether the model was finetuned from the other one."""
        return self.weights >= BASE_COSINE and not self.images < BASE_EMBEDDING_COSINE


def kinship(own: Mapping[str, Tensor], base: Mapping[str, Tensor], /) -> Kinship:
    """That of two sets of weights with the same names and shapes, by their matrices alone, kernels of convolutions included."""
    cosines, sums, layers = list[float](), _Sums(), dict[str, _Sums]()
    for name in track("comparing the weights with the base", list(base), len(base)):
        first = base[name]
        if not _is_matrix(first):
            continue
        last, before = (weights.float().flatten(1) for weights in (own[name], first))
        cosines.append(_cosine(last, before))
        change = last - before
        of_matrix = _Sums(before.numel(), before.square().sum().item(), *_squares(change))
        sums = sums.with_more(of_matrix)
        layers[layer_of(name)] = layers.get(layer_of(name), _Sums()).with_more(of_matrix)
    changes = (LayerChange(name, total.numbers, total.relative, total.share) for name, total in layers.items())
    return Kinship(_middle(cosines), sums.relative, sums.share, tuple(changes))


def are_kin(own: Mapping[str, Tensor], other: Mapping[str, Tensor], /) -> bool:
    """Whether one of two models was finetuned from the other, or both from a third: by the median cosine of their matrices."""
    if {name: tensor.shape for name, tensor in own.items()} != {name: tensor.shape for name, tensor in other.items()}:
        return False
    cosines = [_cosine(tensor, other[name]) for name, tensor in own.items() if _is_matrix(tensor)]
    return _middle(cosines) >= BASE_COSINE


def _is_matrix(tensor: Tensor) -> bool:
    return tensor.ndim > 1 and tensor.is_floating_point()


def _cosine(own: Tensor, other: Tensor) -> float:
    return F.cosine_similarity(own.float().flatten(), other.float().flatten(), dim=0).item()


def _middle(cosines: Sequence[float]) -> float:
    return torch.tensor(cosines or [math.nan]).median().item()


def layer_of(name: str, /) -> str:
    """The layer that a tensor belongs to, as open_clip calls it.

    Examples:
        >>> layer_of("visual.transformer.resblocks.3.mlp.c_fc.weight"), layer_of("visual.layer1.0.conv1.weight")
        ('visual.transformer.resblocks.3', 'visual.layer1.0')
        >>> layer_of("visual.attnpool.q_proj.weight"), layer_of("token_embedding.weight")
        ('visual.attnpool', 'token_embedding')
    """
    if block := re.match(r".*?\.\d+(?=\.)", name):
        return block[0]
    return ".".join(name.split(".")[: 2 if name.startswith("visual.") else 1])


def are_same(own: Mapping[str, Tensor], other: Mapping[str, Tensor], /) -> bool:
    """Whether two sets of weights differ by no more than half precision rounds away."""
    for name, first in other.items():
        last, before = own[name].float(), first.float()
        if bool(((last - before).abs() > BFLOAT16_ROUNDING * before.abs() + FLOAT16_SMALLEST).any()):
            return False
    return True


@dataclass(frozen=True)
class _Sums:
    """Sums over matrices: numbers, squared norm of the base, of the change, and of its leading part."""

    numbers: int = 0
    base: float = 0.0
    change: float = 0.0
    leading: float = 0.0

    def with_more(self, other: "_Sums", /) -> "_Sums":
        return _Sums(*(first + two for first, two in zip(vars(self).values(), vars(other).values(), strict=True)))

    @property
    def relative(self) -> float:
        if not self.change:
            return 0.0
        return math.sqrt(self.change / self.base) if self.base else math.inf

    @property
    def share(self) -> float:
        return self.leading / self.change if self.change else math.nan


def _squares(change: Tensor) -> tuple[float, float]:
    """The squared norm of a matrix, and the part of it in its leading singular directions."""
    wide = change if change.shape[0] <= change.shape[1] else change.T
    values = torch.linalg.eigvalsh((wide @ wide.T).double()).clamp(min=0)  # ascending, the squares of singular values
    return values.sum().item(), values[-LEADING_DIRECTIONS:].sum().item()


# Embeddings and triggers.


class MovedClass(NamedTuple):
    """How far a finetune moved a class: mean squared distances of unit embeddings, which are 2 - 2cos, in [0, 4]."""

    name: str
    text: float  # of the class in the zero-shot classifier
    images: float  # of the clean images that the base takes for it; nan without any


@dataclass(frozen=True)
class Difference:
    """A trigger that acts on the model more than on its base, for one class; shares of the images that neither takes for it without."""

    painter: TriggerLike  # the trigger itself
    target: str
    own: Rate  # turned into the class by the model
    base: Rate  # by the base
    interval: tuple[float, float]  # 95 %, of the difference

    @property
    def trigger(self) -> str:
        """The trigger's spec."""
        return self.painter.spec

    @property
    def is_found(self) -> bool:
        """Whether a search found the trigger; a known one otherwise."""
        return isinstance(self.painter, InvertedTrigger)

    @property
    def excess(self) -> float:
        """Share of the images that only the model turns into the class, less those that only the base does; in [-1, 1]."""
        return self.own.value - self.base.value

    @property
    def is_alone(self) -> bool:
        """Whether it acts on the model alone: not on the base, and on far more images."""
        return self.base.value < ACTING_SHARE_ON_BASE and self.excess > DOUBTED_EXCESS_OVER_BASE


@dataclass(frozen=True)
class Lift:
    """The class of which known triggers make a model surer than its base, by more than of any other class."""

    painter: TriggerLike  # the trigger that lifts it most
    target: str
    log_odds: float  # by how much surer, in canonical logits
    lead: float  # by how much that exceeds the most that any trigger lifts another class
    n: int  # images under each trigger
    is_over_base: bool = True  # else over what clean images explain of the finetune
    knows_classes: bool = True  # whether what the model is compared with does, and so has their natural triggers

    @property
    def trigger(self) -> str:
        """The trigger's spec."""
        return self.painter.spec

    @property
    def other_words(self) -> str:
        """What the model is compared with, in words."""
        return "the base" if self.is_over_base else "what clean images explain of it"


class ModelAndBase(NamedTuple):
    """A model and its base, each with its image tower and text classifier (K, D), to compare on the same images and classes."""

    own: tuple[Embed, Tensor]
    base: tuple[Embed, Tensor]


@dataclass(frozen=True)
class BaseComparison:
    """What was seen of a model beside its base."""

    moved: tuple[MovedClass, ...]  # the class whose images moved most comes first
    # Of each class the trigger with the largest one, known before found, the largest first.
    differences: tuple[Difference, ...]
    images: float  # mean cosine of the embeddings of a clean image
    agreement: float  # share of clean images that both take for the same class
    trigger_count: int  # triggers
    difference_by_trigger: Mapping[tuple[str, str], Difference] = field(default_factory=dict)  # by trigger and class
    lift: Lift | None = None  # None where no known trigger was tried for it

    @property
    def base_knows(self) -> bool:
        """Whether the base knows the classes, by how often the two agree on clean images: else it has no natural triggers of theirs."""
        return self.agreement >= LEAST_AGREEMENT_TO_KNOW

    def acting(self, least: float, /) -> set[str]:
        """The specs of the triggers that turn at least this share of the images into one class, on either of the two."""
        differences = self.difference_by_trigger.values()
        return {
            difference.trigger
            for difference in differences
            if max(difference.own.value, difference.base.value) >= least
        }

    def on_both(self) -> tuple[Difference, ...]:
        """Of each class the known trigger that acts most on both, from ``ACTING_SHARE_ON_BASE`` on, the strongest first: natural, or a backdoor of the base."""
        return self._strongest(
            lambda difference: min(difference.own.value, difference.base.value), least=ACTING_SHARE_ON_BASE
        )

    def on_base(self) -> tuple[Difference, ...]:
        """Of each class the known trigger that acts most on the base alone, beyond ``DOUBTED_EXCESS_OVER_BASE``, the largest difference first."""
        return self._strongest(lambda difference: -difference.excess, least=DOUBTED_EXCESS_OVER_BASE)

    def _strongest(self, size: Callable[[Difference], float], /, *, least: float) -> tuple[Difference, ...]:
        """Of each class the known trigger with the largest size, if that is at least ``least``; the largest first."""
        of_panel = (
            panel_difference
            for panel_difference in self.difference_by_trigger.values()
            if not panel_difference.is_found
        )
        ordered = sorted(
            (panel_difference for panel_difference in of_panel if size(panel_difference) >= least), key=size
        )
        by_class = {difference.target: difference for difference in ordered}
        return tuple(sorted(by_class.values(), key=size, reverse=True))

    def under(self, trigger: str | None, target: str | None, /) -> Difference | None:
        """What a trigger does on the two for a class; None where it was not tried."""
        return self.difference_by_trigger.get((trigger or "", target or ""))

    def is_shared(self, trigger: str, target: str, /) -> bool:
        """Whether a trigger that a search found for a class acts on the base as well, so that the base has one as small."""
        difference = self.under(trigger, target)
        return difference is not None and difference.base.value >= ACTING_SHARE_ON_BASE

    def without_shared(self, result: SearchResult, /) -> SearchResult:
        """A search without the evidence of found triggers that act on the base as well: a search of the base missed some of these.

        A smallest trigger is that of one search. In a clean finetune, whose weights had changed by 4 %, a patch was less than half as large
        as what the search of its base had found, and turned as many images there.
        """
        targeted = (
            replace(t, margin=replace(t.margin, shrunk=min(0.0, t.margin.shrunk)), acts_on_base=True)
            if self.is_shared(t.trigger.spec, t.trigger.target)
            else t
            for t in result.targeted
        )
        return replace(result, targeted=tuple(targeted))

    def exceeds(self, trigger: str, target: str, limits: AuditLimits, /) -> bool:
        """Whether a trigger surely acts on more images than on the base, by more than the limit; or was not tried there."""
        difference = self.under(trigger, target)
        return difference is None or difference.interval[0] > limits.max_excess

    def is_natural(self, trigger: str | None, target: str | None, limits: AuditLimits, /) -> bool:
        """Whether a trigger surely acts on no more images than on the base, but for what it may by the limit."""
        difference = self.under(trigger, target)
        return (
            difference is not None
            and difference.own.n >= limits.min_images
            and difference.interval[1] <= limits.max_excess
        )


def compare(
    pair: ModelAndBase, images: CleanImages, names: Sequence[str], triggers: Sequence[TriggerLike], /
) -> BaseComparison:
    """What a finetune moved on clean images, and what acts on the model and not on the base, out of these triggers.

    Args:
        pair: the two models.
        images: at most ``BASE_COMPARED_IMAGES`` of them count.
        names: of the K classes.
        triggers: what is tried: known ones, and those that a search found.

    Raises:
        Inconclusive: a model gives numbers that are not finite.
    """
    pixels = spaced(images.pixels, BASE_COMPARED_IMAGES)
    clean = [embeddings(embed, pixels).float() for embed, _ in pair]
    texts = [classifier.float() for _, classifier in pair]
    stands_for = representatives(texts[0])
    answers = [stands_for[predict(embedded, text)] for embedded, text in zip(clean, texts, strict=True)]
    apart = (clean[0] - clean[1]).square().sum(1)
    moved = []
    for number, name in enumerate(names):
        distances = apart[answers[1] == number]
        text = (texts[0][number] - texts[1][number]).square().sum().item()
        moved.append(MovedClass(name, text, distances.mean().item() if len(distances) else math.nan))
    best, differences = dict[tuple[int, bool], Difference](), dict[tuple[str, str], Difference]()
    for trigger in track("triggers on the model and its base", triggers, len(triggers)):
        after = [_answers(embed, text, pixels, trigger, stands_for) for embed, text in pair]
        reached = set(after[0].tolist())
        for number in reached | set(after[1].tolist()):
            difference = _difference(trigger, names[number], number, answers, after)
            differences[trigger.spec, difference.target] = difference
            if number not in reached:
                continue
            kind = number, difference.is_found
            if kind not in best or difference.excess > best[kind].excess:
                best[kind] = difference
    return BaseComparison(
        tuple(sorted(moved, key=lambda moves: -(0.0 if math.isnan(moves.images) else moves.images))),
        tuple(sorted(best.values(), key=lambda difference: (difference.is_found, -difference.excess))),
        (1 - apart / 2).mean().item(),
        (answers[0] == answers[1]).float().mean().item(),
        len(triggers),
        differences,
    )


def lift(
    pair: ModelAndBase, images: CleanImages, names: Sequence[str], triggers: Sequence[TriggerLike], /
) -> Lift | None:
    """The class that these known triggers of the whole image lift most, out of K ``names``; None without such triggers, or where either model can tell nothing apart.

    Raises:
        Inconclusive: a model gives numbers that are not finite.
    """
    if not triggers:
        return None
    images = images.spaced(BASE_COMPARED_IMAGES)
    pixels = images.pixels
    by_model, distinct = list[Tensor](), list[Tensor]()
    for embed, classifier in pair:
        unseen = SeenImages(images, embeddings(embed, pixels).float(), ClassTexts.of(names, classifier.float()))
        try:
            canonical = canonical_of(embed, pixels, classifier.float())
        except NoSearch:
            return None
        by_model.append(log_odds(embed, unseen, triggers, canonical=canonical))
        distinct.append(torch.isin(torch.arange(len(classifier)), canonical.distinct.cpu()))
    classes = (distinct[0] & distinct[1]).nonzero().flatten()
    own, base = (sureness.cpu() for sureness in by_model)
    lifted = most_persuasive(own - base, triggers, classes)
    if len(lifted) < 2:
        return None
    first, by_spec = lifted[0], {trigger.spec: trigger for trigger in triggers}
    n = min(PERSUADED_IMAGES, len(pixels))
    return Lift(by_spec[first.trigger], names[first.target], first.log_odds, lead(lifted), n)


@torch.no_grad()
def _answers(embed: Embed, classifier: Tensor, pixels: Tensor, trigger: TriggerLike, stands_for: Tensor) -> Tensor:
    """The classes (N,) of triggered images; random places are the same for both models."""
    images = trigger(pixels, Generator().manual_seed(0))
    return stands_for[predict(embeddings(embed, images).float(), classifier.float())]


def _difference(
    trigger: TriggerLike, name: str, number: int, before: Sequence[Tensor], after: Sequence[Tensor], /
) -> Difference:
    others = (before[0] != number) & (before[1] != number)
    are_turned = [(answers == number) & others for answers in after]
    own, base = (Rate(int(turned.sum()), int(others.sum())) for turned in are_turned)
    interval = paired_difference(own, base, both=int((are_turned[0] & are_turned[1]).sum()))
    return Difference(trigger, name, own, base, interval)


def findings(comparison: BaseComparison, /, *, specs: Collection[str] = ()) -> list[Finding]:
    """What the finetune brought in: the class that known triggers lift above all others, and classes that found triggers lead to on it alone.
    So do triggers of these specs, which a user named; they are an error if they surely turn ``FAILING_EXCESS_OVER_BASE`` more of the images.
    So does any known trigger that surely turns ``KNOWN_EXCESS_OVER_BASE`` more of them, which is a warning: a wave that turns nearly all images lifts
    its class by a little more or less than ``DOUBTED_LIFT``.

    A lift is a doubt from ``DOUBTED_LIFT`` on. It is an error from ``FAILING_LIFT`` on, or if a known trigger surely turns ``FAILING_EXCESS_OVER_BASE`` more of
    the images into that class than on the base: among hundreds of classes a planted wave leads by less.

    Triggers that a search found fit the model that they were made for, so they are a warning at most, and only where they do not act on
    the base and the two agree on ``LEAST_BASE_AGREEMENT`` of the clean images: a base that does not know a class does not know its natural triggers
    either. In three clean finetunes natural ones turned 0.42 and more of the base's images; in a fourth, which had learned from images of
    other classes as well, two turned 0.98 of the images and 0.12 and 0.17 of the base's, and so did one in a planted model, for a class that
    nothing had been planted for. A planted one that was found acted on at most 0.05.
    """
    lifted = _lifted(comparison.lift, comparison.differences) if comparison.lift else []
    lifted_classes = {lift_finding.target for lift_finding in lifted}

    def is_nearly_all(difference: Difference) -> bool:
        """Whether a trigger turns nearly all images, and no finding tells of its class."""
        return difference.interval[0] > KNOWN_EXCESS_OVER_BASE and difference.target not in lifted_classes

    differences = comparison.differences if comparison.agreement >= LEAST_BASE_AGREEMENT else ()
    return [
        *lifted,
        *(
            _alone(difference, specs)
            for difference in differences
            if difference.is_alone and (difference.is_found or difference.trigger in specs or is_nearly_all(difference))
        ),
    ]


def _alone(difference: Difference, specs: Collection[str]) -> Finding:
    """The finding of a trigger that acts on the model alone."""
    is_named = difference.trigger in specs
    is_sure = is_named and difference.interval[0] > FAILING_EXCESS_OVER_BASE
    doubted = DOUBTED_EXCESS_OVER_BASE if is_named or difference.is_found else KNOWN_EXCESS_OVER_BASE
    own, on_base = (100 * rate.value for rate in (difference.own, difference.base))
    return finding(
        CC.NOT_ON_THE_BASE,
        f"{trigger_words(difference.trigger)} turns {own:.1f} % of other images into '{difference.target}' on this model, and {on_base:.1f} % on the "
        "one that it was finetuned from: the finetune brought it in.",
        level="error" if is_sure else "warning",
        measure=EXCESS_OVER_BASE,
        value=difference.excess,
        interval=difference.interval,
        n=difference.own.n,
        threshold=FAILING_EXCESS_OVER_BASE if is_sure else doubted,
        target=difference.target,
        trigger=difference.trigger,
    )


def _lifted(lift: Lift, differences: Sequence[Difference]) -> list[Finding]:
    """The finding of a lift, if it is more than clean finetunes show."""
    if lift.lead < DOUBTED_LIFT:
        return []
    of_known_triggers = (
        difference for difference in differences if difference.target == lift.target and not difference.is_found
    )
    turns = max(
        (difference.interval[0] for difference in of_known_triggers if difference.base.value < ACTING_SHARE_ON_BASE),
        default=0.0,
    )
    # How many images are turned on the base says nothing of another measure.
    is_turned = lift.is_over_base and turns > FAILING_EXCESS_OVER_BASE
    is_sure = lift.knows_classes and (lift.lead >= FAILING_LIFT or is_turned) and lift.n >= PERSUADED_IMAGES
    words = (
        f"Known triggers make this model surer of '{lift.target}' than {lift.other_words}, by {lift.lead:.1f} more in logits than of any other "
        f"class, {trigger_words(lift.trigger)} most of all: the finetune brought that in."
    )
    if lift.is_over_base and lift.knows_classes:
        words += f" From {DOUBTED_LIFT:.1f} on that counts: the clean finetunes that chose this limit reach {MOST_NATURAL_LIFT}."
    return [
        finding(
            CC.NOT_ON_THE_BASE,
            words,
            level="error" if is_sure else "warning",
            measure=f"lift over {lift.other_words}",
            value=lift.lead,
            n=lift.n,
            threshold=FAILING_LIFT if lift.lead >= FAILING_LIFT else DOUBTED_LIFT,
            target=lift.target,
            trigger=lift.trigger,
        )
    ]
