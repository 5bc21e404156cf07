"""``clipclean sanitize``: audits, cleans and exports a checkpoint."""

from pathlib import Path
from typing import Any

import click

from clipclean.api import requests, roles
from clipclean.cli import options, printing, process, progress
from clipclean.cli.command import Given, command
from clipclean.errors import UsageError
from clipclean.export.formats import FORMATS
from clipclean.jobs import log_files
from clipclean.untrusted import printable

EPILOG = """\b
Examples:
  clipclean sanitize model.pt -d clean/ -o cleaned/
  clipclean sanitize model.pt -d pairs.csv -r cleanclip-strong --classes classes.txt --epochs 3
  clipclean sanitize model.pt -d clean/ -r auto --reference trusted.pt --max-accuracy-loss 0.01
  clipclean sanitize model.pt -d 'shards/{0000..0009}.tar' --trigger patch --target banana --report report.html
"""
SHORT = {"epochs": "train.epochs", "lr": "train.lr", "batch_size": "train.batch_size"}  # options for values of a recipe


@command(epilog=EPILOG)
@click.argument("model", type=click.Path(readable=False, path_type=Path))
@options.pairs(
    "Clean image-caption pairs; unlearning needs images only, supervised finetuning labelled images. A few poisoned pairs undo the "
    "cleaning."
)
@options.eval_data
@options.keyed
@options.named
@options.computed
@options.loaded
@options.reference(
    "For --recipe auto: a clean model of the same architecture that you trust, for its audits to compare with. Without one "
    "the verdict is never pass. Repeatable.",
)
@options.recipe
@options.overrides
@options.epochs
@options.lr
@options.batch_size
@options.screen
@options.precision
@options.triggers
@options.target
@options.no_panel
@options.judged
@options.max_accuracy_loss
@options.keep_failed
@options.out
@options.formats
@options.logged
@options.reported
@options.force
@options.max_minutes
@options.spoken
@options.dry_run
def sanitize(**given: Any) -> int:
    """Clean the checkpoint MODEL by finetuning on clean pairs, and write weights that open_clip loads.

    The model is measured before and after; the exit code is the verdict. Nothing in MODEL is executed. To resume an interrupted
    run, give the same command again.
    """
    return run(given)


def run(given: Given, /) -> int:
    """Sanitize as the options say, and print the result; returns the exit code."""
    roles.check(given, out="folder")
    printing.check_there(given)
    outputs = printing.outputs_of(given)
    printing.check_baseline(given)
    log_files.check(given["log_dir"], given["log_to"])
    given = given | {"set": chosen(given), "panel": not given["no_panel"]}
    recipe = requests.recipe_of(given)
    requests.policy_of(given)  # a wrong one is refused before torch comes
    if not process.is_silent(given):
        by_size = "recipe by what was measured on the like"
        printing.first_line(given["model"], by_size if given["recipe"] is None else f"recipe {recipe.name}")
    device, quiet = process.begun(given)
    from clipclean import auto, train
    from clipclean.jobs import outputs as results
    from clipclean.jobs import plan

    request = requests.of_sanitize(given | {"device": device})
    if given["dry_run"]:
        with progress.shown(quiet=quiet) as shown:
            return printing.show_plan(given, plan.of_sanitize(request, ladder=auto.ladder, progress=shown))
    with (
        train.joined(device) as group,
        log_files.listener(*((given["log_dir"], given["log_to"]) if group.is_first else (None, ()))) as listeners,
        progress.shown(quiet=quiet, listeners=listeners) as shown,
    ):
        outcome = auto.clean(request, progress=shown, group=group)
    if outcome is None:  # another process has the result
        return 0
    loading = f"Load:   {FORMATS[given['format'][0]].load.format(printable(given['out']))}"
    failed = "No weights were written: their audit failed. The same command with --keep-failed --force writes them."
    return printing.show_report(
        given,
        outcome.report,
        outputs,
        images=outcome.images,
        place=results.place_of(request)._replace(recipe=outcome.report.recipe.name if outcome.report.recipe else ""),
        page=given["out"] / "report.html",
        closing=[loading if outcome.exported else failed],
    )


def chosen(given: Given, /) -> list[str]:
    """The changes of the recipe by --set and its short forms.

    Raises:
        UsageError: a value is given by both.
    """
    short = {SHORT[name]: given[name] for name in SHORT if given.get(name) is not None}
    keys = {change.partition("=")[0] for change in given["set"]}
    if twice := [f"--{name.replace('_', '-')}" for name, key in SHORT.items() if key in short and key in keys]:
        raise UsageError(f"{', '.join(twice)} and --set both give a value. Leave one of them out.")
    return [*given["set"], *(f"{key}={value}" for key, value in short.items())]
