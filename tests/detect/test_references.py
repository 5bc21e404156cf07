import json
import math

import pytest
from cases import each

from clipclean.detect import FAMILIES, References, as_file, from_file, together
from clipclean.detect.references import (
    CODE,
    COMPACTNESS,
    PANEL,
    calibration,
    margins,
)
from clipclean.errors import RefusedInput, UsageError

SIZES = {name: math.exp(log) for name, log in (("ant", -4), ("bee", -3), ("cow", -1), ("dog", 0))}


def test_every_family_has_a_measured_margin_of_natural_triggers():
    assert set(calibration().natural) == {*FAMILIES, PANEL, COMPACTNESS}  # a family without one would never count


def test_a_margin_is_measured_from_the_smallest_of_the_other_classes():
    assert margins(SIZES) == pytest.approx({"ant": 1, "bee": -1, "cow": -3, "dog": -4})


def one(family="mask", **sizes):
    return {family: sizes}


def test_of_several_clean_models_the_one_that_shows_most_counts():
    flat = dict.fromkeys(SIZES, 0.1)
    known = References("file", "two", ({"mask": SIZES}, {"mask": flat}))
    assert known.margin("mask", "ant") == pytest.approx(1)
    assert known.margin("mask", "dog") == pytest.approx(0)
    assert math.isnan(known.margin("patch", "ant"))


def test_the_attraction_of_a_clean_model_is_taken_from_its_margins():
    sizes = {"mask": {"lion": 0.02, "goose": 0.04}, "attraction": {"lion": 0.09, "goose": 1e-6}}
    clean = References("reference", "trusted.pt", (sizes,))
    slope = calibration().slopes["mask"]
    assert clean.margin("mask", "lion") == pytest.approx(math.log(2))
    # ten times LEAST together with it, so as much smaller as expected is taken off
    assert clean.relative_margin("mask", "lion") == pytest.approx(math.log(2) - slope * math.log(10), abs=1e-3)
    earlier = References("reference", "trusted.pt", ({"mask": sizes["mask"]},))
    assert earlier.relative_margin("mask", "lion") == earlier.margin("mask", "lion")


def test_the_panel_is_compared_too():
    known = References("file", "two", ({"panel": {"patch": 0.5}}, {"panel": {"patch": 0.3}}))
    assert known.least("patch") == 0.3
    assert known.least("stripes") is None


def test_a_report_gets_the_smallest_size_of_each_model():
    known = References("file", "two", ({"mask": {"a": 0.1, "b": 0.9}}, {"mask": {"a": 0.4}}))
    assert known.sizes("mask") == pytest.approx({"median": 0.2, "low": 0.1, "high": 0.4, "n": 2})
    assert known.sizes("warp") is None


# Files.

CLASSES = ["ant", "bee"]
OURS = {"kind": "vit-32px", "effort": "standard", "classes": CLASSES}


def made(**changes):
    found = as_file("vit-32px", "standard", CLASSES, {"clean.pt": {"mask": {"ant": 0.1, "bee": 0.2}}})
    return json.loads(json.dumps(found)) | changes


def test_what_was_written_is_read_back():
    known = from_file(made(), "clean.json", **OURS)
    assert (known.kind, known.name, known.models) == ("file", "clean.json", 1)
    # ant 0.1, bee 0.2: from 0.15 on everybody sees another image
    assert known.margin("mask", "ant") == pytest.approx(math.log(1.5))


def test_how_much_smaller_a_trigger_is_than_in_clean_models_is_counted_from_the_one_that_needs_least():
    sizes = ({"mask": {"ant": 0.08, "bee": 0.04}}, {"mask": {"bee": 0.1}})
    known = References("reference", "several", sizes)
    assert known.shrunk("mask", "ant", 0.02) == pytest.approx(math.log(4))
    assert known.shrunk("mask", "bee", 0.02) == pytest.approx(math.log(2))
    assert known.shrunk("mask", "cow", 0.02) == pytest.approx(math.log(2))  # not searched for: the smallest of any
    assert math.isnan(known.shrunk("patch", "ant", 0.02))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"code": CODE - 1}, "another version of clipclean"),
        ({"kind": "resnet-32px"}, "resnet-32px models, and this one is vit-32px"),
        ({"effort": "quick"}, "effort quick, and this audit has standard"),
        ({"vocabulary": "x"}, "another class list"),
    ],
)
def test_references_of_another_kind_are_refused_with_one_message(changes, words):
    with pytest.raises(UsageError, match=words):
        from_file(made(**changes), "clean.json", **OURS)


@each(
    "changes",
    [
        {"models": []},
        {"models": 3},
        {"models": [{}]},
        {"models": [{"sizes": {}}]},
        {"models": [{"sizes": {"mask": {}}}]},
        {"models": [{"sizes": {"mask": {"ant": math.nan}}}]},
        {"models": [{"sizes": {"mask": {"ant": 0}}}]},
        {"models": [{"sizes": {"mask": {"ant": True}}}]},
        {"models": [{"sizes": {"mask": {"ant": 1.5}}}]},  # only strengths of the panel reach two
        {"models": [{"sizes": {"patch": {"ant": 0.5}}}]},  # a patch is never that large
        {"models": [{"sizes": {"pitch": {"ant": 0.1}}}]},
        {"models": [{"sizes": {"mask": {"ant": "0.1"}}}]},
        {"format": "a recipe"},
    ],
)
def test_what_is_no_references_file_or_holds_what_is_no_size_is_refused(changes):
    with pytest.raises(RefusedInput, match=r"clean\.json"):
        from_file(made(**changes), "clean.json", **OURS)


def test_several_references_are_one():
    one, other = (
        from_file(made(), "a.json", **OURS),
        References("reference", "b.pt", ({"mask": {"ant": 0.01, "bee": 0.09}},)),
    )
    both = together([one, other])
    assert (both.kind, both.name, both.models) == ("reference", "a.json, b.pt", 2)
    assert both.margin("mask", "ant") == pytest.approx(math.log(9))
