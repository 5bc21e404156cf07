import json
import re
import shlex
import shutil
import subprocess
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
    """The instructions of each stage."""
    found = []
    for word, rest in instructions():
        if word == "FROM":
            found.append([])
        if found:
            found[-1].append((word, rest))
    return found


BUILD, FINAL = stages()
COPIED = {source for word, rest in BUILD if word == "COPY" for source in rest.split()[:-1]}


def sent():
    """What .dockerignore lets into the build, given that its first pattern keeps all out."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*"
    return {pattern[1:] for pattern in patterns if pattern.startswith("!")}


def docker_commands():
    return [
        shlex.split(line, comments=True)
        for body in pages.blocks("docker.md", "sh")
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
    ran = [rest for word, rest in FINAL if word == "RUN"]
    assert not re.search(r"\b(pip|apt|apt-get|curl|wget)\b", "\n".join(ran))
    assert [word for word, _ in FINAL if word in ("COPY", "ADD")] == ["COPY"]


def test_pip_is_given_one_index_and_no_local_version():
    assert not re.search(r"index|\+cpu|find-links", SOURCE)
    assert "/wheels/*.whl" in SOURCE


def test_both_stages_stand_on_the_same_base():
    assert [rest for word, rest in instructions() if word == "FROM"] == ["${BASE} AS build", "${BASE}"]
    (base,) = [rest for word, rest in instructions() if word == "ARG"]
    version = re.fullmatch(r"BASE=python:3\.(\d+)-slim", base)[1]
    assert int(version) >= int(PROJECT["project"]["requires-python"].removeprefix(">=3."))


def test_the_user_is_not_root_and_nothing_is_done_after_it_as_root():
    assert [rest for word, rest in FINAL if word == "USER"] == ["10001"]
    order = [word for word, _ in FINAL]
    assert order.index("USER") > max(order.index("RUN"), order.index("COPY"))
    assert re.search(r"useradd .*--uid 10001 ", SOURCE)


def test_the_image_is_the_command():
    assert [json.loads(rest) for word, rest in FINAL if word == "ENTRYPOINT"] == [["clipclean"]]
    assert any("PATH=/opt/clipclean/bin:$PATH" in rest for word, rest in FINAL if word == "ENV")


def test_the_gate_is_in_the_image_under_the_name_that_the_template_calls():
    assert any("install -m 0755 ci/gate.sh /opt/clipclean/bin/clipclean-gate" in rest for word, rest in BUILD)


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
            ours.append(words[words.index("clipclean", 5) + 1 :])
    assert ["--version"] in ours
    for words in ours:
        context = cli.cli.make_context("clipclean", list(words), resilient_parsing=not words or words[0] == "--version")
        if words and words[0] != "--version":
            command = cli.cli.get_command(context, words[0])
            assert isinstance(command, click.Command), words
            command.make_context(words[0], words[1:], parent=context)


def test_the_build_arguments_of_the_page_are_those_of_the_file():
    commands = docker_commands()
    given = [words[index + 1] for words in commands for index, word in enumerate(words) if word == "--build-arg"]
    (base,) = [rest for word, rest in instructions() if word == "ARG"]
    assert given == [f"{base}@sha256:DIGEST"]


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
