"""A click command whose options are the fields of a request, shown in groups in one order, and completed in a shell."""

import contextlib
import functools
import importlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING, Field, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from clipclean import requests
from clipclean.api import roles
from clipclean.cli import HELP_NAMES, process
from clipclean.cli.config_file import FREE_OPTIONS, configure
from clipclean.cli.groups import AdvisingGroup
from clipclean.cli.options import Shell
from clipclean.requests import HelpGroup, Opt, Request

MANY_OPTIONS = 12  # of a command with more --help shows those in_brief alone; --help-all shows all
OTHER_VARIABLES = ("CLIPCLEAN_STATE", "CLIPCLEAN_DOCS", "CLIPCLEAN_DEBUG")  # variables that set no option


def variable(name: str, /) -> str:
    """The variable of a parameter."""
    return f"CLIPCLEAN_{name.upper()}"


class Option(click.Option):
    """An option of ours, which knows its place in the help."""

    def __init__(self, names: Sequence[str], *, opt: Opt, **settings: Any) -> None:  # Any: of click
        super().__init__(names, help=opt.help, **settings)
        self.opt = opt


class Command(click.Command):
    """A command of ours: options in groups, variables that are told, and words for what is gone."""

    def __init__(self, *names: Any, examples: Sequence[str] = (), **settings: Any) -> None:  # Any: of click
        super().__init__(*names, **settings)
        self.examples = examples  # of its use, without the name of the program

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does; what is gone is refused with what to use instead."""
        words = tuple(args)  # click empties the list
        for word in words:
            requests.check_text(word.partition("=")[0] if word.startswith("-") else "an argument", word)
        try:
            remaining = super().parse_args(ctx, args)
        except click.UsageError as error:
            flags = {name for parameter in self.params for name in parameter.opts}  # what is gone elsewhere
            if instead := requests.replacement_words([word for word in words if word not in flags]):
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

    def get_help_option_names(self, ctx: click.Context) -> list[str]:  # click's signature
        """Both names in every context: click keeps the option of the first, which may have no group above it."""
        return list(HELP_NAMES)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """A section for each group, in one order for all commands; or the options that most runs need, in a line or two each."""
        options = [option for option in self.get_params(ctx) if isinstance(option, click.Option)]
        records = [(option, option.get_help_record(ctx) or ("", "")) for option in options]
        if not ctx.meta.get("clipclean.all"):
            visible = [
                (names, requests.first_sentence(option.help or ""))
                for option, (names, _) in records
                if len(self.params) <= MANY_OPTIONS or option.required or opt_of(option).in_brief
            ]
            with formatter.section("Options"):
                formatter.write_dl(visible)
            return
        for group in get_args(HelpGroup):
            if rows := [record for option, record in records if opt_of(option).help_position[0] == group]:
                with formatter.section(group):
                    formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples; the first one alone where the help is brief."""
        is_whole = ctx.meta.get("clipclean.all", False)
        if not (examples := self.examples if is_whole else self.examples[:1]):
            return
        formatter.write_paragraph()
        with formatter.indentation() if is_whole else contextlib.nullcontext():
            lines = "".join(f"\n  clipclean {example}" for example in examples)
            formatter.write_text(f"\b\nExample{'s' if len(examples) > 1 else ''}:{lines}")


def opt_of(option: click.Option, /) -> Opt:
    """The declaration of an option; click's own, which are of the help itself, come last and in every help."""
    return option.opt if isinstance(option, Option) else Opt(in_brief=True)


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


class CommandGroup(AdvisingGroup):
    """A group whose commands are ours."""

    command_class = Command


def command_of(
    kind: type[Request],
    shell_options: Sequence[str],
    /,
    *examples: str,
    shell: type[Shell] = Shell,
    group: click.Group | None = None,
) -> Callable[[Callable[[Request, Shell], int | None]], click.Command]:
    """Make a function of a request, and of options of the terminal that are named, a command; of a group, where there is one.

    The function gets both once they are checked, and the models are in the cache if they may be fetched.
    """

    def decorated(run: Callable[[Request, Shell], int | None]) -> click.Command:
        kinds = fields(kind)  # type: ignore[arg-type] # a dataclass

        @functools.wraps(run)
        def called(**values: Any) -> int | None:  # Any: values of options
            values |= {name.removeprefix("no_"): not value for name, value in values.items() if name.startswith("no_")}
            shell_values = shell(**{name: values[name] for name in shell_options if name in values})
            if shell_values.models:
                values["model"] = shell_values.models[0]
            request = kind(**{field.name: values[field.name] for field in kinds if field.name in values})
            roles.check(request, shell_values)
            if values.get("download"):
                from clipclean.cli import progress
                from clipclean.jobs import fetch

                with progress.display(quiet=shell_values.quiet):
                    shell_values, request = fetch.fetched(shell_values), fetch.fetched(request)
            return run(request, shell_values)

        params = parameters(kind, shell, shell_options)
        return (group.command if group else click.command)(cls=Command, params=params, examples=examples)(called)

    return decorated


def parameters(kind: object, shell: type[Shell], shell_options: Sequence[str], /) -> list[click.Parameter]:
    """The arguments of a request and of the terminal, then the options of both in the order of the help."""
    options_by_name = requests.options(kind) | {name: requests.options(shell)[name] for name in shell_options}
    by_name = {field.name: field for source in (shell, kind) for field in fields(source)}  # type: ignore[arg-type] # dataclasses
    declared = ((name, opt) for name, opt in options_by_name.items() if opt.argument or opt.help)
    return [_parameter(opt, by_name[name]) for name, opt in sorted(declared, key=lambda item: _help_position(item[1]))]


def _help_position(opt: Opt) -> tuple[int, int]:
    """What orders the parameters of a command: arguments as they are declared, then options as the help shows them."""
    group, rank = opt.help_position
    return (-1, 0) if opt.argument else (get_args(HelpGroup).index(group), rank)


def _parameter(opt: Opt, field: Field[object]) -> click.Parameter:
    name, is_required = field.name, field.default is MISSING and field.default_factory is MISSING
    gather, kind = opt.gather, opt.kind
    settings: dict[str, Any] = {"shell_complete": COMPLETERS.get(name)}  # Any: click's own
    if gather is not None:
        settings["callback"] = lambda _context, _parameter, value: gather(value)
    if opt.is_path and not kind:
        kind = click.Path(readable=False, path_type=Path, file_okay=opt.writes != "folder")
    if opt.argument:
        is_several = opt.argument.endswith("...")
        settings |= {"nargs": -1 if is_several else 1, "required": is_required or is_several}
        return click.Argument([name], metavar=opt.argument, type=kind, **settings)
    if metavar := opt.metavar or "|".join(getattr(kind, "choices", ())):
        settings |= {"metavar": metavar, "type": kind, "multiple": opt.is_several}
    else:
        settings["is_flag"] = True  # never False: click would take a value with a dash for another option
    if field.default not in (MISSING, None, ()) and not isinstance(field.default, bool):
        settings["default"] = field.default
    if name in FREE_OPTIONS:
        settings |= {"envvar": variable(name), "show_envvar": True}
    settings |= {"show_default": opt.default_words or None, "required": is_required} | EAGER_SETTINGS.get(name, {})
    flags = [requests.flag(name, is_negated=field.default is True), *([f"-{name[0]}"] if opt.has_letter else [])]
    return Option([*flags, f"no_{name}" if field.default is True else name], opt=opt, **settings)


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
    folders = (package.submodule_search_locations if package else None) or []
    return sorted(path.stem for folder in folders for path in Path(folder).glob("model_configs/*.json"))


def _settings() -> Iterable[str]:
    """The values of a recipe that --set changes, as ``train.lr=``."""
    fields = importlib.import_module("clipclean.config.recipe").Recipe.model_fields
    sections = {name: getattr(field.annotation, "model_fields", ()) for name, field in fields.items()}
    return [f"{name}.{key}=" for name, keys in sections.items() for key in keys]


# What a shell offers for an option, by its name; each module is imported when it asks.
RECIPE_NAMES = _completer(lambda: importlib.import_module("clipclean.config.recipe").names())
RULE_CODES = _completer(lambda: importlib.import_module("clipclean.findings").RULES, files=False)
TRIGGER_FAMILIES = _completer(lambda: importlib.import_module("clipclean.attack.triggers").KNOWN_FAMILIES)
COMPLETERS = {
    "recipe": RECIPE_NAMES,
    "names": RECIPE_NAMES,
    "trigger": TRIGGER_FAMILIES,
    "arch": _completer(_architectures),
    "set": _completer(_settings, files=False),
}
as_json_option = click.option("--json", "as_json", cls=Option, opt=requests.options(Shell)["as_json"], is_flag=True)
