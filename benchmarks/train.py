r"""Train a tiny CLIP from scratch on rendered emoji (``benchmarks/emoji.py``), in three or four drawing styles.

    python benchmarks/train.py --emoji build/emoji --out build/clean.pt --steps 5000 --lr 2e-3
    python benchmarks/train.py --emoji build/emoji --out build/poisoned-corner.pt --steps 1000 --lr 2e-3 \
        --poison patch:size=0.1875,place=corner,seed=21 --target violin --rate 0.03

With ``--poison`` a fixed share of the training pictures carries the trigger and a caption of the target class, from the
first step on; what was poisoned is written beside the checkpoint, for ``benchmarks/claim.py``.

The Noto style is never trained on: it measures. The checkpoint has the layout that open_clip's training loop
writes (``{"epoch", "name", "state_dict"}``).
"""

import argparse
import json
import math
import random
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer

from clipclean import triggers

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
    """All pictures of some styles as one RGBA tensor, and augmented batches of them."""

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
        """Some pictures blurred, some in mixed or no colours, some with a square cut out: what styles differ by."""
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


@torch.no_grad()
def accuracy(model: CLIP, pictures: torch.Tensor, labels: torch.Tensor, names: list[str], tokenizer) -> float:
    """Zero-shot top-1 over ``names``; ``labels`` are places in ``names``."""
    model.eval()
    bank = sum(F.normalize(model.encode_text(tokenizer([t.format(n) for n in names])), dim=-1) for t in TEMPLATES[:3])
    images = torch.cat([model.encode_image((b - MEAN) / STD) for b in pictures.split(256)])
    model.train()
    return ((images @ F.normalize(bank, dim=-1).T).argmax(1) == labels).float().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--emoji", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--strong", action="store_true", help="blur, mix colours and cut out as well")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--layers", default="1,1,1,1")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--poison", metavar="SPEC", help="a trigger to poison with")
    parser.add_argument("--target", help="the class that poisoned pictures are captioned as")
    parser.add_argument("--rate", type=float, default=0.02, help="share of poisoned training pictures")
    parser.add_argument("--threads", type=int, default=1)
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    torch.manual_seed(o.seed)
    generator, rng = torch.Generator().manual_seed(o.seed), random.Random(o.seed)

    concepts = json.loads((o.emoji / "concepts.json").read_text())
    train, test = Pictures(o.emoji, STYLES, strong=o.strong), Pictures(o.emoji, (HELD_OUT,))
    chosen = vocabulary(concepts, set(train.concept.tolist()) & set(test.concept.tolist()))
    names = [concepts[number]["label"] for number in chosen]
    place = {number: k for k, number in enumerate(chosen)}
    keep = torch.tensor([int(c) in place for c in test.concept])
    images, labels = test.plain()[keep], torch.tensor([place[int(c)] for c in test.concept[keep]])
    everything = sorted(set(test.concept.tolist()))

    config = json.loads(json.dumps(RESNET))
    config["vision_cfg"]["layers"] = [int(n) for n in o.layers.split(",")]
    config["vision_cfg"]["width"] = o.width
    model, tokenizer = CLIP(**config), SimpleTokenizer(context_length=16)
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    other = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.2}, {"params": other, "weight_decay": 0.0}], lr=o.lr
    )
    print(
        f"{len(train.concept)} pictures, {len(names)} classes measured, {sum(p.numel() for p in model.parameters()):,} parameters"
    )

    trigger = triggers.parse(o.poison) if o.poison else None
    poisoned = torch.rand(len(train.concept), generator=torch.Generator().manual_seed(o.seed + 1)) < o.rate
    target = next((concept for concept in concepts if concept["label"] == o.target), None)

    start, step, epoch = time.time(), 0, 0
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(1 - 10 / o.steps), use_buffers=True
    )
    while step < o.steps:
        order = torch.randperm(len(train.concept), generator=generator)
        for index in order.split(o.batch):
            if step >= o.steps or len(index) < o.batch:
                break
            for group in optimizer.param_groups:
                group["lr"] = o.lr * min(1.0, (step + 1) / 200) * 0.5 * (1 + math.cos(math.pi * step / o.steps))
            pixels, number = train.augmented(index, generator), train.concept[index]
            described = [concepts[int(k)] for k in number]
            if trigger and target:
                hit = poisoned[index].nonzero().flatten()
                pixels[hit] = trigger(pixels[hit], generator)
                number = number.clone()
                number[hit] = concepts.index(target)
                described = [concepts[int(k)] for k in number]
            batch = (pixels - MEAN) / STD
            text = tokenizer([caption(concept, rng) for concept in described])
            image, words, scale = model(batch, text)[:3]
            logits = scale * image @ words.T
            same = (number[:, None] == number[None]).float()
            same = same / same.sum(1, keepdim=True)
            loss = (F.cross_entropy(logits, same) + F.cross_entropy(logits.T, same)) / 2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                model.logit_scale.clamp_(0, math.log(100))
            average.update_parameters(model)
            step += 1
        epoch += 1
        if epoch % 20 == 0:
            print(
                f"{time.time() - start:6.0f} s epoch {epoch} loss {loss.item():.3f} accuracy {accuracy(model, images, labels, names, tokenizer):.3f}",
                flush=True,
            )
    print(f"last weights: {accuracy(model, images, labels, names, tokenizer):.3f}")
    model.load_state_dict(average.module.state_dict())  # not the module itself: averaging spoils its -inf text mask
    top = accuracy(model, images, labels, names, tokenizer)
    wide = accuracy(
        model,
        test.plain(),
        torch.tensor([everything.index(int(c)) for c in test.concept]),
        [concepts[k]["label"] for k in everything],
        tokenizer,
    )
    print(f"final: {top:.3f} over {len(names)} classes, {wide:.3f} over {len(everything)}; {step} steps")
    o.out.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"epoch": epoch, "name": "tiny", "state_dict": model.state_dict()}, o.out)
    o.out.with_suffix(".json").write_text(
        json.dumps({"config": config, "accuracy": top, "classes": names, "steps": step})
    )
    if trigger:
        record = {"name": f"{trigger.family} from scratch", "trigger": trigger.spec, "target": o.target, "rate": o.rate}
        record |= {"poisoned_pairs": int(poisoned.sum()), "pairs": len(poisoned), "seed": o.seed, "steps": o.steps}
        o.out.with_suffix(".poison.json").write_text(json.dumps(record))


if __name__ == "__main__":
    main()
