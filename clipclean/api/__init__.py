"""The Python API: the commands as functions of a path or a model in memory.

A keyword stands for the option of its name, and ``panel=False`` for ``--no-panel``. The values are checked and completed as those
of a command are.
"""

import contextlib
import functools
import inspect as inspection
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, MISSING, dataclass, fields
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeAlias, TypeVar

import clipclean.export  # here: its first import binds clipclean.export, which then becomes the function below
from clipclean.api.parameters import PARAMETERS, Values, completed
from clipclean.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

    from clipclean.config.policy import Policy
    from clipclean.config.recipe import Recipe
    from clipclean.detect import ReferencesFile
    from clipclean.jobs.compare import Comparison
    from clipclean.jobs.verify import Result
    from clipclean.report import Report
    from clipclean.schema.results import Exported, Inspection, PlantedModel, Screening

SUFFIXES = {
    ".txt": "text",
    ".json": "json",
    ".html": "html",
    ".htm": "html",
    ".sarif": "sarif",
    ".sarif.json": "sarif",
    ".xml": "junit",
    ".md": "markdown",
}

Place = str | PathLike[str]
Names = Place | Sequence[str]  # a file with one a line, or the names themselves
Model: TypeAlias = "str | PathLike[str] | nn.Module"  # a checkpoint, or an open_clip model in memory
Progress = Callable[[str, int, int], None]  # what is done, steps done, steps in all
Made = TypeVar("Made")
Asked = ParamSpec("Asked")

GONE = {
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


# The arguments of the functions; what several of them take has one place.


@dataclass(frozen=True, kw_only=True)
class _OfModel:
    arch: str | None = None
    weights: str | None = None
    download: bool = False


@dataclass(frozen=True, kw_only=True)
class _OfClasses:
    classes: Names | None = None
    templates: Names | None = None


@dataclass(frozen=True, kw_only=True)
class _OfPairs:
    image_key: str | None = None
    caption_key: str | None = None


@dataclass(frozen=True, kw_only=True)
class _OfReport:
    policy: "Place | Policy | None" = None
    ignore: str | Sequence[str] = ()
    label: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class _OfRun:
    seed: int = 0
    device: str = "auto"
    progress: Progress | None = None


@dataclass(frozen=True)
class _Audit(_OfRun, _OfReport, _OfModel, _OfClasses):
    model: "Model"
    _: KW_ONLY
    data: Place | None = None
    reference: "Model | list[Model] | tuple[Model, ...] | None" = None
    references: "Place | None" = None
    power: bool = False
    effort: Literal["quick", "standard", "thorough"] = "standard"
    search: bool = True
    trigger: str | Sequence[str] = ()
    target: str | None = None
    save_triggers: Place | None = None
    max_minutes: float | None = None


@dataclass(frozen=True)
class _Sanitize(_OfRun, _OfReport, _OfModel, _OfClasses, _OfPairs):
    model: "Model"
    data: Place
    _: KW_ONLY
    out: Place = "clipclean-out"
    recipe: "Place | Recipe | None" = None
    set: Sequence[str] | Mapping[str, object] = ()
    max_accuracy_loss: float | None = None
    max_minutes: float | None = None
    eval_data: Place | None = None
    trigger: str | Sequence[str] = ()
    target: str | None = None
    screen: float | Literal["report", "auto", "off"] = "report"
    panel: bool = True
    reference: "Model | list[Model] | tuple[Model, ...] | None" = None
    precision: Literal["auto", "fp32", "bf16"] | None = None
    format: str | Sequence[str] = ("open_clip",)
    force: bool = False
    keep_failed: bool = False
    log_dir: Place | None = None
    log_to: str | Sequence[str] = ()


@dataclass(frozen=True)
class _Screen(_OfModel, _OfPairs):
    data: Place
    model: "Model"
    _: KW_ONLY
    drop: float | Literal["auto"] | None = None
    false_drop_rate: float | None = None
    trusted: Place | None = None
    trigger: str | Sequence[str] = ()
    save_kept: Place | None = None
    top: int = 100
    force: bool = False
    device: str = "auto"
    progress: Progress | None = None


@dataclass(frozen=True)
class _Export(_OfModel, _OfPairs):
    model: "Model"
    _: KW_ONLY
    format: str | Sequence[str]
    out: Place = "clipclean-out"
    data: Place | None = None
    normalize: bool = False
    fp16: bool = False
    onnx_preset: str = "transformers.js"
    label: Mapping[str, str] | None = None
    force: bool = False
    progress: Progress | None = None


@dataclass(frozen=True)
class _Plant(_OfRun, _OfModel, _OfClasses, _OfPairs):
    model: "Model"
    data: Place
    _: KW_ONLY
    trigger: str
    target: str
    out: Place
    eval_data: Place | None = None
    rate: float | None = None
    steps: int | None = None
    lr: float | None = None
    batch_size: int | None = None
    force: bool = False


@dataclass(frozen=True)
class _References(_OfRun, _OfModel, _OfClasses):
    models: "Model | Sequence[Model]"
    _: KW_ONLY
    out: Place
    data: Place | None = None
    effort: Literal["quick", "standard", "thorough"] = "standard"


@dataclass(frozen=True)
class _Inspect(_OfModel):
    model: "Model"


@dataclass(frozen=True)
class _Verify:
    folder: Place
    _: KW_ONLY
    public_key: Place | None = None


def _parameters(kind: Callable[..., object], /) -> list[inspection.Parameter]:
    """The fields of a dataclass as parameters: its own before those that others have as well."""
    own = kind.__annotations__
    return [
        inspection.Parameter(
            each.name,
            inspection.Parameter.KEYWORD_ONLY if each.kw_only else inspection.Parameter.POSITIONAL_ONLY,
            default=inspection.Parameter.empty if each.default is MISSING else each.default,
            annotation=each.type,
        )
        for each in sorted(fields(kind), key=lambda each: (bool(each.kw_only), each.name not in own))  # type: ignore[arg-type]
    ]


def _command(
    kind: Callable[Asked, object], /, *, out: str = ""
) -> Callable[[Callable[[Values], Made]], Callable[Asked, Made]]:
    """A function whose arguments are the fields of a dataclass, checked as the command line checks its options, and told in its help.

    It gets them completed. ``out`` says whether what it writes is a "folder" or a "file".
    """
    signature = inspection.Signature(_parameters(kind))

    def decorated(function: Callable[[Values], Made]) -> Callable[Asked, Made]:
        shown = "\n".join(f"    {name}: {PARAMETERS[name].words}" for name in signature.parameters)
        head, raises, errors = textwrap.dedent(f"    {function.__doc__}").partition("\nRaises:")

        @functools.wraps(function)
        def checked(*places: Asked.args, **keywords: Asked.kwargs) -> Made:
            for name, value in keywords.items():
                known = signature.parameters.get(name)
                if known is None and name in GONE:
                    raise UsageError(f"{name} is gone: it is called {GONE[name]} now, as the option of the command is.")
                if known and value is None and known.default not in (None, known.empty):
                    raise UsageError(f"{name}: None is no value. Leave it out for the default, {known.default!r}.")
            given = signature.bind(*places, **keywords)
            given.apply_defaults()
            return function(_completed(given.arguments, out=out))

        told = f"\nRaises:{errors}" if raises else RAISES
        checked.__doc__ = f"{head.rstrip()}\n\nArgs:\n{shown}\n{told}"
        returned = signature.replace(return_annotation=function.__annotations__["return"])
        checked.__signature__ = returned  # type: ignore[attr-defined] # what help() and inspect read
        return checked

    return decorated


@_command(_Audit)
def audit(given: Values) -> "Report":
    """Look for an unknown backdoor in a model, and name the class that it leads to."""
    from clipclean.api import requests

    with requests.of_audit(given) as request:
        from clipclean.jobs import audit as job

        return job.audit(request, progress=given["progress"]).report


@_command(_Sanitize, out="folder")
def sanitize(given: Values) -> "Report":
    """Clean a model by finetuning on clean pairs, and write weights and report into a folder; returns the report.

    A module in memory stays as it is: load the cleaned weights from ``out``. A run that was interrupted goes on when the same
    call is made again. This is one process; several need the command and torchrun.
    """
    from clipclean import auto
    from clipclean import progress as heard
    from clipclean.api import requests
    from clipclean.jobs import log_files

    with contextlib.ExitStack() as stack:
        for listener in stack.enter_context(log_files.listener(given["log_dir"], given["log_to"])):
            stack.enter_context(heard.heard(listener))
        outcome = auto.clean(requests.of_sanitize(given), progress=given["progress"])
    assert outcome is not None  # noqa: S101 # one process has the result
    return outcome.report


@_command(_Screen)
def screen(given: Values) -> "Screening":
    """Rank the pairs of a supposedly clean set by suspicion; returns the ranking.

    ``as_json()`` is what the command prints by ``--json``.
    """
    from clipclean.api import requests
    from clipclean.jobs import screen as job

    return job.screen(requests.of_screen(given), progress=given["progress"]).report


@_command(_Export, out="folder")
def export(given: Values) -> "Exported":
    """Write the weights of a model in other formats, and check that they still compute the same; returns what was written.

    Nothing is audited: a backdoor is exported like everything else.
    """
    from clipclean.api import requests

    with requests.of_export(given) as request:
        from clipclean.jobs import export as job

        return job.convert(request, progress=given["progress"])


@_command(_Plant, out="file")
def plant(given: Values) -> "PlantedModel":
    """Plant a backdoor in a copy of a model by finetuning on partly triggered pairs; returns its effect.

    The file that is written is backdoored: label it so, and never deploy it.
    """
    from clipclean.api import requests
    from clipclean.jobs import plant as job

    return job.plant(requests.of_plant(given), progress=given["progress"])


@_command(_References, out="file")
def references(given: Values) -> "ReferencesFile":
    """Search clean models as an audit does, and write the results for ``audit(references=...)``; returns what the file holds."""
    from clipclean.api import requests
    from clipclean.jobs import references as job

    with requests.of_references(given) as request:
        return job.build(request, given["models"], out=given["out"], progress=given["progress"])


@_command(_Inspect)
def inspect(given: Values) -> "Inspection":
    """Say what a checkpoint is: format, architecture, numbers, digests. Nothing in it is executed, and no model is built.

    Raises:
        RefusedInput: the file is unreadable, unsafe or no CLIP with native towers.
    """
    from clipclean.jobs import inspect as job

    return job.inspect(given["model"], arch=given["arch"], weights=given["weights"])


@_command(_Verify)
def verify(given: Values) -> "Result":
    """Check a folder that ``sanitize`` or ``export`` wrote: checksums, in-toto statement, weights, report, signature.

    Raises:
        RefusedInput: it is no folder, or nothing says what should be in it.
    """
    from clipclean.jobs import verify as job

    return job.verify(given["folder"], public_key=given["public_key"])


def compare(earlier: "Place | Report", later: "Place | Report", /) -> "Comparison":
    """Put two reports beside each other: which findings are new, worse, gone or as before.

    ``compare(before, after).blocking("error")`` are those that a gate fails by.

    Raises:
        RefusedInput: a file is missing, unreadable or no JSON.
        UsageError: it is JSON, and no report.
    """
    from clipclean import report
    from clipclean.jobs import compare as job

    made = [report.read(Path(each)) if isinstance(each, str | PathLike) else each for each in (earlier, later)]
    return job.compare(made[0], made[1])


def save(report: "Report", path: Place, /) -> None:
    """Write a report in the format that the suffix of a file names: .json, .html, .md, .sarif, .xml (JUnit) or .txt.

    Raises:
        UsageError: the suffix names no format.
        ResourceError: the file cannot be written.
    """
    form = format_of(str(path))
    from clipclean import report as reports

    if form not in reports.FORMATS:
        raise UsageError(f"{path}: the suffix names no format. End it in {', '.join(SUFFIXES)}.")
    reports.write(report, form, Path(path))


def format_of(path: str, /) -> str:
    """The format that a file's suffix stands for, the longest suffix first; empty where it stands for none."""
    fitting = [suffix for suffix in SUFFIXES if path.lower().endswith(suffix) and len(path) > len(suffix)]
    return SUFFIXES[max(fitting, key=len)] if fitting else ""


def _completed(arguments: Mapping[str, object], /, *, out: str = "") -> Mapping[str, Any]:  # Any: values of options
    """The arguments of a function as its command has them; raises UsageError for what the command refuses."""
    from clipclean.api import requests, roles

    given: dict[str, Any] = {name: completed(name, value) for name, value in arguments.items()}
    roles.check(given, out=out)
    given["progress"] = given.get("progress") or (lambda stage, done, total: None)
    return given | (requests.fetched(given, given["progress"]) if given.get("download") else {})
