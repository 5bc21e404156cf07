"""Steps that spare clean inputs: moments by hand, against hooks, and on a model where the answer is known."""

import pytest
import tiny
import torch
from torch import nn

from clipclean import model, train
from clipclean.train.sparing import Moment


class Mixed(nn.Module):
    """A kernel, a matrix as layers have them, and one that is multiplied from the right, as CLIP's projections are."""

    def __init__(self):
        super().__init__()
        self.kernel = nn.Conv2d(3, 5, 2, bias=False)
        self.norm = nn.LayerNorm(5)
        self.layer = nn.Linear(5, 4)
        self.proj = nn.Parameter(torch.randn(4, 6))

    def forward(self, pixels):
        seen = self.norm(self.kernel(pixels).mean((2, 3)))
        return self.layer(seen) @ self.proj


def test_the_moment_of_a_layer_is_the_mean_square_of_what_comes_in_whatever_its_orientation():
    torch.manual_seed(0)
    net, pixels = Mixed(), torch.randn(7, 3, 2, 2)  # one place a kernel
    moments = train.moments_of(net, net, [pixels])
    rows = {"kernel.weight": pixels.flatten(1)}
    rows["layer.weight"] = net.norm(net.kernel(pixels).mean((2, 3)))
    rows["proj"] = net.layer(rows["layer.weight"])
    assert moments.keys() == rows.keys()  # gains and biases have none
    for name, inputs in rows.items():
        assert torch.allclose(moments[name].inputs, inputs.T @ inputs, rtol=1e-4, atol=1e-5)
        assert moments[name].rows == 7
    assert [moments[name].is_left for name in ("layer.weight", "proj")] == [False, True]


def test_the_inverse_is_that_of_the_moment_with_a_mean_of_one_plus_the_damping():
    inputs = torch.tensor([[8.0, 0.0], [0.0, 2.0]])  # a mean of 5
    expected = torch.diag(1 / (torch.tensor([1.6, 0.4]) + 0.5))
    assert torch.allclose(Moment(inputs, 3, False).inverse(0.5), expected)


@pytest.mark.parametrize("config", [tiny.TINY_RESNET, tiny.SMALL_VIT])
def test_every_matrix_of_a_towers_layers_is_looked_at_those_of_attention_too(config):
    weights = tiny.state_dict(config)
    architecture = model.resolve(weights, arch=None, config=config, script_quick_gelu=False)
    clip = model.build(architecture.with_activation(False, "given"), weights, device="cpu")
    tower = clip.net.visual
    side = config["vision_cfg"]["image_size"]
    moments = train.moments_of(tower, clip.encode_images, [torch.rand(2, 3, side, side)])
    left_out = {name for name, p in tower.named_parameters() if p.ndim >= 2} - moments.keys()
    assert {name.rsplit(".")[-1] for name in left_out} <= {"positional_embedding"}


def test_a_step_goes_where_clean_inputs_are_not():
    """Clean inputs fill the first of two directions, so a gradient along both moves the second alone."""
    layer = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(1.0)
    clean = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    optimizer = train.sparing(layer, train.inverses_of(train.moments_of(layer, layer, [clean]), 0.01), momentum=0.9)
    optimizer.param_groups[0]["lr"] = 0.1
    layer.weight.grad = torch.tensor([[1.0, 1.0]])
    optimizer.step()
    moved = (layer.weight.detach() - 1)[0]
    assert moved.square().mean().sqrt().item() == pytest.approx(0.1)  # a step of the rate, in the root mean square
    assert moved[1] < 0
    assert abs(moved[0] / moved[1]) == pytest.approx(0.01 / 2.01, rel=1e-4)  # damping over moment and damping


def test_a_parameter_without_a_gradient_stays():
    layer = nn.Linear(2, 1)
    optimizer = train.sparing(layer, {}, momentum=0.9)
    before = [p.clone() for p in layer.parameters()]
    layer.weight.grad = torch.zeros_like(layer.weight)
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    optimizer.step()
    assert all(torch.equal(p, old) for p, old in zip(layer.parameters(), before, strict=True))


def units_of(net):
    """The unit of each parameter, by its name."""
    names = {id(p): name for name, p in net.named_parameters()}
    return {names[id(group["params"][0])]: group["unit"] for group in train.sparing(net, {}, momentum=0.9).param_groups}


def test_the_unit_of_a_matrix_is_its_own_size():
    net = Mixed()
    assert units_of(net)["proj"] == pytest.approx(net.proj.square().mean().sqrt().item())


def test_the_unit_of_gains_is_the_median_of_those_of_matrices():
    units = units_of(Mixed())
    assert units["norm.weight"] == sorted(units[name] for name in ("kernel.weight", "layer.weight", "proj"))[1]
