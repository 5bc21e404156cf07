"""``clipclean demo``: the main job on bundled files."""

import tempfile
from pathlib import Path
from typing import Any

import click

from clipclean.cli import options

EPILOG = """\b
Examples:
  clipclean demo
  clipclean demo --out demo --force
  clipclean demo --unpack files     # only the bundled files, to try the other commands on
"""


@click.command(epilog=EPILOG)
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path),
    default=Path("clipclean-demo"),
    show_default=True,
    help="Folder for weights and report. One with files in it is refused unless --force is given.",
)
@click.option(
    "--unpack",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Only write the bundled model, pairs and pictures into DIR, and stop.",
)
@options.overrides
@options.policy
@options.seed
@options.outputs
@options.force
@options.keep_failed
@options.exit_zero
@options.quiet
@options.verbose
def demo(**given: Any) -> int:
    """Clean a bundled tiny CLIP that carries a backdoor, on a CPU, within three minutes.

    The model was trained on emoji pictures. A small patch in the corner of any picture makes it say the name of one class.
    """
    from clipclean import demo as bundled
    from clipclean.cli import run

    folder = given.pop("unpack")
    if folder is not None:
        bundled.unpack(folder)
        click.echo(f"{folder}: {', '.join((*bundled.PLAIN, *bundled.PACKED))}")
        return 0
    with tempfile.TemporaryDirectory(prefix="clipclean-demo-") as scratch:
        bundled.unpack(Path(scratch))
        return run.sanitize(bundled.arguments(Path(scratch)) | given)
