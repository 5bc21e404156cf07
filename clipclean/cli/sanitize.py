"""``clipclean sanitize``: the main job."""

from pathlib import Path
from typing import Any

import click

from clipclean.cli import options

EPILOG = """\b
Examples:
  clipclean sanitize model.pt --data clean/ --out cleaned/
  clipclean sanitize model.pt --data pairs.csv --recipe cleanclip-strong --classes classes.txt
  clipclean sanitize model.pt --data clean/ --recipe auto --max-accuracy-loss 0.01 --max-minutes 60
  clipclean sanitize model.pt --data 'shards/{0000..0009}.tar' --trigger patch --target banana --set train.epochs=3
"""


@click.command(epilog=EPILOG)
@click.argument("model", type=click.Path(path_type=Path))
@options.data
@options.image_key
@options.caption_key
@options.screen
@options.recipe
@options.out
@click.option(
    "--format",
    "formats",
    metavar="|".join(options.LAYOUTS),
    type=click.Choice(options.LAYOUTS),
    multiple=True,
    default=("open_clip",),
    help=options.LAYOUTS_HELP,
)
@click.option(
    "--eval-data",
    metavar="LABELLED",
    type=click.Path(path_type=Path),
    help="Labelled pictures to measure on: a folder a class, or any of the --data formats with class names as labels or "
    "captions. Without it some pairs are kept out of training, and recall stands in for accuracy.",
)
@click.option(
    "--trigger",
    "triggers",
    metavar="SPEC|FILE",
    multiple=True,
    help="A trigger that you suspect: a spec such as patch:size=0.07,place=corner, or a file that 'clipclean audit "
    "--save-triggers' wrote. It is measured, and the verdict depends on it. Repeatable. See the documentation for the "
    "families.",
)
@click.option(
    "--target",
    metavar="CLASS",
    help="The class that the suspected triggers lead to; default: that of a found trigger, else whichever they do.",
)
@options.arch
@options.weights
@options.classes
@options.templates
@options.overrides
@options.max_accuracy_loss
@options.max_minutes
@options.policy
@options.seed
@options.device
@options.precision
@options.outputs
@options.force
@options.keep_failed
@options.no_audit
@options.normalize
@options.fp16
@options.onnx_preset
@options.bom
@options.exit_zero
@options.quiet
@options.verbose
def sanitize(**given: Any) -> int:
    """Clean the checkpoint MODEL by finetuning on clean pairs, and write weights that open_clip loads.

    MODEL is read without executing anything in it. It is measured before and after; the exit code is the verdict.
    A run that was interrupted goes on when the same command is given again.
    """
    from clipclean.cli import run

    return run.sanitize(given)
