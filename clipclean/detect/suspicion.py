"""Suspicions: triggers with the classes that they lead to, before anything proves it; and several of them side by side."""

from collections.abc import Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from torch import Generator, Tensor

from clipclean import checkpoint
from clipclean.detect.families import InvertedTrigger


class TriggerLike(Protocol):
    """The interface of a trigger: its name, and a call that puts it on images (B, 3, H, W) in [0, 1]."""

    @property
    def spec(self) -> str:
        """Its name in reports."""

    def __call__(self, images: Tensor, generator: Generator | None = None, /) -> Tensor:
        """Triggered copies; ``generator`` draws random places."""


ClassNumber = TypeVar("ClassNumber", bound=int | None)
ClassNumber_co = TypeVar("ClassNumber_co", bound=int | None, covariant=True)


class Suspicion(NamedTuple, Generic[ClassNumber_co]):
    """A trigger and its target: the number of the class that it leads to, or None where that is not known."""

    trigger: TriggerLike
    target: ClassNumber_co


def targets(suspicions: Sequence[Suspicion[int | None]], /) -> list[int]:
    """The numbers of the classes that are known of triggers."""
    return [suspicion.target for suspicion in suspicions if suspicion.target is not None]


def distinct(suspicions: Sequence[Suspicion[ClassNumber]], /) -> tuple[Suspicion[ClassNumber], ...]:
    """Each trigger once: a report could not distinguish two with the same spec."""
    by_spec: dict[str, Suspicion[ClassNumber]] = {}
    for suspicion in suspicions:
        by_spec.setdefault(suspicion.trigger.spec, suspicion)
    return tuple(by_spec.values())


def new_among(
    suspicions: Sequence[Suspicion[int]], earlier: Sequence[Suspicion[int | None]], /
) -> tuple[Suspicion[int], ...]:
    """The suspicions, except those whose trigger is named like one that is measured already."""
    measured_specs = {suspicion.trigger.spec for suspicion in earlier}
    return tuple(suspicion for suspicion in suspicions if suspicion.trigger.spec not in measured_specs)


def identities(suspicions: Sequence[Suspicion[int | None]], /) -> list[list[str | int | None]]:
    """Triggers and their classes in JSON: names, numbers, and the digest of a found one, whose name has no parameters."""
    return [
        [t.spec, target, checkpoint.digest(t.parameters) if isinstance(t, InvertedTrigger) else ""]
        for t, target in suspicions
    ]
