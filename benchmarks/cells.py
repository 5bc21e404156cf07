"""Cells of a benchmark, one JSON file each: whether one was measured with its method as it is now.

A method is a recipe, perhaps with values of its own (``RECIPE:KEY=VALUE,…``), or a name that no recipe has.
"""

import json
from pathlib import Path

from clipclean.config import recipe
from clipclean.config.methods import METHODS
from clipclean.config.recipe import Recipe


def of_recipe(method: str, /) -> Recipe:
    """The recipe that a method names, with its changes."""
    name, _, changes = method.partition(":")
    return recipe.override(recipe.load(name), changes.split(",") if changes else [])


def digest_of(method: str, /) -> str | None:
    """The digest of a method's values; None of one that is no recipe, or chooses among recipes."""
    if method.partition(":")[0] not in recipe.names():
        return None
    named = of_recipe(method)
    return None if METHODS[named.method].chooses else recipe.digest(named)


def is_current(place: Path, method: str, /) -> bool:
    """Whether a file has a cell of the method as it is now; one that does not name its values counts."""
    return place.exists() and json.loads(place.read_text()).get("recipe_sha256") in (None, digest_of(method))
