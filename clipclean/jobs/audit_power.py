"""The power of an audit: how many backdoors planted in copies of the model it finds."""

from collections.abc import Sequence

from clipclean import data, model
from clipclean.attack import canaries, power
from clipclean.config import recipe as recipes
from clipclean.findings import Finding
from clipclean.jobs import searching
from clipclean.jobs.audit_findings import Setting
from clipclean.jobs.audit_inputs import AuditInputs, AuditRequest
from clipclean.jobs.searching import AuditResult


def pairs_of(request: AuditRequest, read: AuditInputs, /) -> Sequence[data.Pair]:
    """The pairs to plant with: the user's images, or else the bundled pairs; none where the power is not asked for.

    Raises:
        Inconclusive: there are too few.
    """
    if not request.power:
        return ()
    pairs = read.images if request.own else read.pairs()
    return power.pairs_of(pairs, read.vocabulary.classes, read.vocabulary.templates)


def measured(
    setting: Setting,
    clip: model.Clip,
    pairs: Sequence[data.Pair],
    seen: AuditResult,
    found: Sequence[Finding],
    /,
) -> power.Power | None:
    """How many planted backdoors the same audit finds; None if not requested, if no search was possible, or if the model fails
    anyway.
    """
    request, eval_set = setting.request, setting.eval_set
    if not request.power or seen.search is None or any(each.level == "error" for each in found):
        return None
    named = {each.target for each in found if each.target}

    def levels() -> dict[str, str]:
        what = " a copy with a planted backdoor"
        copy = searching.audit_clip(request.settings, clip, eval_set, setting.references, setting.progress, what=what)
        return {each.target: each.level for each in setting.findings(copy) if each.rule == "CC003" and each.target}

    avoid = [place for place, name in enumerate(eval_set.classes) if name in named]
    return power.measure(
        clip,
        pairs,
        eval_set,
        recipes.load(recipes.DEFAULT),
        canaries.draw(request.canaries, classes=len(eval_set.classes), avoid=avoid, seed=request.seed),
        seed=request.seed,
        named=levels,
        progress=setting.progress,
    )


def with_power(found: Sequence[Finding], known: power.Power | None, /) -> list[Finding]:
    """The findings with the power of the audit, which replaces clean models to compare with if it is enough."""
    if known is None:
        return list(found)
    return [*(each for each in found if not (known.is_enough and each.rule == "CC004")), known.finding()]
