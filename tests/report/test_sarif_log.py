"""SARIF: valid by another implementation, each finding at the model's path, and nothing that becomes a link."""

import json

import pytest
from report import samples, searches
from report.parsed import report
from sarif_pydantic import Sarif

from clipclean.cli import pages
from clipclean.findings import RULES
from clipclean.report.sarif_log import model_uri
from clipclean.schema.report import ModelRecord


def run_of(made):
    return json.loads(report.sarif(made))["runs"][0]


def rules_of(made):
    return {rule["id"]: rule for rule in run_of(made)["tool"]["driver"]["rules"]}


@pytest.mark.parametrize("made", searches.EVERY)
def test_another_implementation_of_the_standard_reads_what_we_wrote(made):
    log = json.loads(report.sarif(made()))
    (read,) = Sarif.model_validate(log).runs
    (run,) = log["runs"]
    assert (log["version"], read.tool.driver.name) == ("2.1.0", "clipclean")
    assert [rule.id for rule in read.tool.driver.rules] == list(RULES)
    ours = [(each["ruleId"], each["level"], each["message"]["text"]) for each in run["results"]]
    assert [(each.rule_id, each.level.value, each.message.text) for each in read.results] == ours


@pytest.mark.parametrize("made", searches.EVERY)
def test_a_run_is_successful_whatever_its_verdict(made):
    # GitHub refuses a file otherwise
    assert run_of(made())["invocations"] == [{"executionSuccessful": True}]


def run_of_three_findings():
    result = samples.failed()
    result["findings"].append(samples.finding("CC999", "warning", "Of [later](https://evil.example)."))
    return run_of(result)


def test_every_result_points_to_its_rule():
    run = run_of_three_findings()
    rules = run["tool"]["driver"]["rules"]
    assert [result["ruleId"] for result in run["results"]] == ["CC001", "CC010", "CC999"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]


def test_every_result_points_to_the_model():
    expected = {"artifactLocation": {"uri": "tiny-backdoored.pt", "index": 0}, "region": {"startLine": 1}}
    places = [result["locations"][0]["physicalLocation"] for result in run_of_three_findings()["results"]]
    assert places == [expected] * 3


def test_no_words_of_a_message_become_a_link():
    assert run_of_three_findings()["results"][2]["message"]["text"] == r"Of \[later\](https://evil.example)."


# About the data, the recipe, the policy or the accuracy; or, as CC060 and CC065 mostly, good news.
QUALITY = {
    "CC010",
    "CC030",
    "CC031",
    "CC032",
    "CC033",
    "CC035",
    "CC040",
    "CC050",
    "CC051",
    "CC052",
    "CC060",
    "CC064",
    "CC065",
}


def test_every_rule_says_all_that_the_catalogue_explains():
    for code, rule in rules_of(samples.passed()).items():
        known, help_ = RULES[code], rule["help"].values()
        level, short = rule["defaultConfiguration"]["level"], rule["shortDescription"]["text"]
        assert (level, short) == (known.level, f"{known.title}.")
        assert rule["fullDescription"]["text"] == known.means
        words = (known.means, known.does_not_show, known.action, f"clipclean explain {code}")
        assert all(each in form for form in help_ for each in words)


def test_the_rules_of_a_backdoor_have_a_severity():
    rules = rules_of(samples.passed())
    tagged = {code for code, rule in rules.items() if "security" in rule["properties"]["tags"]}
    assert tagged == set(RULES) - QUALITY
    severity = {code: rule["properties"].get("security-severity") for code, rule in rules.items()}
    assert {code for code, value in severity.items() if value} == tagged
    assert severity["CC062"] == severity["CC001"]  # a backdoor that came back is as severe as one that is there
    assert severity["CC023"] == severity["CC061"] == severity["CC021"]


def test_what_the_policy_set_aside_is_an_accepted_note():
    made = searches.backdoored()
    made["suppressed"].append(made["findings"].pop(0) | {"reason": "a test backdoor", "expires": None})
    run = run_of(made)
    told = [(result["ruleId"], result["level"], "suppressions" in result) for result in run["results"]]
    assert told[:2] == [("CC030", "note", True), ("CC003", "note", True)]
    assert told[2:] == [("CC002", "error", False), ("CC050", "note", False)]
    (suppression,) = run["results"][0]["suppressions"]
    assert (suppression["kind"], suppression["status"]) == ("external", "accepted")
    assert "Ann" in suppression["justification"]
    assert (run["properties"]["verdictWithoutPolicy"], run["properties"]["suspects"]) == ("fail", ["banana", "lemon"])


def prints_of(made):
    return [result["partialFingerprints"]["clipclean/v1"] for result in run_of(made)["results"]]


def test_fingerprints_differ_within_a_run():
    result = samples.failed()
    result["findings"].append(result["findings"][0])
    assert len(set(prints_of(result))) == 3


def test_a_fingerprint_lasts_from_run_to_run():
    result, later = samples.failed(), samples.failed()
    later["findings"][0] |= {"value": 0.5, "message": "Worse.", "class": None, "target": None, "trigger": None}
    assert prints_of(later)[0] == prints_of(result)[0]


def test_a_finding_about_another_class_has_another_fingerprint():
    result, other = samples.failed(), samples.failed()
    other["findings"][0] |= {"class": "banana"}
    assert prints_of(other)[0] != prints_of(result)[0]


NAMED = {
    "model.pt": "model.pt",
    "my model.pt": "my%20model.pt",
    "/etc/passwd": "passwd",
    "..": "model",
    "a\\b.pt": "b.pt",
}
NAMED |= {"javascript:alert(1)": "javascript%3Aalert%281%29", "é.pt": "%C3%A9.pt"}
PLACED = {"models/a b/epoch_3.pt": "models/a%20b/epoch_3.pt", "epoch_3.pt": "epoch_3.pt", "a:b/é.pt": "a%3Ab/%C3%A9.pt"}
PLACED |= dict.fromkeys(("", "/etc/passwd", "../up.pt", "a//b", "a/./b", "a\\b", "a/"), "m.pt")


def uri_of(name, path):
    digests = {"sha256": "0" * 64, "tensor_sha256": "0" * 64}
    return model_uri(ModelRecord(name=name, path=path, **digests, format="torch-zip", architecture="RN50"))


def test_results_lie_at_the_models_path_in_the_repository():
    assert {path: uri_of("m.pt", path) for path in PLACED} == PLACED


def test_results_of_a_model_without_a_path_lie_at_its_name():
    assert {name: uri_of(name, None) for name in NAMED} == NAMED


@pytest.mark.parametrize(
    ("docs", "is_linked"),
    [(None, False), ("https://git.example/own/blob/v1/docs/", True), ("javascript:alert(1)", False)],
)
def test_each_rule_links_to_a_heading_of_the_repository_where_the_job_says_where_that_is(monkeypatch, docs, is_linked):
    if docs:
        monkeypatch.setenv("CLIPCLEAN_DOCS", docs)
    links = [rule["helpUri"] for rule in rules_of(samples.audited()).values() if "helpUri" in rule]
    assert len(links) == (len(RULES) if is_linked else 0)
    for uri in links:  # a part that is made when the site is built is not there
        page, _, anchor = uri.removeprefix(docs).partition("#")
        assert f"\n## {anchor.capitalize()}\n" in (pages.folder() / page).read_text()
