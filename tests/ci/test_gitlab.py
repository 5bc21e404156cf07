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
    rows = {variable(row[0]): row[1] for row in pages.table("Input")}
    read = set(re.findall(r"GATE_[A-Z_]*[A-Z]", gates.GATE.read_text(encoding="utf-8")))
    assert set(rows) == read - {"GATE_LABELS", "GATE_OUTPUT"}  # these two are refused
    assert rows["GATE_REPORT_DIR"] == JOB["variables"]["GATE_REPORT_DIR"]


def variable(given):
    """The variable of an input."""
    return f"GATE_{given.upper().replace('-', '_')}"


@pytest.mark.parametrize(("silent", "result"), [("", 4), ("1", 70)])
def test_the_page_lets_an_inconclusive_pass_only_with_a_report(job, silent, result):
    assert run(job, 4, GATE_MODEL="m.pt", STUB_SILENT=silent).result == result
    assert (result in page()["audit"]["allow_failure"]["exit_codes"]) == (not silent)


def page():
    """The pipeline that the page shows."""
    (found,) = [document for document in pages.documents() if "include" in document]
    return found


def test_the_job_of_the_page_uses_what_there_is():
    assert page()["include"][0]["file"] == "/ci/gitlab.yml"
    job = page()["audit"]
    assert job["extends"] == ".clipclean"
    matrix = [name for row in job["parallel"]["matrix"] for name in row]
    assert {*job["variables"], *matrix} - {"GATE_IMAGE"} <= {variable(row[0]) for row in pages.table("Input")}
