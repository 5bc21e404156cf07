"""Random changes of whole images."""

import pytest
import torch

from clipclean.data import disturb, disturbances
from clipclean.data.disturbances import DISTURBANCES


def drawn(seed):
    return torch.Generator().manual_seed(seed)


def images(count, side=32):
    return torch.rand(count, 3, side, side, generator=drawn(5))


def test_a_disturbance_is_that_of_its_seed():
    first, again, other = (disturb(images(64), generator=drawn(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_every_image_is_changed():
    shown = images(64)
    changed = disturb(shown, generator=drawn(1))
    assert changed.shape == shown.shape
    assert ((changed - shown).abs().flatten(1).amax(1) > 0.001).all()


def test_changed_images_stay_in_range():
    changed = disturb(images(64), generator=drawn(1))
    assert 0 <= changed.min() <= changed.max() <= 1


def test_a_disturbance_leaves_its_input_alone():
    shown = images(64)
    before = shown.clone()
    for seed in (1, 2):
        disturb(shown, generator=drawn(seed))
    assert torch.equal(shown, before)


@pytest.mark.parametrize("way", DISTURBANCES, ids=lambda way: way.__name__)
def test_an_image_is_changed_by_itself_alone(way):
    # Of several processes each has other images beside it, and must show what one process shows.
    shown, others = images(6), images(6)
    others[3:] = 0
    alike = [way(each, drawn(3))[:3] for each in (shown, others)]
    assert torch.equal(*alike)


@pytest.mark.parametrize("side", [16, 32, 64])
def test_images_of_any_side_are_changed(side):
    assert disturb(images(32, side), generator=drawn(0)).shape == (32, 3, side, side)


def test_one_square_of_at_most_a_tenth_is_covered():
    shown = images(64)
    changed = (disturbances._covered(shown, drawn(1)) != shown).any(1)  # one of the ways
    area = changed.float().mean((1, 2))
    assert 0 < area.min() <= area.max() <= 0.1
    sides = [(rows.any(1).sum(), rows.any(0).sum()) for rows in changed]
    assert all(
        abs(int(down) - int(across)) <= 1 and rows.sum() == down * across
        for rows, (down, across) in zip(changed, sides, strict=True)
    )
