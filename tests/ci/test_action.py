"""The GitHub action, the GitLab template, the image and the hook of pre-commit, run as a runner would run them."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib

import pytest
import tiny
import torch
import yaml
from ci.gates import HOSTILE, ROOT
from hostile import checkpoints as hostile

from ci import gates
from clipclean import cli

SOURCE = (ROOT / "action.yml").read_text(encoding="utf-8")
ACTION = yaml.safe_load(SOURCE)
STEPS = ACTION["runs"]["steps"]
INSTALL, AUDIT, COMMENT = (step for step in STEPS if "run" in step)
PAGE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
TEMPLATE = yaml.safe_load((ROOT / "ci" / "gitlab.yml").read_text(encoding="utf-8"))
READ = set(re.findall(r"GATE_[A-Z_]*[A-Z]", gates.GATE.read_text(encoding="utf-8")))


@pytest.fixture
def job(tmp_path):
    return gates.Job(tmp_path)


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


def test_nothing_of_an_input_is_pasted_into_a_script():
    for step in (INSTALL, AUDIT, COMMENT):
        assert "${{" not in step["run"]
        assert "$" not in re.sub(r'"[^"\n]*"', "", step["run"])  # every variable is quoted
    assert TEMPLATE[".clipclean"]["script"] == ["clipclean-gate"]


def test_other_actions_are_pinned_to_commits():
    for text in (SOURCE, PAGE):
        for line in re.findall(r"uses:.*", text):
            assert re.search(r"@([0-9a-f]{40} # v\d+\.\d+\.\d+$|COMMIT\b)", line), line


def test_the_inputs_are_those_that_the_steps_use():
    assert set(re.findall(r"inputs\.([\w-]+)", SOURCE)) == set(ACTION["inputs"])


def test_every_input_or_output_is_described():
    assert all(entry["description"] for entry in [*ACTION["inputs"].values(), *ACTION["outputs"].values()])


def test_the_gate_gets_all_that_it_reads():
    assert set(AUDIT["env"]) == READ | {"CLIPCLEAN_DOCS"}


def test_the_page_tells_the_default_of_every_input():
    rows = dict(re.findall(r"^\| `([\w-]+)` \|\s*`?([^`|]*?)`?\s*\|", PAGE, re.MULTILINE))
    for name, entry in ACTION["inputs"].items():
        if "deprecationMessage" not in entry:  # these are refused
            assert rows[name] == entry.get("default", ""), name


def test_the_page_names_every_output():
    assert set(ACTION["outputs"]) <= set(re.findall(r"^\| `([\w-]+)` \|", PAGE, re.MULTILINE))


def test_every_output_is_one_of_the_gate(job):
    audit(job, model="m.pt")
    told = {name: f"${{{{ steps.gate.outputs.{name} }}}}" for name in job.told()}
    assert told == {name: entry["value"] for name, entry in ACTION["outputs"].items()}


def test_the_defaults_of_the_action_are_those_of_the_gate(job):
    assert audit(job, model="m.pt").arguments == job.run(GATE_MODEL="m.pt").arguments


def test_the_step_has_the_result_of_the_gate(job):
    results = [audit(job, code, model="m.pt", **{"fail-on": "error"}).result for code in (0, 1, 4, 3)]
    assert results == [0, 1, 0, 3]


@pytest.mark.parametrize("value", HOSTILE)
def test_a_hostile_input_goes_through_the_step_as_one_argument(job, value):
    run = audit(job, model=value, data=value, policy=value)
    assert run.result == 0
    assert run.arguments[:3] == ["audit", f"--data={value}", f"--policy={value}"]
    assert run.arguments[-2:] == ["--", value]
    assert not list(job.folder.rglob("pwned"))


@pytest.mark.parametrize(("extras", "end"), [("", ""), ("parquet,maps", "[parquet,maps]")])
def test_the_action_installs_the_extras_that_it_is_given(job, extras, end):
    python = gates.stub(
        job.stubs / "python",
        '#!/usr/bin/env bash\nprintf "%s\\n" "$@" >>../calls; if [[ $3 == venv ]]; then\n'
        'mkdir -p "$4/bin"; cp "$0" "$4/bin/python"; fi\n',
    )
    run_step(job, INSTALL, PYTHON=str(python), EXTRAS=extras, GITHUB_ACTION_PATH="/a COMMIT")
    assert (job.folder / "calls").read_text().splitlines()[-1] == f"/a COMMIT{end}"


def test_the_action_installs_its_own_checkout_alone(job):
    # A python that writes down its arguments, and makes an environment with itself in it.
    python = gates.stub(
        job.stubs / "python",
        '#!/usr/bin/env bash\nprintf "%s\\n" "$@" >>../calls; if [[ $3 == venv ]]; then\n'
        'mkdir -p "$4/bin"; cp "$0" "$4/bin/python"; fi\n',
    )
    run = run_step(job, INSTALL, PYTHON=str(python), EXTRAS="", GITHUB_ACTION_PATH="/the action/of a COMMIT")
    assert run.result == 0, run.log
    calls = (job.folder / "calls").read_text().splitlines()
    assert calls[:4] == ["-I", "-m", "venv", f"{job.folder}/my temp/clipclean"]
    assert calls[4:8] == ["-I", "-m", "pip", "install"]
    assert calls[-1] == "/the action/of a COMMIT"
    assert not any("index" in word for word in calls)


# The comment on a pull request.
GH = """#!/usr/bin/env bash
printf '%s\\0' "$@" >>../gh
if [[ $2 == --paginate ]]; then printf '%s' "$KNOWN"; exit; fi
for word in "$@"; do if [[ $word == body=@* ]]; then cp "${word#body=@}" ../body; fi; done
"""


def comment(job, page="# the report", *, pull="7", known=""):
    gates.stub(job.stubs / "gh", GH)
    (job.workspace / "report.md").write_text(page)
    given = {"COMMENT_NAME": '") | x --> clip', "COMMENT_PAGE": "report.md", "COMMENT_PULL": pull}
    return run_step(job, COMMENT, GITHUB_REPOSITORY="own/repo", KNOWN=known, **given).result


@pytest.mark.parametrize(("known", "end"), [("", "issues/7/comments"), ("12\n34", "issues/comments/34")])
def test_a_pull_request_has_one_comment_for_each_name_which_is_not_cut_in_the_middle(job, known, end):
    assert comment(job, pull="7/../../x") == 2
    assert not (job.folder / "gh").exists()
    assert comment(job, "x" * 60_000) == 0
    assert "xx" not in (job.folder / "body").read_text()
    assert comment(job, known=known) == 0
    assert (job.folder / "body").read_text() == "<!-- clipclean _____x_____clip -->\n# the report"
    assert f"repos/own/repo/{end}" in (job.folder / "gh").read_text().split("\0")


# GitLab.
@pytest.mark.parametrize(("code", "silent", "result"), [(0, "", 0), (1, "", 1), (3, "", 3), (4, "", 4), (4, "1", 70)])
def test_the_gitlab_job_hands_on_what_the_gate_gives(job, code, silent, result):
    """Its exit code, and the reports in the places that GitLab keeps."""
    template = TEMPLATE[".clipclean"]
    (job.stubs / "clipclean-gate").symlink_to(gates.GATE)
    values = {**template["variables"], "GATE_MODEL": "my model.pt", "STUB_SILENT": silent}
    assert job.run("bash", "-c", "\n".join(template["script"]), code=code, **values).result == result
    (folder,) = template["artifacts"]["paths"]
    junit = template["artifacts"]["reports"]["junit"]
    assert f"--report=junit={junit}\0" in (job.workspace / "arguments").read_text()
    assert (job.workspace / folder / "report.html").is_file() == (code != 3 and not silent)


def test_gitlab_keeps_the_reports_of_every_job():
    assert TEMPLATE[".clipclean"]["artifacts"]["when"] == "always"


# The image: what its build gets, and what it is allowed.


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
VARIANTS = ("cpu", "gpu")


def stages():
    """The instructions of each stage by its name, its base first; the last stage has none."""
    found, current = {}, []
    for line in DOCKERFILE.replace("\\\n", " ").splitlines():
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            current = found[name] = [("FROM", base)]
        elif line and not line.startswith("#"):
            current.append((word, rest.strip()))
    return found


STAGES = stages()
COPIES = [rest.split()[:-1] for word, rest in STAGES["wheel"] if word == "COPY" and "--from" not in rest]
COPIED = {source for sources in COPIES for source in sources}


def chain(name, variant):
    """The instructions of a stage after those of the stages that it stands on, and the image below them all."""
    first, *own = STAGES[name]
    base = first[1].replace("${VARIANT}", variant)
    below = chain(base, variant) if base in STAGES else [("FROM", base)]
    return [*below, *own]


def test_every_extra_that_is_named_anywhere_is_one_of_the_project():
    extras = PROJECT["project"]["optional-dependencies"]
    (default,) = re.findall(r"^ARG EXTRAS=(\w+)$", DOCKERFILE, re.MULTILINE)
    named = {
        word
        for words in re.findall(r"`(?:extras|EXTRAS)`[^|]*\|[^|]*\|([^|]*)\|", PAGE)
        for word in re.findall(r"`(\w+)`", words)
    }
    assert default in extras
    assert named
    assert named <= set(extras)


def test_the_build_gets_exactly_the_files_that_the_wheel_is_made_of():
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*"
    assert {pattern[1:] for pattern in patterns if pattern.startswith("!")} == COPIED
    assert all((ROOT / source).exists() for source in COPIED)
    project, wheel = PROJECT["project"], PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {project["readme"], *project["license-files"], *wheel["packages"], *wheel["force-include"]} <= COPIED


def test_the_last_stage_fetches_nothing():
    for variant in VARIANTS:
        steps = chain("", variant)
        ran = "\n".join(rest for word, rest in steps if word == "RUN")
        assert not re.search(r"\b(pip|apt|apt-get|curl|wget)\b", ran)
        assert [word for word, _ in steps if word in ("COPY", "ADD")] == ["COPY"]


def test_the_user_of_the_image_is_not_root():
    words = [word for word, _ in STAGES[""]]
    assert [rest for word, rest in STAGES[""] if word == "USER"] == ["10001"]
    assert words.index("USER") > max(words.index("RUN"), words.index("COPY"))


def cpu_commands():
    """The commands of the stage that takes PyTorch for CPUs: the installation, and the check of what came."""
    (run,) = [rest for word, rest in STAGES["cpu-build"] if word == "RUN"]
    return run.split("&&")


@pytest.mark.parametrize(
    ("index", "option"), [("", ""), ("https://mirror.example/cpu", "--index-url https://mirror.example/cpu ")]
)
def test_pip_is_given_no_index_but_the_users_own(index, option):
    line, _ = cpu_commands()
    command = ["bash", "-euc", line.replace("/opt/clipclean/bin/python", "echo")]
    said = subprocess.run(command, env={"TORCH_INDEX": index}, check=True, capture_output=True, text=True).stdout
    assert said == f"-m pip install --no-cache-dir {option}torch torchvision\n"
    assert "--extra-index-url" not in DOCKERFILE


@pytest.mark.parametrize(("cuda", "result"), [("None", 0), ("'12.8'", 1)])
def test_an_image_for_cpus_has_no_pytorch_with_cuda(tmp_path, cuda, result):
    (tmp_path / "torch.py").write_text(f"class version:\n    cuda = {cuda}\n")
    _, check = cpu_commands()
    command = ["bash", "-euc", check.replace("/opt/clipclean/bin/python", sys.executable)]
    ended = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert ended.returncode == result
    assert ("TORCH_INDEX" in ended.stderr) == bool(result)


def test_the_base_image_is_one_version():
    (base,) = re.findall(r"^ARG BASE=(.+)$", DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", base)


def test_the_image_says_what_it_is():
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', DOCKERFILE))
    project = PROJECT["project"]
    assert (labels["description"], labels["licenses"]) == (project["description"], project["license"])


def test_a_source_archive_has_what_make_check_reads():
    included = PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    read = set(re.findall(r"(?:benchmarks|tests)(?=/)", (ROOT / "Makefile").read_text(encoding="utf-8")))
    assert read | {"house.toml", "mkdocs.yml", "action.yml", "ci"} <= set(included)
    assert all((ROOT / name).exists() for name in included)


def test_the_notice_holds_the_text_of_each_licence_that_asks_for_it():
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    assert "MIT License" in notice
    assert "shall be included in all" in notice


@pytest.mark.slow
@pytest.mark.bench  # fetches PyTorch
@pytest.mark.skipif(shutil.which("docker") is None, reason="needs docker")
def test_the_image_runs_without_network_or_rights():
    subprocess.run(["docker", "build", "--tag", "clipclean:test", str(ROOT)], check=True)
    locked = ["docker", "run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL"]
    doctor = subprocess.run([*locked, "clipclean:test", "doctor"], check=True, capture_output=True, text=True)
    assert "torch" in doctor.stdout
    user = subprocess.run([*locked, "--entrypoint", "id", "clipclean:test", "-u"], check=True, capture_output=True)
    assert user.stdout == b"10001\n"


# The hook of pre-commit: what it runs for the files of a commit.


(HOOK,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def inside(tmp_path, monkeypatch):
    """A repository to commit in; a payload that ran would leave its mark there."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def commit(*files, args=HOOK["args"]):
    """What pre-commit runs for these files, and its exit code."""
    program, *words = shlex.split(HOOK["entry"])
    assert program == "clipclean"
    return cli.main([*words, *args, *files])


@pytest.mark.parametrize(
    "name", [name for name in hostile.CASES if "os.system" in hostile.CASES[name].words.replace("\\", "")]
)
def test_a_hostile_checkpoint_stops_the_commit_before_it_acts(inside, capsys, name):
    hostile.CASES[name].write(inside / "evil.pt")
    assert commit("evil.pt") == 3
    assert "os.system" in capsys.readouterr().err
    assert [path.name for path in inside.iterdir()] == ["evil.pt"]


def test_the_hook_takes_files_that_may_be_checkpoints():
    assert all(re.search(HOOK["files"], f"a/b/x.{kind}") for kind in ("pt", "pth", "bin", "ckpt", "safetensors"))
    assert not any(re.search(HOOK["files"], name) for name in ("x.pt.txt", "pt", "script.py", "xpt"))


GOOD = ("a.pt", "-c.pt")


@pytest.fixture
def good(inside):
    """The repository with good files in it."""
    weights = tiny.state_dict(tiny.SMALL_VIT)
    for name in GOOD:
        torch.save(weights, inside / name)
    return inside


@pytest.mark.usefixtures("good")
def test_good_checkpoints_are_committed():
    assert commit(*GOOD) == 0


def test_one_bad_file_among_good_ones_stops_the_commit(good, capsys):
    for name in ("b.pt", "--help.pt", "-v.pt", "--arch=x.pt"):
        (good / name).write_bytes(b"not a checkpoint\n")
        assert commit("a.pt", name, "-c.pt") == 3
        out, err = capsys.readouterr()
        assert ("a.pt" in out, "-c.pt" in out, name in err) == (True, True, True)
