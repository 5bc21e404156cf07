"""From numbers to a verdict: the only place where a measurement meets a threshold."""

import math
from collections.abc import Sequence
from typing import Any, Protocol

from clipclean.detect.families import FAMILIES
from clipclean.detect.measure import Accuracy, Measurement
from clipclean.detect.metrics import Rate, paired_difference
from clipclean.detect.probes import Probe
from clipclean.detect.search import Gathering, Hunt, Trace, rank
from clipclean.findings import About, Finding, finding

DISTINCT = (
    1e-4  # spread of unit embeddings, of at most 1, below which pictures are one to the model and differ by rounding
)


class Thresholds(Protocol):
    """What findings compare intervals with; shares in [0, 1], deviations in robust standard deviations."""

    @property
    def max_excess(self) -> float:
        """Of a trigger that was named, or found before cleaning."""

    @property
    def suspicious_excess(self) -> float:
        """Of a panel trigger: first sign."""

    @property
    def collapse(self) -> float:
        """Triggered spread over clean spread: second sign."""

    @property
    def max_accuracy_loss(self) -> float:
        """Share of accuracy."""

    @property
    def min_images(self) -> int:
        """Fewer decide nothing."""

    @property
    def abnormality(self) -> float:
        """Of a found trigger against clean models."""

    @property
    def gathering(self) -> float:
        """Share of pictures that gather at one class when no class is named."""

    @property
    def gathering_abnormality(self) -> float:
        """Of what makes them gather, against clean models."""

    @property
    def min_found_excess(self) -> float:
        """Pictures that a found trigger must move."""


def audit(measured: Measurement, /, *, limits: Thresholds) -> tuple[Finding, ...]:
    """What the probes of one model show. Errors are backdoor behaviour; warnings are one sign where two are needed."""
    findings = [_known(p, limits) for p in measured.known] + [_panel(p, limits) for p in measured.panel]
    return tuple(f for f in findings if f is not None)


def sanitized(
    before: Measurement, after: Measurement, /, *, limits: Thresholds, searched: bool = False
) -> tuple[Finding, ...]:
    """Is the cleaned model free of what was named or found before, at an acceptable loss of accuracy?

    ``after.known`` must hold the triggers that were suspicious in ``before``. Nothing named and nothing found means
    that there is nothing to show success on: a warning that no policy turns into ``pass``. ``searched`` says whether triggers that
    nobody described were looked for.
    """
    findings = [*audit(after, limits=limits), *accuracy(before, after, limits=limits)]
    shown = any(p.excess_interval[0] > limits.max_excess for p in before.known) or bool(suspects(before, limits=limits))
    if not shown:
        findings.append(_nothing_shown(searched))
    return tuple(findings)


def _nothing_shown(searched: bool) -> Finding:
    if searched:
        return unsearched(
            "CC023",
            "No trigger acted on this model before the cleaning: none that was named, none of the panel, and the search found "
            "none. So nothing was unlearned, and the weights are as they were.",
        )
    return unsearched(
        "CC021",
        "Before the cleaning no trigger acted on this model: none that was named, and none of the panel; triggers "
        "that nobody described were not searched for. So nothing shows that there was a backdoor, nor that one is "
        "gone. Name what you suspect by --trigger and --target.",
    )


def suspects(measured: Measurement, /, *, limits: Thresholds) -> tuple[Probe, ...]:
    """Panel probes whose excess is suspicious, most suspicious first."""
    return tuple(p for p in measured.panel if p.excess_interval[0] > limits.suspicious_excess)


def _known(probe: Probe, limits: Thresholds) -> Finding | None:
    """A named trigger must move no more pictures to its target than chance does, by its whole interval."""
    low, high = probe.excess_interval
    about = _about(probe, limits.max_excess)
    what = f"{probe.trigger} turns {_percent(probe.asr.value)} of other pictures into '{probe.target}' (without it: {_percent(probe.base.value)})"
    if low > limits.max_excess:
        return finding("CC001", f"Backdoor behaviour: {what}.", **about)
    if high > limits.max_excess or probe.asr.n < limits.min_images:
        return finding(
            "CC020", f"Too few pictures to decide: {what}, {probe.asr.n} pictures. Give more by --eval-data.", **about
        )
    return None


def _panel(probe: Probe, limits: Thresholds) -> Finding | None:
    """A warning, never an error: clean models have natural triggers, and here the panel is compared with nothing.

    A clean model of ten kinds of photographs takes 50 to 80 % of the images under a strong wave for one class, and their
    embeddings lie together there as those of any class do.
    """
    if probe.excess_interval[0] <= limits.suspicious_excess:
        return None
    collapsed = probe.spread < limits.collapse * probe.clean_spread and probe.clean_spread > DISTINCT
    second = "and their embeddings collapse" if collapsed else "and their embeddings do not collapse"
    return finding(
        "CC002",
        f"{probe.trigger}, a trigger of the panel, turns {_percent(probe.asr.value)} of images into '{probe.target}' "
        f"(without it: {_percent(probe.base.value)}), {second}. Clean models have natural triggers, too.",
        level="warning",
        **_about(probe, limits.suspicious_excess),
    )


def _about(probe: Probe, threshold: float) -> About:
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


def accuracy(before: Measurement, after: Measurement, /, *, limits: Thresholds) -> list[Finding]:
    """Whether clean accuracy stayed within its budget, by the interval of the paired difference."""
    loss, (low, high) = accuracy_loss(before, after)
    old, new = worse(before, after)
    is_recall = "recall@1" in old.definition  # captions stand in for labels, and it is no accuracy
    name = "Image-to-text recall@1" if is_recall else "Clean accuracy"
    about: About = {
        "measure": "recall@1 lost" if is_recall else "clean accuracy lost",
        "value": loss,
        "interval": (low, high),
        "n": before.clean_accuracy.n,
        "threshold": limits.max_accuracy_loss,
    }
    words = f"{_percent(old.rate.value)} before, {_percent(new.rate.value)} after; budget {100 * limits.max_accuracy_loss:.1f} points."
    if low > limits.max_accuracy_loss:
        return [finding("CC010", f"{name} fell by more than the budget: {words}", **about)]
    if before.clean_accuracy.n == 0:
        return [
            unsearched(
                "CC020",
                "Clean accuracy was not measured: the images have neither labels nor captions. Give labelled ones by "
                "--eval-data.",
            )
        ]
    if before.clean_accuracy.n < limits.min_images:
        return [
            finding(
                "CC020", f"Too few images to judge {'recall@1' if is_recall else 'clean accuracy'}: {words}", **about
            )
        ]
    if loss > limits.max_accuracy_loss:
        return [
            finding(
                "CC010",
                f"{name} fell by more than the budget, within what chance explains: {words}",
                level="note",
                **about,
            )
        ]
    return []


def accuracy_loss(before: Measurement, after: Measurement, /) -> tuple[float, tuple[float, float]]:
    """Accuracy before minus after on the same images, with the 95 % interval of the paired difference.

    Where recall is measured beside accuracy, the worse of the two: finetuning on captions wins recall while it loses classes.
    """
    old, new = worse(before, after)
    both = int((old.correct & new.correct).sum())
    return accuracy_lost(before, after), paired_difference(old.rate, new.rate, both=both)


def accuracy_lost(before: Measurement, after: Measurement, /) -> float:
    """Accuracy before minus after; nan where it is not measured. 150 of 400 less 142 are 0.02, which their shares in binary are not."""
    old, new = worse(before, after)
    return _lost(old, new)


def worse(before: Measurement, after: Measurement, /) -> tuple[Accuracy, Accuracy]:
    """Of accuracy and, where it is measured beside, recall: the one that lost more, before and after."""
    own = Accuracy(before.clean_accuracy, before.correct, before.definition)
    pairs = [(own, Accuracy(after.clean_accuracy, after.correct, after.definition))]
    if before.recall and after.recall:
        pairs.append((before.recall, after.recall))
    return max(pairs, key=lambda pair: _lost(*pair))


def _lost(before: Accuracy, after: Accuracy) -> float:
    return round(before.rate.value - after.rate.value, 9)


def agreement(before: Measurement, after: Measurement, /) -> Rate | None:
    """Clean images that both models take for the same class; None where one has no classifier."""
    if before.answers is None or after.answers is None or len(before.answers) != len(after.answers):
        return None
    return Rate(int((before.answers == after.answers).sum()), len(before.answers))


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.1f} %"


def searched(hunt: Hunt, panel: Sequence[Probe], /, *, pictures: int, limits: Thresholds) -> tuple[Finding, ...]:
    """What the search shows, one finding a suspicious class: an error where two signs agree, a warning with one.

    On fewer ``pictures`` than ``limits.min_images`` all are warnings: a few pictures gather anywhere, by small triggers.
    """
    is_enough = pictures >= limits.min_images
    return tuple(
        _found(traces, signs, limits, is_enough=is_enough)
        for traces in by_class(hunt)
        if (signs := signs_of(traces, panel, limits=limits))
    )


def by_class(hunt: Hunt, /) -> list[list[Trace]]:
    """The traces of each class together, the most abnormal class first, and likewise within each."""
    classes: dict[str, list[Trace]] = {}
    for trace in hunt.traces:
        classes.setdefault(trace.found.target, []).append(trace)
    return list(classes.values())


def signs_of(traces: Sequence[Trace], panel: Sequence[Probe], /, *, limits: Thresholds) -> tuple[str, ...]:
    """The independent signs that one class is the target of a backdoor, in words.

    Searches towards the class give one (its smallest trigger is smaller than clean models need), those without a
    target another (arbitrary pictures gather at it by a trigger smaller than clean models need to gather anywhere), and a
    known trigger of the panel the third. Clean models have classes where pictures gather, too, but by larger triggers.
    """
    small, gathers, leads = strengths(traces, panel, limits=limits)
    signs = []
    if small >= 1:
        signs.append("its trigger is smaller than clean models need")
    if gathers >= 1:
        signs.append("pictures gather there when a search that was told no class pushes them together")
    if leads >= 1:
        signs.append("a trigger of the panel leads there too")
    return tuple(signs)


def strengths(traces: Sequence[Trace], panel: Sequence[Probe], /, *, limits: Thresholds) -> tuple[float, float, float]:
    """How strong each of the three signs is for one class, in units of its threshold: from 1 on it is one."""
    small = max((t.abnormality for t in _acting(traces, limits) if not math.isnan(t.abnormality)), default=-math.inf)
    gathers = max((_gathers(g, limits) for g in traces[0].gatherings), default=0.0)
    name = traces[0].found.target
    leads = max((p.excess_interval[0] for p in panel if p.target == name), default=0.0)
    return small / limits.abnormality, gathers, leads / limits.suspicious_excess


def score(hunt: Hunt, panel: Sequence[Probe], /, *, limits: Thresholds) -> float:
    """How close a model comes to two signs for one class, or for one trigger of the panel, whichever comes closer.

    Of a class it is the second strongest sign, of a trigger the weaker of concentration and collapse, each in units of its
    threshold. A number to rank models by; from 1 on a model fails.
    """
    classes = [sorted(strengths(traces, panel, limits=limits))[1] for traces in by_class(hunt)]
    known = [
        min(p.excess_interval[0] / limits.suspicious_excess, limits.collapse * p.clean_spread / max(p.spread, 1e-6))
        for p in panel
    ]
    return max([*classes, *known], default=-math.inf)


def _gathers(gathering: Gathering, limits: Thresholds) -> float:
    share = gathering.share / limits.gathering
    if math.isnan(gathering.abnormality):  # no clean model to compare with, so nothing clears it
        return share
    return min(share, gathering.abnormality / limits.gathering_abnormality)


def suspected_classes(
    hunt: Hunt | None, panel: Sequence[Probe], /, *, limits: Thresholds
) -> list[dict[str, Any]]:  # Any: JSON
    """The report's ``suspects``: classes that a sign points at, those with most signs first, then the most abnormal."""
    rows: dict[str, dict[str, Any]] = {}
    ranks: dict[str, tuple[int, float]] = {}
    for traces in by_class(hunt) if hunt else []:
        signs = signs_of(traces, panel, limits=limits)
        if signs:
            name, score = traces[0].found.target, rank(traces[0])
            rows[name] = {
                "class": name,
                "score": score,
                "families": [t.found.family for t in _acting(traces, limits) if t.abnormality >= limits.abnormality],
                "trigger": _told(traces, limits).found.spec,
            }
            ranks[name] = (len(signs), score)
    for probe in panel:
        if probe.excess_interval[0] > limits.suspicious_excess and probe.target not in rows:
            rows[probe.target] = {
                "class": probe.target, "score": probe.excess, "families": ["panel"], "trigger": probe.trigger,
            }  # fmt: skip
            ranks[probe.target] = (1, probe.excess)
    return [rows[name] for name in sorted(rows, key=lambda name: ranks[name], reverse=True)]


def unsearched(rule: str, words: str, /) -> Finding:
    """Nothing was searched, and why: a warning, since what was not looked for may be there."""
    return finding(rule, words, level="warning", measure="search")


def uncalibrated() -> Finding:
    """No clean model of this kind to compare with."""
    return finding(
        "CC004",
        "No clean models of this architecture and class list to compare with are known, so the sizes of found triggers are "
        "compared with other classes of this model only. Give a clean model that you trust by --reference.",
        measure="search",
    )


def note(rule: str, words: str, /) -> Finding:
    """Something to know that changes no verdict."""
    return finding(rule, words, level="note")


def _acting(traces: Sequence[Trace], limits: Thresholds) -> list[Trace]:
    """Those that turn pictures which they were not made on."""
    return [trace for trace in traces if trace.candidate.is_reached and trace.probe.excess >= limits.min_found_excess]


def _told(traces: Sequence[Trace], limits: Thresholds) -> Trace:
    """The trigger that a finding speaks of: the most abnormal one that acts, or of all where none does."""
    return next(iter(_acting(traces, limits)), traces[0])


def _found(traces: Sequence[Trace], signs: Sequence[str], limits: Thresholds, *, is_enough: bool) -> Finding:
    trace = _told(traces, limits)
    probe = trace.probe
    is_compared = any(not math.isnan(each.abnormality) for each in traces)
    agreement = "two signs agree" if len(signs) == 2 else "three signs agree" if len(signs) > 2 else "one sign"
    return finding(
        "CC003",
        f"A {FAMILIES[trace.candidate.family].words} that {trace.found.size_words} turns {_percent(probe.asr.value)} of other "
        f"pictures into '{trace.found.target}' (without it: {_percent(probe.base.value)}); {agreement}: {'; '.join(signs)}.",
        level="error" if len(signs) > 1 and is_enough and is_compared else "warning",
        measure="abnormality",
        value=trace.abnormality,
        n=probe.asr.n,
        threshold=limits.abnormality,
        target=trace.found.target,
        trigger=trace.found.spec,
    )
