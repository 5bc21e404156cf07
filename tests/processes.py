"""Processes of their own, and those of one run with what torchrun tells each of them."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


def python(*words: object, env: dict[str, str] | None = None, **settings: Any) -> "subprocess.CompletedProcess[str]":
    """Run the interpreter where it finds the package and the modules of the tests."""
    own = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]), "OMP_NUM_THREADS": "1"} | (env or {})
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, env=os.environ | own, capture_output=True, text=True, **settings)


def told(size: int) -> list[dict[str, str]]:
    """What torchrun tells each process of a run of so many."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    sizes = {"WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size), "TORCHELASTIC_RUN_ID": "test"}
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"} | sizes
    return [shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(size)]


def alike(patch: pytest.MonkeyPatch, told: dict[str, str]) -> None:
    """Make this process the one that is told so."""
    for name, value in told.items():
        patch.setenv(name, value)


def started(script: str, *arguments: object, size: int, cwd: Path) -> list["subprocess.Popen[str]"]:
    """So many processes that run a script, or one alone, each with one thread."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return [subprocess.Popen(command, cwd=cwd, env=os.environ | own, text=True, **pipes) for own in told(size)]


def ended(processes: list["subprocess.Popen[str]"]) -> list[tuple[int, str]]:
    """The exit code of each, and what it wrote to stderr."""
    told = [process.communicate(timeout=900)[1] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, told, strict=True)]


ONE = """
import os, signal, sys
sys.path.insert(0, "tests")
import short
from clipclean import cli, progress
short.run(**{search})
def act(done, _):
    if os.environ["RANK"] == "1" and done == 2:
        {event}
with progress.heard(progress.Listener(act)):
    sys.exit(cli.main())
"""


def of_one_run(*words: object, size: int = 2, event: str = "pass", **search: Any) -> list[tuple[int, str]]:
    """What ``ended`` tells of the processes of a short run; ``event`` happens to the second of them after its second step."""
    return ended(started(ONE.format(search=search, event=event), *words, size=size, cwd=ROOT))
