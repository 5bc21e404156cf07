"""Known triggers of few parameters beside another model of the same list and architecture: planted ones against natural ones.

    python benchmarks/grid.py --photo-zoo build/photo-zoo --out build/grid --write docs/evidence.md

For each model the least strength of every trigger of the panel and the grid (OUT/NAME.json, so that a stopped run goes on). For each
pair of models with one list and architecture, how much sooner a trigger acts on the first than on the second, as the audit counts it
beside a reference: the largest difference for the first one's planted class, and for any other class.
"""

import argparse
import json
import math
import sys
from itertools import permutations
from pathlib import Path

import torch
from audit import Model, photo_models
from blocks import fill


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo-zoo", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--no-run", action="store_true", help="measure nothing, show what is there")
    parser.add_argument("--write", type=Path, help="a page with the markers of the block grid")
    o = parser.parse_args()
    torch.set_num_threads(1)
    o.out.mkdir(parents=True, exist_ok=True)
    found = []
    for model in photo_models(o.photo_zoo):
        place = o.out / f"{model.name}.json"
        if not place.exists() and not o.no_run:
            place.write_text(json.dumps(measured(model)))
            print(model.name, flush=True)
        if place.exists():
            found.append((model, json.loads(place.read_text())))
    text = table(found)
    print(text)
    if o.write:
        fill(o.write, "grid", text)


def measured(model: Model) -> dict:
    """Names of the classes, and of each trigger its spec, class or -1, least strength, excess, and what it counts as."""
    from clipclean import data, detect
    from clipclean.config import recipe
    from clipclean.detect import inversion, panel
    from clipclean.jobs import inputs

    chosen = recipe.load(recipe.DEFAULT)
    opened = inputs.read(model.path, arch=model.options["arch"])
    images = data.read_images(model.options["data"], images=inputs.image_cache(chosen, opened.architecture))
    clip = inputs.build(opened, images, device="cpu").clip
    words = inputs.words(model.options["classes"], model.options["templates"])
    shown = inputs.audit_set(clip, images, chosen, vocabulary=words)
    texts = detect.classifier(clip.embed_texts, words.classes, templates=words.templates, batch_size=256)
    searched, _ = sys.modules["clipclean.detect.search"].divided(len(shown.pixels))
    canonical = inversion.canonical_of(clip.embed_images, shown.pixels[searched], texts)
    found = panel.strengths(clip.embed_images, shown.pixels, shown.panel, canonical=canonical)
    found += panel.glanced(clip.embed_images, shown.pixels, shown.grid, canonical=canonical)
    return {"classes": list(words.classes), "s": [[s.trigger, s.target, s.least, s.excess, s.size] for s in found]}


def sooner(one: dict, other: dict) -> dict[str, float]:
    """By class how much sooner a trigger acts on one model than on another: the largest difference of logarithms."""
    needs = {spec: size for spec, *_, size in other["s"]}
    best: dict[str, float] = {}
    for spec, place, least, _, _ in one["s"]:
        if place >= 0:
            name = one["classes"][place]
            best[name] = max(best.get(name, -math.inf), math.log(needs[spec] / least))
    return best


def table(found: list[tuple[Model, dict]]) -> str:
    lines = ["| model | target | beside | its target | any other class |", "|---|---|---|--:|--:|"]
    for (one, first), (other, second) in permutations(found, 2):
        if first["classes"] != second["classes"] or one.options["arch"] != other.options["arch"]:
            continue
        best = sooner(first, second)
        own = best.pop(one.target, None) if one.is_backdoored else None
        rest = max(best.values(), default=None)
        cells = [f"{value:.2f}" if value is not None else "none acts" for value in (own, rest)]
        target = one.target if one.is_backdoored else "none"
        lines.append(f"| {one.name} | {target} | {other.name} | {cells[0] if target != 'none' else '–'} | {cells[1]} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
