"""What an audit shows to a cleaning, and suspicions side by side."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from clipclean import checkpoint, detect
from clipclean.detect import Place, Suspicion


class Shown(NamedTuple):
    """What an audit of a model shows to its cleaning."""

    known: tuple[Suspicion[int], ...] = ()  # triggers that act, unlearned for as long as they do
    beside: tuple[Suspicion[int], ...] = ()  # triggers that move images as well, of classes that may be the right ones
    controls: Mapping[
        str, tuple[float, ...]
    ] = {}  # by family, the sizes that other classes need; none, nothing is searched for again
    variants: tuple[
        Suspicion[int], ...
    ] = ()  # variants of known triggers that move images, unlearned in copies of their own


def targets(suspicions: Sequence[Suspicion[int | None]], /) -> list[int]:
    """The numbers of the classes that are known of triggers."""
    return [suspicion.target for suspicion in suspicions if suspicion.target is not None]


def distinct(suspicions: Sequence[Suspicion[Place]], /) -> tuple[Suspicion[Place], ...]:
    """Each trigger once: a report could not distinguish two with the same spec."""
    by_spec: dict[str, Suspicion[Place]] = {}
    for suspicion in suspicions:
        by_spec.setdefault(suspicion.trigger.spec, suspicion)
    return tuple(by_spec.values())


def new_among(
    suspicions: Sequence[Suspicion[int]], measured: Sequence[Suspicion[int | None]], /
) -> tuple[Suspicion[int], ...]:
    """The suspicions, except those whose trigger is named like one that is measured already."""
    measured_specs = {suspicion.trigger.spec for suspicion in measured}
    return tuple(suspicion for suspicion in suspicions if suspicion.trigger.spec not in measured_specs)


def identities(suspicions: Sequence[Suspicion[int | None]], /) -> list[list[str | int | None]]:
    """Triggers and their classes in JSON: names, numbers, and the digest of a found one, whose name has no parameters."""
    return [
        [t.spec, target, checkpoint.digest(t.parameters) if isinstance(t, detect.InvertedTrigger) else ""]
        for t, target in suspicions
    ]
