import math

from clipclean.detect import References, telling
from clipclean.detect.panel import NEVER, Strength
from clipclean.detect.references import calibration

UNIT, NATURAL = calibration().unit, calibration().natural["panel"]
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
