import contextlib
import math
from itertools import pairwise, zip_longest

import far
import pytest
import torch
from torch import nn

from clipclean.config.recipe import Train
from clipclean.train import Batch, NonFiniteLoss, RunState, adamw, fit, loop, resolved
from clipclean.train.loop import learning_rate
from clipclean.train.resume import TrainingSoFar


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        self.logit_scale = nn.Parameter(torch.tensor(4.0))


def batches(n, *, bad=None):
    """``n`` batches; that of the number ``bad`` holds what is no number."""
    draw = torch.Generator().manual_seed(1)
    made = [Batch({"x": torch.randn(8, 4, generator=draw)}, (f"sample-{i}",)) for i in range(n)]
    if bad is not None:
        made[bad].inputs["x"][0, 0] = math.inf
    return made


def optimizer_of(net):
    return adamw(net, Train(lr=0.01, betas=(0.9, 0.99), weight_decay=0.2))


def steps_of(net, given, *, loss=None, first=0, peak=0.01, warmup=0, clip=None, **more):
    """The steps of a run of 200, of which those ``given`` are taken."""
    loss = loss or (lambda batch: {"loss": (net.body(batch.inputs["x"]) ** 2).mean()})
    how = Train().model_copy(update={"walk": None, "lr": peak, "warmup_steps": warmup, "grad_clip": clip})
    return fit(net, given, how, loss=loss, total=200, precision="fp32", first_step=first, **more)


def pulling(net):
    """A loss that pulls the logit scale up without bound."""
    return lambda batch: {"loss": (net.body(batch.inputs["x"]) ** 2).mean() - 100 * net.logit_scale}


def differing(one, other):
    """The names of what differs in two nets, or in a net and an earlier state."""
    one, other = (each if isinstance(each, dict) else each.state_dict() for each in (one, other))
    return [name for (name, a), b in zip_longest(one.items(), other.values()) if not torch.equal(a, b)]


def test_each_step_is_recorded():
    steps = steps_of(Net(), batches(3), first=5, peak=1.0, warmup=100)
    assert [(s.number, s.lr) for s in steps] == [(5, 0.06), (6, 0.07), (7, 0.08)]


def test_clipped_gradients_change_the_weights_less():
    moved = []
    for clip in (None, 1e-3):
        net = Net()
        start = net.body[2].weight.detach().clone()
        list(steps_of(net, batches(1), optimizer=torch.optim.SGD(net.parameters(), lr=1.0), clip=clip))
        moved.append((net.body[2].weight - start).norm())
    assert moved[1] < moved[0]


def test_the_logit_scale_never_exceeds_ln_100():
    net = Net()
    list(steps_of(net, batches(40), loss=pulling(net), peak=10.0, warmup=100))
    assert net.logit_scale.item() == pytest.approx(math.log(100))
    net.logit_scale.data.fill_(5.0)
    list(steps_of(net, batches(2), loss=pulling(net), optimizer=optimizer_of(net.body)))  # it is not trained, and stays
    assert net.logit_scale.item() == 5


def test_a_non_finite_loss_ends_the_run_before_the_weights_change():
    net = Net()
    steps = steps_of(net, batches(3, bad=1))
    next(steps)
    before = {name: values.clone() for name, values in net.named_parameters()}
    with pytest.raises(NonFiniteLoss, match=r"step 1.*sample-1"):
        next(steps)
    assert differing(before, dict(net.named_parameters())) == []


@pytest.mark.parametrize("bad", [None, 1, 3])  # 3 is the last one, after which no other looks
def test_a_loss_that_is_looked_at_one_step_late_changes_no_bit(bad):
    net, other = Net(), Net()
    list(steps_of(other, batches(4)[:bad]))  # what the good steps before alone lead to
    ending = pytest.raises(NonFiniteLoss, match=rf"step {bad} .*sample-{bad}") if bad else contextlib.nullcontext()
    with far.gpu(), ending:
        list(steps_of(far.put(net), batches(4, bad=bad)))
    numbers = {name: values.near for name, values in net.named_parameters()}  # type: ignore[attr-defined] # far.Far
    assert differing(numbers, dict(other.named_parameters())) == []


def short_of_memory(net, times, error):
    """A loss that runs out of memory after its forward pass, so many times."""
    left = [error] * times

    def loss(batch):
        value = (net.body(batch.inputs["x"]) ** 2).mean()
        if left:
            raise left.pop()
        return {"loss": value}

    return loss


OUT_OF_MEMORY = torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize("error", [OUT_OF_MEMORY, MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate")])
def test_a_step_repeated_smaller_after_memory_ran_out_changes_no_bit(error):
    rich, poor, shrinks = Net(), Net(), []
    for net, times in ((rich, 0), (poor, 2)):
        loss = short_of_memory(net, times, error)
        assert len(list(steps_of(net, batches(3), loss=loss, shrink=lambda: shrinks.append(1) or True))) == 3
    assert len(shrinks) == 2
    assert differing(rich, poor) == []


@pytest.mark.parametrize("error", [OUT_OF_MEMORY, RuntimeError("shapes do not fit")])
def test_a_step_that_cannot_be_made_smaller_leaves_the_model_as_before(error):
    net = Net()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(type(error)):
        list(steps_of(net, batches(3), loss=short_of_memory(net, 99, error), shrink=lambda: False))
    assert differing(before, net) == []


# The optimizer and its schedule.


class Kinds(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.ln_final = nn.LayerNorm(3)
        self.logit_scale = nn.Parameter(torch.tensor(1.0))
        self.positional_embedding = nn.Parameter(torch.zeros(2, 3))
        self.frozen = nn.Parameter(torch.zeros(3, 3), requires_grad=False)


def test_only_matrices_that_are_trained_decay():
    net = Kinds()
    optimizer = optimizer_of(net)
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


def test_one_kernel_updates_as_many_small_ones_do():
    ours, theirs = _convolution(), _convolution()
    groups = [{"params": [theirs.weight], "weight_decay": 0.2}, {"params": [theirs.bias], "weight_decay": 0.0}]
    _stepped(ours, optimizer_of(ours), 5)
    _stepped(theirs, torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.99), eps=1e-8, fused=False), 5)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6)


# Fused kernels go through memory in its own order: weights, gradients and moments have to agree on one.


def test_weights_whose_channels_come_last_are_updated_alike():
    first, last = _convolution(), _convolution(torch.channels_last)
    for net in (first, last):
        _stepped(net, optimizer_of(net), 3)
    torch.testing.assert_close(first.weight, last.weight, atol=1e-5, rtol=1e-5)


def test_weights_whose_channels_come_last_resume_bit_by_bit(tmp_path):
    last, again = _convolution(torch.channels_last), _convolution(torch.channels_last)
    optimizers = optimizer_of(last), optimizer_of(again)
    _stepped(last, optimizers[0], 3)
    state = RunState(tmp_path, "0" * 64)
    state.save(last, optimizers[0], TrainingSoFar(3))
    state.resume(again, optimizers[1])
    for net, optimizer in zip((last, again), optimizers, strict=True):
        _stepped(net, optimizer, 2, seed=1)
    assert torch.equal(last.weight, again.weight)
    assert torch.equal(last.bias, again.bias)


def rates(warmup, total):
    return [learning_rate(step, peak=2.0, warmup=warmup, total=total) for step in range(total)]


def test_the_rate_climbs_to_its_peak():
    assert rates(4, 10)[:4] == [0.5, 1.0, 1.5, 2.0]
    assert rates(0, 20)[0] == 2.0


def test_the_rate_falls_by_half_a_cosine_to_nearly_zero():
    assert rates(0, 20)[10] == pytest.approx(1.0)  # half the way
    assert all(later < earlier for earlier, later in pairwise(rates(5, 50)[5:]))
    assert 0 < rates(50, 1000)[-1] < 2e-5


# Precision.

CPU = torch.device("cpu")


class Sized(nn.Module):
    """As many parameters as said, in no memory."""

    def __init__(self, count):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, device="meta"))


LARGE, SMALL = Sized(loop.LEAST_PARAMETERS), Sized(loop.LEAST_PARAMETERS - 1)


PROCESSORS = [({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16"), ({"avx2": True}, "fp32")]


@pytest.mark.parametrize(("flags", "expected"), PROCESSORS)
def test_auto_takes_bf16_for_large_models_where_the_processor_multiplies_it(monkeypatch, flags, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags, raising=False)
    assert (resolved("auto", LARGE, CPU), resolved("auto", SMALL, CPU)) == (expected, "fp32")


@pytest.mark.parametrize("flags", [flags for flags, _ in PROCESSORS])
def test_a_precision_that_is_named_is_taken(monkeypatch, flags):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags, raising=False)
    assert all(resolved(named, net, CPU) == named for named in ("fp32", "bf16") for net in (LARGE, SMALL))


# The way of a run, in units of the weights.


@pytest.mark.parametrize("size", [0.01, 1.0])
@pytest.mark.parametrize("steps", [10, 40])
def test_a_matrix_under_a_steady_pull_goes_as_far_as_the_walk_says(size, steps):
    net = nn.Linear(8, 8, bias=False)
    net.weight.data = torch.full((8, 8), size)
    how = Train(walk=0.5, warmup_steps=2, weight_decay=0)
    pulled = fit(net, batches(steps), how, loss=lambda _: {"loss": net.weight.sum()}, total=steps, precision="fp32")
    assert len(list(pulled)) == steps
    assert torch.allclose(net.weight, torch.full((8, 8), size / 2), rtol=1e-3)  # half of its size, all of it one way


def stepped_by_size():
    """Three layers with weights of 0.1, 1 and 10 after one step of a walk under the same pull."""
    net = nn.ModuleDict({name: nn.Linear(4, 4) for name in ("small", "usual", "large")})
    for name, size in (("small", 0.1), ("usual", 1.0), ("large", 10.0)):
        net[name].weight.data.fill_(size)
        net[name].bias.data.zero_()
    loss = {"loss": torch.stack([p.sum() for p in net.parameters()]).sum()}
    how = Train(walk=0.05, warmup_steps=0, weight_decay=0)
    list(fit(net, batches(1), how, loss=lambda _: loss, total=1, precision="fp32"))
    return net


def test_each_matrix_goes_by_its_own_size():
    net = stepped_by_size()
    moved = {name: net[name].weight.mean().item() for name in net}
    assert moved == pytest.approx({"small": 0.095, "usual": 0.95, "large": 9.5}, rel=1e-3)


def test_gains_go_by_the_size_of_the_median_matrix():
    net = stepped_by_size()
    assert torch.allclose(net["small"].bias, torch.full((4,), -0.05), rtol=1e-3)


def test_a_matrix_of_zeros_can_move():
    net = nn.Linear(4, 4, bias=False)
    net.weight.data.zero_()
    list(
        fit(
            net,
            batches(1),
            Train(walk=0.05, warmup_steps=0),
            loss=lambda _: {"loss": net.weight.sum()},
            total=1,
            precision="fp32",
        )
    )
    assert torch.allclose(net.weight, torch.full((4, 4), -0.05 * loop.LEAST_UNIT), rtol=1e-3)


def test_no_step_of_a_walk_goes_farther_than_a_tenth_of_the_weights():
    rates = [loop.peak_rate(Train(walk=3.0, warmup_steps=0), total=steps) for steps in (2, 100)]
    assert rates == [0.1, pytest.approx(3 / 50.5)]  # half cosines of 100 steps sum to 50.5
