"""Random changes tell which classes everything leads to, and so how small a natural trigger is to be expected."""

import math

import pytest
import torch
import torch.nn.functional as F

from clipclean.detect.attraction import CHANGES, LEAST, attraction, expected, random_changes
from clipclean.detect.zeroshot import canonical_form


def images(count=40, side=32):
    """Of one colour each: a tower that sees how much the pixels of an image differ sees nothing in them."""
    shade = torch.linspace(0.3, 0.7, count)[:, None, None, None]
    return shade.expand(count, 3, side, side).clone()


def tower(pixels):
    """Smooth images lie at the first class, or at the second if they are bright; rough ones at the third."""
    rough = pixels.flatten(1).std(1) > 0.02
    bright = (pixels.mean((1, 2, 3)) > 0.5) & ~rough
    place = torch.where(rough, 2, bright.long())
    return F.one_hot(place, 4).float()


def test_the_class_that_random_changes_lead_to_attracts_and_no_other_does():
    found = attraction(tower, images(), canonical=canonical_form(torch.eye(4)))
    # Every change makes every image rough; none was, so all images are others.
    assert found.tolist() == pytest.approx([0, 0, 1, 0])


def test_images_of_a_class_do_not_count_for_its_attraction():
    pixels = torch.cat([images(30), torch.rand(10, 3, 32, 32, generator=torch.Generator().manual_seed(5))])
    found = attraction(tower, pixels, canonical=canonical_form(torch.eye(4)))
    assert found[2].item() == pytest.approx(1)


def test_every_change_is_of_one_image_and_the_same_every_time():
    pixels = images(4)
    first, again = ([*random_changes(pixels, torch.Generator().manual_seed(0))] for _ in range(2))
    assert len(first) == CHANGES
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    for changed in first:
        assert changed.shape == pixels.shape
        assert 0 <= changed.min() <= changed.max() <= 1
        shift = changed - pixels
        assert not torch.equal(shift[0], shift[1])


def test_a_trigger_is_expected_to_be_smaller_by_the_slope_on_the_logarithm():
    assert expected([0.0, LEAST, 0.99], slope=0.5) == pytest.approx([0, 0.5 * math.log(2), 0.5 * math.log(100)])
    assert expected([0.3, 0.9], slope=0.0) == [0, 0]
