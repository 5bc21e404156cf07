"""A click command that shows its options in groups."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from clipclean.api.parameters import PARAMETERS
from clipclean.cli import config_file, gone

Given = dict[
    str, Any
]  # the values of a command's options, by the names of its parameters: click knows no types of them
Decorated = TypeVar("Decorated", bound=Callable[..., Any])  # any function that becomes a command

GROUPS = ("Data", "Model", "Cleaning", "Search", "Verdict", "Output", "Running")  # in the order of the help


class Option(click.Option):
    """An option with the group that it stands in."""

    def __init__(self, *arguments: Any, group: str = "Running", **settings: Any) -> None:  # Any: click's own settings
        assert group in GROUPS  # noqa: S101 # our own spelling
        super().__init__(*arguments, **settings)
        self.group = group


class Command(click.Command):
    """A command of ours: options in groups, and their defaults from a project's configuration."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, once a configuration has given its defaults; what is gone is refused with what to use instead."""
        config_file.apply(self, ctx, args)
        given = tuple(args)  # click empties the list
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            own = {name for each in self.params for name in each.opts}  # what is gone elsewhere
            if instead := gone.told([each for each in given if each not in own]):
                raise click.UsageError(f"{error.format_message()} {instead}", ctx) from None
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """A section for each group, in one order for all commands."""
        shown: dict[str, list[tuple[str, str]]] = {group: [] for group in GROUPS}
        for parameter in self.get_params(ctx):
            if isinstance(parameter, click.Option) and (record := parameter.get_help_record(ctx)):
                shown[getattr(parameter, "group", GROUPS[-1])].append(record)
        for group, records in shown.items():
            if records:
                with formatter.section(group):
                    formatter.write_dl(records)


class CommandGroup(click.Group):
    """A group whose commands are ours."""

    command_class = Command


def command(name: str | None = None, /, *, epilog: str) -> Callable[[Callable[..., Any]], Command]:
    """Make a function a command; its examples stand below its options."""
    return click.command(name, cls=Command, epilog=epilog)


def option(*names: str, group: str, **settings: Any) -> Callable[[Decorated], Decorated]:
    """An option of one command, which takes what ``PARAMETERS`` says; ``Any``, as click's own settings are."""
    key = next((name for name in names if not name.startswith("-")), max(names, key=len)[2:].replace("-", "_"))
    known = PARAMETERS.get(key)
    if known and "type" not in settings and not settings.get("is_flag"):
        place = click.Path(readable=False, path_type=Path, file_okay=known.writes != "folder")
        settings["type"] = place if known.is_path else known.takes
    return click.option(*names, cls=Option, group=group, **settings)


def shared(flag: str, *more: str, group: str, **settings: Any) -> Callable[[Decorated], Decorated]:
    """An option of several commands, which the variable ``CLIPCLEAN_`` and its name sets too."""
    variable = f"CLIPCLEAN_{flag.removeprefix('--').upper().replace('-', '_')}"
    return option(flag, *more, group=group, envvar=variable, show_envvar=True, **settings)
