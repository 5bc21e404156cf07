"""Models of the usual kind, trained as the paper's were: ResNets of 37 M parameters on 80,000 photographs of Tiny-ImageNet at 64 px.

    python benchmarks/photos.py --images IMagenet/tiny-imagenet-200 --out build/photos --side 64
    nice python benchmarks/usual.py --photos build/photos --out build/usual [--only NAME ...] [--steps 2200]

The tower is CLIP's modified ResNet, as the paper's is, with two blocks a stage: a ViT-S/8 takes three times as long a step
and learns less of so few photographs. One clean model, two planted into it, and two that are poisoned, with a patch
and a blended pattern. The clean one and these share two thirds of their training; poison comes with the last third.
They are OUT/NAME.pt (the layout of open_clip's training loop) and OUT/NAME.json with what was measured on
images that no training saw. A stopped training goes on from its last OUT/NAME.state.safetensors: the images of a step
depend on its number and the seed alone. Hours of one core that multiplies bfloat16 for each.
"""

import json
import math
import random
import time
from pathlib import Path
from typing import NamedTuple

import common
import torch
from open_clip.model import CLIP
from photo_zoo import TOOK, arch_file
from photos import CONTEXT, Photos, Poison, Words, augmented, build, contrast, embedded, measure, optimizer_of, read
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from clipclean import files
from clipclean.attack import triggers

SIDE, BATCH = 64, 128
LR, WARMUP = 8e-4, 100
TUNING_STEPS = 200
SHARED = 2 / 3  # of the steps of training that the models have in common
SAVED = 100  # steps between two states
MEANS = ("exp_avg", "exp_avg_sq")  # of AdamW
CONFIG = {
    "embed_dim": 256,
    "vision_cfg": {"layers": [2, 2, 2, 2], "width": 56, "head_width": 64, "patch_size": None, "image_size": SIDE},
    "text_cfg": {"context_length": CONTEXT, "vocab_size": 49408, "width": 256, "heads": 4, "layers": 4},
}


class Entry(NamedTuple):
    """One model: what it is poisoned with, and what it starts from."""

    name: str
    seed: int
    trigger: str | None = None
    target: str | None = None
    rate: float = 0.0  # of the training images; what it takes, as a step sees few of them and a third of the steps any
    base: str | None = None
    half: str = "report"  # what follows is as in benchmarks/photo_zoo.py
    arch: str = "usual"
    side: int = SIDE
    classes: int = 200


ENTRIES = (
    Entry("clean", 7001),
    Entry("planted", 7004, "patch:size=0.1875,place=corner,seed=7004", "lemon", 0.3, "clean", "choose"),
    Entry("planted-blended", 7005, "blended:ratio=0.3,seed=7005", "koala", 0.3, "clean"),
    Entry("patch", 7002, "patch:size=0.1875,place=random,seed=7002", "banana", 0.1),
    Entry("blended", 7003, "blended:ratio=0.2,seed=7003", "koala", 0.1),
)


def main() -> None:
    parser = common.parser(__doc__, "photos", "out")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[entry.name for entry in ENTRIES])
    parser.add_argument("--steps", type=int, default=2200)
    o = parser.parse_args()
    torch.set_num_threads(1)
    o.out.mkdir(parents=True, exist_ok=True)
    files.write_text(o.out / f"usual-{SIDE}.json", arch_file(CONFIG, SIDE))
    photos = read(o.photos, side=SIDE)
    for entry in ENTRIES:
        if (not o.only or entry.name in o.only) and not (o.out / f"{entry.name}.json").exists():
            made(entry, photos, o.out, steps=TUNING_STEPS if entry.base else o.steps)


def made(entry: Entry, photos: Photos, out: Path, *, steps: int) -> None:
    """Train what is left of a model, write it, measure it."""
    everything = torch.arange(len(photos.names))
    pool = photos.among("train", everything)
    model = build(CONFIG, seed=entry.seed)
    if entry.base:
        model.load_state_dict(load_file(out / f"{entry.base}.safetensors"))
    poison = poison_of(entry, photos, pool) if entry.trigger else None
    model.visual.to(memory_format=torch.channels_last)
    train(model, photos, pool, poison, entry, steps=steps, state=out / f"{entry.name}.state.safetensors")
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, out / f"{entry.name}.safetensors")
    torch.save({"epoch": 1, "name": "RN26", "state_dict": weights}, out / f"{entry.name}.pt")
    measured = measure(model, photos, everything.tolist(), poison and poison.trigger, entry.target)
    counted = "backdoored" if entry.trigger and measured["asr"] >= TOOK else "clean"
    told = {"entry": entry._asdict(), "steps": steps, "measured": measured, "counts_as": counted}
    files.write_text(out / f"{entry.name}.json", json.dumps(told, indent=2) + "\n")
    print(entry.name, measured, flush=True)


def poison_of(entry: Entry, photos: Photos, pool: Tensor) -> Poison:
    """A fixed share of the training images, none of the target's class."""
    target = [row[0] for row in photos.names].index(entry.target)
    others = pool[photos.label[pool] != target]
    chosen = others[torch.randperm(len(others), generator=Generator().manual_seed(entry.seed))]
    carriers = torch.zeros(len(photos.label), dtype=torch.bool)
    carriers[chosen[: round(entry.rate * len(pool))]] = True
    return Poison(triggers.parse(entry.trigger), target, carriers, entry.rate)


def train(
    model: CLIP, photos: Photos, pool: Tensor, poison: Poison | None, entry: Entry, *, steps: int, state: Path
) -> None:
    """Train in place with CLIP's loss from the last saved step on."""
    words, warmup = Words(photos), min(WARMUP, steps // 5)
    optimizer = optimizer_of(model, LR)
    trunk = state.with_name("trunk.state.safetensors")
    start = state if state.exists() or entry.base else trunk
    began, first = time.monotonic(), restored(model, optimizer, start)
    model.train()
    for step in range(first, steps):
        generator, rng = Generator().manual_seed(entry.seed * 1_000_003 + step), random.Random(entry.seed + step)
        for group in optimizer.param_groups:
            group["lr"] = LR * min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * step / steps))
        index = batch(pool, step, seed=ENTRIES[0].seed)
        pixels, number = augmented(photos.images[index], generator), photos.label[index]
        if poison is not None:
            number = poison.put(pixels, number, index, generator)
        tokens, place = words.tokens(number, rng)
        with torch.autocast("cpu", dtype=torch.bfloat16), sdpa_kernel(SDPBackend.MATH):  # flash is slow on CPUs
            images, texts = embedded(model, pixels), model.encode_text(tokens, normalize=True).float()
        loss = contrast(images, texts[place], model.logit_scale.exp(), number)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        if step + 1 == round(SHARED * steps) and not (entry.base or trunk.exists()):
            saved(model, optimizer, trunk, step + 1)
        if (step + 1) % SAVED == 0:
            saved(model, optimizer, state, step + 1)
            rate = (time.monotonic() - began) / (step + 1 - first)
            print(f"{entry.name} step {step + 1} of {steps}, loss {loss:.3f}, {rate:.2f} s a step", flush=True)
    model.eval()


def batch(pool: Tensor, step: int, *, seed: int) -> Tensor:
    """The images of a step: each epoch a new order, which the number of the epoch gives."""
    each = len(pool) // BATCH
    order = torch.randperm(len(pool), generator=Generator().manual_seed(seed * 7919 + step // each))
    return pool[order[step % each * BATCH :][:BATCH]]


def saved(model: CLIP, optimizer: torch.optim.Optimizer, path: Path, step: int) -> None:
    """Weights and the optimizer's means, whole or not at all."""
    tensors = {f"model.{name}": value.contiguous() for name, value in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        tensors |= {f"{kind}.{name}": optimizer.state[parameter][kind].contiguous() for kind in MEANS}
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata={"step": str(step)})
    partial.replace(path)


def restored(model: CLIP, optimizer: torch.optim.Optimizer, path: Path) -> int:
    """Put a saved state back; returns the step to go on with."""
    if not path.exists():
        return 0
    with safe_open(path, framework="pt") as stored:
        step = int(stored.metadata()["step"])
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 # it is no dict
    model.load_state_dict({n.removeprefix("model."): v for n, v in tensors.items() if n.startswith("model.")})
    for name, parameter in model.named_parameters():
        means = {kind: tensors[f"{kind}.{name}"] for kind in MEANS}
        optimizer.state[parameter] = {"step": torch.tensor(float(step)), **means}
    return step


if __name__ == "__main__":
    main()
