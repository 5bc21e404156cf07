from types import SimpleNamespace

import pytest
from auto_values import BUDGET, candidate, returning, trial

from clipclean.auto import attempts
from clipclean.findings import finding


@pytest.mark.parametrize(("made", "steps"), [(trial(0.4), 60), (trial(0.0), 0), (returning(trial(0.0)), 60)])
def test_a_trial_that_leaves_a_canary_or_was_or_cannot_be_finetuned_stays_as_it_is(made, steps):
    bench = SimpleNamespace(settings=SimpleNamespace(rebound_steps=steps), budget=BUDGET)
    copy = attempts.CleanedCopy(bench, candidate("a"), None, (), {1.0: made})
    assert copy.refinetuned(1.0) is made


def found(*names):
    """What a search found, by class."""
    return {
        name: finding("CC003", f"A patch leads to '{name}'.", value=4.0, target=name, trigger=name) for name in names
    }


def found_again(before, after):
    again = attempts.found_again(found(*before), found(*after), names={"bee"}, steps=60)
    return [(f.rule, f.level, f.target) for f in again]


def test_a_suspected_class_that_the_search_points_at_again_is_a_warning():
    assert found_again((), ("bee", "ant")) == [("CC062", "warning", "bee")]
    assert found_again(("bee",), ("bee",)) == []  # it is in the findings already
    assert found_again((), ()) == []
