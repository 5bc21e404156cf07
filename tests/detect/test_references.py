import math
import sys

import pytest

from clipclean.detect import FAMILIES, stored, yardstick
from clipclean.detect.references import DEVIATION, FLOOR, UNBOUNDED, Range, cap_of, freely

MODULE = sys.modules["clipclean.detect.references"]
# median -2.5, absolute deviations 1.5 .5 .5 2.5, so 1.4826 x 1.0; mean -2.25, so a variance of 8.75 / 3, which is larger
LOGS = Range(tuple(math.exp(log) for log in (-4, -3, -2, 0)))
SPREAD = math.sqrt(8.75 / 3)


def test_the_median_is_that_of_logarithms():
    assert LOGS.median == pytest.approx(math.exp(-2.5))
    assert Range((0.01, 0.04)).median == pytest.approx(0.02)


def test_abnormality_is_counted_in_deviations_of_clean_models():
    assert LOGS.abnormality(math.exp(-2.5)) == pytest.approx(0)
    assert LOGS.abnormality(math.exp(-6.5)) == pytest.approx(4 / SPREAD)
    assert LOGS.abnormality(math.exp(-0.5)) == pytest.approx(-2 / SPREAD)  # larger than clean models need


def test_the_robust_deviation_counts_where_it_is_the_larger():
    # logarithms -3, -3, -1, -1, -1: median -1, absolute deviations 2 2 0 0 0: 0; of -3 -3 -1 -1: median -2, all 1
    even = Range(tuple(math.exp(log) for log in (-3, -3, -1, -1)))
    assert even.abnormality(math.exp(-5)) == pytest.approx(3 / 1.4826)  # the standard deviation is 1.1547


def test_few_models_cannot_tell_their_deviation_and_equal_ones_have_a_least_one():
    assert Range((0.1, 0.1, 0.1)).abnormality(0.05) == pytest.approx(math.log(2) / DEVIATION)
    assert Range((0.1,)).abnormality(0.05) == pytest.approx(math.log(2) / DEVIATION)
    assert Range((0.1, 0.1, 0.1, 0.1)).abnormality(0.05) == pytest.approx(math.log(2) / FLOOR)


def test_where_half_of_the_models_came_to_no_trigger_their_sizes_are_bounds_and_decide_less():
    assert Range((1.0, 1.0, 1.0, 1.0), 1.0).abnormality(0.5) == pytest.approx(math.log(2) / UNBOUNDED)
    assert Range((1.0, 1.0, 0.99, 0.98), 1.0).abnormality(0.5) == pytest.approx(
        (math.log(1 * 0.99) / 2 - math.log(0.5)) / UNBOUNDED
    )
    assert Range((1.0,), 1.0).abnormality(0.5) == pytest.approx(math.log(2) / UNBOUNDED)
    assert Range((1.0, 0.99, 0.98, 0.97), 1.0).abnormality(0.5) == pytest.approx(
        (math.log(0.99 * 0.98) / 2 - math.log(0.5)) / FLOOR
    )


def test_how_far_bounds_decide_is_told_by_the_family_in_other_kinds_of_models(monkeypatch):
    """Logarithms 0, 0, -1, -1 have a standard deviation of 0.577, and a median absolute one of 0.5, times 1.4826 more."""
    wide = [
        {"warp": math.exp(log), "patch": size}
        for log, size in zip((0, 0, -1, -1), (0.14, 0.139, 0.14, 0.139), strict=True)
    ]
    kept = {"resnet-32px": {"name": "a", "classes": 100, "models": wide}}
    monkeypatch.setattr(MODULE, "_shipped", lambda: kept)
    made = yardstick("reference", "b", [{"warp": 1.0, "patch": 0.14062, "mask": 1.0}] * 4)
    assert made.sizes("warp").abnormality(math.exp(-1)) == pytest.approx(1 / (0.5 * 1.4826))
    assert made.sizes("patch").abnormality(0.14062 / math.e) == pytest.approx(1 / FLOOR)  # there they hardly vary
    assert made.sizes("mask").abnormality(math.exp(-1)) == pytest.approx(1 / UNBOUNDED)  # nothing is stored of it


def test_the_cap_of_a_family_is_that_of_both_its_searches_as_it_is_stored():
    assert cap_of("patch") == cap_of(freely("patch")) == 0.14062  # 0.375 squared is 0.140625
    assert cap_of("warp") == 1.0


def test_a_range_says_what_it_holds():
    assert Range((0.4, 0.1, 0.2)).as_dict() == pytest.approx({"median": 0.2, "low": 0.1, "high": 0.4, "n": 3})


def test_a_yardstick_gathers_the_sizes_of_each_family():
    made = yardstick("reference", "trusted.pt", [{"mask": 0.1, "warp": 0.3}, {"mask": 0.2}])
    assert (made.kind, made.name, made.models) == ("reference", "trusted.pt", 2)
    assert made.sizes("mask").sizes == (0.1, 0.2)
    assert (made.sizes("warp").sizes, made.sizes("warp").cap) == ((0.3,), 1.0)
    assert made.sizes("blend") is None


@pytest.fixture
def shipped(monkeypatch):
    kept = {"vit-32px": {"name": "tiny ViTs", "classes": 100, "models": [{"mask": 0.1}, {"mask": 0.2}]}}
    monkeypatch.setattr(MODULE, "_shipped", lambda: kept)


def test_what_ships_serves_its_kind_and_no_other(shipped):
    found = stored("vit-32px", classes=100)
    assert (found.kind, found.name, found.models) == ("stored", "tiny ViTs", 2)
    assert found.sizes("mask").sizes == (0.1, 0.2)
    assert stored("resnet-32px", classes=100) is None
    assert stored("vit-224px", classes=100) is None


@pytest.mark.parametrize(("classes", "serves"), [(40, True), (39, False), (250, True), (251, False), (1, False)])
def test_what_ships_serves_class_lists_of_about_its_own_length(shipped, classes, serves):
    assert (stored("vit-32px", classes=classes) is not None) is serves


def test_the_shipped_file_holds_sizes_that_families_can_have():
    for kind, known in MODULE._shipped().items():
        tower, _, side = kind.partition("-")
        assert tower in ("resnet", "vit")
        assert side.removesuffix("px").isdecimal()
        assert known["name"]
        assert known["classes"] > 1
        for sizes in known["models"]:
            assert set(sizes) == {*FAMILIES, *map(freely, FAMILIES)}
            for family in FAMILIES:
                assert all(0 < sizes[name] <= FAMILIES[family].cap for name in (family, freely(family)))
