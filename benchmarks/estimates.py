"""Put the estimate in the first lines of an audit beside what the audit then takes.

    python benchmarks/estimates.py --write docs/speed.md

Each audit runs in a process of its own, on the bundled images. The tiny ResNet is the bundled model, the tiny ViT and ViT-B/32 have random
weights: what an image takes does not depend on them. ViT-B/32 is searched with one step where an audit has 45, and its images
are few; the estimate counts that search. Both are in processor seconds of one thread, which other work on the machine changes less
than the elapsed ones. Expected: within a factor of two.
"""

import argparse
import json
import multiprocessing
import re
import resource
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import torch
from blocks import fill

import clipclean
from clipclean import demo, progress
from clipclean.config import recipe as recipes
from clipclean.jobs import estimate
from clipclean.progress import Listener

TINY_VIT = {
    "embed_dim": 128,
    "vision_cfg": {"layers": 6, "width": 192, "image_size": 32, "patch_size": 8},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 4},
}
SHORT = {"steps": 1, "images": 2, "free_images": 4, "suspects": 1, "controls": 4, "sweep": 0}
MODELS = {"tiny ResNet": "quick", "tiny ViT": "quick", "ViT-B-32": "short"}
UNITS = {"s": 1, "min": 60, "h": 3600}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--write", type=Path, help="page whose part estimates is replaced")
    o = parser.parse_args()
    rows = []
    for name in o.models:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rows.append(pool.apply(row, (name,)))
        print(rows[-1], flush=True)
    head = "| model | effort | estimated, s | taken, s | taken / estimated | estimated, GiB | peak, GiB |"
    text = "\n".join([head, "|---|---|--:|--:|--:|--:|--:|", *rows])
    if o.write:
        fill(o.write, "estimates", text)
    return 0


def row(name: str) -> str:
    """One audit, with what was said of it before."""
    torch.set_num_threads(1)
    estimate.time = SimpleNamespace(perf_counter=time.process_time)  # the clock that the estimate reads
    effort = MODELS[name]
    if effort == "short":
        recipes.EFFORTS["quick"] = recipes.EFFORTS["quick"].model_copy(update=SHORT)
    with tempfile.TemporaryDirectory() as scratch, demo.unpacked() as bundled:
        model, arch = of(name, Path(scratch), bundled)
        images = few(bundled, Path(scratch)) if effort == "short" else bundled / demo.LABELLED
        heard: list[tuple[float, str]] = []
        listener = Listener(words=lambda words: heard.append((time.process_time(), words)))
        with progress.heard(listener):
            clipclean.audit(
                model, data=images, arch=arch, classes=bundled / "classes.txt", templates=bundled / "templates.txt",
                effort="quick" if effort == "short" else effort, device="cpu",
            )  # fmt: skip
        ended = time.process_time()
    began, told = next((when, words) for when, words in heard if "estimated: about" in words)
    parts = re.search(r"about (?:(\d+) h )?(\d+) (s|min|h), ([\d.]+) GiB", told)
    assert parts is not None, told
    seconds = 3600 * int(parts[1] or 0) + int(parts[2]) * UNITS[parts[3]]
    taken, peak = ended - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts in KiB
    cells = f"{seconds} | {taken:.0f} | {taken / seconds:.2f} | {parts[4]} | {peak:.1f}"
    return f"| {name} | {effort} | {cells} |"


def of(name: str, scratch: Path, bundled: Path, /) -> tuple[Path, str]:
    """A checkpoint, and its architecture."""
    from open_clip.model import CLIP

    if name == "tiny ResNet":
        return bundled / demo.CHECKPOINT, str(bundled / "tiny.json")
    if name == "tiny ViT":
        (scratch / "arch.json").write_text(json.dumps(TINY_VIT | {"quick_gelu": False}))
        net, arch = CLIP(**TINY_VIT), str(scratch / "arch.json")
    else:
        import open_clip

        net, arch = open_clip.create_model(name), name
    torch.save(net.state_dict(), scratch / "model.pt")
    return scratch / "model.pt", arch


def few(bundled: Path, scratch: Path, /) -> Path:
    """Twenty of the bundled images."""
    folder = scratch / "images"
    folder.mkdir()
    with tarfile.open(bundled / demo.LABELLED) as archive:
        members = [member for member in archive.getmembers() if Path(member.name).suffix in (".png", ".jpg", ".webp")]
        for number, member in enumerate(members[:20]):
            content = archive.extractfile(member)
            assert content is not None
            (folder / f"{number:03}{Path(member.name).suffix}").write_bytes(content.read())
    return folder


if __name__ == "__main__":
    sys.exit(main())
