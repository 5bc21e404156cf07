"""Cleaning by one recipe that the user named: clean, walk back, audit again; what it made is the result, which is reported as it is.

It is judged like a candidate of ``auto``, by the same audits, and never replaced by the original: what it left, and what it cost, is told.
Without a search the same is measured under known triggers alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from clipclean import deadline, detect, model
from clipclean.config.recipe import Recipe
from clipclean.config.thresholds import AuditLimits
from clipclean.deadline import Limit
from clipclean.detect import AuditResult, Suspicion, distinct, new_among
from clipclean.errors import Inconclusive
from clipclean.findings import CC, Finding, finding
from clipclean.jobs import cleaning
from clipclean.jobs.cleaning import CleanedModel
from clipclean.jobs.cleaning_inputs import CleaningInputs
from clipclean.jobs.first_audit import FirstAudit
from clipclean.jobs.strategy import StrategyResult
from clipclean.jobs.workbench import Workbench
from clipclean.methods import training
from clipclean.methods.training import Aims, Training
from clipclean.methods.walk_back import WalkBack
from clipclean.train import Run

# Factors on the time of the first audit, kept before a deadline for what follows the training: a search takes as long again, and the
# walk back little beside it; measuring alone takes as long again, and the walk as long as that.
RESERVE_SEARCHED, RESERVE_MEASURED = 1.25, 2.5


@dataclass(frozen=True, kw_only=True)
class RecipeRun:
    """A cleaning by one recipe, with the audits around it."""

    first_audit: FirstAudit  # of the original
    original: detect.Measurement  # with all suspected triggers, those too that the method found by itself
    suspicions: tuple[Suspicion[int | None], ...]
    trained: Training
    searched: bool  # whether the method searched by itself
    weights: dict[str, Tensor]  # at the end of the training
    way: WalkBack
    audit: AuditResult  # at the end of the walk back

    @property
    def is_changed(self) -> bool:
        """Whether any weight changed: an unlearning that finds nothing changes none."""
        return bool(self.trained.record.steps)

    @property
    def is_whole(self) -> bool:
        """Whether nothing was left out at a deadline, so that no run has to go on from here."""
        audits = (self.first_audit.audit, self.audit)
        return not (self.trained.cut or any(audit.is_cut or audit.measurement.untried for audit in audits))

    def concluded(self, bench: Workbench, inputs: CleaningInputs, /) -> StrategyResult:
        """The cleaned model, its report and the images."""
        cleaned_model = CleanedModel(
            before=replace(self.first_audit.audit, measurement=self.original),
            after=self.audit,
            eval_set=bench.eval_set.suspecting(self.suspicions),
            weights=self.weights,
            training=self.trained.record,
            way=self.way,
        )
        report, images = cleaning.report_of(
            bench, inputs, cleaned_model, lambda limits: findings(bench, inputs, self, limits)
        )
        return StrategyResult(cleaned_model, report, images, self.is_whole)


def findings(bench: Workbench, inputs: CleaningInputs, recipe_run: RecipeRun, limits: AuditLimits, /) -> list[Finding]:
    """The findings of the result by these limits: of its audit, of what it cost, and of what was not finished."""
    after, trained, unlearned = recipe_run.audit.measurement, recipe_run.trained, recipe_run.trained.unlearned
    words = "Time was over after step {} of {} of the cleaning. The same command with more minutes and --force resumes."
    if bench.searches:
        audit_findings = [
            *replace(bench, limits=limits).findings(recipe_run.audit),
            *detect.accuracy_findings(recipe_run.original, after, limits=limits),
            *nothing_acted(recipe_run),
        ]
    else:
        audit_findings = [
            *detect.cleaning_findings(recipe_run.original, after, limits=limits, searched=recipe_run.searched)
        ]
    return [
        *audit_findings,
        *(unlearned.findings(least=inputs.recipe.unlearn.anomaly_index) if unlearned else ()),
        *([finding(CC.TIME_OVER, words.format(*trained.cut), level="warning")] if trained.cut else []),
        *cleaning.notes(inputs),
    ]


def nothing_acted(recipe_run: RecipeRun, /) -> list[Finding]:
    """That nothing acted before, so that nothing shows what the cleaning removes."""
    if recipe_run.first_audit.acting_suspicions or recipe_run.first_audit.audit.search is None:
        return []
    return [cleaning.nothing_to_clean(is_changed=recipe_run.is_changed)]


@dataclass(frozen=True)
class OneRecipe:
    """The strategy of a recipe that the user named."""

    recipe: Recipe
    least_done_words = "the model was cleaned"
    candidate_recipes: tuple[Sequence[Recipe], ...] = ()  # it chooses among none

    def fitted(self, inputs: CleaningInputs, run: Run, /) -> "OneRecipe":
        """The same with a warm-up that the pairs of a run have room for; raises UsageError for batches that no processes share evenly."""
        run.group.check(inputs.recipe.train.batch_size)
        return replace(self, recipe=inputs.recipe)

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
        """Clean, walk back and audit again in this time, then report; ``audit_seconds`` are what an audit takes.

        Of several processes the first one audits; the others train with it, and return None.
        """
        run = replace(bench.run, state=bench.state)
        with time_limit.within(1.0):
            aims = bench.aims_where_it_begins(
                self.recipe,
                first_audit.shown_to([self.recipe]),
                base=base_of(bench, self.recipe),
                run=run,
                text_classifier=first_audit.audit.measurement.text_classifier,
            )
            with deadline.within(
                None, reserve=(RESERVE_SEARCHED if bench.searches else RESERVE_MEASURED) * audit_seconds
            ):
                run.group.check_time()
                trained = training.train_by_method(bench.clip, bench.samples, self.recipe, aims=aims, run=run)
            if not run.group.is_first:
                return None
            alone = replace(bench, run=bench.run.for_one_process())  # the others are done
            recipe_run = walked_and_audited(alone, self.recipe, first_audit, aims, trained, reserve=audit_seconds)
        return recipe_run.concluded(alone, inputs)


def base_of(bench: Workbench, recipe: Recipe, /) -> model.Clip | None:
    """The model that a recipe goes back to; None where it goes back to none.

    Raises:
        Inconclusive: the model was not finetuned from the base that was named.
    """
    if not recipe.undoes:
        return None
    if bench.base is None or not bench.base.kin.is_base:
        raise Inconclusive(
            f"The model was not finetuned from the base that was named, so {recipe.name} has nothing to go back to. Name its own base, or "
            "another recipe."
        )
    return bench.base.clip


def walked_and_audited(
    bench: Workbench, recipe: Recipe, first_audit: FirstAudit, aims: Aims, trained: Training, /, *, reserve: float
) -> RecipeRun:
    """The walk back from the current weights, and the audit at its end; ``reserve`` are the seconds that this needs."""
    weights = bench.weights()
    own = aims.searched.strongest() if aims.searched else ()
    suspected = distinct([*first_audit.suspicions, *new_among(own, first_audit.suspicions)])
    original = bench.original_under(suspected, first_audit)
    with deadline.within(None, reserve=reserve):
        walks = recipe.audit.walk_back and bool(trained.record.steps)
        way = bench.walked_back(original, weights, suspected, walks=walks)
    try:
        audit = bench.audit_cleaned(suspected, weights, share=way.point.share)
    except deadline.OutOfTime:  # the weights are written all the same, with what is known of them
        late = "Time was over before the cleaned model was searched. The same command with more minutes and --force resumes."
        audit = AuditResult(way.point.measurement, None, (CC.TIME_OVER, late), 0.0)
    return RecipeRun(
        first_audit=first_audit,
        original=original,
        suspicions=suspected,
        trained=trained,
        searched=aims.searched is not None,
        weights=weights,
        way=way,
        audit=audit,
    )
