"""``clipclean report``: one run, every format."""

from pathlib import Path

import click

from clipclean.cli import options, roles

EPILOG = """\b
Examples:
  clipclean report convert cleaned/report.json --to html --out report.html
  clipclean report convert cleaned/report.json --to sarif > clipclean.sarif
  clipclean report convert cleaned/report.json --to markdown >> "$GITHUB_STEP_SUMMARY"
"""


@click.group()
def report() -> None:
    """Turn a report.json into HTML, SARIF, JUnit or Markdown."""


@report.command(epilog=EPILOG)
@click.argument("file", metavar="REPORT.JSON", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "form",
    metavar="|".join(options.FORMATS),
    type=click.Choice(options.FORMATS),
    required=True,
    help="The form to write: html for people, sarif and junit for CI, markdown for a pull request.",
)
@click.option(
    "--out",
    metavar="PATH",
    type=click.Path(dir_okay=False, path_type=Path),
    show_default="stdout",
    help="Where to write it. A file that is there is replaced.",
)
def convert(file: Path, form: str, out: Path | None) -> None:
    """Write the report of a run in another form.

    Nothing is measured again. The exit code says whether the conversion worked, not what the verdict was.
    """
    from clipclean import report as reports

    if out is not None:
        roles.check({"file": file, "out": out}, out="file")
        roles.check_report(roles.Role(f"--out {out}", out))
    loaded = reports.read(file)
    if out is None:
        click.echo(reports.FORMATS[form](loaded), nl=False)
    else:
        reports.write(loaded, form, out)
