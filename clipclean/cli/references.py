"""``clipclean references``: measures clean models once, to compare others with."""

from pathlib import Path
from typing import Any

import click

from clipclean.api import requests, roles
from clipclean.cli import options, progress
from clipclean.cli.command import CommandGroup, option
from clipclean.untrusted import plural


@click.group(cls=CommandGroup)
def references() -> None:
    """Measure clean models once, to compare others with."""


@references.command(
    epilog="""\b
Examples:
  clipclean references build clean-1.pt clean-2.pt -d images/ --classes classes.txt --out vit-b-32.json
  clipclean audit model.pt -d images/ --classes classes.txt --references vit-b-32.json
"""
)
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, type=click.Path(readable=False, path_type=Path))
@option("--out -o FILE", "The file to write. It holds numbers only, no weights.", required=True)
@options.images(
    "Images to search on, like those of later audits.",
    show_default="bundled images",
)
@options.effort(
    "Effort of the search. The file serves audits of the same effort.",
)
@options.download
@options.arch
@options.weights
@options.named
@options.seed
@options.device
@options.config
@options.quiet
def build(**given: Any) -> None:
    """Search clean MODELs like an audit, and write the results to a file for 'audit --references FILE'."""
    roles.check(given, out="file")
    from clipclean.jobs import references as job

    with requests.of_references(given) as request, progress.shown(quiet=given["quiet"]) as shown:
        found = job.build(request, given["models"], out=given["out"], progress=shown)
    models = plural(len(found["models"]), "clean model")
    click.echo(f"{models} ({found['kind']}, {given['effort']} effort): {given['out']}")
