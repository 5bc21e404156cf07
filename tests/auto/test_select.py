"""Choosing, on values alone: no model, no file, nothing patched."""

from dataclasses import replace

from clipclean.attack.canaries import Outcome, Trial
from clipclean.auto import candidates, select
from clipclean.auto.interpolate import Point
from clipclean.auto.select import Attempt, Budget, Entry
from clipclean.auto.sequence import Cleaned
from clipclean.config import recipe
from clipclean.findings import finding

BUDGET = Budget(excess=0.05, accuracy=0.02, gain=0.01)


def rung(name):
    return candidates.Rung((name,), (recipe.load("mmcl"),))


def trial(left, lost=0.0, kept=1.0):
    outcome = Outcome("patch", "cat", 0.9, left, (left, left), 0.5, 100)
    return Trial("rung", (outcome,), lost, (0.0, 0.0), kept, 1.0)


def returning(made, *, share=0.3):
    """The same trial, but its canary acts on so many pictures after a benign finetuning."""
    (told,) = made.outcomes
    return replace(made, outcomes=(replace(told, returned=share, returned_interval=(share - 0.1, share + 0.1)),))


def attempt(name, *findings, excess=0.0, lost=0.0):
    told = tuple(finding(code, "told", level=level, trigger="patch") for code, level in findings)
    point = Point(1.0, excess, lost)
    done = Cleaned({}, {"steps": 1, "seconds": 1.0}, (), ())
    return Attempt(rung(name), done, (point,), point, (), None, None, told)


def climbed(trials, attempts, *, copy=True, late=()):
    """The entries of a whole choice, and the candidates that were run, given what each trial and each run would show."""
    entries, ran, names = [], [], list(attempts)
    while (
        step := select.next_step(entries, untried=len(names) - len(entries), budget=BUDGET, late=len(ran) in late)
    ).do != "stop":
        if step.do == "try":
            name = names[len(entries)]
            entries.append(Entry(rung(name), trials=(trials[name],) if copy else ()))
        else:
            ran.append(step.entry.rung.name)
            step.entry.attempt = attempts[ran[-1]]
    return [*entries, *select.needless([rung(name) for name in names[len(entries) :]], entries, BUDGET)], ran


def test_the_mildest_rung_that_passes_on_canaries_and_model_is_the_last():
    _, ran = climbed({"a": trial(0.4), "b": trial(0.0), "c": trial(0.0)}, {n: attempt(n) for n in "abc"})
    assert ran == ["b"]


def test_the_rung_that_leaves_least_of_the_canaries_is_run_before_milder_ones():
    trials = {"a": trial(0.04), "b": trial(0.0), "c": trial(0.02)}
    assert climbed(trials, {n: attempt(n) for n in "abc"})[1] == ["b"]
    left_open = {"a": attempt("a"), "b": attempt("b", ("CC001", "error")), "c": attempt("c", ("CC001", "error"))}
    assert climbed(trials, left_open)[1] == ["b", "c", "a"]
    returns = {"a": trial(0.0), "b": returning(trial(0.0), share=0.04)}
    assert climbed(returns, {n: attempt(n) for n in "ab"})[1] == ["a"]
    assert climbed({"a": returns["b"], "b": trial(0.02)}, {n: attempt(n) for n in "ab"})[1] == ["b"]


def test_no_rung_is_run_after_one_that_leaves_nothing_open():
    trials = {"a": trial(0.02), "b": trial(0.0), "c": trial(0.04)}
    attempts = {"a": attempt("a"), "b": attempt("b", ("CC003", "warning")), "c": attempt("c")}
    assert climbed(trials | {"b": returning(trials["b"], share=0.0)}, attempts)[1] == ["b", "a"]


def test_rungs_behind_one_that_is_enough_are_not_tried():
    enough, passing = returning(trial(0.004), share=0.009), returning(trial(0.0), share=0.03)
    entries, ran = climbed({"a": passing, "b": enough, "c": None}, {n: attempt(n) for n in "abc"})
    assert ran == ["b"]
    assert [entry.rung.name for entry in entries] == ["a", "b", "c"]
    assert "b leaves hardly anything" in entries[2].why_not
    costly = replace(enough, accuracy_lost=0.011)
    assert climbed({"a": costly, "b": passing}, {n: attempt(n) for n in "ab"})[0][1].trials == (passing,)
    farther = replace(enough, kept=0.85)  # the cleaned copy itself was over the budget
    assert climbed({"a": farther, "b": passing}, {n: attempt(n) for n in "ab"})[0][1].trials == (passing,)


def test_rungs_are_told_as_needless_also_where_a_costlier_one_was_run():
    costly, enough = returning(trial(0.004, lost=0.015), share=0.0), returning(trial(0.0), share=0.004)
    entries, ran = climbed({"a": costly, "b": enough, "c": None}, {n: attempt(n) for n in "abc"})
    assert ran == ["a"]
    assert "b leaves hardly anything" in entries[2].why_not


def test_rungs_behind_one_that_was_enough_are_tried_where_it_leaves_something_on_the_model():
    attempts = {"a": attempt("a", ("CC003", "warning")), "b": attempt("b"), "c": attempt("c")}
    entries, ran = climbed({n: returning(trial(0.0), share=0.0) for n in "abc"}, attempts)
    assert ran == ["a", "b"]
    assert "b leaves hardly anything" in entries[2].why_not


def test_a_rung_that_leaves_something_on_the_model_is_followed_by_the_next():
    attempts = {
        "a": attempt("a", ("CC003", "warning")),
        "b": attempt("b", ("CC001", "error")),
        "c": attempt("c", ("CC040", "note")),
    }
    entries, ran = climbed({n: trial(0.0) for n in "abc"}, attempts)
    assert ran == ["a", "b", "c"]
    assert [entry.attempt.is_open for entry in entries] == [True, True, False]


def test_where_none_passes_on_the_canaries_the_nearest_is_run():
    trials = {"a": trial(0.4), "b": trial(0.0, lost=0.09), "c": trial(0.4, lost=0.01)}
    _, ran = climbed(trials, {n: attempt(n) for n in "abc"})
    assert ran == ["a"]  # within the budget, one canary left, nothing lost


def test_without_canaries_the_model_itself_decides():
    entries, ran = climbed({}, {"a": attempt("a", ("CC010", "error")), "b": attempt("b")}, copy=False)
    assert ran == ["a", "b"]
    assert all(entry.trials == () for entry in entries)


def test_when_the_time_is_over_nothing_more_is_begun():
    attempts = {n: attempt(n, ("CC001", "error")) for n in "abc"}
    entries, ran = climbed({n: trial(0.0) for n in "abc"}, attempts, late=(0, 1))
    assert ran == ["a"]  # the first is run whatever the time
    assert len(entries) == 1


def test_of_attempts_the_one_with_fewer_errors_and_then_the_weaker_attack_is_better():
    worse = attempt("a", ("CC001", "error"))
    assert attempt("b", excess=0.2).rank() < worse.rank()
    assert attempt("b", excess=0.0, lost=0.01).rank() < attempt("c", excess=0.02).rank()
    assert attempt("c", excess=0.02).rank() < attempt("a", ("CC003", "warning"), excess=0.0).rank()  # a doubt stays


def test_an_entry_that_cannot_be_run_is_passed_over():
    entries = [Entry(rung("a"), "needs labels"), Entry(rung("b"), trials=(trial(0.0),))]
    assert select.next_step(entries, untried=0, budget=BUDGET, late=False).entry is entries[1]
    assert select.next_step(entries[:1], untried=0, budget=BUDGET, late=False).do == "stop"
    assert select.next_step([], untried=2, budget=BUDGET, late=True).do == "try"  # the first is tried whatever the time
