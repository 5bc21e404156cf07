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
from clipclean.cli.options import Output, Shell, reports
from clipclean.errors import UsageError
from clipclean.export.formats import FORMATS
from clipclean.requests import Opt, called
from clipclean.untrusted import printable

SHORT = {"epochs": "train.epochs", "lr": "train.lr", "batch_size": "train.batch_size"}  # options for values of a recipe


@command_of(
    requests.Sanitize,
    "workers epochs lr batch_size fail_on baseline exit_zero outputs as_json quiet config verbose dry_run",
    "sanitize model.pt -d clean/ -o cleaned/",
    "sanitize model.pt -d pairs.csv -r cleanclip-strong --classes classes.txt --epochs 3",
    "sanitize model.pt -d clean/ -r auto --reference trusted.pt --max-accuracy-loss 0.01",
    "sanitize model.pt -d 'shards/{0000..0009}.tar' --trigger patch --target banana --report report.html",
)
def sanitize(asked: requests.Sanitize, shell: Shell) -> int:
    """Clean the checkpoint MODEL by finetuning on clean pairs, and write weights that open_clip loads.

    The model is audited before and after; the exit code is the verdict. Nothing in MODEL is executed. To resume an interrupted
    run, give the same command again.
    """
    return run(asked, shell)


def run(asked: requests.Sanitize, shell: Shell, /) -> int:
    """Sanitize as the options say, and print the result; returns the exit code."""
    printing.check_there(asked)
    printing.check_baseline(shell)
    asked = replace(asked, set=chosen(asked.set, shell))
    recipe = requests.recipe_of(asked)
    asked = replace(asked, policy=requests.policy_of(asked), ignore=())  # a wrong one is refused before torch comes
    printing.first_line(shell, asked.model, f"recipe {recipe.name}{printing.in_force(asked)}")
    device, quiet = process.begun(asked.device, shell)
    from clipclean import auto, train

    asked = replace(asked, device=device)
    if shell.dry_run:
        with progress.shown(quiet=quiet):
            planned = auto.planned(asked)
        printing.show(shell.as_json, printing.as_json(planned), printing.text(planned))
        return 0
    with train.joined(device) as group, progress.shown(quiet=quiet):
        outcome = auto.clean(asked, group=group)
    if outcome is None:  # another process has the result
        return 0
    loading = f"Load:   {FORMATS[asked.format[0]].load.format(printable(asked.out))}"
    failed = (
        "No weights were written: they fail, a suspected trigger still acts, or they cost too much. The same command with --keep-failed --force writes "
        "them."
        if outcome.report.is_changed
        else "No weights were written: they would be those of the original, unchanged."
    )
    return printing.show_report(
        shell, outcome, page=asked.out / "report.html", closing=[loading if outcome.exported else failed]
    )


def chosen(changes: Sequence[str], shell: Shell, /) -> tuple[str, ...]:
    """The changes of the recipe by --set and its short forms.

    Raises:
        UsageError: a value is given by both.
    """
    short = {key: value for name, key in SHORT.items() if (value := getattr(shell, name)) is not None}
    keys = {change.partition("=")[0] for change in changes}
    if twice := [called(name) for name, key in SHORT.items() if key in short and key in keys]:
        raise UsageError(f"{', '.join(twice)} and --set both give a value. Leave one of them out.")
    return (*changes, *(f"{key}={value}" for key, value in short.items()))


SCREENINGS = ("text", "json", "html")  # forms of the result of a screening


@dataclass(frozen=True, kw_only=True)
class ScreenShell(Shell):
    """A screening has three of the forms."""

    outputs: Annotated[
        tuple[Output, ...],
        reports("Also write the result: as {}, or by the suffix of PATH. Repeatable.", SCREENINGS, before=("force",)),
    ] = ()


@command_of(
    requests.Screen,
    "workers outputs as_json quiet config verbose",
    "screen clean/ --model model.pt --report screening.html",
    "screen pairs.csv --model model.pt --drop auto --save-kept kept.csv",
    "screen 'shards/{0000..0009}.tar' --model model.pt --trigger found/01-mask.safetensors --drop 2% --save-kept kept.tar",
    shell=ScreenShell,
)
def screen(asked: requests.Screen, shell: Shell) -> None:
    """Rank the pairs of CLEAN by suspicion, since a few poisoned ones undo a cleaning.

    The ranking combines several independent signals from the model's embeddings. It is for your review and is no verdict: the
    exit code is 0 for every result.
    """
    from clipclean import data, report
    from clipclean.jobs import screen as screening

    data.use_workers(shell.workers)
    with progress.shown(quiet=shell.quiet):
        found, images = screening.screen(asked)
    forms = {
        "text": lambda: report.screening_text(found, width=100) + "\n",
        "json": lambda: report.json_text(found.as_json()),
        "html": lambda: report.screening_page(found, images),
    }
    for output in shell.outputs:
        report.write_text(output.path, forms[output.format]())
    if shell.as_json:
        printing.echo(forms["json"](), form="json")
    else:
        text = report.screening_text(found, width=printing.terminal_width(most=140))
        printing.echo(text + "\n", form="text")


OUT = Opt(
    "--out -o DIR",
    "Folder for weights and report. It must be empty, unless --force is given.",
    writes="folder",
    is_first=True,
)
UNPACK = Opt(  # in place of all else, so it may hold what --out says
    "--unpack DIR",
    "Only write the bundled model, pairs and images into DIR.",
    takes=click.Path(readable=False, path_type=Path, file_okay=False),
)


@dataclass(frozen=True)
class Demo:
    """A run on the bundled files."""

    _: KW_ONLY
    out: Annotated[Path, OUT] = Path("clipclean-demo")
    unpack: Annotated[Path | None, UNPACK] = None
    set: Annotated[requests.Changes, requests.OVERRIDES] = ()
    policy: Annotated[Path | None, requests.POLICY_FILE] = None
    seed: Annotated[int, requests.SEED] = 0
    force: Annotated[bool, requests.FORCE] = False
    keep_failed: Annotated[bool, requests.KEEP_FAILED] = False


@command_of(
    Demo,
    "outputs as_json exit_zero quiet verbose",
    "demo",
    "demo --out demo --force",
    "demo --unpack files     # only the bundled files, to try the other commands on",
)
def demo(asked: Demo, shell: Shell) -> int:
    """Clean a bundled tiny CLIP that carries a backdoor, on a CPU.

    The model was trained on emoji images. With a small patch in the corner, it classifies any image as one class.
    """
    if asked.unpack is not None:
        bundled.unpack(asked.unpack)
        click.echo(f"{asked.unpack}: {', '.join((*bundled.PLAIN, *bundled.PACKED))}")
        return 0
    given = {name: value for name, value in vars(asked).items() if name != "unpack"}
    with bundled.unpacked() as folder:
        return run(requests.Sanitize(**bundled.arguments(folder), **given), shell)
