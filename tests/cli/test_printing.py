import pytest
from report import samples

from clipclean import report
from clipclean.cli import printing
from clipclean.cli.audit import shown_result
from clipclean.cli.options import Output
from clipclean.report import PageImages

GIVEN = {"model": "m.pt", "exit_zero": False, "fail_on": "inconclusive", "baseline": None, "quiet": True}


@pytest.fixture
def accepted():
    """A run that passes because somebody accepts its backdoor."""
    made = samples.passed()
    (found,) = samples.before()["findings"]
    made["policy"] = {"name": "mild", "sha256": "0" * 64, "verdict_without": "fail"}
    made["suppressed"] = [found | {"reason": "known", "by": "Ann", "expires": "2031-01-31"}]
    return report.parse(made)


def test_exit_0_by_a_suppression_is_said_on_the_last_line(accepted, capsys):
    assert shown_result(GIVEN, accepted, PageImages(), ()) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "Policy mild sets 1 finding aside. Without it the verdict would be fail, and it is pass now. Set aside: CC001."
    )


def test_it_is_said_on_stderr_where_a_report_for_programs_went_to_stdout(accepted, capsys):
    assert shown_result(GIVEN, accepted, PageImages(), (Output("json", None),)) == 0
    captured = capsys.readouterr()
    assert "Policy mild" not in captured.out.splitlines()[-1]
    assert captured.err.splitlines()[-1].startswith("clipclean: Policy mild sets 1 finding aside. Without it")


def test_a_policy_that_changed_nothing_says_nothing(capsys):
    printing.show_policy(report.parse(samples.passed()), on_stdout=True)
    assert capsys.readouterr() == ("", "")
