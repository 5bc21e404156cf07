"""``clipclean verify``: checks a folder that sanitize or export wrote."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clipclean import api, requests, untrusted
from clipclean.cli import printing
from clipclean.cli.command import command_of
from clipclean.cli.options import Shell

if TYPE_CHECKING:
    from clipclean.jobs.verify import Result

EPILOG = """\b
Examples:
  clipclean verify cleaned/
  clipclean verify cleaned/ --public-key signer.pub
"""


@command_of(requests.Verify, "as_json", "quiet", "config", "verbose", epilog=EPILOG)
def verify(asked: requests.Verify, shell: Shell) -> int:
    """Check the folder DIR that sanitize or export wrote: checksums, in-toto statement, weights, report, signature.

    Weights are read as data, and the digest of their tensors is computed again. Each finding names its file. Exit code 0: the
    folder is whole; 1: something differs from the records; 3: something cannot be read.
    """
    result = api.verify(asked.folder, public_key=asked.public_key)
    if shell.as_json:
        printing.echo_json({"exit_code": result.exit_code, **asdict(result)})
    elif not shell.quiet or result.findings:
        click.echo(table(asked.folder, result))
    return result.exit_code


def table(folder: Path, result: "Result", /) -> str:
    """A line for each check that was made, for each finding, and for what was left unchecked."""
    found = {finding.check for finding in result.findings}
    lines = [f"ok: {check}: {what}" for check, what in result.checked.items() if check not in found]
    lines += [f"{each.kind}: {each.check}: {each.file}: {each.message}" for each in result.findings]
    lines += [f"note: {note}" for note in result.notes]
    verdict = f"{len(result.findings)} finding(s): do not use it" if result.findings else "whole"
    return "\n".join(untrusted.printable(line) for line in [*lines, f"{folder}: {verdict}"])
