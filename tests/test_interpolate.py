import pytest
import torch

from clipclean import interpolate
from clipclean.interpolate import Point

OLD = {"a": torch.tensor([0.0, 4.0]), "count": torch.tensor(3)}
NEW = {"a": torch.tensor([2.0, 0.0]), "count": torch.tensor(9)}


def test_numbers_lie_between_and_whole_ones_are_those_of_the_cleaned_model():
    quarter = interpolate.between(OLD, NEW, share=0.25)
    assert quarter["a"].tolist() == [0.5, 3.0]
    assert int(quarter["count"]) == 9


def test_the_ends_are_the_models_themselves():
    assert interpolate.between(OLD, NEW, share=0.0)["a"] is OLD["a"]
    assert interpolate.between(OLD, NEW, share=1.0)["a"] is NEW["a"]


def test_a_walk_measures_the_weights_of_every_share():
    points = interpolate.walk(
        OLD, NEW, shares=(1.0, 0.5), measure=lambda w, share: Point(share, float(w["a"][0]), float(w["a"][1]))
    )
    assert points == (Point(1.0, 2.0, 0.0), Point(0.5, 1.0, 2.0))


def chosen(*points, gain=0.005):
    return interpolate.best(points, max_excess=0.05, max_accuracy_loss=0.02, gain=gain)


def test_the_point_with_most_accuracy_that_still_passes_is_chosen():
    whole, near, far = Point(1.0, 0.0, 0.018), Point(0.7, 0.04, 0.008), Point(0.4, 0.3, 0.0)
    assert chosen(whole, near, far) == near


def test_a_small_gain_is_not_worth_the_way_back():
    whole, near = Point(1.0, 0.0, 0.010), Point(0.7, 0.04, 0.006)
    assert chosen(whole, near) == whole
    assert chosen(whole, near, gain=0.004) == near


def test_a_point_on_the_way_passes_where_the_cleaned_model_costs_too_much():
    assert chosen(Point(1.0, 0.0, 0.06), Point(0.55, 0.05, 0.02)) == Point(0.55, 0.05, 0.02)


def test_without_a_passing_point_there_is_none():
    assert chosen(Point(1.0, 0.0, 0.06), Point(0.4, 0.2, 0.0)) is None


@pytest.mark.parametrize("share", [0.2, 0.9])
def test_equal_models_have_nothing_between_them(share):
    assert torch.equal(interpolate.between(NEW, NEW, share=share)["a"], NEW["a"])
