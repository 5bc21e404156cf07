"""Nothing in a step of a search or a training waits for a GPU: as many waits whether there are few steps or many."""

import far
import pytest
import tiny
import torch
import torch.nn.functional as F
from clips import build
from detect import towers
from torch import Generator

from clipclean import data, model, train
from clipclean.attack import poison, triggers
from clipclean.config import recipe as recipes
from clipclean.config.effort import Effort
from clipclean.detect import SEARCH_FAMILIES, Suspicion, inversion
from clipclean.jobs import measured_images
from clipclean.methods import rounds, training

PATCH = Suspicion(triggers.parse(tiny.TRIGGER), 1)
CLASSIFIER = F.normalize(torch.randn(12, 8, generator=Generator().manual_seed(0)), dim=-1)
QUIET = train.Run(0, "fp32", lambda *_: None)
IN_PARTS = ("cleanclip", "train.micro_batch=4", "train.checkpoint_activations=true", "train.grad_clip=1")
SHORT = ("train.batch_size=8", "train.epochs=1000", "train.warmup_steps=1")


def moved():
    clip = build()
    return model.Clip(far.put(clip.net), clip.architecture, far.GPU)


def searched(clip, family, steps, *, put=lambda tensor: tensor):
    """Every kind of search in a family; ``put`` moves images and classifier."""
    pixels, texts = put(towers.images(24)), put(CLASSIFIER)
    how = Effort(suspects=2, steps=steps, sweep=steps, images=4, free_images=4)
    with model.freezing(clip.net):
        canonical = inversion.canonical_of(clip.encode_images, pixels, texts)
        search = inversion.Inversion(clip.encode_images, pixels, canonical, family, how, Generator().manual_seed(0))
        return search.targeted(range(12)), search.untargeted(), search.swept(list(range(12)), lambda: None)


@pytest.mark.parametrize("family", SEARCH_FAMILIES)
def test_no_step_of_a_search_waits_for_the_gpu(family):
    waits = []
    for steps in (6, 4):
        with far.gpu() as counted:
            found, free, order = searched(moved(), family, steps, put=far.Far)
        waits.append(+counted)
    assert waits[0] == waits[1] != {}
    if family != "wave":  # products of complex numbers take another way there, and round differently
        ours, unaimed, swept = searched(build(), family, 4)
        assert [each.size for each in (*found, *free)] == [each.size for each in (*ours, *unaimed)]
        assert order == swept


def finetuned(clip, samples, name, *changes, steps, rehearsed=()):
    recipe = recipes.override(recipes.load(name), [*SHORT, f"train.max_steps={steps}", *changes])
    aims = training.Aims(far.Far(CLASSIFIER), rehearsed=rehearsed)
    training.finetune(clip, samples, recipe, aims=aims, run=QUIET)


def planted(clip, samples, *, steps):
    how = recipes.planting(rate=0.3, steps=steps, batch_size=8, walk=0.02, warmup_steps=1)
    implants = poison.implants([poison.TestBackdoor(*PATCH)], classes=tiny.CLASSES, templates=tiny.TEMPLATES)
    poison.finetune(clip, samples.pairs, recipes.load("cleanclip"), how, implants=implants, run=QUIET)


def forgotten(clip, samples, *, steps):
    recipe = recipes.override(recipes.load("unlearn"), [f"unlearn.steps={steps}", *SHORT[::2]])
    settings = rounds.RoundSettings.of(recipe)
    batches = rounds.batches_of(clip, samples.pairs, settings, 0, run=QUIET)
    asked = {"newest": [PATCH], "earlier": [PATCH]}
    drawing = Generator().manual_seed(0)
    teachers = rounds.Teachers(model.frozen_copy(clip))
    rounds.forget(clip, teachers, batches, asked, settings, generator=drawing, run=QUIET)


@pytest.mark.parametrize(
    ("taken", "asked"),
    [
        (finetuned, ("cleanclip",)),
        (finetuned, IN_PARTS),
        (finetuned, ("mmcl", "loss.preserve_weight=2", "train.moves=image tower", "augment.least_part=0.6")),
        (finetuned, ("par",)),
        (finetuned, ("supervised",)),
        (planted, ()),
        (forgotten, ()),
    ],
)
def test_no_step_of_a_training_waits_for_the_gpu(taken, asked, tmp_path):
    clip = build()
    images = measured_images.image_cache(recipes.load("cleanclip"), clip.architecture, views=True)
    pairs = data.read(tiny.pairs(tmp_path / "pairs"), images=images).pairs
    more = {"rehearsed": (PATCH,)} if "par" in asked else {}
    waits = []
    for steps in (2, 3):
        with far.gpu() as counted:
            samples = data.Samples(pairs, torch.arange(48) % 12)
            taken(moved(), samples, *asked, steps=steps, **more)
        waits.append(+counted)
    assert waits[0] == waits[1] != {}
