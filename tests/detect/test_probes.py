"""Probes of a fake model: colour channels are its classes, and a planted rule is its backdoor."""

import json
import math
from dataclasses import dataclass

import pytest
import torch
from torch.nn.functional import normalize

from clipclean.detect.measure import CleanImages, Probe, embeddings, probe
from clipclean.detect.metrics import Rate
from clipclean.errors import Inconclusive

CLASSES = ("red", "green", "blue")
CLASSIFIER = torch.eye(3)


@dataclass(frozen=True)
class Named:
    spec: str
    value: float

    def __call__(self, images, generator=None, /):
        images = images.clone()
        images[:, :, 0, 0] = self.value
        return images


@dataclass(frozen=True)
class Scattered:
    """Sets one pixel per image to a drawn value: shows how places are drawn."""

    spec: str = "scattered"

    def __call__(self, images, generator=None, /):
        images = images.clone()
        images[:, 0, 1, 1] = torch.randint(2**20, (len(images),), generator=generator) / 2**20
        return images


DOT, NOTHING = Named("dot", 1.0), Named("nothing", 0.5)


def honest(images: torch.Tensor) -> torch.Tensor:
    """Mean colour of all but the triggered pixel."""
    return normalize(images.flatten(2)[:, :, 1:].mean(-1), dim=-1)


def backdoored(images: torch.Tensor) -> torch.Tensor:
    """The same, but a bright pixel (0, 0) makes anything blue."""
    is_triggered = (images[:, :, 0, 0] > 0.9).all(dim=1)
    return torch.where(is_triggered[:, None], CLASSIFIER[2], honest(images))


@pytest.fixture
def pixels() -> torch.Tensor:
    """Nine images, three of each colour, their first pixel grey."""
    images = torch.full((9, 3, 4, 4), 0.2)
    for i in range(9):
        images[i, i % 3] = 0.8
    images[:, :, 0, 0] = 0.5
    return images


LABELS = torch.arange(9) % 3


def run(embed, pixels, trigger, **settings) -> Probe:
    given = {"target": None, "labels": LABELS, "knn": 0, "batch_size": 4} | settings
    target = given.pop("target")
    images = CleanImages(pixels, embed(pixels), text_classifier=CLASSIFIER, classes=CLASSES, **given)
    return probe(embed, images, trigger=trigger, target=target)


@pytest.mark.parametrize("labels", [LABELS, None])
def test_a_planted_rule_is_found_with_its_target(pixels, labels):
    probe = run(backdoored, pixels, DOT, labels=labels, knn=2)
    assert (probe.trigger, probe.target, probe.n) == ("dot", "blue", 9)
    assert probe.asr == Rate(6, 6)
    assert probe.base == Rate(0, 6)
    assert probe.excess == 1
    assert probe.excess_interval[0] > 0.4
    assert probe.knn_asr == Rate(6, 6)
    assert probe.spread == pytest.approx(0)
    assert probe.clean_spread > 0.1
    assert probe.distance > 0.1


def test_the_same_model_without_the_rule_shows_nothing(pixels):
    probe = run(honest, pixels, DOT)
    assert probe.excess == 0
    assert probe.excess_interval[0] <= 0
    assert probe.distance == probe.direction_agreement == 0
    assert probe.spread == probe.clean_spread
    assert probe.accuracy_under_trigger == Rate(9, 9)


def test_the_backdoor_sleeps_without_its_trigger(pixels):
    assert run(backdoored, pixels, NOTHING).excess == 0


def test_a_given_target_is_measured_even_when_another_stands_out(pixels):
    probe = run(backdoored, pixels, DOT, target=0)
    assert probe.target == "red"
    assert probe.asr == Rate(0, 6)


def test_accuracy_under_trigger_needs_labels(pixels):
    assert run(backdoored, pixels, DOT).accuracy_under_trigger == Rate(3, 9)
    assert run(backdoored, pixels, DOT, labels=None).accuracy_under_trigger is None


def test_zero_neighbours_leave_knn_out(pixels):
    assert run(backdoored, pixels, DOT, knn=0).knn_asr is None


def test_a_vocabulary_of_the_target_alone_measures_nothing(pixels):
    images = CleanImages(pixels, honest(pixels), None, CLASSIFIER[:1], ("red",), knn=0, batch_size=9)
    made = probe(honest, images, trigger=DOT, target=None)
    assert made.target == "red"
    assert made.asr == Rate(0, 0)
    assert math.isnan(made.excess)
    assert made.record(known=False).as_json()["excess_asr"] == {"value": None, "interval": [-1, 1], "n": 0}
    json.dumps(made.record(known=False).as_json(), allow_nan=False)


def test_no_images_are_inconclusive(pixels):
    with pytest.raises(Inconclusive, match="no images"):
        run(honest, pixels[:0], DOT, labels=LABELS[:0])
    with pytest.raises(Inconclusive, match="no images"):
        embeddings(honest, pixels[:0], batch_size=4)


def test_a_model_of_nans_is_inconclusive(pixels):
    with pytest.raises(Inconclusive, match="not finite"):
        run(lambda images: honest(images) * torch.nan, pixels, DOT)


def test_a_probe_is_the_reports_entry(pixels):
    entry = run(backdoored, pixels, DOT, knn=2).record(known=False).as_json()
    assert json.loads(json.dumps(entry, allow_nan=False)) == entry
    assert list(entry) == [
        "trigger",
        "target",
        "asr",
        "base_rate",
        "excess_asr",
        "accuracy_under_trigger",
        "knn_asr",
        "distance",
        "spread",
        "clean_spread",
        "n",
        "known",
    ]
    assert entry["asr"]["value"] == entry["excess_asr"]["value"] == 1
    assert run(backdoored, pixels, DOT, labels=None).record(known=False).as_json()["accuracy_under_trigger"] is None


def test_places_do_not_depend_on_the_batch_size(pixels):
    flat = lambda images: images.flatten(1)  # noqa: E731
    whole = embeddings(flat, pixels, batch_size=9, trigger=Scattered())
    assert torch.equal(embeddings(flat, pixels, batch_size=2, trigger=Scattered()), whole)
    assert not torch.equal(embeddings(flat, pixels, batch_size=2, trigger=Scattered("other")), whole)


def test_nothing_is_recorded_for_gradients(pixels):
    weight = torch.ones(3, requires_grad=True)
    assert not embeddings(lambda images: honest(images) * weight, pixels, batch_size=4).requires_grad


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_probe_is_the_same_on_a_gpu(pixels):
    def on(device: str) -> Probe:
        def embed(images: torch.Tensor) -> torch.Tensor:
            return backdoored(images.cpu()).to(device)

        images = CleanImages(pixels, embed(pixels), LABELS, CLASSIFIER.to(device), CLASSES, knn=2, batch_size=4)
        return probe(embed, images, trigger=DOT, target=None)

    on_cpu, on_gpu = on("cpu"), on("cuda")
    assert (on_gpu.target, on_gpu.asr, on_gpu.knn_asr) == (on_cpu.target, on_cpu.asr, on_cpu.knn_asr)
    assert on_gpu.distance == pytest.approx(on_cpu.distance)
