"""The whole job on a CLIP of usual kind, 29 million parameters at 64 px, from the command line: audit, cleaning, and ``auto``.

    python benchmarks/photos.py --images tiny-imagenet-200 --out build/photos --side 64
    python benchmarks/photo_zoo.py --wide --photos build/photos --images tiny-imagenet-200 --out build/wide
    python benchmarks/wide.py --photos build/photos --images tiny-imagenet-200 --zoo build/wide --out build/wide-runs --write docs/evidence.md

The clean model and the backdoored one that was finetuned from it. Every command is a process of its own with one thread, told neither trigger nor target;
what was planted is measured afterwards, on images that no training saw. A command that ran is not repeated: each has a folder in OUT.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from blocks import fill
from photo_cleaning import figures, loaded, paths, shown_to

MODELS = ("choose-wide-10-clean-1", "choose-wide-10-planted-patch-1")
VICTIM = MODELS[1]
JOBS = {
    "audit --effort quick": MODELS,
    "audit --effort standard": MODELS,
    "sanitize --recipe cleanclip": (VICTIM,),
    "sanitize --recipe unlearn": (VICTIM,),
    "sanitize --recipe auto --max-minutes 20": (VICTIM,),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="the folder that benchmarks/photos.py made, with --side 64")
    parser.add_argument("--images", type=Path, help="the folder tiny-imagenet-200")
    parser.add_argument("--zoo", type=Path, help="the folder that benchmarks/photo_zoo.py --wide made")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=JOBS, metavar="JOB", help="some of the commands")
    parser.add_argument("--write", type=Path, help="a page with the markers of the block wide")
    o = parser.parse_args()
    o.out.mkdir(parents=True, exist_ok=True)
    if o.zoo:
        for job, names in ((job, JOBS[job]) for job in o.jobs):
            for name in names:
                run(o, job, name)
    text = table(o.out)
    print(text)
    if o.write:
        fill(o.write, "wide", text)


def folder(out: Path, job: str, name: str) -> Path:
    return out / f"{name}-{job.replace(' --', '-').replace(' ', '-')}"


def run(o: argparse.Namespace, job: str, name: str) -> None:
    """One command on one model, and what it left, unless it is there."""
    place = folder(o.out, job, name)
    if (place / "ran.json").exists():
        return
    place.mkdir(exist_ok=True)
    entry = json.loads((o.zoo / f"{name}.json").read_text())["entry"]
    list_of = o.zoo / f"{entry['half']}-{entry['classes']}"
    weights, pairs, arch = paths(o, entry)
    command, *options = job.split()
    told = ["--classes", list_of / "classes.txt", "--templates", list_of / "templates.txt", "--arch", arch, "--quiet"]
    if command == "audit":
        told += ["--data", list_of / "audit", "--report", f"json={place / 'report.json'}"]
    else:
        loaded(o, entry)  # writes the pairs
        told += ["--data", pairs, "--out", place / "cleaned", "--keep-failed", "--force"]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "clipclean", command, weights, *options, *map(str, told)],
        check=False,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    elapsed, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    report = place / "report.json" if command == "audit" else place / "cleaned" / "report.json"
    told = json.loads(report.read_text())
    ran = {"job": job, "name": name, "exit": done.returncode, "elapsed": elapsed, "processor": spent}
    ran |= {"verdict": told["verdict"], "suspects": told["suspects"]}
    if command == "sanitize":
        ran |= planted(o, entry, place / "cleaned" / "open_clip_model.safetensors")
    (place / "ran.json").write_text(json.dumps(ran, indent=1) + "\n")
    print(line(ran), flush=True)


def planted(o: argparse.Namespace, entry: dict, weights: Path) -> dict:
    """The planted trigger before and after."""
    from clipclean.jobs import inputs

    found = {}
    for side, file in (("before", None), ("after", weights)):
        clip = loaded(o, entry, file)[0].clip
        evidence = replace(shown_to(o, entry), scale=float(clip.logit_scale().detach()))
        found[side] = figures(inputs.measure(clip, evidence))
    return found


def line(ran: dict) -> str:
    """A row of the table."""
    verdict = ran["verdict"]
    if ran["suspects"]:
        verdict += f", {ran['suspects'][0]['class']} {ran['suspects'][0]['score']:.2f}"
    shown = ["–", "–"]
    if "after" in ran:
        shown = [f"{ran['before'][key]:.3f} → {ran['after'][key]:.3f}" for key in ("excess", "accuracy")]
    kind = "clean" if "clean" in ran["name"].split("-") else "backdoored"
    times = f"{ran['processor'] / 60:.0f} | {ran['elapsed'] / 60:.0f}"
    return f"| {kind} | `{ran['job']}` | {verdict} | {times} | {shown[0]} | {shown[1]} |"


def table(out: Path) -> str:
    rows = [json.loads(path.read_text()) for path in sorted(out.glob("*/ran.json"))]
    head = [
        "| model | command | verdict | processor min | elapsed min | excess ASR | CA |",
        "|---|---|---|--:|--:|---|---|",
    ]
    order = sorted(rows, key=lambda ran: (list(JOBS).index(ran["job"]), ran["name"]))
    return "\n".join([*head, *map(line, order)])


if __name__ == "__main__":
    main()
