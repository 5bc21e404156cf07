import pytest
from report import samples, searches
from report.page import Page

from clipclean import report
from clipclean.report import sections


def compared(**more):
    made = searches.backdoored()
    planted = {
        "trigger": "patch",
        "class": "<b>otter",
        "excess_asr": 0.9,
        "took": True,
        "level": "error",
        "seconds": 9.0,
    }
    rows = [
        planted,
        planted | {"level": "warning"},
        planted | {"level": None},
        planted | {"excess_asr": 0.1, "took": False},
    ]
    made["measurements"]["power"] = {
        "found": samples.rate(2, 3),
        "failed": samples.rate(1, 3),
        "enough": False,
        "planted": rows,
    }
    return report.parse(made | more)


def test_a_report_without_power_has_no_tables():
    assert sections.tables(report.parse(searches.calm())) == []


def test_each_planted_trigger_is_a_row():
    (power,) = sections.tables(compared())
    assert [row[-1] for row in power.rows] == ["found", "suspected", "missed", "not planted"]
    assert "finds 2 of 3 (" in power.words
    assert "1 of 3 (" in power.words


@pytest.mark.parametrize("form", ["text", "markdown", "html"])
def test_every_form_has_them(form):
    shown = {"text": report.plain_text, "markdown": report.markdown, "html": report.html}[form](compared())
    for words in ("finds 2 of 3 (", "not planted"):
        assert words in shown
    if form == "html":
        assert Page(shown).faults == []
        assert "<b>" not in shown
