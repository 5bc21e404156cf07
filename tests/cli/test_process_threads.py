import os
import platform
import subprocess
import sys

import pytest

from clipclean import machine
from clipclean.cli import process
from clipclean.data import workers
from clipclean.jobs.estimate import Estimate


@pytest.fixture
def group(tmp_path, monkeypatch):
    """The control group of this process, on a machine of 64 processors with 8 KiB of free memory."""
    (tmp_path / "memory").write_text("MemTotal: 99 kB\nMemAvailable: 8 kB\n")
    monkeypatch.setattr(machine, "GROUP", tmp_path)
    monkeypatch.setattr(machine, "MEMORY", tmp_path / "memory")
    monkeypatch.setattr(machine, "available", lambda: 64)
    return tmp_path


@pytest.mark.parametrize(
    ("quota", "most"),
    [("150000 100000", 2), ("50000 100000", 1), ("max 100000", 64), ("", 64), ("garbage", 64), ("1 0", 64), ("1", 64)],
)
def test_no_more_threads_than_a_container_allows_and_more_memory_is_told_before_the_work(group, quota, most):
    (group / "cpu.max").write_text(quota)
    assert machine.usable() == most
    assert workers() == min(most, 16)
    (group / "memory.current").write_text("3000")
    for limit, free in (("5000", 2000), ("max", 8192), ("", 8192)):
        (group / "memory.max").write_text(limit)
        assert machine.free_memory() == free
        assert ("more than" in str(Estimate(1.0, 4000, free))) == (free < 4000)


def test_waiting_threads_sleep_unless_the_user_says_otherwise(monkeypatch, group):
    monkeypatch.setattr(os, "environ", {})
    process.be_a_good_neighbour()
    assert os.environ.pop("TORCHINDUCTOR_CACHE_DIR")  # there, or torch makes a folder in TMPDIR
    assert os.environ == {"OMP_WAIT_POLICY": "PASSIVE"}
    own = {"OMP_WAIT_POLICY": "ACTIVE", "OMP_NUM_THREADS": "3", "TORCHINDUCTOR_CACHE_DIR": "own"}
    monkeypatch.setattr(os, "environ", dict(own))
    process.be_a_good_neighbour()
    assert os.environ == own
    assert process.computing() == 3


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no mallopt")
def test_freed_memory_is_kept_unless_the_user_chose_otherwise():
    """In a process of its own, since it cannot be undone; without the kept memory each block of 64 MB is faulted in anew."""
    code = (
        "import resource, sys\n"
        "from clipclean.cli import process\n"
        "process.keep_freed_memory()\n"
        "def faults():\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    bytearray(2**26)\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before\n"
        "faults()\n"
        "print(faults())\n"
    )

    plain = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}

    def faulted(**chosen):
        told = subprocess.run(
            [sys.executable, "-c", code], env=plain | chosen, check=True, capture_output=True, text=True
        )
        return int(told.stdout)

    # At least a fault for each huge page of 2 MB, where the system gives these without being asked.
    assert faulted() < 16 < faulted(MALLOC_CHECK_="0")
