"""The verdict in words: what it says, what it rests on, what it leaves open, what to do next."""

from typing import Any

from clipclean.report import comparison
from clipclean.report.figures import count, percent
from clipclean.report.rules import Rule, rule

Json = dict[str, Any]  # Any: JSON

WORDS = {"pass": "Pass", "fail": "Fail", "inconclusive": "Inconclusive"}
_SEVERITY = {"error": 0, "warning": 1, "note": 2}


def headline(report: Json, /) -> str:
    """The verdict in one sentence or two."""
    is_audit = report["command"] == "audit"
    if report["verdict"] == "pass":
        if is_audit:
            return "None of the triggers that were tried acts on this model."
        return "The backdoor behaviour that was measured is gone, and the accuracy stayed within its budget."
    codes = {finding["rule"] for finding in report["findings"] if finding["level"] == "error"}
    if report["verdict"] == "fail":
        said = []
        if codes & {"CC001", "CC002"}:
            said.append(f"The model {'shows' if is_audit else 'still shows'} backdoor behaviour: do not deploy it.")
        if "CC010" in codes:
            said.append("The model lost more clean accuracy than the budget allows.")
        return " ".join(said) or "The model does not meet the limits of this run."
    if any(finding["rule"] == "CC021" for finding in report["findings"]):
        return "Nothing shows that there was a backdoor, nor that one is gone."
    return "There is too little evidence to say pass or fail."


def story(report: Json, /) -> list[str]:
    """What was measured, in sentences for somebody who never heard of a backdoor."""
    return [*(_attack_told(attack) for attack in comparison.detailed(report)[:1]), *_accuracy_told(report)]


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
    searched = "" if measured["search"] else " Unknown ones were not searched for."
    return [
        f"{triggers}.{searched} An attacker can think of another, and no list of triggers is complete.",
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
