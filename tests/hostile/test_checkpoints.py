import tracemalloc

import pytest
from hostile import checkpoints as hostile

from clipclean import checkpoint
from clipclean.errors import RefusedInput, UnsafeCheckpoint


@pytest.fixture
def inside(tmp_path, monkeypatch):
    """A working directory of its own, so that a payload that ran would leave its mark there."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_honest_twin_of_the_hostile_files_is_read(inside):
    (inside / "model").write_bytes(hostile.honest())
    assert checkpoint.read(inside / "model").tensors["weight"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("name", hostile.CASES)
def test_a_hostile_file_is_refused_with_its_reason(inside, name):
    case = hostile.CASES[name]
    case.write(inside / "model")
    before = sorted(inside.rglob("*"))
    with pytest.raises(RefusedInput, match=case.words) as refusal:
        checkpoint.read(inside / "model")
    assert refusal.value.exit_code == 3
    assert str(refusal.value).startswith(f"{inside / 'model'}: ")
    assert str(refusal.value).isprintable()
    assert not isinstance(refusal.value, UnsafeCheckpoint) or "Ask for the weights as safetensors" in str(refusal.value)
    assert sorted(inside.rglob("*")) == before


@pytest.mark.parametrize(
    "name", [name for name in hostile.CASES if "os.system" in hostile.CASES[name].words.replace("\\", "")]
)
def test_a_foreign_name_is_unsafe_rather_than_unreadable(inside, name):
    hostile.CASES[name].write(inside / "model")
    with pytest.raises(UnsafeCheckpoint, match="so nothing happened"):
        checkpoint.read(inside / "model")


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
def test_a_bomb_takes_little_memory(inside, name):
    hostile.CASES[name].write(inside / "model")
    tracemalloc.start()
    try:
        with pytest.raises(RefusedInput):
            checkpoint.read(inside / "model")
        assert tracemalloc.get_traced_memory()[1] < 30 * 2**20
    finally:
        tracemalloc.stop()
