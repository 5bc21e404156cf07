"""A report's numbers side by side: before and after, or, for an audit, as measured."""

from dataclasses import dataclass
from typing import Literal

from clipclean.report.measures import MEASURES, Measure
from clipclean.report.schema import DifferenceRecord, MeasurementsRecord, ProbeRecord, RateRecord, Report

Side = Literal["before", "after"]


@dataclass(frozen=True)
class Figure:
    """One number, with its interval and n where it has them; ``value`` is None where nothing was measured."""

    value: float | None
    interval: tuple[float, float] | None
    n: int | None


@dataclass(frozen=True)
class Row:
    """One measure; ``before`` is None in an audit, and where only the cleaned model was measured."""

    measure: Measure
    before: Figure | None
    after: Figure | None


@dataclass(frozen=True)
class Attack:
    """One trigger on the model before and after; each side is a probe of the report, or None."""

    trigger: str
    before: ProbeRecord | None
    after: ProbeRecord | None

    @property
    def family(self) -> str:
        """The trigger's kind, without its parameters."""
        return self.trigger.partition(":")[0]

    @property
    def targets(self) -> tuple[str, ...]:
        """The classes that it leads to: one, or two where a panel trigger leads elsewhere after cleaning."""
        return tuple(dict.fromkeys(probe.target for probe in (self.before, self.after) if probe))

    @property
    def target(self) -> str:
        """The class in words."""
        return self.targets[0] if len(self.targets) == 1 else f"{self.targets[0]} before, {self.targets[1]} after"

    @property
    def excess(self) -> float:
        """The greater excess attack success of the two sides, -1 where nothing is known."""
        return max(excess_of(self.before), excess_of(self.after))


def has_before(report: Report, /) -> bool:
    """Whether there are two sides to compare: a sanitization, not an audit."""
    return report.before is not None and report.after is not None


def measured(report: Report, side: Side, /) -> MeasurementsRecord | None:
    """The measurements of ``before`` or ``after``; those of an audit are its ``after``, and it has no ``before``."""
    if report.before is not None and report.after is not None:
        return report.before.measurements if side == "before" else report.after.measurements
    return report.measurements if side == "after" else None


def accuracy(report: Report, /) -> Row:
    """Clean accuracy, or, where there are captions and no labels, how often an image finds its own caption."""
    before, after = (measured(report, "before"), measured(report, "after"))
    shown = report.measurements.clean_accuracy
    is_recall = bool(shown and shown.definition and "recall@1" in shown.definition)
    return Row(
        MEASURES["recall" if is_recall else "clean_accuracy"],
        _figure(before.clean_accuracy) if before else None,
        _figure(after.clean_accuracy) if after else None,
    )


def named(report: Report, /) -> list[Attack]:
    """Triggers that were named or found, in the report's order.

    A trigger that the panel found before cleaning is compared with its panel probe.
    """
    before, after = _probes(report, "before"), _probes(report, "after")
    first: dict[tuple[str, str], ProbeRecord] = {}
    for probe in sorted(before, key=lambda probe: not probe.known):
        first.setdefault((probe.trigger, probe.target), probe)
    last = {(probe.trigger, probe.target): probe for probe in after if probe.known}
    keys = dict.fromkeys([*last, *(key for key, probe in first.items() if probe.known)])
    return [Attack(key[0], first.get(key), last.get(key)) for key in keys]


def panel(report: Report, /) -> list[Attack]:
    """The built-in triggers, each with the class that it leads to most, greatest excess first."""
    sides = [
        {probe.trigger: probe for probe in probes if not probe.known}
        for probes in (_probes(report, "before"), _probes(report, "after"))
    ]
    triggers = dict.fromkeys([*sides[0], *sides[1]])
    attacks = [Attack(trigger, sides[0].get(trigger), sides[1].get(trigger)) for trigger in triggers]
    return sorted(attacks, key=lambda attack: -attack.excess)


def detailed(report: Report, /) -> list[Attack]:
    """The attacks to show in full: the named ones, or else the strongest of the panel."""
    return named(report) or panel(report)[:1]


def rows(attack: Attack, /, *keys: str) -> list[Row]:
    """The given measures of an attack, without those that neither side has."""
    found = [Row(MEASURES[key], _entry(attack.before, key), _entry(attack.after, key)) for key in keys]
    return [row for row in found if row.before or row.after]


def excess_of(probe: ProbeRecord | None, /) -> float:
    """The excess attack success of a probe, -1 where unknown."""
    value = probe.excess_asr.value if probe else None
    return -1.0 if value is None else value


def _probes(report: Report, side: Side) -> tuple[ProbeRecord, ...]:
    found = measured(report, side)
    return found.probes if found else ()


def _entry(probe: ProbeRecord | None, key: str) -> Figure | None:
    value = getattr(probe, key) if probe else None
    return Figure(value, None, None) if isinstance(value, float) else _figure(value)


def _figure(rate: RateRecord | DifferenceRecord | None) -> Figure | None:
    return Figure(rate.value, rate.interval, rate.n) if rate else None
