import math

import pytest
import torch
from torch import tensor

from clipclean.detect import distances

AXES = torch.eye(4)


def test_shift_of_orthogonal_embeddings_is_two():
    assert distances.shift(AXES, AXES.roll(1, 0)) == 2


def test_shift_of_opposite_embeddings_is_four():
    assert distances.shift(AXES, -AXES) == 4


def test_shift_is_zero_for_the_identity_trigger():
    assert distances.shift(AXES, AXES) == 0
    assert distances.shift_interval(AXES, AXES) == (0, 0)


def test_shift_is_two_minus_two_cosines():
    angle = tensor(math.radians(60))  # cos 60 = 1/2, so 2 - 1 = 1
    turned = torch.stack([angle.cos(), angle.sin()])[None]
    assert distances.shift(tensor([[1.0, 0.0]]), turned) == pytest.approx(1)


def test_the_interval_is_the_normal_one():
    # squared distances 2, 2, 0, 0: mean 1, sd sqrt(4/3), half = 1.959964 x sqrt(4/3) / 2 = 1.1316
    moved = torch.stack([AXES[1], AXES[0], AXES[2], AXES[3]])
    assert distances.shift_interval(AXES, moved) == pytest.approx((0, 1 + 1.959964 * math.sqrt(4 / 3) / 2))


def test_one_image_says_nothing_about_the_shift_of_others():
    assert distances.shift_interval(AXES[:1], AXES[1:2]) == (0, 4)


def test_spread_is_zero_for_a_collapse_and_one_for_opposites():
    assert distances.spread(AXES[:1].repeat(5, 1)) == 0
    assert distances.spread(torch.cat([AXES, -AXES])) == 1
    # four orthogonal ones: mean (1/4, ...), so 1 - 4 x 1/16
    assert distances.spread(AXES) == pytest.approx(0.75)


def test_direction_agreement_is_one_when_all_move_alike():
    clean = tensor([[0.0, 0.0], [0.0, 1.0], [2.0, 0.0]])
    assert distances.direction_agreement(clean, clean + tensor([0.3, 0.4])) == pytest.approx(1)


def test_direction_agreement_is_zero_for_opposite_moves_and_for_none():
    clean = torch.zeros(2, 2)
    assert distances.direction_agreement(clean, tensor([[1.0, 0.0], [-2.0, 0.0]])) == 0
    assert distances.direction_agreement(clean, clean) == 0


def test_direction_agreement_of_a_right_angle():
    # unit moves (1, 0) and (0, 1): mean (1/2, 1/2), length 1 / sqrt 2; how far they move does not count
    assert distances.direction_agreement(torch.zeros(2, 2), tensor([[5.0, 0.0], [0.0, 0.1]])) == pytest.approx(2**-0.5)


def test_half_precision_is_measured_in_single():
    a, b = AXES.half(), AXES.half().roll(1, 0)
    assert distances.shift(a, b) == 2


@pytest.mark.parametrize("measure", [distances.shift, distances.direction_agreement])
def test_no_images_no_distance(measure):
    assert math.isnan(measure(AXES[:0], AXES[:0]))
