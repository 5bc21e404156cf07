"""A report's numbers side by side: before and after, or, for an audit, as measured."""

from dataclasses import dataclass
from typing import Any

from clipclean.report.measures import MEASURES, Measure

Json = dict[str, Any]  # Any: JSON


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
    before: Json | None
    after: Json | None

    @property
    def family(self) -> str:
        """The trigger's kind, without its parameters."""
        return self.trigger.partition(":")[0]

    @property
    def targets(self) -> tuple[str, ...]:
        """The classes that it leads to: one, or two where a panel trigger leads elsewhere after cleaning."""
        return tuple(dict.fromkeys(probe["target"] for probe in (self.before, self.after) if probe))

    @property
    def target(self) -> str:
        """The class in words."""
        return self.targets[0] if len(self.targets) == 1 else f"{self.targets[0]} before, {self.targets[1]} after"

    @property
    def excess(self) -> float:
        """The greater excess attack success of the two sides, -1 where nothing is known."""
        return max(excess_of(self.before), excess_of(self.after))


def has_before(report: Json, /) -> bool:
    """Whether there are two sides to compare: a sanitization, not an audit."""
    return "before" in report and "after" in report


def measured(report: Json, side: str, /) -> Json:
    """The measurements of ``before`` or ``after``; those of an audit are its ``after``, and it has no ``before``."""
    if has_before(report):
        found: Json = report[side]["measurements"]
        return found
    return report["measurements"] if side == "after" else {}


def accuracy(report: Json, /) -> Row:
    """Clean accuracy."""
    before, after = (_figure(measured(report, side).get("clean_accuracy")) for side in ("before", "after"))
    return Row(MEASURES["clean_accuracy"], before, after)


def named(report: Json, /) -> list[Attack]:
    """Triggers that were named or found, in the report's order.

    A trigger that the panel found before cleaning is compared with its panel probe.
    """
    before, after = _probes(report, "before"), _probes(report, "after")
    first: dict[tuple[str, str], Json] = {}
    for probe in sorted(before, key=lambda probe: not probe["known"]):
        first.setdefault((probe["trigger"], probe["target"]), probe)
    last = {(probe["trigger"], probe["target"]): probe for probe in after if probe["known"]}
    keys = dict.fromkeys([*last, *(key for key, probe in first.items() if probe["known"])])
    return [Attack(key[0], first.get(key), last.get(key)) for key in keys]


def panel(report: Json, /) -> list[Attack]:
    """The built-in triggers, each with the class that it leads to most, greatest excess first."""
    sides = [
        {probe["trigger"]: probe for probe in _probes(report, side) if not probe["known"]}
        for side in ("before", "after")
    ]
    triggers = dict.fromkeys([*sides[0], *sides[1]])
    attacks = [Attack(trigger, sides[0].get(trigger), sides[1].get(trigger)) for trigger in triggers]
    return sorted(attacks, key=lambda attack: -attack.excess)


def detailed(report: Json, /) -> list[Attack]:
    """The attacks to show in full: the named ones, or else the strongest of the panel."""
    return named(report) or panel(report)[:1]


def rows(attack: Attack, /, *keys: str) -> list[Row]:
    """The given measures of an attack, without those that neither side has."""
    found = [Row(MEASURES[key], _entry(attack.before, key), _entry(attack.after, key)) for key in keys]
    return [row for row in found if row.before or row.after]


def excess_of(probe: Json | None, /) -> float:
    """The excess attack success of a probe, -1 where unknown."""
    value = probe["excess_asr"]["value"] if probe else None
    return -1.0 if value is None else float(value)


def _probes(report: Json, side: str) -> list[Json]:
    probes: list[Json] = measured(report, side).get("probes", [])
    return probes


def _entry(probe: Json | None, key: str) -> Figure | None:
    value = probe.get(key) if probe else None
    return _figure(value) if isinstance(value, dict) or value is None else Figure(value, None, None)


def _figure(rate: Json | None) -> Figure | None:
    if rate is None:
        return None
    low, high = rate["interval"]
    return Figure(rate["value"], (low, high), rate.get("n"))
