"""What a job is going to do, and how long it may take; a dry run tells it, and measures and writes nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clipclean import model, train
from clipclean.attack import power, triggers
from clipclean.config import effort as efforts
from clipclean.config.recipe import Recipe, total_steps
from clipclean.config.roles import Role
from clipclean.detect import forward
from clipclean.jobs import estimate, prospects
from clipclean.jobs.audit_inputs import AuditInputs
from clipclean.jobs.cleaning_inputs import CleaningInputs
from clipclean.jobs.estimate import Estimate, JobSize, Stage, Work
from clipclean.jobs.prospects import Prospect
from clipclean.jobs.shared_inputs import SharedInputs
from clipclean.untrusted import plural


@dataclass(frozen=True)
class Plan:
    """The steps of a job, in their order, without running them."""

    facts: Mapping[str, str]  # what was read, by name
    steps: tuple[str, ...]  # what would be done
    writes: tuple[str, ...]  # files and folders that would be written
    estimate: Estimate  # seconds and bytes


def plan_cleaning(
    inputs: CleaningInputs,
    candidates: Sequence[Sequence[Recipe]],
    /,
    *,
    minutes: float | None,
    folder: Path,
) -> Plan:
    """The plan of a cleaning that has these minutes and writes into a folder; ``candidates`` holds the recipes that ``auto`` may try."""
    stages = stages_of_cleaning(inputs, candidates, screened=inputs.screened_pairs)
    expected = estimate_cleaning(inputs, stages, candidates)
    estimate.warn_of_time(expected, minutes)
    # auto measures its candidates itself
    evidence = {} if inputs.recipe.traits.chooses else {"evidence": str(inputs.evidence)}
    facts = _model_facts(inputs) | prospects.facts_of_cleaning(inputs) | evidence
    return Plan(facts, tuple(stage.words for stage in stages), (f"{folder}/",), expected)


def stages_of_cleaning(
    inputs: CleaningInputs, candidates: Sequence[Sequence[Recipe]], /, *, screened: int = 0
) -> list[Stage]:
    """What a cleaning does, in its order, with the screening of so many pairs; ``candidates`` holds the recipes that ``auto`` may try."""
    recipe, size, shared, searches = inputs.recipe, size_of(inputs), inputs.shared, inputs.searches
    measure, search, reference, variants = estimate.measuring(size, is_audit=searches), Work(), Work(), Work()
    if searches:
        effort = efforts.EFFORTS[recipe.auto.effort]
        search, reference = (estimate.searching(effort, size, is_reference=is_clean) for is_clean in (False, True))
        reference = len(shared.clean_models) * (measure + reference)
        # The first audit looks for every variant of the known triggers, beyond those that each tries.
        variants = estimate.looks(forward.BRIEF_IMAGES * (len(triggers.GRID) - size.grid)) if size.panel else Work()
    audit = (2 if inputs.loaded.clip.clip_normalised() else 1) * (measure + search)
    workload = f"{plural(size.images, 'image')}, {_trigger_words(size.suspected, size.panel)}, {len(shared.vocabulary.classes):,} classes"
    others = plural(len(shared.clean_models), "clean model")
    cleaning = _stages_of_choosing if recipe.traits.chooses else _stages_of_recipe
    return [
        *([Stage(f"screen {screened:,} pairs for suspicious ones", estimate.screening(screened))] if screened else []),
        *([Stage(f"search {others} to compare with, an audit each", reference)] if shared.clean_models else []),
        *(Stage(f"compare with {stored.name}") for stored in shared.stored.references),
        Stage(f"{'audit' if searches else 'measure'} before: {workload}", measure + variants),
        *([Stage(f"search for unknown triggers, effort {recipe.auto.effort}", search)] if searches else []),
        *(_stages_beside(shared, inputs.loaded.clip, measure + search) if searches else []),
        *cleaning(inputs, candidates, size, audit if searches else measure),
        Stage(f"export as {', '.join(inputs.export_options.formats)}, read it back and compare"),
    ]


def estimate_cleaning(
    inputs: CleaningInputs, stages: Sequence[Stage], candidates: Sequence[Sequence[Recipe]], /
) -> Estimate:
    """The estimate of the stages of a cleaning; ``candidates`` holds the recipes that ``auto`` may try."""
    recipe = inputs.recipe
    trained = [step for recipes in candidates for step in recipes] or [recipe]
    effort_of_method = recipe.unlearn.effort if recipe.traits.searches else None
    effort = recipe.auto.effort if inputs.searches else effort_of_method
    return estimate.estimated(inputs.loaded.clip, stages, precision=_precision(inputs), effort=effort, recipes=trained)


def tell_cleaning(
    inputs: CleaningInputs, candidates: Sequence[Sequence[Recipe]], /, *, minutes: float | None = None
) -> Prospect:
    """Report what a cleaning works with, and its estimate, if somebody listens, and whether it fits into the minutes that it has.

    Returns how it can end, with the estimate where one was made.
    """
    clip, precision = inputs.loaded.clip, _precision(inputs)
    prospects.tell(prospects.facts_of_cleaning(inputs))
    stages = stages_of_cleaning(inputs, candidates)
    expected = estimate.tell(
        clip, lambda: estimate_cleaning(inputs, stages, candidates), precision=precision, minutes=minutes
    )
    return prospects.of_cleaning(inputs)._replace(expected=expected)


def seconds_of_measuring(inputs: CleaningInputs, /) -> float:
    """How long one measurement of the model takes."""
    return estimate.estimated(
        inputs.loaded.clip, [Stage("measure", estimate.measuring(size_of(inputs)))], precision="fp32"
    ).seconds


def _precision(inputs: CleaningInputs) -> str:
    return train.resolved(inputs.precision, inputs.loaded.clip.net, inputs.loaded.clip.device)


def size_of(inputs: CleaningInputs, /) -> JobSize:
    """The size of a cleaning."""
    recipe, vocabulary, panel = inputs.recipe, inputs.shared.vocabulary, inputs.tries_panel
    tries_triggers = inputs.searches or panel or inputs.shared.named_suspicions
    known_triggers = triggers.known(recipe.audit.panel_seed, are_tried=panel)
    are_asked = tries_triggers or inputs.to_measure.labels is not None
    return JobSize(
        images=min(len(inputs.to_measure.pairs), recipe.audit.images),
        classes=len(vocabulary.classes),
        templates=len(vocabulary.templates) if are_asked else 0,
        panel=len(known_triggers.panel),
        suspected=len(inputs.shared.named_suspicions),
        grid=len(known_triggers.grid) if inputs.shared.compares else 0,
        of_whole_image=0 if inputs.shared.compares else len(known_triggers.of_whole_image),
        pairs=len(inputs.to_train.pairs),
    )


def _last_stages(inputs: CleaningInputs, audit: Work) -> list[Stage]:
    """How each cleaning ends: the walk back, and the audit of the result."""
    recipe = inputs.recipe
    half = 100 * recipe.audit.max_accuracy_loss / 2
    returning = f"if more than {half:.1f} points of accuracy are lost: walk back towards the original weights, until a trigger returns"
    after = "audit the cleaned model like the original" if inputs.searches else "measure after: the same"
    return [*([Stage(returning)] if recipe.audit.walk_back else []), Stage(after, audit)]


def _stages_of_recipe(
    inputs: CleaningInputs, _candidates: Sequence[Sequence[Recipe]], size: JobSize, audit: Work
) -> list[Stage]:
    """The stages between the audit of the original and the export, by one recipe; ``audit`` is the work of that of the result."""
    trained = estimate.training(inputs.recipe, size) + estimate.walking_back(size, triggers=1)
    return [Stage(_training_words(inputs.recipe, size.pairs), trained), *_last_stages(inputs, audit)]


def _stages_of_choosing(
    inputs: CleaningInputs, candidates: Sequence[Sequence[Recipe]], size: JobSize, audit: Work
) -> list[Stage]:
    """The same by ``auto``: every candidate tried on the copy, and the longest one run.

    Where a trigger shows, nothing is planted, and the first candidate is enough.
    """
    own, again = inputs.recipe.auto, ", and search it again" if inputs.shared.compares else ""
    trying = estimate.work_of_choosing(inputs.recipe, candidates, size)
    planted = f"if a class is suspected and no trigger acts: plant {own.test_backdoors} test backdoors in a copy, to try candidates on"
    tested = f"finetune a copy on the clean pairs for {own.refinetune_steps} steps, and measure what returns"
    last_stages = _last_stages(inputs, 2 * audit if again else audit)
    attempts = [
        Stage(
            f"candidate {number} of {len(candidates)}{f' ({occasion})' if (occasion := Role.of(steps).occasion) else ''}: {name}: "
            f"{'; then '.join(_training_words(step, size.pairs) for step in steps)}",
            work,
            work,
        )
        for number, (name, steps, work) in enumerate(zip(own.candidates, candidates, trying.on_copy, strict=True), 1)
    ]
    return [
        *([Stage(planted, trying.planting, trying.planting)] if own.test_backdoors else []),
        Stage(
            "clean by these candidates, one after the other, until one leaves nothing open; the estimate counts all",
            trying.longest,
            trying.longest + -1 * trying.first,
        ),
        *attempts,
        *(stage._replace(words=f"after each candidate: {stage.words}") for stage in last_stages),
        *([Stage(f"after each candidate: {tested}{again}")] if own.refinetune_steps else []),
    ]


def _training_words(recipe: Recipe, pairs: int) -> str:
    """What a recipe runs on so many pairs: its steps, as many as there can be, and how far they go."""
    training, steps = recipe.train, total_steps(recipe, pairs=pairs)
    rate = (
        f"learning rate {training.lr:g}"
        if training.lr
        else f"as far as {training.walk:g} times the size of the weights"
    )
    if recipe.traits.searches:
        verb = "search and unlearn" if recipe.unlearn.search else "unlearn"
        verb += " towards the base" * recipe.undoes
        return f"{verb}: at most {steps // recipe.unlearn.steps} rounds of {recipe.unlearn.steps} steps, {rate}"
    epochs = steps / max(1, pairs // training.batch_size)  # as many as are run: max_steps may end them early
    return f"train: {steps:,} steps of {training.batch_size} pairs ({epochs:.3g} epochs), {rate}"


def _trigger_words(user_count: int, known_count: int) -> str:
    """How many triggers are tried before any search."""
    counts = [(user_count, "named trigger"), (known_count, "known trigger")]
    return " and ".join(plural(number, noun) for number, noun in counts if number) or "no known trigger"


def _stages_beside(
    shared: SharedInputs, clip: model.Clip, audit: Work, saved_early: Work | None = None, /
) -> list[Stage]:
    """What an audit of so much work does beside its measurements and its search."""
    own = Stage("measure and search the same under CLIP's own normalisation of pixels", audit, saved_early)
    base = (
        [Stage(f"try on the base {shared.base.checkpoint.source.name} what acts on the model")] if shared.base else []
    )
    return [*([own] if clip.clip_normalised() else []), *base]


def plan_audit(inputs: AuditInputs, /, *, minutes: float | None) -> Plan:
    """The plan of an audit that has these minutes."""
    stages = stages_of_audit(inputs)
    expected = estimate_audit(inputs, stages)
    estimate.warn_of_time(expected, minutes)
    writes = () if inputs.trigger_folder is None else (f"{inputs.trigger_folder}/",)
    return Plan(
        _model_facts(inputs) | prospects.facts_of_audit(inputs),
        tuple(stage.words for stage in stages),
        writes,
        expected,
    )


def stages_of_audit(inputs: AuditInputs, /) -> list[Stage]:
    """What an audit does, in its order, with the clean models beside it, and the copies with test backdoors."""
    eval_set, shared, clip = inputs.eval_set, inputs.shared, inputs.loaded.clip
    size, effort = JobSize.of(eval_set), efforts.EFFORTS[inputs.settings.effort]
    measure, search, reference, quiet = estimate.measuring(size, is_audit=True), Work(), Work(), None
    if inputs.settings.search:
        search, reference = (estimate.searching(effort, size, is_reference=is_clean) for is_clean in (False, True))
        quiet = None if inputs.planting or shared.compares else estimate.work_left_out_if_quiet(effort, size)
    planting = Work()
    if inputs.planting:
        planting_settings = power.planting_of(pairs=len(inputs.planting))
        planting = power.TEST_BACKDOORS * (
            measure + search + Work(pairs=planting_settings.steps * planting_settings.batch_size)
        )
    most = effort.cost(len(eval_set.vocabulary.classes))
    searched = f"search for unknown triggers, effort {inputs.settings.effort}: at most {most:,} passes of an image"
    planted = f"plant {power.TEST_BACKDOORS} test backdoors, each in a copy, and search each copy alike; another for one that does not take"
    triggers = _trigger_words(len(eval_set.plan.suspicions), len(eval_set.plan.triggers.panel))
    return [
        Stage(f"measure: {triggers}, {len(eval_set.vocabulary.classes):,} classes", measure),
        Stage(searched if inputs.settings.search else "no search, so the verdict is never pass", search, quiet),
        *_stages_beside(shared, clip, measure + search, quiet),
        Stage(_comparison_words(inputs), len(shared.clean_models) * (measure + reference)),
        *([Stage(planted, planting)] if inputs.has_power else []),
    ]


def estimate_audit(inputs: AuditInputs, stages: Sequence[Stage], /) -> Estimate:
    """The estimate of the stages of an audit."""
    clip, settings = inputs.loaded.clip, inputs.settings
    precision = train.resolved("auto", clip.net, clip.device)
    effort = settings.effort if settings.search else None
    return estimate.estimated(clip, stages, precision=precision, effort=effort)


def tell_audit(inputs: AuditInputs, /, *, minutes: float | None = None) -> Prospect:
    """Report what an audit works with, and its estimate, if somebody listens, and whether it fits into the minutes that it has.

    Returns how it can end, with the estimate where one was made.
    """
    clip = inputs.loaded.clip
    prospects.tell(prospects.facts_of_audit(inputs))
    precision = "bf16" if inputs.settings.search and model.has_bfloat16(clip.device) else "fp32"
    stages = stages_of_audit(inputs)
    expected = estimate.tell(clip, lambda: estimate_audit(inputs, stages), precision=precision, minutes=minutes)
    return prospects.of_audit(inputs)._replace(expected=expected)


def _comparison_words(inputs: AuditInputs, /) -> str:
    """The clean models that the result would be compared with."""
    shared = inputs.shared
    if shared.clean_models:
        return f"search {plural(len(shared.clean_models), 'clean model')} too, and compare"
    if shared.stored.references:
        return f"compare with {', '.join(stored.name for stored in shared.stored.references)}"
    none = "compare with nothing: no clean model is known"
    return none if inputs.has_power else f"{none}, so the verdict is never pass (--reference, --base or --power)"


def _model_facts(job_inputs: CleaningInputs | AuditInputs) -> dict[str, str]:
    clip = job_inputs.loaded.clip
    numbers = model.parameter_count(clip.net) / 1e6
    return {
        "model": f"{clip.architecture.name}, {numbers:.1f} M parameters, sha256 {job_inputs.loaded.file.sha256[:12]}…",
        "device": str(clip.device),
    }
