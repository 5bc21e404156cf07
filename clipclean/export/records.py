"""The records beside the weights, written in the order in which they refer to each other."""

from collections.abc import Mapping
from pathlib import Path

from clipclean import files
from clipclean.export import bom, checksums, model_card, provenance, statement
from clipclean.export.provenance import Json

UNSTATED = (model_card.NAME, provenance.NAME, statement.NAME, checksums.NAME)  # no subjects of the statement
FILES = (model_card.NAME, provenance.NAME, statement.NAME, bom.NAME, checksums.NAME)


def write(folder: Path, report: Json, /, *, outputs: Mapping[str, str], has_bom: bool) -> None:
    """Write the provenance, the model card, perhaps a bill of materials, the in-toto statement, and the checksums of all.

    The statement speaks of every file but the model card, whose front matter is its owner's to complete, and itself.

    Args:
        folder: where the weights and whatever else belongs to the run stand already.
        report: of the run; what ``export`` tells has the same words, and no verdict.
        outputs: digests by name of the files that the provenance speaks of: all but reports.
        has_bom: whether to write ``bom.cdx.json``.
    """
    record = provenance.record(report, outputs=outputs)
    files.write_text(folder / provenance.NAME, provenance.text(record))
    files.write_text(folder / model_card.NAME, model_card.model_card(report))
    if has_bom:
        files.write_text(folder / bom.NAME, bom.text(record))
    digests = checksums.digests(folder)
    others = {name: digest for name, digest in digests.items() if name not in (*outputs, *UNSTATED)}
    files.write_text(folder / statement.NAME, statement.text(record, sha256=digests[provenance.NAME], others=others))
    write_checksums(folder)


def write_checksums(folder: Path, /) -> None:
    """Write the checksums of all that stands in a folder: they also say what a later run may replace."""
    files.write_text(folder / checksums.NAME, checksums.text(folder))
