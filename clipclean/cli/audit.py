"""``clipclean audit``: tell whether a checkpoint carries a backdoor."""

from pathlib import Path
from typing import Any

import click

from clipclean.cli import options, printing, progress, roles
from clipclean.cli.command import command, filled, option
from clipclean.config import policy as policies
from clipclean.config.recipe import EFFORTS
from clipclean.errors import UsageError

EPILOG = """\b
Examples:
  clipclean audit model.pt --classes classes.txt
  clipclean audit model.safetensors -d images/ --reference trusted.pt --output report.html
  clipclean audit model.pt -d images/ --effort thorough --save-triggers found/ --policy policy.yaml
"""


@command(epilog=EPILOG)
@click.argument("model", type=click.Path(path_type=Path))
@option(
    "--data",
    "-d",
    group="Data",
    metavar="IMAGES",
    **options.SETS,
    show_default="bundled images",
    help=f"Images to measure and search on. {options.SETS_HELP} Labels (one folder per class) and captions are "
    "used if present. A few hundred varied images are enough. They may contain poisoned images; only the labels must be right.",
)
@option(
    "--reference",
    group="Model",
    metavar="MODEL",
    type=click.Path(path_type=Path),
    help="A clean model of the same architecture that you trust. It is searched in the same way, and the trigger sizes found in "
    "it are the reference; without it, stored statistics of the architecture are used if there are any.",
)
@option(
    "--effort",
    group="Search",
    metavar="|".join(EFFORTS),
    type=click.Choice(list(EFFORTS)),
    default="standard",
    help="How hard to search; a harder search misses less. Forward and backward passes of one image through the image tower: "
    + ", ".join(f"{name} {most:,}" for name, (_, most) in ((name, effort.passes()) for name, effort in EFFORTS.items()))
    + " at most; thorough adds 60 for each class.",
)
@option(
    "--save-triggers",
    group="Output",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Write the triggers that the search finds there; 'clipclean sanitize --trigger FILE' takes them.",
)
@option(
    "--no-search",
    group="Search",
    is_flag=True,
    help="Try the known triggers only. Faster, but a backdoor of another kind goes unseen: the verdict is then never pass.",
)
@options.download
@options.arch
@options.weights
@options.classes
@options.templates
@options.policy
@options.seed
@options.device
@options.workers
@options.outputs
@options.as_json
@options.exit_zero
@options.quiet
@options.label
@options.verbose
def audit(**given: Any) -> int:
    """Tell whether MODEL carries a backdoor that nobody described, and which class it leads to.

    MODEL is read without executing anything in it. Known triggers are tried, unknown ones are searched for, and the results
    are compared with those of clean models. The exit code is the verdict.
    """
    roles.check(given)
    check_search(given)
    outputs = printing.outputs_of(given)
    demanded = policies.DEFAULT if given["policy"] is None else policies.load(given["policy"])
    if not given["quiet"]:
        printing.first_line(given["model"], f"effort {given['effort']}")
    from clipclean import data, demo
    from clipclean.jobs import audit as job

    data.use_workers(given["workers"])
    with demo.unpacked() as bundled, progress.shown(quiet=given["quiet"]) as shown:
        request = filled(
            job.Request, given, data=given["data"] or bundled / demo.PICTURES, own=given["data"] is not None,
            pairs=bundled / demo.PAIRS, policy=demanded, search=not given["no_search"],
        )  # fmt: skip
        outcome = job.examine(request, progress=shown)
    printing.show_report(outcome.report, outputs, images=outcome.pictures)
    return 0 if given["exit_zero"] else printing.EXIT_CODES[outcome.report.verdict]


def check_search(given: dict[str, Any], /) -> None:
    """Refuse options that mean nothing without a search; raises UsageError."""
    idle = [flag for flag, name in (("--save-triggers", "save_triggers"), ("--reference", "reference")) if given[name]]
    if given["no_search"] and idle:
        raise UsageError(
            f"--no-search with {' and '.join(idle)}: without a search nothing is found that could be saved or compared. "
            "Leave one of them out."
        )
