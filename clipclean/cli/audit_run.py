"""The audit of one model as the command line asks for it: from the result cache, or made, or its plan."""

import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from clipclean.api import requests, roles
from clipclean.cli import printing, progress
from clipclean.config.recipe import EFFORTS
from clipclean.errors import UsageError

if TYPE_CHECKING:
    from clipclean.jobs.plan import Plan
    from clipclean.report import PageImages, Report

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
