"""The main job, from top to bottom: measure, finetune, measure again, judge, export."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from clipclean import deadline, detect, model
from clipclean.config.thresholds import AuditLimits
from clipclean.findings import Finding, finding
from clipclean.jobs import cleaning, inputs, judging, outputs
from clipclean.jobs.outputs import Destination
from clipclean.jobs.prepare import Prepared
from clipclean.jobs.results import Outcome
from clipclean.methods import training, walk_back
from clipclean.methods.training import Aims, Training
from clipclean.methods.walk_back import Way
from clipclean.train import Run

AFTERWARDS = 2.5  # factor on the time of measuring, reserved before a deadline for measuring again, twice, and writing


def sanitize(ready: Prepared, to: Destination, run: Run, /, *, started: float) -> Outcome | None:
    """Clean one model with one recipe, and write the result.

    Of several processes the first one measures, judges and writes; the others train with it, and return None.

    Raises:
        OutOfTime: the deadline came before the cleaning began.
        ClipcleanError: of the kind that tells the exit code; then nothing new stands in ``out``.
    """
    group = run.group
    with deadline.within(ready.request.max_minutes, reserve=time.monotonic() - started):
        first = measured_first(ready, run)
        clip, judge = ready.loaded.clip, ready.given.judge
        before = cleaning.side(ready, first.eval_set, first.measured) if group.is_first else None
        original = model.taken(clip, device="cpu")
        with deadline.within(None, reserve=AFTERWARDS * first.seconds):
            group.check_time()
            trained = training.clean(clip, ready.to_train, ready.recipe, aims=first.aims, run=run)
        if before is None:
            return None
        measured, way = walked(ready, first, original, run)
        applied = judge.applied(ready.loaded, lambda limits: findings(ready, limits, first, measured, trained, way))
        after = cleaning.side(ready, first.eval_set, measured)
        result, images = cleaning.composed(ready, before, after, trained.record, way, applied)
        return outputs.publish(ready, result, first.eval_set, to=to, images=images, is_whole=trained.cut is None)


@dataclass(frozen=True)
class MeasuredFirst:
    """The audit of the model before it is cleaned."""

    eval_set: detect.EvalSet  # images, and triggers: named, of the panel, found by the method's own search
    measured: detect.Measurement  # their effect
    aims: Aims  # the targets of the method
    seconds: float  # of measuring, which takes as long again afterwards


def measured_first(ready: Prepared, run: Run, /) -> MeasuredFirst:
    """Measure the model, and search it if the method does."""
    clip, recipe, limits = ready.loaded.clip, ready.recipe, ready.given.judge.limits
    eval_set = ready.eval_set(panel=ready.request.panel)
    began = time.monotonic()

    def compared() -> detect.Measurement:
        measured = inputs.measure(clip, eval_set, what="measuring before")
        return judging.with_natural_marked(clip, measured, eval_set, limits)

    before = run.group.of_first(compared)
    seconds = time.monotonic() - began
    pointed = judging.of_panel(eval_set, {p.trigger: p.target for p in detect.suspicious_probes(before, limits=limits)})
    suspected = judging.distinct((*ready.given.named, *pointed))  # one that was named may be found as well
    known = judging.acting(before, suspected, eval_set, limits)
    aims = training.aims_of(
        clip,
        ready.to_train,
        recipe,
        text_classifier=before.text_classifier.to(clip.device),
        classes=eval_set.classes,
        known=known,
        run=run,
    )
    own = judging.new_among(aims.searched.strongest(), suspected) if aims.searched else ()
    if own:
        found = replace(eval_set, suspicions=own, panel=())
        more = run.group.of_first(lambda: inputs.measure(clip, found))
        before = replace(before, known=(*before.known, *more.known))
        suspected = (*suspected, *own)
    return MeasuredFirst(replace(eval_set, suspicions=suspected), before, aims, seconds)


def walked(
    ready: Prepared, first: MeasuredFirst, original: Mapping[str, Tensor], run: Run, /
) -> tuple[detect.Measurement, Way]:
    """The measurement at the end of the walk back, whose weights the model then has, and the walk.

    Where nothing was suspected that a cleaning could remove, and no share is within the budget, it ends at the original.
    """
    clip, eval_set, limits = ready.loaded.clip, first.eval_set, ready.given.judge.limits
    cleaned = model.taken(clip, device="cpu")

    def put(share: float) -> None:
        model.put(clip, walk_back.between(original, cleaned, share=share))

    def with_panel(share: float) -> detect.Measurement:
        put(share)
        found = inputs.measure(clip, eval_set, what="measuring after")
        return judging.with_natural_marked(clip, found, eval_set, limits)

    def without_panel(share: float) -> detect.Measurement:
        put(share)
        return inputs.measure(clip, replace(eval_set, panel=()), what="walking back")

    ends = {1.0: with_panel(1.0), 0.0: first.measured}
    with deadline.within(None, reserve=(AFTERWARDS - 1) * first.seconds):
        way = walk_back.walk_back(
            lambda share: ends[1.0] if share == 1.0 else deadline.watched(without_panel)(share),
            first.measured,
            judging.to_watch(first.measured, eval_set.suspicions),
            limits,
            least=0.0 if ready.recipe.audit.walk_back else 1.0,
        )
    is_suspected = judging.is_suspected(detect.of_probes(first.measured, limits=limits))
    if ready.request.panel and ready.recipe.audit.walk_back and not (is_suspected or way.is_within):
        way = way.at_original(first.measured)
    after = ends.get(way.taken.share) or with_panel(way.taken.share)
    put(way.taken.share)
    return after, way


def findings(
    ready: Prepared,
    limits: AuditLimits,
    first: MeasuredFirst,
    after: detect.Measurement,
    trained: Training,
    way: Way,
    /,
) -> list[Finding]:
    """The findings of the model at the end of the walk back."""
    recipe, is_searched, unlearned = ready.recipe, first.aims.searched is not None, trained.unlearned
    words = "Time was over after step {} of {} of the cleaning. The same command with more minutes and --force resumes."
    found = detect.sanitized(first.measured, after, limits=limits, searched=is_searched)
    return [
        *found,
        *(judging.remaining(unlearned, least=recipe.unlearn.outlyingness) if unlearned else ()),
        *([finding("CC024", words.format(*trained.cut), level="warning")] if trained.cut else []),
        *([judging.stayed(f"Recipe {recipe.name}", way)] if not way.taken.share else []),
        *cleaning.notes(ready),
    ]
