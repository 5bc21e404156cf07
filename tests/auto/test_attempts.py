"""Choosing, on values alone: no model, no file, nothing patched."""

from dataclasses import dataclass, field, replace

import pytest
from auto_values import LIMITS, attempt, candidate, trial

from clipclean import deadline
from clipclean.attack.triggers import parse
from clipclean.auto.attempts import CandidateResult, best, choose, with_best_tested
from clipclean.auto.candidates import Candidate
from clipclean.config import recipe
from clipclean.detect import Rate
from clipclean.detect.finetune_base import BaseComparison, Difference
from clipclean.errors import Inconclusive
from clipclean.findings import CC, finding
from clipclean.train import NonFiniteLoss

OPEN = ("CC001", "error")


@dataclass
class Runner:
    """What each trial and each run would show, by the names of candidates; ``ran`` are those that were run."""

    trials: dict
    attempts: dict
    copy: bool = True
    late: tuple = ()
    is_sure: bool = True
    limits = LIMITS
    ran: list[str] = field(default_factory=list)

    def is_late(self):
        return len(self.ran) in self.late

    def is_worth(self, attempt):
        return self.is_sure or attempt.way.is_within

    def try_out(self, candidate):
        return CandidateResult(candidate, trials=(self.trials[candidate.name],) if self.copy else ())

    def run(self, result):
        self.ran.append(result.candidate.name)
        outcome = self.attempts[result.candidate.name]
        if isinstance(outcome, Exception):
            raise outcome
        return replace(result, attempt=outcome)


def chosen(trials, attempts, **changes):
    """The candidates after a whole choice, and those that were run."""
    runner = Runner(trials, attempts, **changes)
    return choose([candidate(name) for name in attempts], runner), runner.ran


def test_the_gentlest_that_passes_is_the_last_to_be_tried():
    results, ran = chosen({"a": trial(0.4), "b": trial(0.0), "c": None}, {n: attempt(n) for n in "abc"})
    assert ran == ["b"]
    assert [bool(each.why_not) for each in results] == [False, False, True]


def test_without_test_backdoors_the_model_decides():
    results, ran = chosen({}, {"a": attempt("a", ("CC010", "error")), "b": attempt("b")}, copy=False)
    assert ran == ["a", "b"]
    assert all(each.trials == () for each in results)


@pytest.mark.parametrize(
    ("left", "is_sure", "ran"),
    [
        (attempt("a", OPEN), True, ["a", "b"]),
        (attempt("a", OPEN), False, ["a", "b"]),
        (attempt("a", ("CC003", "warning")), True, ["a", "b"]),
        (attempt("a", ("CC003", "warning")), False, ["a"]),  # a clean model in doubt has natural triggers after each
        (attempt("a", ("CC062", "warning")), True, ["a", "b"]),  # a trigger that this candidate hid
        (attempt("a", ("CC062", "warning")), False, ["a"]),  # natural waves return
        (attempt("a", ("CC009", "warning")), False, ["a", "b"]),  # one that does not act on the base
        (attempt("a", ("CC020", "warning")), True, ["a"]),  # too few images to tell are too few for each
        (attempt("a", lost=0.021), True, ["a"]),  # a harsher one costs no less
        (attempt("a", excess=0.08), False, ["a", "b"]),  # a suspected trigger stays, whatever the audit says
        (attempt("a", ("CC003", "warning"), doubted="dog"), True, ["a"]),  # natural, of a class that nobody suspected
    ],
)
def test_a_candidate_that_leaves_a_trigger_on_the_model_is_followed_by_the_next(left, is_sure, ran):
    attempts = {"a": left, "b": attempt("b", ("CC040", "note")), "c": attempt("c")}
    assert chosen({n: trial(0.0) for n in "abc"}, attempts, is_sure=is_sure)[1] == ran


@pytest.mark.parametrize("is_sure", [True, False])
def test_a_doubt_that_stays_calls_a_surgery_that_searches_again(is_sure):
    attempts = {"surgery": attempt("a", ("CC003", "warning")), "surgery(unlearn.max_rounds=3)": attempt("b")}
    assert chosen({}, attempts, copy=False, is_sure=is_sure)[1] == list(attempts)


@pytest.mark.parametrize(
    ("copy", "model", "ran"),
    [
        ([(0.4, 0.0), (0.0, 0.09), (0.0, 0.03)], {}, ["a"]),  # within the budget
        # else the fewest test backdoors left, and of these the least loss
        ([(0.4, 0.025), (0.0, 0.09), (0.0, 0.03)], {}, ["c"]),
        ([(0.4, 0.02), (0.4, 0.0), (0.4, 0.01)], {"b": 0.05}, ["b", "c"]),  # until one is within it on the model
    ],
)
def test_where_none_passes_on_the_copy_the_nearest_are_run(copy, model, ran):
    trials = {name: trial(left, lost=lost) for name, (left, lost) in zip("abc", copy, strict=True)}
    found, done = chosen(trials, {n: attempt(n, lost=model.get(n, 0.0)) for n in "abc"})
    assert (done, best(found)[0].candidate.name) == (ran, ran[-1])


def test_when_the_time_is_over_no_other_candidate_is_begun():
    attempts = {n: attempt(n, OPEN) for n in "abc"}
    results, ran = chosen({n: trial(0.0) for n in "abc"}, attempts, late=(0, 1))
    assert (ran, len(results)) == (["a"], 1)  # the first is run whatever the time
    assert chosen({n: trial(0.4) for n in "abc"}, attempts, late=(0, 1))[1] == ["a"]


def test_what_was_run_before_the_time_was_over_is_kept():
    attempts = {"a": attempt("a", OPEN), "b": deadline.OutOfTime()}
    results, ran = chosen({"a": trial(0.0), "b": trial(0.01)}, attempts)
    assert (ran, [bool(each.attempt) for each in results]) == (["a", "b"], [True, False])


def test_time_that_is_over_in_the_first_run_ends_the_choice():
    with pytest.raises(deadline.OutOfTime):
        chosen({"a": trial(0.0), "b": trial(0.01)}, {"a": deadline.OutOfTime(), "b": attempt("b")})


def test_of_attempts_the_one_with_fewer_errors_is_better_whatever_it_costs():
    assert attempt("b", ("CC003", "warning"), lost=0.5).rank() < attempt("a", OPEN).rank()


def test_of_attempts_with_as_many_errors_the_one_that_costs_less_is_better():
    assert attempt("c", lost=0.01).rank() < attempt("a", lost=0.02).rank()


def test_a_doubt_about_an_attempt_counts_as_the_whole_budget():
    assert attempt("c", lost=0.019).rank() < attempt("a", ("CC003", "warning")).rank()
    assert attempt("a", ("CC003", "warning"), lost=0.033).rank() < attempt("c", lost=0.057).rank()
    ran = {"a": attempt("a", ("CC003", "warning")), "b": attempt("b", lost=0.01)}
    assert best(chosen({n: trial(0.0) for n in "ab"}, ran)[0])[0].candidate.name == "b"


def test_of_attempts_that_leave_a_trigger_the_one_that_leaves_much_less_of_it_is_better_though_it_costs_more():
    assert attempt("b", excess=0.1, lost=0.015).rank() < attempt("a", excess=0.3, lost=0.01).rank()


def test_of_attempts_that_leave_nearly_as_much_of_a_trigger_the_one_that_costs_less_is_better():
    assert attempt("a", excess=0.1, lost=0.005).rank() < attempt("b", excess=0.095, lost=0.015).rank()


GONE_BACK = Candidate(("undo",), (recipe.load("undo"),))


@pytest.mark.parametrize(
    ("undone", "surgery", "name"),
    [
        # A surgery hides what it was shown.
        (attempt("a", ("CC003", "warning"), lost=0.01), attempt("b", ("CC003", "warning")), "undo"),
        (attempt("a", ("CC003", "warning")), attempt("b"), "b"),  # nothing is open
        (attempt("a", OPEN), attempt("b", ("CC003", "warning")), "b"),
        (attempt("a", excess=0.1), attempt("b", ("CC003", "warning")), "b"),  # it left a trigger, so nothing hides
        (attempt("a", ("CC003", "warning"), lost=0.015), attempt("b", excess=0.08), "undo"),
        (attempt("a", ("CC003", "warning"), lost=0.3), attempt("b", ("CC003", "warning")), "b"),  # not at any price
        (attempt("a", ("CC010", "error"), lost=0.03), attempt("b", ("CC062", "error"), ("CC003", "warning")), "b"),
    ],
)
def test_where_each_leaves_something_open_an_attempt_that_went_back_to_the_base_within_the_budget_is_better(
    undone, surgery, name
):
    results = [CandidateResult(one.candidate, attempt=one) for one in (surgery, replace(undone, candidate=GONE_BACK))]
    assert best(results)[0].candidate.name == name


def refinetuned_at_the_end(*, is_worth):
    """The order of the refinetune tests of two candidates that leave a trigger, the cheaper of which brings another back; and the winner."""
    attempts = {
        "a": attempt("a", OPEN, lost=0.01),
        "b": attempt("b", OPEN, lost=0.015),
        "c": attempt("c", OPEN, lost=0.02),
    }
    order: list[str] = []

    def test(_self, one):
        order.append(one.candidate.name)
        level = "error" if order == ["a"] else "note"
        returned = (finding(CC.BACKDOOR_CAME_BACK, "It came back.", level=level),)
        return replace(one, returned=returned, findings=(*one.findings, *returned))

    trials = {name: trial(0.0) for name in attempts}
    tester = type("Tester", (Runner,), {"test": test, "is_worth": lambda _self, _one: is_worth})(trials, attempts)
    results = with_best_tested(chosen(trials, attempts)[0], tester)
    return order, best(results)[1].candidate.name


def test_refinetune_tests_end_at_the_attempt_that_is_written():
    assert refinetuned_at_the_end(is_worth=True) == (["a", "b"], "b")


def test_an_attempt_that_is_not_worth_its_price_is_not_tested():
    assert refinetuned_at_the_end(is_worth=False) == ([], "a")


cannot_be_run = pytest.mark.parametrize(
    "error", [NonFiniteLoss("The loss is nan at step 3."), Inconclusive("too few classes")]
)


@cannot_be_run
def test_a_candidate_that_cannot_be_run_on_the_model_says_why(error):
    results, _ = chosen({"a": trial(0.0), "b": trial(0.01)}, {"a": error, "b": attempt("b")})
    assert (results[0].why_not, results[0].trials) == (str(error), ())


@cannot_be_run
def test_a_candidate_that_cannot_be_run_on_the_model_is_followed_by_the_next(error):
    assert chosen({"a": trial(0.0), "b": trial(0.01)}, {"a": error, "b": attempt("b")})[1] == ["a", "b"]


@cannot_be_run
def test_where_no_candidate_can_be_run_on_the_model_nothing_is_concluded(error):
    with pytest.raises(Inconclusive, match=f"a: {error}"):
        chosen({"a": trial(0.0), "b": trial(0.01)}, {"a": error})


@pytest.mark.parametrize(("is_sure", "ran"), [(False, ["a", "b"]), (True, ["a"])])
def test_a_run_that_is_not_worth_its_price_calls_the_next_candidate(is_sure, ran):
    attempts = {"a": attempt("a", lost=0.03), "b": attempt("b", lost=0.01)}
    assert chosen({}, attempts, copy=False, is_sure=is_sure)[1] == ran


def test_where_gentle_candidates_are_not_worth_their_price_harsher_ones_are_not_tried():
    attempts = {"surgery": attempt("surgery", lost=0.03), "a": attempt("a"), "surgery(unlearn.steps=9)": attempt("b")}
    considered, ran = chosen({}, attempts, copy=False, is_sure=False)
    assert ran == ["surgery", "surgery(unlearn.steps=9)"]
    assert considered[1].why_not


@pytest.mark.parametrize(("base_hits", "is_left"), [(0, True), (90, False)])
def test_what_a_suspected_trigger_does_on_the_base_as_well_is_not_left(base_hits, is_left):
    made = attempt("undo", excess=0.1)
    interval = ((100 - base_hits) / 1000 - 0.02, (100 - base_hits) / 1000 + 0.02)
    patch = parse("patch")
    beside = Difference(patch, "cat", Rate(100, 1000), Rate(base_hits, 1000), interval)
    compared = BaseComparison((), (), 1.0, 1.0, 1, {("patch", "cat"): beside})
    made = replace(made, audit=replace(made.audit, beside_base=compared))
    assert bool(made.triggers_left) is is_left
