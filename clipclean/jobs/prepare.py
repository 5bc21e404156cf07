"""Preparing a cleaning: everything read, checked and built before the first measurement."""

from dataclasses import dataclass

from clipclean import data, methods, requests
from clipclean.config import recipe as recipes
from clipclean.config.evidence import Standing
from clipclean.config.recipe import Recipe
from clipclean.data import Samples
from clipclean.export import formats
from clipclean.jobs import choice, clean_pairs, inputs, other_models
from clipclean.jobs.inputs import LoadedModel, Opened, Source, Suspicion
from clipclean.jobs.results import Judge
from clipclean.progress import step
from clipclean.schema.results import ScreenedRecord


@dataclass(frozen=True)
class Prepared:
    """All inputs of a run, before it measures anything."""

    vocabulary: inputs.Words
    named: tuple[Suspicion, ...]
    judge: Judge
    device: str
    clean: data.CleanSet  # without what screening dropped
    screened: ScreenedRecord | None  # the report's data.screened
    samples: Samples  # to train on
    shown: Samples  # to measure on
    loaded: LoadedModel
    request: requests.Sanitize
    recipe: Recipe  # that was chosen, of the model's scale
    precision: str
    wanted: formats.ExportOptions
    standing: Standing  # how the recipe's evidence applies to this model and these pairs
    trusted: tuple[tuple[Source, Opened], ...] = ()  # clean models to compare with, read and not yet built


def prepare(request: requests.Sanitize, /) -> Prepared:
    """Read and check everything, cheapest first, and build the model; nothing is measured or written.

    Raises:
        ClipcleanError: of the kind that tells the exit code.
    """
    wanted = formats.wanted(request.format)
    formats.check(wanted)
    asked = requests.recipe_of(request)
    judge = Judge.of(requests.policy_of(request), asked.audit)
    choice.check_reference(request, asked)
    vocabulary = inputs.words(request.classes, request.templates)
    named = inputs.suspicions(request.trigger, request.target, vocabulary)
    device = inputs.device_of(request.device)
    step("reading the model", 0, 1)
    opened = inputs.opened(request)
    inputs.check_sides(named, opened.architecture)
    formats.check_architecture(opened.architecture, wanted)
    trusted = [(path, other_models.read_reference(path, opened, arch=request.arch)) for path in request.reference]
    step("reading the model", 1, 1)
    images = inputs.image_cache(asked, opened.architecture, views=methods.views_of(asked) is not None)
    clean = clean_pairs.taught(request, asked, vocabulary, images)
    labelled = clean_pairs.labelled(request, images, vocabulary)
    hold_out = labelled is None
    samples, kept_out = clean_pairs.divided(clean, asked, vocabulary, hold_out=hold_out)
    subject = choice.subject_of(opened, samples, vocabulary)
    fitted = choice.fitted(request, asked, subject)
    if request.recipe is None and fitted.traits.chooses:
        samples, kept_out = clean_pairs.divided(clean, fitted, vocabulary, hold_out=hold_out)
        choice.check_trials(fitted, samples, labelled or kept_out, vocabulary, judge.limits)
    recipe = choice.with_fitting_warmup(fitted, request, pairs=len(samples.pairs))
    recipes.check(recipe, pairs=len(samples.pairs))
    step("building the model", 0, 1)
    loaded = inputs.build(opened, clean, device=device)
    step("building the model", 1, 1)
    inputs.check_texts(loaded.clip, vocabulary.classes)
    standing = choice.standing(request, fitted, recipe, subject)
    triggers = [trigger for trigger, _ in named]
    clean, screened = clean_pairs.screened(request, loaded.clip, clean, triggers)
    if screened and screened.dropped:
        samples, kept_out = clean_pairs.divided(clean, recipe, vocabulary, hold_out=hold_out)
        recipes.check(recipe, pairs=len(samples.pairs))
    shown = labelled or clean_pairs.labelled_if_enough(kept_out, vocabulary, least=judge.limits.min_images)
    return Prepared(
        vocabulary=vocabulary,
        named=named,
        judge=judge,
        device=device,
        clean=clean,
        screened=screened,
        samples=samples,
        shown=shown,
        loaded=loaded,
        request=request,
        recipe=recipe,
        precision=request.precision or asked.train.precision,
        wanted=wanted,
        standing=standing,
        trusted=tuple(trusted),
    )
