"""Inputs, settings and outputs as groups of facts for the HTML page."""

import json
from typing import NamedTuple

from clipclean.report import measures, search, wording
from clipclean.report.measures import Side
from clipclean.schema.report import ExportRecord, ModelRecord, Report, SkippedRecord


class Fact(NamedTuple):
    """One fact; a name or a digest is set as code."""

    name: str
    value: str
    is_code: bool


Group = tuple[str, list[Fact]]


def facts(report: Report, /) -> list[Group]:
    """The groups of a report, without unknown values."""
    groups = [
        _model(report.model),
        *_recipe(report),
        *_policy(report),
        *_data(report),
        *_searches(report),
        *(_export(export) for export in (report.exports or ())),
        _machine(report),
    ]
    return [(title, [fact for fact in entries if fact.value]) for title, entries in groups]


def resolved(report: Report, /) -> list[tuple[str, str]]:
    """Every value of the recipe and of the policy, as indented JSON, under their names."""
    values = [
        ("recipe", report.recipe.resolved if report.recipe else None),
        ("policy", report.policy.resolved if report.policy else None),
    ]
    return [(name, json.dumps(found, indent=2, ensure_ascii=False)) for name, found in values if found]


def skipped(report: Report, /, *, most: int) -> tuple[SkippedRecord, ...]:
    """The first of the skipped samples, where the report names them."""
    found = report.data.skipped if report.data else 0
    return () if isinstance(found, int) else found[:most]


def _model(model: ModelRecord) -> Group:
    return "Model", [
        Fact("File", model.name, True),
        Fact("Format", model.format, False),
        Fact("Architecture", _with_reason(model.architecture, model.architecture_how), False),
        Fact("Activation", _with_reason(model.activation, model.activation_how), False),
        Fact("SHA-256 of the file", model.sha256, True),
        Fact("SHA-256 of its tensors", model.tensor_sha256, True),
    ]


def _recipe(report: Report) -> list[Group]:
    recipe = report.recipe
    if not recipe:
        return []
    standing = "yes" if recipe.validated else "no: no measured evidence for these values"
    entries = [
        Fact("Name", f"{recipe.name}, revision {recipe.revision}", False),
        Fact("Validated", standing, False),
        Fact("SHA-256", recipe.sha256, True),
    ]
    return [("Recipe", entries)]


def _policy(report: Report) -> list[Group]:
    policy = report.policy
    if not policy:
        return []
    return [("Policy", [Fact("Name", policy.name, True), Fact("SHA-256", policy.sha256, True)])]


def _data(report: Report) -> list[Group]:
    data = report.data
    if not data:
        return []
    is_audit = report.is_audit
    left_out = data.skipped if isinstance(data.skipped, int) else len(data.skipped)
    entries = [
        Fact("Name", data.name or data.path or "", True),
        Fact("Format", data.format, False),
        Fact("Images" if is_audit else "Pairs", wording.count(data.pairs), False),
        Fact("Skipped", wording.count(left_out), False),
        Fact("Digest", data.digest, True),
    ]
    return [("Images measured on" if is_audit else "Clean data", entries)]


def _searches(report: Report) -> list[Group]:
    sides: tuple[Side, ...] = ("before", "after") if measures.has_before(report) else ("after",)
    groups = []
    for side in sides:
        if made := search.made(report, side):
            entries = [
                Fact("Effort", search.effort(made), False),
                Fact("Compared with", search.calibration(made.calibration) if made.calibration else "", False),
            ]
            groups.append((f"Search {side} cleaning" if len(sides) == 2 else "Search", entries))
    return groups


def _export(export: ExportRecord) -> Group:
    parity = ", ".join(f"{key.replace('_', ' ')} {_plain(value)}" for key, value in export.parity.items())
    return f"Written: {export.format}", [
        Fact("File", export.path, True),
        Fact("SHA-256 of the file", export.sha256, True),
        Fact("SHA-256 of its tensors", export.tensor_sha256, True),
        Fact("Read back", parity, False),
    ]


def _machine(report: Report) -> Group:
    environment = [
        Fact(key.replace("_", " "), _plain(value), False) for key, value in (report.environment or {}).items()
    ]
    seed = [Fact("Seed", str(report.seed), False)] if report.seed is not None else []
    spent = [Fact("Time", wording.duration(report.seconds), False)] if report.seconds is not None else []
    tool = Fact(report.tool.name, report.tool.version, False)
    return "Machine and versions", [tool, *seed, *spent, *environment]


def _with_reason(known: str | None, reason: str | None) -> str:
    return f"{known} ({reason})" if known and reason else known or ""


def _plain(value: object) -> str:
    """A value of a free-form object, in few characters."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
