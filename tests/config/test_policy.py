import hashlib
import json
import os
import re
from datetime import date, timedelta
from pathlib import Path

import pytest
from cases import each
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from clipclean.config import policy, recipe, thresholds
from clipclean.errors import UsageError
from clipclean.findings import RULES, Finding

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
POLICIES = PAGE.read_text("utf-8").partition("\n## Policies\n")[2].partition("\n## ")[0]
HEAD = "version: 1\nname: mine\n"  # two lines
TODAY = date(2026, 3, 1)
SHA = "a" * 64
OTHER = "b" * 64


@pytest.fixture
def write(tmp_path):
    def write(body, head=HEAD):
        path = tmp_path / "my.yaml"
        path.write_text(head + body)
        return path

    return write


def refusal(source):
    with pytest.raises(UsageError) as caught:
        policy.load(source)
    return str(caught.value)


def problems(source):
    """The lines of a refusal, without the file's folder."""
    return [line.removeprefix(f"{source.parent}{os.sep}") for line in refusal(source).split("\n")]


def made(**sections):
    return policy.Policy.model_validate({"version": 1, "name": "mine"} | sections)


def suppression(rule="CC002", expires=TODAY, **match):
    meant = match or {"model_sha256": SHA}
    return {"rule": rule, "reason": "Known.", "by": "Ann", "expires": expires.isoformat(), "match": meant}


def finding(rule="CC002", level="error", **more):
    numbers = {"measure": "excess ASR", "value": 0.5, "interval": [0.4, 0.6], "n": 100, "threshold": 0.3}
    return Finding.model_validate({"rule": rule, "level": level, **numbers, "message": "Told.", **more})


def applied(findings, *, by_shipped=None, model_sha256=SHA, **sections):
    shipped = findings if by_shipped is None else by_shipped
    return policy.apply(made(**sections), findings, by_shipped=shipped, today=TODAY, model_sha256=model_sha256)


def codes(findings):
    return [(each.rule, each.level) for each in findings]


# Reading files.


def test_a_file_that_states_little_overrides_nothing(write):
    loaded = policy.load(write(""))
    assert loaded.model_copy(update={"name": "default"}) == policy.DEFAULT
    assert policy.load(str(write(""))) == loaded


def test_every_section_is_read(write):
    loaded = policy.load(
        write(
            "thresholds: {max_excess: 0.1, abnormality: 4}\nseverities: {CC002: off, CC030: error}\nsuppressions:\n"
            f"  - {{rule: CC001, reason: Known., by: Ann, expires: 2026-03-01, match: {{class: cat, model_sha256: {SHA}}}}}\n"
        )
    )
    assert (loaded.thresholds.max_excess, loaded.thresholds.collapse, loaded.thresholds.abnormality) == (0.1, None, 4.0)
    assert (loaded.severities.CC002, loaded.severities.CC030, loaded.severities.CC001) == ("off", "error", None)
    (accepted,) = loaded.suppressions
    assert (accepted.rule, accepted.reason, accepted.by, accepted.expires) == (
        "CC001",
        "Known.",
        "Ann",
        date(2026, 3, 1),
    )
    assert (accepted.match.class_, accepted.match.trigger, accepted.match.model_sha256) == ("cat", None, SHA)


def test_a_policy_is_frozen_to_the_bottom():
    loaded = made(suppressions=[suppression()])
    with pytest.raises(ValidationError, match="frozen"):
        loaded.severities.CC001 = "off"
    hash(loaded)


@each(
    ("body", "line", "told"),
    [
        ("threshold: {}\n", 3, "threshold: unknown key; did you mean 'thresholds'?"),
        ("max_excess: 0.1\n", 3, "max_excess: unknown key; did you mean 'thresholds.max_excess'?"),
        ("thresholds:\n  collapsed: 1\n", 4, "thresholds.collapsed: unknown key; did you mean 'collapse'?"),
        ("thresholds: {max_excess: 5%}\n", 3, "(a share between 0 and 1)"),
        ("thresholds: {max_excess: 5}\n", 3, "5 should be less than or equal to 1 (a share between 0 and 1)"),
        ("thresholds: {max_excess: 0}\n", 3, "0 should be greater than 0"),
        ("thresholds: {max_accuracy_loss: 2}\n", 3, "0.02 is two percentage points)"),
        ("thresholds: {min_images: 0.5}\n", 3, "0.5 should be a valid integer (a count of images)"),
        ("thresholds: {abnormality: 0}\n", 3, "0 should be greater than 0"),
        ("thresholds: {abnormality: .inf}\n", 3, "should be a finite number"),
        ("thresholds: {abnormality: null}\n", 3, "null should be a valid number"),
        ("thresholds:\n", 3, "thresholds: found null, expected the keys max_excess, "),
        ("thresholds: {collapse: 0.5}\nthresholds: {}\n", 4, "thresholds: given twice; first in line 3"),
        ("severities: {CC999: error}\n", 3, "severities.CC999: unknown key; known here: CC001, CC002, "),
        ("severities: {cc010: error}\n", 3, "severities.cc010: unknown key; did you mean 'CC010'?"),
        ("severities: {CC001: fatal}\n", 3, "'fatal' should be 'error', 'warning', 'note' or 'off'"),
        ("severities: {CC001: false}\n", 3, "false should be 'error', 'warning', 'note' or 'off'"),
        ("severities:\n  CC001: off\n  CC001: error\n", 5, "severities.CC001: given twice; first in line 4"),
        ("severities: &a {CC001: off}\n", 3, "anchors and aliases"),
        ("severities: !!python/name:os.system\n", 3, "tags (!) are refused; a policy holds plain values"),
        ("x: " + "[" * 100 + "]" * 100 + "\n", 3, "more than 12 levels deep, and no policy is"),
        ("suppressions: {}\n", 3, "suppressions: a section should be a valid tuple"),
        (
            "suppressions: [CC002]\n",
            3,
            "suppressions.0: found 'CC002', expected the keys rule, reason, by, expires, match",
        ),
    ],
)
def test_what_no_policy_holds_is_refused_with_its_line(write, body, line, told):
    message = problems(write(body))[0]
    assert message.startswith(f"my.yaml:{line}: ")
    assert told in message


@each(
    ("wrong", "told"),
    [
        ({"rule": "CC999"}, "suppressions.0.rule: 'CC999' is no rule; known: CC001, "),
        ({"rule": "CC02"}, "is no rule; did you mean 'CC0"),
        ({"rule": "cc002"}, "'cc002' is no rule; did you mean 'CC002'?"),
        ({"rule": "C{x}"}, "'C{x}' is no rule; known: "),
        ({"reason": ""}, "suppressions.0.reason: '' should have at least 1 character"),
        ({"reason": " "}, "' ' says nothing; write it in letters"),
        ({"reason": "\u2800"}, "says nothing; write it in letters"),
        ({"reason": "\u200b"}, "says nothing; write it in letters"),
        ({"reason": "--."}, "'--.' says nothing; write it in letters"),
        ({"by": "\u2800"}, "says nothing; write it in letters"),
        ({"expires": "31.1.2027"}, "suppressions.0.expires: '31.1.2027' should be a day, as in 2030-01-31"),
        ({"expires": "2027-02-29"}, "'2027-02-29' should be a day"),
        ({"expires": "20270131"}, "'20270131' should be a day, as in 2030-01-31"),
        ({"expires": 20270131}, "20270131 should be a day"),
        ({"expires": "2027-01-31T00:00:00"}, "should be a day"),
        ({"expires": None}, "null should be a day"),
        ({"match": None}, "suppressions.0.match: found null, expected the keys class, trigger, model_sha256"),
        ({"match": {}}, "should name a class or a model_sha256"),
        ({"match": {"trigger": "warp"}}, "should name a class or a model_sha256"),
        ({"match": {"class_": "x"}}, "unknown key; did you mean 'class'?"),
        ({"match": {"model_sha256": "A" * 64}}, "should match pattern '^[0-9a-f]{64}$'"),
    ],
)
def test_half_a_suppression_is_refused(write, wrong, told):
    entry = suppression() | wrong
    (message,) = problems(write(f"suppressions: {json.dumps([entry])}\n"))
    assert message.startswith("my.yaml:3: ")
    assert told in message


@pytest.mark.parametrize("key", ["rule", "reason", "by", "expires", "match"])
def test_a_suppression_needs_a_rule_a_reason_a_name_a_day_and_what_is_meant(write, key):
    entry = suppression()
    del entry[key]
    (message,) = problems(write(f"suppressions: {json.dumps([entry])}\n"))
    assert message.startswith(f"my.yaml:3: suppressions.0.{key}: missing (")


@each("code", sorted(policy.EVIDENCE))
@each("level", ["note", "off"])
def test_too_little_evidence_cannot_be_made_a_pass(write, code, level):
    assert problems(write(f"severities: {{{code}: {level}}}\n")) == [
        f"my.yaml:3: severities.{code}: '{level}' should be 'error' or 'warning' (too little evidence is never pass)"
    ]
    (message,) = problems(write(f"suppressions: {json.dumps([suppression(code)])}\n"))
    assert message.endswith(f"'{code}' cannot be suppressed: too little evidence is never pass")


@each("code", sorted(policy.EVIDENCE))
@each("level", ["error", "warning"])
def test_too_little_evidence_can_be_made_a_failure(write, code, level):
    assert getattr(policy.load(write(f"severities: {{{code}: {level}}}\n")).severities, code) == level


@pytest.mark.parametrize("code", ["CC050", "CC051", "CC052"])
def test_what_a_policy_did_cannot_be_hidden(write, code):
    assert "(suppressions are always reported)" in refusal(write(f"severities: {{{code}: off}}\n"))
    assert "suppressions are always reported" in refusal(write(f"suppressions: {json.dumps([suppression(code)])}\n"))
    assert policy.load(write(f"severities: {{{code}: error}}\n"))


def test_a_limit_that_lets_a_suspect_pass_unchanged_is_refused(write):
    (message,) = problems(write("thresholds:\n  max_excess: 0.4\n  suspicious_excess: 0.3\n"))
    assert message.startswith("my.yaml:4: thresholds.max_excess: 0.4 is more than suspicious_excess, 0.3: ")
    assert policy.load(write("thresholds: {max_excess: 0.3, suspicious_excess: 0.3}\n"))


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    assert refusal(tmp_path / "none.yaml") == f"There is no policy file {tmp_path / 'none.yaml'}. Name a YAML file."
    assert refusal(tmp_path) == f"{tmp_path} is a folder or a device, not a policy file. Name a YAML file."
    assert "Cannot read the policy" in refusal("x" * 10_000)
    (tmp_path / "long.yaml").write_text("#" * 1_000_001)
    assert "more than 1,000,000 bytes, and no policy is that long" in refusal(tmp_path / "long.yaml")


def test_control_characters_from_a_policy_never_reach_a_message(write, tmp_path):
    assert "\x1b" not in refusal(write('"\\e[2J": 1\nseverities: {CC001: "\\e[2J"}\n'))
    assert "\x1b" not in refusal(tmp_path / "\x1b[2J")


# The schema, and the page.


def test_every_key_has_a_description_and_every_value_a_unit():
    schema = policy.Policy.model_json_schema()
    for section in (schema, *schema["$defs"].values()):
        for name, entry in section["properties"].items():
            assert entry["description"].endswith("."), name
            assert entry["unit"], name


def test_a_severity_can_be_given_to_every_rule_and_to_nothing_else():
    assert list(policy.Severities.model_fields) == list(RULES)
    assert set(RULES) >= policy.EVIDENCE | {"CC050", "CC051", "CC052"}


def test_the_recipes_thresholds_keep_their_bounds_and_their_meaning():
    """What a policy overrides has one definition: bounds, unit and description are those of the recipe."""
    inner = {"anyOf", "default", "title"}
    ours = policy.Policy.model_json_schema()["$defs"]["Thresholds"]["properties"]
    shared = set(ours) & set(thresholds.Audit.model_fields)
    assert shared == {"max_excess", "suspicious_excess", "collapse", "max_accuracy_loss", "min_images"}
    for name in shared:
        theirs = dict(recipe.schema()["$defs"]["Audit"]["properties"][name])
        flat = {key: value for key, value in ours[name].items() if key not in inner} | ours[name]["anyOf"][0]
        assert flat == {key: value for key, value in theirs.items() if key not in inner}


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", POLICIES, re.MULTILINE | re.DOTALL)


def test_the_pages_example_is_a_policy(write):
    example, _ = blocks("yaml")
    loaded = policy.load(write(example, head=""))
    assert (loaded.name, len(loaded.suppressions), loaded.severities.CC051) == ("production", 1, "error")


def test_the_refused_policy_is_refused_as_the_page_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("policy.yaml").write_text(blocks("yaml")[1])
    assert refusal("policy.yaml") == blocks("text")[0].rstrip("\n")


# Thresholds.


def test_without_a_policy_the_recipes_thresholds_hold_and_the_searchs_are_these():
    assert policy.resolved(policy.DEFAULT, thresholds.Audit()) == thresholds.AuditLimits(
        max_excess=0.05,
        suspicious_excess=0.3,
        collapse=0.5,
        max_accuracy_loss=0.02,
        min_images=50,
        abnormality=3.5,
        gathering=0.6,
        min_found_excess=0.6,
    )


def test_the_policys_thresholds_win_and_the_others_are_the_recipes():
    own = made(thresholds={"max_excess": 0.2, "max_accuracy_loss": 0.0, "abnormality": 5.0})
    held = policy.resolved(own, thresholds.Audit(max_excess=0.1, collapse=0.4, max_accuracy_loss=0.1))
    assert (held.max_excess, held.collapse, held.max_accuracy_loss, held.abnormality) == (0.2, 0.4, 0.0, 5.0)


def test_a_policy_that_contradicts_the_recipe_is_refused_and_a_recipe_alone_is_not():
    with pytest.raises(
        UsageError, match=r"^policy mine, with the recipe's audit section: thresholds\.max_excess: 0\.4 "
    ):
        policy.resolved(made(thresholds={"max_excess": 0.4}), thresholds.Audit())
    assert policy.resolved(policy.DEFAULT, thresholds.Audit(max_excess=0.4)).max_excess == 0.4


# Findings.


def test_the_default_policy_changes_nothing():
    findings = [finding(code, level) for code in RULES for level in ("error", "warning", "note")]
    assert policy.apply(policy.DEFAULT, findings, by_shipped=findings, today=TODAY, model_sha256=SHA) == (
        findings,
        [],
        "fail",
    )


def test_a_severity_is_the_level_of_every_finding_of_its_rule():
    given_ = [finding("CC002", "error"), finding("CC002", "warning"), finding("CC010", "note")]
    assert codes(applied(given_, severities={"CC002": "note"}).findings) == [
        ("CC002", "note"),
        ("CC002", "note"),
        ("CC010", "note"),
    ]
    assert codes(applied(given_, severities={"CC002": "error"}).findings)[:2] == [("CC002", "error")] * 2
    assert codes(given_) == [("CC002", "error"), ("CC002", "warning"), ("CC010", "note")]  # not changed in place


def test_a_finding_that_is_off_leaves_a_trace():
    findings, suppressed, _ = applied([finding("CC010"), finding("CC001")], severities={"CC010": "off"})
    assert codes(findings) == [("CC001", "error"), ("CC050", "note")]
    assert [(each.rule, each.reason, each.by, each.expires) for each in suppressed] == [
        ("CC010", "policy mine turns CC010 off", "policy mine", None)
    ]


def test_a_suppressed_finding_is_set_aside_with_reason_and_day_and_counted():
    given_ = [finding(), finding("CC001"), finding(level="warning")]
    findings, suppressed, _ = applied(given_, suppressions=[suppression()])
    assert codes(findings) == [("CC001", "error"), ("CC050", "note")]
    aside = {"reason": "Known.", "by": "Ann", "expires": "2026-03-01"}
    assert [each.model_dump(exclude_unset=True) for each in suppressed] == [
        each.model_dump(exclude_unset=True) | aside for each in (given_[0], given_[2])
    ]
    assert "sets 2 findings aside: CC002 (2)." in findings[-1].message
    assert findings[-1].model_fields_set == finding().model_fields_set  # what the report requires


@each(
    ("match", "found", "is_meant"),
    [
        ({"class": "cat"}, {"class": "cat"}, True),
        ({"class": "cat"}, {"target": "cat"}, True),
        ({"class": "cat"}, {"class": "dog", "target": "cat"}, False),
        ({"class": "cat"}, {"class": "Cat"}, False),
        ({"class": "cat"}, {}, False),
        ({"trigger": "patch:size=0.1", "model_sha256": SHA}, {"trigger": "patch:size=0.1"}, True),
        ({"trigger": "patch", "model_sha256": SHA}, {"trigger": "patch:size=0.1"}, False),
        ({"trigger": "patch", "model_sha256": SHA}, {}, False),
        ({"model_sha256": SHA}, {}, True),
        ({"model_sha256": OTHER}, {}, False),
        ({"class": "cat", "trigger": "warp"}, {"class": "cat", "trigger": "warp"}, True),
        ({"class": "cat", "trigger": "warp"}, {"class": "cat", "trigger": "sig"}, False),
        ({"class": "cat", "model_sha256": OTHER}, {"class": "cat"}, False),
    ],
)
def test_a_suppression_takes_what_has_all_that_it_names(match, found, is_meant):
    _, suppressed, _ = applied([finding(**found)], suppressions=[suppression(**match)])
    assert bool(suppressed) is is_meant


def test_a_suppression_holds_through_its_last_day_and_is_named_from_the_next():
    on_the_day = applied([finding()], suppressions=[suppression(expires=TODAY)])
    assert (codes(on_the_day.findings), len(on_the_day.suppressed)) == ([("CC050", "note")], 1)
    yesterday = TODAY - timedelta(days=1)
    later = applied(
        [finding()], suppressions=[suppression(expires=yesterday, **{"class": "cat"}), suppression("CC001")]
    )
    assert later.suppressed == []
    assert codes(later.findings) == [("CC002", "error"), ("CC051", "warning")]
    assert later.findings[-1].message == (
        "The suppression of CC002, class 'cat' expired on 2026-02-28 and has no effect. Its reason was: Known."
    )


def test_severities_reach_what_is_said_about_suppressions():
    old = suppression("CC001", expires=date(2025, 1, 1))
    both = applied([finding()], suppressions=[suppression(), old], severities={"CC050": "error", "CC051": "note"})
    assert codes(both.findings) == [("CC051", "note"), ("CC050", "error")]


def test_a_suppression_says_more_than_off_and_so_comes_first():
    _, (one,), _ = applied([finding()], suppressions=[suppression()], severities={"CC002": "off"})
    assert one.reason == "Known."


@given(
    st.lists(st.tuples(st.sampled_from(sorted(RULES)), st.sampled_from(["error", "warning", "note"]))),
    st.dictionaries(st.sampled_from(["CC001", "CC002", "CC030"]), st.sampled_from(["error", "warning", "note", "off"])),
    st.lists(st.sampled_from(["CC001", "CC003", "CC040"])),
)
def test_no_finding_is_lost_and_none_is_told_twice(found, levels, accepted):
    given_ = [finding(code, level, id=place) for place, (code, level) in enumerate(found)]
    result = applied(given_, severities=levels, suppressions=[suppression(code) for code in accepted])
    places = [each.id for each in result.findings if hasattr(each, "id")]
    aside = [each.id for each in result.suppressed]
    assert sorted(places + aside) == list(range(len(found)))
    assert places == sorted(places)
    assert aside == sorted(aside)
    assert [each.rule for each in result.findings if not hasattr(each, "id")] == ["CC050"] * bool(aside)


# The verdict.

OPEN = {"CC001", "CC002", "CC003", "CC004", "CC005", "CC020", "CC021", "CC022", "CC023", "CC024"}
OPEN |= {"CC006", "CC007", "CC008", "CC010", "CC060", "CC061", "CC062", "CC063", "CC065"}


def test_nothing_found_and_notes_alone_pass():
    assert policy.verdict([]) == "pass"
    assert policy.verdict([finding(code, "note") for code in RULES]) == "pass"


@each("code", [*RULES, "CC999"])
def test_any_error_fails_whatever_else_is_said(code):
    assert policy.verdict([finding("CC020", "warning"), finding(code, "error"), finding("CC040", "note")]) == "fail"


@each("code", RULES)
def test_a_warning_about_triggers_accuracy_or_evidence_leaves_the_question_open(code):
    assert policy.verdict([finding(code, "warning")]) == ("inconclusive" if code in OPEN else "pass")


def test_a_warning_of_an_unknown_rule_is_no_pass():
    assert policy.verdict([finding("CC999", "warning")]) == "inconclusive"


@each("code", sorted(policy.EVIDENCE))
def test_no_policy_makes_a_pass_of_too_little_evidence(code):
    given_ = [finding(code, "warning")]
    for level in ("error", "warning", None):
        assert policy.verdict(applied(given_, severities={code: level}).findings) != "pass"


@pytest.mark.parametrize(
    "sections", [{"suppressions": [suppression()]}, {"severities": {"CC002": "off"}}, {"severities": {"CC002": "note"}}]
)
def test_the_verdict_without_the_policy_is_kept(sections):
    lenient = applied([finding()], **sections)
    assert (policy.verdict(lenient.findings), lenient.without) == ("pass", "fail")
    limits = policy.resolved(policy.DEFAULT, thresholds.Audit())
    assert policy.record(made(**sections), limits, lenient).verdict_without == "fail"


def test_a_suppressed_failure_passes_and_an_expired_one_fails_again():
    for day, word in ((TODAY, "pass"), (TODAY - timedelta(days=1), "fail")):
        assert policy.verdict(applied([finding()], suppressions=[suppression(expires=day)]).findings) == word


# The digest.


def test_the_digest_is_the_sha256_of_what_the_policy_sets_as_sorted_compact_json(write):
    loaded = policy.load(
        write(f"severities: {{CC001: off}}\nsuppressions: {json.dumps([suppression(**{'class': 'é'})])}\n")
    )
    text = (
        '{"name":"mine","severities":{"CC001":"off"},"suppressions":[{"by":"Ann","expires":"2026-03-01","match":{"class":"\\u00e9"},'
        '"reason":"Known.","rule":"CC002"}],"thresholds":{"abnormality":3.5,"gathering":0.6,"min_found_excess":0.6},'
        '"version":1}'
    )
    assert policy.digest(loaded) == hashlib.sha256(text.encode()).hexdigest()


def test_the_digest_tells_gates_apart_and_ignores_comments_and_order(write):
    one = policy.digest(policy.load(write("severities: {CC001: off, CC002: note} # so\nthresholds: {collapse: 0.4}\n")))
    assert one == policy.digest(
        policy.load(write("thresholds: {collapse: .4}\nseverities: {CC002: note, CC001: off}\n"))
    )
    assert one != policy.digest(
        policy.load(write("severities: {CC001: off, CC002: off}\nthresholds: {collapse: 0.4}\n"))
    )


def test_a_policy_survives_a_round_trip_through_its_own_json(tmp_path):
    policy_ = made(
        thresholds={"collapse": 0.4},
        severities={"CC001": "off"},
        suppressions=[suppression(trigger="warp", model_sha256=SHA)],
    )
    (tmp_path / "again.yaml").write_text(policy_.model_dump_json(by_alias=True))
    assert policy.load(tmp_path / "again.yaml") == policy_


# Limits that a policy loosens, and rules that --ignore sets aside.


@each(
    ("limits", "looser"),
    [
        ({"abnormality": 100.0}, True),
        ({"abnormality": 3.0}, False),
        ({"min_images": 2}, True),
        ({"min_images": 500}, False),
        ({"gathering": 0.1}, True),
        ({"max_excess": 0.2, "suspicious_excess": 0.3}, True),
        ({}, False),
    ],
)
def test_a_limit_that_is_looser_than_the_shipped_one_is_told(limits, looser):
    told = applied([], thresholds=limits).findings
    assert codes(told) == ([("CC052", "note")] if looser else [])
    assert all(key in told[0].message for key in limits if looser and key != "suspicious_excess")


def test_the_verdict_without_a_policy_is_that_of_the_shipped_limits():
    assert applied([], by_shipped=[finding()], thresholds={"abnormality": 100}).without == "fail"


def test_ignored_rules_are_set_aside_and_told():
    found = policy.apply(policy.ignoring(["CC002"]), [finding()], by_shipped=[finding()], today=TODAY, model_sha256=SHA)
    assert codes(found.findings) == [("CC050", "note")]
    assert [(each.rule, each.by, each.expires) for each in found.suppressed] == [("CC002", "--ignore", None)]
    assert found.without == "fail"


@each("code", ["CC999", "CC004", "CC050"])
def test_what_is_no_rule_or_cannot_be_set_aside_is_no_rule_to_ignore(code):
    with pytest.raises(UsageError, match=f"--ignore: '{code}'"):
        policy.ignoring(["CC002", code])
