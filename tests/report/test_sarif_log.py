import json

import pytest
from cases import each
from pydantic import ValidationError
from report import samples, searches
from report.parsed import Parsed
from sarif_pydantic import Sarif

from clipclean import report
from clipclean.findings import RULES
from clipclean.report.sarif_log import model_uri, relative_uri
from clipclean.schema.report import ModelRecord

report = Parsed(report)


def run_of(made):
    log = json.loads(report.sarif(made))
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    return run


@pytest.mark.parametrize(
    "made", [samples.passed, samples.failed, samples.undecided, samples.audited, searches.backdoored, searches.doubtful]
)
def test_the_tool_succeeded_whatever_the_verdict(made):
    """GitHub refuses a file whose executionSuccessful is false."""
    assert run_of(made())["invocations"] == [{"executionSuccessful": True}]


EVERY = (
    samples.passed,
    samples.failed,
    samples.undecided,
    samples.audited,
    searches.backdoored,
    searches.calm,
    searches.doubtful,
)


@each("made", EVERY)
def test_another_implementation_of_the_standard_reads_it_and_finds_what_we_wrote(made):
    log = json.loads(report.sarif(made()))
    (read,) = Sarif.model_validate(log).runs
    (run,) = log["runs"]
    assert read.tool.driver.name == "clipclean"
    assert [rule.id for rule in read.tool.driver.rules] == list(RULES)
    assert [(each.rule_id, each.level.value, each.message.text) for each in read.results] == [
        (each["ruleId"], each["level"], each["message"]["text"]) for each in run["results"]
    ]


@pytest.mark.parametrize("broken", [{"level": "fatal"}, {"message": "words alone"}, {"locations": {}}])
def test_the_other_implementation_would_refuse_a_broken_result(broken):
    log = json.loads(report.sarif(samples.failed()))
    log["runs"][0]["results"][0] |= broken
    with pytest.raises(ValidationError):
        Sarif.model_validate(log)


def test_every_result_points_to_its_rule_and_to_the_model():
    run = run_of(samples.failed())
    rules = run["tool"]["driver"]["rules"]
    assert [result["ruleId"] for result in run["results"]] == ["CC001", "CC010"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"] == {"uri": "tiny-backdoored.pt", "index": 0}
        assert place["region"] == {"startLine": 1}
        assert (result["level"], result["message"]["text"] != "") == ("error", True)


def test_the_files_are_named_with_their_hashes():
    artifacts = run_of(samples.passed())["artifacts"]
    assert [(each["location"]["uri"], each["hashes"]["sha-256"]) for each in artifacts] == [
        ("tiny-backdoored.pt", "a3" * 32),
        ("open_clip_model.safetensors", "e1" * 32),
    ]


def test_every_rule_has_an_id_a_level_and_help_and_security_rules_a_severity():
    rules = run_of(samples.passed())["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == list(RULES)
    for rule in rules:
        assert rule["defaultConfiguration"]["level"] in ("error", "warning", "note")
        assert rule["shortDescription"]["text"]
        assert rule["help"]["markdown"]
        assert ("security" in rule["properties"]["tags"]) == ("security-severity" in rule["properties"])


# About the data, the recipe, the policy or the accuracy; or, as CC060 and CC065 mostly, good news.
QUALITY = {"CC010", "CC030", "CC031", "CC032", "CC040", "CC050", "CC051", "CC052", "CC060", "CC064", "CC065"}


def test_what_a_rule_says_of_a_backdoor_is_about_security():
    rules = run_of(samples.passed())["tool"]["driver"]["rules"]
    tagged = {rule["id"] for rule in rules if "security" in rule["properties"]["tags"]}
    assert tagged == set(RULES) - QUALITY
    assert {"CC062", "CC063"} <= tagged


def test_a_backdoor_that_came_back_is_as_severe_as_one_that_is_there():
    rules = run_of(samples.passed())["tool"]["driver"]["rules"]
    severity = {rule["id"]: rule["properties"].get("security-severity") for rule in rules}
    assert severity["CC062"] == severity["CC001"]
    assert severity["CC023"] == severity["CC061"] == severity["CC021"]


def test_what_the_policy_set_aside_is_an_accepted_note():
    results = run_of(searches.backdoored())["results"]
    assert [(result["ruleId"], result["level"], "suppressions" in result) for result in results] == [
        ("CC030", "note", True),
        ("CC003", "error", False),
        ("CC002", "error", False),
        ("CC050", "note", False),
    ]
    (suppression,) = results[0]["suppressions"]
    assert (suppression["kind"], suppression["status"]) == ("external", "accepted")
    assert "by Ann: a known broken file" in suppression["justification"]
    properties = run_of(searches.backdoored())["properties"]
    assert properties["setAside"].startswith("Policy strict.yaml sets 1 finding aside.")
    assert properties["verdictWithoutPolicy"] == "fail"


def test_a_suppressed_error_is_lowered_to_a_note():
    made = searches.backdoored()
    made["suppressed"] = [made["findings"].pop(0) | {"reason": "a canary", "expires": None}]
    result = run_of(made)["results"][0]
    assert (result["ruleId"], result["level"]) == ("CC003", "note")


def test_the_run_names_the_suspects():
    assert run_of(searches.backdoored())["properties"]["suspects"] == ["banana", "lemon"]
    assert run_of(searches.calm())["properties"]["suspects"] == []


def test_a_class_and_a_trigger_of_nothing_make_a_fingerprint_too():
    made = searches.doubtful()
    first = run_of(made)["results"][0]["partialFingerprints"]
    made["findings"][0] |= {"class": None, "target": None, "trigger": None}
    assert run_of(made)["results"][0]["partialFingerprints"] == first
    made["findings"][0] |= {"class": "banana"}
    assert run_of(made)["results"][0]["partialFingerprints"] != first


def test_fingerprints_differ_within_a_run_and_last_from_run_to_run():
    made = samples.failed()
    made["findings"].append(made["findings"][0])
    prints = [result["partialFingerprints"]["clipclean/v1"] for result in run_of(made)["results"]]
    assert len(prints) == len(set(prints)) == 3
    later = samples.failed()
    later["findings"][0] |= {"value": 0.5, "message": "Worse."}
    assert run_of(later)["results"][0]["partialFingerprints"]["clipclean/v1"] == prints[0]


@each(
    ("name", "uri"),
    [
        ("model.pt", "model.pt"),
        ("my model.pt", "my%20model.pt"),
        ("/etc/passwd", "passwd"),
        ("..", "model"),
        ("a\\b.pt", "b.pt"),
        ("javascript:alert(1)", "javascript%3Aalert%281%29"),
        ("модель.pt", "%D0%BC%D0%BE%D0%B4%D0%B5%D0%BB%D1%8C.pt"),
    ],
)
def test_a_uri_is_relative_and_encoded(name, uri):
    assert relative_uri(name) == uri


def test_a_rule_of_a_later_version_gets_an_entry():
    made = samples.failed()
    made["findings"].append(samples.finding("CC999", "warning", "Something new."))
    run = run_of(made)
    assert run["tool"]["driver"]["rules"][-1]["id"] == "CC999"
    assert run["results"][-1]["ruleIndex"] == len(RULES)


def driver_rules(made):
    return run_of(made)["tool"]["driver"]["rules"]


def test_each_rule_has_its_page_where_the_job_says_where_the_pages_are(monkeypatch):
    assert not any("helpUri" in rule for rule in driver_rules(samples.audited()))
    monkeypatch.setenv("CLIPCLEAN_DOCS", "https://git.example/own/clipclean/blob/v1/docs/")
    found = {rule["id"]: rule["helpUri"] for rule in driver_rules(samples.audited())}
    page = "https://git.example/own/clipclean/blob/v1/docs/measures.md"
    assert found["CC003"] == f"{page}#cc003-a-small-trigger-was-found-by-search"
    monkeypatch.setenv("CLIPCLEAN_DOCS", "javascript:alert(1)")
    assert not any("helpUri" in rule for rule in driver_rules(samples.audited()))


@each(
    ("path", "uri"),
    [
        ("models/a b/epoch_3.pt", "models/a%20b/epoch_3.pt"),
        ("epoch_3.pt", "epoch_3.pt"),
        ("a:b/é.pt", "a%3Ab/%C3%A9.pt"),
        *((bad, "m.pt") for bad in (None, "", "/etc/passwd", "../up.pt", "a//b", "a/./b", "a\\b", "a/")),
    ],
)
def test_results_lie_at_the_models_path_in_the_repository(path, uri):
    digest = "0" * 64
    model = ModelRecord(
        name="m.pt", sha256=digest, format="torch-zip", architecture="RN50", tensor_sha256=digest, path=path
    )
    assert model_uri(model) == uri


def test_no_name_in_a_message_becomes_a_link():
    made = samples.failed()
    made["findings"] = [samples.finding("CC030", "note", "Skipped: [click](https://evil.example).png")]
    (result,) = run_of(made)["results"]
    assert result["message"]["text"] == r"Skipped: \[click\](https://evil.example).png"
