"""The findings of an audit: what was seen of a model, against thresholds, clean models and copies with planted backdoors."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from clipclean import detect
from clipclean.attack import poison, power
from clipclean.config import recipe as recipes
from clipclean.config.thresholds import AuditLimits
from clipclean.findings import Finding, finding, rule
from clipclean.jobs import searching
from clipclean.jobs.given import AuditInputs
from clipclean.jobs.searching import AuditResult, SearchSettings

CANARIES = 4  # test backdoors by which the power is measured


@dataclass(frozen=True)
class Audited:
    """What an audit has read and measured."""

    ready: AuditInputs
    references: detect.References | None  # clean models to compare with
    seen: AuditResult  # of the tested model
    usual: AuditResult | None  # the same under CLIP's own normalisation, if that is another and time sufficed


def judged(made: Audited, limits: AuditLimits, /) -> list[Finding]:
    """All findings except the power: on the model, on the images, and under CLIP's own normalisation."""
    found = [*findings(made.seen, limits, images=len(made.ready.eval_set.pixels)), *side_findings(made.ready)]
    if made.usual:
        return [*under_usual(made, made.usual, limits), *found]
    if searching.usual_normalisation(made.ready.tested.clip):
        found.append(detect.unsearched("CC024", "Time was over before the audit under CLIP's own normalisation."))
    return found


def findings(seen: AuditResult, limits: AuditLimits, /, *, images: int) -> list[Finding]:
    """The findings of a result on this number of images."""
    # With a search, triggers of the panel are compared with each other and with clean models, by their least strengths.
    measured = replace(seen.measured, panel=()) if seen.search else seen.measured
    found = [*detect.of_probes(measured, limits=limits)]
    if seen.why_not:
        found.append(detect.unsearched(*seen.why_not))
    if late := unfinished(seen):
        found.append(detect.unsearched("CC024", f"Time was over: {late}. The same command with more minutes resumes."))
    if seen.search is None:
        return found
    if images < limits.min_images:
        words = f"{images} images are too few to judge the results: at least {limits.min_images} are needed."
        found.append(detect.unsearched("CC020", f"{words} Give more by --data."))
    if doubt := detect.unsound(sound_rate(seen), classes=len(seen.measured.text_classifier)):
        found.append(doubt)
    found += detect.of_search(seen.search, images=images, limits=limits)
    if seen.search.twins:
        found.append(detect.twins(seen.search))
    elif seen.search.references is None:
        found.append(detect.uncalibrated())
    return found


def unfinished(seen: AuditResult, /) -> str:
    """The parts that were not done before the deadline; empty if all were."""
    parts = []
    if seen.measured.untried:
        parts.append(f"{seen.measured.untried} of the known triggers were not tried")
    if seen.search and seen.search.cut:
        parts.append("only {} of {} steps of the search were done".format(*seen.search.cut))
    return ", and ".join(parts)


def sound_rate(seen: AuditResult, /) -> detect.Rate | None:
    """How well the model knows the classes: accuracy, or how often an image and its caption are of one class; None if unknown."""
    if seen.agreement is not None:
        return seen.agreement
    return seen.measured.accuracy.rate if seen.measured.accuracy.rate.n else None


def under_usual(made: Audited, usual: AuditResult, limits: AuditLimits, /) -> list[Finding]:
    """The findings under CLIP's own normalisation, and whether the model is better with it."""
    more = [
        found.model_copy(update={"message": f"Under CLIP's own mean and deviation of pixels: {found.message}"})
        for found in findings(usual, limits, images=len(made.ready.eval_set.pixels))
        if rule(found.rule).tells == "sign"
    ]
    own, better = sound_rate(made.seen), sound_rate(usual)
    if own and better and own.n and better.value - own.value > limits.max_accuracy_loss:
        words = (
            f"With the mean and std that came with the weights {100 * own.value:.1f} % of images are taken for their class, with CLIP's "
            f"own {100 * better.value:.1f} %: the configuration is not the one that the model was trained with."
        )
        more.append(detect.unsearched("CC007", words))
    return more


def side_findings(ready: AuditInputs, /) -> list[Finding]:
    """Notes on the images; they inform and never change the verdict."""
    told, skipped = [], ready.images.skipped
    if ready.request.data is None:
        told.append(finding("CC031", f"No images were given: {len(ready.images)} bundled ones were measured on."))
    if skipped:
        named = ", ".join(f"{s.key} ({s.reason})" for s in skipped[:5])
        told.append(finding("CC030", f"{len(skipped)} images were unusable and skipped: {named}."))
    return told


def power_of(made: Audited, /) -> power.Power | None:
    """How many planted backdoors the same audit finds; None if not requested, if no search was possible, or if the model fails
    anyway.
    """
    ready, request = made.ready, made.ready.request
    found = judged(made, ready.given.judge.limits)
    if not request.power or made.seen.search is None or any(each.level == "error" for each in found):
        return None
    named = {each.target for each in found if each.target}
    settings, clip = SearchSettings(request.effort, request.seed), ready.tested.clip
    eval_set = replace(ready.eval_set, suspicions=())  # those are of the tested model alone

    def levels() -> dict[str, str]:
        what = " a copy with a planted backdoor"
        copy = searching.audit_clip(settings, clip, eval_set, made.references, what=what)
        told = findings(copy, ready.given.judge.limits, images=len(eval_set.pixels))
        return {each.target: each.level for each in told if each.rule == "CC003" and each.target}

    avoid = [place for place, name in enumerate(eval_set.classes) if name in named]
    return power.measure(
        clip,
        ready.planting,
        eval_set,
        recipes.load(recipes.DEFAULT),
        poison.draw(CANARIES, classes=len(eval_set.classes), avoid=avoid, seed=request.seed),
        seed=request.seed,
        named=levels,
    )


def with_power(found: Sequence[Finding], known: power.Power | None, /) -> list[Finding]:
    """The findings with the power of the audit, which replaces clean models to compare with if it is enough."""
    if known is None:
        return list(found)
    return [*(each for each in found if not (known.is_enough and each.rule == "CC004")), known.finding()]
