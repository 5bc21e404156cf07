"""The sections of a report as tables and drawings, each written once; page, Markdown and terminal render blocks and know no section.

To add a section, write a function from the report to it and enter it in ``sections``; what a terminal shows stands in ``short``.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from clipclean.findings import Finding, Part, trigger_words
from clipclean.report import charts, cleaning, measures, search, verdicts
from clipclean.report.measures import INTERVALS, MeasureRow
from clipclean.report.wording import NOTHING, Png, count, decimal, duration, memory, percent, percent_interval
from clipclean.schema.report import (
    Column,
    DifferenceOfTwoRecord,
    FoundRecord,
    ProbeRecord,
    RateRecord,
    Report,
    SearchRecord,
)
from clipclean.untrusted import plural

ROWS = ("asr", "base_rate", "excess_asr", "accuracy_under_trigger", "knn_asr", "distance", "spread")
FIRST = 8  # found triggers that are shown unfolded
SAMPLED_STEPS = 10  # of the training curve
SKIPPED = 20  # of the samples that could not be used
SUSPECTS, CHECKS = 3, 4  # of the short form

Kind = Literal["text", "name", "code", "number", "chart"]


class Cell(NamedTuple):
    """A value, and quietly below it what it means; a chart has its words in ``text``."""

    text: str
    below: tuple[str, ...] = ()
    kind: Kind = "text"
    chart: charts.Bars | charts.Size | None = None


class Table(NamedTuple):
    """A table: the first cell of each row names it. A folded one is opened by the reader."""

    head: tuple[str, ...]
    rows: Sequence[tuple[Cell, ...]]
    title: str
    lead: str
    is_folded: bool = False


class Findings(NamedTuple):
    """Findings, the worst first."""

    found: Sequence[Finding]


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


NONE = PageImages()


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


class Section(NamedTuple):
    """A section: its key, its title, sentences to read first, and its blocks."""

    key: str
    title: str
    lead: Sequence[str]
    blocks: Sequence[Block]


_KINDS: Mapping[str, Kind] = {"#": "number", "%": "number", "@": "name", "`": "code"}  # by the mark of a column
_RATES = ("Rate", "#Steps", "#Excess before", "#After", "#Accuracy lost", "#Time")
_WAY = ("Share of the way", "#Most left of a trigger", "`Of", "#Accuracy lost")


def sections(report: Report, images: PageImages = NONE, /) -> list[Section]:
    """All sections that have something to show, in order."""
    tried = report.training.rates if report.training else None
    own = [
        Section(key, known.title, [known.description or ""], [listed(found)])
        for key, known in type(report.measurements).model_fields.items()
        if known.title and (found := getattr(report.measurements, key))
    ]
    made = (
        _suspects(report),
        # On a pass the head of the page shows it.
        Section("looked", "What was looked for", (), [looked_for(report)] if report.verdict != "pass" else []),
        Section("findings", "Findings", (), [Findings(verdicts.by_severity(report.findings))]),
        _auto(report),
        Section(
            "rates",
            "Learning rates, tried on a test backdoor in a copy of this model",
            [cleaning.rates_line(tried)],
            [table(_RATES, cleaning.rate_rows(tried))],
        ),
        Section(
            "way",
            "Between the original and the cleaned weights",
            cleaning.way_lines(report.cleaning),
            [*charts.way(report.cleaning), table(_WAY, cleaning.way_rows(report.cleaning))],
        ),
        _examples(images),
        _base(report),
        _search(report),
        _map(report),
        _power(report),
        *own,
        _numbers(report),
        _panel(report),
        _training(report),
        _measures(report),
        _provenance(report),
    )
    telling = [[b for b in section.blocks if not isinstance(b, Table) or b.rows or b.lead] for section in made]
    return [section._replace(blocks=blocks) for section, blocks in zip(made, telling, strict=True) if blocks]


def short(report: Report, /) -> list[Block]:
    """What a terminal has room for: the model, the suspects, how it was cleaned, the last checks, and the findings."""
    chosen = cleaning.candidate_lines(report.auto)[:1] if report.auto else ()
    checks, rates = looked_for(report), cleaning.rates_line(report.training.rates if report.training else None)
    return [
        Prose("lines", "", [[*_about(report), *filter(None, [base_line(report)])]]),
        Prose("bullets", "", [(*chosen, *filter(None, [rates]), *cleaning.way_lines(report.cleaning))]),
        checks._replace(rows=checks.rows[-CHECKS:]),
        Findings(verdicts.by_severity(report.findings)),
    ]


def _about(report: Report) -> list[str]:
    """The model and the steps of the run; and the classes that an audited model seems to be turned towards."""
    parts = [f"{report.model.name}, {report.model.architecture}"]
    if recipe := report.recipe:
        parts.append(f"recipe {recipe.name}{'' if recipe.validated else ' (not validated)'}")
    if data := report.data:
        parts.append(f"{count(data.pairs)} {'images' if report.is_audit else 'clean pairs'}")
    found = () if measures.has_before(report) else report.suspects
    named = [
        f"{each.class_} (score {decimal(each.score)}{f', {by}' if (by := search.families(each)) else ''})"
        for each in found[:SUSPECTS]
    ]
    if (rest := len(found) - SUSPECTS) > 0:
        named.append(f"and {count(rest)} more")
    return ["; ".join(parts), *([f"Suspects: {'; '.join(named)}"] if named else [])]


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str | Cell]],
    /,
    *,
    title: str = "",
    lead: str = "",
    nothing: str = "",
    folded: bool = False,
) -> Table:
    """A table of words and cells; ``nothing`` is its lead if it has no rows.

    A mark before a name in the head, of ``_KINDS``, tells what the words of its column are.
    """
    kinds = [_KINDS.get(name[0], "text") for name in head]
    cells = [
        tuple(each if isinstance(each, Cell) else Cell(each, (), kind) for each, kind in zip(row, kinds, strict=True))
        for row in rows
    ]
    return Table(tuple(name.lstrip("".join(_KINDS)) for name in head), cells, title, lead if cells else nothing, folded)


def listed(found: Sequence[Part], /, *, title: str = "", lead: str = "", folded: bool = False) -> Table:
    """A table of records, with the columns that the schema names; of those with the mark ``%`` the numbers are shares."""
    known = type(found[0]).model_fields if found else {}
    columns = [(name, each) for name, of in known.items() for each in of.metadata if isinstance(each, Column)]
    heads = {name: each.head for name, each in sorted(columns, key=lambda column: not column[1].is_first)}
    rows = ([_worded(getattr(one, name), head) for name, head in heads.items()] for one in found)
    return table([*heads.values()], rows, title=title, lead=lead, folded=folded)


def _worded(value: object, head: str) -> str:
    if isinstance(value, RateRecord):
        return percent(value.value)
    if isinstance(value, float):
        return percent(value) if head[0] == "%" else decimal(value)
    return count(value) if value is None or type(value) is int else str(value)


def looked_for(report: Report, /) -> Table:
    """All checks, with their results and usual values."""
    return table(("Looked for", "Found", "Usual, or allowed"), verdicts.checks(report))


def _examples(images: PageImages) -> Section:
    blocks: list[Block] = []
    if images.found_triggers:
        blocks.append(Gallery("The found trigger by itself, enlarged", "mask", images.found_triggers))
    if images.grids:
        blocks.append(Examples(images.grids))
    return Section("examples", "Example images", (), blocks)


def _map(report: Report) -> Section:
    """Each method with its maps: of the model before and after cleaning side by side, or as it is."""
    sides = [("before", measures.measured(report, "before"))]
    sides += [("after" if measures.has_before(report) else "", measures.measured(report, "after"))]
    methods = [
        [(side, drawn) for side, of in sides if of and (drawn := charts.embedding_map(getattr(of, method)))]
        for method in ("tsne", "projection")
    ]
    lead = (
        "Each mark is an image as the model sees it; near marks look alike to it. A line leads from each image to its copy with "
        "the trigger. Where a backdoor acts, the copies leave their places and gather in one."
    )
    return Section("map", "Map of the embeddings", (lead,), [Maps(drawn) for drawn in methods if drawn])


def _measures(report: Report) -> Section:
    known = [(each.label, each.definition, each.better) for each in measures.MEASURES.values()]
    terms = [
        (label, definition, f"{better.capitalize()} is better." if better else "")
        for label, definition, better in (*known, *(measures.SEARCH_TERMS if search.shown_searches(report) else ()))
    ]
    return Section("measures", "What the measures mean", (), [Prose("definitions", "", terms)])


def _suspects(report: Report) -> Section:
    shown = () if measures.has_before(report) else report.suspects
    rows = (
        (each.class_, decimal(each.score), search.families(each) or NOTHING, trigger_words(each.trigger or NOTHING))
        for each in shown
    )
    lead = "The classes that the found triggers turn other images into. A class in this list is a lead, not a proof."
    made = table(("@Class", "#Score", "By", "`Trigger"), rows)
    return Section("suspects", "Suspects, most suspicious first", (lead,), [made])


def _auto(report: Report) -> Section:
    """The candidates of ``auto``, the test backdoors, and what happens to the weights afterwards."""
    made = report.auto
    share = report.cleaning.share if report.cleaning else 1.0  # of the way, that was taken
    if made is None:
        return Section("auto", "", (), [])
    planted = table(
        ("`Trigger", "@Target", "#Planted", "#Left", "#Accuracy under it"),
        cleaning.canary_rows(made, share),
        title="Test backdoors, planted in a copy of this model",
        lead="Attack success beyond chance, before and after the chosen candidate.",
    )
    costs = ("#Test backdoors removed", "#Left of the worst", "#Costs", "#On the model: left, costs", "#Time")
    patterns = f"Known triggers and variants that acted on the original, and that were put on images: {made.patterns}."
    candidates = table(
        ("Candidate", "Outcome", *costs),
        cleaning.candidate_rows(made, share),
        title="The candidates, in the order of trying",
        lead=f"{patterns} Clean models have natural ones, too." if made.patterns else "",
    )
    finetuned = listed(
        made.rebound.probes if made.rebound else (),
        title="After a benign finetuning",
        lead="Attack success beyond chance, before and after a benign finetuning of a copy.",
    )
    drawn = cleaning.frontier(made, share)
    return Section("auto", "What was tried", cleaning.candidate_lines(made), [*drawn, planted, candidates, finetuned])


def _search(report: Report) -> Section:
    lead = (
        "The search knows neither trigger nor class. It looks for the smallest change that makes images of all kinds look alike "
        "to the model, and shows which class they get. With a backdoor this change is far smaller than in clean models."
    )
    tables = [each for side, made in search.shown_searches(report) for each in _searched(side, made)]
    not_shown = [Prose("bullets", "What the search does not show", [search.NOT_SHOWN])] if tables else []
    return Section("search", "Search for unknown triggers", (lead,), [*tables, *not_shown])


def _searched(side: str, made: SearchRecord) -> list[Table]:
    title, found, told = f"{side.capitalize()} cleaning" if side else "", made.found or (), search.effort(made)
    rows = [_found(*each) for each in zip(found, charts.sizes(found), strict=True)]
    controls = ((each.class_, search.family(each.family), percent(each.size)) for each in made.controls)
    return [
        table(_FOUND, rows[:FIRST], title=title, lead=told, nothing=f"{told} Nothing was found."),
        table(_FOUND, rows[FIRST:], title=f"The other {count(len(rows) - FIRST)}", folded=True),
        listed(found, title="Embeddings under the found triggers", folded=True),
        table(("@Class", "Family", "#Size"), controls, title="Classes that were searched for comparison", folded=True),
    ]


_FOUND = ("@Leads to", "Drawn", "Trigger", "#Size", "#Success", "#Collapse", "How unusual")


def _found(found: FoundRecord, drawn: charts.Size) -> tuple[str | Cell, ...]:
    """A found trigger, beside what clean models need."""
    needed = (f"clean models need {search.needed(found)}",) if found.reference else ()
    words = f"Size {'; '.join((percent(found.size), *needed))}, on a scale to {drawn.top}"
    without = f"without it {percent(found.base_rate.value)}"
    return (
        found.class_,
        Cell(words, (), "chart", drawn),
        Cell(f"{found.family_words}, {found.size_words}", (f"saved as {found.file}",) if found.file else ()),
        Cell(percent(found.size), needed, "number"),
        Cell(percent(found.asr.value), (*_sure(found.asr), without), "number"),
        Cell(decimal(found.collapse), (f"without it {decimal(found.clean_collapse)}",), "number"),
        "; ".join(search.signs(found)) or NOTHING,
    )


def _base(report: Report) -> Section:
    """What the finetune moved, and the triggers that act on the model and not on its base."""
    if (base := report.base) is None:
        return Section("base", "", (), [])
    sides = [("", base.differences)] if base.left is None else [("Before: ", base.differences), ("After: ", base.left)]
    head = ("`Trigger", "@Leads to", "#On the model", "#On the base", "#Difference")
    blocks: list[Block] = [
        table(
            head,
            map(_both, found[:FIRST]),
            title=f"{side}Triggers on the model and on its base",
            nothing="None acts on one alone.",
        )
        for side, found in sides
        if base.is_base
    ]
    blocks.append(
        listed(
            base.moved[:FIRST], title="Classes that moved most", lead="Squared distances of unit embeddings, 0 to 4."
        )
    )
    layers = sorted(base.layers, key=lambda each: -(each.change or 0.0))
    lead = "The change of the weights relative to the base, and the share of it that lies in few directions."
    blocks.append(listed(layers, title="Layers, those that moved most first", lead=lead, folded=len(layers) > FIRST))
    return Section("base", "Beside the model that it was finetuned from", [base_line(report)], blocks)


def _both(each: DifferenceOfTwoRecord) -> tuple[str | Cell, ...]:
    change = Cell(
        percent((each.own.value or 0.0) - (each.base.value or 0.0)), (percent_interval(each.interval),), "number"
    )
    return trigger_words(each.trigger), each.target, percent(each.own.value), percent(each.base.value), change


def base_line(report: Report, /) -> str:
    """Whether the base is one, and how far the finetune moved the weights; empty where none was named."""
    if (base := report.base) is None:
        return ""
    kin = f"cosine of weights {decimal(base.weights)}, of embeddings of clean images {decimal(base.images)}"
    if not base.is_base:
        return f"Base: {base.name} is not the one that this model was finetuned from ({kin}); taken as a reference."
    moved = f"; most moved: {', '.join(each.class_ for each in base.moved[:SUSPECTS])}" if base.moved else ""
    few = f", {percent(base.leading)} of that in five directions of each matrix" if base.leading is not None else ""
    return f"Base: {base.name} ({kin}). The finetune changed the weights by {percent(base.change)}{few}{moved}."


def _power(report: Report) -> Section:
    """How many of the backdoors planted in copies the audit found."""
    if (power := report.measurements.power) is None:
        return Section("power", "", (), [])
    lead = (
        f"Backdoors were planted in copies of this model, one in each, and the same audit finds {_of(power.found)}; "
        f"{_of(power.failed)} would fail."
    )
    said = {"error": "found", None: "missed"}
    rows = []
    for each in power.planted:
        audit = said.get(each.level, "suspected") if each.took else "not planted"
        rows.append((each.trigger, each.class_, percent(each.excess_asr), audit))
    made = table(("`Planted trigger", "@Class", "#Excess success", "The audit"), rows)
    return Section("power", "Power of this audit", (lead,), [made])


def _of(rate: RateRecord) -> str:
    return f"{round((rate.value or 0) * rate.n)} of {rate.n} ({percent_interval(rate.interval)})"


def _numbers(report: Report) -> Section:
    """Clean images, then each attack in full."""
    two, limits = measures.has_before(report), verdicts.limits_of(report)
    head = ("Measure", "Drawn", *(("#Before", "#After", "#Change") if two else ("#Measured",)))
    clean = [measures.accuracy(report), *(measures.on_clean(report, key) for key in ("recall", "agreement"))]
    clean = [row for row in clean if row.before or row.after]
    title, known = "Images without a trigger", bool(measures.named(report))
    rate = report.measurements.clean_accuracy
    told = ((rate and rate.definition) or clean[0].measure.label) if clean else ""
    rows = (_measured(row, two, limits) for row in clean)
    lead = f"{told[:1].upper()}{told[1:]}."
    tables = [table(head, rows, title=title, lead=lead, nothing="Clean accuracy was not measured.")]
    kind = "Trigger" if known else "The strongest trigger of the panel:"
    for attack in measures.detailed(report):
        rows = (_measured(row, two, limits, known=known) for row in measures.rows(attack, *ROWS))
        tables.append(
            table(head, rows, title=f"{kind} {attack.family} → {attack.target}", lead=trigger_words(attack.trigger))
        )
    lead = f"{INTERVALS} Thin lines in the bars are these intervals."
    return Section("numbers", "Before and after" if two else "Measurements", (lead,), tables)


def _measured(row: MeasureRow, two: bool, limits: Mapping[str, float], *, known: bool = True) -> tuple[Cell, ...]:
    limit = measures.limit_of(row, limits, known=known)
    sides = [("before", row.before), ("after" if row.before else "measured", row.after)]
    words = ", ".join(f"{measures.value(row, figure)} {side}" for side, figure in sides if figure)
    told = (f"limit {percent(limit)}",) if limit is not None else ()
    drawn = Cell(f"{row.measure.label}: {words}", told, "chart", charts.bars(row, limit))
    values = [
        Cell(measures.value(row, figure), _sure(figure) if figure else (), "number")
        for figure in ((row.before, row.after) if two else (row.after,))
    ]
    better = (f"{row.measure.better} is better",) if row.measure.better else ()
    changed = [Cell(measures.change(row), better, "number")] if two else []
    return Cell(row.measure.label, (row.measure.words,)), drawn, *values, *changed


def _sure(rate: RateRecord | measures.Figure) -> tuple[str, ...]:
    """The interval and the number of images, where there are some."""
    interval = (percent_interval(rate.interval),) if rate.interval else ()
    return (*interval, f"n = {count(rate.n)}") if rate.n is not None else interval


def _panel(report: Report) -> Section:
    attacks, two = measures.panel(report), measures.has_before(report)
    compared = ("@Before, leads to", "#Excess before", "@After, leads to", "#Excess after")
    head = compared if two else ("@Leads to", "#Excess")
    lead = (
        "Published attacks, tried without knowing the target: each row names the class that the trigger leads to most often, and "
        "the share of images that it moves there beyond chance."
    )
    counted = (
        f"{plural(len(attacks), 'built-in trigger')}, strongest first{', by the larger of the two' if two else ''}"
    )
    rows = (
        (trigger_words(attack.trigger), *(_led(attack.before) if two else ()), *_led(attack.after))
        for attack in attacks
    )
    made = table(("`Trigger", *head), rows, lead=counted)
    return Section("panel", "The panel of known triggers", (lead,), [made])


def _led(probe: ProbeRecord | None) -> tuple[str, str]:
    return (probe.target, percent(probe.excess_asr.value)) if probe else (NOTHING, NOTHING)


def _training(report: Report) -> Section:
    training = report.training
    if not training:
        return Section("training", "", (), [])
    losses = charts.thinned(training.losses, most=SAMPLED_STEPS)
    logged = charts.curves(losses)
    rows = [(count(e.step), *(decimal(e.parts().get(key)) for key in logged), f"{e.lr:.2g}") for e in losses]
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
    caption = "A curve that still falls steeply at the end may gain from more steps."
    caption = " ".join(filter(None, ("Losses by step.", _loss_sum(report), caption)))
    blocks: list[Block] = [
        *charts.curve(training.losses, caption),
        table(("What", "#Value"), (fact for fact in facts if fact[1] != NOTHING)),
        _rounds(report),
        table(
            ("Step", *(f"#{name}" for name in logged.values()), "#Learning rate"),
            rows,
            title=f"The losses of {len(losses)} of {count(len(training.losses))} logged steps",
            folded=True,
        ),
    ]
    return Section("training", "Training", (), blocks)


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


def _rounds(report: Report) -> Table:
    """The result of each search of an unlearning."""
    unlearning = report.training.unlearning if report.training else None
    rows = []
    for number, made in enumerate(unlearning.rounds if unlearning else ()):
        when = f"after {plural(number, 'round')}" if number else "before"
        found = [(each.class_, f"{each.family}, {each.size_words}", percent(each.excess_asr)) for each in made.found]
        rows += [(when, *each) for each in found or [("nothing", NOTHING, NOTHING)]]
    lead = "Triggers that act, smaller than those of other classes. Unlearning ends when there is none."
    return table(("Search", "@Class", "Trigger", "#Beyond chance"), rows, title="What each search found", lead=lead)


def _provenance(report: Report) -> Section:
    lead = (
        "What went in, what was done to it, what came out. With the same inputs, recipe, settings, seed and versions, the run can be "
        "repeated."
    )
    skipped = report.data.skipped if report.data else 0
    samples = () if isinstance(skipped, int) else skipped[:SKIPPED]
    notes = ((str(number), note) for number, note in enumerate(report.notes, 1))
    blocks = [
        table(("Of", "What", "Which"), ((of, what, told) for of, what, told in _facts(report) if told.text)),
        listed(samples, title="Skipped samples", folded=True),
        table(("Note", "Words"), notes, title="Notes on reading the model", folded=True),
    ]
    held = [
        Prose("values", f"Every value of the {name}", [(json.dumps(of.resolved, indent=2, ensure_ascii=False),)])
        for name, of in (("recipe", report.recipe), ("policy", report.policy))
        if of and of.resolved
    ]
    return Section("provenance", "Provenance", (lead,), [*blocks, *held])


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
    if data:
        of = "Images measured on" if report.is_audit else "Clean data"
        yield of, "Name", Cell(data.name or data.path or "", kind="code")
        yield of, "Format", Cell(data.format)
        yield of, "Images" if report.is_audit else "Pairs", Cell(count(data.pairs))
        yield of, "Skipped", Cell(count(data.skipped if isinstance(data.skipped, int) else len(data.skipped)))
        yield of, "Digest", Cell(data.digest, kind="code")
    for export in report.exports or ():
        of = f"Written: {export.format}"
        yield of, "File", Cell(export.path, kind="code")
        yield of, "SHA-256 of the file", Cell(export.sha256, kind="code")
        yield of, "SHA-256 of its tensors", Cell(export.tensor_sha256, kind="code")
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
