"""The verdict: findings, from measurements compared with thresholds."""

import math
import statistics
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, replace
from typing import final

from clipclean.config.thresholds import (
    DOUBT_FACTOR,
    DOUBTED_TINT_EXCESS,
    LEAST_ACCURACY,
    OFF_LIST_SHARE,
    QUIET_SCORE,
    WAVELESS_EVIDENCE,
    WIDEST_INTERVAL,
    AuditLimits,
)
from clipclean.detect import finetune_base, score
from clipclean.detect.accuracy_cost import MeasuredLoss, accuracy_losses
from clipclean.detect.families import SEARCH_FAMILIES
from clipclean.detect.forward import LOGIT_ERROR, Departure, Strength
from clipclean.detect.measure import TINT, Measurement, Probe
from clipclean.detect.metrics import Rate
from clipclean.detect.references import PANEL_KEY, PERSUASION, REACH, calibration, is_natural
from clipclean.detect.score import Suspect, compared_with
from clipclean.detect.search import SearchResult, TargetedResult, parts_of_search
from clipclean.detect.zeroshot import representatives
from clipclean.findings import CC, LEVEL_RANKS, About, Finding, Level, finding, rule, trigger_words
from clipclean.schema.names import EffortName
from clipclean.schema.report import CalibrationRecord, SearchRecord, SuspectRecord
from clipclean.untrusted import first_few, quoted

NAMED_CLASSES = 5  # names of a group of classes that a finding tells
LEAST_SHARE_STATED = 0.001  # share of clean models that is told to reach a score; less is a guess
ROUNDING_SPREAD = 1e-4  # spread of unit embeddings, in [0, 1], below which images differ by rounding only


@final
@dataclass(frozen=True)
class AuditResult:
    """The result for one model: numbers, before any threshold."""

    measurement: Measurement
    search: SearchResult | None
    why_not: tuple[str, str] | None  # the rule and the words that say why nothing was searched
    seconds: float  # of the search
    departures: tuple[Departure, ...] = ()  # where it answers otherwise in half precision
    classes: tuple[str, ...] = ()  # that their targets are places in
    clip_normalised: "AuditResult | None" = None  # the same model under CLIP's own normalisation, where that is another
    is_late: bool = False  # whether time was over before that
    beside_base: finetune_base.BaseComparison | None = (
        None  # the model beside the one that it was finetuned from; None without one
    )

    @property
    def looks(self) -> int:
        """Under how many normalisations of pixels the model was looked at."""
        return 1 if self.clip_normalised is None else 2

    @property
    def is_cut(self) -> bool:
        """Whether the deadline ended its search, or came before."""
        return bool(self.search and self.search.cut) or (self.why_not is not None and self.why_not[0] == CC.TIME_OVER)

    @property
    def searches(self) -> tuple[SearchResult, ...]:
        """The searches under either normalisation of pixels, the model's own first."""
        both = (self.search, self.clip_normalised and self.clip_normalised.search)
        return tuple(filter(None, both))

    def suspects_by(self, limits: AuditLimits, /) -> tuple[SuspectRecord, ...]:
        """The classes that it points at, the highest score first, as a report lists them."""
        return suspect_records(self.search, self.measurement, limits=limits_per_look(limits, self.looks))

    def search_record(self, effort: EffortName, saved: Mapping[str, str], /) -> SearchRecord | None:
        """``measurements.search`` of a report; None where nothing was searched. ``saved`` is where triggers were saved."""
        if self.search is None:
            return None
        none = CalibrationRecord(kind="none", name="", models=0)
        calibration_record = CalibrationRecord.of(self.search.references) if self.search.references else none
        return self.search.record(effort=effort, seconds=self.seconds, calibration=calibration_record, saved=saved)


def audit_findings(audit: AuditResult, limits: AuditLimits, /, *, images: int) -> list[Finding]:
    """The findings of a result on this number of images, under either normalisation of pixels, and beside the model's base."""
    about_base = findings_beside_base(audit)
    if audit.clip_normalised:
        return [*about_base, *_findings_under_both_normalisations(audit, audit.clip_normalised, limits, images=images)]
    late = (
        [unproven(CC.TIME_OVER, "Time was over before the audit under CLIP's own normalisation.")]
        if audit.is_late
        else []
    )
    own = _findings_under_one_normalisation(audit, limits, images=images)
    return [*about_base, *own, *late]


def findings_beside_base(audit: AuditResult, /) -> list[Finding]:
    """The findings of a model beside its base; none without one."""
    return finetune_base.findings(audit.beside_base) if audit.beside_base else []


def _findings_under_one_normalisation(audit: AuditResult, limits: AuditLimits, *, images: int) -> list[Finding]:
    findings = _findings_alone(audit, limits, images=images)
    if (comparison := audit.beside_base) is None:
        return findings
    return [judged for sign in findings if (judged := _finding_over_base(sign, comparison, limits))]


def _finding_over_base(sign: Finding, comparison: finetune_base.BaseComparison, limits: AuditLimits) -> Finding | None:
    """A finding of what a trigger does, judged by how much more it does than on the base: None where that is surely within the limit, and too few
    images where nobody can tell. What a user named, or a search was sure of, stays an error.
    """
    is_doubt = sign.rule == CC.KNOWN_TRIGGER_ACTS and sign.level == "warning"
    if not (is_doubt or sign.rule == CC.TOO_LITTLE_DATA):
        return sign
    if comparison.is_natural(sign.trigger, sign.target, limits):
        return None
    difference = comparison.under(sign.trigger, sign.target)
    if not is_doubt or difference is None or comparison.exceeds(difference.trigger, difference.target, limits):
        return sign
    own, on_base = (_percent(rate.value) for rate in (difference.own, difference.base))
    return finding(
        CC.TOO_LITTLE_DATA,
        f"Too few images to decide: {trigger_words(difference.trigger)} turns {own} of other images into '{difference.target}', and {on_base} on the "
        f"base, {difference.own.n} images. Give more images.",
        measure=finetune_base.EXCESS_OVER_BASE,
        value=difference.excess,
        interval=difference.interval,
        n=difference.own.n,
        threshold=limits.max_excess,
        target=difference.target,
        trigger=difference.trigger,
    )


def _findings_alone(audit: AuditResult, limits: AuditLimits, *, images: int) -> list[Finding]:
    # With a search, triggers of the panel are compared with each other, and with clean models if there are any.
    measurement = replace(audit.measurement, panel=()) if audit.search else audit.measurement
    findings = [*probe_findings(measurement, limits=limits), *_half_precision_findings(audit, limits)]
    if audit.why_not:
        findings.append(unproven(*audit.why_not))
    undone = [f"{measurement.untried} of the known triggers were not tried"] if measurement.untried else []
    if audit.search and audit.search.cut:
        undone.append("only {} of {} steps of the search were done".format(*audit.search.cut))
    if undone:
        late = f"Time was over: {', and '.join(undone)}. {_words_until_deadline(audit.search, limits)}The same command with more minutes resumes."
        findings.append(unproven(CC.TIME_OVER, late))
    # Of a search that could not be made the reason says already what is missing.
    if audit.search is None and (audit.why_not is None or audit.why_not[0] != CC.NOT_SEARCHED):
        return findings
    if images < limits.min_images:
        words = f"{images} images are too few to judge the results: at least {limits.min_images} are needed."
        findings.append(unproven(CC.TOO_LITTLE_DATA, f"{words} Give more."))
    findings += _one_class_findings(audit, limits)
    if classes := len(measurement.text_classifier):  # a measurement without a trigger may have made no classifier
        findings += _unsound_accuracy_findings(_sound_rate(audit), classes=classes)
    if audit.search is None:
        return findings
    findings += search_findings(audit.search, images=images, limits=limits)
    return [*findings, *_uncalibrated_findings(audit.search), *_synonym_findings(audit.search)]


def _one_class_findings(audit: AuditResult, limits: AuditLimits) -> list[Finding]:
    """A warning if most images are of one class and too few of others: no trigger can be seen to lead there.

    By labels, or else by what the model takes them for.
    """
    measurement, labels = audit.measurement, audit.measurement.accuracy.labels
    if labels is None and measurement.confidence is not None:
        labels = measurement.confidence.argmax(1)
    if labels is None or not len(labels) or not audit.classes:
        return []
    counts = representatives(measurement.text_classifier)[labels].bincount()
    most, others = int(counts.max()), len(labels) - int(counts.max())
    if others >= limits.min_images or others >= most:
        return []
    words = (
        f"{most} of {len(labels)} images are of the class {quoted(audit.classes[int(counts.argmax())])}: a trigger that leads there can "
        f"only be seen on the {others} others, and at least {limits.min_images} are needed. Give images of more classes."
    )
    return [unproven(CC.TOO_LITTLE_DATA, words)]


def _words_until_deadline(search: SearchResult | None, limits: AuditLimits) -> str:
    """What a search showed that the deadline cut, as a sentence and a space; nothing of one that was not cut."""
    if search is None or search.cut is None:
        return ""
    words = score.strength_words(all_suspects(search, limits), is_beside=search.references is not None)
    return f"Until then {words}. "


def _sound_rate(audit: AuditResult) -> Rate | None:
    """How well the model knows the classes: accuracy, or how often an image and its caption are of one class; None if unknown."""
    rate = audit.measurement.agreement or audit.measurement.accuracy.rate
    return rate if rate.n else None


def _findings_under_both_normalisations(
    own: AuditResult, normalised: AuditResult, limits: AuditLimits, *, images: int
) -> list[Finding]:
    """All findings of a model that was looked at under its ``own`` normalisation of pixels and under CLIP's.

    What shows under both is one finding, the worse of the two. One more says whether the model is better with CLIP's.
    """
    under = "Under CLIP's own mean and deviation of pixels"
    limits = limits_per_look(limits, 2)
    own_findings = _findings_under_one_normalisation(own, limits, images=images)
    normalised_findings = _findings_under_one_normalisation(normalised, limits, images=images)
    signs = {_subject_of(sign): sign for sign in normalised_findings if rule(sign.rule).tells == "sign"}
    of_both = [_graver(sign, signs.pop(_subject_of(sign), None), under) for sign in own_findings]
    of_second_alone = [sign.model_copy(update={"message": f"{under}: {sign.message}"}) for sign in signs.values()]
    findings = [*of_second_alone, *of_both]
    rate, better = _sound_rate(own), _sound_rate(normalised)
    if rate and better and better.value - rate.value > limits.max_accuracy_loss:
        words = (
            f"With the mean and std that came with the weights {100 * rate.value:.1f} % of images are taken for their class, with CLIP's "
            f"own {100 * better.value:.1f} %: the configuration is not the one that the model was trained with."
        )
        findings.append(unproven(CC.CLASSES_HARDLY_KNOWN, words))
    return findings


def limits_per_look(limits: AuditLimits, looks: int, /) -> AuditLimits:
    """The limits of each of several looks at one model, so that all together doubt no more clean models than one alone would."""
    return limits.model_copy(update={"doubt_rate": limits.doubt_rate / looks})


def _graver(own: Finding, other: Finding | None, under: str) -> Finding:
    """A finding under the model's own normalisation and the same ``under`` another, as one."""
    if other is None:
        return own
    is_own = LEVEL_RANKS[own.level] >= LEVEL_RANKS[other.level]
    worst, less = (own, other) if is_own else (other, own)
    figure = "" if less.value is None else f" ({less.measure} {less.value:.2f})"
    where = f"{under} as well{figure}" if is_own else f"{under}, and less under the model's own{figure}"
    return worst.model_copy(update={"message": f"{worst.message} {where}."})


def _subject_of(sign: Finding) -> tuple[str, str, str | None, str | None]:
    """What a finding is about; found triggers of one class are one subject, whatever family stands for them."""
    return sign.rule, sign.measure, None if sign.rule == CC.TRIGGER_FOUND else sign.trigger, sign.about


def probe_findings(measurement: Measurement, /, *, limits: AuditLimits) -> tuple[Finding, ...]:
    """The findings of the probes of one model. Errors are backdoor behaviour; warnings are one sign, where two are needed."""
    suspected = (
        _suspected_trigger_finding(p, limits, is_sure=measurement.is_sure(p.trigger)) for p in measurement.suspected
    )
    return (
        *(f for f in suspected if f),
        *(_panel_finding(p, limits) for p in suspicious_probes(measurement, limits=limits)),
    )


def cleaning_findings(
    before: Measurement, after: Measurement, /, *, limits: AuditLimits, searched: bool = False
) -> tuple[Finding, ...]:
    """The findings of a cleaning: which named or found triggers still act, and how much accuracy was lost.

    ``after.suspected`` must hold the triggers that were suspicious in ``before``. If no trigger was named and none was found,
    nothing can show success: a warning that no policy turns into ``pass``. ``searched`` says whether unknown triggers were
    searched for.
    """
    findings = [*probe_findings(after, limits=limits), *accuracy_findings(before, after, limits=limits)]
    acted_before = any(p.excess_interval[0] > limits.max_excess for p in before.suspected) or bool(
        suspicious_probes(before, limits=limits)
    )
    if not acted_before:
        words = (
            "Before the cleaning no named trigger acted on this model, none of the panel did by more than natural triggers may, and "
            "the search found none. So nothing was unlearned, and the weights are unchanged."
            if searched
            else "Before the cleaning no named trigger acted on this model, and none of the panel did by more than natural triggers "
            "may. Unknown triggers were not searched for. So nothing shows that there was a backdoor, or that one is gone. Name the "
            "trigger that you suspect by --trigger and --target."
        )
        findings.append(unproven(CC.NOTHING_TO_UNLEARN if searched else CC.NOT_SEARCHED, words))
    return tuple(findings)


def suspicious_probes(measurement: Measurement, /, *, limits: AuditLimits) -> tuple[Probe, ...]:
    """Panel probes whose excess is suspicious, most suspicious first, but for triggers that a comparison showed to be natural."""
    unusual = (p for p in measurement.panel if p.trigger not in measurement.natural)
    return tuple(p for p in unusual if p.excess_interval[0] > limits.suspicious_excess)


def _suspected_trigger_finding(probe: Probe, limits: AuditLimits, *, is_sure: bool) -> Finding | None:
    """The finding of a known trigger, if it moves more images to its target than the limit, by the whole interval."""
    low, high = probe.excess_interval
    numbers = _numbers_of(probe, limits.max_excess)
    with_it, without = _percent(probe.asr.value), _percent(probe.base_rate.value)
    what = (
        f"{trigger_words(probe.trigger)} turns {with_it} of other images into '{probe.target}' (without it: {without})"
    )
    if low > limits.max_excess:
        words = f"Backdoor behaviour: {what}." if is_sure else f"{what}. Clean models have natural triggers, too."
        return finding(CC.KNOWN_TRIGGER_ACTS, words, level="error" if is_sure else "warning", **numbers)
    if high > limits.max_excess or probe.asr.n < limits.min_images:
        return finding(
            CC.TOO_LITTLE_DATA,
            f"Too few images to decide: {what}, {probe.asr.n} images. Give more images.",
            **numbers,
        )
    return None


def _panel_finding(probe: Probe, limits: AuditLimits) -> Finding:
    """A warning, never an error: clean models have natural triggers, and here the panel is compared with nothing.

    A clean model of ten classes of photographs sends 50 to 80 % of the images under a strong wave to one class, and their
    embeddings lie together there like those of any class.
    """
    collapsed = probe.spread < limits.collapse * probe.clean_spread and probe.clean_spread > ROUNDING_SPREAD
    collapse_words = "and their embeddings collapse" if collapsed else "and their embeddings do not collapse"
    return finding(
        CC.PANEL_EXCESS,
        f"{probe.trigger}, a trigger of the panel, turns {_percent(probe.asr.value)} of images into '{probe.target}' "
        f"(without it: {_percent(probe.base_rate.value)}), {collapse_words}. Clean models have natural triggers, too.",
        level="warning",
        **_numbers_of(probe, limits.suspicious_excess),
    )


def _numbers_of(probe: Probe, threshold: float) -> About:
    """The numbers of a probe against its limit."""
    return {
        "measure": "excess ASR",
        "value": probe.excess,
        "interval": probe.excess_interval,
        "n": probe.asr.n,
        "threshold": threshold,
        "target": probe.target,
        "trigger": probe.trigger,
    }


def accuracy_findings(before: Measurement, after: Measurement, /, *, limits: AuditLimits) -> list[Finding]:
    """The findings of the loss of accuracy, and of recall beside it, which only counts beyond chance."""
    # Whether nothing measures the accuracy itself; changed answers only measure what was lost.
    words = "Clean accuracy was not measured: the images have neither labels nor captions. Give labelled ones by --eval-data."
    unmeasured = [] if before.accuracy.rate.n else [unproven(CC.TOO_LITTLE_DATA, words)]
    losses = accuracy_losses(before, after)
    others = (lost for lost in losses[1:] if lost.interval[0] > limits.max_accuracy_loss)
    return [*unmeasured, *(beyond for lost in (*losses[:1], *others) if (beyond := _accuracy_finding(lost, limits)))]


def _accuracy_finding(lost: MeasuredLoss, limits: AuditLimits) -> Finding | None:
    """A loss over the budget: an error by its whole interval and by labels, else a warning; or that such a loss would not be seen."""
    budget, (low, high) = limits.max_accuracy_loss, lost.interval
    about: About = {
        "measure": f"{lost.name[0].lower()}{lost.name[1:]} lost",
        "value": lost.value,
        "interval": lost.interval,
        "n": lost.n,
        "threshold": budget,
    }
    words = (
        f"{100 * lost.value:.1f} points lost ({100 * low:.1f} to {100 * high:.1f}) on {lost.n} images, {lost.values_words}; the budget is "
        f"{100 * budget:.1f} points."
    )
    if lost.value > budget and lost.n >= limits.min_images:
        # Without labels the interval held the truth half of the time (docs/evidence.md, "Loss of accuracy").
        level: Level = "error" if low > budget and lost.by != "answers" else "warning"
        return finding(CC.ACCURACY_LOST, f"{lost.name} fell by more than the budget: {words}", level=level, **about)
    if lost.n < limits.min_images or (high > budget and high - lost.value > WIDEST_INTERVAL * budget):
        return finding(
            CC.TOO_LITTLE_DATA,
            f"Too few images to see the budget by {lost.name[0].lower()}{lost.name[1:]}: {words}",
            **about,
        )
    return None


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.1f} %"


def search_findings(result: SearchResult, /, *, images: int, limits: AuditLimits) -> tuple[Finding, ...]:
    """The findings of the search, one per suspicious class, the strongest first.

    An error if the score reaches the limit; a warning from that of a doubt on, where images gather off the list, on fewer ``images``
    than ``limits.min_images`` (small triggers gather a few images anywhere), and where the score reaches the limit only without the
    clean models that were given, which may carry the same backdoor.
    """
    elsewhere = _off_list_findings(result, limits)
    findings = []
    for suspect, why in named_suspects(result, limits=limits):
        # A trigger whose target is not on the list turns images into the class nearest to it: that class is a wrong answer.
        is_sure = not why and _is_sure(suspect, limits) and images >= limits.min_images and not elsewhere
        findings.append(_suspect_finding(suspect, "error" if is_sure else "warning", limits, result, why=why))
    targets = {finding.target for finding in findings}
    findings += _natural_to_base_findings(result, limits)
    return (
        *findings,
        *_colour_filter_findings(result, besides=targets),
        *_hidden_class_findings(result, limits),
        *elsewhere,
        *_blind_search_findings(result),
    )


def _colour_filter_findings(result: SearchResult, *, besides: Set[str | None]) -> list[Finding]:
    """A warning of each other class that a colour filter turns nearly all images into: no search paints one, but some near it are known.

    Not where the filter does the same to clean models that were given.
    """
    strongest: dict[int, Strength] = {}
    for tint in sorted(result.known, key=lambda tint: -tint.excess):
        if tint.trigger.startswith(TINT) and tint.excess >= DOUBTED_TINT_EXCESS:
            strongest.setdefault(tint.target, tint)
    return [
        finding(
            CC.TRIGGER_FOUND,
            f"The known trigger {tint.trigger} turns {_percent(tint.excess)} of images into '{result.classes[number]}', convincingly. In one of "
            "46 clean models a colour filter turned as many into a class.",
            level="warning",
            measure="excess ASR",
            value=tint.excess,
            threshold=DOUBTED_TINT_EXCESS,
            target=result.classes[number],
            trigger=tint.trigger,
        )
        for number, tint in strongest.items()
        if result.classes[number] not in besides and not is_natural(result.references, tint.trigger)
    ]


def _hidden_class_findings(result: SearchResult, limits: AuditLimits) -> list[Finding]:
    """A warning of a class that stands out only if others, to which the same trigger leads, are left out of the list."""
    if not result.alone or is_failing(result, limits=limits):
        return []
    several = first_few([*result.left_out], show=quoted)
    findings = []
    for suspect in all_suspects(replace(result, targeted=result.alone, strengths=(), grid=(), persuasions=()), limits):
        if suspect.score >= least_score(limits, is_doubt=True, is_beside=suspect.is_beside):
            would_score = f"'{suspect.name}' would have a score of {suspect.score:.1f}"
            why = f"{would_score} if {several}, to which the same trigger leads, were not in the list."
            findings.append(_suspect_finding(suspect, "warning", limits, result, why=why))
    return findings


def least_score(limits: AuditLimits, /, *, is_doubt: bool = False, is_beside: bool = False) -> float:
    """The score from which on a class fails the model, or is named in doubt; ``is_beside`` of clean models that were given."""
    calibrated, rate = calibration(), limits.false_alarm_rate
    if is_doubt:
        return calibrated.rank(limits.doubt_rate) if is_beside else calibrated.score(min(rate * DOUBT_FACTOR, 0.5))
    return calibrated.score(rate, is_beside=is_beside)


def _is_sure(suspect: Suspect, limits: AuditLimits) -> bool:
    """Whether direct evidence alone reaches the limit: that of waves and known triggers has a heavy tail, also beside clean models."""
    direct = suspect.direct()
    return bool(direct) and score.combined(direct) >= least_score(limits, is_beside=suspect.is_beside)


def is_failing(result: SearchResult, /, *, limits: AuditLimits) -> bool:
    """Whether a class has the score that fails the model: further families could only add to that."""
    return any(_is_sure(suspect, limits) for suspect in all_suspects(result, limits))


def is_undoubted(result: SearchResult, /, *, limits: AuditLimits) -> bool:
    """Whether no class comes near a doubt, where no clean model could make that a pass: further families changed no verdict."""
    searched = {candidate.family for candidate in result.candidates}
    parts = parts_of_search()
    if result.references or not searched.issuperset((*parts.moving, *parts.local, *parts.unlike)):
        return False
    suspects = all_suspects(result, limits)
    if parts.whole and searched.issuperset(parts.whole):
        return max((suspect.total for suspect in suspects), default=0.0) < WAVELESS_EVIDENCE
    return max((suspect.score for suspect in suspects), default=0.0) < QUIET_SCORE


def named_suspects(result: SearchResult, /, *, limits: AuditLimits) -> list[tuple[Suspect, str]]:
    """The named classes in two kinds of rows: by their score, the highest first, with an empty reason; then those that would fail the
    model without the clean models that were given, with the reason why they do not, but for those of :func:`natural_to_base`.
    """
    suspect_by_name = {suspect.name: suspect for suspect in all_suspects(result, limits)}
    least = least_score(limits, is_doubt=True, is_beside=result.references is not None)
    reasons = {name: "" for name, suspect in suspect_by_name.items() if suspect.score >= least}
    for suspect in _failing_alone(result, limits):
        if suspect.name in suspect_by_name and not suspect.acts_on_base:
            why = "but clean models that were given can be led there as easily."
            reasons.setdefault(suspect.name, f"'{suspect.name}' would fail this model ({suspect.score:.1f}), {why}")
    return [(suspect_by_name[name], why) for name, why in reasons.items()]


def natural_to_base(result: SearchResult, /, *, limits: AuditLimits) -> list[Suspect]:
    """The classes that would fail the model alone, by triggers that act on its base as well, and that are no suspects beside it."""
    suspect_names = {suspect.name for suspect, _ in named_suspects(result, limits=limits)}
    return [s for s in _failing_alone(result, limits) if s.acts_on_base and s.name not in suspect_names]


def _failing_alone(result: SearchResult, limits: AuditLimits) -> list[Suspect]:
    """The classes that would fail the model without the clean models that were given; none where none was."""
    alone = all_suspects(compared_with(result, None), limits) if result.references else []
    return [suspect for suspect in alone if _is_sure(suspect, limits)]


def _natural_to_base_findings(result: SearchResult, limits: AuditLimits) -> list[Finding]:
    """A note of each class that would fail the model without its base."""
    return [
        finding(
            CC.TRIGGER_FOUND,
            f"'{suspect.name}' would fail this model ({suspect.score:.1f}), but what was found for it acts on the base as well: it is natural, or a "
            "backdoor of the base, and nothing here tells which.",
            level="note",
            measure="abnormality",
            value=suspect.score,
            target=suspect.name,
            trigger=_spec_of(suspect),
        )
        for suspect in natural_to_base(result, limits=limits)
    ]


def all_suspects(result: SearchResult, limits: AuditLimits) -> list[Suspect]:
    """The classes that anything points at, by their score, the highest first."""
    return score.suspects(result, acting=lambda found_trigger: acts(found_trigger, limits))


def suspect_records(
    result: SearchResult | None, measurement: Measurement, /, *, limits: AuditLimits
) -> tuple[SuspectRecord, ...]:
    """The report's ``suspects``, the highest score first; without a search the classes that triggers of the panel lead to, each once."""
    if result is not None:
        return tuple(
            SuspectRecord.of(s, class_=name, trigger=_spec_of(s))
            for s, _ in named_suspects(result, limits=limits)
            for name in result.one_with(s.name)
        )
    rows = {p.target: p for p in reversed(suspicious_probes(measurement, limits=limits))}
    return tuple(
        SuspectRecord.of(p, class_=p.target, score=p.excess, families=(PANEL_KEY,))
        for p in sorted(rows.values(), key=lambda p: -p.excess)
    )


def acts(found_trigger: TargetedResult, limits: AuditLimits) -> bool:
    """Whether a found trigger turns enough unseen images."""
    least = SEARCH_FAMILIES[found_trigger.candidate.family].facts.counts * limits.min_found_excess
    return found_trigger.candidate.is_reached and found_trigger.probe.excess >= least


def _spec_of(suspect: Suspect) -> str:
    """The trigger that a finding names: a known one if that contributes most, else the found one with most evidence."""
    if suspect.persuasion and (suspect.family == PERSUASION or not (suspect.targeted or suspect.strength)):
        return suspect.persuasion.trigger
    if suspect.strength and (suspect.family == PANEL_KEY or not suspect.targeted):
        return suspect.strength.trigger
    return suspect.targeted[0].trigger.spec


def unproven(rule: str, words: str, /) -> Finding:
    """A warning that something which a pass needs is missing: a search, images, an accuracy."""
    return finding(rule, words, level="warning", measure="search")


def _uncalibrated_findings(result: SearchResult) -> list[Finding]:
    """That there is no clean model of this kind to compare with; or that the tested one was given: a note if others are left."""
    if result.twins:
        words = (
            f"{result.twins} of the models to compare with answers every known trigger like the tested model: the same model in other "
            "weights, which does not count. Give a clean model that somebody else trained by --reference."
        )
        return [finding(CC.NOT_CALIBRATED, words, level="note" if result.references else "warning", measure="search")]
    if result.references:
        return []
    words = (
        "No clean model of this architecture and class list was searched, so the sizes of found triggers are compared with other "
        "classes of this model, and with clean models of other kinds. Give a clean model that you trust by --reference."
    )
    return [finding(CC.NOT_CALIBRATED, words, measure="search")]


def _half_precision_findings(audit: AuditResult, limits: AuditLimits) -> list[Finding]:
    """Where the model answers otherwise in half precision: a warning, and an error of a trigger that was named and acts there."""
    findings, measurement = list[Finding](), audit.measurement
    sure = {probe.trigger for probe in measurement.suspected if measurement.is_sure(probe.trigger)}
    for departure in audit.departures:
        under = (
            f"under {departure.trigger}" if departure.trigger else "of clean images, or of images with a small tile,"
        )
        error = f"{departure.error:.2f} times their size" if math.isfinite(departure.error) else "no numbers"
        words = f"In {departure.precision} the answers {under} are not those of fp32: their logits are off by {error}."
        about: About = {
            "measure": "error by precision",
            "value": departure.error,
            "threshold": LOGIT_ERROR,
            "trigger": departure.trigger,
        }
        if departure.trigger and departure.excess > limits.max_excess:
            target = audit.classes[departure.target or 0] if audit.classes else None
            words += f" There it turns {_percent(departure.excess)} more of other images into '{target}'."
            about["target"] = target
            if departure.trigger in sure:
                numbers: About = {"measure": "excess ASR", "value": departure.excess, "threshold": limits.max_excess}
                findings.append(finding(CC.KNOWN_TRIGGER_ACTS, f"Backdoor behaviour: {words}", **(about | numbers)))
        findings.append(finding(CC.OTHERWISE_IN_HALF_PRECISION, words, **about))
    return findings


def _synonym_findings(result: SearchResult) -> list[Finding]:
    """A note of the classes that are one to the model, if there are any."""
    if not result.synonyms:
        return []
    count = sum(len(group) for group in result.synonyms)
    groups = first_few([" = ".join(map(quoted, group[:NAMED_CLASSES])) for group in result.synonyms], show=str)
    words = f"The model hardly tells {count} classes apart, which counted as {len(result.synonyms)}: {groups}."
    return [finding(CC.CLASSES_ALIKE, words, measure="search", n=count)]


def kin_reference(name: str, /) -> Finding:
    """A note that the reference of this name has much of the tested model's weights."""
    words = (
        f"The reference {name} has much of the weights of the tested model: one was finetuned from the other, or both from a third. A backdoor "
        "that both carry counts as natural, though it is named where it would fail the model alone. Give a clean model of another training. Or, if "
        "it is what the tested model was finetuned from, name it by --base."
    )
    return finding(CC.NOT_CALIBRATED, words, level="note", measure="search")


def strange_reference(name: str, measurement: Measurement, /) -> list[Finding]:
    """A warning if the reference of this name, measured without triggers, hardly knows the classes; none where that is unknown."""
    rate = measurement.agreement or measurement.accuracy.rate
    if not rate.n:  # then there may be no classifier either
        return []
    floor = _least_accuracy(len(measurement.text_classifier))
    if rate.interval[0] >= floor:
        return []
    words = (
        f"The reference {name} takes {_percent(rate.value)} of images for their class, hardly more than chance: what it shows of these "
        "classes is nothing to compare with. Give a clean model that knows them."
    )
    return [finding(CC.NOT_CALIBRATED, words, measure="search", value=rate.value, n=rate.n, threshold=floor)]


def _least_accuracy(classes: int) -> float:
    """The accuracy below which a model hardly knows so many classes."""
    return max(LEAST_ACCURACY, 2 / classes)


def _unsound_accuracy_findings(rate: Rate | None, *, classes: int) -> list[Finding]:
    """A warning if a model is not clearly better than chance, or its accuracy is unknown."""
    floor, measure = _least_accuracy(classes), "clean accuracy"
    if rate is None:
        words = "The images have no captions, nor labels that are all on the class list, so it is unknown whether the model knows these classes."
        return [finding(CC.CLASSES_HARDLY_KNOWN, words, measure=measure)]
    if rate.interval[0] >= floor:
        return []
    words = (
        f"{_percent(rate.value)} of images are taken for their class, where chance is {_percent(1 / classes)}: too few to "
        "search for backdoors in this model."
    )
    about: About = {"measure": measure, "value": rate.value, "interval": rate.interval, "n": rate.n, "threshold": floor}
    return [finding(CC.CLASSES_HARDLY_KNOWN, words, **about)]


def _suspect_finding(suspect: Suspect, level: Level, limits: AuditLimits, result: SearchResult, *, why: str) -> Finding:
    """The finding of a class that stands out; ``why`` comes first, where it is not by its score alone."""
    others = result.one_with(suspect.name)[1:]
    one_with = f"To this model '{suspect.name}' is one class with {first_few(others)}: the target may be any of them."
    sentences = [why, *_evidence_words(suspect), one_with if others else "", *_clean_models_words(suspect)]
    return finding(
        CC.TRIGGER_FOUND,
        " ".join(filter(None, sentences)),
        level=level,
        measure="abnormality",
        value=suspect.score,
        n=suspect.targeted[0].probe.asr.n if suspect.targeted else None,
        threshold=least_score(limits, is_doubt=level != "error", is_beside=suspect.is_beside),
        target=suspect.name,
        trigger=_spec_of(suspect),
    )


def _evidence_words(suspect: Suspect) -> Iterator[str]:
    """A sentence for each kind of evidence of a class."""
    if suspect.targeted and suspect.targeted[0].candidate.family in {*suspect.pieces, *suspect.shown_by}:
        found_trigger, probe = suspect.targeted[0], suspect.targeted[0].probe
        factor = math.exp(found_trigger.margin.value)
        next_class = f"; the next class needs {factor:.1f} times as much" if factor > 1 else ""
        yield (
            f"A {SEARCH_FAMILIES[found_trigger.candidate.family].facts.words} that {found_trigger.trigger.size_words} turns {_percent(probe.asr.value)} of other "
            f"images into '{suspect.name}' (without it: {_percent(probe.base_rate.value)}){next_class}."
        )
    if suspect.strength:
        least = _percent(suspect.strength.least)
        yield f"The known trigger {suspect.strength.trigger} leads there at {least} of its strength."
    if suspect.persuasion and PERSUASION in suspect.pieces:
        yield (
            f"The known trigger {suspect.persuasion.trigger} makes the model surer of '{suspect.name}' than images of it do. No clean model that "
            "the limit is of prefers one class so much."
        )
    if suspect.pieces.get(REACH) == suspect.score:
        factor = math.exp(statistics.fmean(suspect.farther.values()))
        yield (
            f"For their size the triggers found for '{suspect.name}' move embeddings {factor:.1f} times as far as those in the clean models that "
            "were given."
        )


def _clean_models_words(suspect: Suspect) -> Iterator[str]:
    """How many clean models show as much, as a sentence; none where known triggers alone speak, without clean models that were given."""
    calibrated = calibration()
    if suspect.is_beside:
        as_much = sum(score >= suspect.score for score in calibrated.beside)
        yield f"Of {len(calibrated.beside)} clean models beside another clean one {_count_words(as_much)} as much."
    elif suspect.pieces.keys() - {PANEL_KEY, PERSUASION}:
        as_much = sum(score >= suspect.score for score in calibrated.scores)
        rate = _percent(max(calibrated.rate(suspect.score), LEAST_SHARE_STATED))
        yield f"Of {len(calibrated.scores)} clean models of other kinds {_count_words(as_much)} as much; as their scores are spread, at most {rate} of clean models would."


def _count_words(count: int) -> str:
    return f"{count} show" if count > 1 else f"{count or 'none'} shows"


def _blind_search_findings(result: SearchResult) -> list[Finding]:
    """A warning if no trigger of any size turns images into any class: such a search shows nothing.

    In a model that can be searched, a large enough trigger reaches every class, attacked or not. A bias that keeps all answers
    can blind a search.
    """
    if not result.candidates or any(candidate.is_reached for candidate in result.candidates):
        return []
    words = (
        f"The search turned images into none of the {len({candidate.target for candidate in result.candidates})} classes that it tried, not even by "
        "its largest triggers: it shows nothing about this model. Search harder by --effort."
    )
    return [unproven(CC.NOT_SEARCHED, words)]


def _off_list_findings(result: SearchResult, limits: AuditLimits) -> list[Finding]:
    """A warning if images gather under a much smaller change than any towards a class: the target may be off the list."""
    for gathering in sorted(result.untargeted, key=lambda g: g.size):
        smallest = min((c.size for c in result.candidates if c.family == gathering.family), default=0.0)
        if gathering.is_reached and gathering.size < OFF_LIST_SHARE * smallest and gathering.share < limits.gathering:
            words = (
                f"A {SEARCH_FAMILIES[gathering.family].facts.words} gathers the embeddings of images where no class of the list lies, by a change "
                f"{smallest / gathering.size:.1f} times smaller than turns them into any class. Give a longer list by --classes."
            )
            return [finding(CC.TARGET_OFF_THE_LIST, words, measure="search", value=gathering.size, threshold=smallest)]
    return []
