"""The parameters of commands and functions: what each reads or writes, and which values it takes.

Here is the one home of both: the command line takes its types of options from here, and the functions check their arguments by
the same ones.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import click
from click.types import convert_type

from clipclean.config.policy import Policy
from clipclean.config.recipe import EFFORTS, Recipe
from clipclean.errors import UsageError
from clipclean.export import formats, onnx_presets

Values = Mapping[str, Any]  # Any: values by the names of options


def share(*words: str) -> Callable[[Any], float | str]:  # Any: what a user gives
    """A reader of a share above 0 and below 1, which is written as 2%; or of one of some words."""

    def read(value: Any) -> float | str:
        if value in words:
            return str(value)
        found = re.fullmatch(r"([0-9]{1,2}(?:\.[0-9]{1,6})?) ?%", str(value))
        share = float(found[1]) / 100 if found else value
        if isinstance(share, str) or not 0 < share < 1:
            raise click.BadParameter(
                f"{value!r} is no share{' and not '.join(['', *words])}. Write a share above 0 and below 100 % such as 2%."
            )
        return share

    return read


def label(text: str, /) -> str:
    """The text, if it is a label; bounded, since labels stand in every form of the report."""
    key, equals, words = text.partition("=")
    is_key = re.fullmatch(r"[A-Za-z][A-Za-z0-9._/-]{0,62}", key)
    if not equals or not is_key or len(words) > 200 or not words.isprintable():
        raise click.BadParameter(
            f"{text[:80]!r} is not a label. Write KEY=VALUE: a key of letters, digits and ._/- that begins with a letter, and "
            "a value of at most 200 printable characters."
        )
    return text


def device(text: str, /) -> str:
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``; whether the device is there is asked later, of torch."""
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", text):
        raise click.BadParameter(f"{text!r} is not a device. Choose auto, cpu, cuda or cuda:N, as in cuda:0.")
    return text


def switch(value: Any, /) -> bool:  # Any: what a user gives
    """The value, if it is True or False and nothing like it."""
    if not isinstance(value, bool):
        raise click.BadParameter(f"{value!r} is neither True nor False.")
    return value


class Parameter(NamedTuple):
    """What a parameter is, in every command and function that has it.

    Attributes:
        takes: the values that are accepted, each of them where there may be several; None for texts and paths.
        several: whether there may be several.
        is_path: whether a text is a path, and nothing else.
        reads: whether it names what is read; a text that may also be a name counts where a file is called so.
        writes: whether it names a file or a folder that is written.
        is_model: whether it names a model, which may be hostile, or fetched from a hub.
        searches: whether it means nothing where nothing is searched for.
        objects: what Python may give in place of a text.
    """

    takes: "click.ParamType[Any] | None" = None  # Any: each has its own
    several: bool = False
    is_path: bool = False
    reads: bool = False
    writes: Literal["", "file", "folder"] = ""
    is_model: bool = False
    searches: bool = False
    objects: tuple[type, ...] = ()


_READ = Parameter(is_path=True, reads=True)
_MODEL = _READ._replace(is_model=True)
_FOLDER = Parameter(is_path=True, writes="folder")
_SWITCH = Parameter(convert_type(switch))
PARAMETERS = {
    "model": _MODEL,
    "models": _MODEL._replace(several=True),
    "reference": _MODEL._replace(several=True, searches=True),
    "references": _READ._replace(several=True, searches=True),
    "data": _READ,
    "eval_data": _READ,
    "trusted": _READ,
    "baseline": _READ,
    "file": _READ,
    "config": Parameter(is_path=True),
    "folder": Parameter(is_path=True, is_model=True),
    "public_key": _READ,
    "policy": _READ._replace(objects=(Policy,)),
    "classes": _READ,
    "templates": _READ,
    "recipe": Parameter(reads=True, objects=(Recipe,)),
    "arch": Parameter(reads=True),
    "weights": Parameter(),
    "image_key": Parameter(),
    "caption_key": Parameter(),
    "trigger": Parameter(several=True, reads=True),
    "target": Parameter(),
    "set": Parameter(several=True),
    "ignore": Parameter(several=True),
    "log_to": Parameter(click.Choice(("tensorboard", "wandb")), several=True),
    "out": Parameter(is_path=True),
    "report_dir": _FOLDER,
    "log_dir": _FOLDER,
    "unpack": _FOLDER,
    "save_triggers": _FOLDER._replace(searches=True),
    "save_kept": Parameter(is_path=True, writes="file"),
    "effort": Parameter(click.Choice(tuple(EFFORTS))),
    "precision": Parameter(click.Choice(("auto", "fp32", "bf16"))),
    "format": Parameter(click.Choice(tuple(formats.FORMATS)), several=True),
    "onnx_preset": Parameter(click.Choice(tuple(onnx_presets.PRESETS))),
    "screen": Parameter(convert_type(share("auto", "off", "report"))),
    "drop": Parameter(convert_type(share("auto"))),
    "false_drop_rate": Parameter(convert_type(share())),
    "top": Parameter(click.IntRange(1, 100_000)),
    "seed": Parameter(click.IntRange(0, 2**63 - 1)),
    "device": Parameter(convert_type(device)),
    "max_minutes": Parameter(click.FloatRange(min=0, min_open=True)),
    "max_accuracy_loss": Parameter(click.FloatRange(0, 0.5)),
    "label": Parameter(convert_type(label), several=True),
    "power": _SWITCH._replace(searches=True),
    **dict.fromkeys(("search", "panel", "download", "normalize", "fp16", "force", "keep_failed"), _SWITCH),
}
CALLED = {"model": "the model", "models": "the model", "file": "the report"}  # arguments, which have no flag


def called(name: str, /) -> str:
    """A parameter as messages call it: by its flag."""
    return CALLED.get(name) or f"--{name.replace('_', '-')}"


def completed(name: str, value: object, /) -> object:
    """An argument of a function as a command has it: a place as a path, several as a tuple.

    Raises:
        UsageError: the command line would not take it, or would take it for another value.
    """
    known = PARAMETERS.get(name)
    if known is None:
        return value
    if name in ("classes", "templates") and isinstance(value, list | tuple):  # the names themselves, and no file
        return tuple(_one(name, Parameter(), each) for each in value)
    if isinstance(value, Mapping):
        value = [f"{key}={each}" for key, each in value.items()] if name in ("set", "label") else value
    if known.several:
        many = value if isinstance(value, list | tuple) else () if value is None else (value,)
        return tuple(_one(name, known, each) for each in many)
    return None if value is None else _one(name, known, value)


def _one(name: str, known: Parameter, value: object) -> object:
    if known.takes is not None:
        try:
            taken = known.takes.convert(value, None, None)
        except (click.BadParameter, TypeError) as error:
            raise UsageError(f"{name}: {getattr(error, 'message', error)}") from error
        if taken != value or isinstance(value, bool) != isinstance(taken, bool):
            raise UsageError(f"{name}: {value!r} is of type {type(value).__name__}. Give {taken!r}.")
        return taken
    if isinstance(value, str | os.PathLike):
        return Path(value) if known.is_path else os.fspath(value)
    if isinstance(value, known.objects) or (known.is_model and hasattr(value, "state_dict")):
        return value
    what = "an open_clip module or a path" if known.is_model else "a path" if known.is_path else "a text"
    raise UsageError(f"{name}: {repr(value)[:80]} is of type {type(value).__name__}. Give {what}.")


def labels(given: Sequence[str], /) -> dict[str, str]:
    """Labels by key.

    Raises:
        UsageError: one key twice, or too many.
    """
    found = dict(text.split("=", 1) for text in given)
    if len(found) < len(given):
        raise UsageError("--label: a key is given twice. Give each key once.")
    if len(found) > 32:
        raise UsageError(f"--label: {len(found)} labels; 32 are the maximum.")
    return found
