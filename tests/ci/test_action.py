import itertools
import re

import pytest
import yaml
from ci.gates import HOSTILE, ROOT

from ci import gates, pages

SOURCE = (ROOT / "action.yml").read_text(encoding="utf-8")
ACTION = yaml.safe_load(SOURCE)
STEPS = ACTION["runs"]["steps"]
PINNED = re.compile(r"uses: +([\w./-]+)@([0-9a-f]{40}) # v\d+\.\d+\.\d+$")
FETCH_PYTHON, CACHE, INSTALL, AUDIT, KEEP, SEND, COMMENT = STEPS


@pytest.fixture
def job(tmp_path):
    return gates.job(tmp_path)


def filled(expression, inputs):
    """What the runner makes of a value that is one input."""
    name = re.fullmatch(r"\$\{\{ inputs\.([\w-]+) \}\}", expression)[1]
    return inputs.get(name, str(ACTION["inputs"][name].get("default", "")))


def run_step(job, step, **variables):
    """Run a step's script as the runner does."""
    shell = ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"])
    places = {"GITHUB_ACTION_PATH": str(ROOT), "RUNNER_TEMP": str(job.folder / "my temp")}
    return job.run(*shell, github=True, **{**places, **variables})


def audit(job, code=0, **inputs):
    """The audit's step, with clipclean where the step before it would have put it."""
    stub = job.folder / "my temp" / "clipclean" / "bin" / "clipclean"
    stub.parent.mkdir(parents=True, exist_ok=True)
    gates.stub(stub)
    given = {name: filled(expression, inputs) for name, expression in AUDIT["env"].items() if name.startswith("GATE_")}
    return run_step(job, AUDIT, STUB_CODE=str(code), **given)


def test_no_script_has_an_expression_in_it():
    scripts = [step["run"] for step in STEPS if "run" in step]
    assert len(scripts) == 3
    assert not any("${{" in script for script in scripts)


def test_every_variable_in_a_script_is_quoted():
    for step in (INSTALL, AUDIT, COMMENT):
        unquoted = re.sub(r'"[^"\n]*"', "", step["run"])
        assert "$" not in unquoted
        assert step["shell"] == "bash"


def test_every_input_is_used_and_nothing_else_is():
    used = re.findall(r"inputs\.([\w-]+)", SOURCE)
    assert set(used) == set(ACTION["inputs"])


def test_every_input_and_output_is_described_and_only_the_model_is_required():
    assert all(entry["description"] for entry in [*ACTION["inputs"].values(), *ACTION["outputs"].values()])
    assert [name for name, entry in ACTION["inputs"].items() if entry.get("required")] == ["model"]
    assert all(isinstance(entry.get("default", ""), str) for entry in ACTION["inputs"].values())


def test_the_step_hands_the_gate_all_that_it_reads():
    read = set(re.findall(r"GATE_[A-Z_]*[A-Z]", gates.GATE.read_text(encoding="utf-8")))
    assert set(AUDIT["env"]) == read | {"CLIPCLEAN_DOCS"}


def test_other_actions_are_pinned_to_commits_with_their_version_beside_them():
    lines = [line for line in SOURCE.splitlines() if "uses:" in line]
    assert len(lines) == 4
    assert all(PINNED.search(line) for line in lines)


def test_a_tag_is_not_taken_for_a_pin():
    assert not PINNED.search("uses: actions/checkout@v4 # v4.0.0")
    assert not PINNED.search(f"uses: actions/checkout@{'a' * 40}")


def test_reports_are_uploaded_after_a_failed_audit_too_and_only_if_there_are_some():
    assert STEPS.index(AUDIT) < STEPS.index(KEEP) < STEPS.index(SEND)
    assert KEEP["if"] == "${{ always() && inputs.upload-artifact == 'true' && steps.gate.outputs.json != '' }}"
    assert SEND["if"] == "${{ always() && inputs.upload-sarif == 'true' && steps.gate.outputs.sarif != '' }}"
    assert SEND["with"]["sarif_file"] == "${{ steps.gate.outputs.sarif }}"


def test_the_outputs_are_those_that_the_gate_sets(job):
    audit(job, model="m.pt")
    assert {name: f"${{{{ steps.gate.outputs.{name} }}}}" for name in job.told()} == {
        name: entry["value"] for name, entry in ACTION["outputs"].items()
    }
    assert AUDIT["id"] == "gate"


def test_the_defaults_of_the_action_are_those_of_the_gate(job):
    from_action = audit(job, model="m.pt").arguments
    assert from_action == job.run(GATE_MODEL="m.pt").arguments
    assert ACTION["inputs"]["fail-on"]["default"] == "inconclusive"


@pytest.mark.parametrize("value", HOSTILE)
def test_a_hostile_input_goes_through_the_step_as_one_argument(job, value):
    run = audit(job, model=value, data=value, policy=value)
    assert run.result == 0
    assert run.arguments[:3] == ["audit", f"--data={value}", f"--policy={value}"]
    assert run.arguments[-2:] == ["--", value]
    assert not list(job.folder.rglob("pwned"))


@pytest.mark.parametrize(
    ("code", "fail_on", "result"), [(0, "error", 0), (1, "error", 1), (4, "error", 0), (3, "error", 3)]
)
def test_the_step_has_the_result_of_the_gate(job, code, fail_on, result):
    assert audit(job, code, model="m.pt", **{"fail-on": fail_on}).result == result


def test_the_action_installs_its_own_checkout_and_nothing_from_the_workspace(job):
    # A python that writes down its arguments, and makes an environment with itself in it.
    python = gates.stub(
        job.stubs / "python",
        '#!/usr/bin/env bash\nprintf "%s\\n" "$@" >>../calls; if [[ $3 == venv ]]; then\n'
        'mkdir -p "$4/bin"; cp "$0" "$4/bin/python"; fi\n',
    )
    run = run_step(job, INSTALL, PYTHON=str(python), GITHUB_ACTION_PATH="/the action/of a COMMIT")
    assert run.result == 0, run.log
    calls = (job.folder / "calls").read_text().splitlines()
    assert calls[:4] == ["-I", "-m", "venv", f"{job.folder}/my temp/clipclean"]
    assert calls[4:8] == ["-I", "-m", "pip", "install"]
    assert calls[-1] == "/the action/of a COMMIT"
    assert not any("index" in word for word in calls)


def test_the_jobs_own_python_stays():
    assert FETCH_PYTHON["with"]["update-environment"] is False
    assert INSTALL["env"]["PYTHON"] == "${{ steps.python.outputs.python-path }}"
    assert FETCH_PYTHON["id"] == "python"


def test_the_page_has_every_input_with_its_default_and_every_output():
    rows = pages.table("Input") + pages.table("Action input")
    assert {row[0]: row[1] for row in rows} == {
        name: entry.get("default", "")
        for name, entry in ACTION["inputs"].items()
        if "deprecationMessage" not in entry  # refused
    }
    assert [row[0] for row in pages.table("Output")] == list(ACTION["outputs"])


def test_the_page_tells_the_results_that_the_gate_gives(job):
    rows = pages.table("Exit code of clipclean")
    ends = {
        "0": ([0], ""),
        "1": ([1], ""),
        "4": ([4], ""),
        "0, 1 or 4, and no report": ([0, 1, 4], "1"),
        "any other": ([3], ""),
    }
    assert [row[0] for row in rows] == list(ends)
    for end, verdict, *results in rows:
        codes, silent = ends[end]
        settings = ({"GATE_FAIL_ON": "inconclusive"}, {"GATE_FAIL_ON": "error"}, {"GATE_EXIT_ZERO": "true"})
        for code, (given, told) in itertools.product(codes, zip(settings, results, strict=True)):
            run = job.run(code=code, GATE_MODEL="m.pt", STUB_SILENT=silent, **given)
            assert ("fails" if run.result else "continues") == told
            assert f"gate: {verdict} (" in run.log


def test_the_workflows_of_the_page_use_what_there_is():
    mappings = [node for document in pages.documents() for node in pages.nodes(document)]
    ours = [node for node in mappings if node.get("uses") == "OWNER/clipclean@COMMIT"]
    assert ours
    for step in ours:
        assert set(step["with"]) <= set(ACTION["inputs"])
        assert all(isinstance(value, str) for value in step["with"].values())
    lines = [line for body in pages.blocks("yaml") for line in body.splitlines() if "uses:" in line]
    assert all(PINNED.search(line) or "OWNER/clipclean@COMMIT" in line for line in lines)
    used = re.findall(r"outputs\.([\w-]+)", "\n".join(pages.blocks("yaml")))
    assert used
    assert set(used) <= set(ACTION["outputs"])
    assert not any("${{" in node.get("run", "") for node in mappings)


def test_pip_keeps_what_it_fetches_where_the_cache_is():
    assert CACHE["with"]["path"] == INSTALL["env"]["PIP_CACHE_DIR"]
    assert CACHE["if"] == "${{ inputs.cache == 'true' }}"


GH = """#!/usr/bin/env bash
printf '%s\\0' "$@" >>../gh
if [[ $2 == --paginate ]]; then printf '%s' "$KNOWN"; exit; fi
for word in "$@"; do if [[ $word == body=@* ]]; then cp "${word#body=@}" ../body; fi; done
"""


@pytest.mark.parametrize(("known", "end"), [("", "issues/7/comments"), ("12\n34", "issues/comments/34")])
def test_a_pull_request_has_one_comment_for_each_name(job, known, end):
    gates.stub(job.stubs / "gh", GH)
    (job.workspace / "report.md").write_text("# the report")
    given = {"COMMENT_NAME": '") | x --> clip', "COMMENT_PAGE": "report.md", "COMMENT_PULL": "7"}
    run = run_step(job, COMMENT, GITHUB_REPOSITORY="own/repo", KNOWN=known, **given)
    assert run.result == 0, run.log
    assert (job.folder / "body").read_text() == "<!-- clipclean _____x_____clip -->\n# the report"
    assert f"repos/own/repo/{end}" in (job.folder / "gh").read_text().split("\0")


def test_a_page_that_is_too_long_for_a_comment_is_not_cut_in_the_middle(job):
    gates.stub(job.stubs / "gh", GH)
    (job.workspace / "report.md").write_text("x" * 60_000)
    given = {"COMMENT_NAME": "a", "COMMENT_PAGE": "report.md", "COMMENT_PULL": "7"}
    assert run_step(job, COMMENT, GITHUB_REPOSITORY="own/repo", KNOWN="", **given).result == 0
    assert "too long for a comment" in (job.folder / "body").read_text()


def test_what_is_no_number_of_a_pull_request_asks_for_nothing(job):
    gates.stub(job.stubs / "gh", GH)
    given = {"COMMENT_NAME": "a", "COMMENT_PAGE": "report.md", "COMMENT_PULL": "7/../../x"}
    assert run_step(job, COMMENT, GITHUB_REPOSITORY="own/repo", **given).result == 2
    assert not (job.folder / "gh").exists()
