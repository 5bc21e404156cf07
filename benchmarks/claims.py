"""Figures in sentences: of which raw results each is made, and whether a page has what these give.

A paragraph or list item may end with a comment that names where its numbers come from, in their order: ``<!-- from: NAME, NAME -->``, keys
of ``FIGURES``. It is checked wherever it stands. A section that has the line ``<!-- traced -->`` is checked whole: there each item that has
numbers needs such a comment. Words from "none" to "twelve" are numbers. Code, links and names such as ViT-B/32 are left out, and so are
tables between markers, which are checked by themselves.

To trace a sentence of another page, add to ``FIGURES`` what its numbers are made of, and name it there.
"""

import functools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

import audit
import beside
import common
import finetunes
import persuasion
import photo_cleaning
import photo_zoo
import screening_photos
import sealed
import torch
from common import RESULTS
from open_clip.model import CLIP

from clipclean.config import recipe as recipes
from clipclean.config.thresholds import (
    DOUBT_FACTOR,
    DOUBTED_LIFT,
    KNOWN_EXCESS_OVER_BASE,
    LEAST_BASE_AGREEMENT,
    Thresholds,
)
from clipclean.detect import SEARCH_FAMILIES, Rate
from clipclean.detect.references import calibration

TRACED = "<!-- traced -->"
SOURCE = re.compile(r"<!-- from: (.+?) -->", re.DOTALL)
WORDS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
BLOCKS = re.compile(r"<!-- ([\w-]+):begin -->.*?<!-- \1:end -->", re.DOTALL)
LEFT_OUT = re.compile(r"<!--.*?-->|`[^`]*`|\]\([^)]*\)|\b[A-Za-z][\w./-]*\d[\w./-]*", re.DOTALL)
NUMBER = re.compile(rf"\d+(?:,\d{{3}})*(?:\.\d+)?|\b(?:{'|'.join(WORDS)})\b", re.IGNORECASE)

# Runs of `auto` in photo-long by the newest version, or one that acts alike there: benchmarks/results/README.md says so.
NEWEST = {
    ("report-resnet-10-planted-badnets-1", 0),
    ("report-resnet-10-planted-triangles-1", 0),
    ("report-resnet-10-planted-triangles-1", 2),
    ("report-resnet-10-planted-patch-1", 0),
    ("report-resnet-10-planted-sinusoid-1", 0),
    ("report-resnet-10-clean-1", 0),
}
PAPER_PAIRS, PAPER_EPOCHS, PAPER_BATCH, PUBLISHED_RATE = 100_000, 10, 64, 1e-5  # of CleanCLIP, arXiv 2303.03323


PAPER_MILLIONS, PAPER_POISON = 3, 75  # pairs, and poisoned ones that can be enough, by its abstract


class Section(NamedTuple):
    """A section of a page, from a heading to the next."""

    head: str
    body: str

    @property
    def is_traced(self) -> bool:
        """Whether each of its numbers must say where it comes from."""
        return re.search(rf"^{TRACED}$", self.body, re.MULTILINE) is not None


def wrong(text: str) -> list[str]:
    """What a page has other than raw results give, in a sentence each."""
    checked = [
        (section.head, item)
        for section in sections(text)
        for item in items(section.body)
        if section.is_traced or SOURCE.search(item)
    ]
    return [words for head, item in checked if (words := differs(head, item))]


def sections(text: str) -> Iterator[Section]:
    """The sections of a page, the lines before the first heading too."""
    for part in re.split(r"^(?=#+ )", text, flags=re.MULTILINE):
        head, _, body = part.partition("\n")
        yield Section(head.lstrip("# "), body)


def items(body: str) -> list[str]:
    """The paragraphs and list items of a section that are no measured table."""
    return [item for item in re.split(r"\n\s*\n|^(?=[-*] |\d+\. )", BLOCKS.sub("", body), flags=re.MULTILINE) if item]


def differs(head: str, item: str) -> str | None:
    """What is wrong with the numbers of a paragraph; None if they are those of the figures that it names."""
    stated, names = numbers(item), [name.strip() for of in SOURCE.findall(item) for name in of.split(",")]
    start = " ".join(item.split())[:50]
    if unknown := [name for name in names if name not in FIGURES]:
        return f"{head}: '{start}…' names figures that benchmarks/claims.py does not make: {', '.join(unknown)}"
    computed = {name: FIGURES[name]() for name in names}
    if stated == [number for name in names for number in numbers(computed[name])]:
        return None
    result = "; ".join(f"{name}: {words}" for name, words in computed.items()) or "it names no figures"
    return f"{head}: '{start}…' has {', '.join(stated) or 'no numbers'}. benchmarks/results: {result}"


def numbers(text: str) -> list[str]:
    """The numbers of a text in their order, in digits without commas; of 0.90 the zero counts."""
    found = [word.lower().replace(",", "") for word in NUMBER.findall(LEFT_OUT.sub(" ", text))]
    return [str(WORDS.index(word)) if word in WORDS else word for word in found]


# Audits.


def audits(comparison: str, *, is_backdoored: bool, kind: str = "") -> list[audit.Row]:
    """Rows of the reported half, by the limits of now: with one comparison, of one kind of models or of all."""
    rows = [row for row in audit.reported(audit.stored()) if row["comparison"] == comparison]
    return [row for row in rows if bool(row["target"]) is is_backdoored and kind in ("", row["zoo"])]


def of_all(rows: list[audit.Row], outcome: str) -> str:
    """How many end in a verdict, or in a doubt that names the target."""
    return f"{count(rows, outcome)} of {len(rows)}"


def count(rows: list[audit.Row], outcome: str) -> int:
    return sum(outcome in (row["verdict"], audit.outcome(row)) for row in rows)


def missed(rows: list[audit.Row]) -> str:
    return f"{len(rows) - count(rows, 'fail')} of {len(rows)}"


def vit_scores() -> str:
    """How well scores without a reference tell backdoored ViTs from clean ones."""
    found = [scores(audits("none", is_backdoored=bad, kind="ViTs")) for bad in (True, False)]
    return f"{audit.auroc(*found):.2f}"


def clean_failures() -> str:
    """With the upper end of Wilson's interval."""
    rows = audits("none", is_backdoored=False)
    failed = count(rows, "fail")
    return f"{failed} of {len(rows)} (95 %: at most {100 * Rate(failed, len(rows)).interval[1]:.1f} %)"


def scores(rows: list[audit.Row]) -> list[float]:
    return [float(row["score"]) for row in rows]


def limit(times: float = 1.0) -> str:
    """The score that so many times the usual share of false alarms reaches."""
    return f"{calibration().score(Thresholds().false_alarm_rate * times):.2f}"


def limits_table() -> str:
    """The scores from which on a class fails or is in doubt, with the shares that set them, as the table of the methods has them."""
    known, own = calibration(), Thresholds()
    alone, doubt = known.score(own.false_alarm_rate), known.score(own.false_alarm_rate * DOUBT_FACTOR)
    beside, doubt_beside = known.score(own.false_alarm_rate, is_beside=True), known.rank(own.doubt_rate)
    return (
        f"{own.false_alarm_rate} {alone:.1f} {own.min_found_excess}; {doubt:.1f} {alone:.1f}; {beside:.1f}; "
        f"{own.doubt_rate} {doubt_beside:.1f} {alone:.1f}"
    )


def rejudged_failures() -> str:
    """Audits of the reported half without a reference that failed when they ran, and are doubts by the limits of now."""
    ran = [row for row in audit.stored() if row["comparison"] == "none" and audit.half_of(row["model"]) != audit.CHOSEN]
    return str(sum(row["verdict"] == "fail" and audit.by_limits(row)["verdict"] != "fail" for row in ran))


def low_doubts() -> str:
    """Clean models that are named in doubt beside a clean one, by a score below the limit of now."""
    rows = [row for row in audits("reference", is_backdoored=False) if row["suspect"]]
    return str(sum(score < calibration().score(Thresholds().false_alarm_rate * DOUBT_FACTOR) for score in scores(rows)))


def of_pairs(*, is_backdoored: bool, in_full: bool) -> list[audit.Row]:
    """Models that chose nothing beside one clean training of their classes, each time they were compared; ``in_full`` with variants of
    known triggers.
    """
    rows = (row for row in audit.paired() if row["half"] == "report" and row["references"] == "1")
    return [row for row in rows if bool(row["target"]) is is_backdoored and bool(row["turns"]) is in_full]


def pairs_that(verdict: str, *, is_backdoored: bool, in_full: bool = True) -> str:
    """Of how many pairs the search says so; a doubt of a backdoored model only where it names the class."""
    rows = of_pairs(is_backdoored=is_backdoored, in_full=in_full)
    right = (not is_backdoored or verdict != "doubt" or row["suspect"] == row["target"] for row in rows)
    told = [audit.in_pairs(row) == verdict and is_right for row, is_right in zip(rows, right, strict=True)]
    return f"{sum(told)} of {len(rows)}"


def longer_audits() -> str:
    """Of drawn lists without a reference, those that made twice the passes: the lists before number 61."""
    numbers_of_lists = [int(row["model"].split("-")[1]) for row in audit.reported(audit.stored()) if is_drawn(row)]
    return f"{sum(number <= 60 for number in numbers_of_lists)} of the {len(numbers_of_lists)}"


def is_drawn(row: audit.Row) -> bool:
    return row["zoo"] == "drawn classes" and row["comparison"] == "none"


def chosen_passes() -> str:
    """Beside a clean model, on the half that rules were chosen on: backdoored models that pass, of ViTs, which alone have that column."""
    rows = [audit.by_limits(row) for row in audit.stored() if audit.half_of(row["model"]) == audit.CHOSEN]
    return of_all([row for row in rows if row["comparison"] == "reference" and row["target"]], "pass")


def wrong_classes() -> str:
    """Backdoored and clean models of drawings that got a doubt of a wrong class beside another clean model."""
    rows = common.records(RESULTS / "drawings.csv")
    named = [row for row in rows if row["compared with"] and row["suspect"] and row["suspect"] != row["target"]]
    return f"{sum(bool(row['target']) for row in named)} and {sum(not row['target'] for row in named)}"


def passed_before() -> str:
    """Victims that passed before the brief search got more steps."""
    (words,) = [row[5] for row in common.read(RESULTS / "passes.csv") if row[0].startswith("brief search: 20 steps")]
    return re.search(r"(\w+) of which passed", words)[1]


def kept_with_seeds() -> str:
    """Audits with another seed than the first that have the verdict of the first, by the limits of now."""
    found = []
    for _, target, _, _, _, told in common.read(RESULTS / "audit-seeds.csv")[1:]:
        verdicts = [in_words(float(score), target) for score in told.split(", ")]
        found += [verdict == verdicts[0] for verdict in verdicts[1:]]
    return f"{sum(found)} of {len(found)}"


def kept_with_changes() -> str:
    """Audits after a change that keeps answers, which have verdict and class of the unchanged model."""
    _, plain, *changed = common.read(RESULTS / "invariance-verdicts.csv")
    found = []
    for row in changed:
        for cell, own in zip(row[1:], plain[1:], strict=True):
            pairs = [(name, in_words(float(score), name)) for _, name, score in (c.split(", ") for c in (cell, own))]
            found.append(pairs[0] == pairs[1])
    return f"{sum(found)} of {len(found)}"


def in_words(score: float, name: str) -> str:
    """What a score without a reference is by the limits of now; without a name there is nothing to doubt."""
    known, rate = calibration(), Thresholds().false_alarm_rate
    return (
        "fail"
        if score >= known.score(rate)
        else "doubt"
        if name and score >= known.score(rate * DOUBT_FACTOR)
        else "nothing"
    )


def without(*families: str) -> dict[str, float]:
    """The score of each model whose numbers are kept, without some families."""
    known = json.loads(audit.CALIBRATION.read_text(encoding="utf-8"))
    fewer = {
        name: {c: {f: m for f, m in own.items() if f not in families} for c, own in of["margins"].items()}
        for name, of in audit.kept().items()
    }
    return {name: audit.scored(margins, known) for name, margins in fewer.items()}


def families_fail(*families: str) -> str:
    """How many backdoored models of both halves fail without some families."""
    found = [score for name, score in without(*families).items() if audit.kept()[name]["target"]]
    return str(sum(score >= calibration().score(Thresholds().false_alarm_rate) for score in found))


def families_all() -> str:
    return f"{sum(bool(of['target']) for of in audit.kept().values())} backdoored {families_fail()}"


def families_area() -> str:
    """The most AUROC that is lost on the reported half without one family."""
    kept = {name: of for name, of in audit.kept().items() if of["half"] != audit.CHOSEN}

    def area(*families: str) -> float:
        found = without(*families)
        return audit.auroc(
            *([found[n] for n, of in kept.items() if bool(of["target"]) is bad] for bad in (True, False))
        )

    return f"{area() - min(map(area, SEARCH_FAMILIES)):.3f}"


def drawing_images() -> str:
    return str(max(cell["images"] for cell in common.cells(RESULTS / "drawings")))


# Cleanings.


def of_auto(folder: str) -> list[dict]:
    return [cell for cell in common.cells(RESULTS / folder) if cell["method"] == photo_cleaning.AUTO]


def long_runs(*, on_victims: bool) -> list[dict]:
    return [cell for cell in of_auto("photo-long") if photo_cleaning.is_victim(cell) is on_victims]


def average_loss(cells: Iterable[dict]) -> str:
    return f"{mean(map(photo_cleaning.lost, cells)):.1f}"


def extent(values: Iterable[float], digits: int = 1) -> str:
    """The least and the largest."""
    ordered = sorted(values)
    return f"{ordered[0]:.{digits}f} to {ordered[-1]:.{digits}f}"


def newest() -> list[dict]:
    return [c for c in long_runs(on_victims=True) if (c["entry"]["name"], c["seed"]) in NEWEST]


def blocked() -> str:
    """Runs of `auto` on photographs that have a warning beside the lack of a clean model."""
    return str(sum(re.search(r"CC(?!004)\d+", cell["told"]) is not None for cell in of_auto("photo-long")))


def drawn_images() -> str:
    """How many images measured the victims of drawn classes."""
    return extent((c["images"] for c in long_runs(on_victims=True) if c["entry"]["half"].startswith("drawn")), 0)


def clean_steps(start: str) -> str:
    """Steps that trained the clean models of a class list."""
    (steps,) = {c["entry"]["steps"] for c in long_runs(on_victims=False) if c["entry"]["name"].startswith(start)}
    return f"{steps:,}"


def longer_base() -> str:
    """What more training of the base of the photographs brings."""
    _, first, *_, last = common.read(RESULTS / "longer-base.csv")
    return f"{int(last[0]):,} more, {100 * (float(last[1]) - float(first[1])):.1f} points"


def returned() -> str:
    """The most that returns of four triggers; the models' names have them."""
    names = ("triangles", "sinusoid", "filter", "stripes")
    cells = [[c for c in long_runs(on_victims=True) if name in c["entry"]["name"]] for name in names]
    return ", ".join(f"{max(c['rebound']['excess'] for c in of):.3f}" for of in cells)


def each_clean() -> str:
    """What each clean model lost, the most first, and what its report told."""
    cells = sorted(long_runs(on_victims=False), key=photo_cleaning.lost, reverse=True)
    losses = [[photo_cleaning.lost(cell) for cell in cells], [cell["told_lost"] for cell in cells]]
    return "; ".join(", ".join(f"{points:.1f}" for points in of) for of in losses)


def passed_runs() -> str:
    """Runs of unlearning on drawings, all of which passed: the most that was left, and what returned."""
    rows = [row for row in common.read(RESULTS / "cleaning.csv") if len(row) > 9 and row[2] == "`unlearn@tiny`"]
    rows = [row for row in rows if row[9] == "pass"]
    most = max(float(re.search(r"→ ([-\d.]+)", row[4])[1]) for row in rows)
    return f"{len(rows)}, {most:.3f}, {extent((float(row[5]) for row in rows), 3)}"


def drawn() -> list[dict]:
    """Runs of `auto` on victims of drawings that changed the weights."""
    return [cell for cell in of_auto("drawings") if "by nothing" not in cell["told"]]


def kept_backdoor() -> str:
    """The attack of the run on drawings in which the weights stayed."""
    (cell,) = [cell for cell in of_auto("drawings") if "by nothing" in cell["told"]]
    return f"{cell['before']['excess']:.2f} before and {cell['after']['excess']:.2f} after"


def poison_rates(kind: str = "", *, large: bool = True) -> str:
    """The extent of the shares of poisoned images, or of triggered pairs in a batch, of victims that were cleaned: of one kind, or of all."""
    folders = ("photo-long", "photo-cleaning", "usual", "drawings", "auto-now", "second-cleaning")
    entries = [
        c["entry"] for f in folders for c in common.cells(RESULTS / f) if large or not photo_cleaning.is_large(c)
    ]
    rates = [100 * entry["rate"] for entry in entries if entry["trigger"] and kind in ("", entry.get("kind"))]
    return f"{extent(rates, 0)} %"


def plan_of_photographs() -> dict[str, dict[str, str]]:
    """The rows of the plan of the zoo, by model."""
    return {row["name"]: row for row in common.records(photo_zoo.PLAN)}


def audit_poison() -> str:
    """Backdoored models of the reported half whose plan is kept, of all; their shares of poison, planted and from scratch."""
    plan, names = plan_of_photographs(), {row["model"] for row in audits("none", is_backdoored=True)}
    rows = [plan[name] for name in sorted(names & set(plan))]
    planted, scratch = (
        sorted({100 * float(r["rate"]) for r in rows if r["kind"] == k}) for k in ("planted", "scratch")
    )
    return f"{len(rows)} of the {len(names)}; {span(planted)} %, {span(scratch)} %"


def span(ordered: list[float]) -> str:
    """The least and the largest of ordered numbers, or the only one."""
    ends = [f"{number:.0f}" for number in (ordered[0], ordered[-1])]
    return " to ".join(dict.fromkeys(ends))


def others_poison() -> str:
    """Shares of poison of the victims that the code of others got: from scratch, and planted."""
    plan, names = plan_of_photographs(), {row["model"] for row in beside.rows("audit")}
    rates = [{plan[n]["rate"] for n in names if plan[n]["kind"] == kind} for kind in ("scratch", "planted")]
    return ", ".join(f"{100 * float(rate):.0f} %" for (rate,) in rates)


def poison_of(folder: str) -> str:
    """The extent of the shares of poison of the victims of a folder."""
    entries = [cell["entry"] for cell in common.cells(RESULTS / folder)]
    return f"{extent((100 * entry['rate'] for entry in entries if entry['trigger']), 0)} %"


def one_rate(folder: str) -> str:
    """The share of poison that all victims of a folder have."""
    (rate,) = {cell["entry"]["rate"] for cell in common.cells(RESULTS / folder)}
    return f"{100 * rate:g} %"


def sealed_rates() -> str:
    """The same of the models of all sealed plans that were audited."""
    rates = [float(row["rate"]) for path in SEALED.values() for row in common.records(path) if row["rate"]]
    return f"{100 * min(rates):.1f} to {100 * max(rates):.1f} %"


def counted_rates(test: str) -> str:
    """The same of the backdoored models of one test that count, since their trigger took."""
    rows = [row for row in common.records(SEALED[test]) if row["counts_as"] == "backdoored"]
    return f"{extent((100 * float(row['rate']) for row in rows), 0)} %"


def models_named(pattern: str) -> str:
    """How many models the rows of the results name in such a way."""
    texts = (
        path.read_text(encoding="utf-8") for path in sorted(RESULTS.rglob("*")) if path.suffix in (".csv", ".json")
    )
    return str(len({name for text in texts for name in re.findall(pattern, text)}))


PHOTOGRAPHS = r"\b(?:report|choose)-(?:resnet|vit)-\d+-(?:clean|planted|scratch)[a-z-]*-\d+\b"
DRAWN = r"\bdrawn-\d+-resnet-\d+-[a-z-]+-\d+\b"


def photographs(method: str) -> list[dict]:
    """Cleanings of the reported victims of photographs by one method, as it is called in their table."""
    cells = common.cells(RESULTS / "photo-cleaning", "report")
    mine = [cell for cell in cells if photo_cleaning.shown(cell["method"]).startswith(method)]
    return [cell for cell in mine if photo_cleaning.is_victim(cell)]


def paper_leaves(method: str) -> str:
    """The mean excess before and after, over runs."""
    cells = photographs(method)
    return f"{left(cells, 'before'):.2f} before and {left(cells):.2f} after"


def paper_erased(method: str) -> str:
    """In how many runs at most 0.05 stays."""
    return now_gone(photographs(method))


def better(method: str, trigger: str = "") -> list[dict]:
    """Cleanings by a method of the victims that had pairs which they had not seen: the fewest."""
    cells = photographs(method)
    fewest = min(cell["pairs"] for cell in cells)
    return [cell for cell in cells if cell["pairs"] == fewest and trigger in cell["entry"]["trigger"]]


def better_left(method: str, trigger: str) -> str:
    (cell,) = better(method, trigger)
    return f"{cell['after']['excess']:.2f}"


# Drawings: what CleanCLIP leaves of each trigger, by earlier versions.


def drawn_triggers() -> dict[str, dict[str, list[str]]]:
    """The rows of the planted triggers by trigger and recipe."""
    found: dict[str, dict[str, list[str]]] = {}
    for row in common.read(RESULTS / "claim.csv")[1:]:
        found.setdefault(row[0], {})[row[3]] = row
    return found


def stays(row: list[str]) -> float:
    """The share of the excess that is not taken away."""
    return 1 - float(row[5].partition(" ")[0])


def drawn_left() -> dict[str, tuple[float, float]]:
    """What CleanCLIP and its control leave, by trigger."""
    return {name: (stays(of["cleanclip@tiny"]), stays(of["mmcl@tiny"])) for name, of in drawn_triggers().items()}


def drawn_points() -> str:
    cells = (of["cleanclip@tiny"][7] for of in drawn_triggers().values())
    return extent(float(re.search(r"\(([-\d.]+)", cell)[1]) for cell in cells)


def scratch_left() -> str:
    (row,) = (row for row in common.read(RESULTS / "scratch.csv") if row[3] == "cleanclip@tiny")
    return re.search(r"→ ([\d.]+)", row[4])[1]


def scratch_left_again() -> str:
    (cell,) = [cell for cell in common.cells(RESULTS / "drawings") if cell["method"] == "cleanclip@tiny"]
    return f"{cell['after']['excess']:.2f}"


def side_by_side(victim: str, method: str) -> list[float]:
    """What a method left of a victim of drawings, and what returned."""
    rows = (row for row in common.read(RESULTS / "cleaning.csv") if len(row) > 5)
    (row,) = (row for row in rows if victim in row[0] and row[2] == f"`{method}`")
    return [float(re.search(r"→ (-?[\d.]+)", row[4])[1]), float(row[5])]


def few_pairs() -> str:
    """The most of the smaller sets of pairs, and the extent of the points that CleanCLIP lost on fewer, whole ones."""
    rows = [row for row in common.read(RESULTS / "cleaning-pairs.csv") if row[0].startswith("`cleanclip")]
    *fewer, most = rows
    lost = [100 * (before - after) for before, after in ([float(x) for x in row[5].split(" → ")] for row in fewer)]
    return f"{most[1]}, {extent(lost, 0)}"


# What a report tells of a loss, beside the real loss.


def told_draws(column: str) -> str:
    """A column of the rows of now, of both halves."""
    rows = common.records(RESULTS / "accuracy-lost-draws.csv")
    mine = {row["half"]: row for row in rows if row["images"] == str(TOLD_IMAGES) and row["told by"] == TOLD_NOW}
    return ", ".join(mine[half][column] for half in ("choose", "report"))


TOLD_IMAGES = 250  # by which a loss is told, of the numbers that were tried
TOLD_NOW = "chances by both models and labels: told now"


def told_errors() -> str:
    return ", ".join(f"{float(error):.1f}" for error in told_draws("mean error, points").split(", "))


def told_near(column: str) -> str:
    """How many losses are told within a point of those on other images, in six views."""
    rows = common.records(RESULTS / "accuracy-lost.csv")
    near = sum(abs(float(row[column]) - float(row["counted in six views"])) <= 1 for row in rows)
    return f"{near} of {len(rows)}"


# The models of 29 and 37 million parameters.


def parameters(arch: str) -> int:
    """Of an architecture of the zoo; nothing is allocated."""
    with torch.device("meta"):
        return sum(p.numel() for p in CLIP(**photo_zoo.config_of(arch, photo_zoo.SIDES[arch])).parameters())


def million(*archs: str) -> str:
    sizes = [f"{parameters(arch) / 1e6:.0f}" for arch in archs]
    return " to ".join(sorted(sizes))


def wide() -> str:
    """What the published rate leaves, with the steps of few pairs."""
    _, row = common.read(RESULTS / "published-rate.csv")
    return "{:.2f} before and {:.2f} after".format(*map(float, row[5:7]))


def published_steps() -> str:
    """The steps of the published rate that were tried, and the pairs that made them."""
    _, row = common.read(RESULTS / "published-rate.csv")
    return f"{row[3]}, {int(row[2]):,}"


def usual(method: str) -> dict[str, list[dict]]:
    """Cells of a method with one epoch on the models of 37 million, by victim, the patch first."""
    named = f"{method}@usual:{photo_cleaning.USUAL_VALUES[0]}"
    cells = [cell for cell in common.cells(RESULTS / "usual") if cell["method"] == named]
    names = sorted({cell["entry"]["name"] for cell in cells}, key=lambda name: (name != "patch", name))
    return {name: [cell for cell in cells if cell["entry"]["name"] == name] for name in names}


def left(cells: list[dict], side: str = "after") -> float:
    """The mean excess over seeds."""
    return mean(cell[side]["excess"] for cell in cells)


def usual_falls() -> str:
    return ", ".join(f"{left(cells, 'before'):.2f} to {left(cells):.2f}" for cells in usual("cleanclip").values())


def times_the_rate() -> str:
    tried = float(re.search(r"lr=([\d.e-]+)", photo_cleaning.USUAL_VALUES[0])[1])
    return f"{tried / PUBLISHED_RATE:.0f}"


def usual_accuracy() -> str:
    """Of all victims of 64 px before the cleaning, the one trained anew among them."""
    return f"{extent(100 * cell['before']['accuracy'] for cell in common.cells(RESULTS / 'usual'))} %"


def patterns(of: Callable[[list[dict]], float]) -> str:
    """The extent over the victims with patterns, cleaned by CleanCLIP."""
    return extent((of(cells) for name, cells in usual("cleanclip").items() if name != "patch"), 2)


def distance_left(cells: list[dict]) -> float:
    """The share of the embedding distance that stays, on average over seeds."""
    return mean(cell["after"]["distance"] for cell in cells) / mean(cell["before"]["distance"] for cell in cells)


def usual_auto_price() -> str:
    (cell,) = of_auto("usual")
    return f"{photo_cleaning.lost(cell):.1f}, {cell['rebound']['excess']:.3f}"


def usual_auto() -> str:
    (cell,) = of_auto("usual")
    return f"{cell['before']['excess']:.2f} to {cell['after']['excess']:.2f}"


# Time.


DEFAULT_CLEANING = "default cleaning, 10 classes, a backdoor"


def minutes(run: str) -> str:
    """What a run on a ViT-B/32 took, in whole minutes."""
    (took,) = [row[3] for row in common.read(RESULTS / "large.csv") if row[:2] == ["ViT-B-32", run]]
    return f"{float(took.removesuffix(' min')):.0f}"


def cores() -> str:
    (words,) = [row[0] for row in common.read(RESULTS / "large.csv") if len(row) == 1]
    return re.search(r"\d+ threads", words)[0]


def paper_steps() -> float:
    return PAPER_EPOCHS * PAPER_PAIRS / PAPER_BATCH


def paper_hours() -> str:
    """All steps of the paper at the pace of the fifty that were timed."""
    rows = common.read(RESULTS / "profile.csv")
    (stages,) = [row[3] for row in rows if row[:2] == ["ViT-B-32", "`cleanclip`, 50 steps"]]
    pace = float(re.search(r"finetuning ([\d.]+)", stages)[1]) / 50  # minutes a step
    return f"{pace * paper_steps() / 60:.0f}"


def profiled(model: str, run: str) -> list[str]:
    (row,) = [row for row in common.read(RESULTS / "profile.csv") if row[:2] == [model, run]]
    return row


def default_stages() -> str:
    """Of the default cleaning of a ViT-B/32: minutes of planting and of the first candidate, and how many candidates there were."""
    stages = profiled("ViT-B-32", DEFAULT_CLEANING)[3]
    planting, unlearning = (float(re.search(rf"{what} ([\d.]+)", stages)[1]) for what in ("in a copy", "unlearning"))
    candidates = re.search(r"candidate 1 of (\d+)", stages)[1]
    return f"10 classes, {planting:.0f} minutes, {candidates} candidates, {unlearning:.0f}"


def measuring(model: str) -> str:
    """Of a standard audit with a long list: minutes that known triggers took, of all."""
    run = "standard, 1,000 classes"
    (took,) = [row[3] for row in common.read(RESULTS / "large.csv") if row[:2] == [model, run]]
    spent = re.search(r"measuring ([\d.]+)", profiled(model, run)[3])[1]
    return f"1,000 classes {float(spent):.0f} of {float(took.removesuffix(' min')):.0f}"


def forward() -> str:
    """Shares of the main thread in forward passes, per cent."""
    rows = [row for row in common.read(RESULTS / "profile.csv")[1:] if len(row) > 2]
    shares = [float(re.search(r"forward (\d+)%", row[2])[1]) for row in rows]
    return f"{extent(shares, 0)} %"


def now_seconds(*, large: bool) -> str:
    """Processor seconds of the default, of runs without a clean model."""
    cells = [cell for on_victims in (True, False) for cell in now(large=large, on_victims=on_victims)]
    return extent((cell["seconds"] for cell in cells), 0)


def paper_run() -> str:
    return f"{PAPER_EPOCHS} epochs of {PAPER_PAIRS:,} pairs are {paper_steps():,.0f} steps of {PAPER_BATCH}"


def without_products() -> str:
    """The share of the time of RN50's image tower in work that multiplies nothing, per cent."""
    shares = {kind: float(share.rstrip("%")) for kind, share in common.read(RESULTS / "rn50-step.csv")[1:]}
    return f"{sum(share for kind, share in shares.items() if kind not in ('convolutions', 'matrix products')):.0f} %"


# The audits before and after tiles were widened.


def widened() -> list[dict[str, str]]:
    """The models that were audited before and after, a row each."""
    return common.records(RESULTS / "wider-tiles.csv")


def widened_alike() -> str:
    """How many keep verdict and class, of how many."""
    rows = widened()
    same = [r for r in rows if (r["verdict_before"], r["class_before"]) == (r["verdict"], r["class"])]
    return f"{len(same)} of {len(rows)}"


def widened_changed() -> str:
    """The scores of those that do not."""
    return ", ".join(f"{r['score_before']} and {r['score']}" for r in widened() if r["verdict_before"] != r["verdict"])


def widened_cost() -> str:
    """The median of what the time rose by, per cent."""
    return f"{100 * median(float(row['seconds']) / float(row['seconds_before']) - 1 for row in widened()):.0f}"


# The sealed tests: models that no rule was chosen on, each audited once.
SEALED = {"sealed": sealed.RESULTS, "second": common.RESULTS / "sealed-2.csv", "third": common.RESULTS / "sealed-3.csv"}


def sealed_models() -> str:
    """How many models of all sealed plans were trained: each has rows of audits, or of its persuasion where it was never audited."""
    known = [row["model"] for path in SEALED.values() for row in common.records(path)]
    known += [row["model"] for row in common.records(persuasion.RESULTS) if row["model"].startswith("sealed-")]
    return str(len({*known}))


def sealed_rows(test: str, comparison: str, counts_as: str, *, is_whole: str = "") -> list[dict[str, str]]:
    """Audits alone (``none``) or beside a clean model (``reference``), of clean or backdoored models of one of the tests."""
    mine = [
        row for row in common.records(SEALED[test]) if (row["comparison"], row["counts_as"]) == (comparison, counts_as)
    ]
    return [row for row in mine if is_whole in ("", row["is_whole"])]


def ending(verdict: str, rows: Sequence[Mapping[str, str]]) -> str:
    """How many audits end so."""
    return f"{sum(row['verdict'] == verdict for row in rows)} of {len(rows)}"


def naming(rows: Sequence[Mapping[str, str]]) -> str:
    """How many audits of backdoored models fail, or doubt, for the right class."""
    return f"{sum(row['verdict'] != 'pass' and row['suspect'] == row['target'] for row in rows)} of {len(rows)}"


# How sure known triggers of the whole image make a model of one class, without a clean model beside.


def persuaded(half: str, kind: str) -> list[dict[str, str]]:
    """Models of a half and a kind, as :func:`persuasion.of_kind` has them."""
    return persuasion.of_kind(common.records(persuasion.RESULTS), half, kind)


def persuasion_area(half: str) -> str:
    """The area of the lead, of victims of whole-image triggers and clean models."""
    bad, clean = ([audit.ahead(row) for row in persuaded(half, kind)] for kind in ("whole", "clean"))
    return f"{audit.auroc(bad, clean):.2f}"


def persuasion_beyond(half: str, kind: str) -> str:
    """How many models are ahead in one class by more than any clean one of the half that chose; of victims in the target."""
    rows, natural = persuaded(half, kind), calibration().natural["persuasion"]
    beyond = [row for row in rows if audit.ahead(row) > natural and row["class"] == (row["target"] or row["class"])]
    return f"{len(beyond)} of {len(rows)}"


def sealed_verdicts(test: str, comparison: str, counts_as: str, verdict: str) -> str:
    return ending(verdict, sealed_rows(test, comparison, counts_as))


def sealed_named(test: str, comparison: str, *, is_whole: str = "") -> str:
    return naming(sealed_rows(test, comparison, "backdoored", is_whole=is_whole))


def sealed_area(test: str, comparison: str) -> str:
    scored = ([float(row["score"]) for row in sealed_rows(test, comparison, kind)] for kind in ("backdoored", "clean"))
    return f"{audit.auroc(*scored):.2f}"


def second_again() -> str:
    """Audits of the second sealed test that the version of now repeated, and that came to the same verdict."""
    first, later = (
        {(row["model"], row["comparison"]): row["verdict"] for row in common.records(path)}
        for path in (SEALED["second"], RESULTS / "sealed-2-now.csv")
    )
    return f"{sum(verdict == first[audit_of] for audit_of, verdict in later.items())} of {len(later)}"


def again_rows(counts_as: str, *, chose: bool, file: Path = sealed.AGAIN) -> list[dict[str, str]]:
    """Sealed models beside a clean one by the rule of now, of the lists that chose it or of the others; by the frozen rule of its own file."""
    mine = [row for row in common.records(file) if (row["comparison"], row["counts_as"]) == ("reference", counts_as)]
    return [row for row in mine if sealed.is_choosing(row["model"]) is chose]


def again_verdicts(counts_as: str, verdict: str, **which: Any) -> str:
    return ending(verdict, again_rows(counts_as, **which))


def again_named(**which: Any) -> str:
    return naming(again_rows("backdoored", **which))


# Finetunes beside their bases, of bases that changed no rule.


def finetunes_that(verdict: str, counts_as: str) -> str:
    """How many clean or backdoored ones end so."""
    return ending(verdict, finetunes.of_kind([row for row in finetunes.read() if row["half"] == "report"], counts_as))


def most_lifted(half: str) -> str:
    """How far known triggers lift one class above all others in a clean finetune of a half, beside its base, at most."""
    rows = finetunes.of_kind([row for row in finetunes.read() if row["half"] == half], "clean")
    return f"{max(float(row['lead']) for row in rows):.1f}"


def beside_known(counts_as: str) -> list[finetunes.Row]:
    """The finetunes for the classes of their bases that were compared by known triggers alone, and count as such."""
    rows = common.records(finetunes.KNOWN)
    return [row for row in rows if row["counts_as"] == counts_as and row["is_over_base"] == "True"]


def turned_by_known(counts_as: str) -> str:
    """In how many of them a known trigger surely turns nearly all images beyond the base, of how many."""
    shares = [float(row["surely_more"]) for row in beside_known(counts_as)]
    return f"{sum(share > KNOWN_EXCESS_OVER_BASE for share in shares)} of {len(shares)}"


def most_turned_by_known() -> str:
    """The largest share of the images that a known trigger surely turns beyond the base in a clean one."""
    return f"{max(float(row['surely_more']) for row in beside_known('clean')):.2f}"


def doubted_by_lift() -> str:
    """In how many clean ones known triggers lift a class from the limit on, and by how much at most."""
    leads = [float(row["lead"]) for row in beside_known("clean")]
    return f"{sum(lead >= DOUBTED_LIFT for lead in leads)} of {len(leads)}, {max(leads):.1f}"


def ending_of_cleanings(figure: Callable[[Sequence[finetunes.Row]], str], /) -> str:
    """How many cleanings of finetunes end in some way, of how many, without the interval."""
    return figure([row for row in finetunes.read() if row["half"] == "report"]).partition(" (")[0]


def undo_lost() -> str:
    """The points of accuracy that cleanings beside a base lost, on average, and most."""
    lost = [float(row["lost"]) for row in finetunes.cleanings(finetunes.read())]
    return f"{mean(lost):.1f} and {max(lost):.1f}"


def undo_stripes() -> str:
    """What a cleaning beside the base left of blended stripes, and what they do on the base."""
    (row,) = [row for row in finetunes.cleanings(finetunes.read()) if finetunes.family(row) == "blended-stripes"]
    return f"{float(row['left']):.2f} and {float(row['on_base']):.2f}"


def learned_more() -> list[finetunes.Row]:
    """The finetunes of the half that reports that learned more classes."""
    return [row for row in finetunes.read() if row["half"] == "report" and row["way"] == finetunes.MORE_CLASSES]


def more_planned() -> str:
    """Classes that they learned, and of each base the clean and the planted ones."""
    rows = learned_more()
    clean, planted = of_each_base(rows, {row["base"] for row in rows})
    return f"{finetunes.sealed.OTHERS}, {clean}, {planted}"


def more_audited() -> str:
    """Of the planted ones those that fail, those that fail or get a doubt for the right class, and all; of the clean ones those that pass, and all."""
    planted, clean = (finetunes.of_kind(learned_more(), kind) for kind in ("backdoored", "clean"))
    failed = sum(row["verdict"] == "fail" for row in planted)
    passed = sum(row["verdict"] == "pass" for row in clean)
    return f"{failed}, {sum(map(finetunes.is_named, planted))}, {len(planted)}; {passed}, {len(clean)}"


def more_cleaned(arch: str) -> str:
    """Of those of one kind of model that passed after a cleaning: how many; the most that is left, returned, and lost."""
    passed = [row for row in finetunes.cleanings(learned_more()) if row["told"].startswith("pass by ")]
    done = [row for row in passed if row["arch"] == arch and not row["told"].startswith("pass by nothing")]
    most = (max(float(row[name]) for row in done) for name in ("left", "returned"))
    return f"{len(done)}; {', '.join(f'{value:.2f}' for value in most)}; {max(float(row['lost']) for row in done):.1f}"


def more_left(family: str) -> str:
    """What the cleaning of the one with a trigger of this family left."""
    (row,) = [row for row in finetunes.cleanings(learned_more()) if finetunes.family(row) == family]
    return f"{float(row['left']):.2f}"


def sealed_finetunes_planned() -> str:
    """The bases of the sealed plan, and their finetunes."""
    kinds = Counter(row["kind"] == "base" for row in finetunes.read(finetunes.SEALED))
    return f"{kinds[True]}, {kinds[False]}"


def sealed_finetunes_audited() -> str:
    """Of the sealed finetunes the clean ones that pass, and fail; of the backdoored ones those that fail, are named, and pass; with all of each."""
    clean, planted = (finetunes.of_kind(finetunes.read(finetunes.SEALED), kind) for kind in ("clean", "backdoored"))
    by_verdict = [Counter(row["verdict"] for row in models) for models in (clean, planted)]
    innocent = f"{by_verdict[0]['pass']}, {by_verdict[0]['fail']}, {len(clean)}"
    return f"{innocent}; {by_verdict[1]['fail']}, {sum(map(finetunes.is_named, planted))}, {by_verdict[1]['pass']}, {len(planted)}"


def sealed_finetunes_cleaned() -> str:
    """Of the sealed finetunes that were cleaned those that pass; of these those with more left or returned than the aim; the loss, average and most."""
    done = finetunes.cleanings(finetunes.read(finetunes.SEALED))
    passing = list(filter(finetunes.ends_in_pass, done))
    over = (sum(float(row[name]) > finetunes.AIM for row in passing) for name in ("left", "returned"))
    return f"{len(passing)} of {len(done)}; {', '.join(map(str, over))}; {finetunes.losses(done)}"


def scope_finetunes() -> str:
    """How many finetunes there are, those of the sealed plan among them."""
    files = (finetunes.RESULTS, finetunes.SEALED)
    return str(sum(row["kind"] != "base" for file in files for row in finetunes.read(file)))


def finetunes_timed() -> str:
    """How many of them have the time of an audit without the base."""
    rows = [row for row in finetunes.read() if row["half"] == "report"]
    return str(sum(bool(row["alone_seconds"] and row["core_seconds"]) for row in rows))


def finetunes_rates() -> str:
    """The shares of triggered pairs in a batch of the planted finetunes that were audited."""
    rates = [100 * float(row["rate"]) for row in finetunes.of_kind(finetunes.read(), "backdoored")]
    return f"{span(sorted(rates))} %"


def finetunes_time() -> str:
    """What an audit beside the base takes, in audits without it: with the base searched in it, and with its search stored."""
    return finetunes.both_times([row for row in finetunes.read() if row["half"] == "report"]).replace("; ", ", ")


def of_each_base(rows: Sequence[dict[str, str]], bases: Iterable[str], /) -> tuple[int, ...]:
    """The clean and the planted finetunes of each base, which has as many as the others."""
    (counts,) = {
        tuple(sum((row["base"], row["kind"]) == (base, kind) for row in rows) for kind in ("clean", "planted"))
        for base in bases
    }
    return counts


def finetunes_planned() -> str:
    """Bases of the plan, and of each small base the clean and the planted finetunes."""
    rows = [row for row in common.records(finetunes.PLAN) if row["way"] != finetunes.MORE_CLASSES]
    bases = [row["name"] for row in rows if row["kind"] == "base"]
    small = [row["name"] for row in rows if row["kind"] == "base" and row["arch"] != "large"]
    clean, planted = of_each_base(rows, small)
    return f"{len(bases)}, {clean}, {planted}"


# The default of now, on victims that train briefly; large ones apart.


def runs_of_now() -> list[dict]:
    """On models of the half that reports: small ones, large ones, and some beside a clean model."""
    return common.cells(RESULTS / "auto-now")


def is_small_and_alone(cell: dict) -> bool:
    """Whether a run is on a small model, and was given no clean one."""
    return not photo_cleaning.is_large(cell) and not cell.get("beside")


def now(*, large: bool = False, beside: bool = False, on_victims: bool = True) -> list[dict]:
    """Its runs, a cell each."""
    cells = runs_of_now()
    kinds = {"large": photo_cleaning.is_large, "beside": lambda cell: bool(cell.get("beside"))}
    wanted = {"large": large, "beside": beside}
    mine = [cell for cell in cells if all(of(cell) == wanted[kind] for kind, of in kinds.items())]
    return [cell for cell in mine if photo_cleaning.is_victim(cell) == on_victims]


def second_victims() -> list[dict]:
    """The default of now on victims of the second sealed test, which chose nothing of it, a cell each."""
    return list(filter(photo_cleaning.is_victim, common.cells(RESULTS / "second-cleaning")))


def drawn_now() -> list[dict]:
    """The default of now on the BadNets victim among 400 drawn classes of the first sealed test, which had led to a rule."""
    return common.cells(RESULTS / "drawings-now")


def now_left(cells: list[dict]) -> str:
    """The most that stays of an attack."""
    return f"{max(cell['after']['excess'] for cell in cells):.2f}"


def now_most(family: str) -> str:
    """The most of the attack on the small victim of a family that is there at any point of a benign finetuning, its start included."""
    return now_returned([cell for cell in now() if f"-{family}-" in cell["entry"]["name"]])


def now_seeds(family: str) -> str:
    """What stays of the attack on the small victim of a family, by seed."""
    cells = [cell for cell in now() if f"-{family}-" in cell["entry"]["name"]]
    return ", ".join(f"{cell['after']['excess']:.2f}" for cell in sorted(cells, key=lambda cell: cell["seed"]))


def now_came_back(cells: list[dict]) -> str:
    """In how many more than 0.05 is there at some point of a benign finetuning, its start included."""
    return f"{sum(photo_cleaning.returned(cell) > 0.05 for cell in cells)} of {len(cells)}"


def now_more(cells: list[dict]) -> str:
    """In how many more than 0.05 stays."""
    return f"{sum(cell['after']['excess'] > 0.05 for cell in cells)} of {len(cells)}"


def gone_from(cells: list[dict]) -> list[dict]:
    """The runs in which at most 0.05 stays."""
    return [cell for cell in cells if cell["after"]["excess"] <= 0.05]


def paper_way() -> str:
    """The most that is there along a benign finetuning of the large model, by the control and by CleanCLIP."""
    cells = {cell["method"]: cell for cell in common.cells(RESULTS / "paper-now")}
    return ", ".join(f"{photo_cleaning.along_the_way(cells[method]):.3f}" for method in ("mmcl", "cleanclip"))


def now_returned(cells: list[dict]) -> str:
    """The most that is there at any point of a benign finetuning, its start included."""
    return f"{max(map(photo_cleaning.returned, cells)):.2f}"


def now_gone(cells: list[dict]) -> str:
    """In how many at most 0.05 stays."""
    return f"{sum(cell['after']['excess'] <= 0.05 for cell in cells)} of {len(cells)}"


def now_kept(cells: list[dict]) -> str:
    """In how many at most 0.05 returns."""
    return f"{sum(photo_cleaning.returned(cell) <= 0.05 for cell in cells)} of {len(cells)}"


def now_told() -> str:
    """In how many the report tells the loss within a point of that on the other images."""
    cells = [cell for large in (False, True) for beside in (False, True) for cell in now(large=large, beside=beside)]
    near = sum(abs(cell["told_lost"] - photo_cleaning.lost(cell)) <= 1 for cell in cells)
    return f"{near} of {len(cells)}"


def now_told_alone() -> str:
    """The same of the small models without a clean one."""
    cells = [cell for on_victims in (True, False) for cell in now(on_victims=on_victims)]
    near = sum(abs(cell["told_lost"] - photo_cleaning.lost(cell)) <= 1 for cell in cells)
    return f"{near} of {len(cells)}"


def passed_beside() -> list[dict]:
    """The cleaned victims that pass beside a clean model, a cell each."""
    return [cell for cell in now(beside=True) if cell["told"].startswith("pass")]


def now_passed() -> str:
    """How many cleaned victims pass beside a clean model."""
    return f"{len(passed_beside())} of {len(now(beside=True))}"


def now_passed_wrong() -> str:
    """How many of all pass there though more than 0.05 stays."""
    return f"{len(passed_beside()) - len(gone_from(passed_beside()))} of {len(now(beside=True))}"


# The code of others.


def times_ours(tool: str, digits: int = 2) -> str:
    """How many times the seconds of audits by clipclean alone another tool takes, of all models that it got."""
    rows = {(row["tool"], row["model"]): float(row["core_seconds"]) for row in beside.rows("audit")}
    models = [model for own, model in rows if own == tool]
    theirs, ours = (sum(rows[own, model] for model in models) for own in (tool, "clipclean, alone"))
    return f"{theirs / ours:.{digits}f}"


def seeds_beside() -> str:
    """How many runs of the default there are of each victim that others cleaned too."""
    others = {row["model"] for row in beside.rows("cleaning") if row["left"]}
    names = [cell["entry"]["name"] for cell in beside.default()]
    ((count),) = {names.count(name) for name in others & set(names)}
    return str(count)


PUBLISHED_RATES = {"CleanCLIP": 1e-5, "PAR": 3e-6, "InverTune": 2e-6}  # peak rates, of their own options


def times_published(tool: str) -> str:
    """How many times its published rate the rate is that was chosen."""
    (rate,) = {row["setting"] for row in beside.rows("cleaning") if (row["tool"], row["kind"]) == (tool, "chosen")}
    return f"{float(rate) / PUBLISHED_RATES[tool]:.0f}"


def trial() -> str:
    """What CleanCLIP's chosen rate left of the victim that chose it, and the points lost."""
    rows = [row for row in beside.rows("cleaning") if (row["tool"], row["kind"]) == ("CleanCLIP", "trial")]
    best = min(rows, key=lambda row: (float(row["left"]), float(row["lost"])))
    return f"{float(best['left']):.2f} for {best['lost']}"


# Files: reading, scanning, exporting.


def reading(work: str, column: str) -> str:
    """The extent of a column over files of one size: times the loader's seconds, or times the size of the file."""
    cells = [row[column] for row in of_reading() if row["work"] == work]
    return extent((float(cell.partition(" ")[0]) for cell in cells), 2)


def reading_of_processor() -> str:
    """The same of strict reading in seconds of a processor, which stand in brackets."""
    cells = [row["times the loader's"] for row in of_reading() if row["work"] == "checkpoint.read"]
    return extent((float(cell.partition("(")[2].rstrip(")")) for cell in cells), 2)


def of_reading() -> list[dict[str, str]]:
    head, *rows = (row for row in common.read(RESULTS / "reading.csv") if len(row) > 1)
    return [dict(zip(head, row, strict=True)) for row in rows]


def read_size() -> str:
    """Megabytes of the files that were read, which are of one size."""
    (size,) = {re.search(r"\d+ MB", row["file"])[0] for row in of_reading()}
    return size


def scanned() -> str:
    """Backdoored and clean checkpoints that scanners got; what one scanner reports of each, and on how many."""
    rows = common.records(RESULTS / "scanners-backdoored.csv")
    counts = [sum(row["counts_as"] == kind for row in rows) for kind in ("backdoored", "clean")]
    said = [re.match(r"\d+", row["modelaudit 0.2.54"]) for row in rows]
    found = [int(words[0]) for words in said if words]
    return f"{counts[0]}, {counts[1]}; {min(found)} to {max(found)} on {len(found)}"


def exported() -> str:
    """The largest difference of a coordinate, the embeddings that were compared, processor seconds and memory of an export, over layouts."""
    rows = common.records(RESULTS / "layouts.csv")
    assert {row["Same best caption"] for row in rows} == {"100%"}
    most = max(float(row["Largest difference"]) for row in rows)
    (embeddings,) = {row["n"] for row in rows}
    seconds = extent((float(row["CPU seconds"]) for row in rows), 0)
    return f"{most:.1e}, {embeddings}, {seconds}, {max(row['Peak memory'] for row in rows)}".replace("e-0", "e-")


# What measures and methods rest on.


def counted_error() -> str:
    """How many times as far off a loss of accuracy is that counts answers as right or wrong, in root mean square, on 250 images."""
    rows = [row for row in common.records(RESULTS / "accuracy-lost-draws.csv") if row["images"] == "250"]
    error = {
        (row["half"], row["told by"].partition(" ")[0]): float(row["root mean square error, points"]) for row in rows
    }
    return extent(error[half, "answers"] / error[half, "chances"] for half in ("choose", "report"))


def distilled(trigger: str, preserve: int) -> str:
    """What ``distill`` left of a trigger, and the points that it cost, with these values."""
    values = f"walk 0.3, damping 0.1, preserve {preserve}"
    (row,) = (row for row in common.read(RESULTS / "distill.csv") if trigger in row[0] and row[1] == values)
    before, after, _, right, right_after = map(float, row[5:10])
    # The file has the accuracies with four digits; the count of answers is exact.
    images = int(row[4])
    fewer = round((right - right_after) * images)
    return f"{before:.2f} to {after:.2f}, {100 * fewer / images:.1f}"


def distilled_alone() -> str:
    """What ``distill`` left of the planted patches of its own evidence, and of how many, as shares of all images of the attack."""
    blocks = recipes.own_evidence(recipes.load("distill"))
    return f"{extent((block.after.attack_success.value for block in blocks), 2)}, {len(blocks)}"


def returned_to(tool: str, kind: str) -> list[float]:
    """What came back of a patch from scratch after another tool, at its rates of a kind."""
    rows = [row for row in beside.rows("cleaning") if row["kind"] == kind and "scratch-patch" in row["model"]]
    return [float(row["returned"]) for row in rows if tool in ("", row["tool"]) and row["returned"]]


def recovered() -> str:
    """Points lost by each cleaning after an unlearning, and by the same with a recovery on mixed images, on the models that chose it."""
    rows = [row for row in common.records(RESULTS / "less-loss.csv") if row["share"] == "1.0"]
    lost = {(row["victim"], row["cleaning"]): row["points_lost"] for row in rows}
    after = {
        (name, cleaning.partition(" + recover 400 ")[0]): points
        for (name, cleaning), points in lost.items()
        if cleaning.endswith(" mixed")
    }
    return ", ".join(
        f"{points} to {after[of]}" for of, points in lost.items() if of in after and of[1].startswith("unlearned + ")
    )


def beside_costs() -> str:
    """How much longer than alone an audit beside a clean model takes, in times of the audit alone: of clean models of now."""
    rows = [row for row in common.records(RESULTS / "sealed-2-now.csv") if row["kind"] == "clean"]
    seconds = {(row["model"], row["comparison"]): float(row["core_seconds"]) for row in rows}
    names = {name for name, comparison in seconds if comparison == "reference"}
    return extent(seconds[name, "reference"] / seconds[name, "none"] - 1 for name in names)


def meets_all(folder: str) -> str:
    """On how many of the victims all four conditions hold that were made of the paper's claims."""
    words = photo_cleaning.claims(common.cells(RESULTS / folder, "report")).rpartition("\n")[2]
    return "{1} of {0}".format(*re.search(r"Of (\d+) victims .* all four for (\d+)", words).groups())


# Screening.


def false_drops() -> str:
    """The share of clean pairs that a trusted set drops, on average over its draws, and the extent of the single ones, per cent."""
    shares = [100 * share for cell in common.cells(RESULTS / "screening-photos") for share in cell["splits"]]
    return f"{mean(shares):.0f} %, {min(shares):.2g} to {max(shares):.1f} %"


def drawings_ranked() -> dict[str, list[str]]:
    """Cells of the victims of drawings: hidden pairs among the first 2 %, and the same with the target's name appended."""
    head, *rows = [row for row in common.read(RESULTS / "screening.csv") if len(row) == 14]
    told = [dict(zip(head, row, strict=True)) for row in rows if "/" in row[2]]
    return {key: [row[f"{key}"].strip("*") for row in told] for key in ("**combined**", "combined, captions appended")}


def all_first() -> str:
    """How many hidden pairs of how many victims stand first, where captions are like the set's."""
    cells = drawings_ranked()["**combined**"]
    (whole,) = set(cells)
    return f"{whole.partition('/')[2]} pairs, {len(cells)} victims"


def appended_first() -> str:
    return extent((int(cell.partition("/")[0]) for cell in drawings_ranked()["combined, captions appended"]), 0)


def screened() -> str:
    """What CleanCLIP leaves of a victim by poisoned pairs, as they are and screened."""
    (row,) = [row for row in common.read(RESULTS / "screening.csv") if row[1:2] == ["`cleanclip@tiny`"]]
    return f"{row[4].partition(';')[0]} and {row[5].partition(';')[0]}"


def hidden_first(captions: str, *, is_local: bool) -> str:
    """Hidden pairs among the first 2 %, with captions like the set's, of triggers of a part or of the whole image."""
    cells = [cell for cell in common.cells(RESULTS / "screening-photos") if cell["captions"] == captions]
    mine = [cell for cell in cells if cell["entry"]["trigger"].startswith(LOCAL) is is_local]
    found = [cell["templates 50"] for cell in mine]
    return f"{sum(each['top'][0] for each in found)} of {sum(each['hidden'] for each in found)}"


LOCAL = ("patch", "badnets", "stripes")
COMPARISONS = {"alone": "none", "beside": "reference"}

FIGURES: dict[str, Callable[[], str]] = {
    **{
        f"{test}-{kind}-{words}-{verdict}": functools.partial(sealed_verdicts, test, comparison, kind, verdict)
        for test in SEALED
        for kind in ("clean", "backdoored")
        for words, comparison in COMPARISONS.items()
        for verdict in ("fail", "pass")
    },
    **{
        f"finetunes-{kind}-{verdict}": functools.partial(finetunes_that, verdict, kind)
        for kind in ("clean", "backdoored")
        for verdict in ("fail", "pass")
    },
    "finetunes-planned": finetunes_planned,
    "lift-doubts": lambda: str(DOUBTED_LIFT),
    "finetunes-rates": finetunes_rates,
    "sealed-finetunes-planned": sealed_finetunes_planned,
    "sealed-finetunes-audited": sealed_finetunes_audited,
    "sealed-finetunes-cleaned": sealed_finetunes_cleaned,
    "more-planned": more_planned,
    "more-audited": more_audited,
    "more-cleaned-vit": functools.partial(more_cleaned, "vit"),
    "more-cleaned-resnet": functools.partial(more_cleaned, "resnet"),
    "more-warp": functools.partial(more_left, "warp"),
    "more-convolution": functools.partial(more_left, "conv-filter"),
    "finetunes-cleaned": lambda: str(sum(bool(row["left"]) for row in finetunes.read())),
    "finetunes-cleaned-pass": lambda: ending_of_cleanings(finetunes.passed),
    "finetunes-cleaned-wrong": lambda: ending_of_cleanings(finetunes.passed_wrongly),
    "undo-lost": undo_lost,
    "undo-stripes": undo_stripes,
    "finetunes-cleaned-wrong-beyond": lambda: ending_of_cleanings(
        functools.partial(finetunes.passed_wrongly, is_beyond_base=True)
    ),
    "finetunes-time": finetunes_time,
    "finetunes-timed": finetunes_timed,
    "known-clean": functools.partial(turned_by_known, "clean"),
    "known-clean-most": most_turned_by_known,
    "known-planted": functools.partial(turned_by_known, "backdoored"),
    "known-limit": lambda: str(KNOWN_EXCESS_OVER_BASE),
    "known-agreement": lambda: f"{100 * LEAST_BASE_AGREEMENT:.0f} %",
    "known-clean-lift": doubted_by_lift,
    "lift-clean": lambda: most_lifted("choose"),
    "lift-clean-report": lambda: most_lifted("report"),
    "finetunes-named": lambda: finetunes.named([row for row in finetunes.read() if row["half"] == "report"]).partition(
        " ("
    )[0],
    **{
        f"{test}-{words}-named": functools.partial(sealed_named, test, of)
        for test in SEALED
        for words, of in COMPARISONS.items()
    },
    **{
        f"{test}-{words}-named-{part}": functools.partial(sealed_named, test, of, is_whole=is_whole)
        for test in SEALED
        for words, of in COMPARISONS.items()
        for part, is_whole in (("whole", "yes"), ("part", "no"))
    },
    **{
        f"{test}-{words}-area": functools.partial(sealed_area, test, of)
        for test in SEALED
        for words, of in COMPARISONS.items()
    },
    **{
        f"again-{half}-{kind}-{verdict}": functools.partial(again_verdicts, kind, verdict, chose=chose)
        for half, chose in (("chose", True), ("other", False))
        for kind in ("clean", "backdoored")
        for verdict in ("fail", "pass")
    },
    **{f"persuasion-{half}": functools.partial(persuasion_area, half) for half in ("choose", "report")},
    **{
        f"persuasion-{half}-{kind}": functools.partial(persuasion_beyond, half, kind)
        for half in ("choose", "report")
        for kind in ("clean", "whole")
    },
    **{f"now-seeds-{family}": functools.partial(now_seeds, family) for family in ("blended", "dct", "badnets", "warp")},
    "now-most-triangles": lambda: now_most("triangles"),
    "second-again": second_again,
    "again-chose-named": lambda: again_named(chose=True),
    "again-other-named": lambda: again_named(chose=False),
    "frozen-other-named": lambda: again_named(chose=False, file=sealed.RESULTS),
    "frozen-other-pass": lambda: again_verdicts("backdoored", "pass", chose=False, file=sealed.RESULTS),
    "tiny-sizes": lambda: million("vit", "resnet"),
    "wide-size": lambda: million("wide"),
    "published-steps": published_steps,
    "usual-size": lambda: million("usual"),
    "poison-rates": lambda: poison_rates(large=False),
    "all-rates": poison_rates,
    "planted-rates": lambda: poison_rates("planted"),
    "scratch-rates": lambda: poison_rates("scratch"),
    "sealed-rates": sealed_rates,
    "first-sealed-rates": lambda: counted_rates("sealed"),
    "scope-photographs": lambda: models_named(PHOTOGRAPHS),
    "scope-drawn": lambda: models_named(DRAWN),
    "scope-sealed": sealed_models,
    "scope-finetunes": scope_finetunes,
    "finetune-sizes": lambda: f"{FIGURES['tiny-sizes']()}, and {million('large')}",
    "wide-cleanclip": wide,
    "paper-scale": lambda: f"{PAPER_MILLIONS} million, {PAPER_POISON}",
    "paper-victims": lambda: str(len({cell["entry"]["name"] for cell in photographs("`cleanclip")})),
    "paper-cleanclip": lambda: paper_leaves("`cleanclip"),
    "paper-erased": lambda: paper_erased("`cleanclip"),
    "paper-loss": lambda: average_loss(photographs("`cleanclip")),
    "paper-losses": lambda: extent(map(photo_cleaning.lost, photographs("`cleanclip"))),
    "paper-control": lambda: paper_leaves("L_CLIP alone"),
    "paper-supervised": lambda: paper_leaves("`supervised"),
    "paper-supervised-erased": lambda: paper_erased("`supervised"),
    "usual-victims": lambda: str(len(usual("cleanclip"))),
    "usual-rate": times_the_rate,
    "usual-cleanclip": usual_falls,
    "usual-accuracy": usual_accuracy,
    "usual-control": lambda: extent((left(cells) for cells in usual("mmcl").values()), 2),
    "usual-auto": usual_auto,
    "usual-auto-price": usual_auto_price,
    "usual-distances": lambda: patterns(distance_left),
    "usual-patterns": lambda: patterns(left),
    "better-pairs": lambda: f"{max(cell['pairs'] for cell in better('`par')):,}",
    "better-par": lambda: extent(map(photo_cleaning.lost, better("`par"))),
    "better-released": lambda: better_left("CleanCLIP as released", "triangles"),
    "better-unlearn": lambda: better_left("`unlearn", "colour-filter"),
    "drawings-warp": lambda: f"{drawn_left()['warp'][0]:.2f}",
    "drawings-others": lambda: f"{max(own for name, (own, _) in drawn_left().items() if name != 'warp'):.2f}",
    "drawings-points": drawn_points,
    "drawings-control": lambda: extent(
        control / own for name, (own, control) in drawn_left().items() if name != "warp"
    ),
    "drawings-scratch": lambda: f"{float(scratch_left()):.2f}",
    "drawings-scratch-again": scratch_left_again,
    "drawings-words": lambda: f"{side_by_side('planted-1-text', 'cleanclip@tiny')[0]:.2f}",
    "drawings-optimised": lambda: f"{side_by_side('optimised-patch', 'cleanclip@tiny')[0]:.2f}",
    "drawings-unlearned": lambda: "{:.2f}, {:.2f}".format(*side_by_side("optimised-patch", "unlearn@tiny")),
    "drawings-pairs": lambda: f"{max(cell['pairs'] for cell in of_auto('drawings')):,}",
    "drawings-auto": lambda: f"{max(cell['after']['excess'] for cell in drawn()):.2f}",
    "few-pairs": few_pairs,
    "told-images": lambda: str(TOLD_IMAGES),
    "told-errors": told_errors,
    "told-held": lambda: f"{told_draws('intervals that hold it, %')} %",
    "told-near": lambda: told_near("told"),
    "told-near-before": lambda: told_near("told before").partition(" ")[0],
    "audit-alone-fail": lambda: of_all(audits("none", is_backdoored=True), "fail"),
    "audit-alone-pass": lambda: str(count(audits("none", is_backdoored=True), "pass")),
    "audit-alone-doubt": lambda: str(count(audits("none", is_backdoored=True), "doubt")),
    "audit-vits-fail": lambda: of_all(audits("none", is_backdoored=True, kind="ViTs"), "fail"),
    "audit-vits-area": vit_scores,
    "audit-beside-fail": lambda: of_all(audits("reference", is_backdoored=True), "fail"),
    "audit-beside-doubt": lambda: str(count(audits("reference", is_backdoored=True), "doubt")),
    "audit-beside-pass": lambda: str(count(audits("reference", is_backdoored=True), "pass")),
    "audit-clean-fail": clean_failures,
    "audit-images": lambda: f"{10 * photo_zoo.AUDITED:,}",
    "audit-drawings-images": drawing_images,
    "audit-longer": longer_audits,
    "limit-pairs": lambda: str(len(calibration().beside)),
    "limit-pairs-fail": lambda: f"{calibration().score(Thresholds().false_alarm_rate, is_beside=True):.2f}",
    "limit-pairs-doubt": lambda: f"{calibration().rank(Thresholds().doubt_rate):.2f}",
    "pairs-clean-doubt": lambda: pairs_that("doubt", is_backdoored=False),
    "pairs-clean-fail": lambda: pairs_that("fail", is_backdoored=False),
    "pairs-fail": lambda: pairs_that("fail", is_backdoored=True),
    "pairs-doubt": lambda: pairs_that("doubt", is_backdoored=True),
    "pairs-nothing": lambda: pairs_that("nothing", is_backdoored=True),
    "panel-clean-doubt": lambda: pairs_that("doubt", is_backdoored=False, in_full=False),
    "panel-clean-fail": lambda: pairs_that("fail", is_backdoored=False, in_full=False),
    "panel-fail": lambda: pairs_that("fail", is_backdoored=True, in_full=False),
    "panel-doubt": lambda: pairs_that("doubt", is_backdoored=True, in_full=False),
    "panel-nothing": lambda: pairs_that("nothing", is_backdoored=True, in_full=False),
    "limit-models": lambda: str(len(calibration().scores)),
    "limit-fail": limit,
    "limit-doubt": lambda: limit(DOUBT_FACTOR),
    "limits-table": limits_table,
    "doubt-rate": lambda: f"{100 * Thresholds().doubt_rate:.0f} %",
    "rejudged-fail": rejudged_failures,
    "rejudged-doubt": low_doubts,
    "audit-alone-missed": lambda: missed(audits("none", is_backdoored=True)),
    "audit-alone-nothing": lambda: str(count(audits("none", is_backdoored=True), "nothing")),
    "audit-clean-most": lambda: f"{max(scores(audits('none', is_backdoored=False))):.2f}",
    "audit-clean-pass": lambda: of_all(audits("reference", is_backdoored=False), "pass"),
    "chosen-beside-pass": chosen_passes,
    "brief-passed": passed_before,
    "drawings-wrong": wrong_classes,
    "seeds-kept": kept_with_seeds,
    "changes-kept": kept_with_changes,
    "tiles-alike": widened_alike,
    "tiles-changed": widened_changed,
    "tiles-cost": widened_cost,
    "families-all": families_all,
    "families-shortcut": lambda: families_fail("shortcut"),
    "families-patch": lambda: families_fail("patch"),
    "families-area": families_area,
    "auto-victims": lambda: str(len(long_runs(on_victims=True))),
    "auto-loss": lambda: average_loss(long_runs(on_victims=True)),
    "auto-most": lambda: f"{max(map(photo_cleaning.lost, long_runs(on_victims=True))):.1f}",
    "auto-older": lambda: str(len(long_runs(on_victims=True)) - len(newest())),
    "auto-newest": lambda: str(len(newest())),
    "auto-newest-loss": lambda: average_loss(newest()),
    "now-victims": lambda: str(len({cell["entry"]["name"] for cell in now()})),
    "now-runs": lambda: str(len(now())),
    "second-gone": lambda: now_gone(second_victims()),
    "drawn-now-before": lambda: f"{drawn_now()[0]['before']['excess']:.2f}",
    "drawn-now-left": lambda: now_left(drawn_now()),
    "drawn-now-returned": lambda: now_returned(drawn_now()),
    "drawn-now-loss": lambda: average_loss(drawn_now()),
    "second-left": lambda: now_left(second_victims()),
    "second-kept": lambda: now_kept(second_victims()),
    "second-loss": lambda: average_loss(second_victims()),
    "second-most": lambda: f"{max(map(photo_cleaning.lost, second_victims())):.1f}",
    "now-images": lambda: extent((cell["images"] for cell in runs_of_now()), 0),
    "now-gone": lambda: now_gone(now()),
    "now-left": lambda: now_left(now()),
    "now-kept": lambda: now_kept(now()),
    "now-returned": lambda: now_returned(now()),
    "now-loss": lambda: average_loss(now()),
    "now-most": lambda: f"{max(map(photo_cleaning.lost, now())):.1f}",
    "now-told": now_told,
    "now-told-alone": now_told_alone,
    "now-more": lambda: now_more(now()),
    "now-came-back": lambda: now_came_back(now()),
    "now-large-gone-loss": lambda: extent(map(photo_cleaning.lost, gone_from(now(large=True)))),
    "paper-way": paper_way,
    "audit-poison": audit_poison,
    "photo-seen": lambda: f"{100 * photo_zoo.SEEN:.0f} %",
    "photo-poison": lambda: poison_of("photo-cleaning"),
    "usual-poison": lambda: poison_of("usual"),
    "named-poison": lambda: one_rate("named-now"),
    "paper-now-poison": lambda: one_rate("paper-now"),
    "long-poison": lambda: poison_of("photo-long"),
    "screening-poison": lambda: f"{100 * screening_photos.HIDDEN / screening_photos.PAIRS:.2f} %",
    "now-passed": now_passed,
    "now-passed-wrong": now_passed_wrong,
    "now-passed-left": lambda: now_left(passed_beside()),
    "now-large": lambda: str(len(now(large=True))),
    "now-large-size": lambda: million("large"),
    "now-large-gone": lambda: now_gone(now(large=True)),
    "now-large-left": lambda: now_left(now(large=True)),
    "now-limit": lambda: "0.05",  # the aim, of excess
    "now-large-loss": lambda: extent(map(photo_cleaning.lost, now(large=True))),
    "now-large-returned": lambda: now_returned(now(large=True)),
    "now-clean-loss": lambda: average_loss(now(on_victims=False)),
    "now-clean-beside": lambda: average_loss(now(beside=True, on_victims=False)),
    "auto-clean": lambda: str(len(long_runs(on_victims=False))),
    "auto-clean-loss": lambda: extent(map(photo_cleaning.lost, long_runs(on_victims=False))),
    "auto-clean-told": lambda: extent(cell["told_lost"] for cell in long_runs(on_victims=False)),
    "auto-drawn-loss": lambda: extent(map(photo_cleaning.lost, drawn())),
    "auto-drawn-told": lambda: extent(cell["told_lost"] for cell in drawn()),
    "auto-passed": lambda: (
        f"{sum(c['told'].startswith('pass') for c in of_auto('photo-long'))} of {len(of_auto('photo-long'))}"
    ),
    "auto-blocked": blocked,
    "auto-runs": lambda: str(len(of_auto("photo-long"))),
    "auto-all-older": lambda: f"{len(of_auto('photo-long')) - len(NEWEST)} of {len(of_auto('photo-long'))}",
    "auto-pairs": lambda: f"{max(c['pairs'] for c in of_auto('photo-long')):,}",
    "auto-images": lambda: f"{max(c['images'] for c in of_auto('photo-long')):,}",
    "auto-drawn-images": drawn_images,
    "auto-classes": lambda: str(max(c["entry"]["classes"] for c in of_auto("photo-long"))),
    "auto-left": lambda: f"{max(c['after']['excess'] for c in long_runs(on_victims=True)):.3f}",
    "auto-returned": returned,
    "auto-clean-each": each_clean,
    "auto-over": lambda: str(sum("CC010" in cell["told"] for cell in of_auto("photo-long"))),
    "base-steps": lambda: clean_steps("report"),
    "base-drawn-steps": lambda: clean_steps("drawn"),
    "base-longer": longer_base,
    "passed-runs": passed_runs,
    "auto-kept-backdoor": kept_backdoor,
    "decree-time": lambda: times_ours("DECREE"),
    "cleanse-time": lambda: times_ours("Neural Cleanse", 1),
    "others-poison": others_poison,
    "others-one": lambda: "one",  # seed: the file has a row a victim and setting
    "others-seeds": seeds_beside,
    "step-without-products": without_products,
    "others-rates": lambda: f"{times_published('CleanCLIP')}, {times_published('PAR')}, two",
    "others-returned": lambda: extent(returned_to("", "chosen"), 2),
    "others-returned-trial": lambda: ", ".join(
        f"{max(returned_to(tool, 'trial')):.2f}" for tool in ("CleanCLIP", "PAR")
    ),
    "others-trial": lambda: f"{trial()}, three",
    "others-untried": lambda: times_published("InverTune"),
    "others-benign": lambda: str(photo_cleaning.REFINETUNE[0]),
    "screening-dropped": false_drops,
    "screening-victims": lambda: str(
        len({c["entry"]["name"] for c in common.cells(RESULTS / "screening-photos")}) // 2
    ),
    "screening-set": lambda: f"{screening_photos.PAIRS:,}, {screening_photos.HIDDEN}",
    "screening-trusted": lambda: str(screening_photos.TRUSTED),
    "screening-drawings": all_first,
    "screening-top": lambda: f"{100 * screening_photos.TOP:.0f} %",
    "screening-appended": appended_first,
    "screening-cleaned": screened,
    "screening-natural-part": lambda: hidden_first("natural", is_local=True),
    "screening-natural-whole": lambda: hidden_first("natural", is_local=False),
    "read-size": read_size,
    "read-seconds": lambda: reading("checkpoint.read", "times the loader's"),
    "read-processor-seconds": reading_of_processor,
    "read-memory": lambda: reading("checkpoint.read", "peak memory, times the file"),
    "read-loader-memory": lambda: reading("loader", "peak memory, times the file"),
    "scanned": scanned,
    "exported": exported,
    "interval-of-none": lambda: f"0 of 50 0 to {100 * Rate(0, 50).interval[1]:.1f} %",
    "accuracy-counted": lambda: f"250 images, {counted_error()}",
    "distill-alone": distilled_alone,
    "distill-blended": lambda: distilled("blended", 2),
    "distill-sinusoid": lambda: distilled("sinusoid", 2),
    "distill-patch": lambda: distilled("patch", 5),
    "recovered": recovered,
    "beside-costs": beside_costs,
    "paper-all": lambda: meets_all("photo-cleaning"),
    "paper-all-usual": lambda: meets_all("usual"),
    "small-size": lambda: million("resnet"),
    "time-quick": lambda: f"10 classes {minutes('quick, 10 classes')} minutes",
    "time-cores": cores,
    "time-default": lambda: f"10 classes {minutes(DEFAULT_CLEANING)} minutes",
    "time-default-stages": default_stages,
    "time-standard": lambda: f"1,000 classes {minutes('standard, 1,000 classes')} minutes",
    "time-cleaning": lambda: f"50 steps {minutes('`cleanclip`, 50 steps')} minutes",
    "time-measuring-vit": lambda: measuring("ViT-B-32"),
    "time-measuring-rn50": lambda: measuring("RN50").removeprefix("1,000 classes "),
    "time-forward": forward,
    "now-seconds": lambda: now_seconds(large=False),
    "now-large-seconds": lambda: now_seconds(large=True),
    "time-paper-run": paper_run,
    "time-paper-hours": paper_hours,
    "time-paper": lambda: f"{paper_steps():,.0f} steps, {paper_hours()} hours",
}
