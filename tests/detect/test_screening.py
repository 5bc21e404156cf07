"""Signals of single pairs, worked by hand; four points lie on a line at 0, 1, 3 and 10."""

import math

import pytest
import torch
from torch import Generator

from clipclean.detect import screening
from clipclean.errors import Inconclusive


def near(points, k, group=1000):
    points = torch.as_tensor(points)
    points = points if points.ndim > 1 else points[:, None]
    return screening.neighbourhood(points, k=k, group=group, generator=Generator())


FOUR = [0.0, 1.0, 3.0, 10.0]


def test_neighbours_are_the_nearest_others_with_their_distances():
    found = near(FOUR, 2)
    assert found.places.tolist() == [[1, 2], [0, 2], [1, 0], [2, 1]]
    assert found.distances.tolist() == [[1, 3], [1, 2], [2, 3], [7, 9]]
    assert screening.k_distance(found).tolist() == [3, 2, 3, 9]


def test_the_intrinsic_dimension_is_that_of_the_formula_and_of_a_square_about_two():
    # distances 1 and 3: minus one over the mean of ln(1/3) and ln 1
    assert screening.intrinsic_dimension(near(FOUR, 2))[0].item() == pytest.approx(2 / math.log(3))
    assert screening.intrinsic_dimension(near([0.0] * 3, 2)).tolist() == pytest.approx([1000.0] * 3)  # bounded
    square = near(torch.rand(2000, 2, generator=Generator().manual_seed(0)), 50, group=5000)
    assert screening.intrinsic_dimension(square).mean().item() == pytest.approx(2, abs=0.2)


def test_the_density_ratio_is_that_of_the_formula():
    # of the point at 10: neighbours at 3 and 1, with k-distances 3 and 2 and dimensions 2/ln(3/2) and 2/ln 2
    expected = (2 / math.log(1.5) * math.log(9 / 3) + 2 / math.log(2) * math.log(9 / 2)) / 2
    assert screening.density_ratio(near(FOUR, 2))[3].item() == pytest.approx(expected, rel=1e-5)


def test_the_density_ratio_of_an_even_ring_is_zero_and_a_point_off_it_is_first():
    angles = torch.arange(40) * (2 * math.pi / 40)
    ring = torch.stack([angles.cos(), angles.sin()], dim=1)
    assert screening.density_ratio(near(ring, 4)).abs().max().item() < 1e-3
    assert screening.density_ratio(near(torch.cat([ring, torch.zeros(1, 2)]), 4)).argmax() == 40


def test_groups_keep_pairs_from_being_compared_with_all_and_are_larger_than_k():
    found = near([float(i) for i in range(100)], 3, group=20)
    assert found.distances[:, 0].max() > 1  # next neighbours are mostly in another group
    assert (found.places != torch.arange(100)[:, None]).all()
    assert near([float(i) for i in range(7)], 3, group=2).distances.isfinite().all()
    with pytest.raises(Inconclusive, match="4 pairs"):
        near(FOUR, 4)


SAME, OTHER, OPPOSITE = [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]
LOOKS = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])  # their mean is zero


def test_disagreement_is_one_minus_the_cosine_and_resemblance_the_largest_one():
    found = screening.disagreement(torch.tensor([SAME, SAME, SAME]), torch.tensor([SAME, OTHER, OPPOSITE]))
    assert found.tolist() == [0, 1, 2]
    assert screening.resemblance(torch.tensor([SAME, OTHER]), torch.tensor([SAME, OPPOSITE])).tolist() == [1, 0]


def test_thumbnails_of_all_sizes_are_of_one_length():
    assert screening.thumbnails(torch.ones(2, 3, 32, 32)).shape == (2, 192)
    assert torch.equal(screening.thumbnails(torch.ones(1, 3, 40, 40)), torch.ones(1, 192))


@pytest.mark.parametrize(
    ("captions", "looks", "against", "repeated"),
    [
        # Opposite images count 1, orthogonal ones a half; the last caption is nobody else's.
        ([SAME, SAME, SAME, OTHER], LOOKS, range(4), [1.5, 1.5, 1.0, 0.0]),
        # A caption repeated on one image does not count.
        ([SAME, SAME, OTHER], torch.tensor([[1.0, 0.0], [1.0, 0.0], [-2.0, 0.0]]), range(3), [0, 0, 0]),
        # Only references count, and never the pair itself.
        ([SAME, SAME, SAME, SAME], LOOKS, [0], [0, 1, 0.5, 0.5]),
    ],
)
def test_a_caption_counts_as_often_as_it_is_repeated_on_images_unlike(captions, looks, against, repeated):
    found = screening.repetition(torch.tensor(captions), looks, alike=0.95, against=torch.tensor([*against]))
    assert found.tolist() == pytest.approx(repeated)


def test_gathering_is_the_likeness_of_captions_times_the_unlikeness_of_images():
    images = torch.tensor([[1.0, 0.0], [0.99, 0.141], [0.0, 1.0], [-0.141, 0.99]])
    captions = torch.tensor([SAME, SAME, OTHER, [0.0, -1.0]])
    found = screening.gathering(images, captions, LOOKS, near=1, against=torch.arange(4))
    # the first two are nearest to each other, say the same, and look opposite: 1 · 1
    assert found[:2].tolist() == pytest.approx([1, 1])
    assert (found[2:] < 0.5).all()


def test_references_are_all_pairs_or_a_sample_of_them():
    assert screening.references(5, most=9, generator=Generator()).tolist() == [0, 1, 2, 3, 4]
    some = screening.references(50, most=9, generator=Generator())
    assert len(set(some.tolist())) == 9
    assert some.max() < 50


def test_instability_is_the_mean_distance_to_the_mirror_image_and_a_blur_that_keeps_the_mean():
    pixels = torch.rand(1, 3, 32, 32, generator=Generator().manual_seed(0))
    mirrored, blurred = screening.views(pixels)
    assert torch.equal(mirrored[..., 0], pixels[..., -1])
    assert blurred.var() < pixels.var() / 4
    torch.testing.assert_close(screening.views(torch.full((1, 3, 32, 32), 0.3))[1], torch.full((1, 3, 32, 32), 0.3))
    images, views = torch.tensor([SAME, SAME]), torch.tensor([[SAME, OTHER], [SAME, OPPOSITE]])
    assert screening.instability(images, views).tolist() == [0, 1.5]


# One order of all signals.


def test_the_tail_is_the_share_that_scores_as_high_on_any_scale():
    assert screening.tail(torch.tensor([1.0, 3.0, 2.0, 3.0])).tolist() == [1, 0.5, 0.75, 0.5]
    values = torch.rand(20, generator=Generator().manual_seed(0))
    assert torch.equal(screening.tail(values), screening.tail(values.exp() * 100))


def test_the_surprise_is_the_weighted_sum_of_logarithms_and_equal_signals_change_nothing():
    signals = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([2.0, 1.0])}
    # the second is first in a: -2 ln(1/2); the first is first in b: -1 ln(1/2)
    found = screening.surprise(signals, {"a": 2.0, "b": 1.0})
    assert found.tolist() == pytest.approx([math.log(2), 2 * math.log(2)])
    weights = {"a": 2.0, "b": 1.0, "c": 1.0}
    assert torch.equal(found, screening.surprise(signals | {"c": torch.zeros(2)}, weights))


@pytest.mark.parametrize(
    ("score", "deviations", "most", "count"),
    [
        # median 3, deviations 2 1 0 1 97: their median is 1, so one deviation is 1.4826
        ([1.0, 2.0, 3.0, 4.0, 100.0], 4, 1, 1),
        ([1.0, 2.0, 3.0, 4.0, 100.0], 70, 1, 0),
        ([i / 90 for i in range(90)] + [50.0] * 10, 4, 1, 10),
        ([i / 90 for i in range(90)] + [50.0] * 10, 4, 0.05, 5),  # never more than the bound
    ],
)
def test_outliers_are_far_above_the_median(score, deviations, most, count):
    score = torch.tensor(score)
    found = screening.outliers(score, deviations=deviations, most=most)
    assert int(found.sum()) == count
    assert all(each >= score[~found].max() for each in score[found])


def test_the_first_are_those_with_the_highest_score_and_of_equal_ones_the_earlier():
    assert screening.first(torch.tensor([1.0, 2.0, 2.0, 2.0]), 2).tolist() == [False, True, True, False]
    assert not screening.first(torch.tensor([1.0]), 0).any()


def test_a_conformal_value_is_the_share_of_trusted_scores_that_are_as_high_itself_counted():
    # of three trusted scores two are at least 0.5, one is at least 2, and none 9: (2 + 1) / 4, (1 + 1) / 4, 1 / 4
    found = screening.conformal(torch.tensor([0.5, 2.0, 9.0]), torch.tensor([1.0, 2.0, 0.0]))
    assert found.tolist() == [0.75, 0.5, 0.25]


def test_of_clean_pairs_no_more_than_the_stated_share_is_dropped_on_average():
    """400 sets of 50 pairs and 99 trusted ones of the same origin: 20,000 pairs of which 5 % are 1,000, whose spread over sets is 23."""
    rng = Generator().manual_seed(0)
    dropped = 0
    for _ in range(400):
        scores = torch.randn(149, generator=rng).exp()
        dropped += int((screening.conformal(scores[:50], scores[50:]) <= 0.05).sum())
    assert 850 < dropped < 1150
