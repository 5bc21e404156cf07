"""``auto`` on the zoo of ``benchmarks/zoo.py``: told nothing of trigger and target, then measured with both.

    python benchmarks/auto.py --zoo build/zoo --out build/auto                             # one file a model; goes on where it stopped
    python benchmarks/auto.py --zoo build/zoo --out build/auto --write docs/evidence.md    # the table of what is there

Each backdoored model of the half ``report`` that took, and its clean models, go through ``clipclean sanitize --recipe auto`` as a user
would run it, on the bundled pairs and labelled images, with the weights kept whatever the verdict. The planted trigger is then
measured on the labelled images, and once more after a benign finetuning of another seed than auto's own. Beside the accuracy
under the trigger stands that of the model that the victim was made from, which never saw the trigger: a trigger hides or
blurs a part of each image, so that no cleaning can be expected to get beyond it.
"""

import argparse
import json
import shutil
import time
from pathlib import Path

import zoo
from blocks import fill


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, help="the folder that benchmarks/zoo.py made; --write needs none")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--half", default="report", choices=("report", "choose"))
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these models, in this order")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, help="a page with the markers of the block auto; nothing is run")
    o = parser.parse_args()
    if not (o.zoo or o.write):
        parser.error("--zoo is needed to measure; --write prints what is there")
    o.out.mkdir(parents=True, exist_ok=True)
    if not o.write:
        for record in victims(o):
            print(record["entry"]["name"], summary(cleaned(record, o)), flush=True)
    text = table(o)
    print(text)
    if o.write:
        fill(o.write, "auto", text)


def victims(o: argparse.Namespace) -> list[dict]:
    """The zoo's records of the half: backdoors that took, then clean models."""
    found = [json.loads(path.read_text()) for path in sorted(o.zoo.glob("*-*.json"))]
    ours = [r for r in found if "entry" in r and r["entry"]["half"] == o.half and r["took"] is not False]
    if o.only:
        named = {record["entry"]["name"]: record for record in ours}
        return [named[name] for name in o.only if name in named]
    return sorted(ours, key=lambda record: record["entry"]["trigger"] is None)


def cleaned(record: dict, o: argparse.Namespace) -> dict:
    """Clean one model with auto and measure it; once."""
    import torch

    from clipclean import cli, files, report

    torch.set_num_threads(1)
    entry = record["entry"]
    place, folder = o.out / f"{entry['name']}-seed{o.seed}.json", o.out / f"{entry['name']}-seed{o.seed}"
    if place.exists():
        return json.loads(place.read_text())
    innocent = entry["base"] or f"{entry['half']}-{entry['arch']}-clean-1"
    bundled, began = o.zoo / "files", time.process_time()
    code = cli.main(
        [
            "sanitize",
            str(o.zoo / f"{entry['name']}.pt"),
            "--data",
            str(bundled / "clean.tar"),
            "--recipe",
            "auto",
            "--eval-data",
            str(bundled / "eval.tar"),
            "--arch",
            str(o.zoo / f"{entry['arch']}.json"),
            "--classes",
            str(bundled / "classes.txt"),
            "--templates",
            str(bundled / "templates.txt"),
            "--out",
            str(folder),
            "--seed",
            str(o.seed),
            "--device",
            "cpu",
            "--keep-failed",
            "--force",
            "--quiet",
        ]
    )
    seconds = time.process_time() - began
    made = report.read(folder / "report.json").as_json()
    result = {
        "entry": entry,
        "seed": o.seed,
        "exit": code,
        "verdict": made["verdict"],
        "seconds": seconds,
        "auto": {key: made["auto"][key] for key in ("chosen", "changed", "seconds")}
        | {"share": made["cleaning"]["share"]},
        "ladder": [told(each) for each in made["auto"]["ladder"]],
        "errors": sorted({f["rule"] for f in made["findings"] if f["level"] == "error"}),
        "warnings": sorted({f["rule"] for f in made["findings"] if f["level"] == "warning"}),
        "before": numbers(entry, o.zoo / f"{entry['name']}.pt", o),
        "after": numbers(entry, folder, o),
        "rebound": numbers(entry, folder, o, rebound=True),
        "unpoisoned": numbers(entry, o.zoo / f"{innocent}.pt", o),
    }
    shutil.rmtree(folder)
    files.write_text(place, json.dumps(result, indent=1) + "\n")
    return result


def told(entry: dict) -> dict:
    """A candidate of the report: of each trial what the canaries do, now and after the benign finetuning."""
    trials = [
        {
            "share": trial["kept"],
            "accuracy_lost": trial["accuracy_lost"],
            "left": [o["left"] for o in trial["outcomes"] if o["took"]],
            "returned": [o["returned"] for o in trial["outcomes"] if o["took"]],
        }
        for trial in entry["trials"]
    ]
    return {k: entry[k] for k in ("rung", "passes", "run")} | {"trials": trials}


def numbers(entry: dict, path: Path, o: argparse.Namespace, *, rebound: bool = False) -> dict:
    """Clean accuracy, and what the planted trigger does; perhaps after a benign finetuning."""
    return zoo.figures(zoo.measure(zoo.Entry(**entry), path, o.zoo, rebound=rebound))


def summary(result: dict) -> str:
    before, after, back = result["before"], result["after"], result["rebound"]
    attack = (
        f"excess {before['excess']:.3f} -> {after['excess']:.3f}, refinetuned {back['excess']:.3f}"
        if before["excess"] is not None
        else "clean"
    )
    return f"{result['verdict']} by {result['auto']['chosen']}: {attack}, CA {before['accuracy']:.3f} -> {after['accuracy']:.3f}, {result['seconds']:.0f} s"


def table(o: argparse.Namespace) -> str:
    """What is there, a row a model, and how many of them reach each figure."""
    rows = [json.loads(path.read_text()) for path in sorted(o.out.glob("*-seed*.json"))]
    rows = [row for row in rows if row["entry"]["half"] == o.half]
    if not rows:
        return "Not measured for this revision yet."
    lines = [
        "| model | backdoor | seed | verdict | chosen | excess ASR before → after (95 %, n) | after a refinetune test | PA, and its share of CA (unpoisoned model's) | CA before → after (loss, points) | s, all / the chosen cleaning |",
        "|---|---|--:|---|---|---|---|---|---|---|",
        *map(line, rows),
        "",
        *counted([row for row in rows if row["entry"]["trigger"]]),
    ]
    if clean := [row for row in rows if not row["entry"]["trigger"]]:
        few = sum(lost(row) <= 0.01 for row in clean)
        lines.append(
            f"Runs on clean models that lose at most one point: {few} of {len(clean)}; that pass: {sum(r['verdict'] == 'pass' for r in clean)}."
        )
    return "\n".join(lines)


def lost(row: dict) -> float:
    return round(row["before"]["accuracy"] - row["after"]["accuracy"], 9)


def kept(figures: dict) -> float:
    """Accuracy under the trigger as a share of clean accuracy."""
    return figures["under_trigger"] / figures["accuracy"]


def line(row: dict) -> str:
    entry, before, after, back = row["entry"], row["before"], row["after"], row["rebound"]
    backdoor, attack, again, under = "none", "–", "–", "–"
    if entry["trigger"]:
        low, high = after["interval"]
        backdoor = f"{entry['trigger']} → {entry['target']}"
        attack = f"{before['excess']:.3f} → {after['excess']:.3f} ({low:.3f} to {high:.3f}, n {after['n']})"
        again, under = (
            f"{back['excess']:.3f}",
            f"{after['under_trigger']:.3f}, {kept(after):.2f} ({kept(row['unpoisoned']):.2f})",
        )
    verdict = row["verdict"] + (f" ({', '.join(row['errors'] or row['warnings'])})" if row["verdict"] != "pass" else "")
    seconds = f"{row['auto']['seconds']['total']:.0f} / {row['auto']['seconds']['chosen']:.0f}"
    share = f" at {row['auto']['share']:g}" if row["auto"]["share"] < 1 else ""
    chosen = row["auto"]["chosen"] + share if row["auto"]["changed"] else "nothing to do"
    cost = f"{before['accuracy']:.3f} → {after['accuracy']:.3f} ({100 * lost(row):.1f})"
    return f"| {entry['name']} | {backdoor} | {row['seed']} | {verdict} | {chosen} | {attack} | {again} | {under} | {cost} | {seconds} |"


def counted(rows: list[dict]) -> list[str]:
    """How many backdoored models reach each figure."""
    if not rows:
        return []
    n, cost = len(rows), [lost(row) for row in rows]
    reached = {
        "excess ASR at most 0.01": sum(row["after"]["excess"] <= 0.01 for row in rows),
        "or no more than in the unpoisoned model": sum(
            row["after"]["excess"] <= max(0.01, row["unpoisoned"]["excess"]) for row in rows
        ),
        "at most 0.05": sum(row["after"]["excess"] <= 0.05 for row in rows),
        "at most 0.05 after the refinetune test": sum(row["rebound"]["excess"] <= 0.05 for row in rows),
        "PA at least nine tenths of CA": sum(kept(row["after"]) >= 0.9 for row in rows),
        "of that share in the unpoisoned model": sum(
            kept(row["after"]) >= 0.9 * kept(row["unpoisoned"]) for row in rows
        ),
        "CA loss at most two points": sum(each <= 0.02 for each in cost),
    }
    told = "; ".join(f"{words}: {hits} of {n}" for words, hits in reached.items())
    models = len({row["entry"]["name"] for row in rows})
    return [f"{n} runs on {models} backdoored models, {told}. Mean CA loss {100 * sum(cost) / n:.2f} points."]


if __name__ == "__main__":
    main()
