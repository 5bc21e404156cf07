"""The model in memory with its training and test data: load weights, clean, measure, take weights out."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from clipclean import detect, model
from clipclean.attack import poison
from clipclean.attack.poison import Canary
from clipclean.auto.trials import PlantedCopy, Refinetuned
from clipclean.config import recipe as recipes
from clipclean.config.recipe import Planting, Recipe
from clipclean.config.thresholds import AuditLimits
from clipclean.data import Samples
from clipclean.findings import Finding
from clipclean.jobs import audit_findings, inputs, searching
from clipclean.jobs.inputs import Suspicion
from clipclean.jobs.prepare import Prepared
from clipclean.jobs.searching import AuditResult, SearchSettings
from clipclean.methods import walk_back
from clipclean.train import NonFiniteLoss, Run, RunState

DONE = "done"  # the weights after one part of a run, in its folder


def control_of(recipe: Recipe, clip: model.Clip, /) -> Recipe:
    """The recipe for planting and for the refinetune test, of the model's size."""
    control, parameters = recipes.load(recipe.auto.control), model.parameter_count(clip.net)
    found = recipes.fitted(control, parameters=parameters, pairs=recipes.FEW, classes=1)  # one for few pairs too
    return found.model_copy(update={"data": recipe.data})


@dataclass(frozen=True)
class Workbench:
    """All that stays fixed during a run of ``auto``."""

    clip: model.Clip  # the model; its weights change
    original: dict[str, Tensor]  # its own weights
    samples: Samples  # to train on
    eval_set: detect.EvalSet  # to measure on, with the triggers that were named
    references: detect.References | None  # clean models to compare with; None without any
    limits: AuditLimits  # thresholds of the run
    settings: recipes.Auto  # ``auto`` of the recipe
    control: Recipe  # the recipe for planting and for the refinetune test
    state: RunState  # where each finished part is kept
    run: Run  # seed, precision and progress

    @classmethod
    def of(cls, ready: Prepared, state: RunState, run: Run, /) -> "Workbench":
        """Of what a run has prepared; clean models to compare with follow."""
        clip, recipe, eval_set = ready.loaded.clip, ready.recipe, ready.eval_set(panel=True)
        return cls(
            clip=clip,
            original=model.taken(clip),
            samples=ready.samples,
            eval_set=eval_set if ready.given.trusted else replace(eval_set, grid=()),
            references=None,
            limits=ready.given.judge.limits,
            settings=recipe.auto,
            control=control_of(recipe, clip),
            state=state,
            run=replace(run, state=None),  # each part has its own
        )

    @property
    def planting(self) -> Planting:
        """The settings for planting canaries, at the rate of the control recipe."""
        # All canaries in one finetuning: 150 steps of 128 pairs, 30 % of them triggered, plant four at once with an excess of 0.78 to
        # 1.00 in 17 processor seconds (tag evidence-0.2: notebook.md, "Several test backdoors in one planting").
        own, train = self.settings, self.control.train
        size = min(own.batch_size, len(self.samples.pairs))
        warmup = min(train.warmup_steps, own.plant_steps // 4)
        return recipes.planting(
            rate=own.plant_share, steps=own.plant_steps, batch_size=size, lr=train.lr, warmup_steps=warmup
        )

    def put(self, weights: dict[str, Tensor], /) -> None:
        """Put in other weights."""
        model.put(self.clip, weights)

    def put_between(self, original: dict[str, Tensor], cleaned: dict[str, Tensor], /, *, share: float) -> None:
        """Put in the weights at a share of the way from the original to the cleaned ones."""
        self.put(walk_back.between(original, cleaned, share=share))

    def audit(self, suspicions: Sequence[Suspicion], /, *, pointed: Sequence[int], what: str) -> AuditResult:
        """Measure and search the current model; stages that an interrupted run finished are read. The first of several processes does it."""
        eval_set = replace(self.eval_set, suspicions=tuple(suspicions))
        settings = SearchSettings(self.settings.effort, self.run.seed, pointed=tuple(pointed))

        def made() -> AuditResult:
            return searching.audit_clip(settings, self.clip, eval_set, self.references, what=what, state=self.state)

        return searching.by_first(self.run.group, self.clip, made)

    def with_canaries(self, planted: Sequence[Canary], /) -> detect.EvalSet:
        """The images to measure on, with the triggers of some canaries alone."""
        return poison.measured_on(self.eval_set, planted)

    def measure(self, eval_set: detect.EvalSet, /, *, what: str) -> detect.Measurement:
        """Measure the current model under the triggers of ``eval_set``; the first of several processes measures. ``what`` names it.

        Raises:
            OutOfTime: the deadline is over.
        """
        self.run.group.check_time()
        return searching.by_first(
            self.run.group, self.clip, lambda: inputs.measure(self.clip, eval_set, what=what, in_time=True)
        )

    def findings(self, seen: AuditResult, /) -> list[Finding]:
        """The findings of an audit of the model."""
        found = audit_findings.findings(seen, self.limits, images=len(self.eval_set.pixels))
        if searching.usual_normalisation(self.clip):
            words = (
                "The model's mean and deviation of pixels are not CLIP's own, and this recipe audits under the model's own alone. Run "
                "clipclean audit, which tries both, on the result."
            )
            found.append(detect.unsearched("CC007", words))
        return found

    def plant(self, *, avoid: Sequence[int]) -> PlantedCopy | None:
        """A copy with canaries; None if none are wanted, no class is free, or the planting diverges."""
        classes = len(self.eval_set.classes)
        drawn = poison.draw(self.settings.canaries, classes=classes, avoid=avoid, seed=self.run.seed)
        return self.planted(drawn) if drawn else None

    def planted(self, drawn: tuple[Canary, ...], /) -> PlantedCopy | None:
        """A copy with these canaries; None if the planting diverges."""
        classes = self.eval_set.classes
        origin = {
            "canaries": [(c.trigger.spec, c.target) for c in drawn],
            "control": recipes.decides(self.control),
            "planting": self.planting.model_dump(mode="json"),
        }
        part = self.state.part("canaries", origin)
        kept, started = part.read(DONE), time.monotonic()
        if kept is None:
            implants = poison.implants(drawn, classes=classes, templates=self.eval_set.templates)
            try:
                self._finetune(self.planting, implants, what="planting canaries in a copy")
            except NonFiniteLoss:  # no copy to try candidates on; the model itself is unharmed
                return None
            seconds = time.monotonic() - started
            part.write(self.clip.net.state_dict(), {"seconds": seconds}, name=DONE)
        else:
            seconds = float(kept[1]["seconds"])
            self.put(kept[0])
        measured = self.measure(self.with_canaries(drawn), what="measuring the copy")
        return PlantedCopy(drawn, model.taken(self.clip), measured, origin, seconds)

    def refinetune(self, before: detect.Measurement, eval_set: detect.EvalSet, /) -> Refinetuned:
        """Finetune the current weights on clean pairs, which changes them, and repeat the measurement ``before``."""
        steps, started = self.settings.rebound_steps, time.monotonic()
        # A test of few steps would otherwise end before the rate is reached.
        warmup = min(self.planting.warmup_steps, steps // 4)
        benign = self.planting.model_copy(update={"steps": steps, "warmup_steps": warmup})
        self._finetune(benign, (), what="finetuning for the rebound")
        seconds = time.monotonic() - started
        return Refinetuned(before, self.measure(eval_set, what="measuring what returned"), steps, seconds)

    def _finetune(self, planting: Planting, implants: Sequence[poison.Implant], *, what: str) -> None:
        run = replace(self.run.stopping(), seed=poison.SEEDS + self.run.seed, state=None)
        poison.finetune(self.clip, self.samples.pairs, self.control, planting, implants=implants, run=run, what=what)
