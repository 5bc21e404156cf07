"""The sections of a screening, what a terminal shows of them, and their HTML page with images."""

from collections.abc import Iterator, Sequence

from clipclean.report import html_page, wording
from clipclean.report.document import Block, Cell, Gallery, Head, PageSection, Prose, TitledImage, numbers, table
from clipclean.report.wording import inert
from clipclean.schema.report import Column
from clipclean.schema.results import Screening

SHOWN_PAIRS = 20  # rows of the table in a terminal
NOT_SHOWN = (
    "That these pairs are poisoned, or that the others are not. It is a ranking, not a verdict: some pairs stand out in every set.",
    "Poison whose captions are all different, on images that the model does not gather: several signals see none of it.",
)


def short(result: Screening, /) -> list[Block]:
    """What a terminal has room for: the most suspicious pairs, and the dropped ones; how many stand out; what that does not show."""
    titles = {signal.name: signal.title for signal in result.signals}
    rows = []
    for row in result.pairs[:SHOWN_PAIRS]:
        why = ", ".join(titles[name].lower() for name in row.reasons) or "several weak signs"
        mark = "−" if row.dropped else "!" if row.suspicious else " "
        rows.append((f"{row.rank:4}{mark}", row.key, row.caption, why))
    words = [
        f"{_summary(result)} ! stands out, − left out.",
        f"Not shown by this: {NOT_SHOWN[0]}",
        *_kept_words(result),
    ]
    head: Head = (*numbers(""), Column("pair", "code"), Column("caption", "name"), "why")
    return [table(head, rows), Prose("lines", "", [words])]


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
        story=[*_kept_words(result), "Pairs ranked by suspicion, for a person to check. This is no verdict."],
        sections=list(_sections(result, images)),
        tool=result.tool,
        tone="inconclusive",
        report=None,
    )


def _sections(result: Screening, images: Sequence[TitledImage]) -> Iterator[PageSection]:
    yield PageSection("limits", "What this does not show", (), [Prose("bullets", "", [NOT_SHOWN])])
    if images:
        yield PageSection("images", "The most suspicious pairs", (), [Gallery("", "example", images)])
    lead = "Under each signal the share of all pairs that score at least as high: the smaller, the more unusual."
    pairs = table(
        ("Pair", "Caption", "State", *numbers(*(signal.title for signal in result.signals))),
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
    yield PageSection("list", "List", (lead,), [pairs])
    terms = [
        (f"{signal.title}, weight {signal.weight}", f"{signal.says.capitalize()}.", "") for signal in result.signals
    ]
    yield PageSection("signals", "Signals", (), [Prose("definitions", "", terms)])
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
    yield PageSection("provenance", "Provenance", (), [table(("What", "Which"), facts)])


def _summary(result: Screening, /) -> str:
    """How many pairs stand out, and how many were left out, in a sentence or two."""
    screened = result.screened
    share = wording.percent(screened.suspicious_share)
    words = f"{wording.count(screened.suspicious)} of {wording.count(screened.pairs)} pairs stand out ({share})."
    rule = "the trusted pairs" if screened.rule.startswith("conformal") else screened.drop
    return words + (f" {wording.count(screened.dropped)} are left out, by {rule}." if screened.dropped else "")


def _kept_words(result: Screening) -> list[str]:
    """Where the pairs that are kept were written."""
    return [f"{wording.count(result.kept.pairs)} pairs are kept: {result.kept.name}."] if result.kept else []
