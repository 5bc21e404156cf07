"""The loss of accuracy as told on few held-out images, compared with top-1 on all: on models of the zoo of photographs.

    python benchmarks/label_free.py --photos build/photos --zoo build/photo-zoo --out build/label-free.json
    python benchmarks/label_free.py --out build/label-free.json --write docs/evidence.md

Each finetuned model of the zoo (by CleanCLIP, by Perturb and Recover, on other data, or by planting) is compared with the clean
model that it was made from, on up to IMAGES images, which no training saw. HELD_OUT of them are drawn DRAWS times, with replacement.
Cells are kept, so that a stopped run goes on.
"""

import argparse
import json
import math
import statistics
from pathlib import Path

IMAGES, HELD_OUT, DRAWS = 4000, 400, 100  # ten classes have 1,500 images
WITHIN = 0.01
NAMES = {
    "top-1": "top-1, by labels",
    "labels": "softened margins, by labels: what is told",
    "answers": "changed answers, without labels",
}


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
    """By each measure: mean squared error of a draw, how many draws are within a point, and how many intervals hold the truth."""
    import torch

    from clipclean import detect

    truth = before.clean_accuracy.value - after.clean_accuracy.value
    told: dict[str, list] = {name: [] for name in NAMES}
    generator = torch.Generator().manual_seed(0)
    for _ in range(DRAWS):
        places = torch.randint(len(before.correct), (HELD_OUT,), generator=generator)
        old, new = part(before, places), part(after, places)
        hard = (part(each, places, margins=False) for each in (before, after))
        told["top-1"].append(detect.losses(*hard)[0])
        told["labels"].append(detect.losses(old, new)[0])
        told["answers"].append(detect.estimated_loss(old, new))
    return {
        "half": entry["half"],
        "kind": entry["kind"],
        "lost": truth,
        **{
            name: {
                "squared": statistics.mean((each.value - truth) ** 2 for each in found),
                "within": statistics.mean(abs(each.value - truth) <= WITHIN for each in found),
                "covered": statistics.mean(each.interval[0] <= truth <= each.interval[1] for each in found),
            }
            for name, found in told.items()
        },
    }


def part(measured, places, *, margins: bool = True):
    """A measurement of some of the images."""
    from dataclasses import replace

    from clipclean import detect

    correct = measured.correct[places]
    return replace(
        measured,
        clean_accuracy=detect.Rate(int(correct.sum()), len(correct)),
        correct=correct,
        confidence=measured.confidence[places],
        margins=measured.margins[places] if margins else None,
    )


def table(cells: dict) -> str:
    """A row a measure, for each half."""
    lines = [
        "| half | models | measure | root mean square error, points | within 1 point | intervals that hold top-1 on all |",
        "|---|--:|---|--:|--:|--:|",
    ]
    for half in ("choose", "report"):
        group = [cell for cell in cells.values() if cell["half"] == half]
        for name, words in NAMES.items() if group else ():
            squared, within, covered = (
                statistics.mean(cell[name][key] for cell in group) for key in ("squared", "within", "covered")
            )
            lines.append(
                f"| {half} | {len(group)} | {words} | {100 * math.sqrt(squared):.2f} | {100 * within:.0f} % | {100 * covered:.0f} % |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
