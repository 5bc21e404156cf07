"""Every measured table of the pages, and the figure, made of what lies in ``benchmarks/results``.

    python benchmarks/tables.py            # write them
    python benchmarks/tables.py --check    # change nothing; 1 where raw results are missing, or a page has other figures

A block of a page is ``results/BLOCK.csv`` as it stands, unless ``TABLES`` makes it of other files there.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import audit
import blocks
import frontier
import photo_cleaning
from blocks import RESULTS

ROOT = Path(__file__).parents[1]
FIGURE = ROOT / "docs" / "frontier.svg"
CLEANED = {"photo": "photo-cleaning", "usual": "usual"}  # whose cells the tables of cleaning are made of
PAGES = {  # page: the measured blocks in it
    "README.md": ("demo",),
    "docs/evidence.md": (
        *("audit", "audit-triggers", "screening-photos"),
        *(f"{about}-{block}" for about in CLEANED for block in ("claims", "cleaning")),
        *("photo-job", "long-job"),
    ),
    "docs/running.md": ("step", "gpu"),
    "docs/safety.md": ("scanners-total",),
    "docs/inputs.md": ("versions", "pages"),
}
LOCAL = ("patch", "badnets", "stripes")  # triggers that cover a part of the image


def main() -> int:
    parser = blocks.parser(__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing")
    is_check = parser.parse_args().check
    wrong = [words for page, names in PAGES.items() for name in names if (words := told(page, name, is_check=is_check))]
    figure = frontier.drawing(frontier.points([RESULTS / name for name in CLEANED.values()]))
    if not is_check:
        FIGURE.write_text(figure, encoding="utf-8")
    elif not FIGURE.exists() or figure != FIGURE.read_text(encoding="utf-8"):
        wrong.append(f"docs/frontier.svg: {STALE}")
    print("\n".join(wrong), end="\n" * bool(wrong), file=sys.stderr)
    return int(bool(wrong))


STALE = "not what benchmarks/results has; run make tables"


def told(page: str, block: str, *, is_check: bool) -> str | None:
    """Write a table of a page, or compare it; returns what is wrong."""
    try:
        now = TABLES[block]() if block in TABLES else csv_table(block)
    except FileNotFoundError as error:
        return f"{page}: table {block}: raw results are missing: {Path(error.filename).relative_to(ROOT)}"
    if not is_check:
        blocks.fill(ROOT / page, block, now)
    elif f"<!-- {block}:begin -->\n\n{now}\n\n<!-- {block}:end -->" not in (ROOT / page).read_text(encoding="utf-8"):
        return f"{page}: table {block}: {STALE}"
    return None


def csv_table(name: str) -> str:
    return blocks.markdown(blocks.read(RESULTS / f"{name}.csv"))


def cells(name: str) -> list[dict]:
    """What a script measured, a JSON file each."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((RESULTS / name).glob("*.json"))]
    if not found:
        raise FileNotFoundError(2, "no JSON files", str(RESULTS / name))
    return found


def cleaned(about: str) -> list[dict]:
    """The cells of the half that reports."""
    return [cell for cell in cells(CLEANED[about]) if cell["entry"]["half"] == "report"]


def screening() -> str:
    """A row for local triggers and one for those of the whole image, by kind of captions: sums over victims."""
    head = ["triggers", "captions", "like the set's: among the first 2 %", "dropped by `auto`"]
    head += ["appended: among the first 2 %", "dropped by `auto`", "clean pairs that `auto` drops, at most"]
    body, found = [], cells("screening-photos")
    for is_local in (True, False):
        for kind in ("templates", "natural"):
            mine = [c for c in found if c.get("captions", "templates") == kind and (spec(c) in LOCAL) is is_local]
            row = [", ".join(dict.fromkeys(map(spec, mine))), kind]
            for form in ("templates 50", "appended 50"):
                hidden = sum(c[form]["hidden"] for c in mine)
                row += [f"{sum(c[form][rule][0] for c in mine)} of {hidden}" for rule in ("top", "auto")]
            body.append([*row, f"{max(c['none']['auto'][1] for c in mine) / 40:.1f} %"])
    return blocks.table([head, *body])


def spec(cell: dict) -> str:
    """The family of a victim's trigger."""
    return str(cell["entry"]["trigger"]).partition(":")[0]


TABLES: dict[str, Callable[[], str]] = {
    "audit": lambda: audit.table(audit.stored()),
    "audit-triggers": lambda: audit.by_trigger(audit.stored()),
    "screening-photos": screening,
    "photo-claims": lambda: photo_cleaning.claims(cleaned("photo")),
    "photo-cleaning": lambda: photo_cleaning.table(cleaned("photo")),
    "photo-job": lambda: photo_cleaning.reached_by(cleaned("photo")),
    "usual-claims": lambda: photo_cleaning.claims(cleaned("usual")),
    "usual-cleaning": lambda: photo_cleaning.table(cleaned("usual")),
    "long-job": lambda: photo_cleaning.jobs(cells("photo-long")),
}


if __name__ == "__main__":
    sys.exit(main())
