"""Choosing, on values alone: no model, no file, nothing patched."""

from dataclasses import replace

import pytest
from auto_values import BUDGET, answering, attempt, candidate, returning, trial

from clipclean import deadline
from clipclean.auto import select
from clipclean.auto.select import Considered
from clipclean.errors import Inconclusive
from clipclean.train import NonFiniteLoss


def chosen(trials, attempts, *, copy=True, late=()):
    """The candidates after a whole choice, and those that were run, given what each trial and each run would show."""
    ran = []

    def tried(each):
        return Considered(each, trials=(trials[each.name],) if copy else ())

    def run(considered):
        ran.append(considered.candidate.name)
        result = attempts[ran[-1]]
        if isinstance(result, Exception):
            raise result
        return replace(considered, attempt=result)

    found = select.choose(
        [candidate(name) for name in attempts], budget=BUDGET, is_late=lambda: len(ran) in late, tried=tried, run=run
    )
    return found, ran


def test_the_mildest_candidate_that_passes_on_canaries_and_model_is_the_last():
    _, ran = chosen({"a": trial(0.4), "b": trial(0.0), "c": trial(0.0)}, {n: attempt(n) for n in "abc"})
    assert ran == ["b"]


def test_the_candidate_that_leaves_least_of_the_canaries_is_run_before_milder_ones():
    trials = {"a": trial(0.04), "b": trial(0.0), "c": trial(0.02)}
    assert chosen(trials, {n: attempt(n) for n in "abc"})[1] == ["b"]
    left_open = {"a": attempt("a"), "b": attempt("b", ("CC001", "error")), "c": attempt("c", ("CC001", "error"))}
    assert chosen(trials, left_open)[1] == ["b", "c", "a"]
    returns = {"a": trial(0.0), "b": returning(trial(0.0), share=0.04)}
    assert chosen(returns, {n: attempt(n) for n in "ab"})[1] == ["a"]
    assert chosen({"a": returns["b"], "b": trial(0.02)}, {n: attempt(n) for n in "ab"})[1] == ["b"]


def test_a_candidate_that_leaves_least_is_not_put_off_by_a_loss_that_chance_explains():
    trials = {"a": trial(0.0, lost=0.046, reach=0.06), "b": trial(0.04, lost=-0.009, reach=0.06)}
    assert chosen(trials, {n: attempt(n) for n in "ab"})[1] == ["a"]
    sure = trials | {"a": trial(0.0, lost=0.046, reach=0.02)}
    assert chosen(sure, {n: attempt(n) for n in "ab"})[1] == ["b"]


def losing(*, images):
    """A trial that removes all, and gets the first so many of 200 images wrong."""
    return trial(0.0, lost=images / 200, reach=0.2, measured=answering(right=range(images, 200), of=200))


def test_of_candidates_that_leave_equally_little_the_one_that_costs_less_beyond_chance_is_run():
    attempts = {n: attempt(n) for n in "abc"}
    assert chosen({"a": losing(images=30), "b": losing(images=6), "c": losing(images=5)}, attempts)[1] == ["b"]
    # 3 of 200 images fewer: chance, so the gentler one, which comes first
    assert chosen({"a": losing(images=9), "b": losing(images=6), "c": losing(images=6)}, attempts)[1] == ["a"]
    more = trial(0.012, measured=losing(images=0).measured)
    assert chosen({"a": losing(images=30), "b": more, "c": losing(images=30)}, attempts)[1] == ["a"]


def test_a_candidate_over_the_budget_on_model_and_copy_together_is_followed_by_the_next():
    trials = {n: trial(0.0, lost=0.05, reach=0.04) for n in "ab"}
    attempts = {"a": attempt("a", lost=0.06, is_costly=True), "b": attempt("b", lost=0.01)}
    found, ran = chosen(trials, attempts)
    assert ran == ["a", "b"]
    assert select.best(found)[0].candidate.name == "b"


def test_no_candidate_is_run_after_one_that_leaves_nothing_open():
    trials = {"a": trial(0.02), "b": trial(0.0), "c": trial(0.04)}
    attempts = {"a": attempt("a"), "b": attempt("b", ("CC003", "warning")), "c": attempt("c")}
    assert chosen(trials | {"b": returning(trials["b"], share=0.0)}, attempts)[1] == ["b", "a"]


def test_candidates_behind_one_that_is_enough_are_not_tried():
    enough, passing = returning(trial(0.004), share=0.009), returning(trial(0.0), share=0.03)
    found, ran = chosen({"a": passing, "b": enough, "c": None}, {n: attempt(n) for n in "abc"})
    assert ran == ["b"]
    assert [each.candidate.name for each in found] == ["a", "b", "c"]
    assert "b removes nearly all" in found[2].why_not
    costly = replace(enough, accuracy_lost=0.011)
    assert chosen({"a": costly, "b": passing}, {n: attempt(n) for n in "ab"})[0][1].trials == (passing,)
    farther = replace(enough, kept=0.85)  # the cleaned copy itself was over the budget
    assert chosen({"a": farther, "b": passing}, {n: attempt(n) for n in "ab"})[0][1].trials == (passing,)


def test_candidates_are_needless_also_where_a_costlier_one_was_run():
    costly, enough = returning(trial(0.004, lost=0.015), share=0.0), returning(trial(0.0), share=0.004)
    found, ran = chosen({"a": costly, "b": enough, "c": None}, {n: attempt(n) for n in "abc"})
    assert ran == ["a"]
    assert "b removes nearly all" in found[2].why_not


def test_candidates_behind_one_that_was_enough_are_tried_where_it_leaves_something_on_the_model():
    attempts = {"a": attempt("a", ("CC003", "warning")), "b": attempt("b"), "c": attempt("c")}
    found, ran = chosen({n: returning(trial(0.0), share=0.0) for n in "abc"}, attempts)
    assert ran == ["a", "b"]
    assert "b removes nearly all" in found[2].why_not


def test_a_candidate_that_leaves_something_on_the_model_is_followed_by_the_next():
    attempts = {
        "a": attempt("a", ("CC003", "warning")),
        "b": attempt("b", ("CC001", "error")),
        "c": attempt("c", ("CC040", "note")),
    }
    found, ran = chosen({n: trial(0.0) for n in "abc"}, attempts)
    assert ran == ["a", "b", "c"]
    assert [each.attempt.is_open for each in found] == [True, True, False]


def test_where_none_passes_on_the_canaries_the_nearest_is_run():
    trials = {"a": trial(0.4), "b": trial(0.0, lost=0.09), "c": trial(0.4, lost=0.01)}
    _, ran = chosen(trials, {n: attempt(n) for n in "abc"})
    assert ran == ["a"]  # within the budget, one canary left, nothing lost
    chance = {"a": trial(0.4), "b": trial(0.06, lost=0.03, reach=0.02)}
    assert chosen(chance, {n: attempt(n) for n in "ab"})[1] == ["b"]  # not surely over the budget, and less is left


def test_where_chance_explains_which_of_two_leaves_less_of_as_many_canaries_the_order_decides():
    def leaving(share, *, reach):
        made = trial(share)
        (outcome,) = made.outcomes
        return replace(made, outcomes=(outcome.model_copy(update={"interval": (share - reach, share + reach)}),))

    attempts = {n: attempt(n) for n in "ab"}
    within = {"a": leaving(0.085, reach=0.04), "b": leaving(0.08, reach=0.04)}
    assert chosen(within, attempts)[1] == ["a"]  # the harsher one costs accuracy for a difference of one image
    beyond = {"a": leaving(0.3, reach=0.04), "b": leaving(0.08, reach=0.04)}
    assert chosen(beyond, attempts)[1] == ["b"]


def test_a_candidate_is_not_put_off_by_canaries_that_return_since_those_of_one_that_leaves_some_were_never_refinetuned():
    def of_three(*trials):
        return replace(trials[0], outcomes=tuple(outcome for each in trials for outcome in each.outcomes))

    none_stays, back, far_back = trial(0.0), returning(trial(0.0), share=0.2), returning(trial(0.0), share=0.4)
    trials = {
        "a": of_three(trial(0.1), none_stays, none_stays),
        "b": of_three(back, back, far_back),
        "c": of_three(back, back, back),
    }
    assert chosen(trials, {n: attempt(n) for n in "abc"})[1] == ["c"]
    trials["d"] = of_three(far_back, far_back, none_stays)
    assert chosen(trials, {n: attempt(n) for n in "abcd"})[1] == ["d"]


def test_without_canaries_the_model_itself_decides():
    found, ran = chosen({}, {"a": attempt("a", ("CC010", "error")), "b": attempt("b")}, copy=False)
    assert ran == ["a", "b"]
    assert all(each.trials == () for each in found)


def test_when_the_time_is_over_nothing_more_is_begun():
    attempts = {n: attempt(n, ("CC001", "error")) for n in "abc"}
    found, ran = chosen({n: trial(0.0) for n in "abc"}, attempts, late=(0, 1))
    assert ran == ["a"]  # the first is run whatever the time
    assert len(found) == 1


def test_when_the_time_is_over_within_a_candidate_what_was_run_before_is_kept():
    trials = {"a": trial(0.0), "b": trial(0.01)}
    found, ran = chosen(trials, {"a": attempt("a", ("CC001", "error")), "b": deadline.OutOfTime()})
    assert (ran, [bool(each.attempt) for each in found]) == (["a", "b"], [True, False])
    with pytest.raises(deadline.OutOfTime):
        chosen(trials, {"a": deadline.OutOfTime(), "b": attempt("b")})


def test_of_attempts_the_one_with_fewer_errors_and_then_the_weaker_attack_is_better():
    worse = attempt("a", ("CC001", "error"))
    assert attempt("b", excess=0.2).rank() < worse.rank()
    assert attempt("b", excess=0.0, lost=0.01).rank() < attempt("c", excess=0.02).rank()
    assert attempt("c", excess=0.02).rank() < attempt("a", ("CC003", "warning"), excess=0.0).rank()  # a doubt stays


def test_one_that_cannot_be_run_is_passed_over():
    unfit, fit = Considered(candidate("a"), "needs labels"), Considered(candidate("b"), trials=(trial(0.0),))
    step = select.next_step([unfit, fit], untried=0, budget=BUDGET, late=False)
    assert (step.do, step.place) == ("run", 1)
    assert select.next_step([unfit], untried=0, budget=BUDGET, late=False).do == "stop"
    assert select.next_step([], untried=2, budget=BUDGET, late=True).do == "try"  # the first is tried whatever the time


@pytest.mark.parametrize("error", [NonFiniteLoss("The loss is nan at step 3."), Inconclusive("too few classes")])
def test_a_candidate_that_cannot_be_run_on_the_model_says_why_and_the_next_one_is_run(error):
    trials = {"a": trial(0.0), "b": trial(0.01)}
    found, ran = chosen(trials, {"a": error, "b": attempt("b")})
    assert ran == ["a", "b"]
    assert (found[0].why_not, found[0].trials) == (str(error), ())


def test_where_no_candidate_can_be_run_nothing_is_concluded():
    with pytest.raises(Inconclusive, match="a: needs labels"):
        select.choose(
            [candidate("a")],
            budget=BUDGET,
            is_late=lambda: False,
            tried=lambda each: Considered(each, "needs labels"),
            run=lambda considered: considered,
        )


def test_what_passes_on_the_canaries_waits_while_what_was_run_left_something_open():
    passing = Considered(candidate("b"), trials=(trial(0.0),))
    failing = Considered(candidate("c"), trials=(trial(0.5),))
    ran = Considered(candidate("a"), trials=(trial(0.0),), attempt=attempt("a", ("CC003", "warning")))
    assert select.waiting([ran, passing, failing], BUDGET) == 1
    assert select.waiting([replace(ran, attempt=attempt("a")), passing, failing], BUDGET) == 0
