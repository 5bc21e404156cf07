"""What is a report: we and another implementation of JSON Schema agree, and a wrong value is told with its place."""

import copy
import functools
import json
import math
import random
from pathlib import Path

import goldens
import jsonschema
import pytest
from report import samples, searches

from clipclean import report
from clipclean.errors import RefusedInput
from clipclean.schema.report import MAX_PROBLEMS, EvidenceRecord

FOLDER = Path(__file__).parent / "goldens"
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
    made = copy.deepcopy(made)
    holder = functools.reduce(lambda outer, key: outer[key], path[:-1], made)
    if change == "delete":
        del holder[path[-1]]
    else:
        holder[path[-1]] = change
    return made


@pytest.fixture(scope="module")
def judge():
    """The other implementation of our schema."""
    jsonschema.Draft202012Validator.check_schema(report.schema())
    return jsonschema.Draft202012Validator(report.schema())


def test_the_schema_is_as_it_was_approved():
    goldens.check(FOLDER / "report.schema.json", json.dumps(report.schema(), indent=1) + "\n")


def test_what_a_report_of_before_calls_otherwise_is_read_by_its_name_of_now():
    written = samples.chosen_by_auto()
    earlier = copy.deepcopy(written)
    auto = earlier["auto"]
    auto["canaries"], auto["ladder"] = auto.pop("test_backdoors"), auto.pop("candidates")
    for candidate in auto["ladder"]:
        for part in (candidate, *candidate["trials"]):
            part["rung"] = part.pop("candidate")
    assert report.parse(earlier).as_json() == written


def test_how_a_run_lies_to_the_evidence_is_read_by_its_name_of_before():
    record = {"why": "", "expected": None, "reached": {"left": None, "lost": None}, "says": ""}
    assert EvidenceRecord.model_validate(record | {"standing": "none"}).as_json() == record | {"kind": "none"}


@pytest.mark.parametrize("made", searches.EVERY)
def test_the_samples_are_valid_by_jsonschema(judge, made):
    judge.validate(made())


@pytest.mark.parametrize("made", searches.EVERY)
def test_what_a_later_version_adds_is_no_error(made):
    report.parse(made() | {"novelty": {"of": ["a", "later"]}})


@pytest.mark.parametrize("made", searches.EVERY)
def test_the_samples_are_read_back_equal(tmp_path, made):
    report.write(report.parse(made()), "json", tmp_path / "report.json")
    assert report.read(tmp_path / "report.json").as_json() == made()


def refusal(value):
    """What is said of a value; nothing of a report."""
    try:
        report.parse(value)
    except RefusedInput as error:
        return str(error)
    return ""


def place(path):
    return "report" + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)


@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_a_value_in_place_of_a_report_is_refused(judge, value):
    assert refusal(value)
    assert not judge.is_valid(value)


def damages(made, count):
    """Random places of a report, and to what each is changed."""
    rng, places = random.Random(0), list(paths(made))
    return [(rng.choice(places), rng.choice(["delete", *WRONG])) for _ in range(count)]


on_reports = pytest.mark.parametrize("whole", [small, small_audit])
on_few_or_many = pytest.mark.parametrize("count", [50, pytest.param(500, marks=pytest.mark.slow)])


@on_few_or_many
@on_reports
def test_we_refuse_the_damaged_reports_that_jsonschema_refuses(judge, whole, count):
    result, refused = whole(), 0
    for path, change in damages(result, count):
        damaged = changed(result, path, change)
        is_refused = bool(refusal(damaged))
        assert is_refused is not judge.is_valid(damaged)
        refused += is_refused
    assert refused > count / 5


@on_few_or_many
@on_reports
def test_a_refusal_of_a_damaged_report_tells_the_place(whole, count):
    result, refused = whole(), 0
    for path, change in damages(result, count):
        message = refusal(changed(result, path, change))
        moved = change == "delete" and isinstance(path[-1], int)  # the next entry of the list is in its place
        assert not message or moved or place(path) in message
        refused += bool(message)
    assert refused > count / 5


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema_version",), "3"),
        (("model", "sha256"), "abc"),
        (("findings", 0, "rule"), "X1"),
        (("training", "steps"), 10**400),
        (("measurements", "clean_accuracy", "value"), math.nan),
        (("measurements", "clean_accuracy", "value"), math.inf),
    ],
)
def test_values_that_look_right_are_told_with_their_places(path, value):
    assert f"{place(path)}: {repr(value)[:5]}" in refusal(changed(small(), path, value))


def test_every_missing_part_is_named_at_once():
    message = refusal({key: value for key, value in small().items() if key not in ("before", "recipe", "tool")})
    assert all(f"report.{key}: missing" in message for key in ("tool", "before", "recipe"))


def test_a_flood_of_problems_is_cut():
    message = refusal(small() | {"findings": [{}] * 500})
    assert len(message.splitlines()) == MAX_PROBLEMS + 3
