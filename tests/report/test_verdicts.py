"""Which attack, trigger and reason a report tells of."""

import itertools

import pytest
from report import samples, searches
from report.parsed import Parsed, parsed

from clipclean import detect, report
from clipclean.findings import CC, RULES
from clipclean.report import measures as of_measures
from clipclean.report import search as of_search
from clipclean.report import verdicts as of_verdicts
from clipclean.schema.report import ProbeRecord

measures, search, verdicts = Parsed(of_measures), Parsed(of_search), Parsed(of_verdicts)


def with_findings(made, *codes, level="warning"):
    return made | {"findings": [samples.finding(code, level, "") for code in codes]}


def test_every_rule_has_one_name_in_code():
    assert [code for name, code in vars(CC).items() if name.isupper()] == list(RULES)


@pytest.mark.parametrize("made", [samples.undecided, searches.doubtful])
@pytest.mark.parametrize("code", [code for code, rule in RULES.items() if rule.doubt_audit and rule.doubt_sanitize])
def test_an_undecided_report_gives_its_reason(made, code):
    told = verdicts.headline(with_findings(made(), code))
    assert told == getattr(RULES[code], f"doubt_{made()['command']}")
    assert told != verdicts.headline(with_findings(made(), code, level="note"))  # a note is no reason


@pytest.mark.parametrize(("made", "code"), [(searches.doubtful, "CC002"), (samples.undecided, "CC060")])
def test_an_undecided_report_says_that_time_ended_the_run_whatever_else_is_more_urgent(made, code):
    alone, cut = (verdicts.headline(with_findings(made(), *codes)) for codes in ((code,), (code, "CC024")))
    assert cut != alone
    assert cut.startswith(alone)
    assert verdicts.headline(with_findings(made(), "CC024", "CC004")) == verdicts.headline(
        with_findings(made(), "CC024")
    )


def cut_before_any_candidate():
    made = with_findings(samples.chosen_by_auto(), "CC024", "CC002") | {"verdict": "inconclusive", "exports": []}
    made["auto"] |= {"chosen": "nothing", "changed": False}
    made["auto"]["candidates"] = [
        one | {"why_not": "no time", "trials": [], "run": None} for one in made["auto"]["candidates"]
    ]
    return made


NOTHING_CLEANED = "Nothing was cleaned: time ran out before."


@pytest.mark.parametrize(
    ("codes", "told"),
    [
        (("CC024", "CC002"), f"{NOTHING_CLEANED} The model shows a sign of a backdoor."),
        (("CC024", "CC004"), NOTHING_CLEANED),
        (("CC024", "CC005"), f"{RULES['CC005'].doubt_sanitize} Time ran out before the cleaning ended."),
    ],
)
def test_a_cleaning_that_came_to_no_candidate_speaks_of_no_cleaned_model(codes, told):
    assert verdicts.headline(with_findings(cut_before_any_candidate(), *codes)) == told


def test_a_cleaning_that_came_to_no_candidate_suggests_no_other_run():
    assert verdicts.commands(cut_before_any_candidate(), report.RunPaths("out", "m.pt", "pairs", "auto")) == []


URGENT = [f"CC{number:03}" for number in (5, 63, 62, 1, 3, 2, 60, 61, 23, 24, 21, 22, 4)]


@pytest.mark.parametrize(("first", "second"), itertools.pairwise(URGENT))
def test_of_several_reasons_a_broken_model_comes_first_then_signs_of_a_backdoor(first, second):
    made = with_findings(samples.undecided(), second, first)
    assert verdicts.headline(made).startswith(RULES[first].doubt_sanitize)


def test_a_failure_names_its_own_reasons():
    assert verdicts.headline(with_findings(samples.failed(), "CC010", level="error")) == RULES["CC010"].fails_sanitize
    assert RULES["CC001"].fails_audit in verdicts.headline(samples.audited())
    assert "“banana”" in verdicts.headline(searches.backdoored())


def test_a_pass_names_what_it_rests_on():
    for made, code in ((searches.calm, "CC008"), (samples.passed, "CC063")):
        assert verdicts.headline(with_findings(made(), code, level="note")) == RULES[code].passes
        assert verdicts.headline(with_findings(made())) != RULES[code].passes
    made = searches.calm()
    searched = verdicts.headline(made)
    made["measurements"]["search"] = {}  # a pass without a search claims none
    assert verdicts.headline(made) != searched


def test_next_steps_are_those_of_the_findings_the_most_urgent_first():
    made = samples.failed()
    made["findings"] = [*reversed(made["findings"]), made["findings"][0], samples.passed()["findings"][0]]
    assert verdicts.next_steps(made) == [RULES[code].action for code in ("CC001", "CC010", "CC030")]
    made["findings"].append(samples.finding("CC061", "note", ""))  # which can change nothing
    assert RULES["CC061"].action not in verdicts.next_steps(made)


def test_the_steps_after_a_pass_leave_out_findings_that_ask_for_nothing():
    passed = samples.passed() | {
        "findings": [samples.finding(code, "note", "") for code in ("CC030", "CC040", "CC061", "CC065")]
    }
    # behind the first one, which is to use the weights
    assert verdicts.next_steps(passed)[1:] == [RULES["CC030"].action]


def test_what_is_set_aside_names_the_terms_of_its_acceptance():
    (finding,) = searches.backdoored()["suppressed"]
    assert {"Ann", "2031-01-31"} <= set(verdicts.acceptance(finding).replace(":", "").split())
    assert verdicts.acceptance(finding | {"expires": None, "reason": "", "by": ""})


def looked_for(made, word):
    thresholds = {"false_alarm_rate": 0.02, "suspicious_excess": 0.3}
    made["policy"] = {"name": "p", "sha256": "9d" * 32, "resolved": {"thresholds": thresholds}}
    return next(check for check in verdicts.checks(made) if word in check[0])


@pytest.mark.parametrize(("score", "told"), [(4.712, "4.71"), (0.0, "0.00"), (None, "–")])
def test_a_search_is_told_by_the_score_that_its_verdict_compares(score, told):
    made = searches.backdoored()
    made["suspects"] = [{"class": "banana", "score": score, "families": ["mask"], "trigger": None}]
    _, found, usual = looked_for(made, "Unknown")
    assert found.startswith("“banana”")
    assert (found.endswith(told), "2.0 %" in usual) == (True, True)
    cleaned = searches.cleaned()
    cleaned |= {"suspects": made["suspects"]} | {"before": cleaned["before"] | {"suspects": made["suspects"]}}
    assert "banana" not in looked_for(cleaned, "Unknown")[1]  # the search after it
    assert "banana" not in looked_for(searches.calm(), "Unknown")[1]


def passed_by_the_policy():
    """Without weights."""
    policy = {"name": "mild", "sha256": "0" * 64, "verdict_without": "fail"}
    findings = [samples.finding("CC001", "note", "It acts.")]
    return samples.passed() | {"policy": policy, "exports": [], "findings": findings}


def test_a_pass_by_the_policy_alone_claims_nothing_else():
    result = passed_by_the_policy()
    assert "CC001" in verdicts.headline(result)
    assert "gone" not in verdicts.headline(result)
    assert "gone" in verdicts.headline(samples.passed())


def test_a_pass_without_weights_does_not_suggest_to_use_them():
    result = passed_by_the_policy()
    assert verdicts.commands(report.parse(result), report.RunPaths()) == []
    assert verdicts.next_steps(result)[0] != verdicts.next_steps(samples.passed())[0]


def test_no_size_is_told_that_speaks_against_what_is_said_of_it():
    """A trigger far smaller than other classes need says nothing where no class stands out, nor one that changes no answer."""
    made = searches.calm()
    for entry in made["measurements"]["search"]["found"]:
        entry["outlyingness"] = 6.5
    assert "6.5" not in looked_for(made, "Unknown")[1]
    made["findings"] = [samples.finding("CC003", "warning", "Found.")]
    assert "findings" in looked_for(made, "Unknown")[1]
    for entry in made["measurements"]["search"]["found"]:
        entry["base_rate"] = entry["asr"]
    assert search.strongest(made) is None


@pytest.mark.parametrize(
    ("made", "clean_size", "is_told"),
    [
        (searches.calm, 0.001, True),
        (searches.calm, 0.9, False),
        (searches.backdoored, 0.001, False),
        (searches.backdoored, 0.9, True),
    ],
)
def test_sizes_of_clean_models_are_told_where_they_say_what_the_verdict_says(made, clean_size, is_told):
    made = made()
    for entry in made["measurements"]["search"]["found"]:
        entry["reference"] = {"median": clean_size, "low": clean_size, "high": clean_size, "n": 3}
    words = " ".join(verdicts.story(made))
    assert ("Clean models need" in words) is is_told
    assert ("not unusually small" in words) is (is_told and not made["suspects"])


def test_a_panel_over_its_limit_points_at_a_finding_or_is_taken_for_natural():
    made = searches.calm()
    for probe in made["measurements"]["probes"]:
        probe["excess_asr"]["value"] = 0.444
    _, natural, usual = looked_for(made, "known trigger")
    assert ("44.4 %" in natural, "30.0 %" in usual) == (True, True)
    assert looked_for(with_findings(made, "CC002"), "known trigger")[1] != natural


def test_a_panel_points_at_findings_about_its_own_trigger_or_class_alone():
    """A trigger that only the search made is no finding about a known one."""
    made = searches.calm()
    for probe in made["measurements"]["probes"]:
        probe["excess_asr"]["value"] = 0.444
    probe = made["measurements"]["probes"][0]
    of_search = samples.finding("CC003", "error", "Found.")
    _, natural, _ = looked_for(made, "known trigger")
    about = {
        "another class": {"trigger": "found:patch", "target": "a class that no known trigger leads to"},
        "its class": {"trigger": "found:patch", "target": probe["target"]},
        "its trigger": {"trigger": probe["trigger"], "target": None},
    }
    words = {
        name: looked_for(made | {"findings": [of_search | more]}, "known trigger")[1] for name, more in about.items()
    }
    assert (words["another class"] == natural, words["its class"] == natural, words["its trigger"] == natural) == (
        True,
        False,
        False,
    )


def set_aside(made, *codes):
    """The report without findings of these rules, which its policy set aside."""
    aside = [samples.finding(code, "warning", "It acts.") | {"reason": "r", "expires": None} for code in codes]
    return made | {"suppressed": aside}


@pytest.mark.parametrize("doubt", ["CC021", "CC024"])
def test_where_the_policy_sets_aside_what_acts_the_headline_does_not_say_that_nothing_does(doubt):
    made = with_findings(searches.doubtful(), doubt)
    told = verdicts.headline(set_aside(made, "CC002"))
    assert told != verdicts.headline(made) == RULES[doubt].doubt_audit
    assert ("CC002" in told, "policy" in told) == (True, True)
    assert verdicts.headline(set_aside(made, "CC031")) == RULES[doubt].doubt_audit  # no sign of a backdoor


def test_a_panel_over_its_limit_that_the_policy_sets_aside_points_at_no_finding():
    made = searches.calm()
    for probe in made["measurements"]["probes"]:
        probe["excess_asr"]["value"] = 0.444
    _, words, _ = looked_for(set_aside(made, "CC002"), "known trigger")
    assert ("findings" in words, "policy" in words) == (False, True)


@pytest.mark.parametrize("is_searched", [True, False])
def test_classes_that_are_hardly_known_claim_no_search(is_searched):
    made = with_findings(searches.doubtful(), "CC007")
    if not is_searched:
        made["measurements"]["search"] = {}
    assert "search" not in verdicts.headline(made)


@pytest.mark.parametrize(
    ("level", "severities", "is_told"),
    [("warning", {}, True), ("error", {}, False), ("warning", {"CC003": "warning"}, False)],
)
def test_a_class_that_stands_out_by_a_warning_alone_is_said_not_to_fail(level, severities, is_told):
    """Where the policy sets levels, it may be the reason."""
    made = searches.doubtful()
    made["findings"] = [samples.finding("CC003", level, "Found.") | {"target": "banana"}]
    policy = {"name": "p", "sha256": "9d" * 32, "resolved": {"thresholds": {}, "severities": severities}}
    row = next(check for check in verdicts.checks(made | {"policy": policy}) if "Unknown" in check[0])
    assert ("not to fail" in row[1]) is is_told


@pytest.mark.parametrize(("by", "is_told"), [("labels", True), ("answers", True), ("recall", False), (None, False)])
def test_a_loss_by_another_measure_than_the_shares_beside_it_says_which_one_decides(by, is_told):
    made = samples.passed()
    if by is not None:
        lost = {"value": 0.01, "interval": [-0.01, 0.03], "n": 1000, "by": by}
        made["after"]["measurements"]["accuracy_lost"] = lost
    row = next(check for check in verdicts.checks(made) if "62.1 %" in check[1])
    assert ("verdict uses" in row[1]) is is_told


def test_an_undecided_audit_without_a_search_is_searched_before_anything_is_cleaned():
    made = searches.doubtful()
    made["measurements"]["search"] = {}
    made["findings"] = [samples.finding("CC002", "warning", "Acts."), samples.finding("CC021", "warning", "Skipped.")]
    assert verdicts.next_steps(made)[0] == RULES["CC021"].action


def test_a_pass_says_that_the_search_was_a_quick_one():
    made = searches.calm()
    assert "quick" not in verdicts.headline(made | {"effort": "standard"})
    assert "quick search" in verdicts.headline(made | {"effort": "quick"})


def test_a_pass_says_that_no_trigger_acts_only_where_none_of_the_panel_moves_more_than_its_limit():
    quiet, acting = searches.calm(), searches.calm()
    for made, moved in ((quiet, 0.1), (acting, 0.951)):
        for probe in made["measurements"]["probes"]:
            probe["excess_asr"]["value"] = moved
        looked_for(made, "known trigger")  # which sets the limit
    assert "no built-in trigger acts" in verdicts.headline(quiet)
    assert "no built-in trigger acts" not in verdicts.headline(acting)
    assert "natural" in verdicts.headline(acting)
    acting["measurements"]["search"] = {}
    assert "natural" in verdicts.headline(acting)


@pytest.mark.parametrize(
    ("verdict", "without", "aside", "told"),
    [("pass", "fail", 0, True), ("fail", "fail", 0, False), ("pass", None, 1, True)],
)
def test_a_policy_is_told_where_it_changed_something_with_the_verdict_without_it(verdict, without, aside, told):
    """Without a verdict of the run, as in a report of 0.2, the findings that were set aside tell it."""
    policy = {"name": "mild", "sha256": "0" * 64, "verdict_without": without} if without else None
    error = searches.backdoored()["findings"][0] | {"reason": "known", "by": "Ann", "expires": "2031-01-31"}
    made = samples.passed() | {"verdict": verdict, "policy": policy, "suppressed": [error] * aside}
    words = verdicts.policy_effect(made)
    assert (words != "", "would be fail" in words) == (told, told)


def test_the_families_of_every_search_are_named():
    both = searches.cleaned() | {"training": samples.unlearned()["training"]}
    both["training"]["unlearning"]["rounds"][2]["scores"]["swirl"] = None
    words = {name: family.facts.words for name, family in detect.SEARCH_FAMILIES.items()}
    assert {name: search.family(name) for name in words} == words
    assert search.searched_families(samples.unlearned()) == words["mask"]
    # one of another version, by its name
    assert search.searched_families(both) == ", ".join([words["mask"], words["patch"], words["warp"], "swirl"])
    assert search.searched_families(samples.forgotten()) == ""


def test_a_search_that_found_nothing_has_no_strongest_trigger():
    result = searches.calm()
    result["measurements"]["search"]["found"] = []
    assert (search.was_searched(result), search.strongest(result)) == (True, None)


@pytest.mark.parametrize(
    ("made", "is_searched"), [(samples.audited, False), (samples.forgotten, False), (samples.unlearned, True)]
)
def test_the_searches_of_an_unlearning_count_as_a_search(made, is_searched):
    assert search.was_searched(made()) == is_searched


def test_each_search_is_shown_with_its_side_of_a_cleaning():
    assert search.shown_searches(samples.unlearned()) == search.shown_searches(samples.audited()) == []
    assert [side for side, _ in search.shown_searches(searches.cleaned())] == ["before", "after"]
    assert [side for side, _ in search.shown_searches(searches.calm())] == [""]


def test_a_found_trigger_that_is_not_good_enough_has_no_size():
    result = searches.backdoored()
    entries = result["measurements"]["search"]["found"]
    entries[0] |= {"reached": False, "size": 1.0, "size_words": "covers 43 % of the image"}
    ((_, shown),) = search.shown_searches(result)
    assert shown.found[0].size is None
    assert shown.found[1] == search.strongest(result) == parsed(entries[1])
    for entry in entries:
        entry["reached"] = False
    assert search.strongest(result) is None
    assert "43 %" not in Parsed(report).html(result)


@pytest.mark.parametrize(
    ("suspects", "findings", "place"),
    [
        (["lemon", "banana"], None, 2),
        (["zebra"], None, 0),  # none of its triggers reached what it aimed at
        (None, "found:patch,class=banana", 1),  # the one that the finding names
    ],
)
def test_the_trigger_that_is_told_first_is_of_the_first_suspect_or_of_the_finding(suspects, findings, place):
    made = searches.backdoored()
    if suspects:
        made["suspects"] = [{"class": name, "score": 9.0 - i} for i, name in enumerate(suspects)]
    if findings:
        made["findings"] = [samples.finding("CC003", "error", "Found.") | {"trigger": findings, "target": "banana"}]
    assert search.strongest(made) == parsed(made["measurements"]["search"]["found"][place])
    made["suspects"] = [{"class": "banana", "score": 2.0, "families": ["panel"]}]  # a found trigger says nothing
    assert search.strongest(made) is None


def without_named(made, side):
    probes = made[side]["measurements"]["probes"]
    probes[:] = [probe for probe in probes if not probe["suspected"]]
    return made


def test_a_named_trigger_is_paired_with_itself_before_or_with_its_panel_probe():
    (attack,) = measures.named_attacks(samples.passed())
    assert (attack.trigger, attack.target, attack.family) == (samples.SPEC, "banana", "patch")
    assert (attack.before.asr.value, attack.after.asr.value) == (981 / 990, 9 / 990)
    (attack,) = measures.named_attacks(without_named(samples.passed(), "before"))
    assert (attack.before.suspected, attack.after.suspected) == (False, True)
    (attack,) = measures.named_attacks(without_named(samples.passed(), "after"))  # not measured again, and still shown
    assert [row.after for row in measures.rows(attack, "asr", "distance")] == [None, None]
    (attack,) = measures.named_attacks(samples.audited())
    assert attack.before is None


def test_the_panel_is_sorted_by_the_stronger_side():
    attacks = measures.panel(samples.passed())
    # excess before and after: patch 976/990 and 5/990, stripes 53 and 30, blended 14 and 9
    assert [attack.family for attack in attacks] == ["patch", "stripes", "blended"]
    assert all(name in attacks[0].target for name in ("banana", "lemon"))
    assert attacks[1].target == "zebra"


def test_a_measure_that_neither_side_has_is_left_out():
    made = samples.passed()
    for side in ("before", "after"):
        for probe in made[side]["measurements"]["probes"]:
            probe["knn_asr"] = None
    (attack,) = measures.named_attacks(made)
    assert [row.measure.label for row in measures.rows(attack, "asr", "knn_asr")] == [measures.MEASURES["asr"].label]


def test_without_a_named_trigger_the_strongest_of_the_panel_is_shown_in_full():
    assert [attack.family for attack in measures.attacks_in_full(samples.undecided())] == ["stripes"]


@pytest.mark.parametrize(
    ("later", "words", "quoted"),
    [("cat", "cat", "“cat”"), ("dog", "cat before, dog after", "“cat” before, “dog” after")],
)
def test_a_trigger_that_leads_elsewhere_after_cleaning_says_both_classes(later, words, quoted):
    before, after = (
        ProbeRecord.model_validate(
            samples.probe("stripes", name, hits=500, base=0, own=1, neighbours=1, distance=0.1, spread=0.5)
        )
        for name in ("cat", later)
    )
    attack = of_measures.ComparedAttack("stripes", before, after)
    assert (attack.target, attack.quoted_target) == (words, quoted)


def test_after_a_search_a_known_trigger_is_shown_in_full_only_if_it_shows_the_suspect():
    made = searches.backdoored()
    strongest, *_ = measures.panel(made)
    for suspects, shown in (
        ([{"class": strongest.target, "score": 7.0, "trigger": strongest.trigger}], [strongest]),
        ([{"class": strongest.target, "score": 7.0, "trigger": "found:mask,class=banana"}], []),
        ([], []),
    ):
        assert measures.attacks_in_full(made | {"suspects": suspects}) == shown
    made["measurements"]["search"] = {}
    assert measures.attacks_in_full(made | {"suspects": []}) == [strongest]
