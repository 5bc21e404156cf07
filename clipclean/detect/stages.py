"""The stages of a search: each has its own random draws, is saved when done, and stops at the deadline."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from torch import Generator

from clipclean import deadline
from clipclean.progress import say

if TYPE_CHECKING:
    from clipclean.detect.search import SearchResult

Key = TypeVar("Key", bound=str)
Result = TypeVar("Result")


class Memory(Protocol):
    """A store for finished stages, so that an interrupted search can resume."""

    def recall(self, name: str, /) -> Any:
        """The result of the stage that an equal search kept under this name, or None."""

    def keep(self, name: str, result: Any, /) -> None:
        """Save the result of a stage."""


@dataclass(frozen=True)
class Course:
    """The settings of a search's stages: draws, progress and storage."""

    seed: int  # of the search; it decides every draw
    progress: Callable[[int, int], None]  # called with (done, total) after each step
    memory: Memory | None = None  # the store from which an interrupted search resumes; None keeps nothing
    # Whether a result so far shows so much that no further family need be searched; asked once the local families are.
    is_enough: "Callable[[SearchResult], bool]" = lambda _: False
    # Whether the model is one to compare with, of which only sizes count: none of its triggers is judged, and without a target it is searched
    # only where that has to choose the classes.
    is_reference: bool = False


@dataclass
class Stages:
    """The stages of one search, one after the other.

    Each stage has its own generator, seeded by the search's seed and the stage's name: its draws are the same whether earlier
    stages ran here or in an interrupted run.
    """

    course: Course
    total: int  # steps
    done: int = 0
    is_cut: bool = False  # whether the deadline came before the last stage
    _read: int = 0  # stages that an interrupted search had finished

    def step(self) -> None:
        """Count one step."""
        self.done += 1
        self.course.progress(self.done, self.total)

    def results_by_key(
        self, name: str, keys: Iterable[Key], compute: Callable[[Key, Generator], Result], /, *, steps: int = 1
    ) -> dict[Key, Result]:
        """The results of a stage for each key, from now or from the interrupted run; fewer after the deadline.

        Args:
            name: of the stage; one search has it once.
            keys: the parts of the stage, each of which is kept.
            compute: computes a part's result, with the generator for its draws.
            steps: that a part counts for; ``compute`` may call :meth:`step` for some of them itself.
        """
        results: dict[Key, Result] = {}
        if self.is_cut:
            return results
        names, memory = {key: f"{name} {key}".strip() for key in keys}, self.course.memory
        if memory is not None:
            results = {key: kept for key, saved_as in names.items() if (kept := memory.recall(saved_as)) is not None}
        self._count(len(results) * steps)
        self._read += len(results)
        for key in [key for key in names if key not in results]:
            if self._read and self.done < self.total:
                say(f"Resuming at step {self.done + 1} of {self.total} of the search, where it was interrupted.")
            self._read = 0  # said once
            ended = self.done + steps
            try:
                deadline.check()
                # Not Python's own hash, which is salted anew in every process.
                digest = hashlib.sha256(f"{self.course.seed} {names[key]}".encode()).digest()
                seed = int.from_bytes(digest[:8], "big") >> 1
                results[key] = compute(key, Generator().manual_seed(seed))
            except deadline.OutOfTime:
                self.is_cut = True
                break
            if memory is not None:
                memory.keep(names[key], results[key])
            self._count(ended - self.done)
        return {key: results[key] for key in names if key in results}

    def once(self, name: str, compute: Callable[[], Result], /) -> Result | None:
        """The result of a stage without parts, draws and steps; None after the deadline."""
        return self.results_by_key("", (name,), lambda *_: compute(), steps=0).get(name)

    def _count(self, steps: int) -> None:
        for _ in range(steps):
            self.step()
