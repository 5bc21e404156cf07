"""A screening result as terminal text and as an HTML page with images."""

import textwrap
from collections.abc import Iterator, Sequence

from rich.cells import cell_len, set_cell_size

from clipclean.report import html_page, wording
from clipclean.report.document import Cell, Gallery, Prose, Section, TitledImage, table
from clipclean.report.wording import inert
from clipclean.schema.results import Screening

SHOWN = 20  # rows of the table in a terminal
KEY = 24  # columns of a key
LIMITS = (
    "That these pairs are poisoned, or that the others are not. It is a ranking, not a verdict: some pairs stand out in every set.",
    "Poison whose captions are all different, on images that the model does not gather: several signals see none of it.",
)


def screening_text(result: Screening, /, *, width: int) -> str:
    """The output of ``clipclean screen``: a table of the most suspicious pairs, and the dropped ones.

    Args:
        result: as ``clipclean screen`` makes it; nothing in it can drive the terminal.
        width: columns, at least 60.
    """
    result, width = inert(result), max(width, 60)
    titles = {signal.name: signal.title for signal in result.signals}
    caption = max(12, (width - KEY - 14) // 2)
    lines = [f"{'':5} {_cell('pair', KEY)} {_cell('caption', caption)} why"]
    for row in result.pairs[:SHOWN]:
        why = ", ".join(titles[name].lower() for name in row.reasons) or "several weak signs"
        mark = "−" if row.dropped else "!" if row.suspicious else " "
        lines.append(f"{row.rank:4}{mark} {_cell_end(row.key, KEY)} {_cell(row.caption, caption)} {why}")
    words = [f"{_summary(result)} ! stands out, − left out.", f"Not shown by this: {LIMITS[0]}", *_kept(result)]
    return "\n".join([*lines, *("\n" + textwrap.fill(text, width, break_on_hyphens=False) for text in words)])


def screening_page(result: Screening, titled: Sequence[TitledImage], /) -> str:
    """One self-contained HTML page: the first pairs with their images, and the signals that point at them.

    Everything that comes from the data is escaped; the page runs no script and loads nothing.
    """
    result, images = inert((result, list(titled)))
    return html_page.rendered(
        title=f"Screening of {result.data.name} – clipclean",
        command=result.command,
        about=(result.data.name, f"seen by {result.model.name}"),
        word="Screening",
        headline=_summary(result),
        story=[*_kept(result), "Pairs ranked by suspicion, for a person to check. This is no verdict."],
        sections=list(_sections(result, images)),
        tool=result.tool,
        tone="inconclusive",
        report=None,
    )


def _sections(result: Screening, images: Sequence[TitledImage]) -> Iterator[Section]:
    yield Section("limits", "What this does not show", (), [Prose("bullets", "", [LIMITS])])
    if images:
        yield Section("images", "The most suspicious pairs", (), [Gallery("", "example", images)])
    lead = "Under each signal the share of all pairs that score at least as high: the smaller, the more unusual."
    pairs = table(
        ("Pair", "Caption", "State", *(f"#{signal.title}" for signal in result.signals)),
        (
            (
                Cell(row.key, (f"rank {row.rank}",), "code"),
                Cell(row.caption, (), "name"),
                "left out" if row.dropped else "stands out" if row.suspicious else "",
                *(wording.percent(row.signals[signal.name].share) for signal in result.signals),
            )
            for row in result.pairs
        ),
        lead=f"The first {wording.count(len(result.pairs))} of {wording.count(result.screened.pairs)} pairs",
    )
    yield Section("list", "List", (lead,), [pairs])
    terms = [(f"{each.title}, weight {each.weight}", f"{each.says.capitalize()}.", "") for each in result.signals]
    yield Section("signals", "Signals", (), [Prose("definitions", "", terms)])
    skipped = result.data.skipped
    facts = (
        ("Model", Cell(result.model.name, (), "code")),
        ("SHA-256 of the model", Cell(result.model.sha256, (), "code")),
        ("Clean set", Cell(result.data.name or "", (), "code")),
        ("Digest of the set", Cell(result.data.digest, (), "code")),
        ("Skipped samples", wording.count(skipped if isinstance(skipped, int) else len(skipped))),
        ("Triggers given", ", ".join(result.triggers) or "none"),
        ("What stands out", result.screened.rule),
    )
    yield Section("provenance", "Provenance", (), [table(("What", "Which"), facts)])


def _summary(result: Screening, /) -> str:
    """How many pairs stand out, and how many were left out, in a sentence or two."""
    found = result.screened
    share = wording.percent(found.suspicious_share)
    words = f"{wording.count(found.suspicious)} of {wording.count(found.pairs)} pairs stand out ({share})."
    rule = "the trusted pairs" if found.rule.startswith("conformal") else found.drop
    return words + (f" {wording.count(found.dropped)} are left out, by {rule}." if found.dropped else "")


def _kept(result: Screening) -> list[str]:
    """Where the pairs that are kept were written."""
    return [f"{wording.count(result.kept.pairs)} pairs are kept: {result.kept.name}."] if result.kept else []


def _cell(words: str, width: int) -> str:
    """Words in so many columns, cut with an ellipsis."""
    return set_cell_size(wording.cut(words, width), width)


def _cell_end(words: str, width: int) -> str:
    """Words in so many columns, of which an ellipsis leaves the end: of paths, the part that differs."""
    if cell_len(words) <= width:
        return _cell(words, width)
    words = words[-width:]
    while cell_len(words) > width - 1:
        words = words[1:]
    return _cell(f"…{words}", width)
