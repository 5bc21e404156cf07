"""Say what an audit and a cleaning of a model of usual size cost, from operations counted on shapes and from rates.

    python benchmarks/costs.py --write docs/running.md

Nothing is timed here, and the table says so. ``time = operations / rate``. Operations are those of products and convolutions; a
search goes back to the pixels alone, so that its way back costs as much as its way forward. The rate of two processor cores is the
one at which the steps of a finetuning were measured (docs/running.md, "The step").

    python benchmarks/costs.py --check ViT-B-32-quickgelu

times the passes of a model on this processor, in processor seconds of one thread, for the rate that it has here.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from blocks import fill
from scale import architecture, text_of
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from clipclean import model
from clipclean.attack import triggers
from clipclean.config import recipe as recipes
from clipclean.jobs import plan

MODELS = ("ViT-B-32-quickgelu", "RN50-quickgelu", "ViT-L-14-quickgelu")
IMAGES, CLASSES, TEMPLATES = 400, 1000, 7  # measured on, and of the zero-shot classifier
STEPS, BATCH = 100, 64  # of the cleaning
LIBRARIES = 0.7e9  # bytes of a process before it reads a model
EFFORTS = ("quick", "standard")
# Operations a second of two cores, as measured: docs/running.md, peak of a thread × 2 × share of it in a step.
CORES = {"ViT-B": (2 * 113e9 * 0.81, 2 * 488e9 * 0.55), "RN50": (2 * 113e9 * 1.24, 2 * 488e9 * 0.66)}


class Work(NamedTuple):
    """Operations of one image, one caption and one pair of a step, and what is kept in memory."""

    parameters: int
    image: float
    search: float
    text: float
    pair: float
    kept: float  # bytes of an image in a search
    kept_pair: float
    side: int


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="a page with the markers of the block costs")
    parser.add_argument("--check", metavar="NAME", help="time a model here instead")
    o = parser.parse_args()
    if o.check:
        print(checked(o.check))
        return 0
    text = table({name: work(name) for name in MODELS})
    print(text)
    if o.write:
        fill(o.write, "costs", text)
    return 0


def work(name: str, /) -> Work:
    """Counted on shapes alone: nothing is computed."""
    from open_clip.factory import get_model_config
    from open_clip.model import CLIP

    config: dict[str, Any] = get_model_config(name)
    found = architecture(name, config)
    with FakeTensorMode():
        net = CLIP(**config).eval()
        clip = model.Clip(net, found, torch.device("cpu"))
        side = clip.architecture.preprocess.size
        pixels, tokens = torch.empty(1, 3, side, side), torch.zeros(1, 24, dtype=torch.int64)

        def counted(run: Any) -> float:
            with FlopCounterMode(display=False) as counter:
                run()
            return float(counter.get_total_flops())

        image = counted(lambda: clip.encode_images(pixels))
        text = counted(lambda: text_of(clip, tokens))
        with model.frozen(net):
            search = counted(lambda: clip.encode_images(pixels.clone().requires_grad_()).sum().backward())
            kept = plan._saved(lambda: clip.encode_images(pixels.clone().requires_grad_()))
        kept_pair = plan._saved(lambda: clip.encode_images(pixels)) + plan._saved(lambda: text_of(clip, tokens))
    numbers = model.parameter_count(net)
    return Work(numbers, image, search, text, 2 * 3 * (image + text), kept, 2 * kept_pair, side)


class Job(NamedTuple):
    """Operations that are always in fp32, those that are in bfloat16 where the machine has it, and bytes."""

    single: float
    reducible: float
    memory: float


def audit(each: Work, effort: str, /) -> Job:
    """An audit."""
    how = recipes.EFFORTS[effort]
    looked = plan.looked(how, images=IMAGES, panel=len(triggers.panel(0)))
    searched = plan.passes(how, classes=CLASSES) * each.search
    memory = LIBRARIES + 2 * 4 * each.parameters + plan.together(how, side=each.side) * each.kept
    return Job(measured(each), looked * each.image + searched, memory)


def cleaning(each: Work, /) -> Job:
    """A cleaning by ``cleanclip`` with the measurements before and after it."""
    memory = LIBRARIES + 5 * 4 * each.parameters + BATCH * each.kept_pair
    return Job(2 * measured(each), STEPS * BATCH * each.pair, memory)


def measured(each: Work, /) -> float:
    """Operations of the class captions, the clean images and the panel, which stay in fp32."""
    return CLASSES * TEMPLATES * each.text + IMAGES * (1 + len(triggers.panel(0))) * each.image


def table(works: dict[str, Work], /) -> str:
    """One row a model and job."""
    rows = [
        "| model | job | two CPU cores, fp32 | two CPU cores, bfloat16 | memory, fp32 |",
        "| --- | --- | --: | --: | --: |",
    ]
    for name, each in works.items():
        fp32, bf16 = CORES["RN50" if name.startswith("RN") else "ViT-B"]
        jobs = {f"`audit`, effort {effort}": audit(each, effort) for effort in EFFORTS}
        jobs[f"`cleanclip`, {STEPS} steps of {BATCH} pairs"] = cleaning(each)
        for job, (single, reducible, memory) in jobs.items():
            times = ((single + reducible) / fp32, single / fp32 + reducible / bf16)
            cells = " | ".join(minutes(seconds) for seconds in times)
            rows.append(f"| {name.removesuffix('-quickgelu')} | {job} | {cells} | {memory / 1e9:.1f} GB |")
    return "\n".join(rows)


def minutes(seconds: float, /) -> str:
    """A time for people."""
    if seconds >= 90 * 60:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def checked(name: str, /) -> str:
    """The rates of a model on one thread of this processor."""
    import open_clip

    torch.set_num_threads(1)
    net = open_clip.create_model(name).eval()
    found = work(name)
    pixels = torch.rand(8, 3, found.side, found.side)
    told = []
    with model.frozen(net):
        for what, operations, back in (("forward", found.image, False), ("forward and back", found.search, True)):
            taken = []
            for _ in range(4):
                began = time.process_time()
                with torch.set_grad_enabled(back):
                    embeddings = net.encode_image(pixels.clone().requires_grad_(back))
                if back:
                    embeddings.sum().backward()
                taken.append((time.process_time() - began) / len(pixels))
            best = sorted(taken[1:])[1]
            told.append(f"{what} {best:.3f} s an image, {operations / best / 1e9:.0f} GFLOP/s")
    return f"{name}, one thread, fp32: {'; '.join(told)}"


if __name__ == "__main__":
    sys.exit(main())
