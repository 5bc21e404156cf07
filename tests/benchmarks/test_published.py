"""Published statistics, worked by hand and on towers that a planted mark collapses."""

import math

import pytest
import torch
import torch.nn.functional as F
from detect import towers


@pytest.fixture(scope="module")
def published(script):
    return script("published")


def test_likeness_is_the_mean_cosine_of_different_pairs(published):
    east, north = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    # pairs: east-east 1, east-north 0, east-north 0
    assert published.likeness(torch.stack([east, east, north])).item() == pytest.approx(1 / 3)
    assert published.likeness(torch.stack([east, -east])).item() == pytest.approx(-1)
    assert published.likeness(torch.stack([north] * 4)).item() == pytest.approx(1)


def test_the_anomaly_index_is_the_distance_below_the_median_in_deviations(published):
    # median 10, absolute deviations 8, 1, 0, 1, 2: their median is 1
    assert published.anomaly_index([2, 9, 10, 11, 12]) == pytest.approx(8 / 1.4826)
    assert math.isnan(published.anomaly_index([5, 5, 5, 1]))  # no deviation
    assert math.isnan(published.anomaly_index([1, 2]))


def test_the_sizes_of_masks_are_read_from_a_report(published):
    rows = [{"family": "mask", "size": 0.1}, {"family": "warp", "size": 0.2}, {"family": "mask", "size": None}]
    told = {"measurements": {"search": {"found": rows, "controls": [{"family": "mask", "size": 0.3}]}}}
    assert published.mask_sizes(told) == [0.1, 0.3]
    assert published.mask_sizes({"measurements": {"search": {}}}) == []


def test_the_displacement_is_the_mean_cosine_of_an_image_to_its_triggered_copy(published):
    def embed(images):  # the mean colour, as a direction
        return F.normalize(images.mean((2, 3)), dim=-1)

    red, green = torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    red[:, 0], green[:, 1] = 1, 1
    both = torch.cat([red, green])
    # red stays red: 1; green becomes red: 0
    assert published.displacement(embed, both, lambda images: red.expand(len(images), -1, -1, -1)) == pytest.approx(0.5)


def test_a_mask_covers_what_it_says(published):
    mask, pattern = torch.zeros(1, 4, 4), torch.ones(3, 4, 4)
    mask[:, 0] = 1
    made = published.Collapse(mask, pattern, True)
    assert made.share == 0.25
    assert made(torch.zeros(2, 3, 4, 4)).mean().item() == pytest.approx(0.25)


def test_a_planted_corner_collapses_under_a_smaller_mask_than_a_clean_model_needs(published):
    images = towers.images(64)
    bad, good = (
        published.collapsed(tower, images, is_regularised=True, seed=0, steps=200)
        for tower in (towers.backdoored(towers.corner), towers.honest())
    )
    assert bad.is_reached
    assert bad.share < 0.6 * (good.share if good.is_reached else 1.0)


def test_without_a_regulariser_the_first_collapse_ends_the_search(published):
    images, calls = towers.images(64), []

    def flat(images):  # all images are one to it, whatever is on them
        calls.append(len(images))
        return torch.ones(len(images), 4) / 2 + 0 * images.mean()

    assert published.collapsed(flat, images, is_regularised=False, seed=0).is_reached
    assert len(calls) == 1
    same = [published.of_encoder(towers.backdoored(towers.corner), images, seed=3) for _ in range(2)]
    assert same[0] == same[1]
    assert 0 < same[0]["decree"] <= 1
    assert -1 <= same[0]["cosine"] <= 1
