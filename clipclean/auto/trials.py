"""A copy of the model with test backdoors, what a trial of a candidate on it shows, and what a benign finetuning brings back.

The refinetune test asks whether a short benign finetuning of the cleaned model brings a removed backdoor back: it may be hidden rather
than removed. After an unlearning alone a planted patch acted on 0.000 of the images, and on 0.840 after 100 clean steps (commit
a95ae354: benchmarks/results/notebook.md, "What a finetuning after unlearning brings back").
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from clipclean import detect, model
from clipclean.attack import poison
from clipclean.attack.poison import PLANTED_EXCESS, TestBackdoor
from clipclean.config import recipe as recipes
from clipclean.config.recipe import Planting
from clipclean.config.thresholds import AuditLimits
from clipclean.detect.finetune_base import BaseComparison
from clipclean.findings import CC, Finding, finding, trigger_words
from clipclean.jobs.first_audit import FirstAudit
from clipclean.jobs.workbench import Workbench
from clipclean.methods import walk_back
from clipclean.schema.part import Interval, finite
from clipclean.schema.report import OutcomeRecord
from clipclean.train import NonFiniteLoss

DONE_NAME = "done"  # the weights after one part of a run, in its folder


@dataclass(frozen=True)
class PlantedCopy:
    """The backdoored copy of the model: its test backdoors, its weights, and what the test backdoors do there.

    ``origin`` is JSON, all that determined the weights; ``seconds`` are those of planting.
    """

    test_backdoors: tuple[TestBackdoor, ...]
    weights: dict[str, Tensor]
    planted: detect.Measurement
    origin: dict[str, Any]  # Any: JSON
    seconds: float

    @property
    def took(self) -> bool:
        """Whether any test backdoor was planted."""
        return any(took for _, took in self.with_success())

    def measured_on(self, eval_set: detect.EvalSet, /) -> detect.EvalSet:
        """The images of a run, under the test backdoors."""
        return poison.measured_on(eval_set, self.test_backdoors)

    def with_success(self) -> list[tuple[detect.Probe, bool]]:
        """The effect of each test backdoor in the copy, and whether it counts."""
        # A backdoor that the copy did not learn cannot show that a candidate removes it, so it does not count.
        return [(probe, probe.excess >= PLANTED_EXCESS) for probe in self.planted.suspected]


@dataclass(frozen=True)
class Trial:
    """The effect of one candidate on the copy."""

    candidate: str  # its name
    outcomes: tuple[OutcomeRecord, ...]  # one per test backdoor
    accuracy_lost: float  # clean accuracy before cleaning minus after, on the same images
    interval: Interval  # of that, 95 %
    share: float  # of the way from the copy's weights to the cleaned ones, in (0, 1]; 1 is the cleaned model
    seconds: float  # of cleaning
    # The cleaned copy, to compare with that of another candidate; tensors have no equality.
    measurement: detect.Measurement = field(compare=False, repr=False)

    @property
    def learned_outcomes(self) -> tuple[OutcomeRecord, ...]:
        """The test backdoors that were planted."""
        return tuple(outcome for outcome in self.outcomes if outcome.took)

    def removed(self, limits: AuditLimits, /) -> int:
        """How many of the learned test backdoors do not act above the limit, and do not return."""
        return sum(outcome.is_removed(limits.max_excess) for outcome in self.learned_outcomes)

    def removes_all(self, limits: AuditLimits, /) -> bool:
        """Whether every planted test backdoor is gone, at any cost; False if none was planted."""
        return bool(self.learned_outcomes) and self.removed(limits) == len(self.learned_outcomes)

    def passes(self, limits: AuditLimits, /) -> bool:
        """Whether every test backdoor is gone, and the loss of accuracy is within the budget, by its value; an unknown loss is."""
        return self.removes_all(limits) and not self.accuracy_lost > limits.max_accuracy_loss

    @property
    def is_refinetuned(self) -> bool:
        """Whether the test backdoors were measured after a benign finetuning of the cleaned copy."""
        return any(outcome.returned is not None for outcome in self.outcomes)


def trial_of(
    candidate: str, planted: detect.Measurement, after_cleaning: detect.Measurement, /, *, share: float, seconds: float
) -> Trial:
    """A trial from the measurements of the copy before and after cleaning, both on :func:`clipclean.attack.poison.measured_on`."""
    outcomes = tuple(
        OutcomeRecord(
            trigger=before.trigger,
            target=before.target,
            planted=finite(before.excess) or 0.0,  # of no image where all are of its class
            left=finite(after.excess) or 0.0,
            interval=after.excess_interval,
            accuracy=finite(after.accuracy_under_trigger.value) if after.accuracy_under_trigger else None,
            n=after.asr.n,
            took=before.excess >= PLANTED_EXCESS,
        )
        for before, after in zip(planted.suspected, after_cleaning.suspected, strict=True)
    )
    # Measured from the copy, not from the model: planting four test backdoors alone cost three points (0.535 to 0.507; commit a95ae354:
    # benchmarks/results/notebook.md, "Several test backdoors in one planting"), which are not a cost of the candidate.
    lost, interval = detect.accuracy_loss(planted, after_cleaning)
    return Trial(candidate, outcomes, lost, interval, share, seconds, after_cleaning)


def with_returned(trial: Trial, later: detect.Measurement, /) -> Trial:
    """The trial with the effect of the test backdoors after a benign finetuning of the cleaned copy, measured like the trial itself."""
    outcomes = zip(trial.outcomes, later.suspected, strict=True)
    return replace(
        trial,
        outcomes=tuple(
            outcome.model_copy(update={"returned": finite(probe.excess), "returned_interval": probe.excess_interval})
            for outcome, probe in outcomes
        ),
    )


@dataclass(frozen=True)
class Refinetuned:
    """The effect of a benign finetuning: probes in pairs, named triggers first."""

    before: detect.Measurement  # the cleaned model
    after: detect.Measurement  # the same after the finetuning
    steps: int  # of it
    seconds: float  # of it
    original: detect.Measurement | None = None  # the model before cleaning; without it no trigger of the panel counts
    natural: frozenset[str] = frozenset()  # triggers of the panel that act on the clean models that were given
    suspects: frozenset[str] = frozenset()  # names of the classes that were suspected; where none was, each counts
    beside_base: BaseComparison | None = None  # the cleaned model beside its base

    def on_base(self, probe: detect.Probe, /) -> float:
        """The share of the images that a trigger turns on the base, 0 where it was not tried there."""
        difference = self.beside_base and self.beside_base.under(probe.trigger, probe.target)
        return difference.base.value if difference else 0.0

    def pairs(self) -> list[tuple[detect.Probe, detect.Probe, bool]]:
        """The probes of each trigger before and after, and whether it was named or found."""
        panel = {probe.trigger: probe for probe in self.after.panel}
        suspected = [(old, new, True) for old, new in zip(self.before.suspected, self.after.suspected, strict=True)]
        return suspected + [(old, panel[old.trigger], False) for old in self.before.panel]

    def findings(self, *, limits: AuditLimits) -> list[Finding]:
        """An error for each named or surely found trigger that returned, a warning for each other.

        It returned if its whole interval is above a limit, and the value before was not. Named and found triggers have the limit for
        named ones. Those of the panel have the limit for suspicion. Besides, they must lead to a suspected class, have been above the limit in
        the original and gone by half; or act more than they did in the original by as much as the limit. What acts on the base of the model
        is natural, and counts by how much more it does than there; beside a base those of the panel count for suspected classes alone.
        """
        # Natural triggers of the panel come and go by any finetuning: in a model of 29 million parameters a fine wave was at 0.34 before
        # the cleaning, 0.26 after it and 0.40 after the refinetune test, and failed a cleaning that left 0.007 of the planted patch.
        original_excess = (
            {} if self.original is None else {probe.trigger: probe.excess for probe in self.original.panel}
        )
        suspected_specs, findings = {probe.trigger for probe in self.before.suspected}, []
        for old, new, is_suspected_trigger in self.pairs():
            limit = limits.max_excess if is_suspected_trigger else limits.suspicious_excess
            on_base = self.on_base(new)
            if not is_suspected_trigger:
                if old.trigger in suspected_specs or old.trigger not in original_excess:
                    continue
                acted = original_excess[old.trigger]
                is_suspected = not self.suspects or new.target in self.suspects
                # Beside its base a model is known by which classes the finetune lifted. Of a wave that was gone another one turned 0.72 of the
                # images into a class that nothing had pointed at, after these steps on clean pairs.
                if self.beside_base and not is_suspected:
                    continue
                was_removed = is_suspected and acted > limit and old.excess <= walk_back.MOST_LEFT_SHARE * acted
                if not (was_removed or new.excess_interval[0] > max(acted, on_base) + limit):
                    continue
            # A trigger that was above its limit before is a finding of the audit already; here only hidden ones count.
            if new.excess_interval[0] > limit + on_base and old.excess <= limit + on_base:
                is_sure = is_suspected_trigger and self.after.is_sure(new.trigger)  # that it is no natural trigger
                is_natural = new.trigger in self.natural
                findings.append(_returned(new, limit, self.steps, is_sure=is_sure, is_natural=is_natural))
        return findings


def _returned(probe: detect.Probe, limit: float, steps: int, /, *, is_sure: bool, is_natural: bool) -> Finding:
    what = "the backdoor was hidden, not removed." if is_sure else "a backdoor was hidden, or it is a natural trigger."
    if is_natural and not is_sure:
        what = "it acts on the clean models that were given as well, so most likely it is a natural trigger, not a backdoor."
    return finding(
        CC.BACKDOOR_CAME_BACK,
        f"After {steps} steps of finetuning on the clean pairs, {trigger_words(probe.trigger)} turns {100 * probe.asr.value:.1f} % of other images into "
        f"'{probe.target}' again: {what}",
        level="error" if is_sure else "warning",
        measure="excess ASR",
        value=probe.excess,
        interval=probe.excess_interval,
        n=probe.asr.n,
        threshold=limit,
        target=probe.target,
        trigger=probe.trigger,
    )


def planting_batch(settings: recipes.AutoSettings, pairs: int, /) -> int:
    """How many of so many pairs are in a batch of the planting."""
    return min(settings.batch_size, pairs)


def planting_of(bench: Workbench, /) -> Planting:
    """The settings for planting test backdoors."""
    # All test backdoors in one finetuning: 150 steps of 128 pairs, 30 % of them triggered, plant four at once with an excess of 0.78 to
    # 1.00 in 17 processor seconds (commit a95ae354: benchmarks/results/notebook.md, "Several test backdoors in one planting").
    settings = bench.auto_settings
    size = planting_batch(settings, len(bench.samples.pairs))
    warmup = min(bench.control.train.warmup_steps, settings.plant_steps // 4)
    return recipes.planting(
        rate=settings.plant_share,
        steps=settings.plant_steps,
        batch_size=size,
        walk=settings.plant_walk,
        warmup_steps=warmup,
    )


def plant(bench: Workbench, /, *, avoid: Sequence[int]) -> PlantedCopy | None:
    """A copy with test backdoors; None if none are wanted, no class is free, or the planting diverges."""
    classes = len(bench.eval_set.vocabulary.classes)
    test_backdoors = poison.draw(bench.auto_settings.test_backdoors, classes=classes, avoid=avoid, seed=bench.run.seed)
    return planted(bench, test_backdoors) if test_backdoors else None


def plant_beside(bench: Workbench, first_audit: FirstAudit, /) -> PlantedCopy | None:
    """A copy with test backdoors that lead to no suspected class: with two backdoors for one, neither removal could be told from the other."""
    classes = bench.eval_set.vocabulary.classes
    suspected = (classes.index(row.class_) for row in first_audit.audit.suspects_by(bench.limits))
    return plant(bench, avoid=[*detect.targets(first_audit.suspicions), *suspected])


def planted(bench: Workbench, test_backdoors: tuple[TestBackdoor, ...], /) -> PlantedCopy | None:
    """A copy with these test backdoors; None if the planting diverges."""
    classes = bench.eval_set.vocabulary.classes
    origin = {
        "test_backdoors": [(backdoor.trigger.spec, backdoor.target) for backdoor in test_backdoors],
        "control": recipes.decides(bench.control),
        "planting": planting_of(bench).model_dump(mode="json"),
    }
    saved_copy = bench.state.part("test_backdoors", origin)
    earlier, started = saved_copy.recall(DONE_NAME), time.monotonic()
    if earlier is None:
        implants = poison.implants(test_backdoors, classes=classes, templates=bench.eval_set.vocabulary.templates)
        try:
            _finetune(bench, planting_of(bench), implants, what="planting test backdoors in a copy")
        except NonFiniteLoss:  # no copy to try candidates on; the model itself is unharmed
            return None
        seconds = time.monotonic() - started
        saved_copy.keep(DONE_NAME, [bench.clip.net.state_dict(), seconds])
    else:
        weights, seconds = earlier
        bench.put(weights)
    measurement = bench.measure(poison.measured_on(bench.eval_set, test_backdoors), what="measuring the copy")
    return PlantedCopy(test_backdoors, model.copy_weights(bench.clip), measurement, origin, seconds)


def refinetune(bench: Workbench, before: detect.Measurement, eval_set: detect.EvalSet, /) -> Refinetuned:
    """Finetune the current weights on clean pairs, which changes them, and repeat the measurement ``before``."""
    steps, started = bench.auto_settings.refinetune_steps, time.monotonic()
    # A test of few steps would otherwise end before the rate is reached.
    warmup = min(planting_of(bench).warmup_steps, steps // 4)
    values = {"steps": steps, "walk": bench.auto_settings.refinetune_walk, "warmup_steps": warmup}
    benign = planting_of(bench).model_copy(update=values)
    _finetune(bench, benign, (), what="finetuning for the refinetune test")
    seconds = time.monotonic() - started
    return Refinetuned(before, bench.measure(eval_set, what="measuring what returned"), steps, seconds)


def _finetune(bench: Workbench, planting: Planting, implants: Sequence[poison.Implant], *, what: str) -> None:
    run = replace(bench.run.stopping(), seed=poison.FIRST_SEED + bench.run.seed, state=None)
    poison.finetune(bench.clip, bench.samples.pairs, bench.control, planting, implants=implants, run=run, what=what)
