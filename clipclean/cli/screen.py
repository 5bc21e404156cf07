"""``clipclean screen``: find suspicious pairs in a supposedly clean set."""

from pathlib import Path
from typing import Any

import click

from clipclean.api import requests, roles
from clipclean.cli import complete, options, printing, progress
from clipclean.cli.command import command, option

FORMATS = ("text", "json", "html")

EPILOG = """\b
Examples:
  clipclean screen clean/ --model model.pt --output screening.html
  clipclean screen pairs.csv --model model.pt --drop auto --save-kept kept.csv
  clipclean screen 'shards/{0000..0009}.tar' --model model.pt --trigger found/01-mask.safetensors --drop 2% --save-kept kept.tar
"""


@command(epilog=EPILOG)
@click.argument("data", metavar="CLEAN", type=click.Path(path_type=Path))
@option(
    "--model",
    group="Model",
    metavar="MODEL",
    type=click.Path(path_type=Path),
    required=True,
    help="The checkpoint that embeds the pairs: the one to be cleaned. It may be backdoored; its reaction to poisoned pairs "
    "helps to find them.",
)
@options.image_key
@options.caption_key
@option(
    "--drop",
    group="Search",
    metavar="N%|auto",
    type=options.drop,
    help="Pairs to leave out: N per cent, or those that stand out (auto, at most 5 per cent).",
    show_default="nothing",
)
@option(
    "--false-drop-rate",
    group="Search",
    metavar="N%",
    type=options.share,
    help="Leave out pairs whose score at most N per cent of clean pairs reach, judged by --trusted: in a clean set no more than "
    "that are lost, on average.",
)
@option(
    "--trusted",
    group="Search",
    metavar="CLEAN",
    type=click.Path(path_type=Path),
    help="Pairs that are known to be clean, of the same origin as CLEAN and not among them; 1 per cent needs 99 of them.",
)
@option(
    "--trigger",
    "triggers",
    group="Search",
    metavar="SPEC|FILE",
    multiple=True,
    shell_complete=complete.triggers,
    help="A trigger that an audit found and saved, or that you suspect: images near the embeddings of triggered ones are more "
    "suspicious. Repeatable.",
)
@option(
    "--save-kept",
    group="Output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write the pairs that are kept: .csv for 'sanitize --data', .tar with copies of the images for the same, or .txt "
    "with their keys.",
)
@option(
    "--top", group="Output", metavar="N", type=click.IntRange(1, 100_000), default=100, help="How many pairs to list."
)
@options.download
@options.arch
@options.weights
@options.device
@options.workers
@option(
    "--output",
    "outputs",
    group="Output",
    metavar="[FORMAT=]PATH",
    type=lambda text: options.output(text, FORMATS),
    multiple=True,
    callback=options.distinct,
    help=f"Also write the result: as {', '.join(FORMATS)}, or by the suffix of PATH. PATH - means stdout. Repeatable.",
)
@options.as_json
@options.force
@options.quiet
@options.config
@options.verbose
def screen(**given: Any) -> None:
    """Rank the pairs of CLEAN by suspicion: a few poisoned ones undo a cleaning.

    Combines several independent signals from the model's embeddings into one ranking. The ranking is for your review and
    is no verdict: the exit code is 0 whatever is found.
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
        "json": lambda: report.json_text(outcome.report),
        "html": lambda: report.screening_page(outcome.report, outcome.pictures),
    }
    printing.emit(outputs, lambda form: forms[form]())
    if not any(output.path is None for output in outputs):
        click.echo(report.screening_text(outcome.report, width=printing.terminal_width(most=140)))
