from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from clipclean.data import CleanSet, DecodeCache, Limits, decode, read
from clipclean.errors import RefusedInput

PIXELS = 12 * 8 * 3  # bytes of one decoded sample


@pytest.fixture
def clean(folder: Path, limits: Limits) -> CleanSet:
    return read(folder, limits=limits, image_key=None, caption_key=None)


def remove_files(clean: CleanSet) -> None:
    for pair in clean.pairs:
        pair.image.path.unlink()


def test_a_cached_picture_is_the_decoded_one_and_is_read_once(clean: CleanSet, limits: Limits) -> None:
    cache = DecodeCache(clean.pairs, limits=limits, max_bytes=10**6)
    expected = [decode(pair.image, limits=limits) for pair in clean.pairs]
    first = [cache[n] for n in range(len(cache))]
    remove_files(clean)
    for n in range(4):
        assert torch.equal(first[n], expected[n])
        assert cache[n] is first[n]


def test_only_what_fits_is_kept(clean: CleanSet, limits: Limits) -> None:
    cache = DecodeCache(clean.pairs, limits=limits, max_bytes=2 * PIXELS + 1)
    for n in range(4):
        assert cache[n].shape == (3, 8, 12)
    remove_files(clean)
    assert cache[0] is cache[0]
    assert cache[1] is cache[1]
    for n in (2, 3):
        with pytest.raises(RefusedInput, match="cannot be used"):
            cache[n]


def test_without_room_pictures_are_decoded_anew(clean: CleanSet, limits: Limits) -> None:
    cache = DecodeCache(clean.pairs, limits=limits, max_bytes=0)
    assert torch.equal(cache[0], cache[0])
    assert cache[0] is not cache[0]


def test_threads_share_one_copy_of_each_picture(clean: CleanSet, limits: Limits) -> None:
    cache = DecodeCache(clean.pairs * 2, limits=limits, max_bytes=4 * PIXELS)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(cache.__getitem__, [n % 8 for n in range(400)]))
    assert all(cache[n] is cache[n + 4] for n in range(4))  # equal sources, whatever the pair
