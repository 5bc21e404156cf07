"""``report.json`` with unknown numbers; what is none: tests/hostile."""

import json
import math

import pytest
from report import samples
from report.parsed import report

from clipclean import findings


def test_unknown_numbers_stay_valid_and_writable(tmp_path):
    text = report.json_text({"a": math.nan, "b": [math.inf, 1.5], "c": (1, None)})
    assert json.loads(text) == {"a": None, "b": [None, 1.5], "c": [1, None]}
    # A probe without images of other classes knows no rate.
    made = samples.passed()
    for side in ("before", "after"):
        for probe in made[side]["measurements"]["probes"]:
            probe["asr"] = {"value": None, "interval": [0.0, 1.0], "n": 0}
            probe["excess_asr"] = {"value": None, "interval": [-1.0, 1.0], "n": 0}
            probe["distance"] = math.nan
        made[side]["measurements"]["clean_accuracy"] = None
    made["measurements"] = made["after"]["measurements"]
    report.write(report.parse(findings.plain(made)), "json", tmp_path / "report.json")
    loaded = report.read(tmp_path / "report.json")
    assert not [form for form in report.WRITERS if "nan" in report.WRITERS[form](loaded).lower().split()]


@pytest.mark.parametrize("form", ["json", "sarif"])
def test_nothing_in_json_drives_a_terminal_and_its_values_stay(form):
    hostile = "a\x9b2J\u202e\U000e0041é\u2028b"
    made = samples.audited()
    made["model"]["name"] = hostile
    made["labels"] = {"key": hostile}
    text = report.WRITERS[form](made)
    assert [char for char in text if not (char.isprintable() or char == "\n")] == []
    if form == "json":
        assert json.loads(text)["model"]["name"] == hostile


def test_a_report_of_an_earlier_version_is_read_with_its_trials_of_rates_and_its_scale():
    made = samples.passed()
    trial = {"lr": 1e-4, "steps": 60, "planted": 0.9, "left": 0.1, "trigger": "patch", "target": "cat"}
    made["training"]["rates"] = {"chosen": 1e-4, "found": True, "trials": [trial]}
    made["recipe"] |= {"name": "cleanclip@few", "resolved": {"scale": "few", "train": {"lr": 1e-4, "lr_trials": 4}}}
    read = report.parse(findings.plain(made))
    assert json.loads(report.json_text(read.as_json()))["training"]["rates"]["chosen"] == 1e-4
    assert all(form(read) for form in report.WRITERS.values())
