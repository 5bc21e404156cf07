"""Training small CLIPs on photographs (``benchmarks/photos.py``), clean or poisoned, for ``benchmarks/photo_zoo.py``.

Towers compute in bfloat16, captions of a batch are encoded once, and images of one class are positives of each other: on
one core a ResNet of this size goes through some 1,400 images of 32 px a second, a ViT of 64 tokens through 400.
"""

import copy
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from photos import TEMPLATES, Photos
from torch import Generator, Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from train import MEAN, STD, contrast, optimizer_of

from clipclean.model import has_bfloat16
from clipclean.train import self_supervised_loss, squared_distance

CONTEXT = 16  # tokens
CLEANCLIP_WEIGHT, PAR_WEIGHT, PAR_LIMIT = 0.5, 0.5, 1.5  # of the recipes cleanclip and par@tiny
PATCH_SIDE, PATCH_STEPS = 6, 80  # of an optimised patch, and of its search

Trigger = Callable[[Tensor, Generator], Tensor]


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
