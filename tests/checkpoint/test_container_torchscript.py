import warnings

import pytest
import torch

from clipclean import checkpoint
from clipclean.checkpoint import container


class QuickGELU(torch.nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


class Block(torch.nn.Module):
    def __init__(self, activation):
        super().__init__()
        self.attn = torch.nn.MultiheadAttention(8, 2)
        self.ln_1 = torch.nn.LayerNorm(8)
        self.act = activation

    def forward(self, x):
        return self.act(self.ln_1(self.attn(x, x, x, need_weights=False)[0]))


class Tower(torch.nn.Module):
    def __init__(self, activation):
        super().__init__()
        self.resblocks = torch.nn.Sequential(Block(activation), Block(activation))
        self.logit_scale = torch.nn.Parameter(torch.tensor(1.0))
        self.register_buffer("attn_mask", torch.full((2, 2), float("-inf")).triu(1))
        self.register_buffer("input_resolution", torch.tensor(224))
        self.layers = [1, 2]

    def forward(self, x):
        return self.resblocks(x) * self.logit_scale + self.attn_mask[0, 0]


def saved(path, compile_, activation):
    model = Tower(activation).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, which is why its archives need a reader
        archive = compile_(model)
        torch.jit.save(archive, path)
    return archive.state_dict()


def traced(model):
    return torch.jit.trace(model, torch.zeros(2, 1, 8))


@pytest.mark.parametrize("compile_", [traced, torch.jit.script], ids=["traced", "scripted"])
def test_an_archive_gives_its_state_dict_without_values_that_follow_from_the_architecture(tmp_path, compile_):
    expected = saved(tmp_path / "model.pt", compile_, torch.nn.GELU())
    found = checkpoint.read(tmp_path / "model.pt")
    assert found.tensors.keys() == expected.keys() - {"attn_mask", "input_resolution"}
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.tensors.items())
    assert (found.format, found.producer, found.quick_gelu) == ("torchscript", "TorchScript archive", None)
    (note,) = [note for note in found.notes if note.startswith("dropped")]
    assert "attn_mask" in note
    assert "input_resolution" in note


def test_a_quick_gelu_class_is_noticed_by_its_name_alone_and_half_precision_kept(tmp_path):
    for name, expected in {
        "__torch__.open_clip.transformer.___torch_mangle_5.QuickGELU": True,
        "__torch__.quick_gelu": True,
        "__torch__.quickgelu.LayerNorm": None,
        "__torch__.torch.nn.modules.activation.GELU": None,
    }.items():
        assert container.names_quick_gelu((name,)) is expected, name
    saved(tmp_path / "model.pt", traced, QuickGELU())
    assert checkpoint.read(tmp_path / "model.pt").quick_gelu is True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2).half()), tmp_path / "half.pt")
    assert {tensor.dtype for tensor in checkpoint.read(tmp_path / "half.pt").tensors.values()} == {torch.float16}
