"""``Opt``: what an option means, and which values it takes; and how a field of a request is called."""

import dataclasses
import re
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

from clipclean.requests.values import SWITCH, OptionType

HelpGroup = Literal["Data", "Model", "Cleaning", "Search", "Verdict", "Output", "Running"]  # in the order of every help


@dataclass(frozen=True)
class Opt:
    """What an option means, and which values it takes. Its flag is the name of its field, with ``no-`` before it where the default is True."""

    help: str = ""  # of the option; empty where the command line has none
    metavar: str = ""  # what it takes, as the help has it; by default the words to choose from. A switch has neither
    _: KW_ONLY
    argument: str = ""  # what the help calls it where it stands without a flag
    argument_words: str = ""  # of the argument of a function, where the first sentence of the help is not that
    value_type: "OptionType | None" = None  # the type of a value, or of each; by default a text, or a path
    is_several: bool = False  # whether there may be several
    gather: Callable[..., object] | None = None  # what becomes of the value, or the several
    default_words: str = ""  # the default in words
    # Whether it names a path that is read; a text may also be a name, and counts where a file is called so.
    reads: Literal["", "path", "text"] = ""
    writes: Literal["", "file", "folder", "log"] = ""  # whether it names what is written, or a folder of logs
    is_model: bool = False  # whether it names a model, which may be hostile, or fetched from a hub
    needs: tuple[str, str] = ("", "")  # the option without which it means nothing, and the words that say so
    python_attribute: str = ""  # the attribute of what Python may give in place of a text
    # Its place in the help: below a title, the lowest number first.
    help_position: tuple[HelpGroup, int] = ("Running", 0)
    in_brief: bool = False  # whether --help of a command with many options shows it
    has_letter: bool = False  # whether its first letter stands for it

    @property
    def is_path(self) -> bool:
        """Whether a text is a path, and nothing else."""
        return self.reads == "path" or bool(self.writes)

    @property
    def kind(self) -> "OptionType | None":
        """The type of a value; None for a text or a path."""
        return SWITCH if self.value_type is None and self.help and not self.metavar else self.value_type

    @property
    def explanation(self) -> str:
        """What the argument of a function is: the words for it, or the first sentence of the help; and the default."""
        words = self.argument_words or first_sentence(self.help)
        return f"{words} Default: {self.default_words}." if self.default_words else words


def first_sentence(text: str, /) -> str:
    """The first sentence of a help."""
    return re.split(r"(?<=[^.])\. ", text, maxsplit=1)[0].rstrip(".") + "."


CALLED = {"model": "the model", "models": "the model", "file": "the report"}  # arguments, which have no flag
FLAGS = {"as_json": "--json", "outputs": "--report", "form": "--to"}  # where a field is not called so


def flag(name: str, /, *, is_negated: bool = False) -> str:
    """The flag of a field."""
    return FLAGS.get(name) or f"--{'no-' if is_negated else ''}{name.replace('_', '-')}"


def name_in_messages(name: str, /) -> str:
    """A field as messages call it: by its flag."""
    return CALLED.get(name) or flag(name)


def options(kind: object, /) -> dict[str, Opt]:
    """The options of a request, or of a class of requests, by the names of the fields."""
    types: dict[str, Any] = {field.name: field.type for field in dataclasses.fields(kind)}  # type: ignore[arg-type] # Any: Annotated
    return {name: annotated.__metadata__[0] for name, annotated in types.items()}
