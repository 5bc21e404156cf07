"""The Python API: the commands as functions of a path or a model in memory.

A keyword stands for the option of its name, and ``panel=False`` for ``--no-panel``. The values are checked and completed as those
of a command are.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from clipclean import requests
from clipclean.api.arguments import explained, requested
from clipclean.progress import Progress
from clipclean.requests import DropRule, EffortName, Model, PrecisionName, ScreenRule, StrPath

if TYPE_CHECKING:
    from clipclean.config.policy import Policy
    from clipclean.config.recipe import Recipe
    from clipclean.jobs.verify import Verification
    from clipclean.report import Report
    from clipclean.schema.results import Exported, Inspection, PlantedModel, ReferencesFile, Screening

# What a function takes; a request has it completed: a place as a path, several as a tuple.
StrPaths: TypeAlias = StrPath | Sequence[StrPath]
Data: TypeAlias = StrPath  # which may name several by ``::``
Names: TypeAlias = StrPath | Sequence[str]  # a file with one a line, or the names themselves
Texts: TypeAlias = str | Sequence[str]
Labels: TypeAlias = Mapping[str, str] | None
Changes: TypeAlias = Sequence[str] | Mapping[str, object]
Models: TypeAlias = "Model | list[Model] | tuple[Model, ...] | None"


@explained(requests.Audit)
def audit(
    model: Model,
    /,
    *,
    data: StrPaths | None = None,
    reference: Models = (),
    references: StrPaths = (),
    base: Models = (),
    effort: EffortName = "standard",
    save_triggers: StrPath | None = None,
    power: bool = False,
    search: bool = True,
    trigger: Texts = (),
    target: str | None = None,
    download: bool = False,
    arch: str | None = None,
    weights: str | None = None,
    classes: Names | None = None,
    templates: Names | None = None,
    policy: "StrPath | Policy | None" = None,
    ignore: Texts = (),
    seed: int = 0,
    device: str = "auto",
    max_minutes: float | None = None,
    label: Labels = None,
    progress: Progress | None = None,
) -> "Report":
    """Look for an unknown backdoor in a model, and name the class that it leads to."""
    with requested(requests.Audit, locals()) as request:
        from clipclean.jobs import audit as auditing

        return auditing.audit(auditing.Job.of(request).on_this_machine()).report


@explained(requests.Sanitize)
def sanitize(
    model: Model,
    data: StrPaths,
    /,
    *,
    eval_data: Data | None = None,
    image_key: str | None = None,
    caption_key: str | None = None,
    classes: Names | None = None,
    templates: Names | None = None,
    seed: int = 0,
    device: str = "auto",
    download: bool = False,
    arch: str | None = None,
    weights: str | None = None,
    reference: Models = (),
    references: StrPaths = (),
    base: Models = (),
    recipe: "StrPath | Recipe | None" = None,
    set: Changes = (),
    screen: ScreenRule = "report",
    precision: PrecisionName | None = None,
    trigger: Texts = (),
    target: str | None = None,
    panel: bool = True,
    search: bool = True,
    policy: "StrPath | Policy | None" = None,
    ignore: Texts = (),
    max_accuracy_loss: float | None = None,
    keep_failed: bool = False,
    out: StrPath = "clipclean-out",
    format: Texts = ("open_clip",),
    log_dir: StrPath | None = None,
    log_to: Texts = (),
    label: Labels = None,
    force: bool = False,
    max_minutes: float | None = None,
    progress: Progress | None = None,
) -> "Report":
    """Clean a model by finetuning on clean pairs, and write weights and report into a folder; returns the report.

    A module in memory stays as it is: load the cleaned weights from ``out``. A run that was interrupted goes on when the same
    call is made again. This is one process; several need the command and torchrun.
    """
    with requested(requests.Sanitize, locals()) as request:
        from clipclean import auto
        from clipclean.jobs import sanitize as sanitizing

        job = sanitizing.Job.of(request).on_this_machine()
        outcome = sanitizing.sanitize(job, auto.strategy_of(job), sanitizing.run_of(job))
        assert outcome is not None  # noqa: S101 # one process has the result
        return outcome.report


@explained(requests.Screen)
def screen(
    data: Data,
    model: Model,
    /,
    *,
    image_key: str | None = None,
    caption_key: str | None = None,
    drop: DropRule | None = None,
    false_drop_rate: float | None = None,
    trusted: Data | None = None,
    trigger: Texts = (),
    save_kept: StrPath | None = None,
    top: int = 100,
    download: bool = False,
    arch: str | None = None,
    weights: str | None = None,
    device: str = "auto",
    force: bool = False,
    progress: Progress | None = None,
) -> "Screening":
    """Rank the pairs of a supposedly clean set by suspicion; returns the ranking.

    ``as_json()`` is what the command prints by ``--json``.
    """
    with requested(requests.Screen, locals()) as request:
        from clipclean.jobs import screen as job

        return job.screen(request)[0]


@explained(requests.Export)
def export(
    model: Model,
    /,
    *,
    format: Texts,
    out: StrPath = "clipclean-out",
    data: StrPaths | None = None,
    image_key: str | None = None,
    caption_key: str | None = None,
    download: bool = False,
    arch: str | None = None,
    weights: str | None = None,
    normalize: bool = False,
    fp16: bool = False,
    onnx_preset: str = "transformers.js",
    force: bool = False,
    label: Labels = None,
    progress: Progress | None = None,
) -> "Exported":
    """Write the weights of a model in other formats, and check that they still compute the same; returns what was written.

    Nothing is audited: a backdoor is exported like everything else.
    """
    with requested(requests.Export, locals()) as request:
        from clipclean.jobs import export as job

        return job.export(request)


@explained(requests.Plant)
def plant(
    model: Model,
    data: StrPaths,
    /,
    *,
    trigger: str,
    target: str,
    image_key: str | None = None,
    caption_key: str | None = None,
    out: StrPath,
    eval_data: Data | None = None,
    rate: float | None = None,
    steps: int | None = None,
    walk: float | None = None,
    batch_size: int | None = None,
    download: bool = False,
    arch: str | None = None,
    weights: str | None = None,
    classes: Names | None = None,
    templates: Names | None = None,
    seed: int = 0,
    device: str = "auto",
    force: bool = False,
    progress: Progress | None = None,
) -> "PlantedModel":
    """Plant a backdoor in a copy of a model by finetuning on partly triggered pairs; returns its effect.

    The file that is written is backdoored: label it so, and never deploy it.
    """
    with requested(requests.Plant, locals()) as request:
        from clipclean.jobs import plant as job

        return job.plant(request)


@explained(requests.References)
def references(
    models: Models,
    /,
    *,
    out: StrPath,
    data: Data | None = None,
    effort: EffortName = "standard",
    download: bool = False,
    arch: str | None = None,
    weights: str | None = None,
    classes: Names | None = None,
    templates: Names | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
) -> "ReferencesFile":
    """Search clean models as an audit does, and write the results for ``audit(references=...)``; returns what the file holds."""
    with requested(requests.References, locals()) as request:
        from clipclean.jobs import build_references as job

        return job.build_references(request)


@explained(requests.Inspect)
def inspect(
    model: Model, /, *, download: bool = False, arch: str | None = None, weights: str | None = None
) -> "Inspection":
    """Say what a checkpoint is: format, architecture, numbers, digests. Nothing in it is executed, and no model is built.

    Raises:
        RefusedInput: the file is unreadable, unsafe or no CLIP with native towers.
    """
    with requested(requests.Inspect, locals()) as request:
        from clipclean.jobs import inspect as job

        return job.inspect(request.model, arch=request.arch, weights=request.weights)


@explained(requests.Verify)
def verify(folder: StrPath, /, *, public_key: StrPath | None = None) -> "Verification":
    """Check a folder that ``sanitize`` or ``export`` wrote: checksums, in-toto statement, weights, report, signature.

    Raises:
        RefusedInput: it is no folder, or nothing says what should be in it.
    """
    with requested(requests.Verify, locals()) as request:
        from clipclean.jobs import verify as job

        return job.verify(request.folder, public_key=request.public_key)
