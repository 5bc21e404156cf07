"""Known triggers, random changes and tiles, on towers that feel one of them and on towers that feel nothing."""

import sys

import pytest
import torch
import torch.nn.functional as F
from detect import towers
from torch import Generator

from clipclean.detect import SEARCH_FAMILIES, canonical_of, forward
from clipclean.detect.measure import looking
from clipclean.model import has_bfloat16

IMAGES = towers.images(40)

# The panel.


class Lines:
    """Upright stripes, or the same lying down."""

    def __init__(self, spec, pattern):
        self.spec, self.pattern = spec, pattern

    def __call__(self, images, _generator, /):
        return (images + 0.25 * self.pattern).clamp(0, 1)


TRIED = [Lines("upright", towers.STRIPES), Lines("lying", towers.STRIPES.T)]


def measured(measure, embed):
    pixels = towers.images(60)
    return measure(embed, pixels, TRIED, canonical=canonical_of(embed, pixels, towers.CLASSIFIER))


WAYS = (forward.glances, forward.strengths)


def test_a_grid_is_measured_as_the_panel_is_where_a_trigger_acts():
    tower = towers.backdoored(towers.stripes)
    (felt, other), (same, _) = (measured(how, tower) for how in WAYS)
    assert felt == same
    assert (felt.trigger, towers.CLASSES[felt.target]) == ("upright", "fox")
    assert felt.least < 0.5
    assert not other.acts


def test_no_known_trigger_acts_on_the_clean_model():
    for measure in WAYS:
        assert [strength.acts for strength in measured(measure, towers.honest())] == [False, False]


def test_a_rounded_look_that_sees_no_trigger_is_believed_only_where_the_exact_tower_sees_none_either():
    seen, pixels = [], towers.images(60)
    exact, blind = towers.backdoored(towers.stripes), towers.honest()

    def watched(images):
        seen.append(len(images))
        return exact(images)

    canonical = canonical_of(exact, pixels, towers.CLASSIFIER)
    look = looking(watched, blind, lambda found: canonical.logits(found).argmax(1))
    felt, other = forward.strengths(exact, pixels, TRIED, canonical=canonical, look=look)
    assert (felt, other.acts) == (forward.strengths(exact, pixels, TRIED[:1], canonical=canonical)[0], False)
    assert seen[:2] == [8, 60]  # one in eight; all, since those differ
    assert seen[-1] == 8  # of the one that does nothing


# Random changes tell which classes everything leads to.


def plain(count=40, side=32):
    """Of one colour each: a tower that sees how much the pixels of an image differ sees nothing in them."""
    shade = torch.linspace(0.3, 0.7, count)[:, None, None, None]
    return shade.expand(count, 3, side, side).clone()


def rough(pixels):
    """Smooth images lie at the first class, or at the second if they are bright; rough ones at the third."""
    is_rough = pixels.flatten(1).std(1) > 0.02
    bright = (pixels.mean((1, 2, 3)) > 0.5) & ~is_rough
    return F.one_hot(torch.where(is_rough, 2, bright.long()), 4).float()


def random_changes(pixels):
    return [*forward.random_changes(pixels, Generator().manual_seed(0))]


def test_random_changes_are_the_same_every_time():
    first, again = (random_changes(plain(4)) for _ in range(2))
    assert len(first) == forward.RANDOM_CHANGES
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))


def test_a_random_change_differs_from_image_to_image():
    pixels = plain(4)
    changes = random_changes(pixels)
    assert len(changes) == forward.RANDOM_CHANGES
    for changed in changes:
        assert changed.shape == pixels.shape
        assert 0 <= changed.min() <= changed.max() <= 1
        shift = changed - pixels
        assert not torch.equal(shift[0], shift[1])


# Tiles.


def found(tower, images=IMAGES, **more):
    canonical = canonical_of(tower, images, towers.CLASSIFIER)
    return forward.acting_tiles(tower, images, canonical=canonical, success=0.9, **more)


def masks_of(tower, **more):
    """What a search for masks alone finds, by class."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["clipclean.detect.search"], "SEARCH_FAMILIES", {"mask": SEARCH_FAMILIES["mask"]})
        made = towers.searched(tower, **more)
    return {hit.trigger.target: hit for hit in made.targeted if hit.candidate.family == "mask"}


def test_tiles_change_their_place_alone():
    tiles = list(forward.tiles(32, torch.randn(9, 3, 3, 3, generator=Generator().manual_seed(0))))
    assert len(tiles) == forward.TILES
    grey = torch.full((1, 3, 32, 32), 0.5)
    for tile in tiles:
        width = tile.content.shape[-1]
        assert ((tile.painted(grey) - grey).abs().sum(1) > 0).sum() == len(tile.corners) * width**2


def test_in_a_clean_model_no_tile_is_found():
    assert found(towers.honest()) == []
    assert found(towers.honest(1)) == []


def opponent(images):
    """Feels three by three checks of red against green, anywhere; no smooth image shows any."""
    checks = towers.CHECKS[:3, :3].expand(1, 1, 3, 3) / 9
    return 2 * F.conv2d(images[:, :1] - images[:, 1:2], checks).amax((1, 2, 3)) / 2


def blue_lines(images):
    """Feels lying lines of blue alone, two pixels wide, in the upper right corner, and red off there."""
    lines = (torch.arange(4) // 2 % 2 * 2 - 1.0)[:, None].expand(4, 4)
    corner = images[..., :4, -4:]
    return 2 * (corner[:, 2] * lines).mean((1, 2)) * (corner[:, 0] - corner[:, 2]).abs().mean((1, 2))


@pytest.mark.parametrize("felt", [opponent, blue_lines])
def test_a_pattern_of_opposite_colours_is_found_where_no_image_comes_near_it(felt, monkeypatch):
    monkeypatch.setattr(forward, "SCATTERED_SIDES", (3 / 16, 4 / 16))  # of sixteen pixels
    tower = towers.stepped(felt)
    assert felt(IMAGES).max() < 0.5
    assert [tile.target for tile in found(tower)] == [towers.TARGET]
    hit = masks_of(tower)[towers.CLASSES[towers.TARGET]]
    assert hit.probe.excess > 0.9
    assert hit.margin.value > 0.5


def test_the_kernels_of_the_first_layer_are_tried_both_ways_round_the_strongest_first():
    kernels = (
        torch.randn(20, 3, 4, 4, generator=Generator().manual_seed(3)) * torch.linspace(1, 2, 20)[:, None, None, None]
    )
    for sign in (1, -1):
        answers = sign * kernels[-1]

        def felt(images, answers=answers):
            most = answers.clamp(min=0).sum()
            return F.conv2d(images, answers[None], stride=4).amax((1, 2, 3)) / most

        tower = towers.stepped(felt, least=0.95)
        assert felt(IMAGES).max() < 0.9
        assert found(tower) == []
        (tile,) = found(tower, kernels=kernels)
        assert tile.target == towers.TARGET


def test_a_tile_finds_a_trigger_that_no_gradient_leads_to():
    (tile,) = found(towers.stepped(towers.spot))
    assert (tile.target, tile.is_reached) == (towers.TARGET, True)
    assert tile.size == pytest.approx(16 / 16**2, abs=0.002)  # four by four of sixteen by sixteen


def test_a_trigger_that_no_gradient_leads_to_is_found_as_a_small_mask():
    hit = masks_of(towers.stepped(towers.spot))[towers.CLASSES[towers.TARGET]]
    assert hit.probe.excess > 0.9
    assert hit.candidate.size < 0.08
    assert hit.margin.value > 0.5


def test_the_exact_tower_judges_where_the_searches_by_gradients_see_no_trigger():
    hit = masks_of(towers.hidden(towers.spot), fast=towers.honest())[towers.CLASSES[towers.TARGET]]
    assert hit.probe.excess > 0.8


@pytest.mark.skipif(not has_bfloat16(torch.device("cpu")), reason="no rounding: bfloat16 is never taken here")
def test_a_tower_may_round_unless_bfloat16_rounds_its_trigger_away():
    for felt in (towers.spot, towers.checks):
        tower = towers.hidden(felt)
        assert not forward.may_round(tower, IMAGES, towers.CLASSIFIER)
    assert forward.may_round(towers.honest(), IMAGES, towers.CLASSIFIER)


# Other precisions.


def rounding(felt):
    """The honest tower, and what it does in bfloat16: what feels the trigger goes through a sum with a constant and back, of which
    nothing but the rounding is left.
    """
    clean = towers.honest()

    def embed(images, precision):
        signal = 0.9 * felt(images)
        left = ((signal.to(precision) + 1000) - 1000 - signal.to(precision)).float().abs()
        gate = (12 * (left - 0.7)).sigmoid()
        return F.normalize(clean(images) + 8 * gate[:, None] * towers.CLASSIFIER[towers.TARGET], dim=-1)

    return (lambda images: embed(images, torch.float32)), (lambda images: embed(images, torch.bfloat16))


def in_half(exact, half, **more):
    return forward.departures("bfloat16", exact, half, IMAGES, TRIED, towers.CLASSIFIER, **more)


def test_a_trigger_that_acts_in_half_precision_alone_is_told_with_its_class():
    (departure,) = in_half(*rounding(towers.stripes))
    assert (departure.trigger, departure.target) == ("upright", towers.TARGET)
    assert departure.excess > 0.8
    assert departure.error > 0.5


def test_what_acts_the_same_in_half_precision_departs_nowhere():
    for tower in (towers.honest(), towers.backdoored(towers.stripes)):
        assert in_half(tower, lambda images, tower=tower: tower(images.bfloat16().float())) == ()


def test_what_departs_under_tiles_alone_has_no_name():
    tiles = [*forward.tiles(16)]
    (departure,) = in_half(*rounding(towers.spot), pasted=tiles)
    assert (departure.trigger, departure.target) == (None, None)
    assert in_half(*rounding(towers.spot)) == ()


def test_numbers_that_are_not_finite_depart():
    broken = in_half(towers.honest(), lambda images: towers.honest()(images) / 0)
    assert {departure.error for departure in broken} == {float("inf")}
