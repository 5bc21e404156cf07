"""The report in a terminal: at most fifteen lines, then where all of it is. Also one line, for logs."""

import textwrap
from collections.abc import Sequence

from clipclean.report import cleaning, measures, search, verdicts
from clipclean.report.commands import NOWHERE, RunPaths, commands
from clipclean.report.wording import count, cut, decimal, inert, percent
from clipclean.schema.report import Report
from clipclean.untrusted import plural

PLAIN_WIDTH = 100  # columns, where no terminal says otherwise
LINES = 14  # one more tells what a policy did
_SUSPECTS = 3
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
    head = [
        *([cut(aside, width)] if aside else []),
        _painted(word, report.verdict, colour) + first.removeprefix(word),
        *more,
        *(cut(line, width) for line in (_about(report), *_suspects(report), *_evidence(report))),
    ]
    suggested = commands(report, place)[:1] if place.model else []  # without the run's own words it would not run
    last = [*(f"Next: {words}" for _, words in suggested), *closing]
    room = LINES - len(head) - len(last)
    return "\n".join([*head, *_findings(report, width, room, colour), *last])


def plain_text(report: Report, /) -> str:
    """:func:`text` for a file: without colours, in ``PLAIN_WIDTH`` columns."""
    return text(report, width=PLAIN_WIDTH, colour=False) + "\n"


def line(report: Report, /, *, page: str = "") -> str:
    """One line for logs: the verdict, what it rests on most, and where the page is."""
    report = inert(report)
    found, attack = search.strongest(report), next(iter(measures.named(report)), None)
    reason = verdicts.headline(report).rstrip(".")
    if report.is_audit and report.suspects and found:
        reason = (
            f"class {found.class_}, {found.family} of {percent(found.size)} reaches it in {percent(found.asr.value)}"
        )
    elif attack and attack.after:
        reason = f"class {attack.after.target}, {attack.family} reaches it in {percent(attack.after.asr.value)}"
    return ": ".join([f"clipclean: {report.verdict} {report.model.name}", reason, *([page] if page else [])]) + "\n"


def _about(report: Report) -> str:
    """The model, and the steps of the run."""
    parts = [f"{report.model.name}, {report.model.architecture}"]
    if recipe := report.recipe:
        parts.append(f"recipe {recipe.name}{'' if recipe.validated else ' (not validated)'}")
    if data := report.data:
        parts.append(f"{count(data.pairs)} {'images' if report.is_audit else 'clean pairs'}")
    return "; ".join(parts)


def _suspects(report: Report) -> list[str]:
    """The classes that the audited model seems to be turned towards."""
    found = () if measures.has_before(report) else report.suspects
    if not found:
        return []
    named = [
        f"{each.class_} (score {decimal(each.score)}{f', {by}' if (by := search.families(each)) else ''})"
        for each in found[:_SUSPECTS]
    ]
    rest = len(found) - _SUSPECTS
    return [f"Suspects: {'; '.join(named)}{f'; and {count(rest)} more' if rest > 0 else ''}"]


def _evidence(report: Report) -> list[str]:
    """What was tried, and what was looked for."""
    rows = [f"{what}: {found}{f' ({usual})' if usual else ''}" for what, found, usual in verdicts.looked_for(report)]
    return [
        f"- {row}"
        for row in [
            *(cleaning.candidate_lines(report.auto)[:1] if report.auto else ()),
            *cleaning.way_lines(report.cleaning),
            *rows[-4:],
        ]
    ]


def _findings(report: Report, width: int, room: int, colour: bool) -> list[str]:
    """The worst findings, each on one line, in so many lines."""
    found = verdicts.by_severity(report.findings)
    shown = found if len(found) <= room else found[: room - 1]
    lines = []
    for each in shown:
        start = f"{each.rule} {each.level}"
        lines.append(_painted(start, each.level, colour) + cut(f"{start} {each.message}", width).removeprefix(start))
    rest = len(found) - len(shown)
    return [*lines, f"and {plural(rest, 'more finding')}"] if rest else lines


def _painted(words: str, style: str, colour: bool) -> str:
    return f"\x1b[{_COLOURS[style]}m{words}\x1b[0m" if colour else words
