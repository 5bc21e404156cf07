"""Preparing a cleaning: everything read, checked and built before the first measurement."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

from clipclean import data, detect, methods, model, requests, train
from clipclean.attack import power
from clipclean.config import evidence, policy
from clipclean.config import recipe as recipes
from clipclean.config.evidence import Standing, Subject
from clipclean.config.methods import METHODS
from clipclean.config.policy import Applied, Policy
from clipclean.config.recipe import Recipe
from clipclean.config.thresholds import AuditLimits
from clipclean.detect import ranking
from clipclean.errors import Inconclusive, UsageError
from clipclean.export import formats
from clipclean.findings import Finding
from clipclean.jobs import inputs, other_models, results
from clipclean.jobs.inputs import LoadedModel, Opened, Source, Suspicion, split
from clipclean.progress import Progress, say
from clipclean.requests import Sanitize
from clipclean.schema.results import ScreenedRecord
from clipclean.train import resume
from clipclean.train.loader import Samples

ASKED = 16  # classes by which a text tower is tried
ALIKE = 1e-3  # distance of unit embeddings below which they are one: float16 tells apart no less


@dataclass(frozen=True)
class Prepared:
    """All inputs of a run, before it measures anything."""

    vocabulary: inputs.Words
    named: tuple[Suspicion, ...]
    thresholds: AuditLimits
    device: str
    clean: data.CleanSet  # without what screening dropped
    screened: ScreenedRecord | None  # the report's data.screened
    samples: Samples  # to train on
    shown: Samples  # to measure on
    loaded: LoadedModel
    request: Sanitize
    recipe: Recipe  # that was chosen, of the model's scale
    precision: str
    policy: Policy
    wanted: formats.ExportOptions
    standing: Standing  # how the recipe's evidence applies to this model and these pairs
    trusted: tuple[tuple[Source, Opened], ...] = ()  # clean models to compare with, read and not yet built

    def accepted(self, findings: Sequence[Finding], by_shipped: Sequence[Finding], /) -> Applied:
        """The findings after the policy of the run; ``by_shipped`` are those by the limits that hold without it."""
        return results.accepted(self.policy, self.loaded, findings, by_shipped)


def prepare(request: Sanitize, /, *, progress: Progress) -> Prepared:
    """Read and check everything, cheapest first, and build the model; nothing is measured or written.

    Raises:
        ClipcleanError: of the kind that tells the exit code.
    """
    wanted = formats.wanted(request.format)
    formats.check(wanted)
    asked, chosen = requests.recipe_of(request), requests.policy_of(request)
    check_reference(request, asked)
    precision = request.precision or asked.train.precision
    vocabulary = inputs.words(request.classes, request.templates)
    named = inputs.suspicions(request.trigger, request.target, vocabulary)
    thresholds = policy.resolved(chosen, asked.audit)
    device = inputs.device_of(request.device)
    progress("reading the model", 0, 1)
    opened = inputs.opened(request)
    inputs.check_sides(named, opened.architecture)
    formats.check_architecture(opened.architecture, wanted)
    trusted = [(path, other_models.read_reference(path, opened, arch=request.arch)) for path in request.reference]
    progress("reading the model", 1, 1)
    images = inputs.image_cache(asked, opened.architecture, views=methods.views_of(asked) is not None)
    clean = read(request, asked, vocabulary, images, progress)
    labelled = inputs.labelled(request.eval_data, images, vocabulary)
    samples, kept_out = divided(clean, asked, vocabulary, hold_out=labelled is None)
    numbers = sum(tensor.numel() for tensor in opened.file.tensors.values() if tensor.is_floating_point())
    subject = Subject(model.kind_of(opened.architecture), numbers, len(samples.pairs), len(vocabulary.classes))
    job = {"parameters": numbers, "pairs": subject.pairs, "classes": subject.classes}
    fitted = recipes.fitted(asked, **job)
    if request.recipe is None:
        shipped = recipes.fitted(recipes.load(recipes.DEFAULT), **job)  # whose evidence is of its own budget
        if request.reference or not evidence.works(shipped, subject, budget=asked.audit.max_accuracy_loss):
            fitted = by_auto(request, evidence.standing(shipped, subject))
            samples, kept_out = divided(clean, fitted, vocabulary, hold_out=labelled is None)
            check_trials(fitted, samples, labelled or kept_out, vocabulary, thresholds)
    recipe = with_fitting_warmup(fitted, request, pairs=len(samples.pairs))
    recipes.check(recipe, pairs=len(samples.pairs))
    progress("building the model", 0, 1)
    loaded = inputs.build(opened, clean, device=device)
    progress("building the model", 1, 1)
    check_texts(loaded.clip, vocabulary.classes)
    stands = standing(request, fitted, recipe, subject)
    clean, screened = screened_pairs(request, loaded.clip, clean, [trigger for trigger, _ in named], progress)
    if screened and screened.dropped:
        samples, kept_out = divided(clean, recipe, vocabulary, hold_out=labelled is None)
        recipes.check(recipe, pairs=len(samples.pairs))
    shown = labelled or labelled_if_enough(kept_out, vocabulary, least=thresholds.min_images)
    return Prepared(
        vocabulary=vocabulary,
        named=named,
        thresholds=thresholds,
        device=device,
        clean=clean,
        screened=screened,
        samples=samples,
        shown=shown,
        loaded=loaded,
        request=request,
        recipe=recipe,
        precision=precision,
        policy=chosen,
        wanted=wanted,
        standing=stands,
        trusted=tuple(trusted),
    )


def read(
    request: Sanitize, recipe: Recipe, vocabulary: inputs.Words, images: data.ImageCache, progress: Progress, /
) -> data.CleanSet:
    """The clean set; labelled images without captions get captions from the templates that the user gave."""
    if not METHODS[recipe.method].needs_captions:
        return data.read_images(request.data, images=images, progress=partial(progress, "reading the data"))
    templates = () if request.templates is None else vocabulary.templates
    return inputs.read_pairs(request, request.data, images, progress, templates=templates)


def standing(request: Sanitize, asked: Recipe, recipe: Recipe, subject: Subject, /) -> Standing:
    """How the evidence of the recipe applies, and a message about it; ``asked`` has the warm-up that was asked for."""
    stands = evidence.standing(asked, subject)  # what clipclean shortens itself, nobody has changed
    if recipe is not asked and stands.kind == "measured":
        words = f"{recipes.called(recipe)} was measured with a longer warm-up than this run has room for:"
        stands = replace(stands, kind="extrapolated", why=words)
    if not METHODS[recipe.method].chooses:
        taken = f"No recipe was named, so {recipes.called(recipe)} is taken. " if request.recipe is None else ""
        say(f"{taken}{stands}")
    return stands


def check_reference(request: Sanitize, recipe: Recipe, /) -> None:
    """Raise UsageError for clean models to compare with where nothing would be compared with them."""
    if request.reference and request.recipe is not None and not METHODS[recipe.method].chooses:
        raise UsageError(
            f"Only the recipe auto compares the model with clean ones, and this is {recipes.called(recipe)}. Take --recipe "
            "auto, or leave --reference out: 'clipclean audit --reference' compares the result."
        )


def by_auto(request: Sanitize, stands: Standing, /) -> Recipe:
    """The recipe ``auto`` for a run that names none, and a message that says why."""
    say(
        f"No recipe was named. {stands} So auto takes longer and makes the evidence on your model: it plants test "
        f"backdoors in a copy, tries recipes on it, and runs the best. To take the published values: --recipe {recipes.DEFAULT}."
    )
    return requests.recipe_of(replace(request, recipe="auto"))


def check_texts(clip: model.Clip, classes: Sequence[str], /) -> None:
    """Raise Inconclusive where the text tower tells no class from another: then no accuracy and no success is anything."""
    texts = clip.embed_texts([f"a photo of a {name}" for name in classes[:ASKED]])
    if len(texts) > 1 and float((texts[1:] - texts[0]).norm(dim=1).max()) < ALIKE:
        raise Inconclusive(
            f"The text tower gives {len(texts)} classes the same embedding, so it carries nothing, and nothing can be measured by it. "
            "Check that the file holds trained weights of both towers, and name the architecture by --arch."
        )


def check_trials(
    recipe: Recipe, samples: Samples, shown: Samples, vocabulary: inputs.Words, thresholds: AuditLimits, /
) -> None:
    """Raise Inconclusive where ``auto`` could not try a recipe on test backdoors, nor see what it costs."""
    faults = [
        (len(samples.pairs), power.LEAST_PAIRS, "pairs to train on"),
        (len(shown.pairs), thresholds.min_images, "images to measure on"),
        (len(vocabulary.classes), recipe.auto.canaries + 1, "classes"),  # each test backdoor has its own
    ]
    told = [f"{count:,} {what}, and needs {least}" for count, least, what in faults if count < least]
    if told:
        raise Inconclusive(
            f"No recipe was named, and none was measured on the like of this model and these data. auto, which would find one by test "
            f"backdoors, has {'; '.join(told)}. Bring more clean pairs or classes, or name a recipe: --recipe {recipes.DEFAULT} has the "
            "published values."
        )


def with_fitting_warmup(recipe: Recipe, request: Sanitize, /, *, pairs: int) -> Recipe:
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


def labelled_if_enough(samples: Samples, vocabulary: inputs.Words, /, *, least: int) -> Samples:
    """The samples whose captions name exactly one class, with it as the label, if there are at least ``least``.

    Recall alone misjudges the cost of a cleaning: finetuning on captions gains recall while it loses classes.
    """
    if samples.labels is not None:
        return samples
    found = inputs.labelled_by_captions(samples, vocabulary)
    told = f"{len(samples.pairs)} pairs are held out to measure on; {len(found.pairs)} of their captions name one class"
    if len(found.pairs) < least:
        say(
            f"{told}, fewer than {least}, so a loss of accuracy is estimated without labels. Name the classes of your images by "
            "--classes, or give labelled images by --eval-data."
        )
        return samples
    say(f"{told}, which is their label.")
    return found


def screens(request: Sanitize, clean: data.CleanSet, /) -> bool:
    """Whether the pairs are screened; a set that is too small, or has images without captions, only if pairs are to be dropped.

    Raises:
        UsageError: they are, and there are images without captions.
    """
    only_reports = request.screen == "report"
    if request.screen == "off" or (only_reports and len(clean.pairs) < ranking.LEAST):
        return False
    if all(pair.caption for pair in clean.pairs):
        return True
    if only_reports:
        return False
    raise UsageError(f"{clean.path} has images without captions, and screening compares the two. Leave --screen out.")


def screened_pairs(
    request: Sanitize,
    clip: model.Clip,
    clean: data.CleanSet,
    triggers: Sequence[detect.TriggerLike],
    progress: Progress,
    /,
) -> tuple[data.CleanSet, ScreenedRecord | None]:
    """The clean set without the pairs that screening drops, and the report's ``data.screened``; None if it was not screened."""
    if not screens(request, clean):
        return clean, None
    found = ranking.rank_pairs(
        clip,
        clean.pairs,
        triggers=triggers,
        progress=partial(progress, "screening the pairs"),
    )
    drop = None if request.screen == "report" or request.screen == "off" else request.screen
    dropped = found.dropped(drop)
    keys = [pair.key for pair, is_dropped in zip(clean.pairs, dropped.tolist(), strict=True) if is_dropped]
    record = ranking.record(found, drop)
    return ranking.kept(clean, dropped), record.model_copy(update={"dropped_keys": tuple(keys)})


def divided(
    clean: data.CleanSet, recipe: Recipe, vocabulary: inputs.Words, /, *, hold_out: bool
) -> tuple[Samples, Samples]:
    """The samples to train on, and those held out to measure on; with labels if all images have one.

    Raises:
        UsageError: the method needs labels, and there are none.
    """
    method = METHODS[recipe.method]
    labels = data.labels_of(clean, vocabulary.classes) if method.uses_classes else None
    if labels is None and method.needs_labels:
        raise UsageError(
            f"The recipe {recipe.name} trains on labels, and not every image of {clean.path} has one among the "
            f"{len(vocabulary.classes):,} classes. Put the images into folders named like the classes, give a table with a "
            "column label, or name the right classes by --classes FILE."
        )
    parts = split(range(len(clean.pairs)), recipe, hold_out=hold_out)
    training, kept = (
        Samples([clean.pairs[i] for i in places], None if labels is None else labels[places]) for places in parts
    )
    return training, kept


def fingerprint(ready: Prepared, /) -> dict[str, object]:
    """All that determines the weights of a run: runs with equal fingerprints may resume each other.

    The thresholds of the audit are not part of it: a run may be judged again without training again.
    """
    request, loaded, clean = ready.request, ready.loaded, ready.clean
    decides = {
        "program": resume.program(),
        "model": loaded.file.sha256,
        "architecture": loaded.clip.architecture.config,
        "preprocess": asdict(loaded.clip.architecture.preprocess),
        "data": clean.digest,
        "order": [pair.key for pair in clean.pairs],
        "held_out": request.eval_data is None,
        "recipe": recipes.decides(ready.recipe),
        "seed": request.seed,
        "precision": train.resolved(ready.precision, loaded.clip.net, loaded.clip.device),
        "device": loaded.clip.device.type,  # not its number, which differs among processes
    }
    # auto chooses by audits beside them
    beside = {"references": [opened.file.sha256 for _, opened in ready.trusted]} if ready.trusted else {}
    aims = {"vocabulary": asdict(ready.vocabulary), "named": inputs.identities(ready.named)}
    return decides | (aims if METHODS[ready.recipe.method].uses_classes else {}) | beside
