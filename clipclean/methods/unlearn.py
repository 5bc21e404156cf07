"""The ``unlearn`` method on one model: its images, its rounds, and a state from which a killed run resumes."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clipclean import data, deadline, detect, model, train
from clipclean.config import recipe as recipes
from clipclean.config.recipe import EFFORTS, Recipe
from clipclean.errors import Interrupted
from clipclean.methods import unlearning
from clipclean.methods.unlearning import RecoveredTrigger, State, SuspectedTrigger
from clipclean.schema.report import RoundRecord, UnlearningRecord
from clipclean.train import loader
from clipclean.train.resume import RunState
from clipclean.train.run import Run

KEPT = {
    kind.__name__: kind for kind in (State, RecoveredTrigger, detect.InvertedTrigger)
}  # what a saved state is made of


@dataclass(frozen=True)
class SearchedModel:
    """A search: its images, its result, and its time."""

    scene: unlearning.Scene
    state: State
    seconds: float
    is_cut: bool = False  # whether the deadline came before the unlearning was done

    def record(self) -> UnlearningRecord:
        """``training.unlearning`` of a report: the suspects, and what each search found."""
        state = self.state
        return UnlearningRecord(
            suspects=tuple(self.scene.classes[target] for target in state.suspects),
            seconds=self.seconds,
            rounds=tuple(
                RoundRecord(
                    found=tuple(catch.record() for catch in state.catches if catch.round == number),
                    scores=dict(scores),
                    losses=dict(state.losses[number]) if number < len(state.losses) else None,
                )
                for number, scores in enumerate(state.scores)
            ),
        )

    def strongest(self) -> tuple[SuspectedTrigger, ...]:
        """The most abnormal trigger of each suspected class in the first search, as suspicions to measure."""
        best: dict[int, RecoveredTrigger] = {}
        for catch in sorted(self.state.catches, key=lambda catch: -catch.score):
            if catch.round == 0:
                best.setdefault(catch.target, catch)
        return unlearning.leads(best.values())


def search(clip: model.Clip, scene: unlearning.Scene, recipe: Recipe, /, *, run: Run) -> SearchedModel:
    """Search the model for triggers, on images that also serve for training; resumes an equal run that was killed.

    Raises:
        Inconclusive: the model gives numbers that are not finite.
            Or nothing can be searched, and no known trigger acts.
    """
    kept = _restored(run.state, scene)
    if kept:
        return SearchedModel(scene, kept[0], kept[2])
    started = time.monotonic()
    state = run.group.of_first(
        lambda: unlearning.begin(
            clip,
            scene,
            recipe,
            seed=run.seed,
            progress=lambda done, total: run.progress("searching for triggers", done, total),
        )
    )
    searched = SearchedModel(scene, state, time.monotonic() - started)
    if not run.group.any(deadline.is_over()):  # a search that the deadline cut short is repeated
        _save(run.state, {}, searched.state, scene.known, searched.seconds)
    return searched


def scene_of(
    clip: model.Clip,
    pairs: Sequence[data.Pair],
    recipe: Recipe,
    /,
    *,
    text_classifier: Tensor,
    classes: tuple[str, ...],
    known: Sequence[SuspectedTrigger],
    seed: int,
) -> unlearning.Scene:
    """The inputs of a search: some of the images, drawn by the seed, and what they are compared with."""
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed)).tolist()
    # Drawn, since folders come class by class; sorted, so that they are read in the order of the files.
    chosen = sorted(order[: recipe.unlearn.images])
    return unlearning.Scene(
        pixels=detect.stack([pairs[i].image for i in chosen]).to(clip.device),
        text_classifier=text_classifier,
        classes=classes,
        # Anomaly indexes decide here, and those beside classes that stopped early would be too large.
        effort=detect.Effort(**EFFORTS[recipe.unlearn.effort].model_dump(), halves=False),
        knn=0,
        batch_size=detect.EMBED_BATCH,
        known=tuple(known),
    )


def unlearn(
    clip: model.Clip,
    pairs: Sequence[data.Pair],
    recipe: Recipe,
    searched: SearchedModel,
    /,
    *,
    run: Run,
    stop: Callable[[], bool],
) -> SearchedModel:
    """Unlearn in place the triggers that ``search`` found and the known ones, round by round; returns the final state.

    Raises:
        Interrupted: ``stop`` said so; the state of the last whole round is saved.
    """
    scene = searched.scene
    # Copied before a saved state is put back: the aim is the model as it was given, whichever round a resumed run is in.
    original = model.frozen_copy(clip)
    kept = _restored(run.state, scene)
    if kept and kept[1]:
        clip.net.load_state_dict(kept[1], strict=True)
    before, started = searched.seconds, time.monotonic()

    def told(done: int, total: int) -> None:
        run.progress("unlearning", done, total)
        if run.group.any(stop()):
            raise Interrupted(
                f"Interrupted after step {done} of at most {total}. Give the same command again to go on from the round that "
                "it was in."
            )
        run.group.check_time()

    state, is_cut = searched.state, False
    rounds = unlearning.unlearn(
        clip,
        original,
        scene,
        state,
        recipe,
        seed=run.seed,
        batches=_batches(clip, pairs, recipe, seed=run.seed, group=run.group),
        progress=told,
        precision=train.resolved(run.precision, clip.net, clip.device),
        group=run.group,
    )
    try:
        for state in rounds:
            _save(run.state, clip.net.state_dict(), state, scene.known, before + time.monotonic() - started)
    except deadline.OutOfTime:  # the weights are those of the last step
        is_cut = True
    clip.net.eval()
    return SearchedModel(scene, state, before + time.monotonic() - started, is_cut)


def _batches(
    clip: model.Clip, pairs: Sequence[data.Pair], recipe: Recipe, /, *, seed: int, group: train.Group
) -> Callable[[int], Iterator[train.Batch]]:
    """The number of a round to its batches; one plan covers all rounds, so that each image has its turn."""
    steps, total = recipe.unlearn.steps, recipes.total_steps(recipe, pairs=len(pairs))
    plan = data.plan(len(pairs), batch_size=recipe.train.batch_size, steps=total, seed=seed)

    def batches(number: int) -> Iterator[train.Batch]:
        first = number * steps
        return loader.batches(
            group.share(plan[first : first + steps]),
            pairs=pairs,
            intake=loader.Intake.of(clip),
            views=None,
            seed=seed,
            first_step=0,
            threads=data.workers(),
        )

    return batches


# The saved state: weights, the parameters of found triggers, and a record in JSON.


def _save(
    saved: RunState | None, weights: dict[str, Tensor], state: State, known: Sequence[SuspectedTrigger], seconds: float
) -> None:
    if saved is None:
        return
    tensors, told = detect.pack(state, kinds=KEPT)
    tensors |= {f"net.{name}": tensor.detach() for name, tensor in weights.items()}
    saved.write(tensors, {"unlearn": told, "known": unlearning.as_pairs(known), "seconds": seconds})


def _restored(saved: RunState | None, scene: unlearning.Scene) -> tuple[State, dict[str, Tensor], float] | None:
    """The saved state, weights (none before the first round) and seconds of an earlier run with the same known triggers."""
    kept = saved.read() if saved else None
    if kept is None or "unlearn" not in kept[1] or kept[1].get("known") != unlearning.as_pairs(scene.known):
        return None
    tensors, record = kept
    state: State = detect.unpack(tensors, record["unlearn"], kinds=KEPT)
    weights = {name.removeprefix("net."): t for name, t in tensors.items() if name.startswith("net.")}
    return state, weights, float(record["seconds"])
