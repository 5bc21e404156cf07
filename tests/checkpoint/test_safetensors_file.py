import errno
import resource

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from clipclean.checkpoint import write_safetensors


def _tensors() -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return {
        "b": torch.randn(3, 4, generator=draw),
        "a": torch.arange(5, dtype=torch.uint8),
        "scalar": torch.tensor(1.5),
        "half": torch.randn(2, 3, generator=draw).half(),
        "brain": torch.randn(4, generator=draw).bfloat16(),
        "count": torch.tensor(7),
        "strided": torch.randn(4, 4, generator=draw).T,
        "flags": torch.tensor([True, False]),
        "empty": torch.zeros(0, 3),
    }


def test_the_safetensors_library_reads_back_every_tensor_and_the_metadata_and_views_have_their_own_values(tmp_path):
    write_safetensors(tmp_path / "x.safetensors", _tensors(), metadata={"note": "ü"})
    loaded = load_file(tmp_path / "x.safetensors")
    assert set(loaded) == set(_tensors())
    for name, tensor in _tensors().items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor), name
    with safe_open(tmp_path / "x.safetensors", "pt") as opened:
        assert opened.metadata() == {"note": "ü"}
    whole = torch.arange(6.0)
    write_safetensors(tmp_path / "x", {"first": whole[:3], "last": whole[3:]}, metadata={})
    loaded = load_file(tmp_path / "x")
    assert (loaded["first"].tolist(), loaded["last"].tolist()) == ([0.0, 1.0, 2.0], [3.0, 4.0, 5.0])
    write_safetensors(tmp_path / "x", {"a": torch.zeros(1)}, metadata={})
    (tmp_path / "y").write_text("")
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "y").stat().st_mode


def test_equal_input_gives_equal_bytes_and_texts_in_random_order_are_refused(tmp_path):
    """Each hash map of the library has another seed."""
    for name, order in enumerate(("qwertz", "ztrewq") * 5):
        write_safetensors(tmp_path / f"{name}", {n: torch.arange(3.0) for n in order}, metadata={"format": "pt"})
        assert (tmp_path / "0").read_bytes() == (tmp_path / f"{name}").read_bytes()
    with pytest.raises(ValueError, match="random order: a, b"):
        write_safetensors(tmp_path / "x", {}, metadata={"a": "1", "b": "2"})


def test_what_the_system_refuses_is_an_os_error_with_its_number(tmp_path):
    """Here a limit on the size of files, as a full disk would be."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            write_safetensors(tmp_path / "x", {"a": torch.zeros(10_000)}, metadata={})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.EFBIG
    with pytest.raises(FileNotFoundError):
        write_safetensors(tmp_path / "missing" / "x", {"a": torch.zeros(1)}, metadata={})
