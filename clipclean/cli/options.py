"""Options shared by several commands, one decorator each."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from clipclean.api import format_of
from clipclean.cli import complete, config_file
from clipclean.cli.command import Decorated, option
from clipclean.export import formats as export_formats

FORMATS = ("text", "json", "html", "sarif", "junit", "markdown", "line")
LEVELS = ("error", "inconclusive")  # of --fail-on
LAYOUTS_HELP = "Format of the weights: {}. Repeatable: all of them go into one folder.".format(
    "; ".join(f"{name}, {form.summary}" for name, form in export_formats.FORMATS.items())
)


class Output(NamedTuple):
    """One ``--report``; the path is None for stdout, where --json goes."""

    format: str
    path: Path | None


def output(text: str, formats: Sequence[str] = FORMATS, /) -> Output:
    """``json=report.json``, or a path whose suffix names the format."""
    form, equals, path = text.partition("=")
    if not equals and (by_suffix := format_of(text)) in formats:
        return Output(by_suffix, Path(text))
    if form not in formats:
        raise click.BadParameter(
            f"{form!r} is not a format. Choose from {', '.join(formats)}, as in json=report.json, or name a file such as report.html."
        )
    if path in ("", "-"):
        raise click.BadParameter(
            f"{text!r} names no file. Write {form}=PATH. --json prints JSON, and 'clipclean report convert' any form of it."
        )
    return Output(form, Path(path))


def distinct(_context: click.Context, _option: click.Parameter, outputs: tuple[Output, ...]) -> tuple[Output, ...]:
    """Refuse two outputs to one place: the second would replace the first."""
    paths = [output.path for output in outputs]
    for path in paths:
        if paths.count(path) > 1:
            raise click.BadParameter(f"two reports go to {path}. Give each a place of its own.")
    return outputs


def _loudness(context: click.Context, option: click.Parameter, is_given: bool) -> bool:
    """Note --verbose for ``cli.main``, and refuse it beside --quiet."""
    if is_given:
        context.meta[f"clipclean.{option.name}"] = True
    if context.meta.get("clipclean.quiet") and context.meta.get("clipclean.verbose"):
        raise click.UsageError("--quiet and --verbose exclude each other. Give one of them.")
    return is_given


# Model

arch = option(
    "--arch NAME|FILE",
    "Architecture of the model: an open_clip name, or a JSON file with an open_clip config. Overrides the "
    "architecture inferred from the tensors. A wrong one is refused, since the tensors do not fit.",
    shell_complete=complete.architectures,
)


def download(command: Decorated, /) -> Decorated:
    """``--download``: models by name are fetched before the command sees them. No variable sets it: a flag alone does."""

    @functools.wraps(command)
    def fetching(**given: Any) -> Any:  # Any: click's
        if given.pop("download"):
            from clipclean.api import requests
            from clipclean.cli import progress

            with progress.shown(quiet=given.get("quiet", False)) as shown:
                given |= requests.fetched(given, shown)
        return command(**given)

    return option(
        "--download",
        "Fetch a model that you name as hf-hub:ORG/MODEL[@REVISION] or open_clip:ARCH/TAG, if it is not in your "
        "cache. Without this flag no command uses a network.",
    )(fetching)  # type: ignore[return-value] # functools.wraps keeps what click reads


weights = option(
    "--weights NAME",
    "The set of weights to use from a file with several: ema for averaged ones, or the name of a set.",
    show_default="the only set",
)

# Data


def several(_context: click.Context, _option: click.Parameter, paths: tuple[Path, ...]) -> Path | None:
    """Several ``--data`` as one path, with ``::`` between."""
    return Path("::".join(map(str, paths))) if paths else None


# Click's own settings.
SETS: dict[str, Any] = {"type": click.Path(path_type=Path), "multiple": True, "callback": several}
SETS_HELP = (
    "A folder, CSV, JSON, COCO captions, Parquet, a folder saved by datasets, or tar shards ('shards/*.tar'). "
    "Repeatable."
)


images = functools.partial(option, "--data -d IMAGES")  # of a command that measures on images and trains on none
effort = functools.partial(option, "--effort", default="standard")  # of a command that searches for triggers
reference = functools.partial(option, "--reference MODEL", multiple=True)  # of one that compares with clean models


def pairs(text: str, /) -> Callable[[Decorated], Decorated]:
    """``--data`` of a command that trains on pairs."""
    told = f"{text} {SETS_HELP}"
    return option("--data -d CLEAN", told, required=True, **SETS)


eval_data = option(
    "--eval-data LABELLED",
    "Labelled images to measure on: one folder per class, or any of the --data formats with class names as "
    "labels or captions. Without them some pairs are kept out of training, to measure image-text recall; "
    "captions that name exactly one class serve as labels.",
)
image_key = option(
    "--image-key NAME",
    "Column of the images in a table, or their extension in a shard, if it has an unusual name.",
    show_default="the known ones",
)
caption_key = option(
    "--caption-key NAME",
    "Column or JSON key of the captions, if it has an unusual name.",
    show_default="the known ones",
)
classes = option(
    "--classes FILE",
    "Class names, one per line. Accuracy is measured over them, and an attack shows only if its target is one of them.",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    show_default="ImageNet-1k",
)
templates = option(
    "--templates FILE",
    "Sentences with {} for the class name, one per line. The mean of their embeddings is the embedding of the class.",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    show_default="open_clip's seven",
)
workers = option(
    "--workers N",
    "Threads that decode images and prepare batches.",
    type=click.IntRange(1, 256),
    show_default="one per processor, 16 at most",
)

# Cleaning

recipe = option(
    "--recipe -r NAME|FILE",
    "Method and values of the run: a shipped recipe ('clipclean recipes list'), or a file.",
    show_default="cleanclip where it was measured to work, else auto",
    shell_complete=complete.recipes,
)
overrides = option(
    "--set KEY=VALUE",
    "Change one value of the recipe, as in train.epochs=3. The report then says validated: false. Repeatable.",
    multiple=True,
    shell_complete=complete.settings,
)
epochs = option("--epochs N", "Short for --set train.epochs=N.", type=float, show_default="the recipe's")
lr = option("--lr RATE", "Short for --set train.lr=RATE.", type=float, show_default="the recipe's")
batch_size = option("--batch-size N", "Short for --set train.batch_size=N.", type=int, show_default="the recipe's")
screen = option(
    "--screen report|N%|auto|off",
    "Rank the pairs by suspicion before training. N% drops the first N per cent, auto those that stand out "
    "(at most 5 per cent); report drops none and counts them, off skips the ranking.",
    default="report",
)
precision = option(
    "--precision",
    "Number format of the forward pass. bf16 is faster and needs less memory; fp32 is the most reproducible.",
    show_default="the recipe's",
)

# Search

triggers = option(
    "--trigger SPEC|FILE",
    "A trigger that you suspect: a spec such as patch:size=0.07,place=corner, or a file of 'clipclean audit "
    "--save-triggers'. 'clipclean triggers list' shows the families. Repeatable.",
    multiple=True,
    shell_complete=complete.triggers,
)
target = option(
    "--target CLASS",
    "The class that the triggers lead to.",
    show_default="that of a found trigger, else whichever they lead to",
)
no_panel = option(
    "--no-panel",
    "Skip the panel of known triggers. This is faster, but misses a backdoor that you do not name.",
)

# Verdict

policy = option(
    "--policy FILE",
    "A policy file: thresholds, severities and suppressions of the verdict. Its thresholds override the "
    "recipe's and --set.",
    show_default="none",
)
ignore = option(
    "--ignore CODE",
    "Set the findings of a rule aside, such as CC031; the report says so. What shows how far to trust a verdict cannot be. "
    "Repeatable; a policy file does the same, with a reason.",
    multiple=True,
)
max_accuracy_loss = option(
    "--max-accuracy-loss SHARE",
    "Clean accuracy that the cleaning may cost; 0.02 means two points. A larger loss fails the run. With "
    "--recipe auto, candidates that cost more are not chosen.",
    show_default="the recipe's, 0.02",
)
fail_on = option(
    "--fail-on",
    "Verdicts that make the exit code other than 0: error means fail only; inconclusive means fail and inconclusive.",
    type=click.Choice(LEVELS),
    default="inconclusive",
)
baseline = option(
    "--baseline REPORT.JSON",
    "An earlier report. The exit code is 0 if no finding is new or worse than in it. Does not affect the report.",
)
exit_zero = option(
    "--exit-zero",
    "Exit 0 for every verdict, so that a job continues. Errors keep their exit codes.",
)
keep_failed = option(
    "--keep-failed",
    "Write the weights even if their audit failed. They may still hold the backdoor: do not deploy them.",
)

# Output

out = option(
    "--out -o DIR",
    "Folder to write into. It must be empty, unless --force is given.",
    default=Path("clipclean-out"),
)
formats = option("--format -f", LAYOUTS_HELP, multiple=True, default=("open_clip",))
outputs = option(
    "--report [FORMAT=]PATH",
    f"Also write the report: as {', '.join(FORMATS)}, or by the suffix of PATH. Repeatable. Does not "
    "affect the exit code.",
    dest="outputs",
    type=output,
    multiple=True,
    callback=distinct,
)
as_json = option("--json", "Print the result as JSON.", dest="as_json")
force = option("--force", "Overwrite files that clipclean wrote before. Their contents are lost.")
# Running

device = option(
    "--device auto|cpu|cuda[:N]",
    "Device to compute on; auto uses the first GPU if there is one. A GPU that is not there is an error.",
    default="auto",
)
seed = option(
    "--seed N",
    "Seed of every random choice: the same seed, data and machine give the same result.",
    default=0,
)
label = option(
    "--label KEY=VALUE",
    "Add a label to the reports and records, such as commit=0a1b2c. Repeatable.",
    multiple=True,
)
max_minutes = option(
    "--max-minutes N",
    "End after N minutes with the results so far, or with nothing where there are none yet; the verdict is "
    "inconclusive if the rest could change it.",
    show_default="none",
)
log_dir = option(
    "--log-dir DIR",
    "Write losses and learning rate of each step into this folder, into metrics.jsonl, which a resumed run extends.",
)
log_to = option(
    "--log-to tensorboard|wandb",
    "Send losses and learning rate to TensorBoard or Weights & Biases as well, if that package is installed. "
    "Repeatable.",
    multiple=True,
)
dry_run = option(
    "--dry-run",
    "Read and check everything, print the steps and an estimate of the time, and stop. Nothing is written.",
)
config = option(
    "--config -c FILE|off",
    "File with defaults of options: a clipclean.yaml, or [tool.clipclean] of a pyproject.toml. One that is only found in "
    "the working folder sets no more than device, workers, quiet and verbose; off uses none.",
    expose_value=False,
    is_eager=True,
    callback=config_file.apply,
    show_default="clipclean.yaml or pyproject.toml of the working folder",
)
quiet = option(
    "--quiet -q",
    "Show no progress on stderr, and a report as one line. Errors and other results still appear.",
    callback=_loudness,
)
verbose = option(
    "--verbose -v",
    "Show more detail on stderr, and a traceback on errors.",
    callback=_loudness,
)

# Groups of those that commands take together.


def together(*decorators: Callable[[Decorated], Decorated]) -> Callable[[Decorated], Decorated]:
    """Several options as one decorator."""
    return lambda command: functools.reduce(lambda made, decorate: decorate(made), reversed(decorators), command)


loaded = together(download, arch, weights)
keyed = together(image_key, caption_key)
named = together(classes, templates)
judged = together(policy, ignore, fail_on, baseline, exit_zero)
reported = together(outputs, as_json, label)
computed = together(seed, device, workers)
logged = together(log_dir, log_to)
spoken = together(quiet, config, verbose)
planting = together(
    option("--steps N", "Steps of planting.", type=int, show_default="300"),
    option("--lr RATE", "Peak rate of planting; 1e-5 for large models.", type=float, show_default="8e-4"),
    option("--batch-size N", "Pairs in a step.", type=int, show_default="256"),
)
