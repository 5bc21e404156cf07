"""What a way of cleaning is to the job that calls it: by one recipe, or by trying several."""

from collections.abc import Sequence
from typing import Protocol, Self

from clipclean.config.recipe import Recipe
from clipclean.jobs.judging import FirstAudit
from clipclean.jobs.limit import Limit
from clipclean.jobs.prepare import CleaningInputs
from clipclean.jobs.workbench import Workbench
from clipclean.report import PageImages, Report
from clipclean.train import Group


class Cleaning(Protocol):
    """What a strategy has done: weights, the audits around them, and what they come to."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing was left out at a deadline, so that no run has to go on from here."""

    def concluded(self, bench: Workbench, cleaning_inputs: CleaningInputs, /) -> tuple[Report, PageImages]:
        """The report and its images; afterwards the model has the reported weights."""


class Strategy(Protocol):
    """A way of cleaning: by one recipe, or by trying several."""

    @property
    def needs(self) -> str:
        """What must be over before the time is, in words, or there is no result."""

    @property
    def ladder(self) -> Sequence[Sequence[Recipe]]:
        """The recipes of each candidate, where it chooses among some."""

    def fitted(self, cleaning_inputs: CleaningInputs, /) -> Self:
        """The same for the pairs of a run."""

    def check(self, group: Group, /) -> None:
        """Refuse batches that the processes cannot share out evenly; raises UsageError."""

    def clean(
        self, bench: Workbench, cleaning_inputs: CleaningInputs, before: FirstAudit, limit: Limit, /, *, auditing: float
    ) -> Cleaning | None:
        """Clean and audit again; ``auditing`` seconds an audit takes. None in all processes but the first."""
