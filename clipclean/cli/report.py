"""``clipclean report`` and ``clipclean compare``: converts a report to other formats; compares two, or a model with its base."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click

from clipclean import requests
from clipclean.api import reports as report_functions
from clipclean.api import roles
from clipclean.cli import printing, process, progress
from clipclean.cli.command import CommandGroup, command_of
from clipclean.cli.options import RESULT_OPTIONS, Shell
from clipclean.errors import UsageError
from clipclean.findings import LEVEL_RANKS
from clipclean.requests import Opt
from clipclean.schema.report_forms import REPORT_FORMS, form_of
from clipclean.untrusted import printable

if TYPE_CHECKING:
    from clipclean.report import ReportComparison


class ReportGroup(CommandGroup):
    """The commands of a report; one named by a format or by a file is a conversion."""

    def instead(self, ctx: click.Context, name: str, /) -> str:
        """How to convert, where the name is that of a format or of a file."""
        if name in REPORT_FORMS:
            return f"Did you mean 'clipclean report convert REPORT.JSON --to {name}'?"
        if Path(name).suffix:
            return f"Did you mean 'clipclean report convert {printable(name)} --to FORMAT'?"
        return super().instead(ctx, name)


@click.group(cls=ReportGroup)
def report() -> None:
    """Turn a report.json into HTML, SARIF, JUnit or Markdown."""


FORM = Opt(
    "The format to write: html for people, sarif and junit for CI, markdown for a pull request.",
    value_type=click.Choice(tuple(REPORT_FORMS)),
    default_words="by the suffix of --out",
    help_position=("Output", 10),
)
CONVERTED_FILE = Opt(
    "File to write. An existing file is replaced.",
    "PATH",
    value_type=click.Path(dir_okay=False, path_type=Path),
    writes="file",
    default_words="stdout",
    help_position=("Output", 20),
    in_brief=True,
    has_letter=True,
)


@dataclass(frozen=True)
class Convert:
    """A conversion."""

    file: Annotated[Path, Opt(argument="REPORT.JSON", reads="path")]
    form: Annotated[str | None, FORM] = None
    out: Annotated[Path | None, CONVERTED_FILE] = None


@command_of(
    Convert,
    (),
    "report convert cleaned/report.json -o report.html",
    "report convert cleaned/report.json --to sarif > clipclean.sarif",
    'report convert cleaned/report.json --to markdown >> "$GITHUB_STEP_SUMMARY"',
    group=report,
)
def convert(request: Convert, _shell: Shell) -> None:
    """Write the report of a run in another format.

    Nothing is measured again. The exit code is that of the conversion, not of the verdict.
    """
    from clipclean import report as reports

    form, out = request.form or (form_of(str(request.out)) if request.out else ""), request.out
    if not form:
        raise UsageError(
            f"Name the format by --to ({', '.join(REPORT_FORMS)}), or a file such as report.html by --out."
        )
    if out is not None:
        roles.check_report(f"--out {out}", out)
    loaded = reports.read(request.file)
    if out is None and form == "text":
        printing.echo(reports.text(loaded, width=printing.terminal_width(), colour=False) + "\n", form=form)
    elif out is None:
        printing.echo(reports.WRITERS[form](loaded), form=form)
    else:
        reports.write(loaded, form, out)


@command_of(
    requests.Compare,
    ("fail_on", "workers", *RESULT_OPTIONS),
    "compare before/report.json after/report.json",
    "compare before/report.json after/report.json --json | jq '.[] | select(.change == \"new\")'",
    "compare finetune.pt --base base.pt -d images/ --classes classes.txt",
)
def compare(request: requests.Compare, shell: Shell) -> int:
    """Compare two reports: findings of LATER.JSON that are new, worse, the same, or gone since EARLIER.JSON. Or MODEL with its --base.

    Worse means a higher level, or an interval wholly above the earlier one. What the later run could not have found again is
    not measured. Exit code 0: no finding that --fail-on covers is new, worse or not measured. 1: at least one is.

    With --base two models are measured beside each other: how near they are, what the finetune moved, and which known triggers act on
    one alone. Unknown triggers are not searched for. The exit code is 1 if known triggers lift a class on MODEL, if one
    turns nearly all images there and not on the base, if a trigger that you name acts on MODEL alone, or if it was not finetuned from
    the base.
    """
    if request.base is not None:
        return compare_with_base(request, shell)
    if request.later is None or not isinstance(request.model, Path):
        raise UsageError(
            "One file is named. Name two reports, or a model and the one that it was finetuned from, by --base."
        )
    comparison = report_functions.compare(request.model, request.later)
    rows = [
        {"change": difference.change, **difference.finding.model_dump(mode="json", by_alias=True)}
        for difference in comparison.differences
    ]
    if shell.as_json and comparison.unlike:  # a list of findings has no place for it
        printing.say(shell, unlike_text(comparison))
    printing.show(shell.as_json, rows, comparison_text(comparison))
    return int(bool(comparison.blocking(shell.fail_on)))


def compare_with_base(request: requests.Compare, shell: Shell, /) -> int:
    """Measure a model beside its base and print the result; returns the exit code."""
    device, quiet = process.load_torch(request.device, shell)
    from clipclean import report as reports
    from clipclean.jobs import compare as job
    from clipclean.report import verdicts

    with progress.display(quiet=quiet):
        result = job.compare_with_base(replace(request, device=device))
    if shell.as_json:
        printing.echo(reports.json_text(result.as_json()), form="json")
    else:
        printing.echo(reports.compared_text(result, width=printing.terminal_width()) + "\n", form="text")
    least = verdicts.LEAST_RANK[shell.fail_on]
    return int(any(LEVEL_RANKS[finding.level] >= least for finding in result.findings))


CHANGE_COLUMNS = 14  # of how a finding changed, before its rule


def comparison_text(comparison: "ReportComparison", /) -> str:
    """A line for each finding, the new ones first, and the verdicts."""
    order = ("new", "worse", "not measured", "same", "gone")
    rows = sorted(comparison.differences, key=lambda difference: order.index(difference.change))
    lines = [
        f"{difference.change:<{CHANGE_COLUMNS}}{difference.finding.rule}  {difference.finding.level:<7}  {difference.finding.message}"
        for difference in rows
    ]
    counts = ", ".join(f"{sum(difference.change == change for difference in rows)} {change}" for change in order)
    lines = [printing.fitted(printable(line), indent=CHANGE_COLUMNS) for line in lines]
    last_lines = [
        f"{comparison.verdicts[0]} -> {comparison.verdicts[1]}: {counts}",
        *([unlike_text(comparison)] if comparison.unlike else []),
    ]
    return "\n".join([*lines, *(printing.fitted(printable(line), indent=2) for line in last_lines)])


def unlike_text(comparison: "ReportComparison", /) -> str:
    """That the two runs were given other things, and what."""
    return printable(f"not the same in both, so changes may come from it: {'; '.join(comparison.unlike)}")
