"""The report as text for a terminal: the verdict, suspects, numbers, what to do."""

import itertools
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from clipclean.report import comparison, ladder, search, verdicts
from clipclean.report.comparison import Figure, Row
from clipclean.report.figures import NOTHING, count, decimal, difference, percent, percent_interval, points
from clipclean.report.inert import harmless
from clipclean.report.schema import Report

PLAIN_WIDTH = 100  # columns, where no terminal says otherwise
ROWS = ("asr", "base_rate", "accuracy_under_trigger", "knn_asr", "distance")
SHOWN = 8  # rows of a list or table; report.json has them all
_NUMBERS = 17  # columns of a number's column: "100.0 to 100.0 %" and a gap
_MARKS = {"pass": "✓", "fail": "✗", "inconclusive": "?"}
_STYLES = {"pass": "1;32", "fail": "1;31", "inconclusive": "1;33", "error": "31", "warning": "33", "note": "36"}
_STYLES |= {"heading": "1", "quiet": "2"}


def text(report: Report, /, *, width: int, colour: bool) -> str:
    """What ``clipclean audit`` and ``clipclean sanitize`` print: verdict first and last.

    Args:
        report: a valid report.
        width: columns, at least 60.
        colour: whether to use ANSI colours; nothing is told by colour alone.
    """
    report = harmless(report)
    page = _Page(max(width, 60), colour)
    verdict = page.wrapped(verdicts.headline(report), first=_verdict_word(report, page))
    blocks = [
        verdict,
        _subject(report, page),
        _suspects(report, page),
        _auto(report, page),
        *(_search(made, page) for made in search.searches(report)),
        _numbers(report, page),
        _panel(report, page),
        _findings(report, page),
        _suppressed(report, page),
        page.listed("Not shown by this", verdicts.limits(report)),
        page.listed("Next", verdicts.next_steps(report)),
        verdict,
    ]
    return "\n\n".join("\n".join(lines) for lines in blocks if lines)


def plain_text(report: Report, /) -> str:
    """:func:`text` for a file: without colours, in ``PLAIN_WIDTH`` columns."""
    return text(report, width=PLAIN_WIDTH, colour=False) + "\n"


@dataclass(frozen=True)
class _Page:
    """Where the text goes: so many columns, with or without colour."""

    width: int
    colour: bool

    def paint(self, words: str, style: str) -> str:
        return f"\x1b[{_STYLES[style]}m{words}\x1b[0m" if self.colour and words else words

    def heading(self, words: str) -> str:
        return self.paint(words, "heading")

    def wrapped(self, words: str, *, first: str, indent: int = 2) -> list[str]:
        """Words after ``first`` (which may be painted), wrapped; the lines below it indented."""
        start = cell_len(_unpainted(first)) + 2
        lines = textwrap.wrap(
            words, self.width, initial_indent=" " * start, subsequent_indent=" " * indent, break_on_hyphens=False
        )
        return [f"{first}  {lines[0][start:]}", *lines[1:]] if lines else [first]

    def listed(self, heading: str, entries: Sequence[str]) -> list[str]:
        """A heading over a list."""
        items = itertools.chain.from_iterable(self.wrapped(entry, first="  -", indent=5) for entry in entries)
        return [self.heading(heading), *items] if entries else []


def _verdict_word(report: Report, page: _Page) -> str:
    word = report.verdict
    return page.paint(f"{_MARKS[word]} {verdicts.WORDS[word].upper()}", word)


def _subject(report: Report, page: _Page) -> list[str]:
    """What was looked at, and what was done to it."""
    model = report.model
    facts = [("model", f"{model.name}, {model.architecture}, sha256 {model.sha256[:16]}…")]
    if recipe := report.recipe:
        standing = "validated" if recipe.validated else "not validated"
        facts.append(("recipe", f"{recipe.name}, revision {recipe.revision}, {standing}"))
    if data := report.data:
        skipped = data.skipped if isinstance(data.skipped, int) else len(data.skipped)
        what = "pictures" if report.is_audit else "clean pairs"
        facts.append(("data", f"{count(data.pairs)} {what}, {count(skipped)} skipped"))
    if policy := report.policy:
        facts.append(("policy", f"{policy.name}, sha256 {policy.sha256[:16]}…"))
    return [line for label, words in facts for line in page.wrapped(words, first=f"{label:<6}", indent=8)]


def _suspects(report: Report, page: _Page) -> list[str]:
    """The classes that the audited model seems to be turned towards."""
    found = report.suspects
    if not found or comparison.has_before(report):
        return []
    lines = [page.heading("Suspects, most suspicious first")]
    for number, suspect in enumerate(found[:SHOWN], start=1):
        by = f", by {families}" if (families := search.families(suspect)) else ""
        lines += page.wrapped(f"{suspect.class_}, score {decimal(suspect.score)}{by}", first=f"  {number}.", indent=6)
    return lines + _rest(len(found), page)


def _auto(report: Report, page: _Page) -> list[str]:
    """A table of the ladder, where the run chose for itself."""
    if not ladder.ran(report):
        return []
    lines = [page.heading("What was tried")]
    for sentence in ladder.told(report):
        lines += page.wrapped(sentence, first="")
    lines += ["", page.heading(_line("  rung", ["canaries removed", "costs"], page))]
    for row in ladder.rows(report):
        lines.append(_line(f"  {row.rung}{' (chosen)' if row.chosen else ''}", [row.canaries, row.cost], page))
        lines += _quiet(f"{row.outcome}; {row.seconds}", [f"{row.left} left", ""], page)
    return lines


def _search(made: search.Search, page: _Page) -> list[str]:
    """A table of what was found; under each size, what clean models need, and how unusual it is."""
    title = f"Search for unknown triggers{f', {made.when} cleaning' if made.when else ''}"
    lines = [page.heading(title), *page.wrapped(made.told, first="")]
    if not made.found:
        return [*lines, "  Nothing was found."]
    lines += ["", page.heading(_line("  leads to", ["size", "success"], page))]
    lines.append(page.paint(_line("", ["clean models need", "95 % interval"], page), "quiet"))
    for found in made.found[:SHOWN]:
        sizes = [percent(found.size), percent(found.asr.value)]
        lines.append(_line(f"  {found.class_}", sizes, page))
        words = "; ".join([f"{found.family_words}, {found.size_words}", *search.signs(found)])
        lines += _quiet(words, [search.needed(found), percent_interval(found.asr.interval)], page)
    return lines + _rest(len(made.found), page)


def _quiet(words: str, cells: Sequence[str], page: _Page) -> list[str]:
    """Words in the first column, over as many lines as they need; the cells beside the first of them."""
    room = page.width - _NUMBERS * len(cells)
    told = textwrap.wrap(words, room - 6) or [""]
    empty = [""] * len(cells)
    return [
        page.paint(_line(f"    {line}", empty if number else cells, page), "quiet") for number, line in enumerate(told)
    ]


def _rest(total: int, page: _Page) -> list[str]:
    return [page.paint(f"  and {count(total - SHOWN)} more, in report.json", "quiet")] if total > SHOWN else []


def _numbers(report: Report, page: _Page) -> list[str]:
    """Clean accuracy, then each attack in full."""
    two = comparison.has_before(report)
    sides = ["before", "after", "change"] if two else ["measured"]
    lines = [page.heading(_line("", sides, page)), *_row(comparison.accuracy(report), page, two=two)]
    known = bool(comparison.named(report))
    for attack in comparison.detailed(report):
        kind = "Trigger" if known else "Strongest trigger of the panel"
        title = page.wrapped(f"{attack.trigger} → {attack.target}", first=kind)
        lines += ["", *(page.heading(line) for line in title)]
        for row in comparison.rows(attack, *ROWS):
            lines += _row(row, page, two=two)
    return lines


def _row(row: Row, page: _Page, *, two: bool) -> list[str]:
    """A line of numbers; under it, quietly, what they mean and how sure they are."""
    figures = [row.before, row.after] if two else [row.after]
    values = [_value(row, figure) for figure in figures]
    sure = [_interval(figure) for figure in figures]
    if two:
        values.append(_change(row))
        sure.append(f"{row.measure.better} is better" if row.measure.better else "")
    return [_line(f"  {row.measure.label}", values, page), *_quiet(row.measure.words, sure, page)]


def _line(label: str, cells: Iterable[str], page: _Page) -> str:
    cells = list(cells)
    room = page.width - _NUMBERS * len(cells)
    return (set_cell_size(label, room) + "".join(f"{cell:>{_NUMBERS}}" for cell in cells)).rstrip()


def _value(row: Row, figure: Figure | None) -> str:
    if not figure:
        return NOTHING
    return percent(figure.value) if row.measure.is_share else decimal(figure.value)


def _interval(figure: Figure | None) -> str:
    return percent_interval(figure.interval) if figure and figure.interval else ""


def _change(row: Row) -> str:
    if not row.before or not row.after:
        return NOTHING
    return (points if row.measure.is_share else difference)(row.before.value, row.after.value)


def _panel(report: Report, page: _Page) -> list[str]:
    """The triggers that nobody named: a table in an audit, one sentence where there are two sides."""
    attacks = comparison.panel(report)
    if not attacks:
        return []
    if not comparison.has_before(report):
        return _panel_table(attacks, page)
    shown = [_strongest(attacks, side) for side in ("before", "after")]
    told = [f"{when}, {words}" for when, words in zip(("before", "after"), shown, strict=True) if words]
    summary = f"Of {count(len(attacks))} built-in triggers the strongest: {'; '.join(told)}."
    return [page.heading("Panel of known triggers"), *page.wrapped(summary, first="", indent=2)]


def _panel_table(attacks: Sequence[comparison.Attack], page: _Page) -> list[str]:
    lines = [page.heading(_line("Panel of known triggers", ["beyond chance"], page))]
    probes = [attack.after for attack in attacks if attack.after]
    for probe in probes[:SHOWN]:
        excess = probe.excess_asr
        lines.append(_line(f"  → {probe.target}", [percent(excess.value)], page))
        lines += _quiet(probe.trigger, [percent_interval(excess.interval)], page)
    return lines + _rest(len(probes), page)


def _strongest(attacks: Sequence[comparison.Attack], side: str) -> str:
    probes = [attack.before if side == "before" else attack.after for attack in attacks]
    best = max((probe for probe in probes if probe), key=comparison.excess_of, default=None)
    if best is None:
        return ""
    return f"{best.trigger} → {best.target}, {percent(best.excess_asr.value)} beyond chance"


def _findings(report: Report, page: _Page) -> list[str]:
    found = verdicts.by_severity(report.findings)
    if not found:
        return []
    lines = [page.heading("Findings")]
    for finding in found:
        first = page.paint(f"  {finding.rule} {finding.level}", finding.level)
        lines += page.wrapped(finding.message, first=first, indent=4)
    return lines


def _suppressed(report: Report, page: _Page) -> list[str]:
    """What the policy set aside, with its reasons."""
    entries = [f"{finding.rule} {finding.message} {verdicts.set_aside(finding)}" for finding in report.suppressed]
    return page.listed("Set aside by policy", entries)


def _unpainted(words: str) -> str:
    """Without the ANSI codes that :meth:`_Page.paint` put there."""
    _, painted, rest = words.partition("m") if words.startswith("\x1b[") else ("", "", words)
    return rest.removesuffix("\x1b[0m") if painted else words
