"""The recipe of a cleaning: the one that was named, or by what was measured on the like of its model and pairs."""

from dataclasses import replace

from clipclean import model, requests
from clipclean.attack import power
from clipclean.config import evidence
from clipclean.config import recipe as recipes
from clipclean.config.evidence import Standing, Subject
from clipclean.config.recipe import Recipe
from clipclean.config.thresholds import AuditLimits
from clipclean.data import Samples
from clipclean.errors import Inconclusive, UsageError
from clipclean.jobs.inputs import Opened, Words
from clipclean.progress import say


def check_reference(request: requests.Sanitize, recipe: Recipe, /) -> None:
    """Raise UsageError for clean models to compare with where nothing would be compared with them."""
    if request.reference and request.recipe is not None and not recipe.traits.chooses:
        raise UsageError(
            f"Only the recipe auto compares the model with clean ones, and this is {recipes.called(recipe)}. Take --recipe "
            "auto, or leave --reference out: 'clipclean audit --reference' compares the result."
        )


def subject_of(opened: Opened, samples: Samples, vocabulary: Words, /) -> Subject:
    """What the evidence of a recipe has to be like."""
    numbers = sum(tensor.numel() for tensor in opened.file.tensors.values() if tensor.is_floating_point())
    return Subject(model.kind_of(opened.architecture), numbers, len(samples.pairs), len(vocabulary.classes))


def fitted(request: requests.Sanitize, asked: Recipe, subject: Subject, /) -> Recipe:
    """The recipe at the scale of the job; ``auto``, and a message that says why, where none was named and the usual one may not work."""
    job = {"parameters": subject.parameters, "pairs": subject.pairs, "classes": subject.classes}
    if request.recipe is None:
        shipped = recipes.fitted(recipes.load(recipes.DEFAULT), **job)  # whose evidence is of its own budget
        if request.reference or not evidence.works(shipped, subject, budget=asked.audit.max_accuracy_loss):
            say(
                f"No recipe was named. {evidence.standing(shipped, subject)} So auto takes longer and makes the evidence on your model: it "
                "plants test backdoors in a copy, tries recipes on it, and runs the best. To take the published values: --recipe "
                f"{recipes.DEFAULT}."
            )
            return requests.recipe_of(replace(request, recipe="auto"))
    return recipes.fitted(asked, **job)


def check_trials(recipe: Recipe, samples: Samples, shown: Samples, vocabulary: Words, limits: AuditLimits, /) -> None:
    """Raise Inconclusive where ``auto`` could not try a recipe on test backdoors, nor see what it costs."""
    faults = [
        (len(samples.pairs), power.LEAST_PAIRS, "pairs to train on"),
        (len(shown.pairs), limits.min_images, "images to measure on"),
        (len(vocabulary.classes), recipe.auto.canaries + 1, "classes"),  # each test backdoor has its own
    ]
    told = [f"{count:,} {what}, and needs {least}" for count, least, what in faults if count < least]
    if told:
        raise Inconclusive(
            f"No recipe was named, and none was measured on the like of this model and these data. auto, which would find one by test "
            f"backdoors, has {'; '.join(told)}. Bring more clean pairs or classes, or name a recipe: --recipe {recipes.DEFAULT} has the "
            "published values."
        )


def with_fitting_warmup(recipe: Recipe, request: requests.Sanitize, /, *, pairs: int) -> Recipe:
    """The recipe with a warm-up that leaves room for training, and a message about it; unchanged if the user set the warm-up."""
    is_chosen = any(change.partition("=")[0].strip() == "train.warmup_steps" for change in request.set)
    fitting = recipe if is_chosen else recipes.with_fitting_warmup(recipe, pairs=pairs)
    if fitting is recipe:
        return recipe
    say(
        f"The warm-up of recipe {recipe.name}, {recipe.train.warmup_steps} steps, does not fit into a run of "
        f"{recipes.total_steps(recipe, pairs=pairs)} steps, so it is {fitting.train.warmup_steps} steps. To choose it: --set "
        "train.warmup_steps=N."
    )
    return fitting


def standing(request: requests.Sanitize, asked: Recipe, recipe: Recipe, subject: Subject, /) -> Standing:
    """How the evidence of the recipe applies, and a message about it; ``asked`` has the warm-up that was asked for."""
    stands = evidence.standing(asked, subject)  # what clipclean shortens itself, nobody has changed
    if recipe is not asked and stands.kind == "measured":
        words = f"{recipes.called(recipe)} was measured with a longer warm-up than this run has room for:"
        stands = replace(stands, kind="extrapolated", why=words)
    if not recipe.traits.chooses:
        taken = f"No recipe was named, so {recipes.called(recipe)} is taken. " if request.recipe is None else ""
        say(f"{taken}{stands}")
    return stands
