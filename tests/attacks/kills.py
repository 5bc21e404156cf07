"""Runs that are killed at random moments, and given again: ``python -m attacks.kills 300``, from the folder ``tests``.

Half of them are killed after a random time, half before a random change to the file system, where the moving of files is. Each must be
finished by the same command, with the weights, the provenance and the report of an undisturbed run, and leave nothing else. That
open_clip reads the weights back is left out, and so are most of the known triggers.
"""

import contextlib
import io
import itertools
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import short
import tiny
import torch

from clipclean import cli, own_state
from clipclean.train import resume

# Of a report: what time and memory decide.
MEASURED = {"seconds", "resumed_at", "data_wait_seconds", "data_wait_share", "pairs_per_second", "peak_memory_bytes"}
MEASURED |= {"environment"}
SAME_BYTES = ("open_clip_model.safetensors", "open_clip_config.json")
CHANGES = ("replace", "mkdir", "unlink", "hardlink_to", "rmdir", "open")  # of pathlib.Path


@dataclass
class Tally:
    """How the kills of a loop went; ``ended`` are runs that were over before their kill."""

    killed: int = 0
    ended: int = 0
    taken_up: int = 0  # all files had come, and the same command told the result
    resumed: int = 0  # training went on in its middle
    problems: list[str] = field(default_factory=list)


def loop(folder: Path, kills: int, /, *, seed: int) -> Tally:
    """Kill and finish runs on one tiny job, until ``kills`` were killed."""
    draw, tally = random.Random(seed), Tally()
    job = tiny.job(folder / "job")
    os.environ["CLIPCLEAN_STATE"] = str(folder / "state")
    whole = folder / "whole"
    with contextlib.redirect_stdout(io.StringIO()):
        # whatever is imported late is there for all that follow
        cli.main(job.sanitize("--out", folder / "first", steps=8))
    started = time.monotonic()
    assert _run(job, whole, lambda: None) == 4
    seconds, changes = time.monotonic() - started, _changes(job, folder / "counted")
    number = -1
    while tally.killed < kills:
        number += 1
        place = folder / str(number)
        place.mkdir()
        if number % 2:
            code = _run(job, place / "out", killer_before(1 + draw.randrange(changes)))
        else:
            code = _run(job, place / "out", lambda: None, kill_after=draw.uniform(0, seconds))
        tally.killed += code == -signal.SIGKILL
        tally.ended += code != -signal.SIGKILL
        if code == -signal.SIGKILL:
            tally.problems += (found := [f"run {number}: {problem}" for problem in _finished(job, place, whole, tally)])
            for problem in found:
                print(problem, flush=True)  # noqa: T201
            if tally.killed % 10 == 0:
                print(f"{tally.killed} killed, {len(tally.problems)} problems", flush=True)  # noqa: T201
    return tally


def _finished(job: tiny.Job, place: Path, whole: Path, tally: Tally) -> list[str]:
    """Give the same command again, and say what is not as after an undisturbed run."""
    out = place / "out"
    had_come = out.exists()
    code = _run(job, out, lambda: None)
    if code == 2 and had_come and own_state.noted(out) is None:
        code = 4  # it was killed after all was done, while it told the result
    if code != 4:
        return [f"exit {code}"]
    problems = [f"{name} differs" for name in SAME_BYTES if (out / name).read_bytes() != (whole / name).read_bytes()]
    report, expected = (json.loads((each / "report.json").read_text()) for each in (out, whole))
    tally.taken_up += had_come
    tally.resumed += 0 < report["training"]["resumed_at"] < report["training"]["steps"]
    if steady(report) != steady(expected):
        problems.append("report.json differs")
    if cli.main(["verify", str(out), "--quiet"]) != 0:
        problems.append("not whole")
    if (names := sorted(path.name for path in place.iterdir())) != ["out"]:
        problems.append(f"left beside it: {names}")
    state = own_state.place_of(out)
    if left := [path.name for path in state.parent.iterdir() if path.stem == state.name and path.suffix != ".lock"]:
        problems.append(f"left of its state: {left}")
    return problems


def steady(value: Any) -> Any:  # JSON
    """A report without what is measured of the run itself."""
    if isinstance(value, dict):
        return {key: steady(inner) for key, inner in value.items() if key not in MEASURED}
    return [steady(inner) for inner in value] if isinstance(value, list) else value


def _run(job: tiny.Job, out: Path, begin: Callable[[], None], *, kill_after: float | None = None) -> int:
    """The exit code of a run in a process of its own, minus a signal that ended it."""
    child = os.fork()
    if child == 0:
        code = 70
        with contextlib.suppress(BaseException), open(os.devnull, "w") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
            resume.SAVE_SECONDS = 0.0
            short.run()
            begin()
            code = cli.main(job.sanitize("--out", out, steps=8))
        os._exit(code)
    if kill_after is not None:
        time.sleep(kill_after)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _counting(act: Callable[[int], None]) -> None:
    """Call ``act`` with the number of each change to the file system, before it is made."""
    steps = itertools.count(1)

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def called(*given: Any, **more: Any) -> Any:
            act(next(steps))
            return real(*given, **more)

        return called

    for name in CHANGES:
        setattr(Path, name, counted(getattr(Path, name)))


def killer_before(number: int) -> Callable[[], None]:
    def act(step: int) -> None:
        if step == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return lambda: _counting(act)


def _changes(job: tiny.Job, out: Path) -> int:
    """How many changes to the file system a whole run makes."""
    tally = out.with_suffix(".count")

    def begin() -> None:
        stream = os.open(tally, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        _counting(lambda step: os.write(stream, b".") and None)

    _run(job, out, begin)
    return tally.stat().st_size


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="kills-") as scratch:
        found = loop(Path(scratch), int(sys.argv[1]), seed=int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print(found)  # noqa: T201
    sys.exit(1 if found.problems else 0)
