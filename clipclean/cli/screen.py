"""``clipclean screen``: find suspicious pairs in a supposedly clean set."""

from pathlib import Path
from typing import Any

import click

from clipclean.cli import options

FORMATS = ("text", "json", "html")

EPILOG = """\b
Examples:
  clipclean screen clean/ --model model.pt --output html=screening.html
  clipclean screen pairs.csv --model model.pt --drop auto --save-kept kept.csv
  clipclean screen 'shards/{0000..0009}.tar' --model model.pt --trigger found/01-mask.safetensors --drop 2% --save-kept kept.tar
"""


@click.command(epilog=EPILOG)
@click.argument("data", metavar="CLEAN", type=click.Path(path_type=Path))
@click.option(
    "--model",
    metavar="MODEL",
    type=click.Path(path_type=Path),
    required=True,
    help="The checkpoint whose embeddings are looked at: the one that is to be cleaned. It may be backdoored; what poison "
    "does to such a model helps to find it.",
)
@options.image_key
@options.caption_key
@click.option(
    "--drop",
    metavar="N%|auto",
    type=options.drop,
    help="What to leave out: N per cent of the pairs, or those that stand out (auto, at most 5 per cent).",
    show_default="nothing",
)
@click.option(
    "--trigger",
    "triggers",
    metavar="SPEC|FILE",
    multiple=True,
    help="A trigger that an audit found and saved, or that you suspect: pictures near to where it gathers others are more "
    "suspicious. Repeatable.",
)
@click.option(
    "--save-kept",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write the pairs that are kept: .csv for 'sanitize --data', .tar with copies of the pictures for the same, or .txt "
    "with their keys.",
)
@click.option("--top", metavar="N", type=click.IntRange(1, 100_000), default=100, help="How many pairs to list.")
@options.arch
@options.weights
@options.device
@click.option(
    "--output",
    "outputs",
    metavar="FORMAT=PATH",
    type=lambda text: options.output(text, FORMATS),
    multiple=True,
    callback=options.distinct,
    help=f"Also write the result as {', '.join(FORMATS)}; PATH - means stdout. Repeatable.",
)
@options.force
@options.quiet
@options.verbose
def screen(**given: Any) -> None:
    """Rank the pairs of CLEAN by suspicion: a few poisoned ones undo a cleaning.

    Several signals that know nothing of each other are computed on the model's embeddings and made one order. It is a
    list to look at, and no verdict: the exit code is 0 whatever is found.
    """
    from clipclean import report
    from clipclean.cli import progress, roles, run
    from clipclean.jobs import screen as screening

    roles.check(given)
    with progress.shown(quiet=given["quiet"]) as shown:
        request = screening.Request(
            data=given["data"],
            model=given["model"],
            drop=given["drop"],
            triggers=given["triggers"],
            save_kept=given["save_kept"],
            top=given["top"],
            arch=given["arch"],
            device=given["device"],
            force=given["force"],
            image_key=given["image_key"],
            caption_key=given["caption_key"],
            weights=given["weights"],
        )
        outcome = screening.screen(request, progress=shown)
    forms = {
        "text": lambda: report.screening_text(outcome.report, width=100) + "\n",
        "json": lambda: report.json(outcome.report),
        "html": lambda: report.screening_page(outcome.report, outcome.pictures),
    }
    run.emit(given["outputs"], lambda form: forms[form]())
    if not any(output.path is None for output in given["outputs"]):
        click.echo(report.screening_text(outcome.report, width=run.terminal_width(most=140)))
