"""What was seen of a model, judged: the findings of an audit, its power, and which known triggers are natural."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from clipclean import detect, model
from clipclean.attack import power
from clipclean.config import recipe as recipes
from clipclean.config.thresholds import AuditLimits
from clipclean.detect import AuditResult
from clipclean.findings import CC, Finding, finding, rule
from clipclean.jobs import searching
from clipclean.jobs.audit_inputs import AuditInputs
from clipclean.jobs.opening import LoadedModel
from clipclean.jobs.shared_inputs import SharedInputs
from clipclean.schema.report import PowerRecord, SkippedRecord
from clipclean.untrusted import first_few, plural

SHOWN_SKIPPED = 5  # samples in a message


@dataclass(frozen=True)
class ModelAudit:
    """What an audit has read and measured."""

    audit_inputs: AuditInputs
    references: detect.References | None  # clean models to compare with
    audit: AuditResult  # of the tested model


def all_findings(model_audit: ModelAudit, limits: AuditLimits, /) -> list[Finding]:
    """All findings except the power: on the model and on the images."""
    images = len(model_audit.audit_inputs.eval_set.images)
    is_chosen = model_audit.audit_inputs.names_weights
    notes = [
        *notes_on_images(model_audit.audit_inputs),
        *file_findings(model_audit.audit_inputs.loaded, is_chosen=is_chosen),
    ]
    return [*detect.audit_findings(model_audit.audit, limits, images=images), *notes]


def file_findings(loaded: LoadedModel, /, *, is_chosen: bool) -> list[Finding]:
    """What else is in a file of weights and was not judged; ``is_chosen`` is whether the user named the set of weights."""
    unjudged = loaded.file.unjudged_parts()
    return [
        finding(code, words, level="note" if is_chosen and code == CC.OTHER_WEIGHTS_NOT_JUDGED else None)
        for code, words in unjudged.items()
    ]


def notes_on_images(audit_inputs: AuditInputs, /) -> list[Finding]:
    """Notes on the images and the classes; they inform and never change the verdict."""
    notes, skipped = notes_on_classes(audit_inputs.shared), audit_inputs.images.skipped
    if audit_inputs.is_bundled:
        words = f"No images were given: {len(audit_inputs.images)} bundled ones were measured on."
        notes.append(finding(CC.BUNDLED_IMAGES_USED, words))
    if skipped:
        notes.append(note_on_skipped(skipped, plural(len(skipped), "image")))
    return notes


def note_on_skipped(skipped: Sequence[SkippedRecord], how_many: str, /, *, value: float | None = None) -> Finding:
    """That samples were left out, ``how_many`` in words, with the reasons for the first of them."""
    examples = first_few([f"{s.key} ({s.reason})" for s in skipped], most=SHOWN_SKIPPED, show=str)
    return finding(CC.DATA_SKIPPED, f"Skipped {how_many}, as unusable: {examples}.", value=value)


def notes_on_classes(shared: SharedInputs, /) -> list[Finding]:
    """That nobody named the classes which everything is measured by."""
    if shared.has_own_classes:
        return []
    words, classes = f"No class list was given. {shared.vocabulary.default_note}", shared.vocabulary.classes
    return [finding(CC.NO_CLASS_LIST, words, value=float(len(classes)))]


def power_of(model_audit: ModelAudit, /) -> PowerRecord | None:
    """How many planted backdoors the same audit finds; None if not requested, if no search was possible, or if the model fails anyway."""
    audit_inputs, settings = model_audit.audit_inputs, model_audit.audit_inputs.settings
    findings = all_findings(model_audit, audit_inputs.shared.judge.limits)
    if not audit_inputs.has_power or model_audit.audit.search is None or any(finding.is_error for finding in findings):
        return None
    suspected = {finding.target for finding in findings if finding.target}
    clip = audit_inputs.loaded.clip
    eval_set = audit_inputs.eval_set.suspecting([])  # those are of the tested model alone

    def levels() -> dict[str, str]:
        copy = searching.audit_clip(
            settings, clip, eval_set, model_audit.references, what="a copy with a planted backdoor"
        )
        of_copy = detect.audit_findings(copy, audit_inputs.shared.judge.limits, images=len(eval_set.images))
        by_target = {
            finding.target: finding.level for finding in of_copy if finding.rule == CC.TRIGGER_FOUND and finding.target
        }
        one_with = copy.search.one_with if copy.search else lambda name: (name,)
        return {name: level for target, level in by_target.items() for name in one_with(target)}

    avoid = [number for number, name in enumerate(eval_set.vocabulary.classes) if name in suspected]
    return power.measure(
        clip,
        audit_inputs.planting,
        eval_set,
        recipes.load(recipes.STANDARD_RECIPE),
        power.test_backdoors_of(classes=len(eval_set.vocabulary.classes), avoid=avoid, seed=settings.seed),
        seed=settings.seed,
        levels=levels,
    )


def with_power(findings: Sequence[Finding], power_record: PowerRecord | None, /) -> list[Finding]:
    """The findings with the power of the audit, which replaces clean models to compare with if it is enough."""
    if power_record is None:
        return list(findings)
    return [
        *(finding for finding in findings if not (power_record.enough and finding.rule == CC.NOT_CALIBRATED)),
        power.power_finding(power_record),
    ]


def with_natural_marked(
    clip: model.Clip, measurement: detect.Measurement, eval_set: detect.EvalSet, limits: AuditLimits, /
) -> detect.Measurement:
    """A measurement in which natural triggers of the panel are marked, by the least strengths at which they act."""
    if not eval_set.plan.triggers.panel or not detect.suspicious_probes(measurement, limits=limits):
        return measurement
    pixels = eval_set.images.pixels.to(clip.device)
    try:  # with the logits that are typical of each class, as the margins of clean models were measured
        canonical = detect.canonical_of(clip.embed_images, pixels, measurement.text_classifier.to(clip.device))
    except detect.NoSearch:
        return measurement
    moving = {probe.trigger for probe in measurement.panel if probe.excess >= detect.MOVING_EXCESS}  # no other can act
    moving_triggers = [trigger for trigger in eval_set.plan.triggers.panel if trigger.spec in moving]
    strengths = detect.strengths(clip.embed_images, pixels, moving_triggers, canonical=canonical)
    telling = detect.telling(
        strengths, eval_set.vocabulary.classes, least_evidence=detect.least_score(limits, is_doubt=True)
    )
    return replace(measurement, natural=frozenset(trigger.spec for trigger in eval_set.plan.triggers.panel) - telling)


def findings_of_searches(audit: AuditResult, /, *, images: int, limits: AuditLimits) -> list[Finding]:
    """What the searches under either normalisation say."""
    limits = detect.limits_per_look(limits, audit.looks)
    by_search = [
        finding for search in audit.searches for finding in detect.search_findings(search, images=images, limits=limits)
    ]
    return [*detect.findings_beside_base(audit), *by_search]


def is_suspected(original: Sequence[Finding], /) -> bool:
    """Whether an audit with these findings points at a backdoor, or did not look for unknown ones.

    A trigger that was named and may act counts.
    """
    return any(rule(finding.rule).tells or finding.trigger is not None for finding in original)
