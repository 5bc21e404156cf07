"""Progress on stderr."""

import io
import os
import platform
import re
import subprocess
import sys
import time

import pytest

from clipclean import machine, progress
from clipclean.cli import process
from clipclean.cli import progress as shown
from clipclean.data import workers
from clipclean.jobs.estimate import Estimate
from clipclean.progress import Listener


def test_a_listener_hears_what_is_told_until_it_leaves(capsys):
    heard = []
    hear = heard.append
    listener = Listener(lambda done, values: hear((done, dict(values))), hear, lambda *step: hear(step))
    progress.say("before")
    with progress.heard(listener), progress.heard(Listener()):
        assert progress.is_heard()
        progress.say("now")
        progress.record(3, {"loss": 1.0})
        progress.step("reading", 1, 2)
    progress.say("after")
    assert not progress.is_heard()
    assert heard == ["now", (3, {"loss": 1.0}), ("reading", 1, 2)]
    assert capsys.readouterr() == ("", "")


def test_a_quiet_run_has_no_listener(capsys):
    with shown.display(quiet=True):
        assert not progress.is_heard()
        progress.step("x", 0, 1)
    assert capsys.readouterr() == ("", "")


@pytest.fixture
def lines(monkeypatch, capsys):
    """What is told of a stage, or of the next of its four tiles, at a second each."""
    now, tiles = [0.0], progress.track("tiles", range(4), 4)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def told(calls):
        with shown.display(quiet=False):
            for at, *call in calls:
                now[0] = float(at)
                progress.step(*call) if call else next(tiles)
        return capsys.readouterr().err.splitlines()

    return told


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        # a line when a stage begins and when it ends
        ([(0, "read", 0, 10), (1, "read", 5, 10), (1, "read", 10, 10)], ["read: 0/10", "read: 10/10, 1 s"]),
        # the rate and the time left are of this stage alone: 20 steps in 10 s, and 40 are left
        ([(100, "f", 40, 100), (110, "f", 60, 100)], ["f: 40/100", "f: 60/100, 2.0/s, 20 s left"]),
        ([(0, "a\x1b[2J", 0, 1)], ["a\\x1b[2J: 0/1"]),
        # what a stage is at has one where it takes long
        ([(0, "f", 1, 3), *((second,) for second in range(4))], ["f: 1/3", "f 1/3 / tiles: 2/4, 1.0/s, 2 s left"]),
    ],
)
def test_without_a_terminal_there_are_lines(lines, calls, expected):
    assert lines(calls) == expected


def test_a_line_says_where_a_stage_ended_before_its_count(lines):
    assert lines([(0, "search", 0, 16), (1, "search", 11, 16), (1.1, "judge", 0, 1)]) == [
        "search: 0/16",
        "search: 11/16, ended",
        "judge: 0/1",
    ]


def test_lines_come_more_seldom_once_a_stage_takes_long(lines):
    printed = lines((second, "searching", second, 1000) for second in range(41))
    assert [int(re.search(r"(\d+)/1000", line)[1]) for line in printed] == [0, 2, 4, 6, 8, 10, 20, 30, 40]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def bars(monkeypatch):
    """The last lines that a terminal of so many columns shows of what is told."""
    monkeypatch.setenv("TERM", "xterm")

    def drawn(tell, columns):
        stream = Terminal()
        monkeypatch.setattr("sys.stderr", stream)
        monkeypatch.setenv("COLUMNS", str(columns))
        with shown.display(quiet=False):
            tell()
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue()).replace("\r", "\n").splitlines()

    return drawn


def test_a_bar_tells_how_far_its_stage_is(bars):
    def tell():
        progress.step("finetuning", 0, 4)
        progress.record(2, {"loss": 0.25, "lr": 0.001})
        progress.step("finetuning", 4, 4)

    screen = "\n".join(bars(tell, 140))
    assert all(word in screen for word in ("finetuning", "4/4", "loss 0.25 lr 0.001"))


def test_a_message_above_the_bars_is_no_markup(bars):
    def tell():
        progress.step("finetuning", 0, 4)
        progress.say("[bold]a message[/bold]")

    assert "[bold]a message[/bold]" in "\n".join(bars(tell, 140))


@pytest.mark.parametrize("columns", [40, 70, 100])
def test_a_long_name_leaves_a_stage_in_its_line(bars, columns):
    name = (
        "unlearn + cleanclip(loss.preserve_weight=2, train.epochs=6) on the model: searching after the refinetune test"
    )

    def tell():
        progress.step(name, 0, 2000)
        progress.step(name, 1234, 2000)

    lines = [line for line in bars(tell, columns) if "1234/2000" in line]
    assert lines
    bar = "━.*" if columns > 60 else ""  # a narrow terminal has room for the numbers alone
    assert all(re.search(rf"{bar}1234/2000.*\d:\d\d:\d\d", line) and len(line) <= columns for line in lines)


def test_a_message_above_the_bars_breaks_between_words(bars):
    words = [f"word{number}" for number in range(40)]

    def tell():
        progress.step("finetuning", 0, 4)
        progress.say(" ".join(words))

    lines = [line for line in bars(tell, 60) if "word" in line]
    assert len(lines) > 1
    assert " ".join(lines).split() == words


def test_a_stage_that_ends_early_rests_when_the_next_begins(bars):
    def tell():
        progress.step("searching", 13, 16)
        progress.step("judging", 0, 1)
        progress.step("judging", 1, 1)

    (line,) = [line for line in bars(tell, 100)[-3:] if "searching" in line]
    assert "13/16, ended" in line
    assert line.startswith("  searching")  # no spinner


@pytest.fixture
def group(tmp_path, monkeypatch):
    """The control group of this process, on a machine of 64 processors with 8 KiB of free memory."""
    (tmp_path / "memory").write_text("MemTotal: 99 kB\nMemAvailable: 8 kB\n")
    monkeypatch.setattr(machine, "CGROUP_FOLDER", tmp_path)
    monkeypatch.setattr(machine, "MEMORY_FILE", tmp_path / "memory")
    monkeypatch.setattr(machine, "available", lambda: 64)
    return tmp_path


@pytest.mark.parametrize(
    ("quota", "most"),
    [("150000 100000", 2), ("50000 100000", 1), ("max 100000", 64), ("", 64), ("garbage", 64), ("1 0", 64), ("1", 64)],
)
def test_no_more_threads_run_than_a_container_allows(group, quota, most):
    (group / "cpu.max").write_text(quota)
    assert machine.usable() == most
    assert workers() == min(most, 16)


@pytest.mark.parametrize(("limit", "free"), [("5000", 2000), ("max", 8192), ("", 8192)])
def test_an_estimate_tells_of_more_memory_than_a_container_has_left(group, limit, free):
    (group / "memory.current").write_text("3000")
    (group / "memory.max").write_text(limit)
    assert machine.free_memory() == free
    assert ("more than" in str(Estimate(1.0, 4000, free))) == (free < 4000)


def test_waiting_threads_sleep_unless_the_user_says_otherwise(monkeypatch, group):
    monkeypatch.setattr(os, "environ", {})
    process.be_a_good_neighbour()
    assert os.environ.pop("TORCHINDUCTOR_CACHE_DIR")  # there, or torch makes a folder in TMPDIR
    assert os.environ == {"OMP_WAIT_POLICY": "PASSIVE"}
    own = {"OMP_WAIT_POLICY": "ACTIVE", "OMP_NUM_THREADS": "3", "TORCHINDUCTOR_CACHE_DIR": "own"}
    monkeypatch.setattr(os, "environ", dict(own))
    process.be_a_good_neighbour()
    assert os.environ == own
    assert process.thread_count() == 3


FAULTS = """
import resource
from clipclean.cli import process
process.keep_freed_memory()
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(2**26)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no mallopt")
def test_freed_memory_is_kept_unless_the_user_chose_otherwise():
    """In a process of its own, since it cannot be undone; without the kept memory each block of 64 MB is faulted in anew."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}

    def faulted(**chosen):
        command = [sys.executable, "-c", FAULTS]
        return int(subprocess.run(command, env=plain | chosen, check=True, capture_output=True, text=True).stdout)

    # At least a fault for each huge page of 2 MB, where the system gives these without being asked.
    assert faulted() < 16 < faulted(MALLOC_CHECK_="0")
