"""``clipclean audit``: tell whether a checkpoint carries a backdoor."""

from pathlib import Path
from typing import Any

import click

from clipclean.cli import options
from clipclean.config.recipe import EFFORTS

EPILOG = """\b
Examples:
  clipclean audit model.pt --classes classes.txt
  clipclean audit model.safetensors --data pictures/ --reference trusted.pt --output html=report.html
  clipclean audit model.pt --data pictures/ --effort thorough --save-triggers found/ --policy policy.yaml
"""


@click.command(epilog=EPILOG)
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--data",
    metavar="IMAGES",
    type=click.Path(path_type=Path),
    show_default="bundled pictures",
    help="Pictures to measure and search on: a folder, CSV, JSONL or WebDataset. Labels (a folder a class) and captions are "
    "used where there are any. A few hundred varied ones are enough; they need not be clean of anything but labels.",
)
@click.option(
    "--reference",
    metavar="MODEL",
    type=click.Path(path_type=Path),
    help="A clean model of the same architecture that you trust. It is searched likewise, and what it needs is the yardstick; "
    "without it, the one that ships for the architecture is, if there is one.",
)
@click.option(
    "--effort",
    metavar="|".join(EFFORTS),
    type=click.Choice(list(EFFORTS)),
    default="standard",
    help="How hard to search; the more, the less is missed. Pictures that go forward and back through the image tower: "
    + ", ".join(f"{name} {most:,}" for name, (_, most) in ((name, effort.passes()) for name, effort in EFFORTS.items()))
    + " at most, and thorough 60 more for each class.",
)
@click.option(
    "--save-triggers",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Write the triggers that the search finds there; 'clipclean sanitize --trigger FILE' takes them.",
)
@click.option(
    "--no-search",
    is_flag=True,
    help="Try the known triggers only. Faster, and a backdoor of another kind goes unseen: the verdict is then never pass.",
)
@options.arch
@options.weights
@options.classes
@options.templates
@options.policy
@options.seed
@options.device
@options.outputs
@options.exit_zero
@options.quiet
@options.verbose
def audit(**given: Any) -> int:
    """Tell whether MODEL carries a backdoor that nobody described, and which class it leads to.

    MODEL is read without executing anything in it. Known triggers are tried, unknown ones are searched for, and what is
    found is compared with what clean models need. The exit code is the verdict.
    """
    from clipclean.cli import run

    return run.audit(given)
