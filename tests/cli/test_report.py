import json
from xml.etree import ElementTree

import pytest
from report import samples
from report.parsed import Parsed

from clipclean import report
from clipclean.cli import main

report = Parsed(report)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "report.json"
    report.write(samples.failed(), "json", path)
    return path


@pytest.mark.parametrize("form", ["html", "markdown", "text", "json", "sarif", "junit"])
def test_convert_prints_the_form_and_exits_0_whatever_the_verdict(saved, capsys, form):
    assert main(["report", "convert", str(saved), "--to", form]) == 0
    captured = capsys.readouterr()
    assert captured.out == report.FORMATS[form](samples.failed())
    assert captured.err == ""


def test_what_is_printed_can_be_piped_into_a_parser(saved, capsys):
    main(["report", "convert", str(saved), "--to", "sarif"])
    json.loads(capsys.readouterr().out)
    main(["report", "convert", str(saved), "--to", "junit"])
    ElementTree.fromstring(capsys.readouterr().out)


def test_out_writes_the_file_and_prints_nothing(saved, tmp_path, capsys):
    assert main(["report", "convert", str(saved), "--to", "html", "--out", str(tmp_path / "page.html")]) == 0
    assert capsys.readouterr().out == ""
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == report.html(samples.failed())


def test_the_suffix_of_out_names_the_form(saved, tmp_path):
    assert main(["report", "convert", str(saved), "-o", str(tmp_path / "log.sarif")]) == 0
    assert json.loads((tmp_path / "log.sarif").read_text(encoding="utf-8"))["version"] == "2.1.0"


@pytest.mark.parametrize("more", [[], ["-o", "page.pdf"]])
def test_a_form_must_be_named_somehow(saved, tmp_path, capsys, more, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["report", "convert", str(saved), *more]) == 2
    assert "Name the format by --to" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [saved]


def test_the_report_itself_is_not_overwritten(saved, capsys):
    content = saved.read_bytes()
    assert main(["report", "convert", str(saved), "--to", "html", "--out", str(saved)]) == 2
    assert "would write over the report" in capsys.readouterr().err
    assert saved.read_bytes() == content


def test_a_missing_file_is_refused_input(tmp_path, capsys):
    assert main(["report", "convert", str(tmp_path / "none.json"), "--to", "html"]) == 3
    assert "Cannot read" in capsys.readouterr().err


def test_json_that_is_no_report_is_a_usage_error_with_its_problems(tmp_path, capsys):
    (tmp_path / "other.json").write_text('{"verdict": "fine"}')
    assert main(["report", "convert", str(tmp_path / "other.json"), "--to", "html"]) == 2
    told = capsys.readouterr().err
    assert "report.verdict" in told
    assert "schema_version" in told


def test_an_unknown_form_is_a_usage_error(saved, capsys):
    assert main(["report", "convert", str(saved), "--to", "pdf"]) == 2
    assert "pdf" in capsys.readouterr().err
