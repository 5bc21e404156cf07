"""Every table of the pages that is measured or read off the code, the figure, and the numbers of traced sections.

    python benchmarks/tables.py            # write them
    python benchmarks/tables.py --check    # change nothing; 1 where raw results are missing, or a page has other figures

A block of a page is ``results/BLOCK.csv`` as it stands, unless ``TABLES`` makes it of other files there, or ``read_off.py`` of
the code. Numbers in sentences are compared, never written: ``claims.py`` has how.
"""

import html
import math
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import audit
import beside
import claims
import common
import finetunes
import photo_cleaning
import read_off
import sealed
from common import RESULTS

ROOT = Path(__file__).parents[1]
FIGURE = ROOT / "docs" / "frontier.svg"
CLEANED = {"photo": "photo-cleaning", "usual": "usual"}  # whose cells the tables of cleaning are made of
USUAL_MODELS = ("ViT-B-32", "RN50")  # that people use, of those that whole runs were timed on
LOCAL = ("patch", "badnets", "stripes")  # triggers that cover a part of the image


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing")
    is_check = parser.parse_args().check
    wrong = [words for page, block in blocks() if (words := told(page, block, is_check=is_check))]
    wrong += [
        f"{path.relative_to(ROOT)}: {words}" for path in paths() for words in claims.wrong(path.read_text("utf-8"))
    ]
    figure = drawing(points())
    if not is_check:
        FIGURE.write_text(figure, encoding="utf-8")
    elif not FIGURE.exists() or figure != FIGURE.read_text(encoding="utf-8"):
        wrong.append(f"docs/frontier.svg: {STALE}")
    print("\n".join(wrong), end="\n" * bool(wrong), file=sys.stderr)
    return int(bool(wrong))


def paths() -> list[Path]:
    """The pages, and those of long tables beside the raw results."""
    return [*ROOT.glob("README.md"), *sorted(ROOT.glob("docs/*.md")), *sorted(RESULTS.glob("*.md"))]


def blocks() -> list[tuple[Path, str]]:
    """The tables of every page."""
    return [(path, block) for path in paths() for block in common.NAMES.findall(path.read_text(encoding="utf-8"))]


STALE = "not what benchmarks/results or the code has; run make tables"


def told(path: Path, block: str, *, is_check: bool) -> str | None:
    """Write a table of a page, or compare it; returns what is wrong."""
    page = path.relative_to(ROOT)
    try:
        made = TABLES.get(block) or read_off.PARTS.get(block)
        now = made() if made else common.markdown(common.read(RESULTS / f"{block}.csv"))
    except FileNotFoundError as error:
        return f"{page}: table {block}: raw results are missing: {Path(error.filename).relative_to(ROOT)}"
    if not is_check:
        common.fill(path, block, now)
    elif f"<!-- {block}:begin -->\n\n{now}\n\n<!-- {block}:end -->" not in path.read_text(encoding="utf-8"):
        return f"{page}: table {block}: {STALE}"
    return None


def screening() -> str:
    """A row for local triggers and one for those of the whole image, by kind of captions: sums over victims."""
    head = ["triggers", "captions", "like the set's: among the first 2 %", "dropped by `auto`"]
    head += ["appended: among the first 2 %", "dropped by `auto`", "clean pairs that `auto` drops, at most"]
    body, found = [], cells("screening-photos")
    for is_local in (True, False):
        for kind in ("templates", "natural"):
            mine = [c for c in found if c["captions"] == kind and (spec(c) in LOCAL) is is_local]
            row = [", ".join(dict.fromkeys(map(spec, mine))), kind]
            for form in ("templates 50", "appended 50"):
                hidden = sum(c[form]["hidden"] for c in mine)
                row += [f"{sum(c[form][rule][0] for c in mine)} of {hidden}" for rule in ("top", "auto")]
            body.append([*row, f"{max(c['none']['auto'][1] for c in mine) / 40:.1f} %"])
    return common.table([head, *body])


def times() -> str:
    """Of the whole runs those of models that people use: what each took, how far off its estimate was, and its memory."""
    head, *body, caption = (row for row in common.read(RESULTS / "large.csv") if row)
    told = [dict(zip(head, row, strict=True)) for row in body]
    shown = [row for row in told if row["model"] in USUAL_MODELS and "fp32" not in row["run"]]
    rows = [["model", "run", "took", "told before", "off by", "memory"]]
    rows += [
        [row["model"], row["run"], row["took"], row[TOLD], off_by(row[TOLD], row["took"]), row["memory"]]
        for row in shown
    ]
    near = sum(abs(error(row[TOLD], row["took"])) <= ESTIMATE_AIM for row in told)
    if not any("(" in row["took"] for row in shown):
        caption[0] = caption[0].replace(" Medians of three where a range stands, else once;", " Each run once;")
    ending = f"{caption[0]} *Off by*: how much more the run took than the longest time told before, or how much less than the shortest. Of all {len(told)} kinds of runs {near} are off by at most 25 %."
    return common.markdown([*rows, [], [ending]])


TOLD = "told: early end–else"
ESTIMATE_AIM = 0.25
UNITS = {"s": 1, "min": 60, "h": 3600}


def off_by(told_words: str, took: str, /) -> str:
    share = error(told_words, took)
    return f"{share:+.0%}".replace("%", " %").replace("-", "−") if share else "within"


def error(told_words: str, took: str, /) -> float:
    """By which share of what was told the run ended later, or earlier (negative); 0 between an early end and the end."""
    least, most = ends(told_words)
    seconds = ends(re.sub(r" \(.*?\)", "", took))[0]
    return seconds / most - 1 if seconds > most else min(0.0, seconds / least - 1)


def ends(words: str, /) -> tuple[float, float]:
    """Seconds of a length of time, or of both ends of a range: 18–28 s, 70 s–2 min, 1 h 20 min."""
    *first, last = [part.split() for part in words.split("–")]
    most = sum(float(number) * UNITS[unit] for number, unit in zip(last[::2], last[1::2], strict=True))
    if not first:
        return most, most
    own = first[0] if len(first[0]) > 1 else [*first[0], last[1]]
    return sum(float(number) * UNITS[unit] for number, unit in zip(own[::2], own[1::2], strict=True)), most


def mutated() -> str:
    """How many changed files the readers got, and how many of those that they took another library read too."""
    _, *rows = (row for row in common.read(RESULTS / "fuzz.csv") if len(row) > 1)
    numbers = [[int(cell.replace(",", "") or 0) for cell in row[1:6]] for row in rows]
    inputs, _, _, alike, wrong = map(sum, zip(*numbers, strict=True))
    built, taken, _, _, differing = map(sum, zip(*(own for own in numbers if own[3]), strict=True))
    return common.SENTENCE.fill(
        f"{inputs:,} changed files went through the readers: {wrong:,} failed, hung or took too much memory. Of {built:,} that were "
        f"built part by part, the {taken:,} that were accepted went to torch, safetensors or transformers as well, which read {alike:,} of them and "
        f"refused the rest: {differing:,} came out otherwise than here (`fuzz.csv`)."
    )


def sealed_again() -> str:
    """What the rule of now says of the sealed models beside a clean one, of the lists that chose nothing of it."""
    head, *rows = common.read(sealed.AGAIN)
    return sealed_table([head, *(row for row in rows if not sealed.is_choosing(row[0]))], ["reference"])


def sealed_table(rows: list[list[str]], comparisons: Sequence[str] = tuple(sealed.COLUMNS)) -> str:
    """Audits of a sealed test: a row a kind of models and verdict, a column a comparison. What is left of clean models is inconclusive."""
    columns = [dict(sealed.summary(rows, [own])) for own in comparisons]
    kinds = [words.removeprefix(f"{comparisons[0]}, ").removeprefix(f"{comparisons[0]}: ") for words in columns[0]]
    body = [
        [kind, *(column[words] for column, words in zip(columns, cells, strict=True))]
        for kind, cells in zip(kinds, zip(*columns, strict=True), strict=True)
        if "inconclusive" not in kind
    ]
    return common.table([["models", *(COMPARED[own] for own in comparisons)], *body])


COMPARED = {"none": "alone", "reference": "beside a clean model"}


def scope() -> str:
    """The models of the evidence: how many, of which size, and what for."""
    rows = [["models", "number", "millions of parameters", "used for"]]
    rows += [
        [kind, *(SCOPE_COUNTS.get(of) or claims.FIGURES[of]() for of in figures), use] for kind, *figures, use in SCOPE
    ]
    return common.table(rows)


SCOPE_COUNTS = {"": "few", "one": "1"}
SCOPE = (  # models, the figures of their number and size, and what they are used for
    ("ResNets and ViTs, of photographs", "scope-photographs", "tiny-sizes", "audit, cleaning, `auto`, screening"),
    ("ResNets, of classes drawn at random", "scope-drawn", "small-size", "audit, `auto`"),
    ("ResNets and ViTs, of sealed plans", "scope-sealed", "tiny-sizes", "audit, cleaning"),
    ("ResNets and ViTs, of drawings", "", "tiny-sizes", "audit, cleaning, `auto`"),
    ("ResNets of 64 px", "", "usual-size", "cleaning"),
    ("ResNets of 32 px", "", "now-large-size", "cleaning"),
    ("a model of 64 px, in a single run", "one", "wide-size", "cleaning at the paper's learning rate"),
    (
        "finetunes of a base, ResNets and ViTs",
        "scope-finetunes",
        "finetune-sizes",
        "audit and cleaning beside the base",
    ),
)


WALKED = {  # values of a recipe, as the rows call them
    "cleanclip of now": "`cleanclip`",
    "cleanclip@few": "`cleanclip@few`",
    "par of now, limit 2.15": "`par`",
    "par@tiny": "`par@tiny`",
    "unlearn of now": "`unlearn`",
    "unlearn@tiny": "`unlearn@tiny`",
}


def walked() -> str:
    """What recipes of now and those before left of two victims, what returned, and what it cost."""
    rows = {(row["victim"], row["method"]): row for row in common.records(RESULTS / "walk.csv")}
    victims = {name: name.removeprefix("choose-resnet-10-").removesuffix("-1") for name, _ in rows}
    head = ["recipe", *(f"{words}: left (returned), points lost" for words in victims.values())]
    body = [[words, *(walk_cell(rows[name, method]) for name in victims)] for method, words in WALKED.items()]
    return common.table([head, *body])


def walk_cell(row: dict[str, str]) -> str:
    return f"{row['excess_after']} ({row['returned']}), {row['points_lost']}"


TOLD_BY = {  # ways to tell a loss, as the rows call them
    "answers counted as right or wrong": "answers counted as right or wrong",
    "softened margins: told before": "softened margins, as before",
    "chances by both models and labels: told now": "**labels and both models, as now**",
    "without labels, weight two: told before": "no labels, as before",
    "without labels, weight three: told now": "no labels, as now",
}


def accuracy_lost() -> str:
    """How often the loss that is told is within a point of that on other images, by the number of images, for both halves."""
    rows = common.records(RESULTS / "accuracy-lost-draws.csv")
    near = {(row["told by"], row["images"], row["half"]): row["within 1 point, %"] for row in rows}
    counts = ("100", "250", "500")
    head = ["told by", *(f"{images} images: `choose`, `report`" for images in counts)]
    body = [
        [words, *(f"{near[way, images, 'choose']} %, {near[way, images, 'report']} %" for images in counts)]
        for way, words in TOLD_BY.items()
    ]
    return common.table([head, *body])


def cells(name: str, half: str = "") -> list[dict]:
    """What a script measured, of which there must be some."""
    if found := common.cells(RESULTS / name, half):
        return found
    raise FileNotFoundError(2, "no JSON files", str(RESULTS / name))


def spec(cell: dict) -> str:
    """The family of a victim's trigger."""
    return str(cell["entry"]["trigger"]).partition(":")[0]


TABLES: dict[str, Callable[[], str]] = {
    "audit": lambda: audit.table(audit.reported(audit.stored())),
    "audit-pairs": lambda: audit.table_of_pairs(audit.paired()),
    "audit-triggers": lambda: audit.by_trigger(audit.reported(audit.stored())),
    "screening-photos": screening,
    "times": times,
    "walk": walked,
    "accuracy-lost": accuracy_lost,
    "fuzz-total": mutated,
    "photo-claims": lambda: photo_cleaning.claims(cells(CLEANED["photo"], "report")).rpartition("\n")[2],
    "photo-cleaning": lambda: photo_cleaning.table(cells(CLEANED["photo"], "report")),
    "usual-claims": lambda: photo_cleaning.claims(cells(CLEANED["usual"], "report")).rpartition("\n")[2],
    "usual-cleaning": lambda: photo_cleaning.table(cells(CLEANED["usual"], "report")),
    "paper-now": lambda: photo_cleaning.papers(common.cells(common.RESULTS / "paper-now")),
    "named-now": lambda: photo_cleaning.table(common.cells(common.RESULTS / "named-now")),
    "long-job": lambda: photo_cleaning.jobs(cells("photo-long")),
    "auto-now": lambda: photo_cleaning.runs_of_now(
        [cell for cell in claims.runs_of_now() if claims.is_small_and_alone(cell)]
    ),
    "auto-now-others": lambda: photo_cleaning.runs_of_now(
        [cell for cell in claims.runs_of_now() if not claims.is_small_and_alone(cell)]
    ),
    "second-cleaning": lambda: photo_cleaning.runs_of_now(common.cells(common.RESULTS / "second-cleaning")),
    "others-audits": beside.audits,
    "others-cleanings": beside.cleanings,
    "sealed-again": sealed_again,
    "sealed-3": lambda: sealed_table(common.read(claims.SEALED["third"])),
    "scope": scope,
    "finetunes": lambda: finetunes.by_family(finetunes.read()),
    "finetunes-aims": lambda: finetunes.against_aims(finetunes.read()),
    "finetunes-sealed": lambda: finetunes.each_sealed(finetunes.read(finetunes.SEALED)),
}


# The figure: what each method leaves of an attack against what it costs, a panel a victim. To the left is less accuracy lost, further down
# less of the attack left: whatever lies below and left of a point is better in both.

SHAPES = {  # around their middle
    "circle": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "square": "M-3.6-3.6h7.2v7.2h-7.2z",
    "diamond": "M0-5l5 5-5 5-5-5z",
    "triangle": "M0-5l5 9h-10z",
    "cross": "M-4.7-3.3L-3.3-4.7 0-1.4 3.3-4.7 4.7-3.3 1.4 0 4.7 3.3 3.3 4.7 0 1.4-3.3 4.7-4.7 3.3-1.4 0z",
}
MARKS = {  # in the order of the legend: shape of the mark, its colour in light and in dark
    "unlearn": ("circle", "#1b5e9b", "#82b6ea"),
    "par": ("square", "#2e7d32", "#8bcf8f"),
    "cleanclip": ("diamond", "#8e5a00", "#e0b050"),
    "released": ("triangle", "#6a3d9a", "#c4a5e8"),  # CleanCLIP as its released code runs it
    "mmcl": ("cross", "#666666", "#b5b5b5"),
    "invertune": ("triangle", "#00695c", "#6fcfc3"),
    "fine-pruning": ("cross", "#ad1457", "#f0a0c0"),
    "clp": ("cross", "#37474f", "#90a4ae"),
    "supervised": ("square", "#5d4037", "#bcaaa4"),
}
WIDE, HIGH, COLUMNS = 230, 190, 4  # a panel, px
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 34, 34  # of a panel, around its plot
LEGEND = 34
EXCESSES = (0.0, 0.01, 0.05, 0.25, 0.5, 1.0)


class Point(NamedTuple):
    victim: str
    method: str
    lost: float  # clean accuracy, in points
    excess: float


def points() -> list[Point]:
    """What was measured on victims with seed 0; of victims of one method and its control there is little to compare."""
    found = []
    for cell in (cell for name in CLEANED.values() for cell in common.cells(RESULTS / name, "report")):
        entry, method = cell["entry"], cell["method"].partition(":")[0].partition("@")[0]
        if entry["trigger"] and cell["seed"] == 0 and method in MARKS:
            lost = 100 * (cell["before"]["accuracy"] - cell["after"]["accuracy"])
            victim = f"{entry['name'].removeprefix('report-')}{', usual' * (entry['arch'] == 'usual')}"
            found.append(Point(victim, method, lost, cell["after"]["excess"]))
    methods = {point.victim: {p.method for p in found if p.victim == point.victim} for point in found}
    return [point for point in found if len(methods[point.victim] - {"cleanclip", "mmcl"}) > 0]


def drawing(found: list[Point]) -> str:
    """A panel a victim, in rows; marks have their colours from the style, which knows the dark."""
    victims, used = sorted({point.victim for point in found}), [m for m in MARKS if m in {p.method for p in found}]
    low = math.floor(min((p.lost for p in found), default=0)) - 1
    high = math.ceil(max((p.lost for p in found), default=0)) + 1
    light, dark = ("".join(f".{m}{{fill:{MARKS[m][k]};stroke:{MARKS[m][k]}}}" for m in used) for k in (1, 2))
    size = f"{COLUMNS * WIDE} {LEGEND + math.ceil(len(victims) / COLUMNS) * HIGH}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" role="img" font-family="sans-serif" font-size="11">',
        "<title>Excess attack success left by each method against clean accuracy lost, a panel a victim</title>",
        f"<style>text{{fill:#222}}.grid{{stroke:#ddd}}.zero{{stroke:#999}}{light}",
        f"@media(prefers-color-scheme:dark){{text{{fill:#ddd}}.grid{{stroke:#444}}.zero{{stroke:#888}}{dark}}}</style>",
    ]
    x = 14
    for method in used:  # the legend
        parts += [mark(method, x, 16), f'<text x="{x + 10}" y="20">{method}</text>']
        x += 26 + 7 * len(method)
    for number, victim in enumerate(victims):
        left, top = (number % COLUMNS) * WIDE, LEGEND + (number // COLUMNS) * HIGH
        own = [point for point in found if point.victim == victim]
        parts += [f'<g transform="translate({left} {top})">', *panel(victim, own, low, high), "</g>"]
    return "\n".join([*parts, "</svg>"]) + "\n"


def panel(victim: str, own: list[Point], low: int, high: int) -> list[str]:
    """One victim; excess on a scale of square roots, since small ones need room."""
    end, bottom = WIDE - RIGHT, HIGH - BOTTOM

    def across(lost: float) -> float:
        return LEFT + (end - LEFT) * (lost - low) / (high - low)

    def down(excess: float) -> float:
        return TOP + (bottom - TOP) * (1 - math.sqrt(min(max(excess, 0.0), 1.0)))

    name = html.escape(victim.replace("planted-", ""))
    parts = [f'<text x="{LEFT}" y="{TOP - 12}" font-weight="bold">{name}</text>']
    for excess in EXCESSES:
        y = down(excess)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{end}" y1="{y:.1f}" y2="{y:.1f}"/>')
        if excess != EXCESSES[1]:  # too close to zero for words
            parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{excess:g}</text>')
    for lost in (lost for lost in range(low, high + 1) if lost % 5 == 0):
        x, look = across(lost), "grid" if lost else "zero"
        parts.append(f'<line class="{look}" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 13}" text-anchor="middle">{lost}</text>')
    middle = (LEFT + end) / 2
    parts.append(f'<text x="{middle:.0f}" y="{HIGH - 6}" text-anchor="middle">clean accuracy lost, points</text>')
    for point in sorted(own, key=lambda point: list(MARKS).index(point.method), reverse=True):
        words = f"{point.method}: excess {point.excess:.3f}, {point.lost:.1f} points lost"
        parts.append(mark(point.method, across(point.lost), down(point.excess), words))
    return parts


def mark(method: str, x: float, y: float, words: str = "") -> str:
    told = f"<title>{html.escape(words)}</title>" if words else ""
    return f'<path class="{method}" transform="translate({x:.1f} {y:.1f})" d="{SHAPES[MARKS[method][0]]}">{told}</path>'


if __name__ == "__main__":
    sys.exit(main())
