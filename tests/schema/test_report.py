import copy
import math
import random

import jsonschema
import pytest
from cases import each
from report import samples, searches
from report.parsed import Parsed

from clipclean import report
from clipclean.errors import UsageError
from clipclean.schema.report import MAX_PROBLEMS

report = Parsed(report)

WRONG = [None, "x", -1, 2.5, [], {}, True, [1, 2, 3]]


def small():
    made = samples.passed()
    made["training"]["losses"] = made["training"]["losses"][:2]
    return made


def small_audit():
    made = searches.backdoored()
    made["measurements"]["projection"]["points"] = made["measurements"]["projection"]["points"][:2]
    return made


def paths(value, path=()):
    if path:
        yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths(inner, (*path, key))


def changed(made, path, change):
    holder = made = copy.deepcopy(made)
    for key in path[:-1]:
        holder = holder[key]
    if change == "delete":
        del holder[path[-1]]
    else:
        holder[path[-1]] = change
    return made


REPORTS = [samples.passed, samples.failed, samples.undecided, samples.audited]
REPORTS += [searches.backdoored, searches.calm, searches.doubtful, searches.cleaned, searches.poor]


@each("made", REPORTS)
def test_the_samples_are_valid_by_jsonschema_and_by_us(made):
    jsonschema.Draft202012Validator(report.schema()).validate(made())
    report.parse(made())


def test_the_schema_is_valid():
    jsonschema.Draft202012Validator.check_schema(report.schema())


def is_accepted(value):
    try:
        report.parse(value)
    except UsageError:
        return False
    return True


@pytest.mark.parametrize("whole", [small, small_audit])
def test_we_and_jsonschema_agree_on_damaged_reports(whole):
    made, rng = whole(), random.Random(0)
    judge = jsonschema.Draft202012Validator(report.schema())
    places = list(paths(made))
    refused = 0
    for _ in range(250):
        damaged = changed(made, rng.choice(places), rng.choice(["delete", *WRONG]))
        is_valid = judge.is_valid(damaged)
        assert is_accepted(damaged) == is_valid
        refused += not is_valid
    assert refused > 50


@each(
    ("path", "value", "message"),
    [
        (("verdict",), "maybe", "report.verdict: 'maybe': Input should be 'pass', 'fail' or 'inconclusive'"),
        (("schema_version",), "3", "report.schema_version: '3': Input should be '2'"),
        (("model", "sha256"), "abc", "report.model.sha256: 'abc': String should match"),
        (("findings", 0, "rule"), "X1", "report.findings[0].rule: 'X1': String should match"),
        (
            ("measurements", "clean_accuracy", "value"),
            1.5,
            "clean_accuracy.value: 1.5: Input should be less than or equal to 1",
        ),
        (
            ("measurements", "clean_accuracy", "value"),
            math.nan,
            "clean_accuracy.value: nan: Input should be a finite number",
        ),
        (("measurements", "clean_accuracy", "n"), True, "clean_accuracy.n: True: Input should be a valid integer"),
        (("measurements", "clean_accuracy", "interval"), [0.1], "interval[1]: missing"),
        (("training", "steps"), 10**400, "report.training.steps: 10000"),
    ],
)
def test_a_wrong_value_is_told_with_its_place(path, value, message):
    with pytest.raises(UsageError) as told:
        report.parse(changed(small(), path, value))
    assert message in str(told.value)


@each(
    ("path", "value", "message"),
    [
        (
            ("measurements", "search", "found", 0, "asr"),
            None,
            "search.found[0].asr: None: Input should be a valid dictionary",
        ),
        (
            ("measurements", "search", "found", 0, "size"),
            1.5,
            "found[0].size: 1.5: Input should be less than or equal to 1",
        ),
        (("measurements", "search", "found", 0, "reached"), 1, "found[0].reached: 1: Input should be a valid boolean"),
        (
            ("measurements", "search", "calibration", "kind"),
            "guess",
            "calibration.kind: 'guess': Input should be 'stored', ",
        ),
        (("measurements", "search", "effort"), "delete", "effort missing"),
        (
            ("measurements", "projection", "points", 0, "kind"),
            "dirty",
            "'dirty': Input should be 'clean', 'triggered', 'target' or 'text'",
        ),
        (
            ("measurements", "projection", "points", 1, "x"),
            math.inf,
            "points[1].x: inf: Input should be a finite number",
        ),
        (("measurements", "projection", "explained"), [0.1], "explained[1]: missing"),
        (("suppressed", 0, "reason"), "delete", "report.suppressed[0].reason: missing"),
        (("policy", "sha256"), "0", "report.policy.sha256: '0': String should match"),
        (("effort",), "lazy", "report.effort: 'lazy': Input should be 'quick', 'standard' or 'thorough'"),
    ],
)
def test_a_wrong_value_of_an_audit_is_told_with_its_place(path, value, message):
    with pytest.raises(UsageError) as told:
        report.parse(changed(small_audit(), path, value))
    assert message in str(told.value)


def test_every_missing_part_of_a_sanitization_is_named_at_once():
    made = {key: value for key, value in small().items() if key not in ("before", "recipe", "tool")}
    with pytest.raises(UsageError) as told:
        report.parse(made)
    assert all(f"report.{key}: missing" in str(told.value) for key in ("tool", "before", "recipe"))


def test_an_audit_needs_no_before():
    report.parse(samples.audited())


def test_what_a_later_version_adds_is_no_error():
    report.parse(small() | {"novelty": {"of": ["a", "later"]}})


@pytest.mark.parametrize("value", [None, [], "report", 3, {}])
def test_what_is_no_report_is_refused(value):
    with pytest.raises(UsageError, match="not a clipclean report"):
        report.parse(value)


def test_a_flood_of_problems_is_cut():
    made = small()
    made["findings"] = [{}] * 500
    with pytest.raises(UsageError) as told:
        report.parse(made)
    assert len(str(told.value).splitlines()) == MAX_PROBLEMS + 3
