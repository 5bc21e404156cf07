"""Defaults of options from a project's own file: ``clipclean.yaml``, or ``[tool.clipclean]`` in ``pyproject.toml``.

A flag wins over a variable, and a variable over the file. A file of the working folder that no flag named may come with a cloned
repository: like a variable it sets only what is in ``FREE_OPTIONS``.
"""

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from clipclean import requests, untrusted
from clipclean.cli import process
from clipclean.errors import UsageError

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
            f"{path}: {', '.join(map(repr, unknown))}: {what}. {f'Did you mean {untrusted.first_few(close)}? ' if close else ''}Keys are "
            "long options without their dashes, as --help-all of a command lists them, or the name of a command with such keys below it. "
            f"{requests.replacement_words([f'--{key}' for key in unknown])}".rstrip()
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
