"""How far triggers move embeddings for their size, and what that says beside clean models."""

import math

import pytest
import torch
from detect import towers

from clipclean.detect import SEARCH_FAMILIES, References, SmallestTrigger
from clipclean.detect.families import InvertedTrigger
from clipclean.detect.measure import ClassTexts, CleanImages, SeenImages, embeddings
from clipclean.detect.metrics import shift
from clipclean.detect.reach import REACH_IMAGES, reaches
from clipclean.detect.references import reach_of

IMAGES = towers.images(2 * REACH_IMAGES)


def candidate(strength, target, *, is_reached=True):
    """A pattern blended in by its ratio, which is its size."""
    parameters = {"pattern": torch.ones(3, towers.SIDE, towers.SIDE), "ratio": torch.tensor(strength)}
    size = SEARCH_FAMILIES["blend"].size({"ratio": torch.tensor([strength])}).item()
    return SmallestTrigger("blend", target, parameters, size, is_reached)


def unseen(tower):
    return SeenImages(CleanImages(IMAGES), embeddings(tower, IMAGES), ClassTexts.of(towers.CLASSES, towers.CLASSIFIER))


def test_reach_is_the_distance_of_embeddings_by_the_size_of_the_trigger():
    tower, weak, strong = towers.honest(), candidate(-3.0, 0), candidate(-1.0, 1)
    by_class = reaches(tower, unseen(tower), [weak, strong])["blend"]
    pixels = IMAGES[::2]
    for made in (weak, strong):
        name = towers.CLASSES[made.target]
        trigger = InvertedTrigger("blend", name, made.parameters, towers.SIDE)
        moved = shift(embeddings(tower, pixels), embeddings(tower, pixels, trigger=trigger))
        assert by_class[name] == pytest.approx(moved / made.size)


def test_a_trigger_that_does_not_work_has_no_reach():
    tower = towers.honest()
    assert reaches(tower, unseen(tower), [candidate(-3.0, 0, is_reached=False)]) == {}


def test_a_trigger_that_moves_nothing_still_has_a_reach_whose_logarithm_is_finite():
    def still(images):
        return towers.CLASSIFIER[:1].expand(len(images), -1)

    by_class = reaches(still, unseen(still), [candidate(-3.0, 0)])["blend"]
    assert math.isfinite(math.log(by_class[towers.CLASSES[0]]))


NEAR, FAR = {reach_of("mask"): {"ant": 2.0, "bee": 8.0}}, {reach_of("mask"): {"ant": 8.0}}


@pytest.mark.parametrize(
    ("entries", "name", "usual"),
    [
        ((NEAR,), "ant", 2.0),
        ((NEAR,), "cow", 5.0),  # a class that was not searched for counts by the median of the others
        ((NEAR, FAR), "ant", 4.0),  # of two models the one in the middle, by logarithms
        (({}, NEAR), "ant", 2.0),
    ],
)
def test_a_reach_is_compared_with_that_of_the_same_class_in_clean_models(entries, name, usual):
    known = References("reference", "clean", entries)
    assert known.exceeded("mask", name, 20.0) == pytest.approx(math.log(20 / usual))


def test_a_reach_that_no_clean_model_has_in_the_family_is_unknown():
    assert math.isnan(References("reference", "clean", (NEAR,)).exceeded("wave", "ant", 20.0))
