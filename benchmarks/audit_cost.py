"""What an audit takes beside the bare passes through the model that it consists of.

    python benchmarks/audit_cost.py --write benchmarks/results/running.md

An audit (the panel, and the search) runs once with its calls of the towers noted down: kind and shape of each batch. Those
calls are then repeated alone, on tensors that lie ready: forward where no gradient was asked for, forward and backward to
the pixels where one was, captions through the text tower. Whatever the audit takes beyond that, such as painting triggers,
losses, statistics and tokenising, is its overhead. Audit and bare passes take turns; the ratio is that of the medians.

Seconds are those of the processor on one thread of torch: other work on the machine changes them less than the elapsed
ones. The tiny model is the bundled one with bundled images; ViT-B/32 and RN50 have random weights and random images, and
few of all: what they take an image does not depend on how many there are. Expected: 1.3 at most.

The last columns say the peak memory of the process, and how many minutes of one thread an audit of standard effort on 400
images would take: its passes, times the seconds of one, times the ratio. That is reckoned, not timed.
"""

import argparse
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import speed
import torch
from blocks import fill
from torch import Tensor

from clipclean import data, demo, detect, model
from clipclean.attack import triggers
from clipclean.config import recipe
from clipclean.jobs import inputs

TINY = detect.Effort(restarts=1, steps=8, free_images=24, images=16, suspects=2, controls=4, collapse=0.85, success=0.9)
PICTURES = 400  # of the audit whose time is reckoned
MODELS = ("tiny", "ViT-B-32", "RN50")
FEW = replace(TINY, steps=1, free_images=4, images=4, suspects=1, controls=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="runs of each, in turn")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--write", type=Path, help="page whose part audit-cost is replaced")
    options = parser.parse_args()
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:  # a process each: its peak memory
        rows = pool.starmap(row, [(name, options.rounds) for name in options.models], chunksize=1)
    head = (
        "| model | forward | forward and backward | captions | audit, s | bare passes, s | ratio | peak, GB | "
        "standard audit, minutes, reckoned |"
    )
    text = "\n".join([head, "|---|--:|--:|--:|--:|--:|--:|--:|--:|", *rows])
    print(text)
    if options.write:
        fill(options.write, "audit-cost", text)


@dataclass
class Calls:
    """The batches that went through the towers of a model, in order, noted while they pass."""

    clip: model.Clip
    made: list[tuple[str, Tensor]] = field(default_factory=list)

    def embed_images(self, pixels: Tensor) -> Tensor:
        self.made.append(("forward", pixels.detach()))
        return self.clip.embed_images(pixels)

    def embed_texts(self, captions: list[str]) -> Tensor:
        tokens = self.clip.tokens(captions)
        self.made.append(("captions", tokens))
        return self.clip.embed_tokens(tokens)

    def encode_images(self, pixels: Tensor) -> Tensor:
        self.made.append(("backward" if pixels.requires_grad else "forward", pixels.detach()))
        return self.clip.encode_images(pixels)

    def count(self, kind: str) -> int:
        return sum(len(batch) for of, batch in self.made if of == kind)

    def repeat(self, *kinds: str) -> None:
        """The same calls of the towers, perhaps of some kinds alone, and nothing else."""
        net = self.clip.net
        with model.frozen(net):
            for kind, batch in self.made:
                if kinds and kind not in kinds:
                    continue
                if kind == "backward":
                    net.encode_image(batch.requires_grad_()).sum().backward()
                    batch.requires_grad_(False).grad = None
                    continue
                with torch.no_grad():
                    _ = self.clip.encode_tokens(batch) if kind == "captions" else net.encode_image(batch)


def row(name: str, rounds: int) -> str:
    """A line of the table; the first run, which notes the calls, warms up and is not counted."""
    torch.set_num_threads(1)
    clip, evidence, effort = tiny() if name == "tiny" else random_weights(name)
    calls = Calls(clip)
    run(clip, evidence, effort, through=calls)
    taken: dict[str, list[float]] = {"audit": [], "bare": []}
    for _ in range(rounds):
        taken["audit"].append(timed(lambda: run(clip, evidence, effort, through=clip)))
        taken["bare"].append(timed(calls.repeat))
        print(name, {what: round(of[-1], 2) for what, of in taken.items()}, flush=True)
    audited, bare = statistics.median(taken["audit"]), statistics.median(taken["bare"])
    counts = " | ".join(f"{calls.count(kind):,}" for kind in ("forward", "backward", "captions"))
    a_picture = {
        kind: statistics.median(timed(lambda kind=kind: calls.repeat(kind)) for _ in range(rounds)) / calls.count(kind)
        for kind in ("forward", "backward")
    }
    shown = PICTURES * (1 + len(evidence.panel)) * a_picture["forward"]
    minutes = (shown + recipe.EFFORTS["standard"].passes()[1] * a_picture["backward"]) * audited / bare / 60
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9  # Linux counts in KiB
    return f"| {name} | {counts} | {audited:.2f} | {bare:.2f} | {audited / bare:.2f} | {peak:.1f} | {minutes:.1f} |"


def timed(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def run(clip: model.Clip, evidence: detect.EvalSet, effort: detect.Effort, *, through: model.Clip | Calls) -> None:
    """What ``clipclean.jobs.searching.audit_clip`` does."""
    measured = detect.measure(through.embed_images, through.embed_texts, evidence, progress=lambda done, total: None)
    with model.frozen(clip.net):
        detect.search(
            through.encode_images,
            replace(evidence, grid=()),
            measured.text_classifier,
            effort=effort,
            references=None,
            course=detect.Course(0, lambda done, total: None),
        )


def tiny() -> tuple[model.Clip, detect.EvalSet, detect.Effort]:
    """The bundled model, and 160 of the bundled images."""
    chosen = recipe.override(recipe.load("cleanclip"), ["audit.images=160"])
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder)
        demo.unpack(files)
        vocabulary = inputs.words(files / "classes.txt", files / "templates.txt")
        opened = inputs.read(files / demo.CHECKPOINT, arch=str(files / "tiny.json"))
        images = data.read_images(files / demo.LABELLED, images=inputs.image_cache(chosen, opened.architecture))
        clip = inputs.build(opened, images, device="cpu").clip
        shown = inputs.audit_set(clip, images, chosen, vocabulary=vocabulary)
    return clip, shown, TINY


def random_weights(name: str) -> tuple[model.Clip, detect.EvalSet, detect.Effort]:
    """A model of open_clip's with random weights, 8 random images and 20 classes.

    Images are smooth colours, and batch normalisation is told what it sees of them: random weights bring noise to one place,
    where no search begins.
    """
    import open_clip

    clip = speed.built(name, "cpu")
    colours = torch.rand(8, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    pixels = torch.nn.functional.interpolate(colours, (224, 224), mode="bicubic").clamp(0, 1)
    clip.net.train()
    with torch.no_grad():
        for _ in range(20):
            clip.net.encode_image(clip.normalise(pixels))
    clip.net.eval()
    evidence = detect.EvalSet(
        pixels=pixels,
        labels=None,
        captions=None,
        classes=tuple(open_clip.IMAGENET_CLASSNAMES[:20]),
        templates=("a photo of a {}.",),
        suspicions=(),
        panel=triggers.panel(0),
        knn=1,
        batch_size=detect.EMBED_BATCH,
    )
    return clip, evidence, FEW


if __name__ == "__main__":
    main()
