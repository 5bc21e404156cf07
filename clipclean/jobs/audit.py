"""The audit of one checkpoint, top to bottom: read, measure, search for what nobody described, judge."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clipclean import __version__, checkpoint, data, detect, model
from clipclean.attack import trigger_files
from clipclean.config import policy
from clipclean.config import recipe as recipes
from clipclean.config.policy import Limits, Policy
from clipclean.errors import Inconclusive, UsageError
from clipclean.export import provenance
from clipclean.findings import Finding
from clipclean.jobs import estimate, inputs
from clipclean.jobs.inputs import LoadedModel, Opened, dumped
from clipclean.progress import Progress
from clipclean.report import Images, Report, composed, example_images

POINTED = 0.05  # excess of a panel trigger from which on the search looks at its class too


@dataclass(frozen=True)
class Request:
    """What the user asked for; paths are not yet looked at.

    ``data`` holds the pictures: ``own`` ones of the user, or else the bundled ones. ``pairs`` holds captions as well; an
    undecided activation is measured on them.
    """

    model: inputs.Source
    data: Path
    own: bool
    pairs: Path
    reference: inputs.Source | None
    policy: Policy
    effort: str
    arch: str | None
    classes: Path | Sequence[str] | None
    templates: Path | Sequence[str] | None
    seed: int
    device: str
    save_triggers: Path | None
    search: bool
    weights: str | None = None  # which of several sets in the file
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """The report, and the images of its page."""

    report: Report
    pictures: Images


@dataclass(frozen=True)
class Sight:
    """All that was seen of one model: numbers before any threshold."""

    measured: detect.Measurement
    hunt: detect.Hunt | None
    why_not: tuple[str, str] | None  # the rule that says why nothing was searched, and the words
    seconds: float  # of the search


def examine(request: Request, /, *, progress: Progress) -> Outcome:
    """Tell whether a checkpoint carries a backdoor, and which class it leads to.

    Raises:
        ClipcleanError: of the kind that tells the exit code; then nothing is written.
    """
    started = time.monotonic()
    recipe = recipes.load(recipes.DEFAULT)
    limits = policy.resolved(request.policy, recipe.audit)
    vocabulary = inputs.words(request.classes, request.templates)
    if request.save_triggers is not None:
        trigger_files.check_folder(request.save_triggers)
    device = inputs.device_of(request.device)
    progress("reading the model", 0, 1)
    opened = inputs.read(request.model, arch=request.arch, weights=request.weights)
    trusted = None if request.reference is None else read_reference(request, opened)
    progress("reading the model", 1, 1)
    cache = inputs.image_cache(recipe, opened.architecture)
    images = data.read_images(
        request.data, images=cache, progress=lambda done, total: progress("reading the pictures", done, total)
    )
    pairs = data.read(request.pairs, images=cache)
    progress("building the model", 0, 1)
    tested = inputs.build(opened, pairs, device=device)
    progress("building the model", 1, 1)
    shown = inputs.pictures(tested.clip, images, recipe, vocabulary=vocabulary)
    estimate.tell_audit(
        tested.clip, effort=request.effort if request.search else None, images=len(shown.pixels),
        captions=len(vocabulary.classes) * len(vocabulary.templates), panel=len(shown.panel), models=1 + (trusted is not None),
    )  # fmt: skip
    yardstick = (
        detect.stored(model.kind_of(tested.clip.architecture), classes=len(vocabulary.classes))
        if trusted is None
        else measured_yardstick(request, inputs.build(trusted, pairs, device=device), shown, progress)
    )
    seen = look(request, tested.clip, shown, yardstick, progress)
    found = [*findings(seen, yardstick, limits, pictures=len(shown.pixels)), *side_findings(request, images)]
    applied = policy.apply(request.policy, found, today=datetime.now(UTC).date(), model_sha256=tested.file.sha256)
    saved = trigger_files.save(seen.hunt.traces, request.save_triggers) if seen.hunt and request.save_triggers else {}
    result = compose(request, tested, images, shown, seen, yardstick, applied, limits, saved=saved)
    result["seconds"] = time.monotonic() - started
    seen_as = shown_of(tested.clip, shown, seen, seed=request.seed)
    result["measurements"] |= dict(seen_as.maps)
    return Outcome(composed(result), drawn(shown, seen, seen_as))


def read_reference(request: Request, tested: Opened, /) -> Opened:
    """The model to compare with, which must be of the tested one's kind and another than it.

    Raises:
        UsageError: it is of another kind, or has the same weights.
        RefusedInput: the file is unreadable, unsafe or of an unsupported kind.
    """
    assert request.reference is not None  # noqa: S101 # the caller looked
    trusted = inputs.read(request.reference, arch=request.arch)
    kinds = model.kind_of(trusted.architecture), model.kind_of(tested.architecture)
    if kinds[0] != kinds[1]:
        raise UsageError(
            f"The reference {inputs.located(request.reference).name} is a {kinds[0]} model, and the tested one {kinds[1]}: what they need "
            "cannot be compared. Name a clean model of the same architecture."
        )
    if checkpoint.digest(trusted.file.tensors) == checkpoint.digest(tested.file.tensors):
        raise UsageError(
            f"The reference {inputs.located(request.reference).name} has the same weights as the tested model, so nothing in it could look "
            "abnormal. Name another model, one that you trust."
        )
    return trusted


def look(
    request: Request,
    clip: model.Clip,
    evidence: detect.Evidence,
    yardstick: detect.Yardstick | None,
    progress: Progress,
    /,
    *,
    what: str = "",
) -> Sight:
    """Measure and search one model, as a request asks."""
    if not request.search:
        skipped = ("CC021", "The search was skipped, as --no-search asks.")
        return Sight(measured(clip, evidence, progress, what=what), None, skipped, 0.0)
    return searched(
        clip, evidence, yardstick, progress, effort=request.effort, pointed=(), seed=request.seed, what=what
    )  # fmt: skip


def measured(clip: model.Clip, evidence: detect.Evidence, progress: Progress, /, *, what: str) -> detect.Measurement:
    """What the panel and the named triggers do to one model."""
    return detect.measure(
        clip.embed_images, clip.embed_texts, evidence,
        progress=lambda done, total: progress(f"measuring{what}", done, total),
    )  # fmt: skip


def searched(
    clip: model.Clip,
    evidence: detect.Evidence,
    yardstick: detect.Yardstick | None,
    progress: Progress,
    /,
    *,
    effort: str,
    pointed: Sequence[int],
    seed: int,
    what: str,
) -> Sight:
    """Measure and search one model; a search that cannot be made is no error, but says why.

    ``pointed`` are places of classes that are searched for in any case, before those that the panel points at.
    """
    found = measured(clip, evidence, progress, what=what)
    started = time.monotonic()
    panel = [evidence.classes.index(probe.target) for probe in found.panel if probe.excess_interval[0] > POINTED]
    try:
        with model.frozen(clip.net):
            hunt = detect.hunt(
                clip.encode_images, evidence.pixels.to(clip.device), labels=evidence.labels, bank=found.bank,
                classes=evidence.classes, scale=clip.logit_scale().item(), pointed=list(dict.fromkeys([*pointed, *panel])),
                effort=detect.Effort(**recipes.EFFORTS[effort].model_dump()), yardstick=yardstick, knn=evidence.knn,
                batch_size=evidence.batch_size, seed=seed,
                progress=lambda done, total: progress(f"searching{what}", done, total),
            )  # fmt: skip
    except detect.NoSearch as error:
        return Sight(found, None, (error.rule, str(error)), time.monotonic() - started)
    return Sight(found, hunt, None, time.monotonic() - started)


def measured_yardstick(
    request: Request, trusted: LoadedModel, evidence: detect.Evidence, progress: Progress, /
) -> detect.Yardstick:
    """What one clean model needs, searched just as the tested one is.

    Raises:
        Inconclusive: nothing can be searched in it.
    """
    assert request.reference is not None  # noqa: S101 # the caller looked
    seen = look(request, trusted.clip, evidence, None, progress, what=" the reference")
    if seen.hunt is None:
        words = seen.why_not[1] if seen.why_not else ""
        raise Inconclusive(f"The reference {inputs.located(request.reference).name} cannot be compared with: {words}")
    return detect.yardstick("reference", inputs.located(request.reference).name, [detect.smallest(seen.hunt)])


def findings(seen: Sight, yardstick: detect.Yardstick | None, limits: Limits, /, *, pictures: int) -> list[Finding]:
    """What was seen on so many pictures, against the thresholds."""
    found = [*detect.audit(seen.measured, limits=limits)]
    if seen.why_not:
        found.append(detect.unsearched(*seen.why_not))
    if seen.hunt and pictures < limits.min_images:
        words = f"{pictures} pictures are too few to judge what was found: at least {limits.min_images} are needed."
        found.append(detect.unsearched("CC020", f"{words} Give more by --data."))
    if seen.hunt:
        found += detect.searched(seen.hunt, seen.measured.panel, pictures=pictures, limits=limits)
        if yardstick is None:
            found.append(detect.uncalibrated())
    return found


def side_findings(request: Request, images: data.CleanSet, /) -> list[Finding]:
    """Notes on the pictures; they inform and never change the verdict."""
    told = []
    if not request.own:
        told.append(detect.note("CC031", f"No images were given: {len(images)} bundled ones were measured on."))
    if images.skipped:
        named = ", ".join(f"{s.key} ({s.reason})" for s in images.skipped[:5])
        told.append(detect.note("CC030", f"{len(images.skipped)} images were unusable and skipped: {named}."))
    return told


def compose(
    request: Request,
    tested: LoadedModel,
    images: data.CleanSet,
    evidence: detect.Evidence,
    seen: Sight,
    yardstick: detect.Yardstick | None,
    applied: policy.Applied,
    limits: Limits,
    /,
    *,
    saved: dict[str, str],
) -> dict[str, Any]:
    """The report, as the design lays it out."""
    measurements = seen.measured.as_dict()
    if seen.hunt:
        measurements["search"] = search_section(request.effort, seen, yardstick, saved)
        measurements["distances"] |= {trace.found.spec: trace.probe.distance for trace in seen.hunt.traces}
    return {
        "schema_version": "1",
        "tool": {"name": "clipclean", "version": __version__},
        "command": "audit",
        "model": inputs.described(request.model, tested),
        **({"labels": dict(request.labels)} if request.labels else {}),
        "verdict": policy.verdict(applied.findings),
        "findings": [dumped(found) for found in applied.findings],
        "suppressed": [dumped(found) for found in applied.suppressed],
        "suspects": detect.suspected_classes(seen.hunt, seen.measured.panel, limits=limits),
        "measurements": measurements,
        "policy": policy.record(request.policy, limits),
        "effort": request.effort,
        "data": images.as_dict() | {"pairs": len(evidence.pixels)},
        "seed": request.seed,
        "environment": provenance.versions() | provenance.hardware(str(tested.clip.device)),
        "notes": list(tested.file.notes),
    }


def search_section(
    effort: str, seen: Sight, yardstick: detect.Yardstick | None, saved: dict[str, str], /
) -> dict[str, Any]:
    """``measurements.search``."""
    assert seen.hunt is not None  # noqa: S101 # the caller looked
    made = seen.hunt.as_dict()
    for entry, trace in zip(made["found"], seen.hunt.traces, strict=True):
        entry["file"] = saved.get(trace.found.spec)
    compared = {"kind": "none", "name": "", "models": 0}
    if yardstick:
        compared = {"kind": yardstick.kind, "name": yardstick.name, "models": yardstick.models}
    return {"effort": effort, "seconds": seen.seconds, "calibration": compared, **made}


def shown_of(clip: model.Clip, evidence: detect.Evidence, seen: Sight, /, *, seed: int) -> example_images.Shown:
    """Example images and maps under the most abnormal trigger found, or else under the first of the panel."""
    if seen.hunt and seen.hunt.traces:
        trace = seen.hunt.traces[0]
        return example_images.look(
            clip, evidence, trace.found, trace.candidate.target, bank=seen.measured.bank, seed=seed
        )
    if not evidence.panel:
        return example_images.Shown()
    return example_images.look(clip, evidence, evidence.panel[0], None, bank=seen.measured.bank, seed=seed)


def drawn(evidence: detect.Evidence, seen: Sight, shown: example_images.Shown, /) -> Images:
    """The images of the page: what the most abnormal trigger looks like, and what the model answers under it."""
    found = seen.hunt.traces[0].found if seen.hunt and seen.hunt.traces else None
    return example_images.audited(shown, example_images.trigger_alone(found, evidence.pixels) if found else [])
