"""Shell completion: recipes, rules, triggers, architectures and paths."""

from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path

import click
from click.shell_completion import CompletionItem

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _completer(names: Callable[[], Iterable[str]], *, files: bool = True) -> Completer:
    """Complete from names; ``files`` lets the shell go on with paths where no name fits."""

    def complete(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        fitting = [CompletionItem(name) for name in names() if name.startswith(incomplete)]
        return fitting or ([CompletionItem(incomplete, type="file")] if files else [])

    return complete


def _recipes() -> Iterable[str]:
    from clipclean.config import recipe

    return recipe.names()


def _rules() -> Iterable[str]:
    from clipclean.findings import RULES

    return RULES


def _triggers() -> Iterable[str]:
    from clipclean.attack import triggers

    return triggers.catalogue()


def _architectures() -> Iterable[str]:
    """open_clip's model configurations, by the names of their files: importing it would import torch."""
    found = find_spec("open_clip")
    places = (found.submodule_search_locations if found else None) or []
    return sorted(path.stem for place in places for path in Path(place).glob("model_configs/*.json"))


def _settings() -> Iterable[str]:
    """The values of a recipe that --set changes, as ``train.lr=``."""
    from clipclean.config.recipe import Recipe

    sections = {name: getattr(field.annotation, "model_fields", ()) for name, field in Recipe.model_fields.items()}
    return [f"{name}.{key}=" for name, keys in sections.items() for key in keys]


recipes = _completer(_recipes)
rules = _completer(_rules, files=False)
triggers = _completer(_triggers)
architectures = _completer(_architectures)
settings = _completer(_settings, files=False)
