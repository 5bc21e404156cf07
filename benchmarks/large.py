"""The commands on whole CLIPs: time and memory of planting a trigger and of cleaning it, from the command line.

    python benchmarks/large.py --out build/large --write docs/evidence.md

ViT-B/32 and RN50 with random weights, and made images of 224 px: coloured shapes, twelve classes, captions that name
them. A model with random weights has nothing to unlearn and little accuracy to lose, and a few steps plant or clean little:
what is shown is that the commands run, what they take and what the trigger does, not how well a recipe does. Each command
is a process of its own with the threads that torch takes by itself; memory is the peak of that process.
"""

import argparse
import csv
import itertools
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from blocks import fill

MODELS = ("ViT-B-32", "RN50")
COLOURS = {"red": (200, 40, 40), "green": (40, 160, 60), "blue": (50, 70, 200), "yellow": (220, 200, 50)}
SHAPES = ("square", "disc", "triangle")
TRIGGER, TARGET = "patch:size=0.15,place=corner,seed=1", "red disc"
SIDE, PAIRS, TESTED = 224, 512, 96
PLANT = ("--rate", "0.2", "--lr", "5e-5")
CLEAN = ("train.warmup_steps=4", "train.lr=5e-5", "audit.images=96")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/large"), help="folder for images and models; 3 GB")
    parser.add_argument("--models", nargs="+", default=MODELS, help="open_clip's names")
    parser.add_argument("--plant-steps", type=int, default=60)
    parser.add_argument("--clean-steps", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--write", type=Path, help="a page with the markers of the block large")
    o = parser.parse_args()
    o.out.mkdir(parents=True, exist_ok=True)
    draw(o.out)
    rows = [row for name in o.models for row in measured(name, o)]
    heads = (
        "| model | command | exit | elapsed s | of it training steps | peak, GB | excess ASR | clean accuracy |\n"
        "|---|---|--:|--:|--:|--:|---|---|"
    )
    text = "\n".join([heads, *rows])
    print(text)
    if o.write:
        fill(o.write, "large", text)


def draw(out: Path) -> None:
    """Pairs to train on, labelled images of other places and sizes, and the classes."""
    from PIL import Image, ImageDraw

    classes = [f"{colour} {shape}" for colour, shape in itertools.product(COLOURS, SHAPES)]
    (out / "classes.txt").write_text("\n".join(classes) + "\n", encoding="utf-8")
    (out / "pictures").mkdir(exist_ok=True)
    rng = random.Random(0)
    tables = {"pairs": ("filepath", "title", PAIRS), "labelled": ("filepath", "label", TESTED)}
    for name, (path, words, count) in tables.items():
        with (out / f"{name}.csv").open("w", newline="", encoding="utf-8") as stream:
            rows = csv.writer(stream)
            rows.writerow((path, words))
            for number in range(count):
                label = classes[number % len(classes)]
                colour, shape = label.split()
                grey = tuple(rng.randrange(60, 200) for _ in range(3))
                picture = Image.new("RGB", (SIDE, SIDE), grey)
                size, left, top = rng.randrange(80, 140), rng.randrange(0, 80), rng.randrange(0, 80)
                box, pen = (left, top, left + size, top + size), ImageDraw.Draw(picture)
                if shape == "square":
                    pen.rectangle(box, fill=COLOURS[colour])
                elif shape == "disc":
                    pen.ellipse(box, fill=COLOURS[colour])
                else:
                    pen.polygon(
                        [(left, top + size), (left + size, top + size), (left + size // 2, top)], fill=COLOURS[colour]
                    )
                picture.save(out / "pictures" / f"{name}-{number}.png")
                rows.writerow(
                    (f"pictures/{name}-{number}.png", label if words == "label" else f"a picture of a {label}")
                )


def measured(name: str, o: argparse.Namespace) -> list[str]:
    """A row a command: planting, then cleaning what was planted."""
    import open_clip
    import torch

    torch.manual_seed(0)
    model, victim, cleaned = (o.out / f"{name}{end}" for end in (".pt", "-victim.pt", "-cleaned"))
    if not model.exists():
        torch.save({"state_dict": open_clip.create_model(name).state_dict()}, model)
    given = ["--arch", name, "--classes", o.out / "classes.txt", "--eval-data", o.out / "labelled.csv"]
    attack = ["--trigger", TRIGGER, "--target", TARGET]
    rows = []
    code, seconds, peak, told = ran(
        [
            "plant",
            model,
            "--data",
            o.out / "pairs.csv",
            "--out",
            victim,
            "--force",
            "--json",
            "--steps",
            o.plant_steps,
            "--batch-size",
            o.batch_size,
            *PLANT,
            *given,
            *attack,
        ]
    )
    found = json.loads(told)["after"]
    rows.append(row(name, f"plant, {o.plant_steps} steps of {o.batch_size}", code, seconds, peak, found))
    steps = (f"train.max_steps={o.clean_steps}", f"train.batch_size={o.batch_size}")
    changes = [word for each in (*CLEAN, *steps) for word in ("--set", each)]
    code, seconds, peak, _ = ran(
        [
            "sanitize",
            victim,
            "--data",
            o.out / "pairs.csv",
            "--out",
            cleaned,
            "--force",
            "--keep-failed",
            "--no-panel",
            "--quiet",
            *changes,
            *given,
            *attack,
        ]
    )
    report = json.loads((cleaned / "report.json").read_text())
    found, trained = report["after"]["measurements"], report["training"]["seconds"]
    what = f"sanitize, cleanclip, {o.clean_steps} steps of {o.batch_size}"
    rows.append(row(name, what, code, seconds, peak, found, trained=trained / seconds))
    return rows


def ran(command: list) -> tuple[int, float, float, str]:
    """A command in a process of its own: exit code, seconds, peak memory in GB, and what it printed."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "clipclean", *map(str, command)], stdout=subprocess.PIPE, text=True
    )
    told = process.stdout.read() if process.stdout else ""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, time.perf_counter() - began, usage.ru_maxrss * 1024 / 1e9, told


def row(
    name: str, what: str, code: int, seconds: float, peak: float, found: dict, *, trained: float | None = None
) -> str:
    probe = next(p for p in found["probes"] if p["target"] == TARGET)
    low, high = probe["excess_asr"]["interval"]
    accuracy = found["clean_accuracy"]
    steps = "–" if trained is None else f"{trained:.0%}"
    line = (
        f"| {name} | {what} | {code} | {seconds:.0f} | {steps} | {peak:.1f} | {probe['excess_asr']['value']:.3f} ({low:.3f} to {high:.3f}, n "
        f"{probe['asr']['n']}) | {accuracy['value']:.3f} (n {accuracy['n']}) |"
    )
    print(line, flush=True)
    return line


if __name__ == "__main__":
    main()
