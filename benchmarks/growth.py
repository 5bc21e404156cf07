"""How cost grows with pairs, classes, triggers and model size, measured on what fits here.

    python benchmarks/growth.py --write benchmarks/results/running.md

One thing grows at a time, the others stay: the pairs of an epoch of CleanCLIP, the classes of the zero-shot classifier, the
triggers that images are measured under, all on the bundled model and data; and the model, by CleanCLIP steps on random
weights, 8 pairs a step. Seconds are those of the processor, on one thread of torch, medians over --rounds, taken in turns.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import speed
import torch
from blocks import fill

from clipclean import data, demo, detect, model
from clipclean.config import recipe
from clipclean.jobs import inputs
from clipclean.methods import training
from clipclean.train.loader import Samples
from clipclean.train.run import Run

PAIRS = (512, 1024, 2048, 4096)
CLASSES = (50, 100, 200, 400)
TRIGGERS = (1, 6, 12, 23)
BATCH = 8

Case = tuple[str, str, Callable[[], object]]  # what grows, how much, the work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="runs of each, in turn")
    parser.add_argument("--models", nargs="*", default=("RN50", "ViT-B-32", "ViT-L-14"), help="open_clip's names")
    parser.add_argument("--write", type=Path, help="a page with the markers of the block growth")
    o = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = list(table(bundled(Path(folder)), rounds=o.rounds))
    for name in o.models:  # one at a time in memory
        rows += table([sized(name)], rounds=o.rounds)
    text = "\n".join(
        ["| what | of it | processor s, median | lowest–highest | s for each |", "|---|--:|--:|--:|--:|", *rows]
    )
    print(text)
    if o.write:
        fill(o.write, "growth", text)


def table(cases: list[Case], *, rounds: int) -> Iterator[str]:
    """A row a case; all cases take turns, after a run of each that is not counted."""
    taken: list[list[float]] = [[] for _ in cases]
    for number in range(rounds + 1):
        for (_, _, work), seconds in zip(cases, taken, strict=True):
            began = time.process_time()
            work()
            if number:
                seconds.append(time.process_time() - began)
    for (what, count, _), seconds in zip(cases, taken, strict=True):
        middle, each = statistics.median(seconds), ""
        if count.replace(",", "").isdecimal():
            each = f"{middle / int(count.replace(',', '')):.4f}"
        row = f"| {what} | {count} | {middle:.2f} | {min(seconds):.2f}–{max(seconds):.2f} | {each} |"
        print(row, flush=True)
        yield row


def bundled(files: Path) -> list[Case]:
    """Epochs, classifiers and measurements of the bundled model, whose files are put into a folder."""
    chosen = recipe.override(recipe.load("cleanclip@tiny"), ["train.epochs=1", "audit.images=200"])
    demo.unpack(files)
    words = inputs.words(files / "classes.txt", files / "templates.txt")
    tested, pairs = inputs.load(
        files / demo.CHECKPOINT, files / demo.PAIRS, chosen, arch=str(files / "tiny.json"), device="cpu"
    )
    clip = tested.clip
    shown = inputs.eval_set(clip, chosen, Samples(pairs.pairs[:200], None), vocabulary=words, named=(), panel=True)
    return [
        *(("pairs of an epoch", f"{n:,}", epoch(clip, list(pairs.pairs[:n]), chosen)) for n in PAIRS),
        *(("classes of the classifier", str(n), classifier(clip, words, n)) for n in CLASSES),
        *(("triggers on 200 images", str(n), under(clip, shown, n)) for n in TRIGGERS),
    ]


def epoch(clip: model.Clip, pairs: list[data.Pair], chosen: recipe.Recipe) -> Callable[[], object]:
    run = Run(0, "fp32", progress=lambda what, done, total: None)
    return lambda: training.finetune(clip, Samples(tuple(pairs), None), chosen, aims=training.Aims(), run=run)


def classifier(clip: model.Clip, words: inputs.Words, count: int) -> Callable[[], object]:
    return lambda: detect.classifier(
        clip.embed_texts, words.classes[:count], templates=words.templates, batch_size=detect.EMBED_BATCH
    )


def under(clip: model.Clip, shown: detect.EvalSet, count: int) -> Callable[[], object]:
    fewer = replace(shown, panel=shown.panel[:count])
    return lambda: detect.measure(clip.embed_images, clip.embed_texts, fewer, progress=lambda done, total: None)


def sized(name: str) -> Case:
    """A CleanCLIP step of a model with random weights, as ``benchmarks/speed.py`` takes it in fp32."""
    clip = speed.built(name, "cpu")
    way = speed.ours(clip, speed.synthetic(BATCH, clip), "fp32")
    way.arrange()
    millions = model.parameter_count(clip.net) / 1e6
    return (f"a step of {BATCH} pairs, {name}", f"{millions:.0f} M", way.step)


if __name__ == "__main__":
    main()
