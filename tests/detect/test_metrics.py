import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from clipclean.detect import metrics
from clipclean.detect.metrics import Rate, paired_difference


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [
        (8, 10, 0.4902, 0.9433),
        (0, 10, 0.0, 0.2775),  # z2 / (n + z2)
        (10, 10, 0.7225, 1.0),
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3
        (15, 148, 0.0624, 0.1605),  # the same
        (1, 29, 0.0061, 0.1718),  # the same
    ],
)
def test_wilson_agrees_with_published_values(hits, n, low, high):
    assert Rate(hits, n).interval == pytest.approx((low, high), abs=5e-5)


def test_nothing_seen_is_nothing_known():
    assert math.isnan(Rate(0, 0).value)
    assert Rate(0, 0).interval == (0.0, 1.0)


def test_a_rate_is_json_even_when_unknown():
    assert json.loads(json.dumps(Rate(0, 0).record().as_json(), allow_nan=False)) == {
        "value": None,
        "interval": [0, 1],
        "n": 0,
    }
    assert Rate(1, 4).record().as_json()["value"] == 0.25


@pytest.mark.parametrize(("hits", "n"), [(2, 1), (-1, 3), (0, -1)])
def test_an_impossible_rate_is_refused(hits, n):
    with pytest.raises(ValueError, match="0 <= hits <= n"):
        Rate(hits, n)


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_holds_the_value_and_stays_in_range(pair):
    rate = Rate(*pair)
    low, high = rate.interval
    assert 0 <= low <= rate.value <= high <= 1
    mirrored = Rate(rate.n - rate.hits, rate.n).interval
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high))


def test_paired_difference_agrees_with_a_published_example():
    # Airway hyper-responsiveness before and after transplantation, 21 children: 2 and 8 hits, 1 in both.
    # Fagerland, Lydersen, Laake 2014, Statistics in Medicine 33:2850: square-and-add interval -0.507 to -0.026. By
    # hand: 1 x 12 - 1 x 7 - 21/2 < 0, so phi = 0; Wilson (0.0265, 0.2891) and (0.2075, 0.5912); difference -0.2857.
    assert paired_difference(Rate(2, 21), Rate(8, 21), both=1) == pytest.approx((-0.507, -0.026), abs=5e-4)


def test_paired_difference_uses_the_pairing():
    # 50 of 100 both times, the same images: phi = (2500 - 50) / 2500 = 0.98, reach = sqrt(2 - 2 x 0.98) x half width
    low, high = paired_difference(Rate(50, 100), Rate(50, 100), both=50)
    assert high == pytest.approx(math.sqrt(0.04) * (0.5 - Rate(50, 100).interval[0]))
    assert low == pytest.approx(-high)
    unpaired = paired_difference(Rate(50, 100), Rate(50, 100), both=25)  # phi = 0
    assert unpaired[1] == pytest.approx(math.sqrt(2) * (0.5 - Rate(50, 100).interval[0]))


def test_paired_difference_without_images_is_unknown():
    assert paired_difference(Rate(0, 0), Rate(0, 0), both=0) == (-1.0, 1.0)


@pytest.mark.parametrize(
    ("after", "before", "both"),
    [
        (Rate(1, 3), Rate(1, 4), 1),
        (Rate(2, 4), Rate(1, 4), 2),
        (Rate(3, 4), Rate(3, 4), 1),
        (Rate(1, 4), Rate(1, 4), -1),
    ],
)
def test_contradictory_pairs_are_refused(after, before, both):
    with pytest.raises(ValueError, match="cannot be hits in both"):
        paired_difference(after, before, both=both)


@given(
    st.integers(1, 200).flatmap(
        lambda n: st.tuples(st.integers(0, n), st.integers(0, n), st.just(n)).flatmap(
            lambda t: st.tuples(st.just(t), st.integers(max(0, t[0] + t[1] - t[2]), min(t[0], t[1])))
        )
    )
)
def test_paired_difference_holds_the_difference_and_is_antisymmetric(drawn):
    (a, b, n), both = drawn
    low, high = paired_difference(Rate(a, n), Rate(b, n), both=both)
    assert -1 - 1e-9 <= low <= (a - b) / n + 1e-9
    assert (a - b) / n - 1e-9 <= high <= 1 + 1e-9
    assert paired_difference(Rate(b, n), Rate(a, n), both=both) == pytest.approx((-high, -low))


AXES = torch.eye(4)


def test_shift_of_orthogonal_embeddings_is_two():
    assert metrics.shift(AXES, AXES.roll(1, 0)) == 2


def test_shift_of_opposite_embeddings_is_four():
    assert metrics.shift(AXES, -AXES) == 4


def test_shift_is_zero_for_the_identity_trigger():
    assert metrics.shift(AXES, AXES) == 0


def test_shift_is_two_minus_two_cosines():
    angle = tensor(math.radians(60))  # cos 60 = 1/2, so 2 - 1 = 1
    turned = torch.stack([angle.cos(), angle.sin()])[None]
    assert metrics.shift(tensor([[1.0, 0.0]]), turned) == pytest.approx(1)


def test_spread_is_zero_for_a_collapse_and_one_for_opposites():
    assert metrics.spread(AXES[:1].repeat(5, 1)) == 0
    assert metrics.spread(torch.cat([AXES, -AXES])) == 1
    # four orthogonal ones: mean (1/4, ...), so 1 - 4 x 1/16
    assert metrics.spread(AXES) == pytest.approx(0.75)


def test_direction_agreement_is_one_when_all_move_alike():
    clean = tensor([[0.0, 0.0], [0.0, 1.0], [2.0, 0.0]])
    assert metrics.direction_agreement(clean, clean + tensor([0.3, 0.4])) == pytest.approx(1)


def test_direction_agreement_is_zero_for_opposite_moves_and_for_none():
    clean = torch.zeros(2, 2)
    assert metrics.direction_agreement(clean, tensor([[1.0, 0.0], [-2.0, 0.0]])) == 0
    assert metrics.direction_agreement(clean, clean) == 0


def test_direction_agreement_of_a_right_angle():
    # unit moves (1, 0) and (0, 1): mean (1/2, 1/2), length 1 / sqrt 2; how far they move does not count
    assert metrics.direction_agreement(torch.zeros(2, 2), tensor([[5.0, 0.0], [0.0, 0.1]])) == pytest.approx(2**-0.5)


def test_half_precision_is_measured_in_single():
    a, b = AXES.half(), AXES.half().roll(1, 0)
    assert metrics.shift(a, b) == 2


@pytest.mark.parametrize("measure", [metrics.shift, metrics.direction_agreement])
def test_no_images_no_distance(measure):
    assert math.isnan(measure(AXES[:0], AXES[:0]))
