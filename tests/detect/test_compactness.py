"""How much of a mask lies in one small square."""

import pytest
import torch

from clipclean.detect.families import outside


@pytest.mark.parametrize(
    ("side", "drawn", "share"),
    [
        (32, [((slice(20, 27), slice(3, 10)), 0.7)], 1e-6),  # within the small square, seven pixels of 32
        (32, [(..., 0.5)], 1 - (7 / 32) ** 2),
        (224, [(..., 0.5)], 1 - (49 / 224) ** 2),
        (32, [((slice(7), slice(7)), 0.5), ((31, 31), 24.5 / 3)], 1 / 4),  # a third of the first, and apart from it
        (32, [], 1),
    ],
)
def test_what_of_a_mask_lies_outside_the_small_square_is_counted(side, drawn, share):
    mask = torch.zeros(1, side, side)
    for place, value in drawn:
        mask[0][place] = value
    assert outside(mask) == pytest.approx(share)
