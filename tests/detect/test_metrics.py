import json
import math

import pytest
import torch
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
def test_wilson_intervals_are_the_published_ones(hits, n, low, high):
    assert Rate(hits, n).interval == pytest.approx((low, high), abs=5e-5)


def test_a_rate_of_nothing_is_unknown():
    assert math.isnan(Rate(0, 0).value)
    unknown = json.loads(json.dumps(Rate(0, 0).record().as_json(), allow_nan=False))
    assert unknown == {"value": None, "interval": [0, 1], "n": 0}


def test_a_known_rate_is_recorded_by_its_value():
    assert Rate(1, 4).record().as_json()["value"] == 0.25


def test_the_interval_of_a_paired_difference_is_the_published_one():
    assert paired_difference(Rate(2, 21), Rate(8, 21), both=1) == pytest.approx((-0.507, -0.026), abs=5e-4)


def test_a_paired_difference_of_nothing_may_be_any():
    assert paired_difference(Rate(0, 0), Rate(0, 0), both=0) == (-1.0, 1.0)


def test_the_pairing_narrows_the_interval_of_a_difference():
    low, high = paired_difference(Rate(50, 100), Rate(50, 100), both=50)
    assert high == pytest.approx(math.sqrt(0.04) * (0.5 - Rate(50, 100).interval[0]))
    assert low == pytest.approx(-high)
    unpaired = paired_difference(Rate(50, 100), Rate(50, 100), both=25)  # phi = 0
    assert unpaired[1] == pytest.approx(math.sqrt(2) * (0.5 - Rate(50, 100).interval[0]))


AXES = torch.eye(4)
TURNED = tensor([[0.5, math.sqrt(0.75)]])  # by 60 degrees: two minus two cosines is 1
NONE, CLEAN = torch.zeros(2, 2), tensor([[0.0, 0.0], [0.0, 1.0], [2.0, 0.0]])


@pytest.mark.parametrize(
    ("measure", "given", "value"),
    [
        (metrics.shift, (AXES, AXES.roll(1, 0)), 2),
        (metrics.shift, (AXES, -AXES), 4),
        (metrics.shift, (AXES, AXES), 0),
        (metrics.shift, (tensor([[1.0, 0.0]]), TURNED), 1),
        (metrics.shift, (AXES.half(), AXES.half().roll(1, 0)), 2),  # measured in single
        (metrics.shift, (AXES[:0], AXES[:0]), math.nan),
        (metrics.spread, (AXES[:1].repeat(5, 1),), 0),
        (metrics.spread, (torch.cat([AXES, -AXES]),), 1),
        (metrics.spread, (AXES,), 0.75),  # four orthogonal ones: mean (1/4, ...), so 1 - 4 x 1/16
    ],
)
def test_distances_of_embeddings_are_those_worked_by_hand(measure, given, value):
    assert measure(*given) == pytest.approx(value, nan_ok=True)
