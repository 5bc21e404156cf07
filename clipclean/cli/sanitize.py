"""The command that audits, cleans and exports a checkpoint."""

from collections.abc import Sequence
from dataclasses import replace

from clipclean import requests
from clipclean.cli import printing, process, progress
from clipclean.cli.command import command_of
from clipclean.cli.options import RESULT_OPTIONS, VERDICT_OPTIONS, Shell
from clipclean.errors import UsageError
from clipclean.requests import name_in_messages

# Options for values of a recipe.
SHORT_OPTIONS = {"epochs": "train.epochs", "lr": "train.lr", "batch_size": "train.batch_size"}


@command_of(
    requests.Sanitize,
    ("workers", "epochs", "lr", "batch_size", *VERDICT_OPTIONS, "outputs", *RESULT_OPTIONS, "dry_run"),
    "sanitize model.pt -d clean/ -o cleaned/",
    "sanitize model.pt -d pairs.csv -r cleanclip-strong --classes classes.txt --epochs 3",
    "sanitize model.pt -d clean/ -r auto --reference trusted.pt --max-accuracy-loss 0.01",
    "sanitize model.pt -d 'shards/{0000..0009}.tar' --trigger patch --target banana --report report.html",
)
def sanitize(request: requests.Sanitize, shell: Shell) -> int:
    """Clean the checkpoint MODEL by finetuning on clean pairs, and write weights that open_clip loads.

    The model is audited before and after; the exit code is the verdict. Nothing in MODEL is executed. To resume an interrupted
    run, give the same command again.
    """
    return run(request, shell)


def run(request: requests.Sanitize, shell: Shell, /) -> int:
    """Sanitize as the options say, and print the result; returns the exit code."""
    printing.check_inputs(request)
    printing.check_baseline(shell)
    request = replace(request, set=recipe_changes(request.set, shell))
    from clipclean.jobs.job import Job

    job = Job.of(request)  # a wrong recipe or policy is refused before torch comes
    printing.first_line(shell, request.model, f"recipe {job.recipe.name}{printing.policy_in_force(job)}")
    device, quiet = process.load_torch(request.device, shell)
    from clipclean import auto, train
    from clipclean.jobs import sanitize as sanitizing

    job = job.on_device(device)
    strategy = auto.strategy_of(job)
    if shell.dry_run:
        with progress.display(quiet=quiet):
            planned = sanitizing.planned(job, strategy)
        printing.show(shell.as_json, printing.plan_json(planned), printing.plan_text(planned))
        return 0
    with train.joined(device) as group, progress.display(quiet=quiet):
        outcome = sanitizing.sanitize(job, strategy, replace(sanitizing.run_of(job), group=group))
    if outcome is None:  # another process has the result
        return 0
    closing = [printing.weights_line(outcome, request)]
    return printing.show_report(shell, outcome, page=request.out / "report.html", closing=closing)


def recipe_changes(changes: Sequence[str], shell: Shell, /) -> tuple[str, ...]:
    """The changes of the recipe by --set and its short forms.

    Raises:
        UsageError: a value is given by both.
    """
    short = {key: value for name, key in SHORT_OPTIONS.items() if (value := getattr(shell, name)) is not None}
    keys = {change.partition("=")[0] for change in changes}
    if twice := [name_in_messages(name) for name, key in SHORT_OPTIONS.items() if key in short and key in keys]:
        raise UsageError(f"{', '.join(twice)} and --set both give a value. Leave one of them out.")
    return (*changes, *(f"{key}={value}" for key, value in short.items()))
