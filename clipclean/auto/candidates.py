"""The candidates of ``auto``, in the order of trying: each a recipe, or several in sequence.

``auto.ladder`` of a recipe lists them, by default as in ``config/recipe.py``; this module reads that list. ``auto/select.py`` chooses
among them.
"""

import re
from dataclasses import dataclass

from clipclean.config import recipe as recipes
from clipclean.config.recipe import Recipe
from clipclean.data import Samples
from clipclean.errors import Inconclusive, UsageError

_STEP = re.compile(r"([a-z0-9][a-z0-9@-]*)(?:\(([^()]*)\))?")


@dataclass(frozen=True)
class Candidate:
    """One way to clean a model: recipes in sequence; ``names`` has each, with its changed values."""

    names: tuple[str, ...]
    recipes: tuple[Recipe, ...]

    @property
    def name(self) -> str:
        """The candidate in words: ``unlearn + par``."""
        return " + ".join(self.names)

    @property
    def beginnings(self) -> "tuple[Candidate, ...]":
        """The candidate cut after its first recipe, after its second, and so on; the last one is complete."""
        return tuple(Candidate(self.names[:end], self.recipes[:end]) for end in range(1, len(self.names) + 1))

    @property
    def searches(self) -> bool:
        """Whether one of its recipes searches for triggers."""
        return any(recipe.traits.searches for recipe in self.recipes)

    def fitted(self, auto: Recipe, /, *, parameters: int, pairs: int, classes: int) -> "Candidate":
        """The candidate at the scale for a model of so many parameters, pairs to train on and classes.

        The settings for measuring and for data are those of ``auto``. A warm-up that would fill the run is shortened, unless the entry
        sets it.
        """
        found = []
        for name, recipe in zip(self.names, self.recipes, strict=True):
            step = recipes.fitted(recipe, parameters=parameters, pairs=pairs, classes=classes)
            # Thresholds and data of the run: a candidate must not be judged by limits of its own.
            step = step.model_copy(update={"audit": auto.audit, "data": auto.data})
            # 1,200 pairs less a fifth make 18 steps of the last candidate that is shipped, and its warm-up has 20.
            has_own_warmup = "train.warmup_steps" in name
            found.append(step if has_own_warmup else recipes.with_fitting_warmup(step, pairs=pairs))
        return Candidate(self.names, tuple(found))

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


def listed(auto: Recipe, /, *, panel: bool = True) -> tuple[Candidate, ...]:
    """The candidates that a recipe lists under ``auto.ladder``, at no scale yet; none of a recipe that chooses among none. ``panel`` is
    whether known triggers are tried.

    An entry reads ``unlearn`` or ``unlearn + cleanclip(loss.preserve_weight=2, train.epochs=6)``.

    Raises:
        UsageError: an entry names no recipe, one that chooses among candidates itself, or values that make no valid recipe; or
            there is no panel.
    """
    if not auto.traits.chooses:
        return ()
    if not panel:
        raise UsageError("auto decides by audits, so --no-panel leaves it nothing to go by. Leave the option out.")
    return tuple(_candidate(text, auto) for text in auto.auto.ladder)


def _candidate(text: str, auto: Recipe) -> Candidate:
    names, chosen = [], []
    for part in re.split(r"\s*\+\s*(?![^(]*\))", text.strip()):
        match = _STEP.fullmatch(part)
        if not match:
            raise UsageError(
                f"recipe {auto.name}: auto.ladder: {part!r} is not a step. Write RECIPE or RECIPE(KEY=VALUE, ...), and + between "
                "steps."
            )
        name = match[1]
        changes = [change.strip() for change in (match[2] or "").split(",") if change.strip()]
        step = recipes.override(recipes.load(name), changes)
        if step.traits.chooses or step.train.lr_trials:
            own = "rates to try" if step.train.lr_trials else "a ladder of its own"
            raise UsageError(f"recipe {auto.name}: auto.ladder: {name} has {own}. Name plain recipes.")
        names.append(f"{name}({', '.join(changes)})" if changes else name)
        chosen.append(step)
    return Candidate(tuple(names), tuple(chosen))
