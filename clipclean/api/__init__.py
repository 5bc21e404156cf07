"""The Python API: the commands as functions of a path or a model in memory.

A keyword stands for the option of its name, and ``panel=False`` for ``--no-panel``. The values are checked and completed as those
of a command are.
"""

import functools
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

import clipclean.export  # here: its first import binds clipclean.export, which then becomes the function below
from clipclean import requests
from clipclean.errors import UsageError
from clipclean.progress import Listener, heard
from clipclean.requests import Place

if TYPE_CHECKING:
    from clipclean.jobs.weights import Result
    from clipclean.report import Comparison, Report
    from clipclean.requests import Model
    from clipclean.schema.results import ComparedModels, Exported, Inspection, PlantedModel, ReferencesFile, Screening

RAISES = """\nRaises:
    ClipcleanError: of the kind that tells what went wrong; then nothing new is written.
"""

Asked = ParamSpec("Asked")
Request = TypeVar("Request")
Made = TypeVar("Made")


def _function_of(kind: Callable[Asked, Request], /) -> Callable[[Callable[[Request], Made]], Callable[Asked, Made]]:
    """A function whose arguments are the fields of a request, checked as the command line checks its options, and told in its help."""
    signature, options = requests.signature(kind), requests.options(kind)

    def decorated(function: Callable[[Request], Made]) -> Callable[Asked, Made]:
        arguments = "\n".join(f"    {name}: {opt.told}" for name, opt in options.items())
        head, raises, errors = textwrap.dedent(f"    {function.__doc__}").partition("\nRaises:")

        @functools.wraps(function)
        def checked(*places: Asked.args, **keywords: Asked.kwargs) -> Made:
            from clipclean.api import roles

            request = roles.checked_request(requests.called_with(kind, places, keywords))
            from torch import enable_grad, inference_mode  # here: a refusal needs none of it

            # Whatever the caller does, or an interrupted call left behind: searches and trainings need gradients.
            with heard(Listener(steps=getattr(request, "progress", None))), inference_mode(False), enable_grad():
                return function(request)

        raises_text = f"\nRaises:{errors}" if raises else RAISES
        checked.__doc__ = f"{head.rstrip()}\n\nArgs:\n{arguments}\n{raises_text}"
        public_signature = signature.replace(return_annotation=function.__annotations__["return"])
        checked.__signature__ = public_signature  # type: ignore[attr-defined] # what help() and inspect read
        return checked

    return decorated


@_function_of(requests.Audit)
def audit(request: requests.Audit) -> "Report":
    """Look for an unknown backdoor in a model, and name the class that it leads to."""
    from clipclean.jobs import audit as job

    return job.audit(request).report


@_function_of(requests.Sanitize)
def sanitize(request: requests.Sanitize) -> "Report":
    """Clean a model by finetuning on clean pairs, and write weights and report into a folder; returns the report.

    A module in memory stays as it is: load the cleaned weights from ``out``. A run that was interrupted goes on when the same
    call is made again. This is one process; several need the command and torchrun.
    """
    from clipclean import auto

    outcome = auto.clean(request)
    assert outcome is not None  # noqa: S101 # one process has the result
    return outcome.report


@_function_of(requests.Screen)
def screen(request: requests.Screen) -> "Screening":
    """Rank the pairs of a supposedly clean set by suspicion; returns the ranking.

    ``as_json()`` is what the command prints by ``--json``.
    """
    from clipclean.jobs import screen as job

    return job.screen(request)[0]


@_function_of(requests.Export)
def export(request: requests.Export) -> "Exported":
    """Write the weights of a model in other formats, and check that they still compute the same; returns what was written.

    Nothing is audited: a backdoor is exported like everything else.
    """
    from clipclean.jobs import export as job

    return job.export(request)


@_function_of(requests.Plant)
def plant(request: requests.Plant) -> "PlantedModel":
    """Plant a backdoor in a copy of a model by finetuning on partly triggered pairs; returns its effect.

    The file that is written is backdoored: label it so, and never deploy it.
    """
    from clipclean.jobs import plant as job

    return job.plant(request)


@_function_of(requests.References)
def references(request: requests.References) -> "ReferencesFile":
    """Search clean models as an audit does, and write the results for ``audit(references=...)``; returns what the file holds."""
    from clipclean.jobs import other_models as job

    return job.build_references(request)


@_function_of(requests.Inspect)
def inspect(request: requests.Inspect) -> "Inspection":
    """Say what a checkpoint is: format, architecture, numbers, digests. Nothing in it is executed, and no model is built.

    Raises:
        RefusedInput: the file is unreadable, unsafe or no CLIP with native towers.
    """
    from clipclean.jobs import weights as job

    return job.inspect(request.model, arch=request.arch, weights=request.weights)


@_function_of(requests.Verify)
def verify(request: requests.Verify) -> "Result":
    """Check a folder that ``sanitize`` or ``export`` wrote: checksums, in-toto statement, weights, report, signature.

    Raises:
        RefusedInput: it is no folder, or nothing says what should be in it.
    """
    from clipclean.jobs import weights as job

    return job.verify(request.folder, public_key=request.public_key)


@_function_of(requests.Compare)
def _with_base(request: requests.Compare) -> "ComparedModels":
    """Measure a model beside its base."""
    from clipclean.jobs import compare as job

    return job.with_base(request)


@overload
def compare(earlier: "Place | Report", later: "Place | Report", /) -> "Comparison": ...
@overload
def compare(model: "Model", /, *, base: "Model", **options: object) -> "ComparedModels": ...
def compare(
    earlier: "Model | Report",
    later: "Place | Report | None" = None,
    /,
    **options: Any,  # Any: values of options
) -> "Comparison | ComparedModels":
    """Put two reports beside each other: which findings are new, worse, gone or as before. Or, with ``base``, a model and its base.

    ``compare(before, after).blocking("error")`` are those that a gate fails by. ``compare(model, base=..., data=..., classes=...)`` measures
    how near the two are, what the finetune moved, and which known triggers act on one alone; its keywords are the options of
    ``clipclean compare``, and ``as_json()`` is what that prints by ``--json``.

    Raises:
        RefusedInput: a file is missing, unreadable, or no JSON.
        UsageError: it is JSON and no report, or the base cannot be one.
    """
    if options:
        places: tuple[Any, ...] = (
            (earlier,) if later is None else (earlier, later)
        )  # Any: the request checks what it is
        return _with_base(*places, **options)
    from clipclean import report

    reports = [
        source if isinstance(source, report.Report) else report.read(requests.path_of(name, source))
        for name, source in (("earlier", earlier), ("later", later))
    ]
    return report.compare(reports[0], reports[1])


def save(report: "Report", path: Place, /) -> None:
    """Write a report in the format that the suffix of a file names: .json, .html, .md, .sarif, .xml (JUnit) or .txt.

    Raises:
        UsageError: the suffix names no format.
        ResourceError: the file cannot be written.
    """
    place = requests.path_of("path", path)
    form = requests.format_of(str(place))
    if not form:
        raise UsageError(f"{str(place)!a}: the suffix names no format. End it in {', '.join(requests.SUFFIXES)}.")
    from clipclean import report as reports

    if not isinstance(report, reports.Report):
        raise UsageError(f"report: it is of type {type(report).__name__}. Give what audit() or sanitize() returns.")
    reports.write(report, form, place)
