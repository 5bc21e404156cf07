import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib

import click
import pytest
from ci.gates import ROOT

from ci import pages
from clipclean import cli

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SOURCE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def instructions():
    """Each instruction of the Dockerfile with its words, continued lines joined."""
    lines = [line for line in SOURCE.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in lines]


def stages():
    """The instructions of each stage by its name, its base first; the last stage has none."""
    found = {}
    for word, rest in instructions():
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            current = found[name] = [("FROM", base)]
        elif found:
            current.append((word, rest))
    return found


STAGES = stages()
ARGUMENTS = dict(rest.split("=", 1) for word, rest in instructions() if word == "ARG")
FINAL = STAGES[""]
COPIED = {
    source for word, rest in STAGES["wheel"] if word == "COPY" and "--from" not in rest for source in rest.split()[:-1]
}


def chain(name, variant):
    """The instructions of a stage after those of the stages that it stands on, and the image below them all."""
    first, *own = STAGES[name]
    base = first[1].replace("${VARIANT}", variant)
    below = chain(base, variant) if base in STAGES else [("FROM", base)]
    return [*below, *own]


def sent():
    """What .dockerignore lets into the build, given that its first pattern keeps all out."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*"
    return {pattern[1:] for pattern in patterns if pattern.startswith("!")}


def docker_commands():
    return [
        shlex.split(line, comments=True)
        for body in pages.blocks("sh")
        for line in body.replace("\\\n", " ").splitlines()
    ]


def test_the_build_gets_exactly_the_files_that_it_copies():
    assert sent() == COPIED
    assert all((ROOT / source).exists() for source in COPIED)


def test_the_build_copies_all_that_the_wheel_is_made_of():
    project, wheel = PROJECT["project"], PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    version = PROJECT["tool"]["hatch"]["version"]["path"].split("/")[0]
    needed = {project["readme"], *project["license-files"], *wheel["packages"], *wheel["force-include"], version}
    assert needed | {"pyproject.toml"} <= COPIED


def test_the_last_stage_takes_the_environment_and_fetches_nothing():
    assert ("COPY", "--from=build /opt/clipclean /opt/clipclean") in FINAL
    for variant in VARIANTS:
        steps = chain("", variant)
        ran = [rest for word, rest in steps if word == "RUN"]
        assert not re.search(r"\b(pip|apt|apt-get|curl|wget)\b", "\n".join(ran))
        assert [word for word, _ in steps if word in ("COPY", "ADD")] == ["COPY"]


VARIANTS = ("cpu", "gpu")


def test_the_stages_of_both_variants_are_there_and_stand_on_one_base():
    assert ARGUMENTS["VARIANT"] in VARIANTS
    for variant in VARIANTS:
        for name in ("", "build"):
            assert chain(name, variant)[0] == ("FROM", "${BASE}")
    version = re.fullmatch(r"python:3\.(\d+)-slim", ARGUMENTS["BASE"])[1]
    assert int(version) >= int(PROJECT["project"]["requires-python"].removeprefix(">=3."))


def test_only_the_variant_for_gpus_asks_for_one():
    told = {variant: " ".join(rest for word, rest in chain("", variant) if word == "ENV") for variant in VARIANTS}
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in told["gpu"]
    assert "NVIDIA" not in told["cpu"]


# The steps of the build, run outside of docker: COPY copies, RUN runs in a shell, and python and pip are stubs that note
# what they are told.

PYTHON = """#!/bin/bash
printf '%s\\n' "$*" >> "$STUB_LOG"
case "$*" in
  "-m pip wheel "*) while [ "$1" != --wheel-dir ]; do shift; done; mkdir -p "$2"; touch "$2/clip_sanitizer-1-py3-none-any.whl" ;;
  "-m venv "*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
esac
"""


def played(folder, variant, **arguments):
    """Run the stage that builds with these build arguments; what its python was told, with paths as in the image."""
    root = folder / "root"
    stubs = folder / "stubs"
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
    assert (root / "src" / "docs" / "index.md").is_file()  # the wheel has the pages


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


def test_the_user_is_not_root_and_nothing_is_done_after_it_as_root():
    assert [rest for word, rest in FINAL if word == "USER"] == ["10001"]
    order = [word for word, _ in FINAL]
    assert order.index("USER") > max(order.index("RUN"), order.index("COPY"))
    assert re.search(r"useradd .*--uid 10001 ", SOURCE)


def test_the_image_is_the_command():
    assert [json.loads(rest) for word, rest in FINAL if word == "ENTRYPOINT"] == [["clipclean"]]
    assert any("PATH=/opt/clipclean/bin:$PATH" in rest for word, rest in FINAL if word == "ENV")


def test_the_gate_is_in_the_image_under_the_name_that_the_template_calls():
    assert any("install -m 0755 ci/gate.sh /opt/clipclean/bin/clipclean-gate" in rest for word, rest in STAGES["wheel"])


def test_the_commands_of_the_page_mount_the_working_directory_and_parse():
    (place,) = [rest for word, rest in FINAL if word == "WORKDIR"]
    commands = docker_commands()
    assert len(commands) == 8
    ours = []
    for words in commands:
        assert words[0] == "docker"
        assert words[1] in ("build", "run")
        mounts = [words[index + 1] for index, word in enumerate(words) if word == "--volume"]
        assert all(re.fullmatch(rf"\$PWD:{place}(:ro)?", mount) for mount in mounts)
        if words[1] == "run":
            assert words[2:5] == ["--rm", "--network", "none"]
            (image,) = [index for index, word in enumerate(words) if word in ("clipclean", "clipclean:gpu")]
            ours.append(words[image + 1 :])
    assert len(ours) == 4
    for words in ours:
        context = cli.cli.make_context("clipclean", list(words))
        command = cli.cli.get_command(context, words[0])
        assert isinstance(command, click.Command), words
        command.make_context(words[0], words[1:], parent=context)


def test_the_build_arguments_of_the_page_are_those_of_the_file():
    commands = docker_commands()
    given = [words[index + 1] for words in commands for index, word in enumerate(words) if word == "--build-arg"]
    assert given == ["VARIANT=gpu", "TORCH_INDEX=URL", f"BASE={ARGUMENTS['BASE']}@sha256:DIGEST"]
    assert [row[0].split()[0].strip("`") for row in pages.table("`VARIANT`")] == list(VARIANTS)
    assert set(ARGUMENTS) == {"BASE", "VARIANT", "TORCH_INDEX"}
    assert all(name in pages.TEXT for name in ARGUMENTS)


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
