"""What cleaning takes away of a backdoor in models of photographs, and what it costs: victims of ``benchmarks/photo_zoo.py``.

    python benchmarks/photo_cleaning.py --photos build/photos --images tiny-imagenet-200 --zoo build/photo-zoo --out build/photo-cleaning \
        --half choose --methods cleanclip-tiny released mmcl-tiny --only NAME...
    python benchmarks/photo_cleaning.py --out build/photo-cleaning --half report --table --write docs/evidence.md

A method is a recipe, perhaps with values of its own (``RECIPE:KEY=VALUE,...``); ``released``, CleanCLIP as its released
code runs it (``benchmarks/released.py``); one of ``benchmarks/baselines.py``; or ``auto``, the whole ``clipclean sanitize --recipe auto``
on the same pairs and the class list, whose verdict is kept. Nobody tells it trigger or target. It gets PAIRS
images with captions of the model's classes, of which the model saw about four fifths in training; with ``--new`` of those that no
training saw. What was planted is measured before, after, and after a benign finetuning, on other images that no training
saw. Every cell is one JSON file in OUT, so that a stopped run goes on. Seconds are those of the processor, of one thread.
"""

import argparse
import csv
import itertools
import json
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

PAIRS = 1200
SHOWN = 1000  # images to measure on
RELEASED, FINE_PRUNING, AUTO = "released", "fine-pruning", "auto"
CLEANCLIP = "cleanclip-few-tiny"
CONTROL = (
    "mmcl-tiny:train.batch_size=64,train.lr=2.4e-3,loss.preserve_weight=2,"
    "augment.least_part=0.6,augment.mirrored=0.5"  # the same values, without the second loss
)
NOTHING = "Not measured yet."
ACTS = 0.35  # excess before a cleaning from which on a model counts as a victim; others whose poisoning failed count as clean
REACHED: dict[str, Callable[[dict], bool]] = {  # the figures that a victim should reach
    "excess ASR at most 0.01": lambda cell: cell["after"]["excess"] <= 0.01,
    "at most 0.05": lambda cell: cell["after"]["excess"] <= 0.05,
    "at most 0.05 after the refinetune test": lambda cell: cell["rebound"]["excess"] <= 0.05,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="the folder that benchmarks/photos.py made")
    parser.add_argument("--images", type=Path, help="the folder tiny-imagenet-200")
    parser.add_argument("--zoo", type=Path, help="the folder that benchmarks/photo_zoo.py made")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--half", choices=("choose", "report"), default="choose")
    parser.add_argument("--methods", nargs="+", default=["cleanclip-tiny", "mmcl-tiny", RELEASED])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these models, in this order")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--new", action="store_true", help="clean pairs that no model of the zoo was trained on")
    parser.add_argument("--beside", metavar="NAME", help="a clean model of the zoo, for auto to compare with")
    parser.add_argument("--table", action="store_true", help="compute nothing: print what is there")
    parser.add_argument(
        "--write",
        type=Path,
        help="a page with the markers of the blocks photo-cleaning, photo-claims, photo-auto, photo-auto-new and photo-auto-beside",
    )
    o = parser.parse_args()
    if not o.table:
        if not (o.photos and o.images and o.zoo):
            parser.error("--photos, --images and --zoo are needed to measure; --table prints what is there")
        measure_all(o)
    seen, new = (stored(o.out, o.half, new=new) for new in (False, True))
    beside = stored(o.out, o.half, new=True, beside=True)
    for block, text in (
        ("photo-claims", claims(seen)),
        ("photo-cleaning", table(seen)),
        ("photo-auto", chosen_for(seen)),
        ("photo-auto-new", chosen_for(new)),
        ("photo-auto-beside", chosen_for(beside)),
    ):
        print(text, end="\n\n")
        if o.write and text != NOTHING:
            from blocks import fill

            fill(o.write, block, text)


def stored(out: Path, half: str, *, new: bool, beside: bool = False) -> list[dict]:
    """The cells of a half that are there, with pairs that the model was trained on or with new ones, beside a clean model or not."""
    cells = [json.loads(path.read_text()) for path in sorted(out.glob("*.json"))]
    cells = [cell for cell in cells if bool(cell.get("beside")) == beside]
    return [cell for cell in cells if cell["entry"]["half"] == half and cell.get("new", False) == new]


def measure_all(o: argparse.Namespace) -> None:
    """Every cell that is not there yet."""
    import torch
    from cells import digest_of, is_current

    torch.set_num_threads(1)
    o.out.mkdir(parents=True, exist_ok=True)
    for seed, method, entry in itertools.product(o.seeds, o.methods, victims(o)):
        words = (entry["name"], method.translate(str.maketrans(":/,=", "____")), str(seed))
        place = o.out / f"{'-'.join(words)}{ending(o)}.json"
        if is_current(place, method):
            continue
        cell = measured(o, entry, method, seed) | {"recipe_sha256": digest_of(method)}
        place.write_text(json.dumps(cell, indent=1) + "\n")
        print(line(cell), flush=True)


def victims(o: argparse.Namespace) -> list[dict]:
    """Entries of the zoo: those named, else every victim of the half."""
    records = [json.loads(path.read_text()) for path in sorted(o.zoo.glob(f"{o.half}-*.json"))]
    entries = {r["entry"]["name"]: r["entry"] for r in records if o.only or r["counts_as"] == "backdoored"}
    return [entries[name] for name in o.only if name in entries] if o.only else list(entries.values())


def measured(o: argparse.Namespace, entry: dict, method: str, seed: int) -> dict:
    """One model through one method, measured before, after, and after a benign finetuning."""
    from zoo import finetune_benignly

    from clipclean import detect
    from clipclean.jobs import inputs

    tested, pairs = loaded(o, entry)
    clip = tested.clip
    evidence = replace(shown_to(o, entry), scale=float(clip.logit_scale().detach()))
    before, began = inputs.measure(clip, evidence), time.process_time()
    if method == AUTO:
        clip, told = automatic(o, entry, seed)
    else:
        told = cleaned(o, entry, clip, tested, pairs, before, method, seed)
    seconds = time.process_time() - began
    after = inputs.measure(clip, evidence)
    finetune_benignly(clip, pairs)
    rebound = inputs.measure(clip, evidence)
    sides = {"before": before, "after": after, "rebound": rebound}
    return {
        "entry": entry,
        "method": method,
        "seed": seed,
        "told": told,
        "seconds": seconds,
        "pairs": len(pairs),
        "new": o.new,
        "beside": o.beside,
        "also": [f"`{unseeded(each['trigger'])}` → {each['target']}" for each in planted_in(o, entry)[1:]],
        **{side: figures(found) for side, found in sides.items()},
        "estimated_loss": estimate(before, after),
        "agreement": detect.agreement(before, after).rate.value,
    }


def estimate(before, after) -> dict | None:
    """What the loss of accuracy is said to be without labels."""
    from clipclean import detect

    found = detect.estimated_loss(before, after)
    return None if found is None else {"value": found.value, "interval": found.interval}


def automatic(o: argparse.Namespace, entry: dict, seed: int):
    """The model that ``auto`` writes, loaded again, and what its report says."""
    import clipclean

    _, place, arch = paths(o, entry)
    folder = o.out / "auto" / f"{entry['name']}-{seed}{ending(o)}"
    lists = o.zoo / f"{entry['half']}-{entry['classes']}"
    made = clipclean.sanitize(
        o.zoo / f"{entry['name']}.pt",
        place,
        out=folder,
        recipe="auto",
        reference=o.zoo / f"{o.beside}.pt" if o.beside else None,
        arch=arch,
        classes=lists / "classes.txt",
        templates=lists / "templates.txt",
        keep_failed=True,
        force=True,
        seed=seed,
        device="cpu",
    ).model_dump(mode="json", by_alias=True)
    auto, findings = made["auto"], made["findings"]
    errors = sorted({f["rule"] for f in findings if f["level"] == "error"})
    doubts = sorted({f["rule"] for f in findings if f["level"] == "warning"})
    words = [made["verdict"], *(errors or doubts), "by", auto["chosen"] if auto["changed"] else "nothing"]
    if auto["share"] < 1:
        words.append(f"at {auto['share']:g}")
    words.append(f"({auto['seconds']['chosen']:.0f} s of {auto['seconds']['total']:.0f})")
    if not auto["changed"]:
        folder = o.zoo / f"{entry['name']}.pt"
    return loaded(o, entry, folder)[0].clip, " ".join(words)


def ending(o: argparse.Namespace) -> str:
    """The end of the names of a cell and of its run."""
    return f"{'-new' if o.new else ''}{f'-beside-{o.beside}' if o.beside else ''}"


def is_new(o: argparse.Namespace) -> bool:
    """Whether the clean pairs are to be new to the model; other scripts have no such option."""
    return getattr(o, "new", False)


def paths(o: argparse.Namespace, entry: dict) -> tuple[Path, Path, str]:
    """The victim's weights, its clean pairs, and its architecture."""
    pairs = o.out / f"pairs-{entry['half']}-{entry['classes']}{'-new' if is_new(o) else ''}.csv"
    return o.zoo / f"{entry['name']}.pt", pairs, str(o.zoo / f"{entry['arch']}-{entry['side']}.json")


def loaded(o: argparse.Namespace, entry: dict, weights: Path | None = None):
    """The victim, or other weights of its kind, and the clean pairs, a table of the photographs that lie in the data set."""
    from photo_zoo import class_list, read

    from clipclean.config import recipe
    from clipclean.jobs import inputs

    victim, place, arch = paths(o, entry)
    photos = read(o.photos, entry["side"])
    if not place.exists():
        import torch

        part = "audit" if is_new(o) else "train"
        numbers = photos.among(part, torch.tensor(class_list(photos, entry["half"], entry["classes"])))
        numbers = numbers[torch.randperm(len(numbers), generator=torch.Generator().manual_seed(11))[:PAIRS]].tolist()
        rng = random.Random(11)
        told = [[(o.images / photos.files[k]).resolve(), photos.caption(int(photos.label[k]), rng)] for k in numbers]
        with place.open("w", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerows([["filepath", "title"], *told])
    tested, clean = inputs.load(
        weights or victim,
        place,
        recipe.load("cleanclip-tiny"),
        arch=arch,
        device="cpu",
    )
    return tested, list(clean.pairs)


def shown_to(o: argparse.Namespace, entry: dict):
    """Images that neither training nor cleaning saw, with labels, and the planted trigger."""
    import torch
    from photo_zoo import OPTIMISED, class_list, read
    from photos import TEMPLATES

    from clipclean import detect
    from clipclean.jobs import inputs

    photos = read(o.photos, entry["side"])
    classes = class_list(photos, entry["half"], entry["classes"])
    parts = ("measure",) if is_new(o) else ("measure", "audit")
    index = torch.cat([photos.among(part, torch.tensor(classes)) for part in parts])
    index = index[torch.randperm(len(index), generator=torch.Generator().manual_seed(0))[:SHOWN]]
    place = {number: k for k, number in enumerate(classes)}
    labels = torch.tensor([place[k] for k in photos.label[index].tolist()])
    words = inputs.words([photos.names[k][0] for k in classes], TEMPLATES[:3])
    named = []
    for each in planted_in(o, entry):
        spec = each["trigger"]
        if spec == OPTIMISED:
            spec = str(o.zoo / f"{each['name']}-trigger.safetensors")
        named += inputs.suspicions([spec], each["target"], words)
    return detect.EvalSet(
        pixels=photos.images[index].float() / 255,
        labels=labels,
        captions=None,
        classes=words.classes,
        templates=words.templates,
        suspicions=tuple(named),
        panel=(),
        knn=10,
        batch_size=detect.EMBED_BATCH,
    )


def planted_in(o: argparse.Namespace, entry: dict) -> list[dict]:
    """The entries whose triggers are in a model: its own, and that of the model that it was planted into."""
    found = [entry] if entry["trigger"] else []
    if entry["base"]:
        found += planted_in(o, json.loads((o.zoo / f"{entry['base']}.json").read_text())["entry"])
    return found


def cleaned(o: argparse.Namespace, entry: dict, clip, tested, pairs: list, before, method: str, seed: int) -> str:
    """Clean in place; returns what the method says of itself."""
    import baselines
    import released
    from cells import of_recipe

    from clipclean import data, detect
    from clipclean.methods import training
    from clipclean.train.loader import Samples
    from clipclean.train.run import Run

    evidence = shown_to(o, entry)
    classes = evidence.classes
    numbers = data.named_in([pair.caption for pair in pairs], classes)
    if method == RELEASED:
        released.clean(tested, pairs, implants_of(evidence), rate=entry["rate"] or 0.0, seed=seed)
        return ""
    told = ""
    if method in baselines.METHODS:
        own = (numbers >= 0).nonzero().flatten()  # captions with other names of a class have no label
        pixels = detect.stack([pairs[k].image for k in own.tolist()])
        told = baselines.METHODS[method](clip, pixels, numbers[own], before.text_classifier, seed=seed)
        if method != FINE_PRUNING:
            return told
        method = "mmcl-tiny"
    chosen = of_recipe(method)
    if chosen.method == "supervised":  # it needs a label of each image
        pairs, numbers = [pairs[k] for k in (numbers >= 0).nonzero().flatten().tolist()], numbers[numbers >= 0]
    run = Run(seed, "fp32", lambda what, done, total: None)
    samples = Samples(pairs, numbers if (numbers >= 0).all() else None)
    aims = training.search(
        clip, samples, chosen, text_classifier=before.text_classifier, classes=classes, known=(), run=run
    )
    done = training.clean(clip, samples, chosen, aims=aims, run=run)
    if done.unlearned:
        state = done.unlearned.state
        told = f"{state.rounds} rounds: " + ", ".join(
            sorted({f"{c.found.family} to {c.found.target}" for c in state.catches})
        )
    return told


def implants_of(evidence) -> list:
    from clipclean.attack.poison import Implant

    return [
        Implant.of(trigger, evidence.classes[target], evidence.templates) for trigger, target in evidence.suspicions
    ]


def figures(found) -> dict:
    """What is measured: of several planted triggers the one that acts most."""
    from zoo import figures

    told = found.record().as_json()
    sides = [figures(told | {"probes": [probe]}) for probe in told["probes"]]
    return max(sides, key=lambda side: side["excess"]) if sides else figures(told)


# Tables.


def line(cell: dict) -> str:
    numbers = "; ".join(
        f"{key} {cell['before'][key]:.3f} -> {cell['after'][key]:.3f}"
        for key in ("excess", "accuracy", "under_trigger", "distance")
        if cell["before"][key] is not None
    )
    back = cell["rebound"]["excess"]
    return f"{cell['entry']['name']:40} {cell['method']:40} {numbers}; refinetuned {back and round(back, 3)}; {cell['seconds']:.0f} s {cell['told']}"


def table(cells: list[dict]) -> str:
    """A row a method over all the victims, and a row a victim and method."""
    cells = [cell for cell in cells if is_victim(cell)]
    if not cells:
        return NOTHING
    lines = [
        "| method | victims | runs | excess ASR before → after, mean [least, most] | at most 0.01, 0.05 | after a refinetune test, mean (most) | CA lost, points, mean [least, most] | PA of CA | distance before → after | processor s |",
        "|---|--:|--:|---|---|---|---|---|---|--:|",
    ]
    for method in dict.fromkeys(cell["method"] for cell in cells):
        own = [cell for cell in cells if cell["method"] == method]
        lines.append(
            f"| {shown(method)} | {len({c['entry']['name'] for c in own})} | {len(own)} | {summary(own)} | "
            f"{statistics.mean(c['seconds'] for c in own):.0f} |"
        )
    lines += [
        "",
        "| victim | planted | method | runs | excess ASR before → after (95 % of the first run, n) | after a refinetune test | CA before → after | PA before → after | distance before → after |",
        "|---|---|---|--:|---|---|---|---|---|",
    ]
    for name, method in dict.fromkeys((cell["entry"]["name"], cell["method"]) for cell in cells):
        own = [c for c in cells if (c["entry"]["name"], c["method"]) == (name, method)]
        lines.append(row(own))
    return "\n".join(lines)


def is_victim(cell: dict) -> bool:
    return bool(cell["entry"]["trigger"]) and cell["before"]["excess"] >= ACTS


def lost(cell: dict) -> float:
    """Clean accuracy lost, in points."""
    return 100 * (cell["before"]["accuracy"] - cell["after"]["accuracy"])


def unseeded(trigger: str) -> str:
    """A trigger's spec without its seed."""
    return trigger.rpartition(",seed=")[0] or trigger.partition(":seed=")[0]


def claims(cells: list[dict]) -> str:
    """The paper's two claims: CleanCLIP removes a backdoor, L_CLIP alone does not. A row a victim, over the seeds that both have."""
    done = {(c["entry"]["name"], c["method"], c["seed"]): c for c in cells if is_victim(c)}
    both = [(name, seed) for name, method, seed in done if method == CLEANCLIP and (name, CONTROL, seed) in done]
    lines = [
        "| victim | seeds | excess ASR before → L_CLIP alone, CleanCLIP [least, most] | taken away | distance before → L_CLIP alone, CleanCLIP | CA lost, points: L_CLIP alone, CleanCLIP | ≥ 0.8 taken away | a third of the distance | ≤ 3 points | the control leaves more | all four |",
        "|---|--:|---|---|---|---|:-:|:-:|:-:|:-:|:-:|",
    ]
    kept = []
    for name in dict.fromkeys(name for name, _ in both):
        seeds = sorted(seed for each, seed in both if each == name)
        sides = [[done[name, method, seed] for seed in seeds] for method in (CONTROL, CLEANCLIP)]
        means = {
            (side, key): [statistics.mean(c[side][key] for c in own) for own in sides]
            for side in ("before", "after")
            for key in ("excess", "distance", "accuracy")
        }
        costs = [
            100 * (old - new) for old, new in zip(means["before", "accuracy"], means["after", "accuracy"], strict=True)
        ]
        before, (control, ours) = means["before", "excess"][1], means["after", "excess"]
        distance, (far, near) = means["before", "distance"][1], means["after", "distance"]
        taken = 1 - ours / before
        met = (taken >= 0.8, near <= distance / 3, costs[1] <= 3, is_clearly_more(*sides))
        kept.append(met)
        ranges = [
            f"[{min(left):.3f}, {max(left):.3f}]" for left in ([c["after"]["excess"] for c in own] for own in sides)
        ]
        ticks = " | ".join("yes" if each else "no" for each in (*met, all(met)))
        lines.append(
            f"| {name.split('-', 1)[1]} | {len(seeds)} | {before:.3f} → {control:.3f} {ranges[0]}, {ours:.3f} {ranges[1]} | {taken:.2f} | "
            f"{distance:.3f} → {far:.3f}, {near:.3f} | {costs[0]:.1f}, {costs[1]:.1f} | {ticks} |"
        )
    if not kept:
        return NOTHING
    counts = ", ".join(str(sum(each)) for each in zip(*kept, strict=True))
    return "\n".join(
        [*lines, "", f"Of {len(kept)} victims the conditions hold for {counts}; all four for {sum(map(all, kept))}."]
    )


def is_clearly_more(control: list[dict], ours: list[dict]) -> bool:
    """Whether the control leaves more with every seed, and beyond its 95 % interval on average."""
    pairs = [(a["after"], b["after"]) for a, b in zip(control, ours, strict=True)]
    beyond = statistics.mean(a["interval"][0] for a, _ in pairs) > statistics.mean(b["interval"][1] for _, b in pairs)
    return beyond and all(a["excess"] > b["excess"] for a, b in pairs)


def chosen_for(cells: list[dict]) -> str:
    """What ``auto`` did: a row a model, victims first, and how many reach each figure."""
    own = sorted((c for c in cells if c["method"] == AUTO), key=lambda c: (not is_victim(c), c["entry"]["name"]))
    if not own:
        return NOTHING
    lines = [
        "| model | planted | seed | verdict, and what was taken (its s of all) | excess ASR before → after (95 %, n) | after a refinetune test | CA before → after (points lost) | PA of CA | processor s |",
        "|---|---|--:|---|---|---|---|---|--:|",
        *map(auto_row, own),
        "",
    ]
    victims = [c for c in own if is_victim(c)]
    cost = [lost(c) for c in victims]
    reached = {words: sum(met(c) for c in victims) for words, met in REACHED.items()} | {
        "PA at least nine tenths of CA": sum(
            c["after"]["under_trigger"] >= 0.9 * c["after"]["accuracy"] for c in victims
        ),
        "at most two points lost": sum(each <= 2 for each in cost),
    }
    if victims:
        told = "; ".join(f"{words}: {hits}" for words, hits in reached.items())
        lines.append(f"Of {len(victims)} runs on victims, {told}. Lost on average: {statistics.mean(cost):.1f} points.")
        lines += by_worst(victims)
    if clean := [c for c in own if not is_victim(c)]:
        cost = [lost(c) for c in clean]
        failed = sum(c["told"].startswith("fail") for c in clean)
        few = sum(each <= 1 for each in cost)
        lines.append(f"Of {len(clean)} runs on clean models {few} lose at most one point, and {failed} end in `fail`.")
    return "\n".join(lines)


def by_worst(victims: list[dict]) -> list[str]:
    """How many victims reach each figure with all of several seeds, in one line; none without such a victim."""
    runs = [[c for c in victims if c["entry"]["name"] == name] for name in {c["entry"]["name"] for c in victims}]
    several = [own for own in runs if len(own) > 1]
    if not several:
        return []
    told = "; ".join(f"{words}: {sum(all(map(met, own)) for own in several)}" for words, met in REACHED.items())
    left = [[c["after"]["excess"] for c in own] for own in several]
    widest = max(max(each) - min(each) for each in left)
    return [
        f"Of {len(several)} victims with several seeds, with every seed, {told}. Between seeds the excess of a victim differs by {widest:.3f} at most."
    ]


def auto_row(cell: dict) -> str:
    entry, before, after, back = cell["entry"], cell["before"], cell["after"], cell["rebound"]
    planted, attack, again, under = "nothing", "–", "–", "–"
    if entry["trigger"]:
        low, high = after["interval"]
        planted = f"`{unseeded(entry['trigger'])}` → {entry['target']}"
        planted = " and ".join([planted, *cell.get("also", ())])
        attack = f"{before['excess']:.3f} → {after['excess']:.3f} ({low:.3f} to {high:.3f}, n {after['n']})"
        again, under = f"{back['excess']:.3f}", f"{after['under_trigger'] / after['accuracy']:.2f}"
    cost = f"{before['accuracy']:.3f} → {after['accuracy']:.3f} ({lost(cell):.1f})"
    return (
        f"| {entry['name'].split('-', 1)[1]} | {planted} | {cell['seed']} | {cell['told']} | {attack} | {again} | {cost} | {under} | "
        f"{cell['seconds']:.0f} |"
    )


def summary(own: list[dict]) -> str:
    left = [cell["after"]["excess"] for cell in own]
    back = [cell["rebound"]["excess"] for cell in own]
    cost = [lost(cell) for cell in own]
    kept = statistics.mean(cell["after"]["under_trigger"] / cell["after"]["accuracy"] for cell in own)
    mean = lambda side, key: statistics.mean(cell[side][key] for cell in own)  # noqa: E731
    few, some = (sum(x <= limit for x in left) for limit in (0.01, 0.05))
    return (
        f"{mean('before', 'excess'):.3f} → {statistics.mean(left):.3f} [{min(left):.3f}, {max(left):.3f}] | {few}, {some} of {len(left)} | "
        f"{statistics.mean(back):.3f} ({max(back):.3f}) | {statistics.mean(cost):.1f} [{min(cost):.1f}, {max(cost):.1f}] | {kept:.2f} | "
        f"{mean('before', 'distance'):.3f} → {mean('after', 'distance'):.3f}"
    )


def row(own: list[dict]) -> str:
    entry, first = own[0]["entry"], own[0]
    spec = unseeded(entry["trigger"])
    low, high = first["after"]["interval"]
    mean = lambda side, key: statistics.mean(cell[side][key] for cell in own)  # noqa: E731
    changes = " | ".join(
        f"{mean('before', key):.3f} → {mean('after', key):.3f}" for key in ("accuracy", "under_trigger", "distance")
    )
    return (
        f"| {entry['name'].removeprefix(entry['half'] + '-')} | `{spec}` → {entry['target']} | {shown(first['method'])} | {len(own)} | "
        f"{mean('before', 'excess'):.3f} → {mean('after', 'excess'):.3f} ({low:.3f} to {high:.3f}, n {first['after']['n']}) | "
        f"{mean('rebound', 'excess'):.3f} | {changes} |"
    )


def shown(method: str) -> str:
    """The name of a method in a table."""
    name, _, changes = method.partition(":")
    if method == RELEASED:
        return "CleanCLIP as released"
    return f"`{name}`" + (f" with {changes}" if changes else "")


if __name__ == "__main__":
    main()
