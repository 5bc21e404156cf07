"""How a process of ours computes beside others: threads that sleep while they wait, and no more than it may use."""

import math
import os
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds of processor time in a period, or max


def be_a_good_neighbour() -> None:
    """Set what OpenMP reads when it is loaded, so before torch is imported; what the user set stays.

    By default a thread that waits for the others spins. Where two programs share the cores, each then burns the time that
    the other needs.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if (fewer := usable()) < available():  # a container's quota, which OpenMP does not see
        os.environ.setdefault("OMP_NUM_THREADS", str(fewer))


def available() -> int:
    """Processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable() -> int:
    """The same, within the quota of a container."""
    try:
        most, period = QUOTA.read_text(encoding="ascii").split()
        allowed = math.ceil(int(most) / int(period))
    except (OSError, ValueError):  # no container, no quota, or another system
        return available()
    return max(1, min(available(), allowed))


def computing() -> int:
    """Threads that torch will compute with, as far as can be told before it is imported."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() and int(asked) else usable()
