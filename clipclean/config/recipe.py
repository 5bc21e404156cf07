"""A recipe: the settings of one cleaning run, with the program's defaults."""

import difflib
import functools
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from importlib import resources
from importlib.resources.abc import Traversable
from os import PathLike
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, Strict, ValidationError, model_validator

from clipclean.config import yaml_file
from clipclean.config.methods import METHODS, Loss, Method, MethodName
from clipclean.config.thresholds import Audit
from clipclean.config.yaml_file import Document, Form, Key, Section, Text, field
from clipclean.errors import Inconclusive, UnusableSettings, UsageError
from clipclean.schema.names import EffortName
from clipclean.untrusted import plural, printable

DEFAULT_RECIPE = "auto"  # the recipe of a cleaning that names none
STANDARD_RECIPE = "cleanclip"  # whose limits and settings hold where nothing is cleaned
MOST_LR, MOST_WALK = 0.01, 100
RATE_KEYS = ("walk", "lr")  # keys of train: one of them sets the rate

Share = Annotated[float, Field(ge=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]
_share, _anomaly = (functools.partial(field, unit=unit) for unit in ("share", "robust z"))  # fields of a unit


class Train(Section):
    """How long and how fast the weights move; AdamW, always with fresh state.

    Either ``walk`` or ``lr`` sets the rate. Where ``lr`` alone is written, ``walk`` is null.
    """

    ADDED_LATER_KEYS = ("moves", "recover_steps", "damping")
    epochs: float = field(10.0, "Passes over the pairs; may be a fraction.", "epochs", gt=0, le=1000)
    moves: Literal["model", "image tower"] = field("model", "What is trained; the text tower costs accuracy, too.")
    recover_steps: int = field(
        0,
        "auto: steps after a finetuning where a trigger is found or named; they go half as far. They bring clean images back to "
        "the original's embeddings, and images with such triggers to those without; the image tower alone moves.",
        "steps",
        ge=0,
        le=10**6,
    )
    max_steps: int | None = field(
        None, "Stop after this many steps, if the epochs last longer.", "steps", ge=1, le=10**8
    )
    batch_size: int = field(64, "Pairs in a step; each serves as a negative for the others.", "pairs", ge=2, le=65536)
    walk: float | None = field(
        3.0,
        "How far the run can go, in units of the weights: the sum of its steps, each relative to the root mean square of the matrix that "
        "it moves. It sets the rate of every matrix, so it means the same at every size and for any number of steps. The paper's "
        "CleanCLIP walks 2.6 to 3.9. Null takes lr.",
        "sizes of the weights",
        gt=0,
        le=MOST_WALK,
    )
    lr: float | None = field(
        None,
        "Peak learning rate, the same for all weights, instead of walk: the paper's CleanCLIP has 1e-5, for 15,625 steps. `--set` of one "
        "of the two sets the other to null.",
        "per step",
        gt=0,
        le=MOST_LR,
    )
    damping: float | None = field(
        None,
        "With a walk of the image tower alone: weigh each layer's gradient by the inverse second moment of its clean inputs, plus this share of their mean, so that steps "
        "go where triggers are and clean images are not; null takes AdamW.",
        "share of the mean",
        ge=1e-3,
        le=100,
    )
    warmup_steps: int = field(
        50, "Steps in which the rate rises linearly from zero to its peak.", "steps", ge=0, le=10**6
    )
    weight_decay: float = field(
        0.1, "AdamW's decay of weights; norms, biases and the logit scale have none.", ge=0, le=1
    )
    betas: Annotated[tuple[Beta, Beta], Strict(False)] = field(
        (0.9, 0.999), "AdamW's decay rates of gradient and squared gradient."
    )
    eps: float = field(1e-8, "AdamW's term against division by zero.", gt=0, le=1e-2)
    schedule: Literal["cosine"] = field("cosine", "Decay of the rate after the warm-up: half a cosine, to zero.")
    precision: Literal["auto", "fp32", "bf16"] = field(
        "auto", "Number format of the forward pass; auto uses bf16 if the device has it and the model is large."
    )
    grad_clip: float | None = field(None, "Largest norm of the gradient; null does not clip.", "norm", gt=0)
    micro_batch: int | None = field(
        None,
        "Pairs that a tower takes at once: less memory, a third more time, the same gradients. Null takes the whole batch, "
        "or less if memory runs out.",
        "pairs",
        ge=1,
        le=65536,
    )
    checkpoint_activations: bool = field(
        False, "Recompute the activations of each block in the backward pass: less memory, a third more time."
    )

    @model_validator(mode="before")
    @classmethod
    def _of_one_rate(cls, values: object, /) -> object:
        """A learning rate that is written alone takes the place of the default walk."""
        if isinstance(values, dict) and values.get("lr") is not None and "walk" not in values:
            return values | {"walk": None}
        return values


class Augment(Section):
    """How images are moved and second views are made, how par perturbs images, and which images carry found triggers."""

    ADDED_LATER_KEYS = ("least_part", "mirrored", "mixed")
    least_part: float = _share(
        1.0,
        "Smallest side of the random crop that each image is cut to in each epoch; 1 crops none. Second views are made of whole "
        "images; unlearn has unlearn.least_part.",
        gt=0,
        le=1,
    )
    mirrored: float = _share(0.0, "Chance of an image to be mirrored, in each epoch.", ge=0, le=1)
    mixed: float = _share(
        0.0, "distill: chance of an image to be a mean with another one, which both models then see.", ge=0, le=1
    )
    image: Literal["autoaugment"] = field("autoaugment", "Second view of an image: AutoAugment, ImageNet policy.")
    caption: Literal["eda"] = field(
        "eda", "Second view of a caption: one of synonyms, insertion, swap, deletion of words."
    )
    caption_rate: float = _share(0.1, "Words of a caption that its second view changes.", ge=0, le=1)
    noise: float = field(0.2, "par: standard deviation of the noise on images in [0, 1].", ge=0, le=1)
    noise_share: float = _share(0.5, "par: share of images that get noise.", ge=0, le=1)
    erased_side: float = _share(
        0.1, "par: largest side of the erased square, relative to the image; the smallest is 0.7 of it.", ge=0, le=0.5
    )
    triggered_share: float = _share(
        0.4, "auto: share of images that carry a found or named trigger in a finetuning.", ge=0, le=1
    )


class Data(Section):
    """Which pairs are taken, and what is refused."""

    min_pairs: int = field(16, "With fewer pairs to train on the run ends as inconclusive.", "pairs", ge=2)
    max_pairs: int | None = field(None, "Largest number of pairs; null uses all.", "pairs", ge=2)
    max_pixels: int = field(25_000_000, "Images with more pixels are skipped before decoding.", "pixels", ge=1)
    max_bytes: int = field(50_000_000, "Larger image files are skipped unread.", "bytes", ge=1)
    max_skipped_share: float = _share(0.1, "If more pairs than this cannot be used, the run ends.", ge=0, le=0.5)
    held_out_share: float = _share(
        0.1,
        "Pairs kept out of training, to measure on when no labelled images are given. Of 400 pairs and more a "
        "quarter is kept, at most 500, if that is more; of fewer, auto keeps a fifth.",
        ge=0,
        le=0.5,
    )
    cache_bytes: int = field(
        4_000_000_000, "Memory for decoded images; the others are decoded in each epoch.", "bytes", ge=0
    )


class Unlearn(Section):
    """How unlearn alternates between searching and forgetting; a finetuning that rehearses triggers, and a recovery, vary them as it says."""

    ADDED_LATER_KEYS = ("search", "towards", "base_share", "base_damping")
    FORMER_KEY_NAMES: ClassVar = {"outlyingness": "anomaly_index"}
    search: bool = field(
        True, "Search for triggers first; false unlearns those that are known: named, or found by the audit before."
    )
    max_rounds: int = field(8, "Largest number of rounds of search and steps.", "rounds", ge=1, le=100)
    widely: bool = field(
        False,
        "Where no class is sure, unlearn what an audit found for every class that it searched; a candidate of auto then waits for such a model.",
    )
    towards: Literal["clean", "base"] = field(
        "clean",
        "Where images under triggers are brought: `clean`, to where the model has them without; `base`, as far beside that as the trigger "
        "moves them in the model that this one was finetuned from.",
    )
    base_share: float = _share(
        0.0,
        "Where the whole model is put first on the line to its base, texts and all: its clean images and texts there are what is kept.",
        ge=0,
        le=1,
    )
    base_damping: float | None = field(
        None,
        "Fits the image tower anew from the base before that, layer by layer, to what it makes of clean images: more damping stays nearer the base "
        "where they say nothing. At 1 a change of a layer costs as much as the same change of what it makes of average inputs; null fits nothing.",
        ge=0.001,
        le=1000,
    )
    steps: int = field(160, "Optimizer steps of a round.", "steps", ge=1, le=10**6)
    effort: EffortName = field("standard", "How hard the first search looks for suspects.")
    anomaly_index: float = _anomaly(
        2.5, "From this anomaly index on a class is suspected and searched for again.", gt=0, le=100
    )
    enough: float = _anomaly(1.0, "The rounds end when no suspect's anomaly index is larger.", gt=0, le=100)
    images: int = field(400, "Largest number of images for searching and judging.", "images", ge=8, le=10_000)
    least_part: float = _share(
        0.6, "Smallest side of the random crop that every other image is cut to; 1 crops none.", gt=0, le=1
    )
    shift: float = _share(
        0.06, "Largest random shift of a found trigger while it is unlearned, relative to the side.", ge=0, le=0.5
    )
    strength: Annotated[tuple[float, float], Strict(False)] = field(
        (0.7, 2.0), "Range of random factors on the strength of a found trigger while it is unlearned."
    )

    @property
    def nears_base(self) -> bool:
        """Whether a model begins nearer its base than it is, so that there is something to learn whatever acts on it."""
        return bool(self.base_share or self.base_damping)


class AutoSettings(Section):
    """How auto chooses, and the effort of the audits of every cleaning."""

    ADDED_LATER_KEYS = ("candidates_with_base",)
    FORMER_KEY_NAMES: ClassVar = {
        "ladder": "candidates",
        "canaries": "test_backdoors",
        "rebound_steps": "refinetune_steps",
        "rebound_walk": "refinetune_walk",
    }
    candidates: Annotated[tuple[Text, ...], Strict(False)] = field(
        (),
        "Candidates in the order of trying, each where its role has something to do: recipes, joined by + if "
        "several run in sequence, each with KEY=VALUE in brackets if values differ.",
    )
    candidates_with_base: Annotated[tuple[Text, ...], Strict(False)] | None = field(
        None, "Candidates beside a --base as well, which come before all others; null takes those of recipe auto."
    )
    control: Text = field("mmcl", "Recipe whose optimizer plants, and finetunes in the refinetune test.")
    test_backdoors: int = field(3, "Number of test backdoors; 0 plants none.", ge=0, le=6)
    plant_steps: int = field(150, "Steps of planting all test backdoors.", "steps", ge=1, le=10**6)
    plant_walk: float = field(
        2.0, "How far planting can go, as train.walk.", "sizes of the weights", gt=0, le=MOST_WALK
    )
    plant_share: float = _share(
        0.3, "Share of triggered pairs in a batch, for all test backdoors together.", gt=0, le=0.9
    )
    refinetune_steps: int = field(60, "Steps of the refinetune test; 0 skips it.", "steps", ge=0)
    refinetune_walk: float = field(
        0.75, "How far the refinetune test can go, as train.walk.", "sizes of the weights", gt=0, le=MOST_WALK
    )
    batch_size: int = field(128, "Pairs in a step of planting and of the refinetune test.", "pairs", ge=2, le=65536)
    effort: EffortName = field("standard", "Effort of the searches before and after.")


class Planting(Section):
    """How a known backdoor is planted by finetuning, for test backdoors and tests."""

    rate: float = _share(0.2, "Share of triggered pairs in a batch.", gt=0, le=1)
    steps: int = field(300, "Steps of finetuning.", "steps", ge=1, le=10**6)
    batch_size: int = field(256, "Pairs in a step.", "pairs", ge=2, le=65536)
    walk: float = field(2.5, "How far it can go, as train.walk.", "sizes of the weights", gt=0, le=MOST_WALK)
    warmup_steps: int = field(20, "Steps in which the rate rises linearly from zero.", "steps", ge=0, le=10**6)


class MeasuredRate(Section):
    """A share of n cases, and its 95 % Wilson interval."""

    value: Share = _share(..., "The share itself.")
    interval: Annotated[tuple[Share, Share], Strict(False)] = _share(..., "Its lower and upper end.")
    n: int = field(..., "Cases counted.", ge=1)


class Measured(Section):
    """The measures of one model, pooled over the seeds."""

    clean_accuracy: MeasuredRate = field(..., "Clean images classified as their own class.")
    attack_success: MeasuredRate = field(..., "Triggered images of other classes classified as the target.")
    base_rate: MeasuredRate = field(..., "The same images classified as the target without the trigger.")
    accuracy_under_trigger: MeasuredRate = field(..., "Triggered images classified as their own class.")


class Versions(Section):
    """The software that an evidence block was measured with."""

    clipclean: Text = field(..., "Version of clipclean.")
    torch: Text = field(..., "Version of PyTorch.")
    open_clip: Text = field(..., "Version of open_clip.")


class Evidence(Section):
    """One measurement of these very values: an attack, a model, data; before and after.

    It is a claim of whoever wrote the file: the digest shows that it belongs to these values, not that it is honest.
    """

    recipe_sha256: str = field(..., "Digest of the recipe that was measured.", pattern="^[0-9a-f]{64}$")
    attack: Text = field(..., "The planted trigger and its target.")
    architecture: Text = field(..., "The model, as open_clip calls it.")
    kind: Text | None = field(None, "The image tower's kind and side, as in resnet-224px.")
    parameters: int | None = field(None, "Numbers that training moves.", "parameters", ge=1)
    data: Text = field(..., "The clean pairs and the images measured on.")
    pairs: int = field(..., "Clean pairs trained on.", "pairs", ge=2)
    classes: int | None = field(None, "Classes of the zero-shot classifier.", "classes", ge=1)
    seeds: Annotated[tuple[int, ...], Strict(False)] = field(..., "One run each.", min_length=1)
    before: Measured = field(..., "The backdoored model.")
    after: Measured = field(..., "The same after the run.")
    versions: Versions = field(..., "The software that measured.")


class Recipe(Section):
    """The settings of one run.

    Examples:
        >>> recipe = load("cleanclip")
        >>> recipe.train.batch_size, recipe.loss.self_supervised_weight
        (128, 0.3)
    """

    version: Literal[1] = field(..., "Version of the recipe format.", "version")
    name: str = field(..., "Name of the recipe: small letters, digits, dashes.", pattern="^[a-z0-9][a-z0-9-]{0,63}$")
    revision: int = field(..., "Increases whenever a value of a published recipe changes.", ge=1)
    description: Text = field(..., "Purpose of the recipe, in one line.")
    method: MethodName = field(..., "; ".join(f"{name}: {method.says}" for name, method in METHODS.items()) + ".")
    train: Train = field(Train(), "How long and how fast the weights move.")
    loss: Loss = field(Loss(), "The weights of the loss terms.")
    augment: Augment = field(Augment(), "How second views are made.")
    data: Data = field(Data(), "Which pairs are taken.")
    audit: Audit = field(Audit(), "What is measured before and after.")
    unlearn: Unlearn = field(Unlearn(), "How searching and forgetting alternate.")
    auto: AutoSettings = field(AutoSettings(), "How auto chooses.")
    evidence: Annotated[tuple[Evidence, ...], Strict(False)] | None = field(
        None, "Measurements of exactly these values, written by `recipes bench`."
    )

    @property
    def traits(self) -> Method:
        """What its method does and needs."""
        return METHODS[self.method]

    @property
    def shows_views(self) -> bool:
        """Whether a second view of each image and caption is trained on."""
        return self.loss.self_supervised_weight > 0

    @property
    def is_surgery(self) -> bool:
        """Whether it unlearns what an audit points at, and searches for nothing first."""
        return self.traits.searches and not self.unlearn.search

    @property
    def undoes(self) -> bool:
        """Whether it needs the model's base."""
        return self.traits.searches and self.unlearn.towards == "base"


def load(name_or_path: str | Path, /) -> Recipe:
    """The recipe of that name, or in that YAML file.

    A name that ships with clipclean wins over a file so called in the current folder; ``./NAME`` reaches the file.

    Raises:
        UnusableSettings: no such recipe, or an invalid one; one line per problem, each with its file, line and key.
    """
    label, source = _located(name_or_path)
    return _parsed(label, yaml_file.content(label, source, form=_FORM))


@functools.cache
def _parsed(label: str, text: str) -> Recipe:
    """The recipe in a text, read once: evidence takes a fifth of a second."""
    return yaml_file.parsed(label, text, form=_FORM)


def text(name_or_path: str | Path, /) -> str:
    """The YAML of a recipe as it was written, with its comments.

    Raises:
        UnusableSettings: no such recipe, or not a text file of less than a megabyte.
    """
    return yaml_file.content(*_located(name_or_path), form=_FORM)


def file(name_or_path: str | Path, /) -> Path:
    """The file that a recipe is in, to be written to.

    Raises:
        UnusableSettings: no such recipe, or one that is not a file of its own.
    """
    label, source = _located(name_or_path)
    if not isinstance(source, Path):
        raise UnusableSettings(
            f"{label} is packed away, and cannot be written to. Copy it by 'clipclean recipes show'."
        )
    return source


def names() -> tuple[str, ...]:
    """The recipes that ship with clipclean, in alphabetical order."""
    return tuple(
        sorted(entry.name.removesuffix(".yaml") for entry in _shipped().iterdir() if entry.name.endswith(".yaml"))
    )


def override(recipe: Recipe, assignments: Sequence[str], /) -> Recipe:
    """A copy in which each ``section.key=value`` holds; values are written as in a recipe file.

    Of two assignments to one key the later holds.

    Examples:
        >>> override(load("cleanclip"), ["train.epochs=3", "train.max_steps=null"]).train.epochs
        3.0

    Raises:
        UnusableSettings: an assignment is malformed, unknown or makes no valid recipe; one line per problem.
    """
    values = recipe.model_dump()
    said: dict[str, str] = {}
    problems: list[str] = []
    for assignment in assignments:
        key, equals, value = (part.strip() for part in assignment.partition("="))
        key = yaml_file.former_keys(Recipe).get(key, key)
        document = yaml_file.read(value, noun=_FORM.noun)
        if not equals:
            problems.append(f"--set {printable(assignment)}: needs KEY=VALUE, as in train.epochs=3")
        elif (fault := _not_settable(key)) or (fault := _idle(recipe, key)):
            problems.append(f"--set {printable(assignment)}: {fault}")
        elif document.problems:
            problems.append(f"--set {printable(assignment)}: {document.problems[0].text}")
        else:
            section, _, leaf = key.rpartition(".")
            (values[section] if section else values)[leaf] = document.values
            said[key] = assignment
    # One of the two rates takes the place of the other, unless both were set.
    for rate_key, other in (RATE_KEYS, RATE_KEYS[::-1]):
        if values["train"][rate_key] is not None and f"train.{rate_key}" in said and f"train.{other}" not in said:
            values["train"][other] = None
    # A warm-up that nobody set shrinks with the run: ``with_fitting_warmup``, once the pairs are known.
    ignored = () if "train.warmup_steps" in said else (("train", "warmup_steps"),)
    check = partial(_contradictions, ignored=ignored)
    copy, wrong = yaml_file.judged(Document(values, {}, []), form=replace(_FORM, check=check))
    for problem in wrong:
        change = said.get(yaml_file.schema_key(problem.key))  # None: a value that no longer fits the ones that were set
        problems.append(
            f"--set {printable(change)}: {problem.text}" if change else f"--set: {yaml_file.problem_text(problem)}"
        )
    if copy is None or problems:
        raise UnusableSettings("\n".join(problems))
    return copy


def recipe_of_run(
    recipe: "str | PathLike[str] | Recipe | None", changes: Sequence[str], /, *, max_accuracy_loss: float | None
) -> Recipe:
    """The recipe of a run, with what the user changes in it and the budget that the user sets; ``DEFAULT_RECIPE`` of a run that names none.

    Raises:
        UnusableSettings: there is no such recipe, a change makes no valid one, or it changes the training of a recipe that nobody named.
    """
    own = recipe if isinstance(recipe, Recipe) else load(DEFAULT_RECIPE if recipe is None else str(recipe))
    training = [
        change for change in changes if change.partition(".")[0].strip() in ("train", "loss", "augment", "unlearn")
    ]
    if recipe is None and training:
        raise UnusableSettings(
            f"{printable(training[0])} changes a recipe, and none is named. Name the one to change, as in --recipe {STANDARD_RECIPE}."
        )
    budget = [] if max_accuracy_loss is None else [f"audit.max_accuracy_loss={max_accuracy_loss}"]
    return override(own, settings) if (settings := (*changes, *budget)) else own


def undoing(auto: Recipe, /) -> Recipe:
    """The recipe with the candidates that only a model's base allows, before its own: they cost least."""
    own, beside_base = auto.auto.candidates, auto.auto.candidates_with_base
    if beside_base is None:
        beside_base = load(DEFAULT_RECIPE).auto.candidates_with_base or ()
    candidates = (*(entry for entry in beside_base if entry not in own), *own)
    return auto.model_copy(update={"auto": auto.auto.model_copy(update={"candidates": candidates})})


def planting(**user_values: float | None) -> Planting:
    """How to plant, with some values chosen by the user; what is None is not.

    Raises:
        UsageError: a value is out of range; one line each.
    """
    try:
        return Planting.model_validate({name: value for name, value in user_values.items() if value is not None})
    except ValidationError as error:
        problems = (
            f"--{str(fault['loc'][0]).replace('_', '-')}: {fault['input']!r} {fault['msg'].removeprefix('Input ')}"
            for fault in error.errors()
        )
        raise UsageError("\n".join(problems)) from error


def check(recipe: Recipe, /, *, pairs: int) -> None:
    """Refuse a run that could not do what the recipe says on that many pairs.

    ``pairs`` counts what is trained on: after ``data.max_pairs``, skipped pairs and the held-out share are taken off.

    Raises:
        Inconclusive: fewer pairs than ``data.min_pairs``.
        UnusableSettings: the warm-up fills the run, a batch is larger than the set, or values contradict each other; one line each.
    """
    if pairs < recipe.data.min_pairs:
        raise Inconclusive(
            f"{plural(pairs, 'pair')} to train on; recipe {recipe.name} needs {recipe.data.min_pairs:,} (data.min_pairs). Bring more clean "
            "pairs."
        )
    problems = _contradictions(recipe) | _shortages(recipe, pairs)
    if problems:
        raise UnusableSettings(
            "\n".join(f"recipe {recipe.name}: {yaml_file.schema_key(key)}: {fault}" for key, fault in problems.items())
        )


def with_fitting_warmup(recipe: Recipe, /, *, pairs: int) -> Recipe:
    """The recipe, with a warm-up of a quarter of the run, or of a round, where its own would fill it on that many pairs.

    Examples:
        >>> short = override(load("cleanclip"), ["train.epochs=2"])  # 14 batches of 128, and 20 steps of warm-up
        >>> with_fitting_warmup(short, pairs=1000).train.warmup_steps
        3
    """
    method = METHODS[recipe.method]
    steps = recipe.unlearn.steps if method.searches else total_steps(recipe, pairs=pairs)
    is_refused = steps == 0 or pairs < recipe.data.min_pairs
    if is_refused or method.chooses or recipe.train.warmup_steps < steps:
        return recipe
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"warmup_steps": steps // 4})})


def total_steps(recipe: Recipe, /, *, pairs: int) -> int:
    """Optimizer steps of a run on that many pairs; an incomplete last batch of an epoch is dropped.

    Zero if the pairs do not fill one batch. For unlearn these are the most that there can be.

    Examples:
        >>> total_steps(load("cleanclip"), pairs=1000)  # 10 epochs of 7 batches of 128
        70
    """
    if METHODS[recipe.method].searches:
        return (recipe.unlearn.max_rounds + 1) * recipe.unlearn.steps  # one more than the most settles
    steps = round(recipe.train.epochs * (pairs // recipe.train.batch_size))
    return steps if recipe.train.max_steps is None else min(steps, recipe.train.max_steps)


def digest(recipe: Recipe, /) -> str:
    """Hex SHA-256 of every value that a run depends on, as JSON with sorted keys.

    A key that was renamed counts under its first name: evidence stays that of the same values.
    """
    # What only a recipe that chooses is measured with: the effort of audits moves no weight.
    idle = set() if METHODS[recipe.method].chooses else {"auto"}
    described = {"version", "name", "revision", "description", "evidence"}
    values = recipe.model_dump(mode="json", exclude=described | idle)
    for name in {*_SETTABLE} - idle:
        section: Section = getattr(recipe, name)
        off = {key: type(section).model_fields[key].default for key in section.ADDED_LATER_KEYS}
        former = {now: earlier for earlier, now in section.FORMER_KEY_NAMES.items()}
        decisive_values = {key: value for key, value in values[name].items() if key not in off or off[key] != value}
        values[name] = {former.get(key, key): value for key, value in decisive_values.items()}
    return yaml_file.digest(values)


def decides(recipe: Recipe, /) -> dict[str, object]:
    """The values of a recipe that determine the weights; those of the audit judge them."""
    return recipe.model_dump(mode="json", include={"method", "train", "loss", "augment", "data", "unlearn"})


def own_evidence(recipe: Recipe, /) -> list[Evidence]:
    """The evidence that was measured on exactly the values of a recipe."""
    return [block for block in recipe.evidence or () if block.recipe_sha256 == digest(recipe)]


def schema() -> dict[str, object]:
    """The JSON Schema of a recipe file, for editors and other programs."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Recipe.model_json_schema()}


# Where recipes are.


def _shipped() -> Traversable:
    """The folder of shipped recipes."""
    return resources.files("clipclean") / "recipes"


def _located(name_or_path: str | Path) -> tuple[str, Traversable]:
    """How to call a recipe in messages, and where it is."""
    label = str(name_or_path)
    if label in names():
        return f"{label}.yaml", _shipped() / f"{label}.yaml"
    try:
        is_there = Path(label).exists()
    except OSError as error:
        raise UnusableSettings(f"Cannot read the recipe {printable(label)}: {error.strerror}.") from error
    if is_there:
        return printable(label), Path(label)
    for ending in ("-few-tiny", "-tiny", "@tiny", "@few", "@usual"):
        name = label.removesuffix(ending)
        if name != label and name in names():
            raise UnusableSettings(f"{label} is gone: write {name}, whose values are for models of any size.")
    close = difflib.get_close_matches(Path(label).name.removesuffix(".yaml").lower(), names(), n=1)
    hint = f"Did you mean '{close[0]}'? " if close else ""
    raise UnusableSettings(
        f"There is no recipe and no file called {printable(label)}. {hint}Recipes that ship with clipclean: "
        f"{', '.join(names())}."
    )


# Judging values.


def _contradictions(recipe: Recipe, *, ignored: Collection[Key] = ()) -> dict[Key, str]:
    """Faults of values together for any data, by key, but for those that are ignored."""
    train, weight, method = recipe.train, recipe.loss.self_supervised_weight, METHODS[recipe.method]
    problems: dict[Key, str] = {}
    if method.views == "needed" and weight == 0:
        problems["loss", "self_supervised_weight"] = (
            f"0 leaves backdoors in; {recipe.method} needs more, or take 'method: mmcl'"
        )
    if method.views == "unused" and weight != 0:
        problems["loss", "self_supervised_weight"] = (
            f"{weight:g} is not used by {recipe.method}; write 0, or take 'method: cleanclip'"
        )
    if method.searches and recipe.loss.preserve_weight == 0:
        problems["loss", "preserve_weight"] = f"0 lets {recipe.method} forget everything; it needs more, 2 for example"
    if method.searches and (recipe.augment.least_part < 1 or recipe.augment.mirrored):
        problems["augment", "least_part" if recipe.augment.least_part < 1 else "mirrored"] = (
            f"{recipe.method} neither cuts nor mirrors by it; it has unlearn.least_part"
        )
    if recipe.augment.mixed and not method.disturbs:
        problems["augment", "mixed"] = f"{recipe.augment.mixed:g} is not used by {recipe.method}; write 0"
    if train.recover_steps and (method.searches or "image tower" not in (method.moves, train.moves)):
        problems["train", "recover_steps"] = (
            f"{recipe.method} settles by itself; write 0"
            if method.searches
            else f"{train.recover_steps} steps of the image tower do not recover texts that moved; it needs train.moves: image tower"
        )
    problems |= _contradictions_of_steps(recipe)
    if method.chooses and not recipe.auto.candidates:
        problems["auto", "candidates"] = f"{recipe.method} tries nothing; name recipes, as recipes/auto.yaml does"
    if recipe.unlearn.enough > recipe.unlearn.anomaly_index:
        problems["unlearn", "enough"] = (
            f"{recipe.unlearn.enough:g} is more than unlearn.anomaly_index, {recipe.unlearn.anomaly_index:g}: suspects would be left"
        )
    for key, nothing in (("base_share", "0"), ("base_damping", "null")):
        if (value := getattr(recipe.unlearn, key)) and not recipe.undoes:
            problems["unlearn", key] = (
                f"{value:g} needs a base, and this recipe goes back to none; write {nothing}, or 'towards: base'"
            )
    if recipe.unlearn.strength[0] > recipe.unlearn.strength[1]:
        problems["unlearn", "strength"] = "the first factor is the smaller one"
    if method.searches:
        if train.warmup_steps >= recipe.unlearn.steps:
            problems["train", "warmup_steps"] = (
                f"{train.warmup_steps} is not shorter than a round of {recipe.unlearn.steps} steps"
            )
    elif train.max_steps is not None and train.warmup_steps >= train.max_steps:
        problems["train", "warmup_steps"] = (
            f"{train.warmup_steps} is not shorter than the run of {train.max_steps} steps"
        )
    return {key: fault for key, fault in problems.items() if key not in ignored}


def _contradictions_of_steps(recipe: Recipe) -> dict[Key, str]:
    """Faults of how far a step goes and what it spares, by key."""
    train, method = recipe.train, recipe.traits
    problems: dict[Key, str] = {}
    if train.walk is not None and train.lr is not None:
        problems["train", "lr"] = (
            f"{train.lr:g} and train.walk, {train.walk:g}, both set the rate; write null for one of them"
        )
    if train.damping is not None and (train.walk is None or "image tower" not in (method.moves, train.moves)):
        problems["train", "damping"] = (
            f"{train.damping:g} needs a walk, and that the image tower alone moves; or write null"
        )
    elif train.damping is not None and train.weight_decay:
        problems["train", "damping"] = f"{train.damping:g} does not go with train.weight_decay; write null"
    if train.walk is None and train.lr is None:
        problems["train", "walk"] = "null leaves the rate open; give train.walk, or train.lr"
    return problems


def _shortages(recipe: Recipe, pairs: int) -> dict[Key, str]:
    """Faults of a recipe for this number of pairs, by key."""
    train, steps = recipe.train, total_steps(recipe, pairs=pairs)
    problems: dict[Key, str] = {}
    if METHODS[recipe.method].chooses:  # each candidate is checked by itself
        return problems
    if train.batch_size > pairs:
        problems["train", "batch_size"] = (
            f"{train.batch_size} is more than the {pairs} pairs; set it to at most {pairs}"
        )
    elif not METHODS[recipe.method].searches and train.warmup_steps >= steps:
        problems["train", "warmup_steps"] = (
            f"{train.warmup_steps} is not shorter than the run of {steps} steps ({pairs} pairs, batches of "
            f"{train.batch_size}, {train.epochs:g} epochs); warm up for less, or train for longer"
        )
    return problems


# Known keys.

STEP_SECTIONS = ("train", "loss", "augment", "unlearn")  # sections that decide the steps of a recipe
_SETTABLE = ("train", "loss", "augment", "data", "audit", "unlearn", "auto")
_FORM = Form(
    noun="recipe",
    advice="a YAML file, or a shipped recipe",
    model=Recipe,
    sections=_SETTABLE,
    check=_contradictions,
    unsuggested=("evidence.",),
)


def _idle(recipe: Recipe, key: str) -> str:
    """Why a key changes nothing in a recipe that takes the steps of others; empty where it does."""
    section = key.partition(".")[0]
    if not recipe.traits.chooses or section not in STEP_SECTIONS or key == "train.precision":
        return ""
    return (
        f"{recipe.name} takes no steps of its own. Name a recipe (--recipe {STANDARD_RECIPE}), or set auto.candidates"
    )


def _not_settable(key: str) -> str:
    """Why ``--set`` refuses a key; empty if it does not."""
    if key not in yaml_file.fields(Recipe):
        return f"unknown key; {yaml_file.hint(key, form=_FORM)}"
    if key in _SETTABLE:
        return f"is a section; set one of its keys: {', '.join(f'{key}.{name}' for name in yaml_file.siblings(Recipe, key))}"
    if key.partition(".")[0] not in (*_SETTABLE, "method"):
        return "says which recipe this is; copy the recipe to a file of your own to change it"
    return ""
