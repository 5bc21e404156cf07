"""The stages of a search: each has its own random draws, is saved when done, and stops at the deadline."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Protocol, TypeVar

from torch import Generator, Tensor

from clipclean import deadline
from clipclean.progress import say

Key = TypeVar("Key", bound=str)
Made = TypeVar("Made")
Packed = tuple[dict[str, Tensor], Any]  # tensors by name, and JSON that names them


class Memory(Protocol):
    """Where finished stages are kept, so that an interrupted search goes on: values as :func:`pack` makes them."""

    def recall(self, name: str, /) -> Packed | None:
        """What an equal search kept under this name, or None."""

    def keep(self, name: str, packed: Packed, /) -> None:
        """Keep what a stage made."""


class Forgetful:
    """Keeps nothing."""

    def recall(self, _name: str, /) -> Packed | None:
        """Nothing."""
        return None

    def keep(self, _name: str, _packed: Packed, /) -> None:
        """Nothing is kept."""


FORGETFUL = Forgetful()


class Stages:
    """The stages of one search, one after the other.

    A stage gets a generator of its own, seeded by the search's seed and its name: it draws the same whether those before it ran
    here, in another process, or in a run that was interrupted.
    """

    def __init__(
        self, *, seed: int, total: int, progress: Callable[[int, int], None], kinds: Iterable[type],
        memory: Memory = FORGETFUL,
    ) -> None:  # fmt: skip
        """Begin a search.

        Args:
            seed: of the search.
            total: steps that are counted by ``progress``.
            progress: called with (done, total).
            kinds: frozen dataclasses that results hold.
            memory: where finished stages are kept.
        """
        self.seed, self.total, self.done = seed, total, 0
        self.is_cut = False  # whether time was over before all was done
        self._progress, self._memory, self._kinds = progress, memory, {kind.__name__: kind for kind in kinds}
        self._recalled = 0

    def step(self) -> None:
        """Count one step."""
        self.done += 1
        self._progress(self.done, self.total)

    def run(self, name: str, compute: Callable[[Generator], Made], /, *, steps: int = 1) -> Made | None:
        """What a stage makes, now or in the run that was interrupted; None where time is over.

        Args:
            name: of the stage; one search has it once.
            compute: makes it, drawing from the generator that it gets.
            steps: that it counts for; ``compute`` may call :meth:`step` for some of them itself.
        """
        if self.is_cut:
            return None
        ended = self.done + steps
        kept = self._memory.recall(name)
        if kept is not None:
            self._recalled += 1
            made: Made = unpack(*kept, kinds=self._kinds)
        else:
            self._announce()
            try:
                deadline.check()
                made = compute(Generator().manual_seed(_seed_of(self.seed, name)))
            except deadline.OutOfTime:
                self.is_cut = True
                return None
            self._memory.keep(name, pack(made, kinds=self._kinds))
        while self.done < ended:
            self.step()
        return made

    def each(
        self, name: str, keys: Iterable[Key], compute: Callable[[Key, Generator], Made], /, *, steps: int = 1
    ) -> dict[Key, Made]:
        """What a stage makes for each key, in their order; fewer of them where time is over. The rest is as in :meth:`run`."""
        found: dict[Key, Made] = {}
        for key in keys:
            made = self.run(f"{name} {key}", lambda generator, key=key: compute(key, generator), steps=steps)  # type: ignore[misc]
            if made is None:
                break
            found[key] = made
        return found

    def _announce(self) -> None:
        """Say once where an interrupted search goes on."""
        if self._recalled and self.done < self.total:
            say(f"Going on at step {self.done + 1} of {self.total} of the search, where it was interrupted.")
        self._recalled = 0


def _seed_of(seed: int, name: str) -> int:
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
