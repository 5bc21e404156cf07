"""The arguments of the functions, checked as the command line checks its options, and completed into a request."""

import functools
import os
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, fields
from pathlib import Path
from typing import ParamSpec, TypeVar

import click

from clipclean import requests
from clipclean.errors import UsageError
from clipclean.progress import Listener, heard
from clipclean.requests import Opt, Request
from clipclean.untrusted import printable

FORMER_KEYWORDS = {  # keywords that are no more, each with its name now
    "overrides": "set",
    "triggers": "trigger",
    "formats": "format",
    "labels": "label",
    "no_audit": "panel",
    "no_search": "search",
}


RAISES = """\nRaises:
    ClipcleanError: of the kind that tells what went wrong; then nothing new is written.
"""

Arguments = ParamSpec("Arguments")
Outcome = TypeVar("Outcome")


@contextmanager
def requested(kind: type[Request], arguments: Mapping[str, object], /) -> Iterator[Request]:
    """What a function is asked, once it is checked; what is called meanwhile may search and train."""
    from clipclean.api import roles

    request = roles.checked_request(request_of(kind, arguments))
    from torch import enable_grad, inference_mode  # here: a refusal needs none of it

    # Whatever the caller does, or an interrupted call left behind: searches and trainings need gradients.
    with heard(Listener(steps=getattr(request, "progress", None))), inference_mode(False), enable_grad():
        yield request


def explained(kind: type[object], /) -> Callable[[Callable[Arguments, Outcome]], Callable[Arguments, Outcome]]:
    """Add to the help of a function what its arguments are, from the options of the request; a keyword that is gone is refused."""

    def decorated(function: Callable[Arguments, Outcome]) -> Callable[Arguments, Outcome]:
        @functools.wraps(function)
        def checked(*arguments: Arguments.args, **keywords: Arguments.kwargs) -> Outcome:
            for name in keywords.keys() & FORMER_KEYWORDS:
                raise UsageError(
                    f"{name} is gone: it is called {FORMER_KEYWORDS[name]} now, as the option of the command is."
                )
            return function(*arguments, **keywords)

        lines = "\n".join(f"    {name}: {opt.explanation}" for name, opt in requests.options(kind).items())
        head, raises, errors = textwrap.dedent(f"    {function.__doc__}").partition("\nRaises:")
        checked.__doc__ = f"{head.rstrip()}\n\nArgs:\n{lines}\n{f'{raises}{errors}' if raises else RAISES}"
        return checked

    return decorated


def request_of(kind: type[Request], arguments: Mapping[str, object], /) -> Request:
    """The request that a function is called with; ``arguments`` has a value for each of its fields.

    Raises:
        UsageError: a value is none that the command line would take.
    """
    options_by_name = requests.options(kind)
    for field in fields(kind):  # type: ignore[arg-type] # a dataclass
        default = field.default if field.default_factory is MISSING else None
        if arguments[field.name] is None and default not in (None, ()):
            if default is MISSING:
                raise UsageError(f"{field.name}: None is no value, and there is no default. Give one.")
            default = str(default) if isinstance(default, Path) else default
            raise UsageError(f"{field.name}: None is no value. Leave it out for the default, {default!r}.")
    return kind(**{name: completed(name, options_by_name[name], value) for name, value in arguments.items()})


def completed(name: str, option: Opt, value: object, /) -> object:
    """An argument of a function as a request has it: a place as a path, several as a tuple.

    Raises:
        UsageError: the command line would not take it, or would take it for another value.
    """
    if isinstance(value, Mapping) and option.is_several:
        value = [f"{key}={item}" for key, item in value.items()]
    values: object = None
    if option.value_type is requests.TEXT_FILE and isinstance(value, list | tuple):  # the names themselves, and no file
        values = tuple(_checked(name, Opt(), item) for item in value)
    elif option.is_several:
        many = value if isinstance(value, list | tuple) else () if value is None else (value,)
        values = tuple(_checked(name, option, item) for item in many)
    elif value is not None:
        values = _checked(name, option, value)
    return option.gather(values) if option.gather else values


def _checked(name: str, option: Opt, value: object) -> object:
    if isinstance(value, str):
        value = str.__str__(value)  # of a class of the caller's own nothing but its text counts
    if (kind := option.kind) is not None and not isinstance(kind, click.Path):
        try:
            typed_value = kind.convert(value, None, None)
        except (click.BadParameter, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise UsageError(f"{name}: {printable(getattr(error, 'message', error))}") from error
        if typed_value != value or isinstance(value, bool) != isinstance(typed_value, bool):
            raise UsageError(
                f"{name}: {printable(repr(value)[:80])} is of type {type(value).__name__}. Give {typed_value!r}."
            )
        return typed_value
    is_called = option.python_attribute == "__call__"
    if isinstance(value, str | os.PathLike) and not is_called:
        text = _text_of(name, value)
        requests.check_text(name, text)
        if option.is_path:
            requests.check_path(name, Path(text))
        return Path(text) if option.is_path else text
    if option.python_attribute and hasattr(value, option.python_attribute):
        return value
    what = "an open_clip module or a path" if option.is_model else "a path" if option.is_path else "a text"
    what = "a function" if is_called else what
    raise UsageError(f"{name}: {printable(repr(value)[:80])} is of type {type(value).__name__}. Give {what}.")


def path_of(name: str, value: object, /) -> Path:
    """A place that is given to a function; raises UsageError for what is none."""
    return Path(str(_checked(name, Opt(reads="path"), value)))


def _text_of(name: str, value: str | os.PathLike[str]) -> str:
    """A text or path as a plain text; raises UsageError for a path that is none, whatever its class raises."""
    try:
        text: object = os.fspath(value)
    except Exception as error:
        raise UsageError(
            f"{name}: {type(value).__name__} gives no path ({type(error).__name__}). Give a text."
        ) from error
    if not isinstance(text, str):
        raise UsageError(f"{name}: {type(value).__name__} gives {type(text).__name__} as its path. Give a text.")
    return str.__str__(text)
