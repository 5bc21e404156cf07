"""The image: the steps of its build run outside of docker, and what it is allowed."""

import re
import shutil
import subprocess
import sys
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


# COPY copies, RUN runs in a shell, and python and pip are stubs that note what they are told.

PYTHON = """#!/bin/bash
printf '%s\\n' "$*" >> "$STUB_LOG"
case "$*" in
  "-m pip wheel "*) while [ "$1" != --wheel-dir ]; do shift; done; mkdir -p "$2"; touch "$2/clip_sanitizer-1-py3-none-any.whl" ;;
  "-m venv "*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
esac
"""


def played(folder, variant, **arguments):
    """Run the stage that builds with these build arguments; what its python was told, with paths as in the image."""
    root, stubs = folder / "root", folder / "stubs"
    for place in (root, stubs):
        place.mkdir()
    stub = stubs / "python"
    stub.write_text(PYTHON, encoding="utf-8")
    stub.chmod(0o755)
    variables = {"PATH": f"{stubs}:/usr/bin:/bin", "STUB_LOG": str(folder / "log")}
    inside, where = root, re.compile(r"(?<![\w.])/(?=src\b|wheels\b|opt/)")
    for word, rest in chain("build", variant)[1:]:
        if word == "WORKDIR":
            inside = root / rest.lstrip("/")
            inside.mkdir(parents=True)
        elif word == "ARG":
            name, _, value = rest.partition("=")
            variables[name] = arguments.get(name, value)
        elif word == "COPY":
            *sources, target = rest.split()
            for source in sources:
                place = inside / target / source if target == "./" else inside / target
                place.parent.mkdir(parents=True, exist_ok=True)
                given = ROOT / source
                shutil.copytree(given, place) if given.is_dir() else shutil.copy(given, place)
        elif word == "RUN":
            subprocess.run(["bash", "-ec", where.sub(f"{root}/", rest)], cwd=inside, env=variables, check=True)
    told = (folder / "log").read_text(encoding="utf-8").replace(f"{root}/", "/")
    return root, told.splitlines()


@pytest.mark.parametrize(
    ("variant", "arguments", "index"),
    [
        ("cpu", {}, []),
        ("cpu", {"TORCH_INDEX": "https://mirror.example/cpu"}, ["--index-url https://mirror.example/cpu"]),
        ("gpu", {}, None),
    ],
)
def test_the_steps_of_the_build_run_and_pip_is_given_one_index_at_a_time(tmp_path, variant, arguments, index):
    root, told = played(tmp_path, variant, **arguments)
    torch = [] if index is None else [" ".join(["-m pip install --no-cache-dir", *index, "torch torchvision"])]
    assert told == [
        "-m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .",
        "-m venv /opt/clipclean",
        *torch,
        "-m pip install --no-cache-dir /wheels/clip_sanitizer-1-py3-none-any.whl",
    ]
    assert "--extra-index-url" not in SOURCE
    gate = root / "opt" / "clipclean" / "bin" / "clipclean-gate"
    assert gate.stat().st_mode & 0o777 == 0o755
    assert gate.read_bytes() == (ROOT / "ci" / "gate.sh").read_bytes()


@pytest.mark.slow
def test_the_files_that_the_build_gets_make_a_wheel_that_runs_outside_of_the_sources(tmp_path):
    root, _ = played(tmp_path, "gpu")
    # what the wheel holds, put together as pyproject.toml says: building one needs a network
    inside, wheel = root / "site" / "clipclean", PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    shutil.copytree(root / "src" / "clipclean", inside)
    for source, target in wheel["force-include"].items():
        shutil.copytree(root / "src" / source, root / "site" / target, dirs_exist_ok=True)
    shown = [sys.executable, "-m", "clipclean", "recipes", "list"]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(root / "site"), "HOME": str(tmp_path)}
    ended = subprocess.run(shown, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    assert "cleanclip" in ended.stdout


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
