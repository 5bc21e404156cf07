import math

import pytest
import torch
from detect import towers
from torch import Generator

from clipclean.detect import SEARCH_FAMILIES, InvertedTrigger
from clipclean.detect.families import LARGEST_MOVING_PATCH

SIDE = towers.SIDE
names = pytest.mark.parametrize("name", SEARCH_FAMILIES)


def seeded(seed=0):
    return Generator().manual_seed(seed)


def painted(name, images, seed=0, **parameters):
    """One row: images (B, 3, S, S) under parameters without their leading dimension; places drawn from the seed."""
    row = {key: values[None] for key, values in parameters.items()}
    return SEARCH_FAMILIES[name].paint(images[None], row, seeded(seed))[0]


def size(name, **parameters):
    return SEARCH_FAMILIES[name].size({key: values[None] for key, values in parameters.items()}).item()


def logit(share):
    return torch.tensor(math.log(share / (1 - share)))


def full(value, *shape):
    return torch.full(shape, float(value))


def found(name, seed=0, target="fox"):
    row = SEARCH_FAMILIES[name].begin(1, SIDE, seeded(seed))
    return InvertedTrigger(name, target, {key: values[0] for key, values in row.items()}, SIDE)


# What is true of every family.


strengths = pytest.mark.parametrize("strength", [0.0, 1.0, 30.0])


def scaled(family, strength):
    """Three rows of parameters, so many times those that a search begins with."""
    return {key: strength * values for key, values in family.begin(3, SIDE, seeded()).items()}


@names
@strengths
def test_painted_images_are_images(name, strength):
    family = SEARCH_FAMILIES[name]
    images = towers.images(5)[None].expand(3, -1, -1, -1, -1)
    shown = family.paint(images, scaled(family, strength), seeded(1))
    assert shown.shape == images.shape
    assert -1e-6 <= shown.min() <= shown.max() <= 1 + 1e-6


@names
@strengths
def test_sizes_are_within_the_cap(name, strength):
    family = SEARCH_FAMILIES[name]
    sizes = family.size(scaled(family, strength))
    assert sizes.shape == (3,)
    assert ((sizes >= 0) & (sizes <= family.cap)).all()


@names
def test_every_parameter_feels_success_or_size(name):
    family = SEARCH_FAMILIES[name]
    parameters = {key: values.requires_grad_() for key, values in family.begin(2, SIDE, seeded()).items()}
    images = towers.images(4)[None].expand(2, -1, -1, -1, -1)
    (family.paint(images, parameters, seeded(1)).square().sum() + family.size(parameters).log().sum()).backward()
    for values in parameters.values():
        assert values.grad.isfinite().all()
        assert (values.grad != 0).any(dim=tuple(range(1, values.ndim))).all() if values.ndim > 1 else values.grad.all()


@names
def test_rows_do_not_see_each_other(name):
    family = SEARCH_FAMILIES[name]
    one = family.begin(1, SIDE, seeded())
    three = {key: torch.cat([values, values, 0.5 * values]) for key, values in one.items()}
    images = towers.images(6)[None]
    alone = family.paint(images, one, seeded(1))
    together = family.paint(images.expand(3, -1, -1, -1, -1), three, seeded(1))
    assert torch.allclose(together[0], alone[0], atol=1e-6)
    assert torch.equal(together[0], together[1])
    assert not torch.equal(together[0], together[2])


@names
def test_each_row_begins_with_its_own_draw_from_the_seed(name):
    first, again = (SEARCH_FAMILIES[name].begin(2, SIDE, seeded(3)) for _ in range(2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(values[0], values[1]) for values in first.values())


# Each family, worked by hand.


def test_a_mask_mixes_its_pattern_in_where_it_lies():
    black, white = torch.zeros(2, 3, SIDE, SIDE), full(20, 3, SIDE, SIDE)
    mask = full(-40, 1, SIDE, SIDE)
    mask[0, :4, :4] = logit(0.25)
    shown = painted("mask", black, mask=mask, pattern=white)
    assert torch.allclose(shown[:, :, :4, :4], torch.tensor(0.25), atol=1e-5)
    assert shown[:, :, 4:].max() < 1e-6
    # a quarter, on 16 of 256 pixels
    assert size("mask", mask=mask, pattern=white) == pytest.approx(0.25 * 16 / 256)


def test_a_blend_weighs_its_pattern_by_its_size():
    white = {"ratio": logit(0.2), "pattern": full(40, 3, SIDE, SIDE)}
    assert torch.allclose(painted("blend", torch.zeros(2, 3, SIDE, SIDE), **white), torch.tensor(0.2))
    assert size("blend", **white) == pytest.approx(0.2)


def test_an_addition_changes_no_pixel_by_more_than_its_size():
    grey = full(0.5, 2, 3, SIDE, SIDE)
    pattern = torch.randn(3, SIDE, SIDE, generator=seeded()) * 9
    change = painted("additive", grey, ratio=logit(0.1), pattern=pattern) - grey
    assert change.abs().max().item() == pytest.approx(0.1)
    assert size("additive", ratio=logit(0.1), pattern=pattern) == pytest.approx(0.1)
    assert painted("additive", torch.ones_like(grey), ratio=logit(0.1), pattern=pattern.abs()).max() == 1  # clipped


WHITE_PATCH = {"mask": full(40, 1, 6, 6), "pattern": full(40, 3, 6, 6)}


def test_a_patch_is_moved_whole_to_every_place():
    assert (round(LARGEST_MOVING_PATCH * SIDE), SIDE) == (6, 16)
    shown = painted("patch", torch.zeros(99, 3, SIDE, SIDE), **WHITE_PATCH)
    assert torch.allclose(shown.mean((1, 2, 3)), torch.tensor(36 / 256), atol=1e-5)
    rows = shown[:, 0].amax(2).argmax(1)  # the first white row of each image
    assert set(rows.tolist()) == set(range(SIDE - 6 + 1))  # all places that there are, the last one too
    assert len(set(zip(rows.tolist(), shown[:, 0].amax(1).argmax(1).tolist(), strict=True))) > 20


def test_the_size_of_a_patch_is_the_share_of_the_image_that_it_covers():
    assert SEARCH_FAMILIES["patch"].cap >= size("patch", **WHITE_PATCH) == pytest.approx(36 / 256)
    for side in (32, 64, 224, 256, 336, 384):  # the square has the size that is told
        square = SEARCH_FAMILIES["patch"].begin(1, side, seeded())["mask"]
        assert square.shape[-1] ** 2 / side**2 == LARGEST_MOVING_PATCH**2


def test_a_search_for_waves_may_start_from_every_wave_of_whole_periods_in_four_phases():
    side, most = 16, 6
    middles = (torch.arange(side) + 0.5) / side
    grey = torch.full((1, 1, 3, side, side), 0.5)
    seen = set()
    for down, block in enumerate(SEARCH_FAMILIES["wave"].starts(side, Generator().manual_seed(0))):
        across = list(range(-most if down else 1, most + 1))
        assert len(block["choice"]) == 4 * len(across)
        changed = (
            SEARCH_FAMILIES["wave"].paint(grey.expand(len(block["choice"]), 1, 3, side, side), block, Generator())
            - grey
        )
        for row, change in enumerate(changed[:, 0, 0]):
            places, phase = across[row // 4], row % 4
            wave = (2 * torch.pi * (down * middles[:, None] + places * middles) + torch.pi * phase / 2).cos()
            alike = torch.corrcoef(torch.stack([change.flatten(), wave.flatten()]))[0, 1]
            assert alike > 0.9
            seen.add((down, places, phase))
    assert len(seen) == 4 * (most + most * (2 * most + 1))


# A found trigger.


@names
def test_a_found_trigger_paints_the_same_whatever_the_batches(name):
    trigger, images, places = found(name), towers.images(9), seeded(2)
    whole = trigger(images, seeded(2))
    parts = torch.cat([trigger(some, places) for some in images.split((1, 5, 3))])
    assert torch.allclose(parts, whole, atol=1e-6)
    assert torch.equal(trigger(images), trigger(images))  # without a generator, too
    assert not torch.equal(whole, images)


@names
def test_a_found_trigger_keeps_the_precision_of_images(name):
    assert found(name)(towers.images(9).double()).dtype == torch.float64


@names
def test_a_found_trigger_says_what_it_is(name):
    trigger = found(name)
    assert trigger.spec == f"found:{name},class=fox"
    assert trigger.size == pytest.approx(size(name, **trigger.parameters))
    assert f"{100 * trigger.size:.2g} %" in trigger.size_words


@names
def test_a_found_trigger_takes_images_of_its_side_alone(name):
    trigger = found(name)
    with pytest.raises(ValueError, match=rf"{trigger.spec}.*24"):
        trigger(torch.zeros(1, 3, 24, 24))
