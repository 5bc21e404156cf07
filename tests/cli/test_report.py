"""``clipclean report``, and how all commands print reports: no line on stdout is a command to a CI system."""

import html
import json
import re
from xml.etree import ElementTree

import pytest
from report import samples, searches

from clipclean import cli, report
from clipclean.cli import printing
from clipclean.cli.options import Shell
from clipclean.report.verdicts import compare
from clipclean.schema.report import PolicyRecord, VocabularyRecord

FAILED = report.parse(samples.failed())


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """A folder to work in that holds a report and what is none."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)  # a pipe has no width
    report.write(FAILED, "json", tmp_path / "report.json")
    (tmp_path / "other.json").write_text('{"verdict": "fine"}')
    return tmp_path


@pytest.mark.parametrize("form", report.WRITERS)
def test_a_failed_report_is_converted_to_every_form(saved, said, form):
    text = report.WRITERS[form](FAILED)
    assert said(f"report convert report.json --to {form}") == text
    for more in (["--to", form, "--out", "page"], *([["-o", "page.html"]] if form == "html" else [])):
        assert said(["report", "convert", "report.json", *more]) == ""
        assert (saved / more[-1]).read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        ("report.json", 2, "--to"),
        ("report.json -o page.pdf", 2, "--to"),
        ("report.json --to pdf", 2, "pdf"),
        ("report.json --to html --out report.json", 2, "report.json"),
        ("none.json --to html", 3, "none.json"),
        ("other.json --to html", 3, "schema_version"),
    ],
)
def test_what_cannot_be_converted_is_refused(saved, refused, arguments, code, named):
    refused(["report", "convert", *arguments.split()], saved, code, named)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ("html", "report convert REPORT.JSON --to html"),
        ("report.json", "report convert report.json --to"),
        ("conver", "'convert'"),
        ("zzz", "convert"),
    ],
)
def test_what_is_no_command_of_a_report_is_answered_with_how_to_convert(saved, refused, wrong, named):
    refused(["report", wrong], saved, 2, named)


def test_a_narrow_terminal_breaks_lines_of_a_comparison_that_a_file_has_whole(saved, said, monkeypatch):
    report.write(report.parse(samples.passed()), "json", saved / "before.json")
    in_file = said("compare before.json report.json", 1)
    monkeypatch.setenv("COLUMNS", "60")
    in_terminal = said("compare before.json report.json", 1)
    assert max(map(len, in_terminal.splitlines())) <= 60 < max(map(len, in_file.splitlines()))
    assert "".join(in_terminal.split()) == "".join(in_file.split())


@pytest.mark.parametrize("on_stdout", [True, False])
def test_exit_0_by_a_suppression_is_said_on_the_last_line(capsys, on_stdout):
    """On stderr where a report for programs went to stdout."""
    document = samples.passed()
    (finding,) = samples.before()["findings"]
    document["policy"] = {"name": "mild", "sha256": "0" * 64, "verdict_without": "fail"}
    document["suppressed"] = [finding | {"reason": "known", "by": "Ann", "expires": "2031-01-31"}]
    accepted = report.parse(document)
    assert printing.exit_code(Shell(quiet=True), accepted) == 0
    printing.show_policy_effect(accepted, on_stdout=on_stdout)
    captured = capsys.readouterr()
    last = (captured.out if on_stdout else captured.err).splitlines()[-1]
    assert all(word in last for word in ("mild", "CC001"))


@pytest.mark.parametrize("on_stdout", [True, False])
def test_a_run_that_no_policy_changed_says_nothing_of_one(capsys, on_stdout):
    printing.show_policy_effect(report.parse(samples.passed()), on_stdout=on_stdout)
    assert capsys.readouterr() == ("", "")


NAME = "a##[add-mask]b"


DOCUMENTS = {  # with a command in each, by their forms
    "json": f'[\n  "{NAME}"\n]\n',
    "sarif": f'{{"a": "{NAME}"}}\n',
    "html": f"<p>{NAME}\n  ::error::x</p>\n",
    "junit": f"<a>{NAME}\n::error::x</a>\n",
    "text": f"class {NAME}\n  ::error::x\n| ::x | ## [y](z) |\n",
    "markdown": f"class {NAME}\n  ::error::x\n| ::x | ## [y](z) |\n",
}
READERS = {
    "json": json.loads,
    "sarif": json.loads,
    "html": html.unescape,
    "junit": lambda text: "".join(ElementTree.fromstring(text).itertext()),
}


@pytest.fixture
def echoed(capsys):
    """What stdout gets of a document."""

    def echo(form):
        printing.echo(DOCUMENTS[form], form=form)
        return capsys.readouterr().out

    return echo


@pytest.mark.parametrize("form", DOCUMENTS)
def test_no_line_on_stdout_is_a_command(echoed, form):
    """GitHub's runner finds ``##[`` anywhere in a line, and ``::`` behind blanks at its start."""
    assert "##[" not in echoed(form)
    assert not re.search(r"^\s*::", echoed(form), re.MULTILINE)


@pytest.mark.parametrize("form", READERS)
def test_a_document_whose_commands_are_disarmed_is_read_as_it_was(echoed, form):
    assert READERS[form](echoed(form)) == READERS[form](DOCUMENTS[form])


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_a_table_that_holds_no_command_stays_as_it_is(echoed, form):
    assert "| ::x | ## [y](z) |" in echoed(form)


# ``clipclean compare``: findings of two reports, and the exit codes that follow from a verdict or a baseline.


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


def test_a_comparison_says_what_the_two_runs_were_given_that_is_not_the_same(tmp_path, capsys):
    one, other = report.parse(samples.failed()), report.parse(samples.failed())
    assert compare(one, other).unlike == ()
    words = {"given": True, "templates": ["{}"]}
    model = other.model.model_copy(update={"sha256": "9" * 64, "name": "b.pt"})
    data = other.data.model_copy(update={"digest": "8" * 64, "name": "others"})
    lists = [VocabularyRecord.model_validate(words | {"classes": each}) for each in (["cat"], ["cat", "dog"])]
    other = other.model_copy(update={"model": model, "data": data, "vocabulary": lists[1], "seed": 5})
    one = one.model_copy(update={"vocabulary": lists[0], "seed": 0})
    subjects = ["models", "classes", "data", "seed"]
    assert [each.partition(":")[0] for each in compare(one, other).unlike] == subjects
    stricter = PolicyRecord(name="gate", sha256="7" * 64)
    other = other.model_copy(update={"policy": stricter})
    assert [each.partition(":")[0] for each in compare(one, other).unlike] == [*subjects, "policy"]
    for name, each in (("a", one), ("b", other)):
        report.write(each, "json", tmp_path / f"{name}.json")
    places = [str(tmp_path / "a.json"), str(tmp_path / "b.json")]
    assert cli.main(["compare", *places]) == 0
    assert "b.pt" in capsys.readouterr().out
    assert cli.main(["compare", *places, "--json"]) == 0
    told = capsys.readouterr()
    assert "b.pt" in told.err
    assert isinstance(json.loads(told.out), list)


def test_a_gate_fails_by_what_is_new_worse_or_unmeasured_at_its_level_or_above():
    found = compare(made(), made(NOTE, DOUBT))
    assert (len(found.blocking("inconclusive")), len(found.blocking("error"))) == (1, 0)
    assert len(compare(made(), made(PATCH)).blocking("error")) == 1
    assert compare(made(PATCH, DOUBT), made(PATCH, DOUBT)).blocking("inconclusive") == ()
    assert len(compare(made(SMALL), made()).blocking("error")) == 1
    searched = report.parse(searches.calm() | {"findings": []})
    assert [each.change for each in compare(made(SMALL), searched).differences] == ["gone"]


@pytest.fixture
def both(tmp_path):
    report.write(report.parse(samples.failed()), "json", tmp_path / "failed.json")
    report.write(report.parse(samples.passed()), "json", tmp_path / "passed.json")
    return tmp_path


@pytest.mark.parametrize(
    ("one", "other", "code", "change"),
    [("failed", "failed", 0, "same"), ("passed", "failed", 1, "new"), ("failed", "passed", 0, "gone")],
)
def test_an_error_that_was_not_there_fails(both, said, one, other, code, change):
    rows = said(["compare", both / f"{one}.json", both / f"{other}.json", "--json"], code)
    assert ("error", change) in {(row["level"], row["change"]) for row in rows}


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
def test_the_exit_code_of_a_report_follows_the_options(both, verdict, options, code):
    if "baseline" in options:
        options = {"baseline": both / options["baseline"]}
    result = report.parse(samples.failed()).model_copy(update={"verdict": verdict})
    assert printing.exit_code(Shell(quiet=True, **options), result) == code
