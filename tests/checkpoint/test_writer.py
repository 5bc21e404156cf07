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


def test_the_safetensors_library_reads_back_every_tensor_and_the_metadata(tmp_path):
    write_safetensors(tmp_path / "x.safetensors", _tensors(), metadata={"format": "pt", "note": "ü"})
    loaded = load_file(tmp_path / "x.safetensors")
    assert set(loaded) == set(_tensors())
    for name, tensor in _tensors().items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor), name
    with safe_open(tmp_path / "x.safetensors", "pt") as opened:
        assert opened.metadata() == {"format": "pt", "note": "ü"}


def test_equal_input_in_another_order_gives_equal_bytes(tmp_path):
    tensors = _tensors()
    write_safetensors(tmp_path / "a", tensors, metadata={"p": "1", "q": "2"})
    write_safetensors(tmp_path / "b", dict(reversed(tensors.items())), metadata={"q": "2", "p": "1"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
