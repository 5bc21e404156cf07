"""Estimates of time and memory of a job on this machine, from counted work and a brief timing."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from clipclean import detect, model, progress, train
from clipclean.config.methods import METHODS
from clipclean.config.recipe import EFFORTS, Planting, Recipe, SearchEffort
from clipclean.config.recipe import total_steps as steps_of
from clipclean.detect import attraction, families, inversion, ranking
from clipclean.detect import panel as panels
from clipclean.detect.search import JUDGING, MOST_IMAGES, MOST_SWEPT, SEARCHED

TIMED_SECONDS = 0.2  # least seconds for which each tower is timed
FEW = 8  # images or captions of the timing, if one is slow
MANY = 64  # and if it is fast: about the batch of a search on small images
SLOW = 0.05  # seconds of one image or caption that count as slow
BACKWARD = 2.0  # cost of a backward pass in forward passes, by operations: gradients of inputs and of weights
BESIDE = 1.1  # factor on the passes of a search: painting, losses and the steps of the optimizer
HOUR = 3600.0


@dataclass(frozen=True)
class Pace:
    """This machine's seconds for one image and one caption, and the activations that an image keeps in memory for the backward
    pass.

    Attributes:
        image: seconds forward.
        search: seconds forward and back to the pixels, with frozen weights, in the format that a search computes in.
        text: seconds forward.
        kept: bytes of activations of an image and its caption, where weights are trained.
        kept_search: bytes of activations of an image in a search.
        held: bytes that this process held before the timing, whose own may still be in memory.
    """

    image: float
    search: float
    text: float
    kept: int
    kept_search: int
    held: int


@dataclass(frozen=True)
class Estimate:
    """Seconds and bytes of a whole job."""

    seconds: float
    memory: int

    def __str__(self) -> str:
        return f"about {in_words(self.seconds)}, {self.memory / 2**30:.1f} GiB of memory"


@dataclass(frozen=True)
class AuditSize:
    """How much an audit has to do.

    Attributes:
        effort: how hard is searched; None leaves the search out.
        images: measured on.
        classes: of the zero-shot classifier.
        templates: of captions for each class.
        panel: triggers that are tried.
        models: that are audited: two with a reference.
    """

    effort: str | None
    images: int
    classes: int
    templates: int
    panel: int
    models: int

    @classmethod
    def of(cls, eval_set: detect.EvalSet, /, *, effort: str | None, models: int) -> "AuditSize":
        """Of an audit on these images, with these classes and triggers."""
        return cls(
            effort,
            images=len(eval_set.pixels),
            classes=len(eval_set.classes),
            templates=len(eval_set.templates),
            panel=len(eval_set.panel),
            models=models,
        )


@dataclass(frozen=True)
class CleaningSize:
    """How much a cleaning has to do.

    Attributes:
        pairs: trained on.
        images: measured on.
        captions: of all classes.
        panel: triggers that are tried.
        classes: that a search of an unlearning may look at.
        screened: pairs that are screened.
    """

    pairs: int
    images: int
    captions: int
    panel: int
    classes: int = 1000
    screened: int = 0


def in_words(seconds: float, /) -> str:
    """A length of time for people: 40 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def pace(clip: model.Clip, /, *, is_reduced: bool = False) -> Pace:
    """Time both towers on noise for a moment; with ``is_reduced`` the forward pass is in bfloat16, as in training."""
    side, device, before = clip.architecture.preprocess.size, clip.device, held()
    pixels = torch.rand(MANY, 3, side, side, generator=torch.Generator().manual_seed(0)).to(device)
    captions = ["a photo of a dog"] * MANY
    searches = torch.autocast(device.type, dtype=torch.bfloat16, enabled=inversion.has_bfloat16(device))

    def back(count: int) -> None:
        clip.encode_images(pixels[:count].clone().requires_grad_()).sum().backward()  # type: ignore[no-untyped-call] # torch leaves it unannotated

    with torch.random.fork_rng(devices=[]), model.evaluating(clip.net):
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=is_reduced):
            image = _seconds(lambda count: clip.embed_images(pixels[:count]), device)
            text = _seconds(lambda count: clip.embed_texts(captions[:count]), device)
            kept = _saved(lambda: clip.encode_images(pixels[:1])) + _saved(
                lambda: clip.encode_tokens(clip.tokens(captions[:1]))
            )
        with model.frozen(clip.net), searches:
            search = _seconds(back, device)
            kept_search = _saved(lambda: clip.encode_images(pixels[:1].clone().requires_grad_()))
    return Pace(image, search, text, kept, kept_search, before)


def _seconds(run: Callable[[int], object], device: torch.device) -> float:
    """Seconds for one item of a batch. The first run is not counted: it prepares what later ones reuse."""
    count = FEW if _timed(run, 1, device) >= SLOW else MANY
    if count == MANY:
        _timed(run, count, device)
    began, runs = time.perf_counter(), 0
    while not runs or time.perf_counter() - began < TIMED_SECONDS:
        _timed(run, count, device)
        runs += 1
    return (time.perf_counter() - began) / (runs * count)


def _timed(run: Callable[[int], object], count: int, device: torch.device) -> float:
    began = time.perf_counter()
    run(count)
    _wait(device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


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


def weights(clip: model.Clip, /) -> int:
    """Bytes of a model."""
    return sum(tensor.nbytes for tensor in clip.net.state_dict().values())


def held() -> int:
    """Bytes of memory that this process holds already: libraries, weights and images; 0 if the system does not report it."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def of_audit(clip: model.Clip, timed: Pace, size: AuditSize, /) -> Estimate:
    """An audit: the class captions, the images under each trigger of the panel, and the search unless ``effort`` is None."""
    seconds = size.classes * size.templates * timed.text + size.images * (1 + size.panel) * timed.image
    memory = timed.held + weights(clip)
    if size.effort is not None:
        how = EFFORTS[size.effort]
        seconds += _searching(how, timed, size)
        memory += together(how, side=clip.architecture.preprocess.size) * timed.kept_search
    return Estimate(size.models * seconds, memory)


def passes(how: SearchEffort, /, *, classes: int, halves: bool = True) -> int:
    """Images that a search sends forward and back, with so many classes; that of an unlearning halves no list."""
    effort = detect.Effort(**how.model_dump(), halves=halves)
    most = effort.suspects + effort.controls
    swept = min(classes, MOST_SWEPT) if classes > most and effort.sweep else 0
    return effort.passes(detect.FAMILIES, targets=min(classes, most), swept=swept)


def _searching(how: SearchEffort, timed: Pace, size: AuditSize) -> float:
    """Seconds of a search: its passes forward and back, and those forward only."""
    return (
        BESIDE * passes(how, classes=size.classes) * timed.search
        + looked(how, images=size.images, panel=size.panel) * timed.image
    )


def looked(how: SearchEffort, /, *, images: int, panel: int) -> int:
    """Images that a search sends forward alone: under the panel and random changes, where searches without a target end, under waves
    to start from, and to judge.
    """
    on = min(round(SEARCHED * images), MOST_IMAGES)
    general = sum(family.is_general for family in detect.FAMILIES.values())
    ends = general * how.restarts * on
    judged = how.suspects * len(detect.FAMILIES) * min(images - on, JUDGING)
    changed = min(images, attraction.MOST_IMAGES) * (1 + attraction.CHANGES)
    starts = min(on, inversion.STARTS_ON) * families.MOST_STARTS
    return min(images, panels.MOST_IMAGES) * (1 + panel) + changed + ends + starts + judged


def together(how: SearchEffort, /, *, side: int) -> int:
    """Images whose activations a search keeps at a time."""
    row = max(inversion.MORE * how.images, how.free_images)  # the images of one trigger are never divided
    every = max(
        (how.suspects + how.controls) * how.images, inversion.FINALISTS * row, inversion.BLOCK * inversion.SWEPT
    )
    return max(row, min(inversion.CHUNK // (3 * side * side), every))


def of_sanitize(clip: model.Clip, recipe: Recipe, timed: Pace, size: CleaningSize, /) -> Estimate:
    """A cleaning by one recipe: measured before and after, and trained between; of ``auto``, one candidate."""
    measured = 2 * (size.captions * timed.text + size.images * (1 + size.panel) * timed.image)
    batch = recipe.train.batch_size
    method = METHODS[recipe.method]
    views = 2 if method.views == "needed" or method.perturbs else 1  # images that a step sees for each pair
    step = batch * views * (timed.image + timed.text) * (1 + BACKWARD)
    trained = min(steps_of(recipe, pairs=size.pairs), 10**9) * step
    if method.searches:
        trained += BESIDE * passes(EFFORTS[recipe.unlearn.effort], classes=size.classes, halves=False) * timed.search
    screened = size.screened * (ranking.LOOKS * timed.image + timed.text)
    micro = min(batch, recipe.train.micro_batch or batch)
    state = 4 * weights(clip)  # the original, gradients, and two moments of AdamW
    return Estimate(screened + measured + trained, timed.held + state + micro * views * timed.kept)


def faster(estimate: Estimate, /, *, effort: str | None, device: str) -> list[str]:
    """Advice for making a job of more than an hour faster."""
    if estimate.seconds < HOUR:
        return []
    ways = ["--effort quick"] if effort in ("standard", "thorough") else []
    if device == "cpu":
        ways.append("a GPU (--device cuda)")
    return [*ways, "fewer images or classes", "--max-minutes N, which ends with the results so far"]


def tell_audit(clip: model.Clip, size: AuditSize, /) -> None:
    """Report the estimate of an audit, if somebody listens."""
    if not progress.is_heard():
        return
    found = of_audit(clip, pace(clip), size)
    precision = searched_in(clip.device) if size.effort else "fp32"
    progress.say(in_line(clip, found, precision=precision, effort=size.effort))


def searched_in(device: torch.device, /) -> str:
    """The format that a search computes in, unless it changes a model's answers."""
    return "bf16" if inversion.has_bfloat16(device) else "fp32"


def tell_power(planting: Planting, /, *, count: int) -> None:
    """Report the estimate of the power of an audit, if somebody listens."""
    if progress.is_heard():
        progress.say(
            f"--power: {count} backdoors, each planted in a copy of the model ({planting.steps} steps of {planting.batch_size} pairs) "
            f"and searched for: the estimate counts the {count} searches, the planting comes on top"
        )


def tell_sanitize(clip: model.Clip, recipe: Recipe, size: CleaningSize, /, *, precision: str) -> None:
    """Report the estimate of a cleaning, if somebody listens."""
    if not progress.is_heard():
        return
    taken = str(train.resolved(precision, clip.net, clip.device))
    found = of_sanitize(clip, recipe, pace(clip, is_reduced=taken == "bf16"), size)
    progress.say(in_line(clip, found, precision=taken, effort=None))


def in_line(clip: model.Clip, estimate: Estimate, /, *, precision: str, effort: str | None) -> str:
    """The estimate of a run in words."""
    device = clip.device
    where = f"{device}, {torch.get_num_threads()} threads" if device.type == "cpu" else str(device)
    size = f"{model.parameter_count(clip.net) / 1e6:.1f} M parameters"
    line = f"{clip.architecture.name}, {size}; {where}, {precision}; estimated: {estimate}"
    ways = faster(estimate, effort=effort, device=device.type)
    return f"{line}. Faster: {', '.join(ways)}." if ways else line
