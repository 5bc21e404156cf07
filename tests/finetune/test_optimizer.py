import torch
from torch import nn

from clipclean.finetune import adamw


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.ln_final = nn.LayerNorm(3)
        self.logit_scale = nn.Parameter(torch.tensor(1.0))
        self.positional_embedding = nn.Parameter(torch.zeros(2, 3))
        self.frozen = nn.Parameter(torch.zeros(3, 3), requires_grad=False)


def _groups() -> dict[float, set[str]]:
    net = Net()
    optimizer = adamw(net, lr=0.1, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.2)
    names = {id(p): name for name, p in net.named_parameters()}
    return {g["weight_decay"]: {names[id(p)] for p in g["params"]} for g in optimizer.param_groups}


def test_matrices_decay_and_gains_biases_and_the_logit_scale_do_not():
    assert _groups() == {
        0.2: {"linear.weight", "positional_embedding"},
        0.0: {"linear.bias", "ln_final.weight", "ln_final.bias", "logit_scale"},
    }


def test_frozen_parameters_are_left_out():
    assert "frozen" not in set().union(*_groups().values())
