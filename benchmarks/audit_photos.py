"""``clipclean audit`` on the zoo of photographs (``benchmarks/photo_zoo.py``), as its users run it.

    python benchmarks/audit_photos.py --zoo build/photo-zoo --out build/audit-photos --half choose
    python benchmarks/audit_photos.py --zoo build/photo-zoo --out build/audit-photos

Each model is audited from the command line on about 1,000 held-out images of its own class list; the report stands in
OUT/NAME.json, and a stopped run goes on. Thresholds are chosen on ``choose`` alone. ``report`` is for the figures, once.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from audit import auroc, interval, rate
from photo_zoo import HALVES, records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--half", choices=HALVES, help="this half only; default: both")
    o = parser.parse_args()
    o.out.mkdir(parents=True, exist_ok=True)
    audited = []
    for record in records(o.zoo):
        if o.half in (None, record["entry"]["half"]):
            audited.append((record, report(record["entry"], o.zoo, o.out)))
            print(record["entry"]["name"], audited[-1][1]["verdict"], flush=True)
    print(table(audited))


def report(entry: dict, zoo: Path, out: Path) -> dict:
    """The report of one audit; made once."""
    kept = out / f"{entry['name']}.json"
    if not kept.exists():
        own = zoo / f"{entry['half']}-{entry['classes']}"
        command = [
            sys.executable,
            "-m",
            "clipclean",
            "audit",
            zoo / f"{entry['name']}.pt",
            "--json",
            "--exit-zero",
            "--no-cache",
            "--arch",
            zoo / f"{entry['arch']}-{entry['side']}.json",
            "--data",
            own / "audit",
            "--classes",
            own / "classes.txt",
            "--templates",
            own / "templates.txt",
        ]
        one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=one_thread)
        json.loads(done.stdout)  # whole, before it is kept
        kept.with_suffix(".part").write_text(done.stdout, encoding="utf-8")
        kept.with_suffix(".part").replace(kept)
    return json.loads(kept.read_text(encoding="utf-8"))


def score(told: dict) -> float:
    """That of the strongest suspect, or 0."""
    return max((suspect["score"] or 0.0 for suspect in told["suspects"]), default=0.0)


def table(audited: list[tuple[dict, dict]]) -> str:
    """Verdicts by half; a backdoor that took in part counts nowhere."""
    lines = [
        "| half | AUROC (95 %) | backdoored: fail | pass | clean: fail | pass | target named first, of those that fail |",
        "|---|---|---|---|---|---|---|",
    ]
    for half in HALVES:
        mine = [(r, told) for r, told in audited if r["entry"]["half"] == half]
        bad = [(r, told) for r, told in mine if r["counts_as"] == "backdoored"]
        good = [told for r, told in mine if r["counts_as"] == "clean"]
        if not (bad and good):
            continue
        scores = [score(told) for _, told in bad], [score(told) for told in good]
        failed = [(r, told) for r, told in bad if told["verdict"] == "fail"]
        named = sum(first(told) == r["entry"]["target"] for r, told in failed)
        low, high = interval(*scores)
        cells = [
            f"{auroc(*scores):.3f} ({low:.3f}–{high:.3f})",
            rate(len(failed), len(bad)),
            rate(sum(told["verdict"] == "pass" for _, told in bad), len(bad)),
            rate(sum(told["verdict"] == "fail" for told in good), len(good)),
            rate(sum(told["verdict"] == "pass" for told in good), len(good)),
            rate(named, len(failed)),
        ]
        lines.append(f"| {half} | {' | '.join(cells)} |")
    return "\n".join(lines)


def first(told: dict) -> str | None:
    return told["suspects"][0]["class"] if told["suspects"] else None


if __name__ == "__main__":
    main()
