import re

from cases import each
from report import samples, searches
from report.parsed import Parsed
from rich.cells import cell_len

from clipclean import report
from clipclean.report import RunPaths

report = Parsed(report)

REPORTS = [samples.passed, samples.failed, samples.undecided, samples.audited]
REPORTS += [searches.backdoored, searches.calm, searches.doubtful, searches.cleaned, searches.poor]


@each("made", REPORTS)
@each("width", [60, 80, 120])
def test_lines_fit_the_terminal_and_only_what_a_policy_did_stands_before_the_verdict(made, width):
    lines = report.text(made(), width=width, colour=False).splitlines()
    assert max(map(cell_len, lines)) <= width
    word = made()["verdict"].upper()
    aside = lines[0].startswith("Policy strict.yaml sets 1 finding aside.")
    assert aside == bool(made().get("suppressed"))
    assert word in (lines[lines.index("") + 1] if aside else lines[0])
    assert any(word in line for line in lines[-3:])


def test_the_numbers_stand_under_before_after_and_change():
    lines = report.text(samples.passed(), width=100, colour=False).splitlines()
    (head,) = [line.split() for line in lines if "before " in line and "change" in line]
    assert head == ["before", "after", "change"]
    rows = {line.strip().split("  ")[0]: line for line in lines if line.startswith("  ")}
    assert rows["Clean accuracy"].endswith("62.1 %           61.2 %      −0.9 points")
    assert re.findall(r"[−+]?[\d.]+ %", rows["Attack success rate"]) == ["99.1 %", "0.9 %"]
    assert rows["Embedding distance"].split()[-3:] == ["1.62", "0.21", "−1.41"]


def test_a_rate_has_its_interval_and_its_meaning_under_it():
    lines = report.text(samples.passed(), width=120, colour=False).splitlines()
    under = lines[[line.strip().startswith("Attack success rate") for line in lines].index(True) + 1]
    assert "98.3 to 99.5 %" in under  # Wilson for 981 of 990: (0.98281, 0.99521)
    assert "lower is better" in under
    assert under.strip().startswith("images of other things")


def test_an_audit_has_one_column():
    text = report.text(samples.audited(), width=100, colour=False)
    assert "measured" in text
    assert "change" not in text


def test_findings_and_next_steps_are_told():
    text = " ".join(report.text(samples.failed(), width=100, colour=False).split())
    assert "CC010 error Clean accuracy fell by more than the budget" in text
    assert "Next - Do not deploy these weights." in text


def test_colour_changes_no_word():
    plain = report.text(samples.failed(), width=90, colour=False)
    painted = report.text(samples.failed(), width=90, colour=True)
    assert "\x1b[1;31m" in painted
    assert re.sub(r"\x1b\[[\d;]*m", "", painted) == plain


def test_wide_characters_keep_the_columns_straight():
    made = samples.passed()
    for side in ("before", "after"):
        made[side]["measurements"]["probes"][0]["target"] = "香蕉" * 30
    lines = report.text(made, width=80, colour=False).splitlines()
    assert max(len(line) for line in lines) <= 80


def test_an_audit_tells_suspects_then_the_search_then_the_panel_then_what_to_do():
    text = report.text(searches.backdoored(), width=100, colour=False)
    places = [text.index(f"\n{head}") for head in ("Suspects", "Search for unknown", "Panel of known", "Next")]
    assert places == sorted(places)


def test_a_found_trigger_stands_over_what_clean_models_need_and_its_interval():
    lines = report.text(searches.backdoored(), width=100, colour=False).splitlines()
    start = next(number for number, line in enumerate(lines) if "clean models need" in line)
    assert lines[start + 1].split() == ["banana", "2.1", "%", "98.4", "%"]
    # Wilson for 974 of 990: (0.97392, 0.99001)
    assert lines[start + 2].endswith("9.0 to 14.0 %   97.4 to 99.0 %")
    assert lines[start + 2].strip().startswith("fixed mask and pattern, covers 2.1 % of the image")


def test_suspects_are_named_with_their_families():
    text = report.text(searches.backdoored(), width=120, colour=False)
    assert "  1.  banana, score 8.10, by fixed mask and pattern, patch at random places, built-in trigger" in text


def test_the_panel_of_an_audit_is_a_table():
    lines = report.text(searches.backdoored(), width=100, colour=False).splitlines()
    assert ["→", "banana", "98.6", "%"] in [line.split() for line in lines]
    assert ["→", "fog", "1.4", "%"] in [line.split() for line in lines]


def test_long_lists_are_cut_and_the_rest_is_counted():
    made = searches.backdoored()
    made["measurements"]["search"]["found"] *= 5
    assert "and 12 more, in report.json" in report.text(made, width=80, colour=False)


def test_without_a_search_there_is_no_table_of_one():
    text = report.text(samples.audited(), width=100, colour=False)
    assert "Search for unknown triggers" not in text
    assert "Suspects, most suspicious first" in text
    assert "Set aside" not in text


def test_what_the_policy_set_aside_is_told_first_with_who_until_when_and_why():
    text = " ".join(report.text(searches.backdoored(), width=100, colour=False).split())
    begin = "Policy strict.yaml sets 1 finding aside. The verdict would be fail without it as well. - CC030 1 of 1001"
    assert text.startswith(begin)
    assert text.index("Set aside until 2031-01-31 by Ann: a known broken file") < text.index("FAIL")


def test_a_minimal_report_can_be_shown():
    """No trigger, no accuracy, no data: an audit that measured nothing."""
    made = samples.audited()
    empty = {"clean_accuracy": None, "probes": [], "search": {}, "distances": {}}
    made |= {"measurements": empty, "findings": [], "suspects": [], "verdict": "inconclusive"}
    report.parse(made)
    for form in report.FORMATS:
        assert report.FORMATS[form](made)
    assert "none was tried" in report.text(made, width=80, colour=False)


def test_commands_to_copy_stand_on_lines_of_their_own():
    lines = report.text(samples.passed(), width=80, colour=False, place=RunPaths("my out")).splitlines()
    assert "    clipclean verify 'my out'" in lines
    assert '    open_clip.create_model_and_transforms("local-dir:my out")' in lines


def test_brackets_and_emoji_codes_in_names_are_no_markup():
    made = samples.passed()
    made["model"]["name"] = "[bold red]x[/] :smile: [link=https://evil.example]y[/link]"
    for colour in (False, True):
        assert made["model"]["name"] in report.text(made, width=120, colour=colour)
