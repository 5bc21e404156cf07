import pytest
from report import samples, searches
from report.page import Page

from clipclean import report
from clipclean.report import sections

CHANGE = {"name": "visual.layer1.0", "relative": 0.125, "tensors": 6, "changed": 4}


def compared(**more):
    made = searches.backdoored()
    made["measurements"]["base"] = {
        "name": "base.pt",
        "sha256": "0" * 64,
        "relative": 0.03,
        "tensors": 20,
        "changed": 9,
        "layers": [CHANGE, CHANGE | {"name": "logit_scale", "relative": None}],
        "moved_most": [CHANGE],
    }
    made["measurements"]["witnesses"] = [
        {
            "name": "other.pt",
            "architecture": "RN50",
            "clean_accuracy": samples.rate(60, 100),
            "triggers": [
                {
                    "trigger": "found:mask,class=banana",
                    "class": "banana",
                    "asr": samples.rate(90, 100),
                    "base_rate": samples.rate(1, 100),
                    "moved": True,
                },
                {
                    "trigger": "found:warp,class=<b>",
                    "class": "<b>",
                    "asr": samples.rate(2, 100),
                    "base_rate": samples.rate(1, 100),
                    "moved": False,
                },
            ],
        },
        {
            "name": "silent.pt",
            "architecture": "RN50",
            "clean_accuracy": {"value": None, "interval": [0, 1], "n": 0},
            "triggers": [],
        },
    ]
    planted = {"trigger": "patch", "class": "otter", "excess_asr": 0.9, "took": True, "level": "error", "seconds": 9.0}
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


def test_a_report_without_a_base_and_witnesses_has_no_tables():
    assert sections.tables(report.parse(searches.calm())) == []


def test_the_layers_of_a_base_and_what_each_witness_says_are_rows():
    base, witness, silent, power = sections.tables(compared())
    assert base.rows == (("visual.layer1.0", "12.5 %", "4 of 6"), ("logit_scale", "from zero", "4 of 6"))
    assert "9 of 20 tensors" in base.words
    assert [row[-1] for row in witness.rows] == ["natural trigger", "proves nothing"]
    assert silent.rows == ()
    assert [row[-1] for row in power.rows] == ["found", "suspected", "missed", "not planted"]
    assert "finds 2 of 3 (" in power.words
    assert "1 of 3 (" in power.words


@pytest.mark.parametrize("form", ["text", "markdown", "html"])
def test_every_form_has_them(form):
    shown = {"text": report.plain_text, "markdown": report.markdown, "html": report.html}[form](compared())
    for words in (
        "base.pt",
        "visual.layer1.0",
        "from zero",
        "other.pt",
        "natural trigger",
        "proves nothing",
        "silent.pt",
    ):
        assert words in shown
    if form == "html":
        assert Page(shown).faults == []
        assert "<b>" not in shown
