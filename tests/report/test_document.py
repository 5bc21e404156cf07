from cases import each
from report import samples, searches
from report.page import Page

from clipclean import report
from clipclean.report import document


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


def section(made, key):
    return next((each for each in document.sections(report.parse(made)) if each.key == key), None)


def test_a_report_without_planted_backdoors_has_no_section_of_them():
    assert section(searches.calm(), "power") is None


def test_each_planted_backdoor_is_a_row():
    power = section(powered().as_json(), "power")
    (table,) = power.tables
    assert [row[-1].text for row in table.rows] == ["found", "suspected", "missed", "not planted"]
    assert "finds 2 of 3 (" in power.lead[0]
    assert "1 of 3 (" in power.lead[0]


def facts(made):
    (table, *_) = section(made, "provenance").tables
    return {(of.text, what.text): told.text for of, what, told in table.rows}


def test_an_audit_names_model_policy_and_images():
    found = facts(searches.backdoored())
    assert list(dict.fromkeys(of for of, _ in found)) == [
        "Model",
        "Policy",
        "Images measured on",
        "Machine and versions",
    ]
    assert found["Policy", "SHA-256"] == "9d" * 32
    assert found["Images measured on", "Skipped"] == "1"
    assert found["Machine and versions", "Time"] == "1 min 4 s"


def test_a_sanitization_names_recipe_data_and_what_was_written():
    found = facts(samples.passed())
    assert {"Recipe", "Clean data", "Written: open_clip"} < {of for of, _ in found}
    assert found["Clean data", "Pairs"] == "2,316"


def test_what_is_not_known_is_left_out():
    made = samples.passed()
    made["data"]["name"] = ""
    del made["model"]["activation"]
    assert not {("Clean data", "Name"), ("Model", "Activation")} & facts(made).keys()


def test_skipped_samples_are_listed_up_to_a_number_or_only_counted():
    made = samples.passed()
    made["data"]["skipped"] = [{"key": str(i), "reason": "r"} for i in range(30)]
    assert len(section(made, "provenance").tables[1].rows) == document.SKIPPED == 20
    assert facts(made)["Clean data", "Skipped"] == "30"
    made["data"]["skipped"] = 7
    assert [table.title for table in section(made, "provenance").tables] == ["", "Notes on reading the model"]
    assert facts(made)["Clean data", "Skipped"] == "7"


@each("form", ["markdown", "html"])
def test_every_form_has_them(form):
    shown = {"markdown": report.markdown, "html": report.html}[form](powered())
    assert "not planted" in shown
    if form == "html":
        assert Page(shown).faults == []
        assert "<b>" not in shown
