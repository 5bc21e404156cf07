"""The audit of one checkpoint, from top to bottom: read, measure, search for unknown triggers, judge."""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from clipclean import data, deadline, detect, model, train
from clipclean.attack import canaries, power, trigger_files
from clipclean.config import policy
from clipclean.config import recipe as recipes
from clipclean.detect.witness import Testimony
from clipclean.errors import Inconclusive, UsageError
from clipclean.findings import Finding
from clipclean.jobs import (
    audit_findings,
    audit_inputs,
    audit_report,
    estimate,
    inputs,
    other_models,
    saved_search,
    searching,
)
from clipclean.jobs.audit_findings import Setting
from clipclean.jobs.audit_inputs import AuditInputs, AuditRequest, Others
from clipclean.jobs.searching import AuditResult
from clipclean.progress import Progress, say
from clipclean.report import PageImages, Report


@dataclass(frozen=True)
class Outcome:
    """The report, and the images of its page."""

    report: Report
    images: PageImages


def audit(request: AuditRequest, /, *, progress: Progress) -> Outcome:
    """Tell whether a checkpoint carries a backdoor, and which class it leads to.

    An audit that is interrupted goes on, when the same one is run again, after the last stage that was finished.

    Raises:
        ClipcleanError: of the kind that tells the exit code; then nothing is written.
    """
    outcome = shared_audit(request, progress=progress, group=train.ALONE)
    assert outcome is not None  # noqa: S101 # the only process is the first
    return outcome


def shared_audit(request: AuditRequest, /, *, progress: Progress, group: train.Group) -> Outcome | None:
    """The same with several processes, which share the searches; the first one measures and judges, the others return None.

    Raises:
        LostProcess: another process has ended; what was searched is kept to go on from.
        ClipcleanError: what ``audit`` raises.
    """
    with deadline.within(request.max_minutes):
        try:
            return _audit(request, progress, group)
        except deadline.OutOfTime as error:
            raise Inconclusive(
                f"The {request.max_minutes:g} minutes of --max-minutes ended before the model was measured, so there is no "
                "result. Give more minutes."
            ) from error


def _audit(request: AuditRequest, progress: Progress, group: train.Group) -> Outcome | None:
    started = time.monotonic()
    limits = policy.resolved(request.policy, recipes.load(recipes.DEFAULT).audit)
    if request.save_triggers is not None:
        trigger_files.check_folder(request.save_triggers)
    read = audit_inputs.read(request, progress)
    clip = read.tested.clip
    planting: Sequence[data.Pair] = ()
    if request.power:
        pairs = read.images if request.own else read.pairs()
        planting = power.pairs_of(pairs, read.vocabulary.classes, read.vocabulary.templates)
    size = estimate.AuditSize.of(
        read.eval_set,
        effort=request.effort if request.search else None,
        models=1 + len(read.others.trusted) + (request.canaries if request.power else 0),
        processes=group.size,
    )
    estimate.tell_audit(clip, size)
    if group.size > 1:
        say(f"{group.size} processes share the searches, by family of triggers; the first one does all else")
    references, seen, under = _seen(request, read, progress, group)
    if not group.is_first:
        return None
    setting = Setting(request, read.eval_set, references, limits, progress)
    witnesses = testimonies(setting, read.others, [seen, *([under] if under else [])])
    found = audit_findings.judged(setting, read, seen, under, witnesses)
    known_power = None
    try:
        known_power = power_of(setting, clip, planting, seen, found)
    except deadline.OutOfTime:
        found.append(detect.unsearched("CC024", "Time was over before the power of the audit was measured."))
    found = audit_findings.with_power(found, known_power)
    applied = policy.apply(request.policy, found, today=datetime.now(UTC).date(), model_sha256=read.tested.file.sha256)
    saved = (
        trigger_files.save(seen.search.targeted, request.save_triggers) if seen.search and request.save_triggers else {}
    )
    shown = audit_report.shown_of(clip, read.eval_set, seen, seed=request.seed)
    more: dict[str, object] = audit_report.beside(request, read, witnesses) | dict(shown.maps)
    if known_power:
        more["power"] = known_power.record()
    measurements = audit_report.measurements_of(setting, seen, saved).model_copy(update=more)
    result = audit_report.compose(setting, read, seen, applied, measurements, seconds=time.monotonic() - started)
    return Outcome(result, audit_report.drawn(read.eval_set, seen, shown))


def _seen(
    request: AuditRequest, read: AuditInputs, progress: Progress, group: train.Group, /
) -> tuple[detect.References | None, AuditResult, AuditResult | None]:
    """What the tested model is compared with, what was seen of it, and what under CLIP's own normalisation, if that is another.

    The last is None as well where time was over before it.
    """
    settings, clip, eval_set, others = request.settings, read.tested.clip, read.eval_set, read.others
    deciding = settings.decides(clip, eval_set)
    group.check_same(saved_search.digest(deciding | {"files": [each.file.sha256 for _, each in others.trusted]}))
    with saved_search.kept(deciding) if group.is_first else contextlib.nullcontext() as state:
        measured = [
            other_models.measured_references(
                settings,
                path,
                inputs.build(each, read.pairs, device=inputs.device_of(request.device)),
                eval_set,
                progress,
                state=state,
                group=group,
            )
            for path, each in others.trusted
        ]
        known = [*read.stored, *measured]
        kind = model.kind_of(clip.architecture)
        references = detect.together(known) if known else detect.stored(kind, classes=eval_set.classes)
        memory = saved_search.part(state, "searching", deciding)
        seen = searching.audit_clip(settings, clip, eval_set, references, progress, memory=memory, group=group)
        if request.is_cached and group.is_first and seen.search and not seen.search.cut:
            # A later audit of another model may name this one as its reference.
            saved_search.keep_sizes(saved_search.digest(deciding), seen.search.sizes())
        under: AuditResult | None = None
        if usual := searching.usual_normalisation(clip):
            with contextlib.suppress(deadline.OutOfTime):
                what = " under CLIP's own normalisation"
                memory = saved_search.part(state, f"searching{what}", settings.decides(usual, eval_set))
                under = searching.audit_clip(
                    settings, usual, eval_set, references, progress, what=what, memory=memory, group=group
                )
    return references, seen, under


def testimonies(setting: Setting, others: Others, seen: Sequence[AuditResult], /) -> list[Testimony]:
    """What each witness shows under the triggers that speak against the model."""
    limits, request = setting.limits, setting.request
    suspects = [suspect for each in seen if each.search for suspect in detect.suspected(each.search, limits=limits)]
    recipe, made = recipes.load(recipes.DEFAULT), []
    for source, opened in others.witnesses:
        pairs = inputs.late_pairs(request.pairs, inputs.image_cache(recipe, opened.architecture))
        loaded = inputs.build(opened, pairs, device=inputs.device_of(request.device))
        made.append(other_models.testimony(source, loaded, setting.eval_set, suspects, setting.progress))
    return made


def power_of(
    setting: Setting,
    clip: model.Clip,
    pairs: Sequence[data.Pair],
    seen: AuditResult,
    found: Sequence[Finding],
    /,
) -> power.Power | None:
    """How many planted backdoors the same audit finds; None where it was not asked, could not search, or the model fails anyway."""
    request, eval_set = setting.request, setting.eval_set
    if not request.power or seen.search is None or any(each.level == "error" for each in found):
        return None
    estimate.tell_power(power.planting_of(clip, pairs=len(pairs)), count=request.canaries)
    named = {each.target for each in found if each.target}

    def levels() -> dict[str, str]:
        what = " a copy with a planted backdoor"
        copy = searching.audit_clip(request.settings, clip, eval_set, setting.references, setting.progress, what=what)
        return {each.target: each.level for each in setting.findings(copy) if each.rule == "CC003" and each.target}

    avoid = [place for place, name in enumerate(eval_set.classes) if name in named]
    return power.measure(
        clip,
        pairs,
        eval_set,
        recipes.load(recipes.DEFAULT),
        canaries.draw(request.canaries, classes=len(eval_set.classes), avoid=avoid, seed=request.seed),
        seed=request.seed,
        named=levels,
        progress=setting.progress,
    )


def build_references(request: AuditRequest, models: Sequence[Path], /, *, progress: Progress) -> detect.ReferencesFile:
    """Search clean models as an audit of ``request`` would, and return what a references file holds: numbers, no weights.

    ``request.model`` is the first of ``models``; all must be of one kind.

    Raises:
        ClipcleanError: of the kind that tells the exit code.
    """
    recipe, vocabulary = recipes.load(recipes.DEFAULT), inputs.words(request.classes, request.templates)
    device = inputs.device_of(request.device)
    opened = [inputs.read(path, arch=request.arch, weights=request.weights) for path in models]
    kinds = [model.kind_of(each.architecture) for each in opened]
    if len(set(kinds)) > 1:
        raise UsageError(f"The models are of several kinds: {', '.join(sorted(set(kinds)))}. Build one file for each.")
    cache = inputs.image_cache(recipe, opened[0].architecture)
    images = data.read_images(request.data, images=cache, progress=lambda d, t: progress("reading the images", d, t))
    pairs = inputs.late_pairs(request.pairs, cache)
    found = {}
    for path, each in zip(models, opened, strict=True):
        loaded = inputs.build(each, pairs, device=device)
        shown = inputs.audit_set(loaded.clip, images, recipe, vocabulary=vocabulary)
        known = other_models.measured_references(request.settings, path, loaded, shown, progress)
        found[f"{inputs.located(path).name} {each.file.sha256}"] = known.entries[0]
    return detect.as_file(kinds[0], request.effort, vocabulary.classes, found)
