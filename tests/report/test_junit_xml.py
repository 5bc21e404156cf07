from xml.etree import ElementTree

import pytest
from report import samples, searches
from report.parsed import Parsed

from clipclean import report

report = Parsed(report)

REPORTS = [samples.passed, samples.failed, samples.undecided, samples.audited]
REPORTS += [searches.backdoored, searches.calm, searches.doubtful, searches.cleaned, samples.unlearned]


def parsed(made):
    return ElementTree.fromstring(report.junit(made))


def cases(made, kind):
    return [case.get("name") for case in parsed(made).iter("testcase") if case.find(kind) is not None]


def test_a_pass_has_no_failure_and_no_error():
    root = parsed(samples.passed())
    assert (root.get("failures"), root.get("errors")) == ("0", "0")


def test_every_error_is_a_failure_and_so_is_the_verdict():
    failed = cases(samples.failed(), "failure")
    assert failed == [
        "verdict",
        "CC001 Backdoor behaviour under a known trigger",
        "CC010 Clean accuracy lost beyond the budget",
    ]


def test_inconclusive_is_an_error_so_that_no_job_takes_it_for_a_pass():
    assert cases(samples.undecided(), "error") == ["verdict"]
    assert cases(samples.undecided(), "failure") == []
    assert "CC021 No search for unknown triggers was run" in cases(samples.undecided(), "skipped")


def test_a_check_that_was_not_run_is_skipped_and_does_not_pass():
    skipped = cases(samples.audited(), "skipped")
    assert "CC010 Clean accuracy lost beyond the budget" in skipped
    assert "CC040 Recipe outside its evidence" in skipped


def test_notes_are_output_of_cases_that_pass():
    assert cases(samples.passed(), "system-out") == [
        "verdict",
        "CC030 Clean data skipped",
        "CC040 Recipe outside its evidence",
    ]


@pytest.mark.parametrize("made", REPORTS)
def test_the_counts_are_those_of_the_cases_and_names_are_unique(made):
    root = parsed(made())
    for element in (root, *root.iter("testsuite")):
        assert int(element.get("tests")) == len(list(element.iter("testcase")))
        for name, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(element.get(name)) == len(list(element.iter(kind)))
    names = [(case.get("classname"), case.get("name")) for case in root.iter("testcase")]
    assert len(names) == len(set(names))


def test_the_same_finding_twice_makes_two_cases():
    made = samples.failed()
    made["findings"].append(made["findings"][0])
    assert [name[-3:] for name in cases(made, "failure") if "CC001" in name] == ["(1)", "(2)"]


def test_a_search_that_was_not_run_is_no_pass_of_its_checks():
    searched, unsearched = cases(searches.calm(), "skipped"), cases(samples.audited(), "skipped")
    for code in ("CC003", "CC004", "CC021", "CC022"):
        assert any(name.startswith(code) for name in unsearched)
        assert not any(name.startswith(code) for name in searched)
    assert any(name.startswith("CC005") for name in cases(samples.passed(), "skipped"))
    assert any(name.startswith("CC050") for name in cases(samples.passed(), "skipped"))


def test_the_search_of_an_unlearning_is_one_and_was_not_compared_with_clean_models():
    searched, unsearched = cases(samples.unlearned(), "skipped"), cases(samples.forgotten(), "skipped")
    for code in ("CC003", "CC005", "CC021", "CC022"):
        assert not any(name.startswith(code) for name in searched)
        assert any(name.startswith(code) for name in unsearched)
    assert any(name.startswith("CC004") for name in searched)
    assert any(name.startswith("CC004") for name in unsearched)


def test_a_finding_of_the_search_fails_and_one_sign_is_skipped():
    failed = cases(searches.backdoored(), "failure")
    assert "CC003 A small trigger was found by search" in failed
    assert "CC003 A small trigger was found by search" in cases(searches.doubtful(), "skipped")
    assert cases(searches.calm(), "failure") == cases(searches.calm(), "error") == []


def test_what_the_policy_set_aside_is_skipped_with_its_reason():
    root = parsed(searches.backdoored())
    first, case = [case for case in root.iter("testcase") if "set aside" in case.get("name")]
    assert first is next(root.iter("testcase"))
    assert "by Ann: a known broken file" in first.find("skipped").text
    assert case.get("name") == "CC030 Clean data skipped (set aside by policy, 1)"
    assert "by Ann: a known broken file" in case.find("skipped").get("message")
    found = {entry.get("name"): entry.get("value") for entry in root.iter("property")}
    assert (found["policy"], found["policy_sha256"]) == ("strict.yaml", "9d" * 32)
    assert (found["set_aside"], found["verdict_without_policy"]) == ("1", "fail")


def test_properties_name_model_and_recipe():
    found = {entry.get("name"): entry.get("value") for entry in parsed(samples.passed()).iter("property")}
    assert found["sha256"] == "a3" * 32
    assert found["recipe"] == "cleanclip-tiny@1"
    assert found["verdict"] == "pass"


def test_a_rule_of_a_later_version_is_told_too():
    made = samples.failed()
    made["findings"].append(samples.finding("CC999", "error", "Something new."))
    assert [name for name in cases(made, "failure") if name.startswith("CC999")]
