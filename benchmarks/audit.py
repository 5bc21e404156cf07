"""The audit on the zoo of photographs: natural triggers and scores of clean models from one half, figures from the other.

    python benchmarks/audit.py --photo-zoo build/photo-zoo --out build/audit --half choose --columns none --numbers --store
    python benchmarks/audit.py --photo-zoo build/photo-zoo --out build/audit --half report --keep

Each model is audited as ``clipclean audit`` does, on about 1,000 images that no training saw, in up to three columns: alone; beside a
clean model of another training (``--reference``); beside all of them of its kind (files of ``clipclean references build``). The report
is OUT/COLUMN/NAME.json, so that a stopped run goes on. A model is searched once: OUT/searches keeps the search for the other columns.
``--numbers`` keeps what scores are made of, without models; ``--store`` writes into the package what clean ones of the half ``choose``
show: by family the unit and the margin of a natural trigger, and the score of each model, of which the limits of a verdict are made. ``--seeds 10`` audits with ten
seeds. ``--columns power`` plants four test backdoors in copies of each model, an audit each. ``--pairs`` judges each model beside every
other clean training of its classes, of the searches that are kept, and then beside all of them: what clean models show of each other. It puts
them into ``benchmarks/results/audit-pairs.csv``, of which ``--store`` takes the limits beside a reference. ``--keep`` puts what was found into
``benchmarks/results/audit.csv``, of which ``make tables`` makes the tables.
"""

import argparse
import json
import math
import multiprocessing
import os
import random
import re
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import common
import torch

from clipclean import files, requests
from clipclean.config import policy
from clipclean.config import recipe as recipes
from clipclean.config.thresholds import DOUBT_FACTOR, Audit, Thresholds
from clipclean.detect import Rate, SearchResult, all_suspects, references
from clipclean.detect.families import GENERAL_FAMILIES, comparable
from clipclean.detect.references import calibration
from clipclean.detect.score import combined, compared_with
from clipclean.jobs import audit, build_references, measured_images, naming, opening, saved_search, searching
from clipclean.schema.names import EffortName
from clipclean.train import resume

RESULTS, NUMBERS = common.RESULTS / "audit.csv", common.RESULTS / "audit-numbers.json"
PAIRS, PERSUASIONS = common.RESULTS / "audit-pairs.csv", common.RESULTS / "persuasion.csv"
CALIBRATION = Path(__file__).parents[1] / "clipclean" / "detect" / "calibration.json"
UNIT = 12 / 3.5  # mean largest margins of clean models that make one: sums of 31 reached 9.9, and 12 was to fail
COLUMNS = {
    "none": "no reference",
    "reference": "a clean model, by the rule before",
    "references": "stored ones, by the rule before",
    "power": "no reference, `--power`",
}
CHOSEN = "choose"  # the half that rules are chosen on; of class lists drawn at random those of odd numbers


Row = dict[str, str]  # by the head of a table; a clean model has no target


class Model(NamedTuple):
    """One model of a zoo, and how to audit it."""

    name: str
    half: str
    is_backdoored: bool
    target: str | None
    path: Path
    options: dict[str, Any]
    group: str  # models of one group have architecture, images and class list in common
    base: str | None
    is_scratch: bool


def main() -> None:
    parser = common.parser(__doc__, "out", "only")
    parser.add_argument("--photo-zoo", type=Path, nargs="+", default=[], help="of benchmarks/photo_zoo.py")
    parser.add_argument("--half", choices=("choose", "report"), help="this half only")
    parser.add_argument("--columns", nargs="+", choices=COLUMNS, default=list(COLUMNS)[:3])
    parser.add_argument("--effort", default="standard")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--seeds", type=int, default=1, help="audit with so many seeds, from 0 on")
    parser.add_argument("--no-run", action="store_true", help="audit nothing, judge what is there")
    parser.add_argument("--store", action="store_true", help="write the calibration into the package")
    parser.add_argument(
        "--pairs", action="store_true", help="judge each model beside all other clean ones, and keep that"
    )
    parser.add_argument("--keep", action="store_true", help="put what was found into benchmarks/results")
    parser.add_argument("--numbers", action="store_true", help="keep what scores are made of in benchmarks/results")
    o = parser.parse_args()
    for folder in (*o.columns, "stored"):
        (o.out / folder).mkdir(parents=True, exist_ok=True)
    every = [m for folder in o.photo_zoo for m in photo_models(folder) if o.half in (None, m.half)]
    models = [m for m in every if o.only is None or m.name in o.only]
    if not o.no_run:
        with multiprocessing.get_context("spawn").Pool(o.workers, searches_are_kept, (o.out,)) as pool:
            for column in o.columns:  # the first column searches: what clean models show is kept for the others
                jobs = [Job(m, every, column, seed, o.effort, o.out) for seed in range(o.seeds) for m in models]
                for words in pool.imap_unordered(audited, jobs):
                    print(words, flush=True)
    print(*(",".join(map(str, row)) for row in rows(o, models)), sep="\n")
    if o.pairs:
        searches_are_kept(o.out)
        keep_pairs([*beside_each_other(models, effort=o.effort), *pairs_of_numbers()])
    if o.keep:
        keep(rows(o, models))
    if o.numbers:
        lines = (f"{json.dumps(name)}: {json.dumps(of)}" for name, of in (kept() | numbers(o.out, models)).items())
        NUMBERS.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    if o.store:
        store([of for of in kept().values() if not of["target"]], paired())


def photo_models(folder: Path) -> Iterable[Model]:
    """Those of photographs; what was finetuned towards a backdoor that did not take counts as clean."""
    for record in common.cells(folder):
        entry, *bases = common.lineage(folder, record["entry"])
        # What was planted into a planted one is for cleaning: which of its targets is named first says nothing.
        if record["counts_as"] == "neither" or any(base["trigger"] for base in bases):
            continue
        images = folder / f"{entry['half']}-{entry['classes']}"
        options = {
            "arch": str(folder / f"{entry['arch']}-{entry['side']}.json"),
            "data": (images / "audit",),
            "classes": images / "classes.txt",
            "templates": images / "templates.txt",
        }
        group = f"{entry['half']}-{entry['arch']}-{entry['classes']}"
        half = half_of(entry["half"])
        bad, weights = record["counts_as"] == "backdoored", folder / f"{entry['name']}.pt"
        rest = (group, entry["base"], entry["kind"] == "clean")
        yield Model(entry["name"], half, bad, entry["target"], weights, options, *rest)


def half_of(name: str, /) -> str:
    """The half of a model or of a class list, by its name; drawings count with the half that is reported."""
    drawn = re.match(r"drawn-(\d+)", name)
    is_chosen = int(drawn[1]) % 2 if drawn else name.startswith(CHOSEN)
    return CHOSEN if is_chosen else "report"


# Audits: each once.


class Job(NamedTuple):
    """One audit: of a model of ``models``, in a column."""

    model: Model
    models: Sequence[Model]
    column: str
    seed: int
    effort: str
    out: Path


def cell(out: Path, column: str, name: str, seed: int = 0) -> Path:
    return out / column / (f"{name}-seed{seed}.json" if seed else f"{name}.json")


def reports(out: Path, column: str, models: Sequence[Model], seed: int = 0) -> dict[str, dict]:
    """What is there of a column, by model."""
    places = {m.name: cell(out, column, m.name, seed) for m in models}
    return {name: json.loads(place.read_text()) for name, place in places.items() if place.exists()}


def audited(job: Job) -> str:
    """Audit one model; once."""
    place = cell(job.out, job.column, job.model.name, job.seed)
    if place.exists():
        return f"{job.column} {job.model.name}"
    beside = options_beside(job)
    if beside is None:
        return f"{job.column} {job.model.name}: nothing to compare with"
    began, given = time.process_time(), options_of(job)
    made = audit.audit(audit.Job.of(requests.Audit(job.model.path, **given | beside)).on_this_machine())
    report = made.report.model_dump(mode="json", by_alias=True)
    files.write_text(place, json.dumps(report | {"core_seconds": time.process_time() - began}))
    return f"{job.column} {job.model.name} {report['verdict']} {score(report):.2f} {time.process_time() - began:.0f} s"


def searches_are_kept(out: Path) -> None:
    """A finished search stays, as that of an interrupted audit does; another version of the code that draws alike goes on with it."""

    def of(_run: object, _name: str, decides: Callable[[], Mapping[str, object]]) -> saved_search.SavedSearch:
        """The search of a model for all audits that have it, whether as the tested one or beside another."""
        found = resume.digest(decides())
        return saved_search.SavedSearch(resume.RunState(out.absolute() / "searches" / "models" / found[:32], found))

    torch.set_num_threads(1)
    os.environ["CLIPCLEAN_STATE"] = str((out / "searches").absolute())
    resume.RunState.discard = lambda self: None  # type: ignore[method-assign]
    saved_search.MOST_KEPT_AUDITS = 10_000
    saved_search.SavedSearch.of = of  # type: ignore[method-assign]
    resume.program = lambda: {"search": references.code_digest(), "torch": torch.__version__}


def options_of(job: Job) -> dict[str, Any]:
    """The options of an audit in any column."""
    return {"effort": job.effort, "seed": job.seed, "device": "cpu"} | job.model.options


def options_beside(job: Job) -> dict[str, Any] | None:
    """The options of a column; None where the zoo holds no such model."""
    mine = job.model
    clean = [m for m in job.models if m.group == mine.group and not m.is_backdoored and m.is_scratch]
    apart = [m for m in clean if m.name not in (mine.name, mine.base)]
    match job.column:
        case "none":
            return {}
        case "reference":
            return {"reference": (apart[-1].path,)} if apart else None
        case "references":
            return {"references": tuple(built(job, m) for m in apart)} if len(apart) > 1 else None
        case _:
            return {"power": True}


def built(job: Job, model: Model) -> Path:
    """The file of references of one model, as ``clipclean references build`` writes it."""
    place = job.out / "stored" / f"{model.name}-{job.seed}.json"
    if not place.exists():
        request = requests.References((model.path,), out=place, **options_of(job) | model.options)
        build_references.build_references(request)
    return place


# What a report shows, in units of what clean models show.


def acts(found: dict, /) -> bool:
    """Whether a found trigger reaches its aim and turns enough unseen images, as the policy asks."""
    return found["reached"] and (found["excess_asr"]["value"] or 0) >= Thresholds().min_found_excess


def margins(report: dict, /) -> dict[str, dict[str, float]]:
    """By class and family the margin of a trigger that acts to the next class; of the panel that of what acts at least strength."""
    search = report["measurements"]["search"]
    found: dict[str, dict[str, float]] = {}
    for each in search["found"]:
        if acts(each) and each["margin"] > 0:
            found.setdefault(each["class"], {})[each["family"]] = each["margin"]
    leads = [s for s in search.get("strengths", ()) if s["class"]]
    for name in {s["class"] for s in leads}:
        own = min(s["least"] for s in leads if s["class"] == name)
        elsewhere = min((s["least"] for s in leads if s["class"] != name), default=2.0)
        if elsewhere > own:
            found.setdefault(name, {})["panel"] = math.log(elsewhere / own)
    return found


def scored(by_class: Mapping[str, Mapping[str, float]], known: Mapping[str, Any], /) -> float:
    """The largest score of a class without a reference, as ``clipclean.detect`` counts these margins, with the calibration ``known``."""
    scores = [0.0]
    for own in by_class.values():
        units = {f: max(0.0, m - known["natural"].get(f, 0.0)) / known["units"][f] for f, m in own.items()}
        scores.append(combined(units))
    return max(scores)


def score(report: dict, /) -> float:
    """The largest score as the audit itself counts it, beside what it was given."""
    search, named = report["measurements"]["search"], [suspect["score"] or 0.0 for suspect in report["suspects"]]
    if search["calibration"]["kind"] == "none":
        return max([scored(margins(report), json.loads(CALIBRATION.read_text())), *named])
    pieces = defaultdict[str, dict[str, float]](dict)
    for each in (found for found in search["found"] if acts(found) and found["family"] in GENERAL_FAMILIES):
        pieces[each["class"]][each["family"]] = each["evidence"]
    return max(named or map(combined, pieces.values()), default=0.0)  # what is not named is below what counts at most


def store(clean: Sequence[dict], pairs: Iterable[Row], /) -> None:
    """Into the package: units, natural triggers and scores of the clean models of the half that rules are chosen on, alone and in pairs.

    The other half has no part in it: how often its clean models fail is then a result.
    """
    known = json.loads(CALIBRATION.read_text())
    clean = [of for of in clean if of["half"] == CHOSEN]
    chosen = [[{}, *of["margins"].values()] for of in clean]
    largest = {family: [max(of.get(family, 0.0) for of in each) for each in chosen] for family in known["units"]}
    known["units"] |= {family: round(UNIT * statistics.mean(largest[family]), 3) for family in GENERAL_FAMILIES}
    clean_pairs = [row for row in pairs if is_chosen_clean(row)]
    odds = min((1 - share) / share for share in (float(row["turns"]) for row in clean_pairs if row["turns"]))
    natural = {family: max(largest[family]) for family in known["natural"] if family in largest}
    natural["pattern"] = math.log(references.MOST_ODDS) - math.log(odds)
    natural[references.PERSUASION] = max(ahead(row) for row in common.records(PERSUASIONS) if is_chosen_clean(row))
    known["natural"] = {family: round(value, 3) for family, value in natural.items()}
    known["scores"] = sorted(round(scored(of["margins"], known), 3) for of in clean)
    known["beside"] = sorted(float(row["score"]) for row in clean_pairs if row["references"] == "1" and row["reach"])
    CALIBRATION.write_text(json.dumps(known, indent=1) + "\n")


def is_chosen_clean(row: Row, /) -> bool:
    """Whether a row is of a clean model of the half that rules are chosen on."""
    return row["half"] == CHOSEN and not row["target"]


def ahead(row: Row, /) -> float:
    """By how much the class that known triggers make a model surest of is ahead of the next one, of a row of ``persuasion.py``."""
    return float(row["first"]) - float(row["second"])


# Numbers of every search, in benchmarks/results: a score is tried on them in seconds, without models.


def kept() -> dict[str, dict]:
    """Those that are in ``benchmarks/results``."""
    return json.loads(NUMBERS.read_text())


def numbers(out: Path, models: Sequence[Model], /) -> dict[str, dict]:
    """Of each model: the sizes that its search found, and the margins of what acts."""
    found = {}
    there = reports(out, "none", models)
    for m in (m for m in models if m.name in there):
        search = there[m.name]["measurements"]["search"]
        sizes: dict[str, dict[str, float]] = {"panel": {s["trigger"]: s["least"] for s in search["strengths"]}}
        for each in (*search["found"], *search["controls"]):
            sizes.setdefault(each["family"], {})[each["class"]] = each["size"]
        found[m.name] = {
            "half": m.half,
            "lineage": m.base or m.name,
            "target": m.target if m.is_backdoored else None,
            "leads": {s["trigger"]: s["class"] for s in search["strengths"] if s["class"]},
            "margins": margins(there[m.name]),
            "sizes": sizes,
        }
    return json.loads(json.dumps(found), parse_float=lambda text: float(f"{float(text):.3g}"))


def judged(report: dict, /) -> tuple[str, str, float]:
    """Verdict, first suspect, score."""
    return report["verdict"], report["suspects"][0]["class"] if report["suspects"] else "", score(report)


# Pairs: a model beside another clean training of its classes, and beside all of them.

PAIR = ("half", "group", "model", "target", "turns", "reach", "references", "beside", "suspect", "score", "pieces")


def searched(model: Model, /, *, effort: EffortName) -> SearchResult:
    """The whole search of a model, as a reference is searched: no early end."""
    recipe = recipes.load(recipes.DEFAULT_RECIPE)
    words = naming.read_vocabulary(model.options["classes"], model.options["templates"])
    opened = opening.read(model.path, arch=model.options["arch"])
    with measured_images.shown_images(model.options["data"], recipe, opened.architecture) as (images, late):
        loaded = opening.build(opened, late, device="cpu")
        asked = measured_images.audit_set(loaded.clip, recipe, images, vocabulary=words)
        # Kept by what decides it, wherever the state lies; see ``searches_are_kept``.
        state = resume.RunState(Path(), "")
        seen = searching.audit_clip(searching.SearchSettings(effort, 0), loaded.clip, asked, None, state=state)
    if seen.search is None:
        raise SystemExit(f"{model.name}: not searched: {seen.why_not}")
    return seen.search


def beside_each_other(models: Sequence[Model], /, *, effort: EffortName) -> Iterator[tuple[Any, ...]]:
    """Rows of :data:`PAIR`: each model beside every clean one of its group that it does not start from, and beside all of these.

    *turns* is the most images that a known trigger turns, *reach* the most units of reach that any class has.
    """
    limits, found = policy.resolved(policy.DEFAULT_POLICY, Audit()), dict[str, SearchResult]()
    for group in dict.fromkeys(m.group for m in models):
        mine = [m for m in models if m.group == group]
        clean = [m for m in mine if m.is_scratch and not m.is_backdoored]
        if len(clean) < 2:
            continue
        found |= {m.name: searched(m, effort=effort) for m in mine}
        for m in mine:
            apart = [c for c in clean if c.name not in (m.name, m.base)]
            for several in (*([c] for c in apart), *([apart] if len(apart) > 1 else ())):
                known = references.References("file", "", tuple(found[c.name].sizes() for c in several))
                named = all_suspects(compared_with(found[m.name], known), limits)
                first = named[0] if named else None
                pieces = (
                    " ".join(f"{family}={value:.2f}" for family, value in sorted(first.pieces.items())) if first else ""
                )
                turns = max(each.excess for each in found[m.name].known)
                reach = max((suspect.pieces.get(references.REACH, 0.0) for suspect in named), default=0.0)
                told = (m.half, group, m.name, m.target if m.is_backdoored else "", f"{turns:.4f}", f"{reach:.3f}")
                told += (len(several),)
                told += ("" if len(several) > 1 else several[0].name, first.name if first and first.score else "")
                yield (*told, f"{first.score if first else 0.0:.3f}", pieces)


def in_pairs(row: Row, /) -> str:
    """What a pair comes to by the limits of now: ``fail``, ``doubt``, or ``nothing``."""
    known, limits = calibration(), Thresholds()
    pieces = dict(piece.split("=") for piece in row["pieces"].split())
    direct = combined({family: float(value) for family, value in pieces.items() if family in GENERAL_FAMILIES})
    if direct >= known.score(limits.false_alarm_rate, is_beside=True):
        return "fail"
    return "doubt" if float(row["score"]) >= known.rank(limits.doubt_rate) else "nothing"


def table_of_pairs(pairs: Sequence[Row]) -> str:
    """By half, kind and number of references: what the search says of each model beside clean ones of its classes."""
    head = [
        "models",
        "beside",
        "AUROC (95 %)",
        "clean: fail",
        "doubt",
        "backdoored: fail",
        "doubt of its class",
        "other doubt",
    ]
    body = []
    for half, words in (("report", "that chose nothing"), (CHOSEN, "that the limits are of")):
        some = [row for row in pairs if row["half"] == half]
        for name, of_kind in (
            ("ResNets", [row for row in some if "-resnet-" in row["group"] and row["turns"]]),
            ("ResNets, panel alone,", [row for row in some if not row["turns"]]),
            ("ViTs", [row for row in some if "-vit-" in row["group"] and row["turns"]]),
        ):
            for is_one in (True, False):
                mine = [row for row in of_kind if (row["references"] == "1") is is_one]
                good, bad = ([row for row in mine if bool(row["target"]) is is_bad] for is_bad in (False, True))
                if not mine:
                    continue
                scores = [[float(row["score"]) for row in of] for of in (bad, good)]
                told = [in_pairs(row) for row in good]
                cells = [rate(told.count(verdict), len(good)) for verdict in ("fail", "doubt")]
                named = [(in_pairs(row), row["suspect"] == row["target"]) for row in bad]
                cells.append(rate(sum(verdict == "fail" for verdict, _ in named), len(bad)))
                cells += [rate(named.count(("doubt", is_right)), len(bad)) for is_right in (True, False)]
                body.append([f"{name} {words}", "one" if is_one else "all others", area(*scores), *cells])
    return common.table([head, *body])


def pairs_of_numbers() -> Iterator[tuple[Any, ...]]:
    """Rows of :data:`PAIR` of the models whose numbers are kept, and whose weights are not.

    Variants of known triggers were not kept, so these rows know those of the panel alone, and not how many images they turn. Nor was how far
    found triggers reach: the limits beside a reference are not of these.
    """
    # Of the ten classes of the half that chose some were trained again, for the rows above.
    mine = {name: of for name, of in kept().items() if of["half"] != CHOSEN or name.startswith("drawn-")}
    groups = {name: re.sub(r"-(clean|planted|scratch|not-taken)-.*", "", name) for name in mine}
    for name, of in mine.items():
        group = groups[name]
        for other, there in mine.items():
            if groups[other] != group or there["target"] or there["lineage"] == of["lineage"]:
                continue
            known = references.References("file", "", (there["sizes"],))
            best: tuple[float, str, dict[str, float]] = (0.0, "", {})
            for class_, margins_of in of["margins"].items():
                pieces = {f: beyond(f, class_, m, of, known) for f, m in margins_of.items()}
                pieces = {family: value for family, value in pieces.items() if value > 0}
                best = max(best, (combined(pieces, is_beside=True), class_, pieces), key=lambda each: each[0])
            told = " ".join(f"{family}={value:.2f}" for family, value in sorted(best[2].items()))
            yield of["half"], group, name, of["target"] or "", "", "", 1, other, best[1], f"{best[0]:.3f}", told


def beyond(family: str, class_: str, margin: float, of: Mapping[str, Any], known: references.References, /) -> float:
    """The evidence of a kept margin beside references, as ``clipclean.detect`` counts it."""
    if family != references.PANEL_KEY:
        size = comparable(family, of["sizes"][family][class_])
        usual, shrunk = known.margin(family, class_), known.shrunk(family, class_, size)
        return (
            references.evidence(margin, family)
            if math.isnan(usual)
            else references.evidence(margin, family, usual=usual, shrunk=shrunk)
        )
    least = {spec: of["sizes"][family][spec] for spec, name in of["leads"].items() if name == class_}
    spec = min(least, key=lambda each: least[each])
    usual = known.least(spec)
    shrunk = math.inf if usual is None else math.log(usual) - math.log(least[spec])
    return references.evidence(margin, family, shrunk=shrunk)


def keep_pairs(found: Iterable[tuple[Any, ...]]) -> None:
    """Put pairs in the place of the earlier ones of their groups."""
    new = list(found)
    groups = {group for _, group, *_ in new}
    others = [tuple(row.get(key, "") for key in PAIR) for row in paired() if row["group"] not in groups]
    common.write(PAIRS, [PAIR, *others, *new])


def paired() -> list[Row]:
    """The pairs in ``benchmarks/results``."""
    return common.records(PAIRS) if PAIRS.exists() else []


# Tables, of benchmarks/results/audit.csv.

HEAD = ("zoo", "model", "target", "comparison", "verdict", "suspect", "score")


def rows(o: argparse.Namespace, models: Sequence[Model]) -> list[tuple[Any, ...]]:
    """Every audit that is there: verdict, first suspect and score; with several seeds, those of the first."""
    found = []
    for column in o.columns:
        there = reports(o.out, column, models)
        for m in (m for m in models if m.name in there):
            *told, reached = judged(there[m.name])
            zoo = "drawn classes" if m.group.startswith("drawn") else "ViTs" if "-vit-" in m.group else "photographs"
            zoo = zoo if m.group.endswith("-10") else "50 to 400 classes"
            found.append((zoo, m.name, m.target if m.is_backdoored else "", column, *told, f"{reached:.2f}"))
    return found


def keep(found: Sequence[tuple[Any, ...]]) -> None:
    """Put rows in the place of the earlier ones of their zoos."""
    zoos = {zoo for zoo, *_ in found}
    others = [tuple(row[key] for key in HEAD) for row in stored() if row["zoo"] not in zoos]
    common.write(RESULTS, [HEAD, *others, *found])


def stored() -> list[Row]:
    """What is in ``benchmarks/results``."""
    return common.records(RESULTS)


def reported(audits: Iterable[Row]) -> list[Row]:
    """The rows of the half that rules were not chosen on, by the limits that the package has now."""
    return [by_limits(row) for row in audits if half_of(row["model"]) != CHOSEN]


def by_limits(row: Row) -> Row:
    """A stored row by the limits of now, since the audit itself may have had lower ones.

    What fails below the limit is a doubt, and a class below that of a doubt is not named. Beside clean models such a class stays named:
    the row does not say whether something else spoke for it. No row gets worse by this, since a high score may be no failure.
    """
    known, rate, score = calibration(), Thresholds().false_alarm_rate, float(row["score"])
    if row["verdict"] == "fail" and score < known.score(rate):
        row = row | {"verdict": "inconclusive"}
    if row["verdict"] == "inconclusive" and row["comparison"] == "none" and score < known.score(rate * DOUBT_FACTOR):
        row = row | {"suspect": ""}
    return row


def table(audits: Sequence[Row]) -> str:
    """Verdicts by zoo and comparison."""
    head = "models", "compared with", "AUROC (95 %)", "backdoored: fail", "pass", "clean: fail", "pass"
    body = []
    for zoo in dict.fromkeys(row["zoo"] for row in audits):
        for column, words in COLUMNS.items():
            mine = [row for row in audits if (row["zoo"], row["comparison"]) == (zoo, column)]
            if mine:
                body.append([zoo, words, *summary(mine)])
    return common.table([list(head), *body])


def summary(mine: Sequence[Row]) -> list[str]:
    """The cells of one row of the first table."""
    bad, good = ([row for row in mine if bool(row["target"]) is kind] for kind in (True, False))
    words = [[row["verdict"] for row in of] for of in (bad, good)]
    counted = [rate(own.count(word), len(own)) for own in words for word in ("fail", "pass")]
    return [area(*([float(row["score"]) for row in of] for of in (bad, good))), *counted]


def by_trigger(audits: Sequence[Row]) -> str:
    """What an audit makes of each trigger without a reference."""
    bad = [row for row in audits if row["target"] and row["comparison"] == "none"]
    body = []
    for trigger in sorted({label(row["model"]) for row in bad}):
        told = Counter(outcome(row) for row in bad if label(row["model"]) == trigger).most_common()
        body.append([trigger, ", ".join(f"{words} {count}" for words, count in told)])
    return common.table([["trigger", "no reference"], *body])


def label(model: str) -> str:
    """The trigger that a model's name tells."""
    return re.sub(r"^.*-(planted|scratch)-|\d+-|-\d+$", "", model)


def outcome(row: Row) -> str:
    """A verdict in words; a doubt names the target, another class, or none."""
    if row["verdict"] != "inconclusive":
        return row["verdict"]
    return "doubt" if row["suspect"] == row["target"] else "wrong class" if row["suspect"] else "nothing"


def area(positives: Sequence[float], negatives: Sequence[float]) -> str:
    """The AUROC with a bootstrap interval over models, or a dash without models of both kinds."""
    if not positives or not negatives:
        return "–"
    rng, rounds = random.Random(0), 2000
    drawn = sorted(auroc(*(rng.choices(of, k=len(of)) for of in (positives, negatives))) for _ in range(rounds))
    low, high = drawn[int(0.025 * rounds)], drawn[int(0.975 * rounds)]
    return f"{auroc(positives, negatives):.3f} ({low:.3f}–{high:.3f})"


def auroc(positives: Sequence[float], negatives: Sequence[float]) -> float:
    """Mann and Whitney's: how often a positive scores higher than a negative; ties count half."""
    return statistics.mean((a > b) + (a == b) / 2 for a in positives for b in negatives)


def rate(hits: int, n: int) -> str:
    """With Wilson's interval."""
    low, high = Rate(hits, n).interval
    return f"{hits} of {n} ({low:.2f}–{high:.2f})" if n else "–"


if __name__ == "__main__":
    main()
