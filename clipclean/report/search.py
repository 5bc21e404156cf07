"""What a report says of the search for unknown triggers, in words."""

from typing import get_args

from clipclean.config.families import FAMILY_FACTS
from clipclean.report import measures
from clipclean.report.measures import When
from clipclean.report.wording import NOTHING, count, duration, percent, percent_interval
from clipclean.schema.report import CalibrationRecord, FoundRecord, Report, SearchRecord, SuspectRecord
from clipclean.untrusted import plural

FAMILY_WORDS = {name: family.words for name, family in FAMILY_FACTS.items()} | {
    "panel": "built-in trigger",
    "persuasion": "convincing built-in trigger",
}
KNOWN_TRIGGER_EVIDENCE = frozenset(("panel", "persuasion"))  # of these, what built-in triggers show
_NO_SIZE = {"size": None, "size_words": "none that is good enough"}
NOT_SHOWN = (
    "Triggers outside the families that were searched, such as those that change with every image or act on texts.",
    "That an attacker planted the trigger: clean models have natural triggers, so sizes are compared.",
    "The look of the planted trigger: the found one acts like it, but may look different.",
    "Backdoors that were built to be missed by a search like this one.",
)


def was_searched(report: Report, /) -> bool:
    """Whether unknown triggers were searched for: in the model as it is now, or for an unlearning."""
    return of_side(report, "after") is not None or bool(_unlearning_families(report))


def of_side(report: Report, side: When, /) -> SearchRecord | None:
    """The search of an audit, in the model as it was before or is after cleaning; None where none was made."""
    measurements = measures.measurements_of(report, side)
    return measurements.search if measurements and measurements.search.found is not None else None


def shown_searches(report: Report, /) -> list[tuple[str, SearchRecord]]:
    """Those that were run: one of an audit, up to two of a sanitization, "before" and "after"; found triggers as they are shown."""
    has_before, sides = measures.has_before(report), get_args(When)
    searches: list[tuple[str, SearchRecord]] = []
    for side in sides:
        if record := of_side(report, side):
            # One that did not come to its aim has no smallest trigger: its size is not told, and neither is the last one's.
            triggers = (
                trigger if trigger.reached else trigger.model_copy(update=_NO_SIZE) for trigger in record.found or ()
            )
            searches.append((side if has_before else "", record.model_copy(update={"found": tuple(triggers)})))
    return searches


def strongest(report: Report, /) -> FoundRecord | None:
    """The trigger that worked best, and that a finding names if one does; None where none changes answers, or known ones alone speak."""
    only_known = any(
        suspect.families and KNOWN_TRIGGER_EVIDENCE.issuperset(suspect.families) for suspect in report.suspects[:1]
    )
    record = None if only_known else of_side(report, "after")
    triggers = [  # with which more images get the class than without
        trigger
        for trigger in (record.found if record else None) or ()
        if trigger.reached and (trigger.asr.value or 0.0) > (trigger.base_rate.value or 0.0)
    ]
    suspect_class = next((suspect.class_ for suspect in report.suspects), None)
    trigger_names = {
        (finding.trigger or "").partition(",")[0] for finding in report.findings if finding.about == suspect_class
    }
    return min(
        triggers,
        key=lambda trigger: (trigger.class_ != suspect_class, f"found:{trigger.family}" not in trigger_names),
        default=None,
    )


def families(suspect: SuspectRecord, /) -> str:
    """The families that point at a suspect, in words."""
    return ", ".join(family(name) for name in suspect.families)


def family(name: str, /) -> str:
    """A family in words; its name where this version does not know it."""
    return FAMILY_WORDS.get(name, name)


def clean_sizes(trigger: FoundRecord, /) -> str:
    """The sizes that clean models need for the same, as ``9.0 to 14.0 %``; of one clean model ``9.0 %``."""
    reference = trigger.reference
    if not reference:
        return NOTHING
    low, high = percent(reference.low), percent(reference.high)
    return low if low == high else percent_interval((reference.low, reference.high))


def signs(trigger: FoundRecord, /) -> list[str]:
    """How unusual a found trigger is, in words; empty where it could not be compared."""
    words = []
    if not trigger.reached:
        words.append("did not come to the success that it aimed at")
    if (value := trigger.outlyingness) is not None:
        words.append(f"{abs(value):.1f} deviations {'smaller' if value >= 0 else 'larger'} than the other classes need")
    return words


def calibration(record: CalibrationRecord, /) -> str:
    """The models that the sizes were compared with."""
    models = plural(record.models, "clean model")
    return {
        "stored": f"stored statistics of {models} ({record.name})",
        "file": f"stored searches of {models} that were given ({record.name})",
        "reference": f"a search of {models} that was given ({record.name})",
        "none": "the other classes of this model alone, as there was no clean model",
    }[record.kind]


def is_smaller_than_clean(trigger: FoundRecord, /) -> bool:
    """Whether a found trigger is smaller than clean models need; of one without a size or a comparison it is not."""
    return trigger.size is not None and trigger.reference is not None and trigger.size < trigger.reference.low


def outcome(trigger: FoundRecord, /, *, stands_out: bool) -> str:
    """The effect of a found trigger, in two sentences or three; sizes of clean models where they say whether its class ``stands_out``."""
    share, without = percent(trigger.asr.value), percent(trigger.base_rate.value)
    is_compared = trigger.reference is not None and is_smaller_than_clean(trigger) == stands_out
    of_clean_models = f" Clean models need {clean_sizes(trigger)} for the same." if is_compared else ""
    return (
        f"A search that knew neither trigger nor class found a change: {trigger.family_words}, {trigger.size_words}. With it, the "
        f"model classifies {share} of the images of other things as “{trigger.class_}”; without it, {without}.{of_clean_models}"
    )


def searched_families(report: Report, /) -> str:
    """The families that were searched, in words."""
    records = [record for _, record in shown_searches(report)]
    names = [trigger.family for record in records for trigger in record.found or ()]
    names += [control.family for record in records for control in record.controls]
    return ", ".join(dict.fromkeys(family(name) for name in (*names, *_unlearning_families(report))))


def _unlearning_families(report: Report) -> list[str]:
    """The families that the searches of an unlearning scored; none where it only forgot what was named."""
    unlearning = report.training.unlearning if report.training else None
    return [name for round_ in (unlearning.rounds if unlearning else ()) for name in round_.scores]


def effort(record: SearchRecord) -> str:
    """How hard it was searched: ``Standard effort, 48.2 s, 18,432 forward passes over 64 images``."""
    passes, images = count(record.forward_passes), count(record.images)
    words = f"{record.effort} effort, {duration(record.seconds)}, {passes} forward passes over {images} images"
    calibration_words = f" Sizes are compared with {calibration(record.calibration)}." if record.calibration else ""
    return f"{words[:1].upper()}{words[1:]}.{calibration_words}"
