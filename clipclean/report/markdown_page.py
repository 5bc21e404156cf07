"""The report as GitHub-flavoured Markdown, short enough for a pull request and a step summary."""

import re
from collections.abc import Iterable, Sequence

from clipclean.findings import Finding, rule
from clipclean.report import document, verdicts
from clipclean.report.document import Block, Cell, Findings, Table
from clipclean.report.wording import NOTHING, count, inert
from clipclean.schema.report import Report
from clipclean.untrusted import plural

MAX_MARKDOWN_BYTES = 1_000_000  # GitHub drops a step summary of more than 1 MiB, and other steps write there too
MAX_ROWS = 100  # of one list or table
SUMMARY_RULES, SUMMARY_ITEMS = 4, 4  # of the lines that are not folded, and the findings in one of them
PAGE_SECTIONS = ("looked", "training")  # sections that the page alone shows
_VERDICT_MARKS = {"pass": "✅", "fail": "❌", "inconclusive": "⚠️"}
_MARKUP = re.compile(r"[\\`*_\[\]<>#|~&$]")


def markdown(report: Report, /) -> str:
    """A summary of at most 15 lines, and below it, folded, findings, tables and provenance.

    Names from the report cannot become markup, links or mentions.
    """
    report = inert(report)
    parts = []
    for section in document.sections(report):
        if section.key not in PAGE_SECTIONS and (lines := [line for block in section.blocks for line in _block(block)]):
            lead = [line for sentence in section.lead for line in ("", escaped(sentence))]
            parts.append([f"### {escaped(section.title)}", *lead, *lines])
    effect, steps = verdicts.policy_effect(report), verdicts.next_steps(report)
    blocks = [
        [f"> **{escaped(effect)}**"] if effect else [],
        [f"## {_VERDICT_MARKS[report.verdict]} clipclean: {report.verdict}"],
        [escaped(" ".join([verdicts.headline(report), *verdicts.story(report)]))],
        _summary(report),
        [f"**Next:** {escaped(step)}" for step in steps[:1]],
        ["<details><summary>All findings, measurements and inputs</summary>"],
        _set_aside(report),
        *parts,
        ["### Next", "", *(f"- {escaped(step)}" for step in steps)],
        ["### Not shown by this report", "", *(f"- {escaped(limit)}" for limit in verdicts.not_shown(report))],
        ["</details>"],
    ]
    return _cut("\n\n".join("\n".join(lines) for lines in blocks if lines) + "\n")


def _summary(report: Report) -> list[str]:
    """The findings in a line a rule, for a reader who opens nothing."""
    groups = verdicts.grouped(report.findings)
    lines = []
    for group in groups[:SUMMARY_RULES]:
        items = [item.rstrip(".") for item in group.items[:SUMMARY_ITEMS]]
        if (more := len(group.items) - SUMMARY_ITEMS) > 0:
            items.append(f"and {count(more)} more")
        words = f"{group.lead} {'; '.join(items)}." if items else group.lead
        lines.append(f"- **{group.level} {group.rule}** {escaped(words)}")
    more = len(groups) - SUMMARY_RULES
    return [*lines, *([f"- {plural(more, 'more rule')}, below."] if more > 0 else [])]


def escaped(text: str, /) -> str:
    """Text that Markdown shows as it is: no markup, no HTML, no link, and nobody is mentioned."""
    plain = _MARKUP.sub(lambda match: f"\\{match[0]}", text)
    return plain.replace("://", ":\\//").replace("www.", "www\\.").replace("@", "@\u2060")


def code(text: str, /) -> str:
    """A name, set as code. Backticks would not do: a name may hold some, and a table cell ends at a bar."""
    return f"<code>{escaped(text)}</code>"


def _block(block: Block) -> list[str]:
    """A block as lines; none of a drawing."""
    if isinstance(block, Findings):
        return _findings(block.findings)
    if not isinstance(block, Table):
        return []
    if not block.is_folded:
        return _table(block)
    table_lines = _table(block._replace(title=""))
    return ["", f"<details><summary>{escaped(block.title)}</summary>", *table_lines, "", "</details>"]


def _table(table: Table) -> list[str]:
    lines = ["", f"#### {escaped(table.title)}"] if table.title else []
    lines += ["", escaped(table.lead)] if table.lead else []
    if not table.rows:
        return lines
    columns = [column for column, cell in enumerate(table.rows[0]) if cell.kind != "chart"]
    alignments = ["--:" if table.rows[0][column].kind == "number" else "---" for column in columns]
    lines += ["", _row(table.head[column] for column in columns), f"|{'|'.join(alignments)}|"]
    lines += [_row(_cell(row[column]) for column in columns) for row in table.rows[:MAX_ROWS]]
    return [*lines, *_rest(table.rows)]


def _cell(cell: Cell) -> str:
    if cell.kind in ("name", "code") and cell.text not in ("", NOTHING):
        return code(cell.text)
    below = f" ({'; '.join(cell.below)})" if cell.below and cell.kind == "number" else ""
    return escaped(f"{cell.text}{below}")


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _rest(rows: Sequence[object]) -> list[str]:
    hidden = len(rows) - MAX_ROWS
    return ["", f"And {count(hidden)} more."] if hidden > 0 else []


def _findings(findings: Sequence[Finding]) -> list[str]:
    lines = [
        f"- **{finding.level} {finding.rule}** {escaped(rule(finding.rule).title)}: {escaped(finding.message)}"
        for finding in findings[:MAX_ROWS]
    ]
    return ["", *lines, *_rest(findings)] if findings else []


def _set_aside(report: Report) -> list[str]:
    """The findings that the policy set aside."""
    lines = [
        f"- {finding.rule} {escaped(finding.message)} {escaped(verdicts.acceptance(finding))}"
        for finding in report.suppressed[:MAX_ROWS]
    ]
    return ["### Set aside by the policy", "", *lines, *_rest(report.suppressed)] if lines else []


def _cut(text: str) -> str:
    """Whole lines that fit into ``MAX_MARKDOWN_BYTES``; a part that is folded away is closed."""
    if len(text.encode()) <= MAX_MARKDOWN_BYTES:
        return text
    start = text.encode()[:MAX_MARKDOWN_BYTES].decode(errors="ignore").rpartition("\n")[0]
    closed = "\n\n</details>" * (start.count("<details>") - start.count("</details>"))
    return f"{start}{closed}\n\nThe rest was left out, because it is too long. The other forms of the report have it.\n"
