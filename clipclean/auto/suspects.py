"""Suspected triggers: what the audit of the original found, with target classes, and which of them act."""

from collections.abc import Sequence
from dataclasses import dataclass

from clipclean import detect
from clipclean.config.thresholds import AuditLimits
from clipclean.findings import Finding
from clipclean.jobs import suspicions
from clipclean.jobs.inputs import Suspicion
from clipclean.jobs.searching import AuditResult
from clipclean.methods.unlearning import SuspectedTrigger

_SIGNS = ("CC001", "CC002", "CC003", "CC006")  # rules by which an audit points at a backdoor, surely or not
_UNSEARCHED = ("CC021", "CC022", "CC024")  # and by which it did not look


@dataclass(frozen=True)
class Suspected:
    """The audit of the original model.

    Attributes:
        sight: the audit.
        suspicions: triggers that were named, are of the panel, or were found, each once.
        acting: the suspected triggers that act, each with the class that it leads to.
    """

    sight: AuditResult
    suspicions: tuple[Suspicion, ...]
    acting: tuple[SuspectedTrigger, ...]


def suspected(sight: AuditResult, evidence: detect.EvalSet, limits: AuditLimits, /) -> Suspected:
    """The named triggers, those of the panel that lead to an unusual class, and those found for a class that two signs point at."""
    found: list[Suspicion] = []
    if sight.search is None:  # nothing to compare with: every trigger that acts is suspicious
        panel = suspicions.of_panel(sight.measured, evidence, limits)
    else:
        panel = suspicions.of_search(sight.search, evidence, limits)
        errors = detect.searched(sight.search, sight.measured.panel, images=len(evidence.pixels), limits=limits)
        specs = {finding.trigger for finding in errors if finding.level == "error"}
        found = [(t.found, t.candidate.target) for t in sight.search.targeted if t.found.spec in specs]
    all_of_them = distinct([*evidence.suspicions, *panel, *found])
    return Suspected(sight, all_of_them, acting(sight.measured, all_of_them, evidence, limits))


def acting(
    measured: detect.Measurement, suspected: Sequence[Suspicion], evidence: detect.EvalSet, limits: AuditLimits, /
) -> tuple[SuspectedTrigger, ...]:
    """The suspected triggers that act: all that this model's search found, and others with a high measured excess."""
    named = {trigger.spec for trigger, _ in evidence.suspicions}
    found: list[SuspectedTrigger] = []
    others: list[Suspicion] = []
    for trigger, target in suspected:
        # The search has shown on unseen images that its own triggers act; for all others this measurement decides.
        if isinstance(trigger, detect.InvertedTrigger) and trigger.spec not in named and target is not None:
            found.append((trigger, target))
        else:
            others.append((trigger, target))
    return (*suspicions.acting(measured, others, evidence, limits), *found)


def is_suspected(original: Sequence[Finding], /) -> bool:
    """Whether an audit with these findings points at a backdoor, or did not look for unknown ones.

    A trigger that was named and may act counts.
    """
    return any(found.rule in (*_SIGNS, *_UNSEARCHED) or found.trigger is not None for found in original)


def pointed_at(seen: Suspected, evidence: detect.EvalSet, limits: AuditLimits, /) -> list[int]:
    """Places of all classes that at least one sign points at: a backdoor that exists already is no canary."""
    rows = detect.suspected_classes(seen.sight.search, seen.sight.measured.panel, limits=limits)
    return [*targets(seen.suspicions), *(evidence.classes.index(row.class_) for row in rows)]


def targets(suspected: Sequence[Suspicion], /) -> list[int]:
    """The places of the classes that are known of triggers."""
    return [target for _, target in suspected if target is not None]


def distinct(suspected: Sequence[Suspicion], /) -> tuple[Suspicion, ...]:
    """Each trigger once: a report could not distinguish two with the same spec."""
    first: dict[str, Suspicion] = {}
    for suspicion in suspected:
        first.setdefault(suspicion[0].spec, suspicion)
    return tuple(first.values())
