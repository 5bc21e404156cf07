"""How much of a mask lies in one small square."""

import pytest
import torch

from clipclean.detect.compactness import outside


def mask(side=32):
    return torch.zeros(1, side, side)


def test_a_mask_within_the_small_square_leaves_nothing_outside():
    drawn = mask()
    drawn[0, 20:27, 3:10] = 0.7  # seven pixels of 32
    assert outside(drawn) == pytest.approx(1e-6)


def test_a_mask_that_is_everywhere_leaves_all_but_the_area_of_the_square():
    assert outside(mask() + 0.5) == pytest.approx(1 - (7 / 32) ** 2)
    assert outside(mask(224) + 0.5) == pytest.approx(1 - (49 / 224) ** 2)


def test_what_lies_apart_counts_as_outside():
    drawn = mask()
    drawn[0, :7, :7] = 0.5
    drawn[0, 31, 31] = 24.5 / 3  # a third of the first
    assert outside(drawn) == pytest.approx(1 / 4)


def test_an_empty_mask_is_no_error():
    assert outside(mask()) == pytest.approx(1)
