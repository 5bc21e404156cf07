"""The samples in every form: each has the figures and names, in an order that a reader needs, and changes nothing."""

import re
import subprocess

import pytest
from pydantic import Field, create_model
from report import samples, searches
from report.page import Page
from report.parsed import report
from rich.cells import cell_len

from clipclean.report import RunPaths, compared_text, document, verdicts
from clipclean.report.markdown_page import MAX_MARKDOWN_BYTES, code, escaped
from clipclean.schema.report import Many, MeasurementsRecord, SkippedRecord, VocabularyRecord
from clipclean.schema.report_forms import REPORT_FORMS
from clipclean.schema.results import ComparedModels


def powered():
    """Three backdoors took: one was found, one suspected, one missed; a fourth did not take."""
    made = searches.backdoored()
    planted = {"trigger": "<b>", "class": "otter", "excess_asr": 0.9, "took": True, "level": "error", "seconds": 9.0}
    untaken = planted | {"excess_asr": 0.1, "took": False}
    rows = [planted, planted | {"level": "warning"}, planted | {"level": None}, untaken]
    rates = {"found": samples.rate(2, 3), "failed": samples.rate(1, 3)}
    made["measurements"]["power"] = rates | {"enough": False, "planted": rows}
    return made


# 981, 9, 426 and 974 of 990 images; 621, 612 and 550 of 1,000
FIGURES = [
    (samples.passed, "99.1 %|0.9 %|0.6 %|62.1 %|61.2 %|−98.2 points|98.3 to 99.5 %|1,000|2,316|banana|1.62|0.21|CC030"),
    (samples.failed, f"43.0 %|55.0 %|CC001|CC010|−56.1 points|{'5c' * 32}|{'0b' * 32}"),
    (samples.undecided, "CC021|4.0 %"),
    (samples.audited, "99.1 %|0.5 %|62.1 %|CC001|zebra|fog"),
    (samples.unlearned, "banana|99.1 %"),
    (samples.chosen_by_auto, "unlearn + par|needs labels|64.0 %|1.2 points|70.0 %|blended:seed=1"),
    (searches.backdoored, "98.4 %|97.4 to 99.0 %|0.8 %|2.1 %|9.0 to 14.0 %|0.91|8.1 dev|8.10|CC030|Ann|2031-01-31"),
    (searches.calm, "lemon|10.4 %|91.4 %"),
    (searches.doubtful, "CC003|CC004|4.40|4.4 dev"),
    (searches.cleaned, "2.1 %|10.4 %"),
    (powered, "2 of 3|1 of 3|found|suspected|missed|not planted"),
]  # fmt: skip


def test_every_form_has_a_writer():
    assert set(report.WRITERS) == set(REPORT_FORMS)


@pytest.mark.parametrize("form", ["html", "markdown"])
@pytest.mark.parametrize(("made", "figures"), FIGURES)
def test_forms_for_people_have_every_figure(made, figures, form):
    shown = report.WRITERS[form](made())
    shown = Page(shown).text if form == "html" else shown.replace("\\", "")
    assert [each for each in figures.split("|") if each not in shown] == []


@pytest.mark.parametrize("made", [made for made, _ in FIGURES])
def test_only_what_a_policy_did_comes_before_the_verdict(made):
    verdict = made()["verdict"]
    aside = bool(made().get("suppressed"))
    for text, first in (
        (report.markdown(made()), f"clipclean: {verdict}"),
        (report.text(made(), width=80, colour=False), verdict.upper()),
        (report.html(made()).partition("<body")[2], verdict.capitalize()),
        (report.line(made()), verdict),
    ):
        before, separator, _ = text.partition(first)
        assert separator
        assert before.count("1 finding aside") == (aside and first != verdict)


def keys_of(made):
    return [each.key for each in document.sections(report.parse(made))]


@pytest.mark.parametrize(
    ("made", "has", "has_not"),
    [
        (searches.backdoored, "suspects search map panel", "training power"),
        (searches.cleaned, "search training", "suspects"),
        (powered, "power", ""),
    ],
)
def test_a_report_has_the_sections_of_what_was_done(made, has, has_not):
    keys = set(keys_of(made()))
    assert (set(has.split()) - keys, set(has_not.split()) & keys) == (set(), set())


@pytest.mark.parametrize("made", [searches.backdoored, searches.cleaned, powered])
def test_a_page_shows_every_section_of_its_report(made):
    ids = [attributes.get("id") for attributes in Page(report.html(made())).all("section")]
    assert ids == ["next", *keys_of(made())]


def section(made, key):
    return next(each for each in document.sections(report.parse(made)) if each.key == key)


def facts(made):
    table = section(made, "provenance").blocks[0]
    return {(of.text, what.text): told.text for of, what, told in table.rows}


def test_a_report_names_its_inputs():
    inputs = facts(searches.backdoored())
    assert (inputs["Policy", "SHA-256"], inputs["Images measured on", "Skipped"]) == ("9d" * 32, "1")
    words = {"given": True, "classes": [f"class {i}" for i in range(7)], "templates": ["a photo of a {}."]}
    policy = searches.backdoored()["policy"] | {"idle": ["CC010"]}
    inputs = facts(searches.backdoored() | {"vocabulary": words, "policy": policy})
    assert inputs["Classes", "Names"] == "7: class 0, class 1, class 2, class 3, class 4 and 2 more"
    assert (inputs["Classes", "Templates"], inputs["Policy", "Met no finding"]) == ("1: a photo of a {}.", "CC010")
    assert facts(samples.passed())["Clean data", "Pairs"] == "2,316"


def test_an_input_that_is_not_known_is_left_out():
    result = samples.passed()
    names = {("Clean data", "Name"), ("Model", "Activation")}
    assert names <= facts(result).keys()
    result["data"]["name"] = ""
    del result["model"]["activation"]
    assert not names & facts(result).keys()


def test_skipped_samples_are_listed_up_to_a_number():
    result = samples.passed()
    result["data"]["skipped"] = [{"key": str(i), "reason": "r"} for i in range(30)]
    assert len(section(result, "provenance").blocks[1].rows) == document.SKIPPED_ROWS == 20
    assert facts(result)["Clean data", "Skipped"] == "30"
    result["data"]["skipped"] = 7
    assert facts(result)["Clean data", "Skipped"] == "7"


def test_records_among_the_measurements_have_a_table_of_their_own():
    result = samples.passed()
    gates = create_model("Gated", __base__=MeasurementsRecord, gates=(Many[SkippedRecord], Field((), title="Gates")))
    own = gates.model_validate(result["measurements"] | {"gates": [{"key": "a", "reason": "b"}]})
    titled = document.sections(report.parse(result).model_copy(update={"measurements": own}))
    assert [each.blocks[0].head for each in titled if each.title == "Gates"] == [("Sample", "Reason")]


@pytest.mark.parametrize("made", searches.EVERY)
def test_a_report_is_one_line_for_logs(made):
    assert report.line(made()).count("\n") == 1
    assert report.line(made(), page="a.html").endswith(": a.html\n")


@pytest.mark.parametrize("made", searches.EVERY)
def test_a_report_is_one_short_line_for_programmers(made):
    shown = repr(report.parse(made()))
    assert (len(shown) < 200, "\n" in shown) == (True, False)


@pytest.mark.parametrize("made", searches.EVERY)
def test_rows_of_markdown_have_the_cells_of_their_head(made):
    width = 0
    for line in report.markdown(made()).splitlines():
        bars = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert not (bars and width) or bars == width
        width = bars


def test_markdown_shows_markup_as_text():
    assert escaped("a|b <i> [x](y) _z_ `c`") == "a\\|b \\<i\\> \\[x\\](y) \\_z\\_ \\`c\\`"
    assert code("a|b") == "<code>a\\|b</code>"
    assert not re.search(r"@team|://|www\.e", escaped("@team https://evil.example www.evil.example"))


def test_a_long_report_fits_a_step_summary():
    result = searches.backdoored()
    for name in ("found", "controls"):
        entries = result["measurements"]["search"][name]
        result["measurements"]["search"][name] = [entry | {"class": "`" * 2000} for entry in entries] * 20
    result["findings"] = [finding | {"message": "é" * 2000} for finding in result["findings"]] * 60
    result["suspects"] = [{"class": "<" * 2000, "score": 1.0}] * 200
    probes = result["measurements"]["probes"]
    result["measurements"]["probes"] = [p | {"trigger": f"{i}{'|' * 1990}"} for i in range(60) for p in probes]
    assert sum(len(each["message"].encode()) for each in result["findings"]) + 200 * 4000 > 2**20 > MAX_MARKDOWN_BYTES
    text = report.markdown(result)
    assert (len(text.encode()) < 2**20, text.count("<details>")) == (True, text.count("</details>"))


@pytest.mark.parametrize("made", searches.EVERY)
@pytest.mark.parametrize("width", [40, 60, 80, 240])
def test_text_is_wrapped_to_its_width(made, width):
    findings = [*made()["findings"], *[samples.finding("CC040", "note", f"香蕉 {'long' * 30} " * 9 + "end")] * 20]
    text = report.text(made() | {"findings": findings}, width=width, colour=False, closing=["Report: x"])
    lines = text.splitlines()
    assert max(cell_len(line) for line in lines if not line.startswith("Next: ")) <= width
    whole = re.sub(r"\s", "", text)
    assert [each for each in findings if re.sub(r"\s", "", each["message"]) not in whole] == []
    assert "…" not in text
    assert lines[-1] == "Report: x"


def test_text_without_a_width_has_a_line_for_each_finding():
    sentence = "word " * 60 + "end."
    made = samples.failed()
    made["findings"] = [samples.finding("CC040", "note", sentence)]
    assert f"CC040 note {sentence}" in report.text(made, width=None, colour=False).splitlines()


def of_a_thousand_findings(width):
    result = samples.failed()
    result["findings"] = [samples.finding("CC040", "note", f"Name {number}.") for number in range(1000)]
    return report.text(result, width=width, colour=False)


def test_of_many_findings_of_one_rule_a_terminal_counts_the_rest():
    text = of_a_thousand_findings(40)
    assert len(text.splitlines()) < 60
    assert re.search(r"\b980\b", text)


def test_of_many_findings_of_one_rule_a_file_shows_all():
    text = of_a_thousand_findings(None)
    assert all(f"Name {number}." in text for number in range(1000))


def test_text_has_the_worst_findings_first():
    text = report.text(samples.failed(), width=60, colour=False)
    assert next(line for line in text.splitlines() if line.startswith("CC")).startswith("CC001 error ")


def test_text_breaks_no_path_of_the_command_at_its_end():
    place = RunPaths(model="a/" * 60 + "m.pt")
    text = report.text(samples.failed(), width=60, colour=False, paths=place)
    assert any(place.model in line for line in text[text.index("Next: ") :].splitlines())


def test_colour_changes_no_word_of_text():
    plain, painted = (report.text(samples.failed(), width=90, colour=colour) for colour in (False, True))
    assert "\x1b[1;31m" in painted
    assert re.sub(r"\x1b\[[\d;]*m", "", painted) == plain


@pytest.mark.parametrize("width", [40, 60, 100])
def test_a_command_that_goes_on_in_further_lines_is_read_as_one_by_a_shell(width):
    place = RunPaths(model="it's one.pt", data="pairs with spaces/")
    whole, narrow = (
        report.text(samples.failed(), width=columns, colour=False, paths=place) for columns in (None, width)
    )
    commands = [text[text.index("Next: ") :].removeprefix("Next: clipclean ") for text in (whole, narrow)]
    run = [["bash", "-c", f"printf '%s|' {command}"] for command in commands]
    first, second = (subprocess.run(words, capture_output=True, check=True).stdout for words in run)
    assert first == second
    assert b"it's one.pt|" in first
    assert max(map(len, narrow.splitlines())) <= width


def test_no_line_of_text_begins_with_the_sign_of_a_number():
    words = "It moves 40.8 % of images, where at most 30.0 % do."
    assert not any(line.strip().startswith("%") for width in range(40, 60) for line in report.wrapped(words, width))


def test_a_spec_that_is_longer_than_a_line_is_broken_behind_its_commas():
    lines = report.wrapped("Trigger sinusoid:delta=0.1569,frequency=8,phase=0,angle=0,seed=0 acts", 40)
    assert lines == ["Trigger", "  sinusoid:delta=0.1569,frequency=8,", "  phase=0,angle=0,seed=0 acts"]


def test_findings_of_one_rule_say_once_what_they_share():
    start, end = "Too few images to decide: ", ", 20 images. Give more by --eval-data."
    messages = [f"{start}{name} turns 3.5 % of other images{end}" for name in ("the found mask", "stripes:size=0.1")]
    findings = [samples.finding("CC020", "warning", words) for words in (*messages, messages[0])]
    findings.insert(1, samples.finding("CC062", "warning", "It came back."))
    decider, too_few = verdicts.grouped(report.parse(samples.passed() | {"findings": findings}).findings)
    assert (decider.rule, decider.lead, decider.items, decider.closing) == ("CC062", "It came back.", (), "")
    assert (too_few.lead, too_few.closing) == (start.rstrip(), "Give more by --eval-data.")
    assert too_few.items == tuple(
        f"{name} turns 3.5 % of other images, 20 images" for name in ("the found mask", "stripes:size=0.1")
    )


def test_findings_of_one_rule_that_share_no_words_are_counted():
    unlike = [samples.finding("CC040", "note", words) for words in ("One.", "Two: more.")]
    (group,) = verdicts.grouped(report.parse(samples.passed() | {"findings": unlike}).findings)
    assert (group.items, "2" in group.lead, group.closing) == (("One.", "Two: more."), True, "")


@pytest.mark.parametrize("made", searches.EVERY)
def test_a_pull_request_shows_at_most_fifteen_lines_unfolded(made):
    codes = [f"CC{number:03}" for number in (1, 2, 3, 10, 20, 62)]
    findings = [samples.finding(code, "warning", f"{code}: {i}.") for code in codes for i in range(9)]
    for report_ in (made(), made() | {"findings": findings}):
        shown, _, folded = report.markdown(report_).partition("<details>")
        assert len(shown.splitlines()) <= 15
        assert [each["rule"] for each in report_["findings"] if each["rule"] not in folded] == []


# Beside a base.


def beside_base(**more):
    """A trigger acts on both, another one on the model alone; names that would drive a terminal or a page."""
    both = {"trigger": "\x1b[31mstripes", "target": "<b>otter", "interval": [-0.1, 0.1]}
    both |= {"own": samples.rate(90, 100), "base": samples.rate(91, 100)}
    own = both | {"trigger": "sinusoid", "base": samples.rate(0, 100), "interval": [0.8, 0.95]}
    layer = {"name": "visual.proj", "numbers": 8, "change": 0.1, "leading": None}
    moved = {"class": "<b>otter", "text": 0.0, "images": 0.5}
    told = {"name": "\x1b[31mbase.pt", "sha256": "0b" * 32, "format": "torch-zip", "is_base": True, "weights": 0.99}
    told |= {"images": 0.9, "change": 0.1, "leading": 0.5, "layers": [layer], "moved": [moved], "tried": 31}
    return told | {"differences": [own], "on_both": [both]} | more


def tables(base):
    return {each.title: each for each in document.base_blocks(report.parse(samples.audited() | {"base": base}).base)}


def test_what_acts_on_both_has_a_table_of_its_own():
    tables_by_title = tables(beside_base())
    assert [row[1].text for row in tables_by_title["Triggers that act on both"].rows] == ["<b>otter"]
    assert "Triggers that act on both" not in tables(beside_base(on_both=[]))


def test_a_report_beside_a_base_says_that_it_misses_what_both_have():
    limits = [verdicts.not_shown(report.parse(samples.audited() | more)) for more in ({"base": beside_base()}, {})]
    assert len(limits[0]) == len(limits[1]) + 1


WIDTHS = [10, 60, 100, 200, None]


def comparison(width):
    audit = report.parse(samples.audited() | {"base": beside_base()})
    fields = {"schema_version": "1", "command": "compare", "environment": {}, "notes": (), "findings": audit.findings}
    words = {"given": True, "classes": ("otter",), "templates": ("{}",)}
    shared = {name: getattr(audit, name) for name in ("tool", "model", "base")}
    data = audit.data or report.parse(samples.passed()).data
    vocabulary = VocabularyRecord(**words)
    models = ComparedModels.model_validate({**fields, **shared, "data": data, "vocabulary": vocabulary})
    return compared_text(models, width=width)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_comparison_is_wrapped_to_the_terminal(width):
    text = comparison(width)
    assert width is None or all(cell_len(line) <= max(60, width) for line in text.splitlines())
    assert "base.pt" in text
    assert "…" not in text


@pytest.mark.parametrize("width", WIDTHS)
def test_a_comparison_drives_no_terminal(width):
    text = comparison(width)
    assert "\x1b" not in text
    assert "base.pt" in text
