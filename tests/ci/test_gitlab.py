import re

import pytest
import yaml
from ci.gates import ROOT

from ci import gates, pages

SOURCE = (ROOT / "ci" / "gitlab.yml").read_text(encoding="utf-8")
TEMPLATE = yaml.safe_load(SOURCE)
JOB = TEMPLATE[".clipclean"]


@pytest.fixture
def job(tmp_path):
    return gates.job(tmp_path)


def run(job, code, **variables):
    """The job's script, in an image where the gate is on the PATH."""
    (job.stubs / "clipclean-gate").symlink_to(gates.GATE)
    return job.run("bash", "-c", "\n".join(JOB["script"]), code=code, **{**JOB["variables"], **variables})


def test_including_the_template_starts_no_job():
    assert list(TEMPLATE) == [".clipclean"]


def test_the_template_pastes_no_value_into_its_script():
    assert JOB["script"] == ["clipclean-gate"]
    assert "$[[" not in SOURCE


@pytest.mark.parametrize(("code", "result"), [(0, 0), (1, 1), (3, 3), (4, 4)])
def test_the_exit_code_is_that_of_clipclean(job, code, result):
    assert run(job, code, GATE_MODEL="my model.pt").result == result


def test_the_reports_are_kept_whatever_the_result_from_where_the_gate_puts_them(job):
    assert JOB["artifacts"]["when"] == "always"
    run(job, 1, GATE_MODEL="m.pt")
    (folder,) = JOB["artifacts"]["paths"]
    assert (job.workspace / folder / "report.html").is_file()
    assert (job.workspace / JOB["artifacts"]["reports"]["junit"]).is_file()
    arguments = (job.workspace / "arguments").read_text()
    assert f"--report=junit={JOB['artifacts']['reports']['junit']}\0" in arguments


def test_the_page_has_every_variable_with_its_default():
    rows = {row[0]: row[1] for row in pages.table("ci-gitlab.md", "Variable")}
    read = set(re.findall(r"GATE_[A-Z_]*[A-Z]", gates.GATE.read_text(encoding="utf-8")))
    assert set(rows) == read - {"GATE_LABELS", "GATE_OUTPUT"} | {"GATE_IMAGE"}  # these two are refused
    defaults = {"GATE_FAIL_ON": "inconclusive", "GATE_REPORT_DIR": JOB["variables"]["GATE_REPORT_DIR"]}
    assert {name: default for name, default in rows.items() if default} == defaults


@pytest.mark.parametrize(("silent", "result"), [("", 4), ("1", 70)])
def test_the_page_lets_an_inconclusive_pass_only_with_a_report(job, silent, result):
    assert run(job, 4, GATE_MODEL="m.pt", STUB_SILENT=silent).result == result
    documents = [document["audit"] for document in pages.documents("ci-gitlab.md")]
    (allowed,) = [each["allow_failure"]["exit_codes"] for each in documents if "allow_failure" in each]
    assert (result in allowed) == (not silent)
    assert "ends with 70 instead of 0, 1 or 4" in " ".join(pages.text("ci-gitlab.md").split())


def test_the_jobs_of_the_page_use_what_there_is():
    documents = pages.documents("ci-gitlab.md")
    assert documents[0]["include"][0]["file"] == "/ci/gitlab.yml"
    jobs = [document["audit"] for document in documents]
    assert len(jobs) == 3
    known = {row[0] for row in pages.table("ci-gitlab.md", "Variable")}
    for each in jobs:
        assert each["extends"] == ".clipclean"
        matrix = [name for row in each.get("parallel", {}).get("matrix", []) for name in row]
        assert {*each.get("variables", {}), *matrix} <= known
    assert [each["allow_failure"] for each in jobs if "allow_failure" in each] == [{"exit_codes": [4]}]
