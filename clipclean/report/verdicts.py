"""The verdict in words: its statement, basis, limits, and the next steps, with the commands for them; and two reports compared."""

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from clipclean.config import policy
from clipclean.findings import RULES, Finding, Need, Suppressed, rule
from clipclean.report import measures, search
from clipclean.report.wording import NOTHING, count, decimal, percent
from clipclean.schema.report import Report, SuspectRecord
from clipclean.untrusted import plural

RANKS = {"note": 0, "warning": 1, "error": 2}


def headline(report: Report, /) -> str:
    """The verdict in one sentence or two."""
    return {"pass": _passed, "fail": _failed, "inconclusive": _undecided}[report.verdict](report)


def reason(report: Report, /) -> str:
    """What the verdict rests on most, in few words: the first suspect or trigger, else the headline."""
    found, attack = search.strongest(report), next(iter(measures.named(report)), None)
    if report.is_audit and report.suspects and found:
        return f"class {found.class_}, {found.family} of {percent(found.size)} reaches it in {percent(found.asr.value)}"
    if attack and attack.after:
        return f"class {attack.after.target}, {attack.family} reaches it in {percent(attack.after.asr.value)}"
    return headline(report).rstrip(".")


def story(report: Report, /) -> list[str]:
    """The measurements, in sentences for readers who never heard of a backdoor."""
    told = []
    if found := search.strongest(report) if report.is_audit else None:
        told.append(search.outcome(found))
        if report.verdict == "pass":
            told.append(
                "Any model can be turned by a change that is large enough, and this one is not unusually small."
            )
    told += [_attack_told(attack) for attack in measures.detailed(report)[:1]]
    return [*told, *_accuracy_told(report)]


def next_steps(report: Report, /) -> list[str]:
    """Recommended actions, most urgent first: where the verdict is no pass, those that can change it, and what was lacking."""
    ranked = sorted(report.findings, key=lambda each: (-RANKS[each.level], -rule(each.rule).urgent))
    if report.verdict != "pass":
        ranked = [each for each in ranked if each.level != "note" or rule(each.rule).stage == "data"]
    steps = [rule(finding.rule).action for finding in ranked]
    if report.verdict == "pass":
        use = {
            "sanitize": "Use the weights that were written with this report. Keep report.json and SHA256SUMS with them.",
            "audit": "Keep report.json with the model: it names the file by its SHA-256.",
        }
        steps.insert(0, use[report.command])
    return list(dict.fromkeys(steps))


def not_shown(report: Report, /) -> list[str]:
    """The limits of the report."""
    measured = measures.measured(report, "after")
    tried = len({probe.trigger for probe in measured.probes}) if measured else 0
    triggers = "Any trigger: none was tried" if not tried else f"Triggers other than the {count(tried)} that were tried"
    searched = "" if search.ran(report) else " Unknown ones were not searched for."
    if families := search.covered(report) if search.ran(report) else "":
        searched = f" Unknown ones were searched for as {families} alone."
    return [
        f"{triggers}.{searched} An attacker can think of another, and no list of triggers is complete.",
        "What the model does with images and classes other than those that were measured on.",
        *dict.fromkeys(
            known.does_not_show
            for finding in by_severity(report.findings)
            if (known := rule(finding.rule)).stage == "triggers"
        ),
    ]


def checks(report: Report, /) -> list[tuple[str, str, str]]:
    """All checks: what was looked for, what was found, and what is usual or allowed."""
    limits = limits_of(report)
    rows = []
    for attack in measures.named(report):
        moved = percent(attack.after.excess_asr.value) if attack.after else "not measured again"
        before = f", {percent(attack.before.excess_asr.value)} before" if attack.before and attack.after else ""
        told = f"moves {moved} of images beyond chance{before}"
        usual = f"at most {percent(limits['max_excess'])}" if "max_excess" in limits else NOTHING
        rows.append((f"Trigger “{attack.family}” towards “{attack.target}”", told, usual))
    if panel := measures.panel(report):
        limit = limits.get("suspicious_excess")
        usual = "little" if limit is None else f"at most {percent(limit)}; natural triggers may move more"
        rows.append((f"{count(len(panel))} known triggers of the panel", _panel_told(report, panel, limit), usual))
    if search.of_side(report, "after"):
        rate = limits.get("false_alarm_rate")
        fails = f"; what {percent(rate)} of clean models reach can fail the model" if rate is not None else ""
        rows.append(("Unknown triggers", _found_by_search(report), f"no class stands out{fails}"))
    else:
        unlearned = f"searched for before and after unlearning: {search.covered(report)}"
        rows.append(("Unknown triggers", unlearned if search.ran(report) else "not searched for", NOTHING))
    row = measures.accuracy(report)
    if row.before and row.after:
        usual = (
            f"at most {100 * limits['max_accuracy_loss']:.1f} points lost" if "max_accuracy_loss" in limits else NOTHING
        )
        change = f"{percent(row.before.value)} before and {percent(row.after.value)} after, each image right or wrong"
        rows.append((row.measure.label, "; ".join(filter(None, (measures.lost(report), change))), usual))
    return rows


def limits_of(report: Report, /) -> dict[str, float]:
    """The thresholds that held in the run, by their names; empty where the report does not have them."""
    resolved = (report.policy.resolved if report.policy else None) or {}
    held = resolved.get("thresholds")
    return {key: value for key, value in held.items() if isinstance(value, float)} if isinstance(held, dict) else {}


def _panel_told(report: Report, panel: list[measures.ComparedAttack], limit: float | None) -> str:
    """What the strongest trigger of the panel does, and why it is no finding where it is none."""
    strongest = max(measures.excess_of(attack.after) for attack in panel)
    if strongest < -0.99:
        return "not measured"
    told = f"the strongest moves {percent(strongest)} of images beyond chance"
    if not _acts(panel, limit):
        return told
    is_finding = any(finding.rule in ("CC002", "CC003") for finding in (*report.findings, *report.suppressed))
    return f"{told}: {'see the findings' if is_finding else 'taken for a natural trigger of this model'}"


def _acts(panel: list[measures.ComparedAttack], limit: float | None) -> bool:
    """Whether a trigger of the panel moves more images than a model without natural triggers would let it."""
    return limit is not None and any(measures.excess_of(attack.after) > limit for attack in panel)


def _found_by_search(report: Report) -> str:
    """What the search of the current model showed: the class that stands out most, or that none does."""
    named = report.suspects if report.is_audit else report.after.suspects if report.after else ()
    if named:
        return f"“{named[0].class_}” stands out, with a score of {decimal(named[0].score)}"
    strongest = search.strongest(report)
    signs = search.signs(strongest)[:1] if strongest else []
    return f"no class stands out; the trigger that works best is {signs[0]}" if signs else "none that works was found"


def by_severity(findings: Iterable[Finding], /) -> list[Finding]:
    """Errors, then warnings, then notes."""
    return sorted(findings, key=lambda finding: -RANKS[finding.level])


def _passed(report: Report) -> str:
    noted = [words for finding in report.findings if (words := rule(finding.rule).passes)]
    if noted:
        return noted[0]
    if not report.is_audit:
        return "The backdoor behaviour that was measured is gone, and the accuracy stayed within its budget."
    acts = _acts(measures.panel(report), limits_of(report).get("suspicious_excess"))
    natural = "the known triggers that act on this model are natural ones by comparison"
    if search.ran(report):
        known = natural if acts else "no built-in trigger acts on this model"
        return f"No backdoor was found: {known}, and a search found none that is unusually small."
    return f"No backdoor was found: {natural}." if acts else "None of the triggers that were tried acts on this model."


def _failed(report: Report) -> str:
    codes = {finding.rule for finding in report.findings if finding.level == "error"}
    sentences = []
    for code, known in RULES.items():
        if code in codes:
            sentences.append(getattr(known, f"fails_{report.command}"))
        if code == "CC003" and code in codes and report.is_audit and report.suspects:
            sentences.append(f"It is turned towards “{report.suspects[0].class_}”.")
    return " ".join(dict.fromkeys(filter(None, sentences))) or "The model does not meet the limits of this run."


def _undecided(report: Report) -> str:
    """The most urgent reason of those that stood in the way."""
    standing = [rule(finding.rule) for finding in report.findings if finding.level != "note"]
    doubts = (getattr(known, f"doubt_{report.command}") for known in sorted(standing, key=lambda known: -known.urgent))
    return next(filter(None, doubts), "There is too little evidence to say pass or fail.")


def not_run(need: Need, report: Report, /) -> str:
    """Why a rule with this need could not have found anything; empty where it could."""
    searched = search.ran(report)
    unsearched = (searched, "unknown triggers were not searched for")
    told = {
        "": (True, ""),
        "named trigger": (bool(measures.named(report)), "no trigger was named, and none was found before cleaning"),
        "panel": (bool(measures.panel(report)), "the panel of known triggers was left out"),
        "search": unsearched,
        "audit's search": (
            (search.of_side(report, "after") is not None, "only an audit's search is compared with clean models")
            if searched
            else unsearched
        ),
        "audit or search": (searched or report.is_audit, "a part of the audit"),
        "before": (measures.has_before(report), "an audit has no accuracy to compare with"),
        "data": (bool(report.data), "no clean data was read"),
        "recipe": (bool(report.recipe), "no recipe was used"),
        "policy": (bool(report.policy), "no policy file was given"),
        "base": (bool(report.base), "no base was named"),
    }
    was_run, reason = told[need]
    return "" if was_run else f"not run: {reason}"


def set_aside(finding: Suppressed, /) -> str:
    """Who decided that a finding does not count, until when, and why."""
    until = f"until {finding.expires}" if finding.expires else "without an end"
    by = finding.by or "a person whom the policy does not name"
    return f"Set aside {until} by {by}: {finding.reason or 'no reason is given'}"


def policy_told(report: Report, /) -> str:
    """The effect of the policy on the verdict, for the first and the last line; empty if it changed nothing."""
    without, number = without_policy(report), len(report.suppressed)
    if not number and without == report.verdict:
        return ""
    name = report.policy.name if report.policy else ""
    name = name if name == policy.IGNORE else f"Policy {name}" if name else "A policy"
    did = f"sets {plural(number, 'finding')} aside" if number else "changes limits, or levels of findings"
    if without == report.verdict:
        return f"{name} {did}. The verdict would be {without} without it as well."
    return f"{name} {did}. Without it the verdict would be {without}, and it is {report.verdict} now."


def without_policy(report: Report, /) -> str:
    """The verdict if the policy had set nothing aside; of an old report, which does not say, as its findings have it."""
    if report.policy and report.policy.verdict_without:
        return report.policy.verdict_without
    return policy.verdict([*report.findings, *report.suppressed]) if report.suppressed else report.verdict


def _attack_told(attack: measures.ComparedAttack) -> str:
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
    row = measures.accuracy(report)
    if not row.after:
        return []
    images, after = f"Of {count(row.after.n)} clean images", percent(row.after.value)
    is_accuracy = row.measure is measures.MEASURES["clean_accuracy"]
    right = "get the right answer" if is_accuracy else "find their own caption"
    if not row.before:
        return [f"{images}, {after} {right}."]
    past = right.replace("get", "got").replace("find", "found")
    told = [f"{images}, {percent(row.before.value)} {past} before, and {after} do now."]
    return [*told, f"Measured by how sure each answer is: {lost}."] if (lost := measures.lost(report)) else told


# Commands that a report suggests: each runs as it is printed, with what its own run was given.

_SPEC = re.compile(r"[A-Za-z0-9:=.,_-]+")  # a trigger that needs no file
_NAMED = ("--trigger", "--target")
_OF_THE_FILE = ("--arch", "--weights")  # how the original is read: what was written says it itself
PAIRS = "CLEAN_PAIRS"  # stands for what only the user has
# What an audit lacked, by the finding that says so, and what stands for what only the user has.
_LACKING = (
    ("CC033", "--classes", "CLASSES.txt"),
    ("CC031", "--data", "IMAGES"),
    ("CC004", "--reference", "CLEAN_MODEL"),
)


class RunPaths(NamedTuple):
    """What a run was given, as the user named it, for commands that can be copied; empty where that is not known."""

    folder: str = ""  # of the weights and the report
    model: str = ""
    data: str = ""
    recipe: str = ""
    found: str = ""  # where an audit saved its triggers
    repeated: tuple[tuple[str, str, str], ...] = ()  # others: a command that takes them, flag and value
    images: str = ""  # that the model was measured on, where these are others than the data


NOWHERE = RunPaths()


def commands(report: Report, paths: RunPaths, /) -> list[tuple[str, str]]:
    """The purpose of each next command, and its words, ready to be copied; empty if there is nothing to do."""
    if report.is_audit:
        return [] if report.verdict == "pass" else [_after_audit(report, paths)]
    folder = paths.folder or "FOLDER"
    if report.verdict == "pass":
        loads = any(export.format.startswith("open_clip") for export in report.exports or ())
        call = f"open_clip.create_model_and_transforms({json.dumps(f'local-dir:{folder}')})"
        return [
            ("Check that the folder is whole", _command("verify", [folder], [], paths)),
            *([("Load the weights in Python", call)] if loads else []),
        ]
    model, images = paths.model or report.model.name, paths.images or paths.data
    measured = [("--data", images)] if images else []
    if report.exports:
        return [("Audit the weights that were written", _command("audit", [folder], measured, paths, but=_OF_THE_FILE))]
    if paths.recipe == "auto":
        options = [*measured, ("--effort", "thorough")]
        return [("Search the model as it is", _command("audit", [model], options, paths, but=_NAMED))]
    options = [("--data", paths.data or PAIRS), ("--recipe", "auto"), ("--out", folder)]
    words = _command("sanitize", [model], options, paths, switches=["--force"])
    return [("Try several recipes, and take the best", words)]


def _after_audit(report: Report, paths: RunPaths) -> tuple[str, str]:
    """The purpose and the words of what follows an audit: first what it lacked, where that could decide; else a cleaning."""
    model, told = paths.model or report.model.name, {finding.rule for finding in report.findings}
    options = [(flag, value) for code, flag, value in _LACKING if code in told]
    if report.verdict == "inconclusive" and options and (len(options) > 1 or not report.suspects):
        data = [("--data", paths.data)] if paths.data else []
        purpose = "Audit the model with what would decide: your classes, your images, a clean model of its architecture"
        return purpose, _command("audit", [model], [*data, *options], paths)
    suspect = next(iter(report.suspects), None)
    named = _named(report, suspect, paths) if suspect else []
    options = [("--data", PAIRS), ("--recipe", "auto"), ("--out", "cleaned"), *named]
    purpose = "Clean the model on image and caption pairs that you trust"
    return purpose, _command("sanitize", [model], options, paths, but=_NAMED if named else ())


def _command(
    command: str,
    places: Sequence[str],
    options: Sequence[tuple[str, str]],
    paths: RunPaths,
    /,
    *,
    switches: Sequence[str] = (),
    but: Sequence[str] = (),
) -> str:
    """A command line with all options of the run that the command takes, but for some; no value of it can be taken for an option."""
    taken = {flag for flag, _ in options}
    kept = [(flag, value) for of, flag, value in paths.repeated if of == command and flag not in (*but, *taken)]
    words = [
        *(f"./{place}" if place.startswith("-") else place for place in places),
        *(word for flag, value in options for word in _given(flag, value)),
        *switches,
        *(word for flag, value in kept for word in _given(flag, value)),
    ]
    return " ".join(["clipclean", command, *map(_quoted, words)])


def _given(flag: str, value: str) -> list[str]:
    """An option with its value, which stays behind a sign where it would look like another option."""
    return [f"{flag}={value}"] if value.startswith("-") else [flag, value]


def _quoted(word: str) -> str:
    """A word as a shell takes it; what is not printable as its bytes, so that a name cannot drive the terminal that shows it."""
    if word.isprintable():
        return shlex.quote(word)
    told = []
    for char in word:
        if char.isprintable():
            told.append(f"\\{char}" if char in "\\'" else char)
        else:
            errors = "surrogateescape" if "\udc80" <= char <= "\udcff" else "replace"
            told += [f"\\x{byte:02x}" for byte in char.encode(errors=errors)]
    return f"$'{''.join(told)}'"


def _named(report: Report, suspect: SuspectRecord, paths: RunPaths) -> list[tuple[str, str]]:
    """The options that name a suspect's trigger: the one that was saved, else its spec; none where it has neither."""
    found = report.measurements.search.found or ()
    saved = next((each.file for each in found if each.file and each.class_ == suspect.class_), None)
    if saved and paths.found:
        return [("--trigger", str(Path(paths.found) / saved))]  # a file brings its own class
    spec = suspect.trigger or ""
    if _SPEC.fullmatch(spec) and not spec.startswith("found:"):
        return [("--trigger", spec), ("--target", suspect.class_)]
    return []


# Two reports: findings that are new, worse, unchanged, gone, or not measured again.

BLOCKING = {"error": RANKS["error"], "inconclusive": RANKS["warning"]}  # the least level that matters to a gate

Change = Literal["new", "worse", "same", "gone", "not measured"]


@dataclass(frozen=True)
class Difference:
    """A finding of either report, and its change."""

    change: Change
    finding: Finding
    before: Finding | None  # None for a new one; of one that the later report lacks it is the finding itself


@dataclass(frozen=True)
class Comparison:
    """The changes between an earlier report and a later one."""

    verdicts: tuple[str, str]
    differences: tuple[Difference, ...]
    unlike: tuple[str, ...] = ()  # what the two runs were given that is not the same, in words

    def blocking(self, level: str, /) -> tuple[Difference, ...]:
        """What a gate fails by: errors, or with ``inconclusive`` warnings as well, that are new, worse, or not measured again."""
        least = BLOCKING[level]
        return tuple(
            each
            for each in self.differences
            if each.change in ("new", "worse", "not measured") and RANKS[each.finding.level] >= least
        )


def compare(earlier: Report, later: Report, /) -> Comparison:
    """Match the findings of two reports by rule, measure, trigger and class, the worst of each kind first.

    What the later report lacks is gone only if it could have been found again.
    """
    before, after = _by_subject(earlier), _by_subject(later)
    found = [
        Difference(_change(before.get(subject), finding), finding, before.get(subject))
        for subject, finding in after.items()
    ]
    lacking = [
        Difference("not measured" if not_run(rule(finding.rule).needs, later) else "gone", finding, finding)
        for subject, finding in before.items()
        if subject not in after
    ]
    return Comparison((earlier.verdict, later.verdict), (*found, *lacking), tuple(_unlike(earlier, later)))


def _unlike(earlier: Report, later: Report) -> Iterator[str]:
    """What differs in what two runs were given: a finding may be new or gone by that alone."""
    both = (earlier, later)
    if earlier.model.sha256 != later.model.sha256:
        yield "models: " + ", ".join(f"{each.model.name} (sha256 {each.model.sha256[:12]}…)" for each in both)
    if earlier.model.architecture != later.model.architecture:
        yield "architectures: " + ", ".join(each.model.architecture for each in both)
    words = [each.vocabulary for each in both]
    for name in ("classes", "templates"):
        lists = [getattr(each, name) for each in words if each]
        if len(lists) == 2 and lists[0] != lists[1]:
            yield f"{name}: {count(len(lists[0]))} and {count(len(lists[1]))}, not the same"
    if earlier.data and later.data and earlier.data.digest != later.data.digest:
        yield "data: " + ", ".join(each.data.name or each.data.format for each in both if each.data)
    for name in ("command", "effort", "seed"):
        values = [getattr(each, name) for each in both]
        if values[0] != values[1] and None not in values:
            yield f"{name}: {values[0]}, {values[1]}"


def _by_subject(made: Report) -> dict[tuple[str, str, str | None, str | None], Finding]:
    """The findings by subject; of several about one subject the worst."""
    ranked = sorted(made.findings, key=lambda finding: RANKS[finding.level])
    return {(each.rule, each.measure, each.trigger, each.about): each for each in ranked}


def _change(before: Finding | None, after: Finding) -> Change:
    """Whether a finding is worse: a higher level, or an interval wholly above the earlier one, since less may be chance."""
    if before is None:
        return "new"
    if RANKS[after.level] > RANKS[before.level]:
        return "worse"
    if before.interval and after.interval and after.interval[0] > before.interval[1]:
        return "worse"
    return "same"
