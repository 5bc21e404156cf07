"""Images whose parts are changed as parts: chunks of PNG and WebP, segments of JPEG, with lengths and checksums that are right."""

import functools
import io
import random
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

Parts = list[tuple[bytes, bytes]]  # the name and the content of each part
PNG = b"\x89PNG\r\n\x1a\n"
NAMED = (
    b"PLTE",
    b"tRNS",
    b"IDAT",
    b"IEND",
    b"IHDR",
    b"gAMA",
    b"iCCP",
    b"eXIf",
    b"acTL",
    b"fcTL",
    b"fdAT",
    b"zTXt",
    b"iTXt",
    b"pHYs",
)
CHUNKS = (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"EXIF", b"XMP ")
MARKERS = tuple(
    bytes([0xFF, code]) for code in (0xC0, 0xC1, 0xC2, 0xC4, 0xDB, 0xDD, 0xDA, 0xE0, 0xE1, 0xE2, 0xEE, 0xFE)
)


def drawn(draw: random.Random, /) -> bytes:
    """One image with up to three changes."""
    kind, content = draw.choice(_honest())
    apart, joined, names = KINDS[kind]
    parts = list(apart(content))
    for _ in range(draw.choice((0, 1, 1, 2, 3))):
        if parts:
            _edit(draw, parts, names)
    return joined(parts)


def _edit(draw: random.Random, parts: Parts, names: tuple[bytes, ...]) -> None:
    """Leave out, double, move, rename or fill one part, or change some bytes of it."""
    place = draw.randrange(len(parts))
    name, content = parts[place]
    edit = draw.randrange(8)
    if edit < 2:
        del parts[place]
    elif edit == 2:
        parts.insert(draw.randrange(len(parts) + 1), parts[place])
    elif edit == 3:
        parts.insert(draw.randrange(len(parts)), parts.pop(place))
    elif edit == 4:
        parts[place] = (draw.choice(names), content)
    elif edit == 5:
        parts.insert(place, (draw.choice(names), draw.randbytes(draw.choice((0, 1, 6, 13, 26, 768)))))
    elif edit == 6:
        parts[place] = (name, content[: draw.randrange(len(content) + 1)])
    elif content:
        changed = bytearray(content)
        for _ in range(draw.choice((1, 1, 4))):
            changed[draw.randrange(min(len(changed), 40))] = draw.choice(
                (0, 1, 2, 3, 4, 6, 8, 16, 0x7F, 0xFF, draw.randrange(256))
            )
        parts[place] = (name, bytes(changed))


@functools.cache
def _honest() -> list[tuple[str, bytes]]:
    """An image of each mode that the formats have."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 4), dtype=np.uint8)
    whole = Image.fromarray(pixels)
    found = []
    for mode in ("P", "L", "LA", "RGB", "RGBA", "1", "I;16"):
        image = (
            Image.fromarray(pixels[..., 0].astype(np.uint16)) if mode == "I;16" else whole.convert("RGB").convert(mode)
        )
        if mode in ("RGBA", "LA"):
            image = whole.convert(mode)
        found.append(("png", _saved(image, "PNG")))
    palette = whole.convert("RGB").convert("P")
    found.append(("png", _saved(palette, "PNG", transparency=3)))
    found.append(("png", _saved(whole.convert("RGB"), "PNG", save_all=True, append_images=[whole.convert("RGB")])))
    for mode in ("L", "RGB", "CMYK"):
        found += [("jpeg", _saved(whole.convert(mode), "JPEG", progressive=is_so)) for is_so in (False, True)]
    found += [("webp", _saved(whole, "WEBP", lossless=is_so)) for is_so in (False, True)]
    found.append(("webp", _saved(whole, "WEBP", save_all=True, append_images=[whole.rotate(90)])))
    return [*found, ("webp", _saved(whole.convert("RGB"), "WEBP"))]


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


# Apart and together again.


def _png_parts(content: bytes) -> Parts:
    parts, at = [], len(PNG)
    while at < len(content):
        (length,) = struct.unpack_from(">L", content, at)
        parts.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    return parts


def _png(parts: Parts) -> bytes:
    each = (struct.pack(">L", len(raw)) + name + raw + struct.pack(">L", zlib.crc32(name + raw)) for name, raw in parts)
    return PNG + b"".join(each)


def _webp_parts(content: bytes) -> Parts:
    parts, at = [], 12
    while at < len(content):
        (length,) = struct.unpack_from("<L", content, at + 4)
        parts.append((content[at : at + 4], content[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    return parts


def _webp(parts: Parts) -> bytes:
    each = b"".join(name + struct.pack("<L", len(raw)) + raw + bytes(len(raw) % 2) for name, raw in parts)
    return b"RIFF" + struct.pack("<L", 4 + len(each)) + b"WEBP" + each


def _jpeg_parts(content: bytes) -> Parts:
    """Segments by their markers; a scan with the pixels behind its header."""
    parts, at = [], 2
    while content[at : at + 2] not in (b"\xff\xd9", b""):
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4])
        if content[at + 1] == 0xDA:
            while content[end] != 0xFF or content[end + 1] in (0, *range(0xD0, 0xD8)):
                end += 1
        parts.append((content[at : at + 2], content[at + 4 : end]))
        at = end
    return parts


def _jpeg(parts: Parts) -> bytes:
    found = b"\xff\xd8"
    for name, raw in parts:
        # Of a scan the length is that of its header, whose first byte counts the colours.
        length = 2 + (4 + 2 * raw[0] if name == b"\xff\xda" and raw else len(raw))
        found += name + struct.pack(">H", length % 2**16) + raw
    return found + b"\xff\xd9"


KINDS: dict[str, tuple[Callable[[bytes], Parts], Callable[[Parts], bytes], tuple[bytes, ...]]] = {
    "png": (_png_parts, _png, NAMED),
    "webp": (_webp_parts, _webp, CHUNKS),
    "jpeg": (_jpeg_parts, _jpeg, MARKERS),
}
