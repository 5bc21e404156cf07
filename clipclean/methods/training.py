"""Cleaning a model in place with a recipe's method."""

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from clipclean import data, deadline, detect, machine, methods, model, train
from clipclean.config import recipe as recipes
from clipclean.config.effort import EFFORTS
from clipclean.config.methods import METHODS
from clipclean.config.recipe import Recipe
from clipclean.data import Samples
from clipclean.findings import plain
from clipclean.methods import unlearning
from clipclean.methods.unlearning import SuspectedTrigger
from clipclean.schema.report import LossRecord, TrainingRecord
from clipclean.train import loader
from clipclean.train.run import Run, interruptible, walk

WHOLE = (
    "Unlearning computes whole batches: train.micro_batch and train.checkpoint_activations change nothing in it. A smaller "
    "train.batch_size takes less memory."
)
RAN_OUT = (
    "Memory ran out: the towers took {0} pairs at a time instead of {1}. Gradients are those of the whole batch all the same, but where "
    "a tower normalises by batches. --set train.micro_batch={0} begins like this."
)

RECOVERS = 0.4  # of the rate of the finetuning
MIXED = 0.8  # of the images of a recovery: with as many steps and none mixed it gives back less
RECOVERED = -4  # in draws; those of methods.fed are -1 to -3


@dataclass(frozen=True)
class Aims:
    """The inputs of some methods, besides the samples."""

    text_classifier: Tensor | None = None  # (K, D), the zero-shot classifier of the model
    searched: unlearning.SearchedModel | None = None  # for unlearn: what acts, with what its first search found
    rehearsed: tuple[SuspectedTrigger, ...] = ()  # for the other methods: triggers that are put on some images
    original: model.Clip | None = None  # frozen: to recover towards, if another recipe has already moved the model


@dataclass(frozen=True)
class Training:
    """A finetuning that is done."""

    record: TrainingRecord  # the report's ``training``
    unlearned: unlearning.SearchedModel | None = None  # the end of an unlearning
    cut: tuple[int, int] | None = None  # the steps done and their total, if the deadline came before the last


def recorded(losses: Iterable[Mapping[str, float]], /, *, pairs: int, seconds: float, **more: Any) -> TrainingRecord:
    """The report's ``training``, with rate and peak memory of the process, in bytes: on the host, and on a GPU if there is one.

    ``data_wait_share`` is the share of the time since the run was begun, or last resumed, in which the next batch was not ready.
    """
    return TrainingRecord(
        losses=tuple(LossRecord.model_validate(plain(dict(entry))) for entry in losses),
        pairs=pairs,
        seconds=seconds,
        pairs_per_second=pairs / seconds if seconds else 0.0,
        peak_memory_bytes=machine.peak_memory(),
        peak_device_memory_bytes=torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
        **more,
    )


def merged(parts: Sequence[TrainingRecord], /) -> TrainingRecord:
    """The report's ``training`` of trainings in sequence: the steps are counted through."""
    steps, losses = 0, list[LossRecord]()
    for part in parts:
        losses += [entry.model_copy(update={"step": entry.step + steps}) for entry in part.losses]
        steps += part.steps
    pairs, seconds = sum(part.pairs for part in parts), sum(part.seconds for part in parts)
    whole = {
        "steps": steps,
        "pairs": pairs,
        "seconds": seconds,
        "losses": tuple(losses),
        "pairs_per_second": pairs / seconds if seconds else 0.0,
        "peak_memory_bytes": max(part.peak_memory_bytes for part in parts),
        "peak_device_memory_bytes": max(part.peak_device_memory_bytes or 0 for part in parts) or None,
    }
    unlearned = [part.unlearning for part in parts if part.unlearning is not None]
    return parts[0].model_copy(update=whole | ({"unlearning": unlearned[0]} if unlearned else {}))


def aims_of(
    clip: model.Clip,
    samples: Samples,
    recipe: Recipe,
    /,
    *,
    text_classifier: Tensor,
    classes: tuple[str, ...],
    known: tuple[SuspectedTrigger, ...],
    run: Run,
) -> Aims:
    """The targets of the method: the triggers that act and, for a method that searches, those that its first search finds.

    It searches on images that also serve for training, and resumes an equal run that was killed.

    Raises:
        Inconclusive: the method searches, and the model gives numbers that are not finite.
            Or nothing can be searched, and no known trigger acts.
    """
    if not METHODS[recipe.method].searches:
        return Aims(text_classifier)
    order = torch.randperm(len(samples.pairs), generator=torch.Generator().manual_seed(run.seed)).tolist()
    # Drawn, since folders come class by class; sorted, so that they are read in the order of the files.
    chosen = sorted(order[: recipe.unlearn.images])
    pixels = detect.stack([samples.pairs[place].image for place in chosen]).to(clip.device)
    # Anomaly indexes decide here, and those beside classes that stopped early would be too large.
    effort = replace(EFFORTS[recipe.unlearn.effort], halves=False)
    scene = unlearning.Scene(pixels, text_classifier, classes, effort, known=known)
    if kept := unlearning.restored(run.state, scene):
        return Aims(text_classifier, unlearning.SearchedModel(scene, kept[0], kept[2]))
    started, told = time.monotonic(), partial(run.progress, "searching for triggers")
    state = run.group.of_first(lambda: unlearning.begin(clip, scene, recipe, seed=run.seed, progress=told))
    searched = unlearning.SearchedModel(scene, state, time.monotonic() - started)
    if not run.group.any(deadline.is_over()):  # a search that the deadline cut short is repeated
        unlearning.save(run.state, {}, state, scene.known, searched.seconds)
    return Aims(text_classifier, searched)


def clean(clip: model.Clip, samples: Samples, recipe: Recipe, /, *, aims: Aims, run: Run) -> Training:
    """Clean a model in place: unlearn the triggers that a search found, or finetune.

    Raises:
        Interrupted: SIGINT or SIGTERM came; the state is saved.
        LostProcess: another process has ended; the state is saved.
        torch.OutOfMemoryError: one pair at a time is too many; the state is saved.
    """
    if aims.searched is not None:
        return unlearn(clip, samples, recipe, aims.searched, run=run)
    if not (recipe.train.recover_steps and aims.rehearsed):
        return finetune(clip, samples, recipe, aims=aims, run=run)
    original = aims.original or model.frozen_copy(clip)
    done = finetune(clip, samples, recipe, aims=aims, run=run)
    if done.cut:
        return done
    after = recover(clip, samples, recipe, original, rehearsed=aims.rehearsed, run=run)
    return replace(done, record=merged([done.record, after]))


def recover(
    clip: model.Clip,
    samples: Samples,
    recipe: Recipe,
    original: model.Clip,
    /,
    *,
    rehearsed: Sequence[SuspectedTrigger],
    run: Run,
) -> TrainingRecord:
    """Bring clean images back to the embeddings of ``original``, in place, and images under ``rehearsed`` triggers to those without.

    The original shows no backdoor on clean images, so it is the best teacher for them: five points that CleanCLIP had cost became
    1.8, and 0.2 at 0.7 of the way back. Without a trigger that holds it, a backdoor comes back on this way: of a frequency pattern
    0.29 became 0.49 (benchmarks/results/less-loss.csv). An interrupted recovery begins again after the finetuning.

    Raises:
        OutOfTime: the deadline came before the last step.
    """
    steps, own = recipe.train.recover_steps, recipe.train
    how = recipe.model_copy(
        update={
            "train": own.model_copy(update={"lr": RECOVERS * own.lr, "warmup_steps": steps // 32}),
            "loss": recipe.loss.model_copy(update={"preserve_weight": 4 * recipe.loss.restore_weight}),
            "unlearn": recipe.unlearn.model_copy(update={"steps": steps}),
        }
    )
    started, seed = time.monotonic(), loader.sample_seed(run.seed, 0, RECOVERED)

    def told(_: str, done: int, total: int) -> None:
        run.progress("recovering accuracy", done, total)

    batches = unlearning.batches_of(clip, samples.pairs, how, total=steps, seed=seed, group=run.group)(0)
    with interruptible() as stop:
        losses = unlearning.forget(
            clip,
            original,
            batches,
            unlearning.RoundTriggers(rehearsed, rehearsed),
            how,
            generator=torch.Generator().manual_seed(seed),
            run=replace(run, progress=told).stopping(stop),
            mixed=MIXED,
        )
    last = {"step": steps - 1, "lr": how.train.lr, **losses}
    return recorded([last], steps=steps, pairs=steps * own.batch_size, seconds=time.monotonic() - started)


def unlearn(
    clip: model.Clip, samples: Samples, recipe: Recipe, searched: unlearning.SearchedModel, /, *, run: Run
) -> Training:
    """Unlearn in place the triggers that ``aims_of`` found and the known ones, round by round; raises what ``clean`` raises.

    The state of the last whole round is saved.
    """
    scene, state, is_cut = searched.scene, searched.state, False
    each, options, total = recipe.unlearn.steps, recipe.train, recipes.total_steps(recipe, pairs=len(samples.pairs))
    with interruptible() as stop:
        # Copied before a saved state is put back: the aim is the model as it was given, whichever round a resumed run is in.
        original = model.frozen_copy(clip)
        kept = unlearning.restored(run.state, scene)
        if kept and kept[1]:
            clip.net.load_state_dict(kept[1], strict=True)
        started = time.monotonic() - searched.seconds
        batches = unlearning.batches_of(clip, samples.pairs, recipe, total=total, seed=run.seed, group=run.group)
        rounds = unlearning.unlearn(clip, original, scene, state, recipe, batches=batches, run=run.stopping(stop))
        try:
            for state in rounds:
                unlearning.save(run.state, clip.net.state_dict(), state, scene.known, time.monotonic() - started)
        except deadline.OutOfTime:  # the weights are those of the last step
            is_cut = True
    clip.net.eval()
    done = unlearning.SearchedModel(scene, state, time.monotonic() - started)
    steps = len(state.losses) * each
    losses = [{"step": (number + 1) * each - 1, "lr": options.lr, **parts} for number, parts in enumerate(state.losses)]
    record = recorded(
        losses,
        steps=steps,
        pairs=steps * options.batch_size,
        seconds=done.seconds,
        resumed_at=len(searched.state.losses) * each,
        data_wait_seconds=0.0,
        data_wait_share=0.0,
        precision=train.resolved(run.precision, clip.net, clip.device),
        micro_batch=None,
        notes=(WHOLE,) if options.micro_batch or options.checkpoint_activations else (),
        unlearning=done.record(),
    )
    return Training(record, done, (steps, total) if is_cut else None)


def _batches(
    clip: model.Clip, samples: Samples, recipe: Recipe, aims: Aims, run: Run, /, *, total: int, first: int
) -> tuple[loader.Batches, Iterator[train.Batch]]:
    """The batches of a run from its ``first`` step on, as they are loaded, and as the method is shown them."""
    # One plan for the whole run, drawn from the seed alone: a resumed run sees the batches that it would have seen.
    plan = data.plan(len(samples.pairs), batch_size=recipe.train.batch_size, steps=total, seed=run.seed)
    loaded = loader.batches(
        run.group.share(plan),
        pairs=samples.pairs,
        clip=clip,
        views=methods.views_of(recipe),
        seed=run.seed,
        first_step=first,
    )
    return loaded, methods.fed(
        loaded, samples, recipe, plan=plan, rehearsed=aims.rehearsed, seed=run.seed, first_step=first, group=run.group
    )


def finetune(clip: model.Clip, samples: Samples, recipe: Recipe, /, *, aims: Aims, run: Run) -> Training:
    """Finetune in place by a loss, saving a resumable state every half minute and when interrupted.

    Of several processes each trains on its share of every batch. Raises what ``clean`` raises.
    """
    options, group, state = recipe.train, run.group, run.state
    total = recipes.total_steps(recipe, pairs=len(samples.pairs))
    optimizer = train.adamw(methods.trained(clip, recipe), options)
    # Each process holds its share of the batch, so the part that goes through a tower at once is one of the share.
    micro = train.MicroBatches(clip.net, size=options.micro_batch, pairs=options.batch_size // group.size)
    # Before the state of an interrupted run is put back.
    loss = methods.objective(clip, recipe, text_classifier=aims.text_classifier, micro=micro, group=group)
    first, losses, seconds = state.resume(clip.net, optimizer) if state else (0, [], 0.0)
    precision = train.resolved(run.precision, clip.net, clip.device)
    batches, shown = _batches(clip, samples, recipe, aims, run, total=total, first=first)
    steps = train.fit(
        clip.net,
        shown,
        options,
        loss=loss,
        optimizer=optimizer,
        total=total,
        precision=precision,
        group=group,
        first_step=first,
        shrink=micro.shrink,
    )
    started = time.monotonic()

    def save(done: int) -> None:
        if state is not None:
            # The time of earlier processes of this run counts, too.
            spent = seconds + time.monotonic() - started
            state.save(clip.net, optimizer, step=done, losses=losses, seconds=spent)

    lean = train.recomputing(clip.net, clip.blocks(), wanted=options.checkpoint_activations)
    with interruptible() as stop, lean, contextlib.closing(batches), contextlib.closing(steps):
        done = walk(steps, losses, first=first, total=total, save=save, stop=stop, run=run)
    clip.net.eval()
    spent = time.monotonic() - started
    record = recorded(
        losses,
        steps=done,
        pairs=done * options.batch_size,
        seconds=seconds + spent,
        resumed_at=first,
        data_wait_seconds=batches.waited,
        data_wait_share=min(batches.waited / spent, 1.0) if spent else 0.0,
        precision=precision,
        micro_batch=micro.size,
        notes=(RAN_OUT.format(micro.size, options.micro_batch or "the whole batch"),) if micro.shrunk else (),
    )
    return Training(record, cut=None if done == total else (done, total))
