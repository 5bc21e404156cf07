"""The records beside the weights, written in the order in which they refer to each other."""

from pathlib import Path

from clipclean import files
from clipclean.export import checksums, model_card, statement
from clipclean.export.statement import Json

UNSTATED = (statement.NAME, checksums.NAME)  # no subjects of the statement
FORMER = ("provenance.json", "bom.cdx.json")  # of earlier versions: a new run into their folder replaces them
FILES = (model_card.NAME, *UNSTATED, *FORMER)


def write(folder: Path, report: Json, /) -> None:
    """Write the model card, the in-toto statement about every other file, and the checksums of all.

    Args:
        folder: where the weights and whatever else belongs to the run stand already.
        report: of the run; what ``export`` tells has the same words, and no verdict.
    """
    files.write_text(folder / model_card.NAME, model_card.model_card(report))
    files.write_text(folder / statement.NAME, statement.text(report, digests=checksums.digests(folder)))
    write_checksums(folder)


def write_checksums(folder: Path, /) -> None:
    """Write the checksums of all that stands in a folder: they also say what a later run may replace."""
    files.write_text(folder / checksums.NAME, checksums.text(folder))
