"""The search of an audit: the clean models to compare with, and the tested one."""

from collections.abc import Sequence
from dataclasses import replace

from clipclean import deadline, detect
from clipclean.findings import CC, Finding
from clipclean.jobs import clean_models, saved_search, searching
from clipclean.jobs.audit_inputs import AuditInputs
from clipclean.jobs.finetune_base import LoadedBase
from clipclean.jobs.judging import ModelAudit

NOT_COMPARED = (
    "Time was over before the clean models to compare with were searched, and then the tested one: known triggers were tried on it. The same "
    "command with more minutes resumes."
)


def findings_of_references(model_audit: ModelAudit, /) -> list[Finding]:
    """What speaks against the clean models that the tested one was compared with, but for its base, of which other findings tell."""
    audit_inputs, search = model_audit.audit_inputs, model_audit.audit.search
    if model_audit.references is None or search is None or search.cut:  # then nothing passes, and the time may be over
        return []
    base = audit_inputs.shared.base
    trusted = [
        checkpoint
        for checkpoint in audit_inputs.shared.clean_models
        if base is None or checkpoint is not base.checkpoint
    ]
    own, device = audit_inputs.loaded.file.tensors, str(audit_inputs.loaded.clip.device)
    return clean_models.reference_findings(own, trusted, audit_inputs.eval_set, audit_inputs.late_pairs, device=device)


def search_model(audit_inputs: AuditInputs, base: LoadedBase | None, /) -> ModelAudit:
    """Measure and search the clean models, then the tested one, also under CLIP's own normalisation if that is another."""
    settings, clip, eval_set = audit_inputs.settings, audit_inputs.loaded.clip, audit_inputs.eval_set
    with saved_search.resumable(settings.fingerprint(clip, eval_set)) as state:
        trusted, device = audit_inputs.shared.clean_models, str(clip.device)
        known_triggers_alone = None
        if trusted and deadline.is_set():  # known triggers are an answer where time ends before others are searched
            unsearched = replace(settings, search=False)
            known_triggers_alone = searching.audit_clip(unsearched, clip, eval_set, None, state=state)

        def compared_with(classes: Sequence[int]) -> detect.References | None:
            stored = audit_inputs.shared.stored.references
            return clean_models.all_references(
                settings,
                trusted,
                stored,
                eval_set,
                audit_inputs.late_pairs,
                device=device,
                state=state,
                towards=classes,
            )

        references = detect.LateReferences(compared_with) if trusted or audit_inputs.shared.stored.references else None
        # By the limits in force and by the shipped ones, which the report compares them with.
        limits = (audit_inputs.shared.judge.limits, audit_inputs.shared.judge.shipped_limits)
        # With --power nothing found may be a pass: then everything is searched.
        endings = (detect.is_failing,) if audit_inputs.has_power else (detect.is_failing, detect.is_undoubted)

        def is_enough(result: detect.SearchResult) -> bool:
            return any(all(end(result, limits=limit) for limit in limits) for end in endings)

        ending = base.enough_beside_base(is_enough, clip, eval_set) if base else is_enough
        try:
            audit_result = searching.audit_both(settings, clip, eval_set, references, state=state, is_enough=ending)
        except deadline.OutOfTime:
            if known_triggers_alone is None:
                raise
            return ModelAudit(audit_inputs, None, replace(known_triggers_alone, why_not=(CC.TIME_OVER, NOT_COMPARED)))
        audit_result = base.with_comparison(clip, eval_set, audit_result) if base else audit_result
    return ModelAudit(audit_inputs, references.measured_so_far if references else None, audit_result)
