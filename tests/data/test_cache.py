import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from clipclean.data import Decoded, Fit, ImageCache, read, stack
from clipclean.data.sample import whole_file
from clipclean.errors import RefusedInput

SIDE = 4
FITTED = 3 * SIDE * SIDE  # bytes
LARGE = 12 * 8 * 3  # bytes of one decoded sample: its short side is twice the model's
PIXELS = FITTED + LARGE


def corner(image):
    """The corner of an image."""
    return image[:, :SIDE, :SIDE].contiguous()


@pytest.fixture
def reading(folder, limits):
    """Read the four samples into a cache of so many bytes, and remove their files unless they are to stay."""

    def do(max_bytes=10**6, *, views: bool = True, stay: bool = False):
        images = ImageCache(limits, fit=Fit(SIDE, corner), max_bytes=max_bytes, views=views)
        clean = read(folder, images=images)
        for pair in clean.pairs if not stay else ():
            pair.image.source.path.unlink()
        return clean

    return do


def equal(a, b):
    assert a.large is not None
    assert b.large is not None
    return torch.equal(a.fitted, b.fitted) and torch.equal(a.large, b.large)


def test_an_image_that_was_read_is_never_opened_or_decoded_again(reading, folder):
    expected = [np.array(Image.open(path).convert("RGB")) for path in sorted(folder.glob("*.[jpw]*"))]
    clean = reading()
    for pair, pixels in zip(clean.pairs, expected, strict=True):
        whole = torch.from_numpy(pixels).permute(2, 0, 1)
        made = pair.image.decoded(views=True)
        assert equal(made, Decoded(corner(whole), whole))
        assert pair.image.decoded(views=False) is made
        assert pair.image.fitted() is made.fitted
    assert torch.equal(stack([pair.image for pair in clean.pairs])[2], clean.pairs[2].image.fitted())


def test_without_room_images_are_decoded_anew_and_only_what_fits_is_kept(reading):
    for poor, rich in zip(reading(0, stay=True).pairs, reading(stay=True).pairs, strict=True):
        first = poor.image.decoded(views=True)
        assert equal(first, rich.image.decoded(views=True))
        assert poor.image.decoded(views=True) is not first
    pairs = reading(2 * PIXELS + 1).pairs
    is_kept = []
    for pair in pairs:
        try:
            is_kept.append(pair.image.decoded(views=True).nbytes == PIXELS)
        except RefusedInput:
            is_kept.append(False)
    assert sum(is_kept) == 2


def test_what_second_views_are_made_from_is_kept_only_where_it_is_wanted_and_added_when_it_first_is(reading):
    images = [pair.image for pair in reading(views=False, stay=True).pairs]
    fitted = images[0].fitted()
    made = images[0].decoded(views=True)
    assert made.large is not None
    assert torch.equal(made.fitted, fitted)
    images[0].source.path.unlink()
    assert images[0].decoded(views=True) is made
    pairs = reading(4 * FITTED, views=False).pairs
    assert all(pair.image.decoded(views=False).large is None for pair in pairs)
    with pytest.raises(RefusedInput):
        pairs[0].image.decoded(views=True)


def test_threads_share_one_copy_of_each_image_and_bytes_that_changed_are_refused_by_name(folder, limits, reading):
    images = ImageCache(limits, fit=Fit(SIDE, corner), max_bytes=4 * PIXELS, views=True)
    sources = [whole_file(path) for path in sorted(folder.glob("*.[jpw]*"))]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: images.get(sources[n % 4], views=True), range(400)))
    again = [whole_file(source.path) for source in sources]
    assert all(images.get(a, views=True) is images.get(b, views=True) for a, b in zip(sources, again, strict=True))
    pairs = reading(stay=True).pairs
    pairs[0].image.source.path.write_bytes(b"")
    for use in (pairs[0].image.load, pairs[0].image.decode):
        with pytest.raises(RefusedInput, match=r"0001\.jpg"):
            use()


@pytest.mark.parametrize(("side", "kept"), [(8, 8), (10, 10), (11, 8)])
def test_an_image_that_is_little_larger_than_that_is_kept_as_it_is(tmp_path, limits, side, kept: int):
    Image.new("RGB", (side, side), "red").save(tmp_path / "a", "PNG")
    made = ImageCache(limits, fit=Fit(SIDE, corner)).get(whole_file(tmp_path / "a"), views=True)
    assert made.large is not None
    assert made.large.shape == (3, kept, kept)


@pytest.mark.parametrize(
    ("kind", "scaled"),
    # 96 x 64 for a model of 4 px: 8 px are enough. A JPEG is decoded at an eighth, 12 x 8; others whole, then reduced.
    [("JPEG", (3, 8, 12)), ("PNG", (3, 64, 96)), ("WEBP", (3, 64, 96))],
)
def test_large_images_are_kept_at_twice_the_models_side(tmp_path, limits, kind, scaled: tuple[int, ...]):
    shown: list[Tensor] = []

    def note(image):
        shown.append(image)
        return corner(image)

    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, kind)
    (tmp_path / "a").write_bytes(stream.getvalue())
    made = ImageCache(limits, fit=Fit(SIDE, note)).get(whole_file(tmp_path / "a"), views=True)
    assert made.large is not None
    assert made.large.shape == (3, 8, 12)
    assert [tuple(image.shape) for image in shown] == [scaled]  # fitted from all that was decoded, once
