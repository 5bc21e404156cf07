"""Files that attack whoever reads them, assembled byte by byte: nothing here runs a payload either.

``CASES`` maps a name to what writes the file, and to words that the refusal must contain.
"""

import io
import json
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

# --- pickles, opcode by opcode --------------------------------------------------------------------------------------

NONE, EMPTY_LIST, EMPTY_TUPLE, EMPTY_DICT, MARK = b"N", b"]", b")", b"}", b"("


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def whole(value: int) -> bytes:
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def group(*items: bytes) -> bytes:
    return MARK + b"".join(items) + b"t"


def counts(values: tuple[int, ...]) -> bytes:
    return group(*map(whole, values))


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def call(module: str, attribute: str, *arguments: bytes) -> bytes:
    return name(module, attribute) + group(*arguments) + b"R"


def mapping(pairs: dict[str, bytes]) -> bytes:
    return EMPTY_DICT + MARK + b"".join(text(key) + value for key, value in pairs.items()) + b"u"


def storage(elements: int, key: str = "0", kind: str = "FloatStorage", place: str = "cpu") -> bytes:
    return group(text("storage"), name("torch", kind), text(key), text(place), whole(elements)) + b"Q"


def tensor(
    size: tuple[int, ...],
    stride: tuple[int, ...],
    *,
    offset: int = 0,
    numbers: bytes = storage(4),
    tail: bytes = b"\x89" + EMPTY_DICT,
) -> bytes:
    return call("torch._utils", "_rebuild_tensor_v2", numbers, whole(offset), counts(size), counts(stride), tail)


def pickled(body: bytes, protocol: int = 2) -> bytes:
    return b"\x80" + bytes([protocol]) + body + b"."


GOOD = tensor((4,), (1,))
PAYLOAD = text("touch pwned")  # relative to the working directory, which the test moves into tmp_path
NUMBERS = struct.pack("<4f", 1, 2, 3, 4)


# --- archives -------------------------------------------------------------------------------------------------------


def archive(data: bytes, records: dict[str, bytes] | None = None, *, method: int = zipfile.ZIP_STORED) -> bytes:
    """What torch.save writes: ``data.pkl`` and ``data/N`` in one folder."""
    members = {"m/data.pkl": data, **{f"m/data/{key}": raw for key, raw in (records or {"0": NUMBERS}).items()}}
    return zipped(members, method=method)


def zipped(members: dict[str, bytes], *, method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as target:
        for path, raw in members.items():
            target.writestr(path, raw)
    return stream.getvalue()


def honest() -> bytes:
    return archive(pickled(mapping({"weight": GOOD})))


def patched(whole_file: bytes, signature: bytes, offset: int, value: bytes, *, which: int = 0) -> bytes:
    """Overwrite bytes of the ``which``-th header with this signature."""
    at = -1
    for _ in range(which + 1):
        at = whole_file.index(signature, at + 1)
    at += offset
    return whole_file[:at] + value + whole_file[at + len(value) :]


LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"


def both_named(raw: bytes, old: bytes, new: bytes) -> bytes:
    assert raw.count(old) == 2
    return raw.replace(old, new)


def overlapping() -> bytes:
    """The second entry's header lies inside the data of the first, as in bombs that need no compression."""
    inner = zipped({"m/data/0": NUMBERS})
    local = inner[: inner.index(CENTRAL)]
    outer = archive(pickled(mapping({"weight": GOOD})), {"1": local})
    at = outer.index(local)
    entry = inner[inner.index(CENTRAL) : inner.index(END)]
    entry = entry[:42] + struct.pack("<L", at) + entry[46:]
    directory, end = outer.index(CENTRAL), outer.index(END)
    size = end - directory + len(entry)
    return outer[:end] + entry + END + struct.pack("<4H2LH", 0, 0, 3, 3, size, directory, 0)


# --- safetensors ----------------------------------------------------------------------------------------------------


def safetensors(header: object, data: bytes = NUMBERS) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def entry(start: int = 0, stop: int = 16, dtype: str = "F32", shape: object = (4,)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


# --- legacy ---------------------------------------------------------------------------------------------------------

MAGIC = pickled(whole(0x1950A86A20F9469CFC6C))
SYSTEM = pickled(EMPTY_DICT + text("little_endian") + b"\x88" + b"s")


def legacy(body: bytes, keys: tuple[str, ...] = ("0",), elements: int = 4, tail: bytes = b"") -> bytes:
    listed = EMPTY_LIST + MARK + b"".join(map(text, keys)) + b"e"
    start = MAGIC + pickled(whole(1001)) + SYSTEM + pickled(body) + pickled(listed)
    return start + struct.pack("<q", elements) + NUMBERS + tail


# --- the cases ------------------------------------------------------------------------------------------------------


class Case(NamedTuple):
    write: Callable[[Path], object]
    words: str


def raw(content: Callable[[], bytes], words: str) -> Case:
    return Case(lambda path: path.write_bytes(content()), words)


def attack(body: Callable[[], bytes] | bytes, words: str, **options: object) -> Case:
    """A torch.save archive whose data.pkl has this body."""
    return raw(lambda: archive(pickled(body() if callable(body) else body), **options), words)


def weights(value: bytes, words: str, **options: object) -> Case:
    return attack(mapping({"weight": value}), words, **options)


HONEST_SHARDS = {"a.safetensors": ("a",), "b.safetensors": ("b",)}


def sharded(
    weight_map: object, words: str, *, shards: dict[str, tuple[str, ...]] = HONEST_SHARDS, index: str | None = None
) -> Case:
    """A transformers directory whose index says ``weight_map``, beside shards that hold tensors of these names."""

    def write(path: Path) -> None:
        path.mkdir()
        (path / "config.json").write_text('{"model_type": "clip"}')
        (path / "model.safetensors.index.json").write_text(index or json.dumps({"weight_map": weight_map}))
        for file, names in shards.items():
            entries = {name: entry(16 * place, 16 * place + 16) for place, name in enumerate(names)}
            (path / file).write_bytes(safetensors(entries, NUMBERS * len(names)))

    return Case(write, words)


def loop(path: Path) -> None:
    """Shards that are links to each other."""
    path.mkdir()
    (path / "config.json").write_text('{"model_type": "clip"}')
    (path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "x", "b": "y"}}')
    (path / "x").symlink_to("y")
    (path / "y").symlink_to("x")


def piped(path: Path) -> None:
    """A shard that is a named pipe, which never ends."""
    sharded({"a": "a.safetensors", "b": "pipe"}, "").write(path)
    os.mkfifo(path / "pipe")


def folder(files: dict[str, str]) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        path.mkdir()
        for file, content in files.items():
            (path / file).write_text(content)

    return write


def laughs() -> bytes:
    """Ten lists, each holding the one before ten times: 10**10 leaves when walked as a tree. Then 200 more."""
    body = EMPTY_LIST + b"q\x00"
    for level in range(1, 200):
        body += EMPTY_LIST + b"q" + bytes([level]) + MARK + (b"h" + bytes([level - 1])) * 10 + b"e"
    return body


def inside_out() -> bytes:
    """50,000 levels that never need more than three places on the stack."""
    step = b"".join(
        EMPTY_LIST + b"r" + struct.pack("<I", n) + b"j" + struct.pack("<I", n - 1) + b"a" for n in range(1, 50_000)
    )
    return EMPTY_LIST + b"r" + struct.pack("<I", 0) + step


CALLS = {
    "reduce": (call("os", "system", PAYLOAD), r"os\.system"),
    "python 2 name": (call("__builtin__", "eval", text("1")), r"builtins\.eval"),
    "stack global": (b"\x8c\x05posix\x8c\x06system\x93" + group(PAYLOAD) + b"R", r"posix\.system"),
    "inst": (MARK + PAYLOAD + b"ios\nsystem\n", r"os\.system"),
    "obj": (MARK + name("os", "system") + PAYLOAD + b"o", r"os\.system"),
    "newobj": (name("subprocess", "Popen") + group(PAYLOAD) + b"\x81", r"subprocess\.Popen"),
    "newobj_ex": (name("subprocess", "Popen") + group(PAYLOAD) + EMPTY_DICT + b"\x92", r"subprocess\.Popen"),
    "newobj_ex of a known name": (name("collections", "OrderedDict") + EMPTY_TUPLE + EMPTY_DICT + b"\x92", "NEWOBJ_EX"),
    "obj of a known name": (MARK + name("collections", "OrderedDict") + b"o", "OBJ"),
    "build": (name("evil", "State") + EMPTY_TUPLE + b"\x81" + PAYLOAD + b"b", r"evil\.State"),
    "extension": (b"\x82\x01", "EXT1"),
    "text persistent id": (b"Psystem\n", "PERSID"),
    "getattr": (call("builtins", "getattr", name("os", "path"), text("x")), r"builtins\.getattr, os\.path"),
    "load from bytes": (call("torch.storage", "_load_from_bytes", text("x")), r"torch\.storage\._load_from_bytes"),
    "allocation": (call("builtins", "bytearray", whole(3_000_000_000)), r"builtins\.bytearray"),
    "bytearray opcode": (b"\x96" + struct.pack("<Q", 3_000_000_000), "bytearray8"),
    "eight-byte string": (b"\x8d" + struct.pack("<Q", 2**62), "unicodestring8"),
    "name with control characters": (call("os\x1b[31m", "system", PAYLOAD), r"os\\x1b\[31m\.system"),
    "name from the stack that is no text": (whole(1) + whole(2) + b"\x93", "other than a plain name"),
    "call of a value": (text("os.system") + group(PAYLOAD) + b"R", "other than a plain name"),
    "torchscript class outside torchscript": (name("__torch__", "M") + EMPTY_TUPLE + b"\x81", r"__torch__\.M"),
    "torchscript helper outside torchscript": (
        call("torch.jit._pickle", "build_intlist", EMPTY_LIST),
        r"torch\.jit\._pickle\.build_intlist",
    ),
    "pickled module": (name("torch.nn.modules.linear", "Linear") + EMPTY_TUPLE + b"\x81", "whole pickled model"),
    "two names": (
        call("os", "system", PAYLOAD) + b"q\x00" + call("shutil", "rmtree", PAYLOAD),
        r"os\.system, shutil\.rmtree",
    ),
}

CASES: dict[str, Case] = {
    **{f"pickle: {key}": attack(body, words) for key, (body, words) in CALLS.items()},
    "pickle: a name that only the optimizer mentions": attack(
        mapping({"state_dict": mapping({"weight": GOOD}), "optimizer": call("os", "system", PAYLOAD)}), r"os\.system"
    ),
    "pickle: a name before the end is missing": raw(
        lambda: archive(b"\x80\x02" + call("os", "system", PAYLOAD) + b"X\xff\x00\x00\x00"), r"os\.system"
    ),
    "pickle: 50,000 lists on the stack": attack(EMPTY_LIST * 50_000 + b"a" * 49_999, "nested more than 100"),
    "pickle: 50,000 tuples": attack(EMPTY_TUPLE + b"\x85" * 50_000, "nested more than 100"),
    "pickle: 50,000 tuples as a key": attack(
        EMPTY_DICT + EMPTY_TUPLE + b"\x85" * 50_000 + NONE + b"s", "nested more than 100"
    ),
    "pickle: 50,000 lists from the inside out": attack(inside_out, "nested more than 100"),
    "pickle: a billion laughs": attack(laughs, "nested more than 100"),
    "pickle: a list in itself": attack(EMPTY_LIST + b"q\x00h\x00a", "a mapping"),
    "pickle: a mapping that is its own model": attack(
        EMPTY_DICT + b"q\x00" + text("model") + b"h\x00s", "holds no tensors"
    ),
    "pickle: a memo bomb": attack(EMPTY_LIST + b"r\xff\xff\xff\x7f", "memo bomb"),
    "pickle: a flood of opcodes": attack(lambda: EMPTY_LIST * 1_100_000, "more than 1,000,000 steps"),
    "pickle: a long string": attack(lambda: b"X" + struct.pack("<I", 2**20 + 1) + b"x" * (2**20 + 1), "a string of"),
    "pickle: a string that is not UTF-8": attack(b"X\x01\x00\x00\x00\xff", "utf-8"),
    "pickle: an empty stack": attack(b"", "malformed"),
    "pickle: a value from below the mark": attack(EMPTY_LIST + MARK + b"a", "malformed"),
    "pickle: no mark": attack(b"t", "malformed"),
    "pickle: an unknown memo": attack(b"h\x07", "malformed"),
    "pickle: a key without a value": attack(EMPTY_DICT + MARK + NONE + b"u", "malformed"),
    "pickle: append to a number": attack(whole(1) + NONE + b"a", "other than a list"),
    "pickle: keys of a number": attack(whole(1) + NONE + NONE + b"s", "a mapping"),
    "pickle: state of a number": attack(whole(1) + NONE + b"b", "has none"),
    "pickle: an endless name": attack(b"c" + b"x" * 5000, "no newline"),
    "pickle: protocol 200": raw(lambda: archive(pickled(NONE, protocol=200)), "protocol 200"),
    "pickle: an unknown opcode": attack(b"\xff", "xff"),
    "pickle: ordered dict with content": attack(call("collections", "OrderedDict", EMPTY_LIST), "OrderedDict"),
    "pickle: torch size of a number": attack(call("torch", "Size", whole(3)), "torch.Size"),
    "pickle: parameter of a number": attack(
        call("torch._utils", "_rebuild_parameter", whole(3), NONE, NONE), "other than a tensor"
    ),
    "tensor: stride 0": weights(tensor((10**6, 10**6), (0, 0)), "larger than any layer"),
    "tensor: small stride 0": weights(tensor((4, 4), (1, 0)), "stride 0"),
    "tensor: outside its storage": weights(tensor((5,), (1,)), "outside"),
    "tensor: outside by its offset": weights(tensor((4,), (1,), offset=1), "outside"),
    "tensor: outside by its stride": weights(tensor((2, 2), (3, 1)), "outside"),
    "tensor: nothing, far outside": weights(tensor((0,), (1,), offset=2**62), "outside"),
    "tensor: more elements than its storage": weights(tensor((3, 2), (1, 1)), "outside"),
    "tensor: negative offset": weights(tensor((4,), (1,), offset=-1), "non-negative"),
    "tensor: negative stride": weights(tensor((4,), (-1,)), "non-negative"),
    "tensor: negative size": weights(tensor((-4,), (1,)), "non-negative"),
    "tensor: size beyond 64 bits": weights(tensor((2**64,), (1,)), "non-negative"),
    "tensor: product beyond 64 bits": weights(tensor((2**40, 2**40, 0), (1, 1, 1)), "larger than any layer"),
    "tensor: truth values as sizes": weights(
        call("torch._utils", "_rebuild_tensor_v2", storage(4), whole(0), group(b"\x88"), counts((1,)), NONE, NONE),
        "non-negative",
    ),
    "tensor: nine dimensions": weights(tensor((1,) * 9, (1,) * 9), "non-negative"),
    "tensor: more strides than sizes": weights(tensor((4,), (1, 1)), "1 sizes but 2 strides"),
    "tensor: no storage": weights(tensor((4,), (1,), numbers=NONE), "something else than a storage"),
    "tensor: storage states too many": weights(tensor((4,), (1,), numbers=storage(8)), "16 bytes"),
    "tensor: storage states too few": weights(tensor((2,), (1,), numbers=storage(2)), "16 bytes"),
    "tensor: storage states 2**62": weights(tensor((4,), (1,), numbers=storage(2**62)), "16 bytes"),
    "tensor: storage is missing": weights(tensor((4,), (1,), numbers=storage(4, "7")), "missing"),
    "tensor: storage outside the archive": weights(tensor((4,), (1,), numbers=storage(4, "../../x")), "missing"),
    "tensor: storage on the meta device": weights(tensor((4,), (1,), numbers=storage(4, place="meta")), "never writes"),
    "tensor: storage of a foreign kind": weights(
        tensor(
            (4,), (1,), numbers=group(text("storage"), name("os", "system"), text("0"), text("cpu"), whole(4)) + b"Q"
        ),
        r"os\.system",
    ),
    "tensor: persistent id of another kind": attack(text("system") + b"Q", "never writes"),
    "tensor: complex": weights(tensor((2,), (1,), numbers=storage(2, kind="ComplexFloatStorage")), "complex64"),
    "tensor: one storage of two dtypes": attack(
        mapping({"a": GOOD, "b": tensor((2,), (1,), numbers=storage(2, kind="LongStorage"))}), "two ways"
    ),
    "tensor: the same numbers a million times": weights(
        tensor((1000, 1000), (1, 1), numbers=storage(1999)), "repeats the same numbers", records={"0": bytes(4 * 1999)}
    ),
    "tensor: one storage under 100 names": attack(
        mapping({f"w{n}": tensor((2**15,), (1,), numbers=storage(2**15)) for n in range(100)}),
        "repeats the same numbers",
        records={"0": bytes(2**17)},
    ),
    "tensor: a name twice": attack(EMPTY_DICT + MARK + (text("weight") + GOOD) * 2 + b"u", "twice"),
    "tensor: a name with an escape": attack(mapping({"w\x1b[2J": GOOD}), r"w\\x1b\[2J"),
    "tensor: a name that is a number": attack(EMPTY_DICT + whole(1) + GOOD + b"s", "key of type int"),
    "tensor: sparse": weights(call("torch._utils", "_rebuild_sparse_tensor", NONE, EMPTY_TUPLE), "sparse"),
    "tensor: quantised": weights(
        call("torch._utils", "_rebuild_qtensor", storage(4, kind="QInt8Storage")), "quantised"
    ),
    "tensor: meta": weights(call("torch._utils", "_rebuild_meta_tensor_no_storage", NONE), "meta"),
    "tensor: not a number": weights(GOOD, "'weight'", records={"0": struct.pack("<4f", 1, 2, float("nan"), 4)}),
    "tensor: infinite": weights(GOOD, "'weight'", records={"0": struct.pack("<4f", 1, float("-inf"), 3, 4)}),
    "tensor: truth values that are 2": weights(
        tensor((4,), (1,), numbers=storage(4, kind="BoolStorage")), "0 and 1", records={"0": b"\x00\x01\x02\x01"}
    ),
    "tensor: none at all": attack(mapping({"epoch": whole(1)}), "holds no tensors"),
    "zip: a deflate bomb in the numbers": raw(
        lambda: archive(pickled(mapping({"weight": GOOD})), {"0": bytes(10**7)}, method=8), "numbers are compressed"
    ),
    "zip: a deflate bomb": raw(
        lambda: archive(pickled(mapping({"weight": text("0" * 10_000_000)})), method=zipfile.ZIP_DEFLATED), "bomb"
    ),
    "zip: a pickle beyond the limit": raw(
        lambda: patched(
            patched(honest(), LOCAL, 18, struct.pack("<2L", 2**27, 2**27)),
            CENTRAL,
            20,
            struct.pack("<2L", 2**27, 2**27),
        ),
        "beyond the data",
    ),
    "zip: deflated storages": raw(
        lambda: archive(
            pickled(mapping({"weight": tensor((64,), (1,), numbers=storage(64))})), {"0": bytes(256)}, method=8
        ),
        "numbers are compressed",
    ),
    "zip: deflated pickle with a false size": raw(
        lambda: patched(
            patched(archive(pickled(mapping({"weight": GOOD})), method=8), LOCAL, 22, struct.pack("<L", 60)),
            CENTRAL,
            24,
            struct.pack("<L", 60),
        ),
        "does not inflate",
    ),
    "zip: another deflate stream": raw(lambda: broken_deflate(), "damaged"),
    "zip: two pickles of one name": raw(
        lambda: both_named(zipped({"m/data.pkl": b"a", "m/data.pkX": b"b"}), b"m/data.pkX", b"m/data.pkl"), "twice"
    ),
    "zip: a pickle in another place": raw(lambda: zipped({"m/extra/data.pkl": pickled(EMPTY_DICT)}), "another place"),
    "zip: two folders": raw(lambda: zipped({"m/data.pkl": b"a", "n/data/0": b"b"}), "top folders"),
    "zip: a path upwards": raw(
        lambda: zipped({"m/data.pkl": b"a", "../data/0": b"b", "m/code/../../x": b""}), "never writes"
    ),
    "zip: a foreign member": raw(lambda: zipped({"m/data.pkl": b"a", "m/evil.py": b"b"}), r"m/evil\.py"),
    "zip: encrypted": raw(
        lambda: patched(patched(honest(), LOCAL, 6, b"\x01\x00"), CENTRAL, 8, b"\x01\x00"), "encrypted"
    ),
    "zip: only the local header says encrypted": raw(lambda: patched(honest(), LOCAL, 6, b"\x01\x00"), "contradict"),
    "zip: names differ": raw(lambda: patched(honest(), LOCAL, 30, b"x"), "contradict"),
    "zip: sizes differ": raw(lambda: patched(honest(), LOCAL, 18, b"\x01"), "contradict"),
    "zip: methods differ": raw(lambda: patched(honest(), LOCAL, 8, b"\x08"), "contradict"),
    "zip: an unknown method": raw(
        lambda: patched(patched(honest(), LOCAL, 8, b"\x0e"), CENTRAL, 10, b"\x0e"), "method 14"
    ),
    "zip: entries overlap": raw(overlapping, "overlap"),
    "zip: a checkpoint inside a zip": raw(lambda: zipped({"m/model.pt": honest()}), "no PyTorch checkpoint"),
    "zip: a zip inside a zip, sixteen times": raw(lambda: nested(16), "no PyTorch checkpoint"),
    "zip: a pickle that is a symbolic link": raw(lambda: linked("m/data.pkl"), "symbolic link"),
    "zip: numbers that are a symbolic link": raw(lambda: linked("m/data/0"), "symbolic link"),
    "zip: a member that is a device": raw(lambda: linked("m/data/0", mode=0o020666), "symbolic link or a device"),
    "zip: an entry that is nowhere": raw(
        lambda: patched(honest(), CENTRAL, 42, b"\x03\x00\x00\x00"), "no entry begins"
    ),
    "zip: 65,534 entries": raw(lambda: patched(honest(), END, 8, b"\xfe\xff\xfe\xff"), "65,534 entries"),
    "zip: more entries than stated": raw(lambda: patched(honest(), END, 8, b"\x01\x00\x01\x00"), "more entries"),
    "zip: fewer entries than stated": raw(lambda: patched(honest(), END, 8, b"\x03\x00\x03\x00"), "fewer entries"),
    "zip: another start of the directory": raw(lambda: patched(honest(), END, 16, b"\x00\x00\x00\x00"), "spliced"),
    "zip: two disks": raw(lambda: patched(honest(), END, 4, b"\x01\x00"), "spliced"),
    "zip: a comment": raw(lambda: patched(honest(), END, 20, b"\x05\x00"), "spliced"),
    "zip: something appended": raw(lambda: honest() + b"more", "truncated, or something was appended"),
    "zip: something prepended": raw(lambda: LOCAL + bytes(60) + honest(), "spliced"),
    "zip: half of it": raw(lambda: honest()[: len(honest()) // 2], "truncated"),
    "zip: four bytes of it": raw(lambda: honest()[:4], "truncated"),
    "zip: a zip64 size without its field": raw(lambda: patched(honest(), CENTRAL, 20, b"\xff" * 4), "zip64"),
    "zip: a false zip64 end": raw(
        lambda: honest()[:-22] + struct.pack("<4sLQL", b"PK\x06\x07", 0, 5, 1) + honest()[-22:], "zip64 end"
    ),
    "zip: damaged numbers": raw(lambda: honest().replace(NUMBERS, NUMBERS[:-1] + b"\x00"), "checksum"),
    "zip: damaged pickle": raw(lambda: honest().replace(b"weight", b"wEight"), "checksum"),
    "zip: no pickle": raw(lambda: zipped({"photo.jpg": b"x"}), "no PyTorch checkpoint"),
    "zip: big-endian": raw(
        lambda: zipped({"m/data.pkl": pickled(mapping({"weight": GOOD})), "m/data/0": NUMBERS, "m/byteorder": b"big"}),
        "big-endian",
    ),
    "zip: npz": raw(lambda: zipped({"params/a.npy": b"x"}), "big_vision"),
    "torchscript: no module": raw(
        lambda: zipped({"m/data.pkl": pickled(EMPTY_DICT), "m/constants.pkl": b"x"}), "holds no module"
    ),
    "torchscript: a foreign name": raw(
        lambda: zipped({"m/data.pkl": pickled(call("os", "system", PAYLOAD)), "m/code/__torch__.py": b"x"}),
        r"os\.system",
    ),
    "torchscript: code in __setstate__": raw(lambda: with_setstate(), "sets the state"),
    "torchscript: code in __setstate__ that the pickle names": raw(
        lambda: zipped(
            {
                "m/data.pkl": pickled(call("torch.jit._pickle", "build_from_source", PAYLOAD)),
                "m/constants.pkl": b"x",
                "m/code/__torch__.py": SETSTATE,
            }
        ),
        r"torch\.jit\._pickle\.build_from_source",
    ),
    "torchscript: shared modules that explode": raw(lambda: exploding_modules(), "larger or deeper"),
    "torchscript: a module in itself": raw(
        lambda: zipped(
            {
                "m/data.pkl": pickled(
                    name("__torch__", "M") + EMPTY_TUPLE + b"\x81q\x00" + EMPTY_DICT + text("a") + b"h\x00sb"
                ),
                "m/constants.pkl": b"x",
            }
        ),
        "larger or deeper",
    ),
    "legacy: a foreign name": raw(lambda: legacy(call("os", "system", PAYLOAD)), r"os\.system"),
    "legacy: a foreign name in the first pickle": raw(lambda: pickled(call("os", "system", PAYLOAD)), r"os\.system"),
    "legacy: truncated": raw(lambda: legacy(mapping({"weight": GOOD}))[:-1], "truncated"),
    "legacy: ends before a storage": raw(lambda: legacy(mapping({"weight": GOOD}))[:-17], "truncated"),
    "legacy: something appended": raw(lambda: legacy(mapping({"weight": GOOD}), tail=b"x"), "1 bytes follow"),
    "legacy: another size": raw(lambda: legacy(mapping({"weight": GOOD}), elements=2**60), "not 4 as stated"),
    "legacy: a negative size": raw(lambda: legacy(mapping({"weight": GOOD}), elements=-1), "not 4 as stated"),
    "legacy: an unknown storage": raw(lambda: legacy(mapping({"weight": GOOD}), keys=("0x",)), "no tensor uses"),
    "legacy: another pickle": raw(lambda: pickled(EMPTY_DICT), "torch.save did not write"),
    "legacy: another protocol": raw(lambda: MAGIC + pickled(whole(7)) + SYSTEM, "unknown version"),
    "safetensors: a header of 2**60 bytes": raw(lambda: struct.pack("<Q", 2**60) + b"{}", "claims"),
    "safetensors: a header beyond the end": raw(lambda: struct.pack("<Q", 1000) + b"{}", "truncated"),
    "safetensors: truncated data": raw(lambda: safetensors({"w": entry()}, NUMBERS[:-1]), "truncated"),
    "safetensors: something appended": raw(lambda: safetensors({"w": entry()}, NUMBERS + b"x"), "appended"),
    "safetensors: a name twice": raw(
        lambda: safetensors(b'{"w":' + json.dumps(entry()).encode() + b',"w":' + json.dumps(entry()).encode() + b"}"),
        "twice",
    ),
    "safetensors: tensors overlap": raw(lambda: safetensors({"a": entry(), "b": entry()}), "shares bytes"),
    "safetensors: a gap": raw(lambda: safetensors({"a": entry(4, 16, shape=[3])}), "unused bytes"),
    "safetensors: eight-bit float": raw(lambda: safetensors({"a": entry(dtype="F8_E4M3", shape=[16])}), "F8_E4M3"),
    "safetensors: another shape": raw(
        lambda: safetensors({"a": entry(shape=[5])}), "16 bytes where its shape needs 20"
    ),
    "safetensors: backwards": raw(lambda: safetensors({"a": entry(16, 0)}), "bytes where its shape needs"),
    "safetensors: a negative shape": raw(lambda: safetensors({"a": entry(shape=[-2, -2])}), "non-negative"),
    "safetensors: a fractional shape": raw(lambda: safetensors({"a": entry(shape=[4.0])}), "non-negative"),
    "safetensors: true as a shape": raw(lambda: safetensors({"a": entry(0, 4, shape=[True])}), "non-negative"),
    "safetensors: a text as a shape": raw(lambda: safetensors({"a": entry(shape="4")}), "non-negative"),
    "safetensors: another field": raw(lambda: safetensors({"a": {**entry(), "x": 1}}), "other fields"),
    "safetensors: a number as an entry": raw(lambda: safetensors({"a": 1}), "other fields"),
    "safetensors: deep JSON": raw(lambda: safetensors(b'{"a":' * 100_000), "nested too deeply|not valid JSON"),
    "safetensors: half a JSON": raw(lambda: safetensors(b'{"a":'), "not valid JSON"),
    "safetensors: long number": raw(lambda: safetensors(b'{"a":' + b"9" * 5000 + b"}"), "not valid JSON"),
    "safetensors: NaN in JSON": raw(lambda: safetensors(b'{"a":NaN}'), "NaN"),
    "safetensors: not UTF-8": raw(lambda: safetensors(b'{"\xff":1}'), "not valid JSON"),
    "safetensors: no tensor": raw(lambda: safetensors({}, b""), "holds no tensors"),
    "safetensors: not a number": raw(
        lambda: safetensors({"a": entry(shape=[8], dtype="F16")}, struct.pack("<8e", *[float("nan")] * 8)), "'a'"
    ),
    "file: missing": Case(lambda path: None, "no such file"),
    "file: empty": raw(lambda: b"", "empty"),
    "file: one byte": raw(lambda: b"\x00", "neither"),
    "file: text": raw(lambda: b"hello\n", "text file"),
    "file: a web page": raw(lambda: b"<!DOCTYPE html>\n" * 99, "text file"),
    "file: Git LFS pointer": raw(lambda: b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "file: gzip": raw(lambda: b"\x1f\x8b" + bytes(20), "gzip"),
    "file: tar": raw(lambda: bytes(257) + b"ustar" + bytes(250), "tar archive"),
    "file: numbers": raw(lambda: b"\x93NUMPY" + bytes(100), "NumPy"),
    "file: a named pipe": Case(os.mkfifo, "not a regular file"),
    "folder: empty": Case(folder({}), "holds no weights"),
    "folder: weights without a configuration": Case(folder({"epoch_1.pt": "x"}), "epoch_1.pt"),
    "folder: configuration without weights": Case(folder({"open_clip_config.json": "{}"}), "no weights beside it"),
    "folder: transformers CLIP without weights": Case(
        folder({"config.json": '{"model_type": "clip"}'}), "no weights beside it"
    ),
    "folder: transformers CLIP with two values of a key": Case(
        folder({"config.json": '{"model_type": "clip", "model_type": "clip"}', "model.safetensors": "x"}), "twice"
    ),
    "folder: transformers CLIP with an unreadable description of pictures": Case(
        folder({"config.json": '{"model_type": "clip"}', "preprocessor_config.json": "{", "model.safetensors": "x"}),
        "preprocessor_config.json is not valid JSON",
    ),
    "folder: timm": Case(folder({"config.json": '{"architecture": "vit_base_patch16_224"}'}), "type 'timm'"),
    "folder: one tower": Case(folder({"config.json": '{"model_type": "clip_text_model"}'}), "text tower alone"),
    "folder: a type of model that is a list": Case(folder({"config.json": '{"model_type": ["clip"]}'}), r"\['clip'\]"),
    "shards: a path upwards": sharded(
        {"a": "a.safetensors", "b": "../b.safetensors"}, r"'\.\./b\.safetensors'.*in the folder"
    ),
    "shards: an absolute path": sharded({"a": "/etc/passwd"}, r"'/etc/passwd'.*in the folder"),
    "shards: a path downwards": sharded({"a": "below/a.safetensors"}, "in the folder of their index"),
    "shards: a path of Windows": sharded(
        {"a": "C:a.safetensors", "b": "..\\b.safetensors"}, "in the folder of their index"
    ),
    "shards: the folder itself": sharded({"a": ".", "b": ".."}, "in the folder of their index"),
    "shards: an empty name": sharded({"a": ""}, "in the folder of their index"),
    "shards: a name with an escape": sharded({"a": "a\x1b[2J"}, r"a\\x1b\[2J"),
    "shards: a name with a null byte": sharded({"a": "a\0b"}, r"a\\x00b"),
    "shards: an address": sharded({"a": "https://example.org/a.safetensors"}, "in the folder of their index"),
    "shards: one is missing": sharded({"a": "a.safetensors", "b": "c.safetensors"}, r"not there: 'c\.safetensors'"),
    "shards: one is a folder": sharded({"a": "a.safetensors", "b": "..."}, "not there"),
    "shards: a tensor is missing": sharded(
        {"a": "a.safetensors", "b": "b.safetensors", "c": "b.safetensors"}, r"b\.safetensors lacks 'c'"
    ),
    "shards: an undeclared tensor": sharded(
        {"a": "a.safetensors", "b": "b.safetensors"},
        "holds 'evil', which",
        shards={"a.safetensors": ("a",), "b.safetensors": ("b", "evil")},
    ),
    "shards: a tensor in two of them": sharded(
        {"a": "a.safetensors", "b": "b.safetensors"},
        r"b\.safetensors holds 'a', which",
        shards={"a.safetensors": ("a",), "b.safetensors": ("a", "b")},
    ),
    "shards: a tensor placed twice": sharded(
        None, "twice", index='{"weight_map": {"a": "a.safetensors", "a": "b.safetensors", "b": "b.safetensors"}}'
    ),
    "shards: none": sharded({}, "no 'weight_map'"),
    "shards: a list": sharded(["a.safetensors"], "no 'weight_map'"),
    "shards: a number as a place": sharded({"a": 1}, "no 'weight_map'"),
    "shards: no map": sharded(None, "no 'weight_map'", index="{}"),
    "shards: half an index": sharded(None, "not valid JSON", index='{"weight_map": {'),
    "shards: a list as the index": sharded(None, "not an object", index="[]"),
    "shards: a large index": sharded(None, "no honest one", index='{"a": "' + "x" * 2**22 + '"}'),
    "shards: 2,000 files": sharded({f"w{n}": f"{n}.safetensors" for n in range(2000)}, "2,000 files"),
    "shards: of different formats": Case(lambda path: mixed(path), "different formats"),
    "shards: a list in place of tensors": Case(lambda path: mixed(path, EMPTY_LIST), "a mapping"),
    "shards: a foreign name in the second": Case(
        lambda path: mixed(path, call("os", "system", PAYLOAD)), r"os\.system"
    ),
    "shards: links in a circle": Case(loop, "not there"),
    "shards: a named pipe": Case(piped, "not there"),
    "folder: SigLIP": Case(folder({"config.json": '{"model_type": "siglip2"}'}), "type 'siglip2'"),
    "folder: a key twice": Case(folder({"open_clip_config.json": '{"a": 1, "a": 2}'}), "twice"),
    "folder: a list as configuration": Case(folder({"open_clip_config.json": "[]"}), "not an object"),
    "folder: a large configuration": Case(
        folder({"open_clip_config.json": '{"a": "' + "x" * 2**20 + '"}'}), "no honest one"
    ),
}


def nested(levels: int) -> bytes:
    """Each archive holds the next one."""
    inner = honest()
    for _ in range(levels):
        inner = zipped({"m/next.zip": inner})
    return inner


def linked(path: str, mode: int = 0o120777) -> bytes:
    """An honest archive in which one member has the mode of another kind of file."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as target:
        for name_, content in {"m/data.pkl": pickled(mapping({"weight": GOOD})), "m/data/0": NUMBERS}.items():
            member = zipfile.ZipInfo(name_)
            member.external_attr = (mode if name_ == path else 0) << 16
            target.writestr(member, content)
    return stream.getvalue()


# What torch.jit.load would compile and run: torch.save writes a file.
SETSTATE = b"""class M(Module):
  __parameters__ = []
  __buffers__ = []
  def __setstate__(self: __torch__.M, state: Tuple[Tensor, bool]) -> NoneType:
    _0 = torch.save((state)[0], "pwned")
    return None
"""


def with_setstate() -> bytes:
    """A module whose state is no mapping, because its own code would take it apart."""
    state = GOOD + b"\x88\x86"  # (tensor, True)
    data = pickled(name("__torch__", "M") + EMPTY_TUPLE + b"\x81" + state + b"b")
    return zipped({"m/data.pkl": data, "m/data/0": NUMBERS, "m/constants.pkl": b"x", "m/code/__torch__.py": SETSTATE})


def broken_deflate() -> bytes:
    """An entry that states the right sizes for bytes that are no deflate stream."""
    raw_file = archive(pickled(mapping({"weight": GOOD})), method=8)
    start = 30 + len("m/data.pkl")
    return raw_file[:start] + b"\xff" * 20 + raw_file[start + 20 :]


def exploding_modules() -> bytes:
    """Each module holds the next one twice: 2**40 paths."""
    body = name("__torch__", "M") + EMPTY_TUPLE + b"\x81q\x00"
    for level in range(1, 40):
        body += (
            (name("__torch__", "M") + EMPTY_TUPLE + b"\x81q" + bytes([level]))
            + (EMPTY_DICT + MARK + text("a") + b"h" + bytes([level - 1]) + text("b") + b"h" + bytes([level - 1]) + b"u")
            + b"b"
        )
    return zipped({"m/data.pkl": pickled(body), "m/constants.pkl": b"x"})


def mixed(path: Path, body: bytes | None = None) -> None:
    """A safetensors shard and one of torch.save; with a ``body``, that for both."""
    sharded({"a": "a.safetensors", "b": "b.safetensors"}, "").write(path)
    data = archive(pickled(mapping({"b": GOOD}) if body is None else body))
    for file in ("b.safetensors",) if body is None else HONEST_SHARDS:
        (path / file).write_bytes(data)
