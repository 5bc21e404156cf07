"""What each command and each function of the package can be asked: a frozen dataclass for each, whose fields are its options.

A field holds what a job gets. Its ``Opt`` says what it means and which values it takes: ``--help``, the pages, the keys of
``clipclean.yaml`` and the help of the functions are read off it. ``clipclean.cli.command`` says by the names of the fields how the
help is ordered. Nothing here imports torch.
"""

import dataclasses
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, TypeVar, get_args

import click
from click.types import convert_type

from clipclean import untrusted
from clipclean.config.effort import EFFORTS, LONG
from clipclean.errors import UsageError
from clipclean.export.formats import FORMATS, PRESETS
from clipclean.progress import Progress
from clipclean.untrusted import printable

if TYPE_CHECKING:
    from torch import nn

    from clipclean.config.policy import Policy
    from clipclean.config.recipe import Recipe

Request = TypeVar("Request")
Kind: TypeAlias = "click.ParamType[Any]"  # Any: each has its own
Place: TypeAlias = str | PathLike[str]
Model: TypeAlias = "str | PathLike[str] | nn.Module"  # a checkpoint, or an open_clip model in memory
Names: TypeAlias = Path | tuple[str, ...]  # a file with one a line, or the names themselves
EffortName: TypeAlias = Literal["quick", "standard", "thorough"]
PrecisionName: TypeAlias = Literal["auto", "fp32", "bf16"]
ScreenRule: TypeAlias = (
    float | Literal["report", "auto", "off"]
)  # which pairs are dropped: a share, those that stand out; none, or unscreened
DropRule: TypeAlias = float | Literal["auto"]  # the same of those that are


@dataclass(frozen=True)
class Opt:
    """What an option means, and which values it takes. Its flag is the name of its field, with ``no-`` before it where the default is True."""

    help: str = ""  # of the option; empty where the command line has none
    metavar: str = ""  # what it takes, as the help has it; by default the words to choose from. A switch has neither
    _: KW_ONLY
    argument: str = ""  # what the help calls it where it stands without a flag
    words: str = ""  # of the argument of a function, where the first sentence of the help is not that
    takes: "Kind | None" = None  # the type of a value, or of each; by default a text, or a path
    is_several: bool = False  # whether there may be several
    gather: Callable[..., object] | None = None  # what becomes of the value, or the several
    shown: str = ""  # the default in words
    # Whether it names a path that is read; a text may also be a name, and counts where a file is called so.
    reads: Literal["", "path", "text"] = ""
    writes: Literal["", "file", "folder", "log"] = ""  # whether it names what is written, or a folder of logs
    is_model: bool = False  # whether it names a model, which may be hostile, or fetched from a hub
    needs: tuple[str, str] = ("", "")  # the option without which it means nothing, and the words that say so
    has: str = ""  # the attribute of what Python may give in place of a text

    @property
    def is_path(self) -> bool:
        """Whether a text is a path, and nothing else."""
        return self.reads == "path" or bool(self.writes)

    @property
    def kind(self) -> "Kind | None":
        """The type of a value; None for a text or a path."""
        return SWITCH if self.takes is None and self.help and not self.metavar else self.takes

    @property
    def explanation(self) -> str:
        """What the argument of a function is: the words for it, or the first sentence of the help; and the default."""
        words = self.words or first_sentence(self.help)
        return f"{words} Default: {self.shown}." if self.shown else words


def first_sentence(text: str, /) -> str:
    """The first sentence of a help."""
    return re.split(r"(?<=[^.])\. ", text, maxsplit=1)[0].rstrip(".") + "."


# The values that options take.


def switch(value: object, /) -> bool:
    """The value, if it is True or False and nothing like it."""
    if not isinstance(value, bool):
        raise click.BadParameter(f"{value!r} is neither True nor False.")
    return value


SWITCH = convert_type(switch)


def share(*words: str) -> Kind:
    """A share above 0 and below 1, which is written as 2%; or one of some words."""

    def read(value: Any) -> float | str:  # Any: what a user gives, which is compared
        if value in words:
            return str(value)
        percent = re.fullmatch(r"([0-9]{1,2}(?:\.[0-9]{1,6})?) ?%", str(value))
        share = float(percent[1]) / 100 if percent else value
        if isinstance(share, str) or not 0 < share < 1:
            raise click.BadParameter(
                f"{value!r} is no share{' and not '.join(['', *words])}. Write a share above 0 and below 100 % such as 2%."
            )
        return share

    return convert_type(read)


class Finite(click.FloatRange):
    """A range that NaN and the infinities, which compare with nothing or pass for any bound, are not in."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The value, a number of the range."""
        number = super().convert(value, param, ctx)
        return number if math.isfinite(number) else self.fail(f"{value} is not a finite number.", param, ctx)


def label(text: object, /) -> str:
    """The text, if it is a label; bounded, since labels stand in every form of the report."""
    if not isinstance(text, str):
        raise click.BadParameter(f"{repr(text)[:80]} is not a label. Write KEY=VALUE.")
    key, equals, words = text.partition("=")
    is_key = re.fullmatch(r"[A-Za-z][A-Za-z0-9._/-]{0,62}", key)
    if not equals or not is_key or len(words) > 200 or not words.isprintable():
        raise click.BadParameter(
            f"{text[:80]!r} is not a label. Write KEY=VALUE: a key of letters, digits and ._/- that begins with a letter, and "
            "a value of at most 200 printable characters."
        )
    return text


def labels(texts: Sequence[str], /) -> dict[str, str]:
    """Labels by key.

    Raises:
        UsageError: one key twice, or too many.
    """
    by_key = dict(text.split("=", 1) for text in texts)
    if len(by_key) < len(texts):
        raise UsageError("--label: a key is given twice. Give each key once.")
    if len(by_key) > 32:
        raise UsageError(f"--label: {len(by_key)} labels; 32 are the maximum.")
    return by_key


def seeds_in(text: str, /) -> tuple[int, ...]:
    """Different whole numbers with commas between them; raises UsageError."""
    try:
        seeds = tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--seeds {text!r} are not numbers. Write them as in 0,1,2.") from error
    if len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise UsageError(f"--seeds {text!r}: seeds are different from each other, and none is negative.")
    return seeds


def device(text: str, /) -> str:
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``; whether the device is there is asked later, of torch."""
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", text):
        raise click.BadParameter(f"{text!r} is not a device. Choose auto, cpu, cuda or cuda:N, as in cuda:0.")
    return text


def places(paths: Path | Sequence[Path] | None, /) -> tuple[Path, ...] | None:
    """Sets of data by their paths; one with ``::`` in it stands for several, unless something is called so."""
    several = (paths,) if isinstance(paths, Path) else paths or ()
    parts = [[path] if untrusted.answers_yes(path.exists) else str(path).split("::") for path in several]
    return tuple(Path(part) for of_path in parts for part in of_path) or None


# Options of several commands; those of one stand above its request.

# Written out, since what reads data imports torch; a test compares it with ``data/containers.py``.
SETS_HELP = "A folder, CSV, JSON, COCO captions, Parquet, a folder saved by datasets, or tar shards ('shards/*.tar'). Repeatable."


SETS = Opt(metavar="CLEAN", takes=click.Path(path_type=Path), is_several=True, gather=places, reads="path")
A_MODEL = Opt(metavar="MODEL", reads="path", is_model=True, has="state_dict")
A_TRIGGER = Opt(metavar="SPEC|FILE", reads="text")
A_SEARCH = ("search", "without a search nothing is found that could be saved or compared. Leave one of them out.")
TEXT_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

CHECKPOINT = replace(A_MODEL, argument="MODEL", words="A checkpoint, or an open_clip module.")
ONE_MODEL = replace(CHECKPOINT, argument="")  # of several, whose command asks the same of each
ARCH = Opt(
    "Architecture of the model, by name or as a file. An open_clip name, or a JSON file with an open_clip config. Overrides the "
    "architecture inferred from the tensors. A wrong one is refused, since the tensors do not fit.",
    "NAME|FILE",
    reads="text",
)
DOWNLOAD = Opt(
    "Fetch a model that you name as hf-hub:ORG/MODEL[@REVISION] or open_clip:ARCH/TAG, if it is not in your "
    "cache. Without this flag no command uses a network."
)
WEIGHTS = Opt(
    "The set of weights to use from a file with several: ema for averaged ones, or the name of a set.",
    "NAME",
    shown="the only set",
)
EVAL_DATA = Opt(
    "Labelled images to measure on. One folder per class, or any of the --data formats with class names as "
    "labels or captions. Without them some pairs are kept out of training, to measure image-text recall; "
    "captions that name exactly one class serve as labels.",
    "LABELLED",
    gather=places,
    reads="path",
)
IMAGE_KEY = Opt(
    "Column of the images in a table, or their extension in a shard, if it has an unusual name.",
    "NAME",
    shown="the known ones",
)
CAPTION_KEY = Opt("Column or JSON key of the captions, if it has an unusual name.", "NAME", shown="the known ones")
CLASSES = Opt(
    "Class names, one per line. Accuracy is measured over them, and an attack shows only if its target is one of them.",
    "FILE",
    words="A file of class names, one per line, or the names.",
    takes=TEXT_FILE,
    reads="path",
    shown="ImageNet-1k",
)
TEMPLATES = Opt(
    "Sentences with {} for the class name, one per line. The mean of their embeddings is the embedding of the class.",
    "FILE",
    words="A file of sentences with {} for the class name, or the sentences.",
    takes=TEXT_FILE,
    reads="path",
    shown="open_clip's seven",
)
TRIGGER = replace(
    A_TRIGGER,
    help="A trigger that you suspect, by its spec or file. A spec such as patch:size=0.07,place=corner, or a file of 'clipclean audit "
    "--save-triggers'. 'clipclean triggers list' shows the families. Repeatable.",
    words="Triggers that you suspect, as specs or files; one, or several.",
    is_several=True,
)
TARGET = Opt(
    "The class that the triggers lead to.", "CLASS", shown="that of a found trigger, else whichever they lead to"
)
POLICY_FILE = Opt(
    "A policy file: thresholds, severities and suppressions of the verdict. Its thresholds override the "
    "recipe's and --set.",
    "FILE",
    reads="path",
    has="suppressions",
    shown="none",
)
IGNORE = Opt(
    "Set the findings of a rule aside, such as CC031; the report says so. What shows how far to trust a verdict cannot be. "
    "Repeatable; a policy file does the same, with a reason.",
    "CODE",
    is_several=True,
)
OVERRIDES = Opt(
    "Change one value of the recipe, as in train.epochs=3. The report then says validated: false. Repeatable.",
    "KEY=VALUE",
    words="Values of the recipe, as {'train.epochs': 3} or ['train.epochs=3'].",
    is_several=True,
)
KEEP_FAILED = Opt(
    "Write the weights even if they fail. Their audit failed, or they cost more accuracy than allowed; they may hold the backdoor."
)
OUT = Opt(
    "Folder to write into. It must be empty, unless --force is given.",
    "DIR",
    takes=click.Path(readable=False, path_type=Path),  # what else is there is told with what it is read as
    writes="folder",
)
FORCE = Opt("Overwrite files that clipclean wrote before. Their contents are lost.")
LABEL = Opt(
    "Add a label to the reports and records, such as commit=0a1b2c. Repeatable.",
    "KEY=VALUE",
    words="Names and values for the reports and records, such as {'commit': '0a1b2c'}.",
    takes=convert_type(label),
    is_several=True,
    gather=labels,
)
SEED = Opt(
    "Seed of every random choice: the same seed, data and machine give the same result.",
    "N",
    takes=click.IntRange(0, 2**63 - 1),
)
DEVICE = Opt(
    "Device to compute on; auto uses the first GPU if there is one. A GPU that is not there is an error.",
    "auto|cpu|cuda[:N]",
    words="auto, cpu, cuda or cuda:N; auto uses the first GPU if there is one.",
    takes=convert_type(device),
)
MAX_MINUTES = Opt(
    "End after N minutes with the results so far, or with nothing where there are none yet; the verdict is "
    "inconclusive if the rest could change it.",
    "N",
    takes=Finite(min=0, min_open=True),
    shown="none",
)
STEPS = Opt("Steps of planting.", "N", takes=click.INT, shown="300")
PLANTING_WALK = Opt(
    "How far planting can go, in sizes of the weights, like train.walk of a recipe.",
    "N",
    takes=click.FLOAT,
    shown="2.5",
)
PLANTING_BATCH = Opt("Pairs in a step.", "N", takes=click.INT, shown="256")
PROGRESS_FUNCTION = Opt(words="Called with each stage, steps done and steps in all.", has="__call__")


DATA = replace(
    SETS,
    help=f"Images to measure and search on. {SETS_HELP} Labels (one folder per class) and captions are "
    "used if present. A few hundred varied images are enough. They may contain poisoned images; only the labels must be right.",
    metavar="IMAGES",
    shown="bundled images",
)
REFERENCE = replace(
    A_MODEL,
    help="A clean model of the same architecture that you trust. It is searched in the same way, and its natural "
    "triggers for a class do not count against the model. Repeatable.",
    is_several=True,
    needs=A_SEARCH,
)
REFERENCES = Opt(
    "The same, from a file of 'clipclean references build' and without another search. Repeatable.",
    "FILE",
    words="A file that references() wrote, or several.",
    is_several=True,
    reads="path",
    needs=A_SEARCH,
)
BASE = replace(
    A_MODEL,
    help="The model that this one was finetuned from, such as a public CLIP. Whether it is, is measured. What acts on the model and not on "
    "its base fails it, and it serves as a --reference.",
    words="The model that this one was finetuned from.",
    is_several=True,
    needs=A_SEARCH,
)
EFFORT = Opt(
    "How hard to search; a harder search misses less. Forward and backward passes of one image through the image tower: "
    + ", ".join(f"{name} {effort.cost(LONG):,}" for name, effort in EFFORTS.items())
    + " at most.",
    takes=click.Choice(tuple(EFFORTS)),
)
SAVE_TRIGGERS = Opt(
    "Folder to save the found triggers in, for 'clipclean sanitize --trigger FILE'.",
    "DIR",
    writes="folder",
    needs=A_SEARCH,
)
POWER = Opt(
    "Plant four test backdoors in copies of the model and run the same audit on each. If it finds nearly all of them and "
    "nothing in the model, the model may pass without --reference. Costs four more audits.",
    needs=A_SEARCH,
)
SEARCH = Opt(
    "Try the known triggers only, or those of --trigger alone. This is faster, but misses other backdoors, so the verdict is "
    "never pass.",
    words="Whether to search for unknown triggers at all; without a search the verdict is never pass.",
)


@dataclass(frozen=True)
class Audit:
    """An audit."""

    model: Annotated[Model, ONE_MODEL]
    _: KW_ONLY
    data: Annotated[tuple[Path, ...] | None, DATA] = None
    reference: Annotated[tuple[Model, ...], REFERENCE] = ()
    references: Annotated[tuple[Path, ...], REFERENCES] = ()
    base: Annotated[tuple[Model, ...], BASE] = ()
    effort: Annotated[EffortName, EFFORT] = "standard"
    save_triggers: Annotated[Path | None, SAVE_TRIGGERS] = None
    power: Annotated[bool, POWER] = False
    search: Annotated[bool, SEARCH] = True
    trigger: Annotated[tuple[str, ...], TRIGGER] = ()
    target: Annotated[str | None, TARGET] = None
    download: Annotated[bool, DOWNLOAD] = False
    arch: Annotated[str | None, ARCH] = None
    weights: Annotated[str | None, WEIGHTS] = None
    classes: Annotated[Names | None, CLASSES] = None
    templates: Annotated[Names | None, TEMPLATES] = None
    policy: Annotated["Path | Policy | None", POLICY_FILE] = None
    ignore: Annotated[tuple[str, ...], IGNORE] = ()
    seed: Annotated[int, SEED] = 0
    device: Annotated[str, DEVICE] = "auto"
    max_minutes: Annotated[float | None, MAX_MINUTES] = None
    label: Annotated[Mapping[str, str], LABEL] = field(default_factory=dict)
    progress: Annotated[Progress | None, PROGRESS_FUNCTION] = field(default=None, repr=False)


TWO_REPORTS = ("base", "two reports are compared as they are, and nothing is measured. Name the base, or leave it out.")
COMPARED_BASE = replace(
    BASE,
    help="The model that MODEL was finetuned from. Whether it is, is measured, with what the finetune moved and which known triggers act on "
    "one of the two alone.",
    needs=("", ""),
    is_several=False,
)


def _beside(opt: Opt, /) -> Opt:
    """An option of a comparison with a base."""
    return replace(opt, needs=TWO_REPORTS)


@dataclass(frozen=True)
class Compare:
    """A comparison of two reports, or of a model with its base."""

    model: Annotated[Model, replace(CHECKPOINT, argument="MODEL|EARLIER.JSON")]
    later: Annotated[Path | None, Opt(argument="[LATER.JSON]", words="Empty beside a base.", reads="path")] = None
    _: KW_ONLY
    base: Annotated["Model | None", COMPARED_BASE] = None
    data: Annotated[tuple[Path, ...] | None, _beside(DATA)] = None
    trigger: Annotated[tuple[str, ...], _beside(TRIGGER)] = ()
    download: Annotated[bool, DOWNLOAD] = False
    arch: Annotated[str | None, _beside(ARCH)] = None
    weights: Annotated[str | None, _beside(WEIGHTS)] = None
    classes: Annotated[Names | None, _beside(CLASSES)] = None
    templates: Annotated[Names | None, _beside(TEMPLATES)] = None
    device: Annotated[str, DEVICE] = "auto"
    progress: Annotated[Progress | None, PROGRESS_FUNCTION] = field(default=None, repr=False)


SANITIZE_DATA = replace(
    SETS,
    help="Clean image-caption pairs. Unlearning needs images only, supervised finetuning labelled images. A few poisoned pairs undo the "
    f"cleaning. {SETS_HELP}",
)
SANITIZE_REFERENCE = replace(
    A_MODEL,
    help="A clean model of the same architecture that you trust, for the audits before and after to compare with. Without one a "
    "cleaning that searches is never pass. Repeatable.",
    is_several=True,
    needs=A_SEARCH,
)
SANITIZE_REFERENCES = replace(
    REFERENCES,
    help="The same, from a file of 'clipclean references build' and without another search. Its effort is that of the audits here, "
    "auto.effort of the recipe. Repeatable.",
)
SANITIZE_BASE = replace(
    BASE,
    help="The model that this one was finetuned from, such as a public CLIP. Whether it is, is measured. The finetune is undone as far as "
    "it does what the base does not, and the base serves as a --reference.",
)
RECIPE = Opt(
    "Method and values, by name or as a file. 'clipclean recipes list' shows the shipped ones.",
    "NAME|FILE",
    reads="text",
    has="method",
    shown="auto",
)
SCREEN = Opt(
    "Rank the pairs by suspicion before training. N% drops the first N per cent, auto those that stand out "
    "(at most 5 per cent); report drops none and counts them, off skips the ranking.",
    "report|N%|auto|off",
    words="Pairs to leave out: a share, auto, report for none, off.",
    takes=share("auto", "off", "report"),
)
PRECISION = Opt(
    "Number format of the forward pass. bf16 is faster and needs less memory; fp32 is the most reproducible.",
    takes=click.Choice(get_args(PrecisionName)),
    shown="the recipe's",
)
PANEL = Opt(
    "Skip the panel of known triggers. This is faster, but misses a backdoor that you do not name.",
    words="Whether to try the panel of known triggers.",
)
SANITIZE_SEARCH = Opt(
    "Measure known triggers only, before and after: those of the panel, and of --trigger. This is faster, but misses every backdoor "
    "that neither has.",
    words="Whether to search for unknown triggers, before and after.",
)
MAX_ACCURACY_LOSS = Opt(
    "Clean accuracy that the cleaning may cost; 0.02 means two points. A larger loss fails the run. With "
    "--recipe auto, candidates that cost more are not chosen.",
    "SHARE",
    takes=Finite(0, 0.5),
    shown="the recipe's, 0.02",
)
FORMAT = Opt(
    f"Format of the weights. Formats: {'; '.join(f'{name}, {form.words}' for name, form in FORMATS.items())}. Repeatable: all of them go "
    "into one folder.",
    words="Formats of the weights; one, or several.",
    takes=click.Choice(tuple(FORMATS)),
    is_several=True,
)
LOG_DIR = Opt(
    "Write losses and learning rate of each step into this folder, into metrics.jsonl, which a resumed run extends.",
    "DIR",
    writes="log",
)
LOG_TO = Opt(
    "Send losses and learning rate to TensorBoard or Weights & Biases as well, if that package is installed. "
    "Repeatable.",
    "tensorboard|wandb",
    takes=click.Choice(("tensorboard", "wandb")),
    is_several=True,
    needs=("log_dir", "name the folder that the logs go to."),
)


@dataclass(frozen=True)
class Sanitize:
    """A cleaning."""

    model: Annotated[Model, CHECKPOINT]
    data: Annotated[tuple[Path, ...], SANITIZE_DATA]
    _: KW_ONLY
    eval_data: Annotated[tuple[Path, ...] | None, EVAL_DATA] = None
    image_key: Annotated[str | None, IMAGE_KEY] = None
    caption_key: Annotated[str | None, CAPTION_KEY] = None
    classes: Annotated[Names | None, CLASSES] = None
    templates: Annotated[Names | None, TEMPLATES] = None
    seed: Annotated[int, SEED] = 0
    device: Annotated[str, DEVICE] = "auto"
    download: Annotated[bool, DOWNLOAD] = False
    arch: Annotated[str | None, ARCH] = None
    weights: Annotated[str | None, WEIGHTS] = None
    reference: Annotated[tuple[Model, ...], SANITIZE_REFERENCE] = ()
    references: Annotated[tuple[Path, ...], SANITIZE_REFERENCES] = ()
    base: Annotated[tuple[Model, ...], SANITIZE_BASE] = ()
    recipe: Annotated["str | Path | Recipe | None", RECIPE] = None
    set: Annotated[tuple[str, ...], OVERRIDES] = ()
    screen: Annotated[ScreenRule, SCREEN] = "report"
    precision: Annotated[PrecisionName | None, PRECISION] = None
    trigger: Annotated[tuple[str, ...], TRIGGER] = ()
    target: Annotated[str | None, TARGET] = None
    panel: Annotated[bool, PANEL] = True
    search: Annotated[bool, SANITIZE_SEARCH] = True
    policy: Annotated["Path | Policy | None", POLICY_FILE] = None
    ignore: Annotated[tuple[str, ...], IGNORE] = ()
    max_accuracy_loss: Annotated[float | None, MAX_ACCURACY_LOSS] = None
    keep_failed: Annotated[bool, KEEP_FAILED] = False
    out: Annotated[Path, OUT] = Path("clipclean-out")
    format: Annotated[tuple[str, ...], FORMAT] = ("open_clip",)
    log_dir: Annotated[Path | None, LOG_DIR] = None
    log_to: Annotated[tuple[str, ...], LOG_TO] = ()
    label: Annotated[Mapping[str, str], LABEL] = field(default_factory=dict)
    force: Annotated[bool, FORCE] = False
    max_minutes: Annotated[float | None, MAX_MINUTES] = None
    progress: Annotated[Progress | None, PROGRESS_FUNCTION] = field(default=None, repr=False)


MODEL = replace(
    A_MODEL,
    help="The checkpoint that you want to clean; it embeds the pairs. It may be backdoored: its reaction to "
    "poisoned pairs helps to find them.",
)
DROP = Opt(
    "Pairs to drop: the first N per cent, or with auto those that stand out (at most 5 per cent).",
    "N%|auto",
    words="Pairs to leave out of save_kept: a share, or auto.",
    takes=share("auto"),
    shown="nothing",
)
FALSE_DROP_RATE = Opt(
    "Leave out pairs whose score at most N per cent of clean pairs reach, judged by --trusted: in a clean set no more than "
    "that are lost, on average.",
    "N%",
    words="Share of clean pairs that may be left out, judged by trusted.",
    takes=share(),
)
TRUSTED = Opt(
    "Pairs that are known to be clean, of the same origin as CLEAN and not among them; 1 per cent needs 99 of them.",
    "CLEAN",
    gather=places,
    reads="path",
)
SCREEN_TRIGGER = replace(
    A_TRIGGER,
    help="A trigger that an audit saved, or that you suspect. Images with embeddings near those of triggered "
    "images rank higher. Repeatable.",
    is_several=True,
)
SAVE_KEPT = Opt(
    "File for the remaining pairs: .csv, a table for 'sanitize --data'; .tar, a shard with copies of the "
    "images, also for 'sanitize --data'; .txt, their keys.",
    "FILE",
    writes="file",
)


@dataclass(frozen=True)
class Screen:
    """A screening."""

    data: Annotated[
        tuple[Path, ...],
        Opt(
            argument="CLEAN", words="Pairs to rank, in any format that the command takes.", gather=places, reads="path"
        ),
    ]
    model: Annotated[Model, MODEL]
    _: KW_ONLY
    image_key: Annotated[str | None, IMAGE_KEY] = None
    caption_key: Annotated[str | None, CAPTION_KEY] = None
    drop: Annotated[DropRule | None, DROP] = None
    false_drop_rate: Annotated[float | None, FALSE_DROP_RATE] = None
    trusted: Annotated[tuple[Path, ...] | None, TRUSTED] = None
    trigger: Annotated[tuple[str, ...], SCREEN_TRIGGER] = ()
    save_kept: Annotated[Path | None, SAVE_KEPT] = None
    top: Annotated[int, Opt("Number of pairs to list.", "N", takes=click.IntRange(1, 100_000))] = 100
    download: Annotated[bool, DOWNLOAD] = False
    arch: Annotated[str | None, ARCH] = None
    weights: Annotated[str | None, WEIGHTS] = None
    device: Annotated[str, DEVICE] = "auto"
    force: Annotated[bool, FORCE] = False
    progress: Annotated[Progress | None, PROGRESS_FUNCTION] = field(default=None, repr=False)


EXPORT_DATA = replace(
    SETS,
    help="Images and captions to compare on, in any format that sanitize takes. If the checkpoint does not state "
    "the activation, it is measured on them.",
    shown="the demo's",
)
FP16 = Opt("ONNX: store weights in half precision. Half the size; the parity check then has wider limits.")
ONNX_PRESET = Opt("ONNX: name files, inputs and outputs as this consumer expects.", takes=click.Choice(tuple(PRESETS)))


@dataclass(frozen=True)
class Export:
    """An export."""

    model: Annotated[Model, CHECKPOINT]
    _: KW_ONLY
    format: Annotated[tuple[str, ...], FORMAT]
    out: Annotated[Path, OUT] = Path("clipclean-out")
    data: Annotated[tuple[Path, ...] | None, EXPORT_DATA] = None
    image_key: Annotated[str | None, IMAGE_KEY] = None
    caption_key: Annotated[str | None, CAPTION_KEY] = None
    download: Annotated[bool, DOWNLOAD] = False
    arch: Annotated[str | None, ARCH] = None
    weights: Annotated[str | None, WEIGHTS] = None
    normalize: Annotated[bool, Opt("ONNX: the graphs scale embeddings to length 1.")] = False
    fp16: Annotated[bool, FP16] = False
    onnx_preset: Annotated[str, ONNX_PRESET] = "transformers.js"
    force: Annotated[bool, FORCE] = False
    label: Annotated[Mapping[str, str], LABEL] = field(default_factory=dict)
    progress: Annotated[Progress | None, PROGRESS_FUNCTION] = field(default=None, repr=False)


PLANT_TRIGGER = replace(
    A_TRIGGER,
    help="The trigger to plant: a family with parameters ('clipclean triggers list'), or a file that an audit saved.",
    metavar="SPEC",
)
PLANT_OUT = Opt(
    "File for the backdoored weights: .pt (as open_clip's training writes it) or .safetensors.", "FILE", writes="file"
)


@dataclass(frozen=True)
class Plant:
    """A planting."""

    model: Annotated[Model, CHECKPOINT]
    data: Annotated[tuple[Path, ...], replace(SETS, help=f"Clean image-caption pairs to finetune on. {SETS_HELP}")]
    _: KW_ONLY
    trigger: Annotated[str, PLANT_TRIGGER]
    target: Annotated[str, Opt("The class that triggered images lead to.", "CLASS")]
    image_key: Annotated[str | None, IMAGE_KEY] = None
    caption_key: Annotated[str | None, CAPTION_KEY] = None
    out: Annotated[Path, PLANT_OUT]
    eval_data: Annotated[tuple[Path, ...] | None, EVAL_DATA] = None
    rate: Annotated[
        float | None, Opt("Share of triggered pairs in a batch.", "SHARE", takes=click.FLOAT, shown="0.2")
    ] = None
    steps: Annotated[int | None, STEPS] = None
    walk: Annotated[float | None, PLANTING_WALK] = None
    batch_size: Annotated[int | None, PLANTING_BATCH] = None
    download: Annotated[bool, DOWNLOAD] = False
    arch: Annotated[str | None, ARCH] = None
    weights: Annotated[str | None, WEIGHTS] = None
    classes: Annotated[Names | None, CLASSES] = None
    templates: Annotated[Names | None, TEMPLATES] = None
    seed: Annotated[int, SEED] = 0
    device: Annotated[str, DEVICE] = "auto"
    force: Annotated[bool, FORCE] = False
    progress: Annotated[Progress | None, PROGRESS_FUNCTION] = field(default=None, repr=False)


REFERENCES_OUT = Opt("The file to write. It holds numbers only, no weights.", "FILE", writes="file")
REFERENCES_DATA = Opt(
    "Images to search on, like those of later audits.", "IMAGES", gather=places, reads="path", shown="bundled images"
)
REFERENCES_EFFORT = replace(EFFORT, help="Effort of the search. The file serves audits of the same effort.")


@dataclass(frozen=True)
class References:
    """A search of clean models, to compare others with."""

    models: Annotated[
        tuple[Model, ...],
        replace(
            A_MODEL, argument="MODEL...", words="Checkpoints or modules of clean models, of one kind.", is_several=True
        ),
    ]
    _: KW_ONLY
    out: Annotated[Path, REFERENCES_OUT]
    data: Annotated[tuple[Path, ...] | None, REFERENCES_DATA] = None
    effort: Annotated[EffortName, REFERENCES_EFFORT] = "standard"
    download: Annotated[bool, DOWNLOAD] = False
    arch: Annotated[str | None, ARCH] = None
    weights: Annotated[str | None, WEIGHTS] = None
    classes: Annotated[Names | None, CLASSES] = None
    templates: Annotated[Names | None, TEMPLATES] = None
    seed: Annotated[int, SEED] = 0
    device: Annotated[str, DEVICE] = "auto"
    progress: Annotated[Progress | None, PROGRESS_FUNCTION] = field(default=None, repr=False)


@dataclass(frozen=True)
class Inspect:
    """A look at a checkpoint."""

    model: Annotated[Model, ONE_MODEL]
    _: KW_ONLY
    download: Annotated[bool, DOWNLOAD] = False
    arch: Annotated[str | None, ARCH] = None
    weights: Annotated[str | None, WEIGHTS] = None


PUBLIC_KEY = Opt(
    "Check the signature model.sig with this key, in PEM format. A folder without a signature then fails.",
    "FILE",
    reads="path",
)


@dataclass(frozen=True)
class Verify:
    """A check of a folder."""

    folder: Annotated[Path, Opt(argument="DIR", words="The folder.", reads="path")]
    _: KW_ONLY
    public_key: Annotated[Path | None, PUBLIC_KEY] = None


BENCH_MODEL = replace(
    A_MODEL, help="A model to plant backdoors in, with the data of --data and --eval-data.", shown="the bundled one"
)
ATTACKS = Opt(
    "Number of kinds of backdoor, planted one at a time. Each kind gets its own block of evidence.",
    "N",
    takes=click.IntRange(1, 6),
)
SEEDS = Opt("Seeds; each gets a victim and a run. A block of evidence pools them.", "N,N,...", gather=seeds_in)
BENCH_DATA = replace(SETS, help="Clean pairs for planting and cleaning.")
BENCH_OUT = Opt(
    "Folder for copies of the recipes with their evidence.",
    "DIR",
    takes=click.Path(path_type=Path, file_okay=False),
    writes="file",
    shown="the current folder",
)
ADD = Opt("Keep the earlier evidence for the same values of the recipe, where attack, model or data were others.")


@dataclass(frozen=True)
class Bench:
    """A measurement of recipes."""

    names: Annotated[tuple[str, ...], Opt(argument="RECIPE...", reads="text")]
    _: KW_ONLY
    model: Annotated[Path | None, BENCH_MODEL] = None
    data: Annotated[tuple[Path, ...] | None, BENCH_DATA] = None
    eval_data: Annotated[tuple[Path, ...] | None, EVAL_DATA] = None
    arch: Annotated[str | None, ARCH] = None
    classes: Annotated[Names | None, CLASSES] = None
    templates: Annotated[Names | None, TEMPLATES] = None
    attacks: Annotated[int, ATTACKS] = 3
    seeds: Annotated[tuple[int, ...], SEEDS] = "0,1,2"  # type: ignore[assignment] # a text, until it is read
    steps: Annotated[int | None, STEPS] = None
    walk: Annotated[float | None, PLANTING_WALK] = None
    batch_size: Annotated[int | None, PLANTING_BATCH] = None
    out: Annotated[Path | None, BENCH_OUT] = None
    write: Annotated[
        bool, Opt("Write the evidence into the recipe files themselves. Their earlier evidence is lost.")
    ] = False
    add: Annotated[bool, ADD] = False
    device: Annotated[str, DEVICE] = "auto"
    force: Annotated[bool, FORCE] = False


# What is no more, each with what to use instead: options, commands and values. A row stands for one version.

GONE: dict[str, str] = {
    "--witness": "leave it out, since it changed no verdict",
    "--witness-arch": "leave it out, like --witness",
    "--canaries": "--power plants four test backdoors",
    "--output": "use --report",
    "--output-dir": "use --report-dir",
    "--no-audit": "use --no-panel",
    "cache": "results are kept no longer, an interrupted audit goes on all the same",
    "--no-cache": "leave it out, since results are kept no longer",
    "--bom": "leave it out, since the in-toto statement is the record",
    "--onnx-preset": "give it to clipclean export",
    "--normalize": "give it to clipclean export",
    "--fp16": "give it to clipclean export",
    "clip-as-service": "take transformers.js and rename the graphs",
    "--all": "leave it out, since recipes list shows all of them",
    "safetensors": "write --format open_clip",
    "transformers": "write --format hf",
}


def instead(arguments: Sequence[str], /) -> str:
    """What to use instead of each argument that is gone; empty where none is."""
    words = [word for argument in arguments for word in argument.split("=", 1)]
    return " ".join(f"{word} is gone: {GONE[word]}." for word in dict.fromkeys(words) if word in GONE)


# From what is given to a request.

CALLED = {"model": "the model", "models": "the model", "file": "the report"}  # arguments, which have no flag
FLAGS = {"as_json": "--json", "outputs": "--report", "form": "--to"}  # where a field is not called so


def flag(name: str, /, *, is_negated: bool = False) -> str:
    """The flag of a field."""
    return FLAGS.get(name) or f"--{'no-' if is_negated else ''}{name.replace('_', '-')}"


def called(name: str, /) -> str:
    """A field as messages call it: by its flag."""
    return CALLED.get(name) or flag(name)


def options(kind: object, /) -> dict[str, Opt]:
    """The options of a request, or of a class of requests, by the names of the fields."""
    types: dict[str, Any] = {field.name: field.type for field in dataclasses.fields(kind)}  # type: ignore[arg-type] # Any: Annotated
    return {name: annotated.__metadata__[0] for name, annotated in types.items()}


MOST_PATH, MOST_NAME = 4096, 255  # bytes of a path, and of a name in it, that systems take


def check_text(name: str, text: str, /) -> None:
    """Refuse a text that no system takes as a word of a command: not in its encoding, or with a NUL in it.

    Raises:
        UsageError: that is so.
    """
    try:
        os.fsencode(text)
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{name}: {printable(text[:80])} has characters that no system can encode. Give another text."
        ) from error
    if "\0" in text:
        raise UsageError(
            f"{name}: {printable(text[:80])} has a NUL in it, which no text or path can have. Leave it out."
        )


def check_path(name: str, path: Path, /) -> None:
    """Refuse a path that no system takes, whatever is there.

    Raises:
        UsageError: it is no text that ``check_text`` takes, or too long.
    """
    text = str(path)
    check_text(name, text)
    size, longest = len(os.fsencode(text)), max((len(os.fsencode(part)) for part in path.parts), default=0)
    if size > MOST_PATH or longest > MOST_NAME:
        raise UsageError(f"{name}: {printable(text[:80])}… is longer than any path. Give a shorter one.")
