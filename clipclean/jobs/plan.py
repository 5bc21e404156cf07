"""Dry runs: reads and checks everything like the job itself, measures and writes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from clipclean import model, train
from clipclean.attack import triggers
from clipclean.config import recipe as recipes
from clipclean.config.methods import METHODS
from clipclean.config.recipe import total_steps
from clipclean.jobs import audit_inputs, estimate, inputs, prepare
from clipclean.jobs.audit_inputs import AuditRequest
from clipclean.progress import Progress


@dataclass(frozen=True)
class Plan:
    """The steps of a job, in their order, without running them.

    Attributes:
        facts: what was read, by name.
        steps: what would be done.
        writes: files and folders that would be written.
        estimate: seconds and bytes.
        faster: what would make it faster, where it takes more than an hour.
    """

    facts: Mapping[str, str]
    steps: tuple[str, ...]
    writes: tuple[str, ...]
    estimate: estimate.Estimate
    faster: tuple[str, ...]


def of_sanitize(request: prepare.SanitizeRequest, /, *, progress: Progress) -> Plan:
    """The plan of a cleaning; raises what preparing one raises."""
    ready = prepare.prepare(replace(request, screen="off"), progress=progress)  # screening embeds every pair
    clip, recipe, pairs = ready.loaded.clip, ready.request.recipe, len(ready.samples.pairs)
    panel = len(triggers.panel(recipe.audit.panel_seed)) if request.audit else 0
    images = min(len(ready.shown.pairs), recipe.audit.images)
    screened = len(ready.clean.pairs) if prepare.screens(request, ready.clean) else 0
    vocabulary = ready.vocabulary
    captions = len(vocabulary.classes) * len(vocabulary.templates)
    taken = train.resolved(ready.request.precision, clip.net, clip.device)
    expected = estimate.of_sanitize(
        clip,
        recipe,
        estimate.pace(clip, is_reduced=taken == "bf16"),
        estimate.CleaningSize(
            pairs=pairs,
            images=images,
            captions=captions,
            panel=panel + len(ready.named),
            screened=screened,
        ),
    )
    measured = (
        f"{images} images, {panel} known and {len(ready.named)} suspected triggers, {len(vocabulary.classes)} classes"
    )
    has_files = request.out.is_dir() and any(request.out.iterdir()) and not request.force
    return Plan(
        {
            **_of_model(ready.loaded, clip),
            "data": f"{len(ready.clean.pairs):,} pairs: {pairs:,} to train on, {len(ready.shown.pairs):,} to measure on",
            "recipe": f"{recipe.name}: {METHODS[recipe.method].says}",
            "evidence": str(ready.standing),
        },
        (
            *([f"screen {screened:,} pairs for suspicious ones"] if screened else []),
            *([f"search {len(ready.trusted)} clean model(s) to compare with, an audit each"] if ready.trusted else []),
            f"measure before: {measured}",
            _cleaning(recipe, pairs),
            "measure after: the same",
            f"export as {', '.join(request.wanted.formats)}, read it back and compare",
        ),
        (f"{request.out}/{' (has files: refused without --force)' if has_files else ''}",),
        expected,
        tuple(estimate.faster(expected, effort=None, device=clip.device.type)),
    )


def _cleaning(recipe: recipes.Recipe, pairs: int) -> str:
    """The step between the measurements."""
    method, rate = METHODS[recipe.method], f"learning rate {recipe.train.lr:g}"
    if method.chooses:
        few = f"plant {recipe.auto.canaries} test backdoors, and try up to {len(recipe.auto.ladder)} recipes on them"
        return f"{few}; the time below is that of one of them"
    if method.searches:
        return f"search and unlearn: {recipe.unlearn.max_rounds} rounds of {recipe.unlearn.steps} steps at most, {rate}"
    steps = total_steps(recipe, pairs=pairs)
    return f"train: {steps:,} steps of {recipe.train.batch_size} pairs ({recipe.train.epochs:g} epochs), {rate}"


def of_audit(request: AuditRequest, /, *, progress: Progress) -> Plan:
    """The plan of an audit; raises what reading its inputs raises."""
    read = audit_inputs.read(request, progress)
    clip, vocabulary, shown = read.tested.clip, read.vocabulary, read.eval_set
    effort, models = request.effort if request.search else None, 1 + len(read.trusted)
    size = estimate.AuditSize.of(shown, effort=effort, models=models)
    expected = estimate.of_audit(clip, estimate.pace(clip), size)
    passes = estimate.passes(recipes.EFFORTS[request.effort], classes=len(vocabulary.classes))
    searched = f"search for unknown triggers, effort {effort}: at most {passes:,} passes of an image"
    return Plan(
        {
            **_of_model(read.tested, clip),
            "data": f"{len(read.images.pairs):,} images{'' if request.own else ' (bundled)'}, {len(shown.pixels)} measured on",
        },
        (
            f"measure: {len(shown.panel)} known triggers, {len(vocabulary.classes)} classes",
            searched if request.search else "no search, so the verdict is never pass",
            _compared(request, models=models),
        ),
        () if request.save_triggers is None else (f"{request.save_triggers}/",),
        expected,
        tuple(estimate.faster(expected, effort=effort, device=clip.device.type)),
    )


def _compared(request: AuditRequest, /, *, models: int) -> str:
    """The clean models that the result would be compared with."""
    if models > 1:
        return f"search {models - 1} clean model(s) too, and compare"
    if request.references:
        return f"compare with {', '.join(path.name for path in request.references)}"
    return "compare with nothing: no clean model is known, so the verdict is never pass (--reference)"


def _of_model(loaded: inputs.LoadedModel, clip: model.Clip) -> dict[str, str]:
    numbers = model.parameter_count(clip.net) / 1e6
    return {
        "model": f"{clip.architecture.name}, {numbers:.1f} M parameters, sha256 {loaded.file.sha256[:12]}…",
        "device": str(clip.device),
    }
