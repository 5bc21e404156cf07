"""Options of the terminal alone, beside those of ``requests``: what is printed where, which exit code, how loud."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import click
from click.types import convert_type

from clipclean.requests import Opt
from clipclean.schema.report_forms import REPORT_FORMS, form_of

FAIL_LEVELS = ("error", "inconclusive")  # of --fail-on


class Output(NamedTuple):
    """One ``--report``."""

    format: str
    path: Path


def output(text: str, formats: Sequence[str] = tuple(REPORT_FORMS), /) -> Output:
    """``json=report.json``, or a path whose suffix names the format."""
    form, equals, path = text.partition("=")
    if not equals and (by_suffix := form_of(text)) in formats:
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


def reports(text: str, formats: Sequence[str] = tuple(REPORT_FORMS), /) -> Opt:
    """``--report`` of a command that has these formats."""
    kind = convert_type(lambda words: output(words, formats))
    return Opt(
        text.format(", ".join(formats)),
        "[FORMAT=]PATH",
        value_type=kind,
        is_several=True,
        gather=distinct,
        help_position=("Output", 170),
        in_brief=True,
    )


WORKERS = Opt(
    "Threads that decode images and prepare batches.",
    "N",
    value_type=click.IntRange(1, 256),
    default_words="one per processor, 16 at most",
    help_position=("Data", 70),
)


def short_form(key: str, metavar: str, kind: click.ParamType[float], *, rank: int) -> Opt:
    """An option that sets one value of a recipe."""
    return Opt(
        f"Short for --set train.{key}={metavar}.",
        metavar,
        value_type=kind,
        default_words="the recipe's",
        help_position=("Cleaning", rank),
    )


FAIL_ON = Opt(
    "Verdicts that make the exit code other than 0. With error fail alone; with inconclusive fail and inconclusive.",
    value_type=click.Choice(FAIL_LEVELS),
    help_position=("Verdict", 30),
    in_brief=True,
)
BASELINE = Opt(
    "An earlier report. The exit code is 0 if no finding is new or worse than in it. Does not affect the report.",
    "REPORT.JSON",
    reads="path",
    help_position=("Verdict", 40),
)
EXIT_ZERO = Opt(
    "Exit 0 for every verdict, so that a job continues. Errors keep their exit codes.", help_position=("Verdict", 50)
)
REPORT_DIR = Opt(
    "Folder for a report of each model, as JSON, HTML, SARIF, JUnit and Markdown.",
    "DIR",
    writes="folder",
    help_position=("Output", 160),
)
REPORT = reports(
    "Also write the report to a file. As {}, or by the suffix of PATH. Repeatable. Does not affect the exit code."
)
QUIET = Opt(
    "Show no progress on stderr, and a report as one line. Errors and other results still appear.",
    help_position=("Running", 40),
    has_letter=True,
)
CONFIG = Opt(
    "File with defaults of options: a clipclean.yaml, or [tool.clipclean] of a pyproject.toml. One that is only found in "
    "the working folder sets no more than device, workers, quiet and verbose; off uses none.",
    "FILE|off",
    reads="path",
    default_words="clipclean.yaml or pyproject.toml of the working folder",
    help_position=("Running", 50),
    has_letter=True,
)
DRY_RUN = Opt(
    "Check everything, print steps and estimate, and stop. Nothing is written.",
    help_position=("Running", 70),
    in_brief=True,
)


@dataclass(frozen=True, kw_only=True)
class Shell:
    """What commands can be asked beside their requests; each names those that it has."""

    models: Annotated[tuple[Path, ...], Opt(argument="MODEL...", reads="path", is_model=True)] = ()
    workers: Annotated[int | None, WORKERS] = None
    epochs: Annotated[float | None, short_form("epochs", "N", click.FLOAT, rank=30)] = None
    lr: Annotated[float | None, short_form("lr", "RATE", click.FLOAT, rank=40)] = None
    batch_size: Annotated[int | None, short_form("batch_size", "N", click.INT, rank=100)] = None
    fail_on: Annotated[str, FAIL_ON] = "inconclusive"
    baseline: Annotated[Path | None, BASELINE] = None
    exit_zero: Annotated[bool, EXIT_ZERO] = False
    report_dir: Annotated[Path | None, REPORT_DIR] = None
    outputs: Annotated[tuple[Output, ...], REPORT] = ()
    as_json: Annotated[bool, Opt("Print the result as JSON.", help_position=("Output", 180))] = False
    quiet: Annotated[bool, QUIET] = False
    config: Annotated[Path | None, CONFIG] = None
    verbose: Annotated[
        bool,
        Opt("Show more detail on stderr, and a traceback on errors.", help_position=("Running", 60), has_letter=True),
    ] = False
    dry_run: Annotated[bool, DRY_RUN] = False


# Options that go together, by their names.
RESULT_OPTIONS = ("as_json", "quiet", "config", "verbose")
VERDICT_OPTIONS = ("fail_on", "baseline", "exit_zero")
