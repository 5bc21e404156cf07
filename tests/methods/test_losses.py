import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clipclean import train
from clipclean.methods import losses
from clipclean.methods.losses import Parts, Weights, preserving
from clipclean.train import Batch

EAST, NORTH, WEST = (torch.tensor(v, dtype=torch.float32) for v in ((1, 0), (0, 1), (-1, 0)))


def batch(**inputs):
    return Batch({name: torch.stack(list(rows)) for name, rows in inputs.items()}, ("a", "b"))


def same(embeddings):
    return embeddings


def turned(embeddings):
    """A quarter turn: squared distance 2 to where unit embeddings were."""
    return torch.stack([-embeddings[:, 1], embeddings[:, 0]], dim=1)


def test_the_squared_distance_is_two_minus_two_cosines():
    a, b = (F.normalize(torch.randn(5, 3, generator=torch.Generator().manual_seed(n)), dim=1) for n in (0, 1))
    assert train.squared_distance(a, b).item() == pytest.approx((2 - 2 * (a * b).sum(1)).mean().item(), rel=1e-6)
    assert train.squared_distance(torch.stack([EAST, EAST]), torch.stack([EAST, WEST])) == 2  # (0 + 4) / 2


# Preservation.


def test_preservation_adds_the_weighted_distance_of_clean_images_to_any_loss():
    loss = preserving(lambda batch: {"loss": torch.tensor(1.0)}, turned, same, weight=3.0)
    parts = loss(batch(pixels=(EAST, NORTH)))
    assert {name: value.item() for name, value in parts.items()} == {"loss": 1 + 3 * 2, "preservation": 2}


def test_no_weight_leaves_the_loss_as_it_is():
    def own(batch):
        return {}

    assert preserving(own, same, same, weight=0.0) is own


# Forgetting.


def test_forgetting_is_the_weighted_sum_of_three_distances_to_the_originals_clean_embeddings():
    loss = losses.forgetting(same, same, preserve_weight=2.0, restore_weight=0.5)
    parts = loss(batch(pixels=(EAST, EAST), newest=(NORTH, EAST), earlier=(WEST, WEST)))
    # clean 0; newest (2 + 0) / 2 = 1; earlier 4  ->  2 * 0 + (1 + 4) / 2
    assert parts["loss"].item() == 2.5
    assert (parts["preservation"].item(), parts["restoration"].item()) == (0, 2.5)


def test_forgetting_brings_triggered_images_back_and_leaves_clean_ones():
    """A linear tower sees the third number of an image, the trigger, and must learn not to."""
    tower, original = nn.Linear(3, 2, bias=False), torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    tower.weight.data = original + torch.tensor([[0, 0, 2.0], [0, 0, -1.0]])
    pixels = torch.randn(64, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 1.0, 0])
    given = Batch({"pixels": pixels, "newest": pixels + torch.eye(3)[2], "earlier": pixels + 0.5 * torch.eye(3)[2]}, ())
    loss = losses.forgetting(
        lambda x: F.normalize(tower(x), dim=1),
        lambda x: F.normalize(x @ original.T, dim=1),
        preserve_weight=2.0,
        restore_weight=0.5,
    )
    optimizer = torch.optim.Adam(tower.parameters(), lr=0.05)
    first = loss(given)
    for _ in range(200):
        optimizer.zero_grad()
        loss(given)["loss"].backward()
        optimizer.step()
    last = loss(given)
    assert last["restoration"] < 0.02 * first["restoration"]
    assert last["preservation"] < 0.01


# Perturb and Recover.


def par(pushed_images, pushed_texts, *, limit=2.15):
    weights = Weights(clip_weight=1.0, push_weight=0.5, push_limit=limit)
    return losses.par(Parts(same, same, lambda: torch.tensor(math.log(2)), weights, (pushed_images, pushed_texts)))


def test_par_is_the_contrastive_loss_minus_half_of_both_distances():
    parts = par(turned, turned)(batch(pixels=(EAST, NORTH), tokens=(EAST, NORTH)))
    # cosines 1 and 0 at scale ln 2: softmax rows are (2/3, 1/3)  ->  L_CLIP = ln 1.5; both distances are 2
    assert parts["clip"].item() == pytest.approx(math.log(1.5), rel=1e-6)
    assert parts["loss"].item() == pytest.approx(math.log(1.5) - 0.5 * (2 + 2), rel=1e-6)


def test_a_distance_beyond_the_limit_is_left_out_and_the_other_stays():
    opposite = par(torch.neg, turned)  # images have gone as far as they can: 4
    parts = opposite(batch(pixels=(EAST, NORTH), tokens=(EAST, NORTH)))
    assert (parts["image_push"].item(), parts["text_push"].item()) == (4, 2)
    assert parts["loss"].item() == pytest.approx(math.log(1.5) - 0.5 * 2, rel=1e-6)


def test_a_term_that_is_off_has_no_gradient():
    pixels = torch.stack([EAST, NORTH]).requires_grad_()
    tokens = torch.stack([EAST, NORTH])
    loss = par(torch.neg, same, limit=1.0)(Batch({"pixels": pixels, "tokens": tokens}, ()))["loss"]
    (gradient,) = torch.autograd.grad(loss, pixels)
    alone = train.clip_loss(pixels, tokens, torch.tensor(math.log(2)))
    (wanted,) = torch.autograd.grad(alone, pixels)
    torch.testing.assert_close(gradient, wanted)


# Supervised.


def test_supervised_is_the_cross_entropy_over_the_zero_shot_classifier():
    text_classifier = torch.stack([EAST, NORTH])
    loss = losses.supervised(Parts(same, same, lambda: torch.tensor(math.log(2)), Weights(), None, text_classifier))
    given = batch(pixels=(EAST, NORTH)).inputs | {"labels": torch.tensor([0, 0])}
    # rows (2/3, 1/3) and (1/3, 2/3), both labelled 0
    assert loss(Batch(given, ()))["loss"].item() == pytest.approx((math.log(1.5) + math.log(3)) / 2, rel=1e-6)
