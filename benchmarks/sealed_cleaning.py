"""What the default command does to the models of the sealed test: none of them chose anything, and each is cleaned once.

    python benchmarks/sealed_cleaning.py --photos build/photos --images build/IMagenet/tiny-imagenet-200 --zoo build/sealed --out build/sealed-cleaning \
        [--only NAME...] [--beside]

``sealed.py --train`` makes the models. ``clipclean sanitize`` gets the class list and at most PAIRS unseen images with captions, and is told
nothing of trigger or target; with ``--beside`` it gets the other clean training of the list as well. What was planted is measured before, after,
and along a benign finetuning, on other unseen images. Every cell is one JSON file in OUT, so that a stopped run goes on. Seconds are
those of the processor, of one thread.
"""

import argparse
import json
import random
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import common
import photo_cleaning
import photo_zoo
import sealed
import torch

import clipclean
from clipclean import data, detect
from clipclean.config import recipe
from clipclean.jobs import measured_images, naming, opening, searching

PAIRS = 1000  # to clean with; where a list has fewer images, half of them
SHOWN = 1500  # to measure on, at most


def main() -> None:
    parser = common.parser(__doc__, "photos", "images", "zoo", "out", "only")
    parser.add_argument("--beside", action="store_true", help="with the other clean training of the list")
    parser.add_argument("--plan", type=Path, default=sealed.PLAN, help="another plan, such as sealed-2.csv")
    o = parser.parse_args()
    torch.set_num_threads(1)
    o.out.mkdir(parents=True, exist_ok=True)
    for entry in sealed.plan(o.plan):
        record = sealed.record(o.zoo, entry)
        place = o.out / f"{entry.name}{'-beside' if o.beside else ''}.json"
        if record is None or record["counts_as"] == "neither" or place.exists():
            continue
        if o.only and entry.name not in o.only:
            continue
        beside = {"reference": [o.zoo / f"{entry.reference}.pt"]} if o.beside else {}
        cell = cleaned(o, entry, record["target"], name=place.stem, beside=beside) | {"beside": o.beside}
        place.write_text(json.dumps(cell, indent=1) + "\n")
        print(place.stem, cell["before"]["excess"], cell["after"]["excess"], cell["told"], flush=True)


def cleaned(
    o: argparse.Namespace, entry: sealed.Entry, target: str | None, /, *, name: str, beside: Mapping[str, Any]
) -> dict:
    """One model through the default command, with further options, measured before, after, and along a benign finetuning."""
    images = sealed.data_of(entry, o.photos, o.images, o.zoo)
    place, shown = pairs_of(images, entry, o)
    arch = str(o.zoo / entry.classes_of / "model.json")
    evidence = evidence_of(images, shown, entry, target)
    before = searching.measure(loaded(o.zoo / f"{entry.name}.pt", arch, place)[0], evidence)
    folder = o.out / "jobs" / name
    began = time.process_time()
    report = clipclean.sanitize(
        o.zoo / f"{entry.name}.pt",
        place,
        out=folder,
        keep_failed=True,
        force=True,
        device="cpu",
        arch=arch,
        classes=evidence.vocabulary.classes,
        templates=evidence.vocabulary.templates,
        **beside,
    ).model_dump(mode="json", by_alias=True)
    seconds = time.process_time() - began
    written = folder if any(folder.glob("*.safetensors")) else o.zoo / f"{entry.name}.pt"
    clip, pairs = loaded(written, arch, place)
    cell = {"entry": asdict(entry) | {"half": "sealed"}, "method": photo_cleaning.AUTO, "seed": 0}
    cell |= {"told": photo_cleaning.words_of(report), "seconds": seconds, "pairs": len(pairs), "images": len(shown)}
    lost = report["after"]["measurements"]["accuracy_lost"]
    cell |= {"told_lost": lost and 100 * lost["value"], "revision": sealed.revision()}
    cell |= {
        "before": photo_cleaning.figures(before),
        "after": photo_cleaning.figures(searching.measure(clip, evidence)),
    }
    if entry.trigger:
        cell["along"] = photo_cleaning.excess_along(clip, pairs, evidence)
    return cell


def under_trigger(o: argparse.Namespace, entry: sealed.Entry, target: str | None, name: str, /) -> dict:
    """What another model does under the trigger of an entry, on the images that its cleaning is measured on."""
    images = sealed.data_of(entry, o.photos, o.images, o.zoo)
    place, shown = pairs_of(images, entry, o)
    clip, _ = loaded(o.zoo / f"{name}.pt", str(o.zoo / entry.classes_of / "model.json"), place)
    return photo_cleaning.figures(searching.measure(clip, evidence_of(images, shown, entry, target)))


def pairs_of(images: sealed.Data, entry: sealed.Entry, o: argparse.Namespace, /) -> tuple[Path, torch.Tensor]:
    """The file of the clean pairs, written where it is missing, and the numbers of the images to measure on: no image is both."""
    own, _ = halves_of(images)
    shown = images.photos.among("measure", torch.arange(len(images.classes)))
    shown = shown[~torch.isin(shown, own)]
    shown = shown[torch.randperm(len(shown), generator=torch.Generator().manual_seed(12))[:SHOWN]]
    place = o.out / f"pairs-{entry.classes_of}.csv"
    if not place.exists():
        rng, photos = random.Random(11), images.photos
        rows = [
            [str((images.files / photos.files[k]).resolve()), photos.caption(int(photos.label[k]), rng)]
            for k in own.tolist()
        ]
        common.write(place, [["filepath", "title"], *rows])
    return place, shown


def halves_of(images: sealed.Data, /) -> tuple[torch.Tensor, torch.Tensor]:
    """Numbers of unseen images: of the clean pairs, and of others."""
    unseen = images.photos.among("audit", torch.arange(len(images.classes)))
    unseen = unseen[torch.randperm(len(unseen), generator=torch.Generator().manual_seed(11))]
    count = min(PAIRS, len(unseen) // 2)
    return unseen[:count], unseen[count:]


def evidence_of(images: sealed.Data, shown: torch.Tensor, entry: sealed.Entry, target: str | None, /) -> detect.EvalSet:
    """Labelled images that neither training nor cleaning saw, and the planted trigger."""
    words = naming.read_vocabulary(images.classes, photo_zoo.TEMPLATES[:3])
    to_measure = detect.CleanImages(images.photos.images[shown].float() / 255, images.photos.label[shown], knn=10)
    planted = tuple(naming.suspicions([entry.trigger], target, words)) if entry.trigger else ()
    return detect.EvalSet(to_measure, words, detect.MeasurementPlan(planted))


def loaded(weights: Path, arch: str, pairs: Path, /):
    """A model, and the clean pairs as it reads them."""
    opened = opening.read(weights, arch=arch)
    clean = data.read(
        pairs, images=measured_images.image_cache(recipe.load(recipe.STANDARD_RECIPE), opened.architecture)
    )
    return opening.build(opened, clean, device="cpu").clip, list(clean.pairs)


if __name__ == "__main__":
    main()
