"""One audit alone, and two at once, each with the threads that it takes by itself.

    python benchmarks/at_once.py --write benchmarks/results/running.md

Quick audits of the bundled model, each a process of its own with a cache of its own, on an otherwise idle machine. Twice the load on the same
processors should take at most 1.5 times as long as one audit alone: threads that spin while they wait would make it far more.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from blocks import fill

MOST = 1.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", type=Path, help="a page with the markers of the block at-once")
    o = parser.parse_args()
    load = os.getloadavg()[0]
    found: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    for _ in range(o.rounds):
        for count, times in found.items():  # in turn, so that a slow minute meets both
            times.append(taken(count))
            print(count, *(f"{value:.1f}" for value in times[-1]), flush=True)
    text = table(found, load)
    print(text)
    if o.write:
        fill(o.write, "at-once", text)


def taken(count: int) -> tuple[float, float]:
    """Elapsed seconds until all audits are done, and processor seconds of each."""
    from clipclean import demo

    with tempfile.TemporaryDirectory() as scratch, demo.unpacked() as bundled:
        command = [sys.executable, "-m", "clipclean", "audit", str(bundled / demo.CHECKPOINT), "--effort", "quick"]
        command += ["--arch", str(bundled / "tiny.json"), "--classes", str(bundled / "classes.txt"), "--device", "cpu"]
        command += ["--templates", str(bundled / "templates.txt"), "--quiet"]
        began, used = time.monotonic(), os.times()
        running = []
        for number in range(count):
            own = Path(scratch) / str(number)
            own.mkdir()
            env = os.environ | {"CLIPCLEAN_STATE": str(own / "state")}
            env.pop("OMP_NUM_THREADS", None)
            running.append(
                subprocess.Popen(
                    [*command, "--report-dir", str(own / "out")], cwd=own, env=env, stdout=subprocess.DEVNULL
                )
            )
        codes = [one.wait() for one in running]
        if set(codes) - {0, 1, 4}:
            sys.exit(f"an audit ended with {codes}")
        after = os.times()
        spent = after.children_user + after.children_system - used.children_user - used.children_system
        return time.monotonic() - began, spent / count


def table(found: dict[int, list[tuple[float, float]]], load: float) -> str:
    middle = {
        count: [statistics.median(column) for column in zip(*times, strict=True)] for count, times in found.items()
    }
    lines = ["| audits at once | elapsed, s | processor seconds of each |", "|--:|--:|--:|"]
    for count, (elapsed, spent) in middle.items():
        spread = f"{min(e for e, _ in found[count]):.1f}–{max(e for e, _ in found[count]):.1f}"
        lines.append(f"| {count} | {elapsed:.1f} ({spread}) | {spent:.1f} |")
    ratio = middle[2][0] / middle[1][0]
    return "\n".join(
        [
            *lines,
            "",
            f"Medians of {len(found[1])} [least–most]; {os.cpu_count()} processors, load {load:.1f} before. Two at once take {ratio:.2f} times as long as "
            f"one; the aim was {MOST:g}.",
        ]
    )


if __name__ == "__main__":
    main()
