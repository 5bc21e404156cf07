"""Random changes to files: bits and bytes, borders of numbers, pieces cut, doubled, moved and joined, words of a format."""

import random
import struct
import zlib
from collections.abc import Callable, Sequence

from hostile import checkpoints

LARGEST = 1 << 16  # bytes of an input: where it is refused matters, not how long it is
BORDERS = sorted({2**bits + by for bits in (0, 7, 8, 15, 16, 31, 32, 63, 64) for by in (-1, 0, 1)})
PICKLED = [checkpoints.text(word) for word in ("state_dict", "model", "storage", "cpu", "0", "weight", "module.a")]
PICKLED += [checkpoints.name("torch._utils", "_rebuild_tensor_v2"), checkpoints.name("collections", "OrderedDict")]
PICKLED += [checkpoints.name("torch", "FloatStorage"), checkpoints.name("__torch__", "M"), checkpoints.GOOD]
PICKLED += [checkpoints.storage(4), checkpoints.whole(2**40), b"(", b".", b"R", b"b", b"Q", b"\x81", b"t", b"u", b"s"]
PICKLED += [b"q\x00", b"h\x00", b"\x94", b"N", b"}", b"]", b")", b"e", b"a", b"\x85", b"\x8c", b"X", b"\x95", b"\x93"]
ZIPPED = [checkpoints.LOCAL, checkpoints.CENTRAL, checkpoints.END, b"PK\x06\x06", b"PK\x06\x07", b"PK\x07\x08", b"FB"]
ZIPPED += [b"data.pkl", b"data/0", b"version", b"byteorder", b"constants.pkl", b"code/", b"../", b"/", b"\x08\x00"]
JSON = [b'"dtype"', b'"shape"', b'"data_offsets"', b'"F32"', b'"BF16"', b'"I64"', b'"BOOL"', b"[", b"]", b"{", b"}"]
JSON += [b",", b":", b"0", b"16", b"-1", b"1e9", b"null", b"true", b'"', b"\\u0000", b"__metadata__", b'"a"', b'"b"']
TARRED = [b"ustar\x0000", b"ustar  \0", b"0", b"1", b"2", b"3", b"5", b"6", b"7", b"g", b"x", b"L", b"K", b"S"]
TARRED += [b"../", b"/", b".jpg", b".txt", b".json", b".cls", b".pkl", b"0000644\0", b"00000000000", b"77777777777"]
TARRED += [
    b"\x80" + bytes(11),
    b"\xff" * 12,
    b"30 size=9223372036854775807\n",
    b"13 size=-512\n",
    b"\x1b[2J",
    bytes(512),
]
TEXT = b'" { } [ ] : , \0 \xff NaN -Infinity 1e999 null true &a *a !!python/object <<: ../ /dev/zero'.split()
TEXT += b"http://x/ 0 -1 1e9".split()
TEXT += [b"\n", b"\t", b"\r", b"- ", b" " * 40, b"9" * 400, b"[" * 200, b"{}" * 50, b'"a":1,"a":2,']
TEXT += [b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\x1b[31m", b"\xe2\x80\xae"]
IMAGE = [b"\xff\xda", b"\xff\xc2", b"\xff\xd8", b"\xff\xd9", b"\xff\xe1\xff\xff", b"II*\0", bytes(64)]
IMAGE += b"IHDR IDAT IEND acTL zTXt iCCP RIFF WEBP VP8X ANMF ALPH GIF89a".split()
COLUMNS = [b"\xff\xff\xff\xff", bytes(8), b"\x15\x02", b"\x19\x1c"]
COLUMNS += b"PAR1 ARROW1 huggingface ClassLabel image text bytes path".split()


def edited(rng: random.Random, honest: Sequence[bytes], pool: Sequence[bytes], words: Sequence[bytes], /) -> bytes:
    """One of the files, half of the time an honest one, after one to six changes."""
    content = bytearray(rng.choice(honest if rng.random() < 0.5 else pool))
    for _ in range(rng.choice((1, 1, 1, 1, 2, 2, 3, 6))):
        content = rng.choice(EDITS)(content, rng, pool, words)[:LARGEST]
    return bytes(content)


Edit = Callable[[bytearray, random.Random, Sequence[bytes], Sequence[bytes]], bytearray]


def at(content: bytearray, rng: random.Random) -> int:
    return rng.randrange(len(content) + 1)


def piece(content: bytes | bytearray, rng: random.Random) -> bytes:
    start = at(bytearray(content), rng)
    return bytes(content[start : start + int(2 ** rng.uniform(0, 10))])


def flip(content: bytearray, rng: random.Random, pool: object, words: object) -> bytearray:
    if content:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return content


def byte(content: bytearray, rng: random.Random, pool: object, words: object) -> bytearray:
    if content:
        content[rng.randrange(len(content))] = rng.choice((0, 1, 0x20, 0x2E, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return content


def border(content: bytearray, rng: random.Random, pool: object, words: object) -> bytearray:
    """A number of 1 to 8 bytes that is the largest or smallest of some type, or text for one."""
    value, size = rng.choice(BORDERS), rng.choice((1, 2, 4, 8))
    raw = (value % 256**size).to_bytes(size, rng.choice(("little", "little", "big")))
    place = at(content, rng)
    content[place : place + size] = raw if rng.random() < 0.8 else str(value).encode()
    return content


def insert(content: bytearray, rng: random.Random, pool: object, words: object) -> bytearray:
    place = at(content, rng)
    content[place:place] = rng.randbytes(rng.randint(1, 16))
    return content


def delete(content: bytearray, rng: random.Random, pool: object, words: object) -> bytearray:
    place = at(content, rng)
    del content[place : place + int(2 ** rng.uniform(0, 8))]
    return content


def cut(content: bytearray, rng: random.Random, pool: object, words: object) -> bytearray:
    return content[: at(content, rng)]


def double(content: bytearray, rng: random.Random, pool: object, words: object) -> bytearray:
    place = at(content, rng)
    content[place:place] = piece(content, rng) * rng.choice((1, 1, 2, 50))
    return content


def splice(content: bytearray, rng: random.Random, pool: Sequence[bytes], words: object) -> bytearray:
    place, taken = at(content, rng), piece(rng.choice(pool), rng)
    content[place : place + rng.choice((0, len(taken)))] = taken
    return content


def word(content: bytearray, rng: random.Random, pool: object, words: Sequence[bytes]) -> bytearray:
    place, taken = at(content, rng), rng.choice(words)
    content[place : place + rng.choice((0, len(taken)))] = taken
    return content


def rename(content: bytearray, rng: random.Random, pool: object, words: Sequence[bytes]) -> bytearray:
    """Every occurrence of one word by another."""
    return content.replace(rng.choice(words), rng.choice(words))


EDITS: tuple[Edit, ...] = (flip, byte, border, insert, delete, cut, double, splice, word, word, rename)


def as_it_is(content: bytes, rng: random.Random) -> bytes:
    del rng
    return content


def archived(content: bytes, rng: random.Random) -> bytes:
    """A pickle in an archive whose checksums are right, with numbers beside it."""
    members = {"m/data.pkl": content, "m/data/0": checkpoints.NUMBERS}
    if b"__torch__" in content:
        members["m/constants.pkl"] = b"x"  # TorchScript
    return checkpoints.zipped(members, method=rng.choice((0, 0, 8)) if len(content) < 4096 else 0)


def checked(content: bytes, rng: random.Random) -> bytes:
    """Half of the zips get the CRC-32 of what lies behind each local header."""
    if rng.random() < 0.5:
        return content
    repaired, place = bytearray(content), 0
    while (place := repaired.find(checkpoints.LOCAL, place)) >= 0 and place + 30 <= len(repaired):
        stored, name, extra = struct.unpack_from("<L4x2H", repaired, place + 18)
        begin = place + 30 + name + extra
        crc = zlib.crc32(repaired[begin : begin + stored])
        named = bytes(repaired[place + 30 : place + 30 + name])
        struct.pack_into("<L", repaired, place + 14, crc)
        central = repaired.find(checkpoints.CENTRAL)
        while central >= 0 and central + 46 <= len(repaired):
            if bytes(repaired[central + 46 : central + 46 + name]) == named:
                struct.pack_into("<L", repaired, central + 16, crc)
            central = repaired.find(checkpoints.CENTRAL, central + 4)
        place += 4
    return bytes(repaired)


def measured(content: bytes, rng: random.Random) -> bytes:
    """Half of the safetensors state the length of their header again, up to its last brace."""
    if rng.random() < 0.5 or len(content) < 8:
        return content
    end = content.rfind(b"}") + 1
    return struct.pack("<Q", max(end - 8, 0)) + content[8:]


def summed(content: bytes, rng: random.Random) -> bytes:
    """Half of the tars have the checksum of each block that looks like a header right."""
    if rng.random() < 0.5:
        return content
    repaired = bytearray(content)
    for place in range(0, len(repaired) - 511, 512):
        block = repaired[place : place + 512]
        if block[257:262] == b"ustar":
            total = sum(block[:148]) + 8 * 0x20 + sum(block[156:])
            repaired[place + 148 : place + 156] = b"%06o\0 " % total
    return bytes(repaired)
