"""Time and memory of reading a ViT-B/32 of 600 MB, beside what the usual loaders take for the same file.

    python benchmarks/reading.py --out build/reading --write benchmarks/results/safety.md

Each measurement is a process of its own on one thread of torch, forked once everything is imported, with the file in the
system's cache; the rows of a file take turns. ``loader`` is ``torch.load(weights_only=True, mmap=False)``, or
``safetensors.torch.load`` of all bytes, plus one SHA-256 of the file; ``loader, digest`` hashes the tensors too, as
``clipclean inspect`` does. Beside the elapsed seconds stand those of the processor, which other work on the machine
changes less; memory is what the peak adds to the process. Expected: up to 1.5 times the loader's seconds, memory up to
1.3 times the file. The weights are random, the optimizer's state is left out, and the files are kept for the next run.
"""

import argparse
import hashlib
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import open_clip
import safetensors.torch
import torch
from blocks import fill

from clipclean import checkpoint
from clipclean.checkpoint import layouts
from clipclean.jobs import inspect
from clipclean.model import native_configs

ROUNDS = 5
WORK = ("loader", "checkpoint.read", "loader, digest", "inspect")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/reading"), help="folder for the files")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="runs of each row")
    parser.add_argument("--files", nargs="+", help="some of the files only, by the words of the table")
    parser.add_argument("--write", type=Path, help="a page with the markers of the block reading")
    options = parser.parse_args()
    torch.set_num_threads(1)
    native_configs()
    files = written(options.out)
    lines = [
        "| file | work | seconds | of the processor | times the loader's | peak memory, times the file |",
        "| --- | --- | --: | --: | --: | --: |",
    ]
    for label, path in files.items():
        if label in (options.files or files):
            lines += rows(label, path, options.rounds)
            print(*lines[-len(WORK) :], sep="\n", flush=True)
    if options.write:
        told = "\n".join(
            [*lines, "", f"Medians of {options.rounds} runs; in brackets the ratio of the processor's seconds."]
        )
        fill(options.write, "reading", told)
    return 0


def rows(label: str, path: Path, rounds: int) -> list[str]:
    """Four lines of the table, medians."""
    size = sum(file.stat().st_size for file in weights(path))
    runs: dict[str, list[tuple[float, float, int]]] = {work: [] for work in WORK}
    for _ in range(rounds):
        for work in WORK:
            runs[work].append(child(work, path))
    lines = []
    medians = {work: [statistics.median(column) for column in zip(*of, strict=True)] for work, of in runs.items()}
    for place, work in enumerate(WORK):
        seconds, processor, peak = medians[work]
        base = medians[WORK[place - place % 2]]
        ratios = f"{seconds / base[0]:.2f} ({processor / base[1]:.2f})"
        cells = (
            f"{label}, {size / 1e6:.0f} MB",
            work,
            f"{seconds:.2f}",
            f"{processor:.2f}",
            ratios,
            f"{peak / size:.2f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def child(work: str, path: Path) -> tuple[float, float, int]:
    """One measurement in a process of its own."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=measure, args=(there, work, path))
    process.start()
    there.close()
    found = here.recv()
    process.join()
    return found


def measure(answer: Connection, work: str, path: Path) -> None:
    """Send the seconds, the processor's seconds, and the bytes at the peak that the work takes."""
    acts: dict[str, Callable[[], object]] = {
        "loader": lambda: loaded(path),
        "loader, digest": lambda: checkpoint.digest(loaded(path)),
        "checkpoint.read": lambda: checkpoint.read(path),
        "inspect": lambda: inspect.inspect(path, arch=None),
    }
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the imports
    before, start, processor = memory("VmRSS"), time.perf_counter(), time.process_time()
    kept = acts[work]()
    found = (time.perf_counter() - start, time.process_time() - processor, memory("VmHWM") - before)
    del kept
    answer.send(found)


def loaded(path: Path) -> dict:
    """The tensors as their own library reads them, and the file hashed."""
    found: dict = {}
    for file in weights(path):
        with file.open("rb") as stream:
            hashlib.file_digest(stream, "sha256")
        if file.suffix == ".safetensors":
            found |= safetensors.torch.load(file.read_bytes())  # load_file maps: it would read nothing here
        else:
            found |= torch.load(file, weights_only=True, mmap=False)  # noqa: TID251 # what is measured, on our own file
    return found.get("state_dict", found)


def memory(field: str) -> int:
    """Bytes of this process that Linux counts under a field of its status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def weights(path: Path) -> list[Path]:
    """The files that hold tensors."""
    if path.is_file():
        return [path]
    return sorted(file for file in path.iterdir() if file.suffix in (".safetensors", ".bin"))


def written(folder: Path) -> dict[str, Path]:
    """The same random ViT-B/32 in every container."""
    files = {
        "training checkpoint": folder / "epoch_1.pt",
        "safetensors": folder / "open_clip_model.safetensors",
        "transformers directory": folder / "transformers",
        "transformers shards": folder / "shards",
    }
    if all(path.exists() for path in files.values()):
        return files
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    ours = open_clip.create_model("ViT-B-32-quickgelu").state_dict()
    theirs = {name: tensor.clone() for name, tensor in layouts.from_open_clip(ours).items()}
    state = {f"module.{name}": tensor for name, tensor in ours.items()}
    torch.save({"epoch": 1, "name": "random", "state_dict": state}, files["training checkpoint"])
    safetensors.torch.save_file(ours, files["safetensors"], metadata={"format": "pt"})
    for path in (files["transformers directory"], files["transformers shards"]):
        path.mkdir(exist_ok=True)
        (path / "config.json").write_text('{"model_type": "clip"}')  # the defaults are ViT-B/32
    safetensors.torch.save_file(
        theirs, files["transformers directory"] / "model.safetensors", metadata={"format": "pt"}
    )
    write_shards(files["transformers shards"], theirs)
    return files


def write_shards(folder: Path, tensors: dict, *, count: int = 3) -> None:
    """Every third tensor of the list in one file."""
    placed = {}
    for number in range(count):
        file = f"model-{number + 1:05}-of-{count:05}.safetensors"
        some = dict(list(tensors.items())[number::count])
        safetensors.torch.save_file(some, folder / file, metadata={"format": "pt"})
        placed |= dict.fromkeys(some, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))


if __name__ == "__main__":
    sys.exit(main())
