"""The Python API: the commands as functions of a path or a model in memory.

A keyword stands for the option of its name. The values are completed in ``requests``, as those of a command are.
"""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import clipclean.export  # noqa: F401 # here: its first import binds clipclean.export, which then becomes the function below
from clipclean.api import requests, roles
from clipclean.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

    from clipclean.config.policy import Policy
    from clipclean.config.recipe import Recipe
    from clipclean.jobs.compare import Comparison
    from clipclean.jobs.verify import Result
    from clipclean.report import Report
    from clipclean.schema.results import Exported, Inspection, Screening

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


def audit(
    model: "Model",
    /,
    *,
    data: Place | None = None,
    reference: "Model | list[Model] | tuple[Model, ...] | None" = None,
    references: "Place | None" = None,
    power: bool = False,
    canaries: int = 4,
    effort: Literal["quick", "standard", "thorough"] = "standard",
    search: bool = True,
    save_triggers: Place | None = None,
    classes: Names | None = None,
    templates: Names | None = None,
    arch: str | None = None,
    weights: str | None = None,
    policy: "Place | Policy | None" = None,
    labels: Mapping[str, str] | None = None,
    seed: int = 0,
    device: str = "auto",
    max_minutes: float | None = None,
    progress: Progress | None = None,
) -> "Report":
    """Look for an unknown backdoor in a model, and name the class that it leads to.

    Args:
        model: a checkpoint, or an open_clip module.
        data: images to measure and search on, in any format that the command takes; None takes bundled ones.
        reference: a clean model of the same architecture that you trust, or several.
        references: a file of such models, as ``clipclean references build`` writes.
        power: plant test backdoors in copies, and say how many of them the same audit finds.
        canaries: how many, 1 to 6.
        effort: how hard to search.
        search: whether to search at all; without a search the verdict is never ``pass``.
        save_triggers: a folder for the triggers that the search finds.
        classes: class names; None takes ImageNet-1k's.
        templates: sentences with ``{}`` for the class name; None takes open_clip's seven.
        arch: an open_clip name, or a JSON file with a config.
        weights: which of several sets in the file.
        policy: what the verdict demands.
        labels: names and values for the report, such as a build number.
        seed: fixes every random choice.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        max_minutes: end after so many minutes with what was found until then.
        progress: called with each stage, steps done and steps in all.

    Raises:
        ClipcleanError: of the kind that tells what went wrong; then nothing is written.
    """
    given = requests.normal(locals())
    roles.check(given)
    if not search and any(given[name] for name in ("reference", "references", "save_triggers", "power")):
        raise UsageError(
            "Without a search nothing is found that could be saved or compared. Leave reference, references, power and save_triggers out."
        )
    with requests.of_audit(given) as request:
        from clipclean.jobs import audit as job

        return job.audit(request, progress=progress or _quiet).report


def sanitize(
    model: "Model",
    data: Place,
    /,
    *,
    out: Place = "clipclean-out",
    recipe: "Place | Recipe | None" = None,
    overrides: Sequence[str] | Mapping[str, object] = (),
    max_accuracy_loss: float | None = None,
    max_minutes: float | None = None,
    eval_data: Place | None = None,
    image_key: str | None = None,
    caption_key: str | None = None,
    classes: Names | None = None,
    templates: Names | None = None,
    triggers: Sequence[str] = (),
    target: str | None = None,
    screen: float | Literal["auto", "off"] | None = None,
    panel: bool = True,
    reference: "Model | list[Model] | tuple[Model, ...] | None" = None,
    arch: str | None = None,
    weights: str | None = None,
    policy: "Place | Policy | None" = None,
    labels: Mapping[str, str] | None = None,
    precision: Literal["auto", "fp32", "bf16"] | None = None,
    formats: Sequence[str] = ("open_clip",),
    normalize: bool = False,
    fp16: bool = False,
    onnx_preset: str = "transformers.js",
    bom: bool = False,
    force: bool = False,
    keep_failed: bool = False,
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
) -> "Report":
    """Clean a model by finetuning on clean pairs, and write weights and report into a folder; returns the report.

    A module in memory stays as it is: load the cleaned weights from ``out``. A run that was interrupted goes on when the same
    call is made again. This is one process; several need the command and torchrun.

    Args:
        model: a checkpoint, or an open_clip module.
        data: clean image-caption pairs; images alone for unlearning, labelled images for supervised finetuning.
        out: folder for weights and report.
        recipe: a name, a file or a recipe; None takes the default one.
        overrides: values of the recipe, as ``{"train.epochs": 3}`` or ``["train.epochs=3"]``.
        max_accuracy_loss: clean accuracy that the cleaning may cost.
        max_minutes: end training after so many minutes; ``auto`` starts no new candidate then.
        eval_data: labelled images to measure on; None keeps some pairs out of training.
        image_key: column of the images, where it has another name than the known ones.
        caption_key: column of the captions, likewise.
        classes: class names; None takes ImageNet-1k's.
        templates: sentences with ``{}`` for the class name; None takes open_clip's seven.
        triggers: triggers that you suspect, as specs or files.
        target: the class that they lead to.
        screen: pairs to leave out: a share, ``auto`` for those that stand out, None to report only, ``off``.
        panel: whether to try the known triggers.
        reference: for ``auto``: a clean model of the same architecture that you trust, or several, for its audits to compare with.
        arch: an open_clip name, or a JSON file with a config.
        weights: which of several sets in the file.
        policy: what the verdict demands.
        labels: names and values for the report, such as a build number.
        precision: number format of the forward pass; None takes the recipe's.
        formats: of the weights: ``open_clip``, ``hf``, ``onnx``.
        normalize: ONNX: put out unit embeddings.
        fp16: ONNX: store weights in half precision.
        onnx_preset: ONNX: whose names for files, inputs and outputs.
        bom: also write a bill of materials.
        force: replace clipclean's own files in ``out``.
        keep_failed: write the weights even if their audit failed.
        seed: fixes every random choice.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        progress: called with each stage, steps done and steps in all.

    Raises:
        ClipcleanError: of the kind that tells what went wrong; then nothing new stands in ``out``.
    """
    given = requests.normal(locals())
    roles.check(given, out="folder")
    request = requests.of_sanitize(given)
    from clipclean import auto

    outcome = auto.clean(request, progress=progress or _quiet)
    assert outcome is not None  # noqa: S101 # one process has the result
    return outcome.report


def screen(
    data: Place,
    model: "Model",
    /,
    *,
    drop: float | Literal["auto"] | None = None,
    false_drop_rate: float | None = None,
    trusted: Place | None = None,
    triggers: Sequence[str] = (),
    save_kept: Place | None = None,
    top: int = 100,
    image_key: str | None = None,
    caption_key: str | None = None,
    arch: str | None = None,
    weights: str | None = None,
    force: bool = False,
    device: str = "auto",
    progress: Progress | None = None,
) -> "Screening":
    """Rank the pairs of a supposedly clean set by suspicion; returns the ranking. ``as_json()`` is what the command prints by ``--json``.

    Args:
        data: the pairs.
        model: a checkpoint, or an open_clip module; the backdoored model itself sees most.
        drop: pairs to leave out of ``save_kept``: a share, or ``auto`` for those that stand out.
        false_drop_rate: instead of ``drop``: leave out scores that at most this share of clean pairs reach, judged by ``trusted``.
        trusted: pairs that are known to be clean, of the same origin and not among ``data``.
        triggers: triggers that pairs may carry, as specs or files.
        save_kept: a .csv, .tar or .txt file for the pairs that are kept.
        top: pairs to list.
        image_key: column of the images, where it has another name than the known ones.
        caption_key: column of the captions, likewise.
        arch: an open_clip name, or a JSON file with a config.
        weights: which of several sets in the file.
        force: whether ``save_kept`` may be replaced.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        progress: called with each stage, steps done and steps in all.

    Raises:
        ClipcleanError: of the kind that tells what went wrong; then no file is written.
    """
    given = requests.normal(locals())
    roles.check(given)
    request = requests.of_screen(given)
    from clipclean.jobs import screen as job

    return job.screen(request, progress=progress or _quiet).report


def export(
    model: "Model",
    /,
    *,
    formats: Sequence[str],
    out: Place = "clipclean-out",
    data: Place | None = None,
    image_key: str | None = None,
    caption_key: str | None = None,
    arch: str | None = None,
    weights: str | None = None,
    normalize: bool = False,
    fp16: bool = False,
    onnx_preset: str = "transformers.js",
    bom: bool = False,
    labels: Mapping[str, str] | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> "Exported":
    """Write the weights of a model in other formats, and check that they still compute the same; returns what was written.

    Nothing is audited: a backdoor is exported like everything else.

    Args:
        model: a checkpoint, or an open_clip module.
        formats: ``open_clip``, ``hf``, ``onnx``.
        out: folder for the files.
        data: images and captions to compare on; None takes bundled ones.
        image_key: column of the images, where it has another name than the known ones.
        caption_key: column of the captions, likewise.
        arch: an open_clip name, or a JSON file with a config.
        weights: which of several sets in the file.
        normalize: ONNX: put out unit embeddings.
        fp16: ONNX: store weights in half precision.
        onnx_preset: ONNX: whose names for files, inputs and outputs.
        bom: also write a bill of materials.
        labels: names and values for the records, such as a build number.
        force: replace clipclean's own files in ``out``.
        progress: called with each stage, steps done and steps in all.

    Raises:
        ClipcleanError: of the kind that tells what went wrong; then ``out`` is as it was.
    """
    given = requests.normal(locals())
    roles.check(given, out="folder")
    with requests.of_export(given) as request:
        from clipclean.jobs import export as job

        return job.convert(request, progress=progress or _quiet)


def inspect(model: "Model", /, *, arch: str | None = None, weights: str | None = None) -> "Inspection":
    """Say what a checkpoint is: format, architecture, numbers, digests. Nothing in it is executed, and no model is built.

    Args:
        model: a checkpoint, or an open_clip module.
        arch: an open_clip name, or a JSON file with a config.
        weights: which of several sets in the file.

    Raises:
        RefusedInput: the file is unreadable, unsafe or no CLIP with native towers.
    """
    from clipclean.jobs import inspect as job

    return job.inspect(requests.normal({"model": model})["model"], arch=arch, weights=weights)


def verify(folder: Place, /, *, public_key: Place | None = None) -> "Result":
    """Check a folder that ``sanitize`` or ``export`` wrote: checksums, provenance, statement, weights, signature.

    Args:
        folder: the folder.
        public_key: of the signer, in PEM.

    Raises:
        RefusedInput: it is no folder, or nothing says what should be in it.
    """
    from clipclean.jobs import verify as job

    return job.verify(Path(folder), public_key=None if public_key is None else Path(public_key))


def compare(earlier: "Place | Report", later: "Place | Report", /) -> "Comparison":
    """Put two reports beside each other: which findings are new, worse, gone or as before.

    ``compare(before, after).blocking("error")`` are those that a gate fails by.

    Args:
        earlier: a ``report.json``, or a report.
        later: the same.

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


def _quiet(_stage: str, _done: int, _total: int, /) -> None:
    """Show nothing."""
