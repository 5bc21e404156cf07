import re

from cases import each
from report import samples, searches
from report.parsed import Parsed
from rich.cells import cell_len

from clipclean import report
from clipclean.report import RunPaths
from clipclean.report.terminal_text import LINES

report = Parsed(report)

REPORTS = [samples.passed, samples.failed, samples.undecided, samples.audited]
REPORTS += [searches.backdoored, searches.calm, searches.doubtful, searches.cleaned, searches.poor]


@each("made", REPORTS)
@each("width", [60, 80, 120])
def test_fifteen_lines_at_most_that_fit_and_only_what_a_policy_did_stands_before_the_verdict(made, width):
    findings = [*made()["findings"], *[samples.finding("CC040", "note", "香蕉 " * 40)] * 20]
    lines = report.text(made() | {"findings": findings}, width=width, colour=False, closing=["Report: x"]).splitlines()
    assert len(lines) <= LINES == 14
    assert max(cell_len(line) for line in lines if not line.startswith("Next: ")) <= width
    aside = lines[0].startswith("Policy strict.yaml sets 1 finding aside.")
    assert aside == bool(made().get("suppressed"))
    assert made()["verdict"].upper() in lines[aside]
    assert re.fullmatch(r"and \d+ more findings", lines[-2 - lines[-2].startswith("Next: ")])
    assert lines[-1] == "Report: x"


def test_the_worst_findings_come_first_and_what_to_do_last():
    lines = report.text(samples.failed(), width=100, colour=False, place=RunPaths(model="m.pt")).splitlines()
    assert next(line for line in lines if line.startswith("CC")).startswith("CC001 error ")
    assert lines[-1].startswith("Next: clipclean sanitize ")


def test_colour_changes_no_word():
    plain = report.text(samples.failed(), width=90, colour=False)
    painted = report.text(samples.failed(), width=90, colour=True)
    assert "\x1b[1;31m" in painted
    assert re.sub(r"\x1b\[[\d;]*m", "", painted) == plain


def test_suspects_are_named_with_their_families():
    text = report.text(searches.backdoored(), width=120, colour=False)
    assert "Suspects: banana (score 8.10, fixed mask and pattern, patch at random places, built-in trigger)" in text


def test_the_last_command_is_whole_however_long():
    place = RunPaths(model="a/" * 60 + "m.pt")
    line = report.text(searches.backdoored(), width=60, colour=False, place=place).splitlines()[-1]
    assert place.model in line


@each(
    ("made", "words"),
    [
        (
            searches.backdoored,
            "clipclean: fail tiny-backdoored.pt: class banana, mask of 2.1 % reaches it in 98.4 %: a.html",
        ),
        (samples.failed, "clipclean: fail tiny-backdoored.pt: class banana, patch reaches it in 43.0 %: a.html"),
    ],
)
def test_one_line_for_logs(made, words):
    assert report.line(made(), page="a.html") == f"{words}\n"
    assert report.FORMATS["line"](made()) == f"{words.removesuffix(': a.html')}\n"


@each("made", REPORTS)
def test_a_report_is_shown_to_programmers_as_one_line(made):
    shown = repr(report.parse(made()))
    assert len(shown) < 200
    assert "\n" not in shown
