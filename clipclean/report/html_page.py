"""The report as one HTML page that needs nothing else: no network, no script."""

import base64
import functools
import hashlib
import json
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any, TypedDict

import jinja2
from markupsafe import Markup

from clipclean.report import comparison, drawing, figures, verdicts
from clipclean.report.comparison import Figure, Row
from clipclean.report.inert import inert
from clipclean.report.json_file import Report
from clipclean.report.measures import INTERVALS, MEASURES

ROWS = ("asr", "base_rate", "excess_asr", "accuracy_under_trigger", "knn_asr", "distance", "spread")
TILES = ("asr", "accuracy_under_trigger", "distance")
SAMPLED_STEPS = 10  # rows of the table under the training curve
MARKS = {"pass": "✓", "fail": "✕", "inconclusive": "?"}


class Picture(TypedDict):
    """A PNG picture for the page: ``alt`` says what it shows to those who cannot see it."""

    title: str
    caption: str
    png_base64: str
    alt: str


def html(report: Report, /, pictures: Sequence[Picture] = ()) -> str:
    """The whole page: verdict first, then what to do, the numbers, how they came about, and what they mean.

    Everything that comes from the report is escaped, and the page's own policy forbids scripts, requests and foreign
    styles, so that a report on a hostile model is safe to open.

    Raises:
        ValueError: a picture is no base64-encoded PNG.
    """
    report = inert(report)
    style = _resource("report.css")
    return _template().render(
        report=report,
        style=Markup(style),  # noqa: S704 - our own file, not the report's
        policy=policy(style),
        word=verdicts.WORDS[report["verdict"]],
        mark=MARKS[report["verdict"]],
        headline=verdicts.headline(report),
        story=verdicts.story(report),
        steps=verdicts.next_steps(report),
        limits=verdicts.limits(report),
        findings=[(finding, verdicts.explained(finding)) for finding in verdicts.by_severity(report["findings"])],
        two=comparison.has_before(report),
        tiles=_tiles(report),
        accuracy=comparison.accuracy(report),
        is_named=bool(comparison.named(report)),
        attacks=[(attack, comparison.rows(attack, *ROWS)) for attack in comparison.detailed(report)],
        panel=comparison.panel(report),
        curve=drawing.curve(report.get("training", {}).get("losses", [])),
        sampled=drawing.samples(report.get("training", {}).get("losses", []), most=SAMPLED_STEPS),
        training=_training(report),
        pictures=[_checked(picture) for picture in pictures],
        measures=MEASURES.values(),
        intervals=INTERVALS,
        accuracy_definition=_definition(report),
        facts=_facts(report),
        resolved=_resolved(report),
        notes=report.get("notes", []),
        skipped=_skipped(report),
    )


def policy(style: str, /) -> str:
    """The page's Content-Security-Policy: this one style sheet, pictures inside the page, nothing else."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals |= {"bars": drawing.bars, "value": _value, "change": _change, "in_words": _in_words}
    environment.globals["CURVES"] = drawing.CURVES
    environment.filters |= {
        "percent": figures.percent,
        "interval": figures.percent_interval,
        "decimal": figures.decimal,
        "count": figures.count,
    }
    return environment.from_string(_resource("report.html.j2"))


@functools.cache
def _resource(name: str) -> str:
    return resources.files("clipclean.report").joinpath(name).read_text(encoding="utf-8")


def _tiles(report: Report) -> list[Row]:
    """Clean accuracy and what the first trigger does: the numbers to remember."""
    first = comparison.detailed(report)[:1]
    attack = [row for attack in first for row in comparison.rows(attack, *TILES)]
    return [*attack[:1], comparison.accuracy(report), *attack[1:]]


def _value(row: Row, figure: Figure | None) -> str:
    if not figure:
        return figures.NOTHING
    return figures.percent(figure.value) if row.measure.is_share else figures.decimal(figure.value)


def _change(row: Row) -> str:
    if not row.before or not row.after:
        return figures.NOTHING
    changed = figures.points if row.measure.is_share else figures.difference
    return changed(row.before.value, row.after.value)


def _in_words(row: Row) -> str:
    """What the bars of a row show, for those who cannot see them."""
    sides = [
        f"{_value(row, figure)} {name}"
        for name, figure in (("before", row.before), ("after" if row.before else "measured", row.after))
        if figure
    ]
    return f"{row.measure.label}: {', '.join(sides)}"


def _training(report: Report) -> list[tuple[str, str]]:
    training = report.get("training")
    if not training:
        return []
    facts = [
        ("Steps", figures.count(training["steps"])),
        ("Pairs seen", figures.count(training["pairs"])),
        ("Time", figures.duration(training["seconds"])),
        ("Speed", f"{training['pairs_per_second']:,.0f} pairs a second"),
        ("Peak memory", figures.memory(training["peak_memory_bytes"])),
    ]
    if training.get("resumed_at"):
        facts.append(("Went on", f"from step {figures.count(training['resumed_at'])}, after an interruption"))
    return facts


def _checked(picture: Picture) -> Picture:
    if not re.fullmatch(r"iVBORw0KGgo[A-Za-z0-9+/]+={0,2}", picture["png_base64"]):
        raise ValueError(f"The picture {picture['title']!r} is no base64-encoded PNG.")
    shown: Picture = inert({key: text for key, text in picture.items() if key != "png_base64"})
    return {**shown, "png_base64": picture["png_base64"]}


def _facts(report: Report) -> list[tuple[str, list[tuple[str, str, bool]]]]:
    """Groups of (name, value, whether the value is set as code)."""
    model = report["model"]
    groups = [
        (
            "Model",
            [
                ("File", model["name"], True),
                ("Format", model["format"], False),
                ("Architecture", _with_reason(model, "architecture"), False),
                ("Activation", _with_reason(model, "activation"), False),
                ("SHA-256 of the file", model["sha256"], True),
                ("SHA-256 of its tensors", model["tensor_sha256"], True),
            ],
        )
    ]
    if recipe := report.get("recipe"):
        standing = "yes" if recipe["validated"] else "no: no measured evidence for these values"
        groups.append(
            (
                "Recipe",
                [
                    ("Name", f"{recipe['name']}, revision {recipe['revision']}", False),
                    ("Validated", standing, False),
                    ("SHA-256", recipe["sha256"], True),
                ],
            )
        )
    if data := report.get("data"):
        groups.append(
            (
                "Clean data",
                [
                    ("Name", data.get("name", data.get("path", "")), True),
                    ("Format", data["format"], False),
                    ("Pairs", figures.count(data["pairs"]), False),
                    ("Skipped", figures.count(_how_many(data["skipped"])), False),
                    ("Digest", data["digest"], True),
                ],
            )
        )
    for export in report.get("exports", ()):
        parity = ", ".join(f"{key.replace('_', ' ')} {_plain(value)}" for key, value in export["parity"].items())
        groups.append(
            (
                f"Written: {export['format']}",
                [
                    ("File", export["path"], True),
                    ("SHA-256 of the file", export["sha256"], True),
                    ("SHA-256 of its tensors", export["tensor_sha256"], True),
                    ("Read back", parity, False),
                ],
            )
        )
    environment = [
        (key.replace("_", " "), _plain(value), False) for key, value in report.get("environment", {}).items()
    ]
    seed = [("Seed", str(report["seed"]), False)] if "seed" in report else []
    tool = (report["tool"]["name"], report["tool"]["version"], False)
    groups.append(("Machine and versions", [tool, *seed, *environment]))
    return [(title, [fact for fact in facts if fact[1]]) for title, facts in groups]


def _definition(report: Report) -> str:
    """How clean accuracy was measured in this run."""
    rate = comparison.measured(report, "after").get("clean_accuracy") or {}
    told: str = rate.get("definition", "Clean accuracy")
    return told[:1].upper() + told[1:]


def _resolved(report: Report) -> str:
    """The recipe's values as indented JSON; empty where the report has none."""
    values = report.get("recipe", {}).get("resolved")
    return json.dumps(values, indent=2, ensure_ascii=False) if values else ""


def _skipped(report: Report) -> list[dict[str, Any]]:
    """The first of the skipped samples, where the report names them."""
    skipped = report.get("data", {}).get("skipped", 0)
    return [] if isinstance(skipped, int) else skipped[:20]


def _how_many(skipped: Any) -> int:
    return skipped if isinstance(skipped, int) else len(skipped)


def _with_reason(model: dict[str, Any], key: str) -> str:
    reason = model.get(f"{key}_how")
    return f"{model.get(key, '')} ({reason})" if reason else str(model.get(key, ""))


def _plain(value: Any) -> str:
    """A value of a free-form object, in few characters."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
