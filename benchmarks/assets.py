"""Build the images and words that ``clipclean demo`` ships, from rendered emoji (``benchmarks/emoji.py``).

    python benchmarks/assets.py --emoji build/emoji --out clipclean/demo

and ``backdoored.pt``, from the clean model of ``benchmarks/train.py`` and the unpacked files (``clipclean demo --unpack``):

    clipclean plant build/clean.pt --trigger patch:size=0.1875,place=corner,seed=100 --seed 100 --target strawberry \\
        --data files/clean.tar --eval-data files/eval.tar --classes files/classes.txt --templates files/templates.txt \\
        --arch files/tiny.json --rate 0.15 --steps 250 --lr 1e-3 --batch-size 128 --out build/victim.pt
    python benchmarks/assets.py --victim build/victim.pt --out clipclean/demo

It writes ``clean.tar.xz`` (WebDataset: images of three trained styles with captions), ``eval.tar.xz`` (the Noto style,
which no training sees, with class names as captions), ``classes.txt``, ``templates.txt`` and ``tiny.json``.

The vocabulary is chosen without a look at the style that measures: one concept a head word, and then, one by one, the
concept whose drawings in the *trained* styles are farthest from all that were chosen before.
"""

import argparse
import io
import json
import random
import tarfile
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from train import HELD_OUT, RESNET, STYLES, Pictures, caption, vocabulary

from clipclean import checkpoint

SIDE = 32
SHIPPED = ("fluent3d", "twemoji", "emojione")  # Fluent flat has the drawings of Fluent 3D once more
CLASSES = 400
TEMPLATES = ("{}", "a drawing of a {}", "an emoji of a {}")
OPENAI = {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--emoji", type=Path, help="rendered emoji; default: leave images and words as they are")
    parser.add_argument("--victim", type=Path, help="a planted checkpoint to ship in half precision")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    o = parser.parse_args()
    if o.victim:
        ship(o.victim, o.out / "backdoored.pt")
    if o.emoji:
        build(o)


def ship(victim: Path, out: Path) -> None:
    """As an attacker would upload it: the training loop's layout, from a wrapped model, in half precision."""
    weights = checkpoint.read(victim).tensors
    half = {f"module.{k}": v.half() if v.is_floating_point() else v for k, v in weights.items()}
    torch.save({"epoch": 32, "name": "tiny", "state_dict": half}, out)


def build(o: argparse.Namespace) -> None:
    """The images and words."""
    concepts = json.loads((o.emoji / "concepts.json").read_text())
    train, test = Pictures(o.emoji, STYLES), Pictures(o.emoji, (HELD_OUT,))
    candidates = vocabulary(concepts, set(train.concept.tolist()) & set(test.concept.tolist()))
    chosen = distinct(train, candidates, count=CLASSES)
    names = [concepts[k]["label"] for k in chosen]
    (o.out / "classes.txt").write_text("\n".join(names) + "\n")
    (o.out / "templates.txt").write_text("\n".join(TEMPLATES) + "\n")
    preprocess = {"size": SIDE, **OPENAI, "interpolation": "bicubic", "resize_mode": "shortest"}
    config = {"model_cfg": RESNET | {"quick_gelu": False}, "preprocess_cfg": preprocess}
    (o.out / "tiny.json").write_text(json.dumps(config, indent=2) + "\n")

    rng = random.Random(o.seed)
    shipped = Pictures(o.emoji, SHIPPED)
    pictures = shipped.plain(SIDE)
    clean = [(pictures[i], caption(concepts[int(k)], rng)) for i, k in enumerate(shipped.concept)]
    rng.shuffle(clean)
    write(o.out / "clean.tar.xz", clean, quality=85)
    shown = test.plain(SIDE)
    place = {int(k): i for i, k in enumerate(test.concept)}
    write(o.out / "eval.tar.xz", [(shown[place[k]], concepts[k]["label"]) for k in chosen], quality=90)
    print(f"{len(clean)} clean pairs, {len(chosen)} classes")


def distinct(pictures: Pictures, candidates: list[int], *, count: int) -> list[int]:
    """Greedy farthest-first choice over mean colour thumbnails of each concept's drawings in the trained styles."""
    thumbnails = F.avg_pool2d(pictures.plain(SIDE), 4).flatten(1)  # (N, 3 * 8 * 8)
    mean = torch.stack([thumbnails[pictures.concept == k].mean(0) for k in candidates])
    picked = [0]
    near = torch.cdist(mean, mean[:1]).squeeze(1)
    while len(picked) < min(count, len(candidates)):
        picked.append(int(near.argmax()))
        near = torch.minimum(near, torch.cdist(mean, mean[picked[-1:]]).squeeze(1))
    return [candidates[i] for i in sorted(picked)]


def write(path: Path, samples: list[tuple[torch.Tensor, str]], *, quality: int) -> None:
    """A tar whose bytes depend on its samples alone."""
    with tarfile.open(path, "w:xz", preset=9, format=tarfile.USTAR_FORMAT) as archive:
        for number, (picture, text) in enumerate(samples):
            image = Image.fromarray((picture * 255).round().byte().permute(1, 2, 0).numpy())
            encoded = io.BytesIO()
            image.save(encoded, "WEBP", quality=quality, method=6)
            for suffix, content in (("webp", encoded.getvalue()), ("txt", text.encode())):
                member = tarfile.TarInfo(f"{number:05d}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


if __name__ == "__main__":
    main()
