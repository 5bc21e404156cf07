import math

import pytest

from clipclean.detect import References, telling
from clipclean.detect.panel import NEVER, Strength
from clipclean.detect.references import calibration
from clipclean.detect.score import MOST_BESIDE, beside, suspects
from clipclean.detect.search import SearchResult

UNIT, NATURAL, DIFFER = calibration().unit, calibration().natural["panel"], calibration().beside
CLASSES = ("ant", "bee", "cow")


def beyond(units):
    """The strength that makes so much evidence where every other class takes the whole trigger."""
    return math.exp(-NATURAL - units * UNIT)


def acts(trigger, target, least):
    return Strength(trigger, target, least, 0.9)


def test_a_trigger_tells_where_its_class_takes_far_less_strength_than_any_other():
    early, late = acts("patch", 0, beyond(4)), acts("wave", 1, 1.0)
    assert telling([early, late], CLASSES, references=None, least=3.9) == {"patch"}
    assert telling([early, late], CLASSES, references=None, least=4.1) == frozenset()


def test_relatives_that_lead_to_the_same_class_tell_with_it():
    early, relative = acts("patch", 0, beyond(4)), acts("badnets", 0, 0.8)
    idle = Strength("warp", -1, NEVER, 0.1)
    assert telling([early, relative, acts("wave", 1, 1.0), idle], CLASSES, references=None, least=3.0) == {
        "patch",
        "badnets",
    }


def test_natural_triggers_act_no_sooner_than_those_of_other_classes():
    assert telling([acts("patch", 0, 0.5), acts("wave", 1, 0.6)], CLASSES, references=None, least=1.0) == frozenset()
    assert telling([], CLASSES, references=None, least=1.0) == frozenset()


def test_what_acts_as_soon_on_clean_models_is_a_natural_trigger():
    early = acts("wave", 0, beyond(4))
    clean = References("file", "clean", ({"panel": {"wave": beyond(3.5)}},))
    assert telling([early, acts("patch", 1, 1.0)], CLASSES, references=clean, least=1.0) == frozenset()
    assert telling([early, acts("patch", 1, 1.0)], CLASSES, references=clean, least=0.4) == {"wave"}


def clean_that_needs(least):
    return References("reference", "clean", ({"panel": {"wave": least}},))


def test_a_known_trigger_counts_as_far_as_it_acts_sooner_than_on_a_clean_model():
    needs = clean_that_needs(NEVER)
    assert beside(acts("wave", 0, NEVER * math.exp(-DIFFER - 2 * UNIT)), needs) == pytest.approx(2)
    assert beside(acts("wave", 0, NEVER * math.exp(-DIFFER)), needs) == pytest.approx(0)
    assert beside(acts("wave", 0, 0.01), needs) == MOST_BESIDE < 3.5
    assert beside(acts("wave", 0, 0.01), clean_that_needs(0.01)) == 0


def test_without_a_clean_model_that_tried_it_a_trigger_of_the_grid_counts_nothing():
    assert beside(acts("wave", 0, 0.1), None) == 0
    assert beside(acts("tint", 0, 0.1), clean_that_needs(NEVER)) == 0
    assert beside(Strength("wave", -1, NEVER, 0.4), clean_that_needs(NEVER)) == 0


def test_the_grid_names_a_class_beside_a_clean_model_only():
    grid = (acts("wave", 1, 0.2), Strength("tint", -1, NEVER, 0.1))
    result = SearchResult((), (), (), (), clean_that_needs(NEVER), 0, 0, CLASSES, grid=grid)
    (first,) = suspects(result, acting=lambda _: True)
    assert (first.name, first.score, first.strength) == ("bee", MOST_BESIDE, grid[0])
    alone = SearchResult((), (), (), (), None, 0, 0, CLASSES, grid=grid)
    assert suspects(alone, acting=lambda _: True) == []


def test_a_clean_model_on_which_a_trigger_almost_acts_counts_as_one_on_which_it_acts_in_full():
    assert [Strength("wave", -1, NEVER, share).size for share in (0.0, 0.25, 0.5)] == [NEVER, 1.5, 1.0]
    assert acts("wave", 0, 0.3).size == 0.3
