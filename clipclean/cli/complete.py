"""Shell completion: recipes, rules, triggers, architectures and paths."""

import importlib
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


def _architectures() -> Iterable[str]:
    """open_clip's model configurations, by the names of their files: importing it would import torch."""
    found = find_spec("open_clip")
    places = (found.submodule_search_locations if found else None) or []
    return sorted(path.stem for place in places for path in Path(place).glob("model_configs/*.json"))


def _settings() -> Iterable[str]:
    """The values of a recipe that --set changes, as ``train.lr=``."""
    fields = importlib.import_module("clipclean.config.recipe").Recipe.model_fields
    sections = {name: getattr(field.annotation, "model_fields", ()) for name, field in fields.items()}
    return [f"{name}.{key}=" for name, keys in sections.items() for key in keys]


# Each module is imported when a shell asks.
recipes = _completer(lambda: importlib.import_module("clipclean.config.recipe").names())
rules = _completer(lambda: importlib.import_module("clipclean.findings").RULES, files=False)
triggers = _completer(lambda: importlib.import_module("clipclean.attack.triggers").catalogue())
architectures = _completer(_architectures)
settings = _completer(_settings, files=False)
