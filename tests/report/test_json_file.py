"""``report.json`` with unknown numbers; what is none: tests/hostile."""

import json
import math

import pytest
from report import samples
from report.parsed import report

from clipclean.schema import part


def test_json_holds_null_for_an_unknown_number():
    text = report.json_text({"a": math.nan, "b": [math.inf, 1.5], "c": (1, None)})
    assert json.loads(text) == {"a": None, "b": [None, 1.5], "c": [1, None]}


def test_no_form_shows_an_unknown_number_as_nan(tmp_path):
    # A probe without images of other classes knows no rate.
    result = samples.passed()
    for side in ("before", "after"):
        for probe in result[side]["measurements"]["probes"]:
            probe["asr"] = {"value": None, "interval": [0.0, 1.0], "n": 0}
            probe["excess_asr"] = {"value": None, "interval": [-1.0, 1.0], "n": 0}
            probe["distance"] = math.nan
        result[side]["measurements"]["clean_accuracy"] = None
    result["measurements"] = result["after"]["measurements"]
    report.write(report.parse(part.plain(result)), "json", tmp_path / "report.json")
    loaded = report.read(tmp_path / "report.json")
    assert not [form for form in report.WRITERS if "nan" in report.WRITERS[form](loaded).lower().split()]


HOSTILE = "a\x9b2J\u202e\U000e0041é\u2028b"


def hostile_report():
    result = samples.audited()
    result["model"]["name"] = HOSTILE
    result["labels"] = {"key": HOSTILE}
    return result


@pytest.mark.parametrize("form", ["json", "sarif"])
def test_nothing_in_json_drives_a_terminal(form):
    text = report.WRITERS[form](hostile_report())
    assert [char for char in text if not (char.isprintable() or char == "\n")] == []


def test_json_keeps_a_value_that_would_drive_a_terminal():
    assert json.loads(report.WRITERS["json"](hostile_report()))["model"]["name"] == HOSTILE


def test_a_report_with_settings_of_an_earlier_version_is_read():
    result = samples.passed()
    trial = {"lr": 1e-4, "steps": 60, "planted": 0.9, "left": 0.1, "trigger": "patch", "target": "cat"}
    result["training"]["rates"] = {"chosen": 1e-4, "found": True, "trials": [trial]}
    result["recipe"] |= {"name": "cleanclip@few", "resolved": {"scale": "few", "train": {"lr": 1e-4, "lr_trials": 4}}}
    read = report.parse(part.plain(result))
    assert json.loads(report.json_text(read.as_json()))["training"]["rates"]["chosen"] == 1e-4
    assert all(form(read) for form in report.WRITERS.values())
