"""The audit of one checkpoint, from top to bottom: read, measure, search for unknown triggers, judge."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from clipclean import __version__, data, deadline, detect, model, train, untrusted
from clipclean.attack import power, trigger_files
from clipclean.config import policy
from clipclean.config import recipe as recipes
from clipclean.config.policy import Policy
from clipclean.config.thresholds import AuditLimits
from clipclean.detect import witness
from clipclean.detect.witness import Testimony
from clipclean.errors import Inconclusive, UsageError
from clipclean.export import provenance
from clipclean.findings import Finding, finite
from clipclean.jobs import estimate, inputs, other_models, saved_search, shared
from clipclean.jobs.inputs import LoadedModel, Opened
from clipclean.jobs.saved_search import NOTHING, SavedSearch
from clipclean.progress import Progress, say
from clipclean.report import PageImages, Report, example_images
from clipclean.schema.report import CalibrationRecord, Effort, MeasurementsRecord, SearchRecord, ToolRecord
from clipclean.train.resume import RunState

SAME = 1e-3  # of means and deviations of pixels
MOST_BYTES = 50_000_000  # of a references file


@dataclass(frozen=True)
class AuditRequest:
    """What the user asked for; paths are not yet looked at.

    ``data`` holds the images: ``own`` ones of the user, or else the bundled ones. ``pairs`` holds captions as well; an
    undecided activation is measured on them.
    """

    model: inputs.Source
    data: Path
    own: bool
    pairs: Path
    reference: tuple[inputs.Source, ...]
    policy: Policy
    effort: Effort
    arch: str | None
    classes: Path | Sequence[str] | None
    templates: Path | Sequence[str] | None
    seed: int
    device: str
    save_triggers: Path | None
    search: bool
    weights: str | None = None  # which of several sets in the file
    labels: Mapping[str, str] = field(default_factory=dict)
    references: tuple[Path, ...] = ()  # files that ``build_references`` wrote
    base: inputs.Source | None = None  # that the model was finetuned from
    witness: tuple[inputs.Source, ...] = ()
    witness_arch: str | None = None
    power: bool = False  # plant backdoors in copies, and see how many of them are found
    canaries: int = 4
    max_minutes: float | None = None  # after which the audit ends with what was found
    is_cached: bool = False  # whether what references need, and text classifiers, are kept for other audits


@dataclass(frozen=True)
class Outcome:
    """The report, and the images of its page."""

    report: Report
    images: PageImages


@dataclass(frozen=True)
class AuditResult:
    """All that was seen of one model: numbers before any threshold."""

    measured: detect.Measurement
    search: detect.SearchResult | None
    why_not: tuple[str, str] | None  # the rule that says why nothing was searched, and the words
    seconds: float  # of the search
    agreement: detect.Rate | None = None  # of the classes of images and of their captions, where there are no labels


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
    recipe = recipes.load(recipes.DEFAULT)
    limits = policy.resolved(request.policy, recipe.audit)
    vocabulary = inputs.words(request.classes, request.templates)
    if request.save_triggers is not None:
        trigger_files.check_folder(request.save_triggers)
    device = inputs.device_of(request.device)
    progress("reading the model", 0, 1)
    opened = inputs.read(request.model, arch=request.arch, weights=request.weights)
    others = read_others(request, opened)
    kind = model.kind_of(opened.architecture)
    stored = _stored(request, kind, vocabulary.classes)
    progress("reading the model", 1, 1)
    cache = inputs.image_cache(recipe, opened.architecture)
    images = data.read_images(
        request.data, images=cache, progress=lambda done, total: progress("reading the images", done, total)
    )
    pairs = inputs.late_pairs(request.pairs, cache)
    progress("building the model", 0, 1)
    tested = inputs.build(opened, pairs, device=device)
    progress("building the model", 1, 1)
    shown = inputs.audit_set(tested.clip, images, recipe, vocabulary=vocabulary)
    planting: Sequence[data.Pair] = ()
    if request.power:
        planting = power.pairs_of(images if request.own else pairs(), vocabulary.classes, vocabulary.templates)
    size = estimate.AuditSize.of(
        shown,
        effort=request.effort if request.search else None,
        models=1 + len(others.trusted) + (request.canaries if request.power else 0),
        processes=group.size,
    )
    estimate.tell_audit(tested.clip, size)
    if group.size > 1:
        say(f"{group.size} processes share the searches, by family of triggers; the first one does all else")
    references, seen, under = _seen(request, tested, others, pairs, shown, stored, progress, group)
    if not group.is_first:
        return None
    setting = Setting(request, shown, references, limits, progress)
    witnesses = testimonies(setting, others, [seen, *([under] if under else [])])
    found = heard(setting, setting.findings(seen), seen, witnesses)
    found += side_findings(request, images)
    if under:
        found = [*heard(setting, under_both(setting, seen, under), under, witnesses), *found]
    elif usual_normalisation(tested.clip):
        found.append(detect.unsearched("CC024", "Time was over before the audit under CLIP's own normalisation."))
    known_power = None
    try:
        known_power = power_of(setting, tested.clip, planting, seen, found)
    except deadline.OutOfTime:
        found.append(detect.unsearched("CC024", "Time was over before the power of the audit was measured."))
    found = with_power(found, known_power)
    applied = policy.apply(request.policy, found, today=datetime.now(UTC).date(), model_sha256=tested.file.sha256)
    saved = (
        trigger_files.save(seen.search.targeted, request.save_triggers) if seen.search and request.save_triggers else {}
    )
    seen_as = shown_of(tested.clip, shown, seen, seed=request.seed)
    more: dict[str, object] = beside(request, others, tested, pairs, witnesses) | dict(seen_as.maps)
    if known_power:
        more["power"] = known_power.record()
    measurements = measurements_of(setting, seen, saved).model_copy(update=more)
    result = compose(setting, tested, images, seen, applied, measurements, seconds=time.monotonic() - started)
    return Outcome(result, drawn(shown, seen, seen_as))


@dataclass(frozen=True)
class Setting:
    """What an audit was asked, what it measures on, and what its findings are judged by."""

    request: AuditRequest
    eval_set: detect.EvalSet
    references: detect.References | None
    limits: AuditLimits
    progress: Progress

    def findings(self, seen: AuditResult, /) -> list[Finding]:
        """What was seen, against the thresholds."""
        return findings(seen, self.references, self.limits, images=len(self.eval_set.pixels))


def _stored(request: AuditRequest, kind: str, classes: tuple[str, ...]) -> list[detect.References]:
    """What the files of references of a request hold, for a model of this kind."""
    return [
        detect.from_file(
            untrusted.loads(untrusted.read(path, limit=MOST_BYTES), path.name, limit=MOST_BYTES), path.name, kind=kind,
            effort=request.effort, classes=classes,
        )
        for path in request.references
    ]  # fmt: skip


def _seen(
    request: AuditRequest,
    tested: LoadedModel,
    others: "Others",
    pairs: inputs.LatePairs,
    eval_set: detect.EvalSet,
    stored: Sequence[detect.References],
    progress: Progress,
    group: train.Group,
    /,
) -> tuple[detect.References | None, AuditResult, AuditResult | None]:
    """What the tested model is compared with, what was seen of it, and what under CLIP's own normalisation, if that is another.

    The last is None as well where time was over before it.
    """
    deciding = decided(request, tested.clip, eval_set)
    group.check_same(saved_search.digest(deciding | {"files": [each.file.sha256 for _, each in others.trusted]}))
    with saved_search.kept(deciding) if group.is_first else contextlib.nullcontext() as state:
        measured = [
            measured_references(
                request,
                path,
                inputs.build(each, pairs, device=inputs.device_of(request.device)),
                eval_set,
                progress,
                state=state,
                group=group,
            )
            for path, each in others.trusted
        ]
        known = [*stored, *measured]
        kind = model.kind_of(tested.clip.architecture)
        references = detect.together(known) if known else detect.stored(kind, classes=eval_set.classes)
        memory = saved_search.part(state, "searching", deciding)
        seen = audit_clip(request, tested.clip, eval_set, references, progress, memory=memory, group=group)
        under: AuditResult | None = None
        if usual := usual_normalisation(tested.clip):
            with contextlib.suppress(deadline.OutOfTime):
                what = " under CLIP's own normalisation"
                memory = saved_search.part(state, f"searching{what}", decided(request, usual, eval_set))
                under = audit_clip(
                    request, usual, eval_set, references, progress, what=what, memory=memory, group=group
                )
    return references, seen, under


@dataclass(frozen=True)
class Others:
    """The other models of an audit, read and recognised: those to compare with, the base among them, and witnesses."""

    trusted: tuple[tuple[inputs.Source, Opened], ...]
    base: Opened | None
    witnesses: tuple[tuple[inputs.Source, Opened], ...]


def read_others(request: AuditRequest, opened: Opened, /) -> Others:
    """Read the models that are named beside the tested one; raises what the readers raise."""
    trusted = [(path, other_models.read_reference(path, opened, arch=request.arch)) for path in request.reference]
    base = None
    if request.base is not None:
        base = other_models.read_base(request.base, opened, arch=request.arch)
        trusted.append((request.base, base))
    witnesses = ((path, other_models.read_witness(path, opened, arch=request.witness_arch)) for path in request.witness)
    return Others(tuple(trusted), base, tuple(witnesses))


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


def heard(
    setting: Setting, found: Sequence[Finding], seen: AuditResult, witnesses: Sequence[Testimony], /
) -> list[Finding]:
    """The findings with what the witnesses say to those of the search."""
    if not witnesses or not seen.search:
        return list(found)
    limits = setting.limits
    suspects = {suspect.name: suspect for suspect in detect.suspected(seen.search, limits=limits)}
    return [
        witness.heard(each, suspects[each.target], setting.eval_set.tried, witnesses, limit=limits.abnormality)
        if each.rule == "CC003" and each.target in suspects
        else each
        for each in found
    ]


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
        copy = audit_clip(request, clip, eval_set, setting.references, setting.progress, what=what)
        return {each.target: each.level for each in setting.findings(copy) if each.rule == "CC003" and each.target}

    return power.measure(
        clip,
        pairs,
        eval_set,
        recipes.load(recipes.DEFAULT),
        avoid=[place for place, name in enumerate(eval_set.classes) if name in named],
        count=request.canaries,
        seed=request.seed,
        named=levels,
        progress=setting.progress,
    )


def with_power(found: Sequence[Finding], known: power.Power | None, /) -> list[Finding]:
    """The findings with the power of the audit, which stands in for clean models to compare with where it is enough."""
    if known is None:
        return list(found)
    return [*(each for each in found if not (known.is_enough and each.rule == "CC004")), known.finding()]


def beside(
    request: AuditRequest,
    others: Others,
    tested: LoadedModel,
    pairs: inputs.LatePairs,
    witnesses: Sequence[Testimony],
    /,
) -> dict[str, object]:
    """What the base and the witnesses add to the report's ``measurements``."""
    added: dict[str, object] = {}
    if others.base is not None and request.base is not None:
        base = inputs.build(others.base, pairs, device=inputs.device_of(request.device))
        name, sha256 = inputs.located(request.base).name, others.base.file.sha256
        added["base"] = other_models.changed(tested, base).record(name=name, sha256=sha256)
    if witnesses:
        added["witnesses"] = tuple(each.record() for each in witnesses)
    return added


def audit_clip(
    request: AuditRequest,
    clip: model.Clip,
    eval_set: detect.EvalSet,
    references: detect.References | None,
    progress: Progress,
    /,
    *,
    what: str = "",
    memory: SavedSearch = NOTHING,
    group: train.Group = train.ALONE,
) -> AuditResult:
    """Measure and search one model, as a request asks; ``memory`` is where finished stages are kept."""
    if not request.search:
        skipped = ("CC021", "The search was skipped, as --no-search asks.")
        seen = measured(clip, eval_set, progress, memory, what=what, is_cached=request.is_cached, group=group)
        return AuditResult(seen, None, skipped, 0.0)
    return searched(
        clip, eval_set, references, progress, effort=request.effort, pointed=(), seed=request.seed, what=what,
        memory=memory, is_cached=request.is_cached, group=group,
    )  # fmt: skip


def decided(request: AuditRequest, clip: model.Clip, eval_set: detect.EvalSet, /) -> dict[str, object]:
    """All that decides what an audit measures and finds in one model."""
    return saved_search.decides(clip, eval_set, effort=request.effort, pointed=(), seed=request.seed)


def measured(
    clip: model.Clip,
    eval_set: detect.EvalSet,
    progress: Progress,
    memory: SavedSearch = NOTHING,
    /,
    *,
    what: str,
    is_cached: bool = False,
    group: train.Group = train.ALONE,
) -> detect.Measurement:
    """What the panel and the named triggers do to one model; the first of several processes measures it."""
    return shared.measured(
        group, clip, lambda: _measured(clip, eval_set, progress, memory, what=what, is_cached=is_cached)
    )


def _measured(
    clip: model.Clip, eval_set: detect.EvalSet, progress: Progress, memory: SavedSearch, *, what: str, is_cached: bool
) -> detect.Measurement:
    if (kept := memory.recall("measured")) is not None:
        made: detect.Measurement = detect.unpack(*kept, kinds=shared.MEASURED)
        return made
    key = saved_search.digest(saved_search.decides_texts(clip, eval_set)) if is_cached else ""
    made = detect.measure(
        deadline.watched(clip.embed_images), deadline.watched(clip.embed_texts), eval_set,
        progress=lambda done, total: progress(f"measuring{what}", done, total),
        text_classifier=saved_search.known_classifier(key, clip.device) if key else None,
    )  # fmt: skip
    if key:
        saved_search.keep_classifier(key, made.text_classifier)
    if not made.untried:
        memory.keep("measured", detect.pack(made, kinds=shared.MEASURED))
    return made


def searched(
    clip: model.Clip,
    eval_set: detect.EvalSet,
    references: detect.References | None,
    progress: Progress,
    /,
    *,
    effort: str,
    pointed: Sequence[int],
    seed: int,
    what: str,
    memory: SavedSearch = NOTHING,
    is_cached: bool = False,
    group: train.Group = train.ALONE,
) -> AuditResult:
    """Measure and search one model; a search that cannot be made is no error, but says why.

    ``pointed`` are places of classes that are searched for in any case, before those that the panel points at. ``memory`` keeps the
    stages that are finished. The processes of ``group`` share the search, and get the same result.
    """
    found = measured(clip, eval_set, progress, memory, what=what, is_cached=is_cached, group=group)
    started = time.monotonic()
    pixels = eval_set.pixels.to(clip.device)
    try:
        with model.frozen(clip.net):
            result = detect.search(
                detect.fastest(clip.encode_images, pixels, found.text_classifier),
                replace(eval_set, pixels=pixels),
                found.text_classifier,
                effort=detect.Effort(**recipes.EFFORTS[effort].model_dump()),
                references=references,
                course=detect.Course(
                    seed, lambda done, total: progress(f"searching{what}", done, total), memory, crew=group
                ),
                pointed=pointed,
            )
    except detect.NoSearch as error:
        return AuditResult(found, None, (error.rule, str(error)), time.monotonic() - started)
    return AuditResult(
        found, result, None, time.monotonic() - started, agreement(clip, eval_set, found.text_classifier)
    )


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


def measured_references(
    request: AuditRequest,
    path: inputs.Source,
    trusted: LoadedModel,
    eval_set: detect.EvalSet,
    progress: Progress,
    /,
    *,
    state: RunState | None = None,
    group: train.Group = train.ALONE,
) -> detect.References:
    """What one clean model needs, searched just as the tested one is.

    Raises:
        Inconclusive: nothing can be searched in it.
        OutOfTime: the search could not be ended.
    """
    name = inputs.located(path).name
    deciding = decided(request, trusted.clip, eval_set)
    key = saved_search.digest(deciding)
    if (
        request.is_cached
        and (sizes := detect.of_first(group, lambda: saved_search.known_sizes(key), kinds={})) is not None
    ):
        say(f"The reference {name} was searched before, on the same images: nothing is searched in it again.")
        return detect.References("reference", name, (sizes,))
    named = f" the reference {name}"
    memory = saved_search.part(state, f"searching{named}", deciding)
    seen = audit_clip(request, trusted.clip, eval_set, None, progress, what=named, memory=memory, group=group)
    if (seen.search and seen.search.cut) or (seen.why_not and seen.why_not[0] == "CC024"):
        raise deadline.OutOfTime
    if seen.search is None:
        words = seen.why_not[1] if seen.why_not else ""
        raise Inconclusive(f"The reference {name} cannot be compared with: {words}")
    if request.is_cached and group.is_first:
        saved_search.keep_sizes(key, seen.search.sizes())
    return detect.References("reference", name, (seen.search.sizes(),))


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
        known = measured_references(request, path, loaded, shown, progress)
        found[f"{inputs.located(path).name} {each.file.sha256}"] = known.entries[0]
    return detect.as_file(kinds[0], request.effort, vocabulary.classes, found)


def findings(
    seen: AuditResult, references: detect.References | None, limits: AuditLimits, /, *, images: int
) -> list[Finding]:
    """What was seen on so many images, against the thresholds."""
    # Where there is a search the panel is compared with its siblings and with clean models, by the least strength that acts.
    measured = replace(seen.measured, panel=()) if seen.search else seen.measured
    found = [*detect.audit(measured, limits=limits)]
    if seen.why_not:
        found.append(detect.unsearched(*seen.why_not))
    if late := unfinished(seen):
        found.append(detect.unsearched("CC024", f"Time was over: {late}. The same command with more minutes resumes."))
    if seen.search and images < limits.min_images:
        words = f"{images} images are too few to judge the results: at least {limits.min_images} are needed."
        found.append(detect.unsearched("CC020", f"{words} Give more by --data."))
    if seen.search and (doubt := detect.unsound(sound_rate(seen), classes=len(seen.measured.text_classifier))):
        found.append(doubt)
    if seen.search:
        found += detect.searched(seen.search, seen.measured.panel, images=images, limits=limits)
        if references is None:
            found.append(detect.uncalibrated())
    return found


def unfinished(seen: AuditResult, /) -> str:
    """What was not done since time was over; empty where all was."""
    parts = []
    if seen.measured.untried:
        parts.append(f"{seen.measured.untried} of the known triggers were not tried")
    if seen.search and seen.search.cut:
        parts.append("only {} of {} steps of the search were done".format(*seen.search.cut))
    return ", and ".join(parts)


def usual_normalisation(clip: model.Clip, /) -> model.Clip | None:
    """The same model under CLIP's own mean and deviation of pixels; None where it has these already.

    A configuration travels with the weights and is as much the attacker's: a deviation of one blinds an audit, while whoever loads
    the weights in the usual way has the backdoor.
    """
    preprocess = clip.architecture.preprocess
    usual = replace(preprocess, mean=model.OPENAI_MEAN, std=model.OPENAI_STD)
    given = (*preprocess.mean, *preprocess.std)
    if all(abs(a - b) < SAME for a, b in zip(given, (*usual.mean, *usual.std), strict=True)):
        return None
    return model.Clip(clip.net, replace(clip.architecture, preprocess=usual), clip.device)


def under_both(setting: Setting, seen: AuditResult, under: AuditResult, /) -> list[Finding]:
    """What shows under CLIP's own normalisation, and whether the model is better with it."""
    more = [
        found.model_copy(update={"message": f"Under CLIP's own mean and deviation of pixels: {found.message}"})
        for found in setting.findings(under)
        if found.rule in ("CC002", "CC003", "CC006")
    ]
    own, usual = sound_rate(seen), sound_rate(under)
    if own and usual and own.n and usual.value - own.value > setting.limits.max_accuracy_loss:
        words = (
            f"With the mean and std that came with the weights {100 * own.value:.1f} % of images are taken for their class, with CLIP's "
            f"own {100 * usual.value:.1f} %: the configuration is not the one that the model was trained with."
        )
        more.append(detect.unsearched("CC007", words))
    return more


def sound_rate(seen: AuditResult, /) -> detect.Rate | None:
    """How well the model knows the classes: accuracy, or how often an image and its caption are of one class; None if unknown."""
    if seen.agreement is not None:
        return seen.agreement
    return seen.measured.clean_accuracy if seen.measured.clean_accuracy.n else None


def side_findings(request: AuditRequest, images: data.CleanSet, /) -> list[Finding]:
    """Notes on the images; they inform and never change the verdict."""
    told = []
    if not request.own:
        told.append(detect.note("CC031", f"No images were given: {len(images)} bundled ones were measured on."))
    if images.skipped:
        named = ", ".join(f"{s.key} ({s.reason})" for s in images.skipped[:5])
        told.append(detect.note("CC030", f"{len(images.skipped)} images were unusable and skipped: {named}."))
    return told


def measurements_of(setting: Setting, seen: AuditResult, saved: Mapping[str, str], /) -> MeasurementsRecord:
    """The report's ``measurements``: of the model, and of the search; ``saved`` is where triggers were saved."""
    measured = seen.measured.record()
    if seen.search is None:
        return measured
    distances = {hit.found.spec: finite(hit.probe.distance) for hit in seen.search.targeted}
    searched = search_section(setting.request.effort, seen, setting.references, saved)
    return measured.model_copy(update={"search": searched, "distances": measured.distances | distances})


def compose(
    setting: Setting,
    tested: LoadedModel,
    images: data.CleanSet,
    seen: AuditResult,
    applied: policy.Applied,
    measurements: MeasurementsRecord,
    /,
    *,
    seconds: float,
) -> Report:
    """The report of an audit."""
    request, limits = setting.request, setting.limits
    made = Report(
        schema_version="1",
        tool=ToolRecord(name="clipclean", version=__version__),
        command="audit",
        model=inputs.described(request.model, tested),
        verdict=policy.verdict(applied.findings),
        suppressed=tuple(applied.suppressed),
        findings=tuple(applied.findings),
        suspects=detect.suspected_classes(seen.search, seen.measured.panel, limits=limits),
        measurements=measurements,
        policy=policy.record(request.policy, limits, applied),
        effort=request.effort,
        data=images.record().model_copy(update={"pairs": len(setting.eval_set.pixels)}),
        seed=request.seed,
        seconds=seconds,
        environment=provenance.versions() | provenance.hardware(str(tested.clip.device)),
        notes=tested.file.notes,
    )
    return made.model_copy(update={"labels": dict(request.labels)}) if request.labels else made


def search_section(
    effort: Effort, seen: AuditResult, references: detect.References | None, saved: Mapping[str, str], /
) -> SearchRecord:
    """``measurements.search``."""
    assert seen.search is not None  # noqa: S101 # the caller looked
    compared = CalibrationRecord(kind="none", name="", models=0)
    if references:
        compared = CalibrationRecord(kind=references.kind, name=references.name, models=references.models)
    return seen.search.record(effort=effort, seconds=seen.seconds, calibration=compared, saved=saved)


def shown_of(clip: model.Clip, eval_set: detect.EvalSet, seen: AuditResult, /, *, seed: int) -> example_images.Shown:
    """Example images and maps under the most abnormal trigger found, or else under the first of the panel."""
    if seen.search and seen.search.targeted:
        hit = seen.search.targeted[0]
        return example_images.look(
            clip, eval_set, hit.found, hit.candidate.target, text_classifier=seen.measured.text_classifier, seed=seed
        )
    if not eval_set.panel:
        return example_images.Shown()
    return example_images.look(
        clip, eval_set, eval_set.panel[0], None, text_classifier=seen.measured.text_classifier, seed=seed
    )


def drawn(eval_set: detect.EvalSet, seen: AuditResult, shown: example_images.Shown, /) -> PageImages:
    """The images of the page: what the most abnormal trigger looks like, and what the model answers under it."""
    found = seen.search.targeted[0].found if seen.search and seen.search.targeted else None
    return example_images.audited(shown, example_images.trigger_alone(found, eval_set.pixels) if found else [])
