"""The parameters of commands and functions: what each reads or writes, and which values it takes.

Here is the one home of both: the command line takes its types of options from here, and the functions check their arguments by
the same ones.
"""

import functools
import importlib
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import click
from click.types import convert_type

from clipclean.errors import UsageError

Kind: TypeAlias = "click.ParamType[Any]"  # Any: each has its own
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


class Finite(click.FloatRange):
    """A range that NaN and the infinities, which compare with nothing or pass for any bound, are not in."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The value, a number of the range."""
        number = super().convert(value, param, ctx)
        return number if math.isfinite(number) else self.fail(f"{value} is not a finite number.", param, ctx)


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
        words: of an argument of a function, for its help.
        takes: the values that are accepted, each of them where there may be several; None for texts and paths.
        several: whether there may be several.
        is_path: whether a text is a path, and nothing else.
        reads: whether it names what is read; a text that may also be a name counts where a file is called so.
        writes: whether it names a file or a folder that is written.
        is_model: whether it names a model, which may be hostile, or fetched from a hub.
        searches: whether it means nothing where nothing is searched for.
        has: the attribute of what Python may give in place of a text.
    """

    words: str = ""
    takes: "Kind | Callable[[], Kind] | None" = None
    several: bool = False
    is_path: bool = False
    reads: bool = False
    writes: Literal["", "file", "folder"] = ""
    is_model: bool = False
    searches: bool = False
    has: str = ""

    @property
    def kind(self) -> "Kind | None":
        """The type of an option; those whose module is slow are made when they are asked for."""
        return self.takes if self.takes is None or isinstance(self.takes, click.ParamType) else self.takes()


def _names(module: str, table: str) -> Callable[[], Kind]:
    """The names of a table, whose module is imported when they are asked for."""
    return lambda: click.Choice(tuple(getattr(importlib.import_module(module), table)))


_read = functools.partial(Parameter, is_path=True, reads=True)
_model = functools.partial(_read, is_model=True, has="state_dict")
_folder = functools.partial(Parameter, is_path=True, writes="folder")
_switch = functools.partial(Parameter, takes=convert_type(switch))
PARAMETERS = {
    "model": _model("a checkpoint, or an open_clip module."),
    "models": _model("checkpoints or modules of clean models, of one kind.", several=True),
    "reference": _model(
        "a clean model of the same kind that you trust, or several, to compare with.", several=True, searches=True
    ),
    "references": _read("a file that ``references`` wrote, or several.", several=True, searches=True),
    "data": _read("images or pairs, in any format that the command takes; None takes bundled ones."),
    "eval_data": _read("labelled images to measure on; None keeps some pairs out of training."),
    "trusted": _read("pairs that are known to be clean, of the same origin and not among ``data``."),
    "baseline": _read(),
    "file": _read(),
    "config": Parameter(is_path=True),
    "folder": Parameter("the folder.", is_path=True, is_model=True),
    "public_key": _read("of the signer, in PEM."),
    "policy": _read("what the verdict demands.", has="suppressions"),
    "classes": _read("class names; None takes ImageNet-1k's."),
    "templates": _read("sentences with ``{}`` for the class name; None takes open_clip's seven."),
    "recipe": Parameter(
        "a name, a file or a recipe; None takes cleanclip where it was measured to work, else auto.",
        reads=True,
        has="method",
    ),
    "arch": Parameter("an open_clip name, or a JSON file with a config.", reads=True),
    "weights": Parameter("which of several sets in the file."),
    "image_key": Parameter("column of the images, where it has another name than the known ones."),
    "caption_key": Parameter("column of the captions, where it has another name than the known ones."),
    "trigger": Parameter("triggers that you suspect, as specs or files; one, or several.", several=True, reads=True),
    "target": Parameter("the class that the triggers lead to."),
    "set": Parameter("values of the recipe, as ``{'train.epochs': 3}`` or ``['train.epochs=3']``.", several=True),
    "ignore": Parameter("codes of rules whose findings are set aside, such as ``CC031``.", several=True),
    "log_to": Parameter("where these go as well.", click.Choice(("tensorboard", "wandb")), several=True),
    "out": Parameter("where to write.", is_path=True),
    "report_dir": _folder(),
    "log_dir": _folder("a folder for the losses and rates of each step of the training."),
    "unpack": _folder(),
    "save_triggers": _folder("a folder for the triggers that the search finds.", searches=True),
    "save_kept": Parameter("a .csv, .tar or .txt file for the pairs that are kept.", is_path=True, writes="file"),
    "effort": Parameter("how hard to search.", _names("clipclean.config.effort", "EFFORTS")),
    "precision": Parameter("number format; None takes the recipe's.", click.Choice(("auto", "fp32", "bf16"))),
    "format": Parameter(
        "``open_clip``, ``hf``, ``onnx``; one, or several.", _names("clipclean.export.formats", "FORMATS"), several=True
    ),
    "onnx_preset": Parameter("ONNX: whose names.", _names("clipclean.export.formats", "PRESETS")),
    "screen": Parameter(
        "pairs to leave out: a share, ``auto``, ``report`` for none, ``off``.",
        convert_type(share("auto", "off", "report")),
    ),
    "drop": Parameter("pairs to leave out of ``save_kept``: a share, or ``auto``.", convert_type(share("auto"))),
    "false_drop_rate": Parameter(
        "share of clean pairs that may be left out, judged by ``trusted``.", convert_type(share())
    ),
    "top": Parameter("pairs to list.", click.IntRange(1, 100_000)),
    "seed": Parameter("fixes every random choice.", click.IntRange(0, 2**63 - 1)),
    "device": Parameter("``auto``, ``cpu``, ``cuda`` or ``cuda:N``.", convert_type(device)),
    "max_minutes": Parameter("end after so many minutes, with what is there.", Finite(min=0, min_open=True)),
    "max_accuracy_loss": Parameter("clean accuracy that the cleaning may cost.", Finite(0, 0.5)),
    "label": Parameter("names and values for the report.", convert_type(label), several=True),
    "power": _switch("plant test backdoors in copies, and say how many of them the same audit finds.", searches=True),
    "search": _switch("whether to search at all; without a search the verdict is never ``pass``."),
    "panel": _switch("whether to try the known triggers."),
    "download": _switch("whether a model that is named as on a hub may be fetched; nothing else opens the network."),
    "normalize": _switch("ONNX: put out unit embeddings."),
    "fp16": _switch("ONNX: store weights in half precision."),
    "force": _switch("replace clipclean's own files."),
    "keep_failed": _switch("write the weights even if their audit failed."),
    "lr": Parameter("peak learning rate.", click.FLOAT),
    "batch_size": Parameter("pairs in a step.", click.INT),
    "rate": Parameter("share of triggered pairs in a batch.", click.FLOAT),
    "steps": Parameter("steps of finetuning.", click.INT),
    "progress": Parameter("called with each stage, steps done and steps in all.", has="__call__"),
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
    if (kind := known.kind) is not None:
        try:
            taken = kind.convert(value, None, None)
        except (click.BadParameter, TypeError) as error:
            raise UsageError(f"{name}: {getattr(error, 'message', error)}") from error
        if taken != value or isinstance(value, bool) != isinstance(taken, bool):
            raise UsageError(f"{name}: {value!r} is of type {type(value).__name__}. Give {taken!r}.")
        return taken
    if isinstance(value, str | os.PathLike):
        return Path(value) if known.is_path else os.fspath(value)
    if known.has and hasattr(value, known.has):
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
