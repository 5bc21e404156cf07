"""What each measure brings to the passes of a search on a model of usual size: images a processor second, forward and back to the pixels.

    python benchmarks/search_passes.py --write benchmarks/results/running.md

One measure after the other: fp32; bfloat16; the memory that tensors free kept for the next ones; 24 images in a pass instead of eight. Weights
and images are random, on one thread of torch, each row in a process of its own; the first pass is not counted. Minutes are those
of the passes of a whole search over 1,000 classes on two such threads, at the rate of the row: reckoned, not timed; the last row
has those of a search that halves long lists.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from blocks import fill
from speed import peak

from clipclean.cli import process
from clipclean.config import families, halving, recipe

MODELS = ("ViT-B-32", "RN50")
SIDE = 224
ROWS = (  # format, images a pass, whether freed memory is kept
    ("fp32", 8, False),
    ("bfloat16", 8, False),
    ("bfloat16", 8, True),
    ("bfloat16", 24, True),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--rounds", type=int, default=5, help="passes of each row")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--write", type=Path, help="a page with the markers of the block search-passes")
    o = parser.parse_args()
    if o.one:
        print(json.dumps(timed(*json.loads(o.one))))
        return 0
    lines = [
        "| model | format | images a pass | freed memory | images a processor s (range) | of it in the kernel | quick, min | standard, min |",
        "|---|---|--:|---|--:|--:|--:|--:|",
    ]
    for name in o.models:
        for which in ROWS:
            found = alone(name, *which, o.rounds)
            lines.append(row(name, which, found, lambda rows, steps: rows * steps))
            print(lines[-1], flush=True)
        lines.append(row(name, ROWS[-1], found, halved, words="long lists halved"))
        print(lines[-1], flush=True)
    text = "\n".join([*lines, "", machine(o.rounds)])
    if o.write:
        fill(o.write, "search-passes", text)
    return 0


def alone(name: str, precision: str, batch: int, keeps: bool, rounds: int) -> list[tuple[float, float]]:
    """User and kernel seconds of each pass, from a process that did nothing else."""
    asked = json.dumps([name, precision, batch, keeps, rounds])
    # A choice of the user's would hold for every row.
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    run = subprocess.run(
        [sys.executable, __file__, "--one", asked],
        env=plain,
        check=True,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    return [(user, kernel) for user, kernel in json.loads(run.stdout.splitlines()[-1])]


def timed(name: str, precision: str, batch: int, keeps: bool, rounds: int) -> list[tuple[float, float]]:
    """The same, in this process."""
    from open_clip.factory import create_model

    if keeps:
        process.keep_freed_memory()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tower = create_model(name).eval().requires_grad_(False).visual
    pixels, spent = torch.rand(batch, 3, SIDE, SIDE), []
    for _ in range(1 + rounds):
        began = resource.getrusage(resource.RUSAGE_SELF)
        asked = pixels.clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            embeddings = tower(asked)
        embeddings.float().sum().backward()
        ended = resource.getrusage(resource.RUSAGE_SELF)
        spent.append((ended.ru_utime - began.ru_utime, ended.ru_stime - began.ru_stime))
    return spent[1:]


def counted(effort: recipe.SearchEffort, left: Callable[[int, int], int], /) -> int:
    """Images that a search over a long list sends forward and back; ``left`` says how many classes the steps take, all together."""
    general, most = len(families.GENERAL), effort.suspects + effort.controls
    first, second = round(0.55 * effort.steps), round(0.65 * effort.steps)
    free = general * effort.steps * effort.restarts * effort.free_images
    swept = general * 2 * sum(left(rows, effort.sweep) for rows in (64, 64, 64, 8))
    towards = len(families.FAMILIES) * left(most, first) * effort.images
    return free + swept + towards + general * 4 * second * 2 * effort.images


def halved(rows: int, steps: int) -> int:
    """As the search does it."""
    return sum(halving.left(rows, steps=steps))


def row(
    name: str,
    which: tuple[str, int, bool],
    spent: list[tuple[float, float]],
    left: Callable[[int, int], int],
    /,
    *,
    words: str = "",
) -> str:
    """One line of the table."""
    precision, batch, keeps = which
    rates = sorted(batch / (user + kernel) for user, kernel in spent)
    rate = statistics.median(rates)
    kernel = sum(k for _, k in spent) / sum(u + k for u, k in spent)
    passes = (counted(recipe.EFFORTS[effort], left) for effort in ("quick", "standard"))
    minutes = " | ".join(f"{count / rate / 2 / 60:.0f}" for count in passes)
    kept = "kept" if keeps else "given back"
    shown = f"{rate:.2f} ({rates[0]:.2f}–{rates[-1]:.2f})"
    return f"| {name} | {precision} | {batch} | {kept}{', ' + words if words else ''} | {shown} | {kernel:.0%} | {minutes} |"


def machine(rounds: int) -> str:
    """The peak of one thread here, since machines of one kind differ."""
    torch.set_num_threads(1)
    peaks = ", ".join(
        f"{max(peak('cpu', dtype) for _ in range(3)) / 1e9:.0f} GFLOP/s in {words}"
        for words, dtype in (("fp32", torch.float32), ("bfloat16", torch.bfloat16))
    )
    return f"Medians of {rounds} passes, torch {torch.__version__}. Measured peak of one thread on a 2048 × 2048 product: {peaks}."


if __name__ == "__main__":
    assert counted(recipe.EFFORTS["standard"], halved) == recipe.EFFORTS["standard"].passes()[1]
    sys.exit(main())
