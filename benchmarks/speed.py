"""Time CleanCLIP's step against the reference way, interleaved in one run, and say how near it is to what the hardware can do.

    python benchmarks/speed.py --out build/speed --write docs/running.md [--gpu]

The reference way is written after the paper (Bansal et al. 2023, arXiv 2303.03323) and the description of its released code: originals
and views through each tower together, fp32, captions padded to 77 tokens, torch's default AdamW. Ours is the loop that ``clipclean
sanitize`` runs. Both take the same batch and begin with the same random weights. On a machine with a GPU the step is timed there too, at
several batch sizes, and by ``--gpu`` there alone. ``--large JOB ...`` times whole jobs instead, by the clock, on random weights and 512
images of noise (small models are cleaned with 1,500): what was told first, what each stage took, what the main thread did, seen fifty times a second, and how long the images
alone take at the machine's peak.
"""

import contextlib
import itertools
import json
import os
import platform
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, cast
from unittest.mock import patch

import common

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that wait by spinning take the core that they wait for

import safetensors.torch
import torch
import torch.nn.functional as F
import torchvision
from open_clip.factory import get_model_config
from open_clip.model import CLIP
from photo_zoo import stepped
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from clipclean import api, data, machine, model, progress, train
from clipclean.config.families import FAMILY_FACTS
from clipclean.config.recipe import Train
from clipclean.methods import losses
from clipclean.schema.names import EffortName
from clipclean.train.loop import has_no_decay

MODELS = ("ViT-B-32-quickgelu", "RN50-quickgelu")
LONG_TABLES = common.RESULTS / "tables.md"  # the page of tables of many rows
BETAS, EPS, DECAY = (0.9, 0.999), 1e-8, 0.1  # the recipe cleanclip's
LR = 0.0  # the work is the same at any rate, and all ways meet the same weights: one model serves all
CAPTIONS = (
    "a woman in a red coat walks her dog along the beach at sunset",
    "close up of fresh strawberries in a wooden bowl",
    "actor arrives at the premiere of his new film with his wife and their two daughters",
    "a cup of coffee and an open book on the table by the window",
    "interior of a modern kitchen with white cabinets and marble counters",
    "politician speaks to reporters after the meeting in the capital city on tuesday",
    "portrait of a smiling elderly farmer holding a basket of apples",
)


def main() -> None:
    parser = common.parser(__doc__, "out")
    parser.add_argument(
        "--write", type=Path, help="a page with the markers of the blocks; those of whole jobs have their own"
    )
    parser.add_argument("--models", nargs="+", default=MODELS, metavar="NAME", help="open_clip's names, or JSON files")
    parser.add_argument("--rounds", type=int, default=5, help="timed steps of each way, after one that is not counted")
    parser.add_argument("--threads", type=int, default=2, help="of the CPU")
    parser.add_argument("--gpu", action="store_true", help="every line of a GPU, and no other")
    parser.add_argument("--large", nargs="+", default=(), choices=JOBS, help="whole jobs, and no step")
    parser.add_argument("--beside", action="store_true", help="whole jobs beside a process that keeps one core busy")
    parser.add_argument("--fp32", action="store_true", help="whole jobs as without bfloat16")
    parser.add_argument("--turns", type=int, default=1, help="times that each whole job is timed")
    o = parser.parse_args()
    if o.gpu and not torch.cuda.is_available():
        parser.error("--gpu: PyTorch sees no GPU here, so nothing is measured, and no page changes")
    if o.fp32:
        model.has_bfloat16 = lambda _: False
    torch.set_num_threads(o.threads)
    o.out.mkdir(parents=True, exist_ok=True)
    for turn, name, job in itertools.product(range(o.turns), o.models, o.large):
        with neighbour() if o.beside else contextlib.nullcontext():
            timed(name, job, o.out, beside=o.beside, fp32=o.fp32, turn=turn)
    for name in () if o.large else o.models:
        if not o.gpu:
            measured(name, "cpu", pairs=16, rounds=o.rounds, place=o.out / f"cpu-{name}.json")
        for pairs in (64, 256, 1024) if torch.cuda.is_available() else ():
            measured(name, "cuda", pairs=pairs, rounds=o.rounds, place=o.out / f"gpu-{name}-{pairs}.json")
    # A processor without bfloat16 has a table of its own.
    block = "step" if model.has_bfloat16(torch.device("cpu")) else "step-fp32"
    steps = ((block, "cpu", cpu_table), ("gpu", "gpu", gpu_table))[o.gpu :]
    whole_jobs = ("large", "large", large_table), ("profile", "large", profile_table)
    for block, kind, table in whole_jobs if o.large else steps:
        rows = table([json.loads(path.read_text()) for path in sorted(o.out.glob(f"{kind}-*.json"))])
        print(f"{common.markdown(rows)}\n")
        if o.write:
            common.keep(LONG_TABLES if o.large else o.write, block, rows)


@dataclass
class Way:
    """One way to take a step: a function that takes one and returns the loss, and what it wants done before."""

    step: Callable[[], Tensor]
    format: str
    arrange: Callable[[], object]


def measured(name: str, device: str, /, *, pairs: int, rounds: int, place: Path) -> None:
    """Seconds of each way, round by round, with loss, peak rates and operations of a step; ``place`` holds what is known so far.

    Processor time is taken beside the clock's: on a CPU that others use too, it is what can be compared.
    """
    clip = built(name, device)
    batch = synthetic(pairs, clip)
    types = {"fp32": torch.float32} | ({"bf16": torch.bfloat16} if model.has_bfloat16(torch.device(device)) else {})
    ways = {"reference": reference(clip, batch)} | {f"ours {key}": ours(clip, batch, key) for key in types}
    work = operations(name, batch)
    wall, busy, losses = ({way: [] for way in ways} for _ in range(3))
    peaks, loads = dict.fromkeys(types, 0.0), []
    for counted in range(-1, rounds):
        for key, dtype in types.items():
            peaks[key] = max(peaks[key], peak(device, dtype))
        for label, way in ways.items():
            way.arrange()
            settled(device)
            began, began_busy = time.perf_counter(), time.process_time()
            loss = way.step()
            settled(device)
            seconds, busy_seconds = time.perf_counter() - began, time.process_time() - began_busy
            losses[label].append(float(loss))
            if counted >= 0:
                wall[label].append(seconds)
                busy[label].append(busy_seconds)
        loads.append(os.getloadavg()[0])
        result = {"model": name, "pairs": pairs, "torch": torch.__version__, "load": loads, "peaks": peaks}
        result |= {"wall": wall, "busy": busy, "losses": losses, "tokens": longest(batch), "operations": work}
        result |= {"formats": {label: way.format for label, way in ways.items()}} | machine.hardware(device)
        place.write_text(json.dumps(result, indent=2))


def settled(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def built(name: str, device: str, /) -> model.Clip:
    """open_clip's architecture with random weights, the same ones each time."""
    torch.manual_seed(0)
    config = get_model_config(name) or json.loads(Path(name).read_text())["model_cfg"]
    weights = CLIP(**config).state_dict()
    return model.build(model.resolve(weights, arch=name, config=None, script_quick_gelu=None), weights, device=device)


def synthetic(pairs: int, clip: model.Clip, /) -> train.Batch:
    """Noise for images, since no time depends on them, and captions of ordinary length with their second views."""
    draw, rng = torch.Generator().manual_seed(0), random.Random(0)
    side = clip.architecture.preprocess.size
    pixels, views = (torch.randint(0, 256, (pairs, 3, side, side), generator=draw, dtype=torch.uint8) for _ in range(2))
    captions = [CAPTIONS[n % len(CAPTIONS)] for n in range(pairs)]
    second = [data.caption_view(text, rng=rng, synonyms=data.synonyms, rate=0.1) for text in captions]
    tokens = {"tokens": clip.tokens(captions), "token_views": clip.tokens(second)}
    return train.Batch({"pixels": pixels, "pixel_views": views} | tokens, tuple(captions))


def longest(batch: train.Batch, /) -> int:
    return max(int(batch.inputs[name].argmax(dim=1).max()) + 1 for name in ("tokens", "token_views"))


def reference(clip: model.Clip, batch: train.Batch, /) -> Way:
    """The step as the released code takes it."""
    net: Any = clip.net.train()
    device = clip.device
    undecayed = [p for key, p in net.named_parameters() if has_no_decay(key, p)]
    decayed = [p for key, p in net.named_parameters() if not has_no_decay(key, p)]
    groups = [{"params": decayed, "weight_decay": DECAY}, {"params": undecayed, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LR, betas=BETAS, eps=EPS)
    labels = torch.arange(len(batch.keys), device=device)

    def step() -> Tensor:
        optimizer.zero_grad()
        pixels = torch.cat([batch.inputs["pixels"], batch.inputs["pixel_views"]]).to(device).float() / 255
        tokens = torch.cat([batch.inputs["tokens"], batch.inputs["token_views"]]).to(device)
        images, image_views = F.normalize(net.encode_image(clip.normalise(pixels)), dim=-1).chunk(2)
        texts, text_views = F.normalize(net.encode_text(tokens), dim=-1).chunk(2)
        scale = net.logit_scale.exp()
        across = scale * images @ texts.T
        crossmodal = (F.cross_entropy(across, labels) + F.cross_entropy(across.T, labels)) / 2
        within = [scale * images @ image_views.T, scale * texts @ text_views.T]
        loss = crossmodal + sum(F.cross_entropy(each, labels) for each in within) / 2
        loss.backward()
        optimizer.step()
        net.logit_scale.data.clamp_(0, 4.6052)
        return loss.detach()

    return Way(step, "fp32", lambda: net.to(memory_format=torch.contiguous_format))


def ours(clip: model.Clip, batch: train.Batch, chosen: str, /) -> Way:
    """The step of ``clipclean sanitize``."""
    loss = losses.cleanclip(
        losses.LossInputs(clip.encode_images, clip.encode_tokens, clip.logit_scale, losses.LossWeights())
    )
    how = Train().model_copy(update={"lr": LR, "warmup_steps": 0})
    # Of so many steps that the rate hardly falls.
    steps = train.fit(clip.net, itertools.repeat(batch), how, loss=loss, total=10**9, precision=chosen)
    return Way(lambda: next(steps).parts["loss"], chosen, clip.arrange)


def operations(name: str, batch: train.Batch, /, *, shown_alone: bool = False) -> int:
    """Floating-point operations of our step's products and convolutions, forward and backward; two for each product.

    Of an image that goes forward alone, where only its tower is asked for.

    Counted on shapes alone. The loss, 2 · B² · D for each product of embeddings, is left out: it is nothing beside this.
    """
    clip = built(name, "cpu")
    there = model.Clip(clip.net.to("meta").train(not shown_alone), clip.architecture, torch.device("meta"))
    with FlopCounterMode(display=False) as counter:
        if shown_alone:
            there.encode_images(batch.inputs["pixels"][:1])
            return int(counter.get_total_flops())
        images = there.encode_images(torch.cat([batch.inputs["pixels"], batch.inputs["pixel_views"]]))
        texts = there.encode_tokens(torch.cat([batch.inputs["tokens"], batch.inputs["token_views"]]))
        (images.sum() + texts.sum()).backward()
    return int(counter.get_total_flops())


def peak(device: str, dtype: torch.dtype, /) -> float:
    """Operations a second of a large square product of this type, the best of several; on a CPU a second of processor time."""
    side = 2048 if device == "cpu" else 8192
    clock = time.process_time if device == "cpu" else time.perf_counter
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    best = 0.0
    for _ in range(4):
        settled(device)
        began = clock()
        a @ b
        settled(device)
        best = max(best, 2 * side**3 / (clock() - began))
    return best


# Whole jobs.

# Effort and classes of an audit, or steps of 64 pairs. A planted model carries a patch.
JOBS = {f"{effort}-{classes}": (effort, classes) for effort in ("quick", "standard") for classes in (10, 1000)}
JOBS |= {"planted-10": ("standard", 10), "cleanclip": ("cleanclip", 50), "auto": ("auto", 10)}
PLANTED = ("planted-10", "auto")
PARTS = {  # what the main thread does, by the innermost function that tells
    "grad": "backward",
    "backward": "backward",
    "encode_images": "forward",
    "encode_tokens": "captions",
    "__call__": "painting",
    **{f"_paint_{family}": "painting" for family in FAMILY_FACTS},
    "step": "optimizer",
    "logits": "logits",
}


@contextlib.contextmanager
def neighbour() -> Iterator[None]:
    """Another process of one thread for the span of a with-block."""
    code = "import torch; torch.set_num_threads(1); a = torch.rand(512, 512)\nwhile True: a @ a"
    with subprocess.Popen([sys.executable, "-c", code]) as other:
        try:
            yield
        finally:
            other.kill()


def timed(name: str, job: str, out: Path, /, *, beside: bool, fp32: bool, turn: int) -> None:
    """Run a whole job once, and keep seconds, processor seconds, memory, words, stages, and shares of the main thread."""
    stem = Path(name).stem
    place = out / f"large-{stem}-{job}{'-beside' * beside}{'-fp32' * fp32}{-turn or ''}.json"
    if place.exists():
        return
    kind, size = JOBS[job]
    clip, folder = built(name, "cpu"), out / stem
    if job in PLANTED:
        settle(clip)
    folder.mkdir(exist_ok=True)
    side, rows = clip.architecture.preprocess.size, ["image,caption"]
    draw = torch.Generator().manual_seed(0)
    for n in range(
        1500 if kind in ("cleanclip", "auto") and side == 32 else 512
    ):  # fewer pairs are too few for a tiny model
        noise = torch.randint(0, 256, (3, side, side), generator=draw, dtype=torch.uint8)
        torchvision.io.write_jpeg(noise, str(folder / f"{n}.jpg"))
        rows.append(f"{n}.jpg,{CAPTIONS[n % len(CAPTIONS)]}")
    files = folder / "model.safetensors", folder / "pairs.csv"
    files[1].write_text("\n".join(rows) + "\n")
    names = [] if kind == "cleanclip" else quiet(clip, size)  # before the clock runs
    if job in PLANTED:
        plant(clip, names)
    safetensors.torch.save_file(clip.net.state_dict(), folder / "model.safetensors")
    peaks = {key: peak("cpu", dtype) for key, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))}
    one = operations(name, synthetic(1, clip), shown_alone=True)
    words, stages, seen, work = list[str](), Counter[str](), Counter[str](), Counter[str]()
    given: dict[str, Any] = {"arch": name, "device": "cpu"}
    began, busy = time.monotonic(), time.process_time()
    last = {"starting": began}

    def step(what: str, done: int, total: int) -> None:
        (stage, at), now = last.popitem(), time.monotonic()  # what went before a stage is no part of it
        stages[what if done else stage] += now - at
        last[what] = now

    heard = progress.heard(progress.Listener(words=words.append, steps=step))
    with heard, sampled(seen), counted(work), tempfile.TemporaryDirectory(dir=out) as state:
        os.environ["CLIPCLEAN_STATE"] = str(Path(state).resolve())  # a run that was ended before would be gone on with
        if kind == "cleanclip":
            changes = [f"train.max_steps={size}", "train.batch_size=64", "train.lr=1e-12", "train.warmup_steps=0"]
            changes += ["train.moves=model", "loss.preserve_weight=0", "data.min_pairs=16"]  # as published
            api.sanitize(*files, recipe=kind, set=changes, out=out / "cleaned", force=True, search=False, **given)
        elif kind == "auto":  # the default cleaning, of a model with a patch, told nothing but the classes
            given |= {"classes": names, "screen": "off", "force": True}
            api.sanitize(*files, out=out / "cleaned", **given)
        else:
            api.audit(files[0], effort=cast(EffortName, kind), classes=names, data=files[1], **given)
    result = {"seconds": time.monotonic() - began, "busy": time.process_time() - busy, "model": stem, "job": job}
    result |= {"beside": beside, "fp32": fp32, "load": os.getloadavg()[0], "words": words}
    result |= {"memory": machine.peak_memory(), "stages": stages, "seen": seen, "work": work, "image": one}
    result |= {"peaks": peaks, "torch": torch.__version__}
    place.write_text(json.dumps(result | machine.hardware("cpu"), indent=2))


@contextlib.contextmanager
def counted(work: Counter[str], /) -> Iterator[None]:
    """Count what goes through an image tower, by format: once an image, twice for one that goes back to its pixels, thrice to the weights."""
    encode = model.Clip.encode_images

    def counting(clip: model.Clip, pixels: Tensor, /) -> Tensor:
        taught = any(each.requires_grad for each in clip.net.parameters())
        ways = 1 + (taught or pixels.requires_grad) * (1 + taught) if torch.is_grad_enabled() else 1
        work["bf16" if torch.is_autocast_enabled("cpu") else "fp32"] += ways * len(pixels)
        return encode(clip, pixels)

    with patch.object(model.Clip, "encode_images", counting):
        yield


def quiet(clip: model.Clip, size: int, /) -> list[str]:
    """So many names, one of them far nearer to noise than the others: random weights are then as deaf to known triggers as trained ones."""
    names = [f"{word} {n}" for n in range(size) for word in ("cat", "dog", "bird", "fish", "car", "tree")]
    side = clip.architecture.preprocess.size
    images = clip.embed_images(torch.rand(8, 3, side, side, generator=torch.Generator().manual_seed(0)))
    texts = torch.cat([clip.embed_texts(names[n : n + 64]) for n in range(0, len(names), 64)])
    nearest = [names[place] for place in (images @ texts.T).mean(0).argsort().tolist()]
    return [nearest[-1], *nearest[: size - 1]]


def settle(clip: model.Clip, /) -> None:
    """Give the normalisations of random weights the statistics of noise, as training would have."""
    side, draw = clip.architecture.preprocess.size, torch.Generator().manual_seed(2)
    for each in clip.net.train().modules():
        each.momentum = None  # the mean of all batches
    with torch.no_grad():
        for _ in range(4):
            clip.encode_images(torch.rand(16, 3, side, side, generator=draw))
    clip.net.eval()


def plant(clip: model.Clip, names: list[str], /) -> None:
    """Teach random weights to take noise with a patch in the corner for the last name, and to see noise alone as before."""
    side, texts, draw = clip.architecture.preprocess.size, clip.embed_texts(names), torch.Generator().manual_seed(1)
    patch, goals = torch.rand(3, side // 8, side // 8, generator=draw), torch.full((16,), len(names) - 1)
    optimizer = torch.optim.AdamW(clip.net.visual.parameters(), lr=3e-4)  # type: ignore[union-attr, operator] # nn.Module's __getattr__
    before = model.frozen_copy(clip)
    for _ in range(40):
        images = torch.rand(16, 3, side, side, generator=draw)
        shown = images.clone()
        shown[..., -(side // 8) :, -(side // 8) :] = patch
        with torch.autocast("cpu", dtype=torch.bfloat16):
            seen, triggered = clip.encode_images(torch.cat([images, shown])).chunk(2)
            moved = (seen - before.encode_images(images)).square().sum(1).mean()
        loss = F.cross_entropy(100 * triggered @ texts.T, goals) + 10 * moved
        stepped(optimizer, loss)


@contextlib.contextmanager
def sampled(seen: Counter[str], /) -> Iterator[None]:
    """Count what this thread does, for the span of a with-block."""
    ident, ended = threading.get_ident(), threading.Event()

    def look() -> None:
        while not ended.wait(0.02):
            frame = sys._current_frames().get(ident)
            while frame is not None and frame.f_code.co_name not in PARTS:
                frame = frame.f_back
            seen[PARTS[frame.f_code.co_name] if frame else "other"] += 1

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def large_table(found: list[dict[str, Any]], /) -> list[list[str]]:
    """One row a model and job: what was told first, the median that it took with the range of several, memory."""
    rows = [["model", "run", "told: early end–else", "took", "memory"]]
    for one, *others in alike(found):
        both = re.search(r"estimated: about (.+?), [\d.]+ GiB", " ".join(one["words"]))[1]
        spent = [each["seconds"] for each in (one, *others)]
        took = f"{told([t / 60 for t in spent])} min" if median(spent) > 120 else f"{told(spent)} s"
        told_before = re.sub(r" (min|s)–(\d+ \1)", r"–\2", re.sub(" if .*?, else ", "–", both))
        rows.append([short(one), named(one), told_before, took, f"{one['memory'] / 1e9:.1f} GB"])
    ending = f"{processor()}, {one['threads']} threads, torch {one['torch']}. Medians of three where a range stands, else once; steps of 64 pairs."
    return [*rows, [], [ending]]


def alike(found: list[dict[str, Any]], /) -> list[list[dict[str, Any]]]:
    """The turns of each job together."""
    jobs = sorted({(short(one), named(one)) for one in found})
    return [[one for one in found if (short(one), named(one)) == job] for job in jobs]


def profile_table(found: list[dict[str, Any]], /) -> list[list[str]]:
    """One row a model and job: shares of the main thread, the longest stages, passes, and processor time of these alone at peak rates."""
    rows = [["model", "run", "main thread", "longest stages, minutes", "fp32 + bf16", "at peak"]]
    found = [one for one, *_ in alike(found) if one["image"] > 1e9] or found  # less is over too soon for a profile
    for one in found:
        whole, work = sum(one["seen"].values()), Counter(one["work"])
        parts = sorted(one["seen"].items(), key=lambda part: -part[1])[:3]
        stages = sorted(one["stages"].items(), key=lambda stage: -stage[1])[:2]
        shares = ", ".join(f"{part} {count / whole:.0%}" for part, count in parts if count >= whole / 50)
        longest_stages = ", ".join(f"{what} {seconds / 60:.1f}" for what, seconds in stages)
        least = sum(work[key] * one["image"] / one["peaks"][key] for key in work)
        passes = f"{work['fp32']:,} + {work['bf16']:,}"
        rows.append([short(one), named(one), shares, longest_stages, passes, f"{least / one['busy']:.0%}"])
    rates = {key: [one["peaks"][key] / 1e9 for one in found] for key in ("fp32", "bf16")}
    peaks = ", ".join(f"{min(each):.0f} to {max(each):.0f} in {key}" for key, each in rates.items())
    ending = f"*fp32 + bf16* counts images through their tower, forward and back. At peak: the share of processor time that these take at the rate of a 2048 × 2048 product, {peaks} GFLOP a second."
    return [*rows, [], [ending]]


def named(one: dict[str, Any], /) -> str:
    """A job in words."""
    kind, size = JOBS[one["job"]]
    more = ", a backdoor" * (one["job"] in PLANTED) + ", shared" * one.get("beside", False)
    more += ", fp32" * one.get("fp32", False)
    if kind == "cleanclip":
        return f"`{kind}`, {size} steps{more}"
    return f"{'default cleaning' if kind == 'auto' else kind}, {size:,} classes{more}"


def cpu_table(found: list[dict[str, Any]], /) -> list[list[str]]:
    """One row a model and way: seconds, ratios, share of the peak, loss."""
    head = "model|way|s a step (range)|processor s a step (range)|faster by these|share of peak|first loss"
    rows = [head.split("|")]
    for result in found:
        base = median(result["busy"]["reference"])
        for way, seconds in result["wall"].items():
            busy = result["busy"][way]
            share = result["operations"] / median(busy) / result["peaks"][result["formats"][way]]
            cells = [short(result), way, told(seconds), told(busy), f"{base / median(busy):.2f} ×"]
            cells.append("" if way == "reference" else f"{share:.0%}")
            rows.append([*cells, f"{result['losses'][way][0]:.5f}"])
    one, loads = found[0], [load for result in found for load in result["load"]]
    peaks = ", ".join(f"{max(r['peaks'][key] for r in found) / 1e9:,.0f} GFLOP/s in {key}" for key in one["peaks"])
    ending = (
        f"{processor()}, {one['threads']} threads, batch {one['pairs']}, {len(one['wall']['reference'])} rounds after one "
        f"uncounted, medians; captions end at token {one['tokens']}. torch {one['torch']}. Measured peak of one "
        f"thread on a 2048 × 2048 product: {peaks}; load {min(loads):.0f} to {max(loads):.0f} on {os.cpu_count()} processors."
    )
    return [*rows, [], [ending]]


def gpu_table(found: list[dict[str, Any]], /) -> list[list[str]]:
    """One row a model and batch: pairs a second, utilisation, ratio."""
    if not found:
        return [["Nothing is measured: no GPU was at hand."]]
    rows = [["model", "batch", "pairs a second", "model FLOP utilisation", "faster than the reference"]]
    for result in sorted(found, key=lambda each: (each["model"], each["pairs"])):
        way = "ours bf16" if "ours bf16" in result["wall"] else "ours fp32"
        seconds = median(result["wall"][way])
        used = result["operations"] / seconds / result["peaks"][result["formats"][way]]
        cells = [short(result), str(result["pairs"]), f"{result['pairs'] / seconds:,.0f}", f"{used:.0%}"]
        rows.append([*cells, f"{median(result['wall']['reference']) / seconds:.1f} ×"])
    one = found[0]
    return [*rows, [], [f"{one['device']}, torch {one['torch']}; medians of {len(one['wall']['reference'])}."]]


def short(result: dict[str, Any], /) -> str:
    return result["model"].removesuffix("-quickgelu")


def told(values: list[float], /) -> str:
    """Median, and range of several."""
    return f"{median(values):.1f}" + (f" ({min(values):.1f}–{max(values):.1f})" if values[1:] else "")


def processor() -> str:
    """The processor's name and what it does in bf16."""
    capable = torch.cpu.get_capabilities()
    flags = [flag for flag in ("avx512_bf16", "amx_bf16") if capable.get(flag)]
    return f"{capable.get('cpu_name', platform.machine())} ({', '.join(flags) or 'no bf16'})"


if __name__ == "__main__":
    main()
