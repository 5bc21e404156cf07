import hashlib
import json
from datetime import date, timedelta
from functools import partial

import pytest
import yaml_faults
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from clipclean.config import policy, recipe, thresholds
from clipclean.errors import UsageError
from clipclean.findings import RULES, Finding

HEAD = "version: 1\nname: mine\n"  # two lines
TODAY = date(2026, 3, 1)
SHA = "a" * 64
OTHER = "b" * 64
problems = partial(yaml_faults.problems, policy.load)


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


def test_a_short_file_overrides_nothing(write):
    loaded = policy.load(write(""))
    assert loaded.model_copy(update={"name": "default"}) == policy.DEFAULT_POLICY
    assert policy.load(str(write(""))) == loaded


def test_a_policy_is_frozen():
    own = made(suppressions=[suppression()])
    with pytest.raises(ValidationError, match="frozen"):
        own.severities.CC001 = "off"
    hash(own)


def test_the_digest_is_that_of_sorted_compact_json(write):
    aside = json.dumps([suppression(**{"class": "é"})])
    loaded = policy.load(write(f"severities: {{CC001: off}}\nsuppressions: {aside}\n"))
    text = (
        '{"name":"mine","severities":{"CC001":"off"},"suppressions":[{"by":"Ann","expires":"2026-03-01","match":{"class":"\\u00e9"},'
        '"reason":"Known.","rule":"CC002"}],"thresholds":{"doubt_rate":0.05,"false_alarm_rate":0.01,"gathering":0.6,"min_found_excess":0.6},'
        '"version":1}'
    )
    assert policy.digest(loaded) == hashlib.sha256(text.encode()).hexdigest()


def of_every_section():
    return made(
        thresholds={"max_excess": 0.1, "false_alarm_rate": 0.01},
        severities={"CC002": "off", "CC030": "error"},
        suppressions=[suppression("CC001", **{"class": "cat", "trigger": "warp", "model_sha256": SHA})],
    )


def test_every_section_is_read(write):
    body = "thresholds: {max_excess: 0.1, false_alarm_rate: 0.01}\nseverities: {CC002: off, CC030: error}\n"
    body += "suppressions:\n  - {rule: CC001, reason: Known., by: Ann, expires: 2026-03-01,\n"
    body += f"     match: {{class: cat, trigger: warp, model_sha256: {SHA}}}}}\n"
    assert policy.load(write(body)) == of_every_section()


def test_what_a_section_does_not_name_is_not_overridden():
    own = of_every_section()
    assert (own.thresholds.collapse, own.severities.CC001) == (None, None)


def test_a_policy_survives_its_own_json(tmp_path):
    (tmp_path / "again.yaml").write_text(of_every_section().model_dump_json(by_alias=True))
    assert policy.load(tmp_path / "again.yaml") == of_every_section()


HALF = {  # values of a suppression's keys that are none; without each it is half a suppression, too
    "rule": ("CC999", "CC02", "cc002", "C{x}"),
    "reason": ("", " ", "\u2800", "\u200b", "--."),
    "by": ("\u2800",),
    "expires": ("31.1.2027", "2027-02-29", "20270131", 20270131, "2027-01-31T00:00:00", None),
    "match": (None, {}, {"trigger": "warp"}, {"class_": "x"}, {"model_sha256": "A" * 64}),
}


def half(key, value):
    """A list of one suppression in which a key has this value, or is missing."""
    entry = suppression() | {key: value}
    kept = {name: told for name, told in entry.items() if told is not ...}
    return f"suppressions: {json.dumps([kept])}\n", 3, f"suppressions.0.{key}"


@pytest.mark.parametrize(
    ("body", "line", "named"),
    [
        ("max_excess: 0.1\n", 3, "'thresholds.max_excess'"),
        *((f"thresholds: {{max_excess: {value}}}\n", 3, "thresholds.max_excess") for value in ("5%", "5", "0")),
        *((f"thresholds: {{false_alarm_rate: {rate}}}\n", 3, "false_alarm_rate") for rate in ("0", ".06", "null")),
        ("thresholds:\n", 3, "max_excess"),
        ("thresholds:\n  max_excess: 0.4\n  suspicious_excess: 0.3\n", 4, "thresholds.max_excess: 0.4"),
        ("severities: {CC999: error}\n", 3, "severities.CC999"),
        ("severities: {cc010: error}\n", 3, "'CC010'"),
        ("severities: {CC001: fatal}\n", 3, "'fatal'"),
        ("severities: {CC001: false}\n", 3, "severities.CC001: false"),
        ("suppressions: [CC002]\n", 3, "suppressions.0"),
        *(half(key, value) for key, values in HALF.items() for value in (*values, ...)),
    ],
)
def test_what_no_policy_holds_is_refused_with_its_line(write, body, line, named):
    message = problems(write(body))[0]
    assert message.startswith(f"my.yaml:{line}: ")
    assert named in message
    assert message.isprintable()


# Rules of too little evidence, and of what a policy did: a policy may not hide them.
GUARDS = [*sorted(policy.EVIDENCE_RULES), "CC050", "CC051", "CC052"]


@pytest.mark.parametrize("code", GUARDS)
def test_a_guarding_rule_takes_only_levels_that_hide_nothing(write, code):
    refused = ("note", "off") if code in policy.EVIDENCE_RULES else ("off",)
    for level in refused:
        (message,) = problems(write(f"severities: {{{code}: {level}}}\n"))
        assert message.startswith(f"my.yaml:3: severities.{code}: '{level}'")
    for level in {"error", "warning", "note"} - {*refused}:
        assert getattr(policy.load(write(f"severities: {{{code}: {level}}}\n")).severities, code) == level


@pytest.mark.parametrize("code", GUARDS)
def test_a_guarding_rule_cannot_be_suppressed(write, code):
    (message,) = problems(write(f"suppressions: {json.dumps([suppression(code)])}\n"))
    assert f"'{code}'" in message


@pytest.mark.parametrize("code", GUARDS)
def test_a_guarding_rule_cannot_be_ignored(code):
    with pytest.raises(UsageError, match=f"--ignore: '{code}'"):
        policy.ignoring(["CC002", code])


def test_an_unknown_rule_cannot_be_ignored():
    with pytest.raises(UsageError, match="--ignore: 'CC999'"):
        policy.ignoring(["CC002", "CC999"])


# The schema.


def test_every_key_is_explained():
    assert yaml_faults.unexplained(policy.Policy.model_json_schema()) == []


def test_every_rule_has_a_severity():
    assert list(policy.Severities.model_fields) == list(RULES)


def test_every_guarding_rule_is_known():
    assert set(RULES) >= {*GUARDS}


def test_a_threshold_of_a_recipe_is_defined_as_there():
    # What a policy overrides has one definition: bounds, unit and description are those of the recipe.
    inner = {"anyOf", "default", "title"}
    ours = policy.Policy.model_json_schema()["$defs"]["Thresholds"]["properties"]
    shared = set(ours) & set(thresholds.Audit.model_fields)
    assert shared == {"max_excess", "suspicious_excess", "collapse", "max_accuracy_loss", "min_images"}
    for name in shared:
        theirs = dict(recipe.schema()["$defs"]["Audit"]["properties"][name])
        flat = {key: value for key, value in ours[name].items() if key not in inner} | ours[name]["anyOf"][0]
        assert flat == {key: value for key, value in theirs.items() if key not in inner}


# Thresholds.


def test_the_default_policy_leaves_the_shipped_thresholds():
    of_recipe = {"max_excess": 0.05, "suspicious_excess": 0.3, "collapse": 0.5}
    of_recipe |= {"max_accuracy_loss": 0.02, "min_images": 50}
    of_search = {"false_alarm_rate": 0.01, "doubt_rate": 0.05, "gathering": 0.6, "min_found_excess": 0.6}
    shipped = thresholds.AuditLimits(**of_recipe, **of_search)
    assert policy.resolved(policy.DEFAULT_POLICY, thresholds.Audit()) == shipped


def test_a_policys_thresholds_win_over_the_recipes():
    own = made(thresholds={"max_excess": 0.2, "max_accuracy_loss": 0.0, "false_alarm_rate": 0.001})
    limits = policy.resolved(own, thresholds.Audit(max_excess=0.1, collapse=0.4, max_accuracy_loss=0.1))
    assert (limits.max_excess, limits.collapse) == (0.2, 0.4)
    assert (limits.max_accuracy_loss, limits.false_alarm_rate) == (0.0, 0.001)


def test_a_threshold_of_a_policy_that_contradicts_the_recipes_is_refused():
    with pytest.raises(UsageError, match=r"policy mine.*thresholds\.max_excess: 0\.4 "):
        policy.resolved(made(thresholds={"max_excess": 0.4}), thresholds.Audit())


def test_a_recipe_is_not_refused_for_its_own_thresholds():
    assert policy.resolved(policy.DEFAULT_POLICY, thresholds.Audit(max_excess=0.4)).max_excess == 0.4


# Findings.


def test_the_default_policy_changes_nothing():
    findings = [finding(code, level) for code in RULES for level in ("error", "warning", "note")]
    outcome = policy.apply(policy.DEFAULT_POLICY, findings, by_shipped=findings, today=TODAY, model_sha256=SHA)
    assert outcome == (findings, [], "fail", [])


def ignored():
    """What comes of an error of a rule that is ignored."""
    findings, own = [finding()], policy.ignoring(["CC002"])
    return policy.apply(own, findings, by_shipped=findings, today=TODAY, model_sha256=SHA)


def test_an_ignored_rule_is_set_aside():
    outcome = ignored()
    assert codes(outcome.findings) == [("CC050", "note")]
    assert [(each.rule, each.by, each.expires) for each in outcome.suppressed] == [("CC002", "--ignore", None)]


def test_the_verdict_without_ignoring_is_recorded():
    outcome = ignored()
    assert outcome.without == "fail"
    limits = policy.resolved(policy.DEFAULT_POLICY, thresholds.Audit())
    assert policy.record(policy.ignoring(["CC002"]), limits, outcome).verdict_without == "fail"


@pytest.mark.parametrize("level", ["note", "error"])
def test_a_severity_is_the_level_of_every_finding_of_its_rule(level):
    given_ = [finding("CC002", "error"), finding("CC002", "warning"), finding("CC010", "note")]
    found = applied(given_, severities={"CC002": level})
    assert [each.level for each in found.findings] == [level, level, "note"]
    assert (policy.verdict(found.findings), found.without) == ("fail" if level == "error" else "pass", "fail")
    assert codes(given_) == [("CC002", "error"), ("CC002", "warning"), ("CC010", "note")]  # not changed in place


def test_a_rule_that_is_off_is_set_aside_by_name_of_the_policy():
    findings, (aside,), *_ = applied([finding("CC010"), finding("CC001")], severities={"CC010": "off"})
    assert codes(findings) == [("CC001", "error"), ("CC050", "note")]
    assert (aside.rule, "mine" in aside.reason, aside.expires) == ("CC010", True, None)


def test_what_is_set_aside_leaves_a_trace():
    before = [finding(), finding("CC001"), finding(level="warning")]
    findings, suppressed, without, _ = applied(before, suppressions=[suppression()], severities={"CC002": "off"})
    assert (codes(findings), without) == ([("CC001", "error"), ("CC050", "note")], "fail")
    trace = {"reason": "Known.", "by": "Ann", "expires": "2026-03-01"}  # more than off says
    expected = [each.model_dump(exclude_unset=True) | trace for each in (before[0], before[2])]
    assert [each.model_dump(exclude_unset=True) for each in suppressed] == expected
    assert all(word in findings[-1].message for word in ("2", "CC002"))
    assert findings[-1].model_fields_set == finding().model_fields_set  # what the report requires


@pytest.mark.parametrize(
    ("match", "found", "is_meant"),
    [
        ({"class": "cat"}, {"class": "cat"}, True),
        ({"class": "cat"}, {"target": "cat"}, True),
        ({"class": "cat"}, {"class": "dog", "target": "cat"}, False),
        ({"class": "cat"}, {"class": "Cat"}, False),
        ({"trigger": "patch:size=0.1", "model_sha256": SHA}, {"trigger": "patch:size=0.1"}, True),
        ({"trigger": "patch", "model_sha256": SHA}, {"trigger": "patch:size=0.1"}, False),
        ({"model_sha256": SHA}, {}, True),
        ({"model_sha256": OTHER}, {}, False),
        ({"class": "cat", "trigger": "warp"}, {"class": "cat", "trigger": "sig"}, False),
    ],
)
def test_a_suppression_takes_what_has_all_that_it_names(match, found, is_meant):
    _, suppressed, *_ = applied([finding(**found)], suppressions=[suppression(**match)])
    assert bool(suppressed) is is_meant


def test_a_suppression_holds_through_its_last_day():
    on_the_day = applied([finding()], suppressions=[suppression(expires=TODAY)])
    assert (codes(on_the_day.findings), len(on_the_day.suppressed)) == ([("CC050", "note")], 1)


def test_an_expired_suppression_is_named_from_the_next_day():
    yesterday = TODAY - timedelta(days=1)
    old = suppression(expires=yesterday, **{"class": "cat"})
    later = applied([finding()], suppressions=[old, suppression("CC001")])
    assert later.suppressed == []
    assert codes(later.findings) == [("CC002", "error"), ("CC051", "warning")]
    assert all(word in later.findings[-1].message for word in ("CC002", "'cat'", "2026-02-28", "Known."))


def test_severities_reach_what_tells_of_suppressions():
    old = suppression("CC001", expires=date(2025, 1, 1))
    both = applied([finding()], suppressions=[suppression(), old], severities={"CC050": "error", "CC051": "note"})
    assert codes(both.findings) == [("CC051", "note"), ("CC050", "error")]


@given(
    st.lists(st.tuples(st.sampled_from(sorted(RULES)), st.sampled_from(["error", "warning", "note"]))),
    st.dictionaries(st.sampled_from(["CC001", "CC002", "CC030"]), st.sampled_from(["error", "warning", "note", "off"])),
    st.lists(st.sampled_from(["CC001", "CC003", "CC040"])),
)
def test_every_finding_is_told_once(rules, levels, accepted):
    findings = [finding(code, level, id=place) for place, (code, level) in enumerate(rules)]
    result = applied(findings, severities=levels, suppressions=[suppression(code) for code in accepted])
    places = [each.id for each in result.findings if hasattr(each, "id")]
    aside = [each.id for each in result.suppressed]
    assert sorted(places + aside) == list(range(len(findings)))
    assert places == sorted(places)
    assert aside == sorted(aside)
    assert [each.rule for each in result.findings if not hasattr(each, "id")] == ["CC050"] * bool(aside)


# The verdict.

OPEN = {
    "CC001",
    "CC002",
    "CC003",
    "CC004",
    "CC005",
    "CC020",
    "CC021",
    "CC022",
    "CC023",
    "CC024",
    "CC025",
    "CC026",
    "CC027",
    "CC028",
    "CC034",
}
OPEN |= {"CC006", "CC007", "CC008", "CC009", "CC010", "CC060", "CC061", "CC062", "CC063", "CC065"}


@pytest.mark.parametrize("code", [*RULES, "CC999"])
def test_any_error_fails(code):
    assert policy.verdict([finding("CC020", "warning"), finding(code, "error"), finding("CC040", "note")]) == "fail"


@pytest.mark.parametrize("code", [*RULES, "CC999"])
def test_a_warning_of_an_open_rule_is_inconclusive(code):
    is_open = code in OPEN or code == "CC999"  # one that this version does not know
    assert policy.verdict([finding(code, "warning")]) == ("inconclusive" if is_open else "pass")


def test_notes_alone_pass():
    assert policy.verdict([]) == "pass"
    assert policy.verdict([finding(code, "note") for code in RULES]) == "pass"


@pytest.mark.parametrize("level", ["error", "warning", None])
@pytest.mark.parametrize("code", sorted(policy.EVIDENCE_RULES))
def test_no_severity_lets_too_little_evidence_pass(code, level):
    assert policy.verdict(applied([finding(code, "warning")], severities={code: level}).findings) != "pass"


# The base that a policy names.


BASE = "c" * 64


def with_base(*digests, findings=(), **sections):
    return policy.apply(
        made(**sections),
        findings,
        by_shipped=findings,
        today=TODAY,
        model_sha256=SHA,
        base_sha256=frozenset(digests),
    )


@pytest.mark.parametrize("digests", [(), (OTHER,)])
def test_a_policy_that_names_a_base_passes_nothing_beside_another_one_or_none(digests):
    found = with_base(*digests, base_sha256=[BASE])
    assert codes(found.findings) == [("CC028", "warning")]
    assert (policy.verdict(found.findings), found.without) == ("inconclusive", "pass")


def test_a_policy_that_names_a_base_passes_a_finetune_of_it_by_any_of_its_digests():
    found = with_base(OTHER, BASE, base_sha256=[SHA, BASE])
    assert policy.verdict(found.findings) == "pass"
    assert found.idle == []


def test_a_model_that_was_not_finetuned_from_the_base_that_a_policy_names_does_not_pass():
    stranger = finding("CC035", "warning")
    assert policy.verdict(with_base(BASE, findings=[stranger], base_sha256=[BASE]).findings) == "inconclusive"
    silent = with_base(BASE, findings=[stranger], base_sha256=[BASE], severities={"CC035": "off"})
    assert policy.verdict(silent.findings) == "inconclusive"
    assert policy.verdict(with_base(BASE, findings=[stranger]).findings) == "pass"


def test_a_policy_can_fail_what_is_no_finetune_of_its_base():
    found = with_base(base_sha256=[BASE], severities={"CC028": "error"})
    assert policy.verdict(found.findings) == "fail"
    assert with_base(BASE, base_sha256=[BASE], severities={"CC028": "error"}).idle == []


@pytest.mark.parametrize("written", ["[]", "[abc]", f"[{'G' * 64}]", SHA, "{}"])
def test_what_is_no_list_of_digests_is_refused(write, written):
    assert len(problems(write(f"base_sha256: {written}\n"))) == 1


# Limits that a policy loosens, and rules that --ignore sets aside.


@pytest.mark.parametrize(
    ("limits", "looser"),
    [
        ({"false_alarm_rate": 1e-9}, True),
        ({"false_alarm_rate": 0.05}, False),
        ({"doubt_rate": 0.01}, True),
        ({"doubt_rate": 0.2}, False),
        ({"min_images": 2}, True),
        ({"min_images": 500}, False),
        ({"gathering": 0.1}, True),
        ({"collapse": 0.1}, True),
        ({"max_excess": 0.2, "suspicious_excess": 0.3}, True),
        ({}, False),
    ],
)
def test_a_limit_that_is_looser_than_the_shipped_one_is_told(limits, looser):
    assert applied([], by_shipped=[finding()], thresholds=limits).without == "fail"
    told = applied([], thresholds=limits).findings
    assert codes(told) == ([("CC052", "note")] if looser else [])
    assert all(key in told[0].message for key in limits if looser and key != "suspicious_excess")


def test_what_of_a_policy_met_no_finding_is_told():
    found = applied(
        [finding("CC001", **{"class": "cat"})],
        severities={"CC001": "warning", "CC040": "off"},
        suppressions=[suppression("CC001", **{"class": "cat"}), suppression("CC003", **{"class": "dog"})],
    )
    assert [("CC003" in each and "dog" in each) or "CC040" in each for each in found.idle] == [True, True]
    assert policy.record(
        policy.DEFAULT_POLICY, policy.resolved(policy.DEFAULT_POLICY, thresholds.Audit()), found
    ).idle == tuple(found.idle)
