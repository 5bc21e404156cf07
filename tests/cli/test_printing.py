import html
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from report import samples

from clipclean import report
from clipclean.cli import printing

GIVEN = {"model": "m.pt", "exit_zero": False, "fail_on": "inconclusive", "baseline": None, "quiet": True}


@pytest.fixture
def accepted():
    """A run that passes because somebody accepts its backdoor."""
    made = samples.passed()
    (found,) = samples.before()["findings"]
    made["policy"] = {"name": "mild", "sha256": "0" * 64, "verdict_without": "fail"}
    made["suppressed"] = [found | {"reason": "known", "by": "Ann", "expires": "2031-01-31"}]
    return report.parse(made)


@pytest.mark.parametrize("on_stdout", [True, False])
def test_exit_0_by_a_suppression_is_said_on_the_last_line(accepted, capsys, on_stdout):
    """On stderr where a report for programs went to stdout."""
    assert printing.exit_code(GIVEN, accepted) == 0
    printing.show_policy(accepted, on_stdout=on_stdout)
    captured = capsys.readouterr()
    told = captured.out if on_stdout else captured.err
    assert "Policy mild sets 1 finding aside. Without it" in told.splitlines()[-1]
    assert "CC001" in told


NAME = "a##[add-mask]b"


@pytest.mark.parametrize(
    ("form", "read"),
    [
        ("json", json.loads),
        ("sarif", json.loads),
        ("html", html.unescape),
        ("junit", lambda text: "".join(ElementTree.fromstring(text).itertext())),
    ],
)
def test_no_line_on_stdout_is_a_command_and_what_it_says_stays(form, read, capsys):
    """GitHub's runner finds ``##[`` anywhere in a line, and ``::`` behind blanks at its start."""
    shown = {
        "json": f'[\n  "{NAME}"\n]\n',
        "sarif": f'{{"a": "{NAME}"}}\n',
        "html": f"<p>{NAME}\n  ::error::x</p>\n",
        "junit": f"<a>{NAME}\n::error::x</a>\n",
    }[form]
    printing.echo(shown, form=form)
    told = capsys.readouterr().out
    assert "##[" not in told
    assert not re.search(r"^\s*::", told, re.MULTILINE)
    assert read(told) == read(shown)


def test_a_report_as_text_or_markdown_holds_no_command(capsys):
    for form in ("text", "markdown"):
        printing.echo(f"class {NAME}\n  ::error::x\n| ::x | ## [y](z) |\n", form=form)
    told = capsys.readouterr().out
    assert "##[" not in told
    assert not re.search(r"^\s*::", told, re.MULTILINE)
    assert told.count("| ::x | ## [y](z) |") == 2


def test_a_policy_that_changed_nothing_says_nothing(capsys):
    printing.show_policy(report.parse(samples.passed()), on_stdout=True)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["hf-hub:laion/some-CLIP@v1", "open_clip:ViT-B-32/openai"])
def test_the_first_line_has_the_name_of_a_model_as_it_was_given(capsys, name):
    printing.first_line(Path(name), "effort quick")
    assert f": {name}, effort quick;" in capsys.readouterr().err
