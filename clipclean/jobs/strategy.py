"""What a way of cleaning is to the job that calls it: by one recipe, or by trying several."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, Self

from clipclean.config.recipe import Recipe
from clipclean.deadline import Limit
from clipclean.jobs.cleaning import CleanedModel
from clipclean.jobs.cleaning_inputs import CleaningInputs
from clipclean.jobs.first_audit import FirstAudit
from clipclean.jobs.workbench import Workbench
from clipclean.report import PageImages, Report
from clipclean.train import Run


class StrategyResult(NamedTuple):
    """What a strategy has done: the cleaned model, and the report of it before and after with its images."""

    cleaned_model: CleanedModel
    report: Report
    images: PageImages
    is_whole: bool  # whether nothing was left out at a deadline, so that no run has to go on from here


class Strategy(Protocol):
    """A way of cleaning: by one recipe, or by trying several."""

    @property
    def least_done_words(self) -> str:
        """What must be over before the time is, in words, or there is no result."""

    @property
    def candidate_recipes(self) -> Sequence[Sequence[Recipe]]:
        """The recipes of each candidate, where it chooses among some."""

    def fitted(self, inputs: CleaningInputs, run: Run, /) -> Self:
        """The same for the pairs of a run; raises UsageError for batches that the processes cannot share out evenly."""

    def clean(
        self,
        bench: Workbench,
        inputs: CleaningInputs,
        first_audit: FirstAudit,
        time_limit: Limit,
        /,
        *,
        audit_seconds: float,
    ) -> StrategyResult | None:
        """Clean and audit again in this time, then report; ``audit_seconds`` are what an audit takes. None in all processes but the first."""
