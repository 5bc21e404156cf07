"""Measuring one model on one set of images: clean accuracy, and the effect of each known trigger."""

import contextlib
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar

import torch
from torch import Generator, Tensor

from clipclean import data, deadline, model
from clipclean.detect import metrics, zeroshot
from clipclean.detect.metrics import Rate
from clipclean.detect.suspicion import Suspicion, TriggerLike
from clipclean.detect.zeroshot import EMBED_BATCH
from clipclean.errors import Inconclusive
from clipclean.progress import step
from clipclean.schema.part import finite
from clipclean.schema.report import DifferenceRecord, MeasurementsRecord, ProbeRecord, RateRecord, SearchRecord

Embed = Callable[[Tensor], Tensor]  # images (B, 3, S, S) in [0, 1] -> unit embeddings (B, D)
EmbedTexts = Callable[[list[str]], Tensor]  # captions -> unit embeddings (B, D)
Several = TypeVar("Several", Tensor, tuple[data.Pair, ...], list[int])
BRIEF_PANEL_IMAGES = 64  # that each trigger of the panel is put on first
LONGER_IMAGES = 256  # at most, if it is loud there
LOUD_EXCESS = 0.1  # an excess there; of a suspicious one (0.3 by default) less is seen once in ten thousand times
BESIDE_EXCESS = 0.1  # excess of another class that a trigger leads to as well
EXACT_ONE_IN = 8  # of so many images one is embedded exactly as well, where a rounded tower looks


@dataclass(frozen=True)
class Probe(zeroshot.Attack):
    """One trigger, one target, and their measures, as defined in :mod:`zeroshot` and :mod:`metrics`."""

    trigger: str  # its spec
    target: str  # name of the class
    accuracy_under_trigger: Rate | None  # triggered images classified as their label; None without labels
    knn_asr: Rate | None  # attack success among image neighbours; None if it was not measured
    distance: float  # embedding distance of triggered from clean images, in [0, 4]
    spread: float  # of the triggered embeddings
    clean_spread: float  # of the clean ones
    n: int  # images probed
    # Other classes that the trigger turns at least ``BESIDE_EXCESS`` of the images into, by the excess of each.
    beside: Mapping[str, float] = field(default_factory=dict)

    def record(self, *, suspected: bool) -> ProbeRecord:
        """For a report; ``suspected`` says whether the trigger was named or found, and is not one of the panel."""
        excess = DifferenceRecord(value=finite(self.excess), interval=self.excess_interval, n=self.asr.n)
        return ProbeRecord.of(self, excess_asr=excess, suspected=suspected)


TINT = "colour-filter:"  # how the spec of a colour filter begins


@dataclass(frozen=True)
class KnownTriggers:
    """Triggers of published attacks, tried on every model; apart from suspicions, which are of one model."""

    panel: tuple[TriggerLike, ...] = ()  # measured one by one
    grid: tuple[TriggerLike, ...] = ()  # variants that count beside clean models, and that a cleaning is shown
    of_whole_image: tuple[TriggerLike, ...] = ()  # those by which a search without clean models persuades the model

    @property
    def panel_and_grid(self) -> tuple[TriggerLike, ...]:
        """The triggers of the panel and of the grid."""
        return (*self.panel, *self.grid)

    @property
    def by_spec(self) -> dict[str, TriggerLike]:
        """All of them, by their names in reports."""
        return {trigger.spec: trigger for trigger in (*self.panel_and_grid, *self.of_whole_image)}

    def without_variants(self) -> "KnownTriggers":
        """Of the grid its colour filters alone, which audits without clean models try as well: no search paints colours."""
        return replace(self, grid=tuple(trigger for trigger in self.grid if trigger.spec.startswith(TINT)))


NO_TRIGGERS = KnownTriggers()


@dataclass(frozen=True)
class CleanImages:
    """Clean images, and what is known of each."""

    pixels: Tensor  # (N, 3, S, S) in [0, 1]
    labels: Tensor | None = None  # (N,), places in the list of classes; with them accuracy is measured
    captions: tuple[str, ...] | None = None  # N of them; with them recall is measured
    knn: int = 0  # nearest images that vote in the k-NN attack success rate; 0 leaves it out

    def __len__(self) -> int:
        """How many there are."""
        return len(self.pixels)

    def at(self, rows: Sequence[int], /) -> "CleanImages":
        """Those at these places, without captions."""
        labels = None if self.labels is None else self.labels[rows]
        return replace(self, pixels=self.pixels[rows], labels=labels, captions=None)

    def spaced(self, most: int, /) -> "CleanImages":
        """At most so many of them, without captions."""
        labels = None if self.labels is None else spaced(self.labels, most)
        return replace(self, pixels=spaced(self.pixels, most), labels=labels, captions=None)

    def to(self, device: torch.device, /) -> "CleanImages":
        """The same with their pixels on a device."""
        return replace(self, pixels=self.pixels.to(device))


@dataclass(frozen=True)
class MeasurementPlan:
    """What is measured on clean images, the same for the model before and after."""

    suspicions: tuple[Suspicion[int | None], ...] = ()
    triggers: KnownTriggers = NO_TRIGGERS
    # Names of the suspicions that were named, or that a search was sure of; all others may be natural triggers. None is all.
    sure: frozenset[str] | None = None
    classifier: bool = True  # False: make the zero-shot classifier only if a measurement needs it
    scale: float = 100.0  # the original's factor on cosines before a softmax, positive, used before and after


@dataclass(frozen=True)
class EvalSet:
    """All that a measurement needs but the model."""

    images: CleanImages
    vocabulary: data.Vocabulary
    plan: MeasurementPlan = MeasurementPlan()

    def suspecting(self, suspicions: Iterable[Suspicion[int | None]], /) -> "EvalSet":
        """The same, to measure under these suspicions."""
        return replace(self, plan=replace(self.plan, suspicions=tuple(suspicions)))

    def trying(self, triggers: KnownTriggers, /) -> "EvalSet":
        """The same with these known triggers."""
        return replace(self, plan=replace(self.plan, triggers=triggers))

    def under(self, suspicions: Iterable[Suspicion[int | None]], /) -> "EvalSet":
        """The same images, to measure under these suspicions and without the panel."""
        return self.suspecting(suspicions).trying(replace(self.plan.triggers, panel=()))


class ClassTexts(NamedTuple):
    """The classes as one model reads them."""

    names: tuple[str, ...]  # K of them
    text_classifier: Tensor  # (K, D)
    representatives: Tensor  # (K,), the place of the class that stands for each: an attack on one of them is one on all

    @classmethod
    def of(cls, names: Sequence[str], text_classifier: Tensor, /) -> "ClassTexts":
        """The classes of these names by their zero-shot classifier (K, D)."""
        return cls(tuple(names), text_classifier, zeroshot.representatives(text_classifier))

    def answers(self, embeddings: Tensor, /) -> Tensor:
        """The predicted classes (N,) of images by their embeddings (N, D), of those that stand for themselves."""
        return self.representatives[zeroshot.predict(embeddings, self.text_classifier)]


class SeenImages(NamedTuple):
    """Images as one model sees them: all that a probe needs."""

    images: CleanImages
    embeddings: Tensor  # (N, D)
    classes: ClassTexts

    def answers(self, embeddings: Tensor, /) -> Tensor:
        """The predicted classes (N,) of images by their embeddings (N, D), of those that stand for themselves."""
        return self.classes.answers(embeddings)

    def spaced(self, most: int, /) -> "SeenImages":
        """At most so many of the images, without captions."""
        return self._replace(images=self.images.spaced(most), embeddings=spaced(self.embeddings, most))


@dataclass(frozen=True)
class Accuracy:
    """A rate of correct answers on clean images."""

    rate: Rate
    correct: Tensor  # (N,) bool, which pairs two measurements image by image; empty if accuracy was not measured
    definition: str
    labels: Tensor | None = None  # (N,), places of the right classes; None where accuracy is recall

    def record(self) -> RateRecord:
        """For a report."""
        return self.rate.record().model_copy(update={"definition": self.definition})


@dataclass(frozen=True)
class Measurement:
    """The measurement of one model, on the CPU: several processes share it, and a search resumes from it.

    Its values are plain, or of ``jobs.saved_search.SAVED_KINDS``. ``text_classifier`` (K, D), of classes, is empty if no measure needed one.
    """

    accuracy: Accuracy
    suspected: tuple[Probe, ...]  # of the triggers that were named or found
    panel: tuple[Probe, ...]
    knn: int
    text_classifier: Tensor
    recall: Accuracy | None = None  # beside an accuracy by labels
    agreement: Rate | None = None  # of the classes of images and of their captions, where there are no labels
    confidence: Tensor | None = None  # (N, K), how likely each class is to the model; None without a classifier
    natural: frozenset[str] = frozenset()  # triggers of the panel, by a comparison; they cause no warning
    sure: frozenset[str] | None = None  # of the images' suspicions; None is all
    untried: int = 0  # triggers of the panel that were not tried before the deadline
    is_rounded: bool = False  # whether the image tower may be rounded to search; it then was for looks at the panel

    def is_sure(self, trigger: str, /) -> bool:
        """Whether a suspected trigger that acts shows a backdoor: clean models have natural triggers, and a search names some of them."""
        return self.sure is None or trigger in self.sure

    def record(self) -> MeasurementsRecord:
        """``measurements`` of the report, without a search."""
        probes = (*(p.record(suspected=True) for p in self.suspected), *(p.record(suspected=False) for p in self.panel))
        record = MeasurementsRecord(
            clean_accuracy=self.accuracy.record(),
            probes=probes,
            knn=self.knn,
            search=SearchRecord(),
            distances={probe.trigger: probe.distance for probe in probes},
        )
        return record.model_copy(update={"recall": self.recall.record()}) if self.recall else record


def measure(
    embed_images: Embed,
    embed_texts: EmbedTexts,
    eval_set: EvalSet,
    /,
    *,
    what: str = "",
    may_round: Callable[[Tensor], bool] | None = None,
) -> Measurement:
    """One clean embedding pass and one text classifier, shared by every probe.

    Args:
        embed_images: pixels (B, 3, S, S) in [0, 1] -> unit embeddings (B, D).
        embed_texts: captions -> unit embeddings (B, D).
        eval_set: images, vocabulary and triggers.
        what: names the model in the progress, which is told after each part; empty tells nothing.
        may_round: text classifier (K, D) -> whether the image tower may look at the panel in bfloat16; never without it.

    Raises:
        OutOfTime: time is over before the triggers of the panel are tried.
    """
    clean_images, plan, to_try = eval_set.images, eval_set.plan, eval_set.plan.triggers.panel
    is_asked = bool(plan.classifier or clean_images.labels is not None or plan.suspicions or to_try)
    text_classifier, total = torch.zeros(0, 0), 1 + len(plan.suspicions) + len(to_try)

    def tell(done: int) -> None:
        if what:
            step(what, done, total)

    tell(0)
    if is_asked:  # a thousand classes are seven thousand captions, minutes on a processor
        vocabulary = eval_set.vocabulary
        text_classifier = zeroshot.classifier(embed_texts, vocabulary.classes, templates=vocabulary.templates)
    clean = embeddings(embed_images, clean_images.pixels)
    tell(1)
    accuracy = _accuracy(clean, text_classifier, clean_images)
    recall, agreement = _by_captions(clean, embed_texts, text_classifier, clean_images)
    confidence = (plan.scale * clean.to(text_classifier.dtype) @ text_classifier.T).softmax(1) if is_asked else None
    images = SeenImages(clean_images, clean, ClassTexts.of(eval_set.vocabulary.classes, text_classifier))
    fast = rounded(embed_images) if may_round and is_asked and may_round(text_classifier) else None
    look = looking(embed_images, fast, images.answers)
    suspected, panel = list[Probe](), list[Probe]()
    for trigger, target in plan.suspicions:
        suspected.append(probe(embed_images, images, trigger=trigger, target=target))
        tell(1 + len(suspected))
    with contextlib.suppress(deadline.OutOfTime):
        for trigger in to_try:
            panel.append(brief_probe(embed_images, images, trigger, look=look))
            tell(1 + len(suspected) + len(panel))
    return Measurement(
        accuracy=accuracy or recall or UNMEASURED,
        sure=plan.sure,
        suspected=tuple(suspected),
        panel=tuple(sorted(panel, key=lambda p: -p.excess)),
        knn=clean_images.knn,
        text_classifier=text_classifier.cpu(),
        recall=recall if accuracy else None,
        agreement=agreement,
        confidence=None if confidence is None else confidence.cpu(),
        untried=len(to_try) - len(panel),
        is_rounded=fast is not None,
    )


def rounded(embed: Embed, /) -> Embed:
    """``embed`` in bfloat16."""

    def reduced(images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, dtype=torch.bfloat16):
            return embed(images).float()

    return reduced


def looking(exact: Embed, fast: Embed | None, answers: Callable[[Tensor], Tensor], /) -> Embed:
    """The rounded image tower for the batches of which the exact one gives a part the same ``answers``; the exact one for others.

    For looks at what mostly does nothing: a trigger that acts on a third of the images, and that rounding hides, is missed once in a
    hundred batches of 100. Without a rounded tower it is the exact one itself.
    """
    if fast is None:
        return exact

    def look(images: Tensor) -> Tensor:
        rough = fast(images)
        same = answers(exact(images[::EXACT_ONE_IN])) == answers(rough[::EXACT_ONE_IN])
        return rough if bool(same.all()) else exact(images)

    return look


def brief_probe(embed: Embed, images: SeenImages, trigger: TriggerLike, /, *, look: Embed) -> Probe:
    """The effect of a trigger of the panel: as ``look`` sees it on a few images, or on more where it is loud on those."""
    if len(images.embeddings) >= 2 * BRIEF_PANEL_IMAGES:
        brief = probe(look, images.spaced(BRIEF_PANEL_IMAGES), trigger=trigger, target=None)
        if brief.excess < LOUD_EXCESS:
            return brief
    return probe(embed, images.spaced(LONGER_IMAGES), trigger=trigger, target=None)


UNMEASURED = Accuracy(
    Rate(0, 0), torch.zeros(0, dtype=torch.bool), "not measured: the images have neither labels nor captions"
)


def _accuracy(clean: Tensor, text_classifier: Tensor, images: CleanImages) -> Accuracy | None:
    """Zero-shot top-1; None without labels."""
    if images.labels is None:
        return None
    labels = images.labels.cpu()
    correct = zeroshot.predict(clean, text_classifier).cpu() == labels
    definition = f"zero-shot top-1 over {len(text_classifier)} classes"
    return Accuracy(Rate(int(correct.sum()), len(correct)), correct, definition, labels)


def _by_captions(
    clean: Tensor, embed: EmbedTexts, classes: Tensor, images: CleanImages
) -> tuple[Accuracy | None, Rate | None]:
    """Image-to-text recall@1 among the captions; without labels also how often an image and its caption are nearest to one class."""
    if (captions := images.captions) is None:
        return None, None
    texts = torch.cat([embed(list(captions[i : i + EMBED_BATCH])) for i in range(0, len(captions), EMBED_BATCH)])
    nearest = zeroshot.predict(clean, texts).tolist()
    # By words, not by place: of two images with one caption either is right.
    correct = torch.tensor([captions[answer] == own for answer, own in zip(nearest, captions, strict=True)])
    definition = f"image-to-text recall@1 among {len(captions)} clean pairs"
    recall = Accuracy(Rate(int(correct.sum()), len(correct)), correct, definition)
    if images.labels is not None or not len(classes):
        return recall, None
    same = zeroshot.predict(clean, classes) == zeroshot.predict(texts, classes)
    return recall, Rate(int(same.sum()), len(same))


def stack(images: Sequence[data.Image], /) -> Tensor:
    """Images fitted to the model, before its normalisation: (N, 3, S, S) in [0, 1]."""
    return model.unit_range(data.stack(images))


def spaced(images: Several, most: int, /) -> Several:
    """At most so many of some images, evenly spaced over all of them: folders come class by class.

    A step of whole images would leave out the end: of 400 images by a step of one the 256 are the first.
    """
    count = len(images)
    if count <= most:
        return images
    rows = [number * count // most for number in range(most)]
    return images[rows] if isinstance(images, Tensor) else type(images)(images[row] for row in rows)


def probe(embed: Embed, unseen: SeenImages, /, *, trigger: TriggerLike, target: int | None) -> Probe:
    """Measure the effect of ``trigger`` on a model.

    Random places depend on the trigger's spec and on the image's number, not on the batch size.

    Args:
        embed: images (B, 3, H, W) in [0, 1], before CLIP's normalisation, to unit embeddings (B, D).
        unseen: the images, with embeddings of the same ``embed``.
        trigger: what to apply.
        target: place of the target among the classes; None for the class on which triggered predictions concentrate most
            beyond the base rate.

    Raises:
        Inconclusive: no images, or embeddings that are not finite.
    """
    images, clean, classes = unseen.images, unseen.embeddings, unseen.classes
    triggered, labels = embeddings(embed, images.pixels, trigger=trigger), images.labels
    exact, before, after = (
        zeroshot.predict(triggered, classes.text_classifier),
        unseen.answers(clean),
        unseen.answers(triggered),
    )
    # Without labels the model's own predictions stand in, see :func:`zeroshot.attack_success`.
    truth = before if labels is None else classes.representatives[labels.to(before.device)]
    shares = zeroshot.excess_by_class(before, after, labels=truth, classes=len(classes.representatives))
    if target is None:
        # By excess: a class that many images are taken for anyway would else be the target of every trigger.
        target = int(shares.argmax())
    representative = int(classes.representatives[target])
    beside = {
        classes.names[number]: shares[number].item()
        for number in (shares >= BESIDE_EXCESS).nonzero().flatten().tolist()
    }
    beside.pop(classes.names[representative], None)
    attack = zeroshot.attack_success(before, after, labels=truth, target=representative)
    return Probe(
        **vars(attack),
        trigger=trigger.spec,
        target=classes.names[target],
        accuracy_under_trigger=None
        if labels is None
        else zeroshot.accuracy_under_trigger(exact, labels.to(exact.device)),
        knn_asr=zeroshot.knn_attack_success(clean, truth, triggered, target=representative, k=images.knn)
        if images.knn
        else None,
        distance=metrics.shift(clean, triggered),
        spread=metrics.spread(triggered),
        clean_spread=metrics.spread(clean),
        n=len(images),
        beside=beside,
    )


@torch.no_grad()
def embeddings(
    embed: Embed, pixels: Tensor, *, trigger: TriggerLike | None = None, batch_size: int = EMBED_BATCH
) -> Tensor:
    """Embeddings (N, D) of images (N, 3, H, W) in batches, under the trigger if one is given.

    Raises:
        Inconclusive: no images.
    """
    if not len(pixels):
        raise Inconclusive("There are no images to probe the model with. Give some.")
    batches = torch.split(pixels, batch_size)
    if trigger is None:
        return torch.cat([embed(batch) for batch in batches])
    # crc32, as Python's own hash is salted: the same trigger stands at the same places in every run.
    draws = Generator().manual_seed(zlib.crc32(trigger.spec.encode()))
    return torch.cat([embed(trigger(batch, draws)) for batch in batches])
