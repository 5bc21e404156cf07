"""The work of a job, counted, and how long it may take: the rate on this machine is that of a few batches."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import astuple, dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from clipclean import detect, machine, model, progress
from clipclean.config import effort as efforts
from clipclean.config.recipe import Recipe, total_steps
from clipclean.detect import families, forward, inversion, ranking
from clipclean.detect.measure import EXACT_ONE_IN
from clipclean.detect.persuasion import PERSUADED_IMAGES
from clipclean.methods import walk_back
from clipclean.schema.names import EffortName
from clipclean.untrusted import plural

SLOW_BATCH = 36  # images or captions of the batch whose rate is taken, if one is slow: about those that a search on 224 px takes together
FAST_BATCH = 64  # and if it is fast: about the batch of a search on small images
SLOW_SECONDS = 0.05  # seconds of one image or caption that count as slow
TIMED_SECONDS = 0.15  # seconds of batches that a rate is taken of
SEARCH_FACTOR = 1.1  # factor on the passes of a search: an audit took 1.02 to 1.18 times as long as these alone
AUDIT_ENDING = 8.0  # seconds beside counted work
CLEANING_ENDING = 15.0  # which reads its export back
HOUR = 3600.0


@dataclass(frozen=True)
class Work:
    """Counted work: images and captions that go forward through their tower, images of a search, pairs and images that are trained on.

    A search, and looks at what mostly does nothing, are in bfloat16 where the device has it.
    """

    images: float = 0.0
    captions: float = 0.0
    searched: float = 0.0  # forward, and back to the pixels; in bfloat16
    pairs: float = 0.0  # image and caption forward, and back to the weights
    trained_images: float = 0.0  # the image alone
    glanced: float = 0.0  # images forward, in bfloat16

    def __add__(self, other: "Work") -> "Work":
        return Work(*(own + more for own, more in zip(astuple(self), astuple(other), strict=True)))

    def __rmul__(self, times: float) -> "Work":
        return Work(*(times * own for own in astuple(self)))

    def seconds(self, rates: "Work", /) -> float:
        """How long it takes if each of its items takes what ``rates`` holds."""
        return float(sum(count * amount for count, amount in zip(astuple(self), astuple(rates), strict=True)))


class Stage(NamedTuple):
    """A part of a job: what is done, and how much work that is."""

    words: str
    work: Work = Work()
    saved_early: Work | None = None  # of it, where the job ends early; None of a stage that every job has


@dataclass(frozen=True)
class JobSize:
    """The size of what is measured and trained on."""

    images: int  # measured on
    classes: int  # of the zero-shot classifier
    templates: int  # of captions for each class; 0 if no class is asked for
    panel: int  # its triggers that are tried
    suspected: int = 0  # triggers that are suspected, all images under each
    grid: int = 0  # triggers of the grid, which audits beside clean models try
    of_whole_image: int = 0  # known triggers that persuade a model, where there is no clean one
    pairs: int = 0  # trained on

    @classmethod
    def of(cls, eval_set: detect.EvalSet, /) -> "JobSize":
        """Of an audit on these images, with these classes and triggers."""
        return cls(
            len(eval_set.images),
            len(eval_set.vocabulary.classes),
            len(eval_set.vocabulary.templates),
            len(eval_set.plan.triggers.panel),
            len(eval_set.plan.suspicions),
            len(eval_set.plan.triggers.grid),
            len(eval_set.plan.triggers.of_whole_image),
        )


# When an audit, and when a cleaning ends early.
EARLY_ENDS = ("nothing comes near", "a trigger acts and the first candidate is enough")


@dataclass(frozen=True)
class Estimate:
    """Seconds and bytes of a whole job."""

    seconds: float
    memory: int
    free: int | None = None  # bytes that are free; None where nobody knows
    effort: EffortName | None = None  # of the search that an option chose
    device: str = ""
    early: float | None = None  # seconds of an audit that ends early, or of a cleaning by the first candidate alone
    when: str = ""  # it does

    @property
    def faster(self) -> tuple[str, ...]:
        """Advice for making a job of more than an hour faster."""
        if self.seconds < HOUR:
            return ()
        less = ("--effort quick",) if self.effort in ("standard", "thorough") else ()
        other = ("a machine with a GPU (--device cuda)",) if self.device == "cpu" else ()
        return (*less, *other, "fewer images or classes", "--max-minutes N, which ends with the results so far")

    def __str__(self) -> str:
        least = "" if self.early is None else f"{in_words(self.early)} if {self.when}, else "
        words = f"about {least}{in_words(self.seconds)}, {self.memory / 2**30:.1f} GiB of memory"
        if self.free is None or self.free >= self.memory:
            return words
        return f"{words}, more than the {self.free / 2**30:.1f} GiB that are free: it may run out"


def in_words(seconds: float, /) -> str:
    """A length of time for people: 40 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


# The work of each part of a job.


def measuring(size: JobSize, /, *, is_audit: bool = False) -> Work:
    """The class captions, and the images under each trigger that is tried: of the panel most stay quiet on a few."""
    few = detect.BRIEF_PANEL_IMAGES if size.images >= 2 * detect.BRIEF_PANEL_IMAGES else size.images
    panel = looks(few * size.panel) if is_audit and few < size.images else Work(few * size.panel)
    return panel + Work(size.images * (1 + size.suspected), size.classes * size.templates)


def looks(images: float, /) -> Work:
    """Looks at so many images, most of which show nothing: see :func:`detect.measure.looking`."""
    return Work(images / EXACT_ONE_IN, glanced=images)


def searching(effort: efforts.Effort, size: JobSize, /, *, is_reference: bool = False) -> Work:
    """The search of an audit, in which no class comes near by a warp: its passes forward and back, and those forward only.

    Of a clean model to compare with, ``is_reference``, only the sizes of triggers count.
    """
    variants, targets = looks(size.grid * min(size.images, forward.BRIEF_IMAGES)), effort.classes_searched(size.classes)
    most = effort.passes_towards_classes(targets=targets) if is_reference else effort.cost(size.classes)
    alone = forward_alone(effort, images=size.images, panel=size.panel, is_reference=is_reference)
    persuasion = Work() if is_reference else looks(size.of_whole_image * min(size.images, PERSUADED_IMAGES))
    return variants + persuasion + Work(searched=most - effort.vain_passes(targets=targets)) + alone


def work_left_out_if_quiet(effort: efforts.Effort, size: JobSize, /) -> Work | None:
    """What an audit without clean models leaves out where no class comes near; None of an effort that leaves nothing out."""
    parts = detect.parts_of_search()
    always, others = {*parts.moving, *parts.local, *parts.unlike}, {*parts.whole, *parts.few}
    if not always.issubset(effort.families_towards):
        return None
    full, least = (
        forward_alone(effort, images=size.images, panel=0, among=names) for names in (effort.families_towards, always)
    )
    return (
        Work(searched=effort.passes_towards_classes(others, targets=effort.classes_searched(size.classes)))
        + full
        + -1 * least
    )


def screening(pairs: int, /) -> Work:
    """The screening of pairs."""
    return pairs * Work(ranking.LOOKS_AT_AN_IMAGE, 1)


def training(recipe: Recipe, size: JobSize, /) -> Work:
    """The training of a recipe, and its own search if it has one."""
    method, unlearning = recipe.traits, recipe.unlearn
    steps, recovering = min(total_steps(recipe, pairs=size.pairs), 10**9), recipe.train.recover_steps
    # An unlearning and a recovery show each image clean and under two triggers, and preservation once more, beside the original.
    if method.searches:
        pairs, alone = 0, 3 * steps
    else:
        views = 2 if method.views == "needed" or method.perturbs else 1
        pairs, alone = steps * views, steps * bool(recipe.loss.preserve_weight)
        if method.disturbs:  # images alone, clean and changed
            pairs, alone = 0, 2 * steps
    images_of_original = steps * bool(alone or method.keeps_original) + recovering
    work = Work(images_of_original, pairs=pairs, trained_images=alone + 3 * recovering)
    work = recipe.train.batch_size * work + Work(captions=size.classes * size.templates)
    if method.searches:
        effort = replace(efforts.EFFORTS[unlearning.effort], halves=False)
        # Between rounds suspects alone are searched for, in half of the steps; most are none after the first search.
        again = replace(effort, steps=-(-effort.steps // 2), restarts=0)
        passes = effort.cost(size.classes) + unlearning.max_rounds * again.passes(targets=effort.suspects // 2, swept=0)
        work += Work(searched=passes) + forward_alone(effort, images=unlearning.images, panel=0)
    return work


def walking_back(size: JobSize, /, *, triggers: int) -> Work:
    """The walk from the cleaned weights to the original as far as it can go, measured under so many triggers."""
    return (1 + len(walk_back.WALK_SHARES)) * measuring(replace(size, panel=0, suspected=triggers))


class Trying(NamedTuple):
    """The work of ``auto`` beside its audits."""

    planting: Work  # of test backdoors in a copy
    on_copy: tuple[Work, ...]  # of trying each candidate there; those that begin alike share the beginning
    first: Work  # of running the first on the model
    longest: Work  # of the one that takes longest


def work_of_choosing(recipe: Recipe, candidates: Sequence[Sequence[Recipe]], size: JobSize, /) -> Trying:
    """The work of all that ``auto`` may do with its candidates: each is tried on the copy, and one run."""
    settings = recipe.auto
    batch = min(settings.batch_size, size.pairs)
    again = Work(pairs=settings.refinetune_steps * batch) + measuring(
        replace(size, panel=0, suspected=settings.test_backdoors)
    )
    tested = walking_back(size, triggers=settings.test_backdoors) + again
    on_copy, begun = list[Work](), list[Sequence[Recipe]]()
    for steps in candidates:
        beginnings = [steps[:end] for end in range(1, len(steps) + 1)]
        new = [beginning for beginning in beginnings if beginning not in begun]
        begun += new
        work = sum((training(beginning[-1], size) for beginning in new), tested)
        on_copy.append(work if settings.test_backdoors else Work())
    runs = [sum((training(step, size) for step in steps), tested) for steps in candidates]
    longest = max(runs, key=lambda work: work.pairs + work.trained_images, default=Work())
    # Whatever is run, the model is measured once more.
    first, longest = (measuring(size) + work for work in (runs[0] if runs else Work(), longest))
    return Trying(Work(pairs=settings.plant_steps * batch), tuple(on_copy), first, longest)


def forward_alone(
    effort: efforts.Effort,
    /,
    *,
    images: int,
    panel: int,
    among: Collection[str] | None = None,
    is_reference: bool = False,
) -> Work:
    """Images that a search sends forward alone, towards classes ``among`` these families, or all of the effort."""
    among = effort.families_towards if among is None else among
    on = min(round(efforts.SEARCHED_SHARE * images), efforts.MOST_SEARCHED_IMAGES)
    free_images = 0 if is_reference else len(effort.without_target) * effort.restarts * on
    judged = 0 if is_reference else effort.suspects * len(among) * min(images - on, efforts.MOST_JUDGING_IMAGES)
    begun = sum(detect.SEARCH_FAMILIES[name].starts is not None for name in among) * min(on, inversion.START_IMAGES)
    tiled, scanned = min(on, forward.TILED_IMAGES), min(on, forward.SCANNED_IMAGES)
    pasted = forward.SINGLE_TILES * tiled + (forward.TILES - forward.SINGLE_TILES) * scanned
    plain = Work(images, glanced=free_images + begun * families.MOST_STARTS)
    return looks(min(images, forward.MOST_IMAGES) * panel + pasted + judged) + plain


def images_kept_at_once(effort: efforts.Effort, /, *, side: int) -> int:
    """Images whose activations a search keeps at a time."""
    # The images of one trigger are never divided.
    row = max(efforts.SECOND_ROUND_FACTOR * effort.images, effort.free_images)
    most_rows = max(effort.full_list_limit * effort.images, efforts.FINALISTS * row, efforts.CLASSES_AT_ONCE)
    return max(row, min(inversion.MOST_NUMBERS_A_PASS // (3 * side * side), most_rows))


# The rate and the memory of a model on this machine.


def estimated(
    clip: model.Clip,
    stages: Sequence[Stage],
    /,
    *,
    precision: str,
    effort: EffortName | None = None,
    recipes: Sequence[Recipe] = (),
) -> Estimate:
    """Seconds for the stages of a job, which may be less by what an early end saves, at the rate of a few batches, and bytes for search and training.

    Training is timed in its ``precision``; a search in bfloat16, where the device has it.
    """
    work = sum((stage.work for stage in stages), Work())
    side, is_gpu = clip.architecture.preprocess.size, clip.device.type == "cuda"
    before = torch.cuda.memory_reserved(clip.device) if is_gpu else machine.peak_memory()
    free = torch.cuda.mem_get_info(clip.device)[0] if is_gpu else machine.free_memory()
    pixels = torch.rand(FAST_BATCH, 3, side, side, generator=torch.Generator().manual_seed(0)).to(clip.device)
    captions = ["a photo of a dog"] * FAST_BATCH
    tokens, learned = clip.tokens(captions), [tensor for tensor in clip.net.parameters() if tensor.requires_grad]
    is_reduced = model.has_bfloat16(clip.device)
    tower = model.fold_norms(clip)
    towers = tower.embed_images, tower.encode_images
    glance, rough = map(detect.rounded, towers) if is_reduced else towers

    def back(count: int) -> object:
        images = pixels[:count].clone().requires_grad_()
        with model.freezing(tower.net):
            return torch.autograd.grad(rough(images).sum(), images)

    def taught(count: int, *, pairs: bool = True) -> object:
        with torch.autocast(clip.device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            texts = clip.encode_tokens(tokens[:count]).sum() if pairs else 0.0
            return torch.autograd.grad(clip.encode_images(pixels[:count]).sum() + texts, learned, allow_unused=True)

    with torch.random.fork_rng(devices=[]), model.evaluating(clip.net):
        rates = Work(  # seconds of each
            images=_seconds(lambda count: tower.embed_images(pixels[:count]), clip.device),
            captions=_seconds(lambda count: clip.embed_texts(captions[:count]), clip.device),
            searched=SEARCH_FACTOR * _seconds(back, clip.device) if work.searched else 0.0,
            pairs=_seconds(taught, clip.device) if work.pairs else 0.0,
            trained_images=_seconds(partial(taught, pairs=False), clip.device) if work.trained_images else 0.0,
            glanced=_seconds(lambda count: glance(pixels[:count]), clip.device) if work.glanced else 0.0,
        )
        if effort is not None and is_reduced:
            work += Work(forward.PASSES / 2, glanced=forward.PASSES / 2)
        kept = _kept(clip, tower, pixels[:1], tokens[:1], effort=effort, recipes=recipes)
    seconds = work.seconds(rates) + (CLEANING_ENDING if recipes else AUDIT_ENDING)
    # What this process holds already is not free, but counts in what it needs.
    free = None if free is None else free + before
    saved_early = [stage.saved_early.seconds(rates) for stage in stages if stage.saved_early]
    early = seconds - sum(saved_early) if saved_early else None
    when, effort_in_words = EARLY_ENDS[bool(recipes)], None if recipes else effort  # a cleaning has no option for it
    return Estimate(seconds, before + weight_bytes(clip) + kept, free, effort_in_words, clip.device.type, early, when)


def _kept(
    clip: model.Clip,
    tower: model.Clip,
    pixels: Tensor,
    tokens: Tensor,
    /,
    *,
    effort: EffortName | None,
    recipes: Sequence[Recipe],
) -> int:
    """Bytes that a search or a training keeps beside the weights, by those of one image and caption."""
    search_bytes = training_bytes = 0
    if effort is not None:
        with model.freezing(tower.net):
            saved = _saved(lambda: tower.encode_images(pixels.clone().requires_grad_()))
        search_bytes = images_kept_at_once(efforts.EFFORTS[effort], side=pixels.shape[-1]) * saved
    if recipes:  # beside activations: the original, gradients, and two moments of AdamW
        both = _saved(lambda: clip.encode_images(pixels)) + _saved(lambda: clip.encode_tokens(tokens))
        most = max(min(step.train.batch_size, step.train.micro_batch or step.train.batch_size) for step in recipes)
        training_bytes = 3 * weight_bytes(clip) + 2 * most * both
    return max(search_bytes, training_bytes)


def _seconds(run: Callable[[int], object], device: torch.device) -> float:
    """Seconds for one item of a batch, on average over at least ``TIMED_SECONDS`` seconds: another program takes its share of these, too.

    The first run is not counted: it prepares what later ones reuse.
    """
    count = SLOW_BATCH if _timed(run, 1, device) >= SLOW_SECONDS else FAST_BATCH
    spent: list[float] = []
    while sum(spent) < TIMED_SECONDS:
        spent.append(_timed(run, count, device))
    return sum(spent) / (count * len(spent))


def _timed(run: Callable[[int], object], count: int, device: torch.device) -> float:
    began = time.perf_counter()
    run(count)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def _saved(run: Callable[[], Tensor]) -> int:
    """Bytes that a forward pass keeps for the backward pass, without weights."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, torch.nn.Parameter) and tensor._base is None:
            kept[tensor.untyped_storage()._cdata] = tensor.nbytes  # not its address, which fake tensors all lack
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        run()
    return sum(kept.values())


def weight_bytes(clip: model.Clip, /) -> int:
    """Bytes of a model."""
    return sum(tensor.nbytes for tensor in clip.net.state_dict().values())


def tell(
    clip: model.Clip, expected: Callable[[], Estimate], /, *, precision: str, minutes: float | None = None
) -> Estimate | None:
    """Report an estimate, if somebody listens, and whether it is more than so many minutes; it is not made otherwise, and None."""
    if not progress.is_heard():
        return None
    estimate, device = expected(), clip.device
    where = f"{device}, {plural(torch.get_num_threads(), 'thread')}" if device.type == "cpu" else str(device)
    where += "" if model.has_bfloat16(device) else " without bfloat16"
    size = f"{model.parameter_count(clip.net) / 1e6:.1f} M parameters"
    line = f"{clip.architecture.name}, {size}; {where}, {precision}; estimated: {estimate}"
    progress.say(f"{line}. Faster: {', '.join(estimate.faster)}." if estimate.faster else line)
    warn_of_time(estimate, minutes)
    return estimate


def say_resumed(seconds: float, /) -> None:
    """Say that a run goes on with what an interrupted one took so many seconds for, and how much of the estimate that is."""
    if seconds:
        done = f"about {in_words(seconds)} of the estimate are done, and are not done again"
        progress.say(f"Going on with what an interrupted run kept: {done}.")


def warn_of_time(estimate: Estimate, minutes: float | None, /) -> None:
    """Say before slow work that the minutes of a run are fewer than it needs by the estimate."""
    if minutes is None or 60 * minutes >= estimate.seconds:
        return
    progress.say(
        f"--max-minutes {minutes:g} ({in_words(60 * minutes)}) is less than the estimate of {in_words(estimate.seconds)}: the run may end before it has a verdict, and "
        "may write nothing. What it finished is kept, and the same command with more minutes goes on from there."
    )
