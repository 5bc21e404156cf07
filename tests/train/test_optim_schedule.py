import itertools

import pytest

from clipclean.train import learning_rate


def _rates(warmup: int, total: int) -> list[float]:
    return [learning_rate(step, peak=1.0, warmup=warmup, total=total) for step in range(total)]


def test_warm_up_climbs_from_one_share_to_the_peak():
    assert _rates(4, 10)[:4] == [0.25, 0.5, 0.75, 1.0]


def test_after_the_warm_up_the_rate_only_falls():
    rates = _rates(5, 50)
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[5:]))


def test_the_cosine_is_half_way_at_half_the_steps():
    assert learning_rate(10, peak=2.0, warmup=0, total=20) == pytest.approx(1.0)


def test_the_last_step_is_nearly_zero_but_not_zero():
    assert 0 < _rates(50, 1000)[-1] < 1e-5


def test_without_warm_up_the_first_step_has_the_peak():
    assert learning_rate(0, peak=3.0, warmup=0, total=5) == 3.0
