"""``clipclean audit`` on the zoo of photographs (``benchmarks/photo_zoo.py``), as its users run it.

    python benchmarks/audit_photos.py --zoo build/photo-zoo --out build/audit-photos --half choose
    python benchmarks/audit_photos.py --zoo build/photo-zoo --out build/audit-photos

Each model is audited from the command line on about 1,000 held-out images of its own class list; the report stands in
OUT/NAME.json, and a stopped run goes on. Thresholds are chosen on ``choose`` alone. ``report`` is for the figures, once.
With ``--statistics`` the published ones of ``benchmarks/published.py`` stand beside, on the same images (OUT/NAME.statistics.json).
"""

import argparse
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import published
from audit import auroc, interval, rate
from photo_zoo import HALVES, records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--half", choices=HALVES, help="this half only; default: both")
    parser.add_argument("--statistics", action="store_true", help="the published ones too: two searches more a model")
    o = parser.parse_args()
    o.out.mkdir(parents=True, exist_ok=True)
    audited = []
    for record in records(o.zoo):
        if o.half in (None, record["entry"]["half"]):
            audited.append((record, report(record["entry"], o.zoo, o.out)))
            print(record["entry"]["name"], audited[-1][1]["verdict"], flush=True)
    print(table(audited))
    if o.statistics:
        known = [statistics_of(record["entry"], told, o.zoo, o.out) for record, told in audited]
        print(beside([(record, found) for (record, _), found in zip(audited, known, strict=True)]))


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


STATISTICS = {  # and whether more of it says backdoored
    "clipclean": ("score of the strongest suspect", 1),
    "decree": ("DECREE: mask share", -1),
    "cosine": ("mean cosine under an unregularised mask", 1),
    "anomaly_index": ("Neural Cleanse: anomaly index of mask lengths", 1),
}


def statistics_of(entry: dict, told: dict, zoo: Path, out: Path) -> dict[str, float]:
    """Ours and the published statistics of one model; those that need a search are made once."""
    kept = out / f"{entry['name']}.statistics.json"
    if not kept.exists():
        kept.write_text(json.dumps(published.of_encoder(*opened(entry, zoo))), encoding="utf-8")
    index = published.anomaly_index(published.mask_sizes(told))
    found = json.loads(kept.read_text(encoding="utf-8"))
    return found | {"clipclean": score(told), "anomaly_index": 0.0 if math.isnan(index) else index}


def opened(entry: dict, zoo: Path) -> tuple:
    """The image tower of a model, and the images that it was audited on."""
    from clipclean import data
    from clipclean.config import recipe
    from clipclean.jobs import inputs

    chosen, own = recipe.load(recipe.DEFAULT), zoo / f"{entry['half']}-{entry['classes']}"
    found = inputs.read(zoo / f"{entry['name']}.pt", arch=str(zoo / f"{entry['arch']}-{entry['side']}.json"))
    images = data.read_images(
        own / "audit", images=inputs.image_cache(chosen, found.architecture), progress=lambda *_: None
    )
    clip = inputs.build(found, images, device="cpu").clip
    for parameter in clip.net.parameters():
        parameter.requires_grad_(False)
    words = inputs.words(own / "classes.txt", own / "templates.txt")
    return clip.encode_images, inputs.audit_set(clip, images, chosen, vocabulary=words).pixels


def beside(known: list[tuple[dict, dict[str, float]]]) -> str:
    """AUROC of each statistic by half, with its interval."""
    lines = ["| statistic | " + " | ".join(HALVES) + " |", "|---|" + "---|" * len(HALVES)]
    for name, (words, sign) in STATISTICS.items():
        cells = []
        for half in HALVES:
            mine = [(record, sign * found[name]) for record, found in known if record["entry"]["half"] == half]
            bad, good = ([v for r, v in mine if r["counts_as"] == kind] for kind in ("backdoored", "clean"))
            if bad and good:
                low, high = interval(bad, good)
                cells.append(f"{auroc(bad, good):.3f} ({low:.3f}–{high:.3f})")
            else:
                cells.append("–")
        lines.append(f"| {words} | {' | '.join(cells)} |")
    return "\n".join(lines)


def first(told: dict) -> str | None:
    return told["suspects"][0]["class"] if told["suspects"] else None


if __name__ == "__main__":
    main()
