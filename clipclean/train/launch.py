"""Whether torchrun started this process beside others, by the variables that it sets."""

from collections.abc import Mapping
from dataclasses import dataclass

TOLD = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
MEETING = ("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID")


@dataclass(frozen=True)
class Launch:
    """What torchrun tells a process that it starts."""

    rank: int
    size: int
    local_rank: int
    local_size: int


def launch_of(environment: Mapping[str, str], /) -> Launch | None:
    """What torchrun told this process; None where it did not start it.

    A scheduler or an earlier shell may have left some of these variables. They count only where all of torchrun's are there, and
    agree: else the process would wait for others that never come.
    """
    try:
        rank, size, local_rank, local_size = (int(environment[name]) for name in TOLD)
    except (KeyError, ValueError):
        return None
    if not (
        0 <= rank < size and 0 <= local_rank < local_size <= size and all(environment.get(name) for name in MEETING)
    ):
        return None
    return Launch(rank, size, local_rank, local_size)


def leftovers(environment: Mapping[str, str], /) -> list[str]:
    """Variables of torchrun that are ignored, since not all of them are there; none where they ask for nothing."""
    there = [name for name in (*TOLD, *MEETING) if environment.get(name)]
    asks = any(environment.get(name, "1") != "1" for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    return there if asks and launch_of(environment) is None else []
