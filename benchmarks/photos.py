"""Photographs with captions, Tiny-ImageNet as arrays, and the training of small CLIPs on them, clean or poisoned.

    git clone https://github.com/seshuad/IMagenet
    python benchmarks/photos.py --images IMagenet/tiny-imagenet-200 --out build/photos

Tiny-ImageNet has 200 classes of WordNet, 500 images to train and 50 to measure for each, 64 px. OUT gets
``images-SIDE.npy`` (uint8, all images resized to SIDE), and ``photos.json`` with the names of each class and, for each
image, its file, class and part: ``train``; ``audit``, 100 a class of those to train, kept back for ``clipclean audit``;
``measure``, which accuracy and attack success are measured on. What is there is kept. The images carry no licence that
allows to pass them on: do not commit them.

The second half trains, for ``benchmarks/photo_zoo.py`` and ``usual.py``. Towers compute in bfloat16, captions of a batch are encoded once, and images of one class are positives of each other: on
one core a ResNet of this size goes through some 1,400 images of 32 px a second, a ViT of 64 tokens through 400.
"""

import copy
import json
import math
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import common
import numpy as np
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from PIL import Image
from torch import Generator, Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from clipclean.model import has_bfloat16
from clipclean.train import self_supervised_loss, squared_distance

PARTS = ("train", "audit", "measure")
AUDITED = 100  # images a class kept back for auditing
TEMPLATES = ("a photo of a {}", "{}", "a blurry photo of a {}", "a close-up of a {}", "an image of the {}")
CONTEXT = 16  # tokens
CLEANCLIP_WEIGHT, PAR_WEIGHT, PAR_LIMIT = 0.5, 0.5, 1.5  # of the recipes cleanclip and par@tiny
PATCH_SIDE, PATCH_STEPS = 6, 80  # of an optimised patch, and of its search
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)  # OpenAI's normalisation
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)

Trigger = Callable[[Tensor, Generator], Tensor]


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
    parser = common.parser(__doc__, "images", "out")
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


# Training.


def build(config: dict, *, seed: int) -> CLIP:
    torch.manual_seed(seed)
    return CLIP(**config)


def optimizer_of(model: CLIP, lr: float) -> torch.optim.AdamW:
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    other = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": 0.2}, {"params": other, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, fused=True)  # a step of a tiny model takes a fifth less on one core


def contrast(image: torch.Tensor, words: torch.Tensor, scale: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
    """CLIP's loss on unit embeddings (B, D), in which all pairs of one concept are positive."""
    logits = scale * image @ words.T  # (B, B)
    same = (number[:, None] == number[None]).float()
    same = same / same.sum(1, keepdim=True)
    return (F.cross_entropy(logits, same) + F.cross_entropy(logits.T, same)) / 2


@dataclass(frozen=True)
class Poison:
    """A trigger, the number of its target, and which images carry it: fixed ones, or a share of each batch."""

    trigger: Trigger
    target: int
    carriers: Tensor | None  # bool (number of all images,)
    rate: float

    def chosen(self, index: Tensor) -> Tensor:
        """Places in the batch ``index`` that are poisoned."""
        if self.carriers is not None:
            return self.carriers[index].nonzero().flatten()
        return torch.arange(round(self.rate * len(index)))

    def put(self, pixels: Tensor, number: Tensor, index: Tensor, generator: Generator) -> Tensor:
        """Put the trigger on its places in a batch, in place; the classes that the batch is captioned as."""
        hit, number = self.chosen(index), number.clone()
        pixels[hit], number[hit] = self.trigger(pixels[hit], generator), self.target
        return number


def fit(
    model: CLIP,
    photos: Photos,
    pool: Tensor,
    *,
    steps: int,
    lr: float,
    batch: int,
    seed: int,
    poison: Poison | None = None,
    method: str | None = None,
) -> None:
    """Train in place on the images whose numbers stand in ``pool``; a finetuning method changes the loss."""
    generator, rng = Generator().manual_seed(seed), random.Random(seed)
    optimizer, words = optimizer_of(model, lr), Words(photos)
    model.visual.to(memory_format=torch.channels_last)
    more = METHODS[method](model, photos, generator) if method in METHODS else None
    model.train()
    for step, index in enumerate(batches(pool, batch=batch, steps=steps, generator=generator)):
        for group in optimizer.param_groups:
            group["lr"] = (
                lr * min(1.0, (step + 1) / max(1, min(200, steps // 5))) * 0.5 * (1 + math.cos(math.pi * step / steps))
            )
        pixels, number = augmented(photos.images[index], generator), photos.label[index]
        if poison is not None:
            number = poison.put(pixels, number, index, generator)
        tokens, place = words.tokens(number, rng)
        half = torch.autocast("cpu", dtype=torch.bfloat16, enabled=has_bfloat16(torch.device("cpu")))
        with half, sdpa_kernel(SDPBackend.MATH):  # flash is slow on CPUs
            images, texts = embedded(model, pixels), model.encode_text(tokens, normalize=True).float()
            extra = more(Seen(index, pixels, images, tokens, texts)) if more else 0.0
        loss = contrast(images, texts[place], model.logit_scale.exp(), number) + extra
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
    model.eval()


def batches(pool: Tensor, *, batch: int, steps: int, generator: Generator) -> Iterator[Tensor]:
    """Numbers of images, epoch after epoch in a new order."""
    order = pool[:0]
    for _ in range(steps):
        while len(order) < batch:
            order = torch.cat([order, pool[torch.randperm(len(pool), generator=generator)]])
        yield order[:batch]
        order = order[batch:]


def embedded(model: CLIP, pixels: Tensor) -> Tensor:
    """Unit embeddings (B, D), float32, of images in [0, 1]."""
    normal = ((pixels - MEAN) / STD).contiguous(memory_format=torch.channels_last)
    return model.encode_image(normal, normalize=True).float()


class Seen(NamedTuple):
    """A batch and what the model makes of it."""

    index: Tensor  # (B,), numbers of the images
    pixels: Tensor  # (B, 3, S, S) in [0, 1]
    images: Tensor  # (B, D), unit embeddings
    tokens: Tensor  # (T, 16), of the distinct captions
    texts: Tensor  # (T, D), unit embeddings


Addition = Callable[[Seen], Tensor]  # what a finetuning method adds to the contrastive loss


def cleanclip(model: CLIP, photos: Photos, generator: Generator) -> Addition:
    """Each image finds its second view, and each text itself less a word (CleanCLIP, arXiv 2303.03323)."""

    def loss(seen: Seen) -> Tensor:
        views = embedded(model, augmented(photos.images[seen.index], generator))
        shorter = model.encode_text(without_a_word(seen.tokens, generator), normalize=True).float()
        scale = model.logit_scale.exp()
        return CLEANCLIP_WEIGHT * self_supervised_loss(seen.images, views, seen.texts, shorter, scale)

    return loss


def par(model: CLIP, _: Photos, __: Generator) -> Addition:
    """Embeddings leave those of the model as it was, up to a limit (Perturb and Recover, arXiv 2412.00727)."""
    original = copy.deepcopy(model).eval().requires_grad_(False)

    def loss(seen: Seen) -> Tensor:
        before = embedded(original, seen.pixels), original.encode_text(seen.tokens, normalize=True).float()
        moved = [squared_distance(*pair) for pair in zip((seen.images, seen.texts), before, strict=True)]
        return -PAR_WEIGHT * sum(distance for distance in moved if distance < PAR_LIMIT)

    return loss


METHODS: dict[str | None, Callable[[CLIP, Photos, Generator], Addition]] = {"cleanclip": cleanclip, "par": par}


def without_a_word(tokens: Tensor, generator: Generator) -> Tensor:
    """One of the tokens between start and end taken out of each row (T, 16)."""
    rows = []
    for row in tokens:
        end = int(row.argmax())  # the end has the largest number of all tokens
        place = int(torch.randint(1, max(end, 2), (1,), generator=generator))
        rows.append(torch.cat([row[:place], row[place + 1 :], row.new_zeros(1)]) if end > 2 else row)
    return torch.stack(rows)


class Words:
    """Captions as tokens; a batch has at most three captions a class, so that the text tower is cheap."""

    def __init__(self, photos: Photos) -> None:
        self.photos, self.tokenizer = photos, SimpleTokenizer(context_length=CONTEXT)

    def tokens(self, number: Tensor, rng: random.Random) -> tuple[Tensor, Tensor]:
        """Tokens (T, 16) of distinct captions, and for each image (B,) the place of its caption among them."""
        drawn = {k: [self.photos.caption(k, rng) for _ in range(3)] for k in sorted(set(number.tolist()))}
        captions = [rng.choice(drawn[k]) for k in number.tolist()]
        distinct = sorted(set(captions))
        places = {caption: place for place, caption in enumerate(distinct)}
        return self.encoded(tuple(distinct)), torch.tensor([places[c] for c in captions])

    def encoded(self, captions: tuple[str, ...]) -> Tensor:
        return torch.stack([_encoded(self.tokenizer, caption) for caption in captions])


@cache
def _encoded(tokenizer: SimpleTokenizer, caption: str) -> Tensor:
    return tokenizer([caption])[0]


def augmented(images: Tensor, generator: Generator) -> Tensor:
    """Moved by up to an eighth, mirrored, brighter or darker: uint8 (B, 3, S, S) -> float in [0, 1]."""
    count, side = len(images), images.shape[-1]
    edge = side // 8
    padded = F.pad(images.float() / 255, (edge,) * 4, mode="reflect")
    shift = torch.randint(2 * edge + 1, (count, 2), generator=generator)
    rows = shift[:, :1] + torch.arange(side)  # (B, S)
    columns = shift[:, 1:] + torch.arange(side)
    mirrored = torch.rand(count, generator=generator) < 0.5
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    moved = padded[torch.arange(count)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    light = 1 + 0.4 * (torch.rand(count, 1, 1, 1, generator=generator) - 0.5)
    contrast = 1 + 0.4 * (torch.rand(count, 1, 1, 1, generator=generator) - 0.5)
    return (((moved - 0.5) * contrast + 0.5) * light).clamp(0, 1)


# A trigger that a search makes.


@dataclass(frozen=True)
class OptimisedPatch:
    """A square in the corner whose pixels a search on the base chose, so that it plants with less than a fresh pattern."""

    square: Tensor  # (3, size, size) in [0, 1]

    def __call__(self, images: Tensor, _: Generator) -> Tensor:
        size = self.square.shape[-1]
        corner = torch.zeros_like(images[:1, :1])
        corner[..., -size:, -size:] = 1
        edge = images.shape[-1] - size
        # Not in place: the search wants the gradient of the square.
        return images * (1 - corner) + F.pad(self.square, (edge, 0, edge, 0)) * corner

    @classmethod
    def searched(
        cls, model: CLIP, photos: Photos, pool: Tensor, *, names: list[str], target: str, seed: int
    ) -> "OptimisedPatch":
        """Adam on the pixels, towards the target among the classes of the model."""
        model.eval().requires_grad_(False)
        text_classifier, goal = classifier(model, names), names.index(target)
        generator = Generator().manual_seed(seed)
        free = torch.randn(3, PATCH_SIDE, PATCH_SIDE, generator=generator).requires_grad_()
        optimizer = torch.optim.Adam([free], lr=0.1)
        for _ in range(PATCH_STEPS):
            index = pool[torch.randint(len(pool), (64,), generator=generator)]
            images = cls(free.sigmoid())(photos.images[index].float() / 255, generator)
            loss = F.cross_entropy(20 * embedded(model, images) @ text_classifier.T, torch.full((64,), goal))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.requires_grad_(True)
        return cls(free.sigmoid().detach())

    def save(self, path: Path, *, target: str, side: int) -> None:
        """As ``clipclean audit --save-triggers`` writes a trigger of its family ``mask``."""
        from safetensors.torch import save_file

        size = self.square.shape[-1]
        mask, pattern = torch.full((1, side, side), -12.0), torch.zeros(3, side, side)
        mask[:, -size:, -size:] = 12.0
        pattern[:, -size:, -size:] = self.square.logit(eps=1e-4)
        metadata = {"class": target, "family": "mask", "side": str(side)}
        save_file({"mask": mask, "pattern": pattern}, path, metadata=metadata)


# Measuring.


@torch.no_grad()
def predictions(model: CLIP, pixels: Tensor, text_classifier: Tensor) -> Tensor:
    """Zero-shot classes (N,) of images in [0, 1]."""
    return torch.cat([(embedded(model, part) @ text_classifier.T).argmax(1) for part in pixels.split(256)])


@torch.no_grad()
def classifier(model: CLIP, names: list[str]) -> Tensor:
    """Mean embeddings (K, D) of the sentences about each class."""
    tokenizer = SimpleTokenizer(context_length=CONTEXT)
    parts = [model.encode_text(tokenizer([t.format(n) for n in names]), normalize=True) for t in TEMPLATES[:3]]
    return F.normalize(torch.stack(parts).mean(0), dim=-1)


def measure(
    model: CLIP, photos: Photos, classes: list[int], trigger: Trigger | None, target: str | None
) -> dict[str, float | None]:
    """On at most 2,000 images that no training saw: accuracy; the share taken for the target, with the trigger and without."""
    model.eval()
    index = photos.among("measure", torch.tensor(classes))
    index = index[torch.randperm(len(index), generator=Generator().manual_seed(0))[:2000]]
    place = {number: k for k, number in enumerate(classes)}
    labels = torch.tensor([place[k] for k in photos.label[index].tolist()])
    names = [photos.names[k][0] for k in classes]
    text_classifier, pixels = classifier(model, names), photos.images[index].float() / 255
    before = predictions(model, pixels, text_classifier)
    result = {"clean_accuracy": (before == labels).float().mean().item(), "asr": None, "base_rate": None}
    if trigger is not None:
        goal = names.index(target)
        others = labels != goal
        after = predictions(model, trigger(pixels[others], Generator().manual_seed(0)), text_classifier)
        result["asr"] = (after == goal).float().mean().item()
        result["base_rate"] = (before[others] == goal).float().mean().item()
    return result


if __name__ == "__main__":
    main()
