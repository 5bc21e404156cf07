import re
from typing import NamedTuple
from xml.etree import ElementTree

import pytest
from cases import each
from report import samples, searches
from report.parsed import Parsed

from clipclean import report

report = Parsed(report)

REPORTS = [samples.passed, samples.failed, samples.undecided, samples.audited]
REPORTS += [searches.backdoored, searches.calm, searches.doubtful, searches.cleaned, samples.unlearned]


class Element(NamedTuple):
    """What an element may have; ``has_text``: words beside or instead of children."""

    needed: set[str]
    allowed: set[str]
    children: set[str]
    has_text: bool


# Jenkins' schema of JUnit files, junit-10.xsd of its xUnit plugin, which refuses a file that departs from it. Of its elements those for
# tests that were run again are left out, and of its types the one of times: we write neither.
OUTCOMES = {"skipped", "error", "failure", "system-out", "system-err"}
WHAT_HAPPENED = Element(set(), {"type", "message"}, set(), True)
COUNTS = {"tests", "failures", "errors"}
SUITE = {"group", "skipped", "timestamp", "hostname", "id", "package", "file", "log", "url"}
SCHEMA = {
    "testsuites": Element(set(), {"name"} | COUNTS, {"testsuite"}, False),
    "testsuite": Element(
        {"name"} | COUNTS, SUITE, {"testsuite", "properties", "testcase", "system-out", "system-err"}, False
    ),
    "properties": Element(set(), set(), {"property"}, False),
    "property": Element({"name", "value"}, set(), set(), False),
    "testcase": Element({"name"}, {"classname", "group"}, OUTCOMES, False),
    "failure": WHAT_HAPPENED,
    "error": WHAT_HAPPENED,
    "skipped": WHAT_HAPPENED,
    "system-out": Element(set(), set(), set(), True),
    "system-err": Element(set(), set(), set(), True),
}


def faults(text):
    """Where a file departs from the schema; its root is a suite or several."""
    root = ElementTree.fromstring(text)
    found = [] if root.tag in ("testsuites", "testsuite") else [f"root {root.tag}"]
    for element in root.iter():
        if (rules := SCHEMA.get(element.tag)) is None:
            found.append(f"element {element.tag}")
            continue
        given, within = set(element.keys()), {child.tag for child in element}
        found += [f"{element.tag} without {name}" for name in sorted(rules.needed - given)]
        found += [f"{element.tag} with {name}" for name in sorted(given - rules.needed - rules.allowed)]
        found += [f"{child} in {element.tag}" for child in sorted(within - rules.children)]
        words = [element.text, *(child.tail for child in element)]
        if not rules.has_text and any((each or "").strip() for each in words):
            found.append(f"words in {element.tag}")
        found += [
            f"{name} {element.get(name)}" for name in COUNTS & given if not re.fullmatch(r"\d+", element.get(name))
        ]
    return found


@pytest.mark.parametrize("made", REPORTS)
def test_a_file_is_one_that_the_schema_of_jenkins_allows(made):
    assert faults(report.junit(made())) == []


@pytest.mark.parametrize(
    ("right", "wrong", "fault"),
    [
        ("<testsuites ", '<testsuites skipped="3" ', "testsuites with skipped"),
        ("<testsuite ", '<testsuite verdict="fail" ', "testsuite with verdict"),
        (' errors="0"', "", "testsuite without errors"),
        ("<failure ", '<failure rule="CC001" ', "failure with rule"),
        ("<failure ", "<failed ", "element failed"),
        ("<properties>", "<properties>words", "words in properties"),
        ('tests="', 'tests="about ', "tests about"),
        ("testsuites", "report", "root report"),
    ],
)
def test_a_departure_from_the_schema_is_seen(right, wrong, fault):
    text = report.junit(samples.failed())
    assert right in text
    broken = text.replace(right, wrong).replace(
        "</failure>", f"</{wrong[1:].split()[0]}>" if wrong == "<failed " else "</failure>"
    )
    assert any(each.startswith(fault) for each in faults(broken))


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
        "CC010 Clean accuracy lost",
    ]


def test_inconclusive_is_an_error_so_that_no_job_takes_it_for_a_pass():
    assert cases(samples.undecided(), "error") == ["verdict"]
    assert cases(samples.undecided(), "failure") == []
    assert "CC021 No search for unknown triggers was run" in cases(samples.undecided(), "skipped")


def test_a_check_that_was_not_run_is_skipped_and_does_not_pass():
    skipped = cases(samples.audited(), "skipped")
    assert "CC010 Clean accuracy lost" in skipped
    assert "CC040 Recipe outside its evidence" in skipped


def test_notes_are_output_of_cases_that_pass():
    assert cases(samples.passed(), "system-out") == [
        "verdict",
        "CC030 Clean data skipped",
        "CC040 Recipe outside its evidence",
    ]


@each("made", REPORTS)
def test_the_counts_are_those_of_the_cases_and_names_are_unique(made):
    root = parsed(made())
    for element in (root, *root.iter("testsuite")):
        assert int(element.get("tests")) == len(list(element.iter("testcase")))
        for name, kind in (("failures", "failure"), ("errors", "error")):
            assert int(element.get(name)) == len(list(element.iter(kind)))
    for suite in root.iter("testsuite"):
        assert int(suite.get("skipped")) == len(list(suite.iter("skipped")))
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
    assert found["recipe"] == "cleanclip@tiny@1"
    assert found["verdict"] == "pass"


def test_a_rule_of_a_later_version_is_told_too():
    made = samples.failed()
    made["findings"].append(samples.finding("CC999", "error", "Something new."))
    assert [name for name in cases(made, "failure") if name.startswith("CC999")]
