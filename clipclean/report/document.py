"""The sections of a report as tables of cells, each written once; the page and the Markdown render them and know no section.

To add a section, write a function from the report to it and enter it in ``SECTIONS``.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from clipclean.report import auto, charts, measures, search, verdicts
from clipclean.report.measures import INTERVALS, MeasureRow
from clipclean.report.wording import (
    NOTHING,
    count,
    decimal,
    duration,
    memory,
    percent,
    percent_interval,
    plural,
)
from clipclean.schema.report import AutoRecord, FoundRecord, RateRecord, Report

ROWS = ("asr", "base_rate", "excess_asr", "accuracy_under_trigger", "knn_asr", "distance", "spread")
FIRST = 8  # found triggers that are shown unfolded
SAMPLED_STEPS = 10  # of the training curve
SKIPPED = 20  # of the samples that could not be used


class Cell(NamedTuple):
    """A value, and quietly below it what it means; a chart has its words in ``text``."""

    text: str
    below: tuple[str, ...] = ()
    kind: Literal["text", "name", "code", "number", "chart"] = "text"
    chart: charts.Bars | charts.Size | None = None


class Table(NamedTuple):
    """A table: the first cell of each row names it. A folded one is opened by the reader."""

    title: str
    lead: str
    head: tuple[str, ...]
    rows: Sequence[tuple[Cell, ...]]
    is_folded: bool = False


class Section(NamedTuple):
    """A section: its key, its title, sentences to read first, and its tables."""

    key: str
    title: str
    lead: tuple[str, ...]
    tables: Sequence[Table]


def sections(report: Report, /) -> list[Section]:
    """All sections that have something to show, in order."""
    return [section for build in SECTIONS if (section := build(report)).tables]


def _number(text: str, *below: str) -> Cell:
    return Cell(text, below, "number")


def _name(text: str, *below: str) -> Cell:
    return Cell(text, below, "name")


def _code(text: str) -> Cell:
    return Cell(text, (), "code")


def _suspects(report: Report) -> Section:
    shown = () if measures.has_before(report) else report.suspects
    rows = [
        (
            _name(each.class_),
            _number(decimal(each.score)),
            Cell(search.families(each) or NOTHING),
            _code(each.trigger or ""),
        )
        for each in shown
    ]
    lead = "The classes that the found triggers turn other images into. A class in this list is a lead, not a proof."
    table = Table("", "", ("Class", "Score", "By", "Trigger"), rows)
    return Section("suspects", "Suspects, most suspicious first", (lead,), [table] if rows else [])


def _auto(report: Report) -> Section:
    """The candidates of ``auto``, the test backdoors, and what happens to the weights in between and afterwards."""
    made = report.auto
    return Section(
        "auto",
        "What was tried",
        tuple(auto.candidate_lines(made)) if made else (),
        [table for table in _auto_tables(made) if table.rows] if made else [],
    )


def _auto_tables(made: AutoRecord) -> Iterator[Table]:
    yield Table(
        "Test backdoors, planted in a copy of this model",
        "Attack success beyond chance, before and after the chosen candidate.",
        ("Trigger", "Target", "Planted", "Left", "Accuracy under it"),
        [(_code(row[0]), _name(row[1]), *map(_number, row[2:])) for row in auto.canaries(made)],
    )
    yield Table(
        "The candidates, in the order of trying",
        "",
        (
            "Candidate",
            "Outcome",
            "Test backdoors removed",
            "Left of the worst",
            "Costs",
            "On the model: left, costs",
            "Time",
        ),
        [
            (
                Cell(f"{row.name}{' (chosen)' if row.chosen else ''}"),
                Cell(row.outcome),
                *map(_number, (row.canaries, row.left, row.cost, row.on_model, row.seconds)),
            )
            for row in auto.rows(made)
        ],
    )
    ways = made.interpolation if len(made.interpolation) > 1 else ()
    yield Table(
        "Between the original and the cleaned weights",
        "",
        ("Share of the way", "Left of what was found", "Accuracy lost"),
        [
            (
                Cell(f"{percent(way.share)}{' (taken)' if way.share == made.share else ''}"),
                _number(percent(way.excess)),
                _number(percent(way.accuracy_lost)),
            )
            for way in ways
        ],
    )
    yield Table(
        "After a benign finetuning",
        "Attack success beyond chance, before and after a benign finetuning of a copy.",
        ("Trigger", "Leads to", "Cleaned", "Finetuned"),
        [
            (_code(probe.trigger), _name(probe.target), _number(percent(probe.before)), _number(percent(probe.after)))
            for probe in (made.rebound.probes if made.rebound else ())
        ],
    )


def _search(report: Report) -> Section:
    lead = (
        "The search knows neither trigger nor class. It looks for the smallest change that makes images of all kinds look alike "
        "to the model, and shows which class they get. With a backdoor this change is far smaller than in clean models."
    )
    tables = [table for made in search.searches(report) for table in _searched(made)]
    return Section("search", "Search for unknown triggers", (lead,), tables)


def _searched(made: search.Search) -> Iterator[Table]:
    head = ("Leads to", "Drawn", "Trigger", "Size", "Success", "Collapse", "How unusual")
    rows = [_found(*each) for each in zip(made.found, charts.sizes(made.found), strict=True)]
    told = made.told if rows else f"{made.told} Nothing was found."
    yield Table(f"{made.when.capitalize()} cleaning" if made.when else "", told, head, rows[:FIRST])
    if rows[FIRST:]:
        yield Table(f"The other {count(len(rows) - FIRST)}", "", head, rows[FIRST:], is_folded=True)
    if rows:
        keys = ("distance", "spread", "direction_agreement")
        yield Table(
            "Embeddings under the found triggers",
            "",
            ("Leads to", "Family", "Distance", "Spread", "Direction", "By neighbours"),
            [
                (
                    _name(each.class_),
                    Cell(each.family_words),
                    *(_number(decimal(getattr(each, key))) for key in keys),
                    _number(percent(each.knn_asr.value) if each.knn_asr else NOTHING),
                )
                for each in made.found
            ],
            is_folded=True,
        )
    if made.controls:
        yield Table(
            "Classes that were searched for comparison",
            "",
            ("Class", "Family", "Size"),
            [
                (_name(each.class_), Cell(search.family(each.family)), _number(percent(each.size)))
                for each in made.controls
            ],
            is_folded=True,
        )


def _found(found: FoundRecord, drawn: charts.Size) -> tuple[Cell, ...]:
    """A found trigger, beside what clean models need."""
    needed = (f"clean models need {search.needed(found)}",) if found.reference else ()
    words = f"Size {'; '.join((percent(found.size), *needed))}, on a scale to {drawn.top}"
    saved = (f"saved as {found.file}",) if found.file else ()
    return (
        _name(found.class_),
        Cell(words, (), "chart", drawn),
        Cell(f"{found.family_words}, {found.size_words}", saved),
        _number(percent(found.size), *needed),
        _number(percent(found.asr.value), *_sure(found.asr), f"without it {percent(found.base_rate.value)}"),
        _number(decimal(found.collapse), f"without it {decimal(found.clean_collapse)}"),
        Cell("; ".join(search.signs(found)) or NOTHING),
    )


def _power(report: Report) -> Section:
    """How many of the backdoors planted in copies the audit found."""
    if (power := report.measurements.power) is None:
        return Section("power", "", (), [])
    lead = (
        f"Backdoors were planted in copies of this model, one in each, and the same audit finds {_of(power.found)}; "
        f"{_of(power.failed)} would fail."
    )
    said = {"error": "found", None: "missed"}
    rows = [
        (
            _code(each.trigger),
            _name(each.class_),
            _number(percent(each.excess_asr)),
            Cell(said.get(each.level, "suspected") if each.took else "not planted"),
        )
        for each in power.planted
    ]
    table = Table("", "", ("Planted trigger", "Class", "Excess success", "The audit"), rows)
    return Section("power", "Power of this audit", (lead,), [table])


def _of(rate: RateRecord) -> str:
    return f"{round((rate.value or 0) * rate.n)} of {rate.n} ({percent_interval(rate.interval)})"


def _numbers(report: Report) -> Section:
    """Clean images, then each attack in full."""
    two = measures.has_before(report)
    limits = verdicts.limits_of(report)
    head = ("Measure", "Drawn", *(("Before", "After", "Change") if two else ("Measured",)))
    clean = [row for row in measures.without_trigger(report) if row.before or row.after]
    definition = clean[0].definition(report) if clean else "Clean accuracy was not measured."
    tables = [Table("Images without a trigger", definition, head, [_measured(row, two, limits) for row in clean])]
    known = bool(measures.named(report))
    kind = "Trigger" if known else "The strongest trigger of the panel:"
    tables += [
        Table(
            f"{kind} {attack.family} → {attack.target}",
            attack.trigger,
            head,
            [_measured(row, two, limits, known=known) for row in measures.rows(attack, *ROWS)],
        )
        for attack in measures.detailed(report)
    ]
    lead = f"{INTERVALS} Thin lines in the bars are these intervals."
    return Section("numbers", "Before and after" if two else "Measurements", (lead,), tables)


def _measured(row: MeasureRow, two: bool, limits: Mapping[str, float], *, known: bool = True) -> tuple[Cell, ...]:
    limit = measures.limit_of(row, limits, known=known)
    sides = [("before", row.before), ("after" if row.before else "measured", row.after)]
    words = ", ".join(f"{measures.value(row, figure)} {side}" for side, figure in sides if figure)
    drawn = Cell(
        f"{row.measure.label}: {words}",
        (f"limit {percent(limit)}",) if limit is not None else (),
        "chart",
        charts.bars(row, limit),
    )
    values = [
        _number(measures.value(row, figure), *(_sure(figure) if figure else ()))
        for figure in ((row.before, row.after) if two else (row.after,))
    ]
    better = (f"{row.measure.better} is better",) if row.measure.better else ()
    changed = [_number(measures.change(row), *better)] if two else []
    return Cell(row.measure.label, (row.measure.words,)), drawn, *values, *changed


def _sure(rate: RateRecord | measures.Figure) -> tuple[str, ...]:
    """The interval and the number of images, where there are some."""
    interval = (percent_interval(rate.interval),) if rate.interval else ()
    return (*interval, f"n = {count(rate.n)}") if rate.n is not None else interval


def _panel(report: Report) -> Section:
    attacks, two = measures.panel(report), measures.has_before(report)
    head = ("Before, leads to", "Excess before", "After, leads to", "Excess after") if two else ("Leads to", "Excess")
    rows = [
        (
            _code(attack.trigger),
            *(
                cell
                for probe in ((attack.before, attack.after) if two else (attack.after,))
                for cell in (
                    _name(probe.target if probe else NOTHING),
                    _number(percent(probe.excess_asr.value) if probe else NOTHING),
                )
            ),
        )
        for attack in attacks
    ]
    lead = (
        "Published attacks, tried without knowing the target: each row names the class that the trigger leads to most often, and "
        "the share of images that it moves there beyond chance."
    )
    title = f"{plural(len(rows), 'built-in trigger')}, strongest first"
    table = Table("", title + (", by the larger of the two" if two else ""), ("Trigger", *head), rows)
    return Section("panel", "The panel of known triggers", (lead,), [table] if rows else [])


def _training(report: Report) -> Section:
    training = report.training
    if not training:
        return Section("training", "", (), [])
    losses = charts.samples(training.losses, most=SAMPLED_STEPS)
    logged = {
        key: words
        for key, words in charts.CURVES.items()
        if any(charts.loss_of(each, key) is not None for each in losses)
    }
    facts = [
        ("Steps", count(training.steps)),
        ("Pairs seen", count(training.pairs)),
        ("Time", duration(training.seconds)),
        ("Speed", f"{training.pairs_per_second:,.0f} pairs a second"),
        ("Peak memory", memory(training.peak_memory_bytes)),
        ("Peak memory of the GPU", memory(training.peak_device_memory_bytes or None)),
        ("Peak learning rate", f"{max(each.lr for each in training.losses):.2g}" if training.losses else NOTHING),
        ("Number format", training.precision or NOTHING),
        ("Pairs a tower took at once", count(training.micro_batch)),
        ("Went on from step", count(training.resumed_at or None)),
    ]
    tables = [
        Table("", "", ("What", "Value"), [(Cell(what), _number(told)) for what, told in facts if told != NOTHING]),
        _rounds(report),
        Table(
            f"The losses of {len(losses)} of {count(len(training.losses))} logged steps",
            "",
            ("Step", *logged.values(), "Learning rate"),
            [
                (
                    Cell(count(each.step)),
                    *(_number(decimal(charts.loss_of(each, key))) for key in logged),
                    _number(f"{each.lr:.2g}"),
                )
                for each in losses
            ],
            is_folded=True,
        ),
    ]
    return Section("training", "Training", (), [table for table in tables if table.rows])


def _rounds(report: Report) -> Table:
    """The result of each search of an unlearning."""
    unlearning = report.training.unlearning if report.training else None
    rows = []
    for number, made in enumerate(unlearning.rounds if unlearning else ()):
        when = Cell(f"after {plural(number, 'round')}" if number else "before")
        rows += [
            (when, _name(each.class_), Cell(f"{each.family}, {each.size_words}"), _number(percent(each.excess_asr)))
            for each in made.found
        ] or [(when, Cell("nothing"), Cell(NOTHING), _number(NOTHING))]
    lead = "Triggers that act, smaller than those of other classes. Unlearning ends when there is none."
    return Table("What each search found", lead, ("Search", "Class", "Trigger", "Beyond chance"), rows)


def _provenance(report: Report) -> Section:
    lead = (
        "What went in, what was done to it, what came out. With the same inputs, recipe, settings, seed and versions, the run can be "
        "repeated."
    )
    rows = [(Cell(of), Cell(what), told) for of, what, told in _facts(report) if told.text]
    tables = [Table("", "", ("Of", "What", "Which"), rows)]
    skipped = report.data.skipped if report.data else 0
    if not isinstance(skipped, int) and skipped:
        samples = [(_code(each.key), Cell(each.reason)) for each in skipped[:SKIPPED]]
        tables.append(Table("Skipped samples", "", ("Sample", "Reason"), samples, is_folded=True))
    if report.notes:
        notes = [(Cell(str(number)), Cell(note)) for number, note in enumerate(report.notes, 1)]
        tables.append(Table("Notes on reading the model", "", ("Note", "Words"), notes, is_folded=True))
    return Section("provenance", "Provenance", (lead,), tables)


def _facts(report: Report) -> Iterator[tuple[str, str, Cell]]:
    """Inputs, settings and outputs: of what, which fact, its value; empty where it is not known."""
    model, data = report.model, report.data
    yield "Model", "File", _code(model.name)
    yield "Model", "Format", Cell(model.format)
    yield "Model", "Architecture", Cell(_with_reason(model.architecture, model.architecture_how))
    yield "Model", "Activation", Cell(_with_reason(model.activation, model.activation_how))
    yield "Model", "SHA-256 of the file", _code(model.sha256)
    yield "Model", "SHA-256 of its tensors", _code(model.tensor_sha256)
    if recipe := report.recipe:
        yield "Recipe", "Name", Cell(f"{recipe.name}, revision {recipe.revision}")
        yield "Recipe", "Validated", Cell("yes" if recipe.validated else "no: no measured evidence for these values")
        yield "Recipe", "SHA-256", _code(recipe.sha256)
    if policy := report.policy:
        yield "Policy", "Name", _code(policy.name)
        yield "Policy", "SHA-256", _code(policy.sha256)
    if data:
        of = "Images measured on" if report.is_audit else "Clean data"
        yield of, "Name", _code(data.name or data.path or "")
        yield of, "Format", Cell(data.format)
        yield of, "Images" if report.is_audit else "Pairs", Cell(count(data.pairs))
        yield of, "Skipped", Cell(count(data.skipped if isinstance(data.skipped, int) else len(data.skipped)))
        yield of, "Digest", _code(data.digest)
    for export in report.exports or ():
        of = f"Written: {export.format}"
        yield of, "File", _code(export.path)
        yield of, "SHA-256 of the file", _code(export.sha256)
        yield of, "SHA-256 of its tensors", _code(export.tensor_sha256)
        parity = (f"{key.replace('_', ' ')} {_plain(value)}" for key, value in export.parity.items())
        yield of, "Read back", Cell(", ".join(parity))
    yield "Machine and versions", report.tool.name, Cell(report.tool.version)
    yield "Machine and versions", "Seed", Cell("" if report.seed is None else str(report.seed))
    yield "Machine and versions", "Time", Cell("" if report.seconds is None else duration(report.seconds))
    for key, value in (report.environment or {}).items():
        yield "Machine and versions", key.replace("_", " "), Cell(_plain(value))


def _with_reason(known: str | None, reason: str | None) -> str:
    return f"{known} ({reason})" if known and reason else known or ""


def _plain(value: object) -> str:
    """A value of a free-form object, in few characters."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


SECTIONS = (_suspects, _auto, _search, _power, _numbers, _panel, _training, _provenance)
