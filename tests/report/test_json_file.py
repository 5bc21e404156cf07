"""``report.json`` with unknown numbers, and of an earlier version; what is none: tests/hostile."""

import json
import math
from pathlib import Path

from report import samples
from report.parsed import report

from clipclean import findings
from clipclean.report import verdicts

VERSION1 = Path(__file__).parent / "version1.json"


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
    assert not [form for form in report.FORMATS if "nan" in report.FORMATS[form](loaded).lower().split()]


def test_a_report_of_version_1_is_read_and_compared_without_the_fields_that_went():
    made = report.read(VERSION1)
    kept = made.as_json()
    assert kept["schema_version"] == "2"
    assert not {"examples_sha256", "base", "witnesses"} & {*kept, *kept["measurements"]}
    assert kept["findings"] == json.loads(VERSION1.read_text())["findings"]
    assert all(report.FORMATS[form](made) for form in report.FORMATS)
    new = made.model_copy(update={"findings": (*made.findings, findings.finding("CC001", "One more."))})
    assert [each.change for each in verdicts.compare(made, new).differences] == ["same", "new"]
