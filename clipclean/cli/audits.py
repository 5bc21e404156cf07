"""Running the audits of one command, or planning them; and the summary of several."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, NamedTuple

import click

from clipclean.api import requests, roles
from clipclean.cli import printing, progress, several
from clipclean.cli.command import Given
from clipclean.errors import ClipcleanError, Inconclusive, RefusedInput, UsageError
from clipclean.untrusted import printable

if TYPE_CHECKING:
    from clipclean.jobs.plan import Plan
    from clipclean.report import PageImages, Report, RunPaths


class PagedReport(NamedTuple):
    """A report and the images of its page."""

    report: "Report"
    images: "PageImages"


def audited(given: Given, /) -> "PagedReport | Plan":
    """The outcome of the audit of ``given["model"]``, or its plan where --dry-run asks for one."""
    if not several.is_silent(given):
        printing.first_line(given["model"], f"effort {given['effort']}")
    printing.check_there(given)
    device, quiet = several.begun(given)
    from clipclean.jobs import audit as job
    from clipclean.jobs import plan

    asked = given | {"search": not given["no_search"], "device": device}
    with requests.of_audit(asked) as request, progress.shown(quiet=quiet) as shown:
        if given["dry_run"]:
            return plan.of_audit(request, progress=shown)
        outcome = job.audit(request, progress=shown)
    return PagedReport(outcome.report, outcome.images)


SUFFIXES = {"json": "json", "html": "html", "sarif": "sarif", "junit": "xml", "markdown": "md"}  # of --report-dir
BADNESS = (0, 4, 1, 3, 2)  # exit codes, the worst last: a model without any verdict is worse than one that failed
ALONE = {"--save-triggers": "save_triggers", "--baseline": "baseline"}  # options that are of one model


class AuditedModel(NamedTuple):
    """The result for one model."""

    model: Path
    code: int
    verdict: str  # pass, fail or inconclusive; refused where it could not be audited
    words: str
    content: dict[str, object]  # for JSON


def audit_all(given: Given, models: Sequence[Path], /) -> int:
    """Audit each model and print the summary; returns the worst exit code.

    A model that is refused, and one whose audit has too little data, counts as itself; the others are audited all the same.

    Raises:
        UsageError: an option is of one model only.
        ClipcleanError: memory, disk or the like ran out.
    """
    check(given, models)
    requests.policy_of(given)
    lines = []
    for number, (model, label) in enumerate(zip(models, labels(models), strict=True), 1):
        printing.say(given, f"model {number} of {len(models)}: {printable(model)}")
        lines.append(line_of({**given, "model": model}, label))
    if any(output.path is None for output in printing.outputs_of(given)):
        printing.echo_json([line.content for line in lines])
    else:
        click.echo(summary(lines, given["report_dir"]))
    return max((line.code for line in lines), key=BADNESS.index)


def check(given: Given, models: Sequence[Path], /) -> None:
    """Refuse before slow work what several models cannot share; raises UsageError."""
    roles.check({**given, "models": (*given["models"], *models)})
    if single := [flag for flag, name in ALONE.items() if given[name] is not None]:
        raise UsageError(f"{' and '.join(single)}: for one model, and these are {len(models)}. Audit them one by one.")
    outputs = printing.outputs_of(given)
    if wrong := [output for output in outputs if output.format != "json" or output.path is not None]:
        raise UsageError(
            f"--report {wrong[0].format}={wrong[0].path or '-'}: these are {len(models)} models. --report-dir DIR writes the reports "
            "of each; --json prints all as one list."
        )


def line_of(given: Given, label: str, /) -> AuditedModel:
    """Audit one model and write its reports; what refuses it becomes its line."""
    from clipclean.cli.inspect import refused

    model: Path = given["model"]
    try:
        made = audited(given)
    except (RefusedInput, UsageError, Inconclusive) as error:
        return _refused(model, error, refused(error))
    if not isinstance(made, PagedReport):
        return _planned(model, made)
    if given["report_dir"] is not None:
        write_reports(given, label, made)
    from clipclean import report
    from clipclean.report import verdicts

    code = printing.exit_code(given, made.report)
    content = {"path": str(model), "exit_code": code, "report": json.loads(report.json(made.report))}
    return AuditedModel(model, code, made.report.verdict, verdicts.headline(made.report), content)


def _refused(model: Path, error: ClipcleanError, reason: dict[str, str]) -> AuditedModel:
    verdict = "inconclusive" if isinstance(error, Inconclusive) else "refused"
    return AuditedModel(
        model, error.exit_code, verdict, str(error), {"path": str(model), "exit_code": error.exit_code, **reason}
    )


def _planned(model: Path, plan: "Plan") -> AuditedModel:
    return AuditedModel(
        model, 0, "planned", str(plan.estimate), {"path": str(model), "exit_code": 0, **printing.as_json(plan)}
    )


def place_of(given: Given, /) -> "RunPaths":
    """What the audit was given, for the commands that its report suggests."""
    from clipclean import report

    found = given.get("save_triggers")
    return report.paths_of(SimpleNamespace(**given), found="" if found is None else str(found))


def write_reports(given: Given, label: str, made: PagedReport, /) -> None:
    """Write a report in each form, named after the model."""
    from clipclean import report

    folder: Path = given["report_dir"]
    folder.mkdir(parents=True, exist_ok=True)
    for form, suffix in SUFFIXES.items():
        path = folder / f"{label}.{suffix}"
        roles.check_report(roles.Role(f"--report-dir: {path.name}", path))
        report.write(made.report, form, path, made.images, place_of(given))


def labels(models: Sequence[Path], /) -> list[str]:
    """A file name for each model: its path in letters that every system takes, and a number where two would be one."""
    found: list[str] = []
    for model in models:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", str(model)).strip("-.")[-100:] or "model"
        taken = {label.casefold() for label in found}
        free = (f"{plain}{f'-{number}' if number > 1 else ''}" for number in range(1, len(models) + 1))
        found.append(next(name for name in free if name.casefold() not in taken))
    return found


def summary(lines: Sequence[AuditedModel], folder: Path | None, /) -> str:
    """A line for each model, then how many of each verdict there are."""
    names = [printable(line.model) for line in lines]
    width = min(60, max(map(len, names)))
    rows = [
        f"{line.verdict:12}  {name:{width}}  {printable(line.words.partition(chr(10))[0])}"
        for name, line in zip(names, lines, strict=True)
    ]
    verdicts = [line.verdict for line in lines]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in dict.fromkeys(verdicts))
    where = f" Reports: {printable(folder)}." if folder is not None else " --report-dir DIR writes the report of each."
    return "\n".join([*rows, f"{len(lines)} models: {counts}.{where}"])
