"""What a job is given, read before it measures: an audit everything, a cleaning what it shares with an audit."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from clipclean import data, detect, model, requests
from clipclean.attack import power
from clipclean.config import recipe as recipes
from clipclean.config.recipe import Recipe
from clipclean.jobs import inputs, other_models
from clipclean.jobs.inputs import LoadedModel, Opened, Source, Suspicion, Words
from clipclean.jobs.results import Judge
from clipclean.progress import stage


@dataclass(frozen=True)
class Given:
    """What an audit and a cleaning are given alike, beside their images."""

    judge: Judge  # of the findings
    vocabulary: Words
    named: tuple[Suspicion, ...]  # triggers, with the classes that they lead to
    device: str
    tested: Opened  # the model, not yet built, like those to compare it with
    trusted: tuple[tuple[Source, Opened], ...]

    @classmethod
    def of(cls, request: requests.Audit | requests.Sanitize, recipe: Recipe, /) -> "Given":
        """All of that, cheapest first; raises what the readers raise."""
        judge = Judge.of(requests.policy_of(request), recipe.audit)
        vocabulary = inputs.words(request.classes, request.templates)
        named = inputs.suspicions(request.trigger, request.target, vocabulary)
        device = inputs.device_of(request.device)
        with stage("reading the model"):
            tested = inputs.opened(request, named)
            trusted = [
                (path, other_models.read_reference(path, tested, arch=request.arch)) for path in request.reference
            ]
        return cls(judge, vocabulary, named, device, tested, tuple(trusted))


@dataclass(frozen=True)
class AuditInputs:
    """The inputs of an audit."""

    request: requests.Audit
    given: Given
    tested: LoadedModel  # the model, built
    stored: tuple[detect.References, ...]  # what files of references hold for a model of this kind
    images: data.CleanSet  # that were given
    pairs: inputs.LatePairs  # the clean pairs, read if needed
    planting: Sequence[data.Pair]  # to plant with: the user's images, or else the clean pairs; none without --power
    eval_set: detect.EvalSet  # the images to measure every model on

    @property
    def effort(self) -> str | None:
        """Of the search; None without one."""
        return self.request.effort if self.request.search else None


@contextlib.contextmanager
def to_audit(request: requests.Audit, /) -> Iterator[AuditInputs]:
    """All inputs of an audit, checked, and the tested model, built, for the span of a with-block; raises what the readers raise."""
    recipe = recipes.load(recipes.DEFAULT)
    given = Given.of(request, recipe)
    vocabulary, architecture = given.vocabulary, given.tested.architecture
    kind, classes = model.shape_of(architecture), vocabulary.classes
    stored = other_models.stored_references(request.references, kind=kind, effort=request.effort, classes=classes)
    with inputs.shown_images(request, recipe, architecture) as (images, pairs):
        with stage("building the model"):
            tested = inputs.build(given.tested, pairs, device=given.device)
        panel = not given.named or request.search
        shown = inputs.audit_set(tested.clip, images, recipe, vocabulary=vocabulary, named=given.named, panel=panel)
        if not (given.trusted or stored):
            shown = replace(shown, grid=())
        own = pairs() if request.power and request.data is None else images
        planting = power.pairs_of(own, classes, vocabulary.templates) if request.power else ()
        yield AuditInputs(request, given, tested, tuple(stored), images, pairs, planting, shown)
