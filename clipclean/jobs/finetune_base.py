"""The base of a finetuned model: read like every model, compared with it in weights, and tried with every trigger that acts on it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch

from clipclean import checkpoint, detect, model
from clipclean.config.thresholds import BASE_COSINE
from clipclean.detect.finetune_base import BASE_COMPARED_IMAGES, BaseComparison, Difference, Kinship, ModelAndBase, lift
from clipclean.detect.finetune_base import compare as compare_models
from clipclean.errors import Inconclusive, UsageError
from clipclean.findings import CC, Finding, finding
from clipclean.jobs import opening
from clipclean.jobs.measured_images import Pairs
from clipclean.jobs.opening import OpenedCheckpoint, Source
from clipclean.methods.towards_base import fitted_to_clean_images
from clipclean.progress import say
from clipclean.schema.report import BaseLayerRecord, BaseRecord, DifferenceOfTwoRecord, LiftRecord, MovedClassRecord

# Of 1, 4 and 16, on the half that chooses: benchmarks/results/tried.md.
EXPLAINED_DAMPING = 1
MOMENT_IMAGES = 32  # at a time


@dataclass(frozen=True)
class Base:
    """The model that another one is said to be finetuned from, read and not yet built, and how near it is by its weights."""

    checkpoint: OpenedCheckpoint
    weights: Kinship

    @property
    def digests(self) -> frozenset[str]:
        """The SHA-256 of its file, and of its tensors, which other layouts of the same precision share."""
        file = self.checkpoint.file
        return frozenset((file.sha256, checkpoint.digest(file.tensors)))


def read(sources: tuple[Source, ...], tested: OpenedCheckpoint, /, *, arch: str | None) -> Base | None:
    """The base of the tested model, read as safely as the model itself; None where none was named.

    Raises:
        UsageError: several were named, or one of another architecture, or one with the weights of the tested model.
        RefusedInput: the file is unreadable, unsafe or of an unsupported kind.
    """
    if not sources:
        return None
    if len(sources) > 1:
        raise UsageError(
            f"--base: {len(sources)} models. A model was finetuned from one; give the others by --reference."
        )
    base = opening.read(sources[0], arch=arch)
    kinds = model.shape_of(base.architecture), model.shape_of(tested.architecture)
    shapes = ({name: tensor.shape for name, tensor in either.file.tensors.items()} for either in (base, tested))
    if kinds[0] != kinds[1] or next(shapes) != next(shapes):
        raise UsageError(
            f"The base {base.source.name} is a {kinds[0]} model, and the tested one {kinds[1]}: no finetune changes the shapes of "
            "weights. Name the model that this one was finetuned from."
        )
    own, other = tested.file.tensors, base.file.tensors
    if checkpoint.digest(own) == checkpoint.digest(other) or detect.are_same(own, other):
        raise UsageError(
            f"The base {base.source.name} has the same weights as the tested model, up to half precision: nothing was finetuned, so "
            "nothing can be told from it. Name another model as the base, or leave --base out."
        )
    return Base(base, detect.kinship(own, other))


def base_and_references(base: Base | None, references: Sequence[OpenedCheckpoint], /) -> tuple[OpenedCheckpoint, ...]:
    """The clean models to compare with: the base, then the references but for the base itself, which counts once."""
    if base is None:
        return tuple(references)
    base_digest = checkpoint.digest(base.checkpoint.file.tensors)
    return (
        base.checkpoint,
        *(reference for reference in references if checkpoint.digest(reference.file.tensors) != base_digest),
    )


@dataclass(frozen=True)
class LoadedBase:
    """The base as a model, and how near it is to the tested one by weights and by embeddings of clean images."""

    name: str
    clip: model.Clip
    kin: Kinship
    first: BaseComparison  # the tested model beside it, under no trigger
    expected: model.Clip  # what known triggers are compared with, whatever is cleaned: the base, or what clean images explain of the tested model
    checkpoint: OpenedCheckpoint

    def with_comparison(
        self, clip: model.Clip, eval_set: detect.EvalSet, audit: detect.AuditResult, /
    ) -> detect.AuditResult:
        """The audit of a model with the triggers that act on it and not on the base: known ones, and those that the search found.

        What was found and acts on the base as well is no evidence. Of a base that is none nothing is told: two strangers differ in what
        acts on them.
        """
        if not self.kin.is_base:
            return audit
        moving = {
            strength.trigger
            for search in audit.searches
            for strength in search.known
            if strength.excess >= detect.MOVING_EXCESS
        }
        moving |= {probe.trigger for probe in audit.measurement.panel if probe.excess >= detect.MOVING_EXCESS}
        # No other can act.
        known_triggers = [trigger for trigger in eval_set.plan.triggers.panel_and_grid if trigger.spec in moving]
        user_triggers = [trigger for trigger, _ in eval_set.plan.suspicions]
        own, *others = [reached(search) for search in audit.searches] or [[]]
        # Two searches call what they found for one class alike: that of the model's own normalisation comes last, and counts.
        triggers = {
            trigger.spec: trigger for several in (*others, own, known_triggers, user_triggers) for trigger in several
        }
        models = _models(clip, self.clip, eval_set)
        comparison = self.with_lift(compare_models(*models, [*triggers.values()]), clip, eval_set)
        audit = replace(audit, beside_base=comparison, search=audit.search and comparison.without_shared(audit.search))
        normalised = audit.clip_normalised
        if normalised is None or normalised.search is None:
            return audit
        own_clip, base_clip = (either.clip_normalised() or either for either in (clip, self.clip))
        triggers = {trigger.spec: trigger for trigger in (*user_triggers, *reached(normalised.search))}
        comparison = compare_models(*_models(own_clip, base_clip, eval_set), [*triggers.values()])
        search = comparison.without_shared(normalised.search)
        return replace(audit, clip_normalised=replace(normalised, search=search, beside_base=comparison))

    def enough_beside_base(
        self, is_enough: Callable[[detect.SearchResult], bool], clip: model.Clip, eval_set: detect.EvalSet, /
    ) -> Callable[[detect.SearchResult], bool]:
        """Whether a search of a model may end early: where it may without what acts on the base as well.

        Under two normalisations of pixels none does, since it is not told which one it searches under.
        """
        if not self.kin.is_base:
            return is_enough
        if clip.clip_normalised():
            return lambda result: False

        def is_enough_without(result: detect.SearchResult) -> bool:
            if not is_enough(result):
                return False
            comparison = compare_models(*_models(clip, self.clip, eval_set), reached(result))
            return is_enough(comparison.without_shared(result))

        return is_enough_without

    def under_known(self, clip: model.Clip, eval_set: detect.EvalSet, /) -> BaseComparison:
        """A model beside its base under the triggers that were named, and those of the panel that act on either; under none of a stranger."""
        if not self.kin.is_base:
            return self.first
        pair, images, names = models = _models(clip, self.clip, eval_set)
        known_triggers = eval_set.plan.triggers
        acting = compare_models(pair, images.spaced(detect.BRIEF_PANEL_IMAGES), names, known_triggers.panel).acting(
            detect.MOVING_EXCESS
        )
        user_triggers = [trigger for trigger, _ in eval_set.plan.suspicions]
        panel = [trigger for trigger in known_triggers.panel if trigger.spec in acting]
        trigger_count = len(user_triggers) + len(known_triggers.panel)
        comparison = self.with_lift(compare_models(*models, [*user_triggers, *panel]), clip, eval_set)
        return replace(comparison, trigger_count=trigger_count)

    def with_lift(self, comparison: BaseComparison, clip: model.Clip, eval_set: detect.EvalSet, /) -> BaseComparison:
        """The same with the class that known triggers lift over what is expected of a clean finetune."""
        known_triggers = eval_set.plan.triggers.of_whole_image
        if not known_triggers:
            return comparison
        lifted = lift(*_models(clip, self.expected, eval_set), known_triggers)
        is_over_base = self.expected is self.clip
        knows = not is_over_base or self.first.base_knows
        return replace(comparison, lift=lifted and replace(lifted, is_over_base=is_over_base, knows_classes=knows))

    def notes(self) -> list[Finding]:
        """That the model which was named as the base is none."""
        if self.kin.is_base:
            return []
        words = (
            f"{self.name} was named as the base, and this model was not finetuned from it: the cosine of their weights is "
            f"{self.kin.weights:.2f}, of their embeddings of clean images {self.kin.images:.2f}. An audit takes it as a reference."
        )
        return [
            finding(CC.BASE_IS_NONE, words, measure="cosine of weights", value=self.kin.weights, threshold=BASE_COSINE)
        ]

    def record(
        self, before: BaseComparison | None, after: BaseComparison | None = None, /, *, is_whole: bool = False
    ) -> BaseRecord:
        """``base`` of the report: of the tested model, and of the cleaned one if there is one.

        ``is_whole`` says that what acts on the base alone was tried as well.
        """
        source, file, kin = self.checkpoint.source, self.checkpoint.file, self.kin
        comparison = before or self.first
        more_fields: dict[str, object] = {"revision": source.revision} if source.revision else {}
        if comparison.lift:
            more_fields["lift"] = LiftRecord.of(comparison.lift)
        if kin.is_base:
            more_fields["on_both"] = _differences(comparison.on_both())
        if kin.is_base and is_whole:
            more_fields["on_base"] = _differences(comparison.on_base())
        return BaseRecord.of(
            kin,
            name=source.name,
            sha256=file.sha256,
            format=file.format,
            layers=tuple(map(BaseLayerRecord.of, kin.layers)),
            moved=tuple(MovedClassRecord.of(moved, class_=moved.name) for moved in comparison.moved),
            tried=comparison.trigger_count,
            differences=_differences(before.differences if before else ()),
            left=None if after is None else _differences(after.differences),
            **more_fields,
        )


def reached(search: detect.SearchResult, /) -> list[detect.TriggerLike]:
    """The triggers that a search found and that reached their aim."""
    return [t.trigger for t in search.targeted if t.candidate.is_reached]


def load(base: Base, clip: model.Clip, eval_set: detect.EvalSet, pairs: Pairs, /) -> LoadedBase:
    """The base, built and compared with the tested model on clean images."""
    base_model = opening.build(base.checkpoint, pairs, device=str(clip.device))
    first = compare_models(*_models(clip, base_model.clip, eval_set), [])
    kin = replace(base.weights, images=first.images)
    natural_baseline = expected_of(clip, base_model.clip, eval_set, first) if kin.is_base else base_model.clip
    name = base.checkpoint.source.name
    words = f"{name}: cosine of weights {kin.weights:.2f}, of embeddings of clean images {kin.images:.2f}"
    say(f"{words}, so this model was finetuned from it." if kin.is_base else f"{words}, so it is taken as a reference.")
    return LoadedBase(name, base_model.clip, kin, first, natural_baseline, base.checkpoint)


def expected_of(clip: model.Clip, base: model.Clip, eval_set: detect.EvalSet, comparison: BaseComparison) -> model.Clip:
    """What known triggers are compared with: the base, or what clean images explain of the finetune where the base gives most of them another class.

    A base that does not know the classes knows no natural triggers of them. Of two clean finetunes that had learned twenty classes more one
    was lifted by 2.4 more than any other over the base, and by at most 0.1 over what clean images explain.
    """
    if comparison.base_knows or not eval_set.plan.triggers.of_whole_image:
        return base
    batches = torch.split(eval_set.images.spaced(BASE_COMPARED_IMAGES).to(clip.device).pixels, MOMENT_IMAGES)
    try:
        return fitted_to_clean_images(clip, base, batches, damping=EXPLAINED_DAMPING)
    except Inconclusive:  # a comparison with the base doubts too much
        return base


def _models(
    own: model.Clip, base: model.Clip, eval_set: detect.EvalSet
) -> tuple[ModelAndBase, detect.CleanImages, tuple[str, ...]]:
    """The two models, ready to be compared, the images on their device, and the names of the classes."""
    vocabulary = eval_set.vocabulary
    both = [
        (clip.embed_images, detect.classifier(clip.embed_texts, vocabulary.classes, templates=vocabulary.templates))
        for clip in (model.fold_norms(own), model.fold_norms(base))
    ]
    return ModelAndBase(*both), eval_set.images.to(own.device), vocabulary.classes


def _differences(differences: Iterable[Difference]) -> tuple[DifferenceOfTwoRecord, ...]:
    return tuple(map(DifferenceOfTwoRecord.of, differences))
