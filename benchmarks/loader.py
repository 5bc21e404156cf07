"""How far the loader holds a run up, and how long a first epoch takes beside a pipeline that opens each image twice.

    python benchmarks/loader.py --out build/loader --write benchmarks/results/running.md

2,000 JPEGs of 640 x 480 are made (smooth random fields and shapes, quality 90). Two things are measured, each in turns:

- *Once the cache is warm*: epochs of CleanCLIP finetuning of a small model, fed by the loader, beside epochs on batches that
  lie ready as tensors. Expected: at least 0.9 of their speed.
- *The first epoch*: the loader alone with an empty cache, beside the way of the CleanCLIP reference: for each pair the file
  is opened by Pillow, resized, cropped and normalised, then opened again, augmented by AutoAugment and treated likewise, as
  many workers (threads, since Pillow leaves Python's lock) as the loader has. Expected: at least twice as fast.

Beside the elapsed seconds stand those of the processor, of all threads together: on a machine with other work they are the
steadier measure, and with every core busy they are what decides. Ratios are those of medians. Synonyms are looked up
beforehand, since loading WordNet takes seconds once.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from blocks import fill
from open_clip.model import CLIP
from PIL import Image, ImageDraw
from torchvision.transforms import AutoAugment

from clipclean import data, model, train
from clipclean.config import recipe
from clipclean.jobs import inputs
from clipclean.methods import losses, views_of
from clipclean.train import loader

SIZE = (640, 480)
BATCH = 64
COLOURS, SHAPES = ("red", "green", "blue", "yellow", "white", "black"), ("square", "disc", "triangle")
MODELS = {  # that of the evidence, 32 px; and one of 224 px and a few million parameters beside the token embedding
    "ResNet, 32 px": {
        "embed_dim": 128,
        "vision_cfg": {"layers": [1, 1, 1, 1], "width": 24, "image_size": 32, "patch_size": None},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 128, "heads": 2, "layers": 2},
    },
    "ViT, 224 px": {
        "embed_dim": 256,
        "vision_cfg": {"layers": 6, "width": 256, "image_size": 224, "patch_size": 32},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 2, "layers": 2},
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/loader"), help="folder for the pictures")
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5, help="runs of each, in turn")
    parser.add_argument("--models", nargs="+", choices=tuple(MODELS), default=tuple(MODELS))
    parser.add_argument("--steps", type=int, help="of a warm epoch; all by default")
    parser.add_argument("--write", type=Path, help="page whose part loader is replaced")
    options = parser.parse_args()
    torch.set_num_threads(1)
    written(options.out, options.pictures)
    rows = [line for name in options.models for line in lines(name, options)]
    head = (
        "| model | what | it | beside | elapsed, s | of the processor, s | times as fast, elapsed | of the processor |"
    )
    text = "\n".join([head, "|---|---|---|---|--:|--:|--:|--:|", *rows])
    print(text)
    if options.write:
        fill(options.write, "loader", text)


def lines(name: str, options: argparse.Namespace) -> list[str]:
    """Two lines of the table."""
    clip = built(MODELS[name])
    pairs = read(clip, options.out)
    steps = len(pairs) // BATCH
    steps_run = min(options.steps or steps, steps)
    ready = list(stream(clip, pairs, epoch=1, steps=steps_run))
    in_turn = {
        "loader": lambda: trained(clip, stream(clip, pairs, epoch=1, steps=steps_run)),
        "ready tensors": lambda: trained(clip, iter(ready)),
    }
    fed = compared(name, in_turn, options.rounds, warm_ups=1)
    first = compared(
        name,
        {
            "loader": lambda: drained(stream(clip, read(clip, options.out), epoch=0, steps=steps)),
            "Pillow, twice": lambda: drained(opened_twice(clip, pairs, steps=steps)),
        },
        options.rounds,
        warm_ups=0,  # every run begins with nothing
    )
    return [
        f"| {name} | warm epoch, {steps_run} steps | {fed} |",
        f"| {name} | reading and first epoch, loading alone | {first} |",
    ]


def compared(name: str, work: dict[str, Callable[[], None]], rounds: int, *, warm_ups: int) -> str:
    """The cells of the first kind of work beside the second; runs that warm up are not counted."""
    taken: dict[str, list[tuple[float, float]]] = {what: [] for what in work}
    for number in range(-warm_ups, rounds):
        for what, run in work.items():
            elapsed, processor = time.perf_counter(), time.process_time()
            run()
            spent = time.perf_counter() - elapsed, time.process_time() - processor
            print(f"{name}: {what}: {spent[0]:.2f} s, {spent[1]:.2f} s of the processor", flush=True)
            if number >= 0:
                taken[what].append(spent)
    (a, b) = work
    (elapsed, processor), (other, others) = (
        [statistics.median(x) for x in zip(*taken[k], strict=True)] for k in (a, b)
    )
    times = f"{elapsed:.2f} beside {other:.2f} | {processor:.2f} beside {others:.2f}"
    return f"{a} | {b} | {times} | {other / elapsed:.2f} | {others / processor:.2f}"


def built(config: dict) -> model.Clip:
    torch.manual_seed(0)
    weights = CLIP(**config).state_dict()
    found = model.resolve(weights, arch=None, config=config | {"quick_gelu": False}, script_quick_gelu=None)
    return model.build(found, weights, device="cpu")


def stream(clip: model.Clip, pairs: tuple[data.Pair, ...], *, epoch: int, steps: int) -> loader.Batches:
    """Some steps of one epoch."""
    planned = data.plan(len(pairs), batch_size=BATCH, steps=(epoch + 1) * (len(pairs) // BATCH), seed=0)
    first = epoch * (len(pairs) // BATCH)
    return loader.batches(
        planned[: first + steps],
        pairs=pairs,
        intake=loader.Intake.of(clip),
        views=views_of(recipe.load("cleanclip")),
        seed=0,
        first_step=first,
        threads=data.workers(),
    )


def trained(clip: model.Clip, batches: Iterator[train.Batch]) -> None:
    objective = losses.cleanclip(
        losses.Parts(clip.encode_images, clip.encode_tokens, clip.logit_scale, losses.Weights())
    )
    optimizer = train.adamw(clip.net, lr=1e-6, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1)
    for _ in train.finetune(
        clip.net,
        batches,
        loss=objective,
        optimizer=optimizer,
        learning_rate=lambda step: 1e-6,
        first_step=0,
        grad_clip=None,
    ):
        pass


def drained(batches: Iterator[object]) -> None:
    for _ in batches:
        pass


def opened_twice(clip: model.Clip, pairs: tuple[data.Pair, ...], *, steps: int) -> Iterator[object]:
    """As the CleanCLIP reference loads: Pillow, float tensors, one file opened for each of the two views."""
    preprocess, augmented = clip.architecture.preprocess, AutoAugment()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocess.mean, preprocess.std))
    rate = recipe.load("cleanclip").augment.caption_rate

    def shown(image: Image.Image) -> torch.Tensor:
        scale = preprocess.size / min(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
        left, top = (image.width - preprocess.size) // 2, (image.height - preprocess.size) // 2
        image = image.crop((left, top, left + preprocess.size, top + preprocess.size))
        return (torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float() / 255 - mean) / std

    def sample(number: int) -> tuple[torch.Tensor, torch.Tensor, str, str]:
        pair = pairs[number]
        plain = shown(Image.open(pair.image.source.path).convert("RGB"))
        view = shown(augmented(Image.open(pair.image.source.path).convert("RGB")))
        rng = random.Random(number)
        return (
            plain,
            view,
            pair.caption,
            data.caption_view(pair.caption, rng=rng, synonyms=data.synonyms, rate=rate),
        )

    def batch(numbers: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
        plain, views, captions, words = zip(*map(sample, numbers), strict=True)
        return torch.stack(plain), torch.stack(views), clip.tokens(captions), clip.tokens(words)

    planned = [numbers for _, numbers in data.plan(len(pairs), batch_size=BATCH, steps=steps, seed=0)]
    with ThreadPoolExecutor(data.workers()) as pool:
        for at in range(0, len(planned), 2 * data.workers()):  # no more in memory than the loader prepares ahead
            yield from pool.map(batch, planned[at : at + 2 * data.workers()])


def written(folder: Path, count: int) -> Path:
    """The images with their captions; what is there already is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / f"{number:05}.jpg"
        if path.exists():
            continue
        image, caption = drawn(number)
        image.save(path, quality=90)
        path.with_suffix(".txt").write_text(caption)
    return folder


def drawn(number: int) -> tuple[Image.Image, str]:
    """Smooth fields of four scales, a light falling off, and a few shapes: without noise, as photographs nearly are."""
    generator, rng = torch.Generator().manual_seed(number), random.Random(number)
    width, height = SIZE
    fields = [
        weight * F.interpolate(torch.rand(1, 3, cells, cells, generator=generator), (height, width), mode="bicubic")[0]
        for cells, weight in ((3, 0.5), (9, 0.25), (30, 0.15), (100, 0.1))
    ]
    image = Image.fromarray((sum(fields).clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy())
    draw, words = ImageDraw.Draw(image), []
    for _ in range(rng.randint(2, 6)):
        colour, shape = rng.choice(COLOURS), rng.choice(SHAPES)
        x, y, half = rng.randrange(width), rng.randrange(height), rng.randint(20, 90)
        box = (x - half, y - half, x + half, y + half)
        if shape == "square":
            draw.rectangle(box, fill=colour)
        elif shape == "disc":
            draw.ellipse(box, fill=colour)
        else:
            draw.polygon(((x, y - half), (x - half, y + half), (x + half, y + half)), fill=colour)
        words.append(f"a {colour} {shape}")
    return image, f"a photo of {' and '.join(words)}"


def read(clip: model.Clip, folder: Path) -> tuple[data.Pair, ...]:
    """The pairs, with their images decoded into a new cache."""
    images = inputs.image_cache(recipe.load("cleanclip"), clip.architecture, views=True)
    pairs = data.read(folder, images=images).pairs
    for word in {word for pair in pairs for word in pair.caption.split()}:
        data.synonyms(word)
    return pairs


if __name__ == "__main__":
    main()
