"""``clipclean audit``: does a checkpoint carry a backdoor?"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from clipclean.api import requests, roles
from clipclean.api.parameters import called
from clipclean.cli import options, printing, process, progress
from clipclean.cli.command import Given, command, option
from clipclean.config.effort import EFFORTS, LONG
from clipclean.errors import Inconclusive, RefusedInput, UsageError
from clipclean.untrusted import printable

if TYPE_CHECKING:
    from clipclean.jobs.audit import Outcome
    from clipclean.jobs.plan import Plan
    from clipclean.report import RunPaths

EPILOG = """\b
Examples:
  clipclean audit model.pt --classes classes.txt
  clipclean audit model.safetensors -d images/ --reference trusted.pt --report report.html
  clipclean audit model.pt -d images/ --effort thorough --save-triggers found/ --policy policy.yaml
  clipclean audit model.pt -d images/ --trigger patch --target banana --no-search
  clipclean audit checkpoints/ other.pt --classes classes.txt --report-dir reports/
"""


@command(epilog=EPILOG)
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, type=click.Path(readable=False, path_type=Path))
@options.images(
    f"Images to measure and search on. {options.SETS_HELP} Labels (one folder per class) and captions are "
    "used if present. A few hundred varied images are enough. They may contain poisoned images; only the labels must be right.",
    **options.SETS,
    show_default="bundled images",
)
@options.reference(
    "A clean model of the same architecture that you trust. It is searched in the same way, and its natural "
    "triggers for a class do not count against the model. Repeatable.",
)
@option(
    "--references FILE",
    "The same, from a file of 'clipclean references build' and without another search. Repeatable.",
    multiple=True,
)
@options.effort(
    "How hard to search; a harder search misses less. Forward and backward passes of one image through the image tower: "
    + ", ".join(f"{name} {effort.cost(LONG):,}" for name, effort in EFFORTS.items())
    + " at most.",
)
@option("--save-triggers DIR", "Folder to save the found triggers in, for 'clipclean sanitize --trigger FILE'.")
@option(
    "--power",
    "Plant four test backdoors in copies of the model and run the same audit on each. If it finds nearly all of them and "
    "nothing in the model, the model may pass without --reference. Costs four more audits.",
)
@option("--report-dir DIR", "Folder for a report of each model, as JSON, HTML, SARIF, JUnit and Markdown.")
@option(
    "--no-search",
    "Try the known triggers only, or those of --trigger alone. This is faster, but misses other backdoors, so the verdict is "
    "never pass.",
)
@options.triggers
@options.target
@options.loaded
@options.named
@options.judged
@options.computed
@options.max_minutes
@options.reported
@options.spoken
@options.dry_run
def audit(**given: Any) -> int:
    """Look for an unknown backdoor in MODEL, and name the class that it leads to.

    The audit tries known triggers, searches for unknown ones, and compares the results with those of clean models. Nothing in
    MODEL is executed. The exit code is the verdict. With several MODELs, or a folder of them, each is audited; a summary
    follows, the exit code is the worst, and JSON is a list.
    """
    from clipclean.jobs import model_paths

    models = model_paths.expanded(given["models"])
    process.check_single("An audit")
    outputs = printing.outputs_of(given)
    check(given, models, outputs)
    if len(models) > 1:
        return audit_all(given, models)
    given = given | {"model": models[0]}
    made = audited(given)
    from clipclean.jobs.plan import Plan

    if isinstance(made, Plan):
        return printing.show_plan(given, made)
    write_reports(given, labels(models)[0], made)
    page = given["report_dir"]
    return printing.show_report(given, made.report, outputs, images=made.images, place=place_of(given), page=page)


SUFFIXES = {"json": "json", "html": "html", "sarif": "sarif", "junit": "xml", "markdown": "md"}  # of --report-dir
BADNESS = (0, 4, 1, 3, 2)  # exit codes, the worst last: a model without any verdict is worse than one that failed
ALONE = ("save_triggers", "baseline")  # options that are of one model


def check(given: Given, models: Sequence[Path], outputs: Sequence[options.Output], /) -> None:
    """Refuse before slow work a wrong policy or baseline, and what several models cannot share; raises UsageError."""
    roles.check({**given, "models": (*given["models"], *models)})
    requests.policy_of(given)
    if len(models) == 1:
        printing.check_baseline(given)
        return
    if single := [called(name) for name in ALONE if given[name] is not None]:
        raise UsageError(f"{' and '.join(single)}: for one model, and these are {len(models)}. Audit them one by one.")
    if wrong := [output for output in outputs if output.path is not None]:
        raise UsageError(
            f"--report {wrong[0].format}={wrong[0].path}: these are {len(models)} models. --report-dir DIR writes the reports "
            "of each; --json prints all as one list."
        )


def audited(given: Given, /) -> "Outcome | Plan":
    """The outcome of the audit of one model, or its plan where --dry-run asks for one."""
    if not process.is_silent(given):
        printing.first_line(given["model"], f"effort {given['effort']}")
    printing.check_there(given)
    device, quiet = process.begun(given)
    from clipclean.jobs import audit as job
    from clipclean.jobs import plan

    asked = given | {"search": not given["no_search"], "device": device}
    with requests.of_audit(asked) as request, progress.shown(quiet=quiet) as shown:
        return plan.of_audit(request, progress=shown) if given["dry_run"] else job.audit(request, progress=shown)


class Line(NamedTuple):
    """The result for one of several models."""

    verdict: str  # pass, fail or inconclusive; refused where it could not be audited, planned where it was not to be
    words: str
    code: int
    content: Mapping[str, object]  # for JSON


def audit_all(given: Given, models: Sequence[Path], /) -> int:
    """Audit each model and print the summary; returns the worst exit code.

    A model that is refused, and one whose audit has too little data, counts as itself; the others are audited all the same.
    """
    lines = []
    for number, (model, label) in enumerate(zip(models, labels(models), strict=True), 1):
        printing.say(given, f"model {number} of {len(models)}: {printable(model)}")
        try:
            lines.append(line_of(given | {"model": model}, label))
        except (RefusedInput, UsageError, Inconclusive) as error:
            verdict = "inconclusive" if isinstance(error, Inconclusive) else "refused"
            lines.append(Line(verdict, str(error), error.exit_code, printing.refused(error)))
    rows = [
        {"path": str(model), "exit_code": line.code, **line.content} for model, line in zip(models, lines, strict=True)
    ]
    printing.show(given["as_json"], rows, summary(models, lines, given["report_dir"]))
    return max((line.code for line in lines), key=BADNESS.index)


def line_of(given: Given, label: str, /) -> Line:
    """Audit one of several models, and write its reports."""
    made = audited(given)
    from clipclean import report
    from clipclean.jobs.plan import Plan

    if isinstance(made, Plan):
        return Line("planned", str(made.estimate), 0, printing.as_json(made))
    write_reports(given, label, made)
    code = printing.exit_code(given, made.report)
    return Line(
        made.report.verdict, report.headline(made.report), code, {"report": json.loads(report.json(made.report))}
    )


def place_of(given: Given, /) -> "RunPaths":
    """What the audit was given, for the commands that its report suggests."""
    from clipclean import report

    return report.paths_of(SimpleNamespace(**given, triggers=given["trigger"]), found=str(given["save_triggers"] or ""))


def write_reports(given: Given, label: str, made: "Outcome", /) -> None:
    """Write a report in each form into a folder, if there is to be one, named after the model."""
    from clipclean import report

    folder: Path | None = given["report_dir"]
    if folder is None:
        return
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


def summary(models: Sequence[Path], lines: Sequence[Line], folder: Path | None, /) -> str:
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
