"""Options of the terminal alone, beside those of ``requests``: what is printed where, which exit code, how loud; and files of defaults."""

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import click
from click.types import convert_type

from clipclean import requests, untrusted
from clipclean.cli import process
from clipclean.errors import UsageError
from clipclean.requests import Opt
from clipclean.schema.report_forms import REPORT_FORMS, form_of

FAIL_LEVELS = ("error", "inconclusive")  # of --fail-on


class Output(NamedTuple):
    """One ``--report``."""

    format: str
    path: Path


def output(text: str, formats: Sequence[str] = tuple(REPORT_FORMS), /) -> Output:
    """``json=report.json``, or a path whose suffix names the format."""
    form, equals, path = text.partition("=")
    if not equals and (by_suffix := form_of(text)) in formats:
        return Output(by_suffix, Path(text))
    if form not in formats:
        raise click.BadParameter(
            f"{form!r} is not a format. Choose from {', '.join(formats)}, as in json=report.json, or name a file such as report.html."
        )
    if path in ("", "-"):
        raise click.BadParameter(
            f"{text!r} names no file. Write {form}=PATH. --json prints JSON, and 'clipclean report convert' any form of it."
        )
    return Output(form, Path(path))


def distinct(outputs: tuple[Output, ...], /) -> tuple[Output, ...]:
    """Refuse two outputs to one place: the second would replace the first."""
    paths = [output.path for output in outputs]
    if twice := [path for path in paths if paths.count(path) > 1]:
        raise click.BadParameter(f"two reports go to {twice[0]}. Give each a place of its own.")
    return outputs


def reports(text: str, formats: Sequence[str] = tuple(REPORT_FORMS), /) -> Opt:
    """``--report`` of a command that has these formats."""
    kind = convert_type(lambda words: output(words, formats))
    return Opt(
        text.format(", ".join(formats)),
        "[FORMAT=]PATH",
        takes=kind,
        is_several=True,
        gather=distinct,
        at=("Output", 170),
        in_brief=True,
    )


WORKERS = Opt(
    "Threads that decode images and prepare batches.",
    "N",
    takes=click.IntRange(1, 256),
    shown="one per processor, 16 at most",
    at=("Data", 70),
)


def short_form(key: str, metavar: str, kind: click.ParamType[float], *, rank: int) -> Opt:
    """An option that sets one value of a recipe."""
    return Opt(
        f"Short for --set train.{key}={metavar}.", metavar, takes=kind, shown="the recipe's", at=("Cleaning", rank)
    )


FAIL_ON = Opt(
    "Verdicts that make the exit code other than 0. With error fail alone; with inconclusive fail and inconclusive.",
    takes=click.Choice(FAIL_LEVELS),
    at=("Verdict", 30),
    in_brief=True,
)
BASELINE = Opt(
    "An earlier report. The exit code is 0 if no finding is new or worse than in it. Does not affect the report.",
    "REPORT.JSON",
    reads="path",
    at=("Verdict", 40),
)
EXIT_ZERO = Opt("Exit 0 for every verdict, so that a job continues. Errors keep their exit codes.", at=("Verdict", 50))
REPORT_DIR = Opt(
    "Folder for a report of each model, as JSON, HTML, SARIF, JUnit and Markdown.",
    "DIR",
    writes="folder",
    at=("Output", 160),
)
REPORT = reports(
    "Also write the report to a file. As {}, or by the suffix of PATH. Repeatable. Does not affect the exit code."
)
QUIET = Opt(
    "Show no progress on stderr, and a report as one line. Errors and other results still appear.",
    at=("Running", 40),
    has_letter=True,
)
CONFIG = Opt(
    "File with defaults of options: a clipclean.yaml, or [tool.clipclean] of a pyproject.toml. One that is only found in "
    "the working folder sets no more than device, workers, quiet and verbose; off uses none.",
    "FILE|off",
    reads="path",
    shown="clipclean.yaml or pyproject.toml of the working folder",
    at=("Running", 50),
    has_letter=True,
)
DRY_RUN = Opt(
    "Check everything, print steps and estimate, and stop. Nothing is written.", at=("Running", 70), in_brief=True
)


@dataclass(frozen=True, kw_only=True)
class Shell:
    """What commands can be asked beside their requests; each names those that it has."""

    models: Annotated[tuple[Path, ...], Opt(argument="MODEL...", reads="path", is_model=True)] = ()
    workers: Annotated[int | None, WORKERS] = None
    epochs: Annotated[float | None, short_form("epochs", "N", click.FLOAT, rank=30)] = None
    lr: Annotated[float | None, short_form("lr", "RATE", click.FLOAT, rank=40)] = None
    batch_size: Annotated[int | None, short_form("batch_size", "N", click.INT, rank=100)] = None
    fail_on: Annotated[str, FAIL_ON] = "inconclusive"
    baseline: Annotated[Path | None, BASELINE] = None
    exit_zero: Annotated[bool, EXIT_ZERO] = False
    report_dir: Annotated[Path | None, REPORT_DIR] = None
    outputs: Annotated[tuple[Output, ...], REPORT] = ()
    as_json: Annotated[bool, Opt("Print the result as JSON.", at=("Output", 180))] = False
    quiet: Annotated[bool, QUIET] = False
    config: Annotated[Path | None, CONFIG] = None
    verbose: Annotated[
        bool, Opt("Show more detail on stderr, and a traceback on errors.", at=("Running", 60), has_letter=True)
    ] = False
    dry_run: Annotated[bool, DRY_RUN] = False


# Options that go together, by their names.
RESULT_OPTIONS = ("as_json", "quiet", "config", "verbose")
VERDICT_OPTIONS = ("fail_on", "baseline", "exit_zero")


# Defaults from a project's ``clipclean.yaml``, or from ``[tool.clipclean]`` in ``pyproject.toml``. A flag wins over a variable, and a
# variable over the file. A file of the working folder that no flag named may come with a cloned repository: like a variable it sets only
# what is in ``FREE_OPTIONS``.

CONFIG_NAME, PROJECT_NAME, CONFIG_OFF = "clipclean.yaml", "pyproject.toml", "off"
CONFIG_BYTES = 1_000_000  # bytes
FREE_OPTIONS = ("device", "workers", "quiet", "verbose")  # they move no verdict, name no path, open no network
FLAG_ONLY_OPTIONS = ("config", "download", "help")  # neither a variable nor a file sets them

Values = Mapping[str, Any]  # plain values of YAML or TOML, or click's of parameters


def configure(context: click.Context, _option: click.Parameter, named_path: Path | None) -> None:
    """Let a configuration give the defaults of a command, and say so; the callback of ``--config``.

    Raises:
        UsageError: the file cannot be read, sets what is no option, or more than a file may that no flag named.
    """
    path = named_path or configuration(Path.cwd())
    if context.resilient_parsing or path is None or str(named_path) == CONFIG_OFF:
        return
    command = context.command
    defaults = _defaults(command, context, configured(path), path)
    flags = {str(option.name): f"--{flag}" for flag, option in _flags(command).items()}
    if not named_path and (refused_flags := [flags[name] for name in defaults if name not in FREE_OPTIONS]):
        raise UsageError(
            f"{path} sets {', '.join(refused_flags)}, but no flag named it. Such a file may set only "
            f"{', '.join(f'--{name}' for name in FREE_OPTIONS)}: it may have come with a repository. If it is yours, give "
            f"--config {path.name}; --config {CONFIG_OFF} leaves it out."
        )
    context.default_map = {**(context.default_map or {}), **defaults}
    several = {flags[name]: value if isinstance(value, list) else [value] for name, value in defaults.items()}
    as_written = (
        " ".join(flag if item is True else f"{flag}={item}" for item in values) for flag, values in several.items()
    )
    process.say(f"clipclean: configuration {path} sets {', '.join(as_written) or 'nothing of this command'}")


def configuration(folder: Path, /) -> Path | None:
    """The configuration of a folder: ``clipclean.yaml``, else a ``pyproject.toml`` with a table for clipclean."""
    config_file, project_file = folder / CONFIG_NAME, folder / PROJECT_NAME
    if os.path.lexists(config_file):
        return config_file
    return project_file if project_file.is_file() and _table(project_file) is not None else None


def configured(path: Path, /) -> Values:
    """The values of a file.

    Raises:
        UsageError: it cannot be read, or holds none.
    """
    if path.suffix == ".toml":
        values = _table(path)
    else:
        from clipclean.config import yaml_file

        document = yaml_file.read(_text(path), noun="configuration")
        if document.problems:
            raise UsageError(
                "\n".join(f"{path}:{problem.line}: {yaml_file.problem_text(problem)}" for problem in document.problems)
            )
        values = {} if document.values is None else document.values
    if not isinstance(values, dict):
        table = f"a table [tool.clipclean] in {path}" if path.suffix == ".toml" else f"lines in {path}"
        raise UsageError(
            f"{path} holds no settings. Write {table}, such as device = 'cpu' in TOML or device: cpu in YAML."
        )
    return values


def _table(path: Path) -> object:
    """``[tool.clipclean]``; None where there is none. A file that is no TOML and does not name us is not ours to judge."""
    text = _text(path)
    try:
        tool = tomllib.loads(text).get("tool", {})
    except (ValueError, RecursionError) as error:
        if "clipclean" not in text:
            return None
        raise UsageError(
            f"{path} is not valid TOML ({str(error)[:200]}). Mend it, or give --config {CONFIG_OFF}."
        ) from error
    return tool.get("clipclean") if isinstance(tool, dict) else None


def _text(path: Path) -> str:
    try:
        return untrusted.read(path, limit=CONFIG_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text. Save it as UTF-8, or give --config {CONFIG_OFF}.") from error
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(
            f"Cannot read the configuration {path}: {why}. Mend it, name another by --config, or give --config {CONFIG_OFF}."
        ) from error


def _defaults(command: click.Command, context: click.Context, values: Values, path: Path) -> dict[str, Any]:
    """The defaults of one command: those for all commands that know them, then those of its own section."""
    from clipclean import cli

    commands = {name: cli.cli.get_command(context, name) for name in cli.COMMANDS}
    all_flags = {flag for command_ in commands.values() if command_ is not None for flag in _flags(command_)}
    sections = {name: value for name, value in values.items() if name in commands and isinstance(value, dict)}
    flags, section = _flags(command), sections.get(str(context.info_name), {})
    shared = {name: value for name, value in values.items() if name not in sections}
    _refuse_unknown(shared, all_flags, path, "no option of any command")
    _refuse_unknown(section, flags, path, f"no option of {context.info_name}")
    options = {name: value for name, value in shared.items() if name in flags} | section
    return {str(flags[key].name): _value(flags[key], key, value, path) for key, value in options.items()}


def _refuse_unknown(values: Values, options: Iterable[str], path: Path, what: str) -> None:
    """Refuse keys that are no option: a misspelt one would silently change nothing."""
    names = set(options)
    if unknown := [key for key in values if key not in names]:
        close = [near for key in unknown for near in difflib.get_close_matches(key, names, n=1)]
        raise UsageError(
            f"{path}: {', '.join(map(repr, unknown))}: {what}. {f'Did you mean {untrusted.some(close)}? ' if close else ''}Keys are "
            "long options without their dashes, as --help-all of a command lists them, or the name of a command with such keys below it. "
            f"{requests.instead([f'--{key}' for key in unknown])}".rstrip()
        )


def _flags(command: click.Command) -> dict[str, click.Option]:
    """Options by the name of their long flag, those that a file may set."""
    options = (
        option for option in command.params if isinstance(option, click.Option) and option.name not in FLAG_ONLY_OPTIONS
    )
    return {max(option.opts, key=len).removeprefix("--"): option for option in options}


def _value(option: click.Option, key: str, value: object, path: Path) -> object:
    """A value as the command line would have it."""
    if option.is_flag:
        if not isinstance(value, bool):
            raise UsageError(f"{path}: {key} is true or false, not {value!r}.")
        return value
    several = value if isinstance(value, list) and option.multiple else [value]
    if any(isinstance(item, dict | list | bool) or item is None for item in several):
        raise UsageError(f"{path}: {key} takes {'values' if option.multiple else 'one value'}, not {value!r}.")
    words = [str(item) for item in several]
    for item in words:
        requests.check_text(f"{path}: {key}", item)
    return words if option.multiple else words[0]
