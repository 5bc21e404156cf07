"""What a report says of the search for unknown triggers, in words."""

from typing import get_args

from clipclean.config.effort import FAMILIES
from clipclean.report import measures
from clipclean.report.measures import When
from clipclean.report.wording import NOTHING, count, duration, percent, percent_interval
from clipclean.schema.report import CalibrationRecord, FoundRecord, Report, SearchRecord, SuspectRecord
from clipclean.untrusted import plural

WORDS = {name: family.words for name, family in FAMILIES.items()} | {"panel": "built-in trigger"}
_NO_SIZE = {"size": None, "size_words": "none that is good enough"}
NOT_SHOWN = (
    "Triggers outside the families that were searched, such as those that change with every image or act on texts.",
    "That an attacker planted the trigger: clean models have natural triggers, so sizes are compared.",
    "The look of the planted trigger: the found one acts like it, but may look different.",
    "Backdoors that were built to be missed by a search like this one.",
)


def ran(report: Report, /) -> bool:
    """Whether unknown triggers were searched for: in the model as it is now, or for an unlearning."""
    return of_side(report, "after") is not None or bool(_unlearned(report))


def of_side(report: Report, side: When, /) -> SearchRecord | None:
    """The search of an audit, in the model as it was before or is after cleaning; None where none was made."""
    measured = measures.measured(report, side)
    return measured.search if measured and measured.search.found is not None else None


def shown_searches(report: Report, /) -> list[tuple[str, SearchRecord]]:
    """Those that were run: one of an audit, up to two of a sanitization, "before" and "after"; found triggers as they are shown."""
    two, sides = measures.has_before(report), get_args(When)
    shown: list[tuple[str, SearchRecord]] = []
    for side in sides:
        if each := of_side(report, side):
            # One that did not come to its aim has no smallest trigger: its size is not told, and neither is the last one's.
            found = (one if one.reached else one.model_copy(update=_NO_SIZE) for one in each.found or ())
            shown.append((side if two else "", each.model_copy(update={"found": tuple(found)})))
    return shown


def strongest(report: Report, /) -> FoundRecord | None:
    """The trigger that worked best, and that a finding names if one does; None without one, or where known triggers alone speak."""
    only_known = any(suspect.families == ("panel",) for suspect in report.suspects[:1])
    found = None if only_known else of_side(report, "after")
    worked = [each for each in (found.found if found else None) or () if each.reached]
    first = next((suspect.class_ for suspect in report.suspects), None)
    named = {(each.trigger or "").partition(",")[0] for each in report.findings if each.about == first}
    return min(worked, key=lambda each: (each.class_ != first, f"found:{each.family}" not in named), default=None)


def families(suspect: SuspectRecord, /) -> str:
    """The families that point at a suspect, in words."""
    return ", ".join(family(name) for name in suspect.families)


def family(name: str, /) -> str:
    """A family in words; its name where this version does not know it."""
    return WORDS.get(name, name)


def needed(found: FoundRecord, /) -> str:
    """The sizes that clean models need for the same, as ``9.0 to 14.0 %``; of one clean model ``9.0 %``."""
    reference = found.reference
    if not reference:
        return NOTHING
    low, high = percent(reference.low), percent(reference.high)
    return low if low == high else percent_interval((reference.low, reference.high))


def signs(found: FoundRecord, /) -> list[str]:
    """How unusual a found trigger is, in words; empty where it could not be compared."""
    told = []
    if not found.reached:
        told.append("did not come to the success that it aimed at")
    if (value := found.outlyingness) is not None:
        told.append(f"{abs(value):.1f} deviations {'smaller' if value >= 0 else 'larger'} than the other classes need")
    return told


def calibration(known: CalibrationRecord, /) -> str:
    """The models that the sizes were compared with."""
    models = plural(known.models, "clean model")
    return {
        "stored": f"stored statistics of {models} ({known.name})",
        "file": f"stored searches of {models} that were given ({known.name})",
        "reference": f"a search of {models} that was given ({known.name})",
        "none": "the other classes of this model alone, as there was no clean model",
    }[known.kind]


def outcome(found: FoundRecord, /) -> str:
    """The effect of a found trigger, in one sentence."""
    share, without = percent(found.asr.value), percent(found.base_rate.value)
    compared = f" Clean models need {needed(found)} for the same." if found.reference else ""
    return (
        f"Without knowing trigger or class, a search found a change ({found.family_words}, {found.size_words}) with which "
        f"the model classifies {share} of the images of other things as “{found.class_}”; without it, {without}.{compared}"
    )


def covered(report: Report, /) -> str:
    """The families that were searched, in words."""
    every = [each for _, each in shown_searches(report)]
    names = [found.family for each in every for found in each.found or ()]
    names += [control.family for each in every for control in each.controls]
    return ", ".join(dict.fromkeys(family(name) for name in (*names, *_unlearned(report))))


def _unlearned(report: Report) -> list[str]:
    """The families that the searches of an unlearning scored; none where it only forgot what was named."""
    unlearning = report.training.unlearning if report.training else None
    return [name for each in (unlearning.rounds if unlearning else ()) for name in each.scores]


def effort(made: SearchRecord) -> str:
    """How hard it was searched: ``Standard effort, 48.2 s, 18,432 forward passes over 64 images``."""
    passes, images = count(made.forward_passes), count(made.images)
    words = f"{made.effort} effort, {duration(made.seconds)}, {passes} forward passes over {images} images"
    compared = f" Sizes are compared with {calibration(made.calibration)}." if made.calibration else ""
    return f"{words[:1].upper()}{words[1:]}.{compared}"
