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
from typing import Any, NamedTuple

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


def tensor(size: tuple[int, ...], stride: tuple[int, ...], *, offset: int = 0, numbers: bytes = storage(4)) -> bytes:
    return rebuilt(numbers, whole(offset), counts(size), counts(stride), b"\x89" + EMPTY_DICT)


def rebuilt(*arguments: bytes, how: str = "tensor_v2") -> bytes:
    return call("torch._utils", f"_rebuild_{how}", *arguments)


def flat(elements: int, **stored: str) -> bytes:
    """A tensor of one dimension that is the whole of a storage like this."""
    return tensor((elements,), (1,), numbers=storage(elements, **stored))


def pickled(body: bytes, protocol: int = 2) -> bytes:
    return b"\x80" + bytes([protocol]) + body + b"."


GOOD = tensor((4,), (1,))
PAYLOAD = text("touch pwned")  # relative to the working directory, which the test moves into tmp_path
SYSTEM = call("os", "system", PAYLOAD)
MODULE = name("__torch__", "M") + EMPTY_TUPLE + b"\x81"
NUMBERS = struct.pack("<4f", 1, 2, 3, 4)
BODY = mapping({"weight": GOOD})


# --- archives -------------------------------------------------------------------------------------------------------


def archive(data: bytes, records: dict[str, bytes] | None = None, *, method: int = zipfile.ZIP_STORED) -> bytes:
    """What torch.save writes: ``data.pkl`` and ``data/N`` in one folder."""
    members = {"m/data.pkl": data, **{f"m/data/{key}": raw for key, raw in (records or {"0": NUMBERS}).items()}}
    return zipped(members, method=method)


def zipped(members: dict[str, bytes], *, method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as target:
        for path, raw in members.items():
            entry = zipfile.ZipInfo(path)  # of 1980: by its name alone it would have the time of day
            entry.compress_type = method
            target.writestr(entry, raw)
    return stream.getvalue()


def honest(records: dict[str, bytes] | None = None, *, method: int = zipfile.ZIP_STORED) -> bytes:
    return archive(pickled(BODY), records, method=method)


def patched(whole_file: bytes, signature: bytes, offset: int, value: bytes) -> bytes:
    """Overwrite bytes of the first header with this signature."""
    at = whole_file.index(signature) + offset
    return whole_file[:at] + value + whole_file[at + len(value) :]


def both(whole_file: bytes, offset: int, value: bytes) -> bytes:
    """Overwrite bytes of both headers of the first entry; the central one has two more bytes before its flags."""
    return patched(patched(whole_file, LOCAL, offset, value), CENTRAL, offset + 2, value)


LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"


def overlapping() -> bytes:
    """The second entry's header lies inside the data of the first, as in bombs that need no compression."""
    inner = zipped({"m/data/0": NUMBERS})
    local = inner[: inner.index(CENTRAL)]
    outer = archive(pickled(BODY), {"1": local})
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
MACHINE = pickled(EMPTY_DICT + text("little_endian") + b"\x88" + b"s")


def legacy(body: bytes, keys: tuple[str, ...] = ("0",), elements: int = 4, tail: bytes = b"") -> bytes:
    listed = EMPTY_LIST + MARK + b"".join(map(text, keys)) + b"e"
    start = MAGIC + pickled(whole(1001)) + MACHINE + pickled(body) + pickled(listed)
    return start + struct.pack("<q", elements) + NUMBERS + tail


def tarred() -> bytes:
    """A file from before PyTorch 1.6 that torch takes for a tar, since its first block has the checksum of one."""
    start = MAGIC + pickled(whole(1001)) + b"\x80\x02" + EMPTY_DICT + text("little_endian") + b"\x88s"
    filling = bytearray(b"0" * 600)
    field = 148 - len(start) - len(text("pad")) - 5  # of the checksum, within this text
    rest = pickled(BODY) + pickled(EMPTY_LIST + MARK + text("0") + b"e") + struct.pack("<q", 4) + NUMBERS
    filling[field : field + 8] = b" " * 8
    block = (start + text("pad") + text(filling.decode()))[:512]
    filling[field : field + 8] = b"%06o\0 " % sum(block)
    return start + text("pad") + text(filling.decode()) + b"s." + rest


# --- the cases ------------------------------------------------------------------------------------------------------


Table = dict[str, Any]  # what a kind is made of, or a whole case, by name


class Case(NamedTuple):
    write: Callable[[Path], object]
    words: str


def raw(content: bytes | Callable[[], bytes], words: str) -> Case:
    return Case(lambda path: path.write_bytes(content() if callable(content) else content), words)


def attack(body: bytes | Callable[[], bytes], words: str, **options: object) -> Case:
    """A torch.save archive whose data.pkl has this body."""
    return raw(lambda: archive(pickled(body() if callable(body) else body), **options), words)


def weights(value: bytes, words: str, **options: object) -> Case:
    return attack(mapping({"weight": value}), words, **options)


Shards = dict[str, tuple[str, ...]]
HONEST_SHARDS: Shards = {"a.safetensors": ("a",), "b.safetensors": ("b",)}


def sharded(weight_map: object, words: str, *, shards: Shards = HONEST_SHARDS, index: str | None = None) -> Case:
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


def folder(files: dict[str, str], words: str) -> Case:
    def write(path: Path) -> None:
        path.mkdir()
        for file, content in files.items():
            (path / file).write_text(content)

    return Case(write, words)


def laughs() -> bytes:
    """Ten lists, each holding the one before ten times: 10**10 leaves when walked as a tree. Then 200 more."""
    body = EMPTY_LIST + b"q\x00"
    for level in range(1, 200):
        body += EMPTY_LIST + b"q" + bytes([level]) + MARK + (b"h" + bytes([level - 1])) * 10 + b"e"
    return body


def inside_out() -> bytes:
    """50,000 levels that never need more than three places on the stack."""
    steps = (EMPTY_LIST + struct.pack("<cIcIc", b"r", n, b"j", n - 1, b"a") for n in range(1, 50_000))
    return EMPTY_LIST + struct.pack("<cI", b"r", 0) + b"".join(steps)


CALLS = {
    "reduce": (SYSTEM, r"os\.system"),
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
    "torchscript class outside torchscript": (MODULE, r"__torch__\.M"),
    "torchscript helper outside torchscript": (call("torch.jit._pickle", "build_intlist", EMPTY_LIST), "build_intlist"),
    "pickled module": (name("torch.nn.modules.linear", "Linear") + EMPTY_TUPLE + b"\x81", "whole pickled model"),
    "two names": (SYSTEM + b"q\x00" + call("shutil", "rmtree", PAYLOAD), r"os\.system, shutil\.rmtree"),
}


def nested(levels: int) -> bytes:
    """Each archive holds the next one."""
    inner = honest()
    for _ in range(levels):
        inner = zipped({"m/next.zip": inner})
    return inner


def rewritten(modes: Table | None = None, *, comment: bytes = b"", extra: bytes = b"", before: bytes = b"") -> bytes:
    """An honest archive with what torch.save never writes: modes of other files, comments, extra fields, bytes before the numbers."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as target:
        for path, content in {"m/data.pkl": pickled(BODY), "m/data/0": NUMBERS}.items():
            target.fp.write(before if path == "m/data/0" else b"")
            target.start_dir = target.fp.tell()
            member = zipfile.ZipInfo(path)
            member.external_attr = (modes or {}).get(path, 0) << 16
            member.comment, member.extra = comment, extra
            target.writestr(member, content)
    return stream.getvalue()


def prefixed(entry: bytes) -> bytes:
    """An honest archive behind an entry that its directory does not list; all offsets are moved."""
    content, moved = bytearray(honest()), len(entry)
    at = content.rindex(END)
    count, _, directory = struct.unpack_from("<HLL", content, at + 10)
    struct.pack_into("<L", content, at + 16, directory + moved)
    for _ in range(count):
        header = struct.unpack_from("<L", content, directory + 42)[0]
        struct.pack_into("<L", content, directory + 42, header + moved)
        directory += 46 + sum(struct.unpack_from("<3H", content, directory + 28))
    return entry + bytes(content)


def local(path: bytes, data: bytes) -> bytes:
    """An entry as it lies in an archive, without its line in the directory."""
    return struct.pack("<4s5H3L2H", LOCAL, 20, 0, 0, 0, 0, 0, len(data), len(data), len(path), 0) + path + data


EVIL = b"cos\nsystem\n(S'id'\ntR."
LINK, DEVICE = 0o120777, 0o020666


# What torch.jit.load would compile and run: torch.save writes a file.
CODE = b"""class M(Module):
  __parameters__ = []
  __buffers__ = []
  def __setstate__(self: __torch__.M, state: Tuple[Tensor, bool]) -> NoneType:
    _0 = torch.save((state)[0], "pwned")
    return None
"""


SET_STATE = MODULE + GOOD + b"\x88\x86" + b"b"  # (tensor, True), no mapping: the module's own code would take it apart


def script(body: bytes, members: dict[str, bytes] | None = None) -> bytes:
    """What torch.jit.save writes."""
    code = {"m/constants.pkl": b"x", "m/code/__torch__.py": CODE}
    return zipped({"m/data.pkl": pickled(body)} | (members or {}) | code)


def broken_deflate() -> bytes:
    """An entry that states the right sizes for bytes that are no deflate stream."""
    raw_file = honest(method=8)
    start = 30 + len("m/data.pkl")
    return raw_file[:start] + b"\xff" * 20 + raw_file[start + 20 :]


def exploding_modules() -> bytes:
    """Each module holds the next one twice: 2**40 paths."""
    body = MODULE + b"q\x00"
    for level in range(1, 40):
        last = b"h" + bytes([level - 1])
        body += MODULE + b"q" + bytes([level]) + mapping({"a": last, "b": last}) + b"b"
    return body


def mixed(path: Path, body: bytes | None = None) -> None:
    """A safetensors shard and one of torch.save; with a ``body``, that for both."""
    sharded({"a": "a.safetensors", "b": "b.safetensors"}, "").write(path)
    data = archive(pickled(mapping({"b": GOOD}) if body is None else body))
    for file in ("b.safetensors",) if body is None else HONEST_SHARDS:
        (path / file).write_bytes(data)


def stated(state: bytes) -> bytes:
    """Weights whose mapping is an OrderedDict with this state."""
    filled = call("collections", "OrderedDict") + MARK + text("weight") + GOOD + b"u"
    return filled + state + b"b"


TORCH_TENSOR = name("torch._utils", "_rebuild_tensor_v2")
PARTS = (storage(4), whole(0), counts((4,)), counts((1,)), b"\x89", EMPTY_DICT)  # of a tensor
OTHER = tensor((4,), (1,), numbers=storage(4, key="1"))  # with other numbers
TWO = {"0": NUMBERS, "1": NUMBERS[::-1]}
STATES = {"data": OTHER, "real": OTHER, "grad": OTHER, "note": whole(1)}


def parameter(*, state: bytes | None = None, hooks: bytes = EMPTY_DICT) -> bytes:
    how = "parameter" if state is None else "parameter_with_state"
    return rebuilt(GOOD, b"\x89", hooks, *([] if state is None else [state]), how=how)


def subclassed(function: bytes, arguments: bytes, state: bytes) -> bytes:
    return call("torch._tensor", "_rebuild_from_type_v2", function, name("torch", "float32"), arguments, state)


def beside(value: bytes) -> Case:
    """Weights, and a tensor in the optimizer that nobody reads."""
    whole_file = mapping({"state_dict": BODY, "optimizer": mapping({"a": value})})
    return raw(
        lambda: archive(pickled(whole_file), TWO), "a state|way that torch.save never writes|contradict|metadata"
    )


# Files whose numbers torch changes after it has read them, or which it reads as another type.
REPLACED: Table = {
    **{
        f"{words} with the state {key}": raw(
            lambda made=made: archive(pickled(mapping({"weight": made})), TWO), "state"
        )
        for key, value in STATES.items()
        for words, made in {
            "parameter": parameter(state=mapping({key: value})),
            "parameter, in a tuple": parameter(state=group(mapping({key: value}), NONE)),
            "parameter, in slots": parameter(state=group(NONE, mapping({key: value}))),
        }.items()
    },
    "parameter with hooks": (mapping({"weight": parameter(hooks=mapping({"a": whole(1)}))}), "hooks"),
    "parameter with a number in place of hooks": (mapping({"weight": parameter(hooks=whole(1))}), "hooks"),
    "parameter with four arguments": (
        mapping({"weight": rebuilt(GOOD, b"\x89", EMPTY_DICT, NONE, how="parameter")}),
        "other",
    ),
    "parameter that a number says to train": (
        mapping({"weight": rebuilt(GOOD, whole(1), EMPTY_DICT, how="parameter")}),
        "other",
    ),
    **{
        f"metadata {key}": (mapping({"weight": rebuilt(*PARTS, mapping({key: b"\x88"}))}), "metadata")
        for key in ("neg", "conj", "note")
    },
    "metadata that are a number": (mapping({"weight": rebuilt(*PARTS, whole(1))}), "metadata"),
    "metadata that are dropped": (
        mapping({"weight": rebuilt(*PARTS, call("collections", "Counter", mapping({"neg": b"\x88"})))}),
        "metadata",
    ),
    "tensor with hooks": (mapping({"weight": rebuilt(*PARTS[:5], mapping({"a": whole(1)}))}), "hooks"),
    "tensor of four arguments": (mapping({"weight": rebuilt(*PARTS[:4])}), "something else"),
    "old tensor of six": (mapping({"weight": rebuilt(*PARTS, how="tensor")}), "something else"),
    "function as a class": (mapping({"weight": TORCH_TENSOR + group(*PARTS) + b"\x81"}), "for a class"),
    "mapping with items of its own": (
        stated(mapping({"items": name("collections", "OrderedDict")})),
        "other attributes",
    ),
    "mapping that is assigned": (
        stated(mapping({"_metadata": mapping({"": mapping({"assign_to_params_buffers": b"\x88"})})})),
        "other attributes",
    ),
    "mapping with a tuple for a state": (stated(group(NONE, mapping({"keys": NONE}))), "other attributes"),
    "bytes behind the pickle": raw(lambda: archive(pickled(BODY) + pickled(BODY)), "follow the end"),
    "other state in the optimizer": beside(parameter(state=mapping({"real": OTHER}))),
    "subclass that writes": beside(subclassed(TORCH_TENSOR, group(*PARTS), mapping({"real": OTHER}))),
    "subclass that writes into another": beside(
        subclassed(
            name("torch._utils", "_rebuild_device_tensor_from_cpu_tensor"),
            group(GOOD, name("torch", "float32"), text("cpu"), b"\x89"),
            EMPTY_DICT,
        )
    ),
    "subclass of a parameter with a state": beside(
        subclassed(
            name("torch._utils", "_rebuild_parameter_with_state"),
            group(GOOD, b"\x89", EMPTY_DICT, mapping({"real": OTHER})),
            EMPTY_DICT,
        )
    ),
    "subclass of a subclass": beside(
        subclassed(name("torch._tensor", "_rebuild_from_type_v2"), group(NONE), EMPTY_DICT)
    ),
    "subclass with metadata": beside(subclassed(TORCH_TENSOR, group(*PARTS, mapping({"neg": b"\x88"})), EMPTY_DICT)),
    **{
        f"one storage of two {word}": beside(flat(**({"elements": 4, "key": "0"} | changed)))
        for word, changed in {
            "types": {"kind": "IntStorage"},
            "lengths": {"elements": 2},
            "places": {"place": "cuda:0"},
        }.items()
    },
    "one storage, first of another type": raw(
        lambda: archive(pickled(mapping({"epoch": flat(4, kind="IntStorage"), "state_dict": BODY}))), "contradict"
    ),
    "legacy: one storage of two types": raw(
        lambda: legacy(mapping({"epoch": flat(4, kind="IntStorage"), "state_dict": BODY})), "contradict"
    ),
    "legacy: metadata": raw(
        lambda: legacy(mapping({"weight": rebuilt(*PARTS, mapping({"neg": b"\x88"}))})), "metadata"
    ),
    "legacy: a state": raw(lambda: legacy(mapping({"weight": parameter(state=mapping({"note": NONE}))})), "a state"),
    "legacy: also a tar": raw(tarred, "tar archive"),
    "torchscript: metadata": raw(
        lambda: script(
            MODULE + mapping({"weight": rebuilt(*PARTS, mapping({"neg": b"\x88"}))}) + b"b", {"m/data/0": NUMBERS}
        ),
        "metadata",
    ),
}

PICKLES: Table = {
    "a name that only the optimizer mentions": (mapping({"state_dict": BODY, "optimizer": SYSTEM}), r"os\.system"),
    "a name before the end is missing": raw(archive(b"\x80\x02" + SYSTEM + b"X\xff\x00\x00\x00"), r"os\.system"),
    "50,000 lists on the stack": (EMPTY_LIST * 50_000 + b"a" * 49_999, "nested more than 100"),
    "50,000 tuples": (EMPTY_TUPLE + b"\x85" * 50_000, "nested more than 100"),
    "50,000 tuples as a key": (EMPTY_DICT + EMPTY_TUPLE + b"\x85" * 50_000 + NONE + b"s", "nested more than 100"),
    "50,000 lists from the inside out": (inside_out(), "nested more than 100"),
    "a billion laughs": (laughs(), "nested more than 100"),
    "a list in itself": (EMPTY_LIST + b"q\x00h\x00a", "a mapping"),
    "a mapping that is its own model": (EMPTY_DICT + b"q\x00" + text("model") + b"h\x00s", "holds no tensors"),
    "a memo bomb": (EMPTY_LIST + b"r\xff\xff\xff\x7f", "memo bomb"),
    "a flood of opcodes": (lambda: EMPTY_LIST * 1_100_000, "more than 1,000,000 steps"),
    "a long string": (b"X" + struct.pack("<I", 2**20 + 1) + b"x" * (2**20 + 1), "a string of"),
    "a string that is not UTF-8": (b"X\x01\x00\x00\x00\xff", "utf-8"),
    "an empty stack": (b"", "malformed"),
    "a value from below the mark": (EMPTY_LIST + MARK + b"a", "malformed"),
    "no mark": (b"t", "malformed"),
    "an unknown memo": (b"h\x07", "malformed"),
    "a key without a value": (EMPTY_DICT + MARK + NONE + b"u", "malformed"),
    "append to a number": (whole(1) + NONE + b"a", "other than a list"),
    "keys of a number": (whole(1) + NONE + NONE + b"s", "a mapping"),
    "state of a number": (whole(1) + NONE + b"b", "has none"),
    "an endless name": (b"c" + b"x" * 5000, "no newline"),
    "protocol 200": raw(lambda: archive(pickled(NONE, protocol=200)), "protocol 200"),
    "an unknown opcode": (b"\xff", "xff"),
    "ordered dict with content": (call("collections", "OrderedDict", EMPTY_LIST), "OrderedDict"),
    "torch size of a number": (call("torch", "Size", whole(3)), "torch.Size"),
    "parameter of a number": (call("torch._utils", "_rebuild_parameter", whole(3), NONE, NONE), "other than a tensor"),
}

TENSORS: Table = {
    "stride 0": (tensor((10**6, 10**6), (0, 0)), "larger than any layer"),
    "small stride 0": (tensor((4, 4), (1, 0)), "stride 0"),
    "outside its storage": (tensor((5,), (1,)), "outside"),
    "outside by its offset": (tensor((4,), (1,), offset=1), "outside"),
    "outside by its stride": (tensor((2, 2), (3, 1)), "outside"),
    "nothing, far outside": (tensor((0,), (1,), offset=2**62), "outside"),
    "more elements than its storage": (tensor((3, 2), (1, 1)), "outside"),
    "negative offset": (tensor((4,), (1,), offset=-1), "non-negative"),
    "negative stride": (tensor((4,), (-1,)), "non-negative"),
    "negative size": (tensor((-4,), (1,)), "non-negative"),
    "size beyond 64 bits": (tensor((2**64,), (1,)), "non-negative"),
    "product beyond 64 bits": (tensor((2**40, 2**40, 0), (1, 1, 1)), "larger than any layer"),
    "truth values as sizes": (rebuilt(storage(4), whole(0), group(b"\x88"), counts((1,)), NONE, NONE), "non-negative"),
    "nine dimensions": (tensor((1,) * 9, (1,) * 9), "non-negative"),
    "more strides than sizes": (tensor((4,), (1, 1)), "1 sizes but 2 strides"),
    "no storage": (tensor((4,), (1,), numbers=NONE), "something else than a storage"),
    "storage states too many": (tensor((4,), (1,), numbers=storage(8)), "16 bytes"),
    "storage states too few": (tensor((2,), (1,), numbers=storage(2)), "16 bytes"),
    "storage states 2**62": (tensor((4,), (1,), numbers=storage(2**62)), "16 bytes"),
    "storage is missing": (flat(4, key="7"), "missing"),
    "storage outside the archive": (flat(4, key="../../x"), "missing"),
    "storage on the meta device": (flat(4, place="meta"), "never writes"),
    "storage of a foreign kind": (flat(4).replace(b"ctorch\nFloatStorage", b"cos\nsystem"), r"os\.system"),
    "persistent id of another kind": attack(text("system") + b"Q", "never writes"),
    "complex": (flat(2, kind="ComplexFloatStorage"), "complex64"),
    "one storage of two dtypes": attack(mapping({"a": GOOD, "b": flat(2, kind="LongStorage")}), "two ways"),
    "the same numbers a million times": weights(
        tensor((1000, 1000), (1, 1), numbers=storage(1999)), "repeats the same numbers", records={"0": bytes(4 * 1999)}
    ),
    "one storage under 100 names": attack(
        mapping({f"w{n}": flat(2**15) for n in range(100)}), "repeats the same", records={"0": bytes(2**17)}
    ),
    "a name twice": attack(EMPTY_DICT + MARK + (text("weight") + GOOD) * 2 + b"u", "twice"),
    "a name with an escape": attack(mapping({"w\x1b[2J": GOOD}), r"w\\x1b\[2J"),
    "a name that is a number": attack(EMPTY_DICT + whole(1) + GOOD + b"s", "key of type int"),
    "sparse": (rebuilt(NONE, EMPTY_TUPLE, how="sparse_tensor"), "sparse"),
    "quantised": (rebuilt(storage(4, kind="QInt8Storage"), how="qtensor"), "quantised"),
    "meta": (rebuilt(NONE, how="meta_tensor_no_storage"), "meta"),
    "not a number": weights(GOOD, "'weight'", records={"0": struct.pack("<4f", 1, 2, float("nan"), 4)}),
    "infinite": weights(GOOD, "'weight'", records={"0": struct.pack("<4f", 1, float("-inf"), 3, 4)}),
    "truth values that are 2": weights(flat(4, kind="BoolStorage"), "0 and 1", records={"0": b"\x00\x01\x02\x01"}),
    "none at all": attack(mapping({"epoch": whole(1)}), "holds no tensors"),
}

ZIPS: Table = {
    "a deflate bomb in the numbers": (lambda: honest({"0": bytes(10**7)}, method=8), "numbers are compressed"),
    "a deflate bomb": (lambda: archive(pickled(mapping({"weight": text("0" * 10_000_000)})), method=8), "bomb"),
    "a pickle beyond the limit": (both(honest(), 18, struct.pack("<2L", 2**27, 2**27)), "beyond the data"),
    "deflated storages": (
        archive(pickled(mapping({"weight": flat(64)})), {"0": bytes(256)}, method=8),
        "numbers are compressed",
    ),
    "deflated pickle with a false size": (both(honest(method=8), 22, struct.pack("<L", 60)), "does not inflate"),
    "another deflate stream": (broken_deflate(), "damaged"),
    "two pickles of one name": (zipped({"m/data.pkl": b"a", "m/data.pkX": b"b"}).replace(b"pkX", b"pkl"), "twice"),
    "a pickle in another place": (zipped({"m/extra/data.pkl": pickled(EMPTY_DICT)}), "another place"),
    "two folders": (zipped({"m/data.pkl": b"a", "n/data/0": b"b"}), "top folders"),
    "a path upwards": (zipped({"m/data.pkl": b"a", "../data/0": b"b", "m/code/../../x": b""}), "never writes"),
    "a foreign member": (zipped({"m/data.pkl": b"a", "m/evil.py": b"b"}), r"m/evil\.py"),
    "encrypted": (both(honest(), 6, b"\x01\x00"), "encrypted"),
    "only the local header says encrypted": (patched(honest(), LOCAL, 6, b"\x01\x00"), "contradict"),
    "names differ": (patched(honest(), LOCAL, 30, b"x"), "contradict"),
    "sizes differ": (patched(honest(), LOCAL, 18, b"\x01"), "contradict"),
    "methods differ": (patched(honest(), LOCAL, 8, b"\x08"), "contradict"),
    "an unknown method": (both(honest(), 8, b"\x0e"), "method 14"),
    "entries overlap": (overlapping(), "overlap"),
    "a checkpoint inside a zip": (zipped({"m/model.pt": honest()}), "no PyTorch checkpoint"),
    "a zip inside a zip, sixteen times": (nested(16), "no PyTorch checkpoint"),
    "a pickle that is a symbolic link": (rewritten(modes={"m/data.pkl": LINK}), "symbolic link"),
    "numbers that are a symbolic link": (rewritten(modes={"m/data/0": LINK}), "symbolic link"),
    "a member that is a device": (rewritten(modes={"m/data/0": DEVICE}), "symbolic link or a device"),
    "an entry that is not listed": (prefixed(local(b"m/data.pkl", EVIL)), "belong to no entry"),
    "an entry between two": (rewritten(before=local(b"m/data.pkl", b"x")), "belong to no entry"),
    "a pickle between two entries": (rewritten(before=EVIL), "belong to no entry"),
    "a byte between two entries": (rewritten(before=b"\0"), "belong to no entry"),
    "a comment on an entry": (rewritten(comment=b"data.pkl"), "has a comment"),
    "another name in an extra field": (rewritten(extra=struct.pack("<2HBL6s", 0x7075, 11, 1, 0, b"m/data")), "0x7075"),
    "times in an extra field": (rewritten(extra=struct.pack("<2HL", 0x5455, 4, 0)), "extra field 0x5455"),
    "zip64 sizes beside others": (rewritten(extra=struct.pack("<2H2Q", 0x0001, 16, 1, 1)), "zip64 sizes"),
    "more zip64 sizes than a header has": (rewritten(extra=struct.pack("<2H4Q", 1, 32, 1, 1, 1, 1)), "zip64 sizes"),
    "an entry that is nowhere": (patched(honest(), CENTRAL, 42, b"\x03\x00\x00\x00"), "no entry begins"),
    "65,534 entries": (patched(honest(), END, 8, b"\xfe\xff\xfe\xff"), "65,534 entries"),
    "more entries than stated": (patched(honest(), END, 8, b"\x01\x00\x01\x00"), "more entries"),
    "fewer entries than stated": (patched(honest(), END, 8, b"\x03\x00\x03\x00"), "fewer entries"),
    "another start of the directory": (patched(honest(), END, 16, b"\x00\x00\x00\x00"), "spliced"),
    "two disks": (patched(honest(), END, 4, b"\x01\x00"), "spliced"),
    "a comment": (patched(honest(), END, 20, b"\x05\x00"), "spliced"),
    "something appended": (honest() + b"more", "truncated, or something was appended"),
    "something prepended": (LOCAL + bytes(60) + honest(), "spliced"),
    "half of it": (honest()[: len(honest()) // 2], "truncated"),
    "four bytes of it": (honest()[:4], "truncated"),
    "a zip64 size without its field": (patched(honest(), CENTRAL, 20, b"\xff" * 4), "zip64"),
    "a false zip64 end": (honest()[:-22] + struct.pack("<4sLQL", b"PK\x06\x07", 0, 5, 1) + honest()[-22:], "zip64 end"),
    "damaged numbers": (honest().replace(NUMBERS, NUMBERS[:-1] + b"\x00"), "checksum"),
    "damaged pickle": (honest().replace(b"weight", b"wEight"), "checksum"),
    "no pickle": (zipped({"photo.jpg": b"x"}), "no PyTorch checkpoint"),
    "big-endian": (zipped({"m/data.pkl": pickled(BODY), "m/data/0": NUMBERS, "m/byteorder": b"big"}), "big-endian"),
    "npz": (zipped({"params/a.npy": b"x"}), "big_vision"),
}

SCRIPTS: Table = {
    "no module": (script(EMPTY_DICT), "holds no module"),
    "a foreign name": (script(SYSTEM), r"os\.system"),
    "code in __setstate__": (script(SET_STATE, {"m/data/0": NUMBERS}), "sets the state"),
    "code that sets the weights from a mapping": (
        script(MODULE + mapping({"weight": GOOD}) + b"b", {"m/data/0": NUMBERS}),
        "__setstate__",
    ),
    "a bare storage": (
        script(MODULE + mapping({"a": GOOD, "b": storage(4)}) + b"b", {"m/data/0": NUMBERS}),
        "bare storage",
    ),
    "code that the pickle names": (
        script(call("torch.jit._pickle", "build_from_source", PAYLOAD)),
        "build_from_source",
    ),
    "shared modules that explode": (script(exploding_modules()), "larger or deeper"),
    "a module in itself": (script(MODULE + b"q\x00" + EMPTY_DICT + text("a") + b"h\x00sb"), "larger or deeper"),
}

LEGACY: Table = {
    "a foreign name": (legacy(SYSTEM), r"os\.system"),
    "a foreign name in the first pickle": (pickled(SYSTEM), r"os\.system"),
    "truncated": (legacy(BODY)[:-1], "truncated"),
    "ends before a storage": (legacy(BODY)[:-17], "truncated"),
    "something appended": (legacy(BODY, tail=b"x"), "1 bytes follow"),
    "another size": (legacy(BODY, elements=2**60), "not 4 as stated"),
    "a negative size": (legacy(BODY, elements=-1), "not 4 as stated"),
    "an unknown storage": (legacy(BODY, keys=("0x",)), "no tensor uses"),
    "another pickle": (pickled(EMPTY_DICT), "torch.save did not write"),
    "another protocol": (MAGIC + pickled(whole(7)) + MACHINE, "unknown version"),
}

SAFETENSORS: Table = {
    "a header of 2**60 bytes": (struct.pack("<Q", 2**60) + b"{}", "claims"),
    "a header beyond the end": (struct.pack("<Q", 1000) + b"{}", "truncated"),
    "truncated data": (safetensors({"w": entry()}, NUMBERS[:-1]), "truncated"),
    "something appended": (safetensors({"w": entry()}, NUMBERS + b"x"), "appended"),
    "a name twice": (safetensors(json.dumps({"w": entry(), "v": entry()}).replace('"v"', '"w"').encode()), "twice"),
    "tensors overlap": (safetensors({"a": entry(), "b": entry()}), "shares bytes"),
    "a gap": (safetensors({"a": entry(4, 16, shape=[3])}), "unused bytes"),
    "eight-bit float": (safetensors({"a": entry(dtype="F8_E4M3", shape=[16])}), "F8_E4M3"),
    "another shape": (safetensors({"a": entry(shape=[5])}), "16 bytes where its shape needs 20"),
    "backwards": (safetensors({"a": entry(16, 0)}), "bytes where its shape needs"),
    "a negative shape": (safetensors({"a": entry(shape=[-2, -2])}), "non-negative"),
    "a fractional shape": (safetensors({"a": entry(shape=[4.0])}), "non-negative"),
    "true as a shape": (safetensors({"a": entry(0, 4, shape=[True])}), "non-negative"),
    "a text as a shape": (safetensors({"a": entry(shape="4")}), "non-negative"),
    "another field": (safetensors({"a": {**entry(), "x": 1}}), "other fields"),
    "a number as an entry": (safetensors({"a": 1}), "other fields"),
    "deep JSON": (safetensors(b'{"a":' * 100_000), "nested too deeply|not valid JSON"),
    "half a JSON": (safetensors(b'{"a":'), "not valid JSON"),
    "long number": (safetensors(b'{"a":' + b"9" * 5000 + b"}"), "not valid JSON"),
    "NaN in JSON": (safetensors(b'{"a":NaN}'), "NaN"),
    "not UTF-8": (safetensors(b'{"\xff":1}'), "not valid JSON"),
    "no tensor": (safetensors({}, b""), "holds no tensors"),
    "metadata that are a list": (safetensors({"__metadata__": [], "w": entry()}), "texts by name"),
    "metadata that are nothing": (safetensors({"__metadata__": None, "w": entry()}), "texts by name"),
    "a number in its metadata": (safetensors({"__metadata__": {"format": 1}, "w": entry()}), "texts by name"),
    "not a number": (safetensors({"a": entry(shape=[8], dtype="F16")}, struct.pack("<8e", *[float("nan")] * 8)), "'a'"),
}

FILES: Table = {
    "missing": Case(lambda path: None, "no such file"),
    "empty": (b"", "empty"),
    "one byte": (b"\x00", "neither"),
    "text": (b"hello\n", "text file"),
    "a web page": (b"<!DOCTYPE html>\n" * 99, "text file"),
    "Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "gzip": (b"\x1f\x8b" + bytes(20), "gzip"),
    "tar": (bytes(257) + b"ustar" + bytes(250), "tar archive"),
    "numbers": (b"\x93NUMPY" + bytes(100), "NumPy"),
    "a named pipe": Case(os.mkfifo, "not a regular file"),
}

CLIP = {"config.json": '{"model_type": "clip"}', "model.safetensors": "x"}
FOLDERS: Table = {
    "empty": ({}, "holds no weights"),
    "weights without a configuration": ({"epoch_1.pt": "x"}, "epoch_1.pt"),
    "configuration without weights": ({"open_clip_config.json": "{}"}, "no weights beside it"),
    "transformers CLIP without weights": ({"config.json": '{"model_type": "clip"}'}, "no weights beside it"),
    "transformers CLIP with two values of a key": (
        CLIP | {"config.json": '{"model_type": "clip", "model_type": 1}'},
        "twice",
    ),
    "transformers CLIP with an unreadable description of pictures": (
        CLIP | {"preprocessor_config.json": "{"},
        "preprocessor_config.json is not valid JSON",
    ),
    "timm": ({"config.json": '{"architecture": "vit_base_patch16_224"}'}, "type 'timm'"),
    "one tower": ({"config.json": '{"model_type": "clip_text_model"}'}, "text tower alone"),
    "a type of model that is a list": ({"config.json": '{"model_type": ["clip"]}'}, r"\['clip'\]"),
    "SigLIP": ({"config.json": '{"model_type": "siglip2"}'}, "type 'siglip2'"),
    "a key twice": ({"open_clip_config.json": '{"a": 1, "a": 2}'}, "twice"),
    "a list as configuration": ({"open_clip_config.json": "[]"}, "not an object"),
    "a large configuration": ({"open_clip_config.json": '{"a": "' + "x" * 2**20 + '"}'}, "no honest one"),
}

BOTH = {"a": "a.safetensors", "b": "b.safetensors"}
SHARDS: Table = {
    "a path upwards": (BOTH | {"b": "../b.safetensors"}, r"'\.\./b\.safetensors'.*in the folder"),
    **{
        words: ({f"w{n}": place for n, place in enumerate(places)}, "in the folder of their index")
        for words, places in {
            "an absolute path": ["/etc/passwd"],
            "a path downwards": ["below/a.safetensors"],
            "a path of Windows": ["C:a.safetensors", "..\\b.safetensors"],
            "the folder itself": [".", ".."],
            "an empty name": [""],
            "an address": ["https://example.org/a.safetensors"],
        }.items()
    },
    "a name with an escape": ({"a": "a\x1b[2J"}, r"a\\x1b\[2J"),
    "a name with a null byte": ({"a": "a\0b"}, r"a\\x00b"),
    "one is missing": (BOTH | {"b": "c.safetensors"}, r"not there: 'c\.safetensors'"),
    "one is a folder": (BOTH | {"b": "..."}, "not there"),
    "a tensor is missing": (BOTH | {"c": "b.safetensors"}, r"b\.safetensors lacks 'c'"),
    "an undeclared tensor": sharded(
        BOTH, "holds 'evil', which", shards=HONEST_SHARDS | {"b.safetensors": ("b", "evil")}
    ),
    "a tensor in two of them": sharded(
        BOTH, r"b\.saf.* holds 'a', which", shards=HONEST_SHARDS | {"b.safetensors": ("a", "b")}
    ),
    "a tensor placed twice": sharded(
        None, "twice", index='{"weight_map": {"a": "a.safetensors", "a": "b.safetensors"}}'
    ),
    "none": ({}, "no 'weight_map'"),
    "a list": (["a.safetensors"], "no 'weight_map'"),
    "a number as a place": ({"a": 1}, "no 'weight_map'"),
    "no map": sharded(None, "no 'weight_map'", index="{}"),
    "half an index": sharded(None, "not valid JSON", index='{"weight_map": {'),
    "a list as the index": sharded(None, "not an object", index="[]"),
    "a large index": sharded(None, "no honest one", index='{"a": "' + "x" * 2**22 + '"}'),
    "2,000 files": ({f"w{n}": f"{n}.safetensors" for n in range(2000)}, "2,000 files"),
    "of different formats": Case(mixed, "different formats"),
    "a list in place of tensors": Case(lambda path: mixed(path, EMPTY_LIST), "a mapping"),
    "a foreign name in the second": Case(lambda path: mixed(path, SYSTEM), r"os\.system"),
    "links in a circle": Case(loop, "not there"),
    "a named pipe": Case(piped, "not there"),
}


def named(kind: str, make: Callable[..., Case], table: Table) -> dict[str, Case]:
    """The cases of one kind; what is no case yet is made into one."""
    return {f"{kind}: {key}": made if isinstance(made, Case) else make(*made) for key, made in table.items()}


CASES: dict[str, Case] = {
    **named("pickle", attack, CALLS | PICKLES),
    **named("replaced", attack, REPLACED),
    **named("tensor", weights, TENSORS),
    **named("zip", raw, ZIPS),
    **named("torchscript", raw, SCRIPTS),
    **named("legacy", raw, LEGACY),
    **named("safetensors", raw, SAFETENSORS),
    **named("file", raw, FILES),
    **named("folder", folder, FOLDERS),
    **named("shards", sharded, SHARDS),
}
