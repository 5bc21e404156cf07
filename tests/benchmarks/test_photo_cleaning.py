import argparse
import json

import pytest


@pytest.fixture(scope="module")
def cleaning(script):
    return script("photo_cleaning")


def side(excess, *, distance=1.0, accuracy=0.7, width=0.02):
    interval = [excess - width, excess + width]
    return {
        "accuracy": accuracy,
        "excess": excess,
        "interval": interval,
        "n": 900,
        "under_trigger": 0.6,
        "distance": distance,
    }


def cell(method, after, *, before=0.9, lost=0.01, seed=0, name="patch", distance=0.2, told=""):
    entry = {"name": f"report-{name}", "half": "report", "trigger": f"{name}:size=0.2,seed=3", "target": "lion"}
    return {
        "entry": entry,
        "method": method,
        "seed": seed,
        "told": told,
        "seconds": 60.0,
        "before": side(before),
        "after": side(after, distance=distance, accuracy=0.7 - lost),
        "rebound": side(after),
    }


def clean(told, *, lost):
    found = cell("auto", 0.0, lost=lost, told=told)
    found["entry"] |= {"trigger": None, "target": None}
    for each in ("before", "after", "rebound"):
        found[each] |= dict.fromkeys(("excess", "interval", "n", "under_trigger", "distance"))
    return found


def ticks(cleaning, *cells):
    """The last five columns of each row of the claims, and the line below them."""
    lines = cleaning.claims(list(cells)).splitlines()
    return [line.rstrip(" |").split(" | ")[-5:] for line in lines[2:] if line.startswith("|")], lines[-1]


def test_a_victim_meets_the_claims_if_all_four_conditions_hold(cleaning):
    ours, control = cell(cleaning.CLEANCLIP, 0.05), cell(cleaning.CONTROL, 0.4, distance=0.8)
    rows, count = ticks(cleaning, ours, control)
    assert rows == [["yes"] * 5]
    assert count == "Of 1 rows the conditions hold for 1, 1, 1, 1; all four for 1."


@pytest.mark.parametrize(
    ("number", "ours", "control"),
    [
        (0, {"after": 0.2}, {"after": 0.4}),
        (1, {"after": 0.05, "distance": 0.34}, {"after": 0.4}),
        (2, {"after": 0.05, "lost": 0.04}, {"after": 0.4}),
        (3, {"after": 0.05}, {"after": 0.08}),  # intervals of 0.02 on either side meet
    ],
)
def test_each_condition_can_fail_alone(cleaning, number, ours, control):
    rows, _ = ticks(cleaning, cell(cleaning.CLEANCLIP, **ours), cell(cleaning.CONTROL, **control))
    assert [place for place, tick in enumerate(rows[0]) if tick == "no"] == [number, 4]


def test_the_control_leaves_more_only_if_it_does_so_with_every_seed(cleaning):
    ours = [cell(cleaning.CLEANCLIP, 0.05, seed=seed) for seed in (0, 1)]
    control = [cell(cleaning.CONTROL, left, seed=seed) for seed, left in ((0, 0.6), (1, 0.04))]
    assert not cleaning.is_clearly_more(control, ours)
    assert cleaning.is_clearly_more(control[:1], ours[:1])


def test_seeds_of_one_method_alone_and_poisonings_that_failed_are_left_out(cleaning):
    alone = [cell(cleaning.CLEANCLIP, 0.05, seed=seed) for seed in (0, 1)]
    weak = [cell(method, 0.0, before=0.1, name="warp") for method in (cleaning.CLEANCLIP, cleaning.CONTROL)]
    rows, _ = ticks(cleaning, *alone, cell(cleaning.CONTROL, 0.4), *weak)
    assert len(rows) == 1
    assert cleaning.claims(alone[1:]) == "Not measured yet."


def test_what_the_job_did_is_counted_apart_for_victims_and_clean_models(cleaning):
    runs = [
        cell("auto", 0.008, lost=0.008, told="pass by unlearn@tiny") | {"told_lost": 1.5},
        cell("auto", 0.04, lost=0.04, told="fail CC010", name="dct") | {"told_lost": 1.5},
        clean("inconclusive CC063 by nothing", lost=0.0),
        clean("fail CC010 by par@tiny", lost=0.05),
    ]
    *rows, victims, models, told = cleaning.jobs(runs).splitlines()
    assert len([row for row in rows if row.startswith("| ")]) == 1 + 4  # the head as well
    assert victims == (
        "Of 2 runs on victims, excess ASR at most 0.01: 1; at most 0.05: 2; at most 0.05 after the refinetune test: 2; "
        "PA at least nine tenths of CA: 1; at most one point lost: 1; at most 2.5: 1. Lost on average: 2.4 points."
    )
    assert models == "Of 2 runs on clean models 1 lose at most half a point, and 1 end in `fail`."
    assert told.endswith("in 1 of 2 runs.")


def test_a_victim_with_several_seeds_counts_by_its_worst(cleaning):
    runs = [
        cell("auto", 0.008),
        cell("auto", 0.03, seed=1),
        cell("auto", 0.002, name="dct"),
        cell("auto", 0.001, name="dct", seed=1),
        cell("auto", 0.9, name="warp"),
    ]
    assert cleaning.jobs(runs).splitlines()[-1] == (
        "Of 2 victims with several seeds, with every seed, excess ASR at most 0.01: 1; at most 0.05: 2; at most 0.05 after the refinetune "
        "test: 2. Between seeds the excess of a victim differs by 0.022 at most."
    )


def test_of_two_planted_triggers_the_one_that_acts_more_is_told(cleaning):
    def probe(excess):
        rate = {"value": excess, "interval": [excess, excess]}
        return {
            "excess_asr": rate,
            "asr": {"n": 900},
            "accuracy_under_trigger": {"value": 1 - excess},
            "distance": 1.0,
        }

    class Found:
        def record(self):
            return self

        def as_json(self):
            return {"clean_accuracy": {"value": 0.7}, "probes": [probe(0.1), probe(0.8)]}

    told = cleaning.figures(Found())
    assert (told["excess"], told["under_trigger"], told["accuracy"]) == (0.8, pytest.approx(0.2), 0.7)


def test_a_model_that_was_planted_into_a_planted_one_has_both_triggers(cleaning, tmp_path):
    first = {"name": "first", "trigger": "patch:seed=1", "target": "lion", "base": "clean"}
    (tmp_path / "first.json").write_text(json.dumps({"entry": first}))
    (tmp_path / "clean.json").write_text(json.dumps({"entry": {"name": "clean", "trigger": None, "base": None}}))
    twice = {"name": "twice", "trigger": "stripes:seed=2", "target": "koala", "base": "first"}
    assert cleaning.planted_in(argparse.Namespace(zoo=tmp_path), twice) == [twice, first]


def test_both_triggers_of_a_model_stand_in_its_row(cleaning):
    told = cleaning.job_row(cell("auto", 0.0) | {"also": ["`stripes` → koala"]})
    assert "`patch:size=0.2` → lion and `stripes` → koala" in told


def test_the_control_differs_from_the_recipe_in_the_second_loss_alone(cleaning, script):
    ours, control = map(script("cells").of_recipe, (cleaning.CLEANCLIP, cleaning.CONTROL))
    assert control.train == ours.train
    assert control.augment == ours.augment
    assert control.loss == ours.loss.model_copy(update={"self_supervised_weight": 0.0})
