"""What a report says of candidates and test backdoors."""

import pytest
from report import samples
from report.parsed import Parsed

from clipclean import report
from clipclean.report import auto

report, auto = Parsed(report), Parsed(auto)


@pytest.fixture
def made():
    return samples.chosen_by_auto()


def rows(made):
    return auto.rows(made["auto"], made["cleaning"]["share"])


def left(made):
    return [row[3] for row in auto.canaries(made["auto"], made["cleaning"]["share"])]


def test_a_row_counts_the_canaries_that_took_and_are_gone(made):
    first, second, third = rows(made)
    assert (first.canaries, first.left, first.on_model, first.chosen) == ("1 of 2", "64.0 %", "–", False)
    assert (second.canaries, second.left, second.cost) == ("2 of 2", "4.0 %", "1.2 points (0.2 to 2.2)")
    assert (second.on_model, second.chosen) == ("0.8 %, 1.0 points", True)
    assert "needs labels" in third.outcome
    assert left(made) == ["0.0 %", "4.0 %", "10.0 %"]
    other = samples.trial("unlearn", [samples.outcome("patch:seed=1", 0.99, 0.5)], 0.001, kept=0.7)
    made["auto"]["ladder"][0]["trials"].append(other)  # its share is that of the written weights of another candidate
    assert (rows(made)[0].left, rows(made)[0].cost) == ("64.0 %", "0.4 points (−0.6 to 1.4)")


@pytest.mark.parametrize("passes", [True, False])
@pytest.mark.parametrize("errors", [None, [], ["CC001", "CC062"]])
def test_the_outcome_tells_the_canaries_and_the_run_apart(made, passes, errors):
    entry = made["auto"]["ladder"][1]
    entry |= {"passes": passes, "run": None if errors is None else entry["run"] | {"errors": errors}}
    canaries, _, run = rows(made)[1].outcome.partition(", ")
    assert canaries.startswith("passes" if passes else "fails")
    assert ("not run" in run, "passes" in run) == (errors is None, errors == [])
    assert all(code in run for code in errors or ())
    entry["trials"] = []
    assert rows(made)[1].outcome == run  # without canaries it is that of the run


@pytest.mark.parametrize(
    ("share", "left_there", "cost", "taken"),
    [
        (1.0, "0.0 %", "3.1 points (2.1 to 4.1)", [False, True]),  # over the budget of two
        (0.85, "4.0 %", "1.2 points (0.2 to 2.2)", [True, False]),  # a share without a trial: told by the first one
    ],
)
def test_the_canaries_of_the_chosen_candidate_are_those_at_the_share_that_was_written(
    made, share, left_there, cost, taken
):
    made["cleaning"]["share"] = share
    row = rows(made)[1]
    assert (row.left, row.cost, left(made)[1]) == (left_there, cost, left_there)
    assert row.outcome.startswith("fails" if share == 1 else "passes")
    drawn = auto.frontier(made["auto"], share)
    assert [mark.is_taken for mark in drawn.paths[1].marks] == taken


@pytest.mark.parametrize(("left_of_first", "passes"), [(0.0, True), (0.06, False)])
def test_a_share_that_passes_on_the_canaries_says_so_where_the_first_one_fails(made, left_of_first, passes):
    made["cleaning"]["share"], made["auto"]["ladder"][1]["passes"] = 1.0, False
    last = made["auto"]["ladder"][1]["trials"][1]
    last["accuracy_lost"], last["outcomes"][0]["left"] = 0.02, left_of_first
    assert rows(made)[1].outcome.startswith("passes" if passes else "fails")


def test_a_canary_that_returned_is_told_and_does_not_count_as_removed(made):
    outcomes = made["auto"]["ladder"][1]["trials"][0]["outcomes"]
    for outcome, returned in zip(outcomes, (0.3, 0.01, None), strict=True):
        outcome["returned"] = returned
        outcome["returned_interval"] = None if returned is None else [returned - 0.02, returned + 0.02]
    assert [told.split(" after")[0] for told in left(made)] == ["0.0 %, 30.0 %", "4.0 %, 1.0 %", "10.0 %"]
    assert [row.canaries for row in rows(made) if row.chosen] == ["1 of 2"]


def test_the_story_tells_choice_rebound_and_a_model_that_was_left_alone(made):
    told = " ".join(auto.candidate_lines(made["auto"]))
    assert all(figure in told for figure in ("unlearn + par", "2 tried", "60 steps", "2.0 %"))
    alone = made["auto"] | {"changed": False, "rebound": None}
    assert len(auto.candidate_lines(alone)) == len(auto.candidate_lines(made["auto"] | {"rebound": None})) + 1


def test_a_report_of_the_first_version_has_its_interpolation_as_a_way(made):
    cleaning = made.pop("cleaning")
    points = [{key: point[key] for key in ("share", "excess", "accuracy_lost")} for point in cleaning["way"]]
    made["auto"] |= {"share": 0.7, "interpolation": points}
    found = report.parse(made | {"schema_version": "1"})
    assert found.as_json()["cleaning"] == {"share": 0.7, "way": points}
