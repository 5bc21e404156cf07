"""Rendering of progress on stderr: bars on a terminal, regular lines elsewhere."""

import contextlib
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from clipclean import progress
from clipclean.progress import Listener, Values
from clipclean.untrusted import printable

LINE_SECONDS = 10.0  # between two lines of one stage where stderr is no terminal
EARLY_SECONDS = 2.0  # the same while a stage is young
YOUNG_SECONDS = 10.0
NARROW_COLUMNS = 60  # of a terminal that has no room for a bar beside its numbers
SHOWN_VALUES = ("loss", "lr")  # of what a step measures, beside the bar
VALUE_SECONDS = 0.5  # between two looks at a loss: on a GPU each look waits for the step


@contextmanager
def display(*, quiet: bool) -> Iterator[None]:
    """Show what is told in a with-block: stages, messages and losses."""
    if quiet:
        yield
        return
    view = _Bars() if sys.stderr.isatty() else _Lines()
    live = view.live if isinstance(view, _Bars) else contextlib.nullcontext()
    listener = Listener(
        values=lambda _done, values: view.newest.take(values), words=view.words, steps=view, part=view.part
    )
    with live, progress.heard(listener):
        yield
        view.end()


class _Values:
    """The newest loss and rate, read now and then."""

    def __init__(self) -> None:
        self._due = 0.0
        self.text = ""

    def take(self, values: Values) -> None:
        """Note the numbers of a step, if the last note is old enough."""
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + VALUE_SECONDS
            self.text = " ".join(f"{name} {float(values[name]):.3g}" for name in SHOWN_VALUES if name in values)


class _Bars:
    """A bar for each stage."""

    def __init__(self) -> None:
        from rich import progress as bars
        from rich.console import Console
        from rich.table import Column

        console = Console(stderr=True)
        is_narrow = console.width < NARROW_COLUMNS
        rate = bars.TextColumn("{task.fields[rate]}", markup=False, table_column=Column(ratio=1, no_wrap=True))
        # What does not fit is cut from the name of a stage and from its rate: bar, count and time are always there.
        columns = (
            bars.SpinnerColumn(finished_text=" "),
            bars.TextColumn(
                "{task.description}", markup=False, table_column=Column(ratio=3, no_wrap=True, min_width=8)
            ),
            *([] if is_narrow else [bars.BarColumn(bar_width=12)]),
            bars.TextColumn("{task.fields[count]}", markup=False, table_column=Column(no_wrap=True)),
            *([] if is_narrow else [rate]),
            *([] if is_narrow else [bars.TimeElapsedColumn(table_column=Column(no_wrap=True))]),
            bars.TimeRemainingColumn(table_column=Column(no_wrap=True)),
        )
        self.live = bars.Progress(*columns, console=console, expand=True)
        self._tasks: dict[str, bars.TaskID] = {}
        self._what = ""
        self.newest = _Values()

    def __call__(self, what: str, done: int, total: int) -> None:
        if what != self._what:
            self.end()
        if what not in self._tasks:
            self.newest.text = ""
            self._tasks[what] = self.live.add_task(printable(what), total=total or None, count="", rate="")
        self._what, task = what, self._tasks[what]
        speed = self.live.tasks[self.live.task_ids.index(task)].speed
        rate = " ".join(filter(None, (f"{speed:.1f}/s" if speed else "", self.newest.text)))
        self.live.update(task, completed=done, total=total or None, count=f"{done}/{total}" if total else "", rate=rate)

    def end(self) -> None:
        """Let the bar of the present stage rest where another begins: a stage may end before all that it might have done."""
        if self._what not in self._tasks:
            return
        number = self._tasks[self._what]
        task = self.live.tasks[self.live.task_ids.index(number)]
        if task.finished:
            return
        done, had = int(task.completed), f"{task.fields['count']}, ended" if task.total else ""
        self.live.update(number, completed=max(1, done), total=max(1, done), count=had, rate="")

    def part(self, name: str, done: int, total: int) -> None:
        """Show in the bar of the stage what it is at."""
        if self._what:
            self.live.update(self._tasks[self._what], rate=printable(f"{name} {done}/{total}"))

    def words(self, words: str) -> None:
        """Print a message above the bars, in whole words."""
        from clipclean.report import wrapped

        console = self.live.console
        for line in wrapped(printable(words), console.width):
            console.print(line, markup=False, highlight=False, soft_wrap=True)


class _Lines:
    """A line when a stage begins and ends, and one every few seconds between, with rate, time left and loss, or what it is at."""

    def __init__(self) -> None:
        self._what, self._at, self._said = "", "", time.monotonic()
        self._count = (0, 0)  # of the present stage: done, and in all
        self._begun = {"": (self._said, 0)}  # when the stage and its parts began, and at what count
        self.newest = _Values()

    def __call__(self, what: str, done: int, total: int) -> None:
        if is_new := what != self._what:
            self._tell_early_end()
            self._what, self._begun, self.newest.text = what, {}, ""
        self._count = (done, total)
        self._at = f"{what} {done}/{total}" if total else what
        self._tell(what, done, total, at_once=is_new or done >= total)

    def end(self) -> None:
        """Nothing: the last line has no end to show."""

    def part(self, name: str, done: int, total: int) -> None:
        """Tell what the stage is at."""
        self._tell(f"{self._at} / {name}", done, total, at_once=False)

    def words(self, words: str) -> None:
        """Print a message."""
        click.echo(printable(words), err=True)

    def _tell_early_end(self) -> None:
        """Where the present stage ended before all that it might have done."""
        done, total = self._count
        if done < total:
            click.echo(printable(f"{self._what}: {done}/{total}, ended"), err=True)

    def _tell(self, what: str, done: int, total: int, *, at_once: bool) -> None:
        now = time.monotonic()
        if not done or what not in self._begun:
            self._begun[what] = (now, done)
        began, first_done = self._begun[what]
        is_young = now - self._begun[self._what][0] <= YOUNG_SECONDS
        if not (at_once or now - self._said >= (EARLY_SECONDS if is_young else LINE_SECONDS)):
            return
        self._said, seconds = now, now - began
        line = f"{what}: {done}/{total}" if total else what
        if seconds > 0.5 and done > first_done:
            rate = (done - first_done) / seconds
            line += f", {rate:.1f}/s, {(total - done) / rate:.0f} s left" if done < total else f", {seconds:.0f} s"
        click.echo(printable(f"{line}, {self.newest.text}" if self.newest.text else line), err=True)
