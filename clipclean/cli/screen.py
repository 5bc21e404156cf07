"""``clipclean screen``: finds suspicious pairs in a supposedly clean set."""

from pathlib import Path
from typing import Any

import click

from clipclean.api import requests, roles
from clipclean.cli import complete, options, printing, progress
from clipclean.cli.command import command, option

FORMATS = ("text", "json", "html")

EPILOG = """\b
Examples:
  clipclean screen clean/ --model model.pt --report screening.html
  clipclean screen pairs.csv --model model.pt --drop auto --save-kept kept.csv
  clipclean screen 'shards/{0000..0009}.tar' --model model.pt --trigger found/01-mask.safetensors --drop 2% --save-kept kept.tar
"""


@command(epilog=EPILOG)
@click.argument("data", metavar="CLEAN", type=click.Path(readable=False, path_type=Path))
@option(
    "--model MODEL",
    "The checkpoint that you want to clean; it embeds the pairs. It may be backdoored: its reaction to "
    "poisoned pairs helps to find them.",
    required=True,
)
@options.keyed
@option(
    "--drop N%|auto",
    "Pairs to drop: the first N per cent, or with auto those that stand out (at most 5 per cent).",
    show_default="nothing",
)
@option(
    "--false-drop-rate N%",
    "Leave out pairs whose score at most N per cent of clean pairs reach, judged by --trusted: in a clean set no more than "
    "that are lost, on average.",
)
@option(
    "--trusted CLEAN",
    "Pairs that are known to be clean, of the same origin as CLEAN and not among them; 1 per cent needs 99 of them.",
)
@option(
    "--trigger SPEC|FILE",
    "A trigger that an audit saved, or that you suspect. Images with embeddings near those of triggered "
    "images rank higher. Repeatable.",
    multiple=True,
    shell_complete=complete.triggers,
)
@option(
    "--save-kept FILE",
    "File for the remaining pairs: .csv, a table for 'sanitize --data'; .tar, a shard with copies of the "
    "images, also for 'sanitize --data'; .txt, their keys.",
)
@option("--top N", "Number of pairs to list.", default=100)
@options.loaded
@options.device
@options.workers
@option(
    "--report [FORMAT=]PATH",
    f"Also write the result: as {', '.join(FORMATS)}, or by the suffix of PATH. Repeatable.",
    dest="outputs",
    type=lambda text: options.output(text, FORMATS),
    multiple=True,
    callback=options.distinct,
)
@options.as_json
@options.force
@options.spoken
def screen(**given: Any) -> None:
    """Rank the pairs of CLEAN by suspicion, since a few poisoned ones undo a cleaning.

    The ranking combines several independent signals from the model's embeddings. It is for your review and is no verdict: the
    exit code is 0 for every result.
    """
    roles.check(given)
    outputs = printing.outputs_of(given)
    from clipclean import data, report
    from clipclean.jobs import screen as screening

    data.use_workers(given["workers"])
    with progress.shown(quiet=given["quiet"]) as shown:
        outcome = screening.screen(requests.of_screen(given), progress=shown)
    forms = {
        "text": lambda: report.screening_text(outcome.report, width=100) + "\n",
        "json": lambda: report.json_text(outcome.report.as_json()),
        "html": lambda: report.screening_page(outcome.report, outcome.images),
    }
    printing.emit(outputs, lambda form: forms[form]())
    if not any(output.path is None for output in outputs):
        text = report.screening_text(outcome.report, width=printing.terminal_width(most=140))
        printing.echo(text + "\n", form="text")
