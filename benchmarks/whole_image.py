"""Triggers of the whole image without a clean model beside: ideas for a statistic, one at a time, on models that rules are chosen on.

    python benchmarks/whole_image.py --photos build/photos --zoo build/halves build/lineages build/pairs --out build/whole-image \
        [--sealed build/sealed] [--ideas weights activations gains noise convincing exposed grown audit] [--only NAME ...]
    python benchmarks/whole_image.py --out build/whole-image --keep     # into benchmarks/results/whole-image.csv
    python benchmarks/whole_image.py                                    # the areas, from there; late-layers.csv as well

Models are small ResNets of ten classes of ``photo_zoo.py``: what counts as clean, and victims whose trigger covers the whole image and acts.
Each idea gives a figure to every class of a model; a large one, or one far from those of the other classes, should tell a victim. A cell
is a JSON file in OUT, so that a stopped run goes on.

- ``weights`` (after CLIBE, arXiv 2409.01193): the weights of a stage of the image tower are changed within a small ball so that 64
  images go to a class; how many others follow, and by which margin? ``activations``: the same by one change of what a stage gets.
- ``gains`` (after BAN, 2405.19928): gains of the normalisations times noise, drawn or the worst; ``noise`` (after ProP, 2411.07036): noise
  in activations. Which classes are images taken for?
- ``convincing``: how much nearer are images under a known trigger to a class than its own images are, and how many does it turn?
  ``exposed`` (after EBYD, 2410.19427, and RNP, 2305.14876): the same on copies that have unlearned clean images.
- ``grown``: a fresh image tower distilled from the model on its clean images; which known trigger leads to a class in the model alone? Rows
  with a clean training in its place say what the best map of natural triggers would show.
- ``audit``: of a whole search the score, and the most images that a known trigger turns to a class. Also of the sealed models that may choose.
"""

import argparse
import copy
import itertools
import json
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import audit
import common
import sealed
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from photo_cleaning import ACTS
from photo_zoo import TEMPLATES, batches, class_list, read
from torch import Generator, Tensor, nn

from clipclean.attack import triggers
from clipclean.config import policy, recipe
from clipclean.detect import inversion, verdict, zeroshot
from clipclean.detect.search import SearchResult
from clipclean.jobs import opening
from clipclean.model import Clip

WHOLE = ("blended", "dct", "warp", "sinusoid", "colour-filter")  # families of triggers, of victims and of known ones
STAGES = ("layer1", "layer2", "layer3", "layer4", "attnpool")
TUNED, HELD = 800, 200  # images to tune and to grow with; others, to measure on
SHOWN, STEPS, STRIDE = 64, 6, 3.0  # of a change: images; steps; the length of all steps together, in radii
WEIGHT_RADII = {"attnpool": (0.02,)}  # of the norm of each matrix
ACTIVATION_RADII = {"layer3": (0.3,), "layer4": (0.3,), "attnpool": (0.3,)}  # of the mean norm of an image
GAIN_SIZES, GAIN_DRAWS, WORST_SIZES, WORST_STEPS = (0.3, 0.6), 16, (0.1, 0.2), 5
NOISE_SIZES, NOISE_DRAWS = (1.0, 3.0), 4  # in deviations of the activations of a stage
EXPOSING_LR, EXPOSING_STEPS, EXPOSING_BATCH, EXPOSED_ACCURACY = 3e-4, 20, 32, 0.3
BATCH, GROWING_LR, VIEWS, GROWN_WIDTH = 64, 2e-3, 4, 12
TRIED, MORE_SEEDS = 24, 4  # images under each known trigger; patterns of each family that draws one
DRAWS = 2000  # of a bootstrap
HEAD = ("model", "target", "idea", "setting", "class", "first", "second", "median", "deviation")

Embed = Callable[[Tensor], Tensor]  # images in [0, 1], or activations, to unit embeddings (N, D)
Figures = dict[str, Tensor]  # by setting: a figure of each class (K,)


class Subject(NamedTuple):
    """A model, and the clean images that its auditor has."""

    entry: dict
    target: str | None  # of a backdoor that acts
    path: Path
    clip: Clip
    classes: list[str]
    form: zeroshot.Canonical
    text_classifier: Tensor  # (K, D)
    pixels: Tensor  # (N, 3, S, S) in [0, 1], in a drawn order
    labels: Tensor  # (N,), places among the classes

    @property
    def tower(self) -> nn.Module:
        """The image tower."""
        return self.clip.net.visual

    def held(self) -> tuple[Tensor, Tensor]:
        """Images and labels that nothing is tuned with."""
        return self.pixels[TUNED:][:HELD], self.labels[TUNED:][:HELD]

    def others(self, goal: int) -> tuple[Tensor, Tensor]:
        """Images of other classes: SHOWN to change something with, and those that are held."""
        tuned = self.pixels[:TUNED][self.labels[:TUNED] != goal][:SHOWN]
        pixels, labels = self.held()
        return tuned, pixels[labels != goal]


def main() -> None:
    parser = common.parser(__doc__, "only")
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--zoo", type=Path, nargs="+", default=[])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--ideas", nargs="+", choices=IDEAS, default=list(IDEAS))
    parser.add_argument("--steps", type=int, default=400, help="of a distillation")
    parser.add_argument("--sealed", type=Path, help="models of sealed.py, for searches alone")
    parser.add_argument("--keep", action="store_true", help="put what was measured into benchmarks/results")
    o = parser.parse_args()
    torch.set_num_threads(1)
    for entry, target, path in entries(o.zoo):
        if o.only and entry["name"] not in o.only:
            continue
        subject = None
        for idea in o.ideas:
            place = o.out / f"{entry['name']}-{idea}.json"
            if not place.exists():
                subject = subject or opened(o, entry, target, path)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(json.dumps(measured(o, subject, idea), indent=1) + "\n")
                print(place.stem, json.loads(place.read_text())["seconds"], flush=True)
    for cell in sealed_cells(o.sealed, o.out) if o.sealed else ():
        print(cell["entry"]["name"], flush=True)
    if o.keep:
        cells = common.cells(o.out)
        common.write(common.RESULTS / "whole-image.csv", [HEAD, *rows([*cells, *beside_clean(cells)])])
    print(table())


# Models and images.


def entries(zoos: Iterable[Path]) -> Iterator[tuple[dict, str | None, Path]]:
    """What counts as clean, and victims, of the half that chooses, each once: the entry, the target of a victim, and the weights."""
    names = set[str]()
    for zoo in zoos:
        for cell in common.cells(zoo):
            entry, measured = cell["entry"], cell["measured"]
            name, family = entry["name"], (entry["trigger"] or "").partition(":")[0]
            is_small = entry["arch"] == "resnet" and entry["classes"] == 10
            is_clean = cell["counts_as"] == "clean"
            is_victim = not is_clean and family in WHOLE and measured["asr"] - measured["base_rate"] >= ACTS
            if not is_small or audit.half_of(entry["half"]) != audit.CHOSEN or name in names:
                continue
            if is_clean or is_victim:
                names.add(name)
                yield entry, entry["target"] if is_victim else None, zoo / f"{name}.pt"


def opened(o: argparse.Namespace, entry: dict, target: str | None, path: Path) -> Subject:
    """The model, and images that no training saw."""
    photos = read(o.photos, entry["side"])
    numbers = class_list(photos, entry["half"], entry["classes"])
    index = photos.among("audit", torch.tensor(numbers))
    index = index[torch.randperm(len(index), generator=Generator().manual_seed(5))]
    labels = (photos.label[index][:, None] == torch.tensor(numbers)).nonzero()[:, 1]
    pixels = photos.images[index].float() / 255
    weights = opening.read(path, arch=str(path.parent / f"{entry['arch']}-{entry['side']}.json"))
    clip = opening.build(weights, None, device="cpu").clip
    clip.net.eval().requires_grad_(False)
    classes = [photos.names[k][0] for k in numbers]
    text_classifier = zeroshot.classifier(clip.embed_texts, classes, templates=TEMPLATES[:3])
    form = inversion.canonical_of(clip.encode_images, pixels[:TUNED], text_classifier)
    return Subject(entry, target, path, clip, classes, form, text_classifier, pixels, labels)


def measured(o: argparse.Namespace, subject: Subject, idea: str) -> dict:
    """What one idea shows of a model, as a cell."""
    began = time.process_time()
    figures, notes = IDEAS[idea](o, subject)
    cell = {"entry": subject.entry, "target": subject.target, "idea": idea, "classes": subject.classes}
    return cell | {"figures": rounded(figures), "notes": notes, "seconds": round(time.process_time() - began, 1)}


def rounded(figures: Figures) -> dict[str, list[float]]:
    """Figures as a cell has them."""
    return {setting: [round(value, 5) for value in values.tolist()] for setting, values in figures.items()}


def margins(logits: Tensor, goal: int) -> Tensor:
    """By how much the logits (N, K) of a class exceed those of the best other class (N,)."""
    others = logits.clone()
    others[:, goal] = -torch.inf
    return logits[:, goal] - others.amax(1)


# A small change of weights, or of activations, that leads to a class.


def until(tower: nn.Module, place: str, pixels: Tensor, clip: Clip) -> Tensor:
    """What a stage of the tower gets of images."""
    values = tower.stem(clip.normalise(pixels))
    for stage in STAGES[: STAGES.index(place)]:
        values = getattr(tower, stage)(values)
    return values


def onward(tower: nn.Module, place: str, values: Tensor, stage: nn.Module | None = None) -> Tensor:
    """Unit embeddings (N, D) of what a stage gets; ``stage`` stands for it, if given."""
    first, *rest = STAGES[STAGES.index(place) :]
    values = (stage or getattr(tower, first))(values)
    for name in rest:
        values = getattr(tower, name)(values)
    return F.normalize(values.float(), dim=-1)


def descended(parameters: Sequence[Tensor], radii: Sequence[Tensor], loss: Callable[[], Tensor]) -> None:
    """Lower a loss in place by steps of one length, which stay within a ball around the start of each parameter."""
    starts = [parameter.detach().clone() for parameter in parameters]
    for _ in range(STEPS):
        slopes = torch.autograd.grad(loss(), parameters)
        with torch.no_grad():
            for parameter, start, radius, slope in zip(parameters, starts, radii, slopes, strict=True):
                moved = parameter - start - slope * (radius * STRIDE / STEPS / slope.norm().clamp(min=1e-12))
                parameter.copy_(start + moved * (radius / moved.norm().clamp(min=1e-12)).clamp(max=1))


def followed(subject: Subject, goal: int, embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """The share of images that a class has, and the mean of their margins."""
    ahead = margins(subject.form.logits(embeddings), goal)
    return (ahead > 0).float().mean(), ahead.mean()


def weights(_: argparse.Namespace, subject: Subject) -> tuple[Figures, dict]:
    """Changes of the weights of a stage."""
    return changed(subject, WEIGHT_RADII, partial(reweighted, subject)), {}


def reweighted(subject: Subject, place: str, radius: float, goal: int, shown: Tensor) -> Embed:
    """A tower in which the matrices of a stage are changed by at most a share of their norms."""
    stage = copy.deepcopy(getattr(subject.tower, place))
    matrices = [p for n, p in stage.named_parameters() if p.ndim > 1 and "positional" not in n]
    for matrix in matrices:
        matrix.requires_grad_(True)

    def embed(activations: Tensor) -> Tensor:
        return onward(subject.tower, place, activations, stage)

    radii = [radius * matrix.detach().norm() for matrix in matrices]
    descended(matrices, radii, lambda: towards(subject, goal, embed(shown)))
    return embed


def activations(_: argparse.Namespace, subject: Subject) -> tuple[Figures, dict]:
    """Changes of what a stage gets, the same at all places or not."""
    figures: Figures = {}
    for way in ("each channel", "each place"):
        by_place = changed(subject, ACTIVATION_RADII, partial(shifted, subject, way == "each channel"))
        figures |= {f"{way}, {setting}": values for setting, values in by_place.items()}
    return figures, {}


def shifted(subject: Subject, is_flat: bool, place: str, radius: float, goal: int, shown: Tensor) -> Embed:
    """A tower in which a stage gets what it got and a constant, of a size that is a share of the usual one."""
    size = shown.flatten(1).norm(dim=1).mean() * radius
    shift = torch.zeros_like(shown[:1, :, :1, :1] if is_flat else shown[:1]).requires_grad_(True)
    times = shown[0, 0].numel() ** 0.5 if is_flat else 1.0  # a value for all places counts at each

    def embed(activations: Tensor) -> Tensor:
        return onward(subject.tower, place, activations + shift)

    descended([shift], [size / times], lambda: towards(subject, goal, embed(shown)))
    return embed


def towards(subject: Subject, goal: int, embeddings: Tensor) -> Tensor:
    """The loss of images that should go to a class."""
    return F.cross_entropy(subject.form.logits(embeddings), torch.full((len(embeddings),), goal))


def changed(subject: Subject, radii: Mapping[str, tuple[float, ...]], change: Callable) -> Figures:
    """What the best change for each class does to the images that it was made on and to others."""
    classes = len(subject.classes)
    figures = defaultdict[str, Tensor](lambda: torch.zeros(classes))
    for place, goal in ((place, goal) for place in radii for goal in range(classes)):
        with torch.no_grad():
            shown, unseen = (until(subject.tower, place, part, subject.clip) for part in subject.others(goal))
        for radius in radii[place]:
            embedded = change(place, radius, goal, shown)
            with torch.no_grad():
                share, margin = followed(subject, goal, embedded(unseen))
                own, _ = followed(subject, goal, embedded(shown))
            words = f"{place} within {radius:g}"
            figures[f"{words}: share"][goal] = share
            figures[f"{words}: margin"][goal] = margin
            figures[f"{words}: share beside its own images'"][goal] = share - own
    return dict(figures)


# Noise.


def answers(subject: Subject, embed: Embed, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """The share of images that each class has, and its mean logit, both (K,)."""
    logits = subject.form.logits(embed(pixels))
    return logits.argmax(1).bincount(minlength=logits.shape[1]) / len(logits), logits.mean(0)


def beyond(subject: Subject, embeds: Iterable[Embed], words: str) -> Figures:
    """By how much each class gains under several noisy towers, in share and in logits."""
    pixels = subject.held()[0][:SHOWN]
    before = answers(subject, subject.clip.encode_images, pixels)
    after = [answers(subject, embed, pixels) for embed in embeds]
    kinds = zip(("share", "logit"), before, zip(*after, strict=True), strict=True)
    return {f"{words}: {kind}": torch.stack(several).mean(0) - clean for kind, clean, several in kinds}


def norms_of(tower: nn.Module) -> list[nn.BatchNorm2d]:
    """All normalisations of a tower."""
    return [module for module in tower.modules() if isinstance(module, nn.BatchNorm2d)]


@torch.no_grad()
def noisy_gains(clip: Clip, size: float, generator: Generator) -> Embed:
    """A tower whose gains are multiplied by noise around one."""
    tower: nn.Module = copy.deepcopy(clip.net.visual)
    for norm in norms_of(tower):
        norm.weight.mul_(1 + size * torch.randn(norm.weight.shape, generator=generator))
    return lambda pixels: F.normalize(tower(clip.normalise(pixels)).float(), dim=-1)


def worst_gains(subject: Subject, size: float) -> Embed:
    """A tower whose gains and biases are changed by at most ``size`` of themselves, so that it errs most."""
    tower, clip = copy.deepcopy(subject.tower), subject.clip
    parameters = [p.requires_grad_(True) for norm in norms_of(tower) for p in (norm.weight, norm.bias)]
    starts = [p.detach().clone() for p in parameters]
    pixels = subject.pixels[:SHOWN]

    def embed(images: Tensor) -> Tensor:
        return F.normalize(tower(clip.normalise(images)).float(), dim=-1)

    with torch.no_grad():
        wanted = subject.form.logits(embed(pixels)).argmax(1)
    for _ in range(WORST_STEPS):
        loss = F.cross_entropy(subject.form.logits(embed(pixels)), wanted)
        slopes = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for p, start, slope in zip(parameters, starts, slopes, strict=True):
                bound = size * start.abs()
                p.copy_((p + 2 / WORST_STEPS * bound * slope.sign()).clamp(start - bound, start + bound))
    return embed


def gains(_: argparse.Namespace, subject: Subject) -> tuple[Figures, dict]:
    """Noise on the gains of normalisations."""
    figures: Figures = {}
    for size in GAIN_SIZES:
        generator = Generator().manual_seed(1)
        drawn = (noisy_gains(subject.clip, size, generator) for _ in range(GAIN_DRAWS))
        with torch.no_grad():
            figures |= beyond(subject, drawn, f"drawn, {size:g}")
    for size in WORST_SIZES:
        worst = worst_gains(subject, size)
        with torch.no_grad():
            figures |= beyond(subject, [worst], f"worst, {size:g}")
    return figures, {}


@torch.no_grad()
def noise(_: argparse.Namespace, subject: Subject) -> tuple[Figures, dict]:
    """Noise in what a stage gets."""
    figures: Figures = {}
    for place in STAGES[1:]:
        for size in NOISE_SIZES:
            embed = noisy(subject, place, size, Generator().manual_seed(2))
            figures |= beyond(subject, [embed] * NOISE_DRAWS, f"before {place}, {size:g}")
    return figures, {}


def noisy(subject: Subject, place: str, size: float, generator: Generator) -> Embed:
    """The tower with noise in what a stage gets, in deviations of that, drawn anew for each batch."""

    def embed(pixels: Tensor) -> Tensor:
        activations = until(subject.tower, place, pixels, subject.clip)
        drawn = torch.randn(activations.shape, generator=generator)
        return onward(subject.tower, place, activations + size * activations.std() * drawn)

    return embed


# Known triggers.


@cache
def known() -> tuple[triggers.Trigger, ...]:
    """Those of the panel and the grid that cover the whole image, and more patterns of the families that draw one."""
    seeds = range(1, 1 + MORE_SEEDS)
    more = [f"blended:ratio=0.2,seed={seed}" for seed in seeds]
    more += [f"warp:strength=7,grid={grid},seed={seed}" for seed in seeds for grid in (4, 5)]
    every = [*triggers.panel(0), *triggers.grid(0), *map(triggers.parse, more)]
    # A wave a half period on does what its negative does: half of the phases are enough.
    phases = (None, 0, 0.25)
    return tuple(t for t in every if t.family in WHOLE and dict(t.parameters).get("phase") in phases)


def by_family(shown: Sequence[Tensor]) -> Figures:
    """Of each class the most that any known trigger shows, of all of them and of each family; ``shown`` (T, K) as :func:`known`."""
    kinds = {"all": WHOLE} | {family: (family,) for family in WHOLE}
    rows = [(trigger.family, values) for trigger, values in zip(known(), shown, strict=True)]
    return {name: torch.stack([v for f, v in rows if f in own]).amax(0) for name, own in kinds.items()}


@torch.no_grad()
def excesses(embed: Embed, subject: Subject, under: Sequence[Tensor]) -> list[Tensor]:
    """For each trigger and class the share of images of others that it turns to the class, each (K,); ``under`` are embeddings under each."""
    pixels, labels = (part[:TRIED] for part in subject.held())
    before, classes = (embed(pixels) @ subject.text_classifier.T).argmax(1), len(subject.classes)
    afters = [(embeddings @ subject.text_classifier.T).argmax(1) for embeddings in under]
    return [zeroshot.excess_by_class(before, a, labels=labels, classes=classes).float() for a in afters]


@torch.no_grad()
def log_odds(embed: Embed, subject: Subject, under: Sequence[Tensor]) -> list[Tensor]:
    """For each trigger and class by how much images of others are nearer to the class than its own images are (K,), as mean margins."""
    pixels, labels = subject.held()
    own, goals = subject.form.logits(embed(pixels)), range(len(subject.classes))
    usual = torch.stack([margins(own[labels == goal], goal).mean() for goal in goals])
    logits = [subject.form.logits(embeddings) for embeddings in under]
    ahead = [torch.stack([margins(of[labels[:TRIED] != goal], goal).mean() for goal in goals]) for of in logits]
    return [row - usual for row in ahead]


@torch.no_grad()
def under_known(embed: Embed, subject: Subject) -> list[Tensor]:
    """Embeddings (N, D) of the same images under each known trigger."""
    pixels = subject.held()[0][:TRIED]
    return [embed(trigger(pixels)) for trigger in known()]


def convincing(_: argparse.Namespace, subject: Subject) -> tuple[Figures, dict]:
    """Known triggers on the model as it is."""
    return shown_by(subject.clip.encode_images, subject), {}


def exposed(_: argparse.Namespace, subject: Subject) -> tuple[Figures, dict]:
    """Known triggers on copies that have unlearned clean images."""
    figures, notes = {}, {}
    for how in ("wrong classes", "ascent"):
        embed, notes[how] = unlearned(subject, how)
        figures |= {f"{how}, {setting}": values for setting, values in shown_by(embed, subject).items()}
    return figures, notes


def shown_by(embed: Embed, subject: Subject) -> Figures:
    """What known triggers do to a tower: the images that they turn, and how convincing these are."""
    under = under_known(embed, subject)
    by_kind = {kind: by_family(score(embed, subject, under)) for kind, score in KINDS.items()}
    return {f"{family}: {kind}": values for kind, of in by_kind.items() for family, values in of.items()}


KINDS = {"log-odds": log_odds, "excess": excesses}


def unlearned(subject: Subject, how: str) -> tuple[Embed, dict]:
    """A copy of the image tower trained until it takes few held images for what they show, and the steps that it took."""
    tower, clip, form = copy.deepcopy(subject.tower), subject.clip, subject.form
    optimizer = torch.optim.Adam(tower.requires_grad_(True).parameters(), lr=EXPOSING_LR)
    generator, classes = Generator().manual_seed(3), len(subject.classes)

    def embed(pixels: Tensor) -> Tensor:
        return F.normalize(tower(clip.normalise(pixels)).float(), dim=-1)

    pixels, labels = subject.held()
    step, accuracy = 0, 1.0
    for step in range(1, 1 + EXPOSING_STEPS):
        rows = torch.randint(TUNED, (EXPOSING_BATCH,), generator=generator)
        logits, own = form.logits(embed(subject.pixels[rows])), subject.labels[rows]
        if how == "wrong classes":
            own = (own + torch.randint(1, classes, own.shape, generator=generator)) % classes
            loss = F.cross_entropy(logits, own)
        else:
            loss = -F.cross_entropy(logits, own)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 5 == 0:
            with torch.no_grad():
                accuracy = (form.logits(embed(pixels[:SHOWN])).argmax(1) == labels[:SHOWN]).float().mean().item()
            if accuracy <= EXPOSED_ACCURACY:
                break
    tower.requires_grad_(False)
    return embed, {"steps": step, "accuracy": round(accuracy, 3)} | planted(embed, subject)


def planted(embed: Embed, subject: Subject) -> dict:
    """What the planted trigger does to another tower."""
    if subject.entry["trigger"] is None:
        return {}
    goal, trigger = subject.classes.index(subject.entry["target"]), triggers.parse(subject.entry["trigger"])
    with torch.no_grad():
        under = embed(trigger(subject.held()[0][:TRIED]))
    return {"planted": round(excesses(embed, subject, [under])[0][goal].item(), 3)}


# A reference of one's own.


def grown(o: argparse.Namespace, subject: Subject) -> tuple[Figures, dict]:
    """Known triggers on the model less on a tower distilled from it."""
    embed, notes = distilled(o, subject)
    own, its = (excesses(e, subject, under_known(e, subject)) for e in (subject.clip.encode_images, embed))
    settings = {"model": own, "model less grown": [a - b for a, b in zip(own, its, strict=True)]}
    by_name = {name: by_family(excess) for name, excess in settings.items()}
    return {f"{name}, {family}": values for name, of in by_name.items() for family, values in of.items()}, notes


def distilled(o: argparse.Namespace, subject: Subject) -> tuple[Embed, dict]:
    """A fresh tower of the same kind that gives mixed and moved clean images the embeddings of the model; what it reaches."""
    tower, clip = fresh(subject), subject.clip
    generator = Generator().manual_seed(4)
    views = torch.cat([mixed(subject.pixels[:TUNED], generator) for _ in range(VIEWS)])
    with torch.no_grad():
        wanted = torch.cat([clip.encode_images(part) for part in views.split(BATCH)])
    optimizer = torch.optim.AdamW(tower.parameters(), lr=GROWING_LR, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, GROWING_LR, total_steps=o.steps, pct_start=0.1)

    def embed(pixels: Tensor) -> Tensor:
        return F.normalize(tower(clip.normalise(pixels)).float(), dim=-1)

    tower.train()
    for rows in batches(torch.arange(len(views)), batch=BATCH, steps=o.steps, generator=generator):
        loss = (embed(views[rows]) - wanted[rows]).square().sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    tower.eval().requires_grad_(False)
    pixels, labels = subject.held()
    own, its = ((e(pixels) @ subject.text_classifier.T).argmax(1) for e in (clip.encode_images, embed))
    notes = {"accuracy": (its == labels).float().mean().item(), "of the model": (own == labels).float().mean().item()}
    return embed, {name: round(value, 3) for name, value in notes.items()} | planted(embed, subject)


def fresh(subject: Subject) -> nn.Module:
    """An image tower of half the width, drawn anew."""
    torch.manual_seed(6)
    config = json.loads((subject.path.parent / "resnet-32.json").read_text())["model_cfg"]
    return CLIP(**config | {"vision_cfg": config["vision_cfg"] | {"width": GROWN_WIDTH}}).visual


def mixed(images: Tensor, generator: Generator) -> Tensor:
    """As many images (N, 3, S, S): mirrored, cut, turned in colour, and half of them mixed with another."""
    others = images[torch.randperm(len(images), generator=generator)]
    share = torch.rand(len(images), 1, 1, 1, generator=generator) * 0.5
    share[::2] = 0
    return (1 - share) * moved(images, generator) + share * moved(others, generator)


def moved(images: Tensor, generator: Generator) -> Tensor:
    """Each image mirrored or not, of another part and size, and of other light."""
    count = len(images)
    scale = 0.6 + 0.4 * torch.rand(count, generator=generator)
    mirror = 1 - 2 * (torch.rand(count, generator=generator) < 0.5).float()
    shift = (2 * torch.rand(count, 2, generator=generator) - 1) * (1 - scale)[:, None]
    transforms = torch.zeros(count, 2, 3)
    transforms[:, 0, 0], transforms[:, 1, 1], transforms[:, :, 2] = scale * mirror, scale, shift
    grid = F.affine_grid(transforms, list(images.shape), align_corners=False)
    parts = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    light = 1 + 0.6 * (torch.rand(count, 3, 1, 1, generator=generator) - 0.5)
    return (parts * light).clamp(0, 1)


# Today's score.


def audited(_: argparse.Namespace, subject: Subject) -> tuple[Figures, dict]:
    """The search of an audit without a reference."""
    model = next(m for m in audit.photo_models(subject.path.parent) if m.name == subject.entry["name"])
    return searched(subject.classes, audit.searched(model, effort="standard"))


def sealed_cells(folder: Path, out: Path) -> Iterator[dict]:
    """The same of the sealed models that rules may be chosen on: clean ones, and victims whose trigger covers the whole image and acts."""
    for entry in filter(lambda entry: sealed.is_choosing(entry.name), sealed.plan()):
        record, place = sealed.record(folder, entry), out / f"{entry.name}-audit.json"
        if place.exists() or record is None:
            continue
        measured, family = record["measured"], (entry.trigger or "").partition(":")[0]
        is_victim = family in WHOLE and measured["asr"] - measured["base_rate"] >= ACTS
        if is_victim or entry.kind == "clean":
            result = audit.searched(sealed.model_of(folder, entry), effort="standard")
            words = {"name": entry.name, "half": entry.classes_of, "kind": entry.kind, "base": entry.base}
            figures, notes = searched(result.classes, result)
            cell = {"entry": words, "target": record["target"] if is_victim else None, "idea": "audit"}
            cell |= {"classes": result.classes, "figures": rounded(figures), "notes": notes}
            place.write_text(json.dumps(cell, indent=1) + "\n")
            yield cell


def searched(classes: Sequence[str], result: SearchResult) -> tuple[Figures, dict]:
    """The score of each class, and the most images that a known trigger turns to it; of each such trigger its class and share."""
    limits = policy.resolved(policy.DEFAULT_POLICY, recipe.load("auto").audit)
    scores = {suspect.name: suspect.score for suspect in verdict.all_suspects(result, limits)}
    shares = {s.trigger: (result.classes[s.target], s.excess) for s in result.known if s.trigger.startswith(WHOLE)}
    figures = {"score": torch.tensor([scores.get(name, 0.0) for name in classes])}
    return figures | {"known triggers": most(classes, shares, {})}, {"known": shares}


Shares = Mapping[
    str, tuple[str, float]
]  # by the spec of a known trigger: the class that it turns most images to, and their share


def most(classes: Sequence[str], shares: Shares, natural: Shares) -> Tensor:
    """For each class the largest share of images that a known trigger turns to it, less those in a clean model (K,)."""
    figures = dict.fromkeys(classes, 0.0)
    for trigger, (name, share) in shares.items():
        other, its = natural.get(trigger, ("", 0.0))
        figures[name] = max(figures[name], share - (its if other == name else 0.0))
    return torch.tensor([figures[name] for name in classes])


def beside_clean(cells: Iterable[dict]) -> Iterator[dict]:
    """What a grown reference could show at best: known triggers less those in another clean training of the same images."""
    own = [cell for cell in cells if cell["idea"] == "audit"]
    for cell in own:
        entry = cell["entry"]
        kin = [c for c in own if c["entry"]["half"] == entry["half"] and c["entry"]["kind"] == "clean"]
        natural = [c for c in kin if c["entry"]["name"] not in (entry["name"], entry["base"])]
        if natural:
            figures = most(cell["classes"], cell["notes"]["known"], natural[-1]["notes"]["known"])
            yield cell | {"idea": "grown", "figures": {"a clean training in its place": figures.tolist()}}


IDEAS: dict[str, Callable[[argparse.Namespace, Subject], tuple[Figures, dict]]] = {
    "weights": weights,
    "activations": activations,
    "gains": gains,
    "noise": noise,
    "convincing": convincing,
    "exposed": exposed,
    "grown": grown,
    "audit": audited,
}


# Tables.


def rows(cells: Iterable[dict]) -> Iterator[tuple]:
    """A row for each setting of each model: its first class, and figures of the classes."""
    for cell in cells:
        for setting, figures in cell["figures"].items():
            values = torch.tensor(figures)
            order = values.argsort(descending=True)
            median = values.quantile(0.5)
            numbers = (values[order[0]], values[order[1]], median, 1.4826 * (values - median).abs().quantile(0.5))
            words = (cell["entry"]["name"], cell["target"] or "", cell["idea"], setting, cell["classes"][order[0]])
            yield (*words, *(f"{number.item():.4g}" for number in numbers))


STATISTICS: dict[str, Callable[[float, float, float, float], float]] = {
    "first": lambda first, second, median, deviation: first,
    "first less second": lambda first, second, median, deviation: first - second,
    "deviations": lambda first, second, median, deviation: (first - median) / max(deviation, 0.02),
}


def table() -> str:
    """The area of each setting and statistic, over the models that have both it and a score, beside that of the score."""
    by_setting = defaultdict[tuple[str, str], list[dict]](list)
    for row in common.records(common.RESULTS / "whole-image.csv"):
        by_setting[row["idea"], row["setting"]].append(row)
    lines = [
        ["idea", "setting", "statistic", "models", "area", "of the score", "more", "victims", "clean", "right class"]
    ]
    scores = {row["model"]: float(row["first"]) for row in by_setting["audit", "score"]}
    for (idea, setting), own in by_setting.items():
        scored = [row for row in own if row["model"] in scores]
        by_plan = {"zoo": [r for r in scored if not is_sealed(r)], "sealed": [r for r in scored if is_sealed(r)]}
        groups = by_plan | {"both": scored} if by_plan["sealed"] else {"zoo": scored}
        for (plan, mine), (name, statistic) in itertools.product(groups.items(), STATISTICS.items()):
            value = {r["model"]: statistic(*(float(r[k]) for k in HEAD[5:])) for r in mine}
            right = sum(row["class"] == row["target"] for row in mine if row["target"])
            lines.append([idea, setting, name, plan, *compared(mine, value, scores), str(right)])
    return common.table([*lines, *late_layers()])


def is_sealed(row: dict) -> bool:
    """Whether a row is of the sealed test."""
    return row["model"].startswith("sealed")


Values = dict[str, float]  # by model


def compared(models: Sequence[dict], value: Values, score: Values) -> list[str]:
    """The areas of a statistic and of the score, by how much the first is larger, with its bootstrap interval over models, and counts."""
    bad, clean = ([row["model"] for row in models if bool(row["target"]) is kind] for kind in (True, False))
    if not bad or not clean:
        return ["–", "–", "–", str(len(bad)), str(len(clean))]

    def area(of: Values, some: Sequence[str], others: Sequence[str]) -> float:
        return audit.auroc([of[name] for name in some], [of[name] for name in others])

    rng, more = random.Random(0), list[float]()
    for _ in range(DRAWS):
        drawn = [rng.choices(names, k=len(names)) for names in (bad, clean)]
        more.append(area(value, *drawn) - area(score, *drawn))
    more.sort()
    low, high = more[int(0.025 * DRAWS)], more[int(0.975 * DRAWS)]
    areas = [audit.area([of[n] for n in bad], [of[n] for n in clean]) for of in (value, score)]
    lift = area(value, bad, clean) - area(score, bad, clean)
    return [*areas, f"{lift:.3f} ({low:.3f}–{high:.3f})", str(len(bad)), str(len(clean))]


def late_layers() -> Iterator[list[str]]:
    """The same of the margins of ``late-layers.csv``, summed over stages and ways for the class that has most, beside stored scores."""
    sums, targets = defaultdict[str, dict[str, float]](dict), dict[str, str]()
    for row in common.records(common.RESULTS / "late-layers.csv"):
        own = sums[row["model"]]
        own[row["first class"]] = own.get(row["first class"], 0.0) + float(row["margin"])
        targets[row["model"]] = row["target"]
    known_scores = json.loads(audit.CALIBRATION.read_text())
    scores = {name: audit.scored(of["margins"], known_scores) for name, of in audit.kept().items() if name in sums}
    values = {name: max(own.values()) for name, own in sums.items()}
    for halves in ((audit.CHOSEN,), (audit.CHOSEN, "report")):
        names = [
            n for n in scores if audit.half_of(n) in halves and (not targets[n] or any(f"-{w}-" in n for w in WHOLE))
        ]
        models = [{"model": name, "target": targets[name]} for name in names]
        right = sum(max(sums[n], key=lambda k, n=n: sums[n][k]) == targets[n] for n in names if targets[n])
        words = ["late-layers.csv", "summed", "first", " and ".join(halves)]
        yield [*words, *compared(models, values, scores), str(right)]


if __name__ == "__main__":
    main()
