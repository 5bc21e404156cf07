"""The report: its values, its schema, and its forms for people and programs."""

from collections.abc import Callable
from pathlib import Path

from clipclean.files import write_text
from clipclean.report.commands import NOWHERE, RunPaths, paths_of
from clipclean.report.html_page import html
from clipclean.report.images import NONE, PageImages, TitledImage
from clipclean.report.json_file import json, json_text, read
from clipclean.report.junit_xml import junit
from clipclean.report.markdown_page import markdown
from clipclean.report.sarif_log import sarif
from clipclean.report.screening import screening_page, screening_text
from clipclean.report.terminal_text import line, plain_text, text
from clipclean.report.verdicts import headline, policy_told
from clipclean.schema.report import Report, parse, schema

FORMATS: dict[str, Callable[[Report], str]] = {
    "text": plain_text,
    "line": line,
    "json": json,
    "html": html,
    "markdown": markdown,
    "junit": junit,
    "sarif": sarif,
}


def write(report: Report, form: str, path: Path, /, images: PageImages = NONE, place: RunPaths = NOWHERE) -> None:
    """Write a report in one of ``FORMATS``, whole or not at all; ``images`` and ``place`` go into the HTML form only.

        report.write(result, "html", Path("report.html"))

    Raises:
        ResourceError: the disk is full, or the place not writable.
    """
    write_text(path, html(report, images, place) if form == "html" else FORMATS[form](report))
