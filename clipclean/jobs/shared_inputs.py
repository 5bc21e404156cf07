"""The inputs that an audit and a cleaning share, read before anything is measured: policy, words, models; and those of an audit whole."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from clipclean import data, detect, model, requests
from clipclean.attack import power, trigger_files
from clipclean.detect import Suspicion
from clipclean.jobs import clean_models, finetune_base, measured_images, naming, opening
from clipclean.jobs.clean_models import StoredReferences
from clipclean.jobs.job import Job, Request
from clipclean.jobs.opening import LoadedModel, OpenedCheckpoint
from clipclean.jobs.results import Judge
from clipclean.jobs.searching import SearchSettings
from clipclean.progress import say, stage


@dataclass(frozen=True)
class SharedInputs:
    """What an audit and a cleaning are given alike, beside their images."""

    judge: Judge  # of the findings
    vocabulary: data.Vocabulary
    named_suspicions: tuple[Suspicion[int | None], ...]  # triggers, with the classes that they lead to
    device: str
    checkpoint: OpenedCheckpoint  # the model, not yet built, like the clean ones
    # To search and compare with, the base among them unless its search is stored.
    clean_models: tuple[OpenedCheckpoint, ...]
    stored: StoredReferences  # what files of references hold for a model of this kind
    has_own_classes: bool = True  # whether the user named the classes
    base: finetune_base.Base | None = None  # the model that this one was finetuned from

    @property
    def compares(self) -> bool:
        """Whether there is a clean model to compare with."""
        return bool(self.clean_models or self.stored.references)

    @classmethod
    def of(cls, job: Job[Request], /) -> "SharedInputs":
        """All of that, cheapest first; raises what the readers raise."""
        request, judge = job.request, Judge.of(job.policy, job.recipe.audit)
        vocabulary = naming.read_vocabulary(request.classes, request.templates)
        suspicions = naming.suspicions(request.trigger, request.target, vocabulary)
        if not (has_own_classes := request.classes is not None):
            say(f"No class list was given. {vocabulary.default_note} Give yours by --classes FILE.")
        with stage("reading the model"):
            checkpoint = opening.open_for_request(request, suspicions)
            base = finetune_base.read(request.base, checkpoint, arch=request.arch)
            judge = judge._replace(base_sha256=base.digests if base else frozenset())
            if fault := judge.base_fault:
                say(f"{fault} The verdict cannot be pass.")
            kind, classes = model.shape_of(checkpoint.architecture), vocabulary.classes
            stored = clean_models.stored_references(request.references, kind=kind, effort=job.effort, classes=classes)
            clean = [clean_models.read_reference(source, checkpoint, arch=request.arch) for source in request.reference]
            unstored = [
                clean_model
                for clean_model in finetune_base.base_and_references(base, clean)
                if clean_model.file.sha256 not in stored.digests
            ]
            return cls(
                judge,
                vocabulary,
                suspicions,
                request.device,
                checkpoint,
                tuple(unstored),
                stored,
                has_own_classes,
                base,
            )


@dataclass(frozen=True)
class AuditInputs:
    """The inputs of an audit."""

    shared: SharedInputs
    loaded: LoadedModel  # the model, built
    images: data.CleanSet  # that were given
    late_pairs: measured_images.LatePairs  # the bundled clean pairs, read if needed
    planting: Sequence[data.Pair]  # to plant with: the user's images, or else the clean pairs; none without --power
    eval_set: detect.EvalSet  # the images to measure every model on
    settings: SearchSettings
    is_bundled: bool  # whether the user gave no images
    names_weights: bool  # whether the user chose among several sets of weights
    has_power: bool  # whether test backdoors are planted in copies


@contextlib.contextmanager
def read_for_audit(job: Job[requests.Audit], /) -> Iterator[AuditInputs]:
    """All inputs of an audit, checked, and the tested model, built, for the span of a with-block; raises what the readers raise."""
    request, recipe = job.request, job.recipe
    if request.save_triggers is not None:
        trigger_files.check_folder(request.save_triggers)
    shared = SharedInputs.of(job)
    vocabulary, architecture = shared.vocabulary, shared.checkpoint.architecture
    with measured_images.shown_images(request, recipe, architecture) as (images, late_pairs):
        with stage("building the model"):
            loaded = opening.build(shared.checkpoint, late_pairs, device=shared.device)
        panel = not shared.named_suspicions or request.search
        eval_set = measured_images.audit_set(
            loaded.clip, recipe, images, vocabulary=vocabulary, suspicions=shared.named_suspicions, panel=panel
        )
        # Beside clean models all variants of known triggers are compared; without them some persuade the model itself.
        if not shared.compares:
            eval_set = eval_set.trying(eval_set.plan.triggers.without_variants())
        elif not shared.base:
            eval_set = eval_set.trying(replace(eval_set.plan.triggers, of_whole_image=()))
        clean_images = late_pairs() if request.power and request.data is None else images
        planting = power.pairs_of(clean_images, vocabulary.classes, vocabulary.templates) if request.power else ()
        yield AuditInputs(
            shared,
            loaded,
            images,
            late_pairs,
            planting,
            eval_set,
            SearchSettings(request.effort, request.seed, search=request.search),
            is_bundled=request.data is None,
            names_weights=request.weights is not None,
            has_power=request.power,
        )
