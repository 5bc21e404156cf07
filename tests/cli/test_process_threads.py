import os

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
