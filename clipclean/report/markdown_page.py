"""The report as GitHub-flavoured Markdown, short enough for a pull request."""

import re
from collections.abc import Iterable

from clipclean.report import comparison, verdicts
from clipclean.report.comparison import Figure, Row
from clipclean.report.figures import NOTHING, count, decimal, difference, percent, percent_interval, points
from clipclean.report.inert import inert
from clipclean.report.json_file import Report
from clipclean.report.measures import INTERVALS

ROWS = ("asr", "base_rate", "excess_asr", "accuracy_under_trigger", "knn_asr", "distance", "spread")
_MARKS = {"pass": "✅", "fail": "❌", "inconclusive": "⚠️"}
_SPECIAL = re.compile(r"[\\`*_\[\]<>#|~&$]")


def markdown(report: Report, /) -> str:
    """Verdict, findings, tables, provenance. Names from the report cannot become markup, links or mentions."""
    report = inert(report)
    word = report["verdict"]
    blocks = [
        [f"## {_MARKS[word]} clipclean: {verdicts.WORDS[word].lower()}"],
        [escaped(" ".join([verdicts.headline(report), *verdicts.story(report)]))],
        _findings(report),
        _accuracy(report),
        *(_attack(attack, report) for attack in comparison.detailed(report)),
        _panel(report),
        ["### Next", "", *(f"- {escaped(step)}" for step in verdicts.next_steps(report))],
        ["### Not shown by this report", "", *(f"- {escaped(limit)}" for limit in verdicts.limits(report))],
        _provenance(report),
        [escaped(INTERVALS)],
    ]
    return "\n\n".join("\n".join(lines) for lines in blocks if lines) + "\n"


def escaped(text: str, /) -> str:
    """Text that Markdown shows as it is: no markup, no HTML, no link, and nobody is mentioned."""
    plain = _SPECIAL.sub(lambda found: f"\\{found[0]}", text)
    return plain.replace("://", ":\\//").replace("www.", "www\\.").replace("@", "@\u2060")


def code(text: str, /) -> str:
    """A name, set as code. Backticks would not do: a name may hold some, and a table cell ends at a bar."""
    return f"<code>{escaped(text)}</code>"


def _findings(report: Report) -> list[str]:
    found = verdicts.by_severity(report["findings"])
    if not found:
        return []
    lines = [
        f"- **{finding['level']} {finding['rule']}** {escaped(verdicts.explained(finding).title)}: {escaped(finding['message'])}"
        for finding in found
    ]
    return ["### Findings", "", *lines]


def _accuracy(report: Report) -> list[str]:
    return ["### Clean accuracy", "", *_table([comparison.accuracy(report)], two=comparison.has_before(report))]


def _attack(attack: comparison.Attack, report: Report) -> list[str]:
    title = f"### Trigger {code(attack.trigger)} → {code(attack.target)}"
    return [title, "", *_table(comparison.rows(attack, *ROWS), two=comparison.has_before(report))]


def _table(rows: Iterable[Row], *, two: bool) -> list[str]:
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
    attacks = comparison.panel(report)
    if not attacks:
        return []
    two = comparison.has_before(report)
    sides = ["Before", "After"] if two else ["Measured"]
    lines = [
        _cells(["Trigger", *(f"{side}: leads to, beyond chance" for side in sides)]),
        "|---|" + "---|" * len(sides),
    ]
    for attack in attacks:
        probes = [attack.before, attack.after] if two else [attack.after]
        shown = (f"{code(p['target'])} {percent(p['excess_asr']['value'])}" if p else NOTHING for p in probes)
        lines.append(_cells([code(attack.trigger), *shown]))
    summary = f"<details><summary>The panel: {count(len(attacks))} built-in triggers</summary>"
    return [summary, "", *lines, "", "</details>"]


def _provenance(report: Report) -> list[str]:
    model = report["model"]
    facts = [
        ("Model", f"{code(model['name'])}, {escaped(model['architecture'])}, sha256 {code(model['sha256'])}"),
        ("Weights alone", f"sha256 {code(model['tensor_sha256'])}"),
    ]
    if recipe := report.get("recipe"):
        standing = "validated" if recipe["validated"] else "not validated"
        named = f"{code(recipe['name'])} revision {recipe['revision']}, {standing}, sha256 {code(recipe['sha256'])}"
        facts.append(("Recipe", named))
    if data := report.get("data"):
        facts.append(("Clean data", f"{count(data['pairs'])} pairs, digest {code(data['digest'])}"))
    facts += [
        (f"Written ({escaped(e['format'])})", f"{code(e['path'])}, sha256 {code(e['sha256'])}")
        for e in report.get("exports", ())
    ]
    facts.append(("Tool", f"{escaped(report['tool']['name'])} {escaped(report['tool']['version'])}"))
    return ["### Provenance", "", "| What | Which |", "|---|---|", *(_cells(fact) for fact in facts)]


def _cells(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _figure(row: Row, figure: Figure | None) -> str:
    if not figure:
        return NOTHING
    value = percent(figure.value) if row.measure.is_share else decimal(figure.value)
    shown = f"{value} ({percent_interval(figure.interval)})" if figure.interval else value
    return escaped(shown)


def _change(row: Row) -> str:
    if not row.before or not row.after:
        return NOTHING
    return (points if row.measure.is_share else difference)(row.before.value, row.after.value)
