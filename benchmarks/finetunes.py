"""A zoo of finetunes, clean and planted, of four bases: what ``--base`` makes of each, by a plan that is committed before them.

    python benchmarks/finetunes.py --photos build/photos --images build/IMagenet/tiny-imagenet-200 --zoo build/sealed build/large \\
        --out build/finetunes [--plan benchmarks/finetunes-sealed.csv] [--minutes N]

``finetunes.csv`` is the plan: two ResNets of 6 million parameters, of 10 and 20 classes, a ViT of 4 million, and a ResNet of 58 million. A
base that lies in one of the folders of ``--zoo`` is taken from there, another is trained. Of each small base six clean finetunes (the whole
model, few and many steps, its last layers, changes of low rank, images of other classes as well) and eight planted ones, of as many
families, at 2 to 20 % of the images; of the large one two of each. Ones that learned 20 classes more, which they are then asked for, came
later: two clean and four planted ones of each small base, and two planted ones of the ViT that choose. A trigger that hardly acts is
planted for further rounds, or the model counts for neither side.

Each finetune is audited once beside its base, whose search for its own classes is stored (``clipclean references build``), and two of each base alone, for the
time; clean and planted ones in turn. Planted ones are cleaned by the default of ``sanitize`` beside the base, with labelled images, those of
turn 2 after all else; what was planted is measured on other unseen images before, after, and along a benign finetuning. The half
``choose`` may change the rule, ``report`` may not. Searches are kept: without OUT/base every audit is judged again by what they found. A
stopped run goes on; ``--minutes`` begins nothing later. ``results/finetunes.csv`` has a row for each model of the plan, with empty cells
for what is not measured.

``finetunes-sealed.csv`` is a second plan: two new bases, and finetunes that were trained when the rule was frozen, each audited and cleaned once.

``--known`` audits and cleans nothing: each model is compared with its base by known triggers alone (``clipclean compare --base``), in seconds.
``results/finetunes-known.csv`` has what the strongest of them does that does not act on the base.
"""

import argparse
import functools
import itertools
import json
import multiprocessing
import os
import random
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import audit
import common
import photo_cleaning
import photo_zoo
import sealed
import sealed_cleaning
import torch
from open_clip.model import CLIP
from torch import Tensor, nn
from torch.nn.utils import parametrize

from clipclean import checkpoint, files, requests
from clipclean.config.thresholds import ACTING_SHARE_ON_BASE, FAILING_LIFT, Thresholds
from clipclean.detect import references
from clipclean.jobs import build_references, compare

PLAN, RESULTS = Path(__file__).with_suffix(".csv"), common.RESULTS / "finetunes.csv"
SEALED = common.RESULTS / "finetunes-sealed.csv"  # of the plan with this name
RANK = 4  # of what a finetune of low rank adds to each matrix
MORE_CLASSES = "more-classes"  # finetunes that learn others as well, which are then among the classes that they are for
LAST = ("visual.layer4.", "visual.attnpool.", "visual.ln_post.", "visual.proj", "text_projection")
ENDS = (".attn.in_proj_weight", ".weight")  # of the names of matrices that low rank changes
COLUMN, ALONE = "base", "alone"  # audits beside the base, and without it
KNOWN = common.RESULTS / "finetunes-known.csv"
KNOWN_HEAD = (
    *("name", "half", "kind", "counts_as", "target", "lifts", "lead", "is_over_base"),
    *("turns_into", "trigger", "own", "on_base", "surely_more", "revision"),
)
FIRST = "seconds"  # the folder of what the first audit of each took
SANITIZED = "cleaning"  # the folder of what was cleaned

Row = dict[str, str]


@dataclass(frozen=True)
class Entry(sealed.Entry):
    """One model of the plan; a finetune is compared with its base."""

    half: str  # choose, report, sealed
    way: str | None  # what trains; None of a base
    turn: int | None  # in which of two turns it is cleaned
    base_seed: int | None


def main() -> None:
    parser = common.parser(__doc__, "photos", "images", "out", "only")
    parser.add_argument("--zoo", type=Path, nargs="*", default=[], help="folders in which bases may lie")
    parser.add_argument("--plan", type=Path, default=PLAN, help="the models, a file of this folder")
    parser.add_argument("--known", action="store_true", help="compare by known triggers alone")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin nothing after so many")
    o = parser.parse_args()
    began = time.monotonic()
    torch.set_num_threads(1)
    o.out.mkdir(parents=True, exist_ok=True)
    os.environ["CLIPCLEAN_STATE"] = str((o.out / "state").absolute())
    every = plan(o.plan)
    if o.known:
        by_known_triggers(o, every)
        return
    with multiprocessing.get_context("spawn").Pool(1, audit.searches_are_kept, (o.out,)) as pool:
        for step in steps(o, every, pool.apply):
            if time.monotonic() - began > 60 * o.minutes:
                print("the time is over", flush=True)
                break
            if words := step():
                print(words, flush=True)
            common.write(common.RESULTS / o.plan.name, rows(o.out, every))


def plan(path: Path = PLAN, /) -> list[Entry]:
    """The models, each base before its finetunes, which have its data and architecture."""
    models: dict[str, Entry] = {}
    for values in sealed.planned(path):
        base = models.get(values["base"])
        shared = ("classes_of", "source", "arch", "side", "classes", "normalisation")
        own = {name: getattr(base, name) for name in shared} if base else {}
        if base and values["way"] == MORE_CLASSES:
            own |= {"classes_of": f"{base.classes_of}+{values['seed']}", "classes": base.classes + sealed.OTHERS}
        entry = Entry(**values | own, reference=values["base"], base_seed=base.seed if base else None)
        models[entry.name] = entry
    return list(models.values())


def steps(o: argparse.Namespace, every: Sequence[Entry], apart: Callable[..., str], /) -> Iterator[Callable[[], str]]:
    """What there is to do, base after base: train, audit, clean; then the cleanings of the second turn. Audits run ``apart``."""
    for base in (entry for entry in every if entry.kind == "base"):
        mine = [entry for entry in every if entry.base == base.name and (o.only is None or entry.name in o.only)]
        if not mine:
            continue
        yield functools.partial(made, o, base)
        yield functools.partial(stored, o.out, base)
        for entry in in_turn(mine):
            yield functools.partial(made, o, entry)
            yield functools.partial(apart, audited, (o.out, entry))
        for kind in ("clean", "planted"):
            yield functools.partial(apart, alone, (o.out, [entry for entry in mine if entry.kind == kind]))
        yield from (functools.partial(cleaned, o, entry) for entry in mine if entry.turn == 1)
    named = [entry for entry in every if o.only is None or entry.name in o.only]
    yield from (functools.partial(cleaned, o, entry) for entry in named if entry.turn == 2)


def by_known_triggers(o: argparse.Namespace, every: Sequence[Entry], /) -> None:
    """Train what is not there, and compare each finetune with its base by known triggers alone; the rows that are there are kept."""
    lines = {row["name"]: row for row in common.records(KNOWN)} if KNOWN.exists() else {}
    by_name = {entry.name: entry for entry in every}
    for entry in in_turn([entry for entry in every if entry.base and (o.only is None or entry.name in o.only)]):
        for model in (by_name[entry.base], entry):
            if words := made(o, model):
                print(words, flush=True)
        if entry.name not in lines:
            lines[entry.name] = under_known(o.out, entry)
            print(json.dumps(lines[entry.name]), flush=True)
            common.write(KNOWN, [KNOWN_HEAD, *([row[name] for name in KNOWN_HEAD] for row in lines.values())])


def under_known(out: Path, entry: Entry, /) -> Row:
    """The row of a finetune beside its base under known triggers: the class that they lift, and what the strongest does on it alone."""
    request = requests.Compare(
        out / f"{entry.name}.pt", base=out / f"{entry.base}.pt", **sealed.audit_options(out, entry), device="cpu"
    )
    base = compare.compare_with_base(request).base
    alone = [known for known in base.differences if known.base.value < ACTING_SHARE_ON_BASE]
    first = max(alone, key=lambda known: known.interval[0])
    record = sealed.record(out, entry)
    cells = {"name": entry.name, "half": entry.half, "kind": entry.kind, "counts_as": record and record["counts_as"]}
    cells |= {"target": record and record["target"], "lifts": base.lift.target, "lead": base.lift.lead}
    cells |= {"is_over_base": base.lift.is_over_base, "turns_into": first.target, "trigger": first.trigger}
    cells |= {
        "own": first.own.value,
        "on_base": first.base.value,
        "surely_more": first.interval[0],
        "revision": sealed.revision(),
    }
    return {name: str(shown(value)) for name, value in cells.items()}


def in_turn(finetunes: Sequence[Entry], /) -> list[Entry]:
    """Clean and planted ones in turn, so that a run that is stopped has some of both."""
    kinds = [[entry for entry in finetunes if entry.kind == kind] for kind in ("planted", "clean")]
    return [entry for pair in itertools.zip_longest(*kinds) for entry in pair if entry]


# Models.


def made(o: argparse.Namespace, entry: Entry, /) -> str:
    """Train one model, or take a base from where it lies, and measure it; says what it does."""
    if sealed.record(o.out, entry):
        return ""
    places = [folder / f"{entry.name}.pt" for folder in o.zoo if entry.kind == "base"]
    place = next((place for place in places if place.exists()), None)
    train = functools.partial(taken, place) if place else functools.partial(finetuned, o)
    record = sealed.make(entry, o.photos, o.images, o.out, train=train)
    return json.dumps({"name": entry.name, **{key: record[key] for key in ("measured", "counts_as", "rounds")}})


def taken(place: Path, entry: Entry, data: sealed.Data, _out: Path, /) -> tuple[CLIP, dict, int]:
    """A base from another zoo, measured again."""
    model = sealed.built(entry, place.parent)
    model.load_state_dict(checkpoint.read(place).tensors)
    return model, photo_zoo.measure(model, data.photos, list(range(len(data.classes))), None, None), 1


def finetuned(o: argparse.Namespace, entry: Entry, data: sealed.Data, out: Path, /) -> tuple[CLIP, dict, int]:
    """A model as its entry says."""
    way = WAYS.get(entry.way, sealed.nullcontext)
    if entry.way not in ("other-data", MORE_CLASSES):
        return sealed.trained(entry, data, out, way=way)
    if entry.way == MORE_CLASSES:
        of_base = replace(entry, classes_of=entry.classes_of.partition("+")[0], classes=entry.classes - sealed.OTHERS)
        _, pool = with_others(o, entry, sealed.data_of(of_base, o.photos, o.images, o.out))
    else:
        data, pool = with_others(o, entry, data)
    return sealed.trained(entry, data, out, pool=pool, way=way)


def with_others(o: argparse.Namespace, entry: Entry, data: sealed.Data, /) -> tuple[sealed.Data, Tensor]:
    """The images with those of other classes, and the numbers that train: what the base did not see of its classes as often as others."""
    raw, own = photo_zoo.read(o.photos, entry.side), data.photos
    mine = [k for k, names in enumerate(raw.names) if names[0] in data.classes]
    numbers = sealed.others(raw, mine, random.Random(entry.seed))
    label = own.label.clone()
    for place, number in enumerate(numbers, len(own.names)):
        label[raw.label == number] = place
    mine = own.among("train", torch.arange(len(own.names)))
    unseen = mine[~torch.isin(mine, sealed.pool_of(data, entry.base_seed))]
    photos = replace(own, names=[*own.names, *(raw.names[k] for k in numbers)], label=label)
    new = photos.among("train", torch.arange(len(own.names), len(photos.names)))
    return replace(data, photos=photos), torch.cat([unseen.repeat(max(1, len(new) // len(unseen))), new])


@contextmanager
def last_layers(model: CLIP, /) -> Iterator[None]:
    """Nothing but the last part of both towers trains."""
    last = (
        f"visual.transformer.resblocks.{model.visual.transformer.layers - 1}."
        if hasattr(model.visual, "transformer")
        else LAST[0]
    )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith((*LAST, last)))
    yield
    model.requires_grad_(True)


class LowRank(nn.Module):
    """Adds a product of two narrow matrices to a weight."""

    def __init__(self, weight: Tensor, /) -> None:
        super().__init__()
        rows, columns = weight.flatten(1).shape
        self.up = nn.Parameter(weight.new_zeros(rows, RANK))
        self.down = nn.Parameter(torch.randn(RANK, columns).to(weight) / columns**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        """The changed weight."""
        return weight + (self.up @ self.down).view_as(weight)


@contextmanager
def low_rank(model: CLIP, /) -> Iterator[None]:
    """Nothing trains but what is added to each matrix of linear and convolutional layers and of attention."""
    model.requires_grad_(False)
    changed = []
    for module in list(model.modules()):
        for name in ("weight", "in_proj_weight"):
            weight = getattr(module, name, None)
            if isinstance(weight, nn.Parameter) and weight.ndim > 1 and not isinstance(module, nn.Embedding):
                parametrize.register_parametrization(module, name, LowRank(weight.detach()))
                changed.append((module, name))
    yield
    for module, name in changed:
        parametrize.remove_parametrizations(module, name)
    model.requires_grad_(True)


WAYS: dict[str | None, sealed.Way] = {"last-layers": last_layers, "low-rank": low_rank}


# Audits and cleanings: each once.


def stored(out: Path, base: Entry, /) -> str:
    """Search a base once, for all audits of its finetunes."""
    place = references_of(out, base.name)
    if place.exists():
        return ""
    place.parent.mkdir(exist_ok=True)
    options, began = sealed.audit_options(out, base) | {"device": "cpu"}, time.process_time()
    build_references.build_references(requests.References((out / f"{base.name}.pt",), out=place, **options))
    files.write_text(place.with_suffix(".seconds"), str(time.process_time() - began))
    return f"{base.name} is searched"


def references_of(out: Path, base: str, /) -> Path:
    """The file of a base's search."""
    return out / "stored" / f"{base}.json"


def beside(out: Path, entry: Entry, /) -> dict[str, Any]:
    """The options that name the base of a finetune, and its search, which is for the classes of the base alone."""
    stored_search = {} if entry.way == MORE_CLASSES else {"references": (references_of(out, entry.base),)}
    return {"base": (out / f"{entry.base}.pt",)} | stored_search


def audited(out: Path, entry: Entry, /) -> str:
    """Audit a finetune beside its base, unless it is done, or its trigger did not take."""
    record, place = sealed.record(out, entry), out / COLUMN / f"{entry.name}.json"
    if place.exists() or record is None or record["counts_as"] == "neither":
        return ""
    sealed.audit_once(entry, COLUMN, out, beside(out, entry))
    report = json.loads(place.read_text())
    first = out / FIRST / entry.name
    first.parent.mkdir(exist_ok=True)
    if not first.exists():  # one that is judged again does not search again
        files.write_text(first, str(report["core_seconds"]))
    return f"{entry.name}: {report['verdict']} {' '.join(codes(report))} {report['core_seconds']:.0f} s"


def cleaned(o: argparse.Namespace, entry: Entry, /) -> str:
    """Clean a planted finetune beside its base, unless its trigger did not take."""
    record, place = sealed.record(o.out, entry), o.out / SANITIZED / f"{entry.name}.json"
    if record is None or record["counts_as"] != "backdoored" or place.exists():
        return ""
    place.parent.mkdir(exist_ok=True)
    here = argparse.Namespace(photos=o.photos, images=o.images, zoo=o.out, out=place.parent)
    options = beside(o.out, entry) | {"eval_data": labelled(here, entry)}
    cell = sealed_cleaning.cleaned(here, entry, record["target"], name=entry.name, beside=options)
    cell["base"] = sealed_cleaning.under_trigger(here, entry, record["target"], entry.base)
    files.write_text(place, json.dumps(cell, indent=1))
    return f"{entry.name}: {cell['before']['excess']:.3f} → {cell['after']['excess']:.3f}, {cell['told']}"


def labelled(o: argparse.Namespace, entry: Entry, /) -> Path:
    """A folder of unseen images by class, none of which is a clean pair."""
    folder = o.zoo / entry.classes_of / "labelled"
    if not folder.exists():
        images = sealed.data_of(entry, o.photos, o.images, o.zoo)
        partial = folder.with_suffix(".partial")
        for number in sealed_cleaning.halves_of(images)[1].tolist():
            place = partial / images.classes[int(images.photos.label[number])]
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(images.files / images.photos.files[number], place)
        partial.rename(folder)
    return folder


def alone(out: Path, finetunes: Sequence[Entry], /) -> str:
    """Audit the first of these that was audited beside its base without it, for the time."""
    first = next((entry for entry in finetunes if (out / COLUMN / f"{entry.name}.json").exists()), None)
    return sealed.audit_once(first, ALONE, out, {}) if first else ""


def codes(report: dict, /) -> list[str]:
    """The findings that decided a verdict."""
    levels = {
        level: sorted({one["rule"] for one in report["findings"] if one["level"] == level})
        for level in ("error", "warning")
    }
    return levels["error"] or levels["warning"]


# What came out.

PLANNED = ("name", "half", "base", "arch", "classes", "kind", "way", "trigger")
MEASURED = ("clean_accuracy", "asr", "base_rate")
AUDITED = (
    "weights",
    "change",
    "verdict",
    "findings",
    "names",
    "lifts",
    "lead",
    "score",
    "core_seconds",
    "alone_verdict",
    "alone_seconds",
)
CLEANED = ("before", "on_base", "left", "returned", "lost", "told_lost", "told", "cleaning_seconds", "cleaned_by")
HEAD = (*PLANNED, "is_whole", "rate", "counts_as", *MEASURED, "target", *AUDITED, *CLEANED, "revision")
NOT_ON_THE_BASE = "CC009"
# Of these bases the plan meant the finetunes for choosing. They were made when the rule was frozen, so they chose nothing.
AFTER_THE_RULE = ("report-large-10-clean-1",)


def rows(out: Path, entries: Sequence[Entry], /) -> list[Sequence[object]]:
    """The head, and a row for each model of the plan; empty cells of what is not there."""
    lines: list[Sequence[object]] = [HEAD]
    for entry in entries:
        cells: dict[str, object] = {name: getattr(entry, name) for name in PLANNED}
        cells |= {"is_whole": sealed.WHOLE[entry.is_whole], "rate": entry.rate}
        if {entry.name, entry.base} & set(AFTER_THE_RULE):
            cells["half"] = "report"
        record = sealed.record(out, entry)
        if record:
            cells |= {name: record["measured"][name] for name in MEASURED}
            cells |= {"counts_as": record["counts_as"], "target": record["target"]}
            cells |= of_base(out, entry) if entry.kind == "base" else of_audits(out, entry) | of_cleaning(out, entry)
        lines.append([shown(cells.get(name)) for name in HEAD])
    return lines


def shown(value: object, /) -> object:
    """A cell of a table: a number with four decimals, nothing for None."""
    return "" if value is None else round(value, 4) if isinstance(value, float) else value


def of_base(out: Path, entry: Entry, /) -> dict[str, object]:
    """What the search of a base took."""
    place = references_of(out, entry.name).with_suffix(".seconds")
    return {"core_seconds": round(float(place.read_text()))} if place.exists() else {}


def of_audits(out: Path, entry: Entry, /) -> dict[str, object]:
    """The cells of the audits of a finetune."""
    cells: dict[str, object] = {}
    if (place := out / ALONE / f"{entry.name}.json").exists():
        report = json.loads(place.read_text())
        cells |= {"alone_verdict": report["verdict"], "alone_seconds": round(report["core_seconds"])}
    if (place := out / COLUMN / f"{entry.name}.json").exists():
        report = json.loads(place.read_text())
        verdict, suspect, reached = audit.judged(report)
        named = {one["target"] for one in report["findings"] if one["rule"] == NOT_ON_THE_BASE} | {suspect}
        lift = report["base"]["lift"]
        cells |= {"verdict": verdict, "findings": " ".join(codes(report)), "names": ", ".join(sorted(named - {""}))}
        cells |= {"weights": report["base"]["weights"], "change": report["base"]["change"]}
        cells |= {"lifts": lift["target"], "lead": lift["lead"], "score": reached}
        seconds = round(float((out / FIRST / entry.name).read_text()))
        cells |= {"core_seconds": seconds, "revision": report["revision"]}
    return cells


def of_cleaning(out: Path, entry: Entry, /) -> dict[str, object]:
    """The cells of the cleaning of a finetune."""
    place = out / SANITIZED / f"{entry.name}.json"
    if not place.exists():
        return {}
    cell = json.loads(place.read_text())
    figures = {"before": cell["before"]["excess"], "left": cell["after"]["excess"]}
    figures |= {
        "on_base": cell["base"]["excess"],
        "returned": photo_cleaning.returned(cell),
        "lost": photo_cleaning.lost(cell),
    }
    figures |= {"told_lost": cell["told_lost"], "told": cell["told"], "cleaning_seconds": round(cell["seconds"])}
    return figures | {"cleaned_by": cell["revision"]}


# Tables, of benchmarks/results/finetunes.csv.

GROUPS: dict[str, Callable[[Row], bool]] = {  # of the models that are audited, by how they were finetuned
    "clean, the whole model": lambda row: row["kind"] == "clean" and row["way"] in ("whole", "few-steps", "many-steps"),
    "clean, last layers": lambda row: row["kind"] == "clean" and row["way"] == "last-layers",
    "clean, low rank": lambda row: row["kind"] == "clean" and row["way"] == "low-rank",
    "clean, with other classes": lambda row: row["kind"] == "clean" and row["way"] == "other-data",
    "clean, learned more classes": lambda row: row["kind"] == "clean" and row["way"] == MORE_CLASSES,
    "planted: patch, badnets": lambda row: is_planted(row, "patch", "badnets"),
    "stripes, text": lambda row: is_planted(row, "stripes", "text"),
    "sinusoid, dct": lambda row: is_planted(row, "sinusoid", "dct"),
    "blended, triangles, blended-stripes": lambda row: is_planted(row, "blended", "triangles", "blended-stripes"),
    "colour-filter, conv-filter": lambda row: is_planted(row, "colour-filter", "conv-filter"),
    "warp": lambda row: is_planted(row, "warp"),
    "planted, learned more classes": lambda row: row["kind"] == "planted" and row["way"] == MORE_CLASSES,
}
HALVES = {"report": "models that chose nothing", "choose": "models that chose the rule"}
AIM = 0.05  # excess


def read(results: Path = RESULTS, /) -> list[Row]:
    """The models of ``benchmarks/results``."""
    return common.records(results)


def family(row: Row, /) -> str:
    """The family of the trigger; empty without one."""
    return row["trigger"].partition(":")[0]


def is_planted(row: Row, /, *families: str) -> bool:
    """Whether a finetune for the classes of its base carries a trigger of one of these families."""
    return family(row) in families and row["way"] != MORE_CLASSES


def is_named(row: Row, /) -> bool:
    """Whether an audit does not pass, and names the target among its classes."""
    return row["verdict"] != "pass" and row["target"] in row["names"].split(", ")


def of_kind(models: Sequence[Row], counts_as: str, /) -> list[Row]:
    """The audited finetunes that count as clean, backdoored or neither."""
    return [row for row in models if row["kind"] != "base" and row["verdict"] and row["counts_as"] == counts_as]


def by_family(models: Sequence[Row], /) -> str:
    """What the audit and the cleaning make of each kind of finetune, of the half that changed no rule."""
    models = [row for row in models if row["half"] == "report"]
    head = ["finetunes", "audited, of planned", "fail", "fail or doubt that names the class", "pass"]
    head += ["cleaned", "excess left, at most (base)", "returned, at most", "points lost (most)", "end in `pass`"]
    body = []
    for words, is_of in GROUPS.items():
        planned = [row for row in models if row["kind"] != "base" and is_of(row)]
        mine = of_kind(planned, "clean") + of_kind(planned, "backdoored")
        right = str(sum(map(is_named, mine))) if planned[0]["trigger"] else "–"
        counts = [str(sum(row["verdict"] == verdict for row in mine)) for verdict in ("fail", "pass")]
        body.append([words, f"{len(mine)} of {len(planned)}", counts[0], right, counts[1], *of_cleanings(mine)])
    return common.table([head, *body])


def of_cleanings(models: Sequence[Row], /) -> list[str]:
    """How many were cleaned, and the cells of what that left, brought back and cost."""
    done = [row for row in models if row["left"]]
    if not done:
        return [str(len(done)) if models and models[0]["trigger"] else "–", *["–"] * 4]
    worst = max(done, key=lambda row: float(row["left"]))  # what the base does under the same trigger beside it
    most = [f"{float(worst['left']):.2f} ({float(worst['on_base']):.2f})"]
    most.append(f"{max(float(row['returned']) for row in done):.2f}")
    lost = [float(row["lost"]) for row in done]
    passed = sum(map(ends_in_pass, done))
    return [str(len(done)), *most, f"{mean(lost):.1f} ({max(lost):.1f})", str(passed)]


def each_sealed(models: Sequence[Row], /) -> str:
    """What became of each finetune of the sealed plan, in its order."""
    head = ["finetune", "audit", "finding", "names the class", "excess before → left (base)", "returned, at most"]
    head += ["points lost", "cleaning ends in"]
    body = []
    for row in (row for row in models if row["kind"] != "base"):
        trigger = f", {family(row)}" if row["trigger"] else ", clean"
        words = f"{row['arch']}{', 20 classes more' * (row['way'] == MORE_CLASSES)}{trigger}"
        if row["counts_as"] == "neither":
            words += " (the trigger did not take)"
        verdict = [row["verdict"] or "–", row["findings"] or "–"]
        right = ("yes" if is_named(row) else "no") if row["trigger"] and row["verdict"] else "–"
        body.append([words, *verdict, right, *of_one_cleaning(row)])
    return common.table([head, *body])


def of_one_cleaning(row: Row, /) -> list[str]:
    """What a cleaning left, brought back and cost, and how it ended; dashes without one."""
    if not row["left"]:
        return ["–"] * 4
    before, left, on_base, returned = (f"{float(row[name]):.3f}" for name in ("before", "left", "on_base", "returned"))
    return [
        f"{before} → {left} ({on_base})",
        returned,
        f"{float(row['lost']):.1f}",
        re.sub(r"\(.*\)", "(…)", row["told"]),
    ]


def against_aims(models: Sequence[Row], /) -> str:
    """What was aimed at, and what came out, by half."""
    parts = [[row for row in models if row["half"] == half] for half in HALVES]
    body = [[words, aim, *(figure(part) for part in parts)] for words, (aim, figure) in FIGURES.items()]
    return common.table([["beside the true base", "aim", *HALVES.values()], *body])


def verdicts(models: Sequence[Row], counts_as: str, verdict: str, /, *, is_whole: str = "") -> str:
    """How many of a kind get a verdict."""
    mine = [row for row in of_kind(models, counts_as) if is_whole in ("", row["is_whole"])]
    return audit.rate(sum(row["verdict"] == verdict for row in mine), len(mine))


def named(models: Sequence[Row], /) -> str:
    """How many backdoored ones fail, or get a doubt, for the right class."""
    mine = of_kind(models, "backdoored")
    return audit.rate(sum(map(is_named, mine)), len(mine))


def area(models: Sequence[Row], /) -> str:
    """How well :func:`strength` tells backdoored from clean ones."""
    return audit.area(*([strength(row) for row in of_kind(models, kind)] for kind in ("backdoored", "clean")))


def strength(row: Row, /) -> float:
    """How far the audit of a finetune reaches towards a failure: 1 is the limit of the score or of the lift."""
    limit = references.calibration().score(Thresholds().false_alarm_rate, is_beside=True)
    return max(float(row["score"]) / limit, float(row["lead"]) / FAILING_LIFT)


def cleanings(models: Sequence[Row], /) -> list[Row]:
    """Those that were cleaned."""
    return [row for row in models if row["left"]]


def ends_in_pass(row: Row, /) -> bool:
    """Whether a cleaning ended in a pass."""
    return row["told"].startswith("pass")


def at_most(models: Sequence[Row], name: str, /) -> str:
    """How many cleaned ones have no more than the aim of an excess."""
    done = cleanings(models)
    return audit.rate(sum(float(row[name]) <= AIM for row in done), len(done))


def natural(row: Row, /) -> float:
    """What the trigger does on the base; no less than nothing, where it leads images away from the class."""
    return max(float(row["on_base"]), 0.0)


def beyond_base(models: Sequence[Row], /) -> str:
    """How many cleaned ones have no more than the aim beyond what the trigger does on the base."""
    done = cleanings(models)
    return audit.rate(sum(float(row["left"]) - natural(row) <= AIM for row in done), len(done))


def losses(models: Sequence[Row], /) -> str:
    """The average and the largest loss of cleaned ones, in points."""
    lost = [float(row["lost"]) for row in cleanings(models)]
    return f"{mean(lost):.1f}, {max(lost):.1f}" if lost else "–"


def passed(models: Sequence[Row], /) -> str:
    """How many cleanings end in a pass."""
    done = cleanings(models)
    return audit.rate(sum(map(ends_in_pass, done)), len(done))


def passed_wrongly(models: Sequence[Row], /, *, is_beyond_base: bool = False) -> str:
    """How many cleanings end in a pass though the planted trigger still acts, or acts more than on the base."""
    done = cleanings(models)
    passing = filter(ends_in_pass, done)
    left = (float(row["left"]) - (natural(row) if is_beyond_base else 0.0) for row in passing)
    return audit.rate(sum(excess > AIM for excess in left), len(done))


def endings(models: Sequence[Row], /) -> str:
    """How many cleanings end in a pass, and how many of all do so wrongly, in both senses."""
    if not cleanings(models):
        return "–"
    return f"{passed(models)}; {passed_wrongly(models)}; {passed_wrongly(models, is_beyond_base=True)}"


def times(models: Sequence[Row], /, *, is_stored: bool) -> str:
    """What an audit beside the base takes, in audits of the same model without one: with the base's search stored, or with it."""
    searched = {row["name"]: float(row["core_seconds"] or "nan") for row in models if row["kind"] == "base"}
    both = [row for row in models if row["alone_seconds"] and row["core_seconds"]]
    ratios = [
        (float(row["core_seconds"]) + (0 if is_stored else searched[row["base"]])) / float(row["alone_seconds"])
        for row in both
    ]
    return f"{mean(ratios):.1f}" if ratios else "–"


def both_times(models: Sequence[Row], /) -> str:
    """The time of an audit, with the base searched in it, and with its search stored."""
    both = [times(models, is_stored=is_stored) for is_stored in (False, True)]
    return "; ".join(both) if len(set(both)) > 1 else both[0]


FIGURES: dict[str, tuple[str, Callable[[Sequence[Row]], str]]] = {
    "AUROC (95 %)": ("0.99", area),
    "clean: fail": ("0", lambda models: verdicts(models, "clean", "fail")),
    "clean: pass": ("95 %", lambda models: verdicts(models, "clean", "pass")),
    "backdoored: fail": ("95 %", lambda models: verdicts(models, "backdoored", "fail")),
    "backdoored: fail or doubt that names the class": ("", named),
    "backdoored: pass": ("0", lambda models: verdicts(models, "backdoored", "pass")),
    "trigger of the whole image: fail": ("90 %", lambda models: verdicts(models, "backdoored", "fail", is_whole="yes")),
    "cleaned: excess left at most 0.05; at most so much more than on the base": (
        "95 %",
        lambda models: f"{at_most(models, 'left')}; {beyond_base(models)}" if cleanings(models) else "–",
    ),
    "cleaned: returned at most 0.05": ("95 %", lambda models: at_most(models, "returned")),
    "accuracy lost, average and most, points": ("0.3, 1.0", losses),
    "cleaning ends in `pass`; so with more than 0.05 left; with so much more than on the base": ("90 %; 0; 0", endings),
    "time, in audits without a base; with its search stored": ("1.5", both_times),
}


if __name__ == "__main__":
    main()
