import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clipclean.config import policy, thresholds
from clipclean.detect import (
    FAMILIES,
    InvertedTrigger,
    Measurement,
    Probe,
    Rate,
    SearchResult,
    TargetedResult,
    accuracy,
    accuracy_loss,
    audit,
    note,
    sanitized,
    score,
    searched,
    suspected,
    suspected_classes,
    suspects,
    uncalibrated,
    unsearched,
    unsound,
)
from clipclean.detect.inversion import SearchCandidate
from clipclean.detect.measure import Accuracy
from clipclean.detect.panel import Strength
from clipclean.detect.references import References, calibration
from clipclean.detect.score import MOST_INDIRECT
from clipclean.detect.search import Compactness, Margin, UntargetedResult
from clipclean.detect.zeroshot import Attack

LIMITS = policy.resolved(policy.DEFAULT, thresholds.Audit())  # max_excess 0.05, suspicious_excess 0.3, collapse 0.5


def probe(hits, *, base=0, n=1000, spread=0.8, target="banana", trigger="patch"):
    """``hits`` of ``n`` images go to the target; ``base`` of them do so without the trigger, too."""
    attack = Attack(Rate(hits, n), Rate(base, n), both=min(base, hits))
    return Probe(
        trigger=trigger,
        target=target,
        asr=attack.asr,
        base=attack.base,
        excess=attack.excess,
        excess_interval=attack.excess_interval,
        accuracy_under_trigger=None,
        knn_asr=None,
        distance=1.0,
        direction_agreement=0.5,
        spread=spread,
        clean_spread=0.8,
        n=n,
    )


def measurement(*, right=900, n=1000, known=(), panel=()):
    """The first ``right`` of ``n`` images are classified rightly."""
    return Measurement(Rate(right, n), "top-1", torch.arange(n) < right, tuple(known), tuple(panel), 10, torch.eye(2))


BACKDOORED = measurement(known=[probe(950)])


def judged(before, after, **changes):
    findings = sanitized(before, after, limits=replace(LIMITS, **changes))
    word = policy.verdict(findings)
    return word, [(finding.rule, finding.level) for finding in findings]


def test_a_backdoor_that_is_gone_at_no_loss_passes():
    assert judged(BACKDOORED, measurement(known=[probe(10, base=5)])) == ("pass", [])


def test_a_backdoor_that_stayed_fails():
    assert judged(BACKDOORED, measurement(known=[probe(430)])) == ("fail", [("CC001", "error")])


def test_a_base_rate_is_no_attack():
    # 40 % with the trigger and 39 % without: the class is popular, the trigger does nothing
    assert judged(BACKDOORED, measurement(known=[probe(400, base=390)]))[0] == "pass"


def test_too_few_images_decide_nothing():
    # none of 40: Wilson's upper end is z2 / (40 + z2) = 0.088, above 0.05
    after = measurement(known=[probe(0, n=40)])
    assert judged(BACKDOORED, after) == ("inconclusive", [("CC020", "warning")])
    # none of 60 has an upper end of 0.060; none of 100 one of 0.037
    assert judged(BACKDOORED, measurement(known=[probe(0, n=60)]))[0] == "inconclusive"
    assert judged(BACKDOORED, measurement(known=[probe(0, n=100)]))[0] == "pass"


def test_a_narrow_interval_of_fewer_images_than_demanded_decides_nothing():
    after = measurement(known=[probe(0)])
    assert judged(BACKDOORED, after, min_images=1001)[0] == "inconclusive"


def test_an_attack_between_the_ends_of_its_interval_decides_nothing():
    # 5 % +- 1.4 %: neither below the threshold of 5 % nor above it
    assert judged(BACKDOORED, measurement(known=[probe(50)])) == ("inconclusive", [("CC020", "warning")])


def test_a_loss_of_accuracy_beyond_the_budget_fails():
    after = measurement(right=850, known=[probe(0)])  # 5 points of the same images
    assert judged(BACKDOORED, after) == ("fail", [("CC010", "error")])


def test_a_loss_within_the_budget_or_a_gain_passes():
    assert judged(BACKDOORED, measurement(right=890, known=[probe(0)])) == ("pass", [])
    assert judged(BACKDOORED, measurement(right=950, known=[probe(0)])) == ("pass", [])


@pytest.mark.parametrize(
    ("lost", "n", "findings"),
    [
        (3, 100, [("CC010", "warning")]),
        (60, 1000, [("CC010", "error")]),
        (1, 100, [("CC020", "warning")]),
        (5, 1000, []),
    ],
)
def test_a_loss_over_the_budget_is_never_a_note_and_one_that_could_not_be_seen_is_told(lost, n, findings):
    before = measurement(right=n, n=n, known=[probe(950)])
    assert judged(before, measurement(n=n, right=n - lost, known=[probe(0)]))[1] == findings


def test_accuracy_on_too_few_images_decides_nothing():
    before, after = measurement(right=20, n=40, known=[probe(950)]), measurement(right=20, n=40, known=[probe(0)])
    assert judged(before, after) == ("inconclusive", [("CC020", "warning")])


def test_the_loss_is_that_of_the_same_images():
    # 90 before, 80 after, all of these 80 right before, too: the difference of 10 images is certain to be a loss
    loss, (low, high) = accuracy_loss(measurement(right=90, n=100), measurement(right=80, n=100))
    assert loss == pytest.approx(0.1)
    assert 0.02 < low < loss < high < 0.2


@pytest.mark.parametrize("before", [measurement(), measurement(panel=[probe(100)]), measurement(known=[probe(20)])])
def test_where_nothing_acted_before_nothing_is_shown_and_nothing_passes(before):
    after = measurement(known=[probe(0)] * len(before.known))
    assert judged(before, after) == ("inconclusive", [("CC021", "warning")])


def test_a_trigger_that_the_panel_found_shows_a_backdoor_as_a_named_one_does():
    before = measurement(panel=[probe(700, spread=0.1)])
    assert judged(before, measurement(known=[probe(0)])) == ("pass", [])
    assert judged(before, measurement(known=[probe(300)]))[0] == "fail"


def test_the_panel_alone_warns_and_never_fails_however_strong_it_is():
    collapsed, spread = probe(1000, spread=0.01), probe(500, spread=0.41)
    for shown in (collapsed, spread):
        assert judged(BACKDOORED, measurement(known=[probe(0)], panel=[shown])) == (
            "inconclusive",
            [("CC002", "warning")],
        )
    # that embeddings collapse says nothing where images do not concentrate at a class
    assert judged(BACKDOORED, measurement(known=[probe(0)], panel=[probe(100, spread=0.01)])) == ("pass", [])


def test_a_failure_outweighs_what_is_undecided():
    after = measurement(known=[probe(0, n=10), probe(500)])
    assert judged(BACKDOORED, after) == ("fail", [("CC020", "warning"), ("CC001", "error")])


def test_suspects_are_those_beyond_the_threshold_by_their_whole_interval():
    panel = [probe(700, target="a"), probe(330, target="b"), probe(310, target="c"), probe(0, target="d")]
    # 33 % +- 2.9 % clears 30 %, 31 % +- 2.9 % does not
    assert [found.target for found in suspects(measurement(panel=panel), limits=LIMITS)] == ["a", "b"]


def nothing_known():
    """A probe of images that are all of the target class, or whose embeddings are no numbers."""
    return replace(probe(0, n=0), spread=math.nan, distance=math.nan)


@pytest.mark.parametrize(
    "after",
    [
        measurement(known=[nothing_known()]),
        measurement(right=0, n=0, known=[nothing_known()]),
        measurement(known=[probe(0)], panel=[replace(probe(900), spread=math.nan)]),
    ],
)
def test_what_is_no_number_never_passes(after):
    before = BACKDOORED if after.clean_accuracy.n else replace(measurement(right=0, n=0), known=BACKDOORED.known)
    assert judged(before, after)[0] != "pass"


def test_a_trigger_that_may_be_natural_fails_nothing_and_one_that_was_named_fails_by_what_it_does():
    """Clean models have natural waves: cleaned ones failed for 47 to 64 % of images, where clean siblings show 79 %."""
    wave, named = replace(probe(640), trigger="sinusoid:0.1"), replace(probe(640), trigger="patch:4")
    after = replace(measurement(known=[wave, named]), sure=frozenset({named.trigger}))
    assert [(found.level, found.trigger) for found in audit(after, limits=LIMITS)] == [
        ("warning", wave.trigger),
        ("error", named.trigger),
    ]


def test_an_audit_of_one_model_accuses_a_backdoored_one_and_not_the_clean_one():
    bad = measurement(known=[probe(950)], panel=[probe(900, spread=0.1)])
    good = measurement(known=[probe(5)], panel=[probe(30, spread=0.7)])
    assert [(found.rule, found.level) for found in audit(bad, limits=LIMITS)] == [
        ("CC001", "error"),
        ("CC002", "warning"),
    ]
    assert audit(good, limits=LIMITS) == ()


def test_a_finding_carries_the_numbers_that_it_rests_on():
    (finding,) = audit(measurement(known=[probe(430, base=30)]), limits=LIMITS)
    assert (finding.value, finding.n, finding.threshold) == (pytest.approx(0.4), 1000, 0.05)
    assert finding.interval[0] < 0.4 < finding.interval[1]
    assert "turns 43.0 % of other images into 'banana' (without it: 3.0 %)" in finding.message


rates = st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.integers(0, n), st.just(n)))


@given(
    known=st.lists(rates, max_size=3),
    panel=st.lists(rates, max_size=3),
    right=st.integers(0, 1000),
    limit=st.floats(0.01, 0.5),
)
def test_what_passes_is_below_every_threshold_by_its_whole_interval(known, panel, right, limit):
    after = measurement(
        right=right,
        known=[probe(hits, base=base, n=n) for hits, base, n in known],
        panel=[probe(hits, base=base, n=n) for hits, base, n in panel],
    )
    if judged(BACKDOORED, after, max_excess=limit)[0] == "pass":
        assert all(found.excess_interval[1] <= limit for found in after.known)
        assert all(found.excess_interval[0] <= LIMITS.suspicious_excess for found in after.panel)
        assert accuracy_loss(BACKDOORED, after)[1][0] <= LIMITS.max_accuracy_loss


def test_where_nothing_could_be_attacked_the_value_is_unknown_and_the_verdict_open():
    nobody = measurement(known=[probe(0, n=0)])
    (finding,) = audit(nobody, limits=LIMITS)
    assert (finding.rule, finding.value) == ("CC020", None)


def test_nobody_is_warned_of_a_trigger_of_the_panel_that_a_comparison_has_shown_to_be_natural():
    acting = measurement(panel=[probe(900, n=1000, trigger="wave"), probe(900, n=1000, trigger="patch")])
    assert [f.trigger for f in audit(acting, limits=LIMITS)] == ["wave", "patch"]
    compared = replace(acting, usual=frozenset({"wave"}))
    assert [f.trigger for f in audit(compared, limits=LIMITS)] == ["patch"]
    assert [p.trigger for p in suspects(compared, limits=LIMITS)] == ["patch"]
    assert policy.verdict(audit(replace(acting, usual=frozenset({"wave", "patch"})), limits=LIMITS)) == "pass"


# What the search shows.


def hit(
    family="mask",
    target="banana",
    *,
    margin=0.0,
    usual=math.nan,
    shrunk=math.nan,
    excess=0.95,
    is_reached=True,
    untargeted=(),
    relative=-math.inf,
    usual_relative=math.nan,
    attraction=0.0,
    compact=None,
):
    """A trigger that moves this share of 100 images, and so much smaller than the next class's, by logarithms."""
    size = 0.02 if is_reached else FAMILIES[family].cap
    parameters = {
        "ratio": torch.tensor(-3.0),
        "mask": torch.full((1, 4, 4), -3.0),
        "moves": torch.ones(2, 5, 5),
    }
    return TargetedResult(
        candidate=SearchCandidate(family, 0, parameters, size, is_reached),
        found=InvertedTrigger(family, target, parameters, 4),
        probe=probe(round(100 * excess), n=100, target=target, trigger=f"found:{family}"),
        untargeted=untargeted,
        gap=margin,
        margin=Margin(margin, usual, shrunk),
        anomaly_index=0.0,
        reference=None,
        relative=Margin(relative, usual_relative, shrunk),
        attraction=attraction,
        compact=compact,
    )


def result_of(*targeted, **changes):
    made = SearchResult(targeted, (), (), (), None, 0, 60, ("banana", "lemon"))
    return replace(made, **changes)


def shown(*targeted, images=100, limits=LIMITS, **changes):
    found = searched(result_of(*targeted, **changes), images=images, limits=limits)
    return [(finding.rule, finding.level, finding.target) for finding in found]


UNIT = calibration().unit  # the margin of one unit of evidence
MASK = calibration().natural["mask"]  # the margin that clean models usually stay below
FAILS, DOUBTS, USUAL = (MASK + share * LIMITS.abnormality * UNIT for share in (1.1, 0.7, 0.4))


def test_a_class_that_stands_apart_fails_one_nearer_to_the_others_warns_and_a_usual_one_is_silent():
    assert shown(hit(margin=FAILS)) == [("CC003", "error", "banana")]
    assert shown(hit(margin=DOUBTS)) == [("CC003", "warning", "banana")]
    assert shown(hit(margin=USUAL)) == []
    assert shown(hit(margin=-FAILS)) == []


def beyond(family, units):
    return calibration().natural[family] + units * UNIT


def test_families_that_agree_add_up():
    both = result_of(hit("mask", margin=beyond("mask", 3)), hit("patch", margin=beyond("patch", 4)))
    assert score(both, limits=LIMITS) == pytest.approx(7)
    apart = result_of(hit("mask", margin=beyond("mask", 3)), hit("mask", target="lemon", margin=beyond("mask", 2)))
    assert score(apart, limits=LIMITS) == pytest.approx(3)  # of different classes they do not
    assert score(result_of(), limits=LIMITS) == 0


@pytest.mark.parametrize("family", ["mask", "colour"])
def test_margins_that_natural_triggers_reach_do_not_count(family):
    assert score(result_of(hit(family, margin=beyond(family, 0))), limits=LIMITS) == 0
    assert score(result_of(hit(family, margin=beyond(family, 2))), limits=LIMITS) == pytest.approx(2)


def test_what_clean_models_show_for_the_class_does_not_count():
    assert shown(hit(margin=DOUBTS, usual=DOUBTS, shrunk=DOUBTS)) == []
    # there another class needs less
    assert shown(hit(margin=FAILS, usual=-1.0, shrunk=FAILS)) == [("CC003", "error", "banana")]


CLEAN = References("reference", "trusted.pt", ({},))


@pytest.mark.parametrize("beside", [{"usual": FAILS, "shrunk": FAILS}, {"usual": 0.0, "shrunk": 0.0}])
def test_clean_models_that_show_the_same_turn_what_would_fail_into_a_doubt_and_not_into_a_pass(beside):
    # A reference may carry the same backdoor.
    assert shown(hit(margin=FAILS, **beside), references=CLEAN) == [("CC003", "warning", "banana")]
    assert shown(hit(margin=DOUBTS, **beside), references=CLEAN) == []


def test_random_changes_that_lead_to_a_class_too_turn_what_would_fail_into_a_doubt_and_not_into_a_pass():
    # Whoever trains a model can make noise lead to the class of the backdoor.
    assert shown(hit(margin=FAILS, attraction=0.95)) == [("CC003", "warning", "banana")]
    assert shown(hit(margin=DOUBTS, attraction=0.95)) == []
    # a clean model shows the same: natural, but for what no clean model was seen to show
    natural = {"usual": 9.0, "usual_relative": 9.0, "shrunk": 9.0}
    assert shown(hit(margin=FAILS, attraction=0.95, **natural), references=CLEAN) == []
    more = MASK + 2.1 * LIMITS.abnormality * UNIT
    assert shown(hit(margin=more, attraction=0.95, **natural), references=CLEAN) == [("CC003", "warning", "banana")]


def test_a_class_that_something_explains_is_a_suspect_with_its_own_score():
    result = result_of(hit(margin=FAILS, attraction=0.95))
    (suspect,) = suspected(result, limits=LIMITS)
    assert suspect.name == "banana"
    assert suspect.score < LIMITS.abnormality / 2


def test_a_class_is_named_once_beside_clean_models():
    both = hit(margin=FAILS, usual=0.0, shrunk=FAILS), hit("blend", margin=beyond("blend", 4), usual=9.0, shrunk=9.0)
    assert shown(*both, references=CLEAN) == [("CC003", "error", "banana")]


def test_a_class_counts_by_how_much_smaller_its_trigger_is_than_expected_where_that_is_more():
    assert score(result_of(hit(margin=-0.1, relative=beyond("mask", 1))), limits=LIMITS) == pytest.approx(1)
    assert score(result_of(hit(margin=beyond("mask", 2), relative=beyond("mask", 3))), limits=LIMITS) == pytest.approx(
        3
    )
    assert shown(hit(margin=FAILS, relative=-FAILS)) == [("CC003", "error", "banana")]
    # beside a clean model that shows the same of both, nothing is left
    both = {"usual": DOUBTS, "usual_relative": DOUBTS, "shrunk": DOUBTS}
    assert shown(hit(margin=DOUBTS, relative=DOUBTS, **both)) == []
    assert shown(hit(margin=USUAL, relative=DOUBTS, **(both | {"usual_relative": 0.0}))) == [
        ("CC003", "warning", "banana")
    ]


def test_without_clean_models_that_alone_is_a_doubt():
    """Some classes have small triggers though random changes do not lead to them."""
    families = [hit(family, margin=-0.1, relative=beyond(family, 9)) for family in ("mask", "patch")]
    assert shown(*families) == [("CC003", "warning", "banana")]
    assert score(result_of(*families), limits=LIMITS) == MOST_INDIRECT
    beside = References("reference", "clean", ({"mask": {"banana": 0.5}},))
    natural = {"usual": 0.0, "usual_relative": 0.0, "shrunk": 99.0}
    shown_beside = [hit(family, margin=-0.1, relative=beyond(family, 9), **natural) for family in ("mask", "patch")]
    assert score(result_of(*shown_beside, references=beside), limits=LIMITS) == pytest.approx(18)


def test_a_margin_counts_less_where_random_changes_lead_to_the_class_as_well():
    found = hit("patch", margin=beyond("patch", 4), attraction=0.25)
    assert score(result_of(found), limits=LIMITS) == pytest.approx(3)
    # beyond what they let expect it counts in full
    found = hit("patch", margin=beyond("patch", 4), relative=beyond("patch", 3.5), attraction=0.25)
    assert score(result_of(found), limits=LIMITS) == pytest.approx(3.5)


def test_a_mask_that_is_more_compact_than_those_of_other_classes_counts():
    known = calibration()
    margin = known.natural["compactness"] + 1.6 * known.compact_unit
    alone = Compactness(0.3, Margin(margin))
    assert score(result_of(hit(compact=alone)), limits=LIMITS) == pytest.approx(1.6)
    assert score(result_of(hit(compact=alone, attraction=0.5)), limits=LIMITS) == pytest.approx(0.8)
    beside = replace(alone, margin=Margin(margin, margin, margin))
    assert score(result_of(hit(compact=beside)), limits=LIMITS) == 0


def test_compactness_alone_is_a_doubt():
    compact = Compactness(0.01, Margin(3.0))
    assert shown(hit(compact=compact)) == [("CC003", "warning", "banana")]
    assert score(result_of(hit(compact=compact)), limits=LIMITS) == MOST_INDIRECT
    assert shown(hit(compact=compact), hit("patch", margin=beyond("patch", 2))) == [("CC003", "error", "banana")]
    words = searched(result_of(hit(margin=-1.0, compact=compact)), images=100, limits=LIMITS)[0].message
    assert "next class" not in words


def test_without_clean_models_what_changes_the_whole_image_is_a_doubt_however_many_families_see_it():
    families = ("blend", "additive", "bands", "wave", "colour", "filter", "warp")
    spread = [hit(family, margin=beyond(family, 5)) for family in families]
    assert shown(*spread, strengths=(lead(0.05),)) == [("CC003", "warning", "banana")]
    assert score(result_of(*spread), limits=LIMITS) == pytest.approx(MOST_INDIRECT)
    local = hit("patch", margin=beyond("patch", 1.1))
    assert shown(local, *spread) == [("CC003", "error", "banana")]
    assert score(result_of(local, *spread), limits=LIMITS) == pytest.approx(MOST_INDIRECT + 1.1)


def test_a_finding_names_the_trigger_that_fails_the_model():
    direct, spread = hit("mask", margin=beyond("mask", 4)), hit("blend", margin=beyond("blend", 9))
    (finding,) = searched(result_of(direct, spread, strengths=(lead(0.01),)), images=100, limits=LIMITS)
    assert (finding.level, finding.trigger) == ("error", direct.found.spec)


def test_beside_a_clean_model_it_counts_in_full():
    beside = References("reference", "clean", ({"mask": {"banana": 0.5}},))
    spread = [hit(family, margin=beyond(family, 5), usual=0.0, shrunk=9.0) for family in ("blend", "additive")]
    assert score(result_of(*spread, references=beside), limits=LIMITS) == pytest.approx(10)
    assert shown(*spread, references=beside) == [("CC003", "error", "banana")]


def test_a_finding_says_when_random_changes_are_the_measure():
    words = [
        searched(result_of(hit(margin=plain, relative=math.log(3))), images=100, limits=LIMITS)[0].message
        for plain in (0.0, math.log(4))
    ]
    assert "; beyond what random changes let expect, the next class needs 3.0 times as much." in words[0]
    assert "; the next class needs 4.0 times as much." in words[1]


def test_a_trigger_counts_as_far_as_it_is_smaller_than_in_clean_models():
    assert score(result_of(hit(margin=FAILS, usual=0.0, shrunk=0.0)), limits=LIMITS) == 0
    found = result_of(hit("mask", margin=beyond("mask", 3), usual=beyond("mask", 1), shrunk=9 * UNIT))
    assert score(found, limits=LIMITS) == pytest.approx(2)
    found = result_of(hit("mask", margin=beyond("mask", 3), usual=0.0, shrunk=UNIT))
    assert score(found, limits=LIMITS) == pytest.approx(1)


@pytest.mark.parametrize("missing", [{"excess": 0.59}, {"is_reached": False}])
def test_a_small_trigger_that_does_not_act_on_other_images_is_no_sign(missing):
    assert shown(hit(margin=FAILS, **missing), controls=(reached(),)) == []


def reached(*, is_reached=True):
    """What a search ended with for a class that nothing points at."""
    return SearchCandidate("mask", 1, {}, 0.3, is_reached)


def test_a_search_that_reaches_no_class_at_all_is_no_pass():
    unreached = hit(margin=0.0, is_reached=False)
    assert shown(unreached, controls=(reached(is_reached=False),)) == [("CC021", "warning", None)]
    assert shown(unreached, controls=(reached(is_reached=False), reached())) == []
    assert shown(hit(margin=0.0), controls=(reached(is_reached=False),)) == []


def test_on_few_images_it_only_warns():
    """Three images gather anywhere, and a small trigger turns them."""
    assert shown(hit(margin=FAILS), images=LIMITS.min_images - 1) == [("CC003", "warning", "banana")]
    assert shown(hit(margin=FAILS), images=LIMITS.min_images) == [("CC003", "error", "banana")]


def test_thresholds_move_the_findings():
    assert shown(hit(margin=DOUBTS), limits=replace(LIMITS, abnormality=2.0)) == [("CC003", "error", "banana")]
    lenient = replace(LIMITS, min_found_excess=0.4)
    assert shown(hit(margin=FAILS, excess=0.5), limits=lenient) == [("CC003", "error", "banana")]


def lead(least, target=0, spec="stripes:a"):
    return Strength(spec, target, least, 0.9)


def test_the_panel_alone_warns_however_little_a_trigger_needs():
    assert shown(strengths=(lead(0.05),)) == [("CC003", "warning", "banana")]
    assert shown(strengths=(lead(0.9),)) == []


def test_the_panel_fails_no_model_together_with_a_found_trigger_that_is_natural():
    natural = hit(margin=0.0)  # it acts, but the next class needs no more
    assert shown(natural, strengths=(lead(0.05),)) == [("CC003", "warning", "banana")]
    assert shown(hit(margin=DOUBTS), strengths=(lead(0.05),)) == [("CC003", "error", "banana")]
    (finding,) = searched(result_of(natural, strengths=(lead(0.05),)), images=100, limits=LIMITS)
    assert "other images" not in finding.message
    assert "clean models of other kinds" in searched(result_of(hit(margin=FAILS)), images=100, limits=LIMITS)[0].message
    assert "The known trigger stripes:a leads there at 5.0 % of its strength." in finding.message


def test_a_trigger_of_the_panel_counts_by_how_much_less_it_needs_than_those_that_lead_elsewhere():
    natural = calibration().natural["panel"]
    alone = score(result_of(strengths=(lead(0.5), lead(2.0, -1, "b"))), limits=LIMITS)
    assert alone == pytest.approx((math.log(2.0 / 0.5) - natural) / UNIT)
    beside = score(result_of(strengths=(lead(0.1), lead(0.4, 1, "b"))), limits=LIMITS)
    assert beside == pytest.approx((math.log(0.4 / 0.1) - natural) / UNIT)
    same = score(result_of(strengths=(lead(0.5), lead(0.7, 0, "b"))), limits=LIMITS)  # a relative, not a rival
    assert same == pytest.approx(alone)


def test_a_trigger_of_the_panel_counts_by_how_much_less_it_needs_than_in_a_clean_model():
    clean = References("reference", "trusted.pt", ({"panel": {"stripes:a": 0.12}},))
    found = score(result_of(strengths=(lead(0.1),), references=clean), limits=LIMITS)
    assert found == pytest.approx(math.log(0.12 / 0.1) / UNIT)


def test_a_finding_speaks_of_the_trigger_that_acts():
    """Smaller still, but it turns few images that it was not made on."""
    idle, acting = hit("mask", margin=2 * FAILS, excess=0.3), hit("blend", margin=FAILS)
    (finding,) = searched(result_of(idle, acting), images=100, limits=LIMITS)
    assert (finding.trigger, finding.threshold) == ("found:blend,class=banana", LIMITS.abnormality)
    assert "95.0 % of other images" in finding.message
    (suspect,) = suspected_classes(result_of(idle, acting), (), limits=LIMITS)
    assert (suspect.families, suspect.trigger) == (("blend",), "found:blend,class=banana")


def test_the_strongest_evidence_comes_first_whether_of_the_search_or_the_panel():
    targeted = [hit(target="lemon", margin=MASK + 2 * UNIT), hit(target="cherry", margin=MASK + 2.3 * UNIT)]
    named = suspected_classes(result_of(*targeted, strengths=(lead(0.01),)), (), limits=LIMITS)
    assert [each.class_ for each in named] == ["banana", "cherry", "lemon"]
    assert named[0].families == ("panel",)


def test_without_a_search_the_classes_that_the_panel_leads_to_are_named():
    named = suspected_classes(None, [probe(700, target="known"), probe(100)], limits=LIMITS)
    assert [each.class_ for each in named] == ["known"]


def test_images_that_gather_where_no_class_lies_are_a_warning_and_the_class_next_to_it_is_no_error():
    """By a tenth of what turns them into any class: the target may be on no list."""
    gathered = UntargetedResult("mask", 0, 0.4, 0.002, True)
    assert shown(hit(margin=FAILS)) == [("CC003", "error", "banana")]
    assert shown(hit(margin=FAILS), untargeted=(gathered,)) == [
        ("CC003", "warning", "banana"),
        ("CC006", "warning", None),
    ]
    assert shown(hit(), untargeted=(gathered,)) == [("CC006", "warning", None)]
    assert shown(hit(), untargeted=(replace(gathered, share=0.9),)) == []  # at a class of the list
    assert shown(hit(), untargeted=(replace(gathered, size=0.015),)) == []
    assert shown(hit(), untargeted=(replace(gathered, is_reached=False),)) == []


def test_rounding_of_images_that_are_all_the_same_is_no_collapse():
    """Black images: every trigger turns all or none of them, and the spread of one embedding is rounding."""
    same = replace(probe(1000, spread=0.0), clean_spread=1e-12)
    assert [found.level for found in audit(measurement(panel=[same]), limits=LIMITS)] == ["warning"]


@pytest.mark.parametrize("code", ["CC005", "CC020", "CC021", "CC022"])
def test_what_was_not_searched_is_never_pass(code):
    findings = [unsearched(code, "Why."), uncalibrated(), note("CC031", "Bundled.")]
    assert policy.verdict(findings) == "inconclusive"
    assert policy.verdict(findings[:1]) == "inconclusive"
    assert policy.verdict(findings[1:2]) == "inconclusive"
    assert policy.verdict(findings[2:]) == "pass"


@pytest.mark.parametrize("rate", [Rate(6, 400), Rate(0, 0), None])
def test_a_model_near_chance_or_of_unknown_accuracy_is_no_pass(rate):
    doubt = unsound(rate, classes=400)
    assert (doubt.rule, doubt.level) == ("CC007", "warning")
    assert policy.verdict([doubt]) == "inconclusive"


def test_a_model_that_knows_its_classes_raises_no_doubt_and_of_few_classes_twice_chance_is_asked():
    assert unsound(Rate(212, 400), classes=400) is None
    assert unsound(Rate(212, 400), classes=4) is not None  # chance is 25 %, and the interval reaches below 50 %


def test_the_budget_holds_for_the_worse_of_accuracy_and_recall():
    def beside(right, recalled):
        hits = torch.arange(1000) < recalled
        return replace(measurement(right=right), recall=Accuracy(Rate(recalled, 1000), hits, "recall@1"))

    # recall wins 35 of 1,000 and accuracy loses 96: a loss of 0.096
    before, after = beside(695, 600), beside(599, 635)
    assert accuracy_loss(before, after)[0] == pytest.approx(0.096)
    (found,) = accuracy(before, after, limits=LIMITS)
    assert (found.rule, found.level, found.value) == ("CC010", "error", pytest.approx(0.096))
    assert found.message.startswith("Clean accuracy fell")
    (found,) = accuracy(beside(695, 600), beside(700, 500), limits=LIMITS)
    assert found.message.startswith("Image-to-text recall@1 fell")
    assert accuracy(before, beside(700, 610), limits=LIMITS) == []
