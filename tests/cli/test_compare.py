import json

import pytest
from report import samples

from clipclean import cli, report
from clipclean.cli import printing


@pytest.fixture
def saved(tmp_path):
    """A failed report, a passed one, and a failed one with another finding."""
    failed, passed = report.parse(samples.failed()), report.parse(samples.passed())
    report.write(failed, "json", tmp_path / "failed.json")
    report.write(passed, "json", tmp_path / "passed.json")
    return tmp_path


def test_a_report_beside_itself_has_nothing_new(saved, capsys):
    assert cli.main(["compare", str(saved / "failed.json"), str(saved / "failed.json")]) == 0
    assert "fail -> fail: 0 new, 0 worse" in capsys.readouterr().out.splitlines()[-1]


def test_an_error_that_was_not_there_fails(saved, capsys):
    assert cli.main(["compare", str(saved / "passed.json"), str(saved / "failed.json"), "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)
    assert any(row["change"] == "new" and row["level"] == "error" for row in rows)


def test_a_report_that_cannot_be_read_is_refused(saved, capsys):
    assert cli.main(["compare", str(saved / "none.json"), str(saved / "failed.json")]) == 3
    assert "Cannot read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("verdict", "options", "code"),
    [
        ("fail", {}, 1),
        ("inconclusive", {}, 4),
        ("inconclusive", {"fail_on": "error"}, 0),
        ("fail", {"fail_on": "error"}, 1),
        ("fail", {"exit_zero": True}, 0),
        ("fail", {"baseline": "failed.json"}, 0),
        ("fail", {"baseline": "passed.json"}, 1),
        ("pass", {"baseline": "passed.json"}, 0),
    ],
)
def test_the_exit_code_follows_the_options(saved, verdict, options, code):
    given = {"exit_zero": False, "fail_on": "inconclusive", "baseline": None, "quiet": True} | options
    if given["baseline"]:
        given["baseline"] = saved / given["baseline"]
    result = report.parse(samples.failed()).model_copy(update={"verdict": verdict})
    assert printing.exit_code(given, result) == code
