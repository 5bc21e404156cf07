"""Clean sets that attack whoever reads them: shards, images, tables, captions, folders.

``CASES`` maps a name to what writes the set, and to words that the answer must contain. The answer is the
refusal of the whole set, or ``told``, what was skipped, ignored and kept of it.
"""

import io
import json
import os
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hostile.checkpoints import Case, named, raw
from hostile.seeds import image_bytes, sample
from hostile.tars import claimed, pax, special, tar

from clipclean import data, requests

LIMITS = data.ReadLimits(max_pixels=25_000_000, max_bytes=50_000_000, max_skipped_share=0.9, max_pairs=None)
SCRIPT = b"import pathlib; pathlib.Path('pwned').touch()"


def told(path: Path) -> str:
    """What the reader says of a set: the reasons of what it left out, then keys and captions."""
    found = data.read(*requests.data_paths(path), images=data.ImageCache(LIMITS))
    left_out = [*(f"skipped {skip.key}: {skip.reason}" for skip in found.skipped), *map(str, found.ignored)]
    return "\n".join([*left_out, *(f"kept {pair.key}: {pair.caption}" for pair in found.pairs)])


def payload() -> bytes:
    """A pickle that touches a file, by the opcode REDUCE."""
    return b"\x80\x02cposix\nsystem\nX\x0b\x00\x00\x00touch pwned\x85R."


# --- images -------------------------------------------------------------------------------------------------------


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, *extra: bytes, rows: bytes | None = None) -> bytes:
    """An 8-bit grey PNG of zeros; deflate makes 169 million of them 164 kB."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(height * (width + 1)) if rows is None else rows, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(extra) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def paletted() -> bytes:
    """A PNG whose pixels are numbers of a palette that is not there."""
    header = struct.pack(">IIBBBBB", 8, 8, 8, 3, 0, 0, 0)
    body = zlib.compress(bytes(8 * 9))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def webp(width: int, height: int) -> bytes:
    """The header of a WebP canvas, with nothing on it."""
    sides = b"".join((side - 1).to_bytes(3, "little") for side in (width, height))
    body = b"VP8X" + struct.pack("<I", 10) + bytes(4) + sides
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def jpeg(width: int, height: int) -> bytes:
    """An honest JPEG whose frame header claims another size."""
    honest = image_bytes(0, "JPEG", (8, 8))
    frame = honest.index(b"\xff\xc0") + 5
    return honest[:frame] + struct.pack(">HH", height, width) + honest[frame + 4 :]


def cut(kind, share):
    whole = image_bytes(0, kind, (64, 64))
    return whole[: int(share * len(whole))]


def inflated(name: bytes) -> bytes:
    """A PNG with a chunk that is 100 MB of zeros once inflated."""
    return png(8, 8, chunk(name, b"k\0\0" + zlib.compress(bytes(100_000_000), 9)))


def filled(filling: bytes) -> bytes:
    """An honest JPEG with something behind its first mark."""
    whole = image_bytes(0, "JPEG", (8, 8))
    return whole[:2] + filling + whole[2:]


EMPTY = b"\xff\xe0\0\2"  # a segment
FILLING = {"bytes": b"\xff" * 2000, "restarts": b"\xff\xd0" * 2000, "zeros": EMPTY + bytes(2000)}
FILLING |= {"empty segments": EMPTY * 2000, "crumbs": b"\xff\xe0\0\4\1\2\xff" * 2000}
TOO_LARGE = "skipped b: .*Decompressed data too large"
IMAGES = {
    "a PNG of 13,000 x 13,000 pixels in 164 kB": (lambda: png(13_000, 13_000), "13,000 x 13,000 pixels"),
    "a PNG that claims 2**31 - 1 pixels a side": (png(2**31 - 1, 2**31 - 1, rows=b""), "pixels"),
    "a PNG with a text that inflates to 100 MB": (lambda: inflated(b"zTXt"), TOO_LARGE),
    "a PNG with a colour profile that inflates to 100 MB": (lambda: inflated(b"iCCP"), TOO_LARGE),
    "a PNG with 50 MB behind its last pixel, never inflated": (lambda: png(8, 8, rows=bytes(50_000_000)), "kept b"),
    "a PNG of 1 x 60,000 pixels": (png(1, 60_000), "more than 50 times"),
    "a PNG without pixels": (png(0, 0), "skipped b: broken header"),
    "a WebP canvas of 16,383 x 16,383": (webp(16_383, 16_383), "16,383 x 16,383 pixels"),
    "a WebP canvas of 2**24 x 2**24": (webp(2**24, 2**24), "pixels"),
    "a JPEG that claims 65,500 x 65,500": (jpeg(65_500, 65_500), "65,500 x 65,500 pixels"),
    **{
        f"a {kind} of {share:.0%} of its bytes": (cut(kind, share), f"skipped b: broken ({kind}|header) ")
        for kind in ("JPEG", "PNG", "WEBP")
        for share in (0.1, 0.5, 0.9)
    },
    **{
        f"a JPEG filled with {kind}": (filled(many), "skipped b: .*(header|segments)") for kind, many in FILLING.items()
    },
    "a JPEG with a little filling, which does no harm": (filled(b"\xff" * 20), "kept b"),
    "a PNG of 100,000 empty chunks": (lambda: png(8, 8, *[chunk(b"abCd", b"")] * 100_000), "skipped b: .*chunks"),
    "a PNG without its palette": (paletted, "skipped b: broken PNG .*palette"),
    "a GIF under another name": (image_bytes(0, "GIF"), "no JPEG, PNG or WebP"),
    "PostScript under another name": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no JPEG, PNG"),
    "SVG with a script": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>", "no JPEG, PNG"),
    "a pickle under another name": (payload, "no JPEG, PNG or WebP"),
    "an empty file": (b"", "empty file"),
}


def with_image(content: bytes | Callable[[], bytes]) -> bytes:
    """A shard with an honest sample and one whose image this is."""
    return with_members(b__png=content() if callable(content) else content, b__txt=b"a blue circle")


# --- shards ---------------------------------------------------------------------------------------------------------


def with_members(**members: bytes) -> bytes:
    return tar(sample("a") | {name.replace("__", "."): content for name, content in members.items()})


def deep(levels: int) -> bytes:
    return b'{"caption":' + b"[" * levels + b"]" * levels + b"}"


def captioned(words: bytes) -> bytes:
    return with_members(b__png=image_bytes(1), b__txt=words)


def described(content: bytes) -> bytes:
    """A shard whose second sample is described in JSON."""
    return with_members(b__png=image_bytes(1), b__json=content)


NOT_JSON = r"skipped b: its \.json is not JSON"
ONE, TWO = tar(sample("a")), tar(sample("a") | sample("b"))
SHARDS = {
    "a pickle among the members": (with_members(b__pkl=payload()), r"1 \.pkl files, which are never read"),
    "a torch file among the members": (with_members(b__pth=payload()), r"1 \.pth files, which are never read"),
    "a pickle named like the class": (with_members(b__cls=payload(), b__png=image_bytes(1)), "skipped b: .*not UTF-8"),
    "a Python file among the members": (with_members(b__py=SCRIPT), r"1 \.py files, which are never read"),
    "names that lead upwards": (
        tar({"../x.png": b"x", "../x.txt": b"x"} | sample("a")),
        "2 members whose names lead out",
    ),
    "absolute names": (tar({"/etc/x.png": image_bytes()} | sample("a")), "1 members whose names lead out"),
    **{
        kind: (tar({name: special(name, code, target)} | sample("a")), "1 members that are links, devices")
        for kind, name, code, target in [
            ("a symbolic link", "l.png", tarfile.SYMTYPE, "/etc/passwd"),
            ("a hard link", "l.txt", tarfile.LNKTYPE, "a.txt"),
            ("a character device", "d.png", tarfile.CHRTYPE, ""),
            ("a block device", "d.png", tarfile.BLKTYPE, ""),
            ("a named pipe", "p.txt", tarfile.FIFOTYPE, ""),
        ]
    },
    "a sparse member": (
        pax(b"22 GNU.sparse.map=0,0\n21 GNU.sparse.size=9\n") + claimed("h.png", 0) + ONE,
        "1 members that are links, devices or sparse",
    ),
    "a member that claims 8 exabytes": (claimed("b.png", 2**63 - 1) + ONE, "exit 3"),
    "a text that claims 8 gigabytes": (claimed("b.txt", 2**33) + ONE, "exit 3"),
    "a negative size": (pax(b"17 size=-1000000\n") + ONE, "exit 3.*(claims -1,000,000 bytes|damaged)"),
    "a negative size of all members": (pax(b"13 size=-512\n", kind=tarfile.XGLTYPE) + ONE, "exit 3.*-512"),
    # Quadratic to parse: CVE-2024-6232.
    "an extended header of one number": (pax(b"1" * 20_000) + ONE, "exit 3.*(20,000|invalid header)"),
    "half a sparse member": (pax(b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n") + ONE, "exit 3.*no sound tar"),
    "a size beyond the end": (pax(b"17 size=99999999\n") + ONE, "exit 3.*end of data"),
    "an extended header of 4 gigabytes": (pax(b"10 path=a\n", size=2**32) + ONE, "exit 3.*(claims|empty header)"),
    "2,000 extended headers in a row": (lambda: pax(b"10 path=a\n") * 2000 + ONE, "exit 3"),
    "a header that is damaged": (TWO.replace(b"b.png", b"X.png", 1), "exit 3.*goes on after its last readable member"),
    "cut in the middle": (TWO[:3000], "exit 3"),
    "no tar at all": (b"no tar at all" * 100, "exit 3.*no sound tar"),
    "two in one file": (ONE * 2, "exit 3.*goes on after"),
    "a sample twice": (ONE.rstrip(b"\0") + bytes(511) + tar({"z.txt": b"x", "z.TXT": b"y"}), "skipped z: two members"),
    "a caption of 2 MB": (lambda: captioned(b"x" * 2_000_000), r"skipped b: its \.txt has more than 1,000,000 bytes"),
    "a caption of 900 kB": (lambda: captioned(b"x" * 900_000), r"kept b: x{10000}$"),
    "a caption that drives a terminal": (
        captioned(b"a \x1b]0;pwned\x07dog\x1b[2J\x00\r\n barks"),
        r"kept b: a \]0;pwneddog\[2J barks$",
    ),
    "a caption that turns its letters round": (captioned("a \u202eb.txt\u2066\ufeff".encode()), "kept b: a b.txt$"),
    "a caption that is not UTF-8": (captioned(b"\xff\xfe\x00"), "skipped b: .*not UTF-8"),
    "a caption of control characters alone": (captioned(b"\x00\x1b\x07"), "skipped b: no caption"),
    "a name that drives a terminal": (
        tar({"b\x1b[2J.png": image_bytes(1), "b\x1b[2J.txt": b"x"} | sample("a")),
        r"kept b\\x1b\[2J: x",
    ),
    "JSON nested 100,000 deep": (lambda: described(deep(100_000)), NOT_JSON),
    "JSON with a number of 100,000 digits": (lambda: described(b'{"caption":' + b"9" * 100_000 + b"}"), NOT_JSON),
    "JSON with a key twice": (described(b'{"caption": "a", "caption": "b"}'), NOT_JSON),
    "JSON that is a list": (described(b'["caption"]'), r"skipped b: its \.json is JSON, but not an object"),
    "JSON with a caption that is a mapping": (described(b'{"caption": {"a": 1}}'), "skipped b: no caption"),
}


# --- tables and folders ---------------------------------------------------------------------------------------------


def table(name: str, content: bytes, **files: bytes):
    """A folder with a table, and an honest image ``a.png`` for its first row."""

    def write(path: Path) -> None:
        path.mkdir()
        for file, inside in {"a.png": image_bytes(), name: content, **files}.items():
            (path / file).write_bytes(inside)

    return write


CSV = b"filepath,title\na.png,a red square\n"
JSONL = b'{"file_name": "a.png", "text": "a red square"}\n'
TABLES = {
    "an address": (CSV + b"https://example.org/x.png,x\n", "skipped https.*: an address"),
    "a pipe": (CSV + b"pipe:touch pwned,x\n", "skipped pipe:touch pwned: an address"),
    "a device": (CSV + b"/dev/zero,x\n", "skipped /dev/zero: not a regular file"),
    "a folder": (CSV + b"/etc,x\n", "skipped /etc: not a regular file"),
    "a null byte in a path": (CSV + b"a\0b.png,x\n", r"skipped a\\x00b\.png: (stat: )?embedded null (byte|character)"),
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
    "a list of numbers in place of the table": (b"[1, 2]", "exit 3.*array of objects"),
    "a number as the picture": (JSONL + b'{"file_name": 1, "text": "x"}\n', "skipped line 2: no text under file_name"),
    "a list in a list in place of the table": (b"[[]]", "exit 3.*array of objects"),
    "half a table": (b"[{", "exit 3.*not JSON"),
    "a key twice in a table": (b'[{"image": 1, "image": 2}]', "exit 3.*not JSON"),
    "half a record": (JSONL + b'{"file_name": "a.p\n', "skipped line 2: not JSON"),
    "an address": (JSONL + b'{"file_name": "s3://b/x.png", "text": "x"}\n', "skipped s3.*: an address"),
}


# --- Parquet, Arrow and COCO -------------------------------------------------------------------------------------------


def rows(**columns) -> pa.Table:
    whole = {"image": pa.array([image_bytes()], pa.binary()), "text": ["a red square"]}
    return pa.table(whole | columns)


def twice(name: str) -> pa.Table:
    """Two columns of one name."""
    whole = rows(label=["a"])
    return whole.append_column(name, whole[name])


def parquet(table: pa.Table, **options) -> bytes:
    stream = io.BytesIO()
    pq.write_table(table, stream, **options)
    return stream.getvalue()


def arrow(table: pa.Table, begin: Callable[..., pa.RecordBatchFileWriter] = pa.ipc.new_file) -> bytes:
    stream = io.BytesIO()
    with begin(stream, table.schema) as writer:
        writer.write_table(table)
    return stream.getvalue()


def repeated(size: int, count: int) -> pa.Table:
    """A table whose file has one value of this size, in so many rows."""
    value = pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), pa.array([b"\xff\xd8\xff" + bytes(size)]))
    return pa.table({"image": value, "text": ["x"] * count})


def many(size: int, count: int) -> pa.Table:
    """So many values of zeros, each another."""
    values = (number.to_bytes(4, "big") + bytes(size) for number in range(count))
    return pa.table({"image": pa.array(values, pa.binary()), "text": ["x"] * count})


def wild_offsets() -> bytes:
    """A file whose second value begins where no memory is."""
    whole = arrow(pa.table({"image": pa.array([b"12345678", b"87654321"], pa.binary()), "text": ["a", "b"]}))
    at = whole.index(struct.pack("<3i", 0, 8, 16))
    return whole[: at + 4] + struct.pack("<2i", 0x7FFFFFF0, 0x7FFFFFFF) + whole[at + 12 :]


# One byte of a column's statistics is wrong: pyarrow's accessor of that column ends the process by a C++ exception.
DAMAGED_STATISTICS = Path(__file__).parent / "statistics.parquet"


PARQUET = {
    "statistics that end the process of who asks for them": (
        DAMAGED_STATISTICS.read_bytes(),
        "exit 3.*not a valid Parquet file|kept row 1",
    ),
    "nothing behind its mark": (b"PAR1" + bytes(30), "exit 3.*not a valid Parquet file"),
    "a footer of 2 GB": (parquet(rows())[:-8] + struct.pack("<I", 2**31 - 1) + b"PAR1", "exit 3.*not a valid"),
    "a footer of zeros": (b"PAR1" + bytes(64) + struct.pack("<I", 64) + b"PAR1", "exit 3.*not a valid"),
    "cut in the middle": (parquet(rows())[:-40], "exit 3.*not a valid Parquet file"),
    "a value of 300 kB in 1,000 rows": (lambda: parquet(repeated(300_000, 1000)), "exit 3.*1,000 of 1,000"),
    "80 values of 2 MB in 40 kB": (
        lambda: parquet(many(2_000_000, 80), compression="zstd"),
        "exit 3.*100 times its size",
    ),
    "an address": (parquet(rows(image=["https://x.org/a.png"])), "exit 3(.|\n)*an address"),
    "a device": (parquet(rows(image=["/dev/zero"])), "exit 3(.|\n)*not a regular file"),
    "a path of another user's file": (parquet(rows(image=["/etc/passwd"])), "exit 3(.|\n)*no JPEG, PNG or WebP"),
    "a pickle as the image": (parquet(rows(image=[payload()])), "exit 3(.|\n)*no JPEG, PNG or WebP"),
    "numbers as images": (parquet(rows(image=[7])), "exit 3.*the column image holds int64"),
    "a column that drives a terminal": (parquet(pa.table({"\x1b[2J": [1], "b": [2]})), "exit 2.*Columns found"),
    "a caption that drives a terminal": (parquet(rows(text=["a\x1b[2Jb"])), r"kept row 1: a\[2Jb"),
    "no rows": (parquet(rows().slice(0, 0)), "exit 3.*holds no samples"),
    "class names that are no list": (
        lambda: parquet(rows(label=[1]).replace_schema_metadata({"huggingface": deep(100_000)})),
        "kept row 1: a red square",
    ),
}
OTHER_TYPES = {
    "dates": ("text", pa.array([10**9], pa.date32())),
    "times of Mars": ("text", pa.array([10**18], pa.timestamp("ns", tz="Mars/Olympus"))),
    "lists of numbers": ("text", pa.array([[1]])),
    "fractions": ("image", pa.array([1.0])),
    "structs of numbers": ("image", pa.array([{"bytes": 1}])),
}
TYPED = {
    kind: (rows(**{column: values}), f"exit 3.*column {column} ") for kind, (column, values) in OTHER_TYPES.items()
}
PARQUET |= {kind: (parquet(table), words) for kind, (table, words) in TYPED.items()}
ARROW = {
    **{kind: (arrow(table), words) for kind, (table, words) in TYPED.items()},
    **{f"two columns {name}": (arrow(twice(name)), f"exit 3.*2 .*{name}") for name in ("image", "text", "label")},
    "nothing behind its mark": (b"ARROW1\0\0" + bytes(30), "exit 3.*not a valid Arrow file"),
    "cut in the middle": (arrow(rows())[:-40], "exit 3.*not a valid Arrow file"),
    "offsets that point anywhere": (wild_offsets, "exit 3.*not a valid Arrow file"),
}


def captions(*names: str) -> bytes:
    """A file of COCO captions of these images."""
    images = [{"id": number, "file_name": name} for number, name in enumerate(names)]
    told = [{"image_id": number, "caption": "x"} for number in range(len(names))]
    return json.dumps({"images": images, "annotations": told}).encode()


COCO = {
    "names that lead out": (captions("../x", "/etc/passwd", "a.png"), "skipped /etc/passwd: a name that leads out"),
    "no images": (b'{"images": [], "annotations": []}', "exit 3.*holds no samples"),
    "numbers for rows": (b'{"images": [1, 2], "annotations": [3]}', "exit 3.*holds no samples"),
    "a key twice": (b'{"images": [], "images": [], "annotations": []}', "exit 3.*not JSON"),
    "nested 100,000 deep": (deep(100_000).replace(b"caption", b"images"), "exit 3.*not JSON"),
    "not UTF-8": (b'{"images": ["\xff"], "annotations": []}', "exit 3.*not JSON"),
    "neither list nor COCO": (b'"x"', "exit 3.*neither an array"),
}


def linked_table(path: Path) -> None:
    path.mkdir()
    (path / "a.parquet").symlink_to("/etc/passwd")


def honest(path: Path) -> None:
    """A folder with one sample."""
    path.mkdir()
    for name, content in sample("a").items():
        (path / name).write_bytes(content)


def links(path: Path) -> None:
    """A folder whose images are links out of it, to itself, to devices, and a pipe that nobody writes to."""
    honest(path)
    (path / "out.png").symlink_to("/etc/passwd")
    (path / "loop.png").symlink_to("loop.png")
    (path / "zero.png").symlink_to("/dev/zero")
    (path / "round").symlink_to(path)
    os.mkfifo(path / "pipe.png")
    os.mkfifo(path / "a.cls.txt")


def nested(path: Path) -> None:
    """200 folders inside each other, as deep as a path may get."""
    honest(path)
    below = path
    for _ in range(200):
        below = below / "d"
        below.mkdir()
    (below / "b.png").write_bytes(image_bytes(1))


CASES: dict[str, Case] = {
    **named("picture", lambda content, words: raw(lambda: with_image(content), words), IMAGES),
    **named("tar", raw, SHARDS),
    **named("csv", lambda content, words: Case(table("captions.csv", content), words), TABLES),
    **named("jsonl", lambda content, words: Case(table("captions.jsonl", content), words), RECORDS),
    "folder: links, loops, devices and pipes": Case(links, "leads out of the folder(.|\n)*not a regular file"),
    "folder: 200 levels": Case(nested, "skipped d/.*: no caption"),
    "set: a pickle": raw(payload, "exit 3.*a pickle, which clipclean never loads"),
    **{
        f"set: packed as {name}": raw(lambda mark=mark: mark + bytes(600), "exit 3.*a packed folder: unpack it")
        for name, mark in {"zip": b"PK\x03\x04", "gzip": b"\x1f\x8b", "bzip2": b"BZh", "xz": b"\xfd7zXZ"}.items()
    },
    "set: packed as zstd": raw(b"\x28\xb5\x2f\xfd", "exit 3.*zstd-compressed"),
    "set: numbers of HDF5": raw(b"\x89HDF", "exit 3.*an HDF5 file"),
    "set: a picture": raw(b"\xff\xd8\xff\xe0", "exit 3.*a single image"),
    **named("parquet", raw, PARQUET),
    **named("arrow", raw, ARROW),
    **named("coco", lambda content, words: Case(table("captions_x.json", content), words), COCO),
    "folder: a Parquet file that is a link out of it": Case(linked_table, "exit 3.*links that lead out of it"),
    "set: a named pipe": Case(os.mkfifo, "exit 3.*not a regular file"),
    "set: missing": Case(lambda path: None, "exit 3"),
}

# Names of sets rather than files: nothing is written, and nothing may be fetched or run.
NAMES = {
    "pipe:touch pwned": "not on this machine",
    "https://example.org/{000..999}.tar": "not on this machine",
    "s3://bucket/a.tar": "not on this machine",
    "file:/etc/passwd": "not on this machine",
    "{0..100000}": "100,000 are the most",
    "{0..999999}{0..999999}.tar": "100,000 are the most",
    "{a,b}" * 40: "100,000 are the most",
    "{{0..99},{0..99}}" * 20: "100,000 are the most",
    "{0..3.tar": "are not balanced",
    "{{0,1}.tar": "are not balanced",
    "{{a,b}{a,b},c}{{a,b}{a,b},c}{{a,b}{a,b},c}{{a,b}{a,b},c}{{a,b}{a,b},c}{{a,b}{a,b},c}": "100,000 are the most",
    "a.tar::pipe:touch pwned": "not on this machine",
    "*/*.tar": "Nothing matches",
    "a\x1b[2J.tar": r"a\\x1b\[2J",
}
