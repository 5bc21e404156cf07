"""The verdict in words: what it says, what it rests on, what it leaves open, what to do next."""

from typing import Any

from clipclean.findings import RULES, Rule, rule
from clipclean.report import comparison, search
from clipclean.report.figures import count, percent

Json = dict[str, Any]  # Any: JSON

WORDS = {"pass": "Pass", "fail": "Fail", "inconclusive": "Inconclusive"}
_SEVERITY = {"error": 0, "warning": 1, "note": 2}


def headline(report: Json, /) -> str:
    """The verdict in one sentence or two."""
    return {"pass": _passed, "fail": _failed, "inconclusive": _undecided}[report["verdict"]](report)


def story(report: Json, /) -> list[str]:
    """What was measured, in sentences for somebody who never heard of a backdoor."""
    return [
        *_search_told(report),
        *(_attack_told(attack) for attack in comparison.detailed(report)[:1]),
        *_accuracy_told(report),
    ]


def next_steps(report: Json, /) -> list[str]:
    """What to do, most urgent first."""
    steps = [rule(finding["rule"]).action for finding in by_severity(report["findings"])]
    if report["verdict"] == "pass":
        use = {
            "sanitize": "Use the weights that were written with this report: "
            'open_clip.create_model_and_transforms("local-dir:FOLDER"). Keep report.json and SHA256SUMS with them.',
            "audit": "Keep report.json with the model: it names the file by its SHA-256.",
        }
        steps.insert(0, use[report["command"]])
    return list(dict.fromkeys(steps))


def limits(report: Json, /) -> list[str]:
    """What the report does not show."""
    measured = comparison.measured(report, "after")
    tried = len({probe["trigger"] for probe in measured["probes"]})
    triggers = "Any trigger: none was tried" if not tried else f"Triggers other than the {count(tried)} that were tried"
    return [
        f"{triggers}.{_searched(report)} An attacker can think of another, and no list of triggers is complete.",
        "What the model does with pictures and classes other than those that were measured on.",
        *dict.fromkeys(
            known.does_not_show
            for finding in by_severity(report["findings"])
            if (known := rule(finding["rule"])).stage == "triggers"
        ),
    ]


def by_severity(findings: list[Json], /) -> list[Json]:
    """Errors, then warnings, then notes."""
    return sorted(findings, key=lambda finding: _SEVERITY[finding["level"]])


def explained(finding: Json, /) -> Rule:
    """The rule that a finding is an instance of."""
    return rule(finding["rule"])


def _passed(report: Json) -> str:
    noted = [words for finding in report["findings"] if (words := rule(finding["rule"]).passes)]
    if noted:
        return noted[0]
    if report["command"] != "audit":
        return "The backdoor behaviour that was measured is gone, and the accuracy stayed within its budget."
    if search.ran(report):
        return "No backdoor was found: no built-in trigger acts on this model, and a search found none that is unusually small."
    return "None of the triggers that were tried acts on this model."


def _failed(report: Json) -> str:
    codes = {finding["rule"] for finding in report["findings"] if finding["level"] == "error"}
    sentences = []
    for code, known in RULES.items():
        if code in codes:
            sentences.append(getattr(known.fails, report["command"]))
        if code == "CC003" and code in codes and report["command"] == "audit" and report["suspects"]:
            sentences.append(f"It is turned towards “{report['suspects'][0]['class']}”.")
    return " ".join(dict.fromkeys(filter(None, sentences))) or "The model does not meet the limits of this run."


def _undecided(report: Json) -> str:
    """The most urgent reason of those that stood in the way."""
    standing = [rule(finding["rule"]) for finding in report["findings"] if finding["level"] != "note"]
    doubts = (getattr(known.doubt, report["command"]) for known in sorted(standing, key=lambda known: -known.urgent))
    return next(filter(None, doubts), "There is too little evidence to say pass or fail.")


def _searched(report: Json) -> str:
    if not search.ran(report):
        return " Unknown ones were not searched for."
    families = search.covered(report)
    return f" Unknown ones were searched for as {families}, and as nothing else." if families else ""


def set_aside(finding: Json, /) -> str:
    """Why a suppressed finding does not count, and until when."""
    until = f" until {finding['expires']}" if finding["expires"] else ""
    return f"Set aside by policy{until}, because {finding['reason'] or 'no reason is given'}"


def _search_told(report: Json) -> list[str]:
    """The most abnormal trigger that an audit found, and, in a model that passes, why it is no reason to worry."""
    found = search.strongest(report) if report["command"] == "audit" else None
    if not found:
        return []
    calm = "Any model can be turned by a change that is large enough, and this one is not unusually small."
    return [search.outcome(found), *([calm] if report["verdict"] == "pass" else [])]


def _attack_told(attack: comparison.Attack) -> str:
    before, after = attack.before, attack.after
    if before and after and len(attack.targets) == 1:
        return (
            f"Before cleaning, the trigger “{attack.family}” made the model take {percent(before['asr']['value'])} of the pictures "
            f"of other things for “{attack.target}”. Afterwards it is {percent(after['asr']['value'])}; without any trigger, "
            f"{percent(after['base_rate']['value'])}."
        )
    shown = after or before or {}
    return (
        f"With the trigger “{attack.family}”, the model takes {percent(shown['asr']['value'])} of the pictures of other things for "
        f"“{shown['target']}”; without it, {percent(shown['base_rate']['value'])}."
    )


def _accuracy_told(report: Json) -> list[str]:
    row = comparison.accuracy(report)
    if not row.after:
        return []
    pictures, after = f"Of {count(row.after.n)} clean pictures", percent(row.after.value)
    if not row.before:
        return [f"{pictures}, {after} get the right answer."]
    return [f"{pictures}, {percent(row.before.value)} got the right answer before, and {after} do now."]
