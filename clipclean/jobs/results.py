"""What the results of all jobs tell alike: the program, the model, the machine, the findings after the policy, and the pictures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from clipclean import __version__, detect, files, machine, model
from clipclean.config import policy, thresholds
from clipclean.config.policy import Policy
from clipclean.config.thresholds import AuditLimits
from clipclean.findings import Finding
from clipclean.jobs.opening import LoadedModel
from clipclean.progress import stage
from clipclean.report import NO_IMAGES, NO_PATHS, PageImages, Report, RunPaths, example_images
from clipclean.requests import TEXT_FILE, Audit, Opt, Sanitize, data_paths, flag, options
from clipclean.schema.part import finite
from clipclean.schema.report import MeasurementsRecord, ProjectionRecord, ToolRecord

# Options of a run that the commands which its report suggests repeat.
REPEATED_OPTIONS = (
    *("eval_data", "image_key", "caption_key", "classes", "templates", "trigger", "target"),
    *("arch", "weights", "reference", "references", "base", "effort", "policy", "ignore", "seed"),
)
# Those that another command does not have, or has for searches of another effort.
SAME_COMMAND_OPTIONS = ("references", "effort")


FindingsBy = Callable[[AuditLimits], Sequence[Finding]]  # all findings of a run, by these limits


class Outcome(NamedTuple):
    """What an audit or a cleaning came to: the report, the images of its page, whether weights were written, and what it was given."""

    report: Report
    images: PageImages = NO_IMAGES
    exported: bool = False
    paths: RunPaths = NO_PATHS


# Any: fields of a record.
def common_fields(command: str, loaded: LoadedModel, labels: Mapping[str, str] | None = None, /) -> dict[str, Any]:
    """The program, the model, the machine, notes and labels."""
    fields = {
        "tool": ToolRecord(name="clipclean", version=__version__),
        "command": command,
        "model": loaded.record(),
        "environment": machine.versions() | machine.hardware(str(loaded.clip.device)),
        "notes": loaded.file.notes,
    }
    return fields | ({"labels": dict(labels)} if labels else {})


def measurements_of(audit: detect.AuditResult, /) -> MeasurementsRecord:
    """``measurements`` of a report, with the distances of the triggers that the search came to."""
    record, targeted = audit.measurement.record(), audit.search.targeted if audit.search else ()
    distances = record.distances | {result.trigger.spec: finite(result.probe.distance) for result in targeted}
    return record.model_copy(update={"distances": distances})


def paths_of(request: Audit | Sanitize, recipe_name: str = "", /) -> RunPaths:
    """What a run was given, for the commands that its report suggests; an audit has no recipe."""
    words_of = {name: _command_words(name, option, getattr(request, name)) for name, option in options(request).items()}
    repeated = (
        (command, flag(name), words)
        for command, kind in (("audit", Audit), ("sanitize", Sanitize))  # what a report suggests
        for name, default in ((field.name, field.default) for field in fields(kind))
        if name in REPEATED_OPTIONS and (name not in SAME_COMMAND_OPTIONS or isinstance(request, kind))
        if getattr(request, name, default) != default
        for words in words_of.get(name, ())
    )

    def value_of(name: str) -> str:
        """The value of an option that has one; empty where it was not given."""
        return next(iter(words_of.get(name, ())), "")

    return RunPaths(
        folder=value_of("out"),
        model=value_of("model"),
        data=files.joined_words(request.data or ()),
        recipe=recipe_name,
        trigger_folder=value_of("save_triggers"),
        repeated=tuple(repeated),
        images=files.joined_words(getattr(request, "eval_data", None) or ()),
    )


def _command_words(name: str, option: Opt, value: Any) -> list[str]:  # Any: what a user gave
    """A value as a command takes it; none of a model in memory."""
    if option.value_type is TEXT_FILE and isinstance(value, tuple):
        return [f"{name}.txt"]  # texts from Python: a command takes a file
    if option.gather is data_paths and value and not option.is_several:
        return [files.joined_words(value)]
    return [
        str(item) for item in (value if isinstance(value, tuple) else (value,)) if isinstance(item, str | Path | int)
    ]


class Judge(NamedTuple):
    """What the findings of a run are judged by: a policy, the limits with it, and those that hold without it."""

    policy_in_force: Policy
    limits: AuditLimits
    shipped_limits: AuditLimits
    # Of the file and of the tensors of the base that was named; none without one.
    base_sha256: frozenset[str] = frozenset()

    @property
    def base_fault(self) -> str:
        """Why the base is not what the policy wants, in words; empty where it is."""
        return policy.base_fault(self.policy_in_force, self.base_sha256)

    @classmethod
    def of(cls, policy_in_force: Policy, audit: thresholds.Audit, /) -> "Judge":
        """Of a policy and a recipe's section ``audit``; raises UsageError where they contradict each other."""
        return cls(
            policy_in_force, policy.resolved(policy_in_force, audit), policy.resolved(policy.DEFAULT_POLICY, audit)
        )

    def apply(
        self,
        loaded: LoadedModel,
        findings_by: FindingsBy,
        /,
        *,
        if_failed: Finding | None = None,
    ) -> policy.Applied:
        """The findings after the policy; if an error remains, with one more.

        ``findings_by`` gives the findings by any limits: those by the limits without the policy say what it changes.
        """
        today, digest, findings = datetime.now(UTC).date(), loaded.file.sha256, findings_by(self.limits)
        by_shipped = findings if self.limits == self.shipped_limits else findings_by(self.shipped_limits)
        judged = partial(
            policy.apply,
            self.policy_in_force,
            by_shipped=by_shipped,
            today=today,
            model_sha256=digest,
            base_sha256=self.base_sha256,
        )
        applied = judged(findings)
        if if_failed is None or policy.verdict(applied.findings) != "fail":
            return applied
        return judged([*findings, if_failed])

    def record(self, applied: policy.Applied, /) -> dict[str, Any]:  # Any: fields of a report
        """The verdict, the findings, and what the policy changed in them."""
        return {
            "verdict": policy.verdict(applied.findings),
            "suppressed": tuple(applied.suppressed),
            "findings": tuple(applied.findings),
            "policy": policy.record(self.policy_in_force, self.limits, applied),
        }


# Pictures.


def example_pictures(
    clip: model.Clip, eval_set: detect.EvalSet, measurement: detect.Measurement, /, *, seed: int
) -> example_images.ModelImages:
    """Example images and maps under the first suspicion, or else under the first trigger of the panel."""
    suspicions = [*eval_set.plan.suspicions, *((trigger, None) for trigger in eval_set.plan.triggers.panel)]
    if not suspicions:
        return example_images.ModelImages()
    classes = detect.ClassTexts.of(eval_set.vocabulary.classes, measurement.text_classifier.to(clip.device))
    look = example_images.Look(clip, eval_set.images, classes, *suspicions[0], seed)
    with stage("drawing examples and maps"):
        return example_images.ModelImages(look.examples(), look.maps())


def pictures_of_search(
    clip: model.Clip, eval_set: detect.EvalSet, audit: detect.AuditResult, /, *, seed: int
) -> tuple[Mapping[str, ProjectionRecord], PageImages]:
    """Maps and images under the most abnormal trigger found, which is shown alone too, or else under the first of the panel."""
    targeted_results = audit.search.targeted if audit.search else ()
    under_found = eval_set.suspecting(targeted.suspicion for targeted in targeted_results)
    under = example_pictures(clip, under_found, audit.measurement, seed=seed)
    alone = (
        example_images.trigger_alone(targeted_results[0].trigger, eval_set.images.pixels) if targeted_results else ()
    )
    return under.maps, PageImages(alone, under.examples)
