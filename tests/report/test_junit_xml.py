import re
from typing import NamedTuple
from xml.etree import ElementTree

import pytest
from report import samples, searches
from report.parsed import Parsed

from clipclean import report

report = Parsed(report)


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


@pytest.mark.parametrize("made", searches.EVERY)
def test_a_file_is_one_that_the_schema_of_jenkins_allows_and_counts_its_cases(made):
    assert faults(report.junit(made())) == []
    root = parsed(made())
    for element in (root, *root.iter("testsuite")):
        assert int(element.get("tests")) == len(list(element.iter("testcase")))
        for name, kind in (("failures", "failure"), ("errors", "error")):
            assert int(element.get(name)) == len(list(element.iter(kind)))
    for suite in root.iter("testsuite"):
        assert int(suite.get("skipped")) == len(list(suite.iter("skipped")))
    names = [(case.get("classname"), case.get("name")) for case in root.iter("testcase")]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("right", "wrong", "fault"),
    [
        ("<testsuites ", '<testsuites skipped="3" ', "testsuites with skipped"),
        (' errors="0"', "", "testsuite without errors"),
        ("<properties>", "<properties>words", "words in properties"),
        ('tests="', 'tests="about ', "tests about"),
        ("testsuites", "report", "root report"),
    ],
)
def test_a_departure_from_the_schema_is_seen(right, wrong, fault):
    text = report.junit(samples.failed())
    assert right in text
    assert any(each.startswith(fault) for each in faults(text.replace(right, wrong)))


def parsed(made):
    return ElementTree.fromstring(report.junit(made))


def cases(made, kind):
    """The first words of each case that has such an outcome: rules by their ids."""
    return [case.get("name").split()[0] for case in parsed(made).iter("testcase") if case.find(kind) is not None]


@pytest.mark.parametrize(
    ("made", "failures", "errors"),
    [
        (samples.passed, [], []),
        (samples.failed, ["verdict", "CC001", "CC010"], []),
        (samples.undecided, [], ["verdict"]),  # so that no job takes it for a pass
        (searches.backdoored, ["verdict", "CC002", "CC003"], []),
        (searches.calm, [], []),
    ],
)
def test_every_error_is_a_failure_and_so_is_the_verdict(made, failures, errors):
    assert (cases(made(), "failure"), cases(made(), "error")) == (failures, errors)
    root = parsed(made())
    assert (root.get("failures"), root.get("errors")) == (str(len(failures)), str(len(errors)))
    assert cases(samples.passed(), "system-out") == ["verdict", "CC030", "CC040"]  # notes


@pytest.mark.parametrize(
    ("made", "skipped", "run"),
    [
        (samples.passed, {"CC005", "CC050"}, {"CC001", "CC010"}),
        (samples.undecided, {"CC021"}, set()),
        (samples.audited, {"CC003", "CC004", "CC010", "CC021", "CC022", "CC040"}, set()),
        (searches.calm, set(), {"CC003", "CC004", "CC021", "CC022"}),
        (searches.doubtful, {"CC003"}, set()),
        (
            samples.unlearned,
            {"CC004"},
            {"CC003", "CC005", "CC021", "CC022"},
        ),  # its search is not compared with clean models
        (samples.forgotten, {"CC003", "CC004", "CC005", "CC021", "CC022"}, set()),
    ],
)
def test_a_check_that_was_not_run_is_skipped_and_does_not_pass(made, skipped, run):
    found = set(cases(made(), "skipped"))
    assert (skipped - found, run & found) == (set(), set())


def test_a_finding_twice_makes_two_cases_and_one_of_a_later_version_one_too():
    made = samples.failed()
    made["findings"] += [made["findings"][0], samples.finding("CC999", "error", "Something new.")]
    found = cases(made, "failure")
    assert (found.count("CC001"), found.count("CC999")) == (2, 1)


def test_what_the_policy_set_aside_is_skipped_with_its_reason():
    root = parsed(searches.backdoored())
    first, case = [case for case in root.iter("testcase") if "set aside" in case.get("name")]
    assert first is next(root.iter("testcase"))
    assert "Ann" in first.find("skipped").text
    assert case.get("name").startswith("CC030")
    assert "Ann" in case.find("skipped").get("message")


def test_properties_name_model_recipe_and_policy():
    found = {entry.get("name"): entry.get("value") for entry in parsed(samples.passed()).iter("property")}
    assert (found["sha256"], found["recipe"], found["verdict"]) == ("a3" * 32, "cleanclip@tiny@1", "pass")
    found = {entry.get("name"): entry.get("value") for entry in parsed(searches.backdoored()).iter("property")}
    assert (found["policy"], found["policy_sha256"]) == ("strict.yaml", "9d" * 32)
    assert (found["set_aside"], found["verdict_without_policy"]) == ("1", "fail")
