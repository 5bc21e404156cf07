"""``clipclean references``: measures clean models once, to compare others with."""

import click

from clipclean import requests
from clipclean.api import roles
from clipclean.cli import progress
from clipclean.cli.command import CommandGroup, command_of
from clipclean.cli.options import Shell
from clipclean.untrusted import plural


@click.group(cls=CommandGroup)
def references() -> None:
    """Measure clean models once, to compare others with."""


@command_of(
    requests.References,
    *("config", "quiet"),
    group=references,
    epilog="""\b
Examples:
  clipclean references build clean-1.pt clean-2.pt -d images/ --classes classes.txt --out vit-b-32.json
  clipclean audit model.pt -d images/ --classes classes.txt --references vit-b-32.json
""",
)
def build(asked: requests.References, shell: Shell) -> None:
    """Search clean MODELs like an audit, and write the results to a file for 'audit --references FILE'."""
    roles.check(asked)
    from clipclean.jobs import other_models as job

    with progress.shown(quiet=shell.quiet):
        found = job.build(asked)
    models = plural(len(found["models"]), "clean model")
    click.echo(f"{models} ({found['kind']}, {asked.effort} effort): {asked.out}")
