"""The model in memory with its training and test data: load weights, measure, audit, take weights out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from clipclean import detect, model
from clipclean.config import recipe as recipes
from clipclean.config.recipe import Recipe
from clipclean.config.thresholds import AuditLimits
from clipclean.data import Samples
from clipclean.detect import AuditResult, Suspicion
from clipclean.findings import Finding
from clipclean.jobs import judging, searching
from clipclean.jobs.cleaning_inputs import CleaningInputs
from clipclean.jobs.finetune_base import LoadedBase
from clipclean.jobs.first_audit import FirstAudit, watched_triggers
from clipclean.jobs.searching import SearchSettings
from clipclean.methods import training, walk_back
from clipclean.methods.training import Aims
from clipclean.methods.unlearning import ShownTriggers
from clipclean.methods.walk_back import WalkBack, WatchedTrigger
from clipclean.train import Run, RunState


def control_of(recipe: Recipe, /) -> Recipe:
    """The recipe for planting and for the refinetune test."""
    return recipes.load(recipe.auto.control).model_copy(update={"data": recipe.data})


@dataclass(frozen=True)
class Workbench:
    """What a cleaning works on: the model, the data, what it is compared with and the limits. The weights of the model change."""

    clip: model.Clip  # the model of the run's inputs, whose weights change
    original: dict[str, Tensor]  # its own weights
    samples: Samples  # to train on
    eval_set: detect.EvalSet  # to measure on, with the triggers that were named
    references: detect.References | None  # clean models to compare with; None without any
    limits: AuditLimits  # thresholds of the run
    auto_settings: recipes.AutoSettings  # ``auto`` of the recipe
    control: Recipe  # the recipe for planting and for the refinetune test
    state: RunState  # where each finished part is kept
    run: Run  # seed, precision and progress
    searches: bool = True  # whether an audit searches for unknown triggers; else it measures known ones alone
    base: LoadedBase | None = None  # the model that this one was finetuned from, where it was named

    @classmethod
    def of(cls, inputs: CleaningInputs, state: RunState, run: Run, /) -> "Workbench":
        """Of what a run has prepared; clean models to compare with follow."""
        clip, recipe, searches = inputs.loaded.clip, inputs.recipe, inputs.searches
        eval_set = inputs.eval_set()
        plan = replace(eval_set.plan, classifier=eval_set.plan.classifier or searches)  # a search needs one
        return cls(
            clip=clip,
            original=model.copy_weights(clip),
            samples=inputs.to_train,
            eval_set=replace(eval_set, plan=plan),
            references=None,
            limits=inputs.shared.judge.limits,
            auto_settings=recipe.auto,
            control=control_of(recipe),
            state=state,
            run=replace(run, state=None),  # each part has its own
            searches=searches,
        )

    def weights(self) -> dict[str, Tensor]:
        """A copy of the current weights."""
        return model.copy_weights(self.clip)

    def put(self, weights: dict[str, Tensor], /) -> None:
        """Put in other weights."""
        model.put_weights(self.clip, weights)

    def aims_where_it_begins(
        self,
        recipe: Recipe,
        triggers: ShownTriggers,
        /,
        *,
        base: model.Clip | None,
        run: Run,
        text_classifier: Tensor | None = None,
        check: Callable[[], None] | None = None,
    ) -> Aims:
        """Put the current model where a recipe begins, and search by its method; the aims of the training.

        Args:
            recipe: of the cleaning.
            triggers: what an audit shows to it.
            base: the model that this one was finetuned from, for recipes that go back to it.
            run: with the state in which the search is kept.
            text_classifier: of the current model, if it is known; on the way to a base it is made anew, since texts move too.
            check: called where the recipe begins on the line to the base and keeps what is there; what it raises ends the cleaning.

        Raises:
            Inconclusive: nothing can be searched, or nothing told of what clean images explain; or what ``check`` raises.
        """
        teacher = training.move_to_beginning(self.clip, self.samples, base, recipe, run=run)
        # What is fitted wins most of its loss back: its steps go to where the finetune has clean images.
        if check and base is not None and recipe.undoes and recipe.unlearn.base_share and teacher is None:
            check()
        vocabulary = self.eval_set.vocabulary
        if text_classifier is None or base is not None:
            text_classifier = detect.classifier(
                self.clip.embed_texts, vocabulary.classes, templates=vocabulary.templates
            )
        aims = training.aims_of(
            self.clip,
            self.samples,
            recipe,
            text_classifier=text_classifier.to(self.clip.device),
            classes=vocabulary.classes,
            triggers=triggers,
            run=run,
        )
        return replace(aims, base=base, teacher=teacher)

    def put_between(self, original: dict[str, Tensor], end: dict[str, Tensor], /, *, share: float) -> None:
        """Put in the weights at a share of the way from the original to the cleaned ones."""
        self.put(walk_back.between(original, end, share=share))

    def audit(
        self, suspicions: Sequence[Suspicion[int | None]], /, *, pointed: Sequence[int], what: str
    ) -> AuditResult:
        """Measure and search the current model; stages that an interrupted run finished are read. The first of several processes does it.

        Without a search triggers of the panel are compared with each other alone, and no deadline ends the measuring.
        """
        eval_set = self.eval_set.suspecting(suspicions)
        settings = SearchSettings(self.auto_settings.effort, self.run.seed, pointed=tuple(pointed))

        def run_audit() -> AuditResult:
            if not self.searches:
                measurement = searching.measure(self.clip, eval_set, what=f"measuring {what}")
                measurement = judging.with_natural_marked(self.clip, measurement, eval_set, self.limits)
                return AuditResult(measurement, None, None, 0.0)
            result = searching.audit_both(settings, self.clip, eval_set, self.references, what=what, state=self.state)
            return self.base.with_comparison(self.clip, eval_set, result) if self.base else result

        return self.run.group.of_first(run_audit)

    def audit_cleaned(
        self, suspicions: Sequence[Suspicion[int | None]], weights: dict[str, Tensor], /, *, share: float
    ) -> AuditResult:
        """Put in cleaned weights at a share of the way to them, and audit that model."""
        self.put_between(self.original, weights, share=share)
        # Towards the classes that were suspected, whatever they rank at now: a backdoor half removed no longer stands out.
        return self.audit(suspicions, pointed=detect.targets(suspicions), what="after")

    def measure(self, eval_set: detect.EvalSet, /, *, what: str, in_time: bool = True) -> detect.Measurement:
        """Measure the current model under the triggers of ``eval_set``; the first of several processes measures. ``what`` names it.

        Raises:
            OutOfTime: the deadline is over, where it has to be done ``in_time``.
        """
        if in_time:
            self.run.group.check_time()
        return self.run.group.of_first(lambda: searching.measure(self.clip, eval_set, what=what, in_time=in_time))

    def original_under(
        self, suspicions: Sequence[Suspicion[int | None]], first_audit: FirstAudit, /
    ) -> detect.Measurement:
        """The measurement of the original under these triggers: its audit did not know those that a cleaning came to by itself."""
        measurement = first_audit.audit.measurement
        there = {probe.trigger for probe in measurement.suspected}
        # The panel is looked at on fewer images.
        more = tuple(suspicion for suspicion in suspicions if suspicion.trigger.spec not in there)
        suspected = measurement.suspected
        if more:
            self.put(self.original)
            eval_set = self.eval_set.under(more)
            suspected = (*suspected, *self.measure(eval_set, what="measuring before", in_time=False).suspected)
        return replace(measurement, suspected=suspected, sure=first_audit.sure_specs)

    def walked_back(
        self,
        original: detect.Measurement,
        cleaned_weights: dict[str, Tensor],
        suspicions: Sequence[Suspicion[int | None]],
        /,
        *,
        walks: bool,
        test_backdoors: Sequence[WatchedTrigger] = (),
        probes: Callable[[float], Sequence[detect.Probe]] = lambda _: (),
    ) -> WalkBack:
        """The walk back from cleaned weights, on which no suspected trigger may return; their own point is measured whatever the time.

        Args:
            original: the measurement of the original under these triggers.
            cleaned_weights: those to walk back from.
            suspicions: the suspected triggers.
            walks: whether any further point is measured.
            test_backdoors: those in a copy, which must stay gone as well.
            probes: a share of the way -> what the test backdoors do there, in their order.
        """
        # A point between is chosen by suspected triggers, and the whole audit follows at the chosen one.
        eval_set = self.without_panel(suspicions, original)

        def measure(share: float) -> detect.Measurement:
            self.put_between(self.original, cleaned_weights, share=share)
            measurement = self.measure(eval_set, what="walking back", in_time=share < 1)
            return replace(measurement, suspected=(*measurement.suspected, *probes(share)))

        watched = [*watched_triggers(original, suspicions), *test_backdoors]
        return walk_back.walk_back(measure, original, watched, self.limits, least=0.0 if walks else 1.0)

    def without_panel(
        self, suspicions: Sequence[Suspicion[int | None]], original: detect.Measurement, /
    ) -> detect.EvalSet:
        """What a measurement beside the original takes: these triggers alone, and the same classes, by which their answers are compared."""
        eval_set = self.eval_set.under(suspicions)
        return replace(eval_set, plan=replace(eval_set.plan, classifier=bool(original.text_classifier.numel())))

    def findings(self, audit: AuditResult, /) -> list[Finding]:
        """The findings of an audit of the model, and whether the base that was named is one."""
        return [
            *detect.audit_findings(audit, self.limits, images=len(self.eval_set.images)),
            *(self.base.notes() if self.base else ()),
        ]
