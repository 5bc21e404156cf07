"""Shorter runs, for tests of what is around what they leave out. A process of its own is made so by ``short.run``."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import pytest

from clipclean import detect
from clipclean.attack import triggers
from clipclean.config.effort import EFFORTS
from clipclean.export import open_clip_directory, parity
from clipclean.jobs import estimate
from clipclean.report import example_images
from clipclean.report.example_images import Plane

PANEL, GRID = triggers.PANEL, triggers.GRID
FEW = ("patch:place=random", "patch:place=corner", "blended:ratio=0.2", "sinusoid:delta=40/255")
SEARCH = {"steps": 2, "restarts": 1, "suspects": 2}


def alike(folder: object, samples: parity.ParitySamples, /, *_: object) -> parity.Parity:
    """What a library says that reads an export as it was meant."""
    return parity.Parity(0.0, 1.0, top1_agreement=1.0, n=len(samples.images) + len(samples.texts), reader="nobody")


def known_triggers(patch: pytest.MonkeyPatch, /) -> None:
    """An audit tries four known triggers, and three more beside a clean model."""
    patch.setattr(triggers, "PANEL", FEW)
    patch.setattr(triggers, "GRID", (GRID[0], GRID[180], GRID[-1]))  # one of each family


def all_known_triggers(patch: pytest.MonkeyPatch, /) -> None:
    """As users have it."""
    patch.setattr(triggers, "PANEL", PANEL)
    patch.setattr(triggers, "GRID", GRID)


def exact(patch: pytest.MonkeyPatch, /) -> None:
    """No tower is rounded: to compare both takes as long as a short search."""
    patch.setattr(detect, "may_round", lambda *_: False)


def searches(patch: pytest.MonkeyPatch, /, **values: Any) -> None:
    """Searches as short as they can be, or of these values."""
    for name, effort in EFFORTS.items():
        patch.setitem(EFFORTS, name, replace(effort, **(values or SEARCH)))


def maps(patch: pytest.MonkeyPatch, /) -> None:
    """Maps have a few images at their first two numbers: those of scikit-learn take longer than a short run does otherwise."""

    def stand_in(method: Literal["pca", "tsne"], explained: tuple[float, float] | None) -> Callable[..., Plane]:
        return lambda embeddings, **_: Plane(method, tuple((x, y) for x, y, *_ in embeddings.tolist()), explained)

    patch.setattr(example_images, "MAPPED_IMAGES", 12)
    patch.setattr(example_images, "principal", stand_in("pca", (0.5, 0.25)))
    patch.setattr(example_images, "neighbouring", stand_in("tsne", None))


def estimates(patch: pytest.MonkeyPatch, /) -> None:
    """A rate is taken of one batch, whatever else the machine does."""
    patch.setattr(estimate, "TIMED_SECONDS", 1e-9)


def unread(patch: pytest.MonkeyPatch, /) -> None:
    """No process is started that lets open_clip read the export, which takes three seconds a run."""
    patch.setattr(open_clip_directory, "check", alike)


def an_hour_passes(patch: pytest.MonkeyPatch, /) -> None:
    """At once, so that an hour given is over."""
    now = time.monotonic
    patch.setattr(time, "monotonic", lambda: now() + 3601)


def run(**search: Any) -> None:
    """All of this, in a process of a test's own."""
    patch = pytest.MonkeyPatch()
    known_triggers(patch)
    searches(patch, **search)
    exact(patch)
    unread(patch)
    maps(patch)
