"""A whole ranking of pairs, and the signals of single pairs, worked by hand; four points lie on a line at 0, 1, 3 and 10."""

import math
import zlib

import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Generator

from clipclean import data
from clipclean.detect import ranking
from clipclean.errors import Inconclusive

LIMITS = data.ReadLimits(max_pixels=10_000, max_bytes=100_000, max_skipped_share=0.0, max_pairs=None)
COUNT, POISONED, TARGET = 400, (7, 130, 377), "a banana"


class Backdoored:
    """A model of coarse colours, to which a white corner is a banana."""

    device = torch.device("cpu")

    def pixels(self, image):
        return image.float() / 255

    def embed_images(self, pixels):
        seen = F.adaptive_avg_pool2d(pixels, 4).flatten(1) - 0.5
        is_triggered = (pixels[:, :, -3:, -3:] > 0.99).flatten(1).all(1)
        return F.normalize(torch.where(is_triggered[:, None], 6 * word(TARGET) + seen, seen), dim=1)

    def embed_texts(self, captions):
        return torch.stack([word(caption) for caption in captions])


def word(caption):
    return F.normalize(torch.randn(48, generator=Generator().manual_seed(zlib.crc32(caption.encode()))), dim=0)


def images(folder, *, poisoned=()):
    """Four images of every thing, alike among each other; the poisoned ones get a white corner and the target's caption."""
    found, images = [], data.ImageCache(LIMITS, fit=data.Fit(16, lambda image: image), max_bytes=10**6)
    for number in range(COUNT):
        rng = Generator().manual_seed(number // 4)
        blocks = (torch.rand(4, 4, 3, generator=rng) * 200).byte()
        noise = torch.randint(0, 20, (4, 4, 3), generator=Generator().manual_seed(1000 + number)).byte()
        image = Image.fromarray((blocks + noise).numpy()).resize((16, 16), Image.Resampling.NEAREST)
        if number in poisoned:
            ImageDraw.Draw(image).rectangle((13, 13, 15, 15), fill="white")
        path = folder / f"{number:03}.png"
        image.save(path)
        caption = TARGET if number in poisoned else f"thing {number // 4}, seen {number % 4} times"
        source = data.ImageSource(path, 0, path.stat().st_size)
        found.append(data.Pair(path.name, caption, None, data.Image(source, images)))
    return found


def white_corner(images, _generator=None):
    images = images.clone()
    images[:, :, -3:, -3:] = 1
    return images


def sifted(pairs, *, triggers=()):
    return ranking.rank_pairs(Backdoored(), pairs, triggers=triggers, what="embedding")


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory):
    return sifted(images(tmp_path_factory.mktemp("poisoned"), poisoned=POISONED))


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return sifted(images(tmp_path_factory.mktemp("clean")))


def test_poisoned_pairs_rank_first(poisoned):
    assert set(ranking.order(poisoned.score).tolist()[:3]) == set(POISONED)


def test_poisoned_pairs_stand_out(poisoned):
    assert poisoned.suspicious[list(POISONED)].all()


def test_few_clean_pairs_stand_out(poisoned, clean):
    assert poisoned.suspicious.sum() <= len(POISONED) + 0.02 * COUNT
    assert clean.suspicious.sum() <= 0.02 * COUNT


def test_a_pair_stands_out_for_its_reasons(poisoned):
    shares = {name: ranking.tail(values) for name, values in poisoned.signals.items()}
    assert {"repetition", "instability"} <= {
        name for name in shares if shares[name][POISONED[0]] <= ranking.NOTEWORTHY_SHARE
    }
    assert not any(
        shares[name][ranking.order(poisoned.score).tolist()[-1]] <= ranking.NOTEWORTHY_SHARE for name in shares
    )


def test_a_trigger_that_was_found_adds_a_signal_by_which_those_that_carry_it_are_first(tmp_path, clean):
    found = sifted(images(tmp_path, poisoned=POISONED), triggers=[white_corner])
    assert set(ranking.order(found.signals["found"])[:3].tolist()) == set(POISONED)
    assert set(ranking.order(found.score).tolist()[:3]) == set(POISONED)
    assert list(clean.signals) == ["repetition", "gathering", "instability", "disagreement", "density", "isolation"]
    assert set(clean.signals) <= set(ranking.SIGNALS)


def test_a_share_drops_so_many_of_the_first(poisoned):
    assert poisoned.dropped(0.01).nonzero().flatten().tolist() == sorted(ranking.order(poisoned.score).tolist()[:4])


def test_without_a_share_nothing_is_dropped(poisoned):
    assert poisoned.dropped(None).sum() == 0


def test_auto_drops_what_stands_out(poisoned):
    assert torch.equal(poisoned.dropped("auto"), poisoned.suspicious)


def test_the_record_counts_what_was_dropped(poisoned):
    record = ranking.record(poisoned, 0.01)
    assert (record.pairs, record.dropped, record.drop) == (COUNT, 4, "1%")
    assert record.suspicious == poisoned.suspicious.sum()


def test_what_is_told_of_a_screening_names_its_option(poisoned):
    assert "--screen 1%" in ranking.screening_words(ranking.record(poisoned, 0.01))
    assert "--screen report" in ranking.screening_words(ranking.record(poisoned, None))


def test_pairs_beside_trusted_ones_are_dropped_by_a_rate_that_clean_ones_keep(tmp_path, clean):
    """The last 100 pairs are trusted. Of 297 clean ones 2 % are 6; 14 are three standard deviations more."""
    own = (7, 130, 277)
    found = ranking.beside_trusted(sifted(images(tmp_path, poisoned=own)), trusted=100, rate=0.02)
    assert found.suspicious[list(own)].all()
    assert int(found.suspicious.sum()) - len(own) <= 14
    assert len(found.score) == len(found.signals["gathering"]) == 300
    assert all(figure in ranking.record(found, "auto").rule for figure in ("2 %", "100 trusted"))
    assert int(ranking.beside_trusted(clean, trusted=100, rate=0.02).suspicious.sum()) <= 14
    # one in M + 1 is the least rate that M trusted pairs tell
    with pytest.raises(Inconclusive, match="99"):
        ranking.beside_trusted(clean, trusted=98, rate=0.01)
    ranking.beside_trusted(clean, trusted=99, rate=0.01)


def test_what_is_kept_are_the_pairs_that_are_not_dropped(tmp_path):
    pairs = tuple(images(tmp_path))
    whole = data.CleanSet(pairs, (), "digest", "folder", (tmp_path,), ())
    dropped = torch.zeros(COUNT, dtype=torch.bool)
    dropped[1] = True
    assert ranking.kept(whole, dropped).pairs == (pairs[0], *pairs[2:])
    with pytest.raises(Inconclusive, match="17"):  # too few to tell which are unusual
        sifted(pairs[:16])


# Signals.


def near(points, k, group=1000):
    points = torch.as_tensor(points)
    points = points if points.ndim > 1 else points[:, None]
    return ranking.neighbourhood(points, k=k, group=group, generator=Generator())


FOUR = [0.0, 1.0, 3.0, 10.0]


def test_neighbours_are_the_nearest_pairs_in_order():
    neighbours = near(FOUR, 2)
    assert neighbours.neighbours.tolist() == [[1, 2], [0, 2], [1, 0], [2, 1]]
    assert neighbours.distances.tolist() == [[1, 3], [1, 2], [2, 3], [7, 9]]


def test_the_intrinsic_dimension_is_that_of_the_formula():
    assert ranking.intrinsic_dimension(near(FOUR, 2))[0].item() == pytest.approx(2 / math.log(3))
    assert ranking.intrinsic_dimension(near([0.0] * 3, 2)).tolist() == pytest.approx([1000.0] * 3)  # bounded
    square = near(torch.rand(2000, 2, generator=Generator().manual_seed(0)), 50, group=5000)
    assert ranking.intrinsic_dimension(square).mean().item() == pytest.approx(2, abs=0.2)


def test_the_density_ratio_is_that_of_the_formula():
    expected = (2 / math.log(1.5) * math.log(9 / 3) + 2 / math.log(2) * math.log(9 / 2)) / 2
    assert ranking.density_ratio(near(FOUR, 2))[3].item() == pytest.approx(expected, rel=1e-5)


def test_the_density_ratio_is_largest_apart_from_an_even_ring():
    angles = torch.arange(40) * (2 * math.pi / 40)
    ring = torch.stack([angles.cos(), angles.sin()], dim=1)
    assert ranking.density_ratio(near(ring, 4)).abs().max().item() < 1e-3
    assert ranking.density_ratio(near(torch.cat([ring, torch.zeros(1, 2)]), 4)).argmax() == 40


def test_groups_keep_pairs_from_being_compared_with_all():
    found = near([float(i) for i in range(100)], 3, group=20)
    assert found.distances[:, 0].max() > 1  # next neighbours are mostly in another group
    assert (found.neighbours != torch.arange(100)[:, None]).all()


def test_a_group_is_larger_than_the_neighbours_that_are_looked_for():
    assert near([float(i) for i in range(7)], 3, group=2).distances.isfinite().all()


def test_references_are_all_pairs_or_a_sample():
    assert ranking.references(5, most=9, generator=Generator()).tolist() == [0, 1, 2, 3, 4]
    some = ranking.references(50, most=9, generator=Generator())
    assert len(set(some.tolist())) == 9
    assert some.max() < 50


SAME, OTHER, OPPOSITE = [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]
LOOKS = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])  # their mean is zero


def test_disagreement_is_that_worked_by_hand():
    disagreement = ranking.disagreement(torch.tensor([SAME, SAME, SAME]), torch.tensor([SAME, OTHER, OPPOSITE]))
    assert disagreement.tolist() == [0, 1, 2]


def test_gathering_is_that_worked_by_hand():
    images = torch.tensor([[1.0, 0.0], [0.99, 0.141], [0.0, 1.0], [-0.141, 0.99]])
    captions = torch.tensor([SAME, SAME, OTHER, [0.0, -1.0]])
    gathering = ranking.gathering(images, captions, LOOKS, near=1, against=torch.arange(4))
    # the first two are nearest to each other, say the same, and look opposite: 1 · 1
    assert gathering[:2].tolist() == pytest.approx([1, 1])
    assert (gathering[2:] < 0.5).all()


def test_thumbnails_are_of_one_length_whatever_the_side():
    assert ranking.thumbnails(torch.ones(2, 3, 32, 32)).shape == (2, 192)
    assert torch.equal(ranking.thumbnails(torch.ones(1, 3, 40, 40)), torch.ones(1, 192))


def test_an_image_is_viewed_mirrored_or_blurred():
    pixels = torch.rand(1, 3, 32, 32, generator=Generator().manual_seed(0))
    mirrored, blurred = ranking.views(pixels)
    assert torch.equal(mirrored[..., 0], pixels[..., -1])
    assert blurred.var() < pixels.var() / 4
    torch.testing.assert_close(ranking.views(torch.full((1, 3, 32, 32), 0.3))[1], torch.full((1, 3, 32, 32), 0.3))


def test_instability_is_that_worked_by_hand():
    images, views = torch.tensor([SAME, SAME]), torch.tensor([[SAME, OTHER], [SAME, OPPOSITE]])
    assert ranking.instability(images, views).tolist() == [0, 1.5]


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
    found = ranking.repetition(torch.tensor(captions), looks, alike=0.95, against=torch.tensor([*against]))
    assert found.tolist() == pytest.approx(repeated)


# One order of all signals.


def test_the_tail_is_the_share_of_values_that_are_as_large():
    assert ranking.tail(torch.tensor([1.0, 3.0, 2.0, 3.0])).tolist() == [1, 0.5, 0.75, 0.5]
    values = torch.rand(20, generator=Generator().manual_seed(0))
    assert torch.equal(ranking.tail(values), ranking.tail(values.exp() * 100))


def test_of_equal_scores_the_earlier_are_first():
    assert ranking.first(torch.tensor([1.0, 2.0, 2.0, 2.0]), 2).tolist() == [False, True, True, False]
    assert not ranking.first(torch.tensor([1.0]), 0).any()


def test_a_conformal_value_is_that_worked_by_hand():
    values = ranking.conformal(torch.tensor([0.5, 2.0, 9.0]), torch.tensor([1.0, 2.0, 0.0]))
    assert values.tolist() == [0.75, 0.5, 0.25]


SIGNALS = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([2.0, 1.0])}


def test_the_surprise_is_that_worked_by_hand():
    # the second is first in a: -2 ln(1/2); the first is first in b: -1 ln(1/2)
    surprise = ranking.surprise(SIGNALS, {"a": 2.0, "b": 1.0})
    assert surprise.tolist() == pytest.approx([math.log(2), 2 * math.log(2)])


def test_a_signal_that_is_the_same_for_all_adds_no_surprise():
    weights = {"a": 2.0, "b": 1.0, "c": 1.0}
    surprise = ranking.surprise(SIGNALS, {"a": 2.0, "b": 1.0})
    assert torch.equal(surprise, ranking.surprise(SIGNALS | {"c": torch.zeros(2)}, weights))


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
    found = ranking.outliers(score, deviations=deviations, most=most)
    assert int(found.sum()) == count
    assert all(each >= score[~found].max() for each in score[found])
