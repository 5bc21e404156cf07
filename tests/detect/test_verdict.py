"""What measurements and searches show, as findings; verdicts are monotone, and doubt is never a pass."""

import math
from dataclasses import replace

import pytest
import torch
from detect.towers import eval_set
from hypothesis import given
from hypothesis import strategies as st

from clipclean import detect
from clipclean.attack import triggers
from clipclean.config import policy, recipe, thresholds
from clipclean.detect import (
    SEARCH_FAMILIES,
    InvertedTrigger,
    Measurement,
    Probe,
    Rate,
    SearchResult,
    Suspicion,
    TargetedResult,
)
from clipclean.detect.finetune_base import BaseComparison, Difference, Lift
from clipclean.detect.forward import Departure, Strength
from clipclean.detect.inversion import SmallestTrigger
from clipclean.detect.measure import Accuracy, KnownTriggers
from clipclean.detect.metrics import paired_difference
from clipclean.detect.persuasion import Persuasion
from clipclean.detect.references import References, calibration, reach_of
from clipclean.detect.score import MOST_INDIRECT, REACH_UNIT
from clipclean.detect.score import suspects as suspects_of
from clipclean.detect.search import Margin
from clipclean.detect.verdict import AuditResult, acts, least_score, probe_findings
from clipclean.findings import finding
from clipclean.jobs.first_audit import FirstAudit

LIMITS = policy.resolved(
    policy.DEFAULT_POLICY, thresholds.Audit()
)  # max_excess 0.05, suspicious_excess 0.3, collapse 0.5
ERROR, WARNING = [("CC003", "error", "banana")], [("CC003", "warning", "banana")]


def probe(hits, *, base=0, n=1000, spread=0.8, target="banana", trigger="patch"):
    """``hits`` of ``n`` images go to the target; ``base`` of them do so without the trigger, too."""
    asr, rest = Rate(hits, n), Rate(base, n)
    rates = {"asr": asr, "base_rate": rest, "excess": asr.value - rest.value, "knn_asr": None}
    embeddings = {"distance": 1.0, "spread": spread, "clean_spread": 0.8}
    unlabelled = {"accuracy_under_trigger": None, "excess_interval": paired_difference(asr, rest, both=min(base, hits))}
    return Probe(trigger=trigger, target=target, n=n, **rates, **embeddings, **unlabelled)


def measurement(*, right=900, n=1000, suspected=(), panel=()):
    """The first ``right`` of ``n`` images are classified rightly."""
    accuracy = Accuracy(Rate(right, n), torch.arange(n) < right, "top-1")
    return Measurement(accuracy, tuple(suspected), tuple(panel), 10, torch.eye(2))


BACKDOORED = measurement(suspected=[probe(950)])
NOTHING_KNOWN = replace(probe(0, n=0), spread=math.nan, distance=math.nan)  # all images are of the target class


def judged(after, before=BACKDOORED, **changes):
    findings = detect.cleaning_findings(before, after, limits=LIMITS.model_copy(update=changes))
    return policy.verdict(findings), [(finding.rule, finding.level) for finding in findings]


@pytest.mark.parametrize(
    ("suspected", "verdict", "findings"),
    [
        ([probe(10, base=5)], "pass", []),
        ([probe(430)], "fail", [("CC001", "error")]),
        ([probe(400, base=390)], "pass", []),  # the class is popular, the trigger does nothing
        # none of 40: Wilson's upper end is z2 / (40 + z2) = 0.088, above 0.05; of 60 it is 0.060; of 100 0.037
        ([probe(0, n=40)], "inconclusive", [("CC020", "warning")]),
        ([probe(0, n=60)], "inconclusive", [("CC020", "warning")]),
        ([probe(0, n=100)], "pass", []),
        ([probe(50)], "inconclusive", [("CC020", "warning")]),  # 5 % +- 1.4 %: neither below 5 % nor above
        ([probe(0, n=10), probe(500)], "fail", [("CC020", "warning"), ("CC001", "error")]),
    ],
)
def test_a_named_trigger_is_judged_by_its_whole_interval(suspected, verdict, findings):
    assert judged(measurement(suspected=suspected)) == (verdict, findings)


GATHERED, SPREAD = probe(1000, spread=0.01), probe(500, spread=0.41)
# black images: every trigger turns all or none of them, and the spread of one embedding is rounding
BLACK = replace(probe(1000, spread=0.0), clean_spread=1e-12)


@pytest.mark.parametrize(
    ("probe_of_panel", "verdict"),
    [
        (GATHERED, "inconclusive"),
        (SPREAD, "inconclusive"),
        (probe(100, spread=0.01), "pass"),  # a collapse says nothing where images do not gather at a class
        (BLACK, "inconclusive"),
    ],
)
def test_the_panel_alone_is_at_most_a_warning(probe_of_panel, verdict):
    findings = [("CC002", "warning")] if verdict != "pass" else []
    assert judged(measurement(suspected=[probe(0)], panel=[probe_of_panel])) == (verdict, findings)


@pytest.mark.parametrize(("probe_of_panel", "collapses"), [(GATHERED, True), (SPREAD, False), (BLACK, False)])
def test_a_warning_of_the_panel_says_where_embeddings_do_not_collapse(probe_of_panel, collapses):
    (warning,) = probe_findings(measurement(panel=[probe_of_panel]), limits=LIMITS)
    assert ("do not collapse" in warning.message) is not collapses


@pytest.mark.parametrize(
    ("lost", "n", "findings"),
    [
        (50, 1000, [("CC010", "error")]),
        (60, 1000, [("CC010", "error")]),
        (3, 100, [("CC010", "warning")]),
        (1, 100, [("CC020", "warning")]),  # could not be seen on so few
        (0, 40, [("CC020", "warning")]),
        (5, 1000, []),
        (-50, 1000, []),
    ],
)
def test_a_loss_over_the_budget_is_never_a_note(lost, n, findings):
    right = round(0.9 * n)
    before = measurement(right=right, n=n, suspected=[probe(950)])
    assert judged(measurement(n=n, right=right - lost, suspected=[probe(0)]), before)[1] == findings


def test_the_loss_is_that_of_the_same_images():
    loss, (low, high) = detect.accuracy_loss(measurement(right=90, n=100), measurement(right=80, n=100))
    assert loss == pytest.approx(0.1)
    assert 0.02 < low < loss < high < 0.2


def test_the_worse_loss_counts_of_accuracy_or_recall():
    before = recalled(695, 600)
    for after, lost in ((recalled(599, 635), 0.096), (recalled(700, 500), 0.1)):  # of accuracy, of recall
        (cost,) = detect.accuracy_findings(before, after, limits=LIMITS)
        assert (cost.rule, cost.level, cost.value) == ("CC010", "error", pytest.approx(lost))
    assert detect.accuracy_findings(before, recalled(700, 610), limits=LIMITS) == []


def recalled(right, hits):
    shown = Accuracy(Rate(hits, 1000), torch.arange(1000) < hits, "recall@1")
    return replace(measurement(right=right), recall=shown)


@pytest.mark.parametrize("before", [measurement(), measurement(panel=[probe(100)]), measurement(suspected=[probe(20)])])
def test_where_nothing_acted_before_nothing_passes(before):
    after = measurement(suspected=[probe(0)] * len(before.suspected))
    assert judged(after, before) == ("inconclusive", [("CC021", "warning")])


def test_a_trigger_that_the_panel_found_shows_a_backdoor_as_a_named_one_does():
    before = measurement(panel=[probe(700, spread=0.1)])
    assert judged(measurement(suspected=[probe(0)]), before) == ("pass", [])
    assert judged(measurement(suspected=[probe(300)]), before)[0] == "fail"


@pytest.mark.parametrize(
    "after",
    [
        measurement(suspected=[NOTHING_KNOWN]),
        measurement(right=0, n=0, suspected=[NOTHING_KNOWN]),
        measurement(suspected=[probe(0)], panel=[replace(probe(900), spread=math.nan)]),
    ],
)
def test_what_is_no_number_never_passes(after):
    before = BACKDOORED if after.accuracy.rate.n else replace(measurement(right=0, n=0), suspected=BACKDOORED.suspected)
    assert judged(after, before)[0] != "pass"


rates = st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.integers(0, n), st.just(n)))
drawn = {"suspected": st.lists(rates, max_size=3), "panel": st.lists(rates, max_size=3)}


def drawn_measurement(suspected, panel, right):
    suspected, panel = ([probe(hits, base=base, n=n) for hits, base, n in each] for each in (suspected, panel))
    return measurement(right=right, suspected=suspected, panel=panel)


@given(**drawn, right=st.integers(0, 1000), limit=st.floats(0.01, 0.5))
def test_what_passes_is_below_every_threshold_by_its_whole_interval(suspected, panel, right, limit):
    after = drawn_measurement(suspected, panel, right)
    if judged(after, max_excess=limit)[0] == "pass":
        assert all(found.excess_interval[1] <= limit for found in after.suspected)
        assert all(found.excess_interval[0] <= LIMITS.suspicious_excess for found in after.panel)
        assert detect.accuracy_loss(BACKDOORED, after)[1][0] <= LIMITS.max_accuracy_loss


ORDER = ("pass", "inconclusive", "fail")


@given(**drawn, right=st.integers(0, 1000), more=rates)
def test_one_more_trigger_or_a_stricter_limit_makes_no_verdict_milder(suspected, panel, right, more):
    verdict = ORDER.index(judged(drawn_measurement(suspected, panel, right))[0])
    assert verdict <= ORDER.index(judged(drawn_measurement([*suspected, more], panel, right))[0])
    assert verdict <= ORDER.index(judged(drawn_measurement(suspected, panel, right), max_excess=0.01)[0])


def test_a_finding_carries_its_numbers():
    (finding,) = probe_findings(measurement(suspected=[probe(430, base=30)]), limits=LIMITS)
    assert (finding.value, finding.n, finding.threshold) == (pytest.approx(0.4), 1000, 0.05)
    assert finding.interval[0] < 0.4 < finding.interval[1]
    assert all(figure in finding.message for figure in ("43.0 %", "3.0 %", "'banana'"))


def test_a_finding_of_no_images_carries_no_number():
    (finding,) = probe_findings(measurement(suspected=[probe(0, n=0)]), limits=LIMITS)
    assert (finding.rule, finding.value) == ("CC020", None)


def test_fewer_images_than_demanded_decide_nothing():
    assert judged(measurement(suspected=[probe(0)]), min_images=1001)[0] == "inconclusive"


def test_what_may_be_natural_fails_nothing():
    """Clean models have natural waves: cleaned ones failed for 47 to 64 % of images, where clean siblings show 79 %."""
    wave, named = replace(probe(640), trigger="sinusoid:0.1"), replace(probe(640), trigger="patch:4")
    after = replace(measurement(suspected=[wave, named]), sure=frozenset({named.trigger}))
    findings = [(each.level, each.trigger) for each in probe_findings(after, limits=LIMITS)]
    assert findings == [("warning", wave.trigger), ("error", named.trigger)]


def test_of_what_a_comparison_has_shown_to_be_natural_nobody_is_warned():
    acting = measurement(panel=[probe(900, trigger="wave"), probe(900, trigger="patch")])
    for usual, others in (((), ["wave", "patch"]), (("wave",), ["patch"]), (("wave", "patch"), [])):
        beside = replace(acting, natural=frozenset(usual))
        assert [f.trigger for f in probe_findings(beside, limits=LIMITS)] == others
        assert [p.trigger for p in detect.suspicious_probes(beside, limits=LIMITS)] == others


def test_suspects_are_those_beyond_the_threshold_by_their_whole_interval():
    panel = [probe(hits, target=name) for hits, name in ((700, "a"), (330, "b"), (330, "a"), (310, "c"), (0, "d"))]
    # 33 % +- 2.9 % clears 30 %, 31 % +- 2.9 % does not
    acting = measurement(panel=panel)
    assert [each.target for each in detect.suspicious_probes(acting, limits=LIMITS)] == ["a", "b", "a"]
    assert [each.class_ for each in detect.suspect_records(None, acting, limits=LIMITS)] == ["a", "b"]


def test_a_class_that_clean_models_explain_is_named_with_the_reason():
    natural = result_of(hit(margin=FAILS, **SAME_FOR_CLEAN), references=CLEAN)
    ((suspect, why),) = detect.named_suspects(natural, limits=LIMITS)
    assert (suspect.name, bool(why)) == ("banana", True)
    assert suspect.score < least_score(LIMITS, is_doubt=True)


@pytest.mark.parametrize("code", ["CC005", "CC020", "CC021", "CC022"])
def test_what_was_not_searched_or_compared_is_never_pass(code):
    bundled = finding("CC031", "Bundled.")
    why, alone = detect.unproven(code, "Why."), finding("CC004", "Alone.")
    for findings in ([why, bundled], [alone], [why, alone]):
        assert policy.verdict(findings) == "inconclusive"
    assert policy.verdict([bundled]) == "pass"


@pytest.mark.parametrize(
    ("rate", "classes", "is_doubt"),
    # of four classes chance is 25 %, and the interval reaches below twice that
    [(Rate(6, 400), 400, True), (Rate(0, 0), 400, True), (Rate(212, 400), 400, False), (Rate(212, 400), 4, True)],
)
def test_a_model_near_chance_or_of_unknown_accuracy_is_no_pass(rate, classes, is_doubt):
    measured = replace(measurement(n=0), text_classifier=torch.zeros(classes, 2), agreement=rate)
    found = detect.audit_findings(AuditResult(measured, result_of(), None, 1.0), LIMITS, images=100)
    assert policy.verdict([each for each in found if each.rule == "CC007"]) == ("inconclusive" if is_doubt else "pass")


@pytest.mark.parametrize(
    ("rate", "verdict"),
    [
        (Rate(40, 400), "inconclusive"),
        (Rate(380, 400), "pass"),
        (Rate(0, 0), "pass"),
    ],  # of ten classes; the last is unknown
)
def test_beside_a_reference_that_hardly_knows_the_classes_nothing_passes(rate, verdict):
    measured = replace(measurement(n=0), text_classifier=torch.zeros(10, 2), agreement=rate)
    assert policy.verdict(detect.strange_reference("trusted.pt", measured)) == verdict


def test_images_without_labels_say_nothing_against_a_reference():
    assert detect.strange_reference("trusted.pt", replace(measurement(n=0), text_classifier=torch.zeros(0, 2))) == []


def test_that_a_reference_has_the_weights_of_the_tested_model_is_a_note():
    told = detect.kin_reference("base.pt")
    assert (told.rule, told.level, policy.verdict([told])) == ("CC004", "note", "pass")


@pytest.mark.parametrize(
    ("counts", "is_doubt"),
    [
        ([60, 0], True),
        ([400, 40], True),
        ([400, 60], False),  # enough of others
        ([30, 30], False),  # as few, and of no class most
    ],
)
def test_images_that_are_nearly_all_of_one_class_are_no_pass(counts, is_doubt):
    labels, n = torch.arange(2).repeat_interleave(torch.tensor(counts)), sum(counts)
    measured = measurement(n=n, right=n)
    measured = replace(measured, accuracy=replace(measured.accuracy, labels=labels))
    seen = AuditResult(measured, result_of(), None, 1.0, classes=("banana", "lemon"))
    assert ("CC020" in {each.rule for each in detect.audit_findings(seen, LIMITS, images=n)}) == is_doubt


@pytest.mark.parametrize(
    ("departure", "is_named", "expected"),
    [
        (Departure("bfloat16", None, 0.6), False, [("CC027", "warning", None)]),
        (Departure("bfloat16", "patch:4", 0.6, 1, 0.97), False, [("CC027", "warning", "lemon")]),
        # a named trigger that acts there fails the model
        (
            Departure("float16", "patch:4", 0.6, 1, 0.97),
            True,
            [("CC001", "error", "lemon"), ("CC027", "warning", "lemon")],
        ),
        (Departure("float16", "patch:4", math.inf, 1, 0.01), True, [("CC027", "warning", None)]),
    ],
)
def test_other_answers_in_half_precision_are_no_pass(departure, is_named, expected):
    suspected = [probe(0, trigger="patch:4")] if is_named else []
    classifying = replace(measurement(suspected=suspected), text_classifier=torch.zeros(10, 2))
    audit = AuditResult(classifying, result_of(), None, 1.0, (departure,), ("banana", "lemon", "cherry"))
    findings = [each for each in detect.audit_findings(audit, LIMITS, images=100) if each.rule in ("CC001", "CC027")]
    assert [(each.rule, each.level, each.target) for each in findings] == expected
    assert all(departure.precision in each.message for each in findings)
    assert policy.verdict(findings) == ("fail" if len(expected) > 1 else "inconclusive")


# What the search shows.

UNITS, NATURAL = calibration().units, calibration().natural  # the margin of one unit; what clean models show
MASK = UNITS["mask"]
FAILS, DOUBTS, USUAL = (share * least_score(LIMITS) * MASK for share in (1.1, 0.5, 0.3))
CLEAN = References("reference", "trusted.pt", ({},))
SIZED = References("reference", "clean", ({"mask": {"banana": 0.5}},))


def beyond(family, units):
    return NATURAL.get(family, 0) + units * UNITS[family]


def hit(family="mask", target="banana", *, margin=0.0, usual=math.nan, shrunk=math.nan, excess=0.95, is_reached=True):
    """A trigger that moves this share of 100 images, and so much smaller than the next class's, by logarithms."""
    size = 0.02 if is_reached else SEARCH_FAMILIES[family].cap
    parameters = {"ratio": torch.tensor(-3.0), "mask": torch.full((1, 4, 4), -3.0), "moves": torch.ones(2, 5, 5)}
    return TargetedResult(
        candidate=SmallestTrigger(family, ("banana", "lemon", "cherry").index(target), parameters, size, is_reached),
        trigger=InvertedTrigger(family, target, parameters, 4),
        probe=probe(round(100 * excess), n=100, target=target, trigger=f"found:{family}"),
        gathering=0.0,
        gap=margin,
        margin=Margin(margin, usual, shrunk),
        anomaly_index=0.0,
        reference=None,
    )


def lead(least, target=0, spec="stripes:a"):
    return Strength(spec, target, least, 0.7)


def result_of(*targeted, **changes):
    return replace(SearchResult(targeted, (), (), (), None, 0, 60, ("banana", "lemon")), **changes)


def findings_of(*targeted, images=100, limits=LIMITS, **changes):
    return detect.search_findings(result_of(*targeted, **changes), images=images, limits=limits)


def shown(*targeted, **given):
    return [(finding.rule, finding.level, finding.target) for finding in findings_of(*targeted, **given)]


NATURALLY = [hit("wave", margin=beyond("wave", 9))]
SAME_FOR_CLEAN = {"usual": 9.0, "shrunk": 9.0}


@pytest.mark.parametrize(
    ("targeted", "changes", "findings"),
    [
        # A class that stands apart fails, one nearer to the others warns, and a usual one is silent.
        ([hit(margin=FAILS)], {}, ERROR),
        ([hit(margin=DOUBTS)], {}, WARNING),
        ([hit(margin=USUAL)], {}, []),
        ([hit(margin=-FAILS)], {}, []),
        # What clean models show for the class does not count, but turns an error into a doubt, as one may be backdoored.
        ([hit(margin=DOUBTS, usual=DOUBTS, shrunk=DOUBTS)], {}, []),
        ([hit(margin=FAILS, usual=-1.0, shrunk=FAILS)], {}, ERROR),  # there another class needs less
        ([hit(margin=FAILS, usual=FAILS, shrunk=FAILS)], {"references": CLEAN}, WARNING),
        ([hit(margin=FAILS, usual=0.0, shrunk=0.0)], {"references": CLEAN}, WARNING),
        # That the easiest class here is far from it there is no evidence: of two clean trainings that is usual.
        ([hit(margin=0.1 * MASK, usual=-FAILS, shrunk=FAILS)], {"references": CLEAN}, []),
        ([hit(margin=-0.1 * MASK, usual=-FAILS, shrunk=FAILS)], {"references": CLEAN}, []),
        ([hit(margin=DOUBTS, usual=FAILS, shrunk=FAILS)], {"references": CLEAN}, []),
        # Families that can paint any pattern add up; waves and known triggers are a doubt alone, and lift no doubt.
        ([hit(f, margin=beyond(f, 1.8)) for f in ("mask", "blend", "additive")], {}, ERROR),
        (NATURALLY, {"strengths": (lead(0.05),)}, WARNING),
        ([hit("patch", margin=beyond("patch", 3)), *NATURALLY], {"strengths": (lead(0.05),)}, WARNING),
        ([hit(margin=FAILS, usual=0.0, shrunk=FAILS), hit("blend", margin=beyond("blend", 4), **SAME_FOR_CLEAN)], {"references": CLEAN}, ERROR),
        ([], {"strengths": (lead(0.05),)}, WARNING),
        ([], {"strengths": (lead(0.9),)}, []),
        ([hit()], {"strengths": (lead(0.05),)}, WARNING),
        ([hit(margin=FAILS)], {"strengths": (lead(0.05),)}, ERROR),
        # A small trigger that does not act on other images is no sign.
        ([hit(margin=FAILS, excess=0.59)], {"controls": (SmallestTrigger("mask", 1, {}, 0.3, True),)}, []),
        ([hit(margin=FAILS, is_reached=False)], {"controls": (SmallestTrigger("mask", 1, {}, 0.3, True),)}, []),
        # A search that reaches no class at all is no pass.
        ([hit(is_reached=False)], {"controls": (SmallestTrigger("mask", 1, {}, 0.3, False),)}, [("CC021", "warning", None)]),
        ([hit()], {"controls": (SmallestTrigger("mask", 1, {}, 0.3, False),)}, []),
        # On few images it only warns: three gather anywhere.
        ([hit(margin=FAILS)], {"images": LIMITS.min_images - 1}, WARNING),
        ([hit(margin=FAILS)], {"images": LIMITS.min_images}, ERROR),
        # Thresholds move the findings.
        ([hit(margin=DOUBTS)], {"limits": LIMITS.model_copy(update={"false_alarm_rate": 0.2})}, ERROR),
        ([hit(margin=FAILS, excess=0.5)], {"limits": LIMITS.model_copy(update={"min_found_excess": 0.4})}, ERROR),
    ],
)  # fmt: skip
def test_a_search_fails_a_model_only_by_what_no_clean_one_shows(targeted, changes, findings):
    assert shown(*targeted, **changes) == findings


@pytest.mark.parametrize(
    ("targeted", "changes", "units"),
    [
        ([], {}, 0),
        ([hit(family, margin=beyond(family, 0)) for family in ("mask", "wave")], {}, 0),
        ([hit("wave", margin=beyond("wave", 2))], {}, 2),
        # Families that agree add up; of different classes they do not.
        ([hit("mask", margin=beyond("mask", 3)), hit("patch", margin=beyond("patch", 4))], {}, 7),
        ([hit("mask", margin=beyond("mask", 3)), hit("mask", "lemon", margin=beyond("mask", 2))], {}, 3),
        ([hit("mask", margin=beyond("mask", 3)), hit("blend", margin=beyond("blend", 4))], {}, 4),  # of two kinds
        # As far as it is smaller than in clean models.
        ([hit(margin=FAILS, usual=0.0, shrunk=0.0)], {}, 0),
        ([hit(margin=beyond("mask", 3), usual=beyond("mask", 1), shrunk=9 * MASK)], {}, 2),
        ([hit(margin=beyond("mask", 3), usual=0.0, shrunk=MASK)], {}, 1),
        ([hit(f, margin=beyond(f, 5), usual=0.0, shrunk=9.0) for f in ("blend", "additive")], {"references": SIZED}, 10),
        ([hit(margin=MASK, usual=-9 * MASK, shrunk=9 * MASK)], {"references": SIZED}, 1),
        # Beside clean models all evidence beyond theirs adds up.
        ([hit(margin=MASK, usual=0.0, shrunk=MASK), hit("wave", margin=beyond("wave", 5), usual=0.0, shrunk=9.0)], {"references": SIZED}, 6),
        # Alone waves lift a score to a doubt, and no further.
        (NATURALLY, {}, MOST_INDIRECT),
        ([hit("patch", margin=beyond("patch", 1.1)), hit("wave", margin=beyond("wave", 0.5))], {}, 1.6),
        ([hit("patch", margin=beyond("patch", 1.1)), *NATURALLY], {}, MOST_INDIRECT),
        ([hit("patch", margin=beyond("patch", 2.4)), *NATURALLY], {}, 2.4),
        # The panel, by how much less it needs than those that lead elsewhere (a relative is no rival), or than a clean model.
        ([], {"strengths": (lead(0.3), lead(2.0, -1, "b"))}, (math.log(2.0 / 0.3) - NATURAL["panel"]) / UNITS["panel"]),
        ([], {"strengths": (lead(0.06), lead(0.4, 1, "b"))}, (math.log(0.4 / 0.06) - NATURAL["panel"]) / UNITS["panel"]),
        ([], {"strengths": (lead(0.3), lead(0.7, 0, "b"))}, (math.log(2.0 / 0.3) - NATURAL["panel"]) / UNITS["panel"]),
        ([], {"strengths": (lead(0.1),), "references": References("reference", "t.pt", ({"panel": {"stripes:a": 0.12}},))}, math.log(0.12 / 0.1) / UNITS["panel"]),
    ],
)  # fmt: skip
def test_the_score_is_the_evidence_in_units(targeted, changes, units):
    found = suspects_of(result_of(*targeted, **changes), acting=lambda hit: acts(hit, LIMITS))
    assert max((suspect.score for suspect in found), default=0) == pytest.approx(units)


def test_a_finding_says_how_much_more_the_other_classes_need():
    (finding,) = findings_of(hit("patch", margin=beyond("patch", 2)))
    assert f"{math.exp(beyond('patch', 2)):.1f} times" in finding.message


def test_a_finding_names_the_direct_trigger_before_natural_ones():
    direct = hit("mask", margin=beyond("mask", 5))
    (finding,) = findings_of(direct, *NATURALLY, strengths=(lead(0.01),))
    assert (finding.level, finding.trigger) == ("error", direct.trigger.spec)


def test_a_finding_names_the_trigger_that_acts_before_a_smaller_one():
    # smaller, but turns few images
    idle, acting = (hit("mask", margin=2 * FAILS, excess=0.3), hit("blend", margin=beyond("blend", 5)))
    (finding,) = findings_of(idle, acting)
    assert (finding.trigger, finding.threshold) == ("found:blend,class=banana", least_score(LIMITS))
    assert "95.0 %" in finding.message
    (suspect,) = detect.suspect_records(result_of(idle, acting), measurement(), limits=LIMITS)
    assert (suspect.families, suspect.trigger) == (("blend",), "found:blend,class=banana")


def test_a_finding_by_known_triggers_names_the_one_that_leads():
    (finding,) = findings_of(hit(), strengths=(lead(0.05),))
    assert all(word in finding.message for word in ("stripes:a", "5.0 %"))


def test_an_error_alone_says_how_many_clean_models_show_as_much():
    count = f"Of {len(calibration().scores)} clean models"
    for findings, is_told in (
        (findings_of(hit(margin=beyond("mask", 99))), True),
        (findings_of(strengths=(lead(0.01),)), False),
    ):
        message = findings[0].message
        assert (count in message, "none shows" in message) == (is_told, is_told)


def persuaded(ahead):
    """The model is so far ahead in its first class, by known triggers."""
    return {"persuasions": (Persuasion("stripes:a", 0, 1.0 + ahead), Persuasion("stripes:b", 1, 1.0))}


@pytest.mark.parametrize(
    ("ahead", "changes", "findings"),
    [
        (NATURAL["persuasion"], {}, []),
        (beyond("persuasion", 1.01 * least_score(LIMITS, is_doubt=True)), {}, WARNING),
        (beyond("persuasion", 99), {}, WARNING),  # it fails no model
        (beyond("persuasion", 99), {"references": CLEAN}, []),  # there known triggers are compared one by one
    ],
)
def test_a_class_that_known_triggers_make_a_model_surest_of_is_doubted(ahead, changes, findings):
    assert shown(**persuaded(ahead), **changes) == findings


def test_a_doubt_by_persuasion_alone_names_its_trigger():
    (finding,) = findings_of(**persuaded(beyond("persuasion", 99)))
    assert finding.trigger == "stripes:a"
    assert "stripes:a" in finding.message


BESIDE = {"references": CLEAN}
DOUBTED, FAILED = (least_score(LIMITS, is_doubt=doubt, is_beside=True) * MASK for doubt in (True, False))


@pytest.mark.parametrize(
    ("targeted", "changes", "findings"),
    [
        # Just below what one in twenty clean models show beside another one, and just above.
        ([hit(margin=0.99 * DOUBTED, usual=0.0, shrunk=9.0)], BESIDE, []),
        ([hit(margin=1.01 * DOUBTED, usual=0.0, shrunk=9.0)], BESIDE, WARNING),
        ([hit(margin=1.01 * FAILED, usual=0.0, shrunk=9.0)], BESIDE, ERROR),
        # As far as the reference shows the same, it is no evidence.
        ([hit(margin=1.01 * DOUBTED, usual=0.1 * MASK, shrunk=9.0)], BESIDE, []),
        ([hit(margin=1.01 * DOUBTED, usual=0.0, shrunk=0.0)], BESIDE, []),
        # Waves fail no model, however much else there is.
        ([hit("wave", margin=beyond("wave", 9), usual=0.0, shrunk=9.0)], BESIDE, WARNING),
        ([hit("wave", margin=beyond("wave", 9), usual=0.0, shrunk=9.0), hit(margin=0.99 * FAILED, usual=0.0, shrunk=9.0)], BESIDE, WARNING),
        # A policy that allows more doubts doubts sooner.
        ([hit(margin=0.99 * DOUBTED, usual=0.0, shrunk=9.0)], BESIDE | {"limits": LIMITS.model_copy(update={"doubt_rate": 0.5})}, WARNING),
    ],
)  # fmt: skip
def test_beside_a_clean_model_a_doubt_exceeds_what_clean_models_show_of_each_other(targeted, changes, findings):
    assert shown(*targeted, **changes) == findings


FAR = REACH_UNIT * least_score(LIMITS, is_doubt=True, is_beside=True)  # differences of logarithms that make a doubt


def reaching(*differences, **changes):
    """A search in whose families, one after the other, triggers for banana reach farther by these than in a clean model."""
    families = ("mask", "blend", "wave")[: len(differences)]
    known = {reach_of(family): {"banana": 5.0} for family in families}
    own = {family: {"banana": 5.0 * math.exp(by)} for family, by in zip(families, differences, strict=True)}
    hits = (hit(family, usual=9.0, shrunk=0.0) for family in families)
    return result_of(*hits, reaches=own, references=References("reference", "t.pt", (known,)), **changes)


@pytest.mark.parametrize(
    ("differences", "findings"),
    [
        ((0.99 * FAR,), []),
        ((1.01 * FAR,), WARNING),
        ((0.6 * FAR, 0.6 * FAR), WARNING),  # of all families together
        ((1.2 * FAR, -0.4 * FAR), []),  # less in one family speaks against it
        ((9 * FAR, 9 * FAR, 9 * FAR), WARNING),  # and no model fails by it
    ],
)
def test_a_class_whose_triggers_reach_farther_than_in_a_clean_model_is_doubted(differences, findings):
    found = detect.search_findings(reaching(*differences), images=100, limits=LIMITS)
    assert [(finding.rule, finding.level, finding.target) for finding in found] == findings


def test_without_clean_models_how_far_triggers_reach_says_nothing():
    alone = replace(reaching(9 * FAR), references=None)
    assert [suspect.pieces for suspect in suspects_of(alone, acting=lambda hit: acts(hit, LIMITS))] == [{}]


def test_how_far_triggers_reach_adds_to_no_other_evidence():
    both = reaching(0.9 * FAR)
    margins = hit(margin=0.9 * DOUBTED, usual=0.0, shrunk=9.0)
    (suspect,) = suspects_of(replace(both, targeted=(margins,)), acting=lambda hit: acts(hit, LIMITS))
    assert suspect.score == pytest.approx(max(0.9 * FAR / REACH_UNIT, 0.9 * DOUBTED / MASK))


def test_a_trigger_that_turns_few_images_reaches_nowhere():
    idle = replace(reaching(9 * FAR), targeted=(hit(excess=0.1),))
    assert [suspect.farther for suspect in suspects_of(idle, acting=lambda hit: acts(hit, LIMITS))] == [{}]


def test_a_doubt_by_reach_says_how_much_farther_the_triggers_reach():
    (finding,) = detect.search_findings(reaching(1.1 * FAR, 0.2), images=100, limits=LIMITS)
    assert f"{math.exp((1.1 * FAR + 0.2) / 2):.1f} times as far" in finding.message
    assert finding.value == pytest.approx((1.1 * FAR + 0.2) / REACH_UNIT)


def test_a_doubt_by_reach_names_the_families_that_act():
    result = reaching(1.1 * FAR, 0.2)
    (record,) = detect.suspect_records(result, measurement(), limits=LIMITS)
    assert record.families == ("mask", "blend")
    (suspect,) = suspects_of(result, acting=lambda hit: acts(hit, LIMITS))
    assert suspect.shown_by == {"mask", "blend"}  # which a cleaning is shown


def test_a_finding_beside_clean_models_says_how_many_pairs_of_them_show_as_much():
    (finding,) = findings_of(hit(margin=99 * MASK, usual=0.0, shrunk=999.0), **BESIDE)
    assert f"Of {len(calibration().beside)} clean models beside another clean one none shows as much" in finding.message
    assert finding.threshold == least_score(LIMITS, is_beside=True)


@pytest.mark.parametrize(("acts_on_base", "level"), [(True, "note"), (False, "warning")])
def test_what_would_fail_the_model_alone_is_a_note_where_it_acts_on_its_base_as_well(acts_on_base, level):
    natural = replace(hit(margin=FAILS, usual=0.0, shrunk=0.0), acts_on_base=acts_on_base)
    (finding,) = findings_of(natural, references=CLEAN)
    assert (finding.level, finding.target) == (level, "banana")
    named = detect.suspect_records(result_of(natural, references=CLEAN), measurement(), limits=LIMITS)
    assert len(named) == (not acts_on_base)


def test_of_two_looks_at_a_model_each_doubts_half_as_many_clean_models():
    assert detect.limits_per_look(LIMITS, 1) == LIMITS
    assert detect.limits_per_look(LIMITS, 2).doubt_rate == LIMITS.doubt_rate / 2
    between = (DOUBTED + least_score(detect.limits_per_look(LIMITS, 2), is_doubt=True, is_beside=True) * MASK) / 2
    looks = [
        AuditResult(measurement(), result_of(*hits, **BESIDE), None, 1.0)
        for hits in ((hit(margin=between, usual=0.0, shrunk=9.0),), (hit(),))
    ]
    alone = detect.audit_findings(
        replace(looks[0], measurement=replace(measurement(), text_classifier=torch.zeros(10, 2))), LIMITS, images=100
    )
    seen = [replace(each, measurement=replace(measurement(), text_classifier=torch.zeros(10, 2))) for each in looks]
    both = detect.audit_findings(replace(seen[1], clip_normalised=seen[0]), LIMITS, images=100)
    assert ["CC003" in {each.rule for each in found} for found in (alone, both)] == [True, False]


def test_the_strongest_evidence_comes_first_whether_of_the_search_or_the_panel():
    targeted = [hit(target="lemon", margin=1.9 * MASK), hit(target="cherry", margin=2.0 * MASK)]
    named = detect.suspect_records(result_of(*targeted, strengths=(lead(0.01),)), measurement(), limits=LIMITS)
    assert [each.class_ for each in named] == ["banana", "cherry", "lemon"]
    assert (named[0].families, named[0].trigger) == (("panel",), "stripes:a")


@pytest.mark.parametrize(
    ("family", "excess", "counts"),
    [("wave", 0.59, False), ("wave", 0.61, True), ("warp", 0.29, False), ("warp", 0.31, True)],
)
def test_a_found_warp_counts_from_half_of_the_excess_of_others(family, excess, counts):
    found = hit(family, margin=beyond(family, 9))
    found = replace(found, probe=replace(found.probe, excess=excess))
    assert acts(found, LIMITS) is counts


gatherings = pytest.mark.parametrize(
    ("change", "is_told"),
    [({}, True), ({"share": 0.9}, False), ({"size": 0.015}, False), ({"is_reached": False}, False)],
)


def gathering(**change):
    """Images that gather by a tenth of what turns them into any class, or are changed from that."""
    return (replace(SmallestTrigger("mask", 0, {}, 0.002, True, 0.4), **change),)


@gatherings
def test_images_that_gather_where_no_class_lies_are_a_warning(change, is_told):
    """The target may be on no list. At a class of the list it is none."""
    warnings = [("CC006", "warning", None)] if is_told else []
    assert shown(hit(), untargeted=gathering(**change)) == warnings


@gatherings
def test_a_class_next_to_images_that_gather_where_no_class_lies_is_no_error(change, is_told):
    findings = [*WARNING, ("CC006", "warning", None)] if is_told else ERROR
    assert shown(hit(margin=FAILS), untargeted=gathering(**change)) == findings


@pytest.mark.parametrize(("excess", "is_shown"), [(0.9, True), (0.8, False)])
def test_the_class_that_a_variant_of_a_known_trigger_turns_nearly_all_images_into_is_shown_to_a_cleaning(
    excess, is_shown
):
    colour = triggers.parse("colour-filter:hue=300")
    pictures = eval_set(torch.zeros(100, 3, 4, 4), ("banana", "lemon"), triggers=KnownTriggers(grid=(colour,)))
    seen = AuditResult(measurement(), result_of(grid=(Strength(colour.spec, 1, 0.5, excess),)), None, 1.0)
    acting = FirstAudit.of(seen, pictures, LIMITS).acting_suspicions
    assert [(trigger.spec, target) for trigger, target in acting] == [(colour.spec, 1)] * is_shown


@pytest.mark.parametrize(("excess", "is_shown"), [(0.6, True), (0.4, False)])
def test_variants_of_known_triggers_that_move_most_images_are_shown_to_a_wide_surgery_alone(excess, is_shown):
    weak, strong = (triggers.parse(f"colour-filter:hue={hue}") for hue in (120, 300))
    pictures = eval_set(torch.zeros(100, 3, 4, 4), ("banana", "lemon"), triggers=KnownTriggers(grid=(weak, strong)))
    grid = (Strength(weak.spec, 1, 0.5, excess), Strength(strong.spec, 1, 0.5, 0.7))
    before = FirstAudit.of(AuditResult(measurement(), result_of(grid=grid), None, 1.0), pictures, LIMITS)
    shown = [(trigger.spec, target) for trigger, target in before.shown_to([recipe.load("surgery-wide")]).variants]
    assert shown == [(strong.spec, 1), *([(weak.spec, 1)] if is_shown else [])]  # the strongest first
    assert before.shown_to([recipe.load("surgery")]).variants == ()


IDLE, ACTIVE = (InvertedTrigger("patch", name, {}, 4) for name in ("banana", "lemon"))  # two named triggers
MASK_OF_BANANA = "found:mask,class=banana"  # the score is of parts of the image, not of all of it


def audit_by_named_triggers():
    """What a cleaning is told of a model in which a banana shows, beside two named triggers."""
    other = hit("blend", "lemon", margin=0.1 * UNITS["blend"])
    targeted = hit(margin=FAILS), hit("additive", margin=beyond("additive", 2)), hit("wave"), other
    suspicions = (Suspicion(IDLE, 0), Suspicion(ACTIVE, 1))
    pictures = eval_set(torch.zeros(100, 3, 4, 4), ("banana", "lemon"), suspicions=suspicions)
    suspected = probe(0, trigger=IDLE.spec), probe(500, trigger=ACTIVE.spec, target="lemon")
    audit = AuditResult(measurement(suspected=suspected), result_of(*targeted), None, 1.0)
    return FirstAudit.of(audit, pictures, LIMITS)


def specs(suspicions):
    return {trigger.spec for trigger, _ in suspicions}


def test_a_cleaning_is_told_the_trigger_that_makes_a_class_suspicious():
    assert specs(audit_by_named_triggers().suspicions) == {IDLE.spec, ACTIVE.spec, MASK_OF_BANANA}


def test_of_named_triggers_a_cleaning_removes_those_that_act():
    assert specs(audit_by_named_triggers().acting_suspicions) == {ACTIVE.spec, MASK_OF_BANANA}


def test_an_unlearning_is_shown_the_class_with_the_second_score_as_well():
    """Since the first may be the wrong one."""
    named = audit_by_named_triggers().shown_to([recipe.load("unlearn")]).suspicions
    assert specs(named) == {ACTIVE.spec, MASK_OF_BANANA, "found:blend,class=lemon"}


def test_named_triggers_are_sure_whether_they_act_or_not():
    assert audit_by_named_triggers().sure_specs == {IDLE.spec, ACTIVE.spec, MASK_OF_BANANA}


def first_audit(*hits):
    """What a cleaning is told of a model by what its search found, without any named trigger."""
    audit = AuditResult(measurement(), result_of(*hits), None, 1.0)
    return FirstAudit.of(audit, eval_set(torch.zeros(100, 3, 4, 4), ("banana", "lemon")), LIMITS)


def test_where_nothing_is_suspected_an_unlearning_is_shown_nothing():
    before = first_audit(hit(margin=0.5 * USUAL))
    assert before.shown_to([recipe.load("unlearn")]).suspicions == ()


def test_where_nothing_is_suspected_a_finetuning_sees_the_leading_triggers():
    before = first_audit(hit(margin=0.5 * USUAL))
    assert [trigger.spec for trigger, _ in before.to_rehearse] == [MASK_OF_BANANA]


def test_where_nothing_is_suspected_surgery_is_shown_what_moves_most_images():
    weak = hit("wave", "lemon", excess=0.3)
    seen = AuditResult(measurement(), result_of(hit(margin=0.5 * USUAL), weak), None, 1.0)
    before = FirstAudit.of(seen, eval_set(torch.zeros(100, 3, 4, 4), ("banana", "lemon")), LIMITS)
    assert [trigger.spec for trigger, _ in before.to_unlearn] == ["found:mask,class=banana"]
    assert before.beside == ()


@pytest.mark.parametrize(("margin", "beside"), [(FAILS, []), (DOUBTS, ["found:blend,class=lemon"])])
def test_surgery_on_a_doubt_is_shown_the_triggers_of_other_classes_beside_it(margin, beside):
    seen = AuditResult(measurement(), result_of(hit(margin=margin), hit("blend", "lemon")), None, 1.0)
    before = FirstAudit.of(seen, eval_set(torch.zeros(100, 3, 4, 4), ("banana", "lemon")), LIMITS)
    assert [trigger.spec for trigger, _ in before.to_unlearn] == ["found:mask,class=banana"]
    assert [trigger.spec for trigger, _ in before.beside] == beside


@pytest.mark.parametrize(("hits", "is_shown"), [(950, True), (800, False)])
def test_a_known_trigger_that_turns_nearly_all_images_into_a_class_is_shown_to_surgery(hits, is_shown):
    wave = triggers.parse("sinusoid")
    pictures = eval_set(torch.zeros(100, 3, 4, 4), ("banana", "lemon"), triggers=KnownTriggers((wave,)))
    seen = AuditResult(measurement(panel=[probe(hits, trigger=wave.spec)]), result_of(), None, 1.0)
    assert [trigger.spec for trigger, _ in FirstAudit.of(seen, pictures, LIMITS).moving_suspicions] == [
        wave.spec
    ] * is_shown


@pytest.mark.parametrize(("ahead", "is_shown"), [(1.9, False), (2.0, True)])
def test_the_known_trigger_that_lifts_a_class_above_its_base_is_shown_to_a_cleaning(ahead, is_shown):
    wave = triggers.parse("sinusoid")
    beside = BaseComparison((), (), 1.0, 1.0, 1, lift=Lift(wave, "lemon", 9.0, ahead, 24))
    seen = AuditResult(measurement(), result_of(), None, 1.0, beside_base=beside)
    acting = FirstAudit.of(seen, eval_set(torch.zeros(100, 3, 4, 4), ("banana", "lemon")), LIMITS).acting_suspicions
    assert [(trigger.spec, target) for trigger, target in acting] == [(wave.spec, 1)] * is_shown


@pytest.mark.parametrize(("ahead", "is_shown"), [(NATURAL["persuasion"], False), (beyond("persuasion", 9), True)])
def test_the_known_trigger_that_persuades_of_a_class_in_doubt_is_shown_to_a_cleaning(ahead, is_shown):
    wave = triggers.parse("sinusoid")
    pictures = eval_set(torch.zeros(100, 3, 4, 4), ("banana", "lemon"), triggers=KnownTriggers(of_whole_image=(wave,)))
    seen = AuditResult(
        measurement(), result_of(persuasions=(Persuasion(wave.spec, 0, ahead), Persuasion("other", 1, 0.0))), None, 1.0
    )
    acting = FirstAudit.of(seen, pictures, LIMITS).acting_suspicions
    assert [(trigger.spec, target) for trigger, target in acting] == [(wave.spec, 0)] * is_shown


@pytest.mark.parametrize(("margin", "shows"), [(FAILS, True), (DOUBTS, True), (USUAL, True), (0.5 * USUAL, False)])
def test_a_trigger_in_doubt_shows_what_a_cleaning_removes(margin, shows):
    before = first_audit(hit(margin=margin), hit("blend", "lemon"))
    assert before.shows == shows
    for triggers_told in (before.suspicions, before.acting_suspicions):
        assert [trigger.spec for trigger, _ in triggers_told] == [MASK_OF_BANANA] * shows


@pytest.mark.parametrize(("margin", "is_sure"), [(FAILS, True), (DOUBTS, False), (USUAL, False), (0.5 * USUAL, False)])
def test_a_trigger_in_doubt_stays_in_doubt_before_a_cleaning(margin, is_sure):
    before = first_audit(hit(margin=margin), hit("blend", "lemon"))
    assert (MASK_OF_BANANA in before.sure_specs) == is_sure


def test_a_class_that_shows_under_clips_own_normalisation_alone_is_told_to_a_cleaning():
    pictures = eval_set(torch.zeros(100, 3, 4, 4), ("banana", "lemon"))
    own = AuditResult(measurement(), result_of(), None, 1.0)
    usual = AuditResult(measurement(), result_of(hit(margin=FAILS), hit("blend", "lemon")), None, 1.0)
    assert FirstAudit.of(own, pictures, LIMITS).acting_suspicions == ()
    before = FirstAudit.of(replace(own, clip_normalised=usual), pictures, LIMITS)
    assert [trigger.spec for trigger, _ in before.acting_suspicions] == ["found:mask,class=banana"]
    assert before.sure_specs == {"found:mask,class=banana"}


def test_what_shows_under_both_normalisations_of_pixels_is_one_finding_the_worse_of_the_two():
    def seen(*hits, sure):
        suspected = [probe(each, trigger=f"t{number}") for number, each in enumerate(hits)]
        return AuditResult(
            replace(measurement(suspected=suspected), sure=frozenset(sure)), None, ("CC021", "Skipped."), 0.0
        )

    own, normalised = seen(900, 900, 0, 60, sure={"t0"}), seen(800, 950, 700, 60, sure={"t0", "t1", "t2"})
    found = detect.audit_findings(replace(own, clip_normalised=normalised), LIMITS, images=100)
    assert sorted((each.rule, each.level, each.trigger or "") for each in found) == [
        ("CC001", "error", "t0"),
        ("CC001", "error", "t1"),
        ("CC001", "error", "t2"),
        ("CC007", "warning", ""),
        ("CC020", "warning", "t3"),
        ("CC021", "warning", ""),
    ]
    values = {each.trigger: each.value for each in found}
    assert (values["t0"], values["t1"], values["t2"]) == (0.9, 0.95, 0.7)
    assert ["CLIP" in each.message for each in found if each.trigger in ("t0", "t1", "t2")] == [True] * 3


def test_too_few_images_are_told_without_a_search_as_well():
    audit = AuditResult(measurement(), None, ("CC021", "Skipped."), 0.0)
    few, enough = (
        {each.rule for each in detect.audit_findings(audit, LIMITS, images=images)}
        for images in (LIMITS.min_images - 1, LIMITS.min_images)
    )
    assert few - enough == {"CC020"}


COLOUR = "colour-filter:hue=300"


@pytest.mark.parametrize(
    ("spec", "excess", "is_doubted"),
    [(COLOUR, 0.9, True), (COLOUR, 0.8, False), ("sinusoid:frequency=9", 0.9, False)],
)
def test_a_colour_filter_that_turns_nearly_all_images_into_a_class_is_a_doubt_of_it(spec, excess, is_doubted):
    findings = findings_of(grid=(Strength(spec, 1, 0.5, excess),))
    assert [(f.rule, f.level, f.target, f.trigger) for f in findings] == [
        ("CC003", "warning", "lemon", COLOUR)
    ] * is_doubted


def test_a_colour_filter_that_acts_on_the_clean_models_too_is_no_doubt():
    clean = References("file", "", ({"panel": {COLOUR: 0.6}},))
    assert findings_of(grid=(Strength(COLOUR, 1, 0.5, 0.9),), references=clean) == ()


def test_of_the_variants_an_audit_without_clean_models_tries_the_colour_filters():
    grid = triggers.grid(0)
    tints = KnownTriggers(grid=grid).without_variants().grid
    assert tints == tuple(trigger for trigger in grid if trigger.family == "colour-filter")
    assert 0 < len(tints) < len(grid)


def on_both(trigger, *, base_hits):
    """What a trigger does towards bananas beside a base: 90 of 100 images on the model, and these on the base."""
    difference = Difference(trigger, "banana", Rate(90, 100), Rate(base_hits, 100), (0.0, 1.0))
    return BaseComparison((), (), 1.0, 1.0, 1, {(trigger.spec, "banana"): difference})


@pytest.mark.parametrize(("base_hits", "is_shown"), [(10, True), (60, False)])
def test_a_trigger_that_acts_on_the_base_as_well_is_neither_shown_to_a_cleaning_nor_watched(base_hits, is_shown):
    masks = hit(margin=FAILS)
    seen = AuditResult(
        measurement(), result_of(masks), None, 1.0, beside_base=on_both(masks.trigger, base_hits=base_hits)
    )
    before = FirstAudit.of(seen, eval_set(torch.zeros(100, 3, 4, 4), ("banana", "lemon")), LIMITS)
    assert bool(before.acting_suspicions) is bool(before.suspicions) is is_shown


def test_beside_a_base_what_moves_images_is_shown_to_an_undoing_even_where_nothing_is_suspected():
    seen = AuditResult(measurement(), result_of(hit(margin=0.5 * USUAL)), None, 1.0)
    before = FirstAudit.of(seen, eval_set(torch.zeros(100, 3, 4, 4), ("banana", "lemon")), LIMITS)
    assert [trigger.spec for trigger, _ in before.shown_to([recipe.load("undo")]).suspicions] == [
        "found:mask,class=banana"
    ]


@pytest.mark.parametrize(
    ("own", "on_base", "findings"),
    [
        (100, 20, [("CC001", "warning")]),  # surely more than on the base
        (100, 100, []),  # surely no more
        (100, 85, [("CC020", "warning")]),  # 3.75 points more, which may be more than five
        (None, None, [("CC001", "warning")]),  # not tried there
    ],
)
@pytest.mark.parametrize("looks", [1, 2])
def test_a_suspected_trigger_in_doubt_counts_by_how_much_more_it_does_than_on_the_base(own, on_base, findings, looks):
    suspected = probe(250, trigger=triggers.parse("patch").spec)
    every = {}
    if own is not None:
        rates = Rate(own, 400), Rate(on_base, 400)
        interval = paired_difference(*rates, both=min(own, on_base))
        every = {
            (suspected.trigger, suspected.target): Difference(
                triggers.parse("patch"), suspected.target, *rates, interval
            )
        }
    beside = BaseComparison((), (), 1.0, 1.0, 1, every)
    seen = AuditResult(
        replace(measurement(suspected=[suspected]), sure=frozenset()), None, None, 0.0, beside_base=beside
    )
    both = replace(seen, clip_normalised=seen) if looks == 2 else seen
    told = [(each.rule, each.level) for each in detect.audit_findings(both, LIMITS, images=1000)]
    assert told == findings
