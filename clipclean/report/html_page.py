"""A report as one self-contained HTML page: no network, no script."""

import base64
import functools
import hashlib
import re
from importlib import resources

import jinja2
from markupsafe import Markup, escape

from clipclean.findings import rule
from clipclean.report import document, measures, search, verdicts, wording
from clipclean.report.document import NONE, PageImages
from clipclean.report.verdicts import NOWHERE, RunPaths
from clipclean.report.wording import inert
from clipclean.schema.report import Report

TILES = ("asr", "accuracy_under_trigger", "distance")
MARKS = {"pass": "✓", "fail": "✕", "inconclusive": "?"}
Tile = tuple[str, str | None, str, str]  # a key figure: label, value before, where there are two, value now, note


def html(report: Report, /, images: PageImages = NONE, paths: RunPaths = NOWHERE) -> str:
    """The whole page: verdict first, then what to do, the evidence, how it came about, and what it means.

    Everything that comes from the report is escaped, and the page's own policy forbids scripts, requests and foreign
    styles, so that a report on a hostile model is safe to open.
    """
    report, shown = inert((report, images))
    word = report.verdict.capitalize()
    return rendered(
        title=f"{word}: {report.model.name} – clipclean report",
        command=report.command,
        about=(report.model.name, report.model.architecture),
        word=word,
        headline=verdicts.headline(report),
        story=verdicts.story(report),
        sections=document.sections(report, shown),
        tool=report.tool,
        tone=report.verdict,
        mark=MARKS[report.verdict],
        looked_for=document.looked_for(report) if report.verdict == "pass" else None,
        tiles=_tiles(report),
        report=report,
        commands=verdicts.commands(report, paths),
    )


def rendered(**shown: object) -> str:
    """A page of what the template names, of which everything is escaped but the style sheet."""
    style = _resource("report.css")
    safe = Markup(style)  # noqa: S704 - our own file, not the report's
    return _template().render(style=safe, policy=policy(style), **shown)


def policy(style: str, /) -> str:
    """The page's Content-Security-Policy: this one style sheet, images inside the page, nothing else."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"


@functools.cache
def _template() -> jinja2.Template:
    """The template of every page, with the functions that it calls."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": wording.percent, "count": wording.count, "with_flags": _with_flags}
    environment.globals |= {"verdicts": verdicts, "rule": rule}
    return environment.from_string(_resource("report.html.j2"))


@functools.cache
def _resource(name: str) -> str:
    return resources.files("clipclean.report").joinpath(name).read_text(encoding="utf-8")


def _with_flags(text: str) -> Markup:
    """Escaped text in which options of the command line are set as code, so that no line ends within them."""
    return Markup(re.sub(r"--[a-z][a-z-]*", r"<code>\g<0></code>", str(escape(text))))  # noqa: S704 - escaped before


def _tiles(report: Report) -> list[Tile]:
    """Clean accuracy and the effect of the first trigger; in an audit with a search, the one that was found."""
    found = search.strongest(report) if report.is_audit else None
    first = [] if found else measures.detailed(report)[:1]
    attack = [row for attack in first for row in measures.rows(attack, *TILES)]
    tiles: list[Tile] = []
    if found:
        needed = (
            f"clean models need {search.needed(found)}" if found.reference else "of an image; clean models need more"
        )
        without = f"{wording.percent(found.base_rate.value)} without the trigger"
        tiles.append(("Success of the found trigger", None, wording.percent(found.asr.value), without))
        tiles.append(("Its size", None, wording.percent(found.size), needed))
    for row in [*attack[:1], measures.accuracy(report), *attack[1:]]:
        before = measures.value(row, row.before) if row.before else None
        better = f"of {wording.count(row.after.n)} images; " if row.after and row.after.n else ""
        better += f"{row.measure.better} is better"
        tiles.append((row.measure.label, before, measures.value(row, row.after), better))
    return tiles
