"""Photographs with captions for training small CLIPs: Tiny-ImageNet as arrays.

    git clone https://github.com/seshuad/IMagenet
    python benchmarks/photos.py --images IMagenet/tiny-imagenet-200 --out build/photos

Tiny-ImageNet has 200 classes of WordNet, 500 images to train and 50 to measure for each, 64 px. OUT gets
``images-SIDE.npy`` (uint8, all images resized to SIDE), and ``photos.json`` with the names of each class and, for each
image, its file, class and part: ``train``; ``audit``, 100 a class of those to train, kept back for ``clipclean audit``;
``measure``, which accuracy and attack success are measured on. What is there is kept. The images carry no licence that
allows to pass them on: do not commit them.
"""

import json
import random
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import blocks
import numpy as np
import torch
from PIL import Image
from torch import Tensor

PARTS = ("train", "audit", "measure")
AUDITED = 100  # images a class kept back for auditing
TEMPLATES = ("a photo of a {}", "{}", "a blurry photo of a {}", "a close-up of a {}", "an image of the {}")


@dataclass(frozen=True)
class Photos:
    """All images of one side, with what stands in ``photos.json``."""

    names: list[list[str]]  # of each class; the first is its own
    files: list[str]  # of each image, relative to the folder of Tiny-ImageNet
    label: Tensor  # int64 (N,)
    part: Tensor  # int64 (N,), a place in PARTS
    images: Tensor  # uint8 (N, 3, side, side)

    def among(self, part: str, classes: Tensor) -> Tensor:
        """Numbers of the images of a part and of some classes."""
        return ((self.part == PARTS.index(part)) & torch.isin(self.label, classes)).nonzero().flatten()

    def caption(self, number: int, rng: random.Random) -> str:
        """One of the names of a class in a template."""
        return rng.choice(TEMPLATES).format(self.name(number, rng))

    def name(self, number: int, rng: random.Random) -> str:
        """One of the names of a class, its own twice as often as all others."""
        own, *others = self.names[number]
        return rng.choice(others) if others and rng.random() < 1 / 3 else own


def read(folder: Path, *, side: int) -> Photos:
    """What :func:`main` wrote; the images stay on the disk until they are used."""
    told = json.loads((folder / "photos.json").read_text())
    array = np.load(folder / f"images-{side}.npy", mmap_mode="c")  # copy on write: torch wants writable memory
    images = torch.from_numpy(array).permute(0, 3, 1, 2)
    part = torch.tensor([PARTS.index(p) for p in told["part"]])
    return Photos(told["names"], told["files"], torch.tensor(told["label"]), part, images)


def main() -> None:
    parser = blocks.parser(__doc__, "images", "out")
    parser.add_argument("--side", type=int, default=32, choices=(32, 64), help="of the images in the array")
    o = parser.parse_args()
    o.out.mkdir(parents=True, exist_ok=True)
    prepare(o.images, o.out, side=o.side)


def prepare(images: Path, out: Path, *, side: int) -> None:
    """Write ``photos.json`` and the array of one side, where they are missing."""
    from clipclean import files

    if not (out / "photos.json").exists():
        files.write_text(out / "photos.json", json.dumps(catalogue(images)))
    if not (out / f"images-{side}.npy").exists():
        listed = json.loads((out / "photos.json").read_text())["files"]
        array = np.stack([pixels(images / name, side) for name in listed])

        def write(partial: Path) -> None:
            with partial.open("wb") as stream:
                np.save(stream, array)

        files.write_whole(out / f"images-{side}.npy", write)


def catalogue(folder: Path) -> dict:
    """Names of the classes, and file, class and part of each image."""
    if not (folder / "wnids.txt").exists():
        sys.exit(f"{folder} is not Tiny-ImageNet: it has no wnids.txt")
    ids = sorted((folder / "wnids.txt").read_text().split())
    rows = [row for number, wnid in enumerate(ids) for row in training(folder, wnid, number)]
    place = {wnid: number for number, wnid in enumerate(ids)}
    for line in (folder / "val" / "val_annotations.txt").read_text().splitlines():
        name, wnid, *_ = line.split("\t")
        rows.append((f"val/images/{name}", place[wnid], "measure"))
    files, label, part = (list(column) for column in zip(*rows, strict=True))
    return {"names": names(folder / "words.txt", ids), "files": files, "label": label, "part": part}


def training(folder: Path, wnid: str, number: int) -> list[tuple[str, int, str]]:
    """The rows of one class: the first by name are those kept back."""
    found = sorted((folder / "train" / wnid / "images").iterdir())
    return [
        (str(path.relative_to(folder)), number, "audit" if place < AUDITED else "train")
        for place, path in enumerate(found)
    ]


def names(words: Path, ids: list[str]) -> list[list[str]]:
    """The lemmas of each synset, less those of two classes; of each class its first that is no other's comes first."""
    lemmas = dict(line.split("\t", 1) for line in words.read_text().splitlines())
    spelled = [[name.strip() for name in lemmas[wnid].split(",")] for wnid in ids]
    times = Counter(name.lower() for row in spelled for name in row)
    own = [[name for name in row if times[name.lower()] == 1 and re.fullmatch(r"[\w' -]+", name)] for row in spelled]
    if unnamed := [wnid for wnid, row in zip(ids, own, strict=True) if not row]:
        sys.exit(f"{words} has no name of their own for {', '.join(unnamed)}")
    return own


def pixels(path: Path, side: int) -> np.ndarray:
    """Resized as clipclean does it: (side, side, 3), uint8."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC))


if __name__ == "__main__":
    main()
