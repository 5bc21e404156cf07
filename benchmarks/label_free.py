"""The loss of accuracy as estimated without labels, compared with the loss that labels show: on models of the zoo of photographs.

    python benchmarks/label_free.py --photos build/photos --zoo build/photo-zoo --out build/label-free.json
    python benchmarks/label_free.py --out build/label-free.json --write docs/evidence.md

Each finetuned model of the zoo (by CleanCLIP, by Perturb and Recover, on other data, or by planting) is compared with the clean
model that it was made from, on the same IMAGES images, which no training saw: once with their labels, once without. Cells are kept,
so that a stopped run goes on.
"""

import argparse
import json
import statistics
from pathlib import Path

IMAGES = 1000
WITHIN = 1.0  # points


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="the folder that benchmarks/photos.py made")
    parser.add_argument("--zoo", type=Path, help="the folder that benchmarks/photo_zoo.py made")
    parser.add_argument("--out", type=Path, required=True, help="a JSON file, which is added to")
    parser.add_argument("--half", choices=("choose", "report"))
    parser.add_argument("--write", type=Path, help="a page with the markers of the block label-free")
    o = parser.parse_args()
    cells = json.loads(o.out.read_text()) if o.out.exists() else {}
    if o.photos and o.zoo:
        measure_all(o, cells)
    text = table(cells)
    print(text)
    if o.write:
        from blocks import fill

        fill(o.write, "label-free", text)


def measure_all(o: argparse.Namespace, cells: dict) -> None:
    """Every finetuned model that is not there yet."""
    import torch

    torch.set_num_threads(1)
    known: dict = {}
    for path in sorted(o.zoo.glob(f"{o.half or '*'}-*.json")):
        entry = json.loads(path.read_text())["entry"] if "entry" in path.read_text() else {}
        if not entry.get("base") or entry["name"] in cells or not (o.zoo / f"{entry['base']}.pt").exists():
            continue
        if entry["base"] not in known:
            known = {entry["base"]: measured(o, entry, entry["base"])}  # one base at a time
        before, scale = known[entry["base"]]
        after, _ = measured(o, entry, entry["name"], scale=scale)
        cells[entry["name"]] = compared(entry, before, after)
        o.out.write_text(json.dumps(cells, indent=1) + "\n")
        print(entry["name"], cells[entry["name"]], flush=True)


def measured(o: argparse.Namespace, entry: dict, name: str, scale: float | None = None):
    """A model on images of the entry's classes, and the factor that stands before its cosines."""
    import torch
    from photo_zoo import class_list, read
    from photos import TEMPLATES

    from clipclean import data, detect
    from clipclean.jobs import inputs

    photos = read(o.photos, entry["side"])
    classes = class_list(photos, entry["half"], entry["classes"])
    index = torch.cat([photos.among(part, torch.tensor(classes)) for part in ("measure", "audit")])
    index = index[torch.randperm(len(index), generator=torch.Generator().manual_seed(0))[:IMAGES]]
    place = {number: k for k, number in enumerate(classes)}
    opened = inputs.read(o.zoo / f"{name}.pt", arch=str(o.zoo / f"{entry['arch']}-{entry['side']}.json"))
    clip = inputs.build(opened, data.CleanSet, device="cpu").clip  # type: ignore[arg-type] # the config tells the activation
    own = float(clip.logit_scale().detach()) if scale is None else scale
    shown = detect.EvalSet(
        pixels=photos.images[index].float() / 255,
        labels=torch.tensor([place[k] for k in photos.label[index].tolist()]),
        captions=None,
        classes=tuple(photos.names[k][0] for k in classes),
        templates=TEMPLATES[:3],
        suspicions=(),
        panel=(),
        knn=10,
        batch_size=detect.EMBED_BATCH,
        scale=own,
    )
    return inputs.measure(clip, shown), own


def compared(entry: dict, before, after) -> dict:
    from clipclean import detect

    told, agreed = detect.estimated_loss(before, after), detect.agreement(before, after)
    (shown,) = detect.losses(before, after)
    return {
        "half": entry["half"],
        "kind": entry["kind"],
        "method": entry["method"],
        "classes": entry["classes"],
        "before": before.clean_accuracy.value,
        "lost": shown.value,
        "interval": shown.interval,
        "told": told.value,
        "kept": agreed.rate.value,
        "n": shown.n,
    }


def table(cells: dict) -> str:
    """A row a model, and how many are within a point."""
    if not cells:
        return "Not measured yet."
    lines = [
        "| model | made by | CA of the base | CA lost by labels, points (95 %) | estimated without labels | answers that stayed |",
        "|---|---|--:|---|--:|--:|",
    ]
    for name, cell in sorted(cells.items()):
        low, high = (100 * end for end in cell["interval"])
        lines.append(
            f"| {name} | {cell['method'] or cell['kind']} | {cell['before']:.3f} | {100 * cell['lost']:.1f} ({low:.1f} to {high:.1f}) | "
            f"{100 * cell['told']:.1f} | {100 * cell['kept']:.1f} % |"
        )
    for words, group in (
        ("all", list(cells.values())),
        ("half report", [c for c in cells.values() if c["half"] == "report"]),
        ("finetuned on clean pairs", [c for c in cells.values() if c["kind"] == "clean-finetuned"]),
    ):
        if group:
            lines += ["", summary(words, group)]
    return "\n".join(lines)


def summary(words: str, cells: list[dict]) -> str:
    gaps = [100 * (cell["told"] - cell["lost"]) for cell in cells]
    within = sum(abs(gap) <= WITHIN for gap in gaps)
    inside = sum(cell["interval"][0] <= cell["told"] <= cell["interval"][1] for cell in cells)
    return (
        f"Of {len(cells)} models ({words}), {within} are estimated within {WITHIN:g} point of the labels, {inside} inside their interval; "
        f"mean difference {statistics.mean(gaps):+.1f} points, largest {max(gaps, key=abs):+.1f}; recall of captions is not included."
    )


if __name__ == "__main__":
    main()
