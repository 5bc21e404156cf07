"""The machine: processors and memory that this process may use, and what results are computed with."""

import math
import os
import platform
import sys
from importlib import metadata
from pathlib import Path

PACKAGES = ("torch", "torchvision", "open_clip_torch", "numpy", "pillow", "nltk", "pydantic")
CGROUP_FOLDER = Path("/sys/fs/cgroup")  # limits of a container, in version 2 of control groups
MEMORY_FILE = Path("/proc/meminfo")


def available() -> int:
    """Processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable() -> int:
    """The same, within the quota of a container: microseconds of processor time in a period."""
    quota = _numbers("cpu.max")
    processors = math.ceil(quota[0] / quota[1]) if len(quota) == 2 and quota[1] else available()
    return max(1, min(available(), processors))


def free_memory() -> int | None:
    """Bytes that this process may still take, within the limit of a container; None where the system does not tell."""
    try:
        fields = dict(line.split(":", 1) for line in MEMORY_FILE.read_text(encoding="ascii").splitlines())
        free = 1024 * int(fields["MemAvailable"].split()[0])
    except (OSError, ValueError, LookupError):
        return None
    limit = _numbers("memory.max", "memory.current")
    return min(free, limit[0] - limit[1]) if len(limit) == 2 else free


def _numbers(*names: str) -> list[int]:
    """What files of the container's control group hold; none of a limit that is not set, or on another system."""
    try:
        return [int(word) for name in names for word in (CGROUP_FOLDER / name).read_text(encoding="ascii").split()]
    except (OSError, ValueError):
        return []


def peak_memory() -> int:
    """Most bytes that this process has held until now."""
    import resource  # late: Windows lacks it

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that can change a result."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}}


def hardware(device: str, /) -> dict[str, str | int]:
    """The machine in words, without host names or paths."""
    import torch

    return {
        "platform": f"{sys.platform}-{platform.machine()}",
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
    }
