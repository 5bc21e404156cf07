"""The command that ranks pairs by suspicion."""

from dataclasses import dataclass
from typing import Annotated

from clipclean import requests
from clipclean.cli import printing, progress
from clipclean.cli.command import command_of
from clipclean.cli.options import RESULT_OPTIONS, Output, Shell, reports

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
