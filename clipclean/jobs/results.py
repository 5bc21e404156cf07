"""What the results of all jobs tell alike: the program, the model, the machine, and the findings after the policy."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from clipclean import __version__, machine
from clipclean.config import policy
from clipclean.config.policy import Policy
from clipclean.config.thresholds import Audit, AuditLimits
from clipclean.findings import Finding
from clipclean.jobs import inputs
from clipclean.jobs.inputs import LoadedModel, Source
from clipclean.report import NONE, NOWHERE, PageImages, Report, RunPaths
from clipclean.schema.report import ToolRecord


class Outcome(NamedTuple):
    """What an audit or a cleaning came to: the report, the images of its page, whether weights were written, and what it was given."""

    report: Report
    images: PageImages = NONE
    exported: bool = False
    place: RunPaths = NOWHERE


def told(
    command: str, source: Source, loaded: LoadedModel, labels: Mapping[str, str] | None = None, /
) -> dict[str, Any]:  # Any: fields of a record
    """The program, the model, the machine, notes and labels."""
    found = {
        "tool": ToolRecord(name="clipclean", version=__version__),
        "command": command,
        "model": inputs.described(source, loaded),
        "environment": machine.versions() | machine.hardware(str(loaded.clip.device)),
        "notes": loaded.file.notes,
    }
    return found | ({"labels": dict(labels)} if labels else {})


class Judge(NamedTuple):
    """What the findings of a run are judged by: a policy, the limits with it, and those that hold without it."""

    chosen: Policy
    limits: AuditLimits
    shipped: AuditLimits

    @classmethod
    def of(cls, chosen: Policy, audit: Audit, /) -> "Judge":
        """Of a policy and a recipe's section ``audit``; raises UsageError where they contradict each other."""
        return cls(chosen, policy.resolved(chosen, audit), policy.resolved(policy.DEFAULT, audit))

    def applied(
        self, loaded: LoadedModel, findings: Sequence[Finding], by_shipped: Sequence[Finding], /
    ) -> policy.Applied:
        """The findings after the policy; ``by_shipped`` are those by the limits that hold without it."""
        today, digest = datetime.now(UTC).date(), loaded.file.sha256
        return policy.apply(self.chosen, findings, by_shipped=by_shipped, today=today, model_sha256=digest)

    def record(self, applied: policy.Applied, /) -> dict[str, Any]:  # Any: fields of a report
        """The verdict, the findings, and what the policy changed in them."""
        return {
            "verdict": policy.verdict(applied.findings),
            "suppressed": tuple(applied.suppressed),
            "findings": tuple(applied.findings),
            "policy": policy.record(self.chosen, self.limits, applied),
        }
