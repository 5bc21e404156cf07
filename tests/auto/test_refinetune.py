from types import SimpleNamespace

import pytest

from clipclean.auto.refinetune import Rebound
from clipclean.detect import Probe, Rate

HALF = Rate(500, 1000)
LIMITS = SimpleNamespace(max_excess=0.05, suspicious_excess=0.3)


def probe(excess, *, trigger="patch", reach=0.02):
    return Probe(
        trigger=trigger, target="cat", asr=Rate(round(1000 * max(excess, 0)), 1000), base=Rate(0, 1000), excess=excess,
        excess_interval=(excess - reach, excess + reach), accuracy_under_trigger=None, knn_asr=None, distance=0.1,
        distance_interval=(0.0, 0.2), direction_agreement=0.1, spread=0.5, clean_spread=0.6, n=1000,
    )  # fmt: skip


def measured(*, known=(), panel=(), accuracy=HALF):
    return SimpleNamespace(known=tuple(known), panel=tuple(panel), clean_accuracy=accuracy)


def rules(before, after):
    return [f.rule for f in Rebound(before, after, 60, 1.5).findings(limits=LIMITS)]


@pytest.mark.parametrize(
    ("before", "after", "comes_back"),
    [
        (0.01, 0.30, True),
        (0.01, 0.06, False),  # the interval reaches below the limit
        (0.01, 0.01, False),
        (0.20, 0.25, False),  # it was never gone: the audit says so, not this
    ],
)
def test_a_named_trigger_that_acts_again_is_an_error(before, after, comes_back):
    found = rules(measured(known=[probe(before)]), measured(known=[probe(after)]))
    assert found == (["CC062"] if comes_back else [])


def test_a_trigger_of_the_panel_must_become_suspicious_first():
    old, new = measured(panel=[probe(0.1)]), measured(panel=[probe(0.25)])
    assert rules(old, new) == []
    (back,) = Rebound(old, measured(panel=[probe(0.5)]), 60, 1.5).findings(limits=LIMITS)
    assert (back.rule, back.threshold) == ("CC062", 0.3)


def test_triggers_of_the_panel_pair_up_whatever_their_order():
    old = measured(panel=[probe(0.2, trigger="a"), probe(0.1, trigger="b")])
    new = measured(panel=[probe(0.9, trigger="b"), probe(0.0, trigger="a")])
    pairs = Rebound(old, new, 60, 1.5).pairs()
    assert [(a.trigger, b.trigger, b.excess) for a, b, _ in pairs] == [("a", "a", 0.0), ("b", "b", 0.9)]


def test_the_report_says_before_and_after_and_what_cannot_be_measured_is_null():
    old = measured(known=[probe(0.0)], accuracy=Rate(0, 0))
    told = Rebound(old, measured(known=[probe(0.4)]), 60, 1.5).as_dict()
    assert told["accuracy"] == {"before": None, "after": 0.5}
    assert [(p["before"], p["after"], p["known"]) for p in told["probes"]] == [(0.0, 0.4, True)]
