"""The audit on the zoos: natural triggers and scores of clean models from one half, figures from the other.

    python benchmarks/audit.py --photo-zoo build/photo-zoo --out build/audit --half choose --columns none --store
    python benchmarks/audit.py --photo-zoo build/photo-zoo --out build/audit --half report --statistics --write docs/evidence.md

Each model is audited as ``clipclean audit`` does, on about 1,000 images that no training saw, in up to four columns: alone; beside a
clean model of another training (``--reference``); beside all other clean models of its kind (a file of ``clipclean references build``);
and beside the model that it was finetuned from. The report is OUT/COLUMN/NAME.json, so that a stopped run goes on. A model is
searched once: OUT/searches keeps the search for the other columns, as an interrupted audit does.
``--store`` writes into the package what clean models show without a reference: by family the margin of a natural trigger, from the half
``choose`` alone, and the score of every model that is there. ``--seeds 10`` audits with ten seeds. ``--statistics`` adds the published statistics of
``benchmarks/published.py``, on the same images. ``--columns power`` plants four test backdoors in copies of each model, an audit each.
"""

import argparse
import itertools
import json
import math
import multiprocessing
import os
import random
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import published
from blocks import fill

ROOT = Path(__file__).parents[1]
CALIBRATION = ROOT / "clipclean" / "detect" / "calibration.json"
USUALLY, LEAST_GENERAL = 0.8, 0.1  # quantile over clean models of the largest margin of a general family, and its least
LEAST_NATURAL = 0.3  # of a family of few parameters: the models of this zoo need not hold the largest natural trigger
COMPACTNESS = "compactness"
LEAST_COMPACT = 0.15  # of the compactness of masks, which varies less
MOVES = 0.6  # excess of a found trigger that counts, as in the policy
COLUMNS = {
    "none": "no reference",
    "reference": "one `--reference`",
    "references": "`--references` of its kind",
    "base": "its base as `--reference`",
    "power": "no reference, `--power`",
}
USUAL = ("none", "reference", "references", "base")
LEAST_STORED = 2  # clean models of a references file


class Model(NamedTuple):
    """One model of a zoo, and how to audit it."""

    name: str
    half: str
    is_backdoored: bool
    target: str | None
    path: Path
    options: dict[str, Any]
    group: str = ""  # models of one group have architecture, images and class list in common
    base: str | None = None
    is_scratch: bool = False


Reports = Mapping[str, Mapping[str, dict]]  # column -> name of a model -> its report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo-zoo", type=Path, nargs="+", default=[], help="of benchmarks/photo_zoo.py")
    parser.add_argument("--zoo", type=Path, help="of benchmarks/zoo.py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--half", choices=("choose", "report", "drawn"), help="this half only")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="these models only")
    parser.add_argument("--columns", nargs="+", choices=COLUMNS, default=list(USUAL))
    parser.add_argument("--effort", default="standard")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--seeds", type=int, default=1, help="audit with so many seeds, from 0 on")
    parser.add_argument("--statistics", action="store_true", help="the published ones too: two searches more a model")
    parser.add_argument("--no-run", action="store_true", help="audit nothing, judge what is there")
    parser.add_argument("--store", action="store_true", help="write the calibration into the package")
    parser.add_argument(
        "--store-scores", action="store_true", help="of the calibration the scores of clean models alone"
    )
    parser.add_argument("--write", type=Path, help="a page with the markers of the block")
    parser.add_argument("--block", default="audit-photos", help="between whose markers the table goes")
    o = parser.parse_args()
    if (o.store or o.store_scores or o.statistics) and "none" not in o.columns:
        parser.error("--store, --store-scores and --statistics need the column none")
    for folder in (*o.columns, "stored", "statistics"):
        (o.out / folder).mkdir(parents=True, exist_ok=True)
    every = [m for m in all_models(o) if o.half in (None, m.half)]
    models = [m for m in every if o.only is None or m.name in o.only]
    if not o.no_run:
        with multiprocessing.get_context("spawn").Pool(o.workers, searches_are_kept, (o.out,)) as pool:
            for column in o.columns:  # the first column searches: what clean models show is kept for the others
                jobs = [Job(m, every, column, seed, o.effort, o.out) for seed in range(o.seeds) for m in models]
                for words in pool.imap_unordered(audited, jobs):
                    print(words, flush=True)
            if o.statistics:
                for words in pool.imap_unordered(measured, [Job(m, every, "none", 0, o.effort, o.out) for m in models]):
                    print(words, flush=True)
    found = {column: reports(o.out, column, models) for column in o.columns}
    if o.store or o.store_scores:
        clean = [(m.half, found["none"][m.name]) for m in models if not m.is_backdoored and m.name in found["none"]]
        chosen = [report for half, report in clean if half == "choose" and o.store]
        store(chosen, [report for _, report in clean])
    text = page(models, found, o)
    print(text)
    if o.write:
        fill(o.write, o.block, text)
        if o.seeds == 1:
            (ROOT / f"benchmarks/results/{o.block}.md").write_text(rows(models, found) + "\n")


def all_models(o: argparse.Namespace) -> list[Model]:
    return [m for folder in o.photo_zoo for m in photo_models(folder)] + list(emoji_models(o.zoo, o.out))


def photo_models(folder: Path) -> Iterable[Model]:
    """Those of photographs; what was finetuned towards a backdoor that did not take counts as clean."""
    for path in sorted(folder.glob("*-*-*.json")):
        record = json.loads(path.read_text())
        entry = record.get("entry")
        if entry is None or record["counts_as"] == "neither" or has_two_targets(entry, folder):
            continue
        images = folder / f"{entry['half']}-{entry['classes']}"
        options = {
            "arch": str(folder / f"{entry['arch']}-{entry['side']}.json"),
            "data": images / "audit",
            "classes": images / "classes.txt",
            "templates": images / "templates.txt",
        }
        bad, group = record["counts_as"] == "backdoored", f"{entry['half']}-{entry['arch']}-{entry['classes']}"
        yield Model(
            entry["name"],
            entry["half"].partition("-")[0],
            bad,
            entry["target"],
            path.with_suffix(".pt"),
            options,
            group,
            entry["base"],
            entry["kind"] == "clean",
        )


def has_two_targets(entry: Mapping[str, Any], folder: Path) -> bool:
    """Whether a model was planted into a planted one: it is for cleaning, and which target is named first says nothing."""
    return bool(entry["base"]) and bool(json.loads((folder / f"{entry['base']}.json").read_text())["entry"]["trigger"])


def emoji_models(folder: Path | None, out: Path) -> Iterable[Model]:
    """Those of drawings, on the bundled ones."""
    if folder is None:
        return
    from clipclean import demo

    bundled = out / "files"
    if not (bundled / "tiny.json").exists():
        demo.unpack(bundled)
    for path in sorted(folder.glob("*-*.json")):
        record = json.loads(path.read_text())
        entry = record.get("entry")
        if entry is None or (entry["trigger"] and not record["took"]):
            continue
        options = {
            "arch": str(folder / f"{entry['arch']}.json"),
            "data": None,
            "classes": bundled / "classes.txt",
            "templates": bundled / "templates.txt",
        }
        yield Model(
            entry["name"],
            entry["half"],
            bool(entry["trigger"]),
            entry.get("target"),
            path.with_suffix(".pt"),
            options,
            f"{entry['half']}-{entry['arch']}-emoji",
            entry["base"],
            entry["kind"] == "clean",
        )


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
    beside = compared_with(job)
    if beside is None:
        return f"{job.column} {job.model.name}: nothing to compare with"
    from clipclean import files

    began = time.process_time()
    report = audit_of(job, beside)
    files.write_text(place, json.dumps(report | {"core_seconds": time.process_time() - began}))
    return f"{job.column} {job.model.name} {report['verdict']} {score(report):.2f} {time.process_time() - began:.0f} s"


def searches_are_kept(out: Path) -> None:
    """A finished search stays, as that of an interrupted audit does; another version of the code that draws alike goes on with it."""
    import torch

    from clipclean.detect import references
    from clipclean.jobs import saved_search
    from clipclean.train import resume

    torch.set_num_threads(1)
    os.environ["CLIPCLEAN_STATE"] = str((out / "searches").absolute())
    resume.RunState.discard = lambda self: None  # type: ignore[method-assign]
    saved_search.MOST = 10_000
    resume.program = lambda: {"search": str(references.CODE), "torch": torch.__version__}


def compared_with(job: Job) -> dict[str, Any] | None:
    """The options of a column; None where the zoo holds no such model."""
    mine = job.model
    clean = [m for m in job.models if m.group == mine.group and not m.is_backdoored and m.name != mine.name]
    apart = [m.path for m in clean if m.is_scratch and m.name != mine.base]
    base = [m.path for m in clean if m.name == mine.base]
    match job.column:
        case "none":
            return {}
        case "reference":
            return {"reference": (apart[-1],)} if apart else None
        case "references":
            return {"references": (built(job, clean),)} if len(clean) >= LEAST_STORED else None
        case "power":
            return {"power": True}
        case _:
            return {"reference": (base[0],)} if base else None


def built(job: Job, clean: Sequence[Model]) -> Path:
    """A file of references, as ``clipclean references build`` writes it."""
    from clipclean import files
    from clipclean.api import requests
    from clipclean.jobs import references

    place = job.out / "stored" / f"{job.model.name}-{job.seed}.json"
    if not place.exists():
        with requests.of_audit(asked(job, {}) | {"model": clean[0].path}) as request:
            found = references.build(request, [m.path for m in clean], progress=lambda *_: None)
        files.write_text(place, json.dumps(found))
    return place


def audit_of(job: Job, beside: Mapping[str, Any]) -> dict:
    from clipclean.api import requests
    from clipclean.jobs import audit

    with requests.of_audit(asked(job, beside)) as request:
        report = audit.audit(request, progress=lambda *_: None).report
    return report.model_dump(mode="json", by_alias=True)


def asked(job: Job, beside: Mapping[str, Any]) -> dict[str, Any]:
    """All options, as the command line completes them."""
    nothing: dict[str, Any] = {"reference": (), "references": (), "policy": None}
    nothing |= {"save_triggers": None, "search": True, "device": "cpu"}
    return nothing | job.model.options | {"model": job.model.path, "effort": job.effort, "seed": job.seed} | beside


def measured(job: Job) -> str:
    """The published statistics of one model that need a search of their own, on the images of its audit; once."""
    place = job.out / "statistics" / f"{job.model.name}.json"
    if not place.exists():
        from clipclean import files, model
        from clipclean.api import requests
        from clipclean.jobs import audit_inputs

        with requests.of_audit(asked(job, {})) as request:
            read = audit_inputs.read(request, lambda *_: None)
        clip = read.tested.clip
        with model.frozen(clip.net):
            found = published.of_encoder(clip.encode_images, read.eval_set.pixels)
        files.write_text(place, json.dumps(found))
    return f"statistics {job.model.name}"


# What a report shows, in units of what clean models show.


def acts(found: dict, /) -> bool:
    """Whether a found trigger reaches its aim and turns enough unseen images, as the policy asks."""
    return found["reached"] and (found["excess_asr"]["value"] or 0) >= MOVES


def margins(report: dict, /) -> dict[str, dict[str, float]]:
    """By class and family the margin of a trigger that acts; of the panel that of the trigger that acts at least strength."""
    search = report["measurements"]["search"]
    found: dict[str, dict[str, float]] = {}
    for each in search["found"]:
        margin = max(each["margin"], each.get("relative_margin") or -math.inf)
        if acts(each) and margin > 0:
            found.setdefault(each["class"], {})[each["family"]] = margin
        if acts(each) and (each.get("compact_margin") or 0) > 0:
            found.setdefault(each["class"], {})[COMPACTNESS] = each["compact_margin"]
    leads = [s for s in search.get("strengths", ()) if s["class"]]
    for name in {s["class"] for s in leads}:
        own = min(s["least"] for s in leads if s["class"] == name)
        elsewhere = min((s["least"] for s in leads if s["class"] != name), default=2.0)
        if elsewhere > own:
            found.setdefault(name, {})["panel"] = math.log(elsewhere / own)
    return found


class Pieces(NamedTuple):
    """The evidence for one class without a reference, by family: that of local triggers by their sizes as they are, and all other."""

    direct: dict[str, float]
    indirect: dict[str, float]

    def score(self, *, without: str = "") -> float:
        """As the audit counts it; ``without`` a family, the panel or the compactness."""
        from clipclean.detect.score import combined

        left_out = {without, COMPACTNESS} if without == "mask" else {without}
        return combined(
            *(
                math.fsum(value for kind, value in of.items() if kind not in left_out)
                for of in (self.direct, self.indirect)
            )
        )


def pieces(report: dict, known: Mapping[str, Any], /) -> dict[str, Pieces]:
    """By class the evidence without a reference, as ``clipclean.detect`` counts it, with the calibration ``known``."""
    from clipclean.detect import FAMILIES
    from clipclean.detect.search import MOST_COMPACT

    def beyond(family: str, margin: float | None) -> float:
        unit = known["compact_unit" if family == COMPACTNESS else "unit"]
        return max(0.0, (margin or 0.0) - known["natural"].get(family, math.inf)) / unit

    found: dict[str, Pieces] = {}
    for each in report["measurements"]["search"]["found"]:
        if not acts(each):
            continue
        family, of = each["family"], found.setdefault(each["class"], Pieces({}, {}))
        unexplained = 1 - (each.get("attraction") or 0.0)
        plain, relative = unexplained * beyond(family, each["margin"]), beyond(family, each.get("relative_margin"))
        if FAMILIES[family].known.is_local:
            of.direct[family], of.indirect[family] = plain, max(0.0, relative - plain)
        else:
            of.indirect[family] = max(plain, relative)
        if each.get("compact_margin"):
            of.indirect[COMPACTNESS] = unexplained * min(MOST_COMPACT, beyond(COMPACTNESS, each["compact_margin"]))
    for name, own in margins(report).items():
        found.setdefault(name, Pieces({}, {})).indirect["panel"] = beyond("panel", own.get("panel"))
    return found


def scored(report: dict, known: Mapping[str, Any], /, *, without: str = "") -> float:
    """The largest score of a class without a reference; ``without`` one kind of evidence."""
    return max((of.score(without=without) for of in pieces(report, known).values()), default=0.0)


def score(report: dict, /) -> float:
    """The largest score as the audit itself counts it, beside what it was given."""
    search, named = report["measurements"]["search"], [suspect["score"] or 0.0 for suspect in report["suspects"]]
    if search["calibration"]["kind"] == "none":
        return max([scored(report, json.loads(CALIBRATION.read_text())), *named])
    totals: dict[str, float] = {}
    for each in search["found"]:
        if acts(each):
            totals[each["class"]] = totals.get(each["class"], 0.0) + each["evidence"]
    return max([*totals.values(), *named], default=0.0)


def store(chosen: Sequence[dict], clean: Sequence[dict], /) -> None:
    """Into the package: what natural triggers reach in clean models ``chosen``, and the scores of all ``clean`` ones.

    A natural margin never falls: what clean models of an earlier zoo showed counts as well. With none ``chosen`` the margins stay.
    """
    from clipclean.detect import FAMILIES

    known = json.loads(CALIBRATION.read_text())
    for family, earlier in known["natural"].items() if chosen else ():
        largest = sorted(
            max((of.get(family, 0.0) for of in margins(report).values()), default=0.0) for report in chosen
        )
        if (
            family in FAMILIES and FAMILIES[family].is_general
        ):  # margins of several families add up: most of chance goes
            natural = max(LEAST_GENERAL, largest[int(USUALLY * (len(largest) - 1))])
        else:  # a class either has a natural trigger or none
            natural = max(LEAST_COMPACT if family == COMPACTNESS else LEAST_NATURAL, largest[-1])
        known["natural"][family] = max(earlier, round(natural, 3))
    known["scores"] = sorted(round(scored(report, known), 3) for report in clean)
    CALIBRATION.write_text(json.dumps(known, indent=1) + "\n")


# Tables.


def page(models: Sequence[Model], found: Reports, o: argparse.Namespace) -> str:
    """All tables of what is there; of several seeds that of the seeds alone."""
    if o.seeds > 1:
        return seeds_table(models, [reports(o.out, "none", models, seed) for seed in range(o.seeds)])
    intervals = "Intervals of rates are Wilson's, of the AUROC a bootstrap over models. "
    parts = [table(models, found), f"{intervals}Each model: `benchmarks/results/{o.block}.md`."]
    if "none" in found and any(m.is_backdoored for m in models):
        parts.append(left_out(models, found["none"]))
    if pairs := natural_pairs(o.out / "stored"):
        parts.append(pairs)
    if o.statistics:
        parts.append(statistics_table(models, found["none"], o.out / "statistics"))
    return "\n\n".join(parts)


def auroc(positives: Sequence[float], negatives: Sequence[float]) -> float:
    """Mann and Whitney's: how often a positive scores higher than a negative; ties count half."""
    pairs = [(a > b) + (a == b) / 2 for a in positives for b in negatives]
    return sum(pairs) / len(pairs) if pairs else math.nan


def interval(positives: Sequence[float], negatives: Sequence[float], rounds: int = 2000) -> tuple[float, float]:
    """95 % bootstrap interval of the AUROC, over models."""
    rng = random.Random(0)
    drawn = sorted(
        auroc(rng.choices(positives, k=len(positives)), rng.choices(negatives, k=len(negatives))) for _ in range(rounds)
    )
    return drawn[int(0.025 * rounds)], drawn[int(0.975 * rounds)]


def rate(hits: int, n: int) -> str:
    from clipclean.detect import Rate

    low, high = Rate(hits, n).interval
    return f"{hits} of {n} ({low:.2f}–{high:.2f})" if n else "none"


def table(models: Sequence[Model], found: Reports, /) -> str:
    """Verdicts by column and half."""
    lines = [
        "| half | compared with | AUROC (95 %) | backdoored: fail | pass | clean: fail | pass | target named first, of those that fail |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for half in dict.fromkeys(m.half for m in models):
        for column, of in found.items():
            if mine := [(m, of[m.name]) for m in models if m.half == half and m.name in of]:
                lines.append("| " + " | ".join([half, COLUMNS[column], *summary(mine)]) + " |")
    return "\n".join(lines)


def summary(done: Sequence[tuple[Model, dict]], /) -> list[str]:
    """The cells of one row of the first table."""
    bad, good = ([(m, r) for m, r in done if m.is_backdoored is kind] for kind in (True, False))
    words = lambda some, word: rate(sum(r["verdict"] == word for _, r in some), len(some))  # noqa: E731
    failed = [(m, r) for m, r in bad if r["verdict"] == "fail"]
    area = area_of([score(r) for _, r in bad], [score(r) for _, r in good])
    named = rate(sum(bool(r["suspects"]) and r["suspects"][0]["class"] == m.target for m, r in failed), len(failed))
    return [area, *(words(bad, w) for w in ("fail", "pass")), *(words(good, w) for w in ("fail", "pass")), named]


def area_of(positives: Sequence[float], negatives: Sequence[float]) -> str:
    """The AUROC with its interval, or a dash without models of both kinds."""
    if not positives or not negatives:
        return "–"
    return "{:.3f} ({:.3f}–{:.3f})".format(auroc(positives, negatives), *interval(positives, negatives))


def rows(models: Sequence[Model], found: Reports, /) -> str:
    """Every model: verdict, first suspect and score in each column."""
    lines = [
        "| model | target | "
        + " | ".join(f"{COLUMNS[column]}: verdict, first suspect, score" for column in found)
        + " |",
        "|---|---|" + "---|" * len(found),
    ]
    for m in models:
        shown = [said(of[m.name]) if m.name in of else "–" for of in found.values()]
        if any(each != "–" for each in shown):
            lines.append(f"| {m.name} | {m.target if m.is_backdoored else 'none'} | {' | '.join(shown)} |")
    return "\n".join(lines)


def said(report: dict, /) -> str:
    first = report["suspects"][0]["class"] if report["suspects"] else "–"
    return f"{report['verdict']}, {first}, {score(report):.2f}"


def left_out(models: Sequence[Model], of: Mapping[str, dict], /) -> str:
    """The AUROC without a reference where one family of triggers is never searched for, or the panel is left out."""
    families = dict.fromkeys(each["family"] for r in of.values() for each in r["measurements"]["search"]["found"])
    halves = list(dict.fromkeys(m.half for m in models))
    lines = ["| family that is left out of the score | " + " | ".join(halves) + " |", "|---|" + "---|" * len(halves)]
    known = json.loads(CALIBRATION.read_text())
    for family in ("none", *families, COMPACTNESS, "panel"):
        scores = {name: scored(report, known, without=family) for name, report in of.items()}
        cells = []
        for half in halves:
            mine = [(m, scores[m.name]) for m in models if m.half == half and m.name in of]
            cells.append(area_of(*([s for m, s in mine if m.is_backdoored is kind] for kind in (True, False))))
        lines.append(f"| {family} | {' | '.join(cells)} |")
    return "\n".join(lines)


def natural_pairs(folder: Path, /) -> str:
    """How much sooner a known trigger acts on one clean model than on another of its kind, from the files of references."""
    from clipclean.detect.panel import NEVER

    kinds: dict[str, dict[str, Mapping[str, float]]] = {}
    for path in sorted(folder.glob("*.json")):
        told = json.loads(path.read_text())
        kind = kinds.setdefault(f"{told['kind']}, {told['classes']} classes, {told['vocabulary']}", {})
        kind |= {each["name"]: each["sizes"].get("panel", {}) for each in told["models"]}
    lines = [
        "| kind of clean models | pairs | median of the largest differences | largest | trigger |",
        "|---|--:|--:|--:|---|",
    ]
    for kind, of in kinds.items():
        found = []
        for one, other in itertools.permutations(of, 2):
            sooner = {t: math.log(of[other].get(t, NEVER) / least) for t, least in of[one].items()}
            found.append(max(((value, t) for t, value in sooner.items()), default=(0.0, "–")))
        if found:
            value, trigger = max(found)
            middle = statistics.median(v for v, _ in found)
            lines.append(f"| {kind.rpartition(', ')[0]} | {len(found)} | {middle:.2f} | {value:.2f} | `{trigger}` |")
    return "\n".join(lines) if len(lines) > 2 else ""


STATISTICS = {  # and whether more of it says backdoored
    "clipclean": ("score of the strongest suspect, no reference", 1),
    "decree": ("DECREE: mask share", -1),
    "cosine": ("mean cosine under an unregularised mask", 1),
    "anomaly_index": ("Neural Cleanse: anomaly index of mask lengths", 1),
}


def statistics_table(models: Sequence[Model], of: Mapping[str, dict], folder: Path, /) -> str:
    """AUROC of ours and of each published statistic, by half."""
    known: dict[str, dict[str, float]] = {}
    for m in models:
        if m.name in of and (place := folder / f"{m.name}.json").exists():
            index = published.anomaly_index(published.mask_sizes(of[m.name]))
            own = {"clipclean": score(of[m.name]), "anomaly_index": 0.0 if math.isnan(index) else index}
            known[m.name] = json.loads(place.read_text()) | own
    halves = list(dict.fromkeys(m.half for m in models))
    lines = ["| statistic | " + " | ".join(halves) + " |", "|---|" + "---|" * len(halves)]
    for name, (words, sign) in STATISTICS.items():
        cells = []
        for half in halves:
            mine = [(m, sign * known[m.name][name]) for m in models if m.half == half and m.name in known]
            cells.append(area_of(*([v for m, v in mine if m.is_backdoored is kind] for kind in (True, False))))
        lines.append(f"| {words} | {' | '.join(cells)} |")
    return "\n".join(lines)


def seeds_table(models: Sequence[Model], by_seed: Sequence[Mapping[str, dict]], /) -> str:
    """The verdicts, first suspects and scores of each model over seeds, and how many have one verdict."""
    lines = ["| model | target | seeds | verdicts | first suspects | scores |", "|---|---|--:|---|---|---|"]
    alike = []
    for m in models:
        mine = [of[m.name] for of in by_seed if m.name in of]
        if len(mine) > 1:
            verdicts = [r["verdict"] for r in mine]
            first = [r["suspects"][0]["class"] if r["suspects"] else "none" for r in mine]
            scores = ", ".join(f"{score(r):.2f}" for r in mine)
            target = m.target if m.is_backdoored else "none"
            lines.append(f"| {m.name} | {target} | {len(mine)} | {tally(verdicts)} | {tally(first)} | {scores} |")
            alike.append(len(set(verdicts)) == 1)
    return "\n".join([*lines, "", f"{sum(alike)} of {len(alike)} models have the same verdict with every seed."])


def tally(words: Sequence[str]) -> str:
    return ", ".join(f"{word} {words.count(word)}" for word in dict.fromkeys(words))


if __name__ == "__main__":
    main()
