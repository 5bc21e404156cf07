"""``clipclean sanitize`` audits, cleans and exports a checkpoint; ``screen`` looks at its clean set before, ``demo`` has bundled files."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Annotated

import click

from clipclean import demo as bundled
from clipclean import requests
from clipclean.cli import printing, process, progress
from clipclean.cli.command import command_of
from clipclean.cli.options import RESULT_OPTIONS, VERDICT_OPTIONS, Output, Shell, reports
from clipclean.errors import UsageError
from clipclean.requests import Opt, called

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
    printing.first_line(shell, request.model, f"recipe {job.recipe.name}{printing.policy_in_force(job.request)}")
    device, quiet = process.load_torch(request.device, shell)
    from clipclean import auto, train
    from clipclean.jobs import sanitize as sanitizing

    job = job.on(device)
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
    if twice := [called(name) for name, key in SHORT_OPTIONS.items() if key in short and key in keys]:
        raise UsageError(f"{', '.join(twice)} and --set both give a value. Leave one of them out.")
    return (*changes, *(f"{key}={value}" for key, value in short.items()))


SCREENING_FORMS = ("text", "json", "html")  # forms of the result of a screening
SCREENING_REPORT = reports("Also write the result: as {}, or by the suffix of PATH. Repeatable.", SCREENING_FORMS)


@dataclass(frozen=True, kw_only=True)
class ScreenShell(Shell):
    """A screening has three of the forms."""

    outputs: Annotated[tuple[Output, ...], SCREENING_REPORT] = ()


@command_of(
    requests.Screen,
    ("workers", "outputs", *RESULT_OPTIONS),
    "screen clean/ --model model.pt --report screening.html",
    "screen pairs.csv --model model.pt --drop auto --save-kept kept.csv",
    "screen 'shards/{0000..0009}.tar' --model model.pt --trigger found/01-mask.safetensors --drop 2% --save-kept kept.tar",
    shell=ScreenShell,
)
def screen(request: requests.Screen, shell: Shell) -> None:
    """Rank the pairs of CLEAN by suspicion, since a few poisoned ones undo a cleaning.

    The ranking combines several independent signals from the model's embeddings. It is for your review and is no verdict: the
    exit code is 0 for every result.
    """
    from clipclean import data, report
    from clipclean.jobs import screen as screening

    data.use_workers(shell.workers)
    with progress.display(quiet=shell.quiet):
        screening_result, images = screening.screen(request)
    forms = {
        "text": lambda: report.screening_text(screening_result, width=100) + "\n",
        "json": lambda: report.json_text(screening_result.as_json()),
        "html": lambda: report.screening_page(screening_result, images),
    }
    for output in shell.outputs:
        report.write_text(output.path, forms[output.format]())
    if shell.as_json:
        printing.echo(forms["json"](), form="json")
    else:
        text = report.screening_text(screening_result, width=min(printing.terminal_width() or 100, 140))
        printing.echo(text + "\n", form="text")


DEMO_FOLDER = Opt(
    "Folder for weights and report. It must be empty, unless --force is given.",
    "DIR",
    writes="folder",
    at=("Output", 20),
    in_brief=True,
    has_letter=True,
)
UNPACK = Opt(
    "Only write the bundled model, pairs and images into DIR; with --base the finetune and its base as well.",
    "DIR",
    takes=click.Path(readable=False, path_type=Path, file_okay=False),
    at=("Output", 30),
)


DEMO_BASE = Opt(
    "Clean a finetune beside the model that it was finetuned from, told neither trigger nor class. Takes two minutes.",
    at=("Model", 40),
    in_brief=True,
)


@dataclass(frozen=True)
class Demo:
    """A run on the bundled files."""

    _: KW_ONLY
    base: Annotated[bool, DEMO_BASE] = False
    out: Annotated[Path, DEMO_FOLDER] = Path("clipclean-demo")
    unpack: Annotated[Path | None, UNPACK] = None
    set: Annotated[tuple[str, ...], requests.OVERRIDES] = ()
    policy: Annotated[Path | None, requests.POLICY_FILE] = None
    seed: Annotated[int, requests.SEED] = 0
    force: Annotated[bool, requests.FORCE] = False
    keep_failed: Annotated[bool, requests.KEEP_FAILED] = False


@command_of(
    Demo,
    ("outputs", "as_json", "exit_zero", "quiet", "verbose"),
    "demo",
    "demo --base",
    "demo --out demo --force",
    "demo --unpack files     # only the bundled files, to try the other commands on",
)
def demo(request: Demo, shell: Shell) -> int:
    """Clean a bundled tiny CLIP that carries a backdoor, on a CPU.

    The model was trained on emoji images. With a small patch in the corner, it classifies any image as one class. With --base it is a
    finetune that a faint wave over the whole image turns: the cleaning is told nothing but the model that it was finetuned from.
    """
    if request.unpack is not None:
        bundled.unpack(request.unpack, pair=request.base)
        pair = (bundled.BASE, bundled.FINETUNE) if request.base else ()
        click.echo(f"{request.unpack}: {', '.join((*bundled.PLAIN_FILES, *bundled.PACKED_FILES, *pair))}")
        return 0
    asked_values = {name: value for name, value in vars(request).items() if name not in ("unpack", "base")}
    with bundled.unpacked(pair=request.base) as folder:
        if not request.base:
            return run(requests.Sanitize(**bundled.arguments(folder), **asked_values), shell)
        fixed_values = bundled.arguments_beside_base(folder)
        asked_values["set"] = (*fixed_values.pop("set"), *request.set)
        command = (
            f"sanitize {bundled.FINETUNE} --base {bundled.BASE} --data {bundled.PAIRS} --eval-data {bundled.LABELLED}"
        )
        printing.say(shell, f"{command}: 'clipclean demo --base --unpack DIR' writes these files")
        return run(requests.Sanitize(**fixed_values, **asked_values), shell)
