import math

import pytest
from auto_values import BUDGET, UNMEASURED, trial

from clipclean.auto.trials import pooled
from clipclean.methods.walk_back import Point


def test_only_a_loss_that_is_wholly_above_the_budget_exceeds_it():
    assert BUDGET.exceeds((0.021, 0.08))
    assert not BUDGET.exceeds((0.02, 0.08))
    assert not BUDGET.exceeds((-1.0, 1.0))
    assert (BUDGET.affords(0.02), BUDGET.affords(0.021)) == (True, False)
    assert BUDGET.is_wasted(0.021, is_suspected=False)
    assert not BUDGET.is_wasted(0.02, is_suspected=False)
    assert not BUDGET.is_wasted(0.9, is_suspected=True)  # then its interval decides


def test_two_losses_each_within_chance_of_the_budget_exceed_it_together():
    on_model, on_copy = Point(1.0, 0.06, (0.015, 0.1), UNMEASURED), trial(0.0, lost=0.06, reach=0.045)
    assert not BUDGET.exceeds(on_model.interval)
    assert BUDGET.passes(on_copy)
    low, high = pooled(on_model, on_copy)
    assert low == pytest.approx(0.06 - 0.045 / math.sqrt(2))
    assert high == pytest.approx(0.06 + math.hypot(0.04, 0.045) / 2)
    assert BUDGET.exceeds((low, high))


def test_a_loss_that_is_not_measured_on_the_copy_exceeds_nothing():
    assert not BUDGET.exceeds(pooled(Point(1.0, 0.3, (0.2, 0.4), UNMEASURED), trial(0.0, lost=math.nan)))
