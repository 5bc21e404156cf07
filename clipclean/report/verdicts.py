"""The verdict in words: its statement, basis, limits, and the next steps, with the commands for them; and two reports compared."""

import itertools
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from clipclean.config import policy
from clipclean.findings import CC, LEVEL_RANKS, RULES, Finding, Level, Need, Suppressed, rule, trigger_words
from clipclean.report import cleaning, measures, search
from clipclean.report.wording import NOTHING, count, decimal, percent
from clipclean.schema.report import Report, SuspectRecord
from clipclean.untrusted import first_few, plural

OUTLIER_DEVIATIONS = 2.0  # robust deviations from which Neural Cleanse calls a size unusual (https://doi.org/10.1109/SP.2019.00031, IV-A)


def headline(report: Report, /) -> str:
    """The verdict in one sentence or two."""
    return {"pass": _passed, "fail": _failed, "inconclusive": _undecided}[report.verdict](report)


def reason(report: Report, /) -> str:
    """What the verdict rests on most, in few words: the first suspect, the trigger that made it fail, else the headline."""
    trigger = search.strongest(report)
    if report.is_audit and report.suspects and trigger:
        return f"class {trigger.class_}, {trigger.family} of {percent(trigger.size)} reaches it in {percent(trigger.asr.value)}"
    probes = [(attack.family, attack.after) for attack in measures.named_attacks(report) if attack.after]
    if probes and any(finding.rule == CC.KNOWN_TRIGGER_ACTS and finding.is_error for finding in report.findings):
        family, probe = max(probes, key=lambda pair: measures.excess_of(pair[1]))
        return f"class {probe.target}, {family} reaches it in {percent(probe.asr.value)}"
    return headline(report).rstrip(".")


def story(report: Report, /) -> list[str]:
    """The measurements, in sentences for readers who never heard of a backdoor."""
    sentences = []
    if trigger := search.strongest(report) if report.is_audit else None:
        sentences.append(search.outcome(trigger, stands_out=bool(report.suspects)))
        if not report.suspects:
            is_usual = report.verdict == "pass" and not search.is_smaller_than_clean(trigger)
            small = "this one is not unusually small" if is_usual else "no class stands out by this one"
            sentences.append(f"Any model can be turned by a change that is large enough, and {small}.")
    sentences += [_attack_sentence(attack) for attack in measures.attacks_in_full(report)[:1]]
    return [*sentences, *_accuracy_sentences(report)]


def next_steps(report: Report, /) -> list[str]:
    """Recommended actions, most urgent first: where the verdict is no pass, those that can change it, and what was lacking."""
    findings = sorted(report.findings, key=lambda finding: (-LEVEL_RANKS[finding.level], -rule(finding.rule).urgent))
    # Of notes that ask for something.
    stages = ("data", "policy", "evidence") if report.verdict == "pass" else ("data",)
    findings = [
        finding
        for finding in findings
        if finding.level != "note" or (rule(finding.rule).stage in stages and not rule(finding.rule).urgent)
    ]
    steps = [rule(finding.rule).action for finding in findings]
    if report.verdict == "pass":
        steps.insert(0, _use(report))
    elif _is_to_be_searched(report):
        steps.insert(0, rule(CC.NOT_SEARCHED).action)
    elif report.verdict == "inconclusive" and not report.is_audit and report.exports:
        flags = " and ".join(flag for flag, _ in _missing_options(report))
        steps.insert(
            0, f"Audit the weights that were written{', with ' if flags else ''}{flags}. Do not deploy them before."
        )
    return list(dict.fromkeys(steps))


def _is_to_be_searched(report: Report) -> bool:
    """Whether an audit left the search out, and is undecided: that comes before any cleaning."""
    return report.is_audit and report.verdict == "inconclusive" and not search.was_searched(report)


def _use(report: Report) -> str:
    """What to do with a model that passes."""
    if report.is_audit:
        return "Keep report.json with the model: it names the file by its SHA-256."
    if report.exports:
        return "Use the weights that were written with this report. Keep report.json and SHA256SUMS with them."
    if report.is_changed:
        return f"Do not count on this cleaning: no weights were written, since {why_withheld(report)}."
    return "Use the weights as they were: the cleaning changed nothing. Keep report.json with them."


def triggers_left(report: Report, /) -> tuple[str, ...]:
    """The found or named triggers that a cleaning leaves: towards a class that the audit of the original had named they turn more of the
    images than the limit allows, beyond chance.
    """
    if not (report.before and report.after and report.cleaning and report.cleaning.budget):
        return ()
    suspected = {
        finding.target
        for finding in report.before.findings
        if finding.rule in (CC.KNOWN_TRIGGER_ACTS, CC.TRIGGER_FOUND)
    }
    probes, limit = report.after.measurements.probes, report.cleaning.budget.excess
    return tuple(
        p.trigger for p in probes if p.suspected and p.target in suspected and p.excess_asr.interval[0] > limit
    )


def why_withheld(report: Report, /) -> str:
    """What speaks against writing the weights of a cleaning, in words that go on a sentence; empty if nothing does."""
    if not report.is_changed:
        return "" if report.verdict == "pass" else "they would be those of the original, unchanged"
    reasons = []
    if triggers := triggers_left(report):
        reasons.append(f"{trigger_words(triggers[0])} still acts")
    if _is_raised(report, CC.ACCURACY_LOST):
        reasons.append("they cost more accuracy than --max-accuracy-loss allows")
    if report.verdict == "fail" and not reasons:
        reasons.append("they fail")
    return " and ".join(reasons)


def not_shown(report: Report, /) -> list[str]:
    """The limits of the report."""
    measurements = measures.measurements_of(report, "after")
    triggers_tried = len({probe.trigger for probe in measurements.probes}) if measurements else 0
    triggers_words = (
        "Any trigger: none was tried"
        if not triggers_tried
        else f"Triggers other than the {count(triggers_tried)} that were measured"
    )
    search_words = "" if search.was_searched(report) else " Unknown ones were not searched for."
    if families := search.searched_families(report) if search.was_searched(report) else "":
        search_words = f" Unknown ones were searched for as {families} alone."
    return [
        f"{triggers_words}.{search_words} An attacker can think of another, and no list of triggers is complete.",
        "What the model does with images and classes other than those that were measured on.",
        *([BASE_NOT_SHOWN] if report.base and report.base.is_base else []),
        *dict.fromkeys(
            known_rule.does_not_show
            for finding in by_severity(report.findings)
            if (known_rule := rule(finding.rule)).stage == "triggers"
        ),
    ]


BASE_NOT_SHOWN = (
    "A backdoor that the base has as well: what acts on both counts as natural. Take the base from where it was published first, and not from "
    "who gave you the finetune."
)


def checks(report: Report, /) -> list[tuple[str, str, str]]:
    """All checks: what was looked for, what was found, and what is usual or allowed."""
    limits = limits_of(report)
    rows = []
    for attack in measures.named_attacks(report):
        moved_words = percent(attack.after.excess_asr.value) if attack.after else "not measured again"
        before = f", {percent(attack.before.excess_asr.value)} before" if attack.before and attack.after else ""
        result = f"moves {moved_words} of images beyond chance{before}"
        usual = f"at most {percent(limits['max_excess'])}" if "max_excess" in limits else NOTHING
        name = _trigger_name(attack).removeprefix("the ")
        rows.append((f"{name[:1].upper()}{name[1:]} towards {attack.quoted_target}", result, usual))
    if panel := measures.panel(report):
        limit = limits.get("suspicious_excess")
        usual = "little" if limit is None else f"usually at most {percent(limit)}"
        rows.append((f"{plural(len(panel), 'known trigger')} of the panel", _panel_words(report, panel, limit), usual))
    if search.of_side(report, "after"):
        rate = limits.get("false_alarm_rate")
        usual = "no class stands out"
        if rate is not None:
            usual = f"what fewer than {percent(rate)} of clean models show can fail the model"
        rows.append(("Unknown triggers", _search_words(report), usual))
    else:
        unlearned = f"searched for before and after unlearning: {search.searched_families(report)}"
        rows.append(("Unknown triggers", unlearned if search.was_searched(report) else "not searched for", NOTHING))
    row = measures.accuracy(report)
    if row.before and row.after:
        usual = (
            f"at most {100 * limits['max_accuracy_loss']:.1f} points lost" if "max_accuracy_loss" in limits else NOTHING
        )
        count_words = (
            f"{percent(row.before.value)} before and {percent(row.after.value)} after, each image right or wrong"
        )
        finer = measures.accuracy_change(report)
        # Two numbers that may point different ways need a reason.
        why_two = (
            f": {_FINER_THAN[by]}, so the verdict uses the first"
            if (by := measures.lost_by(report)) in _FINER_THAN
            else ""
        )
        rows.append((row.measure.label, "; ".join(filter(None, (finer, f"{count_words}{why_two}"))), usual))
    return rows


# Why a loss is told otherwise than by the shares before and after, by what it was measured by.
_FINER_THAN = {
    "labels": "chance sways this count more",
    "answers": "this count is of captions that were found, another measure",
}


def limits_of(report: Report, /) -> dict[str, float]:
    """The thresholds that held in the run, by their names; empty where the report does not have them."""
    resolved = (report.policy.resolved if report.policy else None) or {}
    thresholds = resolved.get("thresholds")
    return (
        {key: value for key, value in thresholds.items() if isinstance(value, float)}
        if isinstance(thresholds, dict)
        else {}
    )


def _panel_words(report: Report, panel: list[measures.ComparedAttack], limit: float | None) -> str:
    """What the strongest trigger of the panel does, and why it is no finding where it is none."""
    strongest = max(panel, key=lambda attack: measures.excess_of(attack.after))
    excess = measures.excess_of(strongest.after)
    if excess < -0.99:
        return "not measured"
    words = f"the strongest, “{strongest.family}”, moves {percent(excess)} of images beyond chance"
    if not _acts(panel, limit):
        return words
    words = f"{words}, to {strongest.quoted_target}"
    if any(_is_about(finding, panel, limit) for finding in report.findings):
        return f"{words}: see the findings"
    if any(_is_about(finding, panel, limit) for finding in report.suppressed):
        return f"{words}: set aside by the policy"
    if search.was_searched(report):
        return f"{words}; the search does not suspect that class, so it counts as natural"
    return f"{words}; one that nobody named fails no model"


def _is_about(finding: Finding, panel: Iterable[measures.ComparedAttack], limit: float | None) -> bool:
    """Whether a finding is about a known trigger that acts, or about the class that one leads to."""
    if finding.rule == CC.PANEL_EXCESS:
        return True
    acting = [attack for attack in panel if limit is not None and measures.excess_of(attack.after) > limit]
    triggers = {attack.trigger for attack in acting}
    targets = {target for attack in acting for target in attack.targets}
    return finding.level != "note" and (finding.trigger in triggers or finding.target in targets)


def _acts(panel: list[measures.ComparedAttack], limit: float | None) -> bool:
    """Whether a trigger of the panel moves more images than a model without natural triggers would let it."""
    return limit is not None and any(measures.excess_of(attack.after) > limit for attack in panel)


def _search_words(report: Report) -> str:
    """What the search of the current model showed: the class that stands out most, or that none does."""
    suspects = report.suspects if report.is_audit else report.after.suspects if report.after else ()
    if suspects:
        name, score = suspects[0].class_, decimal(suspects[0].score)
        # Suspects are those with the highest scores; the findings say whether one is higher than usual.
        of_search = (finding for finding in report.findings if finding.rule == CC.TRIGGER_FOUND)
        levels = {finding.level for finding in of_search if finding.target == name} - {"note"}
        if levels:
            is_doubt = levels == {"warning"} and not _has_severities(report)
            why_no_error = ", enough here to doubt the model and not to fail it" if is_doubt else ""
            return f"“{name}” stands out, with a score of {score}{why_no_error}"
        return f"“{name}” has the highest score, {score}"
    # Of an unlearning's search.
    if _is_raised(report, CC.TRIGGER_FOUND):
        return "a small trigger was found: see the findings"
    trigger = search.strongest(report)
    if trigger is None:
        return "none that works was found"
    # A size far below those of other classes would seem to say the contrary; the judgement compares with clean models, too.
    is_outlier = trigger.outlyingness is not None and trigger.outlyingness > OUTLIER_DEVIATIONS
    signs = [] if is_outlier else search.signs(trigger)[:1]
    return "; ".join(["no class stands out", *(f"the trigger that works best is {sign}" for sign in signs)])


def _has_severities(report: Report) -> bool:
    """Whether a policy set the level of some rule, and so may be why a finding is no error."""
    return bool(report.policy and (report.policy.resolved or {}).get("severities"))


def by_severity(findings: Iterable[Finding], /) -> list[Finding]:
    """Errors, then warnings, then notes; of one level first what decides most, and those of one rule together."""
    return sorted(findings, key=lambda finding: (-LEVEL_RANKS[finding.level], -rule(finding.rule).urgent, finding.rule))


class FindingGroup(NamedTuple):
    """The findings of one rule and level, for people: ``lead`` and ``closing`` are what their messages share."""

    rule: str
    level: Level
    lead: str  # of a single finding its whole message
    items: tuple[str, ...]
    closing: str


def grouped(findings: Iterable[Finding], /) -> list[FindingGroup]:
    """The findings in the order of :func:`by_severity`, each rule once a level, and nothing that is said twice."""
    groups = itertools.groupby(by_severity(findings), key=lambda finding: (finding.rule, finding.level))
    return [_group(code, level, [finding.message for finding in members]) for (code, level), members in groups]


def _group(code: str, level: Level, messages: Sequence[str]) -> FindingGroup:
    """Messages that begin alike up to a colon, or end in the same sentences, say so once."""
    unlike = list(dict.fromkeys(messages))
    if len(unlike) == 1:
        return FindingGroup(code, level, unlike[0], (), "")
    shared_start, colon, _ = _shared_start(unlike).partition(": ")
    lead = f"{shared_start}{colon}" if colon else ""
    rests = [message.removeprefix(lead) for message in unlike]
    shared_end = _shared_start([rest[::-1] for rest in rests])[::-1]
    _, stop, closing = shared_end.partition(". ")
    items = (rest.removesuffix(f"{stop}{closing}") for rest in rests)
    title = f"{rule(code).title}, {len(unlike)} times:"
    return FindingGroup(code, level, lead.rstrip() or title, tuple(items), closing)


def _shared_start(texts: Sequence[str]) -> str:
    """The characters that all texts begin with."""
    columns = itertools.takewhile(lambda column: len(set(column)) == 1, zip(*texts, strict=False))
    return "".join(column[0] for column in columns)


def _passed(report: Report) -> str:
    if codes := _accepted(report):
        return f"It passes by its policy alone, which lowers or sets aside {first_few(codes, show=str)}."
    passes = [words for finding in report.findings if (words := rule(finding.rule).passes)]
    if passes:
        return passes[0]
    if not report.is_audit:
        return "The backdoor behaviour that was measured is gone, and the accuracy stayed within its budget."
    acts = _acts(measures.panel(report), limits_of(report).get("suspicious_excess"))
    natural = "the known triggers that act on this model are natural ones by comparison"
    if search.was_searched(report):
        panel_words = natural if acts else "no built-in trigger acts on this model"
        how_hard = "quick search" if report.effort == "quick" else "search"
        return f"No backdoor was found: {panel_words}, and a {how_hard} found none that is unusually small."
    return f"No backdoor was found: {natural}." if acts else "None of the triggers that were tried acts on this model."


def _accepted(report: Report) -> list[str]:
    """The rules by which the run would not pass without its policy: what they found is still there."""
    if without_policy(report) == "pass":
        return []
    noted = (
        finding.rule for finding in report.findings if finding.level == "note" and rule(finding.rule).level == "error"
    )
    return list(dict.fromkeys([*noted, *(finding.rule for finding in report.suppressed if finding.level != "note")]))


def _failed(report: Report) -> str:
    codes = {finding.rule for finding in report.findings if finding.is_error}
    sentences = []
    for code, known_rule in RULES.items():
        if code in codes:
            sentences.append(getattr(known_rule, f"fails_{report.command}"))
        if code == CC.TRIGGER_FOUND and code in codes and report.is_audit and report.suspects:
            sentences.append(f"It is turned towards “{report.suspects[0].class_}”.")
    return " ".join(dict.fromkeys(filter(None, sentences))) or "The model does not meet the limits of this run."


def _undecided(report: Report) -> str:
    """The most urgent reason of those that stood in the way; and that time ended the run, if it did."""
    raised_rules = [rule(finding.rule) for finding in report.findings if finding.level != "note"]
    doubts = (
        (known_rule, getattr(known_rule, f"doubt_{report.command}"))
        for known_rule in sorted(raised_rules, key=lambda known_rule: -known_rule.urgent)
    )
    most_urgent, words = next(
        (doubt for doubt in doubts if doubt[1]), (None, "There is too little evidence to say pass or fail.")
    )
    for code, undone in _UNDONE.items():  # their own words say that nothing acts, and the policy set aside what does
        if most_urgent == rule(code) and (signs := _signs_set_aside(report)):
            return f"The policy sets aside what acts beyond its limit ({first_few(signs, show=str)}), and {undone}."
    if not _is_raised(report, CC.TIME_OVER):
        return words
    is_by_time, is_by_sign = most_urgent == rule(CC.TIME_OVER), most_urgent is not None and most_urgent.tells == "sign"
    if _is_uncleaned(report) and (is_by_time or is_by_sign):  # a sign's own words are of a cleaned model
        sign = " The model shows a sign of a backdoor." if is_by_sign else ""
        return f"Nothing was cleaned: time ran out before.{sign}"
    if is_by_time:
        return words
    return f"{words} Time ran out before the {'audit' if report.is_audit else 'cleaning'} ended."


def _is_uncleaned(report: Report) -> bool:
    """Whether a cleaning by ``auto`` came to no candidate."""
    return report.auto is not None and not cleaning.attempt_count(report.auto)


_UNDONE = {
    CC.NOT_SEARCHED: "unknown triggers were not searched for",
    CC.TIME_OVER: "time ran out before all was done",
}


def _signs_set_aside(report: Report) -> list[str]:
    """The rules that point at a backdoor and were set aside, in the report's order."""
    return list(dict.fromkeys(finding.rule for finding in report.suppressed if rule(finding.rule).tells == "sign"))


def not_run(need: Need, report: Report, /) -> str:
    """Why a rule with this need could not have found anything; empty where it could."""
    was_searched = search.was_searched(report)
    unsearched = (was_searched, "unknown triggers were not searched for")
    reasons = {
        "": (True, ""),
        "named trigger": (
            bool(measures.named_attacks(report)),
            "no trigger was named, and none was found before cleaning",
        ),
        "panel": (bool(measures.panel(report)), "the panel of known triggers was left out"),
        "search": unsearched,
        "audit's search": (
            (search.of_side(report, "after") is not None, "only an audit's search is compared with clean models")
            if was_searched
            else unsearched
        ),
        "audit or search": (was_searched or report.is_audit, "a part of the audit"),
        "before": (measures.has_before(report), "an audit has no accuracy to compare with"),
        "data": (bool(report.data), "no clean data was read"),
        "recipe": (bool(report.recipe), "no recipe was used"),
        "policy": (bool(report.policy), "no policy file was given"),
        "policy's base": (
            bool(report.policy and "base_sha256" in (report.policy.resolved or {})),
            "the policy names no base",
        ),
        "base": (bool(report.base), "no base was named"),
        "power": (bool(report.measurements.power), "no backdoors were planted in copies to see what the audit finds"),
        "cleaning": (not report.is_audit, "an audit cleans nothing"),
        "auto": (bool(report.auto), "no candidates were tried"),
        "refinetuned": (bool(report.auto and report.auto.rebound), "no copy was finetuned after a cleaning"),
    }
    was_run, reason = reasons[need]
    return "" if was_run else f"not run: {reason}"


def acceptance(finding: Suppressed, /) -> str:
    """Who decided that a finding does not count, until when, and why."""
    until = f"until {finding.expires}" if finding.expires else "without an end"
    by = finding.by or "a person whom the policy does not name"
    return f"Set aside {until} by {by}: {finding.reason or 'no reason is given'}"


def policy_effect(report: Report, /) -> str:
    """The effect of the policy on the verdict, for the first and the last line; empty if it changed nothing."""
    without, number = without_policy(report), len(report.suppressed)
    if not number and without == report.verdict:
        return ""
    name = report.policy.name if report.policy else ""
    name = name if name == policy.IGNORE_POLICY_NAME else f"Policy {name}" if name else "A policy"
    effect = f"sets {plural(number, 'finding')} aside" if number else "changes limits, or levels of findings"
    if without == report.verdict:
        return f"{name} {effect}. The verdict would be {without} without it as well."
    return f"{name} {effect}. Without it the verdict would be {without}, and it is {report.verdict} now."


def without_policy(report: Report, /) -> str:
    """The verdict if the policy had set nothing aside; of an old report, which does not say, as its findings have it."""
    if report.policy and report.policy.verdict_without:
        return report.policy.verdict_without
    return policy.verdict([*report.findings, *report.suppressed]) if report.suppressed else report.verdict


def _attack_sentence(attack: measures.ComparedAttack) -> str:
    before, after = attack.before, attack.after
    if before and after and len(attack.targets) == 1:
        return (
            f"Before cleaning, {_trigger_name(attack)} made the model classify {percent(before.asr.value)} of the images "
            f"of other things as “{attack.target}”. Afterwards it is {percent(after.asr.value)}; without any trigger, "
            f"{percent(after.base_rate.value)}."
        )
    probe = after or before
    assert probe is not None  # noqa: S101 # an attack has a side
    return (
        f"With {_trigger_name(attack)}, the model classifies {percent(probe.asr.value)} of the images of other things as "
        f"“{probe.target}”; without it, {percent(probe.base_rate.value)}."
    )


def _trigger_name(attack: measures.ComparedAttack) -> str:
    """``the trigger “patch”``; of one that a search found ``the found patch``."""
    return attack.family if attack.family.startswith("the found ") else f"the trigger “{attack.family}”"


def _accuracy_sentences(report: Report) -> list[str]:
    row = measures.accuracy(report)
    if not row.after:
        return []
    images, after = f"Of {count(row.after.n)} clean images", percent(row.after.value)
    is_accuracy = row.measure is measures.MEASURES["clean_accuracy"]
    right = "get the right answer" if is_accuracy else "find their own caption"
    if not row.before:
        return [f"{images}, {after} {right}."]
    past = right.replace("get", "got").replace("find", "found")
    sentences = [f"{images}, {percent(row.before.value)} {past} before, and {after} do now."]
    return (
        [*sentences, f"By the finer measure, which the verdict uses: {change}."]
        if (change := measures.accuracy_change(report))
        else sentences
    )


# Commands that a report suggests: each runs as it is printed, with what its own run was given.

_PLAIN_SPEC = re.compile(r"[A-Za-z0-9:=.,_-]+")  # a trigger that needs no file
_TRIGGER_FLAGS = ("--trigger", "--target")
_READING_FLAGS = ("--arch", "--weights")  # how the original is read: what was written says it itself
PAIRS_PLACEHOLDER, IMAGES_PLACEHOLDER = "CLEAN_PAIRS", "IMAGES"  # stand for what only the user has
# What an audit lacked, by the finding that says so, and what stands for what only the user has.
_MISSING_EVIDENCE = (
    (CC.NO_CLASS_LIST, "--classes", "CLASSES.txt"),
    (CC.BUNDLED_IMAGES_USED, "--data", IMAGES_PLACEHOLDER),
    (CC.TOO_LITTLE_DATA, "--data", IMAGES_PLACEHOLDER),
    (CC.NOT_CALIBRATED, "--reference", "CLEAN_MODEL"),
)


class RunPaths(NamedTuple):
    """What a run was given, as the user named it, for commands that can be copied; empty where that is not known."""

    folder: str = ""  # of the weights and the report
    model: str = ""
    data: str = ""
    recipe: str = ""
    trigger_folder: str = ""  # where an audit saved its triggers
    repeated: tuple[tuple[str, str, str], ...] = ()  # others: a command that takes them, flag and value
    images: str = ""  # that the model was measured on, where these are others than the data


NO_PATHS = RunPaths()


def commands(report: Report, paths: RunPaths, /) -> list[tuple[str, str]]:
    """The purpose of each next command, and its words, ready to be copied; empty if there is nothing to do."""
    if report.is_audit:
        return [] if report.verdict == "pass" else [_after_audit(report, paths)]
    folder = paths.folder or "FOLDER"
    if report.verdict == "pass":
        if not report.exports:
            return []
        loads = any(export.format.startswith("open_clip") for export in report.exports or ())
        call = f"open_clip.create_model_and_transforms({json.dumps(f'local-dir:{folder}')})"
        return [
            ("Check that the folder is whole", _command("verify", [folder], [], paths)),
            *([("Load the weights in Python", call)] if loads else []),
        ]
    model, images = paths.model or report.model.name, paths.images or paths.data
    data_options = [("--data", images)] if images else []
    if report.exports:
        options = [*data_options, *_missing_options(report)]
        return [
            ("Audit the weights that were written", _command("audit", [folder], options, paths, without=_READING_FLAGS))
        ]
    if _is_raised(report, CC.TIME_OVER):
        return []  # the same command goes on, which the finding says: one with other options would begin anew
    if paths.recipe == "auto":
        options = [*data_options, ("--effort", "thorough")]
        return [("Search the model as it is", _command("audit", [model], options, paths, without=_TRIGGER_FLAGS))]
    options = [("--data", paths.data or PAIRS_PLACEHOLDER), ("--recipe", "auto"), ("--out", folder)]
    words = _command("sanitize", [model], options, paths, switches=["--force"])
    return [("Try several recipes, and take the best", words)]


def _after_audit(report: Report, paths: RunPaths) -> tuple[str, str]:
    """The purpose and the words of what follows an audit: first what it lacked, where that could decide; else a cleaning."""
    model, options = paths.model or report.model.name, _missing_options(report)
    same_data = [("--data", paths.data)] if paths.data else []
    data = [] if _has_too_few_images(report) else same_data  # the same ones again would decide no more
    is_open = report.verdict == "inconclusive"
    if is_open and _is_raised(report, CC.TIME_OVER):
        # It goes on only with what it had: other images, classes or clean models make another audit.
        more = [*same_data, ("--max-minutes", "MORE")]
        return "Go on with the audit, with more minutes", _command("audit", [model], more, paths)
    if _is_to_be_searched(report):
        return "Search the model for unknown triggers, too", _command("audit", [model], [*data, *options], paths)
    if is_open and options and (len(options) > 1 or not report.suspects or _has_too_few_images(report)):
        purpose = "Audit the model with what would decide: your classes, your images, a clean model of its architecture"
        is_too_weak = report.effort == "quick" and _is_raised(report, CC.AUDIT_POWER)
        harder = [("--effort", "standard")] if is_too_weak else []
        return purpose, _command("audit", [model], [*data, *options, *harder], paths)
    if is_open and report.effort == "quick":
        harder = [*data, *options, ("--effort", "standard")]
        purpose = "Search harder: a quick search misses what a standard one sees"
        # A file of references is of one effort: clean models take its place, to be searched as hard.
        flags = {flag for _, flag, _ in paths.repeated} | {flag for flag, _ in harder}
        harder += [("--reference", "CLEAN_MODEL")] if "--references" in flags and "--reference" not in flags else []
        return purpose, _command("audit", [model], harder, paths, without=("--references",))
    suspect = next(iter(report.suspects), None)
    trigger_options = _trigger_options(report, suspect, paths) if suspect else []
    options = [("--data", PAIRS_PLACEHOLDER), ("--recipe", "auto"), ("--out", "cleaned"), *trigger_options]
    purpose = "Clean the model on image and caption pairs that you trust"
    return purpose, _command("sanitize", [model], options, paths, without=_TRIGGER_FLAGS if trigger_options else ())


def _missing_options(report: Report) -> list[tuple[str, str]]:
    """The options that would give an audit what the run lacked, with words for what only the user has."""
    codes = {finding.rule for finding in report.findings}
    if not _has_too_few_images(report):
        codes.discard(CC.TOO_LITTLE_DATA)
    return list(dict.fromkeys((flag, value) for code, flag, value in _MISSING_EVIDENCE if code in codes))


def _is_raised(report: Report, code: str) -> bool:
    """Whether a finding of a rule is more than a note."""
    return any(finding.rule == code and finding.level != "note" for finding in report.findings)


def _has_too_few_images(report: Report) -> bool:
    """Whether an audit was in doubt by its images; that of a cleaning is about its accuracy as well, which no audit tells."""
    return report.is_audit and _is_raised(report, CC.TOO_LITTLE_DATA)


def _command(
    command: str,
    arguments: Sequence[str],
    options: Sequence[tuple[str, str]],
    paths: RunPaths,
    /,
    *,
    switches: Sequence[str] = (),
    without: Sequence[str] = (),
) -> str:
    """A command line with all options of the run that the command takes, but for some; no value of it can be taken for an option."""
    flags = {flag for flag, _ in options}
    repeated = [
        (flag, value)
        for repeated_in, flag, value in paths.repeated
        if repeated_in == command and flag not in (*without, *flags)
    ]
    words = [
        *(f"./{argument}" if argument.startswith("-") else argument for argument in arguments),
        *(word for flag, value in options for word in _option_words(flag, value)),
        *switches,
        *(word for flag, value in repeated for word in _option_words(flag, value)),
    ]
    return " ".join(["clipclean", command, *map(_shell_word, words)])


def _option_words(flag: str, value: str) -> list[str]:
    """An option with its value, which stays behind a sign where it would look like another option."""
    return [f"{flag}={value}"] if value.startswith("-") else [flag, value]


def _shell_word(word: str) -> str:
    """A word as a shell takes it; what is not printable as its bytes, so that a name cannot drive the terminal that shows it."""
    if word.isprintable():
        return shlex.quote(word)
    characters = []
    for char in word:
        if char.isprintable():
            characters.append(f"\\{char}" if char in "\\'" else char)
        else:
            errors = "surrogateescape" if "\udc80" <= char <= "\udcff" else "replace"
            characters += [f"\\x{byte:02x}" for byte in char.encode(errors=errors)]
    return f"$'{''.join(characters)}'"


def _trigger_options(report: Report, suspect: SuspectRecord, paths: RunPaths) -> list[tuple[str, str]]:
    """The options that name a suspect's trigger: the one that was saved, else its spec; none where it has neither."""
    triggers = report.measurements.search.found or ()
    saved = next((trigger.file for trigger in triggers if trigger.file and trigger.class_ == suspect.class_), None)
    if saved and paths.trigger_folder:
        return [("--trigger", str(Path(paths.trigger_folder) / saved))]  # a file brings its own class
    spec = suspect.trigger or ""
    if _PLAIN_SPEC.fullmatch(spec) and not spec.startswith("found:"):
        return [("--trigger", spec), ("--target", suspect.class_)]
    return []


# Two reports: findings that are new, worse, unchanged, gone, or not measured again.

# Accounts of a procedure, such as of candidates: a run without it has nothing to say of the model again.
PROCEDURES: tuple[Need, ...] = ("power", "cleaning", "auto", "refinetuned")


def _is_unmeasured(finding: Finding, later: Report) -> bool:
    """Whether a later run could not have made a finding of the model again."""
    need = rule(finding.rule).needs
    return need not in PROCEDURES and bool(not_run(need, later))


LEAST_RANK = {
    "error": LEVEL_RANKS["error"],
    "inconclusive": LEVEL_RANKS["warning"],
}  # the least level that matters to a gate

Change = Literal["new", "worse", "same", "gone", "not measured"]


@dataclass(frozen=True)
class FindingChange:
    """A finding of either report, and its change."""

    change: Change
    finding: Finding
    before: Finding | None  # None for a new one; of one that the later report lacks it is the finding itself


@dataclass(frozen=True)
class ReportComparison:
    """The changes between an earlier report and a later one."""

    verdicts: tuple[str, str]
    differences: tuple[FindingChange, ...]
    unlike: tuple[str, ...] = ()  # what the two runs were given that is not the same, in words

    def blocking(self, level: str, /) -> tuple[FindingChange, ...]:
        """What a gate fails by: errors, or with ``inconclusive`` warnings as well, that are new, worse, or not measured again."""
        least = LEAST_RANK[level]
        return tuple(
            difference
            for difference in self.differences
            if difference.change in ("new", "worse", "not measured") and LEVEL_RANKS[difference.finding.level] >= least
        )


def compare(earlier: Report, later: Report, /) -> ReportComparison:
    """Match the findings of two reports by rule, measure, trigger and class, the worst of each kind first.

    What the later report lacks is gone only if it could have been found again.
    """
    before, after = _by_subject(earlier), _by_subject(later)
    present = [
        FindingChange(_change(before.get(subject), finding), finding, before.get(subject))
        for subject, finding in after.items()
    ]
    absent = [
        FindingChange("not measured" if _is_unmeasured(finding, later) else "gone", finding, finding)
        for subject, finding in before.items()
        if subject not in after
    ]
    return ReportComparison((earlier.verdict, later.verdict), (*present, *absent), tuple(_unlike(earlier, later)))


def _unlike(earlier: Report, later: Report) -> Iterator[str]:
    """What differs in what two runs were given: a finding may be new or gone by that alone."""
    reports = (earlier, later)
    if earlier.model.sha256 != later.model.sha256:
        yield "models: " + ", ".join(f"{report.model.name} (sha256 {report.model.sha256[:12]}…)" for report in reports)
    if earlier.model.architecture != later.model.architecture:
        yield "architectures: " + ", ".join(report.model.architecture for report in reports)
    words = [report.vocabulary for report in reports]
    for name in ("classes", "templates"):
        lists = [getattr(vocabulary, name) for vocabulary in words if vocabulary]
        if len(lists) == 2 and lists[0] != lists[1]:
            yield f"{name}: {count(len(lists[0]))} and {count(len(lists[1]))}, not the same"
    if earlier.data and later.data and earlier.data.digest != later.data.digest:
        yield "data: " + ", ".join(report.data.name or report.data.format for report in reports if report.data)
    for name in ("command", "effort", "seed"):
        values = [getattr(report, name) for report in reports]
        if values[0] != values[1] and None not in values:
            yield f"{name}: {values[0]}, {values[1]}"
    yield from _unlike_beside(reports)


def _unlike_beside(reports: Sequence[Report]) -> Iterator[str]:
    """What differs in what two models were compared with, judged by and searched for."""
    by_subject: dict[str, list[tuple[str, object]]] = {  # how a run names it, and by what two runs are alike
        "policy": [
            (policy.name, policy.sha256) if policy else ("default", None) for policy in (r.policy for r in reports)
        ],
        "base": [(base.name, base.sha256) if base else ("none", None) for base in (r.base for r in reports)],
    }
    searches = [search.of_side(report, "after") for report in reports]
    if all(searches):
        clean_models = [record.calibration for record in searches if record]
        by_subject["clean models"] = [(c.name if c else "none", c and (c.kind, c.name)) for c in clean_models]
    elif any(searches):
        by_subject["search for unknown triggers"] = [
            ("done" if record else "not done", bool(record)) for record in searches
        ]
    for subject, (earlier, later) in by_subject.items():
        if earlier[1] != later[1]:
            yield f"{subject}: {earlier[0]}, {later[0]}"


def _by_subject(report: Report) -> dict[tuple[str, str, str | None, str | None], Finding]:
    """The findings by subject; of several about one subject the worst."""
    findings = sorted(report.findings, key=lambda finding: LEVEL_RANKS[finding.level])
    return {(finding.rule, finding.measure, finding.trigger, finding.about): finding for finding in findings}


def _change(before: Finding | None, after: Finding) -> Change:
    """Whether a finding is worse: a higher level, or an interval wholly above the earlier one, since less may be chance."""
    if before is None:
        return "new"
    if LEVEL_RANKS[after.level] > LEVEL_RANKS[before.level]:
        return "worse"
    if before.interval and after.interval and after.interval[0] > before.interval[1]:
        return "worse"
    return "same"
