"""Estimates of time and memory of a job on this machine, from counted work and a brief timing."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from clipclean import model, progress, train
from clipclean.config.methods import METHODS
from clipclean.config.recipe import EFFORTS, Planting, Recipe
from clipclean.config.recipe import total_steps as steps_of

TIMED_SECONDS = 0.1  # for which each tower is timed, or for one batch
BATCHES = (4, 32)  # images or captions of the timing: the second where the first takes no time to speak of
BACKWARD = 2.0  # passes forward that a pass back costs, as flops are counted: gradients of inputs and of weights
SEARCH_BATCH = 64  # images whose activations a search keeps at a time
HOUR = 3600.0


@dataclass(frozen=True)
class Pace:
    """What this machine needs for one image and one caption, and what an image leaves in memory for the way back."""

    image: float  # seconds forward
    search: float  # seconds forward and back to the pixels, with frozen weights
    text: float  # seconds forward
    kept: int  # bytes of activations of an image and its caption


@dataclass(frozen=True)
class Estimate:
    """Seconds and bytes of a whole job."""

    seconds: float
    memory: int

    def __str__(self) -> str:
        return f"about {in_words(self.seconds)}, {self.memory / 2**30:.1f} GiB of memory"


def in_words(seconds: float, /) -> str:
    """A length of time for people: 40 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def pace(clip: model.Clip, /) -> Pace:
    """Time both towers on noise for a moment."""
    side = clip.architecture.preprocess.size
    pixels = torch.rand(max(BATCHES), 3, side, side, generator=torch.Generator().manual_seed(0)).to(clip.device)
    captions = ["a photo of a dog"] * max(BATCHES)

    def back(count: int) -> None:
        with model.frozen(clip.net):
            asked = pixels[:count].clone().requires_grad_()
            clip.encode_images(asked).sum().backward()  # type: ignore[no-untyped-call] # torch leaves it unannotated

    with torch.random.fork_rng(devices=[]), model.evaluating(clip.net):
        image = _seconds(lambda count: clip.embed_images(pixels[:count]), clip.device)
        text = _seconds(lambda count: clip.embed_texts(captions[:count]), clip.device)
        search = _seconds(back, clip.device)
        kept = _saved(lambda: clip.encode_images(pixels[:1])) + _saved(
            lambda: clip.encode_tokens(clip.tokens(captions[:1]))
        )
    return Pace(image, search, text, kept)


def _seconds(run: Callable[[int], object], device: torch.device) -> float:
    """Seconds for one of a batch; of a small batch, unless that takes no time to speak of."""
    few, many = BATCHES
    took = _timed(run, few, device)
    if took >= TIMED_SECONDS:
        return took / few
    began, runs = time.perf_counter(), 0
    while time.perf_counter() - began < TIMED_SECONDS:
        _timed(run, many, device)
        runs += 1
    return (time.perf_counter() - began) / (runs * many)


def _timed(run: Callable[[int], object], count: int, device: torch.device) -> float:
    began = time.perf_counter()
    run(count)
    _wait(device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _saved(run: Callable[[], Tensor]) -> int:
    """Bytes that a forward pass keeps for the way back, weights aside."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, torch.nn.Parameter) and tensor._base is None:
            kept[tensor.data_ptr()] = tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        run()
    return sum(kept.values())


def weights(clip: model.Clip, /) -> int:
    """Bytes of a model."""
    return sum(tensor.nbytes for tensor in clip.net.state_dict().values())


def held() -> int:
    """Bytes of memory that this process holds already: libraries, weights and images; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def of_audit(
    clip: model.Clip, timed: Pace, /, *, effort: str | None, images: int, captions: int, panel: int, models: int
) -> Estimate:
    """An audit: the class captions, the images under each trigger of the panel, and the search where there is an effort.

    Args:
        clip: the model.
        timed: what the machine needs.
        effort: how hard is searched; None leaves the search out.
        images: measured on.
        captions: of the zero-shot classifier.
        panel: triggers that are tried.
        models: that are audited: two with a reference.
    """
    seconds = captions * timed.text + images * (1 + panel) * timed.image
    if effort is not None:
        seconds += EFFORTS[effort].passes()[1] * timed.search
    return Estimate(models * seconds, held() + weights(clip) + SEARCH_BATCH * timed.kept)


def of_sanitize(
    clip: model.Clip, recipe: Recipe, timed: Pace, /, *, pairs: int, images: int, captions: int, panel: int
) -> Estimate:
    """A cleaning by one recipe: measured before and after, and trained between; of ``auto``, one candidate."""
    measured = 2 * (captions * timed.text + images * (1 + panel) * timed.image)
    size = recipe.train.batch_size
    method = METHODS[recipe.method]
    views = 2 if method.views == "needed" or method.perturbs else 1  # images that a step sees for each pair
    step = size * views * (timed.image + timed.text) * (1 + BACKWARD)
    trained = min(steps_of(recipe, pairs=pairs), 10**9) * step
    if method.searches:
        trained += EFFORTS["standard"].passes()[1] * timed.search
    micro = min(size, recipe.train.micro_batch or size)
    state = 4 * weights(clip)  # the original, gradients, and two moments of AdamW
    return Estimate(measured + trained, held() + state + micro * views * timed.kept)


def faster(estimate: Estimate, /, *, effort: str | None, device: str) -> list[str]:
    """What would make a job of more than an hour faster."""
    if estimate.seconds < HOUR:
        return []
    ways = ["--effort quick"] if effort in ("standard", "thorough") else []
    if device == "cpu":
        ways.append("a GPU (--device cuda)")
    return [*ways, "fewer images or classes", "--max-minutes N, which ends with what was found"]


def tell_audit(clip: model.Clip, /, *, effort: str | None, images: int, captions: int, panel: int, models: int) -> None:
    """Say what an audit will take, where somebody listens."""
    if not progress.is_heard():
        return
    found = of_audit(clip, pace(clip), effort=effort, images=images, captions=captions, panel=panel, models=models)
    progress.say(in_line(clip, found, precision="fp32", effort=effort))


def tell_power(planting: Planting, /, *, count: int) -> None:
    """Say what stating the power of an audit adds to it, where somebody listens."""
    if progress.is_heard():
        progress.say(
            f"--power: {count} backdoors, each planted in a copy of the model ({planting.steps} steps of {planting.batch_size} pairs) "
            f"and searched for: the estimate counts the {count} searches, the planting comes on top"
        )


def tell_sanitize(
    clip: model.Clip, recipe: Recipe, /, *, precision: str, pairs: int, images: int, captions: int, panel: int
) -> None:
    """Say what a cleaning will take, where somebody listens."""
    if not progress.is_heard():
        return
    found = of_sanitize(clip, recipe, pace(clip), pairs=pairs, images=images, captions=captions, panel=panel)
    taken = str(train.resolved(precision, clip.net, clip.device))
    progress.say(in_line(clip, found, precision=taken, effort=None))


def in_line(clip: model.Clip, estimate: Estimate, /, *, precision: str, effort: str | None) -> str:
    """What a user wants to know of a run before it takes its time."""
    device = clip.device
    where = f"{device}, {torch.get_num_threads()} threads" if device.type == "cpu" else str(device)
    size = f"{sum(parameter.numel() for parameter in clip.net.parameters()) / 1e6:.1f} M parameters"
    line = f"{clip.architecture.name}, {size}; {where}, {precision}; estimated: {estimate}"
    ways = faster(estimate, effort=effort, device=device.type)
    return f"{line}. Faster: {', '.join(ways)}." if ways else line
