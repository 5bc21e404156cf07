"""What a run works with, and how it can end, as far as that is known before it measures."""

from collections.abc import Mapping
from typing import NamedTuple

from clipclean.config import policy
from clipclean.data import CleanSet
from clipclean.jobs.audit_inputs import AuditInputs
from clipclean.jobs.cleaning_inputs import CleaningInputs
from clipclean.jobs.estimate import Estimate
from clipclean.jobs.shared_inputs import SharedInputs
from clipclean.progress import say
from clipclean.schema.report import ForecastRecord
from clipclean.untrusted import plural

NO_SEARCH, NO_CLEAN_MODEL = (
    "no search",
    "no clean model to compare with (--reference, or --base)",
)  # why a run cannot pass


def tell(facts: Mapping[str, str], /) -> None:
    """Say facts, a line each."""
    for name, words in facts.items():
        say(f"{name:9} {words}")


def facts_of_cleaning(inputs: CleaningInputs, /) -> dict[str, str]:
    """The data, the classes and the recipe of a cleaning, and how it can end."""
    pairs, training, evaluation = (len(samples.pairs) for samples in (inputs.clean, inputs.to_train, inputs.to_measure))
    origin = "others" if training + evaluation > pairs else "of them"
    return {
        "data": f"{plural(pairs, 'pair')}, {training:,} of them to train on; {evaluation:,} {origin} to measure on"
        + _skipped_words(inputs.clean),
        "classes": _class_facts(inputs.shared),
        **_base_facts(inputs.shared),
        "recipe": f"{inputs.recipe.name}: {inputs.recipe.description}",
        **of_cleaning(inputs).facts(),
        **_policy_facts(inputs.shared),
    }


def _skipped_words(samples: CleanSet, /) -> str:
    """How many samples could not be used, where some could not."""
    return f"; {len(samples.skipped):,} skipped, as unusable" if samples.skipped else ""


def _named_references(shared: SharedInputs) -> tuple[str, ...]:
    """The clean models to compare with, and the files that hold some."""
    return (
        *(checkpoint.source.name for checkpoint in shared.clean_models),
        *(stored.name for stored in shared.stored.references),
    )


def facts_of_audit(inputs: AuditInputs, /) -> dict[str, str]:
    """The images and the classes of an audit, and how it can end."""
    images = len(inputs.eval_set.images)
    bundled = " (bundled)" if inputs.is_bundled else ""
    evaluation = f", {images:,} measured on" if images != len(inputs.images.pairs) else ""
    return {
        "data": f"{plural(len(inputs.images.pairs), 'image')}{bundled}{evaluation}" + _skipped_words(inputs.images),
        "classes": _class_facts(inputs.shared),
        **_base_facts(inputs.shared),
        **of_audit(inputs).facts(),
        **_policy_facts(inputs.shared),
    }


class Prospect(NamedTuple):
    """How a run can end, as far as that is known before it measures."""

    references: tuple[str, ...]  # clean models to compare with, and files that hold some
    doubts: tuple[str, ...]  # why it cannot pass
    condition: str = ""  # of a pass
    expected: Estimate | None = None  # None where none was made

    def facts(self) -> dict[str, str]:
        """What is compared with, and which verdicts are still possible, in words."""
        possible = f"pass, fail or inconclusive{self.condition}"
        verdict = f"fail or inconclusive, never pass: {'; '.join(self.doubts)}" if self.doubts else possible
        return {"reference": ", ".join(self.references) or "none", "verdict": verdict}

    def record(self) -> ForecastRecord:
        """The report's section."""
        expected = self.expected
        return ForecastRecord(
            verdicts=("fail", "inconclusive") if self.doubts else ("pass", "fail", "inconclusive"),
            never_passes=self.doubts,
            seconds=expected.seconds if expected else None,
            early_seconds=expected.early if expected else None,
            memory_bytes=expected.memory if expected else None,
        )


def of_audit(inputs: AuditInputs, /) -> Prospect:
    """How an audit can end."""
    references = _named_references(inputs.shared)
    doubts = (
        *_too_few(inputs.shared, len(inputs.eval_set.images)),
        *([] if inputs.settings.search else [NO_SEARCH]),
        *([] if references or inputs.has_power else [NO_CLEAN_MODEL]),
    )
    return Prospect(references, doubts)


def of_cleaning(inputs: CleaningInputs, /) -> Prospect:
    """How a cleaning can end."""
    references = _named_references(inputs.shared)
    images = min(len(inputs.to_measure.pairs), inputs.recipe.audit.images)
    doubts = (*_too_few(inputs.shared, images), *_doubts(inputs, compares=bool(references)))
    return Prospect(references, doubts, "" if inputs.searches else ", pass only if a trigger acts before and not after")


def _too_few(shared: SharedInputs, images: int) -> list[str]:
    """Why so few images cannot pass; nothing of enough."""
    least = shared.judge.limits.min_images
    return [f"{images} images, where {least} are needed"] if images < least else []


def _doubts(inputs: CleaningInputs, *, compares: bool) -> list[str]:
    """Why a cleaning cannot pass: a search that is compared with nothing, or no trigger that could be seen to go."""
    if inputs.searches:
        return [] if compares else [NO_CLEAN_MODEL]
    return [] if inputs.shared.named_suspicions or inputs.tries_panel else [NO_SEARCH, "no trigger named (--trigger)"]


def _policy_facts(shared: SharedInputs) -> dict[str, str]:
    """The policy in force, where one was named."""
    policy_in_force = shared.judge.policy_in_force
    if policy_in_force == policy.DEFAULT_POLICY:
        return {}
    parts = {
        "limit": len(policy_in_force.thresholds.model_fields_set),
        "rule": len(policy_in_force.severities.model_fields_set),
        "suppression": len(policy_in_force.suppressions),
        "base": len(policy_in_force.base_sha256 or ()),
    }
    words = ", ".join(plural(number, noun) for noun, number in parts.items() if number)
    return {"policy": f"{policy_in_force.name}: {words}" if words else policy_in_force.name}


def _base_facts(shared: SharedInputs) -> dict[str, str]:
    """The model that this one was finetuned from, where one was named."""
    return {"base": shared.base.checkpoint.source.name} if shared.base else {}


def _class_facts(shared: SharedInputs) -> str:
    """The classes and templates that everything is measured by."""
    vocabulary = shared.vocabulary
    whose = "yours" if shared.has_own_classes else "ImageNet's, since none were given (--classes)"
    return f"{len(vocabulary.classes):,}, {whose}; {plural(len(vocabulary.templates), 'template')}"
