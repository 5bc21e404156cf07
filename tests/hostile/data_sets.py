"""Clean sets that attack whoever reads them: shards, pictures, tables, captions, folders.

``CASES`` maps a name to what writes the set, and to words that the answer must contain. The answer, ``heard``, is the
refusal of the whole set, or what was skipped, ignored and kept of it.
"""

import gzip
import os
import struct
import tarfile
import zlib
from pathlib import Path

from hostile.checkpoints import Case, raw
from hostile.seeds import picture, sample
from hostile.tars import claimed, pax, special, tar

from clipclean import data
from clipclean.errors import ClipcleanError

LIMITS = data.Limits(max_pixels=25_000_000, max_bytes=50_000_000, max_skipped_share=0.9, max_pairs=None)
SCRIPT = b"import pathlib; pathlib.Path('pwned').touch()"


def heard(path: Path) -> str:
    """What the reader says of a set: the refusal, or the reasons of what it left out, then keys and captions."""
    try:
        found = data.read(path, images=data.ImageCache(LIMITS))
    except ClipcleanError as error:
        return f"exit {error.exit_code}: {error}"
    left_out = [*(f"skipped {skip.key}: {skip.reason}" for skip in found.skipped), *map(str, found.ignored)]
    kept = [f"kept {pair.key}: {pair.caption}" for pair in found.pairs]
    return "\n".join([*left_out, *kept])


def payload() -> bytes:
    """A pickle that touches a file, by the opcode REDUCE."""
    return b"\x80\x02cposix\nsystem\nX\x0b\x00\x00\x00touch pwned\x85R."


# --- pictures -------------------------------------------------------------------------------------------------------


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, *extra: bytes, rows: bytes | None = None) -> bytes:
    """An 8-bit grey PNG of zeros; deflate makes 169 million of them 164 kB."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(height * (width + 1)) if rows is None else rows, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(extra) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def webp(width: int, height: int) -> bytes:
    """The header of a WebP canvas, with nothing on it."""
    body = (
        b"VP8X"
        + struct.pack("<I", 10)
        + bytes(4)
        + (width - 1).to_bytes(3, "little")
        + (height - 1).to_bytes(3, "little")
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def jpeg(width: int, height: int) -> bytes:
    """An honest JPEG whose frame header claims another size."""
    honest = picture(0, "JPEG", (8, 8))
    frame = honest.index(b"\xff\xc0") + 5
    return honest[:frame] + struct.pack(">HH", height, width) + honest[frame + 4 :]


PICTURES = {
    "a PNG of 13,000 x 13,000 pixels in 164 kB": (lambda: png(13_000, 13_000), "13,000 x 13,000 pixels"),
    "a PNG that claims 2**31 - 1 pixels a side": (lambda: png(2**31 - 1, 2**31 - 1, rows=b""), "pixels"),
    "a PNG with a text that inflates to 100 MB": (
        lambda: png(8, 8, chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(100_000_000), 9))),
        "skipped b: .*Decompressed data too large",
    ),
    "a PNG with a colour profile that inflates to 100 MB": (
        lambda: png(8, 8, chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(100_000_000), 9))),
        "skipped b: .*Decompressed data too large",
    ),
    "a PNG with 50 MB behind its last pixel, never inflated": (lambda: png(8, 8, rows=bytes(50_000_000)), "kept b"),
    "a PNG cut in the middle": (lambda: picture(0, "PNG", (64, 64))[:900], "broken PNG"),
    "a PNG of 1 x 60,000 pixels": (lambda: png(1, 60_000), "more than 50 times"),
    "a PNG without pixels": (lambda: png(0, 0), "skipped b: broken header"),
    "a WebP canvas of 16,383 x 16,383": (lambda: webp(16_383, 16_383), "16,383 x 16,383 pixels"),
    "a WebP canvas of 2**24 x 2**24": (lambda: webp(2**24, 2**24), "pixels"),
    "a JPEG that claims 65,500 x 65,500": (lambda: jpeg(65_500, 65_500), "65,500 x 65,500 pixels"),
    "a JPEG cut in the middle": (lambda: picture(0, "JPEG", (64, 64))[:700], "broken JPEG"),
    "a GIF under another name": (lambda: picture(0, "GIF"), "no JPEG, PNG or WebP"),
    "PostScript under another name": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no JPEG, PNG"),
    "SVG with a script": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>", "no JPEG, PNG"),
    "a pickle under another name": (payload, "no JPEG, PNG or WebP"),
    "an empty file": (lambda: b"", "empty file"),
}


def with_picture(content) -> bytes:
    """A shard with an honest sample and one whose picture this is."""
    return tar(sample("a") | {"b.png": content(), "b.txt": b"a blue circle"})


# --- shards ---------------------------------------------------------------------------------------------------------


def with_members(**members: bytes) -> bytes:
    return tar(sample("a") | {name.replace("__", "."): content for name, content in members.items()})


def before_honest(head: bytes) -> Case:
    return raw(lambda: head + tar(sample("a")), "")


def deep(levels: int) -> bytes:
    return b'{"caption":' + b"[" * levels + b"]" * levels + b"}"


def captioned(words: bytes) -> bytes:
    return tar(sample("a") | {"b.png": picture(1), "b.txt": words})


SHARDS = {
    "a pickle among the members": (lambda: with_members(b__pkl=payload()), r"1 \.pkl files, which are never read"),
    "a torch file among the members": (lambda: with_members(b__pth=payload()), r"1 \.pth files, which are never read"),
    "a pickle named like the class": (
        lambda: with_members(b__cls=payload(), b__png=picture(1)),
        "skipped b: .*not UTF-8",
    ),
    "a Python file among the members": (lambda: with_members(b__py=SCRIPT), r"1 \.py files, which are never read"),
    "names that lead upwards": (
        lambda: tar({"../x.png": picture(), "../x.txt": b"x"} | sample("a")),
        "2 members whose names lead out",
    ),
    "absolute names": (lambda: tar({"/etc/x.png": picture()} | sample("a")), "1 members whose names lead out"),
    "a symbolic link": (
        lambda: tar({"l.png": special("l.png", tarfile.SYMTYPE, "/etc/passwd")} | sample("a")),
        "1 members that are links, devices",
    ),
    "a hard link": (
        lambda: tar({"l.txt": special("l.txt", tarfile.LNKTYPE, "a.txt")} | sample("a")),
        "1 members that are links, devices",
    ),
    "a character device": (
        lambda: tar({"d.png": special("d.png", tarfile.CHRTYPE)} | sample("a")),
        "1 members that are links, devices",
    ),
    "a block device": (
        lambda: tar({"d.png": special("d.png", tarfile.BLKTYPE)} | sample("a")),
        "1 members that are links, devices",
    ),
    "a named pipe": (
        lambda: tar({"p.txt": special("p.txt", tarfile.FIFOTYPE)} | sample("a")),
        "1 members that are links, devices",
    ),
    "a sparse member": (
        lambda: (
            pax(b"22 GNU.sparse.map=0,0\n21 GNU.sparse.size=9\n")
            + tarfile.TarInfo("h.png").tobuf(tarfile.USTAR_FORMAT)
            + tar(sample("a"))
        ),
        "1 members that are links, devices or sparse",
    ),
    "a member that claims 8 exabytes": (lambda: claimed("b.png", 2**63 - 1) + tar(sample("a")), "exit 3"),
    "a text that claims 8 gigabytes": (lambda: claimed("b.txt", 2**33) + tar(sample("a")), "exit 3"),
    "a negative size": (lambda: pax(b"17 size=-1000000\n") + tar(sample("a")), "exit 3.*claims -1,000,000 bytes"),
    "an extended header of 4 gigabytes": (lambda: pax(b"10 path=a\n", size=2**32) + tar(sample("a")), "exit 3.*claims"),
    "2,000 extended headers in a row": (lambda: pax(b"10 path=a\n") * 2000 + tar(sample("a")), "exit 3"),
    "a header that is damaged": (
        lambda: tar(sample("a") | sample("b")).replace(b"b.png", b"X.png", 1),
        "exit 3.*goes on after its last readable member",
    ),
    "cut in the middle": (lambda: tar(sample("a") | sample("b"))[:3000], "exit 3"),
    "two in one file": (lambda: tar(sample("a")) * 2, "exit 3.*goes on after"),
    "gzip": (lambda: gzip.compress(tar(sample("a"))), "exit 3.*compressed"),
    "a sample twice": (
        lambda: tar(sample("a")).rstrip(b"\0") + bytes(512 - 1) + tar({"z.txt": b"x", "z.TXT": b"y"}),
        "skipped z: two members",
    ),
    "a caption of 2 MB": (lambda: captioned(b"x" * 2_000_000), r"skipped b: its \.txt has more than 1,000,000 bytes"),
    "a caption of 900 kB": (lambda: captioned(b"x" * 900_000), r"kept b: x{10000}$"),
    "a caption that drives a terminal": (
        lambda: captioned(b"a \x1b]0;pwned\x07dog\x1b[2J\x00\r\n barks"),
        r"kept b: a \]0;pwneddog\[2J barks$",
    ),
    "a caption that turns its letters round": (
        lambda: captioned("safe \u202eexe.txt\u2066\ufeff".encode()),
        "kept b: safe exe.txt$",
    ),
    "a caption that is not UTF-8": (lambda: captioned(b"\xff\xfe\x00"), "skipped b: .*not UTF-8"),
    "a caption of control characters alone": (lambda: captioned(b"\x00\x1b\x07"), "skipped b: no caption"),
    "a name that drives a terminal": (
        lambda: tar({"b\x1b[2J.png": picture(1), "b\x1b[2J.txt": b"x"} | sample("a")),
        r"kept b\\x1b\[2J: x",
    ),
    "JSON nested 100,000 deep": (
        lambda: tar(sample("a") | {"b.png": picture(1), "b.json": deep(100_000)}),
        r"skipped b: its \.json is not JSON",
    ),
    "JSON with a number of 100,000 digits": (
        lambda: tar(sample("a") | {"b.png": picture(1), "b.json": b'{"caption":' + b"9" * 100_000 + b"}"}),
        r"skipped b: its \.json is not JSON",
    ),
    "JSON that is a list": (
        lambda: tar(sample("a") | {"b.png": picture(1), "b.json": b'["caption"]'}),
        r"skipped b: its \.json is JSON, but not an object",
    ),
    "JSON with a caption that is a mapping": (
        lambda: tar(sample("a") | {"b.png": picture(1), "b.json": b'{"caption": {"a": 1}}'}),
        "skipped b: no caption",
    ),
}


# --- tables and folders ---------------------------------------------------------------------------------------------


def table(name: str, content: bytes, **files: bytes):
    """A folder with a table, and an honest picture ``a.png`` for its first row."""

    def write(path: Path) -> None:
        path.mkdir()
        for file, inside in {"a.png": picture(), name: content, **files}.items():
            (path / file).write_bytes(inside)

    return write


CSV = b"filepath,title\na.png,a red square\n"
JSONL = b'{"file_name": "a.png", "text": "a red square"}\n'
TABLES = {
    "an address": (CSV + b"https://example.org/x.png,x\n", "skipped https.*: an address"),
    "a pipe": (CSV + b"pipe:touch pwned,x\n", "skipped pipe:touch pwned: an address"),
    "a device": (CSV + b"/dev/zero,x\n", "skipped /dev/zero: not a regular file"),
    "a folder": (CSV + b"/etc,x\n", "skipped /etc: not a regular file"),
    "a null byte in a path": (CSV + b"a\0b.png,x\n", r"skipped a\\x00b\.png: embedded null byte"),
    "a file that is no picture": (CSV + b"/etc/passwd,x\n", "skipped /etc/passwd: no JPEG, PNG or WebP"),
    "a field of 200,000 characters": (CSV + b"a.png," + b"x" * 200_000 + b"\n", "exit 3.*field larger"),
    "a line of 2 MB": (CSV + b"a.png," + b"x" * 2_000_000 + b"\n", "exit 3.*longer than 1,000,000"),
    "a quotation mark that is never closed": (CSV + b'a.png,"' + b"x\n" * 100_000, "exit 3"),
    "more fields than columns": (CSV + b"a.png,x,y,z\n", "skipped line 3: 4 fields under 2 columns"),
    "a caption that drives a terminal": (CSV + b"a.png,a\x1b[2Jb\n", r"kept a\.png: a\[2Jb"),
    "not UTF-8": (CSV + b"a.png,\xff\n", "exit 3.*not UTF-8"),
}
RECORDS = {
    "nested 100,000 deep": (JSONL + deep(100_000) + b"\n", "skipped line 2: not JSON"),
    "a list in place of the table": (b"[" + JSONL.strip() + b"]", "exit 3.*JSON array"),
    "a number as the picture": (JSONL + b'{"file_name": 1, "text": "x"}\n', "skipped line 2: no text under file_name"),
    "half a record": (JSONL + b'{"file_name": "a.p\n', "skipped line 2: not JSON"),
    "an address": (JSONL + b'{"file_name": "s3://b/x.png", "text": "x"}\n', "skipped s3.*: an address"),
}


def links(path: Path) -> None:
    """A folder whose pictures are links out of it, to itself, to devices, and a pipe that nobody writes to."""
    path.mkdir()
    for name, content in sample("a").items():
        (path / name).write_bytes(content)
    (path / "out.png").symlink_to("/etc/passwd")
    (path / "loop.png").symlink_to("loop.png")
    (path / "zero.png").symlink_to("/dev/zero")
    (path / "round").symlink_to(path)
    os.mkfifo(path / "pipe.png")
    os.mkfifo(path / "a.cls.txt")


def nested(path: Path) -> None:
    """200 folders inside each other, as deep as a path may get."""
    path.mkdir()
    for name, content in sample("a").items():
        (path / name).write_bytes(content)
    below = path
    for _ in range(200):
        below = below / "d"
        below.mkdir()
    (below / "b.png").write_bytes(picture(1))


def nothing(path: Path) -> None:
    del path


CASES: dict[str, Case] = {
    **{
        f"picture: {name}": raw(lambda content=content: with_picture(content), words)
        for name, (content, words) in PICTURES.items()
    },
    **{f"tar: {name}": raw(content, words) for name, (content, words) in SHARDS.items()},
    **{f"csv: {name}": Case(table("captions.csv", content), words) for name, (content, words) in TABLES.items()},
    **{f"jsonl: {name}": Case(table("captions.jsonl", content), words) for name, (content, words) in RECORDS.items()},
    "folder: links, loops, devices and pipes": Case(links, "leads out of the folder(.|\n)*not a regular file"),
    "folder: 200 levels": Case(nested, "skipped d/.*: no caption"),
    "set: a pickle": raw(payload, "exit 3.*a pickle, which clipclean never loads"),
    "set: a zip": raw(lambda: b"PK\x03\x04" + bytes(30), "exit 3.*a zip archive"),
    "set: a Parquet file": raw(lambda: b"PAR1" + bytes(30), "exit 3.*a Parquet file"),
    "set: a named pipe": Case(os.mkfifo, "exit 3.*not a regular file"),
    "set: missing": Case(nothing, "exit 3"),
}

# Names of sets rather than files: nothing is written, and nothing may be fetched or run.
NAMES = {
    "pipe:touch pwned": "not on this machine",
    "https://example.org/{000..999}.tar": "not on this machine",
    "s3://bucket/a.tar": "not on this machine",
    "file:/etc/passwd": "not on this machine",
    "{0..999999}{0..999999}.tar": "100,000 are the most",
    "a\x1b[2J.tar": r"a\\x1b\[2J",
}
