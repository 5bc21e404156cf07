import json
import math
from pathlib import Path

import pytest
from cases import each
from report import samples, searches
from report.parsed import Parsed

from clipclean import findings, report
from clipclean.errors import RefusedInput, ResourceError, UsageError
from clipclean.jobs import compare
from clipclean.report import json_file

report = Parsed(report)


def test_what_was_written_reads_back_equal(tmp_path):
    for made in (samples.passed(), samples.failed(), samples.audited(), searches.backdoored()):
        report.write(made, "json", tmp_path / "report.json")
        assert report.read(tmp_path / "report.json").as_json() == made


def test_keys_keep_their_order():
    assert list(json.loads(report.json(samples.passed()))) == list(samples.passed())


def test_what_is_no_number_becomes_null_and_the_rest_stays():
    text = report.json_text({"a": math.nan, "b": [math.inf, 1.5], "c": (1, None)})
    assert json.loads(text) == {"a": None, "b": [None, 1.5], "c": [1, None]}


def test_a_report_with_unknown_numbers_stays_valid_and_writable(tmp_path):
    """A probe without images of other classes knows no rate."""
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
    for form in report.FORMATS:
        assert "nan" not in report.FORMATS[form](loaded).lower().split()


@each(
    ("content", "error", "message"),
    [
        (b"", RefusedInput, "is not JSON"),
        (b"{", RefusedInput, "is not JSON"),
        (b'{"a": NaN}', RefusedInput, "NaN is not a JSON number"),
        (b"\xff\xfe\x00", RefusedInput, "is not JSON"),
        (b"[" * 100_000, RefusedInput, "is not JSON"),
        (b"[" * 40 + b"]" * 40, RefusedInput, "more than 32 deep"),
        (b"1" * 5000, RefusedInput, "is not JSON"),
        (b"[]", UsageError, "not a clipclean report"),
        (b'{"schema_version": "1"}', UsageError, "missing"),
    ],
)
def test_a_file_that_is_no_report_is_refused_with_the_reason(tmp_path, content, error, message):
    path = tmp_path / "report.json"
    path.write_bytes(content)
    with pytest.raises(error, match=message):
        report.read(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(RefusedInput, match="Cannot read"):
            report.read(path)


def test_a_file_beyond_the_cap_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(json_file, "MAX_BYTES", 2**20)
    path = tmp_path / "report.json"
    path.write_bytes(b" " * (2**20 + 1))
    with pytest.raises(RefusedInput, match="more than 1 MiB"):
        report.read(path)


@pytest.mark.parametrize("form", sorted(report.FORMATS))
def test_each_form_is_written_as_its_function_gives_it(tmp_path, form):
    made = samples.failed()
    report.write(made, form, tmp_path / "out")
    assert (tmp_path / "out").read_text(encoding="utf-8") == report.FORMATS[form](made)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("form", sorted(report.FORMATS))
def test_a_form_leaves_the_report_as_it_is_and_repeats_itself(form):
    made = samples.failed()
    first = report.FORMATS[form](made)
    assert made == samples.failed()
    assert report.FORMATS[form](made) == first


def test_an_unwritable_place_is_a_resource_error(tmp_path):
    with pytest.raises(ResourceError, match="Cannot write"):
        report.write(samples.passed(), "html", tmp_path / "none" / "report.html")


def test_a_report_of_version_1_is_read_without_the_fields_that_went():
    old = Path(__file__).parent / "version1.json"
    made = report.read(old)
    kept = made.as_json()
    assert kept["schema_version"] == "2"
    assert "examples_sha256" not in kept
    assert not {"base", "witnesses"} & kept["measurements"].keys()
    assert kept["findings"] == json.loads(old.read_text())["findings"]
    for form in report.FORMATS:
        assert report.FORMATS[form](made)


def test_a_report_of_version_1_compares_with_one_of_version_2():
    old = report.read(Path(__file__).parent / "version1.json")
    new = old.model_copy(update={"findings": (*old.findings, findings.finding("CC001", "One more."))})
    assert [each.change for each in compare.compare(old, new).differences] == ["same", "new"]
