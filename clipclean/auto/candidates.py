"""The candidates of ``auto``, in the order of trying: each a recipe, or several that clean in sequence.

``auto.candidates`` of a recipe lists them: ``recipes/auto.yaml`` has those of the default. ``attempts`` chooses among them. Each result of a sequence
is saved, so that a resumed run repeats none.
"""

import functools
import re
from dataclasses import dataclass, field, replace

from torch import Tensor

from clipclean import deadline, detect, model
from clipclean.auto.trials import DONE_NAME
from clipclean.config import recipe as recipes
from clipclean.config.recipe import Recipe
from clipclean.config.roles import Role
from clipclean.data import Samples
from clipclean.detect import Suspicion, identities
from clipclean.errors import Inconclusive, UsageError
from clipclean.findings import Finding
from clipclean.jobs.workbench import Workbench
from clipclean.methods import training, unlearning
from clipclean.schema.report import TrainingRecord
from clipclean.train import Run, RunState, resume

_STEP = re.compile(r"([a-z0-9][a-z0-9@-]*)(?:\(([^()]*)\))?")


@dataclass(frozen=True)
class Candidate:
    """One way to clean a model: recipes in sequence; ``names`` has each, with its changed values."""

    names: tuple[str, ...]
    recipes: tuple[Recipe, ...]
    position_words: str = field(default="", compare=False)  # among those of the run, in words: ``candidate 1 of 3``

    @property
    def name(self) -> str:
        """The candidate in words: ``unlearn + par``."""
        return " + ".join(self.names)

    @property
    def folder_name(self) -> str:
        """The name as that of a folder."""
        return re.sub(r"[^a-z0-9]+", "-", self.name).strip("-")

    @property
    def beginnings(self) -> "tuple[Candidate, ...]":
        """The candidate cut after its first recipe, after its second, and so on; the last one is complete."""
        return tuple(Candidate(self.names[:end], self.recipes[:end]) for end in range(1, len(self.names) + 1))

    @property
    def role(self) -> Role:
        """What it does with the triggers that the audit came to."""
        return Role.of(self.recipes)

    @property
    def goes_back(self) -> bool:
        """Whether it goes back towards the base that the model was finetuned from."""
        return self.role is Role.UNDO

    @property
    def is_gentle(self) -> bool:
        """Whether it learns nothing new: it only brings images back to where the original has them, which costs least."""
        return not any(recipe.traits.needs_captions for recipe in self.recipes)

    @property
    def searches_again(self) -> bool:
        """Whether it is shown what to unlearn, and then searches for the suspected classes on its own result."""
        is_shown = self.role in (Role.UNDO, Role.WIDE_SURGERY, Role.SURGERY)
        return is_shown and any(recipe.unlearn.max_rounds > 1 for recipe in self.recipes)

    def fitted(self, auto: Recipe, /, *, pairs: int) -> "Candidate":
        """The candidate for so many pairs to train on.

        The settings for measuring and for data are those of ``auto``. A warm-up that would fill the run is shortened, unless the entry
        sets it.
        """
        steps = []
        for name, recipe in zip(self.names, self.recipes, strict=True):
            # Thresholds and data of the run: a candidate must not be judged by limits of its own.
            step = recipe.model_copy(update={"audit": auto.audit, "data": auto.data})
            # 1,200 pairs less a fifth make 18 steps of the last candidate that is shipped, and its warm-up has 20.
            has_own_warmup = "train.warmup_steps" in name
            steps.append(step if has_own_warmup else recipes.with_fitting_warmup(step, pairs=pairs))
        return replace(self, recipes=tuple(steps))

    def unfit(self, samples: Samples, /) -> str:
        """Why these data do not suffice for it; empty if they do."""
        faults = []
        for recipe in self.recipes:
            if recipe.traits.needs_labels and samples.labels is None:
                faults.append(f"{recipe.name} needs labels")
            try:
                recipes.check(recipe, pairs=len(samples.pairs))
            except (Inconclusive, UsageError) as error:
                faults.append(str(error))
        return "; ".join(faults)


def candidates_of(auto: Recipe, /, *, panel: bool = True, search: bool = True) -> tuple[Candidate, ...]:
    """The candidates that a recipe lists under ``auto.candidates``; none of a recipe that chooses among none. ``panel`` is
    whether known triggers are tried, ``search`` whether unknown ones are searched for.

    An entry reads ``unlearn`` or ``unlearn + cleanclip(loss.preserve_weight=2, train.epochs=6)``.

    Raises:
        UsageError: an entry names no recipe, one that chooses among candidates itself, or values that make no valid recipe; or
            there is no panel, or no search.
    """
    if not auto.traits.chooses:
        return ()
    if absent := [flag for flag, is_there in (("--no-panel", panel), ("--no-search", search)) if not is_there]:
        raise UsageError(
            f"auto decides by audits, so {' and '.join(absent)} leaves it too little to go by. Leave the option out, or name a recipe: "
            f"--recipe surgery where a trigger and its target are named, else --recipe {recipes.STANDARD_RECIPE}."
        )
    candidates = [_candidate(text, auto) for text in auto.auto.candidates]
    return tuple(
        replace(candidate, position_words=f"candidate {number} of {len(candidates)}")
        for number, candidate in enumerate(candidates, 1)
    )


def _candidate(text: str, auto: Recipe) -> Candidate:
    names, steps = [], []
    for part in re.split(r"\s*\+\s*(?![^(]*\))", text.strip()):
        match = _STEP.fullmatch(part)
        if not match:
            raise UsageError(
                f"recipe {auto.name}: auto.candidates: {part!r} is not a step. Write RECIPE or RECIPE(KEY=VALUE, ...), and + between "
                "steps."
            )
        name = match[1]
        changes = [change.strip() for change in (match[2] or "").split(",") if change.strip()]
        step = recipes.override(recipes.load(name), changes)
        if step.traits.chooses:
            raise UsageError(
                f"recipe {auto.name}: auto.candidates: {name} chooses among candidates itself. Name plain recipes."
            )
        names.append(f"{name}({', '.join(changes)})" if changes else name)
        steps.append(step)
    return Candidate(tuple(names), tuple(steps))


# Cleaning by a candidate.


@dataclass(frozen=True)
class CandidateCleaning:
    """The result of cleaning with a candidate: the weights, the report's ``training``, and the triggers found on the way."""

    weights: dict[str, Tensor]
    training: TrainingRecord
    suspicions: tuple[Suspicion[int], ...]
    remaining: tuple[Finding, ...]  # findings of an unlearning that did not finish, if it was the last recipe

    @property
    def is_changed(self) -> bool:
        """Whether any weight changed: an unlearning that finds nothing changes none."""
        return bool(self.training.steps)


def check_beginning(bench: Workbench, original: detect.Measurement, /) -> None:
    """Raise Inconclusive if the current model, where a cleaning begins, has surely lost more accuracy than the budget allows.

    On the line to the base a recipe keeps what is there where it begins. So one measurement says what a whole cleaning and its audit would say ten
    times later. That a walk back might come within the budget is not tried, since a trigger comes back on it.
    """
    measurement = bench.measure(bench.without_panel((), original), what="on the way to the base", in_time=False)
    lost, (least, _) = detect.accuracy_loss(original, measurement)
    if least > (budget := bench.limits.max_accuracy_loss):
        raise Inconclusive(
            f"where it begins, on the way to the base, {100 * lost:.1f} points of accuracy are lost, and {100 * budget:.1f} are allowed"
        )


def clean_by_candidate(
    bench: Workbench,
    candidate: Candidate,
    triggers: unlearning.ShownTriggers,
    /,
    *,
    where: str,
    origin: dict[str, object],
    base: model.Clip | None = None,
    original: detect.Measurement | None = None,
) -> CandidateCleaning:
    """Clean the current model of a workbench in place, recipe by recipe; two candidates that begin alike share their beginning.

    A finetuning puts the known triggers on some images, and after an unlearning those that it found.

    Args:
        bench: the model, what it is trained on, and the classes that a search looks at.
        candidate: its recipes, in sequence.
        triggers: what the audit of the model shows to it.
        where: names the model among those of the run; results of one are not taken for those of another.
        base: the model that this one was finetuned from, for recipes that undo.
        original: the measurement of the original. With it a candidate ends where it begins on the line to the base, if that costs surely
            more than the budget.
        origin: JSON, all else that determines the initial weights; a run with another value does not resume from these results.

    Raises:
        Inconclusive: nothing can be searched, or where a recipe begins costs too much already.
        Interrupted: SIGINT or SIGTERM came; what is done is kept.
        OutOfTime: the deadline came before the last step.
    """

    def progress(what: str, done: int, total: int) -> None:
        bench.run.progress(f"{candidate.position_words or candidate.name}, {where}: {what}", done, total)

    clip, samples = bench.clip, bench.samples
    parts, rehearsed = list[training.Training](), triggers.suspicions
    # Before the first recipe moves the model: only the original is a teacher that no cleaning has changed.
    recovers = any(recipe.train.recover_steps for recipe in candidate.recipes)
    teacher = model.frozen_copy(clip) if recovers else None
    check = functools.partial(check_beginning, bench, original) if original else None
    for beginning in candidate.beginnings:
        # A part of the run's state for each recipe: it holds for an equal beginning on an equal model.
        decided = {
            "recipes": [recipes.decides(step) for step in beginning.recipes],
            "origin": origin,
            "known": identities((*triggers.suspicions, *triggers.beside, *triggers.variants)),
        }
        state = bench.state.part(f"{where}-{beginning.folder_name}", decided)
        recipe, run = beginning.recipes[-1], replace(bench.run, state=state, progress=progress)
        # Anew for each recipe: an earlier one of the sequence may have moved the texts.
        aims = bench.aims_where_it_begins(recipe, triggers, base=base, run=run, check=check)
        aims = replace(aims, rehearsed=rehearsed, teacher=aims.teacher if aims.searched else teacher)
        trained, remaining = _clean_in_sequence(clip, samples, recipe, aims, run, state)
        if trained.unlearned:
            # PAR after an unlearning brought back 0.168 of an optimised patch that was at 0.000; with 0.4 of the images under the
            # triggers found, it was 0.005 (commit a95ae354: benchmarks/results/notebook.md, "What a finetuning after unlearning brings back").
            rehearsed = (*triggers.suspicions, *unlearning.recovered_suspicions(trained.unlearned.state.recovered))
        parts.append(trained)
    suspicions = tuple(suspicion for trained in parts for suspicion in trained.suspicions)
    record = training.merged([trained.record for trained in parts])
    return CandidateCleaning(model.copy_weights(clip), record, suspicions, remaining)


def _clean_in_sequence(
    clip: model.Clip, samples: Samples, recipe: Recipe, aims: training.Aims, run: Run, state: RunState, /
) -> tuple[training.Training, tuple[Finding, ...]]:
    """Clean by one recipe, or put in the weights that an equal run kept of it; also the findings of an unlearning that did not finish."""
    searched, earlier = aims.searched, state.recall(DONE_NAME)
    if earlier is not None:
        weights, record, finding_records = earlier
        model.put_weights(clip, weights)
        remaining = tuple(Finding.model_validate(finding) for finding in finding_records)
        return training.Training(TrainingRecord.model_validate(record), searched), remaining
    trained = training.train_by_method(clip, samples, recipe, aims=aims, run=run)
    if trained.cut:  # half a cleaning shows nothing; its state is kept
        raise deadline.OutOfTime
    unlearned, least = trained.unlearned, recipe.unlearn.anomaly_index
    remaining = tuple(unlearned.findings(least=least)) if unlearned else ()
    finding_records = [finding.as_json() for finding in remaining]
    state.keep(DONE_NAME, [clip.net.state_dict(), trained.record.as_json(), finding_records])
    if not searched:
        state.forget(resume.STATE_NAME)  # three times the weights, and of no more use
    return trained, remaining
