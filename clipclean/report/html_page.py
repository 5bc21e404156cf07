"""The report as one self-contained HTML page: no network, no script."""

import base64
import functools
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import NamedTuple

import jinja2
from markupsafe import Markup, escape

from clipclean.report import auto, charts, measures, provenance, search, sections, verdicts, wording
from clipclean.report.charts import Map, embedding_map
from clipclean.report.commands import NOWHERE, RunPaths, commands
from clipclean.report.images import PageImages, checked
from clipclean.report.measures import INTERVALS, MEASURES, SEARCH_MEASURES, Figure, MeasureRow
from clipclean.report.wording import harmless
from clipclean.schema.report import CaughtRecord, FoundRecord, MeasurementsRecord, Report

ROWS = ("asr", "base_rate", "excess_asr", "accuracy_under_trigger", "knn_asr", "distance", "spread")
TILES = ("asr", "accuracy_under_trigger", "distance")
SAMPLED_STEPS = 10  # rows of the table under the training curve
FIRST = 8  # found triggers that are shown unfolded
SKIPPED = 20  # of the samples that could not be used
NONE = PageImages()
MARKS = {"pass": "✓", "fail": "✕", "inconclusive": "?"}


class MapRow(NamedTuple):
    """The maps of one method: of the model before and after cleaning, or as it is."""

    method: str
    sides: list[tuple[str, Map]]


@dataclass(frozen=True)
class Tile:
    """A key figure; ``before`` is None if there is one value only."""

    label: str
    before: str | None
    now: str
    note: str


def html(report: Report, /, images: PageImages = NONE, place: RunPaths = NOWHERE) -> str:
    """The whole page: verdict first, then what to do, the evidence, how it came about, and what it means.

    Everything that comes from the report is escaped, and the page's own policy forbids scripts, requests and foreign
    styles, so that a report on a hostile model is safe to open.

    Raises:
        ValueError: an image is not a base64-encoded PNG.
    """
    report = harmless(report)
    style = stylesheet()
    return (
        templates()
        .get_template("report.html.j2")
        .render(
            report=report,
            style=Markup(style),  # noqa: S704 - our own file, not the report's
            policy=policy(style),
            word=verdicts.WORDS[report.verdict],
            mark=MARKS[report.verdict],
            two=measures.has_before(report),
            tiles=_tiles(report),
            **_words(report),
            **_numbers(report),
            **_auto(report),
            images=checked(images),
            limit_of=functools.partial(_limit, verdicts.limits_of(report)),
            commands=commands(report, place),
            looked_for=verdicts.looked_for(report),
            tables=sections.tables(report),
            groups=provenance.facts(report),
            resolved=provenance.resolved(report),
            skipped=provenance.skipped(report, most=SKIPPED),
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
    environment.globals |= {"bars": charts.bars, "value": _value, "change": _change, "in_words": _in_words}
    environment.globals |= {
        "signs": search.signs,
        "needed": search.needed,
        "families": search.families,
        "family": search.family,
    }
    environment.globals |= {
        "sizes": charts.sizes,
        "loss_of": charts.loss_of,
        "set_aside": verdicts.set_aside,
        "FIRST": FIRST,
    }
    environment.filters |= {
        "percent": wording.percent,
        "interval": wording.percent_interval,
        "decimal": wording.decimal,
        "count": wording.count,
        "with_flags": _with_flags,
    }
    return environment


@functools.cache
def _resource(name: str) -> str:
    return resources.files("clipclean.report").joinpath(name).read_text(encoding="utf-8")


def _with_flags(text: str) -> Markup:
    """Escaped text in which options of the command line are set as code, so that no line ends within them."""
    return Markup(re.sub(r"--[a-z][a-z-]*", r"<code>\g<0></code>", str(escape(text))))  # noqa: S704 - escaped before


def _words(report: Report) -> dict[str, object]:
    """The sentences of the page."""
    return {
        "headline": verdicts.headline(report),
        "story": verdicts.story(report),
        "steps": verdicts.next_steps(report),
        "limits": verdicts.limits(report),
        "findings": [(finding, verdicts.explained(finding)) for finding in verdicts.by_severity(report.findings)],
        "policy_told": verdicts.policy_told(report),
        "suppressed": [(finding, verdicts.explained(finding)) for finding in report.suppressed],
        "notes": report.notes,
        "not_shown": search.NOT_SHOWN,
        "intervals": INTERVALS,
    }


def _numbers(report: Report) -> dict[str, object]:
    """The tables and charts of the page."""
    losses = report.training.losses if report.training else ()
    made = search.searches(report)
    return {
        "searches": made,
        "accuracy": measures.accuracy(report),
        "without_trigger": measures.without_trigger(report),
        "accuracy_definition": _definition(report),
        "is_named": bool(measures.named(report)),
        "attacks": [(attack, measures.rows(attack, *ROWS)) for attack in measures.detailed(report)],
        "panel": measures.panel(report),
        "curve": charts.curve(losses),
        "loss_sum": _loss_sum(report),
        "curves": {
            key: name
            for key, name in charts.CURVES.items()
            if any(charts.loss_of(entry, key) is not None for entry in losses)
        },
        "sampled": charts.samples(losses, most=SAMPLED_STEPS),
        "training": _training(report),
        "rounds": _rounds(report),
        "maps": _maps(report),
        "measures": [*MEASURES.values(), *(SEARCH_MEASURES.values() if made else ())],
    }


def _auto(report: Report) -> dict[str, object]:
    """The candidates that a run of ``auto`` tried; empty for others."""
    if report.auto is None:
        return {"auto_lines": [], "canaries": [], "candidates": [], "frontier": None}
    return {
        "auto_lines": auto.candidate_lines(report),
        "canaries": auto.canaries(report),
        "candidates": auto.rows(report),
        "frontier": auto.frontier(report),
    }


def _limit(limits: dict[str, float], row: MeasureRow, known: bool, /) -> float | None:
    """The threshold that a row is compared with: excess of a trigger, or what is left of the accuracy before."""
    if row.measure.label == "Excess attack success":
        return limits.get("max_excess" if known else "suspicious_excess")
    loss = limits.get("max_accuracy_loss")
    if (
        row.measure.label in ("Clean accuracy", "Image-to-text recall@1")
        and row.before
        and row.before.value is not None
    ):
        return None if loss is None else max(row.before.value - loss, 0.0)
    return None


def _tiles(report: Report) -> list[Tile]:
    """Clean accuracy and the effect of the first trigger; in an audit with a search, the one that was found."""
    found = search.strongest(report) if report.is_audit else None
    first = [] if found else measures.detailed(report)[:1]
    attack = [row for attack in first for row in measures.rows(attack, *TILES)]
    rows = [_tile(row) for row in [*attack[:1], measures.accuracy(report), *attack[1:]]]
    return [*(_found_tiles(found) if found else ()), *rows]


def _tile(row: MeasureRow) -> Tile:
    before = _value(row, row.before) if row.before else None
    return Tile(row.measure.label, before, _value(row, row.after), f"{row.measure.better} is better")


def _found_tiles(found: FoundRecord) -> list[Tile]:
    needed = f"clean models need {search.needed(found)}" if found.reference else "of an image; clean models need more"
    without = f"{wording.percent(found.base_rate.value)} without the trigger"
    return [
        Tile("Success of the found trigger", None, wording.percent(found.asr.value), without),
        Tile("Its size", None, wording.percent(found.size), needed),
    ]


def _value(row: MeasureRow, figure: Figure | None) -> str:
    if not figure:
        return wording.NOTHING
    return wording.percent(figure.value) if row.measure.is_share else wording.decimal(figure.value)


def _change(row: MeasureRow) -> str:
    if not row.before or not row.after:
        return wording.NOTHING
    changed = wording.points if row.measure.is_share else wording.difference
    return changed(row.before.value, row.after.value)


def _in_words(row: MeasureRow) -> str:
    """The bars of a row in words, for screen readers."""
    sides = [
        f"{_value(row, figure)} {name}"
        for name, figure in (("before", row.before), ("after" if row.before else "measured", row.after))
        if figure
    ]
    return f"{row.measure.label}: {', '.join(sides)}"


def _training(report: Report) -> list[tuple[str, str]]:
    training = report.training
    if not training:
        return []
    facts = [
        ("Steps", wording.count(training.steps)),
        ("Pairs seen", wording.count(training.pairs)),
        ("Time", wording.duration(training.seconds)),
        ("Speed", f"{training.pairs_per_second:,.0f} pairs a second"),
        ("Peak memory", wording.memory(training.peak_memory_bytes)),
    ]
    if training.peak_device_memory_bytes:
        facts.append(("Peak memory of the GPU", wording.memory(training.peak_device_memory_bytes)))
    if training.losses:
        facts.append(("Peak learning rate", f"{max(entry.lr for entry in training.losses):.2g}"))
    if training.precision:
        facts.append(("Number format", training.precision))
    if training.micro_batch:
        facts.append(("Pairs a tower took at once", wording.count(training.micro_batch)))
    if training.resumed_at:
        facts.append(("Went on", f"from step {wording.count(training.resumed_at)}, after an interruption"))
    return facts


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


def _rounds(report: Report) -> list[tuple[str, tuple[CaughtRecord, ...]]]:
    """The result of each search of an unlearning, with the words for its time."""
    unlearning = report.training.unlearning if report.training else None
    made = unlearning.rounds if unlearning else ()
    words = ("before", "after 1 round", *(f"after {number} rounds" for number in range(2, len(made))))
    return [(when, entry.found) for when, entry in zip(words, made, strict=False)]


def _maps(report: Report) -> list[MapRow]:
    """The maps of each method, before and after side by side."""
    sides: list[tuple[str, MeasurementsRecord | None]] = [
        ("before", measures.measured(report, "before")),
        ("after" if measures.has_before(report) else "", measures.measured(report, "after")),
    ]
    rows = []
    for method in ("tsne", "projection"):
        drawn = [
            (side, map_) for side, measured in sides if measured and (map_ := embedding_map(getattr(measured, method)))
        ]
        if drawn:
            rows.append(MapRow(drawn[0][1].method, drawn))
    return rows


def _definition(report: Report) -> str:
    """How clean accuracy was measured in this run."""
    rate = report.measurements.clean_accuracy
    told = (rate.definition if rate else None) or "Clean accuracy"
    return told[:1].upper() + told[1:]
