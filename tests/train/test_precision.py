import pytest
import torch
from torch import nn

from clipclean.train import Batch, in_precision, optim, resolved

CPU = torch.device("cpu")


class Sized(nn.Module):
    """As many parameters as said, in no memory."""

    def __init__(self, count):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, device="meta"))


LARGE, SMALL = Sized(optim.LEAST_PARAMETERS), Sized(optim.LEAST_PARAMETERS - 1)


@pytest.mark.parametrize("asked", ["fp32", "bf16"])
@pytest.mark.parametrize("net", [LARGE, SMALL], ids=["large", "small"])
def test_what_is_asked_for_is_done(asked, net):
    assert resolved(asked, net, CPU) == asked


@pytest.mark.parametrize(
    ("flags", "expected"), [({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16"), ({"avx2": True}, "fp32")]
)
def test_auto_takes_bf16_where_the_processor_multiplies_it_and_the_model_is_large(monkeypatch, flags, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags, raising=False)
    assert resolved("auto", LARGE, CPU) == expected
    assert resolved("auto", SMALL, CPU) == "fp32"


@pytest.mark.parametrize(("chosen", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_the_forward_pass_has_the_format_and_the_weights_stay_in_fp32(chosen, dtype):
    linear, seen = nn.Linear(4, 4), []

    def loss(batch):
        seen.append(linear(batch.inputs["x"]))
        return {"loss": seen[0].float().sum()}

    in_precision(loss, chosen, CPU)(Batch({"x": torch.ones(2, 4)}, ("a", "b")))["loss"].backward()
    assert seen[0].dtype == dtype
    assert linear.weight.grad.dtype == torch.float32
