"""What an audit is asked, and what it reads before it measures: models, references, images and classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from clipclean import data, detect, model
from clipclean.config import recipe as recipes
from clipclean.config.policy import Policy
from clipclean.jobs import inputs, other_models
from clipclean.jobs.inputs import LoadedModel, Opened
from clipclean.jobs.searching import SearchSettings
from clipclean.progress import Progress
from clipclean.schema.report import Effort


@dataclass(frozen=True, kw_only=True)
class AuditRequest(inputs.ModelRequest):
    """The user's request; paths are not checked yet.

    ``data`` holds the images: ``own`` ones of the user, or else the bundled ones. ``pairs`` holds captions as well; an
    undecided activation is measured on them.
    """

    data: Path
    own: bool
    pairs: Path
    reference: tuple[inputs.Source, ...]
    policy: Policy
    effort: Effort
    classes: Path | Sequence[str] | None
    templates: Path | Sequence[str] | None
    seed: int
    device: str
    save_triggers: Path | None
    search: bool
    labels: Mapping[str, str] = field(default_factory=dict)
    references: tuple[Path, ...] = ()  # files that ``build_references`` wrote
    power: bool = False  # plant backdoors in copies, and see how many of them are found
    canaries: int = 4
    triggers: tuple[str, ...] = ()  # that the user suspects
    target: str | None = None  # the class that they lead to
    max_minutes: float | None = None  # after which the audit ends with its results so far

    @property
    def settings(self) -> SearchSettings:
        """The settings for measuring and searching each model."""
        return SearchSettings(self.effort, self.seed, search=self.search)


@dataclass(frozen=True)
class AuditInputs:
    """The inputs of an audit."""

    vocabulary: inputs.Words  # the classes and templates
    tested: LoadedModel  # the model
    trusted: tuple[tuple[inputs.Source, Opened], ...]  # the models to compare with, not yet built
    stored: tuple[detect.References, ...]  # what files of references hold for a model of this kind
    images: data.CleanSet  # that were given
    pairs: inputs.LatePairs  # the clean pairs, read if needed
    eval_set: detect.EvalSet  # the images to measure every model on


def read(request: AuditRequest, progress: Progress, /) -> AuditInputs:
    """Read and check all inputs of an audit, and build the tested model; raises what the readers raise."""
    recipe = recipes.load(recipes.DEFAULT)
    vocabulary = inputs.words(request.classes, request.templates)
    named = inputs.suspicions(request.triggers, request.target, vocabulary)
    device = inputs.device_of(request.device)
    progress("reading the model", 0, 1)
    opened = request.opened()
    inputs.check_sides(named, opened.architecture)
    trusted = [(path, other_models.read_reference(path, opened, arch=request.arch)) for path in request.reference]
    stored = other_models.stored_references(
        request.references,
        kind=model.shape_of(opened.architecture),
        effort=request.effort,
        classes=vocabulary.classes,
    )
    progress("reading the model", 1, 1)
    cache = inputs.image_cache(recipe, opened.architecture)
    images = data.read_images(request.data, images=cache, progress=partial(progress, "reading the images"))
    pairs = inputs.late_pairs(request.pairs, cache)
    progress("building the model", 0, 1)
    tested = inputs.build(opened, pairs, device=device)
    progress("building the model", 1, 1)
    only_named = bool(named) and not request.search
    shown = inputs.audit_set(tested.clip, images, recipe, vocabulary=vocabulary, named=named, panel=not only_named)
    return AuditInputs(vocabulary, tested, tuple(trusted), tuple(stored), images, pairs, shown)
