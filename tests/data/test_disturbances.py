"""Random changes of whole images."""

import pytest
import torch

from clipclean.data import disturb, disturbances
from clipclean.data.disturbances import DISTURBANCES


def drawn(seed):
    return torch.Generator().manual_seed(seed)


def images(count, side=32):
    return torch.rand(count, 3, side, side, generator=drawn(5))


def test_every_image_is_changed_stays_in_range_and_the_seed_decides():
    shown = images(64)
    before = shown.clone()
    first, again, other = (disturb(shown, generator=drawn(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(shown, before)
    assert first.shape == shown.shape
    assert 0 <= first.min() <= first.max() <= 1
    assert ((first - shown).abs().flatten(1).amax(1) > 0.001).all()


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


def test_a_square_covers_at_most_a_tenth_and_leaves_the_rest():
    shown = images(64)
    changed = (disturbances._covered(shown, drawn(1)) != shown).any(1)  # one of the ways
    area = changed.float().mean((1, 2))
    assert 0 < area.min() <= area.max() <= 0.1
    sides = [(rows.any(1).sum(), rows.any(0).sum()) for rows in changed]
    assert all(
        abs(int(down) - int(across)) <= 1 and rows.sum() == down * across
        for rows, (down, across) in zip(changed, sides, strict=True)
    )
