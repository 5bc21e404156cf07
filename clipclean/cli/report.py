"""``clipclean report``: converts a report to other formats."""

from pathlib import Path

import click

from clipclean.api import format_of, roles
from clipclean.cli import options, printing
from clipclean.cli.command import CommandGroup, option
from clipclean.errors import UsageError

EPILOG = """\b
Examples:
  clipclean report convert cleaned/report.json -o report.html
  clipclean report convert cleaned/report.json --to sarif > clipclean.sarif
  clipclean report convert cleaned/report.json --to markdown >> "$GITHUB_STEP_SUMMARY"
"""


@click.group(cls=CommandGroup)
def report() -> None:
    """Turn a report.json into HTML, SARIF, JUnit or Markdown."""


@report.command(epilog=EPILOG)
@click.argument("file", metavar="REPORT.JSON", type=click.Path(readable=False, path_type=Path))
@option(
    "--to",
    "The format to write: html for people, sarif and junit for CI, markdown for a pull request.",
    dest="form",
    type=click.Choice(options.FORMATS),
    show_default="by the suffix of --out",
)
@option(
    "--out -o PATH",
    "File to write. An existing file is replaced.",
    type=click.Path(dir_okay=False, path_type=Path),
    show_default="stdout",
)
def convert(file: Path, form: str | None, out: Path | None) -> None:
    """Write the report of a run in another format.

    Nothing is measured again. The exit code is that of the conversion, not of the verdict.
    """
    from clipclean import report as reports

    form = form or (format_of(str(out)) if out else "")
    if not form:
        raise UsageError(
            f"Name the format by --to ({', '.join(options.FORMATS)}), or a file such as report.html by --out."
        )
    if out is not None:
        roles.check({"file": file, "out": out}, out="file")
        roles.check_report(roles.Role(f"--out {out}", out))
    loaded = reports.read(file)
    if out is None:
        printing.echo(reports.FORMATS[form](loaded), form=form)
    else:
        reports.write(loaded, form, out)
