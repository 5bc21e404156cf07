"""A net fitted anew from its base: one layer by hand, several by what makes each of them best, and blocks by the same net without."""

import copy

import pytest
import torch
from torch import nn

from clipclean import train
from clipclean.train import Tower

DAMPING = 0.4


def tower(net):
    return Tower(net, net, [module for module in net.children() if isinstance(module, nn.Sequential)])


def fitted(finetune, base, batches, *, damping=DAMPING):
    net = copy.deepcopy(finetune)
    train.refit(tower(net), tower(finetune), base, batches, damping=damping)
    return net


def deep():
    """A stem, two blocks and a head, without biases."""
    layers = [nn.Linear(6, 5, bias=False), nn.Tanh()]
    for _ in range(2):
        layers.append(nn.Sequential(nn.Linear(5, 7, bias=False), nn.Tanh(), nn.Linear(7, 5, bias=False)))
    return nn.Sequential(*layers, nn.Linear(5, 3, bias=False))


@pytest.fixture
def nets():
    """A finetune and its base, with clean inputs that fill few directions."""
    torch.manual_seed(0)
    finetune, base = deep(), deep()
    directions = torch.randn(3, 6)
    return finetune, base, [torch.randn(40, 3) @ directions for _ in range(2)]


def test_of_the_change_of_one_layer_what_clean_inputs_use_is_kept_by_the_size_of_their_moment():
    finetune, base = (nn.Sequential(nn.Linear(2, 1, bias=False)) for _ in range(2))
    finetune[0].weight.data.fill_(1.0)
    base[0].weight.data.fill_(0.0)
    inputs = torch.diag(torch.tensor([8.0, 2.0]).sqrt())  # moments of 1.6 and 0.4, with a mean of one
    net = fitted(finetune, base, [inputs])
    torch.testing.assert_close(net[0].weight, torch.tensor([[1.6 / 2.0, 0.4 / 0.8]]))


def test_each_layer_is_the_best_for_what_comes_out_of_those_before(nets):
    finetune, base, batches = nets
    net, inputs = fitted(finetune, base, batches), torch.cat(batches)
    seen = {}
    for name, of in (("net", net), ("finetune", finetune)):
        for path, layer in of.named_modules():
            if isinstance(layer, nn.Linear):
                layer.register_forward_pre_hook(lambda _, args, key=(name, path): seen.update({key: args[0].detach()}))
        of(inputs)
    for path, layer in net.named_modules():
        if isinstance(layer, nn.Linear):
            x, y = seen["net", path], seen["finetune", path]
            own, wanted, before = (side.get_submodule(path).weight.detach() for side in (net, finetune, base))
            mean = (x.T @ x).diagonal().mean()
            slope = (own @ x.T - wanted @ y.T) @ x / mean + DAMPING * (own - before)
            assert slope.norm() < 1e-4 * own.norm()


def test_damping_leads_clean_inputs_from_the_finetune_to_the_base(nets):
    finetune, base, batches = nets
    torch.testing.assert_close(
        fitted(finetune, base, batches, damping=1e-6)(batches[0]), finetune(batches[0]), atol=1e-2, rtol=0
    )
    torch.testing.assert_close(
        fitted(finetune, base, batches, damping=1e6)(batches[0]), base(batches[0]), atol=1e-2, rtol=0
    )


def test_what_no_clean_input_uses_is_the_base_s_again(nets):
    finetune, base, batches = nets
    unused = torch.linalg.svd(torch.cat(batches)).Vh[3:].T  # (6, 3)
    first = fitted(finetune, base, batches)[0].weight
    torch.testing.assert_close(first @ unused, base[0].weight @ unused, atol=1e-4, rtol=0)


def test_a_net_whose_blocks_are_not_computed_again_is_fitted_as_one_that_is_run_from_its_start(nets):
    finetune, base, batches = nets
    whole = copy.deepcopy(finetune)
    train.refit(Tower(whole, whole, ()), Tower(finetune, finetune, ()), base, batches, damping=DAMPING)
    by_blocks = fitted(finetune, base, batches)
    for name, weight in whole.named_parameters():
        torch.testing.assert_close(dict(by_blocks.named_parameters())[name], weight)


def test_fitting_changes_neither_the_finetune_nor_its_base(nets):
    finetune, base, batches = nets
    before = [copy.deepcopy(side.state_dict()) for side in (finetune, base)]
    fitted(finetune, base, batches)
    for side, weights in zip((finetune, base), before, strict=True):
        torch.testing.assert_close(dict(side.state_dict()), dict(weights), atol=0, rtol=0)


def test_blocks_compute_by_themselves_again_after_fitting(nets):
    finetune, base, batches = nets
    net = fitted(finetune, base, batches)
    assert not any("forward" in vars(module) for side in (net, finetune) for module in side.modules())


class Sides(nn.Module):
    """A kernel, and a matrix that is multiplied from the right, as CLIP's projections are."""

    def __init__(self):
        super().__init__()
        self.kernel = nn.Conv2d(2, 5, 2, bias=False)
        self.proj = nn.Parameter(torch.randn(5, 3))

    def forward(self, pixels):
        return self.kernel(pixels).mean((2, 3)) @ self.proj


def test_weights_of_any_kind_are_fitted_exactly_where_inputs_say_all():
    """Of 900 places and 600 rows a batch some are drawn, and the same ones in both nets."""
    torch.manual_seed(0)
    finetune, base = Sides(), Sides()
    net = fitted(finetune, base, [torch.randn(600, 2, 4, 4) for _ in range(2)], damping=1e-6)
    torch.testing.assert_close(net.kernel.weight, finetune.kernel.weight, atol=1e-3, rtol=0)
    torch.testing.assert_close(net.proj, finetune.proj, atol=1e-3, rtol=0)
