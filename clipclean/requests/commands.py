"""The request of each command and function: a frozen dataclass, whose fields are its options. Nothing here imports torch."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import click

from clipclean.config.effort import EFFORTS
from clipclean.export.formats import EXPORT_FORMATS, PRESETS
from clipclean.progress import Progress
from clipclean.requests.option import Opt
from clipclean.requests.shared import (
    A_MODEL,
    A_SEARCH,
    A_TRIGGER,
    ARCH,
    CAPTION_KEY,
    CHECKPOINT,
    CLASSES,
    DEVICE,
    DOWNLOAD,
    EVAL_DATA,
    FORCE,
    IGNORE,
    IMAGE_KEY,
    KEEP_FAILED,
    LABEL,
    MAX_MINUTES,
    ONE_MODEL,
    OUT,
    OVERRIDES,
    PLANTING_BATCH,
    PLANTING_WALK,
    POLICY_FILE,
    PROGRESS_FUNCTION,
    SEED,
    SETS,
    SETS_HELP,
    STEPS,
    TARGET,
    TEMPLATES,
    TRIGGER,
    WEIGHTS,
)
from clipclean.requests.values import (
    DropRule,
    Finite,
    Model,
    Names,
    PrecisionName,
    ScreenRule,
    data_paths,
    seeds_in,
    share,
)
from clipclean.schema.names import EffortName

if TYPE_CHECKING:
    from clipclean.config.policy import Policy
    from clipclean.config.recipe import Recipe

DATA = replace(
    SETS,
    help=f"Images to measure and search on. {SETS_HELP} Labels (one folder per class) and captions are "
    "used if present. A few hundred varied images are enough. They may contain poisoned images; only the labels must be right.",
    metavar="IMAGES",
    default_words="bundled images",
)
REFERENCE = replace(
    A_MODEL,
    help="A clean model of the same architecture that you trust. It is searched in the same way, and its natural "
    "triggers for a class do not count against the model. Repeatable.",
    is_several=True,
    needs=A_SEARCH,
    help_position=("Model", 20),
)
REFERENCES = Opt(
    "The same, from a file of 'clipclean references build' and without another search. Repeatable.",
    "FILE",
    argument_words="A file that references() wrote, or several.",
    is_several=True,
    reads="path",
    needs=A_SEARCH,
    help_position=("Model", 30),
)
BASE = replace(
    A_MODEL,
    help="The model that this one was finetuned from, such as a public CLIP. Whether it is, is measured. What acts on the model and not on "
    "its base fails it, and it serves as a --reference.",
    argument_words="The model that this one was finetuned from.",
    is_several=True,
    needs=A_SEARCH,
    help_position=("Model", 40),
)
EFFORT = Opt(
    "How hard to search; a harder search misses less. Forward and backward passes of one image through the image tower: "
    + ", ".join(f"{name} {effort.most_cost:,}" for name, effort in EFFORTS.items())
    + " at most.",
    value_type=click.Choice(tuple(EFFORTS)),
    help_position=("Search", 10),
    in_brief=True,
)
SAVE_TRIGGERS = Opt(
    "Folder to save the found triggers in, for 'clipclean sanitize --trigger FILE'.",
    "DIR",
    writes="folder",
    needs=A_SEARCH,
    help_position=("Output", 40),
)
POWER = Opt(
    "Plant four test backdoors in copies of the model, another for one that does not take, and run the same audit on each. If it finds nearly all of them and "
    "nothing in the model, the model may pass without --reference. Costs four more audits.",
    needs=A_SEARCH,
    help_position=("Search", 20),
    in_brief=True,
)
SEARCH = Opt(
    "Try the known triggers only, or those of --trigger alone. This is faster, but misses other backdoors, so the verdict is "
    "never pass.",
    argument_words="Whether to search for unknown triggers at all; without a search the verdict is never pass.",
    help_position=("Search", 90),
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
    later: Annotated[Path | None, Opt(argument="[LATER.JSON]", argument_words="Empty beside a base.", reads="path")] = (
        None
    )
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
    help="A clean model of the same architecture that you trust, for the audits before and after to compare with. Without this "
    "or --base a cleaning that searches never passes. Repeatable.",
    is_several=True,
    needs=A_SEARCH,
    help_position=("Model", 20),
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
    python_attribute="method",
    default_words="auto",
    help_position=("Cleaning", 10),
    in_brief=True,
    has_letter=True,
)
SCREEN = Opt(
    "Rank the pairs by suspicion before training. N% drops the first N per cent, auto those that stand out "
    "(at most 5 per cent); report drops none and counts them, off skips the ranking.",
    "report|N%|auto|off",
    argument_words="Pairs to leave out: a share, auto, report for none, off.",
    value_type=share("auto", "off", "report"),
    help_position=("Cleaning", 110),
    in_brief=True,
)
PRECISION = Opt(
    "Number format of the forward pass. bf16 is faster and needs less memory; fp32 is the most reproducible.",
    value_type=click.Choice(get_args(PrecisionName)),
    default_words="the recipe's",
    help_position=("Cleaning", 120),
)
PANEL_OPTION = Opt(
    "Skip the panel of known triggers. This is faster, but misses a backdoor that you do not name.",
    argument_words="Whether to try the panel of known triggers.",
    help_position=("Search", 80),
)
SANITIZE_SEARCH = Opt(
    "Measure known triggers only, before and after: those of the panel, and of --trigger. This is faster, but misses every backdoor "
    "that neither has.",
    argument_words="Whether to search for unknown triggers, before and after.",
    help_position=("Search", 90),
)
MAX_ACCURACY_LOSS = Opt(
    "Clean accuracy that the cleaning may cost; 0.02 means two points. A larger loss fails the run. With "
    "--recipe auto, candidates that cost more are not chosen.",
    "SHARE",
    value_type=Finite(0, 0.5),
    default_words="the recipe's, 0.02",
    help_position=("Verdict", 60),
)
FORMAT = Opt(
    f"Format of the weights. Formats: {'; '.join(f'{name}, {form.words}' for name, form in EXPORT_FORMATS.items())}. Repeatable: all of them go "
    "into one folder.",
    argument_words="Formats of the weights; one, or several.",
    value_type=click.Choice(tuple(EXPORT_FORMATS)),
    is_several=True,
    help_position=("Output", 70),
    in_brief=True,
    has_letter=True,
)
LOG_DIR = Opt(
    "Write losses and learning rate of each step into this folder, into metrics.jsonl, which a resumed run extends.",
    "DIR",
    writes="log",
    help_position=("Output", 130),
)
LOG_TO = Opt(
    "Send losses and learning rate to TensorBoard or Weights & Biases as well, if that package is installed. "
    "Repeatable.",
    "tensorboard|wandb",
    value_type=click.Choice(("tensorboard", "wandb")),
    is_several=True,
    needs=("log_dir", "name the folder that the logs go to."),
    help_position=("Output", 140),
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
    panel: Annotated[bool, PANEL_OPTION] = True
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
    argument_words="Pairs to leave out of save_kept: a share, or auto.",
    value_type=share("auto"),
    default_words="nothing",
    help_position=("Search", 30),
    in_brief=True,
)
FALSE_DROP_RATE = Opt(
    "Leave out pairs whose score at most N per cent of clean pairs reach, judged by --trusted: in a clean set no more than "
    "that are lost, on average.",
    "N%",
    argument_words="Share of clean pairs that may be left out, judged by trusted.",
    value_type=share(),
    help_position=("Search", 40),
)
TRUSTED = Opt(
    "Pairs that are known to be clean, of the same origin as CLEAN and not among them; 1 per cent needs 99 of them.",
    "CLEAN",
    gather=data_paths,
    reads="path",
    help_position=("Search", 50),
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
    help_position=("Output", 50),
    in_brief=True,
)


@dataclass(frozen=True)
class Screen:
    """A screening."""

    data: Annotated[
        tuple[Path, ...],
        Opt(
            argument="CLEAN",
            argument_words="Pairs to rank, in any format that the command takes.",
            gather=data_paths,
            reads="path",
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
    top: Annotated[
        int, Opt("Number of pairs to list.", "N", value_type=click.IntRange(1, 100_000), help_position=("Output", 60))
    ] = 100
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
    default_words="the demo's",
)
FP16 = Opt(
    "ONNX: store weights in half precision. Half the size; the parity check then has wider limits.",
    help_position=("Output", 90),
)
ONNX_PRESET = Opt(
    "ONNX: name files, inputs and outputs as this consumer expects.",
    value_type=click.Choice(tuple(PRESETS)),
    help_position=("Output", 100),
)


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
    normalize: Annotated[bool, Opt("ONNX: the graphs scale embeddings to length 1.", help_position=("Output", 80))] = (
        False
    )
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
    "File for the backdoored weights: .pt (as open_clip's training writes it) or .safetensors.",
    "FILE",
    writes="file",
    help_position=("Output", 20),
    in_brief=True,
    has_letter=True,
)


@dataclass(frozen=True)
class Plant:
    """A planting."""

    model: Annotated[Model, CHECKPOINT]
    data: Annotated[tuple[Path, ...], replace(SETS, help=f"Clean image-caption pairs to finetune on. {SETS_HELP}")]
    _: KW_ONLY
    trigger: Annotated[str, PLANT_TRIGGER]
    target: Annotated[
        str, Opt("The class that triggered images lead to.", "CLASS", help_position=("Search", 70), in_brief=True)
    ]
    image_key: Annotated[str | None, IMAGE_KEY] = None
    caption_key: Annotated[str | None, CAPTION_KEY] = None
    out: Annotated[Path, PLANT_OUT]
    eval_data: Annotated[tuple[Path, ...] | None, EVAL_DATA] = None
    rate: Annotated[
        float | None,
        Opt(
            "Share of triggered pairs in a batch.",
            "SHARE",
            value_type=click.FLOAT,
            default_words="0.2",
            help_position=("Cleaning", 50),
        ),
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


REFERENCES_OUT = Opt(
    "The file to write. It holds numbers only, no weights.",
    "FILE",
    writes="file",
    help_position=("Output", 20),
    in_brief=True,
    has_letter=True,
)
REFERENCES_DATA = Opt(
    "Images to search on, like those of later audits.",
    "IMAGES",
    gather=data_paths,
    reads="path",
    default_words="bundled images",
    help_position=("Data", 10),
    in_brief=True,
    has_letter=True,
)
REFERENCES_EFFORT = replace(EFFORT, help="Effort of the search. The file serves audits of the same effort.")


@dataclass(frozen=True)
class References:
    """A search of clean models, to compare others with."""

    models: Annotated[
        tuple[Model, ...],
        replace(
            A_MODEL,
            argument="MODEL...",
            argument_words="Checkpoints or modules of clean models, of one kind.",
            is_several=True,
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
    help_position=("Verdict", 80),
)


@dataclass(frozen=True)
class Verify:
    """A check of a folder."""

    folder: Annotated[Path, Opt(argument="DIR", argument_words="The folder.", reads="path")]
    _: KW_ONLY
    public_key: Annotated[Path | None, PUBLIC_KEY] = None


BENCH_MODEL = replace(
    A_MODEL,
    help="A model to plant backdoors in, with the data of --data and --eval-data.",
    default_words="the bundled one",
)
ATTACKS = Opt(
    "Number of kinds of backdoor, planted one at a time. Each kind gets its own block of evidence.",
    "N",
    value_type=click.IntRange(1, 6),
    help_position=("Cleaning", 60),
)
SEEDS = Opt(
    "Seeds; each gets a victim and a run. A block of evidence pools them.",
    "N,N,...",
    gather=seeds_in,
    help_position=("Cleaning", 70),
)
BENCH_DATA = replace(SETS, help="Clean pairs for planting and cleaning.")
BENCH_OUT = Opt(
    "Folder for copies of the recipes with their evidence.",
    "DIR",
    value_type=click.Path(path_type=Path, file_okay=False),
    writes="file",
    default_words="the current folder",
    help_position=("Output", 20),
    in_brief=True,
    has_letter=True,
)
ADD = Opt(
    "Keep the earlier evidence for the same values of the recipe, where attack, model or data were others.",
    help_position=("Output", 120),
)


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
        bool,
        Opt(
            "Write the evidence into the recipe files themselves. Their earlier evidence is lost.",
            help_position=("Output", 110),
        ),
    ] = False
    add: Annotated[bool, ADD] = False
    device: Annotated[str, DEVICE] = "auto"
    force: Annotated[bool, FORCE] = False
