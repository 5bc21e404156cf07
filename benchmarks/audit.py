"""The audit on the zoo of ``benchmarks/zoo.py``: thresholds from one half, figures from the other.

    python benchmarks/audit.py --zoo build/zoo --out build/audit                        # search every model, once
    python benchmarks/audit.py --zoo build/zoo --out build/audit --store                # references of clean models
    python benchmarks/audit.py --zoo build/zoo --out build/audit --write docs/evidence.md

Each model is searched as ``clipclean audit --effort standard`` does on the bundled pictures; what was measured stands
in OUT/NAME.json, so that a stopped run goes on, and is judged when the table is made. ``--store`` writes what the clean
models of the half ``choose`` need into the package. Beside it stands DECREE's statistic, on the same models.
``--seeds 10`` searches some models anew with ten seeds. ``--more build/claim/*-2*.pt --arch tiny.json`` judges models besides
that are not of the zoo: the victims of ``benchmarks/claim.py``, and what cleaning made of them.
"""

import argparse
import json
import math
import multiprocessing
import time
from pathlib import Path
from types import SimpleNamespace

from blocks import fill
from zoo import TOOK

SEEDS_OF = (
    "report-resnet-planted-3-patch",
    "report-resnet-clean-1",
    "report-vit-planted-4-stripes",
    "report-vit-clean-1",
)
REFERENCES = Path(__file__).parents[1] / "clipclean" / "detect" / "references.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--more", type=Path, nargs="*", default=[], help="models to be judged besides, of --arch")
    parser.add_argument("--arch", type=Path, help="config of --more")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--seeds", type=int, default=0, help="search some models with so many seeds instead")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="search these models only")
    parser.add_argument("--store", action="store_true", help="write the references of clean models into the package")
    parser.add_argument("--write", type=Path, help="a page with the markers of the block audit")
    o = parser.parse_args()
    o.out.mkdir(parents=True, exist_ok=True)
    with multiprocessing.get_context("spawn").Pool(o.workers) as pool:
        for name in pool.imap_unordered(searched, jobs(o)):
            print(name, flush=True)
    if o.store:
        store(o)
    block, text = ("audit-seeds", seeds_table(o)) if o.seeds else ("audit", table(o))
    print(text)
    if o.write:
        fill(o.write, block, text)


def records(o: argparse.Namespace) -> list[dict]:
    """The zoo's own records: what each model is."""
    found = [json.loads(path.read_text()) for path in sorted(o.zoo.glob("*-*.json"))]
    return [record for record in found if "entry" in record]


def jobs(o: argparse.Namespace) -> list[tuple]:
    zoo = [
        (r["entry"]["name"], o.zoo / f"{r['entry']['name']}.pt", o.zoo / f"{r['entry']['arch']}.json")
        for r in records(o)
    ]
    zoo += [(f"more-{path.stem}", path, o.arch) for path in o.more]
    zoo = [job for job in zoo if o.only is None or job[0] in o.only]
    if o.seeds:
        return [(*job, seed, o.out) for job in zoo if job[0] in SEEDS_OF for seed in range(1, o.seeds + 1)]
    return [(*job, 0, o.out) for job in zoo]


def cell(out: Path, name: str, seed: int) -> Path:
    return out / (f"{name}-seed{seed}.json" if seed else f"{name}.json")


def searched(job: tuple) -> str:
    """Measure and search one model; once."""
    import torch

    torch.set_num_threads(1)
    name, path, arch, seed, out = job
    place = cell(out, name, seed)
    if not place.exists():
        from clipclean import files

        files.write_text(place, json.dumps(look(path, arch, seed, out)))
    return name


def look(path: Path, arch: Path, seed: int, out: Path) -> dict:
    import decree

    from clipclean import data, demo, detect, model
    from clipclean.config import policy, recipe
    from clipclean.jobs import audit as audit_job
    from clipclean.jobs import inputs

    bundled = out / "files"
    if not (bundled / "tiny.json").exists():
        demo.unpack(bundled)
    chosen = recipe.load(recipe.DEFAULT)
    words = inputs.words(bundled / "classes.txt", bundled / "templates.txt")
    opened = inputs.read(path, arch=str(arch))
    images = data.read_images(bundled / demo.PICTURES, images=inputs.image_cache(chosen, opened.architecture))
    tested = inputs.build(opened, images, device="cpu")
    evidence = inputs.pictures(tested.clip, images, chosen, vocabulary=words)
    request = audit_job.Request(
        model=path, data=bundled / demo.PICTURES, own=False, pairs=bundled / demo.PAIRS, reference=None, policy=policy.DEFAULT,
        effort="standard", arch=str(arch), classes=None, templates=None, seed=seed, device="cpu", save_triggers=None, search=True,
    )  # fmt: skip
    began = time.process_time()
    seen = audit_job.look(request, tested.clip, evidence, None, lambda what, done, total: None)
    seconds = time.process_time() - began
    with model.frozen(tested.clip.net):
        began = time.process_time()
        share = decree.share(tested.clip.encode_images, evidence.pixels[:256], steps=200, batch=32, seed=seed)
    return {
        "kind": model.kind_of(tested.clip.architecture),
        "classes": len(words.classes),
        "pictures": len(evidence.pixels),
        "seconds": seconds,
        "search": seen.hunt.as_dict(),
        "smallest": detect.smallest(seen.hunt),
        "measurements": seen.measured.as_dict(),
        "decree": {"share": share, "seconds": time.process_time() - began},
    }


# Judging what was stored, with the thresholds that hold now.


def judged(seen: dict, yardstick) -> tuple[str, list[dict], float]:
    """Verdict, suspects and score of a stored search, by the package's own rules."""
    from clipclean import detect
    from clipclean.config import policy, recipe

    limits = policy.resolved(policy.DEFAULT, recipe.Audit())
    gatherings = [gathering(told, yardstick) for told in seen["search"]["gatherings"]]
    traces = [trace(found, gatherings, yardstick) for found in seen["search"]["found"]]
    hunt = SimpleNamespace(traces=tuple(sorted(traces, key=lambda t: -t.abnormality)))
    panel = [probe(p) for p in seen["measurements"]["probes"]]
    findings = [*detect.searched(hunt, panel, pictures=seen["pictures"], limits=limits)]
    findings += detect.audit(SimpleNamespace(known=(), panel=panel), limits=limits)
    return (
        policy.verdict(findings),
        detect.suspected_classes(hunt, panel, limits=limits),
        detect.score(hunt, panel, limits=limits),
    )


def gathering(told: dict, yardstick) -> SimpleNamespace:
    from clipclean.detect.references import freely

    usual = yardstick.sizes(freely(told["family"]))
    return SimpleNamespace(name=told["class"], share=told["share"], abnormality=usual.abnormality(told["size"]))


def trace(found: dict, gatherings: list[SimpleNamespace], yardstick) -> SimpleNamespace:
    sizes = yardstick.sizes(found["family"])
    rate = lambda r: SimpleNamespace(value=r["value"], n=r["n"])  # noqa: E731
    return SimpleNamespace(
        found=SimpleNamespace(target=found["class"], family=found["family"], spec=found["family"], size_words=found["size_words"]),
        candidate=SimpleNamespace(family=found["family"], size=found["size"], is_reached=found["reached"]),
        probe=SimpleNamespace(excess=found["excess_asr"]["value"], asr=rate(found["asr"]), base=rate(found["base_rate"])),
        gatherings=tuple(g for g in gatherings if g.name == found["class"]), outlyingness=found["outlyingness"], abnormality=sizes.abnormality(found["size"]),
    )  # fmt: skip


def probe(told: dict) -> SimpleNamespace:
    rate = lambda r: SimpleNamespace(value=r["value"], n=r["n"])  # noqa: E731
    return SimpleNamespace(
        trigger=told["trigger"], target=told["target"], asr=rate(told["asr"]), base=rate(told["base_rate"]),
        excess=told["excess_asr"]["value"], excess_interval=tuple(told["excess_asr"]["interval"]),
        spread=told["spread"], clean_spread=told["clean_spread"],
    )  # fmt: skip


def store(o: argparse.Namespace) -> None:
    """What clean models of the half that chooses need, by kind of architecture, into the package."""
    kinds: dict[str, dict] = {}
    for record in records(o):
        entry = record["entry"]
        if entry["half"] == "choose" and not entry["trigger"]:
            seen = json.loads(cell(o.out, entry["name"], 0).read_text())
            kind = kinds.setdefault(
                seen["kind"], {"name": f"{seen['kind']}, emoji zoo", "classes": seen["classes"], "models": []}
            )
            kind["models"].append({name: round(size, 5) for name, size in sorted(seen["smallest"].items())})
    REFERENCES.write_text(json.dumps(kinds, indent=1) + "\n")


def yardsticks(o: argparse.Namespace) -> dict:
    """The references as they ship, by kind: a benchmark that judged by others would not say what users get."""
    from clipclean import detect

    kinds = json.loads(REFERENCES.read_text())
    return {kind: detect.stored(kind, classes=known["classes"]) for kind, known in kinds.items()}


def others(o: argparse.Namespace) -> list[tuple[str, dict, bool | None]]:
    """The models besides: a record with a trigger beside a model says that it is a victim."""
    found = []
    for path in o.more:
        told = json.loads(path.with_suffix(".json").read_text()) if path.with_suffix(".json").exists() else {}
        entry = {"half": "more", "trigger": told.get("trigger"), "target": told.get("target")}
        asr = told["after"]["probes"][0]["asr"]["value"] if entry["trigger"] else None
        found.append((f"more-{path.stem}", entry, None if asr is None else asr >= TOOK))
    return found


def rows_of(o: argparse.Namespace) -> list[dict]:
    """Every model that was searched, judged."""
    known, rows = yardsticks(o), []
    zoo = [(r["entry"]["name"], r["entry"], r["took"]) for r in records(o)]
    for name, entry, took in zoo + others(o):
        if not cell(o.out, name, 0).exists():
            continue
        seen = json.loads(cell(o.out, name, 0).read_text())
        word, suspects, score = judged(seen, known[seen["kind"]])
        first = suspects[0]["class"] if suspects else ""
        rows.append(
            {"name": name, "entry": entry, "is_backdoored": bool(entry["trigger"]), "took": took, "word": word, "first": first,
             "score": score, "decree": seen["decree"]["share"], "seconds": seen["seconds"]}
        )  # fmt: skip
    return rows


def auroc(positives: list[float], negatives: list[float]) -> float:
    """Mann and Whitney's: how often a positive scores higher than a negative; ties count half."""
    pairs = [(a > b) + (a == b) / 2 for a in positives for b in negatives]
    return sum(pairs) / len(pairs) if pairs else math.nan


def interval(positives: list[float], negatives: list[float], rounds: int = 2000) -> tuple[float, float]:
    """95 % bootstrap interval of the AUROC, over models."""
    import random

    rng = random.Random(0)
    found = sorted(
        auroc(rng.choices(positives, k=len(positives)), rng.choices(negatives, k=len(negatives))) for _ in range(rounds)
    )
    return found[int(0.025 * rounds)], found[int(0.975 * rounds)]


def rate(hits: int, n: int) -> str:
    from clipclean.detect import Rate

    if not n:
        return "none"
    low, high = Rate(hits, n).interval
    return f"{hits} of {n} ({low:.2f}–{high:.2f})"


def summary(rows: list[dict], half: str) -> list[str]:
    """One row of the first table."""
    ours = [r for r in rows if r["entry"]["half"] == half]
    bad, good = [r for r in ours if r["is_backdoored"] and r["took"]], [r for r in ours if not r["is_backdoored"]]
    named = [r for r in bad if r["word"] != "pass"]
    lines = []
    for what, key, sign in (("clipclean audit", "score", 1), ("DECREE's statistic", "decree", -1)):
        p, n = [sign * r[key] for r in bad], [sign * r[key] for r in good]
        low, high = interval(p, n)
        if key == "score":
            cells = [
                rate(sum(r["word"] == "fail" for r in bad), len(bad)), rate(sum(r["word"] == "inconclusive" for r in bad), len(bad)),
                rate(sum(r["word"] == "pass" for r in bad), len(bad)), rate(sum(r["word"] == "fail" for r in good), len(good)),
                rate(sum(r["word"] == "inconclusive" for r in good), len(good)),
                rate(sum(r["first"] == r["entry"]["target"] for r in named), len(named)),
            ]  # fmt: skip
        else:
            flagged = lambda some: rate(sum(r["decree"] < 0.1 for r in some), len(some))  # noqa: E731
            cells = [flagged(bad), "–", "–", flagged(good), "–", "–"]
        lines.append(f"| {half} | {what} | {auroc(p, n):.3f} ({low:.3f}–{high:.3f}) | " + " | ".join(cells) + " |")
    return lines


def table(o: argparse.Namespace) -> str:
    rows = rows_of(o)
    lines = [
        "| half | method | AUROC (95 %) | backdoored: fail | inconclusive | pass | clean: fail | inconclusive | target named first |",
        "|---|---|---|---|---|---|---|---|---|",
        *(line for half in dict.fromkeys(r["entry"]["half"] for r in rows) for line in summary(rows, half)),
        "",
        "Intervals of rates are Wilson's, of the AUROC a bootstrap over models. The rows of DECREE count models below its",
        "threshold of 0.1 as failed.",
        "",
        "| model | backdoor | verdict | first suspect | score | DECREE share | s, one core |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        entry = r["entry"]
        backdoor = f"{entry['trigger']} → {entry['target']}" if entry["trigger"] else "none"
        backdoor += " (did not take)" if r["took"] is False else ""
        lines.append(
            f"| {r['name']} | {backdoor} | {r['word']} | {r['first']} | {r['score']:.2f} | {r['decree']:.3f} | {r['seconds']:.0f} |"
        )
    return "\n".join(lines)


def seeds_table(o: argparse.Namespace) -> str:
    """The verdicts of one model under several seeds."""
    known, lines = yardsticks(o), ["| model | verdicts over the seeds | first suspects |", "|---|---|---|"]
    for name in SEEDS_OF:
        found = []
        for seed in range(1, o.seeds + 1):
            if cell(o.out, name, seed).exists():
                seen = json.loads(cell(o.out, name, seed).read_text())
                found.append(judged(seen, known[seen["kind"]]))
        words, firsts = [word for word, _, _ in found], [s[0]["class"] if s else "none" for _, s, _ in found]
        told = lambda words: ", ".join(f"{w} {words.count(w)}" for w in dict.fromkeys(words))  # noqa: E731
        lines.append(f"| {name} | {told(words)} | {told(firsts)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
