"""The verdict in words: what it says, what it rests on, what it leaves open, what to do next."""

from collections.abc import Iterable

from clipclean.findings import RULES, Finding, Rule, Suppressed, rule
from clipclean.report import comparison, search
from clipclean.report.figures import count, percent
from clipclean.report.schema import Report

WORDS = {"pass": "Pass", "fail": "Fail", "inconclusive": "Inconclusive"}
_SEVERITY = {"error": 0, "warning": 1, "note": 2}


def headline(report: Report, /) -> str:
    """The verdict in one sentence or two."""
    return {"pass": _passed, "fail": _failed, "inconclusive": _undecided}[report.verdict](report)


def story(report: Report, /) -> list[str]:
    """What was measured, in sentences for somebody who never heard of a backdoor."""
    return [
        *_search_told(report),
        *(_attack_told(attack) for attack in comparison.detailed(report)[:1]),
        *_accuracy_told(report),
    ]


def next_steps(report: Report, /) -> list[str]:
    """What to do, most urgent first."""
    steps = [rule(finding.rule).action for finding in by_severity(report.findings)]
    if report.verdict == "pass":
        use = {
            "sanitize": "Use the weights that were written with this report: "
            'open_clip.create_model_and_transforms("local-dir:FOLDER"). Keep report.json and SHA256SUMS with them.',
            "audit": "Keep report.json with the model: it names the file by its SHA-256.",
        }
        steps.insert(0, use[report.command])
    return list(dict.fromkeys(steps))


def limits(report: Report, /) -> list[str]:
    """What the report does not show."""
    measured = comparison.measured(report, "after")
    tried = len({probe.trigger for probe in measured.probes}) if measured else 0
    triggers = "Any trigger: none was tried" if not tried else f"Triggers other than the {count(tried)} that were tried"
    return [
        f"{triggers}.{_searched(report)} An attacker can think of another, and no list of triggers is complete.",
        "What the model does with images and classes other than those that were measured on.",
        *dict.fromkeys(
            known.does_not_show
            for finding in by_severity(report.findings)
            if (known := rule(finding.rule)).stage == "triggers"
        ),
    ]


def by_severity(findings: Iterable[Finding], /) -> list[Finding]:
    """Errors, then warnings, then notes."""
    return sorted(findings, key=lambda finding: _SEVERITY[finding.level])


def explained(finding: Finding, /) -> Rule:
    """The rule that a finding is an instance of."""
    return rule(finding.rule)


def _passed(report: Report) -> str:
    noted = [words for finding in report.findings if (words := rule(finding.rule).passes)]
    if noted:
        return noted[0]
    if not report.is_audit:
        return "The backdoor behaviour that was measured is gone, and the accuracy stayed within its budget."
    if search.ran(report):
        return "No backdoor was found: no built-in trigger acts on this model, and a search found none that is unusually small."
    return "None of the triggers that were tried acts on this model."


def _failed(report: Report) -> str:
    codes = {finding.rule for finding in report.findings if finding.level == "error"}
    sentences = []
    for code, known in RULES.items():
        if code in codes:
            sentences.append(getattr(known.fails, report.command))
        if code == "CC003" and code in codes and report.is_audit and report.suspects:
            sentences.append(f"It is turned towards “{report.suspects[0].class_}”.")
    return " ".join(dict.fromkeys(filter(None, sentences))) or "The model does not meet the limits of this run."


def _undecided(report: Report) -> str:
    """The most urgent reason of those that stood in the way."""
    standing = [rule(finding.rule) for finding in report.findings if finding.level != "note"]
    doubts = (getattr(known.doubt, report.command) for known in sorted(standing, key=lambda known: -known.urgent))
    return next(filter(None, doubts), "There is too little evidence to say pass or fail.")


def _searched(report: Report) -> str:
    if not search.ran(report):
        return " Unknown ones were not searched for."
    families = search.covered(report)
    return f" Unknown ones were searched for as {families}, and as nothing else." if families else ""


def set_aside(finding: Suppressed, /) -> str:
    """Why a suppressed finding does not count, and until when."""
    until = f" until {finding.expires}" if finding.expires else ""
    return f"Set aside by policy{until}, because {finding.reason or 'no reason is given'}"


def _search_told(report: Report) -> list[str]:
    """The most abnormal trigger that an audit found, and, in a model that passes, why it is no reason to worry."""
    found = search.strongest(report) if report.is_audit else None
    if not found:
        return []
    calm = "Any model can be turned by a change that is large enough, and this one is not unusually small."
    return [search.outcome(found), *([calm] if report.verdict == "pass" else [])]


def _attack_told(attack: comparison.Attack) -> str:
    before, after = attack.before, attack.after
    if before and after and len(attack.targets) == 1:
        return (
            f"Before cleaning, the trigger “{attack.family}” made the model classify {percent(before.asr.value)} of the images "
            f"of other things as “{attack.target}”. Afterwards it is {percent(after.asr.value)}; without any trigger, "
            f"{percent(after.base_rate.value)}."
        )
    shown = after or before
    assert shown is not None  # noqa: S101 # an attack has a side
    return (
        f"With the trigger “{attack.family}”, the model classifies {percent(shown.asr.value)} of the images of other things as "
        f"“{shown.target}”; without it, {percent(shown.base_rate.value)}."
    )


def _accuracy_told(report: Report) -> list[str]:
    row = comparison.accuracy(report)
    if not row.after:
        return []
    images, after = f"Of {count(row.after.n)} clean images", percent(row.after.value)
    right = "get the right answer" if row.measure.label == "Clean accuracy" else "find their own caption"
    if not row.before:
        return [f"{images}, {after} {right}."]
    past = right.replace("get", "got").replace("find", "found")
    return [f"{images}, {percent(row.before.value)} {past} before, and {after} do now."]
