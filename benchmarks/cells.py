"""Cells of a benchmark, one JSON file each: whether one was measured with its method as it is now.

A method is a recipe, perhaps with values of its own (``RECIPE:KEY=VALUE,…``), or a name that no recipe has.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from clipclean.config import recipe
from clipclean.config.methods import METHODS
from clipclean.config.recipe import Recipe


def of_recipe(method: str, more: Sequence[str] = (), /) -> Recipe:
    """The recipe that a method names, with its changes, and with more of them."""
    name, _, changes = method.partition(":")
    return recipe.override(recipe.load(name), [*(changes.split(",") if changes else []), *more])


def digest_of(method: str, more: Sequence[str] = (), /) -> str | None:
    """The digest of a method's values; None of one that is no recipe, or chooses among recipes."""
    name = method.partition(":")[0]
    if name.partition("@")[0] not in recipe.names() and ".yaml" not in name:
        return None
    named = of_recipe(method, more)
    return None if METHODS[named.method].chooses else recipe.digest(named)


def is_current(place: Path, method: str, more: Sequence[str] = (), /) -> bool:
    """Whether a file has a cell of the method as it is now; one that does not name its values counts."""
    return place.exists() and json.loads(place.read_text()).get("recipe_sha256") in (None, digest_of(method, more))
