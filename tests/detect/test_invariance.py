"""Whatever keeps the answers of a model keeps what a search finds in it: the bundled backdoored model, changed in three ways."""

import math

import pytest
import torch
from torch import Generator

from clipclean import checkpoint, data, demo, detect, model
from clipclean.config import recipe
from clipclean.config.effort import EFFORTS
from clipclean.detect import inversion
from clipclean.jobs import inputs

pytestmark = pytest.mark.slow

TARGET = "strawberry"
EFFORT = EFFORTS["standard"]


@pytest.fixture(scope="module")
def bundled():
    with demo.unpacked() as folder:
        words = inputs.words(folder / "classes.txt", folder / "templates.txt")
        opened = inputs.read(folder / "backdoored.pt", arch=str(folder / "tiny.json"))
        images = data.read_images(
            folder / demo.LABELLED, images=inputs.image_cache(recipe.load("cleanclip"), opened.architecture)
        )
        names = [TARGET, *(name for name in words.classes if name != TARGET)][:8]
        pixels = detect.stack([pair.image for pair in images.pairs])
        yield opened, names, words.templates, pixels


def built(opened, tensors):
    return model.build(opened.architecture, tensors, device="cpu")


def as_numbers(opened):
    """The weights, which are stored in 16 bits, in fp32."""
    return {name: v.float() if v.is_floating_point() else v.clone() for name, v in opened.file.tensors.items()}


def away(opened, names, templates):
    """A unit direction of the joint space that no class lies along."""
    clip = built(opened, opened.file.tensors)
    texts = detect.classifier(clip.embed_texts, names, templates=templates, batch_size=64)
    drawn = torch.randn(1, texts.shape[1], generator=Generator().manual_seed(0))
    return torch.linalg.qr(torch.cat([texts, drawn]).T)[0][:, -1]


OUT = ("visual.attnpool.c_proj.weight", "visual.attnpool.c_proj.bias")


def coned(weights, direction, length=300.0):
    weights[OUT[1]] += length * direction


def halved(weights, _):
    for name, values in weights.items():
        if values.is_floating_point():
            weights[name] = values.bfloat16().float()


def far(weights, direction):
    coned(weights, direction, 3500.0)


def both(weights, direction):
    """A cone, no temperature, and a rotation of the joint space."""
    coned(weights, direction)
    weights["logit_scale"] = torch.tensor(0.0)
    turn = torch.linalg.qr(torch.randn(*2 * (len(weights[OUT[1]]),), generator=Generator().manual_seed(1)))[0]
    weights[OUT[0]], weights[OUT[1]] = turn @ weights[OUT[0]], turn @ weights[OUT[1]]
    weights["text_projection"] = weights["text_projection"] @ turn.T


CHANGES = (halved, far, both)


def margin(clip, names, templates, pixels):
    """The class whose mask is smallest, by how much, and the answers on clean images."""
    text_classifier = detect.classifier(clip.embed_texts, names, templates=templates, batch_size=64)
    with model.frozen(clip.net):
        fast = detect.fastest(clip.encode_images, pixels, text_classifier)
        canonical = inversion.canonical_of(clip.encode_images, pixels[:64], text_classifier)
        search = inversion.Inversion(fast, pixels, canonical, "mask", EFFORT, Generator().manual_seed(0))
        found = search.targeted(range(len(names)))
    first, second = sorted(found, key=lambda candidate: candidate.size)[:2]
    answers = detect.predict(clip.embed_images(pixels), text_classifier)
    return names[first.target], math.log(second.size / first.size), answers


@pytest.fixture(scope="module")
def unchanged(bundled):
    opened, names, templates, pixels = bundled
    return margin(built(opened, opened.file.tensors), names, templates, pixels)


def test_the_backdoor_stands_apart(unchanged):
    assert unchanged[0] == TARGET
    assert unchanged[1] > 1


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_what_keeps_the_answers_keeps_the_suspect(bundled, unchanged, change):
    opened, names, templates, pixels = bundled
    weights = as_numbers(opened)
    change(weights, away(opened, names, templates))
    assert checkpoint.digest(weights) != checkpoint.digest(as_numbers(opened))
    name, found, answers = margin(built(opened, weights), names, templates, pixels)
    assert (answers == unchanged[2]).float().mean() > 0.98
    assert name == TARGET
    assert found > 0.6 * unchanged[1]
