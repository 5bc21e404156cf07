"""Which candidates of ``auto`` are tried on a model, by their roles and by what its audit shows."""

from collections.abc import Sequence
from dataclasses import dataclass

from clipclean.auto.candidates import Candidate
from clipclean.config.roles import Role
from clipclean.findings import Finding
from clipclean.jobs import judging
from clipclean.jobs.first_audit import FirstAudit
from clipclean.jobs.workbench import Workbench

NOTHING_SUSPECTED_NOTE = "the audit suspects nothing that it could unlearn"
NO_BASE_NOTE = "the model was not finetuned from a base that is known"


@dataclass(frozen=True)
class Occasion:
    """What decides which candidates are tried on a model."""

    is_sure: bool  # whether the audit is sure of a class, or a trigger was named
    acts: bool  # whether a trigger acts of a suspected class
    is_suspected: bool  # whether there may be anything to unlearn, or nothing else is offered
    has_base: bool  # whether the model was finetuned from the base that was named
    is_wider_offered: bool  # whether wide surgery is among the candidates

    @classmethod
    def of(
        cls, bench: Workbench, first_audit: FirstAudit, offered: Sequence[Candidate], findings: Sequence[Finding], /
    ) -> "Occasion":
        """That of a model with the findings of its audit, for the candidates that are offered."""
        roles = {candidate.role for candidate in offered}
        return cls(
            is_sure=bool(first_audit.sure_specs),
            acts=bool(first_audit.acting_suspicions),
            # Of a clean model an unlearning takes natural triggers, which costs accuracy and most of the time.
            is_suspected=judging.is_suspected(findings) or Role.FINETUNE not in roles,
            has_base=bench.base is not None and bench.base.kin.is_base,
            is_wider_offered=Role.WIDE_SURGERY in roles,
        )

    def why_not(self, candidate: Candidate, /) -> str:
        """Why a candidate is left out; empty if it is not."""
        match candidate.role:
            case Role.UNDO:
                return "" if self.has_base else NO_BASE_NOTE
            case Role.WIDE_SURGERY:
                return "the audit is sure of a class" if self.is_sure else ""
            case Role.SURGERY if self.acts:
                is_shown_before = self.is_wider_offered and not (self.is_sure or candidate.searches_again)
                return "a wider one was shown its triggers as well" if is_shown_before else ""
            case Role.FINETUNE:
                return ""
        return "" if self.is_suspected else NOTHING_SUSPECTED_NOTE

    def is_run_at_once(self, candidate: Candidate, /) -> bool:
        """Whether the model itself shows what a candidate removes, in the time of a few measurements, so that no copy has to."""
        return candidate.role in (Role.UNDO, Role.WIDE_SURGERY) or (candidate.role is Role.SURGERY and self.acts)
