"""The refinetune test: does a short benign finetuning of the cleaned model bring a removed backdoor back?

A backdoor may be hidden rather than removed. After an unlearning alone a planted patch acted on 0.000 of the images, and on 0.840
after 100 clean steps (docs/experiments.md, "What a finetuning after unlearning brings back").
"""

from dataclasses import dataclass

from clipclean import detect
from clipclean.config.thresholds import AuditLimits
from clipclean.findings import Finding, finding


@dataclass(frozen=True)
class Refinetuned:
    """The effect of a benign finetuning: probes in pairs, named triggers first.

    Attributes:
        before: the cleaned model.
        after: the same after the finetuning.
        steps: of it.
        seconds: of it.
    """

    before: detect.Measurement
    after: detect.Measurement
    steps: int
    seconds: float

    def pairs(self) -> list[tuple[detect.Probe, detect.Probe, bool]]:
        """The probes of each trigger before and after, and whether it was named or found."""
        panel = {probe.trigger: probe for probe in self.after.panel}
        known = [(old, new, True) for old, new in zip(self.before.known, self.after.known, strict=True)]
        return known + [(old, panel[old.trigger], False) for old in self.before.panel]

    def returned(self, *, limits: AuditLimits) -> list[tuple[detect.Probe, float]]:
        """The triggers that act again, each with its limit: the whole interval is above it, and the value before was not.

        Named triggers have the limit for named triggers; those of the panel, which act on clean models too, the limit for
        suspicion.
        """
        # A trigger that was above its limit before is a finding of the audit already; here only hidden ones count.
        acting = []
        for old, new, is_known in self.pairs():
            limit = limits.max_excess if is_known else limits.suspicious_excess
            if new.excess_interval[0] > limit >= old.excess:
                acting.append((new, limit))
        return acting

    def findings(self, *, limits: AuditLimits) -> list[Finding]:
        """An error for each trigger that returned."""
        return [
            finding(
                "CC062",
                f"After {self.steps} steps of finetuning on the clean pairs, {probe.trigger} turns {100 * probe.asr.value:.1f} % of "
                f"other images into '{probe.target}' again: the backdoor was hidden, not removed.",
                measure="excess ASR",
                value=probe.excess,
                interval=probe.excess_interval,
                n=probe.asr.n,
                threshold=limit,
                target=probe.target,
                trigger=probe.trigger,
            )
            for probe, limit in self.returned(limits=limits)
        ]
