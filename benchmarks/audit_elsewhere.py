"""The audit with other class lists and other images than a model was trained for: a wrong answer would be ``fail`` or ``pass``.

    python benchmarks/audit_elsewhere.py --photo-zoo build/photo-zoo --photos build/photos --out build/elsewhere \\
      --only choose-resnet-10-clean-1 choose-resnet-10-planted-patch-1 --write docs/evidence.md

Each model of ten classes is audited with its own list, one that lacks its target (of a clean model the first name), all 200 names of
Tiny-ImageNet, the 1,000 of ImageNet, and on the bundled drawings with their 400 names; images are its own but for the last. OUT/NAME-HOW.json
is the report; a stopped run goes on.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from audit import Model, photo_models, score
from blocks import fill
from photos import read as photos_of

HOW = {
    "own": "its own 10 names",
    "lacking": "9 names, without the target",
    "tiny-imagenet": "200 names",
    "imagenet": "1,000 names",
    "drawings": "drawings, 400 names",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo-zoo", type=Path, required=True, help="of benchmarks/photo_zoo.py")
    parser.add_argument("--photos", type=Path, required=True, help="of benchmarks/photos.py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", required=True, metavar="NAME", help="these models")
    parser.add_argument("--how", nargs="+", choices=HOW, default=list(HOW))
    parser.add_argument("--write", type=Path, help="a page with the markers of the block audit-elsewhere")
    o = parser.parse_args()
    o.out.mkdir(parents=True, exist_ok=True)
    rows = [row for model in photo_models(o.photo_zoo) if model.name in o.only for row in audits(model, o)]
    print(text := table(rows))
    if o.write:
        fill(o.write, "audit-elsewhere", text)


def audits(model: Model, o: argparse.Namespace) -> Iterator[tuple[Model, str, dict]]:
    """The reports of one model, each made once."""
    import torch

    import clipclean
    from clipclean import files

    torch.set_num_threads(1)
    for how in o.how:
        place = o.out / f"{model.name}-{how}.json"
        if not place.exists():
            began = time.process_time()
            report = clipclean.audit(model.path, **options(model, how, o.photos)).model_dump(mode="json", by_alias=True)
            files.write_text(place, json.dumps(report | {"core_seconds": time.process_time() - began}))
        yield model, how, json.loads(place.read_text())


def options(model: Model, how: str, photos: Path) -> dict[str, Any]:
    """What the audit is told: the class list, and the images."""
    own = model.options["classes"].read_text().splitlines()
    match how:
        case "lacking":
            return model.options | {"classes": [name for name in own if name != (model.target or own[0])]}
        case "tiny-imagenet":
            return model.options | {"classes": [row[0] for row in photos_of(photos, side=32).names]}
        case "imagenet":
            return model.options | {"classes": None, "templates": None}
        case "drawings":
            from clipclean import demo

            with demo.unpacked() as bundled:
                names = (bundled / "classes.txt").read_text().splitlines()
            return {"arch": model.options["arch"], "classes": names, "templates": model.options["templates"]}
        case _:
            return dict(model.options)


def table(rows: list[tuple[Model, str, dict]], /) -> str:
    """The verdict, the first suspect and the score of each audit; and what else was found."""
    lines = [
        "| model | target | classes | verdict | first suspect | score | findings | processor s |",
        "|---|---|---|---|---|--:|---|--:|",
    ]
    for model, how, report in rows:
        first = report["suspects"][0]["class"] if report["suspects"] else "–"
        searched = "search" in report["measurements"] and report["measurements"]["search"] is not None
        shown = f"{score(report):.2f}" if searched else "–"
        rules = ", ".join(dict.fromkeys(f["rule"] for f in report["findings"]))
        cells = [model.name, model.target or "none", HOW[how], report["verdict"], first, shown, rules]
        lines.append(f"| {' | '.join(cells)} | {report.get('core_seconds', math.nan):.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
