"""Commands under torchrun: which process this is, where it computes, and whether it may speak."""

import os
from typing import TYPE_CHECKING, Any

from clipclean.cli import process, progress
from clipclean.errors import UsageError

if TYPE_CHECKING:
    from clipclean.train import Launch


def begun(given: dict[str, Any], /) -> tuple[str, bool]:
    """Load PyTorch, after all that can fail fast; the device, as PyTorch spells it, and whether no progress is shown.

    Raises:
        UsageError: there is no such device, or several processes would share one.
    """
    with progress.shown(quiet=is_silent(given)) as shown:
        shown("loading PyTorch", 0, 1)
        from clipclean import data
        from clipclean.jobs import inputs

        shown("loading PyTorch", 1, 1)
    launch = launched()
    data.use_workers(given["workers"])
    device = inputs.device_of(own_device(given["device"], launch))
    return device, given["quiet"] or (launch is not None and launch.rank > 0)


def is_silent(given: dict[str, Any], /) -> bool:
    """Whether nothing is printed: by --quiet, or because another process of the run prints; needs no torch."""
    return given["quiet"] or bool(os.environ.get("RANK", "0").lstrip("0"))


def launched() -> "Launch | None":
    """The settings that torchrun gave this process; reports which of its variables are ignored."""
    from clipclean import train

    if ignored := train.leftovers(os.environ):
        process.say(
            f"clipclean: note: {', '.join(ignored)} ignored: torchrun sets more, so it did not start this process."
        )
    return train.launch_of(os.environ)


def check_single(what: str, /) -> None:
    """Raise UsageError for work that only one process can do."""
    if os.environ.get("WORLD_SIZE", "1") != "1" and (launch := launched()) is not None and launch.size > 1:
        raise UsageError(f"{what} runs in one process, and here are {launch.size}. Start it without torchrun.")


def own_device(asked: str, launch: "Launch | None", /) -> str:
    """The device of this process: if torchrun started several on a machine, each takes a GPU of its own.

    Raises:
        UsageError: several processes would share one GPU.
    """
    if launch is None or launch.local_size == 1 or asked == "cpu":
        return asked
    if asked.startswith("cuda:"):
        raise UsageError(
            f"--device {asked} names one GPU for several processes. Use --device cuda: each takes its own."
        )
    import torch

    return f"cuda:{launch.local_rank}" if torch.cuda.is_available() else asked
