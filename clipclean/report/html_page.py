"""A report as one self-contained HTML page: no network, no script. Its sections are those of ``document.sections``."""

import base64
import functools
import hashlib
import re
from importlib import resources

import jinja2
from markupsafe import Markup, escape

from clipclean.findings import rule
from clipclean.report import document, measures, search, verdicts, wording
from clipclean.report.document import NO_IMAGES, PageImages
from clipclean.report.verdicts import NO_PATHS, RunPaths
from clipclean.report.wording import inert
from clipclean.schema.report import Report

TILE_MEASURES = ("asr", "accuracy_under_trigger", "distance")
VERDICT_MARKS = {"pass": "✓", "fail": "✕", "inconclusive": "?"}
Tile = tuple[str, str | None, str, str]  # a key figure: label, value before, where there are two, value now, note


def html(report: Report, /, images: PageImages = NO_IMAGES, paths: RunPaths = NO_PATHS) -> str:
    """The whole page: verdict first, then what to do, the evidence, how it came about, and what it means.

    Everything that comes from the report is escaped, and the page's own policy forbids scripts, requests and foreign
    styles, so that a report on a hostile model is safe to open.
    """
    report, page_images = inert((report, images))
    word = report.verdict.capitalize()
    return rendered(
        title=f"{word}: {report.model.name} – clipclean report",
        command=report.command,
        about=(report.model.name, report.model.architecture),
        word=word,
        headline=verdicts.headline(report),
        story=verdicts.story(report),
        sections=document.sections(report, page_images),
        tool=report.tool,
        tone=report.verdict,
        mark=VERDICT_MARKS[report.verdict],
        checks=document.checks_table(report) if report.verdict == "pass" else None,
        tiles=_tiles(report),
        report=report,
        commands=verdicts.commands(report, paths),
    )


def rendered(**values: object) -> str:
    """A page of what the template names, of which everything is escaped but the style sheet."""
    style = _resource("report.css")
    safe = Markup(style)  # noqa: S704 - our own file, not the report's
    return _template().render(style=safe, policy=policy(style), **values)


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
    trigger = search.strongest(report) if report.is_audit else None
    attacks = [] if trigger else measures.attacks_in_full(report)[:1]
    attack_rows = [row for attack_rows in attacks for row in measures.rows(attack_rows, *TILE_MEASURES)]
    tiles: list[Tile] = []
    if trigger:
        clean_sizes = f"clean models need {search.clean_sizes(trigger)}" if trigger.reference else "of an image"
        without = f"{wording.percent(trigger.base_rate.value)} without the trigger"
        tiles.append(("Success of the found trigger", None, wording.percent(trigger.asr.value), without))
        tiles.append(("Its size", None, wording.percent(trigger.size), clean_sizes))
    for row in [*attack_rows[:1], measures.accuracy(report), *attack_rows[1:]]:
        before = measures.value(row, row.before) if row.before else None
        better = f"of {wording.count(row.after.n)} images; " if row.after and row.after.n else ""
        better += f"{row.measure.better} is better"
        tiles.append((row.measure.label, before, measures.value(row, row.after), better))
    return tiles
