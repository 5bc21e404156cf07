"""Sections that every form of the report shows: a title, a sentence, a table.

To add a section, write a function from the report to its tables and enter it in ``SECTIONS``: terminal, Markdown and HTML show it.
"""

from collections.abc import Callable
from typing import NamedTuple

from clipclean.report.wording import percent, percent_interval
from clipclean.schema.report import MeasurementsRecord, RateRecord, Report


class Table(NamedTuple):
    """A title, a sentence to read first, and cells: the first of each row names it."""

    title: str
    words: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(report: Report, /) -> list[Table]:
    """The tables of all sections, in order; a section without anything to show has none."""
    return [table for section in SECTIONS for table in section(report.measurements)]


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


SECTIONS: tuple[Callable[[MeasurementsRecord], list[Table]], ...] = (_power,)
