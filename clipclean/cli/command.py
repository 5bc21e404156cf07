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
from clipclean.cli.options import FREE, Shell, configure
from clipclean.requests import GROUPS, Opt

Asked = TypeVar("Asked")  # a request

FEW = 12  # options that --help shows without choosing
OTHERS = ("CLIPCLEAN_STATE", "CLIPCLEAN_DOCS", "CLIPCLEAN_DEBUG")  # variables that set no option


class Option(click.Option):
    """An option of a request. Those that a variable may set are the same for all commands."""

    known: Opt


def variable(name: str, /) -> str:
    """The variable of a parameter."""
    return f"CLIPCLEAN_{name.upper()}"


class Command(click.Command):
    """A command of ours: options in groups, variables that are told, and words for what is gone."""

    examples: tuple[str, ...] = ()  # of its use, without the name of the program

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does; what is gone is refused with what to use instead."""
        given = tuple(args)  # click empties the list
        for each in given:
            requests.check_text(each.partition("=")[0] if each.startswith("-") else "an argument", each)
        try:
            rest = super().parse_args(ctx, args)
        except click.UsageError as error:
            own = {name for each in self.params for name in each.opts}  # what is gone elsewhere
            if instead := requests.instead([each for each in given if each not in own]):
                raise click.UsageError(f"{error.format_message()} {instead}", ctx) from None
            raise
        if not ctx.resilient_parsing:
            _say_variables(ctx)
        return rest

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
        *own, last = super().get_params(ctx)
        return [*own, everything, last]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """A section for each group, in one order for all commands; or the options that most runs need, in a line or two each."""
        options = [each for each in self.get_params(ctx) if isinstance(each, click.Option) and not each.hidden]
        if not ctx.meta.get("clipclean.all"):
            is_short = len(self.params) > FEW
            shown = [  # without a group those of the help
                each
                for each in options
                if not (is_short and isinstance(each, Option)) or each.required or each.known.is_first
            ]
            with formatter.section("Options"):
                brief = [(each.get_help_record(ctx) or ("", ""), each.help or "") for each in shown]
                formatter.write_dl([(names, requests.first_sentence(text)) for (names, _), text in brief])
            return
        for group in GROUPS:
            of_group = (
                each for each in options if (each.known.group if isinstance(each, Option) else "Running") == group
            )
            records = [each.get_help_record(ctx) for each in of_group]
            if records:
                with formatter.section(group):
                    formatter.write_dl([record for record in records if record])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples; the first one alone where the help is brief."""
        is_whole = ctx.meta.get("clipclean.all", False)
        if not (shown := self.examples if is_whole else self.examples[:1]):
            return
        formatter.write_paragraph()
        with formatter.indentation() if is_whole else contextlib.nullcontext():
            told = "".join(f"\n  clipclean {each}" for each in shown)
            formatter.write_text(f"\b\nExample{'s' if len(shown) > 1 else ''}:{told}")


def _show_all(context: click.Context, _option: click.Parameter, is_asked: bool) -> None:
    if is_asked and not context.resilient_parsing:
        context.meta["clipclean.all"] = True
        click.echo(context.get_help())
        context.exit()


def _say_variables(context: click.Context) -> None:
    """Say which variables set an option, and which of ours set nothing: a setting that has no effect is not silent."""
    names = [name for name in FREE if context.get_parameter_source(name) is ParameterSource.ENVIRONMENT]
    if names:
        process.say(
            f"clipclean: from the environment: {', '.join(f'{variable(n)}={os.environ[variable(n)]}' for n in names)}"
        )
    known = {*OTHERS, *map(variable, FREE)}
    if idle := sorted(name for name in os.environ if name.startswith("CLIPCLEAN_") and name not in known):
        process.say(
            f"clipclean: note: {', '.join(idle)} set nothing. Variables are {', '.join(sorted(known))}; all else is set by options, "
            "or by a file that --config names."
        )


class CommandGroup(click.Group):
    """A group whose commands are ours."""

    command_class = Command


@dataclass(frozen=True)
class Nothing:
    """The request of a command that is asked nothing."""


def command_of(
    kind: Callable[..., Asked],
    named: str,
    /,
    *examples: str,
    name: str = "",
    shell: type[Shell] = Shell,
    group: Any = click,
) -> Callable[[Callable[[Asked, Shell], int | None]], click.Command]:
    """Make a function of a request, and of options of the terminal that are named, a command; ``group`` has a decorator as click has.

    The function gets both once they are checked, and the models are in the cache if they may be fetched.
    """
    names = named.split()

    def decorated(run: Callable[[Asked, Shell], int | None]) -> click.Command:
        known = requests.options(kind)

        def called(**given: Any) -> int | None:  # Any: values of options
            beside = shell(**{each: given[each] for each in names if each in given})
            values = {each: given[each] for each in known if each in given}
            values |= {each: not given[f"no_{each}"] for each, opt in known.items() if opt.is_negated}
            if beside.models:
                values["model"] = beside.models[0]
            asked = kind(**values)
            roles.check(asked, beside)
            if given.get("download"):
                from clipclean.cli import progress
                from clipclean.jobs import fetch

                with progress.shown(quiet=beside.quiet):
                    beside, asked = fetch.fetched(beside), fetch.fetched(asked)
            return run(asked, beside)

        called.__name__, called.__doc__ = name or run.__name__, run.__doc__
        made: Command = group.command(cls=Command, params=parameters(kind, shell, names))(called)
        made.examples = examples
        return made

    return decorated


def parameters(kind: object, shell: type[Shell], names: Sequence[str], /) -> list[click.Parameter]:
    """The arguments and options of a request, and those of the terminal at their places among them."""
    asked, beside = requests.options(kind), requests.options(shell)
    own, fields_beside = fields(kind), {each.name: each for each in fields(shell)}  # type: ignore[arg-type] # a dataclass
    made = [_parameter(asked[each.name], each) for each in own if asked[each.name].spec]
    for name in names:
        there = [other.name for other in made]
        places = [there.index(other) for other in beside[name].before if other in there]
        made.insert(places[0] if places else len(made), _parameter(beside[name], fields_beside[name]))
    return made


def _parameter(known: Opt, field: Field[object]) -> click.Parameter:
    name, is_required = field.name, field.default is MISSING and field.default_factory is MISSING
    gather, kind = known.gather, known.kind
    settings: dict[str, Any] = {"shell_complete": COMPLETERS[known.completes]}  # Any: click's own
    if gather is not None:
        settings["callback"] = lambda _context, _parameter, value: gather(value)
    if known.is_path and not kind:
        kind = click.Path(readable=False, path_type=Path, file_okay=known.writes != "folder")
    if not known.flags:
        is_several = known.spec.endswith("...")
        settings |= {"nargs": -1 if is_several else 1, "required": is_required or is_several}
        return click.Argument([name], metavar=known.metavar, type=kind, **settings)
    if known.metavar:
        settings |= {"metavar": known.metavar, "type": kind, "multiple": known.is_several}
    else:
        settings["is_flag"] = True  # never False: click would take a value with a dash for another option
    if field.default not in (MISSING, None, ()) and not isinstance(field.default, bool):
        settings["default"] = field.default
    if known.is_free:
        settings |= {"envvar": variable(name), "show_envvar": True}
    settings |= {"show_default": known.shown or None, "required": is_required} | ACTS.get(name, {})
    made = Option([*known.flags, f"no_{name}" if known.is_negated else name], help=known.text, **settings)
    made.known = known
    return made


def _loudness(context: click.Context, option: click.Parameter, is_given: bool) -> bool:
    """Note --verbose for ``cli.main``, and refuse it beside --quiet."""
    if is_given:
        context.meta[f"clipclean.{option.name}"] = True
    if context.meta.get("clipclean.quiet") and context.meta.get("clipclean.verbose"):
        raise click.UsageError("--quiet and --verbose exclude each other. Give one of them.")
    return is_given


ACTS: dict[str, dict[str, Any]] = {  # options that act at once: click's own settings
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
    found = find_spec("open_clip")
    places = (found.submodule_search_locations if found else None) or []
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
