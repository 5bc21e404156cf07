"""What a run of ``auto`` begins with: the workbench, clean models to compare with, the candidates, and the end of its time."""

import contextlib
import math
import time
from dataclasses import dataclass

from clipclean import deadline, detect, model
from clipclean.auto import candidates
from clipclean.auto.workbench import Workbench
from clipclean.config import recipe as recipes
from clipclean.config.methods import METHODS
from clipclean.config.recipe import Recipe
from clipclean.jobs import other_models, plan, suspicions
from clipclean.jobs.prepare import Prepared
from clipclean.jobs.searching import SearchSettings
from clipclean.progress import Progress
from clipclean.train import Run, RunState

WITHIN = 0.9  # share of the time after which nothing more is measured: the rest is for the report
AFTERWARDS = 2.0  # measurements of a model that the report may take; on many classes they are longer than that rest


def workbench(ready: Prepared, state: RunState, progress: Progress, /) -> Workbench:
    """The workbench: the model, and the images to measure on; clean models to compare with follow."""
    clip, recipe = ready.loaded.clip, ready.recipe
    return Workbench(
        clip=clip,
        original=model.taken(clip),
        samples=ready.samples,
        evidence=suspicions.evidence_of(ready, recipe, panel=True),
        references=None,
        limits=ready.thresholds,
        settings=recipe.auto,
        control=control_of(recipe, clip),
        state=state,
        run=Run(ready.request.seed, ready.precision, progress, group=state.group),
    )


def references_of(bench: Workbench, ready: Prepared, /, *, started: float) -> detect.References | None:
    """The clean models to compare with: those that the user named, searched like the model itself; None without any."""
    settings = SearchSettings(bench.settings.effort, ready.request.seed)

    def measured() -> list[detect.References]:
        return other_models.measured(
            settings,
            ready.trusted,
            bench.evidence,
            ready.clean,
            device=ready.device,
            progress=bench.run.progress,
            state=bench.state,
        )

    with deadline.within(ready.request.max_minutes, reserve=time.monotonic() - started):
        found = bench.run.group.of_first(measured) if ready.trusted else []
    return detect.together(found) if found else None


def listed(ready: Prepared, /) -> tuple[candidates.Candidate, ...]:
    """The candidates for this model, its pairs and classes, in the order of trying; none where the recipe chooses among none."""
    recipe, parameters = ready.recipe, model.parameter_count(ready.loaded.clip.net)
    if not METHODS[recipe.method].chooses:
        return ()
    pairs, classes = len(ready.samples.pairs), len(ready.vocabulary.classes)
    return candidates.candidates(recipe, parameters=parameters, pairs=pairs, classes=classes)


def ladder(ready: Prepared, /) -> list[tuple[Recipe, ...]]:
    """The recipes of each candidate."""
    return [each.recipes for each in listed(ready)]


def control_of(recipe: Recipe, clip: model.Clip, /) -> Recipe:
    """The recipe for planting and for the refinetune test, of the model's size."""
    control, parameters = recipes.load(recipe.auto.control), model.parameter_count(clip.net)
    found = recipes.fitted(control, parameters=parameters, pairs=recipes.FEW, classes=1)  # one for few pairs too
    return found.model_copy(update={"data": recipe.data})


@dataclass(frozen=True)
class Limit:
    """The time of a run; without a limit there is no end."""

    minutes: float | None
    started: float
    end: float  # after which nothing more is tried

    @classmethod
    def of(cls, ready: Prepared, started: float, /) -> "Limit":
        """Of a request, with time for the report at the rate of this machine, but no more than half of all."""
        minutes = ready.request.max_minutes
        if minutes is None:
            return cls(None, started, math.inf)
        # After the last attempt the report measures both models again: a run that tried on until the end would be late.
        seconds = 60 * minutes
        after = AFTERWARDS * plan.seconds_of_measuring(ready)
        return cls(minutes, started, started + max(seconds / 2, min(WITHIN * seconds, seconds - after)))

    def within(self, share: float, /) -> contextlib.AbstractContextManager[None]:
        """Let work end after this share of the time that is left."""
        left = max(0.0, self.end - time.monotonic())
        return deadline.within(None if self.minutes is None else share * left / 60)
