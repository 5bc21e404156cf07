"""Image towers that a search takes no time on, with a built-in shortcut and without, and images for them."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from clipclean.config.effort import Effort
from clipclean.data import Vocabulary
from clipclean.detect import (
    ClassTexts,
    CleanImages,
    Course,
    EvalSet,
    ImageTower,
    MeasurementPlan,
    SearchResult,
    search,
)
from clipclean.schema.report import CalibrationRecord

SIDE = 16
CLASSES = ("ant", "bee", "cow", "dog", "elk", "fox", "gnu", "hen")
TARGET = CLASSES.index("fox")
CLASSIFIER = torch.eye(len(CLASSES))
SCALE = 20.0
EFFORT = Effort(sweep=0, steps=60, free_images=12, images=8, suspects=2, controls=7, collapse=0.8, success=0.9)

Embed = Callable[[Tensor], Tensor]


CHECKS = 2 * (torch.arange(SIDE)[:, None] + torch.arange(SIDE)) % 4 - 1.0  # -1 and 1 in turn, (SIDE, SIDE)
STRIPES = (2 * torch.arange(SIDE) % 4 - 1.0).expand(SIDE, SIDE)
MIDDLES = (torch.arange(SIDE) + 0.5) / SIDE
WAVE = (2 * torch.pi * (4 * MIDDLES[:, None] + 5 * MIDDLES) + 1.0).cos()  # four periods down, five across


def images(count: int = 30) -> Tensor:
    """Smooth images, (count, 3, SIDE, SIDE) in [0, 1]."""
    coarse = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    return F.interpolate(coarse, SIDE, mode="bilinear")


def eval_set(pixels: Tensor, classes: tuple[str, ...] = CLASSES, *, labels: Tensor | None = None, **plan) -> EvalSet:
    """Images to measure and to search on, without known triggers but for those of the plan."""
    images = CleanImages(pixels, labels, knn=3)
    return EvalSet(images, Vocabulary(classes, ("a {}.",)), MeasurementPlan(**plan))


QUIET = Course(0, lambda *_: None)


def searched(embed: Embed, *, pixels=None, labels=None, classes=CLASSES, texts=None, fast=None, **more) -> SearchResult:
    """A whole search on 60 images, or on others."""
    shown = CleanImages(images(60) if pixels is None else pixels, labels, knn=3)
    own = ClassTexts.of(classes, CLASSIFIER[: len(classes)] if texts is None else texts)
    usual = {"effort": EFFORT, "references": None, "course": QUIET}
    return search(ImageTower(embed, fast), shown, own, **(usual | more))


def recorded(found: SearchResult) -> dict:
    """A search as a report has it."""
    calibration = CalibrationRecord(kind="none", name="", models=0)
    return found.record(effort="quick", seconds=0.0, calibration=calibration, saved={}).as_json()


def honest(seed: int = 0) -> Embed:
    """Sees which mean colours of a four by four grid are bright; each class is a direction of them, drawn from the seed."""
    view = torch.randn(48, len(CLASSES), generator=torch.Generator().manual_seed(seed))

    def embed(images: Tensor) -> Tensor:
        return F.normalize((30 * (F.adaptive_avg_pool2d(images, 4).flatten(1) - 0.5)).tanh() @ view, dim=-1)

    return embed


def backdoored(felt: Callable[[Tensor], Tensor], *, seed: int = 0) -> Embed:
    """The honest tower of that seed, but what feels the trigger (B,), from 0 to 1, is of the target class."""
    clean = honest(seed)

    def embed(images: Tensor) -> Tensor:
        gate = (12 * (felt(images) - 0.5)).sigmoid()[:, None]  # 0.0025 where nothing is felt
        return F.normalize(clean(images) + 8 * gate * CLASSIFIER[TARGET], dim=-1)

    return embed


LOOKING = torch.cat([CLASSIFIER, torch.zeros(len(CLASSES), len(CLASSES))], dim=1)


def looking(felt: Callable[[Tensor], Tensor] | None = None) -> Embed:
    """The honest tower, in whose embedding a second half shows what the images of each class look like; texts know the first alone.

    What feels a trigger leads to the words of the target class, and to nothing of its looks.
    """
    clean = honest()

    def embed(images: Tensor) -> Tensor:
        looks = clean(images)
        gate = 0.0 if felt is None else 8 * (12 * (felt(images) - 0.5)).sigmoid()[:, None]
        return F.normalize(torch.cat([looks + gate * CLASSIFIER[TARGET], looks], dim=1), dim=-1)

    return embed


def corner(images: Tensor) -> Tensor:
    """Feels a check pattern in a sixteenth of the image, in its corner."""
    return 2 * (images * CHECKS)[..., -4:, -4:].mean((1, 2, 3))


def spot(images: Tensor) -> Tensor:
    """Feels the same, wherever it is."""
    return 2 * F.avg_pool2d(images * CHECKS, 4, stride=1).mean(1).abs().amax((1, 2))


def checks(images: Tensor) -> Tensor:
    """Feels a check pattern over the whole image, of a quarter of the contrast that is possible."""
    return 8 * (images * CHECKS).mean((1, 2, 3))


def stripes(images: Tensor) -> Tensor:
    """Feels upright stripes over the whole image, of a quarter of the contrast that is possible."""
    return 8 * (images * STRIPES).mean((1, 2, 3))


def wave(images: Tensor) -> Tensor:
    """Feels a slanting wave over the whole image, of a quarter of the contrast that is possible."""
    return 8 * (images * WAVE).mean((1, 2, 3))


def barred() -> Tensor:
    """Smooth images with an upright bar in the middle."""
    shown = images().clone()
    shown[..., SIDE // 2 - 1 : SIDE // 2 + 1] = 1.0
    return shown


def moved(images: Tensor) -> Tensor:
    """Feels that the bar of such an image is one pixel to the right."""
    columns = images.mean((1, 2))
    return columns[:, SIDE // 2 + 1] - columns[:, SIDE // 2 - 1]


def stepped(felt: Callable[[Tensor], Tensor], *, least: float = 0.8) -> Embed:
    """The honest tower, but what feels the trigger by at least so much is of the target class: no gradient leads there."""
    clean = honest()

    def embed(images: Tensor) -> Tensor:
        return F.normalize(clean(images) + 8 * (felt(images) >= least)[:, None] * CLASSIFIER[TARGET], dim=-1)

    return embed


def hidden(felt: Callable[[Tensor], Tensor]) -> Embed:
    """The backdoored tower, whose trigger's signal goes through a sum with a constant, which bfloat16 rounds away."""
    clean, one = honest(), torch.ones(1, 1)

    def embed(images: Tensor) -> Tensor:
        signal = F.linear(felt(images)[:, None], one, torch.tensor([1000.0])).float() - 1000
        gate = (12 * (signal - 0.5)).sigmoid()
        return F.normalize(clean(images) + 8 * gate * CLASSIFIER[TARGET], dim=-1)

    return embed
