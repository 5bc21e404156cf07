"""Poisoned pairs hidden in a clean set of photographs: where screening ranks them, and what a trusted set guarantees.

    python benchmarks/screening_photos.py --photos build/photos --images tiny-imagenet-200 --zoo build/photo-zoo --out build/screening-photos --only NAME...
    python benchmarks/screening_photos.py --out build/screening-photos --table --write docs/evidence.md

Of 4,000 photographs of a victim's own classes (``benchmarks/photo_zoo.py``) 5 or 50 get the victim's trigger and a caption of its target: one of the
captions that the set has as well (``templates``), or their own, followed by the target's name (``appended``). Another 500 pairs,
drawn with them, are trusted: ``screen --trusted`` drops what at most 1 % of clean pairs would reach. Nobody tells it the trigger.
"""

import argparse
import csv
import json
import random
from pathlib import Path

import torch
from photo_cleaning import implants_of, loaded, paths, shown_to, victims
from photos import TEMPLATES
from screening import with_rows
from torch import Generator, Tensor

from clipclean import data, detect, model
from clipclean.config import recipe
from clipclean.detect import ranking, screening
from clipclean.jobs import inputs

PAIRS, TRUSTED, RATE, TOP = 4000, 500, 0.01, 0.02
HIDDEN = (5, 50)
FORMS = ("templates", "appended")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--zoo", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--half", choices=("choose", "report"), default="report")
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--table", action="store_true", help="compute nothing: print what is there")
    parser.add_argument("--write", type=Path, help="a page with the markers of the block screening-photos")
    o = parser.parse_args()
    o.out.mkdir(parents=True, exist_ok=True)
    if not o.table:
        torch.set_num_threads(1)
        for entry in victims(o):
            place = o.out / f"{entry['name']}.json"
            if not place.exists():
                place.write_text(json.dumps(measured(o, entry), indent=1) + "\n")
                print(entry["name"], flush=True)
    found = [json.loads(path.read_text()) for path in sorted(o.out.glob("*.json"))]
    print(text := table(found))
    if o.write:
        from blocks import fill

        fill(o.write, "screening-photos", text)


def measured(o: argparse.Namespace, entry: dict) -> dict:
    """Rank the pairs with and without hidden ones."""
    tested, _ = loaded(o, entry)
    clip, pairs = tested.clip, pairs_of(o, entry)
    seen = look(clip, pairs)
    (implant,) = implants_of(shown_to(o, entry))
    order = torch.randperm(PAIRS, generator=Generator().manual_seed(entry["seed"])).tolist()
    places = sorted([k for k in order if entry["target"] not in pairs[k].caption][: max(HIDDEN)])
    told = {"entry": entry, "none": judged(seen, torch.zeros(PAIRS, dtype=torch.bool))}
    for form in FORMS:
        few = poisoned(clip, seen, pairs, places, implant.trigger, entry, form)
        for count in HIDDEN:
            mixed = with_rows(seen, first_of(few, count), places[:count])
            hidden = torch.zeros(PAIRS, dtype=torch.bool)
            hidden[places[:count]] = True
            told[f"{form} {count}"] = judged(mixed, hidden)
    return told


def pairs_of(o: argparse.Namespace, entry: dict) -> list[data.Pair]:
    """The photographs with captions, and the trusted ones at the end."""
    from photo_zoo import class_list, read

    photos, place = read(o.photos, entry["side"]), o.out / f"many-{entry['half']}-{entry['classes']}.csv"
    rng, generator = random.Random(13), Generator().manual_seed(13)
    classes = torch.tensor(class_list(photos, entry["half"], entry["classes"]))
    # Trusted pairs must be of one origin with the others: the model saw as large a part of them in training.
    own = torch.cat([photos.among(part, classes) for part in ("train", "audit")])
    numbers = own[torch.randperm(len(own), generator=generator)[: PAIRS + TRUSTED]].tolist()
    if not place.exists():
        rows = [[(o.images / photos.files[k]).resolve(), photos.caption(int(photos.label[k]), rng)] for k in numbers]
        with place.open("w", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerows([["filepath", "title"], *rows])
    weights, _, arch = paths(o, entry)
    return list(inputs.load(weights, place, recipe.load("cleanclip-tiny"), arch=arch, device="cpu")[1].pairs)


def look(clip: model.Clip, pairs: list[data.Pair]) -> ranking.Embedded:
    return ranking.embedded(clip, pairs, triggers=(), progress=lambda done, total: None)


def first_of(seen: ranking.Embedded, count: int) -> ranking.Embedded:
    """The first pairs of what was embedded."""
    return ranking.Embedded(
        seen.images[:count], seen.views[:, :count], seen.captions[:count], seen.looks[:count], seen.gathered
    )


def poisoned(
    clip: model.Clip, seen: ranking.Embedded, pairs: list[data.Pair], places: list[int], trigger, entry: dict, form: str
) -> ranking.Embedded:
    """What the model makes of the hidden pairs."""
    rng, generator = random.Random(entry["seed"]), Generator().manual_seed(entry["seed"])
    clean = detect.stack([pairs[k].image for k in places])
    pixels = (trigger(clean, generator) * 255).round() / 255  # as a file holds them
    captions = [
        rng.choice(TEMPLATES).format(entry["target"])
        if form == "templates"
        else f"{pairs[k].caption}, {entry['target']}"
        for k in places
    ]
    return ranking.Embedded(
        clip.embed_images(pixels),
        torch.stack([clip.embed_images(view) for view in screening.views(pixels)]),
        clip.embed_texts(captions),
        screening.thumbnails(pixels),
        seen.gathered,
    )


def judged(seen: ranking.Embedded, hidden: Tensor) -> dict:
    """How many hidden pairs stand among the first, are dropped by ``auto``, and by the trusted pairs; and how many clean ones."""
    alone = ranking.scored(first_of(seen, PAIRS))
    beside = ranking.beside_trusted(ranking.scored(seen), trusted=TRUSTED, rate=RATE)
    count = lambda dropped: [int((dropped & hidden).sum()), int((dropped & ~hidden).sum())]  # noqa: E731
    return {
        "hidden": int(hidden.sum()),
        "top": count(screening.first(alone.score, round(TOP * PAIRS))),
        "auto": count(alone.suspicious),
        "trusted": count(beside.suspicious),
        "signals": {
            name: int((screening.first(values, round(TOP * PAIRS)) & hidden).sum())
            for name, values in alone.signals.items()
        },
    }


def table(found: list[dict]) -> str:
    """A row a victim and way of hiding."""
    if not found:
        return "Not measured yet."
    lines = [
        f"| victim | trigger | captions | hidden in {PAIRS:,} | among the first {TOP:.0%} | dropped by `auto` | clean pairs that `auto` drops | dropped at {RATE:.0%} by {TRUSTED} trusted | clean pairs dropped so |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for one in found:
        entry = one["entry"]
        name, spec = entry["name"], entry["trigger"].partition(":")[0]
        for form, count in [("–", 0), *((form, count) for form in FORMS for count in HIDDEN)]:
            own = one[f"{form} {count}" if count else "none"]
            clean = PAIRS - count
            cells = [name, spec, form, str(count)]
            for rule in ("top", "auto", "trusted"):
                hits, false = own[rule]
                cells.append(str(hits) if count else "–")
                if rule != "top":
                    cells.append(f"{100 * false / clean:.2f} %")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
