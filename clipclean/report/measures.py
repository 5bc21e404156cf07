"""The measures of a report: label, meaning, and values before and after."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from clipclean.findings import trigger_words
from clipclean.report.wording import NOTHING, count, decimal, interval_words, percent, signed
from clipclean.schema.report import (
    AccuracyLossRecord,
    DifferenceRecord,
    MeasurementsRecord,
    ProbeRecord,
    RateRecord,
    Report,
)


class Measure(NamedTuple):
    """A measure's name, in plain words, by definition; ``better`` is "higher", "lower" or "" (neither)."""

    label: str
    words: str
    definition: str
    better: str = ""
    is_share: bool = True


MEASURES = {
    "clean_accuracy": Measure(
        "Clean accuracy",
        "images without a trigger that get the right answer",
        "The share of clean labelled images whose most similar class text is that of their own class (zero-shot top-1; "
        "a class text is the mean over the templates).",
        "higher",
    ),
    "recall": Measure(
        "Image-to-text recall@1",
        "clean images whose own caption is the most similar of all",
        "The share of clean images whose own caption is the most similar of all captions. It stands in for accuracy where "
        "there are captions and no labels, and depends on how many captions there are.",
        "higher",
    ),
    "agreement": Measure(
        "Agreement with the original",
        "clean images that get the same answer as from the original",
        "The share of clean images that the cleaned model takes for the same class as the original.",
        "higher",
    ),
    "asr": Measure(
        "Attack success rate",
        "images of other things classified as the target once they carry the trigger",
        "Of the images whose label is not the target, the share that is classified as the target once triggered.",
        "lower",
    ),
    "base_rate": Measure(
        "Base rate",
        "the same images classified as the target without the trigger",
        "Of the images whose label is not the target, the share that is classified as the target without the trigger, "
        "by chance or because the images are similar. It is seldom zero.",
    ),
    "excess_asr": Measure(
        "Excess attack success",
        "success beyond the base rate, which the verdict uses",
        "Attack success rate minus base rate, over the same images.",
        "lower",
    ),
    "accuracy_under_trigger": Measure(
        "Accuracy under the trigger",
        "triggered images that still get their own label",
        "The share of triggered images that are classified as their own label. A low attack success rate is no recovery "
        "if this is low too.",
        "higher",
    ),
    "knn_asr": Measure(
        "Attack success by neighbours",
        "the same attack, judged by similar images instead of by texts",
        "Attack success rate where the class is that of the nearest images. A backdoor can live in the match of "
        "images with texts alone, so both are shown.",
        "lower",
    ),
    "distance": Measure(
        "Embedding distance",
        "how far the trigger moves an image in the model's eyes",
        "The mean over images of the squared L2 distance between the unit embeddings of an image and of its triggered "
        "copy, which is 2 − 2 cos: 0 for no effect, 4 at most.",
        "lower",
        is_share=False,
    ),
    "spread": Measure(
        "Spread of triggered images",
        "how different triggered images still look to the model",
        "The mean squared distance of the triggered images' unit embeddings to their mean. A backdoor makes all images "
        "look alike, so it is small then.",
        "higher",
        is_share=False,
    ),
}
SEARCH_TERMS = (  # what a search measures: its name, its definition, what is better
    (
        "Size of a found trigger",
        "The smallest share of the image, or the lowest strength, with which the search made images of all kinds look "
        "like one class. What clean models need is shown beside it: any model can be turned by a change that is large "
        "enough, and a backdoor makes a small one do.",
        "higher",
    ),
    (
        "Against other classes",
        "By how many robust standard deviations (median absolute deviation × 1.4826) the size is smaller than that of the other classes that were searched in "
        "this model. It needs no clean model to compare with.",
        "lower",
    ),
    (
        "Collapse",
        "The squared length of the mean of the unit embeddings: 1 where all images fall on one point, near 0 where they "
        "point everywhere. Clean images without a trigger are the comparison.",
        "lower",
    ),
)
INTERVALS = (
    "Every rate comes with its 95 % interval, by Wilson's method, and n, the number of images that it rests on. "
    "A verdict compares whole intervals with limits, never the bare value."
)


When = Literal["before", "after"]


class Figure(NamedTuple):
    """One number, with its interval and n where it has them; ``value`` is None where nothing was measured."""

    value: float | None
    interval: tuple[float, float] | None
    n: int | None


class MeasureRow(NamedTuple):
    """One measure; ``before`` is None in an audit, and where only the cleaned model was measured."""

    measure: Measure
    before: Figure | None
    after: Figure | None


def _before_and_after(names: Sequence[str]) -> str:
    """One name, or two that hold one after the other."""
    return " before, ".join(names) + " after" * (len(names) > 1)


class ComparedAttack(NamedTuple):
    """One trigger on the model before and after; each side is a probe of the report, or None."""

    trigger: str
    before: ProbeRecord | None
    after: ProbeRecord | None

    @property
    def family(self) -> str:
        """The trigger's kind, without its parameters."""
        return trigger_words(self.trigger).partition(":")[0]

    @property
    def targets(self) -> tuple[str, ...]:
        """The classes that it leads to: one, or two where a panel trigger leads elsewhere after cleaning."""
        return tuple(dict.fromkeys(probe.target for probe in (self.before, self.after) if probe))

    @property
    def target(self) -> str:
        """The class in words."""
        return _before_and_after(self.targets)

    @property
    def quoted_target(self) -> str:
        """The same with each class in quotation marks."""
        return _before_and_after([f"“{name}”" for name in self.targets])

    @property
    def excess(self) -> float:
        """The greater excess attack success of the two sides, -1 where nothing is known."""
        return max(excess_of(self.before), excess_of(self.after))


def has_before(report: Report, /) -> bool:
    """Whether there are two sides to compare: a sanitization, not an audit."""
    return report.before is not None and report.after is not None


def measurements_of(report: Report, side: When, /) -> MeasurementsRecord | None:
    """The measurements of ``before`` or ``after``; those of an audit are its ``after``, and it has no ``before``."""
    if report.before is not None and report.after is not None:
        return report.before.measurements if side == "before" else report.after.measurements
    return report.measurements if side == "after" else None


def accuracy(report: Report, /) -> MeasureRow:
    """Clean accuracy, or, where there are captions and no labels, how often an image finds its own caption."""
    accuracy_rate = report.measurements.clean_accuracy
    measure = MEASURES["recall" if accuracy_rate and accuracy_rate.is_recall else "clean_accuracy"]
    return on_clean(report, "clean_accuracy")._replace(measure=measure)


def accuracy_change(report: Report, /) -> str:
    """The clean accuracy lost or gained, with its interval, n, and what it was measured by; empty where it was not measured."""
    difference = _accuracy_lost(report)
    if difference is None or difference.value is None:
        return ""
    sign, word = (-100, "gained") if difference.value < 0 else (100, "lost")
    low, high = sorted(sign / 100 * end for end in difference.interval)
    by = {
        "labels": "by labels, a changed answer counted by how likely it was right",
        "answers": "without labels, by changed answers",
        "recall": "by recall",
    }[difference.by]
    return f"{sign * difference.value:.1f} points {word} ({interval_words((low, high))}) on {count(difference.n)} images {by}"


def lost_by(report: Report, /) -> str:
    """What the loss of clean accuracy was measured by; empty where it was not measured."""
    difference = _accuracy_lost(report)
    return "" if difference is None or difference.value is None else difference.by


def _accuracy_lost(report: Report) -> AccuracyLossRecord | None:
    side = measurements_of(report, "after")
    return side.accuracy_lost if side else None


def on_clean(report: Report, key: str, /) -> MeasureRow:
    """A measure on clean images."""
    sides = (measurements_of(report, "before"), measurements_of(report, "after"))
    return MeasureRow(MEASURES[key], *(_figure(getattr(side, key)) if side else None for side in sides))


def named_attacks(report: Report, /) -> list[ComparedAttack]:
    """Triggers that were named or found, in the report's order.

    A trigger that the panel found before cleaning is compared with its panel probe.
    """
    before, after = _probes(report, "before"), _probes(report, "after")
    earlier: dict[tuple[str, str], ProbeRecord] = {}
    for probe in sorted(before, key=lambda probe: not probe.suspected):
        earlier.setdefault((probe.trigger, probe.target), probe)
    later = {(probe.trigger, probe.target): probe for probe in after if probe.suspected}
    keys = dict.fromkeys([*later, *(key for key, probe in earlier.items() if probe.suspected)])
    return [ComparedAttack(key[0], earlier.get(key), later.get(key)) for key in keys]


def panel(report: Report, /) -> list[ComparedAttack]:
    """The built-in triggers, each with the class that it leads to most, greatest excess first."""
    before, after = (
        {probe.trigger: probe for probe in probes if not probe.suspected}
        for probes in (_probes(report, "before"), _probes(report, "after"))
    )
    attacks = [ComparedAttack(trigger, before.get(trigger), after.get(trigger)) for trigger in before | after]
    return sorted(attacks, key=lambda attack: -attack.excess)


def attacks_in_full(report: Report, /) -> list[ComparedAttack]:
    """The attacks to show in full: the named ones, or else the strongest of the panel.

    Where a search compared the panel with other classes or with clean models, only the trigger that shows the first suspect is one:
    a strong wave or tint that is natural moves most images and shows nothing.
    """
    if attacks := named_attacks(report):
        return attacks
    measurements = measurements_of(report, "after")
    if not report.is_audit or measurements is None or measurements.search is None or measurements.search.found is None:
        return panel(report)[:1]
    suspect = next(iter(report.suspects), None)
    return [attack for attack in panel(report) if suspect and attack.trigger == suspect.trigger]


def rows(attack: ComparedAttack, /, *keys: str) -> list[MeasureRow]:
    """The given measures of an attack, without those that neither side has."""
    sides = (attack.before, attack.after)
    measure_rows = [MeasureRow(MEASURES[key], *(_figure(getattr(side, key, None)) for side in sides)) for key in keys]
    return [row for row in measure_rows if row.before or row.after]


def value(row: MeasureRow, figure: Figure | None, /) -> str:
    """A figure of a row in words."""
    if not figure:
        return NOTHING
    return percent(figure.value) if row.measure.is_share else decimal(figure.value)


def change(row: MeasureRow, /) -> str:
    """How much larger it is after than before."""
    before, after = (side.value if side else None for side in (row.before, row.after))
    if before is None or after is None:
        return NOTHING
    return f"{signed(100 * (after - before), 1)} points" if row.measure.is_share else signed(after - before, 2)


def limit_of(row: MeasureRow, limits: Mapping[str, float], /, *, is_named: bool) -> float | None:
    """The threshold that a row is compared with: excess of a trigger, or what is left of the accuracy before."""
    if row.measure is MEASURES["excess_asr"]:
        return limits.get("max_excess" if is_named else "suspicious_excess")
    loss, before = limits.get("max_accuracy_loss"), row.before.value if row.before else None
    is_accuracy = row.measure in (MEASURES["clean_accuracy"], MEASURES["recall"])
    return None if loss is None or before is None or not is_accuracy else max(before - loss, 0.0)


def excess_of(probe: ProbeRecord | None, /) -> float:
    """The excess attack success of a probe, -1 where unknown."""
    value = probe.excess_asr.value if probe else None
    return -1.0 if value is None else value


def _probes(report: Report, side: When) -> tuple[ProbeRecord, ...]:
    measurements = measurements_of(report, side)
    return measurements.probes if measurements else ()


def _figure(measurement: RateRecord | DifferenceRecord | float | None) -> Figure | None:
    if isinstance(measurement, float):
        return Figure(measurement, None, None)
    return Figure(measurement.value, measurement.interval, measurement.n) if measurement else None
