"""The versions and the machine that a result was computed with, as records tell them."""

import platform
import sys
from importlib import metadata

PACKAGES = ("torch", "torchvision", "open_clip_torch", "numpy", "pillow", "nltk", "pydantic")


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
