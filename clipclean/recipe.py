"""A recipe says what one sanitizing run does; every default of the program lives here."""

import difflib
import functools
import hashlib
import json
import math
import re
from collections.abc import Iterable, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, Strict, StringConstraints, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from clipclean.errors import UsageError

DEFAULT = "cleanclip"  # the recipe of a run that names none

# What a unit means, for a message to somebody who used another one.
_UNITS = {
    "version": "a newer recipe needs a newer clipclean",
    "share": "a share between 0 and 1",
    "share of accuracy": "a share between 0 and 1: 0.02 is two percentage points",
    "steps": "optimizer steps: a count, not a share of the run",
    "epochs": "passes over the pairs",
    "pairs": "a count of image-caption pairs",
    "images": "a count of images",
    "pixels": "a count of pixels, width times height",
    "bytes": "a plain count of bytes",
    "per step": "a learning rate: finetuning takes between 1e-6 and 1e-3",
    "weight": "a factor of one loss term",
    "norm": "the L2 norm of all gradients together",
}

Text = Annotated[str, StringConstraints(min_length=1, max_length=300, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]
Share = Annotated[float, Field(ge=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]


def _field(default: object, description: str, unit: str = "none", **bounds: Any) -> Any:
    """A pydantic field; ``Any``, as pydantic's own ``Field`` is, so that it fits each annotation."""
    return Field(default, description=description, json_schema_extra={"unit": unit}, **bounds)


class Section(BaseModel):
    """Frozen values under known keys; nothing is coerced, nothing unknown is let through."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Train(Section):
    """How long and how fast the weights move; AdamW, always with fresh state."""

    epochs: float = _field(10.0, "How often each pair is seen; part of an epoch counts.", "epochs", gt=0, le=1000)
    max_steps: int | None = _field(None, "End after so many steps if the epochs last longer.", "steps", ge=1, le=10**8)
    batch_size: int = _field(64, "Pairs in a step; each is the others' negative.", "pairs", ge=2, le=65536)
    lr: float = _field(1e-5, "Peak learning rate, reached at the end of the warm-up.", "per step", gt=0, le=0.01)
    warmup_steps: int = _field(50, "Steps of linear rise from zero to lr.", "steps", ge=0, le=10**6)
    weight_decay: float = _field(
        0.1, "AdamW's decay of weights; norms, biases and the logit scale have none.", ge=0, le=1
    )
    betas: Annotated[tuple[Beta, Beta], Strict(False)] = _field(
        (0.9, 0.999), "AdamW's decay rates of gradient and squared gradient."
    )
    eps: float = _field(1e-8, "AdamW's term against division by zero.", gt=0, le=1e-2)
    schedule: Literal["cosine"] = _field("cosine", "How lr falls after the warm-up: to zero, along half a cosine.")
    precision: Literal["auto", "fp32", "bf16"] = _field(
        "auto", "Number format of the forward pass; auto takes bf16 where the device has it natively."
    )
    grad_clip: float | None = _field(None, "Longest gradient let through; null lets all through.", "norm", gt=0)


class Loss(Section):
    """The weights of the two loss terms."""

    clip_weight: float = _field(1.0, "Lambda 1, of the image-caption loss.", "weight", gt=0, le=100)
    self_supervised_weight: float = _field(
        1.0, "Lambda 2, of the loss that ties each image and caption to its own second view.", "weight", ge=0, le=100
    )


class Augment(Section):
    """How the second views are made."""

    image: Literal["autoaugment"] = _field("autoaugment", "Second view of an image: AutoAugment, ImageNet policy.")
    caption: Literal["eda"] = _field(
        "eda", "Second view of a caption: one of synonyms, insertion, swap, deletion of words."
    )
    caption_rate: float = _field(0.1, "Words of a caption that its second view changes.", "share", ge=0, le=1)


class Data(Section):
    """Which pairs are taken, and what is refused."""

    min_pairs: int = _field(16, "Fewer pairs to train on are refused.", "pairs", ge=2)
    max_pairs: int | None = _field(None, "Take no more than so many pairs; null takes all.", "pairs", ge=2)
    max_pixels: int = _field(25_000_000, "Larger images are skipped before they are decoded.", "pixels", ge=1)
    max_bytes: int = _field(50_000_000, "Larger image files are skipped unread.", "bytes", ge=1)
    max_skipped_share: float = _field(0.1, "More unusable pairs than this end the run.", "share", ge=0, le=0.5)
    held_out_share: float = _field(
        0.1, "Pairs kept out of training, to measure recall when no labelled images are given.", "share", ge=0, le=0.5
    )
    cache_bytes: int = _field(
        4_000_000_000, "Room for decoded images; what does not fit is decoded anew.", "bytes", ge=0
    )


class Audit(Section):
    """What is measured before and after, and where a measurement becomes a verdict."""

    panel_seed: int = _field(0, "Seed of the known triggers that are tried; it fixes their patterns.", ge=0, lt=2**63)
    images: int = _field(1000, "Most probe images taken; intervals narrow with their square root.", "images", ge=1)
    knn: int = _field(10, "Neighbours that vote when images are compared with images.", "images", ge=1, le=1000)
    max_accuracy_loss: float = _field(
        0.02, "A larger loss of clean accuracy fails the run.", "share of accuracy", ge=0, le=0.5
    )
    max_excess: float = _field(
        0.05, "A named or found trigger that moves more pictures than this, beyond chance, fails.", "share", gt=0, le=1
    )
    suspicious_excess: float = _field(
        0.3, "First sign: a trigger of the panel moves more pictures than this to one class.", "share", gt=0, le=1
    )
    collapse: float = _field(
        0.5, "Second sign: triggered embeddings spread less than this share of the clean ones.", "share", gt=0, le=1
    )
    min_images: int = _field(50, "Fewer probe images than this decide nothing.", "images", ge=2)


class Planting(Section):
    """How a known backdoor is planted by finetuning, for canaries and tests.

    The defaults suit models of a few million parameters; larger ones need a rate of 1e-5 and more steps.
    """

    rate: float = _field(0.2, "Share of triggered pairs in a batch.", "share", gt=0, le=1)
    steps: int = _field(300, "Steps of finetuning.", "steps", ge=1, le=10**6)
    batch_size: int = _field(256, "Pairs in a step.", "pairs", ge=2, le=65536)
    lr: float = _field(8e-4, "Peak learning rate.", "per step", gt=0, le=0.01)
    warmup_steps: int = _field(20, "Steps of linear rise from zero to lr.", "steps", ge=0, le=10**6)


class Rate(Section):
    """A share of n cases, and its 95 % Wilson interval."""

    value: Share = _field(..., "The share itself.", "share")
    interval: Annotated[tuple[Share, Share], Strict(False)] = _field(..., "Its lower and upper end.", "share")
    n: int = _field(..., "Cases counted.", ge=1)


class Measured(Section):
    """What one model scored, pooled over the seeds."""

    clean_accuracy: Rate = _field(..., "Clean images classified as their own class.")
    attack_success: Rate = _field(..., "Triggered images of other classes classified as the target.")
    base_rate: Rate = _field(..., "The same images classified as the target without the trigger.")
    accuracy_under_trigger: Rate = _field(..., "Triggered images classified as their own class.")


class Versions(Section):
    """The software that an evidence block was measured with."""

    clipclean: Text = _field(..., "Version of clipclean.")
    torch: Text = _field(..., "Version of PyTorch.")
    open_clip: Text = _field(..., "Version of open_clip.")


class Evidence(Section):
    """One measurement of these very values: an attack, a model, data; before and after.

    It is a claim of whoever wrote the file: the digest shows that it belongs to these values, not that it is honest.
    """

    recipe_sha256: str = _field(..., "Digest of the recipe that was measured.", pattern="^[0-9a-f]{64}$")
    attack: Text = _field(..., "The planted trigger and its target.")
    architecture: Text = _field(..., "The model, as open_clip calls it.")
    data: Text = _field(..., "The clean pairs and the images measured on.")
    pairs: int = _field(..., "Clean pairs trained on.", "pairs", ge=2)
    seeds: Annotated[tuple[int, ...], Strict(False)] = _field(..., "One run each.", min_length=1)
    before: Measured = _field(..., "The backdoored model.")
    after: Measured = _field(..., "The same after the run.")
    versions: Versions = _field(..., "The software that measured.")


class Recipe(Section):
    """What one run does.

    Examples:
        >>> recipe = load("cleanclip")
        >>> recipe.train.batch_size, recipe.loss.self_supervised_weight
        (64, 1.0)
    """

    version: Literal[1] = _field(..., "Version of the recipe format.", "version")
    name: str = _field(
        ..., "What the recipe is called: small letters, digits, dashes.", pattern="^[a-z0-9][a-z0-9-]{0,63}$"
    )
    revision: int = _field(..., "Counts up whenever a value of a published recipe changes.", ge=1)
    description: Text = _field(..., "One line for lists: what the recipe is for.")
    scale: Literal["any", "tiny"] = _field("any", "Model size it is meant for; tiny is a few million parameters.")
    method: Literal["cleanclip", "mmcl"] = _field(
        ..., "cleanclip: both loss terms; mmcl: the image-caption loss alone, a control that leaves backdoors in."
    )
    train: Train = _field(Train(), "How long and how fast the weights move.")
    loss: Loss = _field(Loss(), "The weights of the loss terms.")
    augment: Augment = _field(Augment(), "How second views are made.")
    data: Data = _field(Data(), "Which pairs are taken.")
    audit: Audit = _field(Audit(), "What is measured before and after.")
    evidence: Annotated[tuple[Evidence, ...], Strict(False)] | None = _field(
        None, "Measurements of these very values; written by a benchmark, not by hand."
    )


def load(name_or_path: str | Path, /) -> Recipe:
    """The recipe of that name, or in that YAML file.

    A name that ships with clipclean wins over a file so called in the current folder; ``./NAME`` reaches the file.

    Raises:
        UsageError: no such recipe, or an invalid one; one line per problem, each with its file, line and key.
    """
    label, source = _located(name_or_path)
    document = _read(_content(label, source))
    recipe, problems = (None, document.problems) if document.is_broken else _judged(document)
    if recipe is None or problems:
        problems = sorted(problems, key=lambda problem: problem.line)
        told = [f"{label}:{problem.line}: {_told(problem)}" for problem in problems[:_MOST]]
        raise UsageError("\n".join(told + ["… and more"] * (len(problems) > _MOST)))
    return recipe


def text(name_or_path: str | Path, /) -> str:
    """The YAML of a recipe as it was written, with its comments.

    Raises:
        UsageError: no such recipe, or not a text file of less than a megabyte.
    """
    return _content(*_located(name_or_path))


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
        UsageError: an assignment is malformed, unknown or makes no valid recipe; one line per problem.
    """
    values = recipe.model_dump()
    said: dict[str, str] = {}
    problems: list[str] = []
    for assignment in assignments:
        key, equals, value = (part.strip() for part in assignment.partition("="))
        document = _read(value)
        if not equals:
            problems.append(f"--set {_printable(assignment)}: needs KEY=VALUE, as in train.epochs=3")
        elif fault := _not_settable(key):
            problems.append(f"--set {_printable(assignment)}: {fault}")
        elif document.problems:
            problems.append(f"--set {_printable(assignment)}: {document.problems[0].text}")
        else:
            section, _, leaf = key.rpartition(".")
            (values[section] if section else values)[leaf] = document.values
            said[key] = assignment
    changed, wrong = _judged(_Document(values, {}, []))
    for problem in wrong:
        told = said.get(_schema_key(problem.key))  # None: a value that no longer fits the ones that were set
        problems.append(f"--set {_printable(told)}: {problem.text}" if told else f"--set: {_told(problem)}")
    if changed is None or problems:
        raise UsageError("\n".join(problems))
    return changed


def planting(**chosen: float) -> Planting:
    """How to plant, with some values chosen by the user.

    Raises:
        UsageError: a value is out of range; one line each.
    """
    try:
        return Planting.model_validate(chosen)
    except ValidationError as error:
        told = (f"--{str(fault['loc'][0]).replace('_', '-')}: {fault['msg']}" for fault in error.errors())
        raise UsageError("\n".join(told)) from error


def check(recipe: Recipe, /, *, pairs: int) -> None:
    """Refuse a run that could not do what the recipe says on that many pairs.

    ``pairs`` counts what is trained on: after ``data.max_pairs``, skipped pairs and the held-out share are taken off.

    Raises:
        UsageError: the data are too few, the warm-up fills the run, or values contradict each other; one line each.
    """
    problems = _contradictions(recipe) | _shortages(recipe, pairs)
    if problems:
        raise UsageError(
            "\n".join(f"recipe {recipe.name}: {'.'.join(key)}: {fault}" for key, fault in problems.items())
        )


def total_steps(recipe: Recipe, /, *, pairs: int) -> int:
    """Optimizer steps of a run on that many pairs; an incomplete last batch of an epoch is dropped.

    Zero if the pairs do not fill one batch.

    Examples:
        >>> total_steps(load("cleanclip"), pairs=1000)  # 10 epochs of 15 batches of 64
        150
    """
    steps = round(recipe.train.epochs * (pairs // recipe.train.batch_size))
    return steps if recipe.train.max_steps is None else min(steps, recipe.train.max_steps)


def digest(recipe: Recipe, /) -> str:
    """Hex SHA-256 of every value that a run depends on, as JSON with sorted keys.

    Description and evidence are left out: neither changes a run, and evidence holds the digest.
    """
    values = recipe.model_dump(mode="json", exclude={"description", "evidence"})
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def is_validated(recipe: Recipe, /, *, overridden: bool) -> bool:
    """Whether the recipe carries evidence that was measured on exactly these values and nothing was overridden."""
    return not overridden and any(block.recipe_sha256 == digest(recipe) for block in recipe.evidence or ())


def schema() -> dict[str, Any]:  # any JSON
    """The JSON Schema of a recipe file, for editors and other programs."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Recipe.model_json_schema()}


# Where recipes are.

_MOST = 100  # problems told of one file; a file with more is no recipe
_LIMIT = 1_000_000  # bytes of a recipe file; evidence for every attack takes a tenth of it


def _shipped() -> Traversable:
    """The folder of shipped recipes: in the package once installed, beside it in a source checkout."""
    packaged = resources.files("clipclean") / "recipes"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parent.parent / "recipes"


def _located(name_or_path: str | Path) -> tuple[str, Traversable]:
    """How to call a recipe in messages, and where it is."""
    given = str(name_or_path)
    if given in names():
        return f"{given}.yaml", _shipped() / f"{given}.yaml"
    try:
        is_there = Path(given).exists()
    except OSError as error:
        raise UsageError(f"Cannot read the recipe {_printable(given)}: {error.strerror}.") from error
    if is_there:
        return _printable(given), Path(given)
    close = difflib.get_close_matches(Path(given).name.removesuffix(".yaml").lower(), names(), n=1)
    hint = f"Did you mean '{close[0]}'? " if close else ""
    raise UsageError(
        f"There is no recipe and no file called {_printable(given)}. {hint}Recipes that ship with clipclean: "
        f"{', '.join(names())}."
    )


def _content(label: str, source: Traversable) -> str:
    """The text of a file that may be anything."""
    try:
        if not source.is_file():
            raise UsageError(
                f"{label} is a folder or a device, not a recipe file. Name a YAML file, or a shipped recipe."
            )
        with source.open("rb") as stream:
            raw = stream.read(_LIMIT + 1)
    except OSError as error:
        raise UsageError(
            f"Cannot read the recipe {label}: {error.strerror}. Mend its permissions or its path."
        ) from error
    if len(raw) > _LIMIT:
        raise UsageError(f"{label} has more than {_LIMIT:,} bytes, and no recipe is that long. Name the right file.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{label} is not UTF-8 text (byte {error.start}). Save it as UTF-8, or name the right file."
        ) from error


# Reading YAML: its 1.2 core scalars, one document, no anchors, aliases, tags or repeated keys; lines are kept.

Key = tuple[str | int, ...]


class Problem(NamedTuple):
    """One thing that is wrong with a recipe."""

    line: int
    key: Key
    text: str


class _Document(NamedTuple):
    values: object
    lines: dict[Key, int]
    problems: list[Problem]

    @property
    def is_broken(self) -> bool:
        """Whether reading stopped before the end, so that there are no values to judge."""
        return self.values is None and bool(self.problems)


_DEPTH = 12  # evidence, the deepest part, takes six levels
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_CONSTANTS: dict[str, bool | float | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", "+.inf", ".Inf", ".INF"), math.inf),
    "-.inf": -math.inf,
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}


class _Loader(yaml.SafeLoader):
    """PyYAML's parser, composing plain nodes only."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]  # its stub has no annotation
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _refusal("anchors and aliases (& and *) are refused; write the value out", event)
        if getattr(event, "tag", None) is not None:
            raise _refusal("tags (!) are refused; a recipe holds plain values", event)
        if self.depth == _DEPTH:
            raise _refusal(f"more than {_DEPTH} levels deep, and no recipe is", event)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _refusal(why: str, event: yaml.Event) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=why, problem_mark=event.start_mark)  # type: ignore[arg-type]  # stub: C marks too


def _read(source: str) -> _Document:
    """Plain values with the line of each key; a syntax error leaves no values and one problem."""
    document = _Document(None, {}, [])
    try:
        node = _Loader(source).get_single_node()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        return document._replace(problems=[Problem(line, (), ", ".join(filter(None, (error.context, error.problem))))])
    except yaml.reader.ReaderError as error:
        line = source.count("\n", 0, error.position) + 1
        return document._replace(problems=[Problem(line, (), "holds a control character, which YAML forbids")])
    return document if node is None else document._replace(values=_plain(node, (), document))


def _plain(node: yaml.Node, key: Key, document: _Document) -> object:
    """A node as dict, list or scalar; notes its line, and repeated keys."""
    document.lines.setdefault(key, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*key, index), document) for index, item in enumerate(node.value)]
    if isinstance(node, yaml.ScalarNode):
        return node.value if node.style else _scalar(node.value)
    values: dict[str, object] = {}
    for name, value in node.value:
        inner = (*key, str(name.value))
        line = name.start_mark.line + 1
        if not isinstance(name, yaml.ScalarNode):
            document.problems.append(Problem(line, key, "a key must be a word"))
        elif name.value in values:
            document.problems.append(Problem(line, inner, f"given twice; first in line {document.lines[inner]}"))
        else:
            document.lines[inner] = line
            values[name.value] = _plain(value, inner, document)
    return values


def _scalar(word: str) -> bool | int | float | str | None:
    """An unquoted word by YAML 1.2: 1e-5 is a number; no, on and 12:30 are words."""
    if word in _CONSTANTS:
        return _CONSTANTS[word]
    if _INTEGER.fullmatch(word):
        return int(word)
    return float(word) if _FLOAT.fullmatch(word) else word


# Judging values, and saying what is wrong with them.


def _judged(document: _Document) -> tuple[Recipe | None, list[Problem]]:
    """The recipe if the values make one, and everything that is wrong."""
    try:
        recipe = Recipe.model_validate(document.values)
    except ValidationError as error:
        details = error.errors(include_url=False)[: _MOST + 1]
        found = [(detail["loc"], _explained(detail)) for detail in details]
        return None, document.problems + [Problem(_line(key, document.lines), key, told) for key, told in found]
    contradictions = _contradictions(recipe).items()
    return recipe, document.problems + [Problem(_line(key, document.lines), key, told) for key, told in contradictions]


def _contradictions(recipe: Recipe) -> dict[tuple[str, ...], str]:
    """What no data could mend, by key."""
    train, weight = recipe.train, recipe.loss.self_supervised_weight
    problems: dict[tuple[str, ...], str] = {}
    if recipe.method == "cleanclip" and weight == 0:
        problems["loss", "self_supervised_weight"] = (
            "0 leaves backdoors in; cleanclip needs more, or take 'method: mmcl'"
        )
    if recipe.method == "mmcl" and weight != 0:
        problems["loss", "self_supervised_weight"] = (
            f"{weight:g} is not used by mmcl; write 0, or take 'method: cleanclip'"
        )
    if train.max_steps is not None and train.warmup_steps >= train.max_steps:
        problems["train", "warmup_steps"] = (
            f"{train.warmup_steps} is not shorter than the run of {train.max_steps} steps"
        )
    return problems


def _shortages(recipe: Recipe, pairs: int) -> dict[tuple[str, ...], str]:
    """What so many pairs do not suffice for, by key."""
    train, data, steps = recipe.train, recipe.data, total_steps(recipe, pairs=pairs)
    problems: dict[tuple[str, ...], str] = {}
    if pairs < data.min_pairs:
        problems["data", "min_pairs"] = (
            f"{pairs} pairs to train on, and {data.min_pairs} are needed; bring more clean data"
        )
    if train.batch_size > pairs:
        problems["train", "batch_size"] = (
            f"{train.batch_size} is more than the {pairs} pairs; set it to at most {pairs}"
        )
    elif train.warmup_steps >= steps:
        problems["train", "warmup_steps"] = (
            f"{train.warmup_steps} is not shorter than the run of {steps} steps ({pairs} pairs, batches of "
            f"{train.batch_size}, {train.epochs:g} epochs); warm up for less, or train for longer"
        )
    return problems


def _line(key: Key, lines: dict[Key, int]) -> int:
    """Where a key stands, or what it is missing from."""
    return next((lines[key[:length]] for length in range(len(key), -1, -1) if key[:length] in lines), 1)


def _told(problem: Problem) -> str:
    """``key: text``, the key made safe to print."""
    key = ".".join(_printable(str(part)) for part in problem.key)
    return f"{key}: {problem.text}" if key else problem.text


def _explained(detail: ErrorDetails) -> str:
    """One of pydantic's errors in words of the recipe: what was found, what it should be, in which unit."""
    key, kind, found = detail["loc"], detail["type"], detail["input"]
    field = _fields().get(_schema_key(key))
    if kind == "extra_forbidden":
        section = _schema_key(key[:-1])
        return f"unknown key; {_hint(_schema_key(key))}".replace(f"'{section}.", "'")  # in a section, the leaf says it
    if kind == "missing":
        return f"missing{f' ({field.description})' if field and field.description else ''}"
    if kind == "model_type":
        return f"found {_shown(found)}, expected the keys {', '.join(_siblings(_schema_key(key)))}"
    wanted = re.sub("^(Input|String) ", "", detail["msg"])
    extra = field.json_schema_extra if field else None
    unit = str(extra["unit"]) if isinstance(extra, dict) else "none"
    meaning = f" ({_UNITS[unit]})" if unit in _UNITS else ""
    return f"{_shown(found)} {wanted}{meaning}{_meant(found, unit)}"


def _meant(found: object, unit: str) -> str:
    """A guess at what a value in the wrong unit stood for; empty if there is none."""
    written = re.fullmatch(r"([-+0-9.eE_,]+?)\s*(%|[kKMGT]?i?[Bb])?", found) if isinstance(found, str) else None
    number = _scalar(re.sub("[_,]", "", written[1])) if written else found
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        return ""
    suffix = (written[2] or "") if written else ""
    if unit.startswith("share") and (suffix == "%" or 1 <= number <= 100):
        return f"; did you mean {number / 100:g}?"
    if unit == "bytes" and suffix not in ("", "%"):
        power = " KMGT".index(suffix[0].upper()) if len(suffix) > 1 else 0
        return f"; did you mean {round(number * (1024 if 'i' in suffix else 1000) ** power)}?"
    return f"; write {number!r}" if written else ""


# Known keys, and which of them a wrong one stands for.

_ALIASES = {
    "adam_epsilon": "eps",
    "alpha": "caption_rate",
    "amp": "precision",
    "batch": "batch_size",
    "batchsize": "batch_size",
    "clip_grad_norm": "grad_clip",
    "dtype": "precision",
    "epsilon": "eps",
    "inmodal_weight": "self_supervised_weight",
    "k": "knn",
    "lambda1": "clip_weight",
    "lambda2": "self_supervised_weight",
    "learning_rate": "lr",
    "lr_schedule": "schedule",
    "max_grad_norm": "grad_clip",
    "num_epochs": "epochs",
    "num_warmup_steps": "warmup_steps",
    "scheduler": "schedule",
    "ssl_weight": "self_supervised_weight",
    "steps": "max_steps",
    "warmup": "warmup_steps",
    "wd": "weight_decay",
}
_SETTABLE = ("train", "loss", "augment", "data", "audit")


@functools.cache
def _fields() -> dict[str, FieldInfo]:
    """Every key of a recipe, dotted and without list positions, with its field."""
    return dict(_walk(Recipe, ""))


def _walk(model: type[BaseModel], prefix: str) -> Iterable[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        yield prefix + name, field
        if section := _section(field.annotation):
            yield from _walk(section, f"{prefix}{name}.")


def _section(annotation: object) -> type[BaseModel] | None:
    """The model inside an annotation such as ``tuple[Evidence, ...] | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _section(inner))), None)


def _schema_key(key: Key) -> str:
    return ".".join(part for part in key if isinstance(part, str))


def _siblings(section: str) -> list[str]:
    """The keys directly in a section; of the top level for the empty string."""
    return [key.rpartition(".")[2] for key in _fields() if key.rpartition(".")[0] == section]


def _hint(key: str) -> str:
    """What an unknown dotted key may stand for."""
    section, _, leaf = key.rpartition(".")
    if known := _closest(section, leaf):
        return f"did you mean '{known}'?"
    return f"known here: {', '.join(_siblings(section) or _SETTABLE)}"


def _closest(section: str, leaf: str) -> str | None:
    """The known key most like a wrong one, dotted; its own section is searched before the others."""
    word = leaf.lower().replace("-", "_")
    word = _ALIASES.get(word) or _ALIASES.get(word.replace("_", ""), word)
    keys = [key for key in _fields() if not key.startswith("evidence.")]
    for near in ([key for key in keys if key.rpartition(".")[0] == section], keys):
        leaves = {key.rpartition(".")[2]: key for key in reversed(near)}
        spellings = {alias: leaves[right] for alias, right in _ALIASES.items() if right in leaves} | leaves
        if close := difflib.get_close_matches(word, spellings, n=1, cutoff=0.75):
            return spellings[close[0]]
    return None


def _not_settable(key: str) -> str:
    """Why ``--set`` refuses a key; empty if it does not."""
    if key not in _fields():
        return f"unknown key; {_hint(key)}"
    if key in _SETTABLE:
        return f"is a section; set one of its keys: {', '.join(f'{key}.{name}' for name in _siblings(key))}"
    if key.partition(".")[0] not in (*_SETTABLE, "method"):
        return "says which recipe this is; copy the recipe to a file of your own to change it"
    return ""


def _shown(value: object) -> str:
    """A value found in a recipe, short and safe to print."""
    if isinstance(value, list | tuple | dict):
        return "a section" if isinstance(value, dict) else "a list"
    word = repr(value) if isinstance(value, str) else json.dumps(value)
    return word if len(word) <= 60 else f"{word[:57]}…"


def _printable(word: str) -> str:
    """Words from outside with control characters escaped, so that no message can drive a terminal."""
    return word if word.isprintable() else repr(word)
