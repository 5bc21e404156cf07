"""The time limit of a job, checked between batches."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Argument = TypeVar("Argument")
Result = TypeVar("Result")

# Beside the arguments, as progress is heard: a search deep in a job stops without each caller handing the time on.
_end: ContextVar[float] = ContextVar("_end", default=float("inf"))


class OutOfTime(Exception):  # an error is named for what happened
    """The deadline is over; whoever can say what was found until then catches it."""


@contextmanager
def within(minutes: float | None, /, *, reserve: float = 0.0) -> Iterator[None]:
    """Let work in this with-block and thread end after so many minutes; None leaves what held before.

    A deadline inside another one never reaches beyond it. ``reserve`` are seconds that are kept for what comes after.
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
