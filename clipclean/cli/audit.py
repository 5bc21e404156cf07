"""``clipclean audit``: does a checkpoint carry a backdoor? And ``clipclean references``, clean models to compare it with."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from clipclean import requests
from clipclean.api import roles
from clipclean.cli import printing, process, progress
from clipclean.cli.command import CommandGroup, command_of
from clipclean.cli.options import RESULT_OPTIONS, VERDICT_OPTIONS, Output, Shell
from clipclean.errors import Inconclusive, RefusedInput, ResourceError, UsageError
from clipclean.requests import name_in_messages
from clipclean.schema.report_forms import REPORT_FORMS
from clipclean.untrusted import plural, printable

if TYPE_CHECKING:
    from clipclean.jobs.audit import Job, Outcome, Plan


@command_of(
    requests.Audit,
    ("models", "workers", *VERDICT_OPTIONS, "report_dir", "outputs", *RESULT_OPTIONS, "dry_run"),
    "audit model.pt --classes classes.txt",
    "audit model.safetensors -d images/ --reference trusted.pt --report report.html",
    "audit model.pt -d images/ --effort thorough --save-triggers found/ --policy policy.yaml",
    "audit model.pt -d images/ --trigger patch --target banana --no-search",
    "audit checkpoints/ other.pt --classes classes.txt --report-dir reports/",
)
def audit(request: requests.Audit, shell: Shell) -> int:
    """Look for an unknown backdoor in MODEL, and name the class that it leads to.

    The audit tries known triggers, searches for unknown ones, and compares the results with those of clean models. Nothing in
    MODEL is executed. The exit code is the verdict. With several MODELs, or a folder of them, each is audited; a summary
    follows, the exit code is the worst, and JSON is a list.
    """
    from clipclean.jobs import model_paths
    from clipclean.jobs.job import Job

    models = model_paths.expanded(shell.models)
    process.check_single("An audit")
    roles.check(request, replace(shell, models=(*shell.models, *models)))
    job = Job.of(request)  # a wrong policy is refused before slow work
    roles.check_reports(
        shell.report_dir, [f"{name}{suffix}" for name in labels(models) for suffix in SUFFIX_BY_FORM.values()]
    )
    if len(models) > 1:
        return audit_all(job, shell, models)
    printing.check_baseline(shell)
    outcome = outcome_of(job.of_model(models[0]), shell)
    from clipclean.jobs.audit import Plan

    if isinstance(outcome, Plan):
        printing.show(shell.as_json, printing.plan_json(outcome), printing.plan_text(outcome))
        return 0
    reports = outputs_in(shell.report_dir, labels(models)[0])
    return printing.show_report(replace(shell, outputs=(*shell.outputs, *reports)), outcome, page=shell.report_dir)


# Of --report-dir, by form.
SUFFIX_BY_FORM = {name: form.suffixes[0] for name, form in REPORT_FORMS.items() if form.of_each_model}
EXIT_CODES_BY_HARM = (0, 4, 1, 3, 2)  # the worst last: a model without any verdict is worse than one that failed


def outcome_of(job: "Job[requests.Audit]", shell: Shell, /) -> "Outcome | Plan":
    """The outcome of the audit of one model, or its plan where --dry-run asks for one."""
    request = job.request
    printing.first_line(shell, request.model, f"effort {request.effort}{printing.policy_in_force(job)}")
    printing.check_inputs(request)
    device, quiet = process.load_torch(request.device, shell)
    from clipclean.jobs import audit as auditing

    with progress.display(quiet=quiet):
        return (auditing.planned if shell.dry_run else auditing.audit)(job.on_device(device))


class AuditedModelLine(NamedTuple):
    """The result for one of several models."""

    verdict: str  # pass, fail or inconclusive; refused where it could not be audited, planned where it was not to be
    words: str
    code: int
    content: Mapping[str, object]  # for JSON
    failures: Sequence[ResourceError] = ()  # of writing its reports


def audit_all(job: "Job[requests.Audit]", shell: Shell, models: Sequence[Path], /) -> int:
    """Audit each model and print the summary; returns the worst exit code.

    A model that is refused, and one whose audit has too little data, counts as itself; the others are audited all the same.

    Raises:
        UsageError: something is asked that several models cannot share.
        ResourceError: a report could not be written. The summary is printed before.
    """
    single_options = {"save_triggers": job.request.save_triggers, "baseline": shell.baseline}  # of one model
    if refused_options := [name_in_messages(name) for name, value in single_options.items() if value is not None]:
        raise UsageError(
            f"{' and '.join(refused_options)}: for one model, and these are {len(models)}. Audit them one by one."
        )
    if shell.outputs:
        raise UsageError(
            f"--report {shell.outputs[0].format}={shell.outputs[0].path}: these are {len(models)} models. --report-dir DIR writes "
            "the reports of each; --json prints all as one list."
        )
    lines = []
    for number, (model, label) in enumerate(zip(models, labels(models), strict=True), 1):
        printing.say(shell, f"model {number} of {len(models)}: {printable(model)}")
        try:
            lines.append(line_of(job.of_model(model), shell, label))
        except (RefusedInput, UsageError, Inconclusive) as error:
            verdict = "inconclusive" if isinstance(error, Inconclusive) else "refused"
            lines.append(AuditedModelLine(verdict, str(error), error.exit_code, printing.refusal_json(error)))
    rows = [
        {"path": str(model), "exit_code": line.code, **line.content} for model, line in zip(models, lines, strict=True)
    ]
    printing.show(shell.as_json, rows, summary(models, lines, shell.report_dir))
    for failure in (failure for line in lines for failure in line.failures):
        raise failure
    return max((line.code for line in lines), key=EXIT_CODES_BY_HARM.index)


def line_of(job: "Job[requests.Audit]", shell: Shell, label: str, /) -> AuditedModelLine:
    """Audit one of several models, and write its reports."""
    outcome = outcome_of(job, shell)
    from clipclean import report
    from clipclean.jobs.audit import Plan

    if isinstance(outcome, Plan):
        return AuditedModelLine("planned", str(outcome.estimate), 0, printing.plan_json(outcome))
    failures = printing.write_reports(outcome, outputs_in(shell.report_dir, label))
    code = printing.exit_code(shell, outcome.report)
    words, content = report.headline(outcome.report), {"report": outcome.report.as_json()}
    return AuditedModelLine(outcome.report.verdict, words, code, content, (*failures.values(),))


def outputs_in(folder: Path | None, label: str, /) -> list[Output]:
    """The report in each form in a folder, which is made, if there is to be one; named after the model."""
    if folder is None:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    outputs = [Output(form, folder / f"{label}{suffix}") for form, suffix in SUFFIX_BY_FORM.items()]
    for output in outputs:
        roles.check_report(f"--report-dir: {output.path.name}", output.path)
    return outputs


def labels(models: Sequence[Path], /) -> list[str]:
    """A file name for each model: its path in letters that every system takes, and a number where two would be one."""
    names: list[str] = []
    for model in models:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", str(model)).strip("-.")[-100:] or "model"
        used_names = {label.casefold() for label in names}
        free = (f"{plain}{f'-{number}' if number > 1 else ''}" for number in range(1, len(models) + 1))
        names.append(next(name for name in free if name.casefold() not in used_names))
    return names


def summary(models: Sequence[Path], lines: Sequence[AuditedModelLine], folder: Path | None, /) -> str:
    """A line for each model, then how many of each verdict there are."""
    names = [printable(model) for model in models]
    width = min(60, max(map(len, names)))
    rows = [
        f"{line.verdict:12}  {name:{width}}  {printable(line.words.partition(chr(10))[0])}"
        for name, line in zip(names, lines, strict=True)
    ]
    verdicts = [line.verdict for line in lines]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in dict.fromkeys(verdicts))
    where = f" Reports: {printable(folder)}." if folder is not None else " --report-dir DIR writes the report of each."
    return "\n".join([*rows, f"{len(lines)} models: {counts}.{where}"])


@click.group(cls=CommandGroup)
def references() -> None:
    """Measure clean models once, to compare others with."""


@command_of(
    requests.References,
    ("config", "quiet"),
    "references build clean-1.pt clean-2.pt -d images/ --classes classes.txt --out vit-b-32.json",
    "audit model.pt -d images/ --classes classes.txt --references vit-b-32.json",
    group=references,
)
def build(request: requests.References, shell: Shell) -> None:
    """Search clean MODELs like an audit, and write the results to a file for 'audit --references FILE'."""
    from clipclean.jobs import build_references as job

    with progress.display(quiet=shell.quiet):
        references_file = job.build_references(request)
    models = plural(len(references_file["models"]), "clean model")
    click.echo(f"{models} ({references_file['kind']}, {request.effort} effort): {request.out}")
