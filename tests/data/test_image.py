import io
import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps

from clipclean import data
from clipclean.data import DecodedImage, Fit, ImageCache, ReadLimits, image, read, stack
from clipclean.data.image import shrink
from clipclean.data.sample import whole_file
from clipclean.errors import RefusedInput

LIMITS = ReadLimits(max_pixels=10_000, max_bytes=100_000, max_skipped_share=0.0, max_pairs=None)


def bytes_of(image, kind, **options: object):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def decoded(path, content):
    path.write_bytes(content)
    return data.Image(whole_file(path), data.ImageCache(LIMITS)).decode()


# 3 wide, 2 high: red green blue / black grey white
FLAG = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[0, 0, 0], [128, 128, 128], [255, 255, 255]]], np.uint8)


def smooth(width, height):
    noise = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "mode"), [("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGB"), ("WEBP", "RGB")]
)
def test_an_image_equals_pillows_decoder_whichever_way_it_was_held(tmp_path, kind, mode, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if kind == "WEBP" else {}
    content = bytes_of(smooth(40, 24).convert(mode), kind, exif=exif, **lossless)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB"))
    assert np.array_equal(decoded(tmp_path / "a", content).permute(1, 2, 0).numpy(), upright)
    if kind == "JPEG":  # scaled by the short side of what is shown
        small = image.decode(content, max_pixels=10_000, min_side=12)
        assert small.shape == (3, upright.shape[0] // 2, upright.shape[1] // 2)


# opaque, invisible, a fifth
LAYER = Image.fromarray(np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 51]]], np.uint8))
PALETTE = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
PALETTE.putpalette([10, 20, 30, 40, 50, 60])


@pytest.mark.parametrize(
    ("drawn", "options", "expected"),
    [
        (Image.fromarray(FLAG), {}, FLAG[0].tolist()),
        (LAYER, {}, [[255, 0, 0], [255, 255, 255], [204, 204, 204]]),  # 0.8 * 255 = 204
        (PALETTE, {"transparency": 0}, [[255, 255, 255], [40, 50, 60]]),
        # 16 bits: 0x0100 >> 8 = 1, 0x80ff >> 8 = 128
        (Image.fromarray(np.array([[0, 0x0100, 0x80FF, 0xFFFF]], np.uint16)), {}, [[n] * 3 for n in (0, 1, 128, 255)]),
    ],
)
def test_a_png_is_shown_on_white_in_eight_bits(tmp_path, drawn, options, expected):
    pixels = decoded(tmp_path / "a", bytes_of(drawn, "PNG", **options))
    assert (pixels.dtype, pixels[:, 0].T.tolist()) == (torch.uint8, expected)


@pytest.mark.parametrize(
    ("size", "enough", "expected"),
    # scales of 2, 4 and 8 are what a JPEG decoder can do; odd sizes are rounded up
    [
        ((96, 64), 33, (64, 96)),
        ((96, 64), 32, (32, 48)),
        ((97, 65), 32, (33, 49)),
        ((96, 64), 9, (16, 24)),
        ((96, 64), 8, (8, 12)),
    ],
)
def test_a_large_jpeg_is_scaled_down_but_never_below_what_is_enough(tmp_path, size, enough, expected: tuple[int, int]):
    path = tmp_path / "a"
    path.write_bytes(bytes_of(smooth(*size), "JPEG", quality=95))
    pixels = image.decode(path.read_bytes(), max_pixels=10_000, min_side=enough)
    assert pixels.shape == (3, *expected)
    scale = round(size[1] / expected[0])
    edge = (0, expected[1] * scale - size[0], 0, expected[0] * scale - size[1])
    full = F.pad(decoded(path, path.read_bytes())[None].float(), edge, mode="replicate")
    assert (pixels - F.avg_pool2d(full, scale)[0]).abs().mean() < 2  # of 255: the same image


WIDE = torch.arange(3 * 40 * 60).remainder(256).byte().view(3, 40, 60)


def test_a_reduced_image_has_the_short_side_asked_for():
    assert shrink(WIDE, short_side=20).shape == (3, 20, 30)


def test_an_image_that_is_no_larger_is_not_reduced():
    assert shrink(WIDE, short_side=40) is WIDE
    assert shrink(WIDE, short_side=41) is WIDE


def test_of_an_animation_the_first_frame_counts(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    content = bytes_of(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert decoded(tmp_path / "a", content)[:, 0, 0].tolist() == [255, 0, 0]


HUGE = (  # 16,384 x 16,384 in each of the three headers of RFC 9649
    b"VP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + b"\xff\x3f\0" * 2,
    b"VP8L" + struct.pack("<I", 10) + b"\x2f" + struct.pack("<I", 0x3FFF | 0x3FFF << 14) + b"\0" * 5,
    b"VP8 " + struct.pack("<I", 10) + b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 0x3FFF, 0x3FFF),
)


def test_the_limit_of_pixels_itself_is_allowed(tmp_path):
    for size, figure in (((101, 100), "101 x 100"), ((51, 1), "50")):
        within = (size[0] - 1, size[1])
        assert decoded(tmp_path / "a", bytes_of(Image.new("L", within), "PNG")).shape == (3, *reversed(within))
        with pytest.raises(RefusedInput, match=figure):
            decoded(tmp_path / "b", bytes_of(Image.new("L", size), "PNG"))


def test_a_huge_canvas_is_refused_by_its_header(tmp_path):
    for chunk in HUGE:
        with pytest.raises(RefusedInput, match=r"16,38[34] x 16,38[34]"):
            decoded(tmp_path / "c", b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk)


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
    return torch.equal(a.fitted, b.fitted) and torch.equal(a.large, b.large)


def test_an_image_that_was_read_is_never_opened_or_decoded_again(reading, folder):
    expected = [np.array(Image.open(path).convert("RGB")) for path in sorted(folder.glob("*.[jpw]*"))]
    clean = reading()
    for pair, pixels in zip(clean.pairs, expected, strict=True):
        whole = torch.from_numpy(pixels).permute(2, 0, 1)
        made = pair.image.decoded(views=True)
        assert equal(made, DecodedImage(corner(whole), whole))
        assert pair.image.decoded(views=False) is made
        assert pair.image.fitted() is made.fitted
    assert torch.equal(stack([pair.image for pair in clean.pairs])[2], clean.pairs[2].image.fitted())


def test_without_room_an_image_is_decoded_anew(reading):
    for poor, rich in zip(reading(0, stay=True).pairs, reading(stay=True).pairs, strict=True):
        first = poor.image.decoded(views=True)
        assert equal(first, rich.image.decoded(views=True))
        assert poor.image.decoded(views=True) is not first


def test_only_images_that_fit_are_kept(reading):
    pairs = reading(2 * PIXELS + 1).pairs
    is_kept = []
    for pair in pairs:
        try:
            is_kept.append(pair.image.decoded(views=True).nbytes == PIXELS)
        except RefusedInput:
            is_kept.append(False)
    assert sum(is_kept) == 2


def test_what_views_are_made_of_is_added_when_it_is_first_wanted(reading):
    images = [pair.image for pair in reading(views=False, stay=True).pairs]
    fitted = images[0].fitted()
    with_views = images[0].decoded(views=True)
    assert torch.equal(with_views.fitted, fitted)
    images[0].source.path.unlink()
    assert images[0].decoded(views=True) is with_views


def test_what_views_are_made_of_is_kept_only_where_it_is_wanted(reading):
    pairs = reading(4 * FITTED, views=False).pairs
    assert all(pair.image.decoded(views=False).large is None for pair in pairs)
    with pytest.raises(RefusedInput):
        pairs[0].image.decoded(views=True)


def test_threads_share_one_copy_of_each_image(folder, limits):
    images = ImageCache(limits, fit=Fit(SIDE, corner), max_bytes=4 * PIXELS, views=True)
    sources = [whole_file(path) for path in sorted(folder.glob("*.[jpw]*"))]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: images.get(sources[n % 4], views=True), range(400)))
    again = [whole_file(source.path) for source in sources]
    assert all(images.get(a, views=True) is images.get(b, views=True) for a, b in zip(sources, again, strict=True))


def test_an_image_whose_bytes_changed_is_refused_by_name(reading):
    pairs = reading(stay=True).pairs
    pairs[0].image.source.path.write_bytes(b"")
    for use in (pairs[0].image.load, pairs[0].image.decode):
        with pytest.raises(RefusedInput, match=r"0001\.jpg"):
            use()


@pytest.mark.parametrize(("side", "kept"), [(8, 8), (10, 10), (11, 8)])
def test_an_image_that_is_little_larger_than_that_is_kept_as_it_is(tmp_path, limits, side, kept: int):
    Image.new("RGB", (side, side), "red").save(tmp_path / "a", "PNG")
    made = ImageCache(limits, fit=Fit(SIDE, corner)).get(whole_file(tmp_path / "a"), views=True)
    assert made.large.shape == (3, kept, kept)


@pytest.mark.parametrize(
    ("kind", "scaled"),
    # 96 x 64 for a model of 4 px: 8 px are enough. A JPEG is decoded at an eighth, 12 x 8; others whole, then reduced.
    [("JPEG", (3, 8, 12)), ("PNG", (3, 64, 96)), ("WEBP", (3, 64, 96))],
)
def test_large_images_are_kept_at_twice_the_models_side(tmp_path, limits, kind, scaled: tuple[int, ...]):
    shown = []
    (tmp_path / "a").write_bytes(bytes_of(smooth(96, 64), kind))
    fit = Fit(SIDE, lambda image: shown.append(tuple(image.shape)) or corner(image))
    made = ImageCache(limits, fit=fit).get(whole_file(tmp_path / "a"), views=True)
    assert made.large.shape == (3, 8, 12)
    assert shown == [scaled]  # fitted from all that was decoded, once
