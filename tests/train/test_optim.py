import itertools

import pytest
import torch
from torch import nn

from clipclean.config.recipe import Train
from clipclean.train import adamw, learning_rate, optim, resolved
from clipclean.train.resume import capture, restore


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.ln_final = nn.LayerNorm(3)
        self.logit_scale = nn.Parameter(torch.tensor(1.0))
        self.positional_embedding = nn.Parameter(torch.zeros(2, 3))
        self.frozen = nn.Parameter(torch.zeros(3, 3), requires_grad=False)


def test_matrices_decay_and_gains_biases_and_the_logit_scale_do_not_and_frozen_ones_are_left_out():
    net = Net()
    optimizer = _adamw(net)
    names = {id(p): name for name, p in net.named_parameters()}
    decays = {g["weight_decay"]: {names[id(p)] for p in g["params"]} for g in optimizer.param_groups}
    spared = {"linear.bias", "ln_final.weight", "ln_final.bias", "logit_scale"}
    assert decays == {0.2: {"linear.weight", "positional_embedding"}, 0.0: spared}


def _stepped(net, optimizer, steps, *, seed=0):
    draw = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        optimizer.zero_grad()
        net(torch.randn(2, 3, 6, 6, generator=draw)).square().sum().backward()
        optimizer.step()


def _convolution(memory_format=torch.contiguous_format):
    torch.manual_seed(0)
    return nn.Conv2d(3, 4, 3).to(memory_format=memory_format)


def _adamw(net):
    return adamw(net, Train(lr=0.01, betas=(0.9, 0.99), weight_decay=0.2))


def test_one_kernel_updates_as_many_small_ones_do():
    ours, theirs = _convolution(), _convolution()
    groups = [{"params": [theirs.weight], "weight_decay": 0.2}, {"params": [theirs.bias], "weight_decay": 0.0}]
    _stepped(ours, _adamw(ours), 5)
    _stepped(theirs, torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.99), eps=1e-8, fused=False), 5)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6)


def test_weights_whose_channels_come_last_are_updated_alike_and_resume_bit_by_bit():
    """Fused kernels go through memory in its own order: weights, gradients and moments have to agree on one."""
    first, last = _convolution(), _convolution(torch.channels_last)
    optimizers = _adamw(first), _adamw(last)
    for net, optimizer in zip((first, last), optimizers, strict=True):
        _stepped(net, optimizer, 3)
    torch.testing.assert_close(first.weight, last.weight, atol=1e-5, rtol=1e-5)
    saved = {name: tensor.clone() for name, tensor in capture(last, optimizers[1]).items()}
    again = _convolution(torch.channels_last)
    optimizer = _adamw(again)
    restore(again, optimizer, {name: tensor.contiguous() for name, tensor in saved.items()})  # as a file holds them
    for net, each in ((last, optimizers[1]), (again, optimizer)):
        _stepped(net, each, 2, seed=1)
    assert torch.equal(last.weight, again.weight)
    assert torch.equal(last.bias, again.bias)


def test_the_rate_climbs_to_its_peak_and_falls_by_half_a_cosine_to_nearly_zero():
    def rates(warmup, total):
        return [learning_rate(step, peak=2.0, warmup=warmup, total=total) for step in range(total)]

    assert rates(4, 10)[:4] == [0.5, 1.0, 1.5, 2.0]
    assert rates(0, 20)[0] == 2.0
    assert rates(0, 20)[10] == pytest.approx(1.0)  # half the way
    assert all(later < earlier for earlier, later in itertools.pairwise(rates(5, 50)[5:]))
    assert 0 < rates(50, 1000)[-1] < 2e-5


# Precision.

CPU = torch.device("cpu")


class Sized(nn.Module):
    """As many parameters as said, in no memory."""

    def __init__(self, count):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, device="meta"))


LARGE, SMALL = Sized(optim.LEAST_PARAMETERS), Sized(optim.LEAST_PARAMETERS - 1)


@pytest.mark.parametrize(
    ("flags", "expected"), [({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16"), ({"avx2": True}, "fp32")]
)
def test_auto_takes_bf16_where_the_processor_multiplies_it_and_the_model_is_large(monkeypatch, flags, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags, raising=False)
    assert (resolved("auto", LARGE, CPU), resolved("auto", SMALL, CPU)) == (expected, "fp32")
    assert all(resolved(asked, net, CPU) == asked for asked in ("fp32", "bf16") for net in (LARGE, SMALL))
