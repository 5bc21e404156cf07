"""The report as GitHub-flavoured Markdown, short enough for a pull request and a step summary."""

import re
from collections.abc import Iterable

from clipclean.report import auto, measures, search, sections, verdicts
from clipclean.report.measures import INTERVALS, Figure, MeasureRow
from clipclean.report.wording import NOTHING, count, decimal, difference, harmless, percent, percent_interval, points
from clipclean.schema.report import Report

ROWS = ("asr", "base_rate", "excess_asr", "accuracy_under_trigger", "knn_asr", "distance", "spread")
MAX_BYTES = 1_000_000  # GitHub drops a step summary of more than 1 MiB, and other steps write there too
MAX_ROWS = 100  # of one list or table
_MARKS = {"pass": "✅", "fail": "❌", "inconclusive": "⚠️"}
_SPECIAL = re.compile(r"[\\`*_\[\]<>#|~&$]")


def markdown(report: Report, /) -> str:
    """Verdict, findings, tables, provenance. Names from the report cannot become markup, links or mentions."""
    report = harmless(report)
    word = report.verdict
    blocks = [
        _set_aside(report),
        [f"## {_MARKS[word]} clipclean: {verdicts.WORDS[word].lower()}"],
        [escaped(" ".join([verdicts.headline(report), *verdicts.story(report)]))],
        _suspects(report),
        _findings(report),
        *(_auto(report) if report.auto else ()),
        *(_search(made) for made in search.searches(report)),
        *(_section(table) for table in sections.tables(report)),
        _accuracy(report),
        *(_attack(attack, report) for attack in measures.detailed(report)),
        _panel(report),
        ["### Next", "", *(f"- {escaped(step)}" for step in verdicts.next_steps(report))],
        ["### Not shown by this report", "", *(f"- {escaped(limit)}" for limit in verdicts.limits(report))],
        _provenance(report),
        [escaped(INTERVALS)],
    ]
    return _cut("\n\n".join("\n".join(lines) for lines in blocks if lines) + "\n")


def escaped(text: str, /) -> str:
    """Text that Markdown shows as it is: no markup, no HTML, no link, and nobody is mentioned."""
    plain = _SPECIAL.sub(lambda found: f"\\{found[0]}", text)
    return plain.replace("://", ":\\//").replace("www.", "www\\.").replace("@", "@\u2060")


def code(text: str, /) -> str:
    """A name, set as code. Backticks would not do: a name may hold some, and a table cell ends at a bar."""
    return f"<code>{escaped(text)}</code>"


def _findings(report: Report) -> list[str]:
    found = verdicts.by_severity(report.findings)
    if not found:
        return []
    lines = [
        f"- **{finding.level} {finding.rule}** {escaped(verdicts.explained(finding).title)}: {escaped(finding.message)}"
        for finding in found
    ]
    return ["### Findings", "", *_first(lines)]


def _suspects(report: Report) -> list[str]:
    """The classes that the model seems to be turned towards, in an audit."""
    if not report.suspects or measures.has_before(report):
        return []
    lines = []
    for number, suspect in enumerate(report.suspects, start=1):
        by = f", by {escaped(families)}" if (families := search.families(suspect)) else ""
        with_ = f", trigger {code(suspect.trigger)}" if suspect.trigger else ""
        lines.append(f"{number}. **{escaped(suspect.class_)}**, score {decimal(suspect.score)}{by}{with_}")
    return ["### Suspects, most suspicious first", "", *_first(lines)]


def _set_aside(report: Report) -> list[str]:
    """A quotation in front of everything: what the policy set aside."""
    told = verdicts.policy_told(report)
    lines = [
        f"> - {finding.rule} {escaped(finding.message)} {escaped(verdicts.set_aside(finding))}"
        for finding in report.suppressed
    ]
    return [f"> **{escaped(told)}**", *([">"] if lines else []), *_first(lines)] if told else []


def _auto(report: Report) -> list[list[str]]:
    """The candidates of ``auto``, and the test backdoors."""
    head = [
        "Candidate",
        "Outcome",
        "Test backdoors removed",
        "Left of the worst",
        "Costs",
        "On the model: left, costs",
        "Time",
    ]
    candidates = [_cells(head), "|---|---|--:|--:|--:|--:|--:|"]
    for row in auto.rows(report):
        name = f"**{escaped(row.name)}** (chosen)" if row.chosen else escaped(row.name)
        cells = (row.outcome, row.canaries, row.left, row.cost, row.on_model, row.seconds)
        candidates.append(_cells([name, *(escaped(cell) for cell in cells)]))
    lines = [
        "### What was tried",
        "",
        escaped(" ".join(auto.candidate_lines(report))),
        "",
        *candidates[: MAX_ROWS + 2],
    ]
    planted = auto.canaries(report)
    if not planted:
        return [lines]
    table = [_cells(["Test backdoor", "Target", "Planted", "Left", "Accuracy under it"]), "|---|---|--:|--:|--:|"]
    table += [_cells([code(row[0]), code(row[1]), *(escaped(cell) for cell in row[2:])]) for row in planted[:MAX_ROWS]]
    return [lines, table]


def _search(made: search.Search) -> list[str]:
    """The triggers that the search found, most abnormal first."""
    title = f"### Search for unknown triggers{f', {made.when} cleaning' if made.when else ''}"
    if not made.found:
        return [title, "", escaped(made.told), "", "Nothing was found."]
    lines = [
        _cells(["Leads to", "Found trigger", "Size", "Clean models need", "Success (without it)", "Signs"]),
        "|---|---|--:|--:|--:|---|",
    ]
    for found in made.found[:MAX_ROWS]:
        success = f"{percent(found.asr.value)} ({percent_interval(found.asr.interval)})"
        cells = (
            f"{found.family_words}, {found.size_words}",
            percent(found.size),
            search.needed(found),
            f"{success}; {percent(found.base_rate.value)}",
            "; ".join(search.signs(found)) or NOTHING,
        )
        lines.append(_cells([code(found.class_), *(escaped(cell) for cell in cells)]))
    more = len(made.found) - MAX_ROWS
    rest = ["", f"And {count(more)} more."] if more > 0 else []
    return [title, "", escaped(made.told), "", *lines, *rest]


def _section(made: sections.Table) -> list[str]:
    """A section of ``sections``: its title, its sentence, its table."""
    lines = [f"### {escaped(made.title)}", "", escaped(made.words)]
    if not made.rows:
        return lines
    rows = [_cells([code(row[0]), *(escaped(cell) for cell in row[1:])]) for row in made.rows[:MAX_ROWS]]
    return [*lines, "", _cells(made.head), "|---" * len(made.head) + "|", *rows]


def _accuracy(report: Report) -> list[str]:
    return [
        "### Images without a trigger",
        "",
        *_table(measures.without_trigger(report), two=measures.has_before(report)),
    ]


def _attack(attack: measures.ComparedAttack, report: Report) -> list[str]:
    title = f"### Trigger {code(attack.trigger)} → {code(attack.target)}"
    return [title, "", *_table(measures.rows(attack, *ROWS), two=measures.has_before(report))]


def _table(rows: Iterable[MeasureRow], *, two: bool) -> list[str]:
    head = ["Measure", "Before", "After", "Change", "n"] if two else ["Measure", "Measured", "n"]
    lines = [_cells(head), "|" + "---|" + "--:|" * (len(head) - 1)]
    for row in rows:
        shown = [row.before, row.after] if two else [row.after]
        change = [_change(row)] if two else []
        size = next((count(figure.n) for figure in reversed(shown) if figure and figure.n is not None), NOTHING)
        lines.append(_cells([row.measure.label, *(_figure(row, figure) for figure in shown), *change, size]))
    return lines


def _panel(report: Report) -> list[str]:
    """All built-in triggers, folded away."""
    attacks = measures.panel(report)
    if not attacks:
        return []
    two = measures.has_before(report)
    sides = ["Before", "After"] if two else ["Measured"]
    lines = [
        _cells(["Trigger", *(f"{side}: leads to, beyond chance" for side in sides)]),
        "|---|" + "---|" * len(sides),
    ]
    for attack in attacks[:MAX_ROWS]:
        probes = [attack.before, attack.after] if two else [attack.after]
        shown = (f"{code(p.target)} {percent(p.excess_asr.value)}" if p else NOTHING for p in probes)
        lines.append(_cells([code(attack.trigger), *shown]))
    summary = f"<details><summary>The panel: {count(len(attacks))} built-in triggers, strongest first</summary>"
    return [summary, "", *lines, "", "</details>"]


def _provenance(report: Report) -> list[str]:
    model = report.model
    facts = [
        ("Model", f"{code(model.name)}, {escaped(model.architecture)}, sha256 {code(model.sha256)}"),
        ("Weights alone", f"sha256 {code(model.tensor_sha256)}"),
    ]
    if recipe := report.recipe:
        standing = "validated" if recipe.validated else "not validated"
        named = f"{code(recipe.name)} revision {recipe.revision}, {standing}, sha256 {code(recipe.sha256)}"
        facts.append(("Recipe", named))
    if policy := report.policy:
        facts.append(("Policy", f"{code(policy.name)}, sha256 {code(policy.sha256)}"))
    if data := report.data:
        what, unit = ("Images", "images") if report.is_audit else ("Clean data", "pairs")
        facts.append((what, f"{count(data.pairs)} {unit}, digest {code(data.digest)}"))
    facts += [
        (f"Written ({escaped(e.format)})", f"{code(e.path)}, sha256 {code(e.sha256)}") for e in (report.exports or ())
    ]
    facts.append(("Tool", f"{escaped(report.tool.name)} {escaped(report.tool.version)}"))
    return ["### Provenance", "", "| What | Which |", "|---|---|", *(_cells(fact) for fact in facts)]


def _first(lines: list[str]) -> list[str]:
    more = len(lines) - MAX_ROWS
    return [*lines[:MAX_ROWS], f"- And {count(more)} more."] if more > 0 else lines


def _cut(text: str) -> str:
    """Whole lines that fit into ``MAX_BYTES``; a part that is folded away is closed."""
    if len(text.encode()) <= MAX_BYTES:
        return text
    kept = text.encode()[:MAX_BYTES].decode(errors="ignore").rpartition("\n")[0]
    is_open = kept.count("<details>") > kept.count("</details>")
    closed = "\n\n</details>" if is_open else ""
    return f"{kept}{closed}\n\nThe rest was left out, because it is too long. The other forms of the report have it.\n"


def _cells(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _figure(row: MeasureRow, figure: Figure | None) -> str:
    if not figure:
        return NOTHING
    value = percent(figure.value) if row.measure.is_share else decimal(figure.value)
    shown = f"{value} ({percent_interval(figure.interval)})" if figure.interval else value
    return escaped(shown)


def _change(row: MeasureRow) -> str:
    if not row.before or not row.after:
        return NOTHING
    return (points if row.measure.is_share else difference)(row.before.value, row.after.value)
