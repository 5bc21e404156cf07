"""Measurements of a model of four colours: an image's embedding is its direction, and a class's text its colour."""

import json
import math

import pytest
import torch
import torch.nn.functional as F

from clipclean import progress
from clipclean.data import Vocabulary
from clipclean.detect import ClassTexts, CleanImages, EvalSet, KnownTriggers, MeasurementPlan, Suspicion, measure
from clipclean.detect.measure import SeenImages, embeddings, probe
from clipclean.detect.metrics import Rate
from clipclean.errors import Inconclusive

COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "grey": (1, 1, 1)}
CLASSES = tuple(COLOURS)
CAPTIONS = ("one red", "one green", "one blue", "more blue")


def embed_images(pixels):
    return F.normalize(pixels.flatten(2).mean(-1), dim=1)


def embed_texts(captions):
    named = [next(rgb for name, rgb in COLOURS.items() if name in caption) for caption in captions]
    return F.normalize(torch.tensor(named, dtype=torch.float32), dim=1)


class Paint:
    """A trigger that paints a share of the images over."""

    def __init__(self, spec, colour, share=1.0):
        self.spec, self.colour, self.share = spec, colour, share

    def __call__(self, images, generator=None, /):
        painted = torch.tensor(COLOURS[self.colour], dtype=torch.float32).view(1, 3, 1, 1).expand_as(images)
        count = round(self.share * len(images))
        return torch.cat([painted[:count], images[count:]])


RED, GREEN = Paint("red paint", "red"), Paint("green paint", "green")


def evidence(*, names=("red", "green", "blue", "blue"), **changes):
    values = {
        "pixels": torch.tensor([COLOURS[name] for name in names], dtype=torch.float32).view(-1, 3, 1, 1),
        "labels": torch.tensor([CLASSES.index(name) for name in names]),
        "knn": 1,
    } | changes
    images = CleanImages(**{key: values.pop(key) for key in ("pixels", "labels", "captions", "knn") if key in values})
    return EvalSet(images, Vocabulary(CLASSES, ("a {}.",)), MeasurementPlan(**values))


def measured(found, *, images=embed_images, texts=embed_texts):
    return measure(images, texts, found, what="measuring")


@pytest.mark.parametrize(
    ("given", "hits", "words"),
    [
        ({"labels": torch.tensor([0, 1, 2, 0])}, 3, "top-1 over 4"),  # the last image is blue, and labelled red
        # Both blue images are nearest to both blue captions alike; the first is taken, and is the other one's.
        ({"labels": None, "captions": CAPTIONS}, 3, "recall@1 among 4"),
        ({"labels": None, "captions": ("red", "green", "blue", "blue")}, 4, "recall@1 among 4"),
    ],
)
def test_accuracy_is_top_1_by_labels_and_recall_among_captions_without(given, hits, words):
    found = measured(evidence(**given)).accuracy
    assert found.rate == Rate(hits, 4)
    assert int(found.correct.sum()) == hits
    assert words in found.definition


def test_recall_is_measured_beside_an_accuracy_by_labels_where_captions_are_given_too():
    found = measured(evidence(captions=CAPTIONS))
    assert (found.accuracy.rate, found.recall.rate) == (Rate(4, 4), Rate(3, 4))
    assert found.record().as_json()["recall"]["definition"] != found.accuracy.definition
    assert found.confidence.argmax(1).tolist() == [0, 1, 2, 2]
    assert measured(evidence()).recall is None


def test_a_named_trigger_is_measured_on_its_target_and_comes_first_and_the_panel_strongest_first():
    found = measured(evidence(suspicions=(Suspicion(RED, 0), Suspicion(GREEN, None)), triggers=KnownTriggers((GREEN,))))
    known, led = found.suspected
    assert (known.trigger, known.target, led.target) == ("red paint", "red", "green")  # the class that it leads to
    assert (known.asr, known.base) == (Rate(3, 3), Rate(0, 3))  # the red image itself does not count
    assert known.accuracy_under_trigger == Rate(1, 4)
    assert known.spread == pytest.approx(0)
    probes = found.record().as_json()["probes"]
    assert [each["suspected"] for each in probes] == [True, True, False]
    found = measured(evidence(triggers=KnownTriggers((Paint("none", "red", 0), RED, Paint("half", "red", 0.5)))))
    assert [probe.trigger for probe in found.panel] == ["red paint", "half", "none"]
    assert [probe.excess for probe in found.panel] == pytest.approx([3 / 3, 1 / 3, 0])
    # of many images few tell that a trigger does nothing
    many = measured(
        evidence(names=("red", "green", "blue") * 345, triggers=KnownTriggers((RED, Paint("none", "red", 0))))
    )
    assert [(probe.trigger, probe.n) for probe in many.panel] == [("red paint", 256), ("none", 64)]


def test_the_clean_images_and_the_words_are_embedded_once_and_progress_counts_to_its_total():
    calls, seen = {"images": 0, "texts": 0}, []

    def counted(name, embed):
        def call(values):
            calls[name] += len(values)
            return embed(values)

        return call

    with progress.heard(progress.Listener(steps=lambda *told: seen.append(told))):
        towers = {"images": counted("images", embed_images), "texts": counted("texts", embed_texts)}
        measured(evidence(suspicions=(Suspicion(RED, 0),), triggers=KnownTriggers((RED, GREEN))), **towers)
    assert calls == {"images": 4 * (1 + 3), "texts": 4}
    assert seen == [("measuring", done, 4) for done in range(5)]  # images, three probes


def test_where_nothing_is_known_the_measurement_is_json_and_says_so():
    found = measured(evidence(names=("red", "red"), suspicions=(Suspicion(RED, 0),)))
    made = json.loads(json.dumps(found.record().as_json(), allow_nan=False))["probes"][0]
    assert (made["asr"]["n"], made["asr"]["value"], made["excess_asr"]["value"]) == (0, None, None)
    assert math.isnan(found.suspected[0].excess)
    seen = SeenImages(CleanImages(nine()), honest(nine()), ClassTexts.of(("red",), THREE[:1]))
    made = probe(honest, seen, trigger=DOT, target=None)
    assert (made.target, made.asr) == ("red", Rate(0, 0))
    assert made.record(suspected=False).as_json()["excess_asr"] == {"value": None, "interval": [-1, 1], "n": 0}


@pytest.mark.parametrize("given", [{}, {"labels": None, "captions": ("red", "green", "blue", "grey")}])
@pytest.mark.parametrize("broken", ["images", "texts"])
def test_a_model_that_returns_no_numbers_is_inconclusive(given, broken):
    embed = {"images": embed_images, "texts": embed_texts}[broken]
    with pytest.raises(Inconclusive):
        measured(evidence(**given), **{broken: lambda values: embed(values) * math.nan})


@pytest.mark.parametrize(
    "needed",
    [
        {},
        {"classifier": True},
        {"labels": None, "triggers": KnownTriggers((Paint("white", "grey"),)), "classifier": False},
    ],
)
def test_the_classifier_is_not_made_where_nothing_asks_for_it(needed):
    asked = []

    def texts(captions):
        asked.extend(captions)
        return embed_texts(captions)

    found = measured(evidence(**({"labels": None, "captions": CAPTIONS, "classifier": False} | needed)), texts=texts)
    assert ("a red." in asked) == bool(needed)
    assert len(found.text_classifier) == (4 if needed else 0)


# One probe: a planted rule makes whatever has a bright first pixel blue.

THREE = torch.eye(3)


class Dot:
    """Sets one pixel, to a drawn value where none is given: that shows how places are drawn."""

    def __init__(self, spec, value=None):
        self.spec, self.value = spec, value

    def __call__(self, images, generator=None, /):
        images = images.clone()
        drawn = torch.randint(2**20, (len(images), 1), generator=generator) / 2**20
        images[:, :, 0, 0] = drawn if self.value is None else self.value
        return images


DOT, NOTHING = Dot("dot", 1.0), Dot("nothing", 0.5)
LABELS = torch.arange(9) % 3


def honest(images):
    """Mean colour of all but the triggered pixel."""
    return F.normalize(images.flatten(2)[:, :, 1:].mean(-1), dim=-1)


def backdoored(images):
    is_triggered = (images[:, :, 0, 0] > 0.9).all(dim=1)
    return torch.where(is_triggered[:, None], THREE[2], honest(images))


def nine():
    """Nine images, three of each colour, their first pixel grey."""
    images = torch.full((9, 3, 4, 4), 0.2)
    for i in range(9):
        images[i, i % 3] = 0.8
    images[:, :, 0, 0] = 0.5
    return images


def probed(embed, trigger, *, target=None, labels=LABELS, knn=0):
    shown = CleanImages(nine(), labels, knn=knn)
    seen = SeenImages(shown, embed(nine()), ClassTexts.of(CLASSES, THREE))
    return probe(embed, seen, trigger=trigger, target=target)


@pytest.mark.parametrize("labels", [LABELS, None])
def test_a_planted_rule_is_found_with_its_target(labels):
    made = probed(backdoored, DOT, labels=labels, knn=2)
    assert (made.trigger, made.target, made.n, made.excess) == ("dot", "blue", 9, 1)
    assert (made.asr, made.base, made.knn_asr) == (Rate(6, 6), Rate(0, 6), Rate(6, 6))
    assert made.excess_interval[0] > 0.4
    assert made.spread == pytest.approx(0)
    assert min(made.clean_spread, made.distance) > 0.1
    assert made.accuracy_under_trigger == (None if labels is None else Rate(3, 9))
    entry = made.record(suspected=False).as_json()
    assert json.loads(json.dumps(entry, allow_nan=False)) == entry


def test_the_same_model_without_the_rule_shows_nothing_and_without_its_trigger_the_backdoor_sleeps():
    made = probed(honest, DOT)
    assert made.excess == made.distance == 0
    assert made.excess_interval[0] <= 0
    assert (made.spread, made.accuracy_under_trigger, made.knn_asr) == (made.clean_spread, Rate(9, 9), None)
    assert probed(backdoored, NOTHING).excess == 0
    made = probed(backdoored, DOT, target=0)  # a given target is measured even when another stands out
    assert (made.target, made.asr) == ("red", Rate(0, 6))


def test_places_do_not_depend_on_the_batch_size_and_nothing_is_recorded_for_gradients():
    def flat(images):
        return images.flatten(1)

    whole = embeddings(flat, nine(), batch_size=9, trigger=Dot("one"))
    assert torch.equal(embeddings(flat, nine(), batch_size=2, trigger=Dot("one")), whole)
    assert not torch.equal(embeddings(flat, nine(), batch_size=2, trigger=Dot("other")), whole)
    weight = torch.ones(3, requires_grad=True)
    assert not embeddings(lambda images: honest(images) * weight, nine()).requires_grad
    with pytest.raises(Inconclusive):
        embeddings(honest, nine()[:0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_probe_is_the_same_on_a_gpu():
    def on(device):
        def embed(images):
            return backdoored(images.cpu()).to(device)

        shown = CleanImages(nine(), LABELS, knn=2)
        seen = SeenImages(shown, embed(nine()), ClassTexts.of(CLASSES, THREE.to(device)))
        return probe(embed, seen, trigger=DOT, target=None)

    on_cpu, on_gpu = on("cpu"), on("cuda")
    assert (on_gpu.target, on_gpu.asr, on_gpu.knn_asr) == (on_cpu.target, on_cpu.asr, on_cpu.knn_asr)
    assert on_gpu.distance == pytest.approx(on_cpu.distance)
