import os
import platform
import subprocess
import sys

import pytest

from clipclean.cli import process


@pytest.mark.parametrize(
    ("quota", "most"), [("150000 100000", 2), ("50000 100000", 1), ("max 100000", 64), ("", 64), ("garbage", 64)]
)
def test_no_more_threads_than_a_container_allows(tmp_path, monkeypatch, quota, most):
    monkeypatch.setattr(process, "QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(process, "available", lambda: 64)
    (tmp_path / "cpu.max").write_text(quota)
    assert process.usable() == most


def test_waiting_threads_sleep_unless_the_user_says_otherwise(monkeypatch, tmp_path):
    monkeypatch.setattr(process, "QUOTA", tmp_path / "none")
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
