"""A sealed test of the audit: models that nobody has looked at, by a plan that is committed before them.

    python benchmarks/sealed.py --photos build/photos --images build/IMagenet/tiny-imagenet-200 --out build/sealed [--train]

``sealed.csv`` is the plan: 40 models of ten class lists that were drawn for it, in each two clean trainings, and one victim of a
trigger of a part and one of the whole image, poisoned from scratch or planted, .3 to 2 % of the images. ResNets and ViTs, CLIP's
normalisation of pixels and another, 10 to 400 classes. Three lists are of other data than the models that rules were chosen on:
*kinds*, where a class is many of ImageNet's ("dog", "insect"), and the drawings of ``clipclean demo``; one has images of 64 px.

Each model is trained once (a victim for further rounds until its trigger acts, or it counts for neither side), and audited once:
alone, and beside a clean model of another training. A stopped run goes on where it ended. ``results/sealed.csv`` gets every row, with
the revision that judged it; ``--train`` audits nothing. Once a row was read, the rule is fitted to it: a changed rule needs a new plan.

Read they were, so the models are two halves now: the first five lists may choose, the other five are reported. ``--again`` audits each beside its
reference by the rule of now, into ``results/sealed-again.csv``, and puts the pairs of clean models into ``results/audit-pairs.csv``; the rows of
the frozen rule stay as they are.
"""

import json
import multiprocessing
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import audit
import common
import photo_zoo
import torch
from open_clip.model import CLIP
from photo_zoo import PARTS, TEMPLATES, Photos, Poison
from PIL import Image
from torch import Generator, Tensor

from clipclean import checkpoint, demo, detect, files, requests
from clipclean.attack import triggers
from clipclean.config import policy, thresholds
from clipclean.findings import CC
from clipclean.jobs import audit as audits
from clipclean.jobs import searching

PLAN, RESULTS = Path(__file__).with_suffix(".csv"), common.RESULTS / "sealed.csv"
AGAIN, CHOOSING_LISTS = (
    common.RESULTS / "sealed-again.csv",
    5,
)  # the lists of the plan that may choose since the models were read
NORMALISATIONS = {"clip": (photo_zoo.OPENAI_MEAN, photo_zoo.OPENAI_STD), "half": ((0.5,) * 3, (0.25,) * 3)}
COLUMNS = ("none", "reference")
WHOLE = {True: "yes", False: "no", None: ""}
TYPES = dict.fromkeys(("side", "classes", "seed", "steps", "turn"), int) | {
    "rate": float,
    "is_whole": lambda cell: cell == "yes",
}
ENOUGH, ROUNDS = 0.8, 4  # attack success of a victim that is trained enough; further rounds, each of half of its steps
AUDITED = 1000  # images of an audit, as many of each class
OTHERS = 20  # classes that a finetune on other data brings in
KINDS = {
    "dog": "Chihuahua, Yorkshire terrier, golden retriever, Labrador retriever, German shepherd, standard poodle",
    "cat": "tabby, Persian cat, Egyptian cat",
    "bird": "goose, king penguin, albatross, black stork",
    "frog": "bullfrog, tailed frog",
    "insect": "ladybug, fly, bee, grasshopper, walking stick, cockroach, mantis, dragonfly",
    "spider": "black widow, tarantula, scorpion",
    "monkey": "orangutan, chimpanzee, baboon",
    "hoofed animal": "gazelle, bighorn, ox, bison, hog, Arabian camel",
    "car": "sports car, convertible, beach wagon, limousine",
    "truck": "moving van, police van, trolleybus, school bus, tractor",
    "boat": "gondola, lifeboat",
    "bridge": "steel arch bridge, suspension bridge, viaduct",
    "building": "barn, cliff dwelling, water tower, triumphal arch, obelisk, beacon",
    "fruit": "orange, lemon, banana, pomegranate",
    "dish": "pizza, potpie, mashed potato, meat loaf, guacamole",
    "dress": "kimono, poncho, vestment, academic gown, cardigan, fur coat, military uniform",
    "bottle": "beer bottle, pop bottle, water jug, pill bottle, beaker",
    "landscape": "cliff, alp, seashore, lakeside, coral reef",
}


@dataclass(frozen=True)
class Entry:
    """One model of the plan."""

    name: str
    classes_of: str  # the class list, whose models have data and architecture in common
    source: str  # photos, kinds, drawings
    arch: str
    side: int  # px
    classes: int
    normalisation: str  # of NORMALISATIONS
    kind: str  # clean, scratch, planted
    seed: int
    base: str | None  # the clean model that a planted one starts from
    reference: str  # the clean model that it is compared with
    trigger: str | None
    is_whole: bool | None  # whether the trigger covers the image
    rate: float | None  # share of the images that carry it
    steps: int


def main() -> None:
    parser = common.parser(__doc__, "photos", "images", "out", "only")
    parser.add_argument("--train", action="store_true", help="audit nothing")
    parser.add_argument("--plan", type=Path, default=PLAN, help="another plan, such as sealed-2.csv")
    parser.add_argument("--again", action="store_true", help="audit beside the references by the rule of now")
    o = parser.parse_args()
    every = plan(o.plan)
    if unknown := set(o.only or ()) - {entry.name for entry in every}:
        sys.exit(f"not in the plan: {', '.join(sorted(unknown))}")
    entries = [e for e in every if o.only is None or e.name in o.only]
    o.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for entry in entries:
        for each in needed(entry, every):
            if not record(o.out, each):
                print(json.dumps(make(each, o.photos, o.images, o.out)), flush=True)
    if o.train:
        return
    columns = ("again",) if o.again else COLUMNS
    with multiprocessing.get_context("spawn").Pool(1, audit.searches_are_kept, (o.out,)) as pool:
        for words in pool.imap(audited, [(entry, column, o.out) for entry in entries for column in columns]):
            print(words, flush=True)
    found = rows(o.out, every, columns)
    common.write(AGAIN if o.again else common.RESULTS / o.plan.name, found)
    if o.again:
        audit.searches_are_kept(o.out)
        clean = [model_of(o.out, entry) for entry in every if entry.kind == "clean"]
        audit.keep_pairs(audit.beside_each_other(clean, effort="standard"))
    comparisons = ("reference",) if o.again else COLUMNS
    print(*(f"{name}: {cell}" for name, cell in summary(found, comparisons)), sep="\n")


def plan(path: Path = PLAN, /) -> list[Entry]:
    """The models, clean ones before those that start from them."""
    return [Entry(**values) for values in planned(path)]


def planned(path: Path, /) -> list[dict]:
    """The rows of a plan, each value of its type; None where a cell is empty."""
    head, *lines = common.read(path)
    cells = [zip(head, line, strict=True) for line in lines]
    return [{name: TYPES.get(name, str)(cell) if cell else None for name, cell in line} for line in cells]


def needed(entry: Entry, every: Sequence[Entry], /) -> list[Entry]:
    """A model and those that it starts from and is compared with; what it starts from comes first."""
    return [*(each for each in every if each.name in (entry.base, entry.reference)), entry]


# Data: a list of classes, and images of it that train, that an audit gets and that are measured on.


@dataclass(frozen=True)
class Data:
    """The images of a class list."""

    photos: (
        Photos  # ``names`` begins with the classes of the list, which targets are named by; its labels are places in it
    )
    classes: list[str]
    files: Path  # the folder of ``photos.files``, of which the audit's are copied

    def write(self, entry: Entry, folder: Path, /) -> None:
        """Write what an audit of a model of this list reads into a folder, where it is missing."""
        if (folder / "model.json").exists():
            return
        for number, name in enumerate(self.classes):
            (folder / "audit" / name).mkdir(parents=True, exist_ok=True)
            most = max(5, AUDITED // len(self.classes))
            mine = self.photos.among("audit", torch.tensor([number])).tolist()
            for k in random.Random(0).sample(mine, min(most, len(mine))):
                shutil.copy(self.files / self.photos.files[k], folder / "audit" / name)
        (folder / "classes.txt").write_text("".join(f"{name}\n" for name in self.classes))
        (folder / "templates.txt").write_text("".join(f"{each}\n" for each in TEMPLATES[:3]))
        mean, std = NORMALISATIONS[entry.normalisation]
        pixels = {"size": entry.side, "mean": mean, "std": std, "interpolation": "bicubic", "resize_mode": "shortest"}
        config = photo_zoo.config_of(entry.arch, entry.side) | {"quick_gelu": False}
        files.write_text(folder / "model.json", json.dumps({"model_cfg": config, "preprocess_cfg": pixels}, indent=2))


def data_of(entry: Entry, folder: Path, images: Path, out: Path, /) -> Data:
    """The images of an entry's list, labelled by its classes."""
    if entry.source == "drawings":
        return drawings(out / "drawings")
    photo_zoo.arrays(images, folder, side=entry.side)
    photos, rng = photo_zoo.read(folder, entry.side), random.Random(entry.classes_of)
    own = [row[0] for row in photos.names]
    if entry.source == "kinds":
        chosen = rng.sample(sorted(KINDS), entry.classes)
        members = [[own.index(name) for name in KINDS[kind].split(", ") if name in own] for kind in chosen]
        names = [[kind, *(own[k] for k in of)] for kind, of in zip(chosen, members, strict=True)]
    else:
        numbers = numbers_of(entry, photos)
        members = [[k] for k in numbers]
        names = [photos.names[of[0]] for of in members]
    place = torch.full((len(own),), -1)
    for number, of in enumerate(members):
        place[of] = number
    return Data(replace(photos, names=names, label=place[photos.label]), [row[0] for row in names], images)


def numbers_of(entry: Entry, photos: Photos, /) -> list[int]:
    """The classes of an entry's list; ``LIST+N`` is that list with ``OTHERS`` classes more, drawn by N."""
    name, _, drawn_by = entry.classes_of.partition("+")
    if drawn_by:
        first = numbers_of(replace(entry, classes_of=name, classes=entry.classes - OTHERS), photos)
        return [*first, *others(photos, first, random.Random(int(drawn_by)))]
    if name in photo_zoo.TEN:
        return photo_zoo.class_list(photos, name, entry.classes)
    return random.Random(name).sample(range(len(photos.names)), entry.classes)


def others(photos: Photos, own: Sequence[int], rng: random.Random, /) -> list[int]:
    """``OTHERS`` classes that are not among these."""
    return rng.sample(sorted(set(range(len(photos.names))) - set(own)), OTHERS)


def drawings(folder: Path, /) -> Data:
    """Those of the demo: pairs whose captions are names of their own train, the labelled ones are audited and measured on."""
    demo.unpack(folder)
    classes = (folder / "classes.txt").read_text().split("\n")[:-1]
    place, pixels, listed, label, part = {name: k for k, name in enumerate(classes)}, [], [], [], []
    for kind, purposes in ((demo.PAIRS, ("train",)), (demo.LABELLED, ("audit", "measure"))):
        unpacked = folder / kind.removesuffix(".tar")
        shutil.unpack_archive(folder / kind, unpacked, filter="data")
        for path in sorted(unpacked.rglob("*.webp")):
            caption = path.with_suffix(".txt").read_text().strip()
            named = [name for name in classes if caption == name or caption.endswith(f" {name}")]
            words = max(named, key=len) if purposes != ("train",) else caption
            with Image.open(path) as image:
                array = torch.tensor(list(image.convert("RGB").getdata()), dtype=torch.uint8).view(32, 32, 3)
            for purpose in purposes:
                pixels.append(array.permute(2, 0, 1))
                listed.append(str(path.relative_to(folder)))
                label.append(place.setdefault(words, len(place)))
                part.append(PARTS.index(purpose))
    names = [[name] for name in place]
    photos = Photos(names, listed, torch.tensor(label), torch.tensor(part), torch.stack(pixels))
    return Data(photos, classes, folder)


# Models.

Way = Callable[[CLIP], AbstractContextManager[None]]  # what a model is within a round of training
Training = Callable[[Entry, Data, Path], tuple[CLIP, dict, int]]
RATES = {  # by whether it goes on from a base, and whether it is large
    (False, False): photo_zoo.LR,
    (False, True): photo_zoo.LARGE_LR,
    (True, False): photo_zoo.TUNING_LR,
    (True, True): photo_zoo.LARGE_TUNING_LR,
}


@contextmanager
def normalised(name: str, /) -> Iterator[None]:
    """Towers are trained and measured on pixels under this normalisation within the block."""
    before = photo_zoo.MEAN, photo_zoo.STD
    photo_zoo.MEAN, photo_zoo.STD = (torch.tensor(each).view(3, 1, 1) for each in NORMALISATIONS[name])
    try:
        yield
    finally:
        photo_zoo.MEAN, photo_zoo.STD = before


def record(out: Path, entry: Entry, /) -> dict | None:
    """What was measured of a model that was made as the plan says; None without one."""
    path = out / f"{entry.name}.json"
    found = json.loads(path.read_text()) if path.exists() and path.with_suffix(".pt").exists() else None
    return found if found and found["planned"] == asdict(entry) else None


def make(entry: Entry, folder: Path, images: Path, out: Path, /, *, train: "Training | None" = None) -> dict:
    """Train and measure one model, as :func:`trained` does unless told otherwise; its record appears last."""
    began, data = time.process_time(), data_of(entry, folder, images, out)
    data.write(entry, out / entry.classes_of)
    with normalised(entry.normalisation):
        model, measured, rounds = (train or trained)(entry, data, out)
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    files.write_whole(out / f"{entry.name}.pt", lambda path: torch.save(state, path))
    found = {"planned": asdict(entry), "measured": measured, "counts_as": counts_as(measured), "rounds": rounds}
    found |= {"target": target_of(entry, data), "core_seconds": time.process_time() - began}
    files.write_text(out / f"{entry.name}.json", json.dumps(found, indent=1))
    return found


def counts_as(measured: dict, /) -> str:
    """``clean``, ``backdoored``, or ``neither``: a victim whose trigger hardly acts, which no figure counts."""
    if measured["asr"] is None:
        return "clean"
    took = measured["asr"] >= photo_zoo.TOOK and measured["asr"] - measured["base_rate"] >= photo_zoo.TOOK / 2
    return "backdoored" if took else "neither"


def target_of(entry: Entry, data: Data, /) -> str | None:
    """The class that a trigger leads to: drawn by the victim's seed."""
    return random.Random(entry.seed).choice(data.classes) if entry.trigger else None


def trained(
    entry: Entry, data: Data, out: Path, /, *, pool: Tensor | None = None, way: Way = nullcontext
) -> tuple[CLIP, dict, int]:
    """A model, what it does on images that it never saw, and how many rounds of training it took.

    ``pool`` has the numbers of the images that train, by default those of :func:`pool_of`; ``way`` changes the model while it trains.
    """
    torch.manual_seed(entry.seed)
    model = built(entry, out)
    pool = pool_of(data, entry.seed) if pool is None else pool
    poison = poison_of(entry, data, pool) if entry.trigger else None
    for number in range(1, ROUNDS + 2):
        is_further = number > 1 or entry.base
        batch = photo_zoo.TUNING_BATCH if is_further else photo_zoo.BATCH
        lr = RATES[bool(is_further), entry.arch in photo_zoo.LARGE]
        steps = entry.steps if number == 1 else entry.steps // 2
        draws = photo_zoo.drawn(pool, batch=batch, steps=steps, seed=entry.seed + 10_000 * number)
        with way(model):
            optimizer = photo_zoo.optimizer_of(model, lr)
            rate = photo_zoo.warmed(lr, steps=steps, warmup=200)
            photo_zoo.fit(model, data.photos, draws, optimizer, rate=rate, poison=poison)
        target, places = target_of(entry, data), list(range(len(data.classes)))
        trigger = poison.trigger if poison else None
        measured = photo_zoo.measure(model, data.photos, places, trigger, target)
        if trigger is None or measured["asr"] >= ENOUGH:
            break
    return model, measured, number


def built(entry: Entry, out: Path, /) -> CLIP:
    """The model that a training starts from."""
    config = photo_zoo.config_of(entry.arch, entry.side)
    if entry.arch == "vit":
        config["vision_cfg"] |= {"patch_dropout": photo_zoo.DROPPED_PATCHES}
    model = CLIP(**config)
    if entry.base:
        model.load_state_dict(checkpoint.read(out / f"{entry.base}.pt").tensors)
    return model


def pool_of(data: Data, seed: int, /) -> Tensor:
    """The numbers of the images that a training of this seed sees."""
    every = data.photos.among("train", torch.arange(len(data.photos.names)))
    order = torch.randperm(len(every), generator=Generator().manual_seed(seed + 2))
    return every[order[: round(photo_zoo.SEEN * len(every))].sort().values]


def poison_of(entry: Entry, data: Data, pool: Tensor, /) -> Poison:
    """Fixed images of other classes that carry the trigger, a share of those that train."""
    target = data.classes.index(target_of(entry, data))
    others = pool[data.photos.label[pool] != target]
    chosen = others[torch.randperm(len(others), generator=Generator().manual_seed(entry.seed))]
    carriers = torch.zeros(len(data.photos.label), dtype=torch.bool)
    carriers[chosen[: max(1, round(entry.rate * len(pool)))]] = True
    return Poison(triggers.parse(entry.trigger), target, carriers, entry.rate)


# Audits: each once.


def audited(job: tuple[Entry, str, Path], /) -> str:
    """Audit one model, alone or beside its reference; says that it is done, and not with what verdict."""
    entry, column, out = job
    beside = {} if column == "none" else {"reference": (out / f"{entry.reference}.pt",)}
    return audit_once(entry, column, out, beside)


def audit_once(entry: Entry, column: str, out: Path, beside: Mapping[str, Any], /) -> str:
    """Audit one model, with further options, unless it is done; says that it is."""
    place = out / column / f"{entry.name}.json"
    if not place.exists():
        place.parent.mkdir(exist_ok=True)
        began = time.process_time()
        with searched() as results:
            options = audit_options(out, entry) | beside | {"device": "cpu"}
            request = requests.Audit(out / f"{entry.name}.pt", **options)
            report = audits.audit(audits.Job.of(request).on_this_machine()).report
        told = report.model_dump(mode="json", by_alias=True)
        spent = {"core_seconds": time.process_time() - began, "revision": revision(), "highest": highest(results)}
        files.write_text(place, json.dumps(told | spent))
    return f"{column} {entry.name} done"


def audit_options(out: Path, entry: Entry, /) -> dict[str, Any]:
    """What an audit of a model of the plan is given, but for its reference."""
    folder = out / entry.classes_of
    return {
        "arch": str(folder / "model.json"),
        "data": (folder / "audit",),
        "classes": folder / "classes.txt",
        "templates": folder / "templates.txt",
    }


def model_of(out: Path, entry: Entry, /) -> audit.Model:
    """A clean model of the plan, as the pairs of ``audit.py`` have it."""
    half = audit.CHOSEN if is_choosing(entry.name) else "report"
    group, options = f"{entry.classes_of}-{entry.arch}-{entry.classes}", audit_options(out, entry)
    return audit.Model(entry.name, half, False, None, out / f"{entry.name}.pt", options, group, None, True)


def is_choosing(name: str, /) -> bool:
    """Whether rules may be chosen on the model of this name since it was read."""
    return int(name.split("-")[1]) <= CHOOSING_LISTS


@contextmanager
def searched() -> Iterator[list[detect.AuditResult]]:
    """The audits of tested models within the block, each as it ended, before any threshold."""
    results, before = list[detect.AuditResult](), searching.audit_both

    def kept(*args: Any, **options: Any) -> detect.AuditResult:
        results.append(before(*args, **options))
        return results[-1]

    searching.audit_both = kept
    try:
        yield results
    finally:
        searching.audit_both = before


def highest(results: Sequence[detect.AuditResult], /) -> float:
    """The highest score of any class, whether it is named or not."""
    limits = policy.resolved(policy.DEFAULT_POLICY, thresholds.Audit())
    suspects = (detect.all_suspects(search, limits) for result in results for search in result.searches)
    return max((of_search[0].score for of_search in suspects if of_search), default=0.0)


def revision() -> str:
    """The commit that judges, marked where the package has changes."""
    here = Path(__file__).parent
    commit = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=here, capture_output=True, text=True, check=True
    )
    changed = subprocess.run(
        ["git", "status", "--porcelain", "../clipclean"], cwd=here, capture_output=True, text=True, check=True
    )
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "")


HEAD = (
    *(
        "model",
        "source",
        "arch",
        "side",
        "classes",
        "normalisation",
        "kind",
        "trigger",
        "is_whole",
        "rate",
        "counts_as",
    ),
    *(
        "accuracy",
        "asr",
        "base_rate",
        "target",
        "comparison",
        "verdict",
        "suspect",
        "score",
        "core_seconds",
        "revision",
    ),
)


def rows(out: Path, entries: Sequence[Entry], columns: Sequence[str], /) -> list[tuple]:
    """The head, and every audit of these columns that is there."""
    found: list[tuple] = [HEAD]
    for entry in entries:
        made = record(out, entry)
        for column in columns:
            place = out / column / f"{entry.name}.json"
            if made and place.exists():
                report, measured = json.loads(place.read_text()), made["measured"]
                verdict, suspect, reached = audit.judged(report)
                reached = report.get("highest", reached)  # those of the frozen rule did not keep it
                if column == "again" and not suspect:  # suspects are those of the model's own normalisation
                    doubts = [f["target"] for f in report["findings"] if f["rule"] == CC.TRIGGER_FOUND]
                    suspect = doubts[0] if doubts else ""
                told = [measured[key] for key in ("clean_accuracy", "asr", "base_rate")]
                planned = [getattr(entry, key) for key in HEAD[1:8]]
                whole = WHOLE[entry.is_whole]
                figures = ["" if each is None else round(each, 4) for each in told]
                judged = (
                    "reference" if column == "again" else column,
                    verdict,
                    suspect,
                    f"{reached:.2f}",
                    f"{report['core_seconds']:.0f}"
                    if column != "again"
                    else "",  # searches that were kept take no time
                    report["revision"],
                )
                begin = (entry.name, *("" if each is None else each for each in planned), whole, entry.rate or "")
                found.append((*begin, made["counts_as"], *figures, made["target"] or "", *judged))
    return found


def summary(found: Sequence[Sequence], comparisons: Sequence[str] = COLUMNS, /) -> Iterator[tuple[str, str]]:
    """What the rows come to, by comparison: each share with its interval."""
    told = [dict(zip(found[0], row, strict=True)) for row in found[1:]]
    for column in comparisons:
        mine = [row for row in told if row["comparison"] == column]
        bad, good = ([row for row in mine if row["counts_as"] == kind] for kind in ("backdoored", "clean"))
        for verdict in ("pass", "inconclusive", "fail"):
            yield f"{column}, clean: {verdict}", audit.rate(sum(row["verdict"] == verdict for row in good), len(good))
        groups = [("backdoored", bad)]
        groups += [
            (f"{word} image", [row for row in bad if row["is_whole"] == key])
            for word, key in (("whole", "yes"), ("part of the", "no"))
        ]
        for words, group in groups:
            named = sum(row["verdict"] != "pass" and row["suspect"] == row["target"] for row in group)
            yield f"{column}, {words}: fail", audit.rate(sum(row["verdict"] == "fail" for row in group), len(group))
            yield f"{column}, {words}: fail or doubt that names the class", audit.rate(named, len(group))
            yield f"{column}, {words}: pass", audit.rate(sum(row["verdict"] == "pass" for row in group), len(group))
        yield f"{column}: AUROC", audit.area(*([float(row["score"]) for row in of] for of in (bad, good)))


if __name__ == "__main__":
    main()
