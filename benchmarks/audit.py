"""The audit on the zoos: natural triggers and scores of clean models from one half, figures from the other.

    python benchmarks/audit.py --photo-zoo build/photo-zoo --zoo build/zoo --out build/audit             # audit every model, once
    python benchmarks/audit.py --photo-zoo build/photo-zoo --out build/audit --store --no-run            # calibration.json
    python benchmarks/audit.py --photo-zoo build/photo-zoo --out build/audit --no-run --write docs/evidence.md

Each model is audited as ``clipclean audit`` does; OUT/NAME.json is its report, so that a stopped run goes on. ``--store`` writes what
clean models of the half ``choose`` show into the package: by family the largest margin of a natural trigger, and the score of every
model.
``--half choose`` audits and shows one half alone. ``--seeds 10`` audits some models anew with ten seeds.
"""

import argparse
import json
import math
import multiprocessing
import random
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from blocks import fill

ROOT = Path(__file__).parents[1]
CALIBRATION = ROOT / "clipclean" / "detect" / "calibration.json"
USUALLY, LEAST_GENERAL = 0.8, 0.1  # quantile over clean models of the largest margin of a general family, and its least
LEAST_NATURAL = 0.3  # of a family of few parameters: the models of this zoo need not hold the largest natural trigger
MOVES = 0.6  # excess of a found trigger that counts, as in the policy


class Model(NamedTuple):
    """One model of a zoo, and how to audit it."""

    name: str
    half: str
    is_backdoored: bool
    target: str | None
    path: Path
    options: dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo-zoo", type=Path, help="of benchmarks/photo_zoo.py")
    parser.add_argument("--zoo", type=Path, help="of benchmarks/zoo.py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--half", choices=("choose", "report"), help="this half only")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="these models only")
    parser.add_argument("--effort", default="standard")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--seeds", type=int, default=1, help="audit with so many seeds, from 0 on")
    parser.add_argument("--no-run", action="store_true", help="audit nothing, judge what is there")
    parser.add_argument("--store", action="store_true", help="write the calibration into the package")
    parser.add_argument("--write", type=Path, help="a page with the markers of the block")
    parser.add_argument("--block", default="audit-photos", help="between whose markers the table goes")
    o = parser.parse_args()
    o.out.mkdir(parents=True, exist_ok=True)
    models = [m for m in all_models(o) if o.half in (None, m.half) and (o.only is None or m.name in o.only)]
    if not o.no_run:
        jobs = [(model, seed, o.effort, o.out) for seed in range(o.seeds) for model in models]
        with multiprocessing.get_context("spawn").Pool(o.workers) as pool:
            for name in pool.imap_unordered(audited, jobs):
                print(name, flush=True)
    done = [(m, json.loads(cell(o.out, m.name, 0).read_text())) for m in models if cell(o.out, m.name, 0).exists()]
    if o.store:
        store([report for m, report in done if m.half == "choose" and not m.is_backdoored])
    text = table(done)
    print(text)
    if o.write:
        fill(o.write, o.block, text)


def all_models(o: argparse.Namespace) -> list[Model]:
    return [*photo_models(o.photo_zoo), *emoji_models(o.zoo, o.out)]


def photo_models(folder: Path | None) -> Iterable[Model]:
    """Those of photographs; what was finetuned towards a backdoor that did not take counts as clean."""
    for path in sorted(folder.glob("*-*-*.json")) if folder else ():
        record = json.loads(path.read_text())
        entry = record.get("entry")
        if entry is None or record["counts_as"] == "neither":
            continue
        images = folder / f"{entry['half']}-{entry['classes']}"
        options = {
            "arch": str(folder / f"{entry['arch']}-{entry['side']}.json"),
            "data": images / "audit",
            "classes": images / "classes.txt",
            "templates": images / "templates.txt",
        }
        bad = record["counts_as"] == "backdoored"
        yield Model(entry["name"], entry["half"], bad, entry["target"], path.with_suffix(".pt"), options)


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
            "classes": bundled / "classes.txt",
            "templates": bundled / "templates.txt",
        }
        target = entry.get("target")
        yield Model(entry["name"], entry["half"], bool(entry["trigger"]), target, path.with_suffix(".pt"), options)


def cell(out: Path, name: str, seed: int) -> Path:
    return out / (f"{name}-seed{seed}.json" if seed else f"{name}.json")


def audited(job: tuple[Model, int, str, Path]) -> str:
    """Audit one model; once."""
    import torch

    import clipclean
    from clipclean import files

    torch.set_num_threads(1)
    model, seed, effort, out = job
    place = cell(out, model.name, seed)
    if not place.exists():
        began = time.process_time()
        report = clipclean.audit(model.path, effort=effort, seed=seed, **model.options).model_dump(
            mode="json", by_alias=True
        )
        files.write_text(place, json.dumps(report | {"core_seconds": time.process_time() - began}))
    return model.name


# What a report shows, in units of what clean models show.


def margins(report: dict, /) -> dict[str, dict[str, float]]:
    """By class and family the margin of a trigger that acts; of the panel that of the trigger that acts at least strength."""
    search = report["measurements"]["search"]
    found: dict[str, dict[str, float]] = {}
    for each in search["found"]:
        if each["reached"] and (each["excess_asr"]["value"] or 0) >= MOVES and each["margin"] > 0:
            found.setdefault(each["class"], {})[each["family"]] = each["margin"]
    leads = [s for s in search.get("strengths", ()) if s["class"]]
    for name in {s["class"] for s in leads}:
        own = min(s["least"] for s in leads if s["class"] == name)
        elsewhere = min((s["least"] for s in leads if s["class"] != name), default=2.0)
        if elsewhere > own:
            found.setdefault(name, {})["panel"] = math.log(elsewhere / own)
    return found


def scored(report: dict, natural: dict[str, float], unit: float, /) -> list[tuple[float, str]]:
    """The classes by their score, the largest first, without a reference."""
    ranked = [
        (math.fsum(max(0.0, m - natural.get(family, math.inf)) for family, m in of.items()) / unit, name)
        for name, of in margins(report).items()
    ]
    return sorted(ranked, reverse=True)


def beside(report: dict, /) -> float:
    """The largest score as the audit itself counts it, beside the references that it was given."""
    totals: dict[str, float] = {}
    for each in report["measurements"]["search"]["found"]:
        if each["reached"] and (each["excess_asr"]["value"] or 0) >= MOVES:
            totals[each["class"]] = totals.get(each["class"], 0.0) + each["evidence"]
    named = [suspect["score"] or 0.0 for suspect in report["suspects"]]
    return max([*totals.values(), *named], default=0.0)


def store(clean: Sequence[dict], /) -> None:
    """What natural triggers reach in clean models, and the scores of these, into the package."""
    from clipclean.detect import FAMILIES

    known = json.loads(CALIBRATION.read_text())
    for family in known["natural"]:
        largest = sorted(max((of.get(family, 0.0) for of in margins(report).values()), default=0.0) for report in clean)
        if (
            family in FAMILIES and FAMILIES[family].is_general
        ):  # margins of several families add up: most of chance goes
            natural = max(LEAST_GENERAL, largest[int(USUALLY * (len(largest) - 1))])
        else:  # a class either has a natural trigger or none
            natural = max(LEAST_NATURAL, largest[-1])
        known["natural"][family] = round(natural, 3)
    best = (scored(report, known["natural"], known["unit"]) for report in clean)
    known["scores"] = sorted(round(max((s for s, _ in ranked), default=0.0), 3) for ranked in best)
    CALIBRATION.write_text(json.dumps(known, indent=1) + "\n")


# Tables.


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


def summary(done: Sequence[tuple[Model, dict]], half: str) -> str:
    """One row of the first table."""
    bad, good = ([(m, r) for m, r in done if m.half == half and m.is_backdoored is kind] for kind in (True, False))
    p, n = ([beside(r) for _, r in some] for some in (bad, good))
    words = lambda some, word: rate(sum(r["verdict"] == word for _, r in some), len(some))  # noqa: E731
    failed = [(m, r) for m, r in bad if r["verdict"] == "fail"]
    area = "–" if not p or not n else "{:.3f} ({:.3f}–{:.3f})".format(auroc(p, n), *interval(p, n))
    named = rate(sum(bool(r["suspects"]) and r["suspects"][0]["class"] == m.target for m, r in failed), len(failed))
    cells = [half, area, *(words(bad, w) for w in ("fail", "pass")), *(words(good, w) for w in ("fail", "pass")), named]
    return "| " + " | ".join(cells) + " |"


def table(done: Sequence[tuple[Model, dict]], /) -> str:
    lines = [
        "| half | AUROC (95 %) | backdoored: fail | pass | clean: fail | pass | target named first, of those that fail |",
        "|---|---|---|---|---|---|---|",
        *(summary(done, half) for half in dict.fromkeys(m.half for m, _ in done)),
        "",
        "Intervals of rates are Wilson's, of the AUROC a bootstrap over models.",
        "",
        "| model | target | verdict | first suspect | score | s, search |",
        "|---|---|---|---|--:|--:|",
    ]
    for model, report in done:
        first = report["suspects"][0]["class"] if report["suspects"] else "–"
        score = beside(report)
        seconds = report["measurements"]["search"].get("seconds", math.nan)
        target = model.target if model.is_backdoored else "none"
        lines.append(f"| {model.name} | {target} | {report['verdict']} | {first} | {score:.2f} | {seconds:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
