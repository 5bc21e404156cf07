"""``clipclean doctor``: checks this machine and installation."""

import json
import os
import platform
import shutil
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from clipclean import __version__
from clipclean.cli import options
from clipclean.cli.command import command
from clipclean.errors import ClipcleanError

EPILOG = "\b\nExamples:\n  clipclean doctor\n  clipclean doctor --json > machine.json"

PACKAGES = ("torch", "torchvision", "open_clip_torch", "nltk", "numpy", "pillow")
OPTIONAL = {  # optional parts: distribution, and its purpose
    "onnx": "--format onnx",
    "onnxscript": "--format onnx",
    "onnxruntime": "--format onnx, compared with the original",
    "transformers": "--format hf, read back by its own library",
    "safetensors": "writing weights",
    "scikit-learn": "the map of embeddings",
    "webdataset": "--data in tar shards",
    "pyarrow": "--data in Parquet and Arrow",
    "huggingface_hub": "models and data by hub names",
    "model-signing": "signatures, by the extra signing",
    "tensorboard": "--log-to tensorboard, by the extra tensorboard",
    "wandb": "--log-to wandb, by the extra wandb",
}
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")  # of /proc/cpuinfo; the last two compute bf16 natively
GIB = 2**30


@command(epilog=EPILOG)
@options.as_json
def doctor(as_json: bool) -> None:
    """Show the versions, devices, memory, disk and bundled files of this machine and installation.

    Use it for a bug report, or to see why a run is slow. The exit code is always 0.
    """
    facts = {
        "clipclean": __version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "versions": versions(),
        "optional": {name: _version(name) for name in OPTIONAL},
        "cpu": cpu(),
        "torch_build": torch_build(),
        "gpus": gpus(),
        "memory": memory(),
        "disk": disk(),
        "bundled": {"wordnet": wordnet(), "demo": demo()},
    }
    click.echo(json.dumps(facts, indent=2) if as_json else table(facts))


def versions() -> dict[str, str | None]:
    """Python and the packages that can change a result; None for one that is not installed."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def cpu() -> dict[str, Any]:
    """Cores of the machine, cores that this process may use, torch's threads, and what the processor can do."""
    import torch

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cores": os.cpu_count(),
        "usable_cores": usable,
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "flags": [flag for flag in FLAGS if flag in _lines("/proc/cpuinfo").get("flags", "").split()],
    }


def gpus() -> list[dict[str, Any]]:
    """Name, memory in bytes and bf16 support of each CUDA device."""
    import torch

    found = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    # bf16 has hardware since compute capability 8.0 (Ampere); torch's own answer counts emulation.
    return [{"name": gpu.name, "memory": gpu.total_memory, "bf16": gpu.major >= 8} for gpu in found]


def memory() -> dict[str, int | None]:
    """Bytes in all, bytes free for new programs, and the limit of a container; None where the system does not say."""
    told = {name: _kibibytes(text) for name, text in _lines("/proc/meminfo").items()}
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        limit = "max"
    return {
        "total": told.get("MemTotal"),
        "available": told.get("MemAvailable"),
        "limit": int(limit) if limit.isdecimal() else None,
    }


def _kibibytes(text: str) -> int | None:
    number = text.partition(" ")[0]
    return int(number) * 1024 if number.isdecimal() else None


def _lines(path: str) -> dict[str, str]:
    """The ``name: value`` lines of a file under /proc; {} on other systems."""
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def disk() -> dict[str, int]:
    """Bytes free in the current folder, where output goes, and in the temporary one, where the demo unpacks."""
    return {"here": shutil.disk_usage(Path.cwd()).free, "temporary": shutil.disk_usage(tempfile.gettempdir()).free}


def wordnet() -> str:
    """``intact``, or what is wrong with the bundled synonyms."""
    from clipclean.data import dictionary

    try:
        dictionary.read()
    except ClipcleanError as error:
        return str(error)
    return "intact"


def demo() -> str:
    """``intact``, or what is wrong with the bundled model and images: all have checksums of their own."""
    import lzma

    from clipclean import checkpoint
    from clipclean import demo as bundled

    try:
        with tempfile.TemporaryDirectory(prefix="clipclean-doctor-") as scratch:
            bundled.unpack(Path(scratch))
            checkpoint.read(Path(scratch) / bundled.CHECKPOINT)
    except (ClipcleanError, lzma.LZMAError, EOFError) as error:
        return f"{error} Install clip-sanitizer again."
    return "intact"


def table(facts: dict[str, Any], /) -> str:
    """One line for each fact."""
    processor, bundled = facts["cpu"], facts["bundled"]
    rows = [
        ("clipclean", f"{facts['clipclean']} on {facts['platform']}"),
        *((name, version or "not installed") for name, version in facts["versions"].items()),
        *((name, f"{version or 'not installed'} ({OPTIONAL[name]})") for name, version in facts["optional"].items()),
        ("cores", f"{processor['usable_cores']} of {processor['cores']}; torch uses {processor['threads']} threads"),
        ("processor", " ".join([processor["capability"], *processor["flags"]])),
        ("bf16 on CPU", "in hardware" if {"avx512_bf16", "amx_bf16"} & {*processor["flags"]} else "emulated: slow"),
        *(("GPU", gpu_line(gpu, build=facts["torch_build"])) for gpu in facts["gpus"] or [None]),
        ("memory", ", ".join(f"{gib(size)} {name}" for name, size in facts["memory"].items() if size is not None)),
        ("disk", f"{gib(facts['disk']['here'])} free here, {gib(facts['disk']['temporary'])} for temporary files"),
        ("WordNet", bundled["wordnet"]),
        ("demo files", bundled["demo"]),
    ]
    return "\n".join(f"{name:17}{text}" for name, text in rows)


def torch_build() -> str:
    """The platform for which this PyTorch was built: ``cpu``, or a version of CUDA or ROCm."""
    import torch

    hip = getattr(torch.version, "hip", None)
    return f"CUDA {torch.version.cuda}" if torch.version.cuda else f"ROCm {hip}" if hip else "cpu"


def gpu_line(gpu: dict[str, Any] | None, /, *, build: str) -> str:
    """One CUDA device in words."""
    if gpu is None:
        return (
            "none: this PyTorch is built for processors only" if build == "cpu" else f"none that PyTorch ({build}) sees"
        )
    return f"{gpu['name']}, {gib(gpu['memory'])}, {'with' if gpu['bf16'] else 'without'} bf16"


def gib(size: int, /) -> str:
    """Bytes as GiB, for people."""
    return f"{size / GIB:.1f} GiB"
