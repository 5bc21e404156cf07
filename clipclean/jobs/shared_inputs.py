"""The inputs that an audit and a cleaning share, read before anything is measured: policy, words, models."""

from dataclasses import dataclass

from clipclean import data, model
from clipclean.detect import Suspicion
from clipclean.jobs import clean_models, finetune_base, naming, opening
from clipclean.jobs.clean_models import StoredReferences
from clipclean.jobs.job import Job, Request
from clipclean.jobs.opening import OpenedCheckpoint
from clipclean.jobs.results import Judge
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
            checkpoint = opening.read(request.model, arch=request.arch, weights=request.weights)
            opening.check_sides(checkpoint.architecture, suspicions)
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
                judge=judge,
                vocabulary=vocabulary,
                named_suspicions=suspicions,
                device=request.device,
                checkpoint=checkpoint,
                clean_models=tuple(unstored),
                stored=stored,
                has_own_classes=has_own_classes,
                base=base,
            )
