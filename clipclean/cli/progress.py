"""Progress on stderr: a bar with rate and time left on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from clipclean.progress import Progress

LINE_SECONDS = 10.0  # between two lines of one stage where stderr is no terminal


@contextmanager
def shown(*, quiet: bool) -> Iterator[Progress]:
    """A progress function for the span of a with-block."""
    if quiet:
        yield lambda what, done, total: None
    elif sys.stderr.isatty():
        yield from _bars()
    else:
        yield _Lines()


def _bars() -> Iterator[Progress]:
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[rate]}"),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, progress.TaskID] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total, completed=done, rate="")
            speed = bars.tasks[tasks[what]].speed
            bars.update(tasks[what], completed=done, total=total, rate=f"{speed:.1f}/s" if speed else "")

        yield report


class _Lines:
    """One line when a stage begins and ends, and one every few seconds between, with rate and time left."""

    def __init__(self) -> None:
        self._what = ""
        self._began = self._said = 0.0
        self._first = 0

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what != self._what:
            self._what, self._began, self._first = what, now, done
        elif done < total and now - self._said < LINE_SECONDS:
            return
        self._said = now
        print(self._line(done, total, now - self._began), file=sys.stderr, flush=True)  # noqa: T201 # progress is this module's job

    def _line(self, done: int, total: int, seconds: float) -> str:
        line = f"{self._what}: {done}/{total}"
        if seconds > 0.5 and done > self._first:
            rate = (done - self._first) / seconds
            line += f", {rate:.1f}/s, {(total - done) / rate:.0f} s left" if done < total else f", {seconds:.0f} s"
        return line
