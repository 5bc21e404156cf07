"""Sections that every form of the report shows: a title, a sentence, a table.

To add a section, write a function from the report to its tables and enter it in ``SECTIONS``: terminal, Markdown and HTML show it.
"""

from collections.abc import Callable
from typing import NamedTuple

from clipclean.report.wording import NOTHING, count, percent, percent_interval
from clipclean.schema.report import (
    ChangeRecord,
    MeasurementsRecord,
    RateRecord,
    Report,
    WitnessRecord,
)

SHOWN = 6  # layers of a base


class Table(NamedTuple):
    """A title, a sentence to read first, and cells: the first of each row names it."""

    title: str
    words: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(report: Report, /) -> list[Table]:
    """The tables of all sections, in order; a section without anything to show has none."""
    return [table for section in SECTIONS for table in section(report.measurements)]


def _base(measured: MeasurementsRecord) -> list[Table]:
    """Weights that differ from the base model, layer by layer."""
    if (base := measured.base) is None:
        return []
    words = (
        f"{count(base.changed)} of {count(base.tensors)} tensors differ from the base {base.name}, by {percent(base.relative)} of "
        "their length in all. These layers moved most. A benign finetuning moves weights as well, so nothing here is judged."
    )
    rows = tuple(_change(layer) for layer in base.layers[:SHOWN])
    return [Table("Weights beside the base", words, ("Layer", "Moved by", "Tensors that differ"), rows)]


def _change(layer: ChangeRecord) -> tuple[str, ...]:
    moved = "from zero" if layer.relative is None else percent(layer.relative)
    return layer.name, moved, f"{count(layer.changed)} of {count(layer.tensors)}"


def _witnesses(measured: MeasurementsRecord) -> list[Table]:
    """The found triggers on other models."""
    return [_witness(each) for each in measured.witnesses]


def _witness(witness: WitnessRecord) -> Table:
    title = f"Witness {witness.name}, {witness.architecture}"
    if not witness.triggers:
        return Table(title, "No trigger counts against the model, so there was nothing to try.", (), ())
    known = percent(witness.clean_accuracy.value) if witness.clean_accuracy.n else NOTHING
    words = (
        f"The found triggers on another model (its clean accuracy: {known}). A trigger that moves it to the same class is a natural "
        "trigger. One that does not proves nothing."
    )
    rows = tuple(
        (
            each.trigger,
            each.class_,
            f"{percent(each.asr.value)} ({percent_interval(each.asr.interval)})",
            percent(each.base_rate.value),
            "natural trigger" if each.moved else "proves nothing",
        )
        for each in witness.triggers
    )
    return Table(title, words, ("Trigger", "Class", "Success", "Without it", "What it says"), rows)


def _power(measured: MeasurementsRecord) -> list[Table]:
    """How many of the backdoors planted in copies the audit found."""
    if (power := measured.power) is None:
        return []
    words = (
        f"Backdoors were planted in copies of this model, one in each, and the same audit finds {_of(power.found)}; "
        f"{_of(power.failed)} would fail."
    )
    rows = tuple(
        (
            each.trigger,
            each.class_,
            percent(each.excess_asr),
            "not planted" if not each.took else {"error": "found", None: "missed"}.get(each.level, "suspected"),
        )
        for each in power.planted
    )
    return [Table("Power of this audit", words, ("Planted trigger", "Class", "Excess success", "The audit"), rows)]


def _of(rate: RateRecord) -> str:
    return f"{round((rate.value or 0) * rate.n)} of {rate.n} ({percent_interval(rate.interval)})"


SECTIONS: tuple[Callable[[MeasurementsRecord], list[Table]], ...] = (_base, _witnesses, _power)
