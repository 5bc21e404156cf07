"""The ladder of ``auto``: its rungs in the order of trying, each a recipe, or several one after another."""

import re
from dataclasses import dataclass

from clipclean.config import recipe as recipes
from clipclean.config.method import METHODS
from clipclean.config.recipe import Recipe
from clipclean.errors import UsageError

TINY = 30_000_000  # parameters; of the CLIPs that others publish none has fewer
TWIN = "-tiny"
_STEP = re.compile(r"([a-z0-9][a-z0-9-]*)(?:\(([^()]*)\))?")


@dataclass(frozen=True)
class Rung:
    """What is done to a model: recipes one after another; ``names`` say each with what was changed in it."""

    names: tuple[str, ...]
    recipes: tuple[Recipe, ...]

    @property
    def name(self) -> str:
        """The rung in words: ``unlearn + par``."""
        return " + ".join(self.names)

    @property
    def beginnings(self) -> "tuple[Rung, ...]":
        """The rung up to its first recipe, up to its second, and so on; the last is the whole one."""
        return tuple(Rung(self.names[:end], self.recipes[:end]) for end in range(1, len(self.names) + 1))


def rungs(auto: Recipe, /, *, parameters: int) -> tuple[Rung, ...]:
    """The ladder of a recipe for a model of so many parameters.

    A rung reads ``unlearn`` or ``unlearn + cleanclip(loss.preserve_weight=2, train.epochs=6)``. Where a recipe has a twin for
    tiny models, these get the twin. What is measured and which data are taken is that of ``auto``, not of the rung.

    Raises:
        UsageError: a rung names no recipe, another ladder, or values that make no valid recipe.
    """
    return tuple(_rung(text, auto, is_tiny=parameters < TINY) for text in auto.auto.ladder)


def twin(name: str, /, *, is_tiny: bool) -> str:
    """The name of the recipe for the size of a model."""
    return f"{name}{TWIN}" if is_tiny and f"{name}{TWIN}" in recipes.names() else name


def _rung(text: str, auto: Recipe, *, is_tiny: bool) -> Rung:
    names, chosen = [], []
    for part in re.split(r"\s*\+\s*(?![^(]*\))", text.strip()):
        found = _STEP.fullmatch(part)
        if not found:
            raise UsageError(
                f"recipe {auto.name}: auto.ladder: {part!r} is no step. Write RECIPE or RECIPE(KEY=VALUE, ...), and + between "
                "steps."
            )
        name, changes = (
            twin(found[1], is_tiny=is_tiny),
            [each.strip() for each in (found[2] or "").split(",") if each.strip()],
        )
        step = recipes.override(recipes.load(name), changes)
        if METHODS[step.method].chooses:
            raise UsageError(f"recipe {auto.name}: auto.ladder: {name} has a ladder of its own. Name plain recipes.")
        names.append(f"{name}({', '.join(changes)})" if changes else name)
        chosen.append(step.model_copy(update={"audit": auto.audit, "data": auto.data}))
    return Rung(tuple(names), tuple(chosen))
