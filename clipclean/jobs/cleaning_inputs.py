"""Preparing a cleaning: everything read, checked and built before the first measurement."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from clipclean import data, detect, model
from clipclean.config import evidence
from clipclean.config import recipe as recipes
from clipclean.config.evidence import Applicability, Subject
from clipclean.config.recipe import Recipe
from clipclean.data import Samples
from clipclean.export import formats
from clipclean.jobs import clean_pairs, measured_images, opening
from clipclean.jobs.job import Job, precision_of
from clipclean.jobs.opening import LoadedModel
from clipclean.jobs.shared_inputs import SharedInputs
from clipclean.progress import say, stage
from clipclean.requests import Sanitize
from clipclean.schema.report import ForecastRecord
from clipclean.schema.results import ScreenedRecord


@dataclass(frozen=True)
class CleaningInputs:
    """All inputs of a run, before it measures anything."""

    shared: SharedInputs  # beside the pairs
    clean: data.CleanSet  # without what screening dropped
    screening_record: ScreenedRecord | None  # the report's data.screened
    screened_pairs: int  # that the job's rule screens; 0 where none applies
    to_train: Samples
    to_measure: Samples
    holds_out: bool  # whether the images to measure on are some of the pairs
    loaded: LoadedModel
    recipe: Recipe
    is_as_shipped: bool  # whether the user changed none of its values
    precision: str
    export_options: formats.ExportOptions
    evidence: Applicability  # how the recipe's evidence applies to this model and these pairs
    searches: bool  # whether audits search for unknown triggers
    tries_panel: bool  # whether audits try the known triggers
    seed: int
    labels: Mapping[str, str]  # of the report
    forecast: ForecastRecord | None = None  # the report's; None before it was told

    def eval_set(self) -> detect.EvalSet:
        """The images to measure the model on, with the triggers that were named, and those of the panel if they are tried."""
        clip, vocabulary, suspicions = self.loaded.clip, self.shared.vocabulary, self.shared.named_suspicions
        return measured_images.eval_set(
            clip, self.recipe, self.to_measure, vocabulary=vocabulary, suspicions=suspicions, panel=self.tries_panel
        )


def read_for_cleaning(job: Job[Sanitize], /, *, screens: bool = True) -> CleaningInputs:
    """Read and check everything, cheapest first, and build the model; nothing is measured or written.

    With ``screens`` the pairs are screened, if the job has a rule that applies to them.

    Raises:
        ClipcleanError: of the kind that tells the exit code.
    """
    request = job.request
    requested_recipe = job.recipe  # as it was asked for; below, with a warm-up that the pairs have room for
    export_options = formats.options_of(request.format)
    formats.check(export_options)
    shared = SharedInputs.of(job)
    checkpoint, vocabulary, least = shared.checkpoint, shared.vocabulary, shared.judge.limits.min_images
    formats.check_architecture(checkpoint.architecture, export_options)
    cache = measured_images.image_cache(requested_recipe, checkpoint.architecture, views=requested_recipe.shows_views)
    source = clean_pairs.PairSource.of(request)
    clean, labelled = clean_pairs.read(source, requested_recipe, vocabulary, cache)
    hold_out = labelled is None
    to_train, held_out = clean_pairs.divide(clean, requested_recipe, vocabulary, hold_out=hold_out)
    recipe = fitting_recipe(requested_recipe, request.set, pairs=len(to_train.pairs))
    recipes.check(recipe, pairs=len(to_train.pairs))
    with stage("building the model"):
        loaded = opening.build(checkpoint, clean, device=shared.device)
    opening.check_texts(loaded.clip, vocabulary.classes)
    kind, parameters = model.kind_of(loaded.clip.architecture), model.parameter_count(loaded.clip.net)
    subject = Subject(kind, parameters, len(to_train.pairs), len(vocabulary.classes))
    applicability = evidence_for(requested_recipe, recipe, subject)
    triggers = [trigger for trigger, _ in shared.named_suspicions]
    rule = clean_pairs.screening_rule(request.screen, clean)
    screened_pairs = 0 if rule is None else len(clean)
    clean, screening_record = clean_pairs.screen_pairs(rule if screens else None, loaded.clip, clean, triggers)
    if screening_record and screening_record.dropped:
        to_train, held_out = clean_pairs.divide(clean, recipe, vocabulary, hold_out=hold_out)
        recipes.check(recipe, pairs=len(to_train.pairs))
    to_measure = labelled or clean_pairs.labelled_if_enough(held_out, vocabulary, least=least)
    clean_pairs.warn_of_few(to_measure, least=least)
    return CleaningInputs(
        shared=shared,
        clean=clean,
        screening_record=screening_record,
        screened_pairs=screened_pairs,
        to_train=to_train,
        to_measure=to_measure,
        holds_out=hold_out,
        loaded=loaded,
        recipe=recipe,
        is_as_shipped=not request.set,
        precision=precision_of(job),
        export_options=export_options,
        evidence=applicability,
        searches=request.search,
        tries_panel=request.panel,
        seed=request.seed,
        labels=request.label,
    )


# The recipe.


def fitting_recipe(recipe: Recipe, changes: Sequence[str], /, *, pairs: int) -> Recipe:
    """The recipe with a warm-up that leaves room for training, and a message about it; unchanged if the user set the warm-up."""
    is_chosen = any(change.partition("=")[0].strip() == "train.warmup_steps" for change in changes)
    fitting = recipe if is_chosen else recipes.with_fitting_warmup(recipe, pairs=pairs)
    if fitting is recipe:
        return recipe
    steps = f"run of {recipes.total_steps(recipe, pairs=pairs)}"
    if recipe.traits.searches:
        steps = f"round of {recipe.unlearn.steps}"
    say(
        f"The warm-up of recipe {recipe.name}, {recipe.train.warmup_steps} steps, does not fit into a {steps} steps, so it is "
        f"{fitting.train.warmup_steps} steps. To choose it: --set train.warmup_steps=N."
    )
    return fitting


def evidence_for(requested_recipe: Recipe, recipe: Recipe, subject: Subject, /) -> Applicability:
    """How the evidence of the recipe applies, and a message about it; ``requested_recipe`` has the warm-up that was asked for."""
    # What clipclean shortens itself, nobody has changed.
    applicability = evidence.applicability(requested_recipe, subject)
    if recipe is not requested_recipe and applicability.kind == "measured":
        words = f"{recipe.name} was measured with a longer warm-up than this run has room for:"
        applicability = replace(applicability, kind="extrapolated", why=words)
    if not recipe.traits.chooses:
        say(str(applicability))
    return applicability
