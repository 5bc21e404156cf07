import pytest
from auto_values import measurement, probe

from clipclean.auto.trials import Refinetuned
from clipclean.config import policy, thresholds

LIMITS = policy.resolved(policy.DEFAULT, thresholds.Audit())  # max_excess 0.05, suspicious_excess 0.3


def rules(before, after):
    return [f.rule for f in Refinetuned(before, after, 60, 1.5).findings(limits=LIMITS)]


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
    found = rules(measurement(known=[probe(before)]), measurement(known=[probe(after)]))
    assert found == (["CC062"] if comes_back else [])


def of_the_panel(original, before, after):
    sides = (measurement(panel=[probe(excess)]) for excess in (before, after, original))
    before, after, original = sides
    return Refinetuned(before, after, 60, 1.5, original).findings(limits=LIMITS)


@pytest.mark.parametrize(
    ("original", "before", "after", "comes_back"),
    [
        (0.9, 0.1, 0.5, True),
        (0.9, 0.1, 0.25, False),  # not suspicious yet
        (0.45, 0.28, 0.42, False),  # natural: cleaning hardly changed it, so nothing came back
        (0.2, 0.05, 0.5, False),  # it did not act before the cleaning either, and rises by less than the limit
        (0.0, 0.0, 0.9, True),  # it never acted: a backdoor that finetuning wakes looks like this
    ],
)
def test_a_trigger_of_the_panel_that_came_back_or_is_far_stronger_than_ever_is_a_doubt(
    original, before, after, comes_back
):
    found = of_the_panel(original, before, after)
    assert [(f.rule, f.level, f.threshold) for f in found] == ([("CC062", "warning", 0.3)] if comes_back else [])


def test_a_trigger_that_was_named_counts_once_although_the_panel_has_it_too():
    sides = [measurement(known=[probe(excess)], panel=[probe(excess)]) for excess in (0.01, 0.5, 0.9)]
    found = Refinetuned(sides[0], sides[1], 60, 1.5, sides[2]).findings(limits=LIMITS)
    assert [(f.rule, f.level) for f in found] == [("CC062", "error")]


def test_without_the_original_nothing_of_the_panel_counts():
    assert rules(measurement(panel=[probe(0.1)]), measurement(panel=[probe(0.9)])) == []


def test_triggers_of_the_panel_pair_up_whatever_their_order():
    old = measurement(panel=[probe(0.2, trigger="a"), probe(0.1, trigger="b")])
    new = measurement(panel=[probe(0.9, trigger="b"), probe(0.0, trigger="a")])
    pairs = Refinetuned(old, new, 60, 1.5).pairs()
    assert [(a.trigger, b.trigger, b.excess) for a, b, _ in pairs] == [("a", "a", 0.0), ("b", "b", 0.9)]
