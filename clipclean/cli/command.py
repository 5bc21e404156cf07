"""A click command that shows its options in groups."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from clipclean.api.parameters import PARAMETERS
from clipclean.cli import config_file, gone, process

# The values of a command's options, by the names of its parameters: click knows no types of them.
Given = dict[str, Any]
Decorated = TypeVar("Decorated", bound=Callable[..., Any])  # any function that becomes a command

GROUPS = {  # of parameters, in the order of the help; those that stand in none are of the output
    "Data": ("data", "eval_data", "image_key", "caption_key", "classes", "templates", "workers"),
    "Model": ("model", "reference", "references", "arch", "weights", "download"),
    "Cleaning": ("recipe", "set", "epochs", "lr", "batch_size", "screen", "precision", "rate", "steps", "attacks",
                 "seeds"),
    "Search": ("effort", "power", "trigger", "target", "trusted", "drop", "false_drop_rate", "no_panel", "no_search"),
    "Verdict": ("policy", "ignore", "max_accuracy_loss", "fail_on", "baseline", "exit_zero", "keep_failed",
                "public_key"),
    "Output": (),
    "Running": ("config", "device", "seed", "max_minutes", "dry_run", "quiet", "verbose"),
}  # fmt: skip
FEW = 12  # options that --help shows without choosing
FIRST = frozenset(  # parameters that --help shows of a command with more; --help-all shows all
    {"data", "model", "classes", "reference", "recipe", "effort", "power", "trigger", "target", "fail_on", "drop", "save_kept",
     "out", "outputs", "dry_run"}
)  # fmt: skip
OTHERS = ("CLIPCLEAN_STATE", "CLIPCLEAN_DOCS", "CLIPCLEAN_DEBUG")  # variables that set no option


class Option(click.Option):
    """An option with the group that it stands in. Those that a variable may set are the same for all commands."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:  # Any: click's own settings
        super().__init__(*arguments, **settings)
        self.group = next((group for group, names in GROUPS.items() if self.name in names), "Output")
        if self.name in config_file.FREE:
            self.envvar, self.show_envvar = variable(self.name), True


def variable(name: str, /) -> str:
    """The variable of a parameter."""
    return f"CLIPCLEAN_{name.upper()}"


class Command(click.Command):
    """A command of ours: options in groups, variables that are told, and words for what is gone."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does; what is gone is refused with what to use instead."""
        given = tuple(args)  # click empties the list
        try:
            rest = super().parse_args(ctx, args)
        except click.UsageError as error:
            own = {name for each in self.params for name in each.opts}  # what is gone elsewhere
            if instead := gone.told([each for each in given if each not in own]):
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
                if not is_short or each.required or each.name in FIRST or not hasattr(each, "group")
            ]
            with formatter.section("Options"):
                formatter.write_dl([_brief(each, ctx) for each in shown])
            return
        for group in GROUPS:
            records = [each.get_help_record(ctx) for each in options if getattr(each, "group", "Running") == group]
            if records:
                with formatter.section(group):
                    formatter.write_dl([record for record in records if record])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples; the first one alone where the help is brief."""
        title, *examples = (self.epilog or "").strip().split("\n  clipclean ")
        if examples and not ctx.meta.get("clipclean.all"):
            formatter.write_paragraph()
            formatter.write_text(f"{title.removesuffix('s:').removesuffix(':')}:\n  clipclean {examples[0]}")
            return
        super().format_epilog(ctx, formatter)


def _brief(option: click.Option, context: click.Context) -> tuple[str, str]:
    """An option and the first sentence of its help."""
    names, _ = option.get_help_record(context) or ("", "")
    return names, re.split(r"(?<=[^.])\. ", option.help or "", maxsplit=1)[0].rstrip(".") + "."


def _show_all(context: click.Context, _option: click.Parameter, is_asked: bool) -> None:
    if is_asked and not context.resilient_parsing:
        context.meta["clipclean.all"] = True
        click.echo(context.get_help())
        context.exit()


def _say_variables(context: click.Context) -> None:
    """Say which variables set an option, and which of ours set nothing: a setting that has no effect is not silent."""
    names = [name for name in config_file.FREE if context.get_parameter_source(name) is ParameterSource.ENVIRONMENT]
    if names:
        process.say(
            f"clipclean: from the environment: {', '.join(f'{variable(n)}={os.environ[variable(n)]}' for n in names)}"
        )
    known = {*OTHERS, *map(variable, config_file.FREE)}
    if idle := sorted(name for name in os.environ if name.startswith("CLIPCLEAN_") and name not in known):
        process.say(
            f"clipclean: note: {', '.join(idle)} set nothing. Variables are {', '.join(sorted(known))}; all else is set by options, "
            "or by a file that --config names."
        )


class CommandGroup(click.Group):
    """A group whose commands are ours."""

    command_class = Command


def command(name: str | None = None, /, *, epilog: str) -> Callable[[Callable[..., Any]], Command]:
    """Make a function a command; its examples stand below its options."""
    return click.command(name, cls=Command, epilog=epilog)


def option(spec: str, text: str, /, *, dest: str = "", **settings: Any) -> Callable[[Decorated], Decorated]:
    """An option of a command: its flags and what they take, as in ``-o --out DIR``, and its help.

    It takes the values that ``PARAMETERS`` says; ``Any``, as click's own settings are.
    """
    flags = [word for word in spec.split() if word.startswith("-")]
    known = PARAMETERS.get(dest or max(flags, key=len)[2:].replace("-", "_"))
    kind = settings.get("type") or (known.kind if known else None)
    if metavar := spec.removeprefix(" ".join(flags)).strip() or "|".join(getattr(kind, "choices", ())):
        settings["metavar"] = metavar
        if known and known.is_path and not kind:
            kind = click.Path(readable=False, path_type=Path, file_okay=known.writes != "folder")
        settings["type"] = kind
    else:
        settings["is_flag"] = True  # and never False, which would let click take a value with a dash for another option
    return click.option(*flags, *filter(None, [dest]), cls=Option, help=text, **settings)
