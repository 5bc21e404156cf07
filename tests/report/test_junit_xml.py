"""JUnit XML: what Jenkins' schema allows, one case a check, and no check that was not made counts as passed."""

from xml.etree import ElementTree

import pytest
from report import samples, searches
from report.parsed import report

# Jenkins' schema of JUnit files, junit-10.xsd of its xUnit plugin, which refuses a file that departs from it: of each element the
# attributes that it needs, those that it may have, its children ("" for words). Of its elements those for tests that were run again
# are left out, and of its types the one of times: we write neither.
COUNTS = "tests failures errors"
OUTPUT = "system-out system-err"
SCHEMA = {
    "testsuites": ("", f"name {COUNTS}", "testsuite"),
    "testsuite": (
        f"name {COUNTS}",
        "group skipped timestamp hostname id package file log url",
        f"testsuite properties testcase {OUTPUT}",
    ),
    "properties": ("", "", "property"),
    "property": ("name value", "", "none"),
    "testcase": ("name", "classname group", f"skipped error failure {OUTPUT}"),
    **dict.fromkeys(("failure", "error", "skipped"), ("", "type message", "")),
    **dict.fromkeys(OUTPUT.split(), ("", "", "")),
}


def faults(text):
    """Where a file departs from the schema; its root is a suite or several."""
    root = ElementTree.fromstring(text)
    found = [] if root.tag in ("testsuites", "testsuite") else [f"root {root.tag}"]
    for element in root.iter():
        if element.tag not in SCHEMA:
            found.append(f"element {element.tag}")
            continue
        needed, allowed, children = (set(names.split()) for names in SCHEMA[element.tag])
        given, within = set(element.keys()), {child.tag for child in element}
        found += [f"{element.tag} without {name}" for name in sorted(needed - given)]
        found += [f"{element.tag} with {name}" for name in sorted(given - needed - allowed)]
        found += [f"{child} in {element.tag}" for child in sorted(within - children)]
        words = "".join(each or "" for each in (element.text, *(child.tail for child in element)))
        found += [f"words in {element.tag}"] if children and words.strip() else []
        counts = given & set(COUNTS.split())
        found += [f"{name} {element.get(name)}" for name in counts if not element.get(name).isdecimal()]
    return found


@pytest.mark.parametrize("made", searches.EVERY)
def test_a_file_is_one_that_the_schema_of_jenkins_allows(made):
    assert faults(report.junit(made())) == []


@pytest.mark.parametrize("made", searches.EVERY)
def test_a_file_counts_its_cases(made):
    root = parsed(made())
    for element in (root, *root.iter("testsuite")):
        for name, kind in (("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            if (name, element.tag) != ("skipped", "testsuites"):
                assert int(element.get(name)) == len(list(element.iter(kind)))


@pytest.mark.parametrize("made", searches.EVERY)
def test_no_two_cases_of_a_file_have_one_name(made):
    names = [(case.get("classname"), case.get("name")) for case in parsed(made()).iter("testcase")]
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
        (samples.passed, "", ""),
        (samples.failed, "verdict CC001 CC010", ""),
        (samples.undecided, "", "verdict"),  # so that no job takes it for a pass
        (samples.audited, "verdict CC001", ""),
        (searches.backdoored, "verdict CC002 CC003", ""),
        (searches.calm, "", ""),
        (searches.doubtful, "", "verdict"),
        (samples.unlearned, "", ""),
        (samples.forgotten, "", ""),
    ],
)
def test_errors_fail_as_the_verdict_does(made, failures, errors):
    assert (cases(made(), "failure"), cases(made(), "error")) == (failures.split(), errors.split())


@pytest.mark.parametrize(
    ("made", "skipped", "run"),
    [
        (samples.passed, "CC005 CC050", "CC001 CC010"),
        (samples.undecided, "CC021", ""),
        (samples.audited, "CC003 CC004 CC010 CC021 CC022 CC040", ""),
        (searches.calm, "", "CC003 CC004 CC021 CC022"),
        (searches.doubtful, "CC003", ""),
        (samples.unlearned, "CC004", "CC003 CC005 CC021 CC022"),  # its search is compared with no clean model
        (samples.forgotten, "CC003 CC004 CC005 CC021 CC022", ""),
        (searches.backdoored, "CC008 CC023 CC032 CC060 CC061 CC062 CC063 CC064 CC065", ""),  # an audit without --power
        (samples.passed, "CC008 CC060 CC061 CC062 CC063 CC064", "CC023 CC032 CC065"),  # a cleaning by one recipe
        (samples.chosen_by_auto, "CC008", "CC060 CC061 CC062 CC063 CC064 CC065"),
    ],
)
def test_checks_that_were_not_run_are_skipped(made, skipped, run):
    rules = set(cases(made(), "skipped"))
    assert (set(skipped.split()) - rules, set(run.split()) & rules) == (set(), set())


def test_notes_pass():
    assert cases(samples.passed(), "system-out") == ["verdict", "CC030", "CC040"]


def test_a_finding_twice_makes_two_cases():
    made = samples.failed()
    made["findings"] += [made["findings"][0], samples.finding("CC999", "error", "Something new.")]
    found = cases(made, "failure")
    assert (found.count("CC001"), found.count("CC999")) == (2, 1)


def test_what_the_policy_set_aside_is_skipped():
    root = parsed(searches.backdoored())
    first, case = [case for case in root.iter("testcase") if "set aside" in case.get("name")]
    assert first is next(root.iter("testcase"))
    assert case.get("name").startswith("CC030")
    assert ("Ann" in first.find("skipped").text, "Ann" in case.find("skipped").get("message")) == (True, True)


def test_the_policy_is_named():
    found = {entry.get("name"): entry.get("value") for entry in parsed(searches.backdoored()).iter("property")}
    told = {"policy": "strict.yaml", "policy_sha256": "9d" * 32, "set_aside": "1", "verdict_without_policy": "fail"}
    assert told.items() <= found.items()
