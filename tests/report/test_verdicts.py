import pytest
from cases import each
from report import samples, searches
from report.parsed import Parsed

from clipclean import report
from clipclean.findings import RULES
from clipclean.report import search, verdicts

verdicts = Parsed(verdicts)


def test_each_verdict_has_its_headline():
    assert verdicts.headline(samples.passed()).startswith("The backdoor behaviour that was measured is gone")
    assert verdicts.headline(samples.undecided()) == "Nothing shows that there was a backdoor, nor that one is gone."
    assert verdicts.headline(samples.audited()) == "The model shows backdoor behaviour: do not deploy it."


def test_a_failure_names_only_its_own_reasons():
    made = samples.failed()
    made["findings"] = made["findings"][1:]
    assert verdicts.headline(made) == "The model lost more on clean images than the budget allows."


def test_too_little_data_is_told_as_such():
    made = samples.undecided()
    made["findings"] = [samples.finding("CC020", "warning", "Too few images.")]
    assert verdicts.headline(made) == "There is too little evidence to say pass or fail."


def test_where_the_weights_stay_that_is_told_before_any_doubt_about_them():
    made = samples.undecided()
    made["findings"] = [samples.finding("CC003", "warning", "A sign."), samples.finding("CC063", "warning", "None.")]
    assert "its weights are as they were" in verdicts.headline(made)


def test_a_pass_with_weights_that_stay_claims_no_cleaning():
    made = samples.passed()
    made["findings"] = [samples.finding("CC063", "note", "Too costly.")]
    assert verdicts.headline(made).startswith("The audit found no backdoor, and the weights are as they were")


def test_next_steps_are_those_of_the_findings_worst_first_and_each_once():
    made = samples.failed()
    made["findings"] = [*reversed(made["findings"]), made["findings"][0], samples.passed()["findings"][0]]
    assert verdicts.next_steps(made) == [RULES[code].action for code in ("CC010", "CC001", "CC030")]


def test_only_a_pass_says_how_to_use_the_weights():
    assert "Use the weights" in verdicts.next_steps(samples.passed())[0]
    assert not any(
        "Use the weights" in step
        for made in (samples.failed(), samples.undecided())
        for step in verdicts.next_steps(made)
    )


@pytest.mark.parametrize("made", [samples.passed, samples.failed, samples.undecided, samples.audited])
def test_the_limits_say_how_many_triggers_were_tried_and_that_none_was_searched_for(made):
    assert verdicts.limits(made())[0].startswith(
        "Triggers other than the 3 that were tried. Unknown ones were not searched"
    )


def test_a_failed_audit_names_the_class_that_a_search_points_at():
    told = "The model shows backdoor behaviour: do not deploy it. It is turned towards “banana”."
    assert verdicts.headline(searches.backdoored()) == told


def test_a_passed_audit_says_what_was_looked_for():
    assert "a search found none that is unusually small" in verdicts.headline(searches.calm())
    made = searches.calm()
    made["measurements"]["search"] = {}
    assert verdicts.headline(made) == "None of the triggers that were tried acts on this model."


def looked_for(made):
    made["policy"] = {
        "name": "p",
        "sha256": "9d" * 32,
        "resolved": {"thresholds": {"abnormality": 3.5, "suspicious_excess": 0.3}},
    }
    return {check.what: (check.found, check.usual) for check in verdicts.looked_for(made)}


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (4.712, "“banana” stands out, with a score of 4.71"),
        (1.75, "“banana” stands out, with a score of 1.75"),
        (0.4, "“banana” stands out, but something explains it"),
        (0.0, "“banana” stands out, but something explains it"),
        (None, "“banana” stands out, with a score of –"),
    ],
)
def test_a_search_is_looked_at_by_the_score_that_its_verdict_compares(score, words):
    made = searches.backdoored()
    made["suspects"] = [{"class": "banana", "score": score, "families": ["mask"], "trigger": None}]
    assert looked_for(made)["Unknown triggers"] == (words, "no class stands out; a score of 3.5 can fail the model")


def test_a_class_that_a_policy_accepts_stands_out_all_the_same():
    made = searches.backdoored()
    made["findings"] = [each for each in made["findings"] if each["rule"] != "CC003"]
    assert "“banana” stands out" in looked_for(made)["Unknown triggers"][0]


def test_a_search_in_which_no_class_stands_out_says_so_and_tells_of_the_best_trigger():
    found, _ = looked_for(searches.calm())["Unknown triggers"]
    assert found.startswith("no class stands out; the trigger that works best is ")


def test_a_cleaning_is_looked_at_by_the_search_after_it():
    made = searches.cleaned()
    made["suspects"] = made["before"]["suspects"] = [
        {"class": "banana", "score": 9.0, "families": ["mask"], "trigger": None}
    ]
    made["after"]["suspects"] = []
    assert "stands out, " not in looked_for(made)["Unknown triggers"][0]


def test_known_triggers_are_limited_but_for_natural_ones():
    made = samples.audited()
    usual = next(usual for what, (_, usual) in looked_for(made).items() if "known trigger" in what)
    assert usual == "at most 30.0 %; natural triggers may move more"


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        (["CC004", "CC003"], "There is one sign of a backdoor"),
        (["CC003", "CC005"], "The model maps every image to nearly the same embedding"),
        (["CC004"], "no clean model of this kind to compare with, so the results cannot be judged"),
        (["CC021"], "unknown triggers were not searched for"),
        (["CC022"], "too few classes"),
        (["CC020"], "There is too little evidence"),
    ],
)
def test_an_undecided_audit_gives_the_reason_that_matters_most(codes, words):
    made = searches.doubtful()
    made["findings"] = [samples.finding(code, "warning", "") for code in codes]
    assert words in verdicts.headline(made)


SANITIZED = {
    "CC005": "The model maps every image to nearly the same embedding",
    "CC062": "One sign of a backdoor came back after a little finetuning",
    "CC001": "After cleaning, a trigger still acts on the model",
    "CC003": "After cleaning, the search still finds one sign of a backdoor",
    "CC002": "After cleaning, a known trigger still gives one sign of a backdoor",
    "CC060": "The cleaning leaves some",
    "CC061": "nor what the cleaning removes from this model",
    "CC023": "The search found nothing to unlearn",
    "CC024": "Time was over before the cleaning was",
    "CC021": "Nothing shows that there was a backdoor, nor that one is gone",
    "CC022": "too few classes",
    "CC004": "no clean model of this kind to compare with",
    "CC020": "There is too little evidence",
}


def undecided_by(codes):
    return samples.undecided() | {"findings": [samples.finding(code, "warning", "") for code in codes]}


@each("code", SANITIZED)
def test_an_undecided_sanitization_gives_its_reason(code):
    assert SANITIZED[code] in verdicts.headline(undecided_by([code]))


@each("place", range(len(SANITIZED)))
def test_of_several_reasons_a_broken_model_comes_first_then_signs_of_a_backdoor(place):
    codes = list(SANITIZED)[place:]
    assert SANITIZED[codes[0]] in verdicts.headline(undecided_by(reversed(codes)))


def test_a_note_is_no_reason_to_be_undecided():
    made = searches.doubtful()
    made["findings"] = [samples.finding("CC004", "note", ""), samples.finding("CC020", "warning", "")]
    assert verdicts.headline(made).startswith("There is too little evidence")


def test_the_story_of_an_audit_begins_with_what_was_found():
    # 974 and 8 of 990
    first = verdicts.story(searches.backdoored())[0]
    assert "the model classifies 98.4 % of the images of other things as “banana”; without it, 0.8 %." in first
    assert first.endswith("Clean models need 9.0 to 14.0 % for the same.")
    assert verdicts.story(searches.calm())[1].endswith("this one is not unusually small.")
    assert not any("unusually" in sentence for sentence in verdicts.story(searches.backdoored()))
    assert not any("a search found" in sentence for sentence in verdicts.story(searches.cleaned()))


def test_the_limits_name_the_families_that_were_searched():
    assert (
        "searched for as fixed mask and pattern, patch at random places, smooth distortion"
        in (verdicts.limits(searches.backdoored())[0])
    )


def test_the_limits_name_what_an_unlearning_searched():
    assert "Unknown ones were searched for as fixed mask and pattern alone" in verdicts.limits(samples.unlearned())[0]
    assert "Unknown ones were not searched for" in verdicts.limits(samples.forgotten())[0]


def test_what_is_set_aside_says_who_why_and_until_when():
    (finding,) = searches.backdoored()["suppressed"]
    assert verdicts.set_aside(finding) == "Set aside until 2031-01-31 by Ann: a known broken file"
    assert verdicts.set_aside(finding | {"expires": None, "reason": "", "by": ""}) == (
        "Set aside without an end by a person whom the policy does not name: no reason is given"
    )


def test_the_verdict_without_the_policy_is_said_where_it_is_another():
    passing = samples.passed() | {"policy": {"name": "mild", "sha256": "0" * 64, "verdict_without": "fail"}}
    assert verdicts.policy_told(passing).startswith("Policy mild ")
    assert verdicts.policy_told(passing).endswith("Without it the verdict would be fail, and it is pass now.")
    aside = searches.backdoored()["findings"][0] | {"reason": "known", "by": "Ann", "expires": "2031-01-31"}
    assert verdicts.policy_told(passing | {"suppressed": [aside]}).startswith(
        "Policy mild sets 1 finding aside. Without"
    )
    unsaid = passing | {"suppressed": [aside], "policy": None}  # a report of 0.2
    assert verdicts.policy_told(unsaid).endswith("Without it the verdict would be fail, and it is pass now.")


def test_a_policy_that_changed_nothing_is_not_told():
    assert verdicts.policy_told(samples.passed()) == ""
    same = samples.failed() | {"policy": {"name": "mild", "sha256": "0" * 64, "verdict_without": "fail"}}
    assert verdicts.policy_told(same) == ""


def test_every_rule_says_what_it_means_what_it_does_not_show_and_what_to_do():
    for rule in RULES.values():
        assert all(text.endswith(".") for text in (rule.means, rule.does_not_show, rule.action))
        assert rule.level in ("error", "warning", "note")
        assert rule.stage in ("triggers", "accuracy", "evidence", "data", "recipe", "policy")


def test_a_pass_by_the_power_of_the_audit_has_a_whole_sentence_as_its_headline():
    made = searches.calm() | {"findings": [samples.finding("CC008", "note", "It finds 4 of 4.")]}
    assert verdicts.headline(made) == RULES["CC008"].passes
    assert all(rule.passes[:1].isupper() and rule.passes.endswith(".") for rule in RULES.values() if rule.passes)


def test_a_panel_over_its_limit_is_told_as_natural_or_points_at_a_finding():
    made = searches.calm()
    for probe in made["measurements"]["probes"]:
        probe["excess_asr"]["value"] = 0.444
    words = next(found for what, (found, _) in looked_for(made).items() if "known trigger" in what)
    assert words.endswith("44.4 % of images beyond chance: taken for a natural trigger of this model")


def test_the_story_tells_of_the_trigger_that_the_finding_names():
    made = searches.backdoored()
    first, second = (each for each in made["measurements"]["search"]["found"] if each["class"] == "banana")
    made["findings"] = [
        samples.finding("CC003", "error", "Found.")
        | {"trigger": f"found:{second['family']},class=banana", "target": "banana"}
    ]
    assert first["family"] != second["family"]
    assert search.strongest(report.parse(made)).family == second["family"]
