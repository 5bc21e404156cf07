"""Measuring one model and searching it for unknown triggers."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TypeVar, final

import torch

from clipclean import checkpoint, deadline, detect, model, train
from clipclean.config.effort import EFFORTS
from clipclean.jobs import inputs
from clipclean.jobs.saved_search import NOTHING, SavedSearch
from clipclean.progress import Progress
from clipclean.schema.report import CalibrationRecord, Effort, SearchRecord
from clipclean.train import resume

SAME = 1e-3  # of means and deviations of pixels
MEASURED: Mapping[str, type] = {
    kind.__name__: kind for kind in (detect.Measurement, detect.Probe, detect.Rate, detect.Accuracy)
}


@dataclass(frozen=True)
class SearchSettings:
    """How a model is measured and searched."""

    effort: str  # of the search
    seed: int  # decides every draw
    search: bool = True  # False measures only
    pointed: tuple[int, ...] = ()  # places of classes to search for in any case, before those that the panel points at

    def decides(self, clip: model.Clip, eval_set: detect.EvalSet, /) -> dict[str, object]:
        """All that determines the measurements and the search of one model."""
        shown = {"pixels": eval_set.pixels} | ({} if eval_set.labels is None else {"labels": eval_set.labels})
        return {
            "program": resume.program(),
            "threads": torch.get_num_threads(),
            "device": clip.device.type,
            "model": checkpoint.digest(clip.net.state_dict()),
            "architecture": clip.architecture.config,
            "preprocess": asdict(clip.architecture.preprocess),
            "images": checkpoint.digest(shown),
            "captions": eval_set.captions,
            "classes": eval_set.classes,
            "templates": eval_set.templates,
            "panel": [trigger.spec for trigger in eval_set.panel],
            "suspicions": inputs.identities(eval_set.suspicions),
            "settings": [
                eval_set.knn,
                eval_set.batch_size,
                eval_set.classifier,
                eval_set.scale,
                list(self.pointed),
                self.seed,
            ],
            "effort": asdict(EFFORTS[self.effort]),
        }


@final
@dataclass(frozen=True)
class AuditResult:
    """The result for one model: numbers, before any threshold."""

    measured: detect.Measurement
    search: detect.SearchResult | None
    why_not: tuple[str, str] | None  # the rule and the words that say why nothing was searched
    seconds: float  # of the search
    agreement: detect.Rate | None = None  # of the classes of images and of their captions, where there are no labels

    def search_record(self, effort: Effort, saved: Mapping[str, str], /) -> SearchRecord | None:
        """``measurements.search`` of a report; None where nothing was searched. ``saved`` is where triggers were saved."""
        if self.search is None:
            return None
        compared = CalibrationRecord(kind="none", name="", models=0)
        if references := self.search.references:
            compared = CalibrationRecord(kind=references.kind, name=references.name, models=references.models)
        return self.search.record(effort=effort, seconds=self.seconds, calibration=compared, saved=saved)


Seen = TypeVar("Seen", detect.Measurement, AuditResult)


def audit_clip(
    settings: SearchSettings,
    clip: model.Clip,
    eval_set: detect.EvalSet,
    references: detect.References | None,
    progress: Progress,
    /,
    *,
    what: str = "",
    memory: SavedSearch = NOTHING,
) -> AuditResult:
    """Measure and search one model; if no search is possible, the result says why.

    ``what`` names the model in progress, and ``memory`` keeps the stages that are finished.
    """
    found = measured(clip, eval_set, progress, memory, what=what)
    if not settings.search:
        return AuditResult(found, None, ("CC021", "The search was skipped, as --no-search asks."), 0.0)
    started = time.monotonic()
    pixels = eval_set.pixels.to(clip.device)
    course = detect.Course(settings.seed, partial(progress, f"searching{what}"), memory)
    try:
        with model.frozen(clip.net):
            result = detect.search(
                clip.encode_images,
                replace(eval_set, pixels=pixels),
                found.text_classifier,
                effort=EFFORTS[settings.effort],
                references=references,
                course=course,
                pointed=settings.pointed,
                fast=detect.fastest(clip.encode_images, pixels, found.text_classifier),
            )
    except detect.NoSearch as error:
        return AuditResult(found, None, (error.rule, str(error)), time.monotonic() - started)
    return AuditResult(
        found, result, None, time.monotonic() - started, agreement(clip, eval_set, found.text_classifier)
    )


def measured(
    clip: model.Clip,
    eval_set: detect.EvalSet,
    progress: Progress,
    memory: SavedSearch = NOTHING,
    /,
    *,
    what: str,
) -> detect.Measurement:
    """Measure one model under the panel and the named triggers."""
    if (kept := memory.recall("measured")) is not None:
        made: detect.Measurement = detect.unpack(*kept, kinds=MEASURED)
        return replace(made, text_classifier=made.text_classifier.to(clip.device))
    made = detect.measure(
        deadline.watched(clip.embed_images), deadline.watched(clip.embed_texts), eval_set,
        progress=partial(progress, f"measuring{what}"),
    )  # fmt: skip
    if not made.untried:
        memory.keep("measured", detect.pack(made, kinds=MEASURED))
    return made


def by_first(group: train.Group, clip: model.Clip, make: Callable[[], Seen], /) -> Seen:
    """What the first process measured, with the text classifier on the device of the model: all decide by the same numbers.

    Raises:
        ClipcleanError, OutOfTime: in all processes, if the first raised it.
    """
    return _moved(group.of_first(lambda: _moved(make(), torch.device("cpu"))), clip.device)


def _moved(seen: Seen, device: torch.device) -> Seen:
    if isinstance(seen, AuditResult):
        return replace(seen, measured=_moved(seen.measured, device))
    return replace(seen, text_classifier=seen.text_classifier.to(device))


def agreement(clip: model.Clip, eval_set: detect.EvalSet, text_classifier: torch.Tensor, /) -> detect.Rate | None:
    """How often an image and its caption are nearest to the same class; None with labels, or without captions."""
    if eval_set.labels is not None or not eval_set.captions:
        return None
    size, count = eval_set.batch_size, len(eval_set.captions)
    batches = [slice(start, start + size) for start in range(0, count, size)]
    images = torch.cat([detect.predict(clip.embed_images(eval_set.pixels[some]), text_classifier) for some in batches])
    texts = torch.cat(
        [detect.predict(clip.embed_texts(list(eval_set.captions[some])), text_classifier) for some in batches]
    )
    return detect.Rate(int((images == texts).sum()), count)


def usual_normalisation(clip: model.Clip, /) -> model.Clip | None:
    """The same model under CLIP's own mean and deviation of pixels; None where it has these already.

    The configuration comes with the weights and may be the attacker's as well: a deviation of one blinds an audit, while the
    usual way of loading the weights still has the backdoor.
    """
    preprocess = clip.architecture.preprocess
    usual = replace(preprocess, mean=model.OPENAI_MEAN, std=model.OPENAI_STD)
    given = (*preprocess.mean, *preprocess.std)
    if all(abs(a - b) < SAME for a, b in zip(given, (*usual.mean, *usual.std), strict=True)):
        return None
    return model.Clip(clip.net, replace(clip.architecture, preprocess=usual), clip.device)
