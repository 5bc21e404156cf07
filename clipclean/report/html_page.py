"""The report as one self-contained HTML page: no network, no script."""

import base64
import functools
import hashlib
import json
import re
from collections.abc import Mapping
from importlib import resources
from typing import NamedTuple

import jinja2
from markupsafe import Markup, escape

from clipclean.findings import rule
from clipclean.report import auto, charts, document, measures, search, verdicts, way, wording
from clipclean.report.charts import Map, embedding_map
from clipclean.report.commands import NOWHERE, RunPaths, commands
from clipclean.report.images import PageImages
from clipclean.report.measures import MEASURES, SEARCH_MEASURES
from clipclean.report.wording import inert
from clipclean.schema.report import MeasurementsRecord, Report

TILES = ("asr", "accuracy_under_trigger", "distance")
ORDER: tuple[str, ...] = (
    "suspects",
    "looked",
    "findings",
    "auto",
    "way",
    "examples",
    "search",
    "map",
    "power",
    "numbers",
    "panel",
    "training",
)
ORDER += ("measures", "provenance")  # of the sections
NONE = PageImages()
MARKS = {"pass": "✓", "fail": "✕", "inconclusive": "?"}


class Tile(NamedTuple):
    """A key figure; ``before`` is None if there is one value only."""

    label: str
    before: str | None
    now: str
    note: str


def html(report: Report, /, images: PageImages = NONE, place: RunPaths = NOWHERE) -> str:
    """The whole page: verdict first, then what to do, the evidence, how it came about, and what it means.

    Everything that comes from the report is escaped, and the page's own policy forbids scripts, requests and foreign
    styles, so that a report on a hostile model is safe to open.
    """
    report, shown = inert((report, images))
    style, made = stylesheet(), {section.key: section for section in document.sections(report)}
    losses = report.training.losses if report.training else ()
    special = {
        "looked": "What was looked for" if report.verdict != "pass" else "",
        "findings": "Findings",
        "examples": "Example images" if shown != NONE else "",
        "map": "Map of the embeddings" if (maps := _maps(report)) else "",
        "measures": "What the measures mean",
    }
    titles = special | {key: section.title for key, section in made.items()}
    return (
        templates()
        .get_template("report.html.j2")
        .render(
            report=report,
            style=Markup(style),  # noqa: S704 - our own file, not the report's
            policy=policy(style),
            word=verdicts.WORDS[report.verdict],
            mark=MARKS[report.verdict],
            tiles=_tiles(report),
            verdicts=verdicts,
            rule=rule,
            commands=commands(report, place),
            order=[(key, titles[key]) for key in ORDER if titles.get(key)],
            sections=made,
            images=shown,
            maps=maps,
            frontier=auto.frontier(report.auto, document.share_of(report)) if report.auto else None,
            way=way.plots(report.cleaning),
            curve=charts.curve(losses),
            loss_sum=_loss_sum(report),
            not_shown=search.NOT_SHOWN,
            measures=[*MEASURES.values(), *(SEARCH_MEASURES.values() if "search" in made else ())],
            resolved=[
                (name, json.dumps(of.resolved, indent=2, ensure_ascii=False))
                for name, of in (("recipe", report.recipe), ("policy", report.policy))
                if of and of.resolved
            ],
        )
    )


def policy(style: str, /) -> str:
    """The page's Content-Security-Policy: this one style sheet, images inside the page, nothing else."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"


def stylesheet() -> str:
    """The style sheet of every page."""
    return _resource("report.css")


@functools.cache
def templates() -> jinja2.Environment:
    """The templates of every page, with the functions that they call."""
    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.FunctionLoader(_resource),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": wording.percent, "count": wording.count, "with_flags": _with_flags}
    return environment


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
    tiles = []
    if found:
        needed = (
            f"clean models need {search.needed(found)}" if found.reference else "of an image; clean models need more"
        )
        without = f"{wording.percent(found.base_rate.value)} without the trigger"
        tiles.append(Tile("Success of the found trigger", None, wording.percent(found.asr.value), without))
        tiles.append(Tile("Its size", None, wording.percent(found.size), needed))
    for row in [*attack[:1], measures.accuracy(report), *attack[1:]]:
        before = measures.value(row, row.before) if row.before else None
        better = f"{row.measure.better} is better"
        tiles.append(Tile(row.measure.label, before, measures.value(row, row.after), better))
    return tiles


def _loss_sum(report: Report) -> str:
    """How the total loss of CleanCLIP adds up; empty for other methods, and where the recipe's values are not recorded."""
    resolved = (report.recipe.resolved if report.recipe else None) or {}
    loss = resolved.get("loss")
    if resolved.get("method") != "cleanclip" or not isinstance(loss, Mapping):
        return ""
    clip, own = loss.get("clip_weight"), loss.get("self_supervised_weight")
    if loss.get("preserve_weight") or not isinstance(clip, int | float) or not isinstance(own, int | float):
        return ""
    return f"Total loss = {clip:g} × L_CLIP + {own:g} × L_SS."


def _maps(report: Report) -> list[tuple[str, list[tuple[str, Map]]]]:
    """Each method with its maps: of the model before and after cleaning side by side, or as it is."""
    sides: list[tuple[str, MeasurementsRecord | None]] = [
        ("before", measures.measured(report, "before")),
        ("after" if measures.has_before(report) else "", measures.measured(report, "after")),
    ]
    methods = [
        [(side, drawn) for side, of in sides if of and (drawn := embedding_map(getattr(of, method)))]
        for method in ("tsne", "projection")
    ]
    return [(drawn[0][1].method, drawn) for drawn in methods if drawn]
