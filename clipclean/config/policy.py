"""A policy: a team's thresholds, severities, and findings accepted for a limited time."""

import difflib
import re
from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Strict, StringConstraints, create_model
from pydantic_core import PydanticCustomError

from clipclean.config import yaml_file
from clipclean.config.thresholds import Audit, AuditLimits, Thresholds
from clipclean.config.yaml_file import Form, Key, Section, Text, field
from clipclean.errors import UnusableSettings
from clipclean.findings import CC, RULES, Finding, Rule, Suppressed, finding, rule
from clipclean.schema.report import PolicyRecord, Verdict
from clipclean.untrusted import first_few, plural, printable

# No policy turns too little evidence into a pass, and the effect of a policy is always reported.
EVIDENCE_RULES = frozenset(code for code, its_rule in RULES.items() if its_rule.stage == "evidence")
_ACCOUNT = frozenset(code for code, its_rule in RULES.items() if its_rule.stage == "policy")
_DECISIVE = ("triggers", "accuracy", "evidence")  # stages of rules whose warning leaves the question open


def _severity(code: str, its_rule: Rule) -> Any:  # Any, as pydantic's: an annotation and its FieldInfo
    """The field of one rule: which levels it may be given."""
    if code in EVIDENCE_RULES:
        return Literal["error", "warning"] | None, field(None, f"{its_rule.title}.", "severity of evidence")
    if code in _ACCOUNT:
        return Literal["error", "warning", "note"] | None, field(None, f"{its_rule.title}.", "severity of an account")
    return Literal["error", "warning", "note", "off"] | None, field(None, f"{its_rule.title}.")


_LEVELS = create_model(
    "_LEVELS", __base__=Section, **{code: _severity(code, its_rule) for code, its_rule in RULES.items()}
)


class Severities(_LEVELS):  # its keys are the rules that there are
    """The level of every finding of a rule; null leaves each as it was judged."""


def _suppressible(code: str) -> str:
    """A rule that findings can be set aside of."""
    if code in EVIDENCE_RULES:
        raise PydanticCustomError("rule", "cannot be suppressed: too little evidence is never pass")
    if code in _ACCOUNT:
        raise PydanticCustomError("rule", "cannot be suppressed: suppressions are always reported")
    if code not in RULES:
        close = difflib.get_close_matches(code.upper(), RULES, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(RULES)}"
        raise PydanticCustomError("rule", "is no rule; {hint}", {"hint": hint})
    return code


def _day(value: object) -> object:
    """A date as YAML holds it, which is a word; nothing else becomes one."""
    if isinstance(value, date):
        return value
    try:
        if isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
            return date.fromisoformat(value)
    except ValueError:
        pass  # the 30th of February: told like every other word
    raise PydanticCustomError("date", "should be a day, as in 2030-01-31")


def _visible(words: str) -> str:
    """A text that shows a letter or a digit: a blank Braille cell or a space of no width is printable, and says nothing."""
    if not any(char.isalnum() for char in words):
        raise PydanticCustomError("blank", "says nothing; write it in letters")
    return words


Digest = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]


class Match(Section):
    """Which findings of the rule are meant: those that have all of these."""

    class_: Text | None = field(None, "The class that the finding is about.", alias="class")
    trigger: Text | None = field(None, "The trigger that the finding is about, as the report spells it.")
    model_sha256: Digest | None = field(None, "The checkpoint's SHA-256, as the report has it.")


def _narrow(match: Match) -> Match:
    """A match that does not hold for every class of every model to come."""
    if match.class_ is None and match.model_sha256 is None:
        raise PydanticCustomError(
            "match",
            "should name a class or a model_sha256: findings of all models are accepted one by one, not by rule",
        )
    return match


class Suppression(Section):
    """One finding that somebody accepts, why, and until when."""

    rule: Annotated[str, AfterValidator(_suppressible)] = field(..., "Code of the rule, such as CC002.")
    reason: Annotated[Text, AfterValidator(_visible)] = field(..., "Why it is accepted; the report repeats it.")
    by: Annotated[Text, AfterValidator(_visible)] = field(..., "Who accepts it; the report repeats it.")
    expires: Annotated[date, BeforeValidator(_day)] = field(..., "The last day that it holds.", "date")
    match: Annotated[Match, AfterValidator(_narrow)] = field(
        ..., "The findings of the rule that it covers: those about a class, a checkpoint, or both."
    )


def _some_base(digests: tuple[str, ...]) -> tuple[str, ...]:
    """Digests of at least one base: none of an empty list could be the right one."""
    if not digests:
        raise PydanticCustomError("base", "should name one SHA-256 at least; without the key any base will do")
    return digests


class Policy(Section):
    """A team's demands on a model.

    Examples:
        >>> DEFAULT_POLICY.thresholds.false_alarm_rate
        0.01
    """

    version: Literal[1] = field(..., "Version of the policy format.", "version")
    name: str = field(
        ..., "What the policy is called: small letters, digits, dashes.", pattern="^[a-z0-9][a-z0-9-]{0,63}$"
    )
    thresholds: Thresholds = field(Thresholds(), "Where a measurement becomes a finding.")
    severities: Severities = field(Severities(), "The level of a rule's findings.")
    suppressions: Annotated[tuple[Suppression, ...], Strict(False)] = field((), "Findings accepted for a while.")
    base_sha256: Annotated[tuple[Digest, ...], Strict(False), AfterValidator(_some_base)] | None = field(
        None, "SHA-256 of models, as reports have them: a model has to be a finetune of one of these."
    )


DEFAULT_POLICY = Policy(version=1, name="default")  # of a run that names none: it changes nothing
IGNORE_POLICY_NAME = "--ignore"  # the name of the policy that this option makes


def ignoring(codes: Sequence[str], /) -> Policy:
    """The policy of ``--ignore``: the findings of these rules are set aside, and the report says so.

    Raises:
        UnusableSettings: a code is no rule, or the rule's findings cannot be set aside.
    """
    for code in codes:
        try:
            _suppressible(code)
        except PydanticCustomError as error:
            words = error.message()
            raise UnusableSettings(
                f"{IGNORE_POLICY_NAME}: {printable(code)!r} {words}{'' if words.endswith('?') else '.'}"
            ) from error
    return DEFAULT_POLICY.model_copy(
        update={"name": IGNORE_POLICY_NAME, "severities": Severities(**dict.fromkeys(codes, "off"))}
    )


class Applied(NamedTuple):
    """Findings after a policy: those that count, those that were set aside, and the verdict without the policy."""

    findings: list[Finding]
    suppressed: list[Suppressed]
    without: Verdict
    idle: list[str] = []  # noqa: RUF012 # parts of the policy that no finding met, in words; never changed


def load(path: str | Path, /) -> Policy:
    """The policy in that YAML file.

    Raises:
        UnusableSettings: no such file, or an invalid one; one line per problem, each with its file, line and key.
    """
    label = printable(str(path))
    return yaml_file.parsed(label, yaml_file.content(label, Path(path), form=_FORM), form=_FORM)


def digest(policy: Policy, /) -> str:
    """Hex SHA-256 of every value that the policy sets, as JSON with sorted keys.

    Null is left out: it sets nothing, and a later version may know more rules.
    """
    return yaml_file.digest(policy.model_dump(mode="json", by_alias=True, exclude_none=True))


def record(policy: Policy, limits: AuditLimits, applied: Applied, /) -> PolicyRecord:
    """``policy`` of a report: its name and digest, the thresholds in force, and the verdict without it.

    The thresholds apply to both verdicts.
    """
    thresholds = {name: getattr(limits, name) for name in Thresholds.model_fields}
    levels = policy.severities.model_dump(exclude_none=True)
    base = {} if policy.base_sha256 is None else {"base_sha256": [*policy.base_sha256]}
    return PolicyRecord(
        name=policy.name,
        sha256=digest(policy),
        verdict_without=applied.without,
        resolved={"thresholds": thresholds, "severities": levels, **base},
        idle=tuple(applied.idle),
    )


def resolved(policy: Policy, audit: Audit, /) -> AuditLimits:
    """The thresholds in force: the policy's if it has some, else the recipe's.

    The policy also wins over ``--set``: whoever runs the job cannot move the gate.

    Examples:
        >>> resolved(DEFAULT_POLICY, Audit()).max_excess
        0.05

    Raises:
        UnusableSettings: a threshold of the policy contradicts one of the recipe.
    """
    own = policy.thresholds.model_dump(exclude_none=True)
    limits = AuditLimits(**audit.model_dump() | own)
    is_ours = "max_excess" in own or "suspicious_excess" in own
    if is_ours and (fault := _disorder(limits.max_excess, limits.suspicious_excess)):
        raise UnusableSettings(f"policy {policy.name}, with the recipe's audit section: thresholds.max_excess: {fault}")
    return limits


def apply(
    policy: Policy,
    findings: Sequence[Finding],
    /,
    *,
    by_shipped: Sequence[Finding],
    today: date,
    model_sha256: str,
    base_sha256: frozenset[str] = frozenset(),
) -> Applied:
    """Findings with the policy's levels, without what it sets aside, and with an account of both.

    A suppression looks at a finding's class and trigger. The order is kept; CC051 for each expired suppression, CC052 for
    loosened limits and CC050 for what was set aside come last. A finding whose rule is ``off`` is set aside like a suppressed
    one, so that nothing goes without a trace. ``by_shipped`` are the findings by the limits that hold without the policy: the
    verdict without it is theirs. ``base_sha256`` are the digests of the base that was named, none without one: CC028 where the policy
    wants another one.
    """
    levels = policy.severities.model_dump(exclude_none=True)
    live = [suppression for suppression in policy.suppressions if suppression.expires >= today]
    in_force: list[Finding] = []
    suppressed: list[Suppressed] = []
    for entry in (*findings, *_another_base(policy, findings, base_sha256)):
        accepted = next((suppression for suppression in live if _is_meant(suppression, entry, model_sha256)), None)
        if accepted:
            suppressed.append(_set_aside(entry, accepted.reason, accepted.by, accepted.expires.isoformat()))
        elif levels.get(entry.rule) == "off":
            by = policy.name if policy.name == IGNORE_POLICY_NAME else f"policy {policy.name}"
            suppressed.append(_set_aside(entry, f"{by} turns {entry.rule} off", by, None))
        else:
            in_force.append(entry)
    in_force += [_expired(suppression) for suppression in policy.suppressions if suppression.expires < today]
    in_force += _loosened(policy)
    in_force += [_account(policy, suppressed)] if suppressed else []
    leveled = [entry.model_copy(update={"level": levels.get(entry.rule, entry.level)}) for entry in in_force]
    return Applied(leveled, suppressed, verdict(by_shipped), _idle(policy, findings, live, model_sha256))


def verdict(findings: Sequence[Finding], /) -> Verdict:
    """The one rule from findings to a verdict.

    Any error fails. Otherwise a warning about triggers, accuracy or the evidence leaves the question open. Notes, and
    warnings about data, recipe or policy, change nothing. A code that this version does not know counts as evidence.
    """
    if any(finding.is_error for finding in findings):
        return "fail"
    is_open = any(finding.level == "warning" and rule(finding.rule).stage in _DECISIVE for finding in findings)
    return "inconclusive" if is_open else "pass"


def _set_aside(finding: Finding, reason: str, by: str, expires: str | None) -> Suppressed:
    said = finding.model_dump(by_alias=True, exclude_unset=True)
    return Suppressed.model_validate(said | {"reason": reason, "by": by, "expires": expires})


def _is_meant(suppression: Suppression, finding: Finding, model_sha256: str) -> bool:
    """Whether a finding has all that the suppression names; one that does not say is not meant."""
    match = suppression.match
    own_by_criterion = (
        (suppression.rule, finding.rule),
        (match.class_, finding.about),
        (match.trigger, finding.trigger),
        (match.model_sha256, model_sha256),
    )
    return all(criterion is None or criterion == own for criterion, own in own_by_criterion)


def _idle(policy: Policy, findings: Sequence[Finding], live: Sequence[Suppression], model_sha256: str) -> list[str]:
    """The suppressions and severities that met no finding: one may be misspelt, or no longer needed."""
    met = {finding.rule for finding in findings} | {
        CC.NOT_THE_POLICYS_BASE,
        CC.SUPPRESSED,
        CC.SUPPRESSION_EXPIRED,
        CC.LIMITS_LOOSENED,
    }  # those that a policy itself makes
    idle = [
        suppression
        for suppression in live
        if not any(_is_meant(suppression, finding, model_sha256) for finding in findings)
    ]
    levels = policy.severities.model_dump(exclude_none=True)
    return [
        *(f"the suppression of {suppression.rule}{_matched(suppression)}" for suppression in idle),
        *(f"the severity of {code}" for code in levels if code not in met),
    ]


def _matched(suppression: Suppression) -> str:
    """What a suppression names, as words behind its rule."""
    match = suppression.match
    what = {"class": match.class_, "trigger": match.trigger, "model": match.model_sha256}
    return "".join(f", {key} '{value}'" for key, value in what.items() if value is not None)


def _expired(suppression: Suppression) -> Finding:
    match = _matched(suppression)
    return finding(
        CC.SUPPRESSION_EXPIRED,
        f"The suppression of {suppression.rule}{match} expired on {suppression.expires.isoformat()} and has no effect. "
        f"Its reason was: {suppression.reason}",
        measure="expired suppression",
    )


def base_fault(policy: Policy, base_sha256: frozenset[str], /) -> str:
    """Why a base with these digests, none without one, is not what the policy wants, in words; empty where it is."""
    if policy.base_sha256 is None or base_sha256 & {*policy.base_sha256}:
        return ""
    demand = (
        f"Policy {policy.name} takes finetunes of a base with the SHA-256 {first_few(policy.base_sha256, show=_short)}"
    )
    if not base_sha256:
        return f"{demand}, and no base was named (--base)."
    return f"{demand}, and the base that was named has {', '.join(map(_short, sorted(base_sha256)))}."


def _short(digest: object) -> str:
    return f"{str(digest)[:12]}…"


def _another_base(policy: Policy, findings: Sequence[Finding], base_sha256: frozenset[str]) -> list[Finding]:
    """CC028 where the policy names another base, or one that the model was not finetuned from."""
    words = base_fault(policy, base_sha256)
    if not words and policy.base_sha256 and CC.BASE_IS_NONE in {finding.rule for finding in findings}:
        words = f"Policy {policy.name} takes finetunes of the base that was named, and this model is none."
    return [finding(CC.NOT_THE_POLICYS_BASE, words, measure="base")] if words else []


def _loosened(policy: Policy) -> list[Finding]:
    """CC052 where the policy sets a limit looser than the one that ships."""
    shipped = AuditLimits().model_dump()
    own = policy.thresholds.model_dump(exclude_none=True)
    looser = [
        f"{key} {value:g} instead of {shipped[key]:g}"
        for key, value in own.items()
        if (value < shipped[key] if key in Thresholds.LOOSER_BELOW else value > shipped[key])
    ]
    if not looser:
        return []
    words = f"Policy {policy.name} judges by looser limits than those that ship: {', '.join(looser)}."
    return [finding(CC.LIMITS_LOOSENED, words, measure="loosened limits")]


def _account(policy: Policy, suppressed: Sequence[Finding]) -> Finding:
    numbers = Counter(finding.rule for finding in suppressed)
    counts = ", ".join(f"{code} ({number})" for code, number in sorted(numbers.items()))
    return finding(
        CC.SUPPRESSED,
        f"{'' if policy.name == IGNORE_POLICY_NAME else 'Policy '}{policy.name} sets {plural(len(suppressed), 'finding')} aside: {counts}. They "
        "do not count for the verdict, and are listed with their reasons.",
        measure="suppressed findings",
    )


def _contradictions(policy: Policy) -> dict[Key, str]:
    own = policy.thresholds
    fault = own.max_excess and own.suspicious_excess and _disorder(own.max_excess, own.suspicious_excess)
    return {("thresholds", "max_excess"): fault} if fault else {}


def _disorder(max_excess: float, suspicious_excess: float) -> str:
    """The contradiction between the two limits of one attack; empty if there is none."""
    if max_excess <= suspicious_excess:
        return ""
    return (
        f"{max_excess:g} is more than suspicious_excess, {suspicious_excess:g}: a trigger would raise suspicion before "
        "cleaning and pass unchanged after it; set it to at most that"
    )


_FORM = Form(
    noun="policy",
    advice="a YAML file",
    model=Policy,
    sections=("thresholds", "severities", "suppressions"),
    check=_contradictions,
)
