import zlib

import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Generator

from clipclean import data
from clipclean.detect import ranking, screening
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
        found.append(
            data.Pair(path.name, caption, None, data.Image(data.ImageSource(path, 0, path.stat().st_size), images))
        )
    return found


def white_corner(images, _generator=None):
    images = images.clone()
    images[:, :, -3:, -3:] = 1
    return images


def sifted(pairs, *, triggers=(), clip=None):
    return ranking.rank_pairs(clip or Backdoored(), pairs, triggers=triggers, progress=lambda done, total: None)


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory):
    return sifted(images(tmp_path_factory.mktemp("poisoned"), poisoned=POISONED))


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return sifted(images(tmp_path_factory.mktemp("clean")))


def test_poisoned_pairs_rank_first_and_stand_out(poisoned):
    assert set(poisoned.order()[:3]) == set(POISONED)
    assert poisoned.suspicious[list(POISONED)].all()


def test_few_clean_pairs_stand_out_beside_them(poisoned, clean):
    assert poisoned.suspicious.sum() <= len(POISONED) + 0.02 * COUNT
    assert clean.suspicious.sum() <= 0.02 * COUNT


def test_the_reasons_are_the_signals_that_point_at_a_pair(poisoned):
    assert {"repetition", "instability"} <= set(poisoned.reasons(POISONED[0]))
    assert poisoned.reasons(poisoned.order()[-1]) == []


def test_a_trigger_that_was_found_adds_a_signal_by_which_those_that_carry_it_are_first(tmp_path):
    found = sifted(images(tmp_path, poisoned=POISONED), triggers=[white_corner])
    assert set(screening.order(found.signals["found"])[:3].tolist()) == set(POISONED)
    assert set(found.order()[:3]) == set(POISONED)


def test_without_triggers_there_is_no_such_signal(clean):
    assert list(clean.signals) == ["repetition", "gathering", "instability", "disagreement", "density", "isolation"]
    assert set(clean.signals) <= set(ranking.SIGNALS)


def test_a_share_drops_so_many_and_auto_what_stands_out(poisoned):
    assert poisoned.dropped(None).sum() == 0
    assert poisoned.dropped(0.01).nonzero().flatten().tolist() == sorted(poisoned.order()[:4])
    assert torch.equal(poisoned.dropped("auto"), poisoned.suspicious)


def test_pairs_beside_trusted_ones_are_dropped_by_a_rate_that_clean_ones_keep(tmp_path, clean):
    """The last 100 pairs are trusted. Of 297 clean ones 2 % are 6; 14 are three standard deviations more."""
    own = (7, 130, 277)
    found = ranking.beside_trusted(sifted(images(tmp_path, poisoned=own)), trusted=100, rate=0.02)
    assert found.suspicious[list(own)].all()
    assert int(found.suspicious.sum()) - len(own) <= 14
    assert len(found.score) == len(found.signals["gathering"]) == 300
    assert all(figure in ranking.record(found, "auto").rule for figure in ("2 %", "100 trusted"))
    assert int(ranking.beside_trusted(clean, trusted=100, rate=0.02).suspicious.sum()) <= 14


def test_too_few_trusted_pairs_tell_no_small_rate(clean):
    with pytest.raises(Inconclusive, match="99"):
        ranking.beside_trusted(clean, trusted=98, rate=0.01)
    ranking.beside_trusted(clean, trusted=99, rate=0.01)


def test_the_record_counts_and_the_sentence_says_it(poisoned):
    found = ranking.record(poisoned, 0.01)
    assert (found.pairs, found.dropped, found.drop) == (COUNT, 4, "1%")
    assert found.suspicious == poisoned.suspicious.sum()
    assert "--screen 1%" in ranking.told(found)
    assert "--screen report" in ranking.told(ranking.record(poisoned, None))


def test_what_is_kept_are_the_pairs_that_are_not_dropped(tmp_path):
    pairs = tuple(images(tmp_path))
    whole = data.CleanSet(pairs, (), "digest", "folder", tmp_path, ())
    dropped = torch.zeros(COUNT, dtype=torch.bool)
    dropped[1] = True
    assert ranking.kept(whole, dropped).pairs == (pairs[0], *pairs[2:])


def test_too_few_pairs_are_inconclusive(tmp_path):
    with pytest.raises(Inconclusive, match="17"):
        sifted(images(tmp_path)[:16])
