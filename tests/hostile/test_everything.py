import json
import re
import tracemalloc
from pathlib import Path

import processes
import pytest
from hostile import checkpoints, data_sets, everything
from hostile.seeds import sample
from hostile.tars import tar

from clipclean import checkpoint
from clipclean.errors import RefusedInput, UnsafeCheckpoint

LONG = {"pickle: a flood of opcodes", "parquet: 80 values of 2 MB in 40 kB"}
EACH = [
    pytest.param(group, name, marks=[pytest.mark.slow] if name in LONG else [])
    for group, cases in everything.GROUPS.items()
    for name in cases
]


def test_there_are_hostile_files_of_every_kind():
    names = " ".join(name for cases in everything.GROUPS.values() for name in cases)
    assert sum(map(len, everything.GROUPS.values())) >= 250
    for kind in ("pickle", "tensor", "zip", "torchscript", "legacy", "safetensors", "shards", "picture", "tar", "csv"):
        assert names.count(f"{kind}: ") >= 5, kind
    for kind in ("jsonl", "folder", "recipe", "policy", "arch", "trigger"):
        assert f"{kind}: " in names


def test_the_honest_copies_of_hostile_files_are_read(tmp_path):
    for honest in (checkpoints.honest(), checkpoints.rewritten()):
        (tmp_path / "model").write_bytes(honest)
        assert checkpoint.read(tmp_path / "model").tensors["weight"].tolist() == [1, 2, 3, 4]
    (tmp_path / "set").write_bytes(tar(sample("a")))
    assert data_sets.told(tmp_path / "set") == "kept a: a red square"


@pytest.mark.parametrize(("group", "name"), EACH)
def test_all_that_a_hostile_file_brings_about_is_its_answer(tmp_path, monkeypatch, group, name):
    monkeypatch.chdir(tmp_path)  # a payload that ran would leave its mark there
    path, case = everything.place(tmp_path, group, name), everything.GROUPS[group][name]
    case.write(path)
    before = sorted(tmp_path.rglob("*"))
    hostile = everything.Hostile(group, name, path)
    heard = everything.heard(hostile)
    assert re.search(case.words, heard), heard[:500]
    assert all(line.isprintable() for line in heard.splitlines())
    assert sorted(tmp_path.rglob("*")) == before
    if group == "checkpoint":
        assert heard.startswith(f"exit 3: {path}: ")
        with pytest.raises(UnsafeCheckpoint if "os.system" in heard else RefusedInput):
            everything.read(hostile)


@pytest.mark.parametrize("name", data_sets.NAMES)
def test_all_that_a_hostile_name_brings_about_is_its_refusal(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    heard = everything.heard(everything.Hostile("data", name, Path(name)))
    assert heard.startswith("exit 3: ")
    assert re.search(data_sets.NAMES[name], heard), heard[:500]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name",
    [
        "pickle: allocation",
        "pickle: a billion laughs",
        "pickle: a memo bomb",
        "zip: a deflate bomb",
        "tensor: stride 0",
        "safetensors: a header of 2**60 bytes",
        "torchscript: shared modules that explode",
    ],
)
def test_a_bomb_takes_little_memory(tmp_path, name):
    checkpoints.CASES[name].write(tmp_path / "model")
    tracemalloc.start()
    try:
        with pytest.raises(RefusedInput):
            checkpoint.read(tmp_path / "model")
        assert tracemalloc.get_traced_memory()[1] < 30 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_every_hostile_file_is_answered_within_the_limits(tmp_path):
    """Five seconds, 500 MB, and no file left behind."""
    done = processes.python("-m", "hostile.everything", tmp_path, cwd=tmp_path, check=True, timeout=600)
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(said) == sum(map(len, everything.GROUPS.values()))
    for each in said:
        assert each["seconds"] <= 5, each
        assert each["grown"] <= 5 * 10**8, each
        assert each["appeared"] == [], each
        if each["name"].startswith("checkpoint"):
            assert (each["code"], each["answer"][:7]) == (3, "exit 3:"), each
        elif each["name"].startswith("settings"):
            assert each["answer"].startswith(("exit 2:", "exit 3:")), each
