"""The result of a cleaning by one recipe that the user named: its audits, its findings, its report."""

from dataclasses import dataclass, replace

from torch import Tensor

from clipclean import detect
from clipclean.config.thresholds import AuditLimits
from clipclean.detect import AuditResult
from clipclean.findings import CC, Finding, finding
from clipclean.jobs import cleaning, judging
from clipclean.jobs.judging import FirstAudit
from clipclean.jobs.prepare import CleaningInputs
from clipclean.jobs.workbench import Workbench
from clipclean.methods.suspicion import Suspicion
from clipclean.methods.training import Training
from clipclean.methods.walk_back import Way
from clipclean.report import PageImages, Report


@dataclass(frozen=True)
class RecipeRun:
    """A cleaning by one recipe, with the audits around it."""

    before: FirstAudit  # of the original
    original: detect.Measurement  # with all suspected triggers, those too that the method found by itself
    suspicions: tuple[Suspicion[int | None], ...]
    trained: Training
    searched: bool  # whether the method searched by itself
    weights: dict[str, Tensor]  # at the end of the training
    way: Way
    audit: AuditResult  # at the end of the walk back

    @property
    def is_changed(self) -> bool:
        """Whether any weight changed: an unlearning that finds nothing changes none."""
        return bool(self.trained.record.steps)

    @property
    def is_whole(self) -> bool:
        """Whether nothing was left out at a deadline, so that no run has to go on from here."""
        return not (self.trained.cut or any(_is_cut(audit) for audit in (self.before.audit, self.audit)))

    def concluded(self, bench: Workbench, cleaning_inputs: CleaningInputs, /) -> tuple[Report, PageImages]:
        """The report and its images; afterwards the model has the reported weights."""
        return concluded(bench, cleaning_inputs, self)


def _is_cut(audit: AuditResult) -> bool:
    is_late = audit.why_not is not None and audit.why_not[0] == CC.TIME_OVER
    return bool(is_late or audit.measured.untried or (audit.search and audit.search.cut))


def concluded(bench: Workbench, cleaning_inputs: CleaningInputs, recipe_run: RecipeRun, /) -> tuple[Report, PageImages]:
    """The report and its images; afterwards the model has the reported weights."""
    shown = replace(bench.eval_set, suspicions=recipe_run.suspicions)
    bench.put(bench.original)
    first = cleaning.side(cleaning_inputs, bench, replace(recipe_run.before.audit, measured=recipe_run.original), shown)
    bench.put_between(bench.original, recipe_run.weights, share=recipe_run.way.taken.share)
    last = cleaning.side(cleaning_inputs, bench, recipe_run.audit, shown)
    applied = cleaning_inputs.shared.judge.applied(
        cleaning_inputs.loaded, lambda limits: findings(bench, cleaning_inputs, recipe_run, limits)
    )
    report, images = cleaning.composed(cleaning_inputs, first, last, recipe_run.trained.record, recipe_run.way, applied)
    return cleaning.beside_base(bench, report, recipe_run.before.audit, recipe_run.audit), images


def findings(
    bench: Workbench, cleaning_inputs: CleaningInputs, recipe_run: RecipeRun, limits: AuditLimits, /
) -> list[Finding]:
    """The findings of the result by these limits: of its audit, of what it cost, and of what was not finished."""
    after, trained, unlearned = recipe_run.audit.measured, recipe_run.trained, recipe_run.trained.unlearned
    words = "Time was over after step {} of {} of the cleaning. The same command with more minutes and --force resumes."
    if bench.searches:
        of_audit = [
            *replace(bench, limits=limits).findings(recipe_run.audit),
            *detect.of_accuracy(recipe_run.original, after, limits=limits),
            *nothing_acted(recipe_run),
        ]
    else:
        of_audit = [*detect.sanitized(recipe_run.original, after, limits=limits, searched=recipe_run.searched)]
    return [
        *of_audit,
        *(judging.remaining(unlearned, least=cleaning_inputs.recipe.unlearn.outlyingness) if unlearned else ()),
        *([finding(CC.TIME_OVER, words.format(*trained.cut), level="warning")] if trained.cut else []),
        *cleaning.notes(cleaning_inputs),
    ]


def nothing_acted(recipe_run: RecipeRun, /) -> list[Finding]:
    """That nothing acted before, so that nothing shows what the cleaning removes."""
    if recipe_run.before.acting or recipe_run.before.audit.search is None:
        return []
    what = "the weights were cleaned all the same" if recipe_run.is_changed else "the weights are as they were"
    return [
        finding(
            CC.NOTHING_TO_CLEAN, f"No trigger acted on this model before cleaning, and the search found none; {what}."
        )
    ]
