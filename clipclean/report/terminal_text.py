"""The report in a terminal: the verdict, what it rests on, all findings, and what to do next. Also one line, for logs, and a screening.

Of a report no line is cut: what is wider than the terminal goes on in the next line. A file has no width: a finding is a line there.
"""

import itertools
import re
import textwrap
from collections.abc import Mapping, Sequence

from rich.cells import cell_len, chop_cells, set_cell_size

from clipclean.report import document, screening, verdicts
from clipclean.report.document import Block, CellKind, Findings, Prose, Table
from clipclean.report.verdicts import NO_PATHS, FindingGroup, RunPaths
from clipclean.report.wording import NOTHING, count, cut, inert
from clipclean.schema.report import Report
from clipclean.schema.results import ComparedModels, Screening

LEAST_WIDTH = 40  # columns; a narrower terminal breaks lines itself
SHOWN_ITEMS = 20  # findings of one rule in a terminal
CONTINUATION = "  "  # before each further line of a wrapped one
SHELL_CONTINUATION = " \\"  # behind each line of a command that goes on
NUMBER_COLUMNS, KEY_COLUMNS = 5, 24  # columns of a number with its mark, and of a key
TABLE_ROWS = 6  # of a table in columns
TABLE_COLUMNS = 60  # of a table in a narrow terminal
CELL_COLUMNS = 8  # of a table in a narrow terminal, at least
LEAST_COLUMNS = 12  # of a key or a name in a narrow terminal
# A word of a shell's command, with its quotes: $'...', '...', or neither.
_SHELL_WORD = re.compile(r"(?:\$'(?:[^'\\]|\\.)*'|'[^']*'|\"[^\"]*\"|\\.|[^\s'\"\\])+")
_VERDICT_MARKS = {"pass": "✓", "fail": "✗", "inconclusive": "?"}
_COLOURS = {"pass": "1;32", "fail": "1;31", "inconclusive": "1;33", "error": "31", "warning": "33", "note": "36"}


def text(
    report: Report, /, *, width: int | None, colour: bool, paths: RunPaths = NO_PATHS, closing: Sequence[str] = ()
) -> str:
    """The output of ``clipclean audit`` and ``clipclean sanitize``: what a policy did, the verdict, and what it rests on.

    Args:
        report: a valid report.
        width: columns, at least ``LEAST_WIDTH``; ``closing`` may be longer, and a command where one word of it is. None: lines are as
            long as their words, and all findings are there, as a file has them.
        colour: whether to use ANSI colours; nothing is said by colour alone.
        paths: what the run was given, for commands that can be copied.
        closing: the last lines, such as where the page is.
    """
    report = inert(report)
    word = f"{_VERDICT_MARKS[report.verdict]} {report.verdict.upper()}"
    policy_effect = verdicts.policy_effect(report)
    first_line, *more_lines = wrapped(f"{word}  {verdicts.headline(report)}", width)
    lines = [
        *wrapped(policy_effect, width),
        _painted(word, report.verdict, colour) + first_line.removeprefix(word),
        *more_lines,
    ]
    for block in document.short(report):
        if isinstance(block, Findings):
            lines += [
                line for group in verdicts.grouped(block.findings) for line in _finding_lines(group, width, colour)
            ]
        else:
            lines += [line for words in _block(block) for line in wrapped(words, width)]
    # Without the run's own words it would not run.
    commands = verdicts.commands(report, paths)[:1] if paths.model else []
    next_lines = [line for _, words in commands for line in command_lines(f"Next: {words}", width)]
    return "\n".join([*lines, *next_lines, *closing])


def command_lines(words: str, width: int | None, /) -> list[str]:
    """A command in lines of at most so many columns that a shell reads as one: all but the last end with a backslash.

    A word that is longer stays whole.
    """
    if width is None or cell_len(words) <= width:
        return [words]
    room, lines = max(width, LEAST_WIDTH) - len(SHELL_CONTINUATION), [""]
    for word in _SHELL_WORD.findall(words):
        longer = f"{lines[-1]} {word}" if lines[-1].strip() else f"{lines[-1]}{word}"
        if cell_len(longer) <= room or not lines[-1].strip():
            lines[-1] = longer
        else:
            lines.append(f"{CONTINUATION}{word}")
    return [f"{line}{SHELL_CONTINUATION}" for line in lines[:-1]] + lines[-1:]


def wrapped(words: str, width: int | None, /, *, indent: str = CONTINUATION) -> list[str]:
    """Words in lines of at most so many columns, or in one line; all but the first are indented. None of an empty text.

    A number and its % stay together; a word that is longer than a line is broken behind commas where it can be.
    """
    if width is None:
        return [words] if words.strip() else []
    width = max(width, LEAST_WIDTH)
    unindented = words.lstrip(" ")
    lines, line = list[str](), words[: len(words) - len(unindented)]
    for word in re.split(" (?!%)", unindented):
        longer = f"{line} {word}" if line.strip() else f"{line}{word}"
        if cell_len(longer) <= width:
            line = longer
            continue
        *whole, rest = _cell_lines(word, width - len(indent))
        lines += [line.rstrip(), *(f"{indent}{part}" for part in whole)]
        line = f"{indent}{rest}"
    return [finished for finished in [*lines, line] if finished.strip()]


def plain_text(report: Report, /) -> str:
    """:func:`text` for a file: without colours and without a width."""
    return text(report, width=None, colour=False) + "\n"


def line(report: Report, /, *, page: str = "") -> str:
    """One line for logs: the verdict, what it rests on most, and where the page is."""
    report = inert(report)
    parts = [f"clipclean: {report.verdict} {report.model.name}", verdicts.reason(report), *([page] if page else [])]
    return ": ".join(parts) + "\n"


def screening_text(result: Screening, /, *, width: int) -> str:
    """The output of ``clipclean screen``: a table in columns, then sentences.

    Args:
        result: as ``clipclean screen`` makes it; nothing in it can drive the terminal.
        width: columns, at least ``LEAST_WIDTH``.
    """
    result, width = inert(result), max(width, LEAST_WIDTH)
    # Words have what is left of the line.
    key_columns = min(KEY_COLUMNS, max(LEAST_COLUMNS, width // 4))
    name_columns = max(LEAST_COLUMNS, (width - key_columns - 14) // 2)
    room = {"number": NUMBER_COLUMNS, "code": key_columns, "name": name_columns}
    lines: list[str] = []
    for block in screening.short(result):
        if isinstance(block, Table):
            kinds = [cell.kind for cell in block.rows[0]]
            rows = [block.head, *([cell.text for cell in row] for row in block.rows)]
            for row in rows:
                words = " ".join(_fitted(*cell, room) for cell in zip(row, kinds, strict=True))
                lines += wrapped(words, width, indent=" " * (NUMBER_COLUMNS + 1))
        else:
            lines += ["\n" + textwrap.fill(words, width, break_on_hyphens=False) for words in _block(block)]
    return "\n".join(lines)


def compared_text(result: ComparedModels, /, *, width: int | None) -> str:
    """The output of ``clipclean compare MODEL --base BASE``: how near the two are, what acts on one alone, what moved, and the findings.

    Args:
        result: as ``clipclean compare`` makes it; nothing in it can drive the terminal.
        width: columns, at least ``TABLE_COLUMNS``; None: lines are not wrapped.
    """
    result, width = inert(result), width and max(width, TABLE_COLUMNS)
    head = f"{result.model.name}, {result.model.architecture}; {result.data.pairs:,} images, {result.base.tried} known triggers"
    lines = [*wrapped(head, width), *wrapped(document.base_line(result.base), width)]
    for block in document.base_blocks(result.base):
        if isinstance(block, Table):
            lines += ["", *_columns(block, width)]
    lines += [
        "",
        *(line for group in verdicts.grouped(result.findings) for line in _finding_lines(group, width, False)),
    ]
    closing = "This is no audit: unknown triggers were not searched for. 'clipclean audit' with the same --base does."
    return "\n".join([*lines, *wrapped(closing, width)])


def _columns(block: Table, width: int | None) -> list[str]:
    """A table in columns as wide as its words: title and lead, head, at most ``TABLE_ROWS`` rows. Where there is no room for all the
    widest cells go on in the next line.
    """
    cells = ([" ".join([cell.text, *(f"({words})" for words in cell.below)]) for cell in row] for row in block.rows)
    rows = [block.head, *itertools.islice(cells, TABLE_ROWS)] if block.rows else []
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    while width and 2 * len(widths) + sum(widths) > width and max(widths) > CELL_COLUMNS:
        widths[widths.index(max(widths))] -= 1
    return [
        *wrapped(f"{block.title}: {block.lead}" if block.lead else f"{block.title}:", width),
        *(f"  {line}" for row in rows for line in _row_lines(row, widths)),
        *(["  … (--json has all)"] if len(block.rows) > TABLE_ROWS else []),
    ]


def _row_lines(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    """The lines of a row of a table in columns."""
    cells = [_cell_lines(words, columns) for words, columns in zip(row, widths, strict=True)]
    return [
        "  ".join(set_cell_size(part, columns) for part, columns in zip(parts, widths, strict=True)).rstrip()
        for parts in itertools.zip_longest(*cells, fillvalue="")
    ]


def _cell_lines(words: str, columns: int) -> list[str]:
    """Words in lines of at most so many columns, broken at spaces and behind commas where they can be."""
    lines = [""]
    for part in re.findall(r"[^ ,]*(?:,| +|$)", words):
        if cell_len(f"{lines[-1]}{part}".rstrip()) <= columns:
            lines[-1] += part
        else:
            lines += chop_cells(part, columns)
    return [line for line in lines if line] or [""]


def _fitted(words: str, kind: CellKind, columns_of: Mapping[str, int]) -> str:
    """Words in the columns of their kind, cut with an ellipsis; of a code it leaves the end: of paths, the part that differs."""
    if kind not in columns_of:
        return words
    columns = columns_of[kind]
    if kind == "code" and cell_len(words) > columns:
        words = words[-columns:]
        while cell_len(words) > columns - 1:
            words = words[1:]
        words = f"…{words}"
    return set_cell_size(cut(words, columns), columns)


def _block(block: Block) -> list[str]:
    """Words as they are or as bullets; a row of a table as a bullet. None of other blocks."""
    match block:
        case Prose("lines", _, [lines]):
            return list(lines)
        case Prose("bullets", _, [lines]):
            return [f"- {line}" for line in lines]
        case Table(rows=rows):
            table_rows = [[cell.text for cell in row if cell.text != NOTHING] for row in rows]
            return [
                f"- {name}: {' '.join([value, *(f'({note})' for note in notes)])}" for name, value, *notes in table_rows
            ]
        case _:
            return []


def _finding_lines(group: FindingGroup, width: int | None, colour: bool) -> list[str]:
    """The findings of a rule, in as many lines as they need; in a terminal the first of very many, and how many more there are."""
    start = f"{group.rule} {group.level}"
    first_line, *more_lines = wrapped(f"{start} {group.lead}", width)
    shown_items = group.items if width is None else group.items[:SHOWN_ITEMS]
    items = [line for item in shown_items for line in wrapped(f"- {item}", width)]
    if more := len(group.items) - len(shown_items):
        items += wrapped(f"- and {count(more)} more, which --report shows", width)
    return [
        _painted(start, group.level, colour) + first_line.removeprefix(start),
        *more_lines,
        *items,
        *wrapped(group.closing, width),
    ]


def _painted(words: str, style: str, colour: bool) -> str:
    return f"\x1b[{_COLOURS[style]}m{words}\x1b[0m" if colour else words
