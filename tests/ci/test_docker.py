"""The image: what its build gets, and what it is allowed."""

import re
import shutil
import subprocess
import tomllib

import pytest
from ci.gates import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SOURCE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
VARIANTS = ("cpu", "gpu")


def stages():
    """The instructions of each stage by its name, its base first; the last stage has none."""
    found, current = {}, []
    for line in SOURCE.replace("\\\n", " ").splitlines():
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            current = found[name] = [("FROM", base)]
        elif line and not line.startswith("#"):
            current.append((word, rest.strip()))
    return found


STAGES = stages()
COPIED = {
    source for word, rest in STAGES["wheel"] if word == "COPY" and "--from" not in rest for source in rest.split()[:-1]
}


def chain(name, variant):
    """The instructions of a stage after those of the stages that it stands on, and the image below them all."""
    first, *own = STAGES[name]
    base = first[1].replace("${VARIANT}", variant)
    below = chain(base, variant) if base in STAGES else [("FROM", base)]
    return [*below, *own]


def test_the_build_gets_exactly_the_files_that_the_wheel_is_made_of():
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*"
    assert {pattern[1:] for pattern in patterns if pattern.startswith("!")} == COPIED
    assert all((ROOT / source).exists() for source in COPIED)
    project, wheel = PROJECT["project"], PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {project["readme"], *project["license-files"], *wheel["packages"], *wheel["force-include"]} <= COPIED


def test_the_last_stage_fetches_nothing_and_its_user_is_not_root():
    for variant in VARIANTS:
        steps = chain("", variant)
        assert not re.search(
            r"\b(pip|apt|apt-get|curl|wget)\b", "\n".join(rest for word, rest in steps if word == "RUN")
        )
        assert [word for word, _ in steps if word in ("COPY", "ADD")] == ["COPY"]
    words = [word for word, _ in STAGES[""]]
    assert [rest for word, rest in STAGES[""] if word == "USER"] == ["10001"]
    assert words.index("USER") > max(words.index("RUN"), words.index("COPY"))


@pytest.mark.parametrize(
    ("index", "given"), [("", ""), ("https://mirror.example/cpu", "--index-url https://mirror.example/cpu ")]
)
def test_pip_is_given_one_index_at_a_time_and_the_users_own(index, given):
    (line,) = [rest for word, rest in STAGES["cpu-build"] if word == "RUN"]
    command = ["bash", "-euc", line.replace("/opt/clipclean/bin/python", "echo")]
    said = subprocess.run(command, env={"TORCH_INDEX": index}, check=True, capture_output=True, text=True).stdout
    assert said == f"-m pip install --no-cache-dir {given}torch torchvision\n"
    assert "--extra-index-url" not in SOURCE


@pytest.mark.slow
@pytest.mark.bench  # fetches PyTorch
@pytest.mark.skipif(shutil.which("docker") is None, reason="needs docker")
def test_the_image_builds_and_runs_without_a_network_and_without_rights():
    subprocess.run(["docker", "build", "--tag", "clipclean:test", str(ROOT)], check=True)
    locked = ["docker", "run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL"]
    told = subprocess.run([*locked, "clipclean:test", "doctor"], check=True, capture_output=True, text=True)
    assert "torch" in told.stdout
    user = subprocess.run([*locked, "--entrypoint", "id", "clipclean:test", "-u"], check=True, capture_output=True)
    assert user.stdout == b"10001\n"
