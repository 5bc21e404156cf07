"""The stages of a search: each has its own random draws, is saved when done, and stops at the deadline."""

import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Protocol, TypeVar

from torch import Generator, Tensor

from clipclean import checkpoint, deadline
from clipclean.errors import Inconclusive
from clipclean.progress import say

Key = TypeVar("Key", bound=str)
Made = TypeVar("Made")
Packed = tuple[dict[str, Tensor], Any]  # tensors by name, and JSON that refers to them


class Memory(Protocol):
    """A store for finished stages, so that an interrupted search can resume: values from :func:`pack`."""

    def recall(self, name: str, /) -> Packed | None:
        """The stage that an equal search saved under this name, or None."""

    def keep(self, name: str, packed: Packed, /) -> None:
        """Save the result of a stage."""


class Forgetful:
    """Keeps nothing."""

    def recall(self, _name: str, /) -> Packed | None:
        """Nothing."""
        return None

    def keep(self, _name: str, _packed: Packed, /) -> None:
        """Nothing is kept."""


FORGETFUL = Forgetful()


class Crew(Protocol):
    """The processes that share a search, and the rank of this one."""

    @property
    def rank(self) -> int:
        """From 0 on."""

    @property
    def size(self) -> int:
        """Their number."""

    def exchange(self, body: bytes, /) -> Sequence[bytes]:
        """The values of all processes, in the order of their ranks; all wait for the last."""

    def of_first(self, make: Callable[[], bytes], /) -> bytes:
        """The value of the first process; all wait for it. Raises OutOfTime in all if the first ran out of time."""


@dataclass(frozen=True)
class Lone:
    """One process, which shares with nobody."""

    rank: int = 0
    size: int = 1

    def exchange(self, body: bytes, /) -> Sequence[bytes]:
        """Its own."""
        return [body]

    def of_first(self, make: Callable[[], bytes], /) -> bytes:
        """Its own."""
        return make()


LONE = Lone()


@dataclass(frozen=True)
class Course:
    """The settings of a search's stages: draws, progress, storage and processes.

    Attributes:
        seed: of the search; it decides every draw.
        progress: called with (done, total) after each step.
        memory: the store for finished stages, from which an interrupted search resumes; the first of several processes uses it.
        crew: the processes that share the stages; all must run the same stages in the same order.
    """

    seed: int
    progress: Callable[[int, int], None]
    memory: Memory = FORGETFUL
    crew: Crew = LONE


class Stages:
    """The stages of one search, one after the other, or one per process at a time.

    Each stage has its own generator, seeded by the search's seed and the stage's name: its draws are the same whether earlier
    stages ran here, in another process, or in an interrupted run.
    """

    def __init__(self, course: Course, /, *, total: int, kinds: Iterable[type]) -> None:
        """Begin a search of ``total`` steps, whose results hold frozen dataclasses of the given ``kinds``."""
        self.seed, self.total, self.done = course.seed, total, 0
        self.is_cut = False  # whether the deadline came before the last stage
        self._progress, self._memory, self._crew = course.progress, course.memory, course.crew
        self._kinds = {kind.__name__: kind for kind in kinds}
        self._read = 0  # stages that an interrupted search had finished

    def step(self) -> None:
        """Count one step."""
        self.done += 1
        self._progress(self.done, self.total)

    def run(self, name: str, compute: Callable[[Generator], Made], /, *, steps: int = 1) -> Made | None:
        """The result of a stage, from now or from the interrupted run; None after the deadline.

        Args:
            name: of the stage; one search has it once.
            compute: computes the result, with the generator for its draws.
            steps: that it counts for; ``compute`` may call :meth:`step` for some of them itself.
        """
        return self._all({name: compute}, steps=steps).get(name)

    def each(
        self, name: str, keys: Iterable[Key], compute: Callable[[Key, Generator], Made], /, *, steps: int = 1
    ) -> dict[Key, Made]:
        """The results of a stage for each key, in their order; fewer after the deadline. The rest is as in :meth:`run`."""
        names = {key: f"{name} {key}" for key in keys}
        made = self._all({named: functools.partial(compute, key) for key, named in names.items()}, steps=steps)
        return {key: made[named] for key, named in names.items() if named in made}

    def _all(self, asked: Mapping[str, Callable[[Generator], Made]], *, steps: int) -> dict[str, Made]:
        """The results of the stages in ``asked``, each from one process; fewer after the deadline."""
        if self.is_cut:
            return {}
        found: dict[str, Made] = self._recalled(asked)
        self._count(len(found) * steps)
        self._read += len(found)
        missing = [name for name in asked if name not in found]
        if missing:
            self._announce()
        for start in range(0, len(missing), self._crew.size):
            some = missing[start : start + self._crew.size]
            ended = self.done + len(some) * steps
            made = self._made(some, asked)
            found |= made
            if len(made) < len(some):
                self.is_cut = True
                break
            self._count(ended - self.done)
        return found

    def _announce(self) -> None:
        """Report once where an interrupted search resumes."""
        if self._read and self.done < self.total:
            say(f"Resuming at step {self.done + 1} of {self.total} of the search, where it was interrupted.")
        self._read = 0

    def _count(self, steps: int) -> None:
        for _ in range(steps):
            self.step()

    def _recalled(self, names: Iterable[str]) -> dict[str, Any]:
        """The saved stages of the first process, by name."""
        kept = {name: self._memory.recall(name) for name in names} if self._crew.rank == 0 else {}
        held = {name: unpack(*packed, kinds=self._kinds) for name, packed in kept.items() if packed is not None}
        return held if self._crew.size == 1 else self._exchanged(held)[0]

    def _made(self, some: Sequence[str], asked: Mapping[str, Callable[[Generator], Made]]) -> dict[str, Made]:
        """The results of ``some`` stages, one from each process, by name; without those after the deadline.

        Raises:
            Inconclusive: the model gives numbers that are not finite, in whichever process.
        """
        own = some[self._crew.rank] if self._crew.rank < len(some) else None
        made: dict[str, Any] = {}
        fault: str | None = None
        try:
            if own is not None:
                deadline.check()
                made = {own: asked[own](Generator().manual_seed(_seed_of(self.seed, own)))}
        except deadline.OutOfTime:
            pass
        except Inconclusive as error:
            if self._crew.size == 1:
                raise
            fault = str(error)
        if self._crew.size > 1:
            # Faults travel with results: a process that raised alone would leave the others waiting for it.
            every = self._exchanged({"made": made, "fault": fault})
            if faults := [each["fault"] for each in every if each["fault"]]:
                raise Inconclusive(faults[0])
            made = {name: value for each in every for name, value in each["made"].items()}
        if self._crew.rank == 0:
            for name, value in made.items():
                self._memory.keep(name, pack(value, kinds=self._kinds))
        return made

    def _exchanged(self, value: dict[str, Any]) -> list[dict[str, Any]]:
        """The values of all processes."""
        bodies = self._crew.exchange(checkpoint.to_bytes(*pack(value, kinds=self._kinds)))
        return [_unpacked(body, kinds=self._kinds) for body in bodies]


def _seed_of(seed: int, name: str) -> int:
    # Not Python's own hash, which is salted anew in every process.
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


# Values as tensors and JSON: numbers, text, lists, tuples, dictionaries with text for keys, tensors, and known dataclasses.


def pack(value: Any, /, *, kinds: Mapping[str, type]) -> Packed:
    """A value as named tensors and JSON.

    Raises:
        TypeError: it holds something of another kind.
    """
    tensors: dict[str, Tensor] = {}

    def inner(one: Any) -> Any:
        if one is None or isinstance(one, bool | int | float | str):
            return one
        if isinstance(one, Tensor):
            name = f"tensor{len(tensors)}"
            tensors[name] = one.detach().cpu().contiguous()
            return {"tensor": name}
        if is_dataclass(one) and kinds.get(type(one).__name__) is type(one):
            return {"kind": type(one).__name__, "fields": {f.name: inner(getattr(one, f.name)) for f in fields(one)}}
        if isinstance(one, dict):
            return {"dict": {key: inner(each) for key, each in one.items()}}
        if type(one) in (list, tuple):
            return {type(one).__name__: [inner(each) for each in one]}
        if type(one) is frozenset:
            return {"frozenset": sorted(one)}
        raise TypeError(f"{type(one).__name__} cannot be kept.")

    told = inner(value)
    return tensors, told


def unpack(tensors: dict[str, Tensor], told: Any, /, *, kinds: Mapping[str, type]) -> Any:
    """The value that was packed; tensors are on the CPU."""
    if not isinstance(told, dict):
        return told
    (what, inside), *_ = told.items()
    if what == "tensor":
        return tensors[inside]
    if what == "kind":
        made = {name: unpack(tensors, each, kinds=kinds) for name, each in told["fields"].items()}
        return kinds[inside](**made)
    if what == "dict":
        return {name: unpack(tensors, each, kinds=kinds) for name, each in inside.items()}
    if what == "frozenset":
        return frozenset(inside)
    items = [unpack(tensors, each, kinds=kinds) for each in inside]
    return tuple(items) if what == "tuple" else items


def _unpacked(body: bytes, /, *, kinds: Mapping[str, type]) -> Any:
    """The value that another process packed; its sizes may be infinite, where a search came to nothing."""
    return unpack(*checkpoint.from_bytes(body, may_be_infinite=True), kinds=kinds)


def of_first(crew: Crew, make: Callable[[], Made], /, *, kinds: Mapping[str, type]) -> Made:
    """The value of the first of several processes, in all of them; in the others its tensors are on the CPU.

    Raises:
        OutOfTime: in all of them, if the first ran out of time.
    """
    if crew.size == 1:
        return make()
    kept: list[Made] = []

    def told() -> bytes:
        kept.append(make())
        return checkpoint.to_bytes(*pack(kept[0], kinds=kinds))

    body = crew.of_first(told)
    if kept:
        return kept[0]
    made: Made = _unpacked(body, kinds=kinds)
    return made
