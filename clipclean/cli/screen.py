"""``clipclean screen``: finds suspicious pairs in a supposedly clean set."""

from dataclasses import dataclass
from typing import Annotated

from clipclean import requests
from clipclean.api import roles
from clipclean.cli import printing, progress
from clipclean.cli.command import command_of
from clipclean.cli.options import Output, Shell, reports

FORMATS = ("text", "json", "html")


@dataclass(frozen=True, kw_only=True)
class ScreenShell(Shell):
    """A screening has three of the forms."""

    outputs: Annotated[
        tuple[Output, ...],
        reports("Also write the result: as {}, or by the suffix of PATH. Repeatable.", FORMATS, before=("force",)),
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
    roles.check(asked, shell)
    outputs = printing.outputs_of(shell)
    from clipclean import data, report
    from clipclean.jobs import screen as screening

    data.use_workers(shell.workers)
    with progress.shown(quiet=shell.quiet):
        outcome = screening.screen(asked)
    forms = {
        "text": lambda: report.screening_text(outcome.report, width=100) + "\n",
        "json": lambda: report.json_text(outcome.report.as_json()),
        "html": lambda: report.screening_page(outcome.report, outcome.images),
    }
    printing.emit(outputs, lambda form: forms[form]())
    if not any(output.path is None for output in outputs):
        text = report.screening_text(outcome.report, width=printing.terminal_width(most=140))
        printing.echo(text + "\n", form="text")
