"""Cleaning a model in place with a recipe's method."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import partial

import torch
from torch import Tensor, nn

from clipclean import data, deadline, detect, model, train
from clipclean.config import policy
from clipclean.config import recipe as recipes
from clipclean.config.effort import EFFORTS
from clipclean.config.recipe import Recipe, Train
from clipclean.data import Samples
from clipclean.detect import Suspicion
from clipclean.methods import rounds, towards_base, unlearning
from clipclean.methods.losses import objective
from clipclean.schema.report import LossRecord, TrainingRecord
from clipclean.train import loader
from clipclean.train.resume import Run, TrainingSoFar, interruptible, take_steps

WHOLE_BATCHES_NOTE = (
    "Unlearning computes whole batches: train.micro_batch and train.checkpoint_activations change nothing in it. A smaller "
    "train.batch_size takes less memory."
)
MEMORY_NOTE = (
    "Memory ran out: the towers took {0} pairs at a time instead of {1}. Gradients are those of the whole batch all the same, but where "
    "a tower normalises by batches. --set train.micro_batch={0} begins like this."
)

RECOVERY_WALK_SHARE = 0.5  # of the walk of the finetuning
RECOVERY_RATE_SHARE = 0.4  # of its learning rate, where it has one
RECOVERY_PRESERVES = 4  # weight of clean images in it, to that of images under triggers
RECOVERY_WARMUP = 32  # of its steps one in so many warms up


class Draw(IntEnum):
    """What is drawn for a whole step or run, in the place of a pair's number."""

    PERTURB, REHEARSE, MOVE, RECOVER, BLEND, DISTURB = range(-1, -7, -1)


@dataclass(frozen=True)
class Aims:
    """The inputs of some methods, besides the samples."""

    text_classifier: Tensor | None = None  # (K, D), the zero-shot classifier of the model
    searched: unlearning.SearchedModel | None = None  # for unlearn: what acts, with what its first search found
    rehearsed: tuple[Suspicion[int], ...] = ()  # for the other methods: triggers that are put on some images
    teacher: model.Clip | None = None  # frozen: where clean images belong, if the model has moved from there already
    base: model.Clip | None = None  # the model that this one was finetuned from, for a recipe that undoes


@dataclass(frozen=True)
class Training:
    """A finetuning that is done."""

    record: TrainingRecord  # the report's ``training``
    unlearned: unlearning.SearchedModel | None = None  # the end of an unlearning
    cut: tuple[int, int] | None = None  # the steps done and their total, if the deadline came before the last

    @property
    def suspicions(self) -> tuple[Suspicion[int], ...]:
        """The strongest triggers that an unlearning came to by itself."""
        return self.unlearned.strongest() if self.unlearned else ()


def merged(parts: Sequence[TrainingRecord], /) -> TrainingRecord:
    """The report's ``training`` of trainings in sequence: the steps are counted through."""
    steps, losses = 0, list[LossRecord]()
    for part in parts:
        losses += [entry.model_copy(update={"step": entry.step + steps}) for entry in part.losses]
        steps += part.steps
    pairs, seconds = sum(part.pairs for part in parts), sum(part.seconds for part in parts)
    totals = {
        "steps": steps,
        "pairs": pairs,
        "seconds": seconds,
        "losses": tuple(losses),
        "pairs_per_second": pairs / seconds if seconds else 0.0,
        "peak_memory_bytes": max(part.peak_memory_bytes for part in parts),
        "peak_device_memory_bytes": max(part.peak_device_memory_bytes or 0 for part in parts) or None,
    }
    walks = [part.walk for part in parts if part.walk is not None]
    totals["walk"] = sum(walks) if len(walks) == len(parts) else None
    unlearned = [part.unlearning for part in parts if part.unlearning is not None]
    return parts[0].model_copy(update=totals | ({"unlearning": unlearned[0]} if unlearned else {}))


def move_to_beginning(
    clip: model.Clip, samples: Samples, base: model.Clip | None, recipe: Recipe, /, *, run: Run
) -> model.Clip | None:
    """Put a model where a recipe begins on the way to its base; a frozen copy of it from before, if that is where clean images belong.

    What is fitted to clean images begins a little short of what the finetune does with them, and learns the rest of it.

    Raises:
        Inconclusive: the recipe keeps what clean images explain, and of this model that cannot be told.
    """
    is_fitted = base is not None and recipe.undoes and recipe.unlearn.base_damping is not None
    teacher = model.frozen_copy(clip) if is_fitted else None
    towards_base.put_towards_base(clip, samples, base, recipe, run=run)
    return teacher


def aims_of(
    clip: model.Clip,
    samples: Samples,
    recipe: Recipe,
    /,
    *,
    text_classifier: Tensor,
    classes: tuple[str, ...],
    triggers: unlearning.ShownTriggers,
    run: Run,
) -> Aims:
    """The targets of the method: the triggers that act and, for a method that searches, those that its first search finds.

    It searches on images that also serve for training, and resumes an equal run that was killed.

    Raises:
        Inconclusive: the method searches, and the model gives numbers that are not finite.
            Or nothing can be searched, and no known trigger acts.
    """
    if not recipe.traits.searches:
        return Aims(text_classifier)
    order = torch.randperm(len(samples.pairs), generator=torch.Generator().manual_seed(run.seed)).tolist()
    # Drawn, since folders come class by class; sorted, so that they are read in the order of the files.
    rows = sorted(order[: recipe.unlearn.images])
    pixels = detect.stack([samples.pairs[row].image for row in rows]).to(clip.device)
    # Anomaly indexes decide here, and those beside classes that stopped early would be too large.
    effort = replace(EFFORTS[recipe.unlearn.effort], halves=False)
    scene = unlearning.Scene(pixels, text_classifier, classes, effort, triggers)
    if kept := unlearning.restored(run.state, scene):
        return Aims(text_classifier, kept[0])
    started, progress = time.monotonic(), partial(run.progress, "searching for triggers")
    limits = policy.resolved(policy.DEFAULT_POLICY, recipe.audit)
    state = run.group.of_first(
        lambda: unlearning.first_search(clip, scene, recipe.unlearn, limits, seed=run.seed, progress=progress)
    )
    searched = unlearning.SearchedModel(scene, state, time.monotonic() - started)
    if not run.group.any(deadline.is_over()):  # a search that the deadline cut short is repeated
        unlearning.save(run.state, searched, {})
    return Aims(text_classifier, searched)


def train_by_method(clip: model.Clip, samples: Samples, recipe: Recipe, /, *, aims: Aims, run: Run) -> Training:
    """Clean a model in place: unlearn the triggers that a search found, or finetune.

    Raises:
        Interrupted: SIGINT or SIGTERM came; the state is saved.
        LostProcess: another process has ended; the state is saved.
        torch.OutOfMemoryError: one pair at a time is too many; the state is saved.
    """
    if aims.searched is not None:
        base = aims.base if recipe.undoes else None
        return unlearn(clip, samples, recipe, aims.searched, teacher=aims.teacher, base=base, run=run)
    if not (recipe.train.recover_steps and aims.rehearsed):
        return finetune(clip, samples, recipe, aims=aims, run=run)
    teacher = aims.teacher or model.frozen_copy(clip)
    trained = finetune(clip, samples, recipe, aims=aims, run=run)
    if trained.cut:
        return trained
    after = recover(clip, samples, recipe, teacher, rehearsed=aims.rehearsed, run=run)
    return replace(trained, record=merged([trained.record, after]))


def recover(
    clip: model.Clip,
    samples: Samples,
    recipe: Recipe,
    teacher: model.Clip,
    /,
    *,
    rehearsed: Sequence[Suspicion[int]],
    run: Run,
) -> TrainingRecord:
    """Bring clean images back to the embeddings of ``teacher``, in place, and images under ``rehearsed`` triggers to those without.

    The teacher, a frozen original, shows no backdoor on clean images, so nothing teaches them better: five points that CleanCLIP had cost became
    1.8, and 0.2 at 0.7 of the way back. Without a trigger that holds it, a backdoor comes back on this way: of a frequency pattern
    0.29 became 0.49 (benchmarks/results/less-loss.csv). An interrupted recovery begins again after the finetuning.

    Raises:
        OutOfTime: the deadline came before the last step.
    """
    steps, options = recipe.train.recover_steps, recipe.train
    settings = replace(
        rounds.RoundSettings.of(recipe),
        steps=steps,
        training=options.model_copy(update={**recovering_rate(options), "warmup_steps": steps // RECOVERY_WARMUP}),
        weights=recipe.loss.model_copy(update={"preserve_weight": RECOVERY_PRESERVES * recipe.loss.restore_weight}),
    )
    started, seed = time.monotonic(), loader.sample_seed(run.seed, 0, Draw.RECOVER)

    def report(_: str, done: int, total: int) -> None:
        run.progress("recovering accuracy", done, total)

    batches = rounds.batches_of(clip, samples.pairs, settings, 0, run=replace(run, seed=seed))
    with interruptible() as stop:
        losses = rounds.forget(
            clip,
            rounds.Teachers(teacher),
            batches,
            {"newest": rehearsed, "earlier": rehearsed},
            settings,
            generator=torch.Generator().manual_seed(seed),
            run=replace(run, progress=report).stopping(stop),
        )
    last = {"step": steps - 1, "lr": train.peak_rate(settings.training, total=steps), **losses}
    pairs, seconds = steps * options.batch_size, time.monotonic() - started
    return train.training_record([last], steps=steps, pairs=pairs, seconds=seconds, walk=settings.training.walk)


def recovering_rate(own: Train, /) -> dict[str, float | None]:
    """The values of ``train`` that set the rate of a recovery after such a finetuning."""
    return {"walk": own.walk and RECOVERY_WALK_SHARE * own.walk, "lr": own.lr and RECOVERY_RATE_SHARE * own.lr}


def unlearn(
    clip: model.Clip,
    samples: Samples,
    recipe: Recipe,
    searched: unlearning.SearchedModel,
    /,
    *,
    teacher: model.Clip | None = None,
    base: model.Clip | None = None,
    run: Run,
) -> Training:
    """Unlearn in place the triggers that ``aims_of`` found and the known ones, round by round; raises what ``train_by_method`` raises.

    Clean images go to where ``teacher`` has them, by default the model as it is. With a ``base`` triggers keep what they do there. The state of
    the last whole round is saved.
    """
    scene, state, is_cut = searched.scene, searched.state, False
    with interruptible() as stop:
        # Copied before a saved state is put back: the aim is the model as it was given, whichever round a resumed run is in.
        teacher = teacher or model.frozen_copy(clip)
        earlier = unlearning.restored(run.state, scene)
        if earlier and earlier[1]:
            clip.net.load_state_dict(earlier[1], strict=True)
        started = time.monotonic() - searched.seconds
        settings = rounds.RoundSettings.of(recipe)
        batches = partial(rounds.batches_of, clip, samples.pairs, settings, run=run)
        damping = recipe.train.damping
        inverses = None if damping is None else inverses_of(teacher, samples, recipe, damping, run=run)
        states = unlearning.unlearn(
            clip,
            rounds.Teachers(teacher, base),
            scene,
            state,
            settings,
            batches=batches,
            run=run.stopping(stop),
            inverses=inverses,
        )
        try:
            for state in states:
                searched_model = unlearning.SearchedModel(scene, state, time.monotonic() - started)
                unlearning.save(run.state, searched_model, clip.net.state_dict())
        except deadline.OutOfTime:  # the weights are those of the last step
            is_cut = True
    clip.net.eval()
    ended = unlearning.SearchedModel(scene, state, time.monotonic() - started)
    record = unlearning_record(ended, recipe, resumed_at=len(searched.state.losses), run=run, clip=clip)
    total = recipes.total_steps(recipe, pairs=len(samples.pairs))
    return Training(record, ended, (record.steps, total) if is_cut else None)


def unlearning_record(
    ended: unlearning.SearchedModel, recipe: Recipe, /, *, resumed_at: int, run: Run, clip: model.Clip
) -> TrainingRecord:
    """The report's ``training`` of an unlearning that ended here and was resumed after so many rounds."""
    round_steps, options, by_round = recipe.unlearn.steps, recipe.train, ended.state.losses
    steps, peak = len(by_round) * round_steps, train.peak_rate(options, total=round_steps)
    losses = [{"step": (number + 1) * round_steps - 1, "lr": peak, **parts} for number, parts in enumerate(by_round)]
    return train.training_record(
        losses,
        steps=steps,
        pairs=steps * options.batch_size,
        seconds=ended.seconds,
        resumed_at=resumed_at * round_steps,
        data_wait_seconds=0.0,
        data_wait_share=0.0,
        precision=train.resolved(run.precision, clip.net, clip.device),
        micro_batch=None,
        notes=(WHOLE_BATCHES_NOTE,) if options.micro_batch or options.checkpoint_activations else (),
        unlearning=ended.record(),
        walk=options.walk and len(by_round) * options.walk,
    )


def finetune(clip: model.Clip, samples: Samples, recipe: Recipe, /, *, aims: Aims, run: Run) -> Training:
    """Finetune in place by a loss, saving a resumable state every half minute and when interrupted.

    Of several processes each trains on its share of every batch. Raises what ``train_by_method`` raises.
    """
    options, total = recipe.train, recipes.total_steps(recipe, pairs=len(samples.pairs))
    is_tower = "image tower" in (recipe.traits.moves, options.moves)
    tower: nn.Module = clip.net.visual  # type: ignore[assignment] # nn.Module's __getattr__
    optimizer = optimizer_of(clip, samples, recipe, tower if is_tower else clip.net, run=run)
    # Each process holds its share of the batch, so the part that goes through a tower at once is one of the share.
    share = options.batch_size // run.group.size
    micro = train.MicroBatches(clip.net, size=options.micro_batch, pairs=share)
    parallel = partial(run.group.gathered, pairs=share)
    loss = objective(  # before the state of an interrupted run is put back
        clip, recipe.method, recipe.loss, text_classifier=aims.text_classifier, micro=micro, parallel=parallel
    )
    so_far = run.state.resume(clip.net, optimizer) if run.state else TrainingSoFar()
    first, precision = so_far.steps, train.resolved(run.precision, clip.net, clip.device)
    # One plan for the whole run, drawn from the seed alone: a resumed run sees the batches that it would have seen.
    plan = data.plan(len(samples.pairs), batch_size=options.batch_size, steps=total, seed=run.seed)
    batches = loader.batches(plan, pairs=samples.pairs, clip=clip, run=run, views=views_of(recipe), first_step=first)
    steps = train.fit(
        clip.net,
        with_inputs_of_method(batches, samples, recipe, plan=plan, rehearsed=aims.rehearsed, first_step=first, run=run),
        options,
        loss=loss,
        optimizer=optimizer,
        total=total,
        precision=precision,
        group=run.group,
        first_step=first,
        shrink=micro.shrink,
    )
    started = time.monotonic()
    lean = train.recomputing(clip.net, clip.blocks(), is_on=options.checkpoint_activations)
    with interruptible() as stop, lean, contextlib.closing(batches), contextlib.closing(steps):
        done, losses, _ = take_steps(steps, clip.net, optimizer, so_far, total=total, stop=stop, run=run)
    clip.net.eval()
    spent = time.monotonic() - started
    record = train.training_record(
        losses,
        steps=done,
        pairs=done * options.batch_size,
        seconds=so_far.seconds + spent,
        resumed_at=first,
        data_wait_seconds=batches.seconds_waited,
        data_wait_share=min(batches.seconds_waited / spent, 1.0) if spent else 0.0,
        precision=precision,
        micro_batch=micro.size,
        notes=(MEMORY_NOTE.format(micro.size, options.micro_batch or "the whole batch"),) if micro.shrunk else (),
        walk=options.walk,
    )
    return Training(record, cut=None if done == total else (done, total))


def optimizer_of(
    clip: model.Clip, samples: Samples, recipe: Recipe, net: nn.Module, /, *, run: Run
) -> torch.optim.Optimizer:
    """AdamW over ``net``, or steps that spare clean images, by the model as it is now: before a saved state is put back."""
    damping = recipe.train.damping
    if damping is None:
        return train.adamw(net, recipe.train)
    inverses = inverses_of(clip, samples, recipe, damping, run=run)
    return train.sparing(net, inverses, momentum=recipe.train.betas[0])


def inverses_of(clip: model.Clip, samples: Samples, recipe: Recipe, damping: float, /, *, run: Run) -> train.Inverses:
    """The damped inverse second moments of what comes into each layer of the image tower."""
    tower: nn.Module = clip.net.visual  # type: ignore[assignment] # nn.Module's __getattr__
    batches = towards_base.clean_batches(clip, samples, recipe, run=run)
    with model.evaluating(clip.net):
        return train.inverses_of(train.moments_of(tower, clip.encode_images, batches), damping)


def views_of(recipe: Recipe, /) -> loader.Views | None:
    """The second views of a recipe; None if no loss term uses them."""
    if not recipe.shows_views:
        return None
    rate = recipe.augment.caption_rate
    return loader.Views(
        image=lambda image, draw: data.image_view(image, seed=draw),
        caption=lambda text, rng: data.caption_view(text, rng=rng, synonyms=data.synonyms, rate=rate),
    )


def with_inputs_of_method(
    batches: Iterable[train.Batch],
    samples: Samples,
    recipe: Recipe,
    /,
    *,
    plan: Sequence[tuple[int, Sequence[int]]],
    rehearsed: Sequence[Suspicion[int]],
    first_step: int,
    run: Run,
) -> Iterator[train.Batch]:
    """The batches of a plan from ``first_step`` on, with the further inputs of the method: labels, or perturbed images.

    Images are moved as the recipe says. Some get one of the ``rehearsed`` triggers, and keep their own caption or label; of a method
    that shows images beside themselves, the copies alone: its teacher sees clean ones. Of several processes each has its rows of a batch,
    drawn as in one process; the labels, and the plan, are those of all.
    """
    augment, method = recipe.augment, recipe.traits
    labels = samples.labels if method.needs_labels else None
    changes: dict[int, Callable[..., Tensor]] = {}
    beside: dict[int, Callable[..., Tensor]] = {Draw.DISTURB: data.disturb} if method.disturbs else {}
    if augment.least_part < 1 or augment.mirrored:
        changes[Draw.MOVE] = partial(data.move, least=augment.least_part, mirror_share=augment.mirrored)
    if method.disturbs and augment.mixed:
        changes[Draw.BLEND] = partial(data.mix, share=augment.mixed)
    if rehearsed and augment.triggered_share:
        (beside if method.disturbs else changes)[Draw.REHEARSE] = partial(
            rounds.some_triggered, suspicions=rehearsed, share=augment.triggered_share, settings=recipe.unlearn
        )
    if method.perturbs:
        changes[Draw.PERTURB] = partial(
            data.perturb, noise=augment.noise, noise_share=augment.noise_share, erased_side=augment.erased_side
        )
    for step, batch in enumerate(batches, start=first_step):
        inputs = dict(batch.inputs)
        inputs["pixels"] = _with_changes(inputs["pixels"], changes, step=step, run=run)
        if beside:
            inputs["disturbed"] = _with_changes(inputs["pixels"], beside, step=step, run=run)
        # The tower takes both at once: one range for both.
        if "pixel_views" in inputs and inputs["pixels"].is_floating_point():
            inputs["pixel_views"] = model.unit_range(inputs["pixel_views"])
        if labels is not None:
            inputs["labels"] = labels[list(plan[step][1])]
        yield replace(batch, inputs=inputs)


def _with_changes(pixels: Tensor, changes: Mapping[int, Callable[..., Tensor]], /, *, step: int, run: Run) -> Tensor:
    """This process's images of a step after each of the changes."""
    for what, change in changes.items():
        # Drawn for the whole batch, then cut: several processes show the parts and triggers that one would show. By the number of
        # the step: the draws are the same wherever the run began.
        generator = torch.Generator().manual_seed(loader.sample_seed(run.seed, step, what))
        pixels = run.group.own(change(run.group.whole(model.unit_range(pixels)), generator=generator))
    return pixels
