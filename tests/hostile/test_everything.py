import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hostile import everything

ROOT = Path(__file__).parent.parent.parent


def test_there_are_hostile_files_of_every_kind():
    names = " ".join(name for cases in everything.GROUPS.values() for name in cases)
    assert sum(map(len, everything.GROUPS.values())) >= 250
    for kind in ("pickle", "tensor", "zip", "torchscript", "legacy", "safetensors", "shards", "picture", "tar", "csv"):
        assert names.count(f"{kind}: ") >= 5, kind
    for kind in ("jsonl", "folder", "recipe", "policy", "arch", "trigger"):
        assert f"{kind}: " in names


@pytest.mark.slow
def test_each_is_answered_in_five_seconds_and_a_gigabyte_and_leaves_nothing_behind(tmp_path):
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, "-m", "hostile.everything", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(said) == sum(map(len, everything.GROUPS.values()))
    for each in said:
        assert each["seconds"] <= 5, each
        assert each["peak"] <= 10**9, each
        assert each["appeared"] == [], each
        if each["name"].startswith("checkpoint"):
            assert (each["code"], each["answer"][:7]) == (3, "exit 3:"), each
        elif each["name"].startswith("settings"):
            assert each["answer"].startswith(("exit 2:", "exit 3:")), each
