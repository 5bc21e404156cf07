"""The main job, top to bottom: read, measure, finetune, measure again, judge, export."""

import contextlib
import hashlib
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch

from clipclean import __version__, checkpoint, data, detect, methods, model, report, train
from clipclean.config import policy
from clipclean.config import recipe as recipes
from clipclean.config.policy import DEFAULT, Limits, Policy
from clipclean.config.recipe import Recipe
from clipclean.detect import ranking
from clipclean.errors import Inconclusive, Interrupted, RefusedInput, UsageError
from clipclean.export import checksums, formats, layout, placing, provenance, records
from clipclean.findings import Finding, finding
from clipclean.jobs import inputs
from clipclean.jobs.inputs import Subject
from clipclean.methods import unlearn, unlearning
from clipclean.progress import Progress
from clipclean.report import example_images
from clipclean.train import loader
from clipclean.train.resume import RunState

LOGGED_STEPS = 200  # points of the loss curve in the report
WHOLE_AND_FP32 = (
    "Unlearning computes whole batches in fp32: train.precision, train.micro_batch and train.checkpoint_activations change "
    "nothing in it. A smaller train.batch_size takes less memory."
)
ONE_SIGN = ("CC001", "CC062")  # rules that a trigger which only a search named cannot fail by
SAVE_SECONDS = 30.0  # between two saved states, or ten times what saving takes
OUTPUTS = (*formats.NAMES, "report.json", "report.html", *records.FILES)  # what a run may leave


@dataclass(frozen=True)
class Request:
    """What the user asked for; paths are not yet looked at."""

    model: Path
    data: Path
    out: Path
    recipe: Recipe
    overridden: bool
    arch: str | None
    classes: Path | None
    templates: Path | None
    eval_data: Path | None
    triggers: tuple[str, ...]
    target: str | None
    seed: int
    device: str
    precision: str
    force: bool
    keep_failed: bool
    audit: bool
    image_key: str | None = None  # columns of the data; None looks for the known ones
    caption_key: str | None = None
    weights: str | None = None  # which of several sets in the file
    policy: Policy = DEFAULT
    wanted: layout.Wanted = formats.OPEN_CLIP
    screen: ranking.Drop | Literal["off"] = "off"  # what screening leaves out; None only reports


Item = TypeVar("Item")


@dataclass(frozen=True)
class Pictures:
    """Pictures, perhaps with captions, and the places (N,) of their classes where they have labels."""

    pairs: Sequence[data.Pair]
    labels: torch.Tensor | None


@dataclass(frozen=True)
class Outcome:
    """The report as a JSON-able dict, and whether weights were written."""

    report: dict[str, Any]
    exported: bool


@dataclass(frozen=True)
class Ready:
    """All that a run rests on before it measures anything; ``shown`` are the pictures to measure on."""

    vocabulary: inputs.Words
    named: tuple[tuple[detect.Trigger, int | None], ...]
    thresholds: Limits
    device: str
    clean: data.CleanSet  # without what screening dropped
    screened: dict[str, Any] | None  # the report's data.screened
    material: Pictures
    shown: Pictures
    tested: Subject


def sanitize(request: Request, /, *, progress: Progress, group: train.Group = train.ALONE) -> Outcome | None:
    """Clean one checkpoint with one recipe, and write what DESIGN promises into ``request.out``.

    Of several processes the first one measures, judges and writes; the others train with it, and return None.

    Raises:
        ClipcleanError: of the kind that tells the exit code; then nothing new stands in ``out``.
    """
    check_shared(request.recipe, group)
    standing = placed(request) if group.is_first else placing.Standing()
    ready = prepare(request, progress=progress)
    recipe, vocabulary, named = request.recipe, ready.vocabulary, ready.named
    thresholds, clean, material, tested = ready.thresholds, ready.clean, ready.material, ready.tested

    decides = fingerprint(request, tested, clean) | aims(recipe, vocabulary, named)
    state = RunState.of(request.out, decides)
    group.check_same(state.fingerprint)
    if not group.is_first:
        finetuned(
            tested.clip, material, recipe, bank=None, rehearsed=(), state=None, seed=request.seed, precision=request.precision,
            progress=progress, group=group,
        )  # fmt: skip
        return None
    standing.check(request.out, key := told(request, state), force=request.force)
    if standing.run == key:
        return taken_up(request.out)
    with state.locked():
        measured_on = evidence_of(
            tested.clip, recipe, ready.shown, vocabulary=vocabulary, named=named, panel=request.audit,
        )  # fmt: skip
        before = measure(tested.clip, measured_on, "measuring before", progress)
        found: tuple[tuple[detect.Trigger, int | None], ...] = tuple(
            (by_spec(measured_on.panel, p.trigger), vocabulary.classes.index(p.target))
            for p in detect.suspects(before, limits=thresholds)
        )
        suspicions = tuple(dict.fromkeys((*named, *found)))  # one that was named may be found as well
        known, hunted = acting(before, suspicions, measured_on, thresholds), None
        own: tuple[unlearning.Lead, ...] = ()
        if recipe.method == "unlearn":
            hunted = unlearn.hunt(
                tested.clip, material.pairs, recipe, bank=before.bank, classes=vocabulary.classes, known=known,
                saved=state, seed=request.seed, progress=progress,
            )  # fmt: skip
            own = new_leads(hunted.strongest(), suspicions)
            before = with_found(tested.clip, before, measured_on, own)
            suspicions = (*suspicions, *own)
        shown_before = exhibited(tested.clip, measured_on, suspicions, before)
        training_record = train_by(
            tested.clip, material, recipe, bank=before.bank, known=known, hunted=hunted, rehearsed=(), state=state,
            seed=request.seed, precision=request.precision, progress=progress, group=group,
        )  # fmt: skip
        after = measure(tested.clip, replace(measured_on, suspicions=suspicions), "measuring after", progress)
        found_after = [
            *softened(detect.sanitized(before, after, limits=thresholds, searched=hunted is not None), own),
            *(remaining(training_record, least=recipe.unlearn.outlyingness) if hunted else ()),
            *side_findings(request, clean, ready.screened),
        ]
        judged = policy.apply(
            request.policy, found_after, today=datetime.now(UTC).date(),
            model_sha256=tested.file.sha256,
        )  # fmt: skip
        result = compose(
            request, tested, clean, before, after, judged, training_record.as_dict(), thresholds, device=ready.device
        )
        result["data"]["screened"] = ready.screened
        exported = result["verdict"] != "fail" or request.keep_failed
        shown = example_images.pictures(shown_before, exhibited(tested.clip, measured_on, suspicions, after))
        publish(
            request.out, tested, result, measured_on, wanted=request.wanted if exported else None,
            pictures=shown, progress=progress, earlier=standing.earlier, run=key,
        )  # fmt: skip
        if exported:
            state.discard()
        placing.said(request.out)
    return Outcome(result, exported)


def prepare(request: Request, /, *, progress: Progress) -> Ready:
    """Read and check everything, cheapest first, and build the model; nothing is measured or written.

    Raises:
        ClipcleanError: of the kind that tells the exit code.
    """
    formats.check(request.wanted)
    recipe = request.recipe
    vocabulary = inputs.words(request.classes, request.templates)
    named = inputs.suspicions(request.triggers, request.target, vocabulary)
    thresholds = policy.resolved(request.policy, recipe.audit)
    device = inputs.device_of(request.device)
    progress("reading the model", 0, 1)
    opened = inputs.read(request.model, arch=request.arch, weights=request.weights)
    inputs.check_sides(named, opened.architecture)
    formats.check_architecture(opened.architecture, request.wanted)
    progress("reading the model", 1, 1)
    images = inputs.image_cache(recipe, opened.architecture, views=methods.views_of(recipe) is not None)
    clean = read_data(request, images, progress)
    labelled = labelled_pictures(request, vocabulary, images)
    material, kept_out = divided(clean, recipe, vocabulary, hold_out=labelled is None)
    recipes.check(recipe, pairs=len(material.pairs))
    tested = inputs.build(opened, clean, device=device)
    clean, screened = screened_pairs(request, tested.clip, clean, [trigger for trigger, _ in named], progress)
    if screened and screened["dropped"]:
        material, kept_out = divided(clean, recipe, vocabulary, hold_out=labelled is None)
        recipes.check(recipe, pairs=len(material.pairs))
    shown = labelled or kept_out
    return Ready(vocabulary, named, thresholds, device, clean, screened, material, shown, tested)


def check_shared(recipe: Recipe, group: train.Group, /) -> None:
    """Refuse what several processes cannot share; raises UsageError."""
    if group.size > 1 and recipe.method not in methods.SHARED:
        raise UsageError(
            f"The method {recipe.method} runs in one process, and here are {group.size}. Start it without torchrun, or take a "
            f"recipe of {' or '.join(sorted(methods.SHARED))}."
        )
    group.check(recipe.train.batch_size)


def read_pairs(
    path: Path, images: data.ImageCache, progress: Progress, /, *, image_key: str | None, caption_key: str | None
) -> data.CleanSet:
    """The clean set; raises RefusedInput, UsageError or Inconclusive where it is unusable."""
    clean = data.read(
        path, images=images, image_key=image_key, caption_key=caption_key,
        progress=lambda done, total: progress("reading the data", done, total),
    )  # fmt: skip
    if len(clean.pairs) < 2:
        raise Inconclusive(
            f"{path} holds {len(clean.pairs)} usable pair(s): a contrastive loss needs others to contrast with."
        )
    return clean


def screened_pairs(
    request: Request,
    clip: model.Clip,
    clean: data.CleanSet,
    triggers: Sequence[detect.Trigger],
    progress: Progress,
    /,
) -> tuple[data.CleanSet, dict[str, Any] | None]:
    """The clean set without what screening drops, and the report's ``data.screened``; None where it was not screened.

    Where nothing is to be dropped, a set that is too small to screen is taken as it is.
    """
    if request.screen == "off" or (request.screen is None and len(clean.pairs) < ranking.LEAST):
        return clean, None
    if not all(pair.caption for pair in clean.pairs):
        if request.screen is not None:
            raise UsageError(
                f"{clean.path} has pictures without captions, and screening compares the two. Leave --screen out."
            )
        return clean, None
    found = ranking.sift(
        clip, clean.pairs, triggers=triggers,
        progress=lambda done, total: progress("screening the pairs", done, total),
    )  # fmt: skip
    dropped = found.dropped(request.screen)
    keys = [pair.key for pair, is_dropped in zip(clean.pairs, dropped.tolist(), strict=True) if is_dropped]
    return ranking.kept(clean, dropped), ranking.record(found, request.screen) | {"dropped_keys": keys}


def read_data(request: Request, images: data.ImageCache, progress: Progress, /) -> data.CleanSet:
    """The clean set of a run: pairs, or pictures alone where the method needs no captions.

    Raises:
        RefusedInput, UsageError or Inconclusive: it is unusable.
    """
    if request.recipe.method in methods.CAPTIONED:
        return read_pairs(
            request.data, images, progress, image_key=request.image_key, caption_key=request.caption_key
        )  # fmt: skip
    return data.read_images(
        request.data, images=images, progress=lambda done, total: progress("reading the data", done, total)
    )


def labelled_pictures(request: Request, vocabulary: inputs.Words, images: data.ImageCache) -> Pictures | None:
    """The labelled pictures that the user gave, or None."""
    if request.eval_data is None:
        return None
    found = data.labelled(request.eval_data, images=images, classes=vocabulary.classes)
    return Pictures(found.pairs, found.labels)


def divided(
    clean: data.CleanSet, recipe: Recipe, vocabulary: inputs.Words, /, *, hold_out: bool
) -> tuple[Pictures, Pictures]:
    """What is trained on, and what is kept out to measure on; with labels where all pictures have one.

    Raises:
        UsageError: the method needs labels, and there are none.
    """
    labels = None if recipe.method in methods.CLASSLESS else data.labels_of(clean, vocabulary.classes)
    if labels is None and recipe.method in methods.LABELLED:
        raise UsageError(
            f"The recipe {recipe.name} trains on labels, and not every picture of {clean.path} has one among the "
            f"{len(vocabulary.classes):,} classes. Put the pictures into folders named like the classes, give a table with a "
            "column label, or name the right classes by --classes FILE."
        )
    parts = split(range(len(clean.pairs)), recipe, hold_out=hold_out)
    training, kept = (
        Pictures([clean.pairs[i] for i in places], None if labels is None else labels[places]) for places in parts
    )
    return training, kept


def split(pairs: Sequence[Item], recipe: Recipe, /, *, hold_out: bool) -> tuple[list[Item], list[Item]]:
    """Pairs to train on and pairs to measure on; all to train on where labelled pictures measure.

    The choice depends on nothing but the number of pairs.
    """
    if not hold_out:
        return list(pairs), []
    kept = round(len(pairs) * recipe.data.held_out_share)
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0)).tolist()
    return [pairs[i] for i in sorted(order[kept:])], [pairs[i] for i in sorted(order[:kept])]


def fingerprint(request: Request, tested: Subject, clean: data.CleanSet, /) -> dict[str, Any]:
    """Everything that decides the weights of a run: equal fingerprints may continue each other.

    Thresholds of the audit are not among it: a run may be judged anew without training again.
    """
    return {
        "clipclean": __version__,
        "torch": torch.__version__,
        "model": tested.file.sha256,
        "architecture": tested.clip.architecture.config,
        "preprocess": asdict(tested.clip.architecture.preprocess),
        "data": clean.digest,
        "order": [pair.key for pair in clean.pairs],
        "held_out": request.eval_data is None,
        "recipe": request.recipe.model_dump(
            mode="json", include={"method", "train", "loss", "augment", "data", "unlearn"}
        ),
        "seed": request.seed,
        "precision": train.resolved(request.precision, tested.clip.net, tested.clip.device),
        "device": tested.clip.device.type,  # not its number, which differs among processes
    }


def aims(
    recipe: Recipe, vocabulary: inputs.Words, named: Sequence[tuple[detect.Trigger, int | None]], /
) -> dict[str, Any]:
    """What else decides the weights where a method looks at classes, or at the triggers that were named."""
    if recipe.method in methods.CLASSLESS:
        return {}
    return {
        "vocabulary": asdict(vocabulary),
        "named": [
            (trigger.spec, target, checkpoint.digest(trigger.parameters) if isinstance(trigger, detect.Found) else "")
            for trigger, target in named
        ],
    }


def evidence_of(
    clip: model.Clip,
    recipe: Recipe,
    pictures: Pictures,
    /,
    *,
    vocabulary: inputs.Words,
    named: tuple[tuple[detect.Trigger, int | None], ...],
    panel: bool,
) -> detect.Evidence:
    """What is measured on: pictures with labels, with captions, or with neither, where accuracy is not measured.

    Raises:
        Inconclusive: fewer than two pictures.
    """
    labelled = None if pictures.labels is None else (pictures.pairs, pictures.labels)
    return inputs.evidence(
        clip, recipe, labelled=labelled, held_out=pictures.pairs, vocabulary=vocabulary, named=named, panel=panel,
    )  # fmt: skip


def acting(
    measured: detect.Measurement,
    suspicions: Sequence[tuple[detect.Trigger, int | None]],
    evidence: detect.Evidence,
    limits: Limits,
    /,
) -> tuple[unlearning.Lead, ...]:
    """Those of the triggers that move pictures, each with the class that it leads to."""
    probes = {probe.trigger: probe for probe in (*measured.panel, *measured.known)}
    led = ((trigger, probes[trigger.spec]) for trigger, _ in suspicions)
    return tuple(
        (trigger, evidence.classes.index(probe.target))
        for trigger, probe in led
        if probe.excess_interval[0] > limits.max_excess
    )


def with_found(
    clip: model.Clip, before: detect.Measurement, evidence: detect.Evidence, found: Sequence[unlearning.Lead], /
) -> detect.Measurement:
    """A measurement with what the triggers that a search found do, beside what it has."""
    asked = replace(evidence, suspicions=tuple(found), panel=())
    more = measure(clip, asked, "measuring what was found", lambda what, done, total: None)
    return replace(before, known=(*before.known, *more.known))


def measure(clip: model.Clip, evidence: detect.Evidence, what: str, progress: Progress) -> detect.Measurement:
    """One model on one set of pictures; ``what`` names it for the progress."""
    return detect.measure(
        clip.embed_images, clip.embed_texts, evidence, progress=lambda done, total: progress(what, done, total)
    )


def exhibited(
    clip: model.Clip,
    evidence: detect.Evidence,
    suspicions: Sequence[tuple[detect.Trigger, int | None]],
    measured: detect.Measurement,
) -> list[example_images.Exhibit]:
    """Pictures under the first suspicion, if there is one."""
    looked = [example_images.look(clip, evidence, *suspicion, bank=measured.bank) for suspicion in suspicions[:1]]
    return looked[0] if looked else []


def by_spec(panel: Sequence[detect.Trigger], spec: str, /) -> detect.Trigger:
    """The trigger of the panel with this spec."""
    return next(trigger for trigger in panel if trigger.spec == spec)


@dataclass(frozen=True)
class Training:
    """What the finetuning did: the report's ``training``.

    ``data_wait_share`` is the share of the time since the run was begun, or last resumed, in which the next batch was not
    ready yet; ``unlearned`` says where unlearning ended.
    """

    steps: int
    pairs: int
    seconds: float
    losses: tuple[dict[str, float], ...]
    resumed_at: int
    data_wait_seconds: float
    data_wait_share: float
    precision: str
    micro_batch: int | None
    notes: tuple[str, ...]
    unlearned: unlearn.Hunted | None = None

    def as_dict(self) -> dict[str, Any]:
        """With rate and peak memory of the process, in bytes: on the host, and on a GPU if there is one."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        rate = self.pairs / self.seconds if self.seconds else 0.0
        told = {
            "steps": self.steps, "pairs": self.pairs, "seconds": self.seconds, "losses": list(self.losses),
            "resumed_at": self.resumed_at, "data_wait_seconds": self.data_wait_seconds,
            "data_wait_share": self.data_wait_share, "pairs_per_second": rate, "peak_memory_bytes": peak,
            "peak_device_memory_bytes": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
            "precision": self.precision, "micro_batch": self.micro_batch, "notes": list(self.notes),
        }  # fmt: skip
        return told | ({"unlearning": self.unlearned.as_dict()} if self.unlearned else {})


def train_by(
    clip: model.Clip,
    material: Pictures,
    recipe: Recipe,
    /,
    *,
    bank: torch.Tensor,
    known: Sequence[unlearning.Lead],
    hunted: unlearn.Hunted | None,
    rehearsed: Sequence[unlearning.Lead],
    state: RunState | None,
    seed: int,
    precision: str,
    progress: Progress,
    group: train.Group = train.ALONE,
) -> Training:
    """Clean a model in place by the method of a recipe.

    Args:
        clip: the model.
        material: pictures, with captions or labels where the method needs them.
        recipe: what to do.
        bank: (K, D), the zero-shot classifier of the model.
        known: for unlearn: triggers that act, with the places of their classes.
        hunted: for unlearn: what its first search found.
        rehearsed: for the other methods: triggers that some pictures are shown under.
        state: where an interrupted run is saved and goes on from; None saves nothing.
        seed: decides every draw.
        precision: fp32, bf16 or auto.
        progress: told of each step.
        group: the processes that share each batch.

    Of several processes only the first one has a ``state``; each trains on its share of every batch.

    Raises:
        Interrupted: SIGINT or SIGTERM came; the state is saved.
        LostProcess: another process has ended; the state is saved.
        torch.OutOfMemoryError: one pair at a time is too many; the state is saved.
    """
    if hunted is None:
        return finetuned(
            clip, material, recipe, bank=bank, rehearsed=rehearsed, state=state, seed=seed, precision=precision,
            progress=progress, group=group,
        )  # fmt: skip
    with interruptible() as stop:
        done = unlearn.unlearn(
            clip, material.pairs, recipe, hunted, known=known, saved=state, seed=seed, progress=progress,
            stop=stop,
        )  # fmt: skip
    steps = len(done.state.losses) * recipe.unlearn.steps
    losses = tuple(
        {"step": (number + 1) * recipe.unlearn.steps - 1, "lr": recipe.train.lr, **parts}
        for number, parts in enumerate(done.state.losses)
    )
    resumed_at = len(hunted.state.losses) * recipe.unlearn.steps
    pairs = steps * recipe.train.batch_size
    notes = (
        (WHOLE_AND_FP32,)
        if precision == "bf16" or recipe.train.micro_batch or recipe.train.checkpoint_activations
        else ()
    )
    return Training(steps, pairs, done.seconds, losses, resumed_at, 0.0, 0.0, "fp32", None, notes, done)


def finetuned(
    clip: model.Clip,
    material: Pictures,
    recipe: Recipe,
    /,
    *,
    bank: torch.Tensor | None,
    rehearsed: Sequence[unlearning.Lead],
    state: RunState | None,
    seed: int,
    precision: str,
    progress: Progress,
    group: train.Group = train.ALONE,
) -> Training:
    """Finetune in place by a loss, saving a resumable state every half minute and when interrupted.

    Of several processes only the first one has a ``state``; each trains on its share of every batch.

    Raises:
        Interrupted: SIGINT or SIGTERM came; the state is saved.
        LostProcess: another process has ended; the state is saved.
        torch.OutOfMemoryError: one pair at a time is too many; the state is saved.
    """
    pairs, options, size = material.pairs, recipe.train, recipe.train.batch_size
    total = recipes.total_steps(recipe, pairs=len(pairs))
    optimizer = train.adamw(
        methods.trained(clip, recipe),
        lr=options.lr,
        betas=options.betas,
        eps=options.eps,
        weight_decay=options.weight_decay,
    )
    share = size // group.size
    micro = train.MicroBatches(clip.net, size=options.micro_batch, pairs=share)
    objective = methods.objective(  # before the state of an interrupted run is put back
        clip, recipe, bank=bank, wrap=lambda encode: group.gathered(micro.over(encode), pairs=share)
    )
    first, losses, seconds = state.resume(clip.net, optimizer) if state else (0, [], 0.0)
    first = group.spread(clip.net, optimizer, first)
    chosen = train.resolved(precision, clip.net, clip.device)
    views, side = methods.views_of(recipe), clip.architecture.preprocess.size
    plan = group.share(data.plan(len(pairs), batch_size=size, steps=total, seed=seed))
    batches = loader.batches(
        plan, pairs=pairs, fit=clip.fitted, tokens=clip.tokens, views=views, side=side,
        seed=seed, first_step=first, threads=data.workers(),
    )  # fmt: skip
    labels = material.labels if recipe.method in methods.LABELLED else None
    steps = train.finetune(
        clip.net, methods.fed(batches, recipe, plan=plan, labels=labels, rehearsed=rehearsed, seed=seed, first_step=first),
        loss=train.in_precision(objective, chosen, clip.device), optimizer=optimizer,
        learning_rate=lambda step: train.learning_rate(step, peak=options.lr, warmup=options.warmup_steps, total=total),
        first_step=first, grad_clip=options.grad_clip, average=lambda parts: group.average(clip.net, parts),
        shrink=micro.shrink if group.size == 1 else lambda: False,  # all would have to shrink in the same step
    )  # fmt: skip
    started = time.monotonic()

    def save(done: int) -> None:
        if state is not None:
            spent = seconds + time.monotonic() - started
            state.save(clip.net, optimizer, step=done, losses=losses, seconds=spent)

    lean = train.recomputing(clip.net, clip.blocks(), wanted=options.checkpoint_activations)
    with interruptible() as stop, lean, contextlib.closing(batches), contextlib.closing(steps):
        walk(steps, losses, first=first, total=total, save=save, stop=stop, group=group, progress=progress)
    clip.net.eval()
    spent = time.monotonic() - started
    waited = min(batches.waited / spent, 1.0) if spent else 0.0
    notes = tuple(memory_notes(micro, options.micro_batch))
    return Training(
        total, total * size, seconds + spent, tuple(losses), first, batches.waited, waited, chosen, micro.size, notes
    )


def walk(
    steps: Iterator[train.Step],
    losses: list[dict[str, float]],
    /,
    *,
    first: int,
    total: int,
    save: Callable[[int], None],
    stop: Callable[[], bool],
    group: train.Group,
    progress: Progress,
) -> None:
    """Take the steps from ``first`` on, noting some ``losses`` and saving now and then, and before it ends in any way.

    Raises:
        Interrupted: ``stop`` said so.
        LostProcess: another process has ended.
        RefusedInput: a file of the data broke since it was first read.
        torch.OutOfMemoryError: one pair at a time is too many.
    """
    done, due, every = first, time.monotonic() + SAVE_SECONDS, max(1, total // LOGGED_STEPS)
    progress("finetuning", first, total)
    try:
        for step in steps:
            done = step.number + 1
            if step.number % every == 0 or done == total:
                losses.append({"step": step.number, "lr": step.lr, **step.losses})
            progress("finetuning", done, total)
            now, stopping = time.monotonic(), group.any(stop())
            if stopping or now >= due or done == total:
                save(done)
                due = time.monotonic() + max(SAVE_SECONDS, 10 * (time.monotonic() - now))
            if stopping:
                raise interrupted(done, total)
    except (train.LostProcess, RefusedInput, RuntimeError, MemoryError) as error:
        if not isinstance(error, train.LostProcess | RefusedInput) and not train.is_out_of_memory(error):
            raise
        save(done)  # the weights are those of the last whole step
        if stop():
            raise interrupted(done, total) from error
        raise


def interrupted(done: int, total: int, /) -> Interrupted:
    """What to raise where a run stops between two steps."""
    return Interrupted(f"Interrupted after step {done} of {total}. Give the same command again to go on from there.")


def memory_notes(micro: train.MicroBatches, asked: int | None, /) -> list[str]:
    """What the report says where memory ran out and the run went on."""
    if not micro.shrunk:
        return []
    return [
        f"Memory ran out: the towers took {micro.size} pairs at a time instead of "
        f"{'the whole batch' if asked is None else asked}. Gradients are those of the whole batch all the same, but where a "
        f"tower normalises by batches. --set train.micro_batch={micro.size} begins like this."
    ]


def new_leads(
    found: Sequence[unlearning.Lead], suspicions: Sequence[tuple[detect.Trigger, int | None]], /
) -> tuple[unlearning.Lead, ...]:
    """What a search found, but for triggers that go by the same name as one that is measured already."""
    there = {trigger.spec for trigger, _ in suspicions}
    return tuple((trigger, target) for trigger, target in found if trigger.spec not in there)


def softened(findings: Sequence[Finding], own: Sequence[unlearning.Lead], /) -> list[Finding]:
    """The findings, with a warning in the place of an error about a trigger that only the run's own search named.

    Clean models have natural triggers, and the search takes some for suspects: one sign, where a failure needs two.
    """
    specs = {trigger.spec for trigger, _ in own}
    return [
        found.model_copy(update={"level": "warning"}) if found.rule in ONE_SIGN and found.trigger in specs else found
        for found in findings
    ]


def remaining(training: Training, /, *, least: float) -> list[Finding]:
    """What the last search of an unlearning still found: a warning for each class, so that nothing of it passes.

    ``least`` robust deviations smaller than clean models need make a suspect; less is no more than rounds go on for.
    """
    assert training.unlearned is not None  # noqa: S101 # the caller unlearned
    state = training.unlearned.state
    left = (catch for catch in state.newest if catch.score >= least)
    worst = {catch.target: catch for catch in sorted(left, key=lambda catch: catch.score)}
    return [
        finding(
            "CC003",
            f"After {state.rounds} rounds of unlearning the search still finds a trigger towards '{catch.found.target}' that is "
            f"smaller than those of other classes: one that {catch.found.size_words}. Allow more rounds by --set "
            "unlearn.max_rounds=N, or clean the result further with another recipe.",
            level="warning",
            measure="abnormality",
            value=catch.score,
            target=catch.found.target,
            trigger=catch.found.spec,
        )
        for catch in worst.values()
    ]


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Turn the first SIGINT or SIGTERM into a question that the loop asks; the second one kills as usual.

    Outside the main thread signals cannot be caught: the question is then always answered no.
    """
    caught: list[int] = []
    previous: dict[int, Any] = {}  # handlers are opaque

    def note(number: int, _frame: object) -> None:
        caught.append(number)
        signal.signal(number, previous[number])

    try:
        for number in (int(signal.SIGINT), int(signal.SIGTERM)):
            previous[number] = signal.getsignal(number)
            signal.signal(number, note)
    except ValueError:
        previous.clear()
    try:
        yield lambda: bool(caught)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def compose(
    request: Request,
    tested: Subject,
    clean: data.CleanSet,
    before: detect.Measurement,
    after: detect.Measurement,
    judged: policy.Applied,
    training: dict[str, Any],
    limits: Limits,
    /,
    *,
    device: str,
) -> dict[str, Any]:
    """The report, as DESIGN lays it out."""
    recipe = request.recipe
    return {
        "schema_version": "1",
        "tool": {"name": "clipclean", "version": __version__},
        "command": "sanitize",
        "model": inputs.described(request.model, tested),
        "verdict": policy.verdict(judged.findings),
        "findings": [dumped(found) for found in judged.findings],
        "suppressed": [dumped(found) for found in judged.suppressed],
        "suspects": suspects_of(before, limits),
        "measurements": after.as_dict(),
        "before": section(before, limits),
        "after": section(after, limits),
        "policy": policy.record(request.policy, limits),
        "recipe": {
            "name": recipe.name,
            "revision": recipe.revision,
            "sha256": recipes.digest(recipe),
            "validated": recipes.is_validated(recipe, overridden=request.overridden),
            "resolved": recipe.model_dump(mode="json", exclude={"evidence"}),
        },
        "data": clean.as_dict(),
        "seed": request.seed,
        "training": training,
        "exports": [],
        "environment": provenance.versions() | provenance.hardware(device),
        "notes": [*tested.file.notes, *training.get("notes", ())],
    }


def dumped(found: Finding, /) -> dict[str, Any]:
    """A finding as JSON."""
    return found.model_dump(mode="json", by_alias=True, exclude_unset=True)


def suspects_of(measured: detect.Measurement, limits: Limits, /) -> list[dict[str, Any]]:
    """The report's ``suspects``: classes that panel triggers lead to, most suspicious first, each once."""
    rows: dict[str, dict[str, Any]] = {}
    for found in detect.suspects(measured, limits=limits):
        rows.setdefault(found.target, {"class": found.target, "score": found.excess, "trigger": found.trigger})
    return list(rows.values())


def section(measured: detect.Measurement, limits: Limits, /) -> dict[str, Any]:
    """One audit of the report: its measurements, what they show, and whom they point at."""
    return {
        "measurements": measured.as_dict(),
        "findings": [dumped(found) for found in detect.audit(measured, limits=limits)],
        "suspects": suspects_of(measured, limits),
    }


def side_findings(request: Request, clean: data.CleanSet, screened: dict[str, Any] | None, /) -> list[Finding]:
    """Notes on data and recipe; they inform and never change the verdict."""
    notes: list[tuple[str, float | None, str]] = []
    if clean.skipped:
        named = ", ".join(f"{s.key} ({s.reason})" for s in clean.skipped[:5])
        notes.append(
            (
                "CC030",
                float(len(clean.skipped)),
                f"{len(clean.skipped)} of {len(clean.skipped) + len(clean.pairs)} samples were unusable and skipped: {named}.",
            )
        )
    if screened and (screened["suspicious"] or screened["dropped"]):
        notes.append(("CC032", screened["suspicious_share"], ranking.told(screened)))
    if not recipes.is_validated(request.recipe, overridden=request.overridden):
        notes.append(
            (
                "CC040",
                None,
                f"Recipe {request.recipe.name} carries no evidence for these values"
                + (" (overridden on the command line)." if request.overridden else "."),
            )
        )
    return [finding(rule, message, level="note", value=value) for rule, value, message in notes]


def placed(request: Request, /) -> placing.Standing:
    """What stands in the output folder; raises what ``placing.look`` raises."""
    return placing.look(request.out, force=request.force, known=OUTPUTS)


def told(request: Request, state: RunState, /) -> str:
    """A run by all that was asked for: an equal one has the same result to show."""
    return hashlib.sha256(repr((state.fingerprint, replace(request, force=False))).encode()).hexdigest()


def taken_up(out: Path, /) -> Outcome:
    """The outcome of an equal run that was killed once its files had come."""
    result = report.read(out / "report.json")
    placing.said(out)
    return Outcome(result, bool(result["exports"]))


def publish(
    out: Path,
    tested: Subject,
    result: dict[str, Any],
    measured_on: detect.Evidence,
    /,
    *,
    wanted: layout.Wanted | None,
    pictures: Sequence[report.Picture],
    progress: Progress,
    earlier: Mapping[str, str],
    run: str,
) -> None:
    """Write everything into a scratch folder first, check it, then put it in the place of an earlier result in ``out``.

    Without layouts that are ``wanted`` the reports are all that is written, with their checksums. The weights of one run never stand
    beside the report of another.

    Raises:
        ResourceError: the disk is full or the folder not writable; then the new files are gone again.
    """
    with placing.written(out) as new:
        if wanted:
            # Labelled pictures have no captions of their own: the names of the classes are embedded instead.
            result["exports"] = formats.write(
                new, tested.clip, tested.weights(), wanted=wanted, pixels=measured_on.pixels,
                captions=measured_on.captions or measured_on.classes, source_sha256=tested.file.sha256,
                progress=progress,
            )  # fmt: skip
        outputs = checksums.digests(new)
        report.write(result, "json", new / "report.json")
        report.write(result, "html", new / "report.html", pictures=pictures)
        if wanted:
            records.write(new, result, outputs=outputs, has_bom=wanted.bom)
        else:
            records.write_checksums(new)
        placing.place(new, out, earlier=earlier, run=run)
