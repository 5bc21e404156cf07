"""A click command whose options are the fields of a request, shown in groups, and completed in a shell."""

import contextlib
import importlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from clipclean import requests
from clipclean.api import roles
from clipclean.cli import process
from clipclean.cli.options import FREE_OPTIONS, Shell, configure
from clipclean.requests import GROUPS, Opt

Request = TypeVar("Request")  # a request

BRIEF_OPTIONS = 12  # options that --help shows without choosing
OTHER_VARIABLES = ("CLIPCLEAN_STATE", "CLIPCLEAN_DOCS", "CLIPCLEAN_DEBUG")  # variables that set no option


class Option(click.Option):
    """An option of a request. Those that a variable may set are the same for all commands."""

    opt: Opt


def variable(name: str, /) -> str:
    """The variable of a parameter."""
    return f"CLIPCLEAN_{name.upper()}"


class Command(click.Command):
    """A command of ours: options in groups, variables that are told, and words for what is gone."""

    examples: tuple[str, ...] = ()  # of its use, without the name of the program

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does; what is gone is refused with what to use instead."""
        words = tuple(args)  # click empties the list
        for word in words:
            requests.check_text(word.partition("=")[0] if word.startswith("-") else "an argument", word)
        try:
            remaining = super().parse_args(ctx, args)
        except click.UsageError as error:
            flags = {name for parameter in self.params for name in parameter.opts}  # what is gone elsewhere
            if instead := requests.instead([word for word in words if word not in flags]):
                raise click.UsageError(f"{error.format_message()} {instead}", ctx) from None
            raise
        if not ctx.resilient_parsing:
            _say_variables(ctx)
        return remaining

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The parameters, with ``--help-all`` before ``--help``."""
        everything = click.Option(
            ["--help-all"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_show_all,
            help="Show all options.",
        )
        *parameters, help_option = super().get_params(ctx)
        return [*parameters, everything, help_option]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """A section for each group, in one order for all commands; or the options that most runs need, in a line or two each."""
        options = [option for option in self.get_params(ctx) if isinstance(option, click.Option) and not option.hidden]
        if not ctx.meta.get("clipclean.all"):
            is_short = len(self.params) > BRIEF_OPTIONS
            visible = [  # without a group those of the help
                option
                for option in options
                if not (is_short and isinstance(option, Option)) or option.required or option.opt.is_first
            ]
            with formatter.section("Options"):
                brief = [(option.get_help_record(ctx) or ("", ""), option.help or "") for option in visible]
                formatter.write_dl([(names, requests.first_sentence(text)) for (names, _), text in brief])
            return
        for group in GROUPS:
            of_group = (
                option for option in options if (option.opt.group if isinstance(option, Option) else "Running") == group
            )
            records = [option.get_help_record(ctx) for option in of_group]
            if records:
                with formatter.section(group):
                    formatter.write_dl([record for record in records if record])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples; the first one alone where the help is brief."""
        is_whole = ctx.meta.get("clipclean.all", False)
        if not (examples := self.examples if is_whole else self.examples[:1]):
            return
        formatter.write_paragraph()
        with formatter.indentation() if is_whole else contextlib.nullcontext():
            lines = "".join(f"\n  clipclean {example}" for example in examples)
            formatter.write_text(f"\b\nExample{'s' if len(examples) > 1 else ''}:{lines}")


def _show_all(context: click.Context, _option: click.Parameter, is_asked: bool) -> None:
    if is_asked and not context.resilient_parsing:
        context.meta["clipclean.all"] = True
        click.echo(context.get_help())
        context.exit()


def _say_variables(context: click.Context) -> None:
    """Say which variables set an option, and which of ours set nothing: a setting that has no effect is not silent."""
    names = [name for name in FREE_OPTIONS if context.get_parameter_source(name) is ParameterSource.ENVIRONMENT]
    if names:
        process.say(
            f"clipclean: from the environment: {', '.join(f'{variable(n)}={os.environ[variable(n)]}' for n in names)}"
        )
    variables = {*OTHER_VARIABLES, *map(variable, FREE_OPTIONS)}
    if idle := sorted(name for name in os.environ if name.startswith("CLIPCLEAN_") and name not in variables):
        process.say(
            f"clipclean: note: {', '.join(idle)} set nothing. Variables are {', '.join(sorted(variables))}; all else is set by options, "
            "or by a file that --config names."
        )


class CommandGroup(click.Group):
    """A group whose commands are ours."""

    command_class = Command


@dataclass(frozen=True)
class Nothing:
    """The request of a command that is asked nothing."""


def command_of(
    kind: Callable[..., Request],
    shell_options: str,
    /,
    *examples: str,
    name: str = "",
    shell: type[Shell] = Shell,
    group: Any = click,
) -> Callable[[Callable[[Request, Shell], int | None]], click.Command]:
    """Make a function of a request, and of options of the terminal that are named, a command; ``group`` has a decorator as click has.

    The function gets both once they are checked, and the models are in the cache if they may be fetched.
    """
    names = shell_options.split()

    def decorated(run: Callable[[Request, Shell], int | None]) -> click.Command:
        options = requests.options(kind)

        def called(**values: Any) -> int | None:  # Any: values of options
            shell_values = shell(**{name: values[name] for name in names if name in values})
            fields_of_request = {name: values[name] for name in options if name in values}
            fields_of_request |= {name: not values[f"no_{name}"] for name, opt in options.items() if opt.is_negated}
            if shell_values.models:
                fields_of_request["model"] = shell_values.models[0]
            request = kind(**fields_of_request)
            roles.check(request, shell_values)
            if values.get("download"):
                from clipclean.cli import progress
                from clipclean.jobs import fetch

                with progress.display(quiet=shell_values.quiet):
                    shell_values, request = fetch.fetched(shell_values), fetch.fetched(request)
            return run(request, shell_values)

        called.__name__, called.__doc__ = name or run.__name__, run.__doc__
        command: Command = group.command(cls=Command, params=parameters(kind, shell, names))(called)
        command.examples = examples
        return command

    return decorated


def parameters(kind: object, shell: type[Shell], names: Sequence[str], /) -> list[click.Parameter]:
    """The arguments and options of a request, and those of the terminal at their places among them."""
    request_options, shell_options = requests.options(kind), requests.options(shell)
    request_fields, shell_fields = fields(kind), {field.name: field for field in fields(shell)}  # type: ignore[arg-type] # a dataclass
    click_parameters = [
        _parameter(request_options[field.name], field) for field in request_fields if request_options[field.name].spec
    ]
    for name in names:
        there = [parameter.name for parameter in click_parameters]
        places = [there.index(parameter) for parameter in shell_options[name].before if parameter in there]
        click_parameters.insert(
            places[0] if places else len(click_parameters), _parameter(shell_options[name], shell_fields[name])
        )
    return click_parameters


def _parameter(opt: Opt, field: Field[object]) -> click.Parameter:
    name, is_required = field.name, field.default is MISSING and field.default_factory is MISSING
    gather, kind = opt.gather, opt.kind
    settings: dict[str, Any] = {"shell_complete": COMPLETERS[opt.completes]}  # Any: click's own
    if gather is not None:
        settings["callback"] = lambda _context, _parameter, value: gather(value)
    if opt.is_path and not kind:
        kind = click.Path(readable=False, path_type=Path, file_okay=opt.writes != "folder")
    if not opt.flags:
        is_several = opt.spec.endswith("...")
        settings |= {"nargs": -1 if is_several else 1, "required": is_required or is_several}
        return click.Argument([name], metavar=opt.metavar, type=kind, **settings)
    if opt.metavar:
        settings |= {"metavar": opt.metavar, "type": kind, "multiple": opt.is_several}
    else:
        settings["is_flag"] = True  # never False: click would take a value with a dash for another option
    if field.default not in (MISSING, None, ()) and not isinstance(field.default, bool):
        settings["default"] = field.default
    if opt.is_free:
        settings |= {"envvar": variable(name), "show_envvar": True}
    settings |= {"show_default": opt.shown or None, "required": is_required} | EAGER_SETTINGS.get(name, {})
    option = Option([*opt.flags, f"no_{name}" if opt.is_negated else name], help=opt.text, **settings)
    option.opt = opt
    return option


def _loudness(context: click.Context, option: click.Parameter, is_given: bool) -> bool:
    """Note --verbose for ``cli.main``, and refuse it beside --quiet."""
    if is_given:
        context.meta[f"clipclean.{option.name}"] = True
    if context.meta.get("clipclean.quiet") and context.meta.get("clipclean.verbose"):
        raise click.UsageError("--quiet and --verbose exclude each other. Give one of them.")
    return is_given


EAGER_SETTINGS: dict[str, dict[str, Any]] = {  # options that act at once: click's own settings
    "config": {"expose_value": False, "is_eager": True, "callback": configure},
    "quiet": {"callback": _loudness},
    "verbose": {"callback": _loudness},
}


def _completer(
    names: Callable[[], Iterable[str]], *, files: bool = True
) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """Complete from names; ``files`` lets the shell go on with paths where no name fits."""

    def complete(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        fitting = [CompletionItem(name) for name in names() if name.startswith(incomplete)]
        return fitting or ([CompletionItem(incomplete, type="file")] if files else [])

    return complete


def _architectures() -> Iterable[str]:
    """open_clip's model configurations, by the names of their files: importing it would import torch."""
    package = find_spec("open_clip")
    places = (package.submodule_search_locations if package else None) or []
    return sorted(path.stem for place in places for path in Path(place).glob("model_configs/*.json"))


def _settings() -> Iterable[str]:
    """The values of a recipe that --set changes, as ``train.lr=``."""
    fields = importlib.import_module("clipclean.config.recipe").Recipe.model_fields
    sections = {name: getattr(field.annotation, "model_fields", ()) for name, field in fields.items()}
    return [f"{name}.{key}=" for name, keys in sections.items() for key in keys]


# What a shell offers, by the names in ``Opt.completes``; each module is imported when it asks.
COMPLETERS = {
    "": None,
    "recipes": _completer(lambda: importlib.import_module("clipclean.config.recipe").names()),
    "rules": _completer(lambda: importlib.import_module("clipclean.findings").RULES, files=False),
    "triggers": _completer(lambda: importlib.import_module("clipclean.attack.triggers").FAMILIES),
    "architectures": _completer(_architectures),
    "settings": _completer(_settings, files=False),
}
