"""``clipclean report``: converts a report to other formats."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import click

from clipclean.api import roles
from clipclean.cli import printing
from clipclean.cli.command import CommandGroup, command_of
from clipclean.cli.options import FORMATS, Shell
from clipclean.errors import UsageError
from clipclean.requests import Opt, format_of

EPILOG = """\b
Examples:
  clipclean report convert cleaned/report.json -o report.html
  clipclean report convert cleaned/report.json --to sarif > clipclean.sarif
  clipclean report convert cleaned/report.json --to markdown >> "$GITHUB_STEP_SUMMARY"
"""


@click.group(cls=CommandGroup)
def report() -> None:
    """Turn a report.json into HTML, SARIF, JUnit or Markdown."""


FORM = Opt(
    "--to",
    "The format to write: html for people, sarif and junit for CI, markdown for a pull request.",
    takes=click.Choice(FORMATS),
    shown="by the suffix of --out",
)
OUT = Opt(
    "--out -o PATH",
    "File to write. An existing file is replaced.",
    takes=click.Path(dir_okay=False, path_type=Path),
    writes="file",
    shown="stdout",
)


@dataclass(frozen=True)
class Convert:
    """A conversion."""

    file: Annotated[Path, Opt("REPORT.JSON", reads="path")]
    form: Annotated[str | None, FORM] = None
    out: Annotated[Path | None, OUT] = None


@command_of(Convert, epilog=EPILOG, group=report)
def convert(asked: Convert, _shell: Shell) -> None:
    """Write the report of a run in another format.

    Nothing is measured again. The exit code is that of the conversion, not of the verdict.
    """
    from clipclean import report as reports

    form, out = asked.form or (format_of(str(asked.out)) if asked.out else ""), asked.out
    if not form:
        raise UsageError(f"Name the format by --to ({', '.join(FORMATS)}), or a file such as report.html by --out.")
    if out is not None:
        roles.check(asked)
        roles.check_report(roles.Role(f"--out {out}", out))
    loaded = reports.read(asked.file)
    if out is None:
        printing.echo(reports.FORMATS[form](loaded), form=form)
    else:
        reports.write(loaded, form, out)
