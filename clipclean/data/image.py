"""Decoding JPEG, PNG and WebP bytes to RGB pixels; other formats are refused."""

import io
import re
import struct
import zlib

import numpy as np
import torch
from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as TF

from clipclean.data.sample import Unusable
from clipclean.untrusted import printable

# Long side over short side. A model scales the short side to its input size, so 1 x 60,000 pixels would become
# 224 x 13 million.
MAX_ASPECT = 50
MAX_SEGMENTS = 1000  # of a JPEG before its first scan; encoders write some dozens
MAX_IMAGE_HEADER = 16_000_000  # bytes of them: Pillow joins those of one kind in quadratic time. Whole images in XMP have some megabytes
MAX_FILLING = 1000  # bytes of a JPEG between segments; encoders write none
MAX_CHUNKS = 100_000  # of a PNG; libpng's pixels come in chunks of 8 kB
MAX_SCANS = 100  # libjpeg writes 10 for a progressive image, mozjpeg up to 64

_MARKER = re.compile(rb"\xff[\x01-\xfe]")
_BARE_MARKERS = {1, *range(0xD0, 0xDA)}  # markers without a length
_JPEG_SCALES = 8  # the most that a JPEG decoder leaves out: it can also do 2 and 4
_ORIENTATION = 0x0112  # EXIF tag

# Exceptions of Pillow's decoders on damaged bytes; the first two where it takes for granted what a chunk should have brought.
_DAMAGE_ERRORS = (
    AssertionError,
    AttributeError,
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    ArithmeticError,
    struct.error,
    zlib.error,
)


def check(data: bytes, /, *, max_pixels: int) -> None:
    """See that an image decodes, without keeping it; a JPEG at an eighth of its size, for which all of it is read.

    Raises:
        Unusable: with the reason.
    """
    _pixels(_open(data, max_pixels=max_pixels), scale=_JPEG_SCALES)


def shrink(image: Tensor, /, *, short_side: int) -> Tensor:
    """The image (3, H, W) with this short side, antialiased; a smaller image as it is."""
    if min(image.shape[-2:]) <= short_side:
        return image
    smaller: Tensor = TF.resize(image, [short_side], interpolation=InterpolationMode.BICUBIC, antialias=True)
    return smaller


def decode(data: bytes, /, *, max_pixels: int, min_side: int | None) -> Tensor:
    """The image as a model takes it: upright, opaque on white, RGB.

    Of an animation the first frame counts. Sizes are checked in the header before any pixel is decoded. A JPEG comes from
    torchvision's decoder, which takes two thirds of the time of Pillow's at 640 x 480, a quarter at 2048 x 1536, and gives the
    same pixels; what that refuses, and all else, from Pillow's.

    Args:
        data: encoded.
        max_pixels: more are refused.
        min_side: px; a JPEG whose short side is at least twice that is scaled down while it is decoded, by 2, 4 or 8, and
            keeps a short side of no less than that. None keeps all detail.

    Returns:
        uint8 (3, H, W) in [0, 255]. In memory the colours of a pixel are neighbours, as decoders leave them: resizing
        is three to ten times as fast so, and gives the same pixels.

    Raises:
        Unusable: with the reason.
    """
    image = _open(data, max_pixels=max_pixels)
    scale = 1 if min_side is None else min(image.size) // min_side
    if image.format == "JPEG" and image.mode in ("L", "RGB") and scale < 2:
        try:
            buffer = torch.frombuffer(bytearray(data), dtype=torch.uint8)
            return _upright(decode_jpeg(buffer, ImageReadMode.RGB), _orientation(image))
        except RuntimeError:  # some damage that Pillow forgives
            pass
    pixels = torch.from_numpy(np.array(_pixels(image, scale=scale))).permute(2, 0, 1)  # (H, W, 3) -> (3, H, W)
    return _upright(pixels, _orientation(image))


def _pixels(image: ImageFile.ImageFile, /, *, scale: int) -> Image.Image:
    """An opened image in mode RGB; a JPEG smaller by at most ``scale``."""
    try:
        if image.format == "JPEG" and scale > 1:
            image.draft(None, tuple(max(side // scale, 1) for side in image.size))  # type: ignore[arg-type] # two sides
        image.load()
        if image.mode in ("P", "PA") and image.palette is None:
            raise Unusable(f"broken {image.format} (its pixels are numbers of a palette, and it has none)")
        return _opaque(image)
    except _DAMAGE_ERRORS as error:
        raise Unusable(f"broken {image.format} ({printable(str(error)) or type(error).__name__})") from error


def extension(data: bytes, /) -> str:
    """``jpg``, ``png`` or ``webp``, by the first of the encoded bytes, which are those of one of them."""
    return "jpg" if data.startswith(b"\xff\xd8\xff") else "png" if data.startswith(b"\x89PNG") else "webp"


def _open(data: bytes, /, *, max_pixels: int) -> ImageFile.ImageFile:
    # The plugins are called by name: Image.open would try whatever else is registered, and warns of large images.
    try:
        if data.startswith(b"\xff\xd8\xff"):
            _check_segments(data)
            # Each scan costs a pass over the whole image, however few bytes it has. Within one 0xFF is always followed by a zero
            # or a restart mark, so starts of scans are counted by their two bytes; those of a thumbnail count as well.
            if (scans := data.count(b"\xff\xda")) > MAX_SCANS:
                raise Unusable(f"{scans:,} scans, and {MAX_SCANS} are allowed")
            image: ImageFile.ImageFile = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
        elif data.startswith(b"\x89PNG\r\n\x1a\n"):
            _check_chunks(data)
            image = PngImagePlugin.PngImageFile(io.BytesIO(data))
        elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            _check_size(_webp_size(data), max_pixels=max_pixels)  # opening takes memory for the whole canvas
            image = WebPImagePlugin.WebPImageFile(io.BytesIO(data))
        else:
            raise Unusable("empty file" if not data else "no JPEG, PNG or WebP image")
        _check_size(image.size, max_pixels=max_pixels)
    except _DAMAGE_ERRORS as error:
        raise Unusable(f"broken header ({printable(str(error))})") from error
    image.decodermaxblock = max(image.decodermaxblock, len(data))  # by pieces, filling takes quadratic time
    return image


def _check_segments(data: bytes, /) -> None:
    """Refuse a JPEG whose header is filling, or crumbs: Pillow reads what belongs to no segment byte by byte."""
    offset, filling = 2, 0
    for _ in range(MAX_SEGMENTS):
        marker = _MARKER.search(data, offset, offset + MAX_FILLING + 2)
        filling += (marker.start() if marker else len(data)) - offset
        if filling > MAX_FILLING or offset > MAX_IMAGE_HEADER:
            raise Unusable(
                f"a header of more than {MAX_IMAGE_HEADER:,} bytes, or of {MAX_FILLING:,} between its segments"
            )
        if marker is None or marker[0] == b"\xff\xda":  # the first scan
            return
        offset = marker.end() + (
            0 if marker[0][1] in _BARE_MARKERS else int.from_bytes(data[marker.end() : marker.end() + 2])
        )
    raise Unusable(f"more than {MAX_SEGMENTS:,} segments before its pixels")


def _check_chunks(data: bytes, /) -> None:
    """Refuse a PNG of crumbs: Pillow takes its time for each chunk, however small."""
    offset = 8
    for _ in range(MAX_CHUNKS):
        if offset >= len(data):
            return
        offset += 12 + int.from_bytes(data[offset : offset + 4])
    raise Unusable(f"more than {MAX_CHUNKS:,} chunks")


def _check_size(size: tuple[int, int], /, *, max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise Unusable(f"{width:,} x {height:,} pixels, and {max_pixels:,} are allowed")
    if min(size) < 1:
        raise Unusable(f"{width:,} x {height:,} pixels: there is nothing to see")
    if max(size) > MAX_ASPECT * min(size):
        raise Unusable(f"{width:,} x {height:,} pixels: one side is more than {MAX_ASPECT} times the other")


def _webp_size(data: bytes, /) -> tuple[int, int]:
    """Width and height in the header. Source: RFC 9649, sections 2.5 to 2.7."""
    kind = data[12:16]
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack("<I", data[21:25])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF
    raise Unusable("broken header (a WebP file of unknown kind)")


def _opaque(image: Image.Image, /) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits of grey; Pillow's own conversion clips them at 255
        return Image.fromarray((np.asarray(image).astype(np.int32) >> 8).astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _orientation(image: Image.Image, /) -> int:
    """EXIF orientation 1 to 8; 1, upright, where the tag is missing or unreadable."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except _DAMAGE_ERRORS:
        return 1


def _upright(image: Tensor, orientation: int, /) -> Tensor:
    """Upright, a tensor (3, H, W)."""
    if orientation in (5, 6, 7, 8):
        image = image.transpose(1, 2)
    axes = [axis for axis, orientations in ((1, (3, 4, 7, 8)), (2, (2, 3, 6, 7))) if orientation in orientations]
    return image.flip(axes) if axes else image
