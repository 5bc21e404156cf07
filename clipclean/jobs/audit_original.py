"""The audit of the model that is to be cleaned: beside clean models and its base, before anything is tried."""

import time
from dataclasses import replace

from clipclean import deadline, detect, progress
from clipclean.deadline import Limit
from clipclean.jobs import clean_models, finetune_base
from clipclean.jobs.cleaning_inputs import CleaningInputs
from clipclean.jobs.first_audit import FirstAudit
from clipclean.jobs.searching import SearchSettings
from clipclean.jobs.workbench import Workbench

# Share of the time after which the first search ends with what it has found, to leave time for a cleaning.
FIRST_SEARCH_SHARE = 0.3
SHOWN_CLASSES = 3  # in a message


def beside_clean_models(bench: Workbench, inputs: CleaningInputs, time_limit: Limit, /) -> Workbench:
    """The workbench with the clean models that were given, searched like the model itself."""
    settings, device = SearchSettings(bench.auto_settings.effort, bench.run.seed), str(bench.clip.device)

    def references() -> detect.References | None:
        return clean_models.all_references(
            settings,
            inputs.shared.clean_models,
            inputs.shared.stored.references,
            bench.eval_set,
            inputs.clean,
            device=device,
            state=bench.state,
        )

    with deadline.within(time_limit.minutes, reserve=time.monotonic() - time_limit.started):
        bench = replace(bench, references=bench.run.group.of_first(references))
    base = inputs.shared.base
    return replace(bench, base=finetune_base.load(base, bench.clip, bench.eval_set, inputs.clean)) if base else bench


def audit_original(bench: Workbench, time_limit: Limit, /) -> tuple[Workbench, FirstAudit, float]:
    """The workbench that knows what the audit of the original is sure of, that audit, and the seconds that it took."""
    began = time.monotonic()
    with time_limit.within(FIRST_SEARCH_SHARE):
        # Towards no class in particular: before it nothing is known but what the user named.
        audit = bench.audit(bench.eval_set.plan.suspicions, pointed=(), what="before")
    before = FirstAudit.of(audit, bench.eval_set, bench.limits)
    # Later audits count the variants of known triggers beside clean models alone, but for colours.
    triggers = bench.eval_set.plan.triggers
    triggers = triggers if bench.references else triggers.without_variants()
    if bench.searches:
        # Whatever time is left: what was measured is told before anything is tried.
        rows = audit.suspects_by(bench.limits)
        leading = "; ".join(f"{row.class_} (score {row.score or 0:.2f})" for row in rows[:SHOWN_CLASSES])
        progress.say(f"The audit of the original {f'points at: {leading}' if leading else 'points at no class'}.")
    plan = replace(bench.eval_set.plan, sure=before.sure_specs, triggers=triggers)
    bench = replace(bench, eval_set=replace(bench.eval_set, plan=plan))
    return bench, before, time.monotonic() - began
