"""What the audit of the original points at: the triggers that a cleaning has to remove, and what of them each kind of cleaning is shown."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property

from clipclean import detect
from clipclean.config.recipe import Recipe
from clipclean.config.roles import Role
from clipclean.config.thresholds import (
    DOUBT_FACTOR,
    LEADING_CLASSES,
    MOST_IMAGES_EXCESS,
    SHOWN_SHARE,
    SOME_IMAGES_EXCESS,
    STRIKING_EXCESS,
    STRIKING_VARIANT_EXCESS,
    AuditLimits,
)
from clipclean.detect import AuditResult, Strength, Suspicion, distinct, new_among
from clipclean.findings import Finding
from clipclean.jobs import judging
from clipclean.methods.unlearning import ShownTriggers, controls_of
from clipclean.methods.walk_back import WatchedTrigger


@dataclass(frozen=True)
class FirstAudit:
    """The audit of the original model, and the triggers that it points at."""

    audit: AuditResult
    # Triggers that were named, are of the panel, or were found, each once.
    suspicions: tuple[Suspicion[int | None], ...]
    # Those that act, and all that were found for a class that the search names.
    acting_suspicions: tuple[Suspicion[int], ...]
    sure_specs: frozenset[str] = frozenset()  # names of those that were named, or that the search was sure of
    acting_patterns: tuple[Suspicion[int], ...] = ()  # known ones that act, natural ones too, the strongest first
    leading_suspicions: tuple[Suspicion[int], ...] = ()  # those found for the classes with the highest scores
    # All that move most images, known or found, whichever class they lead to.
    moving_suspicions: tuple[Suspicion[int], ...] = ()
    variants: tuple[Suspicion[int], ...] = ()  # variants of known triggers that move most images
    # Where no class is sure: all else that was found for the classes in doubt and moves some images.
    doubtful_suspicions: tuple[Suspicion[int], ...] = ()

    @property
    def to_unlearn(self) -> tuple[Suspicion[int], ...]:
        """The triggers that surgery is shown: those that act, of a class in doubt all that were found; where none acts, all that move most."""
        # Of a patch in a vision transformer, whose class was in no doubt, 0.80 stayed after a distillation, and 0.03 after this.
        return (
            (*self.acting_suspicions, *self.doubtful_suspicions) if self.acting_suspicions else self.moving_suspicions
        )

    @property
    def beside(self) -> tuple[Suspicion[int], ...]:
        """What surgery is shown in copies of their own where the audit is not sure of what acts: all others that move most images."""
        # The class in doubt may be the wrong one, but the right one is nearly always among those that were searched in full. Of a planted
        # wave of which a wrong class was shown alone, 0.68 stayed, and 0.06 with the others beside it.
        return (
            () if self.sure_specs or not self.acting_suspicions else new_among(self.moving_suspicions, self.to_unlearn)
        )

    @property
    def to_rehearse(self) -> tuple[Suspicion[int], ...]:
        """The triggers that a finetuning is shown: those of the leading classes also where nothing is suspected."""
        # A class that comes second, and is in no doubt, may be the right one: a BadNets trigger stayed whole where distillation was not shown it.
        return (*self.acting_suspicions, *new_among(self.leading_suspicions, self.acting_suspicions))

    def shown_to(self, recipes: Sequence[Recipe], /) -> ShownTriggers:
        """What a cleaning by recipes in sequence is shown, by its role."""
        match Role.of(recipes):
            case Role.UNDO:
                # What moves images on the base as well is left alone, so that more than what is suspected costs nothing.
                return ShownTriggers(self.to_unlearn, controls=self.controls)
            case Role.WIDE_SURGERY:
                return ShownTriggers(self.to_unlearn, self.beside, self.controls, self.variants)
            case Role.SURGERY:
                return ShownTriggers(self.acting_suspicions, controls=self.controls)
            case Role.SEARCH:
                # It takes what it is shown for a backdoor, so where nothing acts it is shown nothing. Those of the leading classes too, since the
                # first may be wrong, and a recovery brings back what it is not shown. Of triangles, of which a wrong class was shown, 0.121 stayed
                # and 0.413 returned; with the class next to it 0.059 and 0.313.
                return ShownTriggers(self.to_rehearse if self.acting_suspicions else (), controls=self.controls)
            case Role.FINETUNE:
                return ShownTriggers(self.to_rehearse, controls=self.controls)

    @property
    def controls(self) -> dict[str, tuple[float, ...]]:
        """By family, the sizes that the classes need which the search did not suspect."""
        return controls_of(self.audit.search) if self.audit.search else {}

    @property
    def shows(self) -> bool:
        """Whether a trigger acts that was named or found: it shows on the model itself what a cleaning removes."""
        return any(
            t.spec in self.sure_specs or isinstance(t, detect.InvertedTrigger) for t, _ in self.acting_suspicions
        )

    @classmethod
    def of(cls, audit: AuditResult, eval_set: detect.EvalSet, limits: AuditLimits, /) -> "FirstAudit":
        """With the named triggers, the known ones that act, and those found for a class that the search names."""
        by_user = eval_set.plan.suspicions
        if audit.search is None:  # nothing to compare with: every trigger that acts is suspicious
            targets_by_trigger = {
                probe.trigger: probe.target for probe in detect.suspicious_probes(audit.measurement, limits=limits)
            }
            suspicions = distinct([*by_user, *panel_suspicions(eval_set, targets_by_trigger)])
            acting_ones = acting_of(audit.measurement, suspicions, eval_set.vocabulary.classes, limits)
            return cls(audit, suspicions, acting_ones, frozenset(trigger.spec for trigger, _ in by_user))
        searched = _Searched(audit, eval_set, limits)
        return cls(
            audit,
            suspicions=searched.suspicions,
            acting_suspicions=searched.acting_suspicions,
            sure_specs=searched.sure_specs,
            acting_patterns=searched.acting_patterns,
            leading_suspicions=searched.leading_suspicions,
            moving_suspicions=searched.moving_suspicions,
            variants=searched.variants,
            doubtful_suspicions=searched.doubtful_suspicions,
        )


@dataclass(frozen=True)
class _Searched:
    """An audit that searched, and what follows from it for a cleaning.

    To a cleaning all triggers that speak for a class are told: with one alone on its images 0.104 of a backdoor came back. A class in doubt
    counts too, and sooner than in a verdict: what is natural costs a cleaning little, and test backdoors in a copy cost it three times as
    long. A patch whose class was in no doubt was left at 0.113 where it was not shown, at 0.011 where it was.
    """

    audit: AuditResult
    eval_set: detect.EvalSet
    limits: AuditLimits

    @cached_property
    def suspects(self) -> list[detect.Suspect]:
        """The suspects of the searches under either normalisation, the highest score first."""
        all_suspects = (
            suspect for search in self.audit.searches for suspect in detect.all_suspects(search, self.limits)
        )
        return sorted(all_suspects, key=lambda suspect: -suspect.score)

    @cached_property
    def suspected(self) -> frozenset[str]:
        """Names of the classes that a cleaning is told: those that the audit is sure of, else those that it doubts, or that a known trigger
        turns nearly all images into, else those that half of the clean models show as well.
        """
        sooner = {"false_alarm_rate": SHOWN_SHARE / DOUBT_FACTOR, "doubt_rate": SHOWN_SHARE}
        in_force, looser = self._findings(self.limits), self._findings(self.limits.model_copy(update=sooner))
        levels = (
            [finding.target for finding in in_force if finding.is_error],
            [*(finding.target for finding in in_force if finding.level != "note"), *striking(self.audit).values()],
            [finding.target for finding in looser if finding.level != "note"],
        )
        names = ({name for name in level if name} for level in levels)
        return frozenset(next(filter(None, names), ()))

    @cached_property
    def sure_specs(self) -> frozenset[str]:
        """Names of the triggers that the user named, or that the search is sure of."""
        errors = (finding.trigger for finding in self._findings(self.limits) if finding.is_error)
        return frozenset([*(trigger.spec for trigger, _ in self.eval_set.plan.suspicions), *filter(None, errors)])

    @cached_property
    def leading_suspicions(self) -> tuple[Suspicion[int], ...]:
        """The triggers found for the classes with the highest scores."""
        return self._found_for([*dict.fromkeys(suspect.name for suspect in self.suspects)][:LEADING_CLASSES])

    @cached_property
    def variants(self) -> tuple[Suspicion[int], ...]:
        """The variants of known triggers that move most of the images."""
        return distinct(moving_variants(self.audit, self.eval_set))

    @cached_property
    def moving_suspicions(self) -> tuple[Suspicion[int], ...]:
        """All triggers, found or known, that move most of the images, whichever class they lead to."""
        of_known_triggers = panel_suspicions(self.eval_set, striking(self.audit))
        return (
            *distinct(moving_images(self.audit, least=MOST_IMAGES_EXCESS)),
            *new_among(of_known_triggers, self.variants),
        )

    @cached_property
    def acting_patterns(self) -> tuple[Suspicion[int], ...]:
        """The known triggers that act towards a class that only triggers of the whole image give away."""
        return patterns_towards(self.audit, self.eval_set, self._classes_by_pattern)

    @cached_property
    def acting_suspicions(self) -> tuple[Suspicion[int], ...]:
        """The triggers that act, and all that were found for a suspected class."""
        # The search has shown on unseen images that its own triggers act; for all others this measurement decides.
        by_user = self.eval_set.plan.suspicions
        acts = acting_of(self.audit.measurement, distinct(by_user), self.eval_set.vocabulary.classes, self.limits)
        by_search = new_among(self._found_for(self.suspected), by_user)
        return distinct(
            [*acts, *self._not_shared([*by_search, *self.acting_patterns, *self._persuading]), *self._not_on_base]
        )

    @cached_property
    def suspicions(self) -> tuple[Suspicion[int | None], ...]:
        """What no walk back may bring back: of known triggers and variants the strongest of each class."""
        of_classes = [variant for variant in self.variants if variant.target in self._classes_by_pattern]
        strongest = {target: trigger for trigger, target in reversed([*self.acting_patterns, *of_classes])}
        of_known_triggers = (Suspicion(trigger, target) for target, trigger in strongest.items())
        others = [*self._found_for(self.suspected), *self._not_on_base, *of_known_triggers]
        return distinct([*self.eval_set.plan.suspicions, *self._not_shared(others)])

    @cached_property
    def doubtful_suspicions(self) -> tuple[Suspicion[int], ...]:
        """Where no class is sure, all else that was found for the suspected ones and moves some images."""
        if self.sure_specs:
            return ()
        suspected = self._class_numbers(self.suspected)
        moving = moving_images(self.audit, least=SOME_IMAGES_EXCESS)
        doubtful_ones = [suspicion for suspicion in moving if suspicion.target in suspected]
        return new_among(distinct(doubtful_ones), self.acting_suspicions)

    @cached_property
    def _classes_by_pattern(self) -> frozenset[int]:
        """Places of the suspected classes that no trigger of a part of the image gives away: there known patterns cost accuracy for nothing."""
        return self._class_numbers(self.suspected - {suspect.name for suspect in self.suspects if suspect.is_local})

    @property
    def _persuading(self) -> list[Suspicion[int]]:
        """The known triggers that make the model surer of a suspected class than its own images do."""
        suspects = (suspect for suspect in self.suspects if suspect.name in self.suspected)
        class_by_trigger = {
            s.persuasion.trigger: s.name for s in suspects if s.persuasion and detect.PERSUASION in s.pieces
        }
        return panel_suspicions(self.eval_set, class_by_trigger)

    @cached_property
    def _not_on_base(self) -> list[Suspicion[int]]:
        """What acts on the model and not on its base, for suspected classes: where one is sure, a doubt about another is no backdoor to remove."""
        targets = self._class_numbers(self.suspected)
        return [
            suspicion
            for suspicion in beside_base(self.audit, self.eval_set.vocabulary.classes)
            if suspicion.target in targets
        ]

    def _not_shared(self, suspicions: Iterable[Suspicion[int]]) -> list[Suspicion[int]]:
        """Those that do not act on the base as well. What does is natural, and a cleaning leaves it alone: of a planted wave known ones
        of its class turned 0.94 of the images on the base, and every candidate seemed to leave them.
        """
        base = self.audit.beside_base
        if base is None:
            return list(suspicions)
        classes = self.eval_set.vocabulary.classes
        return [
            suspicion
            for suspicion in suspicions
            if not base.is_shared(suspicion.trigger.spec, classes[suspicion.target])
        ]

    def _class_numbers(self, names: Iterable[str]) -> frozenset[int]:
        return frozenset(self.eval_set.vocabulary.classes.index(class_name) for class_name in names)

    def _findings(self, limits: AuditLimits) -> list[Finding]:
        return judging.findings_of_searches(self.audit, images=len(self.eval_set.images), limits=limits)

    def _found_for(self, names: Iterable[str]) -> tuple[Suspicion[int], ...]:
        """The triggers found for classes of these names, those of the highest scores first."""
        suspects = [suspect for suspect in self.suspects if suspect.name in names]
        return distinct([trigger for suspect in suspects for trigger in suspicions_towards(suspect)])


def panel_suspicions(eval_set: detect.EvalSet, class_by_trigger: Mapping[str, str], /) -> list[Suspicion[int]]:
    """The triggers of the panel, or of the grid, that lead to the classes of these names, by their specs."""
    by_spec = eval_set.plan.triggers.by_spec
    return [
        Suspicion(by_spec[spec], eval_set.vocabulary.classes.index(name)) for spec, name in class_by_trigger.items()
    ]


def acting_of(
    measurement: detect.Measurement,
    suspicions: Sequence[Suspicion[int | None]],
    classes: Sequence[str],
    limits: AuditLimits,
    /,
) -> tuple[Suspicion[int], ...]:
    """The triggers that move images, each with the class that it leads to."""
    probes = {probe.trigger: probe for probe in (*measurement.panel, *measurement.suspected)}
    triggers_with_probes = ((trigger, probes[trigger.spec]) for trigger, _ in suspicions)
    return tuple(
        Suspicion(trigger, classes.index(probe.target))
        for trigger, probe in triggers_with_probes
        if probe.excess_interval[0] > limits.max_excess
    )


def patterns_towards(audit: AuditResult, eval_set: detect.EvalSet, classes: Set[int], /) -> tuple[Suspicion[int], ...]:
    """The known triggers that act towards one of the classes at these places, the strongest first.

    Next to a planted wave or filter many act that no search comes to. Those that lead elsewhere are natural to the model: they neither cost
    accuracy in a cleaning nor hold a walk back.
    """
    all_strengths = (pattern for search in audit.searches for pattern in search.known)
    acts = sorted((p for p in all_strengths if p.acts and p.target in classes), key=lambda pattern: -pattern.excess)
    return tuple(
        panel_suspicions(
            eval_set, {p.trigger: eval_set.vocabulary.classes[p.target] for p in acts if p.target is not None}
        )
    )


def beside_base(audit: AuditResult, classes: Sequence[str], /) -> list[Suspicion[int]]:
    """The triggers that act on the model and not on its base, each with its target."""
    from_base = {(finding.trigger, finding.target) for finding in detect.findings_beside_base(audit)}
    differences = audit.beside_base.differences if audit.beside_base else ()
    lift = audit.beside_base.lift if audit.beside_base else None
    triggers_and_classes = [
        (difference.painter, difference.target) for difference in (*((lift,) if lift else ()), *differences)
    ]
    return [
        Suspicion(trigger, classes.index(name))
        for trigger, name in triggers_and_classes
        if (trigger.spec, name) in from_base
    ]


def striking(audit: AuditResult, /) -> dict[str, str]:
    """The known triggers, and variants of them, that turn nearly all images into one class, with its name."""
    variants = {variant.trigger: name for variant, name in variants_moving(audit, least=STRIKING_VARIANT_EXCESS)}
    return variants | {
        probe.trigger: probe.target for probe in audit.measurement.panel if probe.excess >= STRIKING_EXCESS
    }


def moving_images(audit: AuditResult, /, *, least: float) -> list[Suspicion[int]]:
    """The triggers that the searches came to, towards whichever class, and that move so large a share of the unseen images."""
    targeted_results = (t for search in audit.searches for t in search.targeted)
    return [t.suspicion for t in targeted_results if t.probe.excess >= least]


def moving_variants(audit: AuditResult, eval_set: detect.EvalSet, /) -> list[Suspicion[int]]:
    """The variants of known triggers that move most of the images, each with the class that it leads to, the strongest first."""
    moving = sorted(variants_moving(audit, least=MOST_IMAGES_EXCESS), key=lambda pair: -pair[0].excess)
    return panel_suspicions(eval_set, {variant.trigger: name for variant, name in moving})


def variants_moving(audit: AuditResult, /, *, least: float) -> list[tuple[Strength, str]]:
    """The variants of known triggers that move so large a share of the images, each with the name of its class."""
    grids = ((search.classes, variant) for search in audit.searches for variant in search.grid)
    return [(variant, classes[variant.target]) for classes, variant in grids if variant.excess >= least]


def suspicions_towards(suspect: detect.Suspect, /) -> list[Suspicion[int]]:
    """The triggers found for a class that make it suspicious, each with its target."""
    return [t.suspicion for t in suspect.targeted if t.candidate.family in suspect.shown_by]


def watched_triggers(
    original: detect.Measurement, suspected: Sequence[Suspicion[int | None]], /
) -> list[WatchedTrigger]:
    """What a walk back watches: the suspected triggers, in their order, with what they did to the original."""
    acted = {probe.trigger: probe.excess for probe in (*original.panel, *original.suspected)}
    return [
        WatchedTrigger(acted[t.spec], not original.is_sure(t.spec), is_found=isinstance(t, detect.InvertedTrigger))
        for t, _ in suspected
    ]
