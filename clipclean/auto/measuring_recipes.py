"""Measuring recipes: backdoors planted in copies of a model, one at a time, each cleaned by every recipe and measured."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import yaml

from clipclean import __version__, files, machine, model, requests
from clipclean.attack import poison
from clipclean.auto import candidates, trials
from clipclean.auto.candidates import Candidate
from clipclean.config import recipe as recipes
from clipclean.config.recipe import Evidence, Measured, Recipe, Versions
from clipclean.detect import Measurement, Rate
from clipclean.errors import Inconclusive, UsageError
from clipclean.jobs import cleaning_inputs
from clipclean.jobs.job import Job
from clipclean.jobs.workbench import Workbench
from clipclean.methods.unlearning import ShownTriggers
from clipclean.train import Run, RunState

MEASURED_ON = ("model", "data", "eval_data", "arch", "classes", "templates")  # options
SEED_OFFSET = 500_000  # added to the seed, so that a recipe is not measured on the backdoors that auto plants


def measure(loaded: Sequence[Recipe], request: requests.Bench, out: Path, /) -> tuple[tuple[Evidence, ...], ...]:
    """The evidence blocks of each recipe, in their order, one per attack: planted once per seed, cleaned by each recipe, and pooled.

    The same request gives the same blocks on the same machine. ``out`` is a file beside which the run keeps its state. Surgery, which
    searches for nothing, is shown the trigger that was planted.

    Raises:
        ClipcleanError: of the kind that tells the exit code.
        Inconclusive: an attack did not take with any seed.
    """
    for recipe in loaded:
        if recipe.traits.chooses:
            raise UsageError(
                f"{recipe.name} chooses among other recipes. Measure those; benchmarks/photo_cleaning.py measures the choice."
            )
    planting_settings = recipes.planting(steps=request.steps, walk=request.walk, batch_size=request.batch_size)
    # Prepared as a cleaning by auto, which plants by captions whatever the method needs.
    own = {
        "plant_share": planting_settings.rate,
        "plant_steps": planting_settings.steps,
        "plant_walk": planting_settings.walk,
        "batch_size": planting_settings.batch_size,
    }
    options = {name: getattr(request, name) for name in (*MEASURED_ON, "device")}
    options |= {"recipe": "auto", "set": [f"auto.{name}={value}" for name, value in own.items()]}
    inputs = cleaning_inputs.read_for_cleaning(
        Job.of(requests.Sanitize(**options, out=out, screen="off", force=True)).on_this_machine()
    )
    for recipe in loaded:
        recipes.check(recipe, pairs=len(inputs.to_train.pairs))
    state = RunState.of(out, {"bench": [recipes.digest(recipe) for recipe in loaded]})
    workbench = Workbench.of(inputs, state, Run(inputs.seed, inputs.precision))
    with state.locked():
        by_attack = [_blocks(loaded, request, workbench, number) for number in range(request.attacks)]
    return tuple(zip(*by_attack, strict=True))


def _blocks(
    loaded: Sequence[Recipe], request: requests.Bench, workbench: Workbench, number: int
) -> tuple[Evidence, ...]:
    """The evidence of each recipe on one attack, pooled over the seeds with which it was planted."""
    sides = {seed: _planted_and_cleaned_measurements(loaded, workbench, number, seed) for seed in request.seeds}
    runs = {seed: measurements for seed, measurements in sides.items() if measurements}
    family = poison.PLANTED_SPECS[number]
    data, evaluation_data = ([path.name for path in paths or ()] for paths in (request.data, request.eval_data))
    if not runs:
        raise Inconclusive(
            f"{family} did not take with any of the seeds {', '.join(map(str, request.seeds))}: there was no backdoor to remove. Plant "
            "for longer by --steps, or farther by --walk."
        )

    def block(number: int, recipe: Recipe) -> Evidence:
        remark = ", the trigger shown to the recipe" if recipe.is_surgery else ""
        return Evidence(
            recipe_sha256=recipes.digest(recipe),
            attack=f"{family} planted in {workbench.auto_settings.plant_steps} steps, target drawn by the seed{remark}",
            architecture=workbench.clip.architecture.name,
            kind=model.kind_of(workbench.clip.architecture),
            parameters=model.parameter_count(workbench.clip.net),
            data=f"{' + '.join(data)}, measured on {' + '.join(evaluation_data)}; model {Path(str(request.model)).name}",
            pairs=len(workbench.samples.pairs),
            classes=len(workbench.eval_set.vocabulary.classes),
            seeds=tuple(runs),
            before=pooled([before for before, _ in runs.values()]),
            after=pooled([afters[number] for _, afters in runs.values()]),
            versions=Versions(
                clipclean=__version__, torch=torch.__version__, open_clip=machine.versions()["open_clip_torch"]
            ),
        )

    return tuple(block(number, recipe) for number, recipe in enumerate(loaded))


def _planted_and_cleaned_measurements(
    loaded: Sequence[Recipe], workbench: Workbench, number: int, seed: int
) -> tuple[Measurement, list[Measurement]] | None:
    """One backdoor planted and measured, and measured again after the cleaning by each recipe; None if it did not take."""
    classes = len(workbench.eval_set.vocabulary.classes)
    test_backdoors = poison.draw(number + 1, classes=classes, avoid=(), seed=SEED_OFFSET + seed)[number:]
    if not test_backdoors:
        raise UsageError(f"{number + 1} attacks need as many classes, and there are {classes}. Ask for fewer.")
    workbench = _with_prefix(
        replace(workbench, run=replace(workbench.run, seed=seed)), f"{test_backdoors[0].trigger.family}, seed {seed}: "
    )
    workbench.put(workbench.original)
    base = model.frozen_copy(workbench.clip)  # what is planted here is a finetune of it
    planted = poison.suspicions_of_backdoors(test_backdoors)
    try:
        copy = trials.planted(workbench, test_backdoors)
        if copy is None or not copy.took:
            return None
        afters = []
        for recipe in loaded:
            workbench.put(copy.weights)
            triggers = ShownTriggers(planted) if recipe.is_surgery else ShownTriggers()
            own = _with_prefix(workbench, f"{recipe.name}, ")
            candidates.clean_by_candidate(
                own, Candidate((recipe.name,), (recipe,)), triggers, where="copy", origin=copy.origin, base=base
            )
            afters.append(
                workbench.measure(poison.measured_on(workbench.eval_set, test_backdoors), what="measuring after")
            )
        return copy.planted, afters
    finally:
        workbench.state.discard()  # nothing of one victim serves the next


def _with_prefix(workbench: Workbench, prefix: str, /) -> Workbench:
    """The workbench whose progress begins with a prefix."""
    run = workbench.run

    def progress(what: str, done: int, total: int) -> None:
        run.progress(prefix + what, done, total)

    return replace(workbench, run=replace(run, progress=progress))


def pooled(measurements: Sequence[Measurement], /) -> Measured:
    """The sums of hits and cases of several measurements; each has one known trigger and labelled images."""
    probes = [measurement.suspected[0] for measurement in measurements]
    return Measured(
        clean_accuracy=_added([measurement.accuracy.rate for measurement in measurements]),
        attack_success=_added([probe.asr for probe in probes]),
        base_rate=_added([probe.base_rate for probe in probes]),
        accuracy_under_trigger=_added(
            [probe.accuracy_under_trigger for probe in probes if probe.accuracy_under_trigger]
        ),
    )


def _added(rates: Sequence[Rate]) -> recipes.MeasuredRate:
    pooled_rate = Rate(sum(rate.hits for rate in rates), sum(rate.n for rate in rates))
    return recipes.MeasuredRate(value=pooled_rate.value, interval=pooled_rate.interval, n=pooled_rate.n)


def added(earlier: Sequence[Evidence], new: Sequence[Evidence], /, *, keep: bool) -> tuple[Evidence, ...]:
    """New evidence after the earlier that stays true: with ``keep`` that of the same values, with other attacks, models or data."""
    measured_fields = {"seeds", "before", "after", "versions"}
    new_digests = {block.recipe_sha256 for block in new}
    subjects = [block.model_dump(exclude=measured_fields) for block in new]
    kept = [
        b
        for b in earlier
        if keep and b.recipe_sha256 in new_digests and b.model_dump(exclude=measured_fields) not in subjects
    ]
    return (*kept, *new)


def with_evidence(text: str, evidence: Sequence[Evidence], /) -> str:
    """The YAML of a recipe with its evidence blocks replaced by these, at its end; comments stay."""
    written = f"\n{text}".partition("\nevidence:")[0].strip("\n")
    content = {"evidence": [block.model_dump(mode="json") for block in evidence]}
    return f"{written}\n\n{yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)}"


def write(path: Path, text: str, /) -> None:
    """Check the YAML of a recipe, and write it whole.

    Raises:
        UsageError: the text is no valid recipe; then the file is as it was.
        ResourceError: it cannot be written.
    """

    def checked(partial: Path) -> None:
        partial.write_text(text, encoding="utf-8")
        recipes.load(partial)

    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_whole(path, checked)
