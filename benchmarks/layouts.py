"""Whole CLIPs through every layout, in and out: parity, tensor digests, time and memory of each export.

    python benchmarks/layouts.py --out build/layouts --write benchmarks/results/layouts.md
    python benchmarks/layouts.py --out build/layouts --models ViT-L-14-quickgelu --pairs 8 --write benchmarks/results/layouts.md

The weights are random. A torch checkpoint becomes open_clip's directory, that becomes transformers' (a ResNet has none),
and that the ONNX graphs, and open_clip's directory again: each by ``clipclean export`` in a process of its own, with one
thread, on the demo's pairs. Then every folder is verified. Seconds are those of the processor, of all processes of the
export, since other work on the machine changes elapsed ones; memory is the peak of the largest process. Expected: every
difference below 1e-5, every cosine above 0.99999, and one tensor digest for all. What was measured is kept in --out, and
the table is written of all of it.
"""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import open_clip
import torch
from blocks import fill

from clipclean import checkpoint, data, demo
from clipclean.config import recipe
from clipclean.jobs import inputs

MODELS = ("ViT-B-32-quickgelu", "RN50-quickgelu", "ViT-L-14-quickgelu")
# from: to. What is written first is read next.
PLAIN = (("torch zip", "open_clip"), ("open_clip", "hf"), ("hf", "onnx"), ("hf", "open_clip"))
RESNET = (("torch zip", "open_clip"), ("open_clip", "onnx"), ("open_clip", "open_clip"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/layouts"), help="folder for the files; several GB")
    parser.add_argument("--models", nargs="*", default=MODELS, help="names of open_clip; none writes the table alone")
    parser.add_argument("--pairs", type=int, default=63, help="pictures and captions that are compared")
    parser.add_argument("--write", type=Path, help="page whose table is filled")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.models:
        rows = measured(name, options.out / name, pairs=options.pairs)
        (options.out / f"{name}.json").write_text(json.dumps(rows, indent=2), encoding="utf-8")
        shutil.rmtree(options.out / name)
    text = table([row for path in sorted(options.out.glob("*.json")) for row in json.loads(path.read_text())])
    print(text)
    if options.write:
        fill(options.write, "layouts", text)
    return 0


def measured(name: str, folder: Path, *, pairs: int) -> list[dict[str, Any]]:
    """A row for each export of one model."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    clean = some_pairs(folder / "pairs", pairs)
    places = {"torch zip": folder / "model.pt"}
    torch.manual_seed(0)
    weights = open_clip.create_model(name).state_dict()
    torch.save(weights, places["torch zip"])
    digest = checkpoint.digest(weights)
    del weights
    rows = []
    for number, (source, target) in enumerate(RESNET if name.startswith("RN") else PLAIN):
        out = folder / f"{number}-{target}"
        arch = ["--arch", name] if source == "torch zip" else []
        told, seconds, peak = command(
            "export", places[source], "--format", target, "--out", out, "--data", clean, "--json", *arch
        )
        command("verify", out, "--quiet")
        exports = told["exports"]
        assert {entry["tensor_sha256"] for entry in exports} == {digest}, (source, target)
        if target != "onnx":
            assert checkpoint.digest(checkpoint.read(out).tensors) == digest
            places[target] = out
        parities = [entry["parity"] for entry in exports]
        rows.append(
            {
                "model": name,
                "from": source,
                "to": target,
                "reader": parities[0]["reader"],
                "bytes": sum((out / entry["path"]).stat().st_size for entry in exports),
                "max_difference": max(parity["max_difference"] for parity in parities),
                "min_cosine": min(parity["min_cosine"] for parity in parities),
                "top1_agreement": min(parity["top1_agreement"] for parity in parities),
                "n": parities[0]["n"],
                "seconds": seconds,
                "peak": peak,
            }
        )
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def some_pairs(folder: Path, count: int) -> Path:
    """The first pairs of the demo's clean set, as a folder."""
    demo.unpack(folder.parent / "demo")
    limits = inputs.limits(recipe.load(recipe.DEFAULT))
    clean = data.read(folder.parent / "demo" / demo.PAIRS, images=data.ImageCache(limits))
    folder.mkdir()
    for number, pair in enumerate(clean.pairs[:count]):
        (folder / f"{number:03}.png").write_bytes(pair.image.load())
        (folder / f"{number:03}.txt").write_text(pair.caption, encoding="utf-8")
    return folder


def command(*arguments: object) -> tuple[dict[str, Any], float, int]:
    """What a command of clipclean prints as JSON, its seconds of the processor, and the bytes at its peak."""
    here, there = os.pipe()
    given = [
        sys.executable,
        "-m",
        "clipclean",
        *map(str, arguments),
        *(["--quiet"] if "--quiet" not in arguments else []),
    ]
    process = os.posix_spawn(
        given[0],
        given,
        {**os.environ, "OMP_NUM_THREADS": "1"},
        file_actions=[(os.POSIX_SPAWN_DUP2, there, 1), (os.POSIX_SPAWN_CLOSE, here)],
    )
    os.close(there)
    with os.fdopen(here, encoding="utf-8") as stream:
        text = stream.read()
    _, status, usage = os.wait4(process, 0)
    if status:
        raise SystemExit(f"{' '.join(given)} ended with {os.waitstatus_to_exitcode(status)}\n{text}")
    return json.loads(text or "{}"), usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| Model | From | To | Size | Read by | Largest difference | Smallest cosine | Same best caption | n | CPU seconds | Peak memory |",
        "| --- | --- | --- | --: | --- | --: | --: | --: | --: | --: | --: |",
    ]
    for row in rows:
        cells = (
            row["model"],
            row["from"],
            row["to"],
            f"{row['bytes'] / 1e6:.0f} MB",
            row["reader"],
            f"{row['max_difference']:.1e}",
            f"{row['min_cosine']:.9f}",
            f"{row['top1_agreement']:.0%}",
            row["n"],
            f"{row['seconds']:.0f}",
            f"{row['peak'] / 1e9:.1f} GB",
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
