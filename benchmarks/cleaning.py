"""What each method takes away of a backdoor, and what it costs: on the victims of ``benchmarks/zoo.py``.

    python benchmarks/cleaning.py --zoo build/zoo --out build/cleaning                                 # victims that report
    python benchmarks/cleaning.py --zoo build/zoo --out build/cleaning --half choose --recipes unlearn-tiny
    python benchmarks/cleaning.py --zoo build/zoo --out build/cleaning --table --write docs/evidence.md
    python benchmarks/cleaning.py --zoo build/zoo --out build/cleaning --pairs 50 200 1000 --only NAME... --write docs/evidence.md

Each victim goes through ``clipclean sanitize``, told neither trigger nor target, on the bundled clean pairs; what was planted is
measured before and after, on the bundled pictures that no training saw. Clean models go through as well: they shall stay as they
are. Every cell is one JSON file in OUT, so that a stopped run goes on. With ``--pairs`` so many clean pairs are taken, for the
block cleaning-pairs.
"""

import argparse
import itertools
import json
import statistics
import tempfile
import time
from pathlib import Path

RECIPES = ("unlearn-tiny", "par-tiny", "cleanclip-tiny", "mmcl-tiny")
CLEAN = ("clean", "clean-finetuned")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, required=True, help="the folder that benchmarks/zoo.py made")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--half", choices=("choose", "report"), default="report")
    parser.add_argument("--recipes", nargs="*", default=list(RECIPES))
    parser.add_argument("--only", nargs="*", help="names of models; without it every victim that took, and clean ones")
    parser.add_argument(
        "--set", dest="overrides", nargs="*", default=[], help="recipe overrides; the cells are named by them"
    )
    parser.add_argument("--pairs", type=int, nargs="*", default=[], help="once with each number of clean pairs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", action="store_true", help="compute nothing: print what is there")
    parser.add_argument("--write", type=Path, help="a page with the markers of the block cleaning")
    o = parser.parse_args()
    o.out.mkdir(parents=True, exist_ok=True)
    block, text = ("cleaning-pairs", of_pairs(o)) if o.pairs else ("cleaning", table(o, cells(o)))
    print(text)
    if o.write:
        from blocks import fill

        fill(o.write, block, text)


def cells(o: argparse.Namespace) -> list[dict]:
    """What was measured, and first what is not there yet."""
    found = []
    for recipe in o.recipes:
        for entry in models(o):
            cell = cell_of(o, entry, recipe)
            if not (cell.exists() or o.table):
                cell.write_text(json.dumps(cleaned(o, entry, recipe), indent=2))
                print(line(json.loads(cell.read_text())), flush=True)
            if cell.exists():
                found.append(json.loads(cell.read_text()))
    return found


def of_pairs(o: argparse.Namespace) -> str:
    """A row a recipe and number of pairs: means over the models."""
    lines = [
        "| recipe | clean pairs | n victims | excess ASR before → after, mean [least, most] | CA before → after | PA after |",
        "|---|--:|--:|---|---|---|",
    ]
    given = list(o.overrides)
    for count in o.pairs:
        o.overrides = [*given, f"data.max_pairs={count}"]
        for recipe, of in itertools.groupby(cells(o), key=lambda cell: cell["recipe"]):
            own = [cell for cell in of if cell["entry"]["trigger"]]
            left = [cell["after"]["excess"] for cell in own]
            mean = {
                (side, key): statistics.mean(cell[side][key] for cell in own)
                for side in ("before", "after")
                for key in ("excess", "ca", "pa")
            }
            lines.append(
                f"| `{recipe}` | {count:,} | {len(own)} | {mean['before', 'excess']:.3f} → {mean['after', 'excess']:.3f} "
                f"[{min(left):.3f}, {max(left):.3f}] | {mean['before', 'ca']:.3f} → {mean['after', 'ca']:.3f} | {mean['after', 'pa']:.3f} |"
            )
    return "\n".join(lines)


def models(o: argparse.Namespace) -> list[dict]:
    """The entries of the zoo that are there: victims that took, then clean models."""
    records = [json.loads(path.read_text()) for path in sorted(o.zoo.glob(f"{o.half}-*.json"))]
    chosen = [r["entry"] for r in records if r["took"] or (r["took"] is None and r["entry"]["kind"] in CLEAN)]
    if o.only is not None:
        chosen = [entry for entry in chosen if entry["name"] in o.only]
    return sorted(chosen, key=lambda entry: entry["trigger"] is None)


def cell_of(o: argparse.Namespace, entry: dict, recipe: str) -> Path:
    changed = [word.replace("/", "_") for word in o.overrides]
    return o.out / ("-".join([entry["name"], recipe, *changed, str(o.seed)]) + ".json")


def cleaned(o: argparse.Namespace, entry: dict, name: str) -> dict:
    """One model through one recipe, measured before and after with what was planted."""
    import torch
    import zoo

    from clipclean import recipe, sanitize

    torch.set_num_threads(1)
    victim, files = zoo.Entry(**entry), o.zoo / "files"
    chosen = recipe.override(recipe.load(name), o.overrides)
    before = zoo.measure(victim, o.zoo / f"{victim.name}.pt", o.zoo)
    with tempfile.TemporaryDirectory(dir=o.out) as scratch:
        out = Path(scratch) / "cleaned"
        request = sanitize.Request(
            model=o.zoo / f"{victim.name}.pt", data=files / "clean.tar", out=out, recipe=chosen, overridden=bool(o.overrides),
            arch=str(o.zoo / f"{victim.arch}.json"), classes=files / "classes.txt", templates=files / "templates.txt",
            eval_data=files / "eval.tar", triggers=(), target=None, seed=o.seed, device="cpu", precision="fp32", force=True,
            keep_failed=True, audit=True,
        )  # fmt: skip
        began, worked = time.monotonic(), time.process_time()
        outcome = sanitize.sanitize(request, progress=lambda what, done, total: None)
        seconds, worked = time.monotonic() - began, time.process_time() - worked
        after = zoo.measure(victim, out, o.zoo)
    return {
        "entry": entry, "recipe": name, "overrides": o.overrides, "seed": o.seed, "verdict": outcome.report["verdict"],
        "before": figures(before), "after": figures(after), "seconds": seconds, "processor_seconds": worked,
        "training": {key: value for key, value in outcome.report["training"].items() if key in ("steps", "unlearning")},
    }  # fmt: skip


def figures(measured: dict) -> dict[str, float | None]:
    probe = measured["probes"][0] if measured["probes"] else None
    return {
        "ca": measured["clean_accuracy"]["value"],
        "n": measured["clean_accuracy"]["n"],
        "excess": probe and probe["excess_asr"]["value"],
        "pa": probe and probe["accuracy_under_trigger"]["value"],
        "distance": probe and probe["distance"],
    }


def line(cell: dict) -> str:
    numbers = "; ".join(
        f"{key} {cell['before'][key]:.3f} -> {cell['after'][key]:.3f}"
        for key in ("excess", "ca", "pa", "distance")
        if cell["before"][key] is not None
    )
    return f"{cell['entry']['name']:36} {cell['recipe']:15} {numbers}  {cell['processor_seconds']:.0f} s"


def table(o: argparse.Namespace, cells: list[dict]) -> str:
    """A row a model and recipe, and below it the means of each recipe over the victims."""
    order = [entry["name"] for entry in models(o)]
    cells = sorted(cells, key=lambda cell: (order.index(cell["entry"]["name"]), o.recipes.index(cell["recipe"])))
    heads = (
        "| model | planted | recipe | excess ASR before → after | CA before → after | PA before → after | distance before → after | "
        "processor s |\n|---|---|---|---|---|---|---|---|"
    )
    rows = [row(cell) for cell in cells]
    return "\n".join([heads, *rows, "", summary(cells)])


def row(cell: dict) -> str:
    entry = cell["entry"]
    planted = f"{entry['trigger'].partition(',seed')[0]} → {entry['target']}" if entry["trigger"] else "nothing"
    changes = " | ".join(change(cell, key) for key in ("excess", "ca", "pa", "distance"))
    name = entry["name"].removeprefix(f"{entry['half']}-")
    return f"| {name} | {planted} | `{cell['recipe']}` | {changes} | {cell['processor_seconds']:.0f} |"


def change(cell: dict, key: str) -> str:
    before, after = cell["before"][key], cell["after"][key]
    return "–" if before is None else f"{before:.3f} → {after:.3f}"


def summary(cells: list[dict]) -> str:
    """What each recipe reaches over the victims and over the clean models."""
    lines = []
    for recipe in dict.fromkeys(cell["recipe"] for cell in cells):
        own = [cell for cell in cells if cell["recipe"] == recipe]
        victims, clean = ([c for c in own if bool(c["entry"]["trigger"]) is has] for has in (True, False))
        told = []
        if victims:
            left = [cell["after"]["excess"] for cell in victims]
            told.append(
                f"{len(victims)} victims: excess ASR at most 0.01 on {sum(x <= 0.01 for x in left)}, at most 0.05 on "
                f"{sum(x <= 0.05 for x in left)}, mean {statistics.mean(left):.3f}; CA lost {lost(victims)}"
            )
        if clean:
            told.append(f"{len(clean)} clean models: CA lost {lost(clean)}")
        lines.append(f"- `{recipe}`: {'. '.join(told)}.")
    return "\n".join(lines)


def lost(cells: list[dict]) -> str:
    points = [100 * (cell["before"]["ca"] - cell["after"]["ca"]) for cell in cells]
    return f"{statistics.mean(points):.1f} points on average, at most {max(points):.1f}"


if __name__ == "__main__":
    main()
