"""``clipclean compare``: compares two reports."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from clipclean import api
from clipclean.cli import printing
from clipclean.cli.command import command_of
from clipclean.cli.options import Shell
from clipclean.requests import Opt
from clipclean.untrusted import printable

if TYPE_CHECKING:
    from clipclean.jobs.compare import Comparison

EPILOG = """\b
Examples:
  clipclean compare before/report.json after/report.json
  clipclean compare before/report.json after/report.json --json | jq '.[] | select(.change == "new")'
"""


@dataclass(frozen=True)
class Compare:
    """A comparison."""

    earlier: Annotated[Path, Opt("EARLIER.JSON", reads="path")]
    later: Annotated[Path, Opt("LATER.JSON", reads="path")]


@command_of(Compare, "fail_on", "as_json", epilog=EPILOG)
def compare(asked: Compare, shell: Shell) -> int:
    """Compare two reports: findings of LATER.JSON that are new, worse, the same, or gone since EARLIER.JSON.

    Worse means a higher level, or an interval wholly above the earlier one. What the later run could not have found again is
    not measured. Exit code 0: no finding that --fail-on covers is new, worse or not measured. 1: at least one is.
    """
    found = api.compare(asked.earlier, asked.later)
    rows = [
        {"change": each.change, **each.finding.model_dump(mode="json", by_alias=True)} for each in found.differences
    ]
    printing.show(shell.as_json, rows, table(found))
    return int(bool(found.blocking(shell.fail_on)))


def table(found: "Comparison", /) -> str:
    """A line for each finding, the new ones first, and the verdicts."""
    order = ("new", "worse", "not measured", "same", "gone")
    rows = sorted(found.differences, key=lambda each: order.index(each.change))
    lines = [
        f"{each.change:<12}  {each.finding.rule}  {each.finding.level:<7}  {each.finding.message}" for each in rows
    ]
    counts = ", ".join(f"{sum(each.change == change for each in rows)} {change}" for change in order)
    return "\n".join(printable(line) for line in [*lines, f"{found.verdicts[0]} -> {found.verdicts[1]}: {counts}"])
