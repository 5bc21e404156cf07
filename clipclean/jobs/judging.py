"""What was seen of a model, judged: the findings of an audit, and the triggers that a cleaning has to remove."""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial

from clipclean import detect, model
from clipclean.attack import power
from clipclean.config import recipe as recipes
from clipclean.config.recipe import Recipe
from clipclean.config.thresholds import (
    DOUBT,
    LED,
    MOVES_MOST,
    MOVES_SOME,
    SHOWN,
    STRIKING,
    STRIKING_VARIANT,
    AuditLimits,
)
from clipclean.detect import AuditResult, Strength, Suspicion
from clipclean.findings import CC, Finding, finding, rule
from clipclean.jobs import searching
from clipclean.jobs.inputs import LoadedModel
from clipclean.jobs.shared_inputs import AuditInputs, SharedInputs
from clipclean.methods import unlearning
from clipclean.methods.suspicion import Shown, distinct, new_among
from clipclean.methods.unlearning import SearchedModel
from clipclean.methods.walk_back import Watched, Way
from clipclean.progress import stage
from clipclean.report import PageImages, example_images
from clipclean.schema.report import PowerRecord, ProjectionRecord


@dataclass(frozen=True)
class Audited:
    """What an audit has read and measured."""

    audit_inputs: AuditInputs
    references: detect.References | None  # clean models to compare with
    audit: AuditResult  # of the tested model


def all_findings(audited: Audited, limits: AuditLimits, /) -> list[Finding]:
    """All findings except the power: on the model and on the images."""
    images = len(audited.audit_inputs.eval_set.pixels)
    is_chosen = audited.audit_inputs.names_weights
    notes = [*notes_on_images(audited.audit_inputs), *file_findings(audited.audit_inputs.loaded, is_chosen=is_chosen)]
    return [*detect.of_audit(audited.audit, limits, images=images), *notes]


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
        notes.append(
            finding(
                CC.BUNDLED_IMAGES_USED,
                f"No images were given: {len(audit_inputs.images)} bundled ones were measured on.",
            )
        )
    if skipped:
        named = ", ".join(f"{s.key} ({s.reason})" for s in skipped[:5])
        notes.append(finding(CC.DATA_SKIPPED, f"{len(skipped)} images were unusable and skipped: {named}."))
    return notes


def notes_on_classes(shared: SharedInputs, /) -> list[Finding]:
    """That nobody named the classes which everything is measured by."""
    if shared.has_own_classes:
        return []
    return [
        finding(
            CC.NO_CLASS_LIST, f"No class list was given. {shared.vocabulary.default_note}", value=float(shared.classes)
        )
    ]


def power_of(audited: Audited, /) -> PowerRecord | None:
    """How many planted backdoors the same audit finds; None if not requested, if no search was possible, or if the model fails
    anyway.
    """
    audit_inputs, settings = audited.audit_inputs, audited.audit_inputs.settings
    findings = all_findings(audited, audit_inputs.shared.judge.limits)
    if (
        not audit_inputs.has_power
        or audited.audit.search is None
        or any(finding.level == "error" for finding in findings)
    ):
        return None
    named = {finding.target for finding in findings if finding.target}
    clip = audit_inputs.loaded.clip
    eval_set = replace(audit_inputs.eval_set, suspicions=())  # those are of the tested model alone

    def levels() -> dict[str, str]:
        copy = searching.audit_clip(settings, clip, eval_set, audited.references, what="a copy with a planted backdoor")
        of_copy = detect.of_audit(copy, audit_inputs.shared.judge.limits, images=len(eval_set.pixels))
        named = {
            finding.target: finding.level for finding in of_copy if finding.rule == CC.TRIGGER_FOUND and finding.target
        }
        one_with = copy.search.one_with if copy.search else lambda name: (name,)
        return {name: level for target, level in named.items() for name in one_with(target)}

    avoid = [place for place, name in enumerate(eval_set.classes) if name in named]
    return power.measure(
        clip,
        audit_inputs.planting,
        eval_set,
        recipes.load(recipes.STANDARD),
        power.drawn(classes=len(eval_set.classes), avoid=avoid, seed=settings.seed),
        seed=settings.seed,
        levels=levels,
    )


def with_power(findings: Sequence[Finding], known: PowerRecord | None, /) -> list[Finding]:
    """The findings with the power of the audit, which replaces clean models to compare with if it is enough."""
    if known is None:
        return list(findings)
    return [
        *(finding for finding in findings if not (known.enough and finding.rule == CC.NOT_CALIBRATED)),
        power.power_finding(known),
    ]


# Suspected triggers of a cleaning: named, of the panel, or found; which of them act, and their findings.


def with_natural_marked(
    clip: model.Clip, measured: detect.Measurement, eval_set: detect.EvalSet, limits: AuditLimits, /
) -> detect.Measurement:
    """A measurement in which natural triggers of the panel are marked, by the least strengths at which they act."""
    if not eval_set.panel or not detect.suspicious_probes(measured, limits=limits):
        return measured
    pixels = eval_set.pixels.to(clip.device)
    try:  # with the logits that are typical of each class, as the margins of clean models were measured
        canonical = detect.canonical_of(clip.embed_images, pixels, measured.text_classifier.to(clip.device))
    except detect.NoSearch:
        return measured
    moving = {probe.trigger for probe in measured.panel if probe.excess >= detect.MOVES}  # no other can act
    moving_triggers = [trigger for trigger in eval_set.panel if trigger.spec in moving]
    strengths = detect.strengths(clip.embed_images, pixels, moving_triggers, canonical=canonical)
    named = detect.telling(strengths, eval_set.classes, least_evidence=detect.least_score(limits, is_doubt=True))
    return replace(measured, natural=frozenset(trigger.spec for trigger in eval_set.panel) - named)


def panel_suspicions(eval_set: detect.EvalSet, led: Mapping[str, str], /) -> list[Suspicion[int]]:
    """The triggers of the panel, or of the grid, that lead to the classes of these names, by their specs."""
    known = {trigger.spec: trigger for trigger in eval_set.tried}
    return [Suspicion(known[spec], eval_set.classes.index(name)) for spec, name in led.items()]


def suspected_trigger(hit: detect.TargetedResult, /) -> Suspicion[int]:
    """A trigger that a search found, with the class that it leads to."""
    return Suspicion(hit.found, hit.candidate.target)


def acting(
    measured: detect.Measurement,
    suspicions: Sequence[Suspicion[int | None]],
    eval_set: detect.EvalSet,
    limits: AuditLimits,
    /,
) -> tuple[Suspicion[int], ...]:
    """The triggers that move images, each with the class that it leads to."""
    probes = {probe.trigger: probe for probe in (*measured.panel, *measured.known)}
    led = ((trigger, probes[trigger.spec]) for trigger, _ in suspicions)
    return tuple(
        Suspicion(trigger, eval_set.classes.index(probe.target))
        for trigger, probe in led
        if probe.excess_interval[0] > limits.max_excess
    )


def examples(
    clip: model.Clip, eval_set: detect.EvalSet, measured: detect.Measurement, /, *, seed: int
) -> example_images.ModelImages:
    """Example images and maps under the first suspicion, or else under the first trigger of the panel."""
    shown = [*eval_set.suspicions, *((trigger, None) for trigger in eval_set.panel)]
    if not shown:
        return example_images.ModelImages()
    classifier = measured.text_classifier.to(clip.device)
    look = example_images.Look(clip, eval_set, *shown[0], classifier, seed)
    with stage("drawing examples and maps"):
        return example_images.ModelImages(look.examples(), look.maps())


def shown_by_search(
    clip: model.Clip, eval_set: detect.EvalSet, audit: AuditResult, /, *, seed: int
) -> tuple[Mapping[str, ProjectionRecord], PageImages]:
    """Maps and images under the most abnormal trigger found, which is shown alone too, or else under the first of the panel."""
    hits = audit.search.targeted if audit.search else ()
    under_found = replace(eval_set, suspicions=tuple(map(suspected_trigger, hits)))
    under = examples(clip, under_found, audit.measured, seed=seed)
    alone = example_images.trigger_alone(hits[0].found, eval_set.pixels) if hits else ()
    return under.maps, PageImages(alone, under.examples)


def unlearning_findings(unlearned: SearchedModel, /, *, least: float) -> list[Finding]:
    """A warning for each class that the last search of an unlearning still suspects, so that the run does not pass.

    A trigger at least ``least`` robust deviations smaller than in clean models makes a suspect; a smaller difference only
    causes further rounds.
    """
    state = unlearned.state
    left = (catch for catch in state.newest if catch.score >= least)
    worst = {catch.target: catch for catch in sorted(left, key=lambda catch: catch.score)}
    return [
        finding(
            CC.TRIGGER_FOUND,
            f"After {state.rounds} rounds of unlearning the search still finds a trigger towards '{catch.found.target}' that is "
            f"smaller than those of other classes: one that {catch.found.size_words}. Allow more rounds by --set "
            "unlearn.max_rounds=N, or clean the result further with another recipe.",
            level="warning",
            measure="anomaly index",
            value=catch.score,
            target=catch.found.target,
            trigger=catch.found.spec,
        )
        for catch in worst.values()
    ]


@dataclass(frozen=True)
class FirstAudit:
    """The audit of the original model, and the triggers that it points at."""

    audit: AuditResult
    # Triggers that were named, are of the panel, or were found, each once.
    suspicions: tuple[Suspicion[int | None], ...]
    acting: tuple[Suspicion[int], ...]  # those that act, and all that were found for a class that the search names
    sure: frozenset[str] = frozenset()  # names of those that were named, or that the search was sure of
    patterns: tuple[Suspicion[int], ...] = ()  # known ones that act, natural ones too, the strongest first
    leading: tuple[Suspicion[int], ...] = ()  # those found for the classes with the highest scores
    moving: tuple[Suspicion[int], ...] = ()  # all that move most images, known or found, whichever class they lead to
    variants: tuple[Suspicion[int], ...] = ()  # variants of known triggers that move most images
    doubtful: tuple[
        Suspicion[int], ...
    ] = ()  # where no class is sure: all else that was found for the classes in doubt and moves some images

    @property
    def to_unlearn(self) -> tuple[Suspicion[int], ...]:
        """The triggers that surgery is shown: those that act, of a class in doubt all that were found; where none acts, all that move most."""
        # Of a patch in a vision transformer, whose class was in no doubt, 0.80 stayed after a distillation, and 0.03 after this.
        return (*self.acting, *self.doubtful) if self.acting else self.moving

    @property
    def beside(self) -> tuple[Suspicion[int], ...]:
        """What surgery is shown in copies of their own where the audit is not sure of what acts: all others that move most images."""
        # The class in doubt may be the wrong one, but the right one is nearly always among those that were searched in full. Of a planted
        # wave of which a wrong class was shown alone, 0.68 stayed, and 0.06 with the others beside it.
        return () if self.sure or not self.acting else new_among(self.moving, self.to_unlearn)

    @property
    def to_remove(self) -> tuple[Suspicion[int], ...]:
        """The triggers that a cleaning is told which may cost more: those of the leading classes too, since the first may be wrong."""
        # A recovery brings back what it is not shown. Of triangles, of which a wrong class was shown, 0.121 stayed and 0.413 returned; with
        # the class next to it 0.059 and 0.313.
        return self.to_rehearse if self.acting else ()

    @property
    def to_rehearse(self) -> tuple[Suspicion[int], ...]:
        """The triggers that a finetuning is shown: those of the leading classes also where nothing is suspected."""
        # Of a BadNets trigger whose class was the second, and in no doubt, distillation left 0.938 without them and 0.014 with them. A clean
        # model lost 1.0 points either way.
        return (*self.acting, *new_among(self.leading, self.acting))

    def shown_to(self, recipes: Sequence[Recipe], /) -> Shown:
        """What a cleaning by recipes in sequence is shown; wide surgery also what moves most images, where the audit is not sure."""
        if all(recipe.is_surgery and recipe.unlearn.widely for recipe in recipes):
            return Shown(self.to_unlearn, self.beside, self.controls, self.variants)
        if all(recipe.is_surgery for recipe in recipes):
            return Shown(self.acting, controls=self.controls)
        # An unlearning takes what it is shown for a backdoor; a finetuning only sees through it.
        searches = any(recipe.traits.searches for recipe in recipes)
        return Shown(self.to_remove if searches else self.to_rehearse, controls=self.controls)

    @property
    def controls(self) -> dict[str, tuple[float, ...]]:
        """By family, the sizes that the classes need which the search did not suspect."""
        return unlearning.controls_of(self.audit.search) if self.audit.search else {}

    @property
    def shows(self) -> bool:
        """Whether a trigger acts that was named or found: it shows on the model itself what a cleaning removes."""
        return any(t.spec in self.sure or isinstance(t, detect.InvertedTrigger) for t, _ in self.acting)

    @classmethod
    def of(cls, audit: AuditResult, eval_set: detect.EvalSet, limits: AuditLimits, /) -> "FirstAudit":
        """With the named triggers, the known ones that act, and those found for a class that the search names.

        To a cleaning all that speak for such a class are told: with one trigger alone on its images 0.104 of a backdoor came back. A
        class in doubt counts too, and sooner than in a verdict: what is natural costs a cleaning little, and test backdoors in a copy cost it
        three times as long. A patch whose class was in no doubt was left at 0.113 where it was not shown, at 0.011 where it was.
        """
        by_user = eval_set.suspicions
        sure = {suspicion.trigger.spec for suspicion in by_user}
        if audit.search is None:  # nothing to compare with: every trigger that acts is suspicious
            led = {probe.trigger: probe.target for probe in detect.suspicious_probes(audit.measured, limits=limits)}
            suspicions = distinct([*by_user, *panel_suspicions(eval_set, led)])
            return cls(audit, suspicions, acting(audit.measured, suspicions, eval_set, limits), frozenset(sure))
        findings = partial(search_findings, audit, images=len(eval_set.pixels))
        named = suspected_classes(findings, audit, limits)
        by_search = [detect.all_suspects(search, limits) for search in audit.searches]
        first = sorted((suspect for suspects in by_search for suspect in suspects), key=lambda suspect: -suspect.score)
        names = [*dict.fromkeys(suspect.name for suspect in first)][:LED]
        leading = distinct(
            [trigger for suspect in first if suspect.name in names for trigger in suspicions_of(suspect)]
        )
        variants = distinct(moving_variants(audit, eval_set))
        known_ones = panel_suspicions(eval_set, striking(audit))
        moving = (*distinct(moving_images(audit, least=MOVES_MOST)), *new_among(known_ones, variants))
        # The search has shown on unseen images that its own triggers act; for all others this measurement decides.
        searched = distinct(
            [trigger for suspect in first if suspect.name in named for trigger in suspicions_of(suspect)]
        )
        known = acting(audit.measured, distinct(by_user), eval_set, limits)
        known = (*known, *new_among(searched, by_user))
        sure |= {finding.trigger for finding in findings(limits=limits) if finding.trigger and finding.level == "error"}
        # Where triggers of a part of the image give a class away, known patterns cost accuracy for nothing.
        local = {suspect.name for suspect in first if suspect.is_local}
        classes = {eval_set.classes.index(name) for name in named - local}
        patterns = acting_patterns(audit, eval_set, classes)
        # The strongest of each family of found triggers, and of the known ones of each class, is what no walk back may bring back.
        of_classes = [variant for variant in variants if variant.target in classes]
        strongest = {target: trigger for trigger, target in reversed([*patterns, *of_classes])}
        more = (Suspicion(trigger, target) for target, trigger in strongest.items())
        beside = beside_base(audit, eval_set, limits)
        watched = distinct([*by_user, *searched, *beside, *more])
        acting_ones = distinct([*known, *beside, *patterns])
        doubted = {eval_set.classes.index(name) for name in named}
        of_doubted = [hit for hit in moving_images(audit, least=MOVES_SOME) if hit.target in doubted and not sure]
        doubtful = new_among(distinct(of_doubted), acting_ones)
        return cls(audit, watched, acting_ones, frozenset(sure), patterns, leading, moving, variants, doubtful)


def acting_patterns(audit: AuditResult, eval_set: detect.EvalSet, classes: Set[int], /) -> tuple[Suspicion[int], ...]:
    """The known triggers that act towards one of the classes at these places, the strongest first.

    Next to a planted wave or filter many act that no search comes to. Those that lead elsewhere are natural to the model: they neither cost
    accuracy in a cleaning nor hold a walk back.
    """
    every = (pattern for search in audit.searches for pattern in search.known)
    acts = sorted((p for p in every if p.acts and p.target in classes), key=lambda pattern: -pattern.excess)
    return tuple(
        panel_suspicions(eval_set, {p.trigger: eval_set.classes[p.target] for p in acts if p.target is not None})
    )


def beside_base(audit: AuditResult, eval_set: detect.EvalSet, limits: AuditLimits, /) -> list[Suspicion[int]]:
    """The triggers that act on the model and not on its base, each with its target."""
    named = {(finding.trigger, finding.target) for finding in detect.of_base(audit, limits)}
    differences = audit.beside_base.differences if audit.beside_base else ()
    return [
        Suspicion(difference.made, eval_set.classes.index(difference.target))
        for difference in differences
        if (difference.trigger, difference.target) in named
    ]


def striking(audit: AuditResult, /) -> dict[str, str]:
    """The known triggers, and variants of them, that turn nearly all images into one class, with its name."""
    variants = {variant.trigger: name for variant, name in variants_moving(audit, least=STRIKING_VARIANT)}
    return variants | {probe.trigger: probe.target for probe in audit.measured.panel if probe.excess >= STRIKING}


def moving_images(audit: AuditResult, /, *, least: float) -> list[Suspicion[int]]:
    """The triggers that the searches came to, towards whichever class, and that move so large a share of the unseen images."""
    hits = (hit for search in audit.searches for hit in search.targeted)
    return [suspected_trigger(hit) for hit in hits if hit.probe.excess >= least]


def moving_variants(audit: AuditResult, eval_set: detect.EvalSet, /) -> list[Suspicion[int]]:
    """The variants of known triggers that move most of the images, each with the class that it leads to, the strongest first."""
    moving = sorted(variants_moving(audit, least=MOVES_MOST), key=lambda pair: -pair[0].excess)
    return panel_suspicions(eval_set, {variant.trigger: name for variant, name in moving})


def variants_moving(audit: AuditResult, /, *, least: float) -> list[tuple[Strength, str]]:
    """The variants of known triggers that move so large a share of the images, each with the name of its class."""
    grids = ((search.classes, variant) for search in audit.searches for variant in search.grid)
    return [(variant, classes[variant.target]) for classes, variant in grids if variant.excess >= least]


def suspicions_of(suspect: detect.Suspect, /) -> list[Suspicion[int]]:
    """The triggers found for a class that make it suspicious, each with its target."""
    return [suspected_trigger(hit) for hit in suspect.targeted if hit.candidate.family in suspect.shown_by]


def search_findings(audit: AuditResult, /, *, images: int, limits: AuditLimits) -> list[Finding]:
    """What the searches under either normalisation say."""
    limits = detect.of_looks(limits, audit.looks)
    by_search = [
        finding for search in audit.searches for finding in detect.of_search(search, images=images, limits=limits)
    ]
    return [*detect.of_base(audit, limits), *by_search]


def suspected_classes(
    findings: Callable[..., Sequence[Finding]], audit: AuditResult, limits: AuditLimits, /
) -> frozenset[str]:
    """Names of the classes that a cleaning is told: those that the audit is sure of, else those that it doubts, or that a known trigger
    turns nearly all images into, else those that half of the clean models show as well.
    """
    # What is natural costs a cleaning little, and test backdoors in a copy cost it three times as long. A patch whose class was in no doubt
    # was left at 0.113 where it was not shown, at 0.011 where it was.
    sooner = limits.model_copy(update={"false_alarm_rate": SHOWN / DOUBT, "doubt_rate": SHOWN})
    in_force, looser = findings(limits=limits), findings(limits=sooner)
    levels = (
        [finding.target for finding in in_force if finding.level == "error"],
        [*(finding.target for finding in in_force), *striking(audit).values()],
        [finding.target for finding in looser],
    )
    named = ({name for name in level if name} for level in levels)
    return frozenset(next(filter(None, named), ()))


def to_watch(original: detect.Measurement, suspected: Sequence[Suspicion[int | None]], /) -> list[Watched]:
    """What a walk back watches: the suspected triggers, in their order, with what they did to the original."""
    acted = {probe.trigger: probe.excess for probe in (*original.panel, *original.known)}
    return [
        Watched(acted[t.spec], not original.is_sure(t.spec), is_found=isinstance(t, detect.InvertedTrigger))
        for t, _ in suspected
    ]


def is_suspected(original: Sequence[Finding], /) -> bool:
    """Whether an audit with these findings points at a backdoor, or did not look for unknown ones.

    A trigger that was named and may act counts.
    """
    return any(rule(finding.rule).tells or finding.trigger is not None for finding in original)


def nothing_to_clean(*, is_changed: bool) -> Finding:
    """That nothing acted before, so that nothing shows what a cleaning removed; ``is_changed`` is whether it changed a weight."""
    what = "the weights were cleaned all the same" if is_changed else "the weights are as they were"
    words = f"No trigger acted on this model before cleaning, and the search found none; {what}."
    return finding(CC.NOTHING_TO_CLEAN, words)


def nothing_passes(what: str, way: Way, /) -> Finding:
    """That the weights stay as they were, since what was tried costs too much and the audit was sure of nothing."""
    # Triggers returned at every point within the budget, so those are no offer.
    budget = way.limits.max_accuracy_loss
    best = min((p for p in way.points if p.accuracy_lost > budget), key=lambda p: p.accuracy_lost)
    low, high = (f"{100 * end:.1f}" for end in best.interval)
    words = (
        f"{what} costs at least {100 * best.accuracy_lost:.1f} points of accuracy ({low} to {high}), where {100 * budget:.1f} are "
        "allowed, and the audit found no sure backdoor, so the weights stay as they were."
    )
    return finding(CC.NO_CANDIDATE_PASSES, words, level="warning", measure="accuracy lost", value=best.accuracy_lost)
