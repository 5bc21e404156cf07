"""What the search for unknown triggers found, in the words and the order of every form."""

from dataclasses import dataclass
from typing import Any

from clipclean.report import comparison
from clipclean.report.figures import NOTHING, count, duration, percent, percent_interval

Json = dict[str, Any]  # Any: JSON

FAMILIES = {
    "mask": "fixed mask and pattern",
    "patch": "patch at random places",
    "blend": "pattern blended into the whole picture",
    "additive": "faint pattern over the whole picture",
    "bands": "waves or stripes over the whole picture",
    "warp": "smooth distortion",
    "panel": "built-in trigger",
}
NOT_SHOWN = (
    "Triggers outside the families that were searched, such as those that change with every picture or act on texts.",
    "That an attacker planted what was found: clean models have natural triggers, which is why sizes are compared.",
    "What the planted trigger looks like: what was found acts like it, and may look quite different.",
    "Backdoors that were built to be missed by a search like this one.",
)


@dataclass(frozen=True)
class Search:
    """One search: ``when`` is "before", "after" or, in an audit, empty; ``found`` is most abnormal first."""

    when: str
    found: list[Json]
    controls: list[Json]
    told: str  # how it was done, in sentences


def ran(report: Json, /) -> bool:
    """Whether unknown triggers were searched for: in the model as it is now, or for an unlearning."""
    return made(report, "after") is not None or bool(_unlearned(report))


def made(report: Json, side: str, /) -> Json | None:
    """The search of an audit, in the model as it was before or is after cleaning; None where none was made."""
    found: Json = comparison.measured(report, side).get("search", {})
    return found if "found" in found else None


def searches(report: Json, /) -> list[Search]:
    """Those that were run: one of an audit, up to two of a sanitization."""
    two = comparison.has_before(report)
    return [
        Search(
            side if two else "", [_as_shown(each) for each in found["found"]], found.get("controls", []), _told(found)
        )
        for side in ("before", "after")
        if (found := made(report, side))
    ]


def strongest(report: Json, /) -> Json | None:
    """The most abnormal trigger that worked in the model as it is now; None where there is none."""
    found = comparison.measured(report, "after")["search"].get("found", [])
    return next((each for each in found if each["reached"]), None)


def families(suspect: Json, /) -> str:
    """The families that point at a suspect, in words."""
    return ", ".join(family(name) for name in suspect.get("families", ()))


def family(name: str, /) -> str:
    """A family in words; its name where this version does not know it."""
    return FAMILIES.get(name, name)


def needed(found: Json, /) -> str:
    """The sizes that clean models need for the same, as ``9.0 to 14.0 %``."""
    reference = found.get("reference")
    return percent_interval((reference["low"], reference["high"])) if reference else NOTHING


def signs(found: Json, /) -> list[str]:
    """How unusual a found trigger is, in words; empty where it could not be compared."""
    told = []
    if not found["reached"]:
        told.append("did not come to the success that it aimed at")
    for key, others in (("abnormality", "clean models need"), ("outlyingness", "the other classes need")):
        if (value := found.get(key)) is not None:
            told.append(f"{abs(value):.1f} deviations {'smaller' if value >= 0 else 'larger'} than {others}")
    return told


def calibration(made: Json, /) -> str:
    """What the sizes were compared with."""
    known = made["calibration"]
    models = f"{count(known['models'])} clean model{'' if known['models'] == 1 else 's'}"
    return {
        "stored": f"stored statistics of {models} ({known['name']})",
        "reference": f"a search of {models} that was given ({known['name']})",
        "none": "the other classes of this model alone, as there was no clean model",
    }[known["kind"]]


def effort(made: Json, /) -> str:
    """How hard it was searched: ``standard effort, 48.2 s, 18,432 forward passes over 64 pictures``."""
    return (
        f"{made['effort']} effort, {duration(made['seconds'])}, {count(made['forward_passes'])} forward passes over "
        f"{count(made['images'])} pictures"
    )


def outcome(found: Json, /) -> str:
    """What the model does with a found trigger, in one sentence."""
    share, without = percent(found["asr"]["value"]), percent(found["base_rate"]["value"])
    compared = f" Clean models need {needed(found)} for the same." if found.get("reference") else ""
    return (
        f"Told neither trigger nor class, a search found a change ({found['family_words']}, {found['size_words']}) with which "
        f"the model takes {share} of the pictures of other things for “{found['class']}”; without it, {without}.{compared}"
    )


def covered(report: Json, /) -> str:
    """The families that were searched, in words."""
    names = [entry["family"] for each in searches(report) for entry in (*each.found, *each.controls)]
    return ", ".join(dict.fromkeys(family(name) for name in (*names, *_unlearned(report))))


def _unlearned(report: Json) -> list[str]:
    """The families that the searches of an unlearning scored; none where it only forgot what was named."""
    rounds = report.get("training", {}).get("unlearning", {}).get("rounds", [])
    return [name for each in rounds for name in each["scores"]]


def _as_shown(found: Json) -> Json:
    """A search that did not come to its aim has no smallest trigger: its size is not told, and neither is the last one's."""
    return found if found["reached"] else found | {"size": None, "size_words": "none that is good enough"}


def _told(made: Json) -> str:
    words = effort(made)
    return f"{words[:1].upper()}{words[1:]}. Sizes are compared with {calibration(made)}."
