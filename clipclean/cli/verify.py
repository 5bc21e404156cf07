"""``clipclean verify``: checks a folder that sanitize or export wrote."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clipclean import api, untrusted
from clipclean.cli import options, printing
from clipclean.cli.command import command, option

if TYPE_CHECKING:
    from clipclean.jobs.verify import Result

EPILOG = """\b
Examples:
  clipclean verify cleaned/
  clipclean verify cleaned/ --public-key signer.pub
"""


@command(epilog=EPILOG)
@click.argument("folder", metavar="DIR", type=click.Path(readable=False, path_type=Path))
@option(
    "--public-key FILE",
    "Check the signature model.sig with this key, in PEM format. A folder without a signature then fails.",
    type=click.Path(readable=False, path_type=Path),
)
@options.as_json
@options.spoken
def verify(folder: Path, public_key: Path | None, as_json: bool, quiet: bool, verbose: bool) -> int:
    """Check the folder DIR that sanitize or export wrote: checksums, in-toto statement, weights, report, signature.

    Weights are read as data, and the digest of their tensors is computed again. Each finding names its file. Exit code 0: the
    folder is whole; 1: something differs from the records; 3: something cannot be read.
    """
    result = api.verify(folder, public_key=public_key)
    if as_json:
        printing.echo_json({"exit_code": result.exit_code, **asdict(result)})
    elif not quiet or result.findings:
        click.echo(table(folder, result))
    return result.exit_code


def table(folder: Path, result: "Result", /) -> str:
    """A line for each check that was made, for each finding, and for what was left unchecked."""
    found = {finding.check for finding in result.findings}
    lines = [f"ok: {check}: {what}" for check, what in result.checked.items() if check not in found]
    lines += [f"{each.kind}: {each.check}: {each.file}: {each.message}" for each in result.findings]
    lines += [f"note: {note}" for note in result.notes]
    verdict = f"{len(result.findings)} finding(s): do not use it" if result.findings else "whole"
    return "\n".join(untrusted.printable(line) for line in [*lines, f"{folder}: {verdict}"])
