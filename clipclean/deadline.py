"""The time limit of a job, checked between batches."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

Argument = TypeVar("Argument")
Result = TypeVar("Result")

MEASURED_SHARE = 0.9  # share of the time after which nothing more is measured: the rest is for the report
# Measurements of a model that the report may take; on many classes they are longer than that rest.
REPORT_MEASUREMENTS = 2.0

# Beside the arguments, as progress is heard: a search deep in a job stops without each caller handing the time on.
_end: ContextVar[float] = ContextVar("_end", default=float("inf"))


class OutOfTime(Exception):  # an error is named for what happened
    """The deadline is over; whoever can say what was found until then catches it."""


@contextlib.contextmanager
def within(minutes: float | None, /, *, reserve: float = 0.0) -> Iterator[None]:
    """Let work in this with-block and thread end after so many minutes; None leaves what held before.

    A deadline inside another one never reaches beyond it. The work has ``reserve`` seconds less, for what comes after it.
    """
    new = _end.get() if minutes is None else min(_end.get(), time.monotonic() + 60 * minutes)
    token = _end.set(new - reserve)
    try:
        yield
    finally:
        _end.reset(token)


def is_over() -> bool:
    """Whether the time is over."""
    return time.monotonic() >= _end.get()


def is_set() -> bool:
    """Whether there is a deadline at all."""
    return _end.get() < float("inf")


def check() -> None:
    """Raise OutOfTime where the time is over."""
    if is_over():
        raise OutOfTime


def watched(run: Callable[[Argument], Result], /) -> Callable[[Argument], Result]:
    """The same function, which raises OutOfTime instead of beginning once the time is over."""

    def checked(argument: Argument) -> Result:
        check()
        return run(argument)

    return checked


@dataclass(frozen=True)
class Limit:
    """The time of a cleaning, and what of it is kept for the report; without a limit there is no end."""

    minutes: float | None
    started: float  # by the clock that ``time.monotonic`` reads
    end: float  # after which nothing more is tried

    @classmethod
    def of(cls, minutes: float | None, started: float, /, *, measuring: Callable[[], float]) -> "Limit":
        """With time for the report, in which both models are measured, each for ``measuring`` seconds; but no more than half of all."""
        if minutes is None:
            return cls(None, started, math.inf)
        # After the last attempt the report measures both models again: a run that tried on until the end would be late.
        seconds = 60 * minutes
        after = REPORT_MEASUREMENTS * measuring()
        return cls(minutes, started, started + max(seconds / 2, min(MEASURED_SHARE * seconds, seconds - after)))

    def within(self, share: float, /) -> contextlib.AbstractContextManager[None]:
        """Let work end after this share of the time that is left."""
        left = max(0.0, self.end - time.monotonic())
        return within(None if self.minutes is None else share * left / 60)
