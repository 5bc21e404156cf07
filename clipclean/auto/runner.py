"""``ModelRunner``: candidates on one model and on its copy, for ``attempts.choose`` to choose among."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from clipclean.auto import attempts, one_candidate, trials
from clipclean.auto.attempts import Attempt, CandidateResult
from clipclean.auto.candidates import Candidate
from clipclean.auto.left_out import Occasion
from clipclean.auto.trials import PlantedCopy
from clipclean.config.thresholds import AuditLimits
from clipclean.deadline import Limit
from clipclean.findings import Finding
from clipclean.jobs.first_audit import FirstAudit
from clipclean.jobs.workbench import Workbench


@dataclass(frozen=True)
class ModelRunner:
    """Tries candidates on the copy with test backdoors, and runs them on the model, in the time of a run."""

    bench: Workbench
    first_audit: FirstAudit
    findings: Sequence[Finding]  # of the original's audit
    occasion: Occasion
    copy: PlantedCopy | None  # with test backdoors; None where none are planted
    time_limit: Limit
    audit_seconds: float  # seconds that an audit takes
    # Of each trial so far; the first candidate has none before it.
    trial_seconds: list[float] = field(default_factory=lambda: [0.0])

    @classmethod
    def of(
        cls,
        bench: Workbench,
        first_audit: FirstAudit,
        offered: Sequence[Candidate],
        time_limit: Limit,
        /,
        *,
        audit_seconds: float,
    ) -> "ModelRunner":
        """With test backdoors planted in a copy where candidates are tried there first.

        Raises:
            OutOfTime: the deadline came before they were planted.
        """
        findings = bench.findings(first_audit.audit)
        occasion = Occasion.of(bench, first_audit, offered, findings)
        # What acts shows on the model itself whether a candidate removes it, in a third of the time of trying it on a copy before. Where nothing is
        # suspected test backdoors would double the time, and no verdict hangs on them.
        is_copy_needed = occasion.is_suspected and not first_audit.shows
        copy = trials.plant_beside(bench, first_audit) if is_copy_needed else None
        return cls(bench, first_audit, findings, occasion, copy, time_limit, audit_seconds)

    @property
    def limits(self) -> AuditLimits:
        """The limits in force."""
        return self.bench.limits

    @property
    def is_sure(self) -> bool:
        """Whether the audit of the original is sure of a trigger."""
        return bool(self.first_audit.sure_specs)

    def is_late(self) -> bool:
        """Whether the time is over for another candidate."""
        # It may take as long as the longest so far, and what is run on the model that long and an audit.
        end = time.monotonic() + self.audit_seconds + 2 * max(self.trial_seconds)
        return self.time_limit.minutes is not None and self.bench.run.group.any(end > self.time_limit.end)

    def is_worth(self, attempt: Attempt, /) -> bool:
        """Whether the weights of an attempt are written rather than the original's."""
        return not attempts.is_better_as_it_was(self.findings, attempt, patterns=self.first_audit.acting_patterns)

    def try_out(self, candidate: Candidate, /) -> CandidateResult:
        """A candidate with its trials on the copy; without any where the model itself shows what it removes, or where it is left out."""
        why_not = candidate.unfit(self.bench.samples) or self.occasion.why_not(candidate)
        if why_not or self.occasion.is_run_at_once(candidate):
            return CandidateResult(candidate, why_not)
        candidate_result = one_candidate.try_on_copy(self.bench, candidate, self.copy, self.first_audit)
        # How long another one may take, as is_late reckons.
        self.trial_seconds.append(candidate_result.seconds)
        return candidate_result

    def run(self, result: CandidateResult, /) -> CandidateResult:
        """A candidate with its attempt on the model."""
        return one_candidate.run_on_model(self.bench, result, self.copy, self.first_audit)

    def test(self, attempt: Attempt, /) -> Attempt:
        """An attempt with its refinetune test."""
        return one_candidate.with_refinetune_test(self.bench, attempt, self.first_audit)
