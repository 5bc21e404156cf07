"""``clipclean report``, and how all commands print reports: no line on stdout is a command to a CI system."""

import html
import json
import re
from xml.etree import ElementTree

import pytest
from report import samples

from clipclean import report
from clipclean.cli import main, printing
from clipclean.cli.options import Shell

FAILED = report.parse(samples.failed())


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """A folder to work in that holds a report and what is none."""
    monkeypatch.chdir(tmp_path)
    report.write(FAILED, "json", tmp_path / "report.json")
    (tmp_path / "other.json").write_text('{"verdict": "fine"}')
    return tmp_path


@pytest.mark.parametrize("form", report.FORMATS)
def test_convert_prints_or_writes_a_form_and_exits_0_whatever_the_verdict(saved, capsys, form):
    made = report.FORMATS[form](FAILED)
    assert main(["report", "convert", "report.json", "--to", form]) == 0
    assert capsys.readouterr() == (made, "")
    for more in (["--to", form, "--out", "page"], *([["-o", "page.html"]] if form == "html" else [])):
        assert main(["report", "convert", "report.json", *more]) == 0
        assert capsys.readouterr().out == ""
        assert (saved / more[-1]).read_text(encoding="utf-8") == made


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        ("report.json", 2, "--to"),
        ("report.json -o page.pdf", 2, "--to"),
        ("report.json --to pdf", 2, "pdf"),
        ("report.json --to html --out report.json", 2, "report.json"),
        ("none.json --to html", 3, "none.json"),
        ("other.json --to html", 2, "schema_version"),
    ],
)
def test_what_cannot_be_converted_is_refused_and_nothing_written(saved, refused, arguments, code, named):
    refused(["report", "convert", *arguments.split()], saved, code, named)


@pytest.mark.parametrize("on_stdout", [True, False])
def test_exit_0_by_a_suppression_is_said_on_the_last_line_and_what_changed_nothing_is_not(capsys, on_stdout):
    """On stderr where a report for programs went to stdout."""
    made = samples.passed()
    (found,) = samples.before()["findings"]
    made["policy"] = {"name": "mild", "sha256": "0" * 64, "verdict_without": "fail"}
    made["suppressed"] = [found | {"reason": "known", "by": "Ann", "expires": "2031-01-31"}]
    accepted = report.parse(made)
    assert printing.exit_code(Shell(quiet=True), accepted) == 0
    printing.show_policy(accepted, on_stdout=on_stdout)
    captured = capsys.readouterr()
    last = (captured.out if on_stdout else captured.err).splitlines()[-1]
    assert all(word in last for word in ("mild", "CC001"))
    printing.show_policy(report.parse(samples.passed()), on_stdout=on_stdout)
    assert capsys.readouterr() == ("", "")


NAME = "a##[add-mask]b"


@pytest.mark.parametrize(
    ("form", "shown", "read"),
    [
        ("json", f'[\n  "{NAME}"\n]\n', json.loads),
        ("sarif", f'{{"a": "{NAME}"}}\n', json.loads),
        ("html", f"<p>{NAME}\n  ::error::x</p>\n", html.unescape),
        ("junit", f"<a>{NAME}\n::error::x</a>\n", lambda text: "".join(ElementTree.fromstring(text).itertext())),
        ("text", f"class {NAME}\n  ::error::x\n| ::x | ## [y](z) |\n", None),
        ("markdown", f"class {NAME}\n  ::error::x\n| ::x | ## [y](z) |\n", None),
    ],
)
def test_no_line_on_stdout_is_a_command_and_what_it_says_stays(form, shown, read, capsys):
    """GitHub's runner finds ``##[`` anywhere in a line, and ``::`` behind blanks at its start."""
    printing.echo(shown, form=form)
    told = capsys.readouterr().out
    assert "##[" not in told
    assert not re.search(r"^\s*::", told, re.MULTILINE)
    if read:
        assert read(told) == read(shown)
    else:
        assert "| ::x | ## [y](z) |" in told
