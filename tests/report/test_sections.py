from cases import each
from report import samples, searches
from report.page import Page

from clipclean import report
from clipclean.report import sections


def powered():
    made = searches.backdoored()
    planted = {"trigger": "<b>", "class": "otter", "excess_asr": 0.9, "took": True, "level": "error", "seconds": 9.0}
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
    return report.parse(made)


def test_a_report_without_planted_backdoors_has_no_tables():
    assert sections.tables(report.parse(searches.calm())) == []


def test_each_planted_backdoor_is_a_row():
    (power,) = sections.tables(powered())
    assert [row[-1] for row in power.rows] == ["found", "suspected", "missed", "not planted"]
    assert "finds 2 of 3 (" in power.words
    assert "1 of 3 (" in power.words


@each("form", ["markdown", "html"])
def test_every_form_has_them(form):
    shown = {"markdown": report.markdown, "html": report.html}[form](powered())
    assert "not planted" in shown
    if form == "html":
        assert Page(shown).faults == []
        assert "<b>" not in shown
