import copy

import jsonschema
import pytest
from report import samples
from report.page import Page
from report.parsed import Parsed

from clipclean import report
from clipclean.report import auto, way

report, auto, way = Parsed(report), Parsed(auto), Parsed(way)


def outcome(trigger, planted, left, accuracy=0.5):
    return {
        "trigger": trigger,
        "target": "otter",
        "planted": planted,
        "left": left,
        "interval": [left - 0.02, left + 0.02],
        "accuracy": accuracy,
        "n": 990,
        "took": planted >= 0.5,
    }


def trial(candidate, outcomes, lost, *, kept=1.0):
    return {
        "rung": candidate,
        "outcomes": outcomes,
        "accuracy_lost": lost,
        "interval": [lost - 0.01, lost + 0.01],
        "kept": kept,
        "seconds": 61.0,
    }


def chosen_by_itself():
    """Two candidates: the first leaves a canary, the second removes both of those that took, best at 70 % of the way."""
    made = copy.deepcopy(samples.passed())
    a, b, c = "patch:seed=1", "blended:seed=1", "warp:seed=1"
    first = trial("unlearn", [outcome(a, 0.99, 0.01), outcome(b, 0.9, 0.64), outcome(c, 0.2, 0.1)], 0.004)
    gone = [outcome(a, 0.99, 0.0), outcome(b, 0.9, 0.04, accuracy=None), outcome(c, 0.2, 0.1)]
    second = [
        trial("unlearn + par", gone, 0.012, kept=0.7),
        trial("unlearn + par", [outcome(a, 0.99, 0.0), outcome(b, 0.9, 0.0), outcome(c, 0.2, 0.1)], 0.031),
    ]
    found = {"trigger": a, "target": "otter"}
    made["cleaning"] = {
        "share": 0.7,
        "witnesses": 1,
        "way": [
            {
                "share": 1.0,
                "excess": 0.004,
                "accuracy_lost": 0.03,
                "interval": [0.02, 0.04],
                "triggers": [found | {"excess": 0.004}],
            },
            {
                "share": 0.7,
                "excess": 0.008,
                "accuracy_lost": 0.01,
                "interval": [0.0, 0.02],
                "triggers": [found | {"excess": 0.008}],
            },
        ],
        "budget": {"accuracy": 0.02, "excess": 0.05, "minutes": None},
    }
    made["auto"] = {
        "chosen": "unlearn + par",
        "changed": True,
        "canaries": [
            {"trigger": t, "target": "otter", "planted": p, "took": p >= 0.5, "n": 990}
            for t, p in ((a, 0.99), (b, 0.9), (c, 0.2))
        ],
        "ladder": [
            {"rung": "unlearn", "chosen": False, "why_not": "", "passes": False, "trials": [first], "run": None},
            {
                "rung": "unlearn + par",
                "chosen": True,
                "why_not": "",
                "passes": True,
                "trials": second,
                "run": {"excess": 0.008, "accuracy_lost": 0.01, "triggers": 1, "errors": [], "seconds": 70.0},
            },
            {
                "rung": "supervised",
                "chosen": False,
                "why_not": "needs labels",
                "passes": False,
                "trials": [],
                "run": None,
            },
        ],
        "rebound": {
            "steps": 60,
            "seconds": 12.0,
            "accuracy": {"before": 0.6, "after": 0.59},
            "probes": [
                {
                    "trigger": a,
                    "target": "otter",
                    "before": 0.008,
                    "after": 0.02,
                    "interval": [0.0, 0.04],
                    "known": True,
                },
                {"trigger": b, "target": "fog", "before": 0.2, "after": 0.3, "interval": [0.27, 0.33], "known": False},
            ],
        },
        "budget": {"accuracy": 0.02, "excess": 0.05, "minutes": None},
        "seconds": {"total": 400.0, "planting": 20.0, "trials": 122.0, "chosen": 70.0, "rebound": 12.0},
    }
    return made


def rows(made):
    return auto.rows(made["auto"], made["cleaning"]["share"])


def canaries(made):
    return auto.canaries(made["auto"], made["cleaning"]["share"])


def frontier(made):
    return auto.frontier(made["auto"], made["cleaning"]["share"])


def test_the_way_is_drawn_from_the_original_to_the_cleaned_weights():
    made = chosen_by_itself()
    lost, success = way.plots(made["cleaning"])
    # From 0 to 4 points, as the interval of the cleaned weights ends there: 1 point is three quarters down, 3 points one.
    assert lost.lines[0].points == "70.00,75.00 100.00,25.00"
    assert (lost.limit, lost.taken) == ("50.00", "70.00")
    assert len(lost.band.split()) == 4
    (line,) = success.lines
    assert line.name.startswith("patch:seed=1")
    assert float(line.points.split()[0].split(",")[1]) < float(
        line.points.split()[1].split(",")[1]
    )  # more is left at 0.7
    assert way.rows(made["cleaning"])[1] == ("70.0 % (taken)", "0.8 %", "patch:seed=1", "1.0 points (0.0 to 2.0)")


def test_a_walk_that_nothing_witnessed_says_so_and_one_point_is_no_way():
    made = chosen_by_itself()["cleaning"]
    assert "No trigger was known" not in way.lines(made)[0]
    assert "No trigger was known" in way.lines(made | {"witnesses": 0})[0]
    alone = made | {"share": 1.0, "way": made["way"][:1]}
    assert (way.plots(alone), way.rows(alone)) == ((), [])


def test_a_report_of_the_first_version_has_its_interpolation_as_a_way():
    made = chosen_by_itself()
    cleaning = made.pop("cleaning")
    points = [{key: point[key] for key in ("share", "excess", "accuracy_lost")} for point in cleaning["way"]]
    made["auto"] |= {"share": 0.7, "interpolation": points}
    found = report.parse(made | {"schema_version": "1"})
    assert found.as_json()["cleaning"] == {"share": 0.7, "way": points}


def test_the_sample_is_valid():
    jsonschema.Draft202012Validator(report.schema()).validate(chosen_by_itself())
    report.parse(chosen_by_itself())


def test_other_runs_have_nothing_of_it():
    assert "What was tried" not in report.markdown(samples.passed())


def test_a_row_counts_the_canaries_that_took_and_are_gone():
    first, second, third = rows(chosen_by_itself())
    assert (first.canaries, first.left, first.outcome, first.on_model) == (
        "1 of 2",
        "64.0 %",
        "fails on the test backdoors, not run",
        "–",
    )
    assert (second.canaries, second.left, second.cost) == ("2 of 2", "4.0 %", "1.2 points (0.2 to 2.2)")
    assert second.on_model == "0.8 %, 1.0 points"
    assert second.chosen
    assert (third.outcome, third.seconds) == ("not tried: needs labels", "–")


@pytest.mark.parametrize(
    ("passes", "run", "words"),
    [
        (True, None, "passes on the test backdoors, not run"),
        (False, None, "fails on the test backdoors, not run"),
        (True, [], "passes on the test backdoors, run: passes"),
        (False, [], "fails on the test backdoors, run: passes"),
        (True, ["CC001", "CC062"], "passes on the test backdoors, run: fails (CC001, CC062)"),
    ],
)
def test_the_outcome_tells_the_canaries_and_the_run_apart(passes, run, words):
    made = chosen_by_itself()
    entry = made["auto"]["ladder"][1]
    entry["passes"] = passes
    entry["run"] = None if run is None else entry["run"] | {"errors": run}
    assert rows(made)[1].outcome == words


@pytest.mark.parametrize(("run", "words"), [(None, "not run"), ([], "run: passes"), (["CC010"], "run: fails (CC010)")])
def test_without_canaries_the_outcome_is_that_of_the_run(run, words):
    made = chosen_by_itself()
    entry = made["auto"]["ladder"][1]
    entry |= {"trials": [], "passes": False, "run": None if run is None else entry["run"] | {"errors": run}}
    assert rows(made)[1].outcome == words


def test_the_canaries_of_the_chosen_rung_are_those_at_the_share_that_was_written():
    made = chosen_by_itself()
    made["cleaning"]["share"] = 1.0
    row = rows(made)[1]
    assert (row.left, row.cost) == ("0.0 %", "3.1 points (2.1 to 4.1)")
    assert row.outcome == "fails on the test backdoors, run: passes"  # over the budget of two
    assert canaries(made)[1][3:] == ("0.0 %", "50.0 %")
    drawn = frontier(made)
    assert [mark.is_taken for mark in drawn.paths[1].marks] == [False, True]
    assert "unlearn + par leaves 0.0 % for 3.1 points" in drawn.summary


def test_a_share_that_passes_on_the_canaries_says_so_where_the_first_one_fails():
    made = chosen_by_itself()
    made["cleaning"]["share"], made["auto"]["ladder"][1]["passes"] = 1.0, False
    made["auto"]["ladder"][1]["trials"][1]["accuracy_lost"] = 0.02
    assert rows(made)[1].outcome == "passes on the test backdoors, run: passes"
    made["auto"]["ladder"][1]["trials"][1]["outcomes"][0]["left"] = 0.06
    assert rows(made)[1].outcome == "fails on the test backdoors, run: passes"


def test_a_share_without_a_trial_is_told_by_the_first_one():
    made = chosen_by_itself()
    made["cleaning"]["share"] = 0.85
    assert rows(made)[1].left == "4.0 %"
    assert canaries(made)[1][3] == "4.0 %"
    assert [mark.is_taken for mark in frontier(made).paths[1].marks] == [True, False]


def test_the_share_of_the_written_weights_is_none_of_another_rung():
    made = chosen_by_itself()
    first = made["auto"]["ladder"][0]
    first["trials"].append(trial("unlearn", [outcome("patch:seed=1", 0.99, 0.5)], 0.001, kept=0.7))
    row = rows(made)[0]
    assert (row.left, row.cost) == ("64.0 %", "0.4 points (−0.6 to 1.4)")


def test_the_canaries_are_shown_with_what_the_chosen_rung_left():
    shown = canaries(chosen_by_itself())
    assert shown[1] == ("blended:seed=1", "otter", "90.0 %", "4.0 %", "–")
    assert shown[2][2] == "20.0 %, not planted"


def test_the_frontier_puts_costs_to_the_right_and_what_is_left_upwards():
    drawn = frontier(chosen_by_itself())
    (one,), two = drawn.paths[0].marks, drawn.paths[1].marks
    assert [mark.is_taken for mark in two] == [True, False]  # 70 % of the way comes before the cleaned model
    # Scale: 0 to 4 points (twice the budget) over 92 per cent of the width, from 4 on; upwards the square root.
    assert float(one.x) == pytest.approx(4 + 92 * 0.004 / 0.04, abs=0.01)
    assert float(one.y) == pytest.approx(4 + 92 * (1 - 0.8), abs=0.01)  # the root of 0.64
    assert float(two[0].x) > float(one.x)
    assert float(two[0].y) > float(one.y)  # down: less is left
    assert float(drawn.width) == pytest.approx(92 / 2, abs=0.02)
    assert "unlearn leaves 64.0 % for 0.4 points" in drawn.summary


def test_a_canary_that_returned_is_told_and_does_not_count_as_removed():
    made = chosen_by_itself()
    chosen = next(entry for entry in made["auto"]["ladder"] if entry["chosen"])
    for outcome_, returned in zip(chosen["trials"][0]["outcomes"], (0.3, 0.01, None), strict=True):
        outcome_["returned"] = returned
        outcome_["returned_interval"] = None if returned is None else [returned - 0.02, returned + 0.02]
    report.parse(made)
    assert [row[3] for row in canaries(made)] == [
        "0.0 %, 30.0 % after benign finetuning",
        "4.0 %, 1.0 % after benign finetuning",
        "10.0 %",
    ]
    assert [row.canaries for row in rows(made) if row.chosen] == ["1 of 2"]


def test_without_trials_there_is_no_frontier():
    made = chosen_by_itself()
    for entry in made["auto"]["ladder"]:
        entry["trials"] = []
    assert frontier(made) is None
    assert Page(report.html(made)).faults == []


def test_the_story_tells_choice_share_and_rebound():
    told = " ".join(auto.candidate_lines(chosen_by_itself()["auto"]))
    assert "Chosen: unlearn + par, of 2 tried" in told
    assert "70.0 % of the way" in " ".join(way.lines(chosen_by_itself()["cleaning"]))
    assert "60 steps of benign finetuning of a copy: the trigger that acts most moves 2.0 %" in told


def test_a_model_that_was_left_alone_says_so():
    made = chosen_by_itself()
    made["auto"] |= {"changed": False, "rebound": None}
    assert "the weights are as they were" in " ".join(auto.candidate_lines(made["auto"]))


@pytest.mark.parametrize("form", ["html", "markdown"])
def test_every_form_for_people_shows_the_candidates(form):
    shown = report.FORMATS[form](chosen_by_itself())
    assert "What was tried" in shown
    assert "unlearn + par" in shown.replace("\\", "")
    assert "needs labels" in shown


def test_the_page_nests_and_holds_all_of_it():
    page = Page(report.html(chosen_by_itself()))
    assert page.faults == []
    for words in (
        "Test backdoors, planted in a copy",
        "Between the original and the cleaned",
        "After a benign finetuning",
        "not planted",
    ):
        assert words in page.text
    assert len(page.all("ellipse")) == 3
    assert "2.0 points" in page.text  # the budget, below the frontier
