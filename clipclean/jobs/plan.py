"""What a job is going to do, and how long it may take; a dry run tells it, and measures and writes nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clipclean import model, requests, train
from clipclean.attack import power, triggers
from clipclean.config import effort as efforts
from clipclean.config.recipe import Recipe, total_steps
from clipclean.jobs import clean_pairs, estimate
from clipclean.jobs.estimate import Estimate, Size, Work
from clipclean.jobs.prepare import CleaningInputs
from clipclean.jobs.searching import clip_normalised
from clipclean.jobs.shared_inputs import AuditInputs, SharedInputs
from clipclean.progress import say
from clipclean.untrusted import plural

NO_SEARCH, NO_CLEAN_MODEL = "no search", "no clean model to compare with (--reference)"  # why a run cannot pass


@dataclass(frozen=True)
class Plan:
    """The steps of a job, in their order, without running them."""

    facts: Mapping[str, str]  # what was read, by name
    steps: tuple[str, ...]  # what would be done
    writes: tuple[str, ...]  # files and folders that would be written
    estimate: Estimate  # seconds and bytes


def plan_cleaning(request: requests.Sanitize, inputs: CleaningInputs, ladder: Sequence[Sequence[Recipe]], /) -> Plan:
    """The plan of a cleaning; ``ladder`` holds the recipes that ``auto`` may try."""
    clip, recipe = inputs.loaded.clip, inputs.recipe
    screened = pairs_to_screen(request, inputs)
    size = size_of(inputs)
    expected = estimate_cleaning(inputs, ladder, screened=screened)
    estimate.warn_of_time(expected, request.max_minutes)
    classes, others = len(inputs.shared.vocabulary.classes), len(inputs.shared.clean_models)
    measured = f"{plural(size.images, 'image')}, {_trigger_words(size.named, size.panel)}, {classes:,} classes"
    return Plan(
        {
            **_model_facts(inputs),
            **_cleaning_facts(inputs),
            **(
                {} if recipe.traits.chooses else {"evidence": str(inputs.standing)}
            ),  # auto measures its candidates itself
        },
        (
            *([f"screen {screened:,} pairs for suspicious ones"] if screened else []),
            *([f"search {plural(others, 'clean model')} to compare with, an audit each"] if others else []),
            *(f"compare with {path.name}" for path in request.references),
            f"{'audit' if request.search else 'measure'} before: {measured}",
            *([f"search for unknown triggers, effort {recipe.auto.effort}"] if request.search else []),
            *(_steps_beside(inputs.shared, clip) if request.search else []),
            *_cleaning_steps(inputs, ladder),
            f"export as {', '.join(inputs.wanted.formats)}, read it back and compare",
        ),
        (f"{request.out}/",),
        expected,
    )


def pairs_to_screen(request: requests.Sanitize, inputs: CleaningInputs, /) -> int:
    """How many pairs a request screens; raises what ``clean_pairs.screening_rule`` raises."""
    clean = inputs.clean
    return 0 if clean_pairs.screening_rule(request.screen, clean) is None else len(clean.pairs)


def estimate_cleaning(inputs: CleaningInputs, ladder: Sequence[Sequence[Recipe]], /, *, screened: int = 0) -> Estimate:
    """The estimate of a cleaning, and of the screening of so many pairs; ``ladder`` holds the recipes that ``auto`` may try."""
    recipe, size, spared, references = inputs.recipe, size_of(inputs), None, len(inputs.shared.clean_models)
    normalisations = _normalisation_count(inputs.loaded.clip)
    effort: str | None = recipe.auto.effort if inputs.searches else None
    trained = [candidate for recipes in ladder for candidate in recipes] or [recipe]
    if recipe.traits.chooses:
        work, least = (
            estimate.choosing(
                recipe,
                ladder,
                size,
                references=references,
                stored=len(inputs.shared.stored.measured),
                normalisations=normalisations,
                is_least=is_least,
            )
            for is_least in (False, True)
        )
        spared = work + -1 * least
    else:
        work = estimate.training(recipe, size) + estimate.walking_back(size, triggers=1)
        work += (
            estimate.audits(recipe, size, count=2 * normalisations, references=references)
            if effort
            else 2 * estimate.measuring(size)
        )
        effort = effort or (recipe.unlearn.effort if recipe.traits.searches else None)
    work, precision = work + estimate.screening(screened), _precision(inputs)
    return estimate.estimated(
        inputs.loaded.clip, work, precision=precision, effort=effort, recipes=trained, spared=spared
    )


def tell_cleaning(
    inputs: CleaningInputs, ladder: Sequence[Sequence[Recipe]], /, *, minutes: float | None = None
) -> None:
    """Report what a cleaning works with, and its estimate, if somebody listens, and whether it fits into the minutes that it has."""
    clip, precision = inputs.loaded.clip, _precision(inputs)
    _tell_facts(_cleaning_facts(inputs))
    estimate.tell(clip, lambda: estimate_cleaning(inputs, ladder), precision=precision, minutes=minutes)


def seconds_of_measuring(inputs: CleaningInputs, /) -> float:
    """How long one measurement of the model takes."""
    return estimate.estimated(inputs.loaded.clip, estimate.measuring(size_of(inputs)), precision="fp32").seconds


def _precision(inputs: CleaningInputs) -> str:
    return train.resolved(inputs.precision, inputs.loaded.clip.net, inputs.loaded.clip.device)


def size_of(inputs: CleaningInputs, /) -> Size:
    """The size of a cleaning."""
    recipe, words, panel = inputs.recipe, inputs.shared.vocabulary, inputs.tries_panel
    tries_triggers = inputs.searches or panel or inputs.shared.named
    are_asked = tries_triggers or inputs.to_measure.labels is not None
    return Size(
        images=min(len(inputs.to_measure.pairs), recipe.audit.images),
        classes=len(words.classes),
        templates=len(words.templates) if are_asked else 0,
        panel=len(triggers.panel(recipe.audit.panel_seed)) if panel else 0,
        named=len(inputs.shared.named),
        grid=len(triggers.grid(recipe.audit.panel_seed)) if inputs.shared.compares and panel else 0,
        pairs=len(inputs.to_train.pairs),
    )


def _cleaning_steps(inputs: CleaningInputs, ladder: Sequence[Sequence[Recipe]]) -> list[str]:
    """The steps between the first measurement and the export; ``ladder`` holds the candidates of ``auto``."""
    recipe, pairs, own = inputs.recipe, len(inputs.to_train.pairs), inputs.recipe.auto
    half = 100 * recipe.audit.max_accuracy_loss / 2
    returning = f"if more than {half:.1f} points of accuracy are lost: walk back towards the original weights, until a trigger returns"
    back = [returning] if recipe.audit.walk_back else []
    after = "audit the cleaned model like the original" if inputs.searches else "measure after: the same"
    if not recipe.traits.chooses:
        return [_training_words(recipe, pairs), *back, after]
    planted = f"if a class is suspected and no trigger acts: plant {own.canaries} test backdoors in a copy, to try candidates on"
    tested = f"finetune a copy on the clean pairs for {own.rebound_steps} steps, and measure what returns"
    again = ", and search it again" if inputs.shared.compares else ""
    candidates = [
        f"candidate {number} of {len(ladder)}{_condition(recipes)}: {name}: {'; then '.join(_training_words(step, pairs) for step in recipes)}"
        for number, (name, recipes) in enumerate(zip(own.ladder, ladder, strict=True), 1)
    ]
    return [
        *([planted] if own.canaries else []),
        "clean by these candidates, one after the other, until one leaves nothing open; the estimate counts all",
        *candidates,
        *(f"after each candidate: {step}" for step in (*back, after)),
        *([f"after each candidate: {tested}{again}"] if own.rebound_steps else []),
    ]


def _condition(recipes: Sequence[Recipe]) -> str:
    """When a candidate is tried, where that depends on the audit."""
    return " (if a class is suspected)" if any(recipe.traits.searches for recipe in recipes) else ""


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
        return f"{verb}: at most {steps // recipe.unlearn.steps} rounds of {recipe.unlearn.steps} steps, {rate}"
    if recipe.traits.undoes:
        return f"go back towards the base: {plural(steps, 'step')}, {rate}"
    epochs = steps / max(1, pairs // training.batch_size)  # as many as are run: max_steps may end them early
    return f"train: {steps:,} steps of {training.batch_size} pairs ({epochs:.3g} epochs), {rate}"


def _trigger_words(named: int, known: int) -> str:
    """How many triggers are tried before any search."""
    counts = [(named, "named trigger"), (known, "known trigger")]
    return " and ".join(plural(number, noun) for number, noun in counts if number) or "no known trigger"


def _steps_beside(shared: SharedInputs, clip: model.Clip) -> list[str]:
    """What an audit does beside its measurements and its search."""
    own = "measure and search the same under CLIP's own normalisation of pixels"
    base = f"try on the base {shared.base.opened.place.name} what acts on the model" if shared.base else ""
    return [*([own] if clip_normalised(clip) else []), *([base] if base else [])]


def plan_audit(request: requests.Audit, inputs: AuditInputs, /) -> Plan:
    """The plan of an audit."""
    expected = estimate_audit(inputs)
    estimate.warn_of_time(expected, request.max_minutes)
    clip, shown = inputs.loaded.clip, inputs.eval_set
    most = efforts.EFFORTS[request.effort].cost(len(shown.classes))
    searched = f"search for unknown triggers, effort {inputs.effort}: at most {most:,} passes of an image"
    planted = f"plant {power.CANARIES} test backdoors, each in a copy, and search each copy alike"
    return Plan(
        {**_model_facts(inputs), **_audit_facts(inputs)},
        (
            f"measure: {_trigger_words(len(shown.suspicions), len(shown.panel))}, {len(shown.classes):,} classes",
            searched if request.search else "no search, so the verdict is never pass",
            *_steps_beside(inputs.shared, clip),
            _comparison_words(request, models=1 + len(inputs.shared.clean_models)),
            *([planted] if request.power else []),
        ),
        () if request.save_triggers is None else (f"{request.save_triggers}/",),
        expected,
    )


def estimate_audit(inputs: AuditInputs, /) -> Estimate:
    """The estimate of an audit, of the clean models beside it, and of the copies with test backdoors."""
    clip, size = inputs.loaded.clip, Size.of(inputs.eval_set)
    one_audit, tested, spared = estimate.measuring(size, is_audit=True), _normalisation_count(clip), None
    one_reference = one_audit
    if inputs.effort is not None:
        effort = efforts.EFFORTS[inputs.effort]
        one_audit, one_reference = (estimate.audit(effort, size, is_reference=is_clean) for is_clean in (False, True))
        quiet = None if inputs.planting or inputs.shared.compares else estimate.spared(effort, size)
        spared = tested * quiet if quiet else None
    work = tested * one_audit + len(inputs.shared.clean_models) * one_reference
    if inputs.planting:
        planting = power.planting_of(pairs=len(inputs.planting))
        work += power.CANARIES * (one_audit + Work(pairs=planting.steps * planting.batch_size))
    return estimate.estimated(
        clip, work, precision=train.resolved("auto", clip.net, clip.device), effort=inputs.effort, spared=spared
    )


def _normalisation_count(clip: model.Clip) -> int:
    """Under how many a model is audited: CLIP's own mean and deviation of pixels as well, where it has others."""
    return 2 if clip_normalised(clip) else 1


def tell_audit(inputs: AuditInputs, /, *, minutes: float | None = None) -> None:
    """Report what an audit works with, and its estimate, if somebody listens, and whether it fits into the minutes that it has."""
    clip = inputs.loaded.clip
    _tell_facts(_audit_facts(inputs))
    precision = "bf16" if inputs.effort and model.has_bfloat16(clip.device) else "fp32"
    estimate.tell(clip, lambda: estimate_audit(inputs), precision=precision, minutes=minutes)


def _comparison_words(request: requests.Audit, /, *, models: int) -> str:
    """The clean models that the result would be compared with."""
    if models > 1:
        return f"search {plural(models - 1, 'clean model')} too, and compare"
    if request.references:
        return f"compare with {', '.join(path.name for path in request.references)}"
    none = "compare with nothing: no clean model is known"
    return none if request.power else f"{none}, so the verdict is never pass (--reference or --power)"


def _tell_facts(facts: Mapping[str, str]) -> None:
    for name, words in facts.items():
        say(f"{name:9} {words}")


def _cleaning_facts(inputs: CleaningInputs) -> dict[str, str]:
    """The data, the classes and the recipe of a cleaning, and how it can end."""
    training, measured = len(inputs.to_train.pairs), len(inputs.to_measure.pairs)
    references = _named_references(inputs.shared)
    return {
        "data": f"{plural(len(inputs.clean.pairs), 'pair')}: {training:,} to train on, {measured:,} to measure on",
        "classes": _class_facts(inputs.shared),
        **_base_facts(inputs.shared),
        "recipe": f"{inputs.recipe.name}: {inputs.recipe.traits.says}",
        **_verdict_facts(
            references,
            images=min(measured, inputs.recipe.audit.images),
            least=inputs.shared.judge.limits.min_images,
            doubts=_doubts(inputs, compares=bool(references)),
            condition="" if inputs.searches else ", pass only if a trigger acts before and not after",
        ),
    }


def _named_references(shared: SharedInputs) -> list[str]:
    """The clean models to compare with, and the files that hold some."""
    return [*(opened.place.name for opened in shared.clean_models), *(known.name for known in shared.stored.measured)]


def _audit_facts(inputs: AuditInputs) -> dict[str, str]:
    """The images and the classes of an audit, and how it can end."""
    images, references = len(inputs.eval_set.pixels), _named_references(inputs.shared)
    bundled = " (bundled)" if inputs.is_bundled else ""
    measured = f", {images:,} measured on" if images != len(inputs.images.pairs) else ""
    return {
        "data": f"{plural(len(inputs.images.pairs), 'image')}{bundled}{measured}",
        "classes": _class_facts(inputs.shared),
        **_base_facts(inputs.shared),
        **_verdict_facts(
            references,
            images=images,
            least=inputs.shared.judge.limits.min_images,
            doubts=[
                *([] if inputs.settings.search else [NO_SEARCH]),
                *([] if references or inputs.has_power else [NO_CLEAN_MODEL]),
            ],
        ),
    }


def _doubts(inputs: CleaningInputs, *, compares: bool) -> list[str]:
    """Why a cleaning cannot pass: a search that is compared with nothing, or no trigger that could be seen to go."""
    if inputs.searches:
        return [] if compares else [NO_CLEAN_MODEL]
    return [] if inputs.shared.named or inputs.tries_panel else [NO_SEARCH, "no trigger named (--trigger)"]


def _verdict_facts(
    references: Sequence[str], *, images: int, least: int, doubts: Sequence[str], condition: str = ""
) -> dict[str, str]:
    """What is compared with, and which verdicts are still possible."""
    doubts = [*([f"{images} images, where {least} are needed"] if images < least else []), *doubts]
    possible = f"pass, fail or inconclusive{condition}"
    verdict = f"fail or inconclusive, never pass: {'; '.join(doubts)}" if doubts else possible
    return {"reference": ", ".join(references) or "none", "verdict": verdict}


def _base_facts(shared: SharedInputs) -> dict[str, str]:
    """The model that this one was finetuned from, where one was named."""
    return {"base": shared.base.opened.place.name} if shared.base else {}


def _class_facts(shared: SharedInputs) -> str:
    """The classes and templates that everything is measured by."""
    words = shared.vocabulary
    whose = "yours" if shared.has_own_classes else "ImageNet's, since none were given (--classes)"
    return f"{len(words.classes):,}, {whose}; {plural(len(words.templates), 'template')}"


def _model_facts(job_inputs: CleaningInputs | AuditInputs) -> dict[str, str]:
    clip = job_inputs.loaded.clip
    numbers = model.parameter_count(clip.net) / 1e6
    return {
        "model": f"{clip.architecture.name}, {numbers:.1f} M parameters, sha256 {job_inputs.loaded.file.sha256[:12]}…",
        "device": str(clip.device),
    }
