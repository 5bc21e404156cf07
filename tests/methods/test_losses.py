"""Every loss, worked by hand or written out as its paper has it."""

import math

import pytest
import torch
import torch.nn.functional as F

from clipclean import train
from clipclean.methods import losses
from clipclean.methods.losses import LossInputs, LossWeights, preserving
from clipclean.train import Batch, clip_loss, self_supervised_loss

EAST, NORTH, WEST = (torch.tensor(v, dtype=torch.float32) for v in ((1, 0), (0, 1), (-1, 0)))
LN_2 = torch.tensor(math.log(2))
NAMES = ("pixels", "pixel_views", "tokens", "token_views")


def batch(**inputs):
    return Batch({name: torch.stack(list(rows)) for name, rows in inputs.items()}, ("a", "b"))


def same(embeddings):
    return embeddings


def turned(embeddings):
    """A quarter turn: squared distance 2 to where unit embeddings were."""
    return torch.stack([-embeddings[:, 1], embeddings[:, 0]], dim=1)


def unit(seed, n=5, d=7):
    return F.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=1)


def test_the_contrastive_loss_of_two_pairs_is_that_by_hand():
    torch.testing.assert_close(clip_loss(torch.eye(2), torch.eye(2), LN_2), torch.tensor(math.log(1.5)))


def test_the_order_of_pairs_changes_no_contrastive_loss():
    rows = [unit(k) for k in range(4)]
    mixed, scale = [each[torch.tensor([3, 0, 4, 1, 2])] for each in rows], torch.tensor(5.0)
    torch.testing.assert_close(clip_loss(rows[0], rows[2], scale), clip_loss(mixed[2], mixed[0], scale))
    torch.testing.assert_close(self_supervised_loss(*(*rows, scale)), self_supervised_loss(*(*mixed, scale)))


def test_contrastive_losses_are_those_of_the_papers_formulas():
    """Bansal et al. 2023, equations 1 and 2, as nested loops over exp and log: no softmax, no matrix product."""
    images, image_views, texts, text_views = (unit(k) for k in range(4))
    n, tau = len(images), 0.07

    def similar(a, b):
        return math.exp(sum(float(x) * float(y) for x, y in zip(a, b, strict=True)) / tau)

    def find(queries, keys):
        sums = [sum(similar(query, key) for key in keys) for query in queries]
        return sum(math.log(similar(queries[i], keys[i]) / sums[i]) for i in range(n))

    across = -(find(images, texts) + find(texts, images)) / (2 * n)
    within = -(find(images, image_views) + find(texts, text_views)) / (2 * n)
    scale = torch.tensor(1 / tau, dtype=torch.float64)
    assert abs(float(clip_loss(images, texts, scale)) - across) < 1e-5
    assert abs(float(self_supervised_loss(images, image_views, texts, text_views, scale)) - within) < 1e-5
    # the in-modal loss is one-directional: views as queries give another number
    assert abs(float(self_supervised_loss(image_views, images, text_views, texts, scale)) - within) > 1e-3


SCALE, SIX = torch.tensor(7.0), {name: unit(number, 6, 8) for number, name in enumerate(NAMES)}


def cleanclip(encode):
    """The loss of six pairs, where both towers are this function."""
    weights = LossWeights(clip_weight=0.5, self_supervised_weight=4.0)
    return losses.cleanclip(LossInputs(encode, encode, lambda: SCALE, weights))(Batch(SIX, tuple("abcdef")))["loss"]


def test_cleanclip_is_the_weighted_sum_of_both_losses():
    a, b, c, d = SIX.values()
    expected = 0.5 * clip_loss(a, c, SCALE) + 4 * self_supervised_loss(a, b, c, d, SCALE)
    torch.testing.assert_close(cleanclip(same), expected)


def test_originals_go_through_each_tower_together_with_their_views():
    sizes = []

    def encode(x):
        sizes.append(len(x))
        return x

    cleanclip(encode)
    assert sizes == [12, 12]


def test_distances_are_two_minus_two_cosines():
    a, b = unit(0), unit(1)
    assert train.squared_distance(a, b).item() == pytest.approx((2 - 2 * (a * b).sum(1)).mean().item(), rel=1e-6)
    assert train.squared_distance(torch.stack([EAST, EAST]), torch.stack([EAST, WEST])) == 2  # (0 + 4) / 2


def own(batch):
    return {"loss": torch.tensor(1.0)}


def test_preservation_is_added_to_any_loss():
    parts = preserving(own, turned, same, weight=3.0)(batch(pixels=(EAST, NORTH)))
    assert {name: value.item() for name, value in parts.items()} == {"loss": 1 + 3 * 2, "preservation": 2}


def test_a_loss_that_preserves_nothing_stays_the_same_function():
    assert preserving(own, same, same, weight=0.0) is own


def test_forgetting_is_the_sum_of_three_distances():
    loss = losses.unlearning_loss(turned, same, LossWeights(preserve_weight=2.0, restore_weight=0.5))
    parts = loss(batch(pixels=(EAST, EAST), newest=(NORTH, EAST), earlier=(WEST, WEST)))
    # turned: clean 2; newest is west and north, (4 + 2) / 2 = 3; earlier is south, 2  ->  2 * 2 + (3 + 2) / 2
    assert [parts[name].item() for name in ("loss", "preservation", "restoration")] == [6.5, 2, 2.5]
    loss = losses.unlearning_loss(turned, same, LossWeights(preserve_weight=2.0, restore_weight=0.5), sections=2)
    parts = loss(batch(pixels=(EAST, EAST), newest=(NORTH, EAST)))
    assert [parts[f"newest/{section}"].item() for section in (0, 1)] == [4, 2]  # an image each


@pytest.mark.parametrize(
    ("base", "left"),
    [
        (same, 0.0),  # north, where the base sees north as well
        (lambda pixels: EAST.expand_as(pixels), 2.0),  # the base sees no trigger, so east is wanted: 2 - 2 cos 90°
        (turned, 4.0),  # east becomes north there, and north west: east + west - north is south
    ],
)
def test_beside_a_base_images_belong_as_far_from_the_clean_ones_as_their_trigger_moves_them_there(base, left):
    loss = losses.unlearning_loss(same, same, LossWeights(preserve_weight=2.0, restore_weight=0.5), base=base)
    parts = loss(batch(pixels=(EAST, EAST), newest=(NORTH, NORTH)))
    assert [parts[name].item() for name in ("preservation", "restoration")] == [0, pytest.approx(left)]


def test_no_gradient_goes_into_a_base():
    weight = torch.ones(2, requires_grad=True)
    loss = losses.unlearning_loss(
        lambda x: weight * x, same, LossWeights(restore_weight=0.5), base=lambda x: weight * x
    )
    parts = loss(batch(pixels=(EAST, EAST), newest=(NORTH, NORTH)))
    frozen = losses.unlearning_loss(lambda x: weight * x, same, LossWeights(restore_weight=0.5), base=same)
    expected = frozen(batch(pixels=(EAST, EAST), newest=(NORTH, NORTH)))
    grads = [torch.autograd.grad(each["loss"], weight)[0] for each in (parts, expected)]
    assert torch.equal(*grads)


def test_distilling_compares_all_images_with_the_originals_clean_ones():
    weights = LossWeights(preserve_weight=2.0, restore_weight=0.5)
    loss = losses.distill(LossInputs(same, same, lambda: LN_2, weights, (same, same), used=turned))
    parts = loss(batch(pixels=(EAST, EAST), disturbed=(NORTH, EAST), tokens=(EAST, EAST)))
    # as in forgetting, and captions have no part in it: 2 * 2 + 2 * 0.5 * (4 + 2) / 2
    assert [parts[name].item() for name in ("loss", "preservation", "restoration")] == [7, 2, 3]


def par(pushed_images, pushed_texts, *, limit=2.15):
    weights = LossWeights(clip_weight=1.0, push_weight=0.5, push_limit=limit)
    return losses.par(LossInputs(same, same, lambda: LN_2, weights, (pushed_images, pushed_texts)))


@pytest.mark.parametrize(
    ("images", "distance", "pushed"),
    [
        (turned, 2, 2 + 2),
        (torch.neg, 4, 2),  # they have gone as far as they can: beyond the limit, and left out
    ],
)
def test_par_is_the_contrastive_loss_minus_half_of_both_distances_up_to_a_limit(images, distance, pushed):
    parts = par(images, turned)(batch(pixels=(EAST, NORTH), tokens=(EAST, NORTH)))
    # cosines 1 and 0 at scale ln 2: softmax rows are (2/3, 1/3)  ->  L_CLIP = ln 1.5
    assert (parts["image_push"].item(), parts["text_push"].item()) == (distance, 2)
    assert parts["loss"].item() == pytest.approx(math.log(1.5) - 0.5 * pushed, rel=1e-6)
    # a term that is off has no gradient
    pixels, tokens = torch.stack([EAST, NORTH]).requires_grad_(), torch.stack([EAST, NORTH])
    loss = par(torch.neg, same, limit=1.0)(Batch({"pixels": pixels, "tokens": tokens}, ()))["loss"]
    (gradient,) = torch.autograd.grad(loss, pixels)
    (wanted,) = torch.autograd.grad(train.clip_loss(pixels, tokens, LN_2), pixels)
    torch.testing.assert_close(gradient, wanted)


def test_supervised_is_the_cross_entropy_over_the_zero_shot_classifier():
    loss = losses.supervised(LossInputs(same, same, lambda: LN_2, LossWeights(), None, torch.stack([EAST, NORTH])))
    given = batch(pixels=(EAST, NORTH)).inputs | {"labels": torch.tensor([0, 0])}
    # rows (2/3, 1/3) and (1/3, 2/3), both labelled 0
    assert loss(Batch(given, ()))["loss"].item() == pytest.approx((math.log(1.5) + math.log(3)) / 2, rel=1e-6)
