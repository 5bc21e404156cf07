import pytest
import torch

from clipclean.auto import interpolate

OLD = {"a": torch.tensor([0.0, 4.0]), "count": torch.tensor(3)}
NEW = {"a": torch.tensor([2.0, 0.0]), "count": torch.tensor(9)}


def test_numbers_lie_between_and_whole_ones_are_those_of_the_cleaned_model():
    quarter = interpolate.between(OLD, NEW, share=0.25)
    assert quarter["a"].tolist() == [0.5, 3.0]
    assert int(quarter["count"]) == 9


def test_the_ends_are_the_models_themselves():
    assert interpolate.between(OLD, NEW, share=0.0)["a"] is OLD["a"]
    assert interpolate.between(OLD, NEW, share=1.0)["a"] is NEW["a"]


@pytest.mark.parametrize("share", [0.2, 0.9])
def test_equal_models_have_nothing_between_them(share):
    assert torch.equal(interpolate.between(NEW, NEW, share=share)["a"], NEW["a"])
