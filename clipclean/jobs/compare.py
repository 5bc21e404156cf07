"""Comparing two reports: findings that are new, worse, unchanged, gone, or not measured again."""

from dataclasses import dataclass
from typing import Literal

from clipclean.findings import Finding, rule
from clipclean.report import Report, verdicts
from clipclean.report.verdicts import RANKS

BLOCKING = {"error": RANKS["error"], "inconclusive": RANKS["warning"]}  # the least level that matters to a gate

Change = Literal["new", "worse", "same", "gone", "not measured"]


@dataclass(frozen=True)
class Difference:
    """A finding of either report, and its change."""

    change: Change
    finding: Finding
    before: Finding | None  # None for a new one; of one that the later report lacks it is the finding itself


@dataclass(frozen=True)
class Comparison:
    """The changes between an earlier report and a later one."""

    verdicts: tuple[str, str]
    differences: tuple[Difference, ...]

    def blocking(self, level: str, /) -> tuple[Difference, ...]:
        """What a gate fails by: errors, or with ``inconclusive`` warnings as well, that are new, worse, or not measured again."""
        least = BLOCKING[level]
        return tuple(
            each
            for each in self.differences
            if each.change in ("new", "worse", "not measured") and RANKS[each.finding.level] >= least
        )


def compare(earlier: Report, later: Report, /) -> Comparison:
    """Match the findings of two reports by rule, measure, trigger and class, the worst of each kind first.

    What the later report lacks is gone only if it could have been found again.
    """
    before, after = _by_subject(earlier), _by_subject(later)
    found = [
        Difference(_change(before.get(subject), finding), finding, before.get(subject))
        for subject, finding in after.items()
    ]
    lacking = [
        Difference("not measured" if verdicts.not_run(rule(finding.rule).needs, later) else "gone", finding, finding)
        for subject, finding in before.items()
        if subject not in after
    ]
    return Comparison((earlier.verdict, later.verdict), (*found, *lacking))


def _by_subject(made: Report) -> dict[tuple[str, str, str | None, str | None], Finding]:
    """The findings by subject; of several about one subject the worst."""
    ranked = sorted(made.findings, key=lambda finding: RANKS[finding.level])
    return {(each.rule, each.measure, each.trigger, each.about): each for each in ranked}


def _change(before: Finding | None, after: Finding) -> Change:
    """Whether a finding is worse: a higher level, or an interval wholly above the earlier one, since less may be chance."""
    if before is None:
        return "new"
    if RANKS[after.level] > RANKS[before.level]:
        return "worse"
    if before.interval and after.interval and after.interval[0] > before.interval[1]:
        return "worse"
    return "same"
