"""The ``unlearn`` method: find triggers, train triggered images back to their clean embeddings, search again; killed runs resume."""

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from clipclean import detect, model, train
from clipclean.config.effort import Effort
from clipclean.config.recipe import Unlearn
from clipclean.config.thresholds import AuditLimits
from clipclean.detect import Suspicion, identities
from clipclean.detect.zeroshot import attack_success, representatives
from clipclean.errors import Inconclusive
from clipclean.findings import CC, Finding, finding
from clipclean.methods.rounds import VARIANTS, RoundSettings, RoundTriggers, Teachers, forget
from clipclean.progress import track
from clipclean.schema.report import RecoveredRecord, RoundRecord, UnlearningRecord
from clipclean.train import Run, RunState
from clipclean.train.memory import Encode

# A search also finds natural triggers, which clean models have: only triggers that surely move unseen images are unlearned. One
# round is enough for a known trigger (0.992 to 0.000); further rounds are the price of not knowing it
# (commit a95ae354: benchmarks/results/notebook.md, "Forgetting when the trigger is known").
# Least excess on unseen images for a trigger of the first search to be unlearned: weaker ones mislead.
FIRST_EXCESS = 0.7
LATER_EXCESS = 0.5  # the same in later rounds, in which triggers of suspects are weaker
SEED_LIMIT = 2**63  # that a generator takes
LEFT_EXCESS = 0.03  # excess above which a suspected trigger is unlearned again; chance moves as many images


class ShownTriggers(NamedTuple):
    """The triggers that an audit of a model shows to its cleaning, by what the cleaning does with them."""

    suspicions: tuple[Suspicion[int], ...] = ()  # they act: unlearned for as long as they do
    # They move images as well, of classes that may be the right ones: unlearned in copies of their own.
    beside: tuple[Suspicion[int], ...] = ()
    # By family, the sizes that other classes need: what is searched for again is smaller. Without any nothing is searched for again.
    controls: Mapping[str, tuple[float, ...]] = {}
    # Variants of known triggers that move images: in copies of their own as well.
    variants: tuple[Suspicion[int], ...] = ()


@dataclass(frozen=True)
class Scene:
    """The inputs of a search: images (N, 3, S, S) in [0, 1], the zero-shot classifier (K, D), its classes, and what an audit has shown."""

    pixels: Tensor
    text_classifier: Tensor
    classes: tuple[str, ...]
    effort: Effort
    shown_triggers: ShownTriggers

    @property
    def identity(self) -> list[list[str | int | None]]:
        """The triggers that were suspected before a search, in JSON."""
        return identities((*self.shown_triggers.suspicions, *self.shown_triggers.beside, *self.shown_triggers.variants))

    def excess(self, without: Tensor, answered: Tensor, target: int, /) -> float:
        """The share of images that predicted classes (N,) turn into a class, or into one that is the same to the model."""
        representatives = self.representatives
        return attack_success(
            representatives[without], representatives[answered], labels=None, target=int(representatives[target])
        ).excess

    @functools.cached_property
    def representatives(self) -> Tensor:
        """The place (K,) of the class that stands for each; thousands of classes take seconds, so it is made once."""
        return representatives(self.text_classifier)


@dataclass(frozen=True)
class RecoveredTrigger:
    """A trigger that a search found, on the model at that time."""

    round: int  # of forgetting that came before
    inverted: detect.InvertedTrigger
    target: int
    size: float
    score: float  # robust deviations by which it is smaller than clean models, or other classes, need
    excess: float  # on images not searched on

    def record(self) -> RecoveredRecord:
        """An entry of ``training.rounds[].found`` in a report."""
        return RecoveredRecord.of(
            self.inverted, class_=self.inverted.target, size=self.size, score=self.score, excess_asr=self.excess
        )


@dataclass(frozen=True)
class UnlearningState:
    """The state of an unlearning after a round: all that the next round depends on, besides the weights."""

    suspects: tuple[int, ...]
    controls: Mapping[str, tuple[float, ...]]  # by family: sizes that other classes of the original need
    recovered: tuple[RecoveredTrigger, ...]  # all so far
    rounds: int  # of forgetting and searching again, done
    # A search each: by family, that of the smallest trigger towards any suspect.
    scores: tuple[Mapping[str, float], ...]
    losses: tuple[Mapping[str, float], ...]  # a round each, the settling one too: of its last step
    is_settled: bool = False  # whether the settling round is done, which ends the run

    @property
    def newest(self) -> tuple[RecoveredTrigger, ...]:
        """The triggers of the last search."""
        return tuple(trigger for trigger in self.recovered if trigger.round == self.rounds)


@dataclass(frozen=True)
class SearchedModel:
    """A search: its images, its result, and its time."""

    scene: Scene
    state: UnlearningState
    seconds: float

    def record(self) -> UnlearningRecord:
        """``training.unlearning`` of a report: the suspects, and what each search found."""
        state = self.state
        return UnlearningRecord(
            suspects=tuple(self.scene.classes[target] for target in state.suspects),
            seconds=self.seconds,
            rounds=tuple(
                RoundRecord(
                    found=tuple(trigger.record() for trigger in state.recovered if trigger.round == number),
                    scores=dict(scores),
                    losses=dict(state.losses[number]) if number < len(state.losses) else None,
                )
                for number, scores in enumerate(state.scores)
            ),
        )

    def strongest(self) -> tuple[Suspicion[int], ...]:
        """The most abnormal trigger of each suspected class in the first search, as suspicions to measure."""
        best: dict[int, RecoveredTrigger] = {}
        for trigger in sorted(self.state.recovered, key=lambda trigger: -trigger.score):
            if trigger.round == 0:
                best.setdefault(trigger.target, trigger)
        return recovered_suspicions(best.values())

    def findings(self, *, least: float) -> list[Finding]:
        """A warning for each class that the last search still suspects, so that the run does not pass.

        A trigger at least ``least`` robust deviations smaller than in clean models makes a suspect; a smaller difference only
        causes further rounds.
        """
        state = self.state
        left = (trigger for trigger in state.newest if trigger.score >= least)
        worst = {trigger.target: trigger for trigger in sorted(left, key=lambda trigger: trigger.score)}
        return [
            finding(
                CC.TRIGGER_FOUND,
                f"After {state.rounds} rounds of unlearning the search still finds a trigger towards '{trigger.inverted.target}' that is "
                f"smaller than those of other classes: one that {trigger.inverted.size_words}. Allow more rounds by --set "
                "unlearn.max_rounds=N, or clean the result further with another recipe.",
                level="warning",
                measure="anomaly index",
                value=trigger.score,
                target=trigger.inverted.target,
                trigger=trigger.inverted.spec,
            )
            for trigger in worst.values()
        ]


# Rounds.


def first_search(
    clip: model.Clip,
    scene: Scene,
    settings: Unlearn,
    limits: AuditLimits,
    /,
    *,
    seed: int,
    progress: Callable[[int, int], None],
) -> UnlearningState:
    """Search every family of triggers, without a target and then towards the suspects; returns the triggers that act.

    Classes that suspected triggers lead to are suspects too. The audit tells suspects from classes with natural triggers, if it has
    any. If no search is possible, the suspected triggers alone are unlearned.

    Raises:
        Inconclusive: the model gives numbers that are not finite. Or nothing can be searched, and no suspected trigger acts.
    """
    suspected_targets = dict.fromkeys(target for _, target in scene.shown_triggers.suspicions)
    if not settings.search:
        # Nearer its base, a tower is without what the finetune brought in, whether it is known or not.
        if not (suspected_targets or settings.nears_base):
            raise Inconclusive(
                "No trigger that is named or found acts on the model, so there is nothing to unlearn. A backdoor may answer to one pattern "
                "alone: 'clipclean audit --save-triggers FOLDER' searches for it, and --trigger takes the files that it saves."
            )
        return UnlearningState(tuple(suspected_targets), scene.shown_triggers.controls, (), 0, ({},), ())
    progress(0, 0)
    try:
        # Without suspected triggers, which are forgotten whatever they compare with.
        with model.freezing(clip.net):
            result = detect.search(
                detect.ImageTower(clip.encode_images, embed_of(clip, scene)),
                detect.CleanImages(scene.pixels),
                detect.ClassTexts.of(scene.classes, scene.text_classifier),
                effort=scene.effort,
                references=None,
                course=detect.Course(seed, progress),
                pointed=list(suspected_targets),
            )
    except detect.NoSearch as error:
        if not suspected_targets:
            raise Inconclusive(
                f"{error} Without a search, and without a trigger that acts, nothing can be unlearned."
            ) from error
        return UnlearningState(tuple(suspected_targets), {}, (), 0, ({},), ())
    controls = controls_of(result)
    suspect_names = {suspect.name for suspect, _ in detect.named_suspects(result, limits=limits)}
    recovered = first_recovered(result.targeted, anomaly_index=settings.anomaly_index, suspect_names=suspect_names)
    suspects = dict.fromkeys((*suspected_targets, *(trigger.target for trigger in recovered)))
    ranks = {f: [t.anomaly_index for t in result.targeted if t.candidate.family == f] for f in detect.SEARCH_FAMILIES}
    scores = {family: max(indexes) for family, indexes in ranks.items() if indexes}  # a deadline may leave families out
    return UnlearningState(tuple(suspects), controls, recovered, 0, (scores,), ())


def controls_of(result: detect.SearchResult, /) -> dict[str, tuple[float, ...]]:
    """By family, the sizes that the classes need which a search did not suspect."""
    return {family: tuple(c.size for c in result.controls if c.family == family) for family in detect.SEARCH_FAMILIES}


def embed_of(clip: model.Clip, scene: Scene, /) -> Encode:
    """The image tower for a search, in bfloat16 where that is faster and changes few answers, as in an audit."""
    is_alike = detect.may_round(clip.encode_images, scene.pixels, scene.text_classifier)
    return detect.rounded(clip.encode_images) if is_alike else clip.encode_images


def first_recovered(
    targeted: Sequence[detect.TargetedResult], /, *, anomaly_index: float, suspect_names: Set[str] = frozenset()
) -> tuple[RecoveredTrigger, ...]:
    """The triggers of a first search to unlearn: much smaller than others, and effective on unseen images.

    Of a family of few parameters they are smaller than natural ones as well.

    If any of them leads to a class of ``suspect_names``, those that lead to other classes are left out. Unlearning weak triggers spoils the
    model and leaves the backdoor: InverTune (arXiv 2506.12411) requires 0.7 as well.
    """
    recovered = [
        RecoveredTrigger(0, t.trigger, t.candidate.target, t.candidate.size, t.anomaly_index, t.probe.excess)
        for t in targeted
        if t.candidate.is_reached
        and t.anomaly_index >= anomaly_index
        and (detect.SEARCH_FAMILIES[t.candidate.family].facts.is_general or t.evidence > 0)
        and t.probe.excess >= FIRST_EXCESS
    ]
    # Of ten classes, the anomaly index makes three or four with natural triggers suspects beside the target: they would take their
    # share of the steps, cost accuracy, and keep the rounds from ending (commit a95ae354: benchmarks/results/notebook.md, "Rounds of unlearning on
    # photographs").
    sure = [trigger for trigger in recovered if trigger.inverted.target in suspect_names]
    return tuple(sure or recovered)


def unlearn(
    clip: model.Clip,
    teachers: Teachers,
    scene: Scene,
    state: UnlearningState,
    settings: RoundSettings,
    /,
    *,
    batches: Callable[[int], Iterable[train.Batch]],
    run: Run,
    inverses: train.Inverses | None = None,
) -> Iterator[UnlearningState]:
    """Unlearn the found triggers in place and search again, until none is left; then unlearn all of them once more.

    Yields the state after each round. No search follows the last round, which settles: it trains on the triggers of the first
    rounds as often as on the latest ones.

    Args:
        clip: the model; its text tower, its temperature and the statistics of its normalisation stay as they are.
        teachers: frozen: where clean images belong, which is the model from before the first round or before it was fitted; and its base
            for a recipe that undoes.
        scene: what is searched on, and what is suspected.
        state: where the run stands: what ``first_search`` returned, or a later one.
        settings: of every round.
        batches: round -> batches with ``pixels``, uint8 in [0, 255], at least ``unlearn.steps`` of them; the settling
            round has the number after the last.
        inverses: of the moments of what comes into each layer on clean images, for a recipe with ``train.damping``; None for others.
        run: its seed with the number of a round decides every draw. The searches between rounds are few: the first process makes them.
    """
    steps, most = settings.steps, settings.unlearn.max_rounds

    def report(before: int, what: str, done: int, _total: int) -> None:
        run.progress(what, before + done, (most + 1) * steps)  # the settling round comes after the most there can be

    while not state.is_settled:
        number = len(state.losses)
        everything = (
            *scene.shown_triggers.suspicions,
            *recovered_suspicions(state.recovered),
            *scene.shown_triggers.beside,
        )
        # Removed triggers are not unlearned again: each further step costs accuracy on clean images.
        acting = run.group.of_first(lambda: still_acting(clip, scene))
        newest = (*recovered_suspicions(state.newest), *(scene.shown_triggers.suspicions[row] for row in acting))
        settles = not newest
        # A model that begins nearer its base has to learn the clean images again, whatever acts there.
        is_needless = settles and not state.losses and not settings.unlearn.nears_base
        if is_needless or (not settles and state.rounds >= most):
            return
        # A generator for each round: a resumed run draws in it what an uninterrupted one does.
        generator = Generator().manual_seed((1000 * run.seed + number) % SEED_LIMIT)
        losses = forget(
            clip,
            teachers,
            batches(number),
            triggers_of_round(scene, newest, everything),
            settings,
            generator=generator,
            run=replace(run, progress=functools.partial(report, number * steps)),
            inverses=inverses,
        )
        # No search follows the settling round: the last search has just found nothing.
        state = replace(state, losses=(*state.losses, losses), is_settled=settles)
        if not settles:
            state = searched_again(clip, scene, state, settings.unlearn, generator=generator, run=run)
        yield state


def searched_again(
    clip: model.Clip, scene: Scene, state: UnlearningState, settings: Unlearn, /, *, generator: Generator, run: Run
) -> UnlearningState:
    """The state after a further round, with what a search finds on the model as it is now."""
    again = functools.partial(search_again, clip, scene, state, enough=settings.enough, generator=generator)
    # The audit of the result follows surgery of one round: a search here would decide nothing.
    is_audited = not settings.search and state.rounds + 1 >= settings.max_rounds
    recovered, scores = ((), {}) if is_audited else run.group.of_first(again)
    return replace(
        state, recovered=(*state.recovered, *recovered), rounds=state.rounds + 1, scores=(*state.scores, scores)
    )


def triggers_of_round(
    scene: Scene, newest: tuple[Suspicion[int], ...], everything: tuple[Suspicion[int], ...], /
) -> RoundTriggers:
    """The triggers of a round, by the name of the copies that carry them."""
    # One copy of the images is enough where both would be drawn from the same triggers.
    triggers_by_name = (
        {"newest": newest, "earlier": everything} if newest not in ((), everything) else {"newest": everything}
    )
    # Of a colour filter 0.41 stayed where variants had turns among all others, and 0.12 in copies of their own.
    return {
        name: triggers
        for name, triggers in (triggers_by_name | {VARIANTS: scene.shown_triggers.variants}).items()
        if triggers
    }


def recovered_suspicions(recovered: Iterable[RecoveredTrigger], /) -> tuple[Suspicion[int], ...]:
    """Triggers with their targets."""
    return tuple(Suspicion(trigger.inverted, trigger.target) for trigger in recovered)


def search_again(
    clip: model.Clip, scene: Scene, state: UnlearningState, /, *, enough: float, generator: Generator
) -> tuple[list[RecoveredTrigger], dict[str, float]]:
    """The triggers towards the suspects that act on the current model, and by family the score of the smallest.

    Half the steps are enough while something is found; only a complete search can show that nothing is left. Each looks in every
    family, from fresh starts and from the triggers that were just forgotten.
    """
    # Nothing could be searched at the beginning, and what is suspected alone was forgotten: there is nothing to compare with.
    if not state.controls:
        return [], {}
    on, beside = detect.divided(len(scene.pixels))
    searched, unseen, side = scene.pixels[on], scene.pixels[beside], scene.pixels.shape[-1]
    without = answers(clip, scene, unseen, None)
    canonical = detect.canonical_of(clip.embed_images, searched, scene.text_classifier)
    recovered: list[RecoveredTrigger] = []
    scores: dict[str, float] = {}
    with model.freezing(clip.net):
        embed = embed_of(clip, scene)
        for steps in (-(-scene.effort.steps // 2), scene.effort.steps):
            scores, hasty = {}, replace(scene.effort, steps=steps)
            for family in track("searching again", detect.SEARCH_FAMILIES, len(detect.SEARCH_FAMILIES)):
                # The rest of the backdoor is most likely near the triggers that were just unlearned: they are further starts.
                starts = [
                    detect.SmallestTrigger(family, target, trigger.parameters, trigger.size, True)
                    for trigger, target in (*recovered_suspicions(state.newest), *scene.shown_triggers.suspicions)
                    if isinstance(trigger, detect.InvertedTrigger) and trigger.family == family
                ]
                inverted = detect.Inversion(
                    embed, searched, canonical, family, hasty, generator, last=clip.encode_images
                )
                for best in inverted.targeted(state.suspects, starts):
                    value = detect.anomaly_index(best.size, state.controls[family], floor=detect.LEAST_SIZE_DEVIATION)
                    scores[family] = max(value, scores.get(family, -math.inf))
                    if not (best.is_reached and value >= enough):
                        continue
                    trigger = best.as_trigger(scene.classes, side=side)
                    answered = answers(clip, scene, unseen, trigger)
                    excess = scene.excess(without, answered, best.target)
                    if excess >= LATER_EXCESS:
                        recovered.append(
                            RecoveredTrigger(state.rounds + 1, trigger, best.target, best.size, value, excess)
                        )
            if recovered:
                break
    return recovered, scores


def still_acting(clip: model.Clip, scene: Scene, /) -> tuple[int, ...]:
    """The places of the suspected triggers that still act."""
    if not scene.shown_triggers.suspicions:
        return ()
    without = answers(clip, scene, scene.pixels, None)
    responses = (
        (answers(clip, scene, scene.pixels, trigger), target) for trigger, target in scene.shown_triggers.suspicions
    )
    excesses = (scene.excess(without, answered, target) for answered, target in responses)
    return tuple(row for row, excess in enumerate(excesses) if excess > LEFT_EXCESS)


def answers(clip: model.Clip, scene: Scene, pixels: Tensor, trigger: detect.TriggerLike | None, /) -> Tensor:
    """The predicted classes (N,) of images, with a trigger or without."""
    draws = Generator().manual_seed(0)
    batches = (batch if trigger is None else trigger(batch, draws) for batch in torch.split(pixels, detect.EMBED_BATCH))
    return torch.cat([(clip.embed_images(batch) @ scene.text_classifier.T).argmax(1) for batch in batches])


# The saved state.

STATE_KINDS = (UnlearningState, RecoveredTrigger, detect.InvertedTrigger)


def save(run_state: RunState | None, searched: SearchedModel, weights: Mapping[str, Tensor], /) -> None:
    """Keep what :func:`restored` reads; nothing where no state is kept."""
    if run_state is not None:
        contents = [searched.state, dict(weights), searched.seconds, searched.scene.identity]
        run_state.keep("rounds", contents, kinds=STATE_KINDS)


def restored(run_state: RunState | None, scene: Scene, /) -> tuple[SearchedModel, dict[str, Tensor]] | None:
    """The search and the weights (none before the first round) of an earlier run with the same triggers."""
    contents = run_state.recall("rounds", kinds=STATE_KINDS) if run_state else None
    if contents is None:
        return None
    state, weights, seconds, identity = contents
    return (SearchedModel(scene, state, seconds), weights) if identity == scene.identity else None
