"""Methods of others, written from their papers: on models that are worked by hand."""

import types

import pytest
import torch
from torch import nn


@pytest.fixture(scope="module")
def baselines(script):
    return script("baselines")


class Tower(nn.Module):
    """One convolution with its normalisation; of four channels one stretches images a hundred times as much."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4)
        with torch.no_grad():
            self.conv1.weight.fill_(0.1)
            self.conv1.weight[2] = 10.0

    def forward(self, pixels):
        return self.bn1(self.conv1(pixels)).mean((2, 3))


class Clip:
    """A model of the mean colour."""

    def __init__(self, tower):
        self.net = types.SimpleNamespace(visual=tower)

    def embed_images(self, pixels):
        return self.encode_images(pixels).detach()

    def encode_images(self, pixels):
        return nn.functional.normalize(pixels.mean((2, 3)), dim=1)


def test_a_convolution_goes_with_the_normalisation_of_its_number(baselines):
    tower = Tower()
    assert list(baselines.normalised(tower)) == [(tower.conv1, tower.bn1)]


def test_channels_whose_bound_stands_out_are_silenced_and_no_others(baselines, monkeypatch):
    """Of bounds 0.17, 0.17, 17 and 0.17 the mean is 4.5 and the deviation 8.7: the third is 1.5 deviations above."""
    tower = Tower()
    monkeypatch.setattr(baselines, "LIPSCHITZ_DEVIATIONS", 1.4)
    assert baselines.clp(Clip(tower), None, None, None, seed=0) == "1 channels pruned"
    assert tower.bn1.weight.tolist() == [1, 1, 0, 1]
    assert tower.eval()(torch.ones(1, 3, 2, 2))[0, 2] == 0
    monkeypatch.setattr(baselines, "LIPSCHITZ_DEVIATIONS", 1.6)
    assert baselines.clp(Clip(Tower()), None, None, None, seed=0) == "0 channels pruned"


def test_accuracy_counts_images_that_lie_nearest_to_their_class(baselines):
    pixels = torch.zeros(4, 3, 2, 2)
    for place, channel in enumerate((0, 1, 2, 2)):
        pixels[place, channel] = 1
    assert baselines.accuracy_of(Clip(None), pixels, torch.tensor([0, 1, 2, 0]), torch.eye(3)) == 0.75


def test_an_inversion_finds_a_trigger_that_leads_to_its_class(baselines):
    """Mean colours: a mask with a blue pattern makes everything blue."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(32, 3, 4, 4, generator=generator)
    mask, pattern, _ = baselines.inverted(Clip(None), pixels, torch.eye(3), 2, steps=60, generator=generator)
    shown = pixels * (1 - mask) + pattern * mask
    assert (Clip(None).embed_images(shown) @ torch.eye(3)).argmax(1).eq(2).float().mean() > 0.9
