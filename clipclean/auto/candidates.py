"""The candidates of ``auto``, in the order of trying: each a recipe, or several in sequence.

``auto.ladder`` of ``recipes/auto.yaml`` lists them; this module reads that list. ``auto/select.py`` chooses among them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from clipclean.config import recipe as recipes
from clipclean.config.methods import METHODS
from clipclean.config.recipe import Recipe
from clipclean.errors import Inconclusive, UsageError
from clipclean.train.loader import Samples

TINY_SUFFIX, FEW_SUFFIX = "-tiny", "-few-tiny"
FEW = 2_000  # pairs; with more, the larger batches of the -tiny recipes make enough steps
_STEP = re.compile(r"([a-z0-9][a-z0-9-]*)(?:\(([^()]*)\))?")


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

    def unfit(self, samples: Samples, /) -> str:
        """Why these data do not suffice for it; empty if they do."""
        faults = []
        for recipe in self.recipes:
            if METHODS[recipe.method].needs_labels and samples.labels is None:
                faults.append(f"{recipe.name} needs labels")
            try:
                recipes.check(recipe, pairs=len(samples.pairs))
            except (Inconclusive, UsageError) as error:
                faults.append(str(error))
        return "; ".join(faults)


def candidates(auto: Recipe, /, *, parameters: int, pairs: int) -> tuple[Candidate, ...]:
    """The candidates that a recipe lists under ``auto.ladder``, for a model of so many parameters and so many clean pairs.

    An entry reads ``unlearn`` or ``unlearn + cleanclip(loss.preserve_weight=2, train.epochs=6)``. Tiny models get the ``-tiny``
    variant of a recipe, if there is one. A warm-up that would fill the run is shortened, unless the entry sets it. The settings for
    measuring and for data are those of ``auto``, not of the candidate.

    Raises:
        UsageError: an entry names no recipe, one that chooses among candidates itself, or values that make no valid recipe.
    """
    suffixes = suffixes_of(parameters, pairs)
    return tuple(_candidate(text, auto, suffixes, pairs=pairs) for text in auto.auto.ladder)


def suffixes_of(parameters: int, pairs: int, /) -> tuple[str, ...]:
    """The ends of names of recipes for such a job, the most fitting first."""
    if parameters >= recipes.TINY:
        return ()
    return (FEW_SUFFIX, TINY_SUFFIX) if pairs < FEW else (TINY_SUFFIX,)


def of_size(name: str, suffixes: Sequence[str], /) -> str:
    """The name of the recipe with the first of the suffixes that there is one with."""
    known = set(recipes.names())
    return next((f"{name}{suffix}" for suffix in suffixes if f"{name}{suffix}" in known), name)


def _candidate(text: str, auto: Recipe, suffixes: Sequence[str], *, pairs: int) -> Candidate:
    names, chosen = [], []
    for part in re.split(r"\s*\+\s*(?![^(]*\))", text.strip()):
        match = _STEP.fullmatch(part)
        if not match:
            raise UsageError(
                f"recipe {auto.name}: auto.ladder: {part!r} is not a step. Write RECIPE or RECIPE(KEY=VALUE, ...), and + between "
                "steps."
            )
        name = of_size(match[1], suffixes)
        changes = [change.strip() for change in (match[2] or "").split(",") if change.strip()]
        step = recipes.override(recipes.load(name), changes)
        if METHODS[step.method].chooses:
            raise UsageError(f"recipe {auto.name}: auto.ladder: {name} has a ladder of its own. Name plain recipes.")
        names.append(f"{name}({', '.join(changes)})" if changes else name)
        # Thresholds and data of the run: a candidate must not be judged by limits of its own.
        step = step.model_copy(update={"audit": auto.audit, "data": auto.data})
        has_own_warmup = any(change.startswith("train.warmup_steps") for change in changes)
        # 1,200 pairs less a fifth make 18 steps of the last candidate that is shipped, and its warm-up has 20.
        chosen.append(step if has_own_warmup else recipes.with_fitting_warmup(step, pairs=pairs))
    return Candidate(tuple(names), tuple(chosen))
