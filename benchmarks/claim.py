"""The paper's claim on small victims: CleanCLIP takes a backdoor away, L_CLIP alone with the same steps does not.

    python benchmarks/claim.py --model build/clean.pt --out build/claim            # victims by planting
    python benchmarks/claim.py --victims build/poisoned-*.pt --out build/claim     # victims trained on poisoned data
    python benchmarks/claim.py --model build/clean.pt --out build/claim --frontier "sinusoid"   # excess ASR against CA

For each trigger and seed: plant (or take the given victim), clean with each recipe, measure. Every cell is one JSON
file in OUT, so that a stopped run goes on; the table is printed from the files, and with ``--write docs/evidence.md``
put between its markers. Seeds below 100 report; ``--seeds 100`` and above served to choose recipes and planting.
"""

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path

from blocks import fill
from cells import digest_of, is_current

GENTLY = {"steps": 400, "lr": 5e-4, "rate": 0.1}  # costs less accuracy than the defaults, and more time
TRIGGERS = {  # name: (what is planted, how the planting departs from its defaults)
    "patch in the corner": ("patch:size=0.1875,place=corner", GENTLY),
    "patch at a random place": ("patch:size=0.1875,place=random", GENTLY),
    "stripes at a random place": ("stripes:size=0.1875", GENTLY),
    "blended noise": ("blended:ratio=0.2", GENTLY),
    "sinusoid": ("sinusoid:delta=40/255", GENTLY),
    "warp": ("warp:strength=7", GENTLY | {"steps": 600}),  # 3.5 px: a weaker warp is not learned by this model
}
TARGETS = (
    "strawberry",
    "telescope",
    "violin",
    "penguin",
    "volcano",
    "rocket",
    "watermelon",
    "lion",
    "tractor",
    "butterfly",
)
RECIPES = ("cleanclip@tiny", "mmcl@tiny")
FRONTIER = [(lr, weight) for lr in ("6e-4", "1.2e-3", "2.4e-3") for weight in ("0.3", "1", "4")]  # train.lr, lambda 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="the clean model that victims are planted in")
    parser.add_argument("--victims", type=Path, nargs="*", default=[], help="NAME.pt with NAME.poison.json beside it")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3])
    parser.add_argument("--triggers", nargs="*", default=list(TRIGGERS))
    parser.add_argument("--recipes", nargs="*", default=list(RECIPES))
    parser.add_argument(
        "--set", dest="overrides", nargs="*", default=[], help="recipe overrides; the cells are named by them"
    )
    parser.add_argument("--frontier", metavar="TRIGGER", help="vary learning rate and lambda 2 on one trigger instead")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--write", type=Path, help="a page with the markers of the blocks claim or scratch")
    o = parser.parse_args()
    o.out.mkdir(parents=True, exist_ok=True)
    with multiprocessing.get_context("spawn").Pool(o.workers) as pool:
        for rows in pool.imap_unordered(victim_rows, jobs(o)):
            print(*rows, sep="\n", flush=True)
    text = frontier(o) if o.frontier else table(o)
    print(text)
    if o.write:
        block = "frontier" if o.frontier else "scratch" if o.victims else "claim"
        fill(o.write, block, text)


def jobs(o: argparse.Namespace) -> list[tuple[argparse.Namespace, str, int]]:
    """One job a victim, or a point of the frontier."""
    if o.frontier:
        points = [point(o, lr, weight) for lr, weight in FRONTIER]
        return [(p, o.frontier, seed) for seed in o.seeds for p in points]
    planted = [(o, name, seed) for seed in o.seeds for name in o.triggers] if o.model else []
    return planted + [(o, str(victim), 0) for victim in o.victims]


def point(o: argparse.Namespace, lr: str, weight: str) -> argparse.Namespace:
    overrides = [f"train.lr={lr}", f"loss.self_supervised_weight={weight}"]
    return argparse.Namespace(**vars(o) | {"recipes": [RECIPES[0]], "overrides": overrides})


def cell_of(o: argparse.Namespace, stem: str, recipe: str) -> Path:
    return o.out / "-".join([stem, recipe, *(s.replace(".", "_") for s in o.overrides), "clean.json"])


def victim_rows(job: tuple[argparse.Namespace, str, int]) -> list[str]:
    import torch

    torch.set_num_threads(1)
    o, name, seed = job
    victim, planted = given_victim(Path(name), o) if name.endswith(".pt") else planted_victim(o, name, seed)
    if planted is None:
        return []
    lines = [line(planted["label"], "planted", planted["before"] or planted["after"], planted["after"])]
    for recipe in o.recipes:
        cell = cell_of(o, victim.stem, recipe)
        if not is_current(cell, recipe, o.overrides):
            found = clean(o, victim, planted, recipe, seed, cell.with_suffix(".pt"))
            cell.write_text(json.dumps(found | {"recipe_sha256": digest_of(recipe, o.overrides)}))
        result = json.loads(cell.read_text())
        lines.append(
            line(planted["label"], " ".join([recipe, *o.overrides]), planted["after"], result["after"])
            + f" {result['seconds']:.0f} s"
        )
    return lines


def planted_victim(o: argparse.Namespace, name: str, seed: int) -> tuple[Path, dict]:
    """Plant, once; the target depends on trigger and seed."""
    from clipclean.config import recipe
    from clipclean.jobs import plant

    stem = f"{name.replace(' ', '-')}-{seed}"
    victim, record = o.out / f"{stem}.pt", o.out / f"{stem}.json"
    if not record.exists():
        target = TARGETS[(list(TRIGGERS).index(name) + 3 * seed) % len(TARGETS)]
        files = demo_files(o)
        spec, planting = TRIGGERS[name]
        request = plant.PlantRequest(
            model=o.model,
            trigger=f"{spec},seed={seed}",
            target=target,
            data=files / "clean.tar",
            out=victim,
            planting=recipe.planting(**planting),
            arch=str(files / "tiny.json"),
            classes=files / "classes.txt",
            templates=files / "templates.txt",
            eval_data=files / "eval.tar",
            seed=seed,
            device="cpu",
            force=True,
        )
        result = plant.plant(request, progress=lambda what, done, total: None).as_json()
        record.write_text(json.dumps(result | {"label": f"{name} {seed}", "name": name, "scratch": False}))
    return victim, json.loads(record.read_text())


def given_victim(victim: Path, o: argparse.Namespace) -> tuple[Path, dict]:
    """A victim that was trained from scratch on poisoned data; what was poisoned stands in a JSON file beside it."""
    poison = json.loads(victim.with_suffix(".poison.json").read_text())
    record = o.out / f"{victim.stem}.json"
    if not record.exists():
        measured = measure(o, victim, poison["trigger"], poison["target"])
        twin = victim.with_name(victim.name.replace("poisoned", "unpoisoned"))  # trained alike, without the poison
        before = measure(o, twin, poison["trigger"], poison["target"]) if twin.exists() else None
        record.write_text(
            json.dumps(poison | {"before": before, "after": measured, "label": poison["name"], "scratch": True})
        )
    return victim, json.loads(record.read_text())


def demo_files(o: argparse.Namespace) -> Path:
    from clipclean import demo

    folder = o.out / "files"
    if not (folder / "done").exists():
        with tempfile.TemporaryDirectory(dir=o.out) as scratch:
            demo.unpack(Path(scratch))
            folder.mkdir(exist_ok=True)
            for path in Path(scratch).iterdir():
                path.replace(folder / path.name)
        (folder / "done").touch()
    return folder


def prepared(o: argparse.Namespace, victim: Path, trigger: str, target: str, recipe_name: str):
    """The victim as a model, the clean pairs, and what it is measured on."""
    from clipclean import data
    from clipclean.config import recipe
    from clipclean.jobs import inputs
    from clipclean.train.loader import Samples

    files, chosen = demo_files(o), recipe.override(recipe.load(recipe_name), o.overrides)
    vocabulary = inputs.words(files / "classes.txt", files / "templates.txt")
    tested, pairs = inputs.load(victim, files / "clean.tar", chosen, arch=str(files / "tiny.json"), device="cpu")
    images = inputs.image_cache(chosen, tested.clip.architecture)
    labelled = data.labelled(files / "eval.tar", images=images, classes=vocabulary.classes)
    evidence = inputs.eval_set(
        tested.clip,
        chosen,
        Samples(labelled.pairs, labelled.labels),
        vocabulary=vocabulary,
        named=inputs.suspicions([trigger], target, vocabulary),
        panel=False,
    )
    return tested, pairs, evidence, chosen


def measure(o: argparse.Namespace, victim: Path, trigger: str, target: str) -> dict:
    from clipclean.jobs import inputs

    tested, _, evidence, _ = prepared(o, victim, trigger, target, RECIPES[0])
    return inputs.measure(tested.clip, evidence).record().as_json()


def clean(o: argparse.Namespace, victim: Path, planted: dict, recipe_name: str, seed: int, out: Path) -> dict:
    """Finetune with the recipe, keep the weights in ``out``, and measure the planted trigger again."""
    from clipclean.jobs import inputs, plant
    from clipclean.methods import training
    from clipclean.train.loader import Samples
    from clipclean.train.run import Run

    tested, pairs, evidence, chosen = prepared(o, victim, planted["trigger"], planted["target"], recipe_name)
    text_classifier = inputs.measure(tested.clip, evidence).text_classifier
    began = time.monotonic()
    run = Run(seed, "fp32", progress=lambda what, done, total: None)
    training.finetune(
        tested.clip, Samples(pairs.pairs, None), chosen, aims=training.Aims(text_classifier=text_classifier), run=run
    )
    seconds = time.monotonic() - began
    plant.write(out, tested)
    after = inputs.measure(tested.clip, evidence).record().as_json()
    return {
        "after": after,
        "recipe": recipe_name,
        "overrides": o.overrides,
        "seconds": seconds,
        "name": planted["name"],
    }


def numbers(measurements: dict) -> dict[str, float]:
    probe = measurements["probes"][0]
    return {
        "CA": measurements["clean_accuracy"]["value"],
        "ASR": probe["asr"]["value"],
        "excess": probe["excess_asr"]["value"],
        "PA": probe["accuracy_under_trigger"]["value"],
        "kNN": probe["knn_asr"]["value"],
        "distance": probe["distance"],
    }


def line(label: str, what: str, before: dict, after: dict) -> str:
    a, b = numbers(before), numbers(after)
    return f"{label:30} {what:40} " + " ".join(f"{key} {a[key]:.3f}>{b[key]:.3f}" for key in a)


def table(o: argparse.Namespace) -> str:
    """One row a trigger: means over the seeds, with the range; what a stranger checks the claim by."""
    rows = [
        "| victim | n seeds | CA unpoisoned → victim | recipe | ASR before → after | excess taken away | distance before → after | CA after (loss, points) | PA after |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    victims = {p: json.loads(p.read_text()) for p in sorted(o.out.glob("*.json")) if not p.name.endswith("clean.json")}
    chosen = {
        p: r for p, r in victims.items() if r["scratch"] == bool(o.victims) and (o.victims or r["seed"] in o.seeds)
    }
    for name in dict.fromkeys(r["name"] for r in chosen.values()):
        for recipe in o.recipes:
            found = [(r, o.out / f"{p.stem}-{recipe}-clean.json") for p, r in chosen.items() if r["name"] == name]
            cells = [(r, json.loads(cell.read_text())) for r, cell in found if cell.exists()]
            if cells:
                rows.append(row(name, recipe, cells))
    return "\n".join(rows)


def frontier(o: argparse.Namespace) -> str:
    """One row a point: what more learning rate and a larger lambda 2 take away, and what they cost."""
    rows = [
        "| trigger | train.lr | λ₂ | n seeds | excess ASR | distance | CA | CA lost, points | PA |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for lr, weight in FRONTIER:
        o_point, pairs = point(o, lr, weight), []
        for seed in o.seeds:
            stem = f"{o.frontier.replace(' ', '-')}-{seed}"
            cell = cell_of(o_point, stem, RECIPES[0])
            if cell.exists():
                planted = json.loads((o.out / f"{stem}.json").read_text())
                pairs.append((numbers(planted["after"]), numbers(json.loads(cell.read_text())["after"])))
        if pairs:
            mean = {key: statistics.mean(after[key] for _, after in pairs) for key in pairs[0][1]}
            lost = 100 * statistics.mean(before["CA"] - after["CA"] for before, after in pairs)
            rows.append(
                f"| {o.frontier} | {lr} | {weight} | {len(pairs)} | {mean['excess']:.3f} | {mean['distance']:.3f} "
                f"| {mean['CA']:.3f} | {lost:.1f} | {mean['PA']:.3f} |"
            )
    return "\n".join(rows)


def row(name: str, recipe: str, cells: list[tuple[dict, dict]]) -> str:
    before = [numbers(planted["after"]) for planted, _ in cells]
    after = [numbers(result["after"]) for _, result in cells]

    def spread(values: list[float], digits: int = 3) -> str:
        return f"{statistics.mean(values):.{digits}f} [{min(values):.{digits}f}, {max(values):.{digits}f}]"

    clean_ones = [numbers(planted["before"])["CA"] for planted, _ in cells if planted["before"]]
    unpoisoned = spread(clean_ones) if clean_ones else "not trained"

    def pooled(measurements: list[dict]) -> str:
        from clipclean.detect import Rate

        rates = [m["probes"][0]["asr"] for m in measurements]
        total = sum(rate["n"] for rate in rates)
        rate = Rate(round(sum(rate["value"] * rate["n"] for rate in rates)), total)
        return f"{rate.value:.3f} ({rate.interval[0]:.3f}–{rate.interval[1]:.3f}, n {total})"

    taken = [(b["excess"] - a["excess"]) / b["excess"] for b, a in zip(before, after, strict=True)]
    loss = [100 * (b["CA"] - a["CA"]) for b, a in zip(before, after, strict=True)]
    return (
        f"| {name} | {len(cells)} | {unpoisoned} → {spread([b['CA'] for b in before])} | {recipe} "
        f"| {pooled([p['after'] for p, _ in cells])} → {pooled([r['after'] for _, r in cells])} | {spread(taken)} "
        f"| {spread([b['distance'] for b in before])} → {spread([a['distance'] for a in after])} "
        f"| {spread([a['CA'] for a in after])} ({spread(loss, 1)}) | {spread([a['PA'] for a in after])} |"
    )


if __name__ == "__main__":
    main()
