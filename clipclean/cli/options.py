"""Options of the terminal alone: what is printed where, what ends with which exit code, and how loud it is; ``requests`` has the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import click
from click.types import convert_type

from clipclean.requests import Opt, format_of

FORMATS = ("text", "json", "html", "sarif", "junit", "markdown", "line")
LEVELS = ("error", "inconclusive")  # of --fail-on
AT_VERDICT, AT_OUTPUT = ("max_accuracy_loss", "seed"), ("label",)  # before which option of a run these stand


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


def distinct(outputs: tuple[Output, ...], /) -> tuple[Output, ...]:
    """Refuse two outputs to one place: the second would replace the first."""
    paths = [output.path for output in outputs]
    if twice := [path for path in paths if paths.count(path) > 1]:
        raise click.BadParameter(f"two reports go to {twice[0]}. Give each a place of its own.")
    return outputs


def reports(text: str, formats: Sequence[str] = FORMATS, /, *, before: tuple[str, ...] = AT_OUTPUT) -> Opt:
    """``--report`` of a command that has these formats."""
    return Opt(
        "--report [FORMAT=]PATH",
        text.format(", ".join(formats)),
        takes=convert_type(lambda words: output(words, formats)),
        is_several=True,
        gather=distinct,
        is_first=True,
        before=before,
    )


WORKERS = Opt(
    "Data: --workers N",
    "Threads that decode images and prepare batches.",
    takes=click.IntRange(1, 256),
    shown="one per processor, 16 at most",
    is_free=True,
)


def _of_recipe(flags: str, key: str, kind: click.ParamType[float]) -> Opt:
    """A short form of ``--set``."""
    text = f"Short for --set train.{key}={flags.split()[-1]}."
    return Opt(f"Cleaning: {flags}", text, takes=kind, shown="the recipe's", before=("screen",))


FAIL_ON = Opt(
    "Verdict: --fail-on",
    "Verdicts that make the exit code other than 0: error means fail only; inconclusive means fail and inconclusive.",
    takes=click.Choice(LEVELS),
    is_first=True,
    before=AT_VERDICT,
)
BASELINE = Opt(
    "Verdict: --baseline REPORT.JSON",
    "An earlier report. The exit code is 0 if no finding is new or worse than in it. Does not affect the report.",
    reads="path",
    before=AT_VERDICT,
)
EXIT_ZERO = Opt(
    "Verdict: --exit-zero",
    "Exit 0 for every verdict, so that a job continues. Errors keep their exit codes.",
    before=AT_VERDICT,
)
REPORT_DIR = Opt(
    "--report-dir DIR",
    "Folder for a report of each model, as JSON, HTML, SARIF, JUnit and Markdown.",
    writes="folder",
    before=AT_OUTPUT,
)
QUIET = Opt(
    "Running: --quiet -q",
    "Show no progress on stderr, and a report as one line. Errors and other results still appear.",
    is_free=True,
)
CONFIG = Opt(
    "Running: --config -c FILE|off",
    "File with defaults of options: a clipclean.yaml, or [tool.clipclean] of a pyproject.toml. One that is only found in "
    "the working folder sets no more than device, workers, quiet and verbose; off uses none.",
    reads="path",
    shown="clipclean.yaml or pyproject.toml of the working folder",
)
DRY_RUN = Opt(
    "Running: --dry-run",
    "Read and check everything, print the steps and an estimate of the time, and stop. Nothing is written.",
    is_first=True,
)


@dataclass(frozen=True, kw_only=True)
class Shell:
    """What a command can be asked beside its request; each names those that it has."""

    models: Annotated[tuple[Path, ...], Opt("MODEL...", reads="path", is_model=True)] = ()
    workers: Annotated[int | None, WORKERS] = None
    epochs: Annotated[float | None, _of_recipe("--epochs N", "epochs", click.FLOAT)] = None
    lr: Annotated[float | None, _of_recipe("--lr RATE", "lr", click.FLOAT)] = None
    batch_size: Annotated[int | None, _of_recipe("--batch-size N", "batch_size", click.INT)] = None
    fail_on: Annotated[str, FAIL_ON] = "inconclusive"
    baseline: Annotated[Path | None, BASELINE] = None
    exit_zero: Annotated[bool, EXIT_ZERO] = False
    report_dir: Annotated[Path | None, REPORT_DIR] = None
    outputs: Annotated[
        tuple[Output, ...],
        reports("Also write the report: as {}, or by the suffix of PATH. Repeatable. Does not affect the exit code."),
    ] = ()
    as_json: Annotated[bool, Opt("--json", "Print the result as JSON.", before=AT_OUTPUT)] = False
    quiet: Annotated[bool, QUIET] = False
    config: Annotated[Path | None, CONFIG] = None
    verbose: Annotated[
        bool, Opt("Running: --verbose -v", "Show more detail on stderr, and a traceback on errors.", is_free=True)
    ] = False
    dry_run: Annotated[bool, DRY_RUN] = False
