"""Preparing a cleaning: everything read, checked and built before the first measurement."""

from dataclasses import dataclass, replace

from clipclean import data, detect, model, requests
from clipclean.config import evidence
from clipclean.config import recipe as recipes
from clipclean.config.evidence import Standing, Subject
from clipclean.config.recipe import Recipe
from clipclean.data import Samples
from clipclean.export import formats
from clipclean.jobs import clean_pairs, inputs
from clipclean.jobs.inputs import LoadedModel
from clipclean.jobs.job import Job
from clipclean.jobs.shared_inputs import SharedInputs
from clipclean.methods import training
from clipclean.progress import say, stage
from clipclean.schema.results import ScreenedRecord


@dataclass(frozen=True)
class CleaningInputs:
    """All inputs of a run, before it measures anything."""

    shared: SharedInputs  # beside the pairs
    clean: data.CleanSet  # without what screening dropped
    screened: ScreenedRecord | None  # the report's data.screened
    to_train: Samples
    to_measure: Samples
    loaded: LoadedModel
    request: requests.Sanitize
    recipe: Recipe
    precision: str
    wanted: formats.ExportOptions
    standing: Standing  # how the recipe's evidence applies to this model and these pairs

    def pairs_to_screen(self, request: requests.Sanitize, /) -> int:
        """How many pairs a request screens; raises what ``clean_pairs.screening_rule`` raises."""
        return 0 if clean_pairs.screening_rule(request, self.clean) is None else len(self.clean.pairs)

    def eval_set(self, *, panel: bool) -> detect.EvalSet:
        """The images to measure the model on, with the triggers that were named, and those of the panel or not."""
        words, named = self.shared.vocabulary, self.shared.named
        return inputs.eval_set(
            self.loaded.clip, self.recipe, self.to_measure, vocabulary=words, named=named, panel=panel
        )


def prepare(job: Job, /) -> CleaningInputs:
    """Read and check everything, cheapest first, and build the model; nothing is measured or written.

    Raises:
        ClipcleanError: of the kind that tells the exit code.
    """
    request, chosen = job.request, job.recipe  # as it was asked for; below, with a warm-up that the pairs have room for
    wanted = formats.options_of(request.format)
    formats.check(wanted)
    shared = SharedInputs.of(request, chosen, policy=job.policy, device=job.device)
    opened, vocabulary, least = shared.opened, shared.vocabulary, shared.judge.limits.min_images
    formats.check_architecture(opened.architecture, wanted)
    cache = inputs.image_cache(chosen, opened.architecture, views=training.views_of(chosen) is not None)
    clean = clean_pairs.taught(request, chosen, vocabulary, cache)
    labelled = clean_pairs.labelled(request, cache, vocabulary)
    hold_out = labelled is None
    to_train, held_out = clean_pairs.divided(clean, chosen, vocabulary, hold_out=hold_out)
    numbers = sum(tensor.numel() for tensor in opened.file.tensors.values() if tensor.is_floating_point())
    subject = Subject(model.kind_of(opened.architecture), numbers, len(to_train.pairs), len(vocabulary.classes))
    recipe = with_fitting_warmup(chosen, request, pairs=len(to_train.pairs))
    recipes.check(recipe, pairs=len(to_train.pairs))
    with stage("building the model"):
        loaded = inputs.build(opened, clean, device=shared.device)
    inputs.check_texts(loaded.clip, vocabulary.classes)
    standing = standing_of(chosen, recipe, subject)
    triggers = [trigger for trigger, _ in shared.named]
    clean, screened = clean_pairs.screened(request, loaded.clip, clean, triggers)
    if screened and screened.dropped:
        to_train, held_out = clean_pairs.divided(clean, recipe, vocabulary, hold_out=hold_out)
        recipes.check(recipe, pairs=len(to_train.pairs))
    to_measure = labelled or clean_pairs.labelled_if_enough(held_out, vocabulary, least=least)
    clean_pairs.warn_of_few(to_measure, least=least)
    return CleaningInputs(
        shared=shared,
        clean=clean,
        screened=screened,
        to_train=to_train,
        to_measure=to_measure,
        loaded=loaded,
        request=request,
        recipe=recipe,
        precision=request.precision or chosen.train.precision,
        wanted=wanted,
        standing=standing,
    )


# The recipe.


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


def standing_of(chosen: Recipe, recipe: Recipe, subject: Subject, /) -> Standing:
    """How the evidence of the recipe applies, and a message about it; ``chosen`` has the warm-up that was asked for."""
    stands = evidence.standing(chosen, subject)  # what clipclean shortens itself, nobody has changed
    if recipe is not chosen and stands.kind == "measured":
        words = f"{recipe.name} was measured with a longer warm-up than this run has room for:"
        stands = replace(stands, kind="extrapolated", why=words)
    if not recipe.traits.chooses:
        say(str(stands))
    return stands
