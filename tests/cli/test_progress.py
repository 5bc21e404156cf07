import io
import re

import pytest

from clipclean import progress
from clipclean.cli import progress as shown
from clipclean.progress import Listener


class Clock:
    """A clock that a test turns."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def lines(capsys):
    """A view in lines, its clock, and what it has printed."""
    clock = Clock()
    view = shown._Lines(clock)
    return view, clock, lambda: capsys.readouterr().err.splitlines()


def test_a_stage_has_a_line_when_it_begins_and_when_it_ends(lines):
    view, clock, printed = lines
    view("reading", 0, 10)
    clock.now = 1.0
    view("reading", 5, 10)
    view("reading", 10, 10)
    assert printed() == ["reading: 0/10", "reading: 10/10, 1 s"]


def test_lines_come_every_two_seconds_at_first_and_every_ten_later(lines):
    view, clock, printed = lines
    view("searching", 0, 1000)
    for second in range(1, 41):
        clock.now = float(second)
        view("searching", second, 1000)
    # 2, 4, ... 10 s while young; then 20, 30, 40
    assert [line.partition(",")[0] for line in printed()] == [
        f"searching: {done}/1000" for done in (0, 2, 4, 6, 8, 10, 20, 30, 40)
    ]


def test_rate_and_time_left_are_of_this_stage_alone(lines):
    view, clock, printed = lines
    clock.now = 100.0
    view("finetuning", 40, 100)  # resumed
    clock.now = 110.0
    view("finetuning", 60, 100)
    # 20 steps in 10 s; 40 are left
    assert printed()[-1] == "finetuning: 60/100, 2.0/s, 20 s left"


def test_the_newest_loss_stands_beside_the_count(lines):
    view, clock, printed = lines
    view("finetuning", 0, 4)
    clock.now = 2.0
    view.newest.take({"lr": 1e-5, "loss": 1.23456, "contrastive": 0.5})
    view("finetuning", 1, 4)
    assert printed()[-1] == "finetuning: 1/4, 0.5/s, 6 s left, loss 1.23 lr 1e-05"


def test_a_name_with_control_characters_cannot_drive_the_terminal(lines):
    view, _, printed = lines
    view("a\x1b[2J", 0, 1)
    view.words("b\x1b[2J")
    assert printed() == ["a\\x1b[2J: 0/1", "b\\x1b[2J"]


def test_messages_and_values_reach_every_listener_and_nobody_else():
    heard = []
    listener = Listener(lambda done, values: heard.append((done, dict(values))), heard.append)
    progress.say("before")
    with progress.heard(listener), progress.heard(Listener()):
        assert progress.is_heard()
        progress.say("now")
        progress.record(3, {"loss": 1.0})
    progress.say("after")
    assert not progress.is_heard()
    assert heard == ["now", (3, {"loss": 1.0})]


def test_a_quiet_run_shows_nothing_and_has_no_listener(capsys):
    with shown.shown(quiet=True) as report:
        assert not progress.is_heard()
        report("x", 0, 1)
    assert capsys.readouterr() == ("", "")


def test_bars_have_count_rate_and_loss(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    with shown.shown(quiet=False) as report:
        report("finetuning", 0, 4)
        progress.record(2, {"loss": 0.25, "lr": 0.001})
        report("finetuning", 4, 4)
        progress.say("[bold]a message[/bold]")
    told = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert "finetuning" in told
    assert "4/4" in told
    assert "loss 0.25 lr 0.001" in told
    assert "[bold]a message[/bold]" in told
