"""The report in a terminal: at most fifteen lines, then where all of it is. Also one line, for logs."""

import textwrap
from collections.abc import Sequence

from clipclean.findings import Finding
from clipclean.report import document, verdicts
from clipclean.report.commands import NOWHERE, RunPaths, commands
from clipclean.report.document import Block, Findings, Prose, Table
from clipclean.report.wording import NOTHING, cut, inert
from clipclean.schema.report import Report
from clipclean.untrusted import plural

PLAIN_WIDTH = 100  # columns, where no terminal says otherwise
LINES = 14  # one more tells what a policy did
_MARKS = {"pass": "✓", "fail": "✗", "inconclusive": "?"}
_COLOURS = {"pass": "1;32", "fail": "1;31", "inconclusive": "1;33", "error": "31", "warning": "33", "note": "36"}


def text(report: Report, /, *, width: int, colour: bool, place: RunPaths = NOWHERE, closing: Sequence[str] = ()) -> str:
    """The output of ``clipclean audit`` and ``clipclean sanitize``: what a policy did, the verdict, and what it rests on.

    Args:
        report: a valid report.
        width: columns, at least 60; commands and ``closing`` may be longer, so that they can be copied.
        colour: whether to use ANSI colours; nothing is said by colour alone.
        place: what the run was given, for commands that can be copied.
        closing: the last lines, such as where the page is.
    """
    report, width = inert(report), max(width, 60)
    word = f"{_MARKS[report.verdict]} {verdicts.WORDS[report.verdict].upper()}"
    first, *more = textwrap.wrap(f"{word}  {verdicts.headline(report)}", width, max_lines=3, placeholder=" …")
    aside = verdicts.policy_told(report)
    lines = [
        *([cut(aside, width)] if aside else []),
        _painted(word, report.verdict, colour) + first.removeprefix(word),
        *more,
    ]
    suggested = commands(report, place)[:1] if place.model else []  # without the run's own words it would not run
    last = [*(f"Next: {words}" for _, words in suggested), *closing]
    for block in document.short(report):
        lines += (
            _findings(block.found, width, LINES - len(lines) - len(last), colour)
            if isinstance(block, Findings)
            else [cut(line, width) for line in _block(block)]
        )
    return "\n".join([*lines, *last])


def plain_text(report: Report, /) -> str:
    """:func:`text` for a file: without colours, in ``PLAIN_WIDTH`` columns."""
    return text(report, width=PLAIN_WIDTH, colour=False) + "\n"


def line(report: Report, /, *, page: str = "") -> str:
    """One line for logs: the verdict, what it rests on most, and where the page is."""
    report = inert(report)
    told = [f"clipclean: {report.verdict} {report.model.name}", verdicts.reason(report), *([page] if page else [])]
    return ": ".join(told) + "\n"


def _block(block: Block) -> list[str]:
    """Words as they are or as bullets; a row of a table as a bullet. None of other blocks."""
    match block:
        case Prose("lines", _, [lines]):
            return list(lines)
        case Prose("bullets", _, [lines]):
            return [f"- {line}" for line in lines]
        case Table(rows=rows):
            shown = [[cell.text for cell in row if cell.text != NOTHING] for row in rows]
            return [f"- {name}: {' '.join([value, *(f'({each})' for each in more)])}" for name, value, *more in shown]
        case _:
            return []


def _findings(found: Sequence[Finding], width: int, room: int, colour: bool) -> list[str]:
    """The worst findings, each on one line, in so many lines."""
    shown = found if len(found) <= room else found[: room - 1]
    lines = []
    for each in shown:
        start = f"{each.rule} {each.level}"
        lines.append(_painted(start, each.level, colour) + cut(f"{start} {each.message}", width).removeprefix(start))
    rest = len(found) - len(shown)
    return [*lines, f"and {plural(rest, 'more finding')}"] if rest else lines


def _painted(words: str, style: str, colour: bool) -> str:
    return f"\x1b[{_COLOURS[style]}m{words}\x1b[0m" if colour else words
