"""The functions about reports and about two models beside each other: to compare, and to save."""

from collections.abc import Callable
from typing import TYPE_CHECKING, overload

from clipclean import requests
from clipclean.api.arguments import explained, path_of, requested
from clipclean.errors import UsageError
from clipclean.progress import Progress
from clipclean.requests import Model, StrPath
from clipclean.schema.report_forms import FORM_BY_SUFFIX, form_of

if TYPE_CHECKING:
    from clipclean.api import Names, StrPaths, Texts
    from clipclean.report import Report, ReportComparison
    from clipclean.schema.results import ComparedModels


@explained(requests.Compare)
def _with_base(
    model: Model,
    later: StrPath | None = None,
    /,
    *,
    base: "Model | None" = None,
    data: "StrPaths | None" = None,
    trigger: "Texts" = (),
    download: bool = False,
    arch: str | None = None,
    weights: str | None = None,
    classes: "Names | None" = None,
    templates: "Names | None" = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> "ComparedModels":
    """Measure a model beside its base."""
    with requested(requests.Compare, locals()) as request:
        from clipclean.jobs import compare as job

        return job.compare_with_base(request)


@overload
def compare(earlier: "StrPath | Report", later: "StrPath | Report", /) -> "ReportComparison": ...
@overload
def compare(model: "Model", /, *, base: "Model", **options: object) -> "ComparedModels": ...
def compare(
    earlier: "Model | Report", later: "StrPath | Report | None" = None, /, **options: object
) -> "ReportComparison | ComparedModels":
    """Put two reports beside each other: which findings are new, worse, gone or as before. Or, with ``base``, a model and its base.

    ``compare(before, after).blocking("error")`` are those that a gate fails by. ``compare(model, base=..., data=..., classes=...)`` measures
    how near the two are, what the finetune moved, and which known triggers act on one alone; its keywords are the options of
    ``clipclean compare``, and ``as_json()`` is what that prints by ``--json``.

    Raises:
        RefusedInput: a file is missing, unreadable, no JSON or no report.
        UsageError: the base cannot be one.
    """
    if options:
        compare_with_base: Callable[..., ComparedModels] = _with_base  # the request checks what it is called with
        return compare_with_base(earlier, **options) if later is None else compare_with_base(earlier, later, **options)
    from clipclean import report

    reports = [
        source if isinstance(source, report.Report) else report.read(path_of(name, source))
        for name, source in (("earlier", earlier), ("later", later))
    ]
    return report.compare(reports[0], reports[1])


def save(report: "Report", path: StrPath, /) -> None:
    """Write a report in the format that the suffix of a file names: .json, .html, .md, .sarif, .xml (JUnit) or .txt.

    Raises:
        UsageError: the suffix names no format.
        ResourceError: the file cannot be written.
    """
    report_path = path_of("path", path)
    form = form_of(str(report_path))
    if not form:
        raise UsageError(f"{str(report_path)!a}: the suffix names no format. End it in {', '.join(FORM_BY_SUFFIX)}.")
    from clipclean import report as reports

    if not isinstance(report, reports.Report):
        raise UsageError(f"report: it is of type {type(report).__name__}. Give what audit() or sanitize() returns.")
    reports.write(report, form, report_path)
