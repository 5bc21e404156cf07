"""The report as text for a terminal: verdict, suspects, numbers, next steps."""

import io
import re
from collections.abc import Iterable, Sequence
from typing import Literal

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from clipclean.report import auto, measures, search, sections, verdicts
from clipclean.report.measures import Figure, MeasureRow
from clipclean.report.verdicts import NOWHERE, RunPaths
from clipclean.report.wording import NOTHING, count, decimal, difference, harmless, percent, percent_interval, points
from clipclean.schema.report import ProbeRecord, Report

PLAIN_WIDTH = 100  # columns, where no terminal says otherwise
ROWS = ("asr", "base_rate", "accuracy_under_trigger", "knn_asr", "distance")
SHOWN = 8  # rows of a list or table; report.json has them all
_NUMBERS = 17  # columns of a number's column: "100.0 to 100.0 %" and a gap
_MARKS = {"pass": "✓", "fail": "✗", "inconclusive": "?"}
_STYLES = {"pass": "bold green", "fail": "bold red", "inconclusive": "bold yellow"}
_STYLES |= {"error": "red", "warning": "yellow", "note": "cyan"}
_ANSI = r"\x1b\[[0-9;]*m"


def text(report: Report, /, *, width: int, colour: bool, place: RunPaths = NOWHERE) -> str:
    """The output of ``clipclean audit`` and ``clipclean sanitize``: suppressed findings first, then the verdict, which comes
    last again.

    Args:
        report: a valid report.
        width: columns, at least 60.
        colour: whether to use ANSI colours; nothing is said by colour alone.
        place: where things are, for commands that can be copied.
    """
    report = harmless(report)
    word = report.verdict
    verdict = Text.assemble(
        (f"{_MARKS[word]} {verdicts.WORDS[word].upper()}", _STYLES[word]), "  ", verdicts.headline(report)
    )
    blocks: list[RenderableType | None] = [
        _set_aside(report),
        verdict,
        _looked_for(report),
        _about(report),
        _suspects(report),
        _auto(report),
        *(_search(made) for made in search.searches(report)),
        *(_section(table) for table in sections.tables(report)),
        _numbers(report),
        _panel(report),
        _findings(report),
        _listed("Not shown by this", verdicts.limits(report)),
        _listed("Next", verdicts.next_steps(report)),
        _commands(report, place),
        verdict,
    ]
    return "\n\n".join(_rendered(block, max(width, 60), colour) for block in blocks if block)


def plain_text(report: Report, /) -> str:
    """:func:`text` for a file: without colours, in ``PLAIN_WIDTH`` columns."""
    return text(report, width=PLAIN_WIDTH, colour=False) + "\n"


def _rendered(block: RenderableType, width: int, colour: bool) -> str:
    """A block as lines without spaces at their ends. Words are never markup: everything is given as ``Text``."""
    out = io.StringIO()
    system: Literal["standard"] | None = "standard" if colour else None
    console = Console(
        file=out,
        width=width,
        color_system=system,
        force_terminal=colour,
        no_color=not colour,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
        _environ={},
    )
    console.print(block)
    lines = out.getvalue().rstrip("\n").split("\n")
    return "\n".join(
        re.sub(rf"(?: |{_ANSI})+$", lambda end: "".join(re.findall(_ANSI, end[0])), line) for line in lines
    )


def _heading(words: str) -> Text:
    return Text(words, style="bold")


def _under(heading: str, *below: RenderableType) -> Group:
    return Group(_heading(heading), *below)


def _hanging(rows: Iterable[tuple[str | Text, str]], *, indent: int = 2, first: int | None = None) -> Padding:
    """Rows of a mark and words that wrap beside it."""
    table = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True, width=first)
    table.add_column(overflow="fold")
    for mark, words in rows:
        table.add_row(mark if isinstance(mark, Text) else Text(mark), Text(words))
    return Padding(table, (0, 0, 0, indent))


def _columns(head: Sequence[str], *, label: str = "") -> Table:
    """A table with one wide column, and one for each number; both have words below their values."""
    table = _bare(len(head))
    table.add_row(_heading(label), *map(_heading, head))
    return table


def _add(table: Table, label: str, cells: Iterable[str], words: str = "", below: Iterable[str] = ()) -> None:
    """One entry: a label with its cells, and quietly under them what they mean."""
    table.add_row(Padding(Text(label), (0, 1, 0, 2)), *map(Text, cells))
    under = list(below)
    if words or any(under):
        table.add_row(Padding(Text(words, style="dim"), (0, 1, 0, 4)), *(Text(cell, style="dim") for cell in under))


def _rest(total: int) -> list[RenderableType]:
    return [Text(f"  and {count(total - SHOWN)} more, in report.json", style="dim")] if total > SHOWN else []


def _listed(heading: str, entries: Sequence[str]) -> RenderableType | None:
    return _under(heading, _hanging([("-", entry) for entry in entries])) if entries else None


def _commands(report: Report, place: RunPaths) -> RenderableType | None:
    """The next commands: each on a line of its own, however long, so that it can be copied."""
    found = verdicts.commands(report, place)
    if not found:
        return None
    lines: list[RenderableType] = []
    for purpose, words in found:
        lines += [Text(f"  {purpose}:"), Text(f"    {words}", style="bold", overflow="fold")]
    return Group(*lines)


def _looked_for(report: Report) -> RenderableType | None:
    """The evidence of a passing run."""
    if report.verdict != "pass":
        return None
    lines = [
        ("-", f"{what}: {found}{f' ({usual})' if usual else ''}") for what, found, usual in verdicts.looked_for(report)
    ]
    return _under("Looked for", _hanging(lines))


def _about(report: Report) -> RenderableType:
    """The model, and the steps of the run."""
    model = report.model
    facts = [("model", f"{model.name}, {model.architecture}, sha256 {model.sha256[:16]}…")]
    if recipe := report.recipe:
        standing = "validated" if recipe.validated else "not validated"
        facts.append(("recipe", f"{recipe.name}, revision {recipe.revision}, {standing}"))
    if data := report.data:
        skipped = data.skipped if isinstance(data.skipped, int) else len(data.skipped)
        what = "images" if report.is_audit else "clean pairs"
        facts.append(("data", f"{count(data.pairs)} {what}, {count(skipped)} skipped"))
    if policy := report.policy:
        facts.append(("policy", f"{policy.name}, sha256 {policy.sha256[:16]}…"))
    return _hanging(facts, indent=0, first=6)


def _suspects(report: Report) -> RenderableType | None:
    """The classes that the audited model seems to be turned towards."""
    found = report.suspects
    if not found or measures.has_before(report):
        return None
    lines = []
    for number, suspect in enumerate(found[:SHOWN], start=1):
        by = f", by {families}" if (families := search.families(suspect)) else ""
        lines.append((f"{number}.", f"{suspect.class_}, score {decimal(suspect.score)}{by}"))
    return _under("Suspects, most suspicious first", _hanging(lines), *_rest(len(found)))


def _auto(report: Report) -> RenderableType | None:
    """A table of the candidates, where the run chose for itself."""
    if report.auto is None:
        return None
    table = _columns(["backdoors removed", "costs"], label="  candidate")
    for row in auto.rows(report):
        name = f"{row.name}{' (chosen)' if row.chosen else ''}"
        _add(table, name, [row.canaries, row.cost], f"{row.outcome}; {row.seconds}", [f"{row.left} left", ""])
    return _under("What was tried", *map(Text, auto.candidate_lines(report)), Text(""), table)


def _search(made: search.Search) -> RenderableType:
    """A table of found triggers; below each size, the sizes of clean models and the deviation from them."""
    title = f"Search for unknown triggers{f', {made.when} cleaning' if made.when else ''}"
    if not made.found:
        return _under(title, Text(made.told), Text("  Nothing was found."))
    table = _columns(["size", "success"], label="  leads to")
    table.add_row("", Text("clean models need", style="dim"), Text("95 % interval", style="dim"))
    for found in made.found[:SHOWN]:
        words = "; ".join([f"{found.family_words}, {found.size_words}", *search.signs(found)])
        below = [search.needed(found), percent_interval(found.asr.interval)]
        _add(table, found.class_, [percent(found.size), percent(found.asr.value)], words, below)
    return _under(title, Text(made.told), Text(""), table, *_rest(len(made.found)))


def _section(made: sections.Table) -> RenderableType:
    """A section of ``sections``: its title, its sentence, its table."""
    entries = [
        (
            "-",
            f"{row[0]}: "
            + "; ".join(f"{name.lower()} {cell}" for name, cell in zip(made.head[1:], row[1:], strict=True)),
        )
        for row in made.rows[:SHOWN]
    ]
    return _under(made.title, Text(made.words), *([_hanging(entries)] if entries else []), *_rest(len(made.rows)))


def _numbers(report: Report) -> RenderableType:
    """Clean accuracy, then each attack in full."""
    two = measures.has_before(report)
    table = _columns(["before", "after", "change"] if two else ["measured"])
    _measured(table, measures.accuracy(report), two=two)
    blocks: list[RenderableType] = [table]
    kind = "Trigger" if measures.named(report) else "Strongest trigger of the panel"
    for attack in measures.detailed(report):
        blocks += [Text(""), _heading(f"{kind}  {attack.trigger} → {attack.target}")]
        below = _bare(3 if two else 1)
        for row in measures.rows(attack, *ROWS):
            _measured(below, row, two=two)
        blocks.append(below)
    return Group(*blocks)


def _bare(cells: int) -> Table:
    """A table of the same columns without a head."""
    table = Table.grid(expand=True)
    table.add_column(ratio=1, overflow="fold")
    for _ in range(cells):
        table.add_column(justify="right", width=_NUMBERS, no_wrap=True, overflow="ellipsis")
    return table


def _measured(table: Table, row: MeasureRow, *, two: bool) -> None:
    """A measure; below it, dimmed, its meaning and interval."""
    figures = [row.before, row.after] if two else [row.after]
    values = [_value(row, figure) for figure in figures]
    sure = [_interval(figure) for figure in figures]
    if two:
        values.append(_change(row))
        sure.append(f"{row.measure.better} is better" if row.measure.better else "")
    _add(table, row.measure.label, values, row.measure.words, sure)


def _value(row: MeasureRow, figure: Figure | None) -> str:
    if not figure:
        return NOTHING
    return percent(figure.value) if row.measure.is_share else decimal(figure.value)


def _interval(figure: Figure | None) -> str:
    return percent_interval(figure.interval) if figure and figure.interval else ""


def _change(row: MeasureRow) -> str:
    if not row.before or not row.after:
        return NOTHING
    return (points if row.measure.is_share else difference)(row.before.value, row.after.value)


def _panel(report: Report) -> RenderableType | None:
    """The triggers of the panel: a table in an audit, one sentence for a cleaning."""
    attacks = measures.panel(report)
    if not attacks:
        return None
    if measures.has_before(report):
        sides = (("before", [attack.before for attack in attacks]), ("after", [attack.after for attack in attacks]))
        shown = [f"{when}, {words}" for when, probes in sides if (words := _strongest(probes))]
        summary = f"Of {count(len(attacks))} built-in triggers the strongest: {'; '.join(shown)}."
        return _under("Panel of known triggers", Text(summary))
    table = _columns(["beyond chance"], label="Panel of known triggers")
    probes = [attack.after for attack in attacks if attack.after]
    for probe in probes[:SHOWN]:
        excess = probe.excess_asr
        _add(table, f"→ {probe.target}", [percent(excess.value)], probe.trigger, [percent_interval(excess.interval)])
    return Group(table, *_rest(len(probes)))


def _strongest(probes: Sequence[ProbeRecord | None]) -> str:
    best = max((probe for probe in probes if probe), key=measures.excess_of, default=None)
    if best is None:
        return ""
    return f"{best.trigger} → {best.target}, {percent(best.excess_asr.value)} beyond chance"


def _findings(report: Report) -> RenderableType | None:
    found = verdicts.by_severity(report.findings)
    if not found:
        return None
    rows = [(Text(f"{each.rule} {each.level}", style=_STYLES[each.level]), each.message) for each in found]
    return _under("Findings", _hanging(rows))


def _set_aside(report: Report) -> RenderableType | None:
    """The suppressed findings, with the policy's reasons."""
    told = verdicts.policy_told(report)
    if not told:
        return None
    entries = [("-", f"{each.rule} {each.message} {verdicts.set_aside(each)}") for each in report.suppressed]
    return _under(told, _hanging(entries))
