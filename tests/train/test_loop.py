import math

import pytest
import torch
from torch import nn

from clipclean.train import Batch, NonFiniteLoss, adamw, finetune, loop
from clipclean.train.resume import capture, restore


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        self.logit_scale = nn.Parameter(torch.tensor(4.0))


def _batches(n: int) -> list[Batch]:
    draw = torch.Generator().manual_seed(1)
    return [Batch({"x": torch.randn(8, 4, generator=draw)}, (f"sample-{i}",)) for i in range(n)]


def _run(
    net: Net, batches: list[Batch], *, first: int = 0, optimizer=None, lr: float = 0.01, clip: float | None = None
):
    optimizer = optimizer or _adamw(net)
    loss = lambda batch: {"loss": (net.body(batch.inputs["x"]) ** 2).mean() - 100 * net.logit_scale}  # noqa: E731
    steps = finetune(
        net,
        batches,
        loss=loss,
        optimizer=optimizer,
        learning_rate=lambda step: lr * (step + 1),
        first_step=first,
        grad_clip=clip,
    )
    return list(steps)


def _adamw(net: nn.Module) -> torch.optim.AdamW:
    return adamw(net, lr=0.01, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1)


def test_each_step_is_recorded_with_its_number_and_rate():
    steps = _run(Net(), _batches(3), first=5)
    assert [(s.number, s.lr) for s in steps] == [(5, 0.06), (6, 0.07), (7, 0.08)]


def test_the_logit_scale_never_exceeds_ln_100():
    net = Net()  # the loss above pulls it up without bound
    _run(net, _batches(40), lr=0.1)
    assert net.logit_scale.item() == pytest.approx(math.log(100))
    net.logit_scale.data.fill_(5.0)
    _run(net, _batches(2), optimizer=_adamw(net.body))  # it is not trained, and stays as it is
    assert net.logit_scale.item() == 5


def test_a_non_finite_loss_stops_with_step_and_keys_before_the_weights_change():
    net, batches = Net(), _batches(3)
    batches[1].inputs["x"][0, 0] = math.inf
    done = []
    loss = lambda batch: {"loss": (net.body[0](batch.inputs["x"]) ** 2).mean()}  # noqa: E731
    steps = finetune(
        net, batches, loss=loss, optimizer=_adamw(net), learning_rate=lambda step: 0.01, first_step=0, grad_clip=None
    )
    done.append(next(steps))
    weights = net.body[0].weight.detach().clone()
    with pytest.raises(NonFiniteLoss, match=r"step 1.*sample-1"):
        next(steps)
    torch.testing.assert_close(net.body[0].weight.detach(), weights, rtol=0, atol=0)


def test_a_run_that_is_captured_and_restored_ends_with_the_same_bits():
    whole = Net()
    _run(whole, _batches(6))
    first = Net()
    optimizer = _adamw(first)
    _run(first, _batches(6)[:3], optimizer=optimizer)
    saved = {name: tensor.clone() for name, tensor in capture(first, optimizer).items()}
    second = Net()
    optimizer = _adamw(second)
    restore(second, optimizer, saved)
    _run(second, _batches(6)[3:], first=3, optimizer=optimizer)
    for (name, a), b in zip(whole.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_clipped_gradients_change_the_weights_less():
    free, held = Net(), Net()
    start = free.body[2].weight.detach().clone()
    loss_of = lambda net: lambda batch: {"loss": (net.body(batch.inputs["x"]) ** 2).mean()}  # noqa: E731
    for net, clip in ((free, None), (held, 1e-3)):
        optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
        list(
            finetune(
                net,
                _batches(1),
                loss=loss_of(net),
                optimizer=optimizer,
                learning_rate=lambda step: 1.0,
                first_step=0,
                grad_clip=clip,
            )
        )
    assert (held.body[2].weight - start).norm() < (free.body[2].weight - start).norm()


def _late(net, batches, monkeypatch):
    """A run that looks at its losses one step late, as on a GPU."""
    init = loop.Watch.__init__

    def late(watch, optimizer):
        init(watch, optimizer)
        watch.is_late = True

    monkeypatch.setattr(loop.Watch, "__init__", late)
    loss = lambda batch: {"loss": (net.body(batch.inputs["x"]) ** 2).mean()}  # noqa: E731
    return finetune(
        net, batches, loss=loss, optimizer=_adamw(net), learning_rate=lambda step: 0.01, first_step=0, grad_clip=None
    )


@pytest.mark.parametrize("bad", [1, 3])  # 3 is the last one, after which no other looks
def test_a_loss_that_is_seen_late_has_changed_no_weight(monkeypatch, bad):
    net, other, batches = Net(), Net(), _batches(4)
    list(_late(other, batches[:bad], monkeypatch))  # what the good steps before alone lead to
    batches[bad].inputs["x"][0, 0] = math.inf
    with pytest.raises(NonFiniteLoss, match=rf"step {bad} .*sample-{bad}"):
        list(_late(net, batches, monkeypatch))
    for (name, a), b in zip(net.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b), name


def test_looking_late_changes_no_bit_of_a_good_run(monkeypatch):
    nets = Net(), Net()
    loss = lambda batch: {"loss": (nets[0].body(batch.inputs["x"]) ** 2).mean()}  # noqa: E731
    at_once = finetune(
        nets[0],
        _batches(4),
        loss=loss,
        optimizer=_adamw(nets[0]),
        learning_rate=lambda step: 0.01,
        first_step=0,
        grad_clip=None,
    )
    losses = [step.losses for step in at_once]
    assert [step.losses for step in _late(nets[1], _batches(4), monkeypatch)] == losses
    assert all(
        torch.equal(a, b) for a, b in zip(nets[0].state_dict().values(), nets[1].state_dict().values(), strict=True)
    )


def _short_of_memory(net, times, error):
    """A loss that runs out of memory after its forward pass, so many times."""
    left = [times]

    def loss(batch):
        value = (net.body(batch.inputs["x"]) ** 2).mean()
        if left[0]:
            left[0] -= 1
            raise error
        return {"loss": value}

    return loss


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate")],
)
def test_a_step_that_ran_out_of_memory_is_repeated_smaller_and_changes_no_bit(error):
    nets, asked = (Net(), Net()), []
    for net, times in zip(nets, (0, 2), strict=True):
        steps = finetune(
            net,
            _batches(3),
            loss=_short_of_memory(net, times, error),
            optimizer=_adamw(net),
            learning_rate=lambda step: 0.01,
            first_step=0,
            grad_clip=None,
            shrink=lambda: asked.append(1) or True,
        )
        assert len(list(steps)) == 3
    assert len(asked) == 2
    assert all(
        torch.equal(a, b) for a, b in zip(nets[0].state_dict().values(), nets[1].state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("shapes do not fit")])
def test_what_cannot_be_made_smaller_ends_the_run_with_weights_and_statistics_as_before(error):
    net = Net()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    steps = finetune(
        net,
        _batches(3),
        loss=_short_of_memory(net, 99, error),
        optimizer=_adamw(net),
        learning_rate=lambda step: 0.01,
        first_step=0,
        grad_clip=None,
        shrink=lambda: False,
    )
    with pytest.raises(type(error)):
        list(steps)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
