import json
import re

import click
import pytest
import tiny
from ci.gates import HOSTILE

from ci import gates
from clipclean import cli

OPTIONS = ("data", "reference", "references", "base", "policy", "effort", "classes", "arch", "templates", "weights")
OPTIONS += ("seed", "device", "workers", "max-minutes", "config")
REPORTS = {"json": "json", "html": "html", "sarif": "sarif", "junit": "xml", "markdown": "md"}
ERRORS = (2, 3, 5, 70, 127, 130, 137, 143)


@pytest.fixture
def job(tmp_path):
    return gates.Job(tmp_path)


def variable(option):
    return f"GATE_{option.upper().replace('-', '_')}"


def outputs(folder="clipclean-report"):
    return [f"--report={form}={folder}/report.{suffix}" for form, suffix in REPORTS.items()]


@pytest.mark.parametrize(
    ("setting", "code", "result"),
    [
        *(("", code, code) for code in (1, 4)),
        *(("inconclusive", code, code) for code in (0, 1, 4, *ERRORS)),
        *(("error", code, 0 if code == 4 else code) for code in (0, 1, 4, *ERRORS)),
        *(("exit zero", code, 0 if code in (1, 4) else code) for code in (0, 1, 4, *ERRORS)),
    ],
)
def test_a_setting_excuses_a_verdict_alone(job, setting, code, result):
    """Never an error; every output says how the audit ended."""
    variables = {"GATE_EXIT_ZERO": "true"} if setting == "exit zero" else {"GATE_FAIL_ON": setting}
    job.summary.write_text("what another program said\n")
    run = job.run(code=code, github=True, GATE_MODEL="m.pt", **variables)
    verdict = {0: "pass", 1: "fail", 4: "inconclusive"}.get(code, "error")
    assert (run.result, job.told()["verdict"], job.told()["exit-code"]) == (result, verdict, str(code))
    means = cli.EXIT_CODES.get(code, str(code))
    before, _, said = job.summary.read_text().partition("\n")
    assert before == "what another program said"
    assert said.startswith("report of this run\n") if verdict != "error" else means in said
    annotated = re.findall(r"(?m)^::(\w+) file=m\.pt,title=clipclean::m\.pt: (.+) \(exit code \d+\)$", run.log)
    assert [level for level, _ in annotated] == (["error" if result else "warning"] if code else [])
    if code in cli.EXIT_CODES:
        assert {words for _, words in annotated} <= {means}
    assert means in run.log


def test_every_input_reaches_its_option(job):
    values = {variable(option): f"my {option}" for option in OPTIONS}
    expected = ["audit", *(f"--{option}=my {option}" for option in OPTIONS), *outputs("my reports"), "--", "m.pt"]
    assert job.run(GATE_MODEL="m.pt", GATE_REPORT_DIR="my reports/", **values).arguments == expected
    run = job.run(GATE_MODEL="m.pt", GATE_NO_SEARCH="true", GATE_LABEL="commit=0a1b\n\nteam=a b\n")
    labels = ["--label=commit=0a1b", "--label=team=a b"]
    assert run.arguments == ["audit", "--no-search", *labels, *outputs(), "--config=off", "--", "m.pt"]


def test_an_empty_input_is_no_option(job):
    empty = {variable(option): "" for option in (*OPTIONS, "power", "fail-on", "report-dir")}
    for values in ({}, empty, {"GATE_NO_SEARCH": "false"}, {"GATE_POWER": "false"}):
        arguments = job.run(GATE_MODEL="m.pt", **values).arguments
        assert arguments == ["audit", *outputs(), "--config=off", "--", "m.pt"]


def test_the_gate_plants_test_backdoors_if_it_is_told_to(job):
    run = job.run(GATE_MODEL="m.pt", GATE_POWER="true")
    assert run.arguments == ["audit", "--power", *outputs(), "--config=off", "--", "m.pt"]


@pytest.mark.parametrize("value", HOSTILE)
def test_a_hostile_value_stays_one_argument_up_to_the_audit(job, value, monkeypatch):
    values = {variable(option): value for option in ("model", *OPTIONS)}
    run = job.run(github=True, **values)
    assert run.arguments == ["audit", *(f"--{option}={value}" for option in OPTIONS), *outputs(), "--", value]
    monkeypatch.chdir(job.workspace)
    command = cli.cli.get_command(click.Context(cli.cli), "audit")
    parsed = command.make_context("audit", run.arguments[1:], resilient_parsing=True).params  # classes are in no file
    assert [str(each) for key in ("models", "data", "reference") for each in parsed[key]] == [value] * 3
    assert (parsed["arch"], parsed["exit_zero"]) == (value, False)
    assert [f"--report={each.format}={each.path}" for each in parsed["outputs"]] == outputs()
    assert sorted(path.name for path in job.workspace.iterdir()) == ["arguments", "clipclean-report", "variables"]
    places = {form: f"clipclean-report/report.{form}" for form in ("json", "sarif", "html")}
    assert job.told() == {"verdict": "pass", "exit-code": "0"} | places


@pytest.mark.parametrize("value", [value for value in HOSTILE if "\n" not in value])
def test_a_hostile_folder_is_a_folder(job, value):
    run = job.run(github=True, GATE_MODEL="m.pt", GATE_REPORT_DIR=value)
    value = f"./{value}" if value.startswith("-") else value  # sed and others would take it for an option
    assert run.result == 0
    assert run.arguments == ["audit", *outputs(value), "--config=off", "--", "m.pt"]
    assert tiny.names(job.workspace / value) == {f"report.{suffix}" for suffix in REPORTS.values()}
    assert job.told()["json"] == f"{value}/report.json"
    assert not (job.workspace / "pwned").exists()


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"GATE_MODEL": ""},
        *({"GATE_MODEL": "m.pt", "GATE_FAIL_ON": value} for value in ("never", "fail", "*")),
        *({"GATE_MODEL": "m.pt", name: "x"} for name in ("GATE_LABELS", "GATE_OUTPUT")),  # gone
        # a folder cannot set outputs of its own
        *({"GATE_MODEL": "m.pt", "GATE_REPORT_DIR": value} for value in ("x\nverdict=pass", "x\rverdict=pass", "x\n")),
    ],
)
def test_what_the_gate_refuses_is_not_audited(job, given):
    run = job.run(github=True, **given)
    assert (run.result, run.arguments) == (2, None)
    assert job.told() == {"verdict": "error", "exit-code": "2"}


@pytest.mark.parametrize("run", ["audit", "sanitize"])
def test_the_summary_is_the_gist_in_fifteen_lines_whatever_the_report_holds(job, run):
    page = (gates.ROOT / "tests" / "report" / "goldens" / f"{run}.markdown").read_text()
    many = "\n".join(f"- **note CC0{number}** told" for number in range(40))
    aside = "\n".join(["> **A policy**", ">", *["> - CC001"] * 40, "", ""])
    for shown in (page, f"{aside}{page.replace('**Next:**', f'{many}{chr(10)}{chr(10)}**Next:**')}"):
        (job.workspace / "page").write_text(shown)
        gates.stub(job.stubs / "clipclean", gates.STUB.replace('echo "report of this run"', "cat page"))
        job.summary.unlink(missing_ok=True)
        job.run(code=4, github=True, GATE_MODEL="m.pt")
        lines = job.summary.read_text().splitlines()
        assert len(lines) <= 15
        assert any("clipclean: inconclusive" in line for line in lines)
        assert any(line.startswith("- **") for line in lines)
        assert not [line for line in lines if line.startswith(("|", "<details", "### "))]


@pytest.mark.parametrize(
    "path", ["link/reports", "link/deep/er", "sub/link/reports", "./link/./reports/", "link//reports"]
)
def test_no_report_is_written_below_a_link(job, path):
    elsewhere = job.folder / "elsewhere"
    for name in ("reports", "deep/er"):
        (elsewhere / name).mkdir(parents=True)
        (elsewhere / name / "report.json").write_text("not ours")
    (job.workspace / "sub").mkdir()
    for place in (job.workspace, job.workspace / "sub"):
        (place / "link").symlink_to(elsewhere)
    for folder in (path, str(job.workspace / path)):
        run = job.run(github=True, GATE_MODEL="m.pt", GATE_REPORT_DIR=folder)
        assert (run.result, run.arguments) == (2, None)
        assert {each.read_text() for each in elsewhere.rglob("report.json")} == {"not ours"}


@pytest.mark.parametrize("slash", ["", "/", "//"])
def test_a_folder_that_is_a_link_is_refused(job, slash):
    elsewhere = job.folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "report.json").write_text("not ours")
    (job.workspace / "link").symlink_to(elsewhere)
    run = job.run(github=True, GATE_MODEL="m.pt", GATE_REPORT_DIR=f"link{slash}")
    assert (run.result, run.arguments) == (2, None)
    assert (elsewhere / "report.json").read_text() == "not ours"
    assert "json" not in job.told()


def test_a_folder_that_cannot_be_made_fails_the_job(job):
    (job.workspace / "taken").write_text("a file")
    run = job.run(GATE_MODEL="m.pt", GATE_REPORT_DIR="taken", GATE_EXIT_ZERO="true")
    assert (run.result, run.arguments) == (5, None)


def test_a_clipclean_that_is_not_there_fails_the_job(job):
    (job.stubs / "clipclean").unlink()
    run = job.run(github=True, GATE_MODEL="m.pt", GATE_EXIT_ZERO="true")
    assert (run.result, run.arguments) == (127, None)
    assert job.told() == {"verdict": "error", "exit-code": "127"}


def test_reports_of_an_earlier_run_are_gone(job):
    folder = job.workspace / "clipclean-report"
    folder.mkdir()
    for suffix in REPORTS.values():
        (folder / f"report.{suffix}").write_text("stale")
    (folder / "notes.txt").write_text("the user's")
    run = job.run(code=3, github=True, GATE_MODEL="m.pt")
    assert run.result == 3
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    assert job.told() == {"verdict": "error", "exit-code": "3"}
    assert "stale" not in job.summary.read_text()


@pytest.mark.parametrize("given", [{}, {"GATE_FAIL_ON": "error"}, {"GATE_EXIT_ZERO": "true"}])
@pytest.mark.parametrize("code", [0, 1, 4])
def test_a_verdict_without_a_report_is_not_believed(job, code, given):
    run = job.run(code=code, github=True, GATE_MODEL="m.pt", STUB_SILENT="1", **given)
    assert run.result == 70
    assert "wrote no report" in run.log
    assert job.told() == {"verdict": "error", "exit-code": str(code)}
    assert job.summary.read_text().startswith("## clipclean: error\n")


def test_no_variable_of_clipclean_reaches_the_audit(job):
    names = ("BASELINE", "FAIL_ON", "AUDIT_FAIL_ON", "EXIT_ZERO", "CONFIG", "POLICY", "QUIET", "STATE")
    job.run(GATE_MODEL="m.pt", CLIPCLEAN_DOCS="https://docs", **{f"CLIPCLEAN_{name}": "x" for name in names})
    assert (job.workspace / "variables").read_text() == "CLIPCLEAN_DOCS=https://docs\n"


def test_elsewhere_than_on_github_nothing_is_said_to_it(job):
    run = job.run(code=1, GATE_MODEL="m.pt")
    assert "::" not in run.log
    assert sorted(path.name for path in job.folder.iterdir()) == ["bin", "workspace"]


@pytest.mark.parametrize(
    ("code", "verdict", "told", "result"),
    [
        (0, "fail", "fail", 1),
        (0, "inconclusive", "inconclusive", 4),
        (1, "pass", "pass", 0),
        (0, "none", "error", 70),
        (3, "pass", "error", 3),
    ],
)
def test_the_verdict_is_that_of_the_report(job, code, verdict, told, result):
    """An option that the configuration of the job sets may change the exit code."""
    assert job.run(code=code, github=True, GATE_MODEL="m.pt", STUB_VERDICT=verdict).result == result
    assert job.told()["verdict"] == told


def test_a_summary_that_github_would_drop_is_a_short_one(job):
    long = gates.STUB.replace("exit ", "head -c 1000000 /dev/zero | tr '\\0' x >clipclean-report/report.md\nexit ")
    gates.stub(job.stubs / "clipclean", long)
    job.run(code=1, github=True, GATE_MODEL="m.pt")
    assert 0 < len(job.summary.read_text()) < 200


def test_the_annotation_escapes_the_marks_of_the_names_in_it(job):
    suspects = [{"class": 'straw\n::error::"berry', "score": 0.9}, {"class": "candy", "score": 0.1}]
    report = json.dumps({"verdict": "fail", "suspects": suspects, "x": [{"class": "other"}]}, indent=2)
    (job.folder / "written").write_text(report)
    gates.stub(job.stubs / "clipclean", re.sub(r"printf .*verdict.* >", "cat ../written >", gates.STUB))
    log = job.run(code=1, github=True, GATE_MODEL="a,b: 100%.pt").log
    (line,) = [line for line in log.splitlines() if line.startswith("::error ")]
    assert line == (
        "::error file=a%2Cb%3A 100%25.pt,title=clipclean::a,b: 100%25.pt: "
        f'{cli.EXIT_CODES[1]}; most suspicious class: straw\\n::error::\\"berry (exit code 1)'
    )


def test_the_runner_takes_no_commands_from_what_clipclean_prints(job):
    said = "::error::forged"
    logs = [job.run(code=1, github=True, GATE_MODEL="m.pt", STUB_SAYS=said).log for _ in range(2)]
    tokens = []
    for log in logs:
        lines = log.splitlines()
        token = re.fullmatch(r"::stop-commands::([0-9a-f]{32})", lines[0])[1]
        inside = lines[: lines.index(f"::{token}::")]
        assert {"told on stdout", "told on stderr", said} <= set(inside)
        assert not {"told on stdout", "told on stderr", said} & set(lines[len(inside) :])
        tokens.append(token)
    assert tokens[0] != tokens[1]
