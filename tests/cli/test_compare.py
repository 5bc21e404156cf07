"""``clipclean compare``: findings of two reports, and the exit codes that follow from a verdict or a baseline."""

import json

import pytest
from report import samples, searches

from clipclean import cli, report
from clipclean.cli import printing
from clipclean.cli.options import Shell
from clipclean.jobs.compare import compare

PATCH, DOUBT, NOTE = ("CC001", "error", "patch", (0.2, 0.4)), ("CC021", "warning"), ("CC040", "note")
SMALL = ("CC003", "error", "found:mask", (0.2, 0.4))


def made(*findings):
    """A report with these findings: rule, level, trigger, interval."""
    base = report.parse(samples.failed())
    keys = ("rule", "level", "trigger", "interval")
    own = [dict.fromkeys((*keys, "class_", "target")) | dict(zip(keys, values, strict=False)) for values in findings]
    return base.model_copy(update={"findings": tuple(base.findings[0].model_copy(update=values) for values in own)})


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        ([], [PATCH], ["new"]),
        ([PATCH], [PATCH], ["same"]),
        ([PATCH], [], ["gone"]),
        ([("CC001", "warning", "patch", (0.2, 0.4))], [PATCH], ["worse"]),
        ([PATCH], [("CC001", "warning", "patch", (0.2, 0.4))], ["same"]),
        ([PATCH], [("CC001", "error", "patch", (0.39, 0.6))], ["same"]),  # the intervals overlap
        ([PATCH], [("CC001", "error", "patch", (0.41, 0.6))], ["worse"]),
        ([PATCH], [("CC001", "error", "stripes", (0.2, 0.4))], ["new", "gone"]),
        ([PATCH], [PATCH, PATCH], ["same"]),
        ([SMALL], [], ["not measured"]),  # neither searched
    ],
)
def test_findings_are_matched_by_what_they_are_about(before, after, change):
    assert [each.change for each in compare(made(*before), made(*after)).differences] == change


def test_a_gate_fails_by_what_is_new_worse_or_unmeasured_at_its_level_or_above():
    found = compare(made(), made(NOTE, DOUBT))
    assert (len(found.blocking("inconclusive")), len(found.blocking("error"))) == (1, 0)
    assert len(compare(made(), made(PATCH)).blocking("error")) == 1
    assert compare(made(PATCH, DOUBT), made(PATCH, DOUBT)).blocking("inconclusive") == ()
    assert len(compare(made(SMALL), made()).blocking("error")) == 1
    searched = report.parse(searches.calm() | {"findings": []})
    assert [each.change for each in compare(made(SMALL), searched).differences] == ["gone"]


@pytest.fixture
def saved(tmp_path):
    report.write(report.parse(samples.failed()), "json", tmp_path / "failed.json")
    report.write(report.parse(samples.passed()), "json", tmp_path / "passed.json")
    return tmp_path


@pytest.mark.parametrize(
    ("one", "other", "code", "change"),
    [("failed", "failed", 0, "same"), ("passed", "failed", 1, "new"), ("failed", "passed", 0, "gone")],
)
def test_an_error_that_was_not_there_fails(saved, capsys, one, other, code, change):
    assert cli.main(["compare", str(saved / f"{one}.json"), str(saved / f"{other}.json"), "--json"]) == code
    assert ("error", change) in {(row["level"], row["change"]) for row in json.loads(capsys.readouterr().out)}


@pytest.mark.parametrize(
    ("verdict", "options", "code"),
    [
        ("pass", {}, 0),
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
def test_the_exit_code_of_a_report_follows_the_options(saved, verdict, options, code):
    if "baseline" in options:
        options = {"baseline": saved / options["baseline"]}
    result = report.parse(samples.failed()).model_copy(update={"verdict": verdict})
    assert printing.exit_code(Shell(quiet=True, **options), result) == code
