"""What cleaning takes away of a backdoor in models of photographs, and what it costs: victims of ``photo_zoo.py``.

    python benchmarks/photo_cleaning.py --photos build/photos --images tiny-imagenet-200 --zoo build/photo-zoo-long --out build/photo-cleaning \
        --half report --methods auto cleanclip released mmcl --only NAME... --seeds 0 1 2
    python benchmarks/photo_cleaning.py --photos build/photos --images tiny-imagenet-200 --zoo build/usual --out build/usual-cleaning --half report

A method is a recipe, perhaps with values of its own (``RECIPE:KEY=VALUE,...``); ``released``, CleanCLIP as its released
code runs it, or another one of ``benchmarks/others.py``; or ``auto``, the whole ``clipclean sanitize --recipe auto``, which gets the class
list, and whose verdict is kept. Nobody tells a method trigger or target. It gets PAIRS images with captions of the model's classes; what was planted is measured before, after, and after a benign
finetuning, on SHOWN others. No training saw any of them; where there are fewer, all are taken. Every cell is one JSON file in OUT, so
that a stopped run goes on; ``make tables`` makes the tables of the pages from those in ``benchmarks/results``. Seconds are those of the processor, of one thread.
"""

import argparse
import itertools
import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import common
import others
import torch
from photo_zoo import LARGE, OPTIMISED, PARTS, TEMPLATES, USUAL, Entry, class_list, pool_of, read

import clipclean
from clipclean import data, detect, model
from clipclean.attack import poison
from clipclean.config import recipe
from clipclean.config.methods import METHODS
from clipclean.data import Samples
from clipclean.jobs import measured_images, naming, opening, searching
from clipclean.methods import training
from clipclean.methods.unlearning import ShownTriggers
from clipclean.train import Run

PAIRS, SHOWN = 2000, 3000  # to clean with, images to measure on
USUAL_PAIRS, USUAL_SHOWN = 8000, 2000
ALONG, ALONG_STEPS = (
    (0.01, 0.03, 0.1, 0.3, 1.0),
    20,
)  # sizes of the weights that a benign finetuning has walked, steps to each
REFINETUNE = (100, 1.3)  # steps and walk of the benign finetuning after which a cleaned model is measured again
USUAL_REFINETUNE = (30, 0.06)  # the same there
BENIGN = 31  # its seed
RELEASED, FINE_PRUNING, AUTO = "released", "fine-pruning", "auto"
# Stored cells of earlier versions name methods as these did: a recipe at a scale, with a rate.
CLEANCLIP = "cleanclip@few"
CONTROL = (
    "mmcl@tiny:train.batch_size=64,train.lr=2.4e-3,train.moves=image tower,loss.preserve_weight=2,"
    "augment.least_part=0.6,augment.mirrored=0.5"  # the same values, without the second loss
)
# Of usual victims, by two trials of 60 steps on `planted`, of whose attack 1e-4 leaves 0.970, and 4e-4 0.231.
USUAL_VALUES = [f"train.lr=4e-4,train.epochs={epochs},train.warmup_steps=10" for epochs in (1, 2)]
EARLIER_CONTROL = CONTROL.replace("train.moves=image tower,", "")  # of cells from before the recipe moved one tower
# L_CLIP alone beside each CleanCLIP
CONTROLS = {CLEANCLIP: (CONTROL, EARLIER_CONTROL)}
CONTROLS |= {f"cleanclip@usual:{values}": (f"mmcl@usual:{values}",) for values in USUAL_VALUES}
SIDES = ("before", "after", "rebound")  # of a cleaning, and after the benign finetuning
NOTHING = "Not measured yet."
ACTS = 0.35  # excess before a cleaning from which on a model counts as a victim; others whose poisoning failed count as clean
REACHED: dict[str, Callable[[dict], bool]] = {  # the figures that a victim should reach
    "excess ASR at most 0.01": lambda cell: cell["after"]["excess"] <= 0.01,
    "at most 0.05": lambda cell: cell["after"]["excess"] <= 0.05,
    "returned at most 0.05": lambda cell: returned(cell) <= 0.05,
}
KEPT: dict[str, Callable[[dict], bool]] = {  # and what it should not cost
    "PA at least nine tenths of CA": lambda cell: cell["after"]["under_trigger"] >= 0.9 * cell["after"]["accuracy"],
    "at most one point lost": lambda cell: lost(cell) <= 1,
    "at most 2.5": lambda cell: lost(cell) <= 2.5,
}


def main() -> None:
    parser = common.parser(__doc__, "photos", "images", "zoo", "out", "only")
    parser.add_argument("--half", choices=("choose", "report"), default="choose")
    parser.add_argument("--methods", nargs="+", default=[AUTO])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--beside", help="clean model of the zoo that auto gets as a reference")
    parser.add_argument(
        "--along", action="store_true", help="measure what returns along a benign finetuning, of cells that are done"
    )
    o = parser.parse_args()
    torch.set_num_threads(1)
    o.out.mkdir(parents=True, exist_ok=True)
    if o.along:
        for place in sorted(o.out.glob("*.json")):
            cell = json.loads(place.read_text())
            if cell["method"] == AUTO and "along" not in cell:
                place.write_text(json.dumps(cell | {"along": along(o, cell)}, indent=1) + "\n")
                print(place.stem, json.loads(place.read_text())["along"], flush=True)
        return
    for seed, method, entry in itertools.product(o.seeds, o.methods, victims(o)):
        words = (entry["name"], method.translate(str.maketrans(":/,= ", "_____")), str(seed))
        place = o.out / f"{'-'.join(words)}{'-beside' if o.beside else ''}.json"
        if is_current(place, method):
            continue
        cell = measured(o, entry, method, seed) | {"recipe_sha256": digest_of(method)}
        place.write_text(json.dumps(cell, indent=1) + "\n")
        print(place.stem, *(round(cell[side]["excess"] or 0, 3) for side in SIDES), cell["told"], flush=True)
    cells = common.cells(o.out, o.half)
    print(claims(cells), table(cells), jobs(cells), sep="\n\n")


def victims(o: argparse.Namespace) -> list[dict]:
    """Entries of the zoo: those named, else every victim of the half."""
    mine = [r for r in common.cells(o.zoo, o.half) if o.only or r["counts_as"] == "backdoored"]
    entries = {r["entry"]["name"]: r["entry"] for r in mine}
    return [entries[name] for name in o.only if name in entries] if o.only else list(entries.values())


def measured(o: argparse.Namespace, entry: dict, method: str, seed: int) -> dict:
    """One model through one method, measured before, after, and after a benign finetuning."""
    tested, pairs = loaded(o, entry)
    clip, more = tested.clip, {}
    evidence = at_scale_of(clip, shown_to(o, entry))
    before, began = searching.measure(clip, evidence), time.process_time()
    if method == AUTO:
        clip, told, more = job(o, entry, seed)
        more["beside"] = o.beside
    else:
        told = cleaned(o, entry, clip, tested, pairs, before, method, seed)
    seconds = time.process_time() - began
    after, cleaned_weights = searching.measure(clip, evidence), model.copy_weights(clip)
    if method != AUTO and entry["trigger"]:  # of the default command, by --along
        more["along"] = excess_along(clip, pairs, evidence)
        model.put_weights(clip, cleaned_weights)
    finetune_benignly(clip, pairs, *(USUAL_REFINETUNE if entry["arch"] == USUAL else ()))
    sides = zip(SIDES, map(figures, (before, after, searching.measure(clip, evidence))), strict=True)
    numbers = {"seconds": seconds, "pairs": len(pairs), "images": len(evidence.images)}
    return {"entry": entry, "method": method, "seed": seed, "told": told, **numbers, **dict(sides), **more}


def job(o: argparse.Namespace, entry: dict, seed: int):
    """The model that ``clipclean sanitize`` writes, loaded again, what its report says, and the loss that it tells."""
    folder = job_folder(o, entry, seed, o.beside)
    weights, place, arch = paths(o, entry)
    more: dict[str, Any] = {"reference": [o.zoo / f"{o.beside}.pt"]} if o.beside else {}
    words = shown_to(o, entry).vocabulary
    given: dict[str, Any] = {"out": folder, "recipe": AUTO, "keep_failed": True, "force": True}
    given |= {"seed": seed, "device": "cpu", "arch": arch, "classes": words.classes, "templates": words.templates}
    made = clipclean.sanitize(weights, place, **given, **more).model_dump(mode="json", by_alias=True)
    lost = made["after"]["measurements"]["accuracy_lost"]
    written = folder if any(folder.glob("*.safetensors")) else None
    return loaded(o, entry, written)[0].clip, words_of(made), {"told_lost": lost and 100 * lost["value"]}


def words_of(report: dict) -> str:
    """The verdict of the default command, the findings that decided it, and the candidate that was written."""
    errors, doubts = (
        sorted({f["rule"] for f in report["findings"] if f["level"] == level}) for level in ("error", "warning")
    )
    words = [report["verdict"], *(errors or doubts), "by", report["auto"]["chosen"]]
    if way := report.get("cleaning"):
        words.append(f"at {way['share']:g}")
    return " ".join(words)


def along(o: argparse.Namespace, cell: dict) -> dict[str, float | None]:
    """The excess attack success of the weights that were written, at each point of one benign finetuning, by how far it has walked."""
    folder = job_folder(o, cell["entry"], cell["seed"], cell.get("beside"))
    tested, pairs = loaded(o, cell["entry"], folder if any(folder.glob("*.safetensors")) else None)
    evidence = at_scale_of(tested.clip, shown_to(o, cell["entry"]))
    return excess_along(tested.clip, pairs, evidence)


def excess_along(clip, pairs: list, evidence: detect.EvalSet) -> dict[str, float | None]:
    """The same of a model, which is finetuned in place."""
    walked, excess = 0.0, {}
    for walk in ALONG:
        finetune_benignly(clip, pairs, ALONG_STEPS, walk - walked)
        walked = walk
        excess[str(walk)] = figures(searching.measure(clip, evidence))["excess"]
    return excess


def job_folder(o: argparse.Namespace, entry: dict, seed: int, beside: str | None) -> Path:
    """Where the whole command wrote."""
    return o.out / "jobs" / f"{entry['name']}-{AUTO}-{seed}{'-beside' if beside else ''}"


def paths(o: argparse.Namespace, entry: dict) -> tuple[Path, Path, str]:
    """The victim's weights, its clean pairs, and its architecture."""
    pairs = o.out / f"pairs-{entry['arch']}-{entry['half']}-{entry['classes']}.csv"
    return o.zoo / f"{entry['name']}.pt", pairs, str(o.zoo / f"{entry['arch']}-{entry['side']}.json")


def loaded(o: argparse.Namespace, entry: dict, weights: Path | None = None, place: Path | None = None):
    """The victim, or other weights of its kind, and the pairs of a table, by default clean photographs that lie in the data set."""
    victim, clean_pairs, arch = paths(o, entry)
    place = place or clean_pairs
    if not place.exists():
        photos, rng = read(o.photos, entry["side"]), random.Random(11)
        numbers = pairs_of(photos, entry).tolist()
        told = [[(o.images / photos.files[k]).resolve(), photos.caption(int(photos.label[k]), rng)] for k in numbers]
        common.write(place, [["filepath", "title"], *told])
    opened = opening.read(weights or victim, arch=arch)
    clean = data.read(place, images=measured_images.image_cache(recipe.load("cleanclip"), opened.architecture))
    return opening.build(opened, clean, device="cpu"), list(clean.pairs)


def pairs_of(photos, entry: dict):
    """Numbers of the images of the clean pairs, none of which any model of the zoo was trained on."""
    numbers = photos.among("audit", torch.tensor(class_list(photos, entry["half"], entry["classes"])))
    drawn = torch.randperm(len(numbers), generator=torch.Generator().manual_seed(11))
    return numbers[drawn[: USUAL_PAIRS if entry["arch"] == USUAL else PAIRS]]


def others_of(o: argparse.Namespace, photos, entry: dict):
    """Numbers of images that neither the model, nor what it started from, nor the cleaning was trained on."""
    classes = torch.tensor(class_list(photos, entry["half"], entry["classes"]))
    if entry["arch"] == USUAL:
        seen = [photos.among("train", classes)]
    else:
        seen = [pool_of(Entry(**each), photos) for each in common.lineage(o.zoo, entry)]
    free = torch.cat([photos.among(part, classes) for part in PARTS])
    free = free[~torch.isin(free, torch.cat([*seen, pairs_of(photos, entry)]))]
    drawn = torch.randperm(len(free), generator=torch.Generator().manual_seed(0))
    return free[drawn[: USUAL_SHOWN if entry["arch"] == USUAL else SHOWN]]


def at_scale_of(clip, evidence: detect.EvalSet) -> detect.EvalSet:
    """The same at a model's own factor on cosines before a softmax."""
    return replace(evidence, plan=replace(evidence.plan, scale=float(clip.logit_scale().detach())))


def shown_to(o: argparse.Namespace, entry: dict) -> detect.EvalSet:
    """Images that neither training nor cleaning saw, with labels, and the planted trigger."""
    photos = read(o.photos, entry["side"])
    classes, index = class_list(photos, entry["half"], entry["classes"]), others_of(o, photos, entry)
    labels = (photos.label[index][:, None] == torch.tensor(classes)).nonzero()[:, 1]  # places among the classes
    words, named = naming.read_vocabulary([photos.names[k][0] for k in classes], TEMPLATES[:3]), []
    for each in common.lineage(o.zoo, entry):  # its own trigger, and that of the model that it was planted into
        spec = each["trigger"]
        if spec is None:
            continue
        if spec == OPTIMISED:
            spec = str(o.zoo / f"{each['name']}-trigger.safetensors")
        named += naming.suspicions([spec], each["target"], words)
    images = detect.CleanImages(photos.images[index].float() / 255, labels, knn=10)
    return detect.EvalSet(images, words, detect.MeasurementPlan(tuple(named)))


def cleaned(o: argparse.Namespace, entry: dict, clip, tested, pairs: list, before, method: str, seed: int) -> str:
    """Clean in place; returns what the method says of itself."""
    evidence = shown_to(o, entry)
    classes = evidence.vocabulary.classes
    numbers = data.classes_in([pair.caption for pair in pairs], classes)
    if method == RELEASED:
        others.released(tested, pairs, implants_of(evidence), rate=entry["rate"] or 0.0, seed=seed)
        return ""
    told = ""
    if method in others.METHODS:
        own = (numbers >= 0).nonzero().flatten()  # captions with other names of a class have no label
        pixels = detect.stack([pairs[k].image for k in own.tolist()])
        told = others.METHODS[method](clip, pixels, numbers[own], before.text_classifier.to(clip.device), seed=seed)
        if method != FINE_PRUNING:
            return told
        method = "mmcl"
    chosen = of_recipe(method)
    if chosen.method == "supervised":  # it needs a label of each image
        pairs, numbers = [pairs[k] for k in (numbers >= 0).nonzero().flatten().tolist()], numbers[numbers >= 0]
    run = Run(seed, "auto" if entry["arch"] == USUAL else "fp32", lambda what, done, total: None)
    samples = Samples(pairs, numbers if (numbers >= 0).all() else None)
    classifier = before.text_classifier.to(clip.device)
    aims = training.aims_of(
        clip, samples, chosen, text_classifier=classifier, classes=classes, triggers=ShownTriggers(), run=run
    )
    done = training.train_by_method(clip, samples, chosen, aims=aims, run=run)
    if done.unlearned:
        state = done.unlearned.state
        caught = sorted({f"{c.inverted.family} to {c.inverted.target}" for c in state.recovered})
        told = f"{state.rounds} rounds: {', '.join(caught)}"
    return told


def implants_of(evidence) -> list:
    words = evidence.vocabulary
    return poison.implants(evidence.plan.suspicions, classes=words.classes, templates=words.templates)


def figures(found) -> dict:
    """Clean accuracy, and what the planted trigger does; of several the one that acts most."""
    told = found.record().as_json()
    return max((side(told, probe) for probe in told["probes"] or [None]), key=lambda side: side["excess"])


def side(told: dict, probe: dict | None) -> dict:
    """The same of one trigger, or of none."""
    return {
        "accuracy": told["clean_accuracy"]["value"],
        "excess": probe and probe["excess_asr"]["value"],
        "interval": probe and probe["excess_asr"]["interval"],
        "n": probe and probe["asr"]["n"],
        "under_trigger": probe and probe["accuracy_under_trigger"]["value"],
        "distance": probe and probe["distance"],
    }


def finetune_benignly(clip, pairs: list, steps: int = REFINETUNE[0], walk: float = REFINETUNE[1]) -> None:
    """Go on training on clean pairs, in place, as whoever deploys the model might."""
    control = recipe.load("mmcl")
    planting = recipe.planting(steps=steps, batch_size=128, walk=walk)
    run = Run(BENIGN, control.train.precision, lambda what, done, total: None)
    poison.finetune(clip, pairs, control, planting, implants=(), run=run)


def of_recipe(method: str, /):  # -> Recipe
    """The recipe that a method names, with its changes."""
    name, _, changes = method.partition(":")
    return recipe.override(recipe.load(name), changes.split(",") if changes else [])


def digest_of(method: str, /) -> str | None:
    """The digest of a method's values; None of one that is no recipe of now, or chooses among recipes."""
    name = method.partition(":")[0]
    if name not in recipe.names() and ".yaml" not in name:
        return None
    named = of_recipe(method)
    return None if METHODS[named.method].chooses else recipe.digest(named)


def is_current(place: Path, method: str, /) -> bool:
    """Whether a file has a cell of the method as it is now; one that does not name its values counts."""
    return place.exists() and json.loads(place.read_text()).get("recipe_sha256") in (None, digest_of(method))


# Tables.


def table(cells: list[dict]) -> str:
    """A row a method, over all the victims."""
    cells = [cell for cell in cells if is_victim(cell) and cell["method"] != AUTO]
    if not cells:
        return NOTHING
    lines = [
        "| method | victims, runs | excess ASR before → after | at most 0.05 | returned (most) | CA lost, points | PA of CA | processor s |",
        "|---|--:|---|--:|---|---|--:|--:|",
    ]
    for name in dict.fromkeys(shown(cell["method"]) for cell in cells):
        own = [cell for cell in cells if shown(cell["method"]) == name]
        count = f"{len({c['entry']['name'] for c in own})}, {len(own)}"
        lines.append(f"| {name} | {count} | {summary(own)} | {mean(c['seconds'] for c in own):.0f} |")
    return "\n".join(lines)


def papers(cells: list[dict]) -> str:
    """The paper's table of one victim: before, by L_CLIP alone, by CleanCLIP, and each after the refinetune test."""
    names = {"mmcl": "L_CLIP alone (`mmcl`)", "cleanclip": "CleanCLIP (`cleanclip`)"}
    by_method = {cell["method"]: cell for cell in cells}
    sides = [("before", next(iter(by_method.values()))["before"])]
    for method, name in names.items():
        sides += [(name, by_method[method]["after"]), (f"{name}, refinetuned", by_method[method]["rebound"])]
    rows = [
        [
            name,
            f"{side['accuracy']:.3f}",
            f"{side['excess']:.3f}",
            f"{side['under_trigger']:.3f}",
            f"{side['distance']:.2f}",
        ]
        for name, side in sides
    ]
    return common.table([["model", "CA", "excess ASR", "PA", "distance of embeddings"], *rows])


def is_victim(cell: dict) -> bool:
    return bool(cell["entry"]["trigger"]) and cell["before"]["excess"] >= ACTS


def lost(cell: dict) -> float:
    """Clean accuracy lost, in points."""
    return 100 * (cell["before"]["accuracy"] - cell["after"]["accuracy"])


def claims(cells: list[dict]) -> str:
    """The paper's two claims: CleanCLIP removes a backdoor, L_CLIP alone does not. A row a victim, over the seeds that both have."""
    done = {(c["entry"]["name"], c["method"], c["seed"]): c for c in cells if is_victim(c)}
    both: dict[tuple[str, str], list[tuple[dict, dict]]] = {}
    for (name, method, seed), ours in done.items():
        controls = [done[name, each, seed] for each in CONTROLS.get(method, ()) if (name, each, seed) in done]
        if controls:
            both.setdefault((name, method), []).append((controls[0], ours))
    ways = "L_CLIP alone, CleanCLIP"
    head, body, kept = ["victim", f"excess ASR before → {ways}", f"CA lost, points: {ways}", "holds"], [], []
    for (name, method), seeds in both.items():
        control, ours = sides = [[pair[k] for pair in seeds] for k in (0, 1)]
        before, taken_from = (mean(c["before"][key] for c in ours) for key in ("distance", "excess"))
        left, near = (mean(c["after"][key] for c in ours) for key in ("excess", "distance"))
        costs = [mean(map(lost, side)) for side in sides]
        met = (1 - left / taken_from >= 0.8, near <= before / 3, costs[1] <= 3, is_clearly_more(control, ours))
        kept.append(met)
        victim = name.removeprefix("report-") + (f", {method.partition(':')[2]}" if ":" in method else "")
        attack = ", ".join(spread([c["after"]["excess"] for c in side]) for side in sides)
        holds = " ".join(str(number) for number, each in enumerate(met, 1) if each) or "none"
        body.append([victim, f"{taken_from:.3f} → {attack}", f"{costs[0]:.1f}, {costs[1]:.1f}", holds])
    if not kept:
        return NOTHING
    counts = ", ".join(str(sum(each)) for each in zip(*kept, strict=True))
    runs = sum(map(len, both.values()))
    told = f"Of {len(kept)} victims ({runs} runs) the claims hold for {counts}; all four for {sum(map(all, kept))}."
    return f"{common.table([head, *body])}\n\n{told}"


def spread(values: list[float], digits: int = 3) -> str:
    """The mean of several values, with the least and the largest."""
    middle, low, high = (f"{each:.{digits}f}" for each in (mean(values), min(values), max(values)))
    return f"{middle} [{low}, {high}]" if len(values) > 1 else middle


def is_clearly_more(control: list[dict], ours: list[dict]) -> bool:
    """Whether the control leaves more with every seed, and beyond its 95 % interval on average."""
    pairs = [(a["after"], b["after"]) for a, b in zip(control, ours, strict=True)]
    beyond = mean(a["interval"][0] for a, _ in pairs) > mean(b["interval"][1] for _, b in pairs)
    return beyond and all(a["excess"] > b["excess"] for a, b in pairs)


def jobs(cells: list[dict]) -> str:
    """What ``sanitize`` did, told nothing: a row a model, victims first, and how many reach each figure."""
    own = [c for c in cells if c["method"] == AUTO]
    own.sort(key=lambda c: (not is_victim(c), c["entry"]["name"], c["seed"]))
    if not own:
        return NOTHING
    head = ["model", "seeds", "excess ASR before → after", "returned (most)", "CA lost, points", "PA of CA"]
    names = dict.fromkeys(c["entry"]["name"] for c in own)
    rows = [job_row([c for c in own if c["entry"]["name"] == name]) for name in names]
    return f"{common.table([head, *rows])}\n\n{reached_by(own)}"


def runs_of_now(cells: list[dict]) -> str:
    """What the default of now did, told nothing: a row a model, victims first, and how many runs reach each figure."""
    own = sorted(cells, key=lambda c: (not is_victim(c), c["entry"]["name"], bool(c.get("beside")), c["seed"]))
    rows = [list(runs) for _, runs in itertools.groupby(own, key=lambda c: (c["entry"]["name"], bool(c.get("beside"))))]
    head = ["model", "poison", "excess ASR before → after", "returned at most", "CA lost, points (told)", "PA of CA"]
    head += ["verdict, by", "processor s"]
    return f"{common.table([head, *map(runs_row, rows)])}\n\n{reached_by(own)}"


def along_the_way(cell: dict) -> float:
    """The most that was there at any measured point of a benign finetuning, after its first step."""
    return max([*cell.get("along", {}).values(), *([cell["rebound"]["excess"]] if "rebound" in cell else [])])


def returned(cell: dict) -> float:
    """The most that was there from the cleaned weights to the end of a benign finetuning."""
    return max(cell["after"]["excess"], along_the_way(cell))


def is_large(cell: dict) -> bool:
    return cell["entry"]["arch"] in LARGE


def runs_row(runs: list[dict]) -> list[str]:
    """The runs of the default on one model, a seed each."""
    entry, attack, back, under = runs[0]["entry"], "–", "–", "–"
    if entry["trigger"]:
        left = spread([cell["after"]["excess"] for cell in runs])
        if len(runs) == 1:
            left += " ({:.3f} to {:.3f})".format(*runs[0]["after"]["interval"])
        attack = f"{runs[0]['before']['excess']:.3f} → {left}"
        back = f"{max(map(returned, runs)):.3f}"
        under = f"{mean(cell['after']['under_trigger'] / cell['after']['accuracy'] for cell in runs):.2f}"
    name = entry["name"].replace("resnet-10-", "").removeprefix("report-").removesuffix("-1")
    name += ", beside a clean model" if runs[0].get("beside") else ""
    name += f", {len(runs)} seeds" if len(runs) > 1 else ""
    known = [cell["told_lost"] for cell in runs if cell["told_lost"] is not None]
    told = spread(known, 1) if known else "–"
    ends = Counter(f"{cell['told'].split()[0]}, {chosen(cell)}" for cell in runs)
    words = "; ".join(f"{end} ({count})" if len(ends) > 1 else end for end, count in ends.items())
    seconds = mean(cell["seconds"] for cell in runs)
    poison = f"{100 * entry['rate']:g} %" if entry["rate"] else "–"
    cost = f"{spread(list(map(lost, runs)), 1)} ({told})"
    return [name, poison, attack, back, cost, under, words, f"{seconds:.0f}"]


def chosen(cell: dict) -> str:
    """The candidate whose weights were written, in short."""
    _, _, by = cell["told"].partition(" by ")
    return re.sub(r"\(.*?\)", "(…)", by)


def reached_by(own: list[dict]) -> str:
    """How many of these runs reach each figure."""
    verdicts = Counter(c["told"].partition(" ")[0] for c in own)
    lines = [f"Verdicts: {', '.join(f'{word} {count}' for word, count in verdicts.items())}."]
    victims = [c for c in own if is_victim(c)]
    cost = [lost(c) for c in victims]
    if victims:
        told = "; ".join(f"{words}: {sum(map(met, victims))}" for words, met in (REACHED | KEPT).items())
        lines.append(f"Of {len(victims)} runs on victims, {told}. Lost on average: {mean(cost):.1f} points.")
        lines += by_worst(victims)
    if clean := [c for c in own if not is_victim(c)]:
        failed = sum(c["told"].startswith("fail") for c in clean)
        few = f"{sum(lost(c) <= 0.5 for c in clean)} lose at most half a point"
        lines.append(f"Of {len(clean)} runs on clean models {few}, and {failed} end in `fail`.")
    if known := [c for c in own if c.get("told_lost") is not None]:
        near = f"in {sum(abs(c['told_lost'] - lost(c)) <= 1 for c in known)} of {len(known)} runs"
        lines.append(f"The loss that the report tells is within one point of that on the other images {near}.")
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
    ending = f"Between seeds the excess of a victim differs by {widest:.3f} at most."
    return [f"Of {len(several)} victims with several seeds, with every seed, {told}. {ending}"]


def job_row(runs: list[dict]) -> list[str]:
    """A model with all its seeds; of several planted triggers the one that acts most."""
    entry, attack, under = runs[0]["entry"], ("–", "–"), "–"
    if entry["trigger"]:
        attack, under = left_by(runs), f"{kept_by(runs):.2f}"
    name = re.sub("report-|resnet-10-|planted-|-1$", "", entry["name"])
    return [name, str(len(runs)), *attack, spread([lost(c) for c in runs], 1), under]


def left_by(own: list[dict]) -> tuple[str, str]:
    """Cells of what is left of an attack, of a single run with its 95 % interval, and of what returns."""
    back = list(map(along_the_way, own))
    after = spread([c["after"]["excess"] for c in own])
    if len(own) == 1:
        after += " ({:.3f} to {:.3f})".format(*own[0]["after"]["interval"])
    return f"{mean(c['before']['excess'] for c in own):.3f} → {after}", f"{mean(back):.3f} ({max(back):.3f})"


def kept_by(own: list[dict]) -> float:
    """Accuracy under the trigger, as a share of clean accuracy."""
    return mean(c["after"]["under_trigger"] / c["after"]["accuracy"] for c in own)


def summary(own: list[dict]) -> str:
    attack, back = left_by(own)
    some = sum(c["after"]["excess"] <= 0.05 for c in own)
    return f"{attack} | {some} of {len(own)} | {back} | {spread([lost(c) for c in own], 1)} | {kept_by(own):.2f}"


def shown(method: str) -> str:
    """The name of a method in a table."""
    name, _, changes = method.partition(":")
    if method == RELEASED:
        return "CleanCLIP as released"
    if method in CONTROLS[CLEANCLIP]:
        return f"L_CLIP alone, values of `{CLEANCLIP}`"
    return f"`{name}`" + (f" with {changes.replace('train.', '').replace(',', ', ')}" if changes else "")


if __name__ == "__main__":
    main()
