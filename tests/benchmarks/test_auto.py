"""What the table of ``auto`` counts."""

import pytest


@pytest.fixture(scope="module")
def auto(script):
    return script("auto")


def row(*, left, back=0.0, unpoisoned=0.0, accuracy=(0.385, 0.365), under=0.2):
    def figures(excess, accuracy):
        return {"excess": excess, "accuracy": accuracy, "under_trigger": under}

    return {
        "entry": {"name": "victim"},
        "before": figures(0.9, accuracy[0]),
        "after": figures(left, accuracy[1]),
        "rebound": figures(back, accuracy[1]),
        "unpoisoned": figures(unpoisoned, 0.38),
    }


def test_a_loss_of_two_points_is_no_more_than_two(auto):
    assert 0.385 - 0.365 > 0.02  # in binary
    (told,) = auto.counted([row(left=0.0)])
    assert "CA loss at most two points: 1 of 1" in told
    (told,) = auto.counted([row(left=0.0, accuracy=(0.3875, 0.365))])
    assert "CA loss at most two points: 0 of 1" in told


def test_what_is_left_is_counted_by_value_and_beside_the_model_that_was_never_poisoned(auto):
    (told,) = auto.counted([row(left=0.01), row(left=0.015, unpoisoned=0.018, back=0.06), row(left=0.06)])
    assert (
        "3 runs on 1 backdoored models, excess ASR at most 0.01: 1 of 3; or no more than in the unpoisoned model: 2 of 3"
        in told
    )
    assert "at most 0.05: 2 of 3; at most 0.05 after the refinetune test: 2 of 3" in told


def test_of_a_trial_what_each_canary_that_took_does_is_kept(auto):
    outcome = {"took": True, "left": 0.01, "returned": 0.02, "trigger": "patch"}
    trial = {"kept": 1.0, "accuracy_lost": 0.01, "outcomes": [outcome, outcome | {"took": False}], "seconds": 1.0}
    rung = {"rung": "a", "passes": True, "run": None, "trials": [trial], "why_not": ""}
    kept = {"share": 1.0, "accuracy_lost": 0.01, "left": [0.01], "returned": [0.02]}
    assert auto.told(rung) == {"rung": "a", "passes": True, "run": None, "trials": [kept]}
