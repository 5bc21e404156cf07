import math
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from auto_values import LIMITS, attempt, candidate, measurement, probe, returning, sight, trial

from clipclean.attack import triggers
from clipclean.auto import attempts, conclude, one_candidate
from clipclean.auto.attempts import CandidateResult
from clipclean.auto.candidates import Candidate
from clipclean.auto.conclude import Choice
from clipclean.auto.trials import PlantedCopy, Refinetuned
from clipclean.config import policy, recipe
from clipclean.detect import Rate, Suspicion
from clipclean.findings import finding
from clipclean.jobs import cleaning
from clipclean.jobs.first_audit import FirstAudit
from clipclean.jobs.results import Judge

UNKNOWN = finding("CC004", "words", level="warning")  # no clean model to compare with
COPY = PlantedCopy((), {}, measurement(), {}, 2.0)
COSTLY = attempt("a", ("CC010", "note"), lost=0.086)


def findings_of(made, *, acted=None, copy=COPY, changed=True, doubted=False):
    """Rules and levels, and the first message, where a trigger ``acted`` on this share of images before."""
    before = measurement(suspected=[] if acted is None else [probe(acted, reach=0.0)])
    told = {"is_changed": changed, "is_doubted": doubted}
    found = conclude.test_backdoor_findings(copy, made, before, limits=LIMITS, **told)
    return [(f.rule, f.level) for f in found], found[0].message


@pytest.mark.parametrize(
    ("made", "given", "rules"),
    [
        (trial(0.01), {"acted": 0.9}, [("CC060", "note")]),
        (trial(0.2), {"acted": 0.9}, [("CC060", "warning")]),  # one is left
        (trial(0.2), {}, [("CC060", "warning")]),
        (trial(0.01), {"changed": False}, [("CC060", "note"), ("CC065", "note")]),  # nothing acted on the model
        (trial(0.01), {"doubted": True}, [("CC060", "note")]),  # the search found something
        (None, {"acted": 0.9}, [("CC061", "note")]),  # none took
        (None, {"acted": 0.01}, [("CC061", "warning")]),  # no test backdoor took, and no trigger acted
    ],
)
def test_the_removal_of_all_test_backdoors_or_else_of_a_trigger_that_acted_shows_something(made, given, rules):
    assert findings_of(made, **given)[0] == rules


def test_nothing_is_said_of_test_backdoors_that_were_not_needed():
    before = measurement(suspected=[probe(0.9, reach=0.0)])  # which is the evidence
    assert conclude.test_backdoor_findings(None, None, before, limits=LIMITS, is_changed=True, is_doubted=False) == []


def test_that_no_candidate_passes_is_an_error():
    considered = [CandidateResult(candidate("a")), CandidateResult(candidate("b"), "needs labels")]
    error = conclude.nothing_passed_finding(considered, attempt("a"), LIMITS)
    assert (error.rule, error.level) == ("CC063", "error")
    assert all(word in error.message for word in ("2.0 points", ": a"))
    assert "b" not in error.message.split(":")[1]


def test_the_policy_decides_whether_an_error_stands():
    failing = finding("CC002", "words", level="error", target="cat", trigger="patch")
    assert verdict_of(failing) == ["CC002", "CC063"]
    assert verdict_of(failing, severities={"CC002": "off"}) == ["CC050"]  # the policy is named, no more


def tried(*considered, late=True, copy=COPY):
    before = FirstAudit(sight(), (), ())
    return Choice(before, copy, considered, 3.0, late, time.monotonic() - 100)


def test_what_the_time_did_not_suffice_for_is_said_whatever_the_verdict():
    one = CandidateResult(candidate("a"), "", (trial(0.0),), attempt("a"))
    (found,) = conclude.out_of_time_findings(tried(one), candidate_count=3)
    assert all(figure in found.message for figure in ("3 minutes", "2 candidates"))
    assert conclude.out_of_time_findings(tried(one), candidate_count=1) == []  # nothing was left to do
    assert conclude.out_of_time_findings(tried(one, late=False), candidate_count=3) == []


def account_of_two():
    """Of a candidate that was tried at two shares, run and chosen, and of one that was not run."""
    copy = replace(COPY, planted=measurement(suspected=[probe(0.9), probe(0.3, trigger="stripes")]))
    ran = attempt("a", ("CC001", "error"), excess=0.1, lost=0.01)
    first = CandidateResult(candidate("a"), "", (returning(trial(0.0), share=0.01), trial(0.2, share=0.85)), ran, 4.0)
    return conclude.auto_record(tried(first, CandidateResult(candidate("b"), "needs labels"), copy=copy), ran, LIMITS)


def test_the_account_tells_which_test_backdoors_took():
    assert [(one.trigger, one.planted, one.took) for one in account_of_two().test_backdoors] == [
        ("patch", 0.9, True),
        ("stripes", 0.3, False),
    ]


def test_the_account_tells_how_each_candidate_did():
    account = account_of_two()
    assert (account.chosen, account.changed) == ("a", True)
    one, other = account.candidates
    assert (one.candidate, one.chosen, one.passes, one.run.errors, one.run.excess) == ("a", True, True, ("CC001",), 0.1)
    outcomes = [(t.kept, t.outcomes[0].left, t.outcomes[0].returned) for t in one.trials]
    assert outcomes == [(1.0, 0.0, 0.01), (0.85, 0.2, None)]
    assert (other.chosen, other.why_not, other.passes, other.run) == (False, "needs labels", False, None)


def test_the_account_tells_the_budget():
    budget = account_of_two().budget
    assert (budget.accuracy, budget.excess, budget.minutes) == (0.02, 0.05, 3.0)


def test_the_account_tells_the_time_of_each_stage():
    seconds = account_of_two().seconds
    assert (seconds.planting, seconds.trials, seconds.chosen) == (2.0, 4.0, 1.0)
    assert seconds.total >= 100


def test_the_account_tells_what_came_back():
    assert account_of_two().rebound is None  # without a refinetune test
    unknown = replace(probe(0.1, trigger="a"), excess=math.nan)
    before = measurement(suspected=[probe(0.0)], panel=[unknown], accuracy=Rate(0, 0))
    after = measurement(suspected=[probe(0.4)], panel=[probe(0.1, trigger="a")])
    test = Refinetuned(before, after, 60, 1.5)
    ran = replace(attempt("a"), refinetuned=test)
    rebound = conclude.auto_record(tried(CandidateResult(candidate("a"), attempt=ran)), ran, LIMITS).rebound
    assert (rebound.accuracy.before, rebound.accuracy.after) == (None, 0.5)
    assert [(p.before, p.after, p.suspected) for p in rebound.probes] == [(0.0, 0.4, True), (None, 0.1, False)]


def verdict_of(*findings, severities=None):
    """Rules after a policy with these severities, where CC063 says that nothing passed."""
    chosen = policy.Policy(version=1, name="ours", severities=policy.Severities(**severities or {}))
    nothing = conclude.nothing_passed_finding([], attempt("a"), LIMITS)
    loaded = SimpleNamespace(file=SimpleNamespace(sha256="0" * 64))
    judged = Judge(chosen, LIMITS, LIMITS).apply(loaded, lambda _: findings, if_failed=nothing)
    return [f.rule for f in judged.findings]


PATTERN = (Suspicion(triggers.parse("sinusoid"), 0),)
DOUBT = finding("CC003", "words", level="warning")


def test_the_original_stays_where_its_cleaning_costs_too_much():
    costly, acts = attempt("a", ("CC010", "error")), attempt("a", ("CC001", "error"))
    assert attempts.is_better_as_it_was([], costly, patterns=PATTERN)
    assert attempts.is_better_as_it_was([DOUBT], costly)
    assert not attempts.is_better_as_it_was([], acts)
    assert not attempts.is_better_as_it_was([UNKNOWN], attempt("a", lost=0.02))  # the whole budget may be spent


def test_the_original_never_stays_where_a_backdoor_is_sure():
    sure = finding("CC003", "words", level="error")
    # A backdoor stays one, whatever it costs to remove.
    assert not attempts.is_better_as_it_was([DOUBT, sure], attempt("a", ("CC010", "error")))


def test_a_cleaning_may_cost_what_chance_explains_where_there_was_a_doubt():
    within_chance = attempt("a", ("CC010", "note"), lost=0.08)
    gone = replace(within_chance, way=replace(within_chance.way, witnesses=1))
    assert attempts.is_better_as_it_was([UNKNOWN], within_chance)
    assert not attempts.is_better_as_it_was([UNKNOWN], gone, patterns=PATTERN)
    assert not attempts.is_better_as_it_was([UNKNOWN, DOUBT], within_chance)


UNDONE = replace(attempt("undo", ("CC009", "error")), candidate=Candidate(("undo",), (recipe.load("undo"),)))

WALKED_BACK = replace(UNDONE, way=replace(UNDONE.way, point=replace(UNDONE.point, share=0.3)))


@pytest.mark.parametrize(
    ("ran", "written", "rules"),
    [
        ([UNDONE, attempt("surgery")], attempt("surgery"), [("CC009", "warning")]),
        ([UNDONE], UNDONE, []),  # its own error stands already
        ([replace(UNDONE, findings=()), attempt("surgery")], attempt("surgery"), []),
        ([attempt("other", ("CC009", "error"))], attempt("surgery"), []),  # it began at the finetune
        ([WALKED_BACK], attempt("surgery"), []),  # it went back to the finetune
        ([UNDONE, WALKED_BACK], WALKED_BACK, []),  # it shows it as well
        ([UNDONE], replace(WALKED_BACK, findings=()), [("CC009", "warning")]),
    ],
)
def test_what_weights_nearer_the_base_still_showed_is_a_doubt_of_others(ran, written, rules):
    results = [CandidateResult(one.candidate, attempt=one) for one in ran]
    assert [(f.rule, f.level) for f in conclude.silenced_findings(results, written)] == rules


def test_weights_that_stay_are_told_with_the_cost_of_cleaning_them():
    assert all(
        figure in conclude.original_stays_finding(COSTLY).message for figure in ("8.6 points", "(8.6 to 8.6)", "2.0")
    )
    returned = replace(COSTLY.point, share=0.85, accuracy_lost=0.01)
    costly = replace(COSTLY, way=replace(COSTLY.way, points=(COSTLY.point, returned)))
    assert conclude.original_stays_finding(costly).value == 0.086


def test_weights_that_stay_leave_the_verdict_open():
    stayed = conclude.original_stays_finding(COSTLY)
    assert (stayed.rule, stayed.level, policy.verdict([stayed])) == ("CC063", "warning", "inconclusive")
    forgetful = attempt("a", ("CC010", "error"), lost=0.01)  # of recall: its accuracy is within the budget
    assert conclude.original_stays_finding(forgetful).level == "warning"


def test_of_a_trigger_that_never_acted_nothing_is_left():
    before = measurement(suspected=(probe(0.9, trigger="patch"), probe(0.01, trigger="stripes")))
    after = measurement(suspected=(probe(0.1, trigger="patch"), probe(0.3, trigger="stripes")))
    assert (cleaning.most_left(before, after), cleaning.most_left(after, before)) == (0.1, 0.9)
    assert cleaning.most_left(measurement(suspected=(probe(0.01),)), after) is None


@pytest.mark.parametrize(("made", "steps"), [(trial(0.4), 60), (trial(0.0), 0), (returning(trial(0.0)), 60)])
def test_a_trial_that_leaves_a_test_backdoor_or_was_or_cannot_be_finetuned_stays_as_it_is(made, steps):
    bench = SimpleNamespace(auto_settings=SimpleNamespace(refinetune_steps=steps), limits=LIMITS)
    assert one_candidate.CleanedCopy(bench, candidate("a"), None, (), {1.0: made}).refinetuned(1.0) is made


def test_a_suspected_class_that_the_search_points_at_again_is_a_warning():
    for before, after, told in (
        ((), ("bee", "ant"), [("CC062", "warning", "bee")]),
        (("bee",), ("bee",), []),  # it is in the findings already
        ((), (), []),
    ):
        sides = ((name, finding("CC003", "A patch.", value=4.0, target=name)) for name in {*before, *after})
        known = dict(sides)
        one, other = ({name: known[name] for name in names} for names in (before, after))
        again = one_candidate.findings_of_return(one, other, names={"bee"}, steps=60)
        assert [(f.rule, f.level, f.target) for f in again] == told
