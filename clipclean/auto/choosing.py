"""Cleaning by a choice: test backdoors are planted in a copy, candidates tried and run, and the one that leaves least is taken."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from clipclean import deadline, progress
from clipclean.auto import attempts, candidates, conclude, trials
from clipclean.auto.candidates import Candidate
from clipclean.auto.conclude import Choice
from clipclean.auto.runner import ModelRunner
from clipclean.config.recipe import Recipe
from clipclean.deadline import Limit
from clipclean.jobs.cleaning_inputs import CleaningInputs
from clipclean.jobs.first_audit import FirstAudit
from clipclean.jobs.job import Job
from clipclean.jobs.strategy import StrategyResult
from clipclean.jobs.workbench import Workbench
from clipclean.requests import Sanitize
from clipclean.train import Run


@dataclass(frozen=True)
class ChoosingStrategy:
    """The strategy of a recipe that chooses: its candidates, from gentle to harsh."""

    candidates: tuple[Candidate, ...]
    least_done_words = "the model was audited"

    @classmethod
    def of(cls, job: Job[Sanitize], /) -> "ChoosingStrategy":
        """With the candidates that the recipe of a job lists; raises UsageError where one is misspelt, or audits are left out."""
        return cls(candidates.candidates_of(job.recipe, panel=job.request.panel, search=job.request.search))

    def fitted(self, inputs: CleaningInputs, run: Run, /) -> "ChoosingStrategy":
        """The same for the pairs of a run; raises UsageError for batches that the processes cannot share out evenly."""
        recipe, pairs = inputs.recipe, len(inputs.to_train.pairs)
        fitted = tuple(candidate.fitted(recipe, pairs=pairs) for candidate in self.candidates)
        for step in (step for candidate in fitted for step in candidate.recipes):
            run.group.check(step.train.batch_size)
        run.group.check(trials.planting_batch(recipe.auto, pairs), name="auto.batch_size")
        return ChoosingStrategy(fitted)

    @property
    def candidate_recipes(self) -> list[Sequence[Recipe]]:
        """The recipes of each candidate."""
        return [candidate.recipes for candidate in self.candidates]

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
        """Try and run candidates in this time, unless the audit passes, then report; ``audit_seconds`` are what an audit takes.

        Of several processes the first one reports; the others return None.
        """
        with time_limit.within(1.0):
            choice = self.choice(bench, inputs, first_audit, time_limit, audit_seconds=audit_seconds)
        if not bench.run.group.is_first:
            return None
        return choice.concluded(replace(bench, run=bench.run.for_one_process()), inputs)  # the others are done

    def choice(
        self,
        bench: Workbench,
        inputs: CleaningInputs,
        first_audit: FirstAudit,
        time_limit: Limit,
        /,
        *,
        audit_seconds: float,
    ) -> Choice:
        """What was tried and run: nothing where the audit passes."""
        group = bench.run.group
        if group.of_first(lambda: conclude.verdict_of(bench, inputs, first_audit.audit) == "pass"):
            progress.say("The audit passes: there is nothing to clean.")
            return Choice(first_audit, None, (), time_limit.minutes, False, time_limit.started)
        try:
            runner = ModelRunner.of(bench, first_audit, self.candidates, time_limit, audit_seconds=audit_seconds)
            results = attempts.with_best_tested(attempts.choose(self.candidates, runner), runner)
        except deadline.OutOfTime:  # what the audit shows is told all the same
            return Choice(first_audit, None, (), time_limit.minutes, True, time_limit.started)
        return Choice(first_audit, runner.copy, results, time_limit.minutes, runner.is_late(), time_limit.started)
