"""A screening result as terminal text and as an HTML page with images."""

import textwrap
from collections.abc import Sequence

from markupsafe import Markup
from rich.cells import cell_len, set_cell_size

from clipclean.report import html_page, wording
from clipclean.report.images import TitledImage
from clipclean.report.wording import inert
from clipclean.schema.results import KeptRecord, Screening

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
    words = [
        f"{screening_summary(result)} ! stands out, − left out.",
        f"Not shown by this: {LIMITS[0]}",
        *([kept(result.kept)] if result.kept else ()),
    ]
    return "\n".join([*lines, *("\n" + textwrap.fill(text, width, break_on_hyphens=False) for text in words)])


def screening_page(result: Screening, titled: Sequence[TitledImage], /) -> str:
    """One self-contained HTML page: the first pairs with their images, and the signals that point at them.

    Everything that comes from the data is escaped; the page runs no script and loads nothing.
    """
    result, style = inert(result), html_page.stylesheet()
    return (
        html_page.templates()
        .get_template("screening.html.j2")
        .render(
            result=result,
            style=Markup(style),  # noqa: S704 - our own file
            policy=html_page.policy(style),
            headline=screening_summary(result),
            kept=kept(result.kept) if result.kept else "",
            limits=LIMITS,
            titles={signal.name: signal.title for signal in result.signals},
            images=inert(list(titled)),
        )
    )


def screening_summary(result: Screening, /) -> str:
    """How many pairs stand out, and how many were left out, in a sentence or two."""
    found = result.screened
    share = wording.percent(found.suspicious_share)
    words = f"{wording.count(found.suspicious)} of {wording.count(found.pairs)} pairs stand out ({share})."
    rule = "the trusted pairs" if found.rule.startswith("conformal") else found.drop
    return words + (f" {wording.count(found.dropped)} are left out, by {rule}." if found.dropped else "")


def kept(written: KeptRecord, /) -> str:
    """Where the pairs that are kept were written."""
    return f"{wording.count(written.pairs)} pairs are kept: {written.name}."


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
