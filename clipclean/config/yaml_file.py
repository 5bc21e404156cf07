"""Strict YAML settings: plain values only, validated against a frozen model, problems reported with line numbers."""

import difflib
import functools
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, NamedTuple, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from clipclean import untrusted
from clipclean.errors import UnusableSettings
from clipclean.untrusted import printable

# The meaning of units, for messages about a value in another one.
_UNITS = {
    "version": "a newer {noun} needs a newer clipclean",
    "share": "a share between 0 and 1",
    "share of accuracy": "a share between 0 and 1: 0.02 is two percentage points",
    "steps": "optimizer steps: a count, not a share of the run",
    "epochs": "passes over the pairs",
    "pairs": "a count of image-caption pairs",
    "images": "a count of images",
    "pixels": "a count of pixels, width times height",
    "bytes": "a plain count of bytes",
    "per step": "a learning rate: finetuning takes between 1e-6 and 1e-3",
    "sizes of the weights": "a path in units of the root mean square of the weights: a cleaning goes between 0.5 and 5",
    "weight": "a factor of one loss term",
    "norm": "the L2 norm of all gradients together",
    "robust z": "a distance from the median in robust standard deviations: 3 is far, 0.003 is not",
    "severity of evidence": "too little evidence is never pass",
    "severity of an account": "suppressions are always reported",
}

Text = Annotated[str, StringConstraints(min_length=1, max_length=300, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]
Key = tuple[str | int, ...]


def field(default: object, description: str, unit: str = "none", **bounds: Any) -> Any:
    """A pydantic field; ``Any``, as pydantic's own ``Field`` is, so that it fits each annotation."""
    return Field(default, description=description, json_schema_extra={"unit": unit}, **bounds)


class Section(BaseModel):
    """Frozen values under known keys; nothing is coerced, nothing unknown is let through."""

    # At its default such a key leaves the digest of a recipe as it was before.
    ADDED_LATER_KEYS: ClassVar[tuple[str, ...]] = ()
    FORMER_KEY_NAMES: ClassVar[Mapping[str, str]] = {}  # what files of before call a key, with its name of now
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _by_names_of_now(cls, values: object, /) -> object:
        if not isinstance(values, dict):
            return values
        # A key under both names stays unknown under the earlier one: it would not be clear which holds.
        return {
            name if (name := cls.FORMER_KEY_NAMES.get(key, key)) not in values else key: value
            for key, value in values.items()
        }


Values = TypeVar("Values", bound=Section)


@dataclass(frozen=True)
class Form(Generic[Values]):
    """A kind of settings file, with the words of its messages."""

    noun: str  # recipe | policy
    advice: str  # what to name instead of a wrong file
    model: type[Values]
    sections: tuple[str, ...]  # told where an unknown section is named
    check: Callable[[Values], Mapping[Key, str]]  # faults of several values together, by key
    unsuggested: tuple[str, ...] = ()  # sections that no wrong key is taken to stand for


class Problem(NamedTuple):
    """One thing that is wrong with a file."""

    line: int
    key: Key
    text: str


class Document(NamedTuple):
    """Plain values, the line of each key, and what was wrong with the YAML."""

    values: object
    lines: dict[Key, int]
    problems: list[Problem]


_MOST_PROBLEMS = 100  # problems told of one file; a file with more is no settings file
_MOST_BYTES = 1_000_000  # bytes of a file; a recipe with evidence for every attack takes a tenth of it
_DEPTH = 12  # evidence, the deepest part of any, takes six levels


def content(label: str, source: Traversable, /, *, form: Form[Values]) -> str:
    """The text of a file that may be anything; ``label`` is what messages call it.

    Raises:
        UnusableSettings: not a text file of at most a megabyte.
    """
    try:
        raw = untrusted.read(source, limit=_MOST_BYTES) if isinstance(source, Path) else source.read_bytes()
    except untrusted.NoRegularFile as error:
        raise UnusableSettings(
            f"{label} is a folder or a device, not a {form.noun} file. Name {form.advice}."
        ) from error
    except untrusted.TooLarge as error:
        raise UnusableSettings(
            f"{label} has more than {_MOST_BYTES:,} bytes, and no {form.noun} is that long. Name the right file."
        ) from error
    except (FileNotFoundError, ValueError) as error:  # ValueError: a NUL in the name
        raise UnusableSettings(f"There is no {form.noun} file {label}. Name {form.advice}.") from error
    except OSError as error:
        raise UnusableSettings(
            f"Cannot read the {form.noun} {label}: {error.strerror}. Mend its permissions or its path."
        ) from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnusableSettings(
            f"{label} is not UTF-8 text (byte {error.start}). Save it as UTF-8, or name the right file."
        ) from error


def parsed(label: str, text: str, /, *, form: Form[Values]) -> Values:
    """The values that a text holds.

    Raises:
        UnusableSettings: it holds none, or invalid ones; one line per problem, each with ``label``, line and key.
    """
    document = read(text, noun=form.noun)
    is_broken = document.values is None and bool(document.problems)  # reading stopped: there are no values to judge
    values, problems = (None, document.problems) if is_broken else judged(document, form=form)
    if values is None or problems:
        problems = sorted(problems, key=lambda problem: problem.line)
        lines = [f"{label}:{problem.line}: {problem_text(problem)}" for problem in problems[:_MOST_PROBLEMS]]
        raise UnusableSettings("\n".join(lines + ["… and more"] * (len(problems) > _MOST_PROBLEMS)))
    return values


def digest(values: Mapping[str, object], /) -> str:
    """Hex SHA-256 of values as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


# Reading YAML: its 1.2 core scalars, one document, no anchors, aliases, tags or repeated keys; lines are kept.

_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_CONSTANTS: dict[str, bool | float | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", "+.inf", ".Inf", ".INF"), math.inf),
    "-.inf": -math.inf,
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}


class _Loader(yaml.SafeLoader):
    """PyYAML's parser, composing plain nodes only."""

    def __init__(self, source: str, noun: str) -> None:
        super().__init__(source)
        self.noun, self.depth = noun, 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]  # its stub has no annotation
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _refusal("anchors and aliases (& and *) are refused; write the value out", event)
        if getattr(event, "tag", None) is not None:
            raise _refusal(f"tags (!) are refused; a {self.noun} holds plain values", event)
        if self.depth == _DEPTH:
            raise _refusal(f"more than {_DEPTH} levels deep, and no {self.noun} is", event)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _refusal(why: str, event: yaml.Event) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=why, problem_mark=event.start_mark)  # type: ignore[arg-type]  # stub: C marks too


def read(source: str, /, *, noun: str) -> Document:
    """Plain values with the line of each key; a syntax error leaves no values and one problem."""
    document = Document(None, {}, [])
    try:
        node = _Loader(source, noun).get_single_node()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        return document._replace(problems=[Problem(line, (), ", ".join(filter(None, (error.context, error.problem))))])
    except yaml.reader.ReaderError as error:
        line = source.count("\n", 0, error.position) + 1
        return document._replace(problems=[Problem(line, (), "holds a control character, which YAML forbids")])
    return document if node is None else document._replace(values=_plain(node, (), document))


def _plain(node: yaml.Node, key: Key, document: Document) -> object:
    """A node as dict, list or scalar; notes its line, and repeated keys."""
    document.lines.setdefault(key, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*key, index), document) for index, item in enumerate(node.value)]
    if isinstance(node, yaml.ScalarNode):
        return node.value if node.style else _scalar(node.value)
    values: dict[str, object] = {}
    for name, value in node.value:
        inner = (*key, str(name.value))
        line = name.start_mark.line + 1
        if not isinstance(name, yaml.ScalarNode):
            document.problems.append(Problem(line, key, "a key must be a word"))
        elif name.value in values:
            document.problems.append(Problem(line, inner, f"given twice; first in line {document.lines[inner]}"))
        else:
            document.lines[inner] = line
            values[name.value] = _plain(value, inner, document)
    return values


def _scalar(word: str) -> bool | int | float | str | None:
    """An unquoted word by YAML 1.2: 1e-5 is a number; no, on and 12:30 are words."""
    if word in _CONSTANTS:
        return _CONSTANTS[word]
    if _INTEGER.fullmatch(word):
        return int(word)
    return float(word) if _FLOAT.fullmatch(word) else word


# Judging values, and saying what is wrong with them.


def judged(document: Document, /, *, form: Form[Values]) -> tuple[Values | None, list[Problem]]:
    """The model's values if the document makes some, and everything that is wrong."""
    try:
        values = form.model.model_validate(document.values)
    except ValidationError as error:
        details = error.errors(include_url=False)[: _MOST_PROBLEMS + 1]
        explained = [(detail["loc"], _explained(detail, form)) for detail in details]
        return None, document.problems + [Problem(_line(key, document.lines), key, text) for key, text in explained]
    return values, document.problems + [
        Problem(_line(key, document.lines), key, text) for key, text in form.check(values).items()
    ]


def _line(key: Key, lines: dict[Key, int]) -> int:
    """The place of a key, or of the section that lacks it."""
    return next((lines[key[:length]] for length in range(len(key), -1, -1) if key[:length] in lines), 1)


def problem_text(problem: Problem, /) -> str:
    """``key: text``, the key made safe to print."""
    key = ".".join(printable(str(part)) for part in problem.key)
    return f"{key}: {problem.text}" if key else problem.text


def _explained(detail: ErrorDetails, form: Form[Values]) -> str:
    """One of pydantic's errors in words of the file: what was found, what it should be, in which unit."""
    key, kind, value = detail["loc"], detail["type"], detail["input"]
    field = fields(form.model).get(schema_key(key))
    if kind == "extra_forbidden":
        section = schema_key(key[:-1])
        return f"unknown key; {hint(schema_key(key), form=form)}".replace(f"'{section}.", "'")  # the leaf says it there
    if kind == "missing":
        return f"missing{f' ({field.description})' if field and field.description else ''}"
    if kind == "model_type":
        return f"found {_quoted(value)}, expected the keys {', '.join(siblings(form.model, schema_key(key)))}"
    requirement = re.sub("^(Input|String) ", "", detail["msg"])
    extra = field.json_schema_extra if field else None
    unit = str(extra["unit"]) if isinstance(extra, dict) else "none"
    meaning = f" ({_UNITS[unit].format(noun=form.noun)})" if unit in _UNITS else ""
    return f"{_quoted(value)} {requirement}{meaning}"


# Known keys, and which of them a wrong one stands for.


@functools.cache
def fields(model: type[BaseModel], /) -> dict[str, FieldInfo]:
    """Every key of a model, dotted and without list positions, with its field."""
    return dict(_walk(model, ""))


@functools.cache
def former_keys(model: type[BaseModel], /) -> dict[str, str]:
    """What files of before call a key, dotted, with its name of now."""
    sections = {key: _section(field.annotation) for key, field in fields(model).items()}
    return {
        f"{key}.{earlier}": f"{key}.{now}"
        for key, section in sections.items()
        if section and issubclass(section, Section)
        for earlier, now in section.FORMER_KEY_NAMES.items()
    }


def _walk(model: type[BaseModel], prefix: str) -> Iterable[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        key = prefix + (field.alias or name)
        yield key, field
        if section := _section(field.annotation):
            yield from _walk(section, f"{key}.")


def _section(annotation: object) -> type[BaseModel] | None:
    """The model inside an annotation such as ``tuple[Evidence, ...] | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((section for inner in get_args(annotation) if (section := _section(inner))), None)


def schema_key(key: Key, /) -> str:
    """A key as the model knows it: dotted, without list positions."""
    return ".".join(part for part in key if isinstance(part, str))


def siblings(model: type[BaseModel], section: str, /) -> list[str]:
    """The keys directly in a section; of the top level for the empty string."""
    return [key.rpartition(".")[2] for key in fields(model) if key.rpartition(".")[0] == section]


def hint(key: str, /, *, form: Form[Values]) -> str:
    """The known key that an unknown dotted key may mean."""
    section, _, leaf = key.rpartition(".")
    word = leaf.lower().replace("-", "_")
    keys = [key for key in fields(form.model) if not key.startswith(form.unsuggested)]
    for near in ([key for key in keys if key.rpartition(".")[0] == section], keys):  # its own section first
        leaves = {key.rpartition(".")[2].lower(): key for key in reversed(near)}
        if close := difflib.get_close_matches(word, leaves, n=1, cutoff=0.75):
            return f"did you mean '{leaves[close[0]]}'?"
    return f"known here: {', '.join(siblings(form.model, section) or form.sections)}"


def _quoted(value: object) -> str:
    """A value found in a file, short and safe to print."""
    if isinstance(value, list | tuple | dict):
        return "a section" if isinstance(value, dict) else "a list"
    word = repr(value) if isinstance(value, str) else json.dumps(value)
    return word if len(word) <= 60 else f"{word[:57]}…"
