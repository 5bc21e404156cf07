"""Shell completion: recipes, rules, triggers, architectures and paths."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import click
from click.shell_completion import CompletionItem

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _completer(names: Callable[[], Sequence[str]], *, files: bool = False) -> Completer:
    """Complete from names; ``files`` lets the shell go on with paths where no name fits."""

    def complete(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        fitting = [CompletionItem(name) for name in names() if name.startswith(incomplete)]
        return fitting or ([CompletionItem(incomplete, type="file")] if files else [])

    return complete


def recipe_names() -> list[str]:
    """The recipes that ship with clipclean."""
    from clipclean.config import recipe

    return list(recipe.names())


def rule_names() -> list[str]:
    """The rules that findings go by."""
    from clipclean.findings import RULES

    return list(RULES)


def trigger_names() -> list[str]:
    """The families of triggers; importing them takes as long as importing torch."""
    from clipclean.attack import triggers

    return list(triggers.catalogue())


def architecture_names() -> list[str]:
    """open_clip's model configurations, by the names of their files: importing it would import torch."""
    found = find_spec("open_clip")
    places = (found.submodule_search_locations if found else None) or []
    return sorted(path.stem for place in places for path in Path(place).glob("model_configs/*.json"))


def setting_names() -> list[str]:
    """The values of a recipe that --set changes, as ``train.lr=``."""
    from pydantic import BaseModel

    from clipclean.config.recipe import Recipe

    sections = {
        name: field.annotation
        for name, field in Recipe.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }
    return [f"{name}.{key}=" for name, section in sections.items() for key in section.model_fields]


recipes = _completer(recipe_names, files=True)
rules = _completer(rule_names)
triggers = _completer(trigger_names, files=True)
architectures = _completer(architecture_names, files=True)
settings = _completer(setting_names)
