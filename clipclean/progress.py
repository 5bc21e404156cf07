"""What a run tells while it works: how far it is, losses and messages, to those who listen."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple, SupportsFloat, TypeVar

Item = TypeVar("Item")

Progress = Callable[[str, int, int], None]  # stage, done, total; a total of 0 is not known yet
Values = Mapping[str, SupportsFloat]  # losses and rates by name; tensors stay on their device until they are read


class Listener(NamedTuple):
    """The listener to a run."""

    values: Callable[[int, Values], None] | None = None  # steps done, what was measured in the last
    words: Callable[[str], None] | None = None  # a message for people
    steps: Progress | None = None  # how far a stage is
    part: Progress | None = None  # what the present stage does, where it takes long


# Beside the arguments, as logging is: a training loop deep in a job reports its loss without each caller handing it on.
_listeners: ContextVar[tuple[Listener, ...]] = ContextVar("_listeners", default=())


@contextmanager
def heard(listener: Listener, /) -> Iterator[None]:
    """Let somebody listen for the span of a with-block, in this thread."""
    token = _listeners.set((*_listeners.get(), listener))
    try:
        yield
    finally:
        _listeners.reset(token)


def step(name: str, done: int, total: int, /) -> None:
    """Report how far a stage is, where somebody listens."""
    for listener in _listeners.get():
        if listener.steps is not None:
            listener.steps(name, done, total)


@contextmanager
def stage(name: str, /) -> Iterator[None]:
    """Report that a stage is begun, and at the end of a with-block that it is done, where somebody listens."""
    step(name, 0, 1)
    yield
    step(name, 1, 1)


def record(done: int, values: Values, /) -> None:
    """Report what was measured in a step of training, where somebody listens."""
    for listener in _listeners.get():
        if listener.values is not None:
            listener.values(done, values)


def track(name: str, items: Iterable[Item], total: int, /) -> Iterator[Item]:
    """The items of a part of the present stage, ``total`` of them; somebody hears which is begun."""
    parts = [listener.part for listener in _listeners.get() if listener.part is not None]
    for done, item in enumerate(items):
        for part in parts:
            part(name, done, total)
        yield item


def say(words: str, /) -> None:
    """Report a message, where somebody listens."""
    for listener in _listeners.get():
        if listener.words is not None:
            listener.words(words)


def is_heard() -> bool:
    """Whether somebody listens to messages; otherwise values for messages alone need not be computed."""
    return any(listener.words is not None for listener in _listeners.get())
