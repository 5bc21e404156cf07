import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from clipclean.data import CleanSet, DecodeCache, Limits, Pair, Picture, decode, read
from clipclean.data.source import whole_file
from clipclean.errors import RefusedInput

SIDE = 4
FITTED = 3 * SIDE * SIDE  # bytes
LARGE = 12 * 8 * 3  # bytes of one decoded sample: its short side is twice the model's
PIXELS = FITTED + LARGE


def fit(image: Tensor) -> Tensor:
    """The corner of a picture."""
    return image[:, :SIDE, :SIDE].contiguous()


@pytest.fixture
def clean(folder: Path, limits: Limits) -> CleanSet:
    return read(folder, limits=limits, image_key=None, caption_key=None)


@pytest.fixture
def cached(clean: CleanSet, limits: Limits) -> Callable[..., DecodeCache]:
    def make(max_bytes: int = 10**6, *, views: bool = True, times: int = 1) -> DecodeCache:
        return DecodeCache(clean.pairs * times, limits=limits, max_bytes=max_bytes, fit=fit, side=SIDE, views=views)

    return make


def remove_files(clean: CleanSet) -> None:
    for pair in clean.pairs:
        pair.image.path.unlink()


def equal(a: Picture, b: Picture) -> bool:
    assert a.large is not None
    assert b.large is not None
    return torch.equal(a.fitted, b.fitted) and torch.equal(a.large, b.large)


def test_a_cached_picture_is_the_decoded_one_and_is_read_once(
    clean: CleanSet, limits: Limits, cached: Callable[..., DecodeCache]
) -> None:
    cache = cached()
    expected = [decode(pair.image, limits=limits) for pair in clean.pairs]
    first = [cache[n] for n in range(len(cache))]
    remove_files(clean)
    for n in range(4):
        assert equal(first[n], Picture(fit(expected[n]), expected[n]))
        assert cache[n] is first[n]


def test_only_what_fits_is_kept(clean: CleanSet, cached: Callable[..., DecodeCache]) -> None:
    cache = cached(2 * PIXELS + 1)
    for n in range(4):
        assert cache[n].nbytes == PIXELS
    remove_files(clean)
    assert cache[0] is cache[0]
    assert cache[1] is cache[1]
    for n in (2, 3):
        with pytest.raises(RefusedInput, match="cannot be used"):
            cache[n]


def test_without_room_pictures_are_decoded_anew_and_are_the_same(cached: Callable[..., DecodeCache]) -> None:
    cache, roomy = cached(0), cached()
    for n in range(4):
        assert equal(cache[n], cache[n])
        assert equal(cache[n], roomy[n])
        assert cache[n] is not cache[n]


def test_without_second_views_only_the_fitted_picture_is_kept(cached: Callable[..., DecodeCache]) -> None:
    cache = cached(4 * FITTED, views=False)
    assert all(cache[n].large is None for n in range(4))
    assert all(cache[n] is cache[n] for n in range(4))


def test_threads_share_one_copy_of_each_picture(cached: Callable[..., DecodeCache]) -> None:
    cache = cached(4 * PIXELS, times=2)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(cache.__getitem__, [n % 8 for n in range(400)]))
    assert all(cache[n] is cache[n + 4] for n in range(4))  # equal sources, whatever the pair


@pytest.mark.parametrize(("side", "kept"), [(8, 8), (10, 10), (11, 8)])
def test_a_picture_that_is_little_larger_than_that_is_kept_as_it_is(
    tmp_path: Path, limits: Limits, side: int, kept: int
) -> None:
    Image.new("RGB", (side, side), "red").save(tmp_path / "a", "PNG")
    pairs = [Pair("a", "", None, whole_file(tmp_path / "a"))]
    made = DecodeCache(pairs, limits=limits, max_bytes=0, fit=fit, side=SIDE, views=True)[0]
    assert made.large is not None
    assert made.large.shape == (3, kept, kept)


@pytest.mark.parametrize(
    ("kind", "scaled"),
    # 96 x 64 for a model of 4 px: 8 px are enough. A JPEG is decoded at an eighth, 12 x 8; a PNG whole, then reduced.
    [("JPEG", (3, 8, 12)), ("PNG", (3, 64, 96))],
)
def test_large_pictures_are_kept_at_twice_the_models_side(
    tmp_path: Path, limits: Limits, kind: str, scaled: tuple[int, ...]
) -> None:
    shown: list[Tensor] = []

    def note(image: Tensor) -> Tensor:
        shown.append(image)
        return fit(image)

    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, kind)
    (tmp_path / "a").write_bytes(stream.getvalue())
    pairs = [Pair("a", "", None, whole_file(tmp_path / "a"))]
    made = DecodeCache(pairs, limits=limits, max_bytes=0, fit=note, side=SIDE, views=True)[0]
    assert made.large is not None
    assert made.large.shape == (3, 8, 12)
    assert [tuple(image.shape) for image in shown] == [scaled]  # fitted from all that was decoded, once
