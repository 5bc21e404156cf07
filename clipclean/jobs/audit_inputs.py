"""What an audit reads before it measures: models, references, images and classes."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from clipclean import data, detect, model, requests
from clipclean.attack import power
from clipclean.config import recipe as recipes
from clipclean.jobs import inputs, other_models
from clipclean.jobs.inputs import LoadedModel, Opened
from clipclean.jobs.results import Judge
from clipclean.progress import stage


@dataclass(frozen=True)
class AuditInputs:
    """The inputs of an audit."""

    request: requests.Audit
    judge: Judge  # of its findings
    tested: LoadedModel  # the model
    trusted: tuple[tuple[inputs.Source, Opened], ...]  # the models to compare with, not yet built
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
def read(request: requests.Audit, /) -> Iterator[AuditInputs]:
    """All inputs of an audit, checked, and the tested model, built, for the span of a with-block; raises what the readers raise."""
    recipe = recipes.load(recipes.DEFAULT)
    judge = Judge.of(requests.policy_of(request), recipe.audit)
    vocabulary = inputs.words(request.classes, request.templates)
    named = inputs.suspicions(request.trigger, request.target, vocabulary)
    device = inputs.device_of(request.device)
    with stage("reading the model"):
        opened = inputs.opened(request, named)
        trusted = [(path, other_models.read_reference(path, opened, arch=request.arch)) for path in request.reference]
        kind, classes = model.shape_of(opened.architecture), vocabulary.classes
        stored = other_models.stored_references(request.references, kind=kind, effort=request.effort, classes=classes)
    with inputs.shown_images(request, recipe, opened.architecture) as (images, pairs):
        with stage("building the model"):
            tested = inputs.build(opened, pairs, device=device)
        panel = not named or request.search
        shown = inputs.audit_set(tested.clip, images, recipe, vocabulary=vocabulary, named=named, panel=panel)
        if not (trusted or stored):
            shown = replace(shown, grid=())
        planting: Sequence[data.Pair] = ()
        if request.power:
            own = pairs() if request.data is None else images
            planting = power.pairs_of(own, vocabulary.classes, vocabulary.templates)
        compared = tuple(trusted), tuple(stored)
        yield AuditInputs(request, judge, tested, *compared, images, pairs, planting, shown)
