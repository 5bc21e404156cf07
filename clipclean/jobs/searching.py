"""Measuring one model and searching it for unknown triggers."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial

import torch
from torch import Tensor

from clipclean import checkpoint, deadline, detect, model
from clipclean.config.effort import EFFORTS
from clipclean.detect import AuditResult, identities
from clipclean.findings import CC
from clipclean.jobs.saved_search import SavedSearch
from clipclean.progress import say, step
from clipclean.schema.names import EffortName
from clipclean.train import RunState, resume


@dataclass(frozen=True)
class SearchSettings:
    """How a model is measured and searched."""

    effort: EffortName  # of the search
    seed: int  # decides every draw
    search: bool = True  # False measures only
    # Places of classes to search for in any case, before those that the panel points at; of a reference these alone.
    pointed: tuple[int, ...] = ()
    is_reference: bool = False  # whether only the sizes of triggers count

    def fingerprint(self, clip: model.Clip, eval_set: detect.EvalSet, /) -> dict[str, object]:
        """All that determines the measurements and the search of one model."""
        images, plan = eval_set.images, eval_set.plan
        tensors = {"pixels": images.pixels} | ({} if images.labels is None else {"labels": images.labels})
        return {
            "program": resume.program(),
            "code": detect.code_digest(),  # a stage of other code is no part of this search
            "threads": torch.get_num_threads(),
            "device": clip.device.type,
            "model": checkpoint.digest(clip.net.state_dict()),
            "architecture": clip.architecture.config,
            "preprocess": asdict(clip.architecture.preprocess),
            "images": checkpoint.digest(tensors),
            "captions": images.captions,
            "classes": eval_set.vocabulary.classes,
            "templates": eval_set.vocabulary.templates,
            "panel": [trigger.spec for trigger in plan.triggers.panel_and_grid],
            "suspicions": identities(plan.suspicions),
            "settings": [images.knn, plan.classifier, plan.scale],
            **asdict(replace(self, search=True)),  # a model is measured alike without a search
            "effort": asdict(EFFORTS[self.effort]),
        }


def measure(
    clip: model.Clip, eval_set: detect.EvalSet, /, *, what: str = "", in_time: bool = False
) -> detect.Measurement:
    """Measure one model under the triggers of ``eval_set``; ``what`` names it in the progress.

    For a search, ``in_time``, OutOfTime ends it, and the panel is looked at in bfloat16 where that changes few answers.
    """
    clip = model.fold_norms(clip)
    images, texts = clip.embed_images, clip.embed_texts
    if not in_time:
        return detect.measure(images, texts, eval_set, what=what)
    pixels, encode = eval_set.images.pixels.to(clip.device), deadline.watched(clip.encode_images)

    def may_round(text_classifier: Tensor) -> bool:
        with model.freezing(clip.net):
            return detect.may_round(encode, pixels, text_classifier)

    return detect.measure(deadline.watched(images), deadline.watched(texts), eval_set, what=what, may_round=may_round)


def audit_clip(
    settings: SearchSettings,
    clip: model.Clip,
    eval_set: detect.EvalSet,
    references: detect.References | detect.LateReferences | None,
    /,
    *,
    what: str = "",
    state: RunState | None = None,
    is_enough: Callable[[detect.SearchResult], bool] = lambda _: False,
    so_far: Callable[[float, str], None] | None = None,
) -> AuditResult:
    """Measure and search one model; if no search is possible, the result says why.

    ``what`` names the model in progress, ``state`` keeps the stages that are finished, and ``is_enough`` may end the search early.
    ``so_far`` is called twice on the way, with the share that is done and what shows by then.
    """
    searching = f"searching {what}".strip()
    memory = SavedSearch.of(state, searching, lambda: settings.fingerprint(clip, eval_set))
    tower = model.fold_norms(clip)
    measurement: detect.Measurement | None = memory.recall("measured")
    if measurement is None:
        measurement = measure(tower, eval_set, what=f"measuring {what}".strip(), in_time=True)
        if not measurement.untried:
            memory.keep("measured", measurement)
    if not settings.search:
        return AuditResult(measurement, None, (CC.NOT_SEARCHED, "The search was skipped, as --no-search asks."), 0.0)
    started = time.monotonic()
    effort, classes = EFFORTS[settings.effort], eval_set.vocabulary.classes
    heard_memory = detect.FirstAnswers(memory, effort, classes, references, so_far) if so_far else memory
    course = detect.Course(settings.seed, partial(step, searching), heard_memory, is_enough, settings.is_reference)
    course.progress(0, 0)
    departed = departures(tower, eval_set, measurement)
    fast = detect.rounded(tower.encode_images) if measurement.is_rounded else None
    judged = partial(AuditResult, measurement, departures=departed, classes=classes)
    try:
        with model.freezing(tower.net):
            result = detect.search(
                detect.ImageTower(tower.encode_images, fast, clip.kernels()),
                eval_set.images.to(clip.device),
                detect.ClassTexts.of(classes, measurement.text_classifier.to(clip.device)),
                effort=effort,
                references=references,
                course=course,
                triggers=eval_set.plan.triggers,
                pointed=settings.pointed,
            )
    except detect.NoSearch as error:
        return judged(search=None, why_not=(error.rule, str(error)), seconds=time.monotonic() - started)
    return judged(search=result, why_not=None, seconds=time.monotonic() - started)


def audit_both(
    settings: SearchSettings,
    clip: model.Clip,
    eval_set: detect.EvalSet,
    references: detect.References | detect.LateReferences | None,
    /,
    *,
    what: str = "",
    state: RunState | None = None,
    is_enough: Callable[[detect.SearchResult], bool] = lambda _: False,
) -> AuditResult:
    """As ``audit_clip``, and the same under CLIP's own normalisation of pixels where that is another, as far as time allows.

    Listeners hear what each search shows so far.
    """

    def tested(clip: model.Clip, what: str) -> AuditResult:
        def so_far(share: float, answer: str) -> None:
            say(f"So far, at {100 * share:.0f} % of the search{what and f' ({what})'}: {answer}.")

        audit_under = partial(audit_clip, settings, clip, eval_set, references, what=what)
        return audit_under(state=state, is_enough=is_enough, so_far=so_far)

    own = tested(clip, what)
    usual = clip.clip_normalised()
    if usual is None:
        return own
    try:
        under = f"{what} under CLIP's own normalisation".strip()
        return replace(own, clip_normalised=tested(usual, under))
    except deadline.OutOfTime:
        return replace(own, is_late=True)


def departures(
    clip: model.Clip, eval_set: detect.EvalSet, measurement: detect.Measurement, /
) -> tuple[detect.Departure, ...]:
    """Where a model answers otherwise in bfloat16 or float16, as it may be deployed.

    Under tiles where the device has the precision, which otherwise takes ten times as long.
    """
    pixels, classifier = eval_set.images.pixels.to(clip.device), measurement.text_classifier.to(clip.device)
    triggers = [*(trigger for trigger, _ in eval_set.plan.suspicions), *eval_set.plan.triggers.panel]
    is_gpu, all_departures = clip.device.type == "cuda", list[detect.Departure]()
    for precision, is_native in ((torch.bfloat16, model.has_bfloat16(clip.device)), (torch.float16, is_gpu)):
        pasted = list(detect.tiles(pixels.shape[-1], clip.kernels()))[detect.SINGLE_TILES :] if is_native else ()
        name, half = str(precision).removeprefix("torch."), deadline.watched(clip.halved(precision))
        with contextlib.suppress(deadline.OutOfTime), model.evaluating(clip.net):
            exact = deadline.watched(clip.embed_images)
            all_departures += detect.departures(name, exact, half, pixels, triggers, classifier, pasted=pasted)
    return tuple(all_departures)
