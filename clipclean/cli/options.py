"""The options that commands share, one decorator each."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from clipclean.config import recipe as recipes
from clipclean.export import formats, onnx_presets

FORMATS = ("text", "json", "html", "sarif", "junit", "markdown")
PRECISIONS = ("auto", "fp32", "bf16")
LAYOUTS = tuple(formats.FORMATS)
LAYOUTS_HELP = "Format to write: {}. Repeatable: all of them go into one folder.".format(
    "; ".join(f"{name}, {form.summary}" for name, form in formats.FORMATS.items())
)
ONNX_PRESETS = tuple(onnx_presets.PRESETS)

Command = TypeVar("Command", bound=Callable[..., Any])  # any function that becomes a command


class Output(NamedTuple):
    """One ``--output FORMAT=PATH``; the path is None for stdout."""

    format: str
    path: Path | None


def output(text: str, formats: Sequence[str] = FORMATS, /) -> Output:
    """``json=report.json``, or ``json=-`` for stdout."""
    form, _, path = text.partition("=")
    if form not in formats:
        raise click.BadParameter(f"{form!r} is no format. Choose from {', '.join(formats)}, as in json=report.json.")
    if not path:
        raise click.BadParameter(f"{text!r} names no file. Write {form}=PATH, or {form}=- for stdout.")
    return Output(form, None if path == "-" else Path(path))


def drop(text: str) -> float | str:
    """``auto``, or a share such as ``2%``."""
    if text == "auto":
        return text
    share = re.fullmatch(r"([0-9]{1,2}(?:\.[0-9]{1,6})?) ?%", text)
    if share is None or not float(share[1]):
        raise click.BadParameter(
            f"{text!r} is neither auto nor a share. Write auto, or a share below 100 % such as 2%."
        )
    return float(share[1]) / 100


def _screen(text: str) -> float | str | None:
    """As ``drop``; ``report`` becomes None, and ``off`` stays."""
    if text in ("off", "report"):
        return None if text == "report" else text
    return drop(text)


def _device(text: str) -> str:
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``; whether the device is there is asked later, of torch."""
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", text):
        raise click.BadParameter(f"{text!r} is no device. Choose auto, cpu, cuda or cuda:N, as in cuda:0.")
    return text


def distinct(_context: click.Context, _option: click.Parameter, outputs: tuple[Output, ...]) -> tuple[Output, ...]:
    """Refuse two outputs to one place: the second would replace the first."""
    paths = [output.path for output in outputs]
    for path in paths:
        if paths.count(path) > 1:
            raise click.BadParameter(f"two outputs go to {path or 'stdout'}. Give each a place of its own.")
    return outputs


def _loudness(context: click.Context, option: click.Parameter, is_given: bool) -> bool:
    """Note --verbose for ``cli.main``, and refuse it beside --quiet."""
    if is_given:
        context.meta[f"clipclean.{option.name}"] = True
    if context.meta.get("clipclean.quiet") and context.meta.get("clipclean.verbose"):
        raise click.UsageError("--quiet and --verbose exclude each other. Give one of them.")
    return is_given


def _shared(flag: str, *more: str, **settings: Any) -> Callable[[Command], Command]:
    """A click option that the variable ``CLIPCLEAN_`` and its name sets too; ``Any``, as click's own settings are."""
    variable = f"CLIPCLEAN_{flag.removeprefix('--').upper().replace('-', '_')}"
    return click.option(flag, *more, envvar=variable, show_envvar=True, **settings)


arch = _shared(
    "--arch",
    metavar="NAME|FILE",
    help="Architecture of the model: an open_clip name, or a JSON file with an open_clip config. Wins over what the "
    "checkpoint's tensors suggest; a wrong one is refused, since the tensors do not fit.",
)
weights = _shared(
    "--weights",
    metavar="NAME",
    show_default="the only set",
    help="Which weights to take from a file that holds several: ema for averaged ones, or the name of the set.",
)
classes = _shared(
    "--classes",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    show_default="ImageNet-1k",
    help="Class names, one a line. Accuracy is measured over them, and only attacks on one of them can be seen.",
)
templates = _shared(
    "--templates",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    show_default="open_clip's seven",
    help="Sentences with {} for the class name, one a line; their mean is the class's embedding.",
)
device = _shared(
    "--device",
    metavar="auto|cpu|cuda[:N]",
    type=_device,
    default="auto",
    help="Where to compute; auto takes the first GPU if there is one. Asking for a GPU that is not there ends the run.",
)
precision = _shared(
    "--precision",
    metavar="|".join(PRECISIONS),
    type=click.Choice(PRECISIONS),
    show_default="the recipe's",
    help="Number format of the forward pass. bf16 is faster and needs less memory; fp32 repeats most exactly.",
)
seed = _shared(
    "--seed",
    metavar="N",
    type=click.IntRange(0, 2**63 - 1),
    default=0,
    help="Fixes every random choice: the same seed, data and machine give the same weights.",
)
outputs = _shared(
    "--output",
    "outputs",
    metavar="FORMAT=PATH",
    type=output,
    multiple=True,
    callback=distinct,
    help=f"Also write the report as {', '.join(FORMATS)}; PATH - means stdout. Repeatable. The exit code stays.",
)
quiet = _shared(
    "--quiet",
    "-q",
    is_flag=True,
    callback=_loudness,
    help="No progress on stderr; errors and results still appear.",
)
verbose = _shared(
    "--verbose",
    "-v",
    is_flag=True,
    callback=_loudness,
    help="More detail on stderr, and a traceback when something fails.",
)
exit_zero = _shared(
    "--exit-zero",
    is_flag=True,
    help="Exit 0 whatever the verdict, so that a job goes on; errors still exit with their own codes.",
)
policy = _shared(
    "--policy",
    metavar="FILE",
    type=click.Path(path_type=Path),
    show_default="none",
    help="What the verdict demands: thresholds, severities, suppressions. Its thresholds win over the recipe's, and over "
    "--set.",
)
overrides = _shared(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change one value of the recipe, as in train.epochs=3. Repeatable. The report then says validated: false.",
)
max_accuracy_loss = _shared(
    "--max-accuracy-loss",
    metavar="SHARE",
    type=click.FloatRange(0, 0.5),
    show_default="the recipe's, 0.02",
    help="Clean accuracy that the cleaning may cost: 0.02 are two points. The run fails if it costs more. With --recipe auto, "
    "what costs more is not taken.",
)
max_minutes = _shared(
    "--max-minutes",
    metavar="N",
    type=click.FloatRange(min=0, min_open=True),
    show_default="none",
    help="With --recipe auto: after so long nothing more is tried; what was begun is ended.",
)
force = _shared(
    "--force",
    is_flag=True,
    help="Overwrite clipclean's files where the output goes; what they held is lost.",
)
keep_failed = _shared(
    "--keep-failed",
    is_flag=True,
    help="Write the weights even if their audit failed. They may still hold the backdoor: do not deploy them.",
)
no_audit = _shared(
    "--no-audit",
    is_flag=True,
    help="Skip the panel of known triggers. Faster, and a backdoor that nobody named goes unseen.",
)
data = _shared(
    "--data",
    metavar="CLEAN",
    type=click.Path(path_type=Path),
    required=True,
    help="Clean image-caption pairs, for unlearning pictures alone, for supervised finetuning labelled ones: a folder, CSV, "
    "JSONL or WebDataset. A few poisoned ones undo the cleaning.",
)
screen = _shared(
    "--screen",
    metavar="report|N%|auto|off",
    type=_screen,
    default="report",
    help="Score the pairs before training and leave the most suspicious ones out: N per cent of them, or those that stand "
    "out (auto, at most 5 per cent). report only counts these.",
)
image_key = _shared(
    "--image-key",
    metavar="NAME",
    show_default="the known ones",
    help="Column of the pictures in a table, or their extension in a shard, where clipclean does not know it.",
)
caption_key = _shared(
    "--caption-key",
    metavar="NAME",
    show_default="the known ones",
    help="Column or JSON key of the captions, where clipclean does not know it.",
)
recipe = _shared(
    "--recipe",
    metavar="NAME|FILE",
    default=recipes.DEFAULT,
    help="What to do, and with which values; see 'clipclean recipes list'.",
)
out = _shared(
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path),
    default=Path("clipclean-out"),
    help="Folder for weights and report. One with files in it is refused unless --force is given.",
)
normalize = _shared("--normalize", is_flag=True, help="ONNX: put out unit embeddings, so that consumers need not.")
fp16 = _shared(
    "--fp16", is_flag=True, help="ONNX: store weights in half precision: half the size, and the limits are looser."
)
onnx_preset = _shared(
    "--onnx-preset",
    metavar="|".join(ONNX_PRESETS),
    type=click.Choice(ONNX_PRESETS),
    default=ONNX_PRESETS[0],
    help="ONNX: whose names for files, inputs and outputs.",
)
bom = _shared(
    "--bom",
    is_flag=True,
    help="Also write bom.cdx.json, a CycloneDX bill of materials of the model, for those who collect them.",
)
