"""``clipclean demo``: runs the main job on bundled files."""

import tempfile
from pathlib import Path
from typing import Any

import click

from clipclean.cli import options, sanitize
from clipclean.cli.command import Given, command, option

EPILOG = """\b
Examples:
  clipclean demo
  clipclean demo --out demo --force
  clipclean demo --unpack files     # only the bundled files, to try the other commands on
"""


@command(epilog=EPILOG)
@option(
    "--out -o DIR",
    "Folder for weights and report. It must be empty, unless --force is given.",
    default=Path("clipclean-demo"),
)
@option("--unpack DIR", "Only write the bundled model, pairs and images into DIR.")
@options.overrides
@options.policy
@options.seed
@options.outputs
@options.as_json
@options.force
@options.keep_failed
@options.exit_zero
@options.quiet
@options.verbose
def demo(**given: Any) -> int:
    """Clean a bundled tiny CLIP that carries a backdoor, on a CPU.

    The model was trained on emoji images. With a small patch in the corner, it classifies any image as one class.
    """
    from clipclean import demo as bundled

    folder = given.pop("unpack")
    if folder is not None:
        bundled.unpack(folder)
        click.echo(f"{folder}: {', '.join((*bundled.PLAIN, *bundled.PACKED))}")
        return 0
    with tempfile.TemporaryDirectory(prefix="clipclean-demo-") as scratch:
        bundled.unpack(Path(scratch))
        return sanitize.run(neutral() | bundled.arguments(Path(scratch)) | given)


def neutral() -> Given:
    """The defaults of sanitize's options, ignoring the environment."""
    return {
        str(each.name): False if each.is_flag else () if each.multiple else None
        for each in sanitize.sanitize.params
        if isinstance(each, click.Option)
    }
