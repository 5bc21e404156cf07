"""The report as JUnit XML: one test suite per stage, one test case per check."""

from xml.etree import ElementTree  # only written, never parsed

from clipclean.findings import RULES, STAGES, rule
from clipclean.report import verdicts
from clipclean.report.wording import inert, percent
from clipclean.schema.report import Report


def junit(report: Report, /) -> str:
    """XML in the shape that Jenkins and GitLab read: Jenkins' schema junit-10 allows all of it.

    A rule that found nothing passes. An error is a failure; a warning is skipped, as a check that could not be decided; a note
    passes, with its words as output. Skipped as well: checks that were not run, and findings that the policy set aside. One
    more case holds the verdict: it fails with the run, and an inconclusive run is an error there, so that no job takes it for a
    pass.
    """
    report = inert(report)
    root = ElementTree.Element("testsuites", name="clipclean")
    suite = _suite(root, "verdict")
    _properties(suite, report)
    if policy := verdicts.policy_effect(report):  # the first case of all; it is skipped, so that every viewer shows it
        suppressed = [
            f"{finding.rule} {finding.message} {verdicts.acceptance(finding)}" for finding in report.suppressed
        ]
        _case(suite, "policy", "set aside by policy", "skipped", policy, "\n".join(suppressed))
    kind = {"pass": "system-out", "fail": "failure", "inconclusive": "error"}[report.verdict]
    headline = verdicts.headline(report)
    body = " ".join([headline, *verdicts.story(report)])
    _case(suite, "verdict", "verdict", kind, headline, body, report.verdict)
    codes = dict.fromkeys([*RULES, *(finding.rule for finding in report.findings)])
    for stage in STAGES:
        suite = _suite(root, stage)
        for code in codes:
            if rule(code).stage == stage:
                _check(suite, code, report)
    for element in (*root, root):
        _count(element)
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _suite(root: ElementTree.Element, stage: str) -> ElementTree.Element:
    return ElementTree.SubElement(root, "testsuite", name=f"clipclean.{stage}")


def _properties(suite: ElementTree.Element, report: Report) -> None:
    """The properties of a suite: the model, and the program."""
    model, recipe = report.model, report.recipe
    facts = {
        "verdict": report.verdict,
        "command": report.command,
        "clipclean": report.tool.version,
        "model": model.name,
        "architecture": model.architecture,
        "sha256": model.sha256,
        "tensor_sha256": model.tensor_sha256,
    }
    if recipe:
        facts |= {"recipe": f"{recipe.name}@{recipe.revision}", "recipe_sha256": recipe.sha256}
    if policy := report.policy:
        facts |= {"policy": policy.name, "policy_sha256": policy.sha256}
        facts |= {"set_aside": str(len(report.suppressed)), "verdict_without_policy": verdicts.without_policy(report)}
    facts |= {f"export_sha256:{export.path}": export.sha256 for export in (report.exports or ())}
    holder = ElementTree.SubElement(suite, "properties")
    for name, value in facts.items():
        ElementTree.SubElement(holder, "property", name=name, value=value)


def _check(suite: ElementTree.Element, code: str, report: Report) -> None:
    """The cases of one rule: one a finding, or one that says that there is none."""
    known_rule = rule(code)
    findings = [finding for finding in report.findings if finding.rule == code]
    suppressed = [finding for finding in report.suppressed if finding.rule == code]
    if not findings and not suppressed:
        reason = verdicts.not_run(known_rule.needs, report)
        _case(suite, code, f"{code} {known_rule.title}", "skipped" if reason else "", reason)
    for number, finding in enumerate(findings, start=1):
        name = f"{code} {known_rule.title}" + (f" ({number})" if len(findings) > 1 else "")
        kind = {"error": "failure", "warning": "skipped", "note": "system-out"}[finding.level]
        lines = [finding.message]
        if finding.value is not None and finding.interval is not None and finding.n is not None:
            low, high = map(percent, finding.interval)
            limit = "" if finding.threshold is None else f"; limit {percent(finding.threshold)}"
            lines.append(f"{finding.measure}: {percent(finding.value)} [{low}, {high}], n = {finding.n}{limit}")
        body = "\n".join([*lines, known_rule.means, f"To do: {known_rule.action}"])
        _case(suite, code, name, kind, finding.message, body, code)
    for number, finding in enumerate(suppressed, start=1):
        name = f"{code} {known_rule.title} (set aside by policy, {number})"
        _case(suite, code, name, "skipped", f"{verdicts.acceptance(finding)}: {finding.message}")


def _case(
    suite: ElementTree.Element, code: str, name: str, kind: str = "", message: str = "", body: str = "", type_: str = ""
) -> None:
    """Add a case, with its outcome if there is one to tell. ``system-out`` has no attributes, ``skipped`` no type."""
    case = ElementTree.SubElement(suite, "testcase", classname=f"{suite.get('name')}.{code}", name=name)
    attributes = {"failure": {"message": message, "type": type_}, "skipped": {"message": message}, "system-out": {}}
    attributes["error"] = attributes["failure"]
    if kind:
        ElementTree.SubElement(case, kind, attributes[kind]).text = body or None


def _count(element: ElementTree.Element) -> None:
    element.set("tests", str(len(element.findall(".//testcase"))))
    kinds = {"failures": "failure", "errors": "error"}
    if element.tag == "testsuite":  # Jenkins' schema has no such attribute at the root
        kinds["skipped"] = "skipped"
    for name, kind in kinds.items():
        element.set(name, str(len(element.findall(f".//{kind}"))))
