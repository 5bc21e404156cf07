"""Measurements of a model of four colours: an image's embedding is its direction, and a class's text its colour."""

import json
import math

import pytest
import torch
import torch.nn.functional as F

from clipclean import progress
from clipclean.data import Vocabulary
from clipclean.detect import ClassTexts, CleanImages, EvalSet, KnownTriggers, MeasurementPlan, Suspicion, measure
from clipclean.detect.measure import SeenImages, embeddings, probe, spaced
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
    ("changes", "hits", "words"),
    [
        ({"labels": torch.tensor([0, 1, 2, 0])}, 3, "top-1 over 4"),  # the last image is blue, and labelled red
        # Both blue images are nearest to both blue captions alike; the first is taken, and is the other one's.
        ({"labels": None, "captions": CAPTIONS}, 3, "recall@1 among 4"),
        ({"labels": None, "captions": ("red", "green", "blue", "blue")}, 4, "recall@1 among 4"),
    ],
)
def test_accuracy_is_top_1_by_labels_or_else_recall_among_captions(changes, hits, words):
    accuracy = measured(evidence(**changes)).accuracy
    assert accuracy.rate == Rate(hits, 4)
    assert int(accuracy.correct.sum()) == hits
    assert words in accuracy.definition


def test_recall_is_measured_beside_an_accuracy_by_labels_where_captions_are_given_too():
    found = measured(evidence(captions=CAPTIONS))
    assert (found.accuracy.rate, found.recall.rate) == (Rate(4, 4), Rate(3, 4))
    assert found.record().as_json()["recall"]["definition"] != found.accuracy.definition
    assert found.confidence.argmax(1).tolist() == [0, 1, 2, 2]
    assert measured(evidence()).recall is None


def with_named_triggers():
    """A measurement of a named trigger with a target and one without, and of a panel."""
    suspicions = (Suspicion(RED, 0), Suspicion(GREEN, None))
    return measured(evidence(suspicions=suspicions, triggers=KnownTriggers((GREEN,))))


def test_a_named_trigger_is_measured_on_its_target():
    known, led = with_named_triggers().suspected
    assert (known.trigger, known.target, led.target) == ("red paint", "red", "green")  # the class that it leads to
    assert (known.asr, known.base_rate) == (Rate(3, 3), Rate(0, 3))  # the red image itself does not count
    assert known.accuracy_under_trigger == Rate(1, 4)
    assert known.spread == pytest.approx(0)


def test_named_triggers_come_first_in_a_report():
    probes = with_named_triggers().record().as_json()["probes"]
    assert [each["suspected"] for each in probes] == [True, True, False]


def test_the_panel_is_told_strongest_first():
    panel = KnownTriggers((Paint("none", "red", 0), RED, Paint("half", "red", 0.5)))
    probes = measured(evidence(triggers=panel)).panel
    assert [probe.trigger for probe in probes] == ["red paint", "half", "none"]
    assert [probe.excess for probe in probes] == pytest.approx([3 / 3, 1 / 3, 0])


def test_of_many_images_few_tell_that_a_trigger_does_nothing():
    many = measured(
        evidence(names=("red", "green", "blue") * 345, triggers=KnownTriggers((RED, Paint("none", "red", 0))))
    )
    assert [(probe.trigger, probe.n) for probe in many.panel] == [("red paint", 256), ("none", 64)]


def three_probes():
    return evidence(suspicions=(Suspicion(RED, 0),), triggers=KnownTriggers((RED, GREEN)))


def test_nothing_is_embedded_twice():
    calls = {"images": 0, "texts": 0}

    def counted(name, embed):
        def call(values):
            calls[name] += len(values)
            return embed(values)

        return call

    measured(three_probes(), images=counted("images", embed_images), texts=counted("texts", embed_texts))
    assert calls == {"images": 4 * (1 + 3), "texts": 4}


def test_progress_counts_to_its_total():
    steps = []
    with progress.heard(progress.Listener(steps=lambda *step: steps.append(step))):
        measured(three_probes())
    assert steps == [("measuring", done, 4) for done in range(5)]  # images, three probes


def test_what_nothing_is_known_of_has_no_value_in_json():
    measurement = measured(evidence(names=("red", "red"), suspicions=(Suspicion(RED, 0),)))
    entry = json.loads(json.dumps(measurement.record().as_json(), allow_nan=False))["probes"][0]
    assert (entry["asr"]["n"], entry["asr"]["value"], entry["excess_asr"]["value"]) == (0, None, None)
    assert math.isnan(measurement.suspected[0].excess)


def test_of_a_single_class_a_trigger_has_no_images_to_turn():
    images = SeenImages(CleanImages(nine()), honest(nine()), ClassTexts.of(("red",), THREE[:1]))
    alone = probe(honest, images, trigger=DOT, target=None)
    assert (alone.target, alone.asr) == ("red", Rate(0, 0))
    assert alone.record(suspected=False).as_json()["excess_asr"] == {"value": None, "interval": [-1, 1], "n": 0}


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
    assert (made.asr, made.base_rate, made.knn_asr) == (Rate(6, 6), Rate(0, 6), Rate(6, 6))
    assert made.excess_interval[0] > 0.4
    assert made.spread == pytest.approx(0)
    assert min(made.clean_spread, made.distance) > 0.1
    assert made.accuracy_under_trigger == (None if labels is None else Rate(3, 9))
    entry = made.record(suspected=False).as_json()
    assert json.loads(json.dumps(entry, allow_nan=False)) == entry


def test_the_same_model_without_the_rule_shows_nothing():
    clean = probed(honest, DOT)
    assert clean.excess == clean.distance == 0
    assert clean.excess_interval[0] <= 0
    assert (clean.spread, clean.accuracy_under_trigger, clean.knn_asr) == (clean.clean_spread, Rate(9, 9), None)


def test_without_its_trigger_the_backdoor_sleeps():
    assert probed(backdoored, NOTHING).excess == 0


def test_a_given_target_is_measured_even_when_another_stands_out():
    on_red = probed(backdoored, DOT, target=0)
    assert (on_red.target, on_red.asr) == ("red", Rate(0, 6))


def test_places_do_not_depend_on_the_batch_size():
    def flat(images):
        return images.flatten(1)

    whole = embeddings(flat, nine(), batch_size=9, trigger=Dot("one"))
    assert torch.equal(embeddings(flat, nine(), batch_size=2, trigger=Dot("one")), whole)
    assert not torch.equal(embeddings(flat, nine(), batch_size=2, trigger=Dot("other")), whole)


def test_nothing_is_recorded_for_gradients():
    weight = torch.ones(3, requires_grad=True)
    assert not embeddings(lambda images: honest(images) * weight, nine()).requires_grad


def test_embeddings_of_no_image_are_inconclusive():
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


@pytest.mark.parametrize("count", [1, 63, 64, 65, 100, 127, 128, 400, 511])
def test_some_of_the_images_are_evenly_spaced_from_the_first_to_the_last(count):
    # Of 400 images in 20 folders the first 64 would be of 4 classes: a step of whole images is 1 up to 127 of them.
    gaps = spaced(torch.arange(count), 64).diff(append=torch.tensor([count]))
    assert len(gaps) == min(count, 64)
    assert gaps.max() - gaps.min() <= 1


def test_some_of_several_are_of_their_own_kind():
    assert spaced([1, 2, 3], 2) == [1, 2]
    assert spaced(THREE, 5) is THREE
