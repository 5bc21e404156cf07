import json
import math

import pytest
import torch
import torch.nn.functional as F

from clipclean.detect import EvalSet, measure
from clipclean.errors import Inconclusive

# A model of four colours. A image is one pixel of three channels; its embedding is its direction, and a class's text
# embedding is its colour. Templates and captions hold the colour's name.
COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "grey": (1, 1, 1)}
CLASSES = tuple(COLOURS)


def embed_images(pixels):
    return F.normalize(pixels.flatten(1), dim=1)


def embed_texts(captions):
    named = [next(rgb for name, rgb in COLOURS.items() if name in caption) for caption in captions]
    return F.normalize(torch.tensor(named, dtype=torch.float32), dim=1)


class Paint:
    """A trigger that paints a image over."""

    def __init__(self, spec, colour, share=1.0):
        self.spec, self.colour, self.share = spec, colour, share

    def __call__(self, images, generator=None, /):
        painted = torch.tensor(COLOURS[self.colour], dtype=torch.float32).view(1, 3, 1, 1).expand_as(images)
        count = round(self.share * len(images))
        return torch.cat([painted[:count], images[count:]])


def images(*names):
    return torch.tensor([COLOURS[name] for name in names], dtype=torch.float32).view(-1, 3, 1, 1)


def evidence(*, names=("red", "green", "blue", "blue"), **changes):
    values = {
        "pixels": images(*names),
        "labels": torch.tensor([CLASSES.index(name) for name in names]),
        "captions": None,
        "classes": CLASSES,
        "templates": ("a {}.",),
        "suspicions": (),
        "panel": (),
        "knn": 1,
        "batch_size": 64,
    }
    return EvalSet(**(values | changes))


def measured(found, *, images=embed_images, texts=embed_texts, progress=lambda done, total: None):
    return measure(images, texts, found, progress=progress)


def test_accuracy_is_top_1_where_there_are_labels():
    found = measured(evidence(labels=torch.tensor([0, 1, 2, 0])))  # the last image is blue, and labelled red
    assert (found.clean_accuracy.hits, found.clean_accuracy.n) == (3, 4)
    assert found.correct.tolist() == [True, True, True, False]
    assert found.definition == "zero-shot top-1 over 4 classes"


def test_recall_is_measured_beside_an_accuracy_by_labels_where_captions_are_given_too():
    found = measured(evidence(captions=("one red", "one green", "one blue", "more blue")))
    assert found.definition == "zero-shot top-1 over 4 classes"
    assert (found.recall.rate.hits, found.recall.rate.n) == (3, 4)  # both blue images take the first blue caption
    assert found.record().as_json()["recall"]["definition"] == "image-to-text recall@1 among 4 clean pairs"
    assert found.confidence.argmax(1).tolist() == [CLASSES.index(name) for name in ("red", "green", "blue", "blue")]
    assert measured(evidence()).recall is None


def test_accuracy_is_recall_among_the_captions_where_there_are_none():
    captions = ("one red", "one green", "one blue", "more blue")
    found = measured(evidence(labels=None, captions=captions))
    # Both blue images are nearest to both blue captions alike; the first is taken, and is the other one's.
    assert (found.clean_accuracy.hits, found.clean_accuracy.n) == (3, 4)
    assert found.definition == "image-to-text recall@1 among 4 clean pairs"


def test_a_caption_that_is_there_twice_is_right_for_both_images():
    found = measured(evidence(labels=None, captions=("red", "green", "blue", "blue")))
    assert found.clean_accuracy.hits == 4


def test_a_named_trigger_is_measured_on_its_target_and_comes_first():
    red = Paint("red paint", "red")
    found = measured(evidence(suspicions=((red, CLASSES.index("red")),), panel=(Paint("green paint", "green"),)))
    (known,) = found.known
    assert (known.trigger, known.target) == ("red paint", "red")
    assert (known.asr.hits, known.asr.n, known.base.hits) == (3, 3, 0)  # the red image itself does not count
    assert (known.accuracy_under_trigger.hits, known.accuracy_under_trigger.n) == (1, 4)
    assert known.spread == pytest.approx(0)
    probes = found.record().as_json()["probes"]
    assert [(probe["trigger"], probe["known"]) for probe in probes] == [("red paint", True), ("green paint", False)]


def test_a_trigger_without_a_target_is_measured_on_the_class_that_it_leads_to():
    found = measured(evidence(suspicions=((Paint("paint", "green"), None),)))
    assert found.known[0].target == "green"


def test_the_panel_comes_strongest_first():
    panel = (Paint("none", "red", 0), Paint("all", "red"), Paint("half", "red", 0.5))
    found = measured(evidence(panel=panel))
    assert [probe.trigger for probe in found.panel] == ["all", "half", "none"]
    assert [probe.excess for probe in found.panel] == pytest.approx([3 / 3, 1 / 3, 0])


def test_the_clean_images_and_the_words_are_embedded_once():
    calls = {"images": 0, "texts": 0}

    def images(pixels):
        calls["images"] += len(pixels)
        return embed_images(pixels)

    def texts(captions):
        calls["texts"] += len(captions)
        return embed_texts(captions)

    found = evidence(suspicions=((Paint("a", "red"), 0),), panel=(Paint("b", "red"), Paint("c", "green")))
    measured(found, images=images, texts=texts)
    assert calls == {"images": 4 * (1 + 3), "texts": 4}


def test_batches_change_no_number():
    panel = (Paint("all", "red"),)
    whole, one = (measured(evidence(panel=panel, batch_size=size)).record().as_json() for size in (64, 1))
    assert whole == one


def test_progress_counts_up_to_its_total():
    seen = []
    found = evidence(suspicions=((Paint("a", "red"), 0),), panel=(Paint("b", "red"), Paint("c", "green")))
    measured(found, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 5) for done in range(1, 6)]  # words, images, three probes


def test_the_measurement_is_json_even_where_nothing_is_known():
    found = measured(evidence(names=("red", "red"), suspicions=((Paint("a", "red"), 0),)))
    probe = json.loads(json.dumps(found.record().as_json(), allow_nan=False))["probes"][0]
    assert (probe["asr"]["n"], probe["asr"]["value"], probe["excess_asr"]["value"]) == (0, None, None)
    assert math.isnan(found.known[0].excess)


@pytest.mark.parametrize("broken", ["images", "texts"])
def test_a_model_that_returns_no_numbers_is_inconclusive(broken):
    nowhere = {
        "images": lambda pixels: embed_images(pixels) * math.nan,
        "texts": lambda texts: embed_texts(texts) * math.nan,
    }
    with pytest.raises(Inconclusive):
        measured(evidence(), **{broken: nowhere[broken]})
    with pytest.raises(Inconclusive):
        measured(evidence(labels=None, captions=("red", "green", "blue", "grey")), **{broken: nowhere[broken]})


@pytest.mark.parametrize(
    "needed", [{}, {"classifier": True}, {"labels": None, "panel": (Paint("white", "grey"),), "classifier": False}]
)
def test_the_classifier_is_not_made_where_nothing_asks_for_it(needed):
    asked = []

    def texts(captions):
        asked.extend(captions)
        return embed_texts(captions)

    captions = ("one red", "one green", "one blue", "more blue")
    found = measured(evidence(**({"labels": None, "captions": captions, "classifier": False} | needed)), texts=texts)
    assert ("a red." in asked) == bool(needed)
    assert len(found.text_classifier) == (4 if needed else 0)
