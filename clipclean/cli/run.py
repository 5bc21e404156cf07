"""What the commands that work on a model share: options to a request, progress, and the result on stdout."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from clipclean import __version__, files, report
from clipclean.cli import progress, roles
from clipclean.config import policy as policies
from clipclean.config import recipe as recipes
from clipclean.errors import UsageError
from clipclean.export import formats, layout

EXIT_CODES = {"pass": 0, "fail": 1, "inconclusive": 4}


def sanitize(given: dict[str, Any], /) -> int:
    """Run a sanitize request made of command-line options, and print its table; returns the exit code."""
    roles.check(given, out="folder")
    recipe = recipes.load(given["recipe"])
    if changes := [*given["overrides"], *budgets(given, recipe)]:
        recipe = recipes.override(recipe, changes)
    demanded = policies.DEFAULT if given["policy"] is None else policies.load(given["policy"])
    quiet = given["quiet"] or is_follower()
    if not quiet:
        click.echo(f"clipclean {__version__}: {given['model'].name}, recipe {recipe.name}", err=True)
    from clipclean import train
    from clipclean.auto import job as auto
    from clipclean.jobs import inputs  # torch comes with it: after what can fail fast
    from clipclean.jobs import sanitize as main_job

    device = inputs.device_of(own_device(given["device"]))

    request = main_job.Request(
        model=given["model"],
        data=given["data"],
        out=given["out"],
        recipe=recipe,
        overridden=bool(given["overrides"]),
        arch=given["arch"],
        classes=given["classes"],
        templates=given["templates"],
        eval_data=given["eval_data"],
        triggers=given["triggers"],
        target=given["target"],
        seed=given["seed"],
        device=device,
        precision=given["precision"] or recipe.train.precision,
        force=given["force"],
        keep_failed=given["keep_failed"],
        audit=not given["no_audit"],
        image_key=given["image_key"],
        caption_key=given["caption_key"],
        policy=demanded,
        weights=given["weights"],
        wanted=wanted(given),
        screen=given["screen"],
    )
    with progress.shown(quiet=quiet) as shown, train.joined(device) as group:
        main_job.check_shared(recipe, group)
        outcome = (
            auto.auto(request, progress=shown)
            if recipe.method == "auto"
            else main_job.sanitize(request, progress=shown, group=group)
        )
    if outcome is None:  # another process has the result
        return 0
    write_outputs(outcome.report, given["outputs"])
    if not any(output.path is None for output in given["outputs"]):
        click.echo(report.text(outcome.report, width=terminal_width(), colour=sys.stdout.isatty()))
        click.echo(where(given, exported=outcome.exported))
    return 0 if given["exit_zero"] else EXIT_CODES[outcome.report["verdict"]]


def budgets(given: dict[str, Any], recipe: recipes.Recipe, /) -> list[str]:
    """What --max-accuracy-loss and --max-minutes change in the recipe; raises UsageError where it has no use for one."""
    if given["max_minutes"] is not None and recipe.method != "auto":
        raise UsageError(
            f"--max-minutes is for --recipe auto, which tries things one after another; {recipe.name} runs once. Leave it out."
        )
    asked = {"audit.max_accuracy_loss": given["max_accuracy_loss"], "auto.max_minutes": given["max_minutes"]}
    return [f"{key}={value}" for key, value in asked.items() if value is not None]


def is_follower() -> bool:
    """Whether torchrun started this process beside a first one, which prints."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and int(os.environ.get("RANK", "0")) > 0


def own_device(asked: str, /) -> str:
    """The device of this process: where torchrun started several on a machine, each takes a GPU of its own.

    Raises:
        UsageError: one GPU is asked for, and there are several processes to share it.
    """
    if int(os.environ.get("LOCAL_WORLD_SIZE", "1")) == 1 or asked == "cpu":
        return asked
    if asked.startswith("cuda:"):
        raise UsageError(
            f"--device {asked} names one GPU for several processes. Use --device cuda: each takes its own."
        )
    import torch

    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else asked


def audit(given: dict[str, Any], /) -> int:
    """Run an audit request made of command-line options, and print its report; returns the exit code."""
    roles.check(given)
    check_search(given)
    demanded = policies.DEFAULT if given["policy"] is None else policies.load(given["policy"])
    if not given["quiet"]:
        click.echo(f"clipclean {__version__}: {given['model'].name}, effort {given['effort']}", err=True)
    from clipclean import demo
    from clipclean.jobs import audit as audit_job

    with (
        tempfile.TemporaryDirectory(prefix="clipclean-audit-") as scratch,
        progress.shown(quiet=given["quiet"]) as shown,
    ):
        bundled = Path(scratch)
        demo.unpack(bundled)
        request = audit_job.Request(
            model=given["model"],
            data=given["data"] or bundled / demo.PICTURES,
            own=given["data"] is not None,
            pairs=bundled / demo.PAIRS,
            reference=given["reference"],
            policy=demanded,
            effort=given["effort"],
            arch=given["arch"],
            classes=given["classes"],
            templates=given["templates"],
            seed=given["seed"],
            device=given["device"],
            save_triggers=given["save_triggers"],
            search=not given["no_search"],
            weights=given["weights"],
        )
        outcome = audit_job.examine(request, progress=shown)
    write_outputs(outcome.report, given["outputs"], pictures=outcome.pictures)
    if not any(output.path is None for output in given["outputs"]):
        click.echo(report.text(outcome.report, width=terminal_width(), colour=sys.stdout.isatty()))
    return 0 if given["exit_zero"] else EXIT_CODES[outcome.report["verdict"]]


def wanted(given: dict[str, Any], /) -> layout.Wanted:
    """The layouts that were asked for; raises UsageError for a setting of a layout that was not."""
    names = tuple(dict.fromkeys(given["formats"]))
    if "onnx" not in names and (given["normalize"] or given["fp16"]):
        raise UsageError("--normalize and --fp16 are of the ONNX layout. Add --format onnx, or leave them out.")
    return layout.Wanted(
        names, given["onnx_preset"], normalise=given["normalize"], fp16=given["fp16"], bom=given["bom"]
    )


def check_search(given: dict[str, Any], /) -> None:
    """Refuse options that mean nothing without a search; raises UsageError."""
    idle = [flag for flag, name in (("--save-triggers", "save_triggers"), ("--reference", "reference")) if given[name]]
    if given["no_search"] and idle:
        raise UsageError(
            f"--no-search with {' and '.join(idle)}: without a search nothing is found that could be saved or compared. "
            "Leave one of them out."
        )


def write_outputs(result: dict[str, Any], outputs: Any, /, *, pictures: Sequence[report.Picture] = ()) -> None:
    """Write the report in each form that was asked for. ``outputs`` holds ``options.Output``, which imports nothing."""
    emit(outputs, lambda form: report.html(result, pictures) if form == "html" else report.FORMATS[form](result))


def emit(outputs: Any, made: Callable[[str], str], /) -> None:
    """Write what is made of each format, whole or not at all, or print it."""
    for output in outputs:
        if output.path is None:
            click.echo(made(output.format), nl=False)
        else:
            files.write_text(output.path, made(output.format))


def where(given: dict[str, Any], /, *, exported: bool) -> str:
    """The closing lines: where things are, and how to use them."""
    if not exported:
        return (
            f"Report: {given['out'] / 'report.html'}. No weights were written, since their audit failed. "
            "The same command with --keep-failed --force writes them without training again."
        )
    loaders = [formats.FORMATS[form].load.format(given["out"]) for form in wanted(given).formats]
    return "\n".join([f"Report: {given['out'] / 'report.html'}", *(f"Load:   {line}" for line in loaders)])


def printable(text: str, /) -> str:
    """The text with what is not printable escaped: names from a hostile file must not drive the terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def terminal_width(most: int = 120) -> int:
    """Columns of the terminal, within what a table can use."""
    return min(most, max(60, shutil.get_terminal_size((100, 24)).columns))
