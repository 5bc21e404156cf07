"""The report as SARIF 2.1.0, for GitHub's code scanning and other viewers."""

import hashlib
import json
import os
import re
from collections import Counter
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from clipclean.findings import RULES, Finding, Suppressed, rule
from clipclean.report import verdicts
from clipclean.report.wording import inert
from clipclean.schema.report import ModelRecord, Report

Json = dict[str, Any]  # Any: JSON

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def sarif(report: Report, /) -> str:
    """One SARIF run: the rules, the findings and those that the policy set aside, the files with their hashes.

    ``executionSuccessful`` is true whatever the verdict: false means that the tool broke, and GitHub then refuses the file
    (https://github.com/github/codeql-action/issues/1316).
    """
    report = inert(report)
    findings: list[Finding] = [*report.suppressed, *verdicts.by_severity(report.findings)]
    model, exports = report.model, report.exports or ()
    codes = list(dict.fromkeys([*RULES, *(finding.rule for finding in findings)]))
    driver = {"name": report.tool.name, "version": report.tool.version, "semanticVersion": report.tool.version}
    run = {
        "tool": {"driver": driver | {"rules": [_rule(code) for code in codes]}},
        "automationDetails": {"id": f"clipclean/{report.command}/"},
        "invocations": [{"executionSuccessful": True}],
        # The model first, where results point to; then what was written.
        "artifacts": [
            {
                "location": {"uri": model_uri(model)},
                "roles": ["analysisTarget"],
                "hashes": {"sha-256": model.sha256},
                "properties": {"format": model.format, "architecture": model.architecture},
            },
            *({"location": {"uri": relative_uri(e.path)}, "hashes": {"sha-256": e.sha256}} for e in exports),
        ],
        "results": _results(report, findings, codes),
        "properties": {
            **({"setAside": effect} if (effect := verdicts.policy_effect(report)) else {}),
            "verdict": report.verdict,
            "verdictWithoutPolicy": verdicts.without_policy(report),
            "verdictMessage": verdicts.headline(report),
            "suspects": [suspect.class_ for suspect in report.suspects],
            **({"labels": report.labels} if report.labels else {}),
        },
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False) + "\n"


def _rule(code: str) -> Json:
    known_rule, docs = rule(code), os.environ.get("CLIPCLEAN_DOCS", "").rstrip("/")
    # From the running CI job, as no release has an address of its own.
    is_address = re.fullmatch(r"https://(?!.*//)[\w.:@/~+-]{1,300}", docs)
    help_ = [known_rule.means, f"Not shown by it: {known_rule.does_not_show}", f"What to do: {known_rule.action}"]
    help_.append(f"In a terminal: clipclean explain {code}")
    kind = "quality" if known_rule.severity is None else "security"
    properties: Json = {"precision": known_rule.precision, "tags": [kind, known_rule.stage]}
    if known_rule.severity is not None:
        properties["security-severity"] = f"{known_rule.severity:.1f}"
    return {
        "id": code,
        # The repository's page has this heading and none for a rule, so that help says all.
        **({"helpUri": f"{docs}/measures.md#findings"} if is_address else {}),
        "shortDescription": {"text": f"{known_rule.title}."},
        "fullDescription": {"text": known_rule.means},
        "help": {"text": "\n".join(help_), "markdown": "\n\n".join(help_)},
        "defaultConfiguration": {"level": known_rule.level},
        "properties": properties,
    }


def relative_uri(name: str, /) -> str:
    """A file name as a relative URI: its last part, percent-encoded, so that it has no scheme, root or way up."""
    file_name = PurePosixPath(name.replace("\\", "/")).name
    return quote(file_name if file_name not in ("", ".", "..") else "model", safe="")


def model_uri(model: ModelRecord, /) -> str:
    """Where the model is in the repository, percent-encoded, where the report says so; else its name."""
    parts = (model.path or "").split("/")
    if not all(part not in ("", ".", "..") and "\\" not in part for part in parts):
        return relative_uri(model.name)
    return "/".join(quote(part, safe="") for part in parts)


def _results(report: Report, findings: list[Finding], codes: list[str]) -> list[Json]:
    uri = model_uri(report.model)
    occurrences, results = Counter[str](), list[Json]()
    for finding in findings:
        target = finding.target or finding.class_ or ""
        parts = (finding.measure or "", finding.trigger or "", target)
        about = "\n".join([finding.rule, uri, *parts])
        occurrences[about] += 1
        # Equal for the same finding of another run: from its subject, not from measured values.
        print_ = hashlib.sha256(f"{about}\n{occurrences[about]}".encode()).hexdigest()
        results.append(
            {
                "ruleId": finding.rule,
                "ruleIndex": codes.index(finding.rule),
                "level": finding.level,
                "message": {"text": _unlinked(finding.message or rule(finding.rule).title)},
                "locations": [
                    {
                        "physicalLocation": {
                            "artifactLocation": {"uri": uri, "index": 0},
                            "region": {"startLine": 1},  # GitHub needs one; weights have no lines
                        }
                    }
                ],
                "partialFingerprints": {"clipclean/v1": print_},
                "properties": {
                    key: getattr(finding, key) for key in ("measure", "value", "interval", "n", "threshold")
                },
            }
        )
        if isinstance(finding, Suppressed):  # the level is lowered too, for viewers that do not look at suppressions
            justification = _unlinked(verdicts.acceptance(finding))
            accepted = {"kind": "external", "status": "accepted", "justification": justification}
            results[-1] |= {"level": "note", "suppressions": [accepted]}
    return results


def _unlinked(text: str) -> str:
    """A message in which no name becomes a link: viewers read ``[words](target)`` as one (SARIF 2.1.0, 3.11.6)."""
    return re.sub(r"[\\\[\]]", r"\\\g<0>", text)
