import contextlib
import math
from itertools import zip_longest

import far
import pytest
import torch
from torch import nn

from clipclean.config.recipe import Train
from clipclean.train import Batch, NonFiniteLoss, adamw, finetune


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
    return adamw(net, Train(lr=0.01))


def steps_of(net, given, *, optimizer=None, loss=None, first=0, rate=lambda step: 0.01, clip=None, **more):
    loss = loss or (lambda batch: {"loss": (net.body(batch.inputs["x"]) ** 2).mean()})
    optimizer = optimizer or optimizer_of(net)
    how = {"loss": loss, "optimizer": optimizer, "learning_rate": rate, "first_step": first, "grad_clip": clip}
    return finetune(net, given, **how, **more)


def pulling(net):
    """A loss that pulls the logit scale up without bound."""
    return lambda batch: {"loss": (net.body(batch.inputs["x"]) ** 2).mean() - 100 * net.logit_scale}


def differing(one, other):
    """The names of what differs in two nets, or in a net and an earlier state."""
    one, other = (each if isinstance(each, dict) else each.state_dict() for each in (one, other))
    return [name for (name, a), b in zip_longest(one.items(), other.values()) if not torch.equal(a, b)]


def test_each_step_is_recorded_and_clipped_gradients_change_the_weights_less():
    steps = steps_of(Net(), batches(3), first=5, rate=lambda step: (step + 1) / 100)
    assert [(s.number, s.lr) for s in steps] == [(5, 0.06), (6, 0.07), (7, 0.08)]
    moved = []
    for clip in (None, 1e-3):
        net = Net()
        start = net.body[2].weight.detach().clone()
        list(steps_of(net, batches(1), optimizer=torch.optim.SGD(net.parameters(), lr=1.0), clip=clip))
        moved.append((net.body[2].weight - start).norm())
    assert moved[1] < moved[0]


def test_the_logit_scale_never_exceeds_ln_100():
    net = Net()
    list(steps_of(net, batches(40), loss=pulling(net), rate=lambda step: 0.1 * (step + 1)))
    assert net.logit_scale.item() == pytest.approx(math.log(100))
    net.logit_scale.data.fill_(5.0)
    list(steps_of(net, batches(2), loss=pulling(net), optimizer=optimizer_of(net.body)))  # it is not trained, and stays
    assert net.logit_scale.item() == 5


def test_a_non_finite_loss_stops_with_step_and_keys_before_the_weights_change():
    net = Net()
    steps = steps_of(net, batches(3, bad=1))
    next(steps)
    before = {name: values.clone() for name, values in net.named_parameters()}
    with pytest.raises(NonFiniteLoss, match=r"step 1.*sample-1"):
        next(steps)
    assert differing(before, dict(net.named_parameters())) == []


@pytest.mark.parametrize("bad", [None, 1, 3])  # 3 is the last one, after which no other looks
def test_a_gpu_looks_at_a_loss_one_step_late_and_no_bit_differs(bad):
    net, other = Net(), Net()
    list(steps_of(other, batches(4)[:bad]))  # what the good steps before alone lead to
    told = pytest.raises(NonFiniteLoss, match=rf"step {bad} .*sample-{bad}") if bad else contextlib.nullcontext()
    with far.gpu(), told:
        list(steps_of(far.put(net), batches(4, bad=bad)))
    found = {name: values.near for name, values in net.named_parameters()}
    assert differing(found, dict(other.named_parameters())) == []


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
def test_a_step_that_ran_out_of_memory_is_repeated_smaller_and_changes_no_bit(error):
    rich, poor, asked = Net(), Net(), []
    for net, times in ((rich, 0), (poor, 2)):
        loss = short_of_memory(net, times, error)
        assert len(list(steps_of(net, batches(3), loss=loss, shrink=lambda: asked.append(1) or True))) == 3
    assert len(asked) == 2
    assert differing(rich, poor) == []


@pytest.mark.parametrize("error", [OUT_OF_MEMORY, RuntimeError("shapes do not fit")])
def test_what_cannot_be_made_smaller_ends_the_run_with_weights_and_statistics_as_before(error):
    net = Net()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(type(error)):
        list(steps_of(net, batches(3), loss=short_of_memory(net, 99, error), shrink=lambda: False))
    assert differing(before, net) == []
