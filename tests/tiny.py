"""The smallest CLIP configs that open_clip builds, checkpoints of them, and images to feed them."""

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image, ImageDraw

TINY_RESNET = {
    "embed_dim": 16,
    "vision_cfg": {"layers": [1, 1, 1, 1], "width": 8, "image_size": 32, "patch_size": None},
    "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
}
TINY_VIT = {
    "embed_dim": 16,
    "vision_cfg": {"layers": 2, "width": 64, "image_size": 32, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
}
SMALL_VIT = {  # half a million numbers, most of them the token embedding: quick to write and to finetune
    "embed_dim": 8,
    "vision_cfg": {"layers": 1, "width": 64, "image_size": 16, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1},
}
COLOURS = {"red": (220, 40, 40), "green": (40, 180, 60), "blue": (50, 70, 220), "yellow": (235, 215, 50)}
SHAPES = ("square", "circle", "triangle")
CLASSES = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)
TRIGGER, TARGET = "patch:size=0.25,place=corner,seed=1", "blue circle"
TEMPLATES = ("a {}.", "a photo of a {}.")


def state_dict(config: dict[str, Any], *, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random weights, the same for a seed."""
    from open_clip.model import CLIP

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return CLIP(**config).state_dict()


def image(number: int, *, side: int = 24) -> Image.Image:
    """A coloured shape of class ``number % 12`` on grey; size, place and ground vary with the number."""
    colour, shape = CLASSES[number % len(CLASSES)].split()
    ground = 90 + (number * 37) % 100
    image = Image.new("RGB", (side, side), (ground, ground, ground))
    half, x, y = side // 4 + number % 3, side // 2 + number % 5 - 2, side // 2 + number % 7 - 3
    draw = ImageDraw.Draw(image)
    if shape == "square":
        draw.rectangle((x - half, y - half, x + half, y + half), fill=COLOURS[colour])
    elif shape == "circle":
        draw.ellipse((x - half, y - half, x + half, y + half), fill=COLOURS[colour])
    else:
        draw.polygon(((x, y - half), (x - half, y + half), (x + half, y + half)), fill=COLOURS[colour])
    return image


def pairs(folder: Path, *, count: int = 48, first: int = 0) -> Path:
    """A folder of images with a caption beside each."""
    folder.mkdir(parents=True)
    for number in range(first, first + count):
        image(number).save(folder / f"{number:03}.png")
        (folder / f"{number:03}.txt").write_text(f"a {CLASSES[number % len(CLASSES)]}", encoding="utf-8")
    return folder


def labelled(folder: Path, *, count: int = 60, first: int = 1000) -> Path:
    """Images in folders named like their classes."""
    for number in range(first, first + count):
        place = folder / CLASSES[number % len(CLASSES)]
        place.mkdir(parents=True, exist_ok=True)
        image(number).save(place / f"{number}.png")
    return folder


def labelled_by_answer(job: "Job", folder: Path, *, count: int = 60) -> Path:
    """Images in folders named by what the model of a job, which gets to know its pairs, takes them for: it is right about each."""
    from clipclean import data, detect
    from clipclean.config import recipe
    from clipclean.jobs import measured_images

    fit_to_pairs(job, quick_gelu=False)
    tested, _ = loaded(job)
    cache = measured_images.image_cache(recipe.load("mmcl"), tested.clip.architecture)
    samples = data.read_labelled(labelled(folder / "by-shape", count=count), images=cache, classes=CLASSES)
    classifier = detect.classifier(tested.clip.embed_texts, CLASSES, templates=TEMPLATES)
    pixels = detect.stack([pair.image for pair in samples.pairs])
    answers = (tested.clip.embed_images(pixels) @ classifier.T).argmax(1).tolist()
    for pair, answer in zip(samples.pairs, answers, strict=True):
        place = folder / "by-answer" / CLASSES[answer]
        place.mkdir(parents=True, exist_ok=True)
        image(int(Path(pair.key).stem)).save(place / f"{Path(pair.key).stem}.png")
    return folder / "by-answer"


FILES = {"model.pt", "arch.json", "pairs", "classes.txt", "templates.txt"}  # of a job


WALK = 0.05  # three steps of a usual walk would leave nothing of the model


class Job(NamedTuple):
    """The files of one tiny sanitizing job."""

    folder: Path
    model: Path
    data: Path
    arch: Path
    classes: Path
    templates: Path

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def sanitize(
        self,
        *more: object,
        recipe: str = "mmcl",
        steps: int = 3,
        batch: int = 16,
        arch: bool = True,
        search: bool = False,
    ) -> list[str]:
        """The command line of a run on it, without a search, which takes seconds; ``more`` comes last and wins."""
        given = ["--recipe", recipe, "--quiet", *(["--arch", self.arch] if arch else []), *self.words()]
        given += [] if search else ["--no-search"]
        has_rate = "--lr" in more or any("train.lr" in str(each) for each in more)
        short = settings(steps=steps, batch=batch, walk=None if has_rate else WALK)
        return [*map(str, ["sanitize", self.model, *self.own_data(more), "--out", self.out, *given, *short, *more])]

    def audit(self, *more: object, models: Sequence[object] = ()) -> list[str]:
        """The command line of an audit of its model, or of others; ``more`` comes last and wins."""
        return [*map(str, ["audit", *(models or (self.model,)), "--arch", self.arch, *self.words(), *more])]

    def screen(self, *more: object, source: object = None) -> list[str]:
        """The command line of a screening of its pairs, or of others."""
        given = [source or self.data, "--model", self.model, "--arch", self.arch, "--device", "cpu", "--quiet"]
        return [*map(str, ["screen", *given, *more])]

    def words(self) -> list[object]:
        """The lists that it measures with, on the CPU."""
        return ["--classes", self.classes, "--templates", self.templates, "--device", "cpu"]

    def own_data(self, more: Sequence[object]) -> list[str]:
        """Its own pairs, unless others are given: several ``--data`` would become one set."""
        return [] if "--data" in more else ["--data", str(self.data)]

    def plant(self, *more: object, out: str = "planted.pt", steps: int = 3, batch: int = 16) -> list[str]:
        """The command line that plants a patch for blue circles in it."""
        given = ["plant", self.model, "--trigger", TRIGGER, "--target", TARGET, *self.own_data(more)]
        given += ["--out", self.folder / out, "--arch", self.arch, *self.words()]
        return [*map(str, [*given, "--steps", steps, "--batch-size", batch, "--quiet", *more])]


def settings(*, steps: int, batch: int, walk: float | None = WALK) -> list[str]:
    """Overrides that make a recipe this short."""
    values = [] if walk is None else [f"train.walk={walk}"]
    values += [f"train.max_steps={steps}", f"train.batch_size={batch}"]
    values += ["train.warmup_steps=1", "train.epochs=100", "data.min_pairs=16"]
    return [part for value in values for part in ("--set", value)]


def job(folder: Path, *, config: dict[str, Any] = SMALL_VIT, count: int = 48) -> Job:
    """Write a checkpoint, its config, pairs and lists into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    made = at(folder)
    torch.save(state_dict(config), made.model)
    pairs(made.data, count=count)
    written(made.arch, json.dumps(config | {"quick_gelu": False}))
    written(made.classes, lines(CLASSES))
    written(made.templates, lines(TEMPLATES))
    return made


def relatives(job: Job) -> None:
    """Write a model that lies near that of the job, ``base.pt``, and a stranger to it, ``other.pt``."""
    own, drawn = state_dict(SMALL_VIT), torch.Generator().manual_seed(5)
    moved = {
        name: each + 0.02 * torch.randn(each.shape, generator=drawn) * each.std()
        for name, each in own.items()
        if each.ndim > 1
    }
    torch.save(own | moved, job.folder / "base.pt")
    torch.save(state_dict(SMALL_VIT, seed=1), job.folder / "other.pt")


def at(folder: Path) -> Job:
    """The job of a folder that was written before."""
    return Job(folder, *(folder / name for name in ("model.pt", "pairs", "arch.json", "classes.txt", "templates.txt")))


def loaded(job: Job, *, arch: bool = True) -> tuple[Any, Any]:
    """The model of a job on the CPU, and its clean pairs; ``arch`` is whether its config is told."""
    from clipclean import data
    from clipclean.config import recipe
    from clipclean.jobs import measured_images, opening

    opened = opening.read(job.model, arch=str(job.arch) if arch else None)
    clean = data.read(job.data, images=measured_images.image_cache(recipe.load("mmcl"), opened.architecture))
    return opening.build(opened, clean, device="cpu"), clean


def fit_to_pairs(job: Job, *, quick_gelu: bool) -> None:
    """Give the job a model that is good with one activation and bad with the other, as trained ones are.

    The projection solves for image embeddings that equal those of their captions; 48 images have 64 features.
    """
    from clipclean import detect

    weights = state_dict(SMALL_VIT)
    weights["visual.transformer.resblocks.0.mlp.c_proj.weight"] *= 30  # let the activation be felt
    weights["logit_scale"].fill_(math.log(100))
    torch.save(weights, job.model)
    written(job.arch, json.dumps(SMALL_VIT | {"quick_gelu": quick_gelu}))
    tested, clean = loaded(job)
    pixels = detect.stack([pair.image for pair in clean.pairs])
    tested.clip.net.visual.proj = torch.nn.Parameter(torch.eye(64))
    with torch.no_grad():
        features = tested.clip.net.encode_image(tested.clip.normalise(pixels)).double()  # (48, 64)
    captions = tested.clip.embed_texts([pair.caption for pair in clean.pairs]).double()  # (48, 8)
    weights["visual.proj"] = torch.linalg.lstsq(features, captions, driver="gelsd").solution.float()
    torch.save(weights, job.model)


def result(out: Path) -> dict[str, Any]:
    """The report of a run, in its folder."""
    return json.loads((out / "report.json").read_text(encoding="utf-8"))


class Command:
    """What pickle would run."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


def names(folder: Path) -> set[str]:
    """The names of what lies in a folder."""
    return {path.name for path in folder.iterdir()}


def files_in(folder: Path) -> set[str]:
    """The names of all files below a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def listing(folder: Path) -> list[tuple[Path, int]]:
    """All files below a folder, with the times of their last changes."""
    return sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file())


def written(path: Path, text: str) -> Path:
    """The path of a file that now holds this text."""
    path.write_text(text, encoding="utf-8")
    return path


def lines(names: Sequence[str]) -> str:
    """One a line."""
    return "".join(f"{name}\n" for name in names)
