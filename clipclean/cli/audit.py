"""``clipclean audit``: tell whether a checkpoint carries a backdoor."""

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from clipclean.api import requests, roles
from clipclean.cli import audits, options, printing, progress
from clipclean.cli.command import command, option
from clipclean.config.recipe import EFFORTS
from clipclean.errors import UsageError

if TYPE_CHECKING:
    from clipclean.jobs.plan import Plan
    from clipclean.report import PageImages, Report

EPILOG = """\b
Examples:
  clipclean audit model.pt --classes classes.txt
  clipclean audit model.safetensors -d images/ --reference trusted.pt --output report.html
  clipclean audit model.pt -d images/ --effort thorough --save-triggers found/ --policy policy.yaml
  clipclean audit checkpoints/ other.pt --classes classes.txt --output-dir reports/
"""

# Options that no report depends on; all others, paths as they are spelt among them, are part of what an audit is.
UNSEEN = (
    "models",
    "output_dir",
    "outputs",
    "fail_on",
    "baseline",
    "as_json",
    "exit_zero",
    "quiet",
    "verbose",
    "no_cache",
    "workers",
    "dry_run",
    "max_minutes",
)


class PagedReport(NamedTuple):
    """A report and the images of its page, from the job or from the result cache."""

    report: "Report"
    images: "PageImages"


@command(epilog=EPILOG)
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, type=click.Path(path_type=Path))
@options.images(
    f"Images to measure and search on. {options.SETS_HELP} Labels (one folder per class) and captions are "
    "used if present. A few hundred varied images are enough. They may contain poisoned images; only the labels must be right.",
    **options.SETS,
    show_default="bundled images",
)
@option(
    "--reference",
    group="Model",
    metavar="MODEL",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A clean model of the same architecture that you trust. It is searched in the same way, and its natural "
    "triggers for a class do not count against the model. Repeatable.",
)
@option(
    "--references",
    group="Model",
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path),
    help="The same, from a file of 'clipclean references build' and without another search. Repeatable.",
)
@option(
    "--base",
    group="Model",
    metavar="MODEL",
    type=click.Path(path_type=Path),
    help="The checkpoint that the model was finetuned from. Its weights are compared layer by layer, and it serves as a --reference.",
)
@option(
    "--witness",
    group="Model",
    metavar="MODEL",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A model of any architecture to try the found triggers on. A trigger that moves it to the same class is "
    "natural, and no longer fails the audited model; one that does not move it proves nothing. Repeatable.",
)
@option(
    "--witness-arch",
    group="Model",
    metavar="NAME|FILE",
    help="Architecture of the witnesses, as for --arch, if their files do not state it.",
)
@options.effort(
    "How hard to search; a harder search misses less. Forward and backward passes of one image through the image tower: "
    + ", ".join(f"{name} {most:,}" for name, (_, most) in ((name, effort.passes()) for name, effort in EFFORTS.items()))
    + " at most; thorough adds 60 for each class.",
)
@option(
    "--save-triggers",
    group="Output",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder to save the found triggers in, for 'clipclean sanitize --trigger FILE'.",
)
@option(
    "--power",
    group="Search",
    is_flag=True,
    help="Plant test backdoors in copies of the model and run the same audit on each: the report says how many it "
    "finds. If it finds nearly all of them and nothing in the model, the model may pass without --reference. "
    "Costs one more audit for each test backdoor.",
)
@option(
    "--canaries",
    group="Search",
    metavar="N",
    type=click.IntRange(1, 6),
    default=4,
    help="Number of test backdoors of --power, each of another family. A pass needs at least 4.",
)
@option(
    "--output-dir",
    group="Output",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for a report of each model, as JSON, HTML, SARIF, JUnit and Markdown.",
)
@option(
    "--no-search",
    group="Search",
    is_flag=True,
    help="Try the known triggers only. This is faster, but misses other backdoors, so the verdict is never pass.",
)
@options.download
@options.arch
@options.weights
@options.classes
@options.templates
@options.policy
@options.seed
@options.device
@options.workers
@options.max_minutes
@options.no_cache
@options.outputs
@options.as_json
@options.fail_on
@options.baseline
@options.exit_zero
@options.quiet
@options.label
@options.dry_run
@options.config
@options.verbose
def audit(**given: Any) -> int:
    """Look for a backdoor in MODEL that nobody described, and name the class that it leads to.

    The audit tries known triggers, searches for unknown ones, and compares the results with those of clean models. Nothing in
    MODEL is executed. The exit code is the verdict. With several MODELs, or a folder of them, each is audited; a summary
    follows, the exit code is the worst, and JSON is a list.
    """
    from clipclean.jobs import models

    found = models.expanded(given["models"])
    if len(found) > 1:
        return audits.audit_all(given, found)
    given["model"] = found[0]
    roles.check(given)
    check_search(given)
    outputs = printing.outputs_of(given)
    printing.check_baseline(given)
    requests.policy_of(given)  # a wrong one is refused before torch comes
    made = audited(given)
    if not isinstance(made, PagedReport):
        return printing.show(given, made)
    if given["output_dir"] is not None:
        audits.write_reports(given["output_dir"], audits.labels(found)[0], made)
    return shown_result(given, made.report, made.images, outputs)


def audited(given: dict[str, Any], /) -> "PagedReport | Plan":
    """The outcome of the audit of ``given["model"]``, or its plan where --dry-run asks for one."""
    if not given["quiet"]:
        printing.first_line(given["model"], f"effort {given['effort']}")
    from clipclean.jobs import result_cache

    known = None if given["no_cache"] or given["dry_run"] else cache_key(given)
    if known and (kept := result_cache.load(known)):
        printing.say(given, "answered from the result cache; --no-cache runs the audit again")
        return PagedReport(kept.report, kept.images)
    with progress.shown(quiet=given["quiet"]) as shown:
        shown("loading PyTorch", 0, 1)
        from clipclean import data
        from clipclean import report as reports
        from clipclean.jobs import audit as job
        from clipclean.jobs import plan

        shown("loading PyTorch", 1, 1)
    data.use_workers(given["workers"])
    asked = given | {"search": not given["no_search"], "is_cached": not given["no_cache"]}
    with requests.of_audit(asked) as request, progress.shown(quiet=given["quiet"]) as shown:
        if given["dry_run"]:
            return plan.of_audit(request, progress=shown)
        outcome = job.audit(request, progress=shown)
    is_whole = all(found.rule != "CC024" for found in outcome.report.findings)
    if known and is_whole and known == cache_key(given):  # nothing that was read has changed meanwhile
        result_cache.save(known, reports.json(outcome.report), outcome.images)
    return PagedReport(outcome.report, outcome.images)


def shown_result(
    given: dict[str, Any], result: "Report", images: "PageImages", outputs: Sequence[options.Output], /
) -> int:
    """Write and print a report; returns the exit code."""
    from clipclean.report import RunPaths

    is_text = printing.show_report(result, outputs, images=images, place=RunPaths(model=str(given["model"])))
    code = printing.exit_code(given, result)
    printing.show_policy(result, on_stdout=is_text)
    return code


def cache_key(given: dict[str, Any], /) -> str | None:
    """What the result of an audit is kept under: all that decides it; None for one that is not kept.

    Not kept are audits that write more than their report, those of models that no path leads to, and those that read files
    by what another file says: shards of an index, images of a table.
    """
    from clipclean.jobs import result_cache

    if given["save_triggers"] or not Path(given["model"]).exists():
        return None
    models = [each for name in MODELS for each in _several(given[name])]
    if any(str(each).endswith(".index.json") for each in models):
        return None
    if given["data"] is not None and not result_cache.is_self_contained(Path(given["data"])):
        return None
    places: dict[str, Path | None] = {}
    for name in roles.READ:
        value = given.get(name)
        if name not in ("arch", "witness_arch", "baseline", "models") and value is not None:
            places |= {f"{name} {place}": Path(each) for place, each in enumerate(_several(value))}
    for name in ("arch", "witness_arch"):
        places[name] = Path(given[name]) if given[name] and Path(given[name]).is_file() else None
    for each in map(Path, models):  # configurations beside a file count as well
        if each.is_file():
            places |= {f"beside {each}: {config.name}": config for config in each.absolute().parent.glob("*.json")}
    settings: dict[str, Any] = {name: str(value) for name, value in given.items() if name not in UNSEEN}
    settings |= {
        "machine": platform.node(),  # the report says what it was computed on
        "effort values": EFFORTS[given["effort"]].model_dump(mode="json"),
        "today": None if given["policy"] is None else str(datetime.now(UTC).date()),  # suppressions expire
    }
    return result_cache.key(settings, places)


def _several(value: Any, /) -> tuple[Any, ...]:
    """The values of an option that may be given several times, or once."""
    return value if isinstance(value, tuple) else () if value is None else (value,)


MODELS = ("model", "reference", "base", "witness")
IDLE = {
    "--save-triggers": "save_triggers",
    "--reference": "reference",
    "--references": "references",
    "--base": "base",
    "--witness": "witness",
    "--power": "power",
}  # without a search


def check_search(given: dict[str, Any], /) -> None:
    """Refuse options that mean nothing without a search; raises UsageError."""
    idle = [flag for flag, name in IDLE.items() if given[name]]
    if given["no_search"] and idle:
        raise UsageError(
            f"--no-search with {' and '.join(idle)}: without a search nothing is found that could be saved or compared. "
            "Leave one of them out."
        )
