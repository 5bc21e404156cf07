"""The sections of a report as tables and drawings, each written once; page, Markdown and terminal render blocks and know no section.

To add a section, write a function from the report to it and enter it in ``sections``; what a terminal shows stands in ``short``.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from clipclean.findings import Finding, trigger_words
from clipclean.report import charts, cleaning, measures, search, verdicts
from clipclean.report.measures import INTERVALS, MeasureRow
from clipclean.report.wording import NOTHING, Png, count, decimal, duration, memory, percent, percent_interval
from clipclean.schema.part import Part
from clipclean.schema.report import (
    BaseRecord,
    Column,
    DifferenceOfTwoRecord,
    FoundRecord,
    ProbeRecord,
    RateRecord,
    Report,
    SearchRecord,
    SuspectRecord,
)
from clipclean.untrusted import plural

ATTACK_MEASURES = ("asr", "base_rate", "excess_asr", "accuracy_under_trigger", "knn_asr", "distance", "spread")
UNFOLDED_TRIGGERS = 8  # found triggers that are shown unfolded
TRAINING_ROWS = 10  # of the training curve
FEW_NAMES = 5  # of a list of classes or templates
SKIPPED_ROWS = 20  # of the samples that could not be used
SHORT_SUSPECTS, SHORT_CHECKS = 3, 4  # of the short form

CellKind = Literal["text", "name", "code", "number", "chart"]
Head = Sequence[str | Column]  # of a table; a column that is a text alone holds texts


class Cell(NamedTuple):
    """A value, and quietly below it what it means; a chart has its words in ``text``."""

    text: str
    below: tuple[str, ...] = ()
    kind: CellKind = "text"
    chart: charts.Bars | charts.SizeDrawing | None = None


class Table(NamedTuple):
    """A table: the first cell of each row names it. A folded one is opened by the reader."""

    head: tuple[str, ...]
    rows: Sequence[tuple[Cell, ...]]
    title: str
    lead: str
    is_folded: bool = False


class Findings(NamedTuple):
    """Findings, the worst first."""

    findings: Sequence[Finding]


class Prose(NamedTuple):
    """Words: as "lines", as "bullets", as "definitions" (a term, its meaning, what is better), or "values", folded and set as they are."""

    kind: Literal["lines", "bullets", "definitions", "values"]
    title: str
    items: Sequence[Sequence[str]]  # of definitions each is one; of the others the first holds all the words


# Images.


class TitledImage(NamedTuple):
    """A PNG image with a title and a caption; ``alt`` describes it for screen readers."""

    title: str
    caption: str
    png_base64: Png
    alt: str


class Answer(NamedTuple):
    """A class that the model takes an image for, and how sure it is, in [0, 1]."""

    name: str
    score: float


class Answered(NamedTuple):
    """The model's answers to one image, before or after cleaning; ``mark`` judges the first of them."""

    when: str
    answers: tuple[Answer, ...]
    mark: Literal["right", "wrong", "target", ""]


class GridRow(NamedTuple):
    """One image, and the answers before and after."""

    title: str
    png_base64: Png
    alt: str
    cells: tuple[Answered, ...]


class Grid(NamedTuple):
    """One example: an image and its triggered copy; ``label`` is empty where it is not known."""

    label: str
    rows: tuple[GridRow, ...]


class PageImages(NamedTuple):
    """The images of a page: images of a trigger by itself, and examples."""

    found_triggers: tuple[TitledImage, ...] = ()
    grids: tuple[Grid, ...] = ()


NO_IMAGES = PageImages()


class Gallery(NamedTuple):
    """Images with captions; ``kind`` is "mask" (of a trigger, whose pixels are to be seen) or "example"."""

    title: str
    kind: str
    images: Sequence[TitledImage]


class Examples(NamedTuple):
    """Images, clean and triggered, with the model's answers."""

    grids: Sequence[Grid]


class Maps(NamedTuple):
    """Maps by one method: of the model before and after cleaning, or of the one that there is."""

    sides: Sequence[tuple[str, charts.Map]]


Block = Table | Findings | Prose | Gallery | Examples | Maps | charts.Plot


class PageSection(NamedTuple):
    """A section: its key, its title, sentences to read first, and its blocks."""

    key: str
    title: str
    lead: Sequence[str]
    blocks: Sequence[Block]


def numbers(*heads: str) -> list[Column]:
    """Columns of numbers."""
    return [Column(head, "number") for head in heads]


TRIGGER, CLASS, LEADS_TO = Column("Trigger", "code"), Column("Class", "name"), Column("Leads to", "name")
_WAY_HEAD: Head = (
    "Share of the way",
    *numbers("Most left of a trigger"),
    Column("Of", "code"),
    *numbers("Accuracy lost"),
)


def sections(report: Report, images: PageImages = NO_IMAGES, /) -> list[PageSection]:
    """All sections that have something to show, in order."""
    measurement_sections = [
        PageSection(key, field.title, [field.description or ""], [record_table(records)])
        for key, field in type(report.measurements).model_fields.items()
        if field.title and (records := getattr(report.measurements, key))
    ]
    all_sections = (
        _suspects_section(report),
        # On a pass the head of the page shows it.
        PageSection("looked", "What was looked for", (), [checks_table(report)] if report.verdict != "pass" else []),
        PageSection("findings", "Findings", (), [Findings(verdicts.by_severity(report.findings))]),
        _examples_section(images),
        _auto_section(report),
        PageSection(
            "way",
            "Between the original and the cleaned weights",
            cleaning.way_lines(report.cleaning),
            [*charts.way(report.cleaning), table(_WAY_HEAD, cleaning.way_rows(report.cleaning))],
        ),
        _base_section(report),
        _search_section(report),
        _map_section(report),
        _power_section(report),
        *measurement_sections,
        _numbers_section(report),
        _panel_section(report),
        _training_section(report),
        _measures_section(report),
        _provenance_section(report),
    )
    blocks_with_content = [
        [b for b in section.blocks if not isinstance(b, Table) or b.rows or b.lead] for section in all_sections
    ]
    return [
        section._replace(blocks=blocks)
        for section, blocks in zip(all_sections, blocks_with_content, strict=True)
        if blocks
    ]


def short(report: Report, /) -> list[Block]:
    """What a terminal has room for: the model, the suspects, how it was cleaned, the last checks, and the findings."""
    choice = cleaning.candidate_lines(report.auto)[:1] if report.auto else ()
    checks = checks_table(report)
    return [
        Prose("lines", "", [[*_about(report), *([base_line(report.base)] if report.base else [])]]),
        Prose("bullets", "", [(*choice, *cleaning.way_lines(report.cleaning))]),
        checks._replace(rows=checks.rows[-SHORT_CHECKS:]),
        Findings(verdicts.by_severity(report.findings)),
    ]


def _about(report: Report) -> list[str]:
    """The model and the steps of the run; and the classes that an audited model seems to be turned towards."""
    parts = [f"{report.model.name}, {report.model.architecture}"]
    if recipe := report.recipe:
        is_measured = recipe.validated or report.auto is not None  # which measures its candidates in the run itself
        parts.append(f"recipe {recipe.name}{'' if is_measured else ' (not measured on models like this)'}")
    if data := report.data:
        parts.append(f"{count(data.pairs)} {'images' if report.is_audit else 'clean pairs'}")
    suspects = () if measures.has_before(report) else report.suspects
    suspect_words = [_suspect_words(suspect, report) for suspect in suspects[:SHORT_SUSPECTS]]
    if (others := len(suspects) - SHORT_SUSPECTS) > 0:
        suspect_words.append(f"and {count(others)} more")
    return ["; ".join(parts), *([f"Suspects: {'; '.join(suspect_words)}"] if suspect_words else [])]


def _suspect_words(suspect: SuspectRecord, report: Report) -> str:
    """A suspected class with what speaks against it; only a search gives a score that is compared with clean models."""
    score = [f"score {decimal(suspect.score)}"] if search.was_searched(report) else []
    words = ", ".join(filter(None, [*score, search.families(suspect)]))
    return f"{suspect.class_} ({words})" if words else suspect.class_


def table(
    head: Head,
    rows: Iterable[Sequence[str | Cell]],
    /,
    *,
    title: str = "",
    lead: str = "",
    nothing: str = "",
    folded: bool = False,
) -> Table:
    """A table of words and cells; ``nothing`` is its lead if it has no rows."""
    columns = [Column(column) if isinstance(column, str) else column for column in head]
    kinds: list[CellKind] = ["number" if column.kind == "share" else column.kind for column in columns]
    cells = [
        tuple(cell if isinstance(cell, Cell) else Cell(cell, (), kind) for cell, kind in zip(row, kinds, strict=True))
        for row in rows
    ]
    return Table(tuple(column.head for column in columns), cells, title, lead if cells else nothing, folded)


def record_table(records: Sequence[Part], /, *, title: str = "", lead: str = "", folded: bool = False) -> Table:
    """A table of records, with the columns that the schema names."""
    fields = type(records[0]).model_fields if records else {}
    columns = [
        (name, column) for name, field in fields.items() for column in field.metadata if isinstance(column, Column)
    ]
    columns.sort(key=lambda titled_field: not titled_field[1].is_first)
    rows = ([_worded(getattr(record, name), column) for name, column in columns] for record in records)
    return table([column for _, column in columns], rows, title=title, lead=lead, folded=folded)


def _worded(value: object, column: Column) -> str:
    if isinstance(value, RateRecord):
        return percent(value.value)
    if isinstance(value, float):
        return percent(value) if column.kind == "share" else decimal(value)
    words = count(value) if value is None or type(value) is int else str(value)
    return trigger_words(words) if column == TRIGGER else words


def checks_table(report: Report, /) -> Table:
    """All checks, with their results and usual values."""
    return table(("Looked for", "Found", "Usual, or allowed"), verdicts.checks(report))


def _examples_section(images: PageImages) -> PageSection:
    blocks: list[Block] = []
    if images.found_triggers:
        blocks.append(Gallery("The found trigger by itself, enlarged", "mask", images.found_triggers))
    if images.grids:
        blocks.append(Examples(images.grids))
    return PageSection("examples", "Example images", (), blocks)


def _map_section(report: Report) -> PageSection:
    """Each method with its maps: of the model before and after cleaning side by side, or as it is."""
    sides = [("before", measures.measurements_of(report, "before"))]
    sides += [("after" if measures.has_before(report) else "", measures.measurements_of(report, "after"))]
    methods = [
        [
            (side, map_)
            for side, measurements in sides
            if measurements and (map_ := charts.embedding_map(getattr(measurements, method)))
        ]
        for method in ("tsne", "projection")
    ]
    lead = (
        "Each mark is an image as the model sees it; near marks look alike to it. A line leads from each image to its copy with "
        "the trigger. Where a backdoor acts, the copies leave their places and gather in one."
    )
    return PageSection("map", "Map of the embeddings", (lead,), [Maps(maps) for maps in methods if maps])


def _measures_section(report: Report) -> PageSection:
    general = [(measure.label, measure.definition, measure.better) for measure in measures.MEASURES.values()]
    terms = [
        (label, definition, f"{better.capitalize()} is better." if better else "")
        for label, definition, better in (*general, *(measures.SEARCH_TERMS if search.shown_searches(report) else ()))
    ]
    return PageSection("measures", "What the measures mean", (), [Prose("definitions", "", terms)])


def _suspects_section(report: Report) -> PageSection:
    suspects = () if measures.has_before(report) else report.suspects
    rows = (
        (
            suspect.class_,
            decimal(suspect.score),
            search.families(suspect) or NOTHING,
            trigger_words(suspect.trigger or NOTHING),
        )
        for suspect in suspects
    )
    lead = "The classes that the found triggers turn other images into. A class in this list is a lead, not a proof."
    suspect_table = table((CLASS, *numbers("Score"), "By", TRIGGER), rows)
    return PageSection("suspects", "Suspects, most suspicious first", (lead,), [suspect_table])


def _auto_section(report: Report) -> PageSection:
    """The candidates of ``auto``, the test backdoors, and what happens to the weights afterwards."""
    auto = report.auto
    share = report.cleaning.share if report.cleaning else 1.0  # of the way, that was taken
    if auto is None:
        return PageSection("auto", "", (), [])
    test_backdoors = table(
        (TRIGGER, Column("Target", "name"), *numbers("Planted", "Left", "Accuracy under it")),
        cleaning.test_backdoor_rows(auto, share),
        title="Test backdoors, planted in a copy of this model",
        lead="Attack success beyond chance, before and after the chosen candidate.",
    )
    costs = numbers("Test backdoors removed", "Left of the worst", "Costs", "On the model: left, costs", "Time")
    patterns = f"Known triggers and variants that acted on the original, and that were put on images: {auto.patterns}."
    candidates = table(
        ("Candidate", "Outcome", *costs),
        cleaning.candidate_rows(auto, share),
        title="The candidates, in the order of trying",
        lead=f"{patterns} Clean models have natural ones, too." if auto.patterns else "",
    )
    probes = auto.rebound.probes if auto.rebound else ()
    finetuned = record_table(
        [probe for probe in probes if probe.suspected],
        title="After a benign finetuning",
        lead="Attack success beyond chance, before and after a benign finetuning of a copy.",
    )
    finetuned_panel = record_table(
        [probe for probe in probes if not probe.suspected],
        title="Known triggers of the panel, after the same finetuning",
        folded=True,
    )
    frontier = cleaning.frontier(auto, share)
    return PageSection(
        "auto",
        "What was tried",
        cleaning.candidate_lines(auto),
        [*frontier, test_backdoors, candidates, finetuned, finetuned_panel],
    )


def _search_section(report: Report) -> PageSection:
    lead = (
        "The search knows neither trigger nor class. It looks for the smallest change that makes images of all kinds look alike "
        "to the model, and shows which class they get. With a backdoor this change is far smaller than in clean models."
    )
    tables = [
        search_table
        for side, search_record in search.shown_searches(report)
        for search_table in _search_tables(side, search_record)
    ]
    not_shown = [Prose("bullets", "What the search does not show", [search.NOT_SHOWN])] if tables else []
    return PageSection("search", "Search for unknown triggers", (lead,), [*tables, *not_shown])


def _search_tables(side: str, search_record: SearchRecord) -> list[Table]:
    title, triggers, effort = (
        f"{side.capitalize()} cleaning" if side else "",
        search_record.found or (),
        search.effort(search_record),
    )
    rows = [
        _trigger_row(*trigger_and_drawing) for trigger_and_drawing in zip(triggers, charts.sizes(triggers), strict=True)
    ]
    controls = (
        (control.class_, search.family(control.family), percent(control.size)) for control in search_record.controls
    )
    return [
        table(
            _TRIGGER_HEAD, rows[:UNFOLDED_TRIGGERS], title=title, lead=effort, nothing=f"{effort} Nothing was found."
        ),
        table(
            _TRIGGER_HEAD,
            rows[UNFOLDED_TRIGGERS:],
            title=f"The other {count(len(rows) - UNFOLDED_TRIGGERS)}",
            folded=True,
        ),
        record_table(triggers, title="Embeddings under the found triggers", folded=True),
        table(
            (CLASS, "Family", *numbers("Size")),
            controls,
            title="Classes that were searched for comparison",
            folded=True,
        ),
    ]


_TRIGGER_HEAD: Head = (LEADS_TO, "Drawn", "Trigger", *numbers("Size", "Success", "Collapse"), "How unusual")


def _trigger_row(trigger: FoundRecord, drawing: charts.SizeDrawing) -> tuple[str | Cell, ...]:
    """A found trigger, beside what clean models need."""
    clean_sizes = (f"clean models need {search.clean_sizes(trigger)}",) if trigger.reference else ()
    words = f"Size {'; '.join((percent(trigger.size), *clean_sizes))}, on a scale to {drawing.top}"
    without = f"without it {percent(trigger.base_rate.value)}"
    return (
        trigger.class_,
        Cell(words, (), "chart", drawing),
        Cell(f"{trigger.family_words}, {trigger.size_words}", (f"saved as {trigger.file}",) if trigger.file else ()),
        Cell(percent(trigger.size), clean_sizes, "number"),
        Cell(percent(trigger.asr.value), (*_certainty(trigger.asr), without), "number"),
        Cell(decimal(trigger.collapse), (f"without it {decimal(trigger.clean_collapse)}",), "number"),
        "; ".join(search.signs(trigger)) or NOTHING,
    )


def _base_section(report: Report) -> PageSection:
    """What the finetune moved, and the triggers that act on the model and not on its base."""
    if (base := report.base) is None:
        return PageSection("base", "", (), [])
    return PageSection("base", "Beside the model that it was finetuned from", [base_line(base)], base_blocks(base))


def base_blocks(base: BaseRecord, /) -> list[Block]:
    """The tables of a base: triggers on both models, classes and layers that moved."""
    sides = [("", base.differences)] if base.left is None else [("Before: ", base.differences), ("After: ", base.left)]
    head: Head = (TRIGGER, LEADS_TO, *numbers("On the model", "On the base", "Difference"))
    blocks: list[Block] = [
        table(
            head,
            map(_difference_row, triggers[:UNFOLDED_TRIGGERS]),
            title=f"{side}Triggers on the model and on its base",
            nothing="None acts on one alone.",
        )
        for side, triggers in sides
        if base.is_base
    ]
    both = "Natural to the data, or a backdoor that the base has as well: nothing here tells which. Take the base from where it was published."
    for lead, title, differences in (
        (both, "Triggers that act on both", base.on_both),
        ("The finetune forgot these.", "Triggers that act on the base alone", base.on_base),
    ):
        if differences:
            blocks.append(table(head, map(_difference_row, differences[:UNFOLDED_TRIGGERS]), title=title, lead=lead))
    blocks.append(
        record_table(
            base.moved[:UNFOLDED_TRIGGERS],
            title="Classes that moved most",
            lead="Squared distances of unit embeddings, 0 to 4.",
        )
    )
    layers = sorted(base.layers, key=lambda layer: -(layer.change or 0.0))
    lead = "The change of the weights relative to the base, and the share of it that lies in few directions."
    blocks.append(
        record_table(
            layers, title="Layers, those that moved most first", lead=lead, folded=len(layers) > UNFOLDED_TRIGGERS
        )
    )
    return blocks


def _difference_row(difference: DifferenceOfTwoRecord) -> tuple[str | Cell, ...]:
    change = Cell(
        percent((difference.own.value or 0.0) - (difference.base.value or 0.0)),
        (percent_interval(difference.interval),),
        "number",
    )
    return (
        trigger_words(difference.trigger),
        difference.target,
        percent(difference.own.value),
        percent(difference.base.value),
        change,
    )


def base_line(base: BaseRecord, /) -> str:
    """Whether the base is one, and how far the finetune moved the weights."""
    kin = f"cosine of weights {decimal(base.weights)}, of embeddings of clean images {decimal(base.images)}"
    if not base.is_base:
        return f"Base: {base.name} is not the one that this model was finetuned from ({kin}); taken as a reference."
    moved = (
        f"; most moved: {', '.join(moved_class.class_ for moved_class in base.moved[:SHORT_SUSPECTS])}"
        if base.moved
        else ""
    )
    few = f", {percent(base.leading)} of that in five directions of each matrix" if base.leading is not None else ""
    lift = base.lift
    lifted = (
        f" Known triggers make it surer than {'its base' if lift.is_over_base else 'clean images explain'} of “{lift.target}” most, by "
        f"{decimal(lift.lead)} more than of any other class."
        if lift
        else ""
    )
    return f"Base: {base.name} ({kin}). The finetune changed the weights by {percent(base.change)}{few}{moved}.{lifted}"


def _power_section(report: Report) -> PageSection:
    """How many of the backdoors planted in copies the audit found."""
    if (power := report.measurements.power) is None:
        return PageSection("power", "", (), [])
    lead = (
        f"Backdoors were planted in copies of this model, one in each, and the same audit finds {_rate_words(power.found)}; "
        f"{_rate_words(power.failed)} would fail."
    )
    answers = {"error": "found", None: "missed"}
    rows = []
    for planted in power.planted:
        audit = answers.get(planted.level, "suspected") if planted.took else "not planted"
        rows.append((planted.trigger, planted.class_, percent(planted.excess_asr), audit))
    planted_head: Head = (Column("Planted trigger", "code"), CLASS, *numbers("Excess success"), "The audit")
    return PageSection("power", "Power of this audit", (lead,), [table(planted_head, rows)])


def _rate_words(rate: RateRecord) -> str:
    return f"{round((rate.value or 0) * rate.n)} of {rate.n} ({percent_interval(rate.interval)})"


def _numbers_section(report: Report) -> PageSection:
    """Clean images, then each attack in full."""
    has_before, limits = measures.has_before(report), verdicts.limits_of(report)
    head: Head = ("Measure", "Drawn", *(numbers("Before", "After", "Change") if has_before else numbers("Measured")))
    clean = [measures.accuracy(report), *(measures.on_clean(report, key) for key in ("recall", "agreement"))]
    clean = [row for row in clean if row.before or row.after]
    title, has_named = "Images without a trigger", bool(measures.named_attacks(report))
    rate = report.measurements.clean_accuracy
    definition = ((rate and rate.definition) or clean[0].measure.label) if clean else ""
    rows = (_measure_row(row, has_before, limits) for row in clean)
    lead = f"{definition[:1].upper()}{definition[1:]}."
    tables = [table(head, rows, title=title, lead=lead, nothing="Clean accuracy was not measured.")]
    kind = "Trigger" if has_named else "The strongest trigger of the panel:"
    for attack in measures.attacks_in_full(report):
        rows = (
            _measure_row(row, has_before, limits, is_named=has_named) for row in measures.rows(attack, *ATTACK_MEASURES)
        )
        tables.append(
            table(head, rows, title=f"{kind} {attack.family} → {attack.target}", lead=trigger_words(attack.trigger))
        )
    lead = f"{INTERVALS} Thin lines in the bars are these intervals."
    return PageSection("numbers", "Before and after" if has_before else "Measurements", (lead,), tables)


def _measure_row(
    row: MeasureRow, has_before: bool, limits: Mapping[str, float], *, is_named: bool = True
) -> tuple[Cell, ...]:
    limit = measures.limit_of(row, limits, is_named=is_named)
    sides = [("before", row.before), ("after" if row.before else "measured", row.after)]
    words = ", ".join(f"{measures.value(row, figure)} {side}" for side, figure in sides if figure)
    limit_words = (f"limit {percent(limit)}",) if limit is not None else ()
    chart = Cell(f"{row.measure.label}: {words}", limit_words, "chart", charts.bars(row, limit))
    values = [
        Cell(measures.value(row, figure), _certainty(figure) if figure else (), "number")
        for figure in ((row.before, row.after) if has_before else (row.after,))
    ]
    better = (f"{row.measure.better} is better",) if row.measure.better else ()
    change = [Cell(measures.change(row), better, "number")] if has_before else []
    return Cell(row.measure.label, (row.measure.words,)), chart, *values, *change


def _certainty(rate: RateRecord | measures.Figure) -> tuple[str, ...]:
    """The interval and the number of images, where there are some."""
    interval = (percent_interval(rate.interval),) if rate.interval else ()
    return (*interval, f"n = {count(rate.n)}") if rate.n is not None else interval


def _panel_section(report: Report) -> PageSection:
    attacks, has_before = measures.panel(report), measures.has_before(report)
    sides = (("Before, leads to", "Excess before"), ("After, leads to", "Excess after"))
    pairs = sides if has_before else (("Leads to", "Excess"),)
    head = [column for leads_to, excess in pairs for column in (Column(leads_to, "name"), *numbers(excess))]
    lead = (
        "Published attacks, tried without knowing the target: each row names the class that the trigger leads to most often, and "
        "the share of images that it moves there beyond chance."
    )
    panel_words = f"{plural(len(attacks), 'built-in trigger')}, strongest first{', by the larger of the two' if has_before else ''}"
    rows = (
        (
            trigger_words(attack.trigger),
            *(_probe_cells(attack.before) if has_before else ()),
            *_probe_cells(attack.after),
        )
        for attack in attacks
    )
    panel_table = table((TRIGGER, *head), rows, lead=panel_words)
    return PageSection("panel", "The panel of known triggers", (lead,), [panel_table])


def _probe_cells(probe: ProbeRecord | None) -> tuple[str, str]:
    return (probe.target, percent(probe.excess_asr.value)) if probe else (NOTHING, NOTHING)


def _training_section(report: Report) -> PageSection:
    training = report.training
    if not training:
        return PageSection("training", "", (), [])
    losses = charts.thinned(training.losses, most=TRAINING_ROWS)
    logged = charts.curves(losses)
    rows = [(count(e.step), *(decimal(e.parts().get(key)) for key in logged), f"{e.lr:.2g}") for e in losses]
    facts = [
        ("Steps", count(training.steps)),
        ("Pairs seen", count(training.pairs)),
        ("Time", duration(training.seconds)),
        ("Speed", f"{training.pairs_per_second:,.0f} pairs a second"),
        ("Peak memory", memory(training.peak_memory_bytes)),
        ("Peak memory of the GPU", memory(training.peak_device_memory_bytes or None)),
        ("Walk, in sizes of the weights", decimal(training.walk)),
        (
            "Peak learning rate, in sizes of the weights" if training.walk else "Peak learning rate",
            f"{max(entry.lr for entry in training.losses):.2g}" if training.losses else NOTHING,
        ),
        ("Number format", training.precision or NOTHING),
        ("Pairs a tower took at once", count(training.micro_batch)),
        ("Went on from step", count(training.resumed_at or None)),
    ]
    caption = "A curve that still falls steeply at the end may gain from more steps."
    caption = " ".join(filter(None, ("Losses by step.", _loss_sum(report), caption)))
    blocks: list[Block] = [
        *charts.curve(training.losses, caption),
        table(("What", *numbers("Value")), (fact for fact in facts if fact[1] != NOTHING)),
        _rounds(report),
        table(
            ("Step", *numbers(*logged.values(), "Learning rate")),
            rows,
            title=f"The losses of {len(losses)} of {count(len(training.losses))} logged steps",
            folded=True,
        ),
    ]
    return PageSection("training", "Training", (), blocks)


def _loss_sum(report: Report) -> str:
    """How the total adds up where a second view has a loss of its own; empty elsewhere, and where the values are not recorded or another recipe's."""
    loss = ((report.recipe.resolved if report.recipe else None) or {}).get("loss")
    has_views = report.training and any(entry.self_supervised is not None for entry in report.training.losses)
    if report.auto or not has_views or not isinstance(loss, Mapping) or loss.get("preserve_weight"):
        return ""
    match loss.get("clip_weight"), loss.get("self_supervised_weight"):
        case (int() | float()) as contrastive, (int() | float()) as self_supervised:
            return f"Total loss = {contrastive:g} × L_CLIP + {self_supervised:g} × L_SS."
        case _:
            return ""


def _rounds(report: Report) -> Table:
    """The result of each search of an unlearning."""
    unlearning = report.training.unlearning if report.training else None
    rows = []
    for number, round_ in enumerate(unlearning.rounds if unlearning else ()):
        when = f"after {plural(number, 'round')}" if number else "before"
        triggers = [
            (trigger.class_, f"{trigger.family}, {trigger.size_words}", percent(trigger.excess_asr))
            for trigger in round_.found
        ]
        rows += [(when, *row) for row in triggers or [("nothing", NOTHING, NOTHING)]]
    lead = "Triggers that act, smaller than those of other classes. Unlearning ends when there is none."
    head: Head = ("Search", CLASS, "Trigger", *numbers("Beyond chance"))
    return table(head, rows, title="What each search found", lead=lead)


def _provenance_section(report: Report) -> PageSection:
    lead = (
        "What went in, what was done to it, what came out. With the same inputs, recipe, settings, seed and versions, the run can be "
        "repeated."
    )
    skipped = report.data.skipped if report.data else 0
    samples = () if isinstance(skipped, int) else skipped[:SKIPPED_ROWS]
    notes = ((str(number), note) for number, note in enumerate(report.notes, 1))
    blocks = [
        table(
            ("Of", "What", "Which"), ((subject, what, value) for subject, what, value in _facts(report) if value.text)
        ),
        record_table(samples, title="Skipped samples", folded=True),
        table(("Note", "Words"), notes, title="Notes on reading the model", folded=True),
    ]
    resolved_values = [
        Prose("values", f"Every value of the {name}", [(json.dumps(record.resolved, indent=2, ensure_ascii=False),)])
        for name, record in (("recipe", report.recipe), ("policy", report.policy))
        if record and record.resolved
    ]
    return PageSection("provenance", "Provenance", (lead,), [*blocks, *resolved_values])


def _facts(report: Report) -> Iterator[tuple[str, str, Cell]]:
    """Inputs, settings and outputs: of what, which fact, its value; empty where it is not known."""
    model, data = report.model, report.data
    yield "Model", "File", Cell(model.name, kind="code")
    yield "Model", "Format", Cell(model.format)
    yield "Model", "Architecture", Cell(_with_reason(model.architecture, model.architecture_how))
    yield "Model", "Activation", Cell(_with_reason(model.activation, model.activation_how))
    yield "Model", "SHA-256 of the file", Cell(model.sha256, kind="code")
    yield "Model", "SHA-256 of its tensors", Cell(model.tensor_sha256, kind="code")
    if recipe := report.recipe:
        yield "Recipe", "Name", Cell(f"{recipe.name}, revision {recipe.revision}")
        yield "Recipe", "Validated", Cell("yes" if recipe.validated else "no: no measured evidence for these values")
        yield "Recipe", "SHA-256", Cell(recipe.sha256, kind="code")
    if policy := report.policy:
        yield "Policy", "Name", Cell(policy.name, kind="code")
        yield "Policy", "SHA-256", Cell(policy.sha256, kind="code")
        yield "Policy", "Met no finding", Cell("; ".join(policy.idle))
    if data:
        subject = "Images measured on" if report.is_audit else "Clean data"
        yield subject, "Name", Cell(data.name or data.path or "", kind="code")
        yield subject, "Format", Cell(data.format)
        yield subject, "Images" if report.is_audit else "Pairs", Cell(count(data.pairs))
        yield subject, "Skipped", Cell(count(data.skipped if isinstance(data.skipped, int) else len(data.skipped)))
        yield subject, "Digest", Cell(data.digest, kind="code")
    if words := report.vocabulary:
        source = "given" if words.given else "ImageNet's, as none were given"
        yield "Classes", "Source", Cell(source)
        yield "Classes", "Names", Cell(_count_words(words.classes))
        yield "Classes", "Templates", Cell(_count_words(words.templates))
    for export in report.exports or ():
        subject = f"Written: {export.format}"
        yield subject, "File", Cell(export.path, kind="code")
        yield subject, "SHA-256 of the file", Cell(export.sha256, kind="code")
        yield subject, "SHA-256 of its tensors", Cell(export.tensor_sha256, kind="code")
        parity = (f"{key.replace('_', ' ')} {_plain(value)}" for key, value in export.parity.items())
        yield subject, "Read back", Cell(", ".join(parity))
    yield "Machine and versions", report.tool.name, Cell(report.tool.version)
    yield "Machine and versions", "Seed", Cell("" if report.seed is None else str(report.seed))
    yield "Machine and versions", "Time", Cell("" if report.seconds is None else duration(report.seconds))
    for key, value in (report.environment or {}).items():
        yield "Machine and versions", key.replace("_", " "), Cell(_plain(value))


def _count_words(names: Sequence[str]) -> str:
    """How many names there are, and the first of them; report.json has all."""
    more = len(names) - FEW_NAMES
    return f"{count(len(names))}: {', '.join(names[:FEW_NAMES])}{f' and {count(more)} more' if more > 0 else ''}"


def _with_reason(property_: str | None, reason: str | None) -> str:
    return f"{property_} ({reason})" if property_ and reason else property_ or ""


def _plain(value: object) -> str:
    """A value of a free-form object, in few characters."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
