"""The report: its values, its schema, and its forms for people and programs."""

import json as jsonlib
from collections.abc import Callable, Iterator
from pathlib import Path

from clipclean import untrusted
from clipclean.errors import RefusedInput
from clipclean.files import write_text
from clipclean.report.document import NO_IMAGES, PageImages, TitledImage
from clipclean.report.html_page import html
from clipclean.report.junit_xml import junit
from clipclean.report.markdown_page import markdown
from clipclean.report.sarif_log import sarif
from clipclean.report.screening import screening_page
from clipclean.report.terminal_text import compared_text, line, plain_text, screening_text, text, wrapped
from clipclean.report.verdicts import NO_PATHS, ReportComparison, RunPaths, compare, headline, policy_effect
from clipclean.schema.part import plain
from clipclean.schema.report import Report, parse, schema

MAX_REPORT_BYTES = 32 * 2**20  # a report with 200 logged steps and the whole panel has about 100 KiB
MAX_REPORT_DEPTH = 32  # of lists and objects in each other; the schema needs eight


def json(report: Report, /) -> str:
    """The report as JSON. What is no number (nan) becomes null, as JSON has none."""
    return json_text(report.as_json())


def json_text(value: object, /) -> str:
    """Any JSON object as clipclean writes it."""
    # The same values, but nothing in them can drive a terminal or reorder a line; lone surrogates, which no file can hold, as well.
    return untrusted.escaped_json(jsonlib.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False)) + "\n"


WRITERS: dict[str, Callable[[Report], str]] = {  # one for each of ``REPORT_FORMS``
    "text": plain_text,
    "line": line,
    "json": json,
    "html": html,
    "markdown": markdown,
    "junit": junit,
    "sarif": sarif,
}


def write(report: Report, form: str, path: Path, /, images: PageImages = NO_IMAGES, paths: RunPaths = NO_PATHS) -> None:
    """Write a report in one of ``REPORT_FORMS``, whole or not at all; ``images`` and ``paths`` go into the HTML form only.

        report.write(result, "html", Path("report.html"))

    Raises:
        ResourceError: the disk is full, or the place not writable.
    """
    write_text(path, html(report, images, paths) if form == "html" else WRITERS[form](report))


def read(path: Path, /) -> Report:
    """Read and validate a ``report.json``.

    Raises:
        RefusedInput: the file is missing, unreadable, too large, too deep, no JSON or no report.
    """
    try:
        report = untrusted.value(untrusted.read(path, limit=MAX_REPORT_BYTES))
    except untrusted.TooLarge as error:
        raise RefusedInput(
            f"{path} has more than {MAX_REPORT_BYTES // 2**20} MiB; no report has. Name a report.json."
        ) from error
    except OSError as error:
        raise RefusedInput(f"Cannot read {path}: {error.strerror}. Name a report.json that clipclean wrote.") from error
    except (ValueError, RecursionError) as error:
        raise RefusedInput(f"{path} is not JSON: {error}. Name a report.json that clipclean wrote.") from error
    if untrusted.is_deeper(report, MAX_REPORT_DEPTH, _inside):
        raise RefusedInput(
            f"{path} nests values more than {MAX_REPORT_DEPTH} deep; no report does. Name a report.json."
        )
    return parse(report)


def _inside(value: object) -> Iterator[object]:
    """The lists and objects in a JSON value."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (item for item in inner if isinstance(item, dict | list))
