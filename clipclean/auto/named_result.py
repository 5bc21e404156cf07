"""The result of a cleaning by one recipe that the user named: its audits, its findings, its report."""

from dataclasses import dataclass, replace

from torch import Tensor

from clipclean import detect
from clipclean.auto import conclude
from clipclean.auto.workbench import Workbench
from clipclean.config.thresholds import AuditLimits
from clipclean.detect import AuditResult
from clipclean.findings import Finding, finding
from clipclean.jobs import cleaning, judging
from clipclean.jobs.inputs import Suspicion
from clipclean.jobs.judging import FirstAudit
from clipclean.jobs.prepare import Prepared
from clipclean.methods.training import Training
from clipclean.methods.walk_back import Way
from clipclean.report import PageImages, Report


@dataclass(frozen=True)
class Done:
    """A cleaning by one recipe, with the audits around it."""

    before: FirstAudit  # of the original
    original: detect.Measurement  # with all suspected triggers, those too that the method found by itself
    suspicions: tuple[Suspicion, ...]
    trained: Training
    searched: bool  # whether the method searched by itself
    weights: dict[str, Tensor]  # at the end of the training
    way: Way
    seen: AuditResult  # at the end of the walk back

    @property
    def is_changed(self) -> bool:
        """Whether any weight changed: an unlearning that finds nothing changes none."""
        return bool(self.trained.record.steps)

    @property
    def is_whole(self) -> bool:
        """Whether nothing was left out at a deadline, so that no run has to go on from here."""
        return not (self.trained.cut or any(_is_cut(seen) for seen in (self.before.seen, self.seen)))


def _is_cut(seen: AuditResult) -> bool:
    is_late = seen.why_not is not None and seen.why_not[0] == "CC024"
    return bool(is_late or seen.measured.untried or (seen.search and seen.search.cut))


def concluded(bench: Workbench, ready: Prepared, done: Done, /) -> tuple[Report, PageImages]:
    """The report and its images; afterwards the model has the reported weights."""
    shown = replace(bench.eval_set, suspicions=done.suspicions)
    bench.put(bench.original)
    first = conclude.side(ready, bench, replace(done.before.seen, measured=done.original), shown)
    bench.put_between(bench.original, done.weights, share=done.way.taken.share)
    last = conclude.side(ready, bench, done.seen, shown)
    applied = ready.given.judge.applied(ready.loaded, lambda limits: findings(bench, ready, done, limits))
    made, images = cleaning.composed(ready, first, last, done.trained.record, done.way, applied)
    return conclude.beside_base(bench, made, done.before.seen, done.seen), images


def findings(bench: Workbench, ready: Prepared, done: Done, limits: AuditLimits, /) -> list[Finding]:
    """The findings of the result by these limits: of its audit, of what it cost, and of what was not finished."""
    after, trained, unlearned = done.seen.measured, done.trained, done.trained.unlearned
    words = "Time was over after step {} of {} of the cleaning. The same command with more minutes and --force resumes."
    if bench.searches:
        found = [
            *replace(bench, limits=limits).findings(done.seen),
            *detect.of_accuracy(done.original, after, limits=limits),
            *nothing_acted(done),
        ]
    else:
        found = [*detect.sanitized(done.original, after, limits=limits, searched=done.searched)]
    return [
        *found,
        *(judging.remaining(unlearned, least=ready.recipe.unlearn.outlyingness) if unlearned else ()),
        *([finding("CC024", words.format(*trained.cut), level="warning")] if trained.cut else []),
        *cleaning.notes(ready),
    ]


def nothing_acted(done: Done, /) -> list[Finding]:
    """That nothing acted before, so that nothing shows what the cleaning removes."""
    if done.before.acting or done.before.seen.search is None:
        return []
    what = "the weights were cleaned all the same" if done.is_changed else "the weights are as they were"
    return [finding("CC065", f"No trigger acted on this model before cleaning, and the search found none; {what}.")]
