"""Preparing a cleaning: everything read, checked and built before the first measurement."""

from dataclasses import dataclass, replace

from clipclean import data, detect, model, requests
from clipclean.config import evidence
from clipclean.config import recipe as recipes
from clipclean.config.evidence import Standing, Subject
from clipclean.config.recipe import Recipe
from clipclean.data import Samples
from clipclean.export import formats
from clipclean.jobs import given, inputs
from clipclean.jobs.given import Given
from clipclean.jobs.inputs import LoadedModel
from clipclean.methods import training
from clipclean.progress import say, stage
from clipclean.schema.report import RatesRecord
from clipclean.schema.results import ScreenedRecord


@dataclass(frozen=True)
class Prepared:
    """All inputs of a run, before it measures anything."""

    given: Given  # beside the pairs
    clean: data.CleanSet  # without what screening dropped
    screened: ScreenedRecord | None  # the report's data.screened
    to_train: Samples
    to_measure: Samples
    loaded: LoadedModel
    request: requests.Sanitize
    recipe: Recipe  # that was chosen, of the model's scale
    precision: str
    wanted: formats.ExportOptions
    standing: Standing  # how the recipe's evidence applies to this model and these pairs
    rates: RatesRecord | None = None  # the trials that chose the recipe's rate

    @property
    def size(self) -> dict[str, int]:
        """What the scale of a recipe depends on: parameters, pairs to train on, and classes."""
        pairs, classes = len(self.to_train.pairs), len(self.given.vocabulary.classes)
        return {"parameters": model.parameter_count(self.loaded.clip.net), "pairs": pairs, "classes": classes}

    def eval_set(self, *, panel: bool) -> detect.EvalSet:
        """The images to measure the model on, with the triggers that were named, and those of the panel or not."""
        words, named = self.given.vocabulary, self.given.named
        return inputs.eval_set(
            self.loaded.clip, self.recipe, self.to_measure, vocabulary=words, named=named, panel=panel
        )


def prepare(request: requests.Sanitize, /) -> Prepared:
    """Read and check everything, cheapest first, and build the model; nothing is measured or written.

    Raises:
        ClipcleanError: of the kind that tells the exit code.
    """
    wanted = formats.wanted(request.format)
    formats.check(wanted)
    # The recipe as it was asked for; below, ``scaled`` for the model and its pairs; last, with a warm-up that these have room for.
    asked = requests.recipe_of(request)
    shared = Given.of(request, asked)
    opened, vocabulary, least = shared.opened, shared.vocabulary, shared.judge.limits.min_images
    formats.check_architecture(opened.architecture, wanted)
    cache = inputs.image_cache(asked, opened.architecture, views=training.views_of(asked) is not None)
    clean = given.taught(request, asked, vocabulary, cache)
    labelled = given.labelled(request, cache, vocabulary)
    hold_out = labelled is None
    to_train, held_out = given.divided(clean, asked, vocabulary, hold_out=hold_out)
    numbers = sum(each.numel() for each in opened.file.tensors.values() if each.is_floating_point())
    subject = Subject(model.kind_of(opened.architecture), numbers, len(to_train.pairs), len(vocabulary.classes))
    scaled = at_scale(request, asked, subject)
    if request.recipe is None and scaled.traits.chooses:
        to_train, held_out = given.divided(clean, scaled, vocabulary, hold_out=hold_out)
        given.check_trials(scaled, to_train, labelled or held_out, vocabulary, least=least)
    recipe = with_fitting_warmup(scaled, request, pairs=len(to_train.pairs))
    recipes.check(recipe, pairs=len(to_train.pairs))
    if recipe.train.lr_trials:
        given.check_trials(recipe, to_train, labelled or held_out, vocabulary, least=least)
    with stage("building the model"):
        loaded = inputs.build(opened, clean, device=shared.device)
    inputs.check_texts(loaded.clip, vocabulary.classes)
    standing = standing_of(request, scaled, recipe, subject)
    triggers = [trigger for trigger, _ in shared.named]
    clean, screened = given.screened(request, loaded.clip, clean, triggers)
    if screened and screened.dropped:
        to_train, held_out = given.divided(clean, recipe, vocabulary, hold_out=hold_out)
        recipes.check(recipe, pairs=len(to_train.pairs))
    to_measure = labelled or given.labelled_if_enough(held_out, vocabulary, least=least)
    given.warn_of_few(to_measure, least=least)
    return Prepared(
        given=shared,
        clean=clean,
        screened=screened,
        to_train=to_train,
        to_measure=to_measure,
        loaded=loaded,
        request=request,
        recipe=recipe,
        precision=request.precision or asked.train.precision,
        wanted=wanted,
        standing=standing,
    )


# The recipe: the one that was named, or one that was measured on models and pairs like these.


def at_scale(request: requests.Sanitize, asked: Recipe, subject: Subject, /) -> Recipe:
    """The recipe at the scale of the job; ``auto``, and a message that says why, where none was named and the usual one may not work."""
    job = {"parameters": subject.parameters, "pairs": subject.pairs, "classes": subject.classes}
    if request.recipe is None:
        # Its evidence was measured within its own budget.
        shipped = recipes.fitted(recipes.load(recipes.DEFAULT), **job)
        if (
            request.reference
            or request.base
            or not evidence.works(shipped, subject, budget=asked.audit.max_accuracy_loss)
        ):
            say(
                f"No recipe was named. {evidence.standing(shipped, subject)} So auto takes longer and makes the evidence on your model: it "
                "plants test backdoors in a copy, tries recipes on it, and runs the best. To take the published values: --recipe "
                f"{recipes.DEFAULT}."
            )
            return requests.recipe_of(replace(request, recipe="auto"))
    return recipes.fitted(asked, **job)


def with_fitting_warmup(recipe: Recipe, request: requests.Sanitize, /, *, pairs: int) -> Recipe:
    """The recipe with a warm-up that leaves room for training, and a message about it; unchanged if the user set the warm-up."""
    is_chosen = any(change.partition("=")[0].strip() == "train.warmup_steps" for change in request.set)
    fitting = recipe if is_chosen else recipes.with_fitting_warmup(recipe, pairs=pairs)
    if fitting is recipe:
        return recipe
    steps = f"run of {recipes.total_steps(recipe, pairs=pairs)}"
    if recipe.traits.searches:
        steps = f"round of {recipe.unlearn.steps}"
    say(
        f"The warm-up of recipe {recipe.name}, {recipe.train.warmup_steps} steps, does not fit into a {steps} steps, so it is {fitting.train.warmup_steps} steps. To choose it: --set "
        "train.warmup_steps=N."
    )
    return fitting


def standing_of(request: requests.Sanitize, scaled: Recipe, recipe: Recipe, subject: Subject, /) -> Standing:
    """How the evidence of the recipe applies, and a message about it; ``scaled`` has the warm-up that was asked for."""
    stands = evidence.standing(scaled, subject)  # what clipclean shortens itself, nobody has changed
    if recipe is not scaled and stands.kind == "measured":
        words = f"{recipes.called(recipe)} was measured with a longer warm-up than this run has room for:"
        stands = replace(stands, kind="extrapolated", why=words)
    if not recipe.traits.chooses:
        taken = f"No recipe was named, so {recipes.called(recipe)} is taken. " if request.recipe is None else ""
        say(f"{taken}{stands}")
    return stands
