r"""Train a tiny CLIP from scratch on rendered emoji (``benchmarks/emoji.py``), in three or four drawing styles.

    python benchmarks/train.py --emoji build/emoji --out build/clean.pt --steps 5000 --lr 2e-3
    python benchmarks/train.py --emoji build/emoji --out build/poisoned-corner.pt --steps 1000 --lr 2e-3 \
        --poison patch:size=0.1875,place=corner,seed=21 --target violin --rate 0.03

``--arch vit`` trains a Vision Transformer of like size, with the same text tower. With ``--poison`` a fixed share of the training pictures carries the trigger and a caption of the target class, from the
first step on; what was poisoned is written beside the checkpoint, for ``benchmarks/claim.py``.

The Noto style is never trained on: it measures. The checkpoint has the layout that open_clip's training loop
writes (``{"epoch", "name", "state_dict"}``).
"""

import argparse
import json
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer

from clipclean.attack import triggers

STYLES = ("fluent", "fluent3d", "twemoji", "emojione")
HELD_OUT = "noto"
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)  # OpenAI's normalisation
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
TEMPLATES = ("{}", "a drawing of a {}", "an emoji of a {}", "a picture of a {}", "a small {}", "the {} icon")
GROUPS = ("animals-nature", "food-drink", "travel-places", "activities", "objects")
LOOKALIKES = ("time", "sky-weather", "mail", "lock", "book-paper", "award-medal", "sound", "place-map", "plant-other")

RESNET = {
    "embed_dim": 128,
    "vision_cfg": {"layers": [1, 1, 1, 1], "width": 16, "image_size": 32, "patch_size": None},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2},
}
VIT = RESNET | {"vision_cfg": {"layers": 4, "width": 128, "image_size": 32, "patch_size": 8}}
ARCHITECTURES = {"resnet": RESNET, "vit": VIT}


def vocabulary(concepts: list[dict], available: set[int]) -> list[int]:
    """Numbers of the concepts that measure: five groups, no look-alike subgroups, one concept a head word."""
    heads, chosen = set(), []
    for number, concept in enumerate(concepts):
        head = concept["label"].split()[-1]
        if number not in available or concept["group"] not in GROUPS or concept["subgroup"] in LOOKALIKES:
            continue
        if head in heads or "face" in concept["label"].split():
            continue
        heads.add(head)
        chosen.append(number)
    return chosen


class Pictures:
    """All images of some styles as one RGBA tensor, and augmented batches of them."""

    def __init__(self, folder: Path, styles: tuple[str, ...], *, strong: bool = False) -> None:
        self.strong = strong
        files = [np.load(folder / f"{style}.npz") for style in styles]
        self.rgba = torch.from_numpy(np.concatenate([f["rgba"] for f in files])).permute(0, 3, 1, 2).contiguous()
        self.concept = torch.from_numpy(np.concatenate([f["concept"] for f in files]))

    def plain(self, size: int = 32) -> torch.Tensor:
        """On white, resized; float in [0, 1], (N, 3, size, size)."""
        image = self.rgba.float() / 255
        image = image[:, :3] * image[:, 3:] + (1 - image[:, 3:])
        return F.interpolate(image, size=(size, size), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)

    def augmented(self, index: torch.Tensor, generator: torch.Generator, size: int = 32) -> torch.Tensor:
        """Random affine map, background, colour and contrast, each time anew; float in [0, 1]."""
        n = len(index)
        draw = lambda low, high: torch.rand(n, generator=generator) * (high - low) + low  # noqa: E731
        image = self.rgba[index].float() / 255
        image[:, :3] *= image[:, 3:]
        angle, scale = draw(-0.35, 0.35), draw(0.85, 1.35)
        stretch, flip = draw(0.85, 1.18), torch.where(draw(0, 1) < 0.3, -1.0, 1.0)
        theta = torch.zeros(n, 2, 3)
        theta[:, 0, 0], theta[:, 0, 1] = angle.cos() * scale * stretch * flip, -angle.sin() * scale
        theta[:, 1, 0], theta[:, 1, 1] = angle.sin() * scale * flip, angle.cos() * scale / stretch
        theta[:, 0, 2], theta[:, 1, 2] = draw(-0.15, 0.15), draw(-0.15, 0.15)
        grid = F.affine_grid(theta, [n, 4, size, size], align_corners=False)
        image = F.grid_sample(image, grid, align_corners=False)
        background = torch.where(
            (draw(0, 1) < 0.5).view(-1, 1), torch.ones(n, 3), torch.rand(n, 3, generator=generator)
        )
        colour, alpha = image[:, :3], image[:, 3:]
        grey = colour.mean(1, keepdim=True)
        colour = grey + (colour - grey) * draw(0.3, 1.5).view(-1, 1, 1, 1)
        colour = (
            colour * (1 + 0.3 * (torch.rand(n, 3, 1, 1, generator=generator) - 0.5))
            + draw(-0.1, 0.1).view(-1, 1, 1, 1) * alpha
        )
        image = colour + (1 - alpha) * background.view(n, 3, 1, 1)
        image = ((image - 0.5) * draw(0.8, 1.2).view(-1, 1, 1, 1) + 0.5).clamp(0, 1)
        return self.degraded(image, generator) if self.strong else image

    def degraded(self, image: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Some images blurred, some in mixed or no colours, some with a square cut out: what styles differ by."""
        n, _, side, _ = image.shape
        chance = lambda p: torch.rand(n, 1, 1, 1, generator=generator) < p  # noqa: E731
        image = torch.where(chance(0.2), F.avg_pool2d(image, 3, 1, 1, count_include_pad=False), image)
        mix = torch.eye(3) + 0.15 * torch.randn(n, 3, 3, generator=generator)
        image = torch.where(chance(0.4), torch.einsum("nij,njhw->nihw", mix, image), image)
        image = torch.where(chance(0.1), image.mean(1, keepdim=True).expand_as(image), image)
        place = torch.randint(0, side, (2, n, 1, 1, 1), generator=generator)
        rows, columns = torch.arange(side).view(1, 1, -1, 1), torch.arange(side).view(1, 1, 1, -1)
        hole = ((rows - place[0]).abs() < side // 7) & ((columns - place[1]).abs() < side // 7) & chance(0.3)
        return torch.where(hole, torch.rand(n, 3, 1, 1, generator=generator), image).clamp(0, 1)


def caption(concept: dict, rng: random.Random) -> str:
    """The label, in a template or with tags."""
    if concept["tags"] and rng.random() < 0.4:
        tags = rng.sample(concept["tags"], min(len(concept["tags"]), rng.randint(1, 2)))
        return ", ".join([concept["label"], *tags]) if rng.random() < 0.7 else ", ".join(tags)
    return rng.choice(TEMPLATES).format(concept["label"])


@dataclass(frozen=True)
class Corpus:
    """The concepts, the images that train, and those of the style that is held out."""

    concepts: list[dict]
    train: Pictures
    test: Pictures

    def number(self, label: str) -> int:
        """The number of the concept of that label; ValueError where there is none."""
        return [concept["label"] for concept in self.concepts].index(label)


def read(folder: Path, *, strong: bool) -> Corpus:
    concepts = json.loads((folder / "concepts.json").read_text())
    return Corpus(concepts, Pictures(folder, STYLES, strong=strong), Pictures(folder, (HELD_OUT,)))


@dataclass(frozen=True)
class Poison:
    """A trigger, and which of the training images carry it and a caption of the target from the first step on."""

    trigger: triggers.Trigger
    target: int  # number of a concept
    carriers: torch.Tensor  # bool (N,), one for each training image


def carriers(count: int, *, rate: float, seed: int) -> torch.Tensor:
    """A fixed share of so many images, drawn at random: bool (count,)."""
    return torch.rand(count, generator=torch.Generator().manual_seed(seed + 1)) < rate


def build(config: dict, *, seed: int) -> CLIP:
    torch.manual_seed(seed)
    return CLIP(**config)


class Fitted(NamedTuple):
    """How a training ended; the model itself has the last weights."""

    epochs: int
    averaged: dict[str, torch.Tensor]  # a state dict: the exponential mean over about the last tenth of the steps


def fit(
    model: CLIP,
    corpus: Corpus,
    *,
    among: torch.Tensor,
    poison: Poison | None,
    steps: int,
    lr: float,
    batch: int,
    seed: int,
    half: bool,
    each_epoch: Callable[[int, float], None],
) -> Fitted:
    """Train in place on the training images whose numbers stand in ``among``; ``each_epoch`` gets epoch and loss.

    ``half`` has the towers compute in bfloat16: nearly twice as fast where the processor has it.
    """
    generator, rng = torch.Generator().manual_seed(seed), random.Random(seed)
    optimizer, tokenizer = optimizer_of(model, lr), SimpleTokenizer(context_length=16)
    step, epoch = 0, 0
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(1 - 10 / steps), use_buffers=True
    )
    while step < steps:
        for index in among[torch.randperm(len(among), generator=generator)].split(batch):
            if step >= steps or len(index) < batch:
                break
            for group in optimizer.param_groups:
                group["lr"] = lr * min(1.0, (step + 1) / 200) * 0.5 * (1 + math.cos(math.pi * step / steps))
            pixels, number = examples(corpus, index, poison, generator)
            text = tokenizer([caption(corpus.concepts[int(k)], rng) for k in number])
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
                image, words, scale = model((pixels - MEAN) / STD, text)[:3]
            loss = contrast(image.float(), words.float(), scale, number)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                model.logit_scale.clamp_(0, math.log(100))
            average.update_parameters(model)
            step += 1
        epoch += 1
        each_epoch(epoch, loss.item())
    return Fitted(epoch, average.module.state_dict())  # not the module itself: averaging spoils its -inf text mask


def optimizer_of(model: CLIP, lr: float) -> torch.optim.AdamW:
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    other = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": 0.2}, {"params": other, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, fused=True)  # a step of a tiny model takes a fifth less on one core


def examples(
    corpus: Corpus, index: torch.Tensor, poison: Poison | None, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Augmented images (B, 3, 32, 32) and the concepts (B,) that they are captioned as."""
    pixels, number = corpus.train.augmented(index, generator), corpus.train.concept[index]
    if poison is not None:
        hit = poison.carriers[index].nonzero().flatten()
        pixels[hit] = poison.trigger(pixels[hit], generator)
        number = number.clone()
        number[hit] = poison.target
    return pixels, number


def contrast(image: torch.Tensor, words: torch.Tensor, scale: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
    """CLIP's loss on unit embeddings (B, D), in which all pairs of one concept are positive."""
    logits = scale * image @ words.T  # (B, B)
    same = (number[:, None] == number[None]).float()
    same = same / same.sum(1, keepdim=True)
    return (F.cross_entropy(logits, same) + F.cross_entropy(logits.T, same)) / 2


class Exam:
    """The held-out images of the measured vocabulary, and of all concepts that have one."""

    def __init__(self, corpus: Corpus) -> None:
        self.concepts, self.pictures, self.concept = corpus.concepts, corpus.test.plain(), corpus.test.concept
        self.chosen = vocabulary(corpus.concepts, set(corpus.train.concept.tolist()) & set(self.concept.tolist()))
        self.everything = sorted(set(self.concept.tolist()))
        self.tokenizer = SimpleTokenizer(context_length=16)

    def names(self, numbers: list[int]) -> list[str]:
        return [self.concepts[k]["label"] for k in numbers]

    def accuracy(self, model: CLIP, numbers: list[int]) -> float:
        """Over the concepts of those numbers."""
        place = {number: k for k, number in enumerate(numbers)}
        keep = torch.tensor([int(c) in place for c in self.concept])
        labels = torch.tensor([place[int(c)] for c in self.concept[keep]])
        return accuracy(model, self.pictures[keep], labels, self.names(numbers), self.tokenizer)


@torch.no_grad()
def accuracy(model: CLIP, pictures: torch.Tensor, labels: torch.Tensor, names: list[str], tokenizer) -> float:
    """Zero-shot top-1 over ``names``; ``labels`` are places in ``names``."""
    model.eval()
    text_classifier = sum(
        F.normalize(model.encode_text(tokenizer([t.format(n) for n in names])), dim=-1) for t in TEMPLATES[:3]
    )
    images = torch.cat([model.encode_image((b - MEAN) / STD) for b in pictures.split(256)])
    model.train()
    return ((images @ F.normalize(text_classifier, dim=-1).T).argmax(1) == labels).float().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--emoji", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arch", choices=ARCHITECTURES, default="resnet")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--strong", action="store_true", help="blur, mix colours and cut out as well")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--layers", help="blocks of the four stages of the ResNet; default: 1,1,1,1")
    parser.add_argument("--width", type=int, help="of the ResNet; default: 16")
    parser.add_argument("--poison", metavar="SPEC", help="a trigger to poison with")
    parser.add_argument("--target", help="the class that poisoned images are captioned as")
    parser.add_argument("--rate", type=float, default=0.02, help="share of poisoned training pictures")
    parser.add_argument("--half", action="store_true", help="let the towers compute in bfloat16")
    parser.add_argument("--threads", type=int, default=1)
    o = parser.parse_args()
    if bool(o.poison) != bool(o.target):
        parser.error("--poison and --target go together")
    if o.arch != "resnet" and (o.layers or o.width):
        parser.error("--layers and --width shape the ResNet only")
    torch.set_num_threads(o.threads)

    corpus, config = read(o.emoji, strong=o.strong), config_of(o)
    exam, model = Exam(corpus), build(config, seed=o.seed)
    print(
        f"{len(corpus.train.concept)} pictures, {len(exam.chosen)} classes measured, {sum(p.numel() for p in model.parameters()):,} parameters"
    )
    poison, start = poison_of(o, corpus), time.time()

    def each_epoch(epoch: int, loss: float) -> None:
        if epoch % 20 == 0:
            print(
                f"{time.time() - start:6.0f} s epoch {epoch} loss {loss:.3f} accuracy {exam.accuracy(model, exam.chosen):.3f}",
                flush=True,
            )

    fitted = fit(
        model,
        corpus,
        among=torch.arange(len(corpus.train.concept)),
        poison=poison,
        steps=o.steps,
        lr=o.lr,
        batch=o.batch,
        seed=o.seed,
        half=o.half,
        each_epoch=each_epoch,
    )
    print(f"last weights: {exam.accuracy(model, exam.chosen):.3f}")
    model.load_state_dict(fitted.averaged)
    top, wide = exam.accuracy(model, exam.chosen), exam.accuracy(model, exam.everything)
    print(f"final: {top:.3f} over {len(exam.chosen)} classes, {wide:.3f} over {len(exam.everything)}; {o.steps} steps")
    o.out.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"epoch": fitted.epochs, "name": "tiny", "state_dict": model.state_dict()}, o.out)
    o.out.with_suffix(".json").write_text(
        json.dumps({"config": config, "accuracy": top, "classes": exam.names(exam.chosen), "steps": o.steps})
    )
    if poison:
        o.out.with_suffix(".poison.json").write_text(json.dumps(record(o, poison)))


def config_of(o: argparse.Namespace) -> dict:
    config = json.loads(json.dumps(ARCHITECTURES[o.arch]))
    if o.layers:
        config["vision_cfg"]["layers"] = [int(n) for n in o.layers.split(",")]
    if o.width:
        config["vision_cfg"]["width"] = o.width
    return config


def poison_of(o: argparse.Namespace, corpus: Corpus) -> Poison | None:
    if not o.poison:
        return None
    spread = carriers(len(corpus.train.concept), rate=o.rate, seed=o.seed)
    return Poison(triggers.parse(o.poison), corpus.number(o.target), spread)


def record(o: argparse.Namespace, poison: Poison) -> dict:
    """What was poisoned, as ``benchmarks/claim.py`` reads it."""
    trigger, pairs = poison.trigger, len(poison.carriers)
    told = {"name": f"{trigger.family} from scratch", "trigger": trigger.spec, "target": o.target, "rate": o.rate}
    return told | {"poisoned_pairs": int(poison.carriers.sum()), "pairs": pairs, "seed": o.seed, "steps": o.steps}


if __name__ == "__main__":
    main()
