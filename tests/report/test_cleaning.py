"""What a report says of candidates, of test backdoors, and of the walk back; where their drawings put their points."""

import pytest
from report import samples
from report.parsed import Parsed, report

from clipclean.report import charts as of_charts
from clipclean.report import cleaning as of_cleaning

cleaning, charts = Parsed(of_cleaning), Parsed(of_charts)
NAME, OUTCOME, REMOVED, LEFT, COST, ON_MODEL = range(6)


@pytest.fixture
def made():
    return samples.chosen_by_auto()


def rows(made):
    return cleaning.candidate_rows(made["auto"], made["cleaning"]["share"])


def left(made):
    return [row[3] for row in cleaning.test_backdoor_rows(made["auto"], made["cleaning"]["share"])]


def taken(made):
    found = cleaning.frontier(made["auto"], made["cleaning"]["share"])
    return [mark.is_taken for drawn in found for mark in drawn.marks if mark.look == "candidate1"]


def test_a_row_counts_the_test_backdoors_that_a_candidate_removed(made):
    first, second, third = rows(made)
    assert first[REMOVED:ON_MODEL] == ("1 of 2", "64.0 %", "0.4 points (−0.6 to 1.4)")
    assert second[REMOVED:] == ("2 of 2", "4.0 %", "1.2 points (0.2 to 2.2)", "0.8 %, 1.0 points", "2 min 11 s")
    assert (first[ON_MODEL], "chosen" in first[NAME], "chosen" in second[NAME]) == ("–", False, True)
    assert "needs labels" in third[OUTCOME]


def test_each_test_backdoor_has_what_the_chosen_candidate_left_of_it(made):
    assert left(made) == ["0.0 %", "4.0 %", "10.0 %"]


def test_the_written_share_is_that_of_the_chosen_candidate_alone(made):
    (first, *_) = rows(made)
    at_the_written_share = samples.trial("unlearn", [samples.outcome("patch:seed=1", 0.99, 0.5)], 0.001, kept=0.7)
    made["auto"]["candidates"][0]["trials"].append(at_the_written_share)
    assert rows(made)[0] == first


def test_a_test_backdoor_that_returned_is_not_removed(made):
    outcomes = made["auto"]["candidates"][1]["trials"][0]["outcomes"]
    for outcome, returned in zip(outcomes, (0.3, 0.01, None), strict=True):
        interval = None if returned is None else [returned - 0.02, returned + 0.02]
        outcome |= {"returned": returned, "returned_interval": interval}
    assert [words.split(" after")[0] for words in left(made)] == ["0.0 %, 30.0 %", "4.0 %, 1.0 %", "10.0 %"]
    assert rows(made)[1][REMOVED] == "1 of 2"


@pytest.mark.parametrize("passes", [True, False])
@pytest.mark.parametrize("errors", [None, [], ["CC001", "CC062"]])
def test_the_outcome_tells_the_test_backdoors_apart_from_the_run(made, passes, errors):
    entry = made["auto"]["candidates"][1]
    entry |= {"passes": passes, "run": None if errors is None else entry["run"] | {"errors": errors}}
    on_backdoors, _, run = rows(made)[1][OUTCOME].partition(", ")
    assert on_backdoors.startswith("passes" if passes else "fails")
    assert ("not run" in run, "passes" in run) == (errors is None, errors == [])
    assert all(code in run for code in errors or ())
    entry["trials"] = []
    assert rows(made)[1][OUTCOME] == run  # without test backdoors it is that of the run


@pytest.mark.parametrize(
    ("share", "left_there", "cost", "ring"),
    [
        (1.0, "0.0 %", "3.1 points (2.1 to 4.1)", [False, True]),  # over the budget of two
        (0.85, "4.0 %", "1.2 points (0.2 to 2.2)", [True, False]),  # a share without a trial: told by the first one
    ],
)
def test_the_chosen_candidates_test_backdoors_are_those_at_the_written_share(made, share, left_there, cost, ring):
    made["cleaning"]["share"] = share
    row = rows(made)[1]
    assert (row[LEFT], row[COST], left(made)[1], taken(made)) == (left_there, cost, left_there, ring)
    assert row[OUTCOME].startswith("fails" if share == 1 else "passes")


@pytest.mark.parametrize(("left_of_first", "passes"), [(0.0, True), (0.06, False)])
def test_a_share_that_passes_on_the_test_backdoors_says_so_where_the_first_one_fails(made, left_of_first, passes):
    made["cleaning"]["share"], made["auto"]["candidates"][1]["passes"] = 1.0, False
    last = made["auto"]["candidates"][1]["trials"][1]
    last["accuracy_lost"], last["outcomes"][0]["left"] = 0.02, left_of_first
    assert rows(made)[1][OUTCOME].startswith("passes" if passes else "fails")


def test_a_way_of_two_points_is_not_drawn(made):
    assert charts.way(made["cleaning"]) == []


def test_weights_that_were_taken_whole_show_no_way(made):
    alone = made["cleaning"] | {"share": 1.0, "way": made["cleaning"]["way"][:1]}
    assert charts.way(alone) == cleaning.way_rows(alone) == []


@pytest.fixture
def walked(made):
    """The walk with a third point, so that it is drawn."""
    points = made["cleaning"]["way"]
    points.insert(1, points[1] | {"share": 0.85, "accuracy_lost": 0.02})
    return made["cleaning"]


def test_the_way_is_drawn_from_the_original_on(walked):
    lost, success = charts.way(walked)
    # From 0 to 4 points, as the interval of the cleaned weights ends there: 1 point is three quarters down, 3 points one.
    assert lost.lines[0].points == "70.00,75.00 85.00,50.00 100.00,25.00"
    assert (lost.limit, lost.report_place, len(lost.band.split())) == ("50.00", "70.00", 6)
    nearer, _, farther = (float(place.split(",")[1]) for place in success.lines[0].points.split())
    assert nearer < farther  # more is left at 70 %


def test_a_row_of_the_way_names_the_trigger_that_acts_most(walked):
    assert cleaning.way_rows(walked)[2][1:] == ("0.8 %", "patch:seed=1", "1.0 points (0.0 to 2.0)")


def test_a_way_without_witnesses_is_told_otherwise(walked):
    assert cleaning.way_lines(walked) != cleaning.way_lines(walked | {"witnesses": 0})


def test_the_frontier_sets_what_is_left_against_its_cost(made):
    (drawn,) = cleaning.frontier(made["auto"], 0.7)
    one, *two = drawn.marks
    assert taken(made) == [True, False]  # 70 % of the way comes before the cleaned model
    # Scale: 0 to 4 points (twice the budget) over 92 per cent of the width, from 4 on; upwards the square root.
    assert float(one.x) == pytest.approx(4 + 92 * 0.004 / 0.04, abs=0.01)
    assert float(one.y) == pytest.approx(4 + 92 * (1 - 0.8), abs=0.01)  # the root of 0.64
    assert (float(two[0].x) > float(one.x), float(two[0].y) > float(one.y)) == (True, True)  # down: less is left
    assert float(drawn.budget_area[2]) == pytest.approx(92 / 2, abs=0.02)


@pytest.mark.usefixtures("walked")
def test_a_report_without_trials_has_no_frontier(made):
    for entry in made["auto"]["candidates"]:
        entry["trials"] = []
    assert cleaning.frontier(made["auto"], 0.7) == []
    assert report.html(made)
