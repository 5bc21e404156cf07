import tracemalloc

import pytest
from hostile import checkpoints as hostile

from clipclean import checkpoint
from clipclean.errors import RefusedInput, UnsafeCheckpoint


def test_the_honest_copy_of_the_hostile_files_is_read(tmp_path):
    (tmp_path / "model").write_bytes(hostile.honest())
    assert checkpoint.read(tmp_path / "model").tensors["weight"].tolist() == [1, 2, 3, 4]


LONG = pytest.param("pickle: a flood of opcodes", marks=pytest.mark.slow)


@pytest.mark.parametrize("name", [LONG, *(name for name in hostile.CASES if name not in LONG.values)])
def test_a_hostile_file_is_refused_with_its_reason(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)  # a payload that ran would leave its mark there
    case = hostile.CASES[name]
    case.write(tmp_path / "model")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RefusedInput, match=case.words) as refusal:
        checkpoint.read(tmp_path / "model")
    assert refusal.value.exit_code == 3
    assert str(refusal.value).startswith(f"{tmp_path / 'model'}: ")
    assert str(refusal.value).isprintable()
    assert not isinstance(refusal.value, UnsafeCheckpoint) or "Ask for the weights as safetensors" in str(refusal.value)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "name", [name for name in hostile.CASES if "os.system" in hostile.CASES[name].words.replace("\\", "")]
)
def test_a_foreign_name_is_unsafe_rather_than_unreadable(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    hostile.CASES[name].write(tmp_path / "model")
    with pytest.raises(UnsafeCheckpoint, match="so nothing happened"):
        checkpoint.read(tmp_path / "model")


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
    hostile.CASES[name].write(tmp_path / "model")
    tracemalloc.start()
    try:
        with pytest.raises(RefusedInput):
            checkpoint.read(tmp_path / "model")
        assert tracemalloc.get_traced_memory()[1] < 30 * 2**20
    finally:
        tracemalloc.stop()
