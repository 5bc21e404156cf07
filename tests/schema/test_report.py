"""What is a report: we and another implementation of JSON Schema agree, and a wrong value is told with its place."""

import copy
import functools
import math
import random

import jsonschema
import pytest
from report import samples, searches

from clipclean import report
from clipclean.errors import UsageError
from clipclean.schema.report import MAX_PROBLEMS

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


@pytest.mark.parametrize("made", searches.EVERY)
def test_the_samples_are_valid_by_jsonschema_and_by_us(made):
    jsonschema.Draft202012Validator.check_schema(report.schema())
    jsonschema.Draft202012Validator(report.schema()).validate(made())
    report.parse(made() | {"novelty": {"of": ["a", "later"]}})  # what a later version adds is no error


def is_accepted(value):
    try:
        report.parse(value)
    except UsageError:
        return False
    return True


@pytest.mark.parametrize("count", [50, pytest.param(500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("whole", [small, small_audit])
def test_we_and_jsonschema_agree_on_damaged_reports(whole, count):
    made, rng = whole(), random.Random(0)
    judge = jsonschema.Draft202012Validator(report.schema())
    places = list(paths(made))
    refused = 0
    wrong = (changed(made, rng.choice(places), rng.choice(["delete", *WRONG])) for _ in range(count))
    for damaged in (*WRONG, *wrong):
        is_valid = judge.is_valid(damaged)
        assert is_accepted(damaged) == is_valid
        refused += not is_valid
    assert refused > count / 5


@pytest.mark.parametrize(
    ("whole", "path", "value"),
    [
        (small, "verdict", "maybe"),
        (small, "schema_version", "3"),
        (small, "model.sha256", "abc"),
        (small, "findings.0.rule", "X1"),
        (small, "measurements.clean_accuracy.value", 1.5),
        (small, "measurements.clean_accuracy.value", math.nan),
        (small, "measurements.clean_accuracy.n", True),
        (small, "training.steps", 10**400),
        (small, "before", "delete"),
        (small_audit, "measurements.search.found.0.asr", None),
        (small_audit, "measurements.search.found.0.size", 1.5),
        (small_audit, "measurements.search.found.0.reached", 1),
        (small_audit, "measurements.search.calibration.kind", "guess"),
        (small_audit, "measurements.search.effort", "delete"),
        (small_audit, "measurements.projection.points.0.kind", "dirty"),
        (small_audit, "measurements.projection.points.1.x", math.inf),
        (small_audit, "suppressed.0.reason", "delete"),
        (small_audit, "policy.sha256", "0"),
        (small_audit, "effort", "lazy"),
    ],
)
def test_a_wrong_value_is_told_with_its_place(whole, path, value):
    keys = [int(key) if key.isdigit() else key for key in path.split(".")]
    with pytest.raises(UsageError) as told:
        report.parse(changed(whole(), keys, value))
    place = "report" + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    if value == "delete":
        assert f"{place}: missing" in str(told.value) or f"{keys[-1]} missing" in str(told.value)
    else:
        assert f"{place}: {repr(value)[:5]}" in str(told.value)


def test_every_missing_part_is_named_at_once_and_a_flood_of_problems_is_cut():
    made = {key: value for key, value in small().items() if key not in ("before", "recipe", "tool")}
    with pytest.raises(UsageError) as told:
        report.parse(made)
    assert all(f"report.{key}: missing" in str(told.value) for key in ("tool", "before", "recipe"))
    with pytest.raises(UsageError) as told:
        report.parse(small() | {"findings": [{}] * 500})
    assert len(str(told.value).splitlines()) == MAX_PROBLEMS + 3
